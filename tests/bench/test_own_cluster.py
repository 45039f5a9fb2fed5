"""`multipaxos bench` with replicas of its own: real processes, really stopped, nothing left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multipaxos.bench.cluster import choose_folder
from multipaxos.bench.load import BenchError

pytestmark = [pytest.mark.processes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        choose_folder(str(tmp_path))
    except BenchError as error:
        pytest.skip(f"needs a temporary folder on a disk: {error}")
    return tmp_path


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The command at work; when the test fails it is killed, and its replicas end with it."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "multipaxos",
            "bench",
            "--temp",
            str(folder),
            "--sessions",
            "3",
            "--depth",
            "2",
            *arguments,
        ],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "MULTIPAXOS_CONNECT"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_measures_three_replicas_and_takes_them_away(folder: Path) -> None:
    with started(folder, "--seconds", "0.5", "--warmup", "0.1", "--json") as process:
        out, err = process.communicate(timeout=240)
    value = json.loads(out.splitlines()[-1])
    assert value["errors"] == {}, err
    assert value["ops_per_second"] > 0
    assert len(value["connect"]) == len(value["processes"]) == 3
    assert value["server_cpu_us_per_op"] > 0
    assert value["disk"]["filesystem"]
    assert all(process["rss_bytes"] > 1_000_000 for process in value["processes"])
    assert not any(is_running(process["pid"]) for process in value["processes"])
    assert list(folder.iterdir()) == []


def test_an_interrupt_stops_the_replicas_too(folder: Path) -> None:
    with started(folder, "--seconds", "100") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("measuring"):
                break
        (made,) = folder.glob("multipaxos-bench-*")
        state = json.loads((made / "data" / "cluster.json").read_text())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert not any(is_running(replica["process_id"]) for replica in state["replicas"])
    assert list(folder.iterdir()) == []
