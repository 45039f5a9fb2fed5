"""A directory in memory that can do to a journal what real ones do: lose, tear, rot, fill up, fail and hang.

Two layers per file and for the names: what the operating system shows (the page cache) and what is on the disk. A write
changes the first; ``sync`` carries a file over, ``sync_names`` the names. Killing the process changes neither layer.
Losing power leaves the second, and of what was written since the last sync *any subset*, sector by sector.
"""

import errno
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence

from multipaxos.storage.disk import DiskLocked

SECTOR = 512


class Inode:
    """A file as the disk knows it."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name  # the last it had, for the record of calls
        self.cached = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes]] = []  # (offset, bytes) since the last sync; offset -1: cut to that size

    def apply(self, unit: tuple[int, bytes], content: bytearray) -> None:
        offset, data = unit
        if offset < 0:
            del content[int.from_bytes(data, "big") :]
            return
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data


class BlockFile:
    def __init__(self, disk: "BlockDisk", inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        data = b"".join(parts)
        inode = self._inode
        self._disk.called("write", self._inode.name, data)
        grown = max(0, offset + len(data) - len(inode.cached))
        self._disk.take_space(grown)
        at = 0
        while at < len(data):
            size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
            unit = (offset + at, data[at : at + size])
            inode.apply(unit, inode.cached)
            inode.pending.append(unit)
            at += size
        self._disk.written.append((self._inode.name, offset, len(data)))

    def read(self, offset: int, size: int) -> bytes:
        self._disk.called("read", self._inode.name)
        return bytes(self._inode.cached[offset : offset + size])

    def sync(self) -> None:
        inode = self._inode
        try:
            self._disk.called("sync", self._inode.name)
        except OSError:
            inode.pending.clear()  # the kernel calls the pages clean all the same (bug-C02)
            raise
        for unit in inode.pending:
            inode.apply(unit, inode.durable)
        inode.pending.clear()

    def size(self) -> int:
        return len(self._inode.cached)

    def truncate(self, size: int) -> None:
        self._disk.called("truncate", self._inode.name)
        del self._inode.cached[size:]
        self._inode.pending.append((-1, size.to_bytes(8, "big")))

    def close(self) -> None:
        pass


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
        self.calls: list[tuple[str, str]] = []
        self.written: list[tuple[str, int, int]] = []  # file, offset, bytes
        self.before: Callable[[str, str], None] | None = None  # runs before each call; may raise OSError
        self.hangs: threading.Event | None = None  # syncs wait for it
        self.hanging = threading.Event()  # set while one does

    # -- faults -----------------------------------------------------------------------------------------------------

    def called(self, call: str, name: str, data: bytes = b"") -> None:
        if self.before is not None:
            self.before(call, name)
        self.calls.append((call, name))
        if call == "sync" and self.hangs is not None:
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
        if self.space is not None:
            if count > self.space:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.space -= count

    def kill(self) -> "BlockDisk":
        """kill -9 and a start: the page cache survives, the lock does not."""
        self.is_locked = False
        self.before = None
        self.hangs = None
        return self

    def units(self) -> list[tuple[str, Inode | None, tuple[object, ...]]]:
        """All that a power loss may keep or lose."""
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
        for inode in copies.values():
            inode.cached = bytearray(inode.durable)
        after.files = dict(after.durable_names)
        return after

    def power_losses(self, bound: int = 10, samples: int = 48, seed: int = 0) -> Iterator["BlockDisk"]:
        """Every state a power loss can leave while there are few units; above the bound the telling ones and a sample."""
        count = len(self.units())
        if count <= bound:
            for mask in range(1 << count):
                yield self.lose_power(lambda unit, mask=mask: bool(mask >> unit & 1))
            return
        source = random.Random(seed * 1000003 + count)
        yield self.lose_power()
        yield self.lose_power(lambda unit: True)
        for _ in range(samples):
            mask = source.getrandbits(count)
            end = source.randrange(count)
            kind = source.randrange(3)
            if kind == 0:
                yield self.lose_power(lambda unit, mask=mask: bool(mask >> unit & 1))
            elif kind == 1:
                yield self.lose_power(lambda unit, end=end: unit < end)
            else:
                yield self.lose_power(lambda unit, end=end: unit != end)

    def copy(self) -> "BlockDisk":
        """The disk as it is, both layers of it, for another life of it."""
        twin = BlockDisk()
        twin.next_inode = self.next_inode
        twin.space = self.space
        copies: dict[int, Inode] = {}

        def copy_of(inode: Inode) -> Inode:
            if inode.number not in copies:
                copy = Inode(inode.number, inode.name)
                copy.cached = bytearray(inode.cached)
                copy.durable = bytearray(inode.durable)
                copy.pending = list(inode.pending)
                copies[inode.number] = copy
            return copies[inode.number]

        twin.files = {name: copy_of(inode) for name, inode in self.files.items()}
        twin.durable_names = {name: copy_of(inode) for name, inode in self.durable_names.items()}
        twin.pending_names = [(a, b, None if c is None else copy_of(c)) for a, b, c in self.pending_names]
        return twin

    def flip(self, name: str, bit: int) -> None:
        """One bit of a file rots: on the disk and in what is read of it."""
        for content in {id(c): c for c in (self.files[name].cached, self.files[name].durable)}.values():
            if bit // 8 < len(content):
                content[bit // 8] ^= 1 << bit % 8

    def cut(self, name: str, size: int) -> None:
        """A file is cut short by somebody."""
        del self.files[name].cached[size:]
        del self.files[name].durable[size:]

    # -- the interface ----------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return sorted(self.files)

    def create(self, name: str) -> BlockFile:
        self.called("create", name)
        if name in self.files:
            raise FileExistsError(errno.EEXIST, "File exists", name)
        inode = Inode(self.next_inode, name)
        self.next_inode += 1
        self.files[name] = inode
        self.pending_names.append(("", name, inode))
        return BlockFile(self, inode)

    def open(self, name: str) -> BlockFile:
        self.called("open", name)
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        return BlockFile(self, self.files[name])

    def rename(self, old: str, new: str) -> None:
        self.called("rename", old)
        inode = self.files.pop(old)
        self.files[new] = inode
        inode.name = new
        self.pending_names.append((old, new, inode))

    def remove(self, name: str) -> None:
        self.called("remove", name)
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", name)
        inode = self.files.pop(name)
        if self.space is not None:
            self.space += len(inode.cached)
        self.pending_names.append((name, "", None))

    def sync_names(self) -> None:
        self.called("sync_names", "")
        self.durable_names = dict(self.files)
        self.pending_names.clear()

    def sync_own_name(self) -> None:
        pass

    def inode(self, name: str) -> int:
        return self.files[name].number

    def filesystem(self) -> str:
        return "simulated"

    def lock(self) -> None:
        if self.is_locked:
            raise DiskLocked("4711")
        self.is_locked = True
        if "lock" not in self.files:
            self.create("lock")

    def close(self) -> None:
        self.is_locked = False
