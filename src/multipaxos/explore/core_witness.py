"""What one replica ever said and kept, noted beside it, and what no step of it may do, whatever the rest of the world does.

The notes survive crashes, and are taken from records and messages only, never from the replica's own memory: a core that
forgets a promise, or proposes what no promise told it, is found out by them. A violation is a text that begins with the id of
the invariant: "I3: replica 2 ...". Whether a decree is really chosen needs the rest of the world: ``core_past.py``.

Knows nothing of networks and disks, nor of the search.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId, Slot, ballot_text, owner_of
from multipaxos.core.decree import Decree
from multipaxos.core.effects import Applied
from multipaxos.core.messages import Accept, Accepted, Heartbeat, Learn, Message, Prefix, Prepare, Promise, Settled
from multipaxos.core.records import AcceptedRecord, PromisedRecord, Record
from multipaxos.core.replica import Replica

FREE: Decree = b""
"""Stands for any decree."""

Sent = tuple[ReplicaId, Message]
Report = tuple[Ballot, Decree] | None
"""What a promise says of a slot: its vote, (NO_BALLOT, FREE) for none, None where the slot is settled."""


class Witness(NamedTuple):
    """The notes on one replica."""

    promised: Ballot = NO_BALLOT  # the highest promise that was ever durable, votes included
    votes: tuple[tuple[Slot, tuple[Ballot, Decree]], ...] = ()  # the last durable one of each slot not learned here
    before: Ballot = NO_BALLOT  # the highest own ballot that an earlier start used
    used: Ballot = NO_BALLOT  # the highest own ballot that this start used
    heard: tuple[Promise, ...] = ()  # as a candidate: the promises at its ballot, in the order of their senders
    # As a leader: what those promises leave it to propose, where that is not anything. None: they were no quorum.
    basis: tuple[tuple[Slot, tuple[Decree, ...]], ...] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What one event made a replica do."""

    heard: Message | None  # the message that arrived
    was: Replica
    now: Replica
    records: tuple[Record, ...]
    early: tuple[Sent, ...]  # leaves at once
    gated: tuple[Sent, ...]  # waits for the records, and all before them
    applied: tuple[Applied, ...]


class Verdict(NamedTuple):
    """What is wrong with a step, as far as can be told here."""

    witness: Witness
    violations: tuple[str, ...]
    unjustified: tuple[tuple[Slot, Decree, str], ...]  # wrong, unless this very decree is chosen there
    claim: Slot  # a chosen prefix that it announced without holding it, else 0


def judge(step: Step, before: Witness, quorum: int, durable: int, is_gate_open: bool) -> Verdict:
    """``durable`` of the step's records are safe, and what was gated left. ``quorum`` is more than half of the replicas."""
    now = step.now
    notes = [_order(now, step.was.applied, step.applied)]
    if now.chosen_prefix < step.was.chosen_prefix:
        notes.append(
            f"I9: the chosen prefix of replica {now.id} falls from {step.was.chosen_prefix} to {now.chosen_prefix}"
        )
    if now.promised < step.was.promised:
        notes.append(f"I3: the promise of replica {now.id} falls to {ballot_text(now.promised)}")
    notes.extend([_vote(step, record, before) for record in step.records if isinstance(record, AcceptedRecord)])
    witness = kept(before, step.records[:durable])
    heard = _heard(step, before)
    basis = _basis(step, before, heard, quorum)
    unjustified, text = _proposals(step, basis)
    notes.append(text)
    leaving = step.early + step.gated if is_gate_open else step.early
    notes.extend([_ballot_broken(now.id, message, before) for _, message in leaving])
    notes.extend([_too_early(now.id, message, before) for _, message in step.early])
    if is_gate_open:
        notes.extend([_too_early(now.id, message, witness) for _, message in step.gated])
        notes.extend([_too_low(now.id, message, before) for _, message in step.gated])
        notes.extend([_left_out(message, witness, now) for _, message in step.gated if isinstance(message, Promise)])
    if now.promised < witness.promised:
        notes.append(
            f"I3: replica {now.id} stands at promise {ballot_text(now.promised)}, below {ballot_text(witness.promised)}"
        )
    claim = max([_announced(message) for _, message in leaving], default=0)
    leadership = now.leadership
    after = Witness(
        witness.promised,
        unlearned(witness.votes, now) if is_gate_open else witness.votes,
        before.before,
        used(now.id, leaving, before),
        heard if leadership is None else (),
        basis if leadership is not None else None,
    )
    return Verdict(
        after, tuple([note for note in notes if note]), unjustified, claim if claim > now.chosen_prefix else 0
    )


