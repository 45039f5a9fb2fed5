"""``/metrics``: the catalogue of names, and the numbers for them out of the last observation and the tallies.

One table per kind: a metric is a name, what it means, and how it is read. A number that is not known now has no sample, so
a graph has a gap there and not a zero. The histograms' bounds are powers of two nanoseconds, since that is how durations
are kept (``samples.py``): nothing is lost between there and here, and a scrape costs no walk over samples.

Names end in their unit, in Prometheus's way; ``docs/metrics.md`` explains each, and a test compares it with this. Runs on
the admin thread, and is imported there only.
"""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from multipaxos.host.clock import wall_ms
from multipaxos.host.observation import SERVING, Observation, Peer
from multipaxos.host.observer import Board
from multipaxos.host.samples import Octaves
from multipaxos.host.tallies import Tallies

FIRST_OCTAVE: Final = 14  # 2**14 ns, 16 microseconds
LAST_OCTAVE: Final = 35  # 34 seconds; an election is over long before

Gauge = tuple[str, str, Callable[[Observation], float | int | None]]
PeerGauge = tuple[str, str, Callable[[Peer], float | int | None]]
Count = tuple[str, str, Callable[[Tallies], int]]

GAUGES: Final[tuple[Gauge, ...]] = (
    ("multipaxos_serving", "1 while this replica serves clients", lambda seen: seen.state == SERVING),
    ("multipaxos_leading", "1 while this replica leads", lambda seen: seen.standing == "leader"),
    ("multipaxos_leader", "Id of the leader followed, 0 for none", lambda seen: seen.leader),
    ("multipaxos_epoch", "Epoch as of the applied slot", lambda seen: seen.epoch),
    ("multipaxos_applied_slot", "Highest slot executed here", lambda seen: seen.slots.applied),
    ("multipaxos_chosen_slot", "Highest slot known chosen with all below it", lambda seen: seen.slots.chosen_prefix),
    ("multipaxos_behind_slots", "Slots known to be chosen and not executed here", lambda seen: seen.slots.behind),
    ("multipaxos_voters", "Voters of the newest configuration", lambda seen: len(seen.configuration.voters)),
    ("multipaxos_voters_reachable", "Voters reached now, this one included", lambda seen: len(seen.quorum.reachable)),
    ("multipaxos_voters_lagging", "Reachable voters not counted on", lambda seen: len(seen.quorum.lagging)),
    ("multipaxos_quorum_size", "Voters that make an accept quorum", lambda seen: seen.quorum.size),
    (
        "multipaxos_failures_survivable",
        "Voters that may fail now with a quorum remaining, -1 where one is missing",
        lambda seen: seen.quorum.failures_survivable,
    ),
    ("multipaxos_journal_queue_bytes", "Appended and not durable", lambda seen: seen.disk.queue_bytes),
    (
        "multipaxos_journal_oldest_write_seconds",
        "Age of the oldest write that is not durable",
        lambda seen: seen.disk.writing_for_ms / 1000,
    ),
    ("multipaxos_journal_bytes", "Bytes of the files of the data directory", lambda seen: seen.disk.journal_bytes),
    ("multipaxos_disk_free_bytes", "Free bytes on the disk of the journal", lambda seen: seen.disk.free_bytes),
    ("multipaxos_disk_full", "1 while the next journal segment cannot be made", lambda seen: seen.disk.full),
    ("multipaxos_connections", "Client connections here", lambda seen: seen.clients.connections),
    ("multipaxos_sessions", "Sessions of the cluster", lambda seen: seen.clients.sessions),
    ("multipaxos_watches", "Watches held here", lambda seen: seen.clients.watches),
    ("multipaxos_znodes", "Znodes", lambda seen: seen.clients.znodes),
    ("multipaxos_ephemerals", "Ephemeral znodes", lambda seen: seen.clients.ephemerals),
    ("multipaxos_data_bytes", "Bytes of all paths and data", lambda seen: seen.clients.data_bytes),
    ("multipaxos_requests_outstanding", "Received and not answered", lambda seen: seen.clients.outstanding),
    (
        "multipaxos_loop_lag_seconds",
        "How late the loop's timer was at worst in the last 10 s",
        lambda seen: seen.loop.lag_ms.max_10s / 1000,
    ),
    (
        "multipaxos_loop_longest_lag_seconds",
        "The same since the start",
        lambda seen: seen.loop.longest_stall_ms / 1000,
    ),
    (
        "multipaxos_clock_jump_seconds",
        "The last jump of the wall clock, forward positive",
        lambda seen: None if seen.clock.last_jump_ms is None else seen.clock.last_jump_ms / 1000,
    ),
    (
        "multipaxos_clock_against_leader_seconds",
        "This wall clock minus the leader's, the way of a decree included",
        lambda seen: None if seen.clock.against_leader_ms is None else seen.clock.against_leader_ms / 1000,
    ),
    ("multipaxos_uptime_seconds", "Since this process started", lambda seen: seen.uptime_s),
    (
        "multipaxos_observation_age_seconds",
        "Age of what is served here: above 2 the loop stands still",
        lambda seen: max(0, wall_ms() - seen.at_ms) / 1000,
    ),
)

