"""Znodes as sequential objects for ``linearizability.py``: one path by itself, or a small tree as a whole.

What stands in the ledger is linearizable: writes, refused ones among them, and sync. A plain read may be stale, but not
older than what its session asked of the ledger last: an answered write or sync of the session, a handshake of the
connection. So such a request and the read behind it are one operation, called when the request was and returned when the
read was. Reads behind nothing of the kind are left out.

No zxid is looked at: values, versions, owners, counts of children and the clock decide. A part holds one path; of a multi it
sees what concerns its path, which is necessary and not enough. The whole tree, for short histories, sees multis whole,
parents, children and sequence numbers. Sessions end for their ephemerals when their clients closed them, or before they
were told so, or perhaps.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from multipaxos.sim.linearizability import Operation
from multipaxos.sim.recorded import EXPIRED, LEDGER_OPCODES, OPENED, RESUMED, Call, History
from multipaxos.sim.timeline import Timeline
from multipaxos.sim.znode_model import BUILT_IN, CONFIG, name_of, parent_of
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    ERR_BAD_VERSION,
    ERR_NO_CHILDREN_FOR_EPHEMERALS,
    ERR_NO_NODE,
    ERR_NODE_EXISTS,
    ERR_NOT_EMPTY,
    FLAG_EPHEMERAL,
    FLAG_SEQUENTIAL,
    OP_CHECK,
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_CREATE_CONTAINER,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_MULTI,
    OP_SET_ACL,
    OP_SET_DATA,
    CreateRequest,
    Request,
    SetAclRequest,
    SetDataRequest,
    Stat,
    VersionedPath,
    WatchedPath,
    decode_children,
    decode_children_stat,
    decode_data_stat,
    decode_multi_results,
    decode_path,
    decode_path_stat,
    decode_request,
    decode_stat,
    read_multi,
)

READ: Final = "read"
SET: Final = "set"
SET_ACL: Final = "setACL"
CREATE: Final = "create"
DELETE: Final = "delete"
CHECK: Final = "check"
END: Final = "end of session"

TREE_OPERATIONS_MAX: Final = 200
"""A history of more is judged path by path only."""

AFTER_ALL_NS: Final = 1 << 62

LAST: Final = 1 << 62
"""The place of a session's end among what it asked for."""

_TELLING: Final = (
    0, ERR_NO_NODE, ERR_NODE_EXISTS, ERR_BAD_VERSION, ERR_NOT_EMPTY, ERR_NO_CHILDREN_FOR_EPHEMERALS,
)  # fmt: skip
"""Errors that say something of the znode; others depend on the request alone, and change nothing."""


class Act(NamedTuple):
    """What one request, or one operation of a multi, asks of one path, and what came of it."""

    kind: str
    path: str
    data: bytes | None = None
    version: int = -1
    session: int = 0
    """Of the owner of an ephemeral, or the session that ends."""
    is_sequential: bool = False
    """``path`` then lacks its suffix, unless it was told."""
    err: int = 0
    stat: Stat | None = None
    """As shown, if it was."""
    is_data_shown: bool = False
    names: tuple[str, ...] | None = None


class Asked(NamedTuple):
    """The input of an operation: acts that take place together, or, where it failed, not at all."""

    acts: tuple[Act, ...]
    is_failed: bool = False
    is_alone: bool = True
    """Whether it is no multi."""


Znode = tuple[bytes | None, int, int, int]
"""data, version, aversion, owner"""


def _is_pure(operation: Operation) -> bool:
    given: Asked = operation.input
    if not operation.is_answered:
        return all(act.kind in (READ, CHECK) for act in given.acts)
    return given.is_failed or all(act.kind in (READ, CHECK) or act.err != 0 for act in given.acts)


def _shows(act: Act, node: Znode) -> bool:
    """Whether what was shown is this znode."""
    if act.is_data_shown and act.data != node[0]:
        return False
    stat = act.stat
    if stat is None:
        return True
    size = 0 if node[0] is None else len(node[0])
    return (stat.version, stat.aversion, stat.ephemeral_owner, stat.data_length) == (node[1], node[2], node[3], size)


def _changed(act: Act, node: Znode | None) -> tuple[int, Znode | None]:
    """The error that an act gives on one path whose parent is as it should be, and the znode it leaves."""
    kind = act.kind
    if kind == END:
        return 0, None if node is not None and node[3] == act.session else node
    if kind == CREATE:
        if node is not None:
            return ERR_NODE_EXISTS, node
        return 0, (act.data, 0, 0, act.session)
    if node is None:
        return ERR_NO_NODE, None
    if kind == READ:
        return 0, node
    if act.version not in (-1, node[2] if kind == SET_ACL else node[1]):
        return ERR_BAD_VERSION, node
    if kind == SET:
        return 0, (act.data, node[1] + 1, node[2], node[3])
    if kind == SET_ACL:
        return 0, (node[0], node[1], node[2] + 1, node[3])
    return 0, None if kind == DELETE else node


