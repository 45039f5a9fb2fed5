"""The search itself: what it counts, what it finds, when it stops, and that it says what is wrong with a model."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from multipaxos.cli.verify_explore import register
from multipaxos.explore import anchors, models, search, shard
from multipaxos.explore.fingerprint import encode, fingerprint
from multipaxos.explore.lamport_mutants import OwnDecree
from multipaxos.explore.lamport_paxos import LamportPaxos
from multipaxos.explore.model import Always, AlwaysStep, Model, Sometimes
from multipaxos.explore.search import Bounds, ModelError, explore

Lamps = tuple[bool, ...]
Jugs = tuple[int, int]


class Switches(Model[Lamps]):
    """``n`` lamps, each with a switch."""

    def __init__(self, n: int = 4, burning_max: int = 99) -> None:
        self.n = n
        self.always = (Always("few", lambda lamps: f"{sum(lamps)} burn" if sum(lamps) > burning_max else ""),)
        self.sometimes = (
            Sometimes("half of them", lambda lamps: sum(lamps) == n // 2),
            Sometimes("more than all", lambda lamps: sum(lamps) > n),
        )

    def initial(self) -> Iterable[Lamps]:
        return [(False,) * self.n]

    def successors(self, state: Lamps) -> Iterable[tuple[str, Lamps]]:
        for lamp in range(self.n):
            yield f"switch {lamp}", (*state[:lamp], not state[lamp], *state[lamp + 1 :])


class SymmetricSwitches(Switches):
    """Only how many burn matters."""

    def canonical(self, state: Lamps) -> object:
        return sum(state)


class FourGallons(Model[Jugs]):
    """The puzzle of Die Hard 3: with jugs of 3 and 5 gallons, measure 4. The shortest solution has 6 steps."""

    always = (Always("no four", lambda jugs: "there are 4 gallons" if 4 in jugs else ""),)

    def initial(self) -> Iterable[Jugs]:
        return [(0, 0)]

    def successors(self, state: Jugs) -> Iterable[tuple[str, Jugs]]:
        small, big = state
        yield "fill small", (3, big)
        yield "fill big", (small, 5)
        yield "empty small", (0, big)
        yield "empty big", (small, 0)
        into_big = min(small, 5 - big)
        yield "small to big", (small - into_big, big + into_big)
        into_small = min(big, 3 - small)
        yield "big to small", (small + into_small, big - into_small)


class Counter(Model[int]):
    """Counts up; goes on to ``limit``, and can go no further than ``end``."""

    def __init__(self, limit: int = 5, end: int = 10, wrong: int = -1) -> None:
        self.limit = limit
        self.end = end
        self.always = (Always("right", lambda number: "wrong number" if number == wrong else ""),)

    def initial(self) -> Iterable[int]:
        return [0]

    def successors(self, state: int) -> Iterable[tuple[str, int]]:
        if state < self.end:
            yield "one", state + 1
            yield "two", state + 2

    def within(self, state: int) -> bool:
        return state <= self.limit


class StopsAt(Counter):
    """A counter that should not stop."""

    def at_end(self, state: int) -> str:
        return f"stopped at {state}"


def test_all_states_are_counted_once_and_every_step_is_generated() -> None:
    result = explore(Switches(4))
    assert (result.unique, result.generated, result.depth) == (16, 1 + 16 * 4, 5)
    assert result.is_exhausted and result.stopped == "" and not result.violations
    assert [level.unique for level in result.levels] == [1, 5, 11, 15, 16]


def test_the_states_of_a_symmetry_are_one() -> None:
    result = explore(SymmetricSwitches(4))
    assert (result.unique, result.generated, result.depth) == (5, 1 + 5 * 4, 5)


def test_sometimes_counts_the_states_that_meet_it() -> None:
    assert explore(Switches(4)).sometimes == {"half of them": 6, "more than all": 0}


def test_the_counter_example_is_a_shortest_one_and_every_step_of_it_is_real() -> None:
    model = FourGallons()
    (violation,) = explore(model).violations
    assert violation.name == "no four" and violation.text == "there are 4 gallons"
    assert violation.depth == 7
    assert violation.steps[0].state == (0, 0) and 4 in violation.steps[-1].state
    for before, after in zip(violation.steps, violation.steps[1:], strict=False):
        assert (after.label, after.state) in list(model.successors(before.state))
    assert violation.steps[-1].text == str(violation.steps[-1].state)


def test_no_way_is_shorter_than_the_counter_example() -> None:
    """The obvious twin: all sequences of five steps, none of which reaches four gallons."""
    model = FourGallons()
    reached = set(model.initial())
    for _ in range(5):
        reached = {after for state in reached for _, after in model.successors(state)}
        assert not any(4 in jugs for jugs in reached)


def test_a_search_goes_on_after_a_violation_when_told_so() -> None:
    stopped = explore(FourGallons())
    whole = explore(FourGallons(), Bounds(is_stopping_at_violation=False))
    assert stopped.stopped == "violation" and not stopped.is_exhausted
    assert whole.is_exhausted and whole.unique == 16 > stopped.unique
    assert whole.violations[0].depth == stopped.violations[0].depth == 7


def test_a_hasty_search_stops_within_the_level() -> None:
    hasty = explore(Switches(8, burning_max=3), Bounds(is_hasty=True))
    patient = explore(Switches(8, burning_max=3))
    assert hasty.unique < patient.unique == sum([1, 8, 28, 56, 70])
    assert hasty.violations[0].depth == patient.violations[0].depth == 5


def test_a_wrong_initial_state_is_found_at_depth_one() -> None:
    (violation,) = explore(Counter(wrong=0)).violations
    assert violation.depth == 1 and violation.labels == []


def test_states_beyond_the_constraint_are_checked_but_not_counted_or_expanded() -> None:
    result = explore(Counter(limit=5))
    assert (result.unique, result.beyond, result.generated, result.depth) == (6, 2, 1 + 6 * 2, 4)
    (violation,) = explore(Counter(limit=5, wrong=7)).violations
    assert violation.labels[-1] == "two" and violation.depth == 5
    assert explore(Counter(limit=5, wrong=8)).violations == ()


def test_a_state_without_successors_is_an_end_and_may_be_wrong() -> None:
    assert explore(Counter(limit=99)).violations == ()
    (violation,) = explore(StopsAt(limit=99)).violations
    assert (violation.name, violation.text, violation.depth) == ("end", "stopped at 10", 6)
    assert explore(StopsAt(limit=99), Bounds(only=("right",))).violations == ()


class Steps(Model[int]):
    """Goes round in a circle of five, and may stay."""

    always_steps = (
        AlwaysStep("forward", lambda before, after: "went back" if after < before else ""),
        AlwaysStep("moving", lambda before, after: "stayed at 2" if before == after == 2 else ""),
    )

    def initial(self) -> Iterable[int]:
        return [0]

    def successors(self, state: int) -> Iterable[tuple[str, int]]:
        yield "stay", state
        yield "go", (state + 1) % 5


def test_a_property_of_steps_sees_a_step_to_a_known_state() -> None:
    result = explore(Steps(), Bounds(is_stopping_at_violation=False))
    by_name = {violation.name: violation for violation in result.violations}
    assert by_name["moving"].labels == ["go", "go", "stay"]
    assert by_name["forward"].labels == ["go"] * 5 and by_name["forward"].steps[-1].state == 0


@pytest.mark.parametrize(
    ("bounds", "stopped", "unique"),
    [
        (Bounds(states_max=100), "states_max", 100),
        (Bounds(depth_max=3), "depth_max", 1 + 10 + 45),
        (Bounds(seconds_max=1e-9), "seconds_max", 1),
    ],
)
def test_bounds_stop_a_search_and_it_says_which(bounds: Bounds, stopped: str, unique: int) -> None:
    result = explore(Switches(10), bounds)
    assert result.stopped == stopped and not result.is_exhausted
    assert unique <= result.unique < unique + 10


def test_bounds_that_are_not_met_change_nothing() -> None:
    bounds = Bounds(states_max=1_000, seconds_max=1_000.0, depth_max=1_000, is_keeping_states=True)
    assert explore(Switches(6), bounds).is_exhausted


@pytest.mark.parametrize("model", [Switches(9), Counter(), FourGallons(), LamportPaxos(), OwnDecree(), Steps()])
def test_two_processes_find_what_one_finds(model: Model[object]) -> None:
    one, two = explore(model), explore(model, jobs=2)
    assert (one.unique, one.generated, one.depth, one.beyond) == (two.unique, two.generated, two.depth, two.beyond)
    assert (one.stopped, one.sometimes, one.levels) == (two.stopped, two.sometimes, two.levels)
    assert [(found.name, found.depth) for found in one.violations] == [
        (found.name, found.depth) for found in two.violations
    ]


class PackedSwitches(Switches):
    """Queues and letters hold two bytes for a state."""

    unpacked = 0

    def pack(self, state: Lamps) -> object:
        return sum(1 << place for place, burns in enumerate(state) if burns).to_bytes(2, "little")

    def unpack(self, packed: object) -> Lamps:
        assert isinstance(packed, bytes)
        self.unpacked += 1
        number = int.from_bytes(packed, "little")
        return tuple([bool(number >> place & 1) for place in range(self.n)])


def test_a_model_may_pack_its_states() -> None:
    model = PackedSwitches(9, burning_max=7)
    plain = explore(Switches(9, burning_max=7))
    for jobs in (1, 2):
        packed = explore(model, jobs=jobs)
        assert (packed.unique, packed.generated, packed.depth) == (plain.unique, plain.generated, plain.depth)
        assert packed.violations[0].depth == 9
    assert model.unpacked == plain.levels[-2].unique  # of the search in this process: all but those of the last level


def test_states_that_share_a_fingerprint_are_told_when_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explore(Switches(6), Bounds(is_keeping_states=True)).unique == 64
    monkeypatch.setattr(shard, "fingerprint", lambda value: fingerprint(value) % 61)
    assert explore(Switches(6)).unique < 64  # an accident hides states
    with pytest.raises(ModelError, match="two states share the fingerprint"):
        explore(Switches(6), Bounds(is_keeping_states=True))


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: object


class Pair(NamedTuple):
    left: object
    right: object


def test_fingerprints_are_the_same_in_every_process_and_version() -> None:
    """Golden: strings and sets are what Python's own hash would shuffle from run to run."""
    words = frozenset(["prepare", "promise", "accept", "accepted", "nack", "chosen"])
    assert fingerprint(("ballot", 3, None, words)) == 0xDA7850EB21C8707F
    assert fingerprint(Pair(Point(1, words), frozenset([Colour.RED, Colour.BLUE]))) == 0x05AA596E6C9522C9


