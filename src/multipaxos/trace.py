"""How a run is told: the event format ``multipaxos-trace/1``, and the same events as lines for people.

A trace is JSON Lines. The first line is the header; each further line is one event:

    {"h":1,"schema":"multipaxos-trace/1","core":..,"source":{"kind":"seed","id":..},"seed":7,
     "cast":[{"id":"1","roles":["replica"]}],"config":{..},"clock":"virtual","redacted":false}
    {"i":41,"t":3204,"lc":17,"at":"3","on":{"k":"step","in":[..]},"cause":[33],
     "why":[{"rule":"acceptor.prepare.nack","ballot":[2,1],"promised":[2,2]}],
     "out":[{"msg":"m22","to":"1","type":"Nack","slot":0,"ballot":[2,1],"body":{..}}],
     "patch":[[["3","promised"],[2,2]]],"facts":["chosen 7"],"check":{}}

``t`` is virtual nanoseconds, ``lc`` a Lamport clock, ``cause`` the events whose messages this one received, ``why`` the
reasons of the step in order (``core/reasons.py`` has their sentences), ``patch`` the values that changed, ``facts`` what
the all-knowing checkers saw. A ballot is [round, replica]. Bytes are hexadecimal, or length and digest when redacted.

Transcripts, checkers and the lab all read this one form. The module is pure: it makes and reads text, it opens no file.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from multipaxos.core.ballot import Ballot, ReplicaId, ballot_text, owner_of, round_of
from multipaxos.core.decree import (
    KIND_BATCH,
    KIND_CONFIGURATION,
    KIND_EPOCH,
    KIND_NOOP,
    Decree,
    MalformedDecree,
    commands_of,
    encode_batch,
    epoch_ballot_of,
    kind_of,
    segments_of,
)
from multipaxos.core.effects import Applied, Effects, Lookup, Note
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
from multipaxos.core.reasons import REASONS, note_text
from multipaxos.core.records import AcceptedRecord, KeptRecord, LearnedRecord, MarkRecord, PromisedRecord, Record

SCHEMA: Final = "multipaxos-trace/1"

BALLOT_FIELDS: Final = frozenset(
    {"ballot", "promised", "chosen_at", "hears", "suspected", "handover", "reign", "above"}
)
"""Fields and operands that hold ballots, in messages, records and reasons alike."""

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]


# The JSON form


def header_line(
    core: str,
    source: Mapping[str, Json],
    seed: int,
    cast: Sequence[str],
    config: Mapping[str, Json],
    is_redacted: bool = False,
) -> str:
    """The first line of a trace."""
    return json_text(
        {
            "h": 1,
            "schema": SCHEMA,
            "core": core,
            "source": dict(source),
            "seed": seed,
            "cast": [{"id": name, "roles": ["replica"]} for name in cast],
            "config": dict(config),
            "clock": "virtual",
            "redacted": is_redacted,
        }
    )


def event_line(
    index: int,
    time_ns: int,
    lamport: int,
    at: str,
    on: Json,
    causes: Sequence[int] = (),
    notes: Sequence[Note] = (),
    out: Sequence[Json] = (),
    patch: Sequence[Json] = (),
    facts: Sequence[str] = (),
    check: Mapping[str, Json] | None = None,
) -> str:
    """One event of a trace."""
    return json_text(
        {
            "i": index,
            "t": time_ns,
            "lc": lamport,
            "at": at,
            "on": on,
            "cause": list(causes),
            "why": [why_value(note) for note in notes],
            "out": list(out),
            "patch": list(patch),
            "facts": list(facts),
            "check": dict(check or {}),
        }
    )


def json_text(value: Json) -> str:
    """Canonical JSON: one value, one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def parse_line(line: str) -> dict[str, Json]:
    """A line of a trace. Raises ValueError where it is none, or of another schema."""
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("a line of a trace is a JSON object")
    if "h" in value and value.get("schema") != SCHEMA:
        raise ValueError(f"this is {value.get('schema')!r}; {SCHEMA} is understood here")
    return value


def why_value(note: Note) -> Json:
    """A reason with its operands by name."""
    reason, operands = note
    names = REASONS[reason][0]
    value: dict[str, Json] = {"rule": reason}
    for name, operand in zip(names, operands, strict=True):
        value[name] = plain(operand, name)
    return value


def message_value(identity: str, to: ReplicaId, message: Message, is_redacted: bool = False) -> Json:
    """A message as it stands in ``out``."""
    body = fields_value(message, is_redacted)
    ballot = body.pop("ballot", None)
    slot = body.pop("slot", None)
    body.pop("sender", None)
    return {
        "msg": identity,
        "to": str(to),
        "type": type(message).__name__,
        "ballot": ballot,
        "slot": slot,
        "body": body,
    }


def fields_value(value: object, is_redacted: bool = False) -> dict[str, Json]:
    """The fields of a message, record or input, by name."""
    names: Iterable[str] = getattr(type(value), "__slots__", ())
    return {name: plain(getattr(value, name), name, is_redacted) for name in names}


