"""What the journal promises its users while nothing crashes, and how it fails (rule-R33, rule-R36 to rule-R38)."""

import errno
import threading

import pytest

from multipaxos.core.ballot import ballot_of
from multipaxos.core.records import AcceptedRecord, KeptRecord, MarkRecord
from multipaxos.sim.blocks import CHANGING, BlockDisk
from multipaxos.sim.crash_life import Life, fresh, learned, promised, vote
from multipaxos.sim.crash_verdict import MARK, SEGMENT_BYTES, check_crash, promise_in, started
from multipaxos.storage.disk import BLOCK_BYTES
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.journal import SEAL_AFTER_NS, STOPPED, Journal
from multipaxos.storage.promise import copy_name, read_copy
from multipaxos.storage.record import SEAL, search, seed_of
from multipaxos.storage.seal import decode_seal
from multipaxos.storage.segment import SPARE, read_head, segment_number


def syncs(disk: BlockDisk) -> list[str]:
    return [name for call, name in disk.calls if call == "sync"]


def seals(disk: BlockDisk) -> list[tuple[int, int, list[tuple[int, int, int, int]]]]:
    """(position, durable up to, runs of the newest section) of every seal on the disk."""
    found = []
    for name in disk.names():
        if segment_number(name):
            file = disk.open(name)
            head = read_head(file)
            for f in search(file, seed_of(MARK), head.records_at, head.base - head.records_at, file.size()):
                if f[2] == SEAL:
                    found.append((f[0], f[6], list(decode_seal(f[7])[0].runs)))
    return found


def test_every_kind_of_record_comes_back_as_it_was() -> None:
    life = Life.begun()
    life.append(promised(3, 2), vote(1, 4, b"\0"), vote(2, 4, prefix=1), learned(3), MarkRecord(3))
    life.append(KeptRecord(b""), KeptRecord(b"any bytes"), vote(0, 1), group=2**32 - 1)
    big = AcceptedRecord((1 << 63) - 1, (1 << 63) - 1, b"\xff" * 300, 1 << 63)
    life.append(big)
    life.flush()
    life.journal.close()
    assert started(life.disk, 2)[1] == life.told


def test_an_accept_at_the_promised_ballot_costs_one_sync() -> None:
    """The steady state of a follower: one write, one fdatasync, however many records wait."""
    life = Life.begun(fresh(), 1 << 20)
    life.append(promised(1))
    life.flush()
    life.disk.calls.clear()
    life.append(vote(1))
    life.append(vote(2), vote(3), learned(4), MarkRecord(3))
    life.flush()
    assert [call for call in life.disk.calls if call[0] in CHANGING] == [
        ("write", "0000000000000002.segment"),
        ("sync", "0000000000000002.segment"),
    ]


@pytest.mark.parametrize("group", [0, 5])
def test_a_raised_promise_is_in_both_copies_before_flush_returns(group: int) -> None:
    """rule-R36: one after the other, each synced, the journal's own sync first."""
    life = Life.begun()
    life.disk.calls.clear()
    life.append(promised(8, 3), group=group)
    life.flush()
    assert syncs(life.disk) == ["0000000000000002.segment", "promise-1", "promise-2"]
    for copy in (1, 2):
        noted = read_copy(life.disk.lose_power(), seed_of(MARK), copy)
        assert noted is not None
        assert noted.promised == {group: ballot_of(8, 3)}
        assert noted.journal == life.journal.durable


def test_an_accept_above_the_promise_is_a_raise_too() -> None:
    """trap-T3: its answer asserts that lower ballots are refused from now on, so one rotten record must not undo it."""
    life = Life.begun()
    life.append(promised(8))
    life.flush()
    life.disk.calls.clear()
    life.append(vote(1, 9))
    life.flush()
    assert len(syncs(life.disk)) == 3
    life.disk.calls.clear()
    life.append(vote(2, 9), promised(9))
    life.flush()
    assert len(syncs(life.disk)) == 1


def test_positions_gate_repeats() -> None:
    """rule-R33: a step that writes nothing waits for what was appended before it (trap-T30)."""
    life = Life.begun()
    first = life.journal.append([vote(1)])
    assert life.journal.append([]) == first
    assert life.journal.durable < first
    assert life.journal.waiting_bytes == first
    assert life.journal.flush() == first
    assert life.journal.append([]) == first, "the seal that waits now is nobody's position"
    assert life.journal.flush() == first
    life.journal.seal_now()
    assert life.journal.append([]) == first
    second = life.journal.append([vote(2)])
    assert second > first
    assert life.journal.flush() == second
    assert life.journal.waiting_bytes == 0


