"""One production replica and its disk, as a state of its own: what it does next, by running the shipped code on a copy.

The core is deterministic and pure, so a step depends on the replica's own state and the event alone. That is why a ``Local``
is interned, by all that can change its future behaviour (``Replica.fingerprint``, its journal), and its steps are kept: the
core runs once for each different (local state, event), however many states of the world contain the two.

- The disk. A step's records are durable at once, together with the messages gated behind them, or never. Waiting longer
  shows nothing new: a message that was sent earlier may still arrive later. So a step that writes may also *doom* its
  replica: the first k of its records stay, the rest and everything it writes from now on is lost, nothing gated leaves any
  more, and its end is a power failure; meanwhile it goes on, and what waits for no sync does leave. With ``Scope.is_prompt``
  off, records wait, a sync of any length is a step of its own, and a crash keeps any prefix of what waits.
- A crash and the restart after it are one step: a replica that is down does nothing, as one that hears nothing does.
  Recovery reads the journal, and is followed by ``begin``, as after the copy that a start makes durable first (rule-R37).
- Time stands still at ``NOW``, so no deadline is ever due. A timer runs out by being set to ``NOW`` in the copy: that is
  the event. The numbers drawn are 0, for they only choose deadlines.

Knows nothing of other replicas but their messages, and nothing of the search.
"""

from collections.abc import Callable
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot, owner_of
from multipaxos.core.decree import NOOP, Decree
from multipaxos.core.effects import Applied, Effects
from multipaxos.core.election import FOLLOWER
from multipaxos.core.inputs import Submit
from multipaxos.core.membership import Configuration, Member
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
    ProbeAnswer,
    Promise,
    Settled,
)
from multipaxos.core.records import AcceptedRecord, Record
from multipaxos.core.replica import Replica
from multipaxos.core.settings import Settings
from multipaxos.explore.core_past import Item, Past, digest
from multipaxos.explore.core_scope import Scope
from multipaxos.explore.core_sweep import Standing
from multipaxos.explore.core_witness import (
    FREE,
    Sent,
    Step,
    Verdict,
    Witness,
    judge,
    judge_released,
    judge_restart,
    kept,
    unlearned,
)

NOW: Final = 1_000_000_000_000_000
"""Boot-time nanoseconds at which everything happens."""

COMMANDS: Final = (b"a", b"b", b"c", b"d", b"e", b"f", b"g")
"""What the clients ask for: command n is given to replica n."""

CAMPAIGN: Final = "campaigns"
SUBMIT: Final = "is given its command"
FETCH: Final = "asks for what is missing"
RESTART: Final = "crashes and starts again"
SYNC: Final = "syncs"
SURVIVES: Final = "will not crash any more"

LEADS: Final = 1
LEADS_THIRD: Final = 2
"""It leads at the third ballot of those allowed."""
ADOPTED: Final = 4
"""It leads, and the promises it leads by told of a vote that it had to adopt."""
FILLED: Final = 8
"""It holds a no-op: some leader has filled a gap."""
CRASHES: Final = 16
"""It has written something that no sync covers, and a power failure may come."""
BEYOND_SLOTS: Final = 32
"""It proposes in a slot of which messages do not speak any more."""
BEYOND_BALLOTS: Final = 64
"""It would begin a ballot that is not allowed; known once ``own`` is."""

Event = Item | str
"""A message that arrives, or one of the above."""

LATER_START: Final = 1 << 30
"""The incarnation that recovers a journal only to see what recovery makes of it: after all others."""


def carried(scope: Scope) -> tuple[type[Message], ...]:
    """The messages that may arrive. All others are lost, which a network may do: heartbeats and echoes, probes and their
    answers, inquiries, hand-over and reads."""
    kinds: list[type[Message]] = [Accept, Accepted, Promise, Prepare, Prefix, Settled, Forward]
    if scope.is_nacking:
        kinds.append(Nack)
    if scope.is_fetching_by_message:
        kinds += [Fetch, Learn]
    return tuple(kinds)


class Journal:
    """What is durable of a replica. Two journals are one when recovery makes the same of them, whatever follows."""

    __slots__ = ("digest", "next", "records", "twin")

    def __init__(self, records: tuple[Record, ...], twin: Replica) -> None:
        self.records = records
        self.twin = twin  # a replica that recovered them and was never begun
        self.digest = digest(twin.fingerprint())
        self.next: dict[tuple[Record, ...], Journal] = {}


