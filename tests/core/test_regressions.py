"""Schedules that once broke the core, each in its shortest form; the docstring of a test tells the schedule.

The world here is a table: replicas whose writes are durable at once, and messages that lie where they are until the test
delivers or drops them.
"""

from collections.abc import Callable

import pytest

from multipaxos.core.ballot import Ballot, ReplicaId, Slot, ballot_of
from multipaxos.core.catchup import answer_fetch, runs_of
from multipaxos.core.decree import NOOP, encode_batch, encode_configuration, encode_epoch, encode_segment
from multipaxos.core.effects import Applied, Effects
from multipaxos.core.inputs import Disk, Input, Read, Submit
from multipaxos.core.leader import PromisePages
from multipaxos.core.ledger import Ledger
from multipaxos.core.membership import Configuration, Member
from multipaxos.core.messages import (
    Accept,
    Accepted,
    Echo,
    Fetch,
    Forward,
    Heartbeat,
    Learn,
    Message,
    Nack,
    Prefix,
    Prepare,
    ProbeAnswer,
    Promise,
    PValue,
    Settled,
)
from multipaxos.core.reads import Reads
from multipaxos.core.reasons import note_text
from multipaxos.core.records import Record
from multipaxos.core.replica import Replica
from multipaxos.core.settings import Settings

MS = 1_000_000
Passes = Callable[[ReplicaId, ReplicaId, Message], bool]


def everything(sender: ReplicaId, to: ReplicaId, message: Message) -> bool:
    return True


class Table:
    """Replicas under full control."""

    def __init__(self, count: int, settings: Settings | None = None) -> None:
        ids = range(1, count + 1)
        self.listed = Configuration(0, tuple(Member(i, f"h:{i}", "", 0, True) for i in ids), 64, "")
        self.settings = settings or Settings()
        self.now = 1000 * MS
        self.drawn = 1
        self.replicas: dict[ReplicaId, Replica] = {}
        self.journals: dict[ReplicaId, list[Record]] = {i: [] for i in ids}
        self.marks = {i: 100 + i for i in ids}
        self.starts = dict.fromkeys(ids, 0)
        self.applied: dict[ReplicaId, list[Applied]] = {}
        self.readable: dict[ReplicaId, list[int]] = {}
        self.stopped: dict[ReplicaId, str] = {}
        self.wake: dict[ReplicaId, int] = {}
        self.sent: list[tuple[ReplicaId, ReplicaId, Message]] = []

    def start(self, *ids: ReplicaId) -> None:
        for i in ids:
            self.starts[i] += 1
            replica = Replica(
                i, self.listed, self.marks[i], self.starts[i], self.starts[i] * 1000 + i, self.settings, True
            )
            self.replicas[i] = replica
            self.applied[i] = []
            self.readable[i] = []
            self._carry_out(i, replica.recover(self.journals[i]))
            self._carry_out(i, replica.begin(self.now, self._draw()))

    def kill(self, *ids: ReplicaId) -> None:
        for i in ids:
            del self.replicas[i]
        self.sent = [sent for sent in self.sent if sent[0] not in ids and sent[1] not in ids]

    def empty(self, i: ReplicaId) -> None:
        """The disk of ``i`` is gone; it would start with a new directory."""
        self.journals[i] = []
        self.marks[i] += 800

    def step(self, i: ReplicaId, *inputs: Input) -> None:
        if i in self.replicas:
            self._carry_out(i, self.replicas[i].step(inputs, self.now, self._draw()))

    def deliver(self, passes: Passes = everything) -> None:
        """Deliver everything, and what follows from it; what does not pass is lost."""
        count = 0
        while self.sent:
            sender, to, message = self.sent.pop(0)
            if passes(sender, to, message):
                self.step(to, message)
            count += 1
            assert count < 20_000, "a storm"

    def hold(self, holds: Passes) -> None:
        """Deliver everything but what ``holds`` says, which stays on the table."""
        held: list[tuple[ReplicaId, ReplicaId, Message]] = []
        while self.sent:
            sender, to, message = self.sent.pop(0)
            if holds(sender, to, message):
                held.append((sender, to, message))
            else:
                self.step(to, message)
        self.sent = held

    def run(self, milliseconds: int, passes: Passes = everything) -> None:
        """Let time pass: timers fire when they are due, messages take none."""
        end = self.now + milliseconds * MS
        self.deliver(passes)
        while True:
            due = min([self.wake[i] for i in self.replicas], default=end)
            if due > end:
                break
            self.now = max(self.now, due)
            for i in sorted(self.replicas):
                if i in self.replicas and self.wake[i] <= self.now:
                    self.step(i)
            self.deliver(passes)
        self.now = end

    def suspect(self, i: ReplicaId) -> None:
        """``i`` alone finds its leader silent."""
        self.now = max(self.now, self.replicas[i].election.suspect_at)
        for other, replica in self.replicas.items():
            if other != i:
                replica.election.suspect_at = self.now + 900 * MS
        self.step(i)

    def elect(self, i: ReplicaId, passes: Passes = everything) -> Ballot:
        self.suspect(i)
        self.deliver(passes)
        assert self.replicas[i].standing == "leader"
        return self.replicas[i].leader_ballot

    def slots(self, i: ReplicaId) -> dict[Slot, tuple[Ballot, bytes]]:
        return {
            applied.slot: (applied.reign, b"".join(c for _, _, c in applied.commands)) for applied in self.applied[i]
        }

    def _draw(self) -> int:
        self.drawn = (self.drawn * 1103515245 + 12345) & 0x7FFFFFFF
        return self.drawn

    def _carry_out(self, i: ReplicaId, effects: Effects) -> None:
        for reason, operands in effects.notes:
            note_text(reason, operands)
        if effects.stop:  # nothing of this step leaves
            self.stopped[i] = effects.stop
            del self.replicas[i]
            return
        assert not effects.malformed, "nobody lies here"
        self.journals[i] += effects.writes
        self.applied[i] += effects.applied
        self.readable[i] += effects.readable
        self.sent += [(i, to, message) for to, message in effects.messages + effects.when_durable]
        self.wake[i] = effects.wake_at
        self.replicas[i].check()