def judge_restart(now: Replica, before: Witness, records: tuple[Record, ...], applied: tuple[Applied, ...]) -> Verdict:
    """A replica has recovered from ``records``."""
    notes = [_order(now, 0, applied)]
    if now.promised < before.promised:
        notes.append(
            f"I3: replica {now.id} starts again at promise {ballot_text(now.promised)}, "
            f"below {ballot_text(before.promised)}"
        )
    votes = unlearned(kept(Witness(), records).votes, now)
    witness = Witness(before.promised, votes, max(before.before, before.used))
    return Verdict(witness, tuple([note for note in notes if note]), (), 0)


def judge_released(replica: ReplicaId, released: tuple[Sent, ...], before: Witness, witness: Witness) -> Verdict:
    """What left after a sync, by the notes before that sync and after it."""
    notes = [_too_low(replica, message, before) for _, message in released]
    notes += [_too_early(replica, message, witness) for _, message in released]
    notes.extend([_ballot_broken(replica, message, witness) for _, message in released])
    after = witness._replace(used=used(replica, released, witness))
    return Verdict(after, tuple([note for note in notes if note]), (), 0)


def used(replica: ReplicaId, leaving: tuple[Sent, ...], before: Witness) -> Ballot:
    """The highest own ballot that this start has told others of."""
    own = [m.ballot for _, m in leaving if isinstance(m, (Prepare, Accept)) and m.sender == replica]
    return max([before.used, *own])


def _ballot_broken(replica: ReplicaId, message: Message, before: Witness) -> str:
    if not isinstance(message, (Prepare, Accept)) or message.sender != replica:
        return ""
    if owner_of(message.ballot) != replica:
        return f"I4: replica {replica} uses {ballot_text(message.ballot)}, which is not of its class"
    if message.ballot <= before.before:
        return f"I4: replica {replica} uses {ballot_text(message.ballot)} again, after it started anew"
    return ""


def kept(witness: Witness, records: tuple[Record, ...]) -> Witness:
    """The notes once these records are durable."""
    promised = witness.promised
    votes = dict(witness.votes)
    for record in records:
        if isinstance(record, AcceptedRecord):
            promised = max(promised, record.ballot)
            if record.slot not in votes or record.ballot >= votes[record.slot][0]:
                votes[record.slot] = (record.ballot, record.decree)
        elif isinstance(record, PromisedRecord):
            promised = max(promised, record.ballot)
    return witness._replace(promised=promised, votes=tuple(sorted(votes.items())))


def unlearned(
    votes: tuple[tuple[Slot, tuple[Ballot, Decree]], ...], now: Replica
) -> tuple[tuple[Slot, tuple[Ballot, Decree]], ...]:
    """Without the slots that the replica has learned: of those it never has to tell a vote any more."""
    return tuple([(slot, vote) for slot, vote in votes if not now.ledger.is_learned(slot)])


def _order(now: Replica, before: Slot, applied: tuple[Applied, ...]) -> str:
    at = before
    for one in applied:
        if one.slot != at + 1:
            return f"I7: replica {now.id} applies slot {one.slot} after {at}"
        at = one.slot
    return "" if at == now.applied else f"I9: replica {now.id} says it applied up to {now.applied}, not {at}"


