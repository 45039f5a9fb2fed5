"""A loop that stands still is seen by another thread while it does, and by itself afterwards."""

import asyncio
import threading
import time

import pytest
from one_replica import until

from multipaxos.host import stalls
from multipaxos.host.stalls import STALL_SEEN_MS, StallDetector


def test_a_loop_that_turns_does_not_stall() -> None:
    async def body() -> None:
        detector = StallDetector()
        assert detector.stalled_for_ms() == 0, "not begun"
        detector.start(asyncio.get_running_loop())
        assert detector.stalled_for_ms() == 0, "not due yet"
        detector.stop()
        assert detector.stalled_for_ms() == 0

    asyncio.run(body())


def test_another_thread_sees_it_while_it_lasts_and_the_loop_remembers() -> None:
    detector = StallDetector()
    seen: list[int] = []
    is_seen = threading.Event()

    def watch() -> None:
        while not is_seen.is_set():
            found = detector.stalled_for_ms()
            if found:
                seen.append(found)
                is_seen.set()
            time.sleep(0.005)

    async def body() -> None:
        detector.start(asyncio.get_running_loop())
        watcher = threading.Thread(target=watch)
        watcher.start()
        assert is_seen.wait(20), "nobody saw the loop stand still"  # it does: this waits on the loop
        watcher.join()
        await until(lambda: detector.longest_ns > 0, "the next beat")
        assert detector.stalled_for_ms() == 0
        detector.stop()

    asyncio.run(body())
    assert seen[0] >= STALL_SEEN_MS
    assert detector.longest_ns >= STALL_SEEN_MS * 1_000_000
    assert detector.max_10s_ns == detector.longest_ns


def test_the_worst_of_ten_seconds_is_forgotten_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0]
    monkeypatch.setattr(stalls, "time", type("Time", (), {"monotonic_ns": staticmethod(lambda: clock[0])}))

    class Loop:
        """Keeps the timer for the test."""

        def call_later(self, delay: float, callback: object) -> "Loop":
            self.callback = callback
            return self

        def cancel(self) -> None:
            self.callback = None

    loop = Loop()
    detector = StallDetector()
    detector.start(loop)  # type: ignore[arg-type]
    for late_ms in (3, 40, 0):
        clock[0] += 100_000_000 + late_ms * 1_000_000
        loop.callback()  # type: ignore[operator]
    assert detector.last_ns == 0 and detector.max_10s_ns == detector.longest_ns == 40_000_000
    for _ in range(10):
        assert detector.max_10s_ns == 40_000_000
        detector.each_second()
    detector.each_second()
    assert detector.max_10s_ns == 0 and detector.longest_ns == 40_000_000
    clock[0] += 100_000_000 + (STALL_SEEN_MS - 1) * 1_000_000
    assert detector.stalled_for_ms() == 0, "busy, not still"
    clock[0] += 1_000_000
    assert detector.stalled_for_ms() == STALL_SEEN_MS
