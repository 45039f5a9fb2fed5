"""The state at any slot, by the code that serves; and decrees in words."""

from pathlib import Path

import pytest
from journal_maker import BALLOT, BIRTH, OWNER, SESSION, batch, create, learned, ledger, made, put, run, run_json, voted

from multipaxos.coordination.acl import OPEN_ENTRIES, encode_entries
from multipaxos.coordination.codes import CREATE, DELETE, MULTI, RECONFIG, SET_ACL, SYNC
from multipaxos.coordination.commands import (
    NO_OWNER,
    encode_attach,
    encode_close,
    encode_expire,
    encode_found,
    encode_request,
)
from multipaxos.coordination.jute import INT, MULTI_HEADER, pack_buffer, pack_path
from multipaxos.core.decree import NOOP, encode_batch, encode_configuration, encode_epoch
from multipaxos.host.decree_words import command_text, decree_texts, is_readable, kind_text, payload_text, time_text
from multipaxos.host.replay import Replay


def request(opcode: int, record: bytes) -> bytes:
    return encode_request(SESSION, OWNER, (("digest", "somebody:hash"),), opcode, record)


def test_what_stood_at_a_path_at_a_slot(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(900)))
    for slot, value in ((4, "first"), (5, "first"), (812, "at 812"), (813, "at 812"), (900, "at 900")):
        code, found = run_json("replay", path, "--to", slot, "--path", "/a")
        assert code == 0
        assert found["slot"] == slot
        assert found["znode"]["value"] == value
    assert found["znode"]["version"] == 448
    assert found["znodes"] == 4 + 1 + 448  # what is built in, /a, and one for each odd slot from 5 on
    code, found = run_json("replay", path, "--to", 3, "--path", "/a")
    assert code == 1
    assert found["znode"] is None
    assert "at slot 3 there is no /a" in run("replay", path, "--to", 3, "--path", "/a")[1]


def test_the_digest_is_the_same_on_all_replicas_and_another_at_each_slot(tmp_path: Path) -> None:
    decrees = ledger(40)
    one = made(tmp_path / "1", 1, voted(decrees))
    two = made(tmp_path / "2", 2, learned(decrees))
    digests = []
    for slot in (0, 2, 3, 39, 40):
        values = [run_json("replay", path, "--to", slot)[1] for path in (one, two)]
        assert values[0]["digest"] == values[1]["digest"]
        digests.append(values[0]["digest"])
    assert len(set(digests)) == len(digests)


def test_a_slot_that_is_not_known_to_be_chosen_is_not_replayed(tmp_path: Path) -> None:
    """The last vote is in the journal; whether it was chosen is not."""
    path = made(tmp_path / "1", 1, voted(ledger(40), marked=False))
    assert run_json("replay", path)[1]["slot"] == 39
    code, value = run_json("replay", path, "--to", 40)
    assert code == 1
    assert value["kind"] == "beyond"
    assert value["replayed"] == 39


def test_the_tree_is_listed(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(7)))
    _, value = run_json("replay", path, "--tree")
    paths = [one["path"] for one in value["tree"]]
    assert paths == ["/", "/a", "/n5", "/n7", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]
    assert "/n7  20 bytes" in run("replay", path, "--tree")[1]


def test_repeats_are_executed_once() -> None:
    """The same stretch of a stream in two slots, as a new leader may put it there (rule-R8)."""
    replay = Replay()
    decrees = [*ledger(4), batch(5, 4, put("/a", b"once")), batch(6, 4, put("/a", b"once"))]
    for slot, decree in enumerate(decrees, 1):
        replay.apply(slot, decree)
    node = replay.znode("/a")
    assert node is not None
    assert (node.data, node.version) == (b"once", 1)
    assert replay.commands == 4


def test_show_tells_slots_in_words(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(30), marked=False))
    code, text = run("show", path, "--from", 1, "--to", 5)
    assert code == 0
    assert f"cluster {BIRTH.cluster}, version 1, voters 1, 2, 3" in text
    assert "the epoch of ballot 1.3 begins" in text
    assert "open a session, timeout 10000 ms, at connection 7 of replica 1" in text
    assert "create /a by session 0x100000001, 5 bytes: first (replica 1, start 1, command 3)" in text
    assert "2023-11-14T22:13:20.004Z" in text
    assert "slot 6" not in text
    _, value = run_json("show", path)
    assert [one["slot"] for one in value["slots"]] == list(range(20, 31))
    assert [one["how"] for one in value["slots"]] == ["chosen"] * 10 + ["vote"]
    assert value["open_votes"] == [30]


