"""Mutants: the code with one rule taken out, and the proof that the checkers notice.

A mutant is a few anchored replacements in a copy of the package in a temporary folder; an anchor that is gone fails
loudly. The copy runs random seeds in a process of its own until a *named invariant* reports a violation. A crash, an
assertion of the code itself or a time-out is no kill (docs/invariants.md); a patch that does nothing must survive. The
production code holds no switch for any of this.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import multipaxos
from multipaxos.sim.scenarios import WORLDS


@dataclass(frozen=True, slots=True)
class Patch:
    """Replace ``anchor``, which must stand exactly once in ``file``."""

    file: str
    anchor: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule taken out."""

    name: str
    source: str  # the rule, trap or catalogue row it stands for
    killers: tuple[str, ...]  # the invariants that may report it
    patches: tuple[Patch, ...]
    world: str = "plain"  # of ``scenarios.WORLDS``
    seeds_max: int = 300
    script: str = ""  # a transcript that reaches it, where random runs do so too rarely


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a hunt ended."""

    seeds: int  # run, the killing one included
    seed: int  # that killed, -1 when the mutant survived
    invariant: str
    text: str
    crashes: int  # seeds that ended in an exception, and count for nothing

    @property
    def is_killed(self) -> bool:
        """Whether an invariant reported a violation."""
        return self.seed >= 0


VIOLATION_OF = "VIOLATION of "
"""How a transcript tells a violation."""

NOTHING = Mutant("does nothing", "the twin that must survive", (), ())

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "promise forgotten at restart",
        "bug-A01",
        ("I3",),
        (
            Patch(
                "core/replica.py",
                "            elif isinstance(record, PromisedRecord):\n"
                "                self.acceptor.restore_promise(record.ballot)\n",
                "            elif isinstance(record, PromisedRecord):\n                pass\n",
            ),
        ),
    ),
    Mutant(
        "accept below the promise",
        "bug-A09",
        ("I3",),
        (
            Patch(
                "core/acceptor.py",
                '        """Whether an accept at ``ballot`` may be answered with a vote: PMS P1a."""\n'
                "        return ballot >= self.promised\n",
                "        return True\n",
            ),
            Patch(
                "core/acceptor.py",
                '        assert ballot >= self.promised, "PMMC A2"\n        self.promised = ballot\n',
                "        self.promised = max(ballot, self.promised)\n",
            ),
            Patch(
                "core/replica.py",
                '            assert self.acceptor.ballot_at(slot) == self.acceptor.promised, "PMMC A2"\n',
                "",
            ),
        ),
    ),
    Mutant(
        "own value instead of the reported one",
        "bug-A08",
        ("I5",),
        (
            Patch(
                "core/leader.py",
                "        known = self.reported.get(slot)\n"
                "        if known is None or ballot > known[0]:\n"
                "            self.reported[slot] = (ballot, decree)\n",
                "        return\n",
            ),
        ),
    ),
    Mutant(
        "promise not raised on accept",
        "bug-A04, trap-T3",
        ("I3",),
        (
            Patch(
                "core/acceptor.py",
                '        assert ballot >= self.promised, "PMMC A2"\n        self.promised = ballot\n',
                '        assert ballot >= self.promised, "PMMC A2"\n',
            ),
            Patch(
                "core/replica.py",
                '            assert self.acceptor.ballot_at(slot) == self.acceptor.promised, "PMMC A2"\n',
                "",
            ),
        ),
    ),
    Mutant(
        "reply before sync",
        "bug-C01, rule-R33",
        ("I8",),
        (
            Patch(
                "core/effects.py",
                "        self.when_durable.append((to, message))\n",
                "        self.messages.append((to, message))\n",
            ),
        ),
    ),
    Mutant(
        "duplicate vote counted twice",
        "bug-A10, claim-A7",
        ("I10",),
        (
            Patch(
                "core/leader.py",
                "        self.votes: set[ReplicaId] = set()  # by voter: a duplicate is no second vote (claim-A7)\n",
                "        self.votes: list[ReplicaId] = []\n",
            ),
            Patch(
                "core/replica.py",
                "        proposal.votes.add(message.sender)\n",
                "        proposal.votes.append(message.sender)\n",
            ),
            Patch(
                "core/replica.py",
                "        if quorum.is_accept_quorum(proposal.votes):\n",
                "        if len(proposal.votes) >= quorum.accept:\n",
            ),
        ),
    ),
    Mutant(
        "learns from any vote below the announced prefix",
        "bug-B05, trap-T26",
        ("I6", "I7"),
        (
            Patch(
                "core/replica.py",
                "                if vote is None or vote[0] != ballot:\n",
                "                if vote is None:\n",
            ),
        ),
        seeds_max=2_000,
    ),
    Mutant(
        "a ballot is used again after a restart",
        "bug-A02, rule-R1",
        ("I3", "I4"),
        (
            Patch(
                "core/replica.py",
                "        ballot = next_ballot(self.id, max(self.acceptor.promised, self._seen))\n",
                "        ballot = next_ballot(self.id, self._seen)\n",
            ),
            Patch(
                "core/acceptor.py",
                '        assert ballot >= self.promised, "PMMC A1"\n'
                "        is_raised = ballot > self.promised\n"
                "        self.promised = ballot\n",
                "        is_raised = ballot > self.promised\n        self.promised = max(ballot, self.promised)\n",
            ),
        ),
        seeds_max=1_000,
    ),
    Mutant(
        "a read joins a round already sent",
        "trap-T35, rule-R19",
        ("rule-R19",),
        (
            Patch(
                "core/reading.py",
                "            read.number = number\n",
                "            read.number = number - 1\n",
            ),
        ),
        script="late-reader",
    ),
    Mutant(
        "a gap consumes its serial",
        "rule-R8, trap-T6",
        ("I11", "I7"),
        (
            Patch(
                "core/streams.py",
                "        if first_serial > next_serial:\n            return count\n"
                "        return min(next_serial - first_serial, count)\n",
                "        return min(max(next_serial - first_serial, 0), count)\n",
            ),
        ),
    ),
    Mutant(
        "nothing is sent again after a new epoch",
        "rule-R8",
        ("I16",),
        (
            Patch(
                "core/forwarding.py",
                "        self._unsent = deque(segment for _, segment in self._kept)\n",
                "        return\n",
            ),
        ),
    ),
    Mutant(
        "a promise counts at its first page",
        "rule-R3, trap-T29",
        ("I5", "I10"),
        (
            Patch(
                "core/leader.py",
                "            if found.page_last >= self._end:\n                return whole\n",
                "            return whole\n",
            ),
        ),
        seeds_max=1_000,
    ),
    Mutant(
        "the own vote counts when it is sent",
        "bug-A17, trap-T16",
        ("I8",),
        (
            Patch(
                "core/replica.py",
                "        effects.send_when_durable(self.id, Accepted(self.id, accept.ballot, accept.slot))\n",
                "        effects.send(self.id, Accepted(self.id, accept.ballot, accept.slot))\n",
            ),
        ),
    ),
    Mutant(
        "a gap is not filled",
        "bug-B08, PMS S22",
        ("I16",),
        (
            Patch(
                "core/leader.py",
                "            found.append((slot, NOOP if report is None else report[1]))\n",
                "            if report is not None:\n                found.append((slot, report[1]))\n",
            ),
        ),
        seeds_max=1_000,
    ),
    Mutant(
        "the epoch decree of a dead leader begins its reign again",
        "rule-R12, trap-T25",
        ("I7",),
        (Patch("core/reign.py", "        if ballot < self.ballot:\n            return False\n", ""),),
        script="late-epoch-decree",
    ),
    Mutant(
        "pings are answered without the leader",
        "rule-R25, zk-27",
        ("rule-R25",),
        (
            Patch(
                "service/connection.py",
                "                shared.contact.hold_ping(self.id, self.session, xid)\n                self.pings += 1\n",
                "                self.pings += 1\n                self.answer_ping(xid)\n",
            ),
        ),
        world="cut-off gateway",
        seeds_max=20,
    ),
    Mutant(
        "an own change is not told to its watchers here",
        "zk-4, bug-E11",
        ("I15",),
        (
            Patch(
                "service/service.py",
                "            if changes and watches.count:\n"
                "                shared.fire()  # before the reply: a client hears of the change it watched, "
                "then that it made it\n",
                "            if changes and watches.count:\n",
            ),
        ),
        world="clients",
    ),
    Mutant(
        "reads do not wait for the writes before them",
        "bug-E15, rule-R21",
        ("I12",),
        (
            Patch(
                "service/connection.py",
                "                if self._accepted == self.replied:\n                    if opcode == OP_GET_DATA:\n",
                "                if True:\n                    if opcode == OP_GET_DATA:\n",
            ),
        ),
        world="clients",
    ),
    Mutant(
        "a command is compared by its session, not by its connection",
        "rule-R9, trap-T24",
        ("I11", "I12"),
        (
            Patch(
                "coordination/machine.py",
                "        if session.owner != owner:\n"
                '            return Result(SESSION_MOVED, self.zxid, b"", is_moved=True) if wanted else SKIPPED\n'
                "        assert kind == CLOSE  # a request of the present owner was found by its header\n",
                "        if kind == REQUEST:\n"
                "            ids, at = decode_ids(command, HEADER_SIZE)\n"
                "            return self._request(command, at, session_id, ids, wanted)\n",
            ),
        ),
        world="clients",
        seeds_max=1_000,
    ),
)


def mutant(name: str) -> Mutant:
    """The mutant of this name. Raises KeyError."""
    return next(found for found in (NOTHING, *MUTANTS) if found.name == name)


class AnchorGone(Exception):
    """The text a patch replaces does not stand in its file exactly once: the patch must be brought up to date."""


def apply(mutated: Mutant, folder: Path) -> Path:
    """A copy of the package below ``folder`` with the mutant's patches; what PYTHONPATH must name."""
    package = Path(multipaxos.__file__).parent
    copy = folder / "multipaxos"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "*.so", ".mypy_cache"))
    for patch in mutated.patches:
        path = copy / patch.file
        text = path.read_text()
        if text.count(patch.anchor) != 1:
            raise AnchorGone(
                f"{mutated.name}: {patch.file} holds the anchor {text.count(patch.anchor)} times:\n{patch.anchor}"
            )
        path.write_text(text.replace(patch.anchor, patch.replacement))
    return folder


