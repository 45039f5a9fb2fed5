"""Whether the loop of a replica turns, and how late it is.

Two witnesses. The loop's own timer, due every tenth of a second, measures how late it runs: an overloaded loop is late by
the length of what it was busy with. That witness is silent while the loop stands still, so another thread, which asks
``stalled_for_ms``, compares the clock with when the timer was due. Neither can tell a loop that is busy from one that
waits for the interpreter, which another thread may hold; to a client both are the same.

Knows nothing of what the loop does. ``admin.py`` asks from its own thread; the one attribute both threads share is an
integer that the loop writes in one step.
"""

import asyncio
import time
from collections import deque
from typing import Final

BEAT_S: Final = 0.1
STALL_SEEN_MS: Final = 250
"""The timer has to be so late before the loop is said to stand still: below, it is only busy."""

_MAXIMA: Final = 10

_NS_PER_MS: Final = 1_000_000
_BEAT_NS: Final = int(BEAT_S * 1e9)


class StallDetector:
    """Made, started and stopped on the loop."""

    __slots__ = ("_due_at", "_loop", "_maxima", "_maximum_ns", "_timer", "last_ns", "longest_ns")

    def __init__(self) -> None:
        self.last_ns = 0  # how late the last beat was
        self.longest_ns = 0  # since the start
        self._due_at = 0  # of the next beat, 0 before the start and after the end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._maxima: deque[int] = deque(maxlen=_MAXIMA)  # of each of the last seconds
        self._maximum_ns = 0  # of the present one
        self._timer: asyncio.TimerHandle | None = None

    # --- on the loop -------------------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop, from its own thread."""
        self._loop = loop
        self._arm()

    def stop(self) -> None:
        """Watch no more: a loop that has ended does not stall."""
        self._due_at = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def each_second(self) -> None:
        """A second is over."""
        self._maxima.append(self._maximum_ns)
        self._maximum_ns = 0

    @property
    def max_10s_ns(self) -> int:
        """How late the latest beat of the last ten seconds was."""
        return max(self._maximum_ns, max(self._maxima, default=0))

    def _arm(self) -> None:
        assert self._loop is not None
        self._due_at = time.monotonic_ns() + _BEAT_NS
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        late_ns = max(0, time.monotonic_ns() - self._due_at)
        self.last_ns = late_ns
        if late_ns > self._maximum_ns:
            self._maximum_ns = late_ns
            if late_ns > self.longest_ns:
                self.longest_ns = late_ns
        self._arm()

    # --- from any thread ---------------------------------------------------------------------------------------------

    def stalled_for_ms(self) -> int:
        """For how long the loop has not turned, 0 while it does."""
        due_at = self._due_at
        if due_at == 0:
            return 0
        late_ms = (time.monotonic_ns() - due_at) // _NS_PER_MS
        return late_ms if late_ms >= STALL_SEEN_MS else 0
