"""When Python's cyclic garbage collector runs in a replica: rarely, briefly, and never over the whole tree.

Left alone the collector runs whenever enough objects were made, in the middle of a turn, and every so often it walks all
there are: with a million znodes that is a pause of a second, an election timeout. The hot path makes no cycles, and
what it drops is freed by reference counts without any collector.

So it is switched off, and once a second, if enough new objects have gathered, only those are walked, and what survived
is *frozen*: moved out of the collector's sight for good. Its work follows what is new, not what there is. A frozen
object is still freed when its last reference goes; only a cycle through it is not, and those come from rare paths such as
a broken connection's exception. As long as little is frozen, a full walk takes them too.
"""

import gc
from typing import Final

YOUNG_OBJECTS_MIN: Final = 20_000
FULL_OBJECTS_MAX: Final = 100_000
"""A full walk over so many takes about ten milliseconds."""
FULL_LOOKS: Final = 60


class Collector:
    """Owned by the driver."""

    __slots__ = ("_looks",)

    def __init__(self) -> None:
        self._looks = 0

    def start(self) -> None:
        """Take over, after everything long-lived was made."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def look(self) -> None:
        """Once a second."""
        self._looks += 1
        if self._looks % FULL_LOOKS == 0 and gc.get_freeze_count() <= FULL_OBJECTS_MAX:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        elif gc.get_count()[0] >= YOUNG_OBJECTS_MIN:
            gc.collect(0)
            gc.freeze()

    def stop(self) -> None:
        """Give it back."""
        gc.unfreeze()
        gc.enable()
