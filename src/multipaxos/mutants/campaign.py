"""The campaign of all mutants: each is hunted until an invariant of its own reports it; the unmutated twin must pass.

A kill counts only when the twin, the package with a patch that does nothing, passes the same hunt: seeds up to the one
that killed, the whole of a schedule, preset or enumeration. A twin that fails makes its hunt a false alarm, and all kills
by it void. First of all the canary must die at once: a campaign that does not see it sees nothing.

Results can be kept in a folder, by the hash of the sources: what was hunted once is not hunted again.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from multipaxos.mutants.catalogue import CANARY, NOTHING, ROWS, WAITING
from multipaxos.mutants.hunts import Hunt, Outcome, look
from multipaxos.mutants.mutant import ROW, Mutant, apply, patched, source_folder

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one mutant."""

    name: str
    ids: tuple[str, ...]
    killer: str  # the invariant that reported it; empty for a survivor
    text: str  # what it reported
    hunt: str  # where
    runs: int  # seeds, schedules or states that hunt took
    seconds: float  # of all hunts together
    missed: tuple[str, ...]  # hunts without a kill, and what they saw
    argued: str

    @property
    def is_killed(self) -> bool:
        """Whether an invariant of its own reported a violation."""
        return bool(self.killer)


@dataclass(slots=True)
class Report:
    """What a campaign found."""

    trials: list[Trial] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)  # hunts in which the unmutated twin fails, and how
    canary: str = ""  # what is wrong with it; empty when it died at once
    is_whole: bool = True  # all mutants were asked for
    seconds: float = 0.0

    def trials_of(self, row: str) -> list[Trial]:
        """The mutants that express one row of the catalogue."""
        return [trial for trial in self.trials if row in trial.ids]

    @property
    def rows(self) -> list[str]:
        """The rows of the catalogue that are expressed."""
        return [row for row in ROWS if self.trials_of(row)]

    @property
    def killed(self) -> list[str]:
        """The rows all of whose mutants were killed."""
        return [row for row in self.rows if all(trial.is_killed for trial in self.trials_of(row))]

    @property
    def survived(self) -> list[str]:
        """The rows one of whose mutants lives."""
        return [row for row in self.rows if row not in self.killed]

    @property
    def others(self) -> list[Trial]:
        """The mutants of rules, traps and claims that express no row of the catalogue."""
        return [trial for trial in self.trials if not any(identity.startswith(ROW) for identity in trial.ids)]

    @property
    def median_seconds(self) -> float:
        """Median time to kill."""
        return median([trial.seconds for trial in self.trials if trial.is_killed] or [0.0])

    @property
    def is_passed(self) -> bool:
        """Whether the checkers saw all they should, and nothing else."""
        return (
            not self.canary and not self.false_alarms and all(trial.is_killed or trial.argued for trial in self.trials)
        )

    def value(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "rows": len(self.rows),
            "killed": len(self.killed),
            "survived": self.survived,
            "false_alarms": self.false_alarms,
            "waiting": {waiting.row: waiting.mechanism for waiting in WAITING} if self.is_whole else {},
            "median_seconds": round(self.median_seconds, 2),
            "seconds": round(self.seconds, 1),
            "catalogue": len(ROWS),
            "mutants": len(self.trials),
            "mutants_killed": sum(trial.is_killed for trial in self.trials),
            "rules": len(self.others),
            "rules_killed": sum(trial.is_killed for trial in self.others),
            "canary": self.canary or "killed at once",
            "is_passed": self.is_passed,
            "trials": [asdict(trial) for trial in self.trials],
        }

    def lines(self) -> list[str]:
        """The table, for people."""
        found = [f"{'mutant':62}{'stands for':34}{'killed by':16}{'runs':>8}{'s':>8}  hunt"]
        for trial in self.trials:
            ids = ", ".join(trial.ids)
            killer = trial.killer or ("argued" if trial.argued else "SURVIVED")
            found.append(
                f"{trial.name[:60]:62}{ids[:32]:34}{killer:16}{trial.runs:>8}{trial.seconds:>8.1f}  {trial.hunt}"
            )
        for trial in self.trials:
            if not trial.is_killed:
                found.append(f"{trial.name} lives: {'; '.join(trial.missed)}")
                if trial.argued:
                    found.append(f"    {trial.argued}")
        found += [f"FALSE ALARM: {alarm}" for alarm in self.false_alarms]
        if self.canary:
            found.append(f"CANARY: {self.canary}")
        if self.is_whole:
            found += [f"{waiting.row} waits for {waiting.mechanism}" for waiting in WAITING]
        found.append(
            f"{len(self.rows)} of {len(ROWS)} rows of the catalogue expressed, {len(self.killed)} killed, "
            f"{len(self.survived)} survived, {len(WAITING) if self.is_whole else 0} waiting; "
            f"{sum(trial.is_killed for trial in self.others)} of {len(self.others)} mutants of rules killed; "
            f"{len(self.false_alarms)} false alarms; median time to kill {self.median_seconds:.1f} s, "
            f"all in {self.seconds:.0f} s"
        )
        return found


