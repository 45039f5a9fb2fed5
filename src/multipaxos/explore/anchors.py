"""What others have published, or measured, about the very models that are here: the figures a search must come to.

An *anchor* is a count of states. A *death* says where a search ends when one rule is wrong; those of others were measured
with independent models in the same language. The names of mutants are the bug ids of the catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from multipaxos.explore.models import MODELS


@dataclass(frozen=True, slots=True)
class Anchor:
    """Counts of a model in these sizes; a zero was not published. ``guard`` is a mutant that must give another count."""

    name: str
    model: str
    sizes: tuple[tuple[str, int], ...]
    unique: int
    generated: int
    depth: int
    source: str
    guard: str

    def differences(self, unique: int, generated: int, depth: int) -> str:
        """What differs from the published figures; "" when nothing does."""
        pairs = (
            ("unique", unique, self.unique),
            ("generated", generated, self.generated),
            ("depth", depth, self.depth),
        )
        return ", ".join(
            [f"{name} {ours:,} instead of {theirs:,}" for name, ours, theirs in pairs if theirs not in (0, ours)]
        )

    def counts(self) -> str:
        """The figures, for people."""
        return " / ".join([f"{count:,}" if count else "-" for count in (self.unique, self.generated, self.depth)])


@dataclass(frozen=True, slots=True)
class Death:
    """A mutant, the property that sees it, and what was measured: the depth and the unique states when the search ended.

    A depth of 0: it survived the whole space. ``states`` of 0: not measured. A hasty search comes to the very same numbers;
    where it does not, ``why`` says what is known of the difference.
    """

    mutant: str
    model: str
    sizes: tuple[tuple[str, int], ...]
    only: str
    depth: int
    states: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A mutant that needs more ballots. Others know a run of so many steps; the depth of the shortest is ours."""

    mutant: str
    model: str
    sizes: tuple[tuple[str, int], ...]
    only: str
    steps: int
    depth: int


EXAMPLES = "tlaplus/Examples 32a32c7, specifications"
STATERIGHT = "stateright ab8c8be, examples"

PAXOS_TINY = (("acceptors", 3), ("values", 2), ("ballots", 2), ("is_symmetric", False))
PAXOS_THREE_BALLOTS = (("acceptors", 3), ("values", 2), ("ballots", 3), ("is_symmetric", True))
PAXOS_FOUR_BALLOTS = (("acceptors", 3), ("values", 2), ("ballots", 4), ("is_symmetric", True))
STATERIGHT_PAXOS = (("clients", 2), ("servers", 3))

ANCHORS = (
    Anchor("anchor-S1", "stateright-paxos", STATERIGHT_PAXOS, 16_668, 0, 0, f"{STATERIGHT}/paxos.rs", "A04"),
    Anchor(
        "anchor-S4",
        "two-phase-commit",
        (("managers", 3), ("is_symmetric", False)),
        288,
        0,
        0,
        f"{STATERIGHT}/2pc.rs",
        "commits-unasked",
    ),
    Anchor(
        "anchor-S4",
        "two-phase-commit",
        (("managers", 5), ("is_symmetric", False)),
        8_832,
        0,
        0,
        f"{STATERIGHT}/2pc.rs",
        "commits-unasked",
    ),
    Anchor(
        "anchor-T1",
        "consensus",
        (("values", 3), ("is_from_anywhere", False)),
        4,
        4,
        2,
        f"{EXAMPLES}/PaxosHowToWinATuringAward/manifest.json",
        "chooses-again",
    ),
    Anchor(
        "anchor-T1",
        "consensus",
        (("values", 3), ("is_from_anywhere", True)),
        4,
        7,
        1,
        f"{EXAMPLES}/Paxos/manifest.json",
        "chooses-again",
    ),
    Anchor(
        "anchor-T2",
        "lamport-voting",
        (("acceptors", 3), ("values", 2), ("ballots", 2), ("is_symmetric", True)),
        77,
        451,
        11,
        f"{EXAMPLES}/Paxos/manifest.json",
        "A08",
    ),
    Anchor(
        "anchor-T3",
        "lamport-paxos",
        (("acceptors", 1), ("values", 1), ("ballots", 2), ("is_symmetric", True)),
        25,
        82,
        9,
        f"{EXAMPLES}/Paxos/manifest.json",
        "A09",
    ),
    Anchor(
        "anchor-T4",
        "lamport-voting",
        (("acceptors", 3), ("values", 2), ("ballots", 3), ("is_symmetric", False)),
        6_752,
        41_017,
        16,
        f"{EXAMPLES}/PaxosHowToWinATuringAward/manifest.json",
        "A08",
    ),
    Anchor(
        "anchor-T5",
        "lamport-paxos",
        PAXOS_TINY,
        3_921,
        23_563,
        17,
        f"{EXAMPLES}/PaxosHowToWinATuringAward/manifest.json",
        "A04",
    ),
)

