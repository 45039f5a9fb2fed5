"""The bytes of what replicas say to each other: every message of ``core/messages.py`` and ``wire/report.py``.

A message is a type byte, the sender u16, and its fields in the order of the struct named after it below. Ballots,
slots, numbers and durations are i64, flags one byte, counts and lengths u32, all big-endian. Lists and decrees stand
last:

    Accept     the decree, to the end
    Forward    the segment, to the end
    Promise    count times ballot, slot, length, decree
    Learn      count times slot, ballot, length, decree; length 0 where the asker's own vote is the decree
    Fetch      count times first, last, ballot
    Report     count times session, age
    ReportAck  count times session

Bad bytes are refused here, so that the core is asked only about what a replica may say (style.md, section 3). Refused
is what needs no state to be refused: a ballot that is not of its sender's class where only its owner may use it,
lengths that do not fit, decrees that could not be applied (rule-R1). Whether a number leaps too far ahead the core
knows. Rounds need no check of their own: below 2^47 is what fits a signed 64-bit ballot.

Framing and checksum stand in ``frame.py``; who may speak at all is settled by ``handshake.py``.
"""

from struct import Struct
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, owner_of
from multipaxos.core.decree import (
    KIND_BATCH,
    KIND_CONFIGURATION,
    KIND_EPOCH,
    KIND_NOOP,
    SEGMENT,
    Decree,
    MalformedDecree,
    configuration_text_of,
    epoch_ballot_of,
    segments_of,
)
from multipaxos.core.membership import check_list, decode_configuration
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
from multipaxos.wire.report import Report, ReportAck

PeerMessage = Message | Report | ReportAck

# The hottest come first, here and in the two dispatchers. Types from 128 on belong to the handshake.
ACCEPT: Final = 1
ACCEPTED: Final = 2
PREFIX: Final = 3
FORWARD: Final = 4
HEARTBEAT: Final = 5
ECHO: Final = 6
REPORT: Final = 7
REPORT_ACK: Final = 8
READ_QUERY: Final = 9
READ_ANSWER: Final = 10
PREPARE: Final = 11
PROMISE: Final = 12
NACK: Final = 13
SETTLED: Final = 14
PROBE: Final = 15
PROBE_ANSWER: Final = 16
INQUIRE: Final = 17
INQUIRED: Final = 18
CAMPAIGN_NOW: Final = 19
FETCH: Final = 20
LEARN: Final = 21

_ACCEPT: Final = Struct(">BHqqq")  # ballot, slot, chosen_prefix
_ACCEPTED: Final = Struct(">BHqq")  # ballot, slot
_PREFIX: Final = Struct(">BHqq")  # ballot, chosen_prefix
_FORWARD: Final = Struct(">BHq")  # ballot
_HEARTBEAT: Final = Struct(">BHqqqBq")  # ballot, number, chosen_prefix, is_quorum_connected, disk_age_ns
_ECHO: Final = Struct(">BHqqqqqq")  # ballot, number, promised, chosen_prefix, applied, disk_age_ns
_REPORT: Final = Struct(">BHqqqI")  # ballot, number, serial, count
_TOUCH: Final = Struct(">qq")
_REPORT_ACK: Final = Struct(">BHqqBI")  # ballot, serial, is_quorum_connected, count
_SESSION: Final = Struct(">q")
_READ_QUERY: Final = Struct(">BHqq")  # ballot, number
_READ_ANSWER: Final = Struct(">BHqqq")  # ballot, number, slot
_PREPARE: Final = Struct(">BHqqqq")  # ballot, first, chosen_prefix, handover
_PROMISE: Final = Struct(">BHQqqqqqqI")  # mark (u64), ballot, first, page_first, page_last, end, chosen_prefix, count
_NACK: Final = Struct(">BHqqqq")  # ballot, promised, slot, hears
_SETTLED: Final = Struct(">BHqqqq")  # ballot, slot, chosen_at, chosen_prefix
_PROBE: Final = Struct(">BHqqq")  # number, suspected, chosen_prefix
_PROBE_ANSWER: Final = Struct(">BHqBqqq")  # number, would_promise, hears, promised, chosen_prefix
_INQUIRE: Final = Struct(">BHq")  # ballot
_INQUIRED: Final = Struct(">BHqB")  # ballot, is_active
_CAMPAIGN_NOW: Final = Struct(">BHqq")  # ballot, number
_FETCH: Final = Struct(">BHqqI")  # first, last, count
_VOTES: Final = Struct(">qqq")
_LEARN: Final = Struct(">BHqI")  # chosen_prefix, count
_DECREE: Final = Struct(">qqI")  # two numbers and the length of the decree that follows