def test_a_flush_without_records_touches_no_file() -> None:
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    life.disk.calls.clear()
    life.flush()
    assert life.disk.calls == []


def test_records_appended_while_the_disk_hangs_wait_for_the_next_flush() -> None:
    """rule-R31: the loop goes on while a sync does not return; nothing of it is called durable meanwhile."""
    life = Life.begun()
    before = life.journal.durable
    hang = threading.Event()
    life.disk.hangs = hang
    first = life.journal.append([vote(1)])
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(life.journal.flush()))
    thread.start()
    assert life.disk.hanging.wait(60)
    second = life.journal.append([vote(2)])
    assert life.journal.append([]) == second
    assert life.journal.durable == before
    assert results == []
    hang.set()
    thread.join(60)
    assert results == [first]
    assert life.journal.durable == first
    assert life.journal.flush() == second


def test_each_write_after_a_sync_begins_with_a_seal_for_it() -> None:
    life = Life.begun(fresh(), 1 << 20)
    ends = []
    for slots in ((1, 2, 3), (4,), (5, 6)):
        life.append(*[vote(slot, 2) for slot in slots])
        ends.append(life.flush())
    ballot = ballot_of(2, 1)
    assert seals(life.disk) == [
        (ends[0], ends[0], [(0, 1, 3, ballot)]),
        (ends[1], ends[1], [(0, 4, 4, ballot)]),
    ]
    life.disk.calls.clear()
    life.journal.seal_now()
    assert syncs(life.disk) == [], "nobody waits for a lone seal"
    assert seals(life.disk)[2] == (ends[2], ends[2], [(0, 5, 6, ballot)])
    life.journal.seal_now()
    assert len(seals(life.disk)) == 3
    life.append(vote(7, 2))
    life.flush()
    life.append(vote(8, 2))
    life.flush()
    assert [durable for _, durable, _ in seals(life.disk)] == [*ends, life.ends[-2]]


def test_a_seal_names_votes_in_runs_and_the_promise_and_repeats_the_one_before() -> None:
    life = Life.begun(fresh(), 1 << 20)
    life.append(promised(9), vote(1, 2), vote(2, 2), vote(2, 3), vote(9, 3), learned(10), vote(10, 3))
    life.append(vote(1, 1), group=4)
    life.flush()
    life.append(vote(11, 9))
    life.flush()
    life.journal.close()
    found = None
    file = life.disk.open("0000000000000002.segment")
    head = read_head(file)
    for f in search(file, seed_of(MARK), head.records_at, head.base - head.records_at, file.size()):
        if f[2] == SEAL:
            found = decode_seal(f[7])
    assert found is not None
    b2, b3, b9 = ballot_of(2, 1), ballot_of(3, 1), ballot_of(9, 1)
    assert [section.runs for section in found] == [
        [(0, 11, 11, b9)],
        [(0, 1, 2, b2), (0, 2, 2, b3), (0, 9, 10, b3), (4, 1, 1, ballot_of(1, 1))],
    ]
    assert found[0].promises == [(0, b9)]
    assert found[1].promises == [(0, b9), (4, ballot_of(1, 1))]


def test_no_seal_speaks_of_a_sync_that_failed() -> None:
    life = Life.begun()
    life.append(vote(1))
    life.disk.fail_at(0, errno.EIO, ["sync"])
    with pytest.raises(JournalFailed):
        life.journal.flush()
    life.disk.before = None
    with pytest.raises(JournalFailed):
        life.journal.seal_now()
    life.journal.close()
    assert seals(life.disk) == []


def test_a_clean_stop_is_sealed_durably() -> None:
    life = Life.begun()
    life.append(vote(1))
    life.journal.close()
    after = life.disk.lose_power()
    assert [durable for _, durable, _ in seals(after)] == [life.ends[-1]]
    with pytest.raises(JournalFailed, match="closed"):
        life.journal.append([vote(2)])


def test_clean_restarts_let_the_journal_grow_by_nothing() -> None:
    disk = fresh()
    life = Life.begun(disk)
    life.append(vote(1))
    life.journal.close()
    sizes = set()
    for incarnation in range(2, 12):
        journal, found = started(disk, incarnation)
        assert found == life.told
        sizes.add((journal.appended, sum(len(inode.cached) for inode in disk.files.values()), len(disk.files)))
        journal.close()
    assert len(sizes) == 1


