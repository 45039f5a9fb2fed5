"""Who is to be told of a change: the watches of one replica's connections. Local, not replicated.

A watch is (path, connection, mode). Modes live beside each other on a path; setting one again changes nothing.

    DATA         one-shot, set by getData and exists: created, deleted, data changed
    CHILD        one-shot, set by getChildren: children changed, deleted
    PERSISTENT   all of these at its path, never used up
    RECURSIVE    created, deleted, data changed at its path and everything below, never used up, no children events

An event is sent once per connection however many of its watches match, and a delete uses up both one-shot kinds. A
connection that lacks READ on the node as it was (for children events: on the parent) is not told; a one-shot watch is used
up all the same, as in ZooKeeper.

The service calls ``fired`` after each apply, before it answers anybody, so that an event precedes every reply that shows
the change (zk-4). A change nobody watches costs one dict lookup. What the machine did, and when, is not known here.
"""

from collections.abc import Sequence
from typing import Final

from multipaxos.coordination.acl import Acl, permits
from multipaxos.coordination.codes import CHANGED, CHILDREN_CHANGED, CREATED, DELETED, READ
from multipaxos.coordination.commands import AuthId
from multipaxos.coordination.machine import Machine
from multipaxos.coordination.tree import pzxid_of

DATA: Final = 1
CHILD: Final = 2
PERSISTENT: Final = 4
RECURSIVE: Final = 8

# By event type, from 1 on: the modes that match at the path itself, and those used up. Index 0 is no event.
_MATCHING: Final = (
    0,
    DATA | PERSISTENT | RECURSIVE,
    DATA | CHILD | PERSISTENT | RECURSIVE,
    DATA | PERSISTENT | RECURSIVE,
    CHILD | PERSISTENT,
)
_USED_UP: Final = (0, DATA, DATA | CHILD, DATA, CHILD)

# WatcherType of checkWatches and removeWatches: 1 children, 2 data, 3 any, 4 persistent, 5 persistent recursive.
_MODES_OF_TYPE: Final = (0, CHILD, DATA, DATA | CHILD | PERSISTENT | RECURSIVE, PERSISTENT, RECURSIVE)

Event = tuple[int, int, str]
"""(connection, event type, path)"""