_ACCEPT_BYTES: Final = _ACCEPT.size
_ACCEPTED_BYTES: Final = _ACCEPTED.size


class MalformedMessage(ValueError):
    """The bytes are no message that a replica may send. The connection they came by is closed and counted."""


# --- values to bytes --------------------------------------------------------------------------------------------------


def encode(message: PeerMessage) -> bytes:
    """The bytes of a message. A field out of its range is a defect of this replica, and raises struct.error."""
    if isinstance(message, Accept):
        return (
            _ACCEPT.pack(ACCEPT, message.sender, message.ballot, message.slot, message.chosen_prefix) + message.decree
        )
    if isinstance(message, Accepted):
        return _ACCEPTED.pack(ACCEPTED, message.sender, message.ballot, message.slot)
    if isinstance(message, Prefix):
        return _PREFIX.pack(PREFIX, message.sender, message.ballot, message.chosen_prefix)
    if isinstance(message, Forward):
        return _FORWARD.pack(FORWARD, message.sender, message.ballot) + message.segment
    if isinstance(message, Heartbeat):
        return _HEARTBEAT.pack(
            HEARTBEAT, message.sender, message.ballot, message.number, message.chosen_prefix,
            message.is_quorum_connected, message.disk_age_ns,
        )  # fmt: skip
    if isinstance(message, Echo):
        return _ECHO.pack(
            ECHO, message.sender, message.ballot, message.number, message.promised, message.chosen_prefix,
            message.applied, message.disk_age_ns,
        )  # fmt: skip
    if isinstance(message, Report):
        return _encode_report(message)
    if isinstance(message, ReportAck):
        head = _REPORT_ACK.pack(
            REPORT_ACK, message.sender, message.ballot, message.serial, message.is_quorum_connected, len(message.ending)
        )
        return head + b"".join([_SESSION.pack(session) for session in message.ending])
    if isinstance(message, ReadQuery):
        return _READ_QUERY.pack(READ_QUERY, message.sender, message.ballot, message.number)
    if isinstance(message, ReadAnswer):
        return _READ_ANSWER.pack(READ_ANSWER, message.sender, message.ballot, message.number, message.slot)
    if isinstance(message, Prepare):
        return _PREPARE.pack(
            PREPARE, message.sender, message.ballot, message.first, message.chosen_prefix, message.handover
        )
    if isinstance(message, Promise):
        return _encode_promise(message)
    if isinstance(message, Nack):
        return _NACK.pack(NACK, message.sender, message.ballot, message.promised, message.slot, message.hears)
    if isinstance(message, Settled):
        return _SETTLED.pack(
            SETTLED, message.sender, message.ballot, message.slot, message.chosen_at, message.chosen_prefix
        )
    if isinstance(message, Probe):
        return _PROBE.pack(PROBE, message.sender, message.number, message.suspected, message.chosen_prefix)
    if isinstance(message, ProbeAnswer):
        return _PROBE_ANSWER.pack(
            PROBE_ANSWER, message.sender, message.number, message.would_promise, message.hears, message.promised,
            message.chosen_prefix,
        )  # fmt: skip
    if isinstance(message, Inquire):
        return _INQUIRE.pack(INQUIRE, message.sender, message.ballot)
    if isinstance(message, Inquired):
        return _INQUIRED.pack(INQUIRED, message.sender, message.ballot, message.is_active)
    if isinstance(message, CampaignNow):
        return _CAMPAIGN_NOW.pack(CAMPAIGN_NOW, message.sender, message.ballot, message.number)
    if isinstance(message, Fetch):
        return _encode_fetch(message)
    return _encode_learn(message)


def _encode_report(message: Report) -> bytes:
    pack = _TOUCH.pack
    parts = [_REPORT.pack(REPORT, message.sender, message.ballot, message.number, message.serial, len(message.touches))]
    for session, age_ns in message.touches:
        parts.append(pack(session, age_ns))
    return b"".join(parts)


