"""Peer messages: every type there and back, cut short at each byte, and bytes that no replica sends."""

import dataclasses
import json
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.decree import NOOP, encode_batch, encode_configuration, encode_epoch, encode_segment
from multipaxos.core.membership import Configuration, Member
from multipaxos.core.messages import (
    Accept,
    Accepted,
    CampaignNow,
    Echo,
    Fetch,
    Forward,
    Heartbeat,
    Inquire,
    Inquired,
    Learn,
    Nack,
    Prefix,
    Prepare,
    Probe,
    ProbeAnswer,
    Promise,
    PValue,
    ReadAnswer,
    ReadQuery,
    Settled,
)
from multipaxos.wire.peer import MalformedMessage, PeerMessage, decode, encode
from multipaxos.wire.report import Report, ReportAck

TOP = 2**63 - 1
SENDERS = st.integers(1, 65535)
NATURALS = st.one_of(st.integers(0, 300), st.integers(0, TOP), st.just(TOP))
SLOTS = st.one_of(st.integers(1, 300), st.integers(1, TOP))
BALLOTS = st.builds(ballot_of, st.one_of(st.integers(0, 50), st.integers(0, 2**47 - 1)), st.integers(0, 65535))
OPTIONAL_BALLOTS = st.one_of(st.just(NO_BALLOT), BALLOTS)
ROUNDS = st.one_of(st.integers(0, 50), st.integers(0, 2**47 - 1))
COMMANDS = st.lists(st.binary(max_size=40), min_size=1, max_size=4)
SEGMENTS = st.builds(encode_segment, SENDERS, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), NATURALS, COMMANDS)
MEMBERS = (Member(1, "a:7181", "a:2181", 2**64 - 1, True), Member(9, "b:7181", "", 0, False))
CONFIGURATIONS = st.sampled_from(
    [Configuration(1, MEMBERS[:1], 64, ""), Configuration(7, MEMBERS, 4, "0123456789abcdef")]
)
WALLS = st.integers(-(2**63), TOP)
DECREES = st.one_of(
    st.just(NOOP),
    st.builds(encode_batch, WALLS, st.lists(SEGMENTS, max_size=3)),
    st.builds(encode_epoch, WALLS, BALLOTS),
    st.builds(lambda wall, configuration: encode_configuration(wall, configuration.encode()), WALLS, CONFIGURATIONS),
)


@st.composite
def own(draw: st.DrawFn) -> tuple[int, int]:
    """A sender and a ballot of its class."""
    sender = draw(SENDERS)
    return sender, ballot_of(draw(ROUNDS), sender)


@st.composite
def promises(draw: st.DrawFn) -> Promise:
    slots = sorted(draw(st.sets(SLOTS, max_size=4)))
    pvalues = tuple(PValue(draw(BALLOTS), slot, draw(DECREES)) for slot in slots)
    page_first = draw(st.integers(0, slots[0])) if slots else draw(NATURALS)
    page_last = draw(st.integers(slots[-1], TOP)) if slots else draw(NATURALS)
    return Promise(
        draw(SENDERS), draw(st.integers(0, 2**64 - 1)), draw(BALLOTS), draw(NATURALS), page_first, page_last,
        draw(NATURALS), draw(NATURALS), pvalues,
    )  # fmt: skip


@st.composite
def forwards(draw: st.DrawFn) -> Forward:
    sender = draw(SENDERS)
    return Forward(sender, draw(BALLOTS), encode_segment(sender, 3, 4, draw(NATURALS), draw(COMMANDS)))


@st.composite
def fetches(draw: st.DrawFn) -> Fetch:
    ends = sorted(draw(st.sets(SLOTS, max_size=8)))
    runs = [(ends[at], ends[at + 1], draw(BALLOTS)) for at in range(0, len(ends) - 1, 2)]
    return Fetch(draw(SENDERS), draw(SLOTS), draw(NATURALS), tuple(runs))


