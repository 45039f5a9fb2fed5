"""The production core as a model: three replicas, a few ballots and slots, a network and disks that do what such things do.

    multipaxos verify explore --model core --acceptors 3 --ballots 3 --slots 2 --values 2 --crashes 1

**What may happen**, in any order and as often as the bounds allow: a message that was sent arrives (again, late, or never);
a replica suspects, probes and campaigns; a client's command comes; a follower that is behind asks anybody for what it lacks;
a step's records become durable, or the power fails before some or all of them are, and the replica starts again. The rules
of a single replica's steps, and why these few kinds are enough, stand in ``core_local.py``.

**What is left out**: heartbeats and echoes (so stickiness, confirmation rounds, hand-over), inquiries, reads, and turns that
bring several messages at once; news of connections; nacks, and answers to fetches that come late, unless ``Scope`` asks for
them. All these messages are always lost, which a network may do: what remains is a part of what the shipped code can do,
and no run is made up. Timers may run out at any time; but a leader or candidate that gives up does so only to campaign anew,
and an accept or a prepare is not sent twice, since what was sent may arrive twice.

**A state** is a local state of each replica, the set of all that was sent and may still matter, with the votes that are
durable (``core_past.py``, ``core_sweep.py``), and the crashes that are left. Local states are interned and their steps kept,
so a step of the world is a few look-ups; the core itself runs once for each different (local state, event).

**Bounds**: a ballot above the highest allowed is not begun; accepts beyond the last slot are lost; both are counted among
the *sometimes*, so that a search says which bounds it met.

**Properties**: I1 to I11 as far as they speak of what is here, judged by ``core_witness.py`` and ``core_past.py``; and that
the core raises no exception, which includes what it asserts itself, and ``Replica.check`` after each step.
"""

from collections.abc import Callable, Iterable, Sequence
from os import getpid
from typing import Final, cast

from multipaxos.core.settings import Settings
from multipaxos.explore.core_local import (
    ADOPTED,
    BEYOND_BALLOTS,
    BEYOND_SLOTS,
    CRASHES,
    FILLED,
    LEADS,
    LEADS_THIRD,
    Journal,
    Local,
    Locals,
    Move,
    list_of,
)
from multipaxos.explore.core_past import Past, digest
from multipaxos.explore.core_scope import BORN, REIGNING, Scope
from multipaxos.explore.core_start import Start
from multipaxos.explore.core_travel import Hearing, News, Parcel, Telling
from multipaxos.explore.core_witness import Witness, basis_of, kept
from multipaxos.explore.core_words import decree_text, replica_text
from multipaxos.explore.model import Always, Distinct, Model, Sometimes

TWO_LEADERS: Final = "two leaders at once"
ADOPTION: Final = "adoption from a lower ballot"
GAP: Final = "a gap filled"
THIRD: Final = "the third ballot used"
UNKNOWN: Final = "a decree chosen and unknown"
CRASH: Final = "a crash after the write and before the sync"
BALLOTS_MET: Final = "bound met: ballots"
SLOTS_MET: Final = "bound met: slots"
CRASHES_MET: Final = "bound met: crashes"

INVARIANTS: Final = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "exception")


class CoreState:
    """A state of the world. ``hash`` is that of ``net``; ``broken`` names what the step that led here did wrong."""

    __slots__ = ("broken", "crashes", "hash", "locals", "net")

    def __init__(self, locals_: tuple[Local, ...], net: int, hash_: int, crashes: int, broken: str) -> None:
        self.locals = locals_
        self.net = net
        self.hash = hash_
        self.crashes = crashes
        self.broken = broken


