"""Observations of a healthy cluster of three, made by hand: each test spoils one."""

import copy
from typing import Any

NOW_MS = 1_700_000_000_000


def observation(replica: int, leader: int = 2, replicas: int = 3) -> dict[str, Any]:
    """What a healthy replica of a cluster under load says of itself. Followers have not heard each other for minutes."""
    ids = range(1, replicas + 1)
    is_leading = replica == leader
    peers = []
    for peer in ids:
        if peer == replica:
            continue
        is_spoken_to = is_leading or peer == leader
        peers.append(
            {
                "id": peer,
                "is_connected": True,
                "is_heard": True,
                "heard_ms_ago": 90 if is_spoken_to else 180_000,
                "sent_ok_ms_ago": 40 if is_spoken_to else 1_900,
                "applied": 1000 if is_leading else None,
                "round_trip_ms": {"p50": 0.4, "p99": 9.0} if is_spoken_to else None,
                "queue_bytes": 0,
                "refused": "",
                "trouble": "",
                "trouble_ms_ago": None,
            }
        )
    return {
        "schema": "multipaxos-status/1",
        "at_ms": NOW_MS - 300,
        "replica": replica,
        "cluster": "c0ffee",
        "version": "0.1.0",
        "incarnation": 3,
        "data": f"/data/replica-{replica}",
        "pid": 1000 + replica,
        "uptime_s": 600.0,
        "heartbeat_ms": 100,
        "election_max_ms": 1200,
        "state": "serving",
        "waiting_for": "",
        "standing": "leader" if is_leading else "follower",
        "leader": leader,
        "ballot": f"7.{leader}",
        "epoch": 7,
        "leader_changes_last_10min": 1,
        "slots": {"applied": 1000 - replica, "chosen_prefix": 1000, "highest_known": 1003, "behind": 3 + replica},
        "configuration": {
            "version": 1,
            "window": 64,
            "voters": list(ids),
            "members": [
                {
                    "id": one,
                    "peer_address": f"10.0.0.{one}:7181",
                    "client_address": f"10.0.0.{one}:2181",
                    "admin_address": f"10.0.0.{one}:8181",
                    "is_voter": True,
                }
                for one in ids
            ],
        },
        "peers": peers,
        "quorum": {
            "size": replicas // 2 + 1,
            "reachable": list(ids),
            "missing": [],
            "lagging": [],
            "failures_survivable": (replicas - 1) // 2,
        },
        "disk": {
            "sync_ms": {"p50": 4.0, "p99": 28.0, "max": 390.0},
            "writing_for_ms": 6,
            "stall_ms": 1200,
            "queue_bytes": 30_000,
            "bytes_per_second": 4_000_000,
            "free_bytes": 50 << 30,
            "journal_bytes": 700 << 20,
            "measured_ms_ago": 1000,
            "full": False,
            "shortage": "",
            "failed": "",
            "stopped_last_time": "",
            "damage": "",
        },
        "clients": {
            "connections": 60,
            "sessions": 64,
            "watches": 0,
            "znodes": 1000,
            "ephemerals": 0,
            "data_bytes": 100_000,
            "requests_per_s": 9000.0,
            "outstanding": 64,
        },
        "loop": {"lag_ms": {"last": 35.0, "max_10s": 190.0}, "longest_stall_ms": 480.0, "stalled_for_ms": 0},
        "clock": {"last_jump_ms": None, "last_jump_ago_s": None, "against_leader_ms": None if is_leading else 2},
        "latency_ms": {"commit": {"p50": 8.0, "p99": 60.0}, "apply": {"p50": 0.4, "p99": 6.0}},
    }


def healthy(replicas: int = 3) -> dict[int, Any]:
    """All replicas of a healthy cluster under load; 2 leads."""
    return {replica: observation(replica, replicas=replicas) for replica in range(1, replicas + 1)}


def peer(observed: dict[str, Any], other: int) -> dict[str, Any]:
    """What one observation says of another replica."""
    found: dict[str, Any] = next(one for one in observed["peers"] if one["id"] == other)
    return found


def disconnected(observed: dict[str, Any], other: int, trouble: str, heard_ms: int | None = 20_000) -> None:
    """The link from one replica to another is down, and nothing comes from there."""
    peer(observed, other).update(
        is_connected=False,
        is_heard=False,
        heard_ms_ago=heard_ms,
        sent_ok_ms_ago=None,
        trouble=trouble,
        trouble_ms_ago=200,
    )


def dead(cluster: dict[int, Any], replica: int) -> dict[int, Any]:
    """The same cluster with a replica killed: the others' connections to it are refused."""
    rest = copy.deepcopy(cluster)
    del rest[replica]
    for one in rest.values():
        disconnected(one, replica, f"10.0.0.{replica}:7181: nobody listens there: the connection was refused")
    return rest
