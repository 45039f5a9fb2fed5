"""Durations: how they were spread over the last minute, and since the start, in a few list writes each.

A duration falls into one of eight steps of its octave (its power of two), so a quantile read from here is at most an
eighth above the true one, and never below it. The last minute is kept in slices of ten seconds, of which the oldest is
dropped when a new one begins; what is dropped goes on counting in the octaves since the start, which is what Prometheus
wants. Nothing here reads a clock: whoever owns the samples says when a slice ends.

Written and read on one thread, the loop's. Knows nothing of what is measured.
"""

from dataclasses import dataclass
from typing import Final

SLICE_S: Final = 10
SLICES: Final = 6
"""The last minute: five whole slices and the one that is being filled."""

OCTAVES: Final = 44
"""Up to 2**44 ns, almost five hours; what is longer counts as that."""

_STEPS: Final = 8
_LONGEST_NS: Final = (1 << OCTAVES) - 1
MILLISECOND_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Minute:
    """How the durations of the last minute were spread, in milliseconds."""

    p50: float
    p99: float
    max: float
    count: int


@dataclass(frozen=True, slots=True)
class Octaves:
    """All durations since the start: how many were below 2**n nanoseconds for each n, how many in all, and their sum."""

    below: tuple[int, ...]
    count: int
    total_ns: int


class _Slice:
    __slots__ = ("counts", "max_ns")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}  # step -> how many
        self.max_ns = 0


class Samples:
    """Durations of one kind."""

    __slots__ = ("_dropped", "_slice", "_slices", "count", "total_ns")

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self._dropped = [0] * (OCTAVES + 1)  # by octave: those whose slice is gone
        self._slice = _Slice()
        self._slices = [self._slice]  # oldest first

    def note(self, duration_ns: int) -> None:
        """Count one duration. The hot path."""
        # Below 8 ns a step is one nanosecond; above, the three bits after the leading one say which.
        shift = duration_ns.bit_length() - 4
        if shift > 0:
            step = (shift << 3) + (duration_ns >> shift) if duration_ns <= _LONGEST_NS else _step_of(_LONGEST_NS)
        else:
            step = duration_ns if duration_ns > 0 else 0
        held = self._slice
        counts = held.counts
        counts[step] = counts.get(step, 0) + 1
        if duration_ns > held.max_ns:
            held.max_ns = duration_ns
        self.count += 1
        self.total_ns += duration_ns

    def next_slice(self) -> None:
        """Ten seconds are over."""
        if len(self._slices) == SLICES:
            for step, count in self._slices.pop(0).counts.items():
                self._dropped[_octave_of(step)] += count
        self._slice = _Slice()
        self._slices.append(self._slice)

    def minute(self) -> Minute | None:
        """The last minute; None where it brought nothing."""
        counts: dict[int, int] = {}
        max_ns = 0
        for held in self._slices:
            max_ns = max(max_ns, held.max_ns)
            for step, count in held.counts.items():
                counts[step] = counts.get(step, 0) + count
        total = sum(counts.values())
        if not total:
            return None
        steps = sorted(counts)
        return Minute(
            _ms(min(_quantile_ns(steps, counts, total, 50), max_ns)),
            _ms(min(_quantile_ns(steps, counts, total, 99), max_ns)),
            _ms(max_ns),
            total,
        )

    def octaves(self) -> Octaves:
        """All since the start."""
        found = list(self._dropped)
        for held in self._slices:
            for step, count in held.counts.items():
                found[_octave_of(step)] += count
        below: list[int] = []
        so_far = 0
        for count in found:
            so_far += count
            below.append(so_far)
        return Octaves(tuple(below), self.count, self.total_ns)


def _step_of(duration_ns: int) -> int:
    shift = max(duration_ns.bit_length() - 4, 0)
    return (shift << 3) + (duration_ns >> shift)


def _octave_of(step: int) -> int:
    """n, where 2**(n-1) <= duration < 2**n: the bit length of all durations of this step."""
    if step < _STEPS:
        return step.bit_length()
    return (step >> 3) + 3


def _last_ns(step: int) -> int:
    """The longest duration of a step."""
    if step < 2 * _STEPS:
        return step
    shift = (step >> 3) - 1
    return ((step - (shift << 3) + 1) << shift) - 1


def _quantile_ns(steps: list[int], counts: dict[int, int], total: int, percent: int) -> int:
    """The least duration that so many of a hundred do not exceed."""
    wanted = -(-total * percent // 100)
    so_far = 0
    for step in steps:
        so_far += counts[step]
        if so_far >= wanted:
            break
    return _last_ns(step)


def _ms(duration_ns: int) -> float:
    return round(duration_ns / MILLISECOND_NS, 3)
