"""Each kind of damage is named with its file, its position and the votes it took, in the storage's own words."""

import shutil
from pathlib import Path

import pytest
from cluster_harness import by_length
from journal_maker import BIRTH, flip, forge, ledger, look, made, overwrite, run, run_json, spot_of, voted

from multipaxos.storage.faults import JournalDamaged
from multipaxos.storage.identity import DataDirectory
from multipaxos.storage.segment import segment_number

_LEDGER = ledger(2000)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of several segments, made once."""
    return made(tmp_path_factory.mktemp("original") / "1", 1, voted(_LEDGER), segment_bytes=96 * 1024, at_once=64)


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(original, tmp_path / "1")
    return tmp_path / "1"


def segments(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if segment_number(file.name))


def refusal_of_a_start(path: Path, tmp_path: Path) -> str:
    """What a replica would say that is started from it; from a copy, since a start writes."""
    again = tmp_path / "start"
    shutil.copytree(path, again)
    directory = DataDirectory.open(str(again), moved=True)
    with pytest.raises(JournalDamaged) as refusal:
        for _ in directory.journal(96 * 1024).recovered():
            pass
    directory.close()
    return str(refusal.value).replace(str(again), str(path))


def test_a_whole_journal_is_called_whole(path: Path) -> None:
    assert len(segments(path)) > 2
    code, value = run_json("verify", path)
    assert code == 0
    assert value["chosen_prefix"] == 2000
    assert value["records"] == 2002
    assert value["findings"] == []
    assert value["torn"] == ""
    assert "as it was written" in run("verify", path)[1]


def test_a_flipped_bit_is_named_with_the_vote_it_took(path: Path, tmp_path: Path) -> None:
    spot = spot_of(path, 812)
    flip(spot.path, spot.offset + 70)
    before = look(path)
    code, value = run_json("verify", path)
    assert code == 1
    assert value["kind"] == "damaged"
    assert value["damage"]["file"] == spot.path.name
    assert value["damage"]["position"] == spot.position
    assert value["damage"]["votes"] == [{"group": 0, "first": 812, "last": 812, "ballot": "1.3"}]
    assert value["damage"]["is_listed"]
    assert value["unreadable"] == [
        {"file": spot.path.name, "from": spot.position, "to": spot.position + spot.size}
    ]  # fmt: skip
    assert value["error"] == refusal_of_a_start(path, tmp_path)
    assert look(path) == before
    text = run("verify", path)[1]
    assert "slot 812 at ballot 1.3" in text
    assert "Do not cut" in text


def test_every_damaged_place_is_listed(path: Path) -> None:
    """A start stops at the first; whoever has to judge a disk wants to know of all."""
    spots = [spot_of(path, slot) for slot in (300, 301, 900, 1500)]
    for spot in spots:
        flip(spot.path, spot.offset + 55)
    _, value = run_json("verify", path)
    assert [(gap["file"], gap["from"], gap["to"]) for gap in value["unreadable"]] == [
        (spots[0].path.name, spots[0].position, spots[1].position + spots[1].size),
        (spots[2].path.name, spots[2].position, spots[2].position + spots[2].size),
        (spots[3].path.name, spots[3].position, spots[3].position + spots[3].size),
    ]


def test_slots_before_the_damage_can_be_read_and_replayed(path: Path) -> None:
    spot = spot_of(path, 812)
    flip(spot.path, spot.offset + 70)
    code, value = run_json("replay", path, "--to", 800, "--path", "/a")
    assert code == 0
    assert value["znode"]["value"] == "at 800"
    code, value = run_json("replay", path)
    assert code == 1
    assert 800 < value["replayed"] < 812
    code, value = run_json("show", path, "--from", 500, "--to", 501)
    assert code == 1
    assert [one["slot"] for one in value["slots"]] == [500, 501]


def test_a_cut_segment_is_named(path: Path) -> None:
    newest = segments(path)[-1]
    size = newest.stat().st_size
    with newest.open("r+b") as file:
        file.truncate(size // 2)
    code, value = run_json("verify", path)
    assert code == 1
    assert value["damage"]["file"] == newest.name
    assert f"cut short: {size // 2} of {size} bytes" in value["error"]


def test_a_missing_segment_is_named(path: Path, tmp_path: Path) -> None:
    for which in (1, -1):
        lost = segments(path)[which]
        aside = tmp_path / lost.name
        lost.rename(aside)
        code, value = run_json("verify", path)
        assert code == 1
        assert value["damage"]["file"] == lost.name
        assert "missing" in value["error"]
        aside.rename(lost)
    assert run("verify", path)[0] == 0


def test_a_rotten_head_is_named(path: Path) -> None:
    flip(segments(path)[1], 30)
    code, value = run_json("verify", path)
    assert code == 1
    assert value["damage"]["file"] == segments(path)[1].name
    assert "head" in value["error"]
    assert value["damage"]["votes"]  # from the seals of that file


def test_a_segment_of_another_directory_is_named(path: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "2", 2, voted(_LEDGER), segment_bytes=96 * 1024, at_once=64)
    name = segments(path)[1].name
    shutil.copyfile(other / name, path / name)
    code, value = run_json("verify", path)
    assert code == 1
    assert value["damage"]["file"] == name
    assert "belongs to another directory" in value["error"]


def test_a_rotten_copy_of_the_promise_is_named(path: Path) -> None:
    flip(path / "promise-2", 20)
    code, value = run_json("verify", path)
    assert code == 1
    assert value["unreadable_copies"] == ["promise-2"]
    assert value["chosen_prefix"] == 2000
    assert value["promised"] == "1.3"


@pytest.mark.parametrize("name", ["mark", "cluster", "incarnation"])
def test_a_rotten_identity_is_named(tmp_path: Path, name: str) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(5)))
    flip(path / name, 5)
    code, value = run_json("verify", path)
    assert code == 1
    assert value["kind"] == "damaged"
    assert f"the file {name} in" in value["error"]


def test_an_emptied_directory_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(5)))
    for file in segments(path):
        file.unlink()
    code, value = run_json("verify", path)
    assert code == 1
    assert value["kind"] == "emptied"


def test_a_decree_that_is_none_is_found(tmp_path: Path) -> None:
    """Its checksum is right, so storage believes it; no peer would have accepted it."""
    path = made(tmp_path / "1", 1, voted(ledger(20)))
    body = spot_of(path, 9).body
    forge(path, 9, b"\x09" + body[1:])
    code, value = run_json("verify", path)
    assert code == 1
    assert value["unreadable_decrees"] == [9]


def test_a_slot_that_is_missing_is_found(tmp_path: Path) -> None:
    records = [record for record in voted(ledger(20)) if getattr(record, "slot", 0) != 7]
    path = made(tmp_path / "1", 1, records)
    code, value = run_json("verify", path)
    assert code == 1
    assert [(one["kind"], one["slot"]) for one in value["findings"]] == [("missing", 7)]
    code, value = run_json("replay", path)
    assert code == 1
    assert (value["kind"], value["replayed"]) == ("missing", 6)
    assert "slot 7  MISSING" in run("show", path, "--from", 6)[1]


def test_files_of_two_clusters_are_found(tmp_path: Path) -> None:
    path = made(tmp_path / "1", 1, voted(ledger(5)))
    assert run_json("verify", path)[1]["born"] == BIRTH.cluster
    (path / "cluster").unlink()
    directory = DataDirectory.open(str(path))
    directory.set_cluster("d" * 32, "1" * 32)
    directory.close()
    assert run("verify", path)[0] == 1
    assert "files were mixed" in run("verify", path)[1]


def test_bytes_of_noise_over_a_whole_segment_are_damage_not_an_exception(path: Path) -> None:
    one = segments(path)[1]
    overwrite(one, 4096, bytes(range(256)) * 100)
    code, value = run_json("verify", path)
    assert code == 1
    assert value["damage"]["file"] == one.name
    assert value["damage"]["votes"]


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    """Anywhere in what a seal vouches for, in the heads, the copies and the identity: named, and never an exception."""
    path = made(tmp_path / "1", 1, voted(ledger(40)), at_once=4)
    (segment,) = segments(path)
    sealed = int(run_json("verify", path)[1]["sealed"])
    head = segment.read_bytes()[:4096].rstrip(b"\0")
    places = [(segment, at) for at in range(0, len(head), by_length(29, 1))]
    places += [(segment, at) for at in range(4096, 4096 + sealed, by_length(97, 3))]
    for name, size in (("promise-1", 72), ("promise-2", 72), ("mark", 60), ("cluster", 60), ("incarnation", 30)):
        places += [(path / name, at) for at in range(0, size, by_length(19, 1))]
    for file, at in places:
        flip(file, at)
        code, value = run_json("verify", path)
        assert code == 1, (file.name, at)
        text = value["error"] if "error" in value else " ".join(value["unreadable_copies"])
        assert file.name in text, (file.name, at)
        flip(file, at)
    assert run("verify", path)[0] == 0
