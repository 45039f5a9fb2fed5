"""What the client side asks of its driver, collected over one turn.

The driver takes the lists after each turn and calls ``clear``. It knows which of them leave first: replies of a connection
before its close; commands in order.
"""

from multipaxos.core.ballot import ReplicaId
from multipaxos.wire.report import Report, ReportAck


class Outbox:
    """Filled by the service, emptied by the driver."""

    __slots__ = ("closes", "commands", "messages", "pauses", "replies", "resumes")

    def __init__(self) -> None:
        self.commands: list[bytes] = []  # to submit, in order
        self.replies: dict[int, list[bytes]] = {}  # whole frames per connection, in order: join and write
        self.closes: list[int] = []  # connections to close once their replies are written
        self.messages: list[tuple[ReplicaId, Report | ReportAck]] = []  # also to the replica itself
        self.pauses: list[int] = []  # connections to read no further from,
        self.resumes: list[int] = []  # and to read from again; a connection may stand in both: pause, then resume

    def clear(self) -> None:
        """Forget what the driver has taken. Lists it kept are its own from then on."""
        self.commands = []
        self.replies = {}
        self.closes = []
        self.messages = []
        self.pauses = []
        self.resumes = []
