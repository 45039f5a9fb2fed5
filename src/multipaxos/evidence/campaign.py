"""The long campaigns, part by part: each a command of ``multipaxos verify`` that ends with one JSON object.

A part that is done for this code is skipped, so ``make evidence`` may be stopped at any time and goes on where it was;
what it has found so far stands in the folder of ``store.py`` and is written as a page by ``page.py``.

Knows nothing of what the parts do: it types the commands a person would type.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from multipaxos.evidence.store import Store

SEEDS: Final = 100_000
PLAIN_SEEDS: Final = 20_000
TORTURE_S: Final = 180
TORTURE_RUNS: Final = {3: 10, 5: 3}
CORE_STATES: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """One command of a campaign."""

    kind: str  # of ``store.PARTS``
    key: str
    arguments: tuple[str, ...]  # behind ``multipaxos verify``
    keeps_itself: bool = False  # the command adds its pieces to the store on its own

    def command(self) -> str:
        """As a person types it."""
        return "multipaxos verify " + " ".join(self.arguments)


def parts(folder: Path, jobs: int, seeds: int = SEEDS, torture_s: int = TORTURE_S) -> list[Part]:
    """What a whole campaign consists of, the quickest first."""
    found = [Part("explore", "anchors", ("anchors", "--json"))]
    core = (
        "--model", "core", "--acceptors", "3", "--ballots", "3", "--slots", "2", "--values", "2", "--crashes", "1",
        "--states-max", str(CORE_STATES), "--jobs", str(jobs),
    )  # fmt: skip
    found.append(
        Part(
            "storage",
            "operations 2, all kinds",
            ("storage", "--operations", "2", "--all", "--jobs", str(jobs), "--json"),
        )
    )
    found.append(Part("mutants", "all", ("mutants", "--jobs", str(jobs), "--json")))
    found.append(Part("explore", "core 3 acceptors 3 ballots 2 slots 2 values 1 crash", ("explore", *core, "--json")))
    for replicas, runs in TORTURE_RUNS.items():
        for run in range(1, runs + 1):
            found.append(
                Part(
                    "torture",
                    f"{replicas} replicas, seed {run}, {torture_s} s",
                    (
                        "torture",
                        "--seconds",
                        str(torture_s),
                        "--replicas",
                        str(replicas),
                        "--seed",
                        str(run),
                        "--folder",
                        str(folder / "torture" / f"{replicas}-{run}"),
                        "--json",
                    ),
                )
            )
    kept = ("--jobs", str(jobs), "--failures", "failures", "--results", str(folder), "--json")
    found.append(Part("plain-seeds", "plain", ("seeds", "--plain", "--count", str(PLAIN_SEEDS), *kept), True))
    found.append(Part("seeds", "seeds", ("seeds", "--count", str(seeds), *kept), True))
    found.append(
        Part("storage", "operations 3, crashes", ("storage", "--operations", "3", "--jobs", str(jobs), "--json"))
    )
    return found


def run_part(part: Part, store: Store, tell: Callable[[str], None]) -> bool:
    """Run one part unless it is done; whether all is well with it."""
    if not part.keeps_itself:
        done = store.results(part.kind).get(part.key)
        if done is not None:
            tell(f"done before: {part.command()}")
            return bool(done["exit_status"] == 0)
    tell(f"$ {part.command()}")
    began = monotonic()
    line, status = _run(part.arguments, tell)
    if part.keeps_itself:
        return status == 0
    try:
        result: dict[str, Any] = json.loads(line)
    except ValueError:
        tell(f"no result: the command ended with status {status} and without a JSON line")
        return False
    result["exit_status"] = status
    result["wall_s"] = round(monotonic() - began, 1)
    result["command"] = part.command()
    store.add(part.kind, part.key, result)
    return status == 0


def _run(arguments: tuple[str, ...], tell: Callable[[str], None]) -> tuple[str, int]:
    """The command's last line and its exit status; all other lines are told as they come."""
    program = "from multipaxos.cli.main import main; main()"
    last = ""
    with subprocess.Popen(
        [sys.executable, "-c", program, "verify", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if last:
                    tell(last)
                last = line.rstrip("\n")
        except BaseException:
            process.terminate()
            raise
    status = process.wait()
    if not last.startswith("{"):
        tell(last)
    return last, status
