"""A small world in which nothing happens by itself: each message, timer and sync is called for.

Transcripts (``transcript.py``), paper tests and the scripted schedules of the mutants play here. The processes, the disk
and the oracle are those of the random world (``process.py``, ``disk.py``, ``checkers.py``); only chance is gone. What a
replica sends lies in ``flight`` until it is delivered, dropped or copied, also what it sends to itself.
"""

from collections.abc import Callable
from random import Random

from multipaxos.core.ballot import ReplicaId, Slot
from multipaxos.core.effects import Applied, Effects
from multipaxos.core.inputs import Handover, Input, PeerDown, PeerUp, Read, Submit
from multipaxos.core.membership import WINDOW_DEFAULT, Configuration, Member
from multipaxos.core.messages import Accept, Message, Promise
from multipaxos.core.records import Record
from multipaxos.core.replica import Replica
from multipaxos.core.settings import Settings
from multipaxos.sim.checkers import Oracle, Violation
from multipaxos.sim.process import Payload, PlainMachine, Process, Service
from multipaxos.trace import effect_lines, input_text, note_line
from multipaxos.wire.report import Report, ReportAck

BEGINNING_NS = 1_000_000_000

SOON_DRAWN = 22878
LATE_DRAWN = 11931
"""Drawn numbers of which the core makes the shortest and the longest waits it knows."""
STEPS_MAX = 20_000


def led(count: int = 3, leader: ReplicaId = 1, favoured: ReplicaId = 2, settings: Settings | None = None) -> "Stage":
    """A stage with a leader whose epoch decree everybody has applied; ``favoured`` is the next to suspect it."""
    stage = Stage(count, settings)
    stage.favoured = leader
    stage.start()
    stage.elect(leader)
    stage.favoured = favoured
    stage.live(200_000_000)
    return stage


def plain_list(count: int, window: int = WINDOW_DEFAULT) -> Configuration:
    """A static list of ``count`` voters, not yet born."""
    members = tuple(Member(i, f"replica{i}:2888", f"replica{i}:2181", 0, True) for i in range(1, count + 1))
    return Configuration(0, members, window, "")


class Flying:
    """A message that was sent and not delivered yet."""

    __slots__ = ("payload", "sender", "to", "to_life")

    def __init__(self, sender: ReplicaId, to: ReplicaId, payload: Payload, to_life: int) -> None:
        self.sender = sender
        self.to = to
        self.payload = payload
        self.to_life = to_life  # a connection does not outlive the process it led to

    @property
    def kind(self) -> str:
        """The name of the message's type."""
        return type(self.payload).__name__

    @property
    def slot(self) -> Slot:
        """The slot it speaks of, 0 for none."""
        return int(getattr(self.payload, "slot", 0))


class Stopped(Exception):
    """A core said that its replica must not go on; nothing of that step leaves."""


class StageOracle(Oracle):
    """An oracle that can be told of an emptied directory, while there is no cluster yet that has registered it."""

    __slots__ = ("_emptied",)

    def __init__(self, listed: Configuration) -> None:
        super().__init__(listed)
        self._emptied: list[ReplicaId] = []

    def emptied(self, replica: ReplicaId) -> None:
        """``replica`` starts anew: nothing it said binds the new directory. The votes of the old one stay cast."""
        self._emptied.append(replica)
        for kept in (self._asserted, self._durable_promise, self._incarnations, self._applied, self._learned_prefix):
            kept.pop(replica, None)

    def propose(self, accept: Accept) -> None:
        """Somebody else's oracle hands on a proposal."""
        self._propose(accept.ballot, accept.slot, accept.decree)

    def _check_promise(self, sender: ReplicaId, page: Promise) -> None:
        if sender not in self._emptied:  # who knows of no vote can report none
            super()._check_promise(sender, page)


