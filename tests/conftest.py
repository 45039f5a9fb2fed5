"""What every run of the tests ends with: how long each part of them took.

With ``MULTIPAXOS_PARTS=FILE`` the same figures are written to FILE as JSON, for docs/evidence.md."""

import json
import os
import time
from pathlib import Path

import pytest

_ENOUGH_S = 5.0
_BEGAN_S = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Seconds by folder, of all workers together."""
    parts: dict[str, dict[str, float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                part = parts.setdefault(
                    Path(report.nodeid.partition("::")[0]).parent.name, {"tests": 0, "seconds": 0.0}
                )
                part["tests"] += report.when == "call"
                part["seconds"] += report.duration
    total = sum(part["seconds"] for part in parts.values())
    if total < _ENOUGH_S:
        return
    terminalreporter.section("seconds of each part, of all workers together")
    for name, part in sorted(parts.items(), key=lambda item: -item[1]["seconds"]):
        terminalreporter.line(f"{name:14}{part['tests']:6.0f} tests{part['seconds']:9.1f} s")
    file = os.environ.get("MULTIPAXOS_PARTS", "")
    if file:
        wall_s = round(time.monotonic() - _BEGAN_S, 1)
        Path(file).write_text(json.dumps({"parts": parts, "wall_s": wall_s}, sort_keys=True) + "\n")