def hunt(mutated: Mutant, scripts: Path | None = None, seeds_max: int = 0, timeout_s: float = 600.0) -> Verdict:
    """Run seeds, or its script of the folder ``scripts``, on the mutated copy until an invariant breaks."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        apply(mutated, Path(folder))
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "multipaxos.mutants.hunting", folder]
        if mutated.script:
            assert scripts is not None
            command += ["script", str((scripts / f"{mutated.script}.txt").resolve())]
        else:
            command += [mutated.world, str(seeds_max or mutated.seeds_max)]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=timeout_s)
        if done.returncode != 0:
            raise RuntimeError(f"{mutated.name}: the hunt itself failed:\n{done.stderr[-2000:]}")
        return Verdict(**json.loads(done.stdout.splitlines()[-1]))


def hunt_seeds(count: int, world: str) -> Verdict:
    """Seeds 0 to ``count - 1`` of one kind of world, on the package imported here."""
    crashes = 0
    for seed in range(count):
        try:
            report = WORLDS[world](seed)
        except Exception:
            # No kill: the mutated code fell over by itself, before any invariant of the catalogue saw it.
            crashes += 1
            continue
        if report.is_failed:
            return Verdict(seed + 1, seed, report.invariant, report.text, crashes)
    return Verdict(count, -1, "", "", crashes)


def hunt_script(text: str) -> Verdict:
    """A transcript on the package imported here: that it reads differently is no kill, a violation told in it is."""
    from multipaxos.sim.transcript import run

    try:
        told = run(text)
    except Exception:
        return Verdict(1, -1, "", "", 1)
    for line in told.splitlines():
        if line.startswith(VIOLATION_OF):
            invariant, _, told_text = line.removeprefix(VIOLATION_OF).partition(": ")
            return Verdict(1, 0, invariant, told_text, 0)
    return Verdict(1, -1, "", "", 0)


def _main(arguments: list[str]) -> None:
    folder, kind, what = arguments
    here = str(Path(multipaxos.__file__).parent.parent)
    if os.path.realpath(here) != os.path.realpath(folder):
        raise SystemExit(f"this is not the mutated copy but {here}")
    verdict = hunt_script(Path(what).read_text()) if kind == "script" else hunt_seeds(int(what), kind)
    value = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}
    sys.stdout.write(json.dumps(value) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