Batch = tuple[tuple[Record, ...], tuple[Sent, ...]]
"""Records of one step that are not durable yet, and the messages that wait for them."""


class Local:
    """A replica, its disk, what is noted of it, and what was found out about its next steps.

    ``journal`` is None where it makes no difference any more. Of a doomed replica nothing more becomes durable.
    """

    __slots__ = (
        "acceptor", "answers", "digest", "fetches", "ignored", "index", "is_doomed", "journal", "learned", "learned_mask",
        "locals", "marks", "moves", "number", "origin", "own", "past_mask", "pending", "rated_mask", "replica", "standing",
        "survivor", "witness",
    )  # fmt: skip

    def __init__(
        self,
        locals_: "Locals",
        index: int,
        replica: Replica,
        witness: Witness,
        journal: Journal | None,
        is_doomed: bool,
        pending: tuple[Batch, ...],
        mark: int,
    ) -> None:
        self.locals = locals_
        self.index = index
        self.replica = replica
        self.witness = witness
        self.journal = journal
        self.is_doomed = is_doomed
        self.pending = pending
        self.digest = mark
        self.number = len(locals_.known)  # as this process met them
        self.marks = 0  # of the constants LEADS to BEYOND_BALLOTS
        self.acceptor = digest((replica.id, replica.acceptor.fingerprint()))
        self.learned: dict[Slot, Decree] = {}
        self.learned_mask = 0  # bit n for slot n
        self.standing = Standing(
            replica,
            None if journal is None else journal.twin,
            locals_.last_own(replica.id),
            locals_.scope.is_trusting_ballots,
        )
        self.rated_mask = 0  # messages of which it is known whether they are past here
        self.past_mask = 0  # and those that are
        self.moves: dict[int, tuple[Move, ...]] = {}  # by the bit of the message that arrives
        self.ignored = 0  # the bits of messages that change nothing here and are answered by nothing
        self.own: tuple[Move, ...] | None = None  # that need no message
        self.fetches: tuple[Item, ...] | None = None  # what it would ask for
        self.answers: dict[int, tuple[Item, ...]] = {}  # by the bit of a fetch
        self.survivor: Local | None = None  # the same, once no crash is left for it
        self.origin: tuple[Local, Event, int] | None = None  # from where, by what, which of its outcomes

    def past_of(self, arriving: int) -> int:
        """Which of these messages to this replica can do nothing any more."""
        unrated = arriving & ~self.rated_mask
        if unrated:
            self.rated_mask |= unrated
            for item in self.locals.past.of(unrated):
                assert item.message is not None
                if self.standing.is_past(item.message):
                    self.past_mask |= item.bit
        return arriving & self.past_mask


class Move:
    """One outcome of one event at one replica."""

    __slots__ = (
        "after", "applied", "claim", "cost", "event", "is_judged", "is_still", "judged", "label", "learned", "out",
        "unjustified", "violations",
    )  # fmt: skip

    def __init__(self, event: Event, local: Local, after: Local, verdict: Verdict, out: int, cost: int) -> None:
        self.event = event
        self.after = after
        self.out = out  # what was sent, and which votes became durable
        self.cost = cost  # crashes used up
        self.label = f"{local.replica.id} {event if isinstance(event, str) else f'hears {event.text}'}"
        known = local.learned if event != RESTART else {}
        self.learned = tuple([(slot, decree) for slot, decree in after.learned.items() if slot not in known])
        self.applied: tuple[Applied, ...] = ()
        self.is_still = after.digest == local.digest  # the replica stands as before
        self.violations = verdict.violations  # wrong whatever the rest of the world does
        self.unjustified = verdict.unjustified
        self.claim = verdict.claim
        self.is_judged = bool(self.learned or self.unjustified or self.claim)  # by what is chosen
        self.judged: dict[int, str] = {}  # what is wrong with it, by the number of what is chosen

    def take_applied(self, applied: tuple[Applied, ...]) -> None:
        """What the step executed: also a step that learned nothing is judged by it (I6, I7, I11)."""
        self.applied = applied
        self.is_judged = self.is_judged or bool(applied)


