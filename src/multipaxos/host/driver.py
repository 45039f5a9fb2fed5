"""The loop of a replica: input -> core -> write, sync, send, apply, reply. The file to read first in this package.

Callbacks of sockets, threads and timers only collect what happened. Once per turn of the event loop ONE turn runs, with
all of it (``_run_turn``): clients' bytes become commands; the core takes all inputs in one step; what it asks for is
carried out in the order that ``core/effects.py`` gives. So the cost of a turn is shared by all that came in it, and a
batch is what one turn brought (rule-R54).

What may not leave before the disk has it waits in ``_waiting`` under a journal position, also when the step that asked
for it wrote nothing (rule-R33); the journal thread says how far all is durable, and ``_durable_up_to`` lets go of it.

Time is read after the inputs came and before the core sees them (rule-R22), and once more before replies are written:
a process that was stopped in between must not answer from the past (rule-R26).

Decides nothing about Paxos, sessions or znodes. ``process.py`` builds what this joins.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from multipaxos.core.ballot import NO_BALLOT, ReplicaId, ballot_text
from multipaxos.core.catchup import learn_of
from multipaxos.core.effects import Applied, Effects, Lookup
from multipaxos.core.inputs import Disk, Handover, Input, PeerDown, PeerUp, Submit, Wall
from multipaxos.core.membership import Configuration
from multipaxos.core.messages import Accept, Accepted, Echo, Learn, Message, Prepare
from multipaxos.core.reasons import note_text
from multipaxos.core.replica import Replica
from multipaxos.host.clock import boot_ns, wall_offset_ms
from multipaxos.host.collector import Collector
from multipaxos.host.gateway import BLOCKED, CLOSED, DATA, ENDED, OPENED, Gateway
from multipaxos.host.journal_thread import FileThread, JournalThread
from multipaxos.host.logs import STRANGER, Troubles
from multipaxos.host.observer import Observer
from multipaxos.service.service import Service
from multipaxos.storage.faults import JournalDamaged, JournalFailed
from multipaxos.storage.journal import Journal
from multipaxos.wire.peer import PeerMessage
from multipaxos.wire.report import Report, ReportAck

SECOND_NS: Final = 1_000_000_000
DISK_GIVEN_NS: Final = 50_000_000
"""The core hears the age of the oldest write at least this often, if it hears anything: it goes into every heartbeat."""

JOURNAL_QUEUE_BYTES_MAX: Final = 128 << 20
"""Above this the disk stands still: what would have to be written is dropped as if the network had lost it, so that a hung
disk costs this replica's vote and not its memory (rule-R31)."""

LONG_TURN_COMMANDS: Final = 64
"""Executing so many commands takes about half a millisecond."""

LOOKUPS_MAX: Final = 16

log = logging.getLogger("multipaxos")


class Peers(Protocol):
    """What the driver needs of ``transport/tcp.py``."""

    def send(self, peer: ReplicaId, message: PeerMessage) -> None:
        """Put a message in a peer's outbox."""

    def flush(self) -> None:
        """Write what this turn sent."""

    def drop(self, peer: ReplicaId, reason: str) -> None:
        """Close the connection a peer sends on."""

    def connected(self) -> list[ReplicaId]:
        """The peers that are reached."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a replica ended."""

    reason: str
    is_failure: bool


