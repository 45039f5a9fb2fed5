"""A directory is read as it was at one moment, beside whoever writes it, and nothing in it is touched."""

import os
import shutil
import sys
from io import StringIO
from pathlib import Path
from typing import cast

import pytest
from journal_maker import BALLOT, flip, grown, ledger, look, made, overwrite, run, run_json, spot_of, voted

from multipaxos.cli import journal_report
from multipaxos.core.ballot import ballot_of
from multipaxos.core.records import AcceptedRecord, MarkRecord, PromisedRecord, Record
from multipaxos.host.chosen_slots import ChosenReader
from multipaxos.host.journal_copy import DirectoryChanged, JournalCopy, ReadingDisk, holder_of
from multipaxos.storage.disk import Disk
from multipaxos.storage.identity import DataDirectory
from multipaxos.storage.segment import segment_number

COMMANDS = (
    ("show",), ("show", "--from", "1", "--raw"), ("show", "--records"), ("verify",), ("replay", "--tree"),
    ("replay", "--path", "/a"),
)  # fmt: skip


def test_no_command_changes_anything(tmp_path: Path) -> None:
    """Whole, damaged, or of another time: what stands there stays as it is, times and inodes included."""
    whole = made(tmp_path / "1", 1, voted(ledger(40)))
    bad = made(tmp_path / "2", 2, voted(ledger(40)))
    flip(spot_of(bad, 9).path, spot_of(bad, 9).offset + 60)
    mark_lost = made(tmp_path / "3", 3, voted(ledger(5)))
    (mark_lost / "mark").unlink()
    before = look(tmp_path)
    for command, *options in COMMANDS:
        assert run(command, whole, *options)[0] == 0
        assert run(command, bad, *options)[0] == 1
        assert run(command, mark_lost, *options)[0] == 1
    for directory in (bad, mark_lost):
        assert run("compare", whole, directory, "--state")[0] == 1
    assert look(tmp_path) == before


def test_the_incarnation_shown_is_that_of_the_last_start(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(5)))
    code, value = run_json("show", path)
    assert code == 0
    assert value["incarnation"] == 2  # made, and started once
    assert not value["is_copy"]
    assert value["process"] == 0
    assert value["chosen_prefix"] == 5
    assert value["promised"] == "1.3"
    grown(path, [])
    assert run_json("show", path)[1]["incarnation"] == 3


def test_a_copy_is_read_and_called_one(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(12)))
    shutil.copytree(path, tmp_path / "copy")
    before = look(tmp_path)
    code, value = run_json("verify", tmp_path / "copy")
    assert code == 0
    assert value["is_copy"]
    assert value["chosen_prefix"] == 12
    assert "a copy" in run("show", tmp_path / "copy")[1]
    assert look(tmp_path) == before


def test_a_reading_disk_writes_nothing(tmp_path: Path) -> None:
    """A start runs over it and believes it has counted itself; the directory knows nothing of that."""
    path = made(tmp_path / "1", 1, voted(ledger(5)))
    before = look(tmp_path)
    disk: Disk = ReadingDisk(str(path))
    directory = DataDirectory.open(str(path), disk=disk)
    assert directory.incarnation == 3
    segment = next(name for name in disk.names() if segment_number(name))
    file = disk.open(segment)
    for write in (lambda: file.write(0, [b"x"]), lambda: file.truncate(0)):
        with pytest.raises(OSError, match="only read"):
            write()
    directory.close()
    assert look(tmp_path) == before


def slots_of(copy: JournalCopy) -> int:
    reader = ChosenReader(copy.records())
    return sum(1 for _ in reader.slots())


def test_what_is_written_behind_the_moment_is_not_read(tmp_path: Path) -> None:
    """The journal goes on, into a segment that is newer, while a copy is open: it stays the journal of its moment."""
    decrees = ledger(60)
    path = tmp_path / "1"
    DataDirectory.create(str(path), 1).close()
    directory = DataDirectory.open(str(path))
    journal = directory.journal(64 * 1024)
    assert not [record for _, record in journal.recovered() if isinstance(record, AcceptedRecord)]
    records = voted(decrees)
    journal.append(records[:20])
    journal.flush()
    copy = JournalCopy.open(str(path))
    assert copy.holder == os.getpid() == holder_of(str(path))
    last = journal.append(records[20:])
    journal.flush()
    big = AcceptedRecord(ballot_of(2, 1), 61, decrees[-1] + bytes(90_000), 60)
    journal.append([big])
    journal.flush()
    assert slots_of(copy) == 18
    assert copy.recovery.end < last
    assert not copy.recovery.cut
    copy.close()
    copy = JournalCopy.open(str(path))
    assert slots_of(copy) == 60
    assert len(copy.recovery.chain) == 2
    copy.close()
    journal.close()
    directory.close()


