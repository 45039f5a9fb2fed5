"""why, status and members as they are typed, against admin ports that say what a test says."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from fake_admins import FakeAdmin, answering, closed_port
from typer.testing import CliRunner
from why_observations import dead, healthy

from multipaxos.cli import main, members, status, why


@contextlib.contextmanager
def served(cluster: dict[int, Any]) -> Iterator[str]:
    """The admin addresses of a cluster that was made by hand."""
    with contextlib.ExitStack() as stack:
        listed = []
        for observed in cluster.values():
            observed["at_ms"] = int(time.time() * 1000)
            listed.append(stack.enter_context(FakeAdmin(answering(observed))).text)
        yield ",".join(listed)


def typed(*arguments: str) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    for module in (why, status, members):
        module.register(app)
    return CliRunner().invoke(app, [arguments[0], "--timeout", "30", *arguments[1:]], env={"COLUMNS": "100"})


def last_json(result: Any) -> Any:
    return json.loads(result.stdout.splitlines()[-1])


def test_why_when_all_is_well() -> None:
    with served(healthy()) as admins:
        told, as_json = typed("why", "--admin", admins), typed("why", "--admin", admins, "--json")
    assert (told.exit_code, as_json.exit_code) == (0, 0)
    assert told.stdout == "Nothing stands in the way: 3 of 3 replicas serve, replica 2 leads, 1 failure survivable.\n"
    assert last_json(as_json) == {"healthy": True, "summary": told.stdout.strip(), "causes": []}


def test_why_says_worst_first_what_to_do_and_fits_its_columns() -> None:
    cluster = dead(healthy(), 3)
    cluster[1]["clock"].update(last_jump_ms=60_000, last_jump_ago_s=3.0)
    cluster[1]["disk"]["writing_for_ms"] = 9000
    with served(cluster) as admins:
        told, as_json = typed("why", "--admin", admins), typed("why", "--admin", admins, "--json")
    assert (told.exit_code, as_json.exit_code) == (1, 1)
    parts = told.stdout.split("\n\n")
    assert [part.partition(":")[0] for part in parts] == ["critical", "serious", "warning"]
    assert parts[0].startswith("critical: No quorum: 2 of 3 voters are needed, 1 can vote.")
    assert all("\n  do: " in part for part in parts)
    assert max(map(len, told.stdout.splitlines())) <= 100
    assert "\x1b" not in told.stdout
    value = last_json(as_json)
    assert (value["healthy"], [one["id"] for one in value["causes"]]) == (
        False,
        ["why.quorum.lost", "why.disk.hung", "why.clock.jumped"],
    )


def test_why_asks_once_more_where_a_replica_may_only_be_starting() -> None:
    cluster = healthy()
    starting = cluster.pop(3)
    starting["at_ms"] = int(time.time() * 1000)
    with FakeAdmin(answering(starting), silent_times=1) as third:
        for observed in cluster.values():
            observed["configuration"]["members"][2]["admin_address"] = third.text
        with served(cluster) as admins:
            told = typed("why", "--admin", f"{admins},{third.text}", "--timeout", "3")
        assert third.requests
    assert (told.exit_code, told.stdout.split(":")[0]) == (0, "Nothing stands in the way")


@pytest.mark.parametrize("command", ["why", "status", "members"])
@pytest.mark.parametrize("wrong", [("--admin", ":1"), ("--connect", "a:b"), ("--data", "/nowhere"), ("--what",)])
def test_wrong_usage(command: str, wrong: tuple[str, ...]) -> None:
    told = typed(command, *wrong)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr


def test_nobody_there() -> None:
    address = closed_port()
    told = typed("why", "--admin", address)
    assert told.exit_code == 1
    assert told.stdout.startswith("critical: None of the admin addresses asked answers (1): ")
    assert "multipaxos cluster" in told.stdout
    told = typed("status", "--admin", address)
    assert told.exit_code == 1
    assert address in told.stdout
    assert "no leader; 0 of 0 replicas serve" in told.stdout
    told = typed("members", "--admin", address, "--json")
    assert told.exit_code == 1
    assert last_json(told)["asked"] == [address]
    assert "no admin address answers" in told.stderr


def test_status_is_one_table() -> None:
    cluster = dead(healthy(), 3)
    with served(cluster) as admins:
        missing = closed_port()
        cluster_text = typed("status", "--admin", f"{admins},{missing}")
        value = last_json(typed("status", "--admin", f"{admins},{missing}", "--json"))
    assert cluster_text.exit_code == 0
    lines = cluster_text.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["replica", "role", "state", "applied", "behind", "sync", "p99", "clients", "admin"]
    assert lines[3].split() == [missing, "connection", "refused:", "nothing", "listens", "there"]
    assert lines[1].split() == ["1", "follower", "serving", "999", "4", "28", "ms", "60", "yes"]
    assert lines[2].split()[:3] == ["2", "leader", "serving"]
    assert lines[5:] == [
        "leader replica 2 (10.0.0.2:2181), epoch 7; 2 of 3 replicas serve",
        "failures survivable now: 0",
        "next: multipaxos why (1 in the way)",
    ]
    assert (value["leader_id"], value["leader"], value["epoch"]) == (2, "10.0.0.2:2181", 7)
    assert (value["voters"], value["failures_survivable"], value["causes"]) == (3, 0, 1)
    assert [one["is_admin_reachable"] for one in value["replicas"]] == [True, True, False]


def test_status_says_where_replicas_disagree() -> None:
    cluster = healthy()
    cluster[3].update(standing="leader", leader=3, epoch=6)
    cluster[1]["configuration"]["version"] = 2
    with served(cluster) as admins:
        told = typed("status", "--admin", admins)
    assert told.exit_code == 1
    assert "disagreement: who leads? replica 1, 2: replica 2; replica 3: replica 3" in told.stdout
    assert "disagreement: which configuration? replica 2, 3: version 1; replica 1: version 2" in told.stdout
    assert "leader replica 2 (10.0.0.2:2181), epoch 7" in told.stdout


def test_status_says_when_a_loop_stands_still() -> None:
    cluster = healthy()
    cluster[1]["loop"]["stalled_for_ms"] = 4200
    with served(cluster) as admins:
        told = typed("status", "--admin", admins)
    assert "stalled 4.2 s" in told.stdout
    assert "2 of 3 replicas serve" in told.stdout


def test_members() -> None:
    cluster = dead(healthy(), 3)
    for observed in cluster.values():
        members_of = observed["configuration"]["members"]
        for member in members_of:
            member["mark"] = f"{member['id']:016x}"
        members_of.append({**members_of[0], "id": 4, "is_voter": False, "client_address": "", "admin_address": ""})
        observed["peers"].append({**observed["peers"][0], "id": 4})
    with served(cluster) as admins:
        told, as_json = typed("members", "--admin", admins), typed("members", "--admin", admins, "--json")
    assert (told.exit_code, as_json.exit_code) == (0, 0)
    lines = told.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["member", "votes", "peers", "clients", "admin", "mark", "now"]
    assert lines[1].split() == [
        "1",
        "yes",
        "10.0.0.1:7181",
        "10.0.0.1:2181",
        admins.split(",")[0],
        f"{1:016x}",
        "serving",
    ]
    assert lines[3].split()[-3:] == ["nobody", "hears", "it"]
    assert lines[4].split()[:4] == ["4", "no", "10.0.0.1:7181", "-"]
    assert lines[-1] == "configuration, version 1, as replica 1 has it; voters: 3, quorum: 2"
    value = last_json(as_json)
    assert (value["configuration_version"], value["voters"], value["quorum"]) == (1, [1, 2, 3], 2)
    assert [one["is_voter"] for one in value["members"]] == [True, True, True, False]
    assert value["members"][1]["mark"] == f"{2:016x}"


def test_members_leaves_the_marks_out_where_there_is_no_room_and_says_who_has_an_older_configuration() -> None:
    cluster = healthy()
    for observed in cluster.values():
        for member in observed["configuration"]["members"]:
            member.update(peer_address=f"replica-{member['id']}.paxos.example:7181", mark=f"{member['id']:016x}")
    cluster[3]["configuration"]["version"] = 2
    with served(cluster) as admins:
        told = typed("members", "--admin", admins)
    assert told.exit_code == 1
    assert told.stdout.splitlines()[0].split() == ["member", "votes", "peers", "clients", "admin", "now"]
    assert "different versions of the configuration: 2 at replica 3; 1 at replica 1, 2" in told.stdout


def test_the_commands_are_mounted() -> None:
    for command in ("why", "status", "members"):
        told = CliRunner().invoke(main.application(command), [command, "--help"])
        assert told.exit_code == 0
        assert "--admin" in told.stdout
