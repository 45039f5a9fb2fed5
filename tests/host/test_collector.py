"""The collector of a replica looks at what is new only, and still finds cycles there."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from multipaxos.host import collector
from multipaxos.host.collector import Collector


class Knot:
    """An object that holds on to itself."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture
def running() -> Iterator[Collector]:
    one = Collector()
    one.start()
    yield one
    one.stop()
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_it_runs_only_when_enough_is_new(running: Collector) -> None:
    assert not gc.isenabled()
    gone = weakref.ref(Knot())
    running.look()
    assert gone() is not None
    kept = [[] for _ in range(collector.YOUNG_OBJECTS_MIN)]
    running.look()
    assert gone() is None
    assert gc.get_freeze_count() >= len(kept)
    frozen = gc.get_freeze_count()
    running.look()
    assert gc.get_freeze_count() == frozen, "nothing new, nothing walked"


def test_a_full_walk_now_and_then_while_little_is_frozen(running: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "FULL_OBJECTS_MAX", 1 << 40)
    knot = Knot()
    gone = weakref.ref(knot)
    gc.freeze()
    del knot
    for _ in range(collector.FULL_LOOKS):
        running.look()
    assert gone() is None
