"""Frames of the client protocol as the load generator needs them: built once, sent many times, told apart by their
length.

All requests of a session have one length and lie side by side in one block, the xids already in place, so that
sending any number of them is one slice. All replies of one operation have one length too, which lets `load.py` check
a whole read at once. Field order: ZooKeeper's jute records; the full codec that people use is `wire/zookeeper.py`.
"""

import struct

OP_CREATE = 1
OP_GET = 4
OP_SET = 5
OP_CLOSE = -11
BLOCK = 256  # requests in a block: the low byte of the xid is then the position in the block
_FLAG_SEQUENCE = 2
_HEADER_BYTES = 4 + 16  # frame length, then xid, zxid, err
_STAT_BYTES = 68
_SEQUENCE_DIGITS = 10

CONNECT_REPLY = struct.Struct(">iiiq")  # frame length, protocol version, timeout in ms, session id
REPLY_HEADER = struct.Struct(">iiqi")  # frame length, xid, zxid, err


def frame(body: bytes) -> bytes:
    """A message with its length in front."""
    return struct.pack(">i", len(body)) + body


def connect_request(timeout_ms: int) -> bytes:
    """Ask for a new session."""
    return frame(struct.pack(">iqiqi16xB", 0, 0, timeout_ms, 0, 16, 0))


def close_request(xid: int) -> bytes:
    """End the session."""
    return frame(struct.pack(">ii", xid, OP_CLOSE))


def _buffer(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def set_request(path: bytes, data: bytes) -> bytes:
    """A set without a condition, xid 0."""
    return frame(struct.pack(">ii", 0, OP_SET) + _buffer(path) + _buffer(data) + struct.pack(">i", -1))


def get_request(path: bytes) -> bytes:
    """A get that sets no watch, xid 0."""
    return frame(struct.pack(">ii", 0, OP_GET) + _buffer(path) + b"\0")


def create_request(path: bytes, data: bytes) -> bytes:
    """A sequential create, open to all, xid 0: the request is the same each time and the path in its reply is of
    one length.
    """
    acl = struct.pack(">ii", 1, 31) + _buffer(b"world") + _buffer(b"anyone")
    return frame(
        struct.pack(">ii", 0, OP_CREATE) + _buffer(path) + _buffer(data) + acl + struct.pack(">i", _FLAG_SEQUENCE)
    )


def set_reply_bytes() -> int:
    """Whole length of the reply to a set, frame length included."""
    return _HEADER_BYTES + _STAT_BYTES


def get_reply_bytes(data_bytes: int) -> int:
    """Whole length of the reply to a get."""
    return _HEADER_BYTES + 4 + data_bytes + _STAT_BYTES


def create_reply_bytes(path: bytes) -> int:
    """Whole length of the reply to a sequential create under ``path``."""
    return _HEADER_BYTES + 4 + len(path) + _SEQUENCE_DIGITS


class RequestBlock:
    """256 requests side by side; taking some is a slice, and the xids grow with every turn through the block."""

    __slots__ = ("_block", "_is_even", "_offsets", "_position", "_turn")

    def __init__(self, requests: list[bytes]) -> None:
        """``requests`` are 256 frames, of one length or of several."""
        if len(requests) != BLOCK:
            raise ValueError(f"a block holds {BLOCK} requests, not {len(requests)}")
        self._offsets = [0]
        for request in requests:
            self._offsets.append(self._offsets[-1] + len(request))
        self._is_even = len({len(request) for request in requests}) == 1
        self._block = bytearray(b"".join(requests))
        for position in range(BLOCK):
            self._block[self._offsets[position] + 7] = position
        self._position = 0
        self._turn = 0
        self._begin_turn()

    def _begin_turn(self) -> None:
        # Starts at 1, so that no xid is 0, and stays below 2**23, so that none is negative: those mean pings and
        # events.
        self._turn = self._turn % 0x7FFFFF + 1
        upper = struct.pack(">I", self._turn)[1:]
        if self._is_even:
            # Three strided copies for 256 requests: this is why the price of an xid does not show.
            length = self._offsets[1]
            for place in range(3):
                self._block[4 + place :: length] = upper[place : place + 1] * BLOCK
        else:
            for offset in self._offsets[:-1]:
                self._block[offset + 4 : offset + 7] = upper

    def take(self, count: int) -> bytes | bytearray:
        """The next ``count`` requests as bytes to write: a copy, because the transport may keep them while the
        block changes.
        """
        position = self._position
        end = position + count
        if end < BLOCK:
            self._position = end
            return self._block[self._offsets[position] : self._offsets[end]]
        pieces = []
        while count:
            taken = min(count, BLOCK - position)
            pieces.append(self._block[self._offsets[position] : self._offsets[position + taken]])
            count -= taken
            position += taken
            if position == BLOCK:
                position = 0
                self._begin_turn()
        self._position = position
        return b"".join(pieces)

    @property
    def next_xid(self) -> int:
        """The xid of the request that would be taken next."""
        return self._turn << 8 | self._position
