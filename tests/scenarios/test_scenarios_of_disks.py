"""Slow, hung, full, failing and rotting disks, power that goes, and processors that are too slow for what is asked of them.

Times are virtual (``timed_stage.py``); bytes are those of the shipped journal (``byte_stage.py``).
"""

from itertools import pairwise
from random import Random

import pytest
from byte_stage import ByteStage, some_of
from slow_journal_stage import SlowJournalStage
from timed_stage import MS, SECOND, TimedStage, hung

from multipaxos.core.ballot import ReplicaId, ballot_of
from multipaxos.core.settings import Settings

ELECTION_TIMEOUT = Settings().election_max_ns
DISK_STALL = Settings().disk_stall_ns


def loaded(seed: int, every_ns: int, seconds: int) -> TimedStage:
    """Replica 1 leads three, and clients of each write."""
    stage = TimedStage(seed=seed).lead(1)
    for replica in (1, 2, 3):
        stage.every(every_ns, stage.now + seconds * SECOND, replica)
    stage.run(SECOND)
    return stage


# ---------------------------------------------------------------- slow


@pytest.mark.parametrize("seed", range(3))
def test_hung_leader(seed: int) -> None:
    """`hung-leader`: no sync of the leader returns any more; its network lives. It leads on without its own vote, and
    hands over: the longest gap between acknowledged writes is below two election timeouts, far below as it turns out."""
    stage = loaded(seed, 20 * MS, 7)
    hung(stage, 1)
    begun = stage.now
    stage.run(5 * SECOND)
    assert stage.leader in (2, 3)
    assert stage.oracle.epochs == 2
    assert stage.longest_gap_ns(begun, stage.now) < ELECTION_TIMEOUT // 2 < 2 * ELECTION_TIMEOUT


def test_slow_everywhere() -> None:
    """`slow-everywhere`: every sync takes half a second for ten minutes, as on a shared store that struggles: no
    hand-over, no change of leader, and writes go on."""
    stage = loaded(1, 250 * MS, 602)
    for replica in (1, 2, 3):
        stage.sync_ns[replica] = SECOND // 2
    begun = stage.now
    stage.run(600 * SECOND)
    assert stage.leader == 1
    assert stage.oracle.epochs == 1
    assert stage.longest_gap_ns(begun, stage.now) < ELECTION_TIMEOUT
    assert sum(1 for at, _ in stage.acknowledged if at > begun) > 7_000


@pytest.mark.parametrize("commands,seconds", [(1, 90), (10, 25)], ids=["30 KB/s", "300 KB/s"])
def test_slow_everywhere_for_the_shipped_journal(commands: int, seconds: int) -> None:
    """`slow-everywhere`, sync by sync: a raised promise costs the journal three of them, a new segment four, and the
    zeros of the next one have to be made between two flushes. No hand-over all the same, for another leader would be no
    better off. (The zeros once cost a sync for each quarter of a megabyte: gaps of eighteen seconds, and a hand-over.)"""
    stage = SlowJournalStage().lead(1)
    for replica in (1, 2, 3):
        stage.sync_ns[replica] = SECOND // 2
        stage.every(100 * MS, stage.now + seconds * SECOND, replica, commands, 1_000)
    begun = stage.now
    stage.run(seconds * SECOND)
    assert stage.leader == 1 and stage.oracle.epochs == 1
    assert stage.longest_gap_ns(begun, stage.now) <= 2 * ELECTION_TIMEOUT
    assert len(stage.acknowledged) > (seconds - 4) * 30 * commands


