"""The ledger as the journals of all replicas have it, read back when nobody runs any more.

A journal keeps every vote and every learned decree since the beginning, as there is no compaction yet. So what was chosen is
a matter of counting: a slot is chosen where a majority of the replicas voted for one decree at one ballot. What a replica
wrote down as learned, or covered by a mark, must be among it. This is the slow and obvious account, and asks nothing of
the code that served.

The files are read as a start reads them (``storage/recovery.py``), and nothing is written. Knows nothing of commands.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multipaxos.core.ballot import Ballot, Slot, ballot_text
from multipaxos.core.decree import Decree
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord
from multipaxos.storage.disk import RealDisk
from multipaxos.storage.recovery import Recovery


@dataclass(slots=True)
class ReplicaLedger:
    """What one journal says."""

    replica: int
    votes: dict[Slot, dict[Ballot, Decree]] = field(default_factory=dict)
    learned: dict[Slot, tuple[Ballot, Decree]] = field(default_factory=dict)
    prefix: Slot = 0  # chosen, by its own marks
    cut: str = ""  # what was cut as a torn end


@dataclass(slots=True)
class ChosenLedger:
    """What all journals together say."""

    decrees: list[tuple[Slot, Decree]] = field(default_factory=list)  # from slot 1 on, without a gap
    contradictions: list[str] = field(default_factory=list)  # each breaks I1, I2 or I6
    replicas: list[ReplicaLedger] = field(default_factory=list)


def read_journal(directory: Path, replica: int) -> ReplicaLedger:
    """All records of one journal. Raises JournalDamaged or OSError."""
    mark = int(json.loads((directory / "mark").read_bytes().split(b"\n")[0])["mark"], 16)
    found = ReplicaLedger(replica)
    disk = RealDisk(str(directory))
    try:
        recovery = Recovery(disk, mark, replica)
        recovery.open()
        for _, record in recovery.records():
            if isinstance(record, AcceptedRecord):
                found.votes.setdefault(record.slot, {})[record.ballot] = record.decree
                found.prefix = max(found.prefix, record.chosen_prefix)
            elif isinstance(record, LearnedRecord):
                found.learned[record.slot] = (record.ballot, record.decree)
            elif isinstance(record, MarkRecord):
                found.prefix = max(found.prefix, record.chosen_prefix)
        found.cut = recovery.cut
    finally:
        disk.close()
    return found


def join(replicas: Sequence[ReplicaLedger]) -> ChosenLedger:
    """Count the votes, and compare what each replica learned with the count."""
    whole = ChosenLedger(replicas=list(replicas))
    majority = len(replicas) // 2 + 1
    slots = sorted({slot for one in replicas for slot in (*one.votes, *one.learned)})
    chosen: dict[Slot, Decree] = {}
    unfounded: list[Slot] = []
    for slot in slots:
        decrees = _chosen_in(slot, replicas, majority, whole.contradictions)
        learned = [(one.replica, *one.learned[slot]) for one in replicas if slot in one.learned]
        if len(set(decrees)) > 1:
            whole.contradictions.append(f"I2: two decrees were chosen in slot {slot}")
        for replica, ballot, decree in learned:
            if decrees and decree != decrees[0]:
                whole.contradictions.append(
                    f"I6: replica {replica} learned another decree in slot {slot} (at {ballot_text(ballot)}) than was chosen"
                )
        if decrees:
            chosen[slot] = decrees[0]
        elif learned:
            # Who learned it had heard of a majority, whose votes were on their disks by then: where are they now?
            chosen[slot] = learned[0][2]
            unfounded.append(slot)
            if len({decree for _, _, decree in learned}) > 1:
                whole.contradictions.append(f"I6: two decrees were learned in slot {slot}")
    if unfounded:
        whole.contradictions.append(
            f"I8: {len(unfounded)} slots, {unfounded[0]} to {unfounded[-1]}, were learned, and no majority holds votes there"
        )
    slot = 1
    while slot in chosen:
        whole.decrees.append((slot, chosen[slot]))
        slot += 1
    for one in replicas:
        if one.prefix >= slot:
            whole.contradictions.append(
                f"I6: replica {one.replica} marked slots up to {one.prefix} as chosen, and nothing is chosen in slot {slot}"
            )
    return whole


def _chosen_in(slot: Slot, replicas: Sequence[ReplicaLedger], majority: int, contradictions: list[str]) -> list[Decree]:
    """The decrees that a majority voted for at one ballot."""
    at: dict[Ballot, list[Decree]] = {}
    for one in replicas:
        for ballot, decree in one.votes.get(slot, {}).items():
            at.setdefault(ballot, []).append(decree)
    found: list[Decree] = []
    for ballot in sorted(at):
        decrees = at[ballot]
        if len(set(decrees)) > 1:
            contradictions.append(f"I1: two decrees in slot {slot} at ballot {ballot_text(ballot)}")
        elif len(decrees) >= majority:
            found.append(decrees[0])
    return found


def own_ledger(one: ReplicaLedger, chosen: ChosenLedger) -> dict[Slot, str]:
    """Digests of the decrees that one replica holds for its own chosen prefix, as its journal has them."""
    found: dict[Slot, str] = {}
    for slot, decree in chosen.decrees:
        if slot > one.prefix:
            break
        if slot in one.learned:
            own = one.learned[slot][1]
        elif slot in one.votes:
            own = one.votes[slot][max(one.votes[slot])]
        else:
            own = decree
        found[slot] = hashlib.sha256(own).hexdigest()[:16]
    return found
