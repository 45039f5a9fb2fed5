"""A replica's directory in a world: crashes at any call, full and failing disks, rot, and what must be said of it."""

from random import Random

import pytest

from multipaxos.core.ballot import ballot_of
from multipaxos.core.records import AcceptedRecord, MarkRecord, PromisedRecord, Record
from multipaxos.sim import damage
from multipaxos.sim.blocks import SECTOR, BlockDisk
from multipaxos.sim.campaign import make_world, run_seed
from multipaxos.sim.checkers import Violation
from multipaxos.sim.directory import REFUSALS, Directory
from multipaxos.storage.disk import DiskFile
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.identity import DirectoryRefused
from multipaxos.storage.journal import Journal
from multipaxos.storage.promise import copy_name
from multipaxos.storage.recovery import Link, Recovery

MARK = 0x1234
REFUSAL = DirectoryRefused("damaged", "a text that names no file")
SMALL = 8192


def votes(first: int, count: int) -> list[Record]:
    """Votes of one ballot, each of about a quarter of a kilobyte."""
    return [
        AcceptedRecord(ballot_of(1, 2), slot, b"decree %d" % slot * 20, slot - 1)
        for slot in range(first, first + count)
    ]


def started(segment_bytes: int = SMALL) -> Directory:
    directory = Directory(2, MARK, segment_bytes)
    assert directory.start() == (1, [])
    directory.synced(0)
    return directory


def write(directory: Directory, records: list[Record]) -> None:
    for record in records:
        directory.append(record, 7)
    directory.synced(directory.flush())


def long_written(count: int = 60) -> Directory:
    """Several segments of sealed votes behind a promise."""
    directory = started()
    write(directory, [PromisedRecord(ballot_of(1, 2))])
    for slot in range(1, count + 1):
        write(directory, votes(slot, 1))
        directory.prepare()
    directory.idle()
    return directory


def test_what_was_synced_is_there_after_any_crash() -> None:
    directory = started()
    assert directory.oldest_write_at == 0
    write(directory, votes(1, 3))
    directory.append(MarkRecord(3), 11)
    directory.append(MarkRecord(3), 12)
    assert (directory.appended, directory.durable, directory.oldest_write_at) == (5, 3, 11)
    directory.crash_machine(Random(1))
    assert directory.start() == (2, votes(1, 3))
    assert [slot for slot, _, _ in directory.read(2, 3, 1)] == [2]


@pytest.mark.parametrize("is_power_lost", [False, True], ids=["process", "machine"])
def test_a_crash_in_a_flush_keeps_a_first_part(is_power_lost: bool) -> None:
    kept: set[int] = set()
    torn = 0
    for seed in range(60):
        directory = started()
        write(directory, votes(1, 2))
        for record in [*votes(3, 3), PromisedRecord(ballot_of(7, 1))]:
            directory.append(record, 1)
        directory.flush()
        if is_power_lost:
            torn += directory.crash_machine(Random(seed))
        else:
            directory.crash_process(Random(seed))
        kept.add(len(directory.start()[1]))
    assert {2, 6} <= kept <= {2, 3, 4, 5, 6}
    if is_power_lost:
        assert len(kept) > 2, "a torn write is cut at whatever record it was torn in"
        assert torn > 5


def test_a_crash_in_a_start_vouches_for_nothing_and_loses_nothing() -> None:
    directory = long_written(20)
    records = list(directory.records)
    incarnation = 1
    for seed in range(40):
        directory.crash_process(Random(seed))
        directory.crash_machine(Random(seed), is_starting=True)
        found = directory.start()
        assert found[0] > incarnation
        incarnation, recovered = found
        assert recovered == records
        directory.synced(directory.appended)


def test_segments_change_in_every_life() -> None:
    directory = long_written()
    assert len([name for name in directory.blocks.names() if name.endswith(".segment")]) > 3


