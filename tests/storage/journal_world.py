"""What the tests of the journal share: a directory with a journal, its life, and what must be found in it afterwards."""

import itertools
import sys
from collections.abc import Sequence

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.records import AcceptedRecord, KeptRecord, LearnedRecord, MarkRecord, PromisedRecord, Record
from multipaxos.sim.blocks import BlockDisk
from multipaxos.storage.journal import Journal, create_journal

MARK = 0x1234_5678_9ABC_DEF0
SMALL = 8192  # a segment with one block of records

Told = list[tuple[int, Record]]


def fresh() -> BlockDisk:
    """A disk with the journal of a replica that was never started."""
    disk = BlockDisk()
    create_journal(disk, MARK)
    disk.calls.clear()
    disk.written.clear()
    return disk


def started(disk: BlockDisk, incarnation: int = 1, segment_bytes: int = SMALL) -> tuple[Journal, Told]:
    """The journal of ``disk`` after one more start, and what it recovered."""
    journal = Journal(disk, MARK, 1, incarnation, segment_bytes)
    return journal, list(journal.recovered())


def vote(slot: int, round_number: int = 1, body: bytes = b"", prefix: int = 0) -> AcceptedRecord:
    """A vote in ``slot``; its decree says which, unless it is given."""
    ballot = ballot_of(round_number, 1)
    return AcceptedRecord(ballot, slot, body or b"%d@%d" % (slot, round_number), prefix)


def learned(slot: int, round_number: int = 1) -> LearnedRecord:
    return LearnedRecord(ballot_of(round_number, 1), slot, b"chosen %d" % slot)


def promised(round_number: int, replica: int = 1) -> PromisedRecord:
    return PromisedRecord(ballot_of(round_number, replica))


def promise_in(told: Sequence[tuple[int, Record]], group: int = 0) -> int:
    """What a core would take for its promise after these records (trap-T3)."""
    highest = NO_BALLOT
    for of_group, record in told:
        if of_group == group and isinstance(record, PromisedRecord | AcceptedRecord):
            highest = max(highest, record.ballot)
    return highest


class Life:
    """A journal in use: what was appended to it, and what it said is durable."""

    def __init__(self, disk: BlockDisk, segment_bytes: int = SMALL) -> None:
        self.disk = disk
        self.journal, self.told = started(disk, segment_bytes=segment_bytes)
        self.ends: list[int] = []  # position behind each of self.told[len(before):]
        self.before = len(self.told)
        self.safe = len(self.told)  # so many of self.told were called durable

    def append(self, *records: Record, group: int = 0) -> int:
        for record in records:
            self.ends.append(self.journal.append([record], group))
            self.told.append((group, record))
        return self.journal.appended

    def flush(self) -> int:
        durable = self.journal.flush()
        self.safe = self.before + sum(1 for end in self.ends if end <= durable)
        return durable


def check_kept(disk: BlockDisk, told: Told, safe: int, segment_bytes: int = SMALL) -> Told:
    """Start from ``disk`` and demand: nothing called durable is missing, nothing is there that was never appended,
    and what is vouched for now survives a power loss at once (rule-R37). Returns what was recovered."""
    _, found = started(disk, 2, segment_bytes)
    kept = 0
    while kept < min(len(found), len(told)) and found[kept] == told[kept]:
        kept += 1
    assert kept >= safe, f"lost {told[kept:safe]}, which was durable"
    for group, record in found[kept:]:
        # Only a promise known from elsewhere may follow: a copy is synced before the next record is.
        assert isinstance(record, PromisedRecord), f"{record} was never appended here"
        assert record.ballot <= promise_in(told, group)
    for group in {group for group, _ in told}:
        assert promise_in(found, group) >= promise_in(told[:safe], group), "a promise was forgotten"
    after = disk.lose_power()
    _, again = started(after, 3, segment_bytes)
    assert again == found, "what was vouched for was in memory only"
    return found


OPERATIONS = "vVBplgasick"
"""What a workload consists of: ``Crashes.operate`` says what each letter does."""

CHANGING = ("write", "sync", "create", "rename", "remove", "sync_names", "truncate")
"""Calls before which a crash finds something else than before the one before."""