def _vote(step: Step, record: AcceptedRecord, before: Witness) -> str:
    where = f"slot {record.slot} at {ballot_text(record.ballot)}"
    if record.ballot < before.promised:
        return f"I3: replica {step.now.id} votes in {where}, after it promised {ballot_text(before.promised)}"
    if owner_of(record.ballot) == step.now.id:
        return ""
    asked = step.heard
    if not isinstance(asked, Accept) or (asked.ballot, asked.slot) != (record.ballot, record.slot):
        return f"I1: replica {step.now.id} votes in {where}, never proposed"
    return "" if asked.decree == record.decree else f"I1: replica {step.now.id} votes for another decree in {where}"


def _too_early(replica: ReplicaId, message: Message, durable: Witness) -> str:
    """Whether what a message asserts is not durable."""
    if isinstance(message, Accepted):
        if not any(slot == message.slot and vote[0] >= message.ballot for slot, vote in durable.votes):
            return (
                f"I8: replica {replica} answers for slot {message.slot} at {ballot_text(message.ballot)} "
                "before its vote is durable"
            )
    elif isinstance(message, Promise):
        if message.ballot > durable.promised:
            return f"I8: replica {replica} promises {ballot_text(message.ballot)} before that is durable"
    elif isinstance(message, Prepare) and message.ballot > durable.promised:
        return f"I8: replica {replica} campaigns at {ballot_text(message.ballot)} before that is durable"
    return ""


def _too_low(replica: ReplicaId, message: Message, durable: Witness) -> str:
    if isinstance(message, Promise) and message.ballot < durable.promised:
        return f"I3: replica {replica} promises {ballot_text(message.ballot)}, below {ballot_text(durable.promised)}"
    return ""


def _left_out(page: Promise, durable: Witness, now: Replica) -> str:
    """A promise must say all: what is left out reads as "never accepted"."""
    reported = {pvalue.slot: (pvalue.ballot, pvalue.decree) for pvalue in page.pvalues}
    votes = dict(unlearned(durable.votes, now))
    is_last = page.page_last >= page.end  # and so it speaks for all slots beyond, too
    for slot, vote in votes.items():
        is_covered = slot >= page.page_first and (slot <= page.page_last or is_last)
        if is_covered and slot > page.chosen_prefix and vote[0] < page.ballot and reported.get(slot) != vote:
            return (
                f"I5: the promise of replica {page.sender} leaves out its vote in slot {slot} at {ballot_text(vote[0])}"
            )
    for slot, vote in reported.items():
        is_learned = now.ledger.is_learned(slot) and now.ledger.decree(slot) == vote[1]
        if not is_learned and votes.get(slot) != vote:
            return f"I1: replica {page.sender} reports a decree in slot {slot} that it never voted for"
    return ""


def _announced(message: Message) -> Slot:
    if isinstance(message, (Accept, Heartbeat, Learn, Prefix, Prepare, Promise, Settled)):
        return message.chosen_prefix
    return 0


# What a proposal stands on: PMS P2c, PTP B3


def _heard(step: Step, before: Witness) -> tuple[Promise, ...]:
    """The promises at the ballot of the campaign that goes on, the one that has just arrived included."""
    was, now, message = step.was.campaign, step.now.campaign, step.heard
    if was is None or now is None or was.ballot != now.ballot:
        return ()
    if not isinstance(message, Promise) or message.ballot != now.ballot or step.was.leadership is not None:
        return before.heard
    return tuple(sorted({*before.heard, message}, key=_by_sender))


def _by_sender(page: Promise) -> tuple[ReplicaId, Slot, Slot, Slot, tuple[tuple[Slot, Ballot, Decree], ...]]:
    pvalues = tuple([(pvalue.slot, pvalue.ballot, pvalue.decree) for pvalue in page.pvalues])
    return (page.sender, page.chosen_prefix, page.end, page.page_first, pvalues)


def _basis(
    step: Step, before: Witness, heard: tuple[Promise, ...], quorum: int
) -> tuple[tuple[Slot, tuple[Decree, ...]], ...] | None:
    was, now = step.was.leadership, step.now.leadership
    if now is None:
        return None
    if was is not None and was.ballot == now.ballot:
        return before.basis
    return basis_of(heard, quorum)


