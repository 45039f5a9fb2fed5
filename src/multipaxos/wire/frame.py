"""How bytes between replicas are cut into frames: length, group, message number and a checksum over all of it.

    magic 4 bytes b"mpx\\x02"  crc32c u32  head_crc32c u32  length u32  group u32  sequence u64  ``length`` bytes of body

All integers are big-endian. The checksum covers all that follows it, so that damage becomes loss: a connection that
carries one bad byte is closed, counted and made anew, and nothing of the frame is believed (claim-A9). The head's own
checksum covers length, group and sequence, and is looked at before a body is waited for: a length with one flipped bit
would otherwise take in megabytes of later frames, and this replica would be deaf to its peer for as long. ``group``
names the ledger the frame belongs to, 0 as long as a process keeps one. (sender, incarnation, ``sequence``) names a
message in traces; frames that carry one message to several peers carry one number, because they are the same bytes.

Knows nothing of what a body says (``peer.py``, ``handshake.py``) and nothing of sockets (``transport/tcp.py``).
"""

from struct import Struct
from typing import Final

from google_crc32c import extend, value

MAGIC: Final = b"mpx\x02"
"""Marks a frame; the last byte is the version of the frame format, not of what replicas say to each other."""

BODY_BYTES_MAX: Final = 16 << 20
"""A page of a promise is one decree more than 1 MiB, a decree one command more than 1 MiB: this leaves ample room."""

_HEADER: Final = Struct(">4sIIIIQ")
_MARK: Final = Struct(">4sI")  # what the checksum does not cover: the magic, which is compared, and itself
_COVERED: Final = Struct(">IIIQ")
_HEAD: Final = Struct(">IIQ")
_MARK_BYTES: Final = _MARK.size
_HEAD_AT: Final = _MARK.size + 4
HEADER_BYTES: Final = _HEADER.size
BODY_AT: Final = _COVERED.size

Frame = tuple[int, int, bytes]
"""group, sequence, and bytes that hold the body from ``BODY_AT`` to their end.

The checksum takes nothing but a whole bytes object, so what it covers is copied out of the read, once; the body is not
cut off from it, because the codecs read at an offset and cut out what they keep.
"""


class FrameError(ValueError):
    """The bytes are no frame. What follows cannot be cut into frames either: the connection has to be closed."""


def encode_frame(group: int, sequence: int, body: bytes) -> bytes:
    """One frame.

    Raises FrameError where the body is longer than any receiver takes: the bounds of batches and pages are local
    settings, and an error here says that they were set too high.
    """
    if len(body) > BODY_BYTES_MAX:
        raise FrameError(f"a body of {len(body)} bytes; a frame carries at most {BODY_BYTES_MAX}")
    size = len(body)
    covered = _COVERED.pack(value(_HEAD.pack(size, group, sequence)), size, group, sequence)
    return _MARK.pack(MAGIC, extend(value(covered), body)) + covered + body


class FrameParser:
    """Cuts the bytes of one connection into frames, however they were cut into reads.

    Whole frames are taken straight out of the read; only the part of a frame at the end of a read is kept. So never
    more is held than one frame, and each byte is copied a fixed number of times however small the reads are.
    """

    __slots__ = ("_held", "_missing", "limit")

    def __init__(self, limit: int = BODY_BYTES_MAX) -> None:
        self.limit = limit  # of a body; small until the other side has said who it is
        self._held = bytearray()  # the beginning of one frame, its header checked as soon as it is whole
        self._missing = 0  # bytes that frame still lacks; meaningful once its header is whole

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished frame is kept."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, in order.

        Raises FrameError where the bytes are no frames. The frames before the bad one in this read are given up with
        it: a connection that breaks loses messages in any case.
        """
        frames: list[Frame] = []
        at = 0
        end = len(data)
        held = self._held
        if held:
            if len(held) < HEADER_BYTES:
                at = min(HEADER_BYTES - len(held), end)
                held += data[:at]
                if len(held) < HEADER_BYTES:
                    return frames
                magic, _, head, size, _, _ = _HEADER.unpack_from(held, 0)
                self._check_header(magic, size)
                self._check_head(head, bytes(held[_HEAD_AT:]))
                self._missing = size
            if end - at < self._missing:
                self._missing -= end - at
                held += memoryview(data)[at:]
                return frames
            held += memoryview(data)[at : at + self._missing]
            at += self._missing
            _, checksum, _, _, group, sequence = _HEADER.unpack_from(held, 0)
            del held[:_MARK_BYTES]  # moves no bytes: a bytearray drops its beginning by moving its start
            covered = bytes(held)
            held.clear()
            if value(covered) != checksum:
                raise FrameError(f"the checksum of frame {sequence} does not fit")
            frames.append((group, sequence, covered))
        limit = self.limit
        while end - at >= HEADER_BYTES:
            magic, checksum, head, size, group, sequence = _HEADER.unpack_from(data, at)
            if magic != MAGIC or size > limit:
                self._check_header(magic, size)
            next_at = at + HEADER_BYTES + size
            if next_at > end:
                # Only where it is waited for: of a frame that is there whole the other checksum says it all.
                self._check_head(head, data[at + _HEAD_AT : at + HEADER_BYTES])
                self._missing = next_at - end
                break
            covered = data[at + _MARK_BYTES : next_at]
            if value(covered) != checksum:
                raise FrameError(f"the checksum of frame {sequence} does not fit")
            frames.append((group, sequence, covered))
            at = next_at
        if at < end:
            held += memoryview(data)[at:]
        return frames

    def _check_header(self, magic: bytes, size: int) -> None:
        """Refuses a header before anything is allocated for its body."""
        if magic != MAGIC:
            raise FrameError(f"no frame begins with {magic.hex()}")
        if size > self.limit:
            raise FrameError(f"a frame of {size} bytes where at most {self.limit} are taken")

    def _check_head(self, checksum: int, covered: bytes) -> None:
        """Refuses a length that cannot be believed, before anything is waited for."""
        if value(covered) != checksum:
            raise FrameError("the checksum of a header does not fit")
