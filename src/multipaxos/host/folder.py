"""The folder of a local cluster: what it was made for, where its replicas listen, who runs in it now.

``multipaxos serve`` without a file runs a cluster of one in such a folder. Knows nothing of processes beyond their
ids. Read ``cluster.py`` next, which runs them.

Ports are *reserved* while the cluster command lives: each is bound, never listened on, with SO_REUSEADDR. On Linux a
replica can then bind and listen beside us, a stopped replica's port still refuses connections (its peers take that as
the sign that it is gone, rule-R28), and no passing client can be given the port for an outgoing connection before the
replica comes back. Elsewhere the ports are only tried, and set free again.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from multipaxos.host.config import ADMIN_PORT, CLIENT_PORT, PEER_PORT

HOST: Final = "127.0.0.1"
REPLICAS_DEFAULT: Final = 3
REPLICAS_MAX: Final = 31
DATA_DEFAULT: Final = "multipaxos-data"
ALONE_DEFAULT: Final = os.path.join(DATA_DEFAULT, "alone")
"""Of `multipaxos serve` without a file: a cluster of one, below the other so that both can be tried in one place."""
STATE_FILE: Final = "cluster.json"
FORMAT: Final = 1
SOCKET_PATH_MAX: Final = 100
LEFTOVER_PATIENCE_S: Final = 5.0
_USES: Final = {"client": "clients", "peer": "peers", "admin": "admin"}
_PORTS: Final = {"client": CLIENT_PORT, "peer": PEER_PORT, "admin": ADMIN_PORT}

README: Final = """\
Data of a local multipaxos cluster. Made by `multipaxos cluster`, or by `multipaxos serve` without a file; keep it and
the next run goes on where this one ended.

  cluster.json     for each replica: id, process id (0 when it does not run), its state, client, peer and admin address,
                   and the reason why its process ended, if it ended by itself
  cluster.lock     held by the cluster command that runs on this folder
  replica-N.toml   the settings replica N was started with; written anew at each start
  replica-N.log    what replica N had to say
  replica-N/       identity and journal of replica N: never copy it, never edit it, never empty it alone
  control.sock     `multipaxos cluster start N` and `stop N` speak through it
  alone/           of `multipaxos serve` without a file: another cluster, of one replica

Each admin address answers http: /health/live, /health/ready, /status, /metrics, /why; `curl http://ADDRESS/why` says what
stands in the way, if anything does.