def _encode_promise(message: Promise) -> bytes:
    parts = [
        _PROMISE.pack(
            PROMISE, message.sender, message.mark, message.ballot, message.first, message.page_first, message.page_last,
            message.end, message.chosen_prefix, len(message.pvalues),
        )
    ]  # fmt: skip
    for pvalue in message.pvalues:
        parts.append(_DECREE.pack(pvalue.ballot, pvalue.slot, len(pvalue.decree)))
        parts.append(pvalue.decree)
    return b"".join(parts)


def _encode_fetch(message: Fetch) -> bytes:
    parts = [_FETCH.pack(FETCH, message.sender, message.first, message.last, len(message.votes))]
    for first, last, ballot in message.votes:
        parts.append(_VOTES.pack(first, last, ballot))
    return b"".join(parts)


def _encode_learn(message: Learn) -> bytes:
    parts = [_LEARN.pack(LEARN, message.sender, message.chosen_prefix, len(message.items))]
    for slot, ballot, decree in message.items:
        if decree is None:
            parts.append(_DECREE.pack(slot, ballot, 0))
        else:
            parts.append(_DECREE.pack(slot, ballot, len(decree)))
            parts.append(decree)
    return b"".join(parts)


# --- bytes to values --------------------------------------------------------------------------------------------------


def decode(data: bytes, begin: int, end: int) -> PeerMessage:
    """The message in data[begin:end], all of it.

    Raises MalformedMessage, and nothing else, where the bytes are no message that a replica may send.
    """
    if not 0 <= begin < end <= len(data):
        raise MalformedMessage("no bytes")
    kind = data[begin]
    if kind == ACCEPT:
        return _decode_accept(data, begin, end)
    if kind == ACCEPTED:
        if end - begin != _ACCEPTED_BYTES:
            raise MalformedMessage(f"an accepted of {end - begin} bytes")
        _, sender, ballot, slot = _ACCEPTED.unpack_from(data, begin)
        if ballot < 0 or slot < 1:
            raise MalformedMessage(f"accepted: ballot {ballot}, slot {slot}")
        return Accepted(sender, ballot, slot)
    if kind == PREFIX:
        return _decode_prefix(data, begin, end)
    if kind == FORWARD:
        return _decode_forward(data, begin, end)
    if kind == HEARTBEAT:
        return _decode_heartbeat(data, begin, end)
    if kind == ECHO:
        return _decode_echo(data, begin, end)
    if kind == REPORT:
        return _decode_report(data, begin, end)
    if kind == REPORT_ACK:
        return _decode_report_ack(data, begin, end)
    if kind == READ_QUERY:
        return _decode_read_query(data, begin, end)
    if kind == READ_ANSWER:
        return _decode_read_answer(data, begin, end)
    if kind == PREPARE:
        return _decode_prepare(data, begin, end)
    if kind == PROMISE:
        return _decode_promise(data, begin, end)
    if kind == NACK:
        return _decode_nack(data, begin, end)
    if kind == SETTLED:
        return _decode_settled(data, begin, end)
    if kind == PROBE:
        return _decode_probe(data, begin, end)
    if kind == PROBE_ANSWER:
        return _decode_probe_answer(data, begin, end)
    if kind == INQUIRE:
        return _decode_inquire(data, begin, end)
    if kind == INQUIRED:
        return _decode_inquired(data, begin, end)
    if kind == CAMPAIGN_NOW:
        return _decode_campaign_now(data, begin, end)
    if kind == FETCH:
        return _decode_fetch(data, begin, end)
    if kind == LEARN:
        return _decode_learn(data, begin, end)
    raise MalformedMessage(f"no message has type {kind}")


def _decode_accept(data: bytes, begin: int, end: int) -> Accept:
    decree_at = begin + _ACCEPT_BYTES
    if end <= decree_at:
        raise MalformedMessage(f"an accept of {end - begin} bytes")
    _, sender, ballot, slot, chosen_prefix = _ACCEPT.unpack_from(data, begin)
    if ballot < 0 or owner_of(ballot) != sender:
        raise MalformedMessage(f"accept: ballot {ballot} is not of replica {sender}")
    if slot < 1 or chosen_prefix < 0:
        raise MalformedMessage(f"accept: slot {slot}, chosen prefix {chosen_prefix}")
    decree = data[decree_at:end]
    _check_decree(decree)
    return Accept(sender, ballot, slot, decree, chosen_prefix)


