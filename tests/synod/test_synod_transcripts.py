"""The article's three pictures, played by real processes and compared with what stands in ``transcripts/``.

A transcript is a story in comments, commands behind ``$``, and below ``----`` what they printed. Ports 7001 to 7005
stand for whatever ports were free, ``r1``, ``r2``, ... for the random ids of runs, ``id-of-A1`` for an acceptor's own.
Commands that set no patience are given plenty, so that a slow machine tells the same story.

Rewrite them with MULTIPAXOS_REWRITE=1, and read that diff as you would read code.
"""

import asyncio
import os
import re
import shlex
import sys
import textwrap
from pathlib import Path

import pytest
from synod_processes import AcceptorProcesses, typed

pytestmark = pytest.mark.processes

FOLDER = Path(__file__).parent / "transcripts"
COMMAND = [sys.executable, "-m", "multipaxos"]
WIDTH = 110


class Stage:
    """Plays the commands of one transcript."""

    def __init__(self, processes: AcceptorProcesses) -> None:
        self.processes = processes
        self.variables: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.runs = 0

    async def play(self, line: str) -> list[str]:
        """The lines that one command printed, as they stand in the file."""
        if assigned := re.fullmatch(r"([A-Z]+)=(\S+)", line):
            self.variables[assigned[1]] = assigned[2]
            return []
        for name, value in self.variables.items():
            line = line.replace(f"${name}", value)
        words = shlex.split(line)
        if words[:2] == ["kill", "-9"]:
            await self.processes.kill(words[2])
            return []
        if words[0] == "Ctrl-C":
            code, out = await self.processes.interrupt(words[1])
            return [self.shown(printed) for printed in out] + [f"exit {code}"]
        assert words[0] == "multipaxos"
        arguments = [self.real(word) for word in words[1:]]
        if words[1] == "acceptor":
            label = f"A{words[words.index('--listen') + 1][-1]}"
            assert words[words.index("--dir") + 1] == label.lower()
            assert words[-1] == "&"
            await self.processes.begin(label, [*COMMAND, *arguments[:-1]])
            identity = re.search(r"acceptor,? ([0-9a-f]{16})", self.processes.said[label][0])
            assert identity is not None
            self.ids[identity[1]] = f"id-of-{label}"
            return self.wrapped(self.processes.said[label])
        if "--timeout" not in arguments:
            arguments += ["--timeout", "120", "--linger", "60"]
        code, out, _ = await typed(*arguments, command=COMMAND, folder=self.processes.folder)
        return self.wrapped([*out.splitlines(), f"exit {code}"])

    def wrapped(self, lines: list[str]) -> list[str]:
        found: list[str] = []
        for line in lines:
            shown = self.shown(line)
            indent = " " * (len(shown) - len(shown.lstrip()) + 2)
            found += textwrap.wrap(
                shown, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
            )
        return found

    def real(self, word: str) -> str:
        """Addresses of the transcript, made those of this run."""
        for label, address in self.processes.addresses.items():
            word = word.replace(f"127.0.0.1:700{label[1]}", address)
        return word

    def shown(self, line: str) -> str:
        """A line of this run, made one of the transcript."""
        for label, address in self.processes.addresses.items():
            line = line.replace(address, f"127.0.0.1:700{label[1]}")
        for found in re.findall(r"\b[0-9a-f]{16}\b", line):
            if found not in self.ids:
                self.runs += 1
                self.ids[found] = f"r{self.runs}"
            line = line.replace(found, self.ids[found])
        return line


async def played(text: str, folder: Path) -> str:
    """The transcript with its outputs written anew."""
    result: list[str] = []
    async with AcceptorProcesses(folder, 5) as processes:
        stage = Stage(processes)
        lines = text.splitlines()
        at = 0
        while at < len(lines):
            line = lines[at]
            result.append(line)
            at += 1
            if not line.startswith("$ "):
                continue
            printed = await stage.play(line[2:])
            while lines[at] != "----":
                assert lines[at].startswith("$ ")
                result.append(lines[at])
                printed += await stage.play(lines[at][2:])
                at += 1
            result.append("----")
            result += printed
            at += 1
            while at < len(lines) and lines[at]:
                at += 1
    return "\n".join(result) + "\n"


@pytest.mark.parametrize("name", ["picture-1", "picture-2", "picture-3"])
def test_transcript(name, tmp_path):
    path = FOLDER / f"{name}.txt"
    expected = path.read_text()
    found = asyncio.run(played(expected, tmp_path))
    if os.environ.get("MULTIPAXOS_REWRITE"):
        path.write_text(found)
    assert found == expected
