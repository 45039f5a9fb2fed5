"""Jute, the serialisation of ZooKeeper's client protocol: primitives in both directions.

Big-endian fixed-size numbers; strings, buffers and vectors with a 32-bit length in front, -1 for null. There are no
tags and no padding, so a record can only be read by whoever knows its fields: those stand in ``zookeeper.py``, the
place to read next. This module knows nothing of records, requests or connections.

Every ``read_*`` function takes the bytes and the position to read at and returns the value and the position behind it.
A record ends where the bytes end: cut the frame out first. Whatever does not fit raises ``MalformedRecord`` and
nothing else.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

INT: Final = Struct(">i")
LONG: Final = Struct(">q")
TWO_INTS: Final = Struct(">ii")

NULL: Final = b"\xff\xff\xff\xff"
"""The length -1: a null string, buffer or vector, distinct from an empty one (zk-10)."""


class MalformedRecord(ValueError):
    """Bytes that are no record of the kind asked for: too short, a length out of bounds, a string that is not UTF-8."""


def read_bool(data: bytes, at: int) -> tuple[bool, int]:
    """One byte; whatever is not zero reads as true."""
    if at >= len(data):
        raise MalformedRecord("a bool is missing")
    return data[at] != 0, at + 1


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """A signed 32-bit number."""
    end = at + 4
    if end > len(data):
        raise MalformedRecord("an int is cut short")
    return int.from_bytes(data[at:end], "big", signed=True), end


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A signed 64-bit number."""
    end = at + 8
    if end > len(data):
        raise MalformedRecord("a long is cut short")
    return int.from_bytes(data[at:end], "big", signed=True), end


def read_buffer(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes with their length in front; ``None`` for null."""
    size, at = read_int(data, at)
    if size == -1:
        return None, at
    end = at + size
    if size < 0 or end > len(data):
        raise MalformedRecord("a buffer reaches beyond its frame")
    return data[at:end], end


def read_string(data: bytes, at: int) -> tuple[str | None, int]:
    """Text with its length in front; ``None`` for null.

    Java writes UTF-16 units one by one, so that a character outside the basic plane arrives as two encoded surrogates.
    They are let through: what is legal in a path is for the tree to say.
    """
    size, at = read_int(data, at)
    if size == -1:
        return None, at
    end = at + size
    if size < 0 or end > len(data):
        raise MalformedRecord("a string reaches beyond its frame")
    try:
        return str(data[at:end], "utf-8", "surrogatepass"), end
    except UnicodeDecodeError as error:
        raise MalformedRecord("a string is not UTF-8") from error


def read_text(data: bytes, at: int) -> tuple[str, int]:
    """A string that must not be null: a path."""
    text, at = read_string(data, at)
    if text is None:
        raise MalformedRecord("a string is null")
    return text, at


def read_count(data: bytes, at: int, size_min: int) -> tuple[int, int]:
    """How many elements, of ``size_min`` bytes at least, a vector announces; 0 for null."""
    count, at = read_int(data, at)
    if count == -1:
        return 0, at
    # Checked against what is there, or a four-byte lie would make the caller reserve gigabytes.
    if count < 0 or count * size_min > len(data) - at:
        raise MalformedRecord("a vector reaches beyond its frame")
    return count, at


def read_strings(data: bytes, at: int) -> tuple[list[str], int]:
    """A vector of strings; null reads as empty, and so does a null element."""
    count, at = read_count(data, at, 4)
    strings: list[str] = []
    for _ in range(count):
        text, at = read_string(data, at)
        strings.append("" if text is None else text)
    return strings, at


def write_bool(value: bool) -> bytes:
    """One byte."""
    return b"\x01" if value else b"\x00"


def write_int(value: int) -> bytes:
    """A signed 32-bit number."""
    return INT.pack(value)


def write_long(value: int) -> bytes:
    """A signed 64-bit number."""
    return LONG.pack(value)


def write_buffer(value: bytes | None) -> bytes:
    """Bytes with their length in front."""
    if value is None:
        return NULL
    return INT.pack(len(value)) + value


def write_string(value: str | None) -> bytes:
    """Text with the length of its UTF-8 form in front."""
    if value is None:
        return NULL
    encoded = value.encode("utf-8", "surrogatepass")
    return INT.pack(len(encoded)) + encoded


def write_strings(values: Sequence[str]) -> bytes:
    """A vector of strings."""
    parts = [INT.pack(len(values))]
    for value in values:
        encoded = value.encode("utf-8", "surrogatepass")
        parts.append(INT.pack(len(encoded)))
        parts.append(encoded)
    return b"".join(parts)
