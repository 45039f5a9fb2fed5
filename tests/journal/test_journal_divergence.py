"""The first slot in which two replicas differ: found by its bytes, whatever checksums say; and nothing where all is well."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from journal_maker import BALLOT, batch, create, flip, forge, learned, ledger, made, put, run, run_json, spot_of, voted

from multipaxos.core.ballot import ballot_of
from multipaxos.core.decree import NOOP
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, Record
from multipaxos.host.chosen_slots import ChosenReader
from multipaxos.host.divergence import Comparison, compare, first_difference
from multipaxos.storage.identity import DataDirectory

HIGHER = ballot_of(2, 1)


def three(tmp_path: Path, slots: int = 60) -> list[Path]:
    """One voted for all, one learned all, one is behind."""
    decrees = ledger(slots)
    return [
        made(tmp_path / "one", 1, voted(decrees)),
        made(tmp_path / "two", 2, learned(decrees)),
        made(tmp_path / "three", 3, voted(decrees[: slots - 20])),
    ]


def test_equal_ledgers_are_equal_however_they_were_come_by(tmp_path: Path) -> None:
    paths = three(tmp_path)
    code, value = run_json("compare", *paths, "--state")
    assert code == 0
    assert value["slot"] == 0
    assert (value["equal_up_to"], value["compared_up_to"]) == (40, 60)
    assert [one["chosen_prefix"] for one in value["replicas"]] == [60, 60, 40]
    assert value["state"]["slot"] == 40
    assert value["state"]["is_equal"]
    text = run("compare", *paths)[1]
    assert "nothing differs: equal up to slot 40 in all of them, and up to slot 60 in those that go so far" in text


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_changed_byte_under_right_checksums_is_found(tmp_path: Path, which: int) -> None:
    """No checksum tells: the record is right in every way, and says something else than was chosen."""
    paths = three(tmp_path)
    body = spot_of(paths[which], 30).body
    forge(paths[which], 30, body.replace(b"at 30", b"at 31"))
    assert run("verify", paths[which])[0] == 0
    code, value = run_json("compare", *paths, "--state")
    assert code == 1
    assert value["slot"] == 30
    assert value["equal_up_to"] == 29
    assert value["odd"] == f"replica {which + 1}"
    assert value["offset"] == body.index(b"at 30") + 4
    assert [one["how"] for one in value["held"]] == ["voted", "learned", "voted"]
    assert sum("at 31" in one["says"][0] for one in value["held"]) == 1
    assert not value["state"]["is_equal"]
    text = run("compare", *paths)[1]
    assert "they differ in slot 30; up to slot 29 nothing differs" in text
    assert f"replica {which + 1} stands alone" in text


def test_the_state_may_be_equal_where_the_bytes_differ(tmp_path: Path) -> None:
    """A byte that apply does not look at, here the start in a stream's first segment: a difference all the same."""
    decrees = ledger(3)
    one = made(tmp_path / "one", 1, voted([*decrees, NOOP, NOOP]))
    two = made(tmp_path / "two", 2, voted([*decrees, NOOP, NOOP + b"\0"]))
    code, value = run_json("compare", one, two, "--state")
    assert code == 1
    assert value["slot"] == 5
    assert value["state"]["is_equal"]


def test_a_missing_slot_is_found(tmp_path: Path) -> None:
    decrees = ledger(40)
    one = made(tmp_path / "one", 1, voted(decrees))
    two = made(tmp_path / "two", 2, [record for record in voted(decrees) if getattr(record, "slot", 0) != 17])
    code, value = run_json("compare", one, two, "--state")
    assert code == 1
    assert (value["state"]["slot"], value["state"]["is_equal"]) == (16, True)
    assert value["slot"] == 17
    assert [(held["name"], held["how"]) for held in value["held"]] == [("replica 1", "voted"), ("replica 2", "missing")]
    assert "MISSING" in run("compare", one, two)[1]


def test_damage_ends_one_side_and_is_named(tmp_path: Path) -> None:
    paths = three(tmp_path)
    spot = spot_of(paths[1], 25)
    flip(spot.path, spot.offset + 60)
    code, value = run_json("compare", *paths)
    assert code == 1
    assert value["slot"] == 0
    assert value["equal_up_to"] == 24
    assert value["compared_up_to"] == 40
    assert [spot.path.name in one["damage"] for one in value["replicas"]] == [False, True, False]


