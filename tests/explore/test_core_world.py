"""The production core, searched: counts that are pinned, bugs that must be found, and reductions that must hide nothing.

The hand-made bugs are patches in a copy of the package, searched by a process of its own; the text they replace must stand
there. ``MULTIPAXOS_LONG=1`` searches the larger worlds as well.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import multipaxos
from multipaxos.core.decree import NOOP, encode_batch, encode_epoch, encode_segment
from multipaxos.core.effects import Effects
from multipaxos.core.messages import Accepted, Promise, PValue
from multipaxos.explore.bounds import Bounds
from multipaxos.explore.core_hunt import PRESETS, REDUCTIONS, main
from multipaxos.explore.core_local import Local
from multipaxos.explore.core_past import Past, outcomes
from multipaxos.explore.core_scope import BORN, Scope
from multipaxos.explore.core_witness import FREE, basis_of
from multipaxos.explore.core_world import (
    ADOPTION,
    CRASH,
    GAP,
    THIRD,
    TWO_LEADERS,
    UNKNOWN,
    CoreState,
    CoreWorld,
    make,
)
from multipaxos.explore.models import build
from multipaxos.explore.search import Result, explore

LONG = pytest.mark.skipif(not os.environ.get("MULTIPAXOS_LONG"), reason="takes minutes; MULTIPAXOS_LONG=1 runs it")


def searched(scope: Scope, jobs: int = 1, **bounds: int) -> Result[CoreState]:
    return explore(CoreWorld(scope), Bounds(**bounds), jobs)


def states_of(world: CoreWorld) -> Iterator[CoreState]:
    """All states, by a search as simple as can be."""
    known = {world.canonical(world.first)}
    waiting = [world.first]
    while waiting:
        state = waiting.pop()
        yield state
        for _, after in world.successors(state):
            mark = world.canonical(after)
            if mark not in known:
                known.add(mark)
                waiting.append(after)


X, Y, Z = [encode_batch(1, [encode_segment(1, 1, 1, 1, [command])]) for command in (b"x", b"y", b"z")]


# Counts


def test_the_first_levels_of_the_whole_world_are_counted_for_ever() -> None:
    # 3 replicas, 3 ballots, 2 slots, 2 values, loss, duplication, reordering, one crash with what was not synced lost. A
    # change of the core that changes what it does changes these figures: look at what it is, then pin them anew.
    result = explore(make(acceptors=3, ballots=3, slots=2, values=2, crashes=1), Bounds(depth_max=9))
    assert result.violations == ()
    assert (result.unique, result.generated, result.depth) == (67_733, 194_748, 9)
    assert [level.unique for level in result.levels] == [1, 13, 74, 323, 1_152, 3_569, 10_053, 26_619, 67_733]
    assert {name: result.sometimes[name] for name in (TWO_LEADERS, ADOPTION, GAP, THIRD, UNKNOWN, CRASH)} == {
        TWO_LEADERS: 10_007,
        ADOPTION: 7_957,
        GAP: 40,
        THIRD: 7_011,
        UNKNOWN: 33_414,
        CRASH: 28_180,
    }
    assert result.distinct["acceptor states"] == 2_310


@pytest.mark.parametrize(
    ("scope", "unique", "generated", "depth"),
    [
        (Scope(ballots=2, slots=1, values=1, crashes=0), 3_447, 14_360, 19),
        (Scope(ballots=3, slots=1, values=0, crashes=0), 5_313, 23_462, 22),
        (Scope(ballots=2, slots=1, values=0, crashes=2), 5_591, 21_228, 18),
        (Scope(ballots=2, slots=1, values=1, crashes=0, start=BORN), 15_316, 75_978, 24),
    ],
)
def test_small_worlds_are_exhausted_without_a_violation(scope: Scope, unique: int, generated: int, depth: int) -> None:
    result = searched(scope)
    assert result.is_exhausted and result.violations == ()
    assert (result.unique, result.generated, result.depth) == (unique, generated, depth)


@LONG
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_exhausted_or_large_and_clean(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--preset", preset, "--states-max", "1000000", "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["violations"] == [] and told["crashes"] == 0
    assert told["stopped"] == "" or told["runs"] >= 1_000_000


def test_two_processes_see_what_one_sees() -> None:
    scope = Scope(ballots=2, slots=1, values=0, crashes=1)
    one, two = searched(scope), searched(scope, jobs=2)
    assert (one.unique, one.generated, one.depth) == (two.unique, two.generated, two.depth)
    assert one.sometimes == two.sometimes and one.distinct == two.distinct


# The core is run once for each (local state, event); is that the same as running it each time?


@pytest.mark.parametrize(
    "sizes",
    [
        {"ballots": 2, "slots": 1, "values": 0, "crashes": 1},
        {"ballots": 2, "slots": 1, "values": 0, "crashes": 0, "is_nacking": True, "is_fetching_by_message": True},
    ],
)
def test_kept_steps_are_the_steps_a_fresh_clone_takes(sizes: dict[str, object]) -> None:
    kept = CoreWorld(Scope(**sizes))  # type: ignore[arg-type]
    fresh = CoreWorld(Scope(**sizes, is_memoising=False))  # type: ignore[arg-type]
    first, second = explore(kept), explore(fresh)
    assert (first.unique, first.generated, first.depth) == (second.unique, second.generated, second.depth)
    assert first.sometimes == second.sometimes and first.distinct == second.distinct
    assert 4 * kept.locals.runs < fresh.locals.runs  # and the second did run the core each time


# Reductions


def test_a_message_that_is_past_does_nothing_in_any_state_that_follows() -> None:
    for scope in (
        Scope(ballots=2, slots=1, values=1, crashes=0, is_sweeping=False),
        Scope(ballots=2, slots=1, values=0, crashes=1, is_sweeping=False),
        Scope(ballots=3, slots=1, values=0, crashes=0, campaigners=(2,), is_sweeping=False, is_trusting_ballots=True),
    ):
        world = CoreWorld(scope)
        followers: dict[Local, set[Local]] = {}
        swept: dict[Local, int] = {}
        for state in states_of(world):
            for index, local in enumerate(state.locals):
                arriving = state.net & world.past.to_mask[index + 1]
                swept[local] = swept.get(local, 0) | local.past_of(arriving)
            for _, after in world.successors(state):
                for local, then in zip(state.locals, after.locals, strict=True):
                    followers.setdefault(local, set()).add(then)
        delivered = 0
        for local, masks in swept.items():
            for item in world.past.of(masks):
                for later in reachable(local, followers):
                    for move in world.locals.on_message(later, item):
                        assert move.is_still and not move.out, (item.text, move.label)
                    delivered += 1
        assert delivered > 500


def reachable(local: Local, followers: dict[Local, set[Local]]) -> set[Local]:
    found = {local}
    waiting = [local]
    while waiting:
        for then in followers.get(waiting.pop(), ()):
            if then not in found:
                found.add(then)
                waiting.append(then)
    return found


def test_a_sync_that_comes_later_leads_to_nothing_new() -> None:
    # Every state in which nothing waits for a sync is found with syncs at once, too: with the same replicas, and at least as
    # much sent. And each of those is found with syncs of their own, as it is.
    for crashes in (0, 1):
        sizes = {"ballots": 2, "slots": 1, "values": 0, "crashes": crashes, "is_sweeping": False}
        prompt = CoreWorld(Scope(**sizes))  # type: ignore[arg-type]
        late = CoreWorld(Scope(**sizes, is_prompt=False))  # type: ignore[arg-type]
        at_once: dict[tuple[object, ...], list[frozenset[int]]] = {}
        for state in states_of(prompt):
            if not any(local.is_doomed for local in state.locals):
                at_once.setdefault(standing(state), []).append(sent(prompt, state))
        later: dict[tuple[object, ...], set[frozenset[int]]] = {}
        for state in states_of(late):
            if not any(local.pending for local in state.locals):
                later.setdefault(standing(state), set()).add(sent(late, state))
        assert at_once.keys() == later.keys()
        for stand, nets in later.items():
            assert set(at_once[stand]) <= nets
            for net in nets:
                assert any(net <= more for more in at_once[stand])


def standing(state: CoreState) -> tuple[object, ...]:
    """The replicas and their journals; what is noted beside them tells which of both worlds it is."""
    journals = [local.journal.digest if local.journal else 0 for local in state.locals]
    return (*[local.replica.fingerprint() for local in state.locals], *journals, state.crashes)


def sent(world: CoreWorld, state: CoreState) -> frozenset[int]:
    return frozenset(item.digest for item in world.past.of(state.net))


# Bugs


@dataclass(frozen=True)
class Bug:
    """A rule taken out of a copy of the package: (file, text, what replaces it)."""

    patches: tuple[tuple[str, str, str], ...]
    scope: str  # in which it is found, by
    invariant: str
    depth: int
    # By the harm alone, two decrees chosen: where it comes to that, and where it does not.
    harm: str = ""
    harm_depth: int = 0
    no_harm: str = ""


ASSERTED_RAISE = '        assert ballot >= self.promised, "PMMC A2"\n        self.promised = ballot\n'
ASSERTED_PROMISE = (
    '        assert ballot >= self.promised, "PMMC A1"\n'
    "        is_raised = ballot > self.promised\n"
    "        self.promised = ballot\n"
)
CALM = "ballots=2, slots=1, values=1, crashes=0"
CRASHING = "ballots=2, slots=1, values=1, crashes=1"
THREE = "ballots=3, slots=1, values=1, crashes=0"

BUGS = {
    "own decree over the reported one": Bug(  # bug-A08
        (("core/leader.py", "            self.reported[slot] = (ballot, decree)\n", "            pass\n"),),
        CALM, "I5", 6, CALM, 8,
    ),
    "promise forgotten at restart": Bug(  # bug-A01
        (
            (
                "core/replica.py",
                "            elif isinstance(record, PromisedRecord):\n"
                "                self.acceptor.restore_promise(record.ballot)\n",
                "            elif isinstance(record, PromisedRecord):\n                pass\n",
            ),
        ),
        CRASHING, "I3", 3, CRASHING, 9, CALM,
    ),
    "accept without raising the promise": Bug(  # bug-A04
        (
            ("core/acceptor.py", ASSERTED_RAISE, '        assert ballot >= self.promised, "PMMC A2"\n'),
            (
                "core/replica.py",
                '            assert self.acceptor.ballot_at(slot) == self.acceptor.promised, "PMMC A2"\n',
                "",
            ),
        ),
        CALM, "I3", 6, THREE, 13, CALM,
    ),
    "lowest instead of highest": Bug(  # bug-A06
        (("core/leader.py", "ballot > known[0]:", "ballot < known[0]:"),),
        THREE, "I5", 11, THREE, 12, CALM,
    ),
    "a vote too few": Bug(  # bug-A11
        (
            (
                "core/quorum.py",
                "        return self._counted(replicas) >= self.accept\n",
                "        return self._counted(replicas) >= self.accept - 1\n",
            ),
        ),
        CALM, "I10", 3,
    ),
    "reply before the sync": Bug(  # bug-C01
        (
            (
                "core/effects.py",
                "        self.when_durable.append((to, message))\n",
                "        self.messages.append((to, message))\n",
            ),
        ),
        CALM, "I8", 2, CRASHING, 9, CALM,
    ),
    "a ballot used again": Bug(  # bug-A02
        (
            (
                "core/replica.py",
                "        ballot = next_ballot(self.id, max(self.acceptor.promised, self._seen))\n",
                "        ballot = next_ballot(self.id, self._seen)\n",
            ),
            (
                "core/acceptor.py",
                ASSERTED_PROMISE,
                "        is_raised = ballot > self.promised\n        self.promised = max(ballot, self.promised)\n",
            ),
        ),
        CALM, "I3", 4,
    ),
    "promises of an older ballot counted": Bug(  # bug-A03
        (
            (
                "core/replica.py",
                "campaign is None or message.ballot != campaign.ballot or message.first != campaign.first:\n",
                "campaign is None or message.first != campaign.first:\n",
            ),
        ),
        "ballots=3, slots=1, values=0, crashes=0, campaigners=(2,)", "I10", 6,
    ),
    "applied when merely voted for": Bug(
        (
            (
                "core/replica.py",
                "        ordering.forward(self, now, effects)\n",
                "        ordering.forward(self, now, effects)\n"
                "        slot = ledger.applied + 1\n"
                "        if slot > max(1, ledger.chosen_prefix) and slot in self.acceptor.votes:\n"
                "            effects.applied.append(self.applying.apply(slot, self.acceptor.votes[slot][1], effects))\n"
                "            ledger.applied = slot\n",
            ),
            ("core/replica.py", 'assert ledger.base <= ledger.applied <= ledger.chosen_prefix, "I9"', "pass"),
        ),
        CALM, "I6", 6,
    ),
    "nothing": Bug((), "", "", 0, "", 0, CALM),
}  # fmt: skip

REDUCED: tuple[dict[str, bool], ...] = ({"is_forgetting_journals": False}, {"is_sweeping": False}, {"is_prompt": False})

PROGRAM = """
import json, sys
from multipaxos.explore.bounds import Bounds
from multipaxos.explore.core_scope import Scope
from multipaxos.explore.core_world import CoreWorld
from multipaxos.explore.search import explore

