"""What must hold in every run: the invariants of ``docs/invariants.md``, checked step by step by an all-knowing oracle.

The oracle sees every record the moment it is handed to a disk and again when a sync makes it durable, every message
when it leaves a process and when it arrives, and every slot a replica applies. From the durable votes alone it knows
what is chosen, before any replica does. It keeps its own, slow and obvious account of what the core computes cleverly:
quorums by counting, the choice of a new ballot by trying every quorum of promises, order-and-once by a dictionary.

Every finding is a ``Violation`` that names its invariant. Client histories are checked in ``history.py``.
"""

from itertools import combinations

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot, ballot_text, owner_of
from multipaxos.core.decree import (
    KIND_BATCH,
    KIND_CONFIGURATION,
    KIND_EPOCH,
    KIND_NOOP,
    NOOP,
    Decree,
    commands_of,
    configuration_text_of,
    epoch_ballot_of,
    kind_of,
    segments_of,
    wall_of,
)
from multipaxos.core.effects import Applied
from multipaxos.core.membership import Configuration, decode_configuration
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
    ReadAnswer,
    ReadQuery,
    Settled,
)
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, PromisedRecord, Record

_SAYS_NOTHING = (Echo, Forward, Probe, ProbeAnswer, Fetch, Inquire, Inquired, CampaignNow, ReadQuery, ReadAnswer, Nack)
"""Messages that state nothing of what is durable or chosen; hints, and what carries its own check."""

_NOTHING: tuple[Ballot, Decree] = (NO_BALLOT, b"")

Executed = tuple[ReplicaId, int, int, int, bytes]
"""A command as it must be executed: origin, incarnation, start, serial, bytes."""


