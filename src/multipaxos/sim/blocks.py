"""A directory in memory that can do to a journal what real ones do: lose, tear, rot, fill up, fail and hang.

Two layers per file and for the names: what the operating system shows (the page cache) and what is on the disk. A write
changes the first; ``sync`` carries a file over, ``sync_names`` the names. Killing the process changes neither layer.
Losing power leaves the second, and of what was written since the last sync *any subset*, sector by sector.

Knows nothing of what stands in the files. The worlds of ``world.py`` keep their replicas' directories here
(``directory.py``), and the tests of ``storage/`` use it by hand.
"""

import errno
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence

from multipaxos.storage.disk import DiskLocked

SECTOR = 512

CHANGING = ("write", "sync", "create", "rename", "remove", "sync_names", "truncate")
"""Calls before which a crash finds something else than before the one before."""


class Inode:
    """A file as the disk knows it."""

    __slots__ = ("cached", "durable", "name", "number", "pending")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name  # the last it had, for the record of calls
        self.cached = bytearray()
        self.durable = bytearray()
        # Since the last sync: (offset, bytes), none of them over the border of a sector; offset -1: cut to that size.
        self.pending: list[tuple[int, bytes]] = []

    def apply(self, unit: tuple[int, bytes], content: bytearray) -> None:
        """Do one write, or one cut, to one of the layers."""
        offset, data = unit
        if offset < 0:
            del content[int.from_bytes(data, "big") :]
            return
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    def settle(self) -> None:
        """A sync has returned: all that was written is on the disk."""
        for unit in self.pending:
            self.apply(unit, self.durable)
        self.pending.clear()

    def copy(self) -> "Inode":
        """The same file on another disk, both layers of it."""
        twin = Inode(self.number, self.name)
        twin.cached = bytearray(self.cached)
        twin.durable = bytearray(self.durable)
        twin.pending = list(self.pending)
        return twin


