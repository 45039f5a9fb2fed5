"""The slots known to be chosen: what was learned, how far without a gap, how far applied, what memory still holds.

Votes are not here but in ``acceptor.py``: learning never rewrites a vote (rule-R5). Decrees far below the applied slot
leave memory and are read back from the journal when a laggard asks for them. At which ballot each was chosen stays: a reign
takes one entry. So who voted for a decree can be told that it was chosen even when the disk has lost it here.
"""

from bisect import bisect_right
from operator import itemgetter
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, Ballot, Slot
from multipaxos.core.decree import Decree

ENTRY_BYTES: Final = 200
"""What a slot takes in memory besides its decree; of small decrees it is the greater part."""


class Ledger:
    """Chosen decrees by slot, each with a ballot it was chosen at."""

    __slots__ = ("_bytes", "_decrees", "_forgotten", "applied", "base", "chosen_prefix")

    def __init__(self) -> None:
        self.chosen_prefix: Slot = 0  # I9: this slot and all below are learned; never falls
        self.applied: Slot = 0  # I7: handed to the state machine, in order, each once; <= chosen_prefix
        self.base: Slot = 0  # decrees up to here are no longer in memory; <= applied
        self._decrees: dict[Slot, tuple[Ballot, Decree]] = {}
        self._forgotten: list[tuple[Slot, Slot, Ballot]] = []  # (first, last, ballot), ascending; ends at base
        self._bytes = 0

    def is_learned(self, slot: Slot) -> bool:
        """Whether the decree of ``slot`` is known here to be chosen."""
        return slot <= self.chosen_prefix or slot in self._decrees

    def learn(self, slot: Slot, ballot: Ballot, decree: Decree) -> None:
        """Take in a chosen decree, and move the chosen prefix over all that now lies without a gap."""
        if self.is_learned(slot):
            known = self._decrees.get(slot)
            assert known is None or known[1] == decree, "I2: one chosen decree per slot, for ever"
            return
        self._decrees[slot] = (ballot, decree)
        self._bytes += len(decree) + ENTRY_BYTES
        while self.chosen_prefix + 1 in self._decrees:
            self.chosen_prefix += 1

    def chosen_at(self, slot: Slot) -> Ballot:
        """A ballot ``slot`` was chosen at, or NO_BALLOT where memory does not say."""
        known = self._decrees.get(slot)
        if known is not None:
            return known[0]
        at = bisect_right(self._forgotten, slot, key=itemgetter(0)) - 1
        if at >= 0 and slot <= self._forgotten[at][1]:
            return self._forgotten[at][2]
        return NO_BALLOT

    def decree(self, slot: Slot) -> Decree:
        """The chosen decree of a slot that memory still holds."""
        return self._decrees[slot][1]

    def learned_above_prefix(self) -> list[Slot]:
        """Slots learned beyond the first gap, ascending."""
        return sorted(slot for slot in self._decrees if slot > self.chosen_prefix)

    def trim(self, bytes_max: int, runs_max: int) -> None:
        """Forget the oldest applied decrees until at most ``bytes_max`` bytes stay in memory, and at which ballot they were
        chosen until at most ``runs_max`` runs of them stay."""
        while self._bytes > bytes_max and self.base < self.applied:
            self.base += 1
            ballot, decree = self._decrees.pop(self.base)
            self._bytes -= len(decree) + ENTRY_BYTES
            if self._forgotten and self._forgotten[-1][2] == ballot:
                self._forgotten[-1] = (self._forgotten[-1][0], self.base, ballot)
            else:
                self._forgotten.append((self.base, self.base, ballot))
        if len(self._forgotten) > runs_max:
            del self._forgotten[: len(self._forgotten) - runs_max]

    def clone(self) -> "Ledger":
        """An independent copy."""
        cloned = Ledger()
        cloned.chosen_prefix = self.chosen_prefix
        cloned.applied = self.applied
        cloned.base = self.base
        cloned._decrees = self._decrees.copy()
        cloned._forgotten = self._forgotten.copy()
        cloned._bytes = self._bytes
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        decrees = tuple(sorted(self._decrees.items()))
        return (self.chosen_prefix, self.applied, self.base, tuple(self._forgotten), decrees)
