"""A replica's whole client side: state machine, connections, watches and the clerk of sessions, in one pure object.

The driver calls it in this order, turn after turn: what clients sent and who came or went; for each slot the core
applies, ``applied``; reports and acknowledgements of other replicas, and its own; at the end of the turn
``leadership``; then it takes ``out`` and clears it. ``tick`` is due at ``wake_at``. Every ``now`` is the boot-time clock
read after the input came in: before anything is answered it is compared with the age of contact, so that a process that
was stopped answers nothing from the past (rule-R26).

Apply goes command by command. After each: the watchers here are told, then the client that asked is answered, then the
reads queued behind that command run (rule-R21, zk-4).

Knows nothing of sockets, journals and ballots' meaning. Read ``connection.py`` first, then ``clerk.py``.
"""

from typing import Final

from multipaxos.coordination.commands import (
    ATTACH,
    EXPIRE,
    NO_OWNER,
    REQUEST,
    MalformedCommand,
    decode_expire,
    decode_header,
    encode_expire,
    encode_found,
    encode_request,
)
from multipaxos.coordination.machine import Machine, Result
from multipaxos.coordination.watches import Watches
from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId
from multipaxos.core.effects import Applied
from multipaxos.core.membership import Configuration
from multipaxos.service.auth import host_of
from multipaxos.service.clerk import Clerk
from multipaxos.service.connection import NEW, OPEN, REPLY_HEAD, Connection
from multipaxos.service.outbox import Outbox
from multipaxos.service.settings import ServiceSettings
from multipaxos.service.shared import FAR, Pending, Shared
from multipaxos.service.words import answer_word, figures
from multipaxos.wire.jute import write_string
from multipaxos.wire.report import Report, ReportAck
from multipaxos.wire.zookeeper import OP_SYNC

_REQUEST_KIND: Final = bytes((REQUEST,))
_OURS: Final[Pending] = (None, 0, 0, 0)  # a command that no client waits for

_ARRIVAL: Final = encode_request(0, NO_OWNER, (), OP_SYNC, write_string("/"))
"""The first command of each start. A request of no session changes nothing; but once it is applied here, so is whatever
was chosen before this start, and the replica may show its state to clients (rule-R26, last sentence)."""


