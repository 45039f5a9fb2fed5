"""One process's share of a search: the fingerprints it owns, the states it has yet to expand, what it found wrong.

A state belongs to the shard numbered ``fingerprint % shards``. With one shard there is nothing else; with several, states
that belong to others gather in outboxes, and ``fleet.py`` carries them over.

For each state only its fingerprint and that of the state before it are kept, about 100 bytes; a counter-example is found
again by walking back and running the model forward once more.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic

from multipaxos.explore.bounds import Bounds
from multipaxos.explore.fingerprint import fingerprint
from multipaxos.explore.model import Model, State

# (fingerprint, fingerprint of the state before it, packed state)
Parcel = tuple[int, int, object]

# Stands before an initial state.
NOTHING = -1
# Names a violation of ``Model.at_end``.
END = "end"
UNBOUNDED = 2**63
# Fingerprints already sent to another shard, so that each is sent about once. Forgetting them costs a few repeats.
SENT_MAX = 2_000_000


class ModelError(Exception):
    """The model itself is at fault; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A property broken at a state, by fingerprint; ``level`` counts states from an initial one, which is 1."""

    name: str
    text: str
    level: int
    before: int
    at: int

    @property
    def order(self) -> tuple[int, int, int]:
        """Nearest first."""
        return (self.level, self.at, self.before)


@dataclass(slots=True)
class Standing:
    """How far a shard is, or all of them together."""

    unique: int = 0
    generated: int = 0
    beyond: int = 0
    waiting: int = 0
    next_level: int = 0
    findings: list[Finding] = field(default_factory=list)
    sometimes: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Standing") -> None:
        """Take another shard's figures in."""
        self.unique += other.unique
        self.generated += other.generated
        self.beyond += other.beyond
        self.waiting += other.waiting
        self.next_level += other.next_level
        self.findings.extend(other.findings)
        for name, count in other.sometimes.items():
            self.sometimes[name] = self.sometimes.get(name, 0) + count


