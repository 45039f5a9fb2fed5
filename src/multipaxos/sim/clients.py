"""Simulated ZooKeeper clients: sessions that work, lose their connections and resume elsewhere, byte for byte.

Each client is one session. It speaks the client protocol through ``wire/zookeeper.py`` to the real service of a simulated
replica, pipelines a few requests, pings, gives up on a replica that is silent or closes, and attaches to another. Its old
connection may live on for a while with bytes under way, as real ones do. What it asks for, also again after an unknown
outcome, stands in ``asking.py``. All it sends and hears is judged as it happens by ``history.py``, with the help of an
oracle, and recorded; at the end ``judging.py`` judges the recording alone, as it does those of real processes.

Some clients are *mortal*: they fall silent for ever at some moment, and their session must expire; others close theirs.
"""

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

from multipaxos.core.ballot import ReplicaId
from multipaxos.service.service import Service
from multipaxos.service.settings import ServiceSettings
from multipaxos.sim.asking import Asker
from multipaxos.sim.checkers import Violation
from multipaxos.sim.history import History, Operation, chosen_of
from multipaxos.sim.judging import judge
from multipaxos.sim.network import MICROSECOND_NS, MILLISECOND_NS
from multipaxos.sim.process import ClientEvent, Process
from multipaxos.sim.process import Service as AnyService
from multipaxos.sim.rearming import Armed
from multipaxos.sim.recorded import ALIVE, EXPIRED, HEALED, KILLED, LOST, OPENED, RESUMED, Held, Recorder
from multipaxos.sim.recorded import History as RecordedHistory
from multipaxos.sim.swarm import SECOND_NS
from multipaxos.wire.zookeeper import (
    OP_CLOSE_SESSION,
    OP_PING,
    OP_SET_WATCHES2,
    XID_EVENT,
    XID_PING,
    XID_SET_WATCHES,
    ConnectRequest,
    FrameReader,
    decode_connect_response,
    decode_event,
    decode_reply_header,
    encode_connect_request,
    frame,
    request_frame,
)

if TYPE_CHECKING:
    from multipaxos.sim.world import World

LINK_MIN_NS = 50 * MICROSECOND_NS
LINK_MAX_NS = 3 * MILLISECOND_NS
HANDSHAKE_NS = 1_500 * MILLISECOND_NS
"""How long a client waits for the answer to its handshake before it tries the next replica."""


class Wire:
    """One connection between a client and a replica, from the client's side."""

    __slots__ = ("client", "heard_at", "is_closed", "last_down", "last_up", "life", "number", "process", "reader")

    def __init__(self, number: int, client: "Client", process: Process, now: int) -> None:
        self.number = number
        self.client = client
        self.process = process
        self.life = process.life
        self.reader = FrameReader()
        self.is_closed = False  # by the client or under it: what still arrives is not read
        self.heard_at = now
        self.last_up = 0  # arrival of the last bytes sent: a connection keeps order
        self.last_down = 0


