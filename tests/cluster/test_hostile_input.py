"""Hostile input on the client port and the peer port: the replica lives, its memory stays bounded, others are served."""

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster_harness import (
    Hindered,
    ProcessCluster,
    ReplicaHandle,
    attempts,
    by_length,
    four_letters,
    in_time,
    percentile,
    say,
    wait_until,
)
from raw_client import ConnectionClosed, RawClient

from multipaxos.wire import zookeeper as zk

pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads a process's memory from /proc"),
]

ATTACK_S = by_length(3.0, 30.0)
BEFORE_S = by_length(2.0, 15.0)
IDLE_CONNECTIONS = by_length(500, 5000)
TIMED_MIN = 100
"""So many answers a percentile needs."""

GROWTH_BYTES_MAX = 64 << 20
IDLE_BYTES_MAX = 32 << 10
LOG_BYTES_MAX = 64 << 10


class Bystander:
    """A client that minds its own business: one set and one get at a time, each timed."""

    def __init__(self, replica: ReplicaHandle, path: str) -> None:
        self._client = RawClient(replica.client, timeout_ms=20_000)
        self._client.create(path, b"0")
        self._path = path
        self._is_over = threading.Event()
        self._taken: list[tuple[float, float]] = []  # when, how long
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            number = 0
            while not self._is_over.is_set():
                number += 1
                begun = time.perf_counter()
                self._client.set(self._path, b"%d" % number)
                middle = time.perf_counter()
                assert self._client.get(self._path) == b"%d" % number
                ended = time.perf_counter()
                self._taken += [(begun, middle - begun), (middle, ended - middle)]
                self._is_over.wait(0.002)
        except BaseException as error:
            self._failure = error

    def p99_ms(self, begin: float, end: float) -> float:
        """Of all that was begun in that span."""
        assert self._failure is None, repr(self._failure)
        taken = [took for at, took in self._taken if begin <= at < end]
        if len(taken) <= TIMED_MIN:
            raise Hindered(f"the bystander got only {len(taken)} answers")
        return percentile(taken, 0.99) * 1000

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._client.close()


