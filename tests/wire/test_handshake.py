"""Who is let in, who is not, and whether the reason says what to do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    PROTOCOL_VERSION,
    Hello,
    Refusal,
    Welcome,
    admit,
    decode_handshake,
    encode_handshake,
)
from multipaxos.wire.peer import MalformedMessage

BORN = "0123456789abcdef0123456789abcdef"
LIST = "aaaabbbbccccddddaaaabbbbccccdddd"
ONE = Hello(PROTOCOL_VERSION, BORN, LIST, 1, 0x11, 4, 0)
TWO = Hello(PROTOCOL_VERSION, BORN, LIST, 2, 0x22, 7, 0)
HELLOS = st.builds(
    Hello,
    st.just(PROTOCOL_VERSION),
    st.text(max_size=40),
    st.text(max_size=40),
    st.integers(0, 65535),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


@given(HELLOS)
def test_round_trip(hello: Hello) -> None:
    assert decode_handshake(encode_handshake(hello)) == hello
    assert decode_handshake(encode_handshake(Welcome(hello))) == Welcome(hello)
    assert len(encode_handshake(hello)) < HANDSHAKE_BYTES_MAX


@given(st.text(max_size=3000))
def test_a_refusal_is_cut_where_a_character_ends(reason: str) -> None:
    data = encode_handshake(Refusal(reason))
    assert len(data) < HANDSHAKE_BYTES_MAX
    decoded = decode_handshake(data)
    assert isinstance(decoded, Refusal)
    assert reason.startswith(decoded.reason)
    if len(reason.encode()) <= 1000:
        assert decoded.reason == reason


@given(st.one_of(HELLOS, HELLOS.map(Welcome), st.builds(Refusal, st.text(max_size=20))))
def test_cut_short_at_each_byte(message: Hello | Welcome | Refusal) -> None:
    data = encode_handshake(message)
    for end in range(len(data)):
        with pytest.raises(MalformedMessage):
            decode_handshake(data[:end])
    with pytest.raises(MalformedMessage):
        decode_handshake(data + b"x")


@given(st.integers(0, 255), st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(kind: int, data: bytes) -> None:
    for prefix in (bytes((kind,)), bytes((kind, 0, PROTOCOL_VERSION))):
        try:
            decode_handshake(prefix + data)
        except MalformedMessage:
            continue


def test_golden_bytes() -> None:
    assert encode_handshake(replace(TWO, cluster="c", list_digest="ll", group=5)).hex() == (
        "80" + "0001" + "0002" + "0000000000000022" + "00000007" + "00000005" + "0001" + "63" + "0002" + "6c6c"
    )
    assert encode_handshake(Refusal("no")).hex() == "82" + "0002" + "6e6f"


def test_of_another_version_only_the_version_is_read() -> None:
    for kind in (128, 129):
        decoded = decode_handshake(bytes((kind, 0, 9)) + b"what version 9 says here")
        hello = decoded.hello if isinstance(decoded, Welcome) else decoded
        assert isinstance(hello, Hello) and hello.version == 9
        assert "speaks version 1 of the peer protocol, the other side version 9" in admit(ONE, hello, 0)


def test_let_in() -> None:
    assert admit(ONE, TWO, 0x22) == ""
    assert admit(ONE, TWO, 0x22, seen_incarnation=7) == ""
    unborn = replace(ONE, cluster="")
    assert admit(unborn, replace(TWO, cluster=""), 0) == ""
    # In the middle of a birth: the one that has not learned slot 1 yet goes by its list.
    assert admit(unborn, TWO, 0) == ""
    assert admit(ONE, replace(TWO, cluster=""), 0x22) == ""
    # Once born, what the file says no more matters: the list is where to look, never who votes (rule-R7).
    assert admit(ONE, replace(TWO, list_digest="other"), 0x22) == ""


def test_another_cluster_is_refused() -> None:
    reason = admit(ONE, replace(TWO, cluster="f" * 32), 0x22)
    assert BORN in reason and "f" * 32 in reason


def test_another_list_is_refused_while_one_of_both_is_unborn() -> None:
    for mine, theirs in (("", ""), (BORN, ""), ("", BORN)):
        reason = admit(replace(ONE, cluster=mine), replace(TWO, cluster=theirs, list_digest="dddd"), 0)
        assert "dddd" in reason and LIST in reason


def test_another_ledger_is_refused() -> None:
    assert "ledger 3" in admit(ONE, replace(TWO, group=3), 0x22)


def test_ones_own_id_and_unknown_ids_are_refused() -> None:
    assert "both sides are started as replica 1" in admit(ONE, replace(TWO, replica=1), 0x22)
    assert "replica 2 is no member" in admit(ONE, TWO, None)


def test_an_emptied_directory_is_refused_with_the_command_to_type() -> None:
    """rule-R40: a fresh directory under a registered id; whether it has heard of the cluster since or not."""
    for cluster in ("", BORN):
        reason = admit(ONE, replace(TWO, cluster=cluster, mark=0x99), 0x22)
        assert "emptied or replaced" in reason
        assert "A lost or damaged disk" in reason
        assert "0000000000000099" in reason and "0000000000000022" in reason


def test_an_older_incarnation_is_refused() -> None:
    """rule-R41: an older copy of the directory, put back, or two copies that run."""
    reason = admit(ONE, TWO, 0x22, seen_incarnation=8)
    assert "incarnation 7" in reason and "seen 8" in reason and "A lost or damaged disk" in reason
