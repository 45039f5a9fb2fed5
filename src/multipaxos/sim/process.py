"""One replica's process on its machine: the real core and the real service over a simulated disk, clock and network.

A ``Process`` is the twin of ``host/driver.py``: it gathers what arrives, gives it to the core in one step, and carries
the effects out exactly as ``core/effects.py`` says. Whoever owns it decides when a turn takes place, when a sync returns
and when a message arrives: the random ``world.py``, or ``stage.py``, which does it on command. Every record, message and
applied slot passes by the oracle of ``checkers.py``.

Knows nothing of seeds, faults or clients.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.catchup import learn_of
from multipaxos.core.effects import Applied, Effects
from multipaxos.core.inputs import Disk, Handover, Input, PeerDown, PeerUp, Read, Submit, Wall
from multipaxos.core.membership import Configuration
from multipaxos.core.messages import Message
from multipaxos.core.records import Record
from multipaxos.core.replica import Replica
from multipaxos.core.settings import Settings
from multipaxos.service.service import Service as ShippedService
from multipaxos.sim.checkers import Oracle
from multipaxos.sim.disk import ProcessDisk, SimulatedDisk
from multipaxos.wire.report import Report, ReportAck

Payload = Message | Report | ReportAck
"""What travels between replicas."""

DIGEST_EVERY = 32
"""Behind every slot of this multiple the states of all replicas are compared (I7)."""

MACHINE_EPOCH_NS = 1_000_000_000
"""The boot-time clock of a machine that just started: above 0, as the core asks."""


@dataclass(slots=True)
class Clock:
    """The boot-time and wall clocks of one machine: they run at their own rate and show their own time."""

    zero: int = 0  # virtual time at which the machine started
    offset: int = MACHINE_EPOCH_NS  # what its boot-time clock showed then
    rate_ppm: int = 0  # how much faster than virtual time it runs
    wall_offset_ms: int = 1_700_000_000_000  # wall clock at boot time 0

    def local(self, now: int) -> int:
        """Boot time at virtual time ``now``."""
        return self.offset + (now - self.zero) * (1_000_000 + self.rate_ppm) // 1_000_000

    def virtual(self, local: int) -> int:
        """The first virtual time at which the boot-time clock shows ``local`` or more."""
        return self.zero + -(-(local - self.offset) * 1_000_000 // (1_000_000 + self.rate_ppm))


class Outbox(Protocol):
    """What a service asks of its driver; drained and cleared each turn."""

    commands: list[bytes]
    replies: dict[int, list[bytes]]
    closes: list[int]
    messages: list[tuple[ReplicaId, Report | ReportAck]]


class Service(Protocol):
    """The client side of a replica, as ``service/service.py`` has it."""

    @property
    def out(self) -> Outbox: ...
    @property
    def wake_at(self) -> int: ...
    @property
    def is_serving(self) -> bool: ...
    def connection_opened(self, connection: int, address: str, now: int) -> None: ...
    def bytes_received(self, connection: int, data: bytes, now: int) -> None: ...
    def connection_closed(self, connection: int, now: int) -> None: ...
    def applied(self, applied: Applied, now: int) -> None: ...
    def report_received(self, report: Report, now: int) -> None: ...
    def report_acknowledged(self, ack: ReportAck, now: int) -> None: ...
    def leadership(
        self,
        leader: ReplicaId,
        ballot: int,
        heartbeat_number: int,
        is_leading: bool,
        is_quorum_connected: bool,
        confirmed_round: int,
        now: int,
    ) -> None: ...
    def tick(self, now: int) -> None: ...


class PlainOutbox:
    """An outbox that stays empty."""

    __slots__ = ("closes", "commands", "messages", "replies")

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.replies: dict[int, list[bytes]] = {}
        self.closes: list[int] = []
        self.messages: list[tuple[ReplicaId, Report | ReportAck]] = []


class PlainMachine:
    """The smallest service: it keeps the commands it executes, in order, and speaks to no client."""

    __slots__ = ("executed", "is_serving", "out", "wake_at")

    def __init__(self) -> None:
        self.out = PlainOutbox()
        self.wake_at = 0
        self.is_serving = True
        self.executed: list[tuple[int, bytes]] = []  # (slot, command)

    def connection_opened(self, connection: int, address: str, now: int) -> None:
        """Clients are not served here."""

    def bytes_received(self, connection: int, data: bytes, now: int) -> None:
        """Clients are not served here."""

    def connection_closed(self, connection: int, now: int) -> None:
        """Clients are not served here."""

    def applied(self, applied: Applied, now: int) -> None:
        """Execute the commands of one slot."""
        for _, _, command in applied.commands:
            self.executed.append((applied.slot, command))

    def report_received(self, report: Report, now: int) -> None:
        """Nobody reports sessions here."""

    def report_acknowledged(self, ack: ReportAck, now: int) -> None:
        """Nobody reports sessions here."""

    def leadership(
        self,
        leader: ReplicaId,
        ballot: int,
        heartbeat_number: int,
        is_leading: bool,
        is_quorum_connected: bool,
        confirmed_round: int,
        now: int,
    ) -> None:
        """It makes no difference to a plain machine who leads."""

    def tick(self, now: int) -> None:
        """A plain machine waits for nothing."""

    def digest(self) -> str:
        """Names what was executed, in its order."""
        return str(crc32(repr(self.executed).encode()))


class Surroundings(Protocol):
    """What a process asks of the world around it."""

    def send(self, process: "Process", to: ReplicaId, payload: Payload) -> None:
        """Carry ``payload`` to a peer, or back to the process itself."""

    def wake(self, process: "Process", at: int) -> None:
        """Give ``process`` a turn at virtual time ``at`` or soon after."""

    def sync(self, process: "Process") -> None:
        """Begin a sync of what is appended; call ``synced`` when it returns."""

    def reply(self, process: "Process", connection: int, frames: list[bytes]) -> None:
        """Send framed bytes to a client."""

    def close(self, process: "Process", connection: int) -> None:
        """Close a client's connection, after its replies."""

    def readable(self, process: "Process", token: int) -> None:
        """The linearizable read ``token`` may be answered now."""

    def make_service(self, process: "Process") -> Service:
        """A new service for a process that starts."""

    def told(self, process: "Process", now: int, inputs: list[Input], effects: Effects) -> None:
        """A step is over; its effects have not been carried out yet."""


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """Something a client's connection did: opened (``data`` None, ``is_open``), sent bytes, closed."""

    connection: int
    is_open: bool
    data: bytes | None


