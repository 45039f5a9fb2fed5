"""Every transcript of this folder is played, and must happen exactly as it is written.

``MULTIPAXOS_REWRITE=1 python -m pytest tests/transcripts`` writes what happened into the files: read that diff as code.
"""

import os
from pathlib import Path

import pytest

from multipaxos.sim.transcript import run

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    wanted = path.read_text()
    happened = run(wanted)
    if os.environ.get("MULTIPAXOS_REWRITE"):
        path.write_text(happened)
        return
    assert happened == wanted


def test_the_named_scenarios_are_there() -> None:
    names = {path.stem for path in TRANSCRIPTS}
    assert names >= {
        "birth", "chained", "dead-ballot", "gap-then-resend", "hung-leader", "lamport-135", "late-decision",
        "late-epoch-decree", "late-reader", "old-leader-returns", "one-way", "promise-lost-in-crash", "quorum-loss",
        "repeat-before-sync", "unverified-prefix", "write-end-to-end", "zab-fig1",
    }  # fmt: skip
