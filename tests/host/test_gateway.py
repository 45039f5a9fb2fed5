"""Client sockets: what is collected, what is given back, how a connection is closed."""

import asyncio

import pytest
from one_replica import PATIENCE_S, until

from multipaxos.host.gateway import BLOCKED, CLOSED, DATA, ENDED, OPENED, UNBLOCKED, Gateway


class Opened:
    """A gateway that listens on a free port."""

    def __init__(self) -> None:
        self.requests = 0
        self._writers: list[asyncio.StreamWriter] = []
        self.gateway = Gateway(self.requested)
        self.gateway.bind("127.0.0.1", 0)
        self.port = int(self.gateway.addresses[0].rpartition(":")[2])

    def requested(self) -> None:
        self.requests += 1

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    def kinds(self) -> list[int]:
        return [event[0] for event in self.gateway.events]

    async def __aenter__(self) -> "Opened":
        return self

    async def __aexit__(self, *unused: object) -> None:
        self.gateway.close()
        for writer in self._writers:
            writer.transport.abort()
        await until(lambda: not self.gateway.connections, "all connections are gone")


def test_bound_is_not_listening() -> None:
    async def body() -> None:
        async with Opened() as one:
            with pytest.raises(ConnectionRefusedError):
                await one.client()
            await one.gateway.listen()
            _, writer = await one.client()
            await until(lambda: OPENED in one.kinds(), "clients are let in")
            second = Gateway(lambda: None)
            with pytest.raises(OSError):
                second.bind("127.0.0.1", one.port)
            second.close()
            writer.close()

    asyncio.run(body())


def test_events_come_in_order() -> None:
    async def body() -> None:
        async with Opened() as one:
            await one.gateway.listen()
            _, writer = await one.client()
            writer.write(b"abc")
            await until(lambda: DATA in one.kinds(), "bytes came")
            writer.write_eof()
            await until(lambda: ENDED in one.kinds(), "the client has shut its side")
            kind, number, _, address = one.gateway.events[0]
            assert kind == OPENED and number == 1
            assert address.startswith("127.0.0.1:")
            assert one.gateway.events[1] == (DATA, 1, b"abc", "")
            assert one.requests == 3
            writer.close()
            one.gateway.connections[1].close()
            await until(lambda: not one.gateway.connections, "both sides have closed")
            assert CLOSED not in one.kinds(), "who closes need not be told"

    asyncio.run(body())


def test_a_client_that_goes_is_reported_once() -> None:
    async def body() -> None:
        async with Opened() as one:
            await one.gateway.listen()
            _, writer = await one.client()
            await until(lambda: OPENED in one.kinds(), "it came")
            writer.transport.abort()
            await until(lambda: CLOSED in one.kinds() or ENDED in one.kinds(), "it went")
            assert one.kinds().count(CLOSED) + one.kinds().count(ENDED) == 1

    asyncio.run(body())


def test_the_last_reply_is_not_lost_when_we_close() -> None:
    async def body() -> None:
        async with Opened() as one:
            await one.gateway.listen()
            reader, writer = await one.client()
            await until(lambda: OPENED in one.kinds(), "it came")
            connection = one.gateway.connections[1]
            # Bytes that we shall not read would make the kernel send a reset, and the reset would eat the reply.
            connection.pause_reading()
            writer.write(b"z" * 100_000)
            await writer.drain()
            connection.write(b"reply")
            connection.close()
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.read() == b"reply"
            connection.write(b"nothing more")
            writer.close()
            await until(lambda: not one.gateway.connections, "both sides have closed")

    asyncio.run(body())


def test_a_client_that_does_not_close_is_cut_off() -> None:
    async def body() -> None:
        async with Opened() as one:
            await one.gateway.listen()
            _, writer = await one.client()
            await until(lambda: OPENED in one.kinds(), "it came")
            one.gateway.connections[1].close()
            await until(lambda: not one.gateway.connections, "closed after the linger")
            writer.close()

    asyncio.run(body())


def test_a_client_that_does_not_read_is_said_to_be_blocked() -> None:
    async def body() -> None:
        async with Opened() as one:
            await one.gateway.listen()
            reader, writer = await one.client()
            reader._limit = 1  # type: ignore[attr-defined]  # the stream stops reading after two bytes
            await until(lambda: OPENED in one.kinds(), "it came")
            connection = one.gateway.connections[1]
            while BLOCKED not in one.kinds():
                connection.write(b"x" * 1_000_000)
                await asyncio.sleep(0)
            assert UNBLOCKED not in one.kinds()
            reader._limit = 1 << 20  # type: ignore[attr-defined]
            while UNBLOCKED not in one.kinds():
                async with asyncio.timeout(PATIENCE_S):
                    assert await reader.read(1 << 20)
            writer.close()

    asyncio.run(body())
