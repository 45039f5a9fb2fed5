"""The gateway's end of its stream: what it numbered and has not yet seen applied (rule-R8).

Everything is kept until it is applied here, so that whatever a broken link or a dead leader swallowed can be sent
again, in order. Apply decides what is a repeat (``streams.py``).
"""

from collections import deque

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId
from multipaxos.core.decree import encode_segment


class Forwarding:
    """Numbers commands, keeps them until applied, and knows what the present leader was not yet sent."""

    __slots__ = (
        "_gathered", "_gathered_bytes", "_kept", "_unsent", "addressed", "incarnation", "next_serial", "origin",
        "progress_at", "start", "unapplied_bytes",
    )  # fmt: skip

    def __init__(self, origin: ReplicaId, incarnation: int, start: int) -> None:
        self.origin = origin
        self.incarnation = incarnation
        self.start = start
        self.next_serial = 1
        self.addressed: Ballot = NO_BALLOT  # the leadership that was sent what is not in _unsent
        self.progress_at = 0  # when something was last applied, or all sent again; 0 while nothing is under way
        self.unapplied_bytes = 0
        self._gathered: list[bytes] = []  # of this turn, not yet made into a segment
        self._gathered_bytes = 0
        self._kept: deque[tuple[int, bytes]] = deque()  # (last serial, segment), oldest first
        self._unsent: deque[bytes] = deque()

    def submit(self, commands: tuple[bytes, ...], commands_max: int, bytes_max: int) -> None:
        """Number ``commands``. Segments are closed at the bounds of a batch, so that one always fits a decree."""
        for command in commands:
            if self._gathered and (
                len(self._gathered) >= commands_max or self._gathered_bytes + len(command) > bytes_max
            ):
                self.close_segment()
            self._gathered.append(command)
            self._gathered_bytes += len(command)
            self.next_serial += 1

    def close_segment(self) -> None:
        """Make what was gathered into one segment."""
        if not self._gathered:
            return
        count = len(self._gathered)
        segment = encode_segment(self.origin, self.incarnation, self.start, self.next_serial - count, self._gathered)
        self._kept.append((self.next_serial - 1, segment))
        self._unsent.append(segment)
        self.unapplied_bytes += len(segment)
        self._gathered = []
        self._gathered_bytes = 0

    def resend_all(self) -> None:
        """Whatever was sent may be lost: all that is not applied goes out again, in order."""
        self._unsent = deque(segment for _, segment in self._kept)

    def take_unsent(self) -> list[bytes]:
        """The segments the present leader has not been sent yet, in order."""
        taken = list(self._unsent)
        self._unsent.clear()
        return taken

    def applied(self, serial: int) -> bool:
        """Serials up to ``serial`` are applied here and need not be kept; True where that is news. Apply goes in order,
        so what was never sent cannot be applied, and ``_unsent`` is untouched but for repeats, which apply skips."""
        is_news = False
        while self._kept and self._kept[0][0] <= serial:
            _, segment = self._kept.popleft()
            is_news = True
            self.unapplied_bytes -= len(segment)
            if self._unsent and self._unsent[0] is segment:
                self._unsent.popleft()
        return is_news

    @property
    def is_waiting(self) -> bool:
        """Whether something numbered is not yet applied."""
        return bool(self._kept)

    @property
    def has_unsent(self) -> bool:
        """Whether the present leader was not yet sent all."""
        return bool(self._unsent)

    def clone(self) -> "Forwarding":
        """An independent copy."""
        cloned = Forwarding(self.origin, self.incarnation, self.start)
        cloned.next_serial = self.next_serial
        cloned.addressed = self.addressed
        cloned.progress_at = self.progress_at
        cloned.unapplied_bytes = self.unapplied_bytes
        cloned._gathered = self._gathered.copy()
        cloned._gathered_bytes = self._gathered_bytes
        cloned._kept = self._kept.copy()
        cloned._unsent = self._unsent.copy()
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (
            self.origin,
            self.incarnation,
            self.start,
            self.next_serial,
            self.addressed,
            self.progress_at != 0,
            tuple(self._gathered),
            tuple(self._kept),
            tuple(self._unsent),
        )
