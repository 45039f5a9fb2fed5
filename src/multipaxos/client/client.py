"""A client of the cluster: one session over one connection at a time, to whichever replica answers.

The session outlives connections: when one breaks the client attaches the session to another replica, sets its watches
again, and sends again what does nothing twice (reads) or was not sent yet. A write whose reply did not come is
reported as `ConnectionLost`, because nobody can know whether it happened; the client never repeats one by itself.

Requests are sent in the order in which they are made and take effect in that order, so they may be pipelined: start
several without awaiting each. Speaks ZooKeeper's protocol, so it works against a ZooKeeper server too. Knows nothing
of replicas beyond their addresses. `blocking.py` is the same without asyncio; `connection.py` is one connection.
"""

import asyncio
import enum
import os
import random
import socket
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from multipaxos.client.addresses import (
    CONNECT_VARIABLE,
    DEFAULT_CONNECT,
    REFUSED,
    Address,
    address_text,
    failure_text,
    parse_addresses,
)
from multipaxos.client.connection import Connection, Request
from multipaxos.client.errors import (
    AuthFailed,
    ClientClosed,
    ClientError,
    ConnectionLost,
    NodeExists,
    NoNode,
    NotConnected,
    RequestTimeout,
    SessionExpired,
    TooLarge,
    TransactionFailed,
    error_of,
)
from multipaxos.client.operations import Create, Operation, encode_create_operation, encode_operation
from multipaxos.client.watches import EventType, Watcher, WatchEvent, WatchKind, WatchTable
from multipaxos.wire.zookeeper import (
    ERR_OK,
    ERR_RUNTIME_INCONSISTENCY,
    FRAME_BYTES_MAX,
    NO_PASSWORD,
    OP_ADD_WATCH,
    OP_AUTH,
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_DELETE,
    OP_ERROR,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_GET_EPHEMERALS,
    OP_MULTI,
    OP_REMOVE_WATCHES,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SYNC,
    OP_WHO_AM_I,
    OPEN_ACL,
    PROTOCOL_VERSION,
    WATCH_PERSISTENT,
    WATCH_RECURSIVE,
    WATCHER_ANY,
    Acl,
    ConnectRequest,
    Stat,
    decode_acl_stat,
    decode_children,
    decode_children_stat,
    decode_data_stat,
    decode_int,
    decode_multi_results,
    decode_path,
    decode_path_stat,
    decode_stat,
    decode_who_am_i,
    encode_auth,
    encode_connect_request,
    encode_multi,
    encode_path,
    encode_path_type,
    encode_set_acl,
    encode_set_data,
    encode_versioned_path,
    encode_watched_path,
)

_T = TypeVar("_T")

_REQUEST_HEADER_BYTES = 8
_CHUNK = 1000  # requests on the way together while walking a tree
_PAUSE_SECONDS_MAX = 1.0
_CLOSE_SECONDS_MAX = 5.0
_UPSERT_TRIES = 10


class SessionState(enum.Enum):
    """How the session stands, as far as this client knows."""

    CONNECTING = "connecting"  # not established yet
    CONNECTED = "connected"
    SUSPENDED = "suspended"  # no connection: act as if the session were lost, for after its timeout it will be
    EXPIRED = "expired"  # the cluster ended it
    AUTH_FAILED = "authentication failed"
    CLOSED = "closed"


_ENDED = (SessionState.EXPIRED, SessionState.AUTH_FAILED, SessionState.CLOSED)


