"""Schedules of reigns, streams and the state machine: what outlives a leader, and must not be taken for its successor's."""

from multipaxos.coordination.commands import NO_OWNER, encode_attach, encode_expire, encode_request
from multipaxos.coordination.machine import Machine
from multipaxos.core.decree import NOOP
from multipaxos.core.effects import Applied
from multipaxos.core.settings import Settings
from multipaxos.mutants.schedules.staging import MILLISECOND_NS, SECOND_NS, campaign, lose_power, require, take_over
from multipaxos.mutants.service_hunts import Gateway
from multipaxos.sim.checkers import Expected
from multipaxos.sim.history import History
from multipaxos.sim.stage import Stage, led
from multipaxos.sim.transcript import TreeOnStage
from multipaxos.wire.zookeeper import (
    OP_CREATE,
    OP_DELETE,
    OP_MULTI,
    encode_create,
    encode_multi,
    encode_versioned_path,
)


def late_epoch_decree() -> None:
    """trap-T25: the epoch decree of leader 2 survives in replica 3 alone, in slot 4. Leader 1 begins a later reign in slot
    3. Leader 3 adopts slot 4: the reign of leader 2 must not begin again."""
    stage = led(3, settings=Settings(pipeline=8))
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.drop(to=2)
    stage.deliver(to=3, kind="Accept")
    lose_power(stage, 1)
    campaign(stage, 2, 3)
    stage.slow_disks.add(2)
    stage.deliver(to=2, kind="Promise")
    assert stage.deliver(to=3, kind="Accept") == 2, "leader 2 has not proposed two slots"
    lose_power(stage, 2)
    stage.slow_disks.clear()
    stage.cut_off(3)
    stage.favoured = 1
    stage.start(1, 2)
    stage.elect(1)
    stage.crash(1, is_noticed=False)
    stage.heal()
    stage.drop()
    stage.favoured = 3
    stage.elect(3)
    assert stage.core(3).applied >= 5, "leader 3 has adopted nothing"


def late_decision() -> None:
    """trap-T25: leader 1 decides that a session has expired, and loses power; replica 3 alone has the decision, in slot 5.
    Another reign begins in slot 4, which gives every session a full timeout. Leader 3 adopts slot 5: the session lives."""
    stage = Stage(3, Settings(pipeline=8), make_machine=TreeOnStage)
    stage.start()
    stage.elect(1)
    stage.propose(3, encode_attach(0, (3, 1, 1), 10_000, NO_OWNER))
    stage.settle()
    stage.favoured = 2
    stage.live(200 * MILLISECOND_NS)
    session, owner = next((held.id, held.owner) for held in _machine(stage, 1).sessions.values())
    stage.slow_disks.add(1)
    stage.propose(2, encode_attach(0, (2, 1, 1), 10_000, NO_OWNER))
    stage.deliver(to=1, kind="Forward")
    stage.propose(1, encode_expire(session, owner, stage.core(1).leader_ballot))
    stage.drop(kind="Accept", slot=4)
    stage.drop(kind="Accept", to=2)
    stage.deliver(to=3, kind="Accept")
    lose_power(stage, 1)
    stage.slow_disks.clear()
    stage.start(1)
    stage.cut_off(3)
    stage.drop()
    take_over(stage, 2, 1)
    stage.deliver(to=1, kind="Accept")
    stage.deliver(to=2, kind="Accepted")
    stage.crash(2, is_noticed=False)
    stage.heal()
    stage.drop()
    stage.favoured = 3
    stage.elect(3)
    assert stage.core(3).reign == stage.core(3).leader_ballot and stage.core(3).applied >= 6
    require(
        session in _machine(stage, 3).sessions,
        "rule-R13",
        f"session {session:#x} is ended by a decision of the reign of 0.1, two reigns later",
    )


def _machine(stage: Stage, replica: int) -> Machine:
    service = stage.replicas[replica].service
    assert isinstance(service, TreeOnStage)
    return service.machine


def gap_in_a_stream() -> None:
    """trap-T6, figure 1 of the Zab paper: a gateway sends A, then B, which builds on A; only B is accepted, by replica 3
    alone. Replica 3 leads and must propose B again. B is executed only where A was."""
    stage = led(3, settings=Settings(pipeline=8))
    stage.slow_disks.add(1)
    stage.submit(1, "A")
    stage.submit(1, "B")
    stage.drop(kind="Accept", slot=3)
    stage.drop(kind="Accept", to=2)
    stage.deliver(to=3, kind="Accept")
    lose_power(stage, 1)
    stage.favoured = 3
    stage.elect(3)
    assert stage.core(3).applied >= 5, "leader 3 has adopted nothing"


