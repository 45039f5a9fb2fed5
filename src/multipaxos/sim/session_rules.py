"""The judge of sessions: when they may end, what must be gone with them, and that nothing is done in their name afterwards.

- a session that its client did not close is not told to be over before its timeout has passed since the last sign of life
  that was answered (rule-R24, rule-R25); clocks may run ``CLOCK_TOLERANCE`` apart;
- once its client was told that it is over, or was answered its close, no request of it succeeds, and nothing asked for from
  then on shows an ephemeral of it (I13);
- at the end every ephemeral belongs to a living session, every client that lives has its session, and none is left of a
  client that fell silent longer ago than its timeout and ``EXPIRY_BOUND_S``, counted from when the faults were over.

Bounds are measured on the clock of the history: clients' ends, which no replica's clock can excuse.
"""

from typing import Final

from multipaxos.sim.finding import Finding
from multipaxos.sim.observing import changes_tree, name_of
from multipaxos.sim.recorded import (
    ALIVE,
    EXPIRED,
    HEALED,
    KILLED,
    LEDGER_OPCODES,
    OPENED,
    RESUMED,
    Call,
    Held,
    History,
)
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    OP_CLOSE_SESSION,
    OP_CREATE2,
    OP_EXISTS,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_SET_DATA,
    STAT_BYTES,
    decode_stat,
)

NAME: Final = "session_rules"

CLOCK_TOLERANCE: Final = 0.05
EXPIRY_BOUND_S: Final = 30
_SECOND_NS: Final = 1_000_000_000
_MS_NS: Final = 1_000_000

_STAT_LAST: Final = (OP_GET_DATA, OP_EXISTS, OP_GET_CHILDREN2, OP_SET_DATA, OP_CREATE2)


class Life:
    """What clients knew of one session."""

    __slots__ = ("closed_ns", "expired_ns", "is_close_asked", "killed_ns", "sign_ns", "timeout_ms")

    def __init__(self) -> None:
        self.timeout_ms = 0
        self.sign_ns = 0  # when the last sign of life was sent that was answered
        self.is_close_asked = False
        self.closed_ns = 0  # when the close was answered
        self.expired_ns = 0  # when it was told to be over
        self.killed_ns = 0

    @property
    def over_ns(self) -> int:
        """From when on its client knows that it is over; 0 for not yet."""
        known = [at for at in (self.closed_ns, self.expired_ns) if at]
        return min(known) if known else 0


def check_sessions(history: History) -> list[Finding]:
    """All sessions of a history."""
    lives = _lives(history)
    findings: list[Finding] = []
    for session, life in lives.items():
        if life.expired_ns and not life.is_close_asked:
            lasted_ms = (life.expired_ns - life.sign_ns) // _MS_NS
            if lasted_ms < life.timeout_ms * (1 - CLOCK_TOLERANCE):
                findings.append(
                    Finding(
                        NAME,
                        "rule-R24",
                        f"session {session:#x} of {life.timeout_ms} ms is told to be over {lasted_ms} ms after a sign of "
                        "life that was answered",
                    )
                )
    findings += _check_afterwards(history, lives)
    healed_ns = max((mark.at_ns for mark in history.marks if mark.kind == HEALED), default=0)
    for held in history.finals:
        findings += _check_held(held, lives, healed_ns)
    return findings


def _lives(history: History) -> dict[int, Life]:
    lives: dict[int, Life] = {}
    for mark in history.marks:
        if mark.session == 0:
            continue
        life = lives.setdefault(mark.session, Life())
        if mark.kind in (OPENED, RESUMED):
            life.timeout_ms = mark.timeout_ms
        if mark.kind in (OPENED, RESUMED, ALIVE):
            life.sign_ns = max(life.sign_ns, mark.sent_ns)
        elif mark.kind == EXPIRED:
            life.expired_ns = mark.at_ns
        elif mark.kind == KILLED:
            life.killed_ns = mark.at_ns
    for call in history.calls:
        life = lives.setdefault(call.session, Life())
        if call.opcode == OP_CLOSE_SESSION:
            life.is_close_asked = True
            if call.is_answered:
                life.closed_ns = call.returned_ns
    return lives


def _check_afterwards(history: History, lives: dict[int, Life]) -> list[Finding]:
    """Nothing of a session is done, and nothing that hung on it is seen, once its client knows that it is over."""
    findings: list[Finding] = []
    over = {session: life.over_ns for session, life in lives.items() if life.over_ns}
    if not over:
        return findings
    earliest = min(over.values())
    asked: dict[int, int] = {}  # by session: when it last asked the ledger for something that was answered
    for call in sorted(history.calls, key=lambda call: (call.session, call.index)):
        if not call.is_answered:
            continue
        if call.opcode in LEDGER_OPCODES:
            asked[call.session] = max(asked.get(call.session, 0), call.invoked_ns)
        mine = over.get(call.session)
        if mine is not None and call.invoked_ns > mine and call.err == 0:
            findings.append(Finding(NAME, "rule-R24", f"{name_of(call)} succeeds after its session was over"))
        since = asked.get(call.session, 0)
        if since <= earliest or changes_tree(call):
            continue
        owner = _owner(call)
        if owner and 0 < over.get(owner, 0) < since:
            findings.append(
                Finding(NAME, "I13", f"{name_of(call)} shows an ephemeral of session {owner:#x}, which was over before")
            )
    return findings


def _owner(call: Call) -> int:
    """The session that owns the znode a reply shows, 0 for none."""
    if call.err != 0 or call.opcode not in _STAT_LAST or len(call.body) < STAT_BYTES:
        return 0
    try:
        return decode_stat(call.body, len(call.body) - STAT_BYTES).ephemeral_owner
    except MalformedRecord:
        return 0


def _check_held(held: Held, lives: dict[int, Life], healed_ns: int) -> list[Finding]:
    """What one replica holds at the end."""
    findings: list[Finding] = []
    for path, session in held.ephemerals.items():
        if session not in held.sessions:
            findings.append(
                Finding(
                    NAME, "I13", f"replica {held.replica} holds {path} of session {session:#x}, which it does not know"
                )
            )
    for session, life in lives.items():
        is_there = session in held.sessions
        timeout_ns = life.timeout_ms * _MS_NS
        if is_there and life.over_ns and life.over_ns < held.at_ns:
            findings.append(
                Finding(
                    NAME, "rule-R24", f"replica {held.replica} keeps session {session:#x}, which was told to be over"
                )
            )
        elif is_there and life.killed_ns:
            silent_since = max(life.killed_ns, healed_ns)
            if held.at_ns - silent_since > timeout_ns + EXPIRY_BOUND_S * _SECOND_NS:
                findings.append(
                    Finding(
                        NAME,
                        "rule-R24",
                        f"replica {held.replica} keeps session {session:#x} {(held.at_ns - silent_since) // _SECOND_NS} s "
                        f"after its client fell silent; its timeout is {life.timeout_ms} ms",
                    )
                )
        elif not is_there and life.timeout_ms and not life.over_ns and not life.is_close_asked:
            age_ms = (held.at_ns - life.sign_ns) // _MS_NS
            if age_ms < life.timeout_ms * (1 - CLOCK_TOLERANCE):
                findings.append(
                    Finding(
                        NAME,
                        "rule-R24",
                        f"replica {held.replica} has lost session {session:#x} of {life.timeout_ms} ms, {age_ms} ms after a "
                        "sign of life that was answered",
                    )
                )
    return findings