class Unheard(Oracle):
    """Of a replica whose directory is not the registered one: what it says is judged by what others make of it.

    Its votes count for nobody. What it proposes others may vote for, so that must be safe like any other proposal."""

    __slots__ = ("_main",)

    def __init__(self, listed: Configuration, main: StageOracle) -> None:
        super().__init__(listed)
        self._main = main

    def started(self, replica: ReplicaId, incarnation: int) -> None:
        """A new directory counts its starts anew."""

    def submitted(self, replica: ReplicaId, start: int, first_serial: int, commands: tuple[bytes, ...]) -> None:
        """The ledger may come to hold them."""
        self._main.submitted(replica, start, first_serial, commands)

    def appended(self, replica: ReplicaId, record: Record) -> None:
        """It has no vote."""

    def durable(self, replica: ReplicaId, record: Record) -> None:
        """It has no vote."""

    def released(self, sender: ReplicaId, message: Message) -> None:
        """Of what it sends only proposals matter."""
        if isinstance(message, Accept):
            self._main.propose(message)

    def received(self, to: ReplicaId, message: Message) -> None:
        """The promises its proposals stand on."""
        self._main.received(to, message)

    def applied(self, replica: ReplicaId, start: int, applied: Applied) -> None:
        """Nobody sees its state."""

    def stepped(self, replica: ReplicaId, promised: int, chosen_prefix: Slot, applied: Slot) -> None:
        """It has forgotten what it stood at."""


