"""Acknowledged and unknown writes against the ledger that was read back: what was lost, and what became of the unknown.

The judges of ``sim/judging.py`` compare every answer with the ledger; here is only counted, in the plainest way, so that the
one figure that matters most does not hang on one checker: each write that was answered with success must stand in a chosen
slot, as often as it was answered. Written values never repeat, so a request is known by its bytes.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from multipaxos.coordination.commands import CLOSE, HEADER_SIZE, REQUEST, decode_header, decode_ids
from multipaxos.sim.recorded import LEDGER_OPCODES, Call, History
from multipaxos.wire.zookeeper import OP_CLOSE_SESSION

_NAMED_MAX: Final = 20

Key = tuple[int, int, bytes]
"""Session, opcode, record."""


@dataclass(slots=True)
class Accounts:
    """The sums."""

    calls: int = 0
    acknowledged: int = 0
    acknowledged_writes: int = 0  # with success
    unknown: int = 0
    happened: int = 0  # of the unknown writes
    lost: int = 0
    named: list[str] = field(default_factory=list)  # the first of the lost, for people

    @property
    def unknown_share(self) -> float:
        """Of all calls."""
        return self.unknown / self.calls if self.calls else 0.0


def settle(history: History) -> Accounts:
    """Count. Without a ledger every acknowledged write counts as lost: nobody holds it."""
    accounts = Accounts()
    standing = _standing(history)
    unknown: list[Key] = []
    for call in history.calls:
        accounts.calls += 1
        if not call.is_answered:
            accounts.unknown += 1
            if call.opcode in LEDGER_OPCODES:
                unknown.append((call.session, call.opcode, call.record))
            continue
        accounts.acknowledged += 1
        if call.opcode not in LEDGER_OPCODES or call.err != 0:
            continue
        accounts.acknowledged_writes += 1
        key = (call.session, call.opcode, call.record)
        if standing[key] > 0:
            standing[key] -= 1
        else:
            accounts.lost += 1
            if len(accounts.named) < _NAMED_MAX:
                accounts.named.append(_name(call))
    # What is left over in the ledger was asked for by somebody who never heard of it.
    for key in unknown:
        if standing[key] > 0:
            standing[key] -= 1
            accounts.happened += 1
    return accounts


def _standing(history: History) -> Counter[Key]:
    """How often each request stands in the ledger."""
    found: Counter[Key] = Counter()
    for chosen in history.ledger:
        for command in chosen.commands:
            kind, session, _ = decode_header(command)
            if kind == CLOSE:
                found[session, OP_CLOSE_SESSION, b""] += 1
            elif kind == REQUEST and session:
                _, at = decode_ids(command, HEADER_SIZE)
                found[session, int.from_bytes(command[at : at + 4], "big", signed=True), command[at + 4 :]] += 1
    return found


def _name(call: Call) -> str:
    return (
        f"opcode {call.opcode} {call.path or '(several)'} of client {call.client}, session {call.session:#x}, "
        f"answered at zxid {call.zxid:#x}"
    )
