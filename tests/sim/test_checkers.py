"""The oracle itself: each invariant is violated once by hand, and is reported by its name."""

import pytest

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.decree import NOOP, encode_batch, encode_configuration, encode_epoch, encode_segment
from multipaxos.core.effects import Applied
from multipaxos.core.messages import Accept, Accepted, Heartbeat, Learn, Message, Prepare, Promise, PValue, Settled
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, PromisedRecord
from multipaxos.sim.checkers import Oracle, Violation
from multipaxos.sim.stage import plain_list

B1 = ballot_of(1, 1)
B2 = ballot_of(2, 2)
BIRTH = encode_configuration(5, plain_list(3).born({1: 1, 2: 2, 3: 3}).encode())


def oracle() -> Oracle:
    """Three replicas that have started; ballot 1.1 is promised whole by 1 and 2."""
    made = Oracle(plain_list(3))
    for replica in (1, 2, 3):
        made.started(replica, 1)
    promise(made, B1, 1, (1, 2))
    return made


def promise(made: Oracle, ballot: int, to: int, givers: tuple[int, ...], votes: tuple[PValue, ...] = ()) -> None:
    """``givers`` promise ``ballot`` whole, durably, and ``to`` hears it."""
    end = max((vote.slot for vote in votes), default=0)
    for giver in givers:
        made.durable(giver, PromisedRecord(ballot))
        message = Promise(giver, giver, ballot, 1, 1, end, end, 0, votes)
        made.received(to, message)


def choose(made: Oracle, slot: int, decree: bytes, ballot: int = B1, voters: tuple[int, ...] = (1, 2)) -> None:
    """``voters`` vote for ``decree``, durably."""
    made.released(ballot % 65536, Accept(ballot % 65536, ballot, slot, decree, 0))
    for voter in voters:
        record = AcceptedRecord(ballot, slot, decree, 0)
        made.appended(voter, record)
        made.durable(voter, record)


def violates(invariant: str, text: str = "") -> "pytest.RaisesExc[Violation]":
    """Raises a violation of this invariant."""
    return pytest.raises(Violation, match=f"^{invariant}: .*{text}")


def test_i1_one_decree_for_a_ballot_and_slot() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    with violates("I1", "two decrees"):
        made.released(1, Accept(1, B1, 1, NOOP, 0))
    with violates("I1", "never proposed"):
        made.appended(3, AcceptedRecord(B1, 2, NOOP, 0))
    with violates("I1", "two decrees"):
        made.appended(3, AcceptedRecord(B1, 1, NOOP, 0))


def test_i2_one_chosen_decree_for_a_slot() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    # A second ballot that lies about what was reported: I5 would see it, so the vote is made durable behind its back.
    made._proposed[B2, 1] = NOOP
    made.durable(2, AcceptedRecord(B2, 1, NOOP, 0))
    with violates("I2"):
        made.durable(3, AcceptedRecord(B2, 1, NOOP, 0))


def test_a_minority_chooses_nothing() -> None:
    made = oracle()
    choose(made, 1, BIRTH, voters=(2,))
    made.durable(2, AcceptedRecord(B1, 1, BIRTH, 0))
    assert made.prefix == 0


def test_i3_no_vote_and_no_promise_below_what_was_said() -> None:
    made = oracle()
    promise(made, B2, 2, (3,))
    made.released(3, Promise(3, 3, B2, 1, 1, 0, 0, 0, ()))
    made.released(1, Accept(1, B1, 1, BIRTH, 0))
    with violates("I3", "votes at 1.1"):
        made.appended(3, AcceptedRecord(B1, 1, BIRTH, 0))
    with violates("I3", "promises 1.1"):
        made.released(3, Promise(3, 3, B1, 1, 1, 0, 0, 0, ()))
    with violates("I3", "stands at promise"):
        made.stepped(3, B1, 0, 0)


def test_i4_a_ballot_belongs_to_one_incarnation_of_one_replica() -> None:
    made = oracle()
    made.released(1, Prepare(1, B1, 1, 0, NO_BALLOT))
    with violates("I4", "class"):
        made.durable(2, PromisedRecord(B1))
        made.released(2, Prepare(2, B1, 1, 0, NO_BALLOT))
    made.started(1, 2)
    with violates("I4", "incarnation 1 used"):
        made.released(1, Prepare(1, B1, 1, 0, NO_BALLOT))
    with violates("rule-R41"):
        made.started(1, 2)


