"""Section C of the catalogue: durability and storage; and the rules of the journal and of its directory (rule-R33 to R41).

Most are killed by the enumeration of crashes, errors and rot under the real journal, ``sim/crashes.py``.
"""

from typing import Final

from multipaxos.mutants.hunts import Hunt, check, seeds, storage
from multipaxos.mutants.mutant import Mutant, Patch, Waiting

_CRASHES: Final = "multipaxos.sim.crashes"


def crashes(operations: int = 1) -> Hunt:
    """Crashes at every call of all workloads of up to so many operations, sectors torn at some bytes only."""
    return storage(_CRASHES, "--operations", str(operations), "--tear", "7", "--json")


def crashes_of(*workloads: str) -> Hunt:
    """The same of these workloads, all their operations."""
    asked = [word for workload in workloads for word in ("--workload", workload)]
    return storage(_CRASHES, *asked, "--tear", "7", "--json")


def errors(operations: int = 1) -> Hunt:
    """An error at each call of all workloads."""
    return storage(_CRASHES, "--operations", str(operations), "--no-crashes", "--errors", "--json")


def errors_of(*workloads: str) -> Hunt:
    """An error at each call of these workloads, the first start's included."""
    asked = [word for workload in workloads for word in ("--workload", workload)]
    return storage(_CRASHES, *asked, "--no-crashes", "--errors", "--json")


def rot(operations: int = 1) -> Hunt:
    """Each third bit, cut and sector of what all workloads wrote."""
    return storage(_CRASHES, "--operations", str(operations), "--no-crashes", "--flips", "--bit-every", "3", "--json")


def rot_of(*workloads: str) -> Hunt:
    """The same of these workloads, every bit of them."""
    asked = [word for workload in workloads for word in ("--workload", workload)]
    return storage(_CRASHES, *asked, "--no-crashes", "--flips", "--json")


def directories() -> Hunt:
    """The data directory as a whole: crashed, rotten, emptied in part, copied."""
    return storage(_CRASHES, "--directories", "--json")


