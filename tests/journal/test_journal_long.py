"""Journals much larger than memory may become: read in one pass, in memory that does not grow with them.

Thirty thousand slots in each run; with ``MULTIPAXOS_LONG=1`` the million of ``docs/journal.md``, whose figures this prints.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_harness import IS_LONG, by_length, say
from journal_maker import BALLOT, batch, create, ledger, made, put

from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, PromisedRecord, Record

SLOTS = by_length(30_000, 1_000_000)
SMALL = 3_000
ALLOWED_BYTES = 6 << 20
"""What reading ten times (long: 330 times) as many records may take more: pieces that are read ahead, not records."""

MEASURED = """
import sys
from multipaxos.cli.journal import app
try:
    app(sys.argv[1:])
finally:
    # Not ru_maxrss: that begins with what the parent had when it forked.
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM:")), file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def long_life(slots: int, is_learned: bool) -> Iterator[Record]:
    """The records of a long life, one after the other."""
    begin = ledger(4)
    yield PromisedRecord(BALLOT)
    for slot in range(1, slots + 1):
        decree = begin[slot - 1] if slot <= 4 else batch(slot, slot - 1, _write(slot))
        yield LearnedRecord(BALLOT, slot, decree) if is_learned else AcceptedRecord(BALLOT, slot, decree, slot - 1)
    yield MarkRecord(slots)


def _write(slot: int) -> bytes:
    data = b"%0100d" % slot
    return put("/a", data) if slot % 10 else create(f"/n{slot}", data)


def long_journal(path: Path, replica: int, slots: int, is_learned: bool = False) -> Path:
    return made(path, replica, long_life(slots, is_learned), segment_bytes=16 << 20, at_once=5_000)


def measured(*words: object) -> tuple[dict[str, object], int]:
    """What a process of its own answers, and the memory it took at most."""
    begun = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *(str(word) for word in words), "--json"],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    value = json.loads(done.stdout.splitlines()[-1])
    rss = int(done.stderr.splitlines()[-1]) * 1024
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    say(f"{words[0]}: {time.monotonic() - begun:.1f} s, {cpu_s:.1f} s of processor, {rss / (1 << 20):.0f} MiB")
    return value, rss


@pytest.mark.slow
def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    small = [long_journal(tmp_path / f"small-{n}", n, SMALL, n == 2) for n in (1, 2)]
    large = [long_journal(tmp_path / f"large-{n}", n, SLOTS, n == 2) for n in (1, 2)]
    for command, count in by_length((("verify", 1), ("compare", 2)), (("verify", 1), ("show", 1), ("compare", 2))):
        _, little = measured(command, *small[:count])
        value, much = measured(command, *large[:count])
        assert value["ok"]
        assert value["compared_up_to" if command == "compare" else "chosen_prefix"] == SLOTS
        assert much < little + ALLOWED_BYTES
    if IS_LONG:
        value, _ = measured("replay", large[0])
        assert value["slot"] == SLOTS
