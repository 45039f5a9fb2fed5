"""A replica: acceptor, proposer and learner of one ledger, joined. The file to read first.

Everything that happens comes in as inputs of one *turn* (``step``), everything it wants leaves as ``Effects``. There is
no clock, no randomness, no file and no socket here: the same state and the same arguments give the same effects, which
is why the code that serves is the code that is simulated and explored.

Paxos itself is here, in this order: ``_on_prepare`` and ``_on_accept`` are the acceptor; ``begin_campaign``,
``_on_promise`` and ``_try_to_lead`` are phase 1; ``_lead``, ``propose_at`` and ``_on_accepted`` are phase 2;
``announced``, ``_on_learn`` and ``_apply`` are the learner. Around it stand ``electing.py`` (who leads), ``ordering.py``
(commands in order and once), ``reading.py`` (linearizable reads), ``birth.py`` (slot 1). What each of them remembers has
a file of its own: ``acceptor.py``, ``leader.py``, ``election.py``, ``ledger.py``, ``catchup.py``, ``forwarding.py``,
``applying.py``, ``reads.py``.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from multipaxos.core import birth, electing, ordering, reading
from multipaxos.core.acceptor import Acceptor
from multipaxos.core.applying import Applying
from multipaxos.core.ballot import (
    NO_BALLOT,
    ROUND_LEAP_MAX,
    ROUND_LIMIT,
    Ballot,
    ReplicaId,
    Slot,
    next_ballot,
    owner_of,
    round_of,
)
from multipaxos.core.catchup import Catchup, answer_fetch
from multipaxos.core.decree import (
    Decree,
    encode_batch,
    encode_epoch,
)
from multipaxos.core.effects import Effects
from multipaxos.core.election import CANDIDATE, FOLLOWER, LEADER, Election
from multipaxos.core.forwarding import Forwarding
from multipaxos.core.inputs import Disk, Input, PeerDown, PeerUp, Read, Submit, Wall
from multipaxos.core.leader import Campaign, Leadership, Proposal
from multipaxos.core.ledger import Ledger
from multipaxos.core.membership import Configuration, Membership
from multipaxos.core.messages import (
    Accept,
    Accepted,
    CampaignNow,
    Echo,
    Fetch,
    Forward,
    Heartbeat,
    Inquire,
    Inquired,
    Learn,
    Message,
    Nack,
    Prefix,
    Prepare,
    Probe,
    ProbeAnswer,
    Promise,
    PValue,
    ReadAnswer,
    ReadQuery,
    Settled,
)
from multipaxos.core.reads import Reads
from multipaxos.core.records import (
    AcceptedRecord,
    LearnedRecord,
    MarkRecord,
    PromisedRecord,
    Record,
)
from multipaxos.core.settings import Settings

RETRIES_PER_TURN: Final = 8
"""Open proposals asked for again in one turn at the most, the lowest first: they are what everything else waits for."""


class Replica:
    """One replica of one ledger.

    ``listed`` is the configuration it was started with: where to look until slot 1 says who votes (rule-R40). ``mark``
    names its data directory, ``incarnation`` grows with each start, ``start`` is a random 64-bit number drawn at this
    start (rule-R8). ``now`` is always integer nanoseconds of the boot-time clock, above 0, read after the input was
    received (rule-R22); ``drawn`` a random integer below 2**32, drawn anew for each step.
    """

    def __init__(
        self,
        replica: ReplicaId,
        listed: Configuration,
        mark: int,
        incarnation: int,
        start: int,
        settings: Settings,
        listening: bool = False,
    ) -> None:
        self.id = replica
        self.mark = mark
        self.settings = settings
        self.listening = listening
        self.acceptor = Acceptor()
        self.ledger = Ledger()
        self.applying = Applying(replica, incarnation, start, listed)
        self.catchup = Catchup()
        self.election = Election()
        self.forwarding = Forwarding(replica, incarnation, start)
        self.reads = Reads(incarnation)
        self.campaign: Campaign | None = None  # phase 1 under way, or of the present leadership
        self.leadership: Leadership | None = None  # phase 2
        self.is_current = False  # applied a chosen prefix that a quorum-connected leader announced since the start
        self.current_at: Slot = -1  # that prefix; -1 before it was announced
        self._seen: Ballot = NO_BALLOT  # the highest ballot named by anybody, for the next one of our own (rule-R1)
        self.others: tuple[ReplicaId, ...] = ()
        self._drawn = 0
        self._wall_offset_ms = 0
        self._oldest_write_at = 0
        self.announced_prefix: Slot = 0  # what the members were last told, as leader
        self._marked_prefix: Slot = 0  # what the journal was last told
        self.handover_rests_until = 0
        self._refresh_others()

    # ---------------------------------------------------------------- what the outside may ask

    @property
    def membership(self) -> Membership:
        """Which configuration governs a slot."""
        return self.applying.membership

    @property
    def standing(self) -> str:
        """follower, candidate or leader: phase 1 not begun, under way, complete."""
        if self.leadership is not None:
            return LEADER
        return CANDIDATE if self.campaign is not None else FOLLOWER

    @property
    def is_leading(self) -> bool:
        """Leads, and its own epoch decree is applied: takes commands, decides, answers reads (rule-R12)."""
        return self.leadership is not None and self.leadership.is_reigning

    @property
    def leader_ballot(self) -> Ballot:
        """The ballot of the leader followed, or NO_BALLOT."""
        return self.election.leader_ballot

    @property
    def leader(self) -> ReplicaId:
        """The leader followed (this replica itself while it leads), 0 where none is known."""
        ballot = self.election.leader_ballot
        return 0 if ballot == NO_BALLOT else owner_of(ballot)

    @property
    def is_quorum_connected(self) -> bool:
        """As leader: whether an accept quorum echoes. As follower: what the leader last said of itself."""
        if self.leadership is not None:
            return self.leadership.is_quorum_connected
        return self.election.heard_is_connected

    @property
    def heartbeat_number(self) -> int:
        """Of the last heartbeat sent as leader, or heard from the leader followed."""
        return self.leadership.number if self.leadership is not None else self.election.heard_number()

    @property
    def confirmed_round(self) -> int:
        """As leader: the latest heartbeat confirmed by an accept quorum that promised nothing higher (rule-R19)."""
        return self.leadership.confirmed_round if self.leadership is not None else 0

    @property
    def next_serial(self) -> int:
        """The serial the next submitted command will get in this replica's stream."""
        return self.forwarding.next_serial

    @property
    def unapplied_bytes(self) -> int:
        """Bytes of own commands kept until applied; above the bound of the settings nothing more should be read."""
        return self.forwarding.unapplied_bytes

    @property
    def promised(self) -> Ballot:
        """The ballot promised."""
        return self.acceptor.promised

    @property
    def chosen_prefix(self) -> Slot:
        """This slot and all below are known here to be chosen."""
        return self.ledger.chosen_prefix

    @property
    def applied(self) -> Slot:
        """This slot and all below were handed to the state machine."""
        return self.ledger.applied

    @property
    def epoch(self) -> int:
        """The epoch as of the applied slot."""
        return self.applying.reign.epoch

    @property
    def reign(self) -> Ballot:
        """The ballot that began the epoch."""
        return self.applying.reign.ballot

    # ---------------------------------------------------------------- recovery and turns

    def recover(self, records: Iterable[Record]) -> Effects:
        """Take in what the journal holds, oldest first; may be called with one chunk after another.

        Slots below a recovered mark are applied again. A slot below it is taken from its learned record, else from its
        vote: the mark was written behind both (rule-R5).
        """
        effects = Effects(self.listening)
        for record in records:
            if isinstance(record, AcceptedRecord):
                self._restore_prefix(record.chosen_prefix, effects)
                if self.ledger.is_learned(record.slot):
                    self.acceptor.restore_promise(record.ballot)
                else:
                    self.acceptor.restore_vote(record.ballot, record.slot, record.decree)
            elif isinstance(record, PromisedRecord):
                self.acceptor.restore_promise(record.ballot)
            elif isinstance(record, LearnedRecord):
                self.ledger.learn(record.slot, record.ballot, record.decree)
                self.acceptor.votes.pop(record.slot, None)
                self._apply(effects, self.ledger.chosen_prefix)
            elif isinstance(record, MarkRecord):
                self._restore_prefix(record.chosen_prefix, effects)
        self._marked_prefix = self.ledger.chosen_prefix
        return effects

    def _restore_prefix(self, prefix: Slot, effects: Effects) -> None:
        for slot in range(self.ledger.chosen_prefix + 1, prefix + 1):
            if not self.ledger.is_learned(slot):
                ballot, decree = self.acceptor.votes.pop(slot)
                self.ledger.learn(slot, ballot, decree)
        self._apply(effects, self.ledger.chosen_prefix)

    def begin(self, now: int, drawn: int) -> Effects:
        """Arm the timers, after the last ``recover``. A probe raises no ballot, so a replica that starts need not wait a
        whole election timeout before it asks; a living leader is heard within one heartbeat."""
        self._drawn = drawn
        heartbeat = self.settings.heartbeat_ns
        is_alone = self.membership.newest().voters == (self.id,)
        self.election.suspect_at = now if is_alone else now + heartbeat + self.draw(2 * heartbeat)
        effects = self.step((), now, drawn)
        birth.check_mark(self, effects)
        return effects

    def step(self, inputs: Sequence[Input], now: int, drawn: int) -> Effects:
        """One turn: everything that came in since the last one. Batches are formed and slots applied at its end."""
        effects = Effects(self.listening)
        self._drawn = drawn
        for item in inputs:
            self._take(item, now, effects)
        self._timers(now, effects)
        self._finish(now, effects)
        effects.wake_at = self._wake_at(now)
        return effects

    def handle(self, message: Message, now: int, drawn: int = 0) -> Effects:
        """A turn that brought one message."""
        return self.step((message,), now, drawn)

    def tick(self, now: int, drawn: int = 0) -> Effects:
        """A turn that brought nothing but time."""
        return self.step((), now, drawn)

    def propose(self, commands: tuple[bytes, ...], now: int, drawn: int = 0) -> Effects:
        """A turn that brought commands of own clients."""
        return self.step((Submit(commands),), now, drawn)

    def _take(self, item: Input, now: int, effects: Effects) -> None:
        """Name the handler; hottest first."""
        if isinstance(item, Accept):
            self._on_accept(item, now, effects)
        elif isinstance(item, Accepted):
            self._on_accepted(item, effects)
        elif isinstance(item, Forward):
            ordering.on_forward(self, item, effects)
        elif isinstance(item, Prefix):
            self._on_prefix(item, effects)
        elif isinstance(item, Submit):
            self.forwarding.submit(item.commands, self.settings.batch_commands_max, self.settings.batch_bytes_max)
        elif isinstance(item, Heartbeat):
            electing.on_heartbeat(self, item, now, effects)
        elif isinstance(item, Echo):
            electing.on_echo(self, item, now, effects)
        elif isinstance(item, Read):
            self.reads.waiting.append(item.token)
        elif isinstance(item, ReadQuery):
            reading.on_read_query(self, item)
        elif isinstance(item, ReadAnswer):
            effects.note("read.slot", item.number, item.slot)
            self.reads.answer(item.number, item.slot)
        elif isinstance(item, Disk):
            self._oldest_write_at = item.oldest_write_at
        elif isinstance(item, Wall):
            self._wall_offset_ms = item.offset_ms
        elif isinstance(item, Prepare):
            self._on_prepare(item, now, effects)
        elif isinstance(item, Promise):
            self._on_promise(item, now, effects)
        elif isinstance(item, Nack):
            electing.on_nack(self, item, now, effects)
        elif isinstance(item, Settled):
            self._on_settled(item, now, effects)
        elif isinstance(item, Fetch):
            answer_fetch(self.id, item, self.ledger, self.settings.page_bytes_max, effects)
        elif isinstance(item, Learn):
            self._on_learn(item, now, effects)
        elif isinstance(item, Probe):
            electing.on_probe(self, item, now, effects)
        elif isinstance(item, ProbeAnswer):
            electing.on_probe_answer(self, item, now, effects)
        elif isinstance(item, Inquire):
            electing.on_inquire(self, item, effects)
        elif isinstance(item, Inquired):
            electing.on_inquired(self, item, now, effects)
        elif isinstance(item, CampaignNow):
            electing.on_campaign_now(self, item, now, effects)
        elif isinstance(item, PeerUp):
            electing.on_peer_up(self, item)
        elif isinstance(item, PeerDown):
            electing.on_peer_down(self, item, now, effects)
        else:
            electing.on_handover(self, item, now, effects)

    # ---------------------------------------------------------------- the acceptor

    def _on_prepare(self, message: Prepare, now: int, effects: Effects) -> None:
        ballot = message.ballot
        if self.is_leap(ballot, message.sender, effects):
            return
        self.catchup.hear(message.chosen_prefix, message.sender)  # catch-up goes both ways (PTP 3.1)
        promised = self.acceptor.promised
        if not self.acceptor.may_promise(ballot):
            effects.note("acceptor.prepare.nack", ballot, promised)
            effects.send(message.sender, Nack(self.id, ballot, promised, 0, NO_BALLOT))
            return
        protected = electing.protected_leader(self, now)
        if (
            protected != NO_BALLOT
            and ballot > promised
            and owner_of(protected) != message.sender
            and message.handover != protected
        ):
            effects.note("acceptor.prepare.sticky", ballot, protected)
            effects.send(message.sender, Nack(self.id, ballot, promised, 0, protected))
            return
        if self.acceptor.promise(ballot):
            effects.note("acceptor.prepare.promise", ballot, promised, message.first)
            effects.write(PromisedRecord(ballot))
            if self.campaign is not None and self.leadership is None:
                effects.note("election.yield", self.campaign.ballot, ballot)
                self.campaign = None  # our own acceptor has no vote for it any more
            # Give the candidate the time of an election before suspecting anybody.
            electing.restart_suspicion(self, now)
        else:
            effects.note("acceptor.prepare.repeat", ballot)
        self._send_promise(message.sender, ballot, message.first, effects)
        if self.leadership is not None and message.handover == self.leadership.ballot:
            self.stand_down(now)  # our own hand-over: the successor has our promise

    def _send_promise(self, to: ReplicaId, ballot: Ballot, first: Slot, effects: Effects) -> None:
        """Say what was accepted from ``first`` on, in pages cut from one state (rule-R3). Every page asserts the promise,
        so every page waits for the journal, also of a repeat that wrote nothing (rule-R33)."""
        ledger = self.ledger
        prefix = ledger.chosen_prefix
        reported: dict[Slot, tuple[Ballot, Decree]] = {
            slot: vote for slot, vote in self.acceptor.votes.items() if slot > prefix
        }
        for slot in ledger.learned_above_prefix():
            # A chosen decree is what any later ballot must propose; saying so at the ballot it was chosen at is true.
            reported[slot] = (ledger.chosen_at(slot), ledger.decree(slot))
        slots = sorted(slot for slot in reported if slot >= first)
        end = max(slots, default=first - 1)
        pages: list[list[PValue]] = [[]]
        size = 0
        for slot in slots:
            vote_ballot, decree = reported[slot]
            if pages[-1] and size + len(decree) > self.settings.page_bytes_max:
                pages.append([])
                size = 0
            pages[-1].append(PValue(vote_ballot, slot, decree))
            size += len(decree) + 32
        page_first = first
        for index, page in enumerate(pages):
            page_last = end if index == len(pages) - 1 else page[-1].slot
            effects.send_when_durable(
                to, Promise(self.id, self.mark, ballot, first, page_first, page_last, end, prefix, tuple(page))
            )
            page_first = page_last + 1

    def _on_accept(self, message: Accept, now: int, effects: Effects) -> None:
        ballot = message.ballot
        slot = message.slot
        if self.is_leap(ballot, message.sender, effects):
            return
        promised = self.acceptor.promised
        if not self.acceptor.may_accept(ballot):
            effects.note("acceptor.accept.nack", ballot, slot, promised)
            effects.send(message.sender, Nack(self.id, ballot, promised, slot, NO_BALLOT))
        elif self.ledger.is_learned(slot):
            # Below the floor, or learned: an answer, but not a vote (rule-R33).
            chosen_at = self.ledger.chosen_at(slot)
            if effects.listening:
                effects.note("acceptor.accept.settled", ballot, slot, chosen_at)
            effects.send_when_durable(
                message.sender, Settled(self.id, ballot, slot, chosen_at, self.ledger.chosen_prefix)
            )
        elif slot == 1 and not birth.is_registered_by(self, message.decree, effects):
            return
        elif self.acceptor.contradicts(ballot, slot, message.decree):
            effects.note("message.contradiction", message.sender, ballot, slot)
            effects.malformed.append(message.sender)
            return
        else:
            self._vote(ballot, slot, message.decree, effects)
            # A repeat writes nothing, yet waits like the first: for the journal position reached by now (rule-R33).
            effects.send_when_durable(message.sender, Accepted(self.id, ballot, slot))
            assert self.acceptor.ballot_at(slot) == self.acceptor.promised, "PMMC A2"
        electing.hear_of_leader(self, ballot, now, effects)
        self.announced(ballot, message.chosen_prefix, message.sender, effects)

    def _vote(self, ballot: Ballot, slot: Slot, decree: Decree, effects: Effects) -> None:
        """Accept (ballot, slot, decree). One record carries vote and promise: recovery raises the promise to the highest
        ballot it finds accepted, or a restart could step back below it and break PMMC A1."""
        promised = self.acceptor.promised
        if self.acceptor.accept(ballot, slot, decree):
            if effects.listening:
                effects.note("acceptor.accept.vote", ballot, slot, promised)
            prefix = self.ledger.chosen_prefix
            effects.write(AcceptedRecord(ballot, slot, decree, prefix))
            self._marked_prefix = prefix
        elif effects.listening:
            effects.note("acceptor.accept.repeat", ballot, slot)

    # ---------------------------------------------------------------- the proposer, phase 1

    def begin_campaign(self, handover: Ballot, now: int, effects: Effects) -> None:
        """Begin phase 1 at a new ballot, for all open slots at once (PMS 3)."""
        ballot = next_ballot(self.id, max(self.acceptor.promised, self._seen))
        assert round_of(ballot) < ROUND_LIMIT, "rule-R1"
        self.end_leadership()
        first = self.ledger.chosen_prefix + 1
        self.campaign = Campaign(ballot, first, handover)
        self.election.end_probe()
        # Each campaign in a row lasts longer: its promise and those of the others must get onto disks, which may be slow.
        # It holds up nobody: prepares are sent again all the while, and a nack or a heartbeat above ends it.
        self.election.campaign_until = now + (self.settings.election_max_ns << min(self.election.failures, 3))
        effects.note("election.campaign", ballot, first)
        # The own promise is the durable record of the ballot issued: it is on the disk before the first prepare leaves,
        # so a restart can never use this ballot again (rule-R1). Our own acceptor promises like any other.
        self.acceptor.promise(ballot)
        effects.write(PromisedRecord(ballot))
        self._send_promise(self.id, ballot, first, effects)
        self._send_prepare(now, effects)

    def _send_prepare(self, now: int, effects: Effects) -> None:
        """Ask every voter in force that has not promised yet, those a reconfiguration brings included (rule-R2)."""
        campaign = self.campaign
        assert campaign is not None
        self.election.prepare_again_at = now + self.settings.retry_ns
        prepare = Prepare(self.id, campaign.ballot, campaign.first, self.ledger.chosen_prefix, campaign.handover)
        for voter in self.voters_in_force():
            if voter != self.id and voter not in campaign.promised:
                effects.send_when_durable(voter, prepare)

    def _on_promise(self, message: Promise, now: int, effects: Effects) -> None:
        campaign = self.campaign
        if campaign is None or message.ballot != campaign.ballot or message.first != campaign.first:
            return  # of another ballot: counted there or nowhere (bug-A03)
        highest = max((pvalue.ballot for pvalue in message.pvalues), default=NO_BALLOT)
        if self.is_leap(highest, message.sender, effects):
            return
        member = self.membership.newest().member(message.sender)
        if self.membership.is_born and (member is None or member.mark not in (0, message.mark)):
            effects.note("candidate.promise.stranger", message.sender, message.mark)
            return
        self.catchup.hear(message.chosen_prefix, message.sender)
        if campaign.hear(message):
            effects.note("candidate.promise.whole", message.sender, message.ballot, message.chosen_prefix)
            # Progress: the own promise must be durable before a prepare leaves, and those of others before they answer.
            until = now + self.settings.election_max_ns
            self.election.campaign_until = max(self.election.campaign_until, until)
        else:
            effects.note("candidate.promise.page", message.sender, message.page_first, message.page_last, message.end)

    def _try_to_lead(self, now: int, effects: Effects) -> None:
        """Phase 1 is complete when prepare quorums of every configuration that governs an open slot have promised, and
        all that any of them knows to be chosen is applied here (rule-R2, rule-R4)."""
        campaign = self.campaign
        assert campaign is not None and self.leadership is None
        above = campaign.highest_report()
        if above > campaign.ballot:
            effects.note("candidate.passed", campaign.ballot, above)
            self.see(above)
            self._give_up_campaign(now)
            return
        for configuration in self.configurations_in_force():
            if not configuration.quorum.is_prepare_quorum(campaign.promised):
                return
        prefix, whose = campaign.highest_prefix()
        if prefix > self.ledger.chosen_prefix:
            effects.note("candidate.behind", prefix, whose)
            self.catchup.hear(prefix, whose)
            return
        if self.ledger.applied < self.ledger.chosen_prefix:
            return  # which configuration governs the open slots is known only when all below is applied
        learned = self.ledger.learned_above_prefix()
        adopted = campaign.to_propose(self.ledger.chosen_prefix, learned[-1] if learned else 0)
        next_slot = adopted[-1][0] + 1 if adopted else self.ledger.chosen_prefix + 1
        self.leadership = Leadership(campaign.ballot, adopted, next_slot, now)
        self.announced_prefix = 0
        self.election.leader_ballot = campaign.ballot
        self.election.failures = 0
        self.election.end_probe()
        effects.note("leader.begin", campaign.ballot, len(adopted), next_slot)
        electing.beat(self, True, now, effects)

    def _give_up_campaign(self, now: int) -> None:
        """Back to following; the next attempt waits longer, and a drawn time, so that duels end (trap S18, K9)."""
        self.campaign = None
        election = self.election
        election.failures = min(election.failures + 1, 5)
        heartbeat = self.settings.heartbeat_ns
        election.suspect_at = now + heartbeat // 2 + self.draw(heartbeat << election.failures)

    # ---------------------------------------------------------------- the proposer, phase 2

    def _lead(self, now: int, effects: Effects) -> None:
        """What a leader does at the end of a turn: what phase 1 found first, its epoch decree, then commands."""
        leadership = self.leadership
        assert leadership is not None
        limit = self.membership.limit(self.ledger.applied)
        while leadership.adopted and leadership.adopted[0][0] <= limit:
            slot, decree = leadership.adopted.popleft()
            if not self.ledger.is_learned(slot):
                self._note_adopted(slot, effects)
                self.propose_at(slot, decree, now, effects)
        if not leadership.adopted:
            if not self.membership.is_born:
                birth.propose_birth(self, now, effects)
            elif leadership.began_epoch_slot == 0 and leadership.next_slot <= limit:
                slot = self._next_slot(leadership)
                leadership.began_epoch_slot = slot
                effects.note("leader.epoch", slot, leadership.ballot)
                self.propose_at(slot, encode_epoch(self.wall_ms(now), leadership.ballot), now, effects)
        if leadership is not self.leadership:
            return  # the birth was chosen already, in the eyes of somebody this leadership had not heard
        if leadership.handover_target:
            electing.hand_over(self, now, effects)
        elif leadership.is_reigning:
            self._propose_batches(limit, now, effects)
        if leadership is self.leadership:
            self._announce(effects)
            reading.run_reads(self, now, effects)

    def _note_adopted(self, slot: Slot, effects: Effects) -> None:
        if not effects.listening or self.campaign is None:
            return
        report = self.campaign.reported.get(slot)
        if report is None:
            effects.note("leader.fill", slot)
        else:
            effects.note("leader.adopt", slot, report[0])

    def _propose_batches(self, limit: Slot, now: int, effects: Effects) -> None:
        """One turn's arrivals form a batch at once while fewer than ``pipeline`` slots are proposed and not yet chosen;
        otherwise they gather (rule-R54). Chosen, not synced here: a hung disk of the leader must not stop it."""
        leadership = self.leadership
        assert leadership is not None
        settings = self.settings
        pending = leadership.pending
        while pending and len(leadership.open) < settings.pipeline and leadership.next_slot <= limit:
            segments: list[bytes] = []
            size = 0
            count = 0
            while pending:
                segment = pending[0]
                commands = int.from_bytes(segment[22:26], "big")  # the count field of SEGMENT
                is_full = (
                    size + len(segment) > settings.batch_bytes_max or count + commands > settings.batch_commands_max
                )
                if segments and is_full:
                    break
                segments.append(pending.popleft())
                size += len(segment)
                count += commands
            leadership.pending_bytes -= size
            slot = self._next_slot(leadership)
            if effects.listening:
                effects.note("leader.propose", slot, leadership.ballot, len(segments))
            self.propose_at(slot, encode_batch(self.wall_ms(now), segments), now, effects)

    def _next_slot(self, leadership: Leadership) -> Slot:
        slot = leadership.next_slot
        leadership.next_slot = slot + 1
        return slot

    def propose_at(self, slot: Slot, decree: Decree, now: int, effects: Effects) -> None:
        """Phase 2: ask everybody to accept. Our own acceptor votes like any other, and its vote counts when its own sync
        has returned (trap-T16)."""
        leadership = self.leadership
        assert leadership is not None and slot not in leadership.open
        assert slot <= self.membership.limit(self.ledger.applied), "rule-R7"
        prefix = self.ledger.chosen_prefix
        accept = Accept(self.id, leadership.ballot, slot, decree, prefix)
        retry_ns = self.settings.retry_ns
        leadership.open[slot] = Proposal(accept, now + retry_ns, retry_ns)
        for other in self.others:
            effects.send(other, accept)
        self.announced_prefix = prefix
        self._vote_for_own(accept, now, effects)

    def _vote_for_own(self, accept: Accept, now: int, effects: Effects) -> None:
        """The leader's vote is a message to itself that waits for its own disk: no special case. A disk that stands
        still costs this vote and nothing else: what it did not vote for it later learns (rule-R31)."""
        if self.acceptor.promised > accept.ballot:
            electing.hear_of_higher(self, self.acceptor.promised, now, effects)
            return
        age_ns = self.disk_age_ns(now)
        if age_ns > self.settings.disk_stall_ns:
            effects.note("leader.no_vote", accept.slot, age_ns)
            return
        self._vote(accept.ballot, accept.slot, accept.decree, effects)
        effects.send_when_durable(self.id, Accepted(self.id, accept.ballot, accept.slot))

    def _on_accepted(self, message: Accepted, effects: Effects) -> None:
        leadership = self.leadership
        if leadership is None or message.ballot != leadership.ballot:
            return
        proposal = leadership.open.get(message.slot)
        if proposal is None:
            return  # chosen already
        quorum = self.membership.governing(message.slot).quorum
        if message.sender not in quorum.voters:
            effects.note("leader.vote.stranger", message.slot, message.sender)
            return
        proposal.votes.add(message.sender)
        if effects.listening:
            effects.note("leader.vote", message.slot, message.sender, len(proposal.votes))
        if quorum.is_accept_quorum(proposal.votes):
            if effects.listening:
                effects.note("leader.chosen", message.slot, leadership.ballot)
            self._learn(message.slot, leadership.ballot, proposal.accept.decree, effects)

    def _on_settled(self, message: Settled, now: int, effects: Effects) -> None:
        leadership = self.leadership
        if leadership is None or message.ballot != leadership.ballot:
            return
        proposal = leadership.open.get(message.slot)
        chosen_at = message.chosen_at
        if proposal is None or self.is_leap(chosen_at, message.sender, effects):
            return
        if chosen_at == NO_BALLOT or chosen_at > leadership.ballot:
            effects.note("leader.chosen_above", leadership.ballot, chosen_at, message.slot)
            self.see(chosen_at)
            # Below somebody's floor it would be so at the next ballot as well: what is missing here is fetched first.
            self.catchup.hear(message.chosen_prefix, message.sender)
            self.stand_down(now)
            return
        # Chosen at a ballot up to ours: what we propose there is safe at our ballot, so it is that decree (PMS P2).
        effects.note("leader.settled", message.slot, leadership.ballot, chosen_at)
        self._learn(message.slot, chosen_at, proposal.accept.decree, effects)

    def _announce(self, effects: Effects) -> None:
        """Tell the members the chosen prefix at once when nothing carried it: a client behind a follower must not wait
        for a heartbeat (rule-R5)."""
        leadership = self.leadership
        assert leadership is not None
        prefix = self.ledger.chosen_prefix
        if prefix > self.announced_prefix:
            self.announced_prefix = prefix
            message = Prefix(self.id, leadership.ballot, prefix)
            for other in self.others:
                effects.send(other, message)

    def _retry_open(self, now: int, effects: Effects) -> None:
        """Ask again those who have not voted, ever more rarely: a slow disk is not helped by repetition (PMS 3, S24)."""
        leadership = self.leadership
        assert leadership is not None
        for slot in sorted(leadership.open)[:RETRIES_PER_TURN]:
            proposal = leadership.open[slot]
            if now < proposal.retry_at:
                continue
            proposal.retry_ns = min(2 * proposal.retry_ns, self.settings.election_max_ns)
            proposal.retry_at = now + proposal.retry_ns
            waiting = [other for other in self.others if other not in proposal.votes]
            effects.note("leader.retry", slot, waiting)
            for other in waiting:
                effects.send(other, proposal.accept)
            if self.id not in proposal.votes and self.id in self.membership.governing(slot).voters:
                self._vote_for_own(proposal.accept, now, effects)

    # ---------------------------------------------------------------- the learner

    def announced(self, ballot: Ballot, prefix: Slot, sender: ReplicaId, effects: Effects) -> None:
        """The leader of ``ballot`` knows all slots up to ``prefix`` to be chosen. That says which, not what: a slot is
        learned from the own vote only where that vote was accepted at this very ballot (rule-R5, trap-T26)."""
        ledger = self.ledger
        if prefix <= ledger.chosen_prefix:
            return
        votes = self.acceptor.votes
        slot = ledger.chosen_prefix + 1
        while slot <= prefix:
            if not ledger.is_learned(slot):
                vote = votes.get(slot)
                if vote is None or vote[0] != ballot:
                    break
                if effects.listening:
                    effects.note("learn.vote", slot, ballot)
                self._learn(slot, ballot, vote[1], effects)
            slot += 1
        if ledger.chosen_prefix < prefix:
            self.catchup.hear(prefix, sender)

    def _learn(self, slot: Slot, ballot: Ballot, decree: Decree, effects: Effects) -> None:
        """``decree`` was chosen in ``slot`` at ``ballot``. Unless our own vote at that ballot or a higher one says so
        already, it is journalled as learned: a mark of the chosen prefix covers only what stands in the journal."""
        if self.ledger.is_learned(slot):
            return
        if self.acceptor.ballot_at(slot) < ballot:
            effects.write(LearnedRecord(ballot, slot, decree))
        self.ledger.learn(slot, ballot, decree)
        # No promise reports a settled slot and no accept for it is a vote any more, so memory can let the vote go.
        self.acceptor.votes.pop(slot, None)
        if self.leadership is not None:
            self.leadership.open.pop(slot, None)

    def _on_prefix(self, message: Prefix, effects: Effects) -> None:
        self.announced(message.ballot, message.chosen_prefix, message.sender, effects)

    def _on_learn(self, message: Learn, now: int, effects: Effects) -> None:
        highest = max((ballot for _, ballot, _ in message.items), default=NO_BALLOT)
        if self.is_leap(highest, message.sender, effects):
            return
        is_news = False
        for slot, ballot, sent in message.items:
            decree = sent
            if self.ledger.is_learned(slot):
                continue
            if decree is None:
                vote = self.acceptor.votes.get(slot)
                if vote is None or vote[0] < ballot:
                    continue
                decree = vote[1]
            if effects.listening:
                effects.note("learn.fetched", slot, ballot, message.sender)
            leadership = self.leadership
            if leadership is not None and ballot > leadership.ballot:
                effects.note("leader.chosen_above", leadership.ballot, ballot, slot)
                self.see(ballot)
                self.stand_down(now)
            self._learn(slot, ballot, decree, effects)
            is_news = True
        self.catchup.hear(message.chosen_prefix, message.sender)
        if not is_news:
            return  # a repeat: were it to call for the next page, each page fetched twice would double all that follow
        self.catchup.asked_until = 0
        self.catchup.unanswered = 0
        if self.campaign is not None:
            # Fetching is progress: a candidate that is behind goes on while answers come.
            self.election.campaign_until = max(self.election.campaign_until, now + 2 * self.settings.retry_ns)

    def _apply(self, effects: Effects, upto: Slot, commands_max: int = 0) -> None:
        """Hand chosen slots to the state machine, in order, each once (I7); with ``commands_max`` no further slot once so
        many commands are handed over."""
        ledger = self.ledger
        commands = 0
        while ledger.applied < upto and (not commands_max or commands < commands_max):
            slot = ledger.applied + 1
            applied = self.applying.apply(slot, ledger.decree(slot), effects)
            ledger.applied = slot
            effects.applied.append(applied)
            commands += len(applied.commands)
            if applied.configuration is not None:
                self._refresh_others()
                birth.check_mark(self, effects)
                if slot == 1:
                    birth.disown_strangers(self, effects)
            leadership = self.leadership
            if leadership is not None and slot == leadership.began_epoch_slot:
                self._begin_reign(applied.reign, effects)
        ledger.trim(self.settings.ledger_bytes_max, self.settings.ledger_runs_max)

    def _begin_reign(self, reign: Ballot, effects: Effects) -> None:
        leadership = self.leadership
        assert leadership is not None
        if reign != leadership.ballot:
            effects.note("leader.passed", leadership.ballot, reign)
            self.end_leadership()
            return
        effects.note("leader.reign", self.applying.reign.epoch, reign)
        leadership.is_reigning = True
        leadership.streams = self.applying.streams.copy()
        self.is_current = True

    # ---------------------------------------------------------------- timers and the end of a turn

    def _timers(self, now: int, effects: Effects) -> None:
        leadership = self.leadership
        election = self.election
        if leadership is not None:
            if now >= leadership.heartbeat_at:
                leadership.count_connected(self.configurations_in_force(), now)
                silent_ns = now - leadership.connected_at
                if silent_ns >= self.settings.election_max_ns:
                    effects.note("leader.quorum_lost", leadership.ballot, silent_ns)
                    self.stand_down(now)
                    return
                electing.beat(self, True, now, effects)
                electing.watch_own_disk(self, now, effects)
            if leadership.inquired != NO_BALLOT and now >= leadership.inquired_until > 0:
                effects.note("leader.inquire.dead", leadership.ballot, leadership.inquired)
                self.begin_campaign(NO_BALLOT, now, effects)
                return
            self._retry_open(now, effects)
            if not self.membership.is_born and now >= election.prepare_again_at:
                self._send_prepare(now, effects)  # the birth waits for every first voter
        elif self.campaign is not None:
            if now >= election.campaign_until:
                effects.note("election.campaign.failed", self.campaign.ballot, sorted(self.campaign.promised))
                self._give_up_campaign(now)
            elif now >= election.prepare_again_at:
                self._send_prepare(now, effects)
        elif election.is_probing:
            if now >= election.probe_until:
                electing.end_probe_in_vain(self, now, effects)
        elif election.suspect_at and now >= election.suspect_at:
            electing.suspect(self, now, effects)

    def _finish(self, now: int, effects: Effects) -> None:
        """The end of a turn: apply, forward, propose, ask for what is missing, in this order."""
        settings = self.settings
        ledger = self.ledger
        if ledger.applied < ledger.chosen_prefix:
            upto = min(ledger.chosen_prefix, ledger.applied + settings.apply_slots_max)
            self._apply(effects, upto, settings.apply_commands_max)
            if self.forwarding.applied(self.applying.own_serial):
                self.forwarding.progress_at = now
        ordering.forward(self, now, effects)
        if self.campaign is not None and self.leadership is None:
            self._try_to_lead(now, effects)
        if self.leadership is not None:
            self._lead(now, effects)
        if self.leadership is None:
            reading.ask_reads(self, now, effects)
            self._fetch(now, effects)
        readable = self.reads.take_readable(ledger.applied)
        if readable:
            effects.readable.extend(readable)
        if not self.is_current and 0 <= self.current_at <= ledger.applied:
            self.is_current = True
        if effects.writes and self._marked_prefix < ledger.chosen_prefix:
            self._marked_prefix = ledger.chosen_prefix
            effects.write(MarkRecord(ledger.chosen_prefix))

    def _fetch(self, now: int, effects: Effects) -> None:
        """Ask for what is known to be chosen and is not here (rule-R5, rule-R32). One fetch at a time."""
        catchup = self.catchup
        if catchup.target <= self.ledger.chosen_prefix or now < catchup.asked_until or not catchup.source:
            return
        catchup.asked_until = now + self.settings.retry_ns
        fetch = catchup.fetch(self.id, self.acceptor, self.ledger)
        asked = catchup.ask_whom(self.others)
        effects.note("learn.fetch", fetch.first, fetch.last, asked)
        effects.send(asked, fetch)

    def _wake_at(self, now: int) -> int:
        """When the next turn is due at the latest."""
        leadership = self.leadership
        election = self.election
        if self.ledger.applied < self.ledger.chosen_prefix:
            return now
        if leadership is not None:
            wake_at = leadership.heartbeat_at
            for slot in sorted(leadership.open)[:RETRIES_PER_TURN]:
                wake_at = min(wake_at, leadership.open[slot].retry_at)
            if leadership.inquired != NO_BALLOT and leadership.inquired_until:
                wake_at = min(wake_at, leadership.inquired_until)
        elif self.campaign is not None:
            wake_at = min(election.campaign_until, election.prepare_again_at)
        elif election.is_probing:
            wake_at = election.probe_until
        else:
            wake_at = election.suspect_at
        if self.forwarding.progress_at and self.applying.reign.ballot == self.election.leader_ballot:
            # Only then would the turn send anything again; without a leader it would come at once, for ever.
            wake_at = min(wake_at, self.forwarding.progress_at + self.settings.election_max_ns)
        if leadership is None and self.catchup.target > self.ledger.chosen_prefix:
            wake_at = min(wake_at, self.catchup.asked_until)
        return max(wake_at, now + 1)

    # ---------------------------------------------------------------- small parts

    def stand_down(self, now: int) -> None:
        """End a leadership or campaign and follow; whoever is above will be heard."""
        self.end_leadership()
        electing.restart_suspicion(self, now)

    def end_leadership(self) -> None:
        """End a leadership or campaign; the timer of suspicion goes on as it stands."""
        leadership = self.leadership
        self.leadership = None
        self.campaign = None
        if leadership is None:
            return
        # Local reads go back to where they came from; peers ask again by themselves.
        self.reads.waiting.extend(read.token for read in leadership.reads if read.requester == self.id)
        if self.election.leader_ballot == leadership.ballot:
            self.election.leader_ballot = NO_BALLOT
            self.election.heard_is_connected = False
        self.catchup.asked_until = 0

    def see(self, ballot: Ballot) -> None:
        if ballot > self._seen:
            self._seen = ballot

    def is_leap(self, ballot: Ballot, sender: ReplicaId, effects: Effects) -> bool:
        """Whether ``ballot`` is further ahead than any honest one: one garbled number must not use up all (rule-R1)."""
        known = max(self.acceptor.promised, self._seen, 0)
        if round_of(ballot) - round_of(known) <= ROUND_LEAP_MAX:
            return False
        effects.note("message.leap", sender, ballot)
        effects.malformed.append(sender)
        return True

    def configurations_in_force(self) -> list[Configuration]:
        """Every configuration that governs a slot in (applied, applied + window]."""
        applied = self.ledger.applied
        return self.membership.governing_between(applied + 1, self.membership.limit(applied))

    def voters_in_force(self) -> list[ReplicaId]:
        voters: set[ReplicaId] = set()
        for configuration in self.configurations_in_force():
            voters.update(configuration.voters)
        return sorted(voters)

    def _refresh_others(self) -> None:
        members: set[ReplicaId] = {member.id for member in self.membership.newest().members}
        for configuration in self.configurations_in_force():
            members.update(member.id for member in configuration.members)
        members.discard(self.id)
        self.others = tuple(sorted(members))

    def disk_age_ns(self, now: int) -> int:
        """Age of the oldest write that is not durable yet, 0 for none."""
        return max(0, now - self._oldest_write_at) if self._oldest_write_at else 0

    def wall_ms(self, now: int) -> int:
        return self._wall_offset_ms + now // 1_000_000

    def draw(self, bound: int) -> int:
        """A number in [0, bound) from the one drawn for this step; different for each call within it."""
        self._drawn = (self._drawn * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self._drawn >> 33) % bound if bound > 0 else 0

    def check(self) -> None:
        """Assert what must hold of this replica alone, whatever happened; tests and simulator call it after each step."""
        ledger = self.ledger
        assert ledger.base <= ledger.applied <= ledger.chosen_prefix, "I9"
        for slot, (ballot, _) in self.acceptor.votes.items():
            assert ballot <= self.acceptor.promised, "I3: accepted ballot <= promised"
            assert slot > ledger.chosen_prefix, "settled slots hold no vote"
        leadership = self.leadership
        if leadership is not None:
            assert self.campaign is not None and self.campaign.ballot == leadership.ballot
            assert owner_of(leadership.ballot) == self.id, "rule-R1"
            assert self.election.leader_ballot >= leadership.ballot, "rule-R6"
            for slot, proposal in leadership.open.items():
                assert slot < leadership.next_slot
                assert proposal.accept.ballot == leadership.ballot, "I1"
                assert not ledger.is_learned(slot), "an open slot is not yet chosen"
                assert slot <= self.membership.limit(ledger.applied), "rule-R7"
        assert self.forwarding.next_serial > self.applying.own_serial, "rule-R8"

    def clone(self) -> "Replica":
        """An independent copy: whatever happens to one leaves the other as it was. Values are shared."""
        forwarding = self.forwarding
        cloned = Replica(
            self.id, self.membership.newest(), self.mark, forwarding.incarnation, forwarding.start, self.settings,
            self.listening,
        )  # fmt: skip
        cloned.acceptor = self.acceptor.clone()
        cloned.ledger = self.ledger.clone()
        cloned.applying = self.applying.clone()
        cloned.catchup = self.catchup.clone()
        cloned.election = self.election.clone()
        cloned.forwarding = forwarding.clone()
        cloned.reads = self.reads.clone()
        cloned.campaign = None if self.campaign is None else self.campaign.clone()
        cloned.leadership = None if self.leadership is None else self.leadership.clone()
        cloned.is_current = self.is_current
        cloned.current_at = self.current_at
        cloned._seen = self._seen
        cloned.others = self.others
        cloned._drawn = self._drawn
        cloned._wall_offset_ms = self._wall_offset_ms
        cloned._oldest_write_at = self._oldest_write_at
        cloned.announced_prefix = self.announced_prefix
        cloned._marked_prefix = self._marked_prefix
        cloned.handover_rests_until = self.handover_rests_until
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as nested tuples of plain values: equal in every process and every run.

        Deadlines and stamps are seen as set or not set. So two replicas of equal fingerprints, with the same settings,
        give the same effects for the same inputs wherever *any armed timer may run out at any moment*, the time itself
        (wake, ages) aside. What is left out, and why, stands in ``tests/core/test_clone.py``, attribute by attribute.
        """
        campaign = self.campaign
        leadership = self.leadership
        prefix = self.ledger.chosen_prefix
        if campaign is None:
            campaigning: tuple[object, ...] = ()
        elif leadership is not None and self.membership.is_born:
            campaigning = (campaign.ballot, campaign.first)  # phase 1 is over: promises still heard lead to nothing
        else:
            campaigning = campaign.fingerprint()
        return (
            self.id,
            self.mark,
            self.acceptor.fingerprint(),
            self.ledger.fingerprint(),
            self.applying.fingerprint(),
            self.catchup.fingerprint(prefix, len(self.others)),
            self.election.fingerprint(),
            self.forwarding.fingerprint(),
            self.reads.fingerprint(),
            campaigning,
            () if leadership is None else leadership.fingerprint(),
            max(self.acceptor.promised, self._seen),
            self._wall_offset_ms,
            self._oldest_write_at != 0,
            self._marked_prefix < prefix,
            0 if leadership is None else self.announced_prefix,
            self.handover_rests_until != 0,
        )