class Process:
    """A replica's process: alive or not, its disk outlives it."""

    __slots__ = (
        "_gate", "_interrupted", "_is_handed_out", "_service_inputs", "_stepped_at", "_told_disk", "around", "clock", "core",
        "disk", "due", "effects", "id", "inbox", "incarnation", "is_listening", "is_paused", "is_ready", "is_syncing",
        "later_at", "life", "listed", "mark", "oracle", "service", "settings", "start_number", "timer_at",
    )  # fmt: skip

    def __init__(
        self,
        replica: ReplicaId,
        listed: Configuration,
        mark: int,
        settings: Settings,
        oracle: Oracle,
        around: Surroundings,
        is_listening: bool,
        disk: ProcessDisk | None = None,
    ) -> None:
        self.id = replica
        self.listed = listed
        self.mark = mark
        self.settings = settings
        self.oracle = oracle
        self.around = around
        self.is_listening = is_listening
        self.disk: ProcessDisk = SimulatedDisk() if disk is None else disk
        self.clock = Clock()
        self.core: Replica | None = None  # None while the process is down
        self.service: Service | None = None
        self.life = 0  # counts starts and crashes: what was under way for an earlier life is void
        self.incarnation = 0
        self.start_number = 0
        self.is_ready = False  # the copy at start is synced (rule-R37), so it may speak
        self.is_paused = False
        self.is_syncing = False
        self.due = 0  # virtual time of the next turn asked for, 0 for none; kept by the world, like the two below
        self.timer_at = 0  # the next event that looks whether a turn is due, 0 for none
        self.later_at = 0  # one behind it
        self.inbox: list[Input] = []
        self.effects: Effects | None = None  # of the last step
        self._service_inputs: list[Report | ReportAck | ClientEvent] = []
        self._gate: deque[tuple[int, list[tuple[ReplicaId, Message]]]] = deque()
        self._told_disk = 0
        self._stepped_at = 0  # ``now`` of the last step
        self._interrupted: Effects | None = None  # what a step asks for and is not carried out yet
        self._is_handed_out = False  # its first part is

    @property
    def is_up(self) -> bool:
        """Whether the process runs (paused or not)."""
        return self.core is not None

    # Life and death

    def start(self, now: int, start_number: int, chunk: int) -> None:
        """Start the process: recover from all that is readable on the disk, then copy and sync it (rule-R37).

        ``begin`` follows when that sync has returned. ``chunk`` is how many records are recovered at a time."""
        self.recover(now, start_number, chunk)
        self.around.sync(self)

    def recover(self, now: int, start_number: int, chunk: int) -> None:
        """The same without the sync, for a disk whose ``start`` has copied and synced already."""
        assert self.core is None
        self.incarnation, records = self.disk.start()
        self.life += 1
        self.start_number = start_number
        self.oracle.started(self.id, self.incarnation)
        self.service = self.around.make_service(self)
        self.core = Replica(
            self.id, self.listed, self.mark, self.incarnation, start_number, self.settings, self.is_listening
        )
        self.is_ready = False
        self._told_disk = 0
        local = self.clock.local(now)
        for first in range(0, len(records), chunk):
            effects = self.core.recover(records[first : first + chunk])
            for applied in effects.applied:
                self._apply(applied, local)
        ledger = self.core.ledger
        self.oracle.recovered(
            self.id, self.core.promised, self.core.acceptor.votes, ledger.learned_above_prefix(), ledger.chosen_prefix
        )
        self._check()

    def begin(self, now: int, drawn: int) -> Effects:
        """The copy is durable: arm the timers and take part."""
        assert self.core is not None and not self.is_ready
        self.is_ready = True
        local = self.clock.local(now)
        effects = self.core.begin(local, drawn)
        self.around.told(self, now, [], effects)
        self.inbox.insert(0, Wall(self.clock.wall_offset_ms))
        self._write_and_send(effects, local)
        self._apply_and_answer(effects, local)
        self._check()
        self.around.wake(self, now)
        return effects

    def stop(self) -> None:
        """The process is gone, with all that was only in its memory. The disk is the caller's to treat."""
        self.life += 1
        self.core = None
        self.service = None
        self.is_ready = False
        self.is_paused = False
        self.is_syncing = False
        self.due = 0
        self.timer_at = 0
        self.later_at = 0
        self.inbox = []
        self._service_inputs = []
        self._gate.clear()
        self._interrupted = None

    # What arrives; the caller gives a turn afterwards

    def arrive(self, payload: Payload) -> None:
        """A message from a peer or from this process itself."""
        if isinstance(payload, (Report, ReportAck)):
            self._service_inputs.append(payload)
        else:
            self.oracle.received(self.id, payload)
            self.inbox.append(payload)

    def give(self, given: Submit | Read | PeerUp | PeerDown | Wall | Handover) -> None:
        """Another input for the core."""
        self.inbox.append(given)

    def client_event(self, event: ClientEvent) -> None:
        """A client's connection did something."""
        self._service_inputs.append(event)

    # A turn

    def turn(self, now: int, drawn: int) -> Effects:
        """One turn of the loop, as ``host/driver.py`` makes it: all that arrived in one step."""
        effects = self.step(now, drawn)
        self._write_and_send(effects, self._stepped_at)
        self._answer(effects, now, self._stepped_at)
        return effects

    def step(self, now: int, drawn: int) -> Effects:
        """The first third of a turn: the core has decided, and nothing of it has left yet. ``interrupt`` may follow."""
        core = self.core
        service = self.service
        assert core is not None and service is not None and self.is_ready
        local = self.clock.local(now)
        inputs = self.inbox
        self.inbox = []
        if self._service_inputs:
            self._serve(service, local)
        if 0 < service.wake_at <= local:
            service.tick(local)
        commands = service.out.commands
        if commands:
            inputs.append(Submit(tuple(commands)))
            commands.clear()
        oldest = self.disk.oldest_write_at
        if oldest != self._told_disk:
            self._told_disk = oldest
            inputs.append(Disk(oldest))
        serial = 0
        for given in inputs:
            if isinstance(given, Submit):
                serial = serial or core.next_serial
                self.oracle.submitted(self.id, self.start_number, serial, given.commands)
                serial += len(given.commands)
        effects = core.step(inputs, local, drawn)
        self.around.told(self, now, inputs, effects)
        self._stepped_at = local
        return effects

    def interrupt(self, effects: Effects, is_handed_out: bool) -> None:
        """The process stands still inside a step: nothing of ``effects`` is carried out yet, or, with ``is_handed_out``,
        only its first part."""
        self._interrupted = effects
        self._is_handed_out = is_handed_out
        if is_handed_out:
            self._write_and_send(effects, self._stepped_at)

    @property
    def is_inside_step(self) -> bool:
        """Whether the core has decided something that is not carried out yet."""
        return self._interrupted is not None

    def go_on(self, now: int) -> None:
        """End the turn that was interrupted. The clock is read anew, as ``host/driver.py`` does (rule-R26)."""
        effects = self._interrupted
        assert effects is not None
        self._interrupted = None
        if not self._is_handed_out:
            self._write_and_send(effects, self._stepped_at)
        self._answer(effects, now, self.clock.local(now))

    def _answer(self, effects: Effects, now: int, later: int) -> None:
        """The last third of a turn: chosen slots are applied, and clients are answered."""
        core = self.core
        service = self.service
        assert core is not None and service is not None
        self._apply_and_answer(effects, self._stepped_at)
        self._check()
        service.leadership(
            core.leader,
            core.leader_ballot,
            core.heartbeat_number,
            core.is_leading,
            core.is_quorum_connected,
            core.confirmed_round,
            later,
        )
        out = service.out
        if out.replies or out.closes or out.messages:
            self._drain(out)
        if out.commands or self.inbox:
            self.around.wake(self, now)
        wake_at = effects.wake_at
        service_wake_at = service.wake_at
        if service_wake_at > 0 and (wake_at == 0 or service_wake_at < wake_at):
            wake_at = service_wake_at
        if wake_at:
            self.around.wake(self, max(now, self.clock.virtual(wake_at)))

    def synced(self, position: int) -> list[Record]:
        """A sync up to ``position`` has returned: what waited for it is released."""
        fresh = self.disk.synced(position)
        self.is_syncing = False
        for record in fresh:
            self.oracle.durable(self.id, record)
        return fresh

    def release(self) -> None:
        """Send what waited for the durable position, in the order it was written."""
        gate = self._gate
        durable = self.disk.durable
        while gate and gate[0][0] <= durable:
            for to, message in gate.popleft()[1]:
                self._send(to, message)
        if durable < self.disk.appended and not self.is_syncing:
            self.around.sync(self)

    @property
    def is_gated(self) -> bool:
        """Whether something waits for a sync."""
        return bool(self._gate)

    def _serve(self, service: Service, local: int) -> None:
        events = self._service_inputs
        self._service_inputs = []
        for event in events:
            if isinstance(event, Report):
                service.report_received(event, local)
            elif isinstance(event, ReportAck):
                service.report_acknowledged(event, local)
            elif event.data is not None:
                service.bytes_received(event.connection, event.data, local)
            elif event.is_open:
                service.connection_opened(event.connection, f"10.0.0.{event.connection % 250 + 1}:4711", local)
            else:
                service.connection_closed(event.connection, local)

    def _write_and_send(self, effects: Effects, local: int) -> None:
        self.effects = effects
        disk = self.disk
        for record in effects.writes:
            self.oracle.appended(self.id, record)
            disk.append(record, local)
        for to, message in effects.messages:
            self._send(to, message)
        if effects.when_durable:
            position = disk.appended
            if position <= disk.durable:
                for to, message in effects.when_durable:
                    self._send(to, message)
            else:
                self._gate.append((position, effects.when_durable))

    def _apply_and_answer(self, effects: Effects, local: int) -> None:
        disk = self.disk
        for applied in effects.applied:
            self._apply(applied, local)
        for lookup in effects.lookups:
            chosen = disk.read(lookup.first, lookup.last, self.settings.page_bytes_max)
            if chosen:
                self._send(lookup.requester, learn_of(self.id, chosen, lookup.votes, lookup.chosen_prefix))
        for token in effects.readable:
            self.around.readable(self, token)
        if effects.writes and not self.is_syncing:
            self.around.sync(self)

    def _send(self, to: ReplicaId, message: Message) -> None:
        self.oracle.released(self.id, message)
        self.around.send(self, to, message)

    def _apply(self, applied: Applied, local: int) -> None:
        assert self.service is not None
        self.oracle.applied(self.id, self.start_number, applied)
        self.service.applied(applied, local)
        if applied.slot % DIGEST_EVERY == 0:
            self.oracle.digested(self.id, applied.slot, _digest_of(self.service))

    def _check(self) -> None:
        core = self.core
        assert core is not None
        ledger = core.ledger
        self.oracle.stepped(self.id, core.acceptor.promised, ledger.chosen_prefix, ledger.applied)

    def _drain(self, out: Outbox) -> None:
        if out.replies:
            for connection, frames in out.replies.items():
                self.around.reply(self, connection, frames)
            out.replies = {}
        if out.closes:
            for connection in out.closes:
                self.around.close(self, connection)
            out.closes = []
        if out.messages:
            for to, message in out.messages:
                self.around.send(self, to, message)
            out.messages = []


def _digest_of(service: Service) -> str:
    if isinstance(service, PlainMachine):
        return service.digest()
    assert isinstance(service, ShippedService)
    return service.machine.digest()
