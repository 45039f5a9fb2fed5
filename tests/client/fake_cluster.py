"""A small server of the client protocol for tests of the client side: one tree, several ports, and switches to misbehave.

It is what the tests need and no more: not durable, one process, no access checks. The codec is the real one.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import cast

from multipaxos.wire import zookeeper as zk
from multipaxos.wire.zookeeper import (
    ERR_OK,
    OP_CREATE,
    OP_CREATE2,
    OP_CREATE_CONTAINER,
    OP_CREATE_TTL,
    Acl,
    ConnectResponse,
    FrameReader,
    Request,
    Stat,
)

CREATES = (OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER, OP_CREATE_TTL)


class Node:
    def __init__(self, data: bytes | None, acl: tuple[Acl, ...], owner: int, zxid: int) -> None:
        self.data = data
        self.acl = acl
        self.owner = owner
        self.czxid = self.mzxid = self.pzxid = zxid
        self.version = self.aversion = self.created = 0
        self.children: set[str] = set()

    def stat(self) -> Stat:
        return Stat(
            self.czxid, self.mzxid, 0, 0, self.version, 2 * self.created - len(self.children), self.aversion, self.owner,
            len(self.data or b""), len(self.children), self.pzxid,
        )  # fmt: skip


class Failed(Exception):
    def __init__(self, err: int) -> None:
        self.err = err


class FakeCluster:
    """The tree, the sessions, and the servers. Switches are plain attributes."""

    def __init__(self) -> None:
        self.zxid = 0x100000000
        self.nodes: dict[str, Node] = {"/": Node(b"", zk.OPEN_ACL, 0, 0)}
        self.sessions: dict[int, bytes] = {}
        self.servers: list[FakeServer] = []
        self.timeout_ms: int | None = None  # what to negotiate; None: as wanted
        self.drop_before: set[int] = set()  # opcodes at which the connection is cut instead of executing
        self.drop_after: set[int] = set()  # opcodes executed, whose reply is lost with the connection
        self.hold: set[int] = set()  # opcodes never answered
        self.refuse_auth = False
        self.log: list[tuple[int, int]] = []  # (server index, opcode), in order of arrival
        self.greetings: list[zk.ConnectRequest] = []

    async def start(self, servers: int = 1) -> str:
        for index in range(servers):
            self.servers.append(FakeServer(self, index))
            await self.servers[-1].start()
        return self.connect

    @property
    def connect(self) -> str:
        return ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    async def stop(self) -> None:
        for server in self.servers:
            await server.stop()
            server.release()

    @property
    def connections(self) -> "list[FakeConnection]":
        return [connection for server in self.servers for connection in server.connections]

    def opcodes(self) -> list[int]:
        return [opcode for _, opcode in self.log]

    def end_session(self, session: int) -> None:
        self.sessions.pop(session, None)
        owned = [path for path, node in self.nodes.items() if node.owner == session]
        if owned:
            self.zxid += 1
        for path in owned:
            self._delete(path, -1)

    def fire(self, event: int, path: str) -> None:
        for connection in self.connections:
            connection.fire(event, path)

    # Writes

    def create(self, path: str, data: bytes | None, flags: int, acl: tuple[Acl, ...], session: int) -> str:
        if not path.startswith("/"):
            raise Failed(zk.ERR_BAD_ARGUMENTS)
        parent_path = path[: path.rfind("/")] or "/"
        parent = self.nodes.get(parent_path)
        if parent is None:
            raise Failed(zk.ERR_NO_NODE)
        if flags in (2, 3, 6):
            path += f"{parent.created:010d}"
        if path in self.nodes:
            raise Failed(zk.ERR_NODE_EXISTS)
        if parent.owner:
            raise Failed(zk.ERR_NO_CHILDREN_FOR_EPHEMERALS)
        self.nodes[path] = Node(data, acl, session if flags in (1, 3) else 0, self.zxid)
        parent.created += 1
        parent.children.add(path.rpartition("/")[2])
        parent.pzxid = self.zxid
        self.fire(zk.EVENT_CREATED, path)
        self.fire(zk.EVENT_CHILDREN_CHANGED, parent_path)
        return path

    def _checked(self, path: str, version: int) -> Node:
        node = self.nodes.get(path)
        if node is None:
            raise Failed(zk.ERR_NO_NODE)
        if version not in (-1, node.version):
            raise Failed(zk.ERR_BAD_VERSION)
        return node

    def _delete(self, path: str, version: int) -> None:
        if self._checked(path, version).children:
            raise Failed(zk.ERR_NOT_EMPTY)
        parent_path = path[: path.rfind("/")] or "/"
        del self.nodes[path]
        self.nodes[parent_path].children.discard(path.rpartition("/")[2])
        self.nodes[parent_path].pzxid = self.zxid
        self.fire(zk.EVENT_DELETED, path)
        self.fire(zk.EVENT_CHILDREN_CHANGED, parent_path)

    def write(self, opcode: int, request: "Request | None", session: int) -> tuple[int, bytes]:
        """(type of the result in a multi, its record); raises Failed."""
        if isinstance(request, zk.CreateRequest):
            path = self.create(request.path, request.data, request.flags, request.acl, session)
            if opcode == OP_CREATE:
                return OP_CREATE, zk.encode_path(path)
            return OP_CREATE2, zk.encode_path_stat(path, zk.write_stat(self.nodes[path].stat()))
        if isinstance(request, zk.VersionedPath):
            if opcode == zk.OP_CHECK:
                self._checked(request.path, request.version)
            else:
                self._delete(request.path, request.version)
            return opcode, b""
        if isinstance(request, zk.SetDataRequest):
            node = self._checked(request.path, request.version)
            node.data, node.version, node.mzxid = request.data, node.version + 1, self.zxid
            self.fire(zk.EVENT_DATA_CHANGED, request.path)
            return opcode, zk.write_stat(node.stat())
        assert isinstance(request, zk.SetAclRequest)
        node = self._checked(request.path, -1)
        node.acl, node.aversion = request.acl, node.aversion + 1
        return opcode, zk.write_stat(node.stat())

    def multi(self, request: zk.MultiRequest, session: int) -> bytes:
        # Nothing is undone here: the tests only fail a multi at a check before any change.
        results: list[bytes] = []
        for index, (opcode, operation) in enumerate(request.operations):
            try:
                results.append(zk.encode_multi_result(*self.write(opcode, operation, session)))
            except Failed as failed:
                errors = [0] * index + [failed.err] + [-2] * (len(request.operations) - index - 1)
                results = [zk.encode_multi_error(err) for err in errors]
                break
        return b"".join(results) + zk.MULTI_END


class FakeServer:
    def __init__(self, cluster: FakeCluster, index: int) -> None:
        self.cluster = cluster
        self.index = index
        self.connections: list[FakeConnection] = []
        self.hangs_up = False  # accepts and closes without a word, as a replica without a quorum does
        self.is_silent = False  # accepts and never answers anything
        self.words: dict[bytes, str] = {}
        self._server: asyncio.Server | None = None
        # Bound and never listening: while the server is down nobody else on the machine gets its port by chance.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]

    async def start(self) -> None:
        listening = _bound(self.port)
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: FakeConnection(self), sock=listening)
        except BaseException:
            listening.close()
            raise

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.cut()

    def release(self) -> None:
        """Let go of the port: the server is not started again."""
        self._reserved.close()


def _bound(port: int) -> socket.socket:
    """A socket on this port of loopback, 0 for a free one."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
    except BaseException:
        made.close()
        raise
    return made