def source_hash() -> str:
    """Names the sources mutants are made from: 12 hexadecimal digits."""
    digest = hashlib.sha256()
    package = source_folder()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Kept:
    """Results by name, in a folder named by the hash of the sources; nothing is kept without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder / source_hash()
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> dict[str, Any] | None:
        """What was kept under ``name``, or None."""
        if self._folder is None or not self._path(name).exists():
            return None
        value: dict[str, Any] = json.loads(self._path(name).read_text())
        return value

    def put(self, name: str, value: dict[str, Any]) -> None:
        """Keep ``value`` under ``name``."""
        if self._folder is not None:
            unfinished = self._path(name).with_suffix(".unfinished")
            unfinished.write_text(json.dumps(value, indent=1) + "\n")
            unfinished.rename(self._path(name))

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / (hashlib.sha256(name.encode()).hexdigest()[:16] + ".json")


def hunt_down(mutant: Mutant) -> tuple[Trial, Hunt | None]:
    """Look for a mutant in all its hunts until one kills it; the hunt that did, no longer than it took."""
    missed: list[str] = []
    seconds = 0.0
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        apply(mutant, folder)
        for hunt in mutant.hunts:
            outcome = look(hunt, folder, mutant.killers)
            seconds += outcome.seconds
            killing = outcome.killing(mutant.killers)
            if killing is not None:
                trial = _trial(mutant, killing, hunt.text, outcome.runs, seconds, missed)
                return trial, hunt.first(outcome.runs)
            missed.append(_missed(hunt, outcome))
    return _trial(mutant, ("", ""), "", 0, seconds, missed), None


def look_at_twin(hunt: Hunt) -> Outcome:
    """The same hunt on the package with a patch that does nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        apply(NOTHING, Path(name))
        return look(hunt, Path(name))


def run(
    mutants: Sequence[Mutant],
    jobs: int = 1,
    tell: Tell | None = None,
    results: Path | None = None,
    is_whole: bool = True,
) -> Report:
    """Hunt all ``mutants``, ``jobs`` at a time, then their twins. Raises AnchorGone before anything is hunted."""
    began = time.monotonic()
    report = Report(is_whole=is_whole)
    kept = Kept(results)
    for mutant in (*mutants, CANARY, NOTHING):
        patched(mutant, source_folder())
    report.canary = _try_canary()
    used: dict[str, Hunt] = {CANARY.name: CANARY.hunts[0]}
    with ThreadPoolExecutor(jobs) as pool:
        for trial, hunt in pool.map(lambda mutant: _hunt_or_recall(mutant, kept), mutants):
            report.trials.append(trial)
            if hunt is not None:
                used[trial.name] = hunt
            if tell is not None:
                where = f"{trial.killer} in {trial.hunt}, {trial.runs} runs" if trial.killer else "lives"
                tell(f"{trial.name}: {where}, {trial.seconds:.1f} s")
        twins = _longest(used.values())
        for twin, failure in zip(twins, pool.map(lambda hunt: _try_twin(hunt, kept), twins), strict=True):
            if failure:
                report.false_alarms.append(failure)
                report.trials = [_voided(trial, used.get(trial.name), twin) for trial in report.trials]
    report.seconds = time.monotonic() - began
    return report


def _hunt_or_recall(mutant: Mutant, kept: Kept) -> tuple[Trial, Hunt | None]:
    known = kept.get(mutant.name)
    if known is None:
        trial, hunt = hunt_down(mutant)
        kept.put(mutant.name, {"trial": asdict(trial), "hunt": None if hunt is None else asdict(hunt)})
        return trial, hunt
    told = known["trial"]
    trial = Trial(**{**told, "ids": tuple(told["ids"]), "missed": tuple(told["missed"])})
    held = known["hunt"]
    return trial, None if held is None else Hunt(**{**held, "arguments": tuple(held["arguments"])})


def _try_canary() -> str:
    trial, _ = hunt_down(CANARY)
    return "" if trial.is_killed and trial.runs == 1 else f"it lives: {'; '.join(trial.missed)}"


def _try_twin(hunt: Hunt, kept: Kept) -> str:
    """How the unmutated twin fails a hunt; empty when it passes."""
    name = f"twin of {hunt.text}, {hunt.runs_max} runs"
    known = kept.get(name)
    if known is not None:
        return str(known["failure"])
    outcome = look_at_twin(hunt)
    failure = "" if outcome.is_clean else _missed(hunt, outcome)
    kept.put(name, {"failure": failure})
    return failure


def _longest(hunts: Iterable[Hunt]) -> list[Hunt]:
    """Each distinct hunt once, with the most seeds that any kill by it took."""
    longest: dict[tuple[str, tuple[str, ...]], Hunt] = {}
    for hunt in hunts:
        known = longest.get(hunt.place)
        if known is None or known.runs_max < hunt.runs_max:
            longest[hunt.place] = hunt
    return list(longest.values())


def _voided(trial: Trial, hunt: Hunt | None, accused: Hunt) -> Trial:
    """A kill by a hunt in which the unmutated twin fails is none."""
    if hunt is None or hunt.place != accused.place:
        return trial
    why = f"{trial.hunt}: {trial.killer}, but the unmutated twin fails there, too"
    return replace(trial, killer="", text="", runs=0, missed=(*trial.missed, why))


def _missed(hunt: Hunt, outcome: Outcome) -> str:
    if outcome.failure:
        return f"{hunt.text}: {outcome.failure}"
    seen = ", ".join(f"{identity} ({text})" for identity, text in outcome.violations) or "no violation"
    return f"{hunt.text}: {seen} in {outcome.runs} runs, {outcome.crashes} of them crashed"


def _trial(
    mutant: Mutant, killing: tuple[str, str], hunt: str, runs: int, seconds: float, missed: Sequence[str]
) -> Trial:
    return Trial(
        mutant.name, mutant.ids, killing[0], killing[1], hunt, runs, round(seconds, 2), tuple(missed), mutant.argued
    )
