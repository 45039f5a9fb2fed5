"""A TCP proxy on each directed link between two replicas, where bytes can be held, delayed, dripped, garbled and cut off.

Replica A dials the proxy of link A to B wherever its file says that B is; the proxy dials B. A link has two pipes: what
A says on the connection it dialled, and what B answers on it (a welcome, and no more: ``transport/tcp.py``).

To the two ends it should be no different from the network it stands for:

- while B's process is dead, the link refuses like a port nobody listens on (``refuse``), for a refused dial tells a replica
  that its peer is dead and not only cut off (rule-R28);
- while a pipe is held, a dial is taken and nobody answers, as when packets are lost; what was said meanwhile arrives when
  the pipe is opened again, as TCP sends again, unless that took longer than TCP would have tried: then the connection
  breaks;
- a reader that does not read is felt by the writer.

Faults are drawn from one seeded source. Knows nothing of what the bytes mean, nor who is a leader.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, cast

Address = tuple[str, int]

HELD_BYTES_MAX: Final = 1 << 20
"""What a pipe holds before it reads no further: about what the two kernels would hold."""

GIVEN_UP_AFTER_S: Final = 5.0
"""A connection whose bytes were held so long breaks, as the replicas ask of their kernel (``silence_timeout_s``)."""

_TICK_S: Final = 0.01
_DIAL_PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to bytes in a pipe. All of it can be at once; nothing is the default."""

    is_held: bool = False
    delay_s: tuple[float, float] = (0.0, 0.0)  # each piece waits for so long, drawn between the two; order is kept
    break_share: float = 0.0  # of pieces in the midst of which the connection breaks
    garble_share: float = 0.0  # of pieces in which one bit flips
    drip_bytes: int = 0  # so many at a time, a hundred times a second; 0 for no limit


NO_FAULT: Final = Fault()


class Counts:
    """What the faults did to a link since it was made."""

    __slots__ = ("broken", "delayed", "dials_unanswered", "dripped", "garbled", "given_up", "held", "passed_bytes")

    def __init__(self) -> None:
        self.broken = 0  # connections cut in the midst of a piece
        self.delayed = 0  # pieces
        self.dials_unanswered = 0  # connections taken while the link was held
        self.dripped = 0  # pieces
        self.garbled = 0  # bits
        self.given_up = 0  # connections that broke because bytes were held too long
        self.held = 0  # pieces
        self.passed_bytes = 0


