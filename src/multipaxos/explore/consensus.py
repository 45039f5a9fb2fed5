"""What consensus means, and nothing of how: a decree is chosen, and then no other ever is.

Source: tlaplus/Examples ``32a32c7``, ``Consensus`` in two directories. Published (anchor-T1) for three values: 4 states,
4 generated, depth 2 from the beginning (``PaxosHowToWinATuringAward``); 4 states, 7 generated, depth 1 when a run may begin
in any state that the invariant allows (``Paxos``).
"""

from collections.abc import Iterable

from multipaxos.explore.model import Always, AlwaysStep, Model

State = frozenset[int]  # the values chosen


class Consensus(Model[State]):
    """``is_from_anywhere`` shows that the invariant is inductive: true before a step means true after it."""

    always = (Always("I2", lambda chosen: f"chosen are {sorted(chosen)}" if len(chosen) > 1 else ""),)
    always_steps = (
        AlwaysStep("I2-forever", lambda before, after: "" if before <= after else "what was chosen is no more"),
    )

    def __init__(self, values: int = 3, is_from_anywhere: bool = False) -> None:
        self.values = values
        self.is_from_anywhere = is_from_anywhere

    def initial(self) -> Iterable[State]:
        """Nothing chosen; or anything allowed."""
        yield frozenset()
        if self.is_from_anywhere:
            for value in range(self.values):
                yield frozenset([value])

    def successors(self, state: State) -> Iterable[tuple[str, State]]:
        """One value, once."""
        if self.may_choose(state):
            for value in range(self.values):
                yield f"choose {value}", state | {value}

    def may_choose(self, state: State) -> bool:
        """Only the first."""
        return not state


class ChoosesAgain(Consensus):
    """A guard is missing: something may be chosen although something was."""

    def may_choose(self, state: State) -> bool:
        """Always."""
        return True


MUTANTS: dict[str, type[Consensus]] = {"chooses-again": ChoosesAgain}
