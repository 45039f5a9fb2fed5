"""Results are kept by the code they speak of, survive a torn line, and add up."""

import json
from pathlib import Path

import pytest

from multipaxos.evidence import store as store_module
from multipaxos.evidence.store import Store, source_hash
from multipaxos.sim.campaign import CampaignReport, run_campaign


def test_a_result_reads_back_and_the_later_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.results("seeds") == {}
    store.add("seeds", "0-9", {"seeds": 10})
    store.add("seeds", "10-19", {"seeds": 9})
    store.add("seeds", "10-19", {"seeds": 10})
    assert store.results("seeds") == {"0-9": {"seeds": 10}, "10-19": {"seeds": 10}}
    assert store.results("torture") == {}


def test_a_torn_line_is_done_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add("seeds", "0-9", {"seeds": 10})
    with store.path("seeds").open("a") as file:
        file.write('{"key":"10-19","res')
    assert list(store.results("seeds")) == ["0-9"]
    store.add("seeds", "20-29", {"seeds": 10})
    assert list(store.results("seeds")) == ["0-9", "20-29"]


def test_other_code_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.add("seeds", "0-9", {"seeds": 10})
    monkeypatch.setattr(store_module, "source_hash", lambda kind: "0" * 12)
    assert store.results("seeds") == {}


def test_the_hash_is_over_the_packages_of_the_kind() -> None:
    assert source_hash("seeds") == source_hash("plain-seeds")
    assert source_hash("seeds") != source_hash("storage")
    with pytest.raises(KeyError):
        source_hash("dreams")


def test_pieces_of_a_campaign_add_up_to_the_whole() -> None:
    whole = run_campaign(0, 6, is_plain=True)
    sum_of_pieces = CampaignReport()
    for first in (0, 2, 4):
        piece = run_campaign(first, 2, is_plain=True)
        sum_of_pieces.merge(json.loads(json.dumps(piece.value())))
    one, other = whole.value(), sum_of_pieces.value()
    for timing in ("seconds",):
        del one[timing], other[timing]
    assert one == other
