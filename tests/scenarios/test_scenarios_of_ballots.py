"""Numbers, promises and votes: the scenarios that one slot and a few acceptors are enough for."""

from collections.abc import Callable
from itertools import combinations

import pytest

from multipaxos.core.acceptor import Acceptor
from multipaxos.core.ballot import NO_BALLOT, Ballot, ballot_of, next_ballot, next_number
from multipaxos.core.decree import NOOP
from multipaxos.core.effects import Effects
from multipaxos.core.leader import Campaign
from multipaxos.core.messages import Accept, Message, Nack, Prepare, Promise, PValue
from multipaxos.sim.stage import Stage, led

SECOND = 1_000_000_000
SLOT = 1


def promise_of(sender: int, acceptor: Acceptor, ballot: Ballot) -> Promise:
    """What an acceptor that promises ``ballot`` says of the slot."""
    assert acceptor.may_promise(ballot)
    acceptor.promise(ballot)
    vote = acceptor.votes.get(SLOT)
    pvalues = () if vote is None else (PValue(vote[0], SLOT, vote[1]),)
    return Promise(sender, 0, ballot, SLOT, SLOT, len(pvalues), len(pvalues), 0, pvalues)


def choice(acceptors: list[Acceptor], quorum: tuple[int, ...], ballot: Ballot) -> bytes | None:
    """Phase 1 of ``ballot`` with these acceptors: what it must propose, None where it is free."""
    campaign = Campaign(ballot, SLOT, NO_BALLOT)
    for at in quorum:
        campaign.hear(promise_of(at, acceptors[at], ballot))
    found = campaign.to_propose(0)
    return found[0][1] if found else None


ALPHA, BETA = b"alpha", b"beta"
FIGURE_1 = (
    # ballot, decree, its quorum, who of it votes: priests A to E are 0 to 4 (PTP 2.1, figure 1)
    (2, ALPHA, (0, 1, 2, 3), (3,)),
    (5, BETA, (0, 1, 2, 4), (2,)),
    (14, ALPHA, (1, 3, 4), (1, 4)),
    (27, BETA, (0, 2, 3), (0, 2, 3)),
    (29, BETA, (1, 2, 3), (1,)),
)


def test_ptp_fig1() -> None:
    """`ptp-fig1`: the five ballots, held one after the other with real acceptors: where earlier votes of the quorum force
    a decree (14, 27, 29), it is the one of the figure; and what 27 chose is never undone (B1 to B3)."""
    acceptors = [Acceptor() for _ in range(5)]
    votes: dict[int, set[int]] = {}
    forced = []
    for ballot, decree, quorum, voters in FIGURE_1:
        must = choice(acceptors, quorum, ballot)
        assert must in (None, decree), f"B3 in ballot {ballot}"
        if must is not None:
            forced.append(ballot)
        for at in voters:
            acceptors[at].accept(ballot, SLOT, decree)
        votes[ballot] = set(voters)
    assert forced == [14, 27, 29]
    assert [ballot for ballot, _, quorum, _ in FIGURE_1 if votes[ballot] == set(quorum)] == [27]
    for one, other in combinations(FIGURE_1, 2):
        assert set(one[2]) & set(other[2]), "B2"
    # From now on no ballot of any majority is free, nor bound to anything else.
    for quorum in combinations(range(5), 3):
        assert choice(acceptors, quorum, max(acceptor.promised for acceptor in acceptors) + 1) == BETA


class NeverRaises(Acceptor):
    """The mutant of trap-T3: an accept is no promise, and the last vote is kept, whatever its ballot."""

    __slots__ = ()

    def accept(self, ballot: Ballot, slot: int, decree: bytes) -> bool:
        self.votes[slot] = (ballot, decree)
        return True


