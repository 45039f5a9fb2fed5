"""The plain workload: commands without sessions, handed straight to the replicas.

It shows what the core alone promises: every command submitted to a process that lives on is executed exactly once, on
every replica alike. The workload of ZooKeeper clients, which the service serves, is ``clients.py``.
"""

from typing import TYPE_CHECKING

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.inputs import Submit
from multipaxos.sim.checkers import Violation
from multipaxos.sim.network import MILLISECOND_NS
from multipaxos.sim.process import PlainMachine, Process, Service

if TYPE_CHECKING:
    from multipaxos.sim.world import World


class PlainWorkload:
    """Submits numbered commands to random replicas."""

    def __init__(self, commands: int) -> None:
        self._left = commands
        self._number = 0
        self._world: World | None = None
        self._submitted: list[tuple[Process, int, bytes]] = []  # process, its life, command
        self._probes: list[bytes] = []  # the commands submitted last

    def begin(self, world: "World") -> None:
        """Spread the commands over safety mode."""
        self._world = world
        self._later()

    def make_service(self, process: Process) -> Service:
        """A plain machine."""
        return PlainMachine()

    def up(self, process: Process) -> None:
        """It makes no difference here."""

    def down(self, process: Process) -> None:
        """It makes no difference here."""

    def reply(self, process: Process, connection: int, frames: list[bytes]) -> None:
        """No client is connected."""

    def close(self, process: Process, connection: int) -> None:
        """No client is connected."""

    def probe(self, core: list[ReplicaId]) -> None:
        """One command at one of the core."""
        assert self._world is not None
        self._probes = []
        self._probe_at(self._world.random.choice(core))

    def _probe_at(self, replica: ReplicaId) -> None:
        world = self._world
        assert world is not None
        self._probes = self._submit_at(replica)
        if not self._probes:
            world.after(50 * MILLISECOND_NS, self._probe_at, replica)

    def is_probed(self) -> bool:
        """Whether it is executed."""
        assert self._world is not None
        if not self._probes:
            return False
        done = self._done()
        return all(command in done for command in self._probes)

    def healed(self) -> None:
        """The rest at once: it must be executed within the bound."""
        for _ in range(5):
            self._submit()
        self._left = 0

    def what_is_open(self) -> str:
        """Commands of processes that live on and that are not executed yet."""
        done = self._done()
        for process, life, command in self._submitted:
            if process.life == life and command not in done:
                return f"command {command.decode()} of replica {process.id} is not executed"
        return ""

    def end(self) -> None:
        """I7: every replica has executed the same, each command at most once."""
        assert self._world is not None
        reference: list[tuple[int, bytes]] | None = None
        for process in self._world.replicas.values():
            machine = process.service
            assert isinstance(machine, PlainMachine)
            if reference is None:
                reference = machine.executed
                commands = [command for _, command in reference]
                if len(set(commands)) != len(commands):
                    raise Violation("I11", "a command was executed twice")
            elif machine.executed != reference:
                raise Violation("I7", f"replica {process.id} has executed something else than the others")

    def counts(self) -> dict[str, int]:
        """How many commands were submitted and executed."""
        return {"operations": self._number, "executed": len(self._done()), "sessions": 0}

    def _done(self) -> dict[bytes, int]:
        assert self._world is not None
        done: dict[bytes, int] = {}
        for expected in self._world.oracle.ledger:
            for _, _, _, _, command in expected.commands:
                done[command] = expected.slot
        return done

    def _later(self) -> None:
        world = self._world
        assert world is not None
        if self._left > 0:
            every = world.profile.safety_ns // (world.profile.plain_commands or 1)
            world.after(1 + int(world.random.expovariate(1.0) * every), self._next)

    def _next(self) -> None:
        if self._left > 0:
            self._left -= 1
            self._submit()
            self._later()

    def _submit(self) -> None:
        world = self._world
        assert world is not None
        ready = [process for process in world.replicas.values() if process.is_ready and not process.is_paused]
        if not ready:
            world.after(50 * MILLISECOND_NS, self._submit)
            return
        self._submit_at(world.random.choice(ready).id)

    def _submit_at(self, replica: ReplicaId) -> list[bytes]:
        world = self._world
        assert world is not None
        process = world.replicas[replica]
        commands: list[bytes] = []
        if not process.is_ready:
            return commands
        for _ in range(world.random.choice((1, 1, 1, 2, 5))):
            self._number += 1
            commands.append(f"c{self._number}".encode())
        self._submitted += [(process, process.life, command) for command in commands]
        process.give(Submit(tuple(commands)))
        world.wake(process, world.now)
        return commands
