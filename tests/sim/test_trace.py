"""The trace format and the words for people: every message, record and input has both."""

import json

import pytest

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.decree import NOOP, encode_batch, encode_epoch, encode_segment
from multipaxos.core.effects import Applied, Effects, Lookup
from multipaxos.core.inputs import Disk, Handover, Input, PeerDown, PeerUp, Read, Submit, Wall
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
    Message,
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
from multipaxos.core.reasons import REASONS
from multipaxos.core.records import AcceptedRecord, KeptRecord, LearnedRecord, MarkRecord, PromisedRecord
from multipaxos.trace import (
    SCHEMA,
    command_text,
    decree_text,
    effect_lines,
    event_line,
    header_line,
    input_text,
    message_text,
    message_value,
    note_line,
    parse_line,
    record_text,
    why_value,
)

B = ballot_of(3, 2)
SEGMENT = encode_segment(2, 1, 99, 4, [b"set", b"get"])
BATCH = encode_batch(0, [SEGMENT])

MESSAGES: list[tuple[Message, str]] = [
    (Prepare(2, B, 5, 4, NO_BALLOT), "Prepare 3.2 from slot 5, knows to 4"),
    (Prepare(2, B, 5, 4, B), "Prepare 3.2 from slot 5, knows to 4 handed over by 3.2"),
    (Promise(1, 7, B, 5, 5, 4, 4, 4, ()), "Promise 3.2 from slot 5, knows to 4: no vote"),
    (
        Promise(1, 7, B, 5, 6, 6, 9, 4, (PValue(B, 6, NOOP),)),
        "Promise 3.2 from slot 5 page 6..6 of 5..9, knows to 4: 6@3.2 no-op",
    ),
    (Nack(1, B, B + 65536, 6, NO_BALLOT), "Nack 3.2 slot 6, promised 4.2"),
    (Nack(1, B, B, 0, B), "Nack 3.2, promised 3.2, hears 3.2"),
    (Accept(2, B, 6, BATCH, 5), "Accept 3.2 slot 6: 2.1#4..5(set,get); chosen to 5"),
    (Accepted(1, B, 6), "Accepted 3.2 slot 6"),
    (Settled(1, B, 6, B, 8), "Settled 3.2 slot 6, chosen at 3.2; chosen to 8"),
    (Prefix(2, B, 6), "Prefix 3.2 chosen to 6"),
    (Heartbeat(2, B, 9, 6, True, 0), "Heartbeat 3.2 number 9, chosen to 6"),
    (
        Heartbeat(2, B, 9, 6, False, 2_500_000),
        "Heartbeat 3.2 number 9, chosen to 6, not quorum-connected, disk stands still for 2.5 ms",
    ),
    (Echo(1, B, 9, B, 6, 5, 0), "Echo 3.2 number 9, chosen to 6, applied 5"),
    (Echo(1, B, 9, B + 65536, 6, 5, 0), "Echo 3.2 number 9, chosen to 6, applied 5, promised 4.2"),
    (Probe(1, 3, B, 6), "Probe 3, suspects 3.2, knows to 6"),
    (ProbeAnswer(2, 3, True, NO_BALLOT, B, 6), "ProbeAnswer 3: would promise, hears nobody, promised 3.2"),
    (ProbeAnswer(2, 3, False, B, B, 6), "ProbeAnswer 3: would not promise, hears 3.2, promised 3.2"),
    (Inquire(1, B), "Inquire 3.2"),
    (Inquired(2, B, False), "Inquired 3.2: not active"),
    (CampaignNow(2, B, 9), "CampaignNow by 3.2 number 9"),
    (Fetch(1, 3, 6, ()), "Fetch 3..6"),
    (Fetch(1, 3, 6, ((3, 3, B), (5, 6, B))), "Fetch 3..6, holds 3@3.2, 5..6@3.2"),
    (Learn(2, ((3, B, NOOP), (4, B, None)), 6), "Learn 3@3.2 no-op, 4@3.2 as you voted; chosen to 6"),
    (Learn(2, (), 6), "Learn nothing; chosen to 6"),
    (Forward(2, B, SEGMENT), "Forward 3.2 2.1#4..5(set,get)"),
    (ReadQuery(1, B, 5), "ReadQuery 3.2 number 5"),
    (ReadAnswer(2, B, 5, 6), "ReadAnswer 3.2 number 5: slot 6"),
]


