"""Decrees, messages and replicas of a world in words, for the lines of a counter-example."""

from multipaxos.core.ballot import ballot_text
from multipaxos.core.decree import (
    KIND_CONFIGURATION,
    KIND_EPOCH,
    NOOP,
    Decree,
    commands_of,
    epoch_ballot_of,
    kind_of,
    segments_of,
)
from multipaxos.core.messages import (
    Accept,
    Accepted,
    Fetch,
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


def decree_text(decree: Decree) -> str:
    """A decree."""
    kind = kind_of(decree)
    if decree == NOOP:
        return "no-op"
    if kind == KIND_EPOCH:
        return f"epoch of {ballot_text(epoch_ballot_of(decree))}"
    if kind == KIND_CONFIGURATION:
        return "birth"
    bodies = [commands_of(decree, begin, end) for _, _, _, _, _, begin, end in segments_of(decree)]
    return " ".join([command.decode() for body in bodies for command in body])


def message_text(message: Message) -> str:
    """A message."""
    sender = message.sender
    if isinstance(message, Prepare):
        return f"prepare {ballot_text(message.ballot)} from {sender}, slots {message.first}.."
    if isinstance(message, Promise):
        votes = [f"slot {p.slot} {ballot_text(p.ballot)} {decree_text(p.decree)}" for p in message.pvalues]
        return (
            f"promise {ballot_text(message.ballot)} from {sender}, chosen prefix {message.chosen_prefix}, "
            f"votes: {', '.join(votes) or 'none'}"
        )
    if isinstance(message, Nack):
        return f"nack of {ballot_text(message.ballot)} from {sender}, promised {ballot_text(message.promised)}"
    if isinstance(message, Accept):
        return (
            f"accept {ballot_text(message.ballot)} slot {message.slot} {decree_text(message.decree)} from {sender}, "
            f"chosen prefix {message.chosen_prefix}"
        )
    if isinstance(message, Accepted):
        return f"accepted {ballot_text(message.ballot)} slot {message.slot} from {sender}"
    if isinstance(message, Settled):
        return (
            f"settled slot {message.slot} from {sender}, chosen at {ballot_text(message.chosen_at)}, "
            f"asked at {ballot_text(message.ballot)}"
        )
    if isinstance(message, Prefix):
        return f"prefix {message.chosen_prefix} of {ballot_text(message.ballot)} from {sender}"
    if isinstance(message, Fetch):
        return f"fetch {message.first}..{message.last} from {sender}"
    if isinstance(message, Learn):
        items = [f"slot {slot} {'your vote' if d is None else decree_text(d)}" for slot, _, d in message.items]
        return f"learn from {sender}: {', '.join(items)}"
    if isinstance(message, Forward):
        return f"forward to {ballot_text(message.ballot)} from {sender}"
    return f"{type(message).__name__.lower()} from {sender}"


def replica_text(replica: Replica, first_slot: int) -> str:
    """A replica; of what it learned, the slots from ``first_slot`` on."""
    votes = [
        f"slot {slot} {ballot_text(ballot)} {decree_text(decree)}"
        for slot, (ballot, decree) in sorted(replica.acceptor.votes.items())
    ]
    ledger = replica.ledger
    learned = [*range(first_slot, ledger.chosen_prefix + 1), *ledger.learned_above_prefix()]
    known = [f"slot {slot} {decree_text(ledger.decree(slot))}" for slot in learned]
    return (
        f"{replica.id} {replica.standing}, promised {ballot_text(replica.promised)}, votes: {'; '.join(votes) or 'none'}, "
        f"learned: {'; '.join(known) or 'nothing new'}"
    )
