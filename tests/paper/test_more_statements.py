"""Statements of The Part-Time Parliament and of Paxos Made Moderately Complex that are about time, order and roles."""

from collections.abc import Callable

import pytest
from timed_stage import MS, SECOND, TimedStage

from multipaxos.core.ballot import ballot_of
from multipaxos.core.messages import Learn, Prepare
from multipaxos.core.settings import Settings
from multipaxos.sim.stage import led

ELECTION_TIMEOUT = Settings().election_max_ns


def passed_since(stage: TimedStage, since: int) -> Callable[[], bool]:
    """Whether a command was acknowledged after ``since``."""
    return lambda: any(at > since for at, _ in stage.acknowledged)


@pytest.mark.parametrize("message_ns,action_ns", [(5 * MS, 2 * MS), (20 * MS, 10 * MS), (40 * MS, 20 * MS)])
def test_p10_progress_within_a_sharp_bound(message_ns: int, action_ns: int) -> None:
    """Section 2.4: a decree is passed within T + 9 x (message + action), T being when nobody comes or goes any more and
    the president is missed: here one election timeout after it fell silent. A promise is three actions, its own record
    and two copies beside it."""
    for seed in range(8):
        stage = TimedStage(seed=seed)
        stage.link_ns = message_ns
        stage.sync_ns = dict.fromkeys(stage.sync_ns, action_ns)
        stage.lead(1)
        stage.crash(1, is_noticed=False)
        silent_from = stage.now
        stage.every(10 * MS, stage.now + 3 * SECOND, 2)
        assert stage.run(3 * SECOND, passed_since(stage, silent_from))
        assert stage.now - silent_from <= ELECTION_TIMEOUT + 9 * (message_ns + action_ns)


def test_p12_after_a_time_without_movement_there_is_one_president() -> None:
    """Section 2.4: exactly one, whoever was cut off or came back before."""
    for seed in range(8):
        stage = TimedStage(5, seed=seed).lead(1)
        stage.crash(1)
        stage.run(SECOND // 2)
        stage.start(1)
        stage.crash(2 + seed % 4)
        stage.run(3 * ELECTION_TIMEOUT)
        assert stage.leader != 0
        assert len({process.core.leader for process in stage.replicas.values() if process.core is not None}) == 1


@pytest.mark.parametrize("rates", [(-100_000, 0, 100_000), (100_000, -100_000, 0), (0, 100_000, -100_000)])
def test_p13_timers_of_known_accuracy_suffice(rates: tuple[int, ...]) -> None:
    """Section 2.4: clocks that run a tenth too fast or too slow; a leader keeps its office, and one that dies has a
    successor."""
    stage = TimedStage()
    for replica, rate in enumerate(rates, 1):
        stage.replicas[replica].clock.rate_ppm = rate
    stage.lead(1)
    stage.run(60 * SECOND)
    assert stage.leader == 1 and stage.oracle.epochs == 1
    stage.crash(1, is_noticed=False)
    assert stage.run(3 * ELECTION_TIMEOUT, lambda: stage.leader in (2, 3))


def test_p20_a_decree_that_comes_too_early_waits_for_those_before_it() -> None:
    """Section 3.3.2: decree 1302 waits for 1300 and 1301. Replica 2 learns slot 6, then 3, then 5, then 4."""
    stage = led()
    stage.cut(1, 2)
    for command in ("1299", "1300", "1301", "1302"):
        stage.submit(1, command)
        stage.settle()
    told = {}
    for slot in (6, 3, 5, 4):
        ballot, decree = stage.oracle.chosen[slot]
        stage.replicas[2].arrive(Learn(3, ((slot, ballot, decree),), 2))
        stage.tick(2)
        stage.drop()
        told[slot] = stage.executed(2)
    assert told == {6: [], 3: ["1299"], 5: ["1299"], 4: ["1299", "1300", "1301", "1302"]}


def test_k7_leader_and_acceptor_of_one_replica_have_each_their_own_ballot() -> None:
    """Section 4.3: co-located, and still two. A leader that no quorum hears protects nobody any more, so its own acceptor
    promises a candidate above it; the leader goes on at its own ballot until it hears that it was passed, and its own
    acceptor refuses it like any other's would."""
    stage = led()
    stage.cut_off(1)
    stage.advance(4 * stage.settings.heartbeat_ns)
    stage.drop()
    above = ballot_of(3, 2)
    stage.replicas[1].arrive(Prepare(2, above, 3, 2, -1))
    stage.tick(1)
    core = stage.core(1)
    assert core.acceptor.promised == above
    assert core.leadership is not None and core.leadership.ballot == ballot_of(0, 1)
    stage.submit(1, "x")
    assert core.acceptor.votes == {}
    assert not stage.find("Accepted", sender=1)
