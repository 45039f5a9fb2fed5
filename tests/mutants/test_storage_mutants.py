"""Rules of the journal, its directory and the client side, taken out one by one: each is noticed by the invariant named.

The quick ones run here; the others, and all with their unmutated twins, in the campaign (``multipaxos verify mutants``).
"""

import json
import os
from pathlib import Path

import pytest

from multipaxos.mutants import clients, durability, failing_disk, service_hunts
from multipaxos.mutants.catalogue import NOTHING
from multipaxos.mutants.hunts import CHECK, STORAGE, look
from multipaxos.mutants.mutant import Mutant, apply
from multipaxos.sim.checkers import Violation

IS_LONG = os.environ.get("MULTIPAXOS_LONG") == "1"

QUICK = (
    "the journal is written and not synced",
    "a failed sync is tried again",
    "the directory is not synced when a segment gets its name",
    "a torn tail refuses the start",
    "every bad record is the end of the journal",
    "a write that failed is taken for done",
    "a journal that was deleted is begun anew",
    "a vote raises the promise one sync later",
    "no copy at the start",
    "a full disk is a failed disk",
)

STORAGE_MUTANTS = [
    mutant
    for mutant in durability.MUTANTS
    if mutant.hunts[0].kind in (STORAGE, CHECK) and (IS_LONG or mutant.name in QUICK)
]

SERVICE_MUTANTS = [mutant for mutant in clients.MUTANTS if mutant.hunts[0].kind == CHECK]


def assert_killed(mutant: Mutant, folder: Path) -> None:
    apply(mutant, folder)
    outcome = look(mutant.hunts[0], folder, mutant.killers)
    assert outcome.killing(mutant.killers), outcome


def test_the_quick_ones_are_all_there() -> None:
    assert IS_LONG or len(STORAGE_MUTANTS) == len(QUICK)
    assert len(SERVICE_MUTANTS) >= 10


@pytest.mark.parametrize("mutant", STORAGE_MUTANTS, ids=lambda mutant: mutant.name)
def test_a_storage_mutant_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    assert_killed(mutant, tmp_path)


@pytest.mark.parametrize("mutant", SERVICE_MUTANTS, ids=lambda mutant: mutant.name)
def test_a_service_mutant_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    assert_killed(mutant, tmp_path)


@pytest.mark.parametrize("name", service_hunts.SCHEDULES)
def test_the_unmutated_twin_passes_every_schedule(name: str) -> None:
    assert service_hunts.look(name) == ([], 0)


def test_a_patch_that_does_nothing_survives(tmp_path: Path) -> None:
    apply(NOTHING, tmp_path)
    for hunt in (durability.directories(), durability.rot_of("l"), clients.service("poison-command")):
        outcome = look(hunt, tmp_path)
        assert outcome.is_clean, outcome


@pytest.mark.timeout(60)
def test_the_journal_thread_tells_of_every_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped thread on a disk that fails at each call of its flushes (bug-C08)."""
    assert failing_disk.main([]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["violations"], told["runs"], told["crashes"]) == ([], failing_disk.CALLS, 0)


def test_a_schedule_that_falls_over_is_no_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    def falls() -> None:
        raise ValueError("not an invariant")

    def violates() -> None:
        raise Violation("I13", "told")

    monkeypatch.setitem(service_hunts.SCHEDULES, "falls", falls)
    monkeypatch.setitem(service_hunts.SCHEDULES, "violates", violates)
    assert service_hunts.look("falls") == ([], 1)
    assert service_hunts.look("violates") == ([{"id": "I13", "text": "told"}], 0)
