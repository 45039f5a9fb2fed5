"""Client histories against a model: every answer a simulated client gets is compared with the one the ledger gives.

The model is one more state machine, fed by the oracle with the chosen prefix the moment it is chosen, so it is never behind
a replica. It remembers every past value of every znode by zxid. Therefore each reply can be judged when it arrives:

- a write's reply is the model's result of that very command, executed once (I11) and after all earlier ones of its session
  (I12);
- a read's reply equals the tree at the zxid it names, which is not below any its session has seen, and above every zxid
  that anybody was told before a sync it follows;
- an event comes before any reply that shows its change (I15);
- a session ends only when its client asked for it, or has been silent for its timeout (rule-R24, rule-R25).

Knows nothing of connections and bytes on them: ``clients.py``.
"""

from bisect import bisect_right
from collections.abc import Callable

from multipaxos.coordination.codes import CHANGED, CREATED, DELETED
from multipaxos.coordination.commands import (
    CLOSE,
    EXPIRE,
    HEADER_SIZE,
    REQUEST,
    decode_header,
    decode_ids,
)
from multipaxos.coordination.machine import Machine, Result
from multipaxos.service.service import config_text
from multipaxos.sim.checkers import Expected, Follower, Violation
from multipaxos.wire.zookeeper import (
    ERR_NO_NODE,
    OP_EXISTS,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    encode_children,
    encode_data_stat,
)

READS = (OP_GET_DATA, OP_EXISTS, OP_GET_CHILDREN2)

NEW = "new"
SENT = "sent"
ANSWERED = "answered"
UNKNOWN = "unknown"


class Operation:
    """One request of one client, from its invocation to its reply."""

    __slots__ = (
        "connection", "err", "executed_at", "floor", "index", "invoked_at", "is_watching", "opcode", "path", "record",
        "result", "session", "state", "xid", "zxid",
    )  # fmt: skip

    def __init__(self, session: int, index: int, opcode: int, path: str, record: bytes) -> None:
        self.session = session
        self.index = index  # order of invocation within the session
        self.opcode = opcode
        self.path = path
        self.record = record
        self.is_watching = False
        self.state = NEW
        self.xid = 0
        self.connection = 0
        self.invoked_at = 0
        self.floor = 0  # the highest zxid any client had been told when this was invoked
        self.executed_at = 0  # slot in which the model executed it, 0 for not yet
        self.result: Result | None = None
        self.err = 0
        self.zxid = 0

    @property
    def is_read(self) -> bool:
        """Whether it never enters the ledger."""
        return self.opcode in READS


class Lives:
    """What the history knows of one session."""

    __slots__ = ("believed_at", "expired_at", "has_closed", "is_ended", "last_executed", "seen", "timeout_ms")

    def __init__(self, timeout_ms: int, believed_at: int) -> None:
        self.timeout_ms = timeout_ms
        self.believed_at = believed_at  # when the client sent the last sign of life it was answered
        self.has_closed = False  # the client asked for the end
        self.is_ended = False
        self.expired_at = 0
        self.last_executed = -1  # index of the last operation the model executed
        self.seen = 0  # highest zxid the client was told


Value = tuple[int, bytes | None, bytes, list[str]]
"""error, data, Stat, children: of one path at one zxid."""


