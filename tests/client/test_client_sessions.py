"""A session over several connections: failing over, resuming, expiring, and what becomes of requests meanwhile."""

import asyncio
from collections.abc import Callable

import pytest
from fake_cluster import fake_cluster
from skipping_loop import run_skipping

from multipaxos.client import (
    Client,
    ClientClosed,
    ConnectionLost,
    NotConnected,
    SessionExpired,
    SessionState,
)
from multipaxos.wire import zookeeper as zk


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something another task will bring about."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


class Rests:
    """The client's rests after it tried every server: seen, and so long that they end when a test puts the clock forward.

    So it is known what the client was told, and that it is not in the middle of being told something else.
    """

    ENOUGH_S = 1_000_000.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr("multipaxos.client.client.random.uniform", self._drawn)

    def _drawn(self, low: float, high: float) -> float:
        self.count += 1
        return 10_000.0


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> Rests:
    """For tests in which the clock is put forward."""
    return Rests(monkeypatch)


def recorded(client: Client) -> "asyncio.Queue[SessionState]":
    """The states the client goes through from now on."""
    states: asyncio.Queue[SessionState] = asyncio.Queue()
    client.add_listener(states.put_nowait)
    return states


def test_a_session_is_resumed_elsewhere_with_its_password_and_what_it_has_seen() -> None:
    async def run() -> None:
        async with fake_cluster(3) as cluster:
            async with Client(cluster.connect, session_timeout=8) as client:
                states = recorded(client)
                session = client.session_id
                await client.create("/e", ephemeral=True)
                seen = client.last_zxid
                first = next(server for server in cluster.servers if server.connections)
                assert client.server == ("127.0.0.1", first.port)
                await first.stop()
                assert await states.get() is SessionState.SUSPENDED
                assert await states.get() is SessionState.CONNECTED
                assert client.session_id == session
                assert (await client.get("/e"))[1].ephemeral_owner == session
                resumed = cluster.greetings[-1]
                assert (resumed.session, resumed.password) == (session, cluster.sessions[session])
                assert resumed.last_zxid_seen == seen == cluster.zxid
                assert resumed.timeout_ms == 8000
                assert resumed.read_only is False
            assert client.state is SessionState.CLOSED
            assert cluster.sessions == {}
            assert "/e" not in cluster.nodes

    asyncio.run(run())


def test_a_server_that_is_down_hangs_up_or_says_nothing_is_passed_over() -> None:
    async def run() -> None:
        async with fake_cluster(4) as cluster:
            await cluster.servers[0].stop()
            cluster.servers[1].hangs_up = True
            cluster.servers[2].is_silent = True
            async with Client(cluster.connect, session_timeout=6, request_timeout=20) as client:
                assert client.server == ("127.0.0.1", cluster.servers[3].port)

    asyncio.run(run())


def test_when_no_server_answers_each_one_is_named_with_its_reason(rests: Rests) -> None:
    async def run(skip: Callable[[float], None]) -> None:
        async with fake_cluster(2) as cluster:
            down, strange = cluster.servers
            await down.stop()
            strange.hangs_up = True
            opening = asyncio.ensure_future(Client(cluster.connect, request_timeout=60).open())
            await until(lambda: rests.count == 1)
            skip(60)
            with pytest.raises(NotConnected) as caught:
                await opening
            text = str(caught.value)
            assert f"127.0.0.1:{down.port}: connection refused" in text
            assert f"127.0.0.1:{strange.port}: it accepted the connection and hung up" in text
            assert "multipaxos status" in text

    run_skipping(run)


def test_a_name_no_host_can_have_is_an_answer_too(rests: Rests) -> None:
    async def run(skip: Callable[[float], None]) -> None:
        opening = asyncio.ensure_future(Client(f"{'x' * 70}:1", request_timeout=60).open())
        await until(lambda: rests.count == 1)
        skip(60)
        with pytest.raises(NotConnected, match="not a possible host name"):
            await opening

    run_skipping(run)


