"""One acceptor of Basic Paxos by hand as a process: it listens, writes its journal, and only then answers.

An answer leaves when all that was written up to it is durable (rule-R33), whatever it says: a promise, a vote, the
report of a vote, and a nack, which could leave earlier but saves nobody anything. All file work happens on threads of
its own, printing included, so that the loop never touches a file (rule-R31).

What is answered stands in ``synod/acceptor.py``; who starts this in ``synod.py`` beside it. Knows nothing of replicas.
"""

import asyncio
import contextlib
import queue
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from multipaxos.core.effects import Note
from multipaxos.host.journal_thread import JournalThread
from multipaxos.storage.faults import JournalFailed
from multipaxos.storage.journal import Journal
from multipaxos.synod import messages
from multipaxos.synod.acceptor import NamedAcceptor
from multipaxos.synod.messages import Accept, Ask, MalformedMessage, Prepare
from multipaxos.synod.words import sentence
from multipaxos.wire.frame import BODY_AT, FrameError, FrameParser, encode_frame

FRAME_BYTES_MAX: Final = 1 << 20
"""The longest value, each character written as an escape, and the longest set of acceptors fit in."""

CALLERS_MAX: Final = 1_000
WAITING_BYTES_MAX: Final = 16 << 20
WAITING_ANSWERS_MAX: Final = 10_000
UNSENT_BYTES_MAX: Final = 1 << 20
LINES_MAX: Final = 1_000
STOP_PATIENCE_S: Final = 5.0

Say = Callable[[Note], None]


class LineThread:
    """Prints on a thread of its own. A terminal that stands still costs lines, which are counted, never an answer."""

    __slots__ = ("_lines", "_skipped", "_thread")

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_MAX)
        self._skipped = 0
        self._thread = threading.Thread(target=self._print, name="lines", daemon=True)
        self._thread.start()

    def say(self, note: Note) -> None:
        """Hand a note over, or count it. One line each: what an acceptor did is searched more often than read."""
        try:
            self._lines.put_nowait(sentence(note))
        except queue.Full:
            self._skipped += 1

    def _print(self) -> None:
        while True:
            line = self._lines.get()
            if line is None:
                return
            try:
                if self._skipped:
                    skipped, self._skipped = self._skipped, 0
                    sys.stdout.write(sentence(("acceptor.skipped", (skipped,))) + "\n")
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except (OSError, ValueError):
                return  # nobody reads any more; the acceptor goes on

    def stop(self) -> None:
        """Print what waits, as far as that goes quickly."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
            self._thread.join(1.0)


class _Caller(asyncio.Protocol):
    """One connection to the acceptor."""

    def __init__(self, process: "AcceptorProcess") -> None:
        self._process = process
        self._parser = FrameParser(FRAME_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._sequence = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        keep_alive(transport)
        self._process.called(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._process.received(self, self._parser.feed(data))
        except (FrameError, MalformedMessage):
            # Damage is loss (claim-A9): nothing of it is believed, the caller connects anew.
            self._process.malformed += 1
            self.close()
        except BaseException as error:
            # An acceptor that does not know its own state must not answer anybody.
            self._process.stop(error)
            raise

    def connection_lost(self, error: Exception | None) -> None:
        self._process.left(self)

    def send(self, body: bytes) -> None:
        """One answer; a caller that does not read its answers is let go."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._sequence += 1
        self._transport.write(encode_frame(0, self._sequence, body))
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class AcceptorProcess:
    """One acceptor: its rules, its journal, and who is connected to it."""

    __slots__ = ("_callers", "_ended", "_journal", "_say", "_waiting", "acceptor", "malformed")

    def __init__(self, acceptor: NamedAcceptor, journal: Journal, say: Say) -> None:
        """``journal`` was read to its end. From here on it belongs to this process, which also closes it."""
        self.acceptor = acceptor
        self.malformed = 0
        self._say = say
        self._callers: dict[_Caller, None] = {}  # the one that was silent for longest first
        self._waiting: deque[tuple[int, _Caller, bytes]] = deque()  # answers, each behind a journal position
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._journal = JournalThread(journal, loop, self._durable, self._failed)

    async def run(self, host: str, port: int, is_first: bool = False) -> None:
        """Listen and answer until ``stop``. Raises what made it stop, if anything did. Says at a first start what next."""
        self._journal.start()
        try:
            server = await asyncio.get_running_loop().create_server(lambda: _Caller(self), host, port)
            try:
                bound_host, bound_port = server.sockets[0].getsockname()[:2]
                address = f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"
                self._say(("acceptor.listening", (address,)))
                if is_first:
                    self._say(("acceptor.next", (address,)))
                await self._ended
            finally:
                server.close()
                for caller in list(self._callers):
                    caller.close()
        finally:
            await self._journal.stop(STOP_PATIENCE_S)

    def stop(self, error: BaseException | None) -> None:
        """End ``run``, with an error or without."""
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    def called(self, caller: _Caller) -> None:
        """A new connection. Where there are too many, the one that was silent for longest is let go."""
        self._callers[caller] = None
        if len(self._callers) > CALLERS_MAX:
            next(iter(self._callers)).close()

    def left(self, caller: _Caller) -> None:
        """A connection is gone."""
        self._callers.pop(caller, None)

    def received(self, caller: _Caller, frames: list[tuple[int, int, bytes]]) -> None:
        """Requests of one connection, in order."""
        self._callers.pop(caller, None)
        self._callers[caller] = None
        for _, _, framed in frames:
            request = messages.decode(memoryview(framed)[BODY_AT:])
            if not isinstance(request, Ask | Prepare | Accept):
                raise MalformedMessage("an acceptor is asked, it gets no answers")
            if self._journal.waiting_bytes > WAITING_BYTES_MAX or len(self._waiting) > WAITING_ANSWERS_MAX:
                caller.close()  # the disk does not keep up: no answer is the honest answer
                return
            answer = messages.encode(self.acceptor.handle(request))
            self._append()
            for note in self.acceptor.notes:
                self._say(note)
            self.acceptor.notes.clear()
            # The tenth repeat waits like the first (trap-T30): for all that is written, not for what it wrote itself.
            if self._journal.waiting_bytes or self._waiting:
                self._waiting.append((self._journal.position, caller, answer))
            else:
                caller.send(answer)

    def _append(self) -> None:
        writes = self.acceptor.writes
        if not writes:
            return
        group = writes[0][0]
        assert all(of == group for of, _ in writes), "one request, one name"
        self._journal.append([record for _, record in writes], time.monotonic_ns(), group)
        writes.clear()

    def _durable(self, position: int) -> None:
        while self._waiting and self._waiting[0][0] <= position:
            _, caller, answer = self._waiting.popleft()
            caller.send(answer)

    def _failed(self, reason: str) -> None:
        self.stop(JournalFailed(reason))


def keep_alive(transport: asyncio.Transport) -> None:
    """Notice a caller whose machine went away without a word."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
