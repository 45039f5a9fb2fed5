"""The test's end of the disk shim (``shim.c``): builds it, switches its faults at run time, reads its counters, and
does to a directory whose process was killed what a power loss would have done.

``DiskShim.drop_unsynced`` is the strict reading of POSIX: every byte whose file, and every name whose directory, was not
synced afterwards is as it was before. Changes that an earlier process of the same directory left unsynced are dropped
too: a restart syncs nothing by itself (trap-T28).

Knows nothing of multipaxos. Next: ``cluster_harness.py``.
"""

import contextlib
import mmap
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
MAGIC: Final = 0x4F444E55
WRITE, TRUNCATE, SYNC, CREATE, RENAME, UNLINK, FAILED = range(1, 8)
PASS, HANG, FAIL_ONCE, DELAY = range(4)
_RECORD: Final = Struct("<IIQQQQII")
_CONTROL: Final = Struct("<IIQQQQQ")
_CONTROL_BYTES: Final = 4096


def compiler() -> str | None:
    """The C compiler, where there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build_shim(folder: Path) -> Path:
    """The shim as a library in ``folder``."""
    library = folder / "disk-shim.so"
    found = compiler()
    assert found is not None
    command = [found, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE)]
    made = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"the disk shim does not build:\n{made.stderr}"
    return library


@dataclass(frozen=True, slots=True)
class Counters:
    """What the shim counted since its directory was first used, over all processes."""

    begun: int  # syncs asked for
    done: int  # syncs that returned, or were answered by the disk with an error of its own
    writes: int
    hanging: int  # syncs that stand still now
    failed: int  # syncs the shim failed


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

    def heal(self) -> None:
        """Syncs are what they were; those that stood still go on."""
        self._switch(PASS)

    @property
    def counters(self) -> Counters:
        """The present counts."""
        return Counters(*_CONTROL.unpack_from(self._control)[2:])

    # -- power loss ---------------------------------------------------------------------------------------------------

    def mend(self) -> None:
        """Cut the record that a killed process was writing: the change it speaks of was not made."""
        end = 0
        for record in self._records():
            end = record.at + _RECORD.size + len(record.first) + len(record.second)
        os.truncate(self._undo, end)

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
        shutil.rmtree(self._state / "kept")
        (self._state / "kept").mkdir()
        self._undo.write_bytes(b"")
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