class Client:
    """One session."""

    __slots__ = (
        "_armed",
        "_in_flight",
        "_is_rearming",
        "_patience_ms",
        "_pings",
        "_random",
        "_rests_until",
        "_tick_at",
        "answered",
        "asker",
        "connected_at",
        "is_closing",
        "is_dead",
        "is_over",
        "last_zxid",
        "left",
        "name",
        "operations",
        "password",
        "session",
        "timeout_ms",
        "window",
        "wire",
        "workload",
        "xid",
    )

    def __init__(self, workload: "ClientWorkload", name: int, operations: int, timeout_ms: int, window: int) -> None:
        self.workload = workload
        self.name = name
        self.left = operations
        self.timeout_ms = timeout_ms
        self.window = window  # 1: sequential; more: that many requests in flight
        self.session = 0
        self.password = bytes(16)
        self.last_zxid = 0
        self.xid = 0
        self.wire: Wire | None = None
        self.connected_at = 0  # when the present handshake was sent
        self.operations: list[Operation] = []
        self.answered = 0  # of these
        self.is_closing = False
        self.is_dead = False  # fell silent for ever
        self.is_over = False  # nothing more will be done
        self._in_flight: list[Operation] = []
        self._pings: list[int] = []  # when each unanswered ping was sent
        self._random = Random(workload.random.getrandbits(64))
        self._rests_until = 0
        self._tick_at = 0
        self.asker = Asker(name, self._random)
        self._armed = Armed()
        self._is_rearming = self._random.random() < 0.8  # as Java clients do; kazoo drops its watches instead
        self._patience_ms = self._random.choice((100, 100, 1_000))  # at most, before it connects again

    # Connections

    def connect(self) -> None:
        """Try a replica, whichever; come again when nobody listens there."""
        if self.wire is not None or self.is_dead or self.is_over:
            return
        world = self.workload.world
        process = world.replicas[self._random.choice(world.ids)]
        service = process.service
        if not process.is_ready or service is None or not service.is_serving:
            world.after(self._random.randrange(20, 150) * MILLISECOND_NS, self.connect)
            return
        self.wire = self.workload.open(self, process)
        self.connected_at = world.now
        self._pings = []
        self.xid = 0
        request = ConnectRequest(0, self.last_zxid, self.timeout_ms, self.session, self.password, False)
        self.workload.send(self.wire, frame(encode_connect_request(request)))
        world.after(HANDSHAKE_NS, self._give_up_handshake, self.wire)

    def _give_up_handshake(self, wire: Wire) -> None:
        if self.wire is wire and self.xid == 0:
            self.leave()

    def leave(self) -> None:
        """Give the connection up and try another replica; what was not answered stays unknown."""
        wire = self.wire
        if wire is None:
            return
        self.wire = None
        wire.is_closed = True
        self.workload.hang_up(wire)
        self._lost(wire)

    def closed(self, wire: Wire) -> None:
        """The replica closed, or died."""
        if wire is not self.wire:
            return
        wire.is_closed = True
        self.wire = None
        self._lost(wire)

    def _lost(self, wire: Wire) -> None:
        self._mark(LOST, wire)
        for operation in self._in_flight:
            operation.is_unknown = True
            self.workload.recorder.unknown(operation.call)
            self.asker.unknown(operation.call)
        self._in_flight = []
        self.is_closing = False  # whether the close was executed is unknown, too: it is asked for again
        # Who may lose its session is in no hurry: then what it believes of it is worth checking.
        patience_ms = self._patience_ms if self.timeout_ms >= self.workload.living_ms else 3_000
        self.workload.world.after(self._random.randrange(1, patience_ms) * MILLISECOND_NS, self.connect)

    def die(self) -> None:
        """Fall silent for ever."""
        self.is_dead = True
        self.left = 0
        self._in_flight = []
        if self.wire is not None:
            self._mark(KILLED, self.wire)
            self.wire.is_closed = True
            self.workload.hang_up(self.wire)
            self.wire = None
        elif self.session:
            self.workload.recorder.mark(KILLED, self.name, self.session, 0, self.workload.world.now)

    def _mark(self, kind: str, wire: Wire, sent_ns: int = 0, timeout_ms: int = 0, zxid: int = 0) -> None:
        now = self.workload.world.now
        self.workload.recorder.mark(kind, self.name, self.session, wire.number, now, sent_ns, timeout_ms, zxid)

    # What arrives

    def received(self, wire: Wire, data: bytes) -> None:
        """Bytes from the replica."""
        if wire is not self.wire:
            return
        for payload in wire.reader.feed(data):
            wire.heard_at = self.workload.world.now
            if self.xid == 0:
                self._attached(wire, payload)
            else:
                self._reply(wire, payload)
            if wire is not self.wire:
                return

    def _attached(self, wire: Wire, payload: bytes) -> None:
        response = decode_connect_response(payload)
        if response.timeout_ms == 0:
            self._mark(EXPIRED, wire)
            self._refused()
            return
        if self.session and response.session != self.session:
            raise Violation("rule-R9", f"session {self.session:#x} is resumed as {response.session:#x}")
        is_resumed = self.session != 0
        self.session = response.session
        self.password = response.password
        self._mark(RESUMED if is_resumed else OPENED, wire, self.connected_at, response.timeout_ms)
        history = self.workload.history
        history.began(self.session, response.timeout_ms, self.connected_at)
        self.xid = 1
        if is_resumed:
            self.workload.resumed += 1
            self._rearm()
        if history.sessions[self.session].has_closed:
            self.close()
        else:
            self.work()
        self._schedule_tick()

    def _refused(self) -> None:
        """The session is over, says the replica."""
        lives = self.workload.history.sessions.get(self.session)
        if lives is not None and lives.has_closed and lives.is_ended:
            self.is_over = True
            self.leave()
            return
        if lives is None or not lives.is_ended:
            raise Violation("rule-R24", f"session {self.session:#x} is told it has expired; it has not")
        if self.timeout_ms >= self.workload.living_ms:
            raise Violation("rule-R24", f"session {self.session:#x} of a living client is lost")
        self.workload.lost += 1
        self.leave()
        self.session = 0
        self.password = bytes(16)
        self.last_zxid = 0
        self.asker.renewed()
        self._armed = Armed()

    def _rearm(self) -> None:
        """The watches of the last connection: set again, or forgotten."""
        if self._is_rearming and not self._armed.is_empty:
            self._invoke(OP_SET_WATCHES2, self._armed.request(self.last_zxid), XID_SET_WATCHES)
        else:
            self._armed = Armed()

    def _reply(self, wire: Wire, payload: bytes) -> None:
        header = decode_reply_header(payload)
        if header.xid == XID_PING:
            if not self._pings:
                raise Violation("rule-R25", f"session {self.session:#x} gets an answer to a ping it never sent")
            sent_ns = self._pings.pop(0)
            self._mark(ALIVE, wire, sent_ns, self.timeout_ms, header.zxid)
            self.workload.history.believe(self.session, sent_ns)
            return
        recorder = self.workload.recorder
        now = self.workload.world.now
        if header.xid == XID_EVENT:
            event = decode_event(payload, 16)
            recorder.event(self.name, self.session, wire.number, now, event.type, event.path, header.zxid)
            self._armed.fired(event.type, event.path)
            self.workload.events += 1
            return
        if not self._in_flight or self._in_flight[0].xid != header.xid:
            raise Violation("I12", f"session {self.session:#x} is answered out of order: xid {header.xid}")
        operation = self._in_flight.pop(0)
        call = operation.call
        recorder.returned(call, now, header.zxid, header.err, payload[16:])
        if call.opcode == OP_CLOSE_SESSION:
            self.is_over = True
            return
        self.workload.history.answered(operation)
        self.answered += 1
        self.last_zxid = max(self.last_zxid, header.zxid)
        self._armed.answered(call)
        self.asker.answered(call)
        self.work()

    # What is sent

    def work(self) -> None:
        """Keep a few requests in flight, as long as there is something left to do; rest now and then."""
        world = self.workload.world
        while self.left > 0 and self.wire is not None and self.xid and len(self._in_flight) < self.window:
            if not world.is_healed and world.now < self._rests_until:
                return
            self.left -= 1
            self._invoke(*self.asker.next(self.session))
            if self._random.random() * self.window < 0.5:
                rest_ns = int(self._random.expovariate(1.0) * self.workload.rest_ns * self.window)
                self._rests_until = world.now + rest_ns
                world.after(rest_ns, self.work)
        if self.left == 0:
            self.workload.idle(self)

    def more(self, operations: int) -> None:
        """Have more to do."""
        self.left += operations
        self.work()

    def close(self) -> None:
        """End the session properly."""
        if self.is_closing or self.is_over or self.wire is None or self.xid == 0:
            return
        self.is_closing = True
        self.workload.history.sessions[self.session].has_closed = True
        self._send(self._operation(OP_CLOSE_SESSION, b""), 0)

    @property
    def is_busy(self) -> bool:
        """Whether something is to be done or to be answered."""
        if self.is_dead or self.is_over:
            return False
        return self.left > 0 or bool(self._in_flight) or self.is_closing or self.wire is None or self.xid == 0

    def _operation(self, opcode: int, record: bytes) -> Operation:
        workload = self.workload
        assert self.wire is not None
        call = workload.recorder.invoked(self.name, self.session, self.wire.number, opcode, record, workload.world.now)
        return Operation(call)

    def _invoke(self, opcode: int, record: bytes, xid: int = 0) -> None:
        operation = self._operation(opcode, record)
        self.operations.append(operation)
        self.workload.history.invoked(operation)
        self._send(operation, xid)

    def _send(self, operation: Operation, xid: int) -> None:
        assert self.wire is not None
        if xid == 0:
            xid = self.xid
            self.xid += 1
        operation.xid = xid
        self._in_flight.append(operation)
        call = operation.call
        self.workload.send(self.wire, request_frame(xid, call.opcode, call.record))

    # Time

    def _schedule_tick(self) -> None:
        world = self.workload.world
        self._tick_at = world.now + self.timeout_ms * MILLISECOND_NS // 6
        world.at(self._tick_at, self._tick, self.wire, self._tick_at)

    def _tick(self, wire: Wire, tick_at: int) -> None:
        """Ping; leave a replica that was silent for two thirds of the timeout, or now and then for no reason."""
        if wire is not self.wire or tick_at != self._tick_at or self.is_over:
            return
        world = self.workload.world
        if world.now - wire.heard_at > self.timeout_ms * MILLISECOND_NS * 2 // 3:
            self.leave()
            return
        if not world.is_healed and self._random.random() < self.workload.restlessness:
            self.workload.moved += 1
            self.leave()
            return
        self._pings.append(world.now)
        self.workload.send(wire, request_frame(XID_PING, OP_PING))
        self._schedule_tick()


