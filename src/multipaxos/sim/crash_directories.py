"""The data directory as a whole: made, opened, told its cluster, voted in; crashed, rotten, emptied in part, copied.

A directory that was used opens as what it is, or is refused and left as it is; it is never taken for a new one, and never
made new over what is left of the old (rule-R40, bug-C14, bug-C17). A start that returned is counted for ever (rule-R41).
"""

import errno
import itertools
from collections.abc import Iterator
from typing import Final

from multipaxos.core.records import Record
from multipaxos.sim.blocks import CHANGING, BlockDisk
from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_errors import ErringDisk
from multipaxos.sim.crash_life import promised, vote
from multipaxos.sim.crash_losses import Losses
from multipaxos.sim.crash_verdict import REFUSALS, SEGMENT_BYTES, matched, promise_in
from multipaxos.storage.identity import CLUSTER, INCARNATION, MARK, DataDirectory, DirectoryRefused
from multipaxos.storage.segment import segment_number

PATH: Final = "data"
REPLICA: Final = 1
CLUSTER_ID: Final = "c" * 32
LIST_DIGEST: Final = "d" * 32

RECORDS: Final[tuple[Record, ...]] = (promised(1), vote(1), promised(2), vote(2, 2))

SMALL_FILES: Final = (MARK, CLUSTER, INCARNATION)
NOT_MEMORY: Final = ("README", "lock", "creating", "spare", "stopped")
"""Files whose loss costs nothing that was promised."""

LOSS_BOUND: Final = 10
LOSS_SAMPLES: Final = 32


def opened_as_host_does(disk: BlockDisk) -> DataDirectory:
    """A start, as ``host/process.py`` decides it: a directory that holds nothing yet is made. Raises DirectoryRefused."""
    if DataDirectory.look(PATH, disk) in ("missing", "empty", "unfinished"):
        return DataDirectory.create(PATH, REPLICA, disk)
    return DataDirectory.open(PATH, REPLICA, disk=disk)


class Lives:
    """Three lives of one directory, and what somebody may rely on by now."""

    def __init__(self, disk: BlockDisk) -> None:
        self.disk = disk
        self.mark = 0  # 0 before a directory was handed out
        self.incarnation = 0
        self.cluster = ""
        self.told: list[tuple[int, Record]] = []
        self.safe = 0

    def live(self) -> None:
        """A first start, a vote, a second start, the birth of the cluster, a third start, more votes."""
        self._use(opened_as_host_does(self.disk), RECORDS[:2])
        self.disk.is_locked = False
        directory = opened_as_host_does(self.disk)
        self._use(directory, ())
        directory.set_cluster(CLUSTER_ID, LIST_DIGEST)
        self.cluster = CLUSTER_ID
        self.disk.is_locked = False
        self._use(opened_as_host_does(self.disk), RECORDS[2:])

    def _use(self, directory: DataDirectory, records: tuple[Record, ...]) -> None:
        self.mark = directory.mark
        self.incarnation = directory.incarnation
        journal = directory.journal(SEGMENT_BYTES)
        for _ in journal.recovered():
            pass
        journal.append(records)
        self.told.extend((0, record) for record in records)
        journal.flush()
        self.safe = len(self.told)
        journal.close()


