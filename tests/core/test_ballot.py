"""Ballots: the article's numbering rule, its worked example corrected, and how they print."""

from hypothesis import given
from hypothesis import strategies as st

from multipaxos.core.ballot import (
    CLASSES,
    NO_BALLOT,
    ballot_of,
    ballot_text,
    next_ballot,
    next_number,
    owner_of,
    round_of,
)


def test_the_articles_example_with_its_slip_corrected() -> None:
    # The article: P1, P2, P3 begin with 0, 1, 2. P1 meets P2's 1 and takes "1*3+0 = 4". That product is 3; 4 % 3 == 1
    # is P2's class, so two proposers could hold one number (trap-T1). P3 meets P1's new number and takes 5: right.
    assert [next_number(i, 3, above=-1) for i in (0, 1, 2)] == [0, 1, 2]
    assert next_number(0, 3, above=1) == 3
    assert next_number(1, 3, above=3) == 4
    assert next_number(2, 3, above=3) == 5


@given(st.integers(1, 70000), st.data(), st.integers(-1, 10**15))
def test_next_number_is_the_smallest_of_its_class_above(count: int, data: st.DataObject, above: int) -> None:
    index = data.draw(st.integers(0, count - 1))
    number = next_number(index, count, above)
    assert number > above
    assert number % count == index
    assert number - count <= above or number == index


def test_one_nack_needs_one_retry() -> None:
    # claim-A28: told of 1000, the very next number passes it.
    number = next_number(2, 7, above=1000)
    assert number == 1003
    assert number - 7 < 1000


@given(st.integers(1, CLASSES - 1), st.integers(1, CLASSES - 1), st.integers(-1, 2**62))
def test_classes_never_overlap(one: int, other: int, above: int) -> None:
    # trap-T2: with a fixed n the classes stay apart whatever the number of replicas is or was.
    if one != other:
        assert next_ballot(one, above) != next_ballot(other, above)


@given(st.integers(0, 2**46), st.integers(0, CLASSES - 1))
def test_a_ballot_is_its_round_and_its_replica(round_number: int, replica: int) -> None:
    ballot = ballot_of(round_number, replica)
    assert round_of(ballot) == round_number
    assert owner_of(ballot) == replica
    assert ballot_text(ballot) == f"{round_number}.{replica}"


def test_nothing_promised_is_below_every_number() -> None:
    assert NO_BALLOT < next_number(0, 3, above=NO_BALLOT) == 0  # rule-R51: 0 is a legal number
    assert ballot_text(NO_BALLOT) == "none"