class Client:
    """A session with the cluster.

        async with Client("127.0.0.1:2181,127.0.0.1:2182") as client:
            await client.create("/greeting", b"hello")
            data, stat = await client.get("/greeting")

    Times are seconds. ``session_timeout`` is how long the cluster keeps the session, and its ephemeral nodes, without a
    sign of life; the cluster may answer with another. ``request_timeout`` bounds the wait for one reply, connecting
    included.
    """

    def __init__(
        self,
        connect: str | Sequence[Address] | None = None,
        *,
        session_timeout: float = 10.0,
        request_timeout: float = 10.0,
        in_flight_max: int = 4096,
        request_bytes_max: int = FRAME_BYTES_MAX,
    ) -> None:
        """``connect`` is `host:port,...` or a list of (host, port); left out, MULTIPAXOS_CONNECT or the three
        default ports.
        """
        if connect is None:
            connect = os.environ.get(CONNECT_VARIABLE) or DEFAULT_CONNECT
        self.addresses = parse_addresses(connect) if isinstance(connect, str) else list(connect)
        if not self.addresses:
            raise ValueError("there is no address to connect to")
        self._wanted_timeout_ms = int(session_timeout * 1000)
        self._request_timeout = request_timeout
        self._request_bytes_max = request_bytes_max
        self._room = asyncio.Semaphore(in_flight_max)
        self._state = SessionState.CONNECTING
        self._listeners: list[Callable[[SessionState], None]] = []
        self._session = 0
        self._password = NO_PASSWORD
        self._timeout_ms = self._wanted_timeout_ms
        self._last_zxid = 0
        self._watches = WatchTable()
        self._credentials: list[Request] = []
        self._waiting: deque[Request] = deque()  # made while there is no connection, or to be sent again
        self._connection: Connection | None = None
        self._last_words: dict[Address, str] = {}  # why each server is not the one we are connected to
        self._task: asyncio.Task[None] | None = None
        self._detached = asyncio.Event()
        self._established: asyncio.Future[None] | None = None
        self._is_closing = False

    # Life

    async def open(self) -> None:
        """Establish the session; `NotConnected` when no server did within the request timeout."""
        if self._task is not None:
            return
        if self._state in _ENDED:
            raise self._ended_error("")
        loop = asyncio.get_running_loop()
        self._established = loop.create_future()
        self._task = loop.create_task(self._stay_attached())
        self._task.add_done_callback(self._stopped_trying)
        try:
            async with asyncio.timeout(self._request_timeout):
                await self._established
        except TimeoutError:
            error = self._not_connected("")
            await self.close()
            raise error from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the session: its ephemeral nodes go at once. Without a connection they go when the session expires."""
        if self._state in _ENDED:
            return
        self._is_closing = True
        connection = self._connection
        if connection is not None:
            request = self._make(OP_CLOSE_SESSION, b"", "", _nothing)
            connection.send(request)
            try:
                async with asyncio.timeout(min(self._request_timeout, _CLOSE_SECONDS_MAX)):
                    await request.future
            except (ClientError, TimeoutError):
                pass  # the session then ends by its timeout, which is what a lost connection means anyway
        if self._state not in _ENDED:
            self._end(SessionState.CLOSED)
        task = self._task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def __aenter__(self) -> "Client":
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def state(self) -> SessionState:
        """How the session stands."""
        return self._state

    @property
    def session_id(self) -> int:
        """The session's id; 0 before it is established. It is the ephemeral_owner of its ephemeral nodes."""
        return self._session

    @property
    def session_timeout(self) -> float:
        """The timeout the cluster agreed to, in seconds."""
        return self._timeout_ms / 1000.0

    @property
    def server(self) -> Address | None:
        """The replica the client is connected to at the moment."""
        return None if self._connection is None else self._connection.address

    @property
    def last_zxid(self) -> int:
        """The newest state of the cluster this session has seen."""
        connection = self._connection
        return self._last_zxid if connection is None else max(self._last_zxid, connection.last_zxid)

    def add_listener(self, listener: Callable[[SessionState], None]) -> None:
        """Have ``listener`` called, in the event loop, with each new state."""
        self._listeners.append(listener)

    # Nodes

    async def create(
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
        """Create a node and return its path, with the number appended when ``sequence``.

        ``parents`` makes the missing ones above it, ``exist_ok`` leaves a node that is there as it is.
        The modes are explained at `operations.Create`.
        """
        opcode, record = encode_create_operation(Create(path, data, ephemeral, sequence, container, ttl_ms, acl))
        decode = decode_path if opcode == OP_CREATE else _decode_path_of_stat
        try:
            try:
                return await self._call(opcode, record, path, decode)
            except NoNode:
                if not parents:
                    raise
                await self.create_parents(path)
                return await self._call(opcode, record, path, decode)
        except NodeExists:
            if not exist_ok:
                raise
            return path

    async def create_with_stat(
        self,
        path: str,
        data: bytes | None = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl_ms: int | None = None,
        acl: Sequence[Acl] = OPEN_ACL,
    ) -> tuple[str, Stat]:
        """Like `create`, and returns the Stat of the new node as well."""
        operation = Create(path, data, ephemeral, sequence, container, ttl_ms, acl)
        opcode, record = encode_create_operation(operation, with_stat=True)
        return await self._call(opcode, record, path, decode_path_stat)

    async def create_parents(self, path: str) -> None:
        """Create those nodes above ``path`` that are missing, without data."""
        parts = path.split("/")[1:-1]
        for count in range(1, len(parts) + 1):
            await self.create("/" + "/".join(parts[:count]), b"", exist_ok=True)

    async def get(self, path: str, watch: Watcher | None = None) -> tuple[bytes | None, Stat]:
        """The data of a node and its Stat. ``watch`` is called once: when the data changes or the node is deleted."""
        record = encode_watched_path(path, watch is not None)
        return await self._call(
            OP_GET_DATA, record, path, decode_data_stat, is_read=True, kind=WatchKind.DATA, watcher=watch
        )

    async def exists(self, path: str, watch: Watcher | None = None) -> Stat | None:
        """The Stat of a node, None when it is not there. ``watch`` is called once: created, changed or deleted."""
        record = encode_watched_path(path, watch is not None)
        return await self._call(OP_EXISTS, record, path, decode_stat, is_read=True, kind=WatchKind.DATA, watcher=watch)

    async def children(self, path: str, watch: Watcher | None = None) -> list[str]:
        """The names of a node's children, sorted. ``watch`` is called once: a child came or went, or the node did."""
        record = encode_watched_path(path, watch is not None)
        names = await self._call(
            OP_GET_CHILDREN, record, path, decode_children, is_read=True, kind=WatchKind.CHILD, watcher=watch
        )
        return sorted(names)

    async def children_with_stat(self, path: str, watch: Watcher | None = None) -> tuple[list[str], Stat]:
        """Like `children`, and the node's Stat as of the same moment."""
        record = encode_watched_path(path, watch is not None)
        names, stat = await self._call(
            OP_GET_CHILDREN2, record, path, decode_children_stat, is_read=True, kind=WatchKind.CHILD, watcher=watch
        )
        return sorted(names), stat

    async def set(self, path: str, data: bytes | None, version: int = -1) -> Stat:
        """Set the data of a node, if it is at ``version`` (-1: whatever its version)."""
        return await self._call(OP_SET_DATA, encode_set_data(path, data, version), path, decode_stat)

    async def put(self, path: str, data: bytes | None, *, parents: bool = False) -> Stat:
        """Set the data of a node, and create it when it is not there."""
        for _ in range(_UPSERT_TRIES):
            try:
                return await self.set(path, data)
            except NoNode:
                try:
                    return (await self.create_with_stat(path, data))[1]
                except NodeExists:
                    continue  # somebody else created it in between
                except NoNode:
                    if not parents:
                        raise
                    await self.create_parents(path)
        raise NoNode(path, "the node kept coming and going", "see who deletes it, then try again")

    async def delete(self, path: str, version: int = -1) -> None:
        """Delete a node without children, if it is at ``version`` (-1: whatever its version)."""
        await self._call(OP_DELETE, encode_versioned_path(path, version), path, _nothing)

    async def tree(self, path: str) -> list[str]:
        """The paths of all nodes below ``path``, each after its parent. Not one moment's picture: others may write
        meanwhile.
        """
        found: list[str] = []
        level = [path]
        while level:
            below: list[str] = []
            for start in range(0, len(level), _CHUNK):
                chunk = level[start : start + _CHUNK]
                for parent, names in zip(
                    chunk, await asyncio.gather(*(self._children_if_there(each) for each in chunk)), strict=True
                ):
                    prefix = parent.rstrip("/") + "/"
                    below.extend(prefix + name for name in names)
            found.extend(below)
            level = below
        return found

    async def _children_if_there(self, path: str) -> list[str]:
        try:
            return await self.children(path)
        except NoNode:
            return []

    async def delete_tree(self, path: str) -> int:
        """Delete a node and all below it; how many nodes that were. Not atomic."""
        if path == "/":
            raise ValueError("the root cannot be deleted; delete its children instead")
        if await self.exists(path) is None:
            raise NoNode(path, advice="there is nothing to delete")
        doomed = [path, *await self.tree(path)]
        doomed.reverse()
        deleted = 0
        for start in range(0, len(doomed), _CHUNK):
            # Requests take effect in the order sent, so children and parents may be on the way together.
            outcomes = await asyncio.gather(*(self._delete_if_there(each) for each in doomed[start : start + _CHUNK]))
            deleted += sum(outcomes)
        return deleted

    async def _delete_if_there(self, path: str) -> bool:
        try:
            await self.delete(path)
        except NoNode:
            return False
        return True

    async def sync(self, path: str = "/") -> None:
        """Wait until this replica has applied all that was chosen before: a read after it is as new as any."""
        await self._call(OP_SYNC, encode_path(path), path, decode_path, is_read=True)

    async def multi(self, operations: Sequence[Operation]) -> list[str | Stat | None]:
        """Do all operations, or none: `TransactionFailed` tells which one was to blame.

        One result for each: the path for `Create`, the Stat for `Set`, None for `Delete` and `Check`.
        """
        record = encode_multi([encode_operation(operation) for operation in operations])
        results = await self._call(OP_MULTI, record, "", decode_multi_results)
        for index, result in enumerate(results):
            if result.type == OP_ERROR and result.err not in (ERR_OK, ERR_RUNTIME_INCONSISTENCY):
                raise TransactionFailed(index, error_of(result.err, operations[index].path))
        return [result.path if result.path is not None else result.stat for result in results]

    # Access

    async def get_acl(self, path: str) -> tuple[tuple[Acl, ...], Stat]:
        """Who may do what with a node."""
        return await self._call(OP_GET_ACL, encode_path(path), path, decode_acl_stat, is_read=True)

    async def set_acl(self, path: str, acl: Sequence[Acl], version: int = -1) -> Stat:
        """Set who may do what; ``version`` is compared with the Stat's aversion (-1: not)."""
        return await self._call(OP_SET_ACL, encode_set_acl(path, acl, version), path, decode_stat)

    async def add_auth(self, scheme: str, credentials: bytes) -> None:
        """Be somebody more, on this and every later connection of the session: `digest` takes `user:password`."""
        self._check_open("")
        request = self._make(OP_AUTH, encode_auth(scheme, credentials), "", _nothing)
        self._credentials.append(request)
        if self._connection is not None:
            self._connection.send_auth(request)
        await self._outcome(request)

    async def who_am_i(self) -> list[tuple[str, str]]:
        """(scheme, id) of everything this connection may act as."""
        return await self._call(OP_WHO_AM_I, b"", "", decode_who_am_i, is_read=True)

    # Of the whole tree

    async def ephemerals(self, prefix: str = "/") -> list[str]:
        """The ephemeral nodes of this session whose paths begin with ``prefix``."""
        return sorted(await self._call(OP_GET_EPHEMERALS, encode_path(prefix), prefix, decode_children, is_read=True))

    async def count_below(self, path: str) -> int:
        """How many nodes there are below ``path``, at any depth."""
        return await self._call(OP_GET_ALL_CHILDREN_NUMBER, encode_path(path), path, decode_int, is_read=True)

    # Watches that stay

    async def add_watch(self, path: str, watcher: Watcher, *, recursive: bool = False) -> None:
        """Have ``watcher`` called at every event of ``path``, or of all below it too when ``recursive``.

        It stays until removed. What happens while the client has no connection is not told afterwards.
        """
        mode, kind = (WATCH_RECURSIVE, WatchKind.RECURSIVE) if recursive else (WATCH_PERSISTENT, WatchKind.PERSISTENT)
        await self._call(
            OP_ADD_WATCH, encode_path_type(path, mode), path, decode_int, is_read=True, kind=kind, watcher=watcher
        )

    async def remove_watches(self, path: str) -> None:
        """Remove every watch at ``path``; `NoWatcher` when there was none."""
        await self._call(OP_REMOVE_WATCHES, encode_path_type(path, WATCHER_ANY), path, _nothing, is_read=True)
        for kind in WatchKind:
            self._watches.discard(kind, path)

    # Requests on their way

    def _make(
        self,
        opcode: int,
        record: bytes,
        path: str,
        decode: Callable[[bytes, int], Any],
        is_read: bool = False,
        kind: WatchKind | None = None,
        watcher: Watcher | None = None,
    ) -> Request:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        return Request(opcode, record, path, decode, future, is_read, kind, watcher)

    async def _call(
        self,
        opcode: int,
        record: bytes,
        path: str,
        decode: Callable[[bytes, int], _T],
        *,
        is_read: bool = False,
        kind: WatchKind | None = None,
        watcher: Watcher | None = None,
    ) -> _T:
        if len(record) + _REQUEST_HEADER_BYTES > self._request_bytes_max:
            raise TooLarge(
                path,
                f"the request has {len(record) + _REQUEST_HEADER_BYTES} bytes, "
                f"more than the {self._request_bytes_max} a server accepts",
            )
        async with self._room:
            self._check_open(path)
            request = self._make(opcode, record, path, decode, is_read, kind, watcher)
            if self._connection is not None:
                self._connection.send(request)
            else:
                self._waiting.append(request)
            result: _T = await self._outcome(request)
            return result

    async def _outcome(self, request: Request) -> Any:
        try:
            async with asyncio.timeout(self._request_timeout):
                return await request.future
        except TimeoutError:
            if not request.is_sent:
                raise self._not_connected(request.path) from None
            where = "" if self._connection is None else f" from {address_text(self._connection.address)}"
            what = f"no reply{where} within {self._request_timeout:g} s"
            if request.is_read:
                advice = "nothing was changed; see whether a majority is up with `multipaxos status`"
                raise RequestTimeout(request.path, what, advice) from None
            raise RequestTimeout(request.path, what) from None

    def _check_open(self, path: str) -> None:
        if self._state in _ENDED:
            raise self._ended_error(path)
        if self._task is None or self._is_closing:
            raise ClientClosed(path)

    def _ended_error(self, path: str) -> ClientError:
        if self._state is SessionState.EXPIRED:
            return SessionExpired(path)
        if self._state is SessionState.AUTH_FAILED:
            return AuthFailed(path)
        return ClientClosed(path)

    def _not_connected(self, path: str) -> NotConnected:
        by_reason: dict[str, list[str]] = {}
        for address in self.addresses:
            if address in self._last_words:
                by_reason.setdefault(self._last_words[address], []).append(address_text(address))
        words = "; ".join(f"{', '.join(where)}: {why}" for why, where in by_reason.items()) or "none was asked"
        advice = ""
        if list(by_reason) == [REFUSED]:
            advice = "it was not sent; start a cluster with `multipaxos cluster`, or say where one runs with --connect"
        return NotConnected(path, f"no server answered within {self._request_timeout:g} s ({words})", advice)

    # One connection after the other

    async def _stay_attached(self) -> None:
        # Each client begins somewhere else, or the first replica of everybody's list would serve them all.
        order = list(self.addresses)
        random.shuffle(order)
        pause = 0.0
        while True:
            for address in order:
                self._detached.clear()
                if await self._attach(address):
                    pause = 0.0
                    await self._detached.wait()
                if self._state in _ENDED or self._is_closing:
                    return
            # Everyone was tried: now wait, a little longer each time and never all clients at once.
            pause = min(_PAUSE_SECONDS_MAX, pause * 2 or 0.02)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    def _stopped_trying(self, task: "asyncio.Task[None]") -> None:
        """A defect must not leave calls waiting for a connection that nobody makes any more."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("the client can no longer connect", error)
            if self._state not in _ENDED:
                self._end(SessionState.CLOSED)

    async def _attach(self, address: Address) -> bool:
        """Try one server; whether the session is attached there."""
        loop = asyncio.get_running_loop()
        greeting = encode_connect_request(
            ConnectRequest(
                PROTOCOL_VERSION, self._last_zxid, self._wanted_timeout_ms, self._session, self._password, False
            )
        )
        # All servers should have had their turn within two thirds of the session's timeout.
        patience = min(5.0, max(1.0, self._timeout_ms / 1000.0 * 2 / 3 / len(self.addresses)))
        connection = Connection(self, address, greeting, self._last_zxid, loop)
        try:
            async with asyncio.timeout(patience):
                transport, _ = await loop.create_connection(lambda: connection, *address)
                response = await connection.handshake
        except TimeoutError:
            self._last_words[address] = f"no answer within {patience:g} s"
            connection.abort("it did not answer the handshake")
            return False
        except OSError as error:
            self._last_words[address] = failure_text(error)
            return False
        except UnicodeError:  # what the resolver's codec says of a name that no host can have
            self._last_words[address] = "it is not a possible host name"
            return False
        except BaseException:
            connection.abort("the client was closed")
            raise
        if response is None:
            # What a replica does that has no contact with a leader, or is behind what this session has seen.
            self._last_words[address] = (
                "it accepted the connection and hung up: it is cut off from a majority, behind, starting, or full"
            )
            return False
        if response.timeout_ms <= 0 or not response.session:
            connection.close()
            self._end(SessionState.EXPIRED)
            return False
        held = transport.get_extra_info("socket")
        if held is not None:
            held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if connection.reason:  # lost again before we could look
            self._last_words[address] = connection.reason
            return False
        self._session = response.session
        self._password = response.password
        self._timeout_ms = response.timeout_ms
        self._attached(connection)
        return True

    def _attached(self, connection: Connection) -> None:
        self._last_words.pop(connection.address, None)
        self._connection = connection
        # Identity first, then watches, then requests: each may depend on the one before.
        for credentials in self._credentials:
            connection.send_auth(credentials)
        for opcode, record in self._watches.rearming(self._last_zxid):
            connection.send_watches(opcode, record)
        while self._waiting:
            request = self._waiting.popleft()
            if not request.future.done():
                connection.send(request)
        self._enter(SessionState.CONNECTED)
        if self._established is not None and not self._established.done():
            self._established.set_result(None)

    # What a connection tells (connection.Owner)

    def watch_confirmed(self, kind: WatchKind, path: str, watcher: Watcher) -> None:
        """See `connection.Owner`."""
        self._watches.add(kind, path, watcher)

    def event_received(self, event_type: int, path: str, zxid: int) -> None:
        """See `connection.Owner`."""
        for watcher in self._watches.fired(event_type, path):
            self._tell(watcher, WatchEvent(EventType(event_type), path, zxid))

    def auth_refused(self, connection: Connection) -> None:
        """See `connection.Owner`. Every later connection would be refused as well, so the session ends here."""
        self._end(SessionState.AUTH_FAILED)

    def connection_lost(self, connection: Connection, unanswered: list[Request]) -> None:
        """See `connection.Owner`."""
        if connection is not self._connection:
            return
        self._connection = None
        self._last_zxid = max(self._last_zxid, connection.last_zxid)
        self._last_words[connection.address] = f"the connection ended: {connection.reason}"
        again: list[Request] = []
        for request in unanswered:
            if request.future.done() or request.opcode == OP_AUTH:
                continue  # credentials are sent on every connection anyway
            if request.is_read and not self._is_closing:
                request.is_sent = False
                again.append(request)
            else:
                where = address_text(connection.address)
                request.future.set_exception(
                    ConnectionLost(
                        request.path, f"the connection to {where} ended before the reply came ({connection.reason})"
                    )
                )
        self._waiting.extendleft(reversed(again))
        if self._state not in _ENDED and not self._is_closing:
            self._enter(SessionState.SUSPENDED)
        self._detached.set()

    # States

    def _enter(self, state: SessionState) -> None:
        self._state = state
        for listener in list(self._listeners):
            try:
                listener(state)
            except Exception as error:
                self._report("a listener of the client failed", error)

    def _tell(self, watcher: Watcher, event: WatchEvent) -> None:
        try:
            watcher(event)
        except Exception as error:
            # The callback is the user's; its failure must neither break the connection nor pass unseen.
            self._report(f"the watch of {event.path} failed", error)

    def _report(self, message: str, error: BaseException) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    def _end(self, state: SessionState) -> None:
        """The session is over: tell everybody who waits for something from it."""
        connection = self._connection
        self._connection = None
        self._enter(state)
        for request in [*self._waiting, *self._credentials]:
            if not request.future.done():
                request.future.set_exception(self._ended_error(request.path))
        self._waiting.clear()
        if connection is not None:
            for request in connection.take_pending():
                if not request.future.done():
                    request.future.set_exception(self._ended_error(request.path))
            connection.close()
        if self._established is not None and not self._established.done():
            self._established.set_exception(self._ended_error(""))
        for watcher, path in self._watches.take_all():
            self._tell(watcher, WatchEvent(EventType.SESSION_ENDED, path, -1))
        self._detached.set()


def _decode_path_of_stat(data: bytes, at: int = 0) -> str:
    return decode_path_stat(data, at)[0]


def _nothing(data: bytes, at: int = 0) -> None:
    """The replies that are a bare header."""
