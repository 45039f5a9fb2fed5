"""What an acceptor must not forget: the records a step asks the journal to write, in order.

Their bytes, and what a bad one means, stand in ``storage/journal.py``.
"""

from dataclasses import dataclass

from multipaxos.core.ballot import Ballot, Slot
from multipaxos.core.decree import Decree


@dataclass(frozen=True, slots=True)
class PromisedRecord:
    """A raised promise, or a ballot issued here: never below it again, never the same one twice (rule-R1)."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class AcceptedRecord:
    """A vote, which is a promise as well (trap-T3), and the chosen prefix learned before it (rule-R5)."""

    ballot: Ballot
    slot: Slot
    decree: Decree
    chosen_prefix: Slot


@dataclass(frozen=True, slots=True)
class LearnedRecord:
    """A chosen decree fetched from a peer, with the ballot it was chosen at. Learning never rewrites a vote (rule-R5)."""

    ballot: Ballot
    slot: Slot
    decree: Decree


@dataclass(frozen=True, slots=True)
class MarkRecord:
    """The chosen prefix alone; written after the decrees it covers, never waited for (rule-R5)."""

    chosen_prefix: Slot


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """Bytes that a group of the journal keeps for itself; Basic Paxos by hand keeps its names and acceptor sets so."""

    payload: bytes


Record = AcceptedRecord | PromisedRecord | LearnedRecord | MarkRecord | KeptRecord
