"""The data directory of one replica: whose it is, and everything that makes a start refuse it (rule-R40, rule-R41).

A replica that votes from the wrong directory (an empty one, a copy, another replica's, one of yesterday) has forgotten
what it promised, and a cluster with it chooses twice (bug-C14, trap-T34). So a directory is made only on request, has a
random mark that is registered with the cluster, knows when it is a copy, and counts its starts. Whatever does not fit
is refused by name, with what to do.

The small files are one line of JSON and one line with its CRC32C. ``mark`` and ``cluster`` are written once; the others
are replaced whole: written under another name, synced, renamed, and the directory synced (bug-C03).

What only peers can see, a directory rolled back as a whole, is for the driver to compare: it exchanges ``incarnation``
and ``Journal.durable`` with them (rule-R41). Knows nothing of the protocol. The journal beside it is ``journal.py``.
"""

import errno
import json
import os
import secrets
import time
from typing import Final

import google_crc32c

from multipaxos.core.ballot import CLASSES, ReplicaId
from multipaxos.storage.disk import Disk, DiskLocked, RealDisk
from multipaxos.storage.journal import SEGMENT_BYTES, STOPPED, Journal, create_journal
from multipaxos.storage.segment import FORMAT, segment_number

MARK: Final = "mark"
CLUSTER: Final = "cluster"
INCARNATION: Final = "incarnation"
CREATING: Final = "creating"
_UNFINISHED: Final = ".new"
_NOT_OURS: Final = ("lost+found", "lock")  # may stand in a directory that counts as empty
_FILE_BYTES_MAX: Final = 64 * 1024

README: Final = """\
This directory is the memory of one multipaxos replica: what it promised and what it voted for. The cluster relies on
it. Do not edit it, do not copy it to start a second replica from it, do not put an older copy back in its place, and
do not empty it: a replica that forgot its promises makes a cluster decide twice, so all of these are refused.

  mark              who this is: replica id, a random mark, the format of this directory
  cluster           which cluster it belongs to; appears when the cluster is born
  incarnation       how often it was started
  *.segment         the journal: records behind each other in files of preallocated zeros, oldest first
  spare             the next journal file in the making
  promise-1, -2     two more copies of what was promised
  stopped           why the replica stopped, if its disk failed; shown at its next start, then removed
  lock              held by the running replica; names its process
  creating          there only while the directory is being made

To move it to another disk or machine: stop the replica, move the whole directory, and say at the first start that it
was moved. To give up this replica: replace it in the cluster first, then delete the directory.
"""


