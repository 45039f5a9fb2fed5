"""The bytes of a command: what a gateway submits and every replica applies (rule-R8, rule-R9, rule-R17).

All integers are big-endian. A command is a header and a body:

    header   kind u8  session i64  owner: replica u16  incarnation u32  connection u64            (23 bytes)

    REQUEST  1  count of ids u8, then per id: scheme length u16, id length u16, scheme, id (UTF-8)
                opcode i32, then the client's request record as it came (jute, without its RequestHeader)
    ATTACH   2  timeout_ms i32  replaces: replica u16  incarnation u32  connection u64
    CLOSE    3  nothing: the client's closeSession
    EXPIRE   4  reign i64
    FOUND    5  reign i64  secret, 32 bytes

``owner`` is the connection the command came by; apply compares it with the session's present owner, so that nothing of
an old connection runs after the session moved (rule-R9). In EXPIRE it is the owner the leader saw (rule-R24). ATTACH
with session 0 opens a new session, otherwise it resumes one and ``replaces`` is the owner the gateway saw. What a
leader decides by itself names the reign it belongs to: the ballot noted with the latest epoch decree (rule-R13). The
password of a resumed session is compared by the gateway and is not part of the command.

A client's frame is ``xid i32, opcode i32, record``; so a command is ``request_prefix(...) + frame[4:]``, and a gateway
makes the prefix once for a connection and again when its ids change.

This module knows nothing of what a command does: see ``machine.py``.
"""

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import Final

Owner = tuple[int, int, int]
"""A connection, cluster-wide: (replica, incarnation, connection). (0, 0, 0) is no connection."""

AuthId = tuple[str, str]
"""An authenticated identity of a connection: (scheme, id), as ACLs compare it."""

REQUEST: Final = 1
ATTACH: Final = 2
CLOSE: Final = 3
EXPIRE: Final = 4
FOUND: Final = 5

NO_OWNER: Final[Owner] = (0, 0, 0)

HEADER: Final = Struct(">BqHIQ")
HEADER_SIZE: Final = 23
ATTACH_BODY: Final = Struct(">iHIQ")
EXPIRE_BODY: Final = Struct(">q")
FOUND_BODY: Final = Struct(">q32s")
SECRET_SIZE: Final = 32

_ID: Final = Struct(">HH")
_OPCODE: Final = Struct(">i")

IDS_MAX: Final = 255
ID_BYTES_MAX: Final = 65535


class MalformedCommand(ValueError):
    """The bytes are no command. Apply turns it into a fixed result (rule-R17)."""


def decode_text(data: bytes) -> str:
    """Text of a client, whatever its bytes are: bytes that are not UTF-8 survive the way there and back unchanged."""
    return data.decode("utf-8", "surrogateescape")


def encode_text(text: str) -> bytes:
    """The bytes of a text. The inverse of ``decode_text``; never fails."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def encode_ids(ids: Sequence[AuthId]) -> bytes:
    """The ids of a connection as a command carries them.

    Raises ValueError where they do not fit: 255 ids, 65,535 bytes each. A gateway refuses such an auth packet.
    """
    if len(ids) > IDS_MAX:
        raise ValueError(f"{len(ids)} ids on one connection, at most {IDS_MAX} fit into a command")
    parts: list[bytes] = [bytes((len(ids),))]
    for scheme, text in ids:
        scheme_bytes = encode_text(scheme)
        id_bytes = encode_text(text)
        if len(scheme_bytes) > ID_BYTES_MAX or len(id_bytes) > ID_BYTES_MAX:
            raise ValueError(f"an id of scheme {scheme[:20]!r} is longer than {ID_BYTES_MAX} bytes")
        parts.append(_ID.pack(len(scheme_bytes), len(id_bytes)))
        parts.append(scheme_bytes)
        parts.append(id_bytes)
    return b"".join(parts)


def decode_ids(command: bytes, at: int) -> tuple[tuple[AuthId, ...], int]:
    """The ids that stand in ``command`` from ``at`` on, and where they end.

    Raises MalformedCommand where the command ends before they do.
    """
    if at >= len(command):
        raise MalformedCommand("no ids")
    count = command[at]
    at += 1
    found: list[AuthId] = []
    for _ in range(count):
        if at + 4 > len(command):
            raise MalformedCommand("an id without its lengths")
        scheme_size, id_size = _ID.unpack_from(command, at)
        at += 4
        end = at + scheme_size + id_size
        if end > len(command):
            raise MalformedCommand("an id longer than its command")
        found.append((decode_text(command[at : at + scheme_size]), decode_text(command[at + scheme_size : end])))
        at = end
    return tuple(found), at


def encode_header(kind: int, session: int, owner: Owner) -> bytes:
    """The header of a command."""
    return HEADER.pack(kind, session, owner[0], owner[1], owner[2])


def decode_header(command: bytes) -> tuple[int, int, Owner]:
    """Kind, session and owner of a command.

    Raises MalformedCommand where it is shorter than a header.
    """
    if len(command) < HEADER_SIZE:
        raise MalformedCommand("a command shorter than its header")
    kind, session, replica, incarnation, connection = HEADER.unpack_from(command, 0)
    return kind, session, (replica, incarnation, connection)


def request_prefix(session: int, owner: Owner, ids: Sequence[AuthId]) -> bytes:
    """What every request of a connection begins with; the client's frame without its xid follows."""
    return encode_header(REQUEST, session, owner) + encode_ids(ids)


