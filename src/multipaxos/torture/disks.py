"""Nemeses of the disk: full, failing, hanging, slow. Through the shim, and for a full disk, with root, a real small one."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from multipaxos.torture.mounts import SmallDisk
from multipaxos.torture.nemesis import Scene, Struck, choose, ends_by_itself, starts_again
from multipaxos.torture.replica import ReplicaProcess
from multipaxos.torture.shim import DiskShim

ROOM_BYTES: Final = 150_000
"""What is left when a replica starts on a disk that is to be full soon: enough for the smallest segment."""

FULL_PATIENCE_S: Final = 12.0
_PADDING_BYTES: Final = 8000
_POLL_S: Final = 0.1


def _shim(one: ReplicaProcess) -> DiskShim:
    assert one.shim is not None
    return one.shim


class FullDisk:
    """A disk without space: found before anything is written, said, and over by itself when there is space (rule-R38)."""

    name = "full-disk"

    def missing(self, scene: Scene) -> str:
        """A small file system or the shim."""
        return scene.shim_missing if scene.mounts_missing else ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """What kind, and whose. On all disks at once nothing is written by anybody until there is space."""
        found = []
        if not scene.mounts_missing:
            found.append("small-disk")
        if not scene.shim_missing:
            found += ["follower", "all"]
        return found

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """The others must go on, and the full one must come back when there is space."""
        if variant == "small-disk":
            return await self._small_disk(scene)
        full = list(scene.cluster.replicas.values()) if variant == "all" else [await choose(scene, variant)]
        struck = Struck([one.id for one in full])
        before = sum(_shim(one).counters.refused for one in full)
        log_at = {one.id: one.log_size for one in full}
        for one in full:
            # Started with little space it makes do with a small segment, and what it cut off the old one is taken too.
            await one.end()
            _shim(one).limit(ROOM_BYTES)
            await starts_again(one, struck, "on a disk that is nearly full")
            _shim(one).limit(0)
        for one in full:
            await self._until_full(scene, one, log_at[one.id])
        await scene.hold(0.5, 4.0)
        refused = sum(_shim(one).counters.refused for one in full) - before
        struck.effects["ENOSPC seen"] = refused
        struck.effects["said full"] = sum(one.log_since(log_at[one.id]).count("is full") for one in full)
        struck.is_shown = refused > 0 and int(struck.effects["said full"]) > 0
        for one in full:
            self._judge(one, struck)
            _shim(one).heal()
        return struck

    async def _until_full(self, scene: Scene, one: ReplicaProcess, log_at: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FULL_PATIENCE_S
        scene.load.pad(_PADDING_BYTES)
        try:
            while loop.time() < deadline and one.is_alive and "is full" not in one.log_since(log_at):
                await asyncio.sleep(_POLL_S)
        finally:
            scene.load.pad(0)

    async def _votes_again(self, scene: Scene, one: ReplicaProcess, log_at: int) -> bool:
        """Whether it serves and has stopped complaining, without a restart."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FULL_PATIENCE_S
        said = -1
        while loop.time() < deadline:
            await asyncio.sleep(1.2)  # it says so every second
            now = one.log_since(log_at).count("is full")
            if now == said and scene.cluster.modes.get(one.id):
                return True
            said = now
        return False

    def _judge(self, one: ReplicaProcess, struck: Struck) -> None:
        """It may stop, when a write of its own failed for space; then it has to say so."""
        if not one.is_alive and "space" not in one.reason and "full" not in one.reason:
            struck.complaints.append(f"replica {one.id} stopped on a full disk and said: {one.reason!r}")

    async def _small_disk(self, scene: Scene) -> Struck:
        """Its directory moves to a file system that is nearly full, and back when that has had space again."""
        cluster = scene.cluster
        one = await choose(scene, "follower")
        struck = Struck([one.id])
        await one.end()
        log_at = one.log_size
        here = one.data
        used = sum(path.stat().st_size for path in here.iterdir())
        disk = SmallDisk(cluster.folder / f"small-disk-{one.id}", used + ROOM_BYTES)
        try:
            there = disk.path / "data"
            _move(here, there)
            one.is_behind_shim = False
            cluster.restore_config(one, there)
            await starts_again(one, struck, "on a small disk", is_moved=True)
            disk.fill()
            await self._until_full(scene, one, log_at)
            await scene.hold(1.0, 4.0)
            said = one.log_since(log_at).count("is full")
            struck.effects["room left, bytes"] = disk.room_bytes
            struck.effects["said full"] = said
            struck.is_shown = said > 0
            self._judge(one, struck)
            disk.free()
            if one.is_alive:
                if not await self._votes_again(scene, one, log_at):
                    struck.complaints.append(f"replica {one.id} did not get on by itself when there was space again")
                await one.end()
            _move(there, here)
            if one.shim is not None:
                one.shim.forget()
        finally:
            one.kill()
            disk.close()
            one.is_behind_shim = one.shim is not None
            cluster.restore_config(one)
        await starts_again(one, struck, "after its directory moved back", is_moved=True)
        return struck


