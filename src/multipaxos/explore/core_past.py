"""What was sent and may still matter, and which votes are durable: a set of items, held as one integer.

The network loses, repeats and reorders, so what was sent once may arrive at any time, any number of times, or never: a set.
The votes that are durable are a set as well, for what is chosen follows from them alone, whether or not anybody knows: a
decree is chosen when more than half of the replicas have it in a durable vote of one ballot. Each item has a bit of its own.

By it the replicas are judged: ``judge_learned``, ``judge_prefix``, ``judge_applied``, slow and obvious twins of what the core
computes cleverly, in the words of ``sim/checkers.py``. A violation is a text that begins with the id of the invariant
(docs/invariants.md): "I6: replica 3 takes ...".

Knows nothing of how a replica makes a step, nor of the search.
"""

from dataclasses import dataclass
from hashlib import blake2b

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot, ballot_text
from multipaxos.core.decree import (
    KIND_BATCH,
    KIND_EPOCH,
    KIND_NOOP,
    Decree,
    commands_of,
    epoch_ballot_of,
    kind_of,
    segments_of,
    wall_of,
)
from multipaxos.core.effects import Applied
from multipaxos.core.messages import Message
from multipaxos.explore.core_words import decree_text, message_text
from multipaxos.explore.fingerprint import encode

DIGEST_BYTES = 16

Vote = tuple[ReplicaId, Ballot, Slot, Decree]
"""A durable vote; replica 0 stands for an accept quorum."""

Outcome = tuple[int, int, Ballot, bool, tuple[tuple[ReplicaId, int, int, int, bytes], ...]]
"""What applying a slot must give: time, epoch, reign, whether an epoch began, and the commands to execute as (origin,
incarnation, start, serial, bytes)."""


def digest(value: object) -> int:
    """128 bits of a plain value, the same in every process and every run."""
    return int.from_bytes(blake2b(encode(value), digest_size=DIGEST_BYTES).digest(), "little")


