"""The replicated state machine of the service: commands in, results and events out. The file to read first here.

``Machine.apply`` is deterministic and total (rule-R17). It depends on nothing but the commands applied before, the command,
and the command time handed in: no clock, no setting, no order of a set. It first reads and checks (``plan.py``), where
whatever goes wrong is the command's result; then it changes state by steps that cannot fail. An exception there is a bug
or a machine out of memory, and leaves this module: the replica stops rather than differ.

Whether somebody here waits for the answer (``wanted``) decides only whether a ``Result`` is built.

What it knows nothing of: sockets, replies in order, who watches (``watches.py`` is told of the events), who was heard.

What differs from ZooKeeper's server, or is not built yet:

- The zxid is epoch and counter; it advances only with what changes the tree or begins or ends a session (rule-R14).
- Containers are created and shown as ZooKeeper shows them, and stay when they are empty: there is no reaper yet. Nodes
  with a time to live are off, as by ZooKeeper's default.
- Quotas are counted, never enforced (``quota.py``). reconfig is disabled, as by ZooKeeper's default.
- setACL and sync may not stand in a multi, as in ZooKeeper.
"""

import hashlib
from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import Final

from multipaxos.coordination.acl import Acl, Entry, masked, permits
from multipaxos.coordination.codes import (
    ADMIN,
    BAD_ARGUMENTS,
    BAD_VERSION,
    CHANGED,
    CHECK,
    CHILDREN_CHANGED,
    CREATE,
    CREATE2,
    CREATE_CONTAINER,
    CREATE_TTL,
    CREATED,
    DELETE,
    DELETED,
    ERROR,
    GET_CHILDREN,
    GET_DATA,
    MARSHALLING_ERROR,
    MULTI,
    NO_AUTH,
    NO_NODE,
    NODE_EXISTS,
    OK,
    READ,
    RECONFIG,
    RECONFIG_DISABLED,
    RUNTIME_INCONSISTENCY,
    SESSION_EXPIRED,
    SESSION_MOVED,
    SET_ACL,
    SET_DATA,
    SYNC,
    UNIMPLEMENTED,
)
from multipaxos.coordination.commands import (
    ATTACH,
    CLOSE,
    EXPIRE,
    FOUND,
    HEADER_SIZE,
    REQUEST,
    AuthId,
    MalformedCommand,
    Owner,
    decode_attach,
    decode_expire,
    decode_found,
    decode_header,
    decode_ids,
)
from multipaxos.coordination.jute import INT, MULTI_HEADER, MalformedRecord, pack_buffer, pack_path, read_buffer
from multipaxos.coordination.plan import (
    Operation,
    Overlay,
    plan_create,
    plan_set_acl,
    read_create,
    read_multi,
    read_path_and_version,
    read_set_acl,
    read_set_data,
    refuse_check,
    refuse_delete,
    refuse_set_data,
)
from multipaxos.coordination.sessions import Session, SessionTable, password_of
from multipaxos.coordination.tree import (
    CONFIG_PATH,
    Tree,
    Znode,
    children_of,
    creates_of,
    parent_of,
    pzxid_of,
    stat_of,
)

NO_REIGN: Final = -1
"""No epoch decree was applied yet."""

COUNTER_MASK: Final = 0xFFFFFFFF
EPOCH_LIMIT: Final = 1 << 31

_END_OF_MULTI: Final = MULTI_HEADER.pack(ERROR, True, -1)
_DIGEST_HEAD: Final = Struct(">qqqI")
_DIGEST_NODE: Final = Struct(">qqqqiiqiqi")
_DIGEST_SESSION: Final = Struct(">qiHIQ")


class Result:
    """The answer to one command. Only read by whoever gets it."""

    __slots__ = ("body", "err", "is_moved", "session", "zxid")

    def __init__(self, err: int, zxid: int, body: bytes, is_moved: bool = False, session: int = 0) -> None:
        self.err: Final = err  # ZooKeeper's code
        self.zxid: Final = zxid  # for the header of the reply: the last one applied
        self.body: Final = body  # the reply's record in jute
        self.is_moved: Final = is_moved  # not executed: close the connection silently
        self.session: Final = session  # of an ATTACH that succeeded


SKIPPED: Final = Result(OK, 0, b"")
"""What ``apply`` returns when the result was not wanted: says nothing."""


