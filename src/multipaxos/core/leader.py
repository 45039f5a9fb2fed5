"""Phase 1 and phase 2 of one ballot: what a candidate hears, what it must propose, what a leader has open.

The bookkeeping of a proposer, without messages or timers: ``replica.py`` asks, sends and decides. A ``Campaign`` becomes
a ``Leadership`` when prepare quorums of every configuration in force have promised (rule-R2).
"""

from collections import deque

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot
from multipaxos.core.decree import NOOP, Decree
from multipaxos.core.membership import Configuration
from multipaxos.core.messages import Accept, Promise
from multipaxos.core.streams import Streams


class PromisePages:
    """The pages of one acceptor's promise. They count only when whole, at one chosen prefix and one end (rule-R3)."""

    __slots__ = ("_chosen_prefix", "_end", "_pages", "first")

    def __init__(self, first: Slot) -> None:
        self.first = first
        self._chosen_prefix = -1
        self._end = -1
        self._pages: dict[Slot, Promise] = {}

    def add(self, page: Promise) -> list[Promise] | None:
        """Take in one page; all pages in slot order once the promise is whole, else None."""
        if page.chosen_prefix != self._chosen_prefix or page.end != self._end:
            # The acceptor started again: pages of two states, put together, would read as "never accepted".
            self._pages.clear()
            self._chosen_prefix = page.chosen_prefix
            self._end = page.end
        self._pages[page.page_first] = page
        whole: list[Promise] = []
        at = self.first
        while True:
            found = self._pages.get(at)
            if found is None:
                return None
            whole.append(found)
            if found.page_last >= self._end:
                return whole
            if found.page_last < at:
                return None  # an empty page before the end, which no honest acceptor sends, would lead round in circles
            at = found.page_last + 1

    def clone(self) -> "PromisePages":
        """An independent copy; pages are values and shared."""
        cloned = PromisePages(self.first)
        cloned._chosen_prefix = self._chosen_prefix
        cloned._end = self._end
        cloned._pages = self._pages.copy()
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (self.first, self._chosen_prefix, self._end, tuple(sorted(self._pages.items())))


class Campaign:
    """Phase 1 of one ballot: whole promises by voter, and what they report."""

    __slots__ = ("_pages", "ballot", "first", "handover", "marks", "peer_prefix", "prefixes", "promised", "reported")

    def __init__(self, ballot: Ballot, first: Slot, handover: Ballot) -> None:
        self.ballot = ballot
        self.first = first  # every slot from here on is asked for, once for all (PMS 3)
        self.handover = handover
        self.promised: set[ReplicaId] = set()  # whose promise is whole
        self.marks: dict[ReplicaId, int] = {}
        self.prefixes: dict[ReplicaId, Slot] = {}
        self.reported: dict[Slot, tuple[Ballot, Decree]] = {}  # the vote of the highest ballot, per slot
        self._pages: dict[ReplicaId, PromisePages] = {}

    def hear(self, page: Promise) -> bool:
        """Take in a page of a promise at this ballot; True when it makes the promise of its sender whole."""
        if page.sender in self.promised:
            return False
        pages = self._pages.get(page.sender)
        if pages is None:
            pages = self._pages[page.sender] = PromisePages(self.first)
        whole = pages.add(page)
        if whole is None:
            return False
        del self._pages[page.sender]
        self.promised.add(page.sender)
        self.marks[page.sender] = page.mark
        self.prefixes[page.sender] = page.chosen_prefix
        for part in whole:
            for pvalue in part.pvalues:
                self.report(pvalue.ballot, pvalue.slot, pvalue.decree)
        return True

    def report(self, ballot: Ballot, slot: Slot, decree: Decree) -> None:
        """Keep the vote of the highest ballot in each slot: B3 of PTP 2.1, P2c of PMS."""
        known = self.reported.get(slot)
        if known is None or ballot > known[0]:
            self.reported[slot] = (ballot, decree)

    def highest_report(self) -> Ballot:
        """The highest ballot any report names, or NO_BALLOT."""
        return max((ballot for ballot, _ in self.reported.values()), default=NO_BALLOT)

    def highest_prefix(self) -> tuple[Slot, ReplicaId]:
        """The highest chosen prefix among the whole promises, and who said it: all up to it is chosen (rule-R4)."""
        best: Slot = 0
        whose: ReplicaId = 0
        for replica in sorted(self.prefixes):
            if self.prefixes[replica] > best:
                best = self.prefixes[replica]
                whose = replica
        return best, whose

    def to_propose(self, above: Slot, learned: Slot = 0) -> deque[tuple[Slot, Decree]]:
        """What phase 2 must begin with: reported decrees are adopted, slots nobody reports below them, or below
        ``learned``, the highest slot learned here, become no-ops.

        PMS 3: with 1 to 134, 138 and 139 known, 135 and 140 reported, this gives 135, no-op in 136 and 137, and 140.
        """
        top = max(max(self.reported, default=0), learned)
        found: deque[tuple[Slot, Decree]] = deque()
        for slot in range(above + 1, top + 1):
            report = self.reported.get(slot)
            found.append((slot, NOOP if report is None else report[1]))
        return found

    def clone(self) -> "Campaign":
        """An independent copy."""
        cloned = Campaign(self.ballot, self.first, self.handover)
        cloned.promised = self.promised.copy()
        cloned.marks = self.marks.copy()
        cloned.prefixes = self.prefixes.copy()
        cloned.reported = self.reported.copy()
        cloned._pages = {sender: pages.clone() for sender, pages in self._pages.items()}
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (
            self.ballot,
            self.first,
            self.handover,
            tuple(sorted(self.promised)),
            tuple(sorted(self.marks.items())),
            tuple(sorted(self.prefixes.items())),
            tuple(sorted(self.reported.items())),
            tuple([(sender, self._pages[sender].fingerprint()) for sender in sorted(self._pages)]),
        )


