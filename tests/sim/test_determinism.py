"""One seed, one run: the digest over every input, message, record, applied slot and reason is the same every time, also
under another hash seed of Python, and a recorded trace reads back."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multipaxos.sim.campaign import keep_failure, replay, run_seed
from multipaxos.sim.recording import Recording
from multipaxos.trace import SCHEMA, parse_line

SEEDS = [1, 2, 3]


def digest(seed: int, is_plain: bool) -> str:
    recording = Recording(False)
    report = run_seed(seed, is_plain, recording)
    assert not report.is_failed
    return recording.digest()


@pytest.mark.parametrize("is_plain", [False, True], ids=["clients", "plain"])
def test_the_same_twice_and_under_another_hash_seed(is_plain: bool) -> None:
    here = [digest(seed, is_plain) for seed in SEEDS]
    assert [digest(seed, is_plain) for seed in SEEDS] == here
    program = (
        "from multipaxos.sim.campaign import run_seed\n"
        "from multipaxos.sim.recording import Recording\n"
        f"for seed in {SEEDS}:\n"
        "    recording = Recording(False)\n"
        f"    run_seed(seed, {is_plain}, recording)\n"
        "    print(recording.digest())\n"
    )
    for hash_seed in ("1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == here


def test_listening_changes_nothing() -> None:
    """Notes cost time, never a decision: a run that is recorded is the run that is not."""
    quiet = run_seed(5)
    told = run_seed(5, recording=Recording(True))
    assert quiet.counts == told.counts


def test_other_seeds_are_other_runs() -> None:
    assert len({digest(seed, True) for seed in range(6)}) == 6


def test_a_trace_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    again = replay("7", is_plain=True, trace=path)
    assert not again.report.is_failed
    lines: list[dict[str, Any]] = [dict(parse_line(line)) for line in path.read_text().splitlines()]
    header, events = lines[0], lines[1:]
    assert header["schema"] == SCHEMA
    assert header["seed"] == 7
    assert [event["i"] for event in events] == list(range(len(events)))
    times = [event["t"] for event in events]
    assert times == sorted(times)
    causes = [(event["i"], cause) for event in events for cause in event["cause"]]
    assert causes
    assert all(cause < index for index, cause in causes)
    rules = {why["rule"] for event in events for why in event["why"]}
    assert {"leader.begin", "leader.chosen", "apply.birth", "acceptor.accept.vote"} <= rules
    facts = [fact for event in events for fact in event["facts"]]
    assert "chosen 1" in facts


def test_the_file_of_a_failure_replays(tmp_path: Path) -> None:
    report = run_seed(9, is_plain=True)
    path = keep_failure(report, tmp_path / "failures")
    assert replay(str(path)).differs == ""
    assert replay(str(path), is_original=True).differs == ""
    value = json.loads(path.read_text())
    value["shrunk"]["digest"] = "0"
    path.write_text(json.dumps(value))
    assert "digest" in replay(str(path)).differs
    with pytest.raises(ValueError, match="no seed and no file"):
        replay(str(tmp_path / "missing.json"))