MESSAGES: dict[type, st.SearchStrategy[PeerMessage]] = {
    Accept: st.builds(lambda o, s, d, p: Accept(*o, s, d, p), own(), SLOTS, DECREES, NATURALS),
    Accepted: st.builds(Accepted, SENDERS, BALLOTS, SLOTS),
    Prefix: st.builds(lambda o, p: Prefix(*o, p), own(), NATURALS),
    Forward: forwards(),
    Heartbeat: st.builds(
        lambda o, n, p, c, d: Heartbeat(*o, n, p, c, d), own(), NATURALS, NATURALS, st.booleans(), NATURALS
    ),
    Echo: st.builds(Echo, SENDERS, BALLOTS, NATURALS, OPTIONAL_BALLOTS, NATURALS, NATURALS, NATURALS),
    Prepare: st.builds(lambda o, f, p, h: Prepare(*o, f, p, h), own(), SLOTS, NATURALS, OPTIONAL_BALLOTS),
    Promise: promises(),
    Nack: st.builds(Nack, SENDERS, BALLOTS, OPTIONAL_BALLOTS, NATURALS, OPTIONAL_BALLOTS),
    Settled: st.builds(Settled, SENDERS, BALLOTS, SLOTS, OPTIONAL_BALLOTS, NATURALS),
    Probe: st.builds(Probe, SENDERS, NATURALS, OPTIONAL_BALLOTS, NATURALS),
    ProbeAnswer: st.builds(
        ProbeAnswer, SENDERS, NATURALS, st.booleans(), OPTIONAL_BALLOTS, OPTIONAL_BALLOTS, NATURALS
    ),
    Inquire: st.builds(Inquire, SENDERS, BALLOTS),
    Inquired: st.builds(Inquired, SENDERS, BALLOTS, st.booleans()),
    CampaignNow: st.builds(lambda o, n: CampaignNow(*o, n), own(), NATURALS),
    Fetch: fetches(),
    Learn: st.builds(
        Learn, SENDERS, st.lists(st.tuples(SLOTS, BALLOTS, st.none() | DECREES), max_size=4).map(tuple), NATURALS
    ),
    ReadQuery: st.builds(ReadQuery, SENDERS, BALLOTS, NATURALS),
    ReadAnswer: st.builds(ReadAnswer, SENDERS, BALLOTS, NATURALS, NATURALS),
    Report: st.builds(
        Report, SENDERS, BALLOTS, NATURALS, NATURALS,
        st.lists(st.tuples(st.integers(-(2**63), TOP), NATURALS), max_size=4).map(tuple),
    ),
    ReportAck: st.builds(
        ReportAck, SENDERS, BALLOTS, NATURALS, st.booleans(), st.lists(st.integers(-(2**63), TOP), max_size=4).map(tuple)
    ),
}  # fmt: skip
ANY = st.one_of(*MESSAGES.values())


def there_and_back(message: PeerMessage) -> PeerMessage:
    data = encode(message)
    return decode(data, 0, len(data))


def refused(message: PeerMessage) -> str:
    """Encodes what no replica sends; the reason for which it is refused."""
    with pytest.raises(MalformedMessage) as caught:
        there_and_back(message)
    return str(caught.value)


def test_no_type_is_left_out() -> None:
    assert set(MESSAGES) == set(get_args(PeerMessage))


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(MESSAGES[kind], st.binary(max_size=9), st.binary(max_size=9))
    def check(message: PeerMessage, before: bytes, behind: bytes) -> None:
        data = encode(message)
        decoded = decode(before + data + behind, len(before), len(before) + len(data))
        assert decoded == message
        assert type(decoded) is kind
        for field in dataclasses.fields(decoded):
            assert type(getattr(decoded, field.name)) is type(getattr(message, field.name))

    check()


@settings(max_examples=100, deadline=None)
@given(ANY)
def test_cut_short_at_each_byte(message: PeerMessage) -> None:
    data = encode(message)
    for end in range(len(data)):
        with pytest.raises(MalformedMessage):
            decode(data, 0, end)
        with pytest.raises(MalformedMessage):
            decode(data[:end], 0, len(data))


@settings(max_examples=100, deadline=None)
@given(ANY, st.binary(min_size=1, max_size=3))
def test_bytes_behind_are_refused_or_part_of_it(message: PeerMessage, behind: bytes) -> None:
    data = encode(message) + behind
    with pytest.raises(MalformedMessage):
        decode(data, 0, len(data))


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 30), st.binary(max_size=120))
def test_random_bytes_raise_nothing_else(kind: int, data: bytes) -> None:
    data = bytes((kind,)) + data
    try:
        message = decode(data, 0, len(data))
    except MalformedMessage:
        return
    assert encode(message) == data


@settings(max_examples=300, deadline=None)
@given(ANY, st.data())
def test_damaged_bytes_raise_nothing_else(message: PeerMessage, choice: st.DataObject) -> None:
    data = bytearray(encode(message))
    for _ in range(choice.draw(st.integers(1, 3))):
        data[choice.draw(st.integers(0, len(data) - 1))] = choice.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(data), 0, len(data))
    except MalformedMessage:
        return
    assert encode(decoded) == bytes(data)


def test_golden_bytes() -> None:
    ballot = ballot_of(9, 3)
    assert encode(Accept(3, ballot, 7, NOOP, 5)).hex() == (
        "01" + "0003" + "0000000000090003" + "0000000000000007" + "0000000000000005" + "00"
    )
    assert encode(Accepted(2, ballot, 7)).hex() == "02" + "0002" + "0000000000090003" + "0000000000000007"
    assert encode(Nack(2, ballot, NO_BALLOT, 0, 5)).hex() == (
        "0d" + "0002" + "0000000000090003" + "ffffffffffffffff" + "0000000000000000" + "0000000000000005"
    )
    assert encode(Learn(1, ((7, 5, None), (8, 6, NOOP)), 8)).hex() == (
        "15" + "0001" + "0000000000000008" + "00000002"
        + "0000000000000007" + "0000000000000005" + "00000000"
        + "0000000000000008" + "0000000000000006" + "00000001" + "00"
    )  # fmt: skip