class Watches:
    """The watches of all connections of this replica."""

    __slots__ = ("_by_connection", "_by_path", "_ids", "_recursive", "count")

    def __init__(self) -> None:
        self._by_path: Final[dict[str, dict[int, int]]] = {}  # path -> connection -> modes
        self._by_connection: Final[dict[int, dict[str, None]]] = {}  # connection -> its paths, in order of setting
        self._ids: Final[dict[int, tuple[AuthId, ...]]] = {}
        self._recursive: int = 0  # watches of that mode: while there are none, no ancestors are looked at
        self.count: int = 0  # (path, connection, mode) in all

    # Setting, asking, removing.

    def identify(self, connection: int, ids: Sequence[AuthId]) -> None:
        """The ids of a connection; call it again when they change. Without, it sees what everybody may read."""
        self._ids[connection] = tuple(ids)

    def add(self, path: str, connection: int, mode: int) -> None:
        """Set a watch of one or more modes."""
        here = self._by_path.get(path)
        if here is None:
            here = self._by_path[path] = {}
        old = here.get(connection, 0)
        here[connection] = old | mode
        added = mode & ~old
        self.count += added.bit_count()
        if added & RECURSIVE:
            self._recursive += 1
        if old == 0:
            mine = self._by_connection.get(connection)
            if mine is None:
                mine = self._by_connection[connection] = {}
            mine[path] = None

    def add_watch(self, path: str, connection: int, mode: int) -> bool:
        """addWatch of the protocol: mode 0 is persistent, 1 persistent recursive; False for any other."""
        if mode not in (0, 1):
            return False
        self.add(path, connection, RECURSIVE if mode == 1 else PERSISTENT)
        return True

    def has(self, path: str, connection: int, kind: int) -> bool:
        """checkWatches: whether the connection has a watch of this WatcherType at the path."""
        return self._modes(path, connection) & _modes_of(kind) != 0

    def remove(self, path: str, connection: int, kind: int) -> bool:
        """removeWatches: take away the watches of this WatcherType; False where there are none."""
        modes = _modes_of(kind)
        if self._modes(path, connection) & modes == 0:
            return False
        self._take(path, connection, modes)
        return True

    def drop(self, connection: int) -> None:
        """Forget a closed connection."""
        self._ids.pop(connection, None)
        mine = self._by_connection.get(connection)
        if mine is not None:
            for path in list(mine):
                self._take(path, connection, DATA | CHILD | PERSISTENT | RECURSIVE)

    @property
    def path_count(self) -> int:
        """Paths that are watched."""
        return len(self._by_path)

    @property
    def connection_count(self) -> int:
        """Connections that watch something."""
        return len(self._by_connection)

    def paths_of(self, connection: int) -> list[str]:
        """The paths a connection watches, sorted."""
        return sorted(self._by_connection.get(connection, {}))

    def watching(self) -> list[int]:
        """The connections that watch something, sorted."""
        return sorted(self._by_connection)

    def _modes(self, path: str, connection: int) -> int:
        here = self._by_path.get(path)
        return 0 if here is None else here.get(connection, 0)

    def _take(self, path: str, connection: int, modes: int) -> None:
        here = self._by_path[path]
        old = here[connection]
        left = old & ~modes
        taken = old & modes
        self.count -= taken.bit_count()
        if taken & RECURSIVE:
            self._recursive -= 1
        if left:
            here[connection] = left
            return
        del here[connection]
        if not here:
            del self._by_path[path]
        mine = self._by_connection[connection]
        del mine[path]
        if not mine:
            del self._by_connection[connection]

    # Firing.

    def fired(self, changes: Sequence[tuple[int, str]], guards: Sequence[Acl] | None = None) -> list[Event]:
        """The events of one apply, in order: ``Machine.changes``, and ``Machine.guards`` to tell only who may read.

        Without guards everybody who watches is told.
        """
        events: list[Event] = []
        by_path = self._by_path
        if not by_path:
            return events
        for index in range(len(changes)):
            kind, path = changes[index]
            here = by_path.get(path)
            if here is not None or self._recursive > 0:
                self._fire(kind, path, here, None if guards is None else guards[index], events)
        return events

    def _fire(self, kind: int, path: str, here: dict[int, int] | None, guard: Acl | None, events: list[Event]) -> None:
        told: dict[int, None] = {}
        if here is not None:
            matching = _MATCHING[kind]
            used_up = _USED_UP[kind]
            for connection, modes in list(here.items()):
                if modes & matching:
                    told[connection] = None
                    if modes & used_up:
                        self._take(path, connection, used_up)
        if self._recursive > 0 and kind != CHILDREN_CHANGED:
            self._find_above(path, told)
        for connection in told:
            if guard is None or self._may_read(guard, connection):
                events.append((connection, kind, path))

    def _find_above(self, path: str, told: dict[int, None]) -> None:
        """Add who watches an ancestor of ``path`` recursively. A loop, for paths may be deep (rule-R17)."""
        cut = path.rfind("/")
        while cut >= 0 and path != "/":
            above = self._by_path.get(path[:cut] if cut > 0 else "/")
            if above is not None:
                for connection, modes in above.items():
                    if modes & RECURSIVE:
                        told[connection] = None
            cut = path.rfind("/", 0, cut) if cut > 0 else -1

    def _may_read(self, guard: Acl, connection: int) -> bool:
        return guard.everyone & READ != 0 or permits(guard, READ, self._ids.get(connection, ()))

    # After a reconnect.

    def set_watches(
        self,
        machine: Machine,
        connection: int,
        relative_zxid: int,
        data: Sequence[str],
        exist: Sequence[str],
        child: Sequence[str],
        persistent: Sequence[str] = (),
        recursive: Sequence[str] = (),
    ) -> list[tuple[int, str]]:
        """setWatches and setWatches2: the (type, path) events a client missed since ``relative_zxid``; the rest is set.

        They go out before the reply. What happened and was undone meanwhile is not seen, and persistent watches lose what
        they missed: ZooKeeper promises no more.
        """
        nodes = machine.tree.nodes
        missed: dict[tuple[int, str], None] = {}  # one event for both tables when a node is gone (zk-4)
        for path in data:
            node = nodes.get(path)
            if node is None:
                missed[DELETED, path] = None
            elif node.mzxid > relative_zxid:
                if self._may_read(node.acl, connection):
                    missed[CHANGED, path] = None
            else:
                self.add(path, connection, DATA)
        for path in exist:
            node = nodes.get(path)
            if node is None:
                self.add(path, connection, DATA)
            elif self._may_read(node.acl, connection):
                missed[CREATED, path] = None
        for path in child:
            node = nodes.get(path)
            if node is None:
                missed[DELETED, path] = None
            elif pzxid_of(node) > relative_zxid:
                if self._may_read(node.acl, connection):
                    missed[CHILDREN_CHANGED, path] = None
            else:
                self.add(path, connection, CHILD)
        for path in persistent:
            self.add(path, connection, PERSISTENT)
        for path in recursive:
            self.add(path, connection, RECURSIVE)
        return list(missed)


def _modes_of(kind: int) -> int:
    return _MODES_OF_TYPE[kind] if 0 < kind < len(_MODES_OF_TYPE) else 0
