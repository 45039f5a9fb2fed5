"""The cluster under torture: real replica processes, a proxy on each link between them, and who leads.

The folder is laid out by ``host/folder.py`` as ``multipaxos cluster`` does it. A cluster is born by one list that is the same
for all (rule-R40), so it is born without proxies; then all replicas are stopped, each gets a file of its own in which its
peers are where its proxies are ("the file says where to look"), and they are started again. With root and the means for it
each replica has a network of its own (``namespaces.py``), and the proxies stand inside of it.

Faults are the nemeses' affair; here stands only what they all need: start, kill, cut, heal, wait, who leads.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Coroutine, Sequence
from pathlib import Path
from random import Random
from typing import Final

from multipaxos.host.folder import HOST, ClusterFolder
from multipaxos.torture.namespaces import Fabric, address_of
from multipaxos.torture.proxy import NO_FAULT, Fault, Link
from multipaxos.torture.replica import LISTENING, Address, ReplicaProcess
from multipaxos.torture.shim import DiskShim

START_PATIENCE_S: Final = 60.0
CLIENT_PORT: Final = 2181
PEER_PORT: Final = 7181
SESSION_MIN_MS: Final = 4000

HELD: Final = Fault(is_held=True)

_POLL_S: Final = 0.2
_WORD_PATIENCE_S: Final = 1.0
_STAND_STILL_S: Final = 0.05


class ClusterError(Exception):
    """The cluster cannot be brought to where a run begins or goes on. The text says what was waited for."""


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


class TorturedCluster:
    """Some replicas. ``start`` brings it up, ``close`` ends it whatever was done to it."""

    def __init__(
        self, folder: Path, count: int, random: Random, shim_library: Path | None, fabric: Fabric | None
    ) -> None:
        """Raises FolderError where the folder cannot be used."""
        self.fabric = fabric
        self.folder = folder
        self.links: dict[tuple[int, int], Link] = {}  # (from, to)
        self.modes: dict[int, str] = {}  # leader, follower, or empty while it does not serve; as last asked
        self.replicas: dict[int, ReplicaProcess] = {}
        self.shims: list[DiskShim] = []
        self._background: set[asyncio.Task[None]] = set()
        self._opened = ClusterFolder.open(str(folder), count, 0, 0)
        self._random = random
        for place in self._opened.places:
            space = None if fabric is None else fabric.spaces[place.id]
            client = _address(place.client) if fabric is None else (address_of(place.id), CLIENT_PORT)
            peer = _address(place.peer) if fabric is None else (address_of(place.id), PEER_PORT)
            shim = None
            if shim_library is not None:
                shim = DiskShim(shim_library, folder / f"replica-{place.id}", folder / f"shim-{place.id}")
                self.shims.append(shim)
            self.replicas[place.id] = ReplicaProcess(place.id, client, peer, folder, space, shim, self._changed)

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Birth, then with proxies between all, until all serve. Raises ClusterError."""
        for one in self.replicas.values():
            self.write_config(one, {})
            one.start(must_exist=False)
        self._run(self._watch())
        await self.wait_serving("the cluster to be born")
        await asyncio.gather(*(one.end() for one in self.replicas.values()))
        for one in self.replicas.values():
            for other in self.replicas.values():
                if one is not other:
                    self.links[one.id, other.id] = Link((HOST, 0), other.peer, self._maker(one), self._random)
        for one in self.replicas.values():
            self.restore_config(one)
            one.start()
        await self.wait_serving("all replicas to serve")

    async def close(self) -> None:
        """End everything: processes, proxies, ports."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for shim in self.shims:
            shim.heal()
        await asyncio.gather(*(one.end() for one in self.replicas.values()), return_exceptions=True)
        for one in self.replicas.values():
            one.kill()
        for link in self.links.values():
            link.close()
        for shim in self.shims:
            shim.close()
        self._opened.__exit__(None, None, None)

    def _run(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- files -------------------------------------------------------------------------------------------------------

    def write_config(self, own: ReplicaProcess, peers: dict[int, Address], data: Path | None = None) -> None:
        """The TOML file of a replica; ``peers`` says where it finds those that are not where they say."""
        lines = [
            f"replica = {own.id}",
            f'data = "{data or own.data}"',
            "",
            "[client]",
            "connections_per_address_max = 0",
            "",
            "[session]",
            f"timeout_min_ms = {SESSION_MIN_MS}",
        ]
        for one in self.replicas.values():
            peer = peers.get(one.id, one.peer)
            lines += ["", "[[replicas]]", f"id = {one.id}"]
            lines += [f'peer = "{peer[0]}:{peer[1]}"', f'client = "{one.client[0]}:{one.client[1]}"']
        own.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def restore_config(self, own: ReplicaProcess, data: Path | None = None) -> None:
        """Its file with the proxies in it, and with another directory where one is given."""
        peers = {target: link.address for (source, target), link in self.links.items() if source == own.id}
        self.write_config(own, peers, data)

    # -- sockets -----------------------------------------------------------------------------------------------------

    def _maker(self, one: ReplicaProcess) -> "_SocketMaker":
        return _SocketMaker(self.fabric, one.id)

    def client_socket(self) -> socket.socket:
        """A socket of a client, not connected and not blocking."""
        made = _SocketMaker(self.fabric, 0)()
        made.setblocking(False)
        return made

    async def ask(self, one: ReplicaProcess, word: str) -> str:
        """The answer to a four-letter word; empty where nobody answers in time."""
        loop = asyncio.get_running_loop()
        parts: list[bytes] = []
        with contextlib.suppress(OSError, TimeoutError), self.client_socket() as asking:
            async with asyncio.timeout(_WORD_PATIENCE_S):
                await loop.sock_connect(asking, one.client)
                await loop.sock_sendall(asking, word.encode())
                while part := await loop.sock_recv(asking, 65536):
                    parts.append(part)
        return b"".join(parts).decode(errors="replace")

    async def reaches(self, source: int, target: int) -> bool:
        """Whether a fresh dial from one replica's network to another's peer port is answered. Needs a fabric."""
        loop = asyncio.get_running_loop()
        with _SocketMaker(self.fabric, source)() as dialling:
            dialling.setblocking(False)
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_WORD_PATIENCE_S / 2):
                    await loop.sock_connect(dialling, self.replicas[target].peer)
                return True
        return False

    # -- who is who --------------------------------------------------------------------------------------------------

    @property
    def majority(self) -> int:
        """How many are enough."""
        return len(self.replicas) // 2 + 1

    def living(self) -> list[ReplicaProcess]:
        """Those whose process runs and is not paused."""
        return [one for one in self.replicas.values() if one.is_alive and not one.is_paused]

    async def _watch(self) -> None:
        while True:
            await asyncio.gather(*(self._look(one) for one in self.replicas.values()))
            await asyncio.sleep(_POLL_S)

    async def _look(self, one: ReplicaProcess) -> None:
        if not one.is_alive or one.is_paused:
            self.modes[one.id] = ""
            return
        self.modes[one.id] = "" if not (said := await self.ask(one, "srvr")) else _mode_in(said)

    async def leader(self, seconds: float = START_PATIENCE_S) -> ReplicaProcess:
        """The one that says it leads, once there is one only. Raises ClusterError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            leading = [one for one in self.living() if self.modes.get(one.id) == "leader"]
            if len(leading) == 1:
                return leading[0]
            await asyncio.sleep(_STAND_STILL_S)
        raise ClusterError(f"waited {seconds:g} s in vain for one leader; {self.describe()}")

    async def followers(self) -> list[ReplicaProcess]:
        """The others that live."""
        leader = await self.leader()
        return [one for one in self.living() if one is not leader]

    def describe(self) -> str:
        """Where everybody stands, for errors."""
        return ", ".join(
            f"replica {one.id} {'paused' if one.is_paused else one.state}"
            + (f" ({one.reason})" if one.reason and not one.is_alive else "")
            for one in self.replicas.values()
        )

    async def wait_serving(self, what: str, seconds: float = START_PATIENCE_S) -> None:
        """Until all replicas serve and one leads. Raises ClusterError, at once where a process has died."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            modes = [self.modes.get(one.id, "") if one.is_alive else "" for one in self.replicas.values()]
            if all(modes) and modes.count("leader") == 1:
                return
            for one in self.replicas.values():
                if not one.is_alive:
                    raise ClusterError(f"waited for {what}; replica {one.id} died: {one.reason or one.exit_code}")
            await asyncio.sleep(_STAND_STILL_S)
        raise ClusterError(f"waited {seconds:g} s in vain for {what}; {self.describe()}")

    # -- what is done to them ----------------------------------------------------------------------------------------

    def _changed(self, one: ReplicaProcess) -> None:
        """A replica lives, listens or died: its links take or refuse dials accordingly."""
        if not one.is_alive:
            self._refuse(one)
            self.modes[one.id] = ""
        elif one.state in LISTENING:
            for (_, target), link in self.links.items():
                if target == one.id and not link.is_open:
                    self._run(link.open())
        self._opened.is_made[one.id] = self._opened.is_made[one.id] or one.state == "opened"
        self._opened.write_state(
            {each.id: each.pid if each.is_alive else 0 for each in self.replicas.values()},
            0,
            {each.id: each.state for each in self.replicas.values()},
        )

    def _refuse(self, one: ReplicaProcess) -> None:
        for (_, target), link in self.links.items():
            if target == one.id:
                link.refuse()

    def kill(self, replicas: Sequence[ReplicaProcess]) -> None:
        """SIGKILL to all of them at one moment. Their ports refuse before anybody can dial them again."""
        for one in replicas:
            self._refuse(one)
            one.signal(signal.SIGKILL)
        for one in replicas:
            one.kill()

    def cut(self, source: int, target: int) -> None:
        """Nothing that ``source`` sends reaches ``target``."""
        if self.fabric is not None:
            self.fabric.cut(source, target)
        else:
            self.links[source, target].set_fault(forward=HELD)
            self.links[target, source].set_fault(backward=HELD)

    def heal_cuts(self) -> int:
        """All cuts are mended. How many packets were dropped; -1 where nobody counts them."""
        if self.fabric is not None:
            return self.fabric.heal()
        for link in self.links.values():
            link.set_fault(NO_FAULT, NO_FAULT)
        return -1

    def heal(self) -> None:
        """Disks, clocks, links and processes as they should be; who died stays dead."""
        for shim in self.shims:
            shim.heal()
        for link in self.links.values():
            link.set_fault(NO_FAULT, NO_FAULT)
        if self.fabric is not None:
            self.fabric.heal()
        for one in self.replicas.values():
            one.go_on()


class _SocketMaker:
    """Makes TCP sockets in the network of one replica, or of the clients (0)."""

    __slots__ = ("_fabric", "_replica")

    def __init__(self, fabric: Fabric | None, replica: int) -> None:
        self._fabric = fabric
        self._replica = replica

    def __call__(self) -> socket.socket:
        fabric = self._fabric
        if fabric is None:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        space = fabric.spaces[self._replica] if self._replica else fabric.hub
        with space.inside():
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _mode_in(said: str) -> str:
    for line in said.splitlines():
        if line.startswith("Mode: "):
            return line.removeprefix("Mode: ")
    return ""
