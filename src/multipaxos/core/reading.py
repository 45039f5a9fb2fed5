"""Linearizable reads: at the leader, which confirms them by a round, and where they wait (rule-R19).

A round is a heartbeat that an accept quorum echoes without having promised anything higher. What waits for an answer is
kept in ``reads.py`` and, at the leader, in ``leader.py``.
"""

from typing import TYPE_CHECKING

from multipaxos.core import electing
from multipaxos.core.ballot import NO_BALLOT, owner_of
from multipaxos.core.effects import Effects
from multipaxos.core.leader import RoundRead
from multipaxos.core.messages import ReadAnswer, ReadQuery

if TYPE_CHECKING:
    from multipaxos.core.replica import Replica


def on_read_query(replica: "Replica", message: ReadQuery) -> None:
    leadership = replica.leadership
    if leadership is not None and message.ballot == leadership.ballot:
        leadership.reads.append(RoundRead(message.sender, message.number, 0))


def run_reads(replica: "Replica", now: int, effects: Effects) -> None:
    """Local tokens and peers' queries join the next round to be sent, never one already sent (rule-R19, trap-T35)."""
    leadership = replica.leadership
    assert leadership is not None
    if replica.reads.is_asking:
        replica.reads.ask_again()  # asked of the leader before, which this replica is now itself
    for token in replica.reads.waiting:
        leadership.reads.append(RoundRead(replica.id, token, 0))
    replica.reads.waiting.clear()
    if not leadership.reads or not leadership.is_reigning:
        return
    release_reads(replica, effects)
    is_round_open = any(leadership.confirmed_round < read.number for read in leadership.reads)
    if not is_round_open and leadership.reads:
        electing.beat(replica, False, now, effects)
        release_reads(replica, effects)  # a single voter confirms its own round


def join_reads(replica: "Replica", number: int, effects: Effects) -> None:
    """Every read that waits for a round joins heartbeat ``number``, which is about to be sent. Its slot is the chosen
    prefix by now, and never below the epoch decree of this leadership."""
    leadership = replica.leadership
    assert leadership is not None
    if not leadership.is_reigning:
        return
    joined = 0
    for read in leadership.reads:
        if read.number == 0:
            read.number = number
            read.slot = max(replica.ledger.chosen_prefix, leadership.began_epoch_slot)
            joined += 1
    if joined:
        effects.note("read.round", number, joined)


def release_reads(replica: "Replica", effects: Effects) -> None:
    leadership = replica.leadership
    assert leadership is not None
    confirmed = leadership.confirmed_round
    kept: list[RoundRead] = []
    for read in leadership.reads:
        if read.number == 0 or read.number > confirmed:
            kept.append(read)
        elif read.requester == replica.id:
            replica.reads.confirmed(read.slot, read.token)
        else:
            effects.send(read.requester, ReadAnswer(replica.id, leadership.ballot, read.token, read.slot))
    leadership.reads = kept


def ask_reads(replica: "Replica", now: int, effects: Effects) -> None:
    """Where another leads: one query for all reads that wait here; again when the leader changed or is silent."""
    reads = replica.reads
    ballot = replica.election.leader_ballot
    if reads.is_asking and (reads.asked_ballot != ballot or now - reads.asked_at >= replica.settings.election_max_ns):
        reads.ask_again()
    if reads.waiting and ballot != NO_BALLOT and owner_of(ballot) != replica.id:
        number = reads.ask(ballot, now)
        effects.note("read.ask", ballot, number)
        effects.send(owner_of(ballot), ReadQuery(replica.id, ballot, number))
