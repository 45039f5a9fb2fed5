"""Client sockets: bytes between them and ``service/``, and nothing else.

The callbacks of the loop only collect what happened, in order; the turn of ``driver.py`` takes it, hands it to the
service, and gives back what to write, close, pause and resume. What a client means, what it may cost and when it is
closed is decided by the service.

What a client does not read is held in memory. Above ``BLOCKED_BYTES`` the service is told and reads no further from that
client; it closes the client when replies and events above its own bound (16 MiB by default) pile up all the same.

A connection that we close is not closed at once: the kernel answers bytes that nobody read with a reset, and a reset
throws away the last reply on its way to the client. So the write side is shut, what still comes is discarded, and the
rest is closed when the client has closed too, or after ``LINGER_S``.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from multipaxos.host.config import join_address

BLOCKED_BYTES: Final = 256 * 1024
LINGER_S: Final = 2.0
BACKLOG: Final = 4096
"""A replica that opens its port is found by all clients of the one that just died."""

DATA: Final = 0
OPENED: Final = 1
CLOSED: Final = 2
ENDED: Final = 3  # the client has shut its side; what it sent before is answered first (echo ruok | nc)
BLOCKED: Final = 4
UNBLOCKED: Final = 5

Event = tuple[int, int, bytes, str]
"""kind, connection, bytes of DATA, address of OPENED"""


class Gateway:
    """The listening sockets and all client connections."""

    __slots__ = ("_next", "_servers", "_sockets", "addresses", "connections", "events", "request_turn")

    def __init__(self, request_turn: Callable[[], None]) -> None:
        self.request_turn = request_turn
        self.events: list[Event] = []  # taken by the turn
        self.connections: dict[int, ClientConnection] = {}
        self.addresses: list[str] = []  # bound, with the port that stood for 0
        self._next = 1  # a number is never used twice in one incarnation (rule-R9)
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []

    def bind(self, host: str, port: int) -> None:
        """Take the address without listening: a port that is taken is known before anything else begins, and clients are
        refused, not kept waiting, until this replica can serve them (rule-R26). Raises OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, target in found:
            one = socket.socket(family, kind, protocol)
            self._sockets.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(target)
            bound = one.getsockname()
            self.addresses.append(join_address(str(bound[0]), int(bound[1])))

    async def listen(self) -> None:
        """Let clients in."""
        loop = asyncio.get_running_loop()
        while self._sockets:
            one = self._sockets.pop()
            self._servers.append(await loop.create_server(lambda: ClientConnection(self), sock=one, backlog=BACKLOG))

    def stop_listening(self) -> None:
        """Let nobody in any more; who is in stays."""
        for one in self._sockets:
            one.close()
        self._sockets.clear()
        for server in self._servers:
            server.close()
        self._servers.clear()

    def stop_reading(self) -> None:
        """Take no more requests; what was read is still answered."""
        for connection in self.connections.values():
            connection.pause_reading()

    def close_gently(self) -> None:
        """Close each connection behind what was written to it."""
        for connection in list(self.connections.values()):
            connection.close()

    def close(self) -> None:
        """Let nobody in any more, and break all connections."""
        self.stop_listening()
        for connection in list(self.connections.values()):
            connection.abort()

    def opened(self, connection: "ClientConnection", address: str) -> int:
        """A client connected: its number."""
        number = self._next
        self._next += 1
        self.connections[number] = connection
        self.events.append((OPENED, number, b"", address))
        self.request_turn()
        return number

    def happened(self, kind: int, number: int) -> None:
        """Something else than bytes."""
        self.events.append((kind, number, b"", ""))
        self.request_turn()


class ClientConnection(asyncio.Protocol):
    """One client socket."""

    __slots__ = ("_gateway", "_is_closing", "_linger", "_transport", "number")

    def __init__(self, gateway: Gateway) -> None:
        self.number = 0
        self._gateway = gateway
        self._is_closing = False
        self._linger: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    # --- from the loop -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._transport = transport
        transport.set_write_buffer_limits(high=BLOCKED_BYTES)
        peername = transport.get_extra_info("peername")
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Keep-alive finds the machines that vanished without a word; sessions end by their own timeouts before that.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A client that hung up between accept and here has no address any more; it will be reported as lost.
        address = join_address(str(peername[0]), int(peername[1])) if peername else "0.0.0.0:0"
        self.number = self._gateway.opened(self, address)

    def data_received(self, data: bytes) -> None:
        if not self._is_closing:
            self._gateway.events.append((DATA, self.number, data, ""))
            self._gateway.request_turn()

    def eof_received(self) -> bool:
        if self._is_closing:
            return False  # both sides have closed
        self._gateway.happened(ENDED, self.number)
        return True

    def pause_writing(self) -> None:
        if not self._is_closing:
            self._gateway.happened(BLOCKED, self.number)

    def resume_writing(self) -> None:
        if not self._is_closing:
            self._gateway.happened(UNBLOCKED, self.number)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._gateway.connections.pop(self.number, None)
        if not self._is_closing:
            self._is_closing = True
            self._gateway.happened(CLOSED, self.number)

    # --- from the turn -----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send whole frames."""
        if self._transport is not None and not self._is_closing:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Read no further."""
        if self._transport is not None and not self._is_closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._transport is not None and not self._is_closing:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close after what was written."""
        transport = self._transport
        if transport is None or self._is_closing:
            return
        self._is_closing = True
        if transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
            transport.resume_reading()
        self._linger = asyncio.get_running_loop().call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """Break the connection."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()
