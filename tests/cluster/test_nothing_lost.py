"""Nothing acknowledged is lost: writers at work while leaders are killed, all replicas are killed, the power fails.

Eight kazoo writers, one command at a time each, and a pipelined one with 64 in flight. Every payload is unique. At the
end each acknowledged write is there once, in the order its writer sent it, on every replica; a write whose outcome was
unknown is there once or not at all, and never later than what its writer did afterwards (rule-R9). Of the sessions that
died the ephemerals are gone; no session that lived was lost.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass

import pytest
from cluster_harness import START_PATIENCE_S, ProcessCluster, by_length, median, say, wait_until
from kazoo.exceptions import ConnectionLoss, NodeExistsError, OperationTimeoutError
from kazoo_clients import START_S, Client, Together
from raw_client import ConnectionClosed, RawClient

from multipaxos.wire import zookeeper as zk

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROUNDS = by_length(4, 20)
WRITES_A_ROUND = by_length(600, 1500)
OF_THEM_BY_KAZOO = by_length(100, 250)
WRITES_AT_LEAST = by_length(1500, 10_000)
KAZOO_WRITERS = 8
IN_FLIGHT = 64
SYNC_MS = 10
AGAIN_S = 3.0
"""A kill to the next acknowledged write, at most: the issue asks for a median of 0.5 s, and a test shares its machine."""

LATE_MAX = 2
"""So many rounds may miss that and are done again: something else may have had the processors. Of ROUNDS none does."""


@dataclass(slots=True)
class Write:
    """One command of a writer."""

    number: int
    payload: bytes
    sent: float
    answered: float = 0.0
    path: str = ""  # as acknowledged
    is_doubtful: bool = False  # its connection broke before the answer
    is_done: bool = False  # acknowledged, or found done when tried again
    connection: int = 0  # which one of a writer that counts them; 0 of a kazoo writer


class Record:
    """What all writers sent, and what came of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, list[Write]] = {}
        self._acknowledged = 0
        self.by_kazoo = 0
        self._first_after: tuple[float, float] = (0.0, 0.0)
        self.is_over = threading.Event()

    def begin(self, parent: str, number: int, connection: int = 0) -> Write:
        write = Write(number, f"{parent}:{number}".encode(), time.monotonic(), connection=connection)
        with self._lock:
            self._of.setdefault(parent, []).append(write)
        return write

    def acknowledge(self, write: Write, path: str) -> None:
        write.answered, write.path, write.is_done, write.is_doubtful = time.monotonic(), path, True, False
        with self._lock:
            self._acknowledged += 1
            self.by_kazoo += write.connection == 0
            since, found = self._first_after
            if write.sent >= since > 0 and not found:
                self._first_after = (since, write.answered)

    @property
    def acknowledged(self) -> int:
        with self._lock:
            return self._acknowledged

    def look_from(self, moment: float) -> None:
        """From now on watch for the first acknowledged write that was sent after ``moment``."""
        with self._lock:
            answers = [w.answered for writes in self._of.values() for w in writes if w.path and w.sent >= moment]
            self._first_after = (moment, min(answers, default=0.0))

    def first(self) -> float:
        """When it was acknowledged; 0.0 while it is not."""
        with self._lock:
            return self._first_after[1]

    def parents(self) -> dict[str, list[Write]]:
        with self._lock:
            return {parent: list(writes) for parent, writes in self._of.items()}


def write_one_by_one(client: Client, record: Record, parent: str) -> None:
    """A kazoo writer: every other create is sequential, the others have names and are tried until they are done."""
    number = 0
    while not record.is_over.is_set():
        number += 1
        write = record.begin(parent, number)
        try:
            if number % 2:
                record.acknowledge(write, client.create(f"{parent}/s-", write.payload, sequence=True))
                continue
        except (ConnectionLoss, OperationTimeoutError):
            write.is_doubtful = True
            continue
        while not record.is_over.is_set():
            try:
                record.acknowledge(write, client.create(f"{parent}/n-{number}", write.payload))
                break
            except (ConnectionLoss, OperationTimeoutError):
                write.is_doubtful = True
            except NodeExistsError:
                assert write.is_doubtful, f"{write.payload!r} was never sent before, and exists"
                write.is_done = True  # happened once; it was not acknowledged
                break


