"""Percentiles against sorting, within the 1.6 % the buckets promise."""

import random

from hypothesis import given
from hypothesis import strategies as st

from multipaxos.bench.histogram import Histogram


@given(st.lists(st.tuples(st.integers(0, 1 << 43), st.integers(1, 5)), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_sorted_values(values: list[tuple[int, int]]) -> None:
    histogram = Histogram()
    expanded: list[int] = []
    for value, count in values:
        histogram.add(value, count)
        expanded += [value] * count
    expanded.sort()
    assert histogram.total == len(expanded)
    assert histogram.largest == expanded[-1]
    for thousandths in (1, 500, 990, 999, 1000):
        exact = expanded[max(1, -(-thousandths * len(expanded) // 1000)) - 1]
        found = histogram.percentile(thousandths / 1000)
        assert exact <= found <= exact + exact // 64 + 1


def test_what_is_out_of_range_is_counted_at_the_ends() -> None:
    histogram = Histogram()
    histogram.add(-5, 1)
    histogram.add(1 << 60, 1)
    assert histogram.percentile(0.5) == 0
    assert histogram.percentile(1.0) <= 1 << 60
    assert histogram.total == 2


def test_nothing_counted() -> None:
    assert Histogram().percentile(0.99) == 0


def test_uniform_values() -> None:
    histogram = Histogram()
    drawn = random.Random(1)
    for _ in range(100_000):
        histogram.add(drawn.randrange(1_000_000), 1)
    assert abs(histogram.percentile(0.99) - 990_000) < 20_000
