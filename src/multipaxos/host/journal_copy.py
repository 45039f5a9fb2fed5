"""A replica's data directory, or a copy of one, opened to be read and nothing else: for the operator's tools.

No lock is taken, no incarnation raised, no byte written: the very code of a start looks at the directory
(``storage/identity.py``, ``storage/recovery.py``), but its disk is one whose files are opened for reading and whose
writes stay in memory. So what is refused, what is believed and what is damage is decided where it is decided for a
replica, in the same words.

It works beside a running replica, whose journal grows meanwhile. What is read is then one moment's journal: the promise
copies are read first, then the names, then how far the newest segment is written; a record behind that is not looked at,
and none below it changes any more. How far that is, is found from the end of the file backwards, since a journal is
written forwards: whatever stands at a place, all before it stood there earlier. A replica that is *started* meanwhile
takes segments away; that is noticed and said (``DirectoryChanged``).

Knows nothing of decrees and of what was chosen: that is ``chosen_slots.py``.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, Ballot
from multipaxos.core.records import Record
from multipaxos.storage.faults import JournalDamaged
from multipaxos.storage.identity import INCARNATION, DataDirectory, DirectoryRefused
from multipaxos.storage.promise import COPIES, copy_name
from multipaxos.storage.record import Found, scan, search, seed_of
from multipaxos.storage.recovery import Link, Recovery
from multipaxos.storage.segment import segment_name, segment_number

ATTEMPTS_MAX: Final = 3
"""A replica that starts at this very moment replaces files: then the directory is looked at once more."""

_STEP_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(_STEP_BYTES)
_LOCKS: Final = "/proc/locks"

Stretch = tuple[str, int, int]
"""file, and the journal positions between which nothing in it can be read"""


class DirectoryChanged(Exception):
    """The replica was started again while its directory was read. What was read so far is of before; read again."""


class _Kept:
    """A file that exists only in memory: what the code of a start would have written."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        data = b"".join(parts)
        self._data.extend(bytes(max(0, offset + len(data) - len(self._data))))
        self._data[offset : offset + len(data)] = data

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._data[offset : offset + size])

    def sync(self) -> None:
        return None

    def size(self) -> int:
        return len(self._data)

    def truncate(self, size: int) -> None:
        del self._data[size:]

    def close(self) -> None:
        return None


