"""What became of a path: found by its state behind each slot, told with the commands that did it."""

from pathlib import Path

from journal_maker import OWNER, SESSION, batch, create, ledger, made, put, run, run_json, voted

from multipaxos.coordination.acl import OPEN_ENTRIES, encode_entries
from multipaxos.coordination.codes import CREATE, DELETE, EPHEMERAL, SEQUENTIAL, SET_ACL, SET_DATA
from multipaxos.coordination.commands import encode_close, encode_request
from multipaxos.coordination.jute import INT, pack_buffer, pack_path

OPEN = encode_entries(OPEN_ENTRIES)


def request(opcode: int, record: bytes) -> bytes:
    return encode_request(SESSION, OWNER, (), opcode, record)


def life(tmp_path: Path) -> Path:
    """A short life of a few paths, each slot of which is known below."""
    ephemeral = pack_path("/here") + pack_buffer(b"me") + OPEN + INT.pack(EPHEMERAL)
    sequential = pack_path("/a/job-") + pack_buffer(b"j") + OPEN + INT.pack(SEQUENTIAL)
    commands = [
        [put("/a", b"one"), create("/z", b"")],  # slot 5
        [request(SET_DATA, pack_path("/a") + pack_buffer(b"no") + INT.pack(77))],  # 6: refused, another version
        [request(CREATE, ephemeral)],
        [request(CREATE, sequential)],  # 8: makes /a/job-0000000000
        [request(SET_ACL, pack_path("/a") + OPEN + INT.pack(-1))],
        [request(DELETE, pack_path("/z") + INT.pack(-1)), create("/z", b"again")],  # 10
        [request(DELETE, pack_path("/a/job-0000000000") + INT.pack(-1))],
        [put("/a", b"two"), put("/a", b"three"), put("/z", b"last")],
        [encode_close(SESSION, OWNER)],  # 13
    ]
    decrees = ledger(4)
    serial = 4
    for several in commands:
        decrees.append(batch(len(decrees) + 1, serial, *several))
        serial += len(several)
    return made(tmp_path / "1", 1, voted(decrees))


def changes(path: Path, znode: str) -> list[tuple[int, str]]:
    code, value = run_json("history", path, znode)
    assert code == (0 if value["changes"] else 1)
    return [(one["slot"], one["change"]) for one in value["changes"]]


def test_each_change_of_a_path_and_no_refused_one(tmp_path: Path) -> None:
    path = life(tmp_path)
    assert changes(path, "/a") == [(4, "created"), (5, "set"), (9, "access list set"), (12, "set")]
    assert changes(path, "/here") == [(7, "created"), (13, "deleted")]
    assert changes(path, "/a/job-0000000000") == [(8, "created"), (11, "deleted")]
    assert changes(path, "/z") == [(5, "created"), (10, "made anew"), (12, "set")]
    assert changes(path, "/zookeeper/config") == [(1, "set")]
    assert changes(path, "/nothing") == []
    assert changes(path, "/") == []


def test_who_did_it_is_told(tmp_path: Path) -> None:
    path = life(tmp_path)
    _, value = run_json("history", path, "/a")
    last = value["changes"][-1]
    assert [text.split(" (")[0] for text in last["by"]] == [
        "set /a by session 0x100000001, 3 bytes: two",
        "set /a by session 0x100000001, 5 bytes: three",
    ]
    assert bytes.fromhex(last["data"]) == b"three"
    assert last["version"] == 3
    _, value = run_json("history", path, "/here")
    assert value["changes"][-1]["by"] == ["close session 0x100000001 (replica 1, start 1, command 16)"]
    _, value = run_json("history", path, "/a/job-0000000000")
    assert value["changes"][0]["by"][0].startswith("create sequential /a/job- by")
    assert value["changes"][1]["by"][0].startswith("delete /a/job-0000000000 by")


def test_history_ends_where_it_is_told_to(tmp_path: Path) -> None:
    path = life(tmp_path)
    code, text = run("history", path, "/a", "--to", 8)
    assert code == 0
    assert "slot 5" in text and "slot 9" not in text
    assert run("history", path, "/a", "--to", 99)[0] == 1
    assert run("history", path, "a")[0] == 2
    assert "no slot up to 13 changed /nothing" in run("history", path, "/nothing")[1]