# ---------------------------------------------------------------- safety


def test_nothing_is_born_again_when_somebody_knows_slot_1() -> None:
    """wiped-at-birth: 1 and 2 choose the birth and a command, 3 hears nothing of it; all stop, the disk of 1 is emptied.
    1 and 3 start, one leads and waits for all first voters; 2 comes back and promises. It has *learned* slot 1, so it
    reports no vote in it, only a chosen prefix. The leader took that for "nobody voted" and proposed a second birth,
    which the two empty directories chose."""
    table = Table(3)
    table.start(1, 2, 3)
    table.elect(1, lambda _, to, m: not (to == 3 and isinstance(m, (Accept, Prefix, Heartbeat, Learn))))
    table.step(1, Submit((b"acknowledged",)))
    table.deliver(lambda _, to, m: to != 3)
    born = [a.configuration for a in table.applied[2] if a.configuration]
    assert table.slots(2)[3][1] == b"acknowledged"
    table.kill(1, 2, 3)
    table.empty(1)
    table.start(1, 3)
    table.run(3000)
    table.start(2)
    # What 2 could answer to a second birth comes too late; its promise comes in time.
    table.run(600, lambda sender, to, m: not (sender == 2 and isinstance(m, (Settled, Learn, Nack))))
    for i in table.replicas:
        assert [a.configuration for a in table.applied[i] if a.configuration] in ([], born)
    table.run(5000)
    assert 1 in table.stopped  # slot 1 names another directory
    assert table.slots(3)[3][1] == b"acknowledged"


