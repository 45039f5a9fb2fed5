"""The acceptor's two rules as tables (PMS P1a, PMMC A1 to A5, trap-T3)."""

import pytest

from multipaxos.core.acceptor import Acceptor
from multipaxos.core.ballot import NO_BALLOT


@pytest.mark.parametrize(
    ("promised", "ballot", "may_promise", "is_raised"),
    [(NO_BALLOT, 0, True, True), (5, 6, True, True), (5, 5, True, False), (5, 4, False, False)],
)
def test_prepare(promised: int, ballot: int, may_promise: bool, is_raised: bool) -> None:
    acceptor = Acceptor()
    acceptor.restore_promise(promised)
    assert acceptor.may_promise(ballot) == may_promise
    if may_promise:
        assert acceptor.promise(ballot) == is_raised
    assert acceptor.promised == max(promised, ballot if may_promise else promised)


@pytest.mark.parametrize(
    ("promised", "ballot", "may"), [(NO_BALLOT, 0, True), (5, 5, True), (5, 9, True), (5, 4, False)]
)
def test_accept_at_or_above_the_promise(promised: int, ballot: int, may: bool) -> None:
    acceptor = Acceptor()
    acceptor.restore_promise(promised)
    assert acceptor.may_accept(ballot) == may


def test_an_accept_is_a_promise() -> None:
    # trap-T3, no-raise-keep-last: a2 accepts (2, v2) without a prepare; a late (1, v1) must not replace it.
    acceptor = Acceptor()
    assert acceptor.accept(2, 1, b"v2")
    assert acceptor.promised == 2
    assert not acceptor.may_accept(1)
    assert not acceptor.may_promise(1)


def test_a_repeat_is_not_news() -> None:
    acceptor = Acceptor()
    assert acceptor.accept(2, 1, b"v")
    assert not acceptor.accept(2, 1, b"v")
    assert acceptor.accept(3, 1, b"w")
    assert acceptor.votes[1] == (3, b"w")


def test_two_decrees_at_one_ballot_are_caught() -> None:
    acceptor = Acceptor()
    acceptor.accept(2, 1, b"v")
    with pytest.raises(AssertionError, match="PMMC A4"):
        acceptor.accept(2, 1, b"other")


def test_recovery_takes_the_highest_in_any_order() -> None:
    acceptor = Acceptor()
    acceptor.restore_vote(5, 1, b"five")
    acceptor.restore_promise(3)
    acceptor.restore_vote(4, 2, b"four")
    assert acceptor.promised == 5
    assert acceptor.ballot_at(1) == 5 and acceptor.ballot_at(2) == 4 and acceptor.ballot_at(3) == NO_BALLOT
