"""The little that storage asks of a directory, and the real one.

An interface of its own, so that tests put a disk in its place that loses what was not synced, tears writes, flips bits,
fails at the Nth call or hangs. Knows nothing of what stands in the files. Every call may raise ``OSError``; what that
means (stop, or "full") is decided by whoever called: ``journal.py``.

What the interface promises, and no more: bytes written are durable once a ``sync`` of that file has returned, names
once a ``sync_names`` of the directory has returned (bug-C03). Before that any part of them may be there after a power
loss, and all of them are seen by whoever reads, also after this process was killed (trap-T28).
"""

import errno
import fcntl
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol

BLOCK_BYTES: Final = 4096
"""The block of a file system: what a write of one byte may rewrite, and may lose (rule-R37)."""

ZERO_STEP_BYTES: Final = 256 * 1024
"""Zeros are written in pieces of this size. An idle journal syncs each piece, so that a flush never waits long for it; a
busy one syncs what it needs at once, since on a slow disk it is the number of syncs that holds up everybody."""

_ZEROS: Final = bytes(ZERO_STEP_BYTES)

_VECTOR_PARTS_MAX: Final = 1024  # the kernel takes no more parts in one call
_VECTOR_PART_BYTES_MIN: Final = 2048  # measured: below this mean size joining the parts first is quicker


class DiskLocked(Exception):
    """Another process holds the directory's lock; ``holder`` is its process id as text, or empty."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


class DiskFile(Protocol):
    """An open file of the directory."""

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        """Write ``parts``, one behind the other, from ``offset`` on: all of them, or OSError."""

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on; fewer only where the file ends."""

    def sync(self) -> None:
        """Make all that was written to this file durable, and its size."""

    def size(self) -> int:
        """The file's length in bytes."""

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""

    def close(self) -> None:
        """Let go of the file. Makes nothing durable."""


class Disk(Protocol):
    """A directory."""

    where: str  # how people know it, for messages

    def names(self) -> list[str]:
        """What the directory holds, sorted."""

    def create(self, name: str) -> DiskFile:
        """A new, empty file. FileExistsError where the name is taken."""

    def open(self, name: str) -> DiskFile:
        """A file that exists, for reading and writing."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name; a file of that name is replaced."""

    def remove(self, name: str) -> None:
        """Take a file out of the directory."""

    def sync_names(self) -> None:
        """Make all that was created, renamed and removed so far durable."""

    def sync_own_name(self) -> None:
        """Make the directory's own name in the one above it durable."""

    def inode(self, name: str) -> int:
        """The number by which the file system knows a file: a copy has another (rule-R41)."""

    def filesystem(self) -> str:
        """The id of the file system. Shown to people, decides nothing: on some systems it changes over reboots."""

    def lock(self) -> None:
        """Take the directory for this process until ``close``. Raises DiskLocked."""

    def close(self) -> None:
        """Let go of the directory and its lock."""


def write_zeros(file: DiskFile, first: int, last: int) -> None:
    """Write zeros to offsets ``first`` to ``last - 1`` in pieces, and sync them once.

    Zeros that were written, not merely reserved: then a later fdatasync has no block to allocate and no extent to
    convert, and takes about half the time (design: performance); and ENOSPC comes here, not inside (rule-R38).
    """
    at = first
    while at < last:
        count = min(ZERO_STEP_BYTES, last - at)
        file.write(at, [_ZEROS[:count] if count < ZERO_STEP_BYTES else _ZEROS])
        at += count
    if first < last:
        file.sync()


class RealFile:
    """A file of the operating system."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, offset: int, parts: Sequence[bytes]) -> None:
        """Write all parts; large ones are handed to the kernel as they are, small ones joined first."""
        total = 0
        for part in parts:
            total += len(part)
        if len(parts) > 1 and total >= len(parts) * _VECTOR_PART_BYTES_MIN:
            for begin in range(0, len(parts), _VECTOR_PARTS_MAX):
                some = parts[begin : begin + _VECTOR_PARTS_MAX]
                wanted = 0
                for part in some:
                    wanted += len(part)
                written = os.pwritev(self._fd, some, offset)
                if written < wanted:
                    self._write_whole(b"".join(some), written, offset)
                offset += wanted
            return
        self._write_whole(parts[0] if len(parts) == 1 else b"".join(parts), 0, offset)

    def _write_whole(self, data: bytes, done: int, offset: int) -> None:
        while done < len(data):
            # A short write is legal; the next call finishes it or says what is wrong.
            written = os.pwrite(self._fd, memoryview(data)[done:] if done else data, offset + done)
            if written == 0:
                raise OSError(errno.EIO, "a write made no progress")
            done += written

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes; short only at the end of the file."""
        data = os.pread(self._fd, size, offset)
        while data and len(data) < size:
            more = os.pread(self._fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def sync(self) -> None:
        """fdatasync; on macOS the call that empties the drive's own cache, since there fsync does not."""
        if sys.platform == "darwin":
            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._fd)

    def size(self) -> int:
        """The file's length."""
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        """Cut the file."""
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


class RealDisk:
    """A directory of the operating system, held by a descriptor: renaming its path changes nothing here."""

    __slots__ = ("_fd", "_lock_fd", "where")

    def __init__(self, path: str) -> None:
        self.where = path
        self._lock_fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def names(self) -> list[str]:
        """All names but . and .., sorted."""
        return sorted(os.listdir(self._fd))

    def create(self, name: str) -> RealFile:
        """A new file, readable by its owner only: sessions' secrets stand in the journal (rule-R27)."""
        return RealFile(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._fd))

    def open(self, name: str) -> RealFile:
        """An existing file."""
        return RealFile(os.open(name, os.O_RDWR, dir_fd=self._fd))

    def rename(self, old: str, new: str) -> None:
        """Atomic within the directory."""
        os.rename(old, new, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def remove(self, name: str) -> None:
        """Unlink."""
        os.unlink(name, dir_fd=self._fd)

    def sync_names(self) -> None:
        """fsync of the directory."""
        os.fsync(self._fd)

    def sync_own_name(self) -> None:
        """fsync of the directory above, where this process may read it and its file system knows such a thing."""
        try:
            parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._fd)
        except PermissionError:
            return  # not ours to sync: whoever made the directory for us, a volume say, answers for its name
        try:
            os.fsync(parent)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):
                raise
        finally:
            os.close(parent)

    def inode(self, name: str) -> int:
        """st_ino."""
        return os.stat(name, dir_fd=self._fd).st_ino

    def filesystem(self) -> str:
        """f_fsid in hexadecimal."""
        return f"{os.fstatvfs(self._fd).f_fsid:x}"

    def lock(self) -> None:
        """flock on the file ``lock``, which names the holder. The kernel lets go of it when the process ends."""
        fd = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=self._fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise DiskLocked(holder) from None
        except OSError:
            os.close(fd)
            raise
        self._lock_fd = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Close the lock and the directory; a second call does nothing."""
        if self._lock_fd >= 0:
            fd, self._lock_fd = self._lock_fd, -1
            os.close(fd)
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
