"""What gateways and the leader's clerk of sessions say to each other; it travels between replicas like core messages.

A gateway reports after every heartbeat it hears which sessions it heard from; the leader acknowledges (rule-R25).
"""

from dataclasses import dataclass

from multipaxos.core.ballot import Ballot, ReplicaId


@dataclass(frozen=True, slots=True)
class Report:
    """Touches of sessions seen by one gateway since its last acknowledged report.

    ``number`` is the leader's heartbeat this report answers: a session the gateway owns and does not name was not heard
    since then (rule-R24). ``touches`` are (session id, age of the touch in nanoseconds when the report was sent).
    """

    sender: ReplicaId
    ballot: Ballot  # of the leader addressed
    number: int
    serial: int  # counts the gateway's reports
    touches: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class ReportAck:
    """The leader took report ``serial`` in. ``ending`` are sessions of it whose expiry is already proposed: not touched."""

    sender: ReplicaId
    ballot: Ballot
    serial: int
    is_quorum_connected: bool
    ending: tuple[int, ...]
