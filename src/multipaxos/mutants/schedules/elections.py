"""Schedules of elections: half-broken networks and equal timers, after which a leader must be there within a bound (I16)."""

from collections.abc import Callable
from random import Random

from multipaxos.core.ballot import ReplicaId
from multipaxos.mutants.schedules.staging import MILLISECOND_NS, SECOND_NS, campaign, require
from multipaxos.sim.stage import Flying, Stage, led

DELAY_NS = 5 * MILLISECOND_NS
TIMEOUTS_NS = 12 * SECOND_NS
"""Ten election timeouts."""


def run_evenly(stage: Stage, nanoseconds: int, is_over: Callable[[], bool]) -> bool:
    """Let time pass on a network where every message takes ``DELAY_NS``; whether it was over in time."""
    until = stage.now + nanoseconds
    under_way: list[tuple[int, Flying]] = []
    while stage.now < until and not is_over():
        under_way += [(stage.now + DELAY_NS, flying) for flying in stage.flight]
        timers = [process.due for process in stage.replicas.values() if process.is_ready and process.due]
        stage.now = max(stage.now, min(timers + [at for at, _ in under_way], default=until))
        now = stage.now
        stage.flight = [flying for at, flying in under_way if at <= now]
        under_way = [(at, flying) for at, flying in under_way if at > now]
        stage.deliver()
        for process in stage.replicas.values():
            if process.is_ready and 0 < process.due <= now:
                stage.tick(process.id)
    return is_over()


def equal_timers() -> None:
    """bug-F09, ``duel``: all replicas lose their leader at one instant, and every message takes equally long. Only what
    they draw tells them apart."""
    stage = led(3)
    stage.chance = Random(1)
    stage.crash(1, is_noticed=False)
    stage.drop()
    won = run_evenly(stage, TIMEOUTS_NS, lambda: _leads(stage, 2) or _leads(stage, 3))
    require(won, "I16", f"nobody leads {TIMEOUTS_NS // SECOND_NS} s after the leader died")


def _leads(stage: Stage, replica: ReplicaId) -> bool:
    core = stage.replicas[replica].core
    return core is not None and core.is_leading


def deaf_source() -> None:
    """bug-F09, ``one-way``: replica 3 hears the leader, which hears nothing of it. Who told of a slot cannot be asked for it;
    replica 2 can."""
    stage = led(3)
    stage.cut(1, 3)
    stage.submit(1, "x")
    stage.settle()
    stage.heal()
    stage.cut(3, 1)
    stage.live(3 * SECOND_NS)
    require(
        stage.executed(3) == ["x"],
        "I16",
        "replica 3 hears all and reaches one of two, and has not caught up within 3 s",
    )


def quorum_loss() -> None:
    """``quorum-loss``: only replica 3 reaches everybody. The old leader lives, and replica 3 hears it."""
    stage = led(5, favoured=3)
    stage.live(300 * MILLISECOND_NS)
    for one, other in ((1, 2), (1, 4), (1, 5), (2, 4), (2, 5), (4, 5)):
        stage.cut(one, other)
        stage.cut(other, one)
    stage.live(4 * 1_200 * MILLISECOND_NS + SECOND_NS)
    require(_leads(stage, 3), "I16", "replica 3 reaches all, and does not lead within four election timeouts")


def dead_ballot() -> None:
    """``dead-ballot``: replica 2 has promised replica 3, which died. With a third of three down the leader needs the vote
    of replica 2."""
    stage = led(3)
    stage.live(100 * MILLISECOND_NS)
    stage.cut_off(1)
    campaign(stage, 3, 2)
    stage.crash(3, is_noticed=False)
    stage.drop()
    stage.heal()
    stage.favoured = 1
    stage.live(2 * SECOND_NS)
    stage.submit(1, "x")
    stage.live(TIMEOUTS_NS)
    require(
        "x" in stage.executed(1),
        "I16",
        f"two of three replicas are connected, and a write is not done within {TIMEOUTS_NS // SECOND_NS} s",
    )


def passed_leader() -> None:
    """bug-B23, ``old-leader-returns``: leader 1 was cut off, replica 2 leads and has written. When the links are good again
    replica 1 must follow: a leader fetches nothing, so one that is no more stays behind for ever."""
    stage = led(3)
    stage.cut_off(1)
    stage.elect(2)
    stage.submit(2, "x")
    stage.settle()
    stage.heal()
    stage.live(5 * SECOND_NS)
    require(stage.executed(1) == ["x"], "I16", "the leader of before has not caught up 5 s after it was passed")


def guest_returns() -> None:
    """``old-leader-returns``, ``removed-disrupts``: replica 3 was cut off for a while, and comes back. Leader 1 was well all
    the time, and its reign goes on."""
    stage = led(3, favoured=3)
    reign = stage.core(1).reign
    stage.cut_off(3)
    stage.live(5 * SECOND_NS)
    stage.heal()
    stage.live(5 * SECOND_NS)
    require(
        stage.core(2).reign == reign, "rule-R28", "a replica that was cut off has ended the reign of a healthy leader"
    )


def transfer_late() -> None:
    """``transfer-late``: a hand-over came to nothing, since its last message was slow. Delivered half a minute later, it
    must not unseat the leader."""
    stage = led(3)
    reign = stage.core(1).reign
    stage.live(100 * MILLISECOND_NS)
    stage.tick(1)
    stage.deliver()
    stage.deliver()
    stage.handover(1, 2)
    assert stage.hold(kind="CampaignNow") == 1, "the leader does not hand over"
    stage.live(30 * SECOND_NS)
    assert stage.core(2).reign == reign
    stage.let_go()
    stage.live(5 * SECOND_NS)
    require(stage.core(2).reign == reign, "rule-R30", "an order to campaign, half a minute old, has unseated a leader")


def hung_leader() -> None:
    """``hung-leader``: no sync of leader 1 ever returns. The others can go on without it, and one of them must lead."""
    stage = led(3)
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.live(5 * SECOND_NS)
    require(
        _leads(stage, 2) or _leads(stage, 3),
        "rule-R31",
        "a leader whose disk has stood still for four election timeouts has not handed over",
    )


def newcomer_promises() -> None:
    """bug-F05: nobody knows yet that it is a voter, since no configuration was ever applied; somebody must promise first."""
    stage = Stage(3)
    stage.start()
    stage.live(TIMEOUTS_NS)
    require(any(_leads(stage, replica) for replica in stage.replicas), "I16", "the cluster is never born")
