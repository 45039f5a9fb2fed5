"""Rot, cut and misplaced bytes: refused, cut or read right, never a wrong start (rule-R34, rule-R36, bug-C05, bug-C13).

A wrong start would be: a vote or a promise missing that was durable and sealed, or a record that was never appended.
"""

import pytest

from multipaxos.core.ballot import ballot_of
from multipaxos.core.records import KeptRecord, MarkRecord
from multipaxos.sim.blocks import BlockDisk
from multipaxos.sim.crash_life import Life, fresh, learned, promised, vote
from multipaxos.sim.crash_verdict import MARK, check_crash, promise_in, started
from multipaxos.storage.faults import JournalDamaged
from multipaxos.storage.journal import create_journal
from multipaxos.storage.promise import copy_name
from multipaxos.storage.record import ACCEPTED, HEADER_BYTES, SEAL, encode, search, seed_of
from multipaxos.storage.seal import Section, encode_seal
from multipaxos.storage.segment import read_head, segment_number


class Case:
    """A journal in two segments, with everything in it."""

    def __init__(self, is_sealed: bool) -> None:
        life = Life.begun()
        life.append(promised(1), vote(1, 1))
        life.flush()
        life.append(vote(2, 1), learned(3), MarkRecord(2))
        life.flush()
        life.append(vote(4, 1, b"big" * 2500))  # in a segment of its own
        life.flush()
        life.append(promised(2), vote(4, 2), vote(5, 2), vote(6, 2))
        life.flush()
        life.append(KeptRecord(b"name"), vote(1, 3, b"by hand"), group=9)
        life.flush()
        if is_sealed:
            life.seal()
        else:
            life.append(vote(7, 2), vote(8, 2))
            life.flush()
        self.disk = life.disk.kill()
        self.segments = [name for name in self.disk.names() if segment_number(name)]


def records_in(disk: BlockDisk, name: str) -> list[tuple[int, int, int, int]]:
    """(file offset, kind, slot, position) of all records of a segment."""
    file = disk.open(name)
    head = read_head(file)
    shift = head.base - head.records_at
    return [(f[0] - shift, f[2], f[4], f[0]) for f in search(file, seed_of(MARK), head.records_at, shift, file.size())]


def test_sealed_vote_rots() -> None:
    """`sealed-vote-rots`: an acknowledged last record that rots is named, not cut (trap-T27)."""
    life = Life.begun()
    life.append(vote(8))
    life.flush()
    life.append(vote(9), vote(10), vote(11))
    life.flush()
    life.seal()
    disk = life.disk.kill()
    (name,) = [name for name in disk.names() if segment_number(name)]
    ((offset, _, _, position),) = [r for r in records_in(disk, name) if r[1] == ACCEPTED and r[2] == 10]
    disk.flip(name, offset * 8 + 77)
    with pytest.raises(JournalDamaged) as refusal:
        started(disk, 2)
    assert refusal.value.position == position
    assert refusal.value.segment == name
    assert refusal.value.votes == ((0, 10, 10, ballot_of(1, 1)),)
    assert refusal.value.is_listed
    assert "slot 10 at ballot 1.1" in str(refusal.value)
    assert "Do not cut" in str(refusal.value)


def test_a_bad_vote_and_its_bad_seal_are_named_by_the_next_seal() -> None:
    """Each seal repeats what the one before said: one more bad record hides nothing."""
    life = Life.begun()
    for slot in (1, 2, 3):
        life.append(vote(slot))
        life.flush()
    life.seal()
    disk = life.disk.kill()
    (name,) = [name for name in disk.names() if segment_number(name)]
    rows = records_in(disk, name)
    which = next(i for i, row in enumerate(rows) if row[2] == 2)
    assert rows[which + 1][1] == SEAL
    disk.flip(name, rows[which][0] * 8 + 80)
    disk.flip(name, rows[which + 1][0] * 8 + 80)
    with pytest.raises(JournalDamaged) as refusal:
        started(disk, 2)
    assert refusal.value.votes == ((0, 2, 2, ballot_of(1, 1)),)


def test_a_vote_whose_seals_are_all_bad_puts_every_slot_in_doubt() -> None:
    life = Life.begun()
    for slot in (1, 2, 3, 4):
        life.append(vote(slot))
        life.flush()
    life.seal()
    disk = life.disk.kill()
    (name,) = [name for name in disk.names() if segment_number(name)]
    rows = records_in(disk, name)
    which = next(i for i, row in enumerate(rows) if row[2] == 2)
    for row in (rows[which], rows[which + 1], rows[which + 3]):
        disk.flip(name, row[0] * 8 + 80)
    with pytest.raises(JournalDamaged, match="every slot above the last mark is in doubt") as refusal:
        started(disk, 2)
    assert not refusal.value.is_listed


