"""The nemesis of clocks: the wall clock of a replica jumps, or goes too fast. Nothing may depend on it but what is shown."""

from collections.abc import Sequence
from typing import Final

from multipaxos.torture.nemesis import Scene, Struck, choose

HOUR_NS: Final = 3_600_000_000_000
_JUMPS: Final = {"ahead": HOUR_NS, "behind": -HOUR_NS, "double-rate": 0}


class Clock:
    """Jumps of an hour, and a clock that goes at double rate, of the leader or of another; then back."""

    name = "clock"

    def missing(self, scene: Scene) -> str:
        """The shim shifts it."""
        return scene.shim_missing

    def variants(self, scene: Scene) -> Sequence[str]:
        """Whose clock, and how."""
        return [f"{whose}-{how}" for how in _JUMPS for whose in ("leader", "follower")]

    async def strike(self, scene: Scene, variant: str) -> Struck:
        """Shift it, read back what the replica's own reading was, and put it right."""
        whose, _, how = variant.partition("-")
        one = await choose(scene, whose)
        struck = Struck([one.id])
        assert one.shim is not None
        before = one.shim.counters.clock_reads
        one.shim.shift_clock(_JUMPS[how], 1_000_000 if how == "double-rate" else 0)
        await scene.hold(2.0, 5.0)
        counters = one.shim.counters
        struck.effects["readings"] = counters.clock_reads - before
        struck.effects["difference read back, s"] = round(counters.clock_difference_ns / 1e9, 1)
        struck.is_shown = counters.clock_reads > before and counters.clock_difference_ns != 0
        one.shim.heal()
        return struck
