"""One TCP connection of a client: frames in and out, the handshake, replies matched to requests, pings.

Knows nothing of servers to choose from, of retries or of what an operation means; `client.py` opens one connection
after the other, and gets back from a broken one the requests that had no reply.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from multipaxos.client.addresses import Address
from multipaxos.client.errors import ProtocolViolation, error_of
from multipaxos.client.watches import Watcher, WatchKind
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    ERR_NO_NODE,
    OP_EXISTS,
    OP_PING,
    REPLY_HEADER_BYTES,
    XID_AUTH,
    XID_EVENT,
    XID_PING,
    XID_SET_WATCHES,
    ConnectResponse,
    FrameReader,
    decode_connect_response,
    decode_event,
    decode_reply_header,
    frame,
    request_frame,
)

# Replies have no bound of their own in the protocol (the children of a node with a million of them are one reply),
# but a length beyond this is noise from something that is no server, and must not make us gather gigabytes.
REPLY_BYTES_MAX = 256 * 1024 * 1024

_XID_MAX = 0x7FFFFFFF


class Request:
    """One request and where its outcome goes."""

    __slots__ = ("decode", "future", "is_read", "is_sent", "opcode", "path", "record", "watch_kind", "watcher", "xid")

    def __init__(
        self,
        opcode: int,
        record: bytes,
        path: str,
        decode: Callable[[bytes, int], Any],
        future: "asyncio.Future[Any]",
        is_read: bool = False,
        watch_kind: WatchKind | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.opcode = opcode
        self.record = record
        self.path = path
        self.decode = decode
        self.future = future
        self.is_read = is_read  # may be sent again on another connection without doing anything twice
        self.is_sent = False
        self.watch_kind = watch_kind
        self.watcher = watcher
        self.xid = 0


class Owner(Protocol):
    """Whom a connection tells what it cannot settle itself."""

    def watch_confirmed(self, kind: WatchKind, path: str, watcher: Watcher) -> None:
        """The server has set this watch."""

    def event_received(self, event_type: int, path: str, zxid: int) -> None:
        """A watch fired."""

    def auth_refused(self, connection: "Connection") -> None:
        """The server did not accept credentials; it is about to hang up."""

    def connection_lost(self, connection: "Connection", unanswered: list[Request]) -> None:
        """The connection is gone; ``unanswered`` were sent on it, in this order."""


class Connection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_auths",
        "_beat",
        "_flush_is_due",
        "_frames",
        "_greeting",
        "_heard_at",
        "_is_attached",
        "_loop",
        "_out",
        "_owner",
        "_pending",
        "_sent_at",
        "_silence",
        "_transport",
        "_xid",
        "address",
        "handshake",
        "last_zxid",
        "reason",
    )

    def __init__(
        self, owner: Owner, address: Address, greeting: bytes, last_zxid: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        """``greeting`` is the payload of the ConnectRequest."""
        self.address = address
        self.last_zxid = last_zxid
        self.reason = ""
        # None: the server hung up instead of answering.
        self.handshake: asyncio.Future[ConnectResponse | None] = loop.create_future()
        self._owner = owner
        self._loop = loop
        self._greeting = greeting
        self._frames = FrameReader(REPLY_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._is_attached = False
        self._pending: deque[Request] = deque()
        self._auths: deque[Request] = deque()
        self._out: list[bytes] = []
        self._flush_is_due = False
        self._xid = 0
        self._heard_at = loop.time()
        self._sent_at = self._heard_at
        self._silence = 0.0
        self._beat: asyncio.TimerHandle | None = None

    # Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # not by isinstance: uvloop's is no subclass of it
        self._transport.write(frame(self._greeting))

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            for payload in self._frames.feed(data):
                if self._is_attached:
                    self._reply(payload)
                elif not self.handshake.done():
                    self._greeted(payload)
        except MalformedRecord as error:
            self.abort(f"it sent what the protocol does not allow: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reason:
            self.reason = f"it broke: {exc}" if exc else "the server closed it"
        if self._beat is not None:
            self._beat.cancel()
        self._transport = None
        if not self.handshake.done():
            self.handshake.set_result(None)
        self._owner.connection_lost(self, self.take_pending())

    def abort(self, reason: str) -> None:
        """Drop the connection, and say why to whoever asks."""
        if not self.reason:
            self.reason = reason
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """End the connection after what was written has left."""
        if not self.reason:
            self.reason = "we closed it"
        if self._transport is not None:
            self._transport.close()

    # Handshake and liveness

    def _greeted(self, payload: bytes) -> None:
        response = decode_connect_response(payload)
        if response.timeout_ms > 0 and response.session:
            self._is_attached = True
            self._silence = response.timeout_ms / 1000.0 * 2 / 3
            self._keep_beating()
        self.handshake.set_result(response)

    def _keep_beating(self) -> None:
        """Ping when a third of the timeout passes without a request; give up after two thirds without a sign of life.

        The last third is for finding another server before the session expires (zookeeper-protocol section 15).
        """
        now = self._loop.time()
        if now - self._heard_at >= self._silence:
            self.abort(f"it was silent for {now - self._heard_at:.1f} s")
            return
        if now - self._sent_at >= self._silence / 2:
            self._write(request_frame(XID_PING, OP_PING))
        self._beat = self._loop.call_later(self._silence / 4, self._keep_beating)

    # Requests

    def send(self, request: Request) -> None:
        """Send a request; its future gets the outcome."""
        self._xid = self._xid + 1 if self._xid < _XID_MAX else 1
        request.xid = self._xid
        request.is_sent = True
        self._pending.append(request)
        self._write(request_frame(request.xid, request.opcode, request.record))

    def take_pending(self) -> list[Request]:
        """The requests without a reply, for someone else to settle; replies that still come find nobody."""
        unanswered = list(self._auths) + list(self._pending)
        self._auths.clear()
        self._pending.clear()
        return unanswered

    def send_auth(self, request: Request) -> None:
        """Send credentials. Java answers them out of turn, so they are matched among themselves."""
        request.is_sent = True
        self._auths.append(request)
        self._write(request_frame(XID_AUTH, request.opcode, request.record))

    def send_watches(self, opcode: int, record: bytes) -> None:
        """Set watches again; events answer, the reply itself says nothing."""
        self._write(request_frame(XID_SET_WATCHES, opcode, record))

    def _write(self, data: bytes) -> None:
        # One system call for all that one turn of the loop sends.
        self._out.append(data)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        data = b"".join(self._out)
        self._out.clear()
        self._sent_at = self._loop.time()
        if self._transport is not None:
            self._transport.write(data)

    # Replies

    def _reply(self, payload: bytes) -> None:
        xid, zxid, err = decode_reply_header(payload)
        if zxid > self.last_zxid:
            self.last_zxid = zxid
        if xid > 0:
            if not self._pending or self._pending[0].xid != xid:
                raise MalformedRecord(f"a reply to request {xid}, which is not the one due")
            self._settle(self._pending.popleft(), err, payload)
        elif xid == XID_EVENT:
            event = decode_event(payload, REPLY_HEADER_BYTES)
            self._owner.event_received(event.type, event.path, zxid)
        elif xid == XID_AUTH:
            if not self._auths:
                raise MalformedRecord("an answer to credentials that were not sent")
            self._settle(self._auths.popleft(), err, payload)
            if err:
                self._owner.auth_refused(self)
        elif xid == XID_SET_WATCHES and err:
            raise MalformedRecord(f"a refusal to set watches again ({err})")

    def _settle(self, request: Request, err: int, payload: bytes) -> None:
        future = request.future
        if future.done():  # the caller has given up waiting
            return
        if err:
            if err == ERR_NO_NODE and request.opcode == OP_EXISTS:
                # The watch is set all the same (zk-5), and the answer is "no".
                self._confirm_watch(request, WatchKind.EXIST)
                future.set_result(None)
            else:
                future.set_exception(error_of(err, request.path))
            return
        try:
            value = request.decode(payload, REPLY_HEADER_BYTES)
        except MalformedRecord as error:
            future.set_exception(ProtocolViolation(request.path, f"the reply cannot be read: {error}"))
            raise
        # Here and not where the caller awaits: an event for this very watch may stand in the same read.
        self._confirm_watch(request, request.watch_kind)
        future.set_result(value)

    def _confirm_watch(self, request: Request, kind: WatchKind | None) -> None:
        if request.watcher is not None and kind is not None:
            self._owner.watch_confirmed(kind, request.path, request.watcher)
