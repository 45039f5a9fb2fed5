"""Is there an order of the operations, each between its call and its return, that a sequential object could have had?

The search of Wing and Gong in the form of Lowe ("Testing for linearizability", 2017), written anew: calls and returns stand
in a list linked both ways; an operation whose call is reached before any return is tried next, taken out of the list, and
put back when the rest cannot be explained. What was already tried is known by the set of operations taken and the state they
left. A history falls into parts that can be judged apart, one for each object (Horn and Kroening's P-compositionality).

An operation that never returned may take effect at any time after its call, or never: it is not waited for. One that
changes nothing, and may come next with the answer it had, comes next: whatever else would follow can follow it.

Operations of one *lane* take effect in the order of their places, though they overlap: what a client pipelines is not
concurrent with itself (ZooKeeper's FIFO order of clients). Without lanes this is linearizability as published.

Time is bounded by steps, so that a verdict is the same on every machine. ``UNKNOWN`` is no pass.

It knows nothing of zxids, znodes and the ledger: what an object does stands in a ``Model``; znodes in ``znode_objects.py``.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

LINEARIZABLE: Final = "linearizable"
ILLEGAL: Final = "not linearizable"
UNKNOWN: Final = "unknown"

STEPS_MAX: Final = 2_000_000

State = TypeVar("State", bound=Hashable)


class Operation(NamedTuple):
    """One operation. ``returned`` is None where nobody knows whether it took effect."""

    called: int
    returned: int | None
    input: Any
    output: Any
    is_answered: bool = True
    """Whether ``output`` says anything: not of what never returned, nor of what is only known to have taken effect."""
    lane: int = -1
    """Operations of one lane keep their order; -1 for none."""
    place: int = 0


class Model(Protocol[State]):
    """A sequential object."""

    def init(self) -> State:
        """Its first state."""

    def step(self, state: State, operation: Operation) -> Sequence[State]:
        """The states it may be left in by an operation; none where it cannot be answered so in this state.

        One that is not answered must have some answer in every state.
        """

    def is_pure(self, operation: Operation) -> bool:
        """Whether an operation leaves every state as it was: reads, and what was refused."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one part."""

    verdict: str
    steps: int
    stuck: tuple[Operation, ...] = ()
    """Where nothing explains it: an operation that returned, and cannot have, in the longest order found."""


def check(model: Model[State], operations: Sequence[Operation], steps_max: int = STEPS_MAX) -> Verdict:
    """Judge one part of a history. ``steps_max`` bounds how often the model is asked."""
    return _Search(model, operations, steps_max).run()


_Key = tuple[int, int, int, Hashable]
"""Which operations are taken, and the state. Of those that returned, in the order of their calls: all below the first
number, and of the others the bits of the second. Of those that did not: the bits of the third. So the numbers stay short in
long histories."""

_Option = tuple[int, _Key]
"""An operation that may come next, and what is then taken."""


class _Search:
    """The search of one part."""

    __slots__ = ("_is_pure", "_lanes", "_list", "_model", "_operations", "_steps", "_steps_max", "_tried")

    def __init__(self, model: Model[Any], operations: Sequence[Operation], steps_max: int) -> None:
        self._model = model
        self._operations = [each for each in operations if each.returned is not None or not model.is_pure(each)]
        self._steps = 0
        self._steps_max = steps_max
        self._list = _List(self._operations)
        self._lanes = _Lanes(self._operations)
        self._is_pure = [
            model.is_pure(each) and not is_doubtful
            for each, is_doubtful in zip(self._operations, self._lanes.is_doubtful, strict=True)
        ]
        self._tried: dict[_Key, None] = {}

    def run(self) -> Verdict:
        """Try one order after the other."""
        returned = [operation.returned is not None for operation in self._operations]
        waiting = sum(returned)
        deepest = -1
        stuck: tuple[Operation, ...] = ()
        taken: list[tuple[int, Iterator[_Option]]] = []  # operations, and what else there was to try
        options = self._options((0, 0, 0, self._model.init()))
        while waiting:
            option = next(options, None)
            if option is not None:
                number, key = option
                taken.append((number, options))
                self._list.take_out(number)
                self._lanes.take(number)
                waiting -= returned[number]
                options = self._options(key)
                continue
            if self._steps > self._steps_max:
                return Verdict(UNKNOWN, self._steps, stuck)
            # Something that returned next is not in the order: what was taken last must go, or be taken otherwise.
            if len(taken) > deepest:
                deepest = len(taken)
                stuck = (self._operations[self._list.first_return()],)
            if not taken:
                return Verdict(ILLEGAL, self._steps, stuck)
            number, options = taken.pop()
            self._list.put_back(number)
            self._lanes.put_back(number)
            waiting += returned[number]
        return Verdict(LINEARIZABLE, self._steps)

    def _options(self, key: _Key) -> Iterator[_Option]:
        """What may come next: one that changes nothing and fits, or else all that change something."""
        low, window, opened, state = key
        step = self._model.step
        operations = self._operations
        may_take = self._lanes.may_take
        changing: list[int] = []
        for number in self._list.enabled():
            if not may_take(number):
                continue
            if not self._is_pure[number]:
                changing.append(number)
                continue
            self._steps += 1
            if step(state, operations[number]):
                after = self._after(number, low, window, opened, state)
                if after not in self._tried:
                    self._tried[after] = None
                    yield number, after
                return
        # The first to return first: mostly that is the order they took effect in.
        changing.sort(key=self._list.return_of.__getitem__)
        for number in changing:
            self._steps += 1
            if self._steps > self._steps_max:
                return
            for left in step(state, operations[number]):
                after = self._after(number, low, window, opened, left)
                if after not in self._tried:
                    self._tried[after] = None
                    yield number, after

    def _after(self, number: int, low: int, window: int, opened: int, state: Hashable) -> _Key:
        rank = self._list.rank_of[number]
        if self._operations[number].returned is None:
            return low, window, opened | 1 << rank, state
        window |= 1 << (rank - low)
        while window & 1:
            window >>= 1
            low += 1
        return low, window, opened, state


