"""``multipaxos journal history``: which slots changed what stands at a path, and by which commands."""

import re
from collections.abc import Sequence
from typing import Final

import typer

from multipaxos.cli.journal_replay import replayed
from multipaxos.cli.journal_report import DIRECTORY, FAILED, JSON, Speaker, guarded, opened, say_identity
from multipaxos.host.chosen_slots import Chosen
from multipaxos.host.decree_words import decree_texts, payload_text, shown_path, time_text
from multipaxos.host.path_history import Change, PathHistory
from multipaxos.host.replay import Replay

TEXTS_SHOWN_MAX: Final = 5
"""Where nobody can say which of a slot's commands it was, so many of them are shown."""

_SEQUENCE_DIGITS: Final = 10


def history(
    directory: str = DIRECTORY,
    path: str = typer.Argument(metavar="PATH", help="Path of a znode, like /app/config.", show_default=False),
    last: int | None = typer.Option(
        None, "--to", min=0, help="The slot to stop behind.", show_default="the last one known to be chosen"
    ),
    is_json: bool = JSON,
) -> None:
    """Each slot in which a path was created, set or deleted, with the commands that did it.

    The ledger is executed, so names of sequential nodes, multis and ephemerals that went with their session are found.
    """
    speaker = Speaker(is_json)
    if not path.startswith("/"):
        raise typer.BadParameter(f"{path!r} is not a path: it starts with /", param_hint="PATH")

    def work() -> int:
        with opened(directory) as copy:
            say_identity(speaker, copy)
            values: list[dict[str, object]] = []
            speaker.value.update({"znode": path, "changes": values})
            found = PathHistory(path)
            count = 0

            def watch(replay: Replay, chosen: Chosen) -> None:
                nonlocal count
                change = found.look(replay)
                if change is not None and chosen.decree is not None:
                    count += 1
                    by = _who(decree_texts(chosen.decree), path, change.session)
                    if is_json:
                        values.append(_change_value(change, by))
                    else:
                        _say_change(speaker, change, by)

            replay = replayed(copy, last, speaker, watch)
            if replay is None:
                return FAILED
            speaker.value["slot"] = replay.slot
            if not count:
                speaker.say(f"no slot up to {replay.slot} changed {shown_path(path)}")
            return 0 if count else FAILED

    guarded(speaker, work)


def _who(texts: Sequence[str], path: str, session: int) -> list[str]:
    """The commands of a slot that name the path, or end the session it went with."""
    names = [path]
    if path[-_SEQUENCE_DIGITS:].isdigit():
        names.append(path[:-_SEQUENCE_DIGITS])  # a sequential node is asked for without its number
    wanted = "|".join(re.escape(shown_path(name)) for name in names)
    naming = re.compile(rf"(?<!\S)(?:{wanted})(?=[ ,;]|$)")
    found = [text for text in texts if naming.search(text)]
    if not found and session:
        ended = f"session 0x{session:x}"
        found = [text for text in texts if text.startswith((f"close {ended} ", f"expire {ended},"))]
    return found or list(texts[:TEXTS_SHOWN_MAX])


def _change_value(change: Change, by: Sequence[str]) -> dict[str, object]:
    return {
        "slot": change.slot,
        "time_ms": change.time_ms,
        "change": change.word,
        "version": change.version,
        "bytes": 0 if change.data is None else len(change.data),
        "data": None if change.data is None else change.data.hex(),
        "by": list(by),
    }


def _say_change(speaker: Speaker, change: Change, by: Sequence[str]) -> None:
    there = "" if change.word == "deleted" else f"  {payload_text(change.data)}  version {change.version}"
    speaker.say(f"slot {change.slot}  {time_text(change.time_ms)}  {change.word}{there}")
    for text in by:
        speaker.say(f"    {text}")


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command()(history)
