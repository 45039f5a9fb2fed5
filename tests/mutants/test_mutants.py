"""Each rule taken out is noticed by the invariant that stands for it; a patch that does nothing is not.

``-s`` prints how many seeds each kill took.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from multipaxos.mutants.hunting import MUTANTS, NOTHING, AnchorGone, Mutant, Patch, apply, hunt, hunt_script

SCRIPTS = Path(__file__).parent.parent / "transcripts"


@pytest.mark.parametrize("mutated", MUTANTS, ids=lambda mutated: mutated.name)
def test_a_mutant_is_killed_by_its_invariant(mutated: Mutant) -> None:
    verdict = hunt(mutated, SCRIPTS)
    print(f"{mutated.name}: {verdict.invariant} after {verdict.seeds} seeds: {verdict.text}")
    assert verdict.is_killed, f"survived {verdict.seeds} seeds, {verdict.crashes} of them crashed"
    assert verdict.invariant in mutated.killers, verdict.text


@pytest.mark.parametrize("world,seeds", [("plain", 100), ("clients", 50), ("cut-off gateway", 20)])
def test_a_patch_that_does_nothing_survives(world: str, seeds: int) -> None:
    verdict = hunt(replace(NOTHING, world=world), seeds_max=seeds)
    assert not verdict.is_killed, f"{verdict.invariant}: {verdict.text}"
    assert verdict.crashes == 0


@pytest.mark.parametrize(
    "mutated", [mutated for mutated in MUTANTS if mutated.script], ids=lambda mutated: mutated.name
)
def test_the_unmutated_twin_of_a_script_survives(mutated: Mutant) -> None:
    assert not hunt_script((SCRIPTS / f"{mutated.script}.txt").read_text()).is_killed


def test_an_anchor_that_is_gone_fails_loudly(tmp_path: Path) -> None:
    stale = Mutant("stale", "none", ("I1",), (Patch("core/acceptor.py", "this text never stood there\n", ""),))
    with pytest.raises(AnchorGone, match="stale"):
        apply(stale, tmp_path)


def test_names_and_anchors_are_in_order() -> None:
    names = [mutated.name for mutated in MUTANTS]
    assert len(set(names)) == len(names)
    for mutated in MUTANTS:
        assert mutated.killers, mutated.name
        for patch in mutated.patches:
            assert patch.anchor != patch.replacement