class ClientWorkload:
    """All clients of a world, and the wires between them and the replicas."""

    living_ms = 16_000
    """Sessions of at least this timeout outlive every fault of a run while their clients live."""

    def __init__(self, lazy: int = 0) -> None:
        self.lazy = lazy  # clients with short sessions that live, and are slow to reconnect
        self.history = History(lambda: self.world.now)
        self.recorder = Recorder()
        self.clients: list[Client] = []
        self.world: World
        self.random = Random(0)
        self.restlessness = 0.0  # how often a client leaves a replica for no reason
        self.rest_ns = 0  # of a client, about, for every two requests: its work is to last as long as the faults
        self.resumed = 0
        self.moved = 0
        self.lost = 0
        self.events = 0
        self._wires: dict[int, Wire] = {}
        self._number = 0
        self._probes: list[tuple[Client, int]] = []
        self._is_closing = False
        self._settings: ServiceSettings | None = None

    # What the world asks for

    def begin(self, world: "World") -> None:
        """Make the clients."""
        self.world = world
        profile = world.profile
        self.random = random = Random(profile.seed ^ 0x5EED)
        self.restlessness = random.choice((0.0, 0.05, 0.3))
        self.rest_ns = profile.safety_ns // (2 * profile.operations)
        settings = profile.settings
        self._settings = ServiceSettings(
            secret=random.randbytes(32), heartbeat_ns=settings.heartbeat_ns, election_ns=settings.election_max_ns
        )
        world.oracle.follow(self.history)
        for name in range(profile.sessions):
            timeout_ms = random.choice((self.living_ms, 24_000, 40_000))
            client = Client(self, name, profile.operations, timeout_ms, random.choice((1, 1, 2, 4, 8)))
            self.clients.append(client)
            world.after(random.randrange(SECOND_NS), client.connect)
        for name in range(profile.sessions, profile.sessions + self.lazy):
            lazy = Client(self, name, profile.operations, 4_000, 1)
            self.clients.append(lazy)
            world.after(random.randrange(SECOND_NS), lazy.connect)
        if self.lazy:
            return
        for name in range(profile.sessions, profile.sessions + random.choice((1, 2, 3))):
            mortal = Client(self, name, 8, 4_000, 1)
            self.clients.append(mortal)
            world.after(random.randrange(SECOND_NS), mortal.connect)
            # Early enough that a run need not wait long for the end of its session.
            world.after(SECOND_NS // 2 + random.randrange(profile.safety_ns // 2), mortal.die)

    def make_service(self, process: Process) -> AnyService:
        """The real service."""
        assert self._settings is not None
        return Service(process.id, process.incarnation, self._settings)

    def up(self, process: Process) -> None:
        """Clients find it by themselves."""

    def down(self, process: Process) -> None:
        """Its connections break, and their clients notice soon."""
        for wire in list(self._wires.values()):
            if wire.process is process:
                del self._wires[wire.number]
                self.world.after(self.random.randrange(1, 50 * MILLISECOND_NS), wire.client.closed, wire)

    def reply(self, process: Process, connection: int, frames: list[bytes]) -> None:
        """Bytes on their way to a client."""
        wire = self._wires.get(connection)
        if wire is None:
            return
        at = max(wire.last_down, self.world.now + self.random.randrange(LINK_MIN_NS, LINK_MAX_NS))
        wire.last_down = at
        self.world.at(at, wire.client.received, wire, b"".join(frames))

    def close(self, process: Process, connection: int) -> None:
        """The service closes: the client notices behind all replies."""
        wire = self._wires.pop(connection, None)
        if wire is None:
            return
        at = max(wire.last_down, self.world.now + LINK_MIN_NS) + 1
        self.world.at(at, wire.client.closed, wire)

    def probe(self, core: list[ReplicaId]) -> None:
        """Each living client has one more thing to write."""
        self._probes = []
        for client in self.clients:
            if not client.is_dead and not client.is_over:
                self._probes.append((client, len(client.operations)))
                client.more(3)

    def is_probed(self) -> bool:
        """Whether one of them got an answer out of the ledger."""
        for client, index in self._probes:
            for operation in client.operations[index:]:
                if operation.executed_at and operation.call.is_answered:
                    return True
            if client.left == 0 and not client.is_busy:
                client.more(1)
        return not self._probes

    def healed(self) -> None:
        """A last write of everybody, wherever they are by then."""
        self.recorder.mark(HEALED, 0, 0, 0, self.world.now)
        for client in self.clients:
            if not client.is_dead:
                client.more(2)

    def idle(self, client: Client) -> None:
        """A client looks for work: unknown outcomes are made up for, so that each session has its share answered."""
        missing = self.world.profile.operations - client.answered
        if missing > 0 and client.timeout_ms >= self.living_ms and not client.is_busy and not client.is_dead:
            client.more(missing)

    def what_is_open(self) -> str:
        """Clients that are not done, sessions of the dead that still live; at the end some close their sessions."""
        for client in self.clients:
            if client.is_busy:
                return f"client {client.name} of session {client.session:#x} is not done"
        if not self._is_closing:
            self._is_closing = True
            for client in self.clients[:1]:
                client.close()
            return "the last sessions are being closed"
        for client in self.clients:
            if client.is_dead and client.session in self.history.machine.sessions:
                return f"session {client.session:#x} of dead client {client.name} does not expire"
        return ""

    def end(self) -> None:
        """What must hold of the whole run."""
        machine = self.history.machine
        digest = machine.digest()
        machine.check()
        for process in self.world.replicas.values():
            service = process.service
            assert isinstance(service, Service)
            service.machine.check()
            held = self._held(process, service)
            if held.digest != digest:
                raise Violation("I7", f"the state of replica {process.id} is not that of the ledger")
            self.recorder.add(held)
        for client in self.clients:
            if client.is_dead:
                continue
            is_closed = client.is_over
            if is_closed == (client.session in machine.sessions):
                raise Violation(
                    "rule-R24", f"session {client.session:#x} of client {client.name} is lost, or outlives its close"
                )
            for path in client.asker.ephemerals:
                if is_closed == (path in machine.tree.nodes):
                    raise Violation(
                        "I13", f"ephemeral {path} of session {client.session:#x}, whose client lives: {not is_closed}"
                    )
        found = judge(self.recorded())
        if found:
            raise Violation(found[0].invariant, f"{found[0].checker}: {found[0].text}")

    def recorded(self) -> RecordedHistory:
        """What clients saw, what replicas hold, and the ledger as the oracle knows it."""
        history = self.recorder.history()
        if not history.ledger:
            history.ledger = [chosen_of(expected) for expected in self.world.oracle.ledger]
        return history

    def _held(self, process: Process, service: Service) -> Held:
        machine = service.machine
        assert process.core is not None
        applied = process.core.applied
        sessions = {number: session.timeout_ms for number, session in machine.sessions.items()}
        ephemerals = {path: number for number, session in machine.sessions.items() for path in session.ephemerals}
        decrees = process.disk.read(1, applied, 1 << 40)
        ledger = {slot: sha256(decree).hexdigest()[:16] for slot, _, decree in decrees}
        return Held(process.id, self.world.now, applied, machine.digest(), sessions, ephemerals, ledger)

    def counts(self) -> dict[str, int]:
        """What was done, for the report."""
        operations = [operation for client in self.clients for operation in client.operations]
        return {
            "sessions": sum(1 for client in self.clients if client.operations),
            "operations": len(operations),
            "answered": sum(client.answered for client in self.clients),
            "unknown outcome": sum(1 for operation in operations if operation.is_unknown),
            "unknown outcome, had happened": sum(client.asker.happened_once for client in self.clients),
            "session resumed": self.resumed,
            "session left for another replica": self.moved,
            "session expired": self.history.expired,
            "watch event": self.events,
        }

    # What clients ask for

    def open(self, client: Client, process: Process) -> Wire:
        """A connection to a replica that listens."""
        self._number += 1
        wire = Wire(self._number, client, process, self.world.now)
        self._wires[wire.number] = wire
        self._at_server(wire, ClientEvent(wire.number, True, None))
        return wire

    def send(self, wire: Wire, data: bytes) -> None:
        """Bytes from a client."""
        self._at_server(wire, ClientEvent(wire.number, False, data))

    def hang_up(self, wire: Wire) -> None:
        """The client is gone. The replica may learn it at once, or late: until then it goes on with what it got."""
        late = 1 if self.random.random() < 0.5 else self.random.randrange(1, 3 * SECOND_NS)
        self.world.after(late, self._hung_up, wire)

    def _hung_up(self, wire: Wire) -> None:
        if self._wires.pop(wire.number, None) is not None:
            self._at_server(wire, ClientEvent(wire.number, False, None))

    def _at_server(self, wire: Wire, event: ClientEvent) -> None:
        world = self.world
        at = max(wire.last_up, world.now + self.random.randrange(LINK_MIN_NS, LINK_MAX_NS))
        wire.last_up = at
        world.at(at, self._arrive, wire, event)

    def _arrive(self, wire: Wire, event: ClientEvent) -> None:
        process = wire.process
        if process.life != wire.life or not process.is_ready:
            return
        if wire.number not in self._wires and (event.data is not None or event.is_open):
            return  # closed by the service meanwhile
        process.client_event(event)
        if not process.is_paused:
            self.world.wake(process, self.world.now + self.random.randrange(self.world.profile.turn_ns))
