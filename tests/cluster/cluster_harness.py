"""A cluster of real replica processes under a test: started like ``multipaxos cluster`` starts them, killed by process id.

``ProcessCluster`` makes the folder, reserves free ports and writes each replica's settings through the same
``ClusterFolder`` the command uses, and starts each replica with the command's own line (``python -m
multipaxos.host.process --child``). Unlike the command it restarts nobody and can kill, stop, continue and start each
replica, with the shim of ``multipaxos.torture.shim`` in front of its disk where asked. Whatever happens to a test, ``close``
leaves no process behind; should it not be called, the replicas end with their standard input.

Waiting is always for a condition and always has a deadline (``wait_until``): nothing here sleeps and hopes.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from multipaxos.host.folder import ClusterFolder, Place
from multipaxos.torture.shim import DiskShim

T = TypeVar("T")

IS_LONG: Final = os.environ.get("MULTIPAXOS_LONG", "") not in ("", "0")
"""Whether the full length of the issue is run, not the minutes that fit into every change."""

ELECTION_TIMEOUT_S: Final = 1.2
"""One "election timeout" at default settings (protocol.md): a test counts in them and never changes them."""

START_PATIENCE_S: Final = 120.0 if IS_LONG else 60.0
"""What must come about is waited for so long: only a test that fails waits to the end, so it may be long.
A start replays the whole journal as long as there is no compaction."""

ATTEMPTS: Final = 3

POLL_S: Final = 0.02
LOG_LINES_SHOWN: Final = 40


def by_length(short: T, long: T) -> T:
    """The value for the length that is run."""
    return long if IS_LONG else short


def say(text: str) -> None:
    """A figure for whoever reads the run; ``pytest -s`` and the report of a failed test show it."""
    print(f"  [figure] {text}", flush=True)


def wait_until(condition: Callable[[], T], what: str, seconds: float = START_PATIENCE_S, poll: float = POLL_S) -> T:
    """The first true value of ``condition``; AssertionError naming ``what`` when none came in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(poll)


def holds_for(condition: Callable[[], bool], what: str, seconds: float, poll: float = POLL_S) -> None:
    """Asserts that ``condition`` is true for so long: for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(poll)


class Hindered(AssertionError):
    """What should not have been, and what a machine that stands still for a moment brings about as well as a defect:
    something came too late, or a leader was replaced that should have stayed. See ``attempts``."""


def in_time(took: float, bound: float, what: str) -> None:
    """`Hindered` when something took longer than its bound."""
    if took > bound:
        raise Hindered(f"{what} took {took:.2f} s, and {bound:.2f} s are the bound")


def attempts(body: Callable[[int], None]) -> None:
    """Runs ``body(attempt)`` and again while it is `Hindered`, at most three times in all; every other failure is final.

    For bounds of time that the product must be able to keep, on machines that others use as well. A defect misses its
    bound each time. ``body`` makes whole what the attempt before it left, and uses paths of its own for each attempt.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return body(attempt)
        except Hindered as hindered:
            say(f"attempt {attempt}: {hindered}")
            if attempt == ATTEMPTS:
                raise


