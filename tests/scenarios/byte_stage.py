"""A stage whose replicas keep their records in the shipped journal, byte for byte, over simulated disks of blocks.

The other stages keep records as objects: durable or not. Here what a crash, a power loss or a rotten bit makes of them is
decided by ``storage/journal.py`` itself, and what it then tells the core decides what the cluster does. A replica whose
journal refuses to start stays down, and ``refused`` says why.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.records import Record
from multipaxos.core.settings import Settings
from multipaxos.sim.blocks import BlockDisk
from multipaxos.sim.disk import SimulatedDisk
from multipaxos.sim.stage import Stage
from multipaxos.storage.faults import JournalDamaged, JournalFull
from multipaxos.storage.journal import Journal, create_journal
from multipaxos.storage.record import ACCEPTED, search, seed_of
from multipaxos.storage.segment import read_head, segment_number

SEGMENT_BYTES = 16_384
"""Small, so that a scenario goes through several segments."""

Keep = Callable[[int], bool]
"""Whether an unsynced sector, by its number, is on the disk when the power is back."""


def some_of(bits: int) -> Keep:
    """The sectors whose bit is set."""
    return lambda sector: bool(bits >> sector % 64 & 1)


class Interrupted(Exception):
    """The process died, or the power went, between a write and its sync."""


class JournalDisk(SimulatedDisk):
    """What ``SimulatedDisk`` keeps as objects, kept by a journal over blocks."""

    def __init__(self, replica: ReplicaId, mark: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        super().__init__()
        self.segment_bytes = segment_bytes
        self.replica = replica
        self.mark = mark
        self.blocks = BlockDisk()
        self.journal: Journal | None = None
        self.cut = ""  # what the last start cut off as a torn tail
        create_journal(self.blocks, mark)

    def start(self) -> tuple[int, list[Record]]:
        """A process starts: all that its journal tells. Raises JournalDamaged."""
        self.incarnation += 1
        journal = Journal(self.blocks, self.mark, self.replica, self.incarnation, self.segment_bytes)
        told = [record for group, record in journal.recovered() if group == 0]
        self._cut(0)
        for record in told:
            super().append(record, 0)
        self.written = len(told)
        self.journal = journal
        self.cut = journal.cut
        return self.incarnation, told

    def append(self, record: Record, now: int) -> None:
        """Take one record into the journal's buffer."""
        assert self.journal is not None
        super().append(record, now)
        self.journal.append([record])

    def synced(self, position: int) -> list[Record]:
        """The sync returns: the journal writes and syncs what waits, then its lone seal."""
        assert self.journal is not None
        self.journal.flush()
        self.journal.seal_now()
        return super().synced(position)

    def crash_process(self, random: Random) -> int:
        """kill -9, between the write and the sync of what waits: the page cache outlives it."""
        self._interrupt()
        self.blocks.kill()
        return 0

    def crash_machine(self, random: Random) -> int:
        """Power loss: of what was not synced nothing is left."""
        self.lose_power(lambda unit: False)
        return 0

    def lose_power(self, keep: Keep) -> None:
        """Power loss: of the sectors that were not synced, those are left that ``keep`` says."""
        self._interrupt()
        self.blocks = self.blocks.lose_power(keep)

    def _interrupt(self) -> None:
        """Let what waits be written, and not synced."""
        journal, self.journal = self.journal, None
        if journal is None or journal.durable == journal.appended:
            return

        def before(call: str, name: str) -> None:
            if call == "sync":
                raise Interrupted

        self.blocks.before = before
        with suppress(Interrupted, JournalFull):
            journal.flush()
        self.blocks.before = None

    def rot(self, slot: int) -> None:
        """A bit of the vote in ``slot`` flips, on the disk and in what is read of it."""
        for name in reversed([name for name in self.blocks.names() if segment_number(name)]):
            file = self.blocks.open(name)
            head = read_head(file)
            shift = head.base - head.records_at
            for found in search(file, seed_of(self.mark), head.records_at, shift, file.size()):
                if found[2] == ACCEPTED and found[4] == slot:
                    self.blocks.flip(name, (found[1] - shift - 1) * 8 + 3)  # the last byte of the decree
                    return
        raise AssertionError(f"no vote in slot {slot}")


class ByteStage(Stage):
    """Replicas over journals."""

    def __init__(self, count: int = 3, settings: Settings | None = None) -> None:
        super().__init__(count, settings)
        self.refused: dict[ReplicaId, str] = {}  # whose journal refuses to start, and why
        self.full: dict[ReplicaId, str] = {}  # whose journal has no room for what waits, and why
        for process in self.replicas.values():
            process.disk = JournalDisk(process.id, process.mark)

    def disk(self, replica: ReplicaId) -> JournalDisk:
        """The journal and the blocks of a replica."""
        disk = self.replicas[replica].disk
        assert isinstance(disk, JournalDisk)
        return disk

    def start(self, *replicas: ReplicaId) -> None:
        """Start processes; one whose journal is damaged stays down."""
        for replica in replicas or tuple(self.replicas):
            self.refused.pop(replica, None)
            try:
                super().start(replica)
            except JournalDamaged as damaged:
                self.refused[replica] = str(damaged)

    def synced(self, replica: ReplicaId) -> None:
        """The sync under way returns; where the disk has no room for what it was to write, it does not, until it has."""
        process = self.replicas[replica]
        position = self._syncing[replica]
        try:
            super().synced(replica)
        except JournalFull as full:
            self.full[replica] = str(full)
            self._syncing[replica] = position
            process.is_syncing = True

    def fill(self, *replicas: ReplicaId) -> None:
        """Others have filled the disks: no segment of the journal can be made any more."""
        for replica in replicas:
            self.disk(replica).blocks.space = 0

    def make_room(self, *replicas: ReplicaId) -> None:
        """Space returns; the journal, which tries again each second, finds it."""
        for replica in replicas:
            self.disk(replica).blocks.space = None
            if self.full.pop(replica, "") and replica in self._syncing:  # it may have crashed meanwhile
                self.synced(replica)

    def lose_power(self, *keeps: Keep) -> None:
        """Power loss everywhere at one moment; of each disk what ``keeps`` says of its unsynced sectors is left."""
        for process, keep in zip(self.replicas.values(), keeps, strict=True):
            process.stop()
            self._syncing.pop(process.id, None)
            self.disk(process.id).lose_power(keep)
        self.flight = []
