"""The outer end of the shim (``shim.c``): builds it, switches its faults at run time, reads its counters, and does to a
directory whose process was killed what a power loss would have done.

``DiskShim.drop_unsynced`` is the strict reading of POSIX: every byte whose file, and every name whose directory, was not
synced afterwards is as it was before. Changes that an earlier process of the same directory left unsynced are dropped
too: a restart syncs nothing by itself (trap-T28).

Needs a C compiler once a run, and says so by name where there is none. Knows nothing of replicas.
"""

import contextlib
import mmap
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
MAGIC: Final = 0x4F444E55
WRITE, TRUNCATE, SYNC, CREATE, RENAME, UNLINK, FAILED = range(1, 8)
PASS, HANG, FAIL_ONCE, DELAY, FAIL_WRITE = range(5)
_RECORD: Final = Struct("<IIQQQQII")
_CONTROL: Final = Struct("<IIQQQQQQQQQqqqQq")
_CONTROL_BYTES: Final = 4096
# Where the fields of struct control that this end writes stand.
_IS_LIMITED: Final = 56
_ROOM: Final = 64
_CLOCK_OFFSET: Final = 80
_CLOCK_RATE: Final = 88
_CLOCK_ANCHOR: Final = 96


class ShimError(Exception):
    """The shim cannot be built. The text says why."""


