"""Lossy links between simulated replicas, and what a replica hears about its connections.

Every directed link has a random source of its own, so that a change of traffic on one does not reshuffle the others. A
message is dropped, delayed, duplicated or overtakes others as the rates of this run say; a link can be cut (what is sent
is lost) or clogged (what is sent is held and arrives together). With all rates at 0 a link is what TCP gives: ordered,
once, after a delay.

Knows nothing of what a message says and of time passing: it answers when a message should arrive (``world.py`` does it).
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from multipaxos.core.ballot import ReplicaId

MICROSECOND_NS = 1_000
MILLISECOND_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class LinkRates:
    """How unkind the links of one run are."""

    delay_min_ns: int = 100 * MICROSECOND_NS
    delay_max_ns: int = 1_000 * MICROSECOND_NS
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # share of messages that wait for long and let later ones pass
    late_max_ns: int = 50 * MILLISECOND_NS  # how long such a message may wait


PERFECT = LinkRates()


class Link:
    """One direction between two replicas."""

    __slots__ = ("held", "is_clogged", "is_cut", "last_arrival", "random")

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.is_cut = False
        self.is_clogged = False
        self.held: list[tuple[int, Any]] = []  # (life of the receiver, payload): waits for the clog to end, in order
        self.last_arrival = 0


class Network:
    """All links of a world and the fault counters."""

    __slots__ = ("_links", "counts", "rates")

    def __init__(self, seed: int, replicas: tuple[ReplicaId, ...], rates: LinkRates) -> None:
        self.rates = rates
        self.counts = {"drop": 0, "duplicate": 0, "delay": 0, "reorder": 0, "cut": 0}
        self._links: dict[tuple[ReplicaId, ReplicaId], Link] = {}
        for sender in replicas:
            for to in replicas:
                if sender != to:
                    self._links[sender, to] = Link((seed << 20) + sender * 1009 + to)

    def link(self, sender: ReplicaId, to: ReplicaId) -> Link:
        """The link from ``sender`` to ``to``."""
        return self._links[sender, to]

    def arrivals(self, sender: ReplicaId, to: ReplicaId, now: int) -> list[int]:
        """When a message sent ``now`` arrives: never, once or twice."""
        return self.arrivals_on(self._links[sender, to], now)

    def arrivals_on(self, link: Link, now: int) -> list[int]:
        """The same, of a link at hand."""
        rates = self.rates
        random = link.random
        if link.is_cut:
            self.counts["cut"] += 1
            return []
        if rates.drop > 0.0 and random.random() < rates.drop:
            self.counts["drop"] += 1
            return []
        base = rates.delay_min_ns
        at = now + base + int((rates.delay_max_ns - base) * random.random())
        if rates.reorder > 0.0 and random.random() < rates.reorder:
            # It neither waits for those before it nor holds up those behind it.
            self.counts["reorder"] += 1
            at += int(rates.late_max_ns * random.random())
        else:
            if at - now > 5 * MILLISECOND_NS:
                self.counts["delay"] += 1
            if at < link.last_arrival:
                at = link.last_arrival
            link.last_arrival = at
        if rates.duplicate > 0.0 and random.random() < rates.duplicate:
            self.counts["duplicate"] += 1
            return [at, at + int(rates.late_max_ns * random.random())]
        return [at]

    def cut(self, sender: ReplicaId, to: ReplicaId) -> None:
        """Lose all that ``sender`` sends to ``to`` from now on."""
        self._links[sender, to].is_cut = True

    def mend(self, sender: ReplicaId, to: ReplicaId) -> list[tuple[int, Any]]:
        """End a cut or a clog; returns what was held, to be delivered now."""
        link = self._links[sender, to]
        link.is_cut = False
        link.is_clogged = False
        held = link.held
        link.held = []
        return held

    def clog(self, sender: ReplicaId, to: ReplicaId) -> None:
        """Hold all that ``sender`` sends to ``to`` from now on."""
        self._links[sender, to].is_clogged = True

    def is_open(self, sender: ReplicaId, to: ReplicaId) -> bool:
        """Whether messages pass from ``sender`` to ``to``."""
        link = self._links[sender, to]
        return not link.is_cut and not link.is_clogged
