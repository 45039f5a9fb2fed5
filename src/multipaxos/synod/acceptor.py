"""The acceptor of Basic Paxos by hand: many names, each a decision of its own, each one slot of ``core/acceptor.py``.

The two rules are the core's, not written again here. What is added is what Paxos needs where numbers are typed by
people and no configuration is replicated: an equal number is refused whoever asks (rule-R51), a name keeps the set of
acceptors it was first asked under (rule-R52), and the number of names is bounded.

It knows nothing of sockets and disks. ``handle`` answers one request and leaves in ``writes`` what must be durable
*before that answer leaves* (PMS 2.5); ``host/synod.py`` does both. In the journal each name is a group of its own:
first a kept record with name and set, then for each raised promise a kept record with the run it was given to, followed
by the core's own record of the promise or the vote:

    {"name": "colour", "acceptors": ["127.0.0.1:7001", ...]}        {"number": 6, "run": "00c0ffee00c0ffee"}
"""

import json
from typing import Final

from multipaxos.core import acceptor as core
from multipaxos.core.ballot import CLASSES, NO_BALLOT, ROUND_LEAP_MAX
from multipaxos.core.effects import Note
from multipaxos.core.records import AcceptedRecord, KeptRecord, PromisedRecord, Record
from multipaxos.synod import messages
from multipaxos.synod.messages import Accept, Accepted, Answer, Ask, Nack, Prepare, Promise, Refusal, Request, Standing

NAMES_MAX: Final = 10_000
"""How many decisions one acceptor holds unless told otherwise."""

SLOT: Final = 1
"""Single-decree Paxos is the core's acceptor with this one slot (design: the core, item 2)."""

LEAP_MAX: Final = ROUND_LEAP_MAX * CLASSES
"""A number further above the promise is a slip or garbage, and would use up all numbers (rule-R1)."""


class UnreadableRecords(ValueError):
    """The records of the journal do not tell a consistent story: nothing may be vouched for."""


class Decision:
    """One name: the set it was first asked under, and the core's acceptor with its one slot."""

    __slots__ = ("acceptors", "group", "name", "noted", "noted_run", "rules")

    def __init__(self, name: str, acceptors: tuple[str, ...], group: int) -> None:
        self.name = name
        self.acceptors = acceptors
        self.group = group
        self.rules = core.Acceptor()
        self.noted = NO_BALLOT  # the number that noted_run was written beside
        self.noted_run = messages.NO_RUN

    @property
    def promised_run(self) -> str:
        """The run the promise was given to. A crash may have kept the note and torn off the promise behind it."""
        return self.noted_run if self.noted == self.rules.promised else messages.NO_RUN

    @property
    def vote(self) -> tuple[int, str | None]:
        """The number and value accepted last."""
        found = self.rules.votes.get(SLOT)
        return (NO_BALLOT, None) if found is None else (found[0], found[1].decode())


