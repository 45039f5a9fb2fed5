"""Small worlds of the core by name, and a search of one of them that reports violations by id: how mutants are hunted.

    python -m multipaxos.explore.core_hunt --preset three-ballots --json

runs on whatever package it is imported from, so a mutated copy is hunted with PYTHONPATH. The last line of its output is

    {"violations": [{"id": "I5", "text": "..."}], "runs": 917, "crashes": 0, ...}

``runs`` counts states, ``crashes`` the steps that ended in an exception of the core; such a step is not taken, for an
exception is no violation. ``--only I2`` looks past other violations, for the harm that they lead to. ``--without sweep``
switches a reduction off.

Knows nothing of mutants.
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace

from multipaxos.explore.bounds import Bounds
from multipaxos.explore.core_scope import BORN, Scope
from multipaxos.explore.core_world import INVARIANTS, CoreWorld
from multipaxos.explore.search import explore


@dataclass(frozen=True, slots=True)
class Preset:
    """A scope, and what it is good for."""

    scope: Scope
    what: str


PRESETS: dict[str, Preset] = {
    "two-ballots": Preset(Scope(ballots=2, slots=1, values=1, crashes=0), "a leader and a candidate"),
    "two-ballots-crash": Preset(Scope(ballots=2, slots=1, values=1, crashes=1), "the same, and a power failure"),
    "three-ballots": Preset(Scope(ballots=3, slots=1, values=1, crashes=0), "three replicas, each with a ballot"),
    "three-ballots-crash": Preset(Scope(ballots=3, slots=1, values=0, crashes=1), "and a power failure; no command"),
    "four-ballots": Preset(Scope(ballots=4, slots=1, values=0, crashes=0), "the first leader comes back; no command"),
    "one-campaigner": Preset(
        Scope(ballots=3, slots=1, values=0, crashes=0, campaigners=(2,)), "a replica with two ballots of its own"
    ),
    "one-campaigner-crash": Preset(
        Scope(ballots=3, slots=1, values=0, crashes=1, campaigners=(2,)), "the same, and a power failure"
    ),
    "two-slots": Preset(Scope(ballots=2, slots=2, values=1, crashes=0), "an epoch decree behind a command"),
    "gaps": Preset(Scope(ballots=2, slots=2, values=2, crashes=0), "two commands at a time, so gaps to be filled"),
    "pages": Preset(Scope(ballots=2, slots=2, values=2, crashes=0, page_bytes=1), "promises of several pages"),
    "born": Preset(Scope(ballots=2, slots=1, values=1, crashes=0, start=BORN), "nobody leads at the start"),
    "born-crash": Preset(Scope(ballots=2, slots=1, values=0, crashes=1, start=BORN), "and a power failure; no command"),
    "born-three": Preset(Scope(ballots=3, slots=1, values=0, crashes=0, start=BORN), "three ballots; no command"),
    "late-answers": Preset(
        Scope(ballots=2, slots=1, values=1, crashes=0, is_nacking=True, is_fetching_by_message=True),
        "nacks, and answers to fetches that are old",
    ),
    "two-crashes": Preset(Scope(ballots=2, slots=1, values=0, crashes=2), "two power failures"),
}


REDUCTIONS = ("prompt", "sweep", "journals", "memo")
"""What may be switched off; see ``Scope``."""


def main(arguments: list[str]) -> int:
    """See the module. What was found stands in the output, not in the exit code, which is 0."""
    parser = argparse.ArgumentParser(prog="python -m multipaxos.explore.core_hunt", description="Search a small world.")
    parser.add_argument("--preset", choices=sorted(PRESETS), required=True)
    parser.add_argument("--only", choices=INVARIANTS, action="append", default=[])
    parser.add_argument("--without", choices=REDUCTIONS, action="append", default=[])
    parser.add_argument("--states-max", type=int, default=0)
    parser.add_argument("--seconds-max", type=float, default=0.0)
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    given = parser.parse_args(arguments)
    only = tuple(given.only)
    scope = replace(
        PRESETS[given.preset].scope,
        is_judging_exceptions=False,
        is_prompt="prompt" not in given.without,
        is_sweeping="sweep" not in given.without,
        is_forgetting_journals="journals" not in given.without,
        is_memoising="memo" not in given.without,
    )
    world = CoreWorld(scope, only)
    result = explore(world, Bounds(states_max=given.states_max, seconds_max=given.seconds_max))
    if not given.json:
        for violation in result.violations:
            for step in violation.steps:
                sys.stdout.write(f"{step.label or 'at the start'}\n  " + step.text.replace("\n", "\n  ") + "\n")
    value = {
        "violations": [{"id": found.name, "text": found.text, "depth": found.depth} for found in result.violations],
        "runs": result.unique,
        "crashes": world.locals.exceptions,
        "generated": result.generated,
        "depth": result.depth,
        "stopped": result.stopped,
        "seconds": round(result.seconds, 1),
    }
    sys.stdout.write(json.dumps(value) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
