"""The world of one seed: replicas, virtual time, one source of chance, an event queue.

A run has two parts. In *safety mode* faults strike (``faults.py``) while clients work (``workload.py``, ``clients.py``);
the oracle (``checkers.py``) watches every step. Then everything is healed, or first a mere majority, and in *liveness
mode* all that is open must end within a bound and all replicas must come to hold the same (I16). A replica that had to
stop by name, because its disk was damaged or its directory emptied, is not asked for anything any more.

Each replica keeps its directory with the shipped journal and recovery, on simulated blocks (``directory.py``). What its
journal's thread does is done here, when virtual time says that it is done: a flush when its sync returns, a start when
its copy is synced. Between begin and end a crash may strike, and the disk may hang.

Nothing here depends on the machine it runs on: time is an integer, chance comes from ``random.Random(seed)`` alone, and
no set is iterated. A seed is therefore a name for a run.
"""

import heapq
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from multipaxos.core.ballot import ReplicaId, Slot
from multipaxos.core.effects import Effects
from multipaxos.core.inputs import Input, PeerDown, PeerUp, Read, Wall
from multipaxos.core.membership import Configuration, Member
from multipaxos.sim.checkers import Expected, Follower, Oracle, Violation
from multipaxos.sim.directory import IDLE_NS, REFUSALS, Directory, Refusal
from multipaxos.sim.network import MILLISECOND_NS, Network
from multipaxos.sim.process import Clock, Payload, Process, Service
from multipaxos.sim.recording import Recording
from multipaxos.sim.swarm import SECOND_NS, Profile
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.trace import Json, plain
from multipaxos.wire.handshake import PROTOCOL_VERSION, Hello, admit

if TYPE_CHECKING:
    from multipaxos.sim.faults import Nemesis

BEGINNING_NS = 10 * SECOND_NS
LIVENESS_NS = 12 * SECOND_NS
"""After heal: ten election timeouts for everything open to end (I16)."""