class NamedAcceptor:
    """Every decision that one acceptor process holds."""

    __slots__ = ("_groups", "decisions", "identity", "names_max", "notes", "writes")

    def __init__(self, identity: str, names_max: int = NAMES_MAX) -> None:
        self.identity = identity
        self.names_max = names_max
        self.decisions: dict[str, Decision] = {}
        self._groups: dict[int, Decision] = {}
        self.writes: list[tuple[int, Record]] = []  # (group, record); the caller drains it after each request
        self.notes: list[Note] = []  # the reasons, likewise

    def handle(self, request: Request) -> Answer:
        """The answer to one request, to be sent when everything written so far is durable (rule-R33).

        A question and a nack write nothing, yet wait in the same line: a vote that is reported must be as durable as a
        vote that is given.
        """
        decision = self.decisions.get(request.name)
        if decision is None:
            if len(self.decisions) >= self.names_max:
                return self._refusal(request, messages.TOO_MANY_NAMES, (), self.names_max)
        elif decision.acceptors != request.acceptors:
            # Two sets have majorities without a common member, so under a second set nothing may be decided (rule-R52).
            return self._refusal(request, messages.OTHER_SET, decision.acceptors, 0)
        if isinstance(request, Ask):
            return self._standing(request, decision)
        promised = NO_BALLOT if decision is None else decision.rules.promised
        if request.number > promised + LEAP_MAX:
            return self._refusal(request, messages.TOO_FAR_AHEAD, (), promised + LEAP_MAX)
        if decision is None:
            decision = self._begin(request.name, request.acceptors)
        if isinstance(request, Prepare):
            return self._prepare(request, decision)
        return self._accept(request, decision)

    def _prepare(self, request: Prepare, decision: Decision) -> Answer:
        rules = decision.rules
        # The core would promise an equal number again, to its only owner (rule-R1). By hand a number may have several:
        # a run has no memory, and two may share one --id. Promised twice, one number could get two values (trap-T31).
        if request.number == rules.promised or not rules.may_promise(request.number):
            return self._nack(request, decision)
        accepted, value = decision.vote
        self.notes.append(
            ("acceptor.promise", (request.name, request.run, request.number, rules.promised, accepted, value))
        )
        rules.promise(request.number)
        self._note_run(decision, request.run)
        self.writes.append((decision.group, PromisedRecord(request.number)))
        return Promise(request.name, request.run, self.identity, request.number, accepted, value)

    def _accept(self, request: Accept, decision: Decision) -> Answer:
        rules = decision.rules
        if not rules.may_accept(request.number):
            return self._nack(request, decision)
        decree = request.value.encode()
        vote = rules.votes.get(SLOT)
        if vote is not None and vote[0] == request.number and vote[1] != decree:
            # Cannot happen while every acceptor keeps its directory: of the runs that share a number at most one was
            # promised it by a majority. One number never gets two values here, whoever forgot what (PMMC A4).
            return self._nack(request, decision)
        is_raised = request.number > rules.promised
        self.notes.append(("acceptor.vote", (request.name, request.run, request.number, rules.promised, request.value)))
        if rules.accept(request.number, SLOT, decree):
            if is_raised:
                self._note_run(decision, request.run)
            self.writes.append((decision.group, AcceptedRecord(request.number, SLOT, decree, 0)))
        return Accepted(request.name, request.run, self.identity, request.number)

    def _standing(self, request: Ask, decision: Decision | None) -> Standing:
        if decision is None:
            return Standing(request.name, request.run, self.identity, NO_BALLOT, messages.NO_RUN, NO_BALLOT, None)
        accepted, value = decision.vote
        promised = decision.rules.promised
        return Standing(request.name, request.run, self.identity, promised, decision.promised_run, accepted, value)

    def _nack(self, request: Prepare | Accept, decision: Decision) -> Nack:
        promised = decision.rules.promised
        reason = "acceptor.prepare.nack" if isinstance(request, Prepare) else "acceptor.accept.nack"
        self.notes.append((reason, (request.name, request.run, request.number, promised, decision.promised_run)))
        return Nack(request.name, request.run, self.identity, request.number, promised, decision.promised_run)

    def _refusal(self, request: Request, why: str, stored: tuple[str, ...], bound: int) -> Refusal:
        self.notes.append((f"acceptor.{why}", (request.name, request.run, ", ".join(stored), bound)))
        return Refusal(request.name, request.run, self.identity, why, stored, bound)

    def _begin(self, name: str, acceptors: tuple[str, ...]) -> Decision:
        """A name asked for the first time: its set is fixed with it, durably, before anything is answered."""
        decision = Decision(name, acceptors, len(self._groups) + 1)
        self._add(decision)
        payload = json.dumps({"name": name, "acceptors": acceptors}, separators=(",", ":")).encode()
        self.writes.append((decision.group, KeptRecord(payload)))
        return decision

    def _add(self, decision: Decision) -> None:
        self.decisions[decision.name] = decision
        self._groups[decision.group] = decision

    def _note_run(self, decision: Decision, run: str) -> None:
        decision.noted = decision.rules.promised
        decision.noted_run = run
        payload = json.dumps({"number": decision.noted, "run": run}, separators=(",", ":")).encode()
        self.writes.append((decision.group, KeptRecord(payload)))

    def restore(self, group: int, record: Record) -> None:
        """Take in one record of the journal, in its order.

        Raises UnreadableRecords where it cannot be what this class wrote: an acceptor that has forgotten something must
        not answer.
        """
        decision = self._groups.get(group)
        if isinstance(record, KeptRecord):
            self._restore_kept(group, decision, record)
        elif decision is None:
            raise UnreadableRecords(f"a record of group {group}, which has no name")
        elif isinstance(record, AcceptedRecord):
            decision.rules.restore_vote(record.ballot, record.slot, record.decree)
        elif isinstance(record, PromisedRecord):
            decision.rules.restore_promise(record.ballot)
        else:
            raise UnreadableRecords(f"{type(record).__name__} is no record of an acceptor by hand")

    def _restore_kept(self, group: int, decision: Decision | None, record: KeptRecord) -> None:
        try:
            kept = json.loads(record.payload)
            if decision is None:
                if group != len(self._groups) + 1:
                    raise UnreadableRecords(f"group {group} begins where {len(self._groups) + 1} is due")
                self._add(Decision(str(kept["name"]), tuple(str(item) for item in kept["acceptors"]), group))
            elif "name" not in kept:
                decision.noted, decision.noted_run = int(kept["number"]), str(kept["run"])
            elif kept["name"] != decision.name or tuple(kept["acceptors"]) != decision.acceptors:
                raise UnreadableRecords(f"group {group} is {decision.name!r} and {kept['name']!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableRecords(f"group {group}: {error}") from error

    def check(self) -> None:
        """Asserts what must hold for every name."""
        assert len(self.decisions) == len(self._groups), "one group for each name"
        for decision in self.decisions.values():
            rules = decision.rules
            assert rules.ballot_at(SLOT) <= rules.promised, "trap-T3: a vote is a promise"
            assert set(rules.votes) <= {SLOT}, "one slot"
