"""The two copies of the promises beside the journal (rule-R36).

``promise-1`` and ``promise-2`` are overwritten in place and synced one after the other, after the journal's own sync
and before the raise is answered; so a crash tears at most one. Each is one record of kind 18 at offset 0, its position
the copy's number, its body

    journal u64  segment u64  count u32, then per group: group u32  ballot i64

``journal`` is a journal position that was durable when the copy was written, ``segment`` the number of the segment in
use then: a journal that ends below either has lost something it had, however clean its end looks.

Why two more copies when each seal and each segment carries the promise: the last raise may stand in its own record
alone, and one rotten record must not make an acceptor help a ballot it renounced (trap-T4).
"""

import struct
from struct import Struct
from typing import Final

from multipaxos.core.ballot import Ballot
from multipaxos.storage.disk import Disk, write_zeros
from multipaxos.storage.record import COPY, encode, read_one

COPIES: Final = (1, 2)
UNFINISHED: Final = ".new"
"""Behind the name of a copy that is being made again."""

_ZEROED_BYTES: Final = 16 * 1024  # room for 1,300 groups before a copy has to grow
_HEAD: Final = Struct(">QQI")
_PROMISE: Final = Struct(">Iq")


class Noted:
    """What one copy says."""

    __slots__ = ("journal", "promised", "segment")

    def __init__(self, journal: int, segment: int, promised: dict[int, Ballot]) -> None:
        self.journal = journal
        self.segment = segment
        self.promised = promised


def copy_name(copy: int) -> str:
    """The file of copy 1 or 2."""
    return f"promise-{copy}"


def create_copies(disk: Disk, seed: int) -> None:
    """Both copies of a directory that has promised nothing. The caller syncs the names."""
    for copy in COPIES:
        file = disk.create(copy_name(copy))
        try:
            write_zeros(file, 0, _ZEROED_BYTES)
            file.write(0, [_encode(seed, copy, Noted(0, 0, {}))])
            file.sync()
        finally:
            file.close()


def write_copies(disk: Disk, seed: int, noted: Noted) -> None:
    """Both copies anew, each synced before the next is touched."""
    for copy in COPIES:
        file = disk.open(copy_name(copy))
        try:
            file.write(0, [_encode(seed, copy, noted)])
            file.sync()
        finally:
            file.close()


def replace_copy(disk: Disk, seed: int, copy: int, noted: Noted) -> None:
    """A copy that cannot be read, or is not there, made again under a new inode. The caller syncs the names."""
    name = copy_name(copy)
    making = name + UNFINISHED
    if making in disk.names():
        disk.remove(making)
    file = disk.create(making)
    try:
        write_zeros(file, 0, _ZEROED_BYTES)
        file.write(0, [_encode(seed, copy, noted)])
        file.sync()
    finally:
        file.close()
    disk.rename(making, name)


def read_copy(disk: Disk, seed: int, copy: int) -> Noted | None:
    """What a copy says; None where it cannot be read."""
    try:
        file = disk.open(copy_name(copy))
    except FileNotFoundError:
        return None
    try:
        found = read_one(file, seed, 0, copy, file.size())
    finally:
        file.close()
    if found is None or found[2] != COPY:
        return None
    body = found[7]
    try:
        journal, segment, count = _HEAD.unpack_from(body)
        promised: dict[int, Ballot] = {}
        for index in range(count):
            group, ballot = _PROMISE.unpack_from(body, _HEAD.size + index * _PROMISE.size)
            promised[group] = ballot
    except struct.error:
        return None
    return Noted(journal, segment, promised)


def _encode(seed: int, copy: int, noted: Noted) -> bytes:
    parts = [_HEAD.pack(noted.journal, noted.segment, len(noted.promised))]
    for group in sorted(noted.promised):
        parts.append(_PROMISE.pack(group, noted.promised[group]))
    return encode(seed, COPY, copy, b"".join(parts))