def encode_request(session: int, owner: Owner, ids: Sequence[AuthId], opcode: int, record: bytes) -> bytes:
    """A client's request: its opcode and its record as it came."""
    return request_prefix(session, owner, ids) + _OPCODE.pack(opcode) + record


def encode_attach(session: int, owner: Owner, timeout_ms: int, replaces: Owner) -> bytes:
    """Open a session (``session`` 0, ``replaces`` NO_OWNER) or resume one that ``replaces`` owns (rule-R9)."""
    header = encode_header(ATTACH, session, owner)
    return header + ATTACH_BODY.pack(timeout_ms, replaces[0], replaces[1], replaces[2])


def encode_close(session: int, owner: Owner) -> bytes:
    """The client's closeSession."""
    return encode_header(CLOSE, session, owner)


def encode_expire(session: int, owner: Owner, reign: int) -> bytes:
    """The leader's decision that a session has expired; ``owner`` is the one it saw (rule-R24)."""
    return encode_header(EXPIRE, session, owner) + EXPIRE_BODY.pack(reign)


def encode_found(reign: int, secret: bytes) -> bytes:
    """The first leader's secret for session passwords, 32 random bytes (rule-R27)."""
    if len(secret) != SECRET_SIZE:
        raise ValueError(f"a secret of {len(secret)} bytes, {SECRET_SIZE} are needed")
    return encode_header(FOUND, 0, NO_OWNER) + FOUND_BODY.pack(reign, secret)


def decode_attach(command: bytes) -> tuple[int, Owner]:
    """Timeout and replaced owner of an ATTACH. Raises MalformedCommand where they are not there."""
    if len(command) != HEADER_SIZE + ATTACH_BODY.size:
        raise MalformedCommand("an attach of another size")
    timeout_ms, replica, incarnation, connection = ATTACH_BODY.unpack_from(command, HEADER_SIZE)
    return timeout_ms, (replica, incarnation, connection)


def decode_expire(command: bytes) -> int:
    """The reign an EXPIRE was decided in. Raises MalformedCommand where it is not there."""
    if len(command) != HEADER_SIZE + EXPIRE_BODY.size:
        raise MalformedCommand("an expire of another size")
    return int(EXPIRE_BODY.unpack_from(command, HEADER_SIZE)[0])


def decode_found(command: bytes) -> tuple[int, bytes]:
    """Reign and secret of a FOUND. Raises MalformedCommand where they are not there."""
    if len(command) != HEADER_SIZE + FOUND_BODY.size:
        raise MalformedCommand("a founding of another size")
    reign, secret = FOUND_BODY.unpack_from(command, HEADER_SIZE)
    return reign, secret


def opcode_of(command: bytes) -> int:
    """The opcode of a REQUEST, for notes and tools. Raises MalformedCommand where there is none."""
    _, at = decode_ids(command, HEADER_SIZE)
    try:
        return int(_OPCODE.unpack_from(command, at)[0])
    except StructError as error:
        raise MalformedCommand("a request without an opcode") from error
