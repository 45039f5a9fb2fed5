"""The proxy of a link does to bytes what it is told, and is not noticed otherwise."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

import pytest

from multipaxos.torture.proxy import HELD_BYTES_MAX, NO_FAULT, Fault, Link

PATIENCE_S = 60.0
LOOPBACK = ("127.0.0.1", 0)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


class Target:
    """The far end: keeps what it hears, says what it is told to."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.connections: list[asyncio.StreamWriter] = []
        self.ended = 0
        self._news = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self._news.set()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.heard += data
                self._news.set()
        self.ended += 1
        self._news.set()
        writer.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[tuple[Link, Target]]:
    target = Target()
    server = await asyncio.start_server(target.serve, *LOOPBACK)
    link = Link(LOOPBACK, server.sockets[0].getsockname(), _socket, Random(1))
    await link.open()
    try:
        yield link, target
    finally:
        link.close()
        server.close()
        for writer in target.connections:
            writer.close()
        await server.wait_closed()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3 * PATIENCE_S):
            await body()

    asyncio.run(bounded())


async def dial(link: Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*link.address)


def test_bytes_pass_both_ways_and_so_does_the_end() -> None:
    async def body() -> None:
        async with world() as (link, target):
            reader, writer = await dial(link)
            writer.write(b"question")
            await target.until(lambda: bytes(target.heard) == b"question")
            target.connections[0].write(b"answer")
            assert await reader.readexactly(6) == b"answer"
            writer.close()
            await target.until(lambda: target.ended == 1)
            assert link.counts.passed_bytes == 14

    run(body)


def test_nobody_listens_there_is_a_refused_dial() -> None:
    async def body() -> None:
        async with world() as (link, target):
            link.refuse()
            with pytest.raises(ConnectionRefusedError):
                await dial(link)
            await link.open()
            _, writer = await dial(link)
            writer.write(b"again")
            await target.until(lambda: bytes(target.heard) == b"again")
            writer.close()

    run(body)


def test_what_is_held_arrives_later_and_a_dial_meanwhile_is_not_answered() -> None:
    async def body() -> None:
        async with world() as (link, target):
            _, writer = await dial(link)
            writer.write(b"before")
            await target.until(lambda: bytes(target.heard) == b"before")
            link.set_fault(forward=Fault(is_held=True))
            writer.write(b", held")
            _, late = await dial(link)
            late.write(b"")
            while not (link.counts.held and link.counts.dials_unanswered):
                await asyncio.sleep(0.01)
            assert bytes(target.heard) == b"before" and len(target.connections) == 1
            link.set_fault(NO_FAULT, NO_FAULT)
            await target.until(lambda: bytes(target.heard) == b"before, held" and len(target.connections) == 2)
            writer.close()
            late.close()

    run(body)


def test_one_direction_can_be_held_alone() -> None:
    async def body() -> None:
        async with world() as (link, target):
            reader, writer = await dial(link)
            writer.write(b"a")
            await target.until(lambda: len(target.connections) == 1)
            link.set_fault(backward=Fault(is_held=True))
            writer.write(b"b")
            target.connections[0].write(b"unheard")
            await target.until(lambda: bytes(target.heard) == b"ab")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reader.readexactly(1)
            link.set_fault(backward=NO_FAULT)
            assert await reader.readexactly(7) == b"unheard"
            writer.close()

    run(body)


def test_the_other_end_does_not_learn_of_an_end_while_its_bytes_are_held() -> None:
    async def body() -> None:
        async with world() as (link, target):
            _, writer = await dial(link)
            writer.write(b"a")
            await target.until(lambda: len(target.heard) == 1)
            link.set_fault(forward=Fault(is_held=True))
            writer.write(b"b")
            writer.close()
            while not link.counts.held:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert target.ended == 0
            link.set_fault(forward=NO_FAULT)
            await target.until(lambda: target.ended == 1)
            assert bytes(target.heard) == b"ab"

    run(body)