FULL_RETRY_NS = SECOND_NS
"""So often a flush that found the disk full is tried again (``host/journal_thread.py``), and a start."""

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
        self._turn_ns = profile.turn_ns
        self.safe_until = BEGINNING_NS + profile.safety_ns  # faults strike until then
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
        self.kept_down: list[ReplicaId] = []  # not to be started while a mere majority shows that it gets on
        self.refused: dict[ReplicaId, str] = {}  # stopped for good, each with its reason
        self.sluggish: dict[ReplicaId, int] = {}  # replicas whose turns come late, and by how much
        self.interrupted: dict[ReplicaId, int] = {}  # to be paused inside their next step, and for how long
        self.emptied: list[ReplicaId] = []  # registered with a directory that is gone
        self._refusals: dict[ReplicaId, list[ReplicaId]] = {}  # of an emptied one: who refused it
        self._starting: list[ReplicaId] = []  # recovering: what they read is not vouched for yet
        self._stalled: list[ReplicaId] = []  # disks of which no call returns
        self._held: dict[ReplicaId, Callable[[], None]] = {}  # what goes on when the disk does, or the process
        self._quiet_due: list[ReplicaId] = []  # whose journal will look whether it is quiet
        self._flushed_at: dict[ReplicaId, int] = {}
        self._reads: dict[int, ReadCheck] = {}
        self._reads_asked = 0
        self._rival_reads = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._events = 0
        self.replicas: dict[ReplicaId, Process] = {}
        self.directories: dict[ReplicaId, Directory] = {}
        for replica in ids:
            mark = self.random.getrandbits(63)
            directory = Directory(replica, mark, profile.segment_bytes)
            self.directories[replica] = directory
            process = Process(
                replica, self.listed, mark, profile.settings, self.oracle, self, recording is not None, directory
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
        if self.profile.skew_ppm:
            self.count("clock drift")
        for _ in range(self.profile.reads):
            self.after(self.random.randrange(self.profile.safety_ns), self._ask_read)
        self._run_until(self._never, self.now + self.profile.safety_ns)
        if self.profile.is_core_first and self.oracle.prefix:
            # A cluster that is not born yet waits for every first voter (rule-R40): nothing is asked of a majority.
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
        for replica in sorted(self.refused):
            del self.replicas[replica]  # those that take part are held to what the run must end with
        self.workload.end()

    def _is_core_alive(self, core: list[ReplicaId]) -> bool:
        asked = [check for check in self._reads.values() if check.replica in core]
        return self.workload.is_probed() and not any(self._is_open(check) for check in asked)

    def _is_over(self) -> bool:
        return not self._what_is_open()

    def _what_is_open(self) -> str:
        for process in self.replicas.values():
            if process.id in self.refused:
                continue
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
        """Start a process, unless it runs or must not. It recovers, copies and syncs before it speaks (rule-R37)."""
        process = self.replicas[replica]
        if process.is_up or replica in self._starting or replica in self.kept_down or replica in self.refused:
            return
        self.note(f"start {replica}")
        if process.disk.appended:
            self.count("restart")
        self._starting.append(replica)
        self.after(self._sync_ns(replica), self._recovered, process, process.life)

    def _recovered(self, process: Process, life: int) -> None:
        """A start has read the journal, and its copy is synced."""
        if process.life != life or self._is_held(process, lambda: self._recovered(process, life)):
            return
        replica = process.id
        self._starting.remove(replica)
        directory = self.directories[replica]
        try:
            process.recover(self.now, self.random.getrandbits(63), self.random.choice((1, 7, 1000)))
        except REFUSALS as refusal:
            self._refuse(process, directory, refusal)
            return
        self._flushed_at[replica] = self.now
        process.synced(directory.appended)
        process.begin(self.now, self.random.getrandbits(32))
        self.note(f"up {replica}")
        for other in self.ids:
            if other != replica and self.network.is_open(replica, other):
                self.connect(replica, other)
        self.workload.up(process)

    def _refuse(self, process: Process, directory: Directory, refusal: Refusal) -> None:
        """A start ends by name. That is right after damage, and while the disk is full; never otherwise."""
        if directory.has_failed:
            self._failed(process)
            return
        if directory.blocks.space is not None and not isinstance(refusal, JournalDamaged):
            self.count("start on a full disk")
            directory.crash_process(self.random)
            self.after(FULL_RETRY_NS, self.start, process.id)
            return
        if not directory.may_refuse(refusal):
            done = ", ".join(directory.damage) or "nothing"
            raise Violation("rule-R34", f"replica {process.id} refuses to start; damaged was {done}: {refusal}")
        self.note(f"refused {process.id}")
        self.count("stopped with a reason")
        self.refused[process.id] = str(refusal)

    def crash(self, replica: ReplicaId, is_power_lost: bool) -> None:
        """End a process, or its machine."""
        process = self.replicas[replica]
        is_starting = replica in self._starting
        if not process.is_up and not is_starting and not is_power_lost:
            return
        directory = self.directories[replica]
        if directory.durable < directory.appended:
            self.oracle.count("a crash between a write and its sync")
        was_ready = process.is_ready
        process.stop()
        self._held.pop(replica, None)
        if is_starting:
            self._starting.remove(replica)
            self.count("crash in a start")
        if is_power_lost:
            if directory.crash_machine(self.random, is_starting):
                self.count("torn write")
                self.note(f"torn write at {replica}")
            process.clock = self._new_clock()
        else:
            directory.crash_process(self.random, is_starting)
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
        other = self.replicas[peer]
        if process.life != life or not process.is_ready or not other.is_ready:
            return
        if process.id in self.emptied or peer in self.emptied:
            self._shake_hands(process, other)
            return
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
        self._go_on(replica)
        if process.is_inside_step:
            process.go_on(self.now)
            self._turned(process)
        if process.is_ready:
            process.due = 0
            self.wake(process, self.now)

    def stall(self, replica: ReplicaId) -> None:
        """The disk stands still: no call of it returns."""
        if replica not in self._stalled:
            self._stalled.append(replica)

    def unstall(self, replica: ReplicaId) -> None:
        """The disk moves again."""
        if replica in self._stalled:
            self._stalled.remove(replica)
            self._go_on(replica)

    def _is_held(self, process: Process, action: Callable[[], None]) -> bool:
        """Whether what the journal's thread was about to do must wait, for the disk or for the process."""
        if process.id not in self._stalled and not process.is_paused:
            return False
        self._held[process.id] = action
        return True

    def _go_on(self, replica: ReplicaId) -> None:
        held = self._held.pop(replica, None)
        if held is not None:
            self.at(self.now, held)

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
        if self.emptied and (process.id in self.emptied or to in self.emptied):
            self._shake_hands(process, target)
            return
        link = self.network.link(process.id, to)
        life = target.life
        outliving = self.profile.outliving
        if outliving and link.random.random() < outliving:
            life = ANY_LIFE
        if link.is_clogged:
            link.held.append((life, payload))
            return
        for time in self.network.arrivals_on(link, self.now):
            self.at(time, self._arrive, target, life, payload)

    def _shake_hands(self, process: Process, target: Process) -> None:
        """Between an emptied directory and a peer nothing passes but the peer's refusal (``wire/handshake.py``). When a
        quorum refuses it, it ends with their reason, as in ``host/driver.py``."""
        stranger, peer = (process, target) if process.id in self.emptied else (target, process)
        core, peers = stranger.core, self._refusals.setdefault(stranger.id, [])
        if stranger.id in self.refused:
            return
        if core is None or not stranger.is_ready or peer.core is None or not peer.is_ready or peer.id in self.emptied:
            return
        if not self.network.is_open(stranger.id, peer.id) or not self.network.is_open(peer.id, stranger.id):
            return
        if not peer.core.membership.is_born:
            return  # it does not know the marks yet: that these two could talk is left to scenarios (``wiped-at-birth``)
        member = peer.core.membership.newest().member(stranger.id)
        reason = admit(_hello(peer), _hello(stranger), None if member is None else member.mark)
        if not reason:
            raise Violation(
                "rule-R40", f"replica {peer.id} talks to replica {stranger.id}, whose directory was emptied"
            )
        if peer.id not in peers:
            peers.append(peer.id)
        if core.membership.newest().quorum.is_accept_quorum(peers):
            self.note(f"refused {stranger.id}")
            self.count("stopped with a reason")
            self.refused[stranger.id] = reason
            self.at(self.now, self.crash, stranger.id, False)

    def empty(self, replica: ReplicaId) -> None:
        """A machine comes back with an empty directory under its registered id (rule-R40, bug-C14)."""
        self.crash(replica, True)
        process = self.replicas[replica]
        process.mark = self.random.getrandbits(63)
        directory = Directory(replica, process.mark, self.profile.segment_bytes)
        self.directories[replica] = process.disk = directory
        self.emptied.append(replica)
        process.oracle = Oracle(self.listed)  # it knows nothing, and nothing it says may count

    def jump(self, replica: ReplicaId, boot_ns: int, wall_ms: int) -> None:
        """The clocks of a machine jump."""
        process = self.replicas[replica]
        process.clock.offset += boot_ns
        process.clock.wall_offset_ms += wall_ms
        if process.is_ready:
            process.give(Wall(process.clock.wall_offset_ms))
            self.wake(process, self.now)

    def mend(self, sender: ReplicaId, to: ReplicaId) -> None:
        """End a cut or a clog; what was held arrives at once."""
        target = self.replicas[to]
        for life, payload in self.network.mend(sender, to):
            self.at(self.now + 1, self._arrive, target, life, payload)

    def _arrive(self, target: Process, life: int, payload: Payload) -> None:
        # A connection does not outlive the process it led to, but what waited in its sender's queue may come over the
        # next one. Nobody listens before the copy at start is synced.
        if (life != target.life and life != ANY_LIFE) or not target.is_ready or target.id in self.emptied:
            return
        target.arrive(payload)
        if not target.is_paused:
            self.wake(target, self.now + int(self.random.random() * self._turn_ns))

    def wake(self, process: Process, at: int) -> None:
        """Give ``process`` a turn at ``at``, unless one comes earlier."""
        if self.sluggish:
            at = max(at, self.now + self.sluggish.get(process.id, 0))
        if process.due == 0 or at < process.due:
            process.due = at
            if not process.timer_at or at < process.timer_at:
                process.later_at = process.timer_at
                process.timer_at = at
                self.at(at, self._turn, process, process.life, at)

    def _turn(self, process: Process, life: int, at: int) -> None:
        if process.life != life:
            return
        if process.timer_at == at:
            # Most turns leave a timer behind that an arrival comes before: it is used again, not set anew each time.
            process.timer_at = process.later_at
            process.later_at = 0
        elif process.later_at == at:
            process.later_at = 0
        due = process.due
        if due == 0 or process.is_paused:
            return
        if due > at:
            if not process.timer_at or due < process.timer_at:
                process.later_at = process.timer_at
                process.timer_at = due
                self.at(due, self._turn, process, life, due)
            return
        process.due = 0
        self.steps += 1
        if self.interrupted and process.id in self.interrupted:
            # It has decided by what it knew, and stands still before, or while, that is carried out.
            self.after(self.interrupted.pop(process.id), self.resume, process.id)
            effects = process.step(self.now, self.random.getrandbits(32))
            process.interrupt(effects, self.random.random() < 0.5)
            process.is_paused = True
            self.count("pause inside a step")
            return
        process.turn(self.now, self.random.getrandbits(32))
        self._turned(process)

    def _turned(self, process: Process) -> None:
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

    # Disks

    def _sync_ns(self, replica: ReplicaId) -> int:
        profile = self.profile
        length = self.random.randrange(profile.sync_min_ns, profile.sync_max_ns + 1)
        return length * self.slow.get(replica, 1)

    def sync(self, process: Process) -> None:
        """Begin a sync of all that is appended."""
        process.is_syncing = True
        self.after(self._sync_ns(process.id), self._sync_returned, process, process.life, process.disk.flush())

    def _sync_returned(self, process: Process, life: int, position: int) -> None:
        if process.life != life or self._is_held(process, lambda: self._sync_returned(process, life, position)):
            return
        directory = self.directories[process.id]
        try:
            process.synced(position)
            self._flushed_at[process.id] = self.now
            process.release()
            directory.prepare()
        except JournalFull:
            # Nothing of it was written, and nothing is answered for (rule-R38).
            self.count("flush on a full disk")
            self.after(FULL_RETRY_NS, self._try_flush_again, process, life)
        except JournalFailed:
            self._failed(process)
        else:
            self._look_when_quiet(process)

    def _try_flush_again(self, process: Process, life: int) -> None:
        if process.life == life:
            self._sync_returned(process, life, process.disk.flush())

    def _failed(self, process: Process) -> None:
        """Never retried: the replica stops (rule-R37). What it wrote may exist in the page cache only."""
        self.count("failed sync")
        self.note(f"failed sync {process.id}")
        directory = self.directories[process.id]
        if process.is_up:
            self.crash(process.id, False)
        else:
            directory.crash_process(self.random)
        self.after(self.random.randrange(SECOND_NS), self.start, process.id)

    def _look_when_quiet(self, process: Process) -> None:
        if process.id not in self._quiet_due:
            self._quiet_due.append(process.id)
            self.after(IDLE_NS, self._quiet, process)

    def _quiet(self, process: Process) -> None:
        """The journal's thread has nothing to flush, perhaps for long enough to see to its lone seal and next segment."""
        replica = process.id
        self._quiet_due.remove(replica)
        if not process.is_ready or process.is_syncing or process.is_paused or replica in self._stalled:
            return
        again_ns = IDLE_NS - (self.now - self._flushed_at[replica])
        if again_ns <= 0:
            try:
                again_ns = self.directories[replica].idle()
            except JournalFailed:
                self._failed(process)
                return
        if again_ns > 0:
            self._quiet_due.append(replica)
            self.after(again_ns, self._quiet, process)

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


def _hello(process: Process) -> Hello:
    """How a replica introduces itself (``host/process.py``)."""
    core = process.core
    assert core is not None
    cluster = core.membership.newest().cluster
    return Hello(PROTOCOL_VERSION, cluster, process.listed.digest(), process.id, process.mark, process.incarnation, 0)
