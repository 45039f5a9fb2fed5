"""Watches: what fires when, in which order with replies, and what survives a change of the connection."""

import asyncio

from fake_cluster import fake_cluster

from multipaxos.client import Client, EventType, NoNode, SessionState, WatchEvent
from multipaxos.client.watches import WatchKind, WatchTable
from multipaxos.wire import zookeeper as zk


class Heard:
    """A callback that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.queue: asyncio.Queue[WatchEvent] = asyncio.Queue()

    def __call__(self, event: WatchEvent) -> None:
        self.events.append((event.type.name, event.path))
        self.queue.put_nowait(event)


def test_one_shot_watches_fire_once() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.connect) as client:
            data, exist, child = Heard(), Heard(), Heard()
            assert await client.exists("/a", watch=exist) is None
            await client.create("/a")
            await client.get("/a", watch=data)
            await client.children("/a", watch=child)
            for _ in range(2):
                await client.set("/a", b"x")
            await client.create("/a/b")
            await client.create("/a/c")
            assert exist.events == [("CREATED", "/a")]
            assert data.events == [("DATA_CHANGED", "/a")]
            assert child.events == [("CHILDREN_CHANGED", "/a")]

    asyncio.run(run())


def test_the_event_is_heard_before_the_reply_to_the_own_write() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.connect) as client:
            order: list[str] = []
            await client.create("/a")
            # The read's reply, the event and the write's reply may all come in one read from the socket.
            reading = asyncio.ensure_future(client.get("/a", watch=lambda event: order.append(event.type.name)))
            writing = asyncio.ensure_future(client.set("/a", b"x"))
            reading.add_done_callback(lambda done: order.append("read"))
            writing.add_done_callback(lambda done: order.append("written"))
            await asyncio.gather(reading, writing)
            assert order.index("DATA_CHANGED") < order.index("written")

    asyncio.run(run())


def test_a_deletion_is_told_once_to_a_callback_that_watches_data_and_children() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.connect) as client:
            heard = Heard()
            await client.create("/a")
            await client.get("/a", watch=heard)
            await client.children("/a", watch=heard)
            await client.delete("/a")
            assert heard.events == [("DELETED", "/a")]

    asyncio.run(run())


def test_no_watch_is_left_by_a_read_that_was_refused() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.connect) as client:
            heard = Heard()
            for call in (client.get("/a", watch=heard), client.children("/a", watch=heard)):
                try:
                    await call
                except NoNode:
                    continue
                raise AssertionError("read a node that is not there")
            await client.create("/a")
            assert heard.events == []

    asyncio.run(run())


def test_persistent_watches_stay_and_recursive_ones_see_what_is_below() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.connect) as client:
            near, deep = Heard(), Heard()
            await client.add_watch("/a", near)
            await client.add_watch("/d", deep, recursive=True)
            await client.create("/a")
            await client.set("/a", b"x")
            await client.create("/a/b")
            await client.create("/d")
            await client.create("/d/e")
            await client.set("/d/e", b"x")
            await client.delete("/d/e")
            assert near.events == [("CREATED", "/a"), ("DATA_CHANGED", "/a"), ("CHILDREN_CHANGED", "/a")]
            assert deep.events == [
                ("CREATED", "/d"), ("CREATED", "/d/e"), ("DATA_CHANGED", "/d/e"), ("DELETED", "/d/e"),
            ]  # fmt: skip

    asyncio.run(run())


def test_watches_are_set_again_on_the_next_connection_and_told_what_they_missed() -> None:
    async def run() -> None:
        async with (
            fake_cluster() as cluster,
            Client(cluster.connect, request_timeout=20) as client,
            Client(cluster.connect) as other,
        ):
            states: asyncio.Queue[SessionState] = asyncio.Queue()
            client.add_listener(states.put_nowait)
            await client.create("/same", b"")
            await client.create("/changed", b"")
            await client.create("/gone", b"")
            heard = {name: Heard() for name in ("same", "changed", "gone", "new", "children")}
            for name in ("same", "changed", "gone"):
                await client.get(f"/{name}", watch=heard[name])
            await client.exists("/new", watch=heard["new"])
            await client.children("/", watch=heard["children"])
            server = cluster.servers[0]
            mine = next(each for each in server.connections if each.session == client.session_id)
            server.hangs_up = True
            mine.cut()
            assert await states.get() is SessionState.SUSPENDED
            await other.set("/changed", b"x")
            await other.delete("/gone")
            await other.create("/new")
            server.hangs_up = False
            assert await states.get() is SessionState.CONNECTED
            await client.sync()
            assert heard["changed"].events == [("DATA_CHANGED", "/changed")]
            assert heard["gone"].events == [("DELETED", "/gone")]
            assert heard["new"].events == [("CREATED", "/new")]
            assert heard["children"].events == [("CHILDREN_CHANGED", "/")]
            assert heard["same"].events == []
            await client.set("/same", b"x")
            assert heard["same"].events == [("DATA_CHANGED", "/same")]
            assert zk.OP_SET_WATCHES in cluster.opcodes()

    asyncio.run(run())


def test_persistent_watches_are_set_again_too() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.connect) as client:
            states: asyncio.Queue[SessionState] = asyncio.Queue()
            client.add_listener(states.put_nowait)
            near, deep = Heard(), Heard()
            await client.add_watch("/a", near)
            await client.add_watch("/", deep, recursive=True)
            cluster.connections[0].cut()
            assert await states.get() is SessionState.SUSPENDED
            await client.create("/a")
            assert near.events == deep.events == [("CREATED", "/a")]
            assert zk.OP_SET_WATCHES2 in cluster.opcodes()

    asyncio.run(run())


def test_the_end_of_the_session_is_told_to_every_watch_once() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster:
            async with Client(cluster.connect) as client:
                heard = Heard()
                await client.exists("/a", watch=heard)
                await client.add_watch("/b", heard)
            assert sorted(heard.events) == [("SESSION_ENDED", "/a"), ("SESSION_ENDED", "/b")]

    asyncio.run(run())


def test_a_callback_that_fails_is_reported_and_harms_nobody() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster:
            reports: list[dict[str, object]] = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
            async with Client(cluster.connect) as client:
                heard = Heard()
                await client.exists("/a", watch=lambda event: 1 // 0)  # type: ignore[arg-type, return-value]
                await client.exists("/a", watch=heard)
                await client.create("/a")
                assert heard.events == [("CREATED", "/a")]
                assert [report["message"] for report in reports] == ["the watch of /a failed"]

    asyncio.run(run())


def test_many_watches_are_set_again_in_requests_that_fit() -> None:
    table = WatchTable()
    heard = Heard()
    paths = [f"/{'x' * 200}/{number:06d}" for number in range(5000)]
    for path in paths:
        table.add(WatchKind.DATA, path, heard)
    requests = table.rearming(7)
    assert len(requests) > 5
    again: list[str] = []
    for opcode, record in requests:
        assert len(record) < 140_000
        decoded = zk.decode_request(opcode, record)
        assert isinstance(decoded, zk.SetWatchesRequest)
        assert decoded.relative_zxid == 7
        again += decoded.data
    assert again == paths


def test_an_event_nobody_waits_for_is_ignored() -> None:
    table = WatchTable()
    for event in EventType:
        assert table.fired(event, "/a/b") == []
    table.add(WatchKind.RECURSIVE, "/", Heard())
    assert len(table.fired(EventType.DELETED, "/")) == 1
    assert table.discard(WatchKind.RECURSIVE, "/")
    assert not table.discard(WatchKind.RECURSIVE, "/")
