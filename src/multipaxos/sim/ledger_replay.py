"""What the ledger says happened: it is executed again, command by command, on the model tree (``znode_model.py``).

This decides which requests of unknown outcome took effect, as etcd's robustness tests do by reading the journals of all
members, and gives every answer and every read something to be compared with. The commands' bytes are read with
``coordination/commands.py``; what they mean is told here a second time: who owns a session, who may end it, what raises
the zxid (rule-R9, rule-R14, rule-R24).
"""

from multipaxos.coordination.commands import (
    ATTACH,
    CLOSE,
    EXPIRE,
    HEADER_SIZE,
    REQUEST,
    Owner,
    decode_attach,
    decode_expire,
    decode_header,
    decode_ids,
)
from multipaxos.sim.finding import Finding
from multipaxos.sim.observing import NAME, Observers, name_of
from multipaxos.sim.recorded import LEDGER_OPCODES, Call, Chosen, History
from multipaxos.sim.timeline import Timeline
from multipaxos.sim.znode_model import Answer, Times, Znodes, differs
from multipaxos.wire.zookeeper import OP_CHECK, OP_CLOSE_SESSION, OP_CREATE, OP_MULTI, OP_SET_ACL, OP_SYNC


class Executed:
    """One request as the ledger executes it."""

    __slots__ = ("answer", "opcode", "record", "slot", "zxid")

    def __init__(self, slot: int, opcode: int, record: bytes, zxid: int, answer: Answer) -> None:
        self.slot = slot
        self.opcode = opcode
        self.record = record
        self.zxid = zxid
        self.answer = answer


class Replay:
    """The ledger, executed on the model."""

    def __init__(self, history: History, observers: Observers, times: Times) -> None:
        self.timeline = Timeline()
        self.executed: dict[int, list[Executed]] = {}  # by session, in order
        self.refused: dict[int, list[Executed]] = {}  # by session: what came when it was over, in any order
        self.closed: dict[int, int] = {}  # session -> zxid of the close its client asked for
        self._observers = observers
        self._times = times
        self._znodes = Znodes()
        self._owners: dict[int, Owner] = {}
        self._reign = -1
        self._epoch = 0
        self._zxid = 0
        observers.at(0, self._znodes)
        for chosen in history.ledger:
            self._slot(chosen)
        self.timeline.final = self._znodes
        self.timeline.index()

    def _slot(self, chosen: Chosen) -> None:
        if chosen.began_epoch:
            self._epoch = max(chosen.epoch, self._epoch + 1)
            self._reign = chosen.reign
            self._zxid = self._epoch << 32
            self._observers.at(self._zxid, self._znodes)
        if chosen.config is not None:
            self._next_zxid(chosen.time_ms)
            self._znodes.configured(chosen.config, self._zxid)
            self._done()
        for command in chosen.commands:
            self._command(command, chosen)

    def _next_zxid(self, time_ms: int) -> None:
        self._zxid += 1
        self._times.agrees(self._zxid, time_ms)

    def _done(self) -> None:
        """Something changed at the present zxid."""
        self.timeline.changed(self._zxid, self._znodes.changes)
        self._znodes.forget()
        self._observers.at(self._zxid, self._znodes)

    def _command(self, command: bytes, chosen: Chosen) -> None:
        kind, session, owner = decode_header(command)
        present = self._owners.get(session)
        if kind == REQUEST:
            # Of a session that is over all is refused: what came by its last connection, whose client may have heard so, and
            # what came late by an earlier one, out of a gateway that stood still, for which nobody waits.
            if present is None or present == owner:
                self._request(command, session, chosen)
        elif kind == ATTACH:
            _, replaces = decode_attach(command)
            if session == 0:
                self._next_zxid(chosen.time_ms)
                self._owners[self._zxid] = owner
                self._znodes.open(self._zxid)
                self._done()
            elif present is not None and present == replaces:
                self._owners[session] = owner
        elif kind == CLOSE:
            if present is not None and present == owner:
                self._end(session, chosen)
                self.closed[session] = self._zxid
        elif kind == EXPIRE and present == owner and decode_expire(command) == self._reign:
            self._end(session, chosen)

    def _end(self, session: int, chosen: Chosen) -> None:
        self._next_zxid(chosen.time_ms)
        del self._owners[session]
        self._znodes.end(session, self._zxid)
        self.timeline.ended[session] = self._zxid
        self._done()

    def _request(self, command: bytes, session: int, chosen: Chosen) -> None:
        if session == 0:
            return  # the first command of each start; it asks for nothing
        _, at = decode_ids(command, HEADER_SIZE)
        opcode = int.from_bytes(command[at : at + 4], "big", signed=True)
        record = command[at + 4 :]
        answer = self._znodes.execute(session, opcode, record, self._zxid + 1)
        if self._znodes.changes or (opcode == OP_SET_ACL and answer.err == 0):
            self._next_zxid(chosen.time_ms)
            self._done()
        made = Executed(chosen.slot, opcode, record, self._zxid, answer)
        kept = self.executed if session in self._owners else self.refused
        kept.setdefault(session, []).append(made)


