"""The journal on the disk of this machine: the same code over the real calls."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from multipaxos.core.records import AcceptedRecord
from multipaxos.sim.crash_life import learned, promised, vote
from multipaxos.storage.disk import RealDisk, write_zeros
from multipaxos.storage.identity import DataDirectory

WRITER = """
import sys
from multipaxos.sim.crash_life import vote
from multipaxos.storage.identity import DataDirectory
directory = DataDirectory.open(sys.argv[1])
journal = directory.journal(1 << 20)
slot = max([record.slot for _, record in journal.recovered()], default=0)
while True:
    slot += 1
    journal.append([vote(slot, body=b"k" * 3000)])
    journal.flush()
    print(slot, flush=True)
    journal.prepare()
"""


def test_a_life_over_several_segments_and_starts(tmp_path: Path) -> None:
    path = str(tmp_path / "data")
    directory = DataDirectory.create(path, 1)
    journal = directory.journal(1 << 20)
    assert list(journal.recovered()) == []
    told = []
    for slot in range(1, 301):
        records = [promised(slot // 100 + 1), vote(slot, slot // 100 + 1, os.urandom(10_000))]
        told += records
        position = journal.append(records)
        assert journal.flush() == position
        journal.prepare()
    told.append(learned(301))
    journal.append(told[-1:])
    while journal.idle(1 << 40):
        pass
    assert journal.read(7, 7)[0][2] == told[13].decree  # type: ignore[union-attr]
    journal.close()
    directory.close()
    assert len([name for name in os.listdir(path) if name.endswith(".segment")]) > 2
    for _ in range(3):
        directory = DataDirectory.open(path)
        journal = directory.journal(1 << 20)
        assert [record for _, record in journal.recovered()] == told
        assert journal.read(300, 301) == [
            (record.slot, record.ballot, record.decree)
            for record in told
            if not isinstance(record, type(promised(1))) and record.slot >= 300
        ]
        directory.close()  # like a process that was killed: the journal is not closed


@pytest.mark.processes
def test_a_killed_writer_loses_nothing_it_called_durable(tmp_path: Path) -> None:
    """kill -9 in the middle of its work, several times over; each next start finds all that was ever called durable."""
    path = str(tmp_path / "data")
    DataDirectory.create(path, 1).close()
    highest = 0
    for wanted in (3, 40, 200):
        child = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            highest = int(line)
            if highest >= wanted:
                break
        child.kill()
        highest = max([highest, *(int(line) for line in child.stdout.read().split("\n")[:-1])])
        child.stdout.close()
        child.wait()
    directory = DataDirectory.open(path)
    slots = [record.slot for _, record in directory.journal().recovered() if isinstance(record, AcceptedRecord)]
    assert slots == list(range(1, len(slots) + 1))
    assert len(slots) >= highest >= 200
    directory.close()


def test_append_and_flush_on_two_threads(tmp_path: Path) -> None:
    """As the driver runs it: one thread appends, one flushes, one reads back; positions only grow, nothing is lost."""
    directory = DataDirectory.create(str(tmp_path), 1)
    journal = directory.journal(1 << 20)
    assert list(journal.recovered()) == []
    count = 2000
    durable = [0]
    is_done = threading.Event()
    failures: list[BaseException] = []

    def flush() -> None:
        try:
            while not (is_done.is_set() and journal.durable == journal.appended):
                position = journal.flush()
                assert position >= durable[0]
                durable[0] = position
                journal.prepare()
                journal.idle(1 << 40)
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        try:
            while not is_done.is_set():
                found = journal.read(1, count)
                assert [slot for slot, _, _ in found] == list(range(1, len(found) + 1))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=flush), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for slot in range(1, count + 1):
        journal.append([vote(slot, body=b"t" * 300)])
    is_done.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert durable[0] == journal.appended
    assert len(journal.read(1, count)) == count
    journal.close()
    directory.close()
    directory = DataDirectory.open(str(tmp_path))
    assert len(list(directory.journal().recovered())) == count
    directory.close()


def test_a_start_writes_little(tmp_path: Path) -> None:
    """A cluster begins in seconds: the first segment is small, the large ones are made later."""
    directory = DataDirectory.create(str(tmp_path), 1)
    journal = directory.journal()
    assert list(journal.recovered()) == []
    journal.append([promised(1)])
    journal.flush()
    written = sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir())
    assert written < 8 << 20
    journal.close()
    directory.close()


def test_the_parts_of_a_write_arrive_in_order_whatever_their_sizes(tmp_path: Path) -> None:
    disk = RealDisk(str(tmp_path))
    file = disk.create("f")
    small = [b"%d," % number for number in range(3000)]
    large = [b"%05d" % number * 1000 for number in range(1100)]
    for parts in (small, large, [b"one"], [*large[:3], *small[:3]]):
        file.write(7, parts)
        whole = b"".join(parts)
        assert file.read(7, len(whole)) == whole
    size = file.size()
    assert file.read(size - 2, 100) == large[-1][-2:]
    assert file.read(size + 5, 10) == b""
    file.truncate(3)
    assert file.size() == 3
    write_zeros(file, 3, 300_003)
    file.sync()
    assert file.read(3, 300_000) == bytes(300_000)
    file.close()
    file.close()
    disk.rename("f", "g")
    assert disk.names() == ["g"]
    assert disk.inode("g") == os.stat(tmp_path / "g").st_ino
    disk.sync_names()
    disk.sync_own_name()
    disk.remove("g")
    with pytest.raises(FileNotFoundError):
        disk.open("g")
    disk.close()
    disk.close()
