"""The published counts, exactly, and the published deaths of mutants: the general search over models of our own.

Sources, versions and configurations stand beside each figure in ``explore/anchors.py``. MULTIPAXOS_LONG=1 adds what takes
longer than some seconds.
"""

import os
from typing import Any

import pytest

from multipaxos.explore.anchors import (
    ANCHORS,
    DEATHS,
    LONG_ANCHORS,
    WITH_MORE_BALLOTS,
    Anchor,
    Death,
    published,
)
from multipaxos.explore.lamport_mutants import MUTANTS, AdoptsLowest, DoesNotRaisePromise, LearnsAcrossBallots
from multipaxos.explore.lamport_paxos import LamportPaxos
from multipaxos.explore.models import build
from multipaxos.explore.register_history import Client as Seen
from multipaxos.explore.register_history import History, begin, end, is_linearizable
from multipaxos.explore.search import Bounds, Result, explore
from multipaxos.explore.stateright_paxos import StaterightPaxos
from multipaxos.explore.two_phase_commit import ABORTED, COMMITTED, PREPARED, WORKING, State, TwoPhaseCommit

IS_LONG = os.environ.get("MULTIPAXOS_LONG") == "1"
long_form = pytest.mark.skipif(not IS_LONG, reason="half a minute and more; MULTIPAXOS_LONG=1 runs it")


def anchor_name(anchor: Anchor) -> str:
    return f"{anchor.name}-{anchor.unique}-{anchor.generated}"


def death_name(death: Death) -> str:
    return f"{death.model}-{death.mutant}"


@pytest.mark.parametrize("anchor", ANCHORS, ids=anchor_name)
def test_our_counts_are_the_published_ones(anchor: Anchor) -> None:
    result = explore(build(anchor.model, "", dict(anchor.sizes)))
    assert result.is_exhausted and result.violations == ()
    assert anchor.differences(result.unique, result.generated, result.depth) == ""
    assert all(result.sometimes.values()) or anchor.name == "anchor-T3", "the model does what it should be able to"


@long_form
@pytest.mark.parametrize("anchor", LONG_ANCHORS, ids=anchor_name)
def test_our_counts_are_the_published_ones_of_large_models(anchor: Anchor) -> None:
    result = explore(build(anchor.model, "", dict(anchor.sizes)), jobs=2)
    assert result.is_exhausted and result.violations == ()
    assert anchor.differences(result.unique, result.generated, result.depth) == ""
    assert all(result.sometimes.values())


def test_the_published_figures_are_those_of_the_sources() -> None:
    """Typed here once more, from the sources: stateright ab8c8be and the manifests of tlaplus/Examples 32a32c7."""
    figures = [(anchor.name, anchor.unique, anchor.generated, anchor.depth) for anchor in ANCHORS + LONG_ANCHORS]
    assert figures == [
        ("anchor-S1", 16_668, 0, 0),  # examples/paxos.rs, can_model_paxos
        ("anchor-S4", 288, 0, 0),  # examples/2pc.rs, can_model_2pc
        ("anchor-S4", 8_832, 0, 0),
        ("anchor-T1", 4, 4, 2),  # PaxosHowToWinATuringAward/MCConsensus.cfg
        ("anchor-T1", 4, 7, 1),  # Paxos/MCConsensus.cfg
        ("anchor-T2", 77, 451, 11),  # Paxos/MCVoting.cfg
        ("anchor-T3", 25, 82, 9),  # Paxos/MCPaxos.cfg
        ("anchor-T4", 6_752, 41_017, 16),  # PaxosHowToWinATuringAward/MCVoting.cfg
        ("anchor-T5", 3_921, 23_563, 17),  # PaxosHowToWinATuringAward/MCPaxosTiny.cfg
        ("anchor-T9", 343_796, 736_012, 28),  # MultiPaxos-SMR/MultiPaxos_MC_small.cfg
    ]


@pytest.mark.parametrize("anchor", ANCHORS, ids=anchor_name)
def test_one_guard_removed_gives_another_count(anchor: Anchor) -> None:
    bounds = Bounds(is_stopping_at_violation=False, states_max=anchor.unique + 1)
    result = explore(build(anchor.model, anchor.guard, dict(anchor.sizes)), bounds)
    assert result.unique > anchor.unique


