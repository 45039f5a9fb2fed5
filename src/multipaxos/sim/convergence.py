"""The judge of the end: when all has healed, every replica holds the same (I7), and the ledgers agree as far as they go (I6).

With the ledger of the history their sessions and ephemerals are also compared with what it gives on the model tree: who
agrees with the others and not with the ledger has applied something else. The rest of the tree is told apart by its digest,
replica against replica; against the ledger it is the readers' business.
"""

from typing import Final

from multipaxos.sim.finding import Finding
from multipaxos.sim.recorded import Held, History
from multipaxos.sim.timeline import Timeline

NAME: Final = "convergence"


def check_convergence(history: History, timeline: Timeline | None) -> list[Finding]:
    """All final states of a history; ``timeline`` where it is that of a whole ledger."""
    findings: list[Finding] = []
    if not history.finals:
        return findings
    first = history.finals[0]
    for held in history.finals[1:]:
        for what, is_same in (
            ("has applied another prefix", held.applied == first.applied),
            ("holds another tree", held.digest == first.digest),
            ("knows other sessions", held.sessions == first.sessions),
            ("holds other ephemerals", held.ephemerals == first.ephemerals),
        ):
            if not is_same:
                findings.append(Finding(NAME, "I7", f"replica {held.replica} {what} than replica {first.replica}"))
        findings += _check_ledgers(first, held)
    if history.ledger and timeline is not None:
        for held in history.finals:
            if held.applied == history.ledger[-1].slot:
                findings += _check_against(held, timeline)
            else:
                text = (
                    f"replica {held.replica} has applied {held.applied} slots of {history.ledger[-1].slot} in the end"
                )
                findings.append(Finding(NAME, "I7", text))
    return findings


def _check_ledgers(first: Held, held: Held) -> list[Finding]:
    for slot in sorted(first.ledger):
        if slot in held.ledger and held.ledger[slot] != first.ledger[slot]:
            return [
                Finding(NAME, "I6", f"replicas {first.replica} and {held.replica} hold other decrees in slot {slot}")
            ]
    return []


def _check_against(held: Held, timeline: Timeline) -> list[Finding]:
    """What the model tree holds behind the whole ledger."""
    findings: list[Finding] = []
    final = timeline.final
    if final is None:
        return findings
    if sorted(held.sessions) != sorted(final.sessions):
        odd = sorted(set(held.sessions) ^ set(final.sessions))
        findings.append(
            Finding(NAME, "I7", f"replica {held.replica} knows other sessions than the ledger gives: {odd}")
        )
    ephemerals = {path: session for session, paths in final.sessions.items() for path in paths}
    if held.ephemerals != ephemerals:
        odd_paths = sorted(path for path, _ in set(held.ephemerals.items()) ^ set(ephemerals.items()))
        findings.append(
            Finding(NAME, "I13", f"replica {held.replica} holds other ephemerals than the ledger gives: {odd_paths}")
        )
    return findings