class CoreWorld(Model[CoreState]):
    """The model of a scope. ``only`` names the invariants to judge by, () all."""

    def __init__(self, scope: Scope, only: tuple[str, ...] = ()) -> None:
        self.scope = scope
        self.only = only
        settings = Settings(page_bytes_max=scope.page_bytes) if scope.page_bytes else Settings()
        self.start = Start(scope, list_of(scope), settings)
        self.past = Past(scope.replicas, self.start.base)
        self.locals = Locals(scope, self.past, list_of(scope), settings)
        self.allowed = scope.allowed()
        self.crash_marks = [digest(("crashes", left)) for left in range(scope.crashes + 1)]
        self.first = self._first()
        self.sometimes: Sequence[Sometimes[CoreState]] = (
            Sometimes(TWO_LEADERS, has_two_leaders),
            Sometimes(ADOPTION, has_marks(ADOPTED)),
            Sometimes(GAP, has_marks(FILLED)),
            Sometimes(THIRD, has_marks(LEADS_THIRD)),
            Sometimes(UNKNOWN, self.has_chosen_unknown),
            Sometimes(CRASH, has_marks(CRASHES)),
            Sometimes(BALLOTS_MET, self.has_met_ballots),
            Sometimes(SLOTS_MET, has_marks(BEYOND_SLOTS)),
            Sometimes(CRASHES_MET, lambda state: state.crashes == 0 < scope.crashes),
        )
        self.distinct: Sequence[Distinct[CoreState]] = (
            Distinct("acceptor states", acceptors),
            *[Distinct(f"local states of replica {id_}", local_digest(id_ - 1)) for id_ in scope.replicas],
        )
        self.telling: dict[int, Telling] = {}  # by the number of the other process
        self.hearing: dict[int, Hearing] = {}  # by its id
        self.always: Sequence[Always[CoreState]] = tuple([Always(name, broken_by(name)) for name in only or INVARIANTS])

    # The model

    def initial(self) -> Iterable[CoreState]:
        """One state."""
        return [self.first]

    def successors(self, state: CoreState) -> Iterable[tuple[str, CoreState]]:
        """Every message that may arrive, and everything that happens without one."""
        if state.broken:
            return
        net = state.net
        crashes = state.crashes
        locals_ = self.locals
        past = self.past
        to_mask = past.to_mask
        for index, local in enumerate(state.locals):
            arriving = net & to_mask[index + 1] & ~local.ignored
            known = local.moves
            while arriving:
                bit = arriving & -arriving
                arriving ^= bit
                moves = known.get(bit)
                if moves is None:
                    moves = locals_.on_message(local, past.items[bit.bit_length() - 1])
                for move in moves:
                    if move.cost <= crashes:
                        after = self.after(state, index, move)
                        if after is not None:
                            yield move.label, after
            own = local.own
            for move in locals_.on_its_own(local) if own is None else own:
                if move.cost <= crashes:
                    after = self.after(state, index, move)
                    if after is not None:
                        yield move.label, after
            fetches = local.fetches
            for fetch in locals_.fetches(local) if fetches is None else fetches:
                for peer in state.locals:
                    if peer is not local:
                        for learn in locals_.answers(peer, fetch):
                            for move in locals_.on_message(local, learn):
                                if move.cost <= crashes:
                                    after = self.after(state, index, move)
                                    if after is not None:
                                        yield move.label, after

    def after(self, state: CoreState, index: int, move: Move) -> CoreState | None:
        """The state that a move leads to, judged; None where nothing happens."""
        before = state.net
        net = before | move.out
        if move.is_still and net == before and not move.is_judged and not move.violations:
            return None
        broken = self.heeded(move.violations)
        past = self.past
        held = state.locals
        local = move.after
        crashes = state.crashes
        if move.cost:
            crashes -= move.cost
        if not crashes and local.journal is not None:
            local = self.locals.survivor(local)
        stand = (*held[:index], local, *held[index + 1 :])
        if move.cost and not crashes:
            stand = tuple([self.locals.survivor(one) for one in stand])
        new = net ^ before
        if new & past.vote_mask or move.is_judged:
            chosen = past.chosen(net)
            if move.is_judged and not broken:
                text = move.judged.get(chosen.number)
                if text is None:
                    text = move.judged[chosen.number] = self.heeded(self.judge(net, index, move))
                broken = text
            broken = broken or self.heeded(chosen.violations)
            if self.scope.is_sweeping:
                net = net & ~past.vote_mask | chosen.kept
        if self.scope.is_sweeping:
            to_mask = past.to_mask
            for number, one in enumerate(stand):
                if one is not held[number] or new & to_mask[number + 1]:
                    arriving = net & to_mask[number + 1]
                    net ^= one.past_of(arriving) if arriving & ~one.rated_mask else arriving & one.past_mask
        if net == before and move.is_still and not broken:
            return None
        return CoreState(stand, net, state.hash ^ past.hash(net ^ before), crashes, broken)

    def heeded(self, violations: tuple[str, ...]) -> str:
        """The first of these that is to be judged by, or ""."""
        for violation in violations:
            if not self.only or violation.partition(":")[0] in self.only:
                return violation
        return ""

    def judge(self, net: int, index: int, move: Move) -> tuple[str, ...]:
        """What is wrong with a step, by what is chosen."""
        past = self.past
        replica = index + 1
        slots = past.chosen(net).slots
        found = [text for slot, decree, text in move.unjustified if slots.get(slot) != decree]
        if move.claim:
            found.append(past.judge_prefix(replica, move.claim, net))
        found.extend([past.judge_learned(replica, slot, decree, net) for slot, decree in move.learned])
        forwarding = move.after.replica.forwarding
        found.append(past.judge_applied(replica, forwarding.incarnation, forwarding.start, move.applied, net))
        return tuple([text for text in found if text])

    def canonical(self, state: CoreState) -> object:
        """128 bits, the same in every process: digests of all parts, of which each is of another kind."""
        found = state.hash ^ self.crash_marks[state.crashes]
        for local in state.locals:
            found ^= local.digest
        return found ^ digest(state.broken) if state.broken else found

    # The way to another process

    def pack_for(self, state: CoreState, shard: int) -> object:
        """See ``core_travel.py``."""
        telling = self.telling.setdefault(shard, Telling())
        telling.tell_items(state.net, self.past)
        for local in state.locals:
            telling.tell_local(local, self.past)
        numbers = tuple([local.number for local in state.locals])
        parcel: Parcel = (getpid(), numbers, state.net, state.hash, state.crashes, state.broken)
        return parcel

    def news_for(self, shard: int) -> object:
        """What ``shard`` must hear before it can unpack what was packed for it."""
        return self.telling.setdefault(shard, Telling()).take_news(getpid())

    def hear(self, news: object) -> None:
        """What another process has told."""
        sender, items, locals_ = cast(News, news)
        self.hearing.setdefault(sender, Hearing()).hear(items, locals_, self.locals)

    def unpack(self, packed: object) -> CoreState:
        """The state again: of this process's own queue, or a parcel."""
        if isinstance(packed, CoreState):
            return packed
        sender, numbers, theirs, mark, crashes, broken = cast(Parcel, packed)
        hearing = self.hearing[sender]
        stand = tuple([hearing.locals[number] for number in numbers])
        return CoreState(stand, hearing.net(theirs), mark, crashes, broken)

    def describe(self, state: CoreState) -> str:
        """The replicas, one a line, and what is chosen."""
        first = self.scope.prefix + 1
        lines = [replica_text(local.replica, first) for local in state.locals]
        for number, local in enumerate(state.locals):
            if local.is_doomed:
                lines[number] += ", about to lose what it wrote last"
            if local.pending:
                lines[number] += f", {sum([len(records) for records, _ in local.pending])} records not synced"
        chosen = self.past.chosen(state.net).slots
        news = [f"slot {slot} {decree_text(chosen[slot])}" for slot in sorted(chosen) if slot >= first]
        lines.append(f"chosen: {'; '.join(news) or 'nothing new'}")
        if state.broken:
            lines.append(f"VIOLATION of {state.broken}")
        return "\n".join(lines)

    # What should happen sometimes

    def has_chosen_unknown(self, state: CoreState) -> bool:
        """Whether something is chosen that no replica has learned."""
        unknown = self.past.chosen(state.net).news
        for local in state.locals:
            unknown &= ~local.learned_mask
        return unknown != 0

    def has_met_ballots(self, state: CoreState) -> bool:
        """Whether only the bound on ballots keeps a replica from a campaign."""
        for local in state.locals:
            self.locals.on_its_own(local)  # where that is found out
        return any(local.marks & BEYOND_BALLOTS for local in state.locals)

    # The start

    def _first(self) -> CoreState:
        start = self.start
        stand: list[Local] = []
        for index, replica in enumerate(start.replicas):
            records = tuple(start.journals[replica.id])
            journal: Journal | None = self.locals.extended(self.locals.empty_journal(replica.id), records)
            witness = kept(Witness(), records)._replace(votes=())
            if replica.leadership is not None:
                heard = tuple([promise for promise in start.promises if promise.ballot == replica.leadership.ballot])
                basis = basis_of(heard, self.scope.quorum)
                assert basis is not None
                witness = witness._replace(used=replica.leadership.ballot, basis=basis)
            self.locals.level(replica)
            local = self.locals.intern(index, replica, witness, journal)
            stand.append(local if self.scope.crashes else self.locals.survivor(local))
        return CoreState(tuple(stand), 0, 0, self.scope.crashes, "")