class Directories:
    """All that can happen to the lives of a directory."""

    def __init__(self) -> None:
        self.points = 0
        self.states = 0
        self.damages = 0
        self.errors = 0
        self._known = Lives(BlockDisk())
        self._disk = self._known.disk

    def run(self) -> None:
        """Raises Violation."""
        self._disk.before = self._before
        self._known.live()
        self._try("the end")
        self._disk.before = None
        self._disk.is_locked = False
        for text, disk in self._damaged():
            self.damages += 1
            self._check_damage(text, disk)
        self._check_copy()
        self._run_errors()

    def _run_errors(self) -> None:
        """An error at each call: refused or stopped by name, and nothing forgotten (rule-R37)."""
        sound = ErringDisk()
        Lives(sound).live()
        for number, (call, name) in enumerate(sound.told):
            for code in (errno.EIO, errno.ENOSPC):
                self.errors += 1
                disk = ErringDisk()
                disk.target = number
                disk.fault = (code, "")
                self._known = Lives(disk)
                where = f"directory, {errno.errorcode[code]} at call {number}, {call} {name}"
                try:
                    self._known.live()
                except (DirectoryRefused, *REFUSALS):
                    pass
                except OSError as error:
                    raise Violation("rule-R37", f"{where}: the error leaves the directory: {error}") from error
                found = [("started again", disk.copy())]
                found.extend(Losses(disk).states(LOSS_BOUND, LOSS_SAMPLES, number))
                self._judge_all(found, where)

    # Crashes

    def _before(self, call: str, name: str) -> None:
        if call in CHANGING:
            self._try(f"before {call} {name}".rstrip())

    def _try(self, where: str) -> None:
        self.points += 1
        found: list[tuple[str, BlockDisk]] = [("process killed", self._disk.copy())]
        found.extend(Losses(self._disk).states(LOSS_BOUND, LOSS_SAMPLES, self.points))
        self._judge_all(found, f"directory, point {self.points} {where}")

    def _judge_all(self, found: list[tuple[str, BlockDisk]], where: str) -> None:
        for how, disk in found:
            self.states += 1
            try:
                self._check_crash(disk)
            except Violation as violation:
                raise Violation(violation.invariant, f"{where}, {how}: {violation.text}") from violation

    def _check_crash(self, disk: BlockDisk) -> None:
        known = self._known
        if known.mark and DataDirectory.look(PATH, disk) != "used":
            raise Violation("rule-R40", f"a directory in use looks {DataDirectory.look(PATH, disk)} after a crash")
        mark, incarnation, found = self._start(disk, "trap-T27")
        if known.mark and mark != known.mark:
            raise Violation("rule-R40", "a directory in use is made anew after a crash")
        if incarnation <= known.incarnation:
            raise Violation("rule-R41", f"incarnation {incarnation} comes after {known.incarnation}")
        if matched(found, known.told) < known.safe:
            raise Violation("I8", "what was called durable is gone")
        again_mark, again, read = self._start(disk.lose_power(), "rule-R37")
        if (again_mark, read) != (mark, found):
            raise Violation("rule-R37", "what a start vouched for was in memory only")
        if again <= incarnation:
            raise Violation("rule-R41", f"incarnation {again} comes after {incarnation}")

    def _start(self, disk: BlockDisk, identity: str) -> tuple[int, int, list[tuple[int, Record]]]:
        """One more start; a refusal is a violation of ``identity``."""
        disk.is_locked = False
        try:
            directory = opened_as_host_does(disk)
            if directory.cluster != self._known.cluster and self._known.cluster:
                raise Violation("rule-R40", "the directory has forgotten its cluster")
            return directory.mark, directory.incarnation, list(directory.journal(SEGMENT_BYTES).recovered())
        except (DirectoryRefused, *REFUSALS) as refusal:
            raise Violation(identity, f"refused: {str(refusal)[:200]}") from refusal

    # Damage

    def _damaged(self) -> Iterator[tuple[str, BlockDisk]]:
        """Every bit of the small files flipped, every cut of them, every part of the directory deleted."""
        for name in SMALL_FILES:
            size = len(self._disk.files[name].cached)
            for bit in range(size * 8):
                disk = self._disk.copy()
                disk.flip(name, bit)
                yield f"bit {bit} of {name} flipped", disk
            for end in range(size):
                disk = self._disk.copy()
                disk.cut(name, end)
                yield f"{name} cut to {end} bytes", disk
        names = self._disk.names()
        for count in range(1, len(names) + 1):
            for gone in itertools.combinations(names, count):
                disk = self._disk.copy()
                for name in gone:
                    disk.remove(name)
                disk.sync_names()
                yield f"{', '.join(gone)} deleted", disk

    def _check_damage(self, where: str, disk: BlockDisk) -> None:
        known = self._known
        before = _contents(disk)
        is_wiped = not any(name not in NOT_MEMORY for name in before)
        try:
            directory = opened_as_host_does(disk)
        except DirectoryRefused:
            if _contents(disk) != before:
                raise Violation("rule-R40", f"{where}: a directory that is refused is changed") from None
            return
        if directory.mark != known.mark:
            if not is_wiped:
                raise Violation("rule-R40", f"{where}: a directory is made anew over what is left of the old one")
            return  # peers know its mark, and refuse the new one
        if is_wiped:
            raise Violation("rule-R40", f"{where}: an emptied directory is given the mark of the old one")
        if directory.incarnation <= known.incarnation:
            raise Violation("rule-R41", f"{where}: incarnation {directory.incarnation} comes after {known.incarnation}")
        try:
            found = list(directory.journal(SEGMENT_BYTES).recovered())
        except REFUSALS:
            kept = _contents(disk)
            for name, content in before.items():
                if segment_number(name) and kept.get(name) != content:
                    raise Violation("rule-R40", f"{where}: a journal that is refused is changed") from None
            return
        if promise_in(found) < promise_in(known.told):
            raise Violation("I3", f"{where}: a directory that lost its promise is started")
        if matched(found, known.told) < known.safe:
            raise Violation("rule-R40", f"{where}: a directory that lost its votes is started")

    def _check_copy(self) -> None:
        """``cp -a`` gives the same bytes under other inodes; also of one file alone, put back from yesterday."""
        disk = self._disk.copy()
        for number, inode in enumerate(disk.files.values(), 1000):
            inode.number = number
        self.damages += 1
        try:
            opened_as_host_does(disk)
        except DirectoryRefused as refusal:
            if refusal.reason == "copied":
                return
        raise Violation("rule-R41", "a copy of a directory is started")


def _contents(disk: BlockDisk) -> dict[str, bytes]:
    return {name: bytes(inode.cached) for name, inode in disk.files.items() if name != "lock"}