class Link:
    """The proxy of one directed link. ``make_socket`` makes one in the network of the dialling replica."""

    def __init__(
        self, address: Address, target: Address, make_socket: Callable[[], socket.socket], random: Random
    ) -> None:
        self.counts = Counts()
        self.random = random
        self.forward = NO_FAULT
        self.backward = NO_FAULT
        self._make_socket = make_socket
        self._target = target
        self._connections: dict[_Connection, None] = {}
        self._is_passing = asyncio.Event()
        self._is_passing.set()
        self._listener: asyncio.Server | None = None
        # Bound and never listened on: the port stays ours while nobody listens on it (``host/folder.py``).
        self._reserved = self._bound(address)
        self.address: Address = self._reserved.getsockname()[:2]

    def _bound(self, address: Address) -> socket.socket:
        one = self._make_socket()
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
        except BaseException:
            one.close()
            raise
        return one

    @property
    def is_open(self) -> bool:
        """Whether dials are taken."""
        return self._listener is not None

    async def open(self) -> None:
        """Take dials: somebody listens at the other end."""
        if self._listener is None:
            listening = self._bound(self.address)
            self._listener = await asyncio.get_running_loop().create_server(lambda: _Near(self), sock=listening)

    def refuse(self) -> None:
        """Nobody listens at the other end. Connections that stand end by themselves."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def set_fault(self, forward: Fault | None = None, backward: Fault | None = None) -> None:
        """What happens from now on, to one pipe or both."""
        if forward is not None:
            self.forward = forward
        if backward is not None:
            self.backward = backward
        if self.forward.is_held or self.backward.is_held:
            self._is_passing.clear()
        else:
            self._is_passing.set()
        for connection in list(self._connections):
            connection.forward.pump()
            connection.backward.pump()

    def break_all(self) -> int:
        """Break all connections now; how many."""
        standing = list(self._connections)
        for connection in standing:
            connection.abort()
        return len(standing)

    def close(self) -> None:
        """Break all connections and let go of the port."""
        self.refuse()
        self.break_all()
        self._reserved.close()

    # -- for the connections ------------------------------------------------------------------------------------------

    def came(self, connection: "_Connection") -> None:
        """The near end was taken; dial the far one."""
        self._connections[connection] = None
        connection.task = asyncio.get_running_loop().create_task(self._dial(connection))

    def went(self, connection: "_Connection") -> None:
        """It is over."""
        self._connections.pop(connection, None)

    async def _dial(self, connection: "_Connection") -> None:
        loop = asyncio.get_running_loop()
        if not self._is_passing.is_set():
            self.counts.dials_unanswered += 1
            await self._is_passing.wait()
        dialled = self._make_socket()
        try:
            dialled.setblocking(False)
            dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            option = getattr(socket, "TCP_USER_TIMEOUT", None)
            if option is not None:
                dialled.setsockopt(socket.IPPROTO_TCP, option, int(GIVEN_UP_AFTER_S * 1000))
            async with asyncio.timeout(_DIAL_PATIENCE_S):
                await loop.sock_connect(dialled, self._target)
            await loop.create_connection(lambda: _Far(connection), sock=dialled)
        except ConnectionRefusedError:
            dialled.close()
            connection.abort()
        except (OSError, TimeoutError):
            # No way there: whoever dialled waits in vain, as on a network that loses packets.
            dialled.close()
            self.counts.dials_unanswered += 1
        except BaseException:
            dialled.close()
            raise


class _Connection:
    """Both ends of one proxied connection, and the two pipes between them."""

    __slots__ = ("_far", "_is_over", "_near", "backward", "forward", "link", "task")

    def __init__(self, link: Link, near: asyncio.Transport) -> None:
        self._near = near
        self._far: asyncio.Transport | None = None
        self._is_over = False
        self.link = link
        self.forward = _Pipe(self, True, near)
        self.backward = _Pipe(self, False, None)
        self.task: asyncio.Task[None] | None = None

    def reached(self, far: asyncio.Transport) -> None:
        """The far end answered the dial."""
        self._far = far
        if self._is_over:
            far.abort()
            return
        self.backward.source = far
        self.backward.sink = self._near
        self.forward.sink = far
        self.forward.pump()

    def finish(self) -> None:
        """End both sides, behind what was written to them."""
        if not self._is_over:
            self._near.close()
            if self._far is not None:
                self._far.close()
            self._over()

    def abort(self) -> None:
        """Break both ends."""
        if not self._is_over:
            self._near.abort()
            if self._far is not None:
                self._far.abort()
            self._over()

    def _over(self) -> None:
        self._is_over = True
        if self.task is not None:
            self.task.cancel()
        self.forward.stop()
        self.backward.stop()
        self.link.went(self)


class _Pipe:
    """One direction: pieces in, pieces out, and what the fault does between."""

    __slots__ = (
        "_connection", "_counts", "_due", "_held_since", "_is_forward", "_is_stopped", "_random", "_timer", "_waiting",
        "_waiting_bytes", "is_ended", "sink", "source",
    )  # fmt: skip

    def __init__(self, connection: _Connection, is_forward: bool, source: asyncio.Transport | None) -> None:
        self._connection = connection
        self._counts = connection.link.counts
        self._due = 0.0  # of the last piece, so that none overtakes another
        self._held_since = 0.0
        self._is_forward = is_forward
        self._is_stopped = False
        self._random = connection.link.random
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()  # when it may go, and what
        self._waiting_bytes = 0
        self.is_ended = False  # the source will say no more
        self.source = source
        self.sink: asyncio.Transport | None = None  # None until the far end has answered the dial

    @property
    def _fault(self) -> Fault:
        link = self._connection.link
        return link.forward if self._is_forward else link.backward

    def take(self, data: bytes) -> None:
        """A piece came in."""
        fault = self._fault
        counts = self._counts
        if self._is_stopped:
            return
        if fault is NO_FAULT and not self._waiting and self.sink is not None:
            self._write(data)
            return
        due = asyncio.get_running_loop().time()
        if fault.is_held:
            counts.held += 1
        if fault.delay_s[1] > 0:
            counts.delayed += 1
            due = max(self._due, due + self._random.uniform(*fault.delay_s))
            self._due = due
        if fault.garble_share and self._random.random() < fault.garble_share:
            counts.garbled += 1
            at = self._random.randrange(8 * len(data))
            flipped = bytearray(data)
            flipped[at // 8] ^= 1 << (at % 8)
            data = bytes(flipped)
        if fault.break_share and self._random.random() < fault.break_share:
            counts.broken += 1
            if self.sink is not None and not self._waiting:
                self._write(data[: self._random.randrange(len(data))])
            self._connection.finish()
            return
        self._waiting.append((due, data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > HELD_BYTES_MAX and self.source is not None:
            self.source.pause_reading()
        self.pump()

    def end(self) -> None:
        """The source said its last, or is gone. What it said before still goes through, and while the pipe is held the
        other end does not even learn of it."""
        self.is_ended = True
        if self.sink is None:
            self._connection.abort()
        else:
            self.pump()

    def pump(self) -> None:
        """Let go what may go by the present fault, and come again for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_stopped or self.sink is None:
            return
        fault = self._fault
        loop = asyncio.get_running_loop()
        now = loop.time()
        if fault.is_held:
            self._held_since = self._held_since or now
            return
        if self._held_since:
            is_given_up = bool(self._waiting) and now - self._held_since > GIVEN_UP_AFTER_S
            self._held_since = 0.0
            if is_given_up:
                self._counts.given_up += 1
                self._connection.abort()
                return
        while self._waiting and self._waiting[0][0] <= now:
            data = self._waiting.popleft()[1]
            if fault.drip_bytes and len(data) > fault.drip_bytes:
                self._counts.dripped += 1
                self._waiting.appendleft((now + _TICK_S, data[fault.drip_bytes :]))
                data = data[: fault.drip_bytes]
            self._waiting_bytes -= len(data)
            self._write(data)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self.pump)
        elif self.is_ended:
            self._connection.finish()
        if self._waiting_bytes <= HELD_BYTES_MAX and self.source is not None and not self.source.is_closing():
            self.source.resume_reading()

    def _write(self, data: bytes) -> None:
        sink = self.sink
        if sink is not None and not sink.is_closing():
            self._counts.passed_bytes += len(data)
            sink.write(data)

    def stop(self) -> None:
        """Nothing passes any more."""
        self._is_stopped = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Near(asyncio.Protocol):
    """The end of whoever dialled."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._connection: _Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        near = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        near.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = _Connection(self._link, near)
        self._link.came(self._connection)

    def data_received(self, data: bytes) -> None:
        assert self._connection is not None
        self._connection.forward.take(data)

    def eof_received(self) -> bool:
        assert self._connection is not None
        self._connection.forward.end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connection.forward.end()

    def pause_writing(self) -> None:
        _pause(self._connection.backward.source if self._connection is not None else None)

    def resume_writing(self) -> None:
        _resume(self._connection.backward.source if self._connection is not None else None)


class _Far(asyncio.Protocol):
    """The end we dialled."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.reached(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self._connection.backward.take(data)

    def eof_received(self) -> bool:
        self._connection.backward.end()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.backward.end()

    def pause_writing(self) -> None:
        _pause(self._connection.forward.source)

    def resume_writing(self) -> None:
        _resume(self._connection.forward.source)


def _pause(source: asyncio.Transport | None) -> None:
    if source is not None and not source.is_closing():
        source.pause_reading()


def _resume(source: asyncio.Transport | None) -> None:
    if source is not None and not source.is_closing():
        source.resume_reading()
