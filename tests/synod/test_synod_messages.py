"""The bytes of Basic Paxos by hand: what goes in comes out, what is no message is refused, addresses have one spelling."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.synod import messages
from multipaxos.synod.messages import (
    Accept,
    Accepted,
    Ask,
    MalformedMessage,
    Nack,
    Prepare,
    Promise,
    Refusal,
    Standing,
    address_of,
    addresses_of,
    decode,
    encode,
    set_of,
)

RUN = "00c0ffee00c0ffee"
SET = ("127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003")
ME = "00000000000000aa"

EXAMPLES = [
    Ask("colour", RUN, SET),
    Prepare("colour", RUN, SET, 0),
    Accept("colour", RUN, SET, 6, "red"),
    Accept("colour", RUN, SET, 6, ""),
    Standing("colour", RUN, ME, -1, "", -1, None),
    Standing("colour", RUN, ME, 7, RUN, 6, "red"),
    Promise("colour", RUN, ME, 6, -1, None),
    Promise("colour", RUN, ME, 6, 0, "红"),
    Accepted("colour", RUN, ME, 6),
    Nack("colour", RUN, ME, 6, 7, RUN),
    Refusal("colour", RUN, ME, messages.OTHER_SET, SET, 0),
    Refusal("colour", RUN, ME, messages.TOO_MANY_NAMES, (), 10_000),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_survives_its_bytes(message):
    assert decode(encode(message)) == message
    assert decode(memoryview(encode(message))) == message


def test_the_bytes_of_a_prepare_can_be_read():
    assert encode(Prepare("colour", RUN, SET[:1], 6)) == (
        b'{"type":"prepare","name":"colour","run":"00c0ffee00c0ffee","acceptors":["127.0.0.1:7001"],"number":6}'
    )


@given(name=st.text(min_size=1, max_size=60), value=st.text(max_size=200), number=st.integers(0, (1 << 62) - 1))
def test_any_text_and_number_survive(name, value, number):
    message = Accept(name, RUN, SET, number, value)
    if messages.name_problem(name) or messages.value_problem(value):
        with pytest.raises(MalformedMessage):
            decode(encode(message))
    else:
        assert decode(encode(message)) == message


def change(message, **fields):
    body = json.loads(encode(message))
    body.update(fields)
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"[" * 100_000,
        b"{}",
        b'{"type":"elect"}',
        b'{"type":["ask"]}',
        change(EXAMPLES[0], extra=1),
        b'{"type":"ask","name":"colour"}',
        change(EXAMPLES[0], name=""),
        change(EXAMPLES[0], name=7),
        change(EXAMPLES[0], name="x" * 256),
        change(EXAMPLES[0], name="\ud800"),
        change(EXAMPLES[0], run=RUN[:-1]),
        change(EXAMPLES[0], run=""),
        change(EXAMPLES[0], run=RUN.upper().replace("0", "A")),
        change(EXAMPLES[0], acceptors=[]),
        change(EXAMPLES[0], acceptors="127.0.0.1:7001"),
        change(EXAMPLES[0], acceptors=[SET[1], SET[0]]),
        change(EXAMPLES[0], acceptors=[SET[0], SET[0]]),
        change(EXAMPLES[0], acceptors=["nowhere"]),
        change(EXAMPLES[0], acceptors=[f"127.0.0.1:{port}" for port in range(1000, 1100)]),
        change(EXAMPLES[1], number=-1),
        change(EXAMPLES[1], number=1 << 62),
        change(EXAMPLES[1], number=True),
        change(EXAMPLES[1], number=1.0),
        change(EXAMPLES[1], number="1"),
        change(EXAMPLES[2], value=None),
        change(EXAMPLES[2], value="x" * 65_537),
        change(EXAMPLES[4], accepted=3),
        change(EXAMPLES[5], value=None),
        change(EXAMPLES[5], promised=-2),
        change(EXAMPLES[5], acceptor=""),
        change(EXAMPLES[5], accepted=8),
        change(EXAMPLES[7], accepted=6),
        change(EXAMPLES[9], promised=5),
        change(EXAMPLES[10], why="mood"),
    ],
)
def test_what_is_no_message_is_refused_by_name(body):
    with pytest.raises(MalformedMessage) as refused:
        decode(body)
    assert str(refused.value)


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_that(body):
    with contextlib.suppress(MalformedMessage):
        decode(body)


def test_addresses_have_one_spelling():
    assert address_of(" LocalHost:07001 ") == "127.0.0.1:7001"
    assert address_of("[::1]:7001") == "[::1]:7001"
    assert address_of("Acceptor-1.example:7001") == "acceptor-1.example:7001"
    for wrong in ["", "7001", "host", "host:", "host:0", "host:65536", "host:port", "::1:7001", "a b:7001", ":7001"]:
        with pytest.raises(ValueError, match="HOST:PORT"):
            address_of(wrong)


def test_order_has_no_meaning_but_is_kept_for_people():
    listed = addresses_of("127.0.0.1:7003,127.0.0.1:7001,localhost:7002")
    assert listed == (SET[2], SET[0], SET[1])
    assert set_of(listed) == set_of(SET)


def test_listed_twice_in_two_spellings_is_refused_before_anybody_is_asked():
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:7001 is listed twice"):
        addresses_of("127.0.0.1:7001,127.0.0.1:7002,localhost:7001")
    with pytest.raises(ValueError, match="at most 99"):
        addresses_of(",".join(f"127.0.0.1:{port}" for port in range(1000, 1100)))