def late_accept_over_a_chosen_decree(kind: type[Acceptor]) -> tuple[set[bytes], list[bool]]:
    """The schedule of trap-T3. What was chosen, and whether a2 took the late accept of ballot 1."""
    a0, a1, a2 = acceptors = [kind() for _ in range(3)]
    accepted: dict[tuple[Ballot, bytes], set[int]] = {}

    def accept(ballot: Ballot, decree: bytes, at: int) -> bool:
        acceptor = acceptors[at]
        if not acceptor.may_accept(ballot):
            return False
        acceptor.accept(ballot, SLOT, decree)
        accepted.setdefault((ballot, decree), set()).add(at)
        return True

    assert choice(acceptors, (0, 1), 1) is None  # ballot 1 is free: v1, and its accepts are slow
    assert choice(acceptors, (0, 1), 2) is None  # so is ballot 2
    assert accept(2, b"v2", 1) and accept(2, b"v2", 2)  # a2 never saw a prepare; v2 is chosen
    late = [accept(1, b"v1", 2)]
    third = choice(acceptors, (0, 2), 3)
    assert third is not None
    assert accept(3, third, 0) and accept(3, third, 2)
    assert a0.promised >= 3 and a1.promised == 2 and a2.promised >= 2
    return {decree for (_, decree), voters in accepted.items() if len(voters) >= 2}, late


def test_no_raise_keep_last() -> None:
    """`no-raise-keep-last`: with the mutant both v1 and v2 are chosen; with ours a2 refuses, and v2 stays."""
    assert late_accept_over_a_chosen_decree(NeverRaises) == ({b"v1", b"v2"}, [True])
    assert late_accept_over_a_chosen_decree(Acceptor) == ({b"v2"}, [False])


class Forgetful:
    """Five bare acceptors A, B, C, D, R, and who chose what: trap-T4 as it stands there."""

    def __init__(self) -> None:
        self.acceptors = {name: Acceptor() for name in "ABCDR"}
        self.chosen: dict[int, set[str]] = {}

    def promise(self, ballot: Ballot, names: str) -> None:
        for name in names:
            self.acceptors[name].promise(ballot)

    def propose(self, ballot: Ballot, slot: int, decree: str, names: str) -> None:
        votes = 0
        for name in names:
            if self.acceptors[name].may_accept(ballot):
                self.acceptors[name].accept(ballot, slot, decree.encode())
                votes += 1
        if votes >= 3:
            self.chosen.setdefault(slot, set()).add(decree)


def test_forgotten_promise_where_a_lost_disk_may_come_back() -> None:
    """`forgotten-promise` under the rule that Paxos Made Live prints (not voting until one whole slot begun after the
    rebuild has been seen): two decrees in slot 2. This is why it is not our rule."""
    world = Forgetful()
    world.promise(7, "ABD")  # A leads at 7
    world.promise(10, "CR")  # C campaigns at 10; so far only R has answered
    world.acceptors["R"] = Acceptor()  # R loses its disk, and answers nobody
    world.propose(7, 1, "x", "ABD")  # a whole slot, begun after that: R may answer again
    world.promise(10, "D")  # C has its majority: C, R and D, and nobody reports anything in slot 2
    world.propose(7, 2, "old", "ABR")
    world.propose(10, 2, "new", "CDR")
    assert world.chosen == {1: {"x"}, 2: {"old", "new"}}


def test_forgotten_promise() -> None:
    """`forgotten-promise`, the same schedule with whole replicas 1 to 5 for A, B, C, D, R: the emptied R finds in slot 1
    that it is not the voter that was registered, and stops. Slot 4 (the table's slot 2) has one decree."""
    stage = led(5, leader=1, favoured=3)
    leader, rival, emptied = 1, 3, 5
    # The leader's heartbeats are lost for a while: 3 suspects it and campaigns. Of its prepares only R gets one.
    for other in (2, 3, 4, 5):
        stage.cut(leader, other)
    stage.wait(SECOND)
    stage.tick(rival)
    stage.deliver(kind="Probe", sender=rival)
    stage.deliver(rival, "ProbeAnswer")
    stage.deliver(emptied, "Prepare")
    stage.deliver(rival, "Promise")
    stage.hold(kind="Prepare", to=4)
    stage.drop()
    stage.heal()
    assert stage.core(rival).standing == "candidate"
    assert stage.core(emptied).promised == stage.core(rival).promised
    stage.crash(emptied, is_power_lost=True, is_noticed=False)
    stage.empty(emptied)
    stage.start(emptied)
    # A whole slot, begun and chosen after that, by 1, 2 and 4.
    stage.submit(leader, "x")
    for voter in (2, 4):
        stage.deliver(voter, "Accept")
    stage.drop(kind="Accept", to=rival)
    stage.drop(kind="Accept", to=emptied)
    stage.deliver(leader, "Accepted")
    assert stage.core(leader).applied == 3
    # R hears that slots are chosen, and fetches them. It is out.
    stage.tick(leader)
    stage.deliver(emptied)
    stage.deliver(kind="Fetch")
    stage.deliver(emptied, "Learn")
    assert "not the one that was registered as replica 5" in stage.stopped[emptied]
    # C gets the third promise, of 4: with the one that R gave while it had its disk, they are a majority.
    stage.let_go()
    stage.deliver(4, "Prepare")
    stage.deliver(rival, "Promise", sender=4)
    stage.submit(leader, "old")
    stage.submit(rival, "new")
    stage.settle()
    stage.live(5 * SECOND)
    # The rival led with it. The oracle of the stage has counted every vote: one decree in slot 4, for ever.
    assert stage.oracle.chosen[4][0] == ballot_of(0, rival)
    for replica in (1, 2, 3, 4):
        assert sorted(stage.executed(replica)) == ["new", "old", "x"]
        assert stage.executed(replica) == stage.executed(1)


