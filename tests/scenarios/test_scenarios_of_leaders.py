"""Who leads: broken links, returning leaders, late messages. Time is counted in election timeouts: 1.2 s at the defaults."""

from collections.abc import Iterable
from itertools import combinations, groupby, permutations
from random import Random

import pytest

from multipaxos.core.ballot import NO_BALLOT, ReplicaId, ballot_of, owner_of, round_of
from multipaxos.core.messages import Prepare
from multipaxos.core.settings import Settings
from multipaxos.sim.stage import Stage, led

ELECTION_TIMEOUT = Settings().election_max_ns
HEARTBEAT = Settings().heartbeat_ns
Link = tuple[ReplicaId, ReplicaId]


def links_among(ids: Iterable[ReplicaId]) -> list[Link]:
    """Every directed link."""
    return list(permutations(ids, 2))


def cut(stage: Stage, *pairs: Link) -> None:
    """Cut whole links, both directions of each."""
    for one, other in pairs:
        stage.cut(one, other)
        stage.cut(other, one)


def rounds(stage: Stage) -> list[int]:
    """The round each replica has promised: how far any race of ballots went."""
    return [round_of(process.core.promised) for process in stage.replicas.values() if process.core is not None]


# ---------------------------------------------------------------- links


def pairs_of(center: ReplicaId, ids: Iterable[ReplicaId]) -> list[Link]:
    """The links between others than ``center``."""
    return [pair for pair in combinations(ids, 2) if center not in pair]


