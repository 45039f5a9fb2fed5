"""Latencies counted in buckets that grow with the value, so that every request is counted and none is kept.

Values below 128 have a bucket each; above, every doubling is cut into 64, so a percentile is right to 1.6 %. Knows
nothing of requests; `load.py` feeds it.
"""

_SUB_BITS = 6  # 64 buckets for each doubling
_LINEAR = 1 << (_SUB_BITS + 1)
_BITS_MAX = 44  # 2**44 ns is almost five hours: longer than any request lives
_LENGTH = ((_BITS_MAX - _SUB_BITS - 1) << _SUB_BITS) + _LINEAR


class Histogram:
    """Counts of integers (nanoseconds here)."""

    __slots__ = ("buckets", "largest", "total")

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * _LENGTH
        self.total = 0
        self.largest = 0

    def add(self, value: int, count: int) -> None:
        """Count ``value`` as many times as ``count`` says: replies that came in one read have one latency."""
        if value < _LINEAR:
            index = value if value > 0 else 0
        else:
            shift = value.bit_length() - _SUB_BITS - 1
            index = (shift << _SUB_BITS) + (value >> shift)
            if index >= _LENGTH:
                index = _LENGTH - 1
        self.buckets[index] += count
        self.total += count
        if value > self.largest:
            self.largest = value

    def percentile(self, share: float) -> int:
        """The value that ``share`` (0.99 for p99) of all values do not exceed; 0 when nothing was counted."""
        if self.total == 0:
            return 0
        # Rounded up: of 10 values the p99 is the tenth, not the ninth.
        wanted = max(1, -int(-share * self.total // 1))
        seen = 0
        for index, count in enumerate(self.buckets):
            seen += count
            if seen >= wanted:
                return min(_highest_in(index), self.largest)
        return self.largest


def _highest_in(index: int) -> int:
    """The largest value that falls into bucket ``index``."""
    if index < _LINEAR:
        return index
    shift = (index >> _SUB_BITS) - 1
    return ((index - (shift << _SUB_BITS) + 1) << shift) - 1
