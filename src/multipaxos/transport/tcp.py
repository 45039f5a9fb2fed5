"""Messages between replicas over TCP: dialling, taking in, framing, back-pressure, and who is there.

**One connection for each direction.** Every replica dials every peer and sends on the connection it dialled; on one
it has taken in it only receives. Two replicas that dial each other at once need no rule which connection survives, a
link that is cut one way is cut one way here too (rule-R29 deals with it), and each side learns by its *own* redial
whether anybody still listens at the other end (rule-R28). A killed process closes both its ends, so both sides know
at once.

A link that breaks is dialled again at once, then with a growing, jittered delay. ``peer_down`` is said when it breaks
and once more, with ``is_refused``, when a redial of that outage is refused. Nothing is kept for a peer that is not
there: what it misses is stale when it returns, and the core sends again what still matters.

What is sent in one turn of the loop is gathered per peer and written by ``flush``, in one call. A message given to
several peers is encoded once. A peer that does not read fills its outbox up to a bound; from there on messages to it
are dropped and counted. Everything a stranger can make us hold is bounded: bytes, connections, time.

Knows nothing of Paxos; who may connect is decided by ``wire/handshake.py``, what may be said by ``wire/peer.py``. The
turn of the loop is kept by the driver, in ``host/``.
"""

import asyncio
import errno
import socket
import struct
import time
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol, cast

from multipaxos.core.ballot import ReplicaId
from multipaxos.wire.frame import BODY_AT, BODY_BYTES_MAX, Frame, FrameError, FrameParser, encode_frame
from multipaxos.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    Handshake,
    Hello,
    Refusal,
    Welcome,
    admit,
    decode_handshake,
    encode_handshake,
)
from multipaxos.wire.peer import MalformedMessage, PeerMessage, decode, encode

Address = tuple[str, int]

_WRITE_BYTES_MAX: Final = 1 << 20
"""Of frames joined for one write; a long outbox is not copied whole for a socket that takes a part of it."""

_KEEPALIVE_AFTER_S: Final = 2

_TCP_INFO: Final[int] = getattr(socket, "TCP_INFO", 0)  # Linux
_LAST_ACK_AT: Final = 56
"""Where the kernel's ``tcp_info`` says how many milliseconds ago the last acknowledgement came."""

_NO_ROUTE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH)


