"""What the connections of one replica share: the state machine, the watches, the outbox, and what is under way.

Here stand the few steps that more than one party takes: to send, to close, to tell watchers. What a connection does with its
bytes is in ``connection.py``; when which of them runs, in ``service.py``.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from multipaxos.coordination.machine import Machine
from multipaxos.coordination.watches import Watches
from multipaxos.core.ballot import ReplicaId
from multipaxos.service.clerk import Contact
from multipaxos.service.outbox import Outbox
from multipaxos.service.settings import ServiceSettings
from multipaxos.wire.zookeeper import event_frame

if TYPE_CHECKING:
    from multipaxos.service.connection import Connection

FAR: Final = 1 << 62
"""A moment that never comes."""

Pending = tuple["Connection | None", int, int, int]
"""A command submitted and not yet applied: whose (None: the service's own), xid, cost in bytes, when its request came."""


class Shared:
    """One per replica."""

    __slots__ = (
        "answer_until", "answered", "behind", "connections", "contact", "crowded", "dropped", "events",
        "incarnation", "is_full", "is_leading", "latency_count", "latency_max_ns", "latency_min_ns", "latency_total_ns",
        "leader", "machine", "out", "owners", "paused", "pending", "per_address", "received", "replica",
        "settings", "stalled", "started_at", "turn", "unanswered", "unread", "voters", "watches", "young", "young_due",
    )  # fmt: skip

    def __init__(self, replica: ReplicaId, incarnation: int, settings: ServiceSettings) -> None:
        self.replica: Final = replica
        self.incarnation: Final = incarnation
        self.settings: Final = settings
        self.machine: Final = Machine()
        self.watches: Final = Watches()
        self.out: Final = Outbox()
        self.contact: Final = Contact(replica, incarnation)

        self.connections: Final[dict[int, Connection]] = {}
        self.owners: Final[dict[int, Connection]] = {}  # session -> the connection here that owns it
        self.young: Final[dict[int, Connection]] = {}  # no handshake answered yet: each has a deadline
        self.young_due = FAR  # when the next of these is given up
        self.behind: Final[dict[int, Connection]] = {}  # wait until this replica has caught up with their client
        self.stalled: Final[dict[int, Connection]] = {}  # stopped parsing until their replies are taken
        self.crowded: Final[dict[int, Connection]] = {}  # not read because all connections together have too much open
        self.paused: Final[dict[int, Connection]] = {}  # all that are not read
        self.per_address: Final[dict[str, int]] = {}  # host -> connections from there
        self.pending: Final[deque[Pending]] = deque()  # in the order of Submit

        # No reply leaves after this without a look at each connection's own bound (rule-R26). FAR while there is none.
        self.answer_until = FAR
        self.unanswered = 0  # cost of all requests taken and not yet answered, in bytes
        self.unread = 0  # bytes made for clients that do not read what they are sent
        self.is_full = False  # the cluster's disks are full: growing commands are refused before numbering (rule-R38)

        self.turn = 0  # counts what the driver takes: bounds of one turn begin anew with it
        self.leader: ReplicaId = 0
        self.is_leading = False

        # For tools: never read by anything that decides.
        self.started_at = 0
        self.voters = 0  # of the newest configuration applied
        self.received = 0
        self.answered = 0
        self.dropped = 0
        self.events = 0
        self.latency_count = 0
        self.latency_total_ns = 0
        self.latency_min_ns = FAR
        self.latency_max_ns = 0

    def is_cut_off(self, now: int) -> bool:
        """Whether contact with a quorum-connected leader is older than any connection may bear, or never was."""
        contact_at = self.contact.contact_at
        return contact_at == 0 or now - contact_at > 2 * self.settings.election_ns

    def send(self, connection: "Connection", frame: bytes) -> None:
        """Put a whole frame behind what the connection was sent before."""
        replies = self.out.replies
        held = replies.get(connection.id)
        if held is None:
            replies[connection.id] = [frame]
        else:
            held.append(frame)

    def close_worst_reader(self) -> None:
        """All clients that do not read hold too much together: let go of the one that holds most."""
        worst: Connection | None = None
        for connection in self.connections.values():
            if connection.is_blocked and (worst is None or connection.unread > worst.unread):
                worst = connection
        if worst is not None:
            self.close(worst)

    def close(self, connection: "Connection", is_late: bool = False) -> None:
        """Close a connection after its replies; ``is_late``: without those of this turn, they may tell of the past."""
        if connection.is_closed:
            return
        connection.is_closed = True
        number = connection.id
        del self.connections[number]
        self.young.pop(number, None)
        self.behind.pop(number, None)
        self.stalled.pop(number, None)
        self.crowded.pop(number, None)
        self.paused.pop(number, None)
        held = self.per_address[connection.host] - 1
        if held:
            self.per_address[connection.host] = held
        else:
            del self.per_address[connection.host]
        session = connection.session
        if session != 0:
            self.contact.forget(number)
            if self.owners.get(session) is connection:
                del self.owners[session]
        self.watches.drop(number)
        self.unanswered -= connection.unanswered
        connection.unblock()
        self.dropped += connection.requests_open()
        connection.forget()
        if is_late:
            self.out.replies.pop(number, None)
        self.out.closes.append(number)

    def fire(self) -> None:
        """Tell the watchers here what the last apply changed: before anybody is answered (zk-4)."""
        machine = self.machine
        events = self.watches.fired(machine.changes, machine.guards)
        if not events:
            return
        frame = b""
        last_kind = 0
        last_path = ""
        for number, kind, path in events:
            if kind != last_kind or path != last_path:
                frame = event_frame(machine.zxid, kind, path)
                last_kind = kind
                last_path = path
            connection = self.connections.get(number)
            if connection is not None:
                self.events += 1
                connection.send_event(frame)

    def owner_changed(self, session: int) -> None:
        """An attach was applied: if the session went away from a connection here, that one is closed (rule-R9)."""
        connection = self.owners.get(session)
        if connection is None:
            return
        held = self.machine.sessions.get(session)
        if held is None or held.owner != (self.replica, self.incarnation, connection.id):
            self.close(connection)
