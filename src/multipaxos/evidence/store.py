"""A folder of results, one JSON line each, in files named by the kind of evidence and the code it speaks of.

    evidence/seeds-<hash>.jsonl      {"key":"0-249","done_at":"2026-11-23 14:02","machine":..,"result":{..}}

A result counts for the code it was found for and no other: the hash is over every Python file of the packages that take
part in that kind of run (``PARTS``), and a change in one of them begins anew. A line is added when its part of a campaign
is done, so a campaign may be stopped at any moment and goes on with the next part; two machines may each fill a folder,
and the files are simply put together.

Knows nothing of what a result means: ``page.py`` does.
"""

import contextlib
import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import multipaxos
from multipaxos.core import replica

_SIMULATED: Final = ("core", "coordination", "service", "wire", "storage", "sim", "trace.py")

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "explore": ("core", "explore"),
    "seeds": _SIMULATED,
    "plain-seeds": _SIMULATED,
    "storage": ("core", "storage", "sim", "trace.py"),
    "mutants": (*_SIMULATED, "explore", "mutants", "host", "transport"),
    "torture": (*_SIMULATED, "host", "transport", "client", "torture"),
    "tests": (*_SIMULATED, "explore", "mutants", "host", "transport", "client", "torture", "synod", "bench", "cli"),
}
"""For each kind of evidence, the packages and files whose code it speaks of."""


def source_hash(kind: str) -> str:
    """Twelve hexadecimal digits over the code a result of this kind speaks of. Raises KeyError for an unknown kind."""
    root = Path(multipaxos.__file__).parent
    digest = hashlib.sha256()
    for part in PARTS[kind]:
        for path in sorted((root / part).rglob("*.py")) or [root / part]:
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _form() -> str:
    """Whether the core runs interpreted or was compiled, from the same files that are hashed."""
    return "interpreted" if str(replica.__file__).endswith(".py") else "compiled"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that are whole; none where there is no file."""
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


class Store:
    """The results in one folder that speak of the code imported here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: str) -> Path:
        """Where results of this kind stand."""
        return self.folder / f"{kind}-{source_hash(kind)}.jsonl"

    def earlier(self, kind: str) -> dict[str, dict[str, dict[str, Any]]]:
        """By hash, the results in this folder that speak of other code."""
        present = self.path(kind)
        return {
            path.stem.removeprefix(f"{kind}-"): self._read(path)
            for path in sorted(self.folder.glob(f"{kind}-????????????.jsonl"))
            if path != present
        }

    def results(self, kind: str) -> dict[str, dict[str, Any]]:
        """Results of one kind by key; of a key that was done twice the later one. A line cut short by a crash is
        skipped: its part is done again."""
        return self._read(self.path(kind))

    def machines(self, kind: str) -> dict[str, int]:
        """Where results of one kind come from, and how many from each."""
        return Counter(str(line["machine"]) for line in _lines(self.path(kind)) if "machine" in line)

    @staticmethod
    def _read(path: Path) -> dict[str, dict[str, Any]]:
        return {line["key"]: line["result"] for line in _lines(path) if "key" in line and "result" in line}

    def add(self, kind: str, key: str, result: dict[str, Any]) -> None:
        """Keep one result, durably."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = {
            "key": key,
            "done_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {_form()}",
            "result": result,
        }
        path = self.path(kind)
        is_torn = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a") as file:
            file.write(("\n" if is_torn else "") + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
