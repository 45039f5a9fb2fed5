"""The article's claims about processes and roles: slow, killed, restarted, alone or together (claim-A1 to claim-A4,
claim-A9, claim-A15, claim-A18, claim-A31).

What is shown on real processes stands elsewhere; ``rows.py`` says where.
"""

import ast
from dataclasses import fields, is_dataclass
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
from synod_world import ADDRESSES, EAGER, Acceptors, identity_of

from multipaxos import core
from multipaxos.cli.main import application
from multipaxos.core.acceptor import Acceptor
from multipaxos.core.ballot import ballot_of
from multipaxos.core.decree import NOOP
from multipaxos.core.messages import Accept, Message
from multipaxos.sim.stage import Stage, led
from multipaxos.synod.acceptor import NamedAcceptor
from multipaxos.synod.learner import Learner
from multipaxos.synod.messages import Accept as AcceptByHand
from multipaxos.synod.messages import Accepted, Ask, Prepare, Promise, Standing
from multipaxos.synod.proposer import CHOSEN, Proposer
from multipaxos.wire.frame import FrameError, FrameParser, encode_frame
from multipaxos.wire.peer import encode

SECOND = 1_000_000_000
ELECTION_TIMEOUT = 1_200_000_000

SHARING = {
    "asyncio", "ctypes", "io", "mmap", "multiprocessing", "os", "pathlib", "random", "select", "shutil", "socket",
    "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
"""What a replica could reach another by, or learn anything by, but for a message."""


def test_claim_a1_processes_communicate_by_messages_only() -> None:
    """Nothing in the protocol can reach outside; and what it says is a value, which nobody can change afterwards."""
    for path in sorted(Path(core.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] not in SHARING, f"{path.name} imports {name}"
    for message in get_args(Message):
        assert is_dataclass(message) and message.__dataclass_params__.frozen  # type: ignore[attr-defined]
        for field in fields(message):
            assert "list" not in str(field.type) and "dict" not in str(field.type), f"{message.__name__}.{field.name}"


@pytest.mark.parametrize("slow_ns", [SECOND // 10, 2 * ELECTION_TIMEOUT])
@pytest.mark.parametrize("slow", [1, 2, 3], ids=["leader", "gateway and acceptor", "learner and acceptor"])
def test_claim_a2_processes_may_be_slow(slow: int, slow_ns: int) -> None:
    """One of them stands still, for a moment and for two election timeouts, while clients write and read through the
    other two; it goes on as if nothing had been, and nobody reads the past (the stage checks every read)."""
    stage = led(favoured=3 if slow == 2 else 2)
    stage.submit(2, "before")
    stage.pause(slow)
    others = [replica for replica in (1, 2, 3) if replica != slow]
    for token, replica in enumerate(others):
        stage.submit(replica, f"meanwhile{replica}")
        stage.read(replica, token)
    stage.live(slow_ns)
    stage.read(slow, 9)
    stage.resume(slow)
    stage.live(4 * ELECTION_TIMEOUT)
    assert {(others[0], 0), (others[1], 1), (slow, 9)} <= set(stage.answered)
    wanted = sorted(["before", *[f"meanwhile{replica}" for replica in others]])
    for replica in (1, 2, 3):
        assert sorted(stage.executed(replica)) == wanted
        assert stage.executed(replica) == stage.executed(1)


def one_decree(steps: int) -> Stage:
    """Five replicas, and a command of which so many messages have been delivered."""
    stage = led(5)
    stage.submit(2, "x")
    for _ in range(steps):
        if stage.flight:
            stage._deliver(stage.flight.pop(0))
    return stage


MESSAGES = 17
"""Of one decree among five: a forward, four accepts, five votes, four prefixes, and what a replica says to itself."""

PAIRS = list(combinations(range(1, 6), 2))


@pytest.mark.parametrize("steps", range(MESSAGES))
def test_claim_a3_any_minority_may_be_killed_at_any_moment(steps: int) -> None:
    """After each message of a decree two of five are killed, in every third pair; the others go on. What its gateway had
    executed is executed everywhere, and if the gateway lives its command is executed once in any case."""
    for dead in PAIRS[steps % 3 :: 3]:
        stage = one_decree(steps)
        was_done = stage.executed(2) == ["x"]
        for replica in dead:
            stage.crash(replica, is_power_lost=replica % 2 == 0)
        survivors = [replica for replica in range(1, 6) if replica not in dead]
        stage.favoured = survivors[0]
        stage.live(3 * ELECTION_TIMEOUT)
        found = stage.executed(survivors[0])
        assert found == ["x"] if was_done or 2 in survivors else found in ([], ["x"])
        assert all(stage.executed(replica) == found for replica in survivors)


@pytest.mark.parametrize("replica", [1, 2, 3, 4, 5])
def test_claim_a4_what_was_promised_and_accepted_outlives_a_restart(replica: int) -> None:
    """After each message of a decree one replica loses its power and starts again: it stands at the promise and the votes
    it had, and the command is executed."""
    for steps in range(MESSAGES):
        stage = one_decree(steps)
        before = stage.core(replica)
        promised, votes = before.promised, dict(before.acceptor.votes)
        chosen_prefix = before.chosen_prefix
        stage.crash(replica, is_power_lost=True)
        stage.start(replica)
        after = stage.core(replica)
        assert after.promised >= promised
        for slot, vote in votes.items():
            assert slot <= chosen_prefix or after.ledger.is_learned(slot) or after.acceptor.votes[slot] == vote
        stage.live(3 * ELECTION_TIMEOUT)
        assert stage.executed(3) == ["x"] or replica == 2


def test_claim_a9_a_tampered_message_is_lost_and_never_believed() -> None:
    """Byzantine faults are out of scope; damage is not. Every bit of a framed accept flipped in turn: the connection
    breaks, or waits for bytes that never come; no frame is ever taken out of it."""
    message = Accept(1, ballot_of(3, 1), 7, NOOP, 6)
    data = encode_frame(0, 1, encode(message))
    assert len(FrameParser().feed(data)) == 1
    refused = 0
    for bit in range(8 * len(data)):
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << bit % 8
        parser = FrameParser()
        try:
            assert parser.feed(bytes(spoiled)) == []
        except FrameError:
            refused += 1
            continue
        with pytest.raises(FrameError):
            parser.feed(bytes(1 << 17))
    assert refused > 7 * len(data)


RUN = "0" * 15 + "f"


def by_hand(name: str, value: str | None, number: int = -1) -> Proposer:
    """A proposer that is connected to everybody."""
    run = (
        Proposer(name, value, ADDRESSES, 0, 3, RUN, EAGER)
        if value is not None
        else Learner(name, ADDRESSES, 1, 65_536, RUN, EAGER)
    )
    for heard in run.heard.values():
        heard.is_open = True
    run.begin(1, number)
    return run


def test_claim_a15_four_roles_each_alone() -> None:
    """An acceptor answers without a proposer, a proposer asks without an acceptor, a learner learns without either, and
    the acceptor's two rules stand without any of them. The client's part is the value."""
    rules = Acceptor()
    assert rules.may_promise(3) and rules.promise(3) and not rules.may_accept(2)
    acceptor = NamedAcceptor(identity_of(1))
    answer = acceptor.handle(Prepare("colour", RUN, ADDRESSES, 3))
    assert isinstance(answer, Promise) and answer.value is None
    asking = by_hand("colour", "red", 0)
    assert [type(request) for _, request in asking.out] == [Prepare] * 5
    learning = by_hand("colour", None)
    assert [type(request) for _, request in learning.out] == [Ask] * 5
    for at, (address, _) in enumerate(list(learning.out)[:3], 1):
        vote = Standing("colour", RUN, identity_of(at), 3, RUN, 3, "red")
        learning.hear(address, vote, 2, 0)
    assert learning.outcome is not None
    assert (learning.outcome.kind, learning.outcome.value) == (CHOSEN, "red")


def typed(name: str) -> set[str]:
    """The commands that come with one."""
    registered = application(name).registered_commands
    return {command.name or command.callback.__name__ for command in registered if command.callback is not None}


def test_claim_a18_all_roles_in_one_process_or_each_in_its_own() -> None:
    """One replica alone plays all of them; and there is a command for a process with all roles, and one for each."""
    stage = Stage(1)
    stage.start()
    stage.elect(1)
    stage.submit(1, "x")
    stage.read(1, 1)
    stage.live(SECOND)
    assert stage.executed(1) == ["x"] and stage.answered == [(1, 1)]
    assert {"acceptor", "propose", "learn"} <= typed("acceptor")
    assert typed("serve") == {"serve"}


def test_claim_a31_slots_that_are_decided_each_by_itself_cost_two_rounds_each() -> None:
    """The simplest Multi-Paxos: a hundred independent decisions, each with its own prepare. Two rounds for each of them;
    a leader saves one (claim-A32)."""
    acceptors = Acceptors()
    sent = {Prepare: 0, AcceptByHand: 0}
    answered = {Promise: 0, Accepted: 0}
    for slot in range(100):
        run = by_hand(f"slot-{slot}", f"value-{slot}", 0)
        while run.outcome is None:
            requests = list(run.out)
            run.out.clear()
            for address, request in requests:
                sent[type(request)] += 1
                answer = acceptors.handle(address, request)
                answered[type(answer)] += 1
                run.hear(address, answer, 2, 0)
        assert (run.outcome.kind, run.outcome.value) == (CHOSEN, f"value-{slot}")
    assert sent == {Prepare: 500, AcceptByHand: 500}
    assert answered == {Promise: 500, Accepted: 500}
