"""The list of scenarios does not rot: every name is there, every test it names exists and bears the name."""

import ast
import os
import re
from functools import cache
from pathlib import Path

import pytest
from catalogue import COUNT, MECHANISMS, PAPERS, RULES, SCENARIOS, Scenario, page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scenarios.md"

_GIVEN = """
lamport-135 ptp-fig1 no-raise-keep-last forgotten-promise zab-fig1 duel silent-choice old-leader-returns lease-amnesia
lease-drift lease-late-reply quorum-loss constrained chained one-way removed-disrupts drowned early-config round-clash
truncate-loses gc-hole snapshot-chase snapshot-stall rollback-dir stale-cache late-epoch zombie-writer retry-twice
read-before-noop pqr-half-slot worker-flood gray-leader masked-member fsync-eio failover-in-failover huge-number
phase1-new-members page-compacted unverified-prefix dead-ballot two-windows window-shrinks gap-then-resend
session-moves-late-write double-attach snapshot-over-unanswered late-epoch-decree late-decision old-backup-twice
poison-command mixed-versions late-reader read-between-writes paused-grantor lease-members expiry-meets-attach
cut-off-gateway transfer-late hung-leader slow-everywhere repeat-before-sync sealed-vote-rots power-loss-everywhere
cache-vouches all-full one-full wiped-at-birth wiped-later two-lists copied-dir replace-one-dead retired-too-early
survivor two-configurations-in-handle rotten-leader three-ways equal-number other-set listed-twice
"""

NAMES = _GIVEN.split()
"""The names as they were given, in their order."""


@cache
def functions_of(path: Path) -> dict[str, str]:
    """The source of each test function of a file."""
    text = path.read_text(encoding="utf-8")
    return {
        node.name: ast.get_source_segment(text, node) or ""
        for node in ast.parse(text).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_every_name_is_in_the_catalogue_once() -> None:
    assert [scenario.name for scenario in SCENARIOS] == NAMES
    assert len(set(NAMES)) == len(NAMES) == COUNT
    assert (len(PAPERS), len(RULES)) == (35, 44)


def test_every_scenario_a_rule_names_is_in_the_catalogue() -> None:
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    cited: set[str] = set()
    for part in re.findall(r"\*Test:\*(.*?)(?=\n\n|\Z)", text, re.DOTALL):
        cited.update(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)*)`", part))
    cited.discard("replaces")  # a field of attach, not a scenario
    assert len(cited) > 60
    assert cited <= set(NAMES), f"not in the catalogue: {sorted(cited - set(NAMES))}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_is_shown_where_the_catalogue_says(scenario: Scenario) -> None:
    assert scenario.tests or scenario.waits, "neither shown nor waiting"
    assert scenario.waits in ("", *MECHANISMS)
    assert bool(scenario.rest) == bool(scenario.tests and scenario.waits)
    bearing = 0
    for location in scenario.tests:
        file, _, test = location.partition("::")
        path = ROOT / file
        assert path.is_file(), location
        if not test:
            first = path.read_text(encoding="utf-8").split("\n\n")[0]
            assert first.startswith("# ") and path.suffix == ".txt"
            bearing += path.stem == scenario.name
            continue
        functions = functions_of(path)
        assert test in functions, f"{location} is not there"
        bearing += scenario.name.replace("-", "_") in test or scenario.name in functions[test]
    assert bearing or not scenario.tests, f"no test bears the name {scenario.name}"


def test_a_test_that_bears_a_name_is_in_the_catalogue() -> None:
    """Whoever adds one tells the catalogue, or nobody finds it."""
    registered = {location for scenario in SCENARIOS for location in scenario.tests}
    for path in sorted((ROOT / "tests" / "scenarios").glob("test_scenarios_of_*.py")):
        for name in functions_of(path):
            if name.startswith("test_"):
                assert f"tests/scenarios/{path.name}::{name}" in registered, f"{path.name}: {name}"
    stems = {scenario.name for scenario in SCENARIOS}
    for path in sorted((ROOT / "tests" / "transcripts").glob("*.txt")):
        if path.stem in stems:
            assert f"tests/transcripts/{path.name}" in registered, path.name


def test_the_page_for_readers_says_the_same() -> None:
    if os.environ.get("MULTIPAXOS_REWRITE"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
