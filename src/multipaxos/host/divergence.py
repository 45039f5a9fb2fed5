"""Where two replicas differ: their journals read side by side, slot by slot.

A chosen decree never changes (I2), so wherever two replicas know a slot to be chosen, they hold the same bytes. The first
slot where they do not is named, with what each holds. At which ballot a replica holds a decree may differ: a slot can be
chosen again at a higher ballot, with the same decree.

Behind the chosen prefix of one there are its votes. Such a vote need not have been chosen; but one at the ballot another
replica holds the slot chosen at, or at a higher one, is for the chosen decree (PMMC A5; rule-R5), and two votes of one
ballot are for one decree (PMMC A4): these are compared as well.

Knows nothing of files and of what a decree does. Memory holds one slot of each replica, and the votes of those that end
first.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from multipaxos.core.ballot import Ballot, Slot
from multipaxos.core.decree import Decree
from multipaxos.host.chosen_slots import Chosen, ChosenReader
from multipaxos.storage.faults import JournalDamaged


class Side:
    """One replica in a comparison, and how far its journal was read."""

    __slots__ = ("_slots", "current", "damage", "name", "open", "reader")

    def __init__(self, name: str, reader: ChosenReader) -> None:
        self.name: Final = name
        self.reader: Final = reader
        self.current: Chosen | None = None  # the slot it stands at; None before the first and behind the last
        self.damage = ""  # why it could be read no further
        # Of a side that has ended: what it holds above its prefix (slot -> ballot, decree, whether known to be chosen).
        self.open: dict[Slot, tuple[Ballot, Decree, bool]] = {}
        self._slots: Iterator[Chosen] = reader.slots()

    def step(self) -> None:
        """Go to the next slot."""
        try:
            self.current = next(self._slots, None)
        except JournalDamaged as error:
            self.damage = str(error)
            self.current = None
        if self.current is None:
            self.open = {slot: (ballot, decree, known) for slot, ballot, decree, known in self.reader.open_votes()}

    @property
    def prefix(self) -> Slot:
        """The highest slot it was compared in, or could have been."""
        return self.reader.prefix


class Held:
    """What one replica holds in the slot where they differ."""

    __slots__ = ("ballot", "decree", "how", "name")

    def __init__(self, name: str, ballot: Ballot, decree: Decree | None, how: str) -> None:
        self.name: Final = name
        self.ballot: Final = ballot
        self.decree: Final = decree  # None where it is missing
        self.how: Final = how  # learned, voted (and chosen), vote (not known there to be chosen) or missing


class Comparison:
    """What came out: ``slot`` is the first slot that differs, 0 where nothing does."""

    __slots__ = ("compared_up_to", "held", "sides", "slot")

    def __init__(self, sides: Sequence[Side]) -> None:
        self.sides: Final = sides
        self.slot: Slot = 0
        self.held: list[Held] = []
        self.compared_up_to: Slot = (
            0  # the highest slot that two or more hold as chosen, with nothing different up to it
        )


def compare(
    readers: Sequence[tuple[str, ChosenReader]], watch: Callable[[Slot], None] = lambda slot: None
) -> Comparison:
    """Read the journals side by side up to the first slot that differs, or to their ends.

    ``watch`` hears of each slot. Damage ends one side and stands in its ``damage``; other errors of reading are raised.
    """
    sides = [Side(name, reader) for name, reader in readers]
    whole = Comparison(sides)
    for side in sides:
        side.step()
    slot = 0
    while any(side.current is not None for side in sides):
        slot += 1
        watch(slot)
        held = [_held(side, slot) for side in sides]
        there = [one for one in held if one is not None]
        if _is_different(there):
            whole.slot, whole.held = slot, there
            return whole
        if sum(1 for side in sides if side.current is not None) > 1:
            whole.compared_up_to = slot
        for side in sides:
            if side.current is not None:
                side.step()
    # Beyond all prefixes: votes that may or may not be chosen, but never two for one ballot.
    for slot in sorted({slot for side in sides for slot in side.open if slot > max(one.prefix for one in sides)}):
        there = [one for one in (_held(side, slot) for side in sides) if one is not None]
        if _is_different(there):
            whole.slot, whole.held = slot, there
            return whole
    return whole


def _held(side: Side, slot: Slot) -> Held | None:
    """What a side holds in a slot, as far as it was read; None where it holds nothing."""
    chosen = side.current
    if chosen is not None:
        how = "missing" if chosen.decree is None else "learned" if chosen.is_learned else "voted"
        return Held(side.name, chosen.ballot, chosen.decree, how)
    if slot not in side.open:
        return None
    ballot, decree, is_known = side.open[slot]
    return Held(side.name, ballot, decree, "learned" if is_known else "vote")


def _is_different(there: Sequence[Held]) -> bool:
    """Whether two of them cannot both be right."""
    if any(one.how == "missing" for one in there):
        return True
    chosen = [one for one in there if one.how != "vote"]
    if len({one.decree for one in chosen}) > 1:
        return True
    votes = [one for one in there if one.how == "vote"]
    for vote in votes:
        if chosen and vote.ballot >= min(one.ballot for one in chosen) and vote.decree != chosen[0].decree:
            return True
        if any(other.ballot == vote.ballot and other.decree != vote.decree for other in votes):
            return True
    return False


def first_difference(one: Decree, other: Decree) -> int:
    """The offset of the first byte that differs, or of the end of the shorter one; -1 where they are equal."""
    if one == other:
        return -1
    for offset, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return offset
    return min(len(one), len(other))
