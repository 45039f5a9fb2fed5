"""When a message that was sent can do nothing any more, whatever happens: then it is no part of the state of the world.

Without this, two states that differ only in what is long past are two. Every rule compares the message with something of its
receiver that never falls, not even in a crash, so what is past stays past: ``tests/explore/test_core_world.py`` delivers such
messages all the same, in every local state that follows, and sees nothing happen; and searches with and without.

To leave a message out is to lose it, which a network may do. So even a rule that did not hold for some wrong core would hide
what that core can do, and never make anything up.
"""

from multipaxos.core.ballot import NO_BALLOT, Ballot, Slot, owner_of
from multipaxos.core.decree import SEGMENT
from multipaxos.core.messages import (
    Accept,
    Accepted,
    Forward,
    Learn,
    Message,
    Nack,
    Prefix,
    Prepare,
    Promise,
    Settled,
)
from multipaxos.core.replica import Replica


class Standing:
    """What a replica will never fall below: of itself while it runs, and of its recovery where it may crash."""

    __slots__ = ("is_trusting", "last_own", "leader_ballot", "prefix", "promised", "replica")

    def __init__(self, replica: Replica, recovered: Replica | None, last_own: Ballot, is_trusting: bool) -> None:
        self.replica = replica
        self.is_trusting = is_trusting
        self.last_own = last_own  # the highest ballot of its own that it may ever begin
        self.promised: Ballot = replica.promised
        self.prefix: Slot = replica.chosen_prefix
        self.leader_ballot: Ballot = replica.leader_ballot
        if owner_of(self.leader_ballot) == replica.id or recovered is not None:
            self.leader_ballot = NO_BALLOT  # it is forgotten with the leadership, and in a crash
        if recovered is not None:
            self.promised = min(self.promised, recovered.promised)
            self.prefix = min(self.prefix, recovered.chosen_prefix)

    def is_past(self, message: Message) -> bool:
        """Whether ``message`` can do nothing here any more."""
        if isinstance(message, Accept):
            return (
                message.ballot < self.promised
                and message.ballot <= self.leader_ballot
                and message.chosen_prefix <= self.prefix
            )
        if isinstance(message, Accepted):
            return self._is_vote_past(message.ballot, message.slot)
        if isinstance(message, Settled):
            return self._is_vote_past(message.ballot, message.slot)
        if isinstance(message, Promise):
            return self._is_promise_past(message)
        if isinstance(message, Prepare):
            return message.ballot < self.promised and message.chosen_prefix <= self.prefix
        if isinstance(message, Prefix):
            return message.chosen_prefix <= self.prefix
        if isinstance(message, Nack):
            return message.promised <= self.promised
        if isinstance(message, Learn):
            return all(slot <= self.prefix for slot, _, _ in message.items) and message.chosen_prefix <= self.prefix
        if isinstance(message, Forward):
            return self._is_forward_past(message)
        return False

    def _is_forward_past(self, message: Forward) -> bool:
        """A segment is taken in at the ballot it names, once; behind a gap it may still come next."""
        leadership = self.replica.leadership
        if leadership is None or leadership.ballot != message.ballot:
            return self._is_ballot_past(message.ballot)
        origin, incarnation, start, first, count, _ = SEGMENT.unpack_from(message.segment, 0)
        last = leadership.streams.last(origin)
        return last is not None and (incarnation, start) == last[:2] and first + count - 1 <= last[2]

    def _is_ballot_past(self, ballot: Ballot) -> bool:
        """This replica does not campaign, nor lead, and never will again: all its ballots are used. While it does, answers at
        an older ballot are ignored by a right core; unless asked to trust in that, they stay, for a wrong one to count."""
        campaign = self.replica.campaign
        if self.is_trusting:
            return ballot <= self.promised and (campaign is None or campaign.ballot != ballot)
        return ballot <= self.last_own <= self.promised and campaign is None

    def _is_vote_past(self, ballot: Ballot, slot: Slot) -> bool:
        """A vote counts for an open proposal at the ballot that this replica leads; and it leads at each ballot once."""
        leadership = self.replica.leadership
        if leadership is None or leadership.ballot != ballot:
            return self._is_ballot_past(ballot)
        return slot not in leadership.open and self.replica.ledger.is_learned(slot)

    def _is_promise_past(self, message: Promise) -> bool:
        """A promise counts for the campaign at its ballot, until that leads; and what it says of the chosen prefix is heard
        at that ballot only."""
        campaign = self.replica.campaign
        if campaign is None or campaign.ballot != message.ballot:
            return self._is_ballot_past(message.ballot)
        return self.replica.leadership is not None and message.chosen_prefix <= self.replica.chosen_prefix