class Driver:
    """Joins the parts of one replica and runs its turns. Its public methods are called on the loop."""

    def __init__(
        self,
        replica: Replica,
        service: Service,
        journal: Journal,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        on_configuration: Callable[[Configuration], None],
        on_second: Callable[[], None],
    ) -> None:
        self.replica = replica
        self.service = service
        self.gateway = Gateway(self.request_turn)
        self.journal = journal
        self.journal_thread = JournalThread(journal, loop, self._durable_up_to, self.journal_failed, self._synced)
        self.files = FileThread(loop, LOOKUPS_MAX)
        self.observer = Observer(replica, service, journal, self.journal_thread, self.files)
        self.peers: Peers | None = None  # set before ``start``: the transport needs this object for its callbacks
        self.stopped: asyncio.Future[Stopped] = loop.create_future()
        self.refusals: dict[ReplicaId, str] = {}  # peers that refuse this replica, and why
        self.turns = 0
        self.dropped = 0  # messages not taken because the journal's queue was full
        self._loop = loop
        self._random = random
        self._on_configuration = on_configuration
        self._on_second = on_second
        self._collector = Collector()
        self._is_turn_due = False
        self._is_over = False
        self._inputs: list[Input] = []
        self._reports: list[Report | ReportAck] = []
        self._waiting: deque[tuple[int, list[tuple[ReplicaId, Message]]]] = deque()
        self._durable = journal.durable
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._second_at = 0
        self._disk_given_at = 0
        self._is_opening = False  # the client port is open, or about to be
        self.is_listening = False  # clients are let in
        self._said_leader = (NO_BALLOT, False)
        self._troubles = Troubles()

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: after the last record was recovered, and the peers are known."""
        assert self.peers is not None
        self.journal_thread.start()
        self.files.start()
        now = boot_ns()
        effects = self.replica.begin(now, self._random.getrandbits(32))
        self._carry_out(effects, now)
        self._collector.start()

    def stop(self, reason: str = "", is_failure: bool = False) -> None:
        """End: no turn runs after this, and nothing more leaves."""
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._collector.stop()
        if not self.stopped.done():
            self.stopped.set_result(Stopped(reason, is_failure))

    def hand_over(self, target: ReplicaId) -> None:
        """Ask the core to give the leadership to ``target`` (rule-R30)."""
        self._inputs.append(Handover(target))
        self.request_turn()

    def open_requests(self) -> int:
        """How many requests of clients came in and are not answered."""
        return len(self.gateway.events) + self.service.figures(boot_ns())["outstanding_requests"]

    def journal_failed(self, text: str) -> None:
        """The disk is not to be trusted any more: stop at once, never try again (rule-R37)."""
        log.error("%s", text)
        self.observer.failed = text
        self.stop(text, True)

    # --- what happens, collected -------------------------------------------------------------------------------------

    def request_turn(self) -> None:
        """Something came in: a turn is due."""
        if not self._is_turn_due:
            self._is_turn_due = True
            self._loop.call_soon(self._turn)

    def on_messages(self, peer: ReplicaId, messages: list[PeerMessage]) -> None:
        """From the transport."""
        is_full = self.journal_thread.waiting_bytes > JOURNAL_QUEUE_BYTES_MAX
        prefix = self.replica.chosen_prefix
        inputs = self._inputs
        for message in messages:
            if isinstance(message, Accepted):
                if message.slot <= prefix:
                    continue  # a vote too many, for a slot known to be chosen: nothing a turn could do with it
                inputs.append(message)
            elif isinstance(message, (Report, ReportAck)):
                self._reports.append(message)
                if isinstance(message, ReportAck):
                    self.observer.acknowledged(peer, message.serial, boot_ns())
            elif is_full and isinstance(message, (Accept, Learn, Prepare)):
                self.dropped += 1
                continue
            else:
                inputs.append(message)
                if isinstance(message, Echo):
                    self.observer.echoed(peer, message.ballot, message.number, boot_ns())
            self.request_turn()

    def peer_up(self, peer: ReplicaId) -> None:
        """From the transport."""
        log.info("connected to replica %d", peer)
        self.refusals.pop(peer, None)
        self._inputs.append(PeerUp(peer))
        self.request_turn()

    def peer_down(self, peer: ReplicaId, is_refused: bool) -> None:
        """From the transport."""
        log.info("replica %d: %s", peer, "nobody listens there" if is_refused else "the connection broke")
        self._inputs.append(PeerDown(peer, is_refused))
        self.request_turn()

    def on_refused(self, peer: ReplicaId, reason: str) -> None:
        """From the transport. One peer may be mistaken, or of another cluster; a quorum of them is right: then this
        replica can do nothing but say so, and end."""
        self.refusals[peer] = reason
        self.on_trouble(peer, f"replica {peer} refuses this replica: {reason}")
        configuration = self.replica.membership.newest()
        others = [voter for voter in configuration.voters if voter != self.replica.id]
        is_final = configuration.quorum.is_accept_quorum(self.refusals) or all(one in self.refusals for one in others)
        if others and is_final:
            who = ", ".join(str(one) for one in sorted(self.refusals))
            self.stop(f"refused by replicas {who}: {reason}", True)

    def on_trouble(self, peer: ReplicaId, reason: str) -> None:
        """From the transport: said once, and again every half minute while it lasts."""
        is_member = any(member.id == peer for member in self.replica.membership.newest().members)
        for line in self._troubles.lines(peer if is_member else STRANGER, reason, boot_ns()):
            log.warning("%s", line)

    # --- the turn ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._is_turn_due = False
        if self._is_over:
            return
        try:
            self._run_turn()
        except JournalFailed as error:
            self.journal_failed(str(error))
        except Exception as error:
            # An exception here is a defect: what this replica holds in memory may be wrong, so it must not go on. What
            # it has promised and accepted is safe on its disk.
            log.exception("a turn failed")
            self.stop(f"a defect, please report it: {error!r}; the log has the details", True)

    def _run_turn(self) -> None:
        self.turns += 1
        now = boot_ns()
        service = self.service
        ended: list[int] = []
        if self.gateway.events:
            ended = self._take_client_events(now)
        if self._reports:
            self._take_reports(now)
        due_at = service.wake_at
        if due_at and now >= due_at:
            service.tick(now)
        inputs = self._inputs
        self._inputs = []
        if now - self._disk_given_at >= DISK_GIVEN_NS:
            self._disk_given_at = now
            inputs.insert(0, Disk(self.journal_thread.oldest_write_at))
        if now >= self._second_at:
            self._each_second(now, inputs)
        out = service.out
        if out.commands:
            inputs.append(Submit(tuple(out.commands)))
            out.commands = []
        effects = self.replica.step(inputs, now, self._random.getrandbits(32))
        self._carry_out(effects, now)
        if ended:
            self._close_ended(ended, now)

    def _take_client_events(self, now: int) -> list[int]:
        """Hands the service what happened on client sockets, in order. Returns those whose client will say no more."""
        service = self.service
        events = self.gateway.events
        self.gateway.events = []
        ended: list[int] = []
        for kind, number, data, address in events:
            if kind == DATA:
                service.bytes_received(number, data, now)
            elif kind == OPENED:
                service.connection_opened(number, address, now)
            elif kind == CLOSED:
                service.connection_closed(number, now)
            elif kind == ENDED:
                ended.append(number)
            elif kind == BLOCKED:
                service.connection_blocked(number)
            else:
                service.connection_unblocked(number, now)
        return ended

    def _close_ended(self, ended: list[int], now: int) -> None:
        """The client has shut its side. What could be answered at once was; the rest nobody waits for."""
        for number in ended:
            connection = self.gateway.connections.get(number)
            if connection is not None:
                self.service.connection_closed(number, now)
                connection.close()

    def _take_reports(self, now: int) -> None:
        service = self.service
        reports = self._reports
        self._reports = []
        for message in reports:
            if isinstance(message, Report):
                service.report_received(message, now)
            else:
                service.report_acknowledged(message, now)

    def _carry_out(self, effects: Effects, now: int) -> None:
        """What a step asks for, in the order of ``core/effects.py``; then what the client side asks for."""
        replica = self.replica
        service = self.service
        peers = self.peers
        own = replica.id
        assert peers is not None
        if effects.notes:
            for reason, operands in effects.notes:
                log.debug("%s: %s", reason, note_text(reason, operands))
        if effects.stop:
            # Nothing of this step leaves: the core found out that it must not speak.
            self.stop(effects.stop, True)
            return
        if effects.writes:
            position = self.journal_thread.append(effects.writes, now, wakes=False)
        else:
            position = self.journal_thread.position
        for to, message in effects.messages:
            if to == own:
                self._inputs.append(message)
            else:
                peers.send(to, message)
        if effects.when_durable:
            if position <= self._durable:
                self._release(effects.when_durable)
            else:
                self._waiting.append((position, effects.when_durable))
        # Peers need not wait for what follows. The disk need not either, when that is long; when it is short, its thread
        # could not have the interpreter any earlier, and would only take the processor from us.
        peers.flush()
        if _commands_in(effects.applied) >= LONG_TURN_COMMANDS:
            self.journal_thread.wake()
        began = boot_ns()
        for applied in effects.applied:
            service.applied(applied, now)
            if applied.configuration is not None:
                self._configured(applied)
        for lookup in effects.lookups:
            self._look_up(lookup)
        for peer in effects.malformed:
            peers.drop(peer, f"replica {peer} sent what no honest replica sends")
        # Read anew: this process may have been stopped since the turn began, and then nothing may be answered (rule-R26).
        later = boot_ns()
        service.leadership(
            replica.leader,
            replica.leader_ballot,
            replica.heartbeat_number,
            replica.is_leading,
            replica.is_quorum_connected,
            replica.confirmed_round,
            later,
        )
        self.observer.turned(effects.applied, now, began, later)
        self._take_outbox(own, peers, later)
        peers.flush()
        self.journal_thread.wake()
        if not self._is_opening and service.is_serving:
            self._is_opening = True
            self._loop.create_task(self._listen())
        if (replica.leader_ballot, replica.is_leading) != self._said_leader:
            self._say_leader()
        if self._inputs or self._reports or service.out.commands:
            self.request_turn()
        self._arm(effects.wake_at, later)

    def _take_outbox(self, own: ReplicaId, peers: Peers, now: int) -> None:
        out = self.service.out
        connections = self.gateway.connections
        for number, frames in out.replies.items():
            connection = connections.get(number)
            if connection is not None:
                connection.write(frames[0] if len(frames) == 1 else b"".join(frames))
        for number in out.closes:
            connection = connections.get(number)
            if connection is not None:
                connection.close()
        for number in out.pauses:
            connection = connections.get(number)
            if connection is not None:
                connection.pause_reading()
        for number in out.resumes:
            connection = connections.get(number)
            if connection is not None:
                connection.resume_reading()
        for to, message in out.messages:
            if to == own:
                self._reports.append(message)
                continue
            peers.send(to, message)
            if isinstance(message, Report):
                self.observer.reported(message.serial, now)
        commands = out.commands  # made after this turn's were submitted: they go into the next
        out.clear()
        out.commands = commands

    def _synced(self, duration_ns: int) -> None:
        """From the journal thread: what one flush took."""
        self.observer.sync.note(duration_ns)

    def _durable_up_to(self, position: int) -> None:
        """From the journal thread: all up to ``position`` is on the disk, and what waited for it may leave (rule-R33)."""
        if self._is_over:
            return
        self._durable = position
        waiting = self._waiting
        while waiting and waiting[0][0] <= position:
            self._release(waiting.popleft()[1])
        assert self.peers is not None
        self.peers.flush()

    def _release(self, messages: Sequence[tuple[ReplicaId, Message]]) -> None:
        peers = self.peers
        assert peers is not None
        own = self.replica.id
        for to, message in messages:
            if to != own:
                peers.send(to, message)
            elif not isinstance(message, Accepted) or message.slot > self.replica.chosen_prefix:
                self._inputs.append(message)
                self.request_turn()

    # --- catch-up from the journal -----------------------------------------------------------------------------------

    def _look_up(self, lookup: Lookup) -> None:
        """Decrees that memory has let go are read on the file thread. Beyond the bound the request is dropped: the
        laggard asks again."""
        bytes_max = self.replica.settings.page_bytes_max
        journal = self.journal

        def read() -> object:
            return journal.read(lookup.first, lookup.last, bytes_enough=bytes_max)

        def done(found: object) -> None:
            self._looked_up(lookup, found)

        self.files.submit(read, done)

    def _looked_up(self, lookup: Lookup, found: object) -> None:
        if self._is_over:
            return
        if isinstance(found, JournalDamaged):
            # The loss of old decrees costs nobody's promise; others have them. But it must not go unheard.
            self.observer.damage = str(found)
            self.on_trouble(0, f"cannot help replica {lookup.requester} to catch up: {found}")
            return
        if isinstance(found, Exception):
            self.journal_failed(str(found))
            return
        assert isinstance(found, list) and self.peers is not None
        if found:
            learn = learn_of(self.replica.id, found, lookup.votes, lookup.chosen_prefix)
            self.peers.send(lookup.requester, learn)
            self.peers.flush()

    # --- small parts -------------------------------------------------------------------------------------------------

    def _configured(self, applied: Applied) -> None:
        configuration = applied.configuration
        assert configuration is not None
        log.info("slot %d: configuration %d of cluster %s", applied.slot, configuration.version, configuration.cluster)
        self._on_configuration(configuration)

    async def _listen(self) -> None:
        try:
            await self.gateway.listen()
        except OSError as error:
            self.stop(f"cannot listen for clients: {error}", True)
            return
        self.is_listening = True
        log.info("serving clients at %s", ", ".join(self.gateway.addresses))
        self._on_second()

    def _say_leader(self) -> None:
        replica = self.replica
        self._said_leader = (replica.leader_ballot, replica.is_leading)
        self.observer.led_by(replica.leader_ballot, boot_ns())
        if replica.leader == 0:
            log.info("no leader is known")
        elif replica.is_leading:
            log.info("leads at ballot %s, epoch %d", ballot_text(replica.leader_ballot), replica.epoch)
        elif replica.leader != replica.id:
            log.info("follows replica %d at ballot %s", replica.leader, ballot_text(replica.leader_ballot))

    def _each_second(self, now: int, inputs: list[Input]) -> None:
        self._second_at = now + SECOND_NS
        inputs.insert(0, Wall(wall_offset_ms()))
        # With more voters the others' room counts too, which no message tells yet; alone there is nobody to ask.
        if self.replica.membership.newest().voters == (self.replica.id,):
            self.service.is_full = bool(self.journal.shortage)
        self._collector.look()
        self._on_second()

    def _arm(self, wake_at: int, now: int) -> None:
        """Sees to it that a turn runs no later than the core, the service or the second asks for."""
        due_at = min(wake_at, self._second_at) if wake_at else self._second_at
        service_at = self.service.wake_at
        if service_at:
            due_at = min(due_at, service_at)
        if due_at <= now:
            self.request_turn()
            return
        # An earlier wake-up than needed costs an empty turn; so the timer is moved only when it would be too late.
        if self._timer is None or due_at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due_at
            self._timer = self._loop.call_later(max(due_at - now, 1_000_000) / SECOND_NS, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.request_turn()


def _commands_in(applied: list[Applied]) -> int:
    count = 0
    for one in applied:
        count += len(one.commands)
    return count
