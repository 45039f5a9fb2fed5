"""The records of ZooKeeper's client protocol, in both directions: a client encodes requests and decodes replies, a
server the other way round.

A frame is a 32-bit length and that many bytes. The first frame of a client is a ConnectRequest; each later one a
RequestHeader (xid, opcode) and the record of its opcode. A server answers with a ReplyHeader (xid, zxid, err) and,
only when err is 0, the reply record of the opcode. Field order is wire order; nothing is optional but the last byte of
the handshake.

``encode_<request>`` and ``encode_<reply>`` give the bare record; ``request_frame``, ``reply_frame`` and ``event_frame``
put header and length in front. ``decode_*`` take the bytes and the position where the record begins, and end where the
bytes end: cut the frame out first. Bytes behind a request record are ignored, as Java does. Anything else that does not
fit raises ``MalformedRecord`` (from ``jute.py``, the primitives).

This module knows nothing of connections, trees or the order of requests: see ``service/connection.py`` and
``coordination/machine.py`` for those.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from multipaxos.wire.jute import (
    INT,
    LONG,
    NULL,
    TWO_INTS,
    MalformedRecord,
    read_bool,
    read_buffer,
    read_count,
    read_int,
    read_long,
    read_string,
    read_strings,
    read_text,
    write_bool,
    write_buffer,
    write_string,
    write_strings,
)

FRAME_BYTES_MAX: Final = 0xFFFFF
"""Default bound of a client's frame (Java's jute.maxbuffer): above it the connection is closed without a reply."""

PROTOCOL_VERSION: Final = 0
PASSWORD_BYTES: Final = 16
"""Exactly this many: the C client reads a handshake of fixed size (zk-9)."""

# Xids of meaning. A server dispatches on the opcode and echoes whatever xid came (zk-7).
XID_EVENT: Final = -1
XID_PING: Final = -2
XID_AUTH: Final = -4
XID_SET_WATCHES: Final = -8

OP_NOTIFICATION: Final = 0
OP_CREATE: Final = 1
OP_DELETE: Final = 2
OP_EXISTS: Final = 3
OP_GET_DATA: Final = 4
OP_SET_DATA: Final = 5
OP_GET_ACL: Final = 6
OP_SET_ACL: Final = 7
OP_GET_CHILDREN: Final = 8
OP_SYNC: Final = 9
OP_PING: Final = 11
OP_GET_CHILDREN2: Final = 12
OP_CHECK: Final = 13
OP_MULTI: Final = 14
OP_CREATE2: Final = 15
OP_RECONFIG: Final = 16
OP_CHECK_WATCHES: Final = 17
OP_REMOVE_WATCHES: Final = 18
OP_CREATE_CONTAINER: Final = 19
OP_DELETE_CONTAINER: Final = 20
OP_CREATE_TTL: Final = 21
OP_MULTI_READ: Final = 22
OP_AUTH: Final = 100
OP_SET_WATCHES: Final = 101
OP_SASL: Final = 102
OP_GET_EPHEMERALS: Final = 103
OP_GET_ALL_CHILDREN_NUMBER: Final = 104
OP_SET_WATCHES2: Final = 105
OP_ADD_WATCH: Final = 106
OP_WHO_AM_I: Final = 107
OP_CREATE_SESSION: Final = -10
OP_CLOSE_SESSION: Final = -11
OP_ERROR: Final = -1

ERR_OK: Final = 0
ERR_SYSTEM: Final = -1
ERR_RUNTIME_INCONSISTENCY: Final = -2
ERR_DATA_INCONSISTENCY: Final = -3
ERR_CONNECTION_LOSS: Final = -4
ERR_MARSHALLING: Final = -5
ERR_UNIMPLEMENTED: Final = -6
ERR_OPERATION_TIMEOUT: Final = -7
ERR_BAD_ARGUMENTS: Final = -8
ERR_UNKNOWN_SESSION: Final = -12
ERR_NEW_CONFIG_NO_QUORUM: Final = -13
ERR_RECONFIG_IN_PROGRESS: Final = -14
ERR_API: Final = -100
ERR_NO_NODE: Final = -101
ERR_NO_AUTH: Final = -102
ERR_BAD_VERSION: Final = -103
ERR_NO_CHILDREN_FOR_EPHEMERALS: Final = -108
ERR_NODE_EXISTS: Final = -110
ERR_NOT_EMPTY: Final = -111
ERR_SESSION_EXPIRED: Final = -112
ERR_INVALID_CALLBACK: Final = -113
ERR_INVALID_ACL: Final = -114
ERR_AUTH_FAILED: Final = -115
ERR_SESSION_MOVED: Final = -118
ERR_NOT_READ_ONLY: Final = -119
ERR_EPHEMERAL_ON_LOCAL_SESSION: Final = -120
ERR_NO_WATCHER: Final = -121
ERR_REQUEST_TIMEOUT: Final = -122
ERR_RECONFIG_DISABLED: Final = -123
ERR_SESSION_CLOSED_REQUIRE_SASL_AUTH: Final = -124
ERR_QUOTA_EXCEEDED: Final = -125
ERR_THROTTLED: Final = -127

ERROR_NAMES: Final[dict[int, str]] = {
    ERR_OK: "ok",
    ERR_SYSTEM: "system error",
    ERR_RUNTIME_INCONSISTENCY: "runtime inconsistency",
    ERR_DATA_INCONSISTENCY: "data inconsistency",
    ERR_CONNECTION_LOSS: "connection loss",
    ERR_MARSHALLING: "marshalling error",
    ERR_UNIMPLEMENTED: "unimplemented",
    ERR_OPERATION_TIMEOUT: "operation timeout",
    ERR_BAD_ARGUMENTS: "bad arguments",
    ERR_UNKNOWN_SESSION: "unknown session",
    ERR_NEW_CONFIG_NO_QUORUM: "new configuration has no quorum",
    ERR_RECONFIG_IN_PROGRESS: "reconfiguration in progress",
    ERR_API: "api error",
    ERR_NO_NODE: "no node",
    ERR_NO_AUTH: "no authorization",
    ERR_BAD_VERSION: "bad version",
    ERR_NO_CHILDREN_FOR_EPHEMERALS: "no children for ephemerals",
    ERR_NODE_EXISTS: "node exists",
    ERR_NOT_EMPTY: "not empty",
    ERR_SESSION_EXPIRED: "session expired",
    ERR_INVALID_CALLBACK: "invalid callback",
    ERR_INVALID_ACL: "invalid acl",
    ERR_AUTH_FAILED: "authentication failed",
    ERR_SESSION_MOVED: "session moved",
    ERR_NOT_READ_ONLY: "not read only",
    ERR_EPHEMERAL_ON_LOCAL_SESSION: "ephemeral on local session",
    ERR_NO_WATCHER: "no watcher",
    ERR_REQUEST_TIMEOUT: "request timeout",
    ERR_RECONFIG_DISABLED: "reconfiguration disabled",
    ERR_SESSION_CLOSED_REQUIRE_SASL_AUTH: "session closed, sasl authentication required",
    ERR_QUOTA_EXCEEDED: "quota exceeded",
    ERR_THROTTLED: "throttled, not executed",
}
"""Every code of the table a server or client of this protocol may use; Java and kazoo fail on any other."""

EVENT_NONE: Final = -1
EVENT_CREATED: Final = 1
EVENT_DELETED: Final = 2
EVENT_DATA_CHANGED: Final = 3
EVENT_CHILDREN_CHANGED: Final = 4

STATE_SYNC_CONNECTED: Final = 3
"""The only state a server ever writes into an event."""

PERM_READ: Final = 1
PERM_WRITE: Final = 2
PERM_CREATE: Final = 4
PERM_DELETE: Final = 8
PERM_ADMIN: Final = 16
PERM_ALL: Final = 31

FLAG_EPHEMERAL: Final = 1
FLAG_SEQUENTIAL: Final = 2
FLAGS_CONTAINER: Final = 4
FLAGS_TTL: Final = 5
FLAGS_TTL_SEQUENTIAL: Final = 6

WATCH_PERSISTENT: Final = 0
WATCH_RECURSIVE: Final = 1
"""Modes of addWatch."""

WATCHER_CHILDREN: Final = 1
WATCHER_DATA: Final = 2
WATCHER_ANY: Final = 3
WATCHER_PERSISTENT: Final = 4
WATCHER_RECURSIVE: Final = 5
"""Types of checkWatches and removeWatches."""

STAT: Final = Struct(">qqqqiiiqiiq")
STAT_BYTES: Final = 68
REPLY_HEADER: Final = Struct(">iqi")
_REPLY_FRAME: Final = Struct(">iiqi")
_REQUEST_FRAME: Final = Struct(">iii")
_EVENT: Final = Struct(">iiqiiii")
_CONNECT_REQUEST: Final = Struct(">iqiq")
_CONNECT_RESPONSE: Final = Struct(">iiqi16s")
_MULTI_HEADER: Final = Struct(">i?i")
_MULTI_ERROR: Final = Struct(">i?ii")
MULTI_END: Final = _MULTI_HEADER.pack(-1, True, -1)
NO_PASSWORD: Final = bytes(PASSWORD_BYTES)


class Stat(NamedTuple):
    """What a node says of itself: 68 bytes."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int