class Pipelined:
    """A writer with 64 sequential creates in flight, whose session goes from replica to replica."""

    def __init__(self, cluster: ProcessCluster, record: Record, parent: str) -> None:
        self._cluster = cluster
        self._record = record
        self._parent = parent
        self._at = 0
        self.client = RawClient(cluster.replicas[0].client, timeout_ms=20_000)
        self.session = self.client.session
        self.connections = 1
        self.interval_s = 0.0  # between two fillings of what is in flight

    def write(self) -> None:
        number = 0
        flight: deque[tuple[int, Write]] = deque()
        while True:
            try:
                wanted = 0 if self._record.is_over.is_set() else IN_FLIGHT - len(flight)
                requests = []
                for _ in range(wanted):
                    number += 1
                    write = self._record.begin(self._parent, number, self.connections)
                    record = zk.encode_create(f"{self._parent}/s-", write.payload, flags=zk.FLAG_SEQUENTIAL)
                    requests.append(self.client.prepare(zk.OP_CREATE, record))
                    flight.append((self.client.xid, write))
                if requests:
                    self.client.send(b"".join(requests))
                if self.interval_s:
                    self._record.is_over.wait(self.interval_s)
                if not flight:
                    return
                reply = self.client.reply(60.0)
                xid, write = flight.popleft()
                assert reply.xid == xid, f"reply {reply.xid} where {xid} was due"
                assert reply.err == 0, reply
                self._record.acknowledge(write, zk.decode_path(reply.body))
            except ConnectionClosed:
                for _, write in flight:
                    write.is_doubtful = True
                flight.clear()
                self.client = wait_until(self._moved, "a replica for the pipelined writer", START_PATIENCE_S)
                self.connections += 1

    def _moved(self) -> RawClient | None:
        self._at += 1
        old = self.client
        try:
            new = old.moved(self._cluster.replicas[self._at % 3].client, seconds=2.0)
        except (ConnectionClosed, TimeoutError):
            return None
        old.abandon()
        assert new.session == self.session
        return new


def read_all(address: tuple[str, int], parent: str) -> list[tuple[str, bytes, int]]:
    """Name, data and czxid of every child, oldest first."""
    with RawClient(address) as client:
        client.sync(parent)
        names = zk.decode_children(client.ask(zk.OP_GET_CHILDREN, zk.encode_watched_path(parent)).body)
        found = []
        for begin in range(0, len(names), 200):
            some = names[begin : begin + 200]
            client.send(
                b"".join(client.prepare(zk.OP_GET_DATA, zk.encode_watched_path(f"{parent}/{name}")) for name in some)
            )
            for name in some:
                reply = client.reply()
                assert reply.err == 0
                data, stat = zk.decode_data_stat(reply.body)
                found.append((name, data or b"", stat.czxid))
        client.close()
    return sorted(found, key=lambda one: one[2])