def test_a_full_disk_keeps_what_waits_and_a_failed_sync_stops() -> None:
    directory = started()
    directory.blocks.space = 0
    with pytest.raises(JournalFull):
        for slot in range(1, 60):
            write(directory, votes(slot, 1))
    durable = directory.durable
    assert 0 < durable < directory.appended
    with pytest.raises(JournalFull):
        directory.synced(directory.flush())
    directory.mend()
    assert directory.synced(directory.flush()) == directory.records[durable:]
    directory.fail_sync(0)
    directory.append(MarkRecord(1), 3)
    with pytest.raises(JournalFailed):
        directory.synced(directory.flush())
    assert directory.has_failed
    directory.crash_process(Random(1))
    assert not directory.has_failed
    directory.mend()
    assert directory.start()[1] == directory.records


def test_a_start_on_a_full_disk_is_refused_by_name() -> None:
    directory = long_written(10)
    directory.crash_process(Random(1))
    directory.blocks.space = 0
    with pytest.raises(REFUSALS):
        directory.start()
    directory.mend()
    assert len(directory.start()[1]) == 11


def outcome(directory: Directory) -> str:
    """What a start after a power loss says."""
    directory.crash_machine(Random(3))
    try:
        directory.start()
    except (JournalDamaged, DirectoryRefused) as refusal:
        return type(refusal).__name__
    return "started"


def test_rot_that_matters_is_refused_or_does_no_harm() -> None:
    outcomes: list[str] = []
    for seed in range(150):
        directory = long_written(25)
        if directory.rot(Random(seed)):
            outcomes.append(outcome(directory))
            assert directory.damage
    assert len(outcomes) > 120
    assert outcomes.count("JournalDamaged") > 80
    assert outcomes.count("DirectoryRefused") > 2
    assert outcomes.count("started") < 10, "in the file that counts the starts: each replaces it"


@pytest.mark.parametrize("seed", range(12))
def test_a_sector_that_got_lost_or_landed_elsewhere_is_noticed(seed: int) -> None:
    for strike in (Directory.lose_write, Directory.misdirect_write):
        directory = long_written(40)
        assert strike(directory, Random(seed))
        assert outcome(directory) == "JournalDamaged"


def test_rot_behind_the_end_harms_nobody() -> None:
    for seed in range(60):
        directory = long_written(12)
        assert directory.rot_harmlessly(Random(seed))
        assert directory.damage == []
        assert outcome(directory) == "started"


def test_a_read_finds_rot_and_says_nothing_wrong() -> None:
    directory = long_written(40)
    for place in damage.places_in(directory.blocks, MARK).sealed[:1]:
        place.inode.cached[place.first + 60] ^= 1
    with pytest.raises(Violation, match="rule-R34"):
        directory.read(1, 2, 10_000)
    directory.damage.append("done by hand")
    assert directory.read(1, 2, 10_000) == []
    assert directory.rotten_reads == 1


def test_one_rotten_copy_of_the_promise_is_made_anew() -> None:
    directory = long_written(5)
    for seed in range(20):
        directory.rot_copy(Random(seed))
        assert not directory.is_sound and not directory.may_refuse(REFUSAL)
        directory.synced(directory.appended)
        assert outcome(directory) == "started"
        assert directory.is_sound
    directory.rot_copy(Random(1))
    for copy in (1, 2):
        directory.blocks.files[copy_name(copy)].cached[20] ^= 1
    assert directory.may_refuse(REFUSAL), "one rotted, and a crash tore the other"


def test_a_journal_that_forgets_is_found_out() -> None:
    """Whatever the reason: a shorter journal, a changed record, a lower promise."""
    directory = long_written(5)
    directory.records.append(MarkRecord(5))
    directory.durable += 1
    directory._given += 1
    with pytest.raises(Violation, match=r"^rule-R34: replica 2 starts without Mark chosen to 5"):
        outcome(directory)
    directory = long_written(5)
    directory.records[3] = votes(9, 1)[0]
    with pytest.raises(Violation, match=r"^I3: .* starts without Accepted"):
        outcome(directory)
    directory = long_written(5)
    directory._vouched = ballot_of(9, 9)
    with pytest.raises(Violation, match=r"^I3: .* starts at promise 1.2, after 9.9"):
        outcome(directory)
    directory = long_written(5)
    del directory.records[4:]
    directory.durable = directory._given = 4
    with pytest.raises(Violation, match=r"^rule-R34: .* which it never wrote"):
        outcome(directory)


