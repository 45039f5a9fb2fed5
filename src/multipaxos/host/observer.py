"""What the loop notes for ``observation.py``, and how one is made of it.

Two parts. What is *noted* comes with every turn, every sync, every echo: a few comparisons and list writes, no lock and
no allocation that outlives the turn. What is *looked up* is read from the parts of the replica once a second, when an
observation is made; nobody has to keep it. All of it runs on the loop. The finished observation is a value, which other
threads read from ``Board``.

Changes nothing, and decides nothing: a replica would go on the same without it.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot, ballot_text
from multipaxos.core.effects import Applied
from multipaxos.core.replica import Replica
from multipaxos.host.clock import boot_ns, wall_ms, wall_offset_ms
from multipaxos.host.journal_thread import FileThread, JournalThread
from multipaxos.host.observation import (
    Clients,
    Clock,
    Configuration,
    DiskState,
    Lag,
    Latency,
    Loop,
    Member,
    Observation,
    Peer,
    Quorum,
    Slots,
    Spread,
    SyncSpread,
)
from multipaxos.host.samples import SLICE_S, SLICES, Samples
from multipaxos.host.stalls import StallDetector
from multipaxos.host.tallies import Tallies
from multipaxos.service.service import Service
from multipaxos.storage.journal import Journal
from multipaxos.transport.tcp import Counters, LinkState

NS_PER_MS: Final = 1_000_000
SECOND_NS: Final = 1_000_000_000
JUMP_MS: Final = 100
"""A wall clock that is so far from where it was a second ago, counted on the boot-time clock, has jumped: a clock that is
being drawn towards the right time moves half a millisecond in a second."""

SPACE_EVERY_S: Final = 5
CHANGES_WITHIN_NS: Final = 600 * SECOND_NS
CHANGES_MAX: Final = 1000
UNAPPLIED_TURNS_MAX: Final = 10_000
"""Turns whose writes are under way; what more there are are not timed."""

BEATS_MAX: Final = 64
BEATS_ANSWERED: Final = 4
"""A voter is reachable from a leader while it echoes one of so many last beats: one more than rule-R29 grants, since the
newest was sent just now."""

SYNCED_S: Final = 2
"""A voter is caught up while it has applied what was chosen so long ago."""

SESSIONS_COUNTED_MAX: Final = 10_000
"""Counting ephemerals looks at every session: with more of them it is done every tenth second only."""

_NEVER: Final = 1 << 62


class Links(Protocol):
    """What is needed of ``transport/tcp.py``, beside what the driver needs."""

    def link_states(self) -> list[LinkState]:
        """How the connections with each peer stand."""


class Board:
    """Where the loop leaves what other threads read. Values are replaced whole, so no lock is needed."""

    __slots__ = ("admin_address", "began_at", "has_served", "observation", "stalls", "tallies")

    def __init__(self, first: Observation) -> None:
        self.admin_address = ""  # bound; "" where there is no admin port
        self.began_at = boot_ns()  # a wall clock that jumps must not make a replica older
        self.has_served = threading.Event()  # once: the start is over
        self.observation = first
        self.tallies = Tallies()
        self.stalls = StallDetector()

    def uptime_s(self) -> float:
        """Since the process began."""
        return round((boot_ns() - self.began_at) / SECOND_NS, 1)


class Observer:
    """Owned by the driver; one per replica."""

    __slots__ = (
        "_ahead_ms", "_ahead_slices", "_beat_at", "_beat_ballot", "_beat_marks", "_beaten", "_changed_at",
        "_counted_at", "_durable_at_start", "_durable_before", "_durable_per_s", "_figures", "_files", "_journal",
        "_journal_thread", "_jump_at", "_jump_ms", "_last_ballot", "_looked_at", "_measured_at", "_prefixes",
        "_replica", "_report_at", "_requests", "_requests_per_s", "_seconds", "_service", "_space", "_space_asked_at",
        "_submitted", "_unapplied", "_wall_offset_ms", "apply", "commit", "damage", "failed", "leader_changes", "round_trips",
        "sync",
    )  # fmt: skip

    def __init__(
        self,
        replica: Replica,
        service: Service,
        journal: Journal,
        journal_thread: JournalThread,
        files: FileThread,
    ) -> None:
        self._replica = replica
        self._service = service
        self._journal = journal
        self._journal_thread = journal_thread
        self._files = files
        self.sync = Samples()
        self.commit = Samples()
        self.apply = Samples()
        self.round_trips: dict[ReplicaId, Samples] = {}
        self.leader_changes = 0
        self.damage = ""
        self.failed = ""
        # Writes under way: the last serial of a turn, and when that turn was.
        self._submitted = replica.next_serial
        self._unapplied: deque[tuple[int, int]] = deque()
        # Heartbeats sent as leader of ``_beat_ballot``.
        self._beat_ballot: Ballot = NO_BALLOT
        self._beaten = 0
        self._beat_at: dict[int, int] = {}
        self._beat_marks: deque[tuple[int, int]] = deque(maxlen=BEATS_ANSWERED)
        self._report_at: dict[int, int] = {}  # serial of a report sent to the leader -> when
        self._last_ballot: Ballot = NO_BALLOT  # the last leadership that was seen
        self._changed_at: deque[int] = deque(maxlen=CHANGES_MAX)
        # By the second.
        self._seconds = 0
        self._prefixes: deque[Slot] = deque(maxlen=SYNCED_S + 1)
        self._durable_at_start = journal.durable
        self._durable_before = journal.durable
        self._durable_per_s = 0
        self._looked_at = 0
        self._requests = 0
        self._requests_per_s = 0.0
        self._figures: dict[str, int] = {}
        self._counted_at = 0
        self._wall_offset_ms = wall_offset_ms()
        self._jump_ms: int | None = None
        self._jump_at = 0
        self._ahead_ms = _NEVER
        self._ahead_slices: deque[int] = deque(maxlen=SLICES - 1)
        self._space: tuple[int, int] | None = None  # free, and used by the directory
        self._measured_at = 0
        self._space_asked_at = 0

    # --- noted, on the hot path --------------------------------------------------------------------------------------

    def turned(self, applied: Sequence[Applied], now: int, began: int, later: int) -> None:
        """A turn that began at ``now`` is over; it executed ``applied`` from ``began`` to ``later``."""
        replica = self._replica
        serial = replica.forwarding.next_serial
        if serial != self._submitted:
            self._submitted = serial
            if len(self._unapplied) < UNAPPLIED_TURNS_MAX:
                self._unapplied.append((serial - 1, now))
        leadership = replica.leadership
        if leadership is not None and leadership.number != self._beaten:
            self._beat(leadership.ballot, leadership.number, now)
        if applied:
            self.apply.note(later - began)
            unapplied = self._unapplied
            if unapplied:
                own_serial = replica.applying.own_serial
                while unapplied and unapplied[0][0] <= own_serial:
                    self.commit.note(later - unapplied.popleft()[1])
            if leadership is None and applied[-1].commands and replica.catchup.target <= replica.ledger.applied:
                ahead_ms = self._wall_offset_ms + later // NS_PER_MS - applied[-1].time_ms
                if ahead_ms < self._ahead_ms:
                    self._ahead_ms = ahead_ms

    def _beat(self, ballot: Ballot, number: int, now: int) -> None:
        if ballot != self._beat_ballot:
            self._beat_ballot = ballot
            self._beat_at.clear()
            self._beat_marks.clear()
        self._beaten = number
        sent = self._beat_at
        sent[number] = now
        if len(sent) > BEATS_MAX:
            del sent[next(iter(sent))]
        marks = self._beat_marks
        # Rounds for reads come between the beats of the timer and are none (``core/leader.py``).
        if not marks or now - marks[-1][1] >= self._replica.settings.heartbeat_ns // 2:
            marks.append((number, now))

    def echoed(self, peer: ReplicaId, ballot: Ballot, number: int, now: int) -> None:
        """A peer answered a heartbeat of this leader."""
        if ballot == self._beat_ballot:
            sent_at = self._beat_at.get(number)
            if sent_at is not None:
                self._returned(peer, now - sent_at)

    def reported(self, serial: int, now: int) -> None:
        """A report of sessions leaves for the leader."""
        self._report_at[serial] = now
        if len(self._report_at) > BEATS_MAX:
            del self._report_at[next(iter(self._report_at))]

    def acknowledged(self, peer: ReplicaId, serial: int, now: int) -> None:
        """The leader answered one."""
        sent_at = self._report_at.pop(serial, None)
        if sent_at is not None:
            self._returned(peer, now - sent_at)

    def _returned(self, peer: ReplicaId, duration_ns: int) -> None:
        samples = self.round_trips.get(peer)
        if samples is None:
            samples = self.round_trips[peer] = Samples()
        samples.note(duration_ns)

    def led_by(self, ballot: Ballot, now: int) -> None:
        """Another leader is followed, or none."""
        if ballot not in (NO_BALLOT, self._last_ballot):
            if self._last_ballot != NO_BALLOT:
                self.leader_changes += 1
                self._changed_at.append(now)
            self._last_ballot = ballot

    # --- by the second -----------------------------------------------------------------------------------------------

    def each_second(self, now: int) -> None:
        """A second is over, or nearly."""
        if now - self._looked_at < SECOND_NS // 2:
            return
        self._seconds += 1
        if self._seconds % SLICE_S == 0:
            for samples in (self.sync, self.commit, self.apply, *self.round_trips.values()):
                samples.next_slice()
            self._ahead_slices.append(self._ahead_ms)
            self._ahead_ms = _NEVER
        self._prefixes.append(self._replica.chosen_prefix)
        self._watch_clock(now)
        self._count(now)

    def measure_space(self, data: str) -> None:
        """Ask the file thread how much room there is in a data directory; every so often, and never twice at a time: a
        disk that hangs has one question waiting, not one for each second."""
        now = boot_ns()
        if now - self._space_asked_at >= SPACE_EVERY_S * SECOND_NS and self._files.submit(
            _space_of(data), self._measured
        ):
            self._space_asked_at = _NEVER

    def _watch_clock(self, now: int) -> None:
        offset_ms = wall_offset_ms()
        moved_ms = offset_ms - self._wall_offset_ms
        if abs(moved_ms) >= JUMP_MS:
            # The two clocks are read one after the other; a pause between them would look like a jump.
            offset_ms = wall_offset_ms()
            moved_ms = offset_ms - self._wall_offset_ms
            if abs(moved_ms) >= JUMP_MS:
                self._jump_ms, self._jump_at = moved_ms, now
                self._ahead_slices.clear()
                self._ahead_ms = _NEVER
        self._wall_offset_ms = offset_ms

    def _count(self, now: int) -> None:
        durable = self._journal.durable
        if self._looked_at:
            self._durable_per_s = (durable - self._durable_before) * SECOND_NS // (now - self._looked_at)
        self._durable_before = durable
        self._looked_at = now
        service = self._service
        if len(service.machine.sessions) > SESSIONS_COUNTED_MAX and self._seconds % SLICE_S and self._figures:
            return
        self._figures = service.figures(now)
        requests = self._figures["packets_received"]
        if self._counted_at and requests >= self._requests:  # fewer: somebody reset the statistics (srst)
            self._requests_per_s = (requests - self._requests) * SECOND_NS / (now - self._counted_at)
        self._requests = requests
        self._counted_at = now

    def _measured(self, found: object) -> None:
        now = boot_ns()
        self._space_asked_at = now
        if isinstance(found, tuple):
            self._space = found
            self._measured_at = now

    # --- looked up ---------------------------------------------------------------------------------------------------

    def look(
        self, base: Observation, admin_addresses: Mapping[ReplicaId, str], board: Board, links: Links, state: str,
        waiting_for: str, refusals: Mapping[ReplicaId, str],
    ) -> Observation:  # fmt: skip
        """How things stand now. ``base`` says what never changes while this process runs."""
        now = boot_ns()
        replica = self._replica
        newest = replica.membership.newest()
        states = {link.peer: link for link in links.link_states()}
        ballot = replica.leader_ballot
        applied = replica.applied
        highest = max(replica.chosen_prefix, replica.catchup.target)
        while self._changed_at and now - self._changed_at[0] > CHANGES_WITHIN_NS:
            self._changed_at.popleft()
        members = tuple(
            Member(
                one.id,
                one.peer_address,
                one.client_address,
                admin_addresses.get(one.id, ""),
                one.is_voter,
                f"{one.mark:016x}" if one.mark else "",
            )
            for one in newest.members
        )
        stalls = board.stalls
        return replace(
            base,
            at_ms=wall_ms(),
            uptime_s=board.uptime_s(),
            cluster=newest.cluster or base.cluster,
            state=state,
            waiting_for=waiting_for,
            standing=replica.standing,
            leader=replica.leader,
            ballot="" if ballot == NO_BALLOT else ballot_text(ballot),
            epoch=replica.epoch,
            leader_changes_last_10min=len(self._changed_at),
            slots=Slots(applied, replica.chosen_prefix, highest, highest - applied),
            configuration=Configuration(newest.version, newest.window, newest.voters, members),
            peers=tuple(
                self._peer(one.id, states.get(one.id), refusals.get(one.id, ""))
                for one in newest.members
                if one.id != replica.id
            ),
            quorum=self._quorum(states, now),
            disk=self._disk(base.disk, now),
            clients=self._clients(),
            loop=Loop(Lag(_ms(stalls.last_ns), _ms(stalls.max_10s_ns)), _ms(stalls.longest_ns)),
            clock=self._clock(now),
            latency_ms=Latency(_spread(self.commit), _spread(self.apply)),
        )

    def _peer(self, peer: ReplicaId, link: LinkState | None, refused: str) -> Peer:
        leadership = self._replica.leadership
        applied = None if leadership is None else leadership.peer_applied.get(peer)
        samples = self.round_trips.get(peer)
        round_trip = None if samples is None else _spread(samples)
        if link is None:
            return Peer(peer, False, False, None, None, applied, round_trip, 0, refused, "", None)
        return Peer(
            peer,
            link.is_connected,
            link.is_heard,
            link.heard_ms_ago,
            link.sent_ok_ms_ago,
            applied,
            round_trip,
            link.queued_bytes,
            refused,
            link.trouble,
            link.trouble_ms_ago,
        )

    def _quorum(self, states: Mapping[ReplicaId, LinkState], now: int) -> Quorum:
        replica = self._replica
        governing = replica.membership.governing(replica.applied + 1)
        leadership = replica.leadership
        marks = self._beat_marks
        stall_ns = replica.settings.disk_stall_ns
        reachable: list[ReplicaId] = []
        lagging: list[ReplicaId] = []
        # The first moments of a leadership have no echoes yet that could be missing.
        is_counting_echoes = (
            leadership is not None and leadership.ballot == self._beat_ballot and len(marks) == BEATS_ANSWERED
        )
        for voter in governing.voters:
            if voter == replica.id:
                reachable.append(voter)
                if replica.disk_age_ns(now) > stall_ns:
                    lagging.append(voter)
            elif leadership is not None and is_counting_echoes:
                if leadership.echoed.get(voter, 0) < marks[0][0]:
                    continue
                reachable.append(voter)
                is_behind = leadership.peer_applied.get(voter, 0) < self._prefixes[0] if self._prefixes else False
                if is_behind or leadership.disk_ages.get(voter, 0) > stall_ns:
                    lagging.append(voter)
            else:
                link = states.get(voter)
                if link is not None and link.is_connected and link.is_heard:
                    reachable.append(voter)
        missing = tuple(voter for voter in governing.voters if voter not in reachable)
        size = governing.quorum.accept
        return Quorum(size, tuple(reachable), missing, tuple(lagging), len(reachable) - len(lagging) - size)

    def _disk(self, base: DiskState, now: int) -> DiskState:
        minute = self.sync.minute()
        oldest_at = self._journal_thread.oldest_write_at
        space = self._space
        return replace(
            base,
            sync_ms=None if minute is None else SyncSpread(minute.p50, minute.p99, minute.max),
            writing_for_ms=(now - oldest_at) // NS_PER_MS if oldest_at else 0,
            queue_bytes=self._journal_thread.waiting_bytes,
            bytes_per_second=self._durable_per_s,
            free_bytes=None if space is None else space[0],
            journal_bytes=None if space is None else space[1],
            measured_ms_ago=None if space is None else (now - self._measured_at) // NS_PER_MS,
            full=bool(self._journal.shortage),
            shortage=self._journal.shortage,
            failed=self.failed,
            damage=self.damage,
        )

    def _clients(self) -> Clients:
        figures = self._figures
        service = self._service
        return Clients(
            connections=figures.get("num_alive_connections", 0),
            sessions=len(service.machine.sessions),
            watches=service.watches.count,
            znodes=service.machine.node_count,
            ephemerals=figures.get("ephemerals_count", 0),
            data_bytes=service.machine.data_bytes,
            requests_per_s=round(self._requests_per_s, 1),
            outstanding=figures.get("outstanding_requests", 0),
        )

    def _clock(self, now: int) -> Clock:
        ahead_ms = min([self._ahead_ms, *self._ahead_slices])
        return Clock(
            self._jump_ms,
            None if self._jump_ms is None else round((now - self._jump_at) / SECOND_NS, 1),
            None if ahead_ms == _NEVER else ahead_ms,
        )

    def tallies(self, turns: int, dropped: int, counters: Counters) -> Tallies:
        """What was counted so far. ``dropped``: messages that the driver did not take."""
        return Tallies(
            sync=self.sync.octaves(),
            commit=self.commit.octaves(),
            apply=self.apply.octaves(),
            round_trips=tuple((peer, self.round_trips[peer].octaves()) for peer in sorted(self.round_trips)),
            turns=turns,
            leader_changes=self.leader_changes,
            journal_bytes=self._journal.durable - self._durable_at_start,
            requests=self._figures.get("packets_received", 0),
            replies=self._figures.get("packets_sent", 0),
            messages_sent=counters.sent,
            messages_received=counters.received,
            messages_dropped=counters.dropped + dropped,
            sent_bytes=counters.sent_bytes,
            received_bytes=counters.received_bytes,
        )


def _space_of(data: str) -> Callable[[], tuple[int, int]]:
    """A job for the file thread: free bytes of the disk for whoever is no superuser, and bytes of the directory's files."""

    def measure() -> tuple[int, int]:
        system = os.statvfs(data)
        used = 0
        for entry in os.scandir(data):
            if entry.is_file(follow_symlinks=False):
                used += entry.stat(follow_symlinks=False).st_size
        return system.f_bavail * system.f_frsize, used

    return measure


def _spread(samples: Samples) -> Spread | None:
    minute = samples.minute()
    return None if minute is None else Spread(minute.p50, minute.p99)


def _ms(duration_ns: int) -> float:
    return round(duration_ns / NS_PER_MS, 1)