def test_show_tells_records_as_they_were_written(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(20)))
    code, value = run_json("show", path, "--records")
    assert code == 0
    kinds = [one["kind"] for one in value["journal"]]
    assert kinds.count("accepted") == 20
    assert kinds.count("promised") == 1
    assert kinds.count("mark") == 1
    assert any(one["kind"] == "seal" and "1 to 7 at 1.3" in one["names"] for one in value["journal"])
    _, value = run_json("show", path, "--records", "--from", 7, "--to", 7, "--raw")
    assert [(one["slot"], one["body"]) for one in value["journal"]] == [(7, ledger(7)[6].hex())]
    assert "kind seal" in run("show", path, "--records")[1]


def multi(*parts: tuple[int, bytes]) -> bytes:
    found = [MULTI_HEADER.pack(opcode, False, -1) + record for opcode, record in parts]
    return b"".join(found) + MULTI_HEADER.pack(-1, True, -1)


OPEN = encode_entries(OPEN_ENTRIES)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (put("/a", b"x" * 100), f"set /a by session 0x100000001, 100 bytes: {'x' * 40}..."),
        (put("/a", b"\x00\x01"), "set /a by session 0x100000001, 2 bytes"),
        (
            request(CREATE, pack_path("/q") + pack_buffer(None) + OPEN + INT.pack(3)),
            "create ephemeral sequential /q by session 0x100000001, null",
        ),
        (request(DELETE, pack_path("/a") + INT.pack(4)), "delete /a by session 0x100000001, if at version 4"),
        (request(SET_ACL, pack_path("/a") + OPEN + INT.pack(-1)), "set the access list of /a by session 0x100000001"),
        (request(SYNC, pack_path("/")), "sync / by session 0x100000001"),
        (request(RECONFIG, b""), "reconfig by session 0x100000001"),
        (
            request(MULTI, multi((13, pack_path("/a") + INT.pack(2)), (2, pack_path("/b\n") + INT.pack(-1)))),
            "multi of 2 by session 0x100000001: check /a, if at version 2; delete /b\\n",
        ),
        (encode_request(0, NO_OWNER, (), SYNC, pack_path("/")), "sync / by the replica itself"),
        (encode_close(SESSION, OWNER), "close session 0x100000001"),
        (encode_expire(SESSION, OWNER, BALLOT), "expire session 0x100000001, in the reign of 1.3"),
        (
            encode_attach(SESSION, OWNER, 4000, NO_OWNER),
            "move session 0x100000001, timeout 4000 ms, at connection 7 of replica 1",
        ),
        (encode_found(BALLOT, b"s" * 32), "found the secret for passwords (32 bytes), in the reign of 1.3"),
        (b"short", "5 bytes that are no command (a command shorter than its header)"),
        (request(CREATE, b"\x00\x00\x00\x09/a"), "that are no command"),
        (b"\x09" + bytes(22), "23 bytes that are no command (the unknown kind 9)"),
        (request(77, b""), "operation 77 by session 0x100000001"),
    ],
)
def test_commands_in_words(command: bytes, text: str) -> None:
    assert text in command_text(command)
    assert "ssss" not in command_text(command)


def test_decrees_that_are_none_in_words() -> None:
    for decree in (b"", b"\x09", b"\x01\x00", encode_batch(1, [])[:-1], b"\x02short", encode_configuration(1, b"{")):
        assert not is_readable(decree)
        assert "no decree this version knows" in decree_texts(decree)[0]
    assert is_readable(NOOP) and decree_texts(NOOP) == []
    assert kind_text(encode_epoch(1, BALLOT)) == "epoch"
    short = batch(1, 1, create("/a", b""))
    broken = short[:-1]
    assert not is_readable(broken)


def test_small_words() -> None:
    assert payload_text(b"") == "0 bytes"
    assert payload_text("é".encode()) == "2 bytes"
    assert time_text(0) == ""
    assert time_text(1) == "1970-01-01T00:00:00.001Z"
    assert time_text(-1) == "1969-12-31T23:59:59.999Z"
    for wall_ms in (-(1 << 63), (1 << 63) - 1):  # whatever eight bytes say, a reader must not stumble over it
        assert time_text(wall_ms).endswith("Z")