def _decode_prefix(data: bytes, begin: int, end: int) -> Prefix:
    _check_size(_PREFIX, begin, end)
    _, sender, ballot, chosen_prefix = _PREFIX.unpack_from(data, begin)
    _check_owner(sender, ballot)
    _check_natural(chosen_prefix)
    return Prefix(sender, ballot, chosen_prefix)


def _decode_forward(data: bytes, begin: int, end: int) -> Forward:
    segment_at = begin + _FORWARD.size
    body_at = segment_at + SEGMENT.size
    if end < body_at:
        raise MalformedMessage(f"a forward of {end - begin} bytes")
    _, sender, ballot = _FORWARD.unpack_from(data, begin)
    origin, _, _, _, count, body_bytes = SEGMENT.unpack_from(data, segment_at)
    # The leader puts the segment into its batch unopened: what does not fit would spoil the whole decree.
    if body_bytes != end - body_at or count < 1 or 4 * count > body_bytes:
        raise MalformedMessage(f"forward: {count} commands in {end - body_at} bytes, {body_bytes} announced")
    if origin != sender:
        raise MalformedMessage(f"forward: replica {sender} forwards the stream of replica {origin}")
    _check_natural(ballot)
    return Forward(sender, ballot, data[segment_at:end])


def _decode_heartbeat(data: bytes, begin: int, end: int) -> Heartbeat:
    _check_size(_HEARTBEAT, begin, end)
    _, sender, ballot, number, chosen_prefix, flag, disk_age_ns = _HEARTBEAT.unpack_from(data, begin)
    _check_owner(sender, ballot)
    _check_natural(number | chosen_prefix | disk_age_ns)
    return Heartbeat(sender, ballot, number, chosen_prefix, _flag(flag), disk_age_ns)


def _decode_echo(data: bytes, begin: int, end: int) -> Echo:
    _check_size(_ECHO, begin, end)
    _, sender, ballot, number, promised, chosen_prefix, applied, disk_age_ns = _ECHO.unpack_from(data, begin)
    _check_natural(ballot | number | chosen_prefix | applied | disk_age_ns)
    _check_ballot(promised)
    return Echo(sender, ballot, number, promised, chosen_prefix, applied, disk_age_ns)


def _decode_report(data: bytes, begin: int, end: int) -> Report:
    at = begin + _REPORT.size
    _check_room(at, end)
    _, sender, ballot, number, serial, count = _REPORT.unpack_from(data, begin)
    if end - at != count * _TOUCH.size:
        raise MalformedMessage(f"report: {count} touches in {end - at} bytes")
    _check_natural(ballot | number | serial)
    touches: list[tuple[int, int]] = []
    for session, age_ns in _TOUCH.iter_unpack(data[at:end]):
        _check_natural(age_ns)
        touches.append((session, age_ns))
    return Report(sender, ballot, number, serial, tuple(touches))


def _decode_report_ack(data: bytes, begin: int, end: int) -> ReportAck:
    at = begin + _REPORT_ACK.size
    _check_room(at, end)
    _, sender, ballot, serial, flag, count = _REPORT_ACK.unpack_from(data, begin)
    if end - at != count * _SESSION.size:
        raise MalformedMessage(f"report ack: {count} sessions in {end - at} bytes")
    _check_natural(ballot | serial)
    ending = [session for (session,) in _SESSION.iter_unpack(data[at:end])]
    return ReportAck(sender, ballot, serial, _flag(flag), tuple(ending))


def _decode_read_query(data: bytes, begin: int, end: int) -> ReadQuery:
    _check_size(_READ_QUERY, begin, end)
    _, sender, ballot, number = _READ_QUERY.unpack_from(data, begin)
    _check_natural(ballot | number)
    return ReadQuery(sender, ballot, number)


def _decode_read_answer(data: bytes, begin: int, end: int) -> ReadAnswer:
    _check_size(_READ_ANSWER, begin, end)
    _, sender, ballot, number, slot = _READ_ANSWER.unpack_from(data, begin)
    _check_natural(ballot | number | slot)
    return ReadAnswer(sender, ballot, number, slot)