class Proposal:
    """A decree proposed at this ballot and not yet known to be chosen."""

    __slots__ = ("accept", "retry_at", "retry_ns", "votes")

    def __init__(self, accept: Accept, retry_at: int, retry_ns: int) -> None:
        self.accept = accept
        self.votes: set[ReplicaId] = set()  # by voter: a duplicate is no second vote (claim-A7)
        self.retry_at = retry_at
        self.retry_ns = retry_ns

    def clone(self) -> "Proposal":
        """An independent copy; the accept is a value and shared."""
        cloned = Proposal(self.accept, self.retry_at, self.retry_ns)
        cloned.votes = self.votes.copy()
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        accept = self.accept
        return (
            accept.sender, accept.ballot, accept.slot, accept.decree, accept.chosen_prefix, tuple(sorted(self.votes)),
        )  # fmt: skip


class RoundRead:
    """A linearizable read that waits for a confirmation round begun after it arrived (rule-R19)."""

    __slots__ = ("number", "requester", "slot", "token")

    def __init__(self, requester: ReplicaId, token: int, slot: Slot) -> None:
        self.requester = requester
        self.token = token  # of a local read, or the number of a peer's query
        self.slot = slot  # the chosen prefix at its arrival
        self.number = 0  # the round it joined; 0 while it waits for the next one

    def clone(self) -> "RoundRead":
        """An independent copy."""
        cloned = RoundRead(self.requester, self.token, self.slot)
        cloned.number = self.number
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (self.requester, self.token, self.slot, self.number)