def test_slow_everywhere_though_the_journals_are_not_in_step() -> None:
    """`slow-everywhere`: two followers were started again, so that new segments, four syncs long, come at another time on
    each disk. The leader's oldest write is older than ``disk_stall`` now and then while the others' are not: no reason to
    hand over, for their turn comes."""
    stage = SlowJournalStage(seed=0).lead(1)
    end = stage.now + 57 * SECOND
    for replica in (1, 2, 3):
        stage.every(100 * MS + replica * 7 * MS, end, replica, 10, 1_000)
    stage.run(3 * SECOND)
    for replica in (2, 3):
        stage.crash(replica)
        stage.run(SECOND)
        stage.start(replica)
        stage.run(4 * SECOND)
    for replica in (1, 2, 3):
        stage.sync_ns[replica] = SECOND // 2
    begun = stage.now
    stage.run(44 * SECOND)
    assert stage.leader == 1 and stage.oracle.epochs == 1
    assert stage.longest_gap_ns(begun, stage.now) <= 2 * ELECTION_TIMEOUT


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_back", [False, True], ids=["for good", "and is back"])
@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("sync_ms,bound_ms", [(100, 3_000), (200, 6_000), (300, 20_000), (500, 40_000)])
def test_slow_everywhere_and_the_leader_dies(sync_ms: int, bound_ms: int, count: int, is_back: bool, seed: int) -> None:
    """`slow-everywhere`, one step further: while all disks are slow the leader dies. A promise costs three syncs in a row,
    of the candidate and then of its voters, so that an election timeout is not enough for phase 1; somebody must get to
    lead all the same. (They once raised each other's ballot for as long as the disks were slow.)"""
    stage = TimedStage(count, seed=seed).lead(1)
    for replica in stage.replicas:
        stage.sync_ns[replica] = sync_ms * MS
    stage.run(5 * SECOND)
    stage.crash(1, is_noticed=bool(seed % 2))
    if is_back:
        stage.start(1)
    epochs = stage.oracle.epochs
    assert stage.run(bound_ms * MS, lambda: stage.leader != 0 and stage.oracle.epochs > epochs), "nobody gets to lead"
    stage.every(100 * MS, stage.now + SECOND, 2)
    stage.run(6 * SECOND)
    assert len(stage.acknowledged) >= 9


def test_gray_leader() -> None:
    """`gray-leader`: the leader's disk is fifty times slower, its heartbeats are fine. Its followers hear of the age of
    its writes at once (what an alarm is to speak from); writes go on with the votes of the others, and it keeps leading.
    When its oldest write is older than ``disk_stall`` it hands over, once."""
    stage = loaded(1, 30 * MS, 25)
    stage.sync_ns[1] = 100 * MS
    slow_from = stage.now
    assert stage.run(SECOND, lambda: stage.core(2).election.heard_disk_age_ns > 0)
    assert stage.now - slow_from < 4 * Settings().heartbeat_ns
    stage.run(10 * SECOND)
    assert stage.leader == 1 and stage.oracle.epochs == 1
    assert stage.longest_gap_ns(slow_from, stage.now) < 50 * MS, "the others' votes are enough"
    stage.sync_ns[1] = 2 * SECOND
    stalled_from = stage.now
    assert stage.run(3 * ELECTION_TIMEOUT, lambda: stage.leader in (2, 3))
    assert stage.now - stalled_from > DISK_STALL
    stage.run(10 * SECOND)
    assert stage.leader in (2, 3) and stage.oracle.epochs == 2
    assert stage.longest_gap_ns(stalled_from, stage.now) < ELECTION_TIMEOUT


