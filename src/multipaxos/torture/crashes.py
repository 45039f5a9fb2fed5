"""Nemeses of processes: killed, stopped by a signal, restarted again and again, and struck by a loss of power."""

import asyncio
import signal
import time
from collections.abc import Sequence

from multipaxos.torture.nemesis import Scene, Struck, choose
from multipaxos.torture.replica import ReplicaProcess


async def _victims(scene: Scene, variant: str) -> list[ReplicaProcess]:
    cluster = scene.cluster
    everybody = list(cluster.replicas.values())
    if variant in ("leader", "follower"):
        return [await choose(scene, variant)]
    if variant == "all":
        return scene.random.sample(everybody, len(everybody))
    leader = await cluster.leader()
    others = [one for one in everybody if one is not leader]
    return [leader, *scene.random.sample(others, cluster.majority - 1)]


class Kill:
    """SIGKILL, and a restart in random order. What the kernel holds of their files survives."""

    name = "kill"

    def missing(self, scene: Scene) -> str:
        """Nothing."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """Whom."""
        return "leader", "follower", "majority", "all"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """All at one moment."""
        victims = await _victims(scene, variant)
        struck = Struck([one.id for one in victims])
        scene.cluster.kill(victims)
        killed = sum(1 for one in victims if one.exit_code == -signal.SIGKILL)
        struck.effects["ended by signal 9"] = killed
        struck.is_shown = killed == len(victims)
        await scene.hold(0.8, 2.5)
        scene.random.shuffle(victims)
        for one in victims:
            if not one.is_alive:
                one.start()
            await asyncio.sleep(scene.random.uniform(0.0, 0.3))
        return struck


class Pause:
    """SIGSTOP, longer than an election, in long runs longer than a session; then SIGCONT."""

    name = "pause"

    def missing(self, scene: Scene) -> str:
        """Nothing."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """Whom. Most of them only so long that no session could end."""
        return "leader", "follower", "majority"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Stopped processes keep their connections."""
        victims = await _victims(scene, variant)
        struck = Struck([one.id for one in victims])
        for one in victims:
            one.pause()
        begun = time.monotonic()
        span_s = scene.span_s(2.5, 7.5) if variant != "majority" else scene.span_s(2.0, 2.5)
        seen = 0
        while time.monotonic() - begun < span_s:
            await asyncio.sleep(0.2)
            seen += sum(1 for one in victims if one.kernel_state == "T")
        for one in victims:
            one.go_on()
        struck.effects["state T seen"] = seen
        struck.effects["seconds"] = round(time.monotonic() - begun, 1)
        struck.is_shown = seen >= len(victims)
        return struck


class Storm:
    """Restarts without rest: whoever leads is ended politely, or with SIGKILL, and started again at once."""

    name = "storm"

    def missing(self, scene: Scene) -> str:
        """Nothing."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """How they end, or that a leader only stands still until another leads."""
        return "restarts", "kills", "hand-overs"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """One leader after the other."""
        struck = Struck([])
        cluster = scene.cluster
        rounds = 6 if scene.is_long else 3
        for _ in range(rounds):
            leader = await cluster.leader()
            struck.replicas.append(leader.id)
            if variant == "restarts":
                if not await leader.end():
                    struck.complaints.append(f"replica {leader.id} did not end when it was told to")
            elif variant == "kills":
                cluster.kill([leader])
            else:
                leader.pause()
            cluster.modes[leader.id] = ""
            await cluster.leader()
            if variant == "hand-overs":
                leader.go_on()
            else:
                leader.start()
        struck.effects["leaders ousted"] = rounds
        struck.is_shown = True
        return struck


class PowerLoss:
    """SIGKILL, and what no sync had returned for is gone from the files."""

    name = "power-loss"

    def missing(self, scene: Scene) -> str:
        """The shim remembers what to take back."""
        return scene.shim_missing

    def variants(self, scene: Scene) -> Sequence[str]:
        """Whom."""
        return "all", "leader", "follower", "majority"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Syncs are slow meanwhile, so that there is something under way when the power goes."""
        victims = await _victims(scene, variant)
        struck = Struck([one.id for one in victims])
        for one in victims:
            assert one.shim is not None
            one.shim.delay(scene.random.choice((60, 120, 250)))
        await asyncio.sleep(scene.random.uniform(0.3, 0.8))
        scene.cluster.kill(victims)
        dropped = 0
        for one in victims:
            assert one.shim is not None
            dropped += one.shim.drop_unsynced()
            one.shim.heal()
        struck.effects["unsynced changes dropped"] = dropped
        struck.is_shown = dropped > 0
        await scene.hold(0.3, 1.5)
        scene.random.shuffle(victims)
        for one in victims:
            if not one.is_alive:
                one.start()
        return struck