class Callbacks(Protocol):
    """What the transport tells the driver. Called from the loop, never from within ``send`` or ``flush``.

    None of them may raise: the loop would close the connection and report the exception to its exception handler.
    """

    def on_messages(self, peer: ReplicaId, messages: list[PeerMessage]) -> None:
        """What one read from ``peer`` brought, in order."""

    def peer_up(self, peer: ReplicaId) -> None:
        """From now on ``send`` reaches ``peer``; what was sent before may be lost (rule-R8)."""

    def peer_down(self, peer: ReplicaId, is_refused: bool) -> None:
        """The link to ``peer`` broke; a second time, with ``is_refused``, once nobody listens there (rule-R28)."""

    def on_refused(self, peer: ReplicaId, reason: str) -> None:
        """``peer`` refuses this replica, and says why. Said again at each attempt."""

    def on_trouble(self, peer: ReplicaId, reason: str) -> None:
        """A connection was refused or closed here for what came by it. ``peer`` is 0 where it had not named itself."""


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Local settings of the transport."""

    backoff_min_s: float = 0.020
    backoff_max_s: float = 1.0
    handshake_timeout_s: float = 2.0  # from the first packet to the welcome
    silence_timeout_s: float = 5.0  # sent bytes unanswered by the other machine for so long: the connection is dead
    outbox_bytes_max: int = 64 << 20  # for each peer
    strangers_max: int = 64  # connections taken in that have not introduced themselves


class Counters:
    """What happened since the start."""

    __slots__ = (
        "connected", "crowded_out", "dropped", "encoded", "handshake_timeouts", "malformed", "received",
        "received_bytes", "refused_by_peers", "refused_here", "sent", "sent_bytes", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.connected = 0  # links that came up
        self.sent = 0  # messages put in an outbox
        self.sent_bytes = 0
        self.encoded = 0  # messages encoded: fewer than sent, since a message to several peers is encoded once
        self.writes = 0
        self.dropped = 0  # messages to peers that were not there, or whose outbox was full
        self.received = 0
        self.received_bytes = 0
        self.malformed = 0  # connections closed for bytes that no replica sends
        self.refused_here = 0  # handshakes refused by this replica
        self.refused_by_peers = 0
        self.handshake_timeouts = 0
        self.crowded_out = 0  # strangers closed because too many came


@dataclass(frozen=True, slots=True)
class LinkState:
    """How the connections with one peer stand, for whoever looks after the cluster; nothing is decided by it."""

    peer: ReplicaId
    is_connected: bool  # the connection we dialled stands, and was welcomed
    is_heard: bool  # the one the peer dialled stands
    heard_ms_ago: int | None  # since it said something; None for never
    sent_ok_ms_ago: int | None  # since its machine acknowledged something; None where nobody can tell
    queued_bytes: int
    trouble: str  # what went wrong last, in words; "" once it is connected
    trouble_ms_ago: int | None


class Transport:
    """The connections of one replica to its peers.

    ``identity`` is what this replica says of itself in handshakes. ``marks`` are the registered marks of the ids that
    may connect, 0 where none is registered yet; by default the peers, without marks.
    """

    def __init__(
        self,
        identity: Hello,
        address: Address,
        peers: dict[ReplicaId, Address],
        callbacks: Callbacks,
        random: Random,
        settings: TransportSettings | None = None,
        marks: dict[ReplicaId, int] | None = None,
    ) -> None:
        self.address = address  # once started: the one bound, with the port that stood for 0
        self.callbacks = callbacks
        self.counters = Counters()
        self.identity = identity
        self.incarnations: dict[ReplicaId, int] = {}  # highest seen; the driver may fill in what its journal notes
        self.is_closed = False
        self.marks = dict.fromkeys(peers, 0) if marks is None else dict(marks)
        self.replica = identity.replica
        self.settings = settings or TransportSettings()
        self._peers = dict(peers)
        self._random = random
        self._links: dict[ReplicaId, _Link] = {}
        self._heard_at: dict[ReplicaId, int] = {}  # monotonic nanoseconds, for ``link_states``
        self._incoming: dict[ReplicaId, _Incoming] = {}
        self._strangers: dict[_Incoming, None] = {}  # in order of arrival
        self._connections: set[_Incoming | _Outgoing] = set()
        self._all_gone = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._sequence = 0
        # Encoded in this turn, by identity; holds the message too, so that no other can get its identity meanwhile.
        self._encoded: dict[int, tuple[PeerMessage, bytes]] = {}

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and begin to dial. Raises OSError where the address cannot be bound."""
        host, port = self.address
        self._server = await asyncio.get_running_loop().create_server(self._take_in, host or None, port)
        bound = self._server.sockets[0].getsockname()
        self.address = (bound[0], bound[1])
        self.set_peers(self._peers)

    async def close(self) -> None:
        """Break all connections and listen no more. No callback is called after this."""
        self.is_closed = True
        if self._server is not None:
            self._server.close()
        tasks = [link.task for link in self._links.values() if link.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            await self._all_gone.wait()
        if self._server is not None:
            await self._server.wait_closed()

    def set_peers(self, peers: dict[ReplicaId, Address]) -> None:
        """Dial these from now on, and nobody else. This replica itself may be among them; it is not dialled."""
        self._peers = {peer: address for peer, address in peers.items() if peer != self.replica}
        for peer, link in list(self._links.items()):
            if self._peers.get(peer) != link.address:
                del self._links[peer]
                if link.task is not None:
                    link.task.cancel()
                if link.connection is not None:
                    link.connection.abort()
        if self._server is None or self.is_closed:
            return
        for peer, address in self._peers.items():
            if peer not in self._links:
                link = _Link(peer, address)
                self._links[peer] = link
                link.task = asyncio.get_running_loop().create_task(self._dial(link), name=f"dial replica {peer}")
                link.task.add_done_callback(_report_failure)

    def set_identity(self, identity: Hello, marks: dict[ReplicaId, int]) -> None:
        """The cluster was born, or its members changed. Connections that would not be made any more are closed."""
        self.identity = identity
        self.marks = dict(marks)
        for incoming in list(self._incoming.values()):
            reason = "" if incoming.hello is None else self._judge(incoming.hello)
            if reason:
                self.counters.refused_here += 1
                self._trouble(incoming.peer, reason)
                incoming.abort()
        for link in list(self._links.values()):
            outgoing = link.connection
            reason = "" if outgoing is None or outgoing.hello is None else self._judge(outgoing.hello)
            if outgoing is not None and reason:
                self.counters.refused_here += 1
                self._trouble(link.peer, reason)
                outgoing.abort()

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, peer: ReplicaId, message: PeerMessage) -> None:
        """Put a message in the outbox of ``peer``; ``flush`` writes it. Dropped when the peer is not there."""
        link = self._links.get(peer)
        if link is None or link.connection is None:
            self.counters.dropped += 1
            return
        known = self._encoded.get(id(message))
        if known is None:
            self._sequence += 1
            frame = encode_frame(self.identity.group, self._sequence, encode(message))
            self._encoded[id(message)] = (message, frame)
            self.counters.encoded += 1
        else:
            frame = known[1]
        if link.queued_bytes + len(frame) > self.settings.outbox_bytes_max:
            # The newest goes: to what waits already, the answers are the sooner due. The core sends again what gets none.
            self.counters.dropped += 1
            return
        link.frames.append(frame)
        link.queued_bytes += len(frame)
        self.counters.sent += 1

    def flush(self) -> None:
        """Write what this turn sent: once at the end of each turn of the driver."""
        self._encoded.clear()
        for link in self._links.values():
            if link.frames and link.connection is not None:
                link.connection.write_outbox()

    def connected(self) -> list[ReplicaId]:
        """The peers that ``send`` reaches, ascending."""
        return sorted(peer for peer, link in self._links.items() if link.connection is not None)

    def outbox_bytes(self, peer: ReplicaId) -> int:
        """Bytes that wait for ``peer`` to read."""
        link = self._links.get(peer)
        return 0 if link is None else link.queued_bytes

    def link_states(self) -> list[LinkState]:
        """How the connections with each peer stand, by ascending id. A system call for each."""
        now = time.monotonic_ns()
        states: list[LinkState] = []
        for peer, link in sorted(self._links.items()):
            heard_at = self._heard_at.get(peer)
            states.append(
                LinkState(
                    peer,
                    link.connection is not None,
                    peer in self._incoming,
                    None if heard_at is None else (now - heard_at) // 1_000_000,
                    None if link.connection is None else link.connection.acknowledged_ms_ago(),
                    link.queued_bytes,
                    link.trouble,
                    (now - link.trouble_at) // 1_000_000 if link.trouble else None,
                )
            )
        return states

    def drop(self, peer: ReplicaId, reason: str) -> None:
        """Close the connection ``peer`` sends on: it said what only the core could tell to be malformed (rule-R1)."""
        incoming = self._incoming.get(peer)
        if incoming is not None:
            self._malformed(peer, reason)
            incoming.abort()

    # --- dialling -----------------------------------------------------------------------------------------------------

    async def _dial(self, link: "_Link") -> None:
        """Keeps one link up until it is cancelled."""
        loop = asyncio.get_running_loop()
        settings = self.settings
        delay = settings.backoff_min_s
        redialled_at = -settings.backoff_max_s
        while True:
            link.has_called.clear()
            try:
                await self._attempt(link)
            except ConnectionRefusedError:
                link.suffer(_trouble_of(link.address, "nobody listens there: the connection was refused"))
                if link.is_mourned:
                    link.is_mourned = False
                    self.callbacks.peer_down(link.peer, True)
            except OSError as error:
                # A timeout, a name that does not resolve, ...: not evidence that nobody listens; dial again.
                link.suffer(_trouble_of(link.address, self._failure_text(error)))
            connection = link.connection  # also when it was welcomed in the moment the attempt timed out
            if connection is not None:
                await connection.lost.wait()
                if loop.time() - redialled_at >= settings.backoff_max_s:
                    delay = settings.backoff_min_s
                    redialled_at = loop.time()
                    continue  # at once: is the peer dead or only the connection? (rule-R28)
                # One that breaks again and again is dialled with growing delays all the same, or both would spin.
            try:
                async with asyncio.timeout(delay * (0.5 + self._random.random() / 2)):
                    await link.has_called.wait()  # the peer dialled us: it is back
            except TimeoutError:
                delay = min(2 * delay, settings.backoff_max_s)

    def _failure_text(self, error: OSError) -> str:
        if isinstance(error, socket.gaierror):
            return f"the name does not resolve ({error.strerror})"
        if isinstance(error, TimeoutError) and error.errno is None:
            return f"no answer within {self.settings.handshake_timeout_s:g} s"
        return error.strerror or str(error)

    async def _attempt(self, link: "_Link") -> None:
        """Connects and introduces itself; ``link.connection`` is set when it was welcomed and still stands.

        Raises ConnectionRefusedError where nobody listens, other kinds of OSError and TimeoutError for the rest.
        """
        loop = asyncio.get_running_loop()
        outgoing = _Outgoing(self, link)
        try:
            async with asyncio.timeout(self.settings.handshake_timeout_s):
                dialled = await self._connect(link.address)
                await loop.create_connection(lambda: outgoing, sock=dialled)
                await outgoing.answered.wait()
        finally:
            if link.connection is not outgoing:
                outgoing.abort()

    async def _connect(self, address: Address) -> socket.socket:
        host, port = address
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        is_refused = False
        problem: OSError | None = None
        for family, kind, protocol, _, target in found:
            try:
                return await self._connect_to(socket.socket(family, kind, protocol), target)
            except ConnectionRefusedError:
                is_refused = True
            except OSError as error:
                # Names often have an address of a kind this machine has no route for: it does not speak for the others.
                if problem is None or error.errno not in _NO_ROUTE:
                    problem = error
        if problem is None or (is_refused and problem.errno in _NO_ROUTE):
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        raise problem

    async def _connect_to(self, dialled: socket.socket, target: tuple[object, ...]) -> socket.socket:
        try:
            dialled.setblocking(False)
            self._tune(dialled)
            await asyncio.get_running_loop().sock_connect(dialled, target)
            if dialled.getsockname() == dialled.getpeername():
                # A dial to a free port of this machine can be given that very port as its own, and meet itself.
                raise ConnectionRefusedError("met itself")
        except BaseException:
            dialled.close()
            raise
        return dialled

    def _tune(self, connection: socket.socket) -> None:
        """No waiting for fuller packets, and no waiting for ever for a machine that vanished."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Unanswered data is noticed by the first option, a connection on which nothing is sent by the others.
        for name, value in (
            ("TCP_USER_TIMEOUT", int(self.settings.silence_timeout_s * 1000)),
            ("TCP_KEEPIDLE", _KEEPALIVE_AFTER_S),
            ("TCP_KEEPINTVL", 1),
        ):
            option = getattr(socket, name, None)
            if option is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)

    # --- what connections report --------------------------------------------------------------------------------------

    def _take_in(self) -> "_Incoming":
        return _Incoming(self)

    def _judge(self, hello: Hello) -> str:
        """Why a replica is refused, or ""; an incarnation that is let in is remembered."""
        seen = self.incarnations.get(hello.replica, 0)
        reason = admit(self.identity, hello, self.marks.get(hello.replica), seen)
        if not reason and hello.incarnation > seen:
            self.incarnations[hello.replica] = hello.incarnation
        return reason

    def _trouble(self, peer: ReplicaId, reason: str) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.suffer(reason)
        if not self.is_closed:
            self.callbacks.on_trouble(peer, reason)

    def _malformed(self, peer: ReplicaId, reason: str) -> None:
        self.counters.malformed += 1
        self._trouble(peer, reason)

    def _opened(self, connection: "_Incoming | _Outgoing") -> None:
        self._connections.add(connection)

    def _gone(self, connection: "_Incoming | _Outgoing") -> None:
        self._connections.discard(connection)
        if self.is_closed and not self._connections:
            self._all_gone.set()

    def _stranger_came(self, stranger: "_Incoming") -> None:
        if len(self._strangers) >= self.settings.strangers_max:
            # The oldest goes: a peer is done with its introduction in no time, who dawdles is none. The other way
            # round, a few idle connections would keep the peers out.
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            self.counters.crowded_out += 1
            oldest.abort()
        self._strangers[stranger] = None

    def _peer_came(self, incoming: "_Incoming") -> None:
        """A newer connection of a peer replaces the older one, which the peer must have given up."""
        del self._strangers[incoming]
        older = self._incoming.get(incoming.peer)
        self._incoming[incoming.peer] = incoming
        if older is not None:
            older.abort()
        link = self._links.get(incoming.peer)
        if link is not None and link.connection is None:
            link.has_called.set()

    def _incoming_gone(self, incoming: "_Incoming") -> None:
        self._strangers.pop(incoming, None)
        if self._incoming.get(incoming.peer) is incoming:
            del self._incoming[incoming.peer]
        self._gone(incoming)

    def _link_up(self, link: "_Link", outgoing: "_Outgoing") -> None:
        link.connection = outgoing
        link.is_mourned = False
        link.trouble = ""
        self.counters.connected += 1
        if not self.is_closed:
            self.callbacks.peer_up(link.peer)

    def _outgoing_gone(self, link: "_Link", outgoing: "_Outgoing") -> None:
        if link.connection is outgoing:
            link.connection = None
            link.is_mourned = True
            link.suffer("the connection broke")
            self.counters.dropped += len(link.frames)
            link.frames = []
            link.queued_bytes = 0
            if not self.is_closed:
                self.callbacks.peer_down(link.peer, False)
        self._gone(outgoing)


class _Link:
    """What is kept of one peer we send to, over all connections to it."""

    __slots__ = (
        "address", "connection", "frames", "has_called", "is_mourned", "peer", "queued_bytes", "task", "trouble",
        "trouble_at",
    )  # fmt: skip

    def __init__(self, peer: ReplicaId, address: Address) -> None:
        self.peer = peer
        self.address = address
        self.connection: _Outgoing | None = None  # set exactly while it is welcomed and stands
        self.frames: list[bytes] = []  # the outbox: empty unless there is a connection
        self.queued_bytes = 0
        self.is_mourned = False  # the link broke, and no redial since was refused or welcomed
        self.has_called = asyncio.Event()  # the peer has dialled us since our last attempt
        self.task: asyncio.Task[None] | None = None
        self.trouble = ""  # what went wrong last since it was connected last
        self.trouble_at = 0  # monotonic nanoseconds

    def suffer(self, trouble: str) -> None:
        """Note what went wrong, for ``link_states``."""
        self.trouble = trouble
        self.trouble_at = time.monotonic_ns()


class _Outgoing(asyncio.Protocol):
    """A connection we dialled: it introduces this replica, waits for the welcome, and then only sends."""

    __slots__ = ("_is_paused", "_link", "_owner", "_parser", "_transport", "answered", "hello", "lost")

    def __init__(self, owner: Transport, link: _Link) -> None:
        self.answered = asyncio.Event()  # welcomed, refused or lost
        self.hello: Hello | None = None  # of the other side
        self.lost = asyncio.Event()
        self._is_paused = False
        self._link = link
        self._owner = owner
        self._parser = FrameParser(HANDSHAKE_BYTES_MAX)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connected = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = connected
        self._owner._opened(self)
        connected.set_write_buffer_limits(high=_WRITE_BYTES_MAX)
        connected.write(_handshake_frame(self._owner.identity))

    def data_received(self, data: bytes) -> None:
        peer = self._link.peer
        try:
            if self.answered.is_set():
                raise MalformedMessage("bytes on a connection that only receives")
            answer = _only_handshake(self._parser, data)
            if isinstance(answer, Hello):
                raise MalformedMessage("a question")
        except (FrameError, MalformedMessage) as error:
            self._owner._malformed(peer, f"replica {peer} answers the handshake: {error}")
            self.abort()
            return
        if answer is None:
            return
        self.answered.set()
        if isinstance(answer, Refusal):
            self._owner.counters.refused_by_peers += 1
            self._link.suffer(f"it refuses this replica: {answer.reason}")
            if not self._owner.is_closed:
                self._owner.callbacks.on_refused(peer, answer.reason)
            self.abort()
            return
        reason = self._owner._judge(answer.hello)
        if not reason and answer.hello.replica != peer:
            host, port = self._link.address
            reason = (
                f"at {host}:{port} replica {answer.hello.replica} answers where replica {peer} should: "
                "check the peer addresses"
            )
        if reason:
            self._owner.counters.refused_here += 1
            self._owner._trouble(peer, reason)
            self.abort()
            return
        self.hello = answer.hello
        self._owner._link_up(self._link, self)

    def write_outbox(self) -> None:
        """Write what waits, as long as the socket takes it."""
        link = self._link
        transport = self._transport
        if transport is None or transport.is_closing():
            return  # the loss is reported in the next turn, and empties the outbox
        while link.frames and not self._is_paused:
            if link.queued_bytes <= _WRITE_BYTES_MAX:
                data = b"".join(link.frames)
                link.frames = []
            else:
                count = 0
                size = 0
                while size < _WRITE_BYTES_MAX and count < len(link.frames):
                    size += len(link.frames[count])
                    count += 1
                data = b"".join(link.frames[:count])
                del link.frames[:count]
            link.queued_bytes -= len(data)
            self._owner.counters.writes += 1
            self._owner.counters.sent_bytes += len(data)
            transport.write(data)

    def acknowledged_ms_ago(self) -> int | None:
        """For how long the peer's machine has acknowledged nothing; None where the system does not tell. An idle
        connection is asked by keep-alive every few seconds."""
        connection = None if self._transport is None else self._transport.get_extra_info("socket")
        if not _TCP_INFO or connection is None:
            return None
        try:
            told = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_ACK_AT + 4)
        except OSError:
            return None
        return int(struct.unpack_from("=I", told, _LAST_ACK_AT)[0]) if len(told) == _LAST_ACK_AT + 4 else None

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._link.connection is self:
            self.write_outbox()

    def connection_lost(self, exc: Exception | None) -> None:
        self.answered.set()
        self.lost.set()
        self._owner._outgoing_gone(self._link, self)

    def abort(self) -> None:
        """Break the connection without writing what waits."""
        if self._transport is not None:
            self._transport.abort()


class _Incoming(asyncio.Protocol):
    """A connection taken in: its other end introduces itself, is welcomed or refused, and then only sends."""

    __slots__ = ("_group", "_owner", "_parser", "_timer", "_transport", "hello", "peer")

    def __init__(self, owner: Transport) -> None:
        self.hello: Hello | None = None  # of the other side, once it is welcomed
        self.peer: ReplicaId = 0  # its replica id from then on
        self._group = owner.identity.group
        self._owner = owner
        self._parser = FrameParser(HANDSHAKE_BYTES_MAX)
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connected = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = connected
        owner = self._owner
        owner._opened(self)
        if owner.is_closed:
            self.abort()
            return
        owner._tune(connected.get_extra_info("socket"))
        owner._stranger_came(self)
        self._timer = asyncio.get_running_loop().call_later(owner.settings.handshake_timeout_s, self._timed_out)

    def data_received(self, data: bytes) -> None:
        peer = self.peer
        owner = self._owner
        messages: list[PeerMessage] = []
        try:
            if peer == 0:
                self._introduced(_only_handshake(self._parser, data))
                return
            group = self._group
            for of_group, _, body in self._parser.feed(data):
                if of_group != group:
                    raise MalformedMessage(f"a frame for ledger {of_group}")
                message = decode(body, BODY_AT, len(body))
                if message.sender != peer:
                    raise MalformedMessage(f"a message of replica {message.sender}")
                messages.append(message)
        except (FrameError, MalformedMessage) as error:
            # What else the read brought is given up with it: to the core it is loss, like the rest of the connection.
            owner._malformed(peer, f"from {self._name()}: {error}")
            self.abort()
            return
        owner._heard_at[peer] = time.monotonic_ns()
        owner.counters.received_bytes += len(data)
        if messages:
            owner.counters.received += len(messages)
            owner.callbacks.on_messages(peer, messages)

    def _introduced(self, said: Handshake | None) -> None:
        if said is None:
            return
        if self.hello is not None or not isinstance(said, Hello):
            raise MalformedMessage("no introduction")
        self.hello = said
        owner = self._owner
        transport = self._transport
        assert transport is not None
        reason = owner._judge(said)
        if reason:
            owner.counters.refused_here += 1
            owner._trouble(said.replica, f"{self._name()}: {reason}")
            transport.write(_handshake_frame(Refusal(reason)))
            transport.close()  # the timer runs on: who does not read the reason is closed by it
            return
        if self._timer is not None:
            self._timer.cancel()
        self.peer = said.replica
        self._parser.limit = BODY_BYTES_MAX
        owner._peer_came(self)
        transport.write(_handshake_frame(Welcome(owner.identity)))

    def _timed_out(self) -> None:
        self._owner.counters.handshake_timeouts += 1
        self._owner._trouble(0, f"{self._name()} has not finished its introduction in time")
        self.abort()

    def _name(self) -> str:
        """Who it is, or where it comes from."""
        if self.peer:
            return f"replica {self.peer}"
        address = self._transport.get_extra_info("peername") if self._transport is not None else None
        return f"{address[0]}:{address[1]}" if address else "an unknown address"

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._owner._incoming_gone(self)

    def abort(self) -> None:
        """Break the connection without writing what waits."""
        if self._transport is not None:
            self._transport.abort()


def _handshake_frame(message: Handshake) -> bytes:
    return encode_frame(0, 0, encode_handshake(message))


def _only_handshake(parser: FrameParser, data: bytes) -> Handshake | None:
    """The one handshake frame that may come here, or None as long as it is not whole."""
    frames: list[Frame] = parser.feed(data)
    if not frames:
        return None
    if len(frames) > 1 or parser.held_bytes:
        raise MalformedMessage("speaks before it is welcomed")
    return decode_handshake(frames[0][2][BODY_AT:])


def _report_failure(task: "asyncio.Task[None]") -> None:
    """A dialling task ends by being cancelled; anything else is a defect and must not go unheard."""
    if not task.cancelled():
        error = task.exception()
        if error is not None:
            task.get_loop().call_exception_handler({"message": f"{task.get_name()} failed", "exception": error})


def _trouble_of(address: Address, what: str) -> str:
    host, port = address
    return f"{host}:{port}: {what}"


def parse_address(text: str) -> Address:
    """``host:port`` as members write it; an IPv6 host stands in brackets. Raises ValueError where it is neither."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address of the form host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
