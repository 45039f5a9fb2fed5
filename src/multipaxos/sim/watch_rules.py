"""The judge of watches: what each connection heard, against what it had asked to hear and what happened (I15).

The rules (verification plan 3.4, etcd's robustness rules mapped to ZooKeeper):

- a one-shot watch fires at most once for each time it was set, a persistent one for every change;
- type, path and zxid of an event are those of the change;
- events come in the order of zxids;
- an event comes before any reply that shows its change, and after the reply that set the watch;
- no change between setting and firing is missed, up to the last reply of the connection;
- setWatches on a new connection tells exactly what was missed, before its reply, and sets the rest again.

So for each connection everything that arrived is gone through once, with the tables a server should hold for it, and the
order of changes that the Z-checker made out (``timeline.py``). What a connection that broke had not been told yet does not
matter: its client asks again or not.
"""

from collections.abc import Iterator
from typing import Final

from multipaxos.sim.finding import Finding
from multipaxos.sim.recorded import ALIVE, Call, Delivered, History, Mark
from multipaxos.sim.timeline import Timeline
from multipaxos.sim.znode_model import Change, parent_of
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    ERR_NO_NODE,
    ERR_NO_WATCHER,
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    OP_ADD_WATCH,
    OP_CHECK_WATCHES,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_REMOVE_WATCHES,
    OP_SET_WATCHES,
    OP_SET_WATCHES2,
    WATCH_RECURSIVE,
    WATCHER_ANY,
    WATCHER_CHILDREN,
    WATCHER_DATA,
    WATCHER_PERSISTENT,
    WATCHER_RECURSIVE,
    PathType,
    decode_request,
    read_set_watches,
)

NAME: Final = "watch_rules"

DATA: Final = "data"
CHILD: Final = "child"
PERSISTENT: Final = "persistent"
RECURSIVE: Final = "recursive"

_OF_TYPE: Final[dict[int, tuple[str, ...]]] = {
    WATCHER_CHILDREN: (CHILD,),
    WATCHER_DATA: (DATA,),
    WATCHER_ANY: (DATA, CHILD, PERSISTENT, RECURSIVE),
    WATCHER_PERSISTENT: (PERSISTENT,),
    WATCHER_RECURSIVE: (RECURSIVE,),
}

Arrival = Call | Delivered | Mark


def check_watches(history: History, timeline: Timeline) -> list[Finding]:
    """All connections of a history; of each, the first thing that is wrong."""
    arrivals: dict[int, list[Arrival]] = {}
    for call in history.calls:
        if call.is_answered:
            arrivals.setdefault(call.connection, []).append(call)
    for event in history.events:
        arrivals.setdefault(event.connection, []).append(event)
    for mark in history.marks:
        if mark.kind == ALIVE:
            arrivals.setdefault(mark.connection, []).append(mark)
    findings = []
    for connection in sorted(arrivals):
        mine = arrivals[connection]
        if any(isinstance(arrival, Delivered) or _may_watch(arrival) for arrival in mine):
            mine.sort(key=lambda arrival: arrival.arrival)
            why = Connection(timeline).read(mine)
            if why:
                session = mine[0].session
                findings.append(Finding(NAME, "I15", f"session {session:#x} on connection {connection} {why}"))
    return findings


def _may_watch(arrival: Arrival) -> bool:
    return isinstance(arrival, Call) and (
        arrival.is_watching or arrival.opcode in (OP_ADD_WATCH, OP_SET_WATCHES, OP_SET_WATCHES2, OP_CHECK_WATCHES)
    )


