"""A crash before every call that changes the disk: the process, the power, the next start in the middle of its own crash.

Points of the last operation of a workload alone are looked at, unless all are asked for, since those before it belong to the
shorter workload; the empty workload is the first start. What a state must still hold is judged by ``crash_verdict.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from multipaxos.core.records import Record
from multipaxos.sim.blocks import CHANGING, BlockDisk
from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_life import Life, fresh
from multipaxos.sim.crash_losses import Losses
from multipaxos.sim.crash_verdict import REFUSALS, SEGMENT_BYTES, check_copies, check_crash, started


@dataclass(frozen=True, slots=True)
class CrashOptions:
    """How far the enumeration goes."""

    bound: int = 12
    """Up to this many unsynced units all their subsets are tried; above, ``samples`` and the telling ones."""

    samples: int = 64
    tear_every: int = 1
    """Tear sectors at each so-many-th byte; 0 for not at all."""

    is_nested: bool = False
    """Also let the start that follows a crash crash itself."""

    nested_bound: int = 4
    nested_samples: int = 6

    is_whole: bool = False
    """Look at all operations of a workload, not at its last one only."""

    segment_bytes: int = SEGMENT_BYTES


class Crashes:
    """One workload, and every crash in its last operation."""

    def __init__(self, workload: str, options: CrashOptions) -> None:
        self.workload = workload
        self.options = options
        self.points = 0
        self.states = 0
        self.sampled = 0  # points with more outcomes than the bound
        self._seen: set[bytes] = set()
        self._life = Life(fresh(), options.segment_bytes)
        self._is_watching = False
        self._doing = "the first start"

    def run(self) -> None:
        """Raises Violation, its text with the point and the state it stands for."""
        life = self._life
        life.disk.before = self._before
        try:
            self._is_watching = self.options.is_whole or not self.workload
            life.start()
            for index, letter in enumerate(self.workload, 1):
                self._doing = f"operation {index}"
                self._is_watching = self.options.is_whole or index == len(self.workload)
                life.operate(letter)
                check_copies(life.disk, life.told, life.safe)
            self._try("the end", "")
        except Violation as violation:
            text = f"workload {self.workload!r}, {self._doing}, {violation.text}"
            raise Violation(violation.invariant, text) from violation

    def _before(self, call: str, name: str) -> None:
        if self._is_watching and call in CHANGING:
            self._try(call, name)

    def _try(self, call: str, name: str) -> None:
        self.points += 1
        told = list(self._life.told)
        safe = self._life.safe
        where = f"point {self.points} before {call} {name}".rstrip()
        for text, disk in self._crashed():
            self._judge(disk, told, safe, f"{where}, {text}")

    def _crashed(self) -> Iterator[tuple[str, BlockDisk]]:
        """What a crash at this moment leaves."""
        options = self.options
        twin = self._life.disk.copy()
        yield "process killed", twin.copy()
        losses = Losses(self._life.disk)
        yield from losses.half_written()
        if losses.count > 1 << options.bound:
            self.sampled += 1
        yield from losses.states(options.bound, options.samples, self.points)
        yield from losses.torn(options.tear_every)
        if options.is_nested:
            yield from self._in_start("killed", twin.copy())
            yield from self._in_start("powered off", twin.lose_power())
            yield from self._in_start("powered off too late", twin.lose_power(lambda unit: True))

    def _in_start(self, how: str, disk: BlockDisk) -> Iterator[tuple[str, BlockDisk]]:
        """The start after a crash loses its power before it is done."""
        options = self.options
        found: list[tuple[str, BlockDisk]] = []

        def before(call: str, name: str) -> None:
            if call in CHANGING:
                found.append((f"in the start after it was {how}, before {call} {name}", disk.copy()))

        disk.space = None
        disk.before = before
        try:
            started(disk, 2, options.segment_bytes)
        except REFUSALS:
            return  # judged where this state was yielded by itself
        for text, left in found:
            yield f"{text}, killed again", left.copy()
            losses = Losses(left)
            for more, after in losses.states(options.nested_bound, options.nested_samples, self.points):
                yield f"{text}, {more}", after

    def _judge(self, disk: BlockDisk, told: list[tuple[int, Record]], safe: int, where: str) -> None:
        key = _key(disk, len(told), safe)
        if key in self._seen:
            return
        self._seen.add(key)
        self.states += 1
        try:
            check_crash(disk, told, safe, self.options.segment_bytes)
        except Violation as violation:
            raise Violation(violation.invariant, f"{where}: {violation.text}") from violation


def _key(disk: BlockDisk, told: int, safe: int) -> bytes:
    """A name for what a start can see of a disk, and for what it must find."""
    digest = blake2b(b"%d %d" % (told, safe), digest_size=16)
    for name, inode in sorted(disk.files.items()):
        digest.update(b"%s %d %d " % (name.encode(), len(inode.cached), len(inode.durable)))
        digest.update(inode.cached)
        if inode.durable != inode.cached:
            digest.update(inode.durable)
    return digest.digest()