# Takes half a minute, so it runs with the long forms only.
LONG_ANCHORS = (
    Anchor(
        "anchor-T9",
        "multipaxos-smr",
        (("replicas", 3), ("writes", 1), ("reads", 1), ("ballots", 2), ("is_symmetric", True)),
        343_796,
        736_012,
        28,
        f"{EXAMPLES}/MultiPaxos-SMR/manifest.json",
        "A11",
    ),
)

ORDER = "on the same level; the order of steps within it is not known"
EXPANDED = "counted there when the violating state was expanded, here when it was found"

DEATHS = (
    Death("A01", "lamport-paxos", PAXOS_TINY, "I2", 14, 19_980),
    Death("A02", "lamport-paxos", PAXOS_TINY, "I2", 10, 2_787),
    Death("A03", "lamport-paxos", PAXOS_TINY, "I2", 12, 4_467),
    Death("A04", "lamport-paxos", PAXOS_TINY, "I2", 0, 9_249),
    Death("A06", "lamport-paxos", PAXOS_TINY, "I2", 0, 0),
    Death("A08", "lamport-paxos", PAXOS_TINY, "I2", 13, 3_465),
    Death("A09", "lamport-paxos", PAXOS_TINY, "I2", 13, 8_334, ORDER),
    Death("A10", "lamport-paxos", PAXOS_TINY, "I2", 0, 0),
    Death("A11", "lamport-paxos", PAXOS_TINY, "I2", 11, 5_543),
    Death("C14", "lamport-paxos", PAXOS_TINY, "I2", 14, 49_960),
    Death("forgets-vote", "lamport-paxos", PAXOS_TINY, "I2", 14, 12_013),
    Death(
        "A03",
        "stateright-paxos",
        STATERIGHT_PAXOS,
        "linearizable",
        0,
        118_820,
        "was stopped there; how it was wrong is not known",
    ),
    Death("A04", "stateright-paxos", STATERIGHT_PAXOS, "linearizable", 0, 41_653),
    Death("A06", "stateright-paxos", STATERIGHT_PAXOS, "linearizable", 0, 16_668),
    Death("A08", "stateright-paxos", STATERIGHT_PAXOS, "linearizable", 18, 16_405, EXPANDED),
    Death("A09", "stateright-paxos", STATERIGHT_PAXOS, "linearizable", 18, 29_388, EXPANDED),
    Death("A10", "stateright-paxos", STATERIGHT_PAXOS, "linearizable", 0, 40_145),
    Death("C01", "stateright-paxos", STATERIGHT_PAXOS, "linearizable", 0, 33_100),
    Death("D01", "stateright-paxos", STATERIGHT_PAXOS, "linearizable", 0, 19_428),
)

# The shortest ways known to others are runs, not searches: two random walks, and one written down.
WITH_MORE_BALLOTS = (
    Run("A04", "lamport-paxos", PAXOS_THREE_BALLOTS, "I2", 21, 18),
    Run("A06", "lamport-paxos", PAXOS_THREE_BALLOTS, "I2", 18, 18),
)
# Takes minutes, so it runs with the long forms only.
LONG_WITH_MORE_BALLOTS = (Run("A10", "lamport-paxos", PAXOS_FOUR_BALLOTS, "I2", 20, 21),)


def published(model: str, sizes: Mapping[str, int]) -> Anchor | None:
    """The anchor for exactly these sizes, if there is one."""
    entry = MODELS.get(model)
    for anchor in ANCHORS + LONG_ANCHORS:
        if entry and MODELS[anchor.model].place == entry.place and dict(anchor.sizes) == dict(sizes):
            return anchor
    return None