class Acl(NamedTuple):
    """One entry of an access list. kazoo writes an empty string as null, hence the optional fields (zk-10)."""

    perms: int
    scheme: str | None
    id: str | None


OPEN_ACL: Final = (Acl(PERM_ALL, "world", "anyone"),)


class ConnectRequest(NamedTuple):
    """A client's first frame. ``read_only`` is None when the byte was absent: then the answer has none either."""

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session: int
    password: bytes | None
    read_only: bool | None


class ConnectResponse(NamedTuple):
    """The answer; a refused or expired session is told by timeout 0, session 0 and sixteen zero bytes (zk-8)."""

    protocol_version: int
    timeout_ms: int
    session: int
    password: bytes
    read_only: bool | None


class ReplyHeader(NamedTuple):
    """Before each reply and event. With ``err`` other than 0 nothing follows (zk-6)."""

    xid: int
    zxid: int
    err: int


class WatcherEvent(NamedTuple):
    """What happened to a watched path."""

    type: int
    state: int
    path: str


class CreateRequest(NamedTuple):
    """create, create2, createContainer and, with ``ttl_ms``, createTTL."""

    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    flags: int
    ttl_ms: int = 0


class VersionedPath(NamedTuple):
    """delete and check."""

    path: str
    version: int


class WatchedPath(NamedTuple):
    """exists, getData, getChildren, getChildren2."""

    path: str
    watch: bool