def late_write() -> None:
    """trap-T24, ``session-moves-late-write``: a write of the connection at replica 2 is under way while the client attaches
    through replica 3, and acts there. What is applied behind the attach belongs to nobody any more."""
    stage = Stage(3, make_machine=TreeOnStage)
    stage.start()
    stage.elect(1)
    stage.propose(2, encode_attach(0, (2, 1, 1), 10_000, NO_OWNER))
    stage.settle()
    session = next(iter(_machine(stage, 1).sessions))
    stage.propose(2, encode_request(session, (2, 1, 1), (), OP_CREATE, encode_create("/late", b"")))
    stage.hold(kind="Forward")
    stage.propose(3, encode_attach(session, (3, 1, 1), 10_000, (2, 1, 1)))
    stage.settle()
    stage.let_go()
    stage.settle()
    assert _machine(stage, 1).sessions[session].owner == (3, 1, 1), "the session has not moved"
    require(
        "/late" not in _machine(stage, 1).tree.nodes,
        "rule-R9",
        f"a write of session {session:#x} by a connection it has left is executed after it moved",
    )


def end_of_a_session() -> None:
    """bug-E08: a client falls silent for ever. What its leader does then must stand in the ledger: whoever executes the same
    commands comes to the same state."""
    gateway = Gateway()
    session, _ = gateway.connect(1)
    gateway.service.connection_closed(1, gateway.now)
    gateway.pass_time(10 * SECOND_NS)
    assert session not in gateway.service.machine.sessions, "the session does not expire"
    twin = Machine()
    twin.begin_epoch(1, gateway.service.machine.reign)
    for command in gateway.submitted:
        twin.apply(command, 1, False)
    require(
        twin.digest() == gateway.service.machine.digest(),
        "I7",
        f"the leader has ended session {session:#x}, and the commands in the ledger do not",
    )


def clock_runs_fast() -> None:
    """bug-D11: command time, which follows wall clocks, is corrected forward, by a quarter of a second in each heartbeat. A
    client that was heard two seconds ago keeps its session of four. (One great leap looks like a leader that was stopped,
    which gives everybody a full timeout.)"""
    gateway = Gateway()
    session, _ = gateway.connect(1)
    service = gateway.service
    other = encode_attach(0, (2, 1, 1), 10_000, NO_OWNER)
    for beat in range(1, 21):
        time_ms = gateway.now // MILLISECOND_NS + 250 * beat
        service.applied(
            Applied(100 + beat, time_ms, 1, service.machine.reign, False, [(2, 0, other)], None), gateway.now
        )
        gateway.pass_time(100 * MILLISECOND_NS)
    require(session in service.machine.sessions, "rule-R24", f"session {session:#x} of 4 s is ended after two seconds")


def zxid_boundary() -> None:
    """rule-R14: the counter of a zxid is used up, and a new leader begins the next epoch."""
    history = History(lambda: 0)
    machine = history.machine
    machine.begin_epoch(1, 1)
    machine.zxid += (1 << 32) - 3
    for slot in range(1, 7):
        expected = Expected(slot, NOOP)
        expected.commands = [(1, 1, 1, slot, encode_attach(0, (1, 1, slot), 10_000, NO_OWNER))]
        history.chosen(expected)
    expected = Expected(7, NOOP)
    expected.began_epoch = True
    expected.epoch = 2
    expected.reign = 2
    expected.commands = [(2, 1, 1, 1, encode_attach(0, (2, 1, 1), 10_000, NO_OWNER))]
    before = machine.zxid
    history.chosen(expected)
    require(machine.zxid > before, "I9", f"zxid falls from {before:#x} to {machine.zxid:#x} with a new epoch")


def multi_fails_halfway() -> None:
    """rule-R17: a transaction whose second operation cannot be done leaves nothing of its first."""
    machine = Machine()
    machine.begin_epoch(1, 1)
    owner = (1, 1, 1)
    session = machine.apply(encode_attach(0, owner, 10_000, NO_OWNER), 1, True).session
    before = machine.digest()
    record = encode_multi([(OP_CREATE, encode_create("/half", b"")), (OP_DELETE, encode_versioned_path("/nothing"))])
    machine.apply(encode_request(session, owner, (("world", "anyone"),), OP_MULTI, record), 2, True)
    require(machine.digest() == before, "rule-R17", "a transaction that failed has changed the tree")
    made = encode_create("/whole", b"")
    machine.apply(encode_request(session, owner, (("world", "anyone"),), OP_CREATE, made), 3, True)
    assert machine.digest() != before, "the digest sees nothing"
