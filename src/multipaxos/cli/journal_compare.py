"""``multipaxos journal compare``: the first slot in which replicas differ, or up to where they are equal."""

import contextlib
from collections.abc import Sequence

import typer

from multipaxos.cli.journal_replay import replayed
from multipaxos.cli.journal_report import (
    FAILED,
    JSON,
    RAW,
    Progress,
    Speaker,
    guarded,
    identity,
    opened,
    reader_of,
    replicas_in,
    slot_value,
    slots_text,
)
from multipaxos.core.ballot import ballot_text
from multipaxos.host.decree_words import decree_texts, decree_time_ms, kind_text, time_text
from multipaxos.host.divergence import Comparison, Held, compare, first_difference
from multipaxos.host.journal_copy import JournalCopy
from multipaxos.storage.identity import DirectoryRefused


def compare_journals(
    directories: list[str] = typer.Argument(
        metavar="DIR DIR...",
        help="Two or more data directories or copies; or the folder of a local cluster.",
        show_default=False,
    ),
    is_state: bool = typer.Option(
        False, "--state", help="Replay each as well, and compare the digests of the state at the last slot all hold."
    ),
    is_raw: bool = RAW,
    is_json: bool = JSON,
) -> None:
    """Name the first slot in which two replicas hold different decrees, or say up to where they are equal."""
    speaker = Speaker(is_json)
    paths = [inside for directory in directories for inside in (replicas_in(directory) or [directory])]
    if len(paths) < 2:
        raise typer.BadParameter("two directories at least can be compared", param_hint="DIRECTORIES")

    def work() -> int:
        with contextlib.ExitStack() as stack:
            copies = [stack.enter_context(opened(path)) for path in paths]
            return _compare(speaker, copies, is_state, is_raw)

    guarded(speaker, work)


def _compare(speaker: Speaker, copies: list[JournalCopy], is_state: bool, is_raw: bool) -> int:
    names = _names_of(copies)
    clusters = sorted({copy.directory.cluster for copy in copies if copy.directory.cluster})
    if len(clusters) > 1:
        raise DirectoryRefused(
            "other-cluster",
            f"these are replicas of {len(clusters)} clusters ({', '.join(clusters)}): nothing says they should be equal",
        )
    readers = [reader_of(copy) for copy in copies]
    progress = Progress(copies, "comparing")
    try:
        whole = compare(list(zip(names, readers, strict=True)), progress.at)
    finally:
        progress.clear()
    in_all = min(side.prefix for side in whole.sides)
    equal_in_all = whole.slot - 1 if whole.slot and in_all >= whole.slot else in_all
    speaker.value.update({"equal_up_to": equal_in_all, "compared_up_to": whole.compared_up_to, "slot": whole.slot})
    if whole.slot:
        _say_difference(speaker, whole, is_raw)
    else:
        further = whole.compared_up_to > equal_in_all
        beyond = f", and up to slot {whole.compared_up_to} in those that go so far" if further else ""
        speaker.say(f"nothing differs: equal up to slot {equal_in_all} in all of them{beyond}")
    code = FAILED if whole.slot else 0
    ends: list[dict[str, object]] = []
    for name, copy, side in zip(names, copies, whole.sides, strict=True):
        reader = side.reader
        open_slots = sorted(side.open)
        ends.append(
            {
                **identity(copy),
                "name": name,
                "chosen_prefix": reader.prefix,
                "above": open_slots,
                "damage": side.damage,
                "finding_count": reader.finding_count,
            }
        )
        read = "compared" if whole.slot else "chosen"
        beyond = f"; above it votes in {slots_text(open_slots)}" if open_slots else ""
        running = f"; process {copy.holder} runs on it, so this was its end when it was read" if copy.holder else ""
        speaker.say(f"{name}: {read} up to slot {reader.prefix}{beyond}{running}")
        if side.damage:
            speaker.say(f"  DAMAGED: {side.damage}")
        elif reader.finding_count:
            speaker.say(f"  {reader.finding_count} findings; see: multipaxos journal verify {copy.path}")
        if side.damage or reader.finding_count:
            code = FAILED
    speaker.value["replicas"] = ends
    if is_state:
        code = max(code, _say_states(speaker, names, copies, whole))
    return code


def _names_of(copies: Sequence[JournalCopy]) -> list[str]:
    """By replica; with the path where one stands there twice."""
    ids = [copy.replica for copy in copies]
    return [
        f"replica {copy.replica}" if ids.count(copy.replica) == 1 else f"replica {copy.replica} in {copy.path}"
        for copy in copies
    ]


def _say_difference(speaker: Speaker, whole: Comparison, is_raw: bool) -> None:
    speaker.say(f"they differ in slot {whole.slot}; up to slot {whole.compared_up_to} nothing differs")
    values: list[dict[str, object]] = []
    for one in whole.held:
        value = slot_value(whole.slot, one.ballot, one.decree, one.how, is_raw)
        values.append({"name": one.name, **value})
        speaker.say(f"  {one.name}:")
        if one.decree is None:
            speaker.say("    MISSING: said to be chosen, and not in the journal")
            continue
        how = {"voted": "chosen, by its own vote", "learned": "chosen, learned from a peer"}.get(one.how, "a vote")
        when = time_text(decree_time_ms(one.decree))
        speaker.say(
            f"    {kind_text(one.decree)} of {len(one.decree)} bytes at {ballot_text(one.ballot)}, {how}  {when}"
        )
        for text in decree_texts(one.decree):
            speaker.say(f"    {text}")
        if is_raw:
            speaker.say(f"    {one.decree.hex()}")
    speaker.value["held"] = values
    offset = _offset_of_difference(whole.held)
    speaker.value["offset"] = offset
    if offset >= 0:
        speaker.say(f"  the first byte that differs is number {offset} of the decree")
    odd = _odd_one_out(whole.held)
    if odd:
        speaker.value["odd"] = odd
        speaker.say(f"  {odd} stands alone; the others hold the same")


def _offset_of_difference(held: Sequence[Held]) -> int:
    """Of the first decree and one that differs from it."""
    decrees = [one.decree for one in held if one.decree is not None]
    for other in decrees[1:]:
        offset = first_difference(decrees[0], other)
        if offset >= 0:
            return offset
    return -1


def _odd_one_out(held: Sequence[Held]) -> str:
    """Who holds something else than all others, where that can be said."""
    if len(held) < 3:
        return ""
    for one in held:
        if len({other.decree for other in held if other is not one}) == 1:
            return one.name
    return ""


def _say_states(speaker: Speaker, names: Sequence[str], copies: Sequence[JournalCopy], whole: Comparison) -> int:
    """Replay each to the last slot all hold, or to the one that differs."""
    last = min(side.prefix for side in whole.sides)
    if 0 < whole.slot <= last:
        # Where a decree is missing the state before it is the last that all have.
        last = whole.slot - any(one.decree is None for one in whole.held)
    digests: dict[str, str] = {}
    for name, old in zip(names, copies, strict=True):
        with opened(old.path) as copy:
            replay = replayed(copy, last, speaker)
        if replay is None:
            return FAILED
        digests[name] = replay.state().digest
        speaker.say(f"{name}: state at slot {last} has digest {digests[name]}")
    is_equal = len(set(digests.values())) == 1
    speaker.value["state"] = {"slot": last, "digests": digests, "is_equal": is_equal}
    speaker.say(f"the state at slot {last} is equal" if is_equal else f"the state at slot {last} differs")
    return 0 if is_equal else FAILED


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command(name="compare")(compare_journals)