@pytest.mark.parametrize("center", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("leader", [1, 2, 3, 4, 5])
def test_quorum_loss(leader: ReplicaId, center: ReplicaId) -> None:
    """`quorum-loss`: only one replica is linked to all others, which see each other no more; the old leader is alive.
    Within four timeouts that one leads, and decrees are chosen (or it led already, and goes on)."""
    ids = range(1, 6)
    stage = led(5, leader, favoured=leader % 5 + 1)
    cut(stage, *pairs_of(center, ids))
    for gateway in ids:
        stage.submit(gateway, f"from{gateway}")
    stage.live(4 * ELECTION_TIMEOUT)
    assert stage.core(center).is_leading
    assert stage.oracle.epochs == (1 if leader == center else 2)
    for replica in ids:
        assert sorted(stage.executed(replica)) == [f"from{gateway}" for gateway in ids]


@pytest.mark.parametrize("leader,center", list(permutations(range(1, 6), 2)))
def test_constrained(leader: ReplicaId, center: ReplicaId) -> None:
    """`constrained`: the same, but the one in the middle was cut off earlier, so that its ledger is the oldest, and it
    has no link to the old leader. Within four timeouts it leads, and what it had missed is in its ledger."""
    ids = range(1, 6)
    stage = led(5, leader, favoured=center)
    stage.cut_off(center)
    stage.submit(leader, "missed")
    stage.live(ELECTION_TIMEOUT // 2)
    assert stage.executed(center) == []
    stage.heal()
    cut(stage, *pairs_of(center, ids), (center, leader))
    stage.submit(next(replica for replica in ids if replica not in (leader, center)), "new")
    stage.live(4 * ELECTION_TIMEOUT)
    assert stage.core(center).is_leading
    for replica in ids:
        if replica != leader:
            assert stage.executed(replica) == ["missed", "new"]


@pytest.mark.parametrize("leader,cut_from,middle", list(permutations((1, 2, 3))))
def test_chained(leader: ReplicaId, cut_from: ReplicaId, middle: ReplicaId) -> None:
    """`chained`: one link of three replicas is cut, the leader at one end of it: for a minute nobody else leads, and no
    ballot is raised. Through the leader and the one between both, everything goes on."""
    stage = led(3, leader, favoured=cut_from)
    before = rounds(stage)
    cut(stage, (leader, cut_from))
    stage.live(50 * ELECTION_TIMEOUT)
    stage.submit(leader, "a")
    stage.submit(middle, "b")
    stage.live(ELECTION_TIMEOUT)
    assert stage.oracle.epochs == 1
    assert rounds(stage) == before
    for replica in (1, 2, 3):
        assert sorted(stage.executed(replica)) == ["a", "b"]


@pytest.mark.parametrize("middle", [1, 2, 3])
def test_chained_around_the_leader(middle: ReplicaId) -> None:
    """`chained`, the leader in the middle: the cut link carried nothing it needs."""
    stage = led(3, middle, favoured=middle % 3 + 1)
    before = rounds(stage)
    cut(stage, *pairs_of(middle, (1, 2, 3)))
    stage.live(50 * ELECTION_TIMEOUT)
    assert stage.oracle.epochs == 1
    assert rounds(stage) == before


def is_quorum_connected(replica: ReplicaId, ids: Iterable[ReplicaId], cuts: Iterable[Link]) -> bool:
    """Whether links in both directions join ``replica`` to a majority, itself included."""
    gone = set(cuts)
    everybody = list(ids)
    joined = [
        other
        for other in everybody
        if other == replica or ((replica, other) not in gone and (other, replica) not in gone)
    ]
    return 2 * len(joined) > len(everybody)


def live_with(count: int, leader: ReplicaId, cuts: tuple[Link, ...]) -> None:
    """Break links, and demand progress within four timeouts if anybody can lead, at most one change of leader, and
    then peace."""
    ids = range(1, count + 1)
    stage = led(count, leader, favoured=leader % count + 1)
    for sender, to in cuts:
        stage.cut(sender, to)
    stage.live(4 * ELECTION_TIMEOUT)
    able = [replica for replica in ids if is_quorum_connected(replica, ids, cuts)]
    for replica in able:
        stage.submit(replica, f"from{replica}")
    stage.live(ELECTION_TIMEOUT)
    if able:
        assert any(stage.executed(replica) for replica in ids), f"no progress with {cuts} cut; {able} could lead"
    epochs, promised = stage.oracle.epochs, rounds(stage)
    assert epochs <= 2
    stage.live(10 * ELECTION_TIMEOUT)
    assert stage.oracle.epochs == epochs, "leadership goes round"
    if able:
        assert rounds(stage) == promised, "ballots are raised though somebody leads"


@pytest.mark.parametrize("leader", [1, 2, 3])
@pytest.mark.parametrize("count", range(1, 7))
def test_one_way_any_links_of_three(count: int, leader: ReplicaId) -> None:
    """`one-way`: every set of directed links of three replicas, all 63 of them, with each leader."""
    for cuts in combinations(links_among((1, 2, 3)), count):
        live_with(3, leader, cuts)


@pytest.mark.parametrize("leader", [1, 2, 3, 4, 5])
def test_one_way_every_link_of_five(leader: ReplicaId) -> None:
    """`one-way`: every single directed link of five replicas in turn."""
    for link in links_among(range(1, 6)):
        live_with(5, leader, (link,))


@pytest.mark.parametrize("seed", range(5))
def test_one_way_some_links_of_five(seed: int) -> None:
    """`one-way`: sets of directed links of five replicas, drawn."""
    random = Random(seed)
    for _ in range(6):
        share = random.choice((0.15, 0.3, 0.45, 0.6))
        cuts = tuple(link for link in links_among(range(1, 6)) if random.random() < share)
        live_with(5, random.randrange(1, 6), cuts)


# ---------------------------------------------------------------- leaders that come back


def test_old_leader_returns_a_hundred_times() -> None:
    """`old-leader-returns`: whoever leads is cut off and comes back, a hundred times: at most one change of leader each
    time, and a ballot raised for that change alone."""
    stage = led()
    stage.chance = Random(7)
    for turn in range(1, 101):
        old = stage.core(stage.core(1).leader).leader
        epochs = stage.oracle.epochs
        stage.cut_off(old)
        stage.live(3 * ELECTION_TIMEOUT)
        stage.heal()
        stage.live(2 * ELECTION_TIMEOUT)
        assert stage.oracle.epochs <= epochs + 1
        leaders = {stage.core(replica).leader for replica in (1, 2, 3)}
        assert len(leaders) == 1 and old not in leaders
        assert max(rounds(stage)) <= turn + 2
    assert stage.oracle.epochs == 101


def reigns(stage: Stage) -> list[ReplicaId]:
    """Who led, one after the other; a leader that went above a ballot it heard of is the same leader still."""
    owners = [owner_of(expected.reign) for expected in stage.oracle.ledger if expected.began_epoch]
    return [owner for owner, _ in groupby(owners)]


@pytest.mark.parametrize("seed", [1, 2])
def test_old_leader_returns_through_one_replica(seed: int) -> None:
    """`old-leader-returns`, as Paxos Made Live saw it (5.2): the cut leader still reaches one replica, through which it
    hears of its successor's ballot, and goes above it. That costs the successor a ballot when the links are back, and
    nobody the leadership: one change each time, fifty times."""
    stage = led(5)
    stage.chance = Random(seed)
    for turn in range(1, 51):
        old = stage.core(stage.core(1).leader).leader
        friend = stage.chance.choice([replica for replica in range(1, 6) if replica != old])
        for other in range(1, 6):
            if other not in (old, friend):
                cut(stage, (old, other))
        stage.live(3 * ELECTION_TIMEOUT)
        stage.heal()
        stage.live(2 * ELECTION_TIMEOUT)
        assert len(reigns(stage)) == turn + 1
        assert len({stage.core(replica).leader for replica in range(1, 6)}) == 1


@pytest.mark.parametrize("is_voter", [False, True])
def test_removed_disrupts_nobody(is_voter: bool) -> None:
    """`removed-disrupts`, as far as there is no removal yet: a replica that heeds no probe campaigns every heartbeat for
    a minute, above all it has seen, and from no list of voters or from one: no change of leader."""
    stage = led()
    outsider = 3 if is_voter else 9
    if is_voter:
        stage.crash(3)
    round_number = 1
    for _ in range(50 * ELECTION_TIMEOUT // HEARTBEAT):
        for voter in (1, 2):
            prepare = Prepare(outsider, ballot_of(round_number, outsider), 1, 0, NO_BALLOT)
            stage.replicas[voter].arrive(prepare)
        stage.live(HEARTBEAT)
        round_number += 1
    stage.submit(2, "x")
    stage.settle()
    assert stage.oracle.epochs == 1
    assert stage.core(1).is_leading
    assert rounds(stage)[:2] == [0, 0]
    assert stage.executed(1) == stage.executed(2) == ["x"]


@pytest.mark.parametrize("dead", [2, 3])
def test_dead_ballot(dead: ReplicaId) -> None:
    """`dead-ballot`: a voter promised the ballot of a replica that died. The leader is above it within two heartbeats,
    and the voter votes again: with the third replica gone nothing is chosen without it."""
    voter = 5 - dead
    stage = led(3, favoured=dead)
    stage.replicas[voter].inbox.append(Prepare(dead, ballot_of(9, dead), 3, 2, NO_BALLOT))
    stage.crash(dead, is_noticed=False)
    for other in (voter, dead):
        stage.cut(1, other)  # its heartbeats are lost for a while, or the voter would stay loyal
    stage.wait(ELECTION_TIMEOUT)
    stage.tick(voter)
    stage.drop()
    stage.heal()
    assert stage.core(voter).promised == ballot_of(9, dead)
    stage.live(2 * HEARTBEAT + HEARTBEAT // 2)  # to be told of it, and the two that it has
    assert stage.core(1).leader_ballot > ballot_of(9, dead)
    stage.submit(1, "x")
    stage.settle()
    assert stage.executed(voter) == ["x"]


@pytest.mark.parametrize("late_ns", [ELECTION_TIMEOUT, 60_000_000_000])
def test_transfer_late(late_ns: int) -> None:
    """`transfer-late`: "campaign now" comes after one election timeout, and after a minute: ignored; nobody campaigns,
    nothing is refused meanwhile."""
    stage = led(favoured=3)
    stage.handover(1, 2)
    assert stage.hold(kind="CampaignNow") == 1
    stage.submit(2, "waits")
    stage.live(late_ns + 2 * HEARTBEAT)
    stage.let_go()
    stage.live(ELECTION_TIMEOUT)
    assert stage.oracle.epochs == 1
    assert rounds(stage) == [0, 0, 0]
    assert stage.executed(1) == ["waits"]


@pytest.mark.parametrize("step", ["CampaignNow", "Prepare", "Promise", "Accept"])
def test_transfer_late_the_target_dies_midway(step: str) -> None:
    """`transfer-late`: the target dies after each step of taking over. Within two election timeouts of its death
    somebody leads, and what waited is executed once."""
    stage = led(favoured=3)
    stage.handover(1, 2)
    stage.submit(1, "waits")
    for kind in ("CampaignNow", "Prepare", "Promise", "Accept"):
        stage.deliver(2, sender=2)
        if kind == "Promise":
            stage.deliver(2, "Promise")
        else:
            stage.deliver(kind=kind, sender=1 if kind == "CampaignNow" else 2)
        if kind == step:
            break
    stage.crash(2, is_noticed=False)
    stage.drop(to=2)
    stage.live(2 * ELECTION_TIMEOUT)
    assert sum(1 for replica in (1, 3) if stage.core(replica).is_leading) == 1
    assert stage.executed(1) == stage.executed(3) == ["waits"]
