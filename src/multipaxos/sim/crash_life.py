"""A journal in use, operation by operation, and the account of what it was given and what it promised to keep.

A workload is a word; each letter is one operation:

    v  one vote                             p  a raised promise               c  a clean stop and a start
    V  three votes over two blocks          l  a learned decree and a mark    k  kill -9 and a start
    B  a vote that needs its own segment    g  records of another group       f  a flush while the disk is full
    r  a vote that raises the promise       a  appended, not flushed          s  the lone seal
    i  quiet until nothing is left to do    x  three votes; at their sync the power fails, the first sector never arrived,
                                               all others did; and a start

Knows nothing of crashes: ``crashes.py`` makes them, between any two calls to the disk.
"""

import contextlib
from typing import Final

from multipaxos.core.ballot import ballot_of
from multipaxos.core.records import (
    AcceptedRecord,
    KeptRecord,
    LearnedRecord,
    MarkRecord,
    PromisedRecord,
    Record,
)
from multipaxos.sim.blocks import BlockDisk
from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_verdict import MARK, REPLICA, SEGMENT_BYTES, check_recovered, started
from multipaxos.storage.faults import JournalFull
from multipaxos.storage.journal import Journal, create_journal
from multipaxos.storage.promise import copy_name
from multipaxos.storage.record import HEADER_BYTES
from multipaxos.storage.segment import segment_number

OPERATIONS: Final = "vVBrplgasickfx"

FOREVER_NS: Final = 1 << 40


def fresh(disk: BlockDisk | None = None) -> BlockDisk:
    """A disk with the journal of a replica that was never started."""
    made = BlockDisk() if disk is None else disk
    create_journal(made, MARK)
    made.calls.clear()
    made.written.clear()
    return made


def vote(slot: int, round_number: int = 1, body: bytes = b"", prefix: int = 0) -> AcceptedRecord:
    """A vote in ``slot``; its decree says which, unless it is given."""
    return AcceptedRecord(ballot_of(round_number, REPLICA), slot, body or b"%d@%d" % (slot, round_number), prefix)


def learned(slot: int, round_number: int = 1) -> LearnedRecord:
    """A decree known to be chosen."""
    return LearnedRecord(ballot_of(round_number, REPLICA), slot, b"chosen %d" % slot)


def promised(round_number: int, replica: int = REPLICA) -> PromisedRecord:
    """A promise of its own."""
    return PromisedRecord(ballot_of(round_number, replica))


def body_of(record: Record) -> bytes:
    """What a record carries behind its header."""
    if isinstance(record, AcceptedRecord | LearnedRecord):
        return record.decree
    return record.payload if isinstance(record, KeptRecord) else b""


class PowerFailed(Exception):
    """The machine stops in the middle of a call."""


