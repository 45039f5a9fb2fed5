"""The parts of torture that decide something: votes counted, damage placed, effects judged, the page drawn."""

import asyncio
import json
import random
import re
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from multipaxos.core.ballot import ballot_of
from multipaxos.core.records import AcceptedRecord, MarkRecord
from multipaxos.sim.recorded import Call, History
from multipaxos.storage.faults import JournalDamaged
from multipaxos.storage.identity import DataDirectory, DirectoryRefused
from multipaxos.torture import accounts
from multipaxos.torture.chronicle import Chronicle, Strike
from multipaxos.torture.client import Counts, LostSession
from multipaxos.torture.convergence import first_difference, tree_digest
from multipaxos.torture.damage import make_flaw, vouched_for
from multipaxos.torture.ledger import ReplicaLedger, join, read_journal
from multipaxos.torture.nemesis import Struck, ends_by_itself
from multipaxos.torture.partitions import cuts_of
from multipaxos.torture.timeline import page
from multipaxos.torture.verdict import of_nemeses, reasons_against
from multipaxos.torture.workload import HOT, KEPT_MAX, Mind
from multipaxos.wire import zookeeper as zk

SEGMENT_BYTES = 64 << 10
FIRST, SECOND = ballot_of(1, 1), ballot_of(2, 2)


def replica(number: int, votes: dict[int, dict[int, bytes]], prefix: int = 0) -> ReplicaLedger:
    return ReplicaLedger(number, votes, {}, prefix)


# -- the ledger of all journals


def test_a_slot_is_chosen_by_a_majority_at_one_ballot() -> None:
    found = join([replica(1, {1: {FIRST: b"a"}}), replica(2, {1: {FIRST: b"a"}}), replica(3, {1: {SECOND: b"b"}})])
    assert found.decrees == [(1, b"a")] and found.contradictions == []


def test_votes_of_different_ballots_are_not_counted_together() -> None:
    found = join([replica(1, {1: {FIRST: b"a"}}), replica(2, {1: {SECOND: b"a"}}), replica(3, {})])
    assert found.decrees == [] and found.contradictions == []


def test_two_chosen_decrees_and_two_at_one_ballot_are_contradictions() -> None:
    two = join(
        [
            replica(1, {1: {FIRST: b"a"}}),
            replica(2, {1: {FIRST: b"a", SECOND: b"b"}}),
            replica(3, {1: {SECOND: b"b"}}),
        ]
    )
    assert [text[:3] for text in two.contradictions] == ["I2:"]
    at_one = join([replica(1, {1: {FIRST: b"a"}}), replica(2, {1: {FIRST: b"b"}}), replica(3, {})])
    assert [text[:3] for text in at_one.contradictions] == ["I1:"]


def test_what_was_learned_must_have_been_chosen() -> None:
    learner = replica(3, {})
    learner.learned[1] = (FIRST, b"b")
    other = join([replica(1, {1: {FIRST: b"a"}}), replica(2, {1: {FIRST: b"a"}}), learner])
    assert [text[:3] for text in other.contradictions] == ["I6:"]
    unfounded = join([replica(1, {1: {FIRST: b"b"}}), replica(2, {}), learner])
    assert [text[:3] for text in unfounded.contradictions] == ["I8:"]


def test_a_mark_beyond_what_is_chosen_is_a_contradiction() -> None:
    found = join([replica(1, {1: {FIRST: b"a"}}, prefix=2), replica(2, {1: {FIRST: b"a"}}), replica(3, {})])
    assert [text[:3] for text in found.contradictions] == ["I6:"]


# -- damage


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A replica's directory with a journal of two starts, cleanly closed."""
    path = tmp_path / "replica-1"
    for start in range(2):
        opened = DataDirectory.create(str(path), 1) if start == 0 else DataDirectory.open(str(path), 1)
        if not opened.cluster:
            opened.set_cluster("c" * 32, "l" * 32)
        journal = opened.journal(SEGMENT_BYTES)
        list(journal.recovered())
        for slot in range(start * 30 + 1, start * 30 + 31):
            journal.append([AcceptedRecord(FIRST, slot, b"\x01" + bytes(50), slot - 1)])
            journal.flush()
        journal.append([MarkRecord(start * 30 + 30)])
        journal.close()
        opened.close()
    return path


def test_a_journal_is_read_back_whole(directory: Path) -> None:
    found = read_journal(directory, 1)
    assert sorted(found.votes) == list(range(1, 61)) and found.prefix == 60 and found.cut == ""


def _start(directory: Path) -> None:
    opened = DataDirectory.open(str(directory), 1)
    try:
        journal = opened.journal(SEGMENT_BYTES)
        list(journal.recovered())
        journal.close()
    finally:
        opened.close()


