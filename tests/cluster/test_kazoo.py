"""An unmodified kazoo client against real replicas: operations, watches, and its recipes while a replica is killed."""

import threading
import time
import uuid

import pytest
from cluster_harness import ProcessCluster, ReplicaHandle, by_length, holds_for, say, wait_until
from kazoo.exceptions import (
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
)
from kazoo.recipe.barrier import Barrier, DoubleBarrier
from kazoo.recipe.counter import Counter
from kazoo.recipe.election import Election
from kazoo.recipe.lock import Lock, Semaphore
from kazoo.recipe.party import Party
from kazoo.recipe.queue import LockingQueue, Queue
from kazoo_clients import Client, Together, kazoo_clients

pytestmark = pytest.mark.processes

VICTIMS = by_length(["leader"], ["leader", "follower"])
"""Which replica dies while a recipe is at work. The leader's death is the harder one: it has clients of its own as well."""


def victim_of(cluster: ProcessCluster, which: str) -> ReplicaHandle:
    """The replica that will die."""
    return cluster.wait_leader() if which == "leader" else cluster.followers()[0]


def victim_first(cluster: ProcessCluster, which: str) -> list[ReplicaHandle]:
    """All replicas, the one that will die first."""
    victim = victim_of(cluster, which)
    return [victim, *cluster.others(victim)]


def fresh(name: str) -> str:
    """A path that no other test uses."""
    return f"/{name}-{uuid.uuid4().hex[:8]}"


# -- operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", [1, 2, 3])
def test_create_get_set_delete_exists_children(cluster: ProcessCluster, home: int) -> None:
    path = fresh("basic")
    with kazoo_clients(cluster, [cluster[home]]) as [zk]:
        assert zk.exists(path) is None
        assert zk.create(path, b"one") == path
        data, stat = zk.get(path)
        assert data == b"one"
        assert (stat.version, stat.data_length, stat.children_count, stat.ephemeralOwner) == (0, 3, 0, 0)
        assert stat.czxid == stat.mzxid == stat.pzxid
        assert abs(stat.created - stat.last_modified) < 0.001
        assert zk.set(path, b"two").version == 1
        assert zk.set(path, b"three", version=1).version == 2
        with pytest.raises(BadVersionError):
            zk.set(path, b"four", version=1)
        with pytest.raises(NodeExistsError):
            zk.create(path)
        with pytest.raises(NoNodeError):
            zk.create(f"{path}/no/where")
        zk.create(f"{path}/deep/er", makepath=True)
        zk.create(f"{path}/b")
        assert sorted(zk.get_children(path)) == ["b", "deep"]
        children, stat = zk.get_children(path, include_data=True)
        assert len(children) == stat.children_count == 2
        assert stat.cversion == 2
        with pytest.raises(NotEmptyError):
            zk.delete(path)
        with pytest.raises(BadVersionError):
            zk.delete(f"{path}/b", version=7)
        zk.delete(path, recursive=True)
        assert zk.exists(path) is None
        with pytest.raises(NoNodeError):
            zk.get(path)
        created, stat = zk.create(path, b"x" * 100_000, include_data=True)
        assert (created, stat.data_length) == (path, 100_000)


def test_ephemeral_and_sequence_nodes(cluster: ProcessCluster) -> None:
    path = fresh("modes")
    with kazoo_clients(cluster) as clients:
        clients[0].create(path)
        for number, zk in enumerate(clients):
            zk.create(f"{path}/e{number}", ephemeral=True)
        names = [zk.create(f"{path}/s-", sequence=True) for zk in clients * 3]
        assert names == sorted(names)
        assert len(set(names)) == 9
        both = clients[1].create(f"{path}/both-", b"", ephemeral=True, sequence=True)
        assert clients[2].retry(lambda: clients[2].sync(path)) is not None
        stat = clients[2].exists(both)
        assert stat is not None and stat.ephemeralOwner == clients[1].client_id[0]
        clients[1].stop()
        waited = time.monotonic()
        wait_until(lambda: clients[0].exists(both) is None, "the ephemerals of a closed session to go")
        assert time.monotonic() - waited < 15, "they went when the session timed out, and not when it was closed"
        left = {name for name in clients[0].get_children(path) if name.startswith("e")}
        assert left == {"e0", "e2"}


