"""The Z-checker: ZooKeeper tells every client where in the order of writes it stands, so an order need not be searched for.

Checked of a recorded history, in O(n log n), by the letters of the verification plan (3.4):

(a) every change has a zxid of its own;
(b) what returned before another write was invoked has the lower zxid;
(c) executed in that order on a model tree, every result, Stat field, error and sequence name is what the client was told;
    a conditional write that failed fails at the zxid of its reply;
(d) a read equals the tree at the zxid of its reply, which is not below any its session has seen, and below that of every
    later write of its connection (rule-R21);
(e) a write of unknown outcome took effect once or not at all: the ledger says which where it is known
    (``ledger_replay.py``), else a past is searched for (``ledger_guess.py``);
(f) a sync, a write and whatever follows them on the connection shows all that anybody was told before it was invoked.

The order it makes out (``Timeline``) is what watches and sessions are judged by.
"""

from multipaxos.sim.finding import Finding
from multipaxos.sim.ledger_guess import Guess
from multipaxos.sim.ledger_replay import Replay, compare
from multipaxos.sim.observing import NAME, Observers, changes_tree, name_of
from multipaxos.sim.recorded import ALIVE, LEDGER_OPCODES, Call, History
from multipaxos.sim.timeline import Timeline
from multipaxos.sim.znode_model import Times

FINDINGS_MAX = 50

Floors = dict[tuple[int, int], int]
"""Of each call, by session and index: the highest zxid anybody was told before it was invoked."""


def check_order(history: History) -> tuple[list[Finding], Timeline | None]:
    """All findings, at most ``FINDINGS_MAX``, and the order of changes where one was made out."""
    findings = _check_sessions(history)
    floors = _floors(history)
    findings += _check_real_time(history, floors)
    times = Times()
    is_known = bool(history.ledger)
    observers = Observers(history.calls, times, is_known)
    timeline: Timeline | None
    if is_known:
        replay = Replay(history, observers, times)
        findings += compare(history, replay, times, floors)
        findings += observers.findings
        for zxid in observers.zxids():
            findings.append(Finding(NAME, "I6", f"a reply names zxid {zxid:#x}, which never was"))
        timeline = replay.timeline
    else:
        findings += _check_unique(history)
        guess = Guess(history, observers, times, floors)
        findings += guess.findings
        timeline = guess.timeline if guess.timeline.final is not None else None
    fallen = times.backwards()
    if fallen is not None:
        findings.append(Finding(NAME, "I7", f"command time falls from zxid {fallen[0]:#x} to {fallen[1]:#x}"))
    return findings[:FINDINGS_MAX], timeline


def _check_unique(history: History) -> list[Finding]:
    """(a)"""
    owners: dict[int, Call] = {}
    findings = []
    for call in history.calls:
        if call.is_answered and changes_tree(call):
            other = owners.setdefault(call.zxid, call)
            if other is not call:
                findings.append(
                    Finding(NAME, "I11", f"{name_of(other)} and {name_of(call)} have one zxid, {call.zxid:#x}")
                )
    return findings


def _check_sessions(history: History) -> list[Finding]:
    """FIFO: within a session zxids never fall, and rise with each change; on a connection replies come in order."""
    findings = []
    sessions: dict[int, list[Call]] = {}
    for call in history.calls:
        if call.is_answered:
            sessions.setdefault(call.session, []).append(call)
    for session, calls in sessions.items():
        calls.sort(key=lambda call: call.index)
        before: Call | None = None
        for call in calls:
            if before is not None:
                is_change = changes_tree(call)
                if call.zxid < before.zxid or (is_change and call.zxid == before.zxid):
                    findings.append(
                        Finding(
                            NAME,
                            "I12",
                            f"session {session:#x} saw zxid {before.zxid:#x} and then {call.zxid:#x}, from {name_of(call)}",
                        )
                    )
                if call.connection == before.connection and call.arrival < before.arrival:
                    findings.append(Finding(NAME, "I12", f"{name_of(call)} is answered before an earlier request"))
            before = call
    return findings


def _floors(history: History) -> Floors:
    """What was known to anybody when each call was invoked. Of one instant, nothing counts as earlier."""
    told: list[tuple[int, int]] = []
    for call in history.calls:
        if call.is_answered:
            told.append((call.returned_ns, call.zxid))
    for event in history.events:
        told.append((event.at_ns, event.zxid))
    for mark in history.marks:
        if mark.kind == ALIVE:
            told.append((mark.at_ns, mark.zxid))
    told.sort()
    floors: Floors = {}
    floor = 0
    at = 0
    for call in sorted(history.calls, key=lambda call: call.invoked_ns):
        while at < len(told) and told[at][0] < call.invoked_ns:
            floor = max(floor, told[at][1])
            at += 1
        floors[call.session, call.index] = floor
    return floors


def _check_real_time(history: History, floors: Floors) -> list[Finding]:
    """(b) and (f), and (d) for what follows on the connection, since zxids of a session never fall."""
    findings = []
    for call in history.calls:
        if not call.is_answered or call.opcode not in LEDGER_OPCODES:
            continue
        floor = floors[call.session, call.index]
        if call.zxid < floor or (call.zxid == floor and changes_tree(call)):
            findings.append(
                Finding(
                    NAME,
                    "I11",
                    f"{name_of(call)} takes effect at zxid {call.zxid:#x}; {floor:#x} was known before it was invoked",
                )
            )
    return findings
