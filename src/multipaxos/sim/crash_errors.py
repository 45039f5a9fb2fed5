"""A call to the disk fails: each call of a workload's last operation, with each error a disk gives.

    EIO, ENOSPC    the call does nothing and says so
    short          a write does its first half, then says EIO or ENOSPC
    ruined         a sync says EIO, and what the disk holds of the blocks that were under way is neither old nor new

Behind a failed sync the page cache calls everything clean, so a second sync would prove nothing (bug-C02). What must hold:
the journal stops for good, or the next segment could not be made and nothing of the flush was written (rule-R38); nothing is
called durable that the next start does not find; and that start vouches for nothing that only memory holds (rule-R37).
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from multipaxos.core.records import Record
from multipaxos.sim.blocks import CHANGING, SECTOR, BlockDisk, BlockFile
from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_life import Life, fresh, vote
from multipaxos.sim.crash_losses import Losses
from multipaxos.sim.crash_verdict import SEGMENT_BYTES, check_crash
from multipaxos.storage.disk import BLOCK_BYTES
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.journal import STOPPED
from multipaxos.storage.segment import SPARE

FAILING: Final = (*CHANGING, "open", "read")

SHORT: Final = "short"
RUINED: Final = "ruined"

Fault = tuple[int, str]
"""errno, and how: "", SHORT or RUINED"""

FAULTS: Final[dict[str, tuple[Fault, ...]]] = {
    "write": ((errno.EIO, ""), (errno.ENOSPC, ""), (errno.EIO, SHORT), (errno.ENOSPC, SHORT)),
    "sync": ((errno.EIO, ""), (errno.ENOSPC, ""), (errno.EIO, RUINED)),
    "create": ((errno.EIO, ""), (errno.ENOSPC, "")),
}

OTHER_FAULTS: Final[tuple[Fault, ...]] = ((errno.EIO, ""),)

LOSS_BOUND: Final = 4
LOSS_SAMPLES: Final = 4


class ErringDisk(BlockDisk):
    """A disk on which one call fails."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0  # of the next call
        self.target = -1  # the call that fails
        self.fault: Fault = (0, "")
        self.told: list[tuple[str, str]] = []  # (call, file) of all that were counted
        self.is_of_zeros = False  # whether the write that failed was of zeros: a segment in the making

    def called(self, call: str, name: str) -> None:
        """Count a call, or let it fail."""
        if call in FAILING:
            number = self.number
            self.number += 1
            self.told.append((call, name))
            if number == self.target:
                code = self.fault[0]
                raise OSError(code, os.strerror(code), name)
        super().called(call, name)

    @property
    def is_striking(self) -> bool:
        """Whether the next call is the one that fails."""
        return self.number == self.target

    def create(self, name: str) -> BlockFile:
        """A new file."""
        return ErringFile(self, super().create(name))

    def open(self, name: str) -> BlockFile:
        """An existing file."""
        return ErringFile(self, super().open(name))