def test_a_promise_of_an_emptied_directory_does_not_count_once_the_marks_are_known() -> None:
    """Five voters. Slots 1 and 2 are chosen, 3 never heard of them; slot 3, acknowledged, is accepted by 1, 2 and 5. All
    stop, the disk of 1 is emptied; 1, 3 and 4 start. 3 does not know the marks yet and takes the promise of the empty 1,
    then fetches slot 1, which names another directory, then gets the promise of 4. The three promises made it leader,
    and it put its epoch decree over the acknowledged slot 3."""
    table = Table(5)
    table.start(1, 2, 3, 4, 5)
    table.elect(1, lambda _, to, m: not (to == 3 and isinstance(m, (Accept, Prefix, Heartbeat, Learn))))
    table.step(1, Submit((b"acknowledged",)))
    table.deliver(lambda _, to, m: to not in (3, 4))
    assert table.slots(5)[3][1] == b"acknowledged"
    table.kill(1, 2, 3, 4, 5)
    table.empty(1)
    table.now += 5000 * MS
    table.start(1, 3, 4)
    table.suspect(3)
    # The empty 1 is quick but hears nothing of slot 1; of the answers of 4 the promise is the slowest.
    table.hold(
        lambda s, to, m: (
            isinstance(m, Learn) or (1 in (s, to) and 3 not in (s, to)) or (s == 4 and isinstance(m, Promise))
        )
    )
    assert table.replicas[3].campaign is not None and 1 in table.replicas[3].campaign.promised
    table.hold(lambda s, to, m: to == 1)
    assert table.replicas[3].membership.is_born
    assert table.replicas[3].standing == "candidate"
    table.run(300, lambda _, to, m: to != 1)
    table.start(2, 5)
    table.run(5000)
    for i in (2, 3, 4, 5):
        assert table.slots(i)[3][1] == b"acknowledged"


def test_a_leadership_that_stands_on_an_emptied_directory_ends_with_the_birth() -> None:
    """As before, but 4 voted in slot 1 without learning it. Before the marks are known 3 leads with the promises of 1
    and 4 and proposes the birth again; it learns from 2, as settled, that the birth is chosen. Its phase 1 is worth
    nothing from then on: it must not propose in slot 2."""
    table = Table(5)
    table.start(1, 2, 3, 4, 5)

    def first(_: ReplicaId, to: ReplicaId, m: Message) -> bool:
        if to == 3:
            return not isinstance(m, (Accept, Prefix, Heartbeat, Learn))
        if to == 4:
            return not isinstance(m, (Prefix, Heartbeat, Learn)) and not (isinstance(m, Accept) and m.slot > 1)
        return True

    old = table.elect(1, first)
    assert table.replicas[2].applied == 2
    assert table.replicas[4].applied == 0
    table.kill(1, 2, 3, 4, 5)
    table.empty(1)
    table.now += 5000 * MS
    table.start(1, 3, 4)
    table.suspect(3)
    table.hold(lambda s, to, m: isinstance(m, Accept))
    assert table.replicas[3].standing == "leader"
    ballot = table.replicas[3].leader_ballot
    table.start(2)
    table.deliver(lambda s, to, m: 1 not in (s, to))
    assert table.replicas[3].membership.is_born
    assert table.replicas[3].leader_ballot != ballot
    table.start(5)
    table.run(5000, lambda s, to, m: 1 not in (s, to))
    for i in (2, 3, 4, 5):
        assert table.slots(i)[2] == (old, b"")  # the epoch decree of the first leader, nothing over it


# ---------------------------------------------------------------- liveness


def test_catch_up_does_not_hang_on_a_source_that_died() -> None:
    """Five voters. Leader 1 tells 3, which has missed much, of a prefix that 2 and 4 do not know yet, and dies, 5 with
    it. Only 3 reaches both 2 and 4, so only 3 can lead; but whatever it lacks it asked of 1 alone, and each vain fetch
    prolonged its campaign: nothing was ever chosen again, though 3 is quorum-connected."""
    table = Table(5)
    table.start(1, 2, 3, 4, 5)
    table.elect(1)
    for number in range(8):
        table.step(1, Submit((b"%d" % number,)))
        table.deliver(
            lambda _, to, m, is_last=number == 7: (
                not (to == 3 and isinstance(m, (Accept, Prefix)))
                and not (is_last and to in (2, 4) and isinstance(m, Prefix))
            )
        )
    table.now = table.wake[1]
    table.step(1)
    table.deliver(lambda _, to, m: to == 3 and isinstance(m, Heartbeat))
    table.kill(1, 5)
    table.run(20_000, lambda sender, to, m: {sender, to} != {2, 4})
    assert table.replicas[3].is_leading
    assert table.replicas[3].applied > 10