class History(Follower):
    """The model and the judgement over replies."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.machine = Machine()
        self.sessions: dict[int, Lives] = {}
        self.told = 0  # highest zxid any client was told
        self.expired = 0
        self._now = now
        self._operations: dict[tuple[int, int, bytes], Operation] = {}
        self._values: dict[str, tuple[list[int], list[Value]]] = {}
        self._events: dict[str, tuple[list[int], list[int]]] = {}  # per path: zxids and types of changes
        self._sequences: dict[str, int] = {}  # parent -> last suffix given to a sequential child
        for path in self.machine.tree.nodes:
            self._values[path] = ([0], [self._present(path)])

    # The model

    def chosen(self, expected: Expected) -> None:
        """Execute one slot, as the service of each replica does."""
        machine = self.machine
        before = machine.zxid
        if expected.began_epoch:
            machine.begin_epoch(expected.epoch, expected.reign)
        if expected.configuration is not None:
            text = config_text(expected.configuration)
            if text:
                machine.configured(text, expected.time_ms)
                self._remember()
        for _, _, _, _, command in expected.commands:
            result = machine.apply(command, expected.time_ms, True)
            if machine.zxid < before:
                raise Violation("I9", f"zxid falls from {before:#x} to {machine.zxid:#x} in slot {expected.slot}")
            before = machine.zxid
            if machine.changes:
                self._remember()
            self._executed(command, result, expected.slot)

    def _remember(self) -> None:
        machine = self.machine
        zxid = machine.zxid
        done: list[str] = []
        for kind, path in machine.changes:
            if kind in (CREATED, DELETED, CHANGED):
                zxids, kinds = self._events.setdefault(path, ([], []))
                zxids.append(zxid)
                kinds.append(kind)
            if path in done:
                continue
            done.append(path)
            known = self._values.setdefault(path, ([], []))
            known[0].append(zxid)
            known[1].append(self._present(path))

    def _present(self, path: str) -> Value:
        err, data, stat = self.machine.get_data(path, ())
        return err, data, stat, self.machine.get_children(path, ())[1]

    def _executed(self, command: bytes, result: Result, slot: int) -> None:
        kind, session, _ = decode_header(command)
        if kind == REQUEST:
            self._request_executed(command, session, result, slot)
        elif kind == EXPIRE and session in self.machine.ended:
            self._session_expired(session)
        elif kind == CLOSE and session in self.machine.ended:
            lives = self.sessions.get(session)
            if lives is not None:
                if not lives.has_closed:
                    raise Violation("I12", f"session {session:#x} is closed, which its client never asked for")
                lives.is_ended = True

    def _request_executed(self, command: bytes, session: int, result: Result, slot: int) -> None:
        if session == 0 or result.is_moved:
            return
        _, at = decode_ids(command, HEADER_SIZE)
        opcode = int.from_bytes(command[at : at + 4], "big", signed=True)
        operation = self._operations.get((session, opcode, command[at + 4 :]))
        if operation is None:
            raise Violation("I11", f"slot {slot}: a request of session {session:#x} is executed that no client made")
        if operation.executed_at:
            raise Violation(
                "I11",
                f"operation {operation.index} of session {session:#x} is executed in slot {operation.executed_at} and {slot}",
            )
        operation.executed_at = slot
        operation.result = result
        lives = self.sessions[session]
        if operation.index < lives.last_executed:
            raise Violation(
                "I12",
                f"operation {operation.index} of session {session:#x} is executed after its operation {lives.last_executed}",
            )
        lives.last_executed = operation.index
        if operation.path.endswith("-") and result.err == 0:
            self._check_sequence(result.body[4:].decode())

    def _check_sequence(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        suffix = int(name[-10:])
        if suffix <= self._sequences.get(parent, -1):
            raise Violation("I14", f"sequence suffix {suffix} under {parent} is not above the one before")
        self._sequences[parent] = suffix

    def _session_expired(self, session: int) -> None:
        self.expired += 1
        lives = self.sessions.get(session)
        if lives is None:
            return
        lives.is_ended = True
        lives.expired_at = self._now()
        self._check_belief(session, lives)

    def _check_belief(self, session: int, lives: Lives) -> None:
        """A client's belief that its session lives never outlives the session. Clock rates differ by up to two per cent
        each in these worlds."""
        lasted_ms = (lives.expired_at - lives.believed_at) // 1_000_000
        if lives.expired_at and lasted_ms * 100 < lives.timeout_ms * 95:
            raise Violation(
                "rule-R25",
                f"session {session:#x} of {lives.timeout_ms} ms expires {lasted_ms} ms after a sign of life "
                "that was answered",
            )

    # What clients do and hear

    def began(self, session: int, timeout_ms: int, at: int) -> None:
        """A handshake sent ``at`` was answered."""
        lives = self.sessions.get(session)
        if lives is None:
            lives = self.sessions[session] = Lives(timeout_ms, at)
        self.believe(session, at)

    def believe(self, session: int, at: int) -> None:
        """A sign of life sent ``at`` was answered."""
        lives = self.sessions[session]
        lives.believed_at = max(lives.believed_at, at)
        self._check_belief(session, lives)

    def invoked(self, operation: Operation, now: int) -> None:
        """A request leaves its client."""
        operation.invoked_at = now
        operation.floor = self.told
        operation.state = SENT
        if not operation.is_read:
            key = (operation.session, operation.opcode, operation.record)
            assert key not in self._operations, "a workload makes each write different"
            self._operations[key] = operation

    def answered(self, operation: Operation, zxid: int, err: int, body: bytes) -> None:
        """A reply arrives at its client."""
        lives = self.sessions[operation.session]
        if zxid < lives.seen:
            raise Violation("I12", f"session {operation.session:#x} saw zxid {lives.seen:#x} and now {zxid:#x}")
        if zxid > self.machine.zxid:
            raise Violation("I6", f"a reply names zxid {zxid:#x}, above all that is chosen")
        lives.seen = zxid
        operation.state = ANSWERED
        operation.err = err
        operation.zxid = zxid
        if operation.is_read:
            self._check_read(operation, zxid, err, body)
        else:
            self._check_write(operation, zxid, err, body)
        self.told = max(self.told, zxid)

    def _check_write(self, operation: Operation, zxid: int, err: int, body: bytes) -> None:
        result = operation.result
        name = f"operation {operation.index} of session {operation.session:#x}"
        if result is None:
            raise Violation("I8", f"{name} is acknowledged and stands in no chosen slot")
        if (result.err, result.zxid, result.body) != (err, zxid, body):
            raise Violation("I11", f"{name} is answered with another result than it has in the ledger")
        if zxid < operation.floor:
            raise Violation(
                "I11",
                f"{name} takes effect at zxid {zxid:#x}; {operation.floor:#x} was known to a client before it was invoked",
            )

    def _check_read(self, operation: Operation, zxid: int, err: int, body: bytes) -> None:
        wanted_err, data, stat, names = self.value(operation.path, zxid)
        wanted = b""
        if wanted_err == 0:
            if operation.opcode == OP_GET_DATA:
                wanted = encode_data_stat(data, stat)
            elif operation.opcode == OP_EXISTS:
                wanted = stat
            else:
                wanted = encode_children(names, stat)
        if (err, body) != (wanted_err, wanted):
            raise Violation(
                "I12",
                f"operation {operation.index} of session {operation.session:#x} reads {operation.path} at zxid {zxid:#x} "
                "as it never was at that zxid",
            )

    def value(self, path: str, zxid: int) -> Value:
        """What a read of ``path`` at ``zxid`` gives."""
        known = self._values.get(path)
        at = bisect_right(known[0], zxid) if known is not None else 0
        if known is None or at == 0:
            return ERR_NO_NODE, None, b"", []
        return known[1][at - 1]

    def change_after(self, path: str, zxid: int) -> tuple[int, int] | None:
        """The first change of ``path`` above ``zxid``: its zxid and the type of its event."""
        known = self._events.get(path)
        if known is None:
            return None
        at = bisect_right(known[0], zxid)
        return None if at == len(known[0]) else (known[0][at], known[1][at])