class DirectoryRefused(Exception):
    """This directory must not be used like this. The text says why, and what to do.

    ``reason`` is one of missing, empty, unfinished, foreign, used, locked, newer, copied, emptied, damaged,
    other-replica, other-cluster, unusable.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class DataDirectory:
    """A directory that was locked and checked, for one start of one replica."""

    __slots__ = ("cluster", "disk", "incarnation", "list_digest", "mark", "path", "replica", "stopped")

    def __init__(self, path: str, disk: Disk, replica: ReplicaId, mark: int) -> None:
        self.path = path
        self.disk = disk
        self.replica = replica
        self.mark = mark
        self.incarnation = 0
        self.cluster = ""  # the cluster id; empty before birth (rule-R40)
        self.list_digest = ""  # of the list it was born with; empty before birth
        self.stopped = ""  # the note a failed journal left (rule-R37); removed when the journal was recovered

    # -- birth ------------------------------------------------------------------------------------------------------

    @staticmethod
    def look(path: str, disk: Disk | None = None) -> str:
        """What stands at ``path``: missing, empty, unfinished, foreign or used. Changes nothing.

        The first three may be given to ``create``; whether they should, only the caller can say: a missing directory is
        a first start or a lost disk (trap-T34).
        """
        try:
            opened = RealDisk(path) if disk is None else disk
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            return _kind_of(opened.names())
        finally:
            if disk is None:
                opened.close()

    @staticmethod
    def create(path: str, replica: ReplicaId, disk: Disk | None = None) -> "DataDirectory":
        """Make the directory of a replica that has never voted, and open it. Never does so where anything stands.

        An attempt that was interrupted is begun anew: until the mark stood in it, nobody could have opened it.
        """
        if not 0 < replica < CLASSES:
            raise ValueError(f"replica id {replica} is not between 1 and {CLASSES - 1}")
        try:
            if disk is None:
                _make_directories(path)
            opened = RealDisk(path) if disk is None else disk
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            _lock(path, opened)
            _create_files(path, opened, replica)
            return _opened(path, opened, replica, "", False)
        except BaseException as error:
            opened.close()
            if isinstance(error, OSError):
                raise _unusable(path, error) from error
            raise

    # -- each start -------------------------------------------------------------------------------------------------

    @staticmethod
    def open(
        path: str, replica: ReplicaId | None = None, cluster: str = "", moved: bool = False, disk: Disk | None = None
    ) -> "DataDirectory":
        """Lock the directory, check that it is what it says, and raise its incarnation durably.

        ``replica`` and ``cluster``, where given, are what the caller expects to find. ``moved`` is the operator's word
        that a directory which looks like a copy is the only one. Raises DirectoryRefused.
        """
        try:
            opened = RealDisk(path) if disk is None else disk
        except FileNotFoundError:
            raise DirectoryRefused(
                "missing",
                f"{path} does not exist. If this replica is new, let its directory be made. If it ran before, its "
                "memory is gone, and it must not vote again under its old id: give the path of the old directory; "
                'where that is lost, see the README under "A lost or damaged disk".',
            ) from None
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            _check_kind(path, _kind_of(opened.names()))
            _lock(path, opened)
            return _opened(path, opened, replica, cluster, moved)
        except BaseException as error:
            opened.close()
            if isinstance(error, OSError):
                raise _unusable(path, error) from error
            raise

    def set_cluster(self, cluster: str, list_digest: str) -> None:
        """Note durably which cluster was born here. Once: another one later is refused (rule-R40)."""
        assert cluster, "a cluster that is born has an id"
        if self.cluster:
            if self.cluster != cluster:
                raise _other_cluster(self.path, self.cluster, cluster)
            return
        try:
            _put(self.disk, CLUSTER, {"cluster": cluster, "list": list_digest})
        except OSError as error:
            raise _unusable(self.path, error) from error
        self.cluster = cluster
        self.list_digest = list_digest

    def journal(self, segment_bytes: int = SEGMENT_BYTES) -> Journal:
        """The journal of this directory, not yet recovered."""
        return Journal(self.disk, self.mark, self.replica, self.incarnation, segment_bytes)

    def close(self) -> None:
        """Let go of the lock. The journal must be closed before."""
        self.disk.close()


def _kind_of(names: list[str]) -> str:
    """What a directory with these names in it is."""
    if MARK in names:
        return "used"
    if CREATING in names:
        # Made first and taken away last: with it and without the mark, nobody has ever opened this directory.
        return "unfinished"
    return "foreign" if set(names) - set(_NOT_OURS) else "empty"


def _check_kind(path: str, kind: str) -> None:
    if kind == "empty":
        raise DirectoryRefused(
            "empty",
            f"{path} is empty. If this replica is new, let its directory be made. If it ran before, its memory is gone, "
            "and it must not vote again under its old id: put the old directory back if it still exists as it was; "
            'otherwise see the README under "A lost or damaged disk".',
        )
    if kind == "unfinished":
        raise DirectoryRefused(
            "unfinished",
            f"{path} was being made for a new replica when that was interrupted. Nothing was kept in it yet: let it be "
            "made again.",
        )
    if kind == "foreign":
        raise DirectoryRefused(
            "foreign",
            f"{path} has files in it and is no multipaxos data directory (there is no file `{MARK}`). Give another path. "
            'If the mark file was deleted, the directory cannot be trusted any more: see the README under "A lost or '
            'damaged disk".',
        )


def _lock(path: str, disk: Disk) -> None:
    try:
        disk.lock()
    except DiskLocked as error:
        holder = f"process {error.holder}" if error.holder else "another process"
        raise DirectoryRefused(
            "locked", f"{path} is in use by {holder}. Stop that one first, or give this one a directory of its own."
        ) from None


def _create_files(path: str, disk: Disk, replica: ReplicaId) -> None:
    """All files of a new directory; the mark last, so that there is a moment at which it begins to exist."""
    kind = _kind_of(disk.names())
    if kind == "used":
        raise DirectoryRefused(
            "used",
            f"{path} is the directory of a replica already. Start it as it is, or give another path for a new one.",
        )
    if kind == "foreign":
        raise DirectoryRefused(
            "foreign", f"{path} has other files in it. Give a path that is empty or does not exist yet."
        )
    if CREATING not in disk.names():
        disk.create(CREATING).close()
    disk.sync_names()
    disk.sync_own_name()
    for name in disk.names():
        if name != CREATING and name not in _NOT_OURS:
            disk.remove(name)  # of an interrupted attempt
    readme = disk.create("README")
    try:
        readme.write(0, [README.encode()])
        readme.sync()
    finally:
        readme.close()
    mark = 0
    while not mark:
        mark = secrets.randbits(64)  # 0 stands for "not registered yet" in a configuration
    create_journal(disk, mark)
    _put(disk, INCARNATION, {"incarnation": 0})
    _put_mark(disk, mark, replica)
    disk.remove(CREATING)
    disk.sync_names()


def _opened(path: str, disk: Disk, replica: ReplicaId | None, cluster: str, moved: bool) -> DataDirectory:
    """Check a locked directory and count this start."""
    names = disk.names()
    noted = _get(disk, MARK, path)
    written_as = _integer(noted, "format", MARK, path)
    if written_as > FORMAT:
        raise DirectoryRefused(
            "newer",
            f"{path} was written by a newer multipaxos (format {written_as}; this one reads up to {FORMAT}). Start it "
            "with that version again.",
        )
    directory = DataDirectory(
        path, disk, _integer(noted, "replica", MARK, path), int(_text(noted, "mark", MARK, path), 16)
    )
    inode = disk.inode(MARK)
    if inode != _integer(noted, "inode", MARK, path) and not moved:
        raise DirectoryRefused(
            "copied",
            f"{path} is a copy: its mark file was number {noted['inode']} on file system {noted.get('filesystem')} when "
            f"it was made, and is number {inode} on file system {disk.filesystem()} now. Two replicas with one memory "
            "make a cluster decide twice. If you moved it and the original is gone for good, start it once with "
            "--moved; otherwise start the original.",
        )
    if replica is not None and replica != directory.replica:
        raise DirectoryRefused(
            "other-replica",
            f"{path} belongs to replica {directory.replica}, and replica {replica} was to be started from it. Give each "
            "replica its own directory.",
        )
    if not any(segment_number(name) for name in names):
        raise DirectoryRefused(
            "emptied",
            f"{path} belongs to replica {directory.replica}, and its journal was deleted. Put the files back if they "
            'still exist as they were; otherwise see the README under "A lost or damaged disk".',
        )
    if CLUSTER in names:
        born = _get(disk, CLUSTER, path)
        directory.cluster = _text(born, "cluster", CLUSTER, path)
        directory.list_digest = _text(born, "list", CLUSTER, path)
        if cluster and cluster != directory.cluster:
            raise _other_cluster(path, directory.cluster, cluster)
    count = _get(disk, INCARNATION, path)
    directory.incarnation = _integer(count, "incarnation", INCARNATION, path) + 1
    _put(disk, INCARNATION, {"incarnation": directory.incarnation})
    # The sync of names in there covers the mark as well, which its maker may have had no time to sync (trap-T28).
    disk.sync_own_name()
    if inode != noted["inode"]:
        _put_mark(disk, directory.mark, directory.replica)
    if CREATING in names:
        disk.remove(CREATING)
    if STOPPED in names:
        directory.stopped = _bytes_of(disk, STOPPED).decode("utf-8", "replace").strip()
    return directory


def _other_cluster(path: str, own: str, other: str) -> DirectoryRefused:
    return DirectoryRefused(
        "other-cluster",
        f"{path} belongs to cluster {own}, not to cluster {other}. Check the addresses of the peers, or give the "
        "directory that belongs there.",
    )


def _unusable(path: str, error: OSError) -> DirectoryRefused:
    hint = "Free some space there." if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Check the path and its owner."
    return DirectoryRefused("unusable", f"{path} cannot be used as a data directory: {error}. {hint}")


def _put_mark(disk: Disk, mark: int, replica: ReplicaId) -> None:
    """The mark file under a new inode, which it names itself: a copy cannot have the same (rule-R41)."""
    value: dict[str, object] = {
        "filesystem": disk.filesystem(),
        "format": FORMAT,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "mark": f"{mark:016x}",
        "replica": replica,
    }
    _put(disk, MARK, value, notes_inode=True)


def _put(disk: Disk, name: str, value: dict[str, object], notes_inode: bool = False) -> None:
    """Replace a small file, durably: the old one or the new one is there after a crash, whole."""
    making = name + _UNFINISHED
    if making in disk.names():
        disk.remove(making)
    file = disk.create(making)
    try:
        if notes_inode:
            value = {**value, "inode": disk.inode(making)}
        text = json.dumps(value, sort_keys=True).encode() + b"\n"
        file.write(0, [text, b"crc32c %08x\n" % google_crc32c.value(text)])
        file.sync()
    finally:
        file.close()
    disk.rename(making, name)
    disk.sync_names()


def _bytes_of(disk: Disk, name: str) -> bytes:
    file = disk.open(name)
    try:
        return file.read(0, _FILE_BYTES_MAX)
    finally:
        file.close()


def _get(disk: Disk, name: str, path: str) -> dict[str, object]:
    """The value of a small file. Raises DirectoryRefused where it is missing or rotten."""
    try:
        data = _bytes_of(disk, name)
    except FileNotFoundError:
        raise _damaged(path, name) from None
    text, newline, check = data.partition(b"\n")
    text += newline
    if check != b"crc32c %08x\n" % google_crc32c.value(text):
        raise _damaged(path, name)
    value = json.loads(text)
    if not isinstance(value, dict):
        raise _damaged(path, name)
    return value


def _integer(value: dict[str, object], key: str, name: str, path: str) -> int:
    found = value.get(key)
    if not isinstance(found, int):
        raise _damaged(path, name)
    return found


def _text(value: dict[str, object], key: str, name: str, path: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise _damaged(path, name)
    return found


def _damaged(path: str, name: str) -> DirectoryRefused:
    return DirectoryRefused(
        "damaged",
        f"the file {name} in {path} is missing or cannot be read as it was written. Who this directory belongs to cannot "
        "be known without it. Put the file back if it still exists as it was; otherwise check the disk, "
        'and see the README under "A lost or damaged disk".',
    )


def _make_directories(path: str) -> None:
    """The directory and those above it that are missing, each name synced in the one above (bug-C03)."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(os.path.abspath(path))
    _make_directories(above)
    os.mkdir(path, 0o700)
    disk = RealDisk(path)
    try:
        disk.sync_own_name()
    finally:
        disk.close()