def basis_of(heard: tuple[Promise, ...], quorum: int) -> tuple[tuple[Slot, tuple[Decree, ...]], ...] | None:
    """By slot the decrees that some quorum of these promises gives, FREE where one leaves it free; slots that none of them
    speaks of are left out, and free. None where they are no quorum."""
    whole = whole_promises(heard)
    if len(whole) < quorum:
        return None
    top = max([max(page.chosen_prefix, page.end) for page in heard])
    found: list[tuple[Slot, tuple[Decree, ...]]] = []
    for slot in range(min([page.first for page in heard]), top + 1):
        allowed: set[Decree] = set()
        for givers in combinations(sorted(whole), quorum):
            reports = [report_of(whole[giver], slot) for giver in givers]
            votes = [report for report in reports if report is not None]
            if len(votes) == len(reports):
                best = max(votes)
                allowed.add(FREE if best[0] == NO_BALLOT else best[1])
        found.append((slot, tuple(sorted(allowed))))
    return tuple(found)


def whole_promises(heard: tuple[Promise, ...]) -> dict[ReplicaId, list[Promise]]:
    """By giver the pages of one whole promise (rule-R3)."""
    states: dict[tuple[ReplicaId, Slot, Slot], dict[Slot, Promise]] = {}
    for page in heard:
        states.setdefault((page.sender, page.chosen_prefix, page.end), {})[page.page_first] = page
    found: dict[ReplicaId, list[Promise]] = {}
    for (giver, _, end), pages in states.items():
        at = min([page.first for page in pages.values()])
        whole: list[Promise] = []
        while at in pages:
            whole.append(pages[at])
            at = pages[at].page_last + 1
            if whole[-1].page_last >= end:
                found[giver] = whole
                break
    return found


def report_of(pages: list[Promise], slot: Slot) -> Report:
    """What a whole promise says of a slot."""
    best: tuple[Ballot, Decree] = (NO_BALLOT, FREE)
    for page in pages:
        if slot <= page.chosen_prefix:
            return None
        for pvalue in page.pvalues:
            if pvalue.slot == slot and pvalue.ballot > best[0]:
                best = (pvalue.ballot, pvalue.decree)
    return best


def _proposals(
    step: Step, basis: tuple[tuple[Slot, tuple[Decree, ...]], ...] | None
) -> tuple[tuple[tuple[Slot, Decree, str], ...], str]:
    """Which proposals of this step its promises do not allow; and whether two were made in one slot at one ballot."""
    replica = step.now.id
    made: dict[tuple[Ballot, Slot], Decree] = {}
    for ballot, slot, decree in _proposed(step):
        if made.setdefault((ballot, slot), decree) != decree:
            return (), f"I1: two decrees are proposed in slot {slot} at {ballot_text(ballot)}"
    old = step.was.leadership
    unjustified: list[tuple[Slot, Decree, str]] = []
    for (ballot, slot), decree in made.items():
        if old is not None and old.ballot == ballot and slot in old.open:
            if old.open[slot].accept.decree != decree:
                return (), f"I1: replica {replica} proposes another decree in slot {slot} at {ballot_text(ballot)}"
            continue
        where = f"slot {slot} is proposed at {ballot_text(ballot)}"
        if basis is None:
            unjustified.append((slot, decree, f"I10: {where} without the promises of a prepare quorum"))
            continue
        allowed = dict(basis).get(slot, (FREE,))
        if FREE not in allowed and decree not in allowed:
            unjustified.append((slot, decree, f"I5: {where} with a decree that no quorum of its promises leaves free"))
    return tuple(unjustified), ""


def _proposed(step: Step) -> list[tuple[Ballot, Slot, Decree]]:
    replica = step.now.id
    found = [
        (message.ballot, message.slot, message.decree)
        for _, message in step.early + step.gated
        if isinstance(message, Accept) and message.sender == replica
    ]
    for record in step.records:
        if isinstance(record, AcceptedRecord) and owner_of(record.ballot) == replica:
            found.append((record.ballot, record.slot, record.decree))
    return found
