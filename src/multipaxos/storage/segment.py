"""Segments: the files a journal consists of, and the first record of each.

A segment is a file of zeros, written and synced before it is used. It begins with its *head*, padded to a whole block;
records follow. Journal positions count the bytes of records only, so a stretch of the journal can stand in another
segment byte for byte, at the same positions: that is how recovery copies the end of a journal (rule-R37).

A segment has its number as its name, ``%016x.segment``, only once its head is durable: while it is made and filled with
zeros it is called ``spare``. So a segment whose head cannot be read is damage, never a crash.

The head's body:

    format u16  mark u64  number u64  previous u64  base u64  file_bytes u64
    incarnation u32  floor i64  issued i64  lease_ns u64  promises u32, then per promise: group u32  ballot i64

``base`` is the position of the first record, and where the segment ``previous`` ends (0: there is none): all below it
was durable before this head was written, so the head is a seal too. A previous segment may go on behind that; what
stands there is void, it stands here. ``issued`` is the highest ballot this replica issued, ``floor`` the slot its
ledger was dropped up to, ``lease_ns`` the longest lease it may have granted (rule-R23, rule-R36). ``file_bytes`` tells
a file that was cut short from one that ends early.

Knows nothing of which segment follows which; that is ``recovery.py``.
"""

import struct
from struct import Struct
from typing import Final

from multipaxos.core.ballot import Ballot, Slot
from multipaxos.storage.disk import BLOCK_BYTES, DiskFile
from multipaxos.storage.record import HEAD, HEADER_BYTES, UnreadableRecord, encode, read_one

FORMAT: Final = 1
"""Of the whole directory: a newer one is refused by name."""

SPARE: Final = "spare"

_SUFFIX: Final = ".segment"
_FORMAT: Final = Struct(">H")
_HEAD: Final = Struct(">HQQQQQIqqQI")
_PROMISE: Final = Struct(">Iq")


class Head:
    """The first record of a segment."""

    __slots__ = (
        "base",
        "file_bytes",
        "floor",
        "incarnation",
        "issued",
        "lease_ns",
        "mark",
        "number",
        "previous",
        "promised",
        "records_at",
    )

    def __init__(
        self,
        *,
        mark: int,
        number: int,
        previous: int,
        base: int,
        file_bytes: int,
        incarnation: int,
        floor: Slot,
        issued: Ballot,
        lease_ns: int,
        promised: dict[int, Ballot],
    ) -> None:
        self.mark = mark
        self.number = number
        self.previous = previous
        self.base = base
        self.file_bytes = file_bytes
        self.incarnation = incarnation
        self.floor = floor
        self.issued = issued
        self.lease_ns = lease_ns
        self.promised = promised
        self.records_at = head_bytes(len(promised))  # file offset of the first record

    def encode(self) -> bytes:
        """The head with its padding: ``records_at`` bytes."""
        body = _HEAD.pack(
            FORMAT, self.mark, self.number, self.previous, self.base, self.file_bytes,
            self.incarnation, self.floor, self.issued, self.lease_ns, len(self.promised),
        )  # fmt: skip
        for group in sorted(self.promised):
            body += _PROMISE.pack(group, self.promised[group])
        # The seed is 0, not the directory's own: a stray segment of another directory shall be named as what it is.
        return encode(0, HEAD, 0, body).ljust(self.records_at, b"\0")


def head_bytes(promises: int) -> int:
    """How many bytes of its file a head with so many promises takes: whole blocks."""
    size = HEADER_BYTES + _HEAD.size + promises * _PROMISE.size
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def segment_name(number: int) -> str:
    """The name of the segment ``number``."""
    return f"{number:016x}{_SUFFIX}"


def segment_number(name: str) -> int:
    """The number of the segment called ``name``; 0 where it is no segment's name."""
    digits = name.removesuffix(_SUFFIX)
    if len(digits) != 16 or len(name) != 16 + len(_SUFFIX) or not set(digits) <= set("0123456789abcdef"):
        return 0
    return int(digits, 16)


def read_head(file: DiskFile) -> Head:
    """The head of an open segment. Raises UnreadableRecord, with what is wrong."""
    found = read_one(file, 0, 0, 0, file.size())
    if found is None or found[2] != HEAD:
        raise UnreadableRecord("its head, written and synced before the file got its name, cannot be read")
    body = found[7]
    try:
        (written_as,) = _FORMAT.unpack_from(body)
        if written_as > FORMAT:
            raise UnreadableRecord(f"it was written by a newer version (format {written_as}, this one reads {FORMAT})")
        _, mark, number, previous, base, size, incarnation, floor, issued, lease_ns, count = _HEAD.unpack_from(body)
        promised: dict[int, Ballot] = {}
        for index in range(count):
            group, ballot = _PROMISE.unpack_from(body, _HEAD.size + index * _PROMISE.size)
            promised[group] = ballot
    except struct.error as error:
        raise UnreadableRecord(f"its head has a layout this version does not know ({error})") from error
    return Head(
        mark=mark,
        number=number,
        previous=previous,
        base=base,
        file_bytes=size,
        incarnation=incarnation,
        floor=floor,
        issued=issued,
        lease_ns=lease_ns,
        promised=promised,
    )
