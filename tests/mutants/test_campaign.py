"""The engine: what counts as a kill and what does not, what a false alarm voids, what the command answers."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from multipaxos.cli.verify_mutants import register
from multipaxos.mutants import campaign
from multipaxos.mutants.campaign import Report, Trial, hunt_down, look_at_twin, run
from multipaxos.mutants.catalogue import CANARY, NOTHING, named
from multipaxos.mutants.hunts import CHECK, Hunt, Outcome, check, look, script, seeds
from multipaxos.mutants.mutant import AnchorGone, Mutant, Patch, apply, patched, source_folder

READER = named(["trap-T35"])[0]


def test_an_anchor_that_is_gone_fails_loudly() -> None:
    stale = replace(READER, name="stale", patches=(Patch("core/acceptor.py", "this text never stood there\n", ""),))
    with pytest.raises(AnchorGone, match="stale"):
        patched(stale, source_folder())
    with pytest.raises(AnchorGone):
        run([stale])


def test_an_anchor_that_stands_twice_fails_as_loudly() -> None:
    vague = replace(READER, name="vague", patches=(Patch("core/acceptor.py", "return ballot >= self.promised\n", ""),))
    with pytest.raises(AnchorGone, match="2 times"):
        patched(vague, source_folder())


def test_the_sources_stay_as_they_are(tmp_path: Path) -> None:
    file = source_folder() / READER.patches[0].file
    before = file.read_text()
    apply(READER, tmp_path)
    assert file.read_text() == before
    assert (tmp_path / "multipaxos" / READER.patches[0].file).read_text() != before


def test_a_violation_of_another_invariant_is_no_kill() -> None:
    trial, hunt = hunt_down(replace(READER, killers=("I5",)))
    assert not trial.is_killed and hunt is None
    assert "rule-R19" in trial.missed[0]


def test_seeds_go_on_behind_a_violation_of_another_invariant(tmp_path: Path) -> None:
    apply(CANARY, tmp_path)
    assert look(seeds("plain", 3), tmp_path, ("I5",)).runs == 3
    assert look(seeds("plain", 3), tmp_path, CANARY.killers).runs == 1


def test_a_crash_is_no_kill() -> None:
    broken = replace(
        CANARY,
        patches=(
            Patch("core/acceptor.py", "        is_raised = ballot > self.promised\n", "        assert False, 'I11'\n"),
        ),
        hunts=(seeds("plain", 2),),
    )
    trial, _ = hunt_down(broken)
    assert not trial.is_killed
    assert "2 of them crashed" in trial.missed[0]


def test_an_import_error_is_no_kill() -> None:
    broken = replace(
        CANARY, patches=(Patch("core/acceptor.py", "class Acceptor:\n", "import nothing\nclass Acceptor:\n"),)
    )
    trial, _ = hunt_down(broken)
    assert not trial.is_killed
    assert "no verdict" in trial.missed[0]


def test_a_time_out_is_no_kill() -> None:
    endless = replace(
        CANARY,
        patches=(Patch("core/acceptor.py", "class Acceptor:\n", "while True:\n    pass\nclass Acceptor:\n"),),
        hunts=(replace(seeds("plain", 1), timeout_s=1.0),),
    )
    trial, _ = hunt_down(endless)
    assert not trial.is_killed
    assert "no end within 1 s" in trial.missed[0]


def test_a_command_without_a_verdict_is_no_kill() -> None:
    outcome = look_at_twin(check("json.tool", "--help"))
    assert not outcome.is_clean and "no verdict" in outcome.failure


def test_a_hunt_runs_in_the_copy_or_not_at_all(tmp_path: Path) -> None:
    outcome = look(script("late-reader"), tmp_path)
    assert "this is not the copy" in outcome.failure


def test_a_hunt_in_which_the_twin_fails_is_a_false_alarm_and_voids_its_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    accusing = Outcome((("rule-R19", "of the unmutated code"),), 1, 0, 0.1, "")
    monkeypatch.setattr(campaign, "look_at_twin", lambda hunt: accusing)
    report = run([READER], is_whole=False)
    assert any("of the unmutated code" in alarm for alarm in report.false_alarms)
    assert not report.trials[0].is_killed
    assert "the unmutated twin fails there, too" in report.trials[0].missed[-1]
    assert not report.is_passed


def test_a_canary_that_lives_fails_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "CANARY", replace(NOTHING, hunts=CANARY.hunts, killers=CANARY.killers))
    report = run([READER], is_whole=False)
    assert report.trials[0].is_killed
    assert report.canary and not report.is_passed


def test_results_are_kept_by_the_hash_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run([READER], results=tmp_path, is_whole=False)
    monkeypatch.setattr(campaign, "hunt_down", _only_the_canary)
    monkeypatch.setattr(campaign, "look_at_twin", _not_again)
    again = run([READER], results=tmp_path, is_whole=False)
    assert again.trials == first.trials and again.is_passed
    monkeypatch.setattr(campaign, "source_hash", lambda: "another")
    with pytest.raises(AssertionError, match="hunted again"):
        run([READER], results=tmp_path, is_whole=False)


def _only_the_canary(mutant: Mutant) -> tuple[Trial, Hunt | None]:
    assert mutant is CANARY, "hunted again"
    return hunt_down(mutant)


def _not_again(hunt: Hunt) -> Outcome:
    raise AssertionError("hunted again")


def _trial(name: str, ids: tuple[str, ...], killer: str, seconds: float = 1.0, argued: str = "") -> Trial:
    return Trial(name, ids, killer, "", "seeds plain", 1, seconds, (), argued)


def test_a_row_is_killed_when_all_its_mutants_are() -> None:
    report = Report(
        [
            _trial("one", ("bug-A10",), "I10", 1.0),
            _trial("two", ("bug-A10", "claim-A16"), "", argued="equivalent"),
            _trial("three", ("bug-A04",), "I3", 3.0),
            _trial("four", ("rule-R12",), "I7", 8.0),
        ]
    )
    value = report.value()
    assert (value["rows"], value["killed"], value["survived"]) == (2, 1, ["bug-A10"])
    assert (value["rules"], value["rules_killed"], value["mutants_killed"]) == (1, 1, 3)
    assert value["median_seconds"] == 3.0
    assert report.is_passed
    report.trials[1] = _trial("two", ("bug-A10",), "")
    assert not report.is_passed


def _app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def test_the_command_hunts_and_ends_with_one_object() -> None:
    done = CliRunner().invoke(_app(), ["mutants", "--only", "trap-T35", "--json"])
    assert done.exit_code == 0, done.output
    value = json.loads(done.output.splitlines()[-1])
    assert value["mutants"] == value["mutants_killed"] == 1
    assert value["false_alarms"] == [] and value["canary"] == "killed at once"
    assert {"rows", "killed", "survived", "waiting", "median_seconds", "seconds"} <= set(value)


def test_the_command_lists_and_refuses_what_there_is_not() -> None:
    listed = CliRunner().invoke(_app(), ["mutants", "--list"])
    assert listed.exit_code == 0
    assert "bug-A04" in listed.output and "waits for snapshots" in listed.output
    assert CliRunner().invoke(_app(), ["mutants", "--only", "bug-Z99"]).exit_code == 2


def test_the_command_fails_when_a_mutant_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = replace(READER, hunts=(script("late-epoch-decree"),))
    monkeypatch.setattr("multipaxos.mutants.catalogue.MUTANTS", (lives,))
    done = CliRunner().invoke(_app(), ["mutants"])
    assert done.exit_code == 1
    assert "SURVIVED" in done.output


def test_hunts_run_with_this_interpreter() -> None:
    assert look_at_twin(Hunt(CHECK, "multipaxos.mutants.hunting", ("script", "late-reader"), 60.0)).is_clean
    assert Path(sys.executable).exists()
