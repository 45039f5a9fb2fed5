"""The client against real replicas: a session that outlives the replica it was connected to, and the shell commands."""

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multipaxos.bench.cluster import OwnCluster, read_cluster
from multipaxos.client import (
    OPEN_ACL,
    Check,
    Create,
    NotEmpty,
    Set,
    SyncClient,
    TransactionFailed,
    WatchEvent,
    address_text,
)

pytestmark = [pytest.mark.processes]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnCluster]:
    folder: Path = tmp_path_factory.mktemp("replicas")
    with OwnCluster(str(folder), lambda text: None) as running:
        yield running


def connect_of(cluster: OwnCluster) -> str:
    return ",".join(address_text(address) for address in cluster.addresses)


def test_operations(cluster: OwnCluster) -> None:
    with SyncClient(cluster.addresses, request_timeout=60) as client:
        assert client.create("/t/a", b"1", parents=True) == "/t/a"
        assert client.create("/t/n-", sequence=True) == "/t/n-0000000001"
        assert client.create("/t/e", ephemeral=True) == "/t/e"
        stat = client.set("/t/a", b"2", version=0)
        client.sync()
        assert client.get("/t/a") == (b"2", stat)
        assert client.children("/t") == ["a", "e", "n-0000000001"]
        results = client.multi([Check("/t/a", 1), Set("/t/a", b"3"), Create("/t/m", None)])
        assert results[2] == "/t/m"
        assert client.get("/t/m")[0] is None
        with pytest.raises(TransactionFailed) as caught:
            client.multi([Set("/t/a", b"4"), Check("/t/a", 77)])
        assert caught.value.index == 1
        assert client.get("/t/a")[0] == b"3"
        with pytest.raises(NotEmpty):
            client.delete("/t")
        assert client.get_acl("/t/a")[0] == OPEN_ACL
    with SyncClient(cluster.addresses, request_timeout=60) as client:
        client.sync()
        assert client.exists("/t/e") is None
        assert client.delete_tree("/t") == 4


def test_the_shell(cluster: OwnCluster) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "multipaxos", *arguments, "--connect", connect_of(cluster)],
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert run("put", "-p", "/shell/a", "hello").stdout == "/shell/a is at version 0\n"
    assert run("get", "/shell/a").stdout == "hello\n"
    assert run("ls", "/shell", "-r").stdout == "/shell/a\n"
    assert run("rm", "-r", "/shell").stdout == "removed /shell, 2 nodes in all\n"
    assert run("get", "/shell/a").returncode == 1
    status = run("status")
    assert status.returncode == 0
    assert status.stdout.count("follower") == 2
    assert "failures survivable now: 1" in status.stdout


def test_a_session_outlives_its_replica(cluster: OwnCluster) -> None:
    heard: queue.Queue[WatchEvent] = queue.Queue()
    # The replicas are killed without a word, so a write may be lost with its reply: none is on the way here.
    with SyncClient(cluster.addresses, session_timeout=20, request_timeout=60) as client:
        client.create("/mine", ephemeral=True)
        client.exists("/waited", watch=heard.put)
        session, server = client.session_id, client.server
        assert server is not None
        _, processes = read_cluster(os.path.join(cluster.folder, "data"))
        victim = processes[cluster.addresses.index(server) + 1]
        os.kill(victim, signal.SIGKILL)
        client.sync()  # sent again on the next connection when it was on its way
        assert client.session_id == session
        assert client.server != server
        stat = client.exists("/mine")
        assert stat is not None
        assert stat.ephemeral_owner == session
        client.create("/waited")
        assert heard.get(timeout=60).type.name == "CREATED"
        client.delete("/waited")
