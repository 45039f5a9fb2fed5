"""Frames: cut anywhere, put together again; damaged anywhere, refused; never more kept than one."""

import random

import pytest
from google_crc32c import value
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.wire.frame import (
    BODY_AT,
    BODY_BYTES_MAX,
    HEADER_BYTES,
    MAGIC,
    FrameError,
    FrameParser,
    encode_frame,
)

FRAMES = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=200)), min_size=1, max_size=6
)


def taken(parser: FrameParser, *reads: bytes) -> list[tuple[int, int, bytes]]:
    """Group, sequence and body of what comes out of these reads."""
    found = []
    for read in reads:
        for group, sequence, covered in parser.feed(read):
            assert type(covered) is bytes
            found.append((group, sequence, covered[BODY_AT:]))
    return found


def test_golden_bytes() -> None:
    frame = encode_frame(7, 258, b"body")
    head = b"\x00\x00\x00\x04" + b"\x00\x00\x00\x07" + b"\x00\x00\x00\x00\x00\x00\x01\x02"
    covered = value(head).to_bytes(4, "big") + head + b"body"
    assert frame == b"mpx\x02" + value(covered).to_bytes(4, "big") + covered
    assert (
        frame.hex() == "6d707802" + "94a60f8e" + "b4c15de4" + "00000004" + "00000007" + "0000000000000102" + "626f6479"
    )


@given(FRAMES)
def test_one_read(frames: list[tuple[int, int, bytes]]) -> None:
    assert taken(FrameParser(), b"".join(encode_frame(*frame) for frame in frames)) == frames


@given(FRAMES, st.integers(1, 60), st.randoms(use_true_random=False))
def test_any_reads(frames: list[tuple[int, int, bytes]], longest: int, drawn: random.Random) -> None:
    data = b"".join(encode_frame(*frame) for frame in frames)
    parser = FrameParser()
    found = []
    at = 0
    while at < len(data):
        size = drawn.randint(1, longest)
        found += taken(parser, data[at : at + size])
        at += size
        assert parser.held_bytes < HEADER_BYTES + 200
    assert found == frames
    assert parser.held_bytes == 0


def test_byte_by_byte() -> None:
    frames = [(0, 1, b""), (3, 2, b"x"), (0, 3, b"abc" * 50)]
    data = b"".join(encode_frame(*frame) for frame in frames)
    assert taken(FrameParser(), *[data[at : at + 1] for at in range(len(data))]) == frames


def test_an_empty_read_changes_nothing() -> None:
    parser = FrameParser()
    frame = encode_frame(0, 1, b"body")
    assert taken(parser, b"", frame[:3], b"", frame[3:30], b"", frame[30:], b"") == [(0, 1, b"body")]


def test_every_flipped_bit_is_found() -> None:
    frame = encode_frame(0, 9, b"a body that matters")
    for at in range(len(frame)):
        for bit in range(8):
            bad = bytearray(frame)
            bad[at] ^= 1 << bit
            for cut in (0, 1, HEADER_BYTES, len(frame) - 1):
                parser = FrameParser()
                with pytest.raises(FrameError):
                    parser.feed(bytes(bad[:cut]))
                    parser.feed(bytes(bad[cut:]))


def test_a_wrong_length_takes_in_nothing_that_follows() -> None:
    """Found by torture: a replica was deaf to a peer until megabytes of later frames had passed as one body."""
    frame = encode_frame(0, 1, b"x" * 40)
    longer = bytearray(frame)
    longer[HEADER_BYTES - 15] |= 0x80  # eight million more bytes, below the bound
    for cut in range(HEADER_BYTES, len(frame)):
        parser = FrameParser()
        with pytest.raises(FrameError, match="checksum of a header"):
            parser.feed(bytes(longer[:cut]))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_random_bytes_raise_nothing_else(data: bytes, cut: int) -> None:
    parser = FrameParser(100)
    for prefix in (b"", MAGIC):
        try:
            parser.feed(prefix + data[:cut])
            parser.feed(data[cut:])
        except FrameError:
            parser = FrameParser(100)


def test_a_long_frame_is_refused_by_its_header_alone() -> None:
    limit = 1000
    fits = encode_frame(0, 1, bytes(limit))
    assert taken(FrameParser(limit), fits) == [(0, 1, bytes(limit))]
    header = encode_frame(0, 1, bytes(limit + 1))[:HEADER_BYTES]
    for cut in range(HEADER_BYTES):
        parser = FrameParser(limit)
        assert parser.feed(header[:cut]) == []
        with pytest.raises(FrameError, match="1001 bytes"):
            parser.feed(header[cut:])
    with pytest.raises(FrameError):
        encode_frame(0, 1, bytes(BODY_BYTES_MAX + 1))


def test_the_longest_frame_in_small_reads_is_not_copied_again_and_again() -> None:
    body = random.Random(1).randbytes(BODY_BYTES_MAX)
    data = memoryview(encode_frame(0, 1, body))
    parser = FrameParser()
    found = []
    for at in range(0, len(data), 4096):  # quadratic copying would move 32 GB here
        found += parser.feed(bytes(data[at : at + 4096]))
    assert len(found) == 1 and found[0][2][BODY_AT:] == body
    assert parser.held_bytes == 0


def test_another_protocol_is_named() -> None:
    with pytest.raises(FrameError, match="no frame begins with 47455420"):
        FrameParser().feed(b"GET / HTTP/1.1\r\nHost: replica\r\n\r\n")
