"""The order of everything that changed, as one checker made it out: what the judges of watches and sessions build on.

It is filled in the order of zxids, once, and then asked.
"""

from bisect import bisect_right

from multipaxos.sim.znode_model import CONFIG, Change, Znodes
from multipaxos.wire.zookeeper import EVENT_CHILDREN_CHANGED, EVENT_CREATED, EVENT_DATA_CHANGED, EVENT_DELETED


class Timeline:
    """All changes by zxid."""

    __slots__ = ("_by_path", "changes", "ended", "executed", "final", "is_certain", "last", "opened", "zxids")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.zxids: list[int] = []  # of the changes beside
        self.opened: dict[int, int] = {}  # session -> zxid
        self.ended: dict[int, int] = {}
        self.executed: dict[tuple[int, int], int] = {}
        """(session, index) of requests of unknown outcome that took effect, and at which zxid."""
        self.last = 0  # highest zxid
        self.is_certain = True
        """Whether nothing had to be guessed: of several pasts that explain all replies, only one explains all events."""
        self.final: Znodes | None = None
        """The tree behind the last change, where all changes are known."""
        self._by_path: dict[str, tuple[list[int], list[int]]] = {}

    def changed(self, zxid: int, changes: list[Change]) -> None:
        """What happened at ``zxid``, in the order of events."""
        for change in changes:
            self.zxids.append(zxid)
            self.changes.append(change)
        self.last = max(self.last, zxid)

    def index(self) -> None:
        """All is in: make it quick to ask."""
        for zxid, (kind, path) in zip(self.zxids, self.changes, strict=True):
            zxids, kinds = self._by_path.setdefault(path, ([], []))
            zxids.append(zxid)
            kinds.append(kind)

    def position(self, zxid: int) -> int:
        """How many changes there are up to ``zxid``."""
        return bisect_right(self.zxids, zxid)

    def state(self, path: str, zxid: int) -> tuple[bool, int, int]:
        """Whether ``path`` exists at ``zxid``, its mzxid, and its pzxid."""
        exists = path in ("/", "/zookeeper", "/zookeeper/quota", CONFIG)
        mzxid = pzxid = 0
        zxids, kinds = self._by_path.get(path, ([], []))
        for at in range(bisect_right(zxids, zxid)):
            kind = kinds[at]
            if kind == EVENT_CREATED:
                exists, mzxid, pzxid = True, zxids[at], zxids[at]
            elif kind == EVENT_DELETED:
                exists = False
            elif kind == EVENT_DATA_CHANGED:
                mzxid = zxids[at]
            elif kind == EVENT_CHILDREN_CHANGED:
                pzxid = zxids[at]
        return exists, mzxid, pzxid