class SetDataRequest(NamedTuple):
    """setData."""

    path: str
    data: bytes | None
    version: int


class SetAclRequest(NamedTuple):
    """setACL; ``version`` is compared with aversion."""

    path: str
    acl: tuple[Acl, ...]
    version: int


class PathRequest(NamedTuple):
    """getACL, sync, getEphemerals, getAllChildrenNumber."""

    path: str


class PathType(NamedTuple):
    """addWatch (a mode), checkWatches and removeWatches (a watcher type)."""

    path: str
    type: int


class AuthPacket(NamedTuple):
    """auth."""

    type: int
    scheme: str | None
    auth: bytes | None


class SetWatchesRequest(NamedTuple):
    """setWatches; setWatches2 has the last two lists as well."""

    relative_zxid: int
    data: list[str]
    exist: list[str]
    child: list[str]
    persistent: list[str]
    recursive: list[str]


class ReconfigRequest(NamedTuple):
    """reconfig."""

    joining: str | None
    leaving: str | None
    members: str | None
    version: int


class SaslRequest(NamedTuple):
    """sasl."""

    token: bytes | None


class MultiRequest(NamedTuple):
    """multi and multiRead: (opcode, its record) in order."""

    operations: "list[tuple[int, Request]]"


Request = (
    CreateRequest
    | VersionedPath
    | WatchedPath
    | SetDataRequest
    | SetAclRequest
    | PathRequest
    | PathType
    | AuthPacket
    | SetWatchesRequest
    | ReconfigRequest
    | SaslRequest
    | MultiRequest
)


class MultiResult(NamedTuple):
    """One result of multi or multiRead. ``type`` -1: an error, ``err``; a failed multi has only such results."""

    type: int
    err: int
    path: str | None = None
    stat: Stat | None = None
    data: bytes | None = None
    children: list[str] | None = None