class _List:
    """Calls and returns by time, linked both ways. Entry 0 is the head."""

    __slots__ = ("_call_at", "_call_of", "_following", "_preceding", "rank_of", "return_of")

    def __init__(self, operations: Sequence[Operation]) -> None:
        marks: list[tuple[int, bool, int]] = []
        for number, operation in enumerate(operations):
            # Of one instant, calls come before returns: what touches is concurrent.
            marks.append((operation.called, False, number))
            if operation.returned is not None:
                marks.append((operation.returned, True, number))
        marks.sort()
        end = len(marks) + 1
        self._call_of: list[int] = [-1]  # by entry: the operation's number, and ~number for a return
        self._call_at = [0] * len(operations)  # by operation: the entry of its call
        self.return_of = [end] * len(operations)
        """By operation: the entry of its return, beyond all where it has none."""
        self.rank_of = [0] * len(operations)
        """By operation: its place, by call, among those that returned, or among those that did not."""
        ranks = [0, 0]
        for entry, (_, is_return, number) in enumerate(marks, 1):
            self._call_of.append(~number if is_return else number)
            if is_return:
                self.return_of[number] = entry
            else:
                self._call_at[number] = entry
                has_returned = operations[number].returned is not None
                self.rank_of[number] = ranks[has_returned]
                ranks[has_returned] += 1
        self._call_of.append(-1)  # the end
        self._following = [*range(1, end + 1), end]
        self._preceding = [0, *range(end)]

    def enabled(self) -> list[int]:
        """The operations called before the first return."""
        found: list[int] = []
        call_of, following = self._call_of, self._following
        at = following[0]
        number = call_of[at]
        while number >= 0:
            found.append(number)
            at = following[at]
            number = call_of[at]
        return found

    def first_return(self) -> int:
        """The operation that returns first, of those not taken out; one must be left."""
        at = self._following[0]
        while self._call_of[at] >= 0:
            at = self._following[at]
        number: int = ~self._call_of[at]
        return number

    def take_out(self, number: int) -> None:
        """Take an operation out, call and return."""
        following, preceding = self._following, self._preceding
        for entry in (self.return_of[number], self._call_at[number]):
            if entry < len(following) - 1:
                before = preceding[entry]
                after = following[entry]
                following[before] = after
                preceding[after] = before

    def put_back(self, number: int) -> None:
        """Undo the last ``take_out`` that is not undone yet: it must have been of this one."""
        following, preceding = self._following, self._preceding
        for entry in (self._call_at[number], self.return_of[number]):
            if entry < len(following) - 1:
                following[preceding[entry]] = entry
                preceding[following[entry]] = entry


class _Lanes:
    """Which operations of each lane may come next: those before which all that returned are taken, and none behind."""

    __slots__ = ("_before", "_count", "_lane", "_order", "_orders", "_weight", "is_doubtful")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._lane = [operation.lane for operation in operations]
        self._weight = [0 if operation.returned is None else 1 for operation in operations]
        self._order = [0] * len(operations)  # in its lane
        self._before = [0] * len(operations)  # how many that returned stand before it in its lane
        self._count: dict[int, int] = {}  # by lane: how many that returned are taken
        self._orders: dict[int, list[int]] = {}  # by lane: the orders of all that are taken, rising
        self.is_doubtful = [False] * len(operations)
        """Whether one that never returned may have to come just before it."""
        by_lane: dict[int, list[int]] = {}
        for number, operation in enumerate(operations):
            if operation.lane >= 0:
                by_lane.setdefault(operation.lane, []).append(number)
        for lane, numbers in by_lane.items():
            numbers.sort(key=lambda number: operations[number].place)
            before = 0
            is_doubtful = False
            for order, number in enumerate(numbers):
                self._order[number] = order
                self._before[number] = before
                self.is_doubtful[number] = is_doubtful
                is_doubtful = self._weight[number] == 0
                before += self._weight[number]
            self._count[lane] = 0
            self._orders[lane] = []

    def may_take(self, number: int) -> bool:
        """Whether it may come next, as far as its lane is concerned."""
        lane = self._lane[number]
        if lane < 0:
            return True
        orders = self._orders[lane]
        return self._count[lane] == self._before[number] and (not orders or orders[-1] < self._order[number])

    def take(self, number: int) -> None:
        """It comes next."""
        lane = self._lane[number]
        if lane >= 0:
            self._count[lane] += self._weight[number]
            self._orders[lane].append(self._order[number])

    def put_back(self, number: int) -> None:
        """Undo the last ``take`` of its lane, which was of this one."""
        lane = self._lane[number]
        if lane >= 0:
            self._count[lane] -= self._weight[number]
            self._orders[lane].pop()


def check_parts(
    model: Model[State], parts: Iterable[tuple[str, Sequence[Operation]]], steps_max: int = STEPS_MAX
) -> list[tuple[str, Verdict]]:
    """Judge each part; what is not linearizable, or could not be decided in ``steps_max`` steps, with its name."""
    found: list[tuple[str, Verdict]] = []
    for name, operations in parts:
        verdict = check(model, operations, steps_max)
        if verdict.verdict != LINEARIZABLE:
            found.append((name, verdict))
    return found
