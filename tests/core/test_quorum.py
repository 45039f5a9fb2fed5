"""Quorums: any prepare quorum meets any accept quorum, and nothing smaller than more than half will do."""

from itertools import combinations

import pytest

from multipaxos.core.quorum import Quorum, majority


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7])
def test_exactly_more_than_half_suffices(count: int) -> None:
    # claim-A11
    voters = tuple(range(1, count + 1))
    quorum = majority(voters)
    enough = count // 2 + 1
    for size in range(count + 1):
        for chosen in combinations(voters, size):
            assert quorum.is_accept_quorum(chosen) == (size >= enough)
            assert quorum.is_prepare_quorum(chosen) == (size >= enough)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_flexible_quorums_meet(count: int) -> None:
    voters = tuple(range(count))
    for prepare in range(1, count + 1):
        for accept in range(1, count + 1):
            if prepare + accept <= count:
                with pytest.raises(ValueError, match="can miss each other"):
                    Quorum(voters, prepare, accept)
                continue
            quorum = Quorum(voters, prepare, accept)
            for one in combinations(voters, prepare):
                for two in combinations(voters, accept):
                    assert quorum.is_prepare_quorum(one) and quorum.is_accept_quorum(two)
                    assert set(one) & set(two)


def test_strangers_and_repeats_do_not_count() -> None:
    quorum = majority((1, 2, 3))
    assert not quorum.is_accept_quorum({1, 8, 9})
    assert not quorum.is_accept_quorum([1, 1, 1])


def test_what_is_no_quorum_system_is_refused() -> None:
    with pytest.raises(ValueError, match="listed twice"):
        majority((1, 1, 2))
    with pytest.raises(ValueError, match="cannot be had"):
        majority(())
