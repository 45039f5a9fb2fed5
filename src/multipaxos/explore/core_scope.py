"""How large a world of production replicas is: what ``core_world.py`` bounds, what it starts from, which reductions it uses.

Knows nothing of the search and of how a step is made.
"""

from dataclasses import dataclass

from multipaxos.core.ballot import Ballot, ReplicaId, ballot_of

BORN = "born"
"""Slot 1, the birth, is in every journal, and nobody leads."""

REIGNING = "reigning"
"""Besides, replica 1 leads at ballot 0.1, the first of those counted; its epoch decree in slot 2 is applied everywhere."""

STARTS = (BORN, REIGNING)
REPLICAS_MAX = 7


@dataclass(frozen=True, slots=True)
class Scope:
    """The bounds of a world, and its reductions, each of which may be switched off. Raises ValueError where none can be made.

    ``ballots`` are the lowest that may propose in an open slot, in their order: with every replica a campaigner 0.1
    0.2 0.3 1.1 ... from a reign, and 0.2 0.3 1.1 ... after the birth, which was chosen at 0.1.
    ``slots`` is the window of the configuration, so that no leader is further ahead; and accepts beyond so many slots are
    lost. ``values`` are commands: command n is given to replica n once, while it runs for the first time.
    ``campaigners`` names the replicas that may begin a ballot, () all of them. ``page_bytes`` above 0 cuts promises in pages.
    """

    acceptors: int = 3
    ballots: int = 3
    slots: int = 2
    values: int = 2
    crashes: int = 1
    start: str = REIGNING
    campaigners: tuple[ReplicaId, ...] = ()
    page_bytes: int = 0
    # A nack arrives, and tells its receiver which ballots are taken. Off: it is lost.
    is_nacking: bool = False
    # A fetch and its answer are messages of their own, and an answer may be old. Off: they are one step.
    is_fetching_by_message: bool = False
    # Reduction "prompt": a step is durable at once, or never. Off: a sync is a step of its own, at any time later.
    is_prompt: bool = True
    # Reduction "no crash left": what is in the journal of a replica that cannot crash any more makes no difference.
    is_forgetting_journals: bool = True
    # Reduction "sweep": a message that can do nothing any more is as good as lost.
    is_sweeping: bool = True
    # Sweep answers at an older ballot, too, while a replica campaigns at a later one: smaller, where one campaigns twice, but
    # blind to a core that counts them.
    is_trusting_ballots: bool = False
    # Interning: a replica that stands as another once did takes the same steps. Off: each is run again, on a fresh clone.
    is_memoising: bool = True
    # An exception of the core is a violation. Off: it is counted, and the step not taken, as hunters of mutants want it.
    is_judging_exceptions: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.acceptors <= REPLICAS_MAX:
            raise ValueError(f"{self.acceptors} replicas cannot be searched; 1 to {REPLICAS_MAX} can")
        if self.ballots < 1 or self.slots < 1:
            raise ValueError("there must be a ballot and a slot")
        if not 0 <= self.values <= self.acceptors:
            raise ValueError(
                f"{self.values} commands, each given to a replica of its own, but {self.acceptors} replicas"
            )
        if self.crashes < 0:
            raise ValueError("crashes cannot be below 0")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}, not {self.start}")
        for replica in self.campaigners:
            if replica not in self.replicas:
                raise ValueError(f"replica {replica} cannot campaign: there are {self.acceptors}")

    @property
    def replicas(self) -> tuple[ReplicaId, ...]:
        """The ids, ascending."""
        return tuple(range(1, self.acceptors + 1))

    @property
    def quorum(self) -> int:
        """More than half of the replicas."""
        return self.acceptors // 2 + 1

    @property
    def prefix(self) -> int:
        """The slots that are chosen and applied at the start."""
        return 1 if self.start == BORN else 2

    @property
    def last_slot(self) -> int:
        """The last slot that messages speak of."""
        return self.prefix + self.slots

    def allowed(self) -> tuple[Ballot, ...]:
        """The ballots that may propose, ascending."""
        first = ballot_of(0, 1)
        found: list[Ballot] = [first] if self.start == REIGNING else []
        number = 0
        while len(found) < self.ballots:
            for replica in self.campaigners or self.replicas:
                ballot = ballot_of(number, replica)
                if ballot > first and len(found) < self.ballots:
                    found.append(ballot)
            number += 1
        return tuple(found)
