"""What a replica of this machine left behind: whether its process runs, and why it ended, in its own words.

Reads the folder of a local cluster (``folder.py``) and changes nothing; a file that cannot be read says nothing. Only for
`multipaxos why` and its like: no replica needs to know this of another.
"""

import contextlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any, Final

from multipaxos.host.folder import STATE_FILE
from multipaxos.storage.journal import STOPPED

RUNNING: Final = "running"
PAUSED: Final = "paused"
GONE: Final = "gone"

_TAIL_BYTES: Final = 64 * 1024
_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\S+Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)$")
_UNREADY: Final = "error: "
"""Begins the line of a process that ended before it had a log: its settings were refused."""
_KILLED: Final = ("killed by signal", "exit code")
"""How the cluster command begins a reason that the replica did not give itself."""
_GOES_ON: Final = "trying again every second"
"""Of an error that ends nothing."""


@dataclass(frozen=True, slots=True)
class Resident:
    """One replica of the folder. ``admin`` is "" where the file does not say it."""

    id: int
    client: str
    admin: str
    process: str  # RUNNING, PAUSED, GONE, or "" where that is not known
    last_words: str = ""  # why it ended by itself, as it said
    killed: str = ""  # how its process ended where it said nothing


def read_residents(folder: str) -> list[Resident] | None:
    """The replicas that ``cluster.json`` in ``folder`` lists, by id; None where there is no such file, or none of ours."""
    try:
        with open(os.path.join(folder, STATE_FILE), encoding="utf-8") as file:
            value = json.load(file)
        is_watched = process_state(int(value["process_id"])) != GONE
        residents = [_resident(folder, one, is_watched) for one in value["replicas"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return sorted(residents, key=lambda one: one.id)


def _resident(folder: str, one: dict[str, Any], is_watched: bool) -> Resident:
    replica, process_id = int(one["id"]), int(one.get("process_id", 0))
    # Without the process that keeps it, the file says nothing about a replica that is not in it.
    process = process_state(process_id) if process_id or is_watched else ""
    if process in (RUNNING, PAUSED):
        return Resident(replica, str(one["client"]), str(one.get("admin") or ""), process)
    reason = str(one.get("reason") or "")
    is_killed = reason.startswith(_KILLED)
    words = reason if reason and not is_killed else last_words(folder, replica)
    killed = reason.partition(";")[0] if is_killed else ""
    return Resident(replica, str(one["client"]), str(one.get("admin") or ""), process, words, killed)


def process_state(process_id: int) -> str:
    """RUNNING, PAUSED (stopped by a signal) or GONE. Another program that was given the number since counts as gone."""
    if process_id <= 0:
        return GONE
    try:
        with open(f"/proc/{process_id}/cmdline", "rb") as file:
            command = file.read(4096)
        with open(f"/proc/{process_id}/stat", "rb") as file:
            letter = file.read(1024).rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return GONE if os.path.isdir("/proc/self") else _state_elsewhere(process_id)
    except (OSError, IndexError):
        return GONE
    if letter in (b"Z", b"X") or b"multipaxos" not in command:
        return GONE
    return PAUSED if letter in (b"T", b"t") else RUNNING


def _state_elsewhere(process_id: int) -> str:
    try:
        os.kill(process_id, 0)
    except OSError:
        return GONE
    return RUNNING


def last_words(folder: str, replica: int) -> str:
    """Why a replica that does not run ended by itself; "" where it was stopped or killed, or nothing can be read."""
    with contextlib.suppress(OSError), open(os.path.join(folder, f"replica-{replica}", STOPPED), "rb") as file:
        return file.read(_TAIL_BYTES).decode("utf-8", "replace").strip()
    try:
        with open(os.path.join(folder, f"replica-{replica}.log"), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        found = _LINE.match(line)
        if found is not None:
            # Of a life that ended by itself the last line is the reason; of one that was ended, it is another.
            return found[2] if found[1] == "ERROR" and _GOES_ON not in found[2] else ""
        if line.startswith(_UNREADY):
            return line.removeprefix(_UNREADY)
    return ""
