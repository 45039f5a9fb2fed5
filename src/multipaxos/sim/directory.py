"""A replica's data directory in a random world: the shipped journal, recovery and identity over simulated blocks.

What ``host/journal_thread.py`` and ``host/process.py`` do with a journal is done here by command of ``world.py``, which
says when a sync returns. A flush therefore runs when its sync *returns*: nobody could see it earlier. When a crash comes
first, the very same flush runs until some call of the disk, and there the process ends: nothing written, written and not
synced, one copy of the promise renewed and the other not, a segment made and not named. A start that is interrupted ends
in the same way. A machine that crashes loses, besides, any part of what was not synced, sector by sector.

The directory remembers every record it was ever given. What a start recovers must be a first part of that, and hold all
that was durable (I3, rule-R34), also after damage was done to it, unless it refuses by name. Positions count records.

Knows nothing of replicas, time and messages.
"""

import errno
import json
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

import google_crc32c

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot, ballot_text
from multipaxos.core.decree import Decree
from multipaxos.core.records import AcceptedRecord, LearnedRecord, PromisedRecord, Record
from multipaxos.sim import damage
from multipaxos.sim.blocks import CHANGING, BlockDisk
from multipaxos.sim.checkers import Violation
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.identity import INCARNATION, MARK, DataDirectory, DirectoryRefused
from multipaxos.storage.journal import Journal, create_journal
from multipaxos.storage.segment import FORMAT
from multipaxos.trace import record_text

Refusal = JournalDamaged | JournalFull | JournalFailed | DirectoryRefused
REFUSALS = (JournalDamaged, JournalFull, JournalFailed, DirectoryRefused)
"""How a start may end by name."""

PREPARED_FLUSHES: Final = 8
"""The next segment is made further after so many flushes (``host/journal_thread.py``)."""

IDLE_NS: Final = 10_000_000
"""So long after a flush it is quiet."""

CALLS_OF_A_FLUSH: Final = (0, 1, 1, 1, 1, 2, 3, 4, 5, 6, 8, 12, 20)
"""Before which call of the disk a crash strikes: 1 is behind the write and before its sync."""

CALLS_OF_A_START: Final = 30


class Killed(Exception):
    """The process ended in the middle of a call of the disk."""


