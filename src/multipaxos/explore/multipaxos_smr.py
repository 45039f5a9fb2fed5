"""Multi-Paxos with a ledger of slots: replicas serve writes and reads of one register, and no replica may get stuck.

Source: tlaplus/Examples ``32a32c7``, ``MultiPaxos-SMR``, by Guanzhou Hu. Published (anchor-T9): 343,796 states, 736,012
generated, depth 28 for 3 replicas, 1 write, 1 read, 2 ballots, with symmetry over replicas. What was sent is kept with its
sender, and can be read again by everybody, so the replicas in sorted order are the canonical form. That is sound because a
ballot names no replica here: it is used by whoever takes it first.
"""

from collections.abc import Iterable
from itertools import permutations
from typing import Final, NamedTuple

from multipaxos.explore.model import Always, Model, Sometimes
from multipaxos.explore.tuples import put

EMPTY: Final = 0  # of a slot: nothing known; a vote asked for or given; the same in a ballot that was left; chosen
ACCEPTING: Final = 1
PREPARING: Final = 2
CHOSEN: Final = 3

NOTHING: Final = ""  # no command; what the register holds at first

Command = str  # "w1" writes w1, "r1" reads
Vote = tuple[int, Command]  # ballot, command; (0, "") for none
Promise = tuple[int, tuple[Vote, ...]]  # ballot, and the sender's votes by slot
Event = tuple[str, Command, str]  # "asked" or "answered", the command, what it found


class Slot(NamedTuple):
    """What a replica knows of one slot."""

    status: int = EMPTY
    command: Command = NOTHING
    vote: Vote = (0, NOTHING)


class Replica(NamedTuple):
    """Slots are counted from 0 here, so ``prefix`` is the next one to be chosen."""

    slots: tuple[Slot, ...]
    is_leading: bool = False  # or thinks so
    prepared: int = 0  # the ballot it has prepared as a leader
    known: int = 0  # the highest ballot it has seen
    prefix: int = 0
    register: str = NOTHING
    is_done: bool = False
    # What it has sent, sorted: the ballots begun, promises, votes as (ballot, slot).
    prepares: tuple[int, ...] = ()
    promises: tuple[Promise, ...] = ()
    votes: tuple[tuple[int, int], ...] = ()


class State(NamedTuple):
    """``proposals`` are (ballot, slot, command); ``notices`` are the slots announced as chosen."""

    replicas: tuple[Replica, ...]
    proposals: frozenset[tuple[int, int, Command]]
    notices: frozenset[int]
    pending: tuple[Command, ...]
    observed: tuple[Event, ...]


Step = tuple[str, State]