def test_two_dead_ballots_do_not_keep_each_other_alive() -> None:
    """dead-ballot, twice: 2 promised 2.3, 5 promised 2.4, and 3 and 4 are dead. Leader 1 needs both 2 and 5. 2 is nearer
    than 5, so its nack came just before the time to wait for 4 was over, and began the waiting for 3 anew; then that of
    5 began the waiting for 4 anew: 1 led on for ever, and nothing was chosen."""
    table = Table(5)
    table.start(1, 2, 3, 4, 5)
    table.elect(1)
    table.kill(3, 4)
    table.replicas[2].acceptor.promise(ballot_of(2, 3))
    table.replicas[5].acceptor.promise(ballot_of(2, 4))
    delays = {2: 10, 5: 20}
    under_way: list[tuple[int, ReplicaId, ReplicaId, Message]] = []
    table.step(1, Submit((b"x",)))
    end = table.now + 5000 * MS
    while table.now < end:
        for sender, to, message in table.sent:
            delay = 0 if sender == to else delays.get(to if sender == 1 else sender, 1)
            under_way.append((table.now + delay * MS, sender, to, message))
        table.sent = []
        table.now = min([at for at, *_ in under_way] + [table.wake[i] for i in table.replicas])
        due = [one for one in under_way if one[0] <= table.now]
        under_way = [one for one in under_way if one[0] > table.now]
        for _, _, to, message in sorted(due, key=lambda one: one[0]):
            table.step(to, message)
        for i in sorted(table.replicas):
            if table.wake[i] <= table.now:
                table.step(i)
    assert b"x" in [command for _, command in table.slots(1).values()]


def test_a_lost_segment_is_sent_again_while_clients_go_on_writing() -> None:
    """A full outbox drops one forwarded segment; the connection stays. Everything behind it is a gap to the leader, but
    each further segment counted as progress of the gateway, which sent nothing again as long as clients wrote."""
    table = Table(3)
    table.start(1, 2, 3)
    table.elect(1)
    table.step(2, Submit((b"lost",)))
    table.deliver(lambda _, to, m: not isinstance(m, Forward))
    for number in range(20):
        table.step(2, Submit((b"%d" % number,)))
        table.run(100)
    assert sum(len(applied.commands) for applied in table.applied[1]) >= 20


def test_a_repeated_page_of_catch_up_does_not_double_the_pages_that_follow() -> None:
    """3 lacks 60 slots, a page each. An answer that came late was asked for again, so two came; each of them called for
    the next page, of which again two came, to the end, and with every late answer one more."""
    table = Table(3, Settings(page_bytes_max=1))
    table.start(1, 2, 3)
    table.elect(1)
    for number in range(60):
        table.step(1, Submit((b"%d" % number,)))
        table.deliver(lambda _, to, m: to != 3)
    table.now = table.wake[1]
    table.step(1)
    fetches = 0
    learns = 0
    while table.sent:
        _, to, message = table.sent.pop(0)
        fetches += isinstance(message, Fetch)
        table.step(to, message)
        if isinstance(message, Learn):
            learns += 1
            if learns <= 6:
                table.step(to, message)
    assert table.replicas[3].chosen_prefix == 62
    assert fetches <= 62


def test_a_leader_below_a_floor_fetches_before_it_campaigns_again() -> None:
    """2 knows more than the leader and has let go of it in memory, so it answers an accept only with its floor. The
    leader stood down without noting that there is something to fetch, and campaigned again and again from below."""
    table = Table(3, Settings(ledger_bytes_max=0))
    table.start(1, 2, 3)
    ballot = table.elect(1)
    assert table.replicas[2].ledger.base == 2
    leader = table.replicas[1]
    table.step(1, Submit((b"x",)))
    table.sent = []
    table.step(1, Settled(2, ballot, 3, -1, 9))
    assert leader.standing == "follower"
    assert [(to, m.first, m.last) for _, to, m in table.sent if isinstance(m, Fetch)] == [(2, 3, 9)]