class Leadership:
    """Phase 2 of one ballot: open proposals, heartbeat rounds, and what waits to be proposed."""

    __slots__ = (
        "_beats",
        "adopted",
        "ballot",
        "began_epoch_slot",
        "confirmed_round",
        "connected_at",
        "disk_ages",
        "echoed",
        "echoed_below",
        "handover_sent",
        "handover_target",
        "handover_until",
        "heartbeat_at",
        "inquired",
        "inquired_until",
        "is_quorum_connected",
        "is_reigning",
        "next_slot",
        "number",
        "open",
        "peer_applied",
        "pending",
        "pending_bytes",
        "reads",
        "streams",
    )  # fmt: skip

    def __init__(self, ballot: Ballot, adopted: deque[tuple[Slot, Decree]], next_slot: Slot, now: int) -> None:
        self.ballot = ballot
        self.adopted = adopted  # found in phase 1, to be proposed first and in order
        self.next_slot = next_slot  # the first slot that is free for news
        self.began_epoch_slot: Slot = 0  # where this leadership's epoch decree was proposed
        self.is_reigning = False  # its own epoch decree is applied here (rule-R12)
        self.open: dict[Slot, Proposal] = {}  # proposed, not yet chosen; slots ascend
        self.pending: deque[bytes] = deque()  # forwarded segments, in each gateway's order
        self.pending_bytes = 0
        self.streams = Streams()  # as they will be when all that is proposed is applied
        self.number = 0  # of the last heartbeat
        self.heartbeat_at = now
        self._beats: deque[int] = deque(maxlen=3)  # numbers of the last heartbeats sent by the timer
        self.echoed: dict[ReplicaId, int] = {}  # highest number echoed, whatever was promised meanwhile
        self.echoed_below: dict[ReplicaId, int] = {}  # highest number echoed with nothing promised above this ballot
        self.peer_applied: dict[ReplicaId, Slot] = {}
        self.disk_ages: dict[ReplicaId, int] = {}
        self.confirmed_round = 0
        self.is_quorum_connected = True  # a prepare quorum has just answered
        self.connected_at = now  # when that last held
        self.inquired: Ballot = NO_BALLOT  # a higher ballot whose owner was asked whether it lives (rule-R6)
        self.inquired_until = 0
        self.reads: list[RoundRead] = []
        self.handover_target: ReplicaId = 0
        self.handover_until = 0
        self.handover_sent = False

    def beat(self, by_timer: bool) -> int:
        """Number the next heartbeat. Rounds for reads come between and do not count as beats: under many reads the last
        three of them would be over before any echo could return."""
        self.number += 1
        if by_timer:
            self._beats.append(self.number)
        return self.number

    def hear_echo(self, sender: ReplicaId, number: int, promised: Ballot) -> None:
        """Note that ``sender`` echoed heartbeat ``number``; with a higher promise it confirms no round."""
        if number > self.echoed.get(sender, 0):
            self.echoed[sender] = number
        if promised <= self.ballot and number > self.echoed_below.get(sender, 0):
            self.echoed_below[sender] = number

    def count_rounds(self, configurations: list[Configuration]) -> None:
        """Which round an accept quorum of every configuration in force has confirmed: a set that meets every prepare
        quorum, so no higher ballot was chosen at before that round was begun (trap-T20)."""
        for number in sorted(set(self.echoed_below.values()), reverse=True):
            if number <= self.confirmed_round:
                return
            confirming = {replica for replica, echoed in self.echoed_below.items() if echoed >= number}
            if all(configuration.quorum.is_accept_quorum(confirming) for configuration in configurations):
                self.confirmed_round = number
                return

    def count_connected(self, configurations: list[Configuration], now: int) -> None:
        """Whether an accept quorum echoed one of the last three heartbeats, by number (rule-R29)."""
        if len(self._beats) == self._beats.maxlen:
            oldest = self._beats[0]
            heard = {replica for replica, echoed in self.echoed.items() if echoed >= oldest}
            self.is_quorum_connected = all(
                configuration.quorum.is_accept_quorum(heard) for configuration in configurations
            )
        if self.is_quorum_connected:
            self.connected_at = now

    def clone(self) -> "Leadership":
        """An independent copy."""
        cloned = Leadership(self.ballot, self.adopted.copy(), self.next_slot, self.heartbeat_at)
        cloned.began_epoch_slot = self.began_epoch_slot
        cloned.is_reigning = self.is_reigning
        cloned.open = {slot: proposal.clone() for slot, proposal in self.open.items()}
        cloned.pending = self.pending.copy()
        cloned.pending_bytes = self.pending_bytes
        cloned.streams = self.streams.copy()
        cloned.number = self.number
        cloned._beats = self._beats.copy()
        cloned.echoed = self.echoed.copy()
        cloned.echoed_below = self.echoed_below.copy()
        cloned.peer_applied = self.peer_applied.copy()
        cloned.disk_ages = self.disk_ages.copy()
        cloned.confirmed_round = self.confirmed_round
        cloned.is_quorum_connected = self.is_quorum_connected
        cloned.connected_at = self.connected_at
        cloned.inquired = self.inquired
        cloned.inquired_until = self.inquired_until
        cloned.reads = [read.clone() for read in self.reads]
        cloned.handover_target = self.handover_target
        cloned.handover_until = self.handover_until
        cloned.handover_sent = self.handover_sent
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``). The heartbeat timer is always
        armed, the bound of a hand-over exactly while it has a target."""
        return (
            self.ballot,
            tuple(self.adopted),
            self.next_slot,
            self.began_epoch_slot,
            self.is_reigning,
            tuple([(slot, self.open[slot].fingerprint()) for slot in sorted(self.open)]),
            tuple(self.pending),
            self.streams.fingerprint(),
            self.number,
            tuple(self._beats),
            tuple(sorted(self.echoed.items())),
            tuple(sorted(self.echoed_below.items())),
            tuple(sorted(self.peer_applied.items())),
            tuple(sorted(self.disk_ages.items())),
            self.confirmed_round,
            self.is_quorum_connected,
            self.inquired,
            self.inquired_until != 0,
            tuple([read.fingerprint() for read in self.reads]),
            self.handover_target,
            self.handover_sent,
        )