def test_the_head_of_each_segment_carries_what_dropped_ones_would_take_along() -> None:
    """rule-R36: promise, highest ballot issued, incarnation, floor, longest lease; and where the one before ends."""
    life = Life.begun()
    life.append(promised(4, 1), promised(6, 2))
    life.append(vote(1, 3), group=2)
    end = life.flush()
    life.append(vote(1, 7, b"x" * 9000))
    life.flush()
    head = read_head(life.disk.open(life.disk.names()[1]))
    assert head.promised == {0: ballot_of(7, 1), 2: ballot_of(3, 1)}
    assert head.issued == ballot_of(4, 1)
    assert head.incarnation == 1
    assert (head.floor, head.lease_ns) == (0, 0)
    assert head.previous == head.number - 1
    assert head.base == end, "the first write of the new segment begins with the seal"
    disk = life.disk.kill()
    started(disk, 5)
    newest = read_head(disk.open([name for name in disk.names() if segment_number(name)][-1]))
    assert newest.incarnation == 5
    assert newest.issued == ballot_of(4, 1)


def test_idle_seals_after_ten_milliseconds_and_prepares_the_next_segment() -> None:
    life = Life.begun(fresh(), 4 << 20)
    life.append(vote(1))
    life.flush()
    assert life.journal.idle(0) == SEAL_AFTER_NS
    assert life.journal.idle(SEAL_AFTER_NS - 3) == 3
    assert seals(life.disk) == []
    steps = 1
    while life.journal.idle(SEAL_AFTER_NS):
        steps += 1
    assert len(seals(life.disk)) == 1
    assert steps > 10, "in steps, so that a flush never waits for all of it"
    assert len(life.disk.files[SPARE].cached) == 4 << 20
    life.disk.calls.clear()
    assert life.journal.idle(1 << 50) == 0
    assert life.disk.calls == []


def test_the_next_segment_keeps_pace_without_any_quiet() -> None:
    """The journal thread makes it between flushes, so that none has to fill it with zeros first."""
    life = Life.begun(fresh(), 1 << 20)
    begun = 0
    for slot in range(1, 400):
        life.append(vote(slot, body=b"q" * 10_000))
        life.disk.calls.clear()
        life.flush()
        made = [name for call, name in life.disk.calls if call == "create"]
        assert made == [], "no flush makes a segment"
        begun += any(call == "rename" for call, _ in life.disk.calls)
        life.journal.prepare()
    assert begun >= 3
    check_crash(life.disk.lose_power(), life.told, life.safe, 1 << 20)


def test_a_batch_larger_than_a_segment_has_one_of_its_own() -> None:
    life = Life.begun()
    life.append(*[vote(slot, body=b"m" * 3000) for slot in range(1, 21)])
    life.flush()
    life.append(vote(21))
    life.flush()
    assert check_crash(life.disk.lose_power(), life.told, life.safe) == life.told
    assert life.journal.read(5, 6)[1][2] == b"m" * 3000


# -- reading back ---------------------------------------------------------------------------------------------------


def test_read_returns_the_learned_record_else_the_last_vote() -> None:
    life = Life.begun()
    life.append(vote(1, 1), vote(2, 1), vote(3, 1), vote(5, 1))
    life.flush()
    life.append(vote(2, 2), learned(3, 2), vote(3, 3))
    life.append(vote(2, 9, b"by hand"), group=3)
    life.flush()
    expected = [
        (1, ballot_of(1, 1), b"1@1"),
        (2, ballot_of(2, 1), b"2@2"),
        (3, ballot_of(2, 1), b"chosen 3"),
        (5, ballot_of(1, 1), b"5@1"),
    ]
    assert life.journal.read(1, 9) == expected
    assert life.journal.read(2, 3) == expected[1:3]
    assert life.journal.read(4, 4) == []
    assert life.journal.read(1, 9, group=3) == [(2, ballot_of(9, 1), b"by hand")]
    assert life.journal.read(1, 9, group=4) == []
    journal, _ = started(life.disk.kill(), 2)
    assert journal.read(1, 9) == expected


