"""What a client under torture asks for: its mix of requests, and how it asks again when it does not know.

The same rules as in the simulator (``sim/asking.py``: hot znodes that everybody writes, values that never repeat, writes on
conditions, errors on purpose, a careful retry of what is unknown), but made for a run of 10^5 requests instead of some
hundred: what a client creates it deletes again, so that the tree stays small, and it watches one thing at a time, so that a
write does not wake everybody.

A write whose outcome was unknown and that turns out done ("node exists" on the retry of a create) is counted as
``happened_once`` and never as acknowledged.

Knows nothing of connections and time.
"""

from random import Random
from typing import Final

from multipaxos.sim.recorded import Call
from multipaxos.wire.zookeeper import (
    ERR_NO_NODE,
    ERR_NODE_EXISTS,
    ERR_OK,
    FLAG_EPHEMERAL,
    FLAG_SEQUENTIAL,
    OP_ADD_WATCH,
    OP_CHECK,
    OP_CREATE,
    OP_CREATE2,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_MULTI,
    OP_REMOVE_WATCHES,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SYNC,
    OPEN_ACL,
    WATCH_PERSISTENT,
    WATCH_RECURSIVE,
    WATCHER_ANY,
    decode_children,
    decode_data_stat,
    decode_path,
    decode_stat,
    encode_create,
    encode_multi,
    encode_path,
    encode_path_type,
    encode_set_acl,
    encode_set_data,
    encode_versioned_path,
    encode_watched_path,
)

HOT: Final = tuple(f"/k{number}" for number in range(12))
QUEUE: Final = "/q"
"""Parent of the sequential znodes."""

KEPT_MAX: Final = 12
"""Own znodes that one client lets stand."""

Request = tuple[int, bytes]
"""Opcode and record."""


