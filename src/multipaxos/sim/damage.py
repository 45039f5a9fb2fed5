"""Where bytes of a directory may rot, so that what must follow is known.

A byte of a record rots *noticeably* where a later seal or the head of the next segment, both on the disk, say that it was
durable: then recovery must refuse by name, or read it from elsewhere. What no seal covers yet cannot be told from a torn
end (rule-R42), so nothing is damaged there. Behind the end of the journal rot must do no harm at all, and neither must
the loss of one of the two copies of the promises.

All this is about what is on the disk, not what the page cache shows. Knows nothing of time and of replicas' processes.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Final

from multipaxos.sim.blocks import SECTOR, BlockDisk, Inode
from multipaxos.storage.identity import INCARNATION, MARK
from multipaxos.storage.promise import COPIES, copy_name, read_copy
from multipaxos.storage.record import HEADER_BYTES, SEAL, UnreadableRecord, scan, seed_of
from multipaxos.storage.segment import Head, read_head, segment_name, segment_number

_FILE: Final = re.compile(r" of ([a-z0-9.-]+)")

HEAD_BYTES: Final = HEADER_BYTES + 86
"""Of the head of a segment with one promise: what is padding behind it does not matter."""


class _OnDisk:
    """What stands on the disk of a file, to be read as a file."""

    __slots__ = ("_content",)

    def __init__(self, content: bytearray) -> None:
        self._content = content

    def write(self, offset: int, parts: object) -> None:
        """Nobody writes here."""
        raise AssertionError("what is looked at is not changed")

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes."""
        return bytes(memoryview(self._content)[offset : offset + size])

    def sync(self) -> None:
        """It is what it is."""

    def size(self) -> int:
        """Its length."""
        return len(self._content)

    def truncate(self, size: int) -> None:
        """Nobody cuts here."""
        raise AssertionError("what is looked at is not changed")

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes ``first`` to ``last - 1`` of a file."""

    name: str
    inode: Inode
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where rot may strike."""

    sealed: list[Extent]  # records of which something later says that they were durable
    heads: list[Extent]
    void: list[Extent]  # behind the end


def places_in(blocks: BlockDisk, mark: int) -> Places:
    """The places of a directory as its disk has it; none where a head cannot be read."""
    names = blocks.durable_names
    found = Places([], [], [])
    number = max((segment_number(name) for name in names), default=0)
    next_base = -1
    while number:
        name = segment_name(number)
        inode = names.get(name)
        if inode is None:
            return Places([], [], [])
        file = _OnDisk(inode.durable)
        try:
            head = read_head(file)
        except UnreadableRecord:
            return Places([], [], [])
        found.heads.append(Extent(name, inode, 0, HEAD_BYTES))
        if next_base < 0:
            sealed_at, end = _newest(file, head, seed_of(mark))
            # What was written since the last sync is not void, though it is not on the disk yet either.
            _, shown_end = _newest(_OnDisk(inode.cached), head, seed_of(mark))
            found.void.append(Extent(name, inode, max(end, shown_end), len(inode.durable)))
        else:
            sealed_at = head.records_at + next_base - head.base
        if sealed_at > head.records_at:
            found.sealed.append(Extent(name, inode, head.records_at, sealed_at))
        next_base = head.base
        number = head.previous
    return found


def _newest(file: _OnDisk, head: Head, seed: int) -> tuple[int, int]:
    """Up to which offset the newest segment is sealed, and where its records end."""
    sealed_at = end = head.records_at
    for start, stop, kind, *_ in scan(file, seed, head.records_at, head.base, file.size()):
        if kind == SEAL:
            sealed_at = head.records_at + start - head.base
        end = head.records_at + stop - head.base
    return sealed_at, end


def files_in(what: str) -> list[str]:
    """The files that a description of damage speaks of."""
    return _FILE.findall(what)


def flip_harmless(blocks: BlockDisk, mark: int, random: Random) -> bool:
    """Flip a bit behind the end of the journal; whether there was one."""
    void = [extent for extent in places_in(blocks, mark).void if extent.first < extent.last]
    if not void:
        return False
    extent = random.choice(void)
    # Close behind the end it looks most like a write that was torn.
    at = extent.first + random.randrange(min(extent.last - extent.first, random.choice((60, 1 << 20))))
    _flip(extent.inode, at, random)
    return True


def flip_copy(blocks: BlockDisk, random: Random) -> None:
    """Flip a bit of one copy of the promises: the other one is enough."""
    _flip_file(blocks, copy_name(random.choice(COPIES)), random, HEADER_BYTES + 32)


def are_copies_lost(blocks: BlockDisk, mark: int) -> bool:
    """Whether neither copy of the promises can be read: what a crash in the writing of one leaves where the other rotted."""
    return all(read_copy(blocks, seed_of(mark), copy) is None for copy in COPIES)


def flip(blocks: BlockDisk, mark: int, random: Random) -> str:
    """Flip a bit that matters; says where, or nothing where there is none."""
    places = places_in(blocks, mark)
    how = random.random()
    if how < 0.07:
        return _flip_file(blocks, random.choice((MARK, INCARNATION)), random, 1 << 20)
    extents = places.heads if how < 0.17 else places.sealed
    if not extents:
        return ""
    extent = random.choices(extents, [extent.last - extent.first for extent in extents])[0]
    at = random.randrange(extent.first, extent.last)
    _flip(extent.inode, at, random)
    return f"a flipped bit at {at} of {extent.name}"


def _flip_file(blocks: BlockDisk, name: str, random: Random, bytes_max: int) -> str:
    inode = blocks.durable_names.get(name)
    size = 0 if inode is None else min(bytes_max, len(inode.durable))
    if inode is None or size == 0:
        return ""
    at = random.randrange(size)
    _flip(inode, at, random)
    return f"a flipped bit at {at} of {name}"


def _flip(inode: Inode, at: int, random: Random) -> None:
    """On the disk for sure; and in what is read of it, unless the system still has the page from before."""
    bit = 1 << random.randrange(8)
    inode.durable[at] ^= bit
    if random.random() < 0.5 and at < len(inode.cached):
        inode.cached[at] ^= bit


def lose_sector(blocks: BlockDisk, mark: int, random: Random) -> str:
    """A sector below the last seal holds what it held before it was written: zeros. Says which, or nothing."""
    found = _sectors(places_in(blocks, mark))
    if not found:
        return ""
    extent, at = random.choice(found)
    extent.inode.durable[at : at + SECTOR] = bytes(SECTOR)
    return f"a lost write of the sector at {at} of {extent.name}"


def misdirect(blocks: BlockDisk, mark: int, random: Random) -> str:
    """A sector was written over another, both below the last seal by now: where it belongs are still zeros. The page cache
    shows both as they should be. Says where, or nothing."""
    found = _sectors(places_in(blocks, mark))
    if len(found) < 2:
        return ""
    (extent, at), (victim, landed_at) = random.sample(found, 2)
    victim.inode.durable[landed_at : landed_at + SECTOR] = extent.inode.durable[at : at + SECTOR]
    extent.inode.durable[at : at + SECTOR] = bytes(SECTOR)
    return f"a write to {at} of {extent.name} that landed at {landed_at} of {victim.name}"


def _sectors(places: Places) -> list[tuple[Extent, int]]:
    """Whole sectors of sealed records."""
    found: list[tuple[Extent, int]] = []
    for extent in places.sealed:
        first = -(-extent.first // SECTOR) * SECTOR
        found.extend((extent, at) for at in range(first, extent.last - SECTOR + 1, SECTOR))
    return found