def test_i5_a_proposal_follows_from_its_promises() -> None:
    made = oracle()
    choose(made, 1, BIRTH, voters=(1,))
    promise(made, B2, 2, (1,), (PValue(B1, 1, BIRTH),))
    promise(made, B2, 2, (2,))
    with violates("I5", "no quorum of its promises leaves free"):
        made.released(2, Accept(2, B2, 1, NOOP, 0))
    made.released(2, Accept(2, B2, 1, BIRTH, 0))
    assert made.seen["adoption from a lower ballot"] == 1


def test_i5_a_promise_tells_every_vote() -> None:
    made = oracle()
    choose(made, 1, BIRTH, voters=(3,))
    made.durable(3, PromisedRecord(B2))
    with violates("I5", "leaves out its vote"):
        made.released(3, Promise(3, 3, B2, 1, 1, 0, 0, 0, ()))


def test_i10_a_proposal_needs_a_prepare_quorum() -> None:
    made = oracle()
    promise(made, B2, 2, (2,))
    with violates("I10", "no prepare quorum"):
        made.released(2, Accept(2, B2, 1, NOOP, 0))


def test_i10_a_page_is_no_promise() -> None:
    made = oracle()
    for giver in (1, 2):
        made.durable(giver, PromisedRecord(B2))
        made.received(2, Promise(giver, giver, B2, 1, 1, 2, 4, 0, ()))
    with violates("I10", "no prepare quorum"):
        made.released(2, Accept(2, B2, 1, NOOP, 0))
    for giver in (1, 2):
        made.received(2, Promise(giver, giver, B2, 1, 3, 4, 4, 0, ()))
    made.released(2, Accept(2, B2, 1, NOOP, 0))