class OnePath:
    """One path: absent, or data, version, version of its list, owner. Parents and children are not looked at."""

    def init(self) -> Znode | None:
        """Absent."""
        return None

    def is_pure(self, operation: Operation) -> bool:
        """Reads, checks and what was refused."""
        return _is_pure(operation)

    def step(self, state: Znode | None, operation: Operation) -> Sequence[Znode | None]:
        """One request, as far as it concerns this path."""
        given: Asked = operation.input
        node = state
        for act in given.acts:
            err, after = _changed(act, node)
            if not operation.is_answered:
                if err != 0:
                    return (state,)
                node = after
                continue
            if act.err == 0:
                shown = after if act.kind in (SET, SET_ACL, CREATE) else node
                if err != 0 or (shown is not None and not _shows(act, shown)):
                    return ()
                node = after
            elif act.err == ERR_NOT_EMPTY:
                if err != 0:
                    return ()
            elif act.err == ERR_NO_CHILDREN_FOR_EPHEMERALS or (act.err == ERR_NO_NODE and act.kind == CREATE):
                if node is not None:
                    return ()  # without a parent, or below an ephemeral, there is nothing
            elif act.err in _TELLING and err != act.err:
                return ()
        if not operation.is_answered and node != state and not _decides_alone(given):
            return node, state
        return (state,) if given.is_failed else (node,)


def _decides_alone(given: Asked) -> bool:
    """Whether its path alone decides if it succeeds: not of creates and deletes, nor within a multi."""
    return len(given.acts) == 1 and given.is_alone and given.acts[0].kind in (SET, SET_ACL, END)


class Tree:
    """A state of the whole tree; never changed after it was made."""

    __slots__ = ("_hash", "nodes")

    def __init__(self, nodes: dict[str, tuple[Znode, int, int]], hashed: int) -> None:
        self.nodes = nodes  # path -> znode, how many children were ever created, how many there are
        self._hash = hashed

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.nodes == other.nodes


class WholeTree:
    """All paths together."""

    def init(self) -> Tree:
        """What a new service holds."""
        nodes: dict[str, tuple[Znode, int, int]] = dict.fromkeys(BUILT_IN, ((b"", 0, 0, 0), 0, 0))
        nodes["/"] = (nodes["/"][0], 0, 1)
        nodes["/zookeeper"] = (nodes["/zookeeper"][0], 0, 2)
        return Tree(nodes, 0)

    def is_pure(self, operation: Operation) -> bool:
        """Reads, checks and what was refused."""
        return _is_pure(operation)

    def step(self, state: Tree, operation: Operation) -> Sequence[Tree]:
        """One request."""
        given: Asked = operation.input
        is_answered = operation.is_answered
        work = _Work(state)
        for act in given.acts:
            # A failed multi does not tell which name a sequential create of it would have given.
            err = work.act(act, is_answered and not (given.is_failed and act.is_sequential))
            if not is_answered:
                if err != 0:
                    return (state,)
            elif err is None or (act.err in _TELLING and err != act.err):
                return ()
        return (state,) if given.is_failed or not work.is_changed else (work.tree(),)