def test_unsynced_sectors_are_lost_each_on_its_own() -> None:
    disk = BlockDisk()
    file = disk.create("a")
    disk.sync_names()
    file.write(100, [b"x" * SECTOR, b"y" * SECTOR])
    assert [unit for _, _, unit in disk.units()] == [
        (100, b"x" * (SECTOR - 100)),
        (SECTOR, b"x" * 100 + b"y" * (SECTOR - 100)),
        (2 * SECTOR, b"y" * 100),
    ]
    after = disk.lose_power(lambda unit: unit == 1)
    assert bytes(after.files["a"].durable[SECTOR : 2 * SECTOR]) == b"x" * 100 + b"y" * (SECTOR - 100)
    assert not any(after.files["a"].durable[:SECTOR])
    file.sync()
    assert disk.units() == []


def test_space_comes_back_with_what_is_cut_removed_or_replaced() -> None:
    disk = BlockDisk()
    disk.space = 1000
    for name in ("a", "b"):
        disk.create(name).write(0, [bytes(300)])
    assert disk.space == 400
    disk.open("a").truncate(100)
    assert disk.space == 600
    disk.rename("b", "a")
    assert disk.space == 700
    disk.remove("a")
    assert disk.space == 1000


# The worlds notice a storage that is wrong.


def first_violation(seeds: range) -> str:
    for seed in seeds:
        report = run_seed(seed, is_plain=True)
        if report.is_failed:
            return f"{report.invariant}: {report.text}"
    return ""


def test_a_journal_that_cuts_whatever_it_cannot_read_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: Recovery, link: Link, file: DiskFile, limit: int) -> None:
        self.cut = "cut"

    monkeypatch.setattr(Recovery, "_judge_end", cut)
    assert first_violation(range(40)).startswith(("I3", "rule-R34"))


def test_a_journal_that_does_not_sync_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    flush = Journal.flush

    def lazy(self: Journal) -> int:
        segment = self._segment
        assert segment is not None
        monkeypatch.setattr("multipaxos.sim.blocks.BlockFile.sync", lambda file: None)
        try:
            return flush(self)
        finally:
            monkeypatch.undo()
            monkeypatch.setattr(Journal, "flush", lazy)

    monkeypatch.setattr(Journal, "flush", lazy)
    assert first_violation(range(20)).startswith(("I3", "rule-R34"))


def test_a_replica_that_refuses_without_damage_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Recovery, link: Link, file: DiskFile, limit: int) -> None:
        if self.end > 2_000:
            raise self._damaged(link.name, self.end, "it is long")

    monkeypatch.setattr(Recovery, "_judge_end", refuse)
    assert first_violation(range(10)).startswith("rule-R34: ")


def test_a_replica_that_refuses_for_another_reason_than_its_damage_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = Directory._open

    def refuse(self: Directory) -> tuple[int, Journal, list[Record]]:
        if self.damage:
            raise DirectoryRefused("copied", "this directory belongs to the moon")
        return shipped(self)

    monkeypatch.setattr(Directory, "_open", refuse)
    assert "belongs to the moon" in first_violation(range(60))


def test_an_emptied_directory_is_refused_by_its_peers_and_the_run_goes_on() -> None:
    world = make_world(3, is_plain=True)
    world.profile.faults.clear()

    def empty() -> None:
        if any(process.core is None or not process.core.applied for process in world.replicas.values()):
            world.after(100_000_000, empty)
            return
        world.empty(2)
        world.after(100_000_000, world.start, 2)

    world.after(1_000_000_000, empty)
    world.run()
    assert "emptied" in world.refused[2]
    assert world.counts["stopped with a reason"] == 1
    assert 2 not in world.replicas
