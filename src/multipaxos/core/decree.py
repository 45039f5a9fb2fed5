"""What fills a slot, as bytes: a batch of commands, a no-op, an epoch decree, or a configuration.

A decree is encoded once, by the leader that first proposes it; the same bytes then go to the journal and to all peers,
and are opened only when they are applied (design: performance). The first byte is the kind:

    no-op          b"\\x00"
    batch          b"\\x01"  wall_ms i64  segments u16  then the segments, one after the other
    epoch decree   b"\\x02"  wall_ms i64  ballot i64
    configuration  b"\\x03"  wall_ms i64  canonical JSON (``membership.py``)

A segment is a run of one gateway's stream (rule-R8), made by that gateway and passed on unopened:

    origin u16  incarnation u32  start u64  first_serial u64  count u32  body_bytes u32  then per command: length u32, bytes

All integers are big-endian. ``wall_ms`` is the proposing leader's wall clock (rule-R15).
"""

from struct import Struct
from typing import Final

from multipaxos.core.ballot import Ballot, ReplicaId

Decree = bytes

NOOP: Final = b"\x00"

KIND_NOOP: Final = 0
KIND_BATCH: Final = 1
KIND_EPOCH: Final = 2
KIND_CONFIGURATION: Final = 3

_BATCH: Final = Struct(">BqH")
_EPOCH: Final = Struct(">Bqq")
_CONFIGURATION: Final = Struct(">Bq")
SEGMENT: Final = Struct(">HIQQII")
_LENGTH: Final = Struct(">I")

Segment = tuple[ReplicaId, int, int, int, int, int, int]
"""origin, incarnation, start, first_serial, count, and where in the decree its body begins and ends"""


class MalformedDecree(ValueError):
    """The bytes are no decree. Raised by the readers of this module; a peer's bytes are checked before they are accepted."""


def kind_of(decree: Decree) -> int:
    """The kind of a decree, one of the ``KIND_`` constants."""
    return decree[0] if decree else -1


def encode_segment(origin: ReplicaId, incarnation: int, start: int, first_serial: int, commands: list[bytes]) -> bytes:
    """One run of a gateway's stream, ready to be forwarded and to stand in a batch."""
    pack = _LENGTH.pack
    parts: list[bytes] = []
    for command in commands:
        parts.append(pack(len(command)))
        parts.append(command)
    body = b"".join(parts)
    return SEGMENT.pack(origin, incarnation, start, first_serial, len(commands), len(body)) + body


def encode_batch(wall_ms: int, segments: list[bytes]) -> Decree:
    """A batch of segments, each as its gateway encoded it."""
    return _BATCH.pack(KIND_BATCH, wall_ms, len(segments)) + b"".join(segments)


def encode_epoch(wall_ms: int, ballot: Ballot) -> Decree:
    """The decree with which the leadership of ``ballot`` begins (rule-R12)."""
    return _EPOCH.pack(KIND_EPOCH, wall_ms, ballot)


def encode_configuration(wall_ms: int, text: bytes) -> Decree:
    """A configuration decree; ``text`` is canonical JSON."""
    return _CONFIGURATION.pack(KIND_CONFIGURATION, wall_ms) + text


def wall_of(decree: Decree) -> int:
    """The leader's wall clock in a decree, milliseconds; 0 for a no-op, which carries none."""
    if decree[0] == KIND_NOOP:
        return 0
    return int.from_bytes(decree[1:9], "big", signed=True)


def epoch_ballot_of(decree: Decree) -> Ballot:
    """The ballot an epoch decree names."""
    _, _, ballot = _EPOCH.unpack(decree)
    return int(ballot)


def configuration_text_of(decree: Decree) -> bytes:
    """The JSON text of a configuration decree."""
    return decree[_CONFIGURATION.size :]


def segments_of(decree: Decree) -> list[Segment]:
    """The segments of a batch, their bodies left unopened.

    Raises MalformedDecree where lengths do not fit.
    """
    end_of_all = len(decree)
    if end_of_all < _BATCH.size:
        raise MalformedDecree("a batch shorter than its header")
    count = _BATCH.unpack_from(decree, 0)[2]
    at = _BATCH.size
    found: list[Segment] = []
    for _ in range(count):
        if at + SEGMENT.size > end_of_all:
            raise MalformedDecree("a segment shorter than its header")
        origin, incarnation, start, first_serial, commands, size = SEGMENT.unpack_from(decree, at)
        at += SEGMENT.size
        if at + size > end_of_all:
            raise MalformedDecree("a segment longer than its decree")
        found.append((origin, incarnation, start, first_serial, commands, at, at + size))
        at += size
    if at != end_of_all:
        raise MalformedDecree("bytes behind the last segment")
    return found


def commands_of(decree: Decree, begin: int, end: int) -> list[bytes]:
    """The commands of one segment's body, in order.

    Raises MalformedDecree where lengths do not fit.
    """
    found: list[bytes] = []
    at = begin
    unpack = _LENGTH.unpack_from
    while at < end:
        if at + 4 > end:
            raise MalformedDecree("a command without its length")
        size = unpack(decree, at)[0]
        at += 4
        if at + size > end:
            raise MalformedDecree("a command longer than its segment")
        found.append(decree[at : at + size])
        at += size
    return found
