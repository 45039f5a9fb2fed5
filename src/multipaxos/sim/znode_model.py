"""A second opinion on what ZooKeeper's operations do: a small model tree, written for checking and sharing nothing with
the product's state machine.

It is the slow and obvious way: a request is decoded whole, checked step by step, and answered by values. A znode is told
apart from what a Stat shows of it only by its times: those are learned from the first reply that shows them, and must then
be the same for ever and never fall (``Times``). A model can be rolled back, for whoever has to try several pasts.

Access lists: only lists that let everybody do everything are modelled. A history of other lists is not for this model, and
shows as an error answer it does not expect.

Knows nothing of clients, time and order: ``zxid_order.py``.
"""

from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    ERR_BAD_ARGUMENTS,
    ERR_BAD_VERSION,
    ERR_INVALID_ACL,
    ERR_MARSHALLING,
    ERR_NO_CHILDREN_FOR_EPHEMERALS,
    ERR_NO_NODE,
    ERR_NODE_EXISTS,
    ERR_NOT_EMPTY,
    ERR_RUNTIME_INCONSISTENCY,
    ERR_SESSION_EXPIRED,
    ERR_UNIMPLEMENTED,
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    FLAG_EPHEMERAL,
    FLAG_SEQUENTIAL,
    FLAGS_TTL,
    FLAGS_TTL_SEQUENTIAL,
    OP_CHECK,
    OP_CREATE,
    OP_CREATE2,
    OP_CREATE_CONTAINER,
    OP_CREATE_TTL,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_GET_EPHEMERALS,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SYNC,
    OPEN_ACL,
    CreateRequest,
    MultiRequest,
    PathRequest,
    Request,
    SetAclRequest,
    SetDataRequest,
    VersionedPath,
    WatchedPath,
    decode_request,
    write_acl,
)

CONFIG: Final = "/zookeeper/config"
BUILT_IN: Final = ("/", "/zookeeper", "/zookeeper/quota", CONFIG)

ANY: Final = -1

_OPEN: Final = write_acl(OPEN_ACL)
_STAT: Final = Struct(">qqqqiiiqiiq")
_INT: Final = Struct(">i")
_MULTI_HEADER: Final = Struct(">i?i")


class Shown(NamedTuple):
    """A Stat without its times."""

    czxid: int
    mzxid: int
    version: int
    cversion: int
    aversion: int
    owner: int
    size: int
    children: int
    pzxid: int


class Part(NamedTuple):
    """One result: of a request by itself, or of one operation of a multi. What its opcode does not show is None; null data
    is None as well, so only the opcode tells whether data is shown."""

    opcode: int
    err: int = 0
    path: str | None = None
    data: bytes | None = None
    acl: bytes | None = None
    names: list[str] | None = None
    stat: Shown | None = None
    number: int | None = None


class Answer(NamedTuple):
    """What a request is answered with."""

    err: int
    parts: tuple[Part, ...] = ()
    is_multi: bool = False


class Node:
    """One znode."""

    __slots__ = ("aversion", "children", "creates", "czxid", "data", "mzxid", "owner", "pzxid", "version")

    def __init__(self, data: bytes | None, owner: int, zxid: int) -> None:
        self.data = data
        self.owner = owner
        self.czxid = self.mzxid = self.pzxid = zxid
        self.version = 0
        self.aversion = 0
        self.creates = 0
        self.children: dict[str, None] = {}

    def shown(self) -> Shown:
        """Its Stat."""
        count = len(self.children)
        return Shown(
            self.czxid,
            self.mzxid,
            self.version,
            2 * self.creates - count,
            self.aversion,
            self.owner,
            0 if self.data is None else len(self.data),
            count,
            self.pzxid,
        )


Change = tuple[int, str]
"""Type of the event and path, as watches tell it."""

_Undo = tuple[str, Node | None, tuple[bytes | None, int, int, int, int, int] | None, int]
"""Path, the node as it is to stand there again (None: no node), and its fields (None: as they are). With an empty path: a
session, which was opened (positive) or ended (negative)."""