def test_delayed_pieces_keep_their_order() -> None:
    async def body() -> None:
        async with world() as (link, target):
            link.set_fault(forward=Fault(delay_s=(0.0, 0.03)))
            _, writer = await dial(link)
            said = b"".join(b"%04d" % number for number in range(60))
            for at in range(0, len(said), 4):
                writer.write(said[at : at + 4])
                await asyncio.sleep(0.001)
            await target.until(lambda: bytes(target.heard) == said)
            assert link.counts.delayed > 0
            writer.close()

    run(body)


def test_a_drip_lets_all_through_in_the_end() -> None:
    async def body() -> None:
        async with world() as (link, target):
            link.set_fault(forward=Fault(drip_bytes=100))
            _, writer = await dial(link)
            said = bytes(range(250)) * 4
            writer.write(said)
            await target.until(lambda: len(target.heard) > 0)
            assert len(target.heard) < len(said), "all came at once"
            await target.until(lambda: bytes(target.heard) == said)
            assert link.counts.dripped > 0
            writer.close()

    run(body)


def test_a_break_cuts_in_the_midst_of_what_was_said() -> None:
    async def body() -> None:
        async with world() as (link, target):
            reader, writer = await dial(link)
            writer.write(b"x")
            await target.until(lambda: len(target.heard) == 1)
            link.set_fault(forward=Fault(break_share=1.0))
            writer.write(b"y" * 1000)
            await target.until(lambda: target.ended == 1)
            assert len(target.heard) < 1001
            assert await reader.read() == b""
            assert link.counts.broken == 1
            writer.close()

    run(body)


def test_a_garbled_piece_has_one_wrong_bit() -> None:
    async def body() -> None:
        async with world() as (link, target):
            link.set_fault(forward=Fault(garble_share=1.0))
            _, writer = await dial(link)
            writer.write(bytes(100))
            await target.until(lambda: len(target.heard) == 100)
            wrong = sum(byte.bit_count() for byte in target.heard)
            assert wrong == link.counts.garbled >= 1
            writer.close()

    run(body)


def test_what_was_held_too_long_breaks_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with world() as (link, target):
            _, writer = await dial(link)
            writer.write(b"x")
            await target.until(lambda: len(target.heard) == 1)
            link.set_fault(forward=Fault(is_held=True))
            writer.write(b"y")
            await asyncio.sleep(0.1)
            link.set_fault(forward=NO_FAULT)
            await target.until(lambda: target.ended == 1)
            assert bytes(target.heard) == b"x" and link.counts.given_up == 1
            writer.close()

    monkeypatch.setattr("multipaxos.torture.proxy.GIVEN_UP_AFTER_S", 0.05)
    run(body)


def test_a_held_link_does_not_hold_without_bound() -> None:
    async def body() -> None:
        async with world() as (link, target):
            _, writer = await dial(link)
            writer.write(b"x")
            await target.until(lambda: len(target.heard) == 1)
            link.set_fault(forward=Fault(is_held=True))
            written = 0
            with contextlib.suppress(TimeoutError):
                while written < 64 << 20:
                    writer.write(bytes(1 << 16))
                    written += 1 << 16
                    async with asyncio.timeout(2.0):  # each for itself: together they take what they take
                        await writer.drain()
            assert HELD_BYTES_MAX < written < 64 << 20, "the writer never felt that nobody reads"
            link.set_fault(forward=NO_FAULT)
            await target.until(lambda: len(target.heard) == written + 1)
            writer.close()

    run(body)


def test_all_connections_can_be_broken() -> None:
    async def body() -> None:
        async with world() as (link, target):
            reader, writer = await dial(link)
            writer.write(b"x")
            await target.until(lambda: len(target.heard) == 1)
            assert link.break_all() == 1
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            await target.until(lambda: target.ended == 1)
            writer.close()

    run(body)
