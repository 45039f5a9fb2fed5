"""Client histories against a model: every answer a simulated client gets is compared with the one the ledger gives.

The model is one more state machine, fed by the oracle with the chosen prefix the moment it is chosen, so it is never behind
a replica. It remembers every past value of every znode by zxid. Therefore each reply can be judged when it arrives:

- a write's reply is the model's result of that very command, executed once (I11) and after all earlier ones of its session
  (I12);
- a read's reply equals the tree at the zxid it names, which is not below any its session has seen, and above every zxid
  that anybody was told before a sync it follows;
- a session ends only when its client asked for it, or has been silent for its timeout (rule-R24, rule-R25).

Watches are judged afterwards, from the recording (``watch_rules.py``). Knows nothing of connections and bytes on them:
``clients.py``.
"""

from bisect import bisect_right
from collections.abc import Callable

from multipaxos.coordination.codes import CREATED, DELETED
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
from multipaxos.sim.recorded import LEDGER_OPCODES, Call, Chosen
from multipaxos.wire.zookeeper import (
    ERR_NO_NODE,
    FLAG_SEQUENTIAL,
    OP_CREATE,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_SET_ACL,
    encode_children,
    encode_data_stat,
)

READS = (OP_GET_DATA, OP_EXISTS, OP_GET_CHILDREN, OP_GET_CHILDREN2)
"""Reads that are judged here; the others are left to ``judging.py``."""


class Operation:
    """One request of one client, and what the ledger made of it."""

    __slots__ = ("call", "executed_at", "floor", "is_unknown", "result", "xid")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.xid = 0
        self.floor = 0  # the highest zxid any client had been told when this was invoked
        self.is_unknown = False  # its connection broke before a reply came
        self.executed_at = 0  # slot in which the model executed it, 0 for not yet
        self.result: Result | None = None

    @property
    def name(self) -> str:
        """For reports."""
        return f"operation {self.call.index} of session {self.call.session:#x}"


class Sent:
    """What one connection asked of the ledger, in order; executed is a first part of it."""

    __slots__ = ("executed", "operations")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.executed = 0  # how many of them


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


Value = tuple[int, bytes | None, bytes]
"""error, data, Stat: of one path at one zxid."""


class Brood:
    """The children of one znode, at every zxid: what came and went, and what the last question gave."""

    __slots__ = ("_at", "_log", "_names", "_zxid")

    def __init__(self) -> None:
        self._log: list[tuple[int, str, bool]] = []  # zxid, name, whether it came
        self._zxid = 0
        self._at = 0
        self._names: dict[str, None] = {}

    def changed(self, zxid: int, name: str, has_come: bool) -> None:
        """A child came or went."""
        self._log.append((zxid, name, has_come))

    def names(self, zxid: int) -> list[str]:
        """The children at ``zxid``, sorted."""
        if zxid < self._zxid:
            self._at = 0
            self._names = {}
        self._zxid = zxid
        while self._at < len(self._log) and self._log[self._at][0] <= zxid:
            _, name, has_come = self._log[self._at]
            self._at += 1
            if has_come:
                self._names[name] = None
            else:
                self._names.pop(name, None)
        return sorted(self._names)


