"""A data directory that is not what it should be is refused by name, with what to do (rule-R40, rule-R41, bug-C14)."""

import errno
import itertools
import os
import shutil
from pathlib import Path

import pytest

from multipaxos.sim.blocks import CHANGING, BlockDisk
from multipaxos.sim.crash_life import promised, vote
from multipaxos.storage import identity
from multipaxos.storage.faults import JournalDamaged, JournalFailed
from multipaxos.storage.identity import CREATING, MARK, DataDirectory, DirectoryRefused


def refused(reason: str, *arguments: object, **options: object) -> str:
    with pytest.raises(DirectoryRefused) as refusal:
        DataDirectory.open(*arguments, **options)  # type: ignore[arg-type]
    assert refusal.value.reason == reason
    return str(refusal.value)


def made(path: str, replica: int = 3) -> DataDirectory:
    """A directory made, opened and closed again, with one vote in it."""
    directory = DataDirectory.create(path, replica)
    journal = directory.journal(1 << 20)
    assert list(journal.recovered()) == []
    journal.append([promised(1), vote(1)])
    journal.close()
    directory.close()
    return directory


def test_made_opened_and_opened_again(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "er" / "data")
    assert DataDirectory.look(path) == "missing"
    first = made(path)
    assert DataDirectory.look(path) == "used"
    assert first.incarnation == 1
    assert 0 < first.mark < 1 << 64
    again = DataDirectory.open(path, replica=3)
    assert (again.replica, again.mark, again.incarnation) == (3, first.mark, 2)
    assert (again.cluster, again.list_digest, again.stopped) == ("", "", "")
    journal = again.journal()
    assert [record for _, record in journal.recovered()] == [promised(1), vote(1)]
    journal.close()
    again.close()
    text = (tmp_path / "deep" / "er" / "data" / "README").read_text()
    for name in os.listdir(path):
        if name != "README":
            assert name in text or name.endswith(".segment") or name.startswith("promise-"), f"{name} is not explained"
    assert "do not copy" in text.lower()


def test_two_directories_have_two_marks(tmp_path: Path) -> None:
    assert made(str(tmp_path / "a")).mark != made(str(tmp_path / "b")).mark


def test_missing_and_empty_are_refused_and_never_filled(tmp_path: Path) -> None:
    """bug-C14: "empty: initialise" is how a wiped replica votes as if it had never promised."""
    path = str(tmp_path / "data")
    assert "A lost or damaged disk" in refused("missing", path)
    assert not os.path.exists(path)
    os.mkdir(path)
    os.mkdir(os.path.join(path, "lost+found"))  # a file system of its own begins with this
    assert DataDirectory.look(path) == "empty"
    assert "A lost or damaged disk" in refused("empty", path)
    assert os.listdir(path) == ["lost+found"]
    DataDirectory.create(path, 1).close()


def test_an_emptied_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    made(str(path))
    for segment in path.glob("*.segment"):
        segment.unlink()
    assert "its journal was deleted" in refused("emptied", str(path))
    (path / MARK).unlink()
    assert "A lost or damaged disk" in refused("foreign", str(path))
    with pytest.raises(DirectoryRefused) as refusal:
        DataDirectory.create(str(path), 3)
    assert refusal.value.reason == "foreign", "a used directory that lost its mark is not made anew"


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert str(tmp_path) in refused("foreign", str(tmp_path))
    with pytest.raises(DirectoryRefused, match="other files"):
        DataDirectory.create(str(tmp_path), 1)
    assert sorted(os.listdir(tmp_path)) == ["lock", "thesis.tex"] or os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(DirectoryRefused) as refusal:
        DataDirectory.open(str(tmp_path / "thesis.tex"))
    assert refusal.value.reason == "unusable"


def test_a_used_directory_is_not_made_again(tmp_path: Path) -> None:
    path = str(tmp_path)
    made(path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(path) if name != "lock"}
    with pytest.raises(DirectoryRefused) as refusal:
        DataDirectory.create(path, 3)
    assert refusal.value.reason == "used"
    assert before == {name: (tmp_path / name).read_bytes() for name in os.listdir(path) if name != "lock"}


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    path = str(tmp_path)
    directory = DataDirectory.create(path, 1)
    assert f"process {os.getpid()}" in refused("locked", path)
    with pytest.raises(DirectoryRefused, match="is in use"):
        DataDirectory.create(path, 1)
    directory.close()
    opened = DataDirectory.open(path)
    assert opened.incarnation == 2, "a start that was refused for the lock does not count"
    opened.close()


def test_copied_dir(tmp_path: Path) -> None:
    """`copied-dir`: started instead of the original, or beside it: refused until the operator says that it was moved."""
    original, copy = str(tmp_path / "original"), str(tmp_path / "copy")
    first = made(original)
    shutil.copytree(original, copy)
    text = refused("copied", copy)
    assert "--moved" in text
    assert "file system" in text
    moved = DataDirectory.open(copy, moved=True)
    assert (moved.mark, moved.incarnation) == (first.mark, 2)
    moved.close()
    DataDirectory.open(copy).close()
    shutil.move(original, str(tmp_path / "elsewhere"))
    DataDirectory.open(str(tmp_path / "elsewhere")).close()  # a rename within one file system is no copy


