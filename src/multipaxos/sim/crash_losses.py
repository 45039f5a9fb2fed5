"""All that a crash can leave of one disk: sectors and names kept or lost, writes torn at a byte, writes cut by a kill.

Of what was written since the last sync a power loss keeps any subset, sector by sector and name by name. Units that make
no difference whether they are kept (zeros on zeros) are not counted twice, and of several that only make a file longer
the furthest decides; so the number of states is that of different outcomes, and few points have more than the bound.

Knows nothing of journals.
"""

import itertools
import math
from collections.abc import Iterator
from random import Random

from multipaxos.sim.blocks import BlockDisk, Inode

Unit = tuple[str, Inode | None, tuple[object, ...]]


class Losses:
    """What a power loss can leave of ``disk``, as it is now."""

    def __init__(self, disk: BlockDisk) -> None:
        self._disk = disk
        self._units: list[Unit] = disk.units()
        self._choices, self._silent = _choices(self._units)
        self.count = math.prod(len(choice) for choice in self._choices)

    def states(self, bound: int, samples: int, seed: int) -> Iterator[tuple[str, BlockDisk]]:
        """Every different outcome, with how it came about; where there are more than 2 ** ``bound``, the telling ones
        (nothing kept, all kept, each prefix, each unit alone and each missing) and ``samples`` at random."""
        if self.count <= 1 << bound:
            for chosen in itertools.product(*self._choices):
                yield self._kept([index for some in chosen for index in some])
            return
        everything = [index for choice in self._choices for some in choice for index in some]
        yield self._kept([])
        yield self._kept(everything)
        for index in everything:
            yield self._kept([other for other in everything if other <= index])
            yield self._kept([index])
            yield self._kept([other for other in everything if other != index])
        random = Random(seed)
        for _ in range(samples):
            yield self._kept([index for choice in self._choices for index in random.choice(choice)])

    def _kept(self, indexes: list[int]) -> tuple[str, BlockDisk]:
        kept = frozenset(indexes)
        silent = self._silent
        text = f"power lost, of {len(self._units)} unsynced units kept {sorted(kept)}"
        return text, self._disk.lose_power(lambda unit: unit in kept or unit in silent)

    def torn(self, every: int) -> Iterator[tuple[str, BlockDisk]]:
        """Each sector that was under way torn at each ``every``-th byte: what follows it lost, or all else arrived, or
        all else arrived and its first part alone is missing. Inside a run of one byte all tears are alike: one is made."""
        if every == 0:
            return
        last = len(self._units)
        for index, (kind, inode, unit) in enumerate(self._units):
            if kind != "data" or inode is None or index in self._silent:
                continue
            offset, data = unit
            assert isinstance(offset, int) and isinstance(data, bytes)
            if offset < 0 or _is_overlapped(self._units, index):
                continue
            for size in _tears(data, every):
                for text, others in (("what follows it lost", range(index)), ("all else kept", range(last))):
                    after = self._disk.lose_power(
                        lambda unit, others=others, index=index: unit in others or unit == index,  # type: ignore[misc]
                        lambda unit, size=size, index=index: size if unit == index else -1,  # type: ignore[misc]
                    )
                    yield f"power lost, unit {index} torn after {size} bytes, {text}", after
                after = self._disk.lose_power(lambda unit, index=index: unit != index)  # type: ignore[misc]
                for found in after.files.values():
                    if found.number == inode.number:
                        found.apply((offset + size, data[size:]), found.durable)
                        found.cached = bytearray(found.durable)
                yield f"power lost, the first {size} bytes of unit {index} lost, all else kept", after

    def half_written(self) -> Iterator[tuple[str, BlockDisk]]:
        """The process is killed inside the write made last: of its sectors the first ones reached the page cache."""
        if not self._disk.written:
            return
        name, offset, size = self._disk.written[-1]
        inode = self._disk.files.get(name)
        if inode is None:
            return
        count = 0
        while count < len(inode.pending) and offset <= inode.pending[-1 - count][0] < offset + size:
            count += 1
        for missing in range(1, count + 1):
            after = self._disk.copy()
            twin = after.files[name]
            del twin.pending[-missing:]
            twin.cached = bytearray(twin.durable)
            for unit in twin.pending:
                twin.apply(unit, twin.cached)
            yield f"killed inside a write to {name}, its last {missing} of {count} sectors not made", after


def _choices(units: list[Unit]) -> tuple[list[list[tuple[int, ...]]], frozenset[int]]:
    """The alternatives of which each state takes one of each list; and the units that never make a difference."""
    choices: list[list[tuple[int, ...]]] = []
    silent: list[int] = []
    growing: dict[int, list[tuple[int, int]]] = {}  # inode -> (end, unit) of zeros behind its end
    for index, (kind, inode, unit) in enumerate(units):
        if kind == "data" and inode is not None and not _is_alone(units, index):
            choices.append([(), (index,)])
            continue
        if kind == "data" and inode is not None:
            offset, data = unit
            assert isinstance(offset, int) and isinstance(data, bytes)
            end = offset + len(data)
            there = inode.durable[offset:end]
            if there == data:
                silent.append(index)
                continue
            if not any(data) and not any(there):
                growing.setdefault(inode.number, []).append((end, index))
                continue
        choices.append([(), (index,)])
    for group in growing.values():
        choices.append([(), *[(index,) for _, index in sorted(group)]])
    return choices, frozenset(silent)


def _span(unit: Unit) -> tuple[int, int]:
    """First byte and end of a piece of data; a cut touches all."""
    offset, data = unit[2][0], unit[2][1]
    assert isinstance(offset, int) and isinstance(data, bytes)
    return (0, 1 << 62) if offset < 0 else (offset, offset + len(data))


def _touches(one: Unit, other: Unit) -> bool:
    if other[0] != "data" or other[1] is not one[1]:
        return False
    first, end = _span(one)
    other_first, other_end = _span(other)
    return first < other_end and other_first < end


def _is_alone(units: list[Unit], index: int) -> bool:
    """Whether no other unit writes what this one writes."""
    return not any(at != index and _touches(units[index], other) for at, other in enumerate(units))


def _is_overlapped(units: list[Unit], index: int) -> bool:
    """Whether a later unit writes over it."""
    return any(_touches(units[index], other) for other in units[index + 1 :])


def _tears(data: bytes, every: int) -> Iterator[int]:
    for size in range(1, len(data)):
        if size % every and every > 1:
            continue
        around = data[max(0, size - 8) : size + 8]
        if around.count(around[0]) == len(around) and len(around) == 16:
            continue
        yield size