def compare(
    history: History, replay: Replay, times: Times, floors: dict[tuple[int, int], int] | None = None
) -> list[Finding]:
    """What clients were told against what the ledger executed, session by session. ``floors``: of each (session, index), the
    highest zxid anybody knew before it was invoked; nothing takes effect below."""
    findings: list[Finding] = []
    calls: dict[int, list[Call]] = {}
    for call in history.calls:
        calls.setdefault(call.session, []).append(call)
    for session, everything in calls.items():
        everything.sort(key=lambda call: call.index)
        bounds = _bounds(everything, floors or {})
        mine = [call for call in everything if call.opcode in LEDGER_OPCODES]
        requests = [call for call in mine if call.opcode != OP_CLOSE_SESSION]
        findings += _compare_session(session, requests, bounds, replay, times)
        closed = replay.closed.get(session)
        for call in mine:
            if call.opcode == OP_CLOSE_SESSION and call.is_answered and call.err == 0 and call.zxid != closed:
                findings.append(Finding(NAME, "I8", f"the close of {name_of(call)} stands in no chosen slot"))
    for session, executed in replay.executed.items():
        if session not in calls and executed:
            slot = executed[0].slot
            findings.append(
                Finding(NAME, "I11", f"slot {slot} executes for session {session:#x}, which asked for nothing")
            )
    return findings


Bounds = dict[int, tuple[int, int]]
"""By the index of a call of unknown outcome: it took effect not below the first zxid and not above the second, if at all."""


def _bounds(calls: list[Call], floors: dict[tuple[int, int], int]) -> Bounds:
    """What answers say of a session's calls without one: all take effect in the session's order, so that an answer, also a
    read's, stands behind whatever came before it and took effect; and not before what was known when they were sent."""
    below: dict[int, int] = {}
    lowest = 1 << 63
    for call in reversed(calls):
        if not call.is_answered:
            below[call.index] = lowest
        elif call.zxid > 0:
            lowest = min(lowest, call.zxid)
    bounds: Bounds = {}
    highest = 0
    for call in calls:
        if not call.is_answered:
            floor = floors.get((call.session, call.index), 0)
            bounds[call.index] = (max(highest, floor), below[call.index])
        elif call.zxid > 0:
            highest = max(highest, call.zxid)
    return bounds


def _compare_session(session: int, calls: list[Call], bounds: Bounds, replay: Replay, times: Times) -> list[Finding]:
    executed = replay.executed.get(session, [])
    refused = {(made.opcode, made.record): made for made in replay.refused.get(session, ())}
    if refused:
        calls = [call for call in calls if not _is_refused(call, refused, times)]
    matched = _match(calls, executed, times, bounds)
    if matched is None:
        out_of_order = _match(calls, executed, times, {})
        if out_of_order is not None:
            return [_misplaced(out_of_order, bounds)]
        by_request = _match(calls, executed, None, {})
        if by_request is None:
            return [_accuse(session, calls, executed)]
        return _compare_replies(by_request, times)
    for call, made in matched:
        if not call.is_answered and made is not None:
            replay.timeline.executed[session, call.index] = made.zxid
    return []


def _is_refused(call: Call, refused: dict[tuple[int, bytes], Executed], times: Times) -> bool:
    """Whether a call was told that its session is over, by a request that came too late."""
    made = refused.get((call.opcode, call.record))
    return made is not None and call.is_answered and not _reply_differs(call, made, times)


