"""Every operation of the client against the real codec, and every refusal as the type it should be."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fake_cluster import FakeCluster, fake_cluster

from multipaxos.client import (
    Acl,
    AuthFailed,
    BadArguments,
    BadVersion,
    Check,
    Client,
    ClientClosed,
    Create,
    Delete,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotEmpty,
    NoWatcher,
    ProtocolViolation,
    Refused,
    RequestTimeout,
    Set,
    TooLarge,
    TransactionFailed,
)
from multipaxos.client.errors import error_of
from multipaxos.wire import zookeeper as zk


def with_client(body: Callable[[Client, FakeCluster], Awaitable[None]], servers: int = 1, **options: float) -> None:
    """Run ``body`` with a connected client and its cluster."""

    async def run() -> None:
        async with fake_cluster(servers) as cluster, Client(cluster.connect, **options) as client:
            await body(client, cluster)

    asyncio.run(run())


def test_a_node_from_creation_to_deletion() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        assert await client.create("/a", b"one") == "/a"
        data, stat = await client.get("/a")
        assert (data, stat.version, stat.data_length) == (b"one", 0, 3)
        assert (await client.set("/a", b"two", version=0)).version == 1
        assert (await client.exists("/a")) == (await client.get("/a"))[1]
        assert await client.exists("/b") is None
        await client.delete("/a", version=1)
        with pytest.raises(NoNode, match=r"^/a: there is no such node; create it"):
            await client.get("/a")

    with_client(body)


def test_null_and_empty_data_differ() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/null", None)
        await client.create("/empty", b"")
        assert (await client.get("/null"))[0] is None
        assert (await client.get("/empty"))[0] == b""

    with_client(body)


def test_each_mode_of_create_takes_the_opcode_that_carries_it() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        assert await client.create("/p") == "/p"
        assert await client.create("/p/n-", sequence=True) == "/p/n-0000000000"
        assert await client.create("/p/e-", ephemeral=True, sequence=True) == "/p/e-0000000001"
        assert await client.create("/e", ephemeral=True) == "/e"
        assert await client.create("/c", container=True) == "/c"
        assert await client.create("/t", ttl_ms=1000) == "/t"
        assert await client.create("/t-", ttl_ms=1000, sequence=True) == "/t-0000000004"
        path, stat = await client.create_with_stat("/s", b"x")
        assert (path, stat) == ("/s", (await client.get("/s"))[1])
        creates = [opcode for opcode in cluster.opcodes() if opcode in (1, 15, 19, 21)]
        assert creates == [1, 1, 1, 1, 19, 21, 21, 15]
        assert (await client.get("/e"))[1].ephemeral_owner == client.session_id
        assert await client.ephemerals() == ["/e", "/p/e-0000000001"]
        assert await client.ephemerals("/p") == ["/p/e-0000000001"]

    with_client(body)


@pytest.mark.parametrize("modes", [{"container": True, "ephemeral": True}, {"ttl_ms": 5, "ephemeral": True}])
def test_modes_that_exclude_each_other_are_refused_before_anything_is_sent(modes: dict[str, bool]) -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        with pytest.raises(ValueError, match="ephemeral"):
            await client.create("/x", **modes)  # type: ignore[arg-type]
        assert not any(opcode in (1, 15, 19, 21) for opcode in cluster.opcodes())

    with_client(body)


def test_parents_and_exist_ok() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        with pytest.raises(NoNode):
            await client.create("/a/b/c")
        assert await client.create("/a/b/c", b"x", parents=True) == "/a/b/c"
        assert (await client.get("/a"))[0] == b""
        with pytest.raises(NodeExists):
            await client.create("/a/b/c")
        assert await client.create("/a/b/c", b"y", exist_ok=True) == "/a/b/c"
        assert (await client.get("/a/b/c"))[0] == b"x"

    with_client(body)


def test_put_sets_or_creates() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        assert (await client.put("/a", b"1")).version == 0
        assert (await client.put("/a", b"2")).version == 1
        with pytest.raises(NoNode):
            await client.put("/x/y", b"1")
        assert (await client.put("/x/y", b"1", parents=True)).version == 0

    with_client(body)


def test_children_are_sorted_and_trees_are_walked_and_removed() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        for path in ("/a", "/a/c", "/a/b", "/a/b/d"):
            await client.create(path)
        assert await client.children("/a") == ["b", "c"]
        names, stat = await client.children_with_stat("/a")
        assert (names, stat.num_children, stat.cversion) == (["b", "c"], 2, 2)
        assert await client.tree("/a") == ["/a/b", "/a/c", "/a/b/d"]
        assert await client.tree("/") == ["/a", "/a/b", "/a/c", "/a/b/d"]
        assert await client.count_below("/a") == 3
        with pytest.raises(NotEmpty, match="rm -r"):
            await client.delete("/a")
        assert await client.delete_tree("/a") == 4
        assert await client.children("/") == []
        with pytest.raises(NoNode):
            await client.delete_tree("/a")
        with pytest.raises(ValueError, match="root"):
            await client.delete_tree("/")

    with_client(body)


def test_multi_happens_wholly() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/old")
        results = await client.multi(
            [Create("/a", b"1"), Set("/a", b"2"), Check("/a", 1), Delete("/old"), Create("/a/n-", sequence=True)]
        )
        assert results[0] == "/a"
        assert results[1] == (await client.get("/a"))[1]._replace(num_children=0, cversion=0, pzxid=results[1].czxid)  # type: ignore[union-attr]
        assert results[2:] == [None, None, "/a/n-0000000000"]
        assert await client.multi([]) == []

    with_client(body)


def test_multi_names_the_operation_to_blame() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/a")
        with pytest.raises(TransactionFailed, match="operation 2 of the multi failed, and none took effect") as caught:
            await client.multi([Check("/a"), Check("/b"), Delete("/a")])
        assert caught.value.index == 1
        assert isinstance(caught.value.cause, NoNode)
        assert caught.value.code == zk.ERR_NO_NODE
        assert caught.value.path == "/b"
        assert await client.exists("/a") is not None

    with_client(body)


def test_access_lists_and_identities() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/a")
        assert (await client.get_acl("/a"))[0] == (Acl(31, "world", "anyone"),)
        mine = (Acl(31, "digest", "me:x"),)
        assert (await client.set_acl("/a", mine)).aversion == 1
        assert (await client.get_acl("/a"))[0] == mine
        await client.add_auth("digest", b"me:secret")
        assert await client.who_am_i() == [("ip", "127.0.0.1"), ("digest", "me")]

    with_client(body)


def test_refused_credentials_end_the_session() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        cluster.refuse_auth = True
        with pytest.raises(AuthFailed):
            await client.add_auth("digest", b"me:wrong")
        with pytest.raises(AuthFailed):
            await client.get("/")

    with_client(body)


def test_requests_started_together_take_effect_in_that_order() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/a", b"")
        wanted = [str(number).encode() for number in range(500)]
        outcomes = await asyncio.gather(
            *(call for data in wanted for call in (client.set("/a", data), client.get("/a")))
        )
        assert [outcome[0] for outcome in outcomes[1::2]] == wanted
        assert [outcome.version for outcome in outcomes[::2]] == list(range(1, 501))

    with_client(body)


def test_a_bound_on_requests_in_flight_keeps_their_order() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/a", b"")
        stats = await asyncio.gather(*(client.set("/a", b"") for _ in range(50)))
        assert [stat.version for stat in stats] == list(range(1, 51))

    with_client(body, in_flight_max=3)


def test_a_cancelled_request_leaves_the_others_alone() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/a", b"x")
        first = asyncio.ensure_future(client.get("/a"))
        second = asyncio.ensure_future(client.get("/a"))
        await asyncio.sleep(0)  # both are on their way
        first.cancel()
        assert (await second)[0] == b"x"
        assert first.cancelled()

    with_client(body)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", NodeExists), ("bad", BadArguments), ("/e/x", NoChildrenForEphemerals), ("/no/x", NoNode)],
)
def test_refusals_of_create(path: str, kind: type[Refused]) -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/e", ephemeral=True)
        with pytest.raises(kind) as caught:
            await client.create(path)
        assert caught.value.path == path
        assert caught.value.advice

    with_client(body)


def test_a_wrong_version_is_told_apart() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.create("/a")
        for call in (client.set("/a", b"", 3), client.delete("/a", 3)):
            with pytest.raises(BadVersion, match="read it again"):
                await call

    with_client(body)


def test_what_no_server_would_accept_is_not_sent() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        before = len(cluster.log)
        with pytest.raises(TooLarge, match="1048575"):
            await client.create("/a", bytes(1 << 20))
        assert len(cluster.log) == before

    with_client(body)


def test_no_reply_in_time_says_whether_anything_may_have_happened() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        client._request_timeout = 0.05  # only now: to connect it had the time it needed
        cluster.hold = {zk.OP_SET_DATA, zk.OP_GET_DATA}
        with pytest.raises(RequestTimeout, match="may or may not have happened"):
            await client.set("/", b"")
        with pytest.raises(RequestTimeout, match="nothing was changed"):
            await client.get("/")
        cluster.hold.add(zk.OP_CLOSE_SESSION)  # closing does not wait for ever either

    with_client(body)


def test_a_client_that_is_not_open_says_so() -> None:
    async def run() -> None:
        client = Client("127.0.0.1:1")
        with pytest.raises(ClientClosed, match="async with"):
            await client.get("/")
        await client.close()
        with pytest.raises(ClientClosed):
            await client.open()

    asyncio.run(run())


def test_a_server_that_does_not_speak_the_protocol_is_left() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        connection = cluster.connections[0]
        cluster.hold = {zk.OP_SYNC}
        waiting = asyncio.ensure_future(client.sync())
        while zk.OP_SYNC not in cluster.opcodes():
            await asyncio.sleep(0)
        cluster.hold.clear()
        connection.write(zk.reply_frame(77, 1, 0))  # to a request that was never made
        await waiting  # answered over the next connection
        assert len(cluster.greetings) == 2

    with_client(body)


def test_a_reply_that_cannot_be_read_fails_its_request() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        cluster.hold = {zk.OP_GET_DATA}
        waiting = asyncio.ensure_future(client.get("/"))
        while zk.OP_GET_DATA not in cluster.opcodes():
            await asyncio.sleep(0)
        cluster.connections[0].write(zk.reply_frame(1, 1, 0, b"\0\0"))
        with pytest.raises(ProtocolViolation):
            await waiting

    with_client(body)


def test_persistent_watches_can_be_removed() -> None:
    async def body(client: Client, cluster: FakeCluster) -> None:
        await client.add_watch("/a", lambda event: None)
        await client.remove_watches("/a")
        with pytest.raises(NoWatcher):
            await client.remove_watches("/a")

    with_client(body)


def test_every_code_of_the_protocol_has_a_text_that_says_what_to_do() -> None:
    for code in zk.ERROR_NAMES:
        error = error_of(code, "/a")
        assert error.code in (code, zk.ERR_SESSION_EXPIRED, zk.ERR_CONNECTION_LOSS)
        assert str(error).startswith("/a: ")
    assert "(-999)" in str(error_of(-999))