_SEALS_AT_ONCE: Final = (
    Patch(
        "storage/journal.py",
        "        self._seal_next(batch.tally, batch.end)\n        return batch\n",
        "        self._seal_next(batch.tally, batch.end)\n"
        "        batch.parts = batch.parts + self._parts\n"
        "        batch.end = self._start = self._end\n"
        "        self._parts = []\n"
        "        return batch\n",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        ("bug-C01", "rule-R33"),
        "reply before sync",
        "Promises and votes leave before the record of them is durable.",
        "tikv #994; nats #7564; etcd #14370",
        (
            Patch(
                "core/effects.py",
                "        self.when_durable.append((to, message))\n",
                "        self.messages.append((to, message))\n",
            ),
        ),
        ("I8",),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("bug-C01",),
        "the journal is written and not synced",
        "A flush calls durable what only the page cache holds.",
        "tikv #994; nats #7564; etcd #14370",
        (
            Patch(
                "storage/journal.py",
                "                segment.file.write(segment.offset_of(batch.start), batch.parts)\n"
                "                segment.file.sync()\n",
                "                segment.file.write(segment.offset_of(batch.start), batch.parts)\n",
            ),
        ),
        ("I3", "I8"),
        (crashes_of("l"),),
    ),
    Mutant(
        ("bug-C02", "rule-R37"),
        "a failed sync is tried again",
        "The second sync returns success and proves nothing: the kernel has marked the pages clean.",
        "cockroachdb #37102; Rebello et al., ATC 2020; turso #2091",
        (
            Patch(
                "storage/journal.py",
                "                segment.file.write(segment.offset_of(batch.start), batch.parts)\n"
                "                segment.file.sync()\n",
                "                segment.file.write(segment.offset_of(batch.start), batch.parts)\n"
                "                try:\n"
                "                    segment.file.sync()\n"
                "                except OSError:\n"
                "                    segment.file.sync()\n",
            ),
        ),
        ("I8",),
        (errors_of("l"),),
    ),
    Mutant(
        ("bug-C03",),
        "the directory is not synced when a segment gets its name",
        "The file is durable, its name is not: after a power loss the segment in use is gone.",
        "etcd #6368; Pillai et al., OSDI 2014",
        (
            Patch(
                "storage/journal.py",
                "        self._disk.rename(SPARE, name)\n        self._disk.sync_names()\n        self._spare = None\n",
                "        self._disk.rename(SPARE, name)\n        self._spare = None\n",
            ),
        ),
        ("I3", "I8", "rule-R37", "trap-T27"),
        (crashes(),),
    ),
    Mutant(
        ("bug-C03", "rule-R41"),
        "the directory is not synced when a small file is replaced",
        "After a power loss the incarnation is missing or comes back: a start is refused, or counted twice.",
        "etcd #6368; Pillai et al., OSDI 2014",
        (
            Patch(
                "storage/identity.py",
                "    disk.rename(making, name)\n    disk.sync_names()\n",
                "    disk.rename(making, name)\n",
            ),
        ),
        ("rule-R40", "rule-R41", "trap-T27"),
        (directories(),),
    ),
    Mutant(
        ("bug-C04", "trap-T27"),
        "a torn tail refuses the start",
        "What a crash left half written is told as damage: a cluster that lost power everywhere does not start again.",
        "etcd #6378, #6379; mysticeti #219; samyama #1335",
        (
            Patch(
                "storage/recovery.py",
                "        if is_torn and len(self.unreadable_copies) == len(COPIES):\n",
                "        if is_torn:\n",
            ),
        ),
        ("trap-T27",),
        (crashes(),),
    ),
    Mutant(
        ("bug-C05", "rule-R34"),
        "every bad record is the end of the journal",
        "A record that rotted is cut with all behind it, acknowledged votes among them.",
        "camunda #6098; pebble #453; nats #7549; vibesql #5357",
        (
            Patch(
                "storage/recovery.py",
                "        if self.end < known:\n"
                '            raise self._damaged_at(link, self.end, "a record that was durable cannot be read", known)\n'
                "        is_torn",
                "        is_torn",
            ),
        ),
        ("I3", "rule-R34"),
        (rot(),),
    ),
    Mutant(
        ("bug-C05", "rule-R34"),
        "an older segment may end where it likes",
        "A segment that was followed by another was durable to its end; a hole in it is read over.",
        "camunda #6098; pebble #453; nats #7549; vibesql #5357",
        (
            Patch(
                "storage/recovery.py",
                "        elif self.end != link.end:\n"
                "            raise self._damaged_at(link, self.end, "
                '"a record that was durable cannot be read", link.end)\n',
                "",
            ),
        ),
        ("I1", "I3", "rule-R34"),
        (rot_of("BB"),),
    ),
    Mutant(
        ("bug-C07",),
        "a write that failed is taken for done",
        "The disk is full or broken, the error is swallowed, and the replica answers for what it never wrote.",
        "ZOOKEEPER-3701",
        (
            Patch(
                "storage/journal.py",
                '            self._fail(f"writing {batch.end - batch.start} bytes at position {batch.start}", error)\n',
                "            del error\n",
            ),
        ),
        ("I3", "I8", "rule-R37"),
        (errors(),),
    ),
    Mutant(
        ("bug-C08", "rule-R37"),
        "the journal thread ends and nobody is told",
        "A leader that cannot write any more leads on: heartbeats go out, and no write of its own is ever durable.",
        "ZOOKEEPER-2247",
        (
            Patch(
                "host/journal_thread.py",
                "        except (JournalFailed, JournalFull) as error:\n"
                "            self._tell(self._on_failed, str(error))\n",
                '        except (JournalFailed, JournalFull) as error:\n            log.error("%s", error)\n',
            ),
            Patch(
                "host/driver.py",
                "        except JournalFailed as error:\n            self.journal_failed(str(error))\n",
                '        except JournalFailed as error:\n            log.error("%s", error)\n',
            ),
        ),
        ("rule-R37",),
        (check("multipaxos.mutants.failing_disk", timeout_s=120.0),),
    ),
    Mutant(
        ("bug-C13",),
        "the checksum covers the body only",
        "A flipped bit in a header is believed: a vote at another ballot, in another slot, of another group.",
        "tigerbeetle #2681",
        (
            Patch(
                "storage/record.py",
                "    return FRONT.pack(MAGIC, _extend(_extend(seed, rest), body)) + rest + body\n",
                "    return FRONT.pack(MAGIC, _extend(seed, body)) + rest + body\n",
            ),
            Patch(
                "storage/record.py",
                "        if _extend(_extend(seed, data[at + FRONT_BYTES : at + HEADER_BYTES]), body) != crc:\n",
                "        if _extend(seed, body) != crc:\n",
            ),
            Patch(
                "storage/journal.py",
                "                    parts.append(FRONT.pack(MAGIC, _extend(_extend(seed, rest), body)))\n",
                "                    parts.append(FRONT.pack(MAGIC, _extend(seed, body)))\n",
            ),
        ),
        ("I1", "I3", "rule-R34"),
        (rot(),),
    ),
    Mutant(
        ("bug-C14", "rule-R40"),
        "a journal that was deleted is begun anew",
        "A directory with its mark and without its journal starts as if this replica had never voted.",
        "tigerbeetle #2996; nats #2792, #6888; DISC 2017",
        (
            Patch(
                "storage/identity.py",
                "    if not any(segment_number(name) for name in names):\n        raise DirectoryRefused(\n",
                "    if not any(segment_number(name) for name in names):\n"
                "        for name in names:\n"
                '            if name.startswith("promise-"):\n'
                "                disk.remove(name)\n"
                "        create_journal(disk, directory.mark)\n"
                "    if not names:\n"
                "        raise DirectoryRefused(\n",
            ),
        ),
        ("I3", "rule-R40"),
        (directories(),),
    ),
    Mutant(
        ("bug-C14", "rule-R40"),
        "a wiped directory is given the same mark again",
        "The mark follows from the replica's id, so nobody can tell the wiped replica from the one that voted.",
        "tigerbeetle #2996; nats #2792, #6888; DISC 2017",
        (Patch("storage/identity.py", "        mark = secrets.randbits(64)", "        mark = replica"),),
        ("rule-R40",),
        (directories(),),
    ),
    Mutant(
        ("bug-C17",),
        "a directory with a bad small file is cleared",
        "Metadata that cannot be read makes an orphan of the data beside it, which is deleted.",
        "nats #7556, #4410",
        (
            Patch(
                "storage/identity.py",
                '    if check != b"crc32c %08x\\n" % google_crc32c.value(text):\n        raise _damaged(path, name)\n',
                '    if check != b"crc32c %08x\\n" % google_crc32c.value(text):\n'
                "        for orphan in disk.names():\n"
                "            disk.remove(orphan)\n"
                "        raise _damaged(path, name)\n",
            ),
        ),
        ("rule-R40",),
        (directories(),),
    ),
    Mutant(
        ("bug-A16", "rule-R36"),
        "a vote raises the promise one sync later",
        "Vote and promise are persisted in two steps: between them the vote stands and the promise it makes does not.",
        "willemt/raft 854a06d",
        (
            Patch(
                "storage/journal.py",
                "                        tally.vote(group, slot, ballot)\n"
                "                        if ballot > promised:\n"
                "                            promised = ballot\n"
                "                            self._is_raised = True\n",
                "                        tally.vote(group, slot, ballot)\n",
            ),
            Patch(
                "storage/recovery.py",
                "        if kind in (ACCEPTED, PROMISED) and ballot > self.streamed.get(group, NO_BALLOT):\n",
                "        if kind == PROMISED and ballot > self.streamed.get(group, NO_BALLOT):\n",
            ),
        ),
        ("I3", "rule-R36"),
        (crashes(),),
    ),
    Mutant(
        ("bug-B13",),
        "the cut takes the record before it",
        "The end of the journal is noted where its last record begins, so cutting and copying lose that record.",
        "ZOOKEEPER-1154, -1156",
        (
            Patch(
                "storage/recovery.py",
                "            self.end = found[1]\n            if found[2] == SEAL:\n",
                "            self.end = found[0]\n            if found[2] == SEAL:\n",
            ),
        ),
        ("I8", "rule-R37", "trap-T27"),
        (crashes(),),
    ),
    Mutant(
        ("bug-B13",),
        "the segment behind a copied end is cut too short",
        "What a start did not copy is cut off with what it copied.",
        "ZOOKEEPER-1154, -1156",
        (
            Patch(
                "storage/recovery.py",
                "            used = -(-newest.offset_of(self.copy_start) // BLOCK_BYTES) * BLOCK_BYTES\n",
                "            used = newest.offset_of(self.copy_start) // BLOCK_BYTES * BLOCK_BYTES\n",
            ),
        ),
        ("I8", "rule-R37", "trap-T27"),
        (storage(_CRASHES, "--workload", "VVvskv", "--segment-bytes", "16384", "--tear", "0", "--json"),),
    ),
    Mutant(
        ("rule-R33", "trap-T30"),
        "a step that writes nothing waits for what is durable already",
        "A repeated answer leaves before the sync that the first one waits for.",
        "rule-R33",
        (
            Patch(
                "storage/journal.py",
                "            if not records:\n                return self._appended\n",
                "            if not records:\n                return self._durable\n",
            ),
        ),
        ("rule-R33",),
        (crashes(),),
    ),
    Mutant(
        ("rule-R34",),
        "a seal stands in the write it speaks of",
        "A crash keeps the seal and loses the record, and the start takes that for damage.",
        "rule-R34",
        _SEALS_AT_ONCE,
        ("trap-T27",),
        (crashes(),),
    ),
    Mutant(
        ("rule-R34",),
        "no seal is written",
        "Nothing says what was durable: a record that rots is cut like a torn tail.",
        "rule-R34",
        (
            Patch(
                "storage/journal.py",
                "        self._parts = [seal]\n        self._start = end\n        self._end = end + len(seal)\n",
                "        del seal\n        self._parts = []\n        self._start = end\n        self._end = end\n",
            ),
        ),
        ("rule-R34",),
        (rot_of("ll"),),
    ),
    Mutant(
        ("rule-R35",),
        "a seal does not name the votes",
        "The refusal of a damaged journal leaves out which votes it lost.",
        "rule-R35",
        (
            Patch(
                "storage/journal.py",
                "                        tally.vote(group, slot, ballot)\n",
                "                        tally.touch(group, slot)\n",
            ),
        ),
        ("rule-R35",),
        (rot_of("vvs"),),
    ),
    Mutant(
        ("rule-R35",),
        "a seal does not repeat the one before",
        "A vote and the only seal that names it go bad together, and the refusal does not tell of it.",
        "rule-R35",
        (
            Patch(
                "storage/journal.py",
                "encode_seal(section, self._section)",
                'encode_seal(section, b"")',
            ),
        ),
        ("rule-R35",),
        (rot_of("vvvs"),),
    ),
    Mutant(
        ("rule-R36",),
        "a raised promise is written to one copy",
        "One bad sector beside the journal, one in it, and the acceptor helps a ballot it had refused.",
        "rule-R36",
        (
            Patch(
                "storage/promise.py",
                '    """Both copies anew, each synced before the next is touched."""\n    for copy in COPIES:\n',
                '    """Both copies anew, each synced before the next is touched."""\n    for copy in COPIES[:1]:\n',
            ),
        ),
        ("rule-R36",),
        (crashes(),),
    ),
    Mutant(
        ("rule-R36",),
        "the copies are written before the journal is synced",
        "They name a journal position that a power loss takes back, and the start takes that for damage.",
        "rule-R36",
        (
            Patch(
                "storage/journal.py",
                "                segment.file.write(segment.offset_of(batch.start), batch.parts)\n"
                "                segment.file.sync()\n",
                "                segment.file.write(segment.offset_of(batch.start), batch.parts)\n"
                "                if batch.is_raised:\n"
                "                    noted = Noted(batch.end, segment.head.number, batch.promised)\n"
                "                    write_copies(self._disk, self._seed, noted)\n"
                "                segment.file.sync()\n",
            ),
        ),
        ("trap-T27",),
        (crashes(),),
    ),
    Mutant(
        ("rule-R36",),
        "a torn end is cut although both copies are gone",
        "The bad end may be a raised promise that rotted, and nothing else holds it.",
        "rule-R36",
        (
            Patch(
                "storage/recovery.py",
                "        if is_torn and len(self.unreadable_copies) == len(COPIES):\n",
                "        if False:\n",
            ),
        ),
        ("I3",),
        (rot_of("pr"),),
    ),
    Mutant(
        ("rule-R37", "trap-T28"),
        "no copy at the start",
        "A start vouches for what the page cache shows, and the power fails.",
        "rule-R37, scenario cache-vouches",
        (
            Patch(
                "storage/journal.py",
                "        copied = recovery.end - recovery.copy_start\n",
                "        recovery.copy_start = recovery.end\n        copied = 0\n",
            ),
        ),
        ("rule-R37",),
        (crashes(),),
    ),
    Mutant(
        ("rule-R37", "trap-T28"),
        "the copy at the start begins with the seal, not with its block",
        "A failed write ruined the whole block on the disk, and a start copies the second half of it.",
        "rule-R37",
        (
            Patch(
                "storage/recovery.py",
                "        self.copy_start = overlapping\n",
                "        self.copy_start = start\n",
            ),
        ),
        ("rule-R37",),
        (errors(2),),
    ),
    Mutant(
        ("rule-R38",),
        "a full disk is a failed disk",
        "The next segment cannot be made, and a replica stops that had room left and could have waited.",
        "rule-R38",
        (
            Patch(
                "storage/journal.py",
                "            if error.errno not in _FULL:\n                self._fail(",
                "            if error.errno:\n                self._fail(",
            ),
        ),
        ("rule-R38",),
        (errors(),),
    ),
    Mutant(
        ("rule-R38",),
        "a full disk drops what waited",
        "The flush that found no space forgets its records, and a later one says that all is durable.",
        "rule-R38",
        (
            Patch(
                "storage/journal.py",
                "            self._write(self._writing)\n            batch = self._writing\n",
                "            batch, self._writing = self._writing, None\n            self._write(batch)\n",
            ),
        ),
        ("I8", "rule-R38"),
        (errors(2),),
    ),
    Mutant(
        ("rule-R41",),
        "a copy of a directory is started",
        "Two replicas with one memory vote, each without the other's knowledge.",
        "rule-R41, scenario copied-dir",
        (
            Patch(
                "storage/identity.py",
                '    if inode != _integer(noted, "inode", MARK, path) and not moved:\n',
                '    if inode != _integer(noted, "inode", MARK, path) and not inode:\n',
            ),
        ),
        ("rule-R41",),
        (directories(),),
    ),
)

WAITING: Final[tuple[Waiting, ...]] = (
    Waiting("bug-C09", "snapshots: installing one is atomic with respect to the journal"),
    Waiting("bug-C10", "snapshots: which ones are kept, and whether they are read back"),
    Waiting("bug-C11", "snapshots: one is synced before it counts"),
    Waiting("bug-C16", "compaction: segments go only when the snapshot that replaces them is durable here (rule-R39)"),
    Waiting("bug-C19", "repair: a damaged record is restored in place from a peer (rule-R35)"),
    Waiting("bug-C20", "compaction: where the journal begins, and where the snapshot ends"),
)
