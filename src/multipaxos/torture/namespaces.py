"""A network of its own for each replica: namespaces joined by a hub that forwards, and packets dropped one way.

``Fabric`` makes one namespace for each replica and one for the hub, where the clients' sockets are made. Each replica
has the address ``10.77.N.2`` in a network of two machines, the replica and the hub. Nothing of this has a name: a
namespace is held by a descriptor of this process, so however this process ends, the kernel takes all of it away.

A thread is in one namespace at a time, and what it makes there (a socket, a child process) stays there. ``inside``
steps in and out again, so nothing may be awaited within it.

Packets are dropped where they leave: by a rule of nft or of iptables that counts them, else by a route into a black hole,
which counts nothing. Needs root, the ``ip`` command and a kernel with namespaces; ``reason_missing`` names what is not
there. Knows nothing of replicas beyond their numbers.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

_NEW_NETWORK: Final = 0x40000000
_OWN: Final = "/proc/thread-self/ns/net"
_libc: Final = ctypes.CDLL(None, use_errno=True)


class NetworkError(Exception):
    """The kernel or a command refused a part of the network. The text says which."""


def address_of(replica: int) -> str:
    """Where a replica is."""
    return f"10.77.{replica}.2"


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def reason_missing() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if os.geteuid() != 0:
        return "no network namespaces: not root"
    if shutil.which("ip") is None:
        return "no network namespaces: no ip command"
    try:
        Space().close()
    except OSError as error:
        return f"no network namespaces: {error}"
    return ""


class Space:
    """One network namespace."""

    def __init__(self) -> None:
        own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("unshare", _NEW_NETWORK)
            try:
                self.fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            finally:
                _call("setns", own, _NEW_NETWORK)
        finally:
            os.close(own)

    @property
    def path(self) -> str:
        """What the ``ip`` command calls it."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in it meanwhile."""
        own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", self.fd, _NEW_NETWORK)
            try:
                yield
            finally:
                _call("setns", own, _NEW_NETWORK)
        finally:
            os.close(own)

    def run(self, *command: str) -> str:
        """What a command says in it. Raises NetworkError."""
        with self.inside():
            return _run(*command)

    def close(self) -> None:
        """Let go of it; the kernel removes it with the last process in it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Dropper(Protocol):
    """A way to drop packets where they leave a namespace."""

    name: str
    """As the report calls it."""

    def prepare(self, space: Space) -> None:
        """Once for each namespace."""

    def drop(self, space: Space, address: str) -> None:
        """From now on nothing leaves for ``address``."""

    def heal(self, space: Space) -> int:
        """Everything leaves again. How many packets were dropped; -1 where nobody counts."""


class NftDropper:
    """A table of nftables."""

    name = "nft"

    def prepare(self, space: Space) -> None:
        """A chain before everything that leaves."""
        space.run("nft", "add", "table", "ip", "torture")
        space.run("nft", "add chain ip torture out { type filter hook output priority 0 ; }")

    def drop(self, space: Space, address: str) -> None:
        """A rule with a counter."""
        space.run("nft", "add", "rule", "ip", "torture", "out", "ip", "daddr", address, "counter", "drop")

    def heal(self, space: Space) -> int:
        """The sum of the counters; then the chain is emptied."""
        listed = json.loads(space.run("nft", "-j", "list", "chain", "ip", "torture", "out"))
        packets = 0
        for item in listed["nftables"]:
            for part in item.get("rule", {}).get("expr", []):
                packets += int(part.get("counter", {}).get("packets", 0))
        space.run("nft", "flush", "chain", "ip", "torture", "out")
        return packets


class IptablesDropper:
    """The OUTPUT chain of iptables."""

    name = "iptables"

    def prepare(self, space: Space) -> None:
        """The chain is there already; a kernel without it says so here."""
        space.run("iptables", "-w", "-L", "OUTPUT")

    def drop(self, space: Space, address: str) -> None:
        """A rule, which counts by itself."""
        space.run("iptables", "-w", "-A", "OUTPUT", "-d", address, "-j", "DROP")

    def heal(self, space: Space) -> int:
        """The sum of the counters; then the chain is emptied."""
        lines = space.run("iptables", "-w", "-nvxL", "OUTPUT").splitlines()
        packets = sum(int(line.split()[0]) for line in lines if " DROP " in line and "policy" not in line)
        space.run("iptables", "-w", "-F", "OUTPUT")
        return packets


class BlackholeDropper:
    """Routes that lead nowhere."""

    name = "black hole routes"

    def prepare(self, space: Space) -> None:
        """Nothing."""

    def drop(self, space: Space, address: str) -> None:
        """A route of one address."""
        space.run("ip", "route", "add", "blackhole", f"{address}/32")

    def heal(self, space: Space) -> int:
        """All of them are taken away."""
        space.run("ip", "route", "flush", "type", "blackhole")
        return -1


def _choose_dropper(space: Space) -> Dropper:
    found: list[Dropper] = []
    if shutil.which("nft") is not None:
        found.append(NftDropper())
    if shutil.which("iptables") is not None:
        found.append(IptablesDropper())
    for dropper in found:
        with contextlib.suppress(NetworkError, ValueError):
            dropper.prepare(space)
            dropper.drop(space, "10.77.255.2")
            dropper.heal(space)
            return dropper
    return BlackholeDropper()


class Fabric:
    """The namespaces of some replicas and the hub between them. Raises NetworkError or OSError."""

    def __init__(self, replicas: Sequence[int]) -> None:
        self.spaces: dict[int, Space] = {}
        self.hub = Space()
        try:
            probe = Space()
            try:
                self.dropper = _choose_dropper(probe)
            finally:
                probe.close()
            with self.hub.inside():
                _run("ip", "link", "set", "lo", "up")
                with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as file:
                    file.write("1\n")
            for replica in replicas:
                self.spaces[replica] = self._join(replica)
        except BaseException:
            self.close()
            raise

    def _join(self, replica: int) -> Space:
        space = Space()
        try:
            link, hub_address = f"r{replica}", f"10.77.{replica}.1"
            with self.hub.inside():
                _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space.path)
                _run("ip", "address", "add", f"{hub_address}/24", "dev", link)
                _run("ip", "link", "set", link, "up")
            with space.inside():
                _run("ip", "link", "set", "lo", "up")
                _run("ip", "address", "add", f"{address_of(replica)}/24", "dev", "eth0")
                _run("ip", "link", "set", "eth0", "up")
                _run("ip", "route", "add", "default", "via", hub_address)
            if not isinstance(self.dropper, BlackholeDropper):
                self.dropper.prepare(space)
        except BaseException:
            space.close()
            raise
        return space

    def cut(self, source: int, target: int) -> None:
        """Nothing that ``source`` sends reaches ``target``. The other direction is another cut."""
        self.dropper.drop(self.spaces[source], address_of(target))

    def heal(self) -> int:
        """All cuts are mended. How many packets were dropped; -1 where nobody counts."""
        dropped = [self.dropper.heal(space) for space in self.spaces.values()]
        return -1 if min(dropped, default=0) < 0 else sum(dropped)

    def close(self) -> None:
        """Let go of all of it."""
        for space in self.spaces.values():
            space.close()
        self.hub.close()
