"""The journal: what a replica must not forget, in the order it happened, durable before anybody is told.

One directory holds segments (``segment.py``) of records (``record.py``) with seals between them (``seal.py``), and two
copies of the promises (``promise.py``). What a bad byte means is decided in ``recovery.py``; this file writes.

**Who calls what.** ``append`` runs on the event loop: it packs headers, sums checksums and appends to a list, and
touches no file. ``flush``, ``prepare``, ``seal_now`` and ``idle`` run on one thread of their own, the journal thread,
and ``read`` on any thread that may wait for a disk (rule-R31). The journal thread is a loop like this:

    while running:
        if something was appended:
            durable = journal.flush()        # one write, one fdatasync for all that waited: group commit
            tell the loop                    # messages wait for positions up to ``durable`` (rule-R33)
            journal.prepare()                # the next segment keeps pace; after telling, so that nobody waits for it
        else:
            again = journal.idle(since the last flush returned)     # the lone seal, the next segment
            wait until something is appended, at most ``again`` nanoseconds (0: no limit)

**Positions** count the bytes of records from the beginning of the journal. ``append`` returns the position its caller's
messages must wait for, also when it was given no record: a repeated answer waits for what the first one waited for
(rule-R33, trap-T30).

**Seals** (rule-R34). When a flush takes what waits, it puts the seal for it at the head of what will wait next. So the
seal is written after the sync it speaks of has returned, for if that sync fails nothing is written ever again.

**Promises** (rule-R36). A flush whose records raise the promise of a group updates both copies before it returns. An
accept above the promise raises it as well (trap-T3), and its answer asserts the raise, so it counts; an accept at the
ballot already promised does not, and costs one fdatasync.

**Failure** (rule-R37). After the first failed write or sync every call raises JournalFailed, and nothing is retried. The
file ``stopped`` says why, where it could still be written. **Full** (rule-R38) is another thing: the next segment is
made of written zeros, so the disk says that it is full when that is made and never inside a segment. ``shortage`` says
so while ``room`` is left in the present one; a flush beyond it raises JournalFull before it has written anything, keeps
what waits, and works again once there is space.

Knows nothing of the protocol: what a promise or a vote means is the core's affair.
"""

import contextlib
import errno
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

import google_crc32c

from multipaxos.core.ballot import CLASSES, NO_BALLOT, Ballot, Slot
from multipaxos.core.decree import Decree
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, PromisedRecord, Record
from multipaxos.storage.disk import BLOCK_BYTES, ZERO_STEP_BYTES, Disk, DiskFile, write_zeros
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.index import SlotIndex
from multipaxos.storage.promise import Noted, create_copies, replace_copy, write_copies
from multipaxos.storage.record import (
    ACCEPTED,
    FRONT,
    HEADER_BYTES,
    KEPT,
    LEARNED,
    MAGIC,
    MARK,
    PROMISED,
    REST,
    SEAL,
    encode,
    scan,
    seed_of,
)
from multipaxos.storage.recovery import Recovery
from multipaxos.storage.seal import Tally, encode_seal
from multipaxos.storage.segment import SPARE, Head, head_bytes, segment_name

SEGMENT_BYTES: Final = 64 << 20
"""How large segments become. The first of each start is small, so that a start is quick; each next one doubles."""

START_BYTES: Final = 4 << 20
"""Room for records in the first segment of a start."""

START_BYTES_MIN: Final = 64 * 1024
"""Less than this is no start: on a full disk the first segment is made as small as this."""

SEAL_AFTER_NS: Final = 10_000_000
"""So long after a flush, with nothing appended, a lone seal is written (rule-R34)."""

RETRY_NS: Final = 1_000_000_000
"""So often an idle journal tries again to make a segment that a full disk refused."""

