"""A ZooKeeper client that hides nothing: blocking, one socket, frames as they come. For what a comfortable client covers
up: the order of replies and events on the wire, what one ``send`` holds, a session carried by hand to another replica.

Only the codec is the project's (``wire/zookeeper.py``). Knows nothing of processes; see ``cluster_harness.py``.
"""

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import Final

from multipaxos.wire import zookeeper as zk

TIMEOUT_S: Final = 30.0
_sockets: list[socket.socket] = []


def close_all() -> None:
    """Close what a test left open; failed tests do."""
    for one in _sockets:
        one.close()
    _sockets.clear()


class ConnectionClosed(Exception):
    """The other side closed the connection, or broke it."""


class SessionExpired(Exception):
    """The replica says that the session is no more."""


class RequestFailed(Exception):
    """An error code in a reply."""

    def __init__(self, code: int) -> None:
        super().__init__(zk.ERROR_NAMES.get(code, str(code)))
        self.code = code


@dataclass(frozen=True, slots=True)
class Reply:
    """One frame of a replica: a reply, or an event (xid -1)."""

    xid: int
    zxid: int
    err: int
    body: bytes

    @property
    def event(self) -> tuple[int, str] | None:
        """Type and path, where it is an event."""
        if self.xid != zk.XID_EVENT:
            return None
        event = zk.decode_event(self.body)
        return event.type, event.path


class RawClient:
    """One connection of one session. ``session``, ``password`` and ``zxid`` of another one carry it over."""

    def __init__(
        self,
        address: tuple[str, int],
        timeout_ms: int = 30_000,
        session: int = 0,
        password: bytes = zk.NO_PASSWORD,
        zxid: int = 0,
        seconds: float = TIMEOUT_S,
    ) -> None:
        self.zxid = zxid  # highest seen
        self.xid = 0
        self._frames: list[bytes] = []
        self._reader = zk.FrameReader()
        deadline = time.monotonic() + seconds
        try:
            self.socket = socket.create_connection(address, seconds)
        except OSError as error:
            raise ConnectionClosed(str(error)) from error
        _sockets.append(self.socket)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = zk.ConnectRequest(0, zxid, timeout_ms, session, password, False)
            self.send(zk.frame(zk.encode_connect_request(request)))
            answer = zk.decode_connect_response(self.frame(deadline))
            if answer.timeout_ms <= 0:
                raise SessionExpired
        except BaseException:
            self.socket.close()
            raise
        self.timeout_ms = answer.timeout_ms
        self.session = answer.session
        self.password = answer.password

    def moved(self, address: tuple[str, int], seconds: float = TIMEOUT_S) -> "RawClient":
        """The same session through another replica. This connection is left as it is."""
        return RawClient(address, self.timeout_ms, self.session, self.password, self.zxid, seconds)

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Close the connection and leave the session to its fate."""
        self.socket.close()

    def close(self, seconds: float = TIMEOUT_S) -> None:
        """End the session."""
        with contextlib.suppress(ConnectionClosed):
            self.ask(zk.OP_CLOSE_SESSION, b"", seconds)
        self.abandon()

    # -- frames -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Bytes as they are, in one call."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise ConnectionClosed(str(error)) from error

    def frame(self, deadline: float) -> bytes:
        """The next frame. TimeoutError when none is whole by ``deadline``."""
        while not self._frames:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no frame came in time")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                raise TimeoutError("no frame came in time") from None
            except OSError as error:
                raise ConnectionClosed(str(error)) from error
            finally:
                with contextlib.suppress(OSError):
                    self.socket.settimeout(TIMEOUT_S)
            if not data:
                raise ConnectionClosed("end of stream")
            self._frames = self._reader.feed(data)
        return self._frames.pop(0)

    def prepare(self, opcode: int, record: bytes = b"") -> bytes:
        """A request with the next xid, to be sent later."""
        self.xid += 1
        return zk.request_frame(self.xid, opcode, record)

    def reply(self, seconds: float = TIMEOUT_S) -> Reply:
        """The next reply or event."""
        payload = self.frame(time.monotonic() + seconds)
        header = zk.decode_reply_header(payload)
        if header.xid != zk.XID_EVENT:
            self.zxid = max(self.zxid, header.zxid)
        return Reply(header.xid, header.zxid, header.err, payload[zk.REPLY_HEADER_BYTES :])

    def wait_closed(self, seconds: float) -> float:
        """How long it takes until the other side closes; whatever it says until then is read and dropped."""
        begun = time.monotonic()
        try:
            while True:
                self.frame(begun + seconds)
        except ConnectionClosed:
            return time.monotonic() - begun

    # -- requests, one at a time --------------------------------------------------------------------------------------

    def ask(self, opcode: int, record: bytes = b"", seconds: float = TIMEOUT_S) -> Reply:
        """Send a request and wait for its reply; events on the way are dropped."""
        self.send(self.prepare(opcode, record))
        while True:
            reply = self.reply(seconds)
            if reply.xid == self.xid:
                if reply.err:
                    raise RequestFailed(reply.err)
                return reply

    def create(self, path: str, data: bytes = b"", flags: int = 0, seconds: float = TIMEOUT_S) -> str:
        """The path as made."""
        return zk.decode_path(self.ask(zk.OP_CREATE, zk.encode_create(path, data, flags=flags), seconds).body)

    def set(self, path: str, data: bytes, seconds: float = TIMEOUT_S) -> int:
        """The version it has now."""
        reply = self.ask(zk.OP_SET_DATA, zk.encode_set_data(path, data), seconds)
        return zk.decode_stat(reply.body).version

    def get(self, path: str, watch: bool = False, seconds: float = TIMEOUT_S) -> bytes:
        """Its data."""
        reply = self.ask(zk.OP_GET_DATA, zk.encode_watched_path(path, watch), seconds)
        return zk.decode_data_stat(reply.body)[0] or b""

    def sync(self, path: str = "/", seconds: float = TIMEOUT_S) -> None:
        """All that was written anywhere before this was sent is seen afterwards."""
        self.ask(zk.OP_SYNC, zk.encode_path(path), seconds)

    def ping(self) -> None:
        """Keep the session; the answer comes among the replies, with xid -2."""
        self.send(zk.request_frame(zk.XID_PING, zk.OP_PING))