def check_writer(parent: str, writes: list[Write], found: list[tuple[str, bytes, int]]) -> None:
    """Each acknowledged write once, where it was said to be; in order; and nothing else but what was in doubt."""
    by_payload = {write.payload: write for write in writes}
    names: dict[bytes, str] = {}
    for name, data, _ in found:
        assert data in by_payload, f"{parent}/{name} holds {data!r}, which nobody wrote"
        assert data not in names, f"{data!r} is there twice: {names[data]} and {name}"
        names[data] = name
    lost = [write for write in writes if write.is_done and write.payload not in names]
    assert not lost, f"{len(lost)} acknowledged writes of {parent} are lost, the first: {lost[0]}"
    for write in writes:
        if write.path:
            assert f"{parent}/{names[write.payload]}" == write.path
        elif write.payload in names:
            assert write.is_doubtful or not write.answered
    order = [by_payload[data].number for _, data, _ in found]
    assert order == sorted(order), f"{parent}: out of the order in which they were sent"
    sequence = [name for name, _, _ in found if name.startswith("s-")]
    assert sequence == sorted(sequence)
    assert len(set(sequence)) == len(sequence)
    # What was in flight when a connection broke was done up to some point, and not beyond it.
    for connection in {write.connection for write in writes if write.connection}:
        done = [write.payload in names for write in writes if write.connection == connection]
        assert done == sorted(done, reverse=True), f"{parent}: a gap in what connection {connection} got done"


@pytest.mark.parametrize("is_power_lost", [False, True], ids=["killed", "power lost"])
def test_nothing_acknowledged_is_lost(is_power_lost: bool, request: pytest.FixtureRequest) -> None:
    cluster: ProcessCluster = request.getfixturevalue("shimmed_cluster" if is_power_lost else "own_cluster")
    shims = [one.shim for one in cluster.replicas if one.shim is not None]
    for shim in shims:
        # A slow disk: with a quick one there is seldom anything to lose.
        shim.delay(SYNC_MS)
    record = Record()
    clients = [Client(cluster, cluster.replicas[number % 3], timeout=20.0) for number in range(KAZOO_WRITERS)]
    together = Together()
    dead: list[int] = []
    again: list[float] = []
    try:
        for client in clients:
            client.start(timeout=START_S)
        clients[0].create("/alive")
        clients[0].create("/dead")
        pipelined = Pipelined(cluster, record, "/writer-pipelined")
        pipelined.client.create("/writer-pipelined")
        pipelined.client.create("/alive/pipelined", b"", zk.FLAG_EPHEMERAL)
        sessions = [client.client_id[0] for client in clients]
        for number, client in enumerate(clients):
            client.sync("/alive")
            client.create(f"/writer-{number}")
            client.create(f"/alive/{number}", ephemeral=True)
        for number, client in enumerate(clients):
            together.run(write_one_by_one, client, record, f"/writer-{number}")
        together.run(pipelined.write)

        def more() -> None:
            all_of, kazoo = record.acknowledged + WRITES_A_ROUND, record.by_kazoo + OF_THEM_BY_KAZOO
            wait_until(
                lambda: together.check() and record.acknowledged >= all_of and record.by_kazoo >= kazoo,
                "more writes",
                180,
            )

        while sum(took < AGAIN_S for took in again) < ROUNDS:
            assert len(again) < ROUNDS + LATE_MAX, f"seconds from a kill to the next acknowledged write: {again}"
            round_number = len(again)
            more()
            leader = cluster.wait_leader()
            with RawClient(cluster.replicas[round_number % 3].client, timeout_ms=4000) as dying:
                dying.create(f"/dead/{round_number}", b"", zk.FLAG_EPHEMERAL)
                dead.append(dying.session)
            killed = leader.lose_power() if is_power_lost else leader.kill()
            record.look_from(killed)
            first = wait_until(lambda: together.check() and record.first(), "the next write", poll=0.005)
            again.append(first - killed)
            # Until there is compaction a start replays all that was ever written: not to be outrun by it.
            pipelined.interval_s = 0.02
            leader.start()
            cluster.wait_serving([leader])
            pipelined.interval_s = 0.0
        more()
        cluster.kill_all()
        for shim in shims:
            shim.drop_unsynced()
        cluster.start()
        more()
        record.is_over.set()
        together.wait()
        assert len(dead) == len(again)
        check_all(cluster, record, clients, sessions, pipelined)
    finally:
        record.is_over.set()
        for client in clients:
            client.stop()
            client.close()
    if is_power_lost:
        counts = [shim.counters.done for shim in shims]
        say(f"syncs counted from outside: {counts} for {record.acknowledged} acknowledged writes")
    say(
        f"{len(again)} leaders {'without power' if is_power_lost else 'killed'}: next acknowledged write after "
        f"{median(again):.2f} s in the median, {max(again):.2f} s at most; {record.acknowledged} acknowledged writes, "
        f"{record.by_kazoo} of them by kazoo"
    )
    assert record.acknowledged >= WRITES_AT_LEAST


