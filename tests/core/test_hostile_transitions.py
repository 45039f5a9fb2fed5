"""The transitions that seeds leave out: forged messages, directories emptied or used twice, another leader's bug, and
what honest replicas hardly ever come to.

They stand in ``sim/campaign.py`` (HOSTILE, UNLIKELY); each is taken here by hand, and the list is complete.
"""

from collections.abc import Callable

import pytest
from test_regressions import Table

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.decree import NOOP, encode_batch, encode_epoch, encode_segment
from multipaxos.core.inputs import Input, Submit
from multipaxos.core.messages import Accept, Accepted, Echo, Heartbeat, Learn, Prefix, Prepare, Promise, PValue
from multipaxos.core.replica import Replica
from multipaxos.sim.campaign import HOSTILE, UNLIKELY


def notes(replica: Replica, table: Table, *inputs: Input) -> dict[str, list[tuple[object, ...]]]:
    """The reasons of one step, by id."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for reason, operands in replica.step(inputs, table.now, 7).notes:
        found.setdefault(reason, []).append(operands)
    return found


def led_by_one() -> tuple[Table, Replica]:
    """Three replicas, born, 1 leads."""
    table = Table(3)
    table.start(1, 2, 3)
    table.elect(1)
    table.run(400)
    assert table.replicas[1].is_leading
    return table, table.replicas[1]


def candidate() -> tuple[Table, Replica]:
    """Three replicas, born, 1 campaigns and has heard no promise but its own."""
    table, _ = led_by_one()
    table.replicas[1].stand_down(table.now)
    table.suspect(1)
    table.hold(lambda sender, to, message: isinstance(message, (Prepare, Promise)))
    table.deliver(lambda sender, to, message: isinstance(message, Promise) and to == 1)
    assert table.replicas[1].standing == "candidate"
    return table, table.replicas[1]


def promise(replica: Replica, sender: int, mark: int, pvalues: tuple[PValue, ...] = (), prefix: int = 0) -> Promise:
    """A whole promise of ``sender`` at the candidate's ballot."""
    assert replica.campaign is not None
    first = replica.campaign.first
    end = max([pvalue.slot for pvalue in pvalues], default=first - 1)
    return Promise(sender, mark, replica.campaign.ballot, first, first, end, end, prefix, pvalues)


def a_ballot_that_leaps() -> dict[str, list[tuple[object, ...]]]:
    table, replica = led_by_one()
    return notes(replica, table, Prepare(2, ballot_of(1 << 40, 2), 2, 1, NO_BALLOT))


def two_decrees_at_one_ballot() -> dict[str, list[tuple[object, ...]]]:
    table, leader = led_by_one()
    replica, ballot, slot = table.replicas[3], leader.leader_ballot, leader.applied + 5
    assert "acceptor.accept.vote" in notes(replica, table, Accept(1, ballot, slot, NOOP, 1))
    other = encode_epoch(1, ballot)
    effects = replica.step((Accept(1, ballot, slot, other, 1),), table.now, 7)
    assert effects.malformed == [1]
    return {reason: [operands] for reason, operands in effects.notes}


def an_echo_of_what_was_never_sent() -> dict[str, list[tuple[object, ...]]]:
    table, replica = led_by_one()
    echo = Echo(2, replica.leader_ballot, replica.heartbeat_number + 1000, NO_BALLOT, 0, 0, 0)
    return notes(replica, table, echo)


def a_vote_of_a_stranger() -> dict[str, list[tuple[object, ...]]]:
    table, replica = led_by_one()
    table.step(1, Submit((b"x",)))
    table.hold(lambda sender, to, message: isinstance(message, Accept))
    assert replica.leadership is not None
    slot = next(iter(replica.leadership.open))
    return notes(replica, table, Accepted(9, replica.leader_ballot, slot))


def a_promise_of_another_directory() -> dict[str, list[tuple[object, ...]]]:
    table, replica = candidate()
    return notes(replica, table, promise(replica, 2, 4711))