def test_a_rotten_promise_record_is_not_forgotten() -> None:
    """`forgotten-promise`: the record of promise 10 rots before any seal; the copies know that it was durable."""
    life = Life.begun()
    life.append(vote(1, 7))
    life.flush()
    life.append(promised(10))
    life.flush()
    disk = life.disk.kill()
    (name,) = [name for name in disk.names() if segment_number(name)]
    rows = records_in(disk, name)
    disk.flip(name, rows[-1][0] * 8 + 80)
    with pytest.raises(JournalDamaged):
        started(disk.copy(), 2)
    for copy in (1, 2):  # without one of them it is the same
        one = disk.copy()
        one.flip(copy_name(copy), 80)
        with pytest.raises(JournalDamaged):
            started(one, 2)
    # Without both, the torn end may hide a raise: this id never votes again.
    both = disk.copy()
    both.flip(copy_name(1), 80)
    both.flip(copy_name(2), 80)
    with pytest.raises(JournalDamaged, match="neither promise-1 and promise-2 can be read"):
        started(both, 2)


def test_both_copies_gone_and_a_journal_that_ends_well_is_a_start() -> None:
    """Nothing can be hidden by them then: seals, heads and the records themselves hold the promise (rule-R36)."""
    life = Life.begun()
    life.append(promised(10), vote(1, 10))
    life.flush()
    life.journal.close()
    disk = life.disk.kill()
    disk.remove(copy_name(1))
    disk.cut(copy_name(2), 20)
    assert promise_in(check_crash(disk, life.told, len(life.told))) == ballot_of(10, 1)
    assert copy_name(1) in disk.names()


def test_files_that_are_missing_renamed_or_of_another_directory() -> None:
    case = Case(True)
    for name in case.segments:
        disk = case.disk.copy()
        disk.remove(name)
        with pytest.raises(JournalDamaged, match="missing"):
            started(disk, 2)
    disk = case.disk.copy()
    disk.rename(case.segments[1], "00000000000000aa.segment")
    with pytest.raises(JournalDamaged, match="renamed"):
        started(disk, 2)
    for name in case.segments:
        disk.files.pop(name, None)
    disk.remove("00000000000000aa.segment")
    with pytest.raises(JournalDamaged, match="no segment"):
        started(disk, 2)
    other = BlockDisk()
    create_journal(other, MARK + 1)
    disk = case.disk.copy()
    disk.files[case.segments[1]] = other.files[next(name for name in other.names() if segment_number(name))]
    with pytest.raises(JournalDamaged, match="another directory"):
        started(disk, 2)


def test_a_head_of_a_newer_version_is_refused_by_name() -> None:
    case = Case(True)
    disk = case.disk
    name = case.segments[1]
    file = disk.open(name)
    head = read_head(file)
    raw = bytearray(head.encode())
    # A newer version: the same head, the next format, its own checksum.
    import google_crc32c

    raw[52:54] = (2).to_bytes(2, "big")
    length = int.from_bytes(raw[8:12], "big")
    raw[4:8] = google_crc32c.value(bytes(raw[8 : 52 + length])).to_bytes(4, "big")
    file.write(0, [bytes(raw)])
    with pytest.raises(JournalDamaged, match="newer version"):
        started(disk, 2)


def test_a_value_that_looks_like_a_record_is_not_believed() -> None:
    """A client may send a seal as its data, right in place even: it does not know the directory's mark."""
    life = Life.begun(fresh(), 1 << 16)
    life.append(vote(1))
    life.flush()
    life.seal()
    begins = life.append(vote(2)) + HEADER_BYTES  # where the body of the next record will stand
    claim = encode_seal(Section(0, begins, [], []).encode(), b"")
    life.append(vote(3, body=encode(0, SEAL, begins, claim, prefix=begins)))
    life.flush()
    disk = life.disk.kill()
    (name,) = [name for name in disk.names() if segment_number(name)]
    disk.flip(name, records_in(disk, name)[-1][0] * 8 + 70)
    # The end is torn, and behind it stands what would be a seal: it is none, or the tail would be called damage.
    journal, found = started(disk, 2)
    assert found == life.told[:2]
    assert journal.cut


def test_a_bad_place_in_an_older_segment_is_damage_without_any_seal_behind() -> None:
    case = Case(False)
    disk = case.disk.copy()
    name = case.segments[0]
    rows = records_in(disk, name)
    disk.flip(name, rows[-1][0] * 8 + 90)
    with pytest.raises(JournalDamaged) as refusal:
        started(disk, 2)
    assert refusal.value.segment == name
