"""Who can vote, who reaches whom, who leads: what the observations of several replicas say together.

No replica is believed about another that speaks for itself. Of one that does not answer, the others are asked whether they
hear it. ``why.py`` names what is wrong with the picture; `multipaxos status` prints it.

Thresholds are for default timers (heartbeats every 0.1 s, elections after 0.6 to 1.2 s, a disk called hung after 1.2 s),
and grow with those of the replicas where these are longer.
"""

from collections.abc import Mapping
from typing import Final

from multipaxos.host.causes import fragment
from multipaxos.host.observed import PeerSeen, Seen, Unreachable, read_observation

DEAF_MS: Final = 2000.0
"""Silence on a link on which something is due every 0.1 s: 20 heartbeats in a row, and longer than any election timeout.
A pause of the machine of a second is no cut."""

HEARD_MS: Final = 1500.0
"""A replica that looks for a leader speaks at least once in an election timeout, 1.2 s at most."""

YOUNG_S: Final = 5.0
"""Before that a replica may still be finding the others: its links are no evidence."""

HUNG_MS: Final = 1200.0
"""rule-R31: from there on a leader hands over. Syncs of 0.5 s are slow, and no hang. Replicas say their own setting."""

UNACKNOWLEDGED_MS: Final = 4000.0
"""The peer's machine acknowledges at least the keep-alives, sent after 2 s of quiet and then every second."""

STALLED_MS: Final = 2000.0
"""Longer than any election timeout: by now the others do without it. Shorter stalls show as lateness."""


