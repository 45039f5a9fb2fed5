"""What a judge of histories has to say: one finding for each thing that must not be."""

from typing import NamedTuple


class Finding(NamedTuple):
    """Something that does not hold in a history."""

    checker: str
    """The module that found it."""
    invariant: str
    """Its id: of ``docs/invariants.md``, a rule, or the checker's own name where it is the property itself."""
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} ({self.checker}): {self.text}"
