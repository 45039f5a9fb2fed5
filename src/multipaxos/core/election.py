"""When to suspect the leader, when to probe, when to campaign, when to stand back (rule-R28, rule-R29).

Timers and answers only; ``replica.py`` sends the messages. Suspicion is silence for a drawn time, or a connection that
closed and is refused. A probe raises no ballot, so a replica that returns or is half cut off disturbs nobody (K10).
"""

from collections import deque
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, Ballot, ReplicaId

FOLLOWER: Final = "follower"
CANDIDATE: Final = "candidate"
LEADER: Final = "leader"


class Election:
    """What this replica knows of leaders, and where its own attempt stands."""

    __slots__ = (
        "_heard_numbers", "answered", "answers", "campaign_until", "failures", "heard_at", "heard_disk_age_ns",
        "heard_is_connected", "is_probing", "leader_ballot", "prepare_again_at", "probe_number", "probe_until",
        "refused", "suspect_at",
    )  # fmt: skip

    def __init__(self) -> None:
        self.leader_ballot: Ballot = NO_BALLOT  # of the leader last heard, or of this replica while it leads
        self.heard_at = 0  # when its last heartbeat came; 0 for never
        self.heard_is_connected = False  # what that heartbeat said of itself
        self.heard_disk_age_ns = 0
        self._heard_numbers: deque[tuple[int, int]] = deque(maxlen=64)  # (heartbeat number, when it came)
        self.refused: set[ReplicaId] = set()  # peers whose connection closed and whose port refuses
        self.suspect_at = 0  # when silence becomes suspicion
        self.is_probing = False
        self.probe_number = 0
        self.probe_until = 0
        self.answers: set[ReplicaId] = set()  # voters that would promise and hear no leader
        self.answered: set[ReplicaId] = set()  # voters that answered at all
        self.campaign_until = 0
        self.prepare_again_at = 0
        self.failures = 0  # campaigns in a row that led nowhere: waits grow with them, and fall with success

    def hear(self, ballot: Ballot, number: int, is_connected: bool, disk_age_ns: int, now: int) -> None:
        """A heartbeat of the leader of ``ballot``."""
        if ballot != self.leader_ballot:
            self.leader_ballot = ballot
            self._heard_numbers.clear()
        self.heard_at = now
        self.heard_is_connected = is_connected
        self.heard_disk_age_ns = disk_age_ns
        self._heard_numbers.append((number, now))

    def follow(self, ballot: Ballot) -> None:
        """A message of a leader above the one known, other than its heartbeat: followed, but not yet vouched for."""
        if ballot > self.leader_ballot:
            self.leader_ballot = ballot
            self.heard_is_connected = False
            self._heard_numbers.clear()

    def heard_number(self) -> int:
        """The number of the last heartbeat heard from the present leader, 0 for none."""
        return self._heard_numbers[-1][0] if self._heard_numbers else 0

    def is_number_young(self, number: int, now: int, age_ns: int) -> bool:
        """Whether heartbeat ``number`` of the present leader came here within ``age_ns`` (rule-R30)."""
        for heard, at in self._heard_numbers:
            if heard == number:
                return now - at < age_ns
        return False

    def hears_leader(self, leader: ReplicaId, now: int, within_ns: int, disk_stall_ns: int) -> bool:
        """Whether a living leader is heard: lately, quorum-connected, its disk alive, its port not refused. Loyalty to
        any other would hang ``quorum-loss`` and ``one-way`` (rule-R29)."""
        return (
            self.leader_ballot != NO_BALLOT
            and self.heard_at > 0
            and now - self.heard_at < within_ns
            and self.heard_is_connected
            and self.heard_disk_age_ns < disk_stall_ns
            and leader not in self.refused
        )

    def begin_probe(self, replica: ReplicaId, until: int) -> None:
        """Ask the others; this replica itself would promise and hears nobody."""
        self.is_probing = True
        self.probe_number += 1
        self.probe_until = until
        self.answers = {replica}
        self.answered = {replica}

    def end_probe(self) -> None:
        """No probe is under way any more."""
        self.is_probing = False
        self.answers = set()
        self.answered = set()

    def clone(self) -> "Election":
        """An independent copy."""
        cloned = Election()
        cloned.leader_ballot = self.leader_ballot
        cloned.heard_at = self.heard_at
        cloned.heard_is_connected = self.heard_is_connected
        cloned.heard_disk_age_ns = self.heard_disk_age_ns
        cloned._heard_numbers = self._heard_numbers.copy()
        cloned.refused = self.refused.copy()
        cloned.suspect_at = self.suspect_at
        cloned.is_probing = self.is_probing
        cloned.probe_number = self.probe_number
        cloned.probe_until = self.probe_until
        cloned.answers = self.answers.copy()
        cloned.answered = self.answered.copy()
        cloned.campaign_until = self.campaign_until
        cloned.prepare_again_at = self.prepare_again_at
        cloned.failures = self.failures
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``). The other deadlines are armed
        exactly while this replica probes or campaigns; failures in a row only stretch them."""
        return (
            self.leader_ballot,
            self.heard_at != 0,
            self.heard_is_connected,
            self.heard_disk_age_ns,
            tuple([number for number, _ in self._heard_numbers]),
            tuple(sorted(self.refused)),
            self.suspect_at != 0,
            self.is_probing,
            self.probe_number,
            tuple(sorted(self.answers)),
            tuple(sorted(self.answered)),
        )