def test_read_knows_nothing_that_is_not_durable() -> None:
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    life.append(vote(1, 2), vote(2, 2))
    # Not even the older vote: the one that waits may be the chosen decree, and this one another (rule-R5).
    assert life.journal.read(1, 2) == []
    life.flush()
    assert life.journal.read(1, 2) == [(1, ballot_of(2, 1), b"1@2"), (2, ballot_of(2, 1), b"2@2")]


def test_read_ends_when_there_is_enough_and_leaves_no_slot_out() -> None:
    life = Life.begun(fresh(), 1 << 20)
    for slot in range(1, 301):
        life.append(vote(slot, body=b"%05d" % slot * 1000))
        life.flush()
    for slot in range(1, 301, 7):
        life.append(learned(slot))
        life.flush()
    first, pages = 1, 0
    found = []
    while first <= 300:
        page = life.journal.read(first, 300, bytes_enough=40_000)
        assert [slot for slot, _, _ in page] == list(range(first, first + len(page)))
        assert sum(len(decree) for _, _, decree in page[:-1]) < 40_000
        first += len(page)
        found += page
        pages += 1
    assert pages > 20
    assert found == life.journal.read(1, 300)


def test_read_gives_nothing_that_has_rotted() -> None:
    life = Life.begun()
    life.append(vote(1), vote(2, body=b"d" * 50), vote(3))
    life.flush()
    (name,) = [name for name in life.disk.names() if segment_number(name)]
    at = bytes(life.disk.files[name].cached).index(b"d" * 50)
    life.disk.flip(name, at * 8 + 100)
    with pytest.raises(JournalDamaged, match="any more"):
        life.journal.read(2, 2)


# -- failing --------------------------------------------------------------------------------------------------------


