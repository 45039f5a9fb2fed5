"""The world of one seed: replicas, virtual time, one source of chance, an event queue.

A run has two parts. In *safety mode* faults strike (``faults.py``) while clients work (``workload.py``); the oracle
(``checkers.py``) watches every step. Then everything is healed, or first a mere majority, and in *liveness mode* all
that is open must end within a bound and all replicas must come to hold the same (I16).

Nothing here depends on the machine it runs on: time is an integer, chance comes from ``random.Random(seed)`` alone, and
no set is iterated. A seed is therefore a name for a run.
"""

import heapq
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from multipaxos.core.ballot import ReplicaId, Slot
from multipaxos.core.effects import Effects
from multipaxos.core.inputs import Input, PeerDown, PeerUp, Read
from multipaxos.core.membership import Configuration, Member
from multipaxos.sim.checkers import Expected, Follower, Oracle, Violation
from multipaxos.sim.network import MILLISECOND_NS, Network
from multipaxos.sim.process import Clock, Payload, Process, Service
from multipaxos.sim.recording import Recording
from multipaxos.sim.swarm import SECOND_NS, Profile
from multipaxos.trace import Json, plain

if TYPE_CHECKING:
    from multipaxos.sim.faults import Nemesis

BEGINNING_NS = 10 * SECOND_NS
LIVENESS_NS = 12 * SECOND_NS
"""After heal: ten election timeouts for everything open to end (I16)."""

ANY_LIFE = -1
"""Of a message that reaches its receiver even after a restart."""

RIVAL_READS_MAX = 60
"""Linearizable reads asked of leaders that have a rival."""

EVENTS_MAX = 400_000
"""A run longer than this goes round in circles."""


class Workload(Protocol):
    """Who uses the replicas."""

    def begin(self, world: "World") -> None:
        """The world is made; the first replicas are about to start."""

    def make_service(self, process: Process) -> Service:
        """The client side of a replica that starts."""

    def up(self, process: Process) -> None:
        """A replica takes part from now on."""

    def down(self, process: Process) -> None:
        """A replica's process is gone."""

    def reply(self, process: Process, connection: int, frames: list[bytes]) -> None:
        """A service answers a client."""

    def close(self, process: Process, connection: int) -> None:
        """A service closes a client's connection."""

    def probe(self, core: list[ReplicaId]) -> None:
        """Only the replicas ``core`` are healed: ask one of them for a write."""

    def is_probed(self) -> bool:
        """Whether that write is done."""

    def healed(self) -> None:
        """Faults are over: from now on all must end."""

    def what_is_open(self) -> str:
        """What has not ended yet, or nothing."""

    def end(self) -> None:
        """Everything has ended: what must hold of the whole run."""

    def counts(self) -> dict[str, int]:
        """What was done, for the report."""


class ReadCheck:
    """An open linearizable read of the core (rule-R19)."""

    __slots__ = ("floor", "life", "replica")

    def __init__(self, replica: ReplicaId, life: int, floor: Slot) -> None:
        self.replica = replica
        self.life = life
        self.floor = floor  # the highest slot any replica had applied when the read was asked


