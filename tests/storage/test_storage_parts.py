"""The small parts of the journal beside slow obvious twins: record search, runs of votes, the slot index."""

import random

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.sim.blocks import BlockDisk
from multipaxos.storage.index import EXTENT_BYTES, SlotIndex
from multipaxos.storage.record import (
    HEADER_BYTES,
    KEPT,
    MAGIC_BYTES,
    READ_BYTES,
    UnreadableRecord,
    encode,
    read_one,
    scan,
    search,
    seed_of,
)
from multipaxos.storage.seal import Section, Tally, coalesced, decode_seal, encode_seal, without
from multipaxos.storage.segment import segment_name, segment_number

SEED = seed_of(77)


def test_the_checksum_runs_in_c() -> None:
    assert google_crc32c.implementation == "c"


def row_of(bodies: list[bytes], position: int = 0) -> bytes:
    data = b""
    for body in bodies:
        data += encode(SEED, KEPT, position + len(data), body)
    return data


def file_with(data: bytes) -> "BlockDisk":
    disk = BlockDisk()
    disk.create("f").write(0, [data])
    return disk


def test_scan_reads_a_row_over_the_borders_of_its_pieces() -> None:
    bodies = [b"a" * size for size in (0, 1, READ_BYTES - 130, 5, READ_BYTES, READ_BYTES * 2 + 1, 9)]
    data = row_of(bodies, 1000)
    file = file_with(data + bytes(500)).open("f")
    found = list(scan(file, SEED, 0, 1000, len(data) + 500))
    assert [f[7] for f in found] == bodies
    assert found[-1][1] == 1000 + len(data)
    assert list(scan(file, SEED, 0, 1001, len(data))) == [], "another position"
    assert list(scan(file, SEED + 1, 0, 1000, len(data))) == [], "another directory"
    assert len(list(scan(file, SEED, 0, 1000, len(data) - 1))) == len(bodies) - 1


def test_search_finds_what_stands_behind_any_bad_place() -> None:
    source = random.Random(1)
    for _ in range(60):
        bodies = [source.randbytes(source.randrange(80)) + MAGIC_BYTES * source.randrange(3) for _ in range(8)]
        data = bytearray(row_of(bodies))
        ends = [0]
        for body in bodies:
            ends.append(ends[-1] + HEADER_BYTES + len(body))
        bad = source.randrange(8)
        data[source.randrange(ends[bad], ends[bad + 1])] ^= 0x10
        file = file_with(bytes(data) + bytes(5000)).open("f")
        assert [f[7] for f in search(file, SEED, 0, 0, len(data) + 5000)] == bodies[:bad] + bodies[bad + 1 :]
        assert [f[7] for f in search(file, SEED, 0, None, len(data))] == bodies[:bad] + bodies[bad + 1 :]


def test_search_finds_a_magic_across_the_border_of_two_pieces() -> None:
    for gap in range(4096 - HEADER_BYTES, 4096 + 8):
        data = bytes(gap) + encode(SEED, KEPT, gap, b"here")
        file = file_with(data).open("f")
        assert [f[7] for f in search(file, SEED, 0, 0, len(data))] == [b"here"]


def test_read_one_takes_no_record_that_is_cut_or_elsewhere() -> None:
    data = row_of([b"abc"])
    file = file_with(data).open("f")
    assert read_one(file, SEED, 0, 0, len(data)) is not None
    assert read_one(file, SEED, 0, 7, len(data)) is None
    assert read_one(file, SEED, 0, 0, len(data) - 1) is None
    assert read_one(file, SEED, 3, 0, len(data)) is None


VOTES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(-1, 3)), max_size=60)


def spelled(runs: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int]]:
    return [(group, slot, ballot) for group, first, last, ballot in runs for slot in range(first, last + 1)]


@given(VOTES)
def test_a_tally_names_every_vote_once_in_order(votes: list[tuple[int, int, int]]) -> None:
    tally = Tally()
    for group, slot, ballot in votes:
        tally.vote(group, slot, ballot)
    assert spelled(tally.runs()) == votes
    for group in {group for group, _, _ in votes}:
        slots = [slot for of_group, slot, _ in votes if of_group == group]
        assert tally.reach[group] == [min(slots), max(slots)]


@given(VOTES, VOTES)
def test_runs_without_votes_are_the_difference(
    votes: list[tuple[int, int, int]], gone: list[tuple[int, int, int]]
) -> None:
    tally = Tally()
    for group, slot, ballot in votes:
        tally.vote(group, slot, ballot)
    assert set(spelled(coalesced(tally.runs()))) == set(votes)
    assert len(spelled(coalesced(tally.runs()))) == len(set(votes))
    assert set(spelled(without(tally.runs(), set(gone)))) == set(votes) - set(gone)


def test_ordinary_votes_make_one_run() -> None:
    tally = Tally()
    for slot in range(5, 1000):
        tally.vote(0, slot, 65537)
    assert tally.runs() == [(0, 5, 999, 65537)]


def test_a_seal_comes_back_as_it_was_and_nothing_else_is_a_seal() -> None:
    one = Section(10, 20, [(0, 65537), (3, -1)], [(0, 1, 2, 65537)])
    two = Section(20, 99, [], [])
    body = encode_seal(two.encode(), one.encode())
    assert [(s.start, s.end, s.promises, s.runs) for s in decode_seal(body)] == [
        (20, 99, [], []),
        (10, 20, [(0, 65537), (3, -1)], [(0, 1, 2, 65537)]),
    ]
    assert len(decode_seal(encode_seal(two.encode(), b""))) == 1
    for cut in range(len(body)):
        with pytest.raises(UnreadableRecord):
            decode_seal(body[:cut])
    with pytest.raises(UnreadableRecord):
        decode_seal(body + b"\0")


@given(st.integers(1, 40), st.integers(0, 1 << 32), st.booleans())
def test_the_index_leaves_no_record_out(steps: int, seed: int, is_bounded: bool) -> None:
    source = random.Random(seed)
    index = SlotIndex()
    twin: list[tuple[int, int, int]] = []  # group, slot, position
    position = 0
    for _ in range(steps):
        group = source.randrange(2)
        slots = [source.randrange(30) for _ in range(source.randrange(1, 4))]
        size = source.choice([100, EXTENT_BYTES // 3, EXTENT_BYTES * 2])
        index.add(group, min(slots), max(slots), position, position + size)
        twin.extend((group, slot, position) for slot in slots)
        position += size
    first = source.randrange(30)
    last = source.randrange(first, 30)
    for group in (0, 1, 2):
        reached, stretches = index.find(group, first, last, EXTENT_BYTES if is_bounded else 0)
        assert first <= reached <= last
        assert is_bounded or reached == last
        assert stretches == sorted(stretches)
        for of_group, slot, at in twin:
            if of_group == group and first <= slot <= reached:
                assert any(begin <= at < end for begin, end in stretches)


def test_the_index_stays_small() -> None:
    """Bounded memory: a journal of 64 MiB in small records makes a few hundred extents."""
    index = SlotIndex()
    for slot in range(65536):
        index.add(0, slot, slot, slot * 1024, slot * 1024 + 1024)
    assert len(index.find(0, 0, 1 << 40)[1]) <= 257
    assert len(index.find(0, 30000, 30010)[1]) <= 2


def test_segment_names() -> None:
    assert segment_number(segment_name(0xBEEF)) == 0xBEEF
    for name in (
        "spare",
        "mark",
        "000000000000beef",
        "beef.segment",
        "000000000000BEEF.segment",
        "000000000000bexf.segment",
    ):
        assert segment_number(name) == 0