class Shard(Generic[State]):
    """Owns the states whose fingerprint leaves the remainder ``index``."""

    def __init__(self, model: Model[State], index: int, shards: int, bounds: Bounds) -> None:
        self.model = model
        self.always = [rule for rule in model.always if is_wanted(rule.name, bounds)]
        self.always_steps = [rule for rule in model.always_steps if is_wanted(rule.name, bounds)]
        # Several shards cannot tell how many states there are in all: they go on to the end of a round.
        self.states_max = bounds.states_max if bounds.states_max and shards == 1 else UNBOUNDED
        self.is_hasty = bounds.is_hasty and bounds.is_stopping_at_violation
        self.is_looking_at_ends = is_wanted(END, bounds)
        self.index = index
        self.shards = shards
        self.before: dict[int, int] = {}
        self.kept: dict[int, object] | None = {} if bounds.is_keeping_states else None
        self.level: list[tuple[int, object]] = []
        self.next_level: list[tuple[int, object]] = []
        self.cursor = 0
        self.depth = 0
        self.outboxes: list[list[Parcel]] = [[] for _ in range(shards)]
        self.sent: set[int] = set()
        self.generated = 0
        self.beyond = 0
        self.findings: dict[str, Finding] = {}
        self.sometimes = {wanted.name: 0 for wanted in model.sometimes}
        self.distinct: dict[str, set[int]] = {wanted.name: set() for wanted in model.distinct}

    def begin(self) -> None:
        """Put the initial states into the level to come; only those that are ours."""
        for state in self.model.initial():
            canonical = self.model.canonical(state)
            try:
                hash(canonical)
                mark = fingerprint(canonical)
            except TypeError as error:
                raise ModelError(f"the initial state cannot be told from others: {error}") from error
            if self.index == 0:
                self.generated += 1
            if mark % self.shards == self.index and mark not in self.before:
                self.take(mark, NOTHING, state)

    def turn_level(self) -> None:
        """Go one level deeper."""
        self.level, self.next_level = self.next_level, []
        self.cursor = 0
        self.depth += 1

    def expand(self, deadline_s: float) -> None:
        """Expand waiting states until then; when hasty, no further than the first finding."""
        while self.cursor < len(self.level) and len(self.before) < self.states_max and monotonic() < deadline_s:
            mark, packed = self.level[self.cursor]
            self.level[self.cursor] = (mark, None)  # the queue shrinks while the next one grows
            self.cursor += 1
            self.follow(mark, self.model.unpack(packed))
            if self.is_hasty and self.findings:
                return

    def follow(self, mark: int, state: State) -> None:
        """Everything that may happen next in one state."""
        model, shards = self.model, self.shards
        generated = 0
        for _, after in model.successors(state):
            generated += 1
            canonical = model.canonical(after)
            after_mark = fingerprint(canonical)
            for rule in self.always_steps:
                text = rule.check(state, after)
                if text:
                    self.find(rule.name, text, self.depth + 1, mark, after_mark)
            owner = after_mark % shards
            if owner != self.index:
                self.send(owner, after_mark, mark, after)
            elif after_mark not in self.before:
                self.take(after_mark, mark, after)
            elif self.kept is not None and self.kept[after_mark] != canonical:
                raise ModelError(f"two states share the fingerprint {after_mark:016x}")
            if self.is_hasty and self.findings:
                break
        self.generated += generated
        if not generated and self.is_looking_at_ends:
            text = model.at_end(state)
            if text:
                self.find(END, text, self.depth, self.before[mark], mark)

    def send(self, owner: int, mark: int, before: int, state: State) -> None:
        """Leave a state for the shard that owns it, once."""
        if mark in self.sent:
            return
        if len(self.sent) >= SENT_MAX:
            self.sent.clear()
        self.sent.add(mark)
        self.outboxes[owner].append((mark, before, self.model.pack_for(state, owner)))

    def receive(self, parcels: list[Parcel]) -> None:
        """Take in what another shard found."""
        for mark, before, packed in parcels:
            if mark not in self.before:
                self.take(mark, before, self.model.unpack(packed))

    def take(self, mark: int, before: int, state: State) -> None:
        """A state seen for the first time: judge it, and queue it when it is within the bounds of the model."""
        model = self.model
        self.before[mark] = before
        if self.kept is not None:
            self.kept[mark] = model.canonical(state)
        for rule in self.always:
            text = rule.check(state)
            if text:
                self.find(rule.name, text, self.depth + 1, before, mark)
        if not model.within(state):
            self.beyond += 1
            return
        for wanted in model.sometimes:
            if wanted.is_met(state):
                self.sometimes[wanted.name] += 1
        for projection in model.distinct:
            self.distinct[projection.name].add(fingerprint(projection.part(state)))
        self.next_level.append((mark, model.pack(state)))

    def find(self, name: str, text: str, level: int, before: int, at: int) -> None:
        """Keep one finding for each property: the nearest, of equals the smallest, so that the order of work is no matter."""
        found = Finding(name, text, level, before, at)
        known = self.findings.get(name)
        if known is None or found.order < known.order:
            self.findings[name] = found

    def standing(self) -> Standing:
        """The figures so far."""
        return Standing(
            unique=len(self.before) - self.beyond,
            generated=self.generated,
            beyond=self.beyond,
            waiting=len(self.level) - self.cursor,
            next_level=len(self.next_level),
            findings=list(self.findings.values()),
            sometimes=dict(self.sometimes),
        )


def is_wanted(name: str, bounds: Bounds) -> bool:
    """Whether the search is to look at this property."""
    return not bounds.only or name in bounds.only


def walk_back(finding: Finding, before_of: Callable[[int], int]) -> list[int]:
    """The fingerprints from an initial state to the finding."""
    marks = [finding.at]
    mark = finding.before
    while mark != NOTHING:
        marks.append(mark)
        mark = before_of(mark)
    marks.reverse()
    return marks


def walk_forward(model: Model[State], marks: list[int]) -> list[tuple[str, State]]:
    """Run the model along these fingerprints: the label of each step and the state after it; the first has no label.

    Raises ModelError when the model does not repeat itself.
    """
    for state in model.initial():
        if fingerprint(model.canonical(state)) == marks[0]:
            break
    else:
        raise ModelError("initial() does not give the same states again: it must not depend on anything but the model")
    steps = [("", state)]
    for mark in marks[1:]:
        for label, after in model.successors(state):
            if fingerprint(model.canonical(after)) == mark:
                state = after
                steps.append((label, after))
                break
        else:
            raise ModelError(
                f"the way to the violation is lost after {len(steps)} states: successors() must be a pure function, and "
                "states that canonical() calls the same must have the same successors up to renaming"
            )
    return steps
