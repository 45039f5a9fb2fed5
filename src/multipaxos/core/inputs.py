"""What can happen to a replica besides a message: one small type each."""

from dataclasses import dataclass

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.messages import Message


@dataclass(frozen=True, slots=True)
class Submit:
    """Commands of this replica's own clients, to be numbered in its stream and forwarded (rule-R8)."""

    commands: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """A linearizable read waits here under ``token`` (rule-R19); the effect ``readable`` gives the token back."""

    token: int


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A connection to ``peer`` stands; what was forwarded before may be lost and is sent again (rule-R8)."""

    peer: ReplicaId


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The connection to ``peer`` broke. ``is_refused``: and nobody listens there any more (rule-R28)."""

    peer: ReplicaId
    is_refused: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """When the oldest write that is not durable yet was handed to the journal (``now`` of that step), 0 for none."""

    oldest_write_at: int


@dataclass(frozen=True, slots=True)
class Wall:
    """The wall clock: milliseconds since 1970 at ``now`` = 0 of the boot-time clock (rule-R15)."""

    offset_ms: int


@dataclass(frozen=True, slots=True)
class Handover:
    """Give the leadership to ``target``, as soon as it has applied all (rule-R30)."""

    target: ReplicaId


Input = Message | Submit | Read | PeerUp | PeerDown | Disk | Wall | Handover