def plain(value: object, name: str = "", is_redacted: bool = False) -> Json:
    """A value as JSON: ballots as [round, replica], bytes as text."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        if name in BALLOT_FIELDS or name.startswith("ballot"):
            return None if value < 0 else [round_of(value), owner_of(value)]
        return value
    if isinstance(value, bytes):
        if is_redacted:
            return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()[:16]}
        return value.hex()
    if isinstance(value, (tuple, list)):
        return [plain(item, "", is_redacted) for item in value]
    return {"type": type(value).__name__, **fields_value(value, is_redacted)}


# The same for people


def note_line(note: Note) -> str:
    """The sentence of a reason."""
    return note_text(*note)


def decree_text(decree: Decree) -> str:
    """What a decree says, on one line."""
    kind = kind_of(decree)
    if kind == KIND_NOOP:
        return "no-op"
    if kind == KIND_EPOCH:
        return f"epoch of {ballot_text(epoch_ballot_of(decree))}"
    if kind == KIND_CONFIGURATION:
        return "configuration"
    if kind != KIND_BATCH:
        return f"unknown kind {kind}"
    return " ".join(segment_texts(decree))


def segment_texts(decree: Decree) -> list[str]:
    """Each segment of a batch: whose stream, which serials, which commands where they are readable."""
    try:
        found = []
        for origin, incarnation, _, first, count, begin, end in segments_of(decree):
            shown = ",".join(command_text(command) for command in commands_of(decree, begin, end))
            serials = str(first) if count == 1 else f"{first}..{first + count - 1}"
            found.append(f"{origin}.{incarnation}#{serials}({shown})")
        return found
    except MalformedDecree as error:
        return [f"malformed: {error}"]


def command_text(command: bytes) -> str:
    """A command as it prints: its text when it is plain, else its length and digest."""
    if 0 < len(command) <= 24 and command.isascii():
        text = command.decode("ascii")
        if text.isprintable():
            return text
    return f"{len(command)}B:{hashlib.sha256(command).hexdigest()[:8]}"


def pvalues_text(pvalues: Sequence[PValue]) -> str:
    """The votes a promise reports."""
    return ", ".join(f"{p.slot}@{ballot_text(p.ballot)} {decree_text(p.decree)}" for p in pvalues)


def runs_text(runs: Sequence[tuple[int, int, Ballot]]) -> str:
    """Runs of votes: first slot, last slot, ballot."""
    return ", ".join(
        f"{first}@{ballot_text(ballot)}" if first == last else f"{first}..{last}@{ballot_text(ballot)}"
        for first, last, ballot in runs
    )


def message_text(message: Message) -> str:
    """A message on one line."""
    name = type(message).__name__
    if isinstance(message, Prepare):
        handover = f" handed over by {ballot_text(message.handover)}" if message.handover >= 0 else ""
        return f"{name} {ballot_text(message.ballot)} from slot {message.first}, knows to {message.chosen_prefix}{handover}"
    if isinstance(message, Promise):
        votes = f": {pvalues_text(message.pvalues)}" if message.pvalues else ": no vote"
        pages = ""
        if message.page_first != message.first or message.page_last < message.end:
            pages = f" page {message.page_first}..{message.page_last} of {message.first}..{message.end}"
        where = f"from slot {message.first}{pages}, knows to {message.chosen_prefix}"
        return f"{name} {ballot_text(message.ballot)} {where}{votes}"
    if isinstance(message, Nack):
        hears = f", hears {ballot_text(message.hears)}" if message.hears >= 0 else ""
        where = f" slot {message.slot}" if message.slot else ""
        return f"{name} {ballot_text(message.ballot)}{where}, promised {ballot_text(message.promised)}{hears}"
    if isinstance(message, Accept):
        return (
            f"{name} {ballot_text(message.ballot)} slot {message.slot}: {decree_text(message.decree)}; "
            f"chosen to {message.chosen_prefix}"
        )
    if isinstance(message, Accepted):
        return f"{name} {ballot_text(message.ballot)} slot {message.slot}"
    if isinstance(message, Settled):
        return (
            f"{name} {ballot_text(message.ballot)} slot {message.slot}, chosen at {ballot_text(message.chosen_at)}; "
            f"chosen to {message.chosen_prefix}"
        )
    if isinstance(message, Prefix):
        return f"{name} {ballot_text(message.ballot)} chosen to {message.chosen_prefix}"
    if isinstance(message, Heartbeat):
        marks = ("" if message.is_quorum_connected else ", not quorum-connected") + _age_text(message.disk_age_ns)
        return f"{name} {ballot_text(message.ballot)} number {message.number}, chosen to {message.chosen_prefix}{marks}"
    if isinstance(message, Echo):
        above = f", promised {ballot_text(message.promised)}" if message.promised > message.ballot else ""
        return (
            f"{name} {ballot_text(message.ballot)} number {message.number}, chosen to {message.chosen_prefix}, "
            f"applied {message.applied}{above}{_age_text(message.disk_age_ns)}"
        )
    if isinstance(message, Probe):
        return f"{name} {message.number}, suspects {ballot_text(message.suspected)}, knows to {message.chosen_prefix}"
    if isinstance(message, ProbeAnswer):
        would = "would promise" if message.would_promise else "would not promise"
        hears = f"hears {ballot_text(message.hears)}" if message.hears >= 0 else "hears nobody"
        return f"{name} {message.number}: {would}, {hears}, promised {ballot_text(message.promised)}"
    if isinstance(message, Inquire):
        return f"{name} {ballot_text(message.ballot)}"
    if isinstance(message, Inquired):
        return f"{name} {ballot_text(message.ballot)}: {'active' if message.is_active else 'not active'}"
    if isinstance(message, CampaignNow):
        return f"{name} by {ballot_text(message.ballot)} number {message.number}"
    if isinstance(message, Fetch):
        held = f", holds {runs_text(message.votes)}" if message.votes else ""
        return f"{name} {message.first}..{message.last}{held}"
    if isinstance(message, Learn):
        items = ", ".join(
            f"{slot}@{ballot_text(ballot)} {'as you voted' if decree is None else decree_text(decree)}"
            for slot, ballot, decree in message.items
        )
        return f"{name} {items or 'nothing'}; chosen to {message.chosen_prefix}"
    if isinstance(message, Forward):
        return f"{name} {ballot_text(message.ballot)} {segment_text(message.segment)}"
    if isinstance(message, ReadQuery):
        return f"{name} {ballot_text(message.ballot)} number {message.number}"
    assert isinstance(message, ReadAnswer)
    return f"{name} {ballot_text(message.ballot)} number {message.number}: slot {message.slot}"


def segment_text(segment: bytes) -> str:
    """A forwarded segment."""
    return " ".join(segment_texts(encode_batch(0, [segment])))


def record_text(record: Record) -> str:
    """A journal record on one line."""
    if isinstance(record, PromisedRecord):
        return f"Promised {ballot_text(record.ballot)}"
    if isinstance(record, AcceptedRecord):
        return (
            f"Accepted {ballot_text(record.ballot)} slot {record.slot}: {decree_text(record.decree)}; "
            f"chosen to {record.chosen_prefix}"
        )
    if isinstance(record, LearnedRecord):
        return f"Learned slot {record.slot}@{ballot_text(record.ballot)} {decree_text(record.decree)}"
    if isinstance(record, MarkRecord):
        return f"Mark chosen to {record.chosen_prefix}"
    assert isinstance(record, KeptRecord)
    return f"Kept {len(record.payload)} bytes"


def applied_text(applied: Applied) -> str:
    """An applied slot on one line."""
    if applied.began_epoch:
        return f"slot {applied.slot}: epoch {applied.epoch} of {ballot_text(applied.reign)}"
    if applied.configuration is not None:
        voters = ", ".join(str(voter) for voter in applied.configuration.voters)
        return f"slot {applied.slot}: configuration {applied.configuration.version}, voters {voters}"
    if not applied.commands:
        return f"slot {applied.slot}: nothing to execute"
    shown = " ".join(
        f"{command_text(command)}({origin}{f', own {serial}' if serial else ''})"
        for origin, serial, command in applied.commands
    )
    return f"slot {applied.slot}: {shown}"


def lookup_text(lookup: Lookup) -> str:
    """A lookup in the journal on one line."""
    return f"slots {lookup.first}..{lookup.last} for {lookup.requester}"


def input_text(given: Input) -> str:
    """An input on one line."""
    if isinstance(given, Submit):
        return "submit " + " ".join(command_text(command) for command in given.commands)
    if isinstance(given, Read):
        return f"read {given.token}"
    if isinstance(given, PeerUp):
        return f"connection to {given.peer} stands"
    if isinstance(given, PeerDown):
        return f"connection to {given.peer} broke" + (" and is refused" if given.is_refused else "")
    if isinstance(given, Disk):
        return (
            "disk: all durable"
            if given.oldest_write_at == 0
            else f"disk: oldest write at {_span(given.oldest_write_at)}"
        )
    if isinstance(given, Wall):
        return f"wall clock {given.offset_ms} ms"
    if isinstance(given, Handover):
        return f"hand over to {given.target}"
    return message_text(given)


def effect_lines(replica: ReplicaId, effects: Effects) -> list[str]:
    """The effects of one step, in the order they are carried out. Reasons are not among them: ``note_line``."""
    lines = [f"write {record_text(record)}" for record in effects.writes]
    lines += [f"send {replica} -> {to} {message_text(message)}" for to, message in effects.messages]
    lines += [f"apply {applied_text(applied)}" for applied in effects.applied]
    lines += [f"look up {lookup_text(lookup)}" for lookup in effects.lookups]
    lines += [f"when durable {replica} -> {to} {message_text(message)}" for to, message in effects.when_durable]
    lines += [f"read {token} may be answered" for token in effects.readable]
    lines += [f"malformed: close the connection to {peer}" for peer in effects.malformed]
    if effects.stop:
        lines.append(f"stop: {effects.stop}")
    return lines


def _age_text(age_ns: int) -> str:
    return f", disk stands still for {_span(age_ns)}" if age_ns else ""


def _span(nanoseconds: int) -> str:
    return f"{nanoseconds / 1_000_000:g} ms"