def test_who_voted_for_it_hears_that_a_decree_which_left_memory_is_chosen() -> None:
    """1 leads, 3 votes, 2 is away, and 3 never hears that the slots are chosen. 1 lets go of them in memory, and its disk has
    lost them (no lookup is answered here): nobody could tell 3 that its own votes are what was chosen, and all stood still
    for ever though all were well (seed 9786)."""
    table = Table(3, Settings(ledger_bytes_max=0))
    table.start(1, 2, 3)
    table.elect(1)
    for number in range(3):
        table.step(1, Submit((b"%d" % number,)))
        table.deliver(lambda sender, to, m: 2 not in (sender, to) and not isinstance(m, (Prefix, Heartbeat)))
    leader = table.replicas[1].ledger
    assert (leader.base, table.replicas[3].chosen_prefix, table.replicas[2].chosen_prefix) == (5, 4, 2)
    table.sent = []
    fetch = Fetch(3, 5, 5, runs_of([(slot, vote[0]) for slot, vote in table.replicas[3].acceptor.votes.items()]))
    table.step(1, fetch)
    learns = [m for _, _, m in table.sent if isinstance(m, Learn)]
    table.step(3, *learns)
    assert table.replicas[3].chosen_prefix == 5
    # 2 has no votes there: it is not told that it holds what it does not hold, and gets the decrees from 3.
    table.sent = []
    table.step(1, Fetch(2, 3, 5, ()))
    assert not [m for _, _, m in table.sent if isinstance(m, Learn)]


