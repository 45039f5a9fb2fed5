"""The three commands of Basic Paxos by hand: ``acceptor``, ``propose``, ``learn``; what they print and how they exit.

The acceptor as a process is ``synod_acceptor.py``, a run on the network ``synod_run.py``; what is decided stands in
``synod/``. ``python -m multipaxos.host.synod acceptor|propose|learn`` is all three without the packages of the command
line; ``cli/synod.py`` is the same with help. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import textwrap
from typing import Final

from multipaxos.core.ballot import CLASSES, NO_BALLOT
from multipaxos.core.effects import Note
from multipaxos.host.synod_acceptor import AcceptorProcess, LineThread, Say
from multipaxos.host.synod_run import WrongUsage, checked_addresses, learn, propose, silent
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.identity import DataDirectory, DirectoryRefused
from multipaxos.synod.acceptor import NAMES_MAX, NamedAcceptor, UnreadableRecords
from multipaxos.synod.proposer import CHOSEN, NONE_CHOSEN, TIMED_OUT, Outcome, Proposer, Settings
from multipaxos.synod.words import sentence

BY_HAND: Final = CLASSES - 1
"""The replica id in the directory of a hand-run acceptor: no replica of the service starts from such a directory."""

SEGMENT_BYTES: Final = 1 << 20

LINE_WIDTH: Final = 110  # where no terminal and no COLUMNS says another
LINE_WIDTH_MIN: Final = 40

TIMEOUT_S: Final = Settings().timeout_ns / 1e9
LINGER_S: Final = Settings().linger_ns / 1e9

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130


def run_acceptor(listen: str, path: str, names_max: int = NAMES_MAX, moved: bool = False, quiet: bool = False) -> int:
    """``multipaxos acceptor``: returns the exit code."""
    host, _, port = listen.rpartition(":")
    # A port alone would mean every interface: whoever wants that types 0.0.0.0.
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        _complain(f"--listen {listen}: write HOST:PORT, for example 127.0.0.1:7001; port 0 takes a free one")
        return WRONG_USAGE
    if names_max < 1:
        _complain("--names-max: an acceptor that may hold no name can answer nobody")
        return WRONG_USAGE
    lines = LineThread()
    try:
        directory = _directory(path, moved, lines.say)
        try:
            return _serve(directory, host.strip("[]"), int(port), names_max, quiet, lines.say)
        finally:
            directory.close()
    except DirectoryRefused as error:
        _complain(f"{error} (For an acceptor by hand: another acceptor in its place takes part in new names only.)")
    except (JournalDamaged, UnreadableRecords) as error:
        _complain(
            f"{path}: {error} An acceptor by hand that forgot something must never answer again for the names it knew: "
            "leave it off, and decide new names with a new acceptor."
        )
    except (JournalFailed, JournalFull) as error:
        _complain(str(error))
    except OSError as error:
        _complain(
            f"cannot listen on {listen}: {error.strerror or error}. Stop whoever listens there, or give another port."
        )
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        lines.stop()
    return FAILED


def _directory(path: str, moved: bool, say: Say) -> DataDirectory:
    """The acceptor's directory: made at the first start, and never where one was and is gone (rule-R41)."""
    found = DataDirectory.look(path)
    if found in ("missing", "unfinished"):
        directory = DataDirectory.create(path, BY_HAND)
        say(("acceptor.created", (path, f"{directory.mark:016x}")))
        return directory
    if found == "empty":
        raise DirectoryRefused(
            "empty",
            f"{path} exists and is empty. If this acceptor is new, remove it (rmdir {path}) and start again: its first "
            "start makes it. If it ran before, its memory is gone, and it must not vote at its old address again.",
        )
    directory = DataDirectory.open(path, BY_HAND, moved=moved)
    if directory.stopped:
        _complain(f"the last run stopped: {directory.stopped}")
    return directory


def _serve(directory: DataDirectory, host: str, port: int, names_max: int, quiet: bool, say: Say) -> int:
    identity = f"{directory.mark:016x}"
    acceptor = NamedAcceptor(identity, names_max)
    journal = directory.journal(SEGMENT_BYTES)
    try:
        for group, record in journal.recovered():
            acceptor.restore(group, record)
        acceptor.check()
    except BaseException:
        journal.close()
        raise
    is_first = directory.incarnation == 1
    if not is_first:
        say(("acceptor.opened", (directory.path, identity, len(acceptor.decisions))))
    is_interrupted = False

    def say_less(note: Note) -> None:
        if note[0] in ("acceptor.listening", "acceptor.next"):
            say(note)

    async def listen() -> None:
        process = AcceptorProcess(acceptor, journal, say_less if quiet else say)
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            nonlocal is_interrupted
            is_interrupted = True
            loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C stops at once
            process.stop(None)

        loop.add_signal_handler(signal.SIGTERM, process.stop, None)
        loop.add_signal_handler(signal.SIGINT, interrupt)
        await process.run(host, port, is_first)

    asyncio.run(listen())
    return INTERRUPTED if is_interrupted else DONE


def _complain(text: str) -> None:
    sys.stderr.write(f"error: {text}\n")
    sys.stderr.flush()


