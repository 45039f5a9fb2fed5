"""A hunt: the journal thread of a running replica on a disk whose writes fail (rule-R37, bug-C08).

    python -m multipaxos.mutants.failing_disk

The thread is the shipped one of ``host/``, its loop is a real one; the disk is ``sim/``'s. After a failed write or sync the
replica must be told, or it leads on with a dead journal; and it must never hear again that something is durable.
"""

import asyncio
import errno
import json
import logging
import sys
from collections.abc import Sequence
from typing import Final

from multipaxos.host.journal_thread import JournalThread
from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_errors import ErringDisk
from multipaxos.sim.crash_life import fresh, vote
from multipaxos.sim.crash_verdict import started
from multipaxos.storage.faults import JournalFailed

PATIENCE_S: Final = 5.0
"""A thread that has not told by then tells nobody."""

CALLS: Final = 12
"""From the first call of the first flush on: the journal's write and sync, both copies', and those of the flushes behind."""


class Told:
    """What the loop heard of the thread."""

    def __init__(self) -> None:
        self.durable = 0
        self.failure = ""
        self.is_late = False  # something became durable behind the failure
        self.news = asyncio.Event()

    def heard_durable(self, position: int) -> None:
        """All up to ``position`` is called durable."""
        self.is_late = self.is_late or bool(self.failure)
        self.durable = position
        self.news.set()

    def heard_failure(self, text: str) -> None:
        """The journal has stopped."""
        self.failure = text
        self.news.set()


async def fail_at(call: int, code: int) -> None:
    """Appends votes, of which one meets the failure. Raises Violation."""
    disk = ErringDisk()
    journal, _ = started(fresh(disk))
    told = Told()
    thread = JournalThread(journal, asyncio.get_running_loop(), told.heard_durable, told.heard_failure)
    disk.target = disk.number + call
    disk.fault = (code, "")
    thread.start()
    slot = 0
    try:
        while not told.failure:
            slot += 1
            told.news.clear()
            try:
                position = thread.append([vote(slot, slot)], slot)
            except JournalFailed as failed:  # the driver stops then, as it does when it is told
                told.heard_failure(str(failed))
                break
            while told.durable < position and not told.failure:
                try:
                    await asyncio.wait_for(told.news.wait(), PATIENCE_S)
                except TimeoutError:
                    text = (
                        f"{errno.errorcode[code]} at call {call}: nobody is told within {PATIENCE_S:.0f} s; it leads on"
                    )
                    raise Violation("rule-R37", text) from None
                told.news.clear()
    finally:
        await thread.stop(PATIENCE_S)
    if told.is_late:
        raise Violation(
            "rule-R37", f"{errno.errorcode[code]} at call {call}: something becomes durable behind the failure"
        )


async def look() -> tuple[list[dict[str, str]], int, int]:
    """All failures: violations, runs, runs that ended in an exception."""
    violations: list[dict[str, str]] = []
    runs = crashes = 0
    for call in range(CALLS):
        if violations:
            break
        runs += 1
        try:
            await fail_at(call, errno.EIO)
        except Violation as violation:
            violations.append({"id": violation.invariant, "text": violation.text})
        except Exception:
            crashes += 1
    return violations, runs, crashes


def main(arguments: Sequence[str]) -> int:
    """The command; 0 when nothing was found."""
    del arguments
    logging.disable(logging.CRITICAL)
    try:
        violations, runs, crashes = asyncio.run(look())
    finally:
        logging.disable(logging.NOTSET)
    sys.stdout.write(json.dumps({"violations": violations, "runs": runs, "crashes": crashes}) + "\n")
    return 1 if violations or crashes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