class MultiPaxosSmr(Model[State]):
    """``writes`` and ``reads`` are handed in once each, in this order; answers may come in any."""

    def __init__(
        self, replicas: int = 3, writes: int = 1, reads: int = 1, ballots: int = 2, is_symmetric: bool = True
    ) -> None:
        self.replicas = replicas
        self.commands = tuple([f"w{n}" for n in range(writes)] + [f"r{n}" for n in range(reads)])
        self.ballots = range(1, ballots + 1)
        self.quorum = replicas // 2 + 1
        self.is_symmetric = is_symmetric
        self.always = (Always("linearizable", self.is_explained),)
        self.sometimes = (
            Sometimes("everything answered", self.is_finished),
            Sometimes("two leaders", lambda state: sum(replica.is_leading for replica in state.replicas) > 1),
            Sometimes("answered after the last ballot began", self.is_answered_late),
        )

    def initial(self) -> Iterable[State]:
        """Nothing known, nothing sent."""
        slots = (Slot(),) * len(self.commands)
        yield State((Replica(slots),) * self.replicas, frozenset(), frozenset(), self.commands, ())

    def successors(self, state: State) -> Iterable[Step]:
        """Each replica goes on until all commands are answered; then each ends, and at last nothing happens any more."""
        if all(replica.is_done for replica in state.replicas):
            yield "the end", state
        for name, replica in enumerate(state.replicas):
            if self.is_finished(state):
                if not replica.is_done:
                    yield f"replica {name} ends", change(state, name, replica._replace(is_done=True))
                continue
            yield from self.begin_ballot(state, name, replica)
            yield from self.on_prepare(state, name, replica)
            yield from self.on_promises(state, name, replica)
            yield from self.on_request(state, name, replica)
            yield from self.on_proposal(state, name, replica)
            yield from self.on_votes(state, name, replica)
            yield from self.on_notice(state, name, replica)

    def begin_ballot(self, state: State, name: int, replica: Replica) -> Iterable[Step]:
        """Take a ballot that nobody has taken, and promise it oneself."""
        taken = {ballot for other in state.replicas for ballot in other.prepares}
        for ballot in self.ballots:
            if not replica.is_leading and ballot > replica.known and ballot not in taken:
                begun = promise(replica, ballot)._replace(
                    is_leading=True, prepared=0, prepares=tuple(sorted([*replica.prepares, ballot]))
                )
                yield f"replica {name} begins ballot {ballot}", change(state, name, begun)

    def on_prepare(self, state: State, name: int, replica: Replica) -> Iterable[Step]:
        """Promise a higher ballot of another."""
        for other in state.replicas:
            for ballot in other.prepares:
                if ballot > replica.known:
                    after = promise(replica, ballot)._replace(is_leading=False)
                    yield f"replica {name} promises ballot {ballot}", change(state, name, after)

    def on_promises(self, state: State, name: int, replica: Replica) -> Iterable[Step]:
        """With enough promises: take over what was voted for in the highest ballot, slot by slot, and propose it."""
        if not replica.is_leading or replica.prepared:
            return
        ballot = replica.known
        reports = [votes for other in state.replicas for promised, votes in other.promises if promised == ballot]
        if len(reports) < self.quorum:
            return
        slots = []
        for slot, held in enumerate(replica.slots):
            _, command = max([votes[slot] for votes in reports])
            is_open = held.status == PREPARING or (held.status == EMPTY and command != NOTHING)
            slots.append(Slot(ACCEPTING if is_open else held.status, command, held.vote))
        proposals = {(ballot, slot, held.command) for slot, held in enumerate(slots) if held.status == ACCEPTING}
        after = change(state, name, replica._replace(prepared=ballot, slots=tuple(slots)))
        yield f"replica {name} has prepared ballot {ballot}", after._replace(proposals=state.proposals | proposals)

    def on_request(self, state: State, name: int, replica: Replica) -> Iterable[Step]:
        """A prepared leader puts the next command that it has not seen into its first empty slot, and votes.

        The same step once for each slot that is empty: so the source counts.
        """
        empty = [slot for slot, held in enumerate(replica.slots) if held.status == EMPTY]
        seen = [held.command for held in replica.slots]
        unseen = [command for command in state.pending if command not in seen]
        if not is_prepared_leader(replica) or not empty or not unseen:
            return
        slot, command, ballot = empty[0], unseen[0], replica.prepared
        after = change(state, name, vote(replica, ballot, slot, command))._replace(
            proposals=state.proposals | {(ballot, slot, command)},
            observed=noted(state.observed, ("asked", command, NOTHING)),
        )
        for _ in empty:
            yield f"replica {name} proposes {command} in slot {slot}", after

    def on_proposal(self, state: State, name: int, replica: Replica) -> Iterable[Step]:
        """Vote, unless a higher ballot is known, or this vote was cast."""
        for ballot, slot, command in sorted(state.proposals):
            if ballot >= replica.known and ballot > replica.slots[slot].vote[0]:
                is_own = ballot in replica.prepares
                after = vote(replica, ballot, slot, command)._replace(known=ballot, is_leading=is_own)
                yield f"replica {name} accepts {command} in slot {slot} at ballot {ballot}", change(state, name, after)

    def on_votes(self, state: State, name: int, replica: Replica) -> Iterable[Step]:
        """With enough votes for the next slot: it is chosen and applied, and the client is answered."""
        if not is_prepared_leader(replica) or not is_next_open(replica):
            return
        slot = replica.prefix
        voters = [other for other in state.replicas if (replica.prepared, slot) in other.votes]
        if len(voters) < self.votes_needed():
            return
        command = replica.slots[slot].command
        after = change(state, name, applied(replica))
        yield (
            f"replica {name} answers {command}",
            after._replace(
                notices=state.notices | {slot},
                pending=tuple([other for other in state.pending if other != command]),
                observed=noted(state.observed, ("answered", command, replica.register)),
            ),
        )

    def votes_needed(self) -> int:
        """A majority."""
        return self.quorum

    def on_notice(self, state: State, name: int, replica: Replica) -> Iterable[Step]:
        """A follower learns that its next slot is chosen, and applies it."""
        if not replica.is_leading and is_next_open(replica) and replica.prefix in state.notices:
            yield f"replica {name} learns slot {replica.prefix}", change(state, name, applied(replica))

    def is_finished(self, state: State) -> bool:
        """Every command was asked and answered."""
        return not state.pending and len({event[:2] for event in state.observed}) == 2 * len(self.commands)

    def is_explained(self, state: State) -> str:
        """Once all is answered: one order of the commands explains every answer, and no command is before one that ended
        before it was asked. A write finds the value that it replaces."""
        if not self.is_finished(state):
            return ""
        place = {event[:2]: number for number, event in enumerate(state.observed)}
        found = {command: text for kind, command, text in state.observed if kind == "answered"}
        for order in permutations(self.commands):
            register = NOTHING
            for number, command in enumerate(order):
                is_early = any(place["answered", later] < place["asked", command] for later in order[number + 1 :])
                if is_early or found[command] != register:
                    break
                register = command if command[0] == "w" else register
            else:
                return ""
        return f"no order of the commands explains {state.observed}"

    def is_answered_late(self, state: State) -> bool:
        """Somebody leads at the last ballot, and some command was answered."""
        is_last = any(replica.prepared == self.ballots[-1] for replica in state.replicas)
        return is_last and any(kind == "answered" for kind, _, _ in state.observed)

    def at_end(self, state: State) -> str:
        """Nobody can do anything, and not all is answered."""
        return "stuck"

    def canonical(self, state: State) -> object:
        """With symmetry: the replicas sorted. In built-in types, which are told apart sooner."""
        replicas = sorted(state.replicas) if self.is_symmetric else state.replicas
        plain = [(*replica[1:], *[tuple(slot) for slot in replica.slots]) for replica in replicas]
        return tuple(plain), state.proposals, state.notices, state.pending, state.observed


