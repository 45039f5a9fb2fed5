"""Bounded exhaustive search, breadth first: every state a model can reach, until it is exhausted or a bound is met.

    result = explore(MyModel(), Bounds(states_max=100_000), jobs=2)
    print(result.unique, result.depth, [violation.name for violation in result.violations])

Read ``model.py`` for what a model is. Knows nothing of any model, and nothing of Paxos.

How it counts, which is how TLC counts:

- *generated*: the initial states, and one for every pair that ``successors`` gave, repeats included.
- *unique*: distinct states that are ``within`` the model's bounds (TLC: distinct). Those outside are *beyond*: checked, never
  expanded.
- *depth*: the number of levels; the initial states are level 1. A counter-example of n states ends on level n.

Breadth first means that the counter-example of each violated property is as short as any. A level is finished before the
search stops at a violation, so that counts and verdicts do not depend on the order of steps or on the number of jobs; only
which of several equally short counter-examples is told may. ``is_hasty`` gives that up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic

from multipaxos.explore.bounds import Bounds
from multipaxos.explore.fleet import Fleet, ManyShards, OneShard
from multipaxos.explore.model import Model, State
from multipaxos.explore.shard import END, Finding, ModelError, Standing, walk_back, walk_forward

__all__ = ["Bounds", "Level", "ModelError", "Result", "Step", "Violation", "explore"]

# Long enough that waiting for the slowest process costs little, short enough for bounds and progress.
ROUND_S = 0.5
TELL_EVERY_S = 5.0
FOREVER_S = 1e9


@dataclass(frozen=True, slots=True)
class Step(Generic[State]):
    """One line of a counter-example: what was done (nothing, for the initial state), and the state after it."""

    label: str
    state: State
    text: str


@dataclass(frozen=True, slots=True)
class Violation(Generic[State]):
    """A broken property and a shortest way to break it."""

    name: str
    text: str
    steps: tuple[Step[State], ...]

    @property
    def depth(self) -> int:
        """How many states the way has, the initial one included."""
        return len(self.steps)

    @property
    def labels(self) -> list[str]:
        """What was done, in order."""
        return [step.label for step in self.steps[1:]]


@dataclass(frozen=True, slots=True)
class Level:
    """The totals when one level of depth was complete."""

    unique: int
    generated: int


@dataclass(frozen=True, slots=True)
class Result(Generic[State]):
    """What a search saw. ``stopped`` says which bound ended it, "" when there was nothing left to see."""

    unique: int
    generated: int
    beyond: int
    depth: int
    seconds: float
    stopped: str
    violations: tuple[Violation[State], ...] = ()
    sometimes: dict[str, int] = field(default_factory=dict)
    distinct: dict[str, int] = field(default_factory=dict)
    # levels[n - 1] are the totals when level n had been reached in full.
    levels: tuple[Level, ...] = ()

    @property
    def is_exhausted(self) -> bool:
        """Whether every reachable state was seen."""
        return not self.stopped

    @property
    def states_per_s(self) -> float:
        """Unique states for each second of the search."""
        return self.unique / self.seconds if self.seconds else 0.0


def explore(
    model: Model[State], bounds: Bounds | None = None, jobs: int = 1, tell: Callable[[str], None] | None = None
) -> Result[State]:
    """Search a model breadth first, in this process or in ``jobs`` others that share the states among them.

    ``tell`` gets a line of progress every few seconds. Raises ModelError when the model is at fault, with what to change.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, not {jobs}")
    bounds = bounds or Bounds()
    known = [rule.name for rule in model.always] + [rule.name for rule in model.always_steps] + [END]
    for name in bounds.only:
        if name not in known:
            raise ModelError(f"the model has no property {name}: it has {', '.join(known)}")
    fleet: Fleet = OneShard(model, bounds) if jobs == 1 else ManyShards(model, jobs, bounds)
    try:
        return Search(model, bounds, fleet, tell).run()
    finally:
        fleet.stop()


class Search(Generic[State]):
    """One run of ``explore``."""

    def __init__(self, model: Model[State], bounds: Bounds, fleet: Fleet, tell: Callable[[str], None] | None) -> None:
        self.model = model
        self.bounds = bounds
        self.fleet = fleet
        self.tell = tell
        self.began_s = monotonic()
        self.told_s = self.began_s
        self.depth = 0
        self.levels: list[Level] = []

    def run(self) -> Result[State]:
        """Level after level."""
        standing = self.round()
        stopped = ""
        while not stopped and standing.waiting + standing.next_level:
            if not standing.waiting:
                self.levels.append(Level(standing.unique, standing.generated))
                stopped = self.reason_to_stop_here(standing)
                if stopped:
                    break
                self.fleet.turn_level()
                self.depth += 1
            standing = self.round()
            stopped = self.reason_to_stop(standing)
        return self.result(standing, stopped)

    def round(self) -> Standing:
        """Some more states, and a word about it."""
        seconds = self.bounds.seconds_max
        left_s = seconds - (monotonic() - self.began_s) if seconds else FOREVER_S
        standing = self.fleet.round(min(left_s, ROUND_S))
        now_s = monotonic()
        if self.tell and now_s - self.told_s >= TELL_EVERY_S:
            self.told_s = now_s
            self.tell(
                f"{standing.unique:,} states, {standing.generated:,} generated, depth {self.depth}, "
                f"queue {standing.waiting + standing.next_level:,}, {standing.unique / (now_s - self.began_s):,.0f} states/s"
            )
        return standing

    def reason_to_stop_here(self, standing: Standing) -> str:
        """Bounds that hold at the end of a level."""
        if standing.findings and self.bounds.is_stopping_at_violation:
            return "violation"
        if self.bounds.depth_max and len(self.levels) >= self.bounds.depth_max:
            return "depth_max"
        return ""

    def reason_to_stop(self, standing: Standing) -> str:
        """Bounds that hold at any time."""
        bounds = self.bounds
        if bounds.is_hasty and standing.findings and bounds.is_stopping_at_violation:
            return "violation"
        if bounds.states_max and standing.unique >= bounds.states_max:
            return "states_max"
        if bounds.seconds_max and monotonic() - self.began_s >= bounds.seconds_max:
            return "seconds_max"
        return ""

    def result(self, standing: Standing, stopped: str) -> Result[State]:
        """Everything seen; the counter-examples are found again here."""
        seconds = monotonic() - self.began_s
        nearest: dict[str, Finding] = {}
        for finding in standing.findings:
            known = nearest.get(finding.name)
            if known is None or finding.order < known.order:
                nearest[finding.name] = finding
        in_order = sorted(nearest.values(), key=lambda finding: (finding.level, finding.name))
        return Result(
            unique=standing.unique,
            generated=standing.generated,
            beyond=standing.beyond,
            depth=self.depth + (1 if standing.next_level else 0),
            seconds=seconds,
            stopped=stopped if standing.waiting + standing.next_level else "",
            violations=tuple([self.violation(finding) for finding in in_order]),
            sometimes=standing.sometimes,
            distinct=self.fleet.distinct(),
            levels=tuple(self.levels),
        )

    def violation(self, finding: Finding) -> Violation[State]:
        """The way to a finding, by running the model once more."""
        try:
            way = walk_forward(self.model, walk_back(finding, self.fleet.before))
        except ModelError as error:
            raise ModelError(f"{finding.name} is broken ({finding.text}), but {error}") from error
        steps = [Step(label, state, self.model.describe(state)) for label, state in way]
        return Violation(finding.name, finding.text, tuple(steps))
