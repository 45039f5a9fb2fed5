"""A failing seed made small: the fewest faults, clients and replicas with which the same invariant still breaks.

A world is fixed by its profile (``swarm.py``), the seed of its chance, and the strikes of its nemesis that are left out.
Each try takes something away (a kind of fault, a rate, a client, half of the strikes, the time after the violation) and
keeps what is left when the *same invariant* is still violated. What is taken away shifts the chance of all that follows,
so each try is given a few seeds of chance before it is called necessary.

The file of a failure holds both worlds whole, the original and the small one, so that it replays although the way
profiles are drawn from seeds has changed since. Knows nothing of what an invariant means.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, get_type_hints

from multipaxos.core.ballot import ReplicaId
from multipaxos.sim.faults import Nemesis
from multipaxos.sim.network import MILLISECOND_NS, LinkRates
from multipaxos.sim.swarm import DISRUPTIVE, SECOND_NS, Profile
from multipaxos.sim.world import BEGINNING_NS, World

TRIES_OF_CHANCE = 4
"""So many seeds of chance a smaller world gets to show the same violation."""


@dataclass(frozen=True, slots=True)
class Case:
    """One world, whole: what ``run_case`` runs."""

    profile: Profile
    is_plain: bool
    skipped: tuple[int, ...] = ()  # strikes of the nemesis that are left out, counted from 0

    def value(self) -> dict[str, object]:
        """As JSON has it."""
        return {"profile": _plain(self.profile), "plain": self.is_plain, "skipped": list(self.skipped)}


def case_of(value: dict[str, Any]) -> Case:
    """A case from its JSON. Raises ValueError where a field is missing or unknown: made by another version."""
    try:
        profile: Profile = _built(Profile, value["profile"])
        return Case(profile, bool(value["plain"]), tuple(int(number) for number in value["skipped"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"made by another version of the simulator: {error}") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _built(kind: type, value: dict[str, Any]) -> Any:
    """A dataclass from its JSON: every field must be there, and no other."""
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if sorted(names) != sorted(value):
        raise ValueError(f"{kind.__name__} has the fields {sorted(names)}, the file {sorted(value)}")
    found: dict[str, Any] = {}
    for name in names:
        hint, item = hints[name], value[name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            item = _built(hint, item)
        elif isinstance(item, list):
            item = tuple(item)
        found[name] = item
    return kind(**found)


class Sparing(Nemesis):
    """A nemesis that leaves some of its strikes out, and counts them all."""

    __slots__ = ("_skipped", "strikes")

    def __init__(self, world: World, skipped: tuple[int, ...]) -> None:
        super().__init__(world)
        self._skipped = frozenset(skipped)
        self.strikes = 0

    def _do(self, kind: str, victim: ReplicaId, at_least: int = 0) -> None:
        number = self.strikes
        self.strikes += 1
        if number not in self._skipped:
            super()._do(kind, victim, at_least)

    def _strike_leader(self) -> None:
        if any(kind in DISRUPTIVE for kind in self.world.profile.faults):
            super()._strike_leader()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running a case gave."""

    invariant: str
    text: str
    strikes: int
    ended_ns: int  # virtual time since the beginning
    steps: int  # of all replicas together


Run = Callable[[Case], Outcome]
"""Runs a case to its end or its first violation."""


@dataclass(slots=True)
class Shrunk:
    """The smallest case found."""

    case: Case
    outcome: Outcome
    runs: int = 0
    seconds: float = 0.0

    def steps(self) -> list[str]:
        """What is left of it, for people."""
        profile = self.case.profile
        left = self.outcome.strikes - len(self.case.skipped)
        clients = f"{profile.sessions} sessions of {profile.operations} operations"
        return [
            f"{profile.replicas} replicas, {f'{profile.plain_commands} commands' if self.case.is_plain else clients}",
            f"faults {sorted(profile.faults) or 'none'}, {left} strikes",
            f"links {profile.rates}",
            f"violated after {self.outcome.ended_ns / SECOND_NS:.2f} s of virtual time",
        ]


