"""A failing seed is made smaller, stays the same violation, and its file replays it byte for byte.

The shipped code fails no seed, so the checkers are told to call something ordinary a violation: a third epoch, and a
crash of a process. The first needs no fault at all, the second needs just that one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from multipaxos.sim import campaign
from multipaxos.sim.campaign import keep_case, replay, run_case
from multipaxos.sim.checkers import Oracle, Violation
from multipaxos.sim.shrinking import Case, Outcome, case_of, shrink
from multipaxos.sim.swarm import SECOND_NS, draw
from multipaxos.sim.world import World
from multipaxos.trace import SCHEMA, parse_line


@pytest.fixture
def crash_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = World.crash

    def forbidden(world: World, replica: int, is_power_lost: bool) -> None:
        crash(world, replica, is_power_lost)
        if not is_power_lost and not world.is_healed:
            raise Violation("I16", "a process crashed")

    monkeypatch.setattr(World, "crash", forbidden)


@pytest.fixture
def second_epoch_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Oracle.started

    def forbidden(oracle: Oracle, replica: int, incarnation: int) -> None:
        started(oracle, replica, incarnation)
        if oracle.epochs >= 1:
            raise Violation("I4", "a replica starts after the first epoch")

    monkeypatch.setattr(Oracle, "started", forbidden)


def first_failing(is_plain: bool) -> Case:
    for seed in range(60):
        # Healing a mere majority first kills the others, which would be the wrong kind of crash here.
        case = Case(replace(draw(seed, is_plain), is_core_first=False), is_plain)
        if run_case(case).invariant:
            return case
    raise AssertionError("no seed of the first 60 shows it")


def test_only_the_fault_that_matters_is_left(crash_is_wrong: None) -> None:
    case = first_failing(True)
    outcome = run_case(case)
    assert outcome.invariant == "I16"
    told: list[str] = []
    shrunk = shrink(case, outcome, run_case, 30.0, told.append)
    assert told and shrunk.runs > 0
    assert shrunk.outcome.invariant == "I16"
    assert shrunk.outcome.steps <= outcome.steps
    profile = shrunk.case.profile
    assert len(profile.faults) == 1, "one kind of fault is enough for a crash"
    assert (profile.rates.drop, profile.rates.duplicate, profile.rates.reorder) == (0.0, 0.0, 0.0)
    again = run_case(shrunk.case)
    assert (again.invariant, again.steps) == ("I16", shrunk.outcome.steps)


def test_what_needs_no_fault_keeps_none(second_epoch_is_wrong: None, tmp_path: Path) -> None:
    case = first_failing(False)
    outcome = run_case(case)
    shrunk = shrink(case, outcome, run_case, 20.0)
    assert shrunk.outcome.invariant == "I4"
    path = keep_case(case.profile.seed, case, shrunk, tmp_path, None)
    value = json.loads(path.read_text())
    assert value["invariant"] == "I4"
    for name in ("original", "shrunk"):
        lines = (tmp_path / value[name]["trace"]).read_text().splitlines()
        assert dict(parse_line(lines[0]))["schema"] == SCHEMA
    for is_original in (False, True):
        again = replay(str(path), is_original=is_original)
        assert again.differs == ""
        assert again.report.invariant == "I4"


def test_shrinking_keeps_to_its_time_and_to_the_invariant() -> None:
    case = Case(draw(3, True), True)
    wrong = Outcome("I2", "two decrees", 4, 3 * SECOND_NS, 500)

    def run(tried: Case) -> Outcome:
        return Outcome("I3", "another thing", 4, SECOND_NS, 100)  # smaller, but not the same violation

    shrunk = shrink(case, wrong, run, 1.0)
    assert shrunk.case == case and shrunk.outcome == wrong
    assert shrink(case, wrong, run, 0.0).runs == 0


def test_a_case_reads_back_and_another_version_is_refused() -> None:
    case = Case(draw(11, False), False, (1, 4))
    value = json.loads(json.dumps(case.value()))
    assert case_of(value) == case
    del value["profile"]["window"]
    with pytest.raises(ValueError, match="fields"):
        case_of(value)
    with pytest.raises(ValueError, match="another version"):
        case_of({"plain": True})


def test_seeds_that_fail_are_shrunk_and_kept(crash_is_wrong: None, tmp_path: Path) -> None:
    told: list[str] = []
    seed = next(seed for seed in range(60) if run_case(Case(draw(seed, True), True)).invariant)
    report = campaign.run_campaign(seed, 1, True, 1, told.append, tmp_path, 3.0)
    assert report.violations == 1
    said = "\n".join(told)
    assert "VIOLATION of I16" in said and "multipaxos verify replay" in said
    assert (tmp_path / f"{seed}-plain.json").exists()