@pytest.mark.parametrize("slow", [1, 2])
def test_worker_flood(slow: ReplicaId) -> None:
    """`worker-flood`: executing a command takes one replica (the leader, a follower) ten times as long as the others, and
    clients send six times what it can execute. Nobody fails over, and 99.9 % of the gaps between two heartbeats stay
    below a third of the election timeout: a turn executes a bounded number of *commands*, not of slots. Then the flood
    ends, and all of it was executed, once each."""
    stage = TimedStage().lead(1)
    for replica in (1, 2, 3):
        stage.command_ns[replica] = 20_000
    stage.command_ns[slow] = 200_000
    begun = stage.now
    for replica in (1, 2, 3):
        stage.every(20 * MS, begun + 2 * SECOND, replica, count=200)
    stage.run(2 * SECOND)
    assert stage.oracle.epochs == 1 and stage.leader == 1
    gaps = sorted(later - earlier for earlier, later in pairwise(at for at in stage.beats if at > begun))
    assert gaps[len(gaps) * 999 // 1000] < ELECTION_TIMEOUT // 3
    assert stage.longest_turn_ns < 2 * Settings().apply_commands_max * stage.command_ns[slow]
    everything = 3 * 100 * 200
    assert stage.run(30 * SECOND, lambda: len(stage.executed(slow)) == everything)
    assert stage.oracle.epochs == 1 and stage.leader == 1
    assert len(set(stage.executed(slow))) == everything


# ---------------------------------------------------------------- full


def written(stage: ByteStage, *commands: str) -> None:
    """Commands, chosen and known everywhere."""
    for command in commands:
        stage.submit(1, command)
        stage.settle()


def led_over_bytes(count: int = 3, leader: ReplicaId = 1, favoured: ReplicaId = 2) -> ByteStage:
    """Replicas over journals, with a leader."""
    stage = ByteStage(count)
    stage.favoured = leader
    stage.start()
    stage.elect(leader)
    stage.favoured = favoured
    stage.live(SECOND // 5)
    return stage


BULK = "w" * 1_000
"""A command of which a segment of these journals holds about fifteen."""


def bulk(stage: ByteStage, gateway: ReplicaId, first: int, count: int) -> list[str]:
    """Submit large commands one by one, and let a little time pass after each."""
    commands = [f"{number}{BULK}" for number in range(first, first + count)]
    for command in commands:
        stage.submit(gateway, command)
        stage.live(20 * MS)
    return commands


@pytest.mark.parametrize("full", [2, 1], ids=["a follower", "the leader"])
def test_one_full(full: ReplicaId) -> None:
    """`one-full`: the disk of one replica has no room for another journal segment. It found out before writing anything,
    answers nothing, and refuses nothing; the others go on. A leader hands over. When space returns it catches up, and
    counts again: another may die."""
    stage = led_over_bytes(favoured=3)
    stage.fill(full)
    commands = bulk(stage, 3, 0, 40)
    assert "is full" in stage.full[full]
    stage.live(4 * ELECTION_TIMEOUT)
    commands += bulk(stage, 3, 40, 10)
    assert not stage.core(full).is_leading
    others = [replica for replica in (1, 2, 3) if replica != full]
    for replica in others:
        assert stage.executed(replica) == commands
    assert stage.oracle.epochs == (2 if full == 1 else 1)
    stage.make_room(full)
    stage.live(2 * ELECTION_TIMEOUT)
    assert stage.full == {}
    stage.crash(others[0], is_power_lost=True)
    stage.live(4 * ELECTION_TIMEOUT)
    stage.submit(full, "later")
    stage.live(ELECTION_TIMEOUT)
    assert stage.executed(full) == stage.executed(others[1]) == [*commands, "later"]


def test_all_full() -> None:
    """`all-full`, as far as it goes without the reserve of three voters: no disk has room. Nothing more is acknowledged,
    nobody stops and nothing is lost; a power loss meanwhile changes nothing; when space returns all goes on by itself."""
    stage = led_over_bytes(favoured=3)
    acknowledged = bulk(stage, 2, 0, 5)
    assert stage.executed(2) == acknowledged
    stage.fill(1, 2, 3)
    stuck = bulk(stage, 2, 5, 40)
    stage.live(4 * ELECTION_TIMEOUT)
    assert sorted(stage.full) == [1, 2, 3]
    done = stage.executed(2)
    assert len(acknowledged) < len(done) < len(acknowledged) + len(stuck)
    stage.crash(1, is_power_lost=True)
    stage.live(2 * ELECTION_TIMEOUT)
    assert stage.executed(2) == stage.executed(3) == done
    stage.make_room(1, 2, 3)
    stage.start(1)
    stage.live(4 * ELECTION_TIMEOUT)
    for replica in (1, 2, 3):
        assert stage.executed(replica) == acknowledged + stuck


# ---------------------------------------------------------------- rot and power


def rotten(acknowledged_at: tuple[ReplicaId, ...]) -> ByteStage:
    """Five commands; the last one is on the disks of ``acknowledged_at`` alone, and acknowledged."""
    stage = led_over_bytes(favoured=3)
    written(stage, "a", "b", "c", "d")
    for other in (1, 2, 3):
        if other not in acknowledged_at:
            stage.cut_off(other)
    stage.submit(1, "last")
    stage.settle()
    assert stage.executed(1)[-1] == "last"
    return stage


def test_sealed_vote_rots() -> None:
    """`sealed-vote-rots`: slot 7 is chosen by replicas 1 and 2, its client has its answer, 3 has never heard of it. The
    record of it rots at 1, which is restarted, and 2 dies. Replica 1 refuses to start, and names the vote. Replica 3
    campaigns alone and waits; it never puts a no-op there. When 2 returns, the write is there."""
    stage = rotten((1, 2))
    slot = stage.oracle.prefix
    stage.crash(1)
    stage.crash(2, is_power_lost=True)
    stage.disk(1).rot(slot)
    stage.heal()
    stage.start(1)
    assert f"slot {slot} at ballot 0.1" in stage.refused[1]
    assert stage.disk(1).blocks.names()[0].endswith(".segment"), "nothing was removed"
    stage.live(10 * ELECTION_TIMEOUT)
    assert stage.core(3).standing != "leader"
    assert stage.executed(3) == ["a", "b", "c", "d"]
    chosen = stage.oracle.chosen[slot]
    stage.start(2)
    stage.live(6 * ELECTION_TIMEOUT)
    assert stage.executed(2) == stage.executed(3) == ["a", "b", "c", "d", "last"]
    assert stage.oracle.chosen[slot][1] == chosen[1]


@pytest.mark.parametrize("returning", [2, 3])
def test_truncate_loses_nothing(returning: ReplicaId) -> None:
    """`truncate-loses` (PAR, figure 2), as far as there is no repair yet: of five replicas 4 and 5 lag, 2 and 3 are down,
    and an early record of 1 rots. Cutting the journal there would leave 1, 4 and 5 free to choose slots 3 to 5 anew.
    Instead 1 stays out, the two that lag wait, and one more replica brings all back."""
    stage = led_over_bytes(5, favoured=4)
    for laggard in (4, 5):
        stage.cut_off(laggard)
    written(stage, "a", "b", "c")
    for replica in (1, 2, 3):
        stage.crash(replica)
    stage.disk(1).rot(3)
    stage.heal()
    stage.start(1)
    assert "slot 3 at ballot 0.1" in stage.refused[1]
    before = {slot: stage.oracle.chosen[slot] for slot in (3, 4, 5)}
    stage.live(10 * ELECTION_TIMEOUT)
    assert stage.oracle.prefix == 5
    assert stage.executed(4) == stage.executed(5) == []
    stage.start(returning)
    stage.live(6 * ELECTION_TIMEOUT)
    for replica in (returning, 4, 5):
        assert stage.executed(replica) == ["a", "b", "c"]
    assert {slot: (ballot_of(0, 1), stage.oracle.chosen[slot][1]) for slot in (3, 4, 5)} == before


@pytest.mark.parametrize("seed", range(12))
def test_power_loss_everywhere(seed: int) -> None:
    """`power-loss-everywhere`: while writes are under way all machines lose power at one moment, and of each write that
    was not synced some sectors arrive, and others do not. All replicas start, none is refused, and every write that was
    acknowledged is there. Six times in a row."""
    random = Random(seed)
    stage = led_over_bytes()
    acknowledged: list[str] = []
    number = torn = 0
    for _ in range(6):
        leader = next(replica for replica in (1, 2, 3) if stage.core(replica).is_leading)
        for _ in range(random.randrange(4, 12)):
            number += 1
            stage.submit(leader, f"{number}." + "x" * random.randrange(1_200))
            for _ in range(random.randrange(4)):
                if stage.flight:
                    stage.deliver(random.choice(stage.flight).to)
        stage.slow_disks = {replica for replica in (1, 2, 3) if random.random() < 0.8}
        number += 1
        stage.submit(leader, f"{number}.torn" + "y" * random.randrange(3_000))
        stage.deliver(kind="Accept")
        acknowledged = stage.executed(leader)
        stage.lose_power(*[some_of(random.getrandbits(64)) for _ in range(3)])
        stage.slow_disks = set()
        stage.wait(SECOND)
        stage.favoured = random.randrange(1, 4)
        stage.start()
        assert stage.refused == {}
        torn += sum(1 for replica in (1, 2, 3) if stage.disk(replica).cut)
        stage.live(5 * ELECTION_TIMEOUT)
        for replica in (1, 2, 3):
            assert stage.executed(replica)[: len(acknowledged)] == acknowledged
        assert stage.executed(1) == stage.executed(2) == stage.executed(3)
    assert torn > 0, "no tail was torn: nothing was shown"
