"""How two replicas introduce themselves before anything else is said, and why one refuses the other.

The replica that connects says Hello. The other answers Welcome, with the same facts of its own, or Refusal and
closes. Bodies of frames (``frame.py``), big-endian; a text is its length u16 and UTF-8:

    Hello    128  version u16  replica u16  mark u64  incarnation u32  group u32  cluster text  list digest text
    Welcome  129  the same
    Refusal  130  reason text

The type byte, the version and the whole Refusal keep their places in all versions to come: so two versions can say
what is wrong. Until the birth configuration is learned a replica has no cluster id, and introduces itself by the
digest of its list (rule-R40). Mark and incarnation: rule-R40, rule-R41.

This is no authentication: whoever reaches the peer port may claim anything. It keeps honest mistakes apart.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from multipaxos.core.ballot import ReplicaId
from multipaxos.wire.peer import MalformedMessage

PROTOCOL_VERSION: Final = 1
"""Of what replicas say to each other: messages, records in them, this handshake."""

HANDSHAKE_BYTES_MAX: Final = 4096
"""Who has not introduced itself yet is given no more memory than this."""

HELLO: Final = 128
WELCOME: Final = 129
REFUSAL: Final = 130

_VERSION: Final = Struct(">BH")
_INTRODUCTION: Final = Struct(">BHHQII")
_TEXT: Final = Struct(">H")
_TYPE: Final = Struct(">B")
_TEXT_BYTES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Hello:
    """Who speaks."""

    version: int
    cluster: str  # the cluster id, "" while the birth configuration is not learned
    list_digest: str  # of the list this replica was started with
    replica: ReplicaId
    mark: int  # of its data directory
    incarnation: int  # counts the starts of this directory
    group: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The one connected to takes the messages of the one that connected; it introduces itself as well."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Refusal:
    """The one connected to takes nothing, for a reason that says what to do."""

    reason: str


Handshake = Hello | Welcome | Refusal


def encode_handshake(message: Handshake) -> bytes:
    """The body of a handshake frame."""
    if isinstance(message, Refusal):
        text = message.reason.encode()[:_TEXT_BYTES_MAX]
        return _TYPE.pack(REFUSAL) + _text(text.decode(errors="ignore"))  # the cut may have split a character
    if isinstance(message, Welcome):
        return _encode_introduction(WELCOME, message.hello)
    return _encode_introduction(HELLO, message)


def _encode_introduction(kind: int, hello: Hello) -> bytes:
    head = _INTRODUCTION.pack(kind, hello.version, hello.replica, hello.mark, hello.incarnation, hello.group)
    return head + _text(hello.cluster) + _text(hello.list_digest)


def _text(text: str) -> bytes:
    data = text.encode()
    return _TEXT.pack(len(data)) + data


def decode_handshake(data: bytes) -> Handshake:
    """What the body of a handshake frame says; of another version nothing but that version.

    Raises MalformedMessage, and nothing else, where it is no handshake.
    """
    if len(data) < _VERSION.size:
        raise MalformedMessage(f"a handshake of {len(data)} bytes")
    kind = data[0]
    if kind == REFUSAL:
        reason, at = _decode_text(data, 1)
        if at != len(data):
            raise MalformedMessage("bytes behind a refusal")
        return Refusal(reason)
    if kind == HELLO:
        return _decode_introduction(data)
    if kind == WELCOME:
        return Welcome(_decode_introduction(data))
    raise MalformedMessage(f"no handshake has type {kind}")


def _decode_introduction(data: bytes) -> Hello:
    _, version = _VERSION.unpack_from(data, 0)
    if version != PROTOCOL_VERSION:
        return Hello(version, "", "", 0, 0, 0, 0)
    if len(data) < _INTRODUCTION.size:
        raise MalformedMessage(f"an introduction of {len(data)} bytes")
    _, version, replica, mark, incarnation, group = _INTRODUCTION.unpack_from(data, 0)
    cluster, at = _decode_text(data, _INTRODUCTION.size)
    list_digest, at = _decode_text(data, at)
    if at != len(data):
        raise MalformedMessage("bytes behind an introduction")
    return Hello(version, cluster, list_digest, replica, mark, incarnation, group)


def _decode_text(data: bytes, at: int) -> tuple[str, int]:
    begin = at + _TEXT.size
    if begin > len(data):
        raise MalformedMessage("a text without its length")
    end = begin + int(_TEXT.unpack_from(data, at)[0])
    if end > len(data):
        raise MalformedMessage("a text longer than its message")
    try:
        return data[begin:end].decode(), end
    except UnicodeDecodeError as error:
        raise MalformedMessage("a text that is not UTF-8") from error


def admit(mine: Hello, theirs: Hello, registered_mark: int | None, seen_incarnation: int = 0) -> str:
    """Why ``mine`` does not talk to ``theirs``; "" when it does. Both sides ask, and the text reads the same on both.

    ``registered_mark`` is the mark known here for their id: None where the id is not known at all, 0 where it is listed
    and no mark is registered yet. ``seen_incarnation`` is the highest seen of them.
    """
    me, they = f"replica {mine.replica}", f"replica {theirs.replica}"
    if theirs.version != mine.version:
        return (
            f"{me} speaks version {mine.version} of the peer protocol, the other side version {theirs.version}: "
            "upgrade the older one"
        )
    if theirs.group != mine.group:
        return f"{they} speaks for ledger {theirs.group}, {me} keeps ledger {mine.group}: check the peer addresses"
    if mine.cluster and theirs.cluster:
        if mine.cluster != theirs.cluster:
            return (
                f"{they} belongs to cluster {theirs.cluster}, {me} to cluster {mine.cluster}: "
                "check the peer addresses and the data directory"
            )
    elif mine.list_digest != theirs.list_digest:
        return (
            f"{they} was started with list {theirs.list_digest}, {me} with list {mine.list_digest}: "
            "start all replicas of a cluster with one list of members and the same birth values"
        )
    if theirs.replica == mine.replica:
        return f"both sides are started as {me}: give each its own id, and start each data directory once"
    if registered_mark is None:
        return f"{they} is no member that {me} knows: check its id, or make it a member first"
    if registered_mark != 0 and theirs.mark != registered_mark:
        # A voter that forgot its votes must not vote under the same id (trap-T4, bug-C14).
        return (
            f"the data directory of {they} was emptied or replaced (mark {theirs.mark:016x}, registered "
            f"{registered_mark:016x}): it cannot come back under this id; put its directory back, or see "
            'the README under "A lost or damaged disk"'
        )
    if theirs.incarnation < seen_incarnation:
        return (
            f"{they} comes as incarnation {theirs.incarnation}, {me} has seen {seen_incarnation}: an older copy of its "
            f"data directory was put back, or two copies run; start the newest one, or see "
            'the README under "A lost or damaged disk"'
        )
    return ""