class ErringFile(BlockFile):
    """A file of an ``ErringDisk``."""

    def __init__(self, disk: ErringDisk, file: BlockFile) -> None:
        super().__init__(disk, file._inode)
        self._erring = disk

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        """All of it; or nothing, or half of it, and an error."""
        if self._erring.is_striking:
            data = b"".join(parts)
            self._erring.is_of_zeros = not any(data)
            half = data[: len(data) // 2] if self._erring.fault[1] == SHORT else b""
            for at in range(0, len(half), SECTOR):
                unit = (offset + at, half[at : at + SECTOR])
                self._inode.apply(unit, self._inode.cached)
                self._inode.pending.append(unit)
        super().write(offset, parts)

    def sync(self) -> None:
        """All of it; or an error, behind which what the disk holds of a block may be anything."""
        if self._erring.is_striking and self._erring.fault[1] == RUINED:
            durable = self._inode.durable
            for block in {offset // BLOCK_BYTES for offset, _ in self._inode.pending if offset >= 0}:
                first, end = block * BLOCK_BYTES, min((block + 1) * BLOCK_BYTES, len(durable))
                durable[first:end] = b"\xee" * max(0, end - first)
        super().sync()


class Errors:
    """One workload, and every error in its last operation."""

    def __init__(self, workload: str, is_whole: bool = False, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.workload = workload
        self.is_whole = is_whole  # all operations, not the last only
        self.segment_bytes = segment_bytes
        self.errors = 0
        self.states = 0
        self.ends = {"stopped": 0, "full": 0, "went on": 0}

    def run(self) -> None:
        """Raises Violation, its text with the call and the error."""
        if "x" in self.workload:
            return  # behind a power loss a workload goes on with another disk, on which nothing fails
        disk = ErringDisk()
        life = self._begun(disk)
        first = 0
        life.start()
        for letter in self.workload:
            first = disk.number
            life.operate(letter)
        for number in range(0 if self.is_whole else first, len(disk.told)):
            call, name = disk.told[number]
            for fault in FAULTS.get(call, OTHER_FAULTS):
                self.errors += 1
                where = f"workload {self.workload!r}, {errno.errorcode[fault[0]]} {fault[1]}".rstrip()
                try:
                    self._strike(number, fault)
                except Violation as violation:
                    text = f"{where} at call {number}, {call} {name}: {violation.text}"
                    raise Violation(violation.invariant, text) from violation

    def _begun(self, disk: ErringDisk) -> Life:
        life = Life(fresh(disk), self.segment_bytes)
        disk.number = 0
        disk.told = []
        return life

    def _strike(self, number: int, fault: Fault) -> None:
        disk = ErringDisk()
        life = self._begun(disk)
        disk.target = number
        disk.fault = fault
        end = "went on"
        is_running = False
        try:
            life.start()
            is_running = True
            for letter in self.workload:
                is_running = letter not in "ck"
                life.operate(letter)
                is_running = True
        except JournalFailed:
            end = "stopped"
            if is_running:
                self._check_dead(life, disk)
        except JournalFull as full:
            end = "full"
            if disk.told[number][1] != SPARE or fault[0] != errno.ENOSPC:
                raise Violation("rule-R37", f"a failed call is told as a full disk: {full}") from full
            if is_running:
                self._check_goes_on(life)
        except JournalDamaged as damaged:
            raise Violation("trap-T27", f"a failed call is told as damage: {damaged}") from damaged
        except OSError as error:
            raise Violation("rule-R37", f"the error leaves the journal, which goes on: {error}") from error
        self.ends[end] += 1
        self._check_states(life, disk, fault)
        self._check_end(end, disk, number, fault)

    def _check_end(self, end: str, disk: ErringDisk, number: int, fault: Fault) -> None:
        """Whether it was right to stop, to be full, or to go on."""
        call, name = disk.told[number]
        is_growth = name == SPARE and fault[0] == errno.ENOSPC
        if end == "went on" and not is_growth and (call, name) != ("remove", SPARE) and name != STOPPED:
            raise Violation("rule-R37", "the journal goes on as if nothing had happened")
        if end == "stopped" and is_growth and (call == "create" or disk.is_of_zeros):
            raise Violation("rule-R38", "the journal stops, where a full disk was found before anything was written")

    def _check_dead(self, life: Life, disk: ErringDisk) -> None:
        """The first failure is the last thing a journal does: every call fails, and none reaches the disk."""
        journal = life.journal
        before = disk.number
        calls: dict[str, Callable[[], object]] = {
            "append": lambda: journal.append([vote(99)]),
            "append of nothing": lambda: journal.append([]),
            "flush": journal.flush,
            "prepare": journal.prepare,
            "seal_now": journal.seal_now,
            "idle": lambda: journal.idle(0),
            "read": lambda: journal.read(1, 2),
        }
        for name, call in calls.items():
            try:
                call()
            except JournalFailed:
                continue
            raise Violation("rule-R37", f"after a failed write or sync, {name} works again")
        if disk.number != before:
            raise Violation("rule-R37", f"after a failed write or sync the journal calls {disk.told[before]} again")

    def _check_goes_on(self, life: Life) -> None:
        """Space is back: what waited is written (rule-R38)."""
        try:
            life.flush()
        except (JournalFailed, JournalFull) as refusal:
            raise Violation("rule-R38", f"space is back, and what waited is not written: {refusal}") from refusal
        if life.safe != len(life.told):
            raise Violation("rule-R38", f"{len(life.told) - life.safe} records are forgotten by a full disk")

    def _check_states(self, life: Life, disk: ErringDisk, fault: Fault) -> None:
        told: list[tuple[int, Record]] = life.told
        for after in self._after(disk, fault):
            self.states += 1
            check_crash(after, told, life.safe, self.segment_bytes)

    def _after(self, disk: ErringDisk, fault: Fault) -> Iterator[BlockDisk]:
        yield disk.copy()  # a supervisor starts it again, with all that the page cache shows
        if fault[1] == RUINED:
            return  # what the disk holds by itself is damage
        for _, after in Losses(disk).states(LOSS_BOUND, LOSS_SAMPLES, disk.target):
            yield after