class Directory:
    """One replica's directory. Implements ``disk.ProcessDisk``."""

    __slots__ = (
        "_elsewhere", "_given", "_handed_at", "_highest", "_is_flushing", "_journal", "_replica", "_segment_bytes",
        "_unprepared", "_vouched", "blocks", "damage", "durable", "has_failed", "is_copy_rotten", "mark", "records",
        "rotten_reads",
    )  # fmt: skip

    def __init__(self, replica: ReplicaId, mark: int, segment_bytes: int) -> None:
        self.blocks = made(replica, mark)
        self.records: list[Record] = []  # all the journal was given and may still hold
        self.durable = 0
        self.damage: list[str] = []  # for which a start may refuse: on the disk it may outlive many starts
        self.is_copy_rotten = False  # of the promises; made anew by the next start
        self.rotten_reads = 0  # reads that found damage
        self.has_failed = False  # a sync has: the process must stop
        self.mark = mark
        self._replica = replica
        self._segment_bytes = segment_bytes
        self._journal: Journal | None = None  # while a process runs
        self._given = 0  # so many of the records were handed to the journal
        self._handed_at: deque[int] = deque()  # of those behind ``durable``
        self._is_flushing = False
        self._highest: Ballot = NO_BALLOT  # the highest promise ever given, lost ones included
        self._vouched: Ballot = NO_BALLOT  # the highest that was durable
        self._unprepared = 0
        self._elsewhere: list[Record] = []  # promises that the last start found beside the records

    # What a process asks for

    @property
    def appended(self) -> int:
        """How many records were handed over and not lost."""
        return len(self.records)

    @property
    def oldest_write_at(self) -> int:
        """When the oldest write that is not durable yet was handed over, 0 for none."""
        return self._handed_at[0] if self._handed_at else 0

    def start(self) -> tuple[int, list[Record]]:
        """Open the directory, recover the journal, copy and sync its end. Raises one of ``REFUSALS`` by name, or
        Violation where what is recovered is not what was written."""
        incarnation, self._journal, found = self._open()
        self._judge(found)
        return incarnation, found

    def append(self, record: Record, now: int) -> None:
        """Take one record in; the journal gets it with the next flush."""
        self.records.append(record)
        self._handed_at.append(now)
        if isinstance(record, (AcceptedRecord, PromisedRecord)) and record.ballot > self._highest:
            self._highest = record.ballot

    def flush(self) -> int:
        """The journal thread takes all that waits; returns the position its sync will cover."""
        assert self._journal is not None
        self._is_flushing = True
        self._journal.append(self.records[self._given :])
        self._given = len(self.records)
        return self._given

    def synced(self, position: int) -> list[Record]:
        """Write and sync: the sync has returned. Raises JournalFull, after which it may be tried again, or JournalFailed."""
        if self._is_flushing:
            assert self._journal is not None
            self._journal.flush()
            self._is_flushing = False
            self._unprepared += 1
        fresh = self._elsewhere + self.records[self.durable : position]
        self._elsewhere = []
        for record in fresh:
            if isinstance(record, (AcceptedRecord, PromisedRecord)) and record.ballot > self._vouched:
                self._vouched = record.ballot
        for _ in range(position - self.durable):
            self._handed_at.popleft()
        self.durable = position
        return fresh

    def read(self, first: Slot, last: Slot, bytes_max: int) -> list[tuple[Slot, Ballot, Decree]]:
        """Decrees for a laggard; nothing where the journal finds that they have rotted."""
        assert self._journal is not None
        for record in self.records[self._given :]:
            # A running replica's journal has these at once, and reads nothing from the lowest of them on.
            if isinstance(record, (AcceptedRecord, LearnedRecord)):
                last = min(last, record.slot - 1)
        try:
            return self._journal.read(first, last, bytes_enough=bytes_max)
        except JournalDamaged:
            if not self.damage:
                raise Violation("rule-R34", f"replica {self._replica} finds damage that nobody did") from None
            self.rotten_reads += 1
            return []

    # What the journal thread does besides

    def prepare(self) -> None:
        """After a flush that was told: the next segment keeps pace. Raises JournalFailed."""
        if self._unprepared >= PREPARED_FLUSHES and self._journal is not None:
            self._unprepared = 0
            self._journal.prepare()

    def idle(self) -> int:
        """It is quiet: the lone seal, the next segment. Returns after how long to come again, 0 for never. Raises
        JournalFailed."""
        assert self._journal is not None
        self._unprepared = 0
        while True:
            again_ns = self._journal.idle(IDLE_NS)
            if again_ns != 1:
                return again_ns

    # Crashes

    def crash_process(self, random: Random, is_starting: bool = False) -> None:
        """kill -9: what the operating system has stays."""
        self._end(random, is_starting)
        self.blocks.kill()

    def crash_machine(self, random: Random, is_starting: bool = False) -> bool:
        """Power loss: of what was not synced any part is lost. Returns whether a write was torn by it."""
        self._end(random, is_starting)
        kinds = [kind for kind, _, _ in self.blocks.units()]
        count = len(kinds)
        how = random.random()
        if how < 0.25:
            kept = [False] * count
        elif how < 0.35:
            kept = [True] * count
        elif how < 0.65:
            first = random.randrange(count + 1)
            kept = [number < first for number in range(count)]
        else:
            kept = [random.random() < 0.5 for _ in range(count)]
        torn = -1
        torn_bytes = -1
        pieces = [number for number in range(count) if kinds[number] == "data"]
        if pieces and random.random() < 0.3:
            # No disk promises that a sector is written whole, either.
            torn = random.choice(pieces)
            torn_bytes = random.randrange(1, 64)
            kept[torn] = True
        self.blocks = self.blocks.lose_power(
            lambda number: kept[number], lambda number: torn_bytes if number == torn else -1
        )
        of_data = [kept[number] for number in pieces]
        return torn >= 0 or (any(of_data) and not all(of_data))

    def _end(self, random: Random, is_starting: bool) -> None:
        """The process ends in the middle of whatever its journal thread was doing."""
        journal = self._journal
        if is_starting:
            self._until_call(random.randrange(CALLS_OF_A_START), self._open)
        elif journal is not None:
            if self._is_flushing:
                self._until_call(random.choice(CALLS_OF_A_FLUSH), journal.flush)
            elif random.random() < 0.2:
                self._until_call(random.randrange(4), self.idle)
        self._journal = None
        self._is_flushing = False
        self.has_failed = False
        del self.records[self._given :]

    def _until_call(self, number: int, work: Callable[[], object]) -> None:
        """Let ``work`` go on until its call ``number`` of those that change the disk."""
        left = number

        def before(call: str, name: str) -> None:
            nonlocal left
            if call in CHANGING:
                if left == 0:
                    raise Killed
                left -= 1

        self.blocks.before = before
        try:
            work()
        except (Killed, *REFUSALS):
            pass  # whatever it found, nobody hears of it any more
        self.blocks.before = None

    # Faults

    def fail_sync(self, number: int) -> None:
        """Let a sync fail: the one after the next ``number``."""
        left = number

        def before(call: str, name: str) -> None:
            nonlocal left
            if call == "sync":
                if left == 0:
                    self.has_failed = True
                    raise OSError(errno.EIO, "Input/output error")
                left -= 1

        self.blocks.before = before

    def mend(self) -> None:
        """Nothing fails any more, and there is space."""
        self.blocks.before = None
        self.blocks.space = None

    def rot(self, random: Random) -> bool:
        """Flip a bit where it matters; whether there was a place for it."""
        return self._damaged(damage.flip(self.blocks, self.mark, random))

    def rot_copy(self, random: Random) -> None:
        """Flip a bit in one of the copies of the promises."""
        damage.flip_copy(self.blocks, random)
        self.is_copy_rotten = True

    @property
    def is_sound(self) -> bool:
        """Whether nothing on its disk is known to have rotted."""
        return not self.damage and not self.is_copy_rotten

    def may_refuse(self, refusal: Refusal) -> bool:
        """Whether the last start had this reason to refuse: it names a file that was damaged; or the copies of the promises,
        where one rotted and a crash tore the other."""
        text = str(refusal)
        if any(name in text for what in self.damage for name in damage.files_in(what)):
            return True
        return self.is_copy_rotten and damage.are_copies_lost(self.blocks, self.mark)

    def rot_harmlessly(self, random: Random) -> bool:
        """Flip a bit behind the end of the journal, for which nothing may refuse."""
        return damage.flip_harmless(self.blocks, self.mark, random)

    def lose_write(self, random: Random) -> bool:
        """Lose a sector that was synced and sealed."""
        return self._damaged(damage.lose_sector(self.blocks, self.mark, random))

    def misdirect_write(self, random: Random) -> bool:
        """Write a sector over another one."""
        return self._damaged(damage.misdirect(self.blocks, self.mark, random))

    def _damaged(self, what: str) -> bool:
        if what:
            self.damage.append(what)
        return bool(what)

    # What must be there

    def _open(self) -> tuple[int, Journal, list[Record]]:
        directory = DataDirectory.open(self.blocks.where, self._replica, disk=self.blocks)
        try:
            journal = directory.journal(self._segment_bytes)
            return directory.incarnation, journal, [record for _, record in journal.recovered()]
        except REFUSALS:
            directory.close()
            raise

    def _judge(self, found: list[Record]) -> None:
        known = self.records
        kept = 0
        while kept < len(found) and kept < len(known) and found[kept] == known[kept]:
            kept += 1
        if kept < self.durable:
            lost = known[kept]
            invariant = "I3" if isinstance(lost, (AcceptedRecord, PromisedRecord)) else "rule-R34"
            raise Violation(
                invariant,
                f"replica {self._replica} starts without {record_text(lost)}, its record {kept}, which was durable"
                f"{self._after()}",
            )
        promised = NO_BALLOT
        for record in found[kept:]:
            # A promise may be known from elsewhere: from a copy, a seal or the head of a segment (rule-R36).
            if not isinstance(record, PromisedRecord) or record.ballot > self._highest:
                raise Violation(
                    "rule-R34",
                    f"replica {self._replica} recovers {record_text(record)}, which it never wrote{self._after()}",
                )
        for record in found:
            if isinstance(record, (AcceptedRecord, PromisedRecord)):
                promised = max(promised, record.ballot)
        if promised < self._vouched:
            raise Violation(
                "I3",
                f"replica {self._replica} starts at promise {ballot_text(promised)}, "
                f"after {ballot_text(self._vouched)} was durable{self._after()}",
            )
        del known[kept:]
        self._elsewhere = found[kept:]
        self._given = kept
        self._handed_at = deque([0] * (kept - self.durable))
        self._unprepared = 0
        self.is_copy_rotten = False

    def _after(self) -> str:
        return f", after {', '.join(self.damage)}" if self.damage else ""


def made(replica: ReplicaId, mark: int) -> BlockDisk:
    """A disk with a directory as ``DataDirectory.create`` makes it, but of a mark that a seed fixes."""
    blocks = BlockDisk()
    blocks.is_recording = False
    create_journal(blocks, mark)
    _put(blocks, INCARNATION, {"incarnation": 0})
    blocks.create(MARK).close()
    value = {
        "filesystem": blocks.filesystem(),
        "format": FORMAT,
        "inode": blocks.inode(MARK),
        "made": "2026-01-01T00:00:00Z",
        "mark": f"{mark:016x}",
        "replica": replica,
    }
    _put(blocks, MARK, value)
    blocks.sync_names()
    return blocks


def _put(blocks: BlockDisk, name: str, value: dict[str, object]) -> None:
    file = blocks.open(name) if name in blocks.names() else blocks.create(name)
    text = json.dumps(value, sort_keys=True).encode() + b"\n"
    file.write(0, [text, b"crc32c %08x\n" % google_crc32c.value(text)])
    file.sync()