def test_votes_below_the_ballot_of_the_choice_are_not_settled() -> None:
    """A vote at a lower ballot than the one the slot was chosen at may be another decree."""
    ledger = Ledger()
    for slot in range(1, 7):
        ledger.learn(slot, ballot_of(slot // 4 + 1, 1), b"%d" % slot)
    ledger.applied = 6
    ledger.trim(0, 9)
    assert [ledger.chosen_at(slot) for slot in (3, 4, 7)] == [ballot_of(1, 1), ballot_of(2, 1), -1]
    effects = Effects()
    low = ballot_of(1, 3)
    answer_fetch(1, Fetch(2, 2, 6, ((2, 6, low),)), ledger, 1000, effects)
    assert effects.messages == [(2, Learn(1, ((2, ballot_of(1, 1), None), (3, ballot_of(1, 1), None)), 6))]
    assert [(lookup.first, lookup.last) for lookup in effects.lookups] == [(4, 6)]


def test_the_oldest_open_query_decides_when_reads_ask_again() -> None:
    """Reads at a follower that never pause: one query is always open. The time of the first one was kept while any was
    open, so that every election timeout all open reads began anew."""
    reads = Reads(1)
    reads.waiting = [1]
    first = reads.ask(5, 100)
    reads.waiting = [2]
    second = reads.ask(5, 200)
    reads.answer(first, 7)
    assert reads.asked_at == 200
    reads.answer(second, 7)
    assert reads.asked_at == 0


# ---------------------------------------------------------------- stale, repeated and garbled input


def test_what_is_learned_is_open_no_more() -> None:
    """Leader 2 proposes again what it accepted at the ballot of leader 1, without a vote of its own, for its disk stands
    still. A prefix of leader 1 that was under way makes it learn the slot from that old vote; it stayed open."""
    table = Table(3)
    table.start(1, 2, 3)
    table.elect(1)
    table.step(1, Submit((b"x",)))
    table.hold(lambda s, to, m: isinstance(m, Prefix) or to == 3)
    late = [m for _, to, m in table.sent if to == 2 and isinstance(m, Prefix) and m.chosen_prefix == 3]
    table.kill(1)
    table.now += 2000 * MS
    table.suspect(2)
    table.hold(
        lambda s, to, m: (isinstance(m, (Promise, Accept, Heartbeat)) and s != 2) or (s == 2 and isinstance(m, Accept))
    )
    promises = [m for _, _, m in table.sent if isinstance(m, Promise)]
    table.sent = []
    for message in promises:
        table.now += 5000 * MS
        table.replicas[2].election.campaign_until = table.now + 1000 * MS
        table.step(2, Disk(table.now - 3000 * MS), message)
    leadership = table.replicas[2].leadership
    assert leadership is not None and 3 in leadership.open
    table.step(2, late[0])
    assert 3 not in leadership.open


def garbled(ballot: Ballot) -> list[Message]:
    far = ballot_of(1 << 40, 3)
    return [
        ProbeAnswer(3, 1, True, -1, far, 0),
        Echo(3, ballot, 1, far, 0, 0, 0),
        Settled(3, ballot, 3, far, 2),
        Learn(3, ((9, far, NOOP),), 9),
        Nack(3, ballot, far, 0, -1),
        Heartbeat(3, far, 1, 0, True, 0),
        Prepare(3, far, 1, 0, -1),
        Accept(3, far, 3, NOOP, 0),
    ]


@pytest.mark.parametrize("index", range(8))
def test_one_garbled_number_does_not_use_up_all(index: int) -> None:
    """huge-number, by every way a ballot comes in: once it is believed, the next own ballot is above it (rule-R1)."""
    table = Table(3)
    table.start(1, 2, 3)
    ballot = table.elect(1)
    table.step(1, Submit((b"x",)))
    table.sent = []
    effects = table.replicas[1].handle(garbled(ballot)[index], table.now)
    assert effects.malformed == [3]
    table.replicas[1].begin_campaign(-1, table.now, Effects())
    assert table.replicas[1].promised == ballot_of(1, 1)


def test_a_garbled_report_does_not_use_up_all_numbers() -> None:
    table = Table(3)
    table.start(1, 2, 3)
    table.suspect(1)
    table.hold(lambda s, to, m: isinstance(m, (Prepare, Promise)))
    campaign = table.replicas[1].campaign
    assert campaign is not None
    report = PValue(ballot_of(1 << 40, 3), 1, NOOP)
    effects = table.replicas[1].handle(Promise(3, 103, campaign.ballot, 1, 1, 1, 1, 0, (report,)), table.now)
    assert effects.malformed == [3]
    assert campaign.promised == set()


def test_an_echo_of_a_heartbeat_never_sent_confirms_no_round() -> None:
    """It would confirm all rounds to come, and with them reads from the past (rule-R19)."""
    table = Table(3)
    table.start(1, 2, 3)
    ballot = table.elect(1)
    effects = table.replicas[1].handle(Echo(2, ballot, 1 << 40, ballot, 2, 2, 0), table.now)
    assert effects.malformed == [2]
    table.step(1, Read(7))
    table.deliver(lambda _, to, m: not isinstance(m, Echo))
    assert table.readable[1] == []


def test_a_second_decree_at_one_ballot_is_a_lie_and_no_vote() -> None:
    """PMMC A4: the promise not to propose two is the leader's; its acceptors must not fall over one that breaks it."""
    table = Table(3)
    table.start(1, 2, 3)
    ballot = table.elect(1)
    acceptor = table.replicas[2]
    acceptor.handle(Accept(1, ballot, 9, NOOP, 2), table.now)
    effects = acceptor.handle(Accept(1, ballot, 9, encode_epoch(0, ballot), 2), table.now)
    assert effects.malformed == [1]
    assert not any(isinstance(message, Accepted) for _, message in effects.when_durable)
    assert acceptor.acceptor.votes[9] == (ballot, NOOP)


def test_an_empty_page_before_the_end_does_not_lead_round_in_circles() -> None:
    """The pages of a promise are walked by "the next begins behind this one"; one that ends before it begins named
    itself as the next."""
    pages = PromisePages(5)
    assert pages.add(Promise(2, 0, 9, 5, 5, 4, 8, 4, ())) is None


def poison() -> list[bytes]:
    whole = encode_segment(3, 1, 7, 1, [b"one", b"two"])
    too_long = whole[:30] + b"\xff\xff\xff\xff" + whole[34:]
    too_many = whole[:22] + (3).to_bytes(4, "big") + whole[26:]
    none = encode_segment(3, 1, 7, 1, [])
    return [too_long, too_many, none]


@pytest.mark.parametrize("index", range(3))
def test_a_segment_that_lies_about_its_commands_stops_nobody(index: int) -> None:
    """poison-command: segments travel unopened. The exception came where one was applied: on every replica, at the same
    slot, and again after each start. It is refused instead, consumes no serial, and what follows is executed."""
    table = Table(3)
    table.start(1, 2, 3)
    ballot = table.elect(1)
    follower = table.replicas[2]
    batch = encode_batch(5, [poison()[index], encode_segment(3, 1, 7, 1, [b"good"])])
    follower.handle(Accept(1, ballot, 3, batch, 2), table.now)
    effects = follower.handle(Prefix(1, ballot, 3), table.now)
    assert [applied.commands for applied in effects.applied] == [[(3, 0, b"good")]]


def test_an_empty_segment_does_not_turn_a_stream_back() -> None:
    """One with no commands and an old serial set the stream back to before it, and what follows ran a second time."""
    table = Table(3)
    table.start(1, 2, 3)
    ballot = table.elect(1)
    follower = table.replicas[2]
    segments = [
        encode_segment(3, 1, 7, 1, [b"one", b"two"]),
        encode_segment(3, 1, 7, 1, []),
        encode_segment(3, 1, 7, 1, [b"one"]),
    ]
    follower.handle(Accept(1, ballot, 3, encode_batch(5, segments), 2), table.now)
    effects = follower.handle(Prefix(1, ballot, 3), table.now)
    assert [command for _, _, command in effects.applied[0].commands] == [b"one", b"two"]
    assert follower.applying.streams.last(3) == (1, 7, 2)


def test_a_configuration_before_the_birth_is_refused() -> None:
    """Slot 1 is the birth, or the cluster is not born: no honest leader proposes otherwise, and apply raises for nobody."""
    table = Table(3)
    table.start(1)
    text = encode_configuration(0, table.listed.born({1: 101, 2: 102, 3: 103}).encode())
    effects = table.replicas[1].handle(Learn(2, ((1, 5, NOOP), (2, 5, text)), 2), table.now)
    assert [applied.configuration for applied in effects.applied] == [None, None]


def test_slots_between_the_reported_and_the_learned_are_filled() -> None:
    """A candidate that has learned slots beyond a gap which nobody's promise speaks of left the gap for ever."""
    table = Table(3)
    table.start(1, 2, 3)
    table.elect(1)
    table.kill(1)
    table.now += 3000 * MS
    table.suspect(2)
    table.hold(lambda s, to, m: isinstance(m, Promise))
    table.step(2, Learn(3, ((6, 1, NOOP),), 2))
    table.run(3000)
    assert table.replicas[2].applied >= 7


def test_small_decrees_do_not_take_many_times_the_memory_they_may() -> None:
    """The bound of the ledger counted the bytes of decrees only. A slot takes 200 besides, so of small ones memory held
    three times the bound, and of no-ops a hundred times."""
    ledger = Ledger()
    for slot in range(1, 1001):
        ledger.learn(slot, 1, NOOP)
        ledger.applied = slot
    ledger.trim(20_100, 9)
    assert ledger.applied - ledger.base == 100


def test_a_campaign_is_above_every_leader_heard_of() -> None:
    """3 hears a leader's heartbeat but lost its prepare and accepts. It campaigned below that leader's ballot, only to be
    nacked, and a heartbeat of that leader did not end the campaign."""
    table = Table(3)
    table.start(1, 2, 3)
    leader = ballot_of(4, 1)
    table.step(3, Heartbeat(1, leader, 1, 0, True, 0))
    table.suspect(3)
    table.deliver()
    assert table.replicas[3].promised > leader
