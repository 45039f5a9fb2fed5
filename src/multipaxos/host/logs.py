"""Log lines on a thread of their own: the loop never touches a file, a log line included (rule-R31).

A line is handed over in a bounded queue. Where the file behind it stands still, lines are dropped and counted; the
replica goes on. Knows nothing of what is said.
"""

import logging
import logging.handlers
import queue
import sys
import time
from typing import Final, TextIO

QUEUE_LINES_MAX: Final = 10_000
TROUBLE_REPEATED_NS: Final = 30_000_000_000
TROUBLE_LINES_MAX: Final = 20

STRANGER: Final = 0
"""Whoever is no member of the configuration, whatever id it claims."""


class _DroppingHandler(logging.handlers.QueueHandler):
    """Never waits: a full queue costs the line."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]") -> None:
        super().__init__(lines)
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand the line over, or count it."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Formatter(logging.Formatter):
    default_msec_format = "%s.%03dZ"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """In UTC: log lines of several machines are read side by side."""
        return self.default_msec_format % (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)),
            record.msecs,
        )


class Troubles:
    """Which troubles to say: each once, again every half minute while it lasts, and only so many lines from one source in
    that time. Whoever reaches a port can make as many different ones as it likes (its own port stands in each), and must
    not fill the disk that the log is on. Members are counted apart, so that no stranger hides what one of them suffers.
    """

    __slots__ = ("_begun_at", "_left_out", "_said")

    def __init__(self) -> None:
        self._begun_at: dict[int, int] = {}
        self._left_out: dict[int, int] = {}
        self._said: dict[int, set[str]] = {}

    def lines(self, source: int, reason: str, now: int) -> list[str]:
        """What to write down now; ``source`` is the id of a member, or STRANGER."""
        lines: list[str] = []
        if source not in self._said or now - self._begun_at[source] >= TROUBLE_REPEATED_NS:
            left_out = self._left_out.get(source, 0)
            if left_out:
                whose = f"replica {source}" if source else "strangers"
                lines.append(f"{left_out} further troubles with {whose} were not written to this log")
            self._begun_at[source] = now
            self._left_out[source] = 0
            self._said[source] = set()
        said = self._said[source]
        if reason in said:
            return lines
        if len(said) >= TROUBLE_LINES_MAX:
            self._left_out[source] += 1
            return lines
        said.add(reason)
        lines.append(reason)
        return lines


class LogThread:
    """Takes over the root logger until ``stop``."""

    __slots__ = ("_handler", "_listener", "_stream")

    def __init__(self, level: str, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        lines: queue.Queue[logging.LogRecord] = queue.Queue(QUEUE_LINES_MAX)
        self._handler = _DroppingHandler(lines)
        output = logging.StreamHandler(self._stream)
        output.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        self._listener = logging.handlers.QueueListener(lines, output)
        root = logging.getLogger()
        root.handlers[:] = [self._handler]
        root.setLevel(level.upper())
        self._listener.start()

    @property
    def dropped(self) -> int:
        """Lines that found the queue full."""
        return self._handler.dropped

    def stop(self) -> None:
        """Write what is queued and give the root logger back."""
        root = logging.getLogger()
        root.handlers[:] = [handler for handler in root.handlers if handler is not self._handler]
        self._listener.stop()
        if self._handler.dropped:
            self._stream.write(
                f"{self._handler.dropped} log lines were dropped: they could not be written fast enough\n"
            )