class FakeConnection(asyncio.Protocol):
    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.cluster = server.cluster
        self.session = 0
        self.frames = FrameReader()
        self.is_first = True
        self.one_shot: set[tuple[str, str]] = set()  # (table, path)
        self.lasting: dict[str, int] = {}
        self.ids: list[tuple[str, str]] = [("ip", "127.0.0.1")]
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self.server.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.server.connections.remove(self)

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.server.is_silent:
            return
        if self.is_first and data[:4] in self.server.words:
            self.write(self.server.words[data[:4]].encode())
            assert self.transport is not None
            self.transport.close()
            return
        self.is_first = False
        for payload in self.frames.feed(data):
            if self.transport is None or self.transport.is_closing():
                return
            if self.session:
                self.request(payload)
            else:
                self.handshake(zk.decode_connect_request(payload))

    def handshake(self, request: zk.ConnectRequest) -> None:
        cluster = self.cluster
        cluster.greetings.append(request)
        if self.server.hangs_up or request.last_zxid_seen > cluster.zxid:
            self.cut()
            return
        timeout_ms = request.timeout_ms if cluster.timeout_ms is None else cluster.timeout_ms
        if request.session == 0:
            cluster.zxid += 1
            self.session = cluster.zxid
            cluster.sessions[self.session] = self.session.to_bytes(16, "big")
        elif cluster.sessions.get(request.session) == request.password:
            self.session = request.session
            for other in cluster.connections:
                if other is not self and other.session == self.session:
                    other.cut()
        else:
            self.write(
                zk.frame(zk.encode_connect_response(ConnectResponse(0, 0, 0, zk.NO_PASSWORD, request.read_only)))
            )
            assert self.transport is not None
            self.transport.close()
            return
        password = cluster.sessions[self.session]
        self.write(
            zk.frame(
                zk.encode_connect_response(ConnectResponse(0, timeout_ms, self.session, password, request.read_only))
            )
        )

    def fire(self, event: int, path: str) -> None:
        tables = {
            zk.EVENT_CREATED: ("data",),
            zk.EVENT_DATA_CHANGED: ("data",),
            zk.EVENT_DELETED: ("data", "child"),
            zk.EVENT_CHILDREN_CHANGED: ("child",),
        }[event]
        is_wanted = False
        for table in tables:
            if (table, path) in self.one_shot:
                self.one_shot.discard((table, path))
                is_wanted = True
        for watched, mode in self.lasting.items():
            if watched == path and (mode == 0 or event != zk.EVENT_CHILDREN_CHANGED):
                is_wanted = True
            if mode == 1 and event != zk.EVENT_CHILDREN_CHANGED and path.startswith(watched.rstrip("/") + "/"):
                is_wanted = True
        if is_wanted:
            self.write(zk.event_frame(self.cluster.zxid, event, path))

    def request(self, payload: bytes) -> None:
        xid, opcode = zk.decode_request_header(payload)
        cluster = self.cluster
        cluster.log.append((self.server.index, opcode))
        if opcode in cluster.hold:
            return
        if opcode in cluster.drop_before:
            cluster.drop_before.discard(opcode)
            self.cut()
            return
        try:
            record = self.execute(opcode, zk.decode_request(opcode, payload, 8))
            err = ERR_OK
        except Failed as failed:
            record, err = b"", failed.err
        if opcode in cluster.drop_after:
            cluster.drop_after.discard(opcode)
            self.cut()
            return
        self.write(zk.reply_frame(xid, cluster.zxid, err, record))
        if opcode == zk.OP_CLOSE_SESSION or (opcode == zk.OP_AUTH and err):
            assert self.transport is not None
            self.transport.close()

    def execute(self, opcode: int, request: "Request | None") -> bytes:
        cluster = self.cluster
        if opcode in (*CREATES, zk.OP_DELETE, zk.OP_SET_DATA, zk.OP_SET_ACL):
            cluster.zxid += 1
            return cluster.write(opcode, request, self.session)[1]
        if isinstance(request, zk.MultiRequest):
            cluster.zxid += 1
            return cluster.multi(request, self.session)
        if isinstance(request, zk.WatchedPath):
            return self.read(opcode, request)
        if isinstance(request, zk.PathRequest):
            if opcode == zk.OP_SYNC:
                return zk.encode_path(request.path)
            if opcode == zk.OP_GET_EPHEMERALS:
                owned = [path for path, node in cluster.nodes.items() if node.owner == self.session]
                return zk.encode_children([path for path in owned if path.startswith(request.path)])
            node = cluster.nodes.get(request.path)
            if node is None:
                raise Failed(zk.ERR_NO_NODE)
            if opcode == zk.OP_GET_ACL:
                return zk.encode_acl_stat(node.acl, zk.write_stat(node.stat()))
            prefix = request.path.rstrip("/") + "/"
            return len([path for path in cluster.nodes if path.startswith(prefix) and path != "/"]).to_bytes(4, "big")
        if isinstance(request, zk.AuthPacket):
            if cluster.refuse_auth:
                raise Failed(zk.ERR_AUTH_FAILED)
            self.ids.append((request.scheme or "", (request.auth or b"").decode().partition(":")[0]))
            return b""
        if isinstance(request, zk.PathType):
            if opcode == zk.OP_ADD_WATCH:
                self.lasting[request.path] = request.type
                return bytes(4)
            before = len(self.one_shot) + len(self.lasting)
            self.one_shot = {each for each in self.one_shot if each[1] != request.path}
            self.lasting.pop(request.path, None)
            if before == len(self.one_shot) + len(self.lasting):
                raise Failed(zk.ERR_NO_WATCHER)
            return b""
        if isinstance(request, zk.SetWatchesRequest):
            self.set_watches(request)
            return b""
        if opcode == zk.OP_WHO_AM_I:
            return zk.encode_who_am_i(self.ids)
        if opcode == zk.OP_CLOSE_SESSION:
            cluster.end_session(self.session)
        return b""

    def read(self, opcode: int, request: zk.WatchedPath) -> bytes:
        node = self.cluster.nodes.get(request.path)
        table = "child" if opcode in (zk.OP_GET_CHILDREN, zk.OP_GET_CHILDREN2) else "data"
        if request.watch and (node is not None or opcode == zk.OP_EXISTS):
            self.one_shot.add((table, request.path))
        if node is None:
            raise Failed(zk.ERR_NO_NODE)
        stat = zk.write_stat(node.stat())
        if opcode == zk.OP_EXISTS:
            return stat
        if opcode == zk.OP_GET_DATA:
            return zk.encode_data_stat(node.data, stat)
        return zk.encode_children(list(node.children), stat if opcode == zk.OP_GET_CHILDREN2 else b"")

    def set_watches(self, request: zk.SetWatchesRequest) -> None:
        nodes = self.cluster.nodes
        for path in request.data:
            node = nodes.get(path)
            if node is None or node.mzxid > request.relative_zxid:
                self.write(zk.event_frame(-1, zk.EVENT_DELETED if node is None else zk.EVENT_DATA_CHANGED, path))
            else:
                self.one_shot.add(("data", path))
        for path in request.exist:
            if path in nodes:
                self.write(zk.event_frame(-1, zk.EVENT_CREATED, path))
            else:
                self.one_shot.add(("data", path))
        for path in request.child:
            node = nodes.get(path)
            if node is None or node.pzxid > request.relative_zxid:
                self.write(zk.event_frame(-1, zk.EVENT_DELETED if node is None else zk.EVENT_CHILDREN_CHANGED, path))
            else:
                self.one_shot.add(("child", path))
        self.lasting.update(dict.fromkeys(request.persistent, 0))
        self.lasting.update(dict.fromkeys(request.recursive, 1))


