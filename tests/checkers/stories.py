"""Histories told by hand: an honest service of one replica, clients that ask it, and the ledger and recording of both.

Each request takes one tick of the clock, from its invocation to its reply, unless ``sent`` says when it left.
"""

from multipaxos.coordination.commands import encode_attach, encode_close, encode_expire, encode_request
from multipaxos.coordination.machine import Machine
from multipaxos.coordination.watches import Watches
from multipaxos.service.connection import LEDGER_OPCODES
from multipaxos.service.reads import answer
from multipaxos.sim.recorded import (
    EXPIRED,
    HEALED,
    KILLED,
    LOST,
    OPENED,
    RESUMED,
    Call,
    Chosen,
    Held,
    History,
    Recorder,
)
from multipaxos.wire.zookeeper import (
    OP_ADD_WATCH,
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_DATA,
    OP_SET_DATA,
    OP_SET_WATCHES2,
    OP_SYNC,
    OPEN_ACL,
    encode_create,
    encode_path,
    encode_path_type,
    encode_set_data,
    encode_set_watches2,
    encode_versioned_path,
    encode_watched_path,
)

TICK_NS = 1_000_000
OWNER_REPLICA = 1


class Client:
    """One client of the story."""

    def __init__(self, story: "Story", name: int, timeout_ms: int) -> None:
        self.story = story
        self.name = name
        self.timeout_ms = timeout_ms
        self.session = 0
        self.connection = 0
        self.connect()

    def connect(self) -> None:
        """Open the session, or resume it on a new connection."""
        story = self.story
        before = (OWNER_REPLICA, 1, self.connection) if self.session else (0, 0, 0)
        sent_ns = story.now
        story.connections += 1
        self.connection = story.connections
        owner = (OWNER_REPLICA, 1, self.connection)
        result = story.apply(encode_attach(self.session, owner, self.timeout_ms, before))
        story.now += TICK_NS
        kind = RESUMED if self.session else OPENED
        self.session = result.session
        mark = story.recorder.mark
        mark(kind, self.name, self.session, self.connection, story.now, sent_ns, self.timeout_ms)

    def ask(self, opcode: int, record: bytes, sent_ns: int = 0) -> Call:
        """A request and its reply."""
        story = self.story
        call = self.send(opcode, record, sent_ns)
        if opcode in LEDGER_OPCODES:
            result = story.apply(self.command(opcode, record))
            err, zxid, body = result.err, result.zxid, result.body
        elif opcode == OP_CLOSE_SESSION:
            result = story.apply(encode_close(self.session, (OWNER_REPLICA, 1, self.connection)))
            err, zxid, body = result.err, result.zxid, b""
        elif opcode == OP_SET_WATCHES2:
            err, zxid, body = 0, story.machine.zxid, b""
        else:
            err, body = answer(story.machine, story.watches, self.connection, self.session, (), opcode, record)
            zxid = story.machine.zxid
            body = body if err == 0 else b""
        story.now += TICK_NS
        story.recorder.returned(call, story.now - 1, zxid, err, body)  # before whatever is sent next
        return call

    def send(self, opcode: int, record: bytes, sent_ns: int = 0) -> Call:
        """A request that is not answered (yet)."""
        invoked_ns = sent_ns or self.story.now
        return self.story.recorder.invoked(self.name, self.session, self.connection, opcode, record, invoked_ns)

    def command(self, opcode: int, record: bytes) -> bytes:
        """The request as the ledger has it."""
        return encode_request(self.session, (OWNER_REPLICA, 1, self.connection), (), opcode, record)

    def doubt(self, opcode: int, record: bytes, is_done: bool) -> Call:
        """A request whose outcome the client never learns; whether it is executed."""
        call = self.send(opcode, record)
        if is_done:
            self.story.apply(self.command(opcode, record))
        self.story.now += TICK_NS
        self.story.recorder.unknown(call)
        return call

    def lose(self) -> None:
        """The connection breaks."""
        self.story.recorder.mark(LOST, self.name, self.session, self.connection, self.story.now)
        self.story.watches.drop(self.connection)

    def die(self) -> None:
        """Fall silent."""
        self.story.recorder.mark(KILLED, self.name, self.session, self.connection, self.story.now)

    def is_told_the_end(self) -> None:
        """A handshake is refused."""
        self.story.recorder.mark(EXPIRED, self.name, self.session, self.connection, self.story.now)

    # Requests by name

    def create(self, path: str, data: bytes = b"", flags: int = 0) -> Call:
        return self.ask(OP_CREATE, encode_create(path, data, OPEN_ACL, flags))

    def set(self, path: str, data: bytes, version: int = -1, sent_ns: int = 0) -> Call:
        return self.ask(OP_SET_DATA, encode_set_data(path, data, version), sent_ns)

    def delete(self, path: str, version: int = -1) -> Call:
        return self.ask(OP_DELETE, encode_versioned_path(path, version))

    def get(self, path: str, is_watching: bool = False) -> Call:
        return self.ask(OP_GET_DATA, encode_watched_path(path, is_watching))

    def exists(self, path: str, is_watching: bool = False) -> Call:
        return self.ask(OP_EXISTS, encode_watched_path(path, is_watching))

    def children(self, path: str, is_watching: bool = False) -> Call:
        return self.ask(OP_GET_CHILDREN, encode_watched_path(path, is_watching))

    def sync(self) -> Call:
        return self.ask(OP_SYNC, encode_path("/"))

    def watch(self, path: str, mode: int) -> Call:
        return self.ask(OP_ADD_WATCH, encode_path_type(path, mode))

    def close(self) -> Call:
        return self.ask(OP_CLOSE_SESSION, b"")

    def set_watches(self, zxid: int, data: list[str], exist: list[str], child: list[str]) -> Call:
        """Set watches again; the events that are due go out before the reply."""
        story = self.story
        for kind, path in story.watches.set_watches(story.machine, self.connection, zxid, data, exist, child):
            story.recorder.event(self.name, self.session, self.connection, story.now, kind, path, -1)
        return self.ask(OP_SET_WATCHES2, encode_set_watches2(zxid, data, exist, child, [], []))


