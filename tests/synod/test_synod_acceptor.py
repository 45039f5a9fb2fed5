"""The acceptor by hand: its tables of answers, what it writes before it answers, and what it knows after a restart."""

import itertools

import pytest
from synod_world import ADDRESSES, Acceptors, identity_of

from multipaxos.core.records import AcceptedRecord, KeptRecord, LearnedRecord, MarkRecord, PromisedRecord
from multipaxos.synod import messages
from multipaxos.synod.acceptor import LEAP_MAX, NamedAcceptor, UnreadableRecords
from multipaxos.synod.messages import Accept, Accepted, Ask, Nack, Prepare, Promise, Refusal, Standing

P1 = "1111111111111111"
P2 = "2222222222222222"
SET = ADDRESSES[:3]
ME = identity_of(1)
NAME = "colour"


def acceptor(promised=-1, accepted=-1):
    """An acceptor in the state given, brought there by requests of run P1. It accepted "old"."""
    made = NamedAcceptor(ME)
    if accepted >= 0:
        made.handle(Accept(NAME, P1, SET, accepted, "old"))
    if promised > accepted:
        made.handle(Prepare(NAME, P1, SET, promised))
    made.writes.clear()
    made.notes.clear()
    return made


STATES = [(promised, accepted) for promised in range(-1, 4) for accepted in range(-1, promised + 1)]


@pytest.mark.parametrize(("promised", "accepted", "number"), [(*s, n) for s in STATES for n in range(5)])
def test_prepare_table(promised, accepted, number):
    """claim-A21, PMS 2.2: promise above every promise, strictly (rule-R51), and report the last vote."""
    it = acceptor(promised, accepted)
    answer = it.handle(Prepare(NAME, P2, SET, number))
    if number > promised:
        assert answer == Promise(NAME, P2, ME, number, accepted, "old" if accepted >= 0 else None)
        assert it.decisions[NAME].rules.promised == number
        assert PromisedRecord(number) in [record for _, record in it.writes]
    else:
        assert answer == Nack(NAME, P2, ME, number, promised, P1)
        assert not it.writes
        assert it.decisions[NAME].rules.promised == promised


@pytest.mark.parametrize(("promised", "accepted", "number"), [(*s, n) for s in STATES for n in range(5)])
def test_accept_table(promised, accepted, number):
    """claim-A23, PMS P1a, trap-T3: accept at or above the promise, and raise the promise with it."""
    it = acceptor(promised, accepted)
    answer = it.handle(Accept(NAME, P2, SET, number, "new"))
    if number > promised or (number == promised and accepted < number):
        assert answer == Accepted(NAME, P2, ME, number)
        assert it.decisions[NAME].rules.promised == number
        assert it.decisions[NAME].vote == (number, "new")
        assert AcceptedRecord(number, 1, b"new", 0) in [record for _, record in it.writes]
        assert it.handle(Prepare(NAME, P1, SET, number)) == Nack(
            NAME, P1, ME, number, number, P2 if number > promised else P1
        )
    else:
        assert answer == Nack(NAME, P2, ME, number, promised, P1)
        assert not it.writes


def test_nothing_promised_is_minus_one_and_zero_is_a_number():
    it = NamedAcceptor(ME)
    assert it.handle(Ask(NAME, P1, SET)) == Standing(NAME, P1, ME, -1, "", -1, None)
    assert it.handle(Prepare(NAME, P1, SET, 0)) == Promise(NAME, P1, ME, 0, -1, None)
    assert it.handle(Ask(NAME, P2, SET)) == Standing(NAME, P2, ME, 0, P1, -1, None)
    assert it.handle(Prepare(NAME, P2, SET, 0)) == Nack(NAME, P2, ME, 0, 0, P1)


def test_a_question_leaves_no_trace():
    it = NamedAcceptor(ME)
    it.handle(Ask(NAME, P1, SET))
    assert not it.decisions
    assert not it.writes


def test_an_equal_number_is_refused_also_to_the_run_that_has_it():
    """rule-R51: a repeated prepare is not promised again; the nack names the run, which can see that it is its own."""
    it = acceptor(promised=3)
    assert it.handle(Prepare(NAME, P1, SET, 3)) == Nack(NAME, P1, ME, 3, 3, P1)


def test_a_repeated_accept_is_answered_and_written_once():
    it = acceptor(promised=3)
    accept = Accept(NAME, P1, SET, 3, "new")
    assert it.handle(accept) == it.handle(accept) == Accepted(NAME, P1, ME, 3)
    assert [record for _, record in it.writes] == [AcceptedRecord(3, 1, b"new", 0)]


def test_one_number_never_gets_two_values():
    """PMMC A4, kept even if another acceptor of the set was emptied and two runs went on with one number."""
    it = acceptor(promised=3, accepted=3)
    assert it.handle(Accept(NAME, P2, SET, 3, "other")) == Nack(NAME, P2, ME, 3, 3, P1)
    assert it.decisions[NAME].vote == (3, "old")


def test_the_first_accept_needs_no_prepare():
    """PMS P1, S5: and it fixes the set of the name like a prepare."""
    it = NamedAcceptor(ME)
    assert it.handle(Accept(NAME, P1, SET, 0, "x")) == Accepted(NAME, P1, ME, 0)
    other = it.handle(Ask(NAME, P1, ADDRESSES[2:]))
    assert other == Refusal(NAME, P1, ME, messages.OTHER_SET, SET, 0)


