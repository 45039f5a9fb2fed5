"""The enumeration of crashes, errors and rot, in the part that fits into a test run (layer L4); and that it can fail.

All workloads of one operation, a sample of those of two, some long lives. The rest: ``python -m multipaxos.sim.crashes``.
"""

import contextlib
import json
import os
import random

import pytest

from multipaxos.core.records import Record
from multipaxos.sim import crashes
from multipaxos.sim.blocks import BlockDisk, BlockFile
from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_directories import Directories
from multipaxos.sim.crash_errors import Errors
from multipaxos.sim.crash_life import OPERATIONS, Life, promised, vote
from multipaxos.sim.crash_losses import Losses
from multipaxos.sim.crash_points import Crashes, CrashOptions
from multipaxos.sim.crash_rot import Rot
from multipaxos.sim.crash_verdict import (
    CUT,
    READ_RIGHT,
    REFUSED,
    check_copies,
    check_crash,
    check_damage,
    check_recovered,
)
from multipaxos.sim.crashes import Enumeration, look, random_words, words
from multipaxos.storage.promise import copy_name
from multipaxos.storage.segment import segment_number

IS_LONG = os.environ.get("MULTIPAXOS_LONG") == "1"


def clean(account: crashes.Account) -> dict[str, int]:
    assert account.violations == []
    assert account.crashes == []
    return account.counts


@pytest.mark.parametrize("letter", ["", *OPERATIONS])
def test_one_operation_crashed_everywhere_and_failed_at_every_call(letter: str) -> None:
    options = CrashOptions(tear_every=1 if IS_LONG else 9, is_nested=letter in ("v", "k") or IS_LONG)
    counts = clean(look(letter, Enumeration(has_errors=True, crash=options)))
    assert counts["points"] >= 1
    assert counts["states"] >= 2
    assert counts["sampled"] == 0, "every subset of unsynced sectors was tried"
    assert counts.get("errors", 0) > 5 or letter in ("a", "s", "x")


def test_two_operations_crashed_everywhere_and_failed_at_every_call() -> None:
    chosen = words(2)[len(OPERATIONS) + 1 :]
    assert len(chosen) == len(OPERATIONS) ** 2
    if not IS_LONG:
        chosen = random.Random(2).sample(chosen, 20)
    enumeration = Enumeration(has_errors=True, crash=CrashOptions(bound=9, samples=16, tear_every=0))
    counts = clean(crashes.look_at_all(chosen, enumeration))
    assert counts["workloads"] == len(chosen)
    assert counts["states"] > 40 * len(chosen)


@pytest.mark.parametrize("segment_bytes", [4096, 16384])
def test_long_lives_over_several_segments_and_starts(segment_bytes: int) -> None:
    options = CrashOptions(bound=4, samples=2, tear_every=0, is_whole=True, segment_bytes=segment_bytes)
    counts = clean(crashes.look_at_all(random_words(2, segment_bytes), Enumeration(crash=options)))
    assert counts["points"] > 60


@pytest.mark.parametrize("workload", ["l", "vvs", "gkl", "pVrB"])
def test_every_place_of_a_journal_may_rot(workload: str) -> None:
    rot = Rot(workload, 1 if IS_LONG else 15)
    rot.run()
    assert rot.flips > 300
    assert rot.cuts > 30
    assert rot.misplaced > 20
    assert rot.outcomes[REFUSED] > 100
    assert rot.outcomes[READ_RIGHT] > 80
    assert (rot.outcomes[CUT] > 0) == (workload in ("l", "gkl")), "what no seal speaks of yet may be cut"


def test_every_bit_of_a_sealed_vote() -> None:
    """None is ever cut, and each refusal names the vote (rule-R34, rule-R35)."""
    rot = Rot("vvvs", 1 if IS_LONG else 2)
    rot.run()
    assert rot.outcomes[CUT] == 0
    assert rot.outcomes[REFUSED] > 2000


