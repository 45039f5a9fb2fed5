"""Starts ``verify torture`` as people do, in a process of its own: it changes its own mounts, and takes signals."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

from multipaxos.cli.verify_torture import register

COMMAND = [sys.executable, "-m", "multipaxos", "verify", "torture"]


def application() -> typer.Typer:
    """The command alone, to be called in this process."""
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    return app


def start(folder: Path, *options: str, package: Path | None = None) -> subprocess.Popen[str]:
    """A run that goes on; its progress is to be read from ``stderr``. ``package`` holds another multipaxos."""
    environment = dict(os.environ)
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    return subprocess.Popen(
        [*COMMAND, "--folder", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def run(folder: Path, *options: str, package: Path | None = None, code: int = 0) -> dict[str, Any]:
    """The verdict of a whole run, which must end with ``code``."""
    process = start(folder, "--json", *options, package=package)
    try:
        said, progress = process.communicate(timeout=560)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, f"exit code {process.returncode}\n{progress}\n{said}"
    verdict: dict[str, Any] = json.loads(said.splitlines()[-1])
    return verdict


def processes_of(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(int(entry.name))
    return found