def test_transactions(cluster: ProcessCluster) -> None:
    path = fresh("transaction")
    with kazoo_clients(cluster) as clients:
        for number, zk in enumerate(clients):
            base = f"{path}-{number}"
            transaction = zk.transaction()
            transaction.create(base, b"1")
            transaction.create(f"{base}/s-", b"2", sequence=True)
            transaction.set_data(base, b"3")
            transaction.check(base, version=1)
            transaction.create(f"{base}/gone")
            transaction.delete(f"{base}/gone")
            results = transaction.commit()
            assert results[0] == base
            assert results[1] == f"{base}/s-0000000000"
            assert results[2].version == 1
            assert zk.get(base)[0] == b"3"

            failing = zk.transaction()
            failing.create(f"{base}/never")
            failing.check(base, version=99)
            failing.set_data(base, b"never")
            results = failing.commit()
            assert isinstance(results[0], RolledBackError)
            assert isinstance(results[1], BadVersionError)
            assert zk.get(base)[0] == b"3"
            assert zk.exists(f"{base}/never") is None


# -- watches ------------------------------------------------------------------------------------------------------------


def watch(zk: Client, path: str) -> tuple[list[int], list[int]]:
    """Lists to which the values of ``path``, and the numbers of its children, are added as kazoo tells them."""
    values: list[int] = []
    counts: list[int] = []
    zk.DataWatch(path, lambda data, stat: values.append(int(data)))
    zk.ChildrenWatch(path, lambda names: counts.append(len(names)))
    return values, counts


@pytest.mark.parametrize("which", VICTIMS)
def test_data_and_children_watches_survive_the_death_of_a_replica(cluster: ProcessCluster, which: str) -> None:
    path = fresh("watched")
    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        victim = clients[0].home
        clients[1].create(path, b"0")
        for zk in clients:
            zk.sync(path)
        seen: list[list[int]] = []
        children: list[list[int]] = []
        for zk in clients:
            values, counts = watch(zk, path)
            seen.append(values)
            children.append(counts)
        writer = clients[1]
        for value in range(1, 41):
            if value == 20:
                victim.kill()
            writer.retry(writer.set, path, b"%d" % value)
            writer.retry(writer.ensure_path, f"{path}/child-{value}")
        for mine in seen:
            wait_until(lambda mine=mine: mine[-1] == 40, f"the last value; seen: {mine}")
            assert mine == sorted(mine) and mine[0] == 0
        for mine in children:
            wait_until(lambda mine=mine: mine[-1] == 40, f"the last child; seen: {mine}")
            assert mine == sorted(mine)
        assert clients[0].suspended >= 1
        assert not any(zk.lost for zk in clients)


# -- recipes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", VICTIMS)
def test_lock(cluster: ProcessCluster, which: str) -> None:
    path = fresh("lock")
    turns = by_length(15, 100)
    inside: list[str] = []
    held: list[str] = []

    def contend(zk: Client, name: str) -> None:
        lock = Lock(zk, path, name)
        for _ in range(turns):
            with lock:
                inside.append(name)
                assert inside == [name], f"two hold the lock: {inside}"
                held.append(name)
                zk.retry(zk.exists, path)
                inside.remove(name)

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        together = Together()
        for number, zk in enumerate(clients):
            together.run(contend, zk, f"contender-{number}")
        wait_until(lambda: together.check() and len(held) >= turns, "the lock to go round")
        clients[0].home.kill()
        together.wait()
        assert len(held) == 3 * turns
        assert not any(zk.lost for zk in clients)
        assert clients[0].suspended >= 1


@pytest.mark.parametrize("which", VICTIMS)
def test_election(cluster: ProcessCluster, which: str) -> None:
    path = fresh("election")
    leading: list[int] = []
    led: list[int] = []
    resign = [threading.Event() for _ in range(3)]

    def lead(number: int) -> None:
        leading.append(number)
        led.append(number)
        assert len(leading) == 1, f"two lead: {leading}"
        assert resign[number].wait(240)
        leading.remove(number)

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        together = Together()
        # The first to stand is at home on the replica that will die, and leads when it does.
        together.run(Election(clients[0], path, "0").run, lead, 0)
        wait_until(lambda: together.check() and leading == [0], "the first to be elected")
        elections = [Election(clients[number], path, str(number)) for number in (1, 2)]
        for number, election in zip((1, 2), elections, strict=True):
            together.run(election.run, lead, number)
        wait_until(lambda: len(elections[0].contenders()) == 3, "all to stand")
        clients[0].home.kill()
        wait_until(lambda: clients[0].suspended >= 1 and clients[0].connected, "the elected to reconnect")
        holds_for(lambda: together.check() and leading == [0], "its session lives, so it leads on", 1.0)
        for _ in range(3):
            before = len(led)
            resign[leading[0]].set()
            wait_until(lambda before=before: together.check() and (len(led) > before or len(led) == 3), "the next")
        together.wait()
        assert sorted(led) == [0, 1, 2]


