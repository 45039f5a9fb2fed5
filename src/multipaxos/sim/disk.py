"""What a simulated process asks of its data directory, and the simplest thing that answers: a list of records.

Three borders move over the records, as they do under a real journal. *Appended* is what the core wrote: bytes in the
memory of the process. *Written* is what a flush handed to the operating system: it outlives the process, not the
machine. *Durable* is what a completed sync covers: it outlives both. So a process crash and a machine crash are two
different faults (rule-R37). Positions count records.

``SimulatedDisk`` serves the small worlds of ``stage.py``, where each crash keeps exactly what a story says. It knows
nothing of bytes, checksums and torn sectors. The replicas of random worlds keep the shipped journal over a simulated
block device instead: ``directory.py``. Virtual time and the length of a sync are the business of whoever owns the
process (``world.py``, ``stage.py``).
"""

from random import Random
from typing import Protocol

from multipaxos.core.ballot import Ballot, Slot
from multipaxos.core.decree import Decree
from multipaxos.core.records import AcceptedRecord, LearnedRecord, Record


class ProcessDisk(Protocol):
    """A data directory, as ``process.py`` uses it."""

    @property
    def appended(self) -> int:
        """The journal position: how many records were ever handed over and not lost."""

    @property
    def durable(self) -> int:
        """How many of them a completed sync covers."""

    @property
    def oldest_write_at(self) -> int:
        """When the oldest write that is not durable yet was handed over; 0 when all is durable."""

    def start(self) -> tuple[int, list[Record]]:
        """A process starts: its incarnation, and all that can be read."""

    def append(self, record: Record, now: int) -> None:
        """Take one record into the buffer of the process."""

    def flush(self) -> int:
        """Begin to write and sync all that was appended; the position this will cover."""

    def synced(self, position: int) -> list[Record]:
        """That sync has returned; the records it made durable."""

    def read(self, first: Slot, last: Slot, bytes_max: int) -> list[tuple[Slot, Ballot, Decree]]:
        """Chosen decrees ``first``..``last`` with the ballot each is known to be chosen at, up to about ``bytes_max``."""

    def crash_process(self, random: Random) -> object:
        """kill -9."""

    def crash_machine(self, random: Random) -> object:
        """Power loss."""


class SimulatedDisk:
    """One data directory: the journal and the incarnation counter."""

    __slots__ = ("_handed_at", "_learned", "_votes", "durable", "incarnation", "records", "written")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.written = 0
        self.durable = 0
        self.incarnation = 0
        self._handed_at: list[int] = []  # per record, when the step that wrote it took place
        self._learned: dict[Slot, tuple[Ballot, Decree]] = {}
        self._votes: dict[Slot, tuple[Ballot, Decree]] = {}

    @property
    def appended(self) -> int:
        """The journal position."""
        return len(self.records)

    @property
    def oldest_write_at(self) -> int:
        """When the oldest write that is not durable yet was handed over; 0 when all is durable."""
        if self.durable == len(self.records):
            return 0
        return self._handed_at[self.durable]

    def start(self) -> tuple[int, list[Record]]:
        """Count the start, and read all there is."""
        self.incarnation += 1
        return self.incarnation, list(self.records)

    def append(self, record: Record, now: int) -> None:
        """Take one record into the buffer of the process."""
        self.records.append(record)
        self._handed_at.append(now)
        self._index(record)

    def flush(self) -> int:
        """Hand the buffer to the operating system; returns the position that the sync now running will cover."""
        self.written = len(self.records)
        return self.written

    def synced(self, position: int) -> list[Record]:
        """A sync up to ``position`` has returned; the records it made durable."""
        assert position <= self.written
        fresh = self.records[self.durable : position]
        self.durable = max(self.durable, position)
        return fresh

    def crash_process(self, random: Random) -> int:
        """kill -9: the buffer is gone, what was written stays, or part of it when the write was under way.

        Returns how many records survive that no sync covers."""
        keep = self.written
        if keep > self.durable and random.random() < 0.3:
            keep = random.randrange(self.durable, self.written + 1)
        self._cut(keep)
        return keep - self.durable

    def crash_machine(self, random: Random) -> int:
        """Power loss: what no sync covered is gone, except a first part the system happened to have written out.

        Returns how many records were lost."""
        keep = self.durable
        if self.written > keep and random.random() < 0.3:
            keep = random.randrange(keep, self.written + 1)
        lost = len(self.records) - keep
        self._cut(keep)
        return lost

    def read(self, first: Slot, last: Slot, bytes_max: int) -> list[tuple[Slot, Ballot, Decree]]:
        """Chosen decrees ``first``..``last``. The caller knows them to be learned; then a learned record counts before a
        vote (rule-R5)."""
        found: list[tuple[Slot, Ballot, Decree]] = []
        size = 0
        for slot in range(first, last + 1):
            pvalue = self._learned.get(slot) or self._votes.get(slot)
            if pvalue is None:
                break
            size += len(pvalue[1])
            if found and size > bytes_max:
                break
            found.append((slot, pvalue[0], pvalue[1]))
        return found

    def _cut(self, keep: int) -> None:
        del self.records[keep:]
        del self._handed_at[keep:]
        self.written = keep
        self.durable = min(self.durable, keep)
        self._learned.clear()
        self._votes.clear()
        for record in self.records:
            self._index(record)

    def _index(self, record: Record) -> None:
        if isinstance(record, AcceptedRecord):
            self._votes[record.slot] = (record.ballot, record.decree)
        elif isinstance(record, LearnedRecord):
            self._learned[record.slot] = (record.ballot, record.decree)
