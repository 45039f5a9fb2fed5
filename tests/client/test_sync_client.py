"""The client without asyncio."""

import queue
import threading

import pytest
from fake_cluster import cluster_in_thread

from multipaxos.client import (
    Acl,
    Check,
    ClientClosed,
    Create,
    NoNode,
    NotConnected,
    SessionState,
    SyncClient,
    WatchEvent,
)


def test_every_method() -> None:
    with cluster_in_thread(2) as cluster, SyncClient(cluster.connect) as client:
        assert client.state is SessionState.CONNECTED
        assert client.session_id in cluster.sessions
        assert client.session_timeout == 10
        assert client.server is not None
        assert client.create("/a", b"1") == "/a"
        assert client.put("/a", b"2").version == 1
        assert client.set("/a", b"3", 1).version == 2
        assert client.get("/a")[0] == b"3"
        assert client.exists("/a") is not None
        assert client.children("/") == ["a"]
        assert client.create("/x/y", parents=True) == "/x/y"
        assert client.tree("/") == ["/a", "/x", "/x/y"]
        assert client.delete_tree("/x") == 2
        client.sync()
        assert client.multi([Check("/a"), Create("/b")]) == [None, "/b"]
        assert client.get_acl("/a")[0] == (Acl(31, "world", "anyone"),)
        assert client.set_acl("/a", client.get_acl("/a")[0]).aversion == 1
        client.add_auth("digest", b"me:secret")
        client.delete("/b")
        with pytest.raises(NoNode):
            client.get("/b")


def test_callbacks_come_in_order_on_a_thread_that_may_call_the_client() -> None:
    with cluster_in_thread() as cluster, SyncClient(cluster.connect) as client:
        heard: queue.Queue[tuple[str, bytes | None, str]] = queue.Queue()

        def watch(event: WatchEvent) -> None:
            data = client.get("/a")[0] if event.type.name != "SESSION_ENDED" else None
            heard.put((event.type.name, data, threading.current_thread().name))

        client.add_watch("/a", watch)
        client.create("/a", b"1")
        assert heard.get(timeout=60) == ("CREATED", b"1", "multipaxos-client-watches")
        client.set("/a", b"2")
        assert heard.get(timeout=60) == ("DATA_CHANGED", b"2", "multipaxos-client-watches")
        client.remove_watches("/a")
        client.get("/a", watch)
        client.exists("/a", watch)  # the same callback at the same path: one watch
        client.children("/a", watch)
        client.set("/a", b"3")
        assert heard.get(timeout=60)[0] == "DATA_CHANGED"
        client.close()
        assert heard.get(timeout=60)[0] == "SESSION_ENDED"
        assert heard.empty()


def test_closing_twice_and_calling_afterwards() -> None:
    with cluster_in_thread() as cluster:
        client = SyncClient(cluster.connect)
        client.close()
        client.close()
        with pytest.raises(ClientClosed):
            client.get("/")
        assert cluster.sessions == {}


def test_nobody_there() -> None:
    with cluster_in_thread() as cluster:
        cluster.servers[0].hangs_up = True
        with pytest.raises(NotConnected):
            SyncClient(cluster.connect, request_timeout=0.1)
    assert not any(thread.name == "multipaxos-client" for thread in threading.enumerate())


def test_several_threads_share_one_session() -> None:
    with cluster_in_thread() as cluster, SyncClient(cluster.connect) as client:
        client.create("/n", b"")
        threads = [threading.Thread(target=lambda: [client.set("/n", b"") for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.get("/n")[1].version == 80