def test_fingerprints_tell_apart_what_is_different() -> None:
    values = [0, -1, -2, 1, True, None, "", "1", b"1", (), (1,), ((1,),), frozenset([1]), frozenset(), 2**70]
    values += [Point(1, 2), Point(2, 1), Colour.RED, Colour.BLUE, Pair(Point(1, 2), 3), Pair(1, (Point(2, 3),))]
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [object(), (1, object()), Pair(Point(1, Path()), 2), frozenset([Point(1, object())])])
def test_what_has_no_bytes_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"a state may not hold a .*: use tuples, frozensets"):
        encode(value)


class Broken(Switches):
    """As wrong as told."""

    def __init__(self, fault: str) -> None:
        super().__init__(3, burning_max=1)
        self.fault = fault
        self.calls = 0

    def initial(self) -> Iterable[Lamps]:
        if self.fault == "list":
            return [[False] * 3]  # type: ignore[list-item]
        return super().initial()

    def successors(self, state: Lamps) -> Iterable[tuple[str, Lamps]]:
        self.calls += 1
        if self.fault == "raises":
            raise ZeroDivisionError("in the model")
        if self.fault == "moody" and self.calls > 4:
            return []
        return super().successors(state)


def test_a_state_without_hash_is_refused() -> None:
    with pytest.raises(ModelError, match="initial state cannot be told from others: unhashable type: 'list'"):
        explore(Broken("list"))


