"""What every run of the tests ends with: how long each part of them took. And that one failure stays one.

With ``MULTIPAXOS_PARTS=FILE`` the same figures are written to FILE as JSON, for docs/evidence.md."""

import gc
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

_ENOUGH_S = 5.0
_BEGAN_S = time.monotonic()
_FAILURES = pytest.StashKey[list[BaseException]]()


def pytest_configure() -> None:
    """A shell starts what runs in its background with SIGINT ignored, and every process a test starts would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember what a test failed with."""
    report = yield
    if report.failed and call.excinfo is not None:  # type: ignore[attr-defined]
        item.stash.setdefault(_FAILURES, []).append(call.excinfo.value)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that fails half-way leaves sockets and files open in the frames of its traceback. They are closed here:
    or they would be found later, in the middle of another test, and fail that one with a warning it did not cause.
    """
    done = yield
    failures = item.stash.get(_FAILURES, [])
    if failures:
        hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for name in ("last_type", "last_value", "last_traceback", "last_exc"):
                    vars(sys).pop(name, None)
                while failures:
                    _let_go(failures.pop())
                gc.collect()
        finally:
            sys.unraisablehook = hook
    return done


def _let_go(failure: BaseException | None) -> None:
    """Empty the frames of an exception, and of those it came from."""
    known: set[int] = set()
    while failure is not None and id(failure) not in known:
        known.add(id(failure))
        traceback.clear_frames(failure.__traceback__)
        failure.__traceback__ = None  # what was asked for of a frame's locals is kept beside the frame
        failure = failure.__cause__ or failure.__context__


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
