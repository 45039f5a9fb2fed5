"""From decrees to what is executed: the ledger of a history, out of decrees that were chosen or read back from journals.

The slow and obvious twin of ``core/applying.py``: command time that never falls (rule-R12), epochs counted by their
decrees, each origin's stream of commands in order and once (rule-R8). It looks at nothing but the decrees themselves, so
it serves journals of replicas that no longer run.

Knows nothing of ballots, votes and files.
"""

from collections.abc import Iterable

from multipaxos.core.ballot import NO_BALLOT, ReplicaId, Slot
from multipaxos.core.decree import (
    KIND_BATCH,
    KIND_CONFIGURATION,
    KIND_EPOCH,
    KIND_NOOP,
    Decree,
    commands_of,
    configuration_text_of,
    epoch_ballot_of,
    kind_of,
    segments_of,
    wall_of,
)
from multipaxos.core.membership import decode_configuration
from multipaxos.service.service import config_text
from multipaxos.sim.recorded import Chosen


def executed(decrees: Iterable[tuple[Slot, Decree]]) -> list[Chosen]:
    """The chosen slots with the commands each executes.

    Raises ValueError where they do not begin with slot 1 or leave one out.
    """
    found: list[Chosen] = []
    streams: dict[ReplicaId, tuple[int, int, int]] = {}
    time_ms = 0
    epoch = 0
    reign = NO_BALLOT
    for slot, decree in decrees:
        if slot != len(found) + 1:
            raise ValueError(f"slot {slot} comes after slot {len(found)}")
        kind = kind_of(decree)
        chosen = Chosen(slot, 0, 0, NO_BALLOT)
        if kind != KIND_NOOP:
            time_ms = max(time_ms, wall_of(decree))
        if kind == KIND_EPOCH:
            ballot = epoch_ballot_of(decree)
            if ballot >= reign:
                reign = ballot
                epoch += 1
                chosen.began_epoch = True
        elif kind == KIND_CONFIGURATION:
            text = config_text(decode_configuration(configuration_text_of(decree)))
            chosen.config = text or None
        elif kind == KIND_BATCH:
            for origin, incarnation, start, first, _, begin, end in segments_of(decree):
                for serial, command in enumerate(commands_of(decree, begin, end), first):
                    last = streams.get(origin)
                    if last is None or incarnation > last[0]:
                        is_next = serial == 1
                    else:
                        is_next = (incarnation, start, serial) == (last[0], last[1], last[2] + 1)
                    if is_next:
                        streams[origin] = (incarnation, start, serial)
                        chosen.commands.append(command)
        chosen.time_ms = time_ms
        chosen.epoch = epoch
        chosen.reign = reign
        found.append(chosen)
    return found
