"""The transport over loopback, under both event loops: order, breaks, refusals, bounds and hostile bytes."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import uvloop

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.decree import NOOP, encode_batch, encode_segment
from multipaxos.core.messages import Accept, Accepted, Forward, Inquire
from multipaxos.transport.tcp import Address, Transport, TransportSettings, parse_address
from multipaxos.wire.frame import BODY_AT, BODY_BYTES_MAX, HEADER_BYTES, FrameParser, encode_frame
from multipaxos.wire.handshake import (
    PROTOCOL_VERSION,
    Handshake,
    Hello,
    Refusal,
    Welcome,
    decode_handshake,
    encode_handshake,
)
from multipaxos.wire.peer import PeerMessage, decode, encode

PATIENCE_S = 60.0
HOME = "127.0.0.1"
Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Runs a test's coroutine on a fresh loop; an exception that only the loop hears of fails the test."""

    def runner(main: Main) -> None:
        unheard: list[object] = []

        async def heard() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unheard.append(context))
            async with asyncio.timeout(3 * PATIENCE_S):
                await main()

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as it:
            it.run(heard())
        assert unheard == []

    return runner


class Ear:
    """Takes down what a transport says, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, PeerMessage]] = []
        self.reads = 0
        self.links: list[tuple[str, int]] = []
        self.refused: list[tuple[int, str]] = []
        self.trouble: list[tuple[int, str]] = []
        self._something = asyncio.Event()

    def on_messages(self, peer: int, messages: list[PeerMessage]) -> None:
        self.reads += 1
        self.messages += [(peer, message) for message in messages]
        self._something.set()

    def peer_up(self, peer: int) -> None:
        self.links.append(("up", peer))
        self._something.set()

    def peer_down(self, peer: int, is_refused: bool) -> None:
        self.links.append(("refused" if is_refused else "down", peer))
        self._something.set()

    def on_refused(self, peer: int, reason: str) -> None:
        self.refused.append((peer, reason))
        self._something.set()

    def on_trouble(self, peer: int, reason: str) -> None:
        self.trouble.append((peer, reason))
        self._something.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits until the condition holds; it is looked at whenever something was said."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._something.clear()
                await self._something.wait()


def hello(replica: int, **changes: Any) -> Hello:
    return replace(Hello(PROTOCOL_VERSION, "c" * 32, "d" * 32, replica, 0x100 + replica, 1, 0), **changes)


def marks(*replicas: int) -> dict[int, int]:
    return {replica: 0x100 + replica for replica in replicas}


def transport(ear: Ear, me: Hello, port: int = 0, settings: TransportSettings | None = None) -> Transport:
    return Transport(me, (HOME, port), {}, ear, Random(me.replica), settings, marks(1, 2, 3))


class Cluster:
    """Replicas 1, 2, ... on loopback, each knowing all addresses."""

    def __init__(self, count: int) -> None:
        self.ears = {replica: Ear() for replica in range(1, count + 1)}
        self.transports = {replica: transport(ear, hello(replica)) for replica, ear in self.ears.items()}

    def addresses(self) -> dict[int, Address]:
        return {replica: one.address for replica, one in self.transports.items()}


@asynccontextmanager
async def cluster(count: int) -> Any:
    made = Cluster(count)
    try:
        for one in made.transports.values():
            await one.start()
        for one in made.transports.values():
            one.set_peers(made.addresses())
        for replica, ear in made.ears.items():
            others = {("up", other) for other in made.ears if other != replica}
            await ear.until(lambda ear=ear, others=others: set(ear.links) >= others)
        yield made
    finally:
        for one in made.transports.values():
            await one.close()


@asynccontextmanager
async def alone(settings: TransportSettings | None = None, replica: int = 1) -> Any:
    """One replica with its ear; nobody else."""
    ear = Ear()
    one = transport(ear, hello(replica), settings=settings)
    await one.start()
    try:
        yield one, ear
    finally:
        await one.close()


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port on which nobody listens, and which nobody gets by chance meanwhile: bound, not listening."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOME, 0))
        yield holder.getsockname()[1]


class Raw:
    """The other end by hand: bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._parser = FrameParser()
        self._bodies: list[bytes] = []

    def write(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def body(self) -> bytes:
        """The next frame's body."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._bodies:
                data = await self.reader.read(1 << 16)
                assert data, "the connection was closed"
                self._bodies += [frame[2][BODY_AT:] for frame in self._parser.feed(data)]
        return self._bodies.pop(0)

    async def handshake(self) -> Handshake:
        return decode_handshake(await self.body())

    async def until_closed(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def raw(address: Address) -> Any:
    one = Raw(*await asyncio.open_connection(*address))
    try:
        yield one
    finally:
        await one.close()


@asynccontextmanager
async def raw_peer() -> Any:
    """A listener by hand: its address, and a queue of the connections made to it."""
    came: asyncio.Queue[Raw] = asyncio.Queue()
    taken: list[Raw] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = Raw(reader, writer)
        taken.append(one)
        came.put_nowait(one)

    server = await asyncio.start_server(take, HOME, 0)
    try:
        yield server.sockets[0].getsockname()[:2], came
    finally:
        server.close()
        for one in taken:
            await one.close()
        await server.wait_closed()


def handshake_frame(message: Handshake) -> bytes:
    return encode_frame(0, 0, encode_handshake(message))


def frame(message: PeerMessage, sequence: int = 1) -> bytes:
    return encode_frame(0, sequence, encode(message))


def accepted(sender: int, slot: int) -> Accepted:
    return Accepted(sender, ballot_of(3, 1), slot)


def received(ear: Ear, peer: int) -> list[PeerMessage]:
    return [message for sender, message in ear.messages if sender == peer]


# --- talking ----------------------------------------------------------------------------------------------------------


def test_two_exchange_messages_in_order(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(2) as two:
            one, other = two.transports[1], two.transports[2]
            count = 2000
            for slot in range(1, count + 1):
                one.send(2, accepted(1, slot))
                other.send(1, accepted(2, slot))
                if slot % 100 == 0:
                    one.flush()
                    other.flush()
                    await asyncio.sleep(0)
            await two.ears[1].until(lambda: len(two.ears[1].messages) == count)
            await two.ears[2].until(lambda: len(two.ears[2].messages) == count)
            assert received(two.ears[1], 2) == [accepted(2, slot) for slot in range(1, count + 1)]
            assert received(two.ears[2], 1) == [accepted(1, slot) for slot in range(1, count + 1)]
            assert one.counters.sent == one.counters.received == count
            assert one.connected() == [2] and one.outbox_bytes(2) == 0
            assert two.ears[1].links == [("up", 2)] and two.ears[1].trouble == []

    run(main)


def test_what_one_turn_sends_is_one_write_and_nothing_before_flush(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(2) as two:
            one, ear = two.transports[1], two.ears[2]
            for slot in range(1, 101):
                one.send(2, accepted(1, slot))
            assert one.counters.writes == 0 and one.outbox_bytes(2) == 100 * (HEADER_BYTES + 19)
            one.flush()
            one.flush()
            assert one.counters.writes == 1 and one.outbox_bytes(2) == 0
            await ear.until(lambda: len(ear.messages) == 100)
            assert ear.reads < 5  # delivered as they were read, not one by one
            assert one.counters.sent_bytes == two.transports[2].counters.received_bytes

    run(main)


def test_a_message_to_several_peers_is_encoded_once(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(3) as three:
            one = three.transports[1]
            accepts = [Accept(1, ballot_of(3, 1), slot, NOOP, 0) for slot in range(1, 11)]
            for message in accepts:
                one.send(2, message)
            for message in accepts:
                one.send(3, message)
            one.flush()
            for replica in (2, 3):
                ear = three.ears[replica]
                await ear.until(lambda ear=ear: len(ear.messages) == 10)
                assert received(ear, 1) == accepts
            assert (one.counters.encoded, one.counters.sent) == (10, 20)
            # A message of the next turn is never taken for one of this, even when it lies at the same place in memory.
            for slot in range(50):
                one.send(2, accepted(1, 100 + slot))
                one.flush()
            ear = three.ears[2]
            await ear.until(lambda: len(ear.messages) == 60)
            assert received(ear, 1)[10:] == [accepted(1, 100 + slot) for slot in range(50)]

    run(main)


def test_a_long_message_arrives_whole(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(2) as two:
            ear = two.ears[2]
            commands = [Random(1).randbytes(1 << 20) for _ in range(12)]
            message = Forward(1, ballot_of(3, 2), encode_segment(1, 1, 5, 1, commands))
            decree = encode_batch(1, [message.segment])
            two.transports[1].send(2, message)
            two.transports[1].send(2, Accept(1, ballot_of(3, 1), 5, decree, 4))
            two.transports[1].flush()
            await ear.until(lambda: len(ear.messages) == 2)
            assert received(ear, 1) == [message, Accept(1, ballot_of(3, 1), 5, decree, 4)]

    run(main)


def test_what_is_sent_to_nobody_is_dropped_and_counted(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, _):
            one.send(2, accepted(1, 1))
            one.send(9, accepted(1, 1))
            one.flush()
            assert one.counters.dropped == 2 and one.counters.encoded == 0

    run(main)


# --- breaks -----------------------------------------------------------------------------------------------------------


def test_a_killed_peer_is_known_to_be_refused_and_comes_back(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        with reserved_port() as port:
            ears = {1: Ear(), 2: Ear(), 3: Ear()}
            one = transport(ears[1], hello(1))
            killed = transport(ears[2], hello(2), port)
            again = transport(ears[3], hello(2, incarnation=2), port)
            try:
                await one.start()
                await killed.start()
                one.set_peers({2: (HOME, port)})
                killed.set_peers({1: one.address})
                await ears[1].until(lambda: one.connected() == [2])
                await ears[2].until(lambda: killed.connected() == [1])
                one.send(2, accepted(1, 1))  # waits for a flush that comes too late
                await killed.close()
                await ears[1].until(lambda: len(ears[1].links) == 3)
                # rule-R28: down, and then evidence that nobody listens; both once.
                assert ears[1].links == [("up", 2), ("down", 2), ("refused", 2)]
                assert one.connected() == [] and one.counters.dropped == 1 and one.outbox_bytes(2) == 0
                assert ears[2].links == [("up", 1)]  # nothing is said after close
                await again.start()
                again.set_peers({1: one.address})
                await ears[1].until(lambda: one.connected() == [2])
                await ears[3].until(lambda: again.connected() == [1])
                one.send(2, accepted(1, 2))
                one.flush()
                again.send(1, accepted(2, 3))
                again.flush()
                await ears[3].until(lambda: ears[3].messages)
                await ears[1].until(lambda: ears[1].messages)
                assert ears[3].messages == [(1, accepted(1, 2))]
                assert ears[1].messages == [(2, accepted(2, 3))]
                assert ears[1].links[3:] == [("up", 2)]
            finally:
                for each in (one, killed, again):
                    await each.close()

    run(main)


CHILD = """
import asyncio, random
from multipaxos.transport.tcp import Transport
from multipaxos.wire.handshake import PROTOCOL_VERSION, Hello

class Deaf:
    def on_messages(self, peer, messages): pass
    def peer_up(self, peer): pass
    def peer_down(self, peer, is_refused): pass
    def on_refused(self, peer, reason): pass
    def on_trouble(self, peer, reason): pass

async def main():
    me = Hello(PROTOCOL_VERSION, "c" * 32, "d" * 32, 2, 0x102, 1, 0)
    one = Transport(me, ("127.0.0.1", 0), {}, Deaf(), random.Random(2), None, {1: 0x101, 2: 0x102})
    await one.start()
    print(one.address[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.processes
def test_a_process_killed_outright_is_known_to_be_refused(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE) as child:
            try:
                assert child.stdout is not None
                port = int(await asyncio.to_thread(child.stdout.readline))
                async with alone() as (one, ear):
                    one.set_peers({2: (HOME, port)})
                    await ear.until(lambda: one.connected() == [2])
                    child.kill()
                    await ear.until(lambda: ("refused", 2) in ear.links)
                    assert ear.links == [("up", 2), ("down", 2), ("refused", 2)]
            finally:
                child.kill()

    run(main)


def test_a_broken_connection_alone_is_made_anew_at_once_and_refuses_nothing(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        settings = TransportSettings(backoff_min_s=1000, backoff_max_s=1000)
        async with alone(settings) as (one, ear), alone(replica=2) as (two, _):
            one.set_peers({2: two.address})
            await ear.until(lambda: one.connected() == [2])
            two.drop(1, "for the test")
            await ear.until(lambda: len(ear.links) == 3)  # the delay of this test would never end
            assert ear.links == [("up", 2), ("down", 2), ("up", 2)]
            assert two.counters.malformed == 1

    run(main)


def test_a_peer_that_was_never_there_is_not_said_to_be_down(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        with reserved_port() as port:
            async with alone(TransportSettings(backoff_min_s=0.001, backoff_max_s=0.001)) as (one, ear):
                attempts = asyncio.Semaphore(0)
                connect = one._connect

                async def counted(address: Address) -> socket.socket:
                    attempts.release()
                    return await connect(address)

                one._connect = counted
                one.set_peers({2: (HOME, port)})
                for _ in range(5):
                    await attempts.acquire()
                assert ear.links == [] and ear.trouble == []

    run(main)


def test_a_peer_that_dials_us_is_dialled_back_at_once(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        with reserved_port() as port:
            settings = TransportSettings(backoff_min_s=1000, backoff_max_s=1000)
            async with alone(settings) as (one, ear):
                is_tried = asyncio.Event()
                connect = one._connect

                async def noted(address: Address) -> socket.socket:
                    is_tried.set()
                    return await connect(address)

                one._connect = noted
                one.set_peers({2: (HOME, port)})
                await is_tried.wait()
                two = transport(Ear(), hello(2), port)
                try:
                    await two.start()
                    two.set_peers({1: one.address})
                    await ear.until(lambda: one.connected() == [2])
                finally:
                    await two.close()

    run(main)


def test_peers_are_replaced(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(3) as three:
            one, ear = three.transports[1], three.ears[1]
            one.set_peers({3: three.transports[3].address, 1: one.address})
            await ear.until(lambda: ("down", 2) in ear.links)
            assert one.connected() == [3]
            one.set_peers(three.addresses())
            await ear.until(lambda: one.connected() == [2, 3])
            assert ear.links.count(("up", 3)) == 1  # the link that stayed was left alone

    run(main)


def test_the_newer_connection_of_a_peer_replaces_the_older(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, ear), raw(one.address) as older, raw(one.address) as newer:
            for connection in (older, newer):
                connection.write(handshake_frame(hello(2)))
                assert await connection.handshake() == Welcome(one.identity)
            await older.until_closed()
            newer.write(frame(accepted(2, 1)))
            await ear.until(lambda: ear.messages)
            assert ear.messages == [(2, accepted(2, 1))]

    run(main)


# --- who is let in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cluster": "e" * 32}, "belongs to cluster eeee"),
        ({"cluster": "", "list_digest": "other"}, "was started with list other"),
        ({"mark": 5}, "A lost or damaged disk"),
        ({"version": 9}, "the other side version 9"),
        ({"replica": 7}, "replica 7 is no member"),
        ({"group": 3}, "ledger 3"),
    ],
)
def test_refused_and_told_why(run: Callable[[Main], None], changes: dict[str, Any], expected: str) -> None:
    async def main() -> None:
        other = Ear()
        two = Transport(replace(hello(2), **changes), (HOME, 0), {}, other, Random(2), None, marks(1, 2))
        async with alone() as (one, ear):
            try:
                await two.start()
                two.set_peers({1: one.address})
                await other.until(lambda: other.refused)
                assert other.refused[0][0] == 1 and expected in other.refused[0][1]
                assert expected in ear.trouble[0][1]
                assert other.links == [] and two.counters.refused_by_peers >= 1 and one.counters.refused_here >= 1
                # The other way round one of both finds the same, whoever looks first; what comes in is told with its
                # address, what is dialled without.
                one.set_peers({2: two.address})
                await ear.until(lambda: ear.refused or any(not text.startswith(HOME) for _, text in ear.trouble))
                assert one.connected() == [] and ear.links == []
            finally:
                await two.close()

    run(main)


def test_an_older_incarnation_is_refused(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, _):
            async with raw(one.address) as newest:
                newest.write(handshake_frame(hello(2, incarnation=5)))
                assert isinstance(await newest.handshake(), Welcome)
            async with raw(one.address) as older:
                older.write(handshake_frame(hello(2, incarnation=4)))
                said = await older.handshake()
                assert isinstance(said, Refusal) and "has seen 5" in said.reason
                await older.until_closed()
            assert one.incarnations == {2: 5}

    run(main)


def test_a_born_cluster_closes_what_does_not_fit_any_more(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        ears = {1: Ear(), 2: Ear(), 3: Ear()}
        unborn = {
            replica: Transport(hello(replica, cluster=""), (HOME, 0), {}, ear, Random(replica), None, dict.fromkeys(ears, 0))
            for replica, ear in ears.items()
        }  # fmt: skip
        try:
            for one in unborn.values():
                await one.start()
            addresses = {replica: one.address for replica, one in unborn.items()}
            for one in unborn.values():
                one.set_peers(addresses)
            for replica, ear in ears.items():
                await ear.until(lambda replica=replica: len(unborn[replica].connected()) == 2)
            # The birth registered another directory for replica 3 than the one that runs.
            unborn[1].set_identity(hello(1), {**marks(1, 2), 3: 0x999})
            await ears[1].until(lambda: ("down", 3) in ears[1].links)
            await ears[3].until(lambda: ears[3].refused)
            assert ears[3].refused[0][0] == 1 and "A lost or damaged disk" in ears[3].refused[0][1]
            assert unborn[1].connected() == [2] and ("down", 2) not in ears[1].links
        finally:
            for one in unborn.values():
                await one.close()

    run(main)


def test_an_address_that_answers_for_another_replica(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, ear), raw_peer() as (address, came):
            one.set_peers({2: address})
            other = await came.get()
            assert await other.handshake() == one.identity
            other.write(handshake_frame(Welcome(hello(3))))
            await other.until_closed()
            assert "replica 3 answers where replica 2 should" in ear.trouble[0][1]
            assert one.connected() == []

    run(main)


def test_a_dialled_stranger_that_never_answers_is_given_up(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        settings = TransportSettings(handshake_timeout_s=0.05, backoff_min_s=0.001, backoff_max_s=0.001)
        async with alone(settings) as (one, ear), raw_peer() as (address, came):
            one.set_peers({2: address})
            for _ in range(2):
                silent = await came.get()
                await silent.until_closed()
            assert ear.links == []

    run(main)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        handshake_frame(hello(2)),
        frame(accepted(2, 1)),
        handshake_frame(Welcome(hello(2))) + frame(accepted(2, 1)),
        handshake_frame(Welcome(hello(2))) + b"m",
        encode_frame(0, 0, bytes(5000)),
    ],
)
def test_answers_that_no_replica_gives(run: Callable[[Main], None], answer: bytes) -> None:
    async def main() -> None:
        async with alone() as (one, ear), raw_peer() as (address, came):
            one.set_peers({2: address})
            other = await came.get()
            other.write(answer)
            await other.until_closed()
            assert one.counters.malformed == 1 and ear.trouble[0][0] == 2
            assert ear.messages == [] and ear.links == []

    run(main)


def test_a_peer_that_speaks_on_the_connection_we_send_on(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, ear), raw_peer() as (address, came):
            one.set_peers({2: address})
            other = await came.get()
            other.write(handshake_frame(Welcome(hello(2))))
            await ear.until(lambda: one.connected() == [2])
            other.write(b"x")
            await other.until_closed()
            assert one.counters.malformed == 1 and ear.messages == []

    run(main)


# --- back-pressure ----------------------------------------------------------------------------------------------------


def test_a_peer_that_does_not_read_fills_its_outbox_and_no_more(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        bound = 3 << 20
        async with alone(TransportSettings(outbox_bytes_max=bound)) as (one, ear), raw_peer() as (address, came):
            one.set_peers({2: address})
            deaf = await came.get()
            deaf.write(handshake_frame(Welcome(hello(2))))
            await ear.until(lambda: one.connected() == [2])
            assert await deaf.handshake() == one.identity
            body = encode_batch(1, [encode_segment(1, 1, 1, 1, [bytes(50_000)])])
            sent = 0
            while one.counters.dropped < 10:  # sockets and buffers take some megabytes, then the outbox fills
                sent += 1
                assert sent < 10_000
                one.send(2, Accept(1, ballot_of(3, 1), sent, body, 0))
                one.flush()
                assert one.outbox_bytes(2) <= bound
                await asyncio.sleep(0)
            assert one.outbox_bytes(2) > bound - 60_000
            writes = one.counters.writes
            one.flush()
            assert one.counters.writes == writes  # a socket that does not take it is not asked again and again
            # It reads on: all that was kept comes, in order, the newest are missing; the rest follows without a flush.
            slots = [decoded.slot for decoded in [await next_message(deaf) for _ in range(one.counters.sent)]]
            assert slots == list(range(1, one.counters.sent + 1))
            assert one.outbox_bytes(2) == 0 and ear.links == [("up", 2)]
            one.send(2, accepted(1, 7))
            one.flush()
            assert await next_message(deaf) == accepted(1, 7)

    async def next_message(connection: Raw) -> Any:
        body = await connection.body()
        return decode(body, 0, len(body))

    run(main)


def test_a_message_longer_than_a_frame_is_an_error_here(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(2) as two:
            with pytest.raises(ValueError, match="at most"):
                two.transports[1].send(2, Accept(1, ballot_of(3, 1), 1, bytes(BODY_BYTES_MAX), 0))

    run(main)


# --- hostile bytes ----------------------------------------------------------------------------------------------------

GOOD = frame(accepted(2, 1))
FLIPPED = GOOD[:-1] + bytes((GOOD[-1] ^ 1,))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", "no frame begins with"),
        (Random(1).randbytes(4000), "no frame begins with"),
        (encode_frame(0, 0, bytes(5000)), "at most 4096"),
        (encode_frame(0, 0, b"\xff" * 10), "no handshake has type 255"),
        (encode_frame(0, 0, b""), "a handshake of 0 bytes"),
        (GOOD, "no handshake has type 2"),
        (handshake_frame(Welcome(hello(2))), "no introduction"),
        (handshake_frame(Refusal("you")), "no introduction"),
        (handshake_frame(hello(2)) + GOOD, "before it is welcomed"),
        (handshake_frame(hello(2)) * 2, "before it is welcomed"),
    ],
)
def test_strangers_that_are_no_replicas(run: Callable[[Main], None], said: bytes, expected: str) -> None:
    async def main() -> None:
        async with alone() as (one, ear), raw(one.address) as stranger:
            stranger.write(said)
            await stranger.until_closed()
            assert one.counters.malformed == 1
            assert ear.trouble[0][0] == 0 and expected in ear.trouble[0][1]
            assert ear.messages == []

    run(main)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"\x00" * 100, "no frame begins with"),
        (FLIPPED, "checksum"),
        (GOOD + FLIPPED, "checksum"),
        (encode_frame(0, 1, bytes(100))[:8] + b"\xff" * 92, "at most"),
        (encode_frame(0, 1, b"\x63" * 50), "no message has type 99"),
        (encode_frame(4, 1, encode(accepted(2, 1))), "ledger 4"),
        (frame(accepted(3, 1)), "a message of replica 3"),
        (frame(Accept(2, ballot_of(1, 3), 1, NOOP, 0)), "not of replica 2"),
        (frame(Inquire(2, NO_BALLOT)), "negative"),
        (handshake_frame(hello(2)), "no message has type 128"),
    ],
)
def test_peers_that_say_what_no_replica_says(run: Callable[[Main], None], said: bytes, expected: str) -> None:
    async def main() -> None:
        async with alone() as (one, ear):
            async with raw(one.address) as peer:
                peer.write(handshake_frame(hello(2)))
                assert isinstance(await peer.handshake(), Welcome)
                peer.write(said)
                await peer.until_closed()
            assert one.counters.malformed == 1
            assert ear.trouble[0][0] == 2 and expected in ear.trouble[0][1]
            assert ear.messages == []
            async with raw(one.address) as peer:  # and it may come back and do better
                peer.write(handshake_frame(hello(2)))
                assert isinstance(await peer.handshake(), Welcome)
                peer.write(GOOD)
                await ear.until(lambda: ear.messages == [(2, accepted(2, 1))])

    run(main)


def test_frames_that_come_in_halves(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, ear), raw(one.address) as peer:
            peer.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            introduction = handshake_frame(hello(2))
            for at in range(len(introduction)):
                peer.write(introduction[at : at + 1])
                await asyncio.sleep(0)
            assert isinstance(await peer.handshake(), Welcome)
            data = b"".join(frame(accepted(2, slot), slot) for slot in range(1, 6))
            for at in range(0, len(data), 7):
                peer.write(data[at : at + 7])
                await asyncio.sleep(0)
            await ear.until(lambda: len(ear.messages) == 5)
            assert received(ear, 2) == [accepted(2, slot) for slot in range(1, 6)]

    run(main)


def test_a_frame_that_is_never_finished_is_gone_with_its_connection(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, ear):
            for _ in range(3):
                async with raw(one.address) as peer:
                    peer.write(handshake_frame(hello(2)))
                    assert isinstance(await peer.handshake(), Welcome)
                    peer.write(GOOD, GOOD[:-1])
            await ear.until(lambda: ear.messages)
            assert one.counters.malformed == 0 and ear.trouble == []

    run(main)


def test_who_does_not_introduce_itself_is_closed_in_time(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        settings = TransportSettings(handshake_timeout_s=0.05)
        async with alone(settings) as (one, ear), raw(one.address) as silent, raw(one.address) as slow:
            slow.write(handshake_frame(hello(2))[:-1])
            await silent.until_closed()
            await slow.until_closed()
            assert one.counters.handshake_timeouts == 2
            assert [peer for peer, _ in ear.trouble] == [0, 0] and "in time" in ear.trouble[0][1]

    run(main)


def test_many_strangers_do_not_keep_a_peer_out(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        settings = TransportSettings(handshake_timeout_s=1000, strangers_max=8)
        async with alone(settings) as (one, _):
            strangers = [Raw(*await asyncio.open_connection(*one.address)) for _ in range(30)]
            try:
                async with raw(one.address) as peer:
                    peer.write(handshake_frame(hello(2)))
                    assert isinstance(await peer.handshake(), Welcome)
                for early in strangers[:22]:
                    await early.until_closed()
                assert len(one._strangers) <= 8 and one.counters.crowded_out >= 22
            finally:
                for stranger in strangers:
                    await stranger.close()

    run(main)


# --- small print ------------------------------------------------------------------------------------------------------


def test_dead_machines_are_noticed_by_the_socket_options(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(2) as two:
            for connection in (two.transports[1]._links[2].connection, two.transports[2]._incoming[1]):
                found = connection._transport.get_extra_info("socket")
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0

    run(main)


def test_a_dial_that_meets_itself_met_nobody(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, _):
            dialler = socket.socket()
            dialler.bind((HOME, 0))
            with pytest.raises(ConnectionRefusedError, match="met itself"):
                await one._connect_to(dialler, dialler.getsockname())
            assert dialler.fileno() == -1

    run(main)


def test_names_are_resolved(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, _):
            found = await one._connect(("localhost", one.address[1]))
            assert found.getpeername()[1] == one.address[1]
            found.close()
            with reserved_port() as port, pytest.raises(ConnectionRefusedError, match="nobody listens at localhost"):
                await one._connect(("localhost", port))

    run(main)


def test_an_address_that_is_taken_is_an_error(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with alone() as (one, _):
            second = transport(Ear(), hello(2), one.address[1])
            with pytest.raises(OSError):
                await second.start()
            await second.close()

    run(main)


def test_closing_twice_is_closing(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with cluster(3) as three:
            for one in three.transports.values():
                await one.close()
                await one.close()
                one.send(2, accepted(1, 1))
                one.flush()

    run(main)


def test_a_failing_callback_of_the_dialler_is_heard_of() -> None:
    class Deaf(Ear):
        def peer_down(self, peer: int, is_refused: bool) -> None:
            super().peer_down(peer, is_refused)
            if is_refused:
                raise RuntimeError("a defect")

    async def main() -> None:
        heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.put_nowait(context))
        with reserved_port() as port:
            ear = Deaf()
            one = transport(ear, hello(1))
            two = transport(Ear(), hello(2), port)
            await one.start()
            await two.start()
            one.set_peers({2: two.address})
            await ear.until(lambda: one.connected() == [2])
            await two.close()
            async with asyncio.timeout(PATIENCE_S):
                context = await heard.get()
            assert context["message"] == "dial replica 2 failed" and str(context["exception"]) == "a defect"
            await one.close()

    asyncio.run(main())


def test_addresses_are_read() -> None:
    assert parse_address("127.0.0.1:7181") == ("127.0.0.1", 7181)
    assert parse_address("[::1]:7181") == ("::1", 7181)
    for text in ("", "host", "host:", "host:port", "host:70000"):
        with pytest.raises(ValueError, match="host:port"):
            parse_address(text)