def _move(source: Path, target: Path) -> None:
    """As people move a directory to another disk: copy, then remove."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    shutil.rmtree(source)


class FailedSync:
    """A sync or a write that fails once with EIO: the replica stops, for ever after it could not know (rule-R37)."""

    name = "failed-sync"

    def missing(self, scene: Scene) -> str:
        """The shim fails it."""
        return scene.shim_missing

    def variants(self, scene: Scene) -> Sequence[str]:
        """Whose, and a write."""
        return "leader", "follower", "write"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """What was not synced then is dropped: the page cache vouches for nothing after a failed sync."""
        one = await choose(scene, "leader" if variant == "leader" else "follower")
        struck = Struck([one.id])
        shim = _shim(one)
        before = shim.counters
        if variant == "write":
            shim.fail_write_once()
        else:
            shim.fail_once()
        has_ended = await ends_by_itself(one, struck, "a failed sync or write", ("Input/output error",))
        after = shim.counters
        failed = after.failed + after.failed_writes - before.failed - before.failed_writes
        struck.effects["failed with EIO"] = failed
        struck.is_shown = failed == 1 and has_ended
        shim.heal()
        if has_ended:
            struck.effects["unsynced changes dropped"] = shim.drop_unsynced()
        await scene.hold(0.3, 2.0)
        if not one.is_alive:
            one.start()
        return struck


class HungSync:
    """Syncs that do not return, for a while or never: a leader hands over, nobody waits for its disk (rule-R31)."""

    name = "hung-sync"

    def missing(self, scene: Scene) -> str:
        """The shim holds it."""
        return scene.shim_missing

    def variants(self, scene: Scene) -> Sequence[str]:
        """Whose; the last one is killed with its sync still under way, and what that held is gone."""
        return "leader", "follower", "for-ever"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Hold, look, let go."""
        one = await choose(scene, "follower" if variant == "follower" else "leader")
        struck = Struck([one.id])
        shim = _shim(one)
        shim.hang()
        await scene.hold(3.0, 8.0)
        hanging = shim.counters.hanging
        struck.effects["syncs that hang"] = hanging
        struck.is_shown = hanging > 0
        if variant == "for-ever":
            scene.cluster.kill([one])
            struck.effects["unsynced changes dropped"] = shim.drop_unsynced()
        shim.heal()
        if not one.is_alive:
            one.start()
        return struck


class SlowSync:
    """Syncs of 0.2 to 0.5 s: slow service, and no leadership that goes round."""

    name = "slow-sync"

    def missing(self, scene: Scene) -> str:
        """The shim waits."""
        return scene.shim_missing

    def variants(self, scene: Scene) -> Sequence[str]:
        """Whose."""
        return "all", "leader", "follower"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Each sync takes so much longer."""
        if variant == "all":
            slow = list(scene.cluster.replicas.values())
        else:
            slow = [await choose(scene, variant)]
        struck = Struck([one.id for one in slow])
        delay_ms = scene.random.choice((200, 350, 500))
        before = sum(_shim(one).counters.done for one in slow)
        log_at = {one.id: one.log_size for one in scene.cluster.replicas.values()}
        for one in slow:
            _shim(one).delay(delay_ms)
        await scene.hold(3.0, 8.0)
        struck.effects["slow syncs"] = sum(_shim(one).counters.done for one in slow) - before
        struck.effects["of so many ms"] = delay_ms
        struck.is_shown = int(struck.effects["slow syncs"]) > 0
        leaders = sum(one.log_since(log_at[one.id]).count("leads at") for one in scene.cluster.replicas.values())
        struck.effects["leaders meanwhile"] = leaders
        if leaders > 1:
            # One may be owed to a busy machine; a second one is what must not be.
            struck.complaints.append(f"leadership went round {leaders} times because disks were slow")
        for one in slow:
            _shim(one).heal()
        return struck
