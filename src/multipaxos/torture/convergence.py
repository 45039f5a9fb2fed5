"""What each replica holds when all is over, read by a client of each: whether they hold the same.

``read_tree`` walks the whole tree of one replica behind a sync, so that nothing acknowledged may be missing from it. All it
asks and hears is recorded like that of any client, so the judges compare it with the ledger as well. Knows nothing of what
should be there.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from multipaxos.sim.recorded import OPENED, Call
from multipaxos.torture.client import Load
from multipaxos.torture.cluster import TorturedCluster
from multipaxos.torture.replica import ReplicaProcess
from multipaxos.wire import zookeeper as zk

Tree = dict[str, tuple[bytes | None, zk.Stat]]
"""Data and Stat by path."""

_PATIENCE_S: Final = 20.0
_POLL_S: Final = 0.2
_AT_ONCE: Final = 500
_ZXID: Final = re.compile(r"^Zxid: (0x[0-9a-f]+)$", re.MULTILINE)
_TIMEOUT_MS: Final = 10_000
_NUMBERS_FROM: Final = 1000  # of clients that only read at the end


class Unreadable(Exception):
    """A replica could not be read. The text says how it went wrong."""


class _Reader:
    """One recorded session that reads; requests go out many at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, load: Load, number: int) -> None:
        self._client = number
        self._connection = load.connection_number()
        self._reader = reader
        self._recorder = load.recorder
        self._session = 0
        self._writer = writer
        self._xid = 0

    async def open(self) -> None:
        """A session."""
        sent_ns = time.monotonic_ns()
        request = zk.ConnectRequest(0, 0, _TIMEOUT_MS, 0, zk.NO_PASSWORD, False)
        self._writer.write(zk.frame(zk.encode_connect_request(request)))
        answer = zk.decode_connect_response(await self._frame())
        self._session = answer.session
        now = time.monotonic_ns()
        self._recorder.mark(OPENED, self._client, self._session, self._connection, now, sent_ns, answer.timeout_ms)

    async def _frame(self) -> bytes:
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        return await self._reader.readexactly(size)

    async def ask(self, requests: Sequence[tuple[int, bytes]]) -> list[Call]:
        """The calls, each answered."""
        answered: list[Call] = []
        for at in range(0, len(requests), _AT_ONCE):
            calls = []
            for opcode, record in requests[at : at + _AT_ONCE]:
                self._xid += 1
                now = time.monotonic_ns()
                call = self._recorder.invoked(self._client, self._session, self._connection, opcode, record, now)
                calls.append(call)
                self._writer.write(zk.request_frame(self._xid, opcode, record))
            for call in calls:
                payload = await self._frame()
                header = zk.decode_reply_header(payload)
                body = payload[zk.REPLY_HEADER_BYTES :]
                self._recorder.returned(call, time.monotonic_ns(), header.zxid, header.err, body)
            answered += calls
        return answered


async def read_tree(cluster: TorturedCluster, one: ReplicaProcess, load: Load) -> Tree:
    """All znodes of one replica. Raises Unreadable."""
    loop = asyncio.get_running_loop()
    made = cluster.client_socket()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await loop.sock_connect(made, one.client)
            stream, writer = await asyncio.open_connection(sock=made)
            try:
                return await _walk(_Reader(stream, writer, load, _NUMBERS_FROM + one.id))
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        made.close()
        raise Unreadable(f"replica {one.id} could not be read to its end: {error!r}") from error


async def _walk(reader: _Reader) -> Tree:
    await reader.open()
    await reader.ask([(zk.OP_SYNC, zk.encode_path("/"))])
    tree: Tree = {}
    level = ["/"]
    while level:
        asked = [
            (opcode, zk.encode_watched_path(path)) for path in level for opcode in (zk.OP_GET_DATA, zk.OP_GET_CHILDREN)
        ]
        answers = await reader.ask(asked)
        below: list[str] = []
        for index, path in enumerate(level):
            node, names = answers[2 * index], answers[2 * index + 1]
            if node.err or names.err:
                raise OSError(f"{path}: error {node.err or names.err}, though it was listed")
            tree[path] = zk.decode_data_stat(node.body)
            below += [f"{path.rstrip('/')}/{name}" for name in sorted(zk.decode_children(names.body))]
        level = below
    await reader.ask([(zk.OP_CLOSE_SESSION, b"")])
    return tree


def tree_digest(tree: Tree) -> str:
    """A name for a tree: equal trees have equal digests."""
    digest = hashlib.sha256()
    for path in sorted(tree):
        data, stat = tree[path]
        digest.update(repr((path, data, tuple(stat))).encode())
    return digest.hexdigest()


def first_difference(one: Tree, other: Tree) -> str:
    """Where two trees differ first, by path; empty where they are equal."""
    for path in sorted({*one, *other}):
        if one.get(path) != other.get(path):
            return f"{path}: {one.get(path)} and {other.get(path)}"
    return ""


async def settled(cluster: TorturedCluster, say: Callable[[str], None]) -> bool:
    """Wait until no session is left anywhere and all replicas name one zxid: then nothing is under way any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_S
    is_said = False
    while True:
        figures = [await cluster.ask(one, "mntr") for one in cluster.replicas.values()]
        zxids = [_ZXID.search(await cluster.ask(one, "srvr")) for one in cluster.replicas.values()]
        is_quiet = all("zk_global_sessions\t0\n" in text and "zk_ephemerals_count\t0\n" in text for text in figures)
        if is_quiet and all(zxids) and len({found[1] for found in zxids if found}) == 1:
            return True
        if loop.time() > deadline:
            return False
        if not is_said:
            say("waiting for the sessions of silent clients to end")
            is_said = True
        await asyncio.sleep(_POLL_S)