class Service:
    """What a driver, or the simulator, talks to."""

    __slots__ = (
        "_clerk", "_found_in", "_is_announced", "_is_arrived", "_is_serving", "_shared", "_turn_at", "machine",
        "out", "watches",
    )  # fmt: skip

    def __init__(self, replica: ReplicaId, incarnation: int, settings: ServiceSettings) -> None:
        self._shared: Final = Shared(replica, incarnation, settings)
        self._clerk: Final = Clerk(replica, settings)
        self.machine: Final[Machine] = self._shared.machine
        self.watches: Final[Watches] = self._shared.watches
        self.out: Final[Outbox] = self._shared.out
        self._is_announced = False  # the first command of this start is submitted,
        self._is_arrived = False  # and applied: with it all that was chosen before this start
        self._is_serving = False
        self._found_in: Ballot = NO_BALLOT  # the reign in which a secret was proposed
        self._turn_at = 0

    # Connections.

    def connection_opened(self, connection: int, address: str, now: int) -> None:
        """A client connected; ``address`` is its host:port. A number is never used twice in one incarnation."""
        shared = self._shared
        assert connection not in shared.connections
        host = host_of(address)
        held = shared.per_address.get(host, 0)
        if 0 < shared.settings.connections_per_address_max <= held:
            self.out.closes.append(connection)
            return
        shared.per_address[host] = held + 1
        opened = Connection(shared, connection, address, host, now)
        shared.connections[connection] = opened
        shared.young[connection] = opened
        shared.young_due = min(shared.young_due, opened.deadline)

    def bytes_received(self, connection: int, data: bytes, now: int) -> None:
        """A client sent something."""
        if now > self._shared.answer_until:
            self._close_cut_off(now)
        found = self._shared.connections.get(connection)
        if found is not None:
            found.bytes_received(data, now)

    def connection_closed(self, connection: int, now: int) -> None:
        """A client's connection is gone. Its session lives on; what it sent before may still be executed."""
        found = self._shared.connections.get(connection)
        if found is not None:
            self._shared.close(found, True)
            self.out.closes.pop()  # the driver knows

    def connection_blocked(self, connection: int) -> None:
        """A client does not take what is written to it: nothing more is read from it."""
        found = self._shared.connections.get(connection)
        if found is not None:
            found.is_blocked = True
            found.update_reading()

    def connection_unblocked(self, connection: int, now: int) -> None:
        """It does again."""
        if now > self._shared.answer_until:
            self._close_cut_off(now)
        found = self._shared.connections.get(connection)
        if found is not None:
            found.unblock()
            found.proceed(now)

    @property
    def paused(self) -> set[int]:
        """The connections that are not to be read from; what changes of it stands in ``out.pauses`` and ``out.resumes``."""
        return set(self._shared.paused)

    # The ledger.

    def applied(self, applied: Applied, now: int) -> None:
        """Execute one slot: command by command, each answered before the next (rule-R21)."""
        shared = self._shared
        if now > shared.answer_until:
            self._close_cut_off(now)
        machine = shared.machine
        if applied.began_epoch:
            machine.begin_epoch(applied.epoch, applied.reign)
        if applied.configuration is not None:
            shared.voters = len(applied.configuration.voters)
            text = config_text(applied.configuration)
            if text:
                machine.configured(text, applied.time_ms)
                shared.fire()
        if applied.commands:
            self._commands_applied(applied.commands, applied.time_ms, now)
        if shared.behind:
            for connection in list(shared.behind.values()):
                connection.attach_if_possible(now)

    def _commands_applied(self, commands: list[tuple[ReplicaId, int, bytes]], time_ms: int, now: int) -> None:
        shared = self._shared
        machine = shared.machine
        watches = shared.watches
        pending = shared.pending
        replies = shared.out.replies
        changes = machine.changes
        ended = machine.ended
        answered = 0
        latency_total_ns = 0
        freed = 0
        for _, serial, command in commands:
            # Own commands are applied in the order of Submit, each once: no need to look at the serial itself.
            connection, xid, cost, came_at = pending.popleft() if serial else _OURS
            if connection is None or connection.is_closed:
                machine.apply(command, time_ms, False)
                if changes and watches.count:
                    shared.fire()
                if command[:1] != _REQUEST_KIND:
                    self._other_applied(command, now)
                continue
            result = machine.apply(command, time_ms, True)
            if changes and watches.count:
                shared.fire()  # before the reply: a client hears of the change it watched, then that it made it
                if connection.id not in shared.connections:
                    # Closed by its own events: it had not read the ones before.
                    if command[0] != REQUEST:
                        self._other_applied(command, now)
                    continue
            if command[0] == REQUEST:
                if result.is_moved:
                    shared.close(connection)
                    continue
                body = result.body
                reply = REPLY_HEAD.pack(16 + len(body), xid, result.zxid, result.err) + body
                held = replies.get(connection.id)
                if held is None:
                    replies[connection.id] = [reply]
                else:
                    held.append(reply)
                answered += 1
                latency_ns = now - came_at
                latency_total_ns += latency_ns
                if latency_ns > shared.latency_max_ns:
                    shared.latency_max_ns = latency_ns
                if latency_ns < shared.latency_min_ns:
                    shared.latency_min_ns = latency_ns
                freed += cost
                connection.unanswered -= cost
                connection.replied += 1
                if connection.queue:
                    connection.run_queue()
                if connection.is_paused:
                    connection.update_reading()
            else:
                self._own_other_applied(connection, xid, cost, command[0], result, now)
            if ended:
                self._sessions_ended()
        if answered:
            shared.answered += answered
            shared.latency_count += answered
            shared.latency_total_ns += latency_total_ns
            shared.unanswered -= freed
        if not self._is_arrived:
            for _, serial, _ in commands:
                self._is_arrived = self._is_arrived or serial > 0

    def _own_other_applied(
        self, connection: Connection, xid: int, cost: int, kind: int, result: Result, now: int
    ) -> None:
        """An attach or a close of a connection that is still here was applied."""
        shared = self._shared
        if kind == ATTACH:
            connection.attach_applied(result, now)
            if result.session != 0:
                self._clerk.attached(result.session, now)
        elif result.is_moved:
            shared.close(connection)
        else:
            shared.unanswered -= cost
            connection.unanswered -= cost
            connection.replied += 1
            shared.answered += 1
            shared.send(connection, REPLY_HEAD.pack(16, xid, result.zxid, result.err))
            shared.close(connection)

    def _other_applied(self, command: bytes, now: int) -> None:
        """Something that is no request, and that no connection here waits for, was applied."""
        try:
            kind, session, _ = decode_header(command)
            if kind == ATTACH:
                self._shared.owner_changed(session)
                if session in self.machine.sessions:
                    self._clerk.attached(session, now)
            elif kind == EXPIRE and session not in self.machine.ended:
                self._clerk.refused(session, decode_expire(command), now)
        except MalformedCommand:
            return  # a fixed result for apply, and nothing for us (rule-R17)
        self._sessions_ended()

    def _sessions_ended(self) -> None:
        """Every replica closes its connection to an ended session."""
        shared = self._shared
        for session in self.machine.ended:
            shared.contact.ended(session)
            self._clerk.ended(session)
            connection = shared.owners.get(session)
            if connection is not None:
                shared.close(connection)

    # The clerk of sessions.

    def report_received(self, report: Report, now: int) -> None:
        """A gateway, perhaps this one, reports touches to this replica as its leader."""
        ack = self._clerk.report(report, now)
        if ack is not None:
            self.out.messages.append((report.sender, ack))

    def report_acknowledged(self, ack: ReportAck, now: int) -> None:
        """The leader took a report of this gateway in: contact, and the answer to pings (rule-R25)."""
        shared = self._shared
        contact = shared.contact
        before = contact.contact_at
        pings = contact.acknowledged(ack)
        if contact.contact_at != before:
            # The least of all bounds; the look that follows it, if ever, finds each connection's own.
            shared.answer_until = contact.contact_at + 2 * shared.settings.election_ns
        if now > shared.answer_until:
            self._close_cut_off(now)
        for number, xid in pings:
            connection = shared.connections.get(number)
            if connection is not None:
                connection.answer_ping(xid)

    def leadership(
        self,
        leader: ReplicaId,
        ballot: Ballot,
        heartbeat_number: int,
        is_leading: bool,
        is_quorum_connected: bool,
        confirmed_round: int,
        now: int,
    ) -> None:
        """What the core says of the leader, once per turn, after all else and before ``out`` is taken."""
        shared = self._shared
        machine = self.machine
        shared.turn += 1
        self._turn_at = now
        if shared.started_at == 0:
            shared.started_at = now
        shared.leader = leader
        shared.is_leading = is_leading
        self._clerk.leadership(leader, ballot, heartbeat_number, is_leading, is_quorum_connected, confirmed_round, now)
        if is_leading and machine.reign == ballot:
            if not machine.has_secret and self._found_in != ballot:
                self._found_in = ballot
                self._submit(encode_found(ballot, shared.settings.secret))
            if not shared.is_full:
                for session, owner in self._clerk.due(machine.sessions, now):
                    self._submit(encode_expire(session, owner, ballot))
        if leader != 0:
            if not self._is_announced:
                self._is_announced = True
                self._submit(_ARRIVAL)
            if shared.paused:
                self._touch_paused(now)
            report = shared.contact.heartbeat(leader, ballot, heartbeat_number, now)
            if report is not None:
                self.out.messages.append((leader, report))
        if shared.crowded and shared.unanswered <= shared.settings.unanswered_bytes_max_all // 2:
            self._disperse()
        if now > shared.answer_until:
            self._close_cut_off(now)

    def _submit(self, command: bytes) -> None:
        self.out.commands.append(command)
        self._shared.pending.append(_OURS)

    def _touch_paused(self, now: int) -> None:
        """A client whose pings we do not read because we are behind with its requests must not expire for it."""
        shared = self._shared
        for connection in shared.paused.values():
            if connection.state == OPEN and not connection.is_blocked:
                shared.contact.touches[connection.session] = now

    def _disperse(self) -> None:
        """All connections together have little enough under way again."""
        shared = self._shared
        waiting = list(shared.crowded.values())
        shared.crowded.clear()
        for connection in waiting:
            connection.update_reading()

    def _close_cut_off(self, now: int) -> None:
        """Close every connection whose bound has passed, with the replies of this turn: they would come from the past.

        Connections that have not said anything yet may still ask for a word; their handshake looks for itself.
        """
        shared = self._shared
        contact_at = shared.contact.contact_at
        soonest = FAR
        for connection in list(shared.connections.values()):
            if connection.state == NEW:
                continue
            until = contact_at + connection.bound_ns
            if now > until:
                shared.close(connection, True)
            elif until < soonest:
                soonest = until
        shared.answer_until = soonest

    # Time, and what tools ask.

    def tick(self, now: int) -> None:
        """Do what is due by now."""
        shared = self._shared
        if now > shared.answer_until:
            self._close_cut_off(now)
        if now >= shared.young_due:
            shared.young_due = FAR
            for connection in list(shared.young.values()):
                if connection.is_late(now):
                    shared.close(connection, True)
                else:
                    shared.young_due = min(shared.young_due, connection.deadline)
        for connection in list(shared.stalled.values()):
            if connection.may_proceed():
                connection.proceed(now)

    @property
    def wake_at(self) -> int:
        """When the next tick is due; 0 for none."""
        shared = self._shared
        due = min(shared.young_due, shared.answer_until + 1)
        for connection in shared.stalled.values():
            if not connection.is_blocked:
                due = min(due, self._turn_at)
        return due if due < FAR else 0

    @property
    def is_serving(self) -> bool:
        """Whether the client port may be open: all that was chosen before this start is applied, and a leader with a quorum
        has answered (rule-R26)."""
        if not self._is_serving:
            self._is_serving = self._is_arrived and self._shared.contact.contact_at > 0
        return self._is_serving

    @property
    def is_full(self) -> bool:
        """The cluster's disks are full: growing commands are refused and nobody expires (rule-R38). Set by the driver."""
        return self._shared.is_full

    @is_full.setter
    def is_full(self, value: bool) -> None:
        self._shared.is_full = value

    def contact_age_ns(self, now: int) -> int:
        """How old contact with a quorum-connected leader is; -1 before the first."""
        contact_at = self._shared.contact.contact_at
        return -1 if contact_at == 0 else now - contact_at

    def figures(self, now: int) -> dict[str, int]:
        """The numbers of ``mntr`` without their prefix, for metrics."""
        return figures(self._shared, now)

    def word(self, word: str, now: int) -> str:
        """The answer to a four-letter word."""
        return answer_word(self._shared, word, now)

    def check(self) -> None:
        """Assert what must hold between the parts. For tests and the simulator: it looks at every connection."""
        shared = self._shared
        unanswered = 0
        for number, connection in shared.connections.items():
            assert connection.id == number
            assert not connection.is_closed
            connection.check()
            unanswered += connection.unanswered
        assert shared.unanswered == unanswered
        assert shared.unread >= 0 and (shared.unread == 0 or any(c.is_blocked for c in shared.connections.values()))
        for session, connection in shared.owners.items():
            assert connection.session == session
            assert shared.connections.get(connection.id) is connection
        for held in (shared.young, shared.behind, shared.stalled, shared.crowded, shared.paused):
            for number, connection in held.items():
                assert shared.connections.get(number) is connection
        assert sum(shared.per_address.values()) == len(shared.connections)


def config_text(configuration: Configuration) -> bytes:
    """What /zookeeper/config shows: a line for each member, then the version, without a line end (zk-19).

    Clients may replace the addresses they were given by these (zk-20). So nothing is shown unless every member says where
    clients reach it.
    """
    lines: list[str] = []
    for member in configuration.members:
        client_host, _, client_port = member.client_address.rpartition(":")
        if not client_host or client_port == "0":
            return b""
        peer_port = member.peer_address.rpartition(":")[2]
        role = "participant" if member.is_voter else "observer"
        lines.append(f"server.{member.id}={member.peer_address}:{peer_port}:{role};{member.client_address}")
    lines.append(f"version={configuration.version:x}")
    return "\n".join(lines).encode()
