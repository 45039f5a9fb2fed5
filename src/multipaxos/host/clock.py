"""The clocks of a replica process. Nothing below ``host/`` reads one (rule-R22)."""

import time
from typing import Final

_NS_PER_MS: Final = 1_000_000

# macOS has no boot-time clock of that name; its monotonic one goes on during sleep.
_BOOT_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_ns() -> int:
    """The clock of the core: it goes on while the machine sleeps (rule-R22)."""
    return time.clock_gettime_ns(_BOOT_CLOCK)


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // _NS_PER_MS


def wall_offset_ms() -> int:
    """The wall clock at 0 of the boot-time clock: constant as long as nobody sets the wall clock."""
    return time.time_ns() // _NS_PER_MS - boot_ns() // _NS_PER_MS
