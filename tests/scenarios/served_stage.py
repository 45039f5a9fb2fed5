"""A stage whose replicas serve ZooKeeper clients: the real core, the real service, and clients that do as they are told.

Bytes of a client reach its replica when the client sends them, answers come back at once; what happens between replicas
is the stage's to order, message by message. So "the client moves while its write is under way" is a schedule here, and
not a matter of luck.
"""

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.settings import Settings
from multipaxos.service.service import Service
from multipaxos.service.settings import ServiceSettings
from multipaxos.sim.process import ClientEvent, Process
from multipaxos.sim.process import Service as AnyService
from multipaxos.sim.stage import Flying, Stage
from multipaxos.wire import zookeeper as zk

MS = 1_000_000
SECOND = 1_000 * MS
ELECTION_TIMEOUT = 1_200 * MS


class Client:
    """One connection, seen from the client's side."""

    def __init__(self, stage: "ServedStage", replica: ReplicaId, number: int) -> None:
        self.stage = stage
        self.replica = replica
        self.number = number
        self.reader = zk.FrameReader()
        self.frames: list[bytes] = []  # arrived, not looked at yet
        self.is_closed = False  # by the replica
        self.session = 0
        self.password = zk.NO_PASSWORD
        self.xid = 0

    def send(self, data: bytes, has_turn: bool = True) -> None:
        """Bytes out. Without a turn they wait in the replica's sockets, as for a process that is busy."""
        process = self.stage.replicas[self.replica]
        process.client_event(ClientEvent(self.number, False, data))
        if has_turn:
            self.stage.turn(self.replica)

    def ask(self, opcode: int, record: bytes = b"", has_turn: bool = True) -> int:
        """Send one request; its xid."""
        self.xid += 1
        self.send(zk.request_frame(self.xid, opcode, record), has_turn)
        return self.xid

    def ping(self) -> None:
        """Send a sign of life."""
        self.send(zk.request_frame(zk.XID_PING, zk.OP_PING))

    def hello(self, other: "Client | None" = None, timeout_ms: int = 6_000, last_zxid: int = 0) -> None:
        """Ask for a new session, or for that of another connection; nothing is carried yet."""
        session, password = (0, zk.NO_PASSWORD) if other is None else (other.session, other.password)
        request = zk.ConnectRequest(0, last_zxid, timeout_ms, session, password, False)
        self.send(zk.frame(zk.encode_connect_request(request)))

    def welcomed(self) -> bool:
        """Take the answer to the handshake, if it came: True with a session, False for one that has expired."""
        if not self.frames:
            raise AssertionError("the handshake is not answered")
        response = zk.decode_connect_response(self.frames.pop(0))
        self.session, self.password = response.session, response.password
        return response.session != 0

    def replies(self) -> list[tuple[int, int, int, bytes]]:
        """(xid, zxid, error, record) of what arrived since the last look, pings and events included."""
        taken, self.frames = self.frames, []
        found = []
        for payload in taken:
            header = zk.decode_reply_header(payload)
            found.append((header.xid, header.zxid, header.err, payload[zk.REPLY_HEADER_BYTES :]))
        return found

    def leave(self) -> None:
        """The client's end goes away, and the replica hears of it."""
        self.stage.replicas[self.replica].client_event(ClientEvent(self.number, False, None))
        self.stage.turn(self.replica)


class ServedStage(Stage):
    """Replicas with their client side."""

    def __init__(self, count: int = 3, settings: Settings | None = None) -> None:
        super().__init__(count, settings)
        self.clients: dict[int, Client] = {}

    def make_service(self, process: Process) -> AnyService:
        """The real one."""
        return Service(process.id, process.incarnation, ServiceSettings(bytes(32)))

    def reply(self, process: Process, connection: int, frames: list[bytes]) -> None:
        """Answers arrive at once."""
        client = self.clients[connection]
        assert not client.is_closed, "an answer on a connection that was closed"
        client.frames += client.reader.feed(b"".join(frames))

    def close(self, process: Process, connection: int) -> None:
        """The replica closes a connection."""
        self.clients[connection].is_closed = True

    def turn(self, replica: ReplicaId) -> None:
        """A turn of the loop, unless the process stands still."""
        self._turn_if_free(self.replicas[replica])

    def client(self, replica: ReplicaId) -> Client:
        """A new connection."""
        number = len(self.clients) + 1
        client = Client(self, replica, number)
        self.clients[number] = client
        self.replicas[replica].client_event(ClientEvent(number, True, None))
        return client

    def session(self, replica: ReplicaId, timeout_ms: int = 6_000) -> Client:
        """A new connection with a new session."""
        client = self.client(replica)
        client.hello(timeout_ms=timeout_ms)
        self.settle()
        assert client.welcomed()
        return client

    def service(self, replica: ReplicaId) -> Service:
        """The client side of a replica that is up."""
        found = self.replicas[replica].service
        assert isinstance(found, Service)
        return found

    def data(self, replica: ReplicaId, path: str) -> bytes | None:
        """What a znode holds at ``replica``; None where there is none."""
        node = self.service(replica).machine.tree.nodes.get(path)
        return None if node is None else node.data

    def same_everywhere(self) -> None:
        """All replicas that are up and have applied as much hold the same."""
        digests = {
            (process.core.applied, self.service(process.id).machine.digest())
            for process in self.replicas.values()
            if process.core is not None
        }
        assert len(digests) == 1

    def _deliver(self, flying: Flying) -> None:
        super()._deliver(flying)
        process = self.replicas[flying.to]
        if process.life == flying.to_life:
            self._turn_if_free(process)  # also for what only the client side takes in


def served(count: int = 3, leader: ReplicaId = 1, favoured: ReplicaId = 2) -> ServedStage:
    """A stage with a leader, and replicas that are ready for clients."""
    stage = ServedStage(count)
    stage.favoured = leader
    stage.start()
    stage.elect(leader)
    stage.favoured = favoured
    stage.live(SECOND // 2)
    return stage
