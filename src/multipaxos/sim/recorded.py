"""A recorded history: what clients asked, what they were told and when, and what was found at the end.

Simulated worlds and real processes record the same things, so the same judges (``judging.py``) read both. A history is
made with a ``Recorder`` and is kept as JSON Lines, one entry a line, its type under ``k``:

    call       one request of one client, with its reply or without one (outcome unknown)
    event      a watch event as it was delivered
    mark       something that happened to a session or its connection
    held       what a replica held when all was over
    chosen     one slot of the ledger, as it was applied or read back from the journals

Times are nanoseconds of one monotonic clock: all clients of a history run on one host, or in one virtual time. Two things
of one instant are taken as concurrent. ``arrival`` numbers replies and events in the order they were read, since several
arrive with one read of a socket.

Only what clients could see is needed. The ledger and the final states make verdicts sharper: the ledger tells which
requests of unknown outcome took effect.

Knows nothing of judging, sockets or simulation.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from multipaxos.wire.jute import MalformedRecord, read_string
from multipaxos.wire.zookeeper import (
    OP_ADD_WATCH,
    OP_CHECK_WATCHES,
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_CREATE2,
    OP_CREATE_CONTAINER,
    OP_CREATE_TTL,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_GET_EPHEMERALS,
    OP_MULTI,
    OP_REMOVE_WATCHES,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SYNC,
)

OPENED: Final = "opened"
"""A new session was answered; ``sent_ns`` is when its handshake was sent, ``timeout_ms`` what was agreed."""
RESUMED: Final = "resumed"
"""A living session was answered on another connection."""
ALIVE: Final = "alive"
"""A ping was answered with ``zxid``; ``sent_ns`` is when it was sent. Requests tell the same by themselves."""
LOST: Final = "lost"
"""The connection broke, or the client gave it up: what it had not answered stays unknown."""
EXPIRED: Final = "expired"
"""A handshake was refused: the client was told that its session is over."""
KILLED: Final = "killed"
"""The client fell silent for ever, on purpose."""
HEALED: Final = "healed"
"""All faults were over, of no session: from here on the cluster is expected to get on."""

MARKS: Final = (OPENED, RESUMED, ALIVE, LOST, EXPIRED, KILLED, HEALED)

READ_OPCODES: Final = (OP_GET_DATA, OP_EXISTS, OP_GET_CHILDREN2, OP_GET_CHILDREN)
"""Reads that may set a watch."""

LEDGER_OPCODES: Final = (
    OP_SET_DATA, OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER, OP_CREATE_TTL, OP_DELETE, OP_MULTI, OP_SET_ACL, OP_SYNC,
    OP_CLOSE_SESSION,
)  # fmt: skip
"""Requests that take their place in the ledger."""

_PATH_FIRST: Final = (
    *READ_OPCODES, OP_SET_DATA, OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER, OP_CREATE_TTL, OP_DELETE, OP_SET_ACL,
    OP_SYNC, OP_GET_ACL, OP_GET_EPHEMERALS, OP_GET_ALL_CHILDREN_NUMBER, OP_ADD_WATCH, OP_CHECK_WATCHES,
    OP_REMOVE_WATCHES,
)  # fmt: skip


class Call(msgspec.Struct, tag_field="k", tag="call", omit_defaults=True, gc=False):
    """One request. ``returned_ns`` 0: its outcome is unknown, it took effect once or not at all."""

    client: int
    session: int
    connection: int
    """Of the client, unique in the history."""
    index: int
    """Order of invocation within the session, also across its connections."""
    opcode: int
    path: str
    """As asked for: of a sequential create without its suffix. Empty where the record has no single path."""
    record: bytes
    """The request's jute record, without header."""
    invoked_ns: int
    returned_ns: int = 0
    arrival: int = 0
    err: int = 0
    zxid: int = 0
    body: bytes = b""
    """The reply's jute record, without header."""

    @property
    def is_answered(self) -> bool:
        """Whether the outcome is known."""
        return self.returned_ns != 0

    @property
    def is_read(self) -> bool:
        """Whether it is a read of one znode."""
        return self.opcode in READ_OPCODES

    @property
    def is_watching(self) -> bool:
        """Whether it is a read that asks for a one-shot watch."""
        return self.opcode in READ_OPCODES and self.record[-1:] != b"\0"


