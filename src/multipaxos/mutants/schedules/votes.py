"""Schedules of acceptors and of phase 1: what random worlds reach in thousands of seeds only."""

from dataclasses import replace

from multipaxos.core.ballot import NO_BALLOT, ROUND_LEAP_MAX, ReplicaId, ballot_of, round_of
from multipaxos.core.membership import Configuration
from multipaxos.core.messages import Nack
from multipaxos.core.settings import Settings
from multipaxos.mutants.schedules.staging import (
    MILLISECOND_NS,
    SECOND_NS,
    SILENCE_NS,
    campaign,
    campaign_again,
    lose_power,
    require,
    take_over,
)
from multipaxos.sim.stage import Flying, Stage, StageOracle, led


def votes_of_two_ballots() -> None:
    """x is proposed at 0.1; replicas 1 and 2 of five vote, and the answer of 2 is slow. Ballot 0.1 dies with a promise of
    replica 3; leader 1 begins anew by the promises of 3 and 4, and proposes x again at 1.1, where 1 and 3 vote. Two votes
    at 1.1 and a slow one at 0.1 are no quorum: replicas 2, 4 and 5 could still choose something else."""
    stage = led(5)
    stage.submit(1, "x")
    stage.deliver(to=2, kind="Accept")
    stage.hold(to=1, kind="Accepted", sender=2)
    stage.drop()
    campaign(stage, 3, 2, 4)
    stage.crash(3, is_noticed=False)
    stage.drop()
    stage.start(3)
    stage.drop()
    stage.favoured = 1
    for _ in range(20):
        if stage.find("Prepare", sender=1):
            break
        # A heartbeat brings the dead ballot to light, and nobody answers for it.
        stage.drop(kind="Inquire")
        stage.tick(1)
        stage.deliver(to=3, kind="Heartbeat")
        stage.deliver(to=1, kind="Echo", sender=3)
    stage.deliver(to=3, kind="Prepare")
    stage.deliver(to=4, kind="Prepare")
    stage.deliver(to=1, kind="Promise")
    assert stage.core(1).standing == "leader", "leader 1 has not begun anew"
    stage.deliver(to=3, kind="Accept", slot=3)
    stage.deliver(to=1, kind="Accepted", slot=3)
    stage.drop()
    stage.let_go()
    stage.deliver(to=1, kind="Accepted")


def promise_and_restart() -> None:
    """bug-A01: replica 2 promises replica 3, says so, and is started again."""
    stage = led(3)
    campaign(stage, 3, 2)
    stage.deliver(to=3, kind="Promise")
    _start_again(stage, 2)


def vote_and_restart() -> None:
    """bug-A16: replica 3 votes at 0.2 without having seen a prepare, says so, and is started again."""
    stage = led(3)
    _start_again(stage, 1)
    take_over(stage, 2, 1)
    stage.deliver(to=3, kind="Accept")
    assert stage.deliver(to=2, kind="Accepted", sender=3), "replica 3 does not vote"
    _start_again(stage, 3)


def promise_of_the_last_attempt() -> None:
    """bug-A03: replica 2 promises 0.3, and its answer is slow. Replica 3 gives up and campaigns again, at 1.3, which nobody
    but itself has promised when that answer arrives."""
    stage = led(3)
    campaign(stage, 3, 2)
    stage.hold(to=3, kind="Promise", sender=2)
    stage.drop()
    campaign_again(stage, 3, 2)
    stage.let_go()
    stage.deliver(to=3, kind="Promise")


def two_reports() -> None:
    """bug-A06: in slot 3 replica 3 has voted for x at 0.1 and replica 2 for something else at 0.2. Replica 3 campaigns by
    the promise of replica 2: what stands at 0.2 may be chosen, what stands at 0.1 cannot be any more."""
    stage = led(3)
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.deliver(to=3, kind="Accept")
    lose_power(stage, 1)
    stage.slow_disks.clear()
    stage.start(1)
    stage.drop()
    take_over(stage, 2, 1)
    _start_again(stage, 2)
    take_over(stage, 3, 2)


def promised_while_leading() -> None:
    """bug-A18: nobody echoes leader 1 any more, so it promises replica 3, and still leads. Then a client asks for x."""
    stage = led(3, favoured=3)
    for _ in range(8):
        stage.tick(1)
        stage.drop()
    for _ in range(5):
        if stage.find("Probe", sender=3):
            break
        stage.tick(3)
    stage.deliver(to=1, kind="Probe")
    stage.deliver(to=3, kind="ProbeAnswer")
    stage.deliver(to=1, kind="Prepare")
    assert stage.core(1).promised == 3 and stage.core(1).is_leading, "leader 1 has not promised"
    stage.submit(1, "x")