To begin anew: stop the cluster and delete the folder. To lose one replica on purpose is not the same as to stop it:
a replica whose folder was emptied is refused by the others, since it has forgotten what it promised.
"""


class FolderError(Exception):
    """The folder or the ports cannot be used. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one replica of the cluster listens."""

    id: int
    client: str
    peer: str
    admin: str


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


class ClusterFolder:
    """An opened, locked folder with its ports reserved. Use as a context manager."""

    __slots__ = ("_control", "_lock", "_reserved", "is_made", "path", "places", "shown")

    def __init__(
        self, path: str, lock: int, places: list[Place], reserved: list[socket.socket], made: list[int]
    ) -> None:
        self.path = path
        self.shown = _shown(path)
        self.places = places
        self.is_made = {place.id: place.id in made for place in places}  # has had a data directory
        self._lock = lock
        self._reserved = reserved
        self._control = ""

    @classmethod
    def open(
        cls,
        data: str,
        replicas: int | None,
        client_port: int | None,
        peer_port: int | None,
        say: Any = lambda text: None,
        admin_port: int | None = None,
    ) -> "ClusterFolder":
        """Opens the folder, or makes it. Raises FolderError. ``say`` hears for what is waited.

        A port is the first of so many; 0 means free ones, None those of the last run, else the defaults. Admin ports are
        free ones by default where the client ports are.
        """
        if replicas is not None and not 1 <= replicas <= REPLICAS_MAX:
            raise FolderError(f"--replicas {replicas}: a local cluster has 1 to {REPLICAS_MAX} replicas")
        path = os.path.abspath(data)
        try:
            os.makedirs(path, exist_ok=True)
            lock = os.open(os.path.join(path, "cluster.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FolderError(
                f"cannot write in {_shown(path)}: {error.strerror}; choose another folder with --data DIR"
            ) from error
        reserved: list[socket.socket] = []
        try:
            _take_lock(lock, path)
            state = _read_state(path)
            asked = {"client": client_port, "peer": peer_port, "admin": admin_port}
            places = _places(path, state, replicas, asked, reserved, say)
            made = [int(one["id"]) for one in state["replicas"] if one.get("made")] if state is not None else []
            folder = cls(path, lock, places, reserved, made)
            folder._write_files()
        except BaseException as error:
            for one in reserved:
                one.close()
            os.close(lock)
            if isinstance(error, OSError):
                raise FolderError(
                    f"cannot write in {_shown(path)}: {error.strerror}; choose another folder with --data DIR"
                ) from error
            raise
        return folder

    def __enter__(self) -> "ClusterFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._reserved:
            one.close()
        if self._control:
            with contextlib.suppress(OSError):
                os.unlink(self._control)
            if os.path.dirname(self._control) != self.path:
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(self._control))
        os.close(self._lock)

    # --- paths ---------------------------------------------------------------------------------------------------

    @property
    def is_default(self) -> bool:
        """Whether commands find this folder without --data."""
        return self.path == os.path.abspath(DATA_DEFAULT)

    @property
    def has_default_ports(self) -> bool:
        """Whether clients find this cluster without --connect."""
        return [_port_of(place.client) for place in self.places] == _ports_from(CLIENT_PORT, len(self.places))

    def config_path(self, replica: int) -> str:
        """The TOML file of a replica."""
        return os.path.join(self.path, f"replica-{replica}.toml")

    def log_path(self, replica: int) -> str:
        """The log of a replica."""
        return os.path.join(self.path, f"replica-{replica}.log")

    def shown_path(self, path: str) -> str:
        """A path as the reader would type it."""
        return _shown(path)

    def control_path(self) -> str:
        """A fresh path for the control socket: in the folder, or elsewhere when that is too long for a socket's name."""
        path = os.path.join(self.path, "control.sock")
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            path = os.path.join(tempfile.mkdtemp(prefix="multipaxos-"), "control.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._control = path
        return path

    @staticmethod
    def control_of_running(data: str) -> str:
        """The control socket of the cluster command that runs on a folder. Raises FolderError when none does."""
        state = _read_state(os.path.abspath(data))
        if state is None or not state.get("process_id"):
            raise FolderError(
                f"no cluster runs on {_shown(os.path.abspath(data))}; start one with: multipaxos cluster --data {data}"
                if state is not None
                else f"{data} is no folder of a local cluster; say which one with --data DIR"
            )
        return str(state["control"])

    # --- what is written -----------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        _write(os.path.join(self.path, "README.txt"), README)
        for place in self.places:
            _write(self.config_path(place.id), self._toml(place))
        self.write_state({}, 0)

    def _toml(self, own: Place) -> str:
        lines = [
            "# Written anew at each start, so edits here are lost; a copy of this file can be edited and given to",
            "# `multipaxos serve`.",
            f"replica = {own.id}",
            f'data = "replica-{own.id}"',
            "",
            "[client]",
            # All come from one address here: a bound per address would be a bound on the cluster.
            "connections_per_address_max = 0",
        ]
        for place in self.places:
            lines += ["", "[[replicas]]", f"id = {place.id}", f'peer = "{place.peer}"', f'client = "{place.client}"']
            lines += [f'admin = "{place.admin}"']
        return "\n".join(lines) + "\n"

    def write_state(
        self,
        process_ids: dict[int, int],
        manager: int,
        states: dict[int, str] | None = None,
        reasons: dict[int, str] | None = None,
    ) -> None:
        """Writes ``cluster.json`` in one piece: whoever reads it never sees half of it. ``reasons``: why a process ended
        that was not told to; it cannot be asked any more."""
        value = {
            "format": FORMAT,
            "made_by": "multipaxos cluster",
            "process_id": manager,
            "control": self._control or os.path.join(self.path, "control.sock"),
            "replicas": [
                {
                    "id": place.id,
                    "process_id": process_ids.get(place.id, 0),
                    "client": place.client,
                    "peer": place.peer,
                    "admin": place.admin,
                    "state": (states or {}).get(place.id, "stopped"),
                    "made": self.is_made[place.id],
                    "reason": (reasons or {}).get(place.id, ""),
                }
                for place in self.places
            ],
        }
        _write(os.path.join(self.path, STATE_FILE), json.dumps(value, indent=2) + "\n")


def _shown(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else os.path.join(".", relative)


def _write(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


def _take_lock(lock: int, path: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise FolderError(
            f"a cluster already runs on {_shown(path)} (process {holder}); stop it, or choose another folder with --data DIR"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _read_state(path: str) -> dict[str, Any] | None:
    """What ``cluster.json`` says, None where there is none. Raises FolderError where the folder is another's."""
    try:
        with open(os.path.join(path, STATE_FILE), encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        if os.path.isdir(path) and any(re.fullmatch(r"replica-\d+", name) for name in os.listdir(path)):
            raise FolderError(
                f"{_shown(path)} holds replicas, but no {STATE_FILE}: it belongs to another cluster; "
                "choose another folder with --data DIR"
            ) from None
        return None
    except OSError as error:
        raise FolderError(
            f"cannot read {_shown(path)}: {error.strerror}; choose another folder with --data DIR"
        ) from error
    try:
        value = json.loads(text)
        made_by, number = value["made_by"], value["format"]
        for one in value["replicas"]:
            _port_of(one["client"]), _port_of(one["peer"]), _port_of(one.get("admin", ":0")), int(one["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise FolderError(
            f"{_shown(path)}/{STATE_FILE} is not readable as one of ours ({error!r}); choose another folder with --data DIR"
        ) from error
    if made_by != "multipaxos cluster":
        raise FolderError(
            f"{_shown(path)} was made by {made_by}, not by `multipaxos cluster`; choose another with --data DIR"
        )
    if number != FORMAT:
        raise FolderError(
            f"{_shown(path)} has format {number}, this version knows {FORMAT}; use the version that made it"
        )
    return dict(value)


def _places(
    path: str,
    state: dict[str, Any] | None,
    replicas: int | None,
    asked: dict[str, int | None],
    reserved: list[socket.socket],
    say: Any,
) -> list[Place]:
    """Where each replica listens: as asked, else as in the last run, else the defaults; 0 is a free port."""
    known: list[dict[str, Any]] = state["replicas"] if state is not None else []
    if state is not None and replicas is not None and replicas != len(known):
        raise FolderError(
            f"{_shown(path)} was made for {len(known)} replicas, not for {replicas}; leave --replicas out to run those, "
            "or choose another folder with --data DIR"
        )
    ids = [int(one["id"]) for one in known] or list(range(1, (replicas or REPLICAS_DEFAULT) + 1))
    patience = LEFTOVER_PATIENCE_S if any(one.get("process_id") for one in known) else 0.0
    # A folder of an earlier version has no admin ports yet.
    last = {
        what: [_port_of(one[what]) for one in known] if all(what in one for one in known) else [] for what in _PORTS
    }
    found: dict[str, list[int]] = {}
    for what, default in _PORTS.items():
        first = asked[what]
        if (
            what == "admin"
            and first is None
            and not last[what]
            and found["client"] != _ports_from(CLIENT_PORT, len(ids))
        ):
            first = 0  # the clients' ports are none of the usual: another cluster may have those, and 8181 with them
        ports: list[int] = []
        for index, replica in enumerate(ids):
            if first:
                wanted = first + index
            elif last[what]:
                wanted = last[what][index]
            else:
                wanted = 0 if first == 0 else default + index
            if wanted > 65535:
                raise FolderError(f"port {wanted} does not exist; choose a lower one with --{what}-port")
            ports.append(_reserve(replica, what, wanted, first == 0, reserved, patience, say))
        found[what] = ports
    return [
        Place(replica, f"{HOST}:{client}", f"{HOST}:{peer}", f"{HOST}:{admin}")
        for replica, client, peer, admin in zip(ids, found["client"], found["peer"], found["admin"], strict=True)
    ]


def _ports_from(first: int, count: int) -> list[int]:
    return list(range(first, first + count))


def _reserve(
    replica: int, what: str, port: int, may_differ: bool, reserved: list[socket.socket], patience: float, say: Any
) -> int:
    deadline = time.monotonic() + patience
    is_said = False
    while True:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, port))
            break
        except OSError as error:
            one.close()
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                # The last run ended without stopping its replicas: they end by themselves, a moment after it.
                if not is_said:
                    say(f"waiting: port {port} is still held, probably by replica {replica} of the last run")
                    is_said = True
                time.sleep(0.05)
                continue
            if error.errno == errno.EADDRINUSE and may_differ and port:
                port = 0
                continue
            if error.errno == errno.EADDRINUSE:
                raise FolderError(
                    f"port {port} on {HOST} ({_USES[what]} of replica {replica}) is taken; stop what listens there "
                    f"(ss -ltnp 'sport = :{port}' shows it), or choose others with --{what}-port N (0: free ones)"
                ) from error
            raise FolderError(
                f"port {port} on {HOST} cannot be used: {error.strerror}; choose --{what}-port N"
            ) from error
    chosen = int(one.getsockname()[1])
    if sys.platform.startswith("linux"):
        reserved.append(one)
    else:
        one.close()
    return chosen