class Delivered(msgspec.Struct, tag_field="k", tag="event", omit_defaults=True, gc=False):
    """A watch event. ``zxid`` is -1 where setWatches made it."""

    client: int
    session: int
    connection: int
    at_ns: int
    arrival: int
    kind: int
    """1 created, 2 deleted, 3 data changed, 4 children changed."""
    path: str
    zxid: int


class Mark(msgspec.Struct, tag_field="k", tag="mark", omit_defaults=True, gc=False):
    """Something that happened to a session: one of ``MARKS``."""

    kind: str
    client: int
    session: int
    connection: int
    at_ns: int
    sent_ns: int = 0
    timeout_ms: int = 0
    zxid: int = 0
    arrival: int = 0


class Held(msgspec.Struct, tag_field="k", tag="held", omit_defaults=True):
    """What one replica held when everything had ended."""

    replica: int
    at_ns: int
    """When it was looked at."""
    applied: int
    digest: str
    """Of its whole state."""
    sessions: dict[int, int]
    """Living sessions and their timeouts in ms."""
    ephemerals: dict[str, int]
    """Path and owning session."""
    ledger: dict[int, str] = {}
    """Slot and a digest of its decree, of the chosen prefix, as far as the replica still has it."""


class Chosen(msgspec.Struct, tag_field="k", tag="chosen", omit_defaults=True):
    """One slot of the ledger with the commands that are executed in it: repeats are left out (rule-R8)."""

    slot: int
    time_ms: int
    """Command time of the slot."""
    epoch: int
    """Number of the epoch that governs it."""
    reign: int
    """Ballot of its epoch decree."""
    began_epoch: bool = False
    config: bytes | None = None
    """What /zookeeper/config shows from this slot on, where it is a configuration decree with such a text."""
    commands: list[bytes] = []


Entry = Call | Delivered | Mark | Held | Chosen


class History:
    """All of one recording."""

    __slots__ = ("calls", "events", "finals", "ledger", "marks")

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.events: list[Delivered] = []
        self.marks: list[Mark] = []
        self.finals: list[Held] = []
        self.ledger: list[Chosen] = []
        """Empty where nobody read it back; else whole, from slot 1 on."""

    def add(self, entry: Entry) -> None:
        """Take one entry in."""
        if isinstance(entry, Call):
            self.calls.append(entry)
        elif isinstance(entry, Delivered):
            self.events.append(entry)
        elif isinstance(entry, Mark):
            self.marks.append(entry)
        elif isinstance(entry, Held):
            self.finals.append(entry)
        else:
            self.ledger.append(entry)

    def entries(self) -> Iterator[Entry]:
        """All entries, each kind in its order."""
        yield from self.calls
        yield from self.events
        yield from self.marks
        yield from self.finals
        yield from self.ledger

    def write(self, path: Path) -> None:
        """Keep it as JSON Lines."""
        encoder = msgspec.json.Encoder()
        with path.open("wb") as file:
            for entry in self.entries():
                file.write(encoder.encode(entry) + b"\n")


def read_history(*paths: Path) -> History:
    """Read one history, of one file or of several that were recorded side by side.

    Raises ValueError where a line is none of ours, naming file and line.
    """
    history = History()
    decoder = msgspec.json.Decoder(Entry)
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    history.add(decoder.decode(line))
                except msgspec.MsgspecError as error:
                    raise ValueError(f"{path}, line {number}: {error}") from error
    history.ledger.sort(key=lambda chosen: chosen.slot)
    return history