def issued_twice(number: Callable[[int, int, Ballot], Ballot]) -> list[Ballot]:
    """Numbers that two replicas issue while three become five and three again; ``number(index, count, above)`` makes one.

    Each replica goes above what it knows, and a newcomer knows nothing yet."""
    highest: dict[int, Ballot] = {}
    owners: dict[Ballot, int] = {}
    twice = []
    for count in (3, 5, 3):
        for _ in range(10):
            for index in range(count):
                made = number(index, count, highest.get(index, NO_BALLOT))
                if owners.setdefault(made, index) != index:
                    twice.append(made)
                highest[index] = made
    return twice


def test_round_clash() -> None:
    """`round-clash`: three replicas become five and three again. With ``s % n`` and the n of the moment two replicas
    issue one number; with one fixed n none is ever issued twice (trap-T2)."""
    assert 3 in issued_twice(next_number), "3 is of the first replica's class among three, of the fourth's among five"
    assert issued_twice(lambda index, _, above: next_ballot(index + 1, above)) == []


FAR = ballot_of(1 << 33, 3)


@pytest.mark.parametrize(
    "message",
    [Nack(3, 1, FAR, 0, NO_BALLOT), Prepare(3, FAR, 3, 2, NO_BALLOT), Accept(3, FAR, 3, NOOP, 2)],
    ids=lambda message: type(message).__name__,
)
def test_huge_number(message: Message) -> None:
    """`huge-number`: 2^33 rounds ahead. Refused as malformed, which closes the connection and is counted there; and the
    next own ballot is the one it would have been."""
    stage = led()
    before = [stage.core(replica).promised for replica in (1, 2, 3)]
    for replica in (1, 2):
        effects = stage.core(replica).handle(message, stage.now)
        assert effects.malformed == [3]
        assert not effects.writes and not effects.when_durable
    assert [stage.core(replica).promised for replica in (1, 2, 3)] == before
    stage.core(1).begin_campaign(NO_BALLOT, stage.now, Effects())
    assert stage.core(1).promised == ballot_of(1, 1)


def candidates_of(stage: Stage) -> int:
    return sum(
        1 for process in stage.replicas.values() if process.core is not None and process.core.campaign is not None
    )


@pytest.mark.parametrize("count", [3, 5])
def test_duel_of_replicas_that_all_draw_the_same(count: int) -> None:
    """`duel` (the story is told in the transcript of that name; with proposers run by hand, and the mutant that never
    ends, in ``tests/synod``): the leader dies, all others suspect it at one moment, and all waits are of one length. One
    of them leads within four election timeouts, after at most one ballot each."""
    stage = led(count)
    stage.favoured = 0
    stage.crash(1)
    ballots = [stage.core(replica).promised for replica in range(2, count + 1)]
    stage.live(4 * 1_200_000_000)
    leading = [replica for replica in range(2, count + 1) if stage.core(replica).is_leading]
    assert len(leading) == 1
    assert stage.core(leading[0]).promised <= max(ballots) + 2 * 65536
    assert candidates_of(stage) == 1, "only the leader's own phase 1 is left"