STOPPED: Final = "stopped"
"""The note a failed journal leaves behind, shown at the next start (rule-R37)."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SKIPS_WHEN_FULL: Final = 256  # calls of prepare between two attempts on a full disk

_extend = google_crc32c.extend


class _Batch:
    """What one flush writes."""

    __slots__ = ("end", "is_raised", "issued", "parts", "promised", "start", "tally")

    def __init__(
        self,
        parts: list[bytes],
        start: int,
        end: int,
        tally: Tally,
        promised: dict[int, Ballot],
        issued: Ballot,
        is_raised: bool,
    ) -> None:
        self.parts = parts
        self.start = start
        self.end = end
        self.tally = tally
        self.promised = promised  # as it stands with these records
        self.issued = issued
        self.is_raised = is_raised


class _Segment:
    """The segment written to."""

    __slots__ = ("file", "head", "name")

    def __init__(self, name: str, file: DiskFile, head: Head) -> None:
        self.name = name
        self.file = file
        self.head = head

    def offset_of(self, position: int) -> int:
        """Where in the file a journal position stands."""
        return self.head.records_at + position - self.head.base

    def room(self, position: int) -> int:
        """Bytes from ``position`` to the end of the file."""
        return self.head.file_bytes - self.offset_of(position)


class _Place:
    """Where a stretch of the journal stands, for reading it back."""

    __slots__ = ("base", "name", "records_at")

    def __init__(self, base: int, name: str, records_at: int) -> None:
        self.base = base
        self.name = name
        self.records_at = records_at


def create_journal(disk: Disk, mark: int) -> None:
    """The journal of a directory that has promised and accepted nothing. Only at birth: rule-R40, bug-C14."""
    seed = seed_of(mark)
    create_copies(disk, seed)
    # It has room for no record: the first start makes one that has, like every start (rule-R37).
    head = Head(
        mark=mark,
        number=1,
        previous=0,
        base=0,
        file_bytes=head_bytes(0),
        incarnation=0,
        floor=0,
        issued=NO_BALLOT,
        lease_ns=0,
        promised={},
    )
    file = disk.create(SPARE)
    try:
        file.write(0, [head.encode()])
        file.sync()
    finally:
        file.close()
    disk.rename(SPARE, segment_name(1))
    disk.sync_names()


class Journal:
    """The journal of one directory. Read ``recovered`` to its end before anything else."""

    __slots__ = (
        "_appended",
        "_disk",
        "_durable",
        "_end",
        "_failure",
        "_incarnation",
        "_index",
        "_is_loose",
        "_is_raised",
        "_is_ready",
        "_issued",
        "_lock",
        "_mark",
        "_parts",
        "_places",
        "_promised",
        "_replica",
        "_section",
        "_section_start",
        "_seed",
        "_segment",
        "_segment_bytes",
        "_skips",
        "_spare",
        "_spare_bytes",
        "_spare_done",
        "_start",
        "_tally",
        "_writing",
        "cut",
        "floor",
        "lease_ns",
        "shortage",
    )

    def __init__(
        self, disk: Disk, mark: int, replica: int, incarnation: int, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """``mark`` and ``incarnation`` are the directory's (``identity.py``), ``replica`` says which ballots are own."""
        self._disk = disk
        self._mark = mark
        self._seed = seed_of(mark)
        self._replica = replica
        self._incarnation = incarnation
        self._segment_bytes = segment_bytes
        self._failure: str = ""
        self._is_ready = False
        self.cut = ""  # what recovery cut from the end, for people
        self.shortage = ""  # why the next segment cannot be made; empty while all is well
        self.floor: Slot = 0  # goes into each new head; nothing raises it before there is compaction
        self.lease_ns = 0  # the longest lease granted; nothing raises it before there are leases (rule-R23)

        # What waits to be flushed. Both threads: under the lock, which is never held over a call to the disk.
        self._lock = threading.Lock()
        self._parts: list[bytes] = []
        self._start = 0  # position of the first of _parts
        self._end = 0  # position behind the last of them
        self._appended = 0  # position behind the last record; smaller than _end when a seal waits behind it
        self._durable = 0
        self._tally = Tally()
        self._promised: dict[int, Ballot] = {}  # with all that was appended
        self._issued: Ballot = NO_BALLOT
        self._is_raised = False
        self._index = SlotIndex()  # of what is durable
        self._places: list[_Place] = []  # by base

        # The journal thread alone.
        self._writing: _Batch | None = None  # taken from the above, not durable yet; stays after JournalFull
        self._segment: _Segment | None = None
        self._is_loose = False  # a lone seal was written and not synced
        self._section = b""  # of the last seal, repeated by the next
        self._section_start = 0  # where the last seal stands
        self._spare: DiskFile | None = None
        self._spare_bytes = 0  # how large it will be
        self._spare_done = 0  # how much of it is zeros, durably
        self._skips = 0

    # -- starting ---------------------------------------------------------------------------------------------------

    def recovered(self) -> Iterator[tuple[int, Record]]:
        """All records in order, each with its group; read to the end, it leaves the journal ready for use.

        Reads piece by piece, so that memory does not grow with the journal. Before it ends it has copied and synced
        what may so far exist in the page cache only (rule-R37): what was recovered may be vouched for from then on.
        Raises JournalDamaged, JournalFailed, or JournalFull when there is no space for that copy.
        """
        assert not self._is_ready, "a journal is recovered once"
        self._check()
        recovery = Recovery(self._disk, self._mark, self._replica)
        try:
            recovery.open()
            yield from recovery.records()
            self._resume(recovery)
        except (JournalFailed, JournalFull, JournalDamaged) as error:
            self._failure = str(error)
            raise
        except OSError as error:
            self._fail("reading it at the start", error)

    def _resume(self, recovery: Recovery) -> None:
        """Copy the end of the journal into a new segment and go on there."""
        self._promised = dict(recovery.promised)
        self._issued = recovery.issued
        newest = recovery.chain[-1].head
        self.floor = newest.floor
        self.lease_ns = newest.lease_ns
        copied = recovery.end - recovery.copy_start
        records_at = head_bytes(len(self._promised))
        if recovery.superseded:
            # First of all: it may be the space that is missing. But what replaces it may have its name in memory only.
            self._disk.sync_names()
            for name in recovery.superseded:
                self._disk.remove(name)
            recovery.superseded = []
        room = min(START_BYTES, self._segment_bytes)
        while True:
            # On a full disk a smaller one is better than no start: reads, and whatever frees space, need a replica.
            try:
                self._grow_spare(_whole_blocks(records_at + copied + room))
                break
            except JournalFull:
                if room <= START_BYTES_MIN:
                    raise
                room = max(room // 4, START_BYTES_MIN)
        head = Head(
            mark=self._mark,
            number=recovery.newest_number + 1,
            previous=newest.previous if newest.base == recovery.copy_start else newest.number,
            base=recovery.copy_start,
            file_bytes=self._spare_done,
            incarnation=self._incarnation,
            floor=self.floor,
            issued=self._issued,
            lease_ns=self.lease_ns,
            promised=self._promised,
        )
        assert self._spare is not None
        self._spare.write(0, [head.encode()])
        recovery.copy_end(self._spare, head)
        self._segment = self._use_spare(head)
        noted = Noted(recovery.end, head.number, self._promised)
        for copy in recovery.unreadable_copies:
            replace_copy(self._disk, self._seed, copy, noted)
            self._disk.sync_names()
        write_copies(self._disk, self._seed, noted)
        for link in recovery.chain:
            if link.head.base < recovery.copy_start:
                self._places.append(_Place(link.head.base, link.name, link.head.records_at))
        self._places.append(_Place(head.base, self._segment.name, head.records_at))
        recovery.finish()
        self._index = recovery.index
        self.cut = recovery.cut
        self._start = self._end = self._appended = self._durable = recovery.end
        self._section = recovery.section
        self._section_start = recovery.section_start
        if recovery.tally.records:
            # What stands behind the last seal is durable by now, so the next write begins with one that says so.
            self._seal_next(recovery.tally, recovery.end)
        with contextlib.suppress(FileNotFoundError):
            self._disk.remove(STOPPED)
        self._is_ready = True

    # -- the event loop ---------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record], group: int = 0) -> int:
        """Take records in order, and return the position that what asserts them must wait for.

        Nothing is written here. With no records it is the position reached by those before (rule-R33).
        """
        self._check()
        assert self._is_ready, "recovered() must be read to its end first: rule-R37"
        with self._lock:
            if not records:
                return self._appended
            parts = self._parts
            tally = self._tally
            seed = self._seed
            position = self._end
            promised = self._promised.get(group, NO_BALLOT)
            try:
                for record in records:
                    if isinstance(record, AcceptedRecord):
                        body = record.decree
                        ballot = record.ballot
                        slot = record.slot
                        rest = REST.pack(len(body), ACCEPTED, group, position, slot, ballot, record.chosen_prefix)
                        tally.vote(group, slot, ballot)
                        if ballot > promised:
                            promised = ballot
                            self._is_raised = True
                    elif isinstance(record, PromisedRecord):
                        body = b""
                        ballot = record.ballot
                        rest = REST.pack(0, PROMISED, group, position, 0, ballot, 0)
                        if ballot > promised:
                            promised = ballot
                            self._is_raised = True
                        if group == 0 and ballot > self._issued and ballot % CLASSES == self._replica:
                            self._issued = ballot
                    elif isinstance(record, LearnedRecord):
                        body = record.decree
                        rest = REST.pack(len(body), LEARNED, group, position, record.slot, record.ballot, 0)
                        tally.touch(group, record.slot)
                    elif isinstance(record, MarkRecord):
                        body = b""
                        rest = REST.pack(0, MARK, group, position, 0, 0, record.chosen_prefix)
                    else:
                        body = record.payload
                        rest = REST.pack(len(body), KEPT, group, position, 0, 0, 0)
                    parts.append(FRONT.pack(MAGIC, _extend(_extend(seed, rest), body)))
                    parts.append(rest)
                    if body:
                        parts.append(body)
                    position += HEADER_BYTES + len(body)
            except BaseException as error:
                # Half a step must not be written; and a record that cannot be packed is a bug of the core.
                self._failure = f"the journal in {self._disk.where} was given a record it cannot write: {error!r}"
                raise
            if promised != NO_BALLOT:
                self._promised[group] = promised
            tally.records += len(records)
            tally.groups.add(group)
            self._end = position
            self._appended = position
            return position

    @property
    def appended(self) -> int:
        """Position behind the last record appended."""
        return self._appended

    @property
    def durable(self) -> int:
        """Position up to which all is durable. What peers note of this replica is this, not ``appended`` (rule-R41)."""
        return self._durable

    @property
    def waiting_bytes(self) -> int:
        """What was appended and is not durable: the journal queue, which its user must bound (rule-R31)."""
        return self._appended - self._durable

    def room(self) -> int:
        """Bytes of records, headers included, that can still be appended and written without a new segment.

        About: a flush is not split over two segments, so the last of it may not fit into the first of them.
        """
        with self._lock:
            segment = self._segment
            if segment is None:
                return 0
            free = segment.room(self._durable)
            if self._spare is not None and self._spare_done == self._spare_bytes:
                free += self._spare_done - head_bytes(len(self._promised))
            return max(0, free - (self._end - self._durable))

    # -- the journal thread -----------------------------------------------------------------------------------------

    def flush(self) -> int:
        """Write and sync all that was appended before this call; return the position up to which all is durable.

        One write and one fdatasync; two more, one for each copy, where a promise was raised; some more where a new
        segment is begun. Raises JournalFailed (stop), or JournalFull (nothing of it was written: rule-R38).
        """
        self._check()
        assert self._is_ready, "recovered() must be read to its end first: rule-R37"
        is_leftover = True
        while is_leftover:
            is_leftover = self._writing is not None  # of a flush that found the disk full
            if self._writing is None:
                with self._lock:
                    if not self._tally.records:
                        break  # at most a seal waits
                    self._writing = self._take()
            self._write(self._writing)
            batch = self._writing
            with self._lock:
                self._durable = batch.end
                for group, reach in batch.tally.reach.items():
                    self._index.add(group, reach[0], reach[1], batch.start, batch.end)
            self._writing = None
        return self._durable

    def _take(self) -> _Batch:
        """Take what waits, and begin what will wait next with the seal for it. Under the lock."""
        batch = _Batch(
            self._parts, self._start, self._end, self._tally, dict(self._promised), self._issued, self._is_raised
        )
        self._is_raised = False
        self._seal_next(batch.tally, batch.end)
        return batch

    def _seal_next(self, tally: Tally, end: int) -> None:
        """Let the next write begin with a seal that says: all up to ``end`` is durable, and ``tally`` is what it holds."""
        section = tally.section(self._section_start, end, self._promised).encode()
        seal = encode(self._seed, SEAL, end, encode_seal(section, self._section), prefix=end)
        self._section = section
        self._section_start = end
        self._tally = Tally()
        self._parts = [seal]
        self._start = end
        self._end = end + len(seal)

    def _write(self, batch: _Batch) -> None:
        segment = self._segment
        assert segment is not None
        is_next = segment.room(batch.start) < batch.end - batch.start
        try:
            if is_next:
                segment = self._begin_segment(segment, batch)
            else:
                segment.file.write(segment.offset_of(batch.start), batch.parts)
                segment.file.sync()
                self._is_loose = False
            if batch.is_raised or is_next:
                # After the journal's own sync, so that the position noted with them is durable (rule-R36).
                write_copies(self._disk, self._seed, Noted(batch.end, segment.head.number, batch.promised))
        except OSError as error:
            self._fail(f"writing {batch.end - batch.start} bytes at position {batch.start}", error)

    def _begin_segment(self, old: _Segment, batch: _Batch) -> _Segment:
        """Write a batch that has no room in the present segment as the first of the next one."""
        self._aim_spare(old)
        needed = _whole_blocks(head_bytes(len(batch.promised)) + batch.end - batch.start)
        self._spare_bytes = max(self._spare_bytes, needed)
        if self._spare is None or self._spare_done < self._spare_bytes:
            self._grow_spare(self._spare_bytes)
        if self._is_loose:
            # The new head will call all before it durable; a lone seal written at its end is not yet.
            old.file.sync()
            self._is_loose = False
        is_old_empty = old.head.base == batch.start
        head = Head(
            mark=self._mark,
            number=old.head.number + 1,
            previous=old.head.previous if is_old_empty else old.head.number,
            base=batch.start,
            file_bytes=self._spare_done,
            incarnation=self._incarnation,
            floor=self.floor,
            issued=batch.issued,
            lease_ns=self.lease_ns,
            promised=batch.promised,
        )
        assert self._spare is not None
        self._spare.write(0, [head.encode(), *batch.parts])
        segment = self._use_spare(head)
        self._segment = segment
        with self._lock:
            if is_old_empty:
                self._places.pop()
            self._places.append(_Place(head.base, segment.name, head.records_at))
        old.file.close()
        if is_old_empty:
            self._disk.remove(old.name)
        return segment

    def _use_spare(self, head: Head) -> _Segment:
        """Make the spare, whose head was written, the segment of that head: durable first, then under its name."""
        file = self._spare
        assert file is not None
        file.sync()
        name = segment_name(head.number)
        self._disk.rename(SPARE, name)
        self._disk.sync_names()
        self._spare = None
        self._spare_done = 0
        return _Segment(name, file, head)

    def _next_bytes(self, segment: _Segment) -> int:
        """How large the segment after this one shall be: doubling, so that a start costs little, up to the setting."""
        return _whole_blocks(min(2 * segment.head.file_bytes, max(self._segment_bytes, 2 * BLOCK_BYTES)))

    def _grow_spare(self, size: int) -> None:
        """Fill the spare with zeros up to ``size``. Raises JournalFull, and lets go of it, where the disk is full."""
        try:
            if self._spare is None:
                with contextlib.suppress(FileNotFoundError):
                    self._disk.remove(SPARE)
                self._spare = self._disk.create(SPARE)
                self._spare_done = 0
            write_zeros(self._spare, self._spare_done, size)
            self._spare_done = size
        except OSError as error:
            if error.errno not in _FULL:
                self._fail("making the next segment", error)
            self._drop_spare()
            self.shortage = (
                f"the disk of {self._disk.where} is full: the next journal segment of {size} bytes cannot be made "
                f"({error.strerror}); free some space there"
            )
            raise JournalFull(self.shortage) from error
        self.shortage = ""

    def _drop_spare(self) -> None:
        """Give its space back; what cannot be removed now is removed at the next attempt or start."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None
            self._spare_done = 0
            with contextlib.suppress(OSError):
                self._disk.remove(SPARE)

    def prepare(self) -> None:
        """Keep the next segment ahead: half as far again in its making as the present one is used. Never raises
        JournalFull; what it would say stands in ``shortage``."""
        self._check()
        segment = self._segment
        assert segment is not None
        if self.shortage and self._skips < _SKIPS_WHEN_FULL:
            self._skips += 1
            return
        self._skips = 0
        self._aim_spare(segment)
        used = segment.offset_of(self._durable) * 3 * self._spare_bytes // (2 * segment.head.file_bytes)
        self._advance_spare(min(self._spare_bytes, _whole_blocks(used)))

    def _aim_spare(self, segment: _Segment) -> None:
        """Say how large the spare will be, when it is begun."""
        if self._spare is None:
            self._spare_bytes = self._next_bytes(segment)

    def _advance_spare(self, size: int) -> None:
        if self._spare is not None and self._spare_done >= size:
            return
        # JournalFull has left its reason in ``shortage``; it is an error only when a flush needs the segment.
        with contextlib.suppress(JournalFull):
            self._grow_spare(size)

    def seal_now(self) -> None:
        """Write the seal that waits, alone, if nothing else waits. It is not synced: nothing waits for it (rule-R34)."""
        self._check()
        segment = self._segment
        assert segment is not None
        with self._lock:
            if self._tally.records or not self._parts or self._writing is not None:
                return
            start = self._start
            parts = self._parts
            if segment.room(start) < self._end - start:
                return  # it begins the next segment, with the next records
            self._parts = []
            self._start = self._end
        try:
            segment.file.write(segment.offset_of(start), parts)
        except OSError as error:
            self._fail(f"writing a seal at position {start}", error)
        self._is_loose = True

    def idle(self, quiet_ns: int) -> int:
        """What to do in quiet times, ``quiet_ns`` after the last flush returned: the lone seal, the next segment.

        Returns after how many nanoseconds to come again, if it is still quiet; 0 when nothing is left to do.
        """
        self._check()
        segment = self._segment
        assert segment is not None
        with self._lock:
            is_seal_waiting = bool(self._parts) and not self._tally.records and self._writing is None
            is_seal_waiting = is_seal_waiting and segment.room(self._start) >= self._end - self._start
        if is_seal_waiting:
            if quiet_ns < SEAL_AFTER_NS:
                return SEAL_AFTER_NS - quiet_ns
            self.seal_now()
        self._aim_spare(segment)
        if self._spare is None or self._spare_done < self._spare_bytes:
            # One step, then back: a flush must not wait long for it.
            self._advance_spare(min(self._spare_bytes, self._spare_done + ZERO_STEP_BYTES))
            if self.shortage:
                return RETRY_NS
            return 1 if self._spare_done < self._spare_bytes else 0
        return 0

    def close(self) -> None:
        """Write and seal all, durably, and let go of the files; a failed journal only lets go. The directory stays open."""
        try:
            if self._is_ready and not self._failure:
                self.flush()
                self.seal_now()
                if self._is_loose and self._segment is not None:
                    try:
                        self._segment.file.sync()
                    except OSError as error:
                        self._fail("syncing the last seal", error)
        finally:
            self._is_ready = False
            self._failure = self._failure or f"the journal in {self._disk.where} was closed"
            if self._segment is not None:
                self._segment.file.close()
                self._segment = None
            self._drop_spare()

    # -- any thread that may wait for the disk ------------------------------------------------------------------------

    def read(self, first: Slot, last: Slot, group: int = 0, bytes_enough: int = 0) -> list[tuple[Slot, Ballot, Decree]]:
        """What was learned, else accepted, last in each of the slots ``first`` to ``last``, ascending.

        For catch-up: the caller asks for slots it knows to be chosen. Slots without a durable record are left out, and so
        are all from the lowest on of which a record still waits: that one, not an older vote, may be what was chosen
        (rule-R5). With ``bytes_enough`` it may end early, once the decrees make so many bytes; it then returns at least the
        lowest slot there is, and leaves out no slot below the highest it returns. Raises JournalDamaged where a record has
        rotted since it was written: nothing is returned that was not checked.
        """
        self._check()
        with self._lock:
            writing = self._writing
            for tally in [self._tally] if writing is None else [self._tally, writing.tally]:
                reach = tally.reach.get(group)
                if reach is not None:
                    last = min(last, reach[0] - 1)
            last, stretches = self._index.find(group, first, last, bytes_enough)
            places = list(self._places)
        bases = [place.base for place in places]
        # slot -> (was learned, where the record begins, where it ends); a later one of the same sort wins.
        found: dict[Slot, tuple[bool, int, int]] = {}
        files: dict[str, DiskFile] = {}
        try:
            for begin, end in stretches:
                while begin < end:
                    which = bisect_right(bases, begin) - 1
                    border = bases[which + 1] if which + 1 < len(bases) else end
                    part_end = min(end, border)
                    self._read_stretch(places[which], files, begin, part_end, group, first, last, found)
                    begin = part_end
            answer: list[tuple[Slot, Ballot, Decree]] = []
            size = 0
            for slot in sorted(found):
                _, begin, end = found[slot]
                place = places[bisect_right(bases, begin) - 1]
                file = files[place.name]
                offset = place.records_at + begin - place.base
                for record in scan(file, self._seed, offset, begin, offset + end - begin):
                    answer.append((record[4], record[5], record[7]))
                    size += len(record[7])
                if bytes_enough and size >= bytes_enough:
                    break
            return answer
        except OSError as error:
            self._fail(f"reading slots {first} to {last}", error)
        finally:
            for file in files.values():
                file.close()

    def _read_stretch(
        self,
        place: _Place,
        files: dict[str, DiskFile],
        begin: int,
        end: int,
        group: int,
        first: Slot,
        last: Slot,
        found: dict[Slot, tuple[bool, int, int]],
    ) -> None:
        """Note where the records of the slots asked for stand between two positions of one segment."""
        file = files.get(place.name)
        if file is None:
            file = self._disk.open(place.name)
            files[place.name] = file
        offset = place.records_at + begin - place.base
        reached = begin
        for start, stop, kind, of_group, slot, _, _, _ in scan(file, self._seed, offset, begin, offset + end - begin):
            reached = stop
            if of_group == group and first <= slot <= last and kind in (ACCEPTED, LEARNED):
                known = found.get(slot)
                if known is None or kind == LEARNED or not known[0]:
                    found[slot] = (kind == LEARNED, start, stop)
        if reached != end:
            raise JournalDamaged(
                self._disk.where, place.name, reached, "a record that was durable cannot be read any more", (), False
            )

    # -- failing ------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._failure:
            raise JournalFailed(self._failure)

    def _fail(self, doing: str, error: OSError) -> NoReturn:
        """Nothing is written here any more, and the next start shall hear why."""
        self._failure = (
            f"the journal in {self._disk.where} failed while {doing}: {error}. This replica stopped, since what the "
            "disk holds cannot be known after that; nothing it did not finish was answered for. Check the disk, then "
            "start it again: it reads what is there and syncs it before it vouches for anything."
        )
        # If it can: the disk that failed just now may not take this either.
        with contextlib.suppress(OSError):
            if STOPPED in self._disk.names():
                self._disk.remove(STOPPED)
            note = self._disk.create(STOPPED)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            note.write(0, [f"{stamp} {self._failure}\n".encode()])
            note.sync()
            note.close()
            self._disk.sync_names()
        raise JournalFailed(self._failure) from error


def _whole_blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
