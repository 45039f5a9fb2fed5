"""A timed stage over shipped journals: a flush takes as long as the syncs it really makes, and so does what its thread
does between two flushes (``host/journal_thread.py``): making the next segment.
"""

from byte_stage import JournalDisk
from timed_stage import TimedStage

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.records import Record
from multipaxos.sim.disk import SimulatedDisk
from multipaxos.sim.process import Process
from multipaxos.storage.journal import SEGMENT_BYTES

PREPARED_FLUSHES = 8
PREPARED_BYTES = 256 * 1024
"""As in the journal thread."""


class TimedJournalDisk(JournalDisk):
    """Writes when a flush begins; that all of it is durable is known when the time of its syncs is over."""

    def flush(self) -> int:
        """Begin to write and sync all that was appended."""
        assert self.journal is not None
        self.journal.flush()
        return super().flush()

    def synced(self, position: int) -> list[Record]:
        """The time is over."""
        return SimulatedDisk.synced(self, position)

    def count_syncs(self) -> int:
        """How many were made since the last look."""
        count = sum(1 for call, _ in self.blocks.calls if call in ("sync", "sync_names"))
        self.blocks.calls.clear()
        return count


class SlowJournalStage(TimedStage):
    """Replicas whose every sync takes its time."""

    def __init__(self, count: int = 3, seed: int = 1) -> None:
        super().__init__(count, seed=seed)
        self._free_at: dict[ReplicaId, int] = dict.fromkeys(self.replicas, 0)  # when the journal thread has time again
        self._unprepared: dict[ReplicaId, int] = dict.fromkeys(self.replicas, 0)
        self._prepared_at: dict[ReplicaId, int] = dict.fromkeys(self.replicas, 0)
        for process in self.replicas.values():
            process.disk = TimedJournalDisk(process.id, process.mark, SEGMENT_BYTES)

    def sync(self, process: Process) -> None:
        """Flush, and then keep the next segment ahead; both take a sync's time for each sync."""
        process.is_syncing = True
        replica = process.id
        disk = process.disk
        assert isinstance(disk, TimedJournalDisk) and disk.journal is not None
        position = disk.flush()
        done_at = max(self.now, self._free_at[replica]) + disk.count_syncs() * self.sync_ns[replica]
        self._unprepared[replica] += 1
        grown = disk.journal.durable - self._prepared_at[replica]
        if self._unprepared[replica] >= PREPARED_FLUSHES or grown >= PREPARED_BYTES:
            self._unprepared[replica] = 0
            self._prepared_at[replica] = disk.journal.durable
            disk.journal.prepare()
        self._free_at[replica] = done_at + disk.count_syncs() * self.sync_ns[replica]
        life = process.life
        self.at(done_at, lambda: self._returned(process, life, position))