def a_batch_that_does_not_hold_what_it_says() -> dict[str, list[tuple[object, ...]]]:
    table, replica = led_by_one()
    segment = bytearray(encode_segment(2, 1, 77, 1, [b"one", b"two"]))
    segment[25] = 3  # the field that counts the commands
    follower = table.replicas[3]
    slot = follower.chosen_prefix + 1
    decree = encode_batch(1, [bytes(segment)])
    return notes(follower, table, Learn(1, ((slot, replica.leader_ballot, decree),), slot))


def a_directory_used_twice() -> dict[str, list[tuple[object, ...]]]:
    table, replica = led_by_one()
    follower = table.replicas[3]
    slot = follower.chosen_prefix + 1
    items = tuple(
        (slot + i, replica.leader_ballot, encode_batch(1, [encode_segment(2, 9, start, 1, [b"x"])]))
        for i, start in enumerate((71, 72))
    )
    return notes(follower, table, Learn(1, items, slot + 1))


def an_epoch_that_a_later_one_has_passed() -> dict[str, list[tuple[object, ...]]]:
    """2 reports a vote for the epoch decree of a ballot that nobody can have used: the leader must not reign above it."""
    table, replica = candidate()
    forged = PValue(ballot_of(1, 1), replica.chosen_prefix + 1, encode_epoch(1, ballot_of(90, 2)))
    table.step(1, promise(replica, 2, table.marks[2], (forged,), replica.chosen_prefix))
    assert replica.leadership is not None
    found: dict[str, list[tuple[object, ...]]] = {}
    for slot in range(forged.slot, forged.slot + 2):
        accepted = [Accepted(i, replica.campaign.ballot, slot) for i in (1, 2)] if replica.campaign else []
        found.update(notes(replica, table, *accepted))
    assert not replica.is_leading
    return found


def a_birth_that_the_promises_do_not_know() -> dict[str, list[tuple[object, ...]]]:
    """Two of three know slot 1; one of them is emptied; the empty one and the laggard make a leader, then 2 speaks."""
    table = Table(3)
    table.start(1, 2, 3)
    table.elect(1, lambda _, to, m: not (to == 3 and isinstance(m, (Accept, Prefix, Heartbeat, Learn))))
    table.kill(1, 2, 3)
    table.empty(1)
    table.start(1, 3)
    table.run(3000)
    leader = next(replica for replica in table.replicas.values() if replica.standing == "leader")
    assert leader.campaign is not None and not leader.membership.is_born
    first = leader.campaign.first
    known = Promise(2, table.marks[2], leader.campaign.ballot, first, first, first - 1, first - 1, 2, ())
    return notes(leader, table, known)


def a_vote_above_the_candidate() -> dict[str, list[tuple[object, ...]]]:
    """2 promised the candidate's ballot, then learned out of order what a later ballot chose, and says so when the prepare
    comes again: honest, and so rare that hardly a seed takes it."""
    table, replica = candidate()
    assert replica.campaign is not None
    above = ballot_of(60, 3)
    vote = PValue(above, replica.chosen_prefix + 2, NOOP)
    found = notes(replica, table, promise(replica, 2, table.marks[2], (vote,), replica.chosen_prefix))
    assert [operands[1] for operands in found["candidate.passed"]] == [above]
    assert replica.standing == "follower"
    return found


TAKEN: dict[str, Callable[[], dict[str, list[tuple[object, ...]]]]] = {
    "apply.malformed": a_batch_that_does_not_hold_what_it_says,
    "apply.stream.other_start": a_directory_used_twice,
    "candidate.passed": a_vote_above_the_candidate,
    "candidate.promise.stranger": a_promise_of_another_directory,
    "leader.birth.chosen": a_birth_that_the_promises_do_not_know,
    "leader.passed": an_epoch_that_a_later_one_has_passed,
    "leader.vote.stranger": a_vote_of_a_stranger,
    "message.contradiction": two_decrees_at_one_ballot,
    "message.future": an_echo_of_what_was_never_sent,
    "message.leap": a_ballot_that_leaps,
}


def test_every_transition_that_seeds_leave_out_is_taken_here() -> None:
    assert sorted(TAKEN) == sorted(HOSTILE + UNLIKELY)


@pytest.mark.parametrize("reason", sorted(TAKEN))
def test_a_transition_that_seeds_leave_out(reason: str) -> None:
    assert reason in TAKEN[reason]()
