"""Order and once: the stream of commands each gateway numbers, as apply sees it (rule-R8).

ZooKeeper clients have no request ids across connections, so the replica that owns the connection numbers all it
forwards, in one stream: (replica, incarnation, start, serial). This table is replicated state: every replica takes the
same commands and skips the same repeats.
"""

from typing import Final

from multipaxos.core.ballot import ReplicaId

OTHER_START: Final = -1
"""A stream of the same incarnation that began with another start: a data directory that runs twice."""


class Streams:
    """Per replica: the incarnation and start of its stream, and the last serial applied."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[ReplicaId, tuple[int, int, int]] = {}

    def skip(self, origin: ReplicaId, incarnation: int, start: int, first_serial: int, count: int) -> int:
        """How many leading commands of a segment are not to be executed: 0 for a segment that is all news, ``count`` for
        a repeat, for one behind a gap or of an older incarnation; OTHER_START where the stream is refused for its start.

        A gap is refused without consuming a serial, so the missing commands can still come first (trap-T6).
        """
        last = self._last.get(origin)
        next_serial = 1
        if last is not None and incarnation <= last[0]:
            if incarnation < last[0]:
                return count
            if start != last[1]:
                return OTHER_START
            next_serial = last[2] + 1
        if first_serial > next_serial:
            return count
        return min(next_serial - first_serial, count)

    def take(self, origin: ReplicaId, incarnation: int, start: int, last_serial: int) -> None:
        """Note that the stream has been applied up to ``last_serial``."""
        self._last[origin] = (incarnation, start, last_serial)

    def last(self, origin: ReplicaId) -> tuple[int, int, int] | None:
        """Incarnation, start and last applied serial of a replica's stream."""
        return self._last.get(origin)

    def copy(self) -> "Streams":
        """An independent copy: the leader's own table runs ahead of the applied one."""
        copied = Streams()
        copied._last = dict(self._last)
        return copied

    def items(self) -> list[tuple[ReplicaId, tuple[int, int, int]]]:
        """All streams, by replica, for digests."""
        return sorted(self._last.items())

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return tuple(self.items())