class Locals:
    """All local states met so far, and how to find more."""

    def __init__(self, scope: Scope, past: Past, listed: Configuration, settings: Settings) -> None:
        self.scope = scope
        self.past = past
        self.listed = listed
        self.settings = settings
        self.allowed = scope.allowed()
        self.carried = carried(scope)
        self.exceptions = 0
        self.runs = 0  # of the core
        self.known: dict[int, Local] = {}
        self.journals: dict[int, Journal] = {}

    # States

    def make_replica(self, replica: ReplicaId, incarnation: int) -> Replica:
        """A replica that knows nothing yet."""
        return Replica(replica, self.listed, 100 + replica, incarnation, 1_000 * replica + incarnation, self.settings)

    def journal(self, records: tuple[Record, ...], twin: Replica) -> Journal:
        """The journal of these records, of which recovery makes ``twin``."""
        made = Journal(records, twin)
        return self.journals.setdefault(made.digest, made) if self.scope.is_memoising else made

    def last_own(self, replica: ReplicaId) -> Ballot:
        """The highest ballot that this replica may begin."""
        return max([ballot for ballot in self.allowed if owner_of(ballot) == replica], default=NO_BALLOT)

    def empty_journal(self, replica: ReplicaId) -> Journal:
        """Nothing is durable."""
        return self.journal((), self.make_replica(replica, LATER_START))

    def extended(self, journal: Journal, records: tuple[Record, ...]) -> Journal:
        """``journal`` with more records behind."""
        if not records:
            return journal
        found = journal.next.get(records)
        if found is None:
            twin = journal.twin.clone()
            twin.recover(records)
            found = self.journal(journal.records + records, twin)
            if self.scope.is_memoising:
                journal.next[records] = found
        return found

    def intern(
        self,
        index: int,
        replica: Replica,
        witness: Witness,
        journal: Journal | None,
        is_doomed: bool = False,
        pending: tuple[Batch, ...] = (),
    ) -> Local:
        """The one state that is like this."""
        mark = digest(
            (
                replica.fingerprint(),
                tuple(witness),
                -1 if journal is None else journal.digest,
                is_doomed,
                pending,
            )
        )
        found = self.known.get(mark) if self.scope.is_memoising else None
        if found is None:
            found = Local(self, index, replica, witness, journal, is_doomed, pending, mark)
            ledger = replica.ledger
            slots = [*range(self.scope.prefix + 1, ledger.chosen_prefix + 1), *ledger.learned_above_prefix()]
            found.learned = {slot: ledger.decree(slot) for slot in slots}
            found.learned_mask = sum([1 << slot for slot in slots])
            found.marks = self.marks_of(found)
            self.known[mark] = found
        return found

    def marks_of(self, local: Local) -> int:
        """What a search counts."""
        replica = local.replica
        marks = CRASHES if local.is_doomed or local.pending else 0
        decrees = [*[decree for _, decree in replica.acceptor.votes.values()], *local.learned.values()]
        if NOOP in decrees:
            marks |= FILLED
        leadership = replica.leadership
        if leadership is not None:
            marks |= LEADS
            if any(decree != FREE for _, allowed in local.witness.basis or () for decree in allowed):
                marks |= ADOPTED
            if len(self.allowed) > 2 and leadership.ballot == self.allowed[2]:
                marks |= LEADS_THIRD
            if max(leadership.open, default=0) > self.scope.last_slot:
                marks |= BEYOND_SLOTS
        return marks

    def survivor(self, local: Local) -> Local:
        """``local`` when it will not crash any more: its journal makes no difference. Doomed ones do crash."""
        if local.journal is None or local.is_doomed or not self.scope.is_forgetting_journals:
            return local
        if local.survivor is None:
            found = self.intern(local.index, local.replica, local.witness, None, False, local.pending)
            if found.origin is None:
                found.origin = (local, SURVIVES, 0)
            local.survivor = found
        return local.survivor

    # Events

    def on_message(self, local: Local, item: Item) -> tuple[Move, ...]:
        """What may come of a message that arrives."""
        moves = local.moves.get(item.bit)
        if moves is None:
            message = item.message
            assert message is not None
            moves = self.outcomes(local, item, lambda replica: [replica.step((message,), NOW, 0)])
            if self.scope.is_memoising:
                local.moves[item.bit] = moves
            if all(move.is_still and not move.out and not move.violations and not move.is_judged for move in moves):
                local.ignored |= item.bit
        return moves

    def on_its_own(self, local: Local) -> tuple[Move, ...]:
        """What may happen without a message."""
        if local.own is not None:
            return local.own
        moves: list[Move] = []
        replica = local.replica
        if not self.scope.campaigners or replica.id in self.scope.campaigners:
            moves.extend(self.outcomes(local, CAMPAIGN, campaign))
        number = local.index
        if number < self.scope.values and replica.forwarding.incarnation == 1 and replica.next_serial == 1:
            submit = Submit((COMMANDS[number],))
            moves.extend(self.outcomes(local, SUBMIT, lambda replica: [replica.step((submit,), NOW, 0)]))
        if self.scope.is_fetching_by_message and is_behind(replica):
            moves.extend(self.outcomes(local, FETCH, ask_for_missing))
        if not self.scope.is_prompt:
            moves.extend(self.syncs(local))
        if local.journal is not None:
            moves.extend(self.restarts(local, local.journal))
        found = tuple(moves)
        if self.scope.is_memoising:
            local.own = found
        return found

    def fetches(self, local: Local) -> tuple[Item, ...]:
        """What it asks for while it is behind: its fetch, as it may be sent to any peer."""
        if local.fetches is not None:
            return local.fetches
        found: tuple[Item, ...] = ()
        if not self.scope.is_fetching_by_message and is_behind(local.replica):
            sent = [sent for effects in ask_for_missing(local.replica.clone()) for sent in effects.messages]
            found = tuple([self.past.sent(to, message) for to, message in sent if isinstance(message, Fetch)])
        if self.scope.is_memoising:
            local.fetches = found
        return found

    def answers(self, local: Local, fetch: Item) -> tuple[Item, ...]:
        """What it answers to a fetch; to do so changes nothing in it."""
        found = local.answers.get(fetch.bit)
        if found is None:
            assert fetch.message is not None
            sent = local.replica.clone().step((fetch.message,), NOW, 0).messages
            found = tuple([self.past.sent(to, message) for to, message in sent if isinstance(message, Learn)])
            if self.scope.is_memoising:
                local.answers[fetch.bit] = found
        return found

    def follow(self, before: Local, event: Event, outcome: int) -> Local:
        """Where outcome number so and so of an event leads."""
        if event == SURVIVES:
            return self.survivor(before)
        if not isinstance(event, str):
            return self.on_message(before, event)[outcome].after
        return [move for move in self.on_its_own(before) if move.event == event][outcome].after

    # Outcomes

    def outcomes(self, local: Local, event: Event, run: Callable[[Replica], list[Effects]]) -> tuple[Move, ...]:
        """Run the core on a copy, and tell what may come of it: durable at once, or doomed."""
        self.runs += 1
        replica = local.replica.clone()
        try:
            effects = run(replica)
            going_on(effects)
            if self.scope.is_judging_exceptions:
                replica.check()
        except Exception as error:
            return self.failed(local, event, error)
        begun = replica.campaign
        if begun is not None and begun.ballot not in self.allowed:
            local.marks |= BEYOND_BALLOTS
            return ()
        self.level(replica)
        step = taken(event, local.replica, replica, effects)
        journal = local.journal
        if not self.scope.is_prompt:
            return self.originated(local, event, (self.waiting(local, event, step),))
        if local.is_doomed:
            return self.originated(local, event, (self.doomed(local, event, step, journal, 0, 0),))
        verdict = judge(step, local.witness, self.scope.quorum, len(step.records), True)
        extended = journal and self.extended(journal, step.records)
        after = self.intern(local.index, replica, verdict.witness, extended)
        out = self.bits(step.early) | self.bits(step.gated) | self.votes(replica.id, step.records)
        moves = [Move(event, local, after, verdict, out, 0)]
        if journal is not None:
            for number in range(len(step.records)):
                shortened = self.extended(journal, step.records[:number])
                moves.append(self.doomed(local, event, step, shortened, number, 1))
        for move in moves:
            move.take_applied(step.applied)
        return self.originated(local, event, tuple(moves))

    def doomed(self, local: Local, event: Event, step: Step, journal: Journal | None, durable: int, cost: int) -> Move:
        """The outcome in which only the first ``durable`` records of the step, and none after it, will ever be safe."""
        verdict = judge(step, local.witness, self.scope.quorum, durable, False)
        after = self.intern(local.index, step.now, verdict.witness, journal, is_doomed=True)
        out = self.bits(step.early) | self.votes(step.now.id, step.records[:durable])
        move = Move(event, local, after, verdict, out, cost)
        move.take_applied(step.applied)
        if cost:
            lost = len(step.records) - durable
            move.label += f"; {lost} of the {len(step.records)} records it writes will be lost, and all that follow"
        return move

    def failed(self, local: Local, event: Event, error: Exception) -> tuple[Move, ...]:
        """The core raised an exception."""
        self.exceptions += 1
        if not self.scope.is_judging_exceptions:
            return ()
        verdict = Verdict(local.witness, (f"exception: {type(error).__name__}: {error}",), (), 0)
        return (Move(event, local, local, verdict, 0, 0),)

    def originated(self, local: Local, event: Event, moves: tuple[Move, ...]) -> tuple[Move, ...]:
        """Note where new states came from, so that another process can find them, too."""
        for number, move in enumerate(moves):
            if move.after.origin is None and move.after is not local:
                move.after.origin = (local, event, number)
        return moves

    def level(self, replica: Replica) -> None:
        """Make states one that differ only in what nothing in this world reads."""
        leadership = replica.leadership
        if leadership is not None:
            # Inquiries are lost, and whoever leads may campaign at any time: what was inquired makes no difference.
            leadership.inquired = NO_BALLOT
            leadership.inquired_until = 0
            # Echoes are lost, so three heartbeats may have gone unanswered at any time; until then it refuses prepares,
            # which is as if those had been lost.
            leadership.is_quorum_connected = False
        if not self.scope.is_fetching_by_message:
            # What is missing may be asked of anybody, at any time: whose turn it is makes no difference.
            replica.catchup.asked_until = 0
            replica.catchup.unanswered = 0

    # Disks

    def restarts(self, local: Local, journal: Journal) -> tuple[Move, ...]:
        """A power failure, and the process starts again from what was durable."""
        if self.scope.is_prompt:
            moves = self.restart(local, journal, (), 0 if local.is_doomed else 1)
            return self.originated(local, RESTART, moves)
        records = tuple([record for batch, _ in local.pending for record in batch])
        found: list[Move] = []
        for number in range(len(records) + 1):
            found.extend(self.restart(local, self.extended(journal, records[:number]), records[:number], 1))
            if records and found:
                found[-1].label += f"; {len(records) - number} of the {len(records)} records that waited are lost"
        return self.originated(local, RESTART, tuple(found))

    def restart(self, local: Local, journal: Journal, survived: tuple[Record, ...], cost: int) -> tuple[Move, ...]:
        """Recover and begin. ``survived`` are records that no sync covered and that are safe all the same."""
        self.runs += 1
        replica = self.make_replica(local.replica.id, local.replica.forwarding.incarnation + 1)
        try:
            effects = [replica.recover(journal.records), replica.begin(NOW, 0)]
            going_on(effects)
            if self.scope.is_judging_exceptions:
                replica.check()
        except Exception as error:
            return self.failed(local, RESTART, error)
        self.level(replica)
        step = taken(RESTART, replica, replica, effects)
        after = self.extended(journal, step.records)
        verdict = judge_restart(replica, kept(local.witness, survived), after.records, step.applied)
        out = self.bits(step.early) | self.bits(step.gated) | self.votes(replica.id, survived + step.records)
        move = Move(RESTART, local, self.intern(local.index, replica, verdict.witness, after), verdict, out, cost)
        move.take_applied(step.applied)
        return (move,)

    def waiting(self, local: Local, event: Event, step: Step) -> Move:
        """Not ``is_prompt``: what is written waits for a sync, and so does what is gated behind it."""
        pending = local.pending
        is_waiting = bool(step.records or pending)
        verdict = judge(step, local.witness, self.scope.quorum, 0, not is_waiting)
        witness = verdict.witness
        out = self.bits(step.early)
        if is_waiting:
            waiting = {sent for _, gated in pending for sent in gated}
            news = [sent for sent in step.gated if sent not in waiting]  # a repeat leaves with the first
            if step.records:
                pending = (*pending, (step.records, self.sorted(news)))
            else:
                records, gated = pending[-1]
                pending = (*pending[:-1], (records, self.sorted([*gated, *news])))
            witness = witness._replace(votes=local.witness.votes)  # answers that wait still speak of them
        else:
            out |= self.bits(step.gated)
        after = self.intern(local.index, step.now, witness, local.journal, False, pending)
        move = Move(event, local, after, verdict, out, 0)
        move.take_applied(step.applied)
        return move

    def sorted(self, sent: list[Sent]) -> tuple[Sent, ...]:
        """Each of these messages once; in an order of no importance, since they leave together."""
        return tuple(sorted(set(sent), key=lambda one: self.past.sent(*one).digest))

    def syncs(self, local: Local) -> tuple[Move, ...]:
        """Not ``is_prompt``: a sync returns that covered the first batches that wait."""
        moves: list[Move] = []
        for length in range(1, len(local.pending) + 1):
            covered = local.pending[:length]
            records = tuple([record for batch, _ in covered for record in batch])
            released = tuple([sent for _, gated in covered for sent in gated])
            journal = local.journal and self.extended(local.journal, records)
            verdict = judge_released(local.replica.id, released, local.witness, kept(local.witness, records))
            witness = verdict.witness
            if length == len(local.pending):
                witness = witness._replace(votes=unlearned(witness.votes, local.replica))
            after = self.intern(local.index, local.replica, witness, journal, False, local.pending[length:])
            out = self.bits(released) | self.votes(local.replica.id, records)
            moves.append(Move(SYNC, local, after, verdict, out, 0))
        return self.originated(local, SYNC, tuple(moves))

    # Bits

    def bits(self, sent: tuple[Sent, ...]) -> int:
        """The items of messages that leave, without those that are lost in any case."""
        found = 0
        for to, message in sent:
            is_beyond = isinstance(message, (Accept, Accepted, Settled)) and message.slot > self.scope.last_slot
            if isinstance(message, self.carried) and not is_beyond:
                found |= self.past.sent(to, message).bit
        return found

    def votes(self, replica: ReplicaId, records: tuple[Record, ...]) -> int:
        """The items of votes that become durable, in the slots that messages speak of."""
        found = 0
        for record in records:
            if isinstance(record, AcceptedRecord) and self.scope.prefix < record.slot <= self.scope.last_slot:
                found |= self.past.voted((replica, record.ballot, record.slot, record.decree)).bit
        return found


