"""What must be found of a journal after a crash, and after damage: the verdicts of ``crashes.py``, by id.

    I1         a record is believed that was never written: rot, a misplaced sector, another directory's bytes
    I3         a promise that was called durable is forgotten
    I8         what was called durable is gone after a crash: it was acknowledged too early
    rule-R33   a repeat waits for an earlier journal position than what it repeats
    rule-R34   a sealed record is cut from the end as if a crash had torn it
    rule-R35   a start is refused and leaves out a vote that the damage took
    rule-R36   a raised promise is answered before both copies beside the journal hold it
    rule-R37   what a start vouched for was in memory only; or the journal went on after a failed write or sync
    rule-R38   a full disk costs more than the growth it stands for
    rule-R40   a data directory that lost its memory, or was left half made, is taken for a good one; or good data is removed
    rule-R41   an incarnation comes twice, or a copy of a directory is started
    trap-T27   a start is refused although nothing but a crash happened

Knows nothing of workloads and of how a state of the disk came about.
"""

from collections.abc import Sequence
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, Ballot
from multipaxos.core.records import AcceptedRecord, PromisedRecord, Record
from multipaxos.sim.blocks import BlockDisk
from multipaxos.sim.checkers import Violation
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.journal import Journal
from multipaxos.storage.promise import COPIES, copy_name, read_copy
from multipaxos.storage.record import seed_of

MARK: Final = 0x1234_5678_9ABC_DEF0
"""The mark of the directory that all these journals stand in."""

REPLICA: Final = 1

SEGMENT_BYTES: Final = 4096
"""Segments with one block of records: a few operations need several."""

Told = Sequence[tuple[int, Record]]
"""(group, record), in the order of the journal."""

REFUSALS: Final = (JournalDamaged, JournalFailed, JournalFull)


def started(
    disk: BlockDisk, incarnation: int = 1, segment_bytes: int = SEGMENT_BYTES
) -> tuple[Journal, list[tuple[int, Record]]]:
    """The journal of ``disk`` after one more start, and what it recovered. Raises as ``Journal.recovered`` does."""
    journal = Journal(disk, MARK, REPLICA, incarnation, segment_bytes)
    return journal, list(journal.recovered())


def promise_in(told: Told, group: int = 0) -> Ballot:
    """What a core would take for its promise after these records (trap-T3)."""
    highest = NO_BALLOT
    for of_group, record in told:
        if of_group == group and isinstance(record, PromisedRecord | AcceptedRecord):
            highest = max(highest, record.ballot)
    return highest


def matched(found: Told, told: Told) -> int:
    """How many records of ``told``, from the first on, stand at the beginning of ``found``."""
    count = 0
    while count < min(len(found), len(told)) and found[count] == told[count]:
        count += 1
    return count


def check_recovered(found: Told, told: Told, kept_min: int, safe: int, lost: str) -> int:
    """``found`` must be the first of ``told``, at least ``kept_min`` of them, with every promise in ``told[:safe]``.

    Only a promise known from elsewhere may follow, since a copy is synced before the next record is. ``lost`` is the id
    under which a missing record is reported. Returns how many of ``told`` were found. Raises Violation."""
    kept = matched(found, told)
    for record in found[kept:]:
        if record not in told[kept:]:
            _check_known_promise(record, told)
    for group in sorted({group for group, _ in told}):
        wanted = promise_in(told[:safe], group)
        if promise_in(found, group) < wanted:
            raise Violation("I3", f"the promise of group {group} stands at {promise_in(found, group)}, after {wanted}")
    if kept < kept_min:
        raise Violation(lost, f"{_shown(told[kept:kept_min])} is gone")
    for record in found[kept:]:
        _check_known_promise(record, told)
    return kept


def _check_known_promise(found: tuple[int, Record], told: Told) -> None:
    group, record = found
    if not isinstance(record, PromisedRecord) or record.ballot > promise_in(told, group):
        raise Violation("I1", f"{_shown([found])} is found there, which was never written or stands behind a gap")


