"""Order and once (rule-R8), against a twin that remembers every command it ever saw."""

from hypothesis import given
from hypothesis import strategies as st

from multipaxos.core.decree import commands_of, encode_batch, encode_segment, segments_of
from multipaxos.core.forwarding import Forwarding
from multipaxos.core.streams import OTHER_START, Streams


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 5)), max_size=40))
def test_each_serial_runs_once_and_in_order(segments: list[tuple[int, int, int]]) -> None:
    streams = Streams()
    ran: dict[int, list[int]] = {1: [], 2: []}
    for origin, first, count in segments:
        skipped = streams.skip(origin, 1, 77, first, count)
        assert 0 <= skipped <= count
        twin = ran[origin]
        next_serial = len(twin) + 1
        offered = list(range(first, first + count))
        expected = offered[offered.index(next_serial) :] if next_serial in offered else []
        assert offered[skipped:] == expected
        if expected:
            streams.take(origin, 1, 77, expected[-1])
            twin.extend(expected)
    for serials in ran.values():
        assert serials == list(range(1, len(serials) + 1))


def test_a_gap_consumes_nothing() -> None:
    # gap-then-resend: 5 arrives without 4; then 4, then 5 again.
    streams = Streams()
    streams.take(1, 1, 9, 3)
    assert streams.skip(1, 1, 9, 5, 1) == 1
    assert streams.skip(1, 1, 9, 4, 1) == 0
    streams.take(1, 1, 9, 4)
    assert streams.skip(1, 1, 9, 5, 1) == 0


def test_incarnations_and_starts() -> None:
    streams = Streams()
    streams.take(1, 4, 9, 30)
    assert streams.skip(1, 3, 9, 31, 2) == 2  # an older incarnation
    assert streams.skip(1, 4, 8, 31, 2) == OTHER_START  # the same one, started twice
    assert streams.skip(1, 5, 7, 1, 2) == 0  # a new one begins at 1
    assert streams.skip(1, 5, 7, 2, 2) == 2  # and nowhere else


def test_forwarding_keeps_until_applied_and_sends_again() -> None:
    forwarding = Forwarding(3, 1, 99)
    forwarding.submit((b"a", b"b"), 1000, 1 << 20)
    forwarding.close_segment()
    forwarding.submit((b"c",), 1000, 1 << 20)
    forwarding.close_segment()
    first = forwarding.take_unsent()
    assert [segments_of(encode_batch(0, [s]))[0][3:5] for s in first] == [(1, 2), (3, 1)]
    assert forwarding.take_unsent() == []
    forwarding.resend_all()
    assert forwarding.take_unsent() == first
    assert not forwarding.applied(1)  # half a segment: kept whole
    assert forwarding.applied(2)
    forwarding.resend_all()
    assert forwarding.take_unsent() == first[1:]
    assert forwarding.applied(3)
    assert forwarding.unapplied_bytes == 0 and not forwarding.is_waiting


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 7), st.integers(1, 120))
def test_segments_hold_every_command_in_order(commands: list[bytes], commands_max: int, bytes_max: int) -> None:
    forwarding = Forwarding(3, 1, 99)
    forwarding.submit(tuple(commands), commands_max, bytes_max)
    forwarding.close_segment()
    found: list[bytes] = []
    serial = 1
    decree = encode_batch(5, forwarding.take_unsent())
    for origin, incarnation, start, first, count, begin, end in segments_of(decree):
        assert (origin, incarnation, start, first) == (3, 1, 99, serial)
        assert count <= commands_max
        found.extend(commands_of(decree, begin, end))
        serial += count
    assert found == commands


def test_a_segment_of_one_command() -> None:
    segment = encode_segment(7, 2, 5, 11, [b"x"])
    decree = encode_batch(1, [segment, segment])
    assert [s[:5] for s in segments_of(decree)] == [(7, 2, 5, 11, 1)] * 2
