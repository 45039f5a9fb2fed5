"""The proposer of Basic Paxos by hand: one question, two phases, four messages, and again with a higher number.

A run of ``propose`` is one Proposer. It keeps no memory between runs, so it first asks the acceptors what they have
promised (rule-R51; the article leaves open where "the largest number known" comes from). Then, until a value is chosen:

    phase 1   prepare(n) to all; a majority of promises closes it. The value of the highest number they report is taken
              over; only where nobody reports one is the proposer free to propose its own (PMS 2.2, P2c)
    phase 2   accept(n, v) to all; a majority of accepted messages *at this n* makes v chosen
    nacked    too often for a majority: wait a random moment, take the smallest number of the own class above every one
              heard of, and begin phase 1 again. The random moment is what ends a duel (PMS 2.4)

Without a value of its own it is what ``learner.py`` runs: it then only completes what it hears of.

Pure: the caller hands in what was heard, the time and a random number, sends what lies in ``out``, prints ``notes`` and
calls ``tick`` at ``wake_at``. It knows nothing of sockets; addresses are names to it. Read ``acceptor.py`` beside it.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from multipaxos.core.ballot import NO_BALLOT, next_number
from multipaxos.core.effects import Note
from multipaxos.core.quorum import Quorum, majority
from multipaxos.synod import messages
from multipaxos.synod.acceptor import LEAP_MAX
from multipaxos.synod.messages import Accept, Accepted, Answer, Ask, Nack, Prepare, Promise, Refusal, Request, Standing

MILLISECOND_NS: Final = 1_000_000

ASKING: Final = "asking"
PREPARING: Final = "preparing"
ACCEPTING: Final = "accepting"
RESTING: Final = "resting"

CHOSEN: Final = "chosen"
NONE_CHOSEN: Final = "none chosen"
REFUSED: Final = "refused"
TIMED_OUT: Final = "timed out"


@dataclass(frozen=True, slots=True)
class Settings:
    """The patience of a run, in nanoseconds."""

    retry_ns: int = 300 * MILLISECOND_NS  # a request without an answer is sent again
    linger_ns: int = 200 * MILLISECOND_NS  # listened on after a majority has answered, to show what the others say
    patience_ns: int = 900 * MILLISECOND_NS  # a nacked number without a majority is given up after this
    backoff_ns: int = 40 * MILLISECOND_NS  # the first random rest is drawn below this; doubled with each nacked number
    backoff_max_ns: int = 2_000 * MILLISECOND_NS
    timeout_ns: int = 10_000 * MILLISECOND_NS


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``kind`` is one of the constants above, ``note`` says it in words."""

    kind: str
    note: Note
    value: str | None = None
    number: int = NO_BALLOT
    is_own: bool = False  # the value chosen is the one this run was given


@dataclass(slots=True)
class Heard:
    """One acceptor as this run knows it."""

    label: str  # A1, A2, ... in the order listed
    address: str
    identity: str = ""
    is_open: bool = False  # a connection stands; whether an acceptor is at its other end only an answer shows
    trouble: str = ""  # what a connection failed or broke of; until an answer shows that it is over
    last: Note = field(default=("heard.nothing", ()))

    @property
    def is_connected(self) -> bool:
        """A connection stands, and nothing speaks against an acceptor at its other end."""
        return self.is_open and not self.trouble

    @property
    def is_out_of_reach(self) -> bool:
        """No connection stands, and why is known; a connection that was made again may still bring an answer."""
        return not self.is_open and bool(self.trouble)


