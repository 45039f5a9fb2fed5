"""The ways in which a journal ends its service, each with what to do about it.

Knows nothing of how they come about; that stands in ``journal.py`` and ``recovery.py``.
"""

from collections.abc import Sequence

from multipaxos.core.ballot import Ballot, Slot, ballot_text

LostVote = tuple[int, Slot, Slot, Ballot]
"""group, first slot, last slot, ballot: a run of votes"""

RUNS_SHOWN_MAX = 16


class JournalFailed(Exception):
    """A write into reserved space, a sync or a read failed. The replica stops and never retries (rule-R37).

    After a failed sync the kernel may call pages clean that never reached the disk; a second sync then returns success
    and proves nothing (bug-C02). Every later call of the journal fails as well.
    """


class JournalFull(Exception):
    """The next zero-filled segment cannot be made (rule-R38). Nothing of this flush was written, and nothing is lost:
    what was appended waits, and is written by a later flush once the disk has space again."""


class JournalDamaged(Exception):
    """Bytes that were durable cannot be read: this replica may have forgotten a vote or a promise, so it must not start.

    ``position`` is the journal position of the bad record, ``segment`` the file it stands in (or the promise copy),
    ``votes`` what the seals say was lost there, in runs; ``is_listed`` is False where the seals that name it cannot be
    read either, so that every slot above the last chosen mark is in doubt (rule-R35).
    """

    def __init__(
        self, where: str, segment: str, position: int, what: str, votes: Sequence[LostVote] = (), is_listed: bool = True
    ) -> None:
        self.position = position
        self.segment = segment
        self.votes = tuple(votes)
        self.is_listed = is_listed
        if votes:
            lost = "votes that cannot be read: " + _runs_text(self.votes)
        else:
            lost = "no vote is named for the damaged part"
        if not is_listed:
            lost += "; not all of it is named by seals that can be read: every slot above the last mark is in doubt"
        super().__init__(
            f"the journal in {where} is damaged at position {position}, file {segment}: {what}; {lost}. "
            "This replica must not vote again as it is: it may have forgotten what it promised or accepted. "
            "Leave the files as they are (they may be the last copy of something), check the disk, keep the other "
            'replicas running, and see the README under "A lost or damaged disk". '
            "Do not cut, edit or delete the journal to get it started: that is how a cluster chooses twice."
        )


def _runs_text(votes: Sequence[LostVote]) -> str:
    """Runs of votes as people read them, the first few in full."""
    texts: list[str] = []
    for group, first, last, ballot in votes[:RUNS_SHOWN_MAX]:
        slots = f"slot {first}" if first == last else f"slots {first} to {last}"
        of_group = f" of group {group}" if group else ""
        texts.append(f"{slots}{of_group} at ballot {ballot_text(ballot)}")
    if len(votes) > RUNS_SHOWN_MAX:
        texts.append(f"and {len(votes) - RUNS_SHOWN_MAX} more runs")
    return ", ".join(texts)