class Outlook:
    """The picture. ``observations`` holds for each replica what it answered, or why it did not; who was not asked is not in
    it. Ids below 1 stand for addresses of which nobody knows whose they are."""

    def __init__(self, observations: Mapping[int, Mapping[str, object] | Unreachable]) -> None:
        self.seen: dict[int, Seen] = {}
        self.lost: dict[int, Unreachable] = {}
        for replica in sorted(observations, key=listed_key):
            one = observations[replica]
            if isinstance(one, Unreachable):
                self.lost[replica] = one
            else:
                self.seen[replica] = read_observation(one)
        self.newest: Seen | None = max(self.seen.values(), key=lambda one: (one.configuration, -one.id), default=None)
        self.voters: tuple[int, ...] = () if self.newest is None else self.newest.voters
        heartbeat_ms = max((one.heartbeat_ms or 0.0 for one in self.seen.values()), default=0.0)
        election_ms = max((one.election_ms or 0.0 for one in self.seen.values()), default=0.0)
        self.deaf_ms = max(DEAF_MS, 20 * heartbeat_ms, election_ms * DEAF_MS / 1200)
        self.heard_ms = max(HEARD_MS, election_ms * HEARD_MS / 1200)
        self.stalled_ms = max(STALLED_MS, election_ms * STALLED_MS / 1200)
        self.awake = {one.id: one for one in self.seen.values() if one.stalled_ms < self.stalled_ms}
        size = None if self.newest is None else self.newest.quorum_size
        self.needed = size if size is not None else len(self.voters) // 2 + 1
        self.leaders = [one.id for one in self.awake.values() if one.standing == "leader"]
        self.missing: dict[int, str] = {}  # voters that cannot vote, and why
        for voter in self.voters:
            reason = self._trouble_of(voter)
            if reason:
                self.missing[voter] = reason
        self.able = [voter for voter in self.voters if voter not in self.missing]
        self.reached = max((self._reach(one) for one in self.awake if one in self.able), default=0)
        self.leader = self._leader()
        self.lagging = [
            replica
            for replica in (() if self.leader not in self.awake else self.awake[self.leader].lagging)
            # What the leader knows may be a moment older than what the replica says itself.
            if replica in self.able and replica in self.awake and self.awake[replica].behind != 0
        ]

    # --- the answers --------------------------------------------------------------------------------------------------

    @property
    def has_quorum(self) -> bool:
        """Whether some voter reaches enough voters, itself counted (rule-R29)."""
        return self.reached >= self.needed

    @property
    def survivable(self) -> int:
        """How many more voters may fail before writes stop; negative where they have stopped."""
        spare = self.reached - self.needed
        # Who lags can vote, so writes go on; but it could not take over what only the others know.
        return max(0, spare - len(self.lagging)) if spare >= 0 else spare

    @property
    def serving(self) -> int:
        """Replicas that say that they serve clients."""
        return sum(1 for one in self.awake.values() if one.state == "serving")

    @property
    def epoch(self) -> int | None:
        """The highest epoch anybody knows."""
        known = [one.epoch for one in self.seen.values() if one.epoch is not None]
        return max(known, default=None)

    def is_alive(self, replica: int) -> bool:
        """Whether a replica that gave no observation takes part all the same, by what the others hear of it."""
        lost = self.lost.get(replica)
        if lost is not None and lost.process in ("gone", "paused"):
            return False
        is_closed = lost is not None and lost.kind == "refused"  # nobody listens there: its process may be dead
        views = [view for one in self.awake.values() if (view := one.peers.get(replica)) is not None]
        is_silent = lost is not None and lost.kind == "silent"
        # Two witnesses need less: it does not answer us, and is not heard for ten heartbeats.
        enough_ms = self.deaf_ms / 2 if is_silent else self.deaf_ms
        for view in views:
            if view.heard_ms is not None and view.heard_ms <= enough_ms and (view.is_connected or not is_closed):
                return True
        if self.leaders or is_silent:
            return False  # the leader would hear its echoes
        return any(view.is_connected for view in views)

    def is_cut(self, first: int, second: int) -> bool:
        """Whether nothing passes between two awake replicas."""
        return self._direction(first, second) is False and self._direction(second, first) is False

    def is_one_way(self, deaf: int, heard: int) -> bool:
        """Whether ``heard`` hears ``deaf`` and is not heard by it. That the one way works has to be seen: a replica that
        vanished a moment ago is no one-way link."""
        if self._direction(heard, deaf) is not False or self._direction(deaf, heard) is False:
            return False
        heard_ms = self.awake[heard].peers[deaf].heard_ms
        return self.awake[deaf].peers[heard].is_connected or (heard_ms is not None and heard_ms <= self.heard_ms)

    # --- how they come about ------------------------------------------------------------------------------------------

    def _trouble_of(self, voter: int) -> str:
        one = self.seen.get(voter)
        if one is None:
            if self.is_alive(voter):
                return ""
            lost = self.lost.get(voter)
            if lost is None:
                return fragment("unheard")
            return absence_text(lost)
        if one.stalled_ms >= self.stalled_ms:
            return fragment("stalled")
        if one.disk_failed or one.damage:
            return fragment("failed")
        if one.state == "recovering":
            return fragment("recovering")
        if one.writing_ms >= hung_ms(one):
            return fragment("full" if one.is_full else "hung")
        return ""

    def _reach(self, replica: int) -> int:
        return 1 + sum(1 for other in self.able if other != replica and self._is_reached(replica, other))

    def _is_reached(self, replica: int, other: int) -> bool:
        if other in self.awake:
            return self._direction(replica, other) is not False and self._direction(other, replica) is not False
        view = self.awake[replica].peers.get(other)
        return view is not None and (view.is_connected or (view.heard_ms is not None and view.heard_ms <= self.deaf_ms))

    def _direction(self, sender: int, receiver: int) -> bool | None:
        """Whether messages of ``sender`` reach ``receiver``; None where there is no evidence."""
        one, other = self.awake[sender], self.awake[receiver]
        out, view = one.peers.get(receiver), other.peers.get(sender)
        if out is None or view is None or min(one.uptime_s, other.uptime_s) < YOUNG_S:
            return None
        if view.heard_ms is not None and view.heard_ms <= self.deaf_ms:
            return True
        if not out.is_connected or (out.sent_ms is not None and out.sent_ms >= UNACKNOWLEDGED_MS):
            return False
        # Followers have nothing to say to each other: silence counts only where heartbeats or their echoes are due.
        return False if self._is_due(one, other, out) else None

    def _is_due(self, sender: Seen, receiver: Seen, heard_back: PeerSeen) -> bool:
        if sender.standing == "leader":
            # Observations are up to a second old: a receiver that still follows another has not missed anything yet.
            return receiver.leader in (0, sender.id)
        hears_leader = heard_back.heard_ms is not None and heard_back.heard_ms <= self.heard_ms
        return receiver.standing == "leader" and hears_leader and sender.leader == receiver.id

    def _leader(self) -> int:
        """Who leads: who says so of itself, else one that the others follow and that is alive; 0 where nobody does."""
        if self.leaders:
            return max(self.leaders, key=lambda one: self.awake[one].epoch or 0)
        for one in self.awake.values():
            if one.leader and one.leader not in self.seen and self.is_alive(one.leader):
                return one.leader
        return 0


def listed_key(replica: int) -> tuple[bool, int]:
    """Sorts replicas by id, then addresses of which nobody knows whose they are as they were typed."""
    return replica < 1, abs(replica)


def absence_text(lost: Unreachable) -> str:
    """Why a replica gives no answer, from the nearest evidence there is."""
    if lost.process == "gone" and lost.killed:
        return fragment("killed", how=lost.killed)
    return fragment(lost.process) if lost.process in ("gone", "paused") else lost.reason


def hung_ms(one: Seen) -> float:
    """From which age of a write on the disk of a replica counts as hung."""
    return max(HUNG_MS, one.stall_setting_ms or 0.0)