@pytest.mark.parametrize("kind", ["ask", "prepare", "accept"])
def test_another_set_is_refused_whatever_is_asked(kind):
    """other-set, rule-R52."""
    it = acceptor(promised=3)
    other = ADDRESSES[2:]
    request = {
        "ask": Ask(NAME, P2, other),
        "prepare": Prepare(NAME, P2, other, 9),
        "accept": Accept(NAME, P2, other, 9, "v"),
    }[kind]
    assert it.handle(request) == Refusal(NAME, P2, ME, messages.OTHER_SET, SET, 0)
    assert not it.writes
    assert it.decisions[NAME].rules.promised == 3


def test_names_are_bounded_and_old_ones_go_on():
    it = NamedAcceptor(ME, names_max=2)
    for name in ("a", "b"):
        it.handle(Prepare(name, P1, SET, 0))
    it.writes.clear()
    for request in (Ask("c", P1, SET), Prepare("c", P1, SET, 0), Accept("c", P1, SET, 0, "v")):
        assert it.handle(request) == Refusal("c", P1, ME, messages.TOO_MANY_NAMES, (), 2)
    assert not it.writes
    assert isinstance(it.handle(Prepare("a", P1, SET, 1)), Promise)


def test_a_number_too_far_ahead_is_refused():
    """rule-R1: one slip of a finger must not use up all numbers. huge-number."""
    it = acceptor(promised=3)
    for request in (Prepare(NAME, P2, SET, 4 + LEAP_MAX), Accept(NAME, P2, SET, 4 + LEAP_MAX, "v")):
        assert it.handle(request) == Refusal(NAME, P2, ME, messages.TOO_FAR_AHEAD, (), 3 + LEAP_MAX)
    assert isinstance(it.handle(Prepare(NAME, P2, SET, 3 + LEAP_MAX)), Promise)
    assert isinstance(it.handle(Prepare("new", P2, SET, LEAP_MAX)), Refusal)
    assert "new" not in it.decisions


def test_each_name_is_a_group_of_its_own():
    it = NamedAcceptor(ME)
    it.handle(Prepare("a", P1, SET, 5))
    it.handle(Prepare("b", P1, ADDRESSES, 1))
    it.handle(Accept("a", P1, SET, 5, "v"))
    assert [(group, type(record)) for group, record in it.writes] == [
        (1, KeptRecord),
        (1, KeptRecord),
        (1, PromisedRecord),
        (2, KeptRecord),
        (2, KeptRecord),
        (2, PromisedRecord),
        (1, AcceptedRecord),
    ]
    assert it.decisions["b"].rules.promised == 1


def test_every_prefix_of_the_journal_is_a_state_it_was_in():
    """A crash may cut the journal anywhere: what was answered is behind the cut, what is left is consistent."""
    world = Acceptors(ADDRESSES[:1])
    at = ADDRESSES[0]
    for number, name in itertools.product(range(0, 12, 3), ("a", "b")):
        world.handle(at, Prepare(name, P1, SET, number))
        world.handle(at, Accept(name, P2, SET, number + 1, f"{name}{number}"))
        world.restart(at)
    records = world.journals[at]
    before: dict[str, tuple[int, int]] = {}
    for end in range(len(records) + 1):
        it = NamedAcceptor(ME)
        for group, record in records[:end]:
            it.restore(group, record)
        it.check()
        for name, decision in it.decisions.items():
            now = (decision.rules.promised, decision.vote[0])
            assert now >= before.get(name, (-1, -1))
            before[name] = now
    assert before == {"a": (10, 10), "b": (10, 10)}


def test_a_note_whose_promise_was_torn_off_names_no_run():
    it = NamedAcceptor(ME)
    it.handle(Prepare(NAME, P1, SET, 5))
    it.handle(Prepare(NAME, P2, SET, 6))
    after = NamedAcceptor(ME)
    for group, record in it.writes[:-1]:
        after.restore(group, record)
    assert after.decisions[NAME].rules.promised == 5
    assert after.decisions[NAME].promised_run == ""
    assert after.handle(Prepare(NAME, P1, SET, 5)) == Nack(NAME, P1, ME, 5, 5, "")


@pytest.mark.parametrize(
    "records",
    [
        [(1, PromisedRecord(3))],
        [(1, AcceptedRecord(3, 1, b"v", 0))],
        [(2, KeptRecord(b'{"name":"a","acceptors":["h:1"]}'))],
        [(1, KeptRecord(b'{"name":"a"}'))],
        [(1, KeptRecord(b"\xff"))],
        [(1, KeptRecord(b'{"number":3,"run":"x"}'))],
        [(1, KeptRecord(b'{"name":"a","acceptors":["h:1"]}')), (1, KeptRecord(b'{"name":"b","acceptors":["h:1"]}'))],
        [(1, KeptRecord(b'{"name":"a","acceptors":["h:1"]}')), (1, LearnedRecord(1, 1, b"v"))],
        [(1, KeptRecord(b'{"name":"a","acceptors":["h:1"]}')), (1, MarkRecord(1))],
    ],
)
def test_a_journal_that_tells_no_story_is_refused(records):
    it = NamedAcceptor(ME)
    with pytest.raises(UnreadableRecords) as refused:
        for group, record in records:
            it.restore(group, record)
    assert str(refused.value)
