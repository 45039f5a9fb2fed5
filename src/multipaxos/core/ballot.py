"""Ballots, slots and replica ids: their order, how they are made and how they print.

A ballot is one integer, ``round * 65536 + replica``: the numbering rule of the article, ``s = m*n + i``, with one
fixed, large ``n`` and replica ids that are never reused, so classes never overlap when the membership changes
(trap-T2). ``next_number`` is the rule itself, for any ``n``; Basic Paxos by hand uses it with the article's small ``n``.
"""

from typing import Final

ReplicaId = int
Slot = int
Ballot = int

CLASSES: Final = 65536
"""The fixed ``n`` of the article's rule: how many replica ids there can ever be."""

NO_BALLOT: Final = -1
"""Nothing promised, nothing accepted. Zero is a legal number (rule-R51)."""

ROUND_LIMIT: Final = 1 << 47
"""Rounds stay below this, so that a ballot fits a signed 64-bit integer (rule-R1)."""

ROUND_LEAP_MAX: Final = 1 << 32
"""A number further above the highest known here is a malformed message, never a hint (rule-R1)."""


def ballot_of(round_number: int, replica: ReplicaId) -> Ballot:
    """The ballot of ``replica`` in ``round_number``."""
    assert 0 <= replica < CLASSES
    return round_number * CLASSES + replica


def round_of(ballot: Ballot) -> int:
    """The round of a ballot: the ``m`` of the article."""
    return ballot // CLASSES


def owner_of(ballot: Ballot) -> ReplicaId:
    """The replica whose class a ballot belongs to: ``s % n`` of the article."""
    return ballot % CLASSES


def next_number(index: int, count: int, above: int) -> int:
    """The smallest number greater than ``above`` of class ``index`` among ``count``: ``s % count == index``.

    >>> next_number(0, 3, above=1)   # the article prints 4 here; 4 belongs to class 1 (trap-T1)
    3
    >>> next_number(2, 3, above=3)
    5
    """
    assert 0 <= index < count
    if above < index:
        return index
    return above + 1 + (index - above - 1) % count


def next_ballot(replica: ReplicaId, above: Ballot) -> Ballot:
    """The smallest ballot of ``replica`` greater than every number known: rule-R1."""
    return next_number(replica, CLASSES, above)


def ballot_text(ballot: Ballot) -> str:
    """How a ballot prints: ``round.replica``, or ``none``."""
    if ballot < 0:
        return "none"
    return f"{ballot // CLASSES}.{ballot % CLASSES}"
