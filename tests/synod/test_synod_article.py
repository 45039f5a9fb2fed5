"""The article's own example, with its slip mended, and the tutorial: what it shows is what happens."""

import doctest
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synod_world import Acceptors

from multipaxos.core.ballot import CLASSES, next_number
from multipaxos.host.synod import main
from multipaxos.synod.messages import Nack, Prepare, Promise
from multipaxos.synod.proposer import CHOSEN, Proposer, Settings

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "by-hand.md").read_text(encoding="utf-8")
TRANSCRIPTS = ROOT / "tests" / "synod" / "transcripts"
THREE = ("127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003")


def test_the_worked_example_corrected():
    """claim-A29, trap-T1: 0, 1, 2; then 3 for P1, where the article prints 4; then 5 for P3."""
    assert [next_number(i, 3, -1) for i in range(3)] == [0, 1, 2]
    assert next_number(0, 3, above=1) == 1 * 3 + 0 == 3
    assert 4 % 3 == 1, "4 is P2's"
    assert next_number(2, 3, above=3) == 1 * 3 + 2 == 5


def test_the_worked_example_played():
    """The same with proposers: P2 goes first with 1, P1 is told of it and takes 3, P3 is told of that and takes 5."""
    acceptors = Acceptors(THREE)
    for address in THREE:
        assert isinstance(acceptors.handle(address, Prepare("example", "2" * 16, THREE, 1)), Promise)
    used = []
    for index, first in ((0, 0), (2, 2)):
        run = Proposer("example", f"v{index}", THREE, index, 3, f"{index + 3:016x}", Settings())
        run.begin(1, first)
        now = 1
        while run.outcome is None:
            sent, run.out = run.out, []
            for address, request in sent:
                if isinstance(request, Prepare):
                    used.append((index, request.number))
                run.hear(address, acceptors.handle(address, request), now, 0)
            if not run.out and run.outcome is None:
                now = run.wake_at
                run.tick(now, 0)
        assert run.outcome.kind == CHOSEN
    assert list(dict.fromkeys(used)) == [(0, 0), (0, 3), (2, 2), (2, 5)]


def test_why_4_would_not_do():
    """With 4 P1 would use P2's next number. The acceptors here refuse it the second time, so it costs a retry, not safety."""
    acceptors = Acceptors(THREE)
    p2_next = next_number(1, 3, above=1)
    assert p2_next == 4
    assert isinstance(acceptors.handle(THREE[0], Prepare("example", "1" * 16, THREE, 4)), Promise)
    refused = acceptors.handle(THREE[0], Prepare("example", "2" * 16, THREE, p2_next))
    assert isinstance(refused, Nack)
    assert (refused.promised, refused.promised_run) == (4, "1" * 16)


@given(count=st.integers(1, 200) | st.just(CLASSES), data=st.data(), above=st.integers(-1, 1 << 60))
def test_the_rule(count, data, above):
    """claim-A27: s % n = i, the smallest above everything known; classes never meet."""
    index = data.draw(st.integers(0, count - 1))
    number = next_number(index, count, above)
    assert number > above
    assert number % count == index
    assert number - count <= above
    assert number >= 0


def test_the_tutorial_names_the_slip_kindly():
    assert "`new P1 = 1 * 3 + 0 = 4`" in TUTORIAL
    assert "P1提交的时候发现了P2已经提交" in TUTORIAL
    assert "`1*3 + 0` is **3**" in TUTORIAL
    assert "`4 % 3 = 1`" in TUTORIAL


def test_the_python_of_the_tutorial_runs():
    blocks = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    assert blocks
    for block in blocks:
        example = doctest.DocTestParser().get_doctest(block, {}, "by-hand.md", None, 0)
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0


def test_the_output_in_the_tutorial_is_what_a_transcript_has():
    blocks = re.findall(r"<!-- from ([a-z0-9-]+) -->\n```text\n(.*?)```", TUTORIAL, re.DOTALL)
    assert len(blocks) == TUTORIAL.count("```text") >= 6
    assert {name for name, _ in blocks} == {"picture-1", "picture-2", "picture-3"}
    for name, block in blocks:
        assert block in (TRANSCRIPTS / f"{name}.txt").read_text(encoding="utf-8"), (
            f"{name} has no such passage:\n{block}"
        )


def test_the_options_in_the_tutorial_exist(capsys):
    for command in ("acceptor", "propose", "learn"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helped = capsys.readouterr().out
        line = next(
            line for line in TUTORIAL.splitlines() if line.startswith(f"    multipaxos {command} ") and "[" in line
        )
        for option in re.findall(r"--[a-z-]+", line):
            assert option in helped


def test_files_the_tutorial_names_exist():
    for name in re.findall(r"`((?:docs|src|tests)/[A-Za-z0-9_/.-]+)`", TUTORIAL):
        assert (ROOT / name).exists(), name
