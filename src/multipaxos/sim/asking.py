"""What a simulated client asks for: its mix of requests, and how it asks again when it does not know.

The mix (verification plan, workload rules): ten hot znodes that everybody writes and reads, written values that never
repeat, conditional and unconditional writes, creates of every kind, multis, sync followed by a read, watches of every
mode. Some names are missing, some versions stale, some parents wrong: the errors are part of it.

A write whose outcome is unknown is asked for again in the way a careful client does it:

- what names a version, or creates a znode, is sent again as it was: done the first time, it fails now, and "node exists"
  then means that it happened once;
- an unconditional set is looked for first, and repeated on the version found;
- a sequential create is looked for by its name, which nobody else uses (as Curator does).

Knows nothing of connections and time; what it is told comes from ``clients.py``.
"""

from random import Random

from multipaxos.sim.recorded import Call
from multipaxos.wire.zookeeper import (
    ERR_NO_NODE,
    ERR_NODE_EXISTS,
    FLAG_EPHEMERAL,
    FLAG_SEQUENTIAL,
    OP_ADD_WATCH,
    OP_CHECK,
    OP_CREATE,
    OP_CREATE2,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_GET_EPHEMERALS,
    OP_MULTI,
    OP_MULTI_READ,
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
    decode_stat,
    encode_create,
    encode_multi,
    encode_path,
    encode_path_type,
    encode_set_acl,
    encode_set_data,
    encode_versioned_path,
    encode_watched_path,
    read_multi,
    read_set_data,
)

HOT_KEYS = 10
HOT = tuple(f"/k{number}" for number in range(HOT_KEYS))
QUEUE = "/q"
"""Parent of the sequential znodes: its counter of creates is the suffix."""

Request = tuple[int, bytes]
"""Opcode and record."""


