"""Two checkers that accept everything agree, too: histories of simulated seeds, spoiled by one edit each, are refused.

Of each of the four kinds that the verification plan names 250 are made, and both checkers refuse all 1,000. Of every other
kind each judge that is responsible refuses all. The histories themselves pass.
"""

from functools import cache
from random import Random

import pytest

from multipaxos.sim.clients import ClientWorkload
from multipaxos.sim.convergence import check_convergence
from multipaxos.sim.finding import Finding
from multipaxos.sim.judging import check_linearizability, judge
from multipaxos.sim.recorded import History
from multipaxos.sim.session_rules import check_sessions
from multipaxos.sim.spoiling import CONVERGENCE, ENDED, NAMED, ORDER, SESSIONS, WATCHED, WATCHES, WGL, Kind, Z, spoil
from multipaxos.sim.swarm import draw
from multipaxos.sim.timeline import Timeline
from multipaxos.sim.watch_rules import check_watches
from multipaxos.sim.world import World
from multipaxos.sim.zxid_order import check_order

FIRST_SEED = 5_000
SEEDS_MAX = 250
OF_EACH_NAMED = 250
OF_EACH_OTHER = 30
RARE = {"watch missed by setWatches": 5}
EDITS_PER_HISTORY = 6


@cache
def good(number: int) -> tuple[History, Timeline]:
    """The history of a seed that ended well, says the simulator, and the order of its changes."""
    workload = ClientWorkload()
    World(draw(FIRST_SEED + number), workload).run()
    history = workload.recorded()
    findings, timeline = check_order(history)
    assert findings == [] and timeline is not None
    return history, timeline


def verdict_of(judge_name: str, history: History, timeline: Timeline) -> list[Finding]:
    """What one judge has to say. ``timeline`` is that of the history before it was spoiled: an edit that only one judge is
    responsible for leaves it as it is."""
    if judge_name == Z:
        return check_order(history)[0]
    if judge_name == WGL:
        return check_linearizability(history, timeline)
    if judge_name == WATCHES:
        return check_watches(history, timeline)
    if judge_name == SESSIONS:
        return check_sessions(history)
    assert judge_name == CONVERGENCE
    return check_convergence(history, timeline)


def refused(kind: Kind, count: int) -> dict[str, int]:
    """Make ``count`` spoiled histories of one kind, and count what each judge refuses. Undecided is not refused here."""
    random = Random(kind.name)
    counts = dict.fromkeys(kind.judges, 0)
    made = 0
    for number in range(SEEDS_MAX):
        history, timeline = good(number)
        texts: set[str] = set()
        for _ in range(EDITS_PER_HISTORY):
            spoiled = spoil(history, kind, random)
            if spoiled is None or spoiled.text in texts:
                continue
            texts.add(spoiled.text)
            made += 1
            for judge_name in kind.judges:
                findings = verdict_of(judge_name, spoiled.history, timeline)
                is_refused = any(found.invariant != "undecided" for found in findings)
                assert is_refused, f"{judge_name} lets pass, seed {FIRST_SEED + number}: {spoiled.text}"
                counts[judge_name] += 1
            if made == count:
                return counts
    raise AssertionError(f"only {made} different histories of this kind could be made")


def test_the_histories_themselves_pass() -> None:
    for number in range(40):
        assert judge(good(number)[0]) == [], f"seed {FIRST_SEED + number}"


@pytest.mark.slow
def test_both_checkers_refuse_a_thousand_of_the_four_named_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    total = {Z: 0, WGL: 0}
    for kind in NAMED:
        for judge_name, count in refused(kind, OF_EACH_NAMED).items():
            total[judge_name] += count
    with capsys.disabled():
        print("\nspoiled by a stale read, a lost write, a double execution or a swapped pair, refused by")
        for judge_name, count in total.items():
            print(f"  {judge_name:16} {count:,} of {OF_EACH_NAMED * len(NAMED):,}")
    assert total == {Z: 1_000, WGL: 1_000}


@pytest.mark.parametrize("kind", [*ORDER, *WATCHED, *ENDED], ids=lambda kind: kind.name)
def test_whoever_is_responsible_refuses(kind: Kind) -> None:
    count = RARE.get(kind.name, OF_EACH_OTHER)
    assert refused(kind, count) == dict.fromkeys(kind.judges, count)


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.name)
def test_also_without_the_ledger(kind: Kind) -> None:
    """From what clients saw alone, where not too many outcomes are unknown."""
    random = Random(kind.name)
    made = 0
    for number in range(80):
        history, _ = good(number)
        if sum(1 for call in history.calls if not call.is_answered) > 4:
            continue
        spoiled = spoil(history, kind, random)
        if spoiled is None:
            continue
        made += 1
        spoiled.history.ledger = []
        order = check_order(spoiled.history)[0]
        assert order and order[0].invariant != "undecided", spoiled.text
        assert check_linearizability(spoiled.history), spoiled.text
    assert made >= 20


def test_the_same_histories_pass_without_the_ledger() -> None:
    """Whatever the order of the unknown outcomes was, some past explains what clients saw."""
    for number in range(40):
        history, _ = good(number)
        alone = History()
        alone.calls, alone.events, alone.marks = history.calls, history.events, history.marks
        assert [found for found in judge(alone) if found.invariant != "undecided"] == [], number
