"""What a replica may choose for itself: timers and bounds. Nothing that apply looks at stands here (rule-R7)."""

from dataclasses import dataclass

MILLISECOND_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Local settings of the core. Durations in nanoseconds of the boot-time clock."""

    heartbeat_ns: int = 100 * MILLISECOND_NS
    election_min_ns: int = 600 * MILLISECOND_NS
    election_max_ns: int = 1200 * MILLISECOND_NS  # one "election timeout" wherever a bound counts in them
    refused_jitter_ns: int = 50 * MILLISECOND_NS  # before a campaign, when the leader's port refuses (rule-R28)
    retry_ns: int = 200 * MILLISECOND_NS  # an accept, a fetch or a prepare without an answer is sent again, then rarer
    disk_stall_ns: int = 1200 * MILLISECOND_NS  # a leader with an older write hands over (rule-R31)
    handover_rest_ns: int = 60_000 * MILLISECOND_NS  # at most one hand-over for a slow disk in this time
    pipeline: int = 4  # slots proposed and not yet chosen before commands gather (rule-R54)
    batch_commands_max: int = 1000
    batch_bytes_max: int = 1 << 20
    page_bytes_max: int = 1 << 20  # of one promise page or one answer to a fetch
    apply_slots_max: int = 256  # slots applied in one step, so that heartbeats are not starved,
    apply_commands_max: int = 1000  # and commands: a slot may hold a whole batch of them; at least one slot is applied
    ledger_bytes_max: int = 64 << 20  # kept in memory of decrees below the applied slot, for catch-up
    ledger_runs_max: int = 4096  # runs of slots below those, of which the ballot they were chosen at is kept
    unapplied_bytes_max: int = 64 << 20  # forwarded commands kept until applied; above it nothing is read from clients