class Proposer:
    """One run of ``propose``, or the ballot that a learner runs."""

    __slots__ = (
        "_acceptors", "_answers", "_backoff_ns", "_decided_at", "_phase_at", "_quorum", "_request", "_resend_at",
        "_rest_until", "_settings", "adopted", "attempts", "count", "deadline", "heard", "index", "known", "name",
        "notes", "number", "order", "out", "outcome", "phase", "run", "value",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        value: str | None,
        acceptors: tuple[str, ...],
        index: int,
        count: int,
        run: str,
        settings: Settings,
    ) -> None:
        self.name = name
        self.value = value  # None: propose nothing of its own, only complete what is heard of
        self.order = acceptors
        self.index = index  # the article's i_r: this run uses the numbers s with s % count == index
        self.count = count
        self.run = run
        self.heard = {address: Heard(f"A{at}", address) for at, address in enumerate(acceptors, 1)}
        self.known = NO_BALLOT  # the highest number heard of or used
        self.number = NO_BALLOT  # the number of the present attempt
        self.adopted = NO_BALLOT  # the number of the vote whose value phase 2 carries; NO_BALLOT: the own value
        self.attempts = 0
        self.phase = ASKING
        self.outcome: Outcome | None = None
        self.out: list[tuple[str, Request]] = []
        self.notes: list[Note] = []
        self._acceptors = messages.set_of(acceptors)
        self._quorum: Quorum = majority(tuple(range(1, len(acceptors) + 1)))
        self._settings = settings
        self._request: Request | None = None
        self._answers: dict[str, Answer] = {}  # of the present phase, by address; an address is one identity
        self._phase_at = 0
        self._decided_at = 0  # when the present phase was decided, 0 while it is open
        self._resend_at = 0
        self._rest_until = 0
        self._backoff_ns = settings.backoff_ns
        self.deadline = 0

    # What the caller does

    def begin(self, now: int, number: int = NO_BALLOT) -> None:
        """Begin with the question, or with ``number`` at once, if it is a number (then nobody is asked first)."""
        self.deadline = now + self._settings.timeout_ns
        acceptors = ", ".join(f"{heard.label}={heard.address}" for heard in self.heard.values())
        if self.value is None:
            self.notes.append(("run.begin.learn", (self.name, self.run, acceptors)))
        else:
            self.notes.append(("run.begin.propose", (self.name, self.value, self.run, acceptors)))
        if number == NO_BALLOT:
            self.notes.append(("question.begin", (self._labels(),)))
            self._enter(ASKING, Ask(self.name, self.run, self._acceptors), now)
            return
        self.notes.append(("run.number.given", (number, number // self.count, self.count, self.index)))
        self._prepare(number, now)

    def connected(self, address: str) -> None:
        """A connection stands. What was sent over an earlier one may be lost, so an open question is asked again."""
        heard = self.heard[address]
        heard.is_open = True
        if self._request is not None and address not in self._answers:
            self.out.append((address, self._request))

    def disconnected(self, address: str, trouble: str, now: int, drawn: int) -> None:
        """A connection broke or could not be made; the caller goes on trying."""
        heard = self.heard[address]
        heard.is_open = False
        heard.trouble = trouble
        self._advance(now, drawn)

    def hear(self, address: str, answer: Answer, now: int, drawn: int) -> None:
        """Take in one answer. Those to other runs, other names and earlier numbers change nothing."""
        if self.outcome is not None or answer.run != self.run or answer.name != self.name:
            return
        if not self._is_known_identity(address, answer.acceptor):
            return
        heard = self.heard[address]
        heard.trouble = ""
        if isinstance(answer, Refusal):
            self._refused(heard, answer)
        elif isinstance(answer, Standing):
            self._stands(heard, answer)
        elif isinstance(answer, Promise):
            self._promises(heard, answer)
        elif isinstance(answer, Accepted):
            self._accepts(heard, answer)
        else:
            self._nacks(heard, answer)
        self._advance(now, drawn)

    def tick(self, now: int, drawn: int) -> None:
        """Time has passed."""
        if self.outcome is not None:
            return
        if now >= self.deadline:
            counts = (self.number, len(self._yes()), self._needed())
            self._end(Outcome(TIMED_OUT, (f"run.timeout.{self.phase}", counts)))
            return
        if self.phase == RESTING:
            if now >= self._rest_until:
                self._next_attempt(now)
            return
        self._advance(now, drawn)
        if self._request is not None and now >= self._resend_at:
            self._resend_at = now + self._settings.retry_ns
            for address in self.order:
                if address not in self._answers:
                    self.out.append((address, self._request))

    @property
    def wake_at(self) -> int:
        """When ``tick`` is due at the latest; 0 once the run has ended."""
        if self.outcome is not None:
            return 0
        if self.phase == RESTING:
            return min(self._rest_until, self.deadline)
        wake = min(self._resend_at, self.deadline)
        if self._decided_at:
            wake = min(wake, self._decided_at + self._settings.linger_ns)
        elif self._has_nacks():
            wake = min(wake, self._phase_at + self._settings.patience_ns)
        return wake

    # Taking in answers

    def _is_known_identity(self, address: str, identity: str) -> bool:
        """Votes are counted by identity, so an address and an identity have to belong together (rule-R52)."""
        heard = self.heard[address]
        if heard.identity == identity:
            return True
        if heard.identity:
            self._end(Outcome(REFUSED, ("run.replaced", (heard.label, address, heard.identity, identity))))
            return False
        for other in self.heard.values():
            if other.identity == identity:
                note: Note = ("run.listed-twice", (other.address, address, identity))
                self._end(Outcome(REFUSED, note))
                return False
        heard.identity = identity
        return True

    def _refused(self, heard: Heard, answer: Refusal) -> None:
        heard.last = (f"heard.{answer.why}", (", ".join(answer.stored), answer.bound))
        if answer.why == messages.OTHER_SET:
            # One is enough, whatever the others say: they may never have been asked under the other set (rule-R52).
            self._end_refused(heard, answer)
        elif self.phase != RESTING:
            self._answers[heard.address] = answer

    def _end_refused(self, heard: Heard, answer: Refusal) -> None:
        asked = ", ".join(self._acceptors)
        operands = (heard.label, heard.address, ", ".join(answer.stored), answer.bound, asked)
        self._end(Outcome(REFUSED, (f"run.{answer.why}", operands)))

    def _stands(self, heard: Heard, answer: Standing) -> None:
        if self._is_leap(heard, answer.promised):
            return
        self.known = max(self.known, answer.promised)
        if self.phase == ASKING:
            heard.last = ("heard.standing", (answer.promised, answer.promised_run, answer.accepted, answer.value))
            self._answers[heard.address] = answer

    def _promises(self, heard: Heard, answer: Promise) -> None:
        if self.phase != PREPARING or answer.number != self.number:
            return
        heard.last = ("heard.promise", (answer.number, answer.accepted, answer.value))
        # A nack that overtook it said no more than "equal": the promise was given to this run, and counts.
        self._answers[heard.address] = answer

    def _accepts(self, heard: Heard, answer: Accepted) -> None:
        if self.phase != ACCEPTING or answer.number != self.number:
            return
        heard.last = ("heard.accepted", (answer.number,))
        self._answers[heard.address] = answer

    def _nacks(self, heard: Heard, answer: Nack) -> None:
        if self._is_leap(heard, answer.promised):
            return
        self.known = max(self.known, answer.promised)
        if self.phase not in (PREPARING, ACCEPTING) or answer.number != self.number:
            return
        if isinstance(self._answers.get(heard.address), Promise | Accepted):
            return  # the repeat of a request that was answered: an equal number is refused, whoever asks (rule-R51)
        if self.phase == ACCEPTING and answer.promised <= self.number:
            return  # no answer to an accept: a late one to a prepare that was sent twice
        heard.last = ("heard.nack", (answer.number, answer.promised, answer.promised_run, self.run))
        self._answers[heard.address] = answer

    def _is_leap(self, heard: Heard, promised: int) -> bool:
        """No honest acceptor is so far ahead: garbage, and as a hint it would use up all numbers (rule-R1)."""
        if promised <= self.known + LEAP_MAX:
            return False
        heard.last = ("heard.leap", (promised,))
        return True

    # Deciding what comes next

    def _advance(self, now: int, drawn: int) -> None:
        """Close the present phase if the answers allow it, or force it."""
        if self.outcome is not None or self.phase == RESTING:
            return
        yes = self._yes()
        is_won = self._is_quorum(yes)
        may_say_yes = [address for address in self.order if address in yes or address not in self._answers]
        is_lost = not self._is_quorum(may_say_yes)
        if not is_won and not is_lost:
            self._decided_at = 0  # also where a promise came after the nack of its repeat
            if self._has_nacks() and now >= self._phase_at + self._settings.patience_ns:
                self._give_up(now, drawn)
            return
        if not self._decided_at:
            self._decided_at = now
        # Whoever cannot be reached is not waited for; who was not tried yet is.
        is_anybody_missing = any(
            address not in self._answers and not heard.is_out_of_reach for address, heard in self.heard.items()
        )
        if is_anybody_missing and now < self._decided_at + self._settings.linger_ns:
            return
        if is_lost:
            self._give_up(now, drawn)
        elif self.phase == ASKING:
            self._tell_answers()
            self._asked(now)
        elif self.phase == PREPARING:
            self._tell_answers()
            self._promised(now)
        else:
            self._tell_answers()
            self.notes.append(("phase2.majority", (len(yes), len(self.order), self._needed(), self.number)))
            value = self._phase2_value()
            is_own = value == self.value
            if self.value is None:
                reason = "run.chosen.completed"
            elif not is_own:
                reason = "run.chosen.other"
            elif self.adopted != NO_BALLOT:
                reason = "run.chosen.same"
            else:
                reason = "run.chosen.own"
            self._end(Outcome(CHOSEN, (reason, (self.name, value, self.number)), value, self.number, is_own))

    def _asked(self, now: int) -> None:
        """The question is answered by a majority. ``Learner`` looks at the answers first."""
        self._next_attempt(now)

    def _promised(self, now: int) -> None:
        """Phase 1 is won: the value of phase 2 follows from the promises, by the rule that makes Paxos safe (P2c)."""
        best = NO_BALLOT
        value: str | None = None
        promises = [answer for answer in self._answers.values() if isinstance(answer, Promise)]
        for promise in promises:
            if promise.accepted > best:
                best = promise.accepted
                value = promise.value
        for promise in promises:
            if promise.accepted == best and promise.value != value:
                self._contradicted(best, value, promise.value)
                return
        self.adopted = best
        counts = (len(promises), len(self.order), self._needed())
        if best != NO_BALLOT:
            assert value is not None
            # The highest of what is reported, not any: only that one cannot miss a value chosen below (PMS 2.2, P2c).
            self.notes.append(("phase1.adopt", (*counts, value, best)))
        elif self.value is not None:
            value = self.value
            self.notes.append(("phase1.own", (*counts, value)))
        else:
            # A majority will refuse every lower number from now on and has accepted nothing at any (rule-R53).
            self.notes.append(("phase1.nothing", counts))
            self._end(Outcome(NONE_CHOSEN, ("run.none", (self.name, self.number))))
            return
        # To all, not only to those that promised: the majority of phase 2 may be another one (trap-T7).
        self._enter(ACCEPTING, Accept(self.name, self.run, self._acceptors, self.number, value), now)
        self.notes.append(("phase2.begin", (self.number, value, self._labels())))

    def _contradicted(self, number: int, value: str | None, other: str | None) -> None:
        """One number carries one value (PMMC A4). Somebody's acceptor has lost its directory: stop, and say so."""
        self._end(Outcome(REFUSED, ("run.contradiction", (number, value, other))))

    def _give_up(self, now: int, drawn: int) -> None:
        """No majority at this number any more: rest a random moment, then go above everything heard of."""
        self._tell_answers()
        refused = [address for address in self.order if isinstance(self._answers.get(address), Refusal)]
        if not self._is_quorum([address for address in self.order if address not in refused]):
            answer = self._answers[refused[0]]
            assert isinstance(answer, Refusal)
            self._end_refused(self.heard[refused[0]], answer)  # no number of this run helps
            return
        rest = self._backoff_ns * (drawn & 0xFFFF_FFFF) >> 32
        self._backoff_ns = min(self._backoff_ns * 2, self._settings.backoff_max_ns)
        self.notes.append(("run.nacked", (self.number, self.known)))
        self.phase = RESTING
        self._request = None
        self._answers = {}
        self._decided_at = 0
        self._rest_until = now + rest

    def _next_attempt(self, now: int) -> None:
        number = next_number(self.index, self.count, self.known)
        if number >= messages.NUMBER_LIMIT:
            self._end(Outcome(REFUSED, ("run.numbers-used-up", (self.known,))))
            return
        rule = (number, number // self.count, self.count, self.index)
        if self.known == NO_BALLOT:
            self.notes.append(("run.number.first", rule))
        else:
            self.notes.append(("run.number", (*rule, self.known)))
        self._prepare(number, now)

    def _prepare(self, number: int, now: int) -> None:
        self.attempts += 1
        self.number = number
        self.known = max(self.known, number)
        self._enter(PREPARING, Prepare(self.name, self.run, self._acceptors, number), now)
        self.notes.append(("phase1.begin", (number, self._labels())))

    def _enter(self, phase: str, request: Request, now: int) -> None:
        self.phase = phase
        self._request = request
        self._answers = {}
        self._phase_at = now
        self._decided_at = 0
        self._resend_at = now + self._settings.retry_ns
        for address in self.order:
            self.out.append((address, request))

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._request = None
        self.notes.append(outcome.note)

    # Counting and telling

    def _yes(self) -> list[str]:
        found: list[str] = []
        for address in self.order:
            answer = self._answers.get(address)
            if isinstance(answer, Standing | Promise | Accepted):
                found.append(address)
        return found

    def _has_nacks(self) -> bool:
        return any(isinstance(answer, Nack) for answer in self._answers.values())

    def _is_quorum(self, addresses: Collection[str]) -> bool:
        """A quorum of either phase: by hand both are majorities (rule-R51)."""
        return self._quorum.is_accept_quorum([self.order.index(address) + 1 for address in addresses])

    def _needed(self) -> int:
        return self._quorum.accept

    def _phase2_value(self) -> str:
        assert isinstance(self._request, Accept)
        return self._request.value

    def _labels(self) -> str:
        return " ".join(heard.label for heard in self.heard.values())

    def awaited(self) -> str:
        """Whose answer the present phase still lacks, and why where that is known; empty while nobody is waited for."""
        if self._request is None:
            return ""
        missing = [heard for heard in self.heard.values() if heard.address not in self._answers]
        return ", ".join(f"{heard.label} ({heard.trouble or 'silent'})" for heard in missing)

    def tell_heard(self) -> list[Note]:
        """What was heard last from whom, for the end of a run that was not long enough."""
        notes: list[Note] = [("run.timeout.heard", ())]
        for heard in self.heard.values():
            trouble = f" ({heard.trouble})" if heard.trouble else ""
            notes.append(("heard.line", (heard.label, heard.address, heard.last, trouble)))
        return notes

    def _tell_answers(self) -> None:
        """One line for each acceptor, in the order listed, so that two runs of one story read alike."""
        for heard in self.heard.values():
            if heard.address in self._answers:
                self.notes.append(("told", (heard.label, heard.last)))
            elif not heard.trouble:
                self.notes.append(("told.silent", (heard.label,)))
            else:
                self.notes.append(("told.unreachable", (heard.label, heard.trouble)))
