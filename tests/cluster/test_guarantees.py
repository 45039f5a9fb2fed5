"""What a client may rely on, seen on the wire of real replicas (zookeeper-protocol.md 12 and 21, rules R20 and R21)."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cluster_harness import ProcessCluster, ReplicaHandle, by_length, say, wait_until
from raw_client import ConnectionClosed, RawClient

from multipaxos.wire import zookeeper as zk

pytestmark = pytest.mark.processes


@contextmanager
def counting(cluster: ProcessCluster, path: str) -> Iterator[list[int]]:
    """Counts up in ``path`` as quickly as one client can; the list holds the last value acknowledged."""
    acknowledged = [0]
    is_over = threading.Event()

    def write() -> None:
        with RawClient(cluster.wait_leader().client) as client:
            while not is_over.is_set():
                client.set(path, b"%d" % (acknowledged[0] + 1))
                acknowledged[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield acknowledged
    finally:
        is_over.set()
        writer.join()


def caught_up(client: RawClient, address: tuple[str, int]) -> RawClient:
    """The session moved to another replica. One that lags closes the connection: then try again, as clients do."""

    def attempt() -> RawClient | None:
        try:
            return client.moved(address)
        except ConnectionClosed:
            return None

    return wait_until(attempt, f"{address} to take the session in")


def test_a_client_that_moves_between_replicas_never_sees_an_older_state(cluster: ProcessCluster) -> None:
    reader = RawClient(cluster[1].client)
    reader.create("/moving", b"0")
    seen = 0
    moves = by_length(60, 600)
    with counting(cluster, "/moving") as acknowledged:
        wait_until(lambda: acknowledged[0] > 0, "the counting to begin")
        for turn in range(moves):
            older, reader = reader, caught_up(reader, cluster.replicas[turn % 3].client)
            older.abandon()
            for _ in range(3):
                value = int(reader.get("/moving"))
                assert value >= seen, f"after move {turn} a client that had seen {seen} read {value}"
                seen = value
        assert acknowledged[0] > 0
    assert seen > 0, "nothing changed meanwhile: nothing was shown"
    reader.close()
    say(f"{moves} moves over {seen} states")


def test_a_replica_that_was_stopped_shows_nothing_old_to_a_client_that_comes_from_elsewhere(
    cluster: ProcessCluster,
) -> None:
    lagging = cluster.followers()[0]
    reader = RawClient(cluster.wait_leader().client)
    reader.create("/lagging", b"0")
    for number in range(1, by_length(6, 30)):
        lagging.stop()
        try:
            for value in range(50):
                reader.set("/lagging", b"%d" % (number * 100 + value))
        finally:
            lagging.go_on()
        # At once: its sockets are full of what it has not read yet, and this handshake stands among it.
        moved = caught_up(reader, lagging.client)
        assert int(moved.get("/lagging")) == number * 100 + 49
        moved.abandon()
        reader = caught_up(moved, cluster.wait_leader().client)
    reader.close()


def test_sync_then_get_sees_what_another_client_was_told_is_written(cluster: ProcessCluster) -> None:
    writers = [RawClient(replica.client) for replica in cluster.replicas]
    readers = [RawClient(replica.client) for replica in cluster.replicas]
    writers[0].create("/synced", b"0")
    plain_behind = 0
    rounds = by_length(100, 2000)
    for value in range(1, rounds):
        writers[value % 3].set("/synced", b"%d" % value)
        for reader in readers:
            # In one call, so that the read waits in the replica and not in this test.
            reader.send(
                reader.prepare(zk.OP_GET_DATA, zk.encode_watched_path("/synced"))
                + reader.prepare(zk.OP_SYNC, zk.encode_path("/synced"))
                + reader.prepare(zk.OP_GET_DATA, zk.encode_watched_path("/synced"))
            )
        for reader in readers:
            before, synced, after = reader.reply(), reader.reply(), reader.reply()
            assert (before.err, synced.err, after.err) == (0, 0, 0)
            plain_behind += int(zk.decode_data_stat(before.body)[0] or b"") < value
            assert int(zk.decode_data_stat(after.body)[0] or b"") >= value
    for client in writers + readers:
        client.close()
    say(f"a read without sync was behind {plain_behind} of {3 * (rounds - 1)} times, one after sync never")


def test_sync_then_get_on_a_replica_that_was_stopped_sees_what_was_written_meanwhile(cluster: ProcessCluster) -> None:
    lagging = cluster.followers()[0]
    writer = RawClient(cluster.wait_leader().client)
    reader = RawClient(lagging.client, timeout_ms=30_000)
    writer.create("/stopped", b"0")
    for value in range(1, by_length(6, 30)):
        lagging.stop()
        try:
            reader.send(
                reader.prepare(zk.OP_SYNC, zk.encode_path("/stopped"))
                + reader.prepare(zk.OP_GET_DATA, zk.encode_watched_path("/stopped"))
            )
            for _ in range(20):
                writer.set("/stopped", b"%d" % value)
        finally:
            lagging.go_on()
        assert reader.reply().err == 0
        assert int(zk.decode_data_stat(reader.reply().body)[0] or b"") == value
    writer.close()
    reader.close()


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_clients_own_event_comes_before_the_reply_to_the_write_that_caused_it(
    cluster: ProcessCluster, which: str
) -> None:
    replica = _one(cluster, which)
    client = RawClient(replica.client)
    for path in (f"/event-{which}", f"/event-{which}/child"):
        client.create(path, b"0")
    parent, child = f"/event-{which}", f"/event-{which}/child"
    for round_number in range(20):
        client.send(
            client.prepare(zk.OP_GET_DATA, zk.encode_watched_path(child, watch=True))
            + client.prepare(zk.OP_GET_CHILDREN2, zk.encode_watched_path(parent, watch=True))
            + client.prepare(zk.OP_SET_DATA, zk.encode_set_data(child, b"1"))
            + client.prepare(zk.OP_CREATE, zk.encode_create(f"{parent}/new-{round_number}", b""))
        )
        came = [client.reply() for _ in range(6)]
        assert [one.event or one.xid - client.xid for one in came] == [
            -3,
            -2,
            (zk.EVENT_DATA_CHANGED, child),
            -1,
            (zk.EVENT_CHILDREN_CHANGED, parent),
            0,
        ]
        assert all(one.err == 0 for one in came)
    client.close()


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_read_between_two_pipelined_writes_sees_the_first_only(cluster: ProcessCluster, which: str) -> None:
    client = RawClient(_one(cluster, which).client)
    path = f"/between-{which}"
    client.create(path, b"0")
    for value in range(by_length(50, 1000)):
        first, second = b"%d" % (2 * value + 1), b"%d" % (2 * value + 2)
        # One send: both writes come in one turn and share a decree.
        client.send(
            client.prepare(zk.OP_SET_DATA, zk.encode_set_data(path, first))
            + client.prepare(zk.OP_GET_DATA, zk.encode_watched_path(path))
            + client.prepare(zk.OP_SET_DATA, zk.encode_set_data(path, second))
            + client.prepare(zk.OP_GET_DATA, zk.encode_watched_path(path))
        )
        came = [client.reply() for _ in range(4)]
        assert [one.xid for one in came] == list(range(client.xid - 3, client.xid + 1))
        assert zk.decode_data_stat(came[1].body)[0] == first
        assert zk.decode_data_stat(came[3].body)[0] == second
        assert came[0].zxid == came[1].zxid < came[2].zxid == came[3].zxid
    client.close()


def test_nothing_of_the_old_connection_is_executed_after_the_session_moved(cluster: ProcessCluster) -> None:
    """rule-R9: a delayed write of the old connection must not land after its client acted elsewhere."""
    first, second = cluster.followers()
    old = RawClient(first.client, timeout_ms=30_000)
    old.create("/moved", b"start")
    for number in range(by_length(5, 50)):
        first.stop()
        try:
            old.send(old.prepare(zk.OP_SET_DATA, zk.encode_set_data("/moved", b"late-%d" % number)))
            new = caught_up(old, second.client)
            new.set("/moved", b"new-%d" % number)
        finally:
            first.go_on()
        waited = old.wait_closed(30)
        new.sync("/moved")
        assert new.get("/moved") == b"new-%d" % number, f"the old connection was closed after {waited:.3f} s"
        old.abandon()
        old = caught_up(new, first.client)
        new.abandon()
    old.close()


def test_a_session_that_is_only_pinged_lives_and_one_that_is_silent_ends(cluster: ProcessCluster) -> None:
    kept = RawClient(cluster[1].client, timeout_ms=4000)
    silent = RawClient(cluster[2].client, timeout_ms=4000)
    watching = RawClient(cluster[3].client, timeout_ms=30_000)
    kept.create("/kept", b"", zk.FLAG_EPHEMERAL)
    begun = time.monotonic()  # before the last sign of life of the silent one, and not after it
    silent.create("/silent", b"", zk.FLAG_EPHEMERAL)
    pings = 0
    children: list[str] = []
    while "silent" in children or not children:
        assert time.monotonic() < begun + 60, "a silent session has not ended after 60 s"
        kept.ping()
        pings += 1
        assert kept.reply().xid == zk.XID_PING
        watching.sync("/")
        children = zk.decode_children(watching.ask(zk.OP_GET_CHILDREN, zk.encode_watched_path("/")).body)
    ended = time.monotonic() - begun
    assert "kept" in children
    assert ended >= 4.0, f"a session of 4 s ended after {ended:.2f} s"
    say(f"a silent session of 4 s ended after {ended:.2f} s; {pings} pings kept the other")
    silent.wait_closed(30)
    kept.close()
    watching.close()


def _one(cluster: ProcessCluster, which: str) -> ReplicaHandle:
    return cluster.wait_leader() if which == "leader" else cluster.followers()[0]