@pytest.mark.parametrize("variant", ["flip", "cut", "identity"])
def test_damage_is_always_noticed_and_mended_without_a_trace(directory: Path, variant: str) -> None:
    assert vouched_for(directory, 1)
    for seed in range(25):
        flaw = make_flaw(variant, directory, 1, Random(seed))
        with pytest.raises((JournalDamaged, DirectoryRefused)) as refused:
            _start(directory)
        assert flaw.path.name in str(refused.value)
        flaw.mend()
        assert sorted(read_journal(directory, 1).votes) == list(range(1, 61))
    _start(directory)


# -- effects and the verdict


def strike(name: str, is_shown: bool, **effects: Any) -> Strike:
    return Strike(name, "leader", 1.0, 2.0, 2.5, Struck([1], effects, is_shown))


def reasons(chronicle: Chronicle, counts: Counts | None = None, unknown: int = 0) -> list[str]:
    sums = accounts.Accounts(calls=100, acknowledged=100 - unknown, acknowledged_writes=50, unknown=unknown)
    nemeses = of_nemeses(chronicle.strikes, ["kill", "clock"], {"clock": "no C compiler"})
    return reasons_against(chronicle, counts or Counts(), sums, nemeses, [])


def test_effects_are_added_up_and_what_is_missing_is_named() -> None:
    strikes = [strike("kill", True, **{"ended by signal 9": 2}), strike("kill", False), strike("kill", True)]
    found = of_nemeses(strikes, ["kill", "clock", "storm"], {"clock": "no C compiler"})
    assert found["kill"]["strikes"] == 3 and found["kill"]["shown"] == 2
    assert found["kill"]["effects"] == {"ended by signal 9": 2}
    assert found["clock"]["skipped"] == "no C compiler"
    assert found["storm"]["skipped"] == "not reached in this time"


def test_a_nemesis_without_any_effect_spoils_the_verdict() -> None:
    assert reasons(Chronicle(strikes=[strike("kill", True)])) == []
    assert reasons(Chronicle(strikes=[strike("kill", True), strike("kill", False)])) == []
    assert len(reasons(Chronicle(strikes=[strike("kill", False), strike("clock", True)]))) == 1
    assert reasons(Chronicle()) == ["no nemesis showed an effect: nothing was shown"]


def test_complaints_lost_sessions_and_many_unknowns_spoil_the_verdict() -> None:
    shown = Chronicle(strikes=[strike("kill", True)])
    complained = strike("kill", True)
    complained.struck.complaints.append("replica 1 went on")
    assert len(reasons(Chronicle(strikes=[complained]))) == 1
    lost = Counts(lost_sessions=[LostSession(3.0, 1, 0x5, 0.4, False), LostSession(4.0, 2, 0x6, 9.0, True)])
    assert len(reasons(shown, lost)) == 1
    assert reasons(shown, unknown=19) == [] and len(reasons(shown, unknown=20)) == 1


class Dying:
    """What a nemesis sees of a replica that ends, or does not."""

    id = 1

    def __init__(self, is_alive: bool, exit_code: int, reason: str) -> None:
        self.is_alive = is_alive
        self.exit_code = exit_code
        self.reason = reason

    async def wait(self, condition: Any, seconds: float) -> bool:
        return bool(condition(self))


@pytest.mark.parametrize(
    ("one", "complaints"),
    [
        (Dying(False, 1, "sync: Input/output error"), 0),
        (Dying(False, 1, "goodbye"), 1),
        (Dying(False, 0, "Input/output error"), 1),
        (Dying(True, 0, ""), 1),
    ],
)
def test_a_replica_that_has_to_stop_must_say_why(one: Dying, complaints: int) -> None:
    struck = Struck([1])
    asyncio.run(ends_by_itself(cast(Any, one), struck, "a failed sync", ("Input/output error",)))
    assert len(struck.complaints) == complaints


def test_partitions_leave_a_majority_or_say_who_is_cut_off() -> None:
    for count in (3, 5):
        others = list(range(2, count + 1))
        bridge = cuts_of("bridge", 1, others)
        assert bridge and all((target, source) in bridge for source, target in bridge)
        assert all(2 not in cut for cut in bridge), "the bridge reaches everybody"
        mute = cuts_of("leader-mute", 1, others)
        assert mute == [(1, other) for other in others]
    ring = cuts_of("ring", 1, [2, 3, 4, 5])
    reached = {one: 5 - sum(1 for source, _ in ring if source == one) for one in range(1, 6)}
    assert set(reached.values()) == {3}


# -- what clients ask for, and the sums over it


def answer(request: tuple[int, bytes], index: int, err: int, body: bytes = b"") -> Call:
    opcode, record = request
    path = zk.decode_path(record) if opcode in (zk.OP_CREATE, zk.OP_CREATE2, zk.OP_DELETE) else ""
    return Call(1, 1, 1, index, opcode, path, record, index, index + 1, index, err, index, body)


