"""What one replica sees of itself and of its peers at one instant, as plain values.

Served as JSON at ``GET /status`` (``admin.py``), and all that ``why.py`` is given: whatever a sentence about a replica may
say has to stand here. Each field says where its number comes from. A number that cannot be had is None, never a guess.

Knows nothing of how the numbers are come by; that is ``observer.py``.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

SCHEMA: Final = "multipaxos-status/1"

RECOVERING: Final = "recovering"
WAITING: Final = "waiting"
SERVING: Final = "serving"


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations of the last minute in milliseconds; ``samples.py`` says how exact they are."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class SyncSpread:
    """The same with the longest."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Slots:
    """How far the ledger is known."""

    applied: int = 0
    chosen_prefix: int = 0
    highest_known: int = 0  # known, to whoever said so, to be chosen
    behind: int = 0  # chosen and not yet applied here


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the newest configuration. Its admin address is what this replica's own file says of it, "" for nothing:
    unlike the other addresses it is not replicated."""

    id: int
    peer_address: str
    client_address: str
    admin_address: str
    is_voter: bool
    mark: str  # of its data directory, 16 hexadecimal digits; "" before it is registered


@dataclass(frozen=True, slots=True)
class Configuration:
    """The newest configuration; version 0 is the list of a cluster that is not born yet."""

    version: int = 0
    window: int = 0
    voters: tuple[int, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """Another member as seen from here.

    ``heard_ms_ago`` counts bytes of the application. Two followers have nothing to say to each other, so between them it
    may be of any age, or None; a leader and its followers hear each other with every heartbeat. ``sent_ok_ms_ago`` is
    since when nothing was acknowledged by the peer's *machine* on the connection we send on (TCP; keep-alive asks every
    few seconds), so a process that stands still on a living machine is told apart from a cut.
    """

    id: int
    is_connected: bool  # the connection we dialled stands and is welcomed: what is sent arrives
    is_heard: bool  # the one the peer dialled stands
    heard_ms_ago: int | None  # None: not since the start
    sent_ok_ms_ago: int | None  # None: no connection, or the system does not tell
    applied: int | None  # what it has said to this replica as its leader
    round_trip_ms: Spread | None  # heartbeat and echo at the leader; report and acknowledgement at a follower
    queue_bytes: int  # that wait for it to read
    refused: str  # why the peer refuses this replica, "" where it does not
    trouble: str  # what went wrong last on the way to it, or why it is refused here; "" once it is connected
    trouble_ms_ago: int | None


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who could vote now.

    A leader counts the voters that echo its heartbeats; any other replica can only count those it has connections with,
    both ways. ``lagging`` are reachable and not counted on: not caught up with what was chosen two seconds ago, or their
    disk stands still (both known to the leader only). ``failures_survivable`` is how many of the others may fail before
    no quorum is left; -1 says that one is missing already.
    """

    size: int = 0  # of an accept quorum
    reachable: tuple[int, ...] = ()  # voters, this replica included
    missing: tuple[int, ...] = ()
    lagging: tuple[int, ...] = ()
    failures_survivable: int = 0


@dataclass(frozen=True, slots=True)
class DiskState:
    """The journal and the disk it is on. A disk that failed ends the process at once (rule-R37): ``failed`` is seen only
    while it ends, and ``stopped_last_time`` by the next one."""

    sync_ms: SyncSpread | None = None  # one flush of the journal: write and sync
    writing_for_ms: int = 0  # age of the oldest write that is not durable, 0 for none
    stall_ms: int = 0  # the setting: older than this, and a leader hands over (rule-R31)
    queue_bytes: int = 0
    bytes_per_second: int = 0  # of records made durable
    free_bytes: int | None = None
    journal_bytes: int | None = None  # of the files of the data directory
    measured_ms_ago: int | None = None  # the two above
    full: bool = False  # the next segment cannot be made (rule-R38)
    shortage: str = ""  # the same in words
    failed: str = ""
    stopped_last_time: str = ""
    damage: str = ""  # found while the journal was read back; at the start it is refused


@dataclass(frozen=True, slots=True)
class Clients:
    """What clients have and ask for here. Sessions, znodes and ephemerals are the cluster's, as applied here."""

    connections: int = 0
    sessions: int = 0
    watches: int = 0
    znodes: int = 0
    ephemerals: int = 0
    data_bytes: int = 0
    requests_per_s: float = 0.0
    outstanding: int = 0  # received and not answered


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the loop's own timer was."""

    last: float = 0.0
    max_10s: float = 0.0


@dataclass(frozen=True, slots=True)
class Loop:
    """Whether the loop turns. ``stalled_for_ms`` is measured from outside of it, when it is asked for."""

    lag_ms: Lag = Lag()
    longest_stall_ms: float = 0.0  # since the start
    stalled_for_ms: int = 0


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock against the boot-time clock, which only runs forward; and against the leader's.

    ``against_leader_ms`` is this clock minus the command time of the newest decree, at the moment it was applied here
    while nothing else was missing: the least of the last minute, the way of the decree included. Only a follower knows it.
    """

    last_jump_ms: int | None = None  # forward is positive
    last_jump_ago_s: float | None = None
    against_leader_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """``commit``: from the turn that took writes of own clients in until all of them are applied here. ``apply``: what one
    turn spent on executing slots."""

    commit: Spread | None = None
    apply: Spread | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """The whole."""

    replica: int
    at_ms: int  # wall clock
    version: str = ""
    cluster: str = ""
    incarnation: int = 0
    data: str = ""
    pid: int = 0
    started_at_ms: int = 0
    uptime_s: float = 0.0
    heartbeat_ms: int = 0
    election_max_ms: int = 0
    state: str = RECOVERING
    waiting_for: str = ""  # "" exactly while it serves
    standing: str = "none"  # leader, follower, candidate; none before the first turn
    leader: int = 0  # 0: none is known
    ballot: str = ""  # round.replica of that leadership, "" for none
    epoch: int = 0
    leader_changes_last_10min: int = 0
    slots: Slots = Slots()
    configuration: Configuration = Configuration()
    peers: tuple[Peer, ...] = ()
    quorum: Quorum = Quorum()
    disk: DiskState = DiskState()
    clients: Clients = Clients()
    loop: Loop = Loop()
    clock: Clock = Clock()
    latency_ms: Latency = Latency()

    def to_json(self) -> dict[str, Any]:
        """As ``/status`` serves it: plain dictionaries, lists, strings and numbers."""
        value: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        configuration, quorum = value["configuration"], value["quorum"]
        configuration["voters"] = list(configuration["voters"])
        configuration["members"] = list(configuration["members"])
        for name in ("reachable", "missing", "lagging"):
            quorum[name] = list(quorum[name])
        value["peers"] = list(value["peers"])
        return value
