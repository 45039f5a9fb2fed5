"""Two of three dead: nothing is acknowledged, clients are let go, nobody's session ends (rules R24 to R26)."""

import threading
import time

import pytest
from cluster_harness import (
    ELECTION_TIMEOUT_S,
    Hindered,
    ProcessCluster,
    ReplicaHandle,
    attempts,
    by_length,
    four_letters,
    in_time,
    say,
    wait_until,
)
from raw_client import ConnectionClosed, RawClient, RequestFailed, SessionExpired

from multipaxos.wire import zookeeper as zk

pytestmark = pytest.mark.processes

SLACK_S = 1.0
ANSWER_S = 60.0
OUTAGE_S = by_length(6.5, 12.0)
"""Longer than the shortest session allowed, 4 s: go-zookeeper's NoQuorum test."""

BACK_S = 5.0
"""The issue asks for 2 s; a process starts in some of it, and tests share the machine."""


def bound_s(timeout_ms: int) -> float:
    """After how long without a quorum a connection must be closed (rule-R26)."""
    return max(timeout_ms / 3000, 2 * ELECTION_TIMEOUT_S)


def answer_to(client: RawClient, seconds: float) -> str:
    """What comes of the request sent last: acknowledged, failed, closed or nothing."""
    try:
        reply = client.reply(seconds)
    except ConnectionClosed:
        return "closed"
    except TimeoutError:
        return "nothing"
    return "acknowledged" if reply.err == 0 else "failed"


def try_write(address: tuple[str, int], path: str) -> bool:
    """Whether a new client gets a write acknowledged."""
    try:
        with RawClient(address, seconds=2.0) as client:
            client.create(path, seconds=2.0)
            client.close()
    except (ConnectionClosed, TimeoutError):
        return False
    except RequestFailed as error:
        assert error.code == zk.ERR_NODE_EXISTS, error
    return True


@pytest.mark.parametrize("survivor_is", ["leader", "follower"])
def test_without_a_quorum_nothing_is_acknowledged_and_no_session_ends(
    own_cluster: ProcessCluster, survivor_is: str
) -> None:
    """Nothing is acknowledged, ever. What has a bound of time is tried up to three times: the machine is shared."""
    attempts(lambda attempt: _two_of_three_die(own_cluster, survivor_is, str(attempt)))


def _two_of_three_die(cluster: ProcessCluster, survivor_is: str, mark: str) -> None:
    cluster.start()
    leader = cluster.wait_leader()
    survivor = leader if survivor_is == "leader" else cluster.followers()[0]
    dying = [one for one in cluster.replicas if one is not survivor]

    clients = [RawClient(survivor.client, timeout_ms) for timeout_ms in (4000, 9000, 12_000)]
    elsewhere = RawClient(dying[0].client, 4000)
    for number, client in enumerate([*clients, elsewhere]):
        client.create(f"/alive-{mark}-{number}", b"", zk.FLAG_EPHEMERAL)
        client.create(f"/data-{mark}-{number}", b"before")

    killed = time.monotonic()
    for one in dying:
        one.kill()
    for number, client in enumerate(clients):
        client.send(client.prepare(zk.OP_SET_DATA, zk.encode_set_data(f"/data-{mark}-{number}", b"after")))

    closed: dict[int, float] = {}
    lies: list[str] = []

    def watch(client: RawClient) -> None:
        what = answer_to(client, ANSWER_S)
        closed[client.timeout_ms] = time.monotonic() - killed
        if what != "closed":
            lies.append(f"T={client.timeout_ms}: {what}")

    watchers = [threading.Thread(target=watch, args=(client,)) for client in clients]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    for timeout_ms, after in sorted(closed.items()):
        say(f"session of {timeout_ms} ms: closed after {after:.2f} s, bound {bound_s(timeout_ms):.2f} s")
    assert not lies, lies
    assert len(closed) == len(clients)
    for timeout_ms, after in closed.items():
        in_time(after, bound_s(timeout_ms) + SLACK_S, f"the end of a connection of a session of {timeout_ms} ms")
    assert "not currently serving" in four_letters(survivor.client, "srvr") or survivor.mode == ""
    assert not try_write(survivor.client, f"/nobody-says-yes-{mark}")

    # A resume is let down, not told "expired": that would destroy the client's state for nothing.
    wait_until(
        lambda: _refused(clients[0], survivor) and time.monotonic() - killed > OUTAGE_S, "the outage", OUTAGE_S + 60
    )

    begun = time.monotonic()
    dying[0].start()
    wait_until(lambda: dying[0].state == "opened" or dying[0].is_serving, "its process to open its directory")
    opened = time.monotonic()
    wait_until(lambda: try_write(survivor.client, f"/back-{mark}"), "the service to be back")
    back = time.monotonic()
    say(f"{survivor_is} survived: service back {back - opened:.2f} s after the second replica opened its directory, "
        f"{back - begun:.2f} s after its process was started")  # fmt: skip
    in_time(back - begun, BACK_S, "the return of the service")

    for number, client in enumerate([*clients, elsewhere]):
        try:
            resumed = wait_until(lambda client=client: _resumed(client, survivor), "a session to be resumed")
        except SessionExpired:
            # Nobody could end it before the second replica was started; from then on its time may pass again.
            since = time.monotonic() - begun
            assert since > client.timeout_ms / 1000, f"a session of {client.timeout_ms} ms is gone after {since:.2f} s"
            raise Hindered(f"it took {since:.2f} s to resume a session of {client.timeout_ms} ms") from None
        assert resumed.session == client.session
        reply = resumed.ask(zk.OP_GET_CHILDREN, zk.encode_watched_path("/"))
        assert f"alive-{mark}-{number}" in zk.decode_children(reply.body), "an ephemeral of a living session is gone"
        # The write whose connection was closed happened once or not at all; which of them nobody was told.
        assert resumed.get(f"/data-{mark}-{number}") in (b"before", b"after")
        resumed.close()


def _refused(client: RawClient, replica: ReplicaHandle) -> bool:
    try:
        client.moved(replica.client, seconds=0.5).abandon()
    except (ConnectionClosed, TimeoutError):
        return True
    raise AssertionError("a session was resumed without a quorum")


def _resumed(client: RawClient, replica: ReplicaHandle) -> RawClient | None:
    try:
        return client.moved(replica.client, seconds=2.0)
    except (ConnectionClosed, TimeoutError):
        return None


def test_a_replica_that_was_stopped_too_long_answers_nobody_from_the_past(own_cluster: ProcessCluster) -> None:
    """rule-R26: it wakes up with requests in its sockets; the age of its contact is compared before each reply."""
    leader = own_cluster.wait_leader()
    followers = own_cluster.followers()
    for paused in (followers[0], leader):
        writer = RawClient(followers[1].client)
        client = RawClient(paused.client, 4000)
        path = f"/paused-{paused.id}"
        client.create(path, b"old")
        begun = time.monotonic()
        paused.stop()
        try:
            wait_until(lambda path=path, writer=writer: _set(writer, path, b"new"), "a write without it")
            wait_until(lambda begun=begun: time.monotonic() - begun > 2 * ELECTION_TIMEOUT_S + 0.5, "the bound to pass")
            client.send(client.prepare(zk.OP_GET_DATA, zk.encode_watched_path(path)))
            client.ping()
        finally:
            paused.go_on()
        assert answer_to(client, ANSWER_S) == "closed", "a replica that was stopped for longer than the bound answered"
        writer.close()
        own_cluster.wait_serving(own_cluster.replicas)


def _set(client: RawClient, path: str, data: bytes) -> bool:
    client.set(path, data)
    return True
