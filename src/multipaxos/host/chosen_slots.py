"""What one journal knows to be chosen, slot by slot: the ledger of a replica as a start would rebuild it.

A vote is not a chosen decree. A slot counts as chosen once a mark of the chosen prefix covers it, or its decree was
journalled as learned and all slots below it are known as well; it is then taken from its learned record, else from its
last vote: the mark was written behind both (rule-R5). This is what ``core/replica.py: recover`` does, and a test holds
the two together. What stands above the prefix are votes, of which nobody knows from one journal alone whether they were
chosen; ``open_votes`` has them.

Beside it the reader looks at what a replica never writes: a vote below its promise (PMMC A1, A2), two decrees of one
ballot in one slot (PMMC A4), a mark over a slot that is nowhere, a second decree for a slot that is settled (I2). Each is
a ``Finding``. Memory holds only what is above the prefix.

Knows nothing of files, nor of what a decree does.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, Ballot, Slot, ballot_text
from multipaxos.core.decree import Decree
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, PromisedRecord, Record

LEDGER_GROUP: Final = 0
FINDINGS_MAX: Final = 100
"""So many findings are kept; all are counted."""


class Chosen:
    """A slot of the chosen prefix. ``decree`` is None where the journal says that the slot is chosen and does not hold it."""

    __slots__ = ("ballot", "decree", "is_learned", "slot")

    def __init__(self, slot: Slot, ballot: Ballot, decree: Decree | None, is_learned: bool) -> None:
        self.slot: Final = slot
        self.ballot: Final = ballot  # of the vote, or the one it was learned at
        self.decree: Final = decree
        self.is_learned: Final = is_learned  # fetched from a peer; else this replica's own vote


class Finding:
    """Something a replica never writes."""

    __slots__ = ("kind", "position", "slot", "text")

    def __init__(self, kind: str, slot: Slot, position: int, text: str) -> None:
        self.kind: Final = kind  # missing, order, prefix or contradiction
        self.slot: Final = slot  # 0 where it concerns none
        self.position: Final = position  # where the record that shows it ends in the journal
        self.text: Final = text


class ChosenReader:
    """Reads records once, in journal order; what it knows besides grows with the reading."""

    __slots__ = (
        "_learned", "_position", "_records", "_votes", "finding_count", "findings", "other_records", "prefix",
        "promised", "record_count",
    )  # fmt: skip

    def __init__(self, records: Iterable[tuple[int, Record]], position: Callable[[], int] = lambda: 0) -> None:
        """``position`` says where the record ends that was read last."""
        self._records = records
        self._position = position
        self._votes: dict[Slot, tuple[Ballot, Decree]] = {}  # above the prefix
        self._learned: dict[Slot, tuple[Ballot, Decree]] = {}  # above the prefix
        self.prefix: Slot = 0  # this slot and all below are chosen
        self.promised: Ballot = NO_BALLOT
        self.record_count = 0
        self.other_records = 0  # of other groups than the ledger's
        self.findings: list[Finding] = []
        self.finding_count = 0

    def slots(self) -> Iterator[Chosen]:
        """The chosen slots from 1 on, none left out. Raises what the records raise."""
        votes = self._votes
        for group, record in self._records:
            self.record_count += 1
            if group != LEDGER_GROUP:
                self.other_records += 1
            elif isinstance(record, AcceptedRecord):
                if record.chosen_prefix > self.prefix:
                    yield from self._reach(record.chosen_prefix)
                slot = record.slot
                before = votes.get(slot)
                if record.ballot < self.promised or before is not None or slot <= self.prefix or slot in self._learned:
                    self._look(record, before)
                if record.ballot > self.promised:
                    self.promised = record.ballot
                if slot > self.prefix and slot not in self._learned and (before is None or record.ballot >= before[0]):
                    votes[slot] = (record.ballot, record.decree)
            elif isinstance(record, MarkRecord):
                if record.chosen_prefix > self.prefix:
                    yield from self._reach(record.chosen_prefix)
                elif record.chosen_prefix < self.prefix:
                    self._find(
                        "prefix", 0,
                        f"a mark says that slots up to {record.chosen_prefix} are chosen, behind one for {self.prefix}",
                    )  # fmt: skip
            elif isinstance(record, LearnedRecord):
                if self._learn(record) and record.slot == self.prefix + 1:
                    yield from self._reach(record.slot)
            elif isinstance(record, PromisedRecord):
                if record.ballot < self.promised:
                    self._find(
                        "order", 0,
                        f"the promise fell from {ballot_text(self.promised)} to {ballot_text(record.ballot)} (PMMC A1)",
                    )  # fmt: skip
                self.promised = max(self.promised, record.ballot)

    def open_votes(self) -> list[tuple[Slot, Ballot, Decree, bool]]:
        """What stands above the prefix, ascending: slot, ballot, decree, and whether it is known to be chosen."""
        found = [(slot, ballot, decree, False) for slot, (ballot, decree) in self._votes.items()]
        found += [(slot, ballot, decree, True) for slot, (ballot, decree) in self._learned.items()]
        return sorted(found, key=lambda one: one[0])

    def _reach(self, prefix: Slot) -> Iterator[Chosen]:
        """The prefix rises to ``prefix``, and further where what lies behind it was learned."""
        while self.prefix < prefix or self.prefix + 1 in self._learned:
            slot = self.prefix + 1
            learned = self._learned.pop(slot, None)
            vote = self._votes.pop(slot, None)
            known = vote if learned is None else learned
            self.prefix = slot
            if known is None:
                self._find(
                    "missing", slot,
                    f"slots up to {prefix} are said to be chosen, and no decree of slot {slot} stands in the journal",
                )  # fmt: skip
                yield Chosen(slot, NO_BALLOT, None, False)
            else:
                yield Chosen(slot, known[0], known[1], learned is not None)

    def _learn(self, record: LearnedRecord) -> bool:
        """Take in a learned decree; whether it is news."""
        slot = record.slot
        if slot <= self.prefix:
            self._find("contradiction", slot, f"slot {slot} was learned again, behind a mark that covers it")
            return False
        known = self._learned.get(slot)
        if known is not None:
            if known[1] != record.decree:
                self._find("contradiction", slot, f"two decrees were learned in slot {slot} (I2)")
            return False
        vote = self._votes.pop(slot, None)
        if vote is not None and vote[0] >= record.ballot and vote[1] != record.decree:
            self._find(
                "contradiction", slot,
                f"slot {slot} was learned as chosen at {ballot_text(record.ballot)}, and the vote at "
                f"{ballot_text(vote[0])} is for another decree (I2)",
            )  # fmt: skip
        self._learned[slot] = (record.ballot, record.decree)
        return True

    def _look(self, record: AcceptedRecord, before: tuple[Ballot, Decree] | None) -> None:
        """A vote that is not the first one for its slot, or comes below the promise: is it one a replica casts?"""
        slot, ballot = record.slot, ballot_text(record.ballot)
        if record.ballot < self.promised:
            self._find(
                "order", slot,
                f"the vote in slot {slot} at {ballot} comes behind a promise of {ballot_text(self.promised)} (PMMC A2)",
            )  # fmt: skip
        if slot <= self.prefix or slot in self._learned:
            self._find(
                "contradiction", slot, f"a vote in slot {slot} at {ballot}, which was known to be chosen (rule-R33)"
            )
        elif before is not None and before[0] == record.ballot and before[1] != record.decree:
            self._find("contradiction", slot, f"two decrees in slot {slot} at ballot {ballot} (PMMC A4)")

    def _find(self, kind: str, slot: Slot, text: str) -> None:
        self.finding_count += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(kind, slot, self._position(), text))
