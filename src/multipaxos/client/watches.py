"""The watches of one client: who is to be told of what, and what a new connection must be told to watch again.

The server keeps watches with the connection, so the client remembers them for it. One-shot watches vanish when they
fire; persistent ones stay until removed. Knows nothing of connections; `client.py` fills and fires it.
"""

import enum
from collections.abc import Callable
from typing import NamedTuple

from multipaxos.wire.zookeeper import (
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    EVENT_NONE,
    OP_SET_WATCHES,
    OP_SET_WATCHES2,
    encode_set_watches,
    encode_set_watches2,
)


class EventType(enum.IntEnum):
    """What a watch tells. ``SESSION_ENDED`` comes to every watch once: no event will follow."""

    SESSION_ENDED = EVENT_NONE
    CREATED = EVENT_CREATED
    DELETED = EVENT_DELETED
    DATA_CHANGED = EVENT_DATA_CHANGED
    CHILDREN_CHANGED = EVENT_CHILDREN_CHANGED


class WatchEvent(NamedTuple):
    """One event. ``zxid`` is that of the change, or -1 where the server does not say (before ZooKeeper 3.9, and for
    what
    changed while the client was not connected)."""

    type: EventType
    path: str
    zxid: int


Watcher = Callable[[WatchEvent], None]


class WatchKind(enum.Enum):
    """Which table a watch belongs to: set by get (or exists of what exists), by exists, by children, by add_watch."""

    DATA = "data"
    EXIST = "exist"
    CHILD = "child"
    PERSISTENT = "persistent"
    RECURSIVE = "recursive"


# Which one-shot tables an event empties at its path. A deletion is told to both sorts of watch (zk-4), and to a caller
# that set several at one path once.
_ONE_SHOT = {
    EVENT_CREATED: (WatchKind.DATA, WatchKind.EXIST),
    EVENT_DELETED: (WatchKind.DATA, WatchKind.EXIST, WatchKind.CHILD),
    EVENT_DATA_CHANGED: (WatchKind.DATA, WatchKind.EXIST),
    EVENT_CHILDREN_CHANGED: (WatchKind.CHILD,),
}

# setWatches must fit the server's bound of a frame; Java cuts at 128 KiB of path text as well.
_REARM_BYTES_MAX = 128 * 1024


class WatchTable:
    """Callbacks by kind and path."""

    def __init__(self) -> None:
        self._tables: dict[WatchKind, dict[str, dict[Watcher, None]]] = {kind: {} for kind in WatchKind}

    def add(self, kind: WatchKind, path: str, watcher: Watcher) -> None:
        """Remember a watch that the server has confirmed; the same callback twice at one path is one watch."""
        # A dict and not a set: callbacks are called in the order in which they were added.
        self._tables[kind].setdefault(path, {})[watcher] = None

    def discard(self, kind: WatchKind, path: str) -> bool:
        """Forget all callbacks of one kind at a path; whether there were any."""
        return self._tables[kind].pop(path, None) is not None

    def fired(self, event_type: int, path: str) -> list[Watcher]:
        """The callbacks to be told of an event; the one-shot ones among them are forgotten."""
        found: dict[Watcher, None] = {}
        for kind in _ONE_SHOT.get(event_type, ()):
            found.update(self._tables[kind].pop(path, {}))
        found.update(self._tables[WatchKind.PERSISTENT].get(path, {}))
        recursive = self._tables[WatchKind.RECURSIVE]
        if recursive and event_type != EVENT_CHILDREN_CHANGED:
            ancestor = path
            while True:
                found.update(recursive.get(ancestor, {}))
                if ancestor == "/":
                    break
                ancestor = ancestor[: ancestor.rfind("/")] or "/"
        return list(found)

    def take_all(self) -> list[tuple[Watcher, str]]:
        """Every callback with its path, for the end of the session; nothing is left."""
        everyone = [
            (watcher, path)
            for table in self._tables.values()
            for path, watchers in table.items()
            for watcher in watchers
        ]
        for table in self._tables.values():
            table.clear()
        return everyone

    def rearming(self, last_zxid: int) -> list[tuple[int, bytes]]:
        """(opcode, record) of the requests that set all watches again on a new connection."""
        has_persistent = bool(self._tables[WatchKind.PERSISTENT] or self._tables[WatchKind.RECURSIVE])
        requests: list[tuple[int, bytes]] = []
        lists: dict[WatchKind, list[str]] = {kind: [] for kind in WatchKind}
        gathered = 0
        for kind, table in self._tables.items():
            for path in table:
                lists[kind].append(path)
                gathered += len(path.encode()) + 4
                if gathered >= _REARM_BYTES_MAX:
                    requests.append(_set_watches(last_zxid, lists, has_persistent))
                    lists = {each: [] for each in WatchKind}
                    gathered = 0
        if gathered:
            requests.append(_set_watches(last_zxid, lists, has_persistent))
        return requests


def _set_watches(last_zxid: int, lists: dict[WatchKind, list[str]], has_persistent: bool) -> tuple[int, bytes]:
    data, exist, child = lists[WatchKind.DATA], lists[WatchKind.EXIST], lists[WatchKind.CHILD]
    if not has_persistent:
        # The older form is known to every server.
        return OP_SET_WATCHES, encode_set_watches(last_zxid, data, exist, child)
    persistent, recursive = lists[WatchKind.PERSISTENT], lists[WatchKind.RECURSIVE]
    return OP_SET_WATCHES2, encode_set_watches2(last_zxid, data, exist, child, persistent, recursive)
