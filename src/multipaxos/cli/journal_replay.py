"""``multipaxos journal replay``: the ledger executed by the code that serves, and the state behind any slot."""

import contextlib
import sys
from collections.abc import Callable
from typing import Final

import typer

from multipaxos.cli.journal_report import (
    DIRECTORY,
    FAILED,
    JSON,
    RAW,
    Progress,
    Speaker,
    guarded,
    opened,
    reader_of,
    say_identity,
)
from multipaxos.host.chosen_slots import Chosen
from multipaxos.host.decree_words import payload_text, shown_path, time_text
from multipaxos.host.journal_copy import JournalCopy
from multipaxos.host.replay import Replay, State
from multipaxos.storage.faults import JournalDamaged

VALUE_SHOWN_MAX: Final = 4096
"""Characters of a znode's data that ``--path`` shows; with ``--raw`` all."""


def _state_value(state: State) -> dict[str, object]:
    return {
        "slot": state.slot,
        "zxid": f"0x{state.zxid:x}",
        "epoch": state.epoch,
        "time_ms": state.time_ms,
        "znodes": state.znodes,
        "ephemerals": state.ephemerals,
        "sessions": state.sessions,
        "data_bytes": state.data_bytes,
        "digest": state.digest,
    }


def _nobody_watches(replay: Replay, chosen: Chosen) -> None:
    """Most only want the end."""


def replayed(
    copy: JournalCopy,
    last: int | None,
    speaker: Speaker,
    watch: Callable[[Replay, Chosen], None] = _nobody_watches,
) -> Replay | None:
    """The state machine at slot ``last``, or at the last one known to be chosen; None, with why said, where that fails.

    ``watch`` hears of each slot that was executed.
    """
    replay = Replay()
    reader = reader_of(copy)
    progress = Progress([copy], f"replaying {copy.path}")
    missing = 0
    try:
        if last != 0:
            for chosen in reader.slots():
                progress.at(chosen.slot)
                if chosen.decree is None:
                    missing = chosen.slot
                    break
                replay.apply(chosen.slot, chosen.decree)
                watch(replay, chosen)
                if chosen.slot == last:
                    break
    except JournalDamaged:
        progress.clear()
        speaker.say(f"replayed up to slot {replay.slot}; there the journal is damaged")
        speaker.value["replayed"] = replay.slot
        raise
    finally:
        progress.clear()
    why = ""
    if missing:
        why = f"slot {missing} is said to be chosen, and its decree is not in the journal: nothing behind it can be replayed"
    elif last is not None and replay.slot < last:
        why = (
            f"this journal knows slots up to {replay.slot} to be chosen, not slot {last}"
            + (": ask again, the replica runs" if copy.holder else "; another replica's may know more")
        )  # fmt: skip
    if why:
        print(f"error: {why}", file=sys.stderr)
        speaker.value.update({"error": why, "kind": "missing" if missing else "beyond", "replayed": replay.slot})
        return None
    return replay


def replay_to(
    directory: str = DIRECTORY,
    last: int | None = typer.Option(
        None, "--to", min=0, help="The slot to stop behind.", show_default="the last one known to be chosen"
    ),
    is_tree: bool = typer.Option(False, "--tree", help="List all znodes."),
    path: str | None = typer.Option(
        None, "--path", help="Show one znode as it stood at that slot.", show_default=False
    ),
    is_raw: bool = RAW,
    is_json: bool = JSON,
) -> None:
    """Execute the ledger with the code that serves, and show the state behind a slot.

    The digest is equal on all replicas at the same slot.
    """
    speaker = Speaker(is_json)
    if path is not None and not path.startswith("/"):
        raise typer.BadParameter(f"{path!r} is not a path: it starts with /", param_hint="--path")

    def work() -> int:
        with opened(directory) as copy:
            say_identity(speaker, copy)
            replay = replayed(copy, last, speaker)
            if replay is None:
                return FAILED
            state = replay.state()
            speaker.value.update(_state_value(state))
            speaker.value["commands"] = replay.commands
            speaker.say(
                f"slot {state.slot}  zxid 0x{state.zxid:x}  epoch {state.epoch}  {time_text(state.time_ms)}  "
                f"{replay.commands:,} commands"
            )
            speaker.say(
                f"{state.znodes:,} znodes ({state.ephemerals:,} ephemeral), {state.sessions:,} sessions, "
                f"{state.data_bytes:,} bytes of paths and data"
            )
            speaker.say(f"digest {state.digest}")
            if is_tree:
                _say_tree(speaker, replay)
            return 0 if path is None else _say_znode(speaker, replay, path, is_raw)

    guarded(speaker, work)


def _say_tree(speaker: Speaker, replay: Replay) -> None:
    facts = [replay.facts(path) for path in replay.paths()]
    if speaker.is_json:
        speaker.value["tree"] = facts
    for one in facts:
        owner = f"  of session {one['session']}" if one["session"] else ""
        speaker.say(
            f"{shown_path(str(one['path']))}  {one['bytes']} bytes  version {one['version']}  {one['mzxid']}{owner}"
        )


def _say_znode(speaker: Speaker, replay: Replay, path: str, is_raw: bool) -> int:
    node = replay.znode(path)
    if node is None:
        speaker.value["znode"] = None
        speaker.say(f"at slot {replay.slot} there is no {shown_path(path)}")
        return FAILED
    facts = replay.facts(path)
    data = node.data
    text = None
    if data is not None:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode()
    speaker.value["znode"] = {**facts, "value": text, "data": None if data is None else data.hex()}
    speaker.say(f"{shown_path(path)} at slot {replay.slot}")
    for name, value in facts.items():
        if name != "path" and value != "":
            speaker.say(
                f"  {name}  {value}"
                + (f"  {time_text(value)}" if name in ("ctime_ms", "mtime_ms") and isinstance(value, int) else "")
            )
    if is_raw:
        speaker.say(f"  data  {'null' if data is None else data.hex()}")
    elif text is None or not text.isprintable() or len(text) > VALUE_SHOWN_MAX:
        speaker.say(f"  data  {payload_text(data)}")
    else:
        speaker.say(f"  data  {text}")
    return 0


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command(name="replay")(replay_to)
