"""``/metrics``: what is served is what the catalogue says, and a number that is not known is left out."""

import re
from dataclasses import replace
from pathlib import Path

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from multipaxos.host import metrics
from multipaxos.host.observation import Clock, DiskState, Observation, Peer
from multipaxos.host.observer import Board
from multipaxos.host.samples import Samples
from multipaxos.host.tallies import Tallies

CATALOGUE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
PEER = Peer(2, True, True, 1500, 20, 7, None, 10, "", "", None)


def board(observation: Observation | None = None, tallies: Tallies | None = None) -> Board:
    made = Board(observation or Observation(1, 0))
    made.tallies = tallies or Tallies()
    return made


def served(shown: Board) -> dict[str, float]:
    """Every sample, by name and labels as they are printed."""
    found: dict[str, float] = {}
    for line in generate_latest(metrics.registry_of(shown)).decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def test_the_catalogue_names_what_is_served_and_nothing_else() -> None:
    written = re.findall(r"^\| `(multipaxos_\w+)` ", CATALOGUE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(written) == sorted(metrics.names()) and len(set(written)) == len(written)
    sync = Samples()
    sync.note(1)
    full = board(
        Observation(1, 0, disk=DiskState(free_bytes=1, journal_bytes=1), clock=Clock(1, 1.0, 1), peers=(PEER,)),
        Tallies(round_trips=((2, sync.octaves()),)),
    )
    names = {re.sub(r"\{.*|_(bucket|sum|count)(?=\{|$).*", "", name) for name in served(full)}
    assert {name for name in names if name.startswith("multipaxos_")} == set(metrics.names())


def test_names_and_types_follow_prometheus() -> None:
    families = list(text_string_to_metric_families(generate_latest(metrics.registry_of(board())).decode()))
    for family in families:
        assert family.documentation, family.name
        if family.name.startswith("multipaxos_"):
            assert family.type in ("gauge", "counter", "histogram"), family.name
    counters = {family.name for family in families if family.type == "counter"}
    assert {f"{name}_total" for name in counters if name.startswith("multipaxos_")} == {
        name for name, _, _ in metrics.COUNTERS
    }


def test_values_are_those_of_the_observation() -> None:
    seen = Observation(
        1, 0, state="serving", standing="leader", leader=1, peers=(PEER, replace(PEER, id=3, is_connected=False))
    )
    found = served(board(seen, Tallies(requests=12)))
    assert found["multipaxos_serving"] == found["multipaxos_leading"] == found["multipaxos_leader"] == 1
    assert found['multipaxos_peer_connected{peer="2"}'] == 1
    assert found['multipaxos_peer_connected{peer="3"}'] == 0
    assert found['multipaxos_peer_silence_seconds{peer="2"}'] == 1.5
    assert found["multipaxos_requests_total"] == 12


def test_what_is_not_known_has_no_sample() -> None:
    found = served(board(Observation(1, 0, peers=(replace(PEER, heard_ms_ago=None, applied=None),))))
    for name in ("multipaxos_disk_free_bytes", "multipaxos_journal_bytes", "multipaxos_clock_jump_seconds"):
        assert name not in found
    assert 'multipaxos_peer_connected{peer="2"}' in found
    assert not [name for name in found if name.startswith(("multipaxos_peer_silence", "multipaxos_peer_applied"))]


def test_a_histogram_counts_what_was_noted() -> None:
    samples = Samples()
    durations_ns = [1_000, 90_000, 1_000_000, 2_000_000, 3_000_000_000, 60_000_000_000]
    for duration_ns in durations_ns:
        samples.note(duration_ns)
    found = served(board(tallies=Tallies(sync=samples.octaves())))
    buckets = {
        float(name.partition('le="')[2].rstrip('"}')): value
        for name, value in found.items()
        if name.startswith("multipaxos_sync_seconds_bucket")
    }
    assert len(buckets) > 20
    for bound_s, count in buckets.items():
        assert count == sum(1 for duration_ns in durations_ns if duration_ns / 1e9 < bound_s)
    assert found["multipaxos_sync_seconds_count"] == len(durations_ns)
    assert found["multipaxos_sync_seconds_sum"] == sum(durations_ns) / 1e9
