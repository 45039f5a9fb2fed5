"""Clients under torture: sessions that work, record all they say and hear, lose their connections and resume elsewhere.

A client of our own, because a comfortable one hides what is judged here: when a request left, on which connection, in
which order replies and events came, and what was never answered. It speaks the protocol through ``wire/zookeeper.py`` and
records with ``sim/recorded.py``, by one monotonic clock.

Half of the clients ask for one thing at a time, the others for several at once on one connection. Each keeps to a pace, so
that the load is bounded and an outage is not made up for afterwards. Now and then, for no reason, a client leaves its
replica for another, closes its session, or falls silent for ever and lets its session expire.

``Load`` is all of them together, and what they count. Knows nothing of nemeses.
"""

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, cast

from multipaxos.sim.rearming import Armed
from multipaxos.sim.recorded import ALIVE, EXPIRED, KILLED, LOST, OPENED, RESUMED, Call, Recorder
from multipaxos.torture.workload import Mind
from multipaxos.wire import zookeeper as zk

Address = tuple[str, int]

LIVING_MS: Final = 6000
"""Session timeout of clients that live."""
MORTAL_MS: Final = 4000
"""Session timeout of a session that will be left to expire."""

PATIENCE_S: Final = (1.5, 2.5)
"""How long a client waits for a reply before it tries another replica, drawn between these."""
HANDSHAKE_PATIENCE_S: Final = 1.0
PING_S: Final = 1.0
BURST: Final = (2, 6)
"""Requests at once, of those clients that ask for several."""

STEADY_S: Final = 6.0
"""Mean time between two whims of a client."""

_GAP_S: Final = 0.5
_TICK_S: Final = 0.25
_STOP_PATIENCE_S: Final = 10.0


@dataclass(slots=True)
class LostSession:
    """A session of a living client that was gone when it came back."""

    at_s: float
    client: int
    session: int
    silent_s: float  # since the client sent the last thing that was answered
    is_explained: bool  # it was silent for its timeout: then the cluster may end it (rule-R25)


@dataclass(slots=True)
class Counts:
    """What the clients did, all together."""

    acknowledged: int = 0  # answered, with success or an error of the tree
    acknowledged_writes: int = 0
    unknown: int = 0
    events: int = 0
    resumed: int = 0
    opened: int = 0
    per_second: list[int] = field(default_factory=list)  # acknowledged, by second of the run
    gaps: list[tuple[float, float]] = field(default_factory=list)  # from, to: no write was acknowledged to anybody
    lost_sessions: list[LostSession] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)  # what no honest replica sends


