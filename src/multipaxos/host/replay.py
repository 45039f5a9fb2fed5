"""The state machine at a slot: the decrees of a ledger executed by the code that serves, and by nothing else.

Order and once, epochs and command time are ``core/applying.py``; the tree and the sessions are what ``service/`` drives.
Whoever executes the same decrees up to a slot holds the same state there, and ``State.digest`` is equal (rule-R17,
rule-R50); so an operator may ask what stood at a path at any slot, and whether two replicas held the same.

Knows nothing of journals and of how a decree was chosen.
"""

from dataclasses import dataclass
from typing import Final

from multipaxos.coordination.tree import Znode, children_of
from multipaxos.core.applying import Applying
from multipaxos.core.ballot import Slot
from multipaxos.core.decree import Decree
from multipaxos.core.effects import Effects
from multipaxos.core.membership import WINDOW_DEFAULT, Configuration, Member
from multipaxos.service.service import Service
from multipaxos.service.settings import ServiceSettings

_NOBODY: Final = 0
"""No replica has this id: so no command is taken for one of this process's own clients."""


class SlotMissing(Exception):
    """A slot was left out: nothing behind it can be executed."""


@dataclass(frozen=True, slots=True)
class State:
    """The state machine behind one slot, in figures."""

    slot: Slot
    zxid: int
    epoch: int
    time_ms: int  # command time, milliseconds since 1970
    znodes: int
    ephemerals: int
    sessions: int
    data_bytes: int  # lengths of all paths and data
    digest: str  # SHA-256 over znodes, stats, lists and sessions; 64 hexadecimal digits


class Replay:
    """A state machine that is given one slot after the other."""

    __slots__ = ("_applying", "_effects", "_service", "commands", "slot")

    def __init__(self) -> None:
        # The list a replica is started with matters only until slot 1 says which cluster was born.
        listed = Configuration(0, (Member(_NOBODY, "", "", 0, True),), WINDOW_DEFAULT, "")
        self._applying = Applying(_NOBODY, 0, 0, listed)
        self._effects = Effects()
        self._service = Service(_NOBODY, 0, ServiceSettings(secret=bytes(32)))
        self.slot: Slot = 0
        self.commands = 0  # executed so far; repeats do not count

    def apply(self, slot: Slot, decree: Decree) -> None:
        """Execute the next slot. Raises SlotMissing where it is not the next."""
        if slot != self.slot + 1:
            raise SlotMissing(f"slot {slot} cannot be executed: slot {self.slot + 1} comes first")
        applied = self._applying.apply(slot, decree, self._effects)
        self.commands += len(applied.commands)
        self._service.applied(applied, 0)
        self._service.out.clear()  # for clients that are not there
        self.slot = slot

    @property
    def time_ms(self) -> int:
        """Command time behind the slot applied last."""
        return self._service.machine.time_ms

    def state(self) -> State:
        """The state behind the slot applied last. Looks at every znode."""
        machine = self._service.machine
        return State(
            self.slot,
            machine.zxid,
            machine.epoch,
            machine.time_ms,
            machine.node_count,
            machine.ephemeral_count(),
            len(machine.sessions),
            machine.data_bytes,
            machine.digest(),
        )

    def paths(self) -> list[str]:
        """All paths, sorted."""
        return sorted(self._service.machine.tree.nodes)

    def znode(self, path: str) -> Znode | None:
        """What stands at a path, or None."""
        return self._service.machine.tree.nodes.get(path)

    def facts(self, path: str) -> dict[str, object]:
        """The stat of a znode that is there, by ZooKeeper's names."""
        node = self._service.machine.tree.nodes[path]
        return {
            "path": path,
            "bytes": 0 if node.data is None else len(node.data),
            "version": node.version,
            "czxid": f"0x{node.czxid:x}",
            "mzxid": f"0x{node.mzxid:x}",
            "ctime_ms": node.ctime,
            "mtime_ms": node.mtime,
            "children": children_of(node),
            "session": f"0x{node.owner:x}" if node.is_ephemeral else "",
        }
