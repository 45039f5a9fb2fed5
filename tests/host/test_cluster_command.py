"""``multipaxos cluster`` and ``multipaxos serve`` as people run them: real processes on loopback."""

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

pytestmark = pytest.mark.processes

PATIENCE_S = 120.0
COMMAND = [sys.executable, "-m", "multipaxos"]
FREE = ["--client-port", "0", "--peer-port", "0"]


class Running:
    """A command, and the lines it says."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.lines: list[str] = []
        self._fresh: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._fresh.put(line)
        self._fresh.put("")

    def until(self, text: str) -> str:
        """Waits for a line with this text."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self._fresh.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                line = ""
            if not line:
                raise AssertionError(f"never said {text!r}; said:\n" + "".join(self.lines))
            self.lines.append(line)
            if text in line:
                return line

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits; all that was said stands in ``lines`` then."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def let_go(self) -> None:
        """Whatever became of it: no process and no pipe is left."""
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def ended(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while not self._fresh.empty():
            self.lines.append(self._fresh.get())
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Any]:
    """Starts commands in an empty folder, and ends those that still run."""
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(list(arguments), tmp_path))
        return started[-1]

    try:
        yield start
        for one in started:
            if one.process.poll() is None:
                one.end()
    finally:
        for one in started:
            one.let_go()


def state_of(folder: Path) -> dict[int, dict[str, Any]]:
    return {one["id"]: one for one in json.loads((folder / "cluster.json").read_text())["replicas"]}


