"""Who was heard, who is cut off and who expires: the two ends of the clerk of sessions (rule-R24 to rule-R26).

``Contact`` is the gateway's end, on every replica. It gathers touches (a session was heard from), reports them to the
leader after each heartbeat until they are acknowledged, holds pings until the touch they caused is acknowledged, and
knows the age of contact: of the youngest *acknowledged* report, counted from when it was *sent*.

``Clerk`` is the leader's end. A session's deadline runs from its last touch, or from the begin of this reign, or from
when a leader that had stood still for long went on. When it has passed, the clerk waits for a round of heartbeats begun
after that to be confirmed by a quorum, and for the session's own gateway to answer that round without a touch, or to
have been silent so long that it has closed the connection. Only then is the session's end proposed.

Neither knows connections, bytes or trees; sessions are what ``coordination/machine.py`` holds. ``service.py`` drives both.
"""

from collections.abc import Mapping
from typing import Final

from multipaxos.coordination.commands import Owner
from multipaxos.coordination.sessions import Session
from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId
from multipaxos.service.settings import MILLISECOND_NS, ServiceSettings
from multipaxos.wire.report import Report, ReportAck

UNACKNOWLEDGED_MAX: Final = 64
"""Reports remembered while no acknowledgement comes: older ones could not renew contact anyway, their bound has passed."""


class Contact:
    """The gateway's end: touches, pings and the age of contact."""

    __slots__ = (
        "_ballot", "_number", "_pings", "_replica", "_sent", "_serial", "contact_at", "touches",
    )  # fmt: skip

    def __init__(self, replica: ReplicaId, incarnation: int) -> None:
        self._replica = replica
        self._ballot: Ballot = NO_BALLOT
        self._number = -1
        # Serials of another start are never mistaken for ours: an acknowledgement may be older than this process.
        self._serial = (incarnation & 0x7FFFFFFF) << 32
        self._sent: dict[int, tuple[int, tuple[tuple[int, int], ...]]] = {}  # serial -> when, (session, touched)
        self._pings: list[
            tuple[int, int, int, int]
        ] = []  # (serial of a report that covers it, connection, session, xid)
        self.touches: dict[int, int] = {}  # session -> when it was heard last, until acknowledged
        self.contact_at = 0  # when the youngest acknowledged report was sent; 0 before the first

    def hold_ping(self, connection: int, session: int, xid: int) -> None:
        """A ping waits until the touch it caused is acknowledged (rule-R25). The touch itself is in ``touches``."""
        self._pings.append((self._serial + 1, connection, session, xid))

    def heartbeat(self, leader: ReplicaId, ballot: Ballot, number: int, now: int) -> Report | None:
        """The present leader and its latest heartbeat: a report for it, if that is news."""
        if leader == 0 or (ballot == self._ballot and number == self._number):
            return None
        if ballot != self._ballot:
            # What another leader acknowledges says nothing about this one's deadlines.
            self._sent = {}
            self._ballot = ballot
        self._number = number
        self._serial += 1
        touched = tuple(self.touches.items())
        self._sent[self._serial] = (now, touched)
        if len(self._sent) > UNACKNOWLEDGED_MAX:
            del self._sent[min(self._sent)]
        return Report(
            self._replica, ballot, number, self._serial, tuple([(session, now - at) for session, at in touched])
        )

    def acknowledged(self, ack: ReportAck) -> list[tuple[int, int]]:
        """The leader took a report in. Gives the pings, (connection, xid), that may be answered now."""
        sent = self._sent.get(ack.serial)
        if sent is None or ack.ballot != self._ballot:
            return []
        # What came before is covered by it: touches are reported until acknowledged.
        self._sent = {serial: each for serial, each in self._sent.items() if serial > ack.serial}
        if not ack.is_quorum_connected:
            # Another leader may already reign: this one's word carries no session any further.
            return []
        sent_at, touched = sent
        self.contact_at = max(self.contact_at, sent_at)
        ending = ack.ending
        for session, at in touched:
            if self.touches.get(session) == at and session not in ending:
                del self.touches[session]
        if not self._pings:
            return []
        answered: list[tuple[int, int]] = []
        waiting: list[tuple[int, int, int, int]] = []
        for ping in self._pings:
            serial, connection, session, xid = ping
            if serial <= ack.serial and session not in ending:
                answered.append((connection, xid))
            else:
                waiting.append(ping)
        self._pings = waiting
        return answered

    def forget(self, connection: int) -> None:
        """A connection is gone: its pings need no answer. Its session's touch still counts and is still reported."""
        if self._pings:
            self._pings = [ping for ping in self._pings if ping[1] != connection]

    def ended(self, session: int) -> None:
        """A session is no more."""
        self.touches.pop(session, None)