def test_a_defect_in_connecting_ends_the_client_and_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        reports: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))

        async def attach(self: Client, address: object) -> bool:
            raise RuntimeError("a defect")

        monkeypatch.setattr(Client, "_attach", attach)
        client = Client("127.0.0.1:1")
        with pytest.raises(ClientClosed):
            await client.open()
        assert [report["message"] for report in reports] == ["the client can no longer connect"]

    asyncio.run(run())


def test_a_write_whose_reply_was_lost_is_not_repeated() -> None:
    async def run() -> None:
        async with fake_cluster(2) as cluster, Client(cluster.connect) as client:
            await client.create("/n", b"")
            cluster.drop_after = {zk.OP_SET_DATA}
            with pytest.raises(ConnectionLost, match="may or may not have happened"):
                await client.set("/n", b"x")
            assert (await client.get("/n"))[1].version == 1
            cluster.drop_before = {zk.OP_SET_DATA}
            with pytest.raises(ConnectionLost):
                await client.set("/n", b"y")
            assert (await client.get("/n"))[1].version == 1

    asyncio.run(run())


def test_a_read_whose_reply_was_lost_is_asked_again() -> None:
    async def run() -> None:
        async with fake_cluster(2) as cluster, Client(cluster.connect) as client:
            await client.create("/n", b"x")
            for opcode in (zk.OP_GET_DATA, zk.OP_EXISTS, zk.OP_GET_CHILDREN, zk.OP_SYNC, zk.OP_GET_ACL):
                cluster.drop_before = {opcode}
                calls = (
                    client.get("/n"),
                    client.exists("/n"),
                    client.children("/n"),
                    client.sync(),
                    client.get_acl("/n"),
                )
                outcomes = await asyncio.gather(*calls)
                assert outcomes[0][0] == b"x"
                assert cluster.drop_before == set()

    asyncio.run(run())


def test_what_was_not_sent_waits_for_the_next_connection_in_its_order() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.connect, request_timeout=20) as client:
            states = recorded(client)
            await client.create("/n", b"")
            server = cluster.servers[0]
            await server.stop()
            assert await states.get() is SessionState.SUSPENDED
            calls = [asyncio.ensure_future(client.set("/n", str(number).encode())) for number in range(5)]
            await server.start()
            assert [stat.version for stat in await asyncio.gather(*calls)] == [1, 2, 3, 4, 5]
            assert (await client.get("/n"))[0] == b"4"

    asyncio.run(run())


def test_what_was_not_sent_in_time_has_not_happened_and_says_so(rests: Rests) -> None:
    async def run(skip: Callable[[float], None]) -> None:
        async with fake_cluster() as cluster, Client(cluster.connect, request_timeout=60) as client:
            states = recorded(client)
            server = cluster.servers[0]
            await server.stop()
            assert await states.get() is SessionState.SUSPENDED
            await until(lambda: rests.count == 1)
            setting = asyncio.ensure_future(client.set("/", b"x"))
            await asyncio.sleep(0)  # it waits for a connection
            skip(60)
            with pytest.raises(NotConnected, match="was not sent"):
                await setting
            await server.start()
            skip(Rests.ENOUGH_S)
            assert await states.get() is SessionState.CONNECTED
            assert (await client.get("/"))[1].version == 0

    run_skipping(run)


def test_an_expired_session_ends_the_client_and_everything_that_waits() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster:
            async with Client(cluster.connect) as client:
                states = recorded(client)
                cluster.hold = {zk.OP_SYNC, zk.OP_SET_DATA}
                waiting = asyncio.ensure_future(client.sync())
                await until(lambda: zk.OP_SYNC in cluster.opcodes())
                cluster.end_session(client.session_id)
                cluster.connections[0].cut()
                assert await states.get() is SessionState.SUSPENDED
                assert await states.get() is SessionState.EXPIRED
                with pytest.raises(SessionExpired, match="open a new Client"):
                    await waiting
                with pytest.raises(SessionExpired):
                    await client.get("/")
            assert client.state is SessionState.EXPIRED

    asyncio.run(run())


