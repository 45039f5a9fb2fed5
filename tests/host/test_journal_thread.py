"""Group commit, quiet times, a full disk, a failed one, a clean end."""

import asyncio
import threading
from collections.abc import Sequence

from one_replica import PATIENCE_S, until

from multipaxos.core.records import KeptRecord, Record
from multipaxos.host import journal_thread
from multipaxos.host.journal_thread import FileThread, JournalThread
from multipaxos.storage.faults import JournalFailed, JournalFull


class ScriptedJournal:
    """Counts what the thread asks for."""

    def __init__(self) -> None:
        self.appended = 0
        self.durable = 0
        self.gate = threading.Event()
        self.gate.set()
        self.flushes: list[int] = []
        self.quiet: list[int] = []
        self.idle_answers: list[int] = []
        self.calls: list[str] = []
        self.failures: list[Exception] = []

    def append(self, records: Sequence[Record], group: int = 0) -> int:
        self.appended += len(records)
        return self.appended

    def flush(self) -> int:
        position = self.appended
        self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.flushes.append(position - self.durable)
        self.durable = position
        self.calls.append("flush")
        return position

    def prepare(self) -> None:
        self.calls.append("prepare")

    def idle(self, quiet_ns: int) -> int:
        self.calls.append("idle")
        self.quiet.append(quiet_ns)
        return self.idle_answers.pop(0) if self.idle_answers else 0

    def close(self) -> None:
        if self.appended > self.durable:
            self.flush()
        self.calls.append("close")


class Started:
    """A thread on a scripted journal, and what it told the loop."""

    def __init__(self) -> None:
        self.journal = ScriptedJournal()
        self.durable: list[int] = []
        self.failed: list[str] = []
        self.thread = JournalThread(self.journal, asyncio.get_running_loop(), self.durable.append, self.failed.append)
        self.thread.start()

    def write(self, now: int = 1) -> int:
        return self.thread.append([KeptRecord(b"")], now)


def test_what_comes_during_a_sync_is_the_next_batch() -> None:
    async def body() -> None:
        one = Started()
        one.journal.gate.clear()
        assert one.write(now=5) == 1
        await until(lambda: not one.thread._is_asleep, "the thread flushes")
        for now in range(6, 16):
            one.write(now)
        assert one.thread.oldest_write_at == 5
        assert one.thread.position == 11
        one.journal.gate.set()
        await until(lambda: one.thread.oldest_write_at == 0, "all is durable")
        assert sum(one.journal.flushes) == 11
        assert len(one.journal.flushes) <= 3, "one sync for all that waited"
        assert one.durable == sorted(one.durable) and one.durable[-1] == 11
        assert await one.thread.stop(PATIENCE_S)
        assert one.journal.calls[-1] == "close"

    asyncio.run(body())


def test_quiet_times_belong_to_the_journal() -> None:
    async def body() -> None:
        one = Started()
        one.journal.idle_answers = [10_000_000, 1, 1, 0]
        one.write()
        await until(lambda: one.journal.calls.count("idle") >= 5, "it comes again as often as it was told")
        assert one.journal.calls.index("prepare") == one.journal.calls.index("flush") + 1
        count = len(one.journal.calls)
        one.write()
        await until(lambda: len(one.durable) == 2, "an append wakes it from its longest sleep")
        assert one.journal.calls[count] == "flush"
        assert await one.thread.stop(PATIENCE_S)

    asyncio.run(body())


def test_a_full_disk_is_tried_again(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(journal_thread, "FULL_RETRY_S", 0.001)

    async def body() -> None:
        one = Started()
        one.journal.failures = [JournalFull("the disk is full"), JournalFull("the disk is full")]
        one.write()
        await until(lambda: one.durable == [1], "it is written once there is space")
        assert one.failed == []
        assert await one.thread.stop(PATIENCE_S)

    asyncio.run(body())


def test_a_failed_disk_is_never_tried_again() -> None:
    async def body() -> None:
        one = Started()
        one.journal.failures = [JournalFailed("the sync failed")]
        one.write()
        await until(lambda: one.failed == ["the sync failed"], "the loop is told")
        one.write()
        assert await one.thread.stop(PATIENCE_S)
        assert one.durable == [] and one.journal.calls.count("flush") == 0

    asyncio.run(body())


def test_the_end_does_not_wait_for_a_hung_disk() -> None:
    async def body() -> None:
        one = Started()
        one.journal.gate.clear()
        one.write()
        assert not await one.thread.stop(0.05)
        one.journal.gate.set()
        await until(lambda: "close" in one.journal.calls, "the thread ends")

    asyncio.run(body())


def test_other_files_in_order_and_bounded() -> None:
    async def body() -> None:
        files = FileThread(asyncio.get_running_loop(), 2)
        done: list[object] = []
        assert files.submit(lambda: 1, done.append)
        assert files.submit(lambda: 1 // 0, done.append)
        assert not files.submit(lambda: 3, done.append), "beyond the bound it is refused"
        files.start()
        await until(lambda: len(done) == 2, "both are done")
        assert done[0] == 1 and isinstance(done[1], ZeroDivisionError)

    asyncio.run(body())