def check_crash(disk: BlockDisk, told: Told, safe: int, segment_bytes: int = SEGMENT_BYTES) -> Told:
    """Start from what a crash left. ``told[:safe]`` was called durable. Returns what was recovered. Raises Violation.

    What the start vouches for must survive a power loss right behind it (rule-R37)."""
    disk.space = None
    try:
        _, found = started(disk, 2, segment_bytes)
    except REFUSALS as refusal:
        raise Violation("trap-T27", f"a start after a mere crash is refused: {_first_line(refusal)}") from refusal
    check_recovered(found, told, safe, safe, "I8")
    try:
        _, again = started(disk.lose_power(), 3, segment_bytes)
    except REFUSALS as refusal:
        raise Violation("rule-R37", f"what a start vouched for cannot be read: {_first_line(refusal)}") from refusal
    if again != found:
        raise Violation("rule-R37", f"a start vouched for {_shown(found[matched(found, again) :])}, in memory only")
    return found


REFUSED: Final = "refused"
CUT: Final = "cut"
READ_RIGHT: Final = "read right"


def check_damage(
    disk: BlockDisk,
    told: Told,
    sealed: int,
    safe: int,
    struck: tuple[int, ...] = (),
    is_named: bool = False,
    segment_bytes: int = SEGMENT_BYTES,
) -> str:
    """Start from a disk that was damaged in one place. ``told[:sealed]`` was sealed, ``told[:safe]`` called durable.

    It is refused by name, with every vote of ``struck`` (indexes in ``told``) that the seals could know, or "every slot is
    in doubt" unless ``is_named`` says that they do know; or it is read right; or what was not sealed is cut. Says which.
    Raises Violation."""
    try:
        _, found = started(disk, 2, segment_bytes)
    except JournalDamaged as damaged:
        if not damaged.segment or damaged.segment not in str(damaged):
            raise Violation("rule-R35", f"a refusal that names no file: {_first_line(damaged)}") from damaged
        if is_named and not damaged.is_listed:
            raise Violation(
                "rule-R35", f"the refusal names nothing, where a seal does: {_first_line(damaged)}"
            ) from damaged
        for index in struck:
            if index < sealed:
                _check_named(told[index], damaged)
        return REFUSED
    except (JournalFailed, JournalFull) as refusal:
        raise Violation("rule-R35", f"damage is told as something else: {_first_line(refusal)}") from refusal
    kept = check_recovered(found, told, sealed, safe, "rule-R34")
    return READ_RIGHT if kept == len(told) else CUT


def _check_named(lost: tuple[int, Record], damaged: JournalDamaged) -> None:
    group, record = lost
    if not isinstance(record, AcceptedRecord) or not damaged.is_listed:
        return
    for of_group, first, last, ballot in damaged.votes:
        if of_group == group and first <= record.slot <= last and ballot == record.ballot:
            return
    raise Violation("rule-R35", f"the refusal leaves out {_shown([lost])}: {_first_line(damaged)}")


def check_copies(disk: BlockDisk, told: Told, safe: int) -> None:
    """Both copies of the promises hold, durably, every promise in ``told[:safe]`` (rule-R36). Raises Violation."""
    after = disk.lose_power()
    for copy in COPIES:
        noted = read_copy(after, seed_of(MARK), copy)
        for group in sorted({group for group, _ in told[:safe]}):
            wanted = promise_in(told[:safe], group)
            held = NO_BALLOT if noted is None else noted.promised.get(group, NO_BALLOT)
            if wanted > held:
                raise Violation(
                    "rule-R36", f"promise {wanted} of group {group} may be answered, and {copy_name(copy)} holds {held}"
                )


def _shown(told: Told) -> str:
    """Records as people read them, without their bodies."""
    texts: list[str] = []
    for group, record in told[:4]:
        slot = getattr(record, "slot", "")
        of_group = f" of group {group}" if group else ""
        texts.append(f"{type(record).__name__} {slot}{of_group}".replace("  ", " "))
    if len(told) > 4:
        texts.append(f"and {len(told) - 4} more")
    return ", ".join(texts) or "nothing"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
