"""Nemeses of files: bits that flip and files that are cut while a replica is stopped, directories that are lost, copied or
put back from yesterday.

A replica that may have forgotten a vote must not vote again (trap-T4): it refuses by name, or its peers refuse it, while
the others go on. Then what was broken is put back exactly as it was, which is what the refusal asks for, and it serves.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from multipaxos.storage.disk import RealDisk
from multipaxos.storage.recovery import Recovery
from multipaxos.torture.nemesis import Scene, Struck, choose, ends_by_itself, starts_again


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a file in which every byte was durable: records that a seal, or a later segment, vouches for."""

    path: Path
    first: int
    last: int  # exclusive


def vouched_for(directory: Path, replica: int) -> list[Stretch]:
    """Where in a stopped replica's journal no byte may be lost without being missed."""
    mark = int(json.loads((directory / "mark").read_bytes().split(b"\n")[0])["mark"], 16)
    disk = RealDisk(str(directory))
    try:
        recovery = Recovery(disk, mark, replica)
        recovery.open()
        for _ in recovery.records():
            pass
    finally:
        disk.close()
    found = []
    for link in recovery.chain:
        end = min(recovery.sealed, recovery.end if link.end is None else link.end)
        if end > link.head.base:
            found.append(Stretch(directory / link.name, link.head.records_at, link.offset_of(end)))
    return found


@dataclass(frozen=True, slots=True)
class Flaw:
    """What was done to a file, and how it was."""

    path: Path
    offset: int
    before: bytes  # what stood from ``offset`` on, as far as it was changed

    def mend(self) -> None:
        """Put it back as it was."""
        with self.path.open("r+b") as file:
            file.seek(self.offset)
            file.write(self.before)


def flip_bit(path: Path, offset: int, bit: int) -> Flaw:
    """One bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        before = file.read(1)
        file.seek(offset)
        file.write(bytes([before[0] ^ 1 << bit]))
    return Flaw(path, offset, before)


def cut_file(path: Path, size: int) -> Flaw:
    """All behind ``size`` is gone."""
    with path.open("r+b") as file:
        file.seek(size)
        before = file.read()
        file.truncate(size)
    return Flaw(path, size, before)


def make_flaw(variant: str, directory: Path, replica: int, random: Random) -> Flaw:
    """Damage a stopped replica's files where it must be noticed."""
    if variant == "identity":
        path = directory / random.choice(("mark", "incarnation", "cluster"))
        return flip_bit(path, random.randrange(path.stat().st_size), random.randrange(8))
    stretches = vouched_for(directory, replica)
    weights = [stretch.last - stretch.first for stretch in stretches]
    stretch = random.choices(stretches, weights)[0]
    offset = random.randrange(stretch.first, stretch.last)
    if variant == "cut":
        return cut_file(stretch.path, offset)
    return flip_bit(stretch.path, offset, random.randrange(8))


class Damage:
    """One bit, or the end of a file, of a replica that was stopped cleanly."""

    name = "damage"

    def missing(self, scene: Scene) -> str:
        """Nothing."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """What is damaged."""
        return "flip", "cut", "identity"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """It must refuse to start, by name; put back as it was, it must start."""
        one = await choose(scene, "follower")
        struck = Struck([one.id])
        await one.end()
        flaw = make_flaw(variant, one.data, one.id, scene.random)
        struck.effects["file"] = flaw.path.name
        struck.effects["offset"] = flaw.offset
        one.start()
        struck.is_shown = await ends_by_itself(one, struck, "damage to its files", (flaw.path.name,))
        await scene.hold(0.5, 3.0)
        if not one.is_alive:
            flaw.mend()
            await starts_again(one, struck, "after its files were put back as they were")
        return struck


class Directory:
    """A directory that is emptied, made anew, copied, or put back from an earlier day."""

    name = "directory"

    def missing(self, scene: Scene) -> str:
        """Nothing."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """What became of it."""
        return "emptied", "made-anew", "copied", "yesterday"

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """It must be refused, by itself or by its peers; the old directory, put back, must serve."""
        cluster = scene.cluster
        one = await choose(scene, "follower")
        struck = Struck([one.id])
        await one.end()
        aside = one.data.with_name(one.data.name + ".aside")
        older = one.data.with_name(one.data.name + ".older")
        if variant == "yesterday":
            shutil.copytree(one.data, older)
            for _ in range(2):  # one start more than the copy would be
                await starts_again(one, struck, "as it was")
                await cluster.wait_serving("a replica to be seen by its peers")
                await one.end()
        one.data.rename(aside)
        one.is_behind_shim = False
        try:
            if variant == "emptied":
                one.data.mkdir()
                one.start()
                named: tuple[str, ...] = ("is empty",)
            elif variant == "made-anew":
                # As if for the first time: only the peers can know better. They look for their peers at other places than
                # this one, and an unborn replica is told that first.
                cluster.write_config(one, {})
                one.start(must_exist=False)
                named = ("was emptied or replaced", "was started with list")
            elif variant == "copied":
                shutil.copytree(aside, one.data)
                one.start()
                named = ("is a copy",)
            else:
                older.rename(one.data)
                one.start(is_moved=True)
                named = ("an older copy",)
            struck.is_shown = await ends_by_itself(one, struck, f"its directory was {variant}", named)
            await scene.hold(0.5, 3.0)
        finally:
            one.kill()
            shutil.rmtree(one.data, ignore_errors=True)
            aside.rename(one.data)
            shutil.rmtree(older, ignore_errors=True)
            one.is_behind_shim = one.shim is not None
            cluster.restore_config(one)
        await starts_again(one, struck, "with its own directory")
        return struck
