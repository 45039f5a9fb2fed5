"""Schedules of Basic Paxos by hand (rule-R51, rule-R53): numbers are typed by people, and learners count votes."""

from multipaxos.mutants.schedules.staging import require
from multipaxos.sim.checkers import Violation
from multipaxos.synod.acceptor import NamedAcceptor
from multipaxos.synod.learner import Learner
from multipaxos.synod.messages import Accept, Accepted, Answer, Prepare, Promise, Request
from multipaxos.synod.proposer import CHOSEN, Settings

ADDRESSES = ("a:1", "b:1", "c:1")
NAME = "colour"


class Hands:
    """Three acceptors, and an eye on every vote."""

    def __init__(self) -> None:
        self.acceptors = {address: NamedAcceptor(f"{at:016x}") for at, address in enumerate(ADDRESSES, 1)}
        self.votes: dict[int, dict[str, str]] = {}  # number -> acceptor -> value

    def ask(self, address: str, request: Request) -> Answer:
        """One request, and what it makes true. Raises Violation of I1 and I2."""
        answer = self.acceptors[address].handle(request)
        if isinstance(request, Accept) and isinstance(answer, Accepted):
            voters = self.votes.setdefault(request.number, {})
            voters[address] = request.value
            if len(set(voters.values())) > 1:
                raise Violation("I1", f"number {request.number} has two values: {sorted(set(voters.values()))}")
        chosen = self.chosen()
        if len(chosen) > 1:
            raise Violation("I2", f"two values are chosen: {chosen}")
        return answer

    def chosen(self) -> list[str]:
        """Every value that a majority has voted for at one number."""
        found: set[str] = set()
        for voters in self.votes.values():
            found |= {value for value in voters.values() if list(voters.values()).count(value) >= 2}
        return sorted(found)

    def prepare(self, run: str, number: int, *addresses: str) -> bool:
        """Phase 1 of a run; whether all promised."""
        answers = [self.ask(address, Prepare(NAME, run, ADDRESSES, number)) for address in addresses]
        return all(isinstance(answer, Promise) for answer in answers)

    def accept(self, run: str, number: int, value: str, *addresses: str) -> None:
        """Phase 2 of a run."""
        for address in addresses:
            self.ask(address, Accept(NAME, run, ADDRESSES, number, value))


def equal_number() -> None:
    """trap-T31, ``equal-number``: two runs use number 3. The first is promised by a and b, gets red accepted at a, and
    dies; the second asks b and c for the same number."""
    hands = Hands()
    assert hands.prepare("1", 3, "a:1", "b:1")
    hands.accept("1", 3, "red", "a:1")
    if hands.prepare("2", 3, "b:1", "c:1"):
        hands.accept("2", 3, "blue", "b:1", "c:1")


def spread_votes() -> None:
    """``silent-choice``, bug-A10: red was accepted at 3 by a and at 7 by b, blue at 5 by c. No majority holds any of them
    at one number, so nothing is chosen yet, whatever a learner adds up."""
    hands = Hands()
    assert hands.prepare("1", 3, "a:1", "b:1")
    hands.accept("1", 3, "red", "a:1")
    assert hands.prepare("2", 5, "b:1", "c:1")
    hands.accept("2", 5, "blue", "c:1")
    assert hands.prepare("3", 7, "a:1", "b:1")
    hands.accept("3", 7, "red", "b:1")
    learner = Learner(NAME, ADDRESSES, 0, 3, "4", Settings(linger_ns=0))
    for heard in learner.heard.values():
        heard.is_open = True
    learner.begin(1, -1)
    asked = list(learner.out)
    learner.out.clear()
    for address, request in asked:
        if address != "c:1":
            learner.hear(address, hands.ask(address, request), 2, 0)
    outcome = learner.outcome
    require(
        outcome is None or outcome.kind != CHOSEN or outcome.value in hands.chosen(),
        "I6",
        "a learner reports a value that no majority accepted at one number",
    )
