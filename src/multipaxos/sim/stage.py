"""A small world in which nothing happens by itself: each message, timer and sync is called for.

Transcripts (``transcript.py``), paper tests and the scripted schedules of the mutants play here. The processes, the disk
and the oracle are those of the random world (``process.py``, ``disk.py``, ``checkers.py``); only chance is gone. What a
replica sends lies in ``flight`` until it is delivered, dropped or copied, also what it sends to itself.
"""

from collections.abc import Callable
from random import Random

from multipaxos.core.ballot import ReplicaId, Slot
from multipaxos.core.effects import Effects
from multipaxos.core.inputs import Handover, Input, PeerDown, PeerUp, Read, Submit
from multipaxos.core.membership import WINDOW_DEFAULT, Configuration, Member
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
        self.oracle = Oracle(self.listed)
        self.now = BEGINNING_NS
        self.flight: list[Flying] = []
        self.sent: dict[str, int] = {}  # messages to peers by type, lost ones included
        self.lost = 0  # sent over a cut link
        self.lines: list[str] | None = None  # where steps are told; None while nobody listens
        self.slow_disks: set[ReplicaId] = set()  # whose syncs return on command only
        self.answered: list[tuple[ReplicaId, int]] = []  # (replica, token) of reads
        self._read_floors: dict[int, Slot] = {}
        self._make_machine = make_machine
        self._syncing: dict[ReplicaId, int] = {}
        self._cuts: set[tuple[ReplicaId, ReplicaId]] = set()
        self._starts = 0
        self.favoured: ReplicaId = 1  # waits shortest wherever a wait is drawn: the next to suspect its leader
        self.replicas = {
            i: Process(i, self.listed, 1000 + i, self.settings, self.oracle, self, True) for i in range(1, count + 1)
        }

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
        """Tell the step, if somebody listens."""
        if self.lines is None:
            return
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
            for other in self.replicas.values():
                if other.is_up and other.id != replica:
                    other.give(PeerUp(replica))
                    process.give(PeerUp(other.id))
        for process in self.replicas.values():
            if process.is_up and process.is_ready:
                self._turn(process)

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
                    self._turn(other)

    def cut(self, sender: ReplicaId, to: ReplicaId) -> None:
        """Lose what ``sender`` sends to ``to`` from now on."""
        self._cuts.add((sender, to))

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
            due = [p for p in self.replicas.values() if p.is_ready and 0 < p.due <= until]
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
            due = [p for p in self.replicas.values() if p.is_ready and 0 < p.due <= until]
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
            process.begin(self.now, self._drawn(process))

    def find(self, kind: str = "", sender: ReplicaId = 0, to: ReplicaId = 0, slot: Slot = 0) -> list[Flying]:
        """What flies and fits, oldest first."""
        return [
            flying
            for flying in self.flight
            if (not kind or flying.kind == kind)
            and (not sender or flying.sender == sender)
            and (not to or flying.to == to)
            and (not slot or flying.slot == slot)
        ]

    def deliver(
        self,
        to: ReplicaId = 0,
        kind: str = "",
        sender: ReplicaId = 0,
        slot: Slot = 0,
        is_kept: bool = False,
    ) -> int:
        """Deliver what flies and fits, each in a step of its own; ``is_kept`` leaves a copy in flight.

        Messages sent meanwhile are not delivered. Returns how many were."""
        found = self.find(kind, sender, to, slot)
        for flying in found:
            if flying not in self.flight:
                continue
            if not is_kept:
                self.flight.remove(flying)
            self._deliver(flying)
        return len(found)

    def drop(self, to: ReplicaId = 0, kind: str = "", sender: ReplicaId = 0, slot: Slot = 0) -> int:
        """Lose what flies and fits. Returns how many messages."""
        found = self.find(kind, sender, to, slot)
        self.flight = [flying for flying in self.flight if flying not in found]
        return len(found)

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
        if process.is_ready and not isinstance(flying.payload, (Report, ReportAck)):
            self._turn(process)

    def _turn(self, process: Process) -> Effects:
        process.due = 0
        self.now += 1  # two steps never share an instant
        return process.turn(self.now, self._drawn(process))

    def _drawn(self, process: Process) -> int:
        return SOON_DRAWN if process.id == self.favoured else LATE_DRAWN


class _Never(Random):
    """Chance that never strikes: crashes on a stage keep exactly what they must."""

    def random(self) -> float:
        return 1.0
