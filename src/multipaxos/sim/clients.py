"""Simulated ZooKeeper clients: sessions that work, lose their connections and resume elsewhere, byte for byte.

Each client is one session. It speaks the client protocol through ``wire/zookeeper.py`` to the real service of a simulated
replica, pipelines a few requests, pings, gives up on a replica that is silent or closes, and attaches to another. Its old
connection may live on for a while with bytes under way, as real ones do. It never repeats a request whose outcome it does
not know. All it sends and hears is judged by ``history.py``.

Some clients are *mortal*: they fall silent for ever at some moment, and their session must expire; others close theirs.
"""

from random import Random
from typing import TYPE_CHECKING

from multipaxos.core.ballot import ReplicaId
from multipaxos.service.service import Service
from multipaxos.service.settings import ServiceSettings
from multipaxos.sim.checkers import Violation
from multipaxos.sim.history import ANSWERED, SENT, UNKNOWN, History, Operation
from multipaxos.sim.network import MICROSECOND_NS, MILLISECOND_NS
from multipaxos.sim.process import ClientEvent, Process
from multipaxos.sim.process import Service as AnyService
from multipaxos.sim.swarm import SECOND_NS
from multipaxos.wire.zookeeper import (
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_PING,
    OP_SET_DATA,
    OP_SYNC,
    OPEN_ACL,
    XID_EVENT,
    XID_PING,
    ConnectRequest,
    FrameReader,
    decode_connect_response,
    decode_event,
    decode_reply_header,
    encode_connect_request,
    encode_create,
    encode_path,
    encode_set_data,
    encode_versioned_path,
    encode_watched_path,
    frame,
    request_frame,
)

if TYPE_CHECKING:
    from multipaxos.sim.world import World

