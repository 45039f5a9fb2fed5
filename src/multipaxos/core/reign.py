"""Epoch and command time: the two clocks that are part of replicated state (rule-R12, rule-R15)."""

from multipaxos.core.ballot import NO_BALLOT, Ballot


class Reign:
    """The epoch, the ballot whose epoch decree began it, and the command time."""

    __slots__ = ("ballot", "epoch", "time_ms")

    def __init__(self) -> None:
        self.epoch = 0  # grows with each leadership; below 2**31, high half of a zxid
        self.ballot: Ballot = NO_BALLOT  # names the epoch: what a leader decides by itself carries it (rule-R13)
        self.time_ms = 0

    def begin(self, ballot: Ballot) -> bool:
        """Apply an epoch decree. False, and nothing happens, where a later leadership was noted already: the decree of
        a dead leader can be adopted above the first decree of its successor (trap-T25)."""
        if ballot < self.ballot:
            return False
        self.ballot = ballot
        self.epoch += 1
        return True

    def advance(self, wall_ms: int) -> int:
        """Command time: the leader's wall clock, but never back; a clock that ran ahead is waited for."""
        if wall_ms > self.time_ms:
            self.time_ms = wall_ms
        return self.time_ms

    def clone(self) -> "Reign":
        """An independent copy."""
        cloned = Reign()
        cloned.ballot = self.ballot
        cloned.epoch = self.epoch
        cloned.time_ms = self.time_ms
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (self.ballot, self.epoch, self.time_ms)
