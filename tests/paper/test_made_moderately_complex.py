"""Paxos Made Moderately Complex (van Renesse, 2011 report): its invariants, by their names there.

A1 to A5 are asserted where they bind in ``core/acceptor.py`` and by the oracle in every run; here each is shown on its own.
"""

from random import Random

import pytest

from multipaxos.core.acceptor import Acceptor
from multipaxos.core.ballot import ballot_of
from multipaxos.core.messages import Accept, Promise
from multipaxos.sim.stage import Stage

SECOND = 1_000_000_000


def led() -> Stage:
    """Leader 1, everybody up to date; replica 2 suspects first."""
    stage = Stage(3)
    stage.start()
    stage.elect(1)
    stage.favoured = 2
    stage.live(SECOND // 5)
    return stage


@pytest.mark.parametrize("seed", range(20))
def test_a1_to_a4_hold_for_an_acceptor_under_any_requests(seed: int) -> None:
    """A1: ballots only grow. A2: it accepts at its ballot. A3: it keeps the last vote of each slot. A4: one decree for
    each (ballot, slot)."""
    random = Random(seed)
    acceptor = Acceptor()
    decrees: dict[tuple[int, int], bytes] = {}
    for _ in range(300):
        before = acceptor.promised
        votes = dict(acceptor.votes)
        ballot = ballot_of(random.randrange(6), random.randrange(1, 4))
        if random.random() < 0.4:
            if acceptor.may_promise(ballot):
                acceptor.promise(ballot)
        elif acceptor.may_accept(ballot):
            slot = random.randrange(1, 4)
            decree = decrees.setdefault((ballot, slot), bytes([len(decrees) % 256]))
            acceptor.accept(ballot, slot, decree)
            assert acceptor.ballot_at(slot) == acceptor.promised, "A2"
        assert acceptor.promised >= before, "A1"
        for slot, (voted, decree) in acceptor.votes.items():
            assert voted <= acceptor.promised
            assert decrees[voted, slot] == decree, "A4"
        for slot, (voted, _) in votes.items():
            assert acceptor.ballot_at(slot) >= voted, "A3"


def test_a1_holds_across_restarts() -> None:
    stage = led()
    before = [stage.core(replica).promised for replica in (1, 2, 3)]
    for replica in (1, 2, 3):
        stage.crash(replica, is_power_lost=True, is_noticed=False)
    stage.start()
    assert all(stage.core(replica).promised >= before[replica - 1] for replica in (1, 2, 3))


def test_a4_an_acceptor_refuses_a_second_decree_for_one_ballot_and_slot() -> None:
    acceptor = Acceptor()
    acceptor.accept(ballot_of(1, 1), 1, b"x")
    with pytest.raises(AssertionError, match="PMMC A4"):
        acceptor.accept(ballot_of(1, 1), 1, b"y")


@pytest.mark.parametrize("voters", [(1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_a5_once_a_majority_accepted_every_higher_ballot_has_the_same_decree(voters: tuple[int, ...]) -> None:
    stage = led()
    stage.submit(1, "x")
    for replica in voters:
        if replica != 1:
            stage.deliver(replica, "Accept")
    stage.flight = []
    chosen = stage.oracle.chosen.get(3)
    stage.crash(1, is_power_lost=1 not in voters, is_noticed=False)
    stage.elect(2)
    stage.settle()
    assert stage.oracle.chosen[3][0] > ballot_of(0, 1) or chosen is not None
    if chosen is not None:
        assert stage.oracle.chosen[3][1] == chosen[1]
        assert stage.executed(2) == ["x"]


def test_k3_the_same_command_chosen_in_two_slots_is_performed_once() -> None:
    """Section 2. Replica 3 alone voted for x in slot 5. Without it, the gateway of x sends it again and slot 4 gets it;
    then replica 3 leads and must propose its old vote."""
    stage = led()
    stage.slow_disks = {1}
    for command in ("lost", "lost too"):
        stage.submit(1, command)
    stage.drop(kind="Accept")
    stage.submit(2, "x")
    stage.deliver(1, "Forward")
    stage.deliver(3, "Accept", slot=5)
    stage.crash(1, is_power_lost=True, is_noticed=False)
    stage.flight = []
    stage.slow_disks = set()
    stage.wait(SECOND // 2)
    stage.start(1)
    for other in (1, 2):
        stage.cut(3, other)
        stage.cut(other, 3)
    stage.elect(2)
    assert stage.executed(2) == ["x"]
    stage.crash(2, is_noticed=False)
    stage.heal()
    stage.flight = []
    stage.favoured = 3
    stage.elect(3)
    stage.settle()
    holding = [slot for slot, (_, decree) in sorted(stage.oracle.chosen.items()) if decree[0] == 1 and b"x" in decree]
    assert holding == [4, 5]
    assert stage.executed(1) == stage.executed(3) == ["x"]


def test_k4_a_command_that_lost_its_slot_is_proposed_again() -> None:
    """Section 2."""
    stage = led()
    for other in (2, 3):
        stage.cut(1, other)
    stage.submit(1, "lost")
    stage.elect(2)
    stage.submit(2, "won")
    stage.settle()
    stage.heal()
    stage.live(5 * SECOND)
    assert sorted(stage.executed(1)) == ["lost", "won"]
    assert stage.executed(1) == stage.executed(2) == stage.executed(3)


def test_k5_a_promise_tells_open_slots_only() -> None:
    """Section 4.1: what is chosen and known need not be reported."""
    stage = led()
    for number in range(50):
        stage.submit(1, f"c{number}")
        stage.settle()
    stage.live(SECOND // 5)
    stage.crash(1)
    stage.tick(2)
    stage.deliver(3, "Probe")
    stage.deliver(2, "ProbeAnswer")
    stage.deliver(3, "Prepare")
    promise = stage.find("Promise", to=2, sender=3)[0].payload
    assert isinstance(promise, Promise)
    assert promise.pvalues == ()
    assert stage.core(3).acceptor.votes == {}


def test_k10_an_idle_cluster_raises_no_ballots() -> None:
    """Section 3: nobody contends with a leader that lives."""
    stage = led()
    promised = stage.core(1).promised
    stage.live(60 * SECOND)
    assert [stage.core(replica).promised for replica in (1, 2, 3)] == [promised] * 3


def test_c1_c2_a_leader_proposes_one_decree_per_slot_and_what_it_must() -> None:
    """Section 2: C1 and C2, asserted by the oracle (I1, I5) at each proposal; here its proposals are looked at."""
    stage = led()
    for number in range(10):
        stage.submit(1, f"c{number}")
    seen: dict[tuple[int, int], bytes] = {}
    for flying in stage.find("Accept"):
        accept = flying.payload
        assert isinstance(accept, Accept)
        assert seen.setdefault((accept.ballot, accept.slot), accept.decree) == accept.decree
    assert len(seen) == 4, "as many as the pipeline has"