class _Work:
    """A state that is being changed: copied at the first change."""

    __slots__ = ("_hash", "_nodes", "is_changed")

    def __init__(self, state: Tree) -> None:
        self._nodes = state.nodes
        self._hash = hash(state)
        self.is_changed = False

    def tree(self) -> Tree:
        """The state it has become."""
        return Tree(self._nodes, self._hash)

    def _put(self, path: str, found: tuple[Znode, int, int] | None) -> None:
        if not self.is_changed:
            self._nodes = dict(self._nodes)
            self.is_changed = True
        before = self._nodes.pop(path, None)
        if before is not None:
            self._hash ^= hash((path, before))
        if found is not None:
            self._nodes[path] = found
            self._hash ^= hash((path, found))

    def act(self, act: Act, is_answered: bool) -> int | None:
        """The error an act gives; None where it shows what is not so."""
        if act.kind == END:
            for path in [path for path, (node, _, _) in self._nodes.items() if node[3] == act.session]:
                self._delete(path)
            return 0
        path = act.path
        if act.kind == CREATE:
            parent = self._nodes.get(parent_of(path))
            if parent is None:
                return ERR_NO_NODE
            if act.is_sequential:
                if not is_answered or act.err != 0:
                    path = f"{path}{parent[1]:010d}"
                elif not path.endswith(f"{parent[1]:010d}"):
                    return None
            if parent[0][3] and path not in self._nodes:
                return ERR_NO_CHILDREN_FOR_EPHEMERALS
        found = self._nodes.get(path)
        node = None if found is None else found[0]
        err, after = _changed(act, node)
        if err != 0:
            return err
        if act.kind == DELETE and found is not None and found[2] > 0:
            return ERR_NOT_EMPTY
        if act.kind == CREATE and after is not None:
            above = self._nodes[parent_of(path)]
            self._put(parent_of(path), (above[0], above[1] + 1, above[2] + 1))
            self._put(path, (after, 0, 0))
        elif act.kind == DELETE:
            self._delete(path)
        elif after is not None and found is not None and after is not node:
            self._put(path, (after, found[1], found[2]))
        if is_answered and act.err == 0 and not self._is_shown(act, path, node if after is None else after):
            return None
        return 0

    def _delete(self, path: str) -> None:
        above = self._nodes[parent_of(path)]
        self._put(parent_of(path), (above[0], above[1], above[2] - 1))
        self._put(path, None)

    def _is_shown(self, act: Act, path: str, node: Znode | None) -> bool:
        if node is None or act.kind in (DELETE, CHECK):
            return True
        if not _shows(act, node):
            return False
        if act.stat is not None:
            _, creates, children = self._nodes[path]
            if (act.stat.cversion, act.stat.num_children) != (2 * creates - children, children):
                return False
        if act.names is not None:
            mine = sorted(name_of(other) for other in self._nodes if parent_of(other) == path and other != "/")
            return mine == list(act.names)
        return True


# From a recorded history to operations


def operations_of(history: History, timeline: Timeline | None = None) -> list[Operation]:
    """Everything of a history that is linearizable.

    ``timeline`` is that of a known ledger: then a request of unknown outcome that does not stand in it is left out, one that
    does was done before whatever its session was answered next, and sessions end as the ledger says.
    """
    found: list[Operation] = []
    handshakes = {
        mark.connection: mark.sent_ns for mark in history.marks if mark.kind in (OPENED, RESUMED) and mark.sent_ns
    }
    sessions: dict[int, list[Call]] = {}
    for call in history.calls:
        sessions.setdefault(call.session, []).append(call)
    told = {mark.session: mark.at_ns for mark in reversed(history.marks) if mark.kind == EXPIRED}
    for session, calls in sessions.items():
        calls.sort(key=lambda call: call.index)
        found += _of_session(calls, handshakes, None if timeline is None else timeline.executed)
        end = _end_of(session, calls, told.get(session), timeline)
        if end is not None:
            found.append(end)
    return found


def _of_session(
    calls: Sequence[Call], handshakes: dict[int, int], executed: dict[tuple[int, int], int] | None
) -> list[Operation]:
    found: list[Operation] = []
    since = 0  # since when the session has what it is shown; 0 for nobody knows
    for number, call in enumerate(calls):
        since = max(since, handshakes.get(call.connection, 0))
        is_ledger = call.opcode in LEDGER_OPCODES
        if is_ledger and call.is_answered:
            since = max(since, call.invoked_ns)
        if call.opcode == OP_CLOSE_SESSION or (not call.is_answered and not is_ledger):
            continue
        returned: int | None = call.returned_ns
        if not call.is_answered:
            returned = None
            if executed is not None:
                if (call.session, call.index) not in executed:
                    continue
                returned = next((later.returned_ns for later in calls[number:] if later.is_answered), AFTER_ALL_NS)
        try:
            given = _request_of(call)
        except MalformedRecord:
            continue
        if not given.acts or any(act.path == CONFIG for act in given.acts):
            continue
        if not is_ledger and since == 0:
            continue
        called = call.invoked_ns if is_ledger else since
        found.append(Operation(called, returned, given, None, call.is_answered, call.session, call.index))
    return found


def _end_of(session: int, calls: Sequence[Call], told_ns: int | None, timeline: Timeline | None) -> Operation | None:
    """The end of a session, which takes its ephemerals: when its client asked for it, or before it was told, or perhaps."""
    given = Asked((Act(END, "", session=session),))
    called = max((call.invoked_ns for call in calls if call.is_answered and call.opcode != OP_CLOSE_SESSION), default=0)
    returned = told_ns
    for call in calls:
        if call.opcode == OP_CLOSE_SESSION and call.is_answered and call.err == 0:
            called, returned = call.invoked_ns, call.returned_ns
    if timeline is not None and returned is None:
        if session not in timeline.ended:
            return None
        returned = AFTER_ALL_NS
    return Operation(called, returned, given, None, returned is not None, session, LAST)


