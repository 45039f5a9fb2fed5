"""The acceptor: what it promised, what it accepted, and the two rules by which both change (PMMC A1 to A5, PMS 2.2).

Single-decree Paxos is this acceptor with one slot (``synod/`` uses it so); Multi-Paxos is this acceptor with many. It
knows nothing of messages, quorums or disks: whoever asks it writes the records and sends the answers (``replica.py``).
"""

from multipaxos.core.ballot import NO_BALLOT, Ballot, Slot
from multipaxos.core.decree import Decree


class Acceptor:
    """Promise only upward, accept at or above the promise, remember the last vote of each slot."""

    __slots__ = ("promised", "votes")

    def __init__(self) -> None:
        self.promised: Ballot = NO_BALLOT  # PMMC A1: never falls, also not across restarts
        self.votes: dict[Slot, tuple[Ballot, Decree]] = {}  # PMMC A4: one decree per (ballot, slot)

    def may_promise(self, ballot: Ballot) -> bool:
        """Whether a prepare at ``ballot`` may be answered. An equal one is a repeat by the ballot's only owner (rule-R1);
        where numbers may be shared, as by hand, the caller refuses it (rule-R51)."""
        return ballot >= self.promised

    def promise(self, ballot: Ballot) -> bool:
        """Refuse everything below ``ballot`` from now on. True where that is news, and must be durable before it is said."""
        assert ballot >= self.promised, "PMMC A1"
        is_raised = ballot > self.promised
        self.promised = ballot
        return is_raised

    def may_accept(self, ballot: Ballot) -> bool:
        """Whether an accept at ``ballot`` may be answered with a vote: PMS P1a."""
        return ballot >= self.promised

    def contradicts(self, ballot: Ballot, slot: Slot, decree: Decree) -> bool:
        """Whether another decree was accepted in this slot at this very ballot. No honest leader proposes two (PMMC A4)."""
        vote = self.votes.get(slot)
        return vote is not None and vote[0] == ballot and vote[1] != decree

    def accept(self, ballot: Ballot, slot: Slot, decree: Decree) -> bool:
        """Vote for ``decree``. True where the vote is new, and must be durable before it is said.

        The promise rises with the vote (trap-T3): PMMC A2 lets an acceptor accept only at the ballot it has adopted. An
        acceptor that did not raise it could accept an older ballot afterwards, and its last vote would hide a chosen one.
        """
        assert ballot >= self.promised, "PMMC A2"
        self.promised = ballot
        vote = self.votes.get(slot)
        if vote is not None and vote[0] == ballot:
            assert vote[1] == decree, "PMMC A4"
            return False
        self.votes[slot] = (ballot, decree)
        return True

    def ballot_at(self, slot: Slot) -> Ballot:
        """The ballot of the vote in ``slot``, or NO_BALLOT."""
        vote = self.votes.get(slot)
        return NO_BALLOT if vote is None else vote[0]

    def restore_promise(self, ballot: Ballot) -> None:
        """Take in a promise found in the journal: the highest counts, in whatever order records are read."""
        if ballot > self.promised:
            self.promised = ballot

    def restore_vote(self, ballot: Ballot, slot: Slot, decree: Decree) -> None:
        """Take in a vote found in the journal. It was a promise as well, so recovery cannot step back below it."""
        self.restore_promise(ballot)
        if ballot >= self.ballot_at(slot):
            self.votes[slot] = (ballot, decree)

    def clone(self) -> "Acceptor":
        """An independent copy."""
        cloned = Acceptor()
        cloned.promised = self.promised
        cloned.votes = self.votes.copy()
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (self.promised, tuple(sorted(self.votes.items())))
