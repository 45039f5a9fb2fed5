"""``multipaxos journal verify``: everything of a data directory read and checked, nothing changed."""

import typer

from multipaxos.cli.journal_report import (
    DIRECTORY,
    FAILED,
    JSON,
    RUNS_SHOWN_MAX,
    Progress,
    Speaker,
    guarded,
    opened,
    reader_of,
    say_end,
    say_findings,
    say_identity,
)
from multipaxos.core.ballot import ballot_text
from multipaxos.core.decree import KIND_CONFIGURATION, configuration_text_of, kind_of
from multipaxos.core.membership import decode_configuration
from multipaxos.host.decree_words import is_readable
from multipaxos.host.journal_copy import JournalCopy
from multipaxos.storage.faults import JournalDamaged


def verify(directory: str = DIRECTORY, is_json: bool = JSON) -> None:
    """Read and check everything: identity, heads, checksums, order, seals, promise copies, the chosen prefix.

    Damage is named with its file and position and with the votes that were lost; a start would refuse it in the same
    words. Exit code 1 where anything is wrong.
    """
    speaker = Speaker(is_json)

    def work() -> int:
        with opened(directory) as copy:
            say_identity(speaker, copy)
            return _verify(speaker, copy)

    guarded(speaker, work)


def _verify(speaker: Speaker, copy: JournalCopy) -> int:
    reader = reader_of(copy)
    progress = Progress([copy], f"verifying {copy.path}")
    unknown: list[int] = []
    born = ""
    try:
        for chosen in reader.slots():
            progress.at(chosen.slot)
            if chosen.decree is not None and not is_readable(chosen.decree):
                unknown.append(chosen.slot)
            elif chosen.slot == 1:
                born = _cluster_of(chosen.decree)
    except JournalDamaged as error:
        progress.clear()
        gaps = copy.unreadable()
        speaker.value["unreadable"] = [{"file": name, "from": start, "to": end} for name, start, end in gaps]
        speaker.say(f"read up to position {copy.recovery.end:,}, chosen up to slot {reader.prefix}")
        for name, start, end in gaps:
            speaker.say(f"unreadable: {end - start:,} bytes of {name}, positions {start:,} to {end:,}")
        raise error
    finally:
        progress.clear()
    say_end(speaker, copy, reader)
    code = say_findings(speaker, reader)
    for slot in unknown[:RUNS_SHOWN_MAX]:
        speaker.say(f"FOUND, decree: what slot {slot} holds is no decree this version can read")
    copies = [f"promise-{copy_number}" for copy_number in copy.recovery.unreadable_copies]
    for name in copies:
        speaker.say(
            f"FOUND, copy: {name} cannot be read; the promise stands elsewhere ({ballot_text(copy.promised)}), "
            "and the next start writes the copy anew"
        )
    leftover = copy.recovery.superseded
    if leftover:
        speaker.say(f"left over from a start that was interrupted, or being made: {', '.join(leftover)}")
    speaker.value.update(
        {"unreadable_decrees": unknown, "unreadable_copies": copies, "left_over": leftover, "born": born}
    )
    own = copy.directory.cluster
    is_mixed = born != "" and own != "" and born != own
    if is_mixed:
        speaker.say(f"FOUND, cluster: the journal is of cluster {born}, the directory of {own}: files were mixed")
    if unknown or copies or is_mixed:
        code = FAILED
    speaker.say("all of it is as it was written" if code == 0 else "something is wrong with it; see above")
    return code


def _cluster_of(decree: bytes | None) -> str:
    """The cluster that the decree of slot 1 gave birth to; empty where it says none."""
    if decree is None or kind_of(decree) != KIND_CONFIGURATION:
        return ""
    return decode_configuration(configuration_text_of(decree)).cluster


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command()(verify)