PEER_GAUGES: Final[tuple[PeerGauge, ...]] = (
    ("multipaxos_peer_connected", "1 while what is sent reaches the peer", lambda peer: peer.is_connected),
    (
        "multipaxos_peer_silence_seconds",
        "Since the peer said something; two followers have nothing to say to each other",
        lambda peer: None if peer.heard_ms_ago is None else peer.heard_ms_ago / 1000,
    ),
    ("multipaxos_peer_queue_bytes", "Bytes that wait for the peer to read", lambda peer: peer.queue_bytes),
    ("multipaxos_peer_applied_slot", "Highest slot it executed, known to the leader", lambda peer: peer.applied),
)

COUNTERS: Final[tuple[Count, ...]] = (
    ("multipaxos_leader_changes_total", "Changes of leadership seen", lambda counted: counted.leader_changes),
    ("multipaxos_turns_total", "Turns of the loop", lambda counted: counted.turns),
    ("multipaxos_journal_durable_bytes_total", "Bytes of records made durable", lambda counted: counted.journal_bytes),
    ("multipaxos_requests_total", "Requests received from clients", lambda counted: counted.requests),
    ("multipaxos_replies_total", "Replies and events sent to clients", lambda counted: counted.replies),
    ("multipaxos_messages_sent_total", "Messages to peers", lambda counted: counted.messages_sent),
    ("multipaxos_messages_received_total", "Messages from peers", lambda counted: counted.messages_received),
    ("multipaxos_messages_dropped_total", "Messages lost before the network", lambda counted: counted.messages_dropped),
    ("multipaxos_sent_bytes_total", "Bytes to peers", lambda counted: counted.sent_bytes),
    ("multipaxos_received_bytes_total", "Bytes from peers", lambda counted: counted.received_bytes),
)

HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[Tallies], Octaves]], ...]] = (
    ("multipaxos_sync_seconds", "One flush of the journal, write and sync", lambda counted: counted.sync),
    ("multipaxos_commit_seconds", "From a turn that took writes in until they are applied", lambda counted: counted.commit),
    ("multipaxos_apply_seconds", "What one turn spent on executing slots", lambda counted: counted.apply),
)  # fmt: skip

STALLED: Final = ("multipaxos_loop_stalled_seconds", "For how long the loop has not turned, 0 while it does")
ROUND_TRIP: Final = ("multipaxos_peer_round_trip_seconds", "Between leader and follower, there and back")
INFO: Final = ("multipaxos_info", "Replica, cluster and version, as labels")


def names() -> list[str]:
    """Every name of the catalogue, in the order in which they are served."""
    tables: list[tuple[str, ...]] = [INFO, STALLED, ROUND_TRIP]
    found = [row[0] for row in tables]
    found += [gauge[0] for gauge in GAUGES] + [gauge[0] for gauge in PEER_GAUGES]
    return found + [count[0] for count in COUNTERS] + [histogram[0] for histogram in HISTOGRAMS]


def registry_of(board: Board) -> CollectorRegistry:
    """What ``generate_latest`` is given: the replica's metrics, and the process's own (``process_*``)."""
    registry = CollectorRegistry()
    registry.register(_Numbers(board))
    ProcessCollector(registry=registry)
    return registry


class _Numbers(Collector):
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        """All families, from one observation and one set of tallies."""
        board = self._board
        seen, counted = board.observation, board.tallies
        identity = {"replica": str(seen.replica), "cluster": seen.cluster, "version": seen.version}
        yield InfoMetricFamily(INFO[0].removesuffix("_info"), INFO[1], identity)
        yield GaugeMetricFamily(*STALLED, value=board.stalls.stalled_for_ms() / 1000)
        for name, text, value_of in GAUGES:
            gauge = GaugeMetricFamily(name, text)
            _add(gauge, [], value_of(seen))
            yield gauge
        for name, text, peer_value_of in PEER_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["peer"])
            for peer in seen.peers:
                _add(gauge, [str(peer.id)], peer_value_of(peer))
            yield gauge
        for name, text, count_of in COUNTERS:
            yield CounterMetricFamily(name, text, value=count_of(counted))
        for name, text, octaves_of in HISTOGRAMS:
            yield _histogram(name, text, [], [([], octaves_of(counted))])
        trips = [([str(peer)], octaves) for peer, octaves in counted.round_trips]
        yield _histogram(*ROUND_TRIP, ["peer"], trips)


def _add(gauge: GaugeMetricFamily, labels: list[str], value: float | int | None) -> None:
    if value is not None:
        gauge.add_metric(labels, value)


def _histogram(name: str, text: str, labels: list[str], rows: list[tuple[list[str], Octaves]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, octaves in rows:
        buckets = [(str(2**n / 1e9), float(octaves.below[n])) for n in range(FIRST_OCTAVE, LAST_OCTAVE + 1)]
        buckets.append(("+Inf", float(octaves.count)))
        family.add_metric(values, buckets=buckets, sum_value=octaves.total_ns / 1e9)
    return family
