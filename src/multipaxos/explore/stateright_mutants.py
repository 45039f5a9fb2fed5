"""The single-decree Paxos of stateright with one rule wrong: what its workload can show, and what it cannot.

Each client puts once and then gets once, and all puts begin at the beginning. So a server that answers too early, or that
reads what is not decided, is not caught here: those two are in the list because they survive.
"""

from multipaxos.explore.stateright_paxos import Accepted, Ballot, Message, Proposal, Reaction, Server, StaterightPaxos


class OwnDecree(StaterightPaxos):
    """bug-A08: the proposer keeps its own proposal although a promise reported one."""

    def proposal_allowed(self, server: Server, promises: frozenset[tuple[int, Accepted]]) -> Proposal:
        """The client's."""
        assert server.proposal is not None
        return server.proposal


class AcceptsLower(StaterightPaxos):
    """bug-A09: a server accepts below its promise."""

    def may_accept(self, server: Server, ballot: Ballot) -> bool:
        """Always."""
        return True


class CountsOldPromises(StaterightPaxos):
    """bug-A03: a promise of an older ballot counts."""

    def is_of_this_ballot(self, server: Server, ballot: Ballot) -> bool:
        """Any ballot will do."""
        return True


class DoesNotRaisePromise(StaterightPaxos):
    """bug-A04: accepting in a higher ballot does not raise the promise."""

    def ballot_after(self, server: Server, ballot: Ballot) -> Ballot:
        """As before."""
        return server.ballot


class AdoptsLowest(StaterightPaxos):
    """bug-A06: of the proposals reported, the one with the lowest ballot is adopted."""

    def proposal_allowed(self, server: Server, promises: frozenset[tuple[int, Accepted]]) -> Proposal:
        """From the wrong end."""
        reported = sorted([accepted for _, accepted in promises if accepted])
        return reported[0][1] if reported else super().proposal_allowed(server, promises)


class CountsOldVotes(StaterightPaxos):
    """bug-A10: a vote in an older ballot counts."""

    def is_vote_of_this_ballot(self, server: Server, ballot: Ballot) -> bool:
        """Any ballot will do."""
        return True


class AnswersEarly(StaterightPaxos):
    """bug-C01, as far as it can be without disks: the client hears of its put as soon as it is proposed."""

    def on_promise(self, name: int, server: Server, sender: int, ballot: Ballot, accepted: Accepted) -> Reaction:
        """The proposal, and the answer with it; the one that comes with the decision will be left alone."""
        reaction = super().on_promise(name, server, sender, ballot, accepted)
        if reaction is None or not reaction[1]:
            return reaction
        after, sent = reaction
        assert after.proposal is not None
        return after, [*sent, (after.proposal[1], ("put done", after.proposal[0]))]


class ReadsUndecided(StaterightPaxos):
    """bug-D01: a server answers a read with what it has accepted, decided or not."""

    def react(self, name: int, server: Server, sender: int, message: Message) -> Reaction:
        """Reads first."""
        if message[0] == "get":
            return self.on_get(server, sender, message[1])
        return super().react(name, server, sender, message)


MUTANTS: dict[str, type[StaterightPaxos]] = {
    "A03": CountsOldPromises,
    "A04": DoesNotRaisePromise,
    "A06": AdoptsLowest,
    "A08": OwnDecree,
    "A09": AcceptsLower,
    "A10": CountsOldVotes,
    "C01": AnswersEarly,
    "D01": ReadsUndecided,
}
