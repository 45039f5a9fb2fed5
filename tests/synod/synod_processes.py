"""Real acceptor processes for the tests: started, killed with SIGKILL, stopped in their tracks, started again.

Their ports are taken from the system once and stay reserved by a bound socket that never listens, so that nobody else
gets one while its acceptor is down; connecting to it is refused meanwhile.
"""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "multipaxos.host.synod"]


def reserve() -> tuple[socket.socket, str]:
    """A free port of loopback, held for the test."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held, f"127.0.0.1:{held.getsockname()[1]}"


class AcceptorProcesses:
    """Acceptors with one directory and one address each, by the labels A1, A2, ..."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.labels = [f"A{at}" for at in range(1, count + 1)]
        self._held = [reserve() for _ in range(count)]
        self.addresses = {label: held[1] for label, held in zip(self.labels, self._held, strict=True)}
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.said: dict[str, list[str]] = {label: [] for label in self.labels}
        self.kills = 0

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self.addresses.values())

    async def __aenter__(self) -> "AcceptorProcesses":
        return self

    async def __aexit__(self, *error: object) -> None:
        for label in list(self.running):
            await self.kill(label)
        for held, _ in self._held:
            held.close()

    async def start(self, label: str, *options: str) -> None:
        """Start one, and wait until it says that it listens."""
        address, folder = self.addresses[label], label.lower()
        await self.begin(label, [*COMMAND, "acceptor", "--listen", address, "--dir", folder, *options])

    async def begin(self, label: str, command: list[str]) -> None:
        """Start one by the command given, and wait until it has said all it says at a start."""
        assert label not in self.running
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=self.folder)
        self.running[label] = process
        assert process.stdout is not None
        self.said[label].clear()
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, f"{label} ended with {await process.wait()} before it listened"
            self.said[label].append(line.rstrip("\n"))
            if line.startswith("Listening on"):
                assert self.addresses[label] in line
            if line.startswith("Next:" if self.said[label][0].startswith("First start") else "Listening on"):
                return

    async def start_all(self, *options: str) -> None:
        await asyncio.gather(*(self.start(label, *options) for label in self.labels if label not in self.running))

    async def kill(self, label: str) -> None:
        """SIGKILL, also while it is stopped in its tracks."""
        process = self.running.pop(label)
        process.send_signal(signal.SIGKILL)
        # Not wait() alone: the pipe of a killed process has to be read to its end before asyncio forgets it.
        await process.communicate()
        self.kills += 1

    async def end(self, label: str) -> int:
        """SIGTERM, the clean way; the exit code."""
        process = self.running.pop(label)
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode is not None
        return process.returncode

    async def interrupt(self, label: str) -> tuple[int, list[str]]:
        """Ctrl-C: the exit code, and all it had printed since its start."""
        process = self.running.pop(label)
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode().splitlines()

    def freeze(self, label: str) -> None:
        self.running[label].send_signal(signal.SIGSTOP)

    def thaw(self, label: str) -> None:
        self.running[label].send_signal(signal.SIGCONT)


async def typed(*arguments: str, command: list[str] | None = None, folder: Path | None = None) -> tuple[int, str, str]:
    """Run one command to its end: exit code, what it printed, what it complained about."""
    process = await asyncio.create_subprocess_exec(
        *(command or COMMAND),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "9999"},
        cwd=folder,
    )
    try:
        out, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), complaints.decode()
