"""Where in the journal a slot may stand: sparse, so that its memory is a small fixed share of the journal's.

Per group it keeps *extents*: stretches of the journal of about a quarter of a megabyte, each with the lowest and the
highest slot of a vote or learned decree in it; 32 bytes an extent, 8 KiB of memory for 64 MiB of journal. Slots need
not come in order: a slot that was accepted again at a higher ballot, or learned later, stands in several extents, and
all of them are looked at.

Knows nothing of files and of which record of a slot counts; that is ``Journal.read``.
"""

from array import array
from typing import Final

from multipaxos.core.ballot import Slot

EXTENT_BYTES: Final = 256 * 1024


class _Extents:
    """The extents of one group, in the order of the journal."""

    __slots__ = ("begins", "ends", "highest", "lowest")

    def __init__(self) -> None:
        self.begins: array[int] = array("Q")
        self.ends: array[int] = array("Q")
        self.lowest: array[int] = array("q")
        self.highest: array[int] = array("q")


class SlotIndex:
    """Filled in journal order by one thread at a time; the caller keeps readers apart from it."""

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        self._groups: dict[int, _Extents] = {}

    def add(self, group: int, lowest: Slot, highest: Slot, begin: int, end: int) -> None:
        """The journal from position ``begin`` to ``end`` holds slots between these two of ``group``."""
        extents = self._groups.get(group)
        if extents is None:
            extents = _Extents()
            self._groups[group] = extents
        if extents.begins and end - extents.begins[-1] <= EXTENT_BYTES:
            extents.ends[-1] = end
            extents.lowest[-1] = min(extents.lowest[-1], lowest)
            extents.highest[-1] = max(extents.highest[-1], highest)
            return
        extents.begins.append(begin)
        extents.ends.append(end)
        extents.lowest.append(lowest)
        extents.highest.append(highest)

    def find(self, group: int, first: Slot, last: Slot, bytes_enough: int = 0) -> tuple[Slot, list[tuple[int, int]]]:
        """Stretches (begin, end), in journal order, that hold all records of slots ``first`` to the slot returned.

        That slot is ``last``, or a smaller one, not below ``first``, when ``bytes_enough`` is set and the stretches of
        the lower slots alone reach it: a long way to catch up is then not searched whole for its first page.
        """
        extents = self._groups.get(group)
        if extents is None:
            return last, []
        lowest = extents.lowest
        highest = extents.highest
        touched = [i for i in range(len(lowest)) if lowest[i] <= last and highest[i] >= first]
        if bytes_enough:
            touched.sort(key=lambda i: lowest[i])
            taken = 0
            for count, i in enumerate(touched):
                # What comes from here on holds no slot below lowest[i]: those are complete with what was taken.
                if taken >= bytes_enough and lowest[i] > first:
                    last = lowest[i] - 1
                    touched = touched[:count]
                    break
                taken += extents.ends[i] - extents.begins[i]
            touched.sort()
        return last, [(extents.begins[i], extents.ends[i]) for i in touched]
