"""The page says what the results say, and of what was not run that it was not run."""

from pathlib import Path
from typing import Any

from multipaxos.evidence.campaign import Part, parts, run_part
from multipaxos.evidence.page import NOT_RUN, page
from multipaxos.evidence.store import Store, source_hash
from multipaxos.sim.campaign import run_campaign


def test_nothing_run_is_said_for_every_claim(tmp_path: Path) -> None:
    text = page(Store(tmp_path))
    assert text.count(NOT_RUN) >= 12
    assert "0 violations" not in text


def test_results_stand_on_the_page(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for first in (0, 4):
        store.add("plain-seeds", f"{first}-{first + 3}", run_campaign(first, 4, is_plain=True).value())
    store.add("storage", "operations 1", {"command": "C", "points": 11, "states": 1234, "violations": 0, "wall_s": 2.0})
    row: dict[str, Any] = {"name": "anchor-T5", "model": "lamport-paxos", "sizes": {"acceptors": 3}, "guard": "g"}
    counts = {"published": [3921, 23563, 17], "here": [3921, 23563, 17], "without_guard": [9, 9, 9], "agrees": True}
    store.add("explore", "anchors", {"anchors": [row | counts], "deaths": []})
    store.add("tests", "parts", {"parts": {"core": {"tests": 88, "seconds": 60.0}}, "wall_s": 120.0})
    text = page(store)
    assert "8 seeds of code" in text
    assert "1,234" in text
    assert "3,921 / 23,563 / 17" in text
    assert "1 of 1 published counts and deaths exactly" in text
    assert "| core | 88 | 1.00 |" in text
    assert "2.0 minutes" in text
    assert f"| plain-seeds | `{source_hash('plain-seeds')}` |" in text
    assert list(store.machines("plain-seeds").values()) == [2]
    assert "interpreted |" in text or "compiled |" in text


def test_the_page_names_the_very_seeds_and_the_leanest_stretch_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = run_campaign(0, 2, is_plain=True).value()
    for first, struck in ((30_000, 3_000), (0, 1_000), (5_000, 3_000), (10_000, 3_000)):
        sums = one["sums"] | {"seeds_with": {"leader change": struck}, "totals": {"leader change": 7_000}}
        piece = one | {"seeds": 5_000, "sums": sums}
        store.add("plain-seeds", f"{first}-{first + 4_999}", piece)
    text = page(store)
    assert "`multipaxos verify seeds --plain --start 0 --count 15000 --jobs 2`, `" in text
    assert "`multipaxos verify seeds --plain --start 30000 --count 5000 --jobs 2`: 20,000 seeds" in text
    assert "| leader change | 28,000 | 50.0 % | 40.0 % |" in text  # of all 20,000; of the first 10,000


def test_results_of_other_code_stand_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add("torture", "3 replicas", {"acknowledged": 1234, "lost": 0, "violations": [], "exit_status": 0})
    store.path("torture").rename(tmp_path / "torture-0123456789ab.jsonl")
    assert store.results("torture") == {} and list(store.earlier("torture")) == ["0123456789ab"]
    text = page(store)
    assert "| torture | `0123456789ab` | 1 runs, 1,234 acknowledged operations | 0 | 0 |" in text
    assert "Earlier code" not in page(Store(tmp_path / "empty"))


def test_a_part_runs_once_and_a_failing_one_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    told: list[str] = []
    quick = Part("storage", "operations 0", ("storage", "--operations", "0", "--json"))
    assert run_part(quick, store, told.append)
    result = store.results("storage")["operations 0"]
    assert result["exit_status"] == 0 and result["violations"] == 0
    assert result["command"] == "multipaxos verify storage --operations 0 --json"
    assert run_part(quick, store, told.append)
    assert told[-1].startswith("done before")
    assert not run_part(Part("storage", "wrong", ("storage", "--operations", "many")), store, told.append)
    assert "without a JSON line" in told[-1]
    assert list(store.results("storage")) == ["operations 0"]


def test_every_part_has_a_kind_and_a_name_of_its_own(tmp_path: Path) -> None:
    found = parts(tmp_path, 2)
    assert len({(part.kind, part.key) for part in found}) == len(found)
    assert {part.kind for part in found} == {"explore", "storage", "mutants", "torture", "plain-seeds", "seeds"}
    for part in found:
        assert store_knows(part.kind)
        assert part.arguments[-1] == "--json"


def store_knows(kind: str) -> bool:
    return Store(Path("nowhere")).path(kind).name.startswith(f"{kind}-")