class _Read:
    """A file of the directory, opened for reading. From ``written`` on it reads as the zeros it was made of."""

    __slots__ = ("_fd", "_is_shared", "_size", "_written")

    def __init__(self, fd: int, written: int = -1, is_shared: bool = False) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._written = self._size if written < 0 else written
        self._is_shared = is_shared  # the descriptor outlives this value

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        raise OSError(errno.EROFS, "this directory is only read")

    def read(self, offset: int, size: int) -> bytes:
        wanted = max(0, min(size, self._size - offset))
        there = max(0, min(wanted, self._written - offset))
        data = os.pread(self._fd, there, offset)
        while data and len(data) < there:
            more = os.pread(self._fd, there - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data + bytes(wanted - there) if len(data) == there else data

    def sync(self) -> None:
        return None

    def size(self) -> int:
        return self._size

    def truncate(self, size: int) -> None:
        raise OSError(errno.EROFS, "this directory is only read")

    def close(self) -> None:
        if not self._is_shared and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class ReadingDisk:
    """A directory as it was at one moment (``storage.disk.Disk``). What is written stays in memory and is forgotten."""

    __slots__ = ("_fd", "_kept", "_names", "_newest", "_newest_fd", "where", "written")

    def __init__(self, path: str) -> None:
        """Raises OSError where the directory cannot be read."""
        self.where = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._newest_fd = -1
        self.written = 0  # how far the newest segment is written, in bytes of its file
        try:
            # In this order: the copies name a position and a segment that were durable when they were written, so
            # whatever is looked at later holds both.
            self._kept: dict[str, _Kept] = {}
            for copy in COPIES:
                with contextlib.suppress(FileNotFoundError):
                    self._kept[copy_name(copy)] = _Kept(self._bytes_of(copy_name(copy)))
            self._names = set(os.listdir(self._fd)) | set(self._kept)
            newest = max((segment_number(name) for name in self._names), default=0)
            self._newest = segment_name(newest) if newest else ""
            if newest:
                self._newest_fd = self._open(self._newest)
                self.written = _written_bytes(self._newest_fd)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str) -> int:
        return os.open(name, os.O_RDONLY, dir_fd=self._fd)

    def _bytes_of(self, name: str) -> bytes:
        fd = self._open(name)
        try:
            file = _Read(fd, is_shared=True)
            return file.read(0, file.size())
        finally:
            os.close(fd)

    def names(self) -> list[str]:
        """All names, sorted, as they were, and as a start would have changed them."""
        return sorted(self._names)

    def create(self, name: str) -> _Kept:
        """A file in memory."""
        if name in self._names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        self._names.add(name)
        self._kept[name] = _Kept()
        return self._kept[name]

    def open(self, name: str) -> _Kept | _Read:
        """What was kept in memory, else the file itself, for reading."""
        if name in self._kept:
            return self._kept[name]
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if name == self._newest:
            return _Read(self._newest_fd, self.written, is_shared=True)
        return _Read(self._open(name))

    def rename(self, old: str, new: str) -> None:
        """Of files in memory only."""
        self._kept[new] = self._kept.pop(old)
        self._names.discard(old)
        self._names.add(new)

    def remove(self, name: str) -> None:
        """Here alone: on the disk it stays."""
        self._names.discard(name)
        self._kept.pop(name, None)

    def sync_names(self) -> None:
        """Nothing to sync."""

    def sync_own_name(self) -> None:
        """Nothing to sync."""

    def inode(self, name: str) -> int:
        """st_ino; of a file in memory 0, which no file has."""
        return 0 if name in self._kept else os.stat(name, dir_fd=self._fd).st_ino

    def filesystem(self) -> str:
        """f_fsid in hexadecimal."""
        return f"{os.fstatvfs(self._fd).f_fsid:x}"

    def lock(self) -> None:
        """Whoever only reads keeps nobody out."""

    def close(self) -> None:
        """Let go of the directory; a second call does nothing."""
        for fd in (self._newest_fd, self._fd):
            if fd >= 0:
                os.close(fd)
        self._newest_fd = self._fd = -1


def _written_bytes(fd: int) -> int:
    """Where the zeros at the end of a segment begin, looked for from the end backwards."""
    at = os.fstat(fd).st_size
    while at > 0:
        begin = max(0, at - _STEP_BYTES)
        data = os.pread(fd, at - begin, begin)
        if data != _ZEROS[: len(data)]:  # one comparison is a hundred times quicker than to strip them
            return begin + len(data.rstrip(b"\0"))
        at = begin
    return 0


def holder_of(path: str) -> int:
    """The process that holds the directory's lock; 0 where none does, or where the system does not say.

    The lock itself is not touched: to try it, however shortly, could keep a replica from starting.
    """
    try:
        with open(os.path.join(path, "lock"), encoding="ascii", errors="replace") as lock:
            held = os.fstat(lock.fileno())
            noted = lock.read(32).strip()
        with open(_LOCKS, encoding="ascii", errors="replace") as locks:
            lines = locks.read().splitlines()
    except OSError:
        return 0
    device = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}"
    for line in lines:
        # 7: FLOCK  ADVISORY  WRITE 1234 08:01:131090 0 EOF
        fields = line.split()
        if len(fields) != 8 or fields[1] != "FLOCK":
            continue
        where, _, inode = fields[5].rpartition(":")
        # Layered file systems name another device here than to stat: then the process noted in the file must agree.
        if inode == str(held.st_ino) and (where == device or fields[4] == noted):
            return int(fields[4])
    return 0