class Life:
    """One journal over any number of starts."""

    def __init__(self, disk: BlockDisk, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.disk = disk
        self.segment_bytes = segment_bytes
        self.told: list[tuple[int, Record]] = []  # what the journal holds, in order
        self.begins: list[int] = []  # the journal position of each; -1 where a copy alone knows it
        self.ends: list[int] = []
        self.safe = 0  # so many of ``told`` were called durable
        self.sealed = (
            0  # so many are named by a seal, a head or both copies: below it nothing is a torn tail (rule-R34)
        )
        self.journal: Journal  # of the start that was completed last
        self._incarnation = 0
        self._slot = 0
        self._round = 1

    @classmethod
    def begun(cls, disk: BlockDisk | None = None, segment_bytes: int = SEGMENT_BYTES) -> "Life":
        """A life whose first start is done; on a fresh disk, if none is given."""
        life = cls(fresh() if disk is None else disk, segment_bytes)
        life.start()
        return life

    def start(self) -> None:
        """One more start. Raises Violation where it forgets something, and whatever the journal raises."""
        self._incarnation += 1
        journal, found = started(self.disk, self._incarnation, self.segment_bytes)
        kept = check_recovered(found, self.told, self.safe, self.safe, "I8")
        self.told = found
        elsewhere = [-1] * (len(found) - kept)
        self.begins = self.begins[:kept] + elsewhere
        self.ends = self.ends[:kept] + elsewhere
        # The copies written by each start name the end of what it recovered.
        self.safe = self.sealed = len(found)
        self.journal = journal

    def append(self, *records: Record, group: int = 0) -> int:
        """Append them; the position that what asserts them waits for."""
        for record in records:
            end = self.journal.append([record], group)
            if self.journal.append([], group) != end:
                raise Violation("rule-R33", "a repeat waits for less than what it repeats")
            self.begins.append(end - HEADER_BYTES - len(body_of(record)))
            self.ends.append(end)
            self.told.append((group, record))
        return self.journal.appended

    def flush(self) -> int:
        """Flush; the position up to which all is called durable now."""
        before = self.safe
        count = len(self.disk.written)
        durable = self.journal.flush()
        self.safe = sum(1 for end in self.ends if end <= durable)
        names = [name for name, _, _ in self.disk.written[count:]]
        if copy_name(1) in names:
            self.sealed = self.safe
        elif names:
            self.sealed = before  # the write began with the seal for all that was durable before it
        return durable

    def seal(self) -> None:
        """The lone seal, if one waits and has room."""
        count = len(self.disk.written)
        self.journal.seal_now()
        self._note_seal(count)

    def _note_seal(self, count: int) -> None:
        """After ``count`` writes nothing but seals was written to segments."""
        if any(segment_number(name) for name, _, _ in self.disk.written[count:]):
            self.sealed = self.safe

    def idle(self) -> None:
        """Quiet, until nothing is left to do."""
        count = len(self.disk.written)
        while self.journal.idle(FOREVER_NS):
            pass
        self._note_seal(count)

    def close(self) -> None:
        """A clean stop."""
        self.flush()
        count = len(self.disk.written)
        self.journal.close()
        self._note_seal(count)

    def kill(self) -> None:
        """kill -9 and a start on the same disk, whose hook stays in place."""
        before = self.disk.before
        self.disk.kill()
        self.disk.before = before
        self.start()

    def _vote(self, body: bytes = b"") -> AcceptedRecord:
        self._slot += 1
        return vote(self._slot, self._round, body + b"%d" % self._slot)

    def operate(self, letter: str) -> None:
        """One operation of a workload."""
        if letter == "v":
            self.append(self._vote())
            self.flush()
        elif letter == "V":
            self.append(*[self._vote(b"x" * 900) for _ in range(3)])
            self.flush()
        elif letter == "B":
            self.append(self._vote(b"y" * 4200))
            self.flush()
        elif letter == "r":
            self._round += 1
            self.append(self._vote())
            self.flush()
        elif letter == "p":
            self._round += 1
            self.append(promised(self._round))
            self.flush()
        elif letter == "l":
            self._slot += 1
            self.append(learned(self._slot, self._round), MarkRecord(self._slot))
            self.flush()
        elif letter == "g":
            self.append(promised(self._round, 2), vote(1, self._round + 1, b"by hand"), KeptRecord(b"name"), group=7)
            self.flush()
        elif letter == "a":
            self.append(self._vote())
        elif letter == "s":
            self.seal()
        elif letter == "i":
            self.idle()
        elif letter == "c":
            self.close()
            self.kill()
        elif letter == "k":
            self.kill()
        elif letter == "f":
            self._fill()
        elif letter == "x":
            self._lose_power()
        else:
            raise ValueError(f"there is no operation {letter!r}; known are {OPERATIONS}")

    def _fill(self) -> None:
        """Three votes while the disk is full: written if there is room, else they wait (rule-R38)."""
        self.disk.space = 0
        self.append(*[self._vote(b"z" * 900) for _ in range(3)])
        try:
            self.flush()
        except JournalFull:
            self.disk.space = 0  # what was given back is taken by somebody else
        self.journal.prepare()
        self.disk.space = None

    def _lose_power(self) -> None:
        """What is left behind the end are whole records of a life that is over: nobody may ever believe them."""
        before = self.disk.before

        def fail(call: str, name: str) -> None:
            if before is not None:
                before(call, name)
            if call == "sync":
                raise PowerFailed

        self.append(*[self._vote(b"w" * 900) for _ in range(3)])
        self.disk.before = fail
        with contextlib.suppress(PowerFailed):
            self.flush()
        self.disk = self.disk.lose_power(lambda unit: unit > 0)
        self.disk.before = before
        self.start()

    def index_at(self, position: int) -> int:
        """Which of ``told`` stands at a journal position; -1 where it is a seal."""
        for index, begin in enumerate(self.begins):
            if 0 <= begin <= position < self.ends[index]:
                return index
        return -1
