"""Reading a journal after a start: what can be believed, what is a torn end, what is damage (rule-R34 to rule-R37).

The segments are put in order by their heads, from the newest back; every record up to the end of the newest is read and
checked. Where reading stops, at a bad record or at zeros, everything behind is searched too:

* All below the highest position that a seal, a head or a promise copy calls durable must have been read. If not, it is
  *damage*, for a vote or a promise may be gone: JournalDamaged, with what the seals say stood there.
* Otherwise the place is a *torn tail*: nothing in it was sealed, and a crash explains it. It is cut, with all behind it.

A crash never looks like damage, since a seal is written only after the sync it speaks of has returned. Damage can look
like a torn tail only in what was synced in the last moments before the crash and not yet sealed (rule-R42).

What is read here may exist in the page cache only, because the process was killed before its sync, or because a sync
failed and the kernel dropped the writes (trap-T28). So before the journal is used again, all from the block of the last
seal on is copied into a new segment and synced (rule-R37): ``Recovery.copy_end``, called by ``journal.py``.

Knows nothing of writing a journal otherwise.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

from multipaxos.core.ballot import CLASSES, NO_BALLOT, Ballot
from multipaxos.core.records import PromisedRecord, Record
from multipaxos.storage.disk import BLOCK_BYTES, Disk, DiskFile
from multipaxos.storage.faults import JournalDamaged, JournalFailed, LostVote
from multipaxos.storage.index import SlotIndex
from multipaxos.storage.promise import COPIES, UNFINISHED, copy_name, read_copy
from multipaxos.storage.record import (
    ACCEPTED,
    HEADER_BYTES,
    LEARNED,
    PROMISED,
    SEAL,
    Found,
    UnreadableRecord,
    decode,
    encode,
    scan,
    search,
    seed_of,
)
from multipaxos.storage.seal import Section, Tally, coalesced, decode_seal, without
from multipaxos.storage.segment import SPARE, Head, read_head, segment_name, segment_number

_COPY_BYTES: Final = 1 << 20


class Link:
    """A segment of the chain. Its file is opened only while it is read: a long journal has more of them than a process
    may have files open."""

    __slots__ = ("end", "head", "name")

    def __init__(self, name: str, head: Head) -> None:
        self.name = name
        self.head = head
        self.end: int | None = None  # the base of the next one; None for the newest

    def offset_of(self, position: int) -> int:
        """Where in the file a journal position stands."""
        return self.head.records_at + position - self.head.base

    @property
    def shift(self) -> int:
        """Position minus file offset."""
        return self.head.base - self.head.records_at


class Recovery:
    """One reading of a journal. Call ``open``, then read ``records`` to their end, then ``copy_end``."""

    __slots__ = (
        "_disk",
        "_mark",
        "_replica",
        "_seed",
        "chain",
        "copy_start",
        "cut",
        "end",
        "index",
        "issued",
        "newest_number",
        "noted_journal",
        "promised",
        "sealed",
        "section",
        "section_start",
        "streamed",
        "superseded",
        "tally",
        "unreadable_copies",
    )

    def __init__(self, disk: Disk, mark: int, replica: int) -> None:
        self._disk = disk
        self._mark = mark
        self._replica = replica
        self._seed = seed_of(mark)
        self.chain: list[Link] = []  # oldest first; those that hold nothing any more are left out
        self.superseded: list[str] = []  # segments whose whole content stands in a later one
        self.newest_number = 0
        self.promised: dict[int, Ballot] = {}  # per group, the highest readable anywhere (rule-R36)
        self.streamed: dict[int, Ballot] = {}  # per group, the highest that ``records`` has told
        self.issued: Ballot = NO_BALLOT
        self.noted_journal = 0  # what the promise copies know to be durable
        self.unreadable_copies: list[int] = []
        self.index = SlotIndex()
        self.sealed = 0  # the highest position known to be durable, by what has been read so far
        self.end = 0  # where the readable journal ends
        self.cut = ""  # what was cut there, for people; empty when it ended cleanly
        self.copy_start = 0  # rule-R37: from here on nothing is known to be on the disk
        self.section_start = 0  # position of the last seal
        self.section = b""  # what it said newest, to be repeated by the next one
        self.tally = Tally()  # what stands behind it

    def open(self) -> None:
        """Read the promise copies and all heads, and put the segments in order. Raises JournalDamaged."""
        numbers = sorted(filter(None, (segment_number(name) for name in self._disk.names())))
        noted_segment = 0
        for copy in COPIES:
            noted = read_copy(self._disk, self._seed, copy)
            if noted is None:
                self.unreadable_copies.append(copy)
                continue
            self._raise_promises(noted.promised)
            self.noted_journal = max(self.noted_journal, noted.journal)
            noted_segment = max(noted_segment, noted.segment)
        if not numbers:
            raise self._damaged(copy_name(1), 0, "no segment of the journal is left in the directory")
        if numbers[-1] < noted_segment:
            missing = segment_name(noted_segment)
            raise self._damaged(missing, self.noted_journal, "the file is missing, though it was in use")
        self.newest_number = numbers[-1]
        self._read_chain(numbers)

    def _read_chain(self, numbers: Sequence[int]) -> None:
        """Follow the heads from the newest segment back to the first."""
        number = numbers[-1]
        after: Link | None = None
        linked: set[int] = set()
        while number:
            link = self._read_link(number, after)
            linked.add(number)
            self._raise_promises(link.head.promised)
            self.issued = max(self.issued, link.head.issued)
            if after is not None:
                link.end = after.head.base
            self.chain.append(link)
            after = link
            number = link.head.previous
        self.chain.reverse()
        first = self.chain[0]
        if first.head.base != 0:
            raise self._damaged(first.name, 0, "the segments before it are missing")
        # What no head leads to any more: a start that was interrupted between naming its new segment and removing the
        # one it replaced.
        for number in numbers:
            if number not in linked and self._is_superseded(number):
                self.superseded.append(segment_name(number))
        for name in self._disk.names():
            if name == SPARE or name in [copy_name(copy) + UNFINISHED for copy in COPIES]:
                self.superseded.append(name)

    def _is_superseded(self, number: int) -> bool:
        """Whether a later segment of the chain holds all this one does. What cannot be said for sure is left alone."""
        file = self._disk.open(segment_name(number))
        try:
            head = read_head(file)
        except UnreadableRecord:
            return False
        finally:
            file.close()
        return head.mark == self._mark and any(
            link.head.number > number and link.head.base <= head.base for link in self.chain
        )

    def _read_link(self, number: int, after: Link | None) -> Link:
        """Open one segment and check what its head says of the file."""
        name = segment_name(number)
        position = 0 if after is None else after.head.base
        try:
            file = self._disk.open(name)
        except FileNotFoundError:
            raise self._damaged(name, position, "the file is missing") from None
        try:
            head = read_head(file)
            size = file.size()
        except UnreadableRecord as error:
            raise JournalDamaged(self._disk.where, name, position, str(error), self._named_in(file), False) from error
        finally:
            file.close()
        link = Link(name, head)
        wrong = ""
        if head.mark != self._mark:
            wrong = f"it belongs to another directory (mark {head.mark:016x}, not {self._mark:016x})"
        elif head.number != number:
            wrong = f"its head calls it {segment_name(head.number)}: it was renamed"
        elif head.previous >= number or (after is not None and head.base > after.head.base):
            wrong = "its head contradicts that of the next segment"
        elif after is None and size < head.file_bytes:
            wrong = f"the file was cut short: {size} of {head.file_bytes} bytes"
        elif after is not None and size < link.offset_of(after.head.base):
            wrong = f"the file was cut short: {size} of at least {link.offset_of(after.head.base)} bytes"
        if wrong:
            raise self._damaged(name, position, wrong)
        return link

    def records(self) -> Iterator[tuple[int, Record]]:
        """All records of the core in order, with their groups, read piece by piece.

        At the end a PromisedRecord for each group whose promise is known higher from elsewhere than its own records
        say. Raises JournalDamaged when it comes to damage.
        """
        for link in self.chain:
            file = self._disk.open(link.name)
            try:
                yield from self._records_of(link, file)
            finally:
                file.close()
        for group in sorted(self.promised):
            if self.promised[group] > self.streamed.get(group, NO_BALLOT):
                yield group, PromisedRecord(self.promised[group])

    def _records_of(self, link: Link, file: DiskFile) -> Iterator[tuple[int, Record]]:
        """The records of one segment, up to where the next begins or reading ends."""
        # All below a head's base was durable before the head was written: it is a seal in this respect.
        self.sealed = max(self.sealed, link.head.base)
        self.copy_start = link.head.base
        self.end = link.head.base
        limit = link.head.file_bytes if link.end is None else link.offset_of(link.end)
        block = -1
        overlapping = link.head.base  # where the first record begins that reaches into this block
        before = link.head.base
        for found in scan(file, self._seed, link.head.records_at, link.head.base, limit):
            start = found[0]
            offset = link.offset_of(start)
            if offset // BLOCK_BYTES != block:
                block = offset // BLOCK_BYTES
                overlapping = before if offset % BLOCK_BYTES else start
            before = start
            self.end = found[1]
            if found[2] == SEAL:
                self._take_seal(link, found, overlapping)
            else:
                yield found[3], self._take_record(link, found)
        if link.end is None:
            self._judge_end(link, file, limit)
        elif self.end != link.end:
            raise self._damaged_at(link, self.end, "a record that was durable cannot be read", link.end)

    def _take_seal(self, link: Link, found: Found, overlapping: int) -> None:
        start, _, _, _, _, _, durable, body = found
        try:
            sections = decode_seal(body)
        except UnreadableRecord as error:
            raise JournalDamaged(self._disk.where, link.name, start, str(error), (), False) from error
        for section in sections:
            self._raise_promises(dict(section.promises))
        self.sealed = max(self.sealed, durable)
        self.copy_start = overlapping
        self.section_start = start
        self.section = sections[0].encode() if sections else b""
        self.tally = Tally()

    def _take_record(self, link: Link, found: Found) -> Record:
        start, end, kind, group, slot, ballot, _, _ = found
        try:
            record = decode(found)
        except UnreadableRecord as error:
            raise JournalDamaged(self._disk.where, link.name, start, str(error), (), False) from error
        self.tally.records += 1
        self.tally.groups.add(group)
        if kind in (ACCEPTED, LEARNED):
            self.index.add(group, slot, slot, start, end)
        if kind == ACCEPTED:
            self.tally.vote(group, slot, ballot)
        if kind in (ACCEPTED, PROMISED) and ballot > self.streamed.get(group, NO_BALLOT):
            # trap-T3: a vote is a promise as well. What was streamed is never above what is known.
            self.streamed[group] = ballot
            self._raise_promises({group: ballot})
        if kind == PROMISED and group == 0 and ballot % CLASSES == self._replica:
            self.issued = max(self.issued, ballot)
        return record

    def _judge_end(self, link: Link, file: DiskFile, limit: int) -> None:
        """Reading stopped here: the end, a torn tail, or damage?"""
        at = link.offset_of(self.end)
        known = max(self.sealed, self.noted_journal)
        remains = 0
        for found in search(file, self._seed, at + 1, link.shift, limit):
            remains = found[1] - self.end
            if found[2] == SEAL:
                known = max(known, found[6])
        if self.end < known:
            raise self._damaged_at(link, self.end, "a record that was durable cannot be read", known)
        is_torn = bool(remains) or any(file.read(at, min(HEADER_BYTES, limit - at)))
        if is_torn and len(self.unreadable_copies) == len(COPIES):
            # rule-R36: the bad end may be a raise that rotted, and a crash alone tears no two copies.
            names = " and ".join(copy_name(copy) for copy in COPIES)
            raise self._damaged_at(link, self.end, f"its end is torn, and neither {names} can be read", self.end + 1)
        if is_torn:
            self.cut = f"cut a torn end at position {self.end} of {link.name}: nothing behind it was ever answered for"

    def copy_end(self, into: DiskFile, head: Head) -> None:
        """See ``_copy``; from the file that was the newest until now."""
        file = self._disk.open(self.chain[-1].name)
        try:
            self._copy(file, into, head)
        finally:
            file.close()

    def _copy(self, file: DiskFile, into: DiskFile, head: Head) -> None:
        """Write all from ``copy_start`` to the end into the new segment of ``head``. The caller syncs it.

        It is read and checked again: what the first reading found in the page cache may be gone from it by now.
        """
        link = self.chain[-1]
        parts: list[bytes] = []
        size = 0
        written = self.copy_start
        limit = link.offset_of(self.end)
        for found in scan(file, self._seed, link.offset_of(self.copy_start), self.copy_start, limit):
            start, end, kind, group, slot, ballot, prefix, body = found
            parts.append(encode(self._seed, kind, start, body, group=group, slot=slot, ballot=ballot, prefix=prefix))
            size += end - start
            if size >= _COPY_BYTES:
                into.write(head.records_at + written - head.base, parts)
                written += size
                parts = []
                size = 0
        if parts:
            into.write(head.records_at + written - head.base, parts)
            written += size
        if written != self.end:
            raise JournalFailed(
                f"the journal in {self._disk.where} was read up to position {self.end} and, a moment later, only up to "
                f"{written} ({link.name}): the disk does not hold what memory held. Start again; it decides anew what "
                "can be believed."
            )

    def finish(self) -> None:
        """Take out what holds nothing any more. The new segment is durable under its name by now."""
        newest = self.chain[-1]
        if newest.head.base == self.copy_start:
            self.superseded.append(newest.name)
        else:
            # What stands behind copy_start stands in the new segment; the zeros were not needed.
            used = -(-newest.offset_of(self.copy_start) // BLOCK_BYTES) * BLOCK_BYTES
            file = self._disk.open(newest.name)
            try:
                if used < file.size():
                    file.truncate(used)
            finally:
                file.close()
        for name in self.superseded:
            self._disk.remove(name)

    def _raise_promises(self, promised: dict[int, Ballot]) -> None:
        for group, ballot in promised.items():
            if ballot > self.promised.get(group, NO_BALLOT):
                self.promised[group] = ballot

    def _damaged(self, name: str, position: int, what: str) -> JournalDamaged:
        return JournalDamaged(self._disk.where, name, position, what, (), False)

    def _damaged_at(self, link: Link, position: int, what: str, known: int) -> JournalDamaged:
        """Damage that begins at ``position``, with the votes that seals name there and that cannot be read."""
        # The seal of a segment's last write stands in the first write of the next.
        where = self.chain.index(link)
        near = self.chain[where : where + 2]
        bad_end = 0
        sections: dict[tuple[int, int], Section] = {}
        for found in self._search_all(near):
            if found[0] > position and not bad_end:
                bad_end = found[0]
            self._collect(found, sections)
        bad_end = bad_end or known
        named = [section for section in sections.values() if section.start < bad_end and section.end > position]
        covered = position
        for section in sorted(named, key=lambda section: section.start):
            if section.start <= covered:
                covered = max(covered, section.end)
        is_listed = covered >= bad_end
        runs: list[LostVote] = []
        for section in named:
            runs.extend(section.runs)
        if not runs:
            return JournalDamaged(self._disk.where, link.name, position, what, (), is_listed)
        begins = min(section.start for section in named)
        ends = max(section.end for section in named)
        votes: set[tuple[int, int, Ballot]] = set()
        for found in self._search_all(near):
            if found[2] == ACCEPTED and begins <= found[0] < ends:
                votes.add((found[3], found[4], found[5]))
        return JournalDamaged(self._disk.where, link.name, position, what, without(runs, votes), is_listed)

    def _search_all(self, links: Sequence[Link]) -> Iterator[Found]:
        """All that can be read of these segments, wherever it stands."""
        for link in links:
            file = self._disk.open(link.name)
            try:
                yield from search(file, self._seed, link.head.records_at, link.shift, file.size())
            finally:
                file.close()

    def _named_in(self, file: DiskFile) -> list[LostVote]:
        """All votes that the seals of a segment name whose head cannot be read."""
        sections: dict[tuple[int, int], Section] = {}
        for found in search(file, self._seed, 0, None, file.size()):
            self._collect(found, sections)
        runs: list[LostVote] = []
        for section in sections.values():
            runs.extend(section.runs)
        return coalesced(runs)

    def _collect(self, found: Found, sections: dict[tuple[int, int], Section]) -> None:
        """Note the sections of a seal. One of a layout unknown here names nothing."""
        if found[2] == SEAL:
            with contextlib.suppress(UnreadableRecord):
                for section in decode_seal(found[7]):
                    sections[section.start, section.end] = section
