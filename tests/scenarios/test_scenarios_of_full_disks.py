"""`all-full` for a cluster of one: the real driver, journal and threads over a directory that has no space left.

With more voters the others' room counts too, which no message tells yet; what their journals do without space is in
``test_scenarios_of_disks.py``.
"""

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import one_replica
import pytest
from one_replica import PATIENCE_S, GatedDisk, GatedFile, OneReplica, until

from multipaxos.storage.disk import DiskFile
from multipaxos.wire import zookeeper as zk


class FullFile(GatedFile):
    """A file that cannot grow while its disk is full."""

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        disk = self._disk
        assert isinstance(disk, FullDisk)
        if disk.is_full and offset + sum(len(part) for part in parts) > self.size():
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(offset, parts)


class FullDisk(GatedDisk):
    """A directory on a disk that others fill."""

    is_full = False

    def create(self, name: str) -> DiskFile:  # type: ignore[override]
        file = super().create(name)
        return FullFile(self, file._file)  # type: ignore[attr-defined]

    def open(self, name: str) -> DiskFile:  # type: ignore[override]
        file = super().open(name)
        return FullFile(self, file._file)  # type: ignore[attr-defined]


class Client:
    """A session with the replica."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._xid = 0

    @classmethod
    async def attached(cls, one: OneReplica) -> "Client":
        """A new session. It must be let in."""
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        client = cls(reader, writer)
        request = zk.ConnectRequest(0, 0, 10_000, 0, zk.NO_PASSWORD, False)
        writer.write(zk.frame(zk.encode_connect_request(request)))
        assert zk.decode_connect_response(await client._frame()).session != 0
        return client

    async def ask(self, opcode: int, record: bytes) -> int:
        """One request; the error of its reply."""
        self._xid += 1
        self._writer.write(zk.request_frame(self._xid, opcode, record))
        header = zk.decode_reply_header(await self._frame())
        assert header.xid == self._xid
        return header.err

    def close(self) -> None:
        self._writer.close()

    async def _frame(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            return await self._reader.readexactly(size)


def create(path: str) -> bytes:
    return zk.encode_create(path, b"", zk.OPEN_ACL, 0)


def test_all_full_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`all-full`: found before writing, when the next segment cannot be made. Growing commands are refused with -127 and
    were not executed; reads, sync, deletes and new sessions go on; when there is space again it heals by itself."""
    monkeypatch.setattr(one_replica, "GatedDisk", FullDisk)

    async def body() -> None:
        async with OneReplica(tmp_path, 1) as one:
            await until(lambda: one.driver.is_listening, "clients are let in")
            client = await Client.attached(one)
            assert await client.ask(zk.OP_CREATE, create("/a")) == 0
            client.close()
        again = OneReplica(tmp_path, 1)
        disk = again.disk
        assert isinstance(disk, FullDisk)
        disk.is_full = True  # the present segment has room; there will be no next one
        async with again as one:
            await until(lambda: one.driver.is_listening and one.service.is_full, "it finds out")
            assert "free some space" in one.journal.shortage
            client = await Client.attached(one)
            assert await client.ask(zk.OP_CREATE, create("/b")) == zk.ERR_THROTTLED
            assert await client.ask(zk.OP_EXISTS, zk.encode_watched_path("/b")) == zk.ERR_NO_NODE
            assert await client.ask(zk.OP_GET_DATA, zk.encode_watched_path("/a")) == 0
            assert await client.ask(zk.OP_SYNC, zk.encode_path("/")) == 0
            assert await client.ask(zk.OP_DELETE, zk.encode_versioned_path("/a", -1)) == 0
            assert one.service.is_full
            disk.is_full = False
            await until(lambda: not one.service.is_full, "it finds out by itself that there is space")
            assert await client.ask(zk.OP_CREATE, create("/b")) == 0
            client.close()

    asyncio.run(body())