def test_values_never_repeat_and_own_znodes_do_not_pile_up() -> None:
    mind = Mind(1, random.Random(3))
    seen: set[bytes] = set()
    standing: set[str] = set()
    for index in range(4000):
        request = mind.next()
        opcode, record = request
        if opcode in (zk.OP_CREATE, zk.OP_CREATE2) and index:
            assert record not in seen
            seen.add(record)
            path = zk.decode_path(record)
            if path not in HOT:
                standing.add(path)
            mind.answered(answer(request, index, 0, zk.encode_path(path)))
        elif opcode == zk.OP_MULTI:
            for each, operation in zk.read_multi(record, 0)[0].operations:
                if each == zk.OP_CREATE2:
                    standing.add(cast(zk.CreateRequest, operation).path)
                elif each == zk.OP_DELETE:
                    standing.discard(cast(zk.VersionedPath, operation).path)
        elif opcode == zk.OP_DELETE:
            standing.discard(zk.decode_path(record))
            mind.answered(answer(request, index, 0))
        assert len(standing) <= KEPT_MAX
    assert len(seen) > 400


def test_a_create_that_turns_out_done_happened_once_and_is_not_asked_a_third_time() -> None:
    mind = Mind(1, random.Random(5))
    request = (zk.OP_CREATE2, zk.encode_create("/n1.7", b"1.7"))
    mind.unknown(answer(request, 1, 0))
    mind.next()  # the create of the queue's parent, asked for at the very beginning
    assert mind.next() == request
    mind.answered(answer(request, 2, zk.ERR_NODE_EXISTS))
    assert mind.happened_once == 1
    assert mind.next() != request


def test_an_acknowledged_write_without_a_place_in_the_ledger_is_lost() -> None:
    history = History()
    history.calls.append(answer((zk.OP_CREATE, zk.encode_create("/a", b"1")), 1, 0))
    history.calls.append(answer((zk.OP_CREATE, zk.encode_create("/b", b"1")), 2, zk.ERR_NODE_EXISTS))
    sums = accounts.settle(history)
    assert (sums.acknowledged, sums.acknowledged_writes, sums.lost) == (2, 1, 1)
    assert "/a" in sums.named[0]


def test_trees_that_differ_are_told_by_path() -> None:
    stat = zk.Stat(1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1)
    one = {"/": (b"", stat), "/a": (b"1", stat)}
    other = {"/": (b"", stat), "/a": (b"2", stat)}
    assert first_difference(one, dict(one)) == "" and tree_digest(one) == tree_digest(dict(one))
    assert first_difference(one, other).startswith("/a:") and tree_digest(one) != tree_digest(other)
    assert first_difference(one, {"/": (b"", stat)}).startswith("/a:")


# -- the page


def test_the_page_shows_everything_and_asks_for_nothing() -> None:
    hostile = strike("kill", True, said="<script>alert(1)</script>")
    chronicle = Chronicle(
        lanes={1: [(0.0, "leader"), (4.0, "down")], 2: [(0.0, "follower"), (5.0, "paused"), (7.0, "waiting")]},
        leaders=[(0.1, 1, "1.1"), (5.0, 2, "2.2")],
        strikes=[hostile, strike("noise", False)],
        ended_s=12.0,
    )
    counts = Counts(per_second=[100, 0, 250], gaps=[(1.0, 2.0)])
    verdict = {
        "verdict": "bad", "replicas": 2, "seed": 7, "acknowledged": 350, "per_second": 29.0, "unknown_share": 0.01,
        "lost": 1, "violations": ["I8: <b>"], "reasons": ["it hurts"], "longest_gap_s": 1.0, "leader_changes": 2,
        "seconds": 12.0, "nemeses": {"clock": {"skipped": "no C compiler"}, "kill": {"skipped": ""}},
    }  # fmt: skip
    drawn = page(chronicle, counts, verdict)
    assert not re.search(r"https?://|<script|<link|<img|url\(|<b>\W*</li>", drawn)
    assert "&lt;script&gt;" in drawn and "I8: &lt;b&gt;" in drawn
    for text in ("replica 1 down", "replica 2 paused", "at ballot 2.2", "no effect shown", "no C compiler", "it hurts"):
        assert text in drawn
    assert "prefers-color-scheme: dark" in drawn
    assert drawn.count("<svg") == drawn.count("</svg>") == 1
    assert json.dumps(hostile.as_json())


def test_states_have_words() -> None:
    from multipaxos.torture.chronicle import state_of

    cluster = cast(Any, SimpleNamespace(modes={1: "leader", 2: ""}))
    for one, word in (
        (SimpleNamespace(id=1, is_alive=True, is_paused=False), "leader"),
        (SimpleNamespace(id=2, is_alive=True, is_paused=False), "waiting"),
        (SimpleNamespace(id=1, is_alive=True, is_paused=True), "paused"),
        (SimpleNamespace(id=1, is_alive=False, is_paused=False), "down"),
    ):
        assert state_of(cast(Any, one), cluster) == word
