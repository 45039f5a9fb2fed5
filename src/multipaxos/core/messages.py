"""What replicas say to each other: one small type per message, values without behaviour.

Every message names its sender. Ballots are ``core.ballot.Ballot``, slots count from 1, durations are nanoseconds.
The bytes of each stand in ``wire/peer.py``.
"""

from dataclasses import dataclass

from multipaxos.core.ballot import Ballot, ReplicaId, Slot
from multipaxos.core.decree import Decree


@dataclass(frozen=True, slots=True)
class PValue:
    """What an acceptor accepts (PMMC): a decree in a slot at a ballot."""

    ballot: Ballot
    slot: Slot
    decree: Decree


@dataclass(frozen=True, slots=True)
class Prepare:
    """Phase 1 request: promise ``ballot`` for every slot from ``first`` on, and say what you accepted there."""

    sender: ReplicaId
    ballot: Ballot
    first: Slot
    chosen_prefix: Slot  # of the candidate; a laggard fetches from it (PTP 3.1: catch-up in both directions)
    handover: Ballot  # the ballot of the leader that asked for this campaign, else NO_BALLOT (rule-R30)


@dataclass(frozen=True, slots=True)
class Promise:
    """One page of a phase 1 answer. It counts only when all pages are there, at one ballot and one prefix (rule-R3)."""

    sender: ReplicaId
    mark: int  # of the sender's directory: a voter counts only with its registered mark (rule-R40)
    ballot: Ballot
    first: Slot  # the slot the prepare asked from
    page_first: Slot
    page_last: Slot
    end: Slot  # beyond it the sender has accepted nothing; the last page has page_last == end
    chosen_prefix: Slot  # all up to here is chosen: fetched, never proposed (rule-R4)
    pvalues: tuple[PValue, ...]  # of slots page_first..page_last, ascending


@dataclass(frozen=True, slots=True)
class Nack:
    """Refusal of ``ballot``, with the ballot promised. A hint, never evidence (rule-R6)."""

    sender: ReplicaId
    ballot: Ballot  # the ballot refused
    promised: Ballot
    slot: Slot  # 0 for a refused prepare
    hears: Ballot  # the ballot of the living leader that the sender protects (rule-R29), else NO_BALLOT


@dataclass(frozen=True, slots=True)
class Accept:
    """Ask an acceptor to accept one decree at the sender's ballot."""

    sender: ReplicaId
    ballot: Ballot
    slot: Slot
    decree: Decree
    chosen_prefix: Slot  # rides along; what may be learned from it: rule-R5


@dataclass(frozen=True, slots=True)
class Accepted:
    """A vote: the sender has accepted (ballot, slot), durably."""

    sender: ReplicaId
    ballot: Ballot
    slot: Slot


@dataclass(frozen=True, slots=True)
class Settled:
    """Answer to an accept in a slot already learned, or below the floor. Not a vote (rule-R33)."""

    sender: ReplicaId
    ballot: Ballot  # of the accept answered
    slot: Slot
    chosen_at: Ballot  # the ballot it was learned to be chosen at; NO_BALLOT below the floor
    chosen_prefix: Slot


@dataclass(frozen=True, slots=True)
class Prefix:
    """The leader's chosen prefix, sent at once when there is nothing for it to ride on (rule-R5)."""

    sender: ReplicaId
    ballot: Ballot
    chosen_prefix: Slot


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The leader's sign of life, and its confirmation round: the numbers of one ballot are counted (rule-R19, rule-R29)."""

    sender: ReplicaId
    ballot: Ballot
    number: int
    chosen_prefix: Slot
    is_quorum_connected: bool
    disk_age_ns: int  # age of the leader's oldest write that is not durable yet; 0 when there is none


@dataclass(frozen=True, slots=True)
class Echo:
    """Answer to one heartbeat, by its number."""

    sender: ReplicaId
    ballot: Ballot  # of the heartbeat
    number: int
    promised: Ballot  # above ``ballot``: this echo confirms no round
    chosen_prefix: Slot
    applied: Slot
    disk_age_ns: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Question before a campaign that raises no ballot (rule-R28)."""

    sender: ReplicaId
    number: int
    suspected: Ballot  # the leadership the sender hears no more
    chosen_prefix: Slot


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What a voter would do if the prober campaigned."""

    sender: ReplicaId
    number: int
    would_promise: bool
    hears: Ballot  # the ballot of a living leader heard here, else NO_BALLOT
    promised: Ballot
    chosen_prefix: Slot


@dataclass(frozen=True, slots=True)
class Inquire:
    """A leader asks the owner of a higher ballot whether it still campaigns or leads there (rule-R6)."""

    sender: ReplicaId
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Inquired:
    """Answer to Inquire."""

    sender: ReplicaId
    ballot: Ballot
    is_active: bool


@dataclass(frozen=True, slots=True)
class CampaignNow:
    """The leader hands over: obeyed only while ``ballot`` still leads and heartbeat ``number`` is young (rule-R30)."""

    sender: ReplicaId
    ballot: Ballot
    number: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask for chosen decrees. ``votes`` are runs (first slot, last slot, ballot) of what the sender accepted: a vote at
    the ballot a slot was chosen at, or a higher one, is the chosen decree and need not be sent (rule-R5)."""

    sender: ReplicaId
    first: Slot
    last: Slot
    votes: tuple[tuple[Slot, Slot, Ballot], ...]


@dataclass(frozen=True, slots=True)
class Learn:
    """Chosen decrees, each with the ballot it was chosen at; None where the asker's own vote is the decree."""

    sender: ReplicaId
    items: tuple[tuple[Slot, Ballot, Decree | None], ...]
    chosen_prefix: Slot


@dataclass(frozen=True, slots=True)
class Forward:
    """A run of the sender's stream for the leader of ``ballot`` (rule-R8); ``segment`` as in ``decree.py``."""

    sender: ReplicaId
    ballot: Ballot
    segment: bytes


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A replica asks the leader for a read slot, confirmed by a round begun after this arrived (rule-R19)."""

    sender: ReplicaId
    ballot: Ballot
    number: int


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """The read slot for one query: apply up to it, then answer the read."""

    sender: ReplicaId
    ballot: Ballot
    number: int
    slot: Slot


Message = (
    Accept
    | Accepted
    | Prefix
    | Forward
    | Heartbeat
    | Echo
    | Prepare
    | Promise
    | Nack
    | Settled
    | Probe
    | ProbeAnswer
    | Inquire
    | Inquired
    | CampaignNow
    | Fetch
    | Learn
    | ReadQuery
    | ReadAnswer
)