class History(Follower):
    """The model and the judgement over replies."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.machine = Machine()
        self.sessions: dict[int, Lives] = {}
        self.told = 0  # highest zxid any client was told
        self.expired = 0
        self._now = now
        self._sent: dict[int, Sent] = {}  # by connection
        self._values: dict[str, tuple[list[int], list[Value]]] = {}
        self._broods: dict[str, Brood] = {}
        self._sequences: dict[str, int] = {}  # parent -> last suffix given to a sequential child
        for path in self.machine.tree.nodes:
            self._values[path] = ([0], [self.machine.get_data(path, ())])
            if path != "/":
                self._child(path, True)

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
        done: dict[str, None] = {}
        for kind, path in machine.changes:
            if kind in (CREATED, DELETED):
                self._child(path, kind == CREATED)
            if path in done:
                continue
            done[path] = None
            self._remember_value(path, zxid)

    def _remember_value(self, path: str, zxid: int) -> None:
        known = self._values.setdefault(path, ([], []))
        known[0].append(zxid)
        known[1].append(self.machine.get_data(path, ()))

    def _child(self, path: str, has_come: bool) -> None:
        parent, _, name = path.rpartition("/")
        brood = self._broods.get(parent or "/")
        if brood is None:
            brood = self._broods[parent or "/"] = Brood()
        brood.changed(self.machine.zxid, name, has_come)

    def _executed(self, command: bytes, result: Result, slot: int) -> None:
        kind, session, owner = decode_header(command)
        if kind == REQUEST:
            if session != 0 and not result.is_moved:
                self._request_executed(command, session, owner[2], result, slot)
        elif kind == EXPIRE and session in self.machine.ended:
            self._session_expired(session)
        elif kind == CLOSE and session in self.machine.ended:
            lives = self.sessions.get(session)
            if lives is not None:
                if not lives.has_closed:
                    raise Violation("I12", f"session {session:#x} is closed, which its client never asked for")
                lives.is_ended = True

    def _request_executed(self, command: bytes, session: int, connection: int, result: Result, slot: int) -> None:
        """What a connection sent is executed in its order, each once; of a connection that broke, a first part.

        Behind the end of its session it is refused and does nothing. Its place does not matter then, for what came before it
        may have been refused as moved; but it must be of that connection.
        """
        at = HEADER_SIZE + 1 if command[HEADER_SIZE] == 0 else decode_ids(command, HEADER_SIZE)[1]
        opcode = int.from_bytes(command[at : at + 4], "big", signed=True)
        record = command[at + 4 :]
        sent = self._sent.get(connection)
        if sent is not None and session not in self.machine.sessions:
            for operation in sent.operations:
                call = operation.call
                if not operation.executed_at and (call.opcode, call.record, call.session) == (opcode, record, session):
                    operation.executed_at = slot
                    operation.result = result
                    return
            self._accuse(sent, opcode, record, session, slot)
            return
        if sent is None or sent.executed == len(sent.operations):
            self._accuse(sent, opcode, record, session, slot)
            return
        operation = sent.operations[sent.executed]
        call = operation.call
        if call.opcode != opcode or call.record != record or call.session != session:
            self._accuse(sent, opcode, record, session, slot)
        sent.executed += 1
        operation.executed_at = slot
        operation.result = result
        lives = self.sessions[session]
        if call.index < lives.last_executed:
            raise Violation("I12", f"{operation.name} is executed after operation {lives.last_executed}")
        lives.last_executed = call.index
        if opcode == OP_CREATE and record[-1] & FLAG_SEQUENTIAL and result.err == 0:
            self._check_sequence(result.body[4:].decode())
        elif opcode == OP_SET_ACL and result.err == 0:
            self._remember_value(call.path, result.zxid)  # a change of which no watch tells

    def _accuse(self, sent: Sent | None, opcode: int, record: bytes, session: int, slot: int) -> None:
        """A command is executed that is not the next one of its connection."""
        for operation in [] if sent is None else sent.operations:
            call = operation.call
            if (call.session, call.opcode, call.record) == (session, opcode, record):
                if operation.executed_at:
                    raise Violation("I11", f"{operation.name} is executed in slot {operation.executed_at} and {slot}")
                raise Violation("I12", f"{operation.name} is executed in slot {slot} before an earlier one")
        raise Violation("I11", f"slot {slot}: a request of session {session:#x} is executed that no client made")

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

    def invoked(self, operation: Operation) -> None:
        """A request leaves its client."""
        operation.floor = self.told
        call = operation.call
        if call.opcode in LEDGER_OPCODES:
            sent = self._sent.get(call.connection)
            if sent is None:
                sent = self._sent[call.connection] = Sent()
            sent.operations.append(operation)

    def answered(self, operation: Operation) -> None:
        """A reply has arrived at its client, and stands in ``operation.call``."""
        call = operation.call
        zxid = call.zxid
        lives = self.sessions[call.session]
        if zxid < lives.seen:
            raise Violation("I12", f"session {call.session:#x} saw zxid {lives.seen:#x} and now {zxid:#x}")
        if zxid > self.machine.zxid:
            raise Violation("I6", f"a reply names zxid {zxid:#x}, above all that is chosen")
        lives.seen = zxid
        if call.opcode in LEDGER_OPCODES:
            self._check_write(operation)
        elif call.opcode in READS:
            self._check_read(operation)
        self.told = max(self.told, zxid)

    def _check_write(self, operation: Operation) -> None:
        call = operation.call
        result = operation.result
        if result is None:
            raise Violation("I8", f"{operation.name} is acknowledged and stands in no chosen slot")
        if (result.err, result.zxid, result.body) != (call.err, call.zxid, call.body):
            raise Violation("I11", f"{operation.name} is answered with another result than it has in the ledger")
        if call.zxid < operation.floor:
            raise Violation(
                "I11",
                f"{operation.name} takes effect at zxid {call.zxid:#x}; {operation.floor:#x} was known to a client before "
                "it was invoked",
            )

    def _check_read(self, operation: Operation) -> None:
        call = operation.call
        wanted_err, data, stat = self.value(call.path, call.zxid)
        wanted = b""
        if wanted_err == 0:
            if call.opcode == OP_GET_DATA:
                wanted = encode_data_stat(data, stat)
            elif call.opcode == OP_EXISTS:
                wanted = stat
            else:
                brood = self._broods.get(call.path)
                names = [] if brood is None else brood.names(call.zxid)
                wanted = encode_children(names, stat if call.opcode == OP_GET_CHILDREN2 else b"")
        if (call.err, call.body) != (wanted_err, wanted):
            raise Violation(
                "I12", f"{operation.name} reads {call.path} at zxid {call.zxid:#x} as it never was at that zxid"
            )

    def value(self, path: str, zxid: int) -> Value:
        """What a read of ``path`` at ``zxid`` gives."""
        known = self._values.get(path)
        at = bisect_right(known[0], zxid) if known is not None else 0
        if known is None or at == 0:
            return ERR_NO_NODE, None, b""
        return known[1][at - 1]


def chosen_of(expected: Expected) -> Chosen:
    """A slot as a recorded history tells it."""
    text = b"" if expected.configuration is None else config_text(expected.configuration)
    commands = [command for *_, command in expected.commands]
    return Chosen(
        expected.slot, expected.time_ms, expected.epoch, expected.reign, expected.began_epoch, text or None, commands
    )
