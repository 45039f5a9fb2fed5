"""Torture, short: every nemesis once on real processes; what it must see it sees; Ctrl-C leaves nothing behind."""

import json
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torture_command
from typer.testing import CliRunner

import multipaxos
from multipaxos.sim.judging import judge
from multipaxos.sim.recorded import LEDGER_OPCODES, History, read_history
from multipaxos.torture.accounts import settle
from multipaxos.torture.run import NEMESES
from multipaxos.torture.verdict import UNKNOWN_SHARE_MAX
from multipaxos.wire.zookeeper import OP_GET_DATA

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torture is written for Linux"),
]

PATIENCE_S = 180.0

PER_SECOND_MIN = 40.0
"""On a machine that has much else to do; alone it is several hundred."""


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One round of all nemeses, with what needs no special rights."""
    folder = tmp_path_factory.mktemp("torture") / "run"
    options = ("--seconds", "100", "--rounds", "1", "--network", "proxies", "--seed", "11", "--rate", "400")
    return torture_command.run(folder, *options)


@pytest.fixture(scope="module")
def history(smoke: dict[str, Any]) -> History:
    return read_history(Path(smoke["folder"]) / "history.jsonl")


def test_nothing_is_lost_whatever_strikes(smoke: dict[str, Any]) -> None:
    assert smoke["verdict"] == "ok"
    assert smoke["lost"] == 0 and smoke["violations"] == []
    assert smoke["unknown_share"] < UNKNOWN_SHARE_MAX
    assert smoke["per_second"] >= PER_SECOND_MIN
    assert smoke["sessions_lost_unexplained"] == 0
    assert smoke["leader_changes"] > 0


def test_every_nemesis_shows_its_effect_or_says_what_is_missing(smoke: dict[str, Any]) -> None:
    assert list(smoke["nemeses"]) == [nemesis.name for nemesis in NEMESES]
    for name, found in smoke["nemeses"].items():
        if found["skipped"]:
            assert "C compiler" in found["skipped"], f"{name}: {found['skipped']}"
            assert found["strikes"] == 0
        else:
            assert found["strikes"] == found["shown"] == 1, name
    log = (Path(smoke["folder"]) / "nemeses.jsonl").read_text().splitlines()
    assert len(log) == sum(found["strikes"] for found in smoke["nemeses"].values())


def test_the_folder_is_enough_to_look_at_it_again(smoke: dict[str, Any], history: History) -> None:
    folder = Path(smoke["folder"])
    assert json.loads((folder / "verdict.json").read_text()) == smoke
    page = (folder / "timeline.html").read_text()
    assert not re.search(r"https?://|<script|<link|url\(", page), "the page asks for something outside"
    assert all(f"replica {replica}" in page for replica in (1, 2, 3))
    assert all((folder / "data" / f"replica-{replica}.log").stat().st_size > 0 for replica in (1, 2, 3))
    accounts = settle(history)
    assert (accounts.acknowledged, accounts.lost) == (smoke["acknowledged"], 0)


def test_an_acknowledged_write_that_no_journal_holds_is_missed(history: History) -> None:
    asked = Counter(call.record for call in history.calls if call.opcode in LEDGER_OPCODES)
    slot, index = next(
        (slot, index)
        for call in history.calls
        if call.is_answered and call.err == 0 and call.opcode in LEDGER_OPCODES and call.path
        if call.record and asked[call.record] == 1
        for slot in history.ledger
        for index, command in enumerate(slot.commands)
        if command.endswith(call.record)
    )
    command = slot.commands.pop(index)
    try:
        assert settle(history).lost == 1
        assert judge(history) != []
    finally:
        slot.commands.insert(index, command)
    assert settle(history).lost == 0


def test_a_read_of_what_never_was_is_missed(history: History) -> None:
    call = next(call for call in history.calls if call.opcode == OP_GET_DATA and call.is_answered and call.err == 0)
    body = call.body
    call.body = body[:4] + bytes([body[4] ^ 1]) + body[5:]
    try:
        assert judge(history) != []
    finally:
        call.body = body


def test_a_replica_that_answers_before_its_sync_is_found_out(tmp_path: Path) -> None:
    """A real run against a package with one line changed: what was acknowledged must be missed after a loss of power."""
    if shutil.which("cc") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        pytest.skip("a loss of power needs a C compiler")
    package = tmp_path / "package"
    shutil.copytree(
        Path(multipaxos.__file__).parent, package / "multipaxos", ignore=shutil.ignore_patterns("__pycache__")
    )
    driver = package / "multipaxos" / "host" / "driver.py"
    honest = "            if position <= self._durable:\n"
    text = driver.read_text()
    assert text.count(honest) == 1, "the line this test spoils has changed"
    driver.write_text(text.replace(honest, "            if position >= 0:\n"))
    options = ("--seconds", "60", "--rounds", "2", "--nemesis", "power-loss", "--seed", "5", "--network", "proxies")
    verdict = torture_command.run(tmp_path / "run", *options, package=package, code=1)
    assert verdict["verdict"] == "bad"
    assert verdict["lost"] > 0
    assert any(text.startswith("I8") for text in verdict["violations"])


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = torture_command.start(folder, "--seconds", "60", "--nemesis", "pause", "--seed", "1")
    try:
        deadline = time.monotonic() + PATIENCE_S
        pids: list[int] = []
        while not any(_state_of(pid) == "T" for pid in pids):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "no replica was ever paused"
            pids = _replicas_in(folder)
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, progress = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, progress
    assert "interrupted; nothing of it runs any more" in progress
    assert len(pids) == 3 and torture_command.processes_of(folder) == []
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()


def test_a_killed_torture_takes_its_paused_replicas_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = torture_command.start(folder, "--seconds", "60", "--nemesis", "pause", "--seed", "1")
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not any(_state_of(pid) == "T" for pid in _replicas_in(folder)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while torture_command.processes_of(folder):
            assert time.monotonic() < deadline, "a replica outlives the run"
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()


def _replicas_in(folder: Path) -> list[int]:
    try:
        state = json.loads((folder / "data" / "cluster.json").read_text())
    except FileNotFoundError:
        return []
    return [one["process_id"] for one in state["replicas"] if one["process_id"]]


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--replicas", "4"), "neither 3 nor 5"),
        (("--nemesis", "earthquake"), "earthquake"),
        (("--network", "carrier-pigeon"), "carrier-pigeon"),
    ],
)
def test_wrong_options_are_said(options: tuple[str, ...], named: str) -> None:
    found = CliRunner().invoke(torture_command.application(), list(options))
    assert found.exit_code == 2
    assert named in found.output


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = CliRunner().invoke(torture_command.application(), ["--folder", str(tmp_path), "--json"])
    assert found.exit_code == 1
    assert "is not empty" in found.output
