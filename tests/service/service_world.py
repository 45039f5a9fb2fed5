"""The service with the real state machine under a ledger of a few lines, for tests: what is submitted gets applied, in
order, on every replica that is not held back. Time stands still unless a test moves it.
"""

from dataclasses import replace

from multipaxos.core.effects import Applied
from multipaxos.service.service import Service
from multipaxos.service.settings import MILLISECOND_NS, ServiceSettings
from multipaxos.wire import zookeeper as zk
from multipaxos.wire.report import Report, ReportAck

SECRET = bytes(range(32))
SETTINGS = ServiceSettings(SECRET)
HEARTBEAT = SETTINGS.heartbeat_ns
SECOND = 1000 * MILLISECOND_NS


class Client:
    """One connection, seen from the client's side."""

    def __init__(self, world: "World", replica: int, number: int, address: str) -> None:
        self.world = world
        self.replica = replica
        self.number = number
        self.reader = zk.FrameReader()
        self.raw = b""
        self.frames: list[bytes] = []
        self.is_closed = False
        self.session = 0
        self.password = b""
        self.xid = 0
        world.services[replica].connection_opened(number, address, world.now)

    @property
    def service(self) -> Service:
        return self.world.services[self.replica]

    def send(self, data: bytes) -> None:
        """Bytes out, without a turn of the loop after them."""
        self.service.bytes_received(self.number, data, self.world.now)

    def request(self, opcode: int, record: bytes = b"") -> int:
        """Send one request; gives its xid."""
        self.xid += 1
        self.send(zk.request_frame(self.xid, opcode, record))
        return self.xid

    def take(self) -> list[bytes]:
        """The frames that arrived since the last time, without their lengths."""
        taken, self.frames = self.frames, []
        return taken

    def connect(self, session: int = 0, password: bytes = zk.NO_PASSWORD, timeout_ms: int = 6000) -> zk.ConnectResponse:
        """The handshake, carried through."""
        request = zk.ConnectRequest(0, 0, timeout_ms, session, password, False)
        self.send(zk.frame(zk.encode_connect_request(request)))
        self.world.settle()
        response = zk.decode_connect_response(self.take()[0])
        self.session = response.session
        self.password = response.password
        return response

    def call(self, opcode: int, record: bytes = b"") -> tuple[int, bytes]:
        """Send one request and give (error, record) of its reply, which must be the only thing that comes."""
        xid = self.request(opcode, record)
        self.world.settle()
        (reply,) = self.take()
        header = zk.decode_reply_header(reply)
        assert header.xid == xid
        return header.err, reply[zk.REPLY_HEADER_BYTES :]

    def close(self) -> None:
        """The client's end goes away."""
        self.is_closed = True
        self.service.connection_closed(self.number, self.world.now)


