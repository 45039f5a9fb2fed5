"""A stage on which things take time: messages on their links, syncs on their disks, commands on their processor.

Nothing happens by accident here either: every link has the same delay, every disk the length it was given, and a turn is
as long as what it executes. So what a scenario demands in seconds (a longest gap, no change of leader for ten minutes) is
measured in virtual time, to the nanosecond.
"""

import heapq
from collections.abc import Callable
from itertools import pairwise
from random import Random

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.effects import Effects
from multipaxos.core.inputs import Input, Submit
from multipaxos.core.messages import Heartbeat
from multipaxos.core.records import PromisedRecord
from multipaxos.core.settings import Settings
from multipaxos.sim.disk import SimulatedDisk
from multipaxos.sim.process import Payload, Process
from multipaxos.sim.stage import Stage

MS = 1_000_000
SECOND = 1_000 * MS


class TimedStage(Stage):
    """Replicas whose links, disks and processors take time."""

    def __init__(self, count: int = 3, settings: Settings | None = None, seed: int = 1) -> None:
        self.link_ns = 1 * MS
        self.sync_ns: dict[ReplicaId, int] = dict.fromkeys(range(1, count + 1), 2 * MS)
        self.syncs_of_a_promise = 3  # the journal's own, and one for each copy of the promise beside it (rule-R36)
        self.command_ns = dict.fromkeys(self.sync_ns, 0)  # how long a replica is busy with one command
        self.acknowledged: list[tuple[int, str]] = []  # (when, command): executed at the replica it was submitted to
        self.longest_turn_ns = 0
        self.beats: list[int] = []  # when a leader sent a heartbeat
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._busy_until: dict[ReplicaId, int] = {}
        super().__init__(count, settings)
        self._seed = seed

    # Surroundings of the processes

    def send(self, process: Process, to: ReplicaId, payload: Payload) -> None:
        """Carry a message over its link; back to the process itself at once."""
        if to == process.id:
            self.at(self.now, lambda: self._arrive(process, process.life, payload))
            return
        super().send(process, to, payload)
        if self.flight:  # not lost on a cut link
            flying = self.flight.pop()
            target = self.replicas[to]
            self.at(self.now + self.link_ns, lambda: self._arrive(target, flying.to_life, payload))

    def sync(self, process: Process) -> None:
        """Begin a sync, which returns as late as this disk is slow."""
        process.is_syncing = True
        disk = process.disk
        assert isinstance(disk, SimulatedDisk)
        position = disk.flush()
        life = process.life
        is_raised = any(isinstance(record, PromisedRecord) for record in disk.records[disk.durable : position])
        syncs = self.syncs_of_a_promise if is_raised else 1
        self.at(self.now + syncs * self.sync_ns[process.id], lambda: self._returned(process, life, position))

    def told(self, process: Process, now: int, inputs: list[Input], effects: Effects) -> None:
        """Take down what was acknowledged, and how long this turn keeps its replica busy."""
        super().told(process, now, inputs, effects)
        if any(isinstance(message, Heartbeat) for _, message in effects.messages):
            self.beats.append(now)
        commands = 0
        for applied in effects.applied:
            commands += len(applied.commands)
            self.acknowledged += [(now, command.decode()) for _, serial, command in applied.commands if serial]
        busy_ns = commands * self.command_ns[process.id]
        self.longest_turn_ns = max(self.longest_turn_ns, busy_ns)
        self._busy_until[process.id] = now + busy_ns

    # What happens when

    def at(self, time: int, action: Callable[[], None]) -> None:
        """Do something at a moment to come."""
        self._numbers += 1
        heapq.heappush(self._events, (time, self._numbers, action))

    def every(self, interval_ns: int, until: int, replica: ReplicaId, count: int = 1, size: int = 0) -> None:
        """Let clients of ``replica`` submit ``count`` commands of about ``size`` bytes at each interval."""

        def submit() -> None:
            process = self.replicas[replica]
            if process.is_ready:
                name = f"{replica}.{self._numbers}"
                commands = [f"{name}.{index}".encode().ljust(size, b"_") for index in range(count)]
                process.give(Submit(tuple(commands)))
                self.wake(process, self.now)
            if self.now + interval_ns < until:
                self.at(self.now + interval_ns, submit)

        self.at(self.now, submit)

    def run(self, nanoseconds: int, is_over: Callable[[], bool] | None = None) -> bool:
        """Let time pass, at the longest until ``is_over``; whether it was over."""
        until = self.now + nanoseconds
        while True:
            if is_over is not None and is_over():
                return True
            due, process = self._next_turn()
            event_at = self._events[0][0] if self._events else until + 1
            if min(due, event_at) > until:
                self.now = until
                return is_over is None
            if event_at <= due:
                self.now = max(self.now, event_at)
                heapq.heappop(self._events)[2]()
            else:
                assert process is not None
                self.now = max(self.now, due)
                self._turn(process)

    def lead(self, replica: ReplicaId) -> "TimedStage":
        """Start everybody, and let ``replica`` become the leader; from then on chance draws."""
        self.favoured = replica
        self.start()
        assert self.run(10 * SECOND, lambda: self.core(replica).is_leading)
        self.chance = Random(self._seed)
        self.run(SECOND)
        assert self.oracle.epochs == 1
        return self

    @property
    def leader(self) -> ReplicaId:
        """Who leads; 0 for nobody, and for more than one."""
        leading = [p.id for p in self.replicas.values() if p.core is not None and p.core.is_leading]
        return leading[0] if len(leading) == 1 else 0

    def longest_gap_ns(self, begin: int, end: int) -> int:
        """Between two acknowledged commands of anybody."""
        times = [at for at, _ in self.acknowledged if begin < at < end]
        return max(later - earlier for earlier, later in pairwise([begin, *times, end]))

    def _next_turn(self) -> tuple[int, Process | None]:
        best: tuple[int, Process | None] = (1 << 62, None)
        for process in self.replicas.values():
            if process.is_ready and not process.is_paused and process.due:
                due = max(process.due, self._busy_until.get(process.id, 0))
                if due < best[0]:
                    best = (due, process)
        return best

    def _arrive(self, process: Process, life: int, payload: Payload) -> None:
        if process.life == life and process.is_ready:
            process.arrive(payload)
            self.wake(process, self.now)

    def _returned(self, process: Process, life: int, position: int) -> None:
        if process.life == life:
            self._syncing[process.id] = position
            self.synced(process.id)
            self.wake(process, self.now)


def hung(stage: TimedStage, replica: ReplicaId) -> None:
    """From now on no sync of ``replica`` returns."""
    stage.sync_ns[replica] = 1 << 60