@pytest.mark.parametrize("which", VICTIMS)
def test_counter(cluster: ProcessCluster, which: str) -> None:
    path = fresh("counter")
    turns = by_length(30, 300)
    done = [0, 0, 0]

    def count(zk: Client, number: int) -> None:
        counter = Counter(zk, path)
        for _ in range(turns):
            counter += 1
            done[number] += 1

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        together = Together()
        for number, zk in enumerate(clients):
            together.run(count, zk, number)
        wait_until(lambda: together.check() and sum(done) >= turns, "the counter to count")
        clients[0].home.kill()
        together.wait()
        clients[1].sync(path)
        value = Counter(clients[1], path).value
        # kazoo tries again when its connection breaks, and cannot know whether the change it sent was made.
        doubts = sum(zk.suspended for zk in clients)
        assert 3 * turns <= value <= 3 * turns + doubts
        say(f"counter: {value} after {3 * turns} increments, {doubts} connections lost")


@pytest.mark.parametrize("which", VICTIMS)
def test_queue(cluster: ProcessCluster, which: str) -> None:
    path = fresh("queue")
    items = by_length(30, 300)
    put: set[bytes] = set()
    maybe: set[bytes] = set()
    got: list[bytes] = []
    producers_done = threading.Event()

    def produce(zk: Client, number: int) -> None:
        queue = Queue(zk, path)
        for item in range(items):
            value = b"%d-%d" % (number, item)
            try:
                queue.put(value)
                put.add(value)
            except ConnectionLoss:
                maybe.add(value)
                zk.retry(zk.exists, path)  # kazoo does not wait for its connection by itself

    def consume(zk: Client) -> None:
        queue = Queue(zk, path)
        while True:
            is_last = producers_done.is_set()
            value = queue.get()
            if value is not None:
                got.append(value)
            elif is_last:
                return

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        producers, consumers = Together(), Together()
        for number, zk in enumerate(clients):
            producers.run(produce, zk, number)
            consumers.run(consume, zk)
        wait_until(lambda: producers.check() and consumers.check() and len(put) >= items, "the queue to fill")
        clients[0].home.kill()
        producers.wait()
        producers_done.set()
        consumers.wait()
        assert len(got) == len(set(got)), "an item was taken twice"
        assert set(got) <= put | maybe
        # A consumer whose connection breaks while it takes an item cannot know that it took it: kazoo says so.
        assert len(put - set(got)) <= sum(zk.suspended for zk in clients)


@pytest.mark.parametrize("which", VICTIMS)
def test_locking_queue(cluster: ProcessCluster, which: str) -> None:
    path = fresh("locking-queue")
    items = by_length(15, 150)
    put: set[bytes] = set()
    maybe: set[bytes] = set()
    consumed: list[bytes] = []
    producers_done = threading.Event()

    def produce(zk: Client, number: int) -> None:
        queue = LockingQueue(zk, path)
        for item in range(items):
            value = b"%d-%d" % (number, item)
            try:
                queue.put(value)
                put.add(value)
            except ConnectionLoss:
                maybe.add(value)
                zk.retry(zk.exists, path)

    def consume(zk: Client) -> None:
        queue = LockingQueue(zk, path)
        while True:
            is_last = producers_done.is_set()
            try:
                value = queue.get(timeout=0.5)
            except ConnectionLoss:
                zk.retry(zk.exists, path)
                continue
            if value is None:
                if is_last:
                    return
                continue
            while True:
                try:
                    assert queue.consume()
                except ConnectionLoss:
                    zk.retry(zk.exists, path)
                    continue
                except NoNodeError:
                    pass  # the transaction whose outcome was not known had been done
                consumed.append(value)
                queue.processing_element = None
                break

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        producers, consumers = Together(), Together()
        for number, zk in enumerate(clients):
            producers.run(produce, zk, number)
            consumers.run(consume, zk)
        wait_until(lambda: producers.check() and consumers.check() and len(consumed) >= items, "items to be consumed")
        clients[0].home.kill()
        producers.wait()
        producers_done.set()
        consumers.wait()
        assert clients[0].suspended >= 1
    # The session of a consumer may have locked an item and not known it. It has ended now, and with it the lock.
    survivor = cluster.wait_leader()
    with kazoo_clients(cluster, [survivor]) as [zk]:
        consume(zk)
    assert len(consumed) == len(set(consumed)), "an item was consumed twice"
    assert put <= set(consumed) <= put | maybe


