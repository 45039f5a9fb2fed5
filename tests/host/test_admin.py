"""The admin port: what it answers, what a stranger at it may cost, how it begins and ends."""

import asyncio
import contextlib
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from admin_client import PATIENCE_S, asked, get, once, running_cluster
from kazoo.client import KazooClient

from multipaxos.host import admin, admin_app
from multipaxos.host.admin import AdminServer
from multipaxos.host.admin_app import CONNECTIONS_MAX, LIFE_S, PATHS, REQUEST_HEAD_BYTES_MAX, Pace
from multipaxos.host.config import ConfigError, load, read_toml
from multipaxos.host.folder import ClusterFolder, FolderError
from multipaxos.host.observation import Observation, Quorum
from multipaxos.host.observer import Board

SERVING = Observation(1, 0, state="serving", standing="leader", leader=1)


@contextlib.contextmanager
def admin_port(board: Board) -> Iterator[AdminServer]:
    """A real admin thread, which must be gone in the end."""
    server = AdminServer(board)
    server.bind("127.0.0.1:0")
    board.has_served.set()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server._thread.join(PATIENCE_S)  # ``stop`` waits for it, but not long
        server.stop()
        assert "admin" not in [thread.name for thread in threading.enumerate()]


def half_open(address: str, said: bytes = b"") -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), PATIENCE_S)
    connection.sendall(said)
    return connection


# --- what it answers -------------------------------------------------------------------------------------------------


def test_the_five_paths_of_a_replica_that_serves() -> None:
    with admin_port(Board(SERVING)) as server:
        assert get(server.address, "/health/live")[0] == 200
        assert get(server.address, "/health/ready")[0] == 200
        code, status = get(server.address, "/status")
        assert code == 200 and json.loads(status) == json.loads(json.dumps(SERVING.to_json()))
        code, metrics = get(server.address, "/metrics")
        assert code == 200 and "\nmultipaxos_serving 1.0\n" in metrics
        code, why = get(server.address, "/why")
        assert code == 200 and isinstance(json.loads(why)["causes"], list)
        code, index = get(server.address, "/")
        assert code == 200 and index.split() == list(PATHS)
        assert get(server.address, "/nothing")[0] == 404
        assert get(server.address, "/status", "POST")[0] == 405
        assert get(server.address, "/health/ready", "HEAD") == (200, "")


def test_a_replica_that_waits_says_for_what() -> None:
    waiting = replace(SERVING, state="waiting", waiting_for="a majority: replica 2 at h2:7181 cannot be reached")
    with admin_port(Board(waiting)) as server:
        assert get(server.address, "/health/live")[0] == 200, "to restart it would help nobody"
        code, ready = get(server.address, "/health/ready")
        assert code == 503 and json.loads(ready)["waiting_for"] == waiting.waiting_for


def test_why_speaks_of_what_the_replica_sees() -> None:
    alone = replace(
        SERVING,
        state="waiting",
        waiting_for="a majority",
        quorum=Quorum(2, (1,), (2, 3), (), -1),
        leader=0,
        standing="follower",
    )
    with admin_port(Board(alone)) as server:
        causes = json.loads(get(server.address, "/why")[1])["causes"]
    assert causes and all(cause["id"].startswith("why.") and cause["sentence"] for cause in causes)


def test_it_answers_while_the_loop_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_app, "DEAD_MS", 300)
    board = Board(SERVING)

    async def body(address: str) -> None:
        board.stalls.start(asyncio.get_running_loop())
        # From here on the loop stands still, since it is this that asks.
        status = asked(address, lambda value: value["loop"]["stalled_for_ms"] > 300, "the stall")
        assert status["state"] == "serving", "the last observation"
        code, live = get(address, "/health/live")
        assert code == 503 and re.search(r"has not turned for \d+\.\d s", json.loads(live)["reason"])
        code, ready = get(address, "/health/ready")
        assert code == 503 and "its loop" in json.loads(ready)["waiting_for"]
        assert "multipaxos_loop_stalled_seconds 0.0\n" not in get(address, "/metrics")[1]
        board.stalls.stop()
        assert get(address, "/health/live")[0] == 200

    with admin_port(board) as server:
        asyncio.run(body(server.address))


# --- what a stranger may cost ----------------------------------------------------------------------------------------


def test_connections_that_say_nothing_go_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_app, "LIFE_S", 1000.0)
    with admin_port(Board(SERVING)) as server, contextlib.ExitStack() as stack:
        get(server.address, "/health/live")
        opened = [half_open(server.address, b"GET /status HTT") for _ in range(CONNECTIONS_MAX + 8)]
        for connection in opened:
            stack.callback(connection.close)
            connection.settimeout(PATIENCE_S)
        assert get(server.address, "/health/ready")[0] == 200, "and the one who asks is answered"
        for connection in opened[:9]:  # eight, and one for whoever asked
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        server_side = server._server
        assert server_side is not None and len(server_side.server_state.connections) <= CONNECTIONS_MAX