class Connection:
    """The watches that a server should hold for one connection, and how far it has told it of changes."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._at = 0  # changes before this one are accounted for
        self._tables: dict[str, dict[str, None]] = {DATA: {}, CHILD: {}, PERSISTENT: {}, RECURSIVE: {}}
        self._made: list[Change] = []  # events of zxid -1 that no reply has explained yet

    def read(self, arrivals: list[Arrival]) -> str:
        """Go through all that arrived; what is wrong first, if anything is."""
        for arrival in arrivals:
            if isinstance(arrival, Delivered):
                why = self._event(arrival)
            elif isinstance(arrival, Mark):
                why = self._until(arrival.zxid, "an answer to a ping")
            else:
                why = self._reply(arrival)
            if why:
                return why
        return f"hears of {self._made[0][1]} out of nothing" if self._made else ""

    # Events

    def _event(self, event: Delivered) -> str:
        if event.zxid <= 0:
            self._made.append((event.kind, event.path))
            return ""
        if self._made:
            return f"hears of {event.path} between the events of setWatches and its reply"
        name = f"event {event.kind} of {event.path} at zxid {event.zxid:#x}"
        for zxid, change in self._fire():
            if (zxid, change) == (event.zxid, (event.kind, event.path)):
                return ""
            if zxid > event.zxid:
                return f"gets {name}, which it does not watch, or was told of before"
            return f"gets {name} and missed event {change[0]} of {change[1]} at zxid {zxid:#x}"
        return f"gets {name}, which it does not watch, or was told of before"

    def _fire(self) -> Iterator[tuple[int, Change]]:
        """The next event that is due, and so on."""
        timeline = self._timeline
        while self._at < len(timeline.changes):
            change = timeline.changes[self._at]
            zxid = timeline.zxids[self._at]
            self._at += 1
            if self._matches(change):
                yield zxid, change

    def _until(self, zxid: int, what: str) -> str:
        """A reply shows ``zxid``: every event up to there must have come."""
        timeline = self._timeline
        end = timeline.position(zxid)
        if not any(self._tables.values()):
            self._at = max(self._at, end)
            return ""
        while self._at < end:
            change = timeline.changes[self._at]
            at = timeline.zxids[self._at]
            self._at += 1
            if self._matches(change):
                return f"sees zxid {zxid:#x} in {what} before event {change[0]} of {change[1]} at zxid {at:#x}"
        return ""

    def _matches(self, change: Change) -> bool:
        """Whether a change is to be told, which uses up one-shot watches."""
        kind, path = change
        tables = self._tables
        if kind == EVENT_CHILDREN_CHANGED:
            is_told = path in tables[CHILD] or path in tables[PERSISTENT]
            tables[CHILD].pop(path, None)
            return is_told
        is_told = path in tables[DATA] or path in tables[PERSISTENT] or self._is_below_recursive(path)
        tables[DATA].pop(path, None)
        if kind == EVENT_DELETED:
            is_told = is_told or path in tables[CHILD]
            tables[CHILD].pop(path, None)
        return is_told

    def _is_below_recursive(self, path: str) -> bool:
        watched = self._tables[RECURSIVE]
        if not watched:
            return False
        while path not in watched:
            if path == "/":
                return False
            path = parent_of(path)
        return True

    # Replies

    def _reply(self, call: Call) -> str:
        name = f"the reply to operation {call.index}"
        if call.opcode in (OP_SET_WATCHES, OP_SET_WATCHES2):
            return self._until(call.zxid, name) or self._set_again(call)
        if self._made:
            return f"hears of {self._made[0][1]} as if by setWatches"
        why = self._until(call.zxid, name)
        if why:
            return why
        if call.is_watching:
            if call.err == 0 or (call.err == ERR_NO_NODE and call.opcode == OP_EXISTS):
                table = CHILD if call.opcode in (OP_GET_CHILDREN, OP_GET_CHILDREN2) else DATA
                self._tables[table][call.path] = None
        elif call.opcode in (OP_ADD_WATCH, OP_REMOVE_WATCHES, OP_CHECK_WATCHES):
            return self._explicit(call)
        return ""

    def _explicit(self, call: Call) -> str:
        try:
            request = decode_request(call.opcode, call.record)
        except MalformedRecord:
            return ""
        if not isinstance(request, PathType):
            return ""
        if call.opcode == OP_ADD_WATCH:
            if call.err == 0:
                self._tables[RECURSIVE if request.type == WATCH_RECURSIVE else PERSISTENT][request.path] = None
            return ""
        tables = [self._tables[name] for name in _OF_TYPE.get(request.type, ())]
        is_there = any(request.path in table for table in tables)
        if call.err != (0 if is_there else ERR_NO_WATCHER):
            return f"is answered {call.err} when it asks for a watch of {request.path}, set: {is_there}"
        if call.opcode == OP_REMOVE_WATCHES:
            for table in tables:
                table.pop(request.path, None)
        return ""

    def _set_again(self, call: Call) -> str:
        """setWatches: what was missed since ``relative_zxid``, decided as the tree stood at the reply, the rest set."""
        made, self._made = self._made, []
        if call.err != 0:
            return ""
        try:
            request, _ = read_set_watches(call.record, 0, call.opcode == OP_SET_WATCHES2)
        except MalformedRecord:
            return ""
        missed: dict[Change, None] = {}
        timeline = self._timeline
        tables = self._tables
        for path in request.data:
            exists, mzxid, _ = timeline.state(path, call.zxid)
            if not exists:
                missed[EVENT_DELETED, path] = None
            elif mzxid > request.relative_zxid:
                missed[EVENT_DATA_CHANGED, path] = None
            else:
                tables[DATA][path] = None
        for path in request.exist:
            if timeline.state(path, call.zxid)[0]:
                missed[EVENT_CREATED, path] = None
            else:
                tables[DATA][path] = None
        for path in request.child:
            exists, _, pzxid = timeline.state(path, call.zxid)
            if not exists:
                missed[EVENT_DELETED, path] = None
            elif pzxid > request.relative_zxid:
                missed[EVENT_CHILDREN_CHANGED, path] = None
            else:
                tables[CHILD][path] = None
        for path in request.persistent:
            tables[PERSISTENT][path] = None
        for path in request.recursive:
            tables[RECURSIVE][path] = None
        if made != list(missed):
            return f"is told {made} by setWatches, and had missed {list(missed)}"
        return ""
