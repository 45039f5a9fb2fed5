"""Voting: Paxos without messages. Acceptors see each other's votes; what remains is the reason why Paxos is safe.

Source: tlaplus/Examples ``32a32c7``, module ``Voting``, by Leslie Lamport. Published: 6,752 states, 41,017 generated, depth
16 for 3 acceptors, 2 values, 3 ballots (anchor-T4, ``PaxosHowToWinATuringAward/MCVoting.cfg``); 77, 451, 11 for 2 ballots
with symmetry over acceptors and values (anchor-T2, ``Paxos/MCVoting.cfg``). What is ``maxBal`` there is ``promised`` here.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations
from typing import NamedTuple

from multipaxos.explore.model import Always, AlwaysStep, Model, Sometimes
from multipaxos.explore.tuples import put

Vote = tuple[int, int]  # ballot, value
NO_BALLOT = -1


class State(NamedTuple):
    """One entry for each acceptor."""

    votes: tuple[frozenset[Vote], ...]
    promised: tuple[int, ...]


class LamportVoting(Model[State]):
    """Quorums are the smallest majorities."""

    def __init__(self, acceptors: int = 3, values: int = 2, ballots: int = 3, is_symmetric: bool = False) -> None:
        self.acceptors = range(acceptors)
        self.values = range(values)
        self.ballots = range(ballots)
        self.quorums = list(combinations(self.acceptors, acceptors // 2 + 1))
        self.is_symmetric = is_symmetric
        self.always = (
            Always("I1", self.one_value_per_ballot),
            Always("I2", self.one_chosen),
            Always("I5", self.votes_are_safe),
        )
        self.always_steps = (AlwaysStep("I2-forever", self.chosen_stays),)
        self.sometimes = (
            Sometimes("chosen", lambda state: bool(self.chosen(state))),
            Sometimes("chosen in two ballots", lambda state: len(self.chosen(state)) > 1),
        )

    def initial(self) -> Iterable[State]:
        """No vote, no promise."""
        yield State(tuple([frozenset[Vote]() for _ in self.acceptors]), tuple([NO_BALLOT for _ in self.acceptors]))

    def successors(self, state: State) -> Iterable[tuple[str, State]]:
        """An acceptor promises a higher ballot, or votes."""
        for acceptor in self.acceptors:
            for ballot in self.ballots:
                if ballot > state.promised[acceptor]:
                    promised = put(state.promised, acceptor, ballot)
                    yield f"acceptor {acceptor} promises ballot {ballot}", State(state.votes, promised)
                for value in self.values:
                    if self.may_vote(state, acceptor, ballot, value):
                        yield from self.vote(state, acceptor, ballot, value)

    def may_vote(self, state: State, acceptor: int, ballot: int, value: int) -> bool:
        """Not below the promise, once in a ballot, and only for the ballot's value."""
        return (
            state.promised[acceptor] <= ballot
            and all(voted != ballot for voted, _ in state.votes[acceptor])
            and all(other == value for votes in state.votes for voted, other in votes if voted == ballot)
        )

    def vote(self, state: State, acceptor: int, ballot: int, value: int) -> Iterable[tuple[str, State]]:
        """Vote when a quorum shows that this is safe. The same step once for each way to show it: so the source counts."""
        votes = put(state.votes, acceptor, state.votes[acceptor] | {(ballot, value)})
        after = State(votes, put(state.promised, acceptor, ballot))
        for quorum in self.quorums:
            for _ in range(self.ways_to_show_safe(state, quorum, ballot, value)):
                yield f"acceptor {acceptor} votes for {value} in ballot {ballot}", after

    def ways_to_show_safe(self, state: State, quorum: tuple[int, ...], ballot: int, value: int) -> int:
        """How many of the quorum voted highest below ``ballot`` and for this value; one when none of them voted.

        None at all before everybody of the quorum has promised not to vote below ``ballot`` any more.
        """
        if any(state.promised[acceptor] < ballot for acceptor in quorum):
            return 0
        below = [vote for acceptor in quorum for vote in state.votes[acceptor] if vote[0] < ballot]
        highest = max([voted for voted, _ in below], default=NO_BALLOT)
        return 1 if highest == NO_BALLOT else below.count((highest, value))

    def chosen(self, state: State) -> set[Vote]:
        """Each vote that a whole quorum has cast."""
        return set().union(
            *[frozenset.intersection(*[state.votes[acceptor] for acceptor in quorum]) for quorum in self.quorums]
        )

    def one_value_per_ballot(self, state: State) -> str:
        """I1."""
        value_of: dict[int, int] = {}
        for votes in state.votes:
            for ballot, value in votes:
                if value_of.setdefault(ballot, value) != value:
                    return f"votes for two values in ballot {ballot}"
        return ""

    def one_chosen(self, state: State) -> str:
        """I2."""
        values = {value for _, value in self.chosen(state)}
        return f"chosen are {sorted(values)}" if len(values) > 1 else ""

    def votes_are_safe(self, state: State) -> str:
        """I5: below a vote no other value is chosen, or ever can be."""
        for votes in state.votes:
            for ballot, value in votes:
                for lower in range(ballot):
                    if not self.is_no_other_choosable(state, lower, value):
                        return f"a vote for {value} in {ballot}, while another may be chosen in {lower}"
        return ""

    def is_no_other_choosable(self, state: State, ballot: int, value: int) -> bool:
        """Whether a whole quorum has voted so in this ballot, or has not voted in it and never will."""
        lost = [
            (ballot, value) in votes or (promised > ballot and all(voted != ballot for voted, _ in votes))
            for votes, promised in zip(state.votes, state.promised, strict=True)
        ]
        return any(all(lost[acceptor] for acceptor in quorum) for quorum in self.quorums)

    def chosen_stays(self, before: State, after: State) -> str:
        """What is chosen stays chosen; so this implements ``consensus.py``."""
        return "" if self.chosen(before) <= self.chosen(after) else "what was chosen is no more"

    def canonical(self, state: State) -> object:
        """With symmetry: the smallest of the states that differ by names of acceptors and values."""
        if not self.is_symmetric:
            return state
        return min([renamed(state, names) for names in permutations(self.values)])


def renamed(state: State, names: Sequence[int]) -> tuple[object, ...]:
    """The state with other names for its values, and its acceptors in order of what they did."""
    acceptors = []
    for votes, promised in zip(state.votes, state.promised, strict=True):
        acceptors.append((promised, tuple(sorted([(ballot, names[value]) for ballot, value in votes]))))
    return tuple(sorted(acceptors))


class ForgetsVotesBelow(LamportVoting):
    """A guard is missing: what was voted for in lower ballots is not looked at (bug-A08)."""

    def ways_to_show_safe(self, state: State, quorum: tuple[int, ...], ballot: int, value: int) -> int:
        """The promises are enough."""
        return 1 if all(state.promised[acceptor] >= ballot for acceptor in quorum) else 0


MUTANTS: dict[str, type[LamportVoting]] = {"A08": ForgetsVotesBelow}