class Load:
    """The clients of one run."""

    def __init__(
        self,
        recorder: Recorder,
        addresses: Sequence[Address],
        make_socket: Callable[[], socket.socket],
        random: Random,
        clients: int,
        per_second: float,
    ) -> None:
        """``per_second`` bounds the requests of all clients together."""
        self.addresses = tuple(addresses)
        self.begun_ns = time.monotonic_ns()
        self.counts = Counts()
        self.make_socket = make_socket
        self.recorder = recorder
        self.is_stopping = False
        self.clients = [
            Client(self, number, Random(random.getrandbits(64)), clients / per_second, number % 2 == 1)
            for number in range(1, clients + 1)
        ]
        self._connections = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._written_ns = self.begun_ns

    def begin(self) -> None:
        """All clients begin to work."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(client.run(), name=f"client {client.number}") for client in self.clients]

    async def stop(self) -> None:
        """Nobody asks for more; what was asked is waited for a while, and the sessions are closed."""
        self.is_stopping = True
        self._note_gap(time.monotonic_ns())
        _, late = await asyncio.wait(self._tasks, timeout=_STOP_PATIENCE_S)
        await _cancel(late)
        for task in self._tasks:
            if not task.cancelled():
                task.result()  # a defect here must not pass for a quiet client

    async def abandon(self) -> None:
        """End all clients at once."""
        self.is_stopping = True
        await _cancel(self._tasks)

    def pad(self, count: int) -> None:
        """From now on values set are longer by so many bytes."""
        for client in self.clients:
            client.mind.padding = bytes(count)

    def seconds(self, at_ns: int) -> float:
        """Since the load began."""
        return (at_ns - self.begun_ns) / 1e9

    def connection_number(self) -> int:
        """Unique in the history."""
        self._connections += 1
        return self._connections

    def acknowledged(self, call: Call) -> None:
        """A request was answered."""
        counts = self.counts
        counts.acknowledged += 1
        second = int(self.seconds(call.returned_ns))
        counts.per_second.extend([0] * (second + 1 - len(counts.per_second)))
        counts.per_second[second] += 1
        if not call.is_read and call.opcode in _LEDGER:
            counts.acknowledged_writes += 1
            self._note_gap(call.returned_ns)
            self._written_ns = call.returned_ns

    def _note_gap(self, now_ns: int) -> None:
        if now_ns - self._written_ns > _GAP_S * 1e9:
            self.counts.gaps.append((self.seconds(self._written_ns), self.seconds(now_ns)))

    async def writes_flow(self, count: int, seconds: float) -> bool:
        """Wait until so many more writes were acknowledged; False when they were not in time."""
        wanted = self.counts.acknowledged_writes + count
        deadline = time.monotonic() + seconds
        while self.counts.acknowledged_writes < wanted:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True


_LEDGER: Final = (
    zk.OP_SET_DATA, zk.OP_CREATE, zk.OP_CREATE2, zk.OP_DELETE, zk.OP_MULTI, zk.OP_SET_ACL, zk.OP_SYNC,
)  # fmt: skip


async def _cancel(tasks: "Sequence[asyncio.Task[None]] | set[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Client:
    """One client: a session after the other, a connection after the other."""

    def __init__(self, load: Load, number: int, random: Random, interval_s: float, is_bursting: bool) -> None:
        self.number = number
        self.load = load
        self.mind = Mind(number, random)
        self.random = random
        self.armed = Armed()
        self.session = 0
        self.password = zk.NO_PASSWORD
        self.last_zxid = 0
        self.timeout_ms = LIVING_MS
        self.believed_ns = 0  # when the last thing was sent that was answered
        self._interval_s = interval_s
        self._is_closing = False  # has asked for the end of its session, and may not have heard of it
        self._is_bursting = is_bursting
        self._is_rearming = random.random() < 0.6  # as Java clients do; others forget their watches

    async def run(self) -> None:
        """Work until the load stops."""
        pause = 0.0
        while not self.load.is_stopping:
            wire = await self._attach()
            if wire is None:
                pause = min(0.5, 2 * pause + 0.02)
                await asyncio.sleep(pause * self.random.uniform(0.5, 1.0))
                continue
            pause = 0.0
            try:
                if self._is_closing:
                    await self._close_session(wire)
                else:
                    await self._work(wire)
            finally:
                wire.hang_up()
        while self.session:  # closed properly, or the ephemerals of this client would outlive the run
            wire = await self._attach()
            if wire is None:
                await asyncio.sleep(0.1)
                continue
            try:
                await self._close_session(wire)
            finally:
                wire.hang_up()

    # -- a connection -----------------------------------------------------------------------------------------------------

    async def _attach(self) -> "Wire | None":
        """Try a replica, whichever: None when it did not take us."""
        loop = asyncio.get_running_loop()
        wire = Wire(self)
        made = self.load.make_socket()
        sent_ns = time.monotonic_ns()
        try:
            async with asyncio.timeout(HANDSHAKE_PATIENCE_S):
                await loop.sock_connect(made, self.random.choice(self.load.addresses))
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.create_connection(lambda: wire, sock=made)
                sent_ns = time.monotonic_ns()
                wire.send_handshake()
                response = await wire.greeted
        except (OSError, TimeoutError):
            wire.hang_up(made)
            return None
        except BaseException:
            wire.hang_up(made)
            raise
        if response is None:
            wire.hang_up()
            return None
        if response.timeout_ms <= 0:
            self._expired(wire, sent_ns)
            wire.hang_up()
            return None
        is_resumed = self.session != 0
        if is_resumed and response.session != self.session:
            self.load.counts.disorder.append(f"session {self.session:#x} is resumed as {response.session:#x}")
        self.session, self.password = response.session, response.password
        self.timeout_ms = response.timeout_ms
        self.believed_ns = sent_ns
        wire.attached(RESUMED if is_resumed else OPENED, sent_ns)
        if is_resumed:
            self.load.counts.resumed += 1
            if self._is_rearming and not self.armed.is_empty:
                wire.ask(zk.OP_SET_WATCHES2, self.armed.request(self.last_zxid), zk.XID_SET_WATCHES)
            else:
                self.armed = Armed()
        else:
            self.load.counts.opened += 1
        return wire

    def _expired(self, wire: "Wire", sent_ns: int) -> None:
        silent_ns = time.monotonic_ns() - self.believed_ns
        wire.mark(EXPIRED, sent_ns)
        if not self._is_closing:
            self.load.counts.lost_sessions.append(
                LostSession(
                    self.load.seconds(time.monotonic_ns()),
                    self.number,
                    self.session,
                    silent_ns / 1e9,
                    silent_ns >= self.timeout_ms * 1_000_000,
                )
            )
        self._forget_session()

    def _forget_session(self) -> None:
        self.session, self.password, self.last_zxid = 0, zk.NO_PASSWORD, 0
        self.timeout_ms = MORTAL_MS if self.random.random() < 0.3 else LIVING_MS
        self.armed = Armed()
        self._is_closing = False
        self.mind.renewed()

    # -- work -------------------------------------------------------------------------------------------------------------

    async def _work(self, wire: "Wire") -> None:
        """Ask and wait, until the connection breaks, patience ends, or the client has another whim."""
        loop = asyncio.get_running_loop()
        patience_s = self.random.uniform(*PATIENCE_S)
        whim_at = loop.time() + self.random.expovariate(1 / STEADY_S)
        next_at = loop.time()
        watching = loop.create_task(wire.watch_over(patience_s))
        try:
            while not self.load.is_stopping and not wire.is_gone:
                if loop.time() >= whim_at and await self._has_whim(wire):
                    return
                burst = self.random.randint(*BURST) if self._is_bursting else 1
                for _ in range(burst):
                    wire.ask(*self.mind.next())
                await wire.settled.wait()
                next_at = max(next_at + burst * self._interval_s * self.random.uniform(0.5, 1.5), loop.time())
                if next_at > loop.time():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(next_at):
                            await wire.gone.wait()
        finally:
            await _cancel([watching])

    async def _has_whim(self, wire: "Wire") -> bool:
        """Leave, close or die, for no reason. True when this connection is over."""
        draw = self.random.random()
        if self.timeout_ms == MORTAL_MS and draw < 0.5:
            wire.mark(KILLED)
            wire.is_silent = True
            self._forget_session()
        elif draw < 0.25:
            await self._close_session(wire)
        return True

    async def _close_session(self, wire: "Wire") -> None:
        """End the session properly. Where no answer comes the end is asked for again, on another connection."""
        self._is_closing = True
        wire.ask(zk.OP_CLOSE_SESSION, b"")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S[0]):
                await wire.settled.wait()
        if wire.is_closed_by_reply:
            self._forget_session()


class Wire(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, client: Client) -> None:
        self.gone = asyncio.Event()
        self.greeted: asyncio.Future[zk.ConnectResponse | None] = asyncio.get_running_loop().create_future()
        self.is_closed_by_reply = False  # closeSession was answered
        self.is_silent = False  # the client has died: nothing more is recorded
        self.settled = asyncio.Event()  # nothing is in flight, or the connection is gone
        self._client = client
        self._in_flight: deque[tuple[int, Call]] = deque()
        self._is_attached = False
        self._load = client.load
        self._number = client.load.connection_number()
        self._oldest_ns = 0  # since when a reply has been due
        self._pings: deque[int] = deque()
        self._reader = zk.FrameReader()
        self._recorder = client.load.recorder
        self._session = client.session
        self._transport: asyncio.Transport | None = None
        self._xid = 0

    @property
    def is_gone(self) -> bool:
        """Whether the connection is over."""
        return self.gone.is_set()

    # -- what is sent -----------------------------------------------------------------------------------------------------

    def send_handshake(self) -> None:
        """Who we are."""
        client = self._client
        request = zk.ConnectRequest(0, client.last_zxid, client.timeout_ms, client.session, client.password, False)
        self._write(zk.frame(zk.encode_connect_request(request)))

    def attached(self, kind: str, sent_ns: int) -> None:
        """The handshake was answered with a session."""
        self._session = self._client.session
        self._is_attached = True
        self.settled.set()
        self.mark(kind, sent_ns, self._client.timeout_ms)

    def mark(self, kind: str, sent_ns: int = 0, timeout_ms: int = 0, zxid: int = 0) -> None:
        """Something happened to the session."""
        now = time.monotonic_ns()
        self._recorder.mark(kind, self._client.number, self._session, self._number, now, sent_ns, timeout_ms, zxid)

    def ask(self, opcode: int, record: bytes, xid: int = 0) -> None:
        """Send a request."""
        if self.is_gone:
            return
        now = time.monotonic_ns()
        if not xid:
            self._xid += 1
            xid = self._xid
        call = self._recorder.invoked(self._client.number, self._session, self._number, opcode, record, now)
        if not self._in_flight:
            self._oldest_ns = now
        self._in_flight.append((xid, call))
        self.settled.clear()
        self._write(zk.request_frame(xid, opcode, record))

    async def watch_over(self, patience_s: float) -> None:
        """Ping, and hang up on a replica that does not answer."""
        pinged_ns = time.monotonic_ns()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic_ns()
            due_ns = [each for each in (self._oldest_ns if self._in_flight else 0, *list(self._pings)[:1]) if each]
            if due_ns and now - min(due_ns) > patience_s * 1e9:
                self.hang_up()
                return
            if now - pinged_ns > PING_S * 1e9:
                pinged_ns = now
                self._pings.append(now)
                self._write(zk.request_frame(zk.XID_PING, zk.OP_PING))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def hang_up(self, unused: socket.socket | None = None) -> None:
        """Give the connection up, or the socket that did not become one."""
        if self._transport is not None:
            self._transport.abort()
        elif unused is not None:
            unused.close()
        self._over()

    # -- what is heard ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self.is_gone:
            return
        now = time.monotonic_ns()
        for payload in self._reader.feed(data):
            if not self._is_attached:
                if not self.greeted.done():
                    self.greeted.set_result(zk.decode_connect_response(payload))
            elif not self.is_silent:
                self._heard(payload, now)

    def _heard(self, payload: bytes, now: int) -> None:
        client = self._client
        header = zk.decode_reply_header(payload)
        if header.xid == zk.XID_EVENT:
            event = zk.decode_event(payload, zk.REPLY_HEADER_BYTES)
            self._recorder.event(client.number, self._session, self._number, now, event.type, event.path, header.zxid)
            client.armed.fired(event.type, event.path)
            self._load.counts.events += 1
            return
        if header.xid == zk.XID_PING:
            if self._pings:
                sent_ns = self._pings.popleft()
                client.believed_ns = max(client.believed_ns, sent_ns)
                self.mark(ALIVE, sent_ns, client.timeout_ms, header.zxid)
            return
        if not self._in_flight or self._in_flight[0][0] != header.xid:
            self._load.counts.disorder.append(f"session {self._session:#x} is answered out of order: xid {header.xid}")
            self.hang_up()
            return
        _, call = self._in_flight.popleft()
        self._recorder.returned(call, now, header.zxid, header.err, payload[zk.REPLY_HEADER_BYTES :])
        client.believed_ns = max(client.believed_ns, call.invoked_ns)
        client.last_zxid = max(client.last_zxid, header.zxid)
        self._oldest_ns = now
        if call.opcode == zk.OP_CLOSE_SESSION:
            self.is_closed_by_reply = True
        else:
            client.armed.answered(call)
            client.mind.answered(call)
            self._load.acknowledged(call)
        if not self._in_flight:
            self.settled.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()

    def _over(self) -> None:
        if self.is_gone:
            return
        self.gone.set()
        if not self.greeted.done():
            self.greeted.set_result(None)
        if self._is_attached and not self.is_silent and not self.is_closed_by_reply:
            self.mark(LOST)
        for _, call in self._in_flight:
            self._recorder.unknown(call)
            if not self.is_silent:
                self._load.counts.unknown += 1
                self._client.mind.unknown(call)
        self._in_flight.clear()
        self.settled.set()