class OneVoteTooFew(MultiPaxosSmr):
    """bug-A11, proposed by the source: a slot counts as chosen with one vote less."""

    def votes_needed(self) -> int:
        """One less."""
        return self.quorum - 1


def change(state: State, name: int, replica: Replica) -> State:
    """The state with one replica changed."""
    return state._replace(replicas=put(state.replicas, name, replica))


def promise(replica: Replica, ballot: int) -> Replica:
    """What was being accepted has to be prepared again; the promise tells all votes."""
    slots = tuple([slot._replace(status=PREPARING) if slot.status == ACCEPTING else slot for slot in replica.slots])
    votes = tuple([slot.vote for slot in slots])
    return replica._replace(known=ballot, slots=slots, promises=tuple(sorted([*replica.promises, (ballot, votes)])))


def vote(replica: Replica, ballot: int, slot: int, command: Command) -> Replica:
    """Accept a command, and say so."""
    slots = put(replica.slots, slot, Slot(ACCEPTING, command, (ballot, command)))
    return replica._replace(slots=slots, votes=tuple(sorted({*replica.votes, (ballot, slot)})))


def applied(replica: Replica) -> Replica:
    """The next slot is chosen; a write changes the register."""
    held = replica.slots[replica.prefix]
    return replica._replace(
        slots=put(replica.slots, replica.prefix, held._replace(status=CHOSEN)),
        prefix=replica.prefix + 1,
        register=held.command if held.command[:1] == "w" else replica.register,
    )


def is_prepared_leader(replica: Replica) -> bool:
    """Leads, as far as it knows, at the highest ballot that it knows."""
    return replica.is_leading and replica.prepared == replica.known


def is_next_open(replica: Replica) -> bool:
    """Whether the slot after the prefix is being accepted."""
    return replica.prefix < len(replica.slots) and replica.slots[replica.prefix].status == ACCEPTING


def noted(observed: tuple[Event, ...], event: Event) -> tuple[Event, ...]:
    """What clients saw, with one event more; the same event is seen once."""
    return observed if event in observed else (*observed, event)


MUTANTS: dict[str, type[MultiPaxosSmr]] = {"A11": OneVoteTooFew}
