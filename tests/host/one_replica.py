"""A replica with the real driver, journal, gateway and threads; a disk that can be held up, and peers that only listen."""

import asyncio
import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.membership import Configuration, Member
from multipaxos.core.replica import Replica
from multipaxos.core.settings import MILLISECOND_NS, Settings
from multipaxos.host.driver import Driver
from multipaxos.service.service import Service
from multipaxos.service.settings import ServiceSettings
from multipaxos.storage.disk import DiskFile, RealDisk, RealFile
from multipaxos.storage.identity import DataDirectory
from multipaxos.wire.peer import PeerMessage

QUICK = Settings(
    heartbeat_ns=10 * MILLISECOND_NS,
    election_min_ns=60 * MILLISECOND_NS,
    election_max_ns=120 * MILLISECOND_NS,
    retry_ns=20 * MILLISECOND_NS,
)
PATIENCE_S = 60.0


class GatedFile:
    """A file whose sync waits for the gate, or fails."""

    def __init__(self, disk: "GatedDisk", file: RealFile) -> None:
        self._disk = disk
        self._file = file

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        self._file.write(offset, parts)

    def read(self, offset: int, size: int) -> bytes:
        return self._file.read(offset, size)

    def sync(self) -> None:
        self._disk.gate.wait()
        if self._disk.is_broken:
            raise OSError(errno.EIO, "broken on purpose")
        self._file.sync()

    def size(self) -> int:
        return self._file.size()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class GatedDisk(RealDisk):
    """A directory of the operating system whose syncs can be held up."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.gate.set()
        self.is_broken = False

    def create(self, name: str) -> DiskFile:  # type: ignore[override]
        return GatedFile(self, super().create(name))

    def open(self, name: str) -> DiskFile:  # type: ignore[override]
        return GatedFile(self, super().open(name))


class SilentPeers:
    """Takes down what is sent, and answers nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[ReplicaId, PeerMessage]] = []
        self.dropped: list[ReplicaId] = []

    def send(self, peer: ReplicaId, message: PeerMessage) -> None:
        self.sent.append((peer, message))

    def flush(self) -> None:
        pass

    def drop(self, peer: ReplicaId, reason: str) -> None:
        self.dropped.append(peer)

    def connected(self) -> list[ReplicaId]:
        return []

    def of_kind(self, *kinds: type) -> list[PeerMessage]:
        return [message for _, message in self.sent if isinstance(message, kinds)]


class OneReplica:
    """Replica 1 of ``count``. Use as an async context manager."""

    def __init__(self, folder: Path, count: int, settings: Settings = QUICK) -> None:
        path = folder / "replica-1"
        path.mkdir(exist_ok=True)
        self.disk = GatedDisk(str(path))
        members = tuple(Member(n, f"127.0.0.1:{n}", "", 0, True) for n in range(1, count + 1))
        self.listed = Configuration(0, members, 64, "")
        if DataDirectory.look(str(path), self.disk) == "used":
            self.directory = DataDirectory.open(str(path), 1, disk=self.disk)
        else:
            self.directory = DataDirectory.create(str(path), 1, self.disk)
        self.journal = self.directory.journal()
        self.replica = Replica(1, self.listed, self.directory.mark, self.directory.incarnation, 7, settings)
        self.service = Service(
            1,
            self.directory.incarnation,
            ServiceSettings(bytes(32), heartbeat_ns=settings.heartbeat_ns, election_ns=1200 * MILLISECOND_NS),
        )
        effects = self.replica.recover([record for _, record in self.journal.recovered()])
        for applied in effects.applied:
            self.service.applied(applied, 1)
        self.peers = SilentPeers()
        self.driver = Driver(
            self.replica,
            self.service,
            self.journal,
            asyncio.get_running_loop(),
            Random(1),
            lambda configuration: None,
            lambda: None,
        )
        self.driver.peers = self.peers
        self.driver.gateway.bind("127.0.0.1", 0)

    @property
    def port(self) -> int:
        return int(self.driver.gateway.addresses[0].rpartition(":")[2])

    async def __aenter__(self) -> "OneReplica":
        self.driver.start()
        return self

    async def __aexit__(self, *unused: object) -> None:
        self.driver.stop()
        self.driver.gateway.close()
        self.disk.gate.set()
        assert await self.driver.journal_thread.stop(PATIENCE_S)
        self.directory.close()
        while self.driver.gateway.connections:
            await asyncio.sleep(0.001)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition that must come true."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"did not happen: {what}"
        await asyncio.sleep(0.002)