class Times:
    """Which command time belongs to which zxid: learned from replies, one for each zxid, never falling."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, int] = {0: 0}

    def agrees(self, zxid: int, time_ms: int) -> bool:
        """Whether ``zxid`` may have ``time_ms``; the first that says so decides."""
        return self._known.setdefault(zxid, time_ms) == time_ms

    def backwards(self) -> tuple[int, int] | None:
        """Two neighbouring zxids whose times fall, if there are any."""
        before = 0
        time_ms = 0
        for zxid in sorted(self._known):
            if self._known[zxid] < time_ms:
                return before, zxid
            before, time_ms = zxid, self._known[zxid]
        return None


class Znodes:
    """The tree and who owns its ephemerals."""

    __slots__ = ("_undo", "changes", "nodes", "sessions")

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.sessions: dict[int, dict[str, None]] = {}  # living ones, with their ephemerals
        self.changes: list[Change] = []  # of the last execution
        self._undo: list[_Undo] = []
        for path in BUILT_IN:
            self.nodes[path] = Node(b"", 0, 0)
            if path != "/":
                self.nodes[parent_of(path)].children[name_of(path)] = None
        self.nodes[CONFIG].aversion = -1

    # Sessions

    def open(self, session: int) -> None:
        """A session begins."""
        self.changes = []
        self.sessions[session] = {}
        self._undo.append(("", None, None, session))

    def end(self, session: int, zxid: int) -> None:
        """A session ends, its ephemerals with it, in the order of their paths."""
        self.changes = []
        for path in sorted(self.sessions[session]):
            self._delete(path, zxid)
        del self.sessions[session]
        self._undo.append(("", None, None, -session))

    def configured(self, text: bytes | None, zxid: int) -> None:
        """A configuration decree shows its text."""
        node = self.nodes[CONFIG]
        self._save(CONFIG, node)
        node.data = text
        node.version = -1
        node.mzxid = zxid
        self.changes = [(EVENT_DATA_CHANGED, CONFIG)]

    # Rolling back

    def position(self) -> int:
        """Where the tree stands, for ``back_to``."""
        return len(self._undo)

    def back_to(self, position: int) -> None:
        """Undo everything since ``position``."""
        while len(self._undo) > position:
            path, node, fields, session = self._undo.pop()
            if session > 0:
                del self.sessions[session]
                continue
            if session < 0:
                self.sessions[-session] = {}
                continue
            present = self.nodes.get(path)
            if present is not None and present is not node:
                del self.nodes[path]
                del self.nodes[parent_of(path)].children[name_of(path)]
                if present.owner:
                    del self.sessions[present.owner][path]
            if node is not None:
                if present is not node:
                    self.nodes[path] = node
                    self.nodes[parent_of(path)].children[name_of(path)] = None
                    if node.owner:
                        self.sessions[node.owner][path] = None
                if fields is not None:
                    node.data, node.version, node.aversion, node.mzxid, node.pzxid, node.creates = fields

    def forget(self) -> None:
        """Nothing so far will be undone."""
        self._undo.clear()

    def _save(self, path: str, node: Node) -> None:
        fields = (node.data, node.version, node.aversion, node.mzxid, node.pzxid, node.creates)
        self._undo.append((path, node, fields, 0))

    # Requests of the ledger

    def execute(self, session: int, opcode: int, record: bytes, zxid: int) -> Answer:
        """Execute one request at ``zxid`` (what changes gets it); ``session`` 0 is one that has ended.

        ``changes`` tells the events.
        """
        self.changes = []
        try:
            request = decode_request(opcode, record)
        except MalformedRecord:
            return Answer(ERR_MARSHALLING)
        if session not in self.sessions:
            session = 0
        if opcode == OP_SYNC:
            assert isinstance(request, PathRequest)
            return Answer(ERR_SESSION_EXPIRED) if session == 0 else Answer(0, (Part(opcode, path=request.path),))
        if isinstance(request, MultiRequest):
            return self._multi(session, request, zxid)
        if opcode == OP_CHECK:
            return Answer(ERR_UNIMPLEMENTED)  # it stands in multis only
        part = self._one(session, opcode, request, zxid)
        return Answer(part.err, (part,) if part.err == 0 else ())

    def _multi(self, session: int, request: MultiRequest, zxid: int) -> Answer:
        """All or nothing: what was done is undone when one fails."""
        begun = len(self._undo)
        parts: list[Part] = []
        changes: list[Change] = []
        operations = request.operations
        for opcode, _ in operations:
            if opcode not in (
                OP_SET_DATA,
                OP_DELETE,
                OP_CHECK,
                OP_CREATE,
                OP_CREATE2,
                OP_CREATE_CONTAINER,
                OP_CREATE_TTL,
            ):
                return Answer(ERR_MARSHALLING)
        for opcode, operation in operations:
            self.changes = []
            part = self._one(session, opcode, operation, zxid)
            changes += self.changes
            if part.err != 0:
                self.back_to(begun)
                self.changes = []
                failed = [Part(-1, 0) for _ in parts]
                after = [Part(-1, ERR_RUNTIME_INCONSISTENCY) for _ in range(len(operations) - len(parts) - 1)]
                return Answer(0, (*failed, Part(-1, part.err), *after), True)
            parts.append(part)
        self.changes = changes
        return Answer(0, tuple(parts), True)

    def _one(self, session: int, opcode: int, request: Request | None, zxid: int) -> Part:
        if isinstance(request, SetDataRequest):
            return self._set_data(session, request, zxid)
        if isinstance(request, CreateRequest):
            return self._create(session, opcode, request, zxid)
        if isinstance(request, VersionedPath):
            return self._delete_or_check(session, opcode, request, zxid)
        if isinstance(request, SetAclRequest):
            return self._set_acl(session, request)
        return Part(opcode, ERR_UNIMPLEMENTED)

    def _set_data(self, session: int, request: SetDataRequest, zxid: int) -> Part:
        if session == 0:
            return Part(OP_SET_DATA, ERR_SESSION_EXPIRED)
        path = request.path
        node = self.nodes.get(path)
        if node is None:
            return Part(OP_SET_DATA, ERR_NO_NODE if is_path(path) else ERR_BAD_ARGUMENTS)
        if request.version not in (ANY, node.version):
            return Part(OP_SET_DATA, ERR_BAD_VERSION)
        self._save(path, node)
        node.data = request.data
        node.version += 1
        node.mzxid = zxid
        self.changes.append((EVENT_DATA_CHANGED, path))
        return Part(OP_SET_DATA, stat=node.shown())

    def _create(self, session: int, opcode: int, request: CreateRequest, zxid: int) -> Part:
        shown = OP_CREATE if opcode == OP_CREATE else OP_CREATE2
        flags = request.flags
        if not 0 <= flags <= FLAGS_TTL_SEQUENTIAL:
            return Part(shown, ERR_BAD_ARGUMENTS)
        if flags >= FLAGS_TTL or (opcode == OP_CREATE_TTL and request.ttl_ms < 0):
            return Part(shown, ERR_UNIMPLEMENTED)
        if opcode == OP_CREATE_TTL:
            return Part(shown, ERR_BAD_ARGUMENTS)
        if session == 0:
            return Part(shown, ERR_SESSION_EXPIRED)
        path = request.path
        if "/" not in path or "\0" in path:
            return Part(shown, ERR_BAD_ARGUMENTS)
        if not request.acl:
            return Part(shown, ERR_INVALID_ACL)
        above = parent_of(path)
        parent = self.nodes.get(above)
        if parent is None:
            return Part(shown, ERR_NO_NODE)
        if flags & FLAG_SEQUENTIAL:
            path = f"{path}{parent.creates:010d}"
        if not is_path(path):
            return Part(shown, ERR_BAD_ARGUMENTS)
        if path in self.nodes:
            return Part(shown, ERR_NODE_EXISTS)
        if parent.owner != 0:
            return Part(shown, ERR_NO_CHILDREN_FOR_EPHEMERALS)
        is_ephemeral = flags & FLAG_EPHEMERAL and opcode != OP_CREATE_CONTAINER
        node = Node(request.data, session if is_ephemeral else 0, zxid)
        self._save(above, parent)
        self._undo.append((path, None, None, 0))
        self.nodes[path] = node
        parent.children[name_of(path)] = None
        parent.creates += 1
        parent.pzxid = zxid
        if node.owner:
            self.sessions[session][path] = None
        self.changes += [(EVENT_CREATED, path), (EVENT_CHILDREN_CHANGED, above)]
        return Part(shown, path=path, stat=None if shown == OP_CREATE else node.shown())

    def _delete_or_check(self, session: int, opcode: int, request: VersionedPath, zxid: int) -> Part:
        if session == 0:
            return Part(opcode, ERR_SESSION_EXPIRED)
        path = request.path
        node = self.nodes.get(path)
        if (node is None and not is_path(path)) or (opcode == OP_DELETE and path in BUILT_IN):
            return Part(opcode, ERR_BAD_ARGUMENTS)
        if node is None:
            return Part(opcode, ERR_NO_NODE)
        if request.version not in (ANY, node.version):
            return Part(opcode, ERR_BAD_VERSION)
        if opcode == OP_CHECK:
            return Part(opcode)
        if node.children:
            return Part(opcode, ERR_NOT_EMPTY)
        self._delete(path, zxid)
        return Part(opcode)

    def _delete(self, path: str, zxid: int) -> None:
        above = parent_of(path)
        parent = self.nodes[above]
        node = self.nodes.pop(path)
        self._save(above, parent)
        self._undo.append((path, node, None, 0))
        del parent.children[name_of(path)]
        parent.pzxid = zxid
        if node.owner:
            del self.sessions[node.owner][path]
        self.changes += [(EVENT_DELETED, path), (EVENT_CHILDREN_CHANGED, above)]

    def _set_acl(self, session: int, request: SetAclRequest) -> Part:
        if session == 0:
            return Part(OP_SET_ACL, ERR_SESSION_EXPIRED)
        node = self.nodes.get(request.path)
        if node is None and not is_path(request.path):
            return Part(OP_SET_ACL, ERR_BAD_ARGUMENTS)
        if not request.acl:
            return Part(OP_SET_ACL, ERR_INVALID_ACL)
        if node is None:
            return Part(OP_SET_ACL, ERR_NO_NODE)
        if request.version not in (ANY, node.aversion):
            return Part(OP_SET_ACL, ERR_BAD_VERSION)
        self._save(request.path, node)
        node.aversion += 1
        return Part(OP_SET_ACL, stat=node.shown())

    # Reads

    def read(self, session: int, opcode: int, record: bytes) -> Answer | None:
        """What a read is answered with as the tree stands; None where this opcode is not modelled."""
        try:
            request = decode_request(opcode, record)
        except MalformedRecord:
            return Answer(ERR_MARSHALLING)
        if isinstance(request, MultiRequest):
            parts = []
            for each, operation in request.operations:
                if not isinstance(operation, WatchedPath):
                    return Answer(ERR_MARSHALLING)
                part = self._read(each, operation.path)
                parts.append(part if part.err == 0 else Part(-1, part.err))
            return Answer(0, tuple(parts), True)
        if isinstance(request, WatchedPath):
            part = self._read(opcode, request.path)
        elif isinstance(request, PathRequest) and opcode == OP_GET_EPHEMERALS:
            mine = self.sessions.get(session, {})
            part = Part(opcode, names=sorted(path for path in mine if path.startswith(request.path)))
        elif isinstance(request, PathRequest) and opcode == OP_GET_ALL_CHILDREN_NUMBER:
            part = self._count(request.path)
        elif isinstance(request, PathRequest) and opcode == OP_GET_ACL and request.path != CONFIG:
            node = self.nodes.get(request.path)
            part = Part(opcode, ERR_NO_NODE) if node is None else Part(opcode, acl=_OPEN, stat=node.shown())
        else:
            return None
        return Answer(part.err, (part,) if part.err == 0 else ())

    def _read(self, opcode: int, path: str) -> Part:
        node = self.nodes.get(path)
        if node is None:
            return Part(opcode, ERR_BAD_ARGUMENTS if opcode == OP_EXISTS and "\0" in path else ERR_NO_NODE)
        if opcode == OP_GET_DATA:
            return Part(opcode, data=node.data, stat=node.shown())
        if opcode == OP_EXISTS:
            return Part(opcode, stat=node.shown())
        names = sorted(node.children)
        return Part(opcode, names=names, stat=node.shown() if opcode == OP_GET_CHILDREN2 else None)

    def _count(self, path: str) -> Part:
        if path not in self.nodes:
            return Part(OP_GET_ALL_CHILDREN_NUMBER, ERR_NO_NODE)
        below = "/" if path == "/" else path + "/"
        number = sum(1 for other in self.nodes if other.startswith(below) and other != path)
        return Part(OP_GET_ALL_CHILDREN_NUMBER, number=number)


def parent_of(path: str) -> str:
    """The path above."""
    return path.rpartition("/")[0] or "/"


def name_of(path: str) -> str:
    """The last component."""
    return path.rpartition("/")[2]


def is_path(path: str) -> bool:
    """Whether a path is legal. Of the characters that are not, only those below the space are looked for: histories of
    stranger paths are not made."""
    if path == "/":
        return True
    if not path.startswith("/") or any(ord(letter) < 0x20 for letter in path):
        return False
    return all(name not in ("", ".", "..") for name in path[1:].split("/"))


# Comparing an expected answer with the bytes of a reply


def differs(expected: Answer, err: int, body: bytes, times: Times) -> str:
    """In what a reply is not the expected answer; empty where it is.

    ``times`` learns the command times that its Stats show.
    """
    if err != expected.err:
        return f"error {err} instead of {expected.err}"
    if err != 0:
        return "" if not body else "a body behind an error"
    at = 0
    try:
        for part in expected.parts:
            if expected.is_multi:
                header = _MULTI_HEADER.unpack_from(body, at)
                at += _MULTI_HEADER.size
                if header != (part.opcode, False, part.err):
                    return f"{header} in a multi instead of {(part.opcode, part.err)}"
                if part.opcode == -1:
                    if _INT.unpack_from(body, at)[0] != part.err:
                        return "two errors for one operation of a multi"
                    at += 4
                    continue
            why, at = _differs(part, body, at, times)
            if why:
                return why
        if expected.is_multi:
            if body[at : at + 9] != _MULTI_HEADER.pack(-1, True, -1):
                return "a multi without its end"
            at += 9
    except (ValueError, StructError) as error:
        return f"a reply that cannot be read: {error}"
    return "" if at == len(body) else "bytes behind the reply"


def _differs(part: Part, body: bytes, at: int, times: Times) -> tuple[str, int]:
    if part.path is not None:
        size = _INT.unpack_from(body, at)[0]
        path = body[at + 4 : at + 4 + size].decode()
        if path != part.path:
            return f"path {path} instead of {part.path}", at
        at += 4 + size
    if part.opcode == OP_GET_DATA:
        size = _INT.unpack_from(body, at)[0]
        at += 4
        data = None if size == -1 else body[at : at + size]
        at += max(size, 0)
        if data != part.data:
            return f"data {data!r} instead of {part.data!r}", at
    if part.acl is not None:
        if body[at : at + len(part.acl)] != part.acl:
            return "another access list than the one that lets everybody do everything", at
        at += len(part.acl)
    if part.names is not None:
        count = _INT.unpack_from(body, at)[0]
        at += 4
        names = []
        for _ in range(count):
            size = _INT.unpack_from(body, at)[0]
            names.append(body[at + 4 : at + 4 + size].decode())
            at += 4 + size
        if sorted(names) != part.names:
            odd = sorted(set(names) ^ set(part.names))
            return f"other children than there are: {odd}", at
    if part.stat is not None:
        czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, length, children, pzxid = _STAT.unpack_from(
            body, at
        )
        at += _STAT.size
        shown = Shown(czxid, mzxid, version, cversion, aversion, owner, length, children, pzxid)
        if shown != part.stat:
            names_of = [
                f"{name} {mine} instead of {wanted}"
                for name, mine, wanted in zip(Shown._fields, shown, part.stat, strict=True)
                if mine != wanted
            ]
            return "a Stat with " + ", ".join(names_of), at
        if not times.agrees(czxid, ctime):
            return f"ctime {ctime} of zxid {czxid:#x}, which has another", at
        if not times.agrees(mzxid, mtime):
            return f"mtime {mtime} of zxid {mzxid:#x}, which has another", at
    if part.number is not None:
        if _INT.unpack_from(body, at)[0] != part.number:
            return f"{_INT.unpack_from(body, at)[0]} instead of {part.number}", at
        at += 4
    return "", at