def missed_prepare() -> None:
    """bug-A19: replica 3 missed the prepare of leader 2, and replica 1, which promised it, dies. Leader 2 needs the vote of
    replica 3, and may have it: an accept at a higher ballot is a promise, too."""
    stage = led(3)
    _start_again(stage, 1)
    take_over(stage, 2, 1)
    stage.crash(1, is_noticed=False)
    stage.drop()
    stage.live(SECOND_NS)
    stage.submit(2, "x")
    stage.live(10 * SECOND_NS)
    require("x" in stage.executed(2), "I16", "two of three replicas are connected, and a write is not done within 10 s")


def copies_at_two_ballots() -> None:
    """bug-B03: x is accepted by replica 1 at 0.1 and by replica 2 at 0.2. A new campaign of replica 1 sees two copies of
    it, a quorum of replicas, and no quorum at either ballot: replica 3 has promised neither of them anything."""
    stage = led(3)
    stage.submit(1, "x")
    _start_again(stage, 1)
    take_over(stage, 2, 1)
    _start_again(stage, 2)
    take_over(stage, 1, 2)


def _start_again(stage: Stage, replica: ReplicaId) -> None:
    """A process is killed and started: a leader forgets that it leads, and nothing else; what flies is lost."""
    stage.crash(replica, is_noticed=False)
    stage.start(replica)
    stage.drop()


def observer_votes() -> None:
    """bug-A11: replica 4 is an observer; it answers an accept like any acceptor. The leader's own vote and that answer are
    no quorum of the voters 1, 2 and 3."""
    stage = Stage(4)
    members = tuple(replace(member, is_voter=member.id != 4) for member in stage.listed.members)
    stage.listed = Configuration(0, members, stage.listed.window, "")
    stage.oracle = StageOracle(stage.listed)
    for process in stage.replicas.values():
        process.listed = stage.listed
        process.oracle = stage.oracle
    stage.start()
    stage.elect(1)
    stage.live(200 * MILLISECOND_NS)
    stage.submit(1, "x")
    stage.deliver(to=4, kind="Accept")
    assert stage.find("Accepted", sender=4), "the observer does not answer"
    stage.deliver(to=1, kind="Accepted")


def huge_number() -> None:
    """``huge-number``: a garbled nack says that a ballot 2^40 rounds ahead was promised. A handful of those would use up all
    ballots there are."""
    stage = led(3)
    campaign(stage, 3, 2)
    stage.drop()
    ballot = stage.core(3).promised
    garbled = Nack(2, ballot, ballot_of(1 << 40, 2), 0, NO_BALLOT)
    stage.flight.append(Flying(2, 3, garbled, stage.replicas[3].life))
    stage.deliver(to=3, kind="Nack")
    campaign_again(stage, 3, 2)
    require(
        round_of(stage.core(3).promised) < ROUND_LEAP_MAX,
        "rule-R1",
        f"one garbled number has moved the rounds to {round_of(stage.core(3).promised)}",
    )


def pages_of_two_states() -> None:
    """Replica 2 has voted in slots 3 to 7 and promises replica 3 in five pages; all are slow. Then it learns 3 to 5, and
    promises again: in two pages, which no longer report those three. The first of the new pages and the last of the old
    ones touch, and together they say that nothing was ever accepted in slots 3 to 5."""
    stage = led(3, settings=Settings(pipeline=8, page_bytes_max=1))
    for number in range(3, 8):
        stage.submit(1, f"w{number}")
    stage.deliver(to=2, kind="Accept")
    stage.drop(to=3)
    for slot in (3, 4, 5):
        stage.deliver(to=1, kind="Accepted", slot=slot)
    stage.drop(to=3)
    stage.hold(to=2, kind="Prefix")
    stage.drop()
    campaign(stage, 3, 2)
    stage.deliver(to=3, kind="Promise", sender=3)
    assert stage.hold(to=3, kind="Promise") == 5, "the promise has other pages"
    old = stage.held.pop()
    prefixes = [flying for flying in stage.held if flying.kind == "Prefix"]
    stage.held = []
    stage.flight += prefixes
    stage.deliver(to=2, kind="Prefix")
    assert stage.core(2).chosen_prefix == 5, "replica 2 has not learned slots 3 to 5"
    stage.drop()
    stage.wait(200 * MILLISECOND_NS)
    stage.tick(3)
    stage.deliver(to=2, kind="Prepare")
    stage.deliver(to=3, kind="Promise", sender=2, count=1)
    stage.drop(kind="Promise")
    stage.flight.append(old)
    stage.deliver(to=3, kind="Promise")