@contextmanager
def attack(kind: str, where: tuple[str, int], seconds: float, seed: int) -> Iterator["subprocess.Popen[str]"]:
    """An attacker at work."""
    script = Path(__file__).with_name("attackers.py")
    command = [sys.executable, str(script), kind, f"{where[0]}:{where[1]}", str(seconds), str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended_well(process: "subprocess.Popen[str]", seconds: float) -> int:
    """How many attempts the attacker made."""
    output, errors = process.communicate(timeout=seconds + 120)
    assert process.returncode == 0, errors
    made = int(output.splitlines()[-1].split()[0])
    if made <= 10:
        raise Hindered("the attacker did next to nothing: nothing was shown")
    return made


def attacked(cluster: ProcessCluster, kind: str, port: str, seed: int, allowed_bytes: int = GROWTH_BYTES_MAX) -> None:
    """An attack on one port of the leader, with a bystander on that very replica.

    Nobody dies and memory is bounded, ever. How long others wait is tried up to three times: the machine is shared.
    """
    attempts(lambda attempt: attacked_once(cluster, kind, port, seed, allowed_bytes, f"{kind}-{port}-{attempt}"))


def attacked_once(cluster: ProcessCluster, kind: str, port: str, seed: int, allowed_bytes: int, mark: str) -> None:
    """One attempt; ``mark`` names its node."""
    target = cluster.wait_leader()
    pids = [one.pid for one in cluster.replicas]
    bystander = Bystander(target, f"/bystander-{mark}")
    most = 0
    try:
        begun = time.perf_counter()
        wait_until(lambda: time.perf_counter() - begun > BEFORE_S, "the quiet before", BEFORE_S + 60)
        resident = [one.resident_bytes() for one in cluster.replicas]
        logged = target.log.stat().st_size
        where = target.client if port == "client" else target.peer
        with attack(kind, where, ATTACK_S, seed) as process:
            assert process.stdout is not None
            first = process.stdout.readline() if kind.startswith("idle") else "open\n"
            attack_begin = time.perf_counter()

            def is_over() -> bool:
                nonlocal most
                grown = [one.resident_bytes() - then for one, then in zip(cluster.replicas, resident, strict=True)]
                most = max(most, *grown)
                return process.poll() is not None

            wait_until(is_over, "the attack to end", ATTACK_S + 120, poll=0.1)
            attack_end = time.perf_counter()
            assert [one.pid for one in cluster.replicas if one.is_alive] == pids
            assert most < allowed_bytes
            assert target.log.stat().st_size - logged < LOG_BYTES_MAX, "whoever reaches a port can fill the log"
            wait_until(lambda: target.is_serving, "the replica attacked to serve")
            made = ended_well(process, ATTACK_S)
            assert first == "open\n"
        before = bystander.p99_ms(begun, begun + BEFORE_S)
        during = bystander.p99_ms(attack_begin, attack_end)
    finally:
        bystander.stop()
    say(
        f"{kind} on the {port} port, {made} times: memory grew by {most / 2**20:.1f} MiB at most; "
        f"bystander's p99 {before:.2f} ms before, {during:.2f} ms during"
    )
    if cluster.wait_leader() is not target:
        raise Hindered("the leader was attacked, and replaced")
    in_time(during / 1000, by_length(5 * before + 20, 2 * before + 5) / 1000, "of a hundred answers the slowest")


@pytest.mark.parametrize("port", ["client", "peer"])
@pytest.mark.parametrize("kind", ["random_bytes", "half_frames", "giant_frames"])
def test_bytes_that_mean_nothing(cluster: ProcessCluster, kind: str, port: str) -> None:
    attacked(cluster, kind, port, seed=by_length(1, 2))


def test_a_client_that_never_reads_its_answers(cluster: ProcessCluster) -> None:
    with RawClient(cluster.wait_leader().client) as client:
        client.create("/big", bytes(500_000))
        client.close()
    attacked(cluster, "never_read", "client", seed=1)


def test_a_client_that_never_reads_its_events(cluster: ProcessCluster) -> None:
    attacked(cluster, "never_read_events", "client", seed=1)


@pytest.mark.parametrize("port", ["client", "peer"])
def test_idle_connections(own_cluster: ProcessCluster, port: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < IDLE_CONNECTIONS + 500:
        pytest.skip(f"needs {IDLE_CONNECTIONS} open files for one process; the hard limit is {hard}")
    attacked(own_cluster, f"idle_{port}", port, IDLE_CONNECTIONS, GROWTH_BYTES_MAX + IDLE_CONNECTIONS * IDLE_BYTES_MAX)
    assert own_cluster.leader() is not None


def test_requests_that_are_malformed_close_their_own_connection_and_no_other(cluster: ProcessCluster) -> None:
    leader = cluster.wait_leader()
    bystander = RawClient(leader.client)
    bystander.create("/malformed", b"")
    records = [
        (zk.OP_CREATE, b""),
        (zk.OP_CREATE, zk.encode_path("/a")),
        (zk.OP_SET_DATA, zk.encode_path("/malformed") + b"\x7f\xff\xff\xff"),
        (zk.OP_MULTI, b"\x00" * 5),
        (zk.OP_SET_WATCHES, b"\x7f" * 40),
        (9999, b""),
        (-7, b"x"),
    ]
    for opcode, record in records:
        client = RawClient(leader.client)
        client.send(client.prepare(opcode, record))
        # An error or the end of the connection, and never silence.
        assert answered_or_closed(client), (opcode, record)
        client.abandon()
        bystander.set("/malformed", b"still here")
    bystander.close()
    assert four_letters(leader.client, "ruok") == "imok"


def answered_or_closed(client: RawClient) -> bool:
    """Whether a request sent is refused in some way."""
    try:
        return client.reply().err != 0
    except ConnectionClosed:
        return True