class World:
    """Replicas, one ledger, one leader. ``cut`` replicas exchange no reports; ``held`` ones apply nothing."""

    def __init__(self, count: int = 1, settings: ServiceSettings = SETTINGS, is_ready: bool = True) -> None:
        self.now = 1000 * SECOND
        self.settings = settings
        self.services = {number: Service(number, 1, settings) for number in range(1, count + 1)}
        self.serials = dict.fromkeys(self.services, 0)
        self.positions = dict.fromkeys(self.services, 0)
        self.submitted: list[tuple[int, int, bytes]] = []
        self.ledger: list[Applied] = []
        self.clients: dict[tuple[int, int], Client] = {}
        self.cut: set[int] = set()
        self.held: set[int] = set()
        self.leader = 0
        self.ballot = -1
        self.round = 0
        self.confirmed = 0
        self.epoch = 0
        self.is_quorum_connected = True
        self.paused: dict[int, set[int]] = {number: set() for number in self.services}
        self.messages: list[tuple[int, Report | ReportAck]] = []
        if is_ready:
            self.elect(1)
            self.heartbeat()
            self.settle()

    # The ledger and the leader.

    def elect(self, leader: int) -> None:
        """A new reign, its epoch decree applied wherever nothing is held."""
        self.leader = leader
        self.epoch += 1
        self.ballot = self.epoch * 65536 + leader
        self.round = 0
        self.confirmed = 0
        self.is_quorum_connected = True
        self.ledger.append(Applied(len(self.ledger) + 1, self.wall_ms, self.epoch, self.ballot, True, [], None))
        self.settle()

    @property
    def wall_ms(self) -> int:
        return self.now // MILLISECOND_NS

    def turn(self, replica: int) -> None:
        """The end of a turn: leadership, then whatever is in the outbox is carried out."""
        service = self.services[replica]
        if replica == self.leader:
            service.leadership(
                self.leader, self.ballot, self.round, True, self.is_quorum_connected, self.confirmed, self.now
            )
        elif replica in self.cut:
            # It hears of no new heartbeat, and may not know that there is another leader.
            old = self.last_heard.get(replica, (0, -1, 0))
            service.leadership(old[0], old[1], old[2], False, False, 0, self.now)
        else:
            self.last_heard[replica] = (self.leader, self.ballot, self.round)
            service.leadership(self.leader, self.ballot, self.round, False, False, 0, self.now)
        self.collect(replica)

    @property
    def last_heard(self) -> dict[int, tuple[int, int, int]]:
        return self.__dict__.setdefault("_last_heard", {})

    def collect(self, replica: int) -> None:
        """Take the outbox."""
        out = self.services[replica].out
        for command in out.commands:
            self.serials[replica] += 1
            self.submitted.append((replica, self.serials[replica], command))
        for number in out.pauses:
            self.paused[replica].add(number)
        for number in out.resumes:
            self.paused[replica].discard(number)
        for number, replies in out.replies.items():
            client = self.clients[replica, number]
            assert not client.is_closed
            data = b"".join(replies)
            client.raw += data
            client.frames += client.reader.feed(data) if not client.raw[:1].isalpha() else []
        for number in out.closes:
            self.clients[replica, number].is_closed = True
        self.messages += [(to, replace(message)) for to, message in out.messages]
        out.clear()

    def commit(self) -> None:
        """What was submitted becomes one decree, applied everywhere but where it is held."""
        if self.submitted:
            self.ledger.append(
                Applied(len(self.ledger) + 1, self.wall_ms, self.epoch, self.ballot, False, self.submitted, None)
            )
            self.submitted = []
        for replica, service in self.services.items():
            if replica in self.held:
                continue
            while self.positions[replica] < len(self.ledger):
                slot = self.ledger[self.positions[replica]]
                self.positions[replica] += 1
                own = [
                    (origin, serial if origin == replica else 0, command) for origin, serial, command in slot.commands
                ]
                service.applied(replace(slot, commands=own), self.now)

    def settle(self) -> None:
        """Turns until nothing is left to do."""
        while True:
            self.commit()
            for replica in self.services:
                self.turn(replica)
            self.deliver()
            self.collect_all()
            is_behind = [r for r in self.services if r not in self.held and self.positions[r] < len(self.ledger)]
            for service in self.services.values():
                service.check()
            if not self.submitted and not is_behind:
                return

    def collect_all(self) -> None:
        for replica in self.services:
            self.collect(replica)

    def deliver(self) -> None:
        """Reports and acknowledgements, except to and from who is cut off."""
        while self.messages:
            messages, self.messages = self.messages, []
            for to, message in messages:
                if to != message.sender and (to in self.cut or message.sender in self.cut):
                    continue
                if isinstance(message, Report):
                    self.services[to].report_received(message, self.now)
                else:
                    self.services[to].report_acknowledged(message, self.now)
            self.collect_all()

    def heartbeat(self, is_confirmed: bool = True) -> None:
        """A round: sent, answered by reports, confirmed."""
        self.round += 1
        self.settle()
        if is_confirmed:
            self.confirmed = self.round
        self.settle()

    def run(self, duration_ns: int, is_confirmed: bool = True) -> None:
        """Time passes, with heartbeats and ticks."""
        end = self.now + duration_ns
        while self.now < end:
            self.now += HEARTBEAT
            for service in self.services.values():
                if 0 < service.wake_at <= self.now:
                    service.tick(self.now)
            self.heartbeat(is_confirmed)

    # Clients.

    def client(self, replica: int = 1, address: str = "10.0.0.1:5000") -> Client:
        """A connection without a handshake."""
        number = 1 + sum(1 for each in self.clients if each[0] == replica)
        client = Client(self, replica, number, address)
        self.clients[replica, number] = client
        return client

    def open(self, replica: int = 1, timeout_ms: int = 6000) -> Client:
        """A connection with a new session."""
        client = self.client(replica)
        client.connect(timeout_ms=timeout_ms)
        assert client.session > 0
        return client
