"""What became of one path, slot by slot: when it was created, set, deleted, and by which commands.

Looked at is the state behind each slot, not the words of commands: so a sequential name, an operation inside a multi and
an ephemeral that went with its session are found alike, and a command that was refused is not.

Knows nothing of journals. Several changes within one slot are told as one, with what is there behind it.
"""

from dataclasses import dataclass
from typing import Final

from multipaxos.coordination.tree import Znode
from multipaxos.core.ballot import Slot
from multipaxos.host.replay import Replay

_Trace = tuple[int, int, int, int]
"""czxid, mzxid, version, aversion: one of them moves with every change but those of the children"""


@dataclass(frozen=True, slots=True)
class Change:
    """One slot changed what stands at the path."""

    slot: Slot
    time_ms: int  # command time
    word: str  # created, set, access list set, deleted, or made anew
    data: bytes | None  # behind the slot; None for null, and where nothing stands there
    version: int  # 0 where nothing stands there; /zookeeper/config always has -1
    session: int  # of the ephemeral that is there, or was there before; 0 for none


class PathHistory:
    """Asked after each slot of a replay, from the first on."""

    __slots__ = ("_before", "_path", "_session")

    def __init__(self, path: str) -> None:
        self._path: Final = path
        self._session = 0
        self._before = _trace(Replay().znode(path))  # some are built in

    def look(self, replay: Replay) -> Change | None:
        """What the slot that was applied last did to the path; None where nothing."""
        node = replay.znode(self._path)
        now = _trace(node)
        before = self._before
        if now == before:
            return None
        self._before = now
        was_of = self._session
        self._session = node.owner if node is not None and node.is_ephemeral else 0
        if node is None or now is None:
            return Change(replay.slot, replay.time_ms, "deleted", None, 0, was_of)
        if before is None:
            word = "created"
        elif before[0] != now[0]:
            word = "made anew"
        else:
            word = "set" if before[1] != now[1] else "access list set"
        return Change(replay.slot, replay.time_ms, word, node.data, node.version, self._session)


def _trace(node: Znode | None) -> _Trace | None:
    return None if node is None else (node.czxid, node.mzxid, node.version, node.aversion)