def test_a_connection_does_not_live_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIFE_S <= 10
    monkeypatch.setattr(admin_app, "LIFE_S", 0.01)
    with (
        admin_port(Board(SERVING)) as server,
        half_open(server.address, b"GET / HTTP/1.1\r\n") as connection,
        contextlib.suppress(ConnectionResetError),
    ):
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + bytes(b"a" * 2 * REQUEST_HEAD_BYTES_MAX),
        b"\x00\x00\x00\x2d" + bytes(200) + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
)
def test_requests_that_are_none_are_refused_and_not_logged(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with (
        admin_port(Board(SERVING)) as server,
        caplog.at_level(logging.DEBUG),
        half_open(server.address, said) as stranger,
    ):
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := stranger.recv(65536):
                answer += part
        assert not answer or answer.startswith(b"HTTP/1.1 400")
        assert get(server.address, "/health/live")[0] == 200
    assert not [
        record for record in caplog.records if record.name.startswith("uvicorn") and record.levelno > logging.INFO
    ]


def test_the_thread_keeps_to_its_share_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        """Works when told to, and counts the sleep."""

        now = 100.0
        worked = 0.0
        slept = 0.0

        def monotonic(self) -> float:
            return self.now

        def thread_time(self) -> float:
            return self.worked

        def sleep(self, seconds: float) -> None:
            self.slept += seconds
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(admin_app, "time", clock)
    pace = Pace()
    for _ in range(10):
        clock.now += 0.002
        clock.worked += 0.002
        pace.keep()
    assert clock.slept == 0, "after a rest some requests are answered without waiting"
    began = clock.now, clock.worked
    for _ in range(2000):  # a stranger who asks without end
        clock.now += 0.002
        clock.worked += 0.002
        pace.keep()
    share = (clock.worked - began[1]) / (clock.now - began[0])
    assert 0.09 < share < 0.11


@pytest.mark.processes
def test_a_replica_serves_its_clients_whatever_happens_at_its_admin_port(tmp_path: Path) -> None:
    """Half-open connections above the bound and four who ask without end; the leader's clients notice nothing."""
    with running_cluster(tmp_path) as cluster, contextlib.ExitStack() as stack:
        leader = cluster.leader()
        address = cluster.admin(leader.id)
        before = asked(address, lambda value: value["state"] == "serving", "serving")
        for _ in range(CONNECTIONS_MAX + 8):
            stack.callback(half_open(address, b"POST /status HTTP/1.1\r\nContent-Length: 999999999\r\n\r\nx").close)
        is_over = threading.Event()
        answered: list[int] = []

        def hammer() -> None:
            while not is_over.is_set():
                with contextlib.suppress(OSError):
                    answered.append(get(address, "/metrics", seconds=2.0)[0])

        hammers = [threading.Thread(target=hammer) for _ in range(4)]
        for one in hammers:
            one.start()
        client = KazooClient(hosts=leader.address, timeout=10)
        client.start(PATIENCE_S)
        try:
            client.create("/under", b"")
            for number in range(100):
                client.set("/under", b"%d" % number)
            assert client.get("/under")[0] == b"99"
        finally:
            is_over.set()
            for one in hammers:
                one.join()
            client.stop()
            client.close()
        after = asked(
            address, lambda value: value["slots"]["applied"] >= before["slots"]["applied"] + 100, "the writes"
        )
        assert (after["epoch"], after["ballot"], after["pid"]) == (before["epoch"], before["ballot"], before["pid"])
        assert after["leader_changes_last_10min"] == 0 and 200 in answered


# --- how it begins and ends ------------------------------------------------------------------------------------------


def test_it_ends_whoever_is_connected_and_frees_its_port() -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with admin_port(Board(SERVING)) as server, half_open(server.address, b"GET / HTTP/1.1\r\n") as connection:
        get(server.address, "/health/live")
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
        assert not logging.getLogger("uvicorn").handlers and not logging.getLogger("uvicorn.error").handlers
        server.stop()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", int(server.address.rpartition(":")[2])))
            again.listen()


def test_it_ends_before_it_has_begun() -> None:
    server = AdminServer(Board(SERVING))
    server.bind("127.0.0.1:0")
    server.start()  # and waits for the replica to serve
    server.stop()
    assert not server._thread.is_alive() and server._server is None


def test_a_fault_in_it_costs_the_admin_port_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(board: Board) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(admin_app, "AdminLoop", fails)
    with admin_port(Board(SERVING)) as server:
        server._thread.join(PATIENCE_S)
        with pytest.raises(ConnectionRefusedError):
            half_open(server.address)
    assert "is not served any more" in caplog.text


def test_a_start_does_not_import_what_only_the_admin_thread_needs() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, multipaxos.host.process; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    modules = set(told.stdout.split())
    assert "multipaxos.host.admin" in modules
    assert not modules & {
        "starlette",
        "uvicorn",
        "prometheus_client",
        "multipaxos.host.admin_app",
        "multipaxos.host.why",
    }


def test_requests_before_it_answers_are_held_not_lost() -> None:
    board = Board(SERVING)
    server = AdminServer(board)
    server.bind("127.0.0.1:0")
    with half_open(server.address, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as early:
        board.has_served.set()
        server.start()
        assert early.makefile().readline().startswith("HTTP/1.1 200")
    server.stop()


# --- where it is -----------------------------------------------------------------------------------------------------

LISTED = 'replica = 1\ndata = "d"\n{more}[[replicas]]\nid = 1\npeer = "h1:1"\nclient = "h1:2"\n{own}'


@pytest.mark.parametrize(
    ("more", "own", "listen", "stated"),
    [
        ("", "", "", ()),
        ("", 'admin = "h1:8181"\n', "h1:8181", ((1, "h1:8181"),)),
        ('[admin]\nlisten = "127.0.0.1:9"\n', 'admin = "h1:8181"\n', "127.0.0.1:9", ((1, "h1:8181"),)),
        ('[admin]\nlisten = "127.0.0.1:9"\n', "", "127.0.0.1:9", ()),
    ],
)
def test_the_file_says_where(more: str, own: str, listen: str, stated: object) -> None:
    config = read_toml(LISTED.format(more=more, own=own), "here.toml")
    assert config.admin_listen == listen and config.admins == stated
    bare = read_toml(LISTED.format(more="", own=""), "here.toml")
    assert config.listed.digest() == bare.listed.digest(), "no part of what all replicas must agree on"


def test_an_admin_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="admin address of replica 1 '8181' is not host:port"):
        read_toml(LISTED.format(more="", own='admin = "8181"\n'), "here.toml")
    with pytest.raises(ConfigError, match="admin listen address"):
        read_toml(LISTED.format(more='[admin]\nlisten = "x"\n', own=""), "here.toml")


@pytest.mark.parametrize(
    ("lines", "listen"),
    [
        ("", ""),
        ("admin.serverPort=8080\n", "127.0.0.1:8080"),
        ("admin.serverAddress=10.0.0.1\n", "10.0.0.1:8181"),
        ("admin.serverPort=8080\nadmin.enableServer=false\n", ""),
    ],
)
def test_a_zoo_cfg_says_it_in_zookeepers_keys(tmp_path: Path, lines: str, listen: str) -> None:
    (tmp_path / "zoo.cfg").write_text(f"dataDir=d\nclientPort=2181\n{lines}")
    config = load(str(tmp_path / "zoo.cfg"))
    assert config.admin_listen == listen and not any("ignored" in note for note in config.notes)


def test_a_folder_gives_each_replica_an_admin_port(tmp_path: Path) -> None:
    with ClusterFolder.open(str(tmp_path), 3, 0, 0) as folder:
        places = folder.places
        assert len({place.admin for place in places}) == 3
        state = json.loads((tmp_path / "cluster.json").read_text())
        assert [one["admin"] for one in state["replicas"]] == [place.admin for place in places]
        config = load(folder.config_path(2))
        assert config.admin_listen == places[1].admin
        assert config.admins == tuple((place.id, place.admin) for place in places)
        folder.write_state({}, 1, {2: "died"}, {2: "the sync failed"})
        state = json.loads((tmp_path / "cluster.json").read_text())
        assert [one["reason"] for one in state["replicas"]] == ["", "the sync failed", ""]
    for one in state["replicas"]:
        del one["admin"]  # as an earlier version left it
    (tmp_path / "cluster.json").write_text(json.dumps(state))
    with ClusterFolder.open(str(tmp_path), None, None, None) as folder:
        assert [place.client for place in folder.places] == [place.client for place in places]
        assert len({place.admin for place in folder.places}) == 3
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            with pytest.raises(FolderError) as caught:
                ClusterFolder.open(str(tmp_path / "other"), 1, 0, 0, admin_port=taken)
    assert f"port {taken} on 127.0.0.1 (admin of replica 1) is taken" in str(caught.value)
    assert "--admin-port" in str(caught.value)


@pytest.mark.processes
def test_a_taken_admin_port_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = LISTED.format(more=f'[admin]\nlisten = "127.0.0.1:{port}"\n', own="").replace("h1:1", "127.0.0.1:0")
        (tmp_path / "one.toml").write_text(text.replace("h1:2", "127.0.0.1:0"))
        done = subprocess.run(
            [sys.executable, "-m", "multipaxos", "serve", "one.toml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port} (admin) is taken" in done.stderr and "or choose another port" in done.stderr
    assert not (tmp_path / "d").exists()


@pytest.mark.processes
def test_a_replica_from_a_file_tells_where_it_is(tmp_path: Path) -> None:
    text = LISTED.format(more="", own='admin = "127.0.0.1:0"\n').replace("h1:1", "127.0.0.1:0")
    (tmp_path / "one.toml").write_text(text.replace("h1:2", "127.0.0.1:0"))
    with once(tmp_path / "one.toml") as address:
        status = asked(address, lambda value: value["disk"]["free_bytes"] is not None, "serving, and the room measured")
        asked(address, lambda value: value["state"] == "serving", "serving")
    assert status["configuration"]["members"][0]["admin_address"] == address
    assert admin.PATIENCE_S <= 1