class Asker:
    """The mind of one client."""

    __slots__ = (
        "_ask_next",
        "_created",
        "_doubted",
        "_looked_for",
        "_mark",
        "_name",
        "_number",
        "_random",
        "_versions",
        "ephemerals",
        "happened_once",
    )

    def __init__(self, name: int, random: Random) -> None:
        self.ephemerals: dict[str, None] = {}  # acknowledged or found, not deleted by this client
        self.happened_once = 0  # writes of unknown outcome that turned out to have taken effect
        self._name = name
        self._random = random
        self._number = 0
        self._mark = ""
        self._created: list[str] = []  # own znodes that may be deleted
        self._versions: dict[str, int] = {}  # of hot znodes, as last seen
        self._doubted: dict[Request, None] = {}  # sent with unknown outcome, and to be sent again
        self._looked_for: dict[str, bytes] = {}  # path -> value of a set, or prefix of a name, that may have happened
        self._ask_next: list[Request] = [(OP_CREATE, encode_create(QUEUE, b"", OPEN_ACL, 0))]

    def next(self, session: int) -> Request:
        """The next request of ``session``."""
        self._number += 1
        self._mark = f"{self._name}.{session:x}.{self._number}"
        if self._ask_next:
            return self._ask_next.pop(0)
        random = self._random
        hot = HOT[random.randrange(HOT_KEYS)]
        choice = random.random()
        if choice < 0.34:
            return self._write_hot(choice, hot)
        if choice < 0.50:
            return self._create(choice)
        if choice < 0.54 and self._created:
            return OP_DELETE, encode_versioned_path(self._forget(random.randrange(len(self._created))), -1)
        if choice < 0.62:
            return self._multi(hot)
        return self._read(choice, hot)

    def _write_hot(self, choice: float, hot: str) -> Request:
        """Sets, deletes and creates of what everybody uses."""
        random = self._random
        value = self._mark.encode()
        if choice < 0.12:
            return OP_SET_DATA, encode_set_data(hot, value, -1)
        if choice < 0.25:
            return OP_SET_DATA, encode_set_data(hot, value, self._version(hot))
        if choice < 0.30:
            return OP_CREATE, encode_create(hot, value, OPEN_ACL, 0)
        if choice < 0.325:
            return OP_DELETE, encode_versioned_path(hot, self._version(hot) if random.random() < 0.8 else -1)
        return OP_SET_ACL, encode_set_acl(hot, OPEN_ACL, random.choice((-1, 0, 1)))

    def _version(self, path: str) -> int:
        """The version to make a write conditional on: mostly the one last seen."""
        found = self._versions.get(path, 0)
        return found if self._random.random() < 0.85 else self._random.randrange(4)

    def _create(self, choice: float) -> Request:
        """Own znodes, whose names nobody else uses."""
        value = self._mark.encode()
        if choice < 0.38:
            return OP_CREATE2, encode_create(f"/n{self._mark}", value, OPEN_ACL, 0)
        if choice < 0.43:
            flags = FLAG_SEQUENTIAL | (FLAG_EPHEMERAL if self._random.random() < 0.4 else 0)
            return OP_CREATE, encode_create(f"{QUEUE}/{self._mark}-", value, OPEN_ACL, flags)
        if choice < 0.48:
            return OP_CREATE, encode_create(f"/e{self._mark}", value, OPEN_ACL, FLAG_EPHEMERAL)
        parent = HOT[self._random.randrange(HOT_KEYS)]
        if self.ephemerals and self._random.random() < 0.3:
            parent = next(iter(self.ephemerals))  # which may have no children
        return OP_CREATE2, encode_create(f"{parent}/c{self._mark}", value, OPEN_ACL, 0)

    def _multi(self, hot: str) -> Request:
        """A few operations that happen together or not at all."""
        random = self._random
        other = HOT[random.randrange(HOT_KEYS)]
        value = self._mark.encode()
        operations: list[tuple[int, bytes]] = []
        if random.random() < 0.5:
            operations.append((OP_CHECK, encode_versioned_path(other, self._version(other))))
        operations.append((OP_SET_DATA, encode_set_data(hot, value, random.choice((-1, self._version(hot))))))
        if random.random() < 0.5:
            operations.append((OP_CREATE2, encode_create(f"/m{self._mark}", value, OPEN_ACL, 0)))
        if random.random() < 0.3:
            operations.append((OP_SET_DATA, encode_set_data(hot, value + b"+", -1)))
        if random.random() < 0.2:
            operations.append((OP_CREATE, encode_create(f"{QUEUE}/{self._mark}-", value, OPEN_ACL, FLAG_SEQUENTIAL)))
        if self._created and random.random() < 0.3:
            path = self._forget(random.randrange(len(self._created)))
            operations.append((OP_DELETE, encode_versioned_path(path, -1)))
        return OP_MULTI, encode_multi(operations)

    def _read(self, choice: float, hot: str) -> Request:
        """Reads, watches and sync."""
        random = self._random
        is_watching = random.random() < 0.5
        if choice < 0.79:
            return OP_GET_DATA, encode_watched_path(hot, is_watching)
        if choice < 0.86:
            # Pipelined behind the sync, on the same connection: what is linearizable here.
            self._ask_next.append((OP_GET_DATA, encode_watched_path(hot, False)))
            return OP_SYNC, encode_path(hot)
        if choice < 0.90:
            return OP_EXISTS, encode_watched_path(hot, is_watching)
        if choice < 0.94:
            path = random.choice(("/", QUEUE, hot))
            return random.choice((OP_GET_CHILDREN, OP_GET_CHILDREN2)), encode_watched_path(path, is_watching)
        if choice < 0.97:
            if random.random() < 0.15:
                return OP_REMOVE_WATCHES, encode_path_type(hot, WATCHER_ANY)
            mode = random.choice((WATCH_PERSISTENT, WATCH_RECURSIVE))
            return OP_ADD_WATCH, encode_path_type(random.choice((hot, hot, QUEUE, "/")), mode)
        rare = random.randrange(4)
        if rare == 0:
            return OP_GET_EPHEMERALS, encode_path("/e")
        if rare == 1:
            return OP_GET_ALL_CHILDREN_NUMBER, encode_path(random.choice(("/", QUEUE)))
        if rare == 2:
            return OP_GET_ACL, encode_path(hot)
        reads = [(OP_GET_DATA, encode_watched_path(path)) for path in (hot, HOT[0])]
        return OP_MULTI_READ, encode_multi([*reads, (OP_GET_CHILDREN, encode_watched_path(QUEUE))])

    def _forget(self, index: int) -> str:
        """Take an own znode that is about to be deleted."""
        path = self._created.pop(index)
        self.ephemerals.pop(path, None)
        return path

    # What became of it

    def answered(self, call: Call) -> None:
        """A reply came."""
        opcode = call.opcode
        path = call.path
        is_repeated = False
        if self._doubted and (opcode, call.record) in self._doubted:
            del self._doubted[opcode, call.record]
            is_repeated = True
        if opcode in (OP_CREATE, OP_CREATE2):
            if call.err == 0:
                size = int.from_bytes(call.body[:4], "big")
                self._has_created(call.body[4 : 4 + size].decode(), call.record)
            elif call.err == ERR_NODE_EXISTS and is_repeated and path not in HOT and path != QUEUE:
                self.happened_once += 1
                self._has_created(path, call.record)
        elif opcode == OP_DELETE:
            if call.err == ERR_NO_NODE and is_repeated:
                self.happened_once += 1
        elif opcode == OP_GET_DATA:
            self._has_read(call)
        elif opcode in (OP_SET_DATA, OP_EXISTS):
            if call.err == 0:
                self._versions[path] = decode_stat(call.body).version
        elif opcode == OP_GET_CHILDREN and path in self._looked_for:
            self._has_listed(call)

    def _has_created(self, path: str, record: bytes) -> None:
        if record[-1] & FLAG_EPHEMERAL:
            self.ephemerals[path] = None
        if path != QUEUE:
            self._created.append(path)

    def _has_read(self, call: Call) -> None:
        path = call.path
        if call.err != 0:
            self._looked_for.pop(path, None)
            return
        data, stat = decode_data_stat(call.body)
        self._versions[path] = stat.version
        value = self._looked_for.pop(path, None)
        if value is None:
            return
        if data == value:
            self.happened_once += 1
        else:
            again = f"{value.decode()}!{self._number}".encode()
            self._ask_next.append((OP_SET_DATA, encode_set_data(path, again, stat.version)))

    def _has_listed(self, call: Call) -> None:
        """Look for the sequential znode that may have been created."""
        prefix = self._looked_for.pop(call.path).decode()
        if call.err != 0:
            return
        for name in decode_children(call.body):
            if name.startswith(prefix):
                self.happened_once += 1
                self._created.append(f"{QUEUE}/{name}")
                return

    def unknown(self, call: Call) -> None:
        """Nobody will ever say what became of it: find out, or ask again where that is safe."""
        opcode = call.opcode
        path = call.path
        if opcode == OP_SET_DATA:
            request, _ = read_set_data(call.record, 0)
            if request.version >= 0:
                self._again(opcode, call.record)
            else:
                self._looked_for[path] = request.data or b""
                self._ask_next.append((OP_GET_DATA, encode_watched_path(path, False)))
        elif opcode in (OP_CREATE, OP_CREATE2):
            if call.record[-1] & FLAG_SEQUENTIAL:
                self._looked_for[QUEUE] = path.rpartition("/")[2].encode()
                self._ask_next.append((OP_GET_CHILDREN, encode_watched_path(QUEUE, False)))
            else:
                self._again(opcode, call.record)
        elif opcode == OP_DELETE:
            self._again(opcode, call.record)
        elif opcode == OP_MULTI:
            # Only with a create in it, which fails the second time.
            operations = read_multi(call.record, 0)[0].operations
            if any(each == OP_CREATE2 for each, _ in operations):
                self._again(opcode, call.record)

    def _again(self, opcode: int, record: bytes) -> None:
        self._doubted[opcode, record] = None
        self._ask_next.append((opcode, record))

    def renewed(self) -> None:
        """The session was lost: what hung on it is gone."""
        self.ephemerals = {}
        self._doubted = {}
        self._looked_for = {}
        self._ask_next = []
