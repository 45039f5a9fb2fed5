"""From a chosen decree to what the state machine executes: epoch, command time, order and once, configuration.

All of it is replicated state: every replica that applies the same slots holds the same values, whatever it was doing
when it learned them. What a command means is no business of this floor.
"""

from multipaxos.core.ballot import ReplicaId, Slot
from multipaxos.core.decree import (
    KIND_BATCH,
    KIND_CONFIGURATION,
    KIND_EPOCH,
    Decree,
    MalformedDecree,
    commands_of,
    configuration_text_of,
    epoch_ballot_of,
    kind_of,
    segments_of,
    wall_of,
)
from multipaxos.core.effects import Applied, Effects
from multipaxos.core.membership import Configuration, Membership, decode_configuration
from multipaxos.core.reign import Reign
from multipaxos.core.streams import OTHER_START, Streams


class Applying:
    """The part of replicated state that belongs to the protocol itself."""

    __slots__ = ("_incarnation", "_replica", "_start", "membership", "own_serial", "reign", "streams")

    def __init__(self, replica: ReplicaId, incarnation: int, start: int, listed: Configuration) -> None:
        self._replica = replica
        self._incarnation = incarnation
        self._start = start
        self.membership = Membership(listed)
        self.reign = Reign()
        self.streams = Streams()
        self.own_serial = 0  # last serial of this start's own stream that was applied

    def apply(self, slot: Slot, decree: Decree, effects: Effects) -> Applied:
        """Apply one chosen slot. The caller keeps the order and leaves no gap."""
        reign = self.reign
        kind = kind_of(decree)
        if kind == KIND_BATCH:
            time_ms = reign.advance(wall_of(decree))
            commands = self._commands(slot, decree, effects)
            return Applied(slot, time_ms, reign.epoch, reign.ballot, False, commands, None)
        if kind == KIND_EPOCH:
            time_ms = reign.advance(wall_of(decree))
            ballot = epoch_ballot_of(decree)
            began = reign.begin(ballot)
            if began:
                effects.note("apply.epoch", slot, reign.epoch, ballot)
            else:
                effects.note("apply.epoch.ignored", slot, ballot, reign.ballot)
            return Applied(slot, time_ms, reign.epoch, reign.ballot, began, [], None)
        if kind == KIND_CONFIGURATION:
            time_ms = reign.advance(wall_of(decree))
            configuration = decode_configuration(configuration_text_of(decree))
            if not self.membership.is_born:
                if slot != 1:  # no honest leader proposes it; refused everywhere alike, for apply is total (rule-R17)
                    effects.note("apply.malformed", slot, 0)
                    return Applied(slot, time_ms, reign.epoch, reign.ballot, False, [], None)
                effects.note("apply.birth", configuration.cluster)
            self.membership.apply(slot, configuration)
            return Applied(slot, time_ms, reign.epoch, reign.ballot, False, [], configuration)
        return Applied(slot, reign.time_ms, reign.epoch, reign.ballot, False, [], None)

    def _commands(self, slot: Slot, decree: Decree, effects: Effects) -> list[tuple[ReplicaId, int, bytes]]:
        """The commands of a batch that come next in their streams, each to be executed (rule-R8)."""
        found: list[tuple[ReplicaId, int, bytes]] = []
        for origin, incarnation, start, first, count, begin, end in segments_of(decree):
            is_own = origin == self._replica and incarnation == self._incarnation and start == self._start
            skipped = self.streams.skip(origin, incarnation, start, first, count)
            if skipped == OTHER_START:
                effects.note("apply.stream.other_start", slot, origin)
                if is_own:
                    effects.stop = (
                        f"the commands of replica {origin} are refused: another process runs on a copy of its data "
                        "directory. Stop one of the two, and replace the replica if in doubt which is the original"
                    )
                continue
            if skipped:
                effects.note("apply.stream.repeat", slot, origin, first, skipped)
                if skipped == count:
                    continue
            try:
                commands = commands_of(decree, begin, end)
            except MalformedDecree:
                commands = []
            if not count or len(commands) != count:
                # Segments travel unopened. One that does not hold what it says is refused everywhere alike, and without
                # consuming a serial: an exception would stop every replica at this slot, at each start (rule-R17).
                effects.note("apply.malformed", slot, origin)
                continue
            self.streams.take(origin, incarnation, start, first + count - 1)
            serial = first + skipped if is_own else 0
            for command in commands[skipped:] if skipped else commands:
                found.append((origin, serial, command))
                if is_own:
                    serial += 1
            if is_own:
                self.own_serial = serial - 1
        return found

    def clone(self) -> "Applying":
        """An independent copy."""
        cloned = Applying(self._replica, self._incarnation, self._start, self.membership.newest())
        cloned.membership = self.membership.clone()
        cloned.reign = self.reign.clone()
        cloned.streams = self.streams.copy()
        cloned.own_serial = self.own_serial
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (
            self._replica,
            self._incarnation,
            self._start,
            self.own_serial,
            self.membership.fingerprint(),
            self.reign.fingerprint(),
            self.streams.fingerprint(),
        )
