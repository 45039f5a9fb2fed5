"""Asking admin ports: whatever answers there, each address has an outcome, and nobody waits longer than was said."""

import json
import os
import time
from pathlib import Path

import pytest
from fake_admins import FakeAdmin, answering, closed_port
from why_observations import observation

from multipaxos.cli.asking_admin import ask_places, find_places
from multipaxos.client.addresses import parse_addresses
from multipaxos.client.admin import ANSWER_BYTES_MAX, ask_admins
from multipaxos.host.last_words import GONE, PAUSED, RUNNING, last_words, process_state, read_residents
from multipaxos.host.observed import Unreachable

TIMEOUT_S = 1.0
"""For who says nothing."""

TOGETHER_S = 2.0
"""For both at once; who drips takes twice as long."""

PATIENCE_S = 30.0
"""For who says something."""


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (b"", "garbage", "it closes the connection without a word"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "garbage", "SSH-2.0"),
        (answering({}, "404 Not Found"), "garbage", "status 404 Not Found"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<xml>", "garbage", "5 bytes that are not JSON"),
        (answering([1]), "garbage", "JSON that is no object"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{}", "garbage", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "garbage", "that are not JSON"),
        (None, "silent", "it accepts connections and does not answer within 1 s"),
    ],
)
def test_what_is_no_answer_is_said_in_words(answer: bytes | None, kind: str, reason: str) -> None:
    with FakeAdmin(answer) as admin:
        (found,) = ask_admins([admin.address], "/status", TIMEOUT_S if answer is None else PATIENCE_S)
    assert (found.value, found.kind) == (None, kind)
    assert reason in found.reason


def test_an_answer_without_end_is_cut_off() -> None:
    with FakeAdmin(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (ANSWER_BYTES_MAX + 1)) as admin:
        (found,) = ask_admins([admin.address], "/status", PATIENCE_S)
    assert (found.kind, "more than 4 MiB" in found.reason) == ("garbage", True)


