"""What belongs beside every number: the machine, the file system, what a sync costs on it, and what processes have
used.

A durable write is only worth something if the disk is waited for, so the folder's file system is named and refused
when it is memory, and 4 KiB writes with `fdatasync` are timed on it. Linux only where it reads /proc; elsewhere the
values are left out. Knows nothing of clusters.
"""

import os
import platform
import sys
import time
from dataclasses import dataclass

MEMORY_FILESYSTEMS = ("tmpfs", "ramfs", "devtmpfs")
_PROBE_WRITES = 200
_PROBE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """What a process has used so far, and what it holds."""

    cpu_seconds: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class FilesystemProbe:
    """A folder's file system, and the time of a 4 KiB write with `fdatasync` into space written before."""

    path: str
    kind: str
    sync_median_us: float
    sync_p99_us: float

    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.kind}; a 4 KiB write with fdatasync takes {self.sync_median_us:.0f} us in the median, "
            f"{self.sync_p99_us:.0f} us at p99"
        )

    def as_json(self) -> dict[str, object]:
        """The same for a program."""
        return {
            "filesystem": self.kind,
            "fdatasync_4k_median_us": round(self.sync_median_us, 1),
            "fdatasync_4k_p99_us": round(self.sync_p99_us, 1),
        }


def filesystem_kind(path: str) -> str:
    """The type of the file system that holds ``path``, as the kernel names it; "unknown" where it cannot be asked."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            lines = mounts.read().splitlines()
    except OSError:
        return "unknown"
    return filesystem_kind_in(lines, os.path.realpath(path))


def filesystem_kind_in(mounts: list[str], path: str) -> str:
    """The same, from the lines of a mountinfo file. The last of the longest mount points that lead to ``path``
    holds it.
    """
    longest = -1
    kind = "unknown"
    for line in mounts:
        left, dash, right = line.partition(" - ")
        fields = left.split()
        if not dash or len(fields) < 5 or not right.split():
            continue
        point = _unescaped(fields[4])
        is_above = path == point or path.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= longest:
            longest = len(point)
            kind = right.split()[0]
    return kind


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def probe_filesystem(folder: str, writes: int = _PROBE_WRITES) -> FilesystemProbe:
    """Time synced writes in ``folder``. The space is written before, as a journal's is: growing a file costs twice
    as much.
    """
    path = os.path.join(folder, f"sync-probe-{os.getpid()}")
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.write(descriptor, bytes(_PROBE_BYTES * writes))
        os.fsync(descriptor)
        data = os.urandom(_PROBE_BYTES)
        sync = getattr(os, "fdatasync", os.fsync)
        times: list[int] = []
        for number in range(writes):
            began = time.perf_counter_ns()
            os.pwrite(descriptor, data, number * _PROBE_BYTES)
            sync(descriptor)
            times.append(time.perf_counter_ns() - began)
    finally:
        os.close(descriptor)
        os.unlink(path)
    times.sort()
    return FilesystemProbe(
        folder, filesystem_kind(folder), times[len(times) // 2] / 1000, times[len(times) * 99 // 100] / 1000
    )


def sample_process(pid: int) -> ProcessSample:
    """Processor time of all threads of a process, kernel included, and its resident memory; OSError when it is gone."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        # The name in the second field may hold blanks and brackets; what follows the last bracket does not.
        fields = file.read().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(fields[21])
    return ProcessSample(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


def processor_name() -> str:
    """The processor as the kernel names it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, colon, value = line.partition(":")
                if colon and name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass  # no such file elsewhere than on Linux
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Memory of the machine; 0 where it cannot be asked."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def describe_machine() -> dict[str, object]:
    """The machine and the interpreter, for the head of a report."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:
        usable = os.cpu_count() or 0
    return {
        "processor": processor_name(),
        "cores": usable,
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
    }