def once(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def gone(process_ids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(is_alive(one) for one in process_ids):
        assert time.monotonic() < deadline, f"still running: {[one for one in process_ids if is_alive(one)]}"
        time.sleep(0.01)


class Client:
    """Other people's client, for the length of a block."""

    def __init__(self, folder: Path, *replicas: int) -> None:
        state = state_of(folder)
        hosts = ",".join(state[one]["client"] for one in replicas or state)
        self.kazoo = KazooClient(hosts=hosts, timeout=10)

    def __enter__(self) -> KazooClient:
        self.kazoo.start(PATIENCE_S)
        return self.kazoo

    def __exit__(self, *unused: object) -> None:
        self.kazoo.stop()
        self.kazoo.close()


def mode(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
        connection.sendall(b"srvr")
        text = connection.makefile().read()
    return next((line.removeprefix("Mode: ") for line in text.splitlines() if line.startswith("Mode: ")), "")


def test_three_replicas_a_leader_killed_and_the_data_kept(commands: Any, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    cluster = commands("cluster", "--data", "data", *FREE)
    ready = cluster.until("ready: connect to")
    state = state_of(folder)
    assert ready.strip().endswith(",".join(one["client"] for one in state.values()))
    assert all(is_alive(one["process_id"]) and one["state"] == "serving" for one in state.values())

    with Client(folder) as client:
        client.create("/kept", b"1")
        leaders = [number for number, one in state.items() if mode(one["client"]) == "leader"]
        assert len(leaders) == 1
        leader = leaders[0]
        os.kill(state[leader]["process_id"], signal.SIGKILL)
        client.retry(client.set, "/kept", b"2")
        cluster.until(f"replica {leader} died: killed by signal 9")
        cluster.until(f"cluster start {leader}")
        assert state_of(folder)[leader]["process_id"] == 0
        assert state_of(folder)[leader]["reason"] == "killed by signal 9"
        started = once("cluster", "start", str(leader), "--data", "data", folder=tmp_path)
        assert started.returncode == 0 and f"replica {leader} serves clients" in started.stdout
        assert state_of(folder)[leader]["reason"] == ""
        assert "already running" in once("cluster", "start", str(leader), "--data", "data", folder=tmp_path).stdout
        assert client.get("/kept")[0] == b"2"

    other = leader % 3 + 1
    stopped = once("cluster", "stop", str(other), "--data", "data", folder=tmp_path)
    assert stopped.returncode == 0 and "2 of 3 are up" in stopped.stdout
    with Client(folder, leader) as client:
        client.set("/kept", b"3")
    assert once("cluster", "stop", "9", "--data", "data", folder=tmp_path).returncode == 1

    assert cluster.end(signal.SIGINT) == 130
    gone([one["process_id"] for one in state.values()])
    assert any("the data stays in" in line for line in cluster.lines)

    again = commands("cluster", "--data", "data")
    again.until("ready: connect to")
    assert {n: one["client"] for n, one in state_of(folder).items()} == {n: one["client"] for n, one in state.items()}
    for number in state:
        with Client(folder, number) as client:
            client.sync("/kept")
            assert client.get("/kept")[0] == b"3"
    assert again.end(signal.SIGTERM) == 0


def test_all_replicas_restarted_in_turn_under_a_client(commands: Any, tmp_path: Path) -> None:
    """Each of the three gets a new process while a client writes on; its session lives, and no write is lost."""
    folder = tmp_path / "data"
    cluster = commands("cluster", "--data", "data", *FREE)
    cluster.until("ready: connect to")
    before = state_of(folder)
    with Client(folder) as client:
        session = client.client_id[0]
        client.create("/counted", b"0")
        is_over = threading.Event()
        written = 0

        def write() -> None:
            nonlocal written
            while not is_over.is_set():
                client.retry(client.set, "/counted", b"%d" % (written + 1))
                written += 1

        writer = threading.Thread(target=write)
        writer.start()
        restarted = once("cluster", "restart", "--data", "data", folder=tmp_path)
        is_over.set()
        writer.join()
        assert restarted.returncode == 0, restarted.stdout + restarted.stderr
        assert [f"replica {number} was restarted" in restarted.stdout for number in before] == [True] * 3
        assert client.client_id[0] == session
        assert written > 0 and client.get("/counted")[0] == b"%d" % written
    after = state_of(folder)
    assert all(after[number]["process_id"] != before[number]["process_id"] for number in before)
    assert all(one["state"] == "serving" for one in after.values())

    only = once("cluster", "restart", "2", "--data", "data", folder=tmp_path)
    assert only.returncode == 0 and "replica 2 was restarted" in only.stdout and "replica 1" not in only.stdout
    assert once("cluster", "stop", "3", "--data", "data", folder=tmp_path).returncode == 0
    refused = once("cluster", "restart", "--data", "data", folder=tmp_path)
    assert refused.returncode == 1 and "without it 1 of 3 run, and 2 are needed" in refused.stderr
    assert state_of(folder)[1]["process_id"] == after[1]["process_id"], "nothing was touched"
    assert once("cluster", "restart", "7", "--data", "data", folder=tmp_path).returncode == 1


def test_no_replica_outlives_its_cluster_command(commands: Any, tmp_path: Path) -> None:
    cluster = commands("cluster", "--data", "data", "--replicas", "1", *FREE)
    cluster.until("ready: connect to")
    process_ids = [one["process_id"] for one in state_of(tmp_path / "data").values()]
    cluster.process.kill()
    gone(process_ids)
    cluster.ended()
    # The folder is free again at once, though nobody cleaned up.
    commands("cluster", "--data", "data").until("ready: connect to")


def test_a_replica_that_dies_is_started_again_if_asked(commands: Any, tmp_path: Path) -> None:
    cluster = commands("cluster", "--data", "data", "--restart", *FREE)
    cluster.until("ready: connect to")
    first = state_of(tmp_path / "data")[1]["process_id"]
    os.kill(first, signal.SIGKILL)
    cluster.until("starting it again")
    deadline = time.monotonic() + PATIENCE_S
    while state_of(tmp_path / "data")[1]["process_id"] in (0, first):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_emptied_replica_is_refused(commands: Any, tmp_path: Path) -> None:
    cluster = commands("cluster", "--data", "data", *FREE)
    cluster.until("ready: connect to")
    cluster.end()
    # The list of what was made is lost as well: only the other replicas can know (rule-R40).
    shutil.rmtree(tmp_path / "data" / "replica-2")
    state = json.loads((tmp_path / "data" / "cluster.json").read_text())
    for one in state["replicas"]:
        one["made"] = False
    (tmp_path / "data" / "cluster.json").write_text(json.dumps(state))
    cluster = commands("cluster", "--data", "data")
    line = cluster.until("replica 2 died")
    assert "emptied" in line
    assert not (tmp_path / "data" / "replica-2" / "cluster").exists()


def test_a_lost_directory_is_not_made_anew(commands: Any, tmp_path: Path) -> None:
    cluster = commands("cluster", "--data", "data", "--replicas", "1", *FREE)
    cluster.until("ready: connect to")
    cluster.end()
    shutil.rmtree(tmp_path / "data" / "replica-1")
    cluster = commands("cluster", "--data", "data")
    assert cluster.ended() == 1
    said = "".join(cluster.lines)
    assert "replica 1 died" in said and "does not exist" in said and "too few replicas are up" in said
    assert "does not exist" in state_of(tmp_path / "data")[1]["reason"], "whoever asks later finds it here"


def test_what_is_refused_before_anything_starts(commands: Any, tmp_path: Path) -> None:
    cluster = commands("cluster", "--data", "data", "--replicas", "1", *FREE)
    cluster.until("ready: connect to")
    second = once("cluster", "--data", "data", folder=tmp_path)
    assert second.returncode == 1 and "already runs" in second.stderr
    port = state_of(tmp_path / "data")[1]["client"].rpartition(":")[2]
    taken = once("cluster", "--data", "other", "--client-port", port, "--peer-port", "0", folder=tmp_path)
    assert taken.returncode == 1 and f"port {port}" in taken.stderr and "is taken" in taken.stderr
    assert once("cluster", "--client-port", "70000", folder=tmp_path).returncode == 2
    assert once("cluster", "start", "1", "--data", "none", folder=tmp_path).returncode == 1


def test_a_replica_on_its_own(commands: Any, tmp_path: Path) -> None:
    serve = commands("serve", "--data", "alone", *FREE)
    address = serve.until("ready: connect to").split()[-1]
    client = KazooClient(hosts=address, timeout=10)
    client.start(PATIENCE_S)
    client.create("/alone", b"1")
    client.stop()
    client.close()
    assert serve.end(signal.SIGINT) == 130
    serve = commands("serve", "--data", "alone")
    assert serve.until("ready: connect to").split()[-1] == address
    assert serve.end(signal.SIGTERM) == 0
    shutil.rmtree(tmp_path / "alone" / "replica-1")
    lost = once("serve", "--data", "alone", folder=tmp_path)
    assert lost.returncode == 1 and "does not exist" in lost.stderr


def test_serve_from_a_file_and_check(commands: Any, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(
        'replica = 1\ndata = "d"\n[[replicas]]\nid = 1\npeer = "127.0.0.1:0"\nclient = "127.0.0.1:0"\n'
    )
    checked = once("serve", "--check", "one.toml", folder=tmp_path)
    assert checked.returncode == 0 and "can be run" in checked.stdout
    assert not (tmp_path / "d").exists()
    (tmp_path / "bad.toml").write_text((tmp_path / "one.toml").read_text() + "[timers]\nheartbeat = 5\n")
    bad = once("serve", "--check", "bad.toml", folder=tmp_path)
    assert bad.returncode == 1 and "did you mean 'heartbeat_ms'?" in bad.stderr
    assert once("serve", "bad.toml", "--data", "x", folder=tmp_path).returncode == 2
    serve = commands("serve", "one.toml")
    serve.until("ready: connect to")
    assert serve.end(signal.SIGTERM) == 0


def test_three_servers_of_a_zoo_cfg(commands: Any, tmp_path: Path) -> None:
    reserved = [socket.socket() for _ in range(6)]
    for one in reserved:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in reserved]
    lines = "".join(f"server.{number}=127.0.0.1:{ports[number - 1]}:1;{ports[number + 2]}\n" for number in (1, 2, 3))
    servers = []
    for number in (1, 2, 3):
        (tmp_path / f"zoo{number}").mkdir()
        (tmp_path / f"zoo{number}" / "myid").write_text(f"{number}\n")
        (tmp_path / f"zoo{number}.cfg").write_text(f"tickTime=2000\ninitLimit=5\ndataDir=zoo{number}\n{lines}")
        servers.append(commands("serve", f"zoo{number}.cfg"))
    addresses = [server.until("ready: connect to").split()[-1] for server in servers]
    assert [address.rpartition(":")[2] for address in addresses] == [str(ports[3]), str(ports[4]), str(ports[5])]
    client = KazooClient(hosts=",".join(addresses), timeout=10)
    client.start(PATIENCE_S)
    client.create("/zoo", b"1")
    config = client.get("/zookeeper/config")[0]
    client.stop()
    client.close()
    assert b"server.2=" in config
    assert [server.end() for server in servers] == [0, 0, 0]
    for one in reserved:
        one.close()


def test_waiting_says_for_what(commands: Any, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and never listened on: whoever dials it is refused
        peers = "".join(
            f'[[replicas]]\nid = {number}\npeer = "127.0.0.1:{port}"\n'
            for number, port in ((1, 0), (2, nobody.getsockname()[1]))
        )
        text = f'replica = 1\ndata = "d"\n[client]\nlisten = "127.0.0.1:0"\n{peers}'
        (tmp_path / "one.toml").write_text(text)
        serve = commands("serve", "one.toml")
        line = serve.until("waiting for replica 2 at 127.0.0.1:")
        assert "begins when all its replicas are there" in line
        assert serve.end() == 0


def test_the_second_interrupt_does_not_wait(commands: Any, tmp_path: Path) -> None:
    cluster = commands("cluster", "--data", "data", "--replicas", "1", *FREE)
    cluster.until("ready: connect to")
    process_id = state_of(tmp_path / "data")[1]["process_id"]
    os.kill(process_id, signal.SIGSTOP)  # it cannot stop cleanly now
    cluster.process.send_signal(signal.SIGINT)
    cluster.until("Ctrl-C again stops them at once")
    assert is_alive(process_id)
    assert cluster.end(signal.SIGINT) == 130
    gone([process_id])


def test_a_replica_process_imports_no_command_line() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, multipaxos.host.process; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    modules = set(told.stdout.split())
    assert "multipaxos.host.driver" in modules
    assert not modules & {"typer", "rich", "click", "kazoo", "multipaxos.cli", "multipaxos.client"}


def test_an_interpreter_without_assertions_is_refused(tmp_path: Path) -> None:
    for module in ("multipaxos", "multipaxos.host.process"):
        told = subprocess.run(
            [sys.executable, "-O", "-m", module, "serve"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert told.returncode == 2 and "python -O" in told.stderr