def test_idle_clients_ping_and_a_silent_server_is_left_in_time() -> None:
    async def run(skip: Callable[[float], None]) -> None:
        async with fake_cluster(2) as cluster:
            cluster.timeout_ms = 60_000
            async with Client(cluster.connect, session_timeout=10, request_timeout=60) as client:
                assert client.session_timeout == 60
                states = recorded(client)
                skip(20)  # a third of it
                await until(lambda: zk.OP_PING in cluster.opcodes())
                await client.sync()  # the answer to the ping has come before this one
                assert client.state is SessionState.CONNECTED
                silent = next(server for server in cluster.servers if server.connections)
                silent.is_silent = True
                skip(40)  # two thirds
                assert await states.get() is SessionState.SUSPENDED
                assert await states.get() is SessionState.CONNECTED
                other = next(server for server in cluster.servers if server is not silent)
                assert client.server == ("127.0.0.1", other.port)
                silent.is_silent = False

    run_skipping(run)


def test_credentials_are_given_on_every_connection_before_anything_else() -> None:
    async def run() -> None:
        async with fake_cluster(2) as cluster, Client(cluster.connect) as client:
            states = recorded(client)
            await client.add_auth("digest", b"me:secret")
            cluster.log.clear()
            cluster.connections[0].cut()
            assert await states.get() is SessionState.SUSPENDED
            assert ("digest", "me") in await client.who_am_i()
            assert cluster.opcodes()[:2] == [zk.OP_AUTH, zk.OP_WHO_AM_I]

    asyncio.run(run())


def test_a_server_behind_what_the_session_has_seen_is_not_used(rests: Rests) -> None:
    async def run(skip: Callable[[float], None]) -> None:
        async with fake_cluster() as cluster, Client(cluster.connect, request_timeout=60) as client:
            states = recorded(client)
            await client.create("/a")
            cluster.zxid -= 1  # a replica that has not applied the last change
            cluster.connections[0].cut()
            assert await states.get() is SessionState.SUSPENDED
            await until(lambda: rests.count == 1)
            skip(Rests.ENOUGH_S)
            await until(lambda: rests.count == 2)  # it came again, and was sent away
            getting = asyncio.ensure_future(client.get("/a"))
            await asyncio.sleep(0)  # it waits for a connection
            skip(60)
            with pytest.raises(NotConnected, match="behind"):
                await getting
            cluster.zxid += 1
            skip(Rests.ENOUGH_S)
            assert await states.get() is SessionState.CONNECTED
            await client.get("/a")

    run_skipping(run)


def test_closing_ends_waiting_calls_and_closes_once() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster:
            client = Client(cluster.connect)
            await client.open()
            await client.open()  # a second one changes nothing
            cluster.hold = {zk.OP_SYNC}
            waiting = asyncio.ensure_future(client.sync())
            await until(lambda: zk.OP_SYNC in cluster.opcodes())
            states = recorded(client)
            server = cluster.servers[0]
            await server.stop()
            assert await states.get() is SessionState.SUSPENDED
            await client.close()
            with pytest.raises(ClientClosed):
                await waiting
            await client.close()
            assert states.get_nowait() is SessionState.CLOSED
            assert states.empty()

    asyncio.run(run())


def test_a_listener_that_fails_is_reported_and_harms_nobody() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster:
            reports: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
            client = Client(cluster.connect)
            client.add_listener(lambda state: 1 // 0)  # type: ignore[arg-type, return-value]
            states = recorded(client)
            await client.open()
            assert await states.get() is SessionState.CONNECTED
            await client.close()
            assert [report["message"] for report in reports] == ["a listener of the client failed"] * 2

    asyncio.run(run())


def test_uvloop_serves_as_well() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> None:
        async with fake_cluster(2) as cluster, Client(cluster.connect) as client:
            assert await client.create("/a", b"x") == "/a"
            cluster.connections[0].cut()
            assert (await client.get("/a"))[0] == b"x"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
