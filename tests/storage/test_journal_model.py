"""The journal beside its obvious twin, a list of records: random lives with crashes, stops and failures of the disk."""

import errno
import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from multipaxos.core.records import (
    AcceptedRecord,
    KeptRecord,
    LearnedRecord,
    MarkRecord,
    PromisedRecord,
    Record,
)
from multipaxos.sim.crash_life import Life
from multipaxos.sim.crash_verdict import SEGMENT_BYTES, check_crash
from multipaxos.storage.faults import JournalFailed, JournalFull

SLOTS = st.integers(1, 40)
BALLOTS = st.integers(0, 30).map(lambda round_number: round_number * 65536 + 1)
BODIES = st.one_of(st.binary(max_size=60), st.integers(0, 9000).map(lambda size: b"\x8d\x50\x78\x0a" * (size // 4)))
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(AcceptedRecord, BALLOTS, SLOTS, BODIES, st.integers(0, 40)),
    st.builds(LearnedRecord, BALLOTS, SLOTS, BODIES),
    st.builds(PromisedRecord, BALLOTS),
    st.builds(MarkRecord, SLOTS),
    st.builds(KeptRecord, st.binary(max_size=30)),
)


class JournalBesideAList(RuleBasedStateMachine):
    """``life.told`` is the list; ``life.safe`` of it must never be lost."""

    @initialize()
    def begin(self) -> None:
        self.life = Life.begun()

    @rule(records=st.lists(RECORDS, min_size=1, max_size=5), group=st.sampled_from([0, 0, 0, 1, 7]))
    def append(self, records: list[Record], group: int) -> None:
        self.life.append(*records, group=group)

    @rule()
    def flush(self) -> None:
        self.life.flush()
        assert self.life.safe == len(self.life.told)

    @rule()
    def prepare(self) -> None:
        self.life.journal.prepare()

    @rule(quiet=st.integers(0, 20_000_000))
    def idle(self, quiet: int) -> None:
        self.life.journal.idle(quiet)

    @rule()
    def stop_and_start(self) -> None:
        life = self.life
        told = life.told
        life.close()
        life.kill()
        assert life.told[: len(told)] == told
        assert all(isinstance(record, PromisedRecord) for _, record in life.told[len(told) :])

    @rule(seed=st.integers(0, 1 << 30), is_power=st.booleans())
    def crash(self, seed: int, is_power: bool) -> None:
        """In the middle of a flush, at any call of it, or between two."""
        life = self.life
        source = random.Random(seed)
        life.disk.fail_at(source.randrange(6), errno.EIO, ["write", "sync", "rename", "create"])
        try:
            life.flush()
            life.journal.prepare()
        except JournalFailed:
            pass
        disk = life.disk.kill()
        if is_power:
            mask = source.getrandbits(len(disk.units()) or 1)
            disk = disk.lose_power(lambda unit: bool(mask >> unit & 1))
        check_crash(disk.copy(), life.told, life.safe)
        life.disk = disk
        life.start()

    @precondition(lambda self: self.life.disk.space is None)
    @rule(space=st.integers(0, 20_000))
    def fill_the_disk(self, space: int) -> None:
        life = self.life
        life.disk.space = space
        try:
            life.flush()
        except JournalFull:
            assert life.safe < len(life.told)
        life.disk.space = None

    @rule(first=SLOTS, last=SLOTS, group=st.sampled_from([0, 1, 7]))
    def read(self, first: int, last: int, group: int) -> None:
        learned: dict[int, tuple[int, bytes]] = {}
        voted: dict[int, tuple[int, bytes]] = {}
        for of_group, record in self.life.told[: self.life.safe]:
            if of_group == group and isinstance(record, LearnedRecord):
                learned[record.slot] = (record.ballot, record.decree)
            elif of_group == group and isinstance(record, AcceptedRecord):
                voted[record.slot] = (record.ballot, record.decree)
        expected = {**voted, **learned}
        assert self.life.journal.read(first, last, group) == [
            (slot, *expected[slot]) for slot in sorted(expected) if first <= slot <= last
        ]

    @invariant()
    def positions_are_ordered(self) -> None:
        if hasattr(self, "life"):
            assert self.life.journal.durable <= self.life.journal.appended
            assert self.life.journal.room() < 10 * SEGMENT_BYTES


TestJournalBesideAList = JournalBesideAList.TestCase
TestJournalBesideAList.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