class Clerk:
    """The leader's end: deadlines, and who may be expired."""

    __slots__ = (
        "_attentive_since", "_confirmed", "_ending", "_heard_at", "_reign", "_replica", "_reported", "_round",
        "_round_at", "_scanned_at", "_settings", "_touched", "_trusted_from", "_waiting", "ballot", "is_quorum_connected",
    )  # fmt: skip

    def __init__(self, replica: ReplicaId, settings: ServiceSettings) -> None:
        self._replica = replica
        self._settings = settings
        self.ballot: Ballot = NO_BALLOT  # led by this replica, its epoch decree applied or not
        self.is_quorum_connected = False
        self._reign: Ballot = (
            NO_BALLOT  # the same, once its epoch decree is applied: only then anybody expires (rule-R12)
        )
        self._round = 0  # last heartbeat sent
        self._round_at = 0
        self._confirmed = 0
        self._trusted_from = 0  # the round that must be confirmed before anything is acknowledged as of a leader
        self._attentive_since = 0  # silence of others counts from here: we did not listen before
        self._scanned_at = 0
        self._touched: dict[int, int] = {}  # session -> when it was heard from last, by our clock
        self._heard_at: dict[ReplicaId, int] = {}  # gateway -> when its last report came
        self._reported: dict[ReplicaId, int] = {}  # gateway -> the highest round it answered
        self._waiting: dict[int, tuple[int, Owner]] = {}  # session -> (round to be confirmed and answered, owner seen)
        self._ending: dict[int, Owner] = {}  # sessions whose end is proposed

    def leadership(
        self,
        leader: ReplicaId,
        ballot: Ballot,
        round_sent: int,
        is_leading: bool,
        is_quorum_connected: bool,
        confirmed: int,
        now: int,
    ) -> None:
        """What the core says of this replica's own leadership at the end of a turn."""
        if leader != self._replica:
            if self.ballot != NO_BALLOT:
                self._begin(NO_BALLOT)
            return
        if ballot != self.ballot:
            self._begin(ballot)
        self._confirmed = confirmed
        if is_leading and self._reign != ballot:
            # Everybody gets a full timeout from here (rule-R24): the next scan counts unknown sessions from then.
            self._reign = ballot
            self._touched = {}
            self._attentive_since = now
            self._round_at = now
        if round_sent != self._round:
            # A leader that was stopped finds touches waiting in its sockets: nobody's silence counts across the gap.
            stood_still_ns = now - self._round_at
            if stood_still_ns > 4 * self._settings.heartbeat_ns:
                self._attentive_since = now
                # The echoes it finds there are as old: those who sent them may have followed another leader since, who
                # counts every session from the begin of its own reign. Only a round begun by now tells (rule-R25, R26).
                self._trusted_from = round_sent
            if stood_still_ns > 2 * self._settings.election_ns:
                # It led on, so everybody stood still: a suspended host, or one that is alone. By now gateways have closed
                # the connections that the touches came by, unread. Everybody gets a full timeout, as from a new leader.
                self._touched = {}
                self._waiting = {}
            self._round = round_sent
            self._round_at = now
        self.is_quorum_connected = is_quorum_connected and confirmed >= self._trusted_from

    def _begin(self, ballot: Ballot) -> None:
        self.ballot = ballot
        self.is_quorum_connected = False
        self._reign = NO_BALLOT
        self._round = 0
        self._confirmed = 0
        self._trusted_from = 0
        self._touched = {}
        self._heard_at = {}
        self._reported = {}
        self._waiting = {}
        self._ending = {}

    def report(self, report: Report, now: int) -> ReportAck | None:
        """A gateway's report: touches taken in, and what to acknowledge; None for one that speaks to another leader."""
        if report.ballot != self.ballot:
            return None
        gateway = report.sender
        ending: list[int] = []
        for session, age_ns in report.touches:
            if session in self._ending:
                ending.append(session)
                continue
            known_at = self._touched.get(session)
            if known_at is None:
                # Seen for the first time in this reign, as in a scan: a full timeout from here, however long ago the touch
                # was by the gateway's clock.
                self._touched[session] = now
            elif now - age_ns > known_at:
                self._touched[session] = now - age_ns
            # Not "without a touch": the session waits for another round, even if this touch is too old to save it.
            if session in self._waiting:
                del self._waiting[session]
        self._heard_at[gateway] = now
        if report.number > self._reported.get(gateway, -1):
            self._reported[gateway] = report.number
        return ReportAck(self._replica, report.ballot, report.serial, self.is_quorum_connected, tuple(ending))

    def due(self, sessions: Mapping[int, Session], now: int) -> list[tuple[int, Owner]]:
        """The sessions whose end is to be proposed now, with the owner seen (rule-R24). Call it after ``leadership``."""
        if self._reign == NO_BALLOT:
            return []
        if now - self._scanned_at >= self._settings.scan_ns:
            self._scanned_at = now
            self._scan(sessions, now)
        if not self._waiting:
            return []
        found: list[tuple[int, Owner]] = []
        for session, (round_needed, owner) in list(self._waiting.items()):
            held = sessions.get(session)
            if held is None or held.owner != owner:
                # Gone, or attached elsewhere meanwhile: the next scan looks at it anew.
                del self._waiting[session]
                continue
            if self._confirmed < round_needed:
                continue
            gateway = owner[0]
            if self._reported.get(gateway, -1) < round_needed and not self._is_silent(gateway, held.timeout_ms, now):
                continue
            del self._waiting[session]
            self._ending[session] = owner
            found.append((session, owner))
        return found

    def _scan(self, sessions: Mapping[int, Session], now: int) -> None:
        touched = self._touched
        if len(touched) > 2 * len(sessions) + 100:
            # Late touches of ended sessions.
            self._touched = touched = {session: at for session, at in touched.items() if session in sessions}
        for session, held in sessions.items():
            touched_at = touched.get(session)
            if touched_at is None:
                # Seen for the first time in this reign: opened just now, or the reign is new.
                touched[session] = now
            elif (
                now - touched_at > held.timeout_ms * MILLISECOND_NS
                and session not in self._waiting
                and session not in self._ending
            ):
                # The next round will be begun after this deadline; the last one may have been sent before it.
                self._waiting[session] = (self._round + 1, held.owner)

    def _is_silent(self, gateway: ReplicaId, timeout_ms: int, now: int) -> bool:
        """Whether a gateway must have closed a connection of this timeout for lack of our acknowledgement."""
        heard_at = max(self._heard_at.get(gateway, 0), self._attentive_since)
        return now - heard_at > self._settings.bound_ns(timeout_ms) + self._settings.heartbeat_ns

    def attached(self, session: int, now: int) -> None:
        """An attach to a living session was applied: its client was heard, wherever its gateway stands."""
        if self._reign != NO_BALLOT:
            self._touched[session] = now
            self._waiting.pop(session, None)

    def refused(self, session: int, reign: Ballot, now: int) -> None:
        """The end of a session proposed in ``reign`` did not happen: it was attached elsewhere first. It begins anew."""
        if reign == self._reign and session in self._ending:
            del self._ending[session]
            self._touched[session] = now

    def ended(self, session: int) -> None:
        """A session is no more."""
        self._touched.pop(session, None)
        self._waiting.pop(session, None)
        self._ending.pop(session, None)