def _decode_prepare(data: bytes, begin: int, end: int) -> Prepare:
    _check_size(_PREPARE, begin, end)
    _, sender, ballot, first, chosen_prefix, handover = _PREPARE.unpack_from(data, begin)
    _check_owner(sender, ballot)
    _check_slot(first)
    _check_natural(chosen_prefix)
    _check_ballot(handover)
    return Prepare(sender, ballot, first, chosen_prefix, handover)


def _decode_promise(data: bytes, begin: int, end: int) -> Promise:
    at = begin + _PROMISE.size
    _check_room(at, end)
    (_, sender, mark, ballot, first, page_first, page_last, last, chosen_prefix, count) = _PROMISE.unpack_from(
        data, begin
    )
    _check_natural(ballot | first | page_first | page_last | last | chosen_prefix)
    pvalues: list[PValue] = []
    above = page_first - 1
    for _ in range(count):
        decree_at = at + _DECREE.size
        _check_room(decree_at, end)
        accepted_at, slot, size = _DECREE.unpack_from(data, at)
        at = decree_at + size
        _check_room(at, end)
        if accepted_at < 0 or slot < 1 or not above < slot <= page_last:
            raise MalformedMessage(f"promise: ballot {accepted_at}, slot {slot} in page {page_first} to {page_last}")
        above = slot
        decree = data[decree_at:at]
        _check_decree(decree)
        pvalues.append(PValue(accepted_at, slot, decree))
    if at != end:
        raise MalformedMessage("promise: bytes behind the last decree")
    return Promise(sender, mark, ballot, first, page_first, page_last, last, chosen_prefix, tuple(pvalues))


def _decode_nack(data: bytes, begin: int, end: int) -> Nack:
    _check_size(_NACK, begin, end)
    _, sender, ballot, promised, slot, hears = _NACK.unpack_from(data, begin)
    _check_natural(ballot | slot)
    _check_ballot(promised)
    _check_ballot(hears)
    return Nack(sender, ballot, promised, slot, hears)


def _decode_settled(data: bytes, begin: int, end: int) -> Settled:
    _check_size(_SETTLED, begin, end)
    _, sender, ballot, slot, chosen_at, chosen_prefix = _SETTLED.unpack_from(data, begin)
    _check_natural(ballot | chosen_prefix)
    _check_slot(slot)
    _check_ballot(chosen_at)
    return Settled(sender, ballot, slot, chosen_at, chosen_prefix)


def _decode_probe(data: bytes, begin: int, end: int) -> Probe:
    _check_size(_PROBE, begin, end)
    _, sender, number, suspected, chosen_prefix = _PROBE.unpack_from(data, begin)
    _check_natural(number | chosen_prefix)
    _check_ballot(suspected)
    return Probe(sender, number, suspected, chosen_prefix)


def _decode_probe_answer(data: bytes, begin: int, end: int) -> ProbeAnswer:
    _check_size(_PROBE_ANSWER, begin, end)
    _, sender, number, flag, hears, promised, chosen_prefix = _PROBE_ANSWER.unpack_from(data, begin)
    _check_natural(number | chosen_prefix)
    _check_ballot(hears)
    _check_ballot(promised)
    return ProbeAnswer(sender, number, _flag(flag), hears, promised, chosen_prefix)


def _decode_inquire(data: bytes, begin: int, end: int) -> Inquire:
    _check_size(_INQUIRE, begin, end)
    _, sender, ballot = _INQUIRE.unpack_from(data, begin)
    _check_natural(ballot)
    return Inquire(sender, ballot)


def _decode_inquired(data: bytes, begin: int, end: int) -> Inquired:
    _check_size(_INQUIRED, begin, end)
    _, sender, ballot, flag = _INQUIRED.unpack_from(data, begin)
    _check_natural(ballot)
    return Inquired(sender, ballot, _flag(flag))


def _decode_campaign_now(data: bytes, begin: int, end: int) -> CampaignNow:
    _check_size(_CAMPAIGN_NOW, begin, end)
    _, sender, ballot, number = _CAMPAIGN_NOW.unpack_from(data, begin)
    _check_owner(sender, ballot)
    _check_natural(number)
    return CampaignNow(sender, ballot, number)


