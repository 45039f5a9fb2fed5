"""Many seeds, one after the other or side by side: progress, distribution of what happened, and what failed.

A seed that fails is shrunk (``shrinking.py``), told with the command that replays it, and kept as a small file beside
the trace of each of the two runs, which the lab can open:

    failures/8831.json    {"schema":..,"seed":..,"core":..,"invariant":..,"text":..,
                           "original":{"case":{"profile":{..},"plain":..,"skipped":[..]},"digest":..,"trace":..},
                           "shrunk":{..}}

``replay`` runs such a file, or a bare seed, and says whether the run is the same. A campaign is cut into pieces of seeds;
what the pieces found adds up (``CampaignReport.merge``), also over machines.

Knows nothing of what is checked: ``checkers.py``, ``history.py``.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

import multipaxos
from multipaxos.core.ballot import ReplicaId
from multipaxos.core.effects import Effects
from multipaxos.core.inputs import Input
from multipaxos.core.reasons import REASONS
from multipaxos.sim.checkers import Violation
from multipaxos.sim.clients import ClientWorkload
from multipaxos.sim.recording import Recording
from multipaxos.sim.shrinking import Case, Outcome, Shrunk, Sparing, case_of, ended_ns, shrink
from multipaxos.sim.swarm import FAULT_KINDS, SECOND_NS, Profile, draw
from multipaxos.sim.workload import PlainWorkload
from multipaxos.sim.world import Workload, World
from multipaxos.trace import Json, header_line

SEEDS_PER_TASK = 10
TELL_EVERY_S = 10.0
SHRINK_S = 60.0
"""So long a failing seed is shrunk, unless asked otherwise."""

CONSEQUENCES = ("torn write", "flipped bit behind the end")
"""Faults that no profile names: what a loss of power leaves, and rot that must do no harm."""

LEADER_CHANGE = "leader change"
LIVENESS = "liveness mode reached"

HOSTILE: Final = (
    "apply.malformed",
    "apply.stream.other_start",
    "candidate.promise.stranger",
    "leader.birth.chosen",
    "leader.passed",
    "leader.vote.stranger",
    "message.contradiction",
    "message.future",
    "message.leap",
)
"""Transitions that only forged messages, or directories emptied or used twice, can bring about. No seed takes them; the
tests of the core take every one of them (tests/core/test_hostile_transitions.py)."""

UNLIKELY: Final = ("candidate.passed",)
"""Transitions that honest replicas can take, and that no seed of a whole campaign took: a prepare must come a second time to
a voter that in between learned out of order what a later ballot chose. The same test takes them by hand."""

TRANSITIONS: Final = tuple(sorted(reason for reason in REASONS if reason not in HOSTILE + UNLIKELY))
"""The transitions of the core, by the reason each of them names (``core/reasons.py``), that seeds take."""


class Census(Recording):
    """Counts which transitions of the core were taken, and keeps nothing else."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        super().__init__(False)
        self.taken: dict[str, int] = {}

    def mark(self, now: int, what: str) -> None:
        """Not kept."""

    def step(self, now: int, replica: ReplicaId, inputs: list[Input], effects: Effects, state: dict[str, Json]) -> None:
        """Count the reasons of one step."""
        self.facts.clear()
        taken = self.taken
        for reason, _ in effects.notes:
            taken[reason] = taken.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What one seed did."""

    seed: int
    is_plain: bool
    counts: dict[str, int]
    seconds: float
    virtual_ns: int
    profile: dict[str, object]
    invariant: str = ""
    text: str = ""
    taken: dict[str, int] = field(default_factory=dict)  # transition -> how often

    @property
    def is_failed(self) -> bool:
        """Whether an invariant was violated."""
        return bool(self.invariant)


@dataclass(slots=True)
class CampaignReport:
    """What all seeds did together."""

    seeds: int = 0
    seconds: float = 0.0
    virtual_ns: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    seeds_with: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    failures: list[SeedReport] = field(default_factory=list)
    violations: int = 0
    fewest_operations: int = -1  # of one seed; -1 before there was any

    def add(self, report: SeedReport) -> None:
        """Take one seed in."""
        self.seeds += 1
        self.virtual_ns += report.virtual_ns
        for name, count in report.counts.items():
            self.totals[name] = self.totals.get(name, 0) + count
            if count:
                self.seeds_with[name] = self.seeds_with.get(name, 0) + 1
        for reason, count in report.taken.items():
            self.taken[reason] = self.taken.get(reason, 0) + count
        self._note_operations(report.counts.get("operations", 0))
        if report.is_failed:
            self.violations += 1
            self.failures.append(report)

    def _note_operations(self, operations: int) -> None:
        if self.fewest_operations < 0 or operations < self.fewest_operations:
            self.fewest_operations = operations

    def share(self, name: str) -> float:
        """In how many of the seeds something happened."""
        return self.seeds_with.get(name, 0) / self.seeds if self.seeds else 0.0

    def missing(self) -> list[str]:
        """Transitions of the core that no seed took."""
        return [reason for reason in TRANSITIONS if reason not in self.taken]

    def faults(self) -> dict[str, int]:
        """How often each kind of fault struck."""
        kinds = {*FAULT_KINDS, *CONSEQUENCES, *(name for name in self.totals if name.startswith("message "))}
        return {kind: self.totals.get(kind, 0) for kind in sorted(kinds)}

    def lines(self) -> list[str]:
        """The distribution, for people."""
        operations = self.totals.get("operations", 0)
        rate = self.seeds / self.seconds if self.seconds else 0.0
        found = [
            f"{self.seeds} seeds, {operations} operations, {self.virtual_ns / SECOND_NS / 3600:.1f} h of virtual time "
            f"in {self.seconds:.0f} s ({rate:.1f} seeds/s), {self.violations} violations",
            f"{'':44}{'total':>10}{'seeds':>8}",
        ]
        for name in sorted(self.totals):
            found.append(f"{name:44}{self.totals[name]:>10}{100 * self.share(name):>7.1f}%")
        missing = self.missing()
        found.append(f"transitions of the core taken: {len(TRANSITIONS) - len(missing)} of {len(TRANSITIONS)}")
        if missing:
            found.append(f"not taken: {', '.join(missing)}")
        return found

    def value(self) -> dict[str, Any]:
        """As one JSON object; ``merge`` reads it."""
        missing = self.missing()
        return {
            "seeds": self.seeds,
            "violations": self.violations,
            "faults": self.faults(),
            "transitions": {
                "taken": len(TRANSITIONS) - len(missing),
                "total": len(TRANSITIONS),
                "missing": missing,
            },
            "operations": self.totals.get("operations", 0),
            "fewest_operations": max(0, self.fewest_operations),
            "shares": {name: round(self.share(name), 4) for name in sorted(self.seeds_with)},
            "virtual_hours": round(self.virtual_ns / SECOND_NS / 3600, 3),
            "seconds": round(self.seconds, 1),
            "core": core_id(),
            "failed": [{"seed": report.seed, "invariant": report.invariant} for report in self.failures],
            "sums": {
                "totals": self.totals,
                "seeds_with": self.seeds_with,
                "taken": self.taken,
                "virtual_ns": self.virtual_ns,
            },
        }

    def merge(self, value: dict[str, Any]) -> None:
        """Add what another campaign over other seeds found (its ``value``)."""
        sums = value["sums"]
        self.seeds += value["seeds"]
        self.seconds += value["seconds"]
        self.violations += value["violations"]
        self.virtual_ns += sums["virtual_ns"]
        for mine, other in (
            (self.totals, sums["totals"]),
            (self.seeds_with, sums["seeds_with"]),
            (self.taken, sums["taken"]),
        ):
            for name, count in other.items():
                mine[name] = mine.get(name, 0) + count
        if value["seeds"]:
            self._note_operations(value["fewest_operations"])
        for failed in value["failed"]:
            self.failures.append(SeedReport(failed["seed"], False, {}, 0.0, 0, {}, failed["invariant"]))


def make_world(seed: int, is_plain: bool, recording: Recording | None = None) -> World:
    """The world of a seed: with ZooKeeper clients and the real service, or plain, the core alone."""
    return world_of(Case(draw(seed, is_plain), is_plain), recording)


def world_of(case: Case, recording: Recording | None = None) -> World:
    """The world of a case."""
    workload: Workload = PlainWorkload(case.profile.plain_commands) if case.is_plain else ClientWorkload()
    return World(case.profile, workload, recording, lambda world: Sparing(world, case.skipped))


def run_seed(seed: int, is_plain: bool = False, recording: Recording | None = None) -> SeedReport:
    """Run one seed to its end or to its first violation."""
    return report_of(make_world(seed, is_plain, recording), is_plain)


def run_case(case: Case) -> Outcome:
    """Run one case; what shrinking asks for."""
    strikes: list[Sparing] = []

    def make_nemesis(world: World) -> Sparing:
        strikes.append(Sparing(world, case.skipped))
        return strikes[0]

    workload: Workload = PlainWorkload(case.profile.plain_commands) if case.is_plain else ClientWorkload()
    world = World(case.profile, workload, None, make_nemesis)
    report = report_of(world, case.is_plain)
    return Outcome(report.invariant, report.text, strikes[0].strikes, ended_ns(world), world.steps)


def report_of(world: World, is_plain: bool) -> SeedReport:
    """Run a world to its end or to its first violation."""
    began = monotonic()
    invariant = text = ""
    try:
        world.run()
    except Violation as violation:
        invariant, text = violation.invariant, violation.text
    counts = {**world.counts, **world.oracle.seen, **world.workload.counts()}
    for name, count in world.network.counts.items():
        counts[f"message {name}"] = count
    counts["steps"] = world.steps
    counts["slots"] = world.oracle.prefix
    counts["epochs"] = world.oracle.epochs
    counts[LEADER_CHANGE] = max(0, world.oracle.epochs - 1)
    counts[LIVENESS] = int(world.is_healed)
    taken = world.recording.taken if isinstance(world.recording, Census) else {}
    return SeedReport(
        world.profile.seed,
        is_plain,
        counts,
        monotonic() - began,
        ended_ns(world),
        world.profile.describe(),
        invariant,
        text,
        taken,
    )


def run_seeds(seeds: Iterable[int], is_plain: bool) -> list[SeedReport]:
    """Several seeds; what a worker of a campaign does."""
    return [run_seed(seed, is_plain, Census()) for seed in seeds]


def run_campaign(
    start: int,
    count: int,
    is_plain: bool = False,
    jobs: int = 1,
    tell: Callable[[str], None] | None = None,
    failures: Path | None = None,
    shrink_s: float = SHRINK_S,
) -> CampaignReport:
    """Seeds ``start`` to ``start + count - 1``; ``tell`` gets progress and failures as they come.

    With ``failures``, each failing seed is shrunk for at most ``shrink_s`` seconds and kept in that folder."""
    campaign = CampaignReport()
    began = told = monotonic()
    for report in _reports(start, count, is_plain, jobs):
        campaign.add(report)
        campaign.seconds = monotonic() - began
        if report.is_failed:
            if tell is not None:
                tell(failure_text(report))
            if failures is not None:
                path = keep_failure(report, failures, shrink_s, tell)
                if tell is not None:
                    tell(f"  replay: multipaxos verify replay {path}")
        if tell is not None and monotonic() - told >= TELL_EVERY_S:
            told = monotonic()
            tell(f"{campaign.seeds} of {count} seeds, {campaign.violations} violations, {campaign.seconds:.0f} s")
    return campaign


def _reports(start: int, count: int, is_plain: bool, jobs: int) -> Iterator[SeedReport]:
    if jobs <= 1:
        for seed in range(start, start + count):
            yield run_seed(seed, is_plain, Census())
        return
    with ProcessPoolExecutor(jobs) as pool:
        tasks = [
            pool.submit(run_seeds, range(first, min(first + SEEDS_PER_TASK, start + count)), is_plain)
            for first in range(start, start + count, SEEDS_PER_TASK)
        ]
        for task in tasks:
            yield from task.result()


def failure_text(report: SeedReport) -> str:
    """What is printed for a seed that failed."""
    kind = " --plain" if report.is_plain else ""
    return (
        f"VIOLATION of {report.invariant}: {report.text}\n"
        f"  seed {report.seed}, core {core_id()}, {json.dumps(report.profile)}\n"
        f"  replay: multipaxos verify replay {report.seed}{kind}"
    )


# Files of failures and replay

SCHEMA: Final = "multipaxos-failure/2"


def core_id() -> str:
    """Version and digest of the source a seed runs: two runs compare only when it is the same."""
    root = Path(multipaxos.__file__).parent
    digest = hashlib.sha256()
    for part in ("core", "coordination", "service", "wire", "storage", "sim"):
        for path in sorted((root / part).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{multipaxos.__version__}+{digest.hexdigest()[:8]}"


def keep_failure(
    report: SeedReport, folder: Path, shrink_s: float = SHRINK_S, tell: Callable[[str], None] | None = None
) -> Path:
    """Shrink a failed seed, run both worlds again with a recording, and write the files of the failure."""
    case = Case(draw(report.seed, report.is_plain), report.is_plain)
    outcome = run_case(case)
    if outcome.invariant:
        shrunk = shrink(case, outcome, run_case, shrink_s, tell)
    else:
        shrunk = Shrunk(case, outcome)  # not the same run: the file will say so
    return keep_case(report.seed, case, shrunk, folder, tell)


def keep_case(seed: int, case: Case, shrunk: Shrunk, folder: Path, tell: Callable[[str], None] | None = None) -> Path:
    """Write the file of a failure and the traces of its two runs; the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{seed}{'-plain' if case.is_plain else ''}.json"
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "seed": seed,
        "core": core_id(),
        "invariant": shrunk.outcome.invariant,
        "text": shrunk.outcome.text,
    }
    for name, kept in (("original", case), ("shrunk", shrunk.case)):
        recording = Recording(True)
        report = report_of(world_of(kept, recording), kept.is_plain)
        trace = path.with_suffix(f".{name}.jsonl")
        trace.write_text("\n".join([_header(seed, kept.profile), *recording.lines]) + "\n")
        value[name] = {
            "case": kept.value(),
            "invariant": report.invariant,
            "text": report.text,
            "steps": report.counts["steps"],
            "digest": recording.digest(),
            "trace": trace.name,
        }
    path.write_text(json.dumps(value, indent=1) + os.linesep)
    if tell is not None:
        before, after = value["original"]["steps"], value["shrunk"]["steps"]
        tell(f"  shrunk from {before} to {after} steps in {shrunk.runs} runs: " + "; ".join(shrunk.steps()))
    return path


