"""What a search looks for, and when it stops. Knows nothing of how it is done."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """When to stop, apart from having seen everything. A zero means no such bound."""

    # With several jobs: at so many states, or up to half a second later.
    states_max: int = 0
    seconds_max: float = 0.0
    depth_max: int = 0
    # Look only at these properties, by name; empty means at all of them.
    only: tuple[str, ...] = ()
    # Go on after a violation: how large is the space of a wrong model?
    is_stopping_at_violation: bool = True
    # Stop in the middle of a level: quicker, and then the counts depend on the order of steps.
    is_hasty: bool = False
    # Keep the states beside their fingerprints, and fail if two share one. For small models: it takes memory for all states.
    is_keeping_states: bool = False
