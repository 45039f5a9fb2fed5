"""Seals: what tells a torn tail from damage, and names the votes that damage took (rule-R34, rule-R35).

A seal is written at the head of the write that follows a sync which has returned. It says up to which position all is
durable, and describes the part of the journal made durable since the seal before, as a *section*; the section of that
seal before is repeated, so that one bad record never hides both a vote and its name.

    body      sections u32, then the sections, newest first
    section   start u64  end u64  promises u32  runs u32
              per promise: group u32  ballot i64
              per run:     group u32  first slot i64  last slot i64  ballot i64

``start`` and ``end`` are journal positions, ``promises`` what each group of the section had promised at its end (group
0 always stands there: rule-R36 wants the promise in every seal), ``runs`` its votes. "Durable up to" stands in the
header's prefix field.

Knows nothing of files. ``journal.py`` makes seals, ``recovery.py`` reads them.
"""

import struct
from collections.abc import Sequence
from struct import Struct
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, Ballot, Slot
from multipaxos.storage.record import UnreadableRecord

Run = tuple[int, Slot, Slot, Ballot]
"""group, first slot, last slot, ballot"""

_COUNT: Final = Struct(">I")
_SECTION: Final = Struct(">QQII")
_PROMISE: Final = Struct(">Iq")
_RUN: Final = Struct(">Iqqq")


def coalesced(runs: Sequence[Run]) -> list[Run]:
    """The same votes in as few runs as can be, sorted by group and slot; runs may overlap and repeat each other."""
    merged: list[Run] = []
    for group, ballot, first, last in sorted((group, ballot, first, last) for group, first, last, ballot in runs):
        if merged:
            before = merged[-1]
            if before[0] == group and before[3] == ballot and first <= before[2] + 1:
                merged[-1] = (group, before[1], max(before[2], last), ballot)
                continue
        merged.append((group, first, last, ballot))
    return sorted(merged)


def without(runs: Sequence[Run], votes: set[tuple[int, Slot, Ballot]]) -> list[Run]:
    """The votes of ``runs`` that are not among ``votes`` (group, slot, ballot), in runs."""
    left: list[Run] = []
    for group, first, last, ballot in runs:
        for slot in range(first, last + 1):
            if (group, slot, ballot) not in votes:
                left.append((group, slot, slot, ballot))
    return coalesced(left)


class Section:
    """What one seal says about the part of the journal that became durable before it."""

    __slots__ = ("end", "promises", "runs", "start")

    def __init__(self, start: int, end: int, promises: Sequence[tuple[int, Ballot]], runs: Sequence[Run]) -> None:
        self.start = start
        self.end = end
        self.promises = promises
        self.runs = runs

    def encode(self) -> bytes:
        """The bytes of this section."""
        parts = [_SECTION.pack(self.start, self.end, len(self.promises), len(self.runs))]
        for promise in self.promises:
            parts.append(_PROMISE.pack(*promise))
        for run in self.runs:
            parts.append(_RUN.pack(*run))
        return b"".join(parts)


def encode_seal(newest: bytes, before: bytes) -> bytes:
    """The body of a seal from its own section and that of the seal before, which may be empty."""
    return _COUNT.pack(2 if before else 1) + newest + before


def decode_seal(body: bytes) -> list[Section]:
    """The sections of a seal, newest first. Raises UnreadableRecord."""
    sections: list[Section] = []
    try:
        (count,) = _COUNT.unpack_from(body)
        at = _COUNT.size
        for _ in range(count):
            start, end, promise_count, run_count = _SECTION.unpack_from(body, at)
            at += _SECTION.size
            promises: list[tuple[int, Ballot]] = []
            for _ in range(promise_count):
                group, ballot = _PROMISE.unpack_from(body, at)
                promises.append((group, ballot))
                at += _PROMISE.size
            runs: list[Run] = []
            for _ in range(run_count):
                group, first, last, ballot = _RUN.unpack_from(body, at)
                runs.append((group, first, last, ballot))
                at += _RUN.size
            sections.append(Section(start, end, promises, runs))
    except struct.error as error:
        raise UnreadableRecord(f"a seal of a layout this version does not know ({error})") from error
    if at != len(body):
        raise UnreadableRecord("a seal longer than its sections")
    return sections


class Tally:
    """Counts along while records are appended: what the next section will say, and which slots the part reaches."""

    __slots__ = ("_ballot", "_first", "_group", "_last", "_runs", "groups", "reach", "records")

    def __init__(self) -> None:
        self.records: int = 0
        self.groups: set[int] = {0}
        self.reach: dict[int, list[Slot]] = {}  # group -> [lowest, highest slot] of votes and learned decrees
        self._runs: list[Run] = []
        # The run still growing; none while _last is -1.
        self._group: int = 0
        self._first: Slot = 0
        self._last: Slot = -1
        self._ballot: Ballot = NO_BALLOT

    def vote(self, group: int, slot: Slot, ballot: Ballot) -> None:
        """A vote was appended. Ordinary ones prolong the run: one run for one ballot's stretch of slots."""
        if slot == self._last + 1 and ballot == self._ballot and group == self._group and self._last >= 0:
            self._last = slot
        else:
            if self._last >= 0:
                self._runs.append((self._group, self._first, self._last, self._ballot))
            self._group = group
            self._first = slot
            self._last = slot
            self._ballot = ballot
        self.touch(group, slot)

    def touch(self, group: int, slot: Slot) -> None:
        """A record of this slot was appended."""
        reach = self.reach.get(group)
        if reach is None:
            self.reach[group] = [slot, slot]
        elif slot > reach[1]:
            reach[1] = slot
        elif slot < reach[0]:
            reach[0] = slot

    def runs(self) -> list[Run]:
        """All votes counted so far, in runs."""
        if self._last < 0:
            return self._runs
        return [*self._runs, (self._group, self._first, self._last, self._ballot)]

    def section(self, start: int, end: int, promised: dict[int, Ballot]) -> Section:
        """The section for the part from ``start`` to ``end``, counted here."""
        promises = [(group, promised[group]) for group in sorted(self.groups) if group in promised]
        return Section(start, end, promises, self.runs())