def test_a_difference_behind_a_damaged_place_of_another_is_found_still(tmp_path: Path) -> None:
    paths = three(tmp_path)
    spot = spot_of(paths[1], 25)
    flip(spot.path, spot.offset + 60)
    forge(paths[2], 32, spot_of(paths[2], 32).body.replace(b"at 32", b"at 99"))
    assert run_json("compare", *paths)[1]["slot"] == 32


def test_replicas_of_two_clusters_are_not_compared(tmp_path: Path) -> None:
    one = made(tmp_path / "one", 1, voted(ledger(5)))
    two = made(tmp_path / "two", 2, voted(ledger(5)))
    (two / "cluster").unlink()
    assert run("compare", one, two)[0] == 0  # not noted yet: the ledger says what is needed
    directory = DataDirectory.open(str(two))
    directory.set_cluster("d" * 32, "1" * 32)
    directory.close()
    code, value = run_json("compare", one, two)
    assert code == 1
    assert value["kind"] == "other-cluster"


def compared(*journals: Sequence[Record]) -> Comparison:
    names = [f"{number}" for number in range(len(journals))]
    readers = [ChosenReader([(0, record) for record in records]) for records in journals]
    return compare(list(zip(names, readers, strict=True)))


def vote(slot: int, data: bytes, ballot: int = BALLOT, prefix: int = 0) -> AcceptedRecord:
    return AcceptedRecord(ballot, slot, batch(slot, slot, put("/a", data)), prefix)


def test_an_older_vote_may_differ() -> None:
    """Slot 1 was chosen at ballot 2.1; a vote at 1.3 for something else was simply passed."""
    assert compared([vote(1, b"new", HIGHER), MarkRecord(1)], [vote(1, b"old")]).slot == 0


def test_a_vote_at_the_ballot_of_the_choice_may_not() -> None:
    """PMMC A5: from the ballot of the choice on all votes are for it, though nobody marked this one yet."""
    for ballot in (BALLOT, HIGHER):
        whole = compared([vote(1, b"new"), MarkRecord(1)], [vote(1, b"old", ballot)])
        assert whole.slot == 1
        assert [one.how for one in whole.held] == ["voted", "vote"]


def test_two_votes_of_one_ballot_may_not_differ() -> None:
    """PMMC A4, in slots of which nobody knows whether they are chosen."""
    assert compared([vote(3, b"one")], [vote(3, b"one")]).slot == 0
    assert compared([vote(3, b"one")], [vote(3, b"two", HIGHER)]).slot == 0
    assert compared([vote(3, b"one")], [vote(2, b"x"), vote(3, b"two")]).slot == 3


def test_a_difference_between_votes_leaves_the_state_of_what_is_chosen(tmp_path: Path) -> None:
    decrees = ledger(20)
    one = made(tmp_path / "one", 1, voted(decrees, marked=False))
    two = made(tmp_path / "two", 2, voted([*decrees[:19], batch(20, 19, put("/a", b"or so"))], marked=False))
    code, value = run_json("compare", one, two, "--state")
    assert code == 1
    assert value["slot"] == 20
    assert [held["how"] for held in value["held"]] == ["vote", "vote"]
    assert (value["state"]["slot"], value["state"]["is_equal"]) == (19, True)


def test_what_was_learned_above_a_gap_counts_as_chosen() -> None:
    here = [LearnedRecord(BALLOT, 2, batch(2, 2, put("/a", b"this")))]
    there = [vote(1, b"x"), vote(2, b"that"), MarkRecord(2)]
    assert compared(here, there).slot == 2


def test_one_slot_may_be_held_at_two_ballots() -> None:
    again = AcceptedRecord(HIGHER, 1, vote(1, b"same").decree, 0)
    assert compared([vote(1, b"same"), MarkRecord(1)], [vote(1, b"same"), again, MarkRecord(1)]).slot == 0


def test_the_first_byte_that_differs() -> None:
    assert first_difference(b"abc", b"abc") == -1
    assert first_difference(b"abc", b"abd") == 2
    assert first_difference(b"abc", b"ab") == 2
    assert first_difference(create("/a", b"1"), create("/b", b"1")) == create("/a", b"1").index(b"/a") + 1
