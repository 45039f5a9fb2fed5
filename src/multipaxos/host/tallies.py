"""What a replica has counted since its start: the numbers that only grow, and how its durations were spread.

Beside ``observation.py``, which says how things stand at one instant. Taken on the loop together with it, read by
``metrics.py`` on the admin thread; plain values, never changed after they were made.
"""

from dataclasses import dataclass
from typing import Final

from multipaxos.host.samples import OCTAVES, Octaves

NOTHING: Final = Octaves((0,) * (OCTAVES + 1), 0, 0)


@dataclass(frozen=True, slots=True)
class Tallies:
    """Since the start of this process."""

    sync: Octaves = NOTHING
    commit: Octaves = NOTHING
    apply: Octaves = NOTHING
    round_trips: tuple[tuple[int, Octaves], ...] = ()  # by peer
    turns: int = 0
    leader_changes: int = 0
    journal_bytes: int = 0  # made durable
    requests: int = 0  # received from clients
    replies: int = 0  # sent to them
    messages_sent: int = 0
    messages_received: int = 0
    messages_dropped: int = 0  # to peers that were not there or did not read, and from peers while the disk stood still
    sent_bytes: int = 0
    received_bytes: int = 0