def test_a_directory_crashed_rotten_emptied_and_copied() -> None:
    directories = Directories()
    directories.run()
    assert directories.points > 80
    assert directories.states > 1000
    assert directories.damages > 2000


# That it can fail: a disk that lies, and verdicts over what a good journal never shows.


@pytest.mark.parametrize(("letter", "identity"), [("l", "I8"), ("g", "trap-T27")])
def test_a_sync_that_does_nothing_is_noticed(letter: str, identity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal's own: what was called durable is gone, or, where the copies speak of it, taken for damage."""
    settled = BlockFile.sync

    def lying(file: BlockFile) -> None:
        if not segment_number(file._inode.name):
            settled(file)

    life = Life.begun()
    monkeypatch.setattr(BlockFile, "sync", lying)
    life.operate(letter)
    with pytest.raises(Violation) as violation:
        check_crash(life.disk.lose_power(), life.told, life.safe)
    assert violation.value.invariant == identity


def numbered(*records: Record) -> list[tuple[int, Record]]:
    return [(0, record) for record in records]


TOLD = numbered(promised(1), vote(1), vote(2), promised(3))


@pytest.mark.parametrize(
    ("found", "safe", "identity"),
    [
        (TOLD[:3], 4, "I3"),
        (TOLD[:2], 3, "I8"),
        ([*TOLD[:1], *TOLD[2:]], 3, "I8"),
        ([*TOLD[:2], (0, vote(2, 2)), *TOLD[3:]], 2, "I1"),
        ([*TOLD[:2], TOLD[3]], 2, ""),
        ([*TOLD, (0, promised(9))], 4, "I1"),
        (TOLD[:2], 2, ""),
        (TOLD, 4, ""),
    ],
)
def test_what_a_start_may_find(found: list[tuple[int, Record]], safe: int, identity: str) -> None:
    if not identity:
        check_recovered(found, TOLD, safe, safe, "I8")
        return
    with pytest.raises(Violation) as violation:
        check_recovered(found, TOLD, safe, safe, "I8")
    assert violation.value.invariant == identity


def test_a_refusal_after_a_mere_crash_is_a_violation() -> None:
    life = Life.begun()
    life.operate("v")
    disk = life.disk.copy()
    disk.cut(copy_name(1), 0)
    disk.remove(next(name for name in disk.names() if segment_number(name)))
    with pytest.raises(Violation) as violation:
        check_crash(disk, life.told, life.safe)
    assert violation.value.invariant == "trap-T27"


def test_a_promise_in_one_copy_only_is_a_violation() -> None:
    life = Life.begun()
    life.operate("p")
    check_copies(life.disk, life.told, life.safe)
    life.disk.files[copy_name(2)].durable[60] ^= 1
    with pytest.raises(Violation) as violation:
        check_copies(life.disk, life.told, life.safe)
    assert violation.value.invariant == "rule-R36"


def test_sealed_records_that_are_gone_in_silence_are_a_violation() -> None:
    """A journal of one operation less, as it would be after a cut that nobody may make."""
    shorter, longer = Life.begun(), Life.begun()
    shorter.operate("l")
    longer.operate("l")
    longer.operate("l")
    assert check_damage(shorter.disk.copy(), longer.told, 2, 2) == CUT
    with pytest.raises(Violation) as violation:
        check_damage(shorter.disk.copy(), longer.told, 4, 4)
    assert violation.value.invariant == "rule-R34"


@pytest.mark.parametrize(("call", "identity"), [("sync", "I8"), ("truncate", "rule-R37")])
def test_an_error_that_is_swallowed_is_a_violation(call: str, identity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether something is lost by it or not: behind a failed call nothing of the disk can be known."""
    honest = getattr(BlockFile, call)

    def forgiving(file: BlockFile, *arguments: int) -> None:
        with contextlib.suppress(OSError):
            honest(file, *arguments)

    monkeypatch.setattr(BlockFile, call, forgiving)
    with pytest.raises(Violation) as violation:
        Errors("l" if call == "sync" else "VVvvk", segment_bytes=16384).run()
    assert violation.value.invariant == identity


def test_a_violation_says_where_it_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlockFile, "sync", lambda file: None)
    with pytest.raises(Violation, match=r"^[^:]+: workload 'l', operation 1, point \d+ before "):
        Crashes("l", CrashOptions(tear_every=0)).run()


# The parts of the enumerator.


def contents(disk: BlockDisk) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, bytes(inode.cached)) for name, inode in sorted(disk.files.items()))


@pytest.mark.parametrize("seed", range(12))
def test_losses_are_all_different_and_none_is_left_out(seed: int) -> None:
    """Beside the obvious twin: every mask over all units, the silent ones included."""
    source = random.Random(seed)
    disk = BlockDisk()
    first = disk.create("first")
    first.write(0, [bytes(512), b"there" * 100])
    first.sync()
    disk.sync_names()
    for _ in range(source.randrange(1, 6)):
        data = source.choice([bytes(300), b"x" * 700, bytes(1024), b"there" * 100])
        first.write(source.choice([0, 512, 700, 1024, 2048]), [data])
    if source.random() < 0.4:
        first.truncate(source.choice([0, 600, 1024]))
    if source.random() < 0.5:
        disk.create("second").write(0, [b"y" * 20])
    if source.random() < 0.5:
        disk.rename("first", "third")
    count = len(disk.units())
    twin = {contents(disk.lose_power(lambda unit, mask=mask: bool(mask >> unit & 1))) for mask in range(1 << count)}
    losses = Losses(disk)
    states = [contents(after) for _, after in losses.states(20, 0, 0)]
    assert len(states) == losses.count <= 1 << count
    assert set(states) == twin
    sampled = [contents(after) for _, after in losses.states(0, 10, seed)]
    assert set(sampled) <= twin


def test_a_torn_sector_keeps_a_first_or_a_last_part_of_it() -> None:
    disk = BlockDisk()
    file = disk.create("f")
    file.write(0, [b"0123456789"])
    file.sync()
    disk.sync_names()
    file.write(0, [b"ABCDEFGHIJ"])
    found = sorted(bytes(after.files["f"].cached) for _, after in Losses(disk).torn(1))
    first = [b"ABCDEFGHIJ"[:size] + b"0123456789"[size:] for size in range(1, 10)]
    last = [b"0123456789"[:size] + b"ABCDEFGHIJ"[size:] for size in range(1, 10)]
    assert found == sorted([*first, *first, *last]), "the first part with what follows it lost, and with all else kept"
    text, _ = next(Losses(disk).torn(4))
    assert text == "power lost, unit 0 torn after 4 bytes, what follows it lost"
    assert list(Losses(disk).torn(0)) == []


def test_a_write_is_killed_between_its_sectors() -> None:
    disk = BlockDisk()
    file = disk.create("f")
    file.write(100, [b"a" * 1000])
    killed = [after.files["f"] for _, after in Losses(disk).half_written()]
    assert [bytes(inode.cached).count(b"a") for inode in killed] == [924, 412, 0]
    assert [len(inode.pending) for inode in killed] == [2, 1, 0]


def test_the_command_ends_with_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert crashes.main(["--workload", "l", "--tear", "50", "--errors", "--flips", "--bit-every", "40", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["violations"] == []
    assert (told["workloads"], told["runs"], told["crashes"]) == (1, 1, 0)
    assert told["points"] > 15, "a replay looks at all operations of its workload, and at the first start"
    assert min(told["states"], told["flips"], told["cuts"], told["misplaced"], told["errors"]) > 10


def test_the_command_tells_what_it_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlockFile, "sync", lambda file: None)
    assert crashes.main(["--operations", "1", "--tear", "0", "--go-on"]) == 1
    lines = capsys.readouterr().out.splitlines()
    told = json.loads(lines[-1])
    identities = [found["id"] for found in told["violations"]]
    assert len(identities) == len(set(identities)) >= 1
    assert any(line.startswith(f"VIOLATION of {identities[0]}: workload ") for line in lines)
