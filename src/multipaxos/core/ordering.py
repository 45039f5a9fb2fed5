"""Order and once: the way of a gateway's stream to the leader, and into its batches (rule-R8).

The stream itself is kept in ``forwarding.py``; what apply makes of it stands in ``streams.py`` and ``applying.py``.
"""

from typing import TYPE_CHECKING

from multipaxos.core.ballot import NO_BALLOT, owner_of
from multipaxos.core.decree import SEGMENT
from multipaxos.core.effects import Effects
from multipaxos.core.messages import Forward

if TYPE_CHECKING:
    from multipaxos.core.replica import Replica


def forward(replica: "Replica", now: int, effects: Effects) -> None:
    """Send the stream to the leader, once its epoch decree is applied here: then it is known what is missing. All
    that is not applied goes to a new leader again, in order (rule-R8)."""
    forwarding = replica.forwarding
    forwarding.close_segment()
    if forwarding.progress_at and not forwarding.is_waiting:
        forwarding.progress_at = 0
    reign = replica.applying.reign.ballot
    if reign == NO_BALLOT or reign != replica.election.leader_ballot:
        return
    is_stuck = forwarding.progress_at > 0 and now - forwarding.progress_at >= replica.settings.election_max_ns
    if forwarding.addressed != reign or is_stuck:
        forwarding.addressed = reign
        if forwarding.is_waiting:
            effects.note("gateway.resend", reign)
            forwarding.resend_all()
            forwarding.progress_at = now
    if not forwarding.has_unsent:
        return
    leader = owner_of(reign)
    segments = forwarding.take_unsent()
    if not forwarding.progress_at:
        # Sending more is no progress: behind a segment that was lost nothing is taken, however much comes after it.
        forwarding.progress_at = now
    if effects.listening:
        effects.note("gateway.forward", reign, len(segments))
    for segment in segments:
        if leader == replica.id:
            admit(replica, segment, effects)
        else:
            effects.send(leader, Forward(replica.id, reign, segment))


def on_forward(replica: "Replica", message: Forward, effects: Effects) -> None:
    leadership = replica.leadership
    if leadership is None or not leadership.is_reigning or message.ballot != leadership.ballot:
        return  # the gateway sends it again to whoever leads then
    admit(replica, message.segment, effects)


def admit(replica: "Replica", segment: bytes, effects: Effects) -> None:
    """Take a segment in if it comes next in its stream. A saving only: apply decides (rule-R8)."""
    leadership = replica.leadership
    if leadership is None or not leadership.is_reigning:
        return
    origin, incarnation, start, first, count, _ = SEGMENT.unpack_from(segment, 0)
    skipped = leadership.streams.skip(origin, incarnation, start, first, count)
    if skipped == count:
        if effects.listening:
            last = leadership.streams.last(origin)
            effects.note("leader.gap", origin, first, 1 if last is None else last[2] + 1)
        return
    if skipped >= 0:
        leadership.streams.take(origin, incarnation, start, first + count - 1)
    # A stream with another start goes to the ledger all the same: apply is what tells its sender to stop.
    leadership.pending.append(segment)
    leadership.pending_bytes += len(segment)