def shrink(case: Case, outcome: Outcome, run: Run, seconds: float, tell: Callable[[str], None] | None = None) -> Shrunk:
    """Take away for at most ``seconds`` of real time. ``outcome`` is what running ``case`` gave."""
    best = Shrunk(case, outcome)
    began = monotonic()
    is_smaller = True
    while is_smaller and monotonic() - began < seconds:
        is_smaller = False
        for what, smaller in _smaller(best):
            found = _still(smaller, best, run, began + seconds)
            if found is not None:
                best.case, best.outcome = found
                is_smaller = True
                if tell is not None:
                    tell(f"shrunk: {what}")
                break  # what may be taken away next depends on what is left
            if monotonic() - began >= seconds:
                break
    best.seconds = monotonic() - began
    return best


def _still(case: Case, best: Shrunk, run: Run, deadline: float) -> tuple[Case, Outcome] | None:
    """The case, with the chance that shows it, if the invariant still breaks, and no later than before."""
    seed = case.profile.seed
    for number in range(TRIES_OF_CHANCE):
        tried = replace(case, profile=replace(case.profile, seed=seed if number == 0 else seed * 31 + number))
        best.runs += 1
        outcome = run(tried)
        if outcome.invariant == best.outcome.invariant and outcome.steps <= best.outcome.steps:
            return tried, outcome
        if monotonic() >= deadline:
            break
    return None


def _smaller(best: Shrunk) -> Iterator[tuple[str, Case]]:
    """What to try next, the largest bites first."""
    case, profile = best.case, best.case.profile

    def with_profile(**changes: Any) -> Case:
        return replace(case, profile=replace(profile, **changes))

    if profile.faults:
        yield "no faults at all", replace(case, profile=replace(profile, faults={}), skipped=())
    for kind in sorted(profile.faults):
        left = {other: weight for other, weight in profile.faults.items() if other != kind}
        if left:
            yield f"without {kind}", with_profile(faults=left)
    if profile.replicas > 3:
        yield "three replicas", with_profile(replicas=3)
    rates = profile.rates
    calm = LinkRates(rates.delay_min_ns, rates.delay_max_ns, late_max_ns=rates.late_max_ns)
    if rates != calm:
        yield "links that lose and repeat nothing", with_profile(rates=calm)
        if rates.drop:
            yield "nothing is lost", with_profile(rates=replace(rates, drop=0.0))
        if rates.duplicate:
            yield "nothing comes twice", with_profile(rates=replace(rates, duplicate=0.0))
        if rates.reorder:
            yield "nothing overtakes", with_profile(rates=replace(rates, reorder=0.0))
    for name in ("outliving", "skew_ppm", "reads", "plain_commands"):
        if getattr(profile, name):
            yield f"no {name}", with_profile(**{name: type(getattr(profile, name))(0)})
    if profile.plain_commands > 1:
        yield "half of the commands", with_profile(plain_commands=profile.plain_commands // 2)
    if profile.operations > 1 and not case.is_plain:
        yield "half of the operations", with_profile(operations=profile.operations // 2)
    if profile.sessions > 1 and not case.is_plain:
        yield "a session less", with_profile(sessions=profile.sessions - 1)
    if profile.is_core_first:
        yield "all healed at once", with_profile(is_core_first=False)
    ended = best.outcome.ended_ns + 500 * MILLISECOND_NS
    if ended < profile.safety_ns:
        yield "ends with the violation", with_profile(safety_ns=ended)
    kept = [number for number in range(best.outcome.strikes) if number not in case.skipped]
    size = len(kept)
    while size >= 1:
        for first in range(0, len(kept), size):
            gone = kept[first : first + size]
            yield f"{len(gone)} strikes less", replace(case, skipped=tuple(sorted([*case.skipped, *gone])))
        size //= 2


def ended_ns(world: World) -> int:
    """Virtual time a world has run."""
    return world.now - BEGINNING_NS
