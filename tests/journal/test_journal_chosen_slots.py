"""What one journal knows to be chosen: the same as a start would rebuild, and nothing a vote alone says (rule-R5)."""

from collections.abc import Sequence

import pytest
from journal_maker import BALLOT, BIRTH, ledger, voted

from multipaxos.core.ballot import ballot_of
from multipaxos.core.decree import encode_batch
from multipaxos.core.membership import Configuration
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, PromisedRecord, Record
from multipaxos.core.replica import Replica
from multipaxos.core.settings import Settings
from multipaxos.host.chosen_slots import Chosen, ChosenReader
from multipaxos.host.divergence import compare
from multipaxos.host.replay import Replay, SlotMissing
from multipaxos.service.service import Service
from multipaxos.service.settings import ServiceSettings
from multipaxos.sim.campaign import make_world

HIGHER = ballot_of(2, 1)


def read(records: Sequence[Record]) -> tuple[list[Chosen], ChosenReader]:
    reader = ChosenReader([(0, record) for record in records])
    return list(reader.slots()), reader


def value(number: int) -> bytes:
    """A decree unlike others."""
    return encode_batch(number, [])


def vote(slot: int, number: int = 0, ballot: int = BALLOT, prefix: int = 0) -> AcceptedRecord:
    return AcceptedRecord(ballot, slot, value(number or slot), prefix)


def told(chosen: Sequence[Chosen]) -> list[tuple[int, int, bytes | None]]:
    return [(one.slot, one.ballot, one.decree) for one in chosen]


def kinds(reader: ChosenReader) -> list[tuple[str, int]]:
    return [(one.kind, one.slot) for one in reader.findings]


def test_a_vote_is_not_a_chosen_decree() -> None:
    chosen, reader = read([vote(1), vote(2), vote(3)])
    assert chosen == []
    assert [slot for slot, _, _, _ in reader.open_votes()] == [1, 2, 3]


def test_a_mark_makes_the_last_vote_the_chosen_decree() -> None:
    chosen, reader = read([vote(1), vote(2), vote(2, 22, HIGHER), vote(3, ballot=HIGHER, prefix=2)])
    assert told(chosen) == [(1, BALLOT, value(1)), (2, HIGHER, value(22))]
    assert reader.promised == HIGHER
    assert not reader.findings


def test_a_learned_decree_counts_before_a_vote_and_needs_no_mark() -> None:
    chosen, reader = read([vote(1, 11), LearnedRecord(HIGHER, 1, value(1)), LearnedRecord(HIGHER, 3, value(3))])
    assert told(chosen) == [(1, HIGHER, value(1))]
    assert chosen[0].is_learned
    assert [(slot, known) for slot, _, _, known in reader.open_votes()] == [(3, True)]
    assert not reader.findings


def test_what_was_learned_above_a_gap_is_reached_when_the_gap_is_filled() -> None:
    chosen, _ = read([LearnedRecord(BALLOT, 2, value(2)), LearnedRecord(BALLOT, 3, value(3)), vote(1), MarkRecord(1)])
    assert [one.slot for one in chosen] == [1, 2, 3]


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([vote(1), MarkRecord(2)], [("missing", 2)]),
        ([PromisedRecord(HIGHER), vote(1)], [("order", 1)]),
        ([PromisedRecord(HIGHER), PromisedRecord(BALLOT)], [("order", 0)]),
        ([vote(1), vote(1, 11)], [("contradiction", 1)]),
        ([vote(1), vote(2), MarkRecord(2), MarkRecord(1)], [("prefix", 0)]),
        ([vote(1), MarkRecord(1), vote(1, ballot=HIGHER)], [("contradiction", 1)]),
        ([LearnedRecord(BALLOT, 2, value(2)), LearnedRecord(BALLOT, 2, value(3))], [("contradiction", 2)]),
        ([vote(1, 1, HIGHER), LearnedRecord(BALLOT, 1, value(11))], [("contradiction", 1)]),
        ([vote(1), MarkRecord(1), LearnedRecord(BALLOT, 1, value(1))], [("contradiction", 1)]),
    ],
)
def test_what_no_replica_writes_is_found(records: list[Record], found: list[tuple[str, int]]) -> None:
    _, reader = read(records)
    assert kinds(reader) == found


def test_a_slot_that_is_said_to_be_chosen_and_nowhere_is_told_as_missing() -> None:
    chosen, _ = read([vote(1), vote(3), MarkRecord(3)])
    assert [(one.slot, one.decree is None) for one in chosen] == [(1, False), (2, True), (3, False)]
    replay = Replay()
    replay.apply(1, ledger(1)[0])
    with pytest.raises(SlotMissing):
        replay.apply(3, value(3))


def started(records: Sequence[Record], listed: Configuration) -> tuple[list[tuple[int, bytes]], str]:
    """The ledger and the digest that a real start makes of these records (``host/process.py``)."""
    settings = Settings()
    replica = Replica(9, listed, 9, 1, 9, settings)
    service = Service(9, 1, ServiceSettings(secret=bytes(32)))
    for applied in replica.recover(records).applied:
        service.applied(applied, 0)
    found = [(slot, replica.ledger.decree(slot)) for slot in range(1, replica.ledger.chosen_prefix + 1)]
    return found, service.machine.digest()


def checked(records: Sequence[Record], listed: Configuration) -> int:
    """The reader and the replay against a real start; how many slots there are."""
    chosen, reader = read(records)
    assert not reader.findings, reader.findings[0].text
    expected, digest = started(records, listed)
    assert [(one.slot, one.decree) for one in chosen] == expected
    replay = Replay()
    for one in chosen:
        assert one.decree is not None
        replay.apply(one.slot, one.decree)
    assert replay.state().digest == digest
    return len(chosen)


def test_it_is_what_a_start_rebuilds() -> None:
    assert checked(voted(ledger(30)), BIRTH) == 30


@pytest.mark.parametrize("seed", [3, 8, 21, 34])
def test_it_is_what_a_start_rebuilds_after_faults(seed: int) -> None:
    """Random worlds with crashes, partitions and elections: no false finding, and the state of a start."""
    world = make_world(seed, False)
    world.run()
    listed = next(iter(world.replicas.values())).core.membership.newest()
    slots = [checked(list(process.disk.records), listed) for process in world.replicas.values()]
    assert max(slots) > 50
    readers = [
        (f"replica {replica}", ChosenReader([(0, record) for record in process.disk.records]))
        for replica, process in world.replicas.items()
    ]
    assert compare(readers).slot == 0