class JournalCopy:
    """An opened directory. ``records`` may be read once; ``unreadable`` any time. Close it when done."""

    __slots__ = ("_disk", "_started", "directory", "holder", "incarnation", "is_copy", "path", "recovery")

    def __init__(
        self, path: str, disk: ReadingDisk, directory: DataDirectory, is_copy: bool, started: tuple[int, int]
    ) -> None:
        self.path = path
        self.directory = directory
        self.is_copy = is_copy  # its mark file is not the one it was made with: never a replica's own directory
        self.holder = holder_of(path)  # process that runs on it, 0 for none
        self.incarnation = directory.incarnation - 1  # the start that was only looked at does not count
        self.recovery = Recovery(disk, directory.mark, directory.replica)
        self._disk = disk
        self._started = started

    @staticmethod
    def open(path: str) -> "JournalCopy":
        """Look at who the directory is, and put its segments in order.

        Raises DirectoryRefused (no directory of a replica, or not all of one), JournalDamaged (a head, or a whole
        segment, is not there any more) and OSError.
        """
        for attempt in range(ATTEMPTS_MAX):
            try:
                return _opened(path)
            except (DirectoryRefused, JournalDamaged, FileNotFoundError):
                if attempt == ATTEMPTS_MAX - 1 or not holder_of(path):
                    raise
        raise AssertionError("an attempt returns or raises")

    @property
    def replica(self) -> int:
        """Whose directory it is."""
        return self.directory.replica

    @property
    def promised(self) -> Ballot:
        """The highest promise that was found so far, anywhere (rule-R36)."""
        return self.recovery.promised.get(0, NO_BALLOT)

    @property
    def ends_at(self) -> int:
        """The journal position up to which something is written: for showing progress."""
        link = self.recovery.chain[-1]
        return link.shift + max(self._disk.written, link.head.records_at)

    def records(self) -> Iterator[tuple[int, Record]]:
        """All records in order, each with its group. Raises JournalDamaged where reading comes to damage,
        DirectoryChanged where the replica was started meanwhile, OSError where the disk cannot be read."""
        try:
            yield from self.recovery.records()
        except (JournalDamaged, OSError) as error:
            if _start_stamp(self.path) != self._started:
                raise DirectoryChanged(
                    f"the replica of {self.path} was started while its journal was read, which replaces files of it; "
                    "run the command again"
                ) from error
            raise

    def found(self) -> Iterator[tuple[Link, Found]]:
        """All that stands in the journal, seals included, with the segment it stands in, as far as it can be read."""
        for link, file in self._files():
            limit = file.size() if link.end is None else link.offset_of(link.end)
            for found in scan(file, self._seed, link.head.records_at, link.head.base, limit):
                yield link, found

    def unreadable(self) -> list[Stretch]:
        """Every stretch of the journal in which no record can be read, though records stand behind it."""
        gaps: list[Stretch] = []
        for link, file in self._files():
            at = link.head.base
            for found in search(file, self._seed, link.head.records_at, link.shift, file.size()):
                if link.end is not None and found[0] >= link.end:
                    break  # void: it stands in the next segment
                if found[0] > at:
                    gaps.append((link.name, at, found[0]))
                at = found[1]
            if link.end is not None and at < link.end:
                gaps.append((link.name, at, link.end))
        return gaps

    @property
    def _seed(self) -> int:
        return seed_of(self.directory.mark)

    def _files(self) -> Iterator[tuple[Link, _Kept | _Read]]:
        for link in self.recovery.chain:
            file = self._disk.open(link.name)
            try:
                yield link, file
            finally:
                file.close()

    def close(self) -> None:
        """Let go of the directory."""
        self._disk.close()


def _start_stamp(path: str) -> tuple[int, int]:
    """Changes with each start: the file of the incarnation is then another one."""
    try:
        found = os.stat(os.path.join(path, INCARNATION))
    except OSError:  # what is wrong is said when the directory is opened
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def _opened(path: str) -> JournalCopy:
    started = _start_stamp(path)
    is_copy = False
    try:
        disk = _disk_of(path)
        directory = DataDirectory.open(path, disk=disk)
    except DirectoryRefused as refusal:
        if refusal.reason != "copied":
            raise
        # To be read it may be a copy; it is only never to be started.
        is_copy = True
        disk = _disk_of(path)
        directory = DataDirectory.open(path, moved=True, disk=disk)
    copy = JournalCopy(path, disk, directory, is_copy, started)
    try:
        copy.recovery.open()
    except BaseException:
        copy.close()
        raise
    return copy


def _disk_of(path: str) -> ReadingDisk:
    try:
        return ReadingDisk(path)
    except FileNotFoundError:
        if os.path.isdir(path):
            raise
        raise DirectoryRefused("missing", f"{path} does not exist; give the data directory of a replica") from None
    except NotADirectoryError:
        raise DirectoryRefused("unusable", f"{path} is no directory; give the data directory of a replica") from None
    except PermissionError as error:
        raise DirectoryRefused(
            "unusable", f"{path} cannot be read ({error.strerror}): run this as the user that owns the directory"
        ) from error