class Violation(AssertionError):
    """An invariant does not hold. ``invariant`` is its id."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


class Expected:
    """What applying one chosen slot must give, on every replica."""

    __slots__ = ("began_epoch", "commands", "configuration", "decree", "epoch", "reign", "slot", "time_ms")

    def __init__(self, slot: Slot, decree: Decree) -> None:
        self.slot = slot
        self.decree = decree
        self.time_ms = 0
        self.epoch = 0
        self.reign: Ballot = NO_BALLOT
        self.began_epoch = False
        self.commands: list[Executed] = []
        self.configuration: Configuration | None = None


class Follower:
    """Told of every slot as soon as it and all below it are chosen, whether or not any replica knows."""

    def chosen(self, expected: Expected) -> None:
        """``expected`` is the next slot of the chosen prefix."""


class Oracle:
    """Knows what is chosen, and checks what every replica does against it."""

    __slots__ = (
        "_applied", "_asserted", "_ballots", "_changes", "_digests", "_durable_promise", "_emptied", "_epoch", "_followers",
        "_incarnations", "_learned_prefix", "_pages", "_proposed", "_reign", "_streams", "_submitted", "_time_ms",
        "_votes", "_whole", "chosen", "epochs", "expected", "ledger", "prefix", "seen", "voters",
    )  # fmt: skip

    def __init__(self, listed: Configuration) -> None:
        self.voters: tuple[ReplicaId, ...] = listed.voters
        self.chosen: dict[Slot, tuple[Ballot, Decree]] = {}
        self.prefix: Slot = 0
        self.ledger: list[Expected] = []  # of slots 1..prefix
        self.expected: dict[Slot, Expected] = {}
        self.epochs = 0  # leaderships that began
        self.seen: dict[str, int] = {}  # the "sometimes" properties, and how often each was met
        self._followers: list[Follower] = []
        self._changes: list[tuple[Slot, tuple[ReplicaId, ...], int]] = [(1, listed.voters, listed.window)]
        self._proposed: dict[tuple[Ballot, Slot], Decree] = {}
        self._votes: dict[Slot, dict[Ballot, list[ReplicaId]]] = {}  # by whom, durably
        self._ballots: dict[Ballot, int] = {}  # the incarnation that uses a ballot
        self._durable_promise: dict[ReplicaId, Ballot] = {}
        self._asserted: dict[ReplicaId, Ballot] = {}  # the highest promise or vote that ever left a replica
        self._pages: dict[tuple[Ballot, ReplicaId], list[Promise]] = {}
        self._whole: dict[Ballot, dict[ReplicaId, list[Promise]]] = {}
        self._incarnations: dict[ReplicaId, int] = {}
        self._applied: dict[ReplicaId, Slot] = {}
        self._learned_prefix: dict[ReplicaId, Slot] = {}
        self._streams: dict[ReplicaId, tuple[int, int, int]] = {}
        self._submitted: dict[tuple[ReplicaId, int], list[bytes]] = {}
        self._emptied: list[ReplicaId] = []  # whose directory was emptied before anybody had registered it
        self._digests: dict[Slot, tuple[ReplicaId, str]] = {}  # of the state behind a slot, and who had it first
        self._epoch = 0
        self._reign: Ballot = NO_BALLOT
        self._time_ms = 0

    def follow(self, follower: Follower) -> None:
        """Tell ``follower`` of every slot of the chosen prefix."""
        self._followers.append(follower)

    def count(self, name: str) -> None:
        """Note that a *sometimes* property was met."""
        self.seen[name] = self.seen.get(name, 0) + 1

    # What processes do

    def started(self, replica: ReplicaId, incarnation: int) -> None:
        """A process of ``replica`` starts; what it had in memory is gone."""
        if incarnation <= self._incarnations.get(replica, 0):
            raise Violation("rule-R41", f"replica {replica} starts as incarnation {incarnation} again")
        self._incarnations[replica] = incarnation
        self._applied[replica] = 0
        self._learned_prefix[replica] = 0

    def submitted(self, replica: ReplicaId, start: int, first_serial: int, commands: tuple[bytes, ...]) -> None:
        """``replica`` was given these commands of its own clients."""
        known = self._submitted.setdefault((replica, start), [])
        if len(known) + 1 != first_serial:
            raise Violation("I11", f"replica {replica} numbers its command {first_serial} after {len(known)} commands")
        known.extend(commands)

    def appended(self, replica: ReplicaId, record: Record) -> None:
        """``replica`` hands ``record`` to its journal; nothing is durable yet."""
        if isinstance(record, AcceptedRecord):
            if owner_of(record.ballot) == replica:
                self._propose(record.ballot, record.slot, record.decree)
            known = self._proposed.get((record.ballot, record.slot))
            if known is None:
                raise Violation(
                    "I1",
                    f"replica {replica} votes in slot {record.slot} at {ballot_text(record.ballot)}, never proposed",
                )
            if known != record.decree:
                raise Violation("I1", f"two decrees in slot {record.slot} at {ballot_text(record.ballot)}")
            asserted = self._asserted.get(replica, NO_BALLOT)
            if record.ballot < asserted:
                raise Violation(
                    "I3",
                    f"replica {replica} votes at {ballot_text(record.ballot)} in slot {record.slot}, "
                    f"after it promised {ballot_text(asserted)}",
                )
            self._check_prefix(replica, record.chosen_prefix)
        elif isinstance(record, LearnedRecord):
            self._check_learned(replica, record.slot, record.decree, record.ballot)
        elif isinstance(record, MarkRecord):
            self._check_prefix(replica, record.chosen_prefix)

    def durable(self, replica: ReplicaId, record: Record) -> None:
        """A sync of ``replica`` has made ``record`` safe: from now on it counts, whatever happens."""
        if isinstance(record, AcceptedRecord):
            if record.ballot > self._durable_promise.get(replica, NO_BALLOT):
                self._durable_promise[replica] = record.ballot
            at = self._votes.setdefault(record.slot, {})
            voted = at.setdefault(record.ballot, [])
            if replica in voted:
                return
            if not voted and len(at) == 3:
                self.count("a third ballot in one slot")
            voted.append(replica)
            voters = self.governing(record.slot)
            if sum(1 for voter in voters if voter in voted) == len(voters) // 2 + 1:
                self._choose(record.ballot, record.slot, record.decree)
        elif isinstance(record, PromisedRecord) and record.ballot > self._durable_promise.get(replica, NO_BALLOT):
            self._durable_promise[replica] = record.ballot

    def released(self, sender: ReplicaId, message: Message) -> None:
        """``message`` leaves its process: from now on others may build on it."""
        if type(message) in _SAYS_NOTHING:
            return
        if isinstance(message, Accept):
            self._propose(message.ballot, message.slot, message.decree)
            self._check_owner(sender, message.ballot)
            self._check_prefix(sender, message.chosen_prefix)
        elif isinstance(message, Accepted):
            if sender not in self._votes.get(message.slot, {}).get(message.ballot, ()):
                raise Violation(
                    "I8",
                    f"replica {sender} answers for slot {message.slot} at {ballot_text(message.ballot)} "
                    "before its vote is durable",
                )
            self._assert(sender, message.ballot)
        elif isinstance(message, Promise):
            if self._durable_promise.get(sender, NO_BALLOT) < message.ballot:
                raise Violation("I8", f"replica {sender} promises {ballot_text(message.ballot)} before that is durable")
            if message.ballot < self._asserted.get(sender, NO_BALLOT):
                raise Violation(
                    "I3",
                    f"replica {sender} promises {ballot_text(message.ballot)} after {ballot_text(self._asserted[sender])}",
                )
            self._assert(sender, message.ballot)
            self._check_promise(sender, message)
        elif isinstance(message, Prepare):
            if self._durable_promise.get(sender, NO_BALLOT) < message.ballot:
                raise Violation(
                    "I8", f"replica {sender} campaigns at {ballot_text(message.ballot)} before that is durable"
                )
            self._check_owner(sender, message.ballot)
        elif isinstance(message, Learn):
            for slot, ballot, decree in message.items:
                self._check_learned(sender, slot, decree, ballot)
            self._check_prefix(sender, message.chosen_prefix)
        elif isinstance(message, Settled):
            self._check_prefix(sender, message.chosen_prefix)
            if message.chosen_at != NO_BALLOT:
                self._check_learned(sender, message.slot, None, message.chosen_at)
        elif isinstance(message, (Heartbeat, Prefix)):
            self._check_prefix(sender, message.chosen_prefix)

    def received(self, to: ReplicaId, message: Message) -> None:
        """``message`` arrives. Promises are remembered: a proposal must stand on them."""
        if isinstance(message, Promise) and owner_of(message.ballot) == to:
            whole = self._whole.setdefault(message.ballot, {})
            if message.sender in whole:
                return
            pages = self._pages.setdefault((message.ballot, message.sender), [])
            pages.append(message)
            found = _whole_promise(pages, message)
            if found:
                whole[message.sender] = found

    def applied(self, replica: ReplicaId, start: int, applied: Applied) -> None:
        """``replica`` hands a slot to its state machine."""
        before = self._applied.get(replica, 0)
        if applied.slot != before + 1:
            raise Violation("I7", f"replica {replica} applies slot {applied.slot} after {before}")
        self._applied[replica] = applied.slot
        expected = self.expected.get(applied.slot)
        if expected is None:
            raise Violation("I6", f"replica {replica} applies slot {applied.slot}, of which nothing is chosen")
        if (applied.time_ms, applied.epoch, applied.reign, applied.began_epoch, applied.configuration) != (
            expected.time_ms, expected.epoch, expected.reign, expected.began_epoch, expected.configuration,
        ):  # fmt: skip
            raise Violation(
                "I7", f"replica {replica} applies slot {applied.slot} to another time, epoch or configuration"
            )
        if len(applied.commands) != len(expected.commands):
            raise Violation(
                "I11",
                f"replica {replica} executes {len(applied.commands)} commands of slot {applied.slot}, "
                f"where order and once gives {len(expected.commands)}",
            )
        incarnation = self._incarnations.get(replica, 0)
        for found, wanted in zip(applied.commands, expected.commands, strict=True):
            origin, by_incarnation, by_start, serial, command = wanted
            is_own = origin == replica and by_incarnation == incarnation and by_start == start
            if found != (origin, serial if is_own else 0, command):
                raise Violation(
                    "I7", f"replica {replica} executes another command in slot {applied.slot} than was chosen"
                )

    def digested(self, replica: ReplicaId, slot: Slot, digest: str) -> None:
        """The state machine of ``replica`` is called ``digest`` now that it has executed ``slot``."""
        first, known = self._digests.setdefault(slot, (replica, digest))
        if known != digest:
            raise Violation("I7", f"the states of replicas {first} and {replica} differ behind slot {slot}")

    def recovered(
        self,
        replica: ReplicaId,
        promised: Ballot,
        votes: dict[Slot, tuple[Ballot, Decree]],
        learned: list[Slot],
        prefix: Slot,
    ) -> None:
        """A process of ``replica`` has recovered: nothing that was durable is missing from its memory (I3, trap-T3).

        ``learned`` are slots it knows to be chosen above its chosen prefix: of those no vote is kept."""
        if replica in self._emptied:
            return
        if promised < self._durable_promise.get(replica, NO_BALLOT):
            raise Violation(
                "I3",
                f"replica {replica} starts at promise {ballot_text(promised)}, though "
                f"{ballot_text(self._durable_promise[replica])} is durable",
            )
        for slot, at in self._votes.items():
            if slot <= prefix or slot in learned:
                continue
            last = max((ballot for ballot, voted in at.items() if replica in voted), default=NO_BALLOT)
            if last > votes.get(slot, _NOTHING)[0]:
                raise Violation(
                    "I3",
                    f"replica {replica} starts without its vote in slot {slot} at {ballot_text(last)}, which is durable",
                )

    def stepped(self, replica: ReplicaId, promised: Ballot, chosen_prefix: Slot, applied: Slot) -> None:
        """A step of ``replica`` is over."""
        if promised < self._asserted.get(replica, NO_BALLOT):
            raise Violation(
                "I3",
                f"replica {replica} stands at promise {ballot_text(promised)}, "
                f"after it told others {ballot_text(self._asserted[replica])}",
            )
        before = self._learned_prefix.get(replica, 0)
        if chosen_prefix != before:
            if chosen_prefix < before:
                raise Violation("I9", f"the chosen prefix of replica {replica} falls from {before} to {chosen_prefix}")
            self._check_prefix(replica, chosen_prefix)
            self._learned_prefix[replica] = chosen_prefix
        if applied != self._applied.get(replica, 0):
            raise Violation(
                "I9", f"replica {replica} says it applied up to {applied}, not {self._applied.get(replica, 0)}"
            )

    # What the oracle knows

    def governing(self, slot: Slot) -> tuple[ReplicaId, ...]:
        """The voters that count in ``slot``."""
        found = self.voters
        for first, voters, _ in self._changes:
            if first > slot:
                break
            found = voters
        return found

    def durable_promise(self, replica: ReplicaId) -> Ballot:
        """The highest ballot in a durable record of ``replica``."""
        return self._durable_promise.get(replica, NO_BALLOT)

    def votes_in(self, slot: Slot) -> list[tuple[Ballot, ReplicaId]]:
        """All durable votes ever cast in ``slot``."""
        return [(ballot, voter) for ballot, voted in self._votes.get(slot, {}).items() for voter in voted]

    def _assert(self, replica: ReplicaId, ballot: Ballot) -> None:
        if ballot > self._asserted.get(replica, NO_BALLOT):
            self._asserted[replica] = ballot

    def _check_owner(self, sender: ReplicaId, ballot: Ballot) -> None:
        if owner_of(ballot) != sender:
            raise Violation("I4", f"replica {sender} uses {ballot_text(ballot)}, which is not of its class")
        incarnation = self._incarnations.get(sender, 0)
        if self._ballots.setdefault(ballot, incarnation) != incarnation:
            raise Violation(
                "I4",
                f"incarnation {incarnation} of replica {sender} uses {ballot_text(ballot)}, "
                f"which incarnation {self._ballots[ballot]} used",
            )

    def _check_prefix(self, replica: ReplicaId, chosen_prefix: Slot) -> None:
        if chosen_prefix <= self.prefix:
            return
        slot = self.prefix + 1
        votes = sorted(self.votes_in(slot))
        if votes:
            told = ", ".join(f"{voter} at {ballot_text(ballot)}" for ballot, voter in votes)
            raise Violation(
                "I10", f"replica {replica} counts slot {slot} as chosen; the votes are {told}: no accept quorum"
            )
        raise Violation("I6", f"replica {replica} takes slot {slot} for chosen, in which nobody voted")

    def _check_learned(self, replica: ReplicaId, slot: Slot, decree: Decree | None, ballot: Ballot) -> None:
        """``replica`` says that ``decree`` is chosen in ``slot``, at ``ballot`` or below; None: whatever it is (rule-R5)."""
        known = self.chosen.get(slot)
        if known is None:
            raise Violation("I6", f"replica {replica} takes a decree of slot {slot} for chosen, which is not")
        if decree is not None and known[1] != decree:
            raise Violation("I6", f"replica {replica} takes another decree for the chosen one of slot {slot}")
        if known[0] > ballot:
            raise Violation(
                "I6",
                f"replica {replica} says slot {slot} was chosen at {ballot_text(ballot)}, "
                f"and it was first at {ballot_text(known[0])}",
            )

    def _check_promise(self, sender: ReplicaId, page: Promise) -> None:
        """A promise must say all: what is left out reads as "never accepted"."""
        reported = {pvalue.slot: pvalue for pvalue in page.pvalues}
        is_last = page.page_last >= page.end  # and so it speaks for all slots beyond, too
        last = max(self._votes, default=0) if is_last else page.page_last
        for slot in range(max(page.page_first, page.chosen_prefix + 1), last + 1):
            pvalue = reported.get(slot)
            for ballot, voted in self._votes.get(slot, {}).items():
                if sender not in voted or ballot >= page.ballot:
                    continue
                if pvalue is None or (pvalue.ballot < ballot and self.chosen.get(slot, _NOTHING)[1] != pvalue.decree):
                    raise Violation(
                        "I5",
                        f"the promise of replica {sender} leaves out its vote in slot {slot} at {ballot_text(ballot)}",
                    )
        for pvalue in page.pvalues:
            if self._proposed.get((pvalue.ballot, pvalue.slot)) != pvalue.decree:
                raise Violation(
                    "I1", f"replica {sender} reports a decree in slot {pvalue.slot} that was never proposed there"
                )

    def _propose(self, ballot: Ballot, slot: Slot, decree: Decree) -> None:
        known = self._proposed.get((ballot, slot))
        if known is not None:
            if known != decree:
                raise Violation("I1", f"two decrees are proposed in slot {slot} at {ballot_text(ballot)}")
            return
        self._check_safe(ballot, slot, decree)
        self._proposed[ballot, slot] = decree

    def _check_safe(self, ballot: Ballot, slot: Slot, decree: Decree) -> None:
        """Lamport's condition (PMS P2c, PTP B3): some quorum of whole promises gives this decree, or leaves it free."""
        chosen = self.chosen.get(slot)
        if chosen is not None and chosen[1] == decree:
            return
        voters = self.governing(slot)
        whole = self._whole.get(ballot, {})
        givers = [voter for voter in voters if voter in whole and whole[voter][0].first <= slot]
        size = len(voters) // 2 + 1
        if len(givers) < size:
            raise Violation(
                "I10",
                f"slot {slot} is proposed at {ballot_text(ballot)} on the promises of {givers}: "
                f"no prepare quorum of {list(voters)}",
            )
        for quorum in combinations(givers, size):
            best: Ballot = NO_BALLOT
            report: Decree = b""
            is_settled = False
            for voter in quorum:
                for page in whole[voter]:
                    is_settled = is_settled or slot <= page.chosen_prefix
                    for pvalue in page.pvalues:
                        if pvalue.slot == slot and pvalue.ballot > best:
                            best = pvalue.ballot
                            report = pvalue.decree
            if is_settled:
                continue
            if best == NO_BALLOT:
                if decree == NOOP:
                    self.count("a gap filled")
                return
            if report == decree:
                self.count("adoption from a lower ballot")
                return
        raise Violation(
            "I5",
            f"slot {slot} is proposed at {ballot_text(ballot)} with a decree that no quorum of its promises leaves free",
        )

    def _choose(self, ballot: Ballot, slot: Slot, decree: Decree) -> None:
        known = self.chosen.get(slot)
        if known is not None:
            if known[1] != decree:
                raise Violation(
                    "I2", f"two decrees are chosen in slot {slot}: at {ballot_text(known[0])} and {ballot_text(ballot)}"
                )
            if ballot < known[0]:
                self.chosen[slot] = (ballot, decree)
            return
        self.chosen[slot] = (ballot, decree)
        while self.prefix + 1 in self.chosen:
            self.prefix += 1
            self._expect(self.prefix, self.chosen[self.prefix][1])

    def _expect(self, slot: Slot, decree: Decree) -> None:
        """The slow and obvious twin of ``core/applying.py``."""
        expected = Expected(slot, decree)
        kind = kind_of(decree)
        if kind != KIND_NOOP:
            self._time_ms = max(self._time_ms, wall_of(decree))
        if kind == KIND_EPOCH:
            ballot = epoch_ballot_of(decree)
            if ballot >= self._reign:  # rule-R12
                self._reign = ballot
                self._epoch += 1
                self.epochs += 1
                expected.began_epoch = True
            else:
                self.count("an epoch decree below the noted one")
        elif kind == KIND_CONFIGURATION:
            configuration = decode_configuration(configuration_text_of(decree))
            expected.configuration = configuration
            if slot == 1:
                self._changes = [(1, configuration.voters, configuration.window)]
            else:
                window = next(window for first, _, window in reversed(self._changes) if first <= slot)
                self._changes.append((slot + window, configuration.voters, configuration.window))
        elif kind == KIND_BATCH:
            for origin, incarnation, start, first, count, begin, end in segments_of(decree):
                commands = commands_of(decree, begin, end)
                if len(commands) != count:
                    raise Violation("I11", f"slot {slot}: a segment of {count} commands has {len(commands)}")
                self._execute(expected, origin, incarnation, start, first, commands)
        expected.time_ms = self._time_ms
        expected.epoch = self._epoch
        expected.reign = self._reign
        self.ledger.append(expected)
        self.expected[slot] = expected
        for follower in self._followers:
            follower.chosen(expected)

    def _execute(
        self, expected: Expected, origin: ReplicaId, incarnation: int, start: int, first: int, commands: list[bytes]
    ) -> None:
        submitted = self._submitted.get((origin, start), [])
        for serial, command in enumerate(commands, first):
            if serial > len(submitted) or submitted[serial - 1] != command:
                raise Violation(
                    "I11", f"slot {expected.slot}: command {serial} of replica {origin} was never submitted"
                )
            last = self._streams.get(origin)
            if last is None or incarnation > last[0]:
                is_next = serial == 1
            else:
                is_next = (incarnation, start, serial) == (last[0], last[1], last[2] + 1)
            if not is_next:
                self.count("a command skipped as repeat or behind a gap")
                continue
            self._streams[origin] = (incarnation, start, serial)
            expected.commands.append((origin, incarnation, start, serial, command))


def _whole_promise(pages: list[Promise], latest: Promise) -> list[Promise]:
    """All pages of one promise, of the state ``latest`` speaks of, when none is missing (rule-R3); else nothing."""
    parts = [page for page in pages if (page.chosen_prefix, page.end) == (latest.chosen_prefix, latest.end)]
    found: list[Promise] = []
    at = latest.first
    while True:
        part = next((page for page in parts if page.page_first == at), None)
        if part is None:
            return []
        found.append(part)
        if part.page_last >= part.end:
            return found
        at = part.page_last + 1