class Crashes:
    """Runs a workload and, before every call that changes the disk, tries what a crash right there would leave."""

    def __init__(
        self, workload: str, bound: int = 8, samples: int = 12, segment_bytes: int = SMALL, is_nested: bool = False
    ) -> None:
        self.workload = workload
        self.is_nested = is_nested  # also crash in the start that follows a crash
        self.bound = bound
        self.samples = samples
        self.segment_bytes = segment_bytes
        self.disk = fresh()
        self.points = 0
        self.states = 0
        self._seen: set[int] = set()
        self._slot = 0
        self._round = 1
        self._life: Life | None = None
        self._vouched: Told = []  # while a start is under way: what is known to be durable since before
        self._known: Told = []

    def run(self) -> None:
        """One letter, one operation: see ``operate``."""
        disk = self.disk
        disk.before = self._before
        self._start(disk, [], [])
        for letter in self.workload:
            self.operate(letter, disk)
        self._try_crashes()

    def _start(self, disk: BlockDisk, known: Told, vouched: Told) -> None:
        self._life = None
        self._known, self._vouched = known, vouched
        self._life = Life(disk, self.segment_bytes)

    def operate(self, letter: str, disk: BlockDisk) -> None:
        life = self._life
        assert life is not None
        journal = life.journal
        if letter == "v":  # one vote
            life.append(self._vote())
            life.flush()
        elif letter == "V":  # several votes, one flush, two blocks
            life.append(*[self._vote(b"x" * 900) for _ in range(3)])
            life.flush()
        elif letter == "B":  # a vote that needs a segment of its own
            life.append(self._vote(b"y" * 6000))
            life.flush()
        elif letter == "p":  # a raised promise
            self._round += 1
            life.append(promised(self._round))
            life.flush()
        elif letter == "l":  # learned and a mark
            self._slot += 1
            life.append(learned(self._slot, self._round), MarkRecord(self._slot))
            life.flush()
        elif letter == "g":  # another group
            life.append(promised(self._round, 2), vote(1, self._round + 1, b"by hand"), KeptRecord(b"name"), group=7)
            life.flush()
        elif letter == "a":  # appended, not flushed
            life.append(self._vote())
        elif letter == "s":  # the lone seal
            journal.seal_now()
        elif letter == "i":  # quiet until nothing is left to do
            while journal.idle(1 << 40):
                pass
        elif letter == "c":  # a clean stop and a start
            journal.close()
            life.safe = len(life.told)
            self._restart(disk, life)
        elif letter == "k":  # kill -9 and a start
            self._restart(disk, life)
        else:
            raise AssertionError(letter)

    def _restart(self, disk: BlockDisk, life: Life) -> None:
        disk.kill()
        disk.before = self._before
        self._start(disk, life.told, life.told[: life.safe])

    def _vote(self, body: bytes = b"") -> AcceptedRecord:
        self._slot += 1
        return vote(self._slot, self._round, body + b"%d" % self._slot)

    def _before(self, call: str, name: str) -> None:
        if call in CHANGING:
            self._try_crashes()

    def _try_crashes(self) -> None:
        self.points += 1
        told, safe = self._expected()
        twin = self.disk.copy()
        # The process dies; then, after the next start has vouched for what it read, the power goes (check_kept).
        self._check(twin.copy(), told, safe)
        if self.is_nested:
            self._crash_in_start(twin.copy(), told, safe)
        for after in twin.power_losses(self.bound, self.samples, self.points):
            self._check(after, told, safe)

    def _crash_in_start(self, disk: BlockDisk, told: Told, safe: int) -> None:
        """The start after a killed process loses its power before it is done."""

        def before(call: str, name: str) -> None:
            if call in CHANGING:
                for after in disk.copy().power_losses(4, 6, self.points):
                    self._check(after, told, safe)

        disk.before = before
        started(disk, 2, self.segment_bytes)

    def _expected(self) -> tuple[Told, int]:
        if self._life is None:
            return self._known, len(self._vouched)
        return self._life.told, self._life.safe

    def _check(self, disk: BlockDisk, told: Told, safe: int) -> None:
        content = tuple((name, bytes(inode.cached), bytes(inode.durable)) for name, inode in sorted(disk.files.items()))
        key = hash((content, len(told), safe))
        if key in self._seen:
            return
        self._seen.add(key)
        self.states += 1
        check_kept(disk, told, safe, self.segment_bytes)


def main() -> None:
    """``python journal_world.py 3``: all workloads of so many operations, which takes a while."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    points = states = 0
    for letters in itertools.product(OPERATIONS, repeat=count):
        crashes = Crashes("".join(letters))
        crashes.run()
        points += crashes.points
        states += crashes.states
    print(
        f"{len(OPERATIONS) ** count} workloads of {count} operations: {points} crash points, {states} states, none lost"
    )


if __name__ == "__main__":
    main()
