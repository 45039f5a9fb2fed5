"""Data directories written by the real journal, with ledgers of real commands in them; and the command line over them."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from multipaxos.cli import journal as journal_command
from multipaxos.coordination.acl import OPEN_ENTRIES, encode_entries
from multipaxos.coordination.codes import CREATE, SET_DATA
from multipaxos.coordination.commands import NO_OWNER, encode_attach, encode_found, encode_request
from multipaxos.coordination.jute import INT, pack_buffer, pack_path
from multipaxos.core.ballot import ballot_of
from multipaxos.core.decree import encode_batch, encode_configuration, encode_epoch, encode_segment
from multipaxos.core.membership import Configuration, Member
from multipaxos.core.records import AcceptedRecord, LearnedRecord, MarkRecord, PromisedRecord, Record
from multipaxos.host.journal_copy import ReadingDisk
from multipaxos.storage.identity import DataDirectory
from multipaxos.storage.record import ACCEPTED, LEARNED, encode, search, seed_of
from multipaxos.storage.segment import read_head, segment_number

BALLOT = ballot_of(1, 3)
WALL_MS = 1_700_000_000_000
SESSION = 0x100000001
OWNER = (1, 1, 7)
MEMBERS = tuple(Member(i, f"127.0.0.1:718{i}", f"127.0.0.1:218{i}", 1000 + i, True) for i in (1, 2, 3))
BIRTH = Configuration(1, MEMBERS, 64, "c" * 32)


def batch(slot: int, serial: int, *commands: bytes) -> bytes:
    """A batch of replica 1's commands, the first of them number ``serial`` of its stream."""
    return encode_batch(WALL_MS + slot, [encode_segment(1, 1, 99, serial, list(commands))])


def create(path: str, data: bytes) -> bytes:
    """A create of a persistent node."""
    record = pack_path(path) + pack_buffer(data) + encode_entries(OPEN_ENTRIES) + INT.pack(0)
    return encode_request(SESSION, OWNER, (), CREATE, record)


def put(path: str, data: bytes) -> bytes:
    """A set of any version."""
    return encode_request(SESSION, OWNER, (), SET_DATA, pack_path(path) + pack_buffer(data) + INT.pack(-1))


def ledger(slots: int) -> list[bytes]:
    """The decrees of slots 1 to ``slots``: birth, epoch, a session, /a, then one write each to /a and new nodes in turn."""
    decrees = [
        encode_configuration(WALL_MS + 1, BIRTH.encode()),
        encode_epoch(WALL_MS + 2, BALLOT),
        batch(3, 1, encode_found(BALLOT, bytes(32)), encode_attach(0, OWNER, 10_000, NO_OWNER)),
        batch(4, 3, create("/a", b"first")),
    ]
    for slot in range(5, slots + 1):
        even = slot % 2 == 0
        decrees.append(batch(slot, slot - 1, put("/a", b"at %d" % slot) if even else create(f"/n{slot}", b"x" * 20)))
    return decrees[:slots]


def voted(decrees: Sequence[bytes], marked: bool = True) -> list[Record]:
    """The records of a replica that promised, voted in every slot in order, and marked all of them but the last."""
    records: list[Record] = [PromisedRecord(BALLOT)]
    for slot, decree in enumerate(decrees, 1):
        records.append(AcceptedRecord(BALLOT, slot, decree, slot - 1))
    if marked:
        records.append(MarkRecord(len(decrees)))
    return records


def learned(decrees: Sequence[bytes]) -> list[Record]:
    """The records of a replica that fetched all from a peer."""
    return [LearnedRecord(BALLOT, slot, decree) for slot, decree in enumerate(decrees, 1)]


def made(path: Path, replica: int, records: Iterable[Record], segment_bytes: int = 1 << 20, at_once: int = 8) -> Path:
    """A directory of a replica that wrote ``records``, some with each flush, and stopped cleanly."""
    DataDirectory.create(str(path), replica).close()
    grown(path, records, segment_bytes, at_once)
    return path


def grown(path: Path, records: Iterable[Record], segment_bytes: int = 1 << 20, at_once: int = 8) -> None:
    """One more start of it."""
    directory = DataDirectory.open(str(path))
    directory.set_cluster(BIRTH.cluster, "1" * 32)
    journal = directory.journal(segment_bytes)
    for _ in journal.recovered():
        pass
    coming = iter(records)
    while some := list(islice(coming, at_once)):
        journal.append(some)
        journal.flush()
        journal.prepare()
    journal.close()
    directory.close()


@dataclass(frozen=True)
class Spot:
    """Where a record stands."""

    path: Path
    offset: int
    size: int
    position: int
    body: bytes
    ballot: int
    prefix: int
    kind: int


def spot_of(path: Path, slot: int) -> Spot:
    """The record that holds a slot's decree."""
    mark = int(json.loads((path / "mark").read_bytes().split(b"\n")[0])["mark"], 16)
    disk = ReadingDisk(str(path))
    try:
        for name in disk.names():
            if not segment_number(name):
                continue
            file = disk.open(name)
            head = read_head(file)
            shift = head.base - head.records_at
            for found in search(file, seed_of(mark), head.records_at, shift, file.size()):
                if found[2] in (ACCEPTED, LEARNED) and found[4] == slot:
                    return Spot(
                        path / name, found[0] - shift, found[1] - found[0], found[0], found[7], found[5], found[6], found[2]
                    )  # fmt: skip
            file.close()
    finally:
        disk.close()
    raise AssertionError(f"no record of slot {slot}")


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Some bytes of a file, in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int) -> None:
    """One bit of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes((byte ^ 4,)))


def forge(path: Path, slot: int, body: bytes) -> None:
    """Another decree of the same length in a slot, in a record that is right in every other way: no checksum tells."""
    spot = spot_of(path, slot)
    assert len(body) == len(spot.body)
    mark = int(json.loads((path / "mark").read_bytes().split(b"\n")[0])["mark"], 16)
    record = encode(
        seed_of(mark), spot.kind, spot.position, body, slot=slot, ballot=spot.ballot, prefix=spot.prefix
    )  # fmt: skip
    assert len(record) == spot.size
    overwrite(spot.path, spot.offset, record)


def look(path: Path) -> dict[str, tuple[str, int, int, int]]:
    """All files below a directory: digest, size, time of change, inode."""
    found = {}
    for file in sorted(path.rglob("*")):
        status = os.stat(file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        found[str(file)] = (digest, status.st_size, status.st_mtime_ns, status.st_ino)
    found[str(path)] = ("", 0, os.stat(path).st_mtime_ns, 0)
    return found


def _invoke(words: Sequence[object]) -> Result:
    result = CliRunner().invoke(journal_command.app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(*words: object) -> tuple[int, str]:
    """``multipaxos journal`` with these words: its exit code and all it prints."""
    result = _invoke(words)
    return result.exit_code, result.output


def run_json(*words: object) -> tuple[int, dict[str, Any]]:
    """The same with ``--json``: its exit code and the object on its last line."""
    result = _invoke([*words, "--json"])
    value = json.loads(result.stdout.strip().splitlines()[-1])
    assert isinstance(value, dict)
    assert value["ok"] == (result.exit_code == 0)
    return result.exit_code, value
