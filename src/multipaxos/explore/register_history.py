"""What the clients of one register saw, and whether some order of their operations explains it (linearizability).

Knows nothing of messages and servers. An operation remembers which operations of the other clients had ended when it began:
it may not be ordered before any of them. Only for a few operations: all orders are tried.
"""

from functools import lru_cache
from typing import NamedTuple

EMPTY = ""  # what the register holds at first


class Operation(NamedTuple):
    """A write of ``value``; or a read, with ``value`` None, that found ``found``."""

    value: str | None
    ended_before: tuple[tuple[int, int], ...]  # of other clients: (client, how many of its operations had ended)
    found: str = EMPTY


class Client(NamedTuple):
    """One client's operations in order, and the one that has not ended."""

    ended: tuple[Operation, ...] = ()
    open: Operation | None = None


History = tuple[Client, ...]


def begin(history: History, client: int, value: str | None) -> History:
    """A client begins to write a value, or to read (None)."""
    ended_before = []
    for other, known in enumerate(history):
        if other != client and known.ended:
            ended_before.append((other, len(known.ended)))
    operation = Operation(value, tuple(ended_before))
    return (*history[:client], history[client]._replace(open=operation), *history[client + 1 :])


def end(history: History, client: int, found: str = EMPTY) -> History:
    """Its operation ends; a read says what it found."""
    operation = history[client].open
    assert operation is not None
    known = Client((*history[client].ended, operation._replace(found=found)), None)
    return (*history[:client], known, *history[client + 1 :])


@lru_cache(maxsize=100_000)
def is_linearizable(history: History) -> bool:
    """Whether some order of all ended operations, and of any open ones, explains every read."""
    return is_explained(history, tuple([0 for _ in history]), EMPTY)


@lru_cache(maxsize=100_000)
def plain(history: History) -> tuple[object, ...]:
    """The same in built-in types."""
    return tuple(
        [(tuple([tuple(done) for done in client.ended]), client.open and tuple(client.open)) for client in history]
    )


def history_text(history: History) -> str:
    """What each client saw, for people."""
    lines = []
    for name, client in enumerate(history):
        seen = [f"read {done.found}" if done.value is None else f"wrote {done.value}" for done in client.ended]
        if client.open:
            seen.append("reads" if client.open.value is None else f"writes {client.open.value}")
        lines.append(f"client {name} {', '.join(seen)}")
    return "; ".join(lines)


def is_explained(history: History, taken: tuple[int, ...], register: str) -> bool:
    """The same, when of each client so many operations are in the order already and the register holds this."""
    if all(count >= len(client.ended) for count, client in zip(taken, history, strict=True)):
        return True
    for index, client in enumerate(history):
        operation = next_operation(client, taken[index])
        if operation is None or any(taken[other] < count for other, count in operation.ended_before):
            continue
        is_open = taken[index] == len(client.ended)
        if operation.value is None and not is_open and operation.found != register:
            continue
        after = register if operation.value is None else operation.value
        if is_explained(history, (*taken[:index], taken[index] + 1, *taken[index + 1 :]), after):
            return True
    return False


def next_operation(client: Client, taken: int) -> Operation | None:
    """The operation of a client that comes after so many."""
    if taken < len(client.ended):
        return client.ended[taken]
    return client.open if taken == len(client.ended) else None