def test_a_half_written_record_at_the_end_is_no_damage(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(30)))
    copy = JournalCopy.open(str(path))
    for _ in copy.records():
        pass
    link, end = copy.recovery.chain[-1], copy.recovery.end
    copy.close()
    overwrite(path / link.name, link.offset_of(end), b"\x8d\x50\x78\x0a half of a record")
    code, value = run_json("verify", path)
    assert code == 0
    assert "torn end" in value["torn"]
    assert value["chosen_prefix"] == 30


def test_a_start_in_the_middle_of_reading_is_said(tmp_path: Path) -> None:
    """A start cuts and replaces the segment that is being read: no damage, and no silence either."""
    records = cast(list[Record], [PromisedRecord(BALLOT)])
    records += [AcceptedRecord(BALLOT, slot, bytes(40_000), slot - 1) for slot in range(1, 60)]
    path = made(tmp_path / "1", 1, [*records, MarkRecord(59)], segment_bytes=1 << 20)
    copy = JournalCopy.open(str(path))
    reading = copy.records()
    next(reading)
    grown(path, [])
    for name in os.listdir(path):
        if segment_number(name):
            os.truncate(path / name, 4096)
    with pytest.raises(DirectoryChanged, match="run the command again"):
        for _ in reading:
            pass
    copy.close()


@pytest.mark.parametrize(
    ("made_of", "says"),
    [
        ("nothing", "does not exist"),
        ("empty", "is empty"),
        ("other", "no multipaxos data directory"),
        ("file", "no directory"),
    ],
)
def test_what_is_no_replicas_directory_is_refused_by_name(tmp_path: Path, made_of: str, says: str) -> None:
    path = tmp_path / "it"
    if made_of == "file":
        path.write_text("text")
    elif made_of != "nothing":
        path.mkdir()
        if made_of == "other":
            (path / "letter").write_text("dear")
    code, text = run("show", path)
    assert code == 1
    assert says in text
    assert run_json("verify", path)[0] == 1


def test_why_a_replica_stopped_is_shown(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(5)))
    (path / "stopped").write_text("2026-01-01T00:00:00Z the sync failed\n")
    assert "last time it stopped: 2026-01-01T00:00:00Z the sync failed" in run("verify", path)[1]


class Terminal(StringIO):
    """What somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_long_readings_say_how_far_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(30)))
    monkeypatch.setattr(journal_report, "PROGRESS_EVERY_S", 0.0)
    monkeypatch.setattr(journal_report, "PROGRESS_SLOTS", 10)
    monkeypatch.setattr(sys, "stderr", Terminal())
    copy = JournalCopy.open(str(path))
    progress = journal_report.Progress([copy], "reading it")
    for chosen in ChosenReader(copy.records()).slots():
        progress.at(chosen.slot)
    progress.clear()
    copy.close()
    text = sys.stderr.getvalue()
    lines = text.split("\r")
    assert [line.split(",")[0] for line in lines if line.strip()] == [f"reading it: slot {n}" for n in (10, 20, 30)]
    assert text.endswith(" \r")


def test_the_folder_of_a_cluster_names_its_replicas(tmp_path: Path) -> None:
    for replica in (1, 2):
        made(tmp_path / f"replica-{replica}", replica, voted(ledger(8)))
    code, text = run("verify", tmp_path)
    assert code == 1
    assert str(tmp_path / "replica-2") in text
    assert run("compare", tmp_path)[0] == 0


def test_wrong_usage_is_another_exit_code(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(5)))
    assert run("compare", path)[0] == 2
    assert run("show", path, "--from", "5", "--to", "4")[0] == 2
    assert run("show", path, "--from", "0")[0] == 2
    assert run("replay", path, "--path", "a")[0] == 2
    assert run("show")[0] == 2