# Frames


def frame(payload: bytes) -> bytes:
    """A payload with its length in front."""
    return INT.pack(len(payload)) + payload


def request_frame(xid: int, opcode: int, record: bytes = b"") -> bytes:
    """A whole request as it goes on the wire."""
    return _REQUEST_FRAME.pack(8 + len(record), xid, opcode) + record


def reply_frame(xid: int, zxid: int, err: int, record: bytes = b"") -> bytes:
    """A whole reply as it goes on the wire; an error is the bare header (zk-6)."""
    if err != 0 or not record:
        return _REPLY_FRAME.pack(16, xid, zxid, err)
    return _REPLY_FRAME.pack(16 + len(record), xid, zxid, 0) + record


def event_frame(zxid: int, event_type: int, path: str) -> bytes:
    """A whole watch event as it goes on the wire; ``zxid`` -1 when it was made by setWatches."""
    encoded = path.encode("utf-8", "surrogatepass")
    size = len(encoded)
    return _EVENT.pack(28 + size, XID_EVENT, zxid, 0, event_type, STATE_SYNC_CONNECTED, size) + encoded


class FrameReader:
    """Cuts a byte stream into frames, for a client: feed what came, take the payloads."""

    __slots__ = ("_bytes_max", "_gathered", "_needed", "_parts")

    def __init__(self, bytes_max: int = 0x7FFFFFFF) -> None:
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []  # of a frame not yet whole; joined once, when it is
        self._gathered = 0
        self._needed = 4

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads completed by ``data``, in order."""
        if self._parts:
            self._parts.append(data)
            self._gathered += len(data)
            if self._gathered < self._needed:
                return []
            data = b"".join(self._parts)
            self._parts = []
        frames: list[bytes] = []
        at = 0
        end_of_all = len(data)
        self._needed = 4
        while end_of_all - at >= 4:
            size = int.from_bytes(data[at : at + 4], "big", signed=True)
            if size < 0 or size > self._bytes_max:
                raise MalformedRecord("a frame of impossible size")
            end = at + 4 + size
            if end > end_of_all:
                self._needed = 4 + size
                break
            frames.append(data[at + 4 : end])
            at = end
        if at < end_of_all:
            self._parts = [data[at:]]
            self._gathered = end_of_all - at
        return frames


# Handshake


def encode_connect_request(request: ConnectRequest) -> bytes:
    """The first payload of a client."""
    head = _CONNECT_REQUEST.pack(request.protocol_version, request.last_zxid_seen, request.timeout_ms, request.session)
    tail = b"" if request.read_only is None else write_bool(request.read_only)
    return head + write_buffer(request.password) + tail


def decode_connect_request(data: bytes, at: int = 0) -> ConnectRequest:
    """What a server reads first."""
    if len(data) - at < 24:
        raise MalformedRecord("a connect request is cut short")
    version, last_zxid_seen, timeout_ms, session = _CONNECT_REQUEST.unpack_from(data, at)
    password, at = read_buffer(data, at + 24)
    read_only: bool | None = None
    if at < len(data):
        read_only, at = read_bool(data, at)
    return ConnectRequest(version, last_zxid_seen, timeout_ms, session, password, read_only)


def encode_connect_response(response: ConnectResponse) -> bytes:
    """The first payload of a server: 36 bytes, 37 with the readOnly byte, never another size (zk-9)."""
    head = _CONNECT_RESPONSE.pack(
        response.protocol_version, response.timeout_ms, response.session, PASSWORD_BYTES, response.password
    )
    return head if response.read_only is None else head + write_bool(response.read_only)


def decode_connect_response(data: bytes, at: int = 0) -> ConnectResponse:
    """What a client reads first."""
    version, at = read_int(data, at)
    timeout_ms, at = read_int(data, at)
    session, at = read_long(data, at)
    password, at = read_buffer(data, at)
    read_only: bool | None = None
    if at < len(data):
        read_only, at = read_bool(data, at)
    return ConnectResponse(version, timeout_ms, session, b"" if password is None else password, read_only)


def decode_request_header(data: bytes, at: int = 0) -> tuple[int, int]:
    """(xid, opcode): eight bytes; the record follows."""
    if len(data) - at < 8:
        raise MalformedRecord("a request header is cut short")
    xid: int
    opcode: int
    xid, opcode = TWO_INTS.unpack_from(data, at)
    return xid, opcode


def decode_reply_header(data: bytes, at: int = 0) -> ReplyHeader:
    """Sixteen bytes; the record follows when err is 0."""
    if len(data) - at < 16:
        raise MalformedRecord("a reply header is cut short")
    xid, zxid, err = REPLY_HEADER.unpack_from(data, at)
    return ReplyHeader(xid, zxid, err)


REPLY_HEADER_BYTES: Final = 16


# Parts of records


def write_acl(acl: Sequence[Acl]) -> bytes:
    """A vector of access entries."""
    parts = [INT.pack(len(acl))]
    for perms, scheme, name in acl:
        parts.append(INT.pack(perms))
        parts.append(write_string(scheme))
        parts.append(write_string(name))
    return b"".join(parts)


def read_acl(data: bytes, at: int) -> tuple[tuple[Acl, ...], int]:
    """A vector of access entries; null reads as empty."""
    count, at = read_count(data, at, 12)
    entries: list[Acl] = []
    for _ in range(count):
        perms, at = read_int(data, at)
        scheme, at = read_string(data, at)
        name, at = read_string(data, at)
        entries.append(Acl(perms, scheme, name))
    return tuple(entries), at


def write_stat(stat: Stat) -> bytes:
    """The 68 bytes of a Stat."""
    return STAT.pack(*stat)


def read_stat(data: bytes, at: int) -> tuple[Stat, int]:
    """A Stat."""
    end = at + STAT_BYTES
    if end > len(data):
        raise MalformedRecord("a stat is cut short")
    return Stat(*STAT.unpack_from(data, at)), end


# Requests


def encode_create(path: str, data: bytes | None, acl: Sequence[Acl] = OPEN_ACL, flags: int = 0) -> bytes:
    """create, create2, createContainer."""
    return b"".join([write_string(path), write_buffer(data), write_acl(acl), INT.pack(flags)])


def encode_create_ttl(path: str, data: bytes | None, acl: Sequence[Acl], flags: int, ttl_ms: int) -> bytes:
    """createTTL."""
    return encode_create(path, data, acl, flags) + LONG.pack(ttl_ms)


def encode_versioned_path(path: str, version: int = -1) -> bytes:
    """delete and check."""
    return write_string(path) + INT.pack(version)


def encode_watched_path(path: str, watch: bool = False) -> bytes:
    """exists, getData, getChildren, getChildren2."""
    return write_string(path) + (b"\x01" if watch else b"\x00")


def encode_set_data(path: str, data: bytes | None, version: int = -1) -> bytes:
    """setData."""
    return b"".join([write_string(path), write_buffer(data), INT.pack(version)])


def encode_set_acl(path: str, acl: Sequence[Acl], version: int = -1) -> bytes:
    """setACL."""
    return b"".join([write_string(path), write_acl(acl), INT.pack(version)])


def encode_path(path: str | None) -> bytes:
    """getACL, sync, getEphemerals, getAllChildrenNumber; also the replies to create and sync."""
    return write_string(path)


def encode_path_type(path: str, mode: int) -> bytes:
    """addWatch, checkWatches, removeWatches."""
    return write_string(path) + INT.pack(mode)


def encode_auth(scheme: str | None, auth: bytes | None) -> bytes:
    """auth."""
    return INT.pack(0) + write_string(scheme) + write_buffer(auth)


def encode_set_watches(relative_zxid: int, data: Sequence[str], exist: Sequence[str], child: Sequence[str]) -> bytes:
    """setWatches."""
    return LONG.pack(relative_zxid) + write_strings(data) + write_strings(exist) + write_strings(child)


def encode_set_watches2(
    relative_zxid: int,
    data: Sequence[str],
    exist: Sequence[str],
    child: Sequence[str],
    persistent: Sequence[str],
    recursive: Sequence[str],
) -> bytes:
    """setWatches2."""
    return encode_set_watches(relative_zxid, data, exist, child) + write_strings(persistent) + write_strings(recursive)


def encode_reconfig(joining: str | None, leaving: str | None, members: str | None, version: int = -1) -> bytes:
    """reconfig."""
    return write_string(joining) + write_string(leaving) + write_string(members) + LONG.pack(version)


def encode_multi(operations: Sequence[tuple[int, bytes]]) -> bytes:
    """multi and multiRead, of (opcode, encoded request record)."""
    parts: list[bytes] = []
    for opcode, record in operations:
        parts.append(_MULTI_HEADER.pack(opcode, False, -1))
        parts.append(record)
    parts.append(MULTI_END)
    return b"".join(parts)


def read_create(data: bytes, at: int, is_ttl: bool) -> tuple[CreateRequest, int]:
    """create and its like; ``is_ttl`` for createTTL."""
    path, at = read_text(data, at)
    value, at = read_buffer(data, at)
    acl, at = read_acl(data, at)
    flags, at = read_int(data, at)
    ttl_ms = 0
    if is_ttl:
        ttl_ms, at = read_long(data, at)
    return CreateRequest(path, value, acl, flags, ttl_ms), at


def read_versioned_path(data: bytes, at: int) -> tuple[VersionedPath, int]:
    """delete and check."""
    path, at = read_text(data, at)
    version, at = read_int(data, at)
    return VersionedPath(path, version), at


def read_watched_path(data: bytes, at: int) -> tuple[str, bool, int]:
    """exists, getData, getChildren, getChildren2: path, watch, and the position behind them."""
    path, at = read_text(data, at)
    watch, at = read_bool(data, at)
    return path, watch, at


def read_set_data(data: bytes, at: int) -> tuple[SetDataRequest, int]:
    """setData."""
    path, at = read_text(data, at)
    value, at = read_buffer(data, at)
    version, at = read_int(data, at)
    return SetDataRequest(path, value, version), at


def read_multi(data: bytes, at: int) -> tuple[MultiRequest, int]:
    """multi and multiRead."""
    operations: list[tuple[int, Request]] = []
    while True:
        opcode, at = read_int(data, at)
        is_done, at = read_bool(data, at)
        _, at = read_int(data, at)
        if is_done:
            return MultiRequest(operations), at
        request: Request
        if opcode in (OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER, OP_CREATE_TTL):
            request, at = read_create(data, at, opcode == OP_CREATE_TTL)
        elif opcode in (OP_DELETE, OP_CHECK):
            request, at = read_versioned_path(data, at)
        elif opcode == OP_SET_DATA:
            request, at = read_set_data(data, at)
        elif opcode in (OP_GET_DATA, OP_GET_CHILDREN):
            path, watch, at = read_watched_path(data, at)
            request = WatchedPath(path, watch)
        else:
            raise MalformedRecord("an operation that multi does not know")
        operations.append((opcode, request))


def read_set_watches(data: bytes, at: int, is_second: bool) -> tuple[SetWatchesRequest, int]:
    """setWatches; ``is_second`` for setWatches2."""
    relative_zxid, at = read_long(data, at)
    data_paths, at = read_strings(data, at)
    exist_paths, at = read_strings(data, at)
    child_paths, at = read_strings(data, at)
    persistent: list[str] = []
    recursive: list[str] = []
    if is_second:
        persistent, at = read_strings(data, at)
        recursive, at = read_strings(data, at)
    return SetWatchesRequest(relative_zxid, data_paths, exist_paths, child_paths, persistent, recursive), at


def decode_request(opcode: int, data: bytes, at: int = 0) -> Request | None:
    """The record of one request; None for an opcode that has none (ping, closeSession, whoAmI).

    Complete and readable rather than quick: the server reads its hot requests in place.
    """
    if opcode in (OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER, OP_CREATE_TTL):
        return read_create(data, at, opcode == OP_CREATE_TTL)[0]
    if opcode in (OP_DELETE, OP_CHECK):
        return read_versioned_path(data, at)[0]
    if opcode in (OP_EXISTS, OP_GET_DATA, OP_GET_CHILDREN, OP_GET_CHILDREN2):
        path, watch, at = read_watched_path(data, at)
        return WatchedPath(path, watch)
    if opcode == OP_SET_DATA:
        return read_set_data(data, at)[0]
    if opcode == OP_SET_ACL:
        path, at = read_text(data, at)
        acl, at = read_acl(data, at)
        version, at = read_int(data, at)
        return SetAclRequest(path, acl, version)
    if opcode in (OP_GET_ACL, OP_SYNC, OP_GET_ALL_CHILDREN_NUMBER):
        return PathRequest(read_text(data, at)[0])
    if opcode == OP_GET_EPHEMERALS:
        prefix, at = read_string(data, at)
        return PathRequest("" if prefix is None else prefix)
    if opcode in (OP_ADD_WATCH, OP_CHECK_WATCHES, OP_REMOVE_WATCHES):
        path, at = read_text(data, at)
        mode, at = read_int(data, at)
        return PathType(path, mode)
    if opcode == OP_AUTH:
        auth_type, at = read_int(data, at)
        scheme, at = read_string(data, at)
        auth, at = read_buffer(data, at)
        return AuthPacket(auth_type, scheme, auth)
    if opcode in (OP_SET_WATCHES, OP_SET_WATCHES2):
        return read_set_watches(data, at, opcode == OP_SET_WATCHES2)[0]
    if opcode == OP_RECONFIG:
        joining, at = read_string(data, at)
        leaving, at = read_string(data, at)
        members, at = read_string(data, at)
        version, at = read_long(data, at)
        return ReconfigRequest(joining, leaving, members, version)
    if opcode == OP_SASL:
        return SaslRequest(read_buffer(data, at)[0])
    if opcode in (OP_MULTI, OP_MULTI_READ):
        return read_multi(data, at)[0]
    if opcode in (OP_PING, OP_CLOSE_SESSION, OP_WHO_AM_I):
        return None
    raise MalformedRecord("an opcode that no client sends")


def encode_request(opcode: int, request: Request | None) -> bytes:
    """The inverse of ``decode_request``."""
    if request is None:
        return b""
    if isinstance(request, CreateRequest):
        record = encode_create(request.path, request.data, request.acl, request.flags)
        return record + LONG.pack(request.ttl_ms) if opcode == OP_CREATE_TTL else record
    if isinstance(request, VersionedPath):
        return encode_versioned_path(request.path, request.version)
    if isinstance(request, WatchedPath):
        return encode_watched_path(request.path, request.watch)
    if isinstance(request, SetDataRequest):
        return encode_set_data(request.path, request.data, request.version)
    if isinstance(request, SetAclRequest):
        return encode_set_acl(request.path, request.acl, request.version)
    if isinstance(request, PathRequest):
        return encode_path(request.path)
    if isinstance(request, PathType):
        return encode_path_type(request.path, request.type)
    if isinstance(request, AuthPacket):
        return INT.pack(request.type) + write_string(request.scheme) + write_buffer(request.auth)
    if isinstance(request, SetWatchesRequest):
        record = encode_set_watches(request.relative_zxid, request.data, request.exist, request.child)
        if opcode == OP_SET_WATCHES2:
            record += write_strings(request.persistent) + write_strings(request.recursive)
        return record
    if isinstance(request, ReconfigRequest):
        return encode_reconfig(request.joining, request.leaving, request.members, request.version)
    if isinstance(request, SaslRequest):
        return write_buffer(request.token)
    return encode_multi([(each, encode_request(each, operation)) for each, operation in request.operations])


# Replies


def encode_path_stat(path: str, stat: bytes) -> bytes:
    """The reply to create2 and its like; ``stat`` already encoded."""
    return write_string(path) + stat


def encode_data_stat(data: bytes | None, stat: bytes) -> bytes:
    """The reply to getData and reconfig; ``stat`` already encoded."""
    if data is None:
        return NULL + stat
    return b"".join([INT.pack(len(data)), data, stat])


def encode_acl_stat(acl: Sequence[Acl], stat: bytes) -> bytes:
    """The reply to getACL; ``stat`` already encoded."""
    return write_acl(acl) + stat


def encode_children(children: Sequence[str], stat: bytes = b"") -> bytes:
    """The reply to getChildren and getEphemerals and, with ``stat``, to getChildren2."""
    return write_strings(children) + stat


def encode_who_am_i(ids: Sequence[tuple[str, str]]) -> bytes:
    """The reply to whoAmI: (scheme, user) pairs."""
    parts = [INT.pack(len(ids))]
    for scheme, user in ids:
        parts.append(write_string(scheme))
        parts.append(write_string(user))
    return b"".join(parts)


def encode_multi_result(result_type: int, record: bytes) -> bytes:
    """One result of multi that went well."""
    return _MULTI_HEADER.pack(result_type, False, 0) + record


def encode_multi_error(err: int) -> bytes:
    """One result of multi that did not: header and record name the same code (zk-2)."""
    return _MULTI_ERROR.pack(OP_ERROR, False, err, err)


def decode_path(data: bytes, at: int = 0) -> str:
    """The reply to create and sync."""
    return read_text(data, at)[0]


def decode_path_stat(data: bytes, at: int = 0) -> tuple[str, Stat]:
    """The reply to create2, createContainer, createTTL."""
    path, at = read_text(data, at)
    return path, read_stat(data, at)[0]


def decode_stat(data: bytes, at: int = 0) -> Stat:
    """The reply to exists, setData, setACL."""
    return read_stat(data, at)[0]


def decode_data_stat(data: bytes, at: int = 0) -> tuple[bytes | None, Stat]:
    """The reply to getData and reconfig."""
    value, at = read_buffer(data, at)
    return value, read_stat(data, at)[0]


def decode_acl_stat(data: bytes, at: int = 0) -> tuple[tuple[Acl, ...], Stat]:
    """The reply to getACL."""
    acl, at = read_acl(data, at)
    return acl, read_stat(data, at)[0]


def decode_children(data: bytes, at: int = 0) -> list[str]:
    """The reply to getChildren and getEphemerals."""
    return read_strings(data, at)[0]


def decode_children_stat(data: bytes, at: int = 0) -> tuple[list[str], Stat]:
    """The reply to getChildren2."""
    children, at = read_strings(data, at)
    return children, read_stat(data, at)[0]


def decode_int(data: bytes, at: int = 0) -> int:
    """The reply to getAllChildrenNumber and addWatch."""
    return read_int(data, at)[0]


def decode_who_am_i(data: bytes, at: int = 0) -> list[tuple[str, str]]:
    """The reply to whoAmI."""
    count, at = read_count(data, at, 8)
    ids: list[tuple[str, str]] = []
    for _ in range(count):
        scheme, at = read_text(data, at)
        user, at = read_text(data, at)
        ids.append((scheme, user))
    return ids


def decode_event(data: bytes, at: int = 0) -> WatcherEvent:
    """What follows the header of an event."""
    event_type, at = read_int(data, at)
    state, at = read_int(data, at)
    return WatcherEvent(event_type, state, read_text(data, at)[0])


def decode_multi_results(data: bytes, at: int = 0) -> list[MultiResult]:
    """The reply to multi and multiRead."""
    results: list[MultiResult] = []
    while True:
        result_type, at = read_int(data, at)
        is_done, at = read_bool(data, at)
        err, at = read_int(data, at)
        if is_done:
            return results
        if result_type == OP_ERROR:
            err, at = read_int(data, at)
            results.append(MultiResult(OP_ERROR, err))
        elif result_type == OP_CREATE:
            path, at = read_text(data, at)
            results.append(MultiResult(result_type, err, path=path))
        elif result_type == OP_CREATE2:
            path, at = read_text(data, at)
            stat, at = read_stat(data, at)
            results.append(MultiResult(result_type, err, path=path, stat=stat))
        elif result_type == OP_SET_DATA:
            stat, at = read_stat(data, at)
            results.append(MultiResult(result_type, err, stat=stat))
        elif result_type == OP_GET_DATA:
            value, at = read_buffer(data, at)
            stat, at = read_stat(data, at)
            results.append(MultiResult(result_type, err, stat=stat, data=value))
        elif result_type == OP_GET_CHILDREN:
            children, at = read_strings(data, at)
            results.append(MultiResult(result_type, err, children=children))
        elif result_type in (OP_DELETE, OP_CHECK):
            results.append(MultiResult(result_type, err))
        else:
            raise MalformedRecord("a result that multi does not know")