def test_figures_that_differ_are_told() -> None:
    anchor = published("lamport-paxos", {"acceptors": 3, "values": 2, "ballots": 2, "is_symmetric": False})
    assert anchor is not None and anchor.name == "anchor-T5"
    assert anchor.differences(3_921, 23_563, 17) == ""
    assert anchor.differences(3_921, 22_995, 18) == "generated 22,995 instead of 23,563, depth 18 instead of 17"
    assert published("lamport-paxos", {"acceptors": 5, "values": 2, "ballots": 2, "is_symmetric": False}) is None


@pytest.mark.parametrize("death", DEATHS, ids=death_name)
def test_mutants_end_where_it_was_measured(death: Death) -> None:
    """To the depth in every case; to the state in all but those that say why not."""
    model = build(death.model, death.mutant, dict(death.sizes))
    result = explore(model, Bounds(only=(death.only,), is_hasty=True))
    assert result.is_exhausted == (death.depth == 0)
    assert [violation.depth for violation in result.violations] == ([death.depth] if death.depth else [])
    if not death.why:
        assert result.unique == (death.states or result.unique)


@pytest.mark.parametrize(
    ("bug", "depth", "states"),
    [("A08", 13, 3_465), ("A09", 13, 8_334), pytest.param("A01", 14, 19_980, marks=long_form)],
)
def test_what_was_measured_lies_on_the_level_of_the_violation(bug: str, depth: int, states: int) -> None:
    """Without the order of steps: between all states above that level, and all states down to it."""
    result = explore(MUTANTS[bug](), Bounds(only=("I2",)))
    assert result.depth == result.violations[0].depth == depth == len(result.levels)
    assert result.levels[-2].unique < states <= result.levels[-1].unique


@pytest.mark.parametrize("bug", ["A08", "A09"])
def test_of_stateright_the_measured_states_lie_where_the_violation_is_expanded(bug: str) -> None:
    (death,) = [death for death in DEATHS if death.model == "stateright-paxos" and death.mutant == bug]
    result = explore(build(death.model, bug, dict(death.sizes)), Bounds(is_stopping_at_violation=False, depth_max=19))
    assert result.levels[17].unique < death.states < result.levels[18].unique


@pytest.mark.parametrize("bug", ["A08", "A01"])
def test_the_shortest_death_is_a_run_of_the_model(bug: str) -> None:
    model = MUTANTS[bug]()
    (violation,) = explore(model, Bounds(only=("I2",))).violations
    for before, after in zip(violation.steps, violation.steps[1:], strict=False):
        assert (after.label, after.state) in list(model.successors(before.state))
        assert model.one_chosen(before.state) == ""
    assert model.one_chosen(violation.steps[-1].state) == violation.text == "chosen are [0, 1]"


@pytest.mark.parametrize(
    ("bug", "broken", "depth"),
    [
        ("A08", "I5", 10),
        ("A02", "I1", 6),
        ("A03", "I5", 6),
        ("A11", "I5", 4),
        ("A04", "I3", 6),
        ("A01", "I3", 4),
        ("A09", "I3", 8),
    ],
)
def test_the_reason_is_seen_before_the_second_chosen_value(bug: str, broken: str, depth: int) -> None:
    """I1, I3 and I5 look at why Paxos is safe, and need shorter runs, and fewer ballots, than I2."""
    (violation, *_) = explore(MUTANTS[bug]()).violations
    assert (violation.name, violation.depth) == (broken, depth)


def verdict(result: Result[Any]) -> list[tuple[str, int]]:
    return [(violation.name, violation.depth) for violation in result.violations]


@pytest.mark.parametrize("bug", ["", "A02", "A03", "A04", "A06", "A08", "A09", "A11", "forgets-vote", "restarts"])
def test_symmetry_changes_no_verdict(bug: str) -> None:
    whole = explore(build("lamport-paxos", bug, {}), Bounds(only=("I2",)))
    reduced = explore(build("lamport-paxos", bug, {"is_symmetric": True}), Bounds(only=("I2",)))
    assert verdict(whole) == verdict(reduced)
    assert reduced.unique * 12 >= whole.unique > reduced.unique * 6  # six names for acceptors, two for values
    assert reduced.depth == whole.depth


def test_symmetry_changes_no_verdict_of_two_phase_commit() -> None:
    for bug in ("", "commits-unasked"):
        whole = explore(build("two-phase-commit", bug, {"managers": 4}))
        reduced = explore(build("two-phase-commit", bug, {"managers": 4, "is_symmetric": True}))
        assert verdict(whole) == verdict(reduced) == ([("consistent", 4)] if bug else [])
        assert reduced.unique < whole.unique


