"""What one step asks of the outside, in order (style: effects and durability).

The driver carries them out like this: append ``writes`` to the journal; send ``messages`` at once; hand ``applied`` to
the state machine, slot by slot; release ``when_durable`` once the journal is durable up to the position reached by this
step's writes, *also when the step wrote nothing* (rule-R33); answer ``lookups`` from the journal; give each token of
``readable`` its answer, after ``applied``; call ``step`` again no later than ``wake_at``.
Messages addressed to the replica itself are put into its next step.
"""

from dataclasses import dataclass

from multipaxos.core.ballot import Ballot, ReplicaId, Slot
from multipaxos.core.membership import Configuration
from multipaxos.core.messages import Message
from multipaxos.core.records import Record

Note = tuple[str, tuple[object, ...]]
"""A reason id of ``reasons.py`` with its operands."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A chosen slot, ready for the state machine: slots come in order, without gaps, each once.

    ``commands`` are (origin, serial, command) in order, already passed through order-and-once (rule-R8): each is to be
    executed. ``serial`` is above 0 exactly where the command is of this replica's own stream as of this start: its
    gateway knows by it which request was answered. ``began_epoch`` says that ``epoch`` and ``reign`` changed with this
    slot; ``configuration`` is set by a configuration decree.
    """

    slot: Slot
    time_ms: int  # command time: never runs back (rule-R15)
    epoch: int
    reign: Ballot  # ballot of the latest epoch decree, NO_BALLOT before the first: names the epoch (rule-R13)
    began_epoch: bool
    commands: list[tuple[ReplicaId, int, bytes]]
    configuration: Configuration | None


@dataclass(frozen=True, slots=True)
class Lookup:
    """Read chosen decrees first..last back from the journal and send them to ``requester`` as a Learn.

    ``votes``: as in Fetch; what the requester need not be sent."""

    requester: ReplicaId
    first: Slot
    last: Slot
    votes: tuple[tuple[Slot, Slot, Ballot], ...]
    chosen_prefix: Slot


class Effects:
    """The effects of one step. Lists are filled by the core and only read by whoever carries them out."""

    __slots__ = (
        "applied", "listening", "lookups", "malformed", "messages", "notes", "readable", "stop", "wake_at",
        "when_durable", "writes",
    )  # fmt: skip

    def __init__(self, listening: bool = False) -> None:
        self.writes: list[Record] = []
        self.when_durable: list[tuple[ReplicaId, Message]] = []
        self.messages: list[tuple[ReplicaId, Message]] = []
        self.applied: list[Applied] = []
        self.lookups: list[Lookup] = []
        self.readable: list[int] = []
        self.malformed: list[ReplicaId] = []  # peers that sent what no honest replica sends: close their connection
        self.wake_at: int = 0  # boot-time nanoseconds; a step is due then at the latest
        self.stop: str = ""  # a reason for which this replica must not go on
        self.notes: list[Note] = []
        self.listening: bool = listening

    def write(self, record: Record) -> None:
        """Append a record to the journal."""
        self.writes.append(record)

    def send(self, to: ReplicaId, message: Message) -> None:
        """Send what asserts nothing new on our disk: at once."""
        self.messages.append((to, message))

    def send_when_durable(self, to: ReplicaId, message: Message) -> None:
        """Send what asserts a promise, a vote or a new ballot: at the journal position of this step (rule-R33)."""
        self.when_durable.append((to, message))

    def note(self, reason: str, *operands: object) -> None:
        """Leave the reason of a transition. Call it under ``if effects.listening`` on hot paths."""
        if self.listening:
            self.notes.append((reason, operands))