found = []
for sizes, switch, only in json.loads(sys.argv[1]):
    scope = Scope(**eval(f"dict({sizes})"), is_judging_exceptions=False, **switch)
    result = explore(CoreWorld(scope, tuple(only)), Bounds(states_max=200_000))
    (violation,) = result.violations or (None,)
    found.append([violation.name, violation.depth] if violation else [])
print(json.dumps(found))
"""


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_found_with_and_without_each_reduction(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    package = Path(multipaxos.__file__).parent
    shutil.copytree(package, tmp_path / "multipaxos", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for file, text, replacement in bug.patches:
        path = tmp_path / "multipaxos" / file
        source = path.read_text()
        assert source.count(text) == 1, f"the text to be replaced stands {source.count(text)} times in {file}"
        path.write_text(source.replace(text, replacement))
    runs: list[tuple[str, dict[str, bool], list[str]]] = []
    expected: list[list[object]] = []
    if bug.scope:
        for switch in ({}, *REDUCED):
            runs.append((bug.scope, switch, []))
            # A sync that is a step of its own makes ways longer.
            expected.append([bug.invariant] if "is_prompt" in switch else [bug.invariant, bug.depth])
    if bug.harm:
        runs.append((bug.harm, {}, ["I2"]))
        expected.append(["I2", bug.harm_depth])
    if bug.no_harm:
        runs.append((bug.no_harm, {}, ["I2"] if bug.patches else []))
        expected.append([])
    command = [sys.executable, "-c", PROGRAM, json.dumps(runs)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [ending[: len(wanted)] for ending, wanted in zip(json.loads(done.stdout), expected, strict=True)]
    assert found == expected


def test_a_counter_example_tells_what_happened() -> None:
    class Forgetful(CoreWorld):
        def judge(self, net: int, index: int, move: object) -> tuple[str, ...]:
            return ("I6: made up",)

    result = explore(Forgetful(Scope(ballots=2, slots=1, values=1, crashes=0)))
    (violation,) = result.violations
    assert violation.name == "I6" and violation.text == "made up"
    assert violation.labels[0] == "1 is given its command"
    assert violation.labels[-1].startswith("1 hears accepted 0.1 slot 3 from ")
    assert "chosen: slot 3 a" in violation.steps[-1].text


# The judges themselves


def promise(sender: int, prefix: int, *votes: tuple[int, int, bytes], first: int = 3) -> Promise:
    pvalues = tuple(PValue(ballot, slot, decree) for slot, ballot, decree in votes)
    end = max([slot for slot, _, _ in votes], default=first - 1)
    return Promise(sender, 0, 9, first, first, end, end, prefix, pvalues)


def test_what_promises_leave_free_is_found_by_trying_every_quorum() -> None:
    assert basis_of((promise(1, 2),), 2) is None
    assert basis_of((promise(1, 2), promise(2, 2)), 2) == ()
    high = promise(2, 2, (3, 7, Y))
    assert basis_of((promise(1, 2, (3, 5, X)), high), 2) == ((3, (Y,)),)
    # Of three, two may say nothing of the third's vote: free, or that vote, as one likes to look at it.
    assert basis_of((promise(1, 2), high, promise(3, 2)), 2) == ((3, (FREE, Y)),)
    # A slot that somebody knows to be chosen is never proposed on its promise.
    assert basis_of((promise(1, 3), high), 2) == ((3, ()),)


def test_a_decree_is_chosen_by_durable_votes_of_one_ballot_alone() -> None:
    past = Past((1, 2, 3), (b"birth",))
    one = past.voted((1, 5, 2, X)).bit | past.voted((2, 6, 2, X)).bit
    assert 2 not in past.chosen(one).slots
    both = one | past.voted((3, 6, 2, X)).bit
    assert past.chosen(both).slots[2] == X and past.chosen(both).violations == ()
    assert past.judge_learned(1, 2, X, one).startswith("I10: ")
    assert past.judge_learned(1, 2, Y, both).startswith("I6: ")
    other = past.voted((1, 7, 2, Y)).bit | past.voted((2, 7, 2, Y)).bit
    assert past.chosen(past.chosen(both).kept | other).violations[0].startswith("I2: ")
    assert past.chosen(past.voted((1, 7, 2, Y)).bit | past.voted((3, 7, 2, Z)).bit).violations[0].startswith("I1: ")


def test_order_and_once_is_told_without_the_core() -> None:
    first = encode_batch(5, [encode_segment(1, 1, 9, 1, [b"a", b"b"])])
    gap = encode_batch(4, [encode_segment(2, 1, 9, 2, [b"d"])])
    decrees = (encode_epoch(3, 2), first, first, gap, encode_epoch(9, 1), NOOP)
    told = outcomes(decrees)
    assert told[1] == (5, 1, 2, False, ((1, 1, 9, 1, b"a"), (1, 1, 9, 2, b"b")))
    assert told[2][4] == () and told[3][4] == ()
    assert told[3][0] == 5  # time does not run back
    assert told[4] == (9, 1, 2, False, ())  # the epoch of an older leader is ignored


# What a hunter of mutants calls, and what a user may ask for


def test_the_last_line_of_a_hunt_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--preset", "two-ballots", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["violations"] == [] and told["runs"] == 3_447 and told["crashes"] == 0


def test_an_exception_of_the_core_is_a_violation_or_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Effects.send_when_durable

    def failing(self: Effects, to: int, message: object) -> None:
        if isinstance(message, Accepted) and to != message.sender:
            raise RuntimeError("made up")
        real(self, to, message)  # type: ignore[arg-type]

    monkeypatch.setattr(Effects, "send_when_durable", failing)
    sizes = {"ballots": 2, "slots": 1, "values": 1, "crashes": 0, "start": BORN}
    judging = explore(CoreWorld(Scope(**sizes)))  # type: ignore[arg-type]
    assert [violation.text for violation in judging.violations] == ["RuntimeError: made up"]
    hunting = CoreWorld(Scope(**sizes, is_judging_exceptions=False))  # type: ignore[arg-type]
    assert explore(hunting).violations == () and hunting.locals.exceptions > 0


def test_a_scope_that_cannot_be_is_refused() -> None:
    for sizes in (
        {"acceptors": 0}, {"ballots": 0}, {"slots": 0}, {"values": 4}, {"crashes": -1}, {"campaigners": (4,)},
        {"start": "asleep"},
    ):  # fmt: skip
        with pytest.raises(ValueError):
            Scope(**sizes)  # type: ignore[arg-type]


def test_the_core_is_a_model_like_others() -> None:
    model = build("core", "", {"ballots": 2, "slots": 1, "values": 1, "crashes": 0})
    assert explore(model, Bounds(depth_max=3)).unique == 10
    born = build("core", "", {"ballots": 2, "slots": 1, "values": 1, "crashes": 0, "reigning": 0})
    assert explore(born, Bounds(depth_max=3)).unique == 13


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_hunt_may_go_without_a_reduction(reduction: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--preset", "two-crashes", "--without", reduction, "--states-max", "300", "--json"])
    assert json.loads(capsys.readouterr().out)["violations"] == []
