"""Many seeds, one after the other or side by side: progress, distribution of what happened, and what failed.

A seed that fails is run again with a recording, told with the command that replays it, and kept as a small file:

    {"seed":..,"plain":..,"core":..,"profile":{..},"invariant":..,"text":..,"digest":..}

``replay`` runs such a file, or a bare seed, and says whether the run is the same. Campaigns are resumable by their start.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import multipaxos
from multipaxos.sim.checkers import Violation
from multipaxos.sim.clients import ClientWorkload
from multipaxos.sim.recording import Recording
from multipaxos.sim.swarm import SECOND_NS, draw
from multipaxos.sim.workload import PlainWorkload
from multipaxos.sim.world import BEGINNING_NS, Workload, World
from multipaxos.trace import header_line

SEEDS_PER_TASK = 10
TELL_EVERY_S = 10.0

LEADER_CHANGE = "leader change"


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
    failures: list[SeedReport] = field(default_factory=list)

    def add(self, report: SeedReport) -> None:
        """Take one seed in."""
        self.seeds += 1
        self.virtual_ns += report.virtual_ns
        for name, count in report.counts.items():
            self.totals[name] = self.totals.get(name, 0) + count
            if count:
                self.seeds_with[name] = self.seeds_with.get(name, 0) + 1
        if report.is_failed:
            self.failures.append(report)

    def share(self, name: str) -> float:
        """In how many of the seeds something happened."""
        return self.seeds_with.get(name, 0) / self.seeds if self.seeds else 0.0

    def lines(self) -> list[str]:
        """The distribution, for people."""
        operations = self.totals.get("operations", 0)
        found = [
            f"{self.seeds} seeds, {operations} operations, {self.virtual_ns / SECOND_NS / 3600:.1f} h of virtual time "
            f"in {self.seconds:.0f} s, {len(self.failures)} violations",
            f"{'':44}{'total':>10}{'seeds':>8}",
        ]
        for name in sorted(self.totals):
            found.append(f"{name:44}{self.totals[name]:>10}{100 * self.share(name):>7.1f}%")
        return found


def make_world(seed: int, is_plain: bool, recording: Recording | None = None) -> World:
    """The world of a seed: with ZooKeeper clients and the real service, or plain, the core alone."""
    profile = draw(seed, is_plain)
    workload: Workload = PlainWorkload(profile.plain_commands) if is_plain else ClientWorkload()
    return World(profile, workload, recording)


def run_seed(seed: int, is_plain: bool = False, recording: Recording | None = None) -> SeedReport:
    """Run one seed to its end or to its first violation."""
    return report_of(make_world(seed, is_plain, recording), is_plain)


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
    return SeedReport(
        world.profile.seed,
        is_plain,
        counts,
        monotonic() - began,
        world.now - BEGINNING_NS,
        world.profile.describe(),
        invariant,
        text,
    )


def run_seeds(seeds: Iterable[int], is_plain: bool) -> list[SeedReport]:
    """Several seeds; what a worker of a campaign does."""
    return [run_seed(seed, is_plain) for seed in seeds]


def run_campaign(
    start: int,
    count: int,
    is_plain: bool = False,
    jobs: int = 1,
    tell: Callable[[str], None] | None = None,
    failures: Path | None = None,
) -> CampaignReport:
    """Seeds ``start`` to ``start + count - 1``; ``tell`` gets progress and failures as they come."""
    campaign = CampaignReport()
    began = told = monotonic()
    for report in _reports(start, count, is_plain, jobs):
        campaign.add(report)
        campaign.seconds = monotonic() - began
        if tell is None:
            continue
        if report.is_failed:
            tell(failure_text(report))
            if failures is not None:
                tell(f"kept as {keep_failure(report, failures)}")
        if monotonic() - told >= TELL_EVERY_S:
            told = monotonic()
            tell(f"{campaign.seeds} of {count} seeds, {len(campaign.failures)} violations, {campaign.seconds:.0f} s")
    return campaign


def _reports(start: int, count: int, is_plain: bool, jobs: int) -> Iterator[SeedReport]:
    if jobs <= 1:
        for seed in range(start, start + count):
            yield run_seed(seed, is_plain)
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


def core_id() -> str:
    """Version and digest of the source that decides: two runs compare only when it is the same."""
    root = Path(multipaxos.__file__).parent
    digest = hashlib.sha256()
    for part in ("core", "coordination", "service", "wire", "sim"):
        for path in sorted((root / part).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{multipaxos.__version__}+{digest.hexdigest()[:8]}"


def keep_failure(report: SeedReport, folder: Path) -> Path:
    """Run a failed seed again with a recording, and write its file."""
    recording = Recording(False)
    again = run_seed(report.seed, report.is_plain, recording)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.seed}{'-plain' if report.is_plain else ''}.json"
    value = {
        "seed": again.seed,
        "plain": again.is_plain,
        "core": core_id(),
        "profile": again.profile,
        "invariant": again.invariant,
        "text": again.text,
        "digest": recording.digest(),
    }
    path.write_text(json.dumps(value, indent=1) + os.linesep)
    return path


@dataclass(frozen=True, slots=True)
class Replay:
    """A run done again."""

    report: SeedReport
    digest: str
    differs: str  # from what the file says; empty when identical, or when there is nothing to compare with


def replay(what: str, is_plain: bool = False, trace: Path | None = None) -> Replay:
    """Run a seed, or the file of a failure, again. Raises ValueError where ``what`` is neither."""
    wanted: dict[str, object] = {}
    if what.lstrip("-").isdigit():
        seed = int(what)
    else:
        try:
            wanted = json.loads(Path(what).read_text())
            seed = int(str(wanted["seed"]))
            is_plain = bool(wanted["plain"])
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{what} is no seed and no file of a failure: {error}") from error
    recording = Recording(trace is not None)
    report = run_seed(seed, is_plain, recording)
    digest = recording.digest()
    if trace is not None:
        source = {"kind": "seed", "id": str(seed)}
        cast = [str(replica) for replica in range(1, int(str(report.profile["replicas"])) + 1)]
        config = {name: str(value) for name, value in report.profile.items()}
        header = header_line(core_id(), dict(source), seed, cast, dict(config))
        trace.write_text("\n".join([header, *recording.lines]) + "\n")
    differs = ""
    if wanted:
        if wanted.get("core") != core_id():
            differs = f"the file was made by core {wanted.get('core')}, this is {core_id()}"
        elif wanted.get("digest") != digest:
            differs = f"digest {digest}, the file says {wanted.get('digest')}"
    return Replay(report, digest, differs)