@pytest.mark.parametrize(
    "message",
    [
        Heartbeat(1, B1, 1, 1, True, 0),
        Learn(1, ((1, B1, BIRTH),), 0),
        Learn(1, ((1, B1, None),), 0),
        Accept(1, B1, 2, NOOP, 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_i6_nobody_speaks_of_what_is_not_chosen(message: Message) -> None:
    with violates("I6"):
        oracle().released(1, message)


def test_i6_records_speak_of_what_is_chosen() -> None:
    made = oracle()
    with violates("I6"):
        made.appended(1, LearnedRecord(B1, 1, BIRTH))
    with violates("I6"):
        made.appended(1, MarkRecord(1))
    choose(made, 1, BIRTH)
    made.appended(1, LearnedRecord(B1, 1, BIRTH))
    made.appended(1, MarkRecord(1))
    with violates("I6", "another decree"):
        made.appended(1, LearnedRecord(B1, 1, NOOP))


def test_i10_a_slot_with_too_few_votes_is_not_chosen() -> None:
    made = oracle()
    choose(made, 1, BIRTH, voters=(1,))
    with violates("I10", "no accept quorum"):
        made.stepped(1, B1, 1, 0)


def test_i6_a_ballot_below_which_nothing_was_chosen() -> None:
    """Whoever holds an older vote would take it for the chosen one (rule-R5)."""
    made = oracle()
    promise(made, B2, 2, (1, 2))
    choose(made, 1, BIRTH, B2)
    for message in (Learn(2, ((1, B1, BIRTH),), 1), Learn(2, ((1, B1, None),), 1), Settled(2, B2, 1, B1, 1)):
        with violates("I6", "was chosen at 1.1, and it was first at 2.2"):
            made.released(2, message)
    with violates("I6", "was chosen at 1.1"):
        made.appended(2, LearnedRecord(B1, 1, BIRTH))
    made.released(2, Settled(2, B2, 1, B2, 1))
    made.released(2, Settled(2, B2, 2, NO_BALLOT, 1))
    with violates("I6", "slot 2 for chosen"):
        made.released(2, Settled(2, B2, 2, B2, 1))


def applied(slot: int, commands: list[tuple[int, int, bytes]], epoch: int = 0, reign: int = NO_BALLOT) -> Applied:
    """An applied slot without time, as batches of wall clock 0 give it."""
    return Applied(slot, 5, epoch, reign, False, commands, None)


def test_i7_slots_are_applied_in_order_and_alike() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    configuration = made.expected[1].configuration
    assert configuration is not None
    made.applied(1, 7, Applied(1, 5, 0, NO_BALLOT, False, [], configuration))
    with violates("I7", "after 1"):
        made.applied(1, 7, applied(3, []))
    with violates("I6"):
        made.applied(1, 7, applied(2, []))
    made2 = oracle()
    choose(made2, 1, BIRTH)
    with violates("I7", "another time"):
        made2.applied(1, 7, applied(1, []))


def test_i11_order_and_once() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    made.submitted(2, 77, 1, (b"a", b"b"))
    first = encode_segment(2, 1, 77, 1, [b"a"])
    second = encode_segment(2, 1, 77, 2, [b"b"])
    choose(made, 2, encode_batch(0, [second, first, first]))
    assert [command for *_, command in made.expected[2].commands] == [b"a"], "b is behind a gap, the second a a repeat"
    made.applied(3, 9, Applied(1, 5, 0, NO_BALLOT, False, [], made.expected[1].configuration))
    with violates("I11", "executes 2 commands"):
        made.applied(3, 9, applied(2, [(2, 0, b"a"), (2, 0, b"b")]))
    with violates("I11", "never submitted"):
        choose(made, 3, encode_batch(0, [encode_segment(3, 1, 5, 1, [b"forged"])]))
    with violates("I11", "numbers its command"):
        made.submitted(2, 77, 9, (b"c",))


def test_i7_another_command_than_was_chosen() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    made.submitted(2, 77, 1, (b"a",))
    choose(made, 2, encode_batch(0, [encode_segment(2, 1, 77, 1, [b"a"])]))
    made.applied(2, 77, Applied(1, 5, 0, NO_BALLOT, False, [], made.expected[1].configuration))
    with violates("I7", "another command"):
        made.applied(2, 77, applied(2, [(2, 0, b"a")]))  # its own: the gateway must hear the serial
    made2 = oracle()
    choose(made2, 1, BIRTH)


def test_an_epoch_decree_below_the_noted_one_is_ignored() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    choose(made, 2, encode_epoch(0, B2))
    choose(made, 3, encode_epoch(0, B1))
    assert (made.expected[2].epoch, made.expected[2].began_epoch) == (1, True)
    assert (made.expected[3].epoch, made.expected[3].began_epoch) == (1, False)


def test_i8_nothing_leaves_before_it_is_durable() -> None:
    made = oracle()
    made.released(1, Accept(1, B1, 1, BIRTH, 0))
    made.appended(3, AcceptedRecord(B1, 1, BIRTH, 0))
    with violates("I8", "before its vote is durable"):
        made.released(3, Accepted(3, B1, 1))
    made.appended(3, PromisedRecord(B2))
    with violates("I8", "promises 2.2"):
        made.released(3, Promise(3, 3, B2, 1, 1, 0, 0, 0, ()))
    with violates("I8", "campaigns"):
        made.released(2, Prepare(2, B2, 1, 0, NO_BALLOT))


def test_i9_what_grows_does_not_fall() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    made.stepped(1, B1, 1, 0)
    with violates("I9", "falls from 1 to 0"):
        made.stepped(1, B1, 0, 0)
    with violates("I9", "applied"):
        made.stepped(1, B1, 1, 1)


def test_i7_equal_states_behind_equal_slots() -> None:
    made = oracle()
    made.digested(1, 32, "a")
    made.digested(2, 32, "a")
    made.digested(2, 64, "b")
    with violates("I7", "replicas 1 and 3 differ behind slot 32"):
        made.digested(3, 32, "b")


def test_i3_a_start_remembers_what_was_durable() -> None:
    made = oracle()
    choose(made, 1, BIRTH)
    choose(made, 2, NOOP)
    made.durable(2, PromisedRecord(B2))
    votes = {2: (B1, NOOP)}
    made.recovered(2, B2, votes, [], 1)
    made.recovered(2, B2, {}, [2], 1)  # known to be chosen: no vote is kept
    with violates("I3", "starts at promise 1.1, though 2.2 is durable"):
        made.recovered(2, B1, votes, [], 1)
    with violates("I3", "without its vote in slot 2 at 1.1"):
        made.recovered(2, B2, {}, [], 1)
    made.recovered(3, NO_BALLOT, {}, [], 0)  # it never promised or voted
