"""The shards of one search: a single one here, or each in a process of its own.

Knows nothing of levels and bounds: ``search.py`` says "another round" and "next level". A round goes: every shard takes in
what the round before it brought, expands states for a while, and hands out those that belong to others. The states cross as
pickles through this process, which first hears everybody and only then speaks, so that no two wait for each other.
"""

import pickle
import traceback
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from time import monotonic
from typing import Protocol, cast

from multipaxos.explore.bounds import Bounds
from multipaxos.explore.model import Model, State
from multipaxos.explore.shard import ModelError, Parcel, Shard, Standing

STOP_WAIT_S = 5.0

# After a round: a shard's figures, and what it has for others as (owner, pickled parcels).
Report = tuple[Standing, list[tuple[int, bytes]]]


class Fleet(Protocol):
    """What ``search.py`` needs of one shard, or of several."""

    def round(self, seconds: float) -> Standing:
        """Let every shard expand states for so long; the figures after it. ``waiting`` counts what this level still has."""

    def turn_level(self) -> None:
        """Go one level deeper."""

    def before(self, mark: int) -> int:
        """The fingerprint of the state before this one."""

    def distinct(self) -> dict[str, int]:
        """How many different parts of states there are, by name."""

    def stop(self) -> None:
        """End all processes."""


class OneShard:
    """Everything in this process."""

    def __init__(self, model: Model[State], bounds: Bounds) -> None:
        self.shard = Shard(model, 0, 1, bounds)
        self.shard.begin()

    def round(self, seconds: float) -> Standing:
        """See ``Fleet``."""
        self.shard.expand(monotonic() + seconds)
        return self.shard.standing()

    def turn_level(self) -> None:
        """See ``Fleet``."""
        self.shard.turn_level()

    def before(self, mark: int) -> int:
        """See ``Fleet``."""
        return self.shard.before[mark]

    def distinct(self) -> dict[str, int]:
        """See ``Fleet``."""
        return {name: len(marks) for name, marks in self.shard.distinct.items()}

    def stop(self) -> None:
        """See ``Fleet``."""


class ManyShards:
    """One process for each shard. They are forked, so that a model need not be picklable: only its states are."""

    def __init__(self, model: Model[State], jobs: int, bounds: Bounds) -> None:
        if "fork" not in get_all_start_methods():
            raise ModelError("several jobs need a system that can fork; run with one job here")
        context = get_context("fork")
        self.jobs = jobs
        self.mail: list[list[bytes]] = [[] for _ in range(jobs)]
        self.lines: list[Connection] = []
        self.processes = []
        for index in range(jobs):
            here, there = context.Pipe()
            self.lines.append(here)
            process = context.Process(target=serve, args=(there, self.lines, model, index, jobs, bounds), daemon=True)
            process.start()
            there.close()
            self.processes.append(process)

    def round(self, seconds: float) -> Standing:
        """See ``Fleet``."""
        for index, line in enumerate(self.lines):
            line.send(("round", self.mail[index], seconds))
        self.mail = [[] for _ in range(self.jobs)]
        total = Standing()
        for index in range(self.jobs):
            standing, outgoing = cast(Report, self.answer(index))
            total.add(standing)
            for owner, parcels in outgoing:
                self.mail[owner].append(parcels)
        total.waiting += sum(len(letters) for letters in self.mail)  # a level ends when all letters have been read
        return total

    def turn_level(self) -> None:
        """See ``Fleet``."""
        for line in self.lines:
            line.send(("turn",))

    def before(self, mark: int) -> int:
        """See ``Fleet``."""
        owner = mark % self.jobs
        self.lines[owner].send(("before", mark))
        return cast(int, self.answer(owner))

    def distinct(self) -> dict[str, int]:
        """See ``Fleet``. Several shards may hold states of which a part is the same."""
        together: dict[str, set[int]] = {}
        for index, line in enumerate(self.lines):
            line.send(("distinct",))
            for name, marks in cast(dict[str, set[int]], self.answer(index)).items():
                together.setdefault(name, set()).update(marks)
        return {name: len(marks) for name, marks in together.items()}

    def answer(self, index: int) -> object:
        """What a process says; its error, raised here."""
        try:
            answer = self.lines[index].recv()
        except (EOFError, ConnectionResetError) as error:
            raise ModelError(f"process {index + 1} of {self.jobs} died; out of memory? lower --states-max") from error
        if isinstance(answer, ModelError):
            raise answer
        return answer

    def stop(self) -> None:
        """End all processes."""
        for line in self.lines:
            line.close()  # a process ends when its line does
        for process in self.processes:
            process.join(STOP_WAIT_S)
            if process.is_alive():
                process.kill()
                process.join()


def serve(
    line: Connection, inherited: list[Connection], model: Model[State], index: int, jobs: int, bounds: Bounds
) -> None:
    """One process of ``ManyShards``: do what the line says until it ends."""
    for other in inherited:
        other.close()  # a line ends when its last copy is closed, so no process may hold a copy of another's
    try:
        shard = Shard(model, index, jobs, bounds)
        shard.begin()
        while True:
            try:
                order = line.recv()
            except (EOFError, OSError):
                return
            if order[0] == "round":
                _, letters, seconds = order
                for letter in letters:
                    news, parcels = pickle.loads(letter)
                    if news is not None:
                        model.hear(news)
                    shard.receive(parcels)
                shard.expand(monotonic() + seconds)
                line.send((shard.standing(), hand_out(shard)))
            elif order[0] == "turn":
                shard.turn_level()
            elif order[0] == "distinct":
                line.send(shard.distinct)
            else:
                line.send(shard.before[order[1]])
    except ModelError as error:
        line.send(error)
    except Exception:
        line.send(ModelError(f"the model failed:\n{traceback.format_exc()}"))


def hand_out(shard: Shard[State]) -> list[tuple[int, bytes]]:
    """The outboxes that hold something, each as one pickle, and empty from now on."""
    outgoing: list[tuple[int, bytes]] = []
    for owner, parcels in enumerate(shard.outboxes):
        if parcels:
            letter = (shard.model.news_for(owner), parcels)
            outgoing.append((owner, pickle.dumps(letter, pickle.HIGHEST_PROTOCOL)))
            emptied: list[Parcel] = []
            shard.outboxes[owner] = emptied
    return outgoing
