"""The Part-Time Parliament (Lamport, 1998): one test for each statement that the core can express, with its section."""

from itertools import permutations

import pytest

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.leader import Campaign
from multipaxos.core.messages import Promise, PValue
from multipaxos.core.records import AcceptedRecord, PromisedRecord
from multipaxos.sim.stage import Stage

SECOND = 1_000_000_000


def led(count: int = 3) -> Stage:
    """Leader 1, everybody up to date; replica 2 suspects first."""
    stage = Stage(count)
    stage.start()
    stage.elect(1)
    stage.favoured = 2
    stage.live(SECOND // 5)
    return stage


def promise_of(sender: int, ballot: int, votes: tuple[PValue, ...]) -> Promise:
    """A whole promise from slot 1 on."""
    end = max((vote.slot for vote in votes), default=0)
    return Promise(sender, 0, ballot, 1, 1, end, end, 0, votes)


def test_p1_entries_are_indelible() -> None:
    """Section 1.2."""
    stage = led()
    chosen: dict[int, bytes] = {}
    for number in range(10):
        stage.submit(number % 3 + 1, f"c{number}")
        stage.settle()
        for slot, (_, decree) in stage.oracle.chosen.items():
            assert chosen.setdefault(slot, decree) == decree


@pytest.mark.parametrize("leaver", [1, 2, 3])
def test_p2_progress_with_a_majority_in_the_chamber(leaver: int) -> None:
    """Section 1.2: nobody enters or leaves for long enough, so what is submitted is in every ledger in the chamber."""
    stage = led()
    stage.crash(leaver)
    there = [replica for replica in (1, 2, 3) if replica != leaver]
    stage.favoured = there[0]
    for replica in there:
        stage.submit(replica, f"by{replica}")
    stage.live(4 * SECOND)
    for replica in there:
        assert sorted(stage.executed(replica)) == sorted(f"by{other}" for other in there)


def test_p3_what_stood_on_the_slip_of_paper_is_lost_and_what_stood_in_the_ledger_is_not() -> None:
    """Section 1.2: durable are promise and votes, volatile is everything else."""
    stage = led()
    stage.submit(1, "x")
    stage.deliver(2, "Accept")
    before = stage.core(2)
    stage.crash(2, is_power_lost=True, is_noticed=False)
    stage.start(2)
    after = stage.core(2)
    assert after.promised == before.promised
    assert after.acceptor.votes == before.acceptor.votes
    assert after.standing == "follower"
    assert after.leader_ballot == NO_BALLOT


ALPHA, BETA = b"alpha", b"beta"
FIGURE_1 = (
    # ballot, its quorum, who of it voted, its decree (section 2.1, figure 1; priests A to E are 1 to 5)
    (2, (1, 2, 3, 4), (4,), ALPHA),
    (5, (1, 2, 3, 5), (3,), BETA),
    (14, (2, 4, 5), (2, 5), ALPHA),
    (27, (1, 3, 4), (1, 3, 4), BETA),
    (29, (2, 3, 4), (2, 3), BETA),
)


@pytest.mark.parametrize("index", range(5))
def test_p4_b3_the_five_ballots_of_figure_1(index: int) -> None:
    """Section 2.1: the decree of a ballot is that of the latest earlier ballot any member of its quorum voted in.

    In ballots 2, 5 no earlier vote binds; 14 is bound by 2 (priest D), 27 by 5 (priest C), 29 by 27."""
    number, quorum, _, decree = FIGURE_1[index]
    ballot = ballot_of(number, 1)
    campaign = Campaign(ballot, 1, NO_BALLOT)
    for priest in quorum:
        latest = [
            PValue(ballot_of(earlier, 1), 1, earlier_decree)
            for earlier, _, voted, earlier_decree in FIGURE_1[:index]
            if priest in voted
        ][-1:]
        assert campaign.hear(promise_of(priest, ballot, tuple(latest)))
    bound = [report for _, report in campaign.to_propose(0)]
    assert bound in ([], [decree])
    assert bool(bound) == (number in (14, 27, 29))


def test_p5_max_vote_does_not_depend_on_the_order_of_the_answers() -> None:
    """Section 2.1: MaxVote and null votes."""
    ballot = ballot_of(9, 1)
    answers = (
        promise_of(1, ballot, ()),
        promise_of(2, ballot, (PValue(ballot_of(3, 2), 1, BETA),)),
        promise_of(3, ballot, (PValue(ballot_of(2, 3), 1, ALPHA),)),
    )
    for order in permutations(answers):
        campaign = Campaign(ballot, 1, NO_BALLOT)
        for answer in order:
            campaign.hear(answer)
        assert list(campaign.to_propose(0)) == [(1, BETA)]


def test_p6_ballots_are_ordered_by_number_then_priest() -> None:
    """Section 2.2: (13, gamma) < (13, lambda) < (15, gamma)."""
    gamma, lambda_ = 1, 2
    assert ballot_of(13, gamma) < ballot_of(13, lambda_) < ballot_of(15, gamma)


def test_p8_a_leader_that_restarts_never_issues_a_second_decree_for_a_ballot() -> None:
    """Section 2.2. The oracle asserts I1 and I4 at every proposal; here the leader dies with its accepts under way."""
    stage = led()
    ballots = set()
    for number in range(4):
        leader = stage.core(1)
        assert leader.leader_ballot not in ballots
        ballots.add(leader.leader_ballot)
        stage.submit(1, f"c{number}")
        late = [flying for flying in stage.flight if flying.to != 1]
        stage.flight = []
        stage.favoured = 1
        stage.crash(1, is_noticed=False)
        stage.start(1)
        stage.elect(1)
        stage.flight += [flying for flying in late if stage.replicas[flying.to].life == flying.to_life]
        stage.settle()


def test_p9_what_each_step_makes_durable() -> None:
    """Section 2.3: nextBal before LastVote leaves, prevVote before Voted leaves."""
    stage = led()
    stage.slow_disks = {2}
    stage.submit(1, "x")
    stage.deliver(2, "Accept")
    written = stage.replicas[2].disk.records[-2:]
    assert any(isinstance(record, AcceptedRecord) for record in written)
    assert not stage.find("Accepted", sender=2)
    stage.synced(2)
    assert stage.find("Accepted", sender=2)
    stage.crash(1, is_noticed=False)
    stage.flight = []
    stage.favoured = 3
    stage.wait(2 * SECOND)
    stage.tick(3)
    stage.deliver(2, "Probe")
    stage.deliver(3, "ProbeAnswer")
    stage.deliver(2, "Prepare")
    assert any(isinstance(record, PromisedRecord) for record in stage.replicas[2].disk.records[-2:])
    assert not stage.find("Promise", sender=2)
    stage.synced(2)
    assert stage.find("Promise", sender=2)


def test_p15_phase_one_repairs_a_candidate_that_lags() -> None:
    """Section 3.1: the answer says what the candidate lacks, and it fetches before it leads."""
    stage = led()
    stage.cut(1, 2)
    stage.submit(3, "x")
    stage.live(SECOND // 2)
    assert stage.executed(2) == []
    stage.crash(1, is_noticed=False)
    stage.flight = []
    stage.elect(2)
    assert stage.executed(2) == ["x"]


def test_p15_phase_one_repairs_an_acceptor_that_lags() -> None:
    """Section 3.1: the prepare says what the candidate knows, and the laggard asks for it."""
    stage = led()
    stage.cut(1, 3)
    stage.submit(2, "x")
    stage.live(SECOND // 2)
    assert stage.executed(3) == []
    stage.crash(1, is_noticed=False)
    stage.flight = []
    stage.elect(2)
    assert stage.executed(3) == ["x"]


def test_p17_a_decree_passed_before_another_was_proposed_has_the_lower_number() -> None:
    """Section 3.2.1."""
    stage = led()
    slots = []
    for number in range(12):
        if number == 6:
            stage.crash(1)
            stage.elect(2)
        stage.submit(3, f"c{number}")
        stage.settle()
        slots.append(stage.core(3).applied)
    assert slots == sorted(set(slots))
    assert stage.executed(3) == [f"c{number}" for number in range(12)]


@pytest.mark.parametrize("count", [3, 5, 7])
def test_p18_a_lone_decree_costs_three_messages_a_priest_and_a_stream_of_them_two(count: int) -> None:
    """Section 3.2.2: Success rides on the next BeginBallot."""
    stage = led(count)
    stage.sent.clear()
    stage.submit(1, "alone")
    stage.settle()
    assert sum(stage.sent.values()) == 3 * (count - 1)
    stage.sent.clear()
    for number in range(50):
        stage.submit(1, f"c{number}")
        stage.deliver(kind="Accept")
        stage.deliver(kind="Accepted")
        # The next command is there before the prefix was announced alone.
        stage.drop(kind="Prefix")
    assert stage.sent["Accept"] == stage.sent["Accepted"] == 50 * (count - 1)


def test_p19_a_priest_with_a_high_name_who_returns_late_takes_nothing_over() -> None:
    """Section 3.3.1: replica 3 comes back with an old ledger and the highest id."""
    stage = led()
    stage.crash(3)
    for number in range(20):
        stage.submit(2, f"c{number}")
        stage.settle()
    stage.start(3)
    stage.favoured = 3
    stage.live(5 * SECOND)
    assert stage.core(1).is_leading
    assert stage.oracle.epochs == 1
    assert stage.executed(3) == stage.executed(1)


def test_p30_all_may_leave_and_return() -> None:
    """Section 4.1: kill all, restart all; the ledger is intact."""
    stage = led()
    stage.submit(1, "x", "y")
    stage.settle()
    for replica in (1, 2, 3):
        stage.crash(replica, is_power_lost=True, is_noticed=False)
    stage.start()
    stage.live(4 * SECOND)
    stage.submit(2, "z")
    stage.live(SECOND)
    assert [stage.executed(replica) for replica in (1, 2, 3)] == [["x", "y", "z"]] * 3
