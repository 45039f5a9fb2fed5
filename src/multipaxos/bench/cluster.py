"""Three durable replicas of our own, started for one benchmark and thrown away after it.

They are started by `multipaxos cluster`, the command that people use, in a temporary folder; what is needed to know
about them stands in the folder's cluster.json. Knows nothing of load.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType

from multipaxos.bench.load import BenchError
from multipaxos.bench.machine import MEMORY_FILESYSTEMS, filesystem_kind
from multipaxos.client import Address, Client, ClientError, parse_addresses

STATE_FILE = "cluster.json"
REPLICAS = 3
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_LINES = 12
_POLL_SECONDS = 0.05


def read_cluster(folder: str) -> tuple[list[Address], dict[int, int]]:
    """Client addresses and {replica id: process id} of the cluster in ``folder``; processes that do not run are
    left out.
    """
    path = os.path.join(folder, STATE_FILE)
    try:
        with open(path, encoding="utf-8") as file:
            replicas = json.load(file)["replicas"]
        addresses = [parse_addresses(replica["client"])[0] for replica in replicas]
        processes = {int(replica["id"]): int(replica["process_id"]) for replica in replicas if replica["process_id"]}
    except FileNotFoundError:
        raise BenchError(f"there is no {path}; give the folder of a cluster that runs (multipaxos cluster)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} cannot be read as the state of a cluster ({error!r}); give another folder") from error
    return addresses, processes


def choose_folder(wanted: str | None) -> str:
    """An existing folder on a real disk in which to make the temporary one."""
    if wanted is not None:
        kind = filesystem_kind(wanted)
        if kind in MEMORY_FILESYSTEMS:
            raise BenchError(
                f"{wanted} is on {kind}, which is memory: a durable write would cost nothing there; "
                "give a folder on a disk with --temp"
            )
        if not os.path.isdir(wanted):
            raise BenchError(f"{wanted} is not a folder; give one on a disk with --temp")
        return wanted
    for folder in (tempfile.gettempdir(), "/var/tmp", os.getcwd()):
        if os.path.isdir(folder) and os.access(folder, os.W_OK) and filesystem_kind(folder) not in MEMORY_FILESYSTEMS:
            return folder
    raise BenchError(
        "temporary folders here are memory, where a durable write costs nothing; give a folder with --temp"
    )


class OwnCluster:
    """A cluster that lives as long as the `with` block."""

    def __init__(self, folder: str, say: Callable[[str], None], replicas: int = REPLICAS) -> None:
        self._say = say
        self._replicas = replicas
        self.folder = tempfile.mkdtemp(prefix="multipaxos-bench-", dir=folder)
        self._log = os.path.join(self.folder, "bench-cluster.log")
        self._process: subprocess.Popen[bytes] | None = None
        self.addresses: list[Address] = []
        self.processes: dict[int, int] = {}

    def __enter__(self) -> "OwnCluster":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        data = os.path.join(self.folder, "data")
        command = [sys.executable, "-m", "multipaxos", "cluster", "--data", data, "--replicas", str(self._replicas)]
        command += ["--client-port", "0", "--peer-port", "0"]
        self._say(f"starting {self._replicas} durable replicas in {self.folder}")
        with open(self._log, "wb") as log:
            # A session of its own: an interrupt at the terminal reaches us alone, and we stop the cluster in order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        said_at = time.monotonic()
        while not self._is_started(data):
            if self._process.poll() is not None:
                raise BenchError(
                    f"`multipaxos cluster` ended with code {self._process.returncode}: {self._last_words()}"
                )
            if time.monotonic() > deadline:
                raise BenchError(f"the replicas did not start within {_START_SECONDS:g} s: {self._last_words()}")
            if time.monotonic() - said_at > 5:
                said_at = time.monotonic()
                self._say("waiting for the replicas to start")
            time.sleep(_POLL_SECONDS)
        self._say("waiting until the cluster has a leader")
        try:
            asyncio.run(self._connect_everywhere(max(1.0, deadline - time.monotonic())))
        except ClientError as error:
            raise BenchError(f"the replicas run but do not serve: {error}; they said: {self._last_words()}") from error

    def _is_started(self, data: str) -> bool:
        if not os.path.exists(os.path.join(data, STATE_FILE)):
            return False
        self.addresses, self.processes = read_cluster(data)
        return len(self.processes) == self._replicas

    async def _connect_everywhere(self, seconds: float) -> None:
        for address in self.addresses:
            async with Client([address], request_timeout=seconds) as client:
                await client.sync()

    def _last_words(self) -> str:
        try:
            with open(self._log, encoding="utf-8", errors="replace") as log:
                lines = [line.strip() for line in log if line.strip()]
        except OSError:
            lines = []
        return " | ".join(lines[-_LOG_LINES:]) or "it said nothing"

    def stop(self) -> None:
        """Stop the replicas and remove the folder."""
        process = self._process
        if process is not None and process.poll() is None:
            self._say("stopping the replicas")
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except BaseException as error:  # out of patience, ours or (a second interrupt) the user's
                # Its replicas notice the end of their standard input, and end after it.
                process.kill()
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    shutil.rmtree(self.folder, ignore_errors=True)
                    raise
        self._process = None
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
