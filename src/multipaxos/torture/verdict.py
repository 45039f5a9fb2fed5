"""The verdict of a run, in figures: what counts as well, and why a run that is not does not.

A run is ``ok`` when no acknowledged write is lost, no judge finds anything, all replicas hold the same at the end, no
replica did what it must not, no session of a living client was lost without reason, fewer than a fifth of the requests are
of unknown outcome, and every nemesis that struck has shown its effect.
"""

from collections.abc import Sequence
from typing import Any, Final

from multipaxos.torture.accounts import Accounts
from multipaxos.torture.chronicle import Chronicle, Strike
from multipaxos.torture.client import Counts

UNKNOWN_SHARE_MAX: Final = 0.2
OK: Final = "ok"
BAD: Final = "bad"


def of_nemeses(strikes: Sequence[Strike], names: Sequence[str], skipped: dict[str, str]) -> dict[str, Any]:
    """For each nemesis how often it struck, how often with an effect, and the effects added up."""
    found: dict[str, Any] = {}
    for name in names:
        mine = [strike for strike in strikes if strike.nemesis == name]
        effects: dict[str, float] = {}
        variants: dict[str, int] = {}
        for strike in mine:
            if strike.struck.is_shown:
                variants[strike.variant] = variants.get(strike.variant, 0) + 1
            for effect, value in strike.struck.effects.items():
                if effect in _ADDED and not isinstance(value, str):
                    effects[effect] = effects.get(effect, 0) + value
        found[name] = {
            "strikes": len(mine),
            "shown": sum(strike.struck.is_shown for strike in mine),
            "variants": variants,
            "effects": effects,
            "skipped": skipped.get(name, "" if mine else "not reached in this time"),
        }
    return found


_ADDED: Final = (
    "ended by signal 9", "state T seen", "leaders ousted", "unsynced changes dropped", "packets dropped", "probes refused",
    "dials unanswered", "pieces held", "cuts", "delayed", "broken", "dripped", "garbled", "held", "given up", "ENOSPC seen",
    "said full", "failed with EIO", "syncs that hang", "slow syncs", "readings",
)  # fmt: skip


def reasons_against(
    chronicle: Chronicle, counts: Counts, accounts: Accounts, nemeses: dict[str, Any], convergence: Sequence[str]
) -> list[str]:
    """Everything but violations that makes the verdict bad, in words."""
    reasons = [f"lost: {text}" for text in accounts.named]
    for strike in chronicle.strikes:
        reasons += [f"{strike.nemesis} {strike.variant}: {text}" for text in strike.struck.complaints]
    for lost in counts.lost_sessions:
        if not lost.is_explained:
            reasons.append(
                f"session {lost.session:#x} of client {lost.client}, which lives, was lost at {lost.at_s:.1f} s after "
                f"{lost.silent_s:.1f} s of silence"
            )
    reasons += counts.disorder
    reasons += convergence
    if accounts.unknown_share >= UNKNOWN_SHARE_MAX:
        reasons.append(f"{100 * accounts.unknown_share:.0f} % of the requests are of unknown outcome")
    if not accounts.acknowledged_writes:
        reasons.append("no write was acknowledged: nothing was shown")
    if not any(strike.struck.is_shown for strike in chronicle.strikes):
        reasons.append("no nemesis showed an effect: nothing was shown")
    for name, found in nemeses.items():
        if found["strikes"] and not found["shown"]:
            reasons.append(f"nemesis {name} struck {found['strikes']} times and no effect was seen")
    return reasons
