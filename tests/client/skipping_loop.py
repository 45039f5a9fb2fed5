"""An event loop whose clock a test puts forward: what ends by a time-out ends at once, however long it is.

So a test gives what must succeed all the time a busy machine may need, and still waits for nothing that must fail.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class SkippingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with a clock that can be put forward."""

    def __init__(self) -> None:
        self._skipped_s = 0.0
        super().__init__()

    def time(self) -> float:
        return super().time() + self._skipped_s

    def skip(self, seconds: float) -> None:
        """So much later it is. What is due by then runs in the next turns of the loop."""
        self._skipped_s += seconds


def run_skipping(main: Callable[[Callable[[float], None]], Coroutine[Any, Any, None]]) -> None:
    """Runs a test that is given ``skip``."""
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SkippingLoop)
        runner.run(main(loop.skip))
