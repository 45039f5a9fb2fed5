"""Where a mutant is looked for: seeds, scripted schedules, the explorer, the storage enumerator, any other check.

A hunt is a command that runs on a copy of the package, in a process of its own, and ends with one line of JSON,

    {"violations": [{"id": "I5", "text": "..."}], "runs": 12, "crashes": 0}

``runs`` counts seeds, schedules or states; ``crashes`` those that ended in an exception. Only a violation by id can be a
kill; an exception, an assertion of the code itself, a time-out and a command that prints no such line are none.

Knows nothing of mutants and of how a checker works.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

SEEDS: Final = "seeds"
SCRIPT: Final = "script"
EXPLORE: Final = "explore"
STORAGE: Final = "storage"
CHECK: Final = "check"

HUNTING: Final = "multipaxos.mutants.hunting"
INSIDE: Final = "multipaxos.mutants.inside"


@dataclass(frozen=True, slots=True)
class Hunt:
    """One place to look, and for how long."""

    kind: str
    module: str  # run as ``python -m module arguments``
    arguments: tuple[str, ...]
    timeout_s: float
    runs_max: int = 0  # of seeds: how many at the most

    @property
    def place(self) -> tuple[str, tuple[str, ...]]:
        """Where it looks, however long."""
        return self.module, self.arguments

    @property
    def text(self) -> str:
        """What it is called in tables."""
        if self.kind in (SEEDS, SCRIPT):
            return f"{self.kind} {self.arguments[1]}"
        words = [word for word in self.arguments if word not in ("--json", "--preset")]
        return " ".join((self.kind, self.module.rpartition(".")[2], *words))

    def first(self, runs: int) -> "Hunt":
        """The same hunt, over after ``runs`` seeds; one that is not of seeds, whole."""
        return replace(self, runs_max=min(runs, self.runs_max)) if self.kind == SEEDS else self

    def command(self, killers: Collection[str]) -> list[str]:
        """Module and arguments. Seeds go on after a violation that is none of ``killers``; with no killers, any ends them."""
        if self.kind == SEEDS:
            return [self.module, *self.arguments, str(self.runs_max), ",".join(killers)]
        return [self.module, *self.arguments]


def seeds(world: str, count: int, start: int = 0, timeout_s: float = 900.0) -> Hunt:
    """Seeds ``start`` to ``start + count - 1`` of a world of ``sim.scenarios.WORLDS``, until one is a kill."""
    return Hunt(SEEDS, HUNTING, (SEEDS, world, str(start)), timeout_s, count)


def script(name: str, timeout_s: float = 120.0) -> Hunt:
    """A scripted schedule of ``mutants/schedules.py``."""
    return Hunt(SCRIPT, HUNTING, (SCRIPT, name), timeout_s)


def explore(preset: str, *arguments: str, timeout_s: float = 900.0) -> Hunt:
    """The production core, searched whole in a small world of the explorer."""
    return Hunt(EXPLORE, "multipaxos.explore.core_hunt", ("--preset", preset, *arguments, "--json"), timeout_s)


def storage(module: str, *arguments: str, timeout_s: float = 600.0) -> Hunt:
    """Crashes and damage under the real journal, enumerated by ``module``."""
    return Hunt(STORAGE, module, arguments, timeout_s)


def check(module: str, *arguments: str, timeout_s: float = 600.0) -> Hunt:
    """Any other module that ends with the line of JSON."""
    return Hunt(CHECK, module, arguments, timeout_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one hunt found."""

    violations: tuple[tuple[str, str], ...]  # (id, text)
    runs: int
    crashes: int
    seconds: float
    failure: str  # why there is no verdict: a time-out, or the end of a command that printed none

    @property
    def is_clean(self) -> bool:
        """What the unmutated code must show: a verdict, no violation, no crash."""
        return not self.violations and not self.crashes and not self.failure

    def killing(self, killers: Collection[str]) -> tuple[str, str] | None:
        """The first violation by one of ``killers``, or None."""
        for identity, text in self.violations:
            if identity in killers:
                return identity, text
        return None


def look(hunt: Hunt, folder: Path, killers: Collection[str] = ()) -> Outcome:
    """Run a hunt on the copy of the package below ``folder``."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", INSIDE, str(folder), *hunt.command(killers)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=hunt.timeout_s
        )
    except subprocess.TimeoutExpired:
        return Outcome((), 0, 0, time.monotonic() - began, f"no end within {hunt.timeout_s:.0f} s")
    seconds = time.monotonic() - began
    lines = done.stdout.splitlines()
    try:
        told = json.loads(lines[-1])
        violations = tuple((str(found["id"]), str(found["text"])) for found in told["violations"])
        return Outcome(violations, int(told["runs"]), int(told["crashes"]), seconds, "")
    except (IndexError, KeyError, TypeError, ValueError):
        return Outcome((), 0, 0, seconds, f"exit code {done.returncode} and no verdict: {done.stderr[-300:].strip()}")
