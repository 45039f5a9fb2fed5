"""One place of a journal goes bad: every bit of its tail, every cut of its tail, every sector misplaced or gone.

The journal is that of a workload, all of it on the disk. Below a seal, damage is named or survived, never cut off in
silence; above the last seal it may be cut like a torn tail, for nothing can tell the two apart (rule-R34, rule-R42).
"""

from collections.abc import Iterator
from typing import Final

from multipaxos.sim.blocks import SECTOR, BlockDisk
from multipaxos.sim.checkers import Violation
from multipaxos.sim.crash_life import Life, fresh
from multipaxos.sim.crash_verdict import CUT, MARK, READ_RIGHT, REFUSED, SEGMENT_BYTES, check_damage
from multipaxos.storage.promise import COPIES, copy_name
from multipaxos.storage.record import HEADER_BYTES, SEAL, search, seed_of
from multipaxos.storage.segment import read_head, segment_number

TAIL_BYTES: Final = 4096
"""So much of the end of each file is flipped bit by bit and cut byte by byte."""

HEAD_BYTES: Final = 256
"""And so much of its beginning."""

PADDING_EVERY: Final = 64
"""Of the zeros between a segment's head and its records each so-many-th byte."""


class Rot:
    """One workload, and each way in which one place of what it wrote can go bad."""

    def __init__(self, workload: str, bit_every: int = 1, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.workload = workload
        self.segment_bytes = segment_bytes
        self.bit_every = bit_every  # flip each so-many-th bit; 1 for all
        self.flips = 0
        self.cuts = 0
        self.misplaced = 0
        self.outcomes = {REFUSED: 0, CUT: 0, READ_RIGHT: 0}
        life = Life(fresh(), segment_bytes)
        life.start()
        for letter in workload:
            life.operate(letter)
        self._life = life
        self._disk = life.disk.lose_power(lambda unit: True)
        self._newest = [name for name in self._disk.names() if segment_number(name)][-1]
        # What was appended and not flushed is in the memory of a process that is gone.
        self._told = life.told[: life.safe]

    def run(self) -> None:
        """Raises Violation, its text with the workload and the place."""
        for name, bit in self._bits():
            disk = self._disk.copy()
            disk.flip(name, bit)
            self.flips += 1
            self._judge(disk, self._struck(name, bit // 8), f"bit {bit} of {name} flipped")
        for name, size in self._sizes():
            disk = self._disk.copy()
            disk.cut(name, size)
            self.cuts += 1
            self._judge(disk, (), f"{name} cut to {size} bytes")
        for text, disk in self._sectors():
            self.misplaced += 1
            self._judge(disk, (), text)
        self._run_blind()
        self._run_pairs()

    def _run_blind(self) -> None:
        """Both copies of the promises are gone as well: a bad end may hide a raise then, which must not be forgotten
        (rule-R36)."""
        blind = self._disk.copy()
        for copy in COPIES:
            blind.cut(copy_name(copy), 0)
        for name, bit in self._bits():
            if name != self._newest or bit % 8 != bit // 8 % 8:  # one bit of each byte
                continue
            disk = blind.copy()
            disk.flip(name, bit)
            self.flips += 1
            self._judge(disk, (), f"both copies cut, bit {bit} of {name} flipped", 0)

    def _run_pairs(self) -> None:
        """A vote and the seal that names it: the next seal says it again (rule-R34)."""
        seals = self._seals()
        for index, end in enumerate(self._life.ends[: self._life.safe]):
            behind = [seal for seal in seals if seal[1] >= end]
            if len(behind) < 2 or self._life.begins[index] < 0:
                continue
            disk = self._disk.copy()
            for name, position in ((behind[0][0], behind[0][1]), (behind[0][0], self._life.begins[index])):
                offset = self._offset_of(name, position)
                if offset < 0:
                    break
                disk.flip(name, (offset + HEADER_BYTES - 1) * 8)
                self.flips += 1
            else:
                self._judge(disk, (index,), f"record {index} and its seal flipped", index + 1, True)

    def _seals(self) -> list[tuple[str, int]]:
        """(file, journal position) of all seals, in order."""
        found: list[tuple[str, int]] = []
        for name in self._disk.names():
            if segment_number(name):
                file = self._disk.open(name)
                head = read_head(file)
                shift = head.base - head.records_at
                for record in search(file, seed_of(MARK), head.records_at, shift, file.size()):
                    if record[2] == SEAL:
                        found.append((name, record[0]))
        return found

    def _offset_of(self, name: str, position: int) -> int:
        """Where in a segment a journal position stands; -1 where it does not."""
        head = read_head(self._disk.open(name))
        return head.records_at + position - head.base if position >= head.base else -1

    def _judge(
        self, disk: BlockDisk, struck: tuple[int, ...], where: str, sealed: int = -1, is_named: bool = False
    ) -> None:
        life = self._life
        kept_min = life.sealed if sealed < 0 else sealed
        try:
            outcome = check_damage(disk, self._told, kept_min, life.safe, struck, is_named, self.segment_bytes)
        except Violation as violation:
            raise Violation(
                violation.invariant, f"workload {self.workload!r}, {where}: {violation.text}"
            ) from violation
        self.outcomes[outcome] += 1

    def _files(self) -> list[tuple[str, int]]:
        """Each file that says something, and how many bytes of it do."""
        found: list[tuple[str, int]] = []
        for name in self._disk.names():
            used = len(self._disk.files[name].cached.rstrip(b"\0"))
            if used and (segment_number(name) or name.startswith("promise")):
                found.append((name, used))
        return found

    def _bits(self) -> Iterator[tuple[str, int]]:
        count = 0
        for name, used in self._files():
            # Behind the end as well: a stray bit in the zeros is no record, and no damage either.
            last = min(used + HEADER_BYTES, len(self._disk.files[name].cached))
            records_at = self._records_at(name)
            for byte in range(last):
                if HEAD_BYTES <= byte < last - TAIL_BYTES or self._is_skipped(byte, records_at):
                    continue
                for bit in range(8):
                    count += 1
                    if count % self.bit_every == 0:
                        yield name, byte * 8 + bit

    def _sizes(self) -> Iterator[tuple[str, int]]:
        for name, used in self._files():
            whole = len(self._disk.files[name].cached)
            records_at = self._records_at(name)
            for size in range(0, whole, self.bit_every):
                is_near = size < HEAD_BYTES or used - TAIL_BYTES <= size <= used + HEADER_BYTES or size == whole - 1
                if is_near and not self._is_skipped(size, records_at):
                    yield name, size

    def _records_at(self, name: str) -> int:
        """Where a segment's records begin; 0 for another file."""
        return read_head(self._disk.open(name)).records_at if segment_number(name) else 0

    def _is_skipped(self, byte: int, records_at: int) -> bool:
        return HEAD_BYTES <= byte < records_at and byte % PADDING_EVERY != 0

    def _sectors(self) -> Iterator[tuple[str, BlockDisk]]:
        """Each used sector gone, or with the content of each other one in its place (misdirected writes and reads)."""
        used = dict(self._files())
        # A sector that takes a record and the only word for it takes both: nothing here can tell (rule-R42). So the
        # newest segment's sectors end before the one in which what is not sealed, or the last seal, begins.
        used[self._newest] = self._sealed_bytes() // SECTOR * SECTOR
        for name in used:
            for at in range(0, used[name], SECTOR * self.bit_every):
                pieces = [("lost", bytes(SECTOR))]
                for other, size in self._files():
                    for source in range(0, size, SECTOR):
                        content = bytes(self._disk.files[other].cached[source : source + SECTOR])
                        pieces.append((f"holding that at {source} of {other}", content))
                for text, piece in pieces:
                    disk = self._disk.copy()
                    inode = disk.files[name]
                    inode.cached[at : at + SECTOR] = piece
                    inode.durable = bytearray(inode.cached)
                    yield f"sector at {at} of {name} {text}", disk

    def _sealed_bytes(self) -> int:
        """Where in the newest segment the last thing stands that says of what is before it that it is durable."""
        head = read_head(self._disk.open(self._newest))
        life = self._life
        # Behind the sealed records a seal begins; both copies may say the same, and then one sector takes neither.
        position = max((end for end in life.ends[: life.sealed]), default=0)
        return head.records_at + max(position - head.base, 0)

    def _struck(self, name: str, byte: int) -> tuple[int, ...]:
        """Which record stands at this byte of a file."""
        if not segment_number(name):
            return ()
        head = read_head(self._disk.open(name))
        if byte < head.records_at:
            return ()
        index = self._life.index_at(head.base + byte - head.records_at)
        return () if index < 0 or index >= len(self._told) else (index,)
