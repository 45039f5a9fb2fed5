"""Where the rule of a paper, or what one reads into it, is unsafe: the schedule that breaks it, and ours that holds.

Each trap is a safety hole of docs/traps.md. The rule as printed is put into a copy of the code; the schedule then breaks
the invariant named. The same schedule on the code as it is breaks nothing.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from multipaxos.mutants.campaign import look_at_twin
from multipaxos.mutants.catalogue import MUTANTS
from multipaxos.mutants.hunts import Hunt, look, script
from multipaxos.mutants.mutant import Mutant, apply
from multipaxos.mutants.schedules import SCHEDULES


@dataclass(frozen=True)
class Trap:
    """A trap, the rule that falls into it, and the way there."""

    id: str
    rule: str  # of the paper, or of a natural reading of it
    mutant: str  # that rule in our code
    schedule: str  # empty where the enumeration of crashes that hunts the mutant is the way
    invariants: tuple[str, ...]


TRAPS = (
    Trap(
        "trap-T3",
        "PMS 2.2 has an acceptor remember the highest prepare answered; that accepting is a promise it does not say",
        "promise not raised on accept",
        "no-raise-keep-last",
        ("I2", "I3"),
    ),
    Trap(
        "trap-T4",
        "PML 5.1: a replica that lost its disk takes part again once it has seen one whole slot begun since",
        "a rebuilt replica votes again after one whole slot",
        "forgotten-promise",
        ("I2", "I3", "I10"),
    ),
    Trap(
        "trap-T6",
        "Multi-Paxos as printed executes what is chosen, in slot order: B without the A it builds on",
        "a gap consumes its serial",
        "gap-in-a-stream",
        ("I7", "I11"),
    ),
    Trap(
        "trap-T16",
        "PML 4.2 writes in parallel with accept; counted when it is sent, the leader's vote is one disk too few",
        "the own vote counts when it is sent",
        "own-vote-before-sync",
        ("I8",),
    ),
    Trap(
        "trap-T24",
        "ZooKeeper clients number requests per connection; a session's writes are taken from whatever connection they come",
        "a command is compared by its session, not by its connection",
        "late-write",
        ("rule-R9",),
    ),
    Trap(
        "trap-T25",
        "A leadership begins with a decree in its first slot; whichever is applied last reigns",
        "the epoch decree of a dead leader begins its reign again",
        "late-epoch-decree",
        ("I7",),
    ),
    Trap(
        "trap-T25",
        "What a leader decided is carried out when it is chosen, whoever reigns by then",
        "a preempted leader's expiry is carried out",
        "late-decision",
        ("rule-R13",),
    ),
    Trap(
        "trap-T26",
        "The chosen prefix that rides on an accept is taken for knowledge of what was chosen",
        "learns from any vote below the announced prefix",
        "fetched-then-restarted",
        ("I6", "I7"),
    ),
    Trap(
        "trap-T28",
        "Recovery vouches for what it reads, which after kill -9 may stand in the page cache only",
        "no copy at the start",
        "",
        ("rule-R37",),
    ),
    Trap(
        "trap-T29",
        "A promise that comes in pages is put together from whatever pages came",
        "pages of two states make one promise",
        "pages-of-two-states",
        ("I5", "I10"),
    ),
    Trap(
        "trap-T30",
        "An answer waits for what its own step wrote; the second answer to one request wrote nothing",
        "a repeated accept is answered from memory",
        "repeat-before-sync",
        ("I8",),
    ),
    Trap(
        "trap-T31",
        "PTP 2.3 answers a prepare that is equal to the one answered before: to whom numbers are typed, two runs",
        "by hand, an equal number is promised again",
        "equal-number",
        ("I1", "I2"),
    ),
    Trap(
        "trap-T34",
        "An empty directory is initialised as configured: first start and wiped disk look the same",
        "a wiped directory is given the same mark again",
        "",
        ("rule-R40",),
    ),
    Trap(
        "trap-T35",
        "A read is confirmed by the next answers of a quorum, whenever what they answer was sent",
        "a read joins a round already sent",
        "late-reader",
        ("rule-R19",),
    ),
)


def _mutant(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


def _hunt(trap: Trap) -> Hunt:
    return script(trap.schedule) if trap.schedule else _mutant(trap.mutant).hunts[0]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: f"{trap.id}-{trap.mutant}")
def test_the_rule_of_the_paper_is_unsafe(trap: Trap) -> None:
    with tempfile.TemporaryDirectory(prefix="trap-") as folder:
        apply(_mutant(trap.mutant), Path(folder))
        found = look(_hunt(trap), Path(folder)).killing(trap.invariants)
    assert found is not None
    print(f"{trap.id}: {trap.rule}: {found[0]}: {found[1]}")


@pytest.mark.parametrize("trap", [trap for trap in TRAPS if trap.schedule], ids=lambda trap: f"{trap.id}-{trap.mutant}")
def test_our_rule_is_safe_on_the_same_schedule(trap: Trap) -> None:
    SCHEDULES[trap.schedule]()


def test_our_rules_are_safe_in_the_same_enumerations() -> None:
    enumerated = {_hunt(trap).place: _hunt(trap) for trap in TRAPS if not trap.schedule}
    for hunt in enumerated.values():
        assert look_at_twin(hunt).is_clean, hunt.text
