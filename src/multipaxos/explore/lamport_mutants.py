"""Lamport's Paxos with one rule wrong: the bugs of the catalogue that a model of two or three ballots can show.

Knows nothing of what finds them: ``lamport_paxos.py`` has the properties. Each class is one bug, and changes one method.
"""

from collections.abc import Iterable
from itertools import combinations

from multipaxos.explore.lamport_paxos import NO_BALLOT, NO_VOTE, LamportPaxos, State, Step, Vote
from multipaxos.explore.tuples import put


class OwnDecree(LamportPaxos):
    """bug-A08: the proposer keeps its own value although a promise reported one."""

    def values_allowed(self, reports: list[Vote]) -> Iterable[int]:
        """Any."""
        return self.values


class AcceptsLower(LamportPaxos):
    """bug-A09: an acceptor accepts below its promise."""

    def may_accept(self, state: State, acceptor: int, ballot: int) -> bool:
        """Always."""
        return True


class ReusesBallot(LamportPaxos):
    """bug-A02: a proposer restarts, and gives a ballot that has a value another one."""

    def is_proposed(self, state: State, ballot: int) -> bool:
        """It does not remember."""
        return False


class CountsOldPromises(LamportPaxos):
    """bug-A03: a promise of an older ballot counts, and with what it told then."""

    def whole_promises(self, state: State, ballot: int) -> Iterable[list[Vote]]:
        """The oldest promise of each; one of them must be for this ballot."""
        oldest: dict[int, Vote] = {}
        for promised, acceptor, report in sorted(state.promises):
            if promised <= ballot:
                oldest.setdefault(acceptor, report)
        if any(promised == ballot for promised, _, _ in state.promises):
            for quorum in self.quorums:
                if all(acceptor in oldest for acceptor in quorum):
                    yield [oldest[acceptor] for acceptor in quorum]


class DoesNotRaisePromise(LamportPaxos):
    """bug-A04: accepting in a higher ballot does not raise the promise. Shows with three ballots only."""

    def promised_after(self, state: State, acceptor: int, ballot: int) -> int:
        """As before."""
        return state.promised[acceptor]


class AdoptsLowest(LamportPaxos):
    """bug-A06: of the values reported, the one with the lowest ballot is adopted. Shows with three ballots only."""

    def values_allowed(self, reports: list[Vote]) -> Iterable[int]:
        """From the wrong end."""
        reported = sorted([report for report in reports if report != NO_VOTE])
        return [reported[0][1]] if reported else self.values


class LearnsAcrossBallots(LamportPaxos):
    """bug-A10: the learner adds up votes of different ballots for one value. Shows with four ballots only."""

    def chosen(self, state: State) -> set[Vote]:
        """Whoever voted for the value, whenever."""
        return {
            (ballot, value)
            for ballot, value in state.proposals
            if self.is_quorum({voter for voter, vote in state.votes if vote[1] == value})
        }


class SmallPrepareQuorum(LamportPaxos):
    """bug-A11: phase 1 is content with one acceptor less."""

    def prepare_quorums(self) -> list[tuple[int, ...]]:
        """For three acceptors: any one of them."""
        return list(combinations(self.acceptors, len(self.acceptors) // 2))


class Restarting(LamportPaxos):
    """Acceptors restart, as often as they like, and forget nothing: a restart changes nothing."""

    def successors(self, state: State) -> Iterable[Step]:
        """Restarts, and what else there is."""
        for acceptor in self.acceptors:
            yield f"acceptor {acceptor} restarts", self.restarted(state, acceptor)
        yield from super().successors(state)

    def restarted(self, state: State, acceptor: int) -> State:
        """What is left of the acceptor: everything."""
        return state


class ForgetsPromise(Restarting):
    """bug-A01: the promise is not durable. After a restart it is the ballot accepted last."""

    def restarted(self, state: State, acceptor: int) -> State:
        """The vote is left."""
        return state._replace(promised=put(state.promised, acceptor, state.accepted[acceptor][0]))


class ForgetsVote(Restarting):
    """The vote is not durable: after a restart only the promise is left."""

    def restarted(self, state: State, acceptor: int) -> State:
        """The promise is left."""
        return state._replace(accepted=put(state.accepted, acceptor, NO_VOTE))


class ForgetsAll(Restarting):
    """bug-C14: a wiped acceptor takes part again as if it had never promised."""

    def restarted(self, state: State, acceptor: int) -> State:
        """Nothing is left."""
        return state._replace(
            promised=put(state.promised, acceptor, NO_BALLOT), accepted=put(state.accepted, acceptor, NO_VOTE)
        )


MUTANTS: dict[str, type[LamportPaxos]] = {
    "A01": ForgetsPromise,
    "A02": ReusesBallot,
    "A03": CountsOldPromises,
    "A04": DoesNotRaisePromise,
    "A06": AdoptsLowest,
    "A08": OwnDecree,
    "A09": AcceptsLower,
    "A10": LearnsAcrossBallots,
    "A11": SmallPrepareQuorum,
    "C14": ForgetsAll,
    "forgets-vote": ForgetsVote,
    "restarts": Restarting,
}