def words(mode: str, zxid: int, replica: int = 1, more: str = "") -> dict[bytes, str]:
    """Answers to the four-letter words that `status` asks."""
    return {
        b"srvr": "Zookeeper version: 3.9.4-fake, built on 08/26/2025 19:25 GMT\nLatency min/avg/max: 0/0/0\nReceived: 1\n"
        f"Sent: 0\nConnections: 2\nOutstanding: 0\nZxid: {zxid:#x}\nMode: {mode}\nNode count: 5\n",
        b"mntr": f"zk_version\t3.9.4\nzk_server_state\t{mode}\n{more}",
        b"conf": f"clientPort=2181\nserverId={replica}\n",
    }


def same_to_all(answer: str) -> dict[bytes, str]:
    """One answer to every four-letter word that `status` asks."""
    return dict.fromkeys((b"srvr", b"mntr", b"conf"), answer)


@contextlib.asynccontextmanager
async def fake_cluster(servers: int = 1) -> AsyncIterator[FakeCluster]:
    """A cluster on the running loop. It is gone afterwards, also when the test fails: a socket left open fails others."""
    cluster = FakeCluster()
    try:
        await cluster.start(servers)
        yield cluster
    finally:
        await cluster.stop()


@contextlib.contextmanager
def cluster_in_thread(servers: int = 1) -> Iterator[FakeCluster]:
    """A cluster with a loop of its own, for tests whose code under test brings its loop too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    cluster = FakeCluster()
    try:
        asyncio.run_coroutine_threadsafe(cluster.start(servers), loop).result()
        yield cluster
    finally:
        asyncio.run_coroutine_threadsafe(cluster.stop(), loop).result()
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
