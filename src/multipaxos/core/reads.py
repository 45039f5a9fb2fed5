"""Linearizable reads as the replica that answers them sees it (rule-R19).

A read asks the leader for a read slot, which a quorum round begun after the read arrived must confirm; it is answered
here once that slot is applied. At the leader itself the asking is a function call (``replica.py``).
"""

from multipaxos.core.ballot import NO_BALLOT, Ballot, Slot


class Reads:
    """Tokens of local reads, from arrival to readable."""

    __slots__ = ("_asked", "_number", "_ready", "asked_at", "asked_ballot", "waiting")

    def __init__(self, incarnation: int) -> None:
        self.waiting: list[int] = []  # not yet asked for
        self.asked_ballot: Ballot = NO_BALLOT
        self.asked_at = 0  # when the oldest open query was sent; 0 for none
        # An answer to a query of an earlier start must not confirm a read of this one: its round is older than the read.
        self._number = incarnation << 32
        self._asked: dict[int, tuple[int, list[int]]] = {}  # query -> when it was sent, its tokens; oldest first
        self._ready: list[tuple[Slot, int]] = []  # (read slot, token), waiting for apply

    def ask(self, ballot: Ballot, now: int) -> int:
        """One query for all that wait; its number. The leader counts a query as arrived when it receives it."""
        self._number += 1
        self._asked[self._number] = (now, self.waiting)
        self.waiting = []
        self.asked_ballot = ballot
        if self.asked_at == 0:
            self.asked_at = now
        return self._number

    def ask_again(self) -> None:
        """Whatever was asked may be lost, or its leader gone: back to the beginning."""
        for number in sorted(self._asked):
            self.waiting.extend(self._asked[number][1])
        self._asked.clear()
        self.asked_at = 0

    def answer(self, number: int, slot: Slot) -> None:
        """The leader's answer to one query."""
        asked = self._asked.pop(number, None)
        if asked is not None:
            self._ready.extend([(slot, token) for token in asked[1]])
        self.asked_at = 0
        for at, _ in self._asked.values():
            self.asked_at = at
            break

    def confirmed(self, slot: Slot, token: int) -> None:
        """A local read at the leader, confirmed by its round."""
        self._ready.append((slot, token))

    def take_readable(self, applied: Slot) -> list[int]:
        """Tokens whose read slot is applied."""
        if not self._ready:
            return []
        readable = [token for slot, token in self._ready if slot <= applied]
        self._ready = [(slot, token) for slot, token in self._ready if slot > applied]
        return readable

    @property
    def is_asking(self) -> bool:
        """Whether a query is open."""
        return bool(self._asked)

    def clone(self) -> "Reads":
        """An independent copy."""
        cloned = Reads(0)
        cloned.waiting = self.waiting.copy()
        cloned.asked_ballot = self.asked_ballot
        cloned.asked_at = self.asked_at
        cloned._number = self._number
        cloned._asked = {number: (at, tokens.copy()) for number, (at, tokens) in self._asked.items()}
        cloned._ready = self._ready.copy()
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (
            tuple(self.waiting),
            self.asked_ballot,
            self.asked_at != 0,
            self._number,
            tuple([(number, tuple(tokens)) for number, (_, tokens) in self._asked.items()]),
            tuple(self._ready),
        )
