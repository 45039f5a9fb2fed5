"""Random worlds: 300 seeds with ZooKeeper clients and the real service, 200 of the core alone.

A seed that fails prints itself and the command that replays it. Seeds that once failed stand in ``seeds.txt``, with a
sentence each, and are run for ever.
"""

from pathlib import Path

import pytest

from multipaxos.sim.campaign import LEADER_CHANGE, CampaignReport, failure_text, run_campaign, run_seed
from multipaxos.sim.scenarios import cut_off_gateway

CLIENT_SEEDS = 300
PLAIN_SEEDS = 200
CHUNK = 100

FAULTS = (
    "chained", "clock drift", "clock jump", "clog", "crash in a start", "emptied directory", "failed sync", "flipped bit",
    "full disk", "hand-over", "hung disk", "lost write", "machine crash", "message delay", "message drop",
    "message duplicate", "message reorder", "misdirected write", "one-way cut", "pause", "pause inside a step",
    "power loss", "process crash", "restart", "slow disk", "slow replica", "split", "stopped with a reason", "suspend",
    "torn write", "two-way cut",
)  # fmt: skip


def run(start: int, is_plain: bool) -> CampaignReport:
    """One chunk of seeds; each must end well."""
    report = run_campaign(start, CHUNK, is_plain)
    assert not report.failures, "\n".join(failure_text(failed) for failed in report.failures)
    return report


@pytest.mark.parametrize("start", list(range(0, CLIENT_SEEDS, CHUNK)))
def test_seeds_with_clients(start: int) -> None:
    report = run(start, is_plain=False)
    # A run in which nothing happens shows nothing.
    told = "\n".join(report.lines())
    assert report.share(LEADER_CHANGE) >= 0.8, told
    assert report.share("a quorum is down") >= 0.3, told
    for fault in ("failed sync", "flipped bit", "torn write"):
        assert report.share(fault) >= 0.12, told
    assert report.totals["answered"] >= 100 * CHUNK
    assert report.share("session resumed") >= 0.5
    for fault in FAULTS:
        assert report.totals.get(fault, 0) > 0, f"no seed saw: {fault}"


@pytest.mark.parametrize("start", list(range(0, PLAIN_SEEDS, CHUNK)))
def test_seeds_of_the_core_alone(start: int) -> None:
    report = run(start, is_plain=True)
    assert report.share(LEADER_CHANGE) >= 0.8
    assert report.share("adoption from a lower ballot") > 0.1
    assert report.share("two leaders at once") > 0.1
    assert report.share("a crash between a write and its sync") > 0.1


def test_every_seed_has_its_share_of_operations() -> None:
    for seed in range(5):
        report = run_seed(seed)
        assert report.counts["answered"] >= 100
        assert report.counts["sessions"] >= 3


def test_a_gateway_that_is_cut_off_misleads_nobody() -> None:
    reports = [cut_off_gateway(seed) for seed in range(10)]
    for report in reports:
        assert not report.is_failed, f"seed {report.seed}: {report.text}"
    # Where nobody was connected to the gateway, nobody had to find another.
    assert sum(1 for report in reports if report.counts["session resumed"]) >= 8


def fixed_seeds() -> list[tuple[int, bool]]:
    """Lines of seeds.txt: the seed, ``plain`` or ``clients``, and why it is kept."""
    found = []
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            seed, kind, _ = line.split(maxsplit=2)
            found.append((int(seed), kind == "plain"))
    return found


@pytest.mark.parametrize("seed,is_plain", fixed_seeds())
def test_seeds_that_once_failed(seed: int, is_plain: bool) -> None:
    report = run_seed(seed, is_plain)
    assert not report.is_failed, failure_text(report)
