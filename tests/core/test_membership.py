"""Which configuration governs a slot: the window rule and the seams that membership changes will need (rule-R7)."""

import pytest

from multipaxos.core.membership import Configuration, Member, Membership, check_list, decode_configuration


def configuration(*ids: int, window: int = 4, version: int = 1) -> Configuration:
    return Configuration(version, tuple(Member(i, f"h:{i}", "", 7, True) for i in ids), window, "c")


def test_a_change_governs_a_window_later() -> None:
    membership = Membership(configuration(1, 2, 3))
    membership.apply(1, configuration(1, 2, 3))
    membership.apply(10, configuration(2, 3, 4, version=2))
    assert [membership.governing(slot).version for slot in (1, 10, 13, 14, 99)] == [1, 1, 1, 2, 2]
    assert [c.version for c in membership.governing_between(11, 14)] == [1, 2]
    assert [c.version for c in membership.governing_between(11, 13)] == [1]


def test_the_smallest_window_ahead_limits_what_may_be_proposed() -> None:
    # window-shrinks: window 4 becomes 1 in slot 6, governing from 10. Having applied 8, slot 10 is governed by the new
    # one, and a change in slot 9 could govern from 10 on: nothing beyond 9 may be proposed before 9 is applied.
    membership = Membership(configuration(1, 2, 3))
    membership.apply(1, configuration(1, 2, 3))
    assert membership.limit(3) == 7
    membership.apply(6, configuration(1, 2, 3, window=1, version=2))
    assert membership.limit(6) == 9
    assert membership.limit(8) == 9
    assert membership.limit(9) == 10


def test_before_birth_only_slot_1_is_open() -> None:
    membership = Membership(configuration(1, 2, 3))
    assert not membership.is_born
    assert membership.limit(0) == 1
    membership.apply(1, configuration(1, 2, 3))
    assert membership.limit(1) == 5


def test_one_list_one_digest_and_the_cluster_follows_from_the_marks() -> None:
    one = Configuration(0, tuple(Member(i, f"h:{i}", "", 0, True) for i in (1, 2, 3)), 64, "")
    two = Configuration(0, tuple(Member(i, f"h:{i}", "", 0, True) for i in (3, 1, 2)), 64, "")
    other = Configuration(0, one.members, 32, "")
    assert one.digest() == two.digest() != other.digest()
    assert one.born({1: 5, 2: 6, 3: 7}).cluster == two.born({1: 5, 2: 6, 3: 7}).cluster
    assert one.born({1: 5, 2: 6, 3: 7}).cluster != one.born({1: 5, 2: 6, 3: 8}).cluster
    born = one.born({1: 5, 2: 6, 3: 7})
    assert decode_configuration(born.encode()) == born


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"members": 3}',
        b'{"members": [{}], "version": 1}',
        b'{"members": [], "version": Infinity, "window": 1}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_configuration_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode_configuration(text)


def test_lists_that_cannot_become_a_cluster() -> None:
    with pytest.raises(ValueError, match="twice"):
        check_list(Configuration(0, (Member(1, "a", "", 0, True), Member(1, "b", "", 0, False)), 64, ""))
    with pytest.raises(ValueError, match="between 1"):
        check_list(Configuration(0, (Member(0, "a", "", 0, True),), 64, ""))
    with pytest.raises(ValueError, match="window"):
        check_list(Configuration(0, (Member(1, "a", "", 0, True),), 0, ""))