def workload(journal: Journal, told: list[int]) -> None:
    """Votes over several segments, with raises, seals and spares; ``told`` hears what was durable."""
    slot = 0
    for turn in range(12):
        records = [vote(slot := slot + 1, 1 + turn // 4, b"r" * 500) for _ in range(2)]
        journal.append(records)
        told.append(journal.flush())
        if turn % 2:
            journal.prepare()
        else:
            journal.idle(SEAL_AFTER_NS)


def counted_calls() -> int:
    """How many calls of the kinds that ``fail_at`` counts the workload makes."""
    disk = fresh()
    journal, _ = started(disk)
    disk.calls.clear()
    workload(journal, [])
    return sum(1 for call, _ in disk.calls if call in ("write", "sync", "create", "rename"))


def assert_dead(journal: Journal) -> None:
    """Every call fails."""
    for call in (
        lambda: journal.append([vote(99)]),
        lambda: journal.append([]),
        journal.flush,
        journal.prepare,
        journal.seal_now,
        lambda: journal.idle(0),
        lambda: journal.read(1, 2),
    ):
        with pytest.raises(JournalFailed):
            call()


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failure_at_every_call_stops_for_good_and_loses_nothing(code: int) -> None:
    """bug-C02, bug-C07: the first failed write or sync is the last thing this journal does; only a segment that cannot
    be made for lack of space is another matter (rule-R38)."""
    count = counted_calls()
    assert count > 60
    stopped = full = 0
    for number in range(count):
        disk = fresh()
        life = Life.begun(disk)
        disk.fail_at(number, code)
        told: list[int] = []
        try:
            workload(life.journal, told)
            assert life.journal.durable == told[-1], "ENOSPC in making a spare that a later call could make"
        except JournalFull:
            full += 1
            assert code == errno.ENOSPC
        except JournalFailed as failed:
            stopped += 1
            disk.before = None
            disk.calls.clear()
            assert_dead(life.journal)
            assert disk.calls == [], "never retried"
            assert STOPPED in disk.names(), "the disk took the note"
            assert str(failed) in bytes(disk.files[STOPPED].cached).decode()
        disk.before = None
        for after in (disk.lose_power(), disk.copy().kill()):
            _, found = started(after, 2)
            slots = [record.slot for _, record in found if isinstance(record, AcceptedRecord)]
            assert len(slots) >= 2 * len(told)
            assert slots == list(range(1, len(slots) + 1))
            assert promise_in(found) >= ballot_of(1 + max(0, len(told) - 1) // 4, 1) or not told
            assert STOPPED not in after.names(), "shown at one start, and then no more"
    assert stopped > 40
    assert full == 0 or code == errno.ENOSPC


def test_fsync_eio() -> None:
    """`fsync-eio`: a sync fails once, a later one would return 0 and prove nothing."""
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    life.append(vote(2))
    life.disk.fail_at(0, errno.EIO, ["sync"])
    with pytest.raises(JournalFailed, match="This replica stopped"):
        life.journal.flush()
    assert life.journal.durable == life.ends[0]


def test_a_failed_copy_of_the_promise_is_a_failed_sync() -> None:
    life = Life.begun()
    life.append(promised(3))

    def before(call: str, name: str) -> None:
        if (call, name) == ("sync", copy_name(2)):
            raise OSError(errno.EIO, "I/O error")

    life.disk.before = before
    with pytest.raises(JournalFailed):
        life.journal.flush()
    assert life.journal.durable == 0, "a raised promise is not answered before both copies hold it"


def test_disk_full_is_found_before_writing() -> None:
    """rule-R38: shortage says so early, room tells what is left, a flush beyond it writes nothing and may come again."""
    life = Life.begun()
    life.disk.space = 3000
    life.append(vote(1, body=b"f" * 1000))
    life.flush()
    life.journal.prepare()
    assert "full" in life.journal.shortage
    room = life.journal.room()
    assert 2500 < room < SEGMENT_BYTES
    life.append(vote(2, body=b"f" * (room - 52)))
    assert life.journal.room() == 0
    life.flush()
    life.append(vote(3, body=b"f" * 1000))
    written = len(life.disk.written)
    for _ in range(3):
        with pytest.raises(JournalFull, match="free some space"):
            life.flush()
        assert not [w for w in life.disk.written[written:] if w[0] != SPARE], "nothing of it was written"
        assert SPARE not in life.disk.names(), "and the little space is given back"
    life.append(vote(4))
    for after in (life.disk.copy(), life.disk.lose_power()):
        after.space = None
        check_crash(after, life.told, life.safe)
    life.disk.space = 1 << 20
    life.flush()
    assert life.journal.durable == life.ends[-1], "what waited is written once there is space"
    assert life.journal.shortage == ""
    assert check_crash(life.disk.lose_power(), life.told, life.safe) == life.told


def test_a_full_disk_is_asked_again_now_and_then_and_recovers_by_itself() -> None:
    life = Life.begun()
    life.disk.space = 0
    life.append(vote(1))
    life.flush()
    life.journal.prepare()
    assert life.journal.shortage
    life.disk.calls.clear()
    for _ in range(100):
        life.journal.prepare()
    assert life.disk.calls == [], "not at every flush"
    life.disk.space = 1 << 20
    while life.journal.idle(1 << 40) > 1:
        pass
    assert life.journal.shortage == ""


def test_a_start_on_a_full_disk_says_so_and_loses_nothing() -> None:
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    disk = life.disk.kill()
    disk.space = 1000
    with pytest.raises(JournalFull, match="free some space"):
        started(disk, 2)
    disk.space = 1 << 20
    check_crash(disk, life.told, life.safe)


def test_a_start_with_little_space_makes_do_with_a_small_segment() -> None:
    life = Life.begun(fresh(), 1 << 20)
    life.append(vote(1))
    life.flush()
    disk = life.disk.kill()
    disk.space = 200_000
    journal, found = started(disk, 2, 1 << 20)
    assert found == life.told
    assert journal.room() > 60_000


def test_what_was_cut_is_said() -> None:
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    (name,) = [name for name in life.disk.names() if segment_number(name)]
    life.disk.open(name).write(BLOCK_BYTES + 300, [b"left over"])
    assert started(life.disk.copy().kill(), 2)[0].cut == "", "bytes that no record leads to are not the end"
    offset = BLOCK_BYTES + life.journal.durable
    life.disk.open(name).write(offset, [b"half of a record"])
    journal, found = started(life.disk.kill(), 2)
    assert found == life.told
    assert "torn end" in journal.cut
    assert name in journal.cut


def test_a_record_that_cannot_be_packed_stops_the_journal() -> None:
    """A step is written whole or not at all; and no core makes such a record."""
    life = Life.begun()
    with pytest.raises(Exception, match=r"argument|format|int"):
        life.journal.append([vote(1), AcceptedRecord(1 << 70, 2, b"x", 0)])
    with pytest.raises(JournalFailed, match="cannot write"):
        life.journal.flush()


def test_a_journal_is_recovered_before_it_is_used() -> None:
    journal = Journal(fresh(), MARK, 1, 1, SEGMENT_BYTES)
    with pytest.raises(AssertionError):
        journal.append([vote(1)])
    with pytest.raises(AssertionError):
        journal.flush()
