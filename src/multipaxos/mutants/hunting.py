"""What runs inside a mutated copy: random seeds, or one scripted schedule, until a named invariant reports a violation.

    python -m multipaxos.mutants.hunting seeds WORLD START COUNT KILLERS
    python -m multipaxos.mutants.hunting script NAME

A seed that ends in an exception is a crash: the mutated code fell over by itself, before any invariant saw it.
"""

import json
import sys
from collections.abc import Collection

from multipaxos.mutants.schedules import SCHEDULES
from multipaxos.sim.checkers import Violation
from multipaxos.sim.scenarios import WORLDS

Verdict = dict[str, object]
"""The line of JSON of ``hunts.py``."""


def hunt_seeds(world: str, start: int, count: int, killers: Collection[str]) -> Verdict:
    """Seeds of one kind of world, until one violates an invariant of ``killers`` (any, where none is named)."""
    violations: dict[str, str] = {}  # the first of each invariant: others may come before the one that counts
    crashes = 0
    runs = 0
    for seed in range(start, start + count):
        runs += 1
        try:
            report = WORLDS[world](seed)
        except Exception:
            crashes += 1
            continue
        if report.is_failed:
            violations.setdefault(report.invariant, f"seed {seed}: {report.text}")
            if not killers or report.invariant in killers:
                break
    return _verdict(violations, runs, crashes)


def hunt_script(name: str) -> Verdict:
    """One schedule. That it ends otherwise than it should is no violation: only an invariant can say so."""
    try:
        SCHEDULES[name]()
    except Violation as violation:
        return _verdict({violation.invariant: violation.text}, 1, 0)
    except Exception:
        return _verdict({}, 1, 1)
    return _verdict({}, 1, 0)


def _verdict(violations: dict[str, str], runs: int, crashes: int) -> Verdict:
    told = [{"id": identity, "text": text} for identity, text in violations.items()]
    return {"violations": told, "runs": runs, "crashes": crashes}


def _main(arguments: list[str]) -> None:
    kind, *rest = arguments
    if kind == "seeds":
        world, start, count, killers = rest
        verdict = hunt_seeds(world, int(start), int(count), [name for name in killers.split(",") if name])
    else:
        verdict = hunt_script(rest[0])
    sys.stdout.write(json.dumps(verdict) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
