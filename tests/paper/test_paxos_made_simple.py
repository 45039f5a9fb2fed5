"""Paxos Made Simple (Lamport, 2001): one test for each statement that the core can express, with its section.

P2c is asserted by the oracle at every proposal of every run (``sim/checkers.py``); S22 with its numbers is
``tests/transcripts/lamport-135.txt``.
"""

import pytest

from multipaxos.core.acceptor import Acceptor
from multipaxos.core.ballot import ballot_of
from multipaxos.core.leader import Campaign
from multipaxos.core.messages import Accept, Promise, PValue
from multipaxos.core.settings import Settings
from multipaxos.sim.checkers import Violation
from multipaxos.sim.stage import Stage

SECOND = 1_000_000_000


def led(count: int = 3, settings: Settings | None = None) -> Stage:
    """Leader 1, everybody up to date; replica 2 suspects first."""
    stage = Stage(count, settings)
    stage.start()
    stage.elect(1)
    stage.favoured = 2
    stage.live(SECOND // 5)
    return stage


def test_s1_only_a_proposed_decree_may_be_chosen() -> None:
    """Section 2.1. The oracle refuses any executed command that nobody submitted."""
    stage = led()
    accept = Accept(1, stage.core(1).leader_ballot, 3, _batch(b"made up"), 2)
    for replica in (2, 3):
        with pytest.raises(Violation, match="never proposed"):
            stage.replicas[replica].inbox.append(accept)
            stage.tick(replica)


def _batch(command: bytes) -> bytes:
    from multipaxos.core.decree import encode_batch, encode_segment

    return encode_batch(0, [encode_segment(1, 1, 1, 1, [command])])


def test_s3_nobody_learns_what_is_not_chosen() -> None:
    """Section 2.1: one vote of three is known to the leader, and nothing is learned."""
    stage = led()
    stage.submit(1, "x")
    stage.deliver(1, "Accepted", sender=1)
    assert stage.core(1).chosen_prefix == 2
    assert stage.executed(1) == []


def test_s5_p1_an_acceptor_accepts_the_first_proposal_it_receives() -> None:
    """Section 2.2, P1."""
    acceptor = Acceptor()
    assert acceptor.may_accept(0)
    assert acceptor.accept(0, 1, b"\x00")


@pytest.mark.parametrize("promised", [-1, 0, 5, 9])
@pytest.mark.parametrize("asked", [0, 4, 5, 6, 10])
def test_s6_p1a_accept_n_iff_no_prepare_above_n_was_answered(promised: int, asked: int) -> None:
    """Section 2.2, P1a."""
    acceptor = Acceptor()
    if promised >= 0:
        acceptor.promise(promised)
    assert acceptor.may_accept(asked) == (asked >= promised)


def test_s7_p2c_a_proposal_against_the_reports_is_refused_by_the_oracle() -> None:
    """Section 2.2, P2c: x was reported, so no other decree may be proposed in its slot."""
    stage = led()
    stage.submit(1, "x")
    stage.deliver(3, "Accept")
    stage.crash(1, is_noticed=False)
    stage.flight = []
    stage.tick(2)
    stage.deliver(3, "Probe")
    stage.deliver(2, "ProbeAnswer")
    stage.deliver(3, "Prepare")
    stage.deliver(2, sender=2)
    ballot = stage.core(2).promised
    promise = stage.find("Promise", to=2)[0].payload
    assert isinstance(promise, Promise) and promise.pvalues[0].slot == 3
    stage.oracle.received(2, promise)
    with pytest.raises(Violation, match="I5"):
        stage.oracle._propose(ballot, 3, _batch(b"own"))


def test_s9_the_accept_set_need_not_be_the_prepare_set() -> None:
    """Section 2.2 (trap-T7): promised by 1 and 2, accepted by 3, 4 and 5."""
    stage = led(5)
    stage.submit(1, "x")
    for replica in (3, 4, 5):
        stage.deliver(replica, "Accept")
        stage.deliver(1, "Accepted", sender=replica)
    assert stage.core(1).chosen_prefix == 3


def test_s10_an_acceptor_may_ignore_any_request() -> None:
    """Section 2.2: replica 3 is deaf to every second message; nothing breaks, and everything is done."""
    stage = led()
    for number in range(20):
        stage.submit(2, f"c{number}")
        turn = 0
        while stage.flight:
            flying = stage.flight[0]
            turn += 1
            if flying.to == 3 and turn % 2:
                stage.flight.remove(flying)
            else:
                stage.deliver(flying.to, flying.kind, flying.sender, flying.slot)
    stage.live(3 * SECOND)
    assert stage.executed(1) == stage.executed(3) == [f"c{number}" for number in range(20)]


def test_s11_an_acceptor_remembers_one_promise_and_one_vote_a_slot() -> None:
    """Section 2.2."""
    acceptor = Acceptor()
    for round_number in range(10):
        acceptor.accept(ballot_of(round_number, 1), 1, bytes([round_number]))
    assert acceptor.votes == {1: (ballot_of(9, 1), b"\x09")}
    assert acceptor.promised == ballot_of(9, 1)


def test_s12_a_proposer_that_restarts_between_the_phases_takes_a_higher_ballot() -> None:
    """Section 2.2: abandon at any time, reuse never."""
    stage = led()
    stage.crash(1, is_noticed=False)
    used = []
    for _ in range(3):
        stage.flight = []
        stage.wait(SECOND)
        for _ in range(10):
            stage.tick(2)
            stage.deliver(3, "Probe")
            stage.deliver(2, "ProbeAnswer")
            if stage.core(2).standing == "candidate":
                break
        used.append(stage.core(2).promised)
        stage.crash(2, is_noticed=False)
        stage.start(2)
    assert used == sorted(set(used))


def test_s15_a_distinguished_learner_tells_the_others() -> None:
    """Section 2.3 (b): A + L messages beyond the accepts, the leader being the distinguished learner."""
    stage = led(5)
    stage.sent.clear()
    stage.submit(1, "x")
    stage.settle()
    assert stage.sent == {"Accept": 4, "Accepted": 4, "Prefix": 4}


def test_s17_a_decree_may_be_chosen_while_nobody_knows() -> None:
    """Section 2.3: every vote was cast, every answer lost, the proposer died. Running a ballot finds it out."""
    stage = led()
    stage.submit(1, "x")
    stage.deliver(kind="Accept")
    stage.flight = []
    stage.crash(1, is_noticed=False)
    assert 3 in stage.oracle.chosen
    assert all(stage.core(replica).chosen_prefix == 2 for replica in (2, 3))
    stage.read(3, 1)
    stage.live(4 * SECOND)
    assert (3, 1) in stage.answered
    assert stage.executed(3) == ["x"]


def test_s18_two_proposers_do_not_duel_for_ever() -> None:
    """Section 2.4: four replicas of five suspect the leader at one moment, and soon one of them leads."""
    stage = led(5)
    stage.crash(1)
    stage.favoured = 0  # all draw the same: the worst case for jitter, probes alone must end it
    stage.live(6 * SECOND)
    leaders = [replica for replica in (2, 3, 4, 5) if stage.core(replica).is_leading]
    assert len(leaders) == 1
    assert stage.oracle.epochs <= 3


def test_s19_an_acceptor_records_before_it_answers() -> None:
    """Section 2.5: on a disk whose sync does not return, nothing is asserted, ever."""
    stage = led()
    stage.slow_disks.add(2)
    stage.flight = []
    stage.submit(1, "x")
    stage.live(5 * SECOND)
    assert not stage.find("Accepted", sender=2)
    assert stage.executed(2) == ["x"], "it learns from the others without a voice of its own"


def test_s20_replicas_of_one_ledger_come_to_one_state() -> None:
    """Section 3."""
    stage = led()
    for number in range(30):
        stage.submit(number % 3 + 1, f"c{number}")
    stage.settle()
    assert stage.executed(1) == stage.executed(2) == stage.executed(3)
    assert len(stage.executed(1)) == 30


def test_s21_one_prepare_covers_all_slots_to_come() -> None:
    """Section 3: phase 1 is one short message for infinitely many slots, and so is its answer."""
    stage = led()
    stage.sent.clear()
    stage.submit(1, *[f"c{number}" for number in range(100)])
    stage.settle()
    stage.crash(1)
    stage.elect(2)
    prepares = stage.sent["Prepare"]
    assert prepares == 2
    assert stage.sent["Promise"] == 1


def test_s22_what_phase_one_says_is_proposed_again_and_gaps_become_no_ops() -> None:
    """Section 3, its numbers: 1 to 134, 138, 139 known; 135 and 140 reported."""
    ballot = ballot_of(5, 1)
    campaign = Campaign(ballot, 135, -1)
    for sender, slot in ((2, 135), (3, 140)):
        vote = PValue(ballot_of(1, 2), slot, b"%d" % slot)
        assert campaign.hear(Promise(sender, 0, ballot, 135, 135, slot, slot, 134, (vote,)))
    assert list(campaign.to_propose(134)) == [
        (135, b"135"), (136, b"\x00"), (137, b"\x00"), (138, b"\x00"), (139, b"\x00"), (140, b"140"),
    ]  # fmt: skip


@pytest.mark.parametrize("pipeline", [1, 2, 5])
def test_s23_slots_may_be_open_beyond_those_chosen(pipeline: int) -> None:
    """Section 3: 142 before 141 is chosen, as many as the pipeline has; a lost accept leaves a gap, which is filled."""
    stage = led(settings=Settings(pipeline=pipeline))
    for number in range(8):
        stage.submit(1, f"c{number}")
    assert sorted({flying.slot for flying in stage.find("Accept")}) == list(range(3, 3 + pipeline))
    stage.drop(kind="Accept", slot=3)
    stage.settle()
    assert stage.core(1).chosen_prefix == 2
    stage.live(2 * SECOND)
    assert stage.executed(2) == [f"c{number}" for number in range(8)]


def test_s24_an_accept_without_an_answer_is_sent_again() -> None:
    """Section 3."""
    stage = led()
    stage.submit(1, "x")
    stage.drop(kind="Accept")
    stage.settle()
    assert stage.core(1).chosen_prefix == 2
    stage.live(stage.settings.retry_ns)
    assert stage.core(1).chosen_prefix == 3


def test_s25_a_command_costs_one_round_trip_from_the_leader() -> None:
    """Section 3."""
    stage = led()
    stage.submit(1, "x")
    assert stage.deliver(kind="Accept") == 2
    assert stage.deliver(kind="Accepted") == 3
    assert stage.executed(1) == ["x"]


def test_s26_several_leaders_at_once_break_nothing() -> None:
    """Section 3: replica 1 is cut off and still leads; replica 2 leads for the others. Both propose."""
    stage = led(settings=Settings(election_max_ns=60 * SECOND, election_min_ns=SECOND))
    for other in (2, 3):
        stage.cut(1, other)
        stage.cut(other, 1)
    stage.elect(2)
    assert stage.core(1).is_leading and stage.core(2).is_leading
    stage.submit(1, "old")
    stage.submit(2, "new")
    stage.settle()
    assert (stage.executed(1), stage.executed(2)) == ([], ["new"])
    stage.heal()
    stage.live(20 * SECOND)
    assert stage.executed(1) == stage.executed(2) == stage.executed(3)
    assert sorted(stage.executed(1)) == ["new", "old"]


def test_s26_without_a_leader_nothing_is_chosen() -> None:
    """Section 3: a minority alone."""
    stage = led()
    stage.crash(1)
    stage.crash(2)
    stage.submit(3, "x")
    stage.live(10 * SECOND)
    assert stage.oracle.prefix == 2
    stage.start(2)
    stage.live(3 * SECOND)
    assert stage.executed(3) == ["x"]
