"""The learner of Basic Paxos by hand: which value was chosen for a name, if any (rule-R53).

It asks every acceptor for its last vote. Where a majority gave it *at one number*, the value of that number is chosen.
Votes of different numbers prove nothing together, not even for the same value (bug-A10): a later ballot may choose
another. Where the answers leave it open, because a minority is silent or the votes are spread, there is one way to find
out: run a ballot, adopting what one hears (PMS 2.3). That may be what makes the value chosen; the learner says so. It
never proposes a value of its own, so after a ballot whose majority has accepted nothing it can say: none chosen.

A learner is a proposer without a value that looks at the answers to its question first: read ``proposer.py`` before.
"""

from multipaxos.core.ballot import NO_BALLOT
from multipaxos.synod.messages import Standing
from multipaxos.synod.proposer import CHOSEN, Outcome, Proposer, Settings


class Learner(Proposer):
    """One run of ``learn``."""

    __slots__ = ()

    def __init__(
        self, name: str, acceptors: tuple[str, ...], index: int, count: int, run: str, settings: Settings
    ) -> None:
        super().__init__(name, None, acceptors, index, count, run, settings)

    def _asked(self, now: int) -> None:
        votes: dict[int, list[str]] = {}
        values: dict[int, str] = {}
        for address, answer in self._answers.items():
            if isinstance(answer, Standing) and answer.value is not None:
                if values.get(answer.accepted, answer.value) != answer.value:
                    self._contradicted(answer.accepted, values[answer.accepted], answer.value)
                    return
                votes.setdefault(answer.accepted, []).append(address)
                values[answer.accepted] = answer.value
        for number in sorted(votes, reverse=True):
            # A vote once given is a fact for ever: it does not matter that the answers were given at different times.
            if self._is_quorum(votes[number]):
                counts = (len(votes[number]), len(self.order), self._needed(), number)
                self.notes.append(("learn.majority", counts))
                value = values[number]
                self._end(Outcome(CHOSEN, ("run.chosen.learned", (self.name, value, number)), value, number))
                return
        if votes:
            highest = max(votes)
            self.notes.append(("learn.open", (values[highest], highest, len(votes[highest]), self._needed())))
        else:
            self.notes.append(("learn.nothing", (len(self._yes()),)))
        assert self.number == NO_BALLOT, "a learner asks once, before its first ballot"
        super()._asked(now)