def going_on(effects: list[Effects]) -> None:
    """Raises RuntimeError where the core wants to stop: nothing here gives it a reason to."""
    for one in effects:
        if one.stop:
            raise RuntimeError(f"the replica stops: {one.stop}")


def taken(event: Event, was: Replica, now: Replica, effects: list[Effects]) -> Step:
    """The effects of one event, taken together."""
    return Step(
        None if isinstance(event, str) else event.message,
        was,
        now,
        tuple([record for one in effects for record in one.writes]),
        tuple([sent for one in effects for sent in one.messages]),
        tuple([sent for one in effects for sent in one.when_durable]),
        tuple([applied for one in effects for applied in one.applied]),
    )


def campaign(replica: Replica) -> list[Effects]:
    """Silence, suspicion, a probe that is answered, a campaign: in one go, each a turn of the shipped code, with the timers
    run out. A leader loses its quorum first, a candidate gives up. Answers to probes can be as old as the last campaign,
    so they tell nothing new."""
    effects: list[Effects] = []
    election = replica.election
    leadership = replica.leadership
    if leadership is not None:
        leadership.is_quorum_connected = False
        leadership.connected_at = NOW - replica.settings.election_max_ns
        leadership.heartbeat_at = NOW
        effects.append(replica.step((), NOW, 0))
    elif replica.campaign is not None:
        election.campaign_until = NOW
        effects.append(replica.step((), NOW, 0))
    election.suspect_at = NOW
    effects.append(replica.step((), NOW, 0))
    for other in replica.others:
        if replica.standing == FOLLOWER and election.is_probing:
            answer = ProbeAnswer(other, election.probe_number, True, NO_BALLOT, NO_BALLOT, 0)
            effects.append(replica.step((answer,), NOW, 0))
    return effects


def is_behind(replica: Replica) -> bool:
    """Whether it would ask for chosen decrees."""
    return replica.leadership is None and replica.catchup.target > replica.chosen_prefix


def ask_for_missing(replica: Replica) -> list[Effects]:
    """The retry timer of a fetch runs out."""
    replica.catchup.asked_until = NOW
    return [replica.step((), NOW, 0)]


def list_of(scope: Scope) -> Configuration:
    """The configuration that all replicas are started with."""
    members = tuple(Member(replica, f"h:{replica}", "", 0, True) for replica in scope.replicas)
    return Configuration(0, members, scope.slots, "")
