"""What a model is: initial states, what may happen next, and what must hold. All that ``search.py`` needs to know.

A model is a small class. This one has two lamps and a switch for each; both may burn at once, which the property denies:

    class Lamps(Model[tuple[int, int]]):
        always = (Always("one-lamp", lambda lamps: "both burn" if sum(lamps) > 1 else ""),)

        def initial(self) -> Iterable[tuple[int, int]]:
            return [(0, 0)]

        def successors(self, state: tuple[int, int]) -> Iterable[tuple[str, tuple[int, int]]]:
            left, right = state
            yield "left", (1 - left, right)
            yield "right", (left, 1 - right)

``explore(Lamps())`` finds the shortest way there: left, right. Only ``initial`` and ``successors`` must be written; each
other method has a default, told below. Saved as ``lamps.py``, ``multipaxos verify explore --model lamps.py:Lamps`` runs it.

A state is a value that is never changed: numbers, strings, bytes, None, tuples, frozensets, named tuples, frozen dataclasses
and enumerations, in any mixture. Two states are one state when ``canonical`` gives equal values for them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Always(Generic[State]):
    """A property of every state: ``check`` gives "" when it holds, or what is wrong."""

    name: str
    check: Callable[[State], str]


@dataclass(frozen=True, slots=True)
class AlwaysStep(Generic[State]):
    """A property of every step: ``check`` sees the state before and the state after. Gives "" or what is wrong."""

    name: str
    check: Callable[[State, State], str]


@dataclass(frozen=True, slots=True)
class Sometimes(Generic[State]):
    """Something that should happen in some state: the search counts in how many. A zero says the model is too small."""

    name: str
    is_met: Callable[[State], bool]


@dataclass(frozen=True, slots=True)
class Distinct(Generic[State]):
    """A part of the state: the search counts how many different ones there are. ``part`` gives a value like a state's."""

    name: str
    part: Callable[[State], object]


class Model(ABC, Generic[State]):
    """A world to search. Both functions that must be written are pure: the same state gives the same successors."""

    always: Sequence[Always[State]] = ()
    always_steps: Sequence[AlwaysStep[State]] = ()
    sometimes: Sequence[Sometimes[State]] = ()
    distinct: Sequence[Distinct[State]] = ()

    @abstractmethod
    def initial(self) -> Iterable[State]:
        """The states that a run may begin in."""

    @abstractmethod
    def successors(self, state: State) -> Iterable[tuple[str, State]]:
        """Everything that may happen next: a label for people, and the state it leads to.

        Each pair is one *generated* state. A step that leads back to the same state is one, too; leave it out if it is none.
        """

    def within(self, state: State) -> bool:
        """Whether to go on from here. A state that is not within is checked, and then left alone (TLC's CONSTRAINT)."""
        return True

    def canonical(self, state: State) -> object:
        """What tells this state from others: itself, or less.

        For a symmetry, the smallest of the states that differ only by renaming; for a heavy state, some bytes. What is left
        out must have no influence on what may follow.
        """
        return state

    def at_end(self, state: State) -> str:
        """A state without successors: "" when a run may end so, or what is wrong with it (a deadlock)."""
        return ""

    def describe(self, state: State) -> str:
        """The state in words, for a counter-example."""
        return str(state)

    def pack(self, state: State) -> object:
        """A small picklable form, for the queue and for the way to another process."""
        return state

    def unpack(self, packed: object) -> State:
        """The state again."""
        return packed  # type: ignore[return-value]

    # A model that numbers parts of its states for itself, in each process in another way, tells the others of its numbers:

    def pack_for(self, state: State, shard: int) -> object:
        """A picklable form for that process, which may hold numbers of this one; there it goes to ``unpack``."""
        return self.pack(state)

    def news_for(self, shard: int) -> object:
        """What that process must ``hear`` before it unpacks what was packed for it since the last news. None for nothing."""
        return None

    def hear(self, news: object) -> None:
        """Take in what another process tells of its numbers."""
