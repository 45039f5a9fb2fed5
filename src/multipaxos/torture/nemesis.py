"""What a nemesis is: it strikes in one of several variants, shows that its fault took effect, and puts back what it broke.

A fault that was only asked for proves nothing, so each strike counts what was *seen*: processes gone by signal 9, the
letter T in the kernel's table, packets dropped by a rule, syncs that failed. A strike that saw nothing is reported as "no
effect shown" and is not counted.

A replica may stop under a fault; then it has to say why, and what is expected is "it stops, names the reason, loses
nothing". What a replica does that it must not do is a *complaint*, and makes the verdict bad.

Here stands what all nemeses share; the faults themselves stand in ``crashes.py``, ``partitions.py``, ``disks.py``,
``damage.py`` and ``clocks.py``. Knows nothing of histories.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from multipaxos.torture.client import Load
from multipaxos.torture.cluster import TorturedCluster
from multipaxos.torture.replica import LISTENING, ReplicaProcess

END_PATIENCE_S: Final = 15.0
"""By then a replica that has to stop has stopped, or listens that can start."""


@dataclass(slots=True)
class Scene:
    """What a nemesis works on."""

    cluster: TorturedCluster
    load: Load
    random: Random
    is_long: bool  # a run in which faults may last longer than sessions
    shim_missing: str  # why there is no shim; empty where there is one
    mounts_missing: str  # why there is no file system of our own; empty where there is one

    def span_s(self, short: float, long: float) -> float:
        """How long a fault lasts."""
        return (long if self.is_long else short) * self.random.uniform(0.8, 1.2)

    async def hold(self, short: float, long: float) -> None:
        """Let the fault last."""
        await asyncio.sleep(self.span_s(short, long))


@dataclass(slots=True)
class Struck:
    """What one strike did, and what was seen of it."""

    replicas: list[int]
    effects: dict[str, int | float | str] = field(default_factory=dict)
    is_shown: bool = False
    complaints: list[str] = field(default_factory=list)  # what a replica did that it must not do


class Nemesis(Protocol):
    """One kind of fault."""

    name: str
    """As the report and ``--nemesis`` call it."""

    def missing(self, scene: Scene) -> str:
        """What is not there that it needs; empty where it can strike."""

    def variants(self, scene: Scene) -> Sequence[str]:
        """In how many ways it can strike this cluster."""

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Break something, look, and put it back; replicas that died may stay dead."""


async def choose(scene: Scene, who: str) -> ReplicaProcess:
    """The leader, or one of the others."""
    if who == "leader":
        return await scene.cluster.leader()
    return scene.random.choice(await scene.cluster.followers())


async def ends_by_itself(one: ReplicaProcess, struck: Struck, what: str, named: Sequence[str]) -> bool:
    """Waits until a replica has stopped, and notes whether it named the reason: one of ``named``."""
    if not await one.wait(lambda each: not each.is_alive, END_PATIENCE_S):
        struck.complaints.append(f"replica {one.id} went on after {what}")
        return False
    struck.effects["exit code"] = one.exit_code if one.exit_code is not None else -1
    struck.effects["it said"] = one.reason
    if one.exit_code == 0 or not any(name in one.reason for name in named):
        struck.complaints.append(f"replica {one.id} stopped after {what} and did not name the reason: {one.reason!r}")
    return True


async def starts_again(one: ReplicaProcess, struck: Struck, what: str, is_moved: bool = False) -> bool:
    """Starts a replica, and notes it where it does not come up."""
    one.start(is_moved=is_moved)
    await one.wait(lambda each: not each.is_alive or each.state in LISTENING, END_PATIENCE_S)
    if one.is_alive and one.state in LISTENING:
        return True
    struck.complaints.append(f"replica {one.id} did not start {what}: {one.reason or one.state}")
    return False
