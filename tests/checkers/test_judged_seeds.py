"""The judges at the end of simulated seeds: they pass what the oracle passes, and see what it cannot see.

The oracle's model is the product's own state machine, so a bug of that machine is a bug of both. The judges' model tree is
not: it finds it in the recording alone.
"""

from collections.abc import Callable

import pytest

from multipaxos.coordination.acl import Acl
from multipaxos.coordination.machine import Machine
from multipaxos.coordination.tree import Tree, Znode
from multipaxos.coordination.watches import Event, Watches
from multipaxos.sim.campaign import run_seed
from multipaxos.sim.clients import ClientWorkload
from multipaxos.sim.history import History as Online
from multipaxos.sim.history import Operation
from multipaxos.sim.judging import judge
from multipaxos.sim.recorded import OPENED
from multipaxos.sim.swarm import draw
from multipaxos.sim.world import World
from multipaxos.sim.znode_objects import TREE_OPERATIONS_MAX, operations_of
from multipaxos.wire.zookeeper import (
    OP_ADD_WATCH,
    OP_CREATE,
    OP_CREATE2,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_MULTI,
    OP_MULTI_READ,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SET_WATCHES2,
    OP_SYNC,
)

SEEDS = range(7_000, 7_015)


def violations(seeds: range = SEEDS) -> set[str]:
    """The invariants that seeds break."""
    return {report.invariant for report in map(run_seed, seeds) if report.is_failed}


def test_the_workload_asks_for_everything() -> None:
    """Over a few seeds; each has a hundred answers from three sessions."""
    asked: dict[int, int] = {}
    unknown = repeated = short = 0
    for seed in SEEDS:
        workload = ClientWorkload()
        World(draw(seed), workload).run()
        history = workload.recorded()
        answered = [call for call in history.calls if call.is_answered]
        assert len(answered) >= 100
        assert len({mark.session for mark in history.marks if mark.kind == OPENED}) >= 3
        assert judge(history) == []
        for call in history.calls:
            asked[call.opcode] = asked.get(call.opcode, 0) + 1
            unknown += not call.is_answered
        repeated += sum(client.asker.happened_once for client in workload.clients)
        short += len(operations_of(history)) <= TREE_OPERATIONS_MAX
    wanted = (
        OP_CREATE, OP_CREATE2, OP_DELETE, OP_SET_DATA, OP_GET_DATA, OP_EXISTS, OP_GET_CHILDREN, OP_GET_CHILDREN2, OP_SYNC,
        OP_MULTI, OP_MULTI_READ, OP_SET_ACL, OP_ADD_WATCH, OP_SET_WATCHES2,
    )  # fmt: skip
    assert [opcode for opcode in wanted if opcode not in asked] == []
    assert unknown > 20 and repeated >= 3
    assert short >= 5, "some are judged as one tree, too"


def dropping(fired: Callable[..., list[Event]]) -> Callable[..., list[Event]]:
    def found(watches: Watches, *arguments: object) -> list[Event]:
        return fired(watches, *arguments)[1:]

    return found


def doubling(fired: Callable[..., list[Event]]) -> Callable[..., list[Event]]:
    def found(watches: Watches, *arguments: object) -> list[Event]:
        events = fired(watches, *arguments)
        return events + events[-1:]

    return found


@pytest.mark.parametrize("break_it", [dropping, doubling], ids=lambda break_it: break_it.__name__)
def test_watches_that_are_missed_or_fire_twice(
    break_it: Callable[..., Callable[..., list[Event]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watches, "fired", break_it(Watches.fired))
    assert violations() == {"I15"}


def test_watches_that_are_told_behind_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one apply fires is delivered with the next."""
    fired = Watches.fired
    held: dict[int, list[Event]] = {}

    def late(watches: Watches, changes: list[tuple[int, str]], guards: list[Acl] | None = None) -> list[Event]:
        before = held.pop(id(watches), [])
        held[id(watches)] = fired(watches, changes, guards)
        return [event for event in before if event[0] in watches.watching()]

    monkeypatch.setattr(Watches, "fired", late)
    assert violations() == {"I15"}


def test_watches_that_are_not_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetting(watches: Watches, machine: Machine, connection: int, *lists: object) -> list[tuple[int, str]]:
        return []

    monkeypatch.setattr(Watches, "set_watches", forgetting)
    assert violations(range(7_000, 7_030)) == {"I15"}


def test_a_version_that_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """On all replicas and in the oracle's model alike, so that all of them agree."""
    set_data = Tree.set_data

    def forgetting(tree: Tree, path: str, node: Znode, data: bytes | None, zxid: int, time_ms: int) -> None:
        set_data(tree, path, node, data, zxid, time_ms)
        if node.version == 3:
            node.version = 2

    monkeypatch.setattr(Tree, "set_data", forgetting)
    assert violations() == {"I11"}


def test_ephemerals_that_outlive_their_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of several stays, owned by nobody."""
    end = Machine._end

    def forgetting(machine: Machine, session: object) -> None:
        kept = list(session.ephemerals)[1:2]  # type: ignore[attr-defined]
        for path in kept:
            del session.ephemerals[path]  # type: ignore[attr-defined]
            machine.tree.nodes[path].owner = 0
        end(machine, session)  # type: ignore[arg-type]

    monkeypatch.setattr(Machine, "_end", forgetting)
    found = violations()
    assert found and found <= {"I11", "I12", "I13", "I15"}


def test_a_second_look_without_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that show the state before the last change: the oracle looks away, and the recording is enough."""
    monkeypatch.setattr(Online, "_check_read", lambda online, operation: None)
    assert violations() == set()
    get_data = Machine.get_data
    stale: dict[tuple[int, str], tuple[int, bytes | None, bytes]] = {}

    def late(machine: Machine, path: str, ids: tuple[tuple[str, str], ...]) -> tuple[int, bytes | None, bytes]:
        found = get_data(machine, path, ids)
        return stale.setdefault((id(machine), path), found) if path == "/k3" else found

    monkeypatch.setattr(Machine, "get_data", late)
    assert "I12" in violations()


def test_an_answer_is_what_the_client_was_told() -> None:
    """``Operation`` carries the recorded call itself: what is judged online and what is recorded are one thing."""
    workload = ClientWorkload()
    World(draw(7_000), workload).run()
    calls = {id(call) for call in workload.recorder.history().calls}
    operations: list[Operation] = [operation for client in workload.clients for operation in client.operations]
    assert operations and all(id(operation.call) in calls for operation in operations)