Pair = tuple[Call, Executed | None]


def _match(calls: list[Call], executed: list[Executed], times: Times | None, bounds: Bounds) -> list[Pair] | None:
    """Which executed request is which call. Both are in the session's order; what was answered must have been executed,
    with that answer (with any, without ``times``); what was not may have been, within its bounds.

    None where that cannot be.
    """
    pairs: list[Pair] = []
    doubts: list[tuple[int, int]] = []  # (pairs made, executed used): a call of unknown outcome that may have been it
    tried: set[tuple[int, int]] = set()  # the same, ever: what comes behind depends on nothing else
    at = 0
    while True:
        if len(pairs) == len(calls):
            if at == len(executed):
                return pairs
        else:
            call = calls[len(pairs)]
            made = executed[at] if at < len(executed) else None
            is_same = made is not None and (made.opcode, made.record) == (call.opcode, call.record)
            if not call.is_answered:
                if made is not None and is_same and call.index in bounds:
                    is_same = _is_within(made, bounds[call.index])
                is_same = is_same and (len(pairs), at) not in tried
                if is_same:
                    tried.add((len(pairs), at))
                    doubts.append((len(pairs), at))
                    at += 1
                pairs.append((call, made if is_same else None))
                continue
            if made is not None and is_same and (times is None or not _reply_differs(call, made, times)):
                pairs.append((call, made))
                at += 1
                continue
        if not doubts:
            return None
        count, at = doubts.pop()
        del pairs[count:]
        pairs.append((calls[count], None))


def _is_within(made: Executed, bounds: tuple[int, int]) -> bool:
    """A change has a zxid of its own, above all that was known; what changed nothing shows the last one."""
    above, upto = bounds
    is_change = made.answer.err == 0 and made.opcode not in (OP_SYNC, OP_MULTI, OP_CHECK)
    return (above < made.zxid if is_change else above <= made.zxid) and made.zxid <= upto


def _misplaced(pairs: list[Pair], bounds: Bounds) -> Finding:
    """What took effect at another place than its session's answers leave it."""
    for call, made in pairs:
        above, upto = bounds.get(call.index, (0, 1 << 63))
        if made is not None and not call.is_answered and not _is_within(made, (above, upto)):
            text = f"{name_of(call)} took effect at zxid {made.zxid:#x}; its session was answered so that it stands"
            return Finding(NAME, "I12", f"{text} above {above:#x} and not above {upto:#x}, or never happened")
    raise AssertionError("within their bounds they would have been matched")


def _reply_differs(call: Call, made: Executed, times: Times) -> str:
    if call.zxid != made.zxid:
        return f"zxid {call.zxid:#x} instead of {made.zxid:#x}"
    return differs(made.answer, call.err, call.body, times)


def _compare_replies(pairs: list[Pair], times: Times) -> list[Finding]:
    """The first reply that is not what the ledger gives."""
    for call, made in pairs:
        why = "" if made is None or not call.is_answered else _reply_differs(call, made, times)
        if why:
            invariant = "I14" if call.opcode == OP_CREATE and why.startswith("path") else "I11"
            return [Finding(NAME, invariant, f"the ledger gives {name_of(call)} another answer: {why}")]
    return []


def _accuse(session: int, calls: list[Call], executed: list[Executed]) -> Finding:
    """What is wrong with a session whose requests are not those the ledger executes."""
    left = list(executed)
    for call in calls:
        same = [made for made in left if (made.opcode, made.record) == (call.opcode, call.record)]
        if not call.is_answered:
            if same and same[0] is left[0]:
                left.pop(0)
            continue
        if not same:
            return Finding(NAME, "I8", f"{name_of(call)} was answered and stands in no chosen slot")
        if same[0] is not left[0]:
            slot = same[0].slot
            return Finding(
                NAME, "I12", f"{name_of(call)} is executed in slot {slot}, before an earlier one of its session"
            )
        left.pop(0)
    slot = left[0].slot if left else 0
    return Finding(
        NAME, "I11", f"a request of session {session:#x} is executed in slot {slot}, twice or out of nothing"
    )
