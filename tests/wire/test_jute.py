"""Jute primitives: what is written reads back, and no bytes do worse than MalformedRecord."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.wire import jute

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec=None), max_size=20)


@given(st.binary(max_size=5), INT32, INT64, st.booleans())
def test_numbers_read_back_at_any_position(before: bytes, small: int, large: int, flag: bool) -> None:
    data = before + jute.write_int(small) + jute.write_long(large) + jute.write_bool(flag)
    at = len(before)
    value, at = jute.read_int(data, at)
    assert value == small
    value, at = jute.read_long(data, at)
    assert value == large
    truth, at = jute.read_bool(data, at)
    assert truth is flag
    assert at == len(data)


@given(TEXT)
def test_text_reads_back_surrogates_included(text: str) -> None:
    assert jute.read_string(jute.write_string(text), 0) == (text, 4 + len(text.encode("utf-8", "surrogatepass")))


def test_null_and_empty_are_two_things() -> None:
    assert jute.write_buffer(None) == jute.NULL
    assert jute.read_buffer(jute.NULL, 0) == (None, 4)
    assert jute.read_buffer(jute.write_buffer(b""), 0) == (b"", 4)
    assert jute.read_string(jute.NULL, 0) == (None, 4)
    assert jute.read_string(jute.write_string(""), 0) == ("", 4)
    assert jute.read_strings(jute.NULL, 0) == ([], 4)


def test_javas_six_byte_astral_characters_are_let_through() -> None:
    cesu = bytes.fromhex("00000006 eda0bd edb880")
    text, at = jute.read_string(cesu, 0)
    assert text == "\ud83d\ude00"
    assert at == 10
    assert jute.write_string(text) == cesu


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", b"\0\0\0\5abcd", b"\xff\xff\xff\xfe", b"\x80\0\0\0", b"\x7f\xff\xff\xff"],
)
@pytest.mark.parametrize("read", [jute.read_buffer, jute.read_string, jute.read_strings])
def test_lengths_out_of_bounds_are_malformed(read: Callable[[bytes, int], object], data: bytes) -> None:
    with pytest.raises(jute.MalformedRecord):
        read(data, 0)


def test_text_that_is_no_utf8_is_malformed() -> None:
    with pytest.raises(jute.MalformedRecord):
        jute.read_string(b"\0\0\0\1\xff", 0)


def test_a_path_must_not_be_null() -> None:
    with pytest.raises(jute.MalformedRecord):
        jute.read_text(jute.NULL, 0)


def test_a_vector_cannot_announce_more_than_the_frame_holds() -> None:
    with pytest.raises(jute.MalformedRecord):
        jute.read_strings(b"\x00\x00\x00\x03" + jute.write_string("a") * 2, 0)
    assert jute.read_strings(jute.write_strings(["a", "", "b"]), 0)[0] == ["a", "", "b"]