def _decode_fetch(data: bytes, begin: int, end: int) -> Fetch:
    at = begin + _FETCH.size
    _check_room(at, end)
    _, sender, first, last, count = _FETCH.unpack_from(data, begin)
    if end - at != count * _VOTES.size:
        raise MalformedMessage(f"fetch: {count} runs in {end - at} bytes")
    _check_slot(first)
    _check_natural(last)
    votes: list[tuple[int, int, int]] = []
    above = 0
    for run_first, run_last, ballot in _VOTES.iter_unpack(data[at:end]):
        if not above < run_first <= run_last or ballot < 0:  # ascending: whoever answers walks along them once
            raise MalformedMessage(f"fetch: a run from {run_first} to {run_last} at ballot {ballot}")
        above = run_last
        votes.append((run_first, run_last, ballot))
    return Fetch(sender, first, last, tuple(votes))


def _decode_learn(data: bytes, begin: int, end: int) -> Learn:
    at = begin + _LEARN.size
    _check_room(at, end)
    _, sender, chosen_prefix, count = _LEARN.unpack_from(data, begin)
    _check_natural(chosen_prefix)
    items: list[tuple[int, int, Decree | None]] = []
    for _ in range(count):
        decree_at = at + _DECREE.size
        _check_room(decree_at, end)
        slot, ballot, size = _DECREE.unpack_from(data, at)
        at = decree_at + size
        _check_room(at, end)
        if slot < 1 or ballot < 0:
            raise MalformedMessage(f"learn: slot {slot}, ballot {ballot}")
        if size == 0:
            items.append((slot, ballot, None))
        else:
            decree = data[decree_at:at]
            _check_decree(decree)
            items.append((slot, ballot, decree))
    if at != end:
        raise MalformedMessage("learn: bytes behind the last decree")
    return Learn(sender, tuple(items), chosen_prefix)


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_decree(decree: Decree) -> None:
    """Refuses a decree that could not be applied: once it is chosen it would stop every replica at its slot."""
    kind = decree[0] if decree else -1
    if kind == KIND_BATCH:
        try:
            segments_of(decree)
        except MalformedDecree as error:
            raise MalformedMessage(f"batch: {error}") from error
    elif kind == KIND_NOOP:
        if len(decree) != 1:
            raise MalformedMessage(f"a no-op of {len(decree)} bytes")
    elif kind == KIND_EPOCH:
        if len(decree) != 17 or epoch_ballot_of(decree) < 0:
            raise MalformedMessage("an epoch decree that names no ballot")
    elif kind == KIND_CONFIGURATION:
        try:
            check_list(decode_configuration(configuration_text_of(decree)))
        except (ValueError, OverflowError, RecursionError) as error:  # the last: a text that nests too deeply
            raise MalformedMessage(f"configuration decree: {error!r}") from error
    else:
        raise MalformedMessage(f"no decree has kind {kind}")


def _check_size(layout: Struct, begin: int, end: int) -> None:
    if end - begin != layout.size:
        raise MalformedMessage(f"{end - begin} bytes where the message takes {layout.size}")


def _check_room(needed_end: int, end: int) -> None:
    if needed_end > end:
        raise MalformedMessage(f"the message ends {needed_end - end} bytes too early")


def _check_owner(sender: int, ballot: int) -> None:
    """Only its owner prepares, proposes or leads at a ballot (rule-R1)."""
    if ballot < 0 or owner_of(ballot) != sender:
        raise MalformedMessage(f"ballot {ballot} is not of replica {sender}")


def _check_natural(value: int) -> None:
    """Give it several numbers joined by ``|``: the result is negative exactly where one of them is."""
    if value < 0:
        raise MalformedMessage("a negative number")


def _check_slot(slot: int) -> None:
    if slot < 1:
        raise MalformedMessage(f"slot {slot}; they count from 1")


def _check_ballot(ballot: int) -> None:
    """For fields that may say "none"."""
    if ballot < NO_BALLOT:
        raise MalformedMessage(f"ballot {ballot}")


def _flag(value: int) -> bool:
    if value > 1:
        raise MalformedMessage(f"a flag of {value}")
    return value == 1