def compiler() -> str | None:
    """The C compiler, where there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build_shim(folder: Path) -> Path:
    """The shim as a library in ``folder``. Raises ShimError."""
    library = folder / "shim.so"
    found = compiler()
    if found is None:
        raise ShimError("no C compiler (cc, gcc or clang)")
    command = [found, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE)]
    made = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise ShimError(f"{found} cannot build it: {made.stderr.strip()}")
    return library


@dataclass(frozen=True, slots=True)
class Counters:
    """What the shim counted since its directory was first used, over all processes."""

    begun: int  # syncs asked for
    done: int  # syncs that returned, or were answered by the disk with an error of its own
    writes: int
    hanging: int  # syncs that stand still now
    failed: int  # syncs the shim failed
    failed_writes: int  # writes the shim failed
    refused: int  # writes for which there was no space
    clock_reads: int  # readings of the wall clock that were answered with another time
    clock_difference_ns: int  # of the last of them


@dataclass(frozen=True, slots=True)
class _Record:
    at: int
    kind: int
    inode: int
    offset: int
    length: int
    old_size: int
    first: bytes
    second: bytes


class DiskShim:
    """One watched directory."""

    def __init__(self, library: Path, root: Path, state: Path) -> None:
        self.root = root.resolve()
        self._library = library
        self._state = state
        self._undo = state / "undo"
        (state / "kept").mkdir(parents=True)
        control = state / "control"
        control.write_bytes(bytes(_CONTROL_BYTES))
        self._undo.write_bytes(b"")
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL_BYTES)

    def close(self) -> None:
        """Let go of the control file."""
        self._control.close()

    def environment(self) -> dict[str, str]:
        """What the watched process needs in its environment."""
        return {"LD_PRELOAD": str(self._library), "SHIM_ROOT": str(self.root), "SHIM_STATE": str(self._state)}

    # -- faults -----------------------------------------------------------------------------------------------------

    def _switch(self, mode: int, delay_ms: int = 0) -> None:
        self._control[4:8] = delay_ms.to_bytes(4, "little")
        self._control[0:4] = mode.to_bytes(4, "little")

    def hang(self) -> None:
        """From now on no sync returns."""
        self._switch(HANG)

    def fail_once(self) -> None:
        """The next sync fails with EIO."""
        self._switch(FAIL_ONCE)

    def delay(self, milliseconds: int) -> None:
        """Each sync takes so much longer."""
        self._switch(DELAY, milliseconds)

    def fail_write_once(self) -> None:
        """The next write fails with EIO."""
        self._switch(FAIL_WRITE)

    def limit(self, room_bytes: int) -> None:
        """Files may grow by so much in all; then the disk is full."""
        self._put(_ROOM, room_bytes)
        self._put(_IS_LIMITED, 1)

    def shift_clock(self, offset_ns: int, rate_ppm: int = 0) -> None:
        """The wall clock is off by so much from now on, and goes so much faster."""
        self._put(_CLOCK_ANCHOR, time.time_ns())
        self._put(_CLOCK_RATE, rate_ppm)
        self._put(_CLOCK_OFFSET, offset_ns)

    def heal(self) -> None:
        """Syncs are what they were, those that stood still go on; there is space, and the clock is right."""
        self._switch(PASS)
        self._put(_IS_LIMITED, 0)
        self._put(_CLOCK_RATE, 0)
        self._put(_CLOCK_OFFSET, 0)

    def _put(self, at: int, value: int) -> None:
        self._control[at : at + 8] = value.to_bytes(8, "little", signed=True)

    @property
    def counters(self) -> Counters:
        """The present counts."""
        _, _, begun, done, writes, hanging, failed, failed_writes, _, _, refused, *clock = _CONTROL.unpack_from(
            self._control
        )
        return Counters(begun, done, writes, hanging, failed, failed_writes, refused, clock[3], clock[4])

    # -- power loss ---------------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """Before a start: cut the record that a killed process was writing (the change it speaks of was not made), and
        forget what is durable by now, so that a long run does not read a long file."""
        records = list(self._records())
        settled = _settled(records)
        if any(record.kind == FAILED for record in records):
            # What is durable may be younger than what is in doubt: then both are needed to take back the one.
            last = records[-1]
            os.truncate(self._undo, last.at + _RECORD.size + len(last.first) + len(last.second))
            return
        data = self._undo.read_bytes()
        open_ones = [record for record in records if record.kind != SYNC and record.at not in settled]
        self._undo.write_bytes(
            b"".join(
                data[record.at : record.at + _RECORD.size + len(record.first) + len(record.second)]
                for record in open_ones
            )
        )

    def forget(self) -> None:
        """The files are others now, and durable."""
        shutil.rmtree(self._state / "kept")
        (self._state / "kept").mkdir()
        self._undo.write_bytes(b"")

    def _records(self) -> Iterator[_Record]:
        data = self._undo.read_bytes()
        at = 0
        while at + _RECORD.size <= len(data):
            magic, kind, inode, offset, length, old_size, first, second = _RECORD.unpack_from(data, at)
            assert magic == MAGIC, f"{self._undo} is not readable at {at}"
            begin = at + _RECORD.size
            if begin + first + second > len(data):
                return
            middle = begin + first
            yield _Record(at, kind, inode, offset, length, old_size, data[begin:middle], data[middle : middle + second])
            at = middle + second

    def drop_unsynced(self) -> int:
        """Take back all that was not synced. The process must be dead. Returns how many changes that were."""
        records = list(self._records())
        settled = _settled(records)
        places = self._places()
        dropped = 0
        kept_ranges: dict[int, list[tuple[int, int]]] = {}
        for record in reversed(records):
            if record.at in settled:
                # Younger than what is taken back below, and durable: it stays (only after a failed sync).
                if record.kind == WRITE:
                    span = (record.offset, record.offset + record.length)
                    kept_ranges.setdefault(record.inode, []).append(span)
                continue
            if record.kind in (SYNC, FAILED):
                continue
            dropped += 1
            if record.kind in (WRITE, TRUNCATE):
                path = places.get(record.inode)
                if path is not None and path.exists():
                    _put_back(path, record, kept_ranges.get(record.inode, []))
            else:
                self._put_name_back(places, record)
        self.forget()
        return dropped

    def _places(self) -> dict[int, Path]:
        places = {self.root.stat().st_ino: self.root}
        for folder, folders, files in os.walk(self.root):
            for name in folders + files:
                path = Path(folder, name)
                places[path.stat().st_ino] = path
        for path in (self._state / "kept").iterdir():
            places.setdefault(path.stat().st_ino, path)
        return places

    def _put_name_back(self, places: dict[int, Path], record: _Record) -> None:
        folder = places[record.inode]
        name = folder / os.fsdecode(record.first)
        kept = self._state / "kept" / str(record.old_size)
        if record.kind == CREATE:
            with contextlib.suppress(FileNotFoundError):  # killed before it was made
                name.unlink()
        elif record.kind == UNLINK:
            if not name.exists():
                os.link(kept, name)
                places[name.stat().st_ino] = name
        else:
            new = folder / os.fsdecode(record.second)
            if new.exists() and not name.exists():
                new.rename(name)
                places[name.stat().st_ino] = name
                if record.old_size:
                    os.link(kept, new)
                    places[new.stat().st_ino] = new


def _settled(records: list[_Record]) -> set[int]:
    """Which changes a sync covered: it covers what was noted when it began, but for what a failed sync left in doubt."""
    waiting: dict[int, list[int]] = {}
    settled: set[int] = set()
    for record in records:
        if record.kind == SYNC:
            open_ones = waiting.get(record.inode, [])
            settled.update(at for at in open_ones if at < record.offset)
            waiting[record.inode] = [at for at in open_ones if at >= record.offset]
        elif record.kind == FAILED:
            waiting[record.inode] = []
        else:
            waiting.setdefault(record.inode, []).append(record.at)
    return settled


def _put_back(path: Path, record: _Record, kept_ranges: list[tuple[int, int]]) -> None:
    with path.open("r+b") as file:
        if not kept_ranges:
            file.seek(record.offset)
            file.write(record.first)
            file.truncate(record.old_size)
            return
        # Something younger in this file is durable, and so is the length it gave the file: before it stand zeros.
        size = os.fstat(file.fileno()).st_size
        old = record.first.ljust(record.length, b"\0")
        for begin, end in _without(record.offset, min(record.offset + record.length, size), kept_ranges):
            file.seek(begin)
            file.write(old[begin - record.offset : end - record.offset])


def _without(begin: int, end: int, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """[begin, end) without the parts that any of ``ranges`` covers."""
    parts = [(begin, end)]
    for low, high in ranges:
        parts = [
            piece
            for first, last in parts
            for piece in ((first, min(last, low)), (max(first, high), last))
            if piece[0] < piece[1]
        ]
    return parts