def _header(seed: int, profile: Profile) -> str:
    cast = [str(replica) for replica in range(1, profile.replicas + 1)]
    config: dict[str, Json] = {name: str(value) for name, value in profile.describe().items()}
    return header_line(core_id(), {"kind": "seed", "id": str(seed)}, seed, cast, config)


@dataclass(frozen=True, slots=True)
class Replay:
    """A run done again."""

    report: SeedReport
    digest: str
    differs: str  # from what the file says; empty when identical, or when there is nothing to compare with


def replay(what: str, is_plain: bool = False, trace: Path | None = None, is_original: bool = False) -> Replay:
    """Run a seed, or the file of a failure, again: its shrunk world, or with ``is_original`` the one that failed first.

    Raises ValueError where ``what`` is neither."""
    wanted: dict[str, Any] = {}
    if what.lstrip("-").isdigit():
        case = Case(draw(int(what), is_plain), is_plain)
    else:
        try:
            wanted = json.loads(Path(what).read_text())
            kept = wanted["original" if is_original else "shrunk"]
            case = case_of(kept["case"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{what} is no seed and no file of a failure that this version can replay: {error}\n"
                "Give a number, or a file that `multipaxos verify seeds --failures FOLDER` wrote."
            ) from error
    recording = Recording(trace is not None)
    report = report_of(world_of(case, recording), case.is_plain)
    digest = recording.digest()
    if trace is not None:
        trace.write_text("\n".join([_header(report.seed, case.profile), *recording.lines]) + "\n")
    differs = ""
    if wanted:
        if wanted.get("core") != core_id():
            differs = f"the file was made by core {wanted.get('core')}, this is {core_id()}"
        elif kept.get("digest") != digest:
            differs = f"digest {digest}, the file says {kept.get('digest')}"
    return Replay(report, digest, differs)
