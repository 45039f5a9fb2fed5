"""Storage crash enumeration: every small workload of the journal, crashed, torn, rotten and failed at every place.

    python -m multipaxos.sim.crashes --operations 3             crashes of all workloads of up to three operations
    python -m multipaxos.sim.crashes --operations 2 --flips     and each bit, each cut, each sector of what they wrote
    python -m multipaxos.sim.crashes --operations 2 --errors    and an error at each call
    python -m multipaxos.sim.crashes --random 200               crashes in long lives over several segments
    python -m multipaxos.sim.crashes --directories              the data directory as a whole
    python -m multipaxos.sim.crashes --workload vkr --flips     one workload, every place of it: the replay of a violation

Most crash bugs need three operations or fewer on a fresh file system, and a crash right after a sync (ACE). A workload is
a word whose letters stand in ``crash_life.py``; what is looked at: ``crash_points.py``, ``crash_rot.py``,
``crash_errors.py``, ``crash_directories.py``; what must hold, by id: ``crash_verdict.py``. It ends with a line of JSON:

    {"violations": [{"id": "I8", "text": "..."}], "workloads": 14, "points": 100, "states": 5000, "flips": 0, ...}

Everything is what it says or is counted as sampled: a point with more than 2 ** bound outcomes is (``sampled``).
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from random import Random
from time import monotonic

from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_directories import Directories
from multipaxos.sim.crash_errors import Errors
from multipaxos.sim.crash_life import OPERATIONS
from multipaxos.sim.crash_points import Crashes, CrashOptions
from multipaxos.sim.crash_rot import Rot
from multipaxos.sim.crash_verdict import SEGMENT_BYTES

TELL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Enumeration:
    """What is looked at in each workload."""

    has_crashes: bool = True
    has_flips: bool = False
    has_errors: bool = False
    crash: CrashOptions = field(default_factory=CrashOptions)
    bit_every: int = 1
    goes_on: bool = False
    """After a violation look at the other workloads all the same."""


@dataclass(slots=True)
class Account:
    """What was looked at, and what was found."""

    counts: dict[str, int] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)  # the first of each id
    crashes: list[str] = field(default_factory=list)  # exceptions of the code itself: no verdict of ours

    def add(self, name: str, count: int) -> None:
        """Count something."""
        self.counts[name] = self.counts.get(name, 0) + count

    def merge(self, other: "Account") -> None:
        """Take another account in."""
        for name, count in other.counts.items():
            self.add(name, count)
        known = [identity for identity, _ in self.violations]
        self.violations += [found for found in other.violations if found[0] not in known]
        self.crashes += other.crashes

    @property
    def is_clean(self) -> bool:
        """Nothing violated, nothing fell over."""
        return not self.violations and not self.crashes


NAMES = ("workloads", "points", "states", "sampled", "flips", "cuts", "misplaced", "errors", "directories")


def look(workload: str, enumeration: Enumeration) -> Account:
    """One workload: its last operation, whatever ``enumeration`` asks for."""
    account = Account()
    account.add("workloads", 1)
    if enumeration.has_crashes:
        crashes = Crashes(workload, enumeration.crash)
        _run(crashes.run, workload, account)
        account.add("points", crashes.points)
        account.add("states", crashes.states)
        account.add("sampled", crashes.sampled)
    if enumeration.has_errors:
        errors = Errors(workload, enumeration.crash.is_whole, enumeration.crash.segment_bytes)
        _run(errors.run, workload, account)
        account.add("errors", errors.errors)
        account.add("states", errors.states)
    if enumeration.has_flips:
        _run(lambda: _rot(workload, enumeration, account), workload, account)
    return account


def look_at_directories() -> Account:
    """The data directory as a whole."""
    account = Account()
    directories = Directories()
    _run(directories.run, "directory", account)
    account.add("points", directories.points)
    account.add("states", directories.states)
    account.add("directories", directories.damages)
    account.add("errors", directories.errors)
    return account


def _rot(workload: str, enumeration: Enumeration, account: Account) -> None:
    rot = Rot(workload, enumeration.bit_every, enumeration.crash.segment_bytes)
    try:
        rot.run()
    finally:
        account.add("flips", rot.flips)
        account.add("cuts", rot.cuts)
        account.add("misplaced", rot.misplaced)


def _run(run: Callable[[], None], workload: str, account: Account) -> None:
    try:
        run()
    except Violation as violation:
        account.violations.append((violation.invariant, violation.text))
    except Exception as error:
        account.crashes.append(f"workload {workload!r}: {error!r}")


def look_at_all(workloads: Sequence[str], enumeration: Enumeration) -> Account:
    """Several workloads; what a worker does."""
    account = Account()
    for workload in workloads:
        account.merge(look(workload, enumeration))
        if account.violations and not enumeration.goes_on:
            break
    return account


def words(operations: int) -> list[str]:
    """All workloads of up to so many operations, the short ones first."""
    return [
        "".join(letters) for count in range(operations + 1) for letters in itertools.product(OPERATIONS, repeat=count)
    ]


def random_words(count: int, seed: int) -> list[str]:
    """Longer lives: words of 6 to 12 operations."""
    random = Random(seed)
    return ["".join(random.choices(OPERATIONS, k=random.randrange(6, 13))) for _ in range(count)]


def enumerate_all(
    workloads: Sequence[str], enumeration: Enumeration, jobs: int = 1, tell: Callable[[str], None] = lambda text: None
) -> Account:
    """All workloads, on so many processes; up to the first violation, unless ``goes_on``."""
    account = Account()
    began = told = monotonic()
    for part in _parts(workloads, enumeration, jobs):
        account.merge(part)
        if account.violations and not enumeration.goes_on:
            break
        if monotonic() - told >= TELL_EVERY_S:
            told = monotonic()
            done = account.counts.get("workloads", 0)
            tell(f"{done} of {len(workloads)} workloads, {account.counts}, {told - began:.0f} s")
    return account


def _parts(workloads: Sequence[str], enumeration: Enumeration, jobs: int) -> Iterator[Account]:
    if jobs <= 1:
        for workload in workloads:
            yield look(workload, enumeration)
        return
    with ProcessPoolExecutor(jobs) as pool:
        tasks = [
            pool.submit(look_at_all, workloads[first : first + 8], enumeration) for first in range(0, len(workloads), 8)
        ]
        try:
            for task in tasks:
                yield task.result()
        finally:
            for task in tasks:
                task.cancel()


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("multipaxos.sim.crashes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--operations", type=int, default=2, help="all workloads of up to so many operations")
    parser.add_argument(
        "--workload", action="append", help="this workload instead, all its operations; may be repeated"
    )
    parser.add_argument("--random", type=int, default=0, help="so many long workloads instead, all their operations")
    parser.add_argument("--seed", type=int, default=1, help="of these")
    parser.add_argument("--segment-bytes", type=int, default=SEGMENT_BYTES, help="room for records in a segment")
    parser.add_argument("--bound", type=int, default=12, help="all subsets of up to so many unsynced units")
    parser.add_argument("--samples", type=int, default=64, help="above the bound")
    parser.add_argument("--tear", type=int, default=1, help="tear writes at each so-many-th byte; 0 for none")
    parser.add_argument("--nested", action="store_true", help="crash the start that follows a crash, too")
    parser.add_argument("--flips", action="store_true", help="rot: bits, cuts, misplaced sectors")
    parser.add_argument("--bit-every", type=int, default=1, help="each so-many-th bit only")
    parser.add_argument("--errors", action="store_true", help="an error at each call")
    parser.add_argument("--no-crashes", action="store_true", help="leave the crashes out")
    parser.add_argument("--directories", action="store_true", help="the data directory as a whole")
    parser.add_argument("--go-on", action="store_true", help="to the end, and tell the first violation of each id")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """The command; 0 when nothing was found."""
    asked = _parsed(arguments)
    began = monotonic()
    crash = CrashOptions(asked.bound, asked.samples, asked.tear, asked.nested)
    is_whole = bool(asked.workload or asked.random)
    crash = replace(crash, is_whole=is_whole, segment_bytes=asked.segment_bytes)
    enumeration = Enumeration(not asked.no_crashes, asked.flips, asked.errors, crash, asked.bit_every, asked.go_on)

    def tell(text: str) -> None:
        if not asked.json:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    if asked.directories:
        account = look_at_directories()
    else:
        workloads = asked.workload or random_words(asked.random, asked.seed) or words(asked.operations)
        account = enumerate_all(workloads, enumeration, asked.jobs, tell)
    seconds = monotonic() - began
    for identity, text in account.violations:
        tell(f"VIOLATION of {identity}: {text}")
    for text in account.crashes[:5]:
        tell(f"the code fell over: {text}")
    value: dict[str, object] = {
        "violations": [{"id": identity, "text": text} for identity, text in account.violations],
        **{name: account.counts.get(name, 0) for name in NAMES},
        "runs": 1,
        "crashes": len(account.crashes),
        "seconds": round(seconds, 1),
    }
    sys.stdout.write(json.dumps(value) + "\n")
    return 0 if account.is_clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
