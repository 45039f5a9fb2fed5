"""The search by itself: examples of the papers, a slow obvious twin on random histories, lanes, and its bound."""

from itertools import permutations
from random import Random

import pytest
from published import Register

from multipaxos.sim.linearizability import ILLEGAL, LINEARIZABLE, UNKNOWN, Operation, Verdict, check, check_parts


def write(called: int, returned: int | None, value: int) -> Operation:
    """A write of a register."""
    return Operation(called, returned, ("write", value), True, returned is not None)


def read(called: int, returned: int, value: int | None) -> Operation:
    """A read of a register."""
    return Operation(called, returned, ("read",), value)


def cas(called: int, returned: int | None, old: int, new: int, is_done: bool) -> Operation:
    """Compare and set."""
    return Operation(called, returned, ("cas", old, new), is_done, returned is not None)


def is_linearizable(*operations: Operation) -> bool:
    """The verdict on a register."""
    verdict = check(Register(), operations).verdict
    assert verdict in (LINEARIZABLE, ILLEGAL)
    return verdict == LINEARIZABLE


def test_concurrent_reads_may_see_either_value() -> None:
    # Examples of MIT 6.824's quiz 2 of 2017, question VII, as Porcupine's tests have them.
    assert is_linearizable(write(0, 100, 100), read(25, 75, 100), read(30, 60, None))
    assert not is_linearizable(write(0, 100, 200), read(10, 30, 200), read(40, 90, None))


def test_what_touches_is_concurrent() -> None:
    assert is_linearizable(write(0, 10, 1), read(10, 20, None))
    assert not is_linearizable(write(0, 9, 1), read(10, 20, None))
    assert is_linearizable(write(0, 100, 100), read(25, 75, 100), read(30, 30, None), read(30, 30, None))


def test_an_unknown_outcome_takes_effect_late_or_never() -> None:
    lost = write(0, None, 1)
    assert is_linearizable(lost, read(10, 20, None))
    assert is_linearizable(lost, read(10, 20, None), read(30, 40, 1))
    assert not is_linearizable(lost, read(10, 20, 1), read(30, 40, None))
    assert not is_linearizable(write(50, None, 1), read(10, 20, 1)), "not before it was called"
    assert is_linearizable(lost), "nothing was answered: nothing to explain"


def test_an_unknown_outcome_takes_effect_once() -> None:
    history = [write(0, 5, 1), cas(10, None, 1, 2, False), write(20, 25, 1)]
    assert is_linearizable(*history, read(30, 35, 2))
    assert is_linearizable(history[0], history[1], read(12, 14, 2), history[2], read(30, 35, 1))
    assert not is_linearizable(history[0], history[1], read(12, 14, 2), history[2], read(30, 35, 2))


def test_a_refused_cas_is_an_answer() -> None:
    assert is_linearizable(write(0, 5, 1), cas(10, 15, 2, 3, False), read(20, 25, 1))
    assert not is_linearizable(write(0, 5, 1), cas(10, 15, 1, 3, False))
    assert not is_linearizable(write(0, 5, 1), cas(10, 15, 2, 3, True))


def test_a_lane_keeps_its_order() -> None:
    first = write(0, 50, 1)._replace(lane=7, place=1)
    second = write(1, 51, 2)._replace(lane=7, place=2)
    assert is_linearizable(first, second, read(60, 70, 2))
    assert not is_linearizable(first, second, read(60, 70, 1)), "pipelined, so not concurrent with itself"
    assert is_linearizable(first._replace(lane=-1), second, read(60, 70, 1))


def test_of_a_lane_nothing_unknown_comes_behind_what_is_taken() -> None:
    unknown = write(0, None, 1)._replace(lane=7, place=1)
    answered = write(1, 51, 2)._replace(lane=7, place=2)
    assert is_linearizable(unknown, answered, read(60, 70, 2))
    assert not is_linearizable(unknown, answered, read(60, 70, 1)), "it would have had to come before the answered one"
    later = unknown._replace(place=3)
    assert is_linearizable(later, answered, read(60, 70, 1))


def test_one_that_changes_nothing_waits_for_an_unknown_one_before_it_in_its_lane() -> None:
    unknown = write(0, None, 1)._replace(lane=7, place=1)
    behind = Operation(1, 100, ("cas", 5, 6), False, True, 7, 2)  # refused; it fits at once, and must not go first
    assert is_linearizable(unknown, behind, read(110, 120, 1)._replace(lane=8))


def twin(operations: list[Operation]) -> bool:
    """Whether any order of any choice of the open ones explains it."""
    must = [operation for operation in operations if operation.returned is not None]
    may = [operation for operation in operations if operation.returned is None]
    for chosen in range(1 << len(may)):
        mine = must + [operation for number, operation in enumerate(may) if chosen >> number & 1]
        if any(explains(list(order)) for order in permutations(mine)):
            return True
    return False


def explains(order: list[Operation]) -> bool:
    """Whether one order is a history of a register, and keeps to the clock and to the lanes."""
    state = None
    for at, operation in enumerate(order):
        for later in order[at + 1 :]:
            if later.returned is not None and later.returned < operation.called:
                return False
            if operation.lane >= 0 and later.lane == operation.lane and later.place < operation.place:
                return False
        found = Register().step(state, operation)
        if not found:
            return False
        state = found[0]
    return True


def random_history(random: Random) -> list[Operation]:
    """A few operations of a register, many of them plausible."""
    operations: list[Operation] = []
    for place in range(random.choice((3, 4, 5, 6))):
        called = random.randrange(12)
        returned = called + random.randrange(8) if random.random() < 0.75 else None
        choice = random.random()
        if choice < 0.4 and returned is not None:
            made = read(called, returned, random.choice((None, 1, 2)))
        elif choice < 0.7:
            made = write(called, returned, random.choice((1, 2)))
        else:
            made = cas(called, returned, random.choice((1, 2)), random.choice((1, 2)), random.random() < 0.5)
        if random.random() < 0.4:
            made = made._replace(lane=random.randrange(2), place=place)
        operations.append(made)
    return operations


def test_the_slow_twin_agrees() -> None:
    random = Random(5)
    seen = {True: 0, False: 0}
    for _ in range(1_500):
        history = random_history(random)
        wanted = twin(history)
        seen[wanted] += 1
        assert is_linearizable(*history) == wanted, history
    assert min(seen.values()) > 300


def test_what_cannot_be_decided_in_time_is_no_pass() -> None:
    history = [write(number, 100 + number, number) for number in range(20)]
    history += [read(200, 300, 3), read(400, 500, 4)]
    assert check(Register(), history, 50).verdict == UNKNOWN
    assert check_parts(Register(), [("a", history), ("b", [])], 50) == [("a", check(Register(), history, 50))]


@pytest.mark.parametrize("count", [20_000])
def test_a_long_history_takes_a_step_or_two_each(count: int) -> None:
    operations: list[Operation] = []
    for number in range(0, count, 2):
        operations.append(write(10 * number, 10 * number + 15, number))
        operations.append(read(10 * number + 16, 10 * number + 19, number))
    operations.insert(0, write(0, None, -1))
    verdict = check(Register(), operations)
    assert verdict.verdict == LINEARIZABLE
    assert verdict.steps < 4 * count


def test_the_operation_that_nothing_explains_is_told() -> None:
    wrong = read(40, 90, None)
    assert check(Register(), [write(0, 10, 200), wrong]) == Verdict(ILLEGAL, 2, (wrong,))