class Item:
    """A message that was sent to ``to``, or a durable vote, which nobody receives (``to`` is 0)."""

    __slots__ = ("bit", "digest", "message", "text", "to", "vote")

    def __init__(self, bit: int, mark: int, to: ReplicaId, message: Message | None, vote: Vote | None) -> None:
        self.bit = bit
        self.digest = mark
        self.to = to
        self.message = message
        self.vote = vote
        self.text = message_text(message) if message is not None else ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a set of durable votes has chosen, by slot; and how far without a gap."""

    slots: dict[Slot, Decree]
    decrees: tuple[Decree, ...]  # of the slots 1, 2, ... without a gap
    number: int  # of what is chosen: equal where the same decrees are, whatever the votes
    news: int  # bit n for slot n, where it was not chosen before the world began
    kept: int  # the votes, without those that make no difference any more
    violations: tuple[str, ...]


class Past:
    """Gives every item its bit. ``base`` are the decrees of the first slots, chosen before the world began."""

    def __init__(self, replicas: tuple[ReplicaId, ...], base: tuple[Decree, ...]) -> None:
        self.replicas = replicas
        self.base = base
        self.items: list[Item] = []
        self.to_mask: dict[ReplicaId, int] = dict.fromkeys(replicas, 0)
        self.vote_mask = 0
        self._messages: dict[tuple[ReplicaId, Message], Item] = {}
        self._votes: dict[Vote, Item] = {}
        self._chosen: dict[int, Chosen] = {}
        self._numbers: dict[tuple[tuple[Slot, Decree], ...], int] = {}
        self._hashes: dict[int, int] = {0: 0}
        self._outcomes: dict[tuple[Decree, ...], list[Outcome]] = {}

    # Bits

    def sent(self, to: ReplicaId, message: Message) -> Item:
        """The item of a message to ``to``."""
        item = self._messages.get((to, message))
        if item is None:
            bit = 1 << len(self.items)
            item = Item(bit, digest((to, type(message).__name__, message)), to, message, None)
            self.items.append(item)
            self._messages[to, message] = item
            self.to_mask[to] |= bit
        return item

    def voted(self, vote: Vote) -> Item:
        """The item of a durable vote."""
        item = self._votes.get(vote)
        if item is None:
            bit = 1 << len(self.items)
            item = Item(bit, digest(vote), 0, None, vote)
            self.items.append(item)
            self._votes[vote] = item
            self.vote_mask |= bit
        return item

    def of(self, net: int) -> list[Item]:
        """The members of a set."""
        found: list[Item] = []
        while net:
            low = net & -net
            net ^= low
            found.append(self.items[low.bit_length() - 1])
        return found

    def hash(self, net: int) -> int:
        """128 bits of a set, the same in every process. The hashes of two sets, combined by ``^``, are that of what stands in
        one of them only."""
        found = self._hashes.get(net)
        if found is None:
            found = 0
            for item in self.of(net):
                found ^= item.digest
            self._hashes[net] = found
        return found

    # What is chosen

    def chosen(self, net: int) -> Chosen:
        """What is chosen, counted from the durable votes alone."""
        votes = net & self.vote_mask
        found = self._chosen.get(votes)
        if found is None:
            found = self._chosen[votes] = self._count(votes)
        return found

    def _count(self, votes: int) -> Chosen:
        """Once a decree is chosen in a slot, further votes for it there make no difference: a quorum stands for all."""
        slots: dict[Slot, Decree] = dict(enumerate(self.base, 1))
        voters: dict[tuple[Slot, Ballot], dict[Decree, set[ReplicaId]]] = {}
        violations: list[str] = []
        cast = [item.vote for item in self.of(votes) if item.vote is not None]
        for replica, ballot, slot, decree in sorted(cast):
            voters.setdefault((slot, ballot), {}).setdefault(decree, set()).add(replica)
        for (slot, ballot), by_decree in sorted(voters.items()):
            if len(by_decree) > 1 and ballot != NO_BALLOT:
                violations.append(f"I1: two decrees have votes in slot {slot} at {ballot_text(ballot)}")
            for decree, whose in by_decree.items():
                if 0 in whose or 2 * len(whose) > len(self.replicas):
                    known = slots.setdefault(slot, decree)
                    if known != decree:
                        violations.append(f"I2: two decrees are chosen in slot {slot}, one at {ballot_text(ballot)}")
        kept = 0
        for replica, ballot, slot, decree in cast:
            if slots.get(slot) == decree and slot > len(self.base):
                kept |= self.voted((0, NO_BALLOT, slot, decree)).bit
            else:
                kept |= self.voted((replica, ballot, slot, decree)).bit
        prefix = 0
        while prefix + 1 in slots:
            prefix += 1
        number = self._numbers.setdefault(tuple(sorted(slots.items())), len(self._numbers))
        news = sum([1 << slot for slot in slots if slot > len(self.base)])
        return Chosen(
            slots, tuple([slots[slot] for slot in range(1, prefix + 1)]), number, news, kept, tuple(violations)
        )

    # Judgement

    def judge_prefix(self, replica: ReplicaId, prefix: Slot, net: int) -> str:
        """A chosen prefix that ``replica`` holds or announces must be chosen."""
        chosen = len(self.chosen(net).decrees)
        return "" if prefix <= chosen else self._unchosen(replica, chosen + 1, net)

    def judge_learned(self, replica: ReplicaId, slot: Slot, decree: Decree, net: int) -> str:
        """A decree that ``replica`` takes for chosen must be so."""
        known = self.chosen(net).slots.get(slot)
        if known is None:
            return self._unchosen(replica, slot, net)
        if known != decree:
            return (
                f"I6: replica {replica} takes {decree_text(decree)} for chosen in slot {slot}: {decree_text(known)} is"
            )
        return ""

    def judge_applied(
        self, replica: ReplicaId, incarnation: int, start: int, applied: tuple[Applied, ...], net: int
    ) -> str:
        """What is handed to the state machine must follow from the chosen decrees, and from nothing else."""
        decrees = self.chosen(net).decrees
        for one in applied:
            if one.slot > len(decrees):
                return f"I6: replica {replica} applies slot {one.slot}, of which nothing is chosen"
            time_ms, epoch, reign, began_epoch, commands = self._expected(decrees)[one.slot - 1]
            if (one.time_ms, one.epoch, one.reign, one.began_epoch) != (time_ms, epoch, reign, began_epoch):
                return f"I7: replica {replica} applies slot {one.slot} to another time or epoch"
            if len(one.commands) != len(commands):
                return (
                    f"I11: replica {replica} executes {len(one.commands)} commands of slot {one.slot}, "
                    f"where order and once gives {len(commands)}"
                )
            for found, (origin, by_incarnation, by_start, serial, command) in zip(one.commands, commands, strict=True):
                is_own = (origin, by_incarnation, by_start) == (replica, incarnation, start)
                if found != (origin, serial if is_own else 0, command):
                    return f"I7: replica {replica} executes another command in slot {one.slot} than was chosen"
        return ""

    def _unchosen(self, replica: ReplicaId, slot: Slot, net: int) -> str:
        cast = [item.vote for item in self.of(net & self.vote_mask) if item.vote is not None]
        votes = sorted((ballot, voter) for voter, ballot, at, _ in cast if at == slot)
        if not votes:
            return f"I6: replica {replica} takes slot {slot} for chosen, in which nobody voted"
        told = ", ".join(f"{voter} at {ballot_text(ballot)}" for ballot, voter in votes)
        return f"I10: replica {replica} counts slot {slot} as chosen; the votes are {told}: no accept quorum"

    def _expected(self, decrees: tuple[Decree, ...]) -> list[Outcome]:
        found = self._outcomes.get(decrees)
        if found is None:
            found = self._outcomes[decrees] = outcomes(decrees)
        return found


def outcomes(decrees: tuple[Decree, ...]) -> list[Outcome]:
    """The slow and obvious twin of ``core/applying.py``: what applying slots 1, 2, ... gives."""
    time_ms = 0
    epoch = 0
    reign: Ballot = NO_BALLOT
    last: dict[ReplicaId, tuple[int, int, int]] = {}
    found: list[Outcome] = []
    for decree in decrees:
        kind = kind_of(decree)
        began = False
        commands: list[tuple[ReplicaId, int, int, int, bytes]] = []
        if kind != KIND_NOOP:
            time_ms = max(time_ms, wall_of(decree))
        if kind == KIND_EPOCH and epoch_ballot_of(decree) >= reign:  # rule-R12
            reign = epoch_ballot_of(decree)
            epoch += 1
            began = True
        elif kind == KIND_BATCH:
            for origin, incarnation, start, first, _, begin, end in segments_of(decree):
                for serial, command in enumerate(commands_of(decree, begin, end), first):
                    known = last.get(origin)
                    if known is None or incarnation > known[0]:
                        is_next = serial == 1
                    else:
                        is_next = (incarnation, start, serial) == (known[0], known[1], known[2] + 1)
                    if is_next:  # rule-R8: no gap, no repeat
                        last[origin] = (incarnation, start, serial)
                        commands.append((origin, incarnation, start, serial, command))
        found.append((time_ms, epoch, reign, began, tuple(commands)))
    return found
