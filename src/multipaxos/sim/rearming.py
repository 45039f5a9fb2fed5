"""What a simulated client believes it watches, so that it can set its watches again on its next connection.

As the Java client keeps it: one-shot watches of three kinds by how they were set, persistent ones by mode. Whether the
service tells it what it should is judged elsewhere (``watch_rules.py``).
"""

from multipaxos.sim.recorded import Call
from multipaxos.wire.zookeeper import (
    ERR_NO_NODE,
    EVENT_CHILDREN_CHANGED,
    EVENT_DELETED,
    OP_ADD_WATCH,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_REMOVE_WATCHES,
    WATCH_RECURSIVE,
    encode_set_watches2,
)


class Armed:
    """The watches of one client."""

    __slots__ = ("_child", "_data", "_exist", "_persistent", "_recursive")

    def __init__(self) -> None:
        # Dicts as ordered sets.
        self._data: dict[str, None] = {}
        self._exist: dict[str, None] = {}
        self._child: dict[str, None] = {}
        self._persistent: dict[str, None] = {}
        self._recursive: dict[str, None] = {}

    def answered(self, call: Call) -> None:
        """A reply came that may have set or removed watches."""
        opcode = call.opcode
        path = call.path
        if call.err == 0 and opcode == OP_ADD_WATCH:
            (self._recursive if call.record[-1] == WATCH_RECURSIVE else self._persistent)[path] = None
        elif call.err == 0 and opcode == OP_REMOVE_WATCHES:
            for kept in (self._data, self._exist, self._child, self._persistent, self._recursive):
                kept.pop(path, None)
        elif not call.is_watching:
            return
        elif call.err == 0 and opcode in (OP_GET_CHILDREN, OP_GET_CHILDREN2):
            self._child[path] = None
        elif call.err == 0 and opcode in (OP_GET_DATA, OP_EXISTS):
            self._data[path] = None
        elif call.err == ERR_NO_NODE and opcode == OP_EXISTS:
            self._exist[path] = None

    def fired(self, kind: int, path: str) -> None:
        """An event came: the one-shot watches it uses up are gone."""
        if kind in (EVENT_DELETED, EVENT_CHILDREN_CHANGED):
            self._child.pop(path, None)
        if kind != EVENT_CHILDREN_CHANGED:
            self._data.pop(path, None)
            self._exist.pop(path, None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is watched."""
        return not (self._data or self._exist or self._child or self._persistent or self._recursive)

    def request(self, zxid: int) -> bytes:
        """The record of a setWatches2 that sets all of it again; ``zxid`` is the highest seen."""
        return encode_set_watches2(
            zxid,
            list(self._data),
            list(self._exist),
            list(self._child),
            list(self._persistent),
            list(self._recursive),
        )
