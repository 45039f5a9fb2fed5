"""What the commands of ``multipaxos journal`` have in common: opening, saying, failing, showing how far they are.

Text is for people; with ``--json`` there is one object on the last line instead. Knows nothing of any one command.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import typer

from multipaxos.core.ballot import ballot_text
from multipaxos.host.chosen_slots import ChosenReader
from multipaxos.host.decree_words import decree_texts, decree_time_ms, kind_text
from multipaxos.host.journal_copy import DirectoryChanged, JournalCopy
from multipaxos.storage.faults import JournalDamaged
from multipaxos.storage.identity import MARK, DirectoryRefused

FAILED: Final = 1

RUNS_SHOWN_MAX: Final = 10

PROGRESS_EVERY_S: Final = 0.5
PROGRESS_SLOTS: Final = 2048

DIRECTORY: Final = typer.Argument(
    metavar="DIR", help="Data directory of a replica, or a copy of one.", show_default=False
)
JSON: Final = typer.Option(False, "--json", help="Print one JSON object, on the last line.")
RAW: Final = typer.Option(False, "--raw", help="Payloads whole, in hexadecimal.")


class Speaker:
    """Text for people, or one object at the end."""

    def __init__(self, is_json: bool) -> None:
        self.is_json = is_json
        self.value: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """A line, where people read."""
        if not self.is_json:
            print(text)

    def finish(self, code: int) -> None:
        """End the command."""
        if self.is_json:
            print(json.dumps({"ok": code == 0, **self.value}))
        raise typer.Exit(code)


class Progress:
    """How far the reading is, on a terminal's error stream, when it takes longer than a moment."""

    def __init__(self, copies: Sequence[JournalCopy], doing: str) -> None:
        self._copies = copies
        self._doing = doing
        self._is_shown = sys.stderr.isatty()
        self._due = time.monotonic() + PROGRESS_EVERY_S
        self._width = 0

    def at(self, slot: int) -> None:
        """The reading has come to this slot."""
        if not self._is_shown or slot % PROGRESS_SLOTS or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PROGRESS_EVERY_S
        whole = sum(copy.ends_at for copy in self._copies)
        done = sum(copy.recovery.end for copy in self._copies)
        text = f"{self._doing}: slot {slot:,}, {100 * done // max(1, whole)} %"
        self._width = max(self._width, len(text))
        print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)


def guarded(speaker: Speaker, work: Callable[[], int]) -> None:
    """Run a command and turn its outcome into an exit code."""
    try:
        code = work()
    except BrokenPipeError:
        raise  # who reads has seen enough: no fault of the directory
    except (DirectoryRefused, JournalDamaged, DirectoryChanged, OSError) as error:
        sys.stdout.flush()  # where both go to one place, what was read before stands before it
        print(f"error: {error}", file=sys.stderr)
        speaker.value.update({"error": str(error), "kind": _kind_of(error)})
        if isinstance(error, JournalDamaged):
            speaker.value["damage"] = _damage_value(error)
        code = FAILED
    speaker.finish(code)


def _kind_of(error: Exception) -> str:
    if isinstance(error, DirectoryRefused):
        return error.reason
    if isinstance(error, JournalDamaged):
        return "damaged"
    return "changed" if isinstance(error, DirectoryChanged) else "unreadable"


def _damage_value(error: JournalDamaged) -> dict[str, object]:
    return {
        "file": error.segment,
        "position": error.position,
        "votes": [
            {"group": group, "first": first, "last": last, "ballot": ballot_text(ballot)}
            for group, first, last, ballot in error.votes
        ],
        "is_listed": error.is_listed,
    }


def replicas_in(path: str) -> list[str]:
    """The data directories of a local cluster's folder, by replica; empty where it is none."""
    if not os.path.isdir(path) or os.path.exists(os.path.join(path, MARK)):
        return []
    names = [name for name in os.listdir(path) if re.fullmatch(r"replica-\d+", name)]
    names.sort(key=lambda name: int(name.removeprefix("replica-")))
    found = [os.path.join(path, name) for name in names]
    return [one for one in found if os.path.exists(os.path.join(one, MARK))]


@contextlib.contextmanager
def opened(path: str) -> Iterator[JournalCopy]:
    inside = replicas_in(path)
    if inside:
        raise DirectoryRefused("foreign", f"{path} holds several replicas; give one of them: {' '.join(inside)}")
    copy = JournalCopy.open(path)
    try:
        yield copy
    finally:
        copy.close()


