"""Paxos as Leslie Lamport specified it: acceptors, and a set of all messages ever sent.

Source: tlaplus/Examples ``32a32c7``, module ``Paxos``. Published: 3,921 states, 23,563 generated, depth 17 for 3 acceptors,
2 values, 2 ballots (anchor-T5, ``PaxosHowToWinATuringAward/MCPaxosTiny.cfg``); 25, 82, 9 for 1 acceptor, 1 value, 2 ballots
with symmetry (anchor-T3, ``Paxos/MCPaxos.cfg``). ``lamport_mutants.py`` holds the same with one rule wrong at a time.

There are no proposers: a ballot is begun, and later given a value, whenever the messages allow it. A message is never lost
or used up; one that nobody reads is as good as lost.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, permutations
from typing import NamedTuple

from multipaxos.explore.model import Always, Model, Sometimes
from multipaxos.explore.tuples import put

Vote = tuple[int, int]  # ballot, value
Promise = tuple[int, int, Vote]  # ballot, acceptor, what it had accepted last
NO_BALLOT = -1
NO_VOTE: Vote = (NO_BALLOT, -1)


class State(NamedTuple):
    """What the acceptors hold, one entry each, and all messages by kind; beside each its name in the source."""

    promised: tuple[int, ...]  # maxBal
    accepted: tuple[Vote, ...]  # maxVBal, maxVal
    prepares: frozenset[int] = frozenset()  # 1a
    promises: frozenset[Promise] = frozenset()  # 1b
    proposals: frozenset[Vote] = frozenset()  # 2a
    votes: frozenset[tuple[int, Vote]] = frozenset()  # 2b


Step = tuple[str, State]


class LamportPaxos(Model[State]):
    """Quorums are the smallest majorities. Each rule is a method of its own, so that a bug is one of them changed."""

    def __init__(self, acceptors: int = 3, values: int = 2, ballots: int = 2, is_symmetric: bool = False) -> None:
        self.acceptors = range(acceptors)
        self.values = range(values)
        self.ballots = range(ballots)
        self.quorums = list(combinations(self.acceptors, acceptors // 2 + 1))
        self.is_symmetric = is_symmetric
        self.always = (
            Always("I1", self.one_value_per_ballot),
            Always("I2", self.one_chosen),
            Always("I3", self.promises_cover_votes),
            Always("I5", self.proposals_are_safe),
        )
        self.sometimes = (
            Sometimes("chosen", lambda state: bool(self.chosen(state))),
            Sometimes("chosen in two ballots", lambda state: len(self.chosen(state)) > 1),
            Sometimes("a value adopted", self.is_adopting),
        )

    def initial(self) -> Iterable[State]:
        """Nothing promised, nothing sent."""
        yield State(tuple([NO_BALLOT for _ in self.acceptors]), tuple([NO_VOTE for _ in self.acceptors]))

    def successors(self, state: State) -> Iterable[Step]:
        """The four actions of the source. What leads to the same state in several ways is counted once for each, as there."""
        for ballot in self.ballots:
            yield f"prepare ballot {ballot}", state._replace(prepares=state.prepares | {ballot})
        for acceptor in self.acceptors:
            for ballot in sorted(state.prepares):
                yield from self.on_prepare(state, acceptor, ballot)
        for acceptor in self.acceptors:
            for proposal in sorted(state.proposals):
                yield from self.on_accept(state, acceptor, proposal)
        for ballot in self.ballots:
            yield from self.propose(state, ballot)

    def on_prepare(self, state: State, acceptor: int, ballot: int) -> Iterable[Step]:
        """Phase 1b: promise a higher ballot, and tell what was accepted last."""
        if ballot > state.promised[acceptor]:
            promise = (ballot, acceptor, state.accepted[acceptor])
            yield (
                f"acceptor {acceptor} promises ballot {ballot}",
                state._replace(
                    promised=put(state.promised, acceptor, ballot),
                    promises=state.promises | {promise},
                ),
            )

    def propose(self, state: State, ballot: int) -> Iterable[Step]:
        """Phase 2a: a ballot gets one value, which a quorum's promises allow."""
        if not self.is_proposed(state, ballot):
            for reports in self.whole_promises(state, ballot):
                for value in self.values_allowed(reports):
                    proposal = (ballot, value)
                    yield (
                        f"propose value {value} in ballot {ballot}",
                        state._replace(proposals=state.proposals | {proposal}),
                    )

    def is_proposed(self, state: State, ballot: int) -> bool:
        """Whether the ballot has its value: it gets only one (I1)."""
        return any(proposed == ballot for proposed, _ in state.proposals)

    def whole_promises(self, state: State, ballot: int) -> Iterable[list[Vote]]:
        """For each quorum that has promised this ballot: what its members reported, the highest if they did so twice."""
        report_of = {acceptor: report for promised, acceptor, report in sorted(state.promises) if promised == ballot}
        for quorum in self.prepare_quorums():
            if all(acceptor in report_of for acceptor in quorum):
                yield [report_of[acceptor] for acceptor in quorum]

    def prepare_quorums(self) -> list[tuple[int, ...]]:
        """How many must promise before a ballot may have a value."""
        return self.quorums

    def values_allowed(self, reports: list[Vote]) -> Iterable[int]:
        """The value reported with the highest ballot, once for each report of it; any, when nothing was reported."""
        highest = max(reports)
        return self.values if highest == NO_VOTE else [value for ballot, value in reports if ballot == highest[0]]

    def on_accept(self, state: State, acceptor: int, proposal: Vote) -> Iterable[Step]:
        """Phase 2b: vote, unless a higher ballot was promised."""
        ballot, value = proposal
        if self.may_accept(state, acceptor, ballot):
            yield (
                f"acceptor {acceptor} accepts value {value} in ballot {ballot}",
                state._replace(
                    promised=put(state.promised, acceptor, self.promised_after(state, acceptor, ballot)),
                    accepted=put(state.accepted, acceptor, proposal),
                    votes=state.votes | {(acceptor, proposal)},
                ),
            )

    def may_accept(self, state: State, acceptor: int, ballot: int) -> bool:
        """Not below the promise."""
        return ballot >= state.promised[acceptor]

    def promised_after(self, state: State, acceptor: int, ballot: int) -> int:
        """Accepting promises as well."""
        return ballot

    def chosen(self, state: State) -> set[Vote]:
        """Each vote that a whole quorum has cast."""
        return {
            vote for vote in state.proposals if self.is_quorum({voter for voter, cast in state.votes if cast == vote})
        }

    def is_quorum(self, voters: set[int]) -> bool:
        """Enough of them."""
        return len(voters) >= len(self.quorums[0])

    def one_value_per_ballot(self, state: State) -> str:
        """I1."""
        ballots = [ballot for ballot, _ in state.proposals]
        return f"ballots and values proposed: {sorted(state.proposals)}" if len(set(ballots)) < len(ballots) else ""

    def one_chosen(self, state: State) -> str:
        """I2."""
        values = {value for _, value in self.chosen(state)}
        return f"chosen are {sorted(values)}" if len(values) > 1 else ""

    def promises_cover_votes(self, state: State) -> str:
        """I3, and that a promise once sent still holds."""
        for acceptor, (promised, accepted) in enumerate(zip(state.promised, state.accepted, strict=True)):
            sent = max([ballot for ballot, sender, _ in state.promises if sender == acceptor], default=NO_BALLOT)
            voted = max([vote for voter, vote in state.votes if voter == acceptor], default=NO_VOTE)
            if promised < max(sent, voted[0]) or accepted != voted:
                return f"acceptor {acceptor} holds {promised}, {accepted}; it has sent a promise of {sent} and voted {voted}"
        return ""

    def proposals_are_safe(self, state: State) -> str:
        """I5: below a proposal no other value is chosen, or ever can be."""
        for ballot, value in state.proposals:
            for lower in range(ballot):
                lost = [
                    (acceptor, (lower, value)) in state.votes
                    or (
                        state.promised[acceptor] > lower
                        and all(voter != acceptor or vote[0] != lower for voter, vote in state.votes)
                    )
                    for acceptor in self.acceptors
                ]
                if not any(all(lost[acceptor] for acceptor in quorum) for quorum in self.quorums):
                    return f"{value} is proposed in {ballot}, while another may be chosen in {lower}"
        return ""

    def is_adopting(self, state: State) -> bool:
        """A ballot proposes what a lower one proposed, because a promise told of it."""
        return any((ballot, report[1]) in state.proposals for ballot, _, report in state.promises if report != NO_VOTE)

    def describe(self, state: State) -> str:
        """What the acceptors hold; what was sent follows from the steps."""
        return "; ".join(
            [
                f"{acceptor} {promise_text(promised)}, {vote_text(accepted)}"
                for acceptor, (promised, accepted) in enumerate(zip(state.promised, state.accepted, strict=True))
            ]
        )

    def canonical(self, state: State) -> object:
        """With symmetry: the smallest of the states that differ by names of acceptors and values."""
        if not self.is_symmetric:
            return state
        return min([renamed(state, names) for names in permutations(self.values)])


def promise_text(ballot: int) -> str:
    """A promise, for people."""
    return "has promised nothing" if ballot == NO_BALLOT else f"has promised {ballot}"


def vote_text(vote: Vote) -> str:
    """A vote, for people."""
    return "accepted nothing" if vote == NO_VOTE else f"accepted {vote[1]} in {vote[0]}"


def renamed(state: State, names: Sequence[int]) -> tuple[object, ...]:
    """The state with other names for its values, and its acceptors in order of what they did."""

    def rename(vote: Vote) -> Vote:
        return vote if vote == NO_VOTE else (vote[0], names[vote[1]])

    acceptors = []
    for acceptor, (promised, accepted) in enumerate(zip(state.promised, state.accepted, strict=True)):
        promises = sorted([(ballot, rename(report)) for ballot, sender, report in state.promises if sender == acceptor])
        votes = sorted([rename(vote) for voter, vote in state.votes if voter == acceptor])
        acceptors.append((promised, rename(accepted), tuple(promises), tuple(votes)))
    proposals = sorted([rename(proposal) for proposal in state.proposals])
    return (tuple(sorted(acceptors)), tuple(sorted(state.prepares)), tuple(proposals))
