"""What another replica's observation says, read without believing that it is whole.

`multipaxos why` may be older or younger than the replica that answers, and what answers at an admin port need not be a
replica at all. So each figure is read by itself: one that is missing or of another kind is None, and a rule that needs it
says nothing. The writing end is ``observation.py``; the rules that use this are ``why.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SCHEMA: Final = "multipaxos-status/1"


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A replica that was asked and gave no observation. What is known about it all the same, in words."""

    address: str  # where it was asked
    kind: str = "failed"  # refused, unreached, silent (accepts and does not answer), unresolved, garbage, failed
    reason: str = ""
    last_words: str = ""  # what it left behind when it ended by itself: its `stopped` note, or the end of its log
    killed: str = ""  # how its process ended without a word, like "killed by signal 9"
    process: str = ""  # of this machine: running, paused (by a signal) or gone; "" where that is not known


@dataclass(frozen=True, slots=True)
class PeerSeen:
    """What one replica sees of another. Times in milliseconds before the observation; None: never, or not said."""

    id: int
    is_connected: bool
    heard_ms: float | None
    sent_ms: float | None
    refused: str
    trouble: str
    trouble_ms: float | None


@dataclass(frozen=True, slots=True)
class MemberSeen:
    """A member of the configuration, as one replica has it."""

    id: int
    peer_address: str
    client_address: str
    admin_address: str
    is_voter: bool
    mark: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One observation. Times in milliseconds unless the name says otherwise."""

    id: int
    at_ms: float | None
    uptime_s: float
    pid: int
    state: str
    waiting_for: str
    standing: str
    leader: int
    epoch: int | None
    leader_changes: int
    applied: int | None
    behind: int | None
    configuration: int  # its version; 0 before birth
    voters: tuple[int, ...]
    members: tuple[MemberSeen, ...]
    quorum_size: int | None
    lagging: tuple[int, ...]  # voters that the leader reaches and does not count on
    heartbeat_ms: float | None  # settings
    election_ms: float | None
    sync_p50: float | None
    sync_p99: float | None
    sync_max: float | None
    writing_ms: float
    stall_setting_ms: float | None
    is_full: bool
    disk_failed: str
    damage: str
    free_bytes: int | None
    journal_bytes: int | None
    connections: int | None
    lag_last: float
    lag_max: float
    stalled_ms: float
    jump_ms: float
    jump_ago_s: float | None
    against_leader_ms: float | None
    peers: Mapping[int, PeerSeen] = field(default_factory=dict)


def _at(value: object, *path: str) -> object:
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _number(value: object, *path: str) -> float | None:
    found = _at(value, *path)
    return found if isinstance(found, int | float) and not isinstance(found, bool) and found == found else None


def _integer(value: object, *path: str) -> int | None:
    found = _at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _text(value: object, *path: str) -> str:
    found = _at(value, *path)
    return found if isinstance(found, str) else ""


def _items(value: object, *path: str) -> list[object]:
    found = _at(value, *path)
    return list(found) if isinstance(found, list | tuple) else []


def is_observation(value: object) -> bool:
    """Whether this is what a replica answers to GET /status."""
    return _text(value, "schema") == SCHEMA and (_integer(value, "replica") or 0) > 0


def read_observation(value: Mapping[str, object]) -> Seen:
    """The figures of one observation."""
    peers: dict[int, PeerSeen] = {}
    for one in _items(value, "peers"):
        peer = _integer(one, "id")
        if peer is not None:
            peers[peer] = PeerSeen(
                peer,
                _at(one, "is_connected") is True,
                _number(one, "heard_ms_ago"),
                _number(one, "sent_ok_ms_ago"),
                _text(one, "refused"),
                _text(one, "trouble"),
                _number(one, "trouble_ms_ago"),
            )
    members = [
        MemberSeen(
            _integer(one, "id") or 0,
            _text(one, "peer_address"),
            _text(one, "client_address"),
            _text(one, "admin_address"),
            _at(one, "is_voter") is True,
            _text(one, "mark"),
        )
        for one in _items(value, "configuration", "members")
    ]
    voters = [one for one in _items(value, "configuration", "voters") if isinstance(one, int)]
    return Seen(
        id=_integer(value, "replica") or 0,
        at_ms=_number(value, "at_ms"),
        uptime_s=_number(value, "uptime_s") or 0.0,
        pid=_integer(value, "pid") or 0,
        state=_text(value, "state"),
        waiting_for=_text(value, "waiting_for"),
        standing=_text(value, "standing"),
        leader=_integer(value, "leader") or 0,
        epoch=_integer(value, "epoch"),
        leader_changes=_integer(value, "leader_changes_last_10min") or 0,
        applied=_integer(value, "slots", "applied"),
        behind=_integer(value, "slots", "behind"),
        configuration=_integer(value, "configuration", "version") or 0,
        voters=tuple(voters),
        members=tuple(members),
        quorum_size=_integer(value, "quorum", "size"),
        lagging=tuple(one for one in _items(value, "quorum", "lagging") if isinstance(one, int)),
        heartbeat_ms=_number(value, "heartbeat_ms"),
        election_ms=_number(value, "election_max_ms"),
        sync_p50=_number(value, "disk", "sync_ms", "p50"),
        sync_p99=_number(value, "disk", "sync_ms", "p99"),
        sync_max=_number(value, "disk", "sync_ms", "max"),
        writing_ms=_number(value, "disk", "writing_for_ms") or 0.0,
        stall_setting_ms=_number(value, "disk", "stall_ms"),
        is_full=_at(value, "disk", "full") is True,
        disk_failed=_text(value, "disk", "failed"),
        damage=_text(value, "disk", "damage"),
        free_bytes=_integer(value, "disk", "free_bytes"),
        journal_bytes=_integer(value, "disk", "journal_bytes"),
        connections=_integer(value, "clients", "connections"),
        lag_last=_number(value, "loop", "lag_ms", "last") or 0.0,
        lag_max=_number(value, "loop", "lag_ms", "max_10s") or 0.0,
        stalled_ms=_number(value, "loop", "stalled_for_ms") or 0.0,
        jump_ms=_number(value, "clock", "last_jump_ms") or 0.0,
        jump_ago_s=_number(value, "clock", "last_jump_ago_s"),
        against_leader_ms=_number(value, "clock", "against_leader_ms"),
        peers=peers,
    )