class Mind:
    """What one client wants next."""

    __slots__ = (
        "_created",
        "_doubted",
        "_name",
        "_next",
        "_number",
        "_random",
        "_versions",
        "_watched",
        "happened_once",
        "padding",
    )

    def __init__(self, name: int, random: Random) -> None:
        self.happened_once = 0  # writes of unknown outcome that turned out to have taken effect
        self.padding = b""  # behind the values set, while a disk is to be filled
        self._created: list[str] = []  # own znodes that stand, as far as this client knows
        self._doubted: dict[Request, None] = {}  # sent again because their outcome was unknown
        self._name = name
        self._next: list[Request] = [(OP_CREATE, encode_create(QUEUE, b""))]
        self._number = 0
        self._random = random
        self._versions: dict[str, int] = {}  # of hot znodes, as last seen
        self._watched = ""  # the path of the one watch that stays

    def next(self) -> Request:
        """The next request."""
        self._number += 1
        if self._next:
            return self._next.pop(0)
        random = self._random
        hot = random.choice(HOT)
        value = f"{self._name}.{self._number}".encode()
        draw = random.random()
        if draw < 0.36:
            return self._write_hot(draw, hot, value)
        if draw < 0.50:
            if len(self._created) < KEPT_MAX:
                return self._create(draw, value)
            return OP_DELETE, encode_versioned_path(self._created.pop(0))
        if draw < 0.58 and self._created:
            return OP_DELETE, encode_versioned_path(self._created.pop(random.randrange(len(self._created))))
        if draw < 0.66:
            return self._multi(hot, value)
        return self._read(draw, hot)

    def _write_hot(self, draw: float, hot: str, value: bytes) -> Request:
        """Writes of what everybody uses."""
        if draw < 0.13:
            return OP_SET_DATA, encode_set_data(hot, value + self.padding)
        if draw < 0.24:
            return OP_SET_DATA, encode_set_data(hot, value + self.padding, self._version(hot))
        if draw < 0.31:
            return OP_CREATE, encode_create(hot, value)
        if draw < 0.34:
            return OP_DELETE, encode_versioned_path(hot, self._version(hot) if self._random.random() < 0.7 else -1)
        return OP_SET_ACL, encode_set_acl(hot, OPEN_ACL, self._random.choice((-1, 0, 1)))

    def _version(self, path: str) -> int:
        """What to make a write conditional on: mostly the version last seen."""
        return self._versions.get(path, 0) if self._random.random() < 0.85 else self._random.randrange(4)

    def _create(self, draw: float, value: bytes) -> Request:
        """Own znodes, whose names nobody else uses."""
        name = value.decode()
        if draw < 0.40:
            return OP_CREATE2, encode_create(f"/n{name}", value)
        if draw < 0.44:
            flags = FLAG_SEQUENTIAL | (FLAG_EPHEMERAL if self._random.random() < 0.4 else 0)
            return OP_CREATE, encode_create(f"{QUEUE}/{name}-", value, OPEN_ACL, flags)
        if draw < 0.48:
            return OP_CREATE, encode_create(f"/e{name}", value, OPEN_ACL, FLAG_EPHEMERAL)
        return OP_CREATE2, encode_create(f"{self._random.choice(HOT)}/c{name}", value)

    def _multi(self, hot: str, value: bytes) -> Request:
        """A few operations that happen together or not at all."""
        random = self._random
        other = random.choice(HOT)
        operations: list[Request] = []
        if random.random() < 0.5:
            operations.append((OP_CHECK, encode_versioned_path(other, self._version(other))))
        operations.append((OP_SET_DATA, encode_set_data(hot, value, random.choice((-1, self._version(hot))))))
        if len(self._created) < KEPT_MAX and random.random() < 0.5:
            path = f"/m{value.decode()}"
            operations.append((OP_CREATE2, encode_create(path, value)))
            self._created.append(path)  # deleted some day, whether or not it came to be
        elif self._created and random.random() < 0.5:
            operations.append((OP_DELETE, encode_versioned_path(self._created.pop())))
        return OP_MULTI, encode_multi(operations)

    def _read(self, draw: float, hot: str) -> Request:
        """Reads, watches and sync."""
        random = self._random
        is_watching = random.random() < 0.3
        if draw < 0.80:
            return OP_GET_DATA, encode_watched_path(hot, is_watching)
        if draw < 0.89:
            # Asked for behind the sync, on the same connection: what is linearizable here.
            self._next.append((OP_GET_DATA, encode_watched_path(hot)))
            return OP_SYNC, encode_path(hot)
        if draw < 0.94:
            return OP_EXISTS, encode_watched_path(hot, is_watching)
        if draw < 0.98:
            return random.choice((OP_GET_CHILDREN, OP_GET_CHILDREN2)), encode_watched_path(hot, is_watching)
        if draw < 0.985:
            return OP_GET_CHILDREN2, encode_watched_path(random.choice(("/", QUEUE)))
        if self._watched:
            watched, self._watched = self._watched, ""
            return OP_REMOVE_WATCHES, encode_path_type(watched, WATCHER_ANY)
        self._watched = hot
        return OP_ADD_WATCH, encode_path_type(hot, random.choice((WATCH_PERSISTENT, WATCH_RECURSIVE)))

    # -- what became of it ------------------------------------------------------------------------------------------------

    def answered(self, call: Call) -> None:
        """A reply came."""
        opcode, path = call.opcode, call.path
        is_repeated = False
        if self._doubted and (opcode, call.record) in self._doubted:
            del self._doubted[opcode, call.record]
            is_repeated = True
        if opcode in (OP_CREATE, OP_CREATE2):
            if call.err == ERR_OK and path not in HOT and path != QUEUE:
                self._created.append(decode_path(call.body))
            elif call.err == ERR_NODE_EXISTS and is_repeated and path not in HOT:
                self.happened_once += 1
                self._created.append(path)
        elif opcode == OP_DELETE and call.err == ERR_NO_NODE and is_repeated:
            self.happened_once += 1
        elif opcode == OP_GET_DATA and call.err == ERR_OK:
            self._versions[path] = decode_data_stat(call.body)[1].version
        elif opcode in (OP_SET_DATA, OP_EXISTS) and call.err == ERR_OK:
            self._versions[path] = decode_stat(call.body).version
        elif opcode == OP_GET_CHILDREN and path == QUEUE and call.err == ERR_OK and is_repeated:
            mine = f"{self._name}."
            found = [f"{QUEUE}/{name}" for name in decode_children(call.body) if name.startswith(mine)]
            lost_sight_of = [one for one in found if one not in self._created]
            self.happened_once += len(lost_sight_of)
            self._created.extend(lost_sight_of)

    def unknown(self, call: Call) -> None:
        """Nobody will ever say what became of it: ask again where that cannot do it twice, look for it elsewhere."""
        opcode, record = call.opcode, call.record
        if opcode in (OP_CREATE, OP_CREATE2) and record[-1] & FLAG_SEQUENTIAL:
            # By its name, which nobody else uses.
            self._again(OP_GET_CHILDREN, encode_watched_path(QUEUE))
        elif opcode in (OP_CREATE, OP_CREATE2, OP_DELETE):
            if call.path not in HOT:
                self._again(opcode, record)
        elif opcode == OP_SET_DATA:
            # Values never repeat: who reads it knows that it happened.
            self._next.append((OP_GET_DATA, encode_watched_path(call.path)))

    def _again(self, opcode: int, record: bytes) -> None:
        if (opcode, record) not in self._doubted:
            self._doubted[opcode, record] = None
            self._next.append((opcode, record))

    def renewed(self) -> None:
        """A new session begins: the watches of the old one are gone, and requests asked again may have been of it."""
        self._doubted = {}
        self._next = []
        self._watched = ""