@pytest.mark.parametrize("which", VICTIMS)
def test_barrier(cluster: ProcessCluster, which: str) -> None:
    path = fresh("barrier")
    through: list[int] = []

    def wait(zk: Client, number: int) -> None:
        barrier = Barrier(zk, path)
        # kazoo's wait does not outlive its connection, and says so: hence the time limit and the retry.
        while not zk.retry(barrier.wait, 0.5):
            pass
        through.append(number)

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        barrier = Barrier(clients[1], path)
        barrier.create()
        for zk in clients:
            zk.sync(path)
        together = Together()
        together.run(wait, clients[0], 0)
        together.run(wait, clients[2], 2)
        clients[0].home.kill()
        wait_until(lambda: clients[0].suspended >= 1 and clients[0].connected, "the first to reconnect")
        holds_for(lambda: together.check() and not through, "the barrier stands", 1.0)
        assert barrier.remove()
        together.wait()
        assert sorted(through) == [0, 2]


@pytest.mark.parametrize("which", VICTIMS)
def test_double_barrier(cluster: ProcessCluster, which: str) -> None:
    path = fresh("double-barrier")
    inside: list[int] = []
    outside: list[int] = []

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        barriers = [DoubleBarrier(zk, path, 3, str(number)) for number, zk in enumerate(clients)]

        def enter(number: int) -> None:
            barriers[number].enter()
            assert barriers[number].participating
            inside.append(number)

        def leave(number: int) -> None:
            barriers[number].leave()
            outside.append(number)

        together = Together()
        together.run(enter, 1)
        together.run(enter, 2)
        wait_until(lambda: clients[1].exists(path) and len(clients[1].get_children(path)) == 2, "two to stand there")
        clients[0].home.kill()
        wait_until(lambda: clients[0].suspended >= 1 and clients[0].connected, "the third to reconnect")
        assert together.check() and not inside
        together.run(enter, 0)
        together.wait()
        assert sorted(inside) == [0, 1, 2]
        together.run(leave, 0)
        together.run(leave, 1)
        holds_for(lambda: together.check() and not outside, "nobody leaves alone", 0.5)
        together.run(leave, 2)
        together.wait()
        assert sorted(outside) == [0, 1, 2]


@pytest.mark.parametrize("which", VICTIMS)
def test_party(cluster: ProcessCluster, which: str) -> None:
    path = fresh("party")
    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        parties = [Party(zk, path, f"member-{number}") for number, zk in enumerate(clients)]
        for party in parties:
            party.join()
        clients[1].sync(path)
        assert sorted(parties[1]) == ["member-0", "member-1", "member-2"]
        clients[0].home.kill()
        holds_for(lambda: len(parties[1]) == 3, "a member whose replica died is a member still", 2.0)
        wait_until(lambda: clients[0].connected, "the first to reconnect")
        assert sorted(parties[0]) == ["member-0", "member-1", "member-2"]
        parties[0].leave()
        clients[2].sync(path)
        assert sorted(parties[2]) == ["member-1", "member-2"]
        assert not any(zk.lost for zk in clients)


@pytest.mark.parametrize("which", VICTIMS)
def test_semaphore(cluster: ProcessCluster, which: str) -> None:
    path = fresh("semaphore")
    turns = by_length(10, 60)
    inside: list[int] = []
    most = [0]
    done: list[int] = []

    def contend(zk: Client, number: int) -> None:
        semaphore = Semaphore(zk, path, str(number), max_leases=2)
        for _ in range(turns):
            with semaphore:
                inside.append(number)
                most[0] = max(most[0], len(inside))
                wait_until(lambda: most[0] >= 2, "a second one inside")  # or it could as well be a lock
                zk.retry(zk.exists, path)
                inside.remove(number)
                done.append(number)

    with kazoo_clients(cluster, victim_first(cluster, which)) as clients:
        # kazoo writes the number of leases after it made the node: one client does that before the others come.
        Semaphore(clients[1], path, "first", max_leases=2).acquire()
        for name in clients[1].get_children(path):
            clients[1].delete(f"{path}/{name}")
        for zk in clients:
            zk.sync(path)
        together = Together()
        for number, zk in enumerate(clients):
            together.run(contend, zk, number)
        wait_until(lambda: together.check() and len(done) >= turns, "the semaphore to go round")
        clients[0].home.kill()
        together.wait()
        assert len(done) == 3 * turns
        assert most[0] == 2
        say(f"semaphore of 2 leases: at most {most[0]} inside")


def test_a_client_that_is_stopped_while_its_replica_is_dead_ends_in_time(cluster: ProcessCluster) -> None:
    with kazoo_clients(cluster, victim_first(cluster, "leader")) as clients:
        clients[0].home.kill()
        clients[0].stop()
        with pytest.raises(ConnectionClosedError):
            clients[0].exists("/")