def test_a_model_that_does_not_repeat_itself_is_told_so() -> None:
    with pytest.raises(
        ModelError, match=r"few is broken \(2 burn\), but the way .* successors\(\) must be a pure function"
    ):
        explore(Broken("moody"))


def test_an_error_in_a_model_comes_back_from_another_process() -> None:
    with pytest.raises(ZeroDivisionError, match="in the model"):
        explore(Broken("raises"))
    with pytest.raises(ModelError, match="ZeroDivisionError: in the model"):
        explore(Broken("raises"), jobs=2)


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(ModelError, match="no property I9: it has no four, end"):
        explore(FourGallons(), Bounds(only=("I9",)))
    with pytest.raises(ValueError, match="jobs must be 1 or more"):
        explore(FourGallons(), jobs=0)


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "TELL_EVERY_S", 0.0)
    lines: list[str] = []
    explore(Switches(5), tell=lines.append)
    assert len(lines) >= 6
    assert lines[-1].startswith("32 states, 161 generated, depth 6, queue 0, ")


USER_MODEL = """
from multipaxos.explore.model import Always, Model

class Lamps(Model):
    always = (Always("one-lamp", lambda lamps: "both burn" if sum(lamps) > 1 else ""),)

    def __init__(self, lamps: int, unused: int = 0) -> None:
        self.lamps = lamps

    def initial(self):
        return [(0,) * self.lamps]

    def successors(self, state):
        for lamp in range(self.lamps):
            yield f"switch {lamp}", (*state[:lamp], 1 - state[lamp], *state[lamp + 1 :])

class Half(Model):
    def initial(self):
        return [0]

class NotAModel:
    pass
"""