def median(values: Iterable[float]) -> float:
    """The middle one."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def percentile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def four_letters(address: tuple[str, int], word: str, seconds: float = 5.0) -> str:
    """The answer to a four-letter word; empty where nobody answers."""
    try:
        with socket.create_connection(address, seconds) as connection:
            connection.sendall(word.encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
    except OSError:
        return ""
    return b"".join(parts).decode()


class ReplicaHandle:
    """One replica: its place, and the process that runs it now."""

    def __init__(self, place: Place, folder: Path, shim: DiskShim | None) -> None:
        self.id = place.id
        self.client = _address(place.client)
        self.peer = _address(place.peer)
        self.data = folder / f"replica-{place.id}"
        self.config = folder / f"replica-{place.id}.toml"
        self.log = folder / f"replica-{place.id}.log"
        self.shim = shim
        self.process: subprocess.Popen[bytes] | None = None
        self.state = "stopped"  # what it said last: opened, waiting, serving, stopped
        self.text = ""
        self._listener: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where clients connect, as they write it."""
        return f"{self.client[0]}:{self.client[1]}"

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start its process and go on: ``is_serving`` says when it serves."""
        assert not self.is_alive, f"replica {self.id} runs already"
        self.reap()
        environment = dict(os.environ)
        if self.shim is not None:
            self.shim.mend()
            environment.update(self.shim.environment())
        existing = ["--existing"] if self.data.exists() else []
        command = [sys.executable, "-m", "multipaxos.host.process", "--child", *existing, str(self.config)]
        self.state, self.text = "starting", ""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self._listener.start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError, AttributeError):
                event = json.loads(line)
                self.state, self.text = str(event.get("state", "")), str(event.get("text", ""))

    def reap(self) -> None:
        """Wait for the end of its process and let go of its pipes."""
        process = self.process
        if process is None:
            return
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and pipe is not process.stdout:
                pipe.close()
        if self._listener is not None:
            self._listener.join()
            self._listener = None
        if process.stdout is not None:
            process.stdout.close()
        self.process = None

    def kill(self) -> float:
        """SIGKILL, and wait for its end. Returns when, on the monotonic clock, the signal was sent."""
        assert self.is_alive, f"replica {self.id} is dead already; its log: {self.tail()}"
        at = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)
        self.reap()
        return at

    def lose_power(self) -> float:
        """SIGKILL, and all that was not synced is gone."""
        assert self.shim is not None
        at = self.kill()
        self.shim.drop_unsynced()
        return at

    def stop(self) -> None:
        """SIGSTOP: it stands still, its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def end(self, patience: float) -> None:
        """End it politely, by closing its standard input; SIGKILL when that takes too long."""
        process = self.process
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGCONT)
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
        self.reap()

    @property
    def mode(self) -> str:
        """leader or follower, as it says itself; empty while it does not serve."""
        for line in four_letters(self.client, "srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ")
        return ""

    def figures(self) -> dict[str, str]:
        """What ``mntr`` says, without the prefix of its keys."""
        lines = [line.partition("\t") for line in four_letters(self.client, "mntr").splitlines()]
        return {key.removeprefix("zk_"): value for key, tab, value in lines if tab}

    @property
    def is_serving(self) -> bool:
        """Whether it takes clients, and is told so by a leader that has a quorum."""
        assert self.is_alive, f"replica {self.id} died: {self.state} {self.text}\n{self.tail()}"
        return self.mode in ("leader", "follower")

    def resident_bytes(self) -> int:
        """Memory of its process that is really there."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def tail(self, lines: int = LOG_LINES_SHOWN) -> str:
        """The end of its log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class ProcessCluster:
    """Some replicas in one folder. Use as a context manager; nothing runs before ``start``."""

    def __init__(self, folder: Path, replicas: int = 3, shim_library: Path | None = None) -> None:
        self.folder = folder.resolve()
        data = self.folder / "data"
        self._opened = ClusterFolder.open(str(data), replicas, 0, 0)
        self._shims: list[DiskShim] = []
        self.replicas: list[ReplicaHandle] = []
        for place in self._opened.places:
            shim = None
            if shim_library is not None:
                shim = DiskShim(shim_library, data / f"replica-{place.id}", self.folder / f"shim-{place.id}")
                self._shims.append(shim)
            self.replicas.append(ReplicaHandle(place, data, shim))

    def __enter__(self) -> "ProcessCluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all replicas and let go of the ports. Whatever was done to them before."""
        for shim in self._shims:
            shim.heal()
        try:
            for replica in self.replicas:
                # All at once: the first to end must not make the others wait for it.
                if replica.is_alive:
                    os.kill(replica.pid, signal.SIGCONT)
                    assert replica.process is not None and replica.process.stdin is not None
                    replica.process.stdin.close()
            for replica in self.replicas:
                replica.end(20.0)
        finally:
            self._opened.__exit__(None, None, None)
            for shim in self._shims:
                shim.close()

    # -- who is who -------------------------------------------------------------------------------------------------

    def __getitem__(self, replica: int) -> ReplicaHandle:
        return next(one for one in self.replicas if one.id == replica)

    def living(self) -> list[ReplicaHandle]:
        """Those whose process runs."""
        return [one for one in self.replicas if one.is_alive]

    def leader(self) -> ReplicaHandle | None:
        """The one replica that says it leads; None where none or several do."""
        leading = [one for one in self.living() if one.mode == "leader"]
        return leading[0] if len(leading) == 1 else None

    def wait_leader(self, seconds: float = START_PATIENCE_S) -> ReplicaHandle:
        """The leader, once there is one."""
        return wait_until(self.leader, "one leader", seconds)

    def followers(self) -> list[ReplicaHandle]:
        """The living replicas but for the leader."""
        leader = self.wait_leader()
        return [one for one in self.living() if one is not leader]

    def others(self, replica: ReplicaHandle) -> list[ReplicaHandle]:
        """The other replicas, in the order of their ids from it on."""
        at = self.replicas.index(replica)
        return self.replicas[at + 1 :] + self.replicas[:at]

    def hosts(self, first: ReplicaHandle | None = None) -> str:
        """A connection string that names ``first`` first."""
        start = first if first is not None else self.replicas[0]
        return ",".join(one.address for one in [start, *self.others(start)])

    # -- what is done to them ---------------------------------------------------------------------------------------

    def start(self) -> "ProcessCluster":
        """Start whoever does not run, and wait until all serve."""
        for one in self.replicas:
            if not one.is_alive:
                one.start()
        self.wait_serving(self.replicas)
        return self

    def heal(self) -> None:
        """All as it should be: disks well, everybody runs and serves."""
        for one in self.replicas:
            if one.shim is not None:
                one.shim.heal()
            if one.is_alive:
                one.go_on()
        self.start()

    def kill_all(self, replicas: Iterable[ReplicaHandle] | None = None) -> None:
        """SIGKILL to several at one moment: none of them sees another die."""
        dying = list(self.replicas if replicas is None else replicas)
        for one in dying:
            os.kill(one.pid, signal.SIGKILL)
        for one in dying:
            one.reap()

    def wait_serving(self, replicas: Iterable[ReplicaHandle], seconds: float = START_PATIENCE_S) -> None:
        """Wait until they serve clients."""
        for one in replicas:
            wait_until(lambda one=one: one.is_serving, f"replica {one.id} to serve", seconds)

    def logs(self) -> Iterator[tuple[str, str]]:
        """Title and text, for the report of a failed test."""
        for one in self.replicas:
            state = f"running, {one.state}" if one.is_alive else "not running"
            yield f"replica {one.id} ({state}) {one.text}", one.tail()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
