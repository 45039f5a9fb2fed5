"""Asks an admin port as a person would, with the standard library; and runs what has one."""

import contextlib
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HARNESS = str(Path(__file__).resolve().parents[1] / "cluster")
PATIENCE_S = 60.0


def get(address: str, path: str, method: str = "GET", seconds: float = PATIENCE_S) -> tuple[int, str]:
    """Status code and body."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=seconds)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def asked(address: str, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """The first status that is as wanted."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value: dict[str, Any] = json.loads(get(address, "/status")[1])
        if condition(value):
            return value
        assert time.monotonic() < deadline, f"in vain for {what}; last: {json.dumps(value)}"
        time.sleep(0.05)


@contextlib.contextmanager
def once(config: Path) -> Iterator[str]:
    """A replica from a file; gives its admin address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "multipaxos", "serve", str(config)],
        cwd=config.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            found = re.search(r"status, metrics and why at http://(\S+)", line)
            if found:
                break
        else:
            raise AssertionError(f"it told no admin address: {said}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # or its log would fill the pipe
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        process.stderr.close()


@contextlib.contextmanager
def running_cluster(folder: Path, replicas: int = 3) -> Iterator[Any]:
    """Real replicas as ``tests/cluster`` runs them, which can be asked at their admin ports."""
    sys.path.insert(0, HARNESS)
    try:
        from cluster_harness import ProcessCluster
    finally:
        sys.path.remove(HARNESS)

    class Asked(ProcessCluster):  # type: ignore[misc, unused-ignore]
        def admin(self, replica: int) -> str:
            return str(next(place.admin for place in self._opened.places if place.id == replica))

        def until(self, replica: int, condition: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
            return asked(self.admin(replica), condition, what)

    with Asked(folder, replicas) as cluster:
        yield cluster.start()
