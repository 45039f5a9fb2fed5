"""The bytes of one journal record, and reading a row of them.

A record is a header of 52 bytes and a body. All integers are big-endian.

    magic u32   crc u32   body_bytes u32   kind u8   zero x3   group u32   position u64   slot i64   ballot i64   prefix u64

``crc`` is CRC32C over the header from ``body_bytes`` on and over the body, begun with a seed that follows from the
directory's random mark: a record of another directory, or one that a client made up and sent as a value, is not
believed. ``position`` is the journal position at which the record begins, so a record at another place is not believed
either (a misdirected write). ``magic`` is compared whole; no field stands outside what is checked (bug-C13).

    kind            slot        ballot       prefix          body
    1  accepted     slot        ballot       chosen prefix   the decree
    2  promised     0           ballot       0
    3  learned      slot        ballot       0               the decree
    4  mark         0           0            chosen prefix
    5  kept         0           0            0               the payload
    16 seal         0           0            durable up to   sections (``seal.py``)
    17 head         0           0            0               of a segment (``segment.py``)
    18 copy         0           0            0               of the promises (``promise.py``)

Knows nothing of files beyond reading them, and nothing of what a missing record means: that is ``recovery.py``.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

import google_crc32c

from multipaxos.core.ballot import Ballot, Slot
from multipaxos.core.records import AcceptedRecord, KeptRecord, LearnedRecord, MarkRecord, PromisedRecord, Record
from multipaxos.storage.disk import BLOCK_BYTES, DiskFile

if google_crc32c.implementation != "c":
    # The fall-back in Python is three hundred times slower: a replica would be slow without a reason anybody sees.
    raise ImportError(
        "google-crc32c runs without its C part, which the journal needs; reinstall it from a wheel: "
        "pip install --force-reinstall --only-binary :all: google-crc32c"
    )

ACCEPTED: Final = 1
PROMISED: Final = 2
LEARNED: Final = 3
MARK: Final = 4
KEPT: Final = 5
SEAL: Final = 16
HEAD: Final = 17
COPY: Final = 18

MAGIC: Final = 0x8D50780A
MAGIC_BYTES: Final = MAGIC.to_bytes(4, "big")
FRONT: Final = Struct(">II")  # magic, crc
REST: Final = Struct(">IB3xIQqqQ")  # body_bytes, kind, group, position, slot, ballot, prefix
HEADER: Final = Struct(">IIIB3xIQqqQ")
HEADER_BYTES: Final = HEADER.size
FRONT_BYTES: Final = FRONT.size

READ_BYTES: Final = 1 << 20  # how much is read ahead at a time

Found = tuple[int, int, int, int, int, int, int, bytes]
"""position where it begins, position where it ends, kind, group, slot, ballot, prefix, body"""

_extend = google_crc32c.extend


class UnreadableRecord(ValueError):
    """A record whose checksum is right and whose content is none this version knows: written by a newer one."""


def seed_of(mark: int) -> int:
    """The value every checksum of a directory begins with."""
    return int(google_crc32c.value(mark.to_bytes(8, "big")))


def encode(
    seed: int,
    kind: int,
    position: int,
    body: bytes,
    *,
    group: int = 0,
    slot: Slot = 0,
    ballot: Ballot = 0,
    prefix: int = 0,
) -> bytes:
    """A whole record. The hot kinds are packed in place by ``Journal.append``."""
    rest = REST.pack(len(body), kind, group, position, slot, ballot, prefix)
    return FRONT.pack(MAGIC, _extend(_extend(seed, rest), body)) + rest + body


def decode(found: Found) -> Record:
    """The record of the core that stands in ``found``. Raises UnreadableRecord for a kind this version does not know."""
    _, _, kind, _, slot, ballot, prefix, body = found
    if kind == ACCEPTED:
        return AcceptedRecord(ballot, slot, body, prefix)
    if kind == LEARNED:
        return LearnedRecord(ballot, slot, body)
    if kind == PROMISED:
        return PromisedRecord(ballot)
    if kind == MARK:
        return MarkRecord(prefix)
    if kind == KEPT:
        return KeptRecord(body)
    raise UnreadableRecord(f"a record of the unknown kind {kind}")


def scan(file: DiskFile, seed: int, offset: int, position: int, limit: int) -> Iterator[Found]:
    """The readable records from ``offset`` of ``file`` on, one behind the other, the first at journal ``position``.

    Ends before ``limit`` (a file offset), and before the first place where no whole, right record of the right position
    stands; which of these it was the caller sees by where the last one ended.
    """
    data = b""
    at = 0  # data[at:] is what stands at ``offset``
    while offset + HEADER_BYTES <= limit:
        if len(data) - at < HEADER_BYTES:
            data = file.read(offset, min(READ_BYTES, limit - offset))
            at = 0
            if len(data) < HEADER_BYTES:
                return
        magic, crc, length, kind, group, stated, slot, ballot, prefix = HEADER.unpack_from(data, at)
        size = HEADER_BYTES + length
        if magic != MAGIC or stated != position or offset + size > limit:
            return
        if len(data) - at < size:
            data = file.read(offset, min(max(READ_BYTES, size), limit - offset))
            at = 0
            if len(data) < size:
                return
        body = data[at + HEADER_BYTES : at + size]
        if _extend(_extend(seed, data[at + FRONT_BYTES : at + HEADER_BYTES]), body) != crc:
            return
        yield position, position + size, kind, group, slot, ballot, prefix, body
        at += size
        offset += size
        position += size


def read_one(file: DiskFile, seed: int, offset: int, shift: int | None, limit: int) -> Found | None:
    """The record at ``offset``, or None where none stands there. ``shift`` is position minus file offset; None where
    it is not known, so that any position is believed."""
    header = file.read(offset, HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    magic, _, length, _, _, stated, _, _, _ = HEADER.unpack(header)
    if magic != MAGIC or (shift is not None and stated != offset + shift):
        return None
    for found in scan(file, seed, offset, stated, min(limit, offset + HEADER_BYTES + length)):
        return found
    return None


def search(file: DiskFile, seed: int, offset: int, shift: int | None, limit: int) -> Iterator[Found]:
    """Readable records anywhere from ``offset`` on: what is still there behind a bad place."""
    at = _next_magic(file, offset, limit)
    while at >= 0:
        found = read_one(file, seed, at, shift, limit)
        if found is None:
            at = _next_magic(file, at + 1, limit)
        else:
            yield found
            at = _next_magic(file, at + found[1] - found[0], limit)


def _next_magic(file: DiskFile, offset: int, limit: int) -> int:
    """The file offset of the next magic at or behind ``offset``, or -1."""
    size = BLOCK_BYTES  # begins small: behind a readable record the next one is near
    while offset + HEADER_BYTES <= limit:
        data = file.read(offset, min(size, limit - offset))
        found_at = data.find(MAGIC_BYTES)
        if found_at >= 0:
            return offset + found_at
        if len(data) < HEADER_BYTES:
            return -1
        offset += len(data) - (len(MAGIC_BYTES) - 1)  # a magic may stand across the border of two pieces
        size = min(2 * size, READ_BYTES)
    return -1
