"""Replies that show a state without changing it, held ready until the model tree has reached their zxid.

A reply names the zxid it was made at, so there is exactly one state to compare it with.
"""

from multipaxos.sim.finding import Finding
from multipaxos.sim.recorded import LEDGER_OPCODES, Call
from multipaxos.sim.znode_model import CONFIG, Times, Znodes, differs
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    OP_CHECK,
    OP_CLOSE_SESSION,
    OP_CREATE2,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_MULTI,
    OP_MULTI_READ,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SYNC,
    STAT_BYTES,
    Stat,
    decode_multi_results,
    decode_stat,
    read_multi,
)

NAME = "zxid_order"

_ENDS_IN_STAT = (OP_GET_DATA, OP_EXISTS, OP_GET_CHILDREN2, OP_SET_DATA, OP_SET_ACL, OP_CREATE2, OP_GET_ACL)


def changes_tree(call: Call) -> bool:
    """Whether an answered call has changed something, so that its zxid is its own."""
    if call.err != 0 or call.opcode not in LEDGER_OPCODES or call.opcode == OP_SYNC:
        return False
    if call.opcode != OP_MULTI:
        return True
    if call.body[:4] == b"\xff\xff\xff\xff":  # failed, or empty
        return False
    try:
        operations = read_multi(call.record, 0)[0].operations
    except MalformedRecord:
        return False
    return any(opcode != OP_CHECK for opcode, _ in operations)


def shown_zxids(call: Call) -> list[int]:
    """The zxids that the Stats of a reply name: of each, somebody knows that something changed then."""
    if call.err != 0:
        return []
    stats: list[Stat | None] = []
    try:
        if call.opcode in _ENDS_IN_STAT and len(call.body) >= STAT_BYTES:
            stats.append(decode_stat(call.body, len(call.body) - STAT_BYTES))
        elif call.opcode in (OP_MULTI, OP_MULTI_READ):
            stats += [result.stat for result in decode_multi_results(call.body)]
    except MalformedRecord:
        return []
    return [zxid for stat in stats if stat is not None for zxid in (stat.czxid, stat.mzxid, stat.pzxid)]


class Observers:
    """All replies to be compared, by zxid."""

    def __init__(self, calls: list[Call], times: Times, is_ledger_known: bool) -> None:
        """With a known ledger its requests are compared there, and only reads are left."""
        self.findings: list[Finding] = []
        self.shown: dict[int, None] = {}  # zxids named by Stats; gathered only for who has no ledger
        self._times = times
        self._waiting: dict[int, list[Call]] = {}
        for call in calls:
            if not call.is_answered or call.opcode == OP_CLOSE_SESSION:
                continue
            if not is_ledger_known:
                self.shown.update(dict.fromkeys(shown_zxids(call)))
            if call.opcode in LEDGER_OPCODES and (is_ledger_known or changes_tree(call)):
                continue
            if call.path == CONFIG and not is_ledger_known:
                continue  # its text comes from configurations, which clients do not see being chosen
            self._waiting.setdefault(call.zxid, []).append(call)

    def at(self, zxid: int, znodes: Znodes) -> None:
        """The tree has its state of ``zxid``: compare all replies made then. Each zxid comes once."""
        for call in self._waiting.pop(zxid, ()):
            why = self.differs(call, znodes)
            if why:
                self.findings.append(_finding(call, why))

    def zxids(self) -> list[int]:
        """At which something is still to be compared."""
        return list(self._waiting)

    def waiting(self, zxid: int) -> list[Call]:
        """What is to be compared at ``zxid``."""
        return self._waiting.get(zxid, [])

    def first_difference(self, zxid: int, znodes: Znodes) -> Finding | None:
        """As ``at``, but nothing is taken as done: for whoever tries several pasts."""
        for call in self._waiting.get(zxid, ()):
            why = self.differs(call, znodes)
            if why:
                return _finding(call, why)
        return None

    def differs(self, call: Call, znodes: Znodes) -> str:
        """In what a reply is not what the tree gives."""
        if call.opcode in LEDGER_OPCODES:
            before = znodes.position()
            answer = znodes.execute(call.session, call.opcode, call.record, call.zxid + 1)
            if znodes.position() != before:
                znodes.back_to(before)
                return f"error {call.err} where it succeeds" if call.err else "it changes something, and has no zxid"
            return differs(answer, call.err, call.body, self._times)
        read = znodes.read(call.session, call.opcode, call.record)
        return "" if read is None else differs(read, call.err, call.body, self._times)


def name_of(call: Call) -> str:
    """A call in a report."""
    return f"operation {call.index} of session {call.session:#x} ({call.path or f'opcode {call.opcode}'})"


def _finding(call: Call, why: str) -> Finding:
    invariant = "I11" if call.opcode in LEDGER_OPCODES else "I12"
    return Finding(NAME, invariant, f"{name_of(call)} shows at zxid {call.zxid:#x} what never was at that zxid: {why}")
