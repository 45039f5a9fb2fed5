"""One replica of a tortured cluster: its place, its files, and the real process that runs it now.

The process is started with the line that ``multipaxos cluster`` uses (``python -m multipaxos.host.process --child``), in
the network and behind the shim it was given, and reports over its standard output what it waits for and when it serves.
It ends with its standard input, and the kernel kills it when this process dies, however that happens and even while it is
stopped by a signal.

Knows nothing of the other replicas; ``cluster.py`` joins them.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from multipaxos.torture.namespaces import Space
from multipaxos.torture.shim import DiskShim

Address = tuple[str, int]

LISTENING: Final = ("waiting", "serving")
"""What a replica reports from when its peer port is open."""

_PATIENCE_S: Final = 5.0
_KILL_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG
_libc: Final = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_KILL_WITH_PARENT, signal.SIGKILL)


class ReplicaProcess:
    """One replica. All methods are called on the loop."""

    def __init__(
        self,
        replica: int,
        client: Address,
        peer: Address,
        folder: Path,
        space: Space | None,
        shim: DiskShim | None,
        on_change: Callable[["ReplicaProcess"], None],
    ) -> None:
        self.id = replica
        self.client = client
        self.peer = peer
        self.config = folder / f"replica-{replica}.toml"
        self.data = folder / f"replica-{replica}"
        self.log = folder / f"replica-{replica}.log"
        self.shim = shim
        self.is_behind_shim = shim is not None  # not while its directory is elsewhere
        self.is_paused = False
        self.starts = 0
        self.state = "stopped"  # as it reported last: starting, opened, waiting, serving, stopped
        self.reason = ""  # why it stopped, in its own words
        self.exit_code: int | None = None
        self._changed = asyncio.Event()
        self._on_change = on_change
        self._pid_fd = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._space = space

    # -- what it is -----------------------------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether its process runs, be it stopped by a signal."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def kernel_state(self) -> str:
        """The letter by which the kernel calls its process's state: T for stopped; empty where there is no process."""
        if self._process is None:
            return ""
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
            return stat.rpartition(")")[2].split()[0]
        return ""

    @property
    def log_size(self) -> int:
        """Where its log ends now."""
        return self.log.stat().st_size if self.log.exists() else 0

    def log_since(self, size: int) -> str:
        """What it logged after its log had that size."""
        with self.log.open("rb") as file:
            file.seek(size)
            return file.read().decode(errors="replace")

    async def wait(self, condition: Callable[["ReplicaProcess"], bool], seconds: float) -> bool:
        """Wait until its state meets the condition; False when it did not in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not condition(self):
            changed = self._changed
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                return condition(self)
        return True

    # -- what is done to it -----------------------------------------------------------------------------------------------

    def start(self, must_exist: bool = True, is_moved: bool = False) -> None:
        """Start its process and go on; ``wait`` says when it listens."""
        assert self._process is None, f"replica {self.id} runs already"
        environment = dict(os.environ)
        if self.shim is not None and self.is_behind_shim:
            self.shim.mend()
            environment.update(self.shim.environment())
        command = [sys.executable, "-m", "multipaxos.host.process", "--child"]
        command += ["--existing"] if must_exist else []
        command += ["--moved"] if is_moved else []
        self.state, self.reason, self.exit_code = "starting", "", None
        self._said = b""
        with self.log.open("ab") as log, contextlib.ExitStack() as stack:
            if self._space is not None:
                stack.enter_context(self._space.inside())  # a child stays where it was born
            process = subprocess.Popen(
                [*command, str(self.config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # nothing runs in the child but one system call
            )
        self._process = process
        self.starts += 1
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._pid_fd = os.pidfd_open(process.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(process.stdout.fileno(), self._hear)
        loop.add_reader(self._pid_fd, self._ended)
        self._change()

    def signal(self, number: int) -> None:
        """Any signal, to a process that runs."""
        if self._process is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL. It is gone before this returns."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._ended()

    def pause(self) -> None:
        """SIGSTOP: it stands still, its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)
        self.is_paused = True
        self._change()

    def go_on(self) -> None:
        """SIGCONT."""
        if self._process is not None and self.is_paused:
            os.kill(self._process.pid, signal.SIGCONT)
        self.is_paused = False
        self._change()

    async def end(self) -> bool:
        """End it politely, as the cluster command does; SIGKILL when that takes too long, and False."""
        process = self._process
        if process is None:
            return True
        self.go_on()
        if process.stdin is not None:
            process.stdin.close()
        if await self.wait(lambda one: not one.is_alive, _PATIENCE_S):
            return True
        self.kill()
        return False

    # -- what it says -----------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        try:
            data = os.read(process.stdout.fileno(), 65536)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(process.stdout.fileno())
            return
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, AttributeError):
                event = json.loads(line)
                self.state = str(event.get("state", ""))
                if self.state == "stopped":
                    self.reason = str(event.get("text", ""))
        self._change()

    def _ended(self) -> None:
        """The process is gone: hear its last words and let go of it."""
        process = self._process
        if process is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pid_fd)
        os.close(self._pid_fd)
        self._hear()
        assert process.stdout is not None
        loop.remove_reader(process.stdout.fileno())
        process.stdout.close()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        self.exit_code = process.wait()
        self._process = None
        self.is_paused = False
        self.state = "stopped"
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self._on_change(self)
