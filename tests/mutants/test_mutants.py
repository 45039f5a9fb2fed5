"""The catalogue of bugs: every row is expressed or waits for a mechanism, every patch applies, and a dozen die here.

All of them: ``multipaxos verify mutants``. ``-s`` prints what killed each, and in how many runs.
"""

import pytest

from multipaxos.mutants.campaign import hunt_down, look_at_twin
from multipaxos.mutants.catalogue import CANARY, MUTANTS, NOTHING, ROWS, WAITING, named
from multipaxos.mutants.hunts import CHECK, EXPLORE, SCRIPT, SEEDS, STORAGE, Hunt
from multipaxos.mutants.mutant import Mutant, patched, source_folder
from multipaxos.mutants.schedules import SCHEDULES

FAST = (
    "promise forgotten at restart",
    "votes of different ballots are added up",
    "own decree instead of the reported one",
    "an accept cuts what was accepted above it",
    "a promise rolls the ledger back",
    "the counter of a zxid overflows into the epoch",
    "reply before sync",
    "a leader answers reads by itself",
    "a read joins a round already sent",
    "a session that has ended creates ephemerals",
    "a laggard always asks the same peer",
    "who does not know itself a voter does not promise",
)


def test_every_row_of_the_catalogue_is_expressed_or_waits() -> None:
    expressed = {row for mutant in MUTANTS for row in mutant.rows}
    waiting = [waiting.row for waiting in WAITING]
    assert len(ROWS) == 82
    assert len(set(waiting)) == len(waiting)
    assert not expressed & set(waiting)
    assert expressed | set(waiting) == set(ROWS)
    assert all(waiting.mechanism for waiting in WAITING)


@pytest.mark.parametrize("mutant", (CANARY, NOTHING, *MUTANTS), ids=lambda mutant: mutant.name)
def test_every_patch_applies_and_changes_something(mutant: Mutant) -> None:
    package = source_folder()
    texts = patched(mutant, package)
    assert texts
    for file, text in texts.items():
        assert text != (package / file).read_text()
        compile(text, file, "exec")


def test_every_mutant_says_what_it_is() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    for mutant in MUTANTS:
        assert mutant.ids and mutant.killers and mutant.hunts and mutant.wrong and mutant.source, mutant.name
        for hunt in mutant.hunts:
            assert hunt.kind != SCRIPT or hunt.arguments[1] in SCHEDULES, mutant.name


@pytest.mark.parametrize("name", FAST)
def test_a_mutant_is_killed_by_its_invariant(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    trial, hunt = hunt_down(mutant)
    print(f"{name}: {trial.killer} in {trial.hunt} after {trial.runs} runs: {trial.text}")
    assert trial.is_killed, trial.missed
    assert trial.killer in mutant.killers
    assert hunt is not None


def test_the_canary_dies_at_once() -> None:
    trial, _ = hunt_down(CANARY)
    assert trial.is_killed and trial.runs == 1


def _cheapest(kind: str) -> Hunt:
    """A hunt of this kind that the catalogue uses: the first seeds, or the one that must be over soonest."""
    hunts = [hunt for mutant in MUTANTS for hunt in mutant.hunts if hunt.kind == kind]
    return min(hunts, key=lambda hunt: hunt.timeout_s).first(10)


@pytest.mark.parametrize("kind", [SEEDS, SCRIPT, EXPLORE, STORAGE, CHECK])
def test_a_patch_that_does_nothing_survives_every_kind_of_hunt(kind: str) -> None:
    outcome = look_at_twin(_cheapest(kind))
    assert outcome.is_clean, outcome
    assert outcome.runs >= 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_breaks_nothing_of_the_unmutated_code(name: str) -> None:
    SCHEDULES[name]()


def test_mutants_are_found_by_id_and_by_name() -> None:
    assert named(["bug-A04"])[0].name == "promise not raised on accept"
    assert [mutant.name for mutant in named(["reply before"])] == ["reply before sync"]
    assert len(named([])) == len(MUTANTS)
    with pytest.raises(KeyError):
        named(["bug-Z99"])
