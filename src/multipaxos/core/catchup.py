"""Catch-up: what is known to be chosen elsewhere and not yet here, and what a laggard is answered (rule-R5).

A vote is learned from only at the ballot of the leader that announces its slot; everything else is fetched, from any
peer that knows it (rule-R32).
"""

from multipaxos.core.acceptor import Acceptor
from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot
from multipaxos.core.decree import Decree
from multipaxos.core.effects import Effects, Lookup
from multipaxos.core.ledger import Ledger
from multipaxos.core.messages import Fetch, Learn

Runs = tuple[tuple[Slot, Slot, Ballot], ...]

RUN_SLOTS_MAX = 4096
"""Votes named in one fetch at the most; those beyond are simply sent again."""


class Catchup:
    """How far others are known to be, and the one fetch that is under way."""

    __slots__ = ("asked_until", "source", "target", "unanswered")

    def __init__(self) -> None:
        self.target: Slot = 0  # all up to here is known to be chosen
        self.source: ReplicaId = 0  # who said so last
        self.asked_until = 0  # a fetch is under way until then; 0 for none
        self.unanswered = 0  # fetches sent since the last answer

    def hear(self, chosen_prefix: Slot, source: ReplicaId) -> None:
        """``source`` knows slots up to ``chosen_prefix``."""
        if chosen_prefix >= self.target:
            self.target = chosen_prefix
            self.source = source

    def ask_whom(self, others: tuple[ReplicaId, ...]) -> ReplicaId:
        """Who gets the next fetch: whoever spoke of the target, and every second time without an answer another peer, in
        turn. The one who spoke may be dead by now, or hear nothing of what is sent to it (rule-R32)."""
        asked = self.source
        if self.unanswered % 2 and others:
            asked = others[self.unanswered // 2 % len(others)]
        self.unanswered += 1
        return asked

    def fetch(self, replica: ReplicaId, acceptor: Acceptor, ledger: Ledger) -> Fetch:
        """Ask for all between the chosen prefix and the target."""
        first = ledger.chosen_prefix + 1
        pairs: list[tuple[Slot, Ballot]] = []
        for slot in range(first, min(self.target, first + RUN_SLOTS_MAX) + 1):
            if slot in acceptor.votes:
                pairs.append((slot, acceptor.votes[slot][0]))
        return Fetch(replica, first, self.target, runs_of(pairs))

    def clone(self) -> "Catchup":
        """An independent copy."""
        cloned = Catchup()
        cloned.target = self.target
        cloned.source = self.source
        cloned.asked_until = self.asked_until
        cloned.unanswered = self.unanswered
        return cloned

    def fingerprint(self, chosen_prefix: Slot, others: int) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``).

        A target that the chosen prefix has reached asks for nothing and hides no later one, whoever named it. Of the
        number of fetches without an answer only the turn among ``others`` peers is read.
        """
        is_behind = self.target > chosen_prefix
        return (
            self.target if is_behind else 0,
            self.source if is_behind else 0,
            self.asked_until != 0,
            self.unanswered % (2 * others) if others else self.unanswered % 2,
        )


def answer_fetch(replica: ReplicaId, fetch: Fetch, ledger: Ledger, bytes_max: int, effects: Effects) -> None:
    """Hand on learned decrees, as much as fits one page; the asker comes again for the rest.

    What memory has let go is read from the journal, but for slots at the beginning that the asker voted for at the ballot
    they were chosen at: those need no decree. The disk may have lost them here, and nobody else may know that they are
    chosen.
    """
    first = fetch.first
    last = min(fetch.last, ledger.chosen_prefix)
    if first > last:
        return
    if first <= ledger.base:
        upto = min(last, ledger.base)
        settled = _settled(first, upto, fetch.votes, ledger)
        if settled:
            effects.send(fetch.sender, Learn(replica, settled, ledger.chosen_prefix))
        unsettled = first + len(settled)
        if unsettled <= upto:
            effects.lookups.append(Lookup(fetch.sender, unsettled, upto, fetch.votes, ledger.chosen_prefix))
        return
    chosen = [(slot, ledger.chosen_at(slot), ledger.decree(slot)) for slot in _page(first, last, ledger, bytes_max)]
    effects.send(fetch.sender, learn_of(replica, chosen, fetch.votes, ledger.chosen_prefix))


def _settled(first: Slot, last: Slot, votes: Runs, ledger: Ledger) -> tuple[tuple[Slot, Ballot, Decree | None], ...]:
    """The slots from ``first`` on, without a gap, whose chosen decree the asker has as its own vote."""
    settled: list[tuple[Slot, Ballot, Decree | None]] = []
    slot = first
    last = min(last, first + RUN_SLOTS_MAX)
    for run_first, run_last, voted_at in votes:
        if run_last < slot:
            continue
        if run_first > slot:
            break
        while slot <= min(run_last, last):
            chosen_at = ledger.chosen_at(slot)
            if chosen_at == NO_BALLOT or voted_at < chosen_at:
                return tuple(settled)
            settled.append((slot, chosen_at, None))
            slot += 1
    return tuple(settled)


def _page(first: Slot, last: Slot, ledger: Ledger, bytes_max: int) -> range:
    size = 0
    slot = first
    while slot <= last and (size == 0 or size < bytes_max):
        size += len(ledger.decree(slot)) + 32
        slot += 1
    return range(first, slot)


def learn_of(replica: ReplicaId, chosen: list[tuple[Slot, Ballot, Decree]], votes: Runs, chosen_prefix: Slot) -> Learn:
    """A Learn for these chosen decrees, without those that the asker's own votes are: a vote at the ballot a slot was
    chosen at, or a higher one, is the chosen decree. The journal's reader uses it too, for slots memory has let go."""
    items: list[tuple[Slot, Ballot, Decree | None]] = []
    at = 0
    for slot, ballot, decree in chosen:
        while at < len(votes) and votes[at][1] < slot:
            at += 1
        is_voted = at < len(votes) and votes[at][0] <= slot and votes[at][2] >= ballot
        items.append((slot, ballot, None if is_voted else decree))
    return Learn(replica, tuple(items), chosen_prefix)


def runs_of(votes: list[tuple[Slot, Ballot]]) -> tuple[tuple[Slot, Slot, Ballot], ...]:
    """(slot, ballot) pairs, ascending by slot, as runs (first slot, last slot, ballot) for a fetch (rule-R5)."""
    runs: list[tuple[Slot, Slot, Ballot]] = []
    for slot, ballot in votes:
        if runs and runs[-1][1] + 1 == slot and runs[-1][2] == ballot:
            runs[-1] = (runs[-1][0], slot, ballot)
        else:
            runs.append((slot, slot, ballot))
    return tuple(runs)