def has_two_leaders(state: CoreState) -> bool:
    """Whether two replicas lead, each at a ballot of its own."""
    return sum([local.marks & LEADS for local in state.locals]) > 1


def has_marks(mark: int) -> Callable[[CoreState], bool]:
    """Whether a replica bears this mark."""

    def check(state: CoreState) -> bool:
        found = 0
        for local in state.locals:
            found |= local.marks
        return found & mark != 0

    return check


def acceptors(state: CoreState) -> int:
    """What the replicas promised and voted for, and nothing else: 128 bits of it."""
    found = 0
    for local in state.locals:
        found ^= local.acceptor
    return found


def local_digest(index: int) -> Callable[[CoreState], int]:
    """One of the local states: 128 bits of it."""
    return lambda state: state.locals[index].digest


def broken_by(name: str) -> Callable[[CoreState], str]:
    """The check of one invariant."""
    start = f"{name}: "

    def check(state: CoreState) -> str:
        return "" if not state.broken.startswith(start) else state.broken.removeprefix(start)

    return check


def make(
    acceptors: int = 3, ballots: int = 3, slots: int = 2, values: int = 2, crashes: int = 1, reigning: int = 1
) -> CoreWorld:
    """The model in these sizes; ``reigning`` 0: nobody leads at the start. Raises ValueError where there is none."""
    return CoreWorld(Scope(acceptors, ballots, slots, values, crashes, REIGNING if reigning else BORN))
