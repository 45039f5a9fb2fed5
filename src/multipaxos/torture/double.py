"""Two nemeses at once: what neither of two faults does alone, both may do together.

One mistreats the network or a clock, the other one processes; a majority may be gone meanwhile. Knows nothing of either.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from multipaxos.torture.clocks import Clock
from multipaxos.torture.crashes import Kill, Pause, PowerLoss
from multipaxos.torture.nemesis import Nemesis, Scene, Struck
from multipaxos.torture.partitions import Noise, Partition

_SURROUNDINGS: Final[tuple[Nemesis, ...]] = (Partition(), Noise(), Clock())
_PROCESSES: Final[tuple[Nemesis, ...]] = (Kill(), Pause(), PowerLoss())


class Double:
    """A fault of the surroundings and one of processes, struck at one time, each in a variant of its own."""

    name = "double"

    def missing(self, scene: Scene) -> str:
        """Nothing: some pair is always there."""
        return ""

    def variants(self, scene: Scene) -> Sequence[str]:
        """Which two."""
        return [
            f"{one.name}+{other.name}"
            for one in _SURROUNDINGS
            for other in _PROCESSES
            if not one.missing(scene) and not other.missing(scene)
        ]

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Both must show their effect."""
        first, _, second = variant.partition("+")
        pair = [next(each for each in (*_SURROUNDINGS, *_PROCESSES) if each.name == name) for name in (first, second)]
        chosen = [scene.random.choice(list(each.variants(scene))) for each in pair]
        struck = await asyncio.gather(*(each.strike(scene, how) for each, how in zip(pair, chosen, strict=True)))
        both = Struck(sorted({replica for one in struck for replica in one.replicas}))
        both.effects["how"] = ", ".join(chosen)
        for one in struck:
            both.effects.update(one.effects)
            both.complaints += one.complaints
        both.is_shown = all(one.is_shown for one in struck)
        return both
