"""Which sets of voters decide. Nothing else in the code says "majority" (trap-T20).

Any prepare quorum must meet any accept quorum (FP); sets of the same kind need not meet. A quorum system is a value:
the configuration that governs a slot carries the one that counts there.
"""

from collections.abc import Collection
from dataclasses import dataclass

from multipaxos.core.ballot import ReplicaId


@dataclass(frozen=True, slots=True)
class Quorum:
    """Voters, and how many make a prepare quorum and an accept quorum.

    ``prepare`` and ``accept`` count voters; ``majority`` below is the default. Raises ValueError where two quorums of
    different kinds might miss each other.
    """

    voters: tuple[ReplicaId, ...]
    prepare: int
    accept: int

    def __post_init__(self) -> None:
        count = len(self.voters)
        if len(set(self.voters)) != count:
            raise ValueError(f"a voter is listed twice in {self.voters}")
        if not (0 < self.prepare <= count and 0 < self.accept <= count):
            raise ValueError(f"quorums of {self.prepare} and {self.accept} cannot be had from {count} voters")
        if self.prepare + self.accept <= count:
            raise ValueError(
                f"a prepare quorum of {self.prepare} and an accept quorum of {self.accept} "
                f"of {count} voters can miss each other"
            )

    def is_prepare_quorum(self, replicas: Collection[ReplicaId]) -> bool:
        """Whether ``replicas`` contains a prepare quorum; replicas that are no voters do not count."""
        return self._counted(replicas) >= self.prepare

    def is_accept_quorum(self, replicas: Collection[ReplicaId]) -> bool:
        """Whether ``replicas`` contains an accept quorum; replicas that are no voters do not count."""
        return self._counted(replicas) >= self.accept

    def _counted(self, replicas: Collection[ReplicaId]) -> int:
        counted = 0
        for voter in self.voters:
            if voter in replicas:
                counted += 1
        return counted


def majority(voters: tuple[ReplicaId, ...]) -> Quorum:
    """More than half of ``voters``, for both phases (the article; PMS 2.2). Raises ValueError where there are none."""
    more_than_half = len(voters) // 2 + 1
    return Quorum(voters, more_than_half, more_than_half)
