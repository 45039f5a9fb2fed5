"""The published histories of ``tests/data/porcupine``, as operations, and the objects they are histories of."""

import re
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from multipaxos.sim.linearizability import Operation

FOLDER = Path(__file__).parent.parent / "data" / "porcupine"

JEPSEN = re.compile(r"INFO\s+jepsen\.util\s+-\s+(\d+)\s+:(\w+)\s+:(\w+)\s+(.*)")
KV = re.compile(r'\{:process (\d+), :type :(\w+), :f :(\w+), :key "(.*)", :value (?:nil|"(.*)")\}')


def verdicts() -> dict[str, bool]:
    """Of each history, whether it is linearizable."""
    lines = (FOLDER / "verdicts.txt").read_text().splitlines()
    return {name: verdict == "ok" for name, verdict in (line.split() for line in lines)}


@cache
def texts() -> dict[str, list[str]]:
    """All histories, line by line."""
    found: dict[str, list[str]] = {}
    with tarfile.open(FOLDER / "histories.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                found[member.name] = file.read().decode().splitlines()
    return found


def jepsen(name: str) -> list[Operation]:
    """A register of etcd: (write, value), (cas, from, to), (read,); the output of a read is its value, of a cas whether it
    was done. The number of the line is the time."""
    operations: list[Operation] = []
    open_calls: dict[str, int] = {}
    for time, line in enumerate(texts()[name]):
        match = JEPSEN.match(line)
        if match is None:
            continue
        process, kind, function, value = match.groups()
        if kind == "invoke":
            numbers = tuple(int(number) for number in re.findall(r"\d+", value))
            open_calls[process] = len(operations)
            operations.append(Operation(time, None, (function, *numbers), None, False))
        elif kind in ("ok", "fail") and ":timed-out" not in value:
            at = open_calls.pop(process)
            output: Any = kind == "ok"
            if function == "read":
                output = None if value == "nil" else int(value)
            operations[at] = operations[at]._replace(returned=time, output=output, is_answered=True)
        elif kind == "fail":  # a read that timed out: it says nothing and changed nothing
            operations[open_calls.pop(process)] = Operation(time, None, ("read",), None, False)
    return operations


class Register:
    """A register that compares and sets. None is "never written"."""

    def init(self) -> int | None:
        return None

    def step(self, state: int | None, operation: Operation) -> Sequence[int | None]:
        given, output = operation.input, operation.output
        if given[0] == "read":
            return (state,) if not operation.is_answered or output == state else ()
        if given[0] == "write":
            return (given[1],)
        is_done = state == given[1]
        if operation.is_answered and output != is_done:
            return ()
        return (given[2] if is_done else state,)

    def is_pure(self, operation: Operation) -> bool:
        return operation.input[0] == "read" or (operation.is_answered and operation.output is False)


def kv(name: str) -> list[tuple[str, Operation]]:
    """A key-value store: (key, operation) with (get,), (put, text), (append, text)."""
    operations: list[tuple[str, Operation]] = []
    open_calls: dict[str, int] = {}
    for time, line in enumerate(texts()[name]):
        match = KV.match(line)
        assert match is not None, line
        process, kind, function, key, value = match.groups()
        if kind == "invoke":
            open_calls[process] = len(operations)
            operations.append((key, Operation(time, None, (function, value), None, False)))
        else:
            at = open_calls.pop(process)
            operations[at] = (key, operations[at][1]._replace(returned=time, output=value, is_answered=True))
    return operations


class Text:
    """One key: a text to replace or to append to."""

    def init(self) -> str:
        return ""

    def step(self, state: str, operation: Operation) -> Sequence[str]:
        given = operation.input
        if given[0] == "get":
            return (state,) if not operation.is_answered or operation.output == state else ()
        return (given[1],) if given[0] == "put" else (state + given[1],)

    def is_pure(self, operation: Operation) -> bool:
        return bool(operation.input[0] == "get")


class Store:
    """All keys together: the same, without parts."""

    def init(self) -> tuple[tuple[str, str], ...]:
        return ()

    def step(self, state: tuple[tuple[str, str], ...], operation: Operation) -> Sequence[tuple[tuple[str, str], ...]]:
        key, inner = operation.input
        texts_of = dict(state)
        found = Text().step(texts_of.get(key, ""), operation._replace(input=inner))
        return tuple(tuple(sorted({**texts_of, key: text}.items())) for text in found)

    def is_pure(self, operation: Operation) -> bool:
        return bool(operation.input[1][0] == "get")
