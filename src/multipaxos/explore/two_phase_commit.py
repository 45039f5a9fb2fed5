"""Two-phase commit: a coordinator asks its resource managers, and all commit or all abort. Not Paxos, but a well-known count.

Source: stateright ``ab8c8be``, ``examples/2pc.rs``, after "Consensus on Transaction Commit" (Gray and Lamport, 2006).
Published (anchor-S4): 288 states with 3 managers, 8,832 with 5; with 5 and symmetry 665, which is the count of a depth-first
search with an incomplete sort. This search sorts completely and finds fewer: 314.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from multipaxos.explore.model import Always, Model, Sometimes
from multipaxos.explore.tuples import put

WORKING: Final = "working"
PREPARED: Final = "prepared"
COMMITTED: Final = "committed"
ABORTED: Final = "aborted"


class State(NamedTuple):
    """Nothing that was sent is lost: it can be read at any time, and again."""

    managers: tuple[str, ...]
    coordinator: str
    has_sent: tuple[bool, ...]  # which managers have sent "prepared"
    is_heard: tuple[bool, ...]  # and of which the coordinator has read it
    is_commit_sent: bool
    is_abort_sent: bool


class TwoPhaseCommit(Model[State]):
    """``managers`` of them; ``is_symmetric`` takes states for one that differ only by which manager is which."""

    always = (
        Always(
            "consistent",
            lambda state: "one has committed, another aborted" if {COMMITTED, ABORTED} <= set(state.managers) else "",
        ),
    )
    sometimes = (
        Sometimes("all commit", lambda state: set(state.managers) == {COMMITTED}),
        Sometimes("all abort", lambda state: set(state.managers) == {ABORTED}),
    )

    def __init__(self, managers: int = 3, is_symmetric: bool = False) -> None:
        self.managers = managers
        self.is_symmetric = is_symmetric

    def initial(self) -> Iterable[State]:
        """All at work, nothing sent."""
        nobody = (False,) * self.managers
        yield State((WORKING,) * self.managers, WORKING, nobody, nobody, False, False)

    def successors(self, state: State) -> Iterable[tuple[str, State]]:
        """The coordinator decides, or a manager does something."""
        if self.may_commit(state):
            yield "coordinator commits", state._replace(coordinator=COMMITTED, is_commit_sent=True)
        if state.coordinator == WORKING:
            yield "coordinator aborts", state._replace(coordinator=ABORTED, is_abort_sent=True)
        for manager in range(self.managers):
            yield from self.steps_of(manager, state)

    def may_commit(self, state: State) -> bool:
        """The coordinator commits only when all have told it that they can."""
        return state.coordinator == WORKING and all(state.is_heard)

    def steps_of(self, manager: int, state: State) -> Iterable[tuple[str, State]]:
        """What one manager does, and what the coordinator hears of it."""
        if state.coordinator == WORKING and state.has_sent[manager]:
            yield f"coordinator hears {manager}", state._replace(is_heard=put(state.is_heard, manager, True))
        if state.managers[manager] == WORKING:
            prepared = put(state.managers, manager, PREPARED)
            yield f"{manager} prepares", state._replace(managers=prepared, has_sent=put(state.has_sent, manager, True))
            yield f"{manager} aborts", state._replace(managers=put(state.managers, manager, ABORTED))
        if state.is_commit_sent:
            yield f"{manager} is told to commit", state._replace(managers=put(state.managers, manager, COMMITTED))
        if state.is_abort_sent:
            yield f"{manager} is told to abort", state._replace(managers=put(state.managers, manager, ABORTED))

    def canonical(self, state: State) -> object:
        """With symmetry: what is known of each manager, sorted."""
        if not self.is_symmetric:
            return state
        one_each = zip(state.managers, state.has_sent, state.is_heard, strict=True)
        return (tuple(sorted(one_each)), state.coordinator, state.is_commit_sent, state.is_abort_sent)


class CommitsUnasked(TwoPhaseCommit):
    """A guard is missing: the coordinator does not wait for everybody."""

    def may_commit(self, state: State) -> bool:
        """Whoever has answered."""
        return state.coordinator == WORKING


MUTANTS: dict[str, type[TwoPhaseCommit]] = {"commits-unasked": CommitsUnasked}
