"""put, get, ls, rm, watch and status as they are typed: words, exit codes, JSON."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import pytest
import typer
from fake_cluster import FakeCluster, cluster_in_thread, same_to_all, words
from typer.testing import CliRunner

from multipaxos.cli import client as commands
from multipaxos.cli import status


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with cluster_in_thread(3) as running:
        yield running


def run(cluster: FakeCluster, *arguments: str, stdin: bytes = b"", connect: str | None = None) -> Any:
    """Type a command."""
    app = typer.Typer(rich_markup_mode=None)
    commands.register(app)
    status.register(app)
    environment = {"MULTIPAXOS_CONNECT": cluster.connect if connect is None else connect, "COLUMNS": "200"}
    return CliRunner().invoke(app, list(arguments), input=stdin, env=environment)


def last_json(result: Any) -> Any:
    """The object on the last line."""
    return json.loads(result.stdout.splitlines()[-1])


def test_put_get_ls_rm(cluster: FakeCluster) -> None:
    assert run(cluster, "put", "/a", "hello").stdout == "/a is at version 0\n"
    assert run(cluster, "put", "/a", "there").stdout == "/a is at version 1\n"
    assert run(cluster, "get", "/a").stdout == "there\n"
    assert run(cluster, "ls").stdout == "a\n"
    assert run(cluster, "rm", "/a").stdout == "removed /a\n"
    result = run(cluster, "get", "/a")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "error: /a: there is no such node; create it with: multipaxos put /a VALUE\n"


def test_every_reporting_command_ends_with_one_object(cluster: FakeCluster) -> None:
    put = last_json(run(cluster, "put", "/a/b", "x", "-p", "--json"))
    assert (put["path"], put["version"], put["data_length"]) == ("/a/b", 0, 1)
    got = last_json(run(cluster, "get", "/a/b", "--json"))
    assert (got["path"], got["value"], got["version"], got["czxid"]) == ("/a/b", "x", 0, put["czxid"])
    assert last_json(run(cluster, "ls", "/a", "--json")) == {"path": "/a", "children": ["b"]}
    assert last_json(run(cluster, "ls", "/", "-r", "--json")) == {"path": "/", "below": ["/a", "/a/b"]}
    assert last_json(run(cluster, "rm", "-r", "/a", "--json")) == {"path": "/a", "removed": 2}
    refused = run(cluster, "rm", "/a", "--json")
    assert refused.exit_code == 1
    value = last_json(refused)
    assert (value["kind"], value["code"]) == ("NoNode", -101)
    assert value["error"] == "/a: there is no such node; there is nothing to remove"


def test_reads_are_preceded_by_a_sync_unless_local(cluster: FakeCluster) -> None:
    run(cluster, "put", "/a", "x")
    for arguments in (("get", "/a"), ("ls", "/")):
        cluster.log.clear()
        assert run(cluster, *arguments).exit_code == 0
        assert 9 in cluster.opcodes()
        cluster.log.clear()
        assert run(cluster, *arguments, "--local").exit_code == 0
        assert 9 not in cluster.opcodes()


def test_put_with_conditions(cluster: FakeCluster) -> None:
    result = run(cluster, "put", "/a/b", "x")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: /a/b: its parent is not there; create the parents as well with -p\n",
    )
    assert run(cluster, "put", "/a/b", "x", "--create").exit_code == 0
    assert run(cluster, "put", "/a/b", "y", "--version", "0").stdout == "/a/b is at version 1\n"
    result = run(cluster, "put", "/a/b", "z", "--version", "0")
    assert result.exit_code == 1
    assert result.stderr == "error: /a/b: it is at version 1, not 0; get it again and decide anew\n"
    result = run(cluster, "put", "/a/b", "z", "--if-absent")
    assert result.exit_code == 1
    assert "leave --if-absent out to set it" in result.stderr
    assert run(cluster, "put", "/n/b", "z", "--if-absent", "-p").stdout == "/n/b is at version 0\n"
    assert "leave --version out to create it" in run(cluster, "put", "/no", "x", "--version", "1").stderr
    assert run(cluster, "put", "/no", "x", "--version", "1", "--if-absent").exit_code == 2


def test_values_that_are_not_text(cluster: FakeCluster) -> None:
    data = bytes(range(256))
    assert run(cluster, "put", "/bin", "-", stdin=data).exit_code == 0
    assert run(cluster, "get", "/bin", "--raw").stdout_bytes == data
    assert run(cluster, "get", "/bin").stdout_bytes == data + b"\n"
    value = last_json(run(cluster, "get", "/bin", "--json"))
    assert value["value"] is None
    assert value["value_base64"].startswith("AAECAw")
    run(cluster, "put", "/line", "-", stdin=b"one\n")
    assert run(cluster, "get", "/line").stdout == "one\n"
    assert "version          0" in run(cluster, "get", "/line", "-s").stdout


def test_rm_refuses_what_is_not_empty_and_takes_a_version(cluster: FakeCluster) -> None:
    run(cluster, "put", "-p", "/a/b", "x")
    result = run(cluster, "rm", "/a")
    assert result.exit_code == 1
    assert "`rm -r`" in result.stderr
    assert run(cluster, "rm", "/a/b", "--version", "5").exit_code == 1
    assert run(cluster, "rm", "-r", "/a").stdout == "removed /a, 2 nodes in all\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "a"),
        ("get", "/a/"),
        ("get", "/a//b"),
        ("get",),
        ("rm", "/"),
        ("rm", "/a", "-r", "--version", "1"),
        ("put", "/a"),
        ("ls", "--nonsense"),
        ("ls", "--connect", "host:port"),
        ("status", "--connect", ":1"),
        ("ls", "--timeout", "-1"),
    ],
)
def test_wrong_usage_is_2_and_touches_no_cluster(cluster: FakeCluster, arguments: tuple[str, ...]) -> None:
    result = run(cluster, *arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert cluster.greetings == []


def test_nobody_there(cluster: FakeCluster) -> None:
    cluster.servers[0].hangs_up = True
    result = run(cluster, "ls", "--timeout", "0.2", connect=f"127.0.0.1:{cluster.servers[0].port}")
    assert result.exit_code == 1
    assert "see who is up with `multipaxos status`" in result.stderr


def test_what_is_waited_for_is_said(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_PATIENCE_SECONDS", 0.0)
    cluster.servers[0].hangs_up = True
    result = run(cluster, "ls", "--timeout", "0.2", connect=f"127.0.0.1:{cluster.servers[0].port}")
    assert result.stderr.startswith(f"waiting: for a replica that serves at 127.0.0.1:{cluster.servers[0].port}")


def test_watch_prints_events_until_it_has_enough(cluster: FakeCluster) -> None:
    run(cluster, "put", "/a", "0")
    with started(cluster, "watch", "/a", "--events", "4") as (watching, said):
        assert said.readline() == b"present /a version 0: 0\n"
        run(cluster, "put", "/a", "1")
        assert said.readline() == b"data changed /a version 1: 1\n"
        run(cluster, "put", "/a/b", "x")
        assert said.readline() == b"children changed /a\n"
        run(cluster, "rm", "-r", "/a")
        assert said.readline() == b"children changed /a\n"
        assert said.readline() == b"deleted /a\n"
        assert watching.wait(60) == 0


def test_watch_goes_on_over_a_broken_connection_and_an_ended_session_until_interrupted(cluster: FakeCluster) -> None:
    with started(cluster, "watch", "/a", "--json") as (watching, said):
        assert json.loads(said.readline()) == {"event": "absent", "path": "/a"}
        # The session ends and with it the connection: the command opens another and looks at the node anew.
        (session,) = cluster.sessions
        cluster.sessions.clear()
        for connection in cluster.connections:
            if connection.session == session:
                connection.cut()
        run(cluster, "put", "/a", "1")
        event = json.loads(said.readline())
        assert (event["event"] in ("created", "present"), event["path"], event["value"]) == (True, "/a", "1")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 130


@contextlib.contextmanager
def started(cluster: FakeCluster, *arguments: str) -> "Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]":
    """The command as a process of its own, and what it says."""
    watching = subprocess.Popen(
        [sys.executable, "-m", "multipaxos", *arguments],
        env={**os.environ, "MULTIPAXOS_CONNECT": cluster.connect},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert watching.stdout is not None
    with watching:
        try:
            yield watching, watching.stdout
        finally:
            watching.kill()


def test_status(cluster: FakeCluster) -> None:
    first, second, third = cluster.servers
    first.words = words("leader", (3 << 32) + 9, 1)
    second.words = words("follower", (3 << 32) + 7, 2)
    third.words = words("follower", (3 << 32) + 9, 3)
    result = run(cluster, "status", "--timeout", "30")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["replica", "id", "standing", "epoch", "zxid", "behind", "connections", "znodes"]
    assert lines[2].split()[1:] == ["2", "follower", "3", "0x300000007", "2", "2", "5"]
    assert lines[-1] == "failures survivable now: 1"
    value = last_json(run(cluster, "status", "--timeout", "30", "--json"))
    assert (value["epoch"], value["failures_survivable"], value["serving"]) == (3, 1, True)
    third.words = same_to_all("This ZooKeeper instance is not currently serving requests")
    second.words = third.words
    result = run(
        cluster, "status", "--timeout", "30", connect=f"127.0.0.1:{second.port},127.0.0.1:{third.port},127.0.0.1:1"
    )
    assert result.exit_code == 1
    assert "no leader; 0 of 3 replicas serve" in result.stdout
    assert "next: 2 of 3 replicas are needed" in result.stdout


def test_long_and_strange_values_stay_on_one_line() -> None:
    assert commands._value_text(None) == "(null)"
    assert commands._value_text(b"a\nb") == "a\\nb"
    assert commands._value_text(b"\xff") == "(1 bytes that are not text)"
    assert commands._value_text(b"x" * 500).endswith("... (500 bytes)")