def run(*arguments: str) -> tuple[int, str]:
    """The command, as typed: its exit code, and all that it says."""
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.fixture
def user_file(tmp_path: Path) -> str:
    path = tmp_path / "lamps.py"
    path.write_text(USER_MODEL)
    return str(path)


def test_a_model_of_the_user_is_searched(user_file: str) -> None:
    code, output = run("explore", "--model", f"{user_file}:Lamps", "--size", "lamps=3", "--json")
    assert code == 1
    assert "VIOLATION of one-lamp: both burn; a shortest way there, 3 states:" in output
    value = json.loads(output.splitlines()[-1])
    assert (value["unique"], value["violations"], value["found"][0]["depth"]) == (7, 1, 3)
    assert value["sizes"] == {"lamps": 3, "unused": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nosuch"], "there is no model 'nosuch': take one of consensus, lamport-voting"),
        (["--model", "nosuch.py:Lamps"], "there is no file nosuch.py"),
        (["--model", "FILE:Lamps"], "must be told lamps"),
        (["--model", "FILE:Lamps", "--clients", "2"], "knows no size 'clients': it knows lamps, unused"),
        (["--model", "FILE:Lamps", "--size", "lamps"], "--size wants NAME=NUMBER, not 'lamps'"),
        (
            ["--model", "FILE:Lamps", "--size", "lamps=2", "--mutant", "A08"],
            "a model from a file has no mutants by name",
        ),
        (
            ["--model", "FILE:NotAModel"],
            "has no class 'NotAModel' that is a multipaxos.explore.model.Model; it has Lamps, Half",
        ),
        (["--model", "FILE:Half"], "Half in FILE still needs successors()"),
        (["--mutant", "A99"], "lamport-paxos has no mutant 'A99': it has A01"),
        (["--property", "I99"], "the model has no property I99: it has I1, I2, I3, I5, end"),
    ],
)
def test_bad_input_is_told_with_what_to_do(arguments: list[str], said: str, user_file: str) -> None:
    code, output = run("explore", *[argument.replace("FILE", user_file) for argument in arguments])
    assert code == 2
    assert f"error: {said.replace('FILE', user_file)}" in output or said.replace("FILE", user_file) in output


def test_a_file_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import nosuchmodule")
    with pytest.raises(ModelError, match=r"bad.py cannot be imported: ModuleNotFoundError"):
        models.build(f"{path}:Anything", "", {})
    text = tmp_path / "model.txt"
    text.write_text(USER_MODEL)
    with pytest.raises(ModelError, match="its name must end in"):
        models.build(f"{text}:Lamps", "", {})


def test_the_command_agrees_with_what_is_published() -> None:
    code, output = run("explore", "--model", "lamport-paxos-old", "--json")
    assert code == 0
    assert "published  25 / 82 / 9 (anchor-T3" in output and "agrees" in output
    value = json.loads(output.splitlines()[-1])
    assert value["unique"] == value["published"] == 25
    assert (value["generated"], value["depth"], value["violations"], value["exhausted"]) == (82, 9, 0, True)
    assert set(value) >= {"model", "seconds", "states_per_s", "sometimes", "sizes"}


def test_the_command_fails_when_a_published_count_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    (anchor,) = [anchor for anchor in anchors.ANCHORS if anchor.name == "anchor-T3"]
    wrong = anchors.Anchor(anchor.name, anchor.model, anchor.sizes, 26, 82, 9, anchor.source, anchor.guard)
    monkeypatch.setattr(anchors, "ANCHORS", (wrong,))
    code, output = run("explore", "--acceptors", "1", "--values", "1", "--ballots", "2", "--symmetry")
    assert code == 1
    assert "DIFFERS: unique 25 instead of 26" in output


def test_a_search_that_was_cut_short_is_not_compared() -> None:
    code, output = run("explore", "--states-max", "100")
    assert code == 0
    assert "stopped: states_max" in output and "not compared" in output


def test_all_models_are_listed() -> None:
    code, output = run("explore", "--list")
    assert code == 0
    for name in models.MODELS:
        assert f"{name}: " in output
    assert "mutants  A03, A04, A06, A08, A09, A10, C01, D01" in output