def test_a_ballot_of_another_class_is_refused() -> None:
    """rule-R1: only its owner prepares, proposes or leads at a ballot."""
    foreign = ballot_of(9, 2)
    for message in (
        Accept(3, foreign, 7, NOOP, 5),
        Prepare(3, foreign, 7, 6, NO_BALLOT),
        Prefix(3, foreign, 6),
        Heartbeat(3, foreign, 1, 6, True, 0),
        CampaignNow(3, foreign, 1),
    ):
        assert "not of replica 3" in refused(message)
    # Minus one leaves the remainder 65535: "no ballot" must not pass for a ballot of replica 65535.
    assert "not of replica 65535" in refused(Prepare(65535, NO_BALLOT, 7, 6, NO_BALLOT))
    assert "not of replica 65535" in refused(Accept(65535, NO_BALLOT, 7, NOOP, 6))


def test_numbers_out_of_range_are_refused() -> None:
    ballot = ballot_of(9, 3)
    for message in (
        Accept(3, ballot, 0, NOOP, 5),
        Accept(3, ballot, 7, NOOP, -1),
        Accepted(3, -1, 7),
        Accepted(3, ballot, 0),
        Prefix(3, ballot, -1),
        Heartbeat(3, ballot, 1, 1, True, -1),
        Echo(3, ballot, 1, -2, 1, 1, 0),
        Nack(3, ballot, -2, 1, NO_BALLOT),
        Settled(3, ballot, 0, NO_BALLOT, 1),
        Probe(3, 1, -2, 1),
        Prepare(3, ballot, 0, 1, NO_BALLOT),
        Fetch(3, 0, 9, ()),
        Fetch(3, 1, 9, ((3, 5, ballot), (5, 6, ballot))),
        Fetch(3, 1, 9, ((5, 4, ballot),)),
        Fetch(3, 1, 9, ((5, 6, NO_BALLOT),)),
        Learn(3, ((0, ballot, None),), 9),
        Learn(3, ((1, NO_BALLOT, None),), 9),
        Report(3, ballot, 1, 1, ((5, -1),)),
    ):
        refused(message)


def test_pages_of_a_promise_are_in_order() -> None:
    ballot = ballot_of(9, 3)

    def page(*slots: int) -> Promise:
        return Promise(2, 77, ballot, 5, 5, 8, 9, 4, tuple(PValue(5, slot, NOOP) for slot in slots))

    assert there_and_back(page(5, 6, 8)) == page(5, 6, 8)
    for slots in ((4,), (9,), (6, 5), (6, 6)):
        assert "in page 5 to 8" in refused(page(*slots))


def test_decrees_that_could_not_be_applied_are_refused() -> None:
    ballot = ballot_of(9, 3)
    segment = encode_segment(2, 1, 1, 1, [b"command"])
    batch = encode_batch(5, [segment])
    good = json.loads(Configuration(1, (Member(1, "a:1", "", 5, True),), 64, "").encode())
    endless = {**good, "version": float("inf")}
    windowless = {**good, "window": 0}
    for decree in (
        b"",
        b"\x04",
        b"\x00\x00",
        batch[:-1],
        batch + b"x",
        batch[:9] + b"\x00\x02" + segment,
        encode_epoch(5, -1),
        encode_epoch(5, 7) + b"x",
        encode_configuration(5, b"{}"),
        encode_configuration(5, b"\xff\xfe\x00"),
        encode_configuration(5, b"[" * 100_000),
        encode_configuration(5, json.dumps(endless).encode()),
        encode_configuration(5, json.dumps(windowless).encode()),
    ):
        refused(Accept(3, ballot, 7, decree, 5))
        refused(Promise(2, 77, ballot, 5, 5, 8, 8, 4, (PValue(5, 6, decree),)))
        if decree:  # in a Learn no bytes mean: your own vote
            refused(Learn(3, ((7, ballot, decree),), 9))


def test_a_forward_carries_the_senders_own_stream_and_fits() -> None:
    segment = encode_segment(2, 1, 1, 1, [b"command", b"another"])
    forward = Forward(2, 77, segment)
    assert there_and_back(forward) == forward
    assert "the stream of replica 2" in refused(Forward(3, 77, segment))
    refused(Forward(2, 77, segment + b"x"))
    refused(Forward(2, 77, segment[:-1]))
    refused(Forward(2, 77, encode_segment(2, 1, 1, 1, [])))
    assert "1000 commands" in refused(Forward(2, 77, segment[:22] + (1000).to_bytes(4, "big") + segment[26:]))


def test_a_huge_count_allocates_nothing() -> None:
    for message, at in (
        (Learn(3, (), 9), 11),
        (Fetch(3, 1, 9, ()), 19),
        (Promise(2, 77, 9, 5, 5, 8, 8, 4, ()), 59),
        (Report(3, 9, 1, 1, ()), 27),
        (ReportAck(3, 9, 1, True, ()), 20),
    ):
        data = encode(message)
        data = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
        with pytest.raises(MalformedMessage):
            decode(data, 0, len(data))
