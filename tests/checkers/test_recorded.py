"""Recording: what is kept, written, read back and refused."""

import io
from pathlib import Path

import pytest
from stories import Story

from multipaxos.core.ballot import ballot_of
from multipaxos.core.decree import NOOP, encode_batch, encode_configuration, encode_epoch, encode_segment
from multipaxos.sim.judging import judge
from multipaxos.sim.readback import executed
from multipaxos.sim.recorded import (
    OPENED,
    History,
    Recorder,
    RecorderFull,
    join,
    path_of,
    read_history,
)
from multipaxos.sim.stage import plain_list
from multipaxos.wire.zookeeper import (
    OP_CLOSE_SESSION,
    OP_EXISTS,
    OP_GET_DATA,
    OP_MULTI,
    OP_SET_DATA,
    encode_multi,
    encode_set_data,
    encode_watched_path,
)


def told() -> History:
    """A short story with everything in it."""
    story = Story()
    one, two = story.client(), story.client()
    one.create("/k", b"0")
    two.get("/k", True)
    one.doubt(OP_SET_DATA, encode_set_data("/k", b"1", -1), True)
    two.get("/k")
    two.close()
    story.heal()
    return story.end()


def entries(history: History) -> list[object]:
    """Everything, comparable."""
    return list(history.entries())


def test_a_history_reads_back(tmp_path: Path) -> None:
    history = told()
    path = tmp_path / "history.jsonl"
    history.write(path)
    again = read_history(path)
    assert entries(again) == entries(history)
    assert judge(again) == judge(history) == []


def test_what_was_recorded_side_by_side_is_one_history(tmp_path: Path) -> None:
    history = told()
    parts = [History(), History()]
    for entry in history.entries():
        parts[getattr(entry, "client", 0)].add(entry)
    for number, part in enumerate(parts):
        part.write(tmp_path / f"{number}.jsonl")
    again = read_history(tmp_path / "0.jsonl", tmp_path / "1.jsonl")
    assert judge(again) == []
    assert sorted(map(repr, entries(again))) == sorted(map(repr, entries(history)))
    assert entries(join(parts)) == entries(again)


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    told().write(path)
    path.write_text(path.read_text() + '{"k":"nothing"}\n')
    count = len(path.read_text().splitlines())
    with pytest.raises(ValueError, match=f"line {count}"):
        read_history(path)


def test_a_sink_holds_only_open_calls_in_memory(tmp_path: Path) -> None:
    file = io.BytesIO()
    recorder = Recorder(file)
    recorder.mark(OPENED, 0, 5, 1, 10, 9, 4_000)
    first = recorder.invoked(0, 5, 1, OP_GET_DATA, encode_watched_path("/a", True), 20)
    second = recorder.invoked(0, 5, 1, OP_EXISTS, encode_watched_path("/b"), 21)
    third = recorder.invoked(0, 5, 1, OP_EXISTS, encode_watched_path("/c"), 22)
    recorder.returned(first, 30, 7, 0, b"body")
    recorder.unknown(second)
    recorder.unknown(second)
    recorder.event(0, 5, 1, 31, 3, "/a", 8)
    assert len(file.getvalue().splitlines()) == 4
    recorder.close()
    recorder.close()
    path = tmp_path / "history.jsonl"
    path.write_bytes(file.getvalue())
    again = read_history(path)
    assert [call.path for call in again.calls] == ["/a", "/b", "/c"]
    assert [call.is_answered for call in again.calls] == [True, False, False]
    assert again.calls[0].is_watching and not again.calls[1].is_watching
    assert (third.index, again.calls[2].index) == (2, 2)
    assert again.events[0].arrival > again.calls[0].arrival > again.marks[0].arrival
    with pytest.raises(AssertionError):
        recorder.history()


def test_memory_is_bounded() -> None:
    recorder = Recorder(calls_max=2)
    for _ in range(2):
        recorder.invoked(0, 5, 1, OP_CLOSE_SESSION, b"", 1)
    with pytest.raises(RecorderFull):
        recorder.invoked(0, 5, 1, OP_CLOSE_SESSION, b"", 1)


def test_paths_are_read_where_there_is_one() -> None:
    assert path_of(OP_GET_DATA, encode_watched_path("/a")) == "/a"
    assert path_of(OP_MULTI, encode_multi([])) == ""
    assert path_of(OP_GET_DATA, b"\0\0") == ""
    assert path_of(OP_GET_DATA, b"\xff\xff\xff\xff") == ""


def test_decrees_read_back_give_what_is_executed() -> None:
    birth = encode_configuration(5, plain_list(3).born({1: 1, 2: 2, 3: 3}).encode())
    first = encode_segment(2, 1, 77, 1, [b"a", b"b"])
    again = encode_segment(2, 1, 77, 2, [b"b", b"c"])
    gap = encode_segment(3, 1, 9, 2, [b"lost"])
    other_start = encode_segment(2, 2, 78, 1, [b"d"])
    decrees = [
        birth,
        encode_epoch(7, ballot_of(1, 2)),
        encode_batch(6, [first, gap]),
        NOOP,
        encode_epoch(8, ballot_of(1, 1)),
        encode_batch(9, [again, other_start, first]),
    ]
    ledger = executed(list(enumerate(decrees, 1)))
    assert [chosen.commands for chosen in ledger] == [[], [], [b"a", b"b"], [], [], [b"c", b"d"]]
    assert [chosen.time_ms for chosen in ledger] == [5, 7, 7, 7, 8, 9]
    assert [(chosen.epoch, chosen.began_epoch) for chosen in ledger][:5] == [
        (0, False), (1, True), (1, False), (1, False), (1, False),
    ]  # fmt: skip
    assert ledger[1].reign == ballot_of(1, 2) == ledger[5].reign
    with pytest.raises(ValueError, match="slot 3"):
        executed([(1, birth), (3, NOOP)])