def test_another_replicas_or_clusters_directory(tmp_path: Path) -> None:
    path = str(tmp_path)
    made(path, 2)
    assert "replica 2" in refused("other-replica", path, replica=1)
    directory = DataDirectory.open(path, cluster="c" * 32)  # before birth there is nothing to compare
    directory.set_cluster("c" * 32, "d" * 32)
    directory.set_cluster("c" * 32, "d" * 32)
    with pytest.raises(DirectoryRefused) as refusal:
        directory.set_cluster("e" * 32, "d" * 32)
    assert refusal.value.reason == "other-cluster"
    directory.close()
    text = refused("other-cluster", path, cluster="e" * 32)
    assert "c" * 32 in text
    assert "e" * 32 in text
    again = DataDirectory.open(path, cluster="c" * 32)
    assert (again.cluster, again.list_digest) == ("c" * 32, "d" * 32)
    again.close()


def test_a_newer_format_is_refused_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path)
    with monkeypatch.context() as later:
        later.setattr(identity, "FORMAT", 7)
        DataDirectory.create(path, 1).close()
    text = refused("newer", path)
    assert "format 7" in text
    assert "up to 1" in text


def test_every_flipped_bit_of_the_small_files_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path)
    made(path)
    directory = DataDirectory.open(path)
    directory.set_cluster("c" * 32, "d" * 32)
    directory.close()
    for name in ("mark", "cluster", "incarnation"):
        file = tmp_path / name
        whole = file.read_bytes()
        for bit in range(0, len(whole) * 8, 3):
            rotten = bytearray(whole)
            rotten[bit // 8] ^= 1 << bit % 8
            file.write_bytes(rotten)  # in place: the inode stays
            assert name in refused("damaged", path)
        file.write_bytes(b"")
        refused("damaged", path)
        file.write_bytes(whole)
    (tmp_path / "incarnation").unlink()
    refused("damaged", path)


def test_a_failed_journal_leaves_a_note_for_the_next_start() -> None:
    disk = BlockDisk()
    directory = DataDirectory.create("data", 1, disk=disk)
    journal = directory.journal(8192)
    assert list(journal.recovered()) == []
    journal.append([vote(1)])
    disk.fail_at(0, errno.EIO, ["sync"])
    with pytest.raises(JournalFailed):
        journal.flush()
    directory = DataDirectory.open("data", disk=disk.kill())
    assert "This replica stopped" in directory.stopped
    assert len(list(directory.journal(8192).recovered())) == 1
    assert DataDirectory.open("data", disk=disk.kill()).stopped == ""


def test_a_crash_at_every_call_of_making_and_opening_a_directory() -> None:
    """bug-C03: either it can be made again, because nobody can have opened it, or it opens; and a start that returned is
    counted for ever."""
    states = 0
    for number in itertools.count():
        disk = BlockDisk()
        calls = itertools.count()
        incarnation = mark = 0

        class Crash(Exception):
            pass

        def before(call: str, name: str, calls: "itertools.count[int]" = calls, number: int = number) -> None:
            if call in CHANGING and next(calls) == number:
                raise Crash

        disk.before = before
        is_done = False
        try:
            mark = DataDirectory.create("data", 1, disk=disk).mark
            incarnation = 1
            disk.is_locked = False
            directory = DataDirectory.open("data", disk=disk)
            incarnation = 2
            journal = directory.journal(8192)
            list(journal.recovered())
            journal.append([vote(1)])
            journal.flush()
            is_done = True
        except Crash:
            pass
        disk.before = None
        disk.is_locked = False
        for after in [disk.copy(), *disk.power_losses(8, 20, number)]:
            states += 1
            kind = DataDirectory.look("data", after)
            if mark == 0 and kind in ("empty", "unfinished"):
                found = DataDirectory.create("data", 1, disk=after)
                assert CREATING not in after.names()
            else:
                assert kind == "used"
                found = DataDirectory.open("data", 1, disk=after)
                assert found.mark == mark or not mark
            assert found.incarnation > incarnation
            records = list(found.journal(8192).recovered())
            assert len(records) == 1 or not is_done
            # What was vouched for now is there after the next power loss.
            again = DataDirectory.open("data", 1, disk=after.lose_power())
            assert again.mark == found.mark
            assert again.incarnation > found.incarnation
            assert list(again.journal(8192).recovered()) == records
        if is_done:
            break
    assert number > 40
    assert states > 300


def test_a_directory_whose_disk_fails_is_unusable_not_a_crash() -> None:
    disk = BlockDisk()
    DataDirectory.create("data", 1, disk=disk)
    disk.kill()
    disk.fail_at(0, errno.ENOSPC)
    with pytest.raises(DirectoryRefused, match="Free some space") as refusal:
        DataDirectory.open("data", disk=disk)
    assert refusal.value.reason == "unusable"
    disk.before = None
    assert DataDirectory.open("data", disk=disk).incarnation == 2


def test_a_replica_id_out_of_range_is_refused(tmp_path: Path) -> None:
    for replica in (0, 65536, -1):
        with pytest.raises(ValueError, match="between 1 and 65535"):
            DataDirectory.create(str(tmp_path), replica)


def test_a_segment_of_another_directory_is_refused_by_its_mark(tmp_path: Path) -> None:
    made(str(tmp_path / "a"))
    made(str(tmp_path / "b"))
    (mine,) = (tmp_path / "a").glob("*.segment")
    (theirs,) = (tmp_path / "b").glob("*.segment")
    mine.write_bytes(theirs.read_bytes())
    directory = DataDirectory.open(str(tmp_path / "a"))
    with pytest.raises(JournalDamaged, match="another directory"):
        list(directory.journal().recovered())
    directory.close()
