"""``multipaxos journal show``: whose directory it is, its segments, and the decrees of its slots in words.

``--records`` has the journal as it was written instead: each record where it stands, seals included.
"""

from collections import deque
from typing import Any, Final

import typer

from multipaxos.cli.journal_report import (
    DIRECTORY,
    JSON,
    RAW,
    Progress,
    Speaker,
    guarded,
    opened,
    reader_of,
    say_end,
    say_findings,
    say_identity,
    slot_value,
)
from multipaxos.core.ballot import ballot_text
from multipaxos.host.chosen_slots import Chosen
from multipaxos.host.decree_words import kind_text, time_text
from multipaxos.host.journal_copy import JournalCopy
from multipaxos.storage.record import ACCEPTED, KEPT, LEARNED, MARK, PROMISED, SEAL, Found, UnreadableRecord
from multipaxos.storage.seal import decode_seal

LAST_SHOWN: Final = 10
"""So many slots are shown where nobody says which."""

_KIND_NAMES: Final = {
    ACCEPTED: "accepted",
    PROMISED: "promised",
    LEARNED: "learned",
    MARK: "mark",
    KEPT: "kept",
    SEAL: "seal",
}


def _say_slot(speaker: Speaker, value: dict[str, Any]) -> None:
    if value["how"] == "missing":
        speaker.say(f"slot {value['slot']}  MISSING: said to be chosen, and not in the journal")
        return
    when = time_text(value["time_ms"])
    speaker.say(
        f"slot {value['slot']}  {value['ballot']}  {value['kind']}  {value['how']}  {value['bytes']} bytes"
        + (f"  {when}" if when else "")
    )
    for text in value["says"]:
        speaker.say(f"    {text}")
    if "decree" in value:
        speaker.say(f"    {value['decree']}")


def show(
    directory: str = DIRECTORY,
    first: int | None = typer.Option(None, "--from", min=1, help="First slot; alone: from it to the end."),
    last: int | None = typer.Option(None, "--to", min=1, help="Last slot; alone: from slot 1 to it."),
    is_records: bool = typer.Option(False, "--records", help="Each record of the journal as written, seals included."),
    is_raw: bool = RAW,
    is_json: bool = JSON,
) -> None:
    """Who the directory belongs to, its segments and promise, and the decrees of its slots in words.

    Without --from and --to: the last slots that are known to be chosen, and the votes above them.
    """
    speaker = Speaker(is_json)
    if first is not None and last is not None and last < first:
        raise typer.BadParameter(f"slot {last} comes before slot {first}", param_hint="--to")

    def work() -> int:
        with opened(directory) as copy:
            say_identity(speaker, copy)
            _say_segments(speaker, copy)
            if is_records:
                return _show_records(speaker, copy, first, last, is_raw)
            return _show_slots(speaker, copy, first, last, is_raw)

    guarded(speaker, work)


def _say_segments(speaker: Speaker, copy: JournalCopy) -> None:
    speaker.value["segments"] = [
        {
            "file": link.name,
            "base": link.head.base,
            "end": link.end,
            "file_bytes": link.head.file_bytes,
            "incarnation": link.head.incarnation,
            "promised": ballot_text(link.head.promised.get(0, -1)),
        }
        for link in copy.recovery.chain
    ]
    for link in copy.recovery.chain:
        end = "on" if link.end is None else f"to {link.end:,}"
        speaker.say(f"  {link.name}  from position {link.head.base:,} {end}, made by start {link.head.incarnation}")


def _show_slots(speaker: Speaker, copy: JournalCopy, first: int | None, last: int | None, is_raw: bool) -> int:
    reader = reader_of(copy)
    progress = Progress([copy], f"reading {copy.path}")
    is_tail = first is None and last is None
    tail: deque[Chosen] = deque(maxlen=LAST_SHOWN)
    values: list[dict[str, object]] = []
    speaker.value["slots"] = values

    def tell(slot: int, ballot: int, decree: bytes | None, how: str) -> None:
        value = slot_value(slot, ballot, decree, how, is_raw)
        if speaker.is_json:
            values.append(value)
        else:
            progress.clear()
            _say_slot(speaker, value)

    try:
        for chosen in reader.slots():
            progress.at(chosen.slot)
            if is_tail:
                tail.append(chosen)
            elif (first or 1) <= chosen.slot <= (last or chosen.slot):
                tell(chosen.slot, chosen.ballot, chosen.decree, "learned" if chosen.is_learned else "chosen")
    finally:
        # What was read before a damaged place is shown; the damage is said behind it.
        for chosen in tail:
            tell(chosen.slot, chosen.ballot, chosen.decree, "learned" if chosen.is_learned else "chosen")
        progress.clear()
    for slot, ballot, decree, is_known in reader.open_votes():
        if is_tail or (first or 1) <= slot <= (last or slot):
            tell(slot, ballot, decree, "learned" if is_known else "vote")
    say_end(speaker, copy, reader)
    return say_findings(speaker, reader)


def _show_records(speaker: Speaker, copy: JournalCopy, first: int | None, last: int | None, is_raw: bool) -> int:
    values: list[dict[str, object]] = []
    speaker.value["journal"] = values
    is_all = first is None and last is None
    for link, found in copy.found():
        slot = found[4]
        if is_all or (slot and (first or 1) <= slot <= (last or slot)):
            value = _record_value(link.name, link.offset_of(found[0]), found, is_raw)
            if speaker.is_json:
                values.append(value)
            else:
                speaker.say("  ".join(f"{name} {text}" for name, text in value.items()))
    reader = reader_of(copy)
    for _ in reader.slots():  # says where the end is, and whether it is one
        pass
    say_end(speaker, copy, reader)
    return say_findings(speaker, reader)


def _record_value(name: str, offset: int, found: Found, is_raw: bool) -> dict[str, object]:
    position, _, kind, group, slot, ballot, prefix, body = found
    value: dict[str, object] = {
        "position": position,
        "file": name,
        "offset": offset,
        "kind": _KIND_NAMES.get(kind, f"unknown {kind}"),
    }
    if group:
        value["group"] = group
    if kind in (ACCEPTED, LEARNED):
        value.update({"slot": slot, "decree": kind_text(body)})
    if kind in (ACCEPTED, LEARNED, PROMISED):
        value["ballot"] = ballot_text(ballot)
    if kind in (ACCEPTED, MARK):
        value["prefix"] = prefix
    if kind == SEAL:
        value["durable"] = prefix
        value["names"] = _named_by(body)
    value["bytes"] = len(body)
    if is_raw:
        value["body"] = body.hex()
    return value


def _named_by(body: bytes) -> str:
    """The votes that a seal names, and the promise: what would be known to be lost if they could not be read."""
    try:
        newest = decode_seal(body)[0]
    except UnreadableRecord as error:
        return str(error)
    runs = [
        f"{first} at {ballot_text(ballot)}" if first == last else f"{first} to {last} at {ballot_text(ballot)}"
        for _, first, last, ballot in newest.runs
    ]
    promised = ", ".join(ballot_text(ballot) for group, ballot in newest.promises if group == 0)
    return f"votes {', '.join(runs) or 'none'}; promise {promised or 'none'}"


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command()(show)
