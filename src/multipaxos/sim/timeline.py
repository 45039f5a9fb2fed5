"""The order of everything that changed, as one checker made it out: what the judges of watches and sessions build on.

It is filled in the order of zxids, once, and then asked.
"""

from bisect import bisect_right

from multipaxos.sim.znode_model import BUILT_IN, Change, Znodes
from multipaxos.wire.zookeeper import EVENT_CHILDREN_CHANGED, EVENT_CREATED, EVENT_DATA_CHANGED, EVENT_DELETED

_State = tuple[bool, int, int]
"""Whether a znode exists, its mzxid, its pzxid."""


class Timeline:
    """All changes by zxid."""

    __slots__ = ("_by_path", "changes", "ended", "executed", "final", "is_certain", "zxids")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.zxids: list[int] = []  # of the changes beside
        self.ended: dict[int, int] = {}  # session -> zxid
        self.executed: dict[tuple[int, int], int] = {}
        """(session, index) of requests of unknown outcome that took effect, and at which zxid."""
        self.is_certain = True
        """Whether nothing had to be guessed: of several pasts that explain all replies, only one explains all events."""
        self.final: Znodes | None = None
        """The tree behind the last change, where all changes are known."""
        self._by_path: dict[str, tuple[list[int], list[_State]]] = {}

    def changed(self, zxid: int, changes: list[Change]) -> None:
        """What happened at ``zxid``, in the order of events."""
        for change in changes:
            self.zxids.append(zxid)
            self.changes.append(change)

    def index(self) -> None:
        """All is in: make it quick to ask."""
        for zxid, (kind, path) in zip(self.zxids, self.changes, strict=True):
            zxids, states = self._by_path.setdefault(path, ([], []))
            exists, mzxid, pzxid = states[-1] if states else (path in BUILT_IN, 0, 0)
            if kind == EVENT_CREATED:
                exists, mzxid, pzxid = True, zxid, zxid
            elif kind == EVENT_DELETED:
                exists = False
            elif kind == EVENT_DATA_CHANGED:
                mzxid = zxid
            elif kind == EVENT_CHILDREN_CHANGED:
                pzxid = zxid
            zxids.append(zxid)
            states.append((exists, mzxid, pzxid))

    def position(self, zxid: int) -> int:
        """How many changes there are up to ``zxid``."""
        return bisect_right(self.zxids, zxid)

    def state(self, path: str, zxid: int) -> tuple[bool, int, int]:
        """Whether ``path`` exists at ``zxid``, its mzxid, and its pzxid."""
        zxids, states = self._by_path.get(path, ([], []))
        at = bisect_right(zxids, zxid)
        return states[at - 1] if at else (path in BUILT_IN, 0, 0)