def reader_of(copy: JournalCopy) -> ChosenReader:
    return ChosenReader(copy.records(), lambda: copy.recovery.end)


def identity(copy: JournalCopy) -> dict[str, object]:
    return {
        "path": copy.path,
        "replica": copy.replica,
        "cluster": copy.directory.cluster,
        "mark": f"{copy.directory.mark:016x}",
        "incarnation": copy.incarnation,
        "is_copy": copy.is_copy,
        "process": copy.holder,
        "stopped": copy.directory.stopped,
    }


def say_identity(speaker: Speaker, copy: JournalCopy) -> None:
    speaker.value.update(identity(copy))
    cluster = copy.directory.cluster or "not born yet, as far as the directory knows"
    speaker.say(
        f"replica {copy.replica} of cluster {cluster}, mark {copy.directory.mark:016x}, "
        f"incarnation {copy.incarnation}: {copy.path}"
    )
    if copy.holder:
        speaker.say(f"  process {copy.holder} runs on it: this is the journal up to the moment it was read")
    if copy.is_copy:
        speaker.say("  a copy: its mark file is not the one that was made with it")
    if copy.directory.stopped:
        speaker.say(f"  last time it stopped: {copy.directory.stopped}")


def _end_value(copy: JournalCopy, reader: ChosenReader) -> dict[str, object]:
    open_votes = reader.open_votes()
    return {
        "records": reader.record_count,
        "promised": ballot_text(copy.promised),
        "chosen_prefix": reader.prefix,
        "floor": copy.recovery.chain[-1].head.floor,
        "open_votes": [slot for slot, _, _, is_known in open_votes if not is_known],
        "learned_above": [slot for slot, _, _, is_known in open_votes if is_known],
        "end": copy.recovery.end,
        "sealed": copy.recovery.sealed,
        "torn": copy.recovery.cut,
    }


def say_end(speaker: Speaker, copy: JournalCopy, reader: ChosenReader) -> None:
    value = _end_value(copy, reader)
    speaker.value.update(value)
    speaker.say(
        f"chosen up to slot {reader.prefix}, as far as its own marks say; promised {value['promised']}; "
        f"floor {value['floor']}"
    )
    for name, what in (
        ("open_votes", "votes above it, not known here to be chosen"),
        ("learned_above", "learned above a gap"),
    ):
        slots = value[name]
        if isinstance(slots, list) and slots:
            speaker.say(f"{what}: {slots_text(slots)}")
    speaker.say(
        f"{reader.record_count:,} records up to position {copy.recovery.end:,}, sealed up to {copy.recovery.sealed:,}"
    )
    if copy.recovery.cut:
        why = "a write was under way" if copy.holder else "a start would say"
        speaker.say(f"the end is torn, which a crash explains; {why}: {copy.recovery.cut}")


def slots_text(slots: Sequence[int]) -> str:
    """Slots in runs: 4 to 7, 9."""
    runs: list[list[int]] = []
    for slot in slots:
        if runs and slot == runs[-1][1] + 1:
            runs[-1][1] = slot
        else:
            runs.append([slot, slot])
    texts = [str(first) if first == last else f"{first} to {last}" for first, last in runs[:RUNS_SHOWN_MAX]]
    return ", ".join(texts) + (f" and {len(runs) - RUNS_SHOWN_MAX} more runs" if len(runs) > RUNS_SHOWN_MAX else "")


def slot_value(slot: int, ballot: int, decree: bytes | None, how: str, is_raw: bool) -> dict[str, object]:
    if decree is None:
        return {"slot": slot, "how": "missing"}
    value: dict[str, object] = {
        "slot": slot,
        "ballot": ballot_text(ballot),
        "how": how,
        "kind": kind_text(decree),
        "time_ms": decree_time_ms(decree),
        "bytes": len(decree),
        "says": decree_texts(decree),
    }
    if is_raw:
        value["decree"] = decree.hex()
    return value


def say_findings(speaker: Speaker, reader: ChosenReader) -> int:
    speaker.value["findings"] = [
        {"kind": one.kind, "slot": one.slot, "position": one.position, "text": one.text} for one in reader.findings
    ]
    speaker.value["finding_count"] = reader.finding_count
    for one in reader.findings:
        speaker.say(f"FOUND, {one.kind}: {one.text}; seen at position {one.position:,}")
    if reader.finding_count > len(reader.findings):
        speaker.say(f"and {reader.finding_count - len(reader.findings)} more")
    return FAILED if reader.finding_count else 0
