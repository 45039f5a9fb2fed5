"""All judges of recorded histories, one after the other.

- ``zxid_order.py``: ZooKeeper's own order, on a model tree;
- ``linearizability.py`` with ``znode_objects.py``: values, versions and the clock, no zxid; path by path, and short
  histories as one tree;
- ``watch_rules.py``, ``session_rules.py``, ``convergence.py``.

The first two know nothing of each other but which requests of unknown outcome stand in the ledger, where there is one. That
something could not be decided is a finding, too: ``undecided``. Watches need the one order of changes: without a ledger
they are judged only where nothing had to be guessed.
"""

from multipaxos.sim.convergence import check_convergence
from multipaxos.sim.finding import Finding
from multipaxos.sim.linearizability import ILLEGAL, LINEARIZABLE, STEPS_MAX, Verdict, check
from multipaxos.sim.recorded import History
from multipaxos.sim.session_rules import check_sessions
from multipaxos.sim.timeline import Timeline
from multipaxos.sim.watch_rules import check_watches
from multipaxos.sim.znode_objects import TREE_OPERATIONS_MAX, OnePath, WholeTree, operations_of, parts_of
from multipaxos.sim.zxid_order import check_order

NAME = "linearizability"

TREE_OPEN_MAX = 6
"""Without a ledger, a history with more requests of unknown outcome is judged path by path only."""


def judge(history: History) -> list[Finding]:
    """Everything that does not hold in a history; empty where all does."""
    findings, timeline = check_order(history)
    known = timeline if history.ledger and not findings else None
    findings += check_linearizability(history, known)
    if timeline is not None and timeline.is_certain:
        findings += check_watches(history, timeline)
    findings += check_sessions(history)
    findings += check_convergence(history, known)
    return findings


def check_linearizability(
    history: History, timeline: Timeline | None = None, steps_max: int = STEPS_MAX
) -> list[Finding]:
    """Each path by itself, and the tree as a whole where the history is short and no path is wrong already."""
    operations = operations_of(history, timeline)
    findings: list[Finding] = []
    for path, part in parts_of(operations):
        findings += _found(f"path {path}", check(OnePath(), part, steps_max))
    opened = sum(1 for operation in operations if operation.returned is None)
    if not findings and len(operations) <= TREE_OPERATIONS_MAX and opened <= TREE_OPEN_MAX:
        findings += _found("the tree as a whole", check(WholeTree(), operations, steps_max))
    return findings


def _found(what: str, verdict: Verdict) -> list[Finding]:
    if verdict.verdict == LINEARIZABLE:
        return []
    stuck = ", ".join(f"{operation.input}" for operation in verdict.stuck)
    if verdict.verdict == ILLEGAL:
        return [Finding(NAME, NAME, f"{what} is not linearizable; nothing explains {stuck}")]
    return [Finding(NAME, "undecided", f"{what}: no verdict in {verdict.steps} steps, at {stuck}")]
