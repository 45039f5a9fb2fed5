"""The few jute primitives the state machine reads and writes: big-endian ints, strings and buffers with a length.

A length of -1 is null; any other negative length, or one beyond the record, is malformed. Bytes behind a record are
ignored, as the Java server does. ``wire/`` holds the whole protocol; this module exists because the state machine,
which opens a client's record only when it applies it, may not import upward.
"""

from struct import Struct
from struct import error as StructError
from typing import Final

INT: Final = Struct(">i")
LONG: Final = Struct(">q")
MULTI_HEADER: Final = Struct(">i?i")  # type, done, err
MULTI_HEADER_SIZE: Final = 9

NULL: Final = b"\xff\xff\xff\xff"


class MalformedRecord(ValueError):
    """The bytes are not the record they should be: answered with a marshalling error."""


def read_int(record: bytes, at: int) -> int:
    """The int at ``at``. Raises MalformedRecord where the record ends before."""
    try:
        return int(INT.unpack_from(record, at)[0])
    except StructError as error:
        raise MalformedRecord("an int beyond the record") from error


def read_long(record: bytes, at: int) -> int:
    """The long at ``at``. Raises MalformedRecord where the record ends before."""
    try:
        return int(LONG.unpack_from(record, at)[0])
    except StructError as error:
        raise MalformedRecord("a long beyond the record") from error


def read_buffer(record: bytes, at: int) -> tuple[bytes | None, int]:
    """The buffer (or the bytes of the string) at ``at``, None for null, and where it ends.

    Raises MalformedRecord where its length fits nothing.
    """
    size = read_int(record, at)
    at += 4
    if size < 0:
        if size == -1:
            return None, at
        raise MalformedRecord("a negative length")
    end = at + size
    if end > len(record):
        raise MalformedRecord("a buffer beyond the record")
    return record[at:end], end


def read_path(record: bytes, at: int) -> tuple[str, int]:
    """The path at ``at`` and where it ends.

    Bytes that are not UTF-8 (Java's encoding of astral characters among them) become U+FFFD, which no valid path
    contains. Raises MalformedRecord for a null path.
    """
    raw, at = read_buffer(record, at)
    if raw is None:
        raise MalformedRecord("a null path")
    return raw.decode("utf-8", "replace"), at


def pack_buffer(data: bytes | None) -> bytes:
    """A buffer, null for None."""
    if data is None:
        return NULL
    return INT.pack(len(data)) + data


def pack_path(path: str) -> bytes:
    """A path of a znode, which is always valid, as a string."""
    raw = path.encode()
    return INT.pack(len(raw)) + raw