class BlockFile:
    """Implements ``multipaxos.storage.disk.DiskFile``."""

    __slots__ = ("_disk", "_inode")

    def __init__(self, disk: "BlockDisk", inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        """Write to the page cache; ENOSPC where the file would grow beyond what is left."""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        inode = self._inode
        disk = self._disk
        disk.called("write", inode.name)
        if disk.space is not None:
            disk.take_space(max(0, offset + len(data) - len(inode.cached)))
        unit = (offset, data)
        inode.apply(unit, inode.cached)
        if offset % SECTOR + len(data) <= SECTOR:
            inode.pending.append(unit)
        else:
            inode.pending += _sectors(unit)
        if disk.is_recording:
            disk.written.append((inode.name, offset, len(data)))

    def read(self, offset: int, size: int) -> bytes:
        """What the operating system shows."""
        self._disk.called("read", self._inode.name)
        return bytes(memoryview(self._inode.cached)[offset : offset + size])

    def sync(self) -> None:
        """Carry the file over to the disk."""
        inode = self._inode
        try:
            self._disk.called("sync", inode.name)
        except OSError:
            inode.pending.clear()  # the kernel calls the pages clean all the same (bug-C02)
            raise
        inode.settle()

    def size(self) -> int:
        """As the operating system shows it."""
        return len(self._inode.cached)

    def truncate(self, size: int) -> None:
        """Cut the file, and give its space back."""
        self._disk.called("truncate", self._inode.name)
        self._disk.give_space(max(0, len(self._inode.cached) - size))
        del self._inode.cached[size:]
        self._inode.pending.append((-1, size.to_bytes(8, "big")))

    def close(self) -> None:
        """A file in memory has nothing to let go of."""


class BlockDisk:
    """Implements ``multipaxos.storage.disk.Disk``."""

    def __init__(self) -> None:
        self.where = "the simulated disk"
        self.files: dict[str, Inode] = {}  # as the operating system shows it
        self.durable_names: dict[str, Inode] = {}
        self.pending_names: list[tuple[str, str, Inode | None]] = []  # (old, new, inode), either name may be ""
        self.next_inode = 1
        self.is_locked = False
        self.space: int | None = None  # bytes left
        self.is_recording = True  # keep ``calls`` and ``written``
        self.calls: list[tuple[str, str]] = []
        self.written: list[tuple[str, int, int]] = []  # file, offset, bytes
        self.before: Callable[[str, str], None] | None = None  # runs before each call; may raise OSError
        self.hangs: threading.Event | None = None  # syncs wait for it
        self.hanging = threading.Event()  # set while one does

    # -- faults -----------------------------------------------------------------------------------------------------

    def called(self, call: str, name: str) -> None:
        """Every call passes here: it may fail, hang or be the last."""
        if self.before is not None:
            self.before(call, name)
        if self.is_recording:
            self.calls.append((call, name))
        if self.hangs is not None and call == "sync":
            self.hanging.set()
            self.hangs.wait()

    def fail_at(self, number: int, code: int, counted: Sequence[str] = ("write", "sync", "create", "rename")) -> None:
        """Let the call with this number (from 0, of the kinds counted) fail with an errno."""
        left = itertools.count(number, -1)

        def before(call: str, name: str) -> None:
            if call in counted and next(left) == 0:
                raise OSError(code, errno.errorcode[code])

        self.before = before

    def take_space(self, count: int) -> None:
        """A file grows. Raises OSError where the disk is full."""
        if self.space is not None:
            if count > self.space:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.space -= count

    def give_space(self, count: int) -> None:
        """A file shrinks or goes."""
        if self.space is not None:
            self.space += count

    def kill(self) -> "BlockDisk":
        """kill -9 and a start: the page cache survives, the lock does not."""
        self.is_locked = False
        self.before = None
        self.hangs = None
        return self

    def units(self) -> list[tuple[str, Inode | None, tuple[object, ...]]]:
        """All that a power loss may keep or lose: unsynced writes sector by sector, and changes of names."""
        found: list[tuple[str, Inode | None, tuple[object, ...]]] = []
        seen: dict[int, Inode] = {}
        for inode in [*self.files.values(), *self.durable_names.values(), *(n[2] for n in self.pending_names)]:
            if inode is not None:
                seen[inode.number] = inode
        for inode in seen.values():
            found.extend(("data", inode, unit) for unit in inode.pending)
        found.extend(("name", None, name) for name in self.pending_names)
        return found

    def lose_power(
        self, keep: Callable[[int], bool] = lambda unit: False, tear: Callable[[int], int] | None = None
    ) -> "BlockDisk":
        """What is there when power comes back: all that was synced, and of the rest the units that ``keep`` says.

        ``tear`` says how many bytes of a kept piece of data reached the disk; -1 for all."""
        after = BlockDisk()
        after.next_inode = self.next_inode
        after.space = self.space
        after.is_recording = self.is_recording
        copies: dict[int, Inode] = {}

        def copy_of(inode: Inode) -> Inode:
            if inode.number not in copies:
                copy = Inode(inode.number, inode.name)
                copy.durable = bytearray(inode.durable)
                copies[inode.number] = copy
            return copies[inode.number]

        after.durable_names = {name: copy_of(inode) for name, inode in self.durable_names.items()}
        for index, (kind, inode, unit) in enumerate(self.units()):
            if not keep(index):
                continue
            if kind == "data":
                assert inode is not None
                offset, data = unit
                assert isinstance(offset, int) and isinstance(data, bytes)
                if tear is not None and offset >= 0 and tear(index) >= 0:
                    data = data[: tear(index)]
                inode.apply((offset, data), copy_of(inode).durable)
            else:
                old, new, renamed = unit
                assert isinstance(old, str) and isinstance(new, str)
                if old:
                    after.durable_names.pop(old, None)
                if new:
                    assert isinstance(renamed, Inode)
                    after.durable_names[new] = copy_of(renamed)
        for name, inode in after.durable_names.items():
            inode.name = name
        for inode in copies.values():
            inode.cached = bytearray(inode.durable)
        after.files = dict(after.durable_names)
        return after

    def power_losses(self, bound: int = 10, samples: int = 48, seed: int = 0) -> Iterator["BlockDisk"]:
        """Every state a power loss can leave while there are few units; above the bound the telling ones and a sample."""
        count = len(self.units())
        if count <= bound:
            for mask in range(1 << count):
                yield self._lose_all_but(mask)
            return
        source = random.Random(seed * 1000003 + count)
        everything = (1 << count) - 1
        yield self._lose_all_but(0)
        yield self._lose_all_but(everything)
        for _ in range(samples):
            mask = source.getrandbits(count)
            end = source.randrange(count)
            kind = source.randrange(3)
            if kind == 1:
                mask = (1 << end) - 1
            elif kind == 2:
                mask = everything ^ (1 << end)
            yield self._lose_all_but(mask)

    def _lose_all_but(self, mask: int) -> "BlockDisk":
        return self.lose_power(lambda unit: bool(mask >> unit & 1))

    def copy(self) -> "BlockDisk":
        """The disk as it is, both layers of it, for another life of it."""
        twin = BlockDisk()
        twin.next_inode = self.next_inode
        twin.space = self.space
        twin.is_recording = self.is_recording
        copies: dict[int, Inode] = {}

        def copy_of(inode: Inode) -> Inode:
            if inode.number not in copies:
                copies[inode.number] = inode.copy()
            return copies[inode.number]

        twin.files = {name: copy_of(inode) for name, inode in self.files.items()}
        twin.durable_names = {name: copy_of(inode) for name, inode in self.durable_names.items()}
        twin.pending_names = [(a, b, None if c is None else copy_of(c)) for a, b, c in self.pending_names]
        return twin

    def flip(self, name: str, bit: int) -> None:
        """One bit of a file rots: on the disk and in what is read of it."""
        for content in (self.files[name].cached, self.files[name].durable):
            if bit // 8 < len(content):
                content[bit // 8] ^= 1 << bit % 8

    def cut(self, name: str, size: int) -> None:
        """A file is cut short by somebody."""
        del self.files[name].cached[size:]
        del self.files[name].durable[size:]

    # -- the interface ----------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """As the operating system shows them."""
        return sorted(self.files)

    def create(self, name: str) -> BlockFile:
        """A new file, whose name is not durable yet."""
        self.called("create", name)
        if name in self.files:
            raise FileExistsError(errno.EEXIST, "File exists", name)
        inode = Inode(self.next_inode, name)
        self.next_inode += 1
        self.files[name] = inode
        self.pending_names.append(("", name, inode))
        return BlockFile(self, inode)

    def open(self, name: str) -> BlockFile:
        """A file that is there."""
        self.called("open", name)
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return BlockFile(self, self.files[name])

    def rename(self, old: str, new: str) -> None:
        """At once in what is shown, on the disk with the next ``sync_names``."""
        self.called("rename", old)
        inode = self.files.pop(old)
        replaced = self.files.get(new)
        if replaced is not None:
            self.give_space(len(replaced.cached))
        self.files[new] = inode
        inode.name = new
        self.pending_names.append((old, new, inode))

    def remove(self, name: str) -> None:
        """Take a file out."""
        self.called("remove", name)
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        inode = self.files.pop(name)
        self.give_space(len(inode.cached))
        self.pending_names.append((name, "", None))

    def sync_names(self) -> None:
        """Carry the names over to the disk."""
        self.called("sync_names", "")
        self.durable_names = dict(self.files)
        self.pending_names.clear()

    def sync_own_name(self) -> None:
        """The directory itself cannot get lost here."""

    def inode(self, name: str) -> int:
        """The number of a file: a copy has another."""
        return self.files[name].number

    def filesystem(self) -> str:
        """Shown to people."""
        return "simulated"

    def lock(self) -> None:
        """One process at a time."""
        if self.is_locked:
            raise DiskLocked("4711")
        self.is_locked = True
        if "lock" not in self.files:
            self.create("lock")

    def close(self) -> None:
        """Let go of the lock."""
        self.is_locked = False


def _sectors(unit: tuple[int, bytes]) -> list[tuple[int, bytes]]:
    """The pieces of one write that reach the disk each on its own."""
    offset, data = unit
    parts: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
        parts.append((offset + at, data[at : at + size]))
        at += size
    return parts