def settled_out_of_memory() -> None:
    """Leader 1 proposes x in slot 3; nobody gets it yet. Leader 2 has y chosen there by 2, 4 and 5. Replica 3, which has
    promised leader 2 nothing, fetches it, applies it and lets it go from memory. Then it gets the accept of leader 1: what
    it answers is that the slot is settled, at a ballot it no longer knows."""
    stage = led(5, settings=Settings(ledger_bytes_max=0, ledger_runs_max=0))
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.hold(to=3, kind="Accept")
    stage.drop()
    take_over(stage, 2, 4, 5)
    stage.drop(to=1)
    stage.drop(to=3)
    for _ in range(6):
        stage.deliver(to=4)
        stage.deliver(to=5)
        stage.deliver(to=2)
        stage.drop(to=1)
        stage.drop(to=3)
    stage.tick(2)
    stage.drop(to=1)
    stage.deliver(to=3, kind="Heartbeat")
    stage.deliver(to=2, kind="Fetch")
    stage.deliver(to=3, kind="Learn")
    assert stage.core(3).applied >= 3 and stage.core(3).promised == 1, "replica 3 knows too little, or too much"
    stage.drop()
    stage.let_go()
    stage.deliver(to=3, kind="Accept")
    assert stage.deliver(to=1, kind="Settled"), "replica 3 does not answer"


def no_raise_keep_last() -> None:
    """trap-T3, ``no-raise-keep-last``: acceptor 2 accepts at 0.3 without having seen its prepare, and a moment later x at
    0.1, which was slow. If accepting did not promise, its last vote would hide what is chosen from the next leader."""
    stage = led(3)
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.hold(to=2, kind="Accept")
    lose_power(stage, 1)
    stage.slow_disks.discard(1)
    stage.start(1)
    stage.drop()
    take_over(stage, 3, 1)
    stage.deliver(to=2, kind="Accept", sender=3)
    stage.deliver(to=3, kind="Accepted")
    assert stage.oracle.prefix == 3, "nothing is chosen in slot 3"
    stage.drop()
    stage.let_go()
    stage.deliver(to=2, kind="Accept", sender=1)
    stage.crash(3, is_noticed=False)
    stage.drop()
    stage.elect(2)


def repeat_before_sync() -> None:
    """trap-T30, ``repeat-before-sync``: replica 2 votes, and its sync runs. The leader asks again: the second answer writes
    nothing, and must not leave before the first."""
    stage = led(3)
    stage.slow_disks.add(2)
    stage.submit(1, "x")
    stage.deliver(to=2, kind="Accept", is_kept=True)
    assert not stage.find("Accepted", sender=2), "the first answer has left"
    stage.deliver(to=2, kind="Accept")
    stage.deliver(to=1, kind="Accepted")
    lose_power(stage, 2)


def own_vote_before_sync() -> None:
    """trap-T16: the leader sends accept while its own sync runs, and one follower votes. Both lose power: only a vote that
    was durable may have been counted."""
    stage = led(3)
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.drop(to=3)
    stage.deliver(to=2, kind="Accept")
    stage.deliver(to=1, kind="Accepted")
    lose_power(stage, 1)


def forgotten_promise() -> None:
    """trap-T4, ``forgotten-promise``: replica 3 campaigns, and so far only 5 has promised. 5 loses its disk, starts with an
    empty directory and learns all that is chosen, a slot that was begun after its loss included. Then 4 promises as well,
    and the old leader proposes once more: 5 must not vote for it, for it has forgotten what it promised."""
    stage = led(5)
    stage.favoured = 3
    stage.wait(SILENCE_NS)
    for _ in range(20):
        if stage.find("Probe", sender=3):
            break
        stage.tick(3)
    stage.deliver(to=4, kind="Probe")
    stage.deliver(to=5, kind="Probe")
    stage.deliver(to=3, kind="ProbeAnswer")
    stage.deliver(to=5, kind="Prepare")
    stage.deliver(to=3, kind="Promise")
    stage.hold(to=4, kind="Prepare")
    assert stage.core(5).promised == stage.core(3).promised == 3, "replica 5 has not promised"
    stage.drop()
    stage.crash(5, is_power_lost=True, is_noticed=False)
    stage.empty(5)
    stage.start(5)
    stage.drop()
    stage.cut_off(3)
    _catch_up(stage)
    stage.submit(1, "x")
    for _ in range(3):
        for replica in (1, 2, 4):
            stage.deliver(to=replica, sender=1)
            stage.deliver(to=1, sender=replica)
    assert "x" in stage.executed(1), "nothing is chosen without replica 5"
    _catch_up(stage)
    stage.drop()
    stage.heal()
    stage.let_go()
    stage.deliver(to=4, kind="Prepare")
    stage.submit(1, "y")
    stage.deliver(to=2, kind="Accept")
    stage.deliver(to=5, kind="Accept")
    stage.deliver(to=1, kind="Accepted")


def _catch_up(stage: Stage) -> None:
    """The leader tells replica 5 how far it is, and hands on what 5 asks for."""
    for _ in range(4):
        stage.tick(1)
        if not stage.replicas[5].is_up:
            return
        stage.deliver(to=5, kind="Heartbeat")
        stage.deliver(to=1, kind="Fetch")
        stage.deliver(to=5, kind="Learn")
        stage.wait(300 * MILLISECOND_NS)
