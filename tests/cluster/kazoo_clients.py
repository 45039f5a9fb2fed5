"""Unmodified kazoo clients, each at home on a replica of its own and free to go to the others when that one dies."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cluster_harness import ProcessCluster, ReplicaHandle
from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState
from kazoo.retry import KazooRetry

WORK_S = 120.0
START_S = 60.0


class Client(KazooClient):
    """A KazooClient that counts how often it lost its connection, and its session. Nothing else is changed."""

    def __init__(self, cluster: ProcessCluster, home: ReplicaHandle, timeout: float = 20.0) -> None:
        super().__init__(
            hosts=cluster.hosts(home),
            timeout=timeout,
            randomize_hosts=False,
            connection_retry=KazooRetry(max_tries=-1, delay=0.02, backoff=1.5, max_delay=0.3),
            command_retry=KazooRetry(max_tries=-1, delay=0.02, backoff=1.5, max_delay=0.3),
        )
        self.home = home
        self.suspended = 0
        self.lost = 0
        self.add_listener(self._count)

    def _count(self, state: str) -> None:
        if state == KazooState.SUSPENDED:
            self.suspended += 1
        elif state == KazooState.LOST:
            self.lost += 1


@contextmanager
def kazoo_clients(cluster: ProcessCluster, homes: list[ReplicaHandle] | None = None) -> Iterator[list[Client]]:
    """Connected clients, by default one at each replica in the order of their ids."""
    clients = [Client(cluster, home) for home in homes or cluster.replicas]
    with ExitStack() as stack:
        for client in clients:
            stack.callback(client.close)
            stack.callback(client.stop)
            client.start(timeout=START_S)
        yield clients


class Together:
    """Threads whose failures are the test's failures."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    def run(self, work: Callable[..., object], *arguments: object) -> None:
        """Begin one."""

        def body() -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self._failures.append(error)

        thread = threading.Thread(target=body, daemon=True)
        self._threads.append(thread)
        thread.start()

    def check(self) -> bool:
        """True; raises the first failure."""
        if self._failures:
            raise self._failures[0]
        return True

    def wait(self, seconds: float = WORK_S) -> None:
        """Until all are done."""
        for thread in self._threads:
            thread.join(seconds)
            self.check()
            assert not thread.is_alive(), f"not done within {seconds:g} s"
        self.check()