@pytest.mark.parametrize("message,text", MESSAGES, ids=lambda value: type(value).__name__)
def test_every_message_has_its_words_and_its_value(message: Message, text: str) -> None:
    assert message_text(message) == text
    value = json.loads(json.dumps(message_value("m1", 3, message)))
    assert value["msg"] == "m1" and value["to"] == "3"
    assert value["type"] == type(message).__name__
    assert "sender" not in value["body"]
    if hasattr(message, "ballot"):
        assert value["ballot"] == [message.ballot // 65536, message.ballot % 65536]


def test_every_message_type_is_covered() -> None:
    assert {type(message) for message, _ in MESSAGES} == set(Message.__args__)


def test_bytes_are_shortened_when_redacted() -> None:
    value = message_value("m1", 3, Accept(2, B, 6, BATCH, 5), is_redacted=True)
    text = json.dumps(value)
    assert BATCH.hex() not in text
    assert f'"bytes": {len(BATCH)}' in text


def test_records_inputs_and_decrees_have_words() -> None:
    assert record_text(PromisedRecord(B)) == "Promised 3.2"
    assert record_text(AcceptedRecord(B, 6, NOOP, 5)) == "Accepted 3.2 slot 6: no-op; chosen to 5"
    assert record_text(LearnedRecord(B, 6, encode_epoch(0, B))) == "Learned slot 6@3.2 epoch of 3.2"
    assert record_text(MarkRecord(6)) == "Mark chosen to 6"
    assert record_text(KeptRecord(b"xy")) == "Kept 2 bytes"
    inputs: list[tuple[Input, str]] = [
        (Submit((b"a", b"\x00")), "submit a 1B:6e340b9c"),
        (Read(4), "read 4"),
        (PeerUp(2), "connection to 2 stands"),
        (PeerDown(2, True), "connection to 2 broke and is refused"),
        (Disk(0), "disk: all durable"),
        (Disk(3_000_000), "disk: oldest write at 3 ms"),
        (Wall(17), "wall clock 17 ms"),
        (Handover(3), "hand over to 3"),
        (Accepted(1, B, 6), "Accepted 3.2 slot 6"),
    ]
    for given, text in inputs:
        assert input_text(given) == text
    assert decree_text(b"\x01short") == "malformed: a batch shorter than its header"
    assert decree_text(b"\x09") == "unknown kind 9"
    assert command_text(b"") == "0B:e3b0c442"


def test_effects_are_told_in_the_order_they_are_carried_out() -> None:
    effects = Effects()
    effects.write(PromisedRecord(B))
    effects.send(3, Inquire(1, B))
    effects.applied.append(Applied(6, 0, 1, B, False, [(2, 4, b"set"), (3, 0, b"get")], None))
    effects.applied.append(Applied(7, 0, 1, B, False, [], None))
    effects.applied.append(Applied(8, 0, 2, B, True, [], None))
    effects.lookups.append(Lookup(3, 1, 2, (), 8))
    effects.send_when_durable(2, Accepted(1, B, 6))
    effects.readable.append(5)
    effects.malformed.append(3)
    effects.stop = "a reason"
    assert effect_lines(1, effects) == [
        "write Promised 3.2",
        "send 1 -> 3 Inquire 3.2",
        "apply slot 6: set(2, own 4) get(3)",
        "apply slot 7: nothing to execute",
        "apply slot 8: epoch 2 of 3.2",
        "look up slots 1..2 for 3",
        "when durable 1 -> 2 Accepted 3.2 slot 6",
        "read 5 may be answered",
        "malformed: close the connection to 3",
        "stop: a reason",
    ]


def test_a_reason_carries_its_operands_by_name() -> None:
    note = ("acceptor.prepare.nack", (B, B + 65536))
    assert why_value(note) == {"rule": "acceptor.prepare.nack", "ballot": [3, 2], "promised": [4, 2]}
    assert note_line(note) == "3.2 is below the promised 4.2: nack"


def test_lines_are_canonical_and_read_back() -> None:
    header = header_line("0.1", {"kind": "seed", "id": "7"}, 7, ["1", "2"], {"replicas": "2"})
    assert parse_line(header)["schema"] == SCHEMA
    line = event_line(4, 99, 2, "1", {"k": "step"}, (1, 2), (("acceptor.prepare.repeat", (B,)),), facts=("chosen 1",))
    value = parse_line(line)
    assert (value["i"], value["t"], value["lc"], value["at"]) == (4, 99, 2, "1")
    assert value["cause"] == [1, 2]
    assert json.dumps(value, sort_keys=True, separators=(",", ":")) == line
    with pytest.raises(ValueError, match="multipaxos-trace/9"):
        parse_line('{"h":1,"schema":"multipaxos-trace/9"}')
    with pytest.raises(ValueError):
        parse_line("[]")


def test_every_reason_of_a_run_is_in_the_catalogue_and_has_a_sentence() -> None:
    """A recorded run speaks every reason it leaves; an id without a sentence would raise."""
    from multipaxos.sim.campaign import run_seed
    from multipaxos.sim.recording import Recording

    spoken: set[str] = set()
    for seed in range(30):
        recording = Recording(True)
        run_seed(seed, is_plain=True, recording=recording)
        for line in recording.lines:
            for why in json.loads(line)["why"]:
                spoken.add(why["rule"])
    assert spoken <= set(REASONS)
    assert len(spoken) > 0.7 * len(REASONS), sorted(set(REASONS) - spoken)