def path_of(opcode: int, record: bytes) -> str:
    """The path a request names first, empty where it names none."""
    if opcode not in _PATH_FIRST:
        return ""
    try:
        path, _ = read_string(record, 0)
    except MalformedRecord:
        return ""
    return path or ""


class RecorderFull(RuntimeError):
    """More calls than were allowed for in memory."""


class Recorder:
    """Takes a history down while it happens. Not for several threads at once.

    With a ``sink`` each entry is written as soon as it is settled, and only open calls are held in memory. Without one all
    is kept for ``history()``, up to ``calls_max`` calls.
    """

    __slots__ = ("_arrivals", "_calls_max", "_encoder", "_history", "_indexes", "_open", "_sink")

    def __init__(self, sink: IO[bytes] | None = None, calls_max: int = 1_000_000) -> None:
        self._sink = sink
        self._calls_max = calls_max
        self._encoder = msgspec.json.Encoder()
        self._history = History()
        self._indexes: dict[int, int] = {}
        self._arrivals = 0
        self._open: dict[tuple[int, int], Call] = {}

    def invoked(self, client: int, session: int, connection: int, opcode: int, record: bytes, at_ns: int) -> Call:
        """A request is about to leave its client. Keep what this returns until its end: ``returned`` or ``unknown``.

        Raises RecorderFull where there is no sink and memory for calls is used up.
        """
        index = self._indexes.get(session, 0)
        self._indexes[session] = index + 1
        call = Call(client, session, connection, index, opcode, path_of(opcode, record), record, at_ns)
        if self._sink is not None:
            self._open[session, index] = call
        elif len(self._history.calls) >= self._calls_max:
            raise RecorderFull(f"{self._calls_max} calls are recorded")
        else:
            self._history.calls.append(call)
        return call

    def returned(self, call: Call, at_ns: int, zxid: int, err: int, body: bytes) -> None:
        """Its reply was read."""
        self._arrivals += 1
        call.returned_ns = at_ns
        call.arrival = self._arrivals
        call.zxid = zxid
        call.err = err
        call.body = body
        self._settle(call)

    def unknown(self, call: Call) -> None:
        """Its connection is gone, or the client gave it up: nobody will ever be told."""
        self._settle(call)

    def event(self, client: int, session: int, connection: int, at_ns: int, kind: int, path: str, zxid: int) -> None:
        """A watch event was read."""
        self._arrivals += 1
        self._put(Delivered(client, session, connection, at_ns, self._arrivals, kind, path, zxid))

    def mark(
        self,
        kind: str,
        client: int,
        session: int,
        connection: int,
        at_ns: int,
        sent_ns: int = 0,
        timeout_ms: int = 0,
        zxid: int = 0,
    ) -> None:
        """Something happened to a session: one of ``MARKS``."""
        self._arrivals += 1
        self._put(Mark(kind, client, session, connection, at_ns, sent_ns, timeout_ms, zxid, self._arrivals))

    def add(self, entry: Held | Chosen) -> None:
        """The final state of a replica, or a slot of the ledger."""
        self._put(entry)

    def close(self) -> None:
        """Write what is still open as unknown. The sink is not closed."""
        for call in list(self._open.values()):
            self._settle(call)

    def history(self) -> History:
        """All that was recorded, where there is no sink. Calls still open count as unknown."""
        assert self._sink is None, "it was written to the sink: read_history"
        return self._history

    def _settle(self, call: Call) -> None:
        if self._sink is not None and self._open.pop((call.session, call.index), None) is not None:
            self._sink.write(self._encoder.encode(call) + b"\n")

    def _put(self, entry: Entry) -> None:
        if self._sink is not None:
            self._sink.write(self._encoder.encode(entry) + b"\n")
        else:
            self._history.add(entry)


def join(histories: Iterable[History]) -> History:
    """One history of what several recorders saw side by side, by one clock: sessions and connections must not share
    numbers between them."""
    whole = History()
    for history in histories:
        for entry in history.entries():
            whole.add(entry)
    whole.ledger.sort(key=lambda chosen: chosen.slot)
    return whole