def check_all(
    cluster: ProcessCluster,
    record: Record,
    clients: list[Client],
    sessions: list[int],
    pipelined: Pipelined,
) -> None:
    """The whole of it, on each replica."""
    doubtful = 0
    for parent, writes in record.parents().items():
        seen = [read_all(one.client, parent) for one in cluster.replicas]
        for found in seen:
            check_writer(parent, writes, found)
        assert seen[0] == seen[1] == seen[2], f"{parent} differs between replicas"
        doubtful += sum(write.is_doubtful for write in writes)
    say(
        f"{doubtful} writes had an unknown outcome; {sum(client.suspended for client in clients)} kazoo connections broke"
    )
    assert not any(client.lost for client in clients), "a session that lived was lost"
    assert [client.client_id[0] for client in clients] == sessions
    watching = RawClient(cluster.wait_leader().client)
    owners = {f"{number}": session for number, session in enumerate(sessions)} | {"pipelined": pipelined.session}

    def names(path: str) -> list[str]:
        pipelined.client.ping()
        return zk.decode_children(watching.ask(zk.OP_GET_CHILDREN, zk.encode_watched_path(path)).body)

    wait_until(lambda: not names("/dead"), "the ephemerals of the dead sessions to go")
    assert sorted(names("/alive")) == sorted(owners)
    for name, session in owners.items():
        stat = zk.decode_stat(watching.ask(zk.OP_EXISTS, zk.encode_watched_path(f"/alive/{name}")).body)
        assert stat.ephemeral_owner == session
    watching.close()


def _history() -> tuple[list[Write], list[tuple[str, bytes, int]]]:
    """Ten writes on two connections, all there but the last that was in flight on the first."""
    writes = []
    found = []
    for number in range(1, 11):
        write = Write(number, f"/w:{number}".encode(), float(number), connection=1 if number < 6 else 2)
        writes.append(write)
        if number == 5:
            write.is_doubtful = True
            continue
        write.path, write.is_done, write.answered = f"/w/s-{number:010d}", True, number + 0.5
        found.append((f"s-{number:010d}", write.payload, 100 + number))
    return writes, found


def test_the_check_refuses_what_it_must() -> None:
    """A checker that accepts everything shows nothing."""
    writes, found = _history()
    check_writer("/w", writes, found)

    def refuses(spoiled: list[tuple[str, bytes, int]], why: str) -> None:
        with pytest.raises(AssertionError, match=why):
            check_writer("/w", writes, spoiled)

    refuses(found[1:], "lost")
    refuses(found[:-1], "lost")
    refuses([*found, ("s-0000000099", found[0][1], 999)], "twice")
    refuses([*found, ("s-0000000099", b"stranger", 999)], "nobody wrote")
    first, second, *rest = found
    refuses([(first[0], second[1], first[2]), (second[0], first[1], second[2]), *rest], "s-0000000002")
    refuses([*rest, first, second], "out of the order")
    late = ("s-0000000011", writes[4].payload, 111)  # in doubt, and done after what its writer did later
    refuses([*found, late], "out of the order")
    writes[2].is_doubtful, writes[2].is_done, writes[2].path, writes[2].answered = True, False, "", 0.0
    in_time = ("s-0000000005", writes[4].payload, 105)
    without_third = [one for one in found if one[1] != writes[2].payload]
    refuses([*without_third[:3], in_time, *without_third[3:]], "a gap")
