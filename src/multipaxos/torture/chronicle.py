"""What happened when: the state of each replica, who began to lead, and each strike with what was seen of it.

Filled while a run goes on, read by ``timeline.py`` and ``verdict.py``. Times are seconds since the load began.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from multipaxos.torture.cluster import TorturedCluster
from multipaxos.torture.nemesis import Struck
from multipaxos.torture.replica import ReplicaProcess

_TICK_S: Final = 0.1
_LEADS: Final = re.compile(r"leads at ballot (\S+), epoch (\d+)")


@dataclass(slots=True)
class Strike:
    """One strike of one nemesis."""

    nemesis: str
    variant: str
    begun_s: float
    ended_s: float = 0.0  # when the nemesis had put back what it broke
    recovered_s: float = 0.0  # when writes flowed and all served; 0 where that never came
    struck: Struck = field(default_factory=lambda: Struck([]))

    def as_json(self) -> dict[str, Any]:
        """For the nemesis log."""
        return {
            "nemesis": self.nemesis,
            "variant": self.variant,
            "replicas": self.struck.replicas,
            "begun_s": round(self.begun_s, 2),
            "ended_s": round(self.ended_s, 2),
            "recovered_s": round(self.recovered_s, 2),
            "is_shown": self.struck.is_shown,
            "effects": self.struck.effects,
            "complaints": self.struck.complaints,
        }


@dataclass(slots=True)
class Chronicle:
    """All of one run."""

    lanes: dict[int, list[tuple[float, str]]] = field(default_factory=dict)  # per replica: from when, what
    leaders: list[tuple[float, int, str]] = field(default_factory=list)  # when, who, at which ballot
    strikes: list[Strike] = field(default_factory=list)
    ended_s: float = 0.0

    async def keep(self, cluster: TorturedCluster, now: Callable[[], float]) -> None:
        """Look at the replicas and their logs, again and again, until cancelled."""
        read_up_to = {one.id: one.log_size for one in cluster.replicas.values()}
        while True:
            at = now()
            for one in cluster.replicas.values():
                self._note(one, state_of(one, cluster), at)
                text = one.log_since(read_up_to[one.id])
                whole = text[: text.rfind("\n") + 1]
                read_up_to[one.id] += len(whole.encode())
                self.leaders += [(at, one.id, found[1]) for found in _LEADS.finditer(whole)]
            await asyncio.sleep(_TICK_S)

    def _note(self, one: ReplicaProcess, state: str, at: float) -> None:
        lane = self.lanes.setdefault(one.id, [])
        if not lane or lane[-1][1] != state:
            lane.append((at, state))


def state_of(one: ReplicaProcess, cluster: TorturedCluster) -> str:
    """One of down, paused, leader, follower, waiting (it runs, and serves nobody)."""
    if not one.is_alive:
        return "down"
    if one.is_paused:
        return "paused"
    return cluster.modes.get(one.id) or "waiting"
