"""The threads that wait for the disk, so that the loop never does (rule-R31).

``JournalThread`` makes the journal durable: it takes all that was appended, writes and syncs it (group commit), tells the
loop up to which position all is durable, and begins anew; what is appended meanwhile gathers into the next batch. In
quiet times it lets the journal write its lone seal and make its next segment. ``FileThread`` does everything else that
touches a file while the replica runs: reading decrees back, noting the cluster's id.

Both are daemons: a disk that hangs must not keep a process alive that was told to stop. Neither knows what a record
means. The other end of both is ``driver.py``.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from multipaxos.core.records import Record
from multipaxos.storage.faults import JournalFailed, JournalFull

FULL_RETRY_S: Final = 1.0
"""So often a flush that found the disk full is tried again; nothing of it was written, so trying again is honest."""

YIELD_S: Final = 0.001
"""After a sync this thread first stands aside for so long, unless more was appended."""

PREPARED_FLUSHES: Final = 8
PREPARED_BYTES: Final = 256 * 1024
"""The next segment is made further after so many flushes or bytes, or when it has been quiet for ``YIELD_S``."""

SLOW_NS: Final = 300_000_000
"""A sync that takes longer is said: whoever asks why writes were slow finds the disk in the log."""

log = logging.getLogger("multipaxos.journal")


class JournalLike(Protocol):
    """What this thread needs of ``storage/journal.py``."""

    @property
    def appended(self) -> int:
        """Position behind the last record appended."""

    @property
    def durable(self) -> int:
        """Position up to which all is durable."""

    def append(self, records: Sequence[Record], group: int = 0) -> int:
        """Take records in; touches no file."""

    def flush(self) -> int:
        """Make all that was appended durable."""

    def prepare(self) -> None:
        """Keep the next segment ahead."""

    def idle(self, quiet_ns: int) -> int:
        """What to do in quiet times; after how many nanoseconds to come again, 0 for never."""

    def close(self) -> None:
        """Flush, seal, sync, let go."""


class JournalThread:
    """Group commit. All methods are called on the loop's thread."""

    __slots__ = (
        "_closed", "_is_asleep", "_is_stopping", "_journal", "_loop", "_on_durable", "_on_failed", "_on_synced", "_pending",
        "_thread", "_wake",
    )  # fmt: skip

    def __init__(
        self,
        journal: JournalLike,
        loop: asyncio.AbstractEventLoop,
        on_durable: Callable[[int], None],
        on_failed: Callable[[str], None],
        on_synced: Callable[[int], None] = lambda duration_ns: None,
    ) -> None:
        """All three are called on the loop; ``on_synced`` hears how long each flush took, write and sync."""
        self._journal = journal
        self._loop = loop
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._on_synced = on_synced
        # A queue rather than a condition: it is made in C, and a wake-up of this thread is paid for by every write.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_asleep = False  # waits for something to be appended
        self._is_stopping = False
        self._pending: deque[tuple[int, int]] = deque()  # (position, now) of appends that are not durable, on the loop
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to make durable what is appended."""
        self._thread.start()

    def append(self, records: Sequence[Record], now: int, group: int = 0, wakes: bool = True) -> int:
        """Take the records of one step in; the position its answers wait for (rule-R33). With ``wakes`` False the caller
        says ``wake`` later: a thread that wakes takes the processor, and then waits for the interpreter we hold."""
        position = self._journal.append(records, group)
        self._pending.append((position, now))
        if wakes:
            self.wake()
        return position

    def wake(self) -> None:
        """Let what was appended be written."""
        if self._is_asleep:  # no lock is needed: the thread looks at ``appended`` once more after it has set this
            self._is_asleep = False
            self._wake.put(None)

    @property
    def position(self) -> int:
        """The position that the answers of a step that wrote nothing wait for (rule-R33)."""
        return self._journal.appended

    @property
    def waiting_bytes(self) -> int:
        """Appended, and not known on the loop to be durable."""
        return self._journal.appended - self._journal.durable

    @property
    def oldest_write_at(self) -> int:
        """``now`` of the oldest append that is not durable, 0 for none."""
        return self._pending[0][1] if self._pending else 0

    async def stop(self, patience_s: float) -> bool:
        """Flush, seal and let go of the files. False where the disk did not return in time: then nothing waits for it."""
        self._is_stopping = True
        self._wake.put(None)
        try:
            await asyncio.wait_for(self._closed.wait(), patience_s)
        except TimeoutError:
            return False
        return True

    # --- on the loop, called by the thread ---------------------------------------------------------------------------

    def _told_durable(self, position: int, duration_ns: int) -> None:
        self._on_synced(duration_ns)
        pending = self._pending
        while pending and pending[0][0] <= position:
            pending.popleft()
        self._on_durable(position)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        journal = self._journal
        flushed_at = time.monotonic_ns()
        prepared_at = journal.durable
        unprepared = 0
        try:
            while not self._is_stopping:
                durable = journal.durable
                if journal.appended > durable:
                    begun_at = time.monotonic_ns()
                    try:
                        durable = journal.flush()
                    except JournalFull as error:
                        log.error("%s; trying again every second, nothing is answered for meanwhile", error)
                        self._sleep(FULL_RETRY_S, False)
                        continue
                    flushed_at = time.monotonic_ns()
                    self._tell(self._told_durable, durable, flushed_at - begun_at)
                    if flushed_at - begun_at > SLOW_NS:
                        log.warning("the disk took %.2f s to write and sync", (flushed_at - begun_at) / 1e9)
                    unprepared += 1
                    if unprepared < PREPARED_FLUSHES and durable - prepared_at < PREPARED_BYTES:
                        # The loop wakes to let go of what waited for this sync, and needs the interpreter for it.
                        self._sleep(YIELD_S, True)
                        continue
                elif unprepared == 0:
                    again_ns = journal.idle(time.monotonic_ns() - flushed_at)
                    if again_ns != 1:  # 1: it has more to do at once
                        self._sleep(again_ns / 1e9 if again_ns else None, True)
                    continue
                unprepared = 0
                prepared_at = durable
                journal.prepare()
            journal.close()
        except (JournalFailed, JournalFull) as error:
            self._tell(self._on_failed, str(error))
        except BaseException as error:
            log.exception("the journal thread failed")
            self._tell(self._on_failed, f"the journal thread failed: {error!r}")
        self._tell(self._closed.set)

    def _sleep(self, seconds: float | None, ends_with_append: bool) -> None:
        self._is_asleep = ends_with_append
        # Looked at once more, now that ``append`` can see the flag: otherwise one might slip in between unseen. A wake-up
        # too many only costs a look.
        if not self._is_stopping and not (ends_with_append and self._journal.appended > self._journal.durable):
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=seconds)
        self._is_asleep = False

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return  # the loop is closed: the replica was told to stop and did not wait for this disk


class FileThread:
    """One thread for the other file work, in order; what is asked beyond a bound is refused."""

    __slots__ = ("_jobs", "_loop", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop, jobs_max: int) -> None:
        self._loop = loop
        self._jobs: queue.Queue[tuple[Callable[[], object], Callable[[object], None]]] = queue.Queue(jobs_max)
        self._thread = threading.Thread(target=self._run, name="files", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Callable[[], object], done: Callable[[object], None]) -> bool:
        """Run ``job`` on the thread, then ``done`` with its result, or the exception it raised, on the loop. False where
        too much waits already."""
        try:
            self._jobs.put_nowait((job, done))
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while True:
            job, done = self._jobs.get()
            result: object
            try:
                result = job()
            except Exception as error:  # handed over to whoever asked, who decides what it means
                result = error
            try:
                self._loop.call_soon_threadsafe(done, result)
            except RuntimeError:
                return  # the loop is closed
