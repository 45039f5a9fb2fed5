"""Small disks: a file system in memory of a size that can be exhausted, mounted where nobody else sees it.

Needs root. What is mounted here is gone with this process and its children, however they end. Knows nothing of replicas.
"""

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

_NEW_MOUNTS: Final = 0x00020000
_PRIVATE_BELOW: Final = (1 << 18) | (1 << 14)  # MS_PRIVATE | MS_REC
_REMOUNT: Final = 32
_DETACH: Final = 2
_STEP_BYTES: Final = 1 << 16
_FREED_BYTES: Final = 256 << 20
_libc: Final = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def leave_mounts_private() -> str:
    """From now on what this thread and its children mount is seen by nobody else. Why that cannot be, else empty."""
    if os.geteuid() != 0:
        return "no file system of its own: not root"
    try:
        _call("unshare", _NEW_MOUNTS)
        _call("mount", b"none", b"/", None, ctypes.c_ulong(_PRIVATE_BELOW), None)
    except OSError as error:
        return f"no file system of its own: {error}"
    return ""


class SmallDisk:
    """A file system in memory at ``path``. Raises OSError."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self._ballast = path / "ballast"
        self._size_bytes = size_bytes
        _call("mount", b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), b"size=%d" % size_bytes)

    def fill(self) -> None:
        """Take all that is left."""
        with self._ballast.open("ab", buffering=0) as file:
            for step in (_STEP_BYTES, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(step))

    def free(self) -> None:
        """There is space again, and more than before."""
        options = b"size=%d" % (self._size_bytes + _FREED_BYTES)
        _call("mount", b"tmpfs", os.fsencode(self.path), b"tmpfs", ctypes.c_ulong(_REMOUNT), options)
        self._ballast.unlink(missing_ok=True)

    @property
    def room_bytes(self) -> int:
        """What is left."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Take it away with all that is on it."""
        _call("umount2", os.fsencode(self.path), _DETACH)
        self.path.rmdir()