HOT_KEYS = 6
EPHEMERAL = 1
SEQUENTIAL = 2

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
        "_armed", "_deleted",
        "_in_flight",
        "_pings",
        "_random",
        "_tick_at",
        "connected_at",
        "created",
        "ephemerals",
        "is_closing",
        "is_dead",
        "is_over",
        "last_zxid",
        "left",
        "name",
        "operations",
        "password",
        "session",
        "sessions",
        "timeout_ms",
        "window",
        "wire",
        "workload",
        "xid",
    )  # fmt: skip

    def __init__(self, workload: "ClientWorkload", name: int, operations: int, timeout_ms: int, window: int) -> None:
        self.workload = workload
        self.name = name
        self.left = operations
        self.timeout_ms = timeout_ms
        self.window = window
        self.session = 0
        self.password = bytes(16)
        self.last_zxid = 0
        self.xid = 0
        self.wire: Wire | None = None
        self.connected_at = 0  # when the present handshake was sent
        self.operations: list[Operation] = []
        self.created: list[str] = []  # own znodes that may be deleted
        self._deleted: list[str] = []
        self.ephemerals: list[str] = []  # acknowledged, not deleted
        self.is_closing = False
        self.is_dead = False  # fell silent for ever
        self.is_over = False  # nothing more will be done
        self._in_flight: list[Operation] = []
        self._pings: list[int] = []  # when each unanswered ping was sent
        self._armed: dict[str, int] = {}  # watched paths, and the zxid they were read at
        self._random = Random(workload.random.getrandbits(64))
        self._tick_at = 0

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
        self._armed = {}
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
        self._lost()

    def closed(self, wire: Wire) -> None:
        """The replica closed, or died."""
        if wire is not self.wire:
            return
        wire.is_closed = True
        self.wire = None
        self._lost()

    def _lost(self) -> None:
        for operation in self._in_flight:
            operation.state = UNKNOWN
        self._in_flight = []
        self.is_closing = False  # whether the close was executed is unknown, too: it is asked for again
        # Who may lose its session is in no hurry: then what it believes of it is worth checking.
        patience = 100 if self.timeout_ms >= self.workload.living_ms else 3_000
        self.workload.world.after(self._random.randrange(1, patience) * MILLISECOND_NS, self.connect)

    def die(self) -> None:
        """Fall silent for ever."""
        self.is_dead = True
        self.left = 0
        self._in_flight = []
        if self.wire is not None:
            self.wire.is_closed = True
            self.workload.hang_up(self.wire)
            self.wire = None

    # What arrives

    def received(self, wire: Wire, data: bytes) -> None:
        """Bytes from the replica."""
        if wire is not self.wire:
            return
        for payload in wire.reader.feed(data):
            wire.heard_at = self.workload.world.now
            if self.xid == 0:
                self._attached(payload)
            else:
                self._reply(payload)
            if wire is not self.wire:
                return

    def _attached(self, payload: bytes) -> None:
        response = decode_connect_response(payload)
        history = self.workload.history
        if response.timeout_ms == 0:
            lives = history.sessions.get(self.session)
            if lives is not None and lives.has_closed and lives.is_ended:
                self.is_over = True
                self.leave()
                return
            if lives is None or not lives.is_ended:
                raise Violation("rule-R24", f"session {self.session:#x} is told it has expired; it has not")
            if self.timeout_ms >= self.workload.living_ms:
                raise Violation("rule-R24", f"session {self.session:#x} of a living client is lost")
            self.workload.lost += 1
            self.session = 0
            self.password = bytes(16)
            self.last_zxid = 0
            self.ephemerals = []
            self.leave()
            return
        if self.session and response.session != self.session:
            raise Violation("rule-R9", f"session {self.session:#x} is resumed as {response.session:#x}")
        if self.session:
            self.workload.resumed += 1
        self.session = response.session
        self.password = response.password
        history.began(self.session, response.timeout_ms, self.connected_at)
        self.xid = 1
        if history.sessions[self.session].has_closed:
            self.close()
        else:
            self.work()
        self._schedule_tick()

    def _reply(self, payload: bytes) -> None:
        header = decode_reply_header(payload)
        history = self.workload.history
        if header.xid == XID_PING:
            if not self._pings:
                raise Violation("rule-R25", f"session {self.session:#x} gets an answer to a ping it never sent")
            history.believe(self.session, self._pings.pop(0))
            return
        if header.xid == XID_EVENT:
            self._event(header.zxid, payload)
            return
        if not self._in_flight or self._in_flight[0].xid != header.xid:
            raise Violation("I12", f"session {self.session:#x} is answered out of order: xid {header.xid}")
        operation = self._in_flight.pop(0)
        if operation.opcode == OP_CLOSE_SESSION:
            operation.state = ANSWERED
            self.is_over = True
            return
        self._check_events(header.zxid)
        history.answered(operation, header.zxid, header.err, payload[16:])
        self.last_zxid = max(self.last_zxid, header.zxid)
        if operation.is_watching and header.err == 0:
            self._armed.setdefault(operation.path, header.zxid)
        if header.err == 0 and operation.opcode == OP_CREATE:
            path = payload[20:].decode()
            if path.startswith("/e"):
                self.ephemerals.append(path)
            if path not in self._deleted:
                self.created.append(path)
        self.work()

    # Watches

    def _event(self, zxid: int, payload: bytes) -> None:
        event = decode_event(payload, 16)
        read_at = self._armed.pop(event.path, None)
        if read_at is None:
            raise Violation("I15", f"session {self.session:#x} hears of {event.path}, which it does not watch")
        change = self.workload.history.change_after(event.path, read_at)
        if change != (zxid, event.type):
            raise Violation("I15", f"session {self.session:#x} hears of another change of {event.path} than the first")
        self.workload.events += 1

    def _check_events(self, zxid: int) -> None:
        """The event of a change comes before any reply that shows it (zk-4)."""
        for path, read_at in self._armed.items():
            change = self.workload.history.change_after(path, read_at)
            if change is not None and change[0] <= zxid:
                raise Violation("I15", f"session {self.session:#x} sees zxid {zxid:#x} before the event of {path}")

    # What is sent

    def work(self) -> None:
        """Keep a few requests in flight, as long as there is something left to do."""
        while self.wire is not None and self.xid and self.left > 0 and len(self._in_flight) < self.window:
            self.left -= 1
            self._invoke(self._next_operation())
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
        operation = Operation(self.session, len(self.operations), OP_CLOSE_SESSION, "", b"")
        self._send(operation)

    @property
    def is_busy(self) -> bool:
        """Whether something is to be done or to be answered."""
        if self.is_dead or self.is_over:
            return False
        return self.left > 0 or bool(self._in_flight) or self.is_closing or self.wire is None or self.xid == 0

    def _invoke(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.workload.history.invoked(operation, self.workload.world.now)
        self._send(operation)

    def _send(self, operation: Operation) -> None:
        assert self.wire is not None
        operation.xid = self.xid
        operation.state = SENT
        operation.connection = self.wire.number
        self.xid += 1
        self._in_flight.append(operation)
        self.workload.send(self.wire, request_frame(operation.xid, operation.opcode, operation.record))

    def _next_operation(self) -> Operation:
        random = self._random
        index = len(self.operations)
        mark = f"{self.name}.{self.session:x}.{index}"
        hot = f"/k{random.randrange(HOT_KEYS)}"
        choice = random.random()
        if choice < 0.28:
            version = -1 if random.random() < 0.8 else random.randrange(4)
            return self._operation(OP_SET_DATA, hot, encode_set_data(hot, mark.encode(), version))
        if choice < 0.50:
            is_watching = random.random() < 0.4
            operation = self._operation(OP_GET_DATA, hot, encode_watched_path(hot, is_watching))
            operation.is_watching = is_watching
            return operation
        if choice < 0.60:
            return self._operation(OP_CREATE, hot, encode_create(hot, mark.encode(), OPEN_ACL, 0))
        if choice < 0.68:
            path = f"/n{mark}"
            return self._operation(OP_CREATE, path, encode_create(path, mark.encode(), OPEN_ACL, 0))
        if choice < 0.75:
            path = f"/s{self.name}-"
            return self._operation(OP_CREATE, path, encode_create(path, mark.encode(), OPEN_ACL, SEQUENTIAL))
        if choice < 0.83:
            path = f"/e{mark}"
            return self._operation(OP_CREATE, path, encode_create(path, mark.encode(), OPEN_ACL, EPHEMERAL))
        if choice < 0.90 and self.created:
            path = self.created.pop(random.randrange(len(self.created)))
            if path in self.ephemerals:
                self.ephemerals.remove(path)
            self._deleted.append(path)  # once each, so that a command in the ledger names one operation
            return self._operation(OP_DELETE, path, encode_versioned_path(path, -1))
        if choice < 0.94:
            return self._operation(OP_EXISTS, hot, encode_watched_path(hot, False))
        if choice < 0.97:
            return self._operation(OP_GET_CHILDREN2, "/", encode_watched_path("/", False))
        return self._operation(OP_SYNC, f"/sync.{mark}", encode_path(f"/sync.{mark}"))

    def _operation(self, opcode: int, path: str, record: bytes) -> Operation:
        return Operation(self.session, len(self.operations), opcode, path, record)

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
        self.clients: list[Client] = []
        self.world: World
        self.random = Random(0)
        self.restlessness = 0.0  # how often a client leaves a replica for no reason
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
            world.after(2 * SECOND_NS + random.randrange(profile.safety_ns), mortal.die)

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
                if operation.state == ANSWERED and not operation.is_read:
                    return True
            if client.left == 0 and not client.is_busy:
                client.more(1)
        return not self._probes

    def healed(self) -> None:
        """A last write of everybody, wherever they are by then."""
        for client in self.clients:
            if not client.is_dead:
                client.more(2)

    def idle(self, client: Client) -> None:
        """A client looks for work: unknown outcomes are made up for, so that each session has its share answered."""
        if client.left > 0 or client.is_busy or client.is_closing or client.is_dead:
            return
        answered = sum(1 for operation in client.operations if operation.state == ANSWERED)
        missing = self.world.profile.operations - answered
        if missing > 0 and client.timeout_ms >= self.living_ms:
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
            if service.machine.digest() != digest:
                raise Violation("I7", f"the state of replica {process.id} is not that of the ledger")
        for client in self.clients:
            if client.is_dead:
                continue
            is_closed = client.is_over
            if is_closed == (client.session in machine.sessions):
                raise Violation(
                    "rule-R24", f"session {client.session:#x} of client {client.name} is lost, or outlives its close"
                )
            for path in client.ephemerals:
                if is_closed == (path in machine.tree.nodes):
                    raise Violation(
                        "I13", f"ephemeral {path} of session {client.session:#x}, whose client lives: {not is_closed}"
                    )

    def counts(self) -> dict[str, int]:
        """What was done, for the report."""
        operations = [operation for client in self.clients for operation in client.operations]
        return {
            "sessions": sum(1 for client in self.clients if client.operations),
            "operations": len(operations),
            "answered": sum(1 for operation in operations if operation.state == ANSWERED),
            "unknown outcome": sum(1 for operation in operations if operation.state == UNKNOWN),
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