def timings(timeout_s: float, linger_s: float) -> Settings:
    """The patience a person asked for. Raises WrongUsage."""
    if not 0 < timeout_s <= 86_400 or not 0 <= linger_s <= timeout_s:
        raise WrongUsage("--timeout is a number of seconds above 0, at most a day, and --linger at most as much")
    return Settings(timeout_ns=int(timeout_s * 1e9), linger_ns=int(linger_s * 1e9))


def run_propose(
    name: str,
    value: str,
    acceptors: str,
    index: int | None,
    count: int | None,
    number: int | None,
    timeout_s: float,
    linger_s: float,
    as_json: bool,
) -> int:
    """``multipaxos propose``: returns the exit code."""
    try:
        settings = timings(timeout_s, linger_s)
        addresses = checked_addresses(acceptors)
        given = NO_BALLOT if number is None else number
        if number is not None and number < 0:
            raise WrongUsage(f"--number {number}: a number is 0 or more, and below 2^62")
        say = silent if as_json else _print_note
        outcome, run = asyncio.run(propose(name, value, addresses, index, count, given, settings, say))
    except WrongUsage as error:
        _complain(str(error))
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return _report("propose", outcome, run, as_json)


def run_learn(name: str, acceptors: str, timeout_s: float, linger_s: float, as_json: bool) -> int:
    """``multipaxos learn``: returns the exit code."""
    try:
        settings = timings(timeout_s, linger_s)
        addresses = checked_addresses(acceptors)
        outcome, run = asyncio.run(learn(name, addresses, settings, silent if as_json else _print_note))
    except WrongUsage as error:
        _complain(str(error))
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return _report("learn", outcome, run, as_json)


def _print_note(note: Note) -> None:
    # What is only waited for is no part of the story: it goes where progress goes.
    stream = sys.stderr if note[0] == "run.waiting" else sys.stdout
    for line in lines_of(note):
        stream.write(line + "\n")
    stream.flush()


def _report(command: str, outcome: Outcome, run: Proposer, as_json: bool) -> int:
    """Say how it ended, in the way asked for; the exit code."""
    if as_json:
        sys.stdout.write(json.dumps(report_of(command, outcome, run), ensure_ascii=False) + "\n")
        sys.stdout.flush()
    elif outcome.kind == TIMED_OUT:
        for note in run.tell_heard():
            _print_note(note)
    return DONE if outcome.kind in (CHOSEN, NONE_CHOSEN) else FAILED


def report_of(command: str, outcome: Outcome, run: Proposer) -> dict[str, object]:
    """The one object that --json prints."""
    return {
        "command": command,
        "name": run.name,
        "outcome": outcome.kind,
        "value": outcome.value,
        "number": None if outcome.number == NO_BALLOT else outcome.number,
        "own": outcome.is_own,
        "run": run.run,
        "attempts": run.attempts,
        "reason": outcome.note[0],
        "text": sentence(outcome.note),
        "acceptors": [
            {
                "label": heard.label,
                "address": heard.address,
                "identity": heard.identity or None,
                "connected": heard.is_connected,
                "trouble": heard.trouble or None,
                "heard": sentence(heard.last),
            }
            for heard in run.heard.values()
        ],
    }


def lines_of(note: Note) -> list[str]:
    """A note as lines for people: broken between words, continued below where its text begins."""
    text = sentence(note)
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    typed = os.environ.get("COLUMNS", "")
    width = int(typed) if typed.isascii() and typed.isdigit() else shutil.get_terminal_size((LINE_WIDTH, 1)).columns
    return textwrap.wrap(
        text,
        max(width, LINE_WIDTH_MIN),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def main(arguments: list[str] | None = None) -> int:
    """The three commands without the packages of the command line; the options are those of ``cli/synod.py``."""
    if sys.flags.optimize:
        _complain("multipaxos does not run under python -O, which removes its assertions")
        return WRONG_USAGE
    parser = argparse.ArgumentParser(prog="python -m multipaxos.host.synod", description="Basic Paxos by hand.")
    commands = parser.add_subparsers(dest="command", required=True)
    acceptor = commands.add_parser("acceptor")
    acceptor.add_argument("--listen", required=True)
    acceptor.add_argument("--dir", required=True)
    acceptor.add_argument("--names-max", type=int, default=NAMES_MAX)
    acceptor.add_argument("--moved", action="store_true")
    acceptor.add_argument("--quiet", action="store_true")
    for command in ("propose", "learn"):
        run = commands.add_parser(command)
        run.add_argument("name")
        if command == "propose":
            run.add_argument("value")
            run.add_argument("--id", type=int)
            run.add_argument("--of", type=int)
            run.add_argument("--number", type=int)
        run.add_argument("--acceptors", required=True)
        run.add_argument("--timeout", type=float, default=TIMEOUT_S)
        run.add_argument("--linger", type=float, default=LINGER_S)
        run.add_argument("--json", action="store_true")
    typed = parser.parse_args(arguments)
    if typed.command == "acceptor":
        return run_acceptor(typed.listen, typed.dir, typed.names_max, typed.moved, typed.quiet)
    if typed.command == "learn":
        return run_learn(typed.name, typed.acceptors, typed.timeout, typed.linger, typed.json)
    return run_propose(
        typed.name,
        typed.value,
        typed.acceptors,
        typed.id,
        typed.of,
        typed.number,
        typed.timeout,
        typed.linger,
        typed.json,
    )


if __name__ == "__main__":
    sys.exit(main())
