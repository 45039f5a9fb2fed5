"""The article's claims about processes, messages, phases and leaders: one test for each that the core can express.

``docs/sources.md`` names the article; the claims are listed as claim-A1 to claim-A38. Those about TCP, processes and the
hand-run roles are tested where they live.
"""

from itertools import combinations

import pytest

from multipaxos.core.ballot import ballot_of, next_ballot, next_number, owner_of
from multipaxos.core.messages import Accepted, Nack, Prepare
from multipaxos.core.quorum import majority
from multipaxos.sim.campaign import run_seed
from multipaxos.sim.checkers import Violation
from multipaxos.sim.stage import Stage

SECOND = 1_000_000_000


def led(count: int = 3, leader: int = 1, favoured: int = 2) -> Stage:
    """A stage with a leader whose epoch decree everybody has applied."""
    stage = Stage(count)
    stage.start()
    stage.elect(leader)
    stage.favoured = favoured
    stage.live(SECOND // 5)
    return stage


def same_everywhere(stage: Stage) -> list[str]:
    """What all replicas that are up have executed; they must agree."""
    executed = [stage.executed(replica) for replica, process in stage.replicas.items() if process.is_up]
    assert all(found == executed[0] for found in executed)
    return executed[0]


def test_claim_a5_a_message_may_be_delayed_beyond_the_end_of_its_ballot() -> None:
    stage = led()
    stage.submit(1, "x")
    late = stage.find("Accept")
    stage.flight = []
    stage.crash(1, is_noticed=False)
    stage.elect(2)
    stage.submit(2, "y")
    stage.settle()
    stage.flight = [flying for flying in late if flying.to != 1]
    stage.settle()
    assert [stage.executed(2), stage.executed(3)] == [["y"], ["y"]]


def messages_of_one_decree() -> int:
    stage = led()
    stage.submit(2, "x")
    delivered = 0
    while stage.flight:
        stage.deliver(stage.flight[0].to)
        delivered += 1
    return delivered


@pytest.mark.parametrize("lost", list(range(1, messages_of_one_decree() + 1)))
def test_claim_a6_any_single_message_of_a_decree_may_be_lost(lost: int) -> None:
    stage = led()
    stage.submit(2, "x")
    delivered = 0
    while stage.flight:
        delivered += 1
        flying = stage.flight[0]
        if delivered == lost and flying.to != flying.sender:
            stage.flight.remove(flying)
            continue
        stage.deliver(flying.to, flying.kind, flying.sender)
    stage.live(3 * SECOND)
    assert same_everywhere(stage) == ["x"]


def test_claim_a7_every_message_may_come_twice() -> None:
    stage = led()
    for command in ("x", "y"):
        stage.submit(2, command)
        for _ in range(200):
            if not stage.flight:
                break
            flying = stage.flight[0]
            stage.deliver(flying.to, flying.kind, flying.sender, flying.slot, is_kept=True)
            stage.deliver(flying.to, flying.kind, flying.sender, flying.slot)
    assert same_everywhere(stage) == ["x", "y"]


def test_claim_a7_a_vote_that_comes_twice_is_one_vote() -> None:
    stage = led(5)
    stage.submit(1, "x")
    stage.deliver(2, "Accept")
    stage.deliver(1, "Accepted", sender=2, is_kept=True)
    stage.deliver(1, "Accepted", sender=2, is_kept=True)
    stage.deliver(1, "Accepted", sender=2)
    assert stage.core(1).chosen_prefix == 2
    stage.deliver(1, "Accepted", sender=1)
    assert stage.core(1).chosen_prefix == 2, "two voters of five"


@pytest.mark.parametrize("alone", [1, 2, 3])
def test_claim_a8_the_network_may_partition(alone: int) -> None:
    stage = led()
    others = [replica for replica in (1, 2, 3) if replica != alone]
    for other in others:
        stage.cut(alone, other)
        stage.cut(other, alone)
    stage.favoured = others[-1]
    stage.live(4 * SECOND)
    stage.submit(others[0], "x")
    stage.live(2 * SECOND)
    assert stage.executed(others[0]) == stage.executed(others[1]) == ["x"]
    assert stage.executed(alone) == []
    stage.heal()
    stage.live(2 * SECOND)
    assert same_everywhere(stage) == ["x"]


@pytest.mark.parametrize("sender,to", [(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b])
def test_claim_a8_any_single_direction_may_be_cut(sender: int, to: int) -> None:
    stage = led()
    stage.cut(sender, to)
    stage.live(4 * SECOND)
    gateway = next(replica for replica in (1, 2, 3) if replica not in (sender, to))
    stage.submit(gateway, "x")
    stage.live(3 * SECOND)
    assert stage.executed(gateway) == ["x"]
    assert stage.oracle.epochs <= 2, "at most one change of leader"


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_claim_a10_no_anomaly_breaks_agreement(seed: int) -> None:
    report = run_seed(seed, is_plain=True)
    assert not report.is_failed, report.text


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_claim_a11_more_than_half_choose_and_one_fewer_never_does(count: int) -> None:
    stage = led(count)
    stage.submit(1, "x")
    stage.deliver(kind="Accept")
    votes = stage.find("Accepted", to=1)
    assert len(votes) == count
    needed = count // 2 + 1
    for counted, flying in enumerate(votes, 1):
        stage.deliver(1, "Accepted", sender=flying.sender)
        is_chosen = stage.core(1).chosen_prefix == 3
        assert is_chosen == (counted >= needed)


@pytest.mark.parametrize("replica", [1, 2, 3])
def test_claim_a12_any_replica_may_be_asked(replica: int) -> None:
    stage = led()
    stage.submit(replica, "x")
    stage.settle()
    assert same_everywhere(stage) == ["x"]


def test_claim_a13_what_is_chosen_never_changes() -> None:
    stage = led()
    stage.submit(1, "x")
    stage.settle()
    chosen = stage.oracle.chosen[3][1]
    for turn in range(30):
        leader = turn % 3 + 1
        stage.favoured = leader
        stage.live(SECOND // 5)
        current = stage.core(leader).leader
        if current and current != leader:
            for other in (1, 2, 3):
                if other != current:
                    stage.cut(current, other)
            stage.elect(leader)
            stage.heal()
        stage.submit(leader, f"rival{turn}")
        stage.settle()
        assert stage.oracle.chosen[3][1] == chosen
    assert same_everywhere(stage)[0] == "x"


@pytest.mark.parametrize("dead", list(combinations(range(1, 6), 2)))
def test_claim_a14_what_is_chosen_can_be_read_after_any_minority_died(dead: tuple[int, int]) -> None:
    stage = led(5)
    stage.submit(1, "x")
    stage.settle()
    for replica in dead:
        stage.crash(replica)
    survivors = [replica for replica in range(1, 6) if replica not in dead]
    stage.favoured = survivors[0]
    stage.live(3 * SECOND)
    for token, replica in enumerate(survivors):
        stage.read(replica, token)
        stage.live(SECOND)
        assert (replica, token) in stage.answered
        assert stage.executed(replica) == ["x"]


def test_claim_a16_votes_of_different_ballots_are_not_counted_together() -> None:
    stage = led()
    leader = stage.core(1)
    stage.submit(1, "x")
    stage.flight = [flying for flying in stage.flight if flying.kind == "Accepted"]
    old = ballot_of(0, 2)
    for sender in (2, 3):
        stage.replicas[1].inbox.append(Accepted(sender, old, 3))
    stage.tick(1)
    assert leader.chosen_prefix == 2
    stage.deliver(1, "Accepted")
    assert leader.chosen_prefix == 2, "the own vote alone is a minority"


def test_claim_a17_many_may_propose_at_once() -> None:
    stage = Stage(5)
    stage.start()
    for replica in range(1, 6):
        stage.submit(replica, f"by{replica}")
    stage.live(6 * SECOND)
    assert sorted(same_everywhere(stage)) == ["by1", "by2", "by3", "by4", "by5"]


def test_claim_a20_prepare_goes_out_with_a_ballot_of_the_proposers_own() -> None:
    stage = led()
    stage.crash(1)
    stage.tick(2)
    stage.deliver(3, "Probe")
    stage.deliver(2, "ProbeAnswer")
    prepares = [flying.payload for flying in stage.find("Prepare", sender=2)]
    assert prepares
    for prepare in prepares:
        assert isinstance(prepare, Prepare)
        assert owner_of(prepare.ballot) == 2
        assert prepare.ballot > stage.core(3).promised


@pytest.mark.parametrize("asked,answer", [(-1, "Nack"), (0, "Promise"), (1, "Promise")])
def test_claim_a21_an_acceptor_promises_upward_only(asked: int, answer: str) -> None:
    """Below the promise: a nack. At it: the same owner asks again (rule-R1). Above: a promise that binds."""
    stage = led()
    promised = ballot_of(7, 3)
    stage.crash(1, is_noticed=False)
    stage.wait(SECOND)
    replica = stage.replicas[2]
    replica.inbox.append(Prepare(3, promised, 3, 2, -1))
    stage.tick(2)
    stage.flight = []
    replica.inbox.append(Prepare(3, ballot_of(7 + asked, 3), 3, 2, -1))
    stage.tick(2)
    assert [flying.kind for flying in stage.flight if flying.kind in ("Nack", "Promise")] == [answer]
    assert stage.core(2).promised == max(promised, ballot_of(7 + asked, 3))


def test_claim_a22_the_decree_of_the_highest_ballot_reported_is_proposed() -> None:
    stage = led()
    stage.submit(1, "x")
    stage.deliver(3, "Accept")
    stage.crash(1, is_noticed=False)
    stage.flight = []
    stage.elect(2)
    stage.submit(2, "own")
    stage.settle()
    assert stage.executed(2) == ["x", "own"], "x was reported by one acceptor of the quorum, so it comes first"


@pytest.mark.parametrize("below,answer", [(1, "Nack"), (0, "Accepted")])
def test_claim_a23_an_acceptor_accepts_unless_it_promised_higher(below: int, answer: str) -> None:
    stage = led()
    stage.submit(1, "x")
    accept = stage.find("Accept", to=2)[0].payload
    stage.flight = []
    stage.wait(2 * SECOND)
    if below:
        stage.replicas[2].inbox.append(Prepare(3, ballot_of(7, 3), 3, 2, -1))
        stage.tick(2)
        stage.flight = []
    stage.replicas[2].arrive(accept)
    stage.tick(2)
    kinds = [flying.kind for flying in stage.flight if flying.kind in ("Nack", "Accepted")]
    assert kinds == [answer]


def test_claim_a24_four_messages_and_two_round_trips_fix_a_decree() -> None:
    stage = led(5)
    stage.crash(1)
    stage.flight = []
    stage.sent.clear()
    stage.tick(2)
    stage.deliver(kind="Probe")
    stage.deliver(2, "ProbeAnswer")
    for kind in ("Prepare", "Promise", "Accept", "Accepted"):
        stage.deliver(kind=kind)
    assert stage.core(2).chosen_prefix == 3, "the epoch decree of the new leader"
    assert [stage.sent[kind] for kind in ("Prepare", "Promise", "Accept", "Accepted")] == [4, 3, 4, 3]


STEPS = ("Prepare", "Promise", "Accept", "Accepted")


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
def test_claim_a25_two_proposers_may_meet_at_any_pair_of_steps(first: str, second: str) -> None:
    """Proposer 1 has come as far as ``first``, then proposer 2 as far as ``second``; then both go on."""
    stage = led(5)
    stage.submit(4, "x")
    for replica in (4, 5):
        stage.deliver(kind="Forward")
        stage.deliver(replica, "Accept")
    stage.crash(1, is_noticed=False)
    stage.flight = []
    stage.wait(2 * SECOND)
    for proposer, last in ((2, first), (3, second)):
        stage.tick(proposer)
        stage.deliver(kind="Probe", sender=proposer)
        stage.deliver(proposer, "ProbeAnswer")
        for kind in STEPS:
            stage.deliver(kind=kind, sender=0 if kind in ("Promise", "Accepted") else proposer)
            if kind == last:
                break
    stage.live(6 * SECOND)
    executed = {tuple(stage.executed(replica)) for replica in (2, 3, 4, 5)}
    assert executed == {("x",)}


def test_claim_a26_ballots_are_totally_ordered() -> None:
    ballots = [ballot_of(round_number, replica) for round_number in range(3) for replica in range(4)]
    assert sorted(ballots) == ballots
    assert len(set(ballots)) == len(ballots)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_claim_a27_the_next_number_is_the_smallest_of_the_own_class_above_all_known(count: int) -> None:
    for index in range(count):
        for above in range(-1, 20):
            slow = next(number for number in range(above + 1, above + 1 + count) if number % count == index)
            assert next_number(index, count, above) == slow


def test_claim_a28_a_nack_raises_the_next_number_at_once() -> None:
    stage = led()
    stage.crash(1)
    stage.tick(2)
    stage.deliver(3, "Probe")
    stage.deliver(2, "ProbeAnswer")
    asked = stage.find("Prepare", sender=2)[0].payload
    assert isinstance(asked, Prepare)
    far = ballot_of(1000, 3)
    stage.flight = []
    stage.replicas[2].inbox.append(Nack(3, asked.ballot, far, 0, -1))
    stage.tick(2)
    stage.crash(3, is_noticed=False)
    stage.start(3)
    stage.elect(2)
    assert stage.core(2).leader_ballot == next_ballot(2, far), "one retry, straight above what the nack said"


def test_claim_a29_the_worked_example_with_its_slip_corrected() -> None:
    """The article prints 1*3+0 = 4. It is 3; 4 is of the class of P2 (trap-T1)."""
    p1, p2, p3 = 0, 1, 2
    assert [next_number(index, 3, -1) for index in (p1, p2, p3)] == [0, 1, 2]
    assert next_number(p1, 3, above=1) == 3
    assert p2 == 4 % 3
    assert next_number(p3, 3, above=3) == 5


def test_claim_a30_one_ballot_has_one_decree_for_a_slot() -> None:
    stage = led()
    stage.submit(1, "x")
    stage.settle()
    with pytest.raises(Violation, match="I1: two decrees"):
        stage.oracle._propose(stage.oracle.chosen[3][0], 3, b"\x00")


def test_claim_a32_a_leader_prepares_once_for_all_its_decrees() -> None:
    stage = led()
    stage.sent.clear()
    for number in range(50):
        stage.submit(1, f"c{number}")
        stage.settle()
    assert stage.sent.get("Prepare", 0) == 0
    assert stage.sent["Accept"] == 50 * 2
    stage.crash(1)
    stage.sent.clear()
    stage.elect(2)
    assert stage.sent["Prepare"] == 2, "one to each of the others, and never again"


def test_claim_a33_under_a_stable_leader_nobody_refuses() -> None:
    stage = led()
    stage.sent.clear()
    for number in range(1_000):
        stage.submit(number % 3 + 1, f"c{number}")
        stage.settle()
    stage.live(10 * SECOND)
    assert "Nack" not in stage.sent
    assert len(same_everywhere(stage)) == 1_000


def test_claim_a35_a_restarted_replica_is_bound_by_what_it_said() -> None:
    stage = led()
    stage.submit(1, "x")
    stage.settle()
    for replica in (1, 2, 3):
        before = stage.core(replica).promised
        stage.crash(replica, is_power_lost=True)
        stage.start(replica)
        assert stage.core(replica).promised >= before
    stage.live(3 * SECOND)
    assert same_everywhere(stage) == ["x"]


def test_majorities_are_asked_of_one_place_only() -> None:
    """trap-T20: a quorum is a value; for every size any two of different kinds meet."""
    for count in range(1, 8):
        quorum = majority(tuple(range(1, count + 1)))
        assert quorum.prepare + quorum.accept > count
