"""All mutants, and what of the catalogue of bugs is not expressed yet.

The denominator is the whole catalogue: each of its rows is either expressed by a mutant, or listed in a table's
``WAITING`` with the mechanism it waits for. Rules, traps and claims have mutants besides; they are counted apart.
"""

from typing import Final

from multipaxos.mutants import acceptor, clients, durability, ledger, membership, reads
from multipaxos.mutants.hunts import seeds
from multipaxos.mutants.mutant import Mutant, Patch, Waiting

MUTANTS: Final[tuple[Mutant, ...]] = (
    *acceptor.MUTANTS,
    *ledger.MUTANTS,
    *durability.MUTANTS,
    *reads.MUTANTS,
    *clients.MUTANTS,
    *membership.MUTANTS,
)

WAITING: Final[tuple[Waiting, ...]] = (
    *acceptor.WAITING,
    *ledger.WAITING,
    *durability.WAITING,
    *reads.WAITING,
    *clients.WAITING,
    *membership.WAITING,
)

_NUMBERS: Final = {
    "A": (1, 2, 3, 4, 6, 8, 9, 10, 11, 13, 15, 16, 17, 18, 19, 20),
    "B": (1, 3, 4, 5, 6, 8, 10, 11, 12, 13, 15, 16, 17, 18, 19, 20, 22, 23, 24, 25),
    "C": (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 16, 17, 19, 20),
    "D": (1, 2, 4, 5, 6, 9, 10, 11),
    "E": (1, 2, 3, 4, 6, 7, 8, 10, 11, 13, 15, 16, 17, 19, 20),
    "F": (1, 2, 4, 5, 7, 8, 9),
}

ROWS: Final[tuple[str, ...]] = tuple(
    f"bug-{section}{number:02}" for section, numbers in _NUMBERS.items() for number in numbers
)
"""Every row of the catalogue."""

NOTHING: Final = Mutant(
    (),
    "nothing",
    "Nothing: a patch without effect, the twin of all others.",
    "derived",
    (
        Patch(
            "core/acceptor.py",
            "class Acceptor:\n",
            "# A comment that changes nothing.\nclass Acceptor:\n",
        ),
    ),
    (),
    (),
)

CANARY: Final = Mutant(
    (),
    "canary",
    "Every command is executed twice: whoever does not see this sees nothing.",
    "derived",
    (
        Patch(
            "core/applying.py",
            "                found.append((origin, serial, command))\n",
            "                found.append((origin, serial, command))\n"
            "                found.append((origin, serial, command))\n",
        ),
    ),
    ("I11",),
    (seeds("plain", 1),),
)


def named(words: list[str]) -> list[Mutant]:
    """The mutants asked for, by an id or by a part of their name; all where nothing is asked. Raises KeyError."""
    if not words:
        return list(MUTANTS)
    found: list[Mutant] = []
    for word in words:
        fitting = [mutant for mutant in MUTANTS if word in mutant.ids] or [
            mutant for mutant in MUTANTS if word in mutant.name
        ]
        if not fitting:
            raise KeyError(word)
        found += [mutant for mutant in fitting if mutant not in found]
    return found