class Stage:
    """Replicas 1..count, their disks, and what flies between them."""

    def __init__(
        self,
        count: int,
        settings: Settings | None = None,
        window: int = WINDOW_DEFAULT,
        make_machine: Callable[[], Service] = PlainMachine,
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self.listed = plain_list(count, window)
        self.oracle = StageOracle(self.listed)
        self.now = BEGINNING_NS
        self.flight: list[Flying] = []
        self.held: list[Flying] = []  # under way, and for longer than anything else
        self.sent: dict[str, int] = {}  # messages to peers by type, lost ones included
        self.lost = 0  # sent over a cut link
        self.lines: list[str] | None = None  # where steps are told; None while nobody listens
        self.slow_disks: set[ReplicaId] = set()  # whose syncs return on command only
        self.answered: list[tuple[ReplicaId, int]] = []  # (replica, token) of reads
        self.stopped: dict[ReplicaId, str] = {}  # whose core stopped it, and why
        self._read_floors: dict[int, Slot] = {}
        self._make_machine = make_machine
        self._syncing: dict[ReplicaId, int] = {}
        self._cuts: set[tuple[ReplicaId, ReplicaId]] = set()
        self._starts = 0
        self.favoured: ReplicaId = 1  # waits shortest wherever a wait is drawn: the next to suspect its leader
        self.chance: Random | None = None  # draws instead, where a schedule must not hang on who is favoured
        self.replicas = {i: self._new_process(i, 1000 + i, self.oracle) for i in range(1, count + 1)}

    def _new_process(self, replica: ReplicaId, mark: int, oracle: Oracle) -> Process:
        return Process(replica, self.listed, mark, self.settings, oracle, self, True)

    # Surroundings of the processes

    def send(self, process: Process, to: ReplicaId, payload: Payload) -> None:
        """Put a message in flight, unless its link is cut or nobody is there."""
        if to != process.id:
            kind = type(payload).__name__
            self.sent[kind] = self.sent.get(kind, 0) + 1
        target = self.replicas.get(to)
        if target is None or not target.is_up or (process.id, to) in self._cuts:
            self.lost += 1
            return
        self.flight.append(Flying(process.id, to, payload, target.life))

    def wake(self, process: Process, at: int) -> None:
        """Note when the process wants its next turn."""
        if process.due == 0 or at < process.due:
            process.due = at

    def sync(self, process: Process) -> None:
        """Sync at once, or when ``synced`` is called for a slow disk."""
        process.is_syncing = True
        self._syncing[process.id] = process.disk.flush()
        if process.id not in self.slow_disks:
            self.synced(process.id)

    def reply(self, process: Process, connection: int, frames: list[bytes]) -> None:
        """No client is connected on a stage."""

    def close(self, process: Process, connection: int) -> None:
        """No client is connected on a stage."""

    def readable(self, process: Process, token: int) -> None:
        """Remember that a read was answered. It must see all that anybody had applied when it was asked (rule-R19)."""
        assert process.core is not None
        floor = self._read_floors[token]
        if process.core.applied < floor:
            raise Violation(
                "rule-R19",
                f"replica {process.id} answers a linearizable read at slot {process.core.applied}; slot {floor} was "
                "applied somewhere before it was asked",
            )
        self.answered.append((process.id, token))

    def make_service(self, process: Process) -> Service:
        """A machine for a process that starts."""
        return self._make_machine()

    def told(self, process: Process, now: int, inputs: list[Input], effects: Effects) -> None:
        """Tell the step, if somebody listens. A core that stops its replica stops it here, as in ``host/driver.py``."""
        if self.lines is not None:
            self._tell(process, inputs, effects)
        if effects.stop:
            raise Stopped(effects.stop)

    def _tell(self, process: Process, inputs: list[Input], effects: Effects) -> None:
        assert self.lines is not None
        if not inputs:
            self.lines.append(f"{process.id} wakes")
        for given in inputs:
            sender = getattr(given, "sender", None)
            arrow = f"{process.id} <- {sender} " if sender is not None else f"{process.id} "
            self.lines.append(arrow + input_text(given))
        self.lines += ["  * " + note_line(note) for note in effects.notes]
        self.lines += ["  " + line for line in effect_lines(process.id, effects)]

    # Life and death

    def start(self, *replicas: ReplicaId) -> None:
        """Start processes; connections among all that are up are made."""
        for replica in replicas or tuple(self.replicas):
            process = self.replicas[replica]
            self._starts += 1
            process.start(self.now, 7000 + self._starts, chunk=1000)
            if not process.is_up:
                continue  # its core found that it must not run
            for other in self.replicas.values():
                if other.is_up and other.id != replica:
                    other.give(PeerUp(replica))
                    process.give(PeerUp(other.id))
        for process in list(self.replicas.values()):
            self._turn_if_free(process)

    def crash(self, replica: ReplicaId, is_power_lost: bool = False, is_noticed: bool = True) -> None:
        """End a process, or its machine. Its peers notice, unless told otherwise."""
        process = self.replicas[replica]
        process.stop()
        self._syncing.pop(replica, None)
        if is_power_lost:
            process.disk.crash_machine(_Never())
        else:
            process.disk.crash_process(_Never())
        self.flight = [flying for flying in self.flight if flying.to != replica]
        if is_noticed:
            for other in self.replicas.values():
                if other.is_ready:
                    other.give(PeerDown(replica, not is_power_lost))
                    self._turn_if_free(other)

    def empty(self, replica: ReplicaId) -> None:
        """The data directory of a replica that is down is gone: it starts with an empty one, under another mark.

        Nobody is refused here by a handshake, as a peer with the wrong mark would be (``wire/handshake.py``)."""
        process = self.replicas[replica]
        assert not process.is_up
        oracle: Oracle = self.oracle
        if self.oracle.prefix == 0:
            self.oracle.emptied(replica)
        else:
            oracle = Unheard(self.listed, self.oracle)
        self.replicas[replica] = self._new_process(replica, process.mark + 1000, oracle)
        self.replicas[replica].life = process.life

    def pause(self, replica: ReplicaId) -> None:
        """SIGSTOP: what arrives waits, and no timer fires."""
        self.replicas[replica].is_paused = True

    def resume(self, replica: ReplicaId) -> None:
        """SIGCONT: all that arrived meanwhile comes in one turn."""
        process = self.replicas[replica]
        process.is_paused = False
        self._turn_if_free(process)

    def reconnect(self, one: ReplicaId, other: ReplicaId) -> None:
        """The connection between two replicas broke and is made anew; what was under way on it is lost."""
        self.flight = [flying for flying in self.flight if {flying.sender, flying.to} != {one, other}]
        for replica, peer in ((one, other), (other, one)):
            self.replicas[replica].give(PeerUp(peer))
            self._turn_if_free(self.replicas[replica])

    def cut(self, sender: ReplicaId, to: ReplicaId) -> None:
        """Lose what ``sender`` sends to ``to`` from now on."""
        self._cuts.add((sender, to))

    def cut_off(self, replica: ReplicaId) -> None:
        """Cut all links of ``replica``, in both directions."""
        for other in self.replicas:
            if other != replica:
                self.cut(replica, other)
                self.cut(other, replica)

    def heal(self) -> None:
        """End all cuts."""
        self._cuts.clear()

    # Steps

    def tick(self, replica: ReplicaId) -> Effects:
        """Let time pass until ``replica`` wants a turn, and give it one."""
        process = self.replicas[replica]
        self.now = max(self.now, process.due)
        return self._turn(process)

    def wait(self, nanoseconds: int) -> None:
        """Let time pass; nobody gets a turn."""
        self.now += nanoseconds

    def advance(self, nanoseconds: int) -> None:
        """Let time pass; every timer that falls due fires, nothing is delivered."""
        until = self.now + nanoseconds
        for _ in range(STEPS_MAX):
            due = [p for p in self.replicas.values() if p.is_ready and not p.is_paused and 0 < p.due <= until]
            if not due:
                break
            process = min(due, key=lambda p: (p.due, p.id))
            self.now = max(self.now, process.due)
            self._turn(process)
        self.now = until

    def live(self, nanoseconds: int) -> None:
        """Let time pass as on a perfect network: all is delivered at once, timers fire when due."""
        until = self.now + nanoseconds
        for _ in range(STEPS_MAX):
            self.settle()
            due = [p for p in self.replicas.values() if p.is_ready and not p.is_paused and 0 < p.due <= until]
            if not due:
                break
            process = min(due, key=lambda p: (p.due, p.id))
            self.now = max(self.now, process.due)
            self._turn(process)
        self.now = until

    def submit(self, replica: ReplicaId, *commands: str) -> Effects:
        """Commands of the clients of ``replica``, in one turn."""
        return self.propose(replica, *[command.encode() for command in commands])

    def propose(self, replica: ReplicaId, *commands: bytes) -> Effects:
        """The same, as bytes."""
        process = self.replicas[replica]
        process.give(Submit(commands))
        return self._turn(process)

    def read(self, replica: ReplicaId, token: int) -> Effects:
        """A linearizable read at ``replica``."""
        process = self.replicas[replica]
        self._read_floors[token] = max(other.core.applied for other in self.replicas.values() if other.core is not None)
        process.give(Read(token))
        return self._turn(process)

    def handover(self, replica: ReplicaId, target: ReplicaId) -> Effects:
        """Ask the leader ``replica`` to hand over."""
        process = self.replicas[replica]
        process.give(Handover(target))
        return self._turn(process)

    def synced(self, replica: ReplicaId) -> None:
        """The sync under way at ``replica`` returns, and what waited for it leaves."""
        process = self.replicas[replica]
        position = self._syncing.pop(replica)
        process.synced(position)
        if process.is_ready:
            process.release()
        else:
            try:
                process.begin(self.now, self._drawn(process))
            except Stopped as stopped:
                self._stop(process, str(stopped))

    def find(
        self, kind: str = "", sender: ReplicaId = 0, to: ReplicaId = 0, slot: Slot = 0, count: int = 0
    ) -> list[Flying]:
        """What flies and fits, oldest first; of that the oldest ``count``, where it is given."""
        found = [
            flying
            for flying in self.flight
            if (not kind or flying.kind == kind)
            and (not sender or flying.sender == sender)
            and (not to or flying.to == to)
            and (not slot or flying.slot == slot)
        ]
        return found[:count] if count else found

    def deliver(
        self,
        to: ReplicaId = 0,
        kind: str = "",
        sender: ReplicaId = 0,
        slot: Slot = 0,
        is_kept: bool = False,
        count: int = 0,
    ) -> int:
        """Deliver what flies and fits, each in a step of its own; ``is_kept`` leaves a copy in flight.

        Messages sent meanwhile are not delivered. Returns how many were."""
        found = self.find(kind, sender, to, slot, count)
        for flying in found:
            if flying not in self.flight:
                continue
            if not is_kept:
                self.flight.remove(flying)
            self._deliver(flying)
        return len(found)

    def drop(self, to: ReplicaId = 0, kind: str = "", sender: ReplicaId = 0, slot: Slot = 0, count: int = 0) -> int:
        """Lose what flies and fits. Returns how many messages."""
        found = self.find(kind, sender, to, slot, count)
        self.flight = [flying for flying in self.flight if flying not in found]
        return len(found)

    def hold(self, to: ReplicaId = 0, kind: str = "", sender: ReplicaId = 0, slot: Slot = 0, count: int = 0) -> int:
        """Take what flies and fits out of the air, until it is let go. Returns how many messages."""
        found = self.find(kind, sender, to, slot, count)
        self.flight = [flying for flying in self.flight if flying not in found]
        self.held += found
        return len(found)

    def let_go(self) -> None:
        """What was held flies again, behind all that flies by now."""
        self.flight += self.held
        self.held = []

    def settle(self) -> None:
        """Deliver everything, and what is sent meanwhile, until nothing flies."""
        for _ in range(STEPS_MAX):
            if not self.flight:
                return
            self._deliver(self.flight.pop(0))
        raise AssertionError("the replicas never fall silent")

    def elect(self, replica: ReplicaId) -> None:
        """Let only ``replica`` have time until it leads and its epoch decree is applied; all is delivered."""
        for _ in range(200):
            self.settle()
            if self.core(replica).is_leading:
                return
            self.tick(replica)
        raise AssertionError(f"replica {replica} does not get to lead")

    def core(self, replica: ReplicaId) -> Replica:
        """The core of a replica that is up."""
        found = self.replicas[replica].core
        assert found is not None
        return found

    def executed(self, replica: ReplicaId) -> list[str]:
        """The commands ``replica`` has executed, in order."""
        machine = self.replicas[replica].service
        assert isinstance(machine, PlainMachine)
        return [command.decode() for _, command in machine.executed]

    def _deliver(self, flying: Flying) -> None:
        process = self.replicas[flying.to]
        if not process.is_up or process.life != flying.to_life:
            return
        process.arrive(flying.payload)
        if not isinstance(flying.payload, (Report, ReportAck)):
            self._turn_if_free(process)

    def _turn_if_free(self, process: Process) -> None:
        if process.is_ready and not process.is_paused:
            self._turn(process)

    def _turn(self, process: Process) -> Effects:
        process.due = 0
        self.now += 1  # two steps never share an instant
        try:
            return process.turn(self.now, self._drawn(process))
        except Stopped as stopped:
            self._stop(process, str(stopped))
            return Effects()

    def _stop(self, process: Process, why: str) -> None:
        self.stopped[process.id] = why
        self.crash(process.id)

    def _drawn(self, process: Process) -> int:
        if self.chance is not None:
            return self.chance.getrandbits(32)
        return SOON_DRAWN if process.id == self.favoured else LATE_DRAWN


class _Never(Random):
    """Chance that never strikes: crashes on a stage keep exactly what they must."""

    def random(self) -> float:
        return 1.0