def test_all_are_asked_at_once_and_the_slowest_costs_no_more_than_the_timeout() -> None:
    value = {"a": 1}
    with (
        FakeAdmin(answering(value)) as good,
        FakeAdmin(answering(value), closes=False) as stays,
        FakeAdmin(None) as silent,
        FakeAdmin(answering(value), drips=True) as drips,
    ):
        refused = parse_addresses(closed_port())[0]
        begun = time.monotonic()
        addresses = [good.address, silent.address, drips.address, refused, stays.address]
        found = ask_admins(addresses, "/status", TOGETHER_S)
        took_s = time.monotonic() - begun
    assert [one.address for one in found] == addresses
    assert [one.kind for one in found] == ["", "silent", "garbage", "refused", ""]
    assert found[0].value == found[4].value == value
    # Not how quick it is, but that five of them do not add up; a busy machine is given much.
    assert took_s < 20 * TOGETHER_S
    assert good.requests[0].startswith(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_name_that_does_not_resolve() -> None:
    (found,) = ask_admins([("no-such-machine.invalid", 8181)], "/status", PATIENCE_S)
    assert found.kind == "unresolved"
    assert "no-such-machine.invalid does not resolve" in found.reason or "was not resolved within" in found.reason


# --- whom to ask ------------------------------------------------------------------------------------------------------


def folder_of(
    path: Path, admins: list[str], process_ids: list[int] | None = None, reason: str = "", manager: int = 0
) -> str:
    """A folder as `multipaxos cluster` leaves it."""
    replicas = [
        {
            "id": number,
            "process_id": 0 if process_ids is None else process_ids[number - 1],
            "client": f"127.0.0.1:{42180 + number}",
            "peer": f"127.0.0.1:{47180 + number}",
            "admin": admin,
            "reason": reason,
        }
        for number, admin in enumerate(admins, 1)
    ]
    (path / "cluster.json").write_text(json.dumps({"format": 1, "process_id": manager, "replicas": replicas}))
    return str(path)


def test_addresses_come_from_the_options_or_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [place.admin for place in find_places("h1,h2:99", None, None)] == [("h1", 8181), ("h2", 99)]
    defaults = [("127.0.0.1", port) for port in (8181, 8182, 8183)]
    assert [place.admin for place in find_places(None, None, None)] == defaults
    assert [place.admin for place in find_places(None, "h1:2182,h2:9000", None)] == [("h1", 8182), None]
    data = tmp_path / "multipaxos-data"
    data.mkdir()
    folder_of(data, ["127.0.0.1:7", "127.0.0.1:8"])
    assert [place.admin for place in find_places(None, None, None)] == [("127.0.0.1", 7), ("127.0.0.1", 8)]
    (place,) = find_places(None, "127.0.0.1:42182", None)
    assert place.admin == ("127.0.0.1", 8)
    assert place.resident is not None and place.resident.id == 2
    monkeypatch.chdir("/")
    assert [place.admin for place in find_places(None, None, str(data))] == [("127.0.0.1", 7), ("127.0.0.1", 8)]


def test_a_folder_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    import typer

    with pytest.raises(typer.BadParameter, match="does not exist"):
        find_places(None, None, str(tmp_path / "nowhere"))
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(typer.BadParameter, match="no folder of a local cluster"):
        find_places(None, None, str(tmp_path))


def test_whose_address_a_silent_one_is_comes_from_those_that_answer() -> None:
    second, third = closed_port(), closed_port()
    value = observation(1)
    value["configuration"]["members"][1]["admin_address"] = second
    with FakeAdmin(answering(value)) as admin:
        answers = ask_places(find_places(f"{admin.text},{second},{third}", None, None), PATIENCE_S)
    assert sorted(answers.observations) == [-1, 1, 2]
    unknown = answers.observations[-1]
    assert isinstance(unknown, Unreachable) and unknown.address == third


def test_a_replica_that_answers_at_two_addresses_counts_once_and_other_schemas_are_garbage() -> None:
    with (
        FakeAdmin(answering(observation(1))) as one,
        FakeAdmin(answering(observation(1))) as same,
        FakeAdmin(answering({"schema": "multipaxos-status/9", "replica": 3})) as newer,
    ):
        answers = ask_places(find_places(f"{one.text},{same.text},{newer.text}", None, None), PATIENCE_S)
    assert sorted(answers.observations) == [-1, 1]
    odd = answers.observations[-1]
    assert isinstance(odd, Unreachable) and odd.kind == "garbage"


# --- what a replica of this machine left behind -----------------------------------------------------------------------

LOG = """\
2026-11-23T17:00:00.000Z INFO    replica 1, incarnation 1, data in d
2026-11-23T17:00:01.000Z ERROR   refused by replicas 2, 3: a reason
2 log lines were dropped: they could not be written fast enough
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (LOG, "refused by replicas 2, 3: a reason"),
        (LOG + "2026-11-23T18:00:00.000Z INFO    replica 1, incarnation 2, data in d\n", ""),  # and killed in that life
        ("2026-11-23T17:00:01.000Z ERROR   the disk is full; trying again every second, nothing is answered for\n", ""),
        (LOG + "error: r.toml: unknown key 'wat'\n", "r.toml: unknown key 'wat'"),
        ("x" * 100_000 + "\n" + LOG, "refused by replicas 2, 3: a reason"),
        ("", ""),
    ],
)
def test_the_last_line_of_a_log_is_a_reason_only_if_it_ended_that_life(tmp_path: Path, log: str, words: str) -> None:
    assert last_words(str(tmp_path), 1) == ""
    (tmp_path / "replica-1.log").write_text(log)
    assert last_words(str(tmp_path), 1) == words


def test_a_note_of_a_failed_journal_goes_before_the_log(tmp_path: Path) -> None:
    (tmp_path / "replica-1").mkdir()
    (tmp_path / "replica-1/stopped").write_text("2026-11-23T17:00:00Z the journal failed\n")
    assert last_words(str(tmp_path), 1) == "2026-11-23T17:00:00Z the journal failed"


def test_processes_of_the_folder(tmp_path: Path) -> None:
    own = os.getpid()
    listed = read_residents(folder_of(tmp_path, ["", "127.0.0.1:8"], [own, 0], "killed by signal 9; see its log", own))
    assert listed is not None
    is_ours = process_state(own) == RUNNING  # the path of the tests names the project, or this is another program
    assert listed[0].process == (RUNNING if is_ours else GONE)
    if is_ours:
        assert (listed[1].process, listed[1].killed, listed[1].last_words) == (GONE, "killed by signal 9", "")
    told = read_residents(folder_of(tmp_path, ["", ""], None, "the journal in d is damaged"))
    assert told is not None
    assert (told[0].process, told[0].last_words) == ("", "the journal in d is damaged")
    assert process_state(0) == GONE
    assert process_state(1) in (GONE, RUNNING, PAUSED)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"process_id": 0, "replicas": [{}]}', '{"process_id": 0, "replicas": 3}', "\0"]
)
def test_a_cluster_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    assert read_residents(str(tmp_path)) is None
