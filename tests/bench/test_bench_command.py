"""`multipaxos bench` as it is typed, and the table it writes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fake_cluster import FakeCluster, cluster_in_thread
from typer.testing import CliRunner

from multipaxos.bench import table as table_module
from multipaxos.bench.load import LoadResult, LoadSettings
from multipaxos.bench.machine import FilesystemProbe
from multipaxos.bench.table import MemoryResult, Table, markdown_page, median_run
from multipaxos.cli import bench as command


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    monkeypatch.chdir(tmp_path)
    with cluster_in_thread(2) as running:
        yield running


def run(*arguments: str, connect: str = "") -> Any:
    app = typer.Typer(rich_markup_mode=None)
    command.register(app)
    environment = {"COLUMNS": "200", "MULTIPAXOS_CONNECT": connect or None}
    return CliRunner().invoke(app, list(arguments), env=environment)


def test_one_run_in_words_and_as_json(cluster: FakeCluster) -> None:
    quick = ("--sessions", "2", "--depth", "2", "--seconds", "0.2", "--warmup", "0", "--pids", str(os.getpid()))
    result = run(*quick, connect=cluster.connect)
    assert result.exit_code == 0
    assert "errors         none" in result.stdout
    assert "disk           not known" in result.stdout
    assert "us per operation (replica 1 " in result.stdout
    assert "measuring set, 2 sessions x 2 in flight" in result.stderr
    result = run(*quick, "--json", "--op", "get", "--repeat", "2", "--connect", cluster.connect)
    value = json.loads(result.stdout.splitlines()[-1])
    assert (value["op"], value["sessions"], value["depth"], value["errors"], value["repeat"]) == ("get", 2, 2, {}, 2)
    assert value["processes"][0]["rss_bytes"] > 1_000_000
    assert value["disk"] is None


def test_a_running_cluster_is_known_by_its_folder(cluster: FakeCluster, tmp_path: Path) -> None:
    replicas = [
        {"id": number + 1, "process_id": os.getpid(), "client": f"127.0.0.1:{server.port}", "peer": "127.0.0.1:1"}
        for number, server in enumerate(cluster.servers)
    ]
    folder = tmp_path / "multipaxos-data"
    folder.mkdir()
    (folder / "cluster.json").write_text(json.dumps({"replicas": replicas}))
    quick = ("--sessions", "2", "--depth", "2", "--seconds", "0.1", "--warmup", "0", "--json")
    for arguments in (("--cluster", str(folder)), ("--connect", cluster.connect)):
        value = json.loads(run(*quick, *arguments).stdout.splitlines()[-1])
        assert value["disk"]["filesystem"]
        assert value["server_cpu_us_per_op"] is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ("--op", "nonsense"),
        ("--out", "file"),
        ("--pids", "1"),
        ("--pids", "a", "--connect", "x:1"),
        ("--connect", "x:y"),
        ("--sessions", "0"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_what_fails_is_1_with_advice(tmp_path: Path) -> None:
    result = run("--cluster", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert "multipaxos cluster" in json.loads(result.stdout.splitlines()[-1])["error"]
    assert result.stderr.startswith("error: ")


def test_a_table(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "LOADS", ((1, 1), (2, 3)))
    monkeypatch.setattr(table_module.measure_memory, "__defaults__", (200, 100))
    out = tmp_path / "performance.md"
    arguments = (
        "--table",
        "--seconds",
        "0.1",
        "--warmup",
        "0",
        "--pids",
        str(os.getpid()),
        "--connect",
        cluster.connect,
    )
    result = run(*arguments, "--out", str(out), "--json")
    assert result.exit_code == 0
    value = json.loads(result.stdout.splitlines()[-1])
    loads = [(row["sessions"], row["depth"], row["op"]) for row in value["rows"]]
    assert loads == [(1, 1, "set"), (2, 3, "set"), (1, 1, "get"), (2, 3, "get")]
    assert value["memory"]["znodes"] == 200
    page = out.read_text()
    assert page.startswith("# Performance\n")
    assert "| 2 x 3 | get | " in page
    assert "## Memory with 200 znodes of 100 bytes" in page
    assert "fresh cluster" not in page
    printed = run(*arguments).stdout
    assert "| sessions x in flight | op |" in printed


def test_a_page_says_how_it_was_made() -> None:
    row = LoadResult(LoadSettings("set", 64, 64), ["a:1", "b:1", "c:1"], seconds=1.0, operations=1234567)
    row.histogram.add(1_500_000, 1)
    table = Table("multipaxos bench --table", "multipaxos 1", 3, FilesystemProbe("/x", "ext4", 200.0, 900.0), [row])
    table.memory = MemoryResult(1000, 100, {1: 50 << 20}, {1: 51 << 20})
    page = markdown_page(table)
    assert "    multipaxos bench --table\n" in page
    assert "the median of 3 runs each" in page
    assert "ext4; a 4 KiB write with fdatasync takes 200 us in the median, 900 us at p99" in page
    assert "| 64 x 64 | set | 1,234,567 | 1.50 | 1.50 | 1.50 | - | 0.0 | 0 |" in page
    assert "| 1 | 50.0 | 51.0 | 1049 |" in page


def test_the_middle_run_is_reported() -> None:
    runs = [LoadResult(LoadSettings(), [], seconds=1.0, operations=count) for count in (30, 10, 20, 40)]
    assert median_run(runs).operations == 20
    assert median_run(runs[:3]).operations == 20
