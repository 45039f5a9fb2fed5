"""Nemeses of the network: replicas cut off from each other, in whole and one way, and links that mistreat what they carry."""

from collections.abc import Sequence
from typing import Final

from multipaxos.torture.nemesis import Scene, Struck
from multipaxos.torture.proxy import NO_FAULT, Fault

Cut = tuple[int, int]
"""From whom nothing reaches whom."""


def both_ways(some: Sequence[int], others: Sequence[int]) -> list[Cut]:
    """Nobody of the ones and nobody of the others reach each other."""
    return [cut for one in some for other in others for cut in ((one, other), (other, one))]


def cuts_of(variant: str, leader: int, others: Sequence[int]) -> list[Cut]:
    """The cuts of a partition. ``others`` stand in random order."""
    everybody = [leader, *others]
    if variant == "isolate-leader":
        return both_ways([leader], others)
    if variant == "isolate-follower":
        return both_ways([others[0]], [one for one in everybody if one != others[0]])
    if variant == "halves":
        minority = everybody[: (len(everybody) - 1) // 2]
        return both_ways(minority, [one for one in everybody if one not in minority])
    if variant == "bridge":
        # Two sides that do not reach each other, the leader in one of them, and one replica that reaches both.
        half = len(others) // 2
        return both_ways([leader, *others[1:half]], others[half:])
    if variant == "ring":
        # Each reaches its two neighbours only. Of five that is a majority for everybody, and another one for each.
        count = len(everybody)
        return [
            (everybody[i], everybody[j])
            for i in range(count)
            for j in range(count)
            if i != j and (i - j) % count not in (1, count - 1)
        ]
    if variant == "leader-mute":
        return [(leader, other) for other in others]
    if variant == "leader-deaf":
        return [(other, leader) for other in others]
    assert variant == "one-link", variant
    return [(leader, others[0])]


class Partition:
    """Packets are dropped where they leave, by a rule that counts them; without root the proxies hold the bytes."""

    name = "partition"

    def missing(self, scene: Scene) -> str:
        """Nothing: proxies are always there."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """Which cuts. A ring of three cuts nobody off, and half of three is one."""
        found = ["isolate-leader", "leader-mute", "bridge", "leader-deaf", "one-link", "isolate-follower"]
        return [*found, "halves", "ring"] if len(scene.cluster.replicas) > 3 else found

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Cut, look whether anybody still gets through, hold, mend."""
        cluster = scene.cluster
        leader = (await cluster.leader()).id
        others = [one for one in cluster.replicas if one != leader]
        scene.random.shuffle(others)
        cuts = cuts_of(variant, leader, others)
        struck = Struck(sorted({one for cut in cuts for one in cut}))
        before = {pair: (link.counts.held, link.counts.dials_unanswered) for pair, link in cluster.links.items()}
        for source, target in cuts:
            cluster.cut(source, target)
        if cluster.fabric is not None:
            struck.effects["by"] = cluster.fabric.dropper.name
            source, target = cuts[0]
            struck.effects["probes refused"] = int(not await cluster.reaches(source, target))
        await scene.hold(2.0, 6.0)
        dropped = cluster.heal_cuts()
        held = sum(link.counts.held - before[pair][0] for pair, link in cluster.links.items())
        unanswered = sum(link.counts.dials_unanswered - before[pair][1] for pair, link in cluster.links.items())
        if cluster.fabric is None:
            struck.effects["by"] = "proxies"
            struck.effects["pieces held"] = held
        elif dropped >= 0:
            struck.effects["packets dropped"] = dropped
        struck.effects["dials unanswered"] = unanswered
        struck.effects["cuts"] = len(cuts)
        struck.is_shown = dropped > 0 or held > 0 or bool(struck.effects.get("probes refused", 0))
        return struck


NOISES: Final = {
    "delay": Fault(delay_s=(0.0, 0.08)),
    "long-delay": Fault(delay_s=(0.1, 0.4)),
    "break": Fault(break_share=0.05),
    "drip": Fault(drip_bytes=40),
    "garble": Fault(garble_share=0.05),
    "stall": Fault(is_held=True),
}


class Noise:
    """Links that delay, break in the midst of a frame, drip, garble, and hold what they were given for a while."""

    name = "noise"

    def missing(self, scene: Scene) -> str:
        """Nothing."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """What is done to the bytes."""
        return tuple(NOISES)

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """All links of one replica, or all links."""
        cluster = scene.cluster
        victim = scene.random.choice(list(cluster.replicas))
        is_everywhere = variant not in ("stall", "long-delay") and scene.random.random() < 0.6
        links = [link for pair, link in cluster.links.items() if is_everywhere or victim in pair]
        struck = Struck([] if is_everywhere else [victim])
        before = [_counts(link.counts) for link in links]
        for link in links:
            link.set_fault(NOISES[variant], NOISES[variant])
        await scene.hold(2.0, 6.0)
        for link in links:
            link.set_fault(NO_FAULT, NO_FAULT)
        for name in _SEEN:
            seen = sum(_counts(link.counts)[name] - then[name] for link, then in zip(links, before, strict=True))
            if seen:
                struck.effects[name] = seen
        struck.is_shown = _SHOWS[variant] in struck.effects
        return struck


_SEEN: Final = ("delayed", "broken", "dripped", "garbled", "held", "given up")
_SHOWS: Final = {
    "delay": "delayed",
    "long-delay": "delayed",
    "break": "broken",
    "drip": "dripped",
    "garble": "garbled",
    "stall": "held",
}


def _counts(counts: object) -> dict[str, int]:
    return {name: int(getattr(counts, name.replace(" ", "_"))) for name in _SEEN}