class Facts(Follower):
    """Tells the recording what was chosen."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def chosen(self, expected: Expected) -> None:
        """A slot of the chosen prefix."""
        self._recording.facts.append(f"chosen {expected.slot}")


class World:
    """Everything of one run."""

    def __init__(
        self,
        profile: Profile,
        workload: Workload,
        recording: Recording | None = None,
        make_nemesis: Callable[["World"], "Nemesis"] | None = None,
    ) -> None:
        self.profile = profile
        self.workload = workload
        self.recording = recording
        self.random = Random(profile.seed)
        self.now = BEGINNING_NS
        ids = tuple(range(1, profile.replicas + 1))
        self.ids = ids
        members = tuple(Member(i, f"replica{i}:2888", f"replica{i}:2181", 0, True) for i in ids)
        self.listed = Configuration(0, members, profile.window, "")
        self.oracle = Oracle(self.listed)
        self.network = Network(profile.seed, ids, profile.rates)
        self.counts: dict[str, int] = {}
        self.steps = 0
        self.is_healed = False
        self._make_nemesis = make_nemesis
        self.applied_max: Slot = 0
        self.slow: dict[ReplicaId, int] = {}  # disks that are slow, and how many times
        self.failing: list[ReplicaId] = []  # disks whose next sync fails
        self.kept_down: list[ReplicaId] = []  # not to be started while a mere majority shows that it gets on
        self._stalled: dict[ReplicaId, tuple[int, int]] = {}  # syncs that stand still: (life, position)
        self._late: dict[ReplicaId, tuple[int, int]] = {}  # syncs that returned while the process was paused
        self._reads: dict[int, ReadCheck] = {}
        self._reads_asked = 0
        self._rival_reads = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._events = 0
        self.replicas: dict[ReplicaId, Process] = {}
        for replica in ids:
            process = Process(
                replica,
                self.listed,
                self.random.getrandbits(63),
                profile.settings,
                self.oracle,
                self,
                recording is not None,
            )
            process.clock = self._new_clock()
            self.replicas[replica] = process
        if recording is not None:
            self.oracle.follow(Facts(recording))

    # Events

    def at(self, time: int, action: Callable[..., None], *arguments: Any) -> None:
        """Do ``action`` at virtual ``time``; what is due at one instant happens in the order it was asked for."""
        self._events += 1
        heapq.heappush(self._queue, (time, self._events, action, arguments))

    def after(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        """Do ``action`` after ``delay``."""
        self.at(self.now + delay, action, *arguments)

    def count(self, name: str, by: int = 1) -> None:
        """Count a fault or another event of the run."""
        self.counts[name] = self.counts.get(name, 0) + by

    def note(self, what: str) -> None:
        """Tell the recording."""
        if self.recording is not None:
            self.recording.mark(self.now, what)

    def _run_until(self, is_over: Callable[[], bool], end: int) -> bool:
        """Let events happen until ``is_over`` or ``end``; whether it was over."""
        queue = self._queue
        look_at = self.now
        while queue:
            time = queue[0][0]
            if time >= look_at:
                if is_over():
                    return True
                look_at = time + 20 * MILLISECOND_NS
            if time > end:
                self.now = end
                return is_over()
            _, _, action, arguments = heapq.heappop(queue)
            self.now = time
            action(*arguments)
            if self._events > EVENTS_MAX:
                raise Violation("I16", f"{EVENTS_MAX} events and no end: the replicas go round in circles")
        return is_over()

    def _never(self) -> bool:
        return False

    # The run

    def run(self) -> None:
        """Safety mode, then liveness mode. Raises Violation."""
        from multipaxos.sim import faults

        nemesis = faults.Nemesis(self) if self._make_nemesis is None else self._make_nemesis(self)
        self.workload.begin(self)
        for replica in self.ids:
            self.after(self.random.randrange(50 * MILLISECOND_NS), self.start, replica)
        nemesis.begin()
        for _ in range(self.profile.reads):
            self.after(self.random.randrange(self.profile.safety_ns), self._ask_read)
        self._run_until(self._never, self.now + self.profile.safety_ns)
        if self.profile.is_core_first:
            core = nemesis.heal_core()
            self.note(f"healed core {core}")
            self.workload.probe(core)
            for replica in core:
                self._ask_read_at(replica)
            if not self._run_until(lambda: self._is_core_alive(core), self.now + LIVENESS_NS):
                raise Violation("I16", f"the replicas {core} are healed, a majority, and do not get on")
        nemesis.heal()
        self.note("healed")
        self.is_healed = True
        self.workload.healed()
        for _ in range(3):
            self._ask_read()
        if not self._run_until(self._is_over, self.now + LIVENESS_NS):
            raise Violation(
                "I16", f"not ended {LIVENESS_NS // SECOND_NS} s after all was healed: {self._what_is_open()}"
            )
        self.workload.end()

    def _is_core_alive(self, core: list[ReplicaId]) -> bool:
        asked = [check for check in self._reads.values() if check.replica in core]
        return self.workload.is_probed() and not any(self._is_open(check) for check in asked)

    def _is_over(self) -> bool:
        return not self._what_is_open()

    def _what_is_open(self) -> str:
        for process in self.replicas.values():
            core = process.core
            if core is None or not process.is_ready:
                return f"replica {process.id} is down"
            if core.applied != self.oracle.prefix:
                return f"replica {process.id} has applied {core.applied} of {self.oracle.prefix} slots"
        if len(self.oracle.chosen) != self.oracle.prefix:
            return f"chosen beyond a gap after slot {self.oracle.prefix}"
        for token, check in self._reads.items():
            if self._is_open(check):
                return f"read {token} of replica {check.replica} is not answered"
        return self.workload.what_is_open()

    def _is_open(self, check: ReadCheck) -> bool:
        process = self.replicas[check.replica]
        return process.is_up and process.life == check.life

    # Processes

    def start(self, replica: ReplicaId) -> None:
        """Start a process, unless it runs."""
        process = self.replicas[replica]
        if process.is_up or replica in self.kept_down:
            return
        self.note(f"start {replica}")
        if process.disk.appended:
            self.count("restart")
        chunk = self.random.choice((1, 7, 1000))
        process.start(self.now, self.random.getrandbits(63), chunk)

    def crash(self, replica: ReplicaId, is_power_lost: bool) -> None:
        """End a process, or its machine."""
        process = self.replicas[replica]
        if not process.is_up and not is_power_lost:
            return
        disk = process.disk
        if disk.durable < disk.appended:
            self.oracle.count("a crash between a write and its sync")
        was_ready = process.is_ready
        process.stop()
        self._stalled.pop(replica, None)
        self._late.pop(replica, None)
        if is_power_lost:
            disk.crash_machine(self.random)
            process.clock = self._new_clock()
        else:
            disk.crash_process(self.random)
        self.workload.down(process)
        if 2 * sum(1 for other in self.replicas.values() if other.is_up) <= len(self.ids):
            self.oracle.count("a quorum is down")
        if was_ready and (not is_power_lost or self.random.random() < 0.3):
            for other in self.replicas.values():
                if other.id != replica and other.is_ready and self.network.is_open(replica, other.id):
                    delay = self.random.randrange(1, 20 * MILLISECOND_NS)
                    self.after(delay, self._peer_down, other, other.life, replica, not is_power_lost)

    def _peer_down(self, process: Process, life: int, peer: ReplicaId, is_refused: bool) -> None:
        if process.life == life and process.is_ready and not self.replicas[peer].is_ready:
            process.give(PeerDown(peer, is_refused))
            self.wake(process, self.now)

    def connect(self, replica: ReplicaId, peer: ReplicaId) -> None:
        """A connection is made anew: both ends hear of it, soon."""
        for one, other in ((replica, peer), (peer, replica)):
            process = self.replicas[one]
            if process.is_ready:
                self.after(self.random.randrange(1, 30 * MILLISECOND_NS), self._peer_up, process, process.life, other)

    def _peer_up(self, process: Process, life: int, peer: ReplicaId) -> None:
        if process.life == life and process.is_ready and self.replicas[peer].is_ready:
            process.give(PeerUp(peer))
            self.wake(process, self.now)

    def pause(self, replica: ReplicaId) -> None:
        """SIGSTOP."""
        self.replicas[replica].is_paused = True

    def resume(self, replica: ReplicaId) -> None:
        """SIGCONT: all that arrived meanwhile comes in one turn."""
        process = self.replicas[replica]
        if not process.is_paused:
            return
        process.is_paused = False
        late = self._late.pop(replica, None)
        if late is not None:
            self.at(self.now, self._sync_returned, process, *late)
        if process.is_ready:
            process.due = 0
            self.wake(process, self.now)

    def stall(self, replica: ReplicaId) -> None:
        """The disk stands still: no sync returns."""
        self.replicas[replica].disk.is_stalled = True

    def unstall(self, replica: ReplicaId) -> None:
        """The disk moves again."""
        process = self.replicas[replica]
        process.disk.is_stalled = False
        stalled = self._stalled.pop(replica, None)
        if stalled is not None:
            self.at(self.now, self._sync_returned, process, *stalled)

    def leader(self) -> ReplicaId:
        """The replica that leads at the highest ballot, 0 for none."""
        best = (-1, 0)
        leading: list[tuple[int, ReplicaId]] = []
        for process in self.replicas.values():
            core = process.core
            if core is not None and core.standing == "leader":
                leading.append((core.leader_ballot, process.id))
                best = max(best, leading[-1])
        if len(leading) > 1:
            self.oracle.count("two leaders at once")
            if self._rival_reads < RIVAL_READS_MAX:
                # Where a stale read would come from, if one could.
                self._rival_reads += 1
                self._ask_read_at(min(leading)[1])
        return best[1]

    def _new_clock(self) -> Clock:
        skew = self.profile.skew_ppm
        return Clock(
            zero=self.now,
            offset=self.random.randrange(1, 1_000_000 * SECOND_NS),
            rate_ppm=self.random.randrange(-skew, skew + 1) if skew else 0,
            wall_offset_ms=1_700_000_000_000 + self.random.randrange(-5_000, 5_000),
        )

    # Surroundings of the processes

    def send(self, process: Process, to: ReplicaId, payload: Payload) -> None:
        """Put a message on its link."""
        if to == process.id:
            process.arrive(payload)
            self.wake(process, self.now)
            return
        target = self.replicas.get(to)
        if target is None:
            return
        link = self.network.link(process.id, to)
        life = target.life
        if self.profile.outliving and link.random.random() < self.profile.outliving:
            life = ANY_LIFE
        if link.is_clogged:
            link.held.append((life, payload))
            return
        for time in self.network.arrivals(process.id, to, self.now):
            self.at(time, self._arrive, target, life, payload)

    def mend(self, sender: ReplicaId, to: ReplicaId) -> None:
        """End a cut or a clog; what was held arrives at once."""
        target = self.replicas[to]
        for life, payload in self.network.mend(sender, to):
            self.at(self.now + 1, self._arrive, target, life, payload)

    def _arrive(self, target: Process, life: int, payload: Payload) -> None:
        # A connection does not outlive the process it led to, but what waited in its sender's queue may come over the
        # next one. Nobody listens before the copy at start is synced.
        if life not in (ANY_LIFE, target.life) or not target.is_ready:
            return
        target.arrive(payload)
        if not target.is_paused:
            self.wake(target, self.now + self.random.randrange(self.profile.turn_ns))

    def wake(self, process: Process, at: int) -> None:
        """Give ``process`` a turn at ``at``, unless one comes earlier."""
        if process.due == 0 or at < process.due:
            process.due = at
            self.at(at, self._turn, process, process.life, at)

    def _turn(self, process: Process, life: int, due: int) -> None:
        if process.life != life or process.due != due or process.is_paused:
            return
        process.due = 0
        self.steps += 1
        process.turn(self.now, self.random.getrandbits(32))
        core = process.core
        if core is None:
            return
        if core.applied > self.applied_max:
            self.applied_max = core.applied
        if self.steps % 16 == 0:
            self.check(process)

    def check(self, process: Process) -> None:
        """The replica's own assertions, and a look for two leaders."""
        assert process.core is not None
        try:
            process.core.check()
        except AssertionError as error:
            raise Violation(str(error) or "check", f"replica {process.id} contradicts itself") from error
        self.leader()

    def sync(self, process: Process) -> None:
        """Begin a sync of all that is appended."""
        process.is_syncing = True
        profile = self.profile
        position = process.disk.flush()
        length = self.random.randrange(profile.sync_min_ns, profile.sync_max_ns + 1)
        length *= self.slow.get(process.id, 1)
        self.after(length, self._sync_returned, process, process.life, position)

    def _sync_returned(self, process: Process, life: int, position: int) -> None:
        if process.life != life:
            return
        if process.id in self.failing:
            # Never retried: the replica stops (rule-R37). What it wrote may exist in the page cache only.
            self.failing.remove(process.id)
            self.count("failed sync")
            self.note(f"failed sync {process.id}")
            self.crash(process.id, False)
            self.after(self.random.randrange(SECOND_NS), self.start, process.id)
            return
        if process.disk.is_stalled:
            self._stalled[process.id] = (life, position)
            return
        if process.is_paused:
            self._late[process.id] = (life, position)
            return
        process.synced(position)
        if process.is_ready:
            process.release()
            return
        process.begin(self.now, self.random.getrandbits(32))
        self.note(f"up {process.id}")
        for other in self.ids:
            if other != process.id and self.network.is_open(process.id, other):
                self.connect(process.id, other)
        self.workload.up(process)

    def reply(self, process: Process, connection: int, frames: list[bytes]) -> None:
        """A service answers a client."""
        self.workload.reply(process, connection, frames)

    def close(self, process: Process, connection: int) -> None:
        """A service closes a client's connection."""
        self.workload.close(process, connection)

    def make_service(self, process: Process) -> Service:
        """The client side of a replica that starts."""
        return self.workload.make_service(process)

    def told(self, process: Process, now: int, inputs: list[Input], effects: Effects) -> None:
        """A step is over: record it; a replica that stops or accuses another without cause is wrong."""
        if effects.stop:
            raise Violation("rule-R8", f"replica {process.id} stops: {effects.stop}")
        if effects.malformed:
            raise Violation("rule-R1", f"replica {process.id} takes messages of {effects.malformed} for malformed")
        if self.recording is not None:
            self.recording.step(now, process.id, inputs, effects, self._state(process))

    def _state(self, process: Process) -> dict[str, Json]:
        core = process.core
        if core is None or self.recording is None or not self.recording.is_kept:
            return {}
        return {
            "standing": core.standing,
            "promised": plain(core.promised, "promised"),
            "leader": core.leader,
            "chosen_prefix": core.chosen_prefix,
            "applied": core.applied,
            "epoch": core.epoch,
            "durable": process.disk.durable,
        }

    # Linearizable reads of the core

    def _ask_read(self) -> None:
        ready = [process.id for process in self.replicas.values() if process.is_ready and not process.is_paused]
        if ready:
            self._ask_read_at(self.random.choice(ready))

    def _ask_read_at(self, replica: ReplicaId) -> None:
        process = self.replicas[replica]
        if not process.is_ready:
            return
        self._reads_asked += 1
        self._reads[self._reads_asked] = ReadCheck(replica, process.life, self.applied_max)
        process.give(Read(self._reads_asked))
        self.wake(process, self.now)

    def readable(self, process: Process, token: int) -> None:
        """A read may be answered: it must see all that anybody had applied when it was asked (rule-R19)."""
        check = self._reads.pop(token, None)
        assert process.core is not None
        if check is None or check.replica != process.id or check.life != process.life:
            raise Violation("rule-R19", f"replica {process.id} answers read {token}, which nobody waits for")
        if process.core.applied < check.floor:
            raise Violation(
                "rule-R19",
                f"replica {process.id} answers a linearizable read at slot {process.core.applied}; "
                f"slot {check.floor} was applied somewhere before it was asked",
            )
        self.count("linearizable read")