class Story:
    """What happened."""

    def __init__(self) -> None:
        self.now = 1_000_000_000
        self.machine = Machine()
        self.watches = Watches()
        self.recorder = Recorder()
        self.ledger: list[Chosen] = [Chosen(1, 5, 1, 65537, True)]
        self.connections = 0
        self.clients: list[Client] = []
        self.is_muted = False  # events are not delivered
        self.machine.begin_epoch(1, 65537)

    def client(self, timeout_ms: int = 10_000) -> Client:
        """Another client, with a new session."""
        made = Client(self, len(self.clients), timeout_ms)
        self.clients.append(made)
        return made

    def apply(self, command: bytes):  # type: ignore[no-untyped-def]
        """The next slot of the ledger."""
        slot = len(self.ledger) + 1
        self.ledger.append(Chosen(slot, 5 + slot, 1, 65537, commands=[command]))
        result = self.machine.apply(command, 5 + slot, True)
        for connection, kind, path in self.watches.fired(self.machine.changes, self.machine.guards):
            client = next(client for client in self.clients if client.connection == connection)
            if not self.is_muted:
                zxid = self.machine.zxid
                self.recorder.event(client.name, client.session, connection, self.now, kind, path, zxid)
        return result

    def expire(self, client: Client) -> None:
        """The leader ends a session."""
        self.apply(encode_expire(client.session, (OWNER_REPLICA, 1, client.connection), 65537))

    def heal(self) -> None:
        """Faults are over."""
        self.recorder.mark(HEALED, 0, 0, 0, self.now)

    def end(self, replicas: int = 3, is_ledger_known: bool = True) -> History:
        """The recording, with what the replicas hold."""
        machine = self.machine
        sessions = {number: session.timeout_ms for number, session in machine.sessions.items()}
        ephemerals = {path: number for number, session in machine.sessions.items() for path in session.ephemerals}
        ledger = {chosen.slot: f"decree {chosen.slot}" for chosen in self.ledger}
        for replica in range(1, replicas + 1):
            applied = len(self.ledger)
            held = Held(replica, self.now, applied, machine.digest(), dict(sessions), dict(ephemerals), dict(ledger))
            self.recorder.add(held)
        history = self.recorder.history()
        if is_ledger_known:
            history.ledger = list(self.ledger)
        return history
