"""Crashes by name: the scenarios of the journal's rules, each at its one moment (rule-R34, rule-R36, rule-R37).

That no other crash, error or rotten bit loses anything is enumerated in ``test_crash_enumeration.py``.
"""

import errno

import pytest

from multipaxos.core.ballot import ballot_of
from multipaxos.sim.blocks import BlockDisk
from multipaxos.sim.crash_life import Life, fresh, promised, vote
from multipaxos.sim.crash_verdict import MARK, check_crash, promise_in, started
from multipaxos.storage.disk import BLOCK_BYTES
from multipaxos.storage.faults import JournalFailed
from multipaxos.storage.promise import Noted, copy_name, read_copy, write_copies
from multipaxos.storage.record import seed_of
from multipaxos.storage.segment import segment_number


class Stopped(Exception):
    """The machine stops in the middle of a call."""


def before_the_sync(life: Life) -> BlockDisk:
    """The disk when the next flush has written and not synced: what it wrote is in the page cache only."""

    def before(call: str, name: str) -> None:
        if call == "sync":
            raise Stopped

    life.disk.before = before
    with pytest.raises(Stopped):
        life.journal.flush()
    return life.disk.kill()


def test_cache_vouches() -> None:
    """rule-R37: kill -9 between write and sync, a start that promises by what it read, then a power loss."""
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    life.append(promised(5), vote(2, 5))
    disk = before_the_sync(life)
    _, found = started(disk, 2)
    assert found == life.told, "it is in the page cache, so it is read"
    _, after = started(disk.lose_power(), 3)
    assert after == found, "and what was read was vouched for"


def test_cache_vouches_after_a_failed_sync() -> None:
    """The kernel has marked the pages clean, so no later sync of that file would ever write them (bug-C02)."""
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    life.append(vote(2))
    life.disk.fail_at(0, errno.EIO, ["sync"])
    with pytest.raises(JournalFailed):
        life.journal.flush()
    disk = life.disk.kill()
    assert not [unit for unit in disk.units() if unit[0] == "data" and unit[1] is not disk.files["stopped"]]
    _, found = started(disk, 2)
    assert found == life.told
    _, after = started(disk.lose_power(), 3)
    assert after == found


def test_cache_vouches_after_a_sync_that_ruined_its_blocks() -> None:
    """A write rewrites whole blocks: one that failed may leave nothing readable of a block on the disk, also of what was
    durable in it, while memory still shows it. So the copy begins with the block of the last seal, not with the seal."""
    life = Life.begun()
    for slot in (1, 2, 3):
        life.append(vote(slot))
        life.flush()
    life.append(vote(4))
    life.disk.fail_at(0, errno.EIO, ["sync"])
    with pytest.raises(JournalFailed):
        life.journal.flush()
    disk = life.disk.kill()
    (name,) = [name for name in disk.names() if segment_number(name)]
    disk.files[name].durable[BLOCK_BYTES : 2 * BLOCK_BYTES] = b"\xee" * BLOCK_BYTES
    _, found = started(disk, 2)
    assert found == life.told
    _, after = started(disk.lose_power(), 3)
    assert after == found


def test_the_copy_begins_at_the_block_of_the_last_seal_and_ends_with_the_end() -> None:
    """Nothing more is copied: a start costs the same however long the journal is."""
    life = Life.begun(fresh(), 1 << 20)
    for slot in range(1, 401):
        life.append(vote(slot, body=b"z" * 100))
        life.flush()
    assert life.journal.durable > 20 * BLOCK_BYTES
    disk = life.disk.kill()
    disk.written.clear()
    journal, found = started(disk, 2, 1 << 20)
    assert found == life.told
    copied = [(offset, size) for name, offset, size in disk.written if name == "spare" and offset == BLOCK_BYTES][-1]
    assert copied[1] < BLOCK_BYTES + 300
    assert journal.read(1, 400) == [(r.slot, r.ballot, r.decree) for _, r in found]


def test_what_cannot_be_read_twice_is_not_vouched_for() -> None:
    """The page was evicted between reading and copying: the disk does not hold what memory held."""
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    life.append(vote(2))
    disk = before_the_sync(life)

    def before(call: str, name: str) -> None:
        if call == "create" and name == "spare":
            for inode in disk.files.values():
                inode.cached = bytearray(inode.durable)
                inode.pending.clear()

    disk.before = before
    with pytest.raises(JournalFailed, match="the disk does not hold what memory held"):
        started(disk, 2)
    check_crash(disk.kill(), life.told, life.safe)


def test_power_loss_everywhere_refuses_nobody() -> None:
    """`power-loss-everywhere`: a torn tail is no damage, or a cluster that lost power would not start (trap-T27)."""
    for kept in range(64):
        life = Life.begun()
        life.append(vote(1), vote(2))
        life.flush()
        life.append(*[vote(slot, body=b"w" * 700) for slot in range(3, 7)])
        disk = before_the_sync(life)
        check_crash(disk.lose_power(lambda unit, kept=kept: bool(kept >> unit & 1)), life.told, life.safe)


def test_a_copy_torn_in_its_write_leaves_the_other() -> None:
    life = Life.begun()
    life.append(promised(9))
    life.flush()
    disk = life.disk.kill()
    file = disk.open(copy_name(1))
    file.write(0, [b"half a rec"])
    assert read_copy(disk, seed_of(MARK), 1) is None
    found = check_crash(disk, life.told, life.safe)
    assert promise_in(found) == ballot_of(9, 1)
    after = read_copy(disk, seed_of(MARK), 1)
    assert after is not None
    assert after.promised == {0: ballot_of(9, 1)}


def test_a_promise_known_to_a_copy_alone_is_told_and_made_durable() -> None:
    """rule-R36: recovery takes the highest readable, and the new segment's head holds it before anything is said."""
    life = Life.begun()
    life.append(vote(1))
    life.flush()
    disk = life.disk.kill()
    write_copies(disk, seed_of(MARK), Noted(0, 0, {0: ballot_of(30, 2), 4: ballot_of(3, 3)}))
    _, found = started(disk, 2)
    assert promise_in(found) == ballot_of(30, 2)
    assert promise_in(found, 4) == ballot_of(3, 3)
    for copy in (1, 2):
        file = disk.open(copy_name(copy))
        file.write(0, [bytes(200)])
    _, again = started(disk, 3)
    assert again == found