class Machine:
    """Znodes, sessions and the few numbers that are replicated with them."""

    __slots__ = (
        "_is_changing",
        "_secret",
        "_table",
        "changes",
        "ended",
        "epoch",
        "guards",
        "reign",
        "sessions",
        "surprises",
        "time_ms",
        "tree",
        "zxid",
    )

    def __init__(self) -> None:
        self.tree: Final = Tree()
        self.zxid: int = 0  # epoch << 32 | counter; I9: never goes back
        self.epoch: int = 0  # may run ahead of the ledger's own count when a counter was used up (rule-R14)
        self.reign: int = NO_REIGN  # ballot of the last epoch decree (rule-R13)
        self.time_ms: int = 0  # command time of the last command
        # Events of the last apply in order, (type, path), and beside each the list a watcher must be able to read by:
        # of the node as it was, and of the parent for its children's change.
        self.changes: Final[list[tuple[int, str]]] = []
        self.guards: Final[list[Acl]] = []
        self.ended: Final[list[int]] = []  # sessions ended by the last apply
        self._table: Final = SessionTable()
        self.sessions: Final[dict[int, Session]] = self._table.live
        self._secret: bytes = b""
        self._is_changing: bool = False
        # Commands whose reading or checking raised what no malformed record explains. Not state: for notes and tests.
        self.surprises: int = 0

    # Commands.

    def begin_epoch(self, epoch: int, reign: int) -> None:
        """An epoch decree took effect (rule-R12): zxids begin anew above all earlier ones.

        An epoch that was used up by its counter put this machine ahead of the ledger's count; it stays ahead.
        """
        self._forget_last()
        self.epoch = max(epoch, self.epoch + 1)
        assert self.epoch < EPOCH_LIMIT, "rule-R14: a zxid is a signed 64-bit number"
        self.reign = reign
        self.zxid = self.epoch << 32

    def configured(self, text: bytes, time_ms: int) -> None:
        """A configuration decree took effect: ``text`` is what /zookeeper/config shows from now on."""
        self._forget_last()
        self.time_ms = time_ms
        node = self.tree.set_config(text, self._next_zxid(), time_ms)
        self.changes.append((CHANGED, CONFIG_PATH))
        self.guards.append(node.acl)

    def apply(self, command: bytes, time_ms: int, wanted: bool) -> Result:
        """Execute one chosen command. Never raises for what the command's bytes are (rule-R17)."""
        if self.changes:
            self.changes.clear()
            self.guards.clear()
        if self.ended:
            self.ended.clear()
        self.time_ms = time_ms
        self._is_changing = False
        try:
            session = self._table.present.get(command[:HEADER_SIZE])
            if session is None:
                return self._apply_other(command, wanted)
            encoded = session.ids_encoded
            end = HEADER_SIZE + len(encoded)
            if command[HEADER_SIZE:end] != encoded:
                session.ids, end = decode_ids(command, HEADER_SIZE)
                session.ids_encoded = command[HEADER_SIZE:end]
            return self._request(command, end, session.id, session.ids, wanted)
        except (MalformedRecord, MalformedCommand, StructError):
            if self._is_changing:
                raise
            return Result(MARSHALLING_ERROR, self.zxid, b"") if wanted else SKIPPED
        except (MemoryError, RecursionError):
            raise
        except Exception:
            # A bug in the checks must not stop every replica at the same slot for ever. The result is fixed: it says
            # nothing of the exception, whose text could differ between replicas. Once state is changing it is too late.
            if self._is_changing:
                raise
            self.surprises += 1
            return Result(MARSHALLING_ERROR, self.zxid, b"", is_moved=True) if wanted else SKIPPED

    def _apply_other(self, command: bytes, wanted: bool) -> Result:
        """Everything but a request of the present owner of a living session."""
        kind, session_id, owner = decode_header(command)
        if kind == ATTACH:
            return self._attach(command, session_id, owner, wanted)
        if kind == EXPIRE:
            return self._expire(command, session_id, owner, wanted)
        if kind == FOUND:
            return self._found(command, wanted)
        if kind not in (REQUEST, CLOSE):
            raise MalformedCommand("an unknown kind")
        session = self.sessions.get(session_id)
        if session is None:
            if kind == CLOSE:
                return self._answer(SESSION_EXPIRED, wanted)
            # Some errors come before the session is looked at, so an ended session is checked like any other.
            ids, at = decode_ids(command, HEADER_SIZE)
            return self._request(command, at, 0, ids, wanted)
        if session.owner != owner:
            return Result(SESSION_MOVED, self.zxid, b"", is_moved=True) if wanted else SKIPPED
        assert kind == CLOSE  # a request of the present owner was found by its header
        if len(command) != HEADER_SIZE:
            raise MalformedCommand("bytes behind a close")
        self._end(session)
        return self._answer(OK, wanted)

    def _answer(self, err: int, wanted: bool) -> Result:
        return Result(err, self.zxid, b"") if wanted else SKIPPED

    def _forget_last(self) -> None:
        self.changes.clear()
        self.guards.clear()
        self.ended.clear()

    def _next_zxid(self) -> int:
        """From here on state changes."""
        self._is_changing = True
        zxid = self.zxid + 1
        if zxid & COUNTER_MASK == 0:  # the sum has carried over into the next epoch, whose own number is 0 (rule-R14)
            self.epoch += 1
            zxid += 1
        self.zxid = zxid
        return zxid

    # Sessions.

    def _attach(self, command: bytes, session_id: int, owner: Owner, wanted: bool) -> Result:
        timeout_ms, replaces = decode_attach(command)
        if session_id == 0:
            opened = self._next_zxid()  # unique, never reissued, positive: also the id (rule-R27)
            self._table.open(opened, timeout_ms, owner)
            return Result(OK, self.zxid, b"", session=opened) if wanted else SKIPPED
        session = self.sessions.get(session_id)
        if session is None:
            return self._answer(SESSION_EXPIRED, wanted)
        if session.owner != replaces:
            return Result(SESSION_MOVED, self.zxid, b"", is_moved=True) if wanted else SKIPPED
        self._is_changing = True
        self._table.move(session, timeout_ms, owner)
        return Result(OK, self.zxid, b"", session=session_id) if wanted else SKIPPED

    def _expire(self, command: bytes, session_id: int, owner: Owner, wanted: bool) -> Result:
        reign = decode_expire(command)
        session = self.sessions.get(session_id)
        if session is None:
            return self._answer(SESSION_EXPIRED, wanted)
        if reign != self.reign:
            return self._answer(BAD_VERSION, wanted)
        if session.owner != owner:
            return self._answer(SESSION_MOVED, wanted)
        self._end(session)
        return self._answer(OK, wanted)

    def _found(self, command: bytes, wanted: bool) -> Result:
        reign, secret = decode_found(command)
        if reign != self.reign:
            return self._answer(BAD_VERSION, wanted)
        if self._secret:
            return self._answer(NODE_EXISTS, wanted)
        self._is_changing = True
        self._secret = secret
        return self._answer(OK, wanted)

    def _end(self, session: Session) -> None:
        """End a session: its ephemerals go at one zxid, in the order of their paths (zk-17)."""
        zxid = self._next_zxid()
        for path in sorted(session.ephemerals):
            self._delete_node(path, parent_of(path), zxid)
        self._table.end(session)
        self.ended.append(session.id)

    @property
    def has_secret(self) -> bool:
        """Whether passwords can be made and checked."""
        return self._secret != b""

    def password(self, session: int) -> bytes:
        """The password of a session, 16 bytes. Only once there is a secret."""
        assert self._secret, "rule-R27: no password before the first leader's secret was applied"
        return password_of(session, self._secret)

    # Requests.

    def _request(self, command: bytes, at: int, session: int, ids: tuple[AuthId, ...], wanted: bool) -> Result:
        """A client's request whose opcode stands at ``at``; ``session`` is 0 when it has ended."""
        opcode = INT.unpack_from(command, at)[0]
        at += 4
        if opcode == SET_DATA:
            return self._set_data(command, at, session, ids, wanted)
        if opcode in (CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL):
            return self._create(opcode, command, at, session, ids, wanted)
        if opcode == DELETE:
            return self._delete(command, at, session, ids, wanted)
        if opcode == MULTI:
            return self._multi(command, at, session, ids, wanted)
        if opcode == SYNC:
            return self._sync(command, at, session, wanted)
        if opcode == SET_ACL:
            return self._set_acl(command, at, session, ids, wanted)
        if opcode == RECONFIG:
            return self._answer(RECONFIG_DISABLED, wanted)
        return self._answer(UNIMPLEMENTED, wanted)  # reads, and a check on its own, never enter the ledger

    def _set_data(self, command: bytes, at: int, session: int, ids: tuple[AuthId, ...], wanted: bool) -> Result:
        path, data, version, _ = read_set_data(command, at)
        err = refuse_set_data(self.tree, None, path, version, session, ids)
        if err != OK:
            return self._answer(err, wanted)
        node = self._set_node(path, data, self._next_zxid())
        return Result(OK, self.zxid, stat_of(node)) if wanted else SKIPPED

    def _create(
        self, opcode: int, command: bytes, at: int, session: int, ids: tuple[AuthId, ...], wanted: bool
    ) -> Result:
        path, data, raw, flags, ttl, _ = read_create(command, at, opcode == CREATE_TTL)
        err, path, parent_path, acl, owner = plan_create(self.tree, None, opcode, path, raw, flags, ttl, session, ids)
        if err != OK:
            return self._answer(err, wanted)
        node = self._create_node(path, parent_path, data, acl, owner, self._next_zxid())
        if not wanted:
            return SKIPPED
        body = pack_path(path)
        if opcode != CREATE:
            body += stat_of(node)
        return Result(OK, self.zxid, body)

    def _delete(self, command: bytes, at: int, session: int, ids: tuple[AuthId, ...], wanted: bool) -> Result:
        path, version, _ = read_path_and_version(command, at)
        err = refuse_delete(self.tree, None, path, version, session, ids)
        if err != OK:
            return self._answer(err, wanted)
        self._delete_node(path, parent_of(path), self._next_zxid())
        return self._answer(OK, wanted)

    def _set_acl(self, command: bytes, at: int, session: int, ids: tuple[AuthId, ...], wanted: bool) -> Result:
        path, raw, version = read_set_acl(command, at)
        err, acl = plan_set_acl(self.tree, path, raw, version, session, ids)
        if err != OK:
            return self._answer(err, wanted)
        self._next_zxid()
        node = self.tree.nodes[path]
        self.tree.set_acl(node, acl)
        return Result(OK, self.zxid, stat_of(node)) if wanted else SKIPPED

    def _sync(self, command: bytes, at: int, session: int, wanted: bool) -> Result:
        """Changes nothing: that it was applied here is the answer."""
        path, _ = read_buffer(command, at)
        if path is None:
            raise MalformedRecord("a null path")
        if session == 0:
            return self._answer(SESSION_EXPIRED, wanted)
        return Result(OK, self.zxid, pack_buffer(path)) if wanted else SKIPPED

    def _multi(self, command: bytes, at: int, session: int, ids: tuple[AuthId, ...], wanted: bool) -> Result:
        operations = read_multi(command, at)
        tree = self.tree
        overlay = Overlay(tree)
        planned: list[tuple[str, str, Acl | None, int]] = []  # path, path of the parent, list, owner
        is_changing = False
        for operation in operations:
            opcode = operation.opcode
            path = operation.path
            parent_path = ""
            acl: Acl | None = None
            owner = 0
            if opcode == SET_DATA:
                err = refuse_set_data(tree, overlay, path, operation.version, session, ids)
                if err == OK:
                    overlay.set_data(path)
            elif opcode == CHECK:
                err = refuse_check(tree, overlay, path, operation.version, session, ids)
            elif opcode == DELETE:
                err = refuse_delete(tree, overlay, path, operation.version, session, ids)
                if err == OK:
                    parent_path = parent_of(path)
                    overlay.delete(path, parent_path)
            else:
                err, path, parent_path, acl, owner = plan_create(
                    tree, overlay, opcode, path, operation.acl, operation.flags, operation.ttl, session, ids
                )
                if err == OK:
                    overlay.create(path, parent_path, acl, owner)
            if err != OK:
                return self._failed_multi(len(planned), err, len(operations), wanted)
            planned.append((path, parent_path, acl, owner))
            is_changing = is_changing or opcode != CHECK
        zxid = self._next_zxid() if is_changing else self.zxid
        parts: list[bytes] = []
        for index in range(len(operations)):
            path, parent_path, acl, owner = planned[index]
            self._execute(operations[index], path, parent_path, acl, owner, zxid, parts if wanted else None)
        if not wanted:
            return SKIPPED
        parts.append(_END_OF_MULTI)
        return Result(OK, self.zxid, b"".join(parts))

    def _execute(
        self,
        operation: Operation,
        path: str,
        parent_path: str,
        acl: Acl | None,
        owner: int,
        zxid: int,
        parts: list[bytes] | None,
    ) -> None:
        """Carry out one operation of a multi that was planned whole, and append its result to ``parts``.

        A Stat shows the node as this operation leaves it, whatever later ones do.
        """
        opcode = operation.opcode
        shown = b""
        if opcode == SET_DATA:
            node = self._set_node(path, operation.data, zxid)
            if parts is not None:
                shown = stat_of(node)
        elif opcode == DELETE:
            self._delete_node(path, parent_path, zxid)
        elif opcode != CHECK:
            assert acl is not None
            node = self._create_node(path, parent_path, operation.data, acl, owner, zxid)
            if opcode != CREATE:
                opcode = CREATE2  # containers answer as create2 too (zk-3)
            if parts is not None:
                shown = pack_path(path) if opcode == CREATE else pack_path(path) + stat_of(node)
        if parts is not None:
            parts.append(MULTI_HEADER.pack(opcode, False, OK))
            parts.append(shown)

    def _failed_multi(self, failed: int, err: int, count: int, wanted: bool) -> Result:
        """The header says OK; each operation says why it did not happen (zk-2)."""
        if not wanted:
            return SKIPPED
        parts: list[bytes] = []
        for index in range(count):
            if index < failed:
                shown = OK
            elif index == failed:
                shown = err
            else:
                shown = RUNTIME_INCONSISTENCY
            parts.append(MULTI_HEADER.pack(ERROR, False, shown))
            parts.append(INT.pack(shown))
        parts.append(_END_OF_MULTI)
        return Result(OK, self.zxid, b"".join(parts))

    # Steps that change state and cannot fail, with their events in the order of section 12: the node's, then its parent's.

    def _create_node(self, path: str, parent_path: str, data: bytes | None, acl: Acl, owner: int, zxid: int) -> Znode:
        parent = self.tree.nodes[parent_path]
        node = self.tree.create(path, parent, data, acl, owner, zxid, self.time_ms)
        if owner > 0:
            self.sessions[owner].ephemerals[path] = None
        self.changes.append((CREATED, path))
        self.changes.append((CHILDREN_CHANGED, parent_path))
        self.guards.append(acl)
        self.guards.append(parent.acl)
        return node

    def _delete_node(self, path: str, parent_path: str, zxid: int) -> None:
        parent = self.tree.nodes[parent_path]
        node = self.tree.delete(path, parent, zxid)
        if node.owner > 0:
            del self.sessions[node.owner].ephemerals[path]  # I13: it exists only while its session does
        self.changes.append((DELETED, path))
        self.changes.append((CHILDREN_CHANGED, parent_path))
        self.guards.append(node.acl)
        self.guards.append(parent.acl)

    def _set_node(self, path: str, data: bytes | None, zxid: int) -> Znode:
        node = self.tree.nodes[path]
        self.tree.set_data(path, node, data, zxid, self.time_ms)
        self.changes.append((CHANGED, path))
        self.guards.append(node.acl)
        return node

    # Reads. They change nothing; ``ids`` are those of the asking connection.

    def exists(self, path: str, ids: Sequence[AuthId]) -> tuple[int, bytes]:
        """error, Stat."""
        node = self.tree.nodes.get(path)
        if node is None:
            return BAD_ARGUMENTS if "\0" in path else NO_NODE, b""
        if not node.acl.everyone & READ and not permits(node.acl, READ, ids):
            return NO_AUTH, b""
        return OK, stat_of(node)

    def get_data(self, path: str, ids: Sequence[AuthId]) -> tuple[int, bytes | None, bytes]:
        """error, data (None is null, not empty), Stat."""
        node = self.tree.nodes.get(path)
        if node is None:
            return NO_NODE, None, b""
        if not node.acl.everyone & READ and not permits(node.acl, READ, ids):
            return NO_AUTH, None, b""
        return OK, node.data, stat_of(node)

    def get_children(self, path: str, ids: Sequence[AuthId]) -> tuple[int, list[str], bytes]:
        """error, names (sorted), Stat."""
        node = self.tree.nodes.get(path)
        if node is None:
            return NO_NODE, [], b""
        if not node.acl.everyone & READ and not permits(node.acl, READ, ids):
            return NO_AUTH, [], b""
        return OK, self.tree.names(path, node), stat_of(node)

    def get_acl(self, path: str, ids: Sequence[AuthId]) -> tuple[int, list[Entry], bytes]:
        """error, entries of (permissions, scheme, id), Stat. Who may not administer the node sees no hashes."""
        node = self.tree.nodes.get(path)
        if node is None:
            return NO_NODE, [], b""
        acl = node.acl
        if permits(acl, ADMIN, ids):
            return OK, list(acl.entries), stat_of(node)
        if permits(acl, READ, ids):
            return OK, masked(acl.entries), stat_of(node)
        return NO_AUTH, [], b""

    def all_children_number(self, path: str, ids: Sequence[AuthId]) -> tuple[int, int]:
        """error, znodes below a path at any depth."""
        node = self.tree.nodes.get(path)
        if node is None:
            return NO_NODE, 0
        if not node.acl.everyone & READ and not permits(node.acl, READ, ids):
            return NO_AUTH, 0
        return OK, self.tree.count_below(path)

    def ephemerals(self, session: int, prefix: str) -> list[str]:
        """The ephemerals of a session whose path begins with ``prefix``, sorted; "" means all."""
        found = self.sessions.get(session)
        if found is None:
            return []
        return [path for path in sorted(found.ephemerals) if path.startswith(prefix)]

    def multi_read(self, operations: Sequence[tuple[int, str]], ids: Sequence[AuthId]) -> tuple[int, bytes]:
        """error, record of the reply to a multiRead of (opcode, path): one snapshot, each answering for itself."""
        parts: list[bytes] = []
        for opcode, path in operations:
            if opcode == GET_DATA:
                err, data, stat = self.get_data(path, ids)
                shown = pack_buffer(data) + stat
            elif opcode == GET_CHILDREN:
                err, names, _ = self.get_children(path, ids)
                shown = INT.pack(len(names)) + b"".join([pack_path(name) for name in names])
            else:
                return MARSHALLING_ERROR, b""
            if err == OK:
                parts.append(MULTI_HEADER.pack(opcode, False, OK))
                parts.append(shown)
            else:
                parts.append(MULTI_HEADER.pack(ERROR, False, err))
                parts.append(INT.pack(err))
        parts.append(_END_OF_MULTI)
        return OK, b"".join(parts)

    # Counts for those who look after a cluster.

    @property
    def node_count(self) -> int:
        """Znodes, the built-in ones included."""
        return len(self.tree.nodes)

    @property
    def data_bytes(self) -> int:
        """Lengths of all paths and data together."""
        return self.tree.data_bytes

    def ephemeral_count(self) -> int:
        """Ephemerals of all sessions."""
        return sum([len(session.ephemerals) for session in self.sessions.values()])

    # Comparing replicas.

    def digest(self) -> str:
        """A name for the whole state: equal states have equal digests, however they came about (rule-R50).

        Over values alone: paths and session ids in order, fixed-width fields, and the length before whatever has one. The
        clock is left out, since it moves with commands that change nothing.
        """
        digest = hashlib.sha256()
        digest.update(_DIGEST_HEAD.pack(self.zxid, self.epoch, self.reign, len(self._secret)))
        digest.update(self._secret)
        nodes = self.tree.nodes
        for path in sorted(nodes):
            node = nodes[path]
            digest.update(pack_path(path))
            digest.update(
                _DIGEST_NODE.pack(
                    node.czxid,
                    node.mzxid,
                    node.ctime,
                    node.mtime,
                    node.version,
                    node.aversion,
                    node.owner,
                    creates_of(node),
                    pzxid_of(node),
                    children_of(node),
                )
            )
            digest.update(node.acl.encoded)
            digest.update(pack_buffer(node.data))
        for session_id in sorted(self.sessions):
            session = self.sessions[session_id]
            replica, incarnation, connection = session.owner
            digest.update(_DIGEST_SESSION.pack(session_id, session.timeout_ms, replica, incarnation, connection))
            for path in sorted(session.ephemerals):
                digest.update(pack_path(path))
        return digest.hexdigest()

    def check(self) -> None:
        """Assert what must hold between the parts. For tests and the simulator: it looks at every znode."""
        assert self.zxid >> 32 == self.epoch
        assert len(self._table.present) == len(self.sessions)
        for session_id, session in self.sessions.items():
            assert 0 < session_id <= self.zxid
            assert self._table.present[session.request_header].id == session_id
            for path in session.ephemerals:
                assert self.tree.nodes[path].owner == session_id
        owned = 0
        for node in self.tree.nodes.values():
            if node.owner > 0:
                owned += 1
                assert children_of(node) == 0
        assert owned == self.ephemeral_count()  # I13
        self.tree.check()