def _request_of(call: Call) -> Asked:
    """What a call asks and what came of it."""
    if call.opcode == OP_MULTI:
        return _multi_of(call)
    request = decode_request(call.opcode, call.record)
    act = _act_of(call.opcode, request, call.session)
    if act is None:
        return Asked(())
    if not call.is_answered:
        return Asked((act,))
    if call.err != 0:
        return Asked((act._replace(err=call.err),), True)
    body = call.body
    if call.opcode == OP_GET_DATA:
        data, stat = decode_data_stat(body)
        act = act._replace(data=data, stat=stat, is_data_shown=True)
    elif call.opcode in (OP_EXISTS, OP_SET_DATA, OP_SET_ACL):
        act = act._replace(stat=decode_stat(body))
    elif call.opcode == OP_GET_CHILDREN:
        act = act._replace(names=tuple(sorted(decode_children(body))))
    elif call.opcode == OP_GET_CHILDREN2:
        names, stat = decode_children_stat(body)
        act = act._replace(names=tuple(sorted(names)), stat=stat)
    elif call.opcode == OP_CREATE:
        act = act._replace(path=decode_path(body))
    elif act.kind == CREATE:
        path, stat = decode_path_stat(body)
        act = act._replace(path=path, stat=stat)
    return Asked((act,))


def _act_of(opcode: int, request: Request | None, session: int) -> Act | None:
    if isinstance(request, SetDataRequest):
        return Act(SET, request.path, request.data, request.version)
    if isinstance(request, CreateRequest):
        is_ephemeral = request.flags & FLAG_EPHEMERAL and opcode != OP_CREATE_CONTAINER
        owner = session if is_ephemeral else 0
        return Act(CREATE, request.path, request.data, -1, owner, bool(request.flags & FLAG_SEQUENTIAL))
    if isinstance(request, VersionedPath):
        return Act(CHECK if opcode == OP_CHECK else DELETE, request.path, version=request.version)
    if isinstance(request, SetAclRequest):
        return Act(SET_ACL, request.path, version=request.version)
    if isinstance(request, WatchedPath):
        return Act(READ, request.path)
    return None


def _multi_of(call: Call) -> Asked:
    """A multi: all its acts, or those before the one that failed, and that one."""
    acts: list[Act] = []
    for opcode, request in read_multi(call.record, 0)[0].operations:
        act = _act_of(opcode, request, call.session)
        if act is not None:
            acts.append(act)
    if not call.is_answered:
        return Asked(tuple(acts), is_alone=False)
    if call.err != 0:
        return Asked(())
    shown: list[Act] = []
    for act, result in zip(acts, decode_multi_results(call.body), strict=True):
        if result.err != 0:
            shown.append(act._replace(err=result.err))
            return Asked(tuple(shown), True)
        path = result.path if result.path is not None else act.path
        shown.append(act._replace(path=path, stat=result.stat))
        if result.type == -1:
            # Would have been done: under a name nobody was told.
            shown[-1] = act
    return Asked(tuple(shown))


def parts_of(operations: Iterable[Operation]) -> list[tuple[str, list[Operation]]]:
    """The same operations path by path. A sequential create whose name nobody was told may be any with its prefix."""
    parts: dict[str, list[Operation]] = {}
    sequential: list[tuple[str, Operation]] = []
    ends: list[Operation] = []
    owners: dict[str, dict[int, None]] = {}
    for operation in operations:
        by_path: dict[str, list[Act]] = {}
        given: Asked = operation.input
        for act in given.acts:
            if act.kind == END:
                ends.append(operation)
            elif act.path in BUILT_IN:
                continue  # nobody creates or deletes these
            elif act.is_sequential and (not operation.is_answered or given.is_failed):
                maybe = operation._replace(input=Asked((act,)), is_answered=False, returned=None)
                sequential.append((act.path, maybe))
            else:
                by_path.setdefault(act.path, []).append(act._replace(stat=act.stat, names=None))
                if act.kind == CREATE and act.session:
                    owners.setdefault(act.path, {})[act.session] = None
        for path, acts in by_path.items():
            mine = operation._replace(input=given._replace(acts=tuple(acts)))
            parts.setdefault(path, []).append(mine)
    for prefix, operation in sequential:
        act = operation.input.acts[0]
        for path in parts:
            if path.startswith(prefix) and len(path) == len(prefix) + 10 and path[-10:].isdigit():
                parts[path].append(operation._replace(input=Asked((act._replace(path=path),))))
                if act.session:
                    owners.setdefault(path, {})[act.session] = None
    for operation in ends:
        for path, sessions in owners.items():
            if operation.input.acts[0].session in sessions:
                parts[path].append(operation)
    return sorted(parts.items())
