"""A world for Basic Paxos by hand without sockets, disks or clocks: every message is delivered, lost or doubled by choice.

``Acceptors`` keeps what each acceptor wrote and can start one again from it. ``World`` carries messages between runs and
acceptors, in an order its random source picks, and knows what was really chosen: it sees every vote.
"""

import random
from collections.abc import Iterable

from multipaxos.core.records import AcceptedRecord, Record
from multipaxos.synod.acceptor import NamedAcceptor
from multipaxos.synod.messages import Answer, Request, decode, encode
from multipaxos.synod.proposer import Proposer, Settings

ADDRESSES = tuple(f"127.0.0.1:700{at}" for at in range(1, 6))

EAGER = Settings(linger_ns=0, timeout_ns=600_000_000_000)
"""No listening on after a majority: more orders are reached."""


def identity_of(at: int) -> str:
    return f"{at:016x}"


class Acceptors:
    """One acceptor per address, each with the records that are durable."""

    def __init__(self, addresses: Iterable[str] = ADDRESSES, kind: type[NamedAcceptor] = NamedAcceptor) -> None:
        self.kind = kind
        self.live: dict[str, NamedAcceptor] = {}
        self.journals: dict[str, list[tuple[int, Record]]] = {}
        self.votes: dict[str, dict[int, dict[str, str]]] = {}  # name -> number -> identity -> value, for ever
        for at, address in enumerate(addresses, 1):
            self.live[address] = kind(identity_of(at))
            self.journals[address] = []

    def handle(self, address: str, request: Request) -> Answer:
        """One request, over the wire's bytes, written before it is answered."""
        acceptor = self.live[address]
        answer = acceptor.handle(as_request(request))
        for _, record in acceptor.writes:
            if isinstance(record, AcceptedRecord):
                voters = self.votes.setdefault(request.name, {}).setdefault(record.ballot, {})
                voters[acceptor.identity] = record.decree.decode()
        self.journals[address] += acceptor.writes
        acceptor.writes.clear()
        acceptor.notes.clear()
        acceptor.check()
        if self.kind is NamedAcceptor:  # a mutant says what no wire would carry; only agreement shall judge it
            assert decode(encode(answer)) == answer
        return answer

    def restart(self, address: str) -> None:
        """Kill -9 and start again: memory is gone, the journal is not."""
        before = self.live[address]
        after = self.kind(before.identity)
        for group, record in self.journals[address]:
            after.restore(group, record)
        after.check()
        assert {
            name: (d.rules.promised, d.vote, d.acceptors, d.promised_run) for name, d in before.decisions.items()
        } == {name: (d.rules.promised, d.vote, d.acceptors, d.promised_run) for name, d in after.decisions.items()}
        self.live[address] = after

    def chosen(self, name: str) -> set[str]:
        """Every value that a majority has voted for at one number, as nobody inside can see it."""
        found: set[str] = set()
        for voters in self.votes.get(name, {}).values():
            for value in set(voters.values()):
                if 2 * sum(1 for vote in voters.values() if vote == value) > len(self.live):
                    found.add(value)
        return found


def as_request(request: Request) -> Request:
    returned = decode(encode(request))
    assert returned == request
    assert not isinstance(returned, Answer)
    return returned


class World:
    """Runs and acceptors with a network between them that obeys one random source."""

    def __init__(self, acceptors: Acceptors, seed: int, loss: float = 0.0, doubled: float = 0.0) -> None:
        self.acceptors = acceptors
        self.chance = random.Random(seed)
        self.loss = loss
        self.doubled = doubled
        self.now = 1
        self.runs: list[Proposer] = []
        self.requests: list[tuple[Proposer, str, Request]] = []
        self.answers: list[tuple[Proposer, str, Answer]] = []
        self.delivered = 0

    def add(self, run: Proposer, number: int = -1) -> Proposer:
        self.runs.append(run)
        for heard in run.heard.values():
            heard.is_open = True
        run.begin(self.now, number)
        self._collect(run)
        return run

    def _collect(self, run: Proposer) -> None:
        for address, request in run.out:
            for _ in range(self._copies()):
                self.requests.append((run, address, request))
        run.out.clear()

    def _copies(self) -> int:
        drawn = self.chance.random()
        if drawn < self.loss:
            return 0
        return 2 if drawn < self.loss + self.doubled else 1

    def drawn(self) -> int:
        return self.chance.getrandbits(32)

    def step(self) -> None:
        """Deliver any one message; only when none is on its way, let time pass until a run wants to wake."""
        waiting = len(self.requests) + len(self.answers)
        if not waiting or self.chance.random() < 0.02:
            due = [run.wake_at for run in self.runs if run.outcome is None]
            if due:
                self.now = max(self.now + 1, min(due))
                for run in self.runs:
                    if run.outcome is None:
                        run.tick(self.now, self.drawn())
                        self._collect(run)
            return
        self.now += 1_000_000
        self.delivered += 1
        at = self.chance.randrange(waiting)
        if at < len(self.requests):
            run, address, request = self.requests.pop(at)
            answer = self.acceptors.handle(address, request)
            for _ in range(self._copies()):
                self.answers.append((run, address, answer))
            return
        run, address, answer = self.answers.pop(at - len(self.requests))
        run.hear(address, answer, self.now, self.drawn())
        self._collect(run)

    def finish(self, run: Proposer, steps_max: int = 20_000) -> Proposer:
        """Go on until ``run`` has ended."""
        for _ in range(steps_max):
            if run.outcome is not None:
                return run
            self.step()
        raise AssertionError(f"no end after {steps_max} steps: {run.phase} at {run.number}")
