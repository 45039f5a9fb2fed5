"""The client without asyncio: the same session, driven by a thread of its own.

    with SyncClient("127.0.0.1:2181") as client:
        client.put("/greeting", b"hello")

May be used from several threads. Callbacks of watches and listeners come one after the other on another thread, so
they may call the client. Knows nothing of the protocol: every method is the one of `client.py`, where it is
described.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from multipaxos.client.addresses import Address
from multipaxos.client.client import Client, SessionState
from multipaxos.client.errors import ClientClosed
from multipaxos.client.operations import Operation
from multipaxos.client.watches import Watcher, WatchEvent
from multipaxos.wire.zookeeper import OPEN_ACL, Acl, Stat

_T = TypeVar("_T")


class SyncClient:
    """A session with the cluster, established when the constructor returns. The arguments are those of `Client`."""

    def __init__(
        self,
        connect: str | Sequence[Address] | None = None,
        *,
        session_timeout: float = 10.0,
        request_timeout: float = 10.0,
    ) -> None:
        self._client = Client(connect, session_timeout=session_timeout, request_timeout=request_timeout)
        self._loop = asyncio.new_event_loop()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._caller: threading.Thread | None = None
        self._thread = threading.Thread(target=self._turn, name="multipaxos-client", daemon=True)
        self._thread.start()
        try:
            self._run(self._client.open())
        except BaseException:
            self._stop()
            raise

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._loop.is_closed():
            work.close()
            raise ClientClosed()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # an interrupt must not leave the request behind
            future.cancel()
            raise

    def _stop(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._calls.put(None)

    def close(self) -> None:
        """End the session."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._client.close())
        finally:
            self._stop()

    def __enter__(self) -> "SyncClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Callbacks

    def _relayed(self, watcher: Watcher | None) -> Watcher | None:
        if watcher is None:
            return None
        if self._caller is None:
            self._caller = threading.Thread(target=self._call_back, name="multipaxos-client-watches", daemon=True)
            self._caller.start()
        return _Relay(self._calls, watcher)

    def _call_back(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            try:
                call()
            except Exception as error:
                # The callback is the user's; its failure must neither stop the others nor pass unseen.
                self._loop.call_exception_handler({"message": "a watch failed", "exception": error})

    # State

    @property
    def state(self) -> SessionState:
        """See `Client.state`."""
        return self._client.state

    @property
    def session_id(self) -> int:
        """See `Client.session_id`."""
        return self._client.session_id

    @property
    def session_timeout(self) -> float:
        """See `Client.session_timeout`."""
        return self._client.session_timeout

    @property
    def server(self) -> Address | None:
        """See `Client.server`."""
        return self._client.server

    # Nodes

    def create(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl_ms: int | None = None,
        acl: Sequence[Acl] = OPEN_ACL,
        parents: bool = False,
        exist_ok: bool = False,
    ) -> str:
        """See `Client.create`."""
        return self._run(
            self._client.create(
                path,
                data,
                ephemeral=ephemeral,
                sequence=sequence,
                container=container,
                ttl_ms=ttl_ms,
                acl=acl,
                parents=parents,
                exist_ok=exist_ok,
            )
        )

    def get(self, path: str, watch: Watcher | None = None) -> tuple[bytes | None, Stat]:
        """See `Client.get`."""
        return self._run(self._client.get(path, self._relayed(watch)))

    def exists(self, path: str, watch: Watcher | None = None) -> Stat | None:
        """See `Client.exists`."""
        return self._run(self._client.exists(path, self._relayed(watch)))

    def children(self, path: str, watch: Watcher | None = None) -> list[str]:
        """See `Client.children`."""
        return self._run(self._client.children(path, self._relayed(watch)))

    def set(self, path: str, data: bytes | None, version: int = -1) -> Stat:
        """See `Client.set`."""
        return self._run(self._client.set(path, data, version))

    def put(self, path: str, data: bytes | None, *, parents: bool = False) -> Stat:
        """See `Client.put`."""
        return self._run(self._client.put(path, data, parents=parents))

    def delete(self, path: str, version: int = -1) -> None:
        """See `Client.delete`."""
        self._run(self._client.delete(path, version))

    def tree(self, path: str) -> list[str]:
        """See `Client.tree`."""
        return self._run(self._client.tree(path))

    def delete_tree(self, path: str) -> int:
        """See `Client.delete_tree`."""
        return self._run(self._client.delete_tree(path))

    def sync(self, path: str = "/") -> None:
        """See `Client.sync`."""
        self._run(self._client.sync(path))

    def multi(self, operations: Sequence[Operation]) -> list[str | Stat | None]:
        """See `Client.multi`."""
        return self._run(self._client.multi(operations))

    def get_acl(self, path: str) -> tuple[tuple[Acl, ...], Stat]:
        """See `Client.get_acl`."""
        return self._run(self._client.get_acl(path))

    def set_acl(self, path: str, acl: Sequence[Acl], version: int = -1) -> Stat:
        """See `Client.set_acl`."""
        return self._run(self._client.set_acl(path, acl, version))

    def add_auth(self, scheme: str, credentials: bytes) -> None:
        """See `Client.add_auth`."""
        self._run(self._client.add_auth(scheme, credentials))

    def add_watch(self, path: str, watcher: Watcher, *, recursive: bool = False) -> None:
        """See `Client.add_watch`."""
        relay = self._relayed(watcher)
        assert relay is not None
        self._run(self._client.add_watch(path, relay, recursive=recursive))

    def remove_watches(self, path: str) -> None:
        """See `Client.remove_watches`."""
        self._run(self._client.remove_watches(path))


class _Relay:
    """A callback that is called on the thread of callbacks. Two of the same callback are equal, so that they count
    once.
    """

    __slots__ = ("_calls", "_watcher")

    def __init__(self, calls: "queue.SimpleQueue[Callable[[], None] | None]", watcher: Watcher) -> None:
        self._calls = calls
        self._watcher = watcher

    def __call__(self, event: WatchEvent) -> None:
        self._calls.put(lambda: self._watcher(event))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Relay) and other._watcher == self._watcher

    def __hash__(self) -> int:
        return hash(self._watcher)
