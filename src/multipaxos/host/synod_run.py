"""Runs of propose and learn as they meet the network: connections made and made again, time read, numbers drawn.

``propose`` and ``learn`` are what a program calls. What a run does stands in ``synod/proposer.py`` and
``synod/learner.py``; here its messages are carried. Knows nothing of printing, files and replicas.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Final

from multipaxos.core.ballot import CLASSES, NO_BALLOT
from multipaxos.core.effects import Note
from multipaxos.host.synod_acceptor import FRAME_BYTES_MAX, Say, keep_alive
from multipaxos.synod import messages
from multipaxos.synod.learner import Learner
from multipaxos.synod.messages import Accept, Answer, Ask, MalformedMessage, Prepare, addresses_of
from multipaxos.synod.proposer import Outcome, Proposer, Settings
from multipaxos.wire.frame import BODY_AT, FrameError, FrameParser, encode_frame

CONNECT_S: Final = 3.0
RECONNECT_FIRST_S: Final = 0.05
RECONNECT_MAX_S: Final = 1.0
WAITING_LINE_S: Final = 2.0


class WrongUsage(ValueError):
    """What was typed cannot be meant; the text says why."""


class _Link(asyncio.Protocol):
    """One connection of a run to one acceptor."""

    def __init__(self, carrier: "Carrier", address: str) -> None:
        self._carrier = carrier
        self._address = address
        self._parser = FrameParser(FRAME_BYTES_MAX)
        self._sequence = 0
        self._trouble = ""
        self.transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        keep_alive(transport)
        self._carrier.connected(self._address, self)

    def data_received(self, data: bytes) -> None:
        try:
            for _, _, framed in self._parser.feed(data):
                answer = messages.decode(memoryview(framed)[BODY_AT:])
                if isinstance(answer, Ask | Prepare | Accept):
                    raise MalformedMessage("a request where an answer was due")
                self._carrier.heard(self._address, answer)
        except (FrameError, MalformedMessage) as error:
            self._trouble = f"it answers like no acceptor: {error}"
            assert self.transport is not None
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(self._trouble or _trouble_of(error))

    def send(self, body: bytes) -> None:
        assert self.transport is not None
        if not self.transport.is_closing():
            self._sequence += 1
            self.transport.write(encode_frame(0, self._sequence, body))


class Carrier:
    """Carries one run: its messages to the acceptors and back, its time, its chance, its notes to whoever listens."""

    __slots__ = ("_ended", "_links", "_loop", "_say", "_timer", "run")

    def __init__(self, run: Proposer, say: Say) -> None:
        self.run = run
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._links: dict[str, _Link] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()  # done when the run has ended

    async def carry(self, number: int = NO_BALLOT) -> Outcome:
        """From the first message to the outcome."""
        self.run.begin(time.monotonic_ns(), number)
        self._after()
        tasks = [self._loop.create_task(self._stay_connected(address)) for address in self.run.order]
        tasks.append(self._loop.create_task(self._tell_what_is_awaited()))
        try:
            await self._ended
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for link in self._links.values():
                if link.transport is not None:
                    link.transport.abort()
        assert self.run.outcome is not None
        return self.run.outcome

    async def _stay_connected(self, address: str) -> None:
        """A connection is not reliable (PMMC): make it, and make it again, as long as the run lasts."""
        host, _, port = address.rpartition(":")
        pause = RECONNECT_FIRST_S
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, link = await self._loop.create_connection(
                        lambda: _Link(self, address), host.strip("[]"), int(port)
                    )
                try:
                    trouble = await link.closed
                finally:
                    if link.transport is not None:
                        link.transport.abort()
                pause = RECONNECT_FIRST_S
            except TimeoutError:
                trouble = f"no connection within {CONNECT_S:g} s"
            except OSError as error:
                trouble = _trouble_of(error)
            self._links.pop(address, None)
            self._lost(address, trouble)
            await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
            pause = min(pause * 2, RECONNECT_MAX_S)

    def connected(self, address: str, link: _Link) -> None:
        """A connection stands."""
        self._links[address] = link
        self._step(lambda: self.run.connected(address))

    def _lost(self, address: str, trouble: str) -> None:
        self._step(lambda: self.run.disconnected(address, trouble, time.monotonic_ns(), _drawn()))

    def heard(self, address: str, answer: Answer) -> None:
        """An answer came."""
        self._step(lambda: self.run.hear(address, answer, time.monotonic_ns(), _drawn()))

    def _tick(self) -> None:
        self._timer = None
        self._step(lambda: self.run.tick(time.monotonic_ns(), _drawn()))

    def _step(self, step: Callable[[], None]) -> None:
        if self._ended.done():
            return
        try:
            step()
            self._after()
        except BaseException as error:
            self._ended.set_exception(error)

    def _after(self) -> None:
        """Carry out what a step left: notes, messages, the next time to wake."""
        run = self.run
        for note in run.notes:
            self._say(note)
        run.notes.clear()
        for address, request in run.out:
            link = self._links.get(address)
            if link is not None:
                link.send(messages.encode(request))
        run.out.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if run.outcome is not None:
            self._ended.set_result(None)
            return
        wait_s = max(0, run.wake_at - time.monotonic_ns()) / 1e9
        self._timer = self._loop.call_later(wait_s, self._tick)

    async def _tell_what_is_awaited(self) -> None:
        """Waiting always says for what (design: names people type)."""
        while True:
            await asyncio.sleep(WAITING_LINE_S)
            labels = self.run.awaited()
            if labels:
                left_s = max(0, self.run.deadline - time.monotonic_ns()) // 1_000_000_000
                self._say(("run.waiting", (labels, left_s)))


def _drawn() -> int:
    return secrets.randbits(32)


def _trouble_of(error: Exception | None) -> str:
    if error is None:
        return "it closed the connection"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, socket.gaierror):
        return "the name of the host is not known"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def new_run_id() -> str:
    """The random 64-bit id of a run (rule-R51)."""
    return f"{secrets.randbits(64):016x}"


def class_of(index: int | None, count: int | None, number: int = NO_BALLOT) -> tuple[int, int]:
    """The article's i and n for this run. Without them one of 65,536 classes is drawn (rule-R51).

    Raises WrongUsage where what was given does not fit together.
    """
    if (index is None) != (count is None):
        raise WrongUsage("--id and --of go together: this is proposer I (counted from 0) of N")
    if index is None or count is None:
        return (secrets.randbelow(CLASSES) if number == NO_BALLOT else number % CLASSES), CLASSES
    if not 0 <= index < count <= CLASSES:
        raise WrongUsage(f"--id {index} --of {count}: an id is a number from 0 to N-1, and N at most {CLASSES}")
    if number != NO_BALLOT and number % count != index:
        raise WrongUsage(
            f"--number {number} belongs to proposer {number % count} of {count}, for {number} % {count} = {number % count}; "
            f"--id is {index}"
        )
    return index, count


def checked_name(name: str) -> str:
    """The name, if it can be one. Raises WrongUsage."""
    problem = messages.name_problem(name)
    if problem:
        raise WrongUsage(f"NAME cannot be used: {problem}")
    return name


def checked_addresses(text: str) -> tuple[str, ...]:
    """The acceptors listed. Raises WrongUsage."""
    try:
        return addresses_of(text)
    except ValueError as error:
        raise WrongUsage(f"--acceptors: {error}") from None


def silent(note: Note) -> None:
    """For callers that want the outcome alone."""


async def propose(
    name: str,
    value: str,
    acceptors: tuple[str, ...],
    index: int | None = None,
    count: int | None = None,
    number: int = NO_BALLOT,
    settings: Settings | None = None,
    say: Say = silent,
) -> tuple[Outcome, Proposer]:
    """One run of propose, from its first message to its outcome. Raises WrongUsage."""
    problem = messages.value_problem(value)
    if problem:
        raise WrongUsage(f"VALUE cannot be used: {problem}")
    if number != NO_BALLOT and not 0 <= number < messages.NUMBER_LIMIT:
        raise WrongUsage(f"--number {number}: a number is 0 or more, and below 2^62")
    i, n = class_of(index, count, number)
    run = Proposer(checked_name(name), value, acceptors, i, n, new_run_id(), settings or Settings())
    return await Carrier(run, say).carry(number), run


async def learn(
    name: str, acceptors: tuple[str, ...], settings: Settings | None = None, say: Say = silent
) -> tuple[Outcome, Proposer]:
    """One run of learn. Raises WrongUsage."""
    i, n = class_of(None, None)
    run = Learner(checked_name(name), acceptors, i, n, new_run_id(), settings or Settings())
    return await Carrier(run, say).carry(), run