def test_the_published_count_with_symmetry_is_that_of_a_depth_first_search_with_an_incomplete_sort() -> None:
    """anchor-S4, 665 of 8,832: managers are sorted by their standing alone, so the count depends on who comes first."""
    order = [WORKING, PREPARED, COMMITTED, ABORTED]

    def sorted_by_standing(state: State) -> State:
        names = sorted(range(5), key=lambda name: order.index(state.managers[name]))
        managers, sent, heard = (tuple([part[name] for name in names]) for part in state[:1] + state[2:4])
        return state._replace(managers=managers, has_sent=sent, is_heard=heard)

    model = TwoPhaseCommit(5)
    stack = list(model.initial())
    seen = {sorted_by_standing(state) for state in stack}
    while stack:
        for _, after in model.successors(stack.pop()):
            if sorted_by_standing(after) not in seen:
                seen.add(sorted_by_standing(after))
                stack.append(after)
    assert len(seen) == 665
    assert explore(TwoPhaseCommit(5, is_symmetric=True)).unique == 314


def test_no_two_states_of_an_anchor_share_a_fingerprint() -> None:
    for model in (LamportPaxos(), StaterightPaxos(), TwoPhaseCommit(5)):
        assert explore(model, Bounds(is_keeping_states=True)).is_exhausted


def test_two_processes_count_as_stateright_does() -> None:
    result = explore(StaterightPaxos(), jobs=2)
    assert (result.unique, result.generated, result.depth) == (16_668, 32_971, 21)


def test_a_third_ballot_shows_what_two_cannot() -> None:
    """bug-A06: survives two ballots (see above), and dies with three, after 17 steps."""
    (violation,) = explore(AdoptsLowest(ballots=3, is_symmetric=True), Bounds(only=("I2",))).violations
    assert violation.depth == 18
    assert [run.depth for run in WITH_MORE_BALLOTS if run.mutant == "A06"] == [18]


@long_form
def test_paxos_with_three_ballots_holds() -> None:
    """anchor-T6 has no published count; these are ours."""
    whole = explore(LamportPaxos(ballots=3))
    assert (whole.unique, whole.generated, whole.depth, whole.violations) == (185_369, 1_361_380, 25, ())
    reduced = explore(LamportPaxos(ballots=3, is_symmetric=True))
    assert (reduced.unique, reduced.generated, reduced.depth, reduced.violations) == (17_153, 127_002, 25, ())


@long_form
def test_a_promise_that_is_not_raised_needs_three_ballots() -> None:
    """bug-A04."""
    (violation,) = explore(DoesNotRaisePromise(ballots=3, is_symmetric=True), Bounds(only=("I2",))).violations
    assert violation.depth == 18


def history_of(*events: tuple[int, str]) -> History:
    """Two clients; "w A" begins a write, "r" a read, "ok" and "ok A" end what is open."""
    history: History = (Seen(), Seen())
    for client, event in events:
        word, _, value = event.partition(" ")
        if word == "ok":
            history = end(history, client, value)
        else:
            history = begin(history, client, value if word == "w" else None)
    return history


@pytest.mark.parametrize(
    ("events", "is_fine"),
    [
        ([], True),
        ([(0, "w A"), (1, "r"), (1, "ok A")], True),  # the write has not ended, but may have happened
        ([(0, "w A"), (1, "r"), (1, "ok")], True),
        ([(0, "w A"), (0, "ok"), (1, "r"), (1, "ok")], False),  # a stale read
        ([(0, "w A"), (1, "r"), (0, "ok"), (1, "ok")], True),
        ([(1, "r"), (1, "ok A"), (0, "w A")], False),  # a read of the future
        ([(0, "w A"), (0, "ok"), (1, "w B"), (1, "ok"), (0, "r"), (0, "ok A")], False),
        ([(0, "w A"), (1, "w B"), (1, "ok"), (0, "ok"), (0, "r"), (0, "ok A")], True),
        ([(0, "w A"), (1, "w B"), (0, "ok"), (1, "ok"), (0, "r"), (1, "r"), (0, "ok B"), (1, "ok A")], False),
    ],
)
def test_histories_of_a_register(events: list[tuple[int, str]], is_fine: bool) -> None:
    assert is_linearizable(history_of(*events)) == is_fine


@long_form
def test_votes_of_different_ballots_add_up_wrongly_with_four_ballots() -> None:
    """bug-A10: 20 steps, as in the run that others wrote down; no shorter one exists."""
    result = explore(LearnsAcrossBallots(ballots=4, is_symmetric=True), Bounds(only=("I2",)), jobs=2)
    assert [violation.depth for violation in result.violations] == [21]
    assert result.unique == 399_067
