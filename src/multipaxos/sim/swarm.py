"""What one seed draws: how large the world is, how unkind its links and disks are, which faults strike and how often.

Each seed switches a random part of the fault kinds off and draws the rates of the others anew ("swarm testing"): a run
in which everything happens at once hides what only two faults together can show.

Knows nothing of how a fault is done: ``faults.py``.
"""

from dataclasses import dataclass, field, replace
from random import Random

from multipaxos.core.settings import Settings
from multipaxos.sim.network import MICROSECOND_NS, MILLISECOND_NS, LinkRates

SECOND_NS = 1_000 * MILLISECOND_NS

FAULT_KINDS = (
    "process crash",
    "machine crash",
    "power loss",
    "failed sync",
    "full disk",
    "hung disk",
    "slow disk",
    "flipped bit",
    "lost write",
    "misdirected write",
    "emptied directory",
    "pause",
    "pause inside a step",
    "suspend",
    "slow replica",
    "one-way cut",
    "two-way cut",
    "split",
    "chained",
    "clog",
    "clock jump",
    "hand-over",
)
"""Every kind of fault a run can be struck with, beside the rates of its links."""

DISRUPTIVE = ("process crash", "machine crash", "pause", "two-way cut", "split")
"""Faults that end a leadership when they strike the leader for long enough."""


DAMAGING = ("flipped bit", "lost write", "misdirected write", "emptied directory")
"""Faults after which a replica may have to stay away. They strike a minority, and late (``faults.py``)."""

RARE = ("lost write", "misdirected write", "emptied directory")
"""Kinds that fewer runs draw: a replica that stays away makes a run tamer."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The world of one seed."""

    seed: int
    replicas: int = 3
    rates: LinkRates = field(default_factory=LinkRates)
    settings: Settings = field(default_factory=Settings)
    window: int = 64
    outliving: float = 0.0  # share of messages that wait for their receiver, also while it restarts
    segment_bytes: int = 32 << 10  # of a journal's segments
    sync_min_ns: int = 200 * MICROSECOND_NS
    sync_max_ns: int = 2 * MILLISECOND_NS
    turn_ns: int = 200 * MICROSECOND_NS  # how long arrivals may gather before their turn
    skew_ppm: int = 0  # clock rates differ by up to this much
    safety_ns: int = 8 * SECOND_NS  # how long faults strike
    faults: dict[str, float] = field(default_factory=dict)  # kind -> weight
    fault_every_ns: int = SECOND_NS
    fault_lasts_ns: int = 2 * SECOND_NS
    leader_share: float = 0.5  # how often a fault picks the leader
    is_core_first: bool = False  # a mere majority is healed first, and must get on alone
    sessions: int = 3
    operations: int = 36  # of each session
    plain_commands: int = 0  # in worlds without sessions: how many commands
    reads: int = 12  # linearizable reads asked of the core

    def describe(self) -> dict[str, object]:
        """What a report of a failure shows."""
        return {
            "replicas": self.replicas,
            "drop": round(self.rates.drop, 3),
            "duplicate": round(self.rates.duplicate, 3),
            "reorder": round(self.rates.reorder, 3),
            "delay_max_ms": self.rates.delay_max_ns / MILLISECOND_NS,
            "election_max_ms": self.settings.election_max_ns // MILLISECOND_NS,
            "faults": sorted(self.faults),
            "window": self.window,
            "pipeline": self.settings.pipeline,
        }


def draw(seed: int, is_plain: bool = False) -> Profile:
    """The profile of a seed."""
    random = Random(seed * 7919 + 17)
    replicas = 5 if random.random() < 0.2 else 3
    rates = LinkRates(
        delay_min_ns=random.choice((50, 100, 500, 2_000)) * MICROSECOND_NS,
        delay_max_ns=random.choice((1, 3, 10, 40)) * MILLISECOND_NS + 2 * MILLISECOND_NS,
        drop=random.choice((0.0, 0.0, 0.01, 0.05, 0.15)),
        duplicate=random.choice((0.0, 0.02, 0.1, 0.3)),
        reorder=random.choice((0.0, 0.02, 0.1, 0.3)),
        late_max_ns=random.choice((20, 100, 500, 3_000)) * MILLISECOND_NS,
    )
    settings = Settings(
        pipeline=random.choice((1, 2, 4, 16)),
        page_bytes_max=random.choice((200, 2_000, 1 << 20)),
        apply_slots_max=random.choice((1, 3, 256)),
        ledger_bytes_max=random.choice((0, 2_000, 64 << 20)),
        batch_commands_max=random.choice((1, 3, 1_000)),
    )
    is_impatient = random.random() < 0.25
    if is_impatient:
        # Timers of the same order as the delays: nobody leads for long, every round of every phase is interrupted.
        settings = replace(
            settings,
            heartbeat_ns=20 * MILLISECOND_NS,
            election_min_ns=60 * MILLISECOND_NS,
            election_max_ns=160 * MILLISECOND_NS,
            refused_jitter_ns=10 * MILLISECOND_NS,
            retry_ns=40 * MILLISECOND_NS,
            disk_stall_ns=160 * MILLISECOND_NS,
            handover_rest_ns=500 * MILLISECOND_NS,
        )
    faults: dict[str, float] = {}
    for kind in FAULT_KINDS:
        if random.random() < (0.35 if kind in RARE else 0.6):
            faults[kind] = random.choice((1.0, 2.0, 4.0))
    if not any(kind in faults for kind in DISRUPTIVE):
        faults[random.choice(DISRUPTIVE)] = 2.0
    if "power loss" in faults:
        faults["power loss"] = 0.5
    if "flipped bit" in faults:
        faults["flipped bit"] = 4.0  # strikes late only
    slow_disk = random.choice((1, 1, 4, 20))
    profile = Profile(
        seed=seed,
        replicas=replicas,
        rates=rates,
        settings=settings,
        window=random.choice((4, 16, 64)),
        outliving=random.choice((0.0, 0.0, 0.3, 1.0)),
        segment_bytes=random.choice((4, 8, 8, 16)) << 10,
        sync_min_ns=100 * MICROSECOND_NS,
        sync_max_ns=slow_disk * MILLISECOND_NS,
        turn_ns=random.choice((10, 200, 2_000)) * MICROSECOND_NS,
        skew_ppm=random.choice((0, 100, 20_000)),
        safety_ns=(3 if is_impatient else random.choice((4, 5, 6))) * SECOND_NS,
        faults=faults,
        fault_every_ns=random.choice((300, 600, 1_000)) * MILLISECOND_NS // (3 if is_impatient else 1),
        fault_lasts_ns=random.choice((300, 600, 1_200)) * MILLISECOND_NS // (3 if is_impatient else 1),
        leader_share=random.choice((0.3, 0.6, 0.9)),
        is_core_first=random.random() < 0.3,
        sessions=random.choice((3, 3, 4, 5)),
        operations=random.choice((36, 40)),
        plain_commands=120 if is_plain else 0,
    )
    runs_max = random.choice((0, 2, settings.ledger_runs_max))
    if any(kind in faults for kind in DAMAGING):
        return profile  # a disk that loses what was chosen leaves only memory to tell at which ballot it was
    return replace(profile, settings=replace(settings, ledger_runs_max=runs_max))
