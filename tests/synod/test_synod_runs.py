"""Runs of propose and learn against acceptors, message by message: one value, whatever the network does.

Schedules that break a natural reading stand here by the name protocol.md gives them; where a rule is what saves them,
the same schedule is played with that rule off, to show that the test would notice.
"""

import pytest
from synod_world import ADDRESSES, EAGER, Acceptors, World, identity_of

from multipaxos.core.records import AcceptedRecord
from multipaxos.synod import messages, proposer
from multipaxos.synod.acceptor import LEAP_MAX, SLOT, Decision, NamedAcceptor
from multipaxos.synod.learner import Learner
from multipaxos.synod.messages import Accept, Accepted, Ask, Nack, Prepare, Promise, Refusal, Standing
from multipaxos.synod.proposer import CHOSEN, NONE_CHOSEN, REFUSED, TIMED_OUT, Proposer, Settings
from multipaxos.synod.words import ENGLISH, sentence

NAME = "colour"
SECOND = 1_000_000_000


PATIENT = Settings(timeout_ns=EAGER.timeout_ns)
"""Listens on after a majority, as a person's run does: everybody connected is heard."""


def run_id(at):
    return f"{at:015x}f"


def propose(at, value, addresses=ADDRESSES, count=3, settings=PATIENT, index=None):
    return Proposer(NAME, value, addresses, at % count if index is None else index, count, run_id(at), settings)


def learner(at, addresses=ADDRESSES, settings=PATIENT):
    return Learner(NAME, addresses, at, 65_536, run_id(at), settings)


def connect(run, *addresses):
    """Connections to these acceptors, or to all; whoever is left out refuses."""
    for address, heard in run.heard.items():
        heard.is_open = not addresses or address in addresses
        heard.trouble = "" if heard.is_open else "nobody listens there"
    return run


def drain(run):
    sent = list(run.out)
    run.out.clear()
    return sent


def exchange(run, acceptors, *addresses, now=1, drawn=0):
    """Carry what the run sends to these acceptors, and the answers back, until it sends them nothing more."""
    lost = []
    while run.outcome is None:
        sent = drain(run)
        if not sent:
            break
        for address, request in sent:
            if addresses and address not in addresses:
                lost.append((address, request))
                continue
            run.hear(address, acceptors.handle(address, request), now, drawn)
    return lost


def said(run):
    return [sentence(note) for note in run.notes]


# The ordinary course


def test_one_proposer_needs_two_rounds():
    """claim-A24: two phases, four messages, when nobody competes; the question before them is a third round."""
    acceptors = Acceptors()
    run = connect(propose(0, "red"))
    run.begin(1, number=0)
    kinds = []
    while run.outcome is None:
        sent = drain(run)
        kinds.append({type(request) for _, request in sent})
        assert len(sent) == 5
        for address, request in sent:
            run.hear(address, acceptors.handle(address, request), 2, 0)
    assert kinds == [{Prepare}, {Accept}]
    assert run.outcome.kind == CHOSEN
    assert (run.outcome.value, run.outcome.number, run.outcome.is_own) == ("red", 0, True)


def test_the_question_comes_first_and_gives_the_number():
    """rule-R51: a run has no memory, so it asks; the smallest number of its class above what it hears."""
    acceptors = Acceptors()
    acceptors.handle(ADDRESSES[4], Prepare(NAME, run_id(9), ADDRESSES, 7))
    run = connect(propose(0, "red"))
    run.begin(1)
    assert {type(request) for _, request in run.out} == {Ask}
    exchange(run, acceptors)
    assert run.outcome.kind == CHOSEN
    assert run.number == 9 == 3 * 3 + 0
    assert run.attempts == 1


def test_a_majority_is_enough_and_one_fewer_is_not():
    """claim-A11, for 1 to 7 acceptors."""
    for count in range(1, 8):
        addresses = tuple(f"127.0.0.1:{7000 + at}" for at in range(count))
        needed = count // 2 + 1
        for reachable in range(count + 1):
            acceptors = Acceptors(addresses)
            run = connect(propose(0, "red", addresses), *addresses[:reachable])
            run.begin(1)
            exchange(run, acceptors, *addresses[:reachable] or ("nobody",))
            if reachable >= needed:
                assert run.outcome.kind == CHOSEN
            else:
                assert run.outcome is None
                run.tick(EAGER.timeout_ns + 1, 0)
                assert run.outcome.kind == TIMED_OUT
                assert not acceptors.chosen(NAME)


def test_phase_2_may_use_another_majority():
    """trap-T7: promised by 1, 2, 3; accepted by 3, 4, 5, of which two never promised."""
    acceptors = Acceptors()
    run = connect(propose(0, "red", settings=EAGER))
    run.begin(1, number=0)
    for address, request in drain(run)[:3]:
        run.hear(address, acceptors.handle(address, request), 2, 0)
    assert run.phase == proposer.ACCEPTING
    for address, request in drain(run)[2:]:
        run.hear(address, acceptors.handle(address, request), 3, 0)
    assert run.outcome.kind == CHOSEN


def test_the_value_of_the_highest_number_is_adopted_not_any():
    """PMS 2.2 P2c, bug-A06, lab-E7: two old votes are reported, the higher one counts."""
    acceptors = Acceptors(ADDRESSES[:3])
    three = ADDRESSES[:3]
    acceptors.handle(three[0], Accept(NAME, run_id(7), messages.set_of(three), 4, "older"))
    acceptors.handle(three[1], Accept(NAME, run_id(8), messages.set_of(three), 5, "newer"))
    run = connect(propose(0, "red", three))
    run.begin(1)
    exchange(run, acceptors)
    assert (run.outcome.value, run.outcome.is_own, run.adopted) == ("newer", False, 5)
    assert any("phase 2 carries that one: newer" in line for line in said(run))


def test_a_late_proposer_finds_the_value_that_is_there():
    """claim-A13: immutable. Also when it is the value it came with."""
    acceptors = Acceptors()
    exchange(first := begun(connect(propose(0, "red"))), acceptors)
    assert first.outcome.note[0] == "run.chosen.own"
    for at in range(1, 40):
        run = begun(connect(propose(at, "blue" if at % 2 else "red")))
        exchange(run, acceptors)
        assert run.outcome.value == "red"
        assert run.outcome.note[0] == ("run.chosen.other" if at % 2 else "run.chosen.same")
    assert acceptors.chosen(NAME) == {"red"}


def begun(run, now=1, number=-1):
    run.begin(now, number)
    return run


# Nacks, retries, duels


def test_one_nack_does_not_stop_a_majority():
    """The article's pictures 2 and 3: A3 rejects in both phases, the other four suffice."""
    acceptors = Acceptors()
    acceptors.handle(ADDRESSES[2], Prepare(NAME, run_id(9), ADDRESSES, 7))
    run = begun(connect(propose(0, "3")), number=6)
    exchange(run, acceptors)
    assert (run.outcome.kind, run.number, run.attempts) == (CHOSEN, 6, 1)
    assert sum("nack" in line for line in said(run)) == 2


@pytest.mark.parametrize("told", [0, 1, 7, 999, 1000, 1_000_000_007])
def test_exactly_one_retry_passes_the_number_it_was_told(told):
    """claim-A28: the next number is the smallest of the own class above the nack's."""
    acceptors = Acceptors()
    for address in ADDRESSES[:3]:
        acceptors.handle(address, Prepare(NAME, run_id(9), ADDRESSES, told))
    run = begun(connect(propose(0, "red")), number=0)
    exchange(run, acceptors)
    assert run.phase == proposer.RESTING
    run.tick(run.wake_at, 0)
    exchange(run, acceptors)
    assert run.attempts == 2
    assert run.number == min(number for number in range(told + 1, told + 4) if number % 3 == 0)
    assert run.outcome.kind == CHOSEN


def test_the_rest_before_a_retry_is_drawn_and_grows():
    """claim S18, PMS 2.4: without chance two proposers can overtake each other for ever."""
    acceptors = Acceptors()
    run = begun(connect(propose(0, "red")), number=0)
    now = 1
    longest = []
    for attempt in range(8):
        for address in ADDRESSES:
            acceptors.handle(address, Prepare(NAME, run_id(9), ADDRESSES, 3 * attempt + 1))
        exchange(run, acceptors, now=now, drawn=(1 << 32) - 1)
        assert run.phase == proposer.RESTING
        longest.append(run.wake_at - now)
        now = run.wake_at
        run.tick(now, 0)
    bounds = [min(EAGER.backoff_ns << attempt, EAGER.backoff_max_ns) for attempt in range(8)]
    assert [0.99 * bound <= rest <= bound for bound, rest in zip(bounds, longest, strict=True)] == [True] * 8


def test_without_chance_a_duel_never_ends_and_with_it_it_does():
    """claim S18: the same two proposers, prepared alternately, with the rest always zero, then drawn."""
    acceptors = Acceptors()
    runs = [begun(connect(propose(0, "red"))), begun(connect(propose(1, "blue")))]
    for _ in range(200):
        for run, other in (runs, runs[::-1]):
            # Each prepares while the other is between its phases.
            if run.phase == proposer.RESTING:
                run.tick(run.wake_at, 0)
            for address, request in drain(run):
                if not isinstance(request, Accept):
                    run.hear(address, acceptors.handle(address, request), 1, 0)
                else:
                    run.out.append((address, request))
            for address, request in drain(other):
                other.hear(address, acceptors.handle(address, request), 1, 0)
    assert [run.outcome for run in runs] == [None, None]
    assert min(run.attempts for run in runs) > 50
    for seed in range(50):
        world = World(Acceptors(), seed)
        duel = [world.add(propose(0, "red", settings=EAGER)), world.add(propose(1, "blue", settings=EAGER))]
        for run in duel:
            world.finish(run)
        assert len({run.outcome.value for run in duel}) == 1


def test_a_nacked_number_without_majority_is_given_up_in_time():
    """Two of five are silent, one has promised more: nobody waits for the silent ones."""
    acceptors = Acceptors()
    acceptors.handle(ADDRESSES[0], Prepare(NAME, run_id(9), ADDRESSES, 7))
    run = begun(connect(propose(0, "red", settings=EAGER)), number=0)
    exchange(run, acceptors, *ADDRESSES[:3], now=1)
    assert run.phase == proposer.PREPARING
    assert run.wake_at <= 1 + EAGER.patience_ns
    run.tick(1 + EAGER.patience_ns, 0)
    assert run.phase == proposer.RESTING
    run.tick(run.wake_at, 0)
    exchange(run, acceptors, *ADDRESSES[:3], now=run.wake_at)
    assert (run.outcome.kind, run.number) == (CHOSEN, 9)


def test_numbers_up_to_the_limit_and_no_further():
    """huge-number, rule-R1: a garbled hint is no hint; when numbers really are used up, it is said."""
    run = begun(connect(propose(0, "red")), number=0)
    run.hear(ADDRESSES[0], Nack(NAME, run_id(0), identity_of(1), 0, LEAP_MAX + 5, run_id(9)), 1, 0)
    assert not run._answers
    assert run.known == 0
    assert run.phase == proposer.PREPARING
    assert "too far ahead" in sentence(run.heard[ADDRESSES[0]].last)
    last = propose(0, "red", index=0)
    last.known = messages.NUMBER_LIMIT - 1
    connect(last)
    last.phase = proposer.RESTING
    last.deadline = 10 * SECOND
    last.tick(1, 0)
    assert (last.outcome.kind, last.outcome.note[0]) == (REFUSED, "run.numbers-used-up")


# Loss, repetition, order


def test_a_lost_promise_costs_a_number_and_nothing_else():
    """rule-R51 with retransmission: the repeated prepare is nacked, with this run's own id, and a higher number passes."""
    acceptors = Acceptors(ADDRESSES[:3])
    three = ADDRESSES[:3]
    run = begun(connect(propose(0, "red", three)), number=0)
    for address, request in drain(run):
        acceptors.handle(address, request)  # all three promises are lost
    run.tick(1 + EAGER.retry_ns, 0)
    for address, request in drain(run):
        run.hear(address, acceptors.handle(address, request), 2 + EAGER.retry_ns, 0)
    assert run.phase == proposer.RESTING
    assert sum("promise was lost" in line for line in said(run)) == 3
    run.tick(run.wake_at, 0)
    exchange(run, acceptors)
    assert (run.outcome.kind, run.number, run.outcome.is_own) == (CHOSEN, 3, True)


def test_a_repeated_prepare_that_crosses_its_promise_changes_nothing():
    acceptors = Acceptors(ADDRESSES[:3])
    three = ADDRESSES[:3]
    run = begun(connect(propose(0, "red", three, settings=EAGER)), number=0)
    sent = drain(run)
    promises = [(address, acceptors.handle(address, request)) for address, request in sent]
    nacks = [(address, acceptors.handle(address, request)) for address, request in sent]
    assert {type(nack) for _, nack in nacks} == {Nack}
    run.hear(*nacks[0], 2, 0)  # even one that overtakes the promise it repeats
    run.hear(*promises[0], 2, 0)
    run.hear(*nacks[0], 2, 0)
    run.hear(*promises[1], 2, 0)
    assert run.phase == proposer.ACCEPTING
    for nack in nacks:
        run.hear(*nack, 3, 0)
    assert run.phase == proposer.ACCEPTING
    exchange(run, acceptors)
    assert (run.outcome.kind, run.attempts) == (CHOSEN, 1)


def test_a_nack_overtaken_by_its_promise_leaves_no_busy_wait():
    """A number that looked lost for a moment is open again: the run sleeps until something can be due."""
    three = ADDRESSES[:3]
    run = begun(connect(propose(0, "red", three)), number=0)
    for at in (1, 2):
        run.hear(three[at - 1], Nack(NAME, run_id(0), identity_of(at), 0, 0, run_id(0)), 1, 0)
    assert run.wake_at == 1 + PATIENT.linger_ns
    run.hear(three[0], Promise(NAME, run_id(0), identity_of(1), 0, -1, None), 2, 0)
    run.tick(2 + PATIENT.linger_ns, 0)
    assert run.phase == proposer.PREPARING
    assert run.wake_at > 2 + PATIENT.linger_ns


def test_a_lost_accepted_is_asked_for_again():
    acceptors = Acceptors()
    run = begun(connect(propose(0, "red")), number=0)
    for address, request in drain(run):
        run.hear(address, acceptors.handle(address, request), 1, 0)
    for address, request in drain(run):
        acceptors.handle(address, request)
    run.tick(run.wake_at, 0)
    exchange(run, acceptors)
    assert (run.outcome.kind, run.attempts) == (CHOSEN, 1)


def test_a_new_connection_is_asked_what_is_open():
    acceptors = Acceptors()
    run = connect(propose(0, "red"), *ADDRESSES[:2])
    run.begin(1)
    exchange(run, acceptors, *ADDRESSES[:2])
    assert run.phase == proposer.ASKING
    run.connected(ADDRESSES[4])
    assert drain(run) == [(ADDRESSES[4], Ask(NAME, run_id(0), ADDRESSES))]
    run.connected(ADDRESSES[0])
    assert not run.out


def test_why_a_connection_broke_is_said_until_an_answer_shows_that_it_is_over():
    """A web server accepts each connection and fails each: at the instant one stands it is no acceptor yet."""
    acceptors = Acceptors()
    run = connect(propose(0, "red"), *ADDRESSES[:2])
    run.begin(1)
    heard = run.heard[ADDRESSES[2]]
    run.connected(ADDRESSES[2])
    run.disconnected(ADDRESSES[2], "it answers like no acceptor", 1, 0)
    assert (heard.is_connected, heard.is_out_of_reach) == (False, True)
    run.connected(ADDRESSES[2])
    assert (heard.is_connected, heard.is_out_of_reach) == (False, False)
    assert "it answers like no acceptor" in run.awaited()
    exchange(run, acceptors, ADDRESSES[2])
    assert (heard.is_connected, heard.trouble) == (True, "")


def test_the_same_vote_heard_twice_is_one_vote():
    """claim-A7: counted by acceptor, not by message."""
    run = begun(connect(propose(0, "red")), number=0)
    for at in (1, 2, 3):
        run.hear(ADDRESSES[at - 1], Promise(NAME, run_id(0), identity_of(at), 0, -1, None), 1, 0)
    for _ in range(5):
        run.hear(ADDRESSES[0], Accepted(NAME, run_id(0), identity_of(1), 0), 1, 0)
    assert run.outcome is None


@pytest.mark.parametrize(
    "answer",
    [
        Promise(NAME, run_id(9), identity_of(3), 0, -1, None),
        Promise("other", run_id(0), identity_of(3), 0, -1, None),
        Promise(NAME, run_id(0), identity_of(3), 3, -1, None),
        Accepted(NAME, run_id(0), identity_of(3), 0),
        Standing(NAME, run_id(0), identity_of(3), 0, run_id(0), -1, None),
        Nack(NAME, run_id(9), identity_of(3), 0, 5, run_id(9)),
        Refusal(NAME, run_id(9), identity_of(3), messages.OTHER_SET, ADDRESSES[:1], 0),
    ],
)
def test_answers_to_something_else_are_not_counted(answer):
    """rule-R51: another run's; and another name's, another number's, another phase's."""
    run = begun(connect(propose(0, "red", settings=EAGER)), number=0)
    for at in (1, 2):
        run.hear(ADDRESSES[at - 1], Promise(NAME, run_id(0), identity_of(at), 0, -1, None), 1, 0)
    run.hear(ADDRESSES[2], answer, 1, 0)
    assert (run.outcome, run.phase) == (None, proposer.PREPARING)
    run.hear(ADDRESSES[2], Promise(NAME, run_id(0), identity_of(3), 0, -1, None), 1, 0)
    assert run.phase == proposer.ACCEPTING


# Equal numbers (rule-R51)


class Forgetful(NamedAcceptor):
    """The mutant: promises an equal number again, as the core may and a hand-run acceptor may not."""

    __slots__ = ()

    def _prepare(self, request, decision):
        if request.number == decision.rules.promised:
            return Promise(request.name, request.run, self.identity, request.number, *decision.vote)
        return super()._prepare(request, decision)


def equal_number(kind, resend):
    """The schedule of rule-R51: two runs at number 3. Returns what a reader could believe at two numbers or one."""
    three = ADDRESSES[:3]
    a = three[0]
    acceptors = Acceptors(three, kind)
    one = begun(connect(propose(0, "v1", three, settings=EAGER)), number=3)
    two = begun(connect(propose(3, "v2", three, settings=EAGER, index=0)), number=3)
    # Run 1 is promised by A and B, gets its value accepted at A, dies.
    for address, request in drain(one)[:2]:
        answer = acceptors.handle(address, request)
        if resend:
            acceptors.handle(address, request)
        one.hear(address, answer, 1, 0)
    assert one.phase == proposer.ACCEPTING
    acceptors.handle(a, drain(one)[0][1])
    # Run 2 asks B and C for the same number, again and again, and accepts there what it may.
    now = 1
    for _ in range(4):
        for address, request in drain(two):
            if address != a:
                two.hear(address, acceptors.handle(address, request), now, 0)
        if two.outcome is not None or two.phase == proposer.RESTING:
            break
        now = two.wake_at
        two.tick(now, 0)
    at_3 = set(acceptors.votes.get(NAME, {}).get(3, {}).values())
    return at_3, two


@pytest.mark.parametrize("resend", [False, True])
def test_equal_number(resend):
    values, two = equal_number(NamedAcceptor, resend)
    assert values == {"v1"}
    assert two.phase == proposer.RESTING
    assert any("which uses the same number" in line for line in said(two))


@pytest.mark.parametrize("resend", [False, True])
def test_equal_number_would_break_where_it_is_promised_twice(resend):
    values, two = equal_number(Forgetful, resend)
    assert values == {"v1", "v2"}
    assert two.outcome.kind == CHOSEN


def test_two_runs_with_one_id_are_safe():
    """They meet at equal numbers all the time; one value is chosen all the same."""
    for seed in range(200):
        world = World(Acceptors(), seed, loss=0.1, doubled=0.1)
        runs = [world.add(propose(at, f"v{at}", index=0, settings=EAGER)) for at in (0, 3)]
        for run in runs:
            world.finish(run)
        assert len(world.acceptors.chosen(NAME) | {run.outcome.value for run in runs}) == 1


# Sets and identities (rule-R52)


def test_other_set():
    """other-set: one refusal ends the run, whatever the others say, and prints the stored set."""
    acceptors = Acceptors()
    a, b, c, d, e = ADDRESSES
    exchange(first := begun(connect(propose(0, "red", (a, b, c)))), acceptors)
    assert first.outcome.kind == CHOSEN
    for run in (propose(1, "blue", (c, d, e)), learner(1, (c, d, e)), propose(1, "blue", ADDRESSES)):
        connect(run)
        run.begin(1)
        exchange(run, acceptors)
        assert (run.outcome.kind, run.outcome.note[0]) == (REFUSED, "run.other-set")
        assert f"Stored: {a}, {b}, {c}." in sentence(run.outcome.note)
        assert f"Asked: {', '.join(run.order)}." in sentence(run.outcome.note)
    assert acceptors.chosen(NAME) == {"red"} or not acceptors.chosen(NAME)
    assert {value for voters in acceptors.votes[NAME].values() for value in voters.values()} == {"red"}


def test_other_set_also_when_a_majority_says_yes_first():
    """c, d and e would make a majority of {a, c, d, e, f}; the one that knows better answers last, before the end."""
    acceptors = Acceptors()
    a, b, c, d, e = ADDRESSES
    acceptors.handle(a, Prepare(NAME, run_id(9), (a, b, c), 0))
    run = begun(connect(propose(0, "red", (a, c, d, e))))
    for address, request in drain(run)[::-1]:
        run.hear(address, acceptors.handle(address, request), 1, 0)
    run = begun(connect(propose(0, "red", (a, c, d, e), settings=Settings())), number=0)
    for address, request in drain(run)[::-1]:
        run.hear(address, acceptors.handle(address, request), 1, 0)
    assert run.outcome.note[0] == "run.other-set"


def test_the_order_of_a_list_has_no_meaning():
    acceptors = Acceptors()
    exchange(begun(connect(propose(0, "red"))), acceptors)
    run = begun(connect(propose(1, "blue", ADDRESSES[::-1])))
    exchange(run, acceptors)
    assert run.outcome.value == "red"


def test_listed_twice():
    """One acceptor at two addresses would have two votes of three."""
    acceptors = Acceptors(ADDRESSES[:3])
    acceptors.live[ADDRESSES[1]] = acceptors.live[ADDRESSES[0]]
    for run in (propose(0, "red", ADDRESSES[:3]), learner(0, ADDRESSES[:3])):
        begun(connect(run))
        exchange(run, acceptors)
        assert (run.outcome.kind, run.outcome.note[0]) == (REFUSED, "run.listed-twice")
        text = sentence(run.outcome.note)
        assert ADDRESSES[0] in text
        assert ADDRESSES[1] in text
        assert identity_of(1) in text
    assert not acceptors.votes


def test_an_acceptor_exchanged_during_a_run_ends_it():
    acceptors = Acceptors(ADDRESSES[:3])
    run = begun(connect(propose(0, "red", ADDRESSES[:3])))
    address, request = drain(run)[0]
    run.hear(address, acceptors.handle(address, request), 1, 0)
    acceptors.live[address] = NamedAcceptor(identity_of(77))
    run.hear(address, acceptors.handle(address, request), 1, 0)
    assert (run.outcome.kind, run.outcome.note[0]) == (REFUSED, "run.replaced")


@pytest.mark.parametrize("full", [1, 2, 3])
def test_full_acceptors_end_a_run_only_where_they_are_needed(full):
    acceptors = Acceptors()
    for address in ADDRESSES[:full]:
        acceptors.live[address].names_max = 0
    run = begun(connect(propose(0, "red")))
    exchange(run, acceptors)
    if full < 3:
        assert run.outcome.kind == CHOSEN
    else:
        assert (run.outcome.kind, run.outcome.note[0]) == (REFUSED, "run.too-many-names")


def test_a_run_that_is_nacked_by_some_and_refused_by_few_goes_on():
    acceptors = Acceptors()
    acceptors.live[ADDRESSES[0]].names_max = 0
    for address in ADDRESSES[1:]:
        acceptors.handle(address, Prepare(NAME, run_id(9), ADDRESSES, 7))
    run = begun(connect(propose(0, "red")), number=0)
    exchange(run, acceptors)
    assert run.phase == proposer.RESTING
    run.tick(run.wake_at, 0)
    exchange(run, acceptors)
    assert (run.outcome.kind, run.number) == (CHOSEN, 9)


def test_two_values_at_one_number_are_named_and_nothing_is_proposed():
    """An emptied acceptor cannot be seen (rule-R42), but what it leads to can."""
    acceptors = Acceptors(ADDRESSES[:3])
    for address, value in zip(ADDRESSES[:2], ("red", "blue"), strict=True):
        acceptors.handle(address, Accept(NAME, run_id(9), ADDRESSES[:3], 4, value))
    for run in (propose(0, "green", ADDRESSES[:3]), learner(0, ADDRESSES[:3])):
        begun(connect(run))
        exchange(run, acceptors)
        assert (run.outcome.kind, run.outcome.note[0]) == (REFUSED, "run.contradiction")


# Learn (rule-R53)


def votes(acceptors, *given):
    for at, number, value in given:
        acceptors.handle(ADDRESSES[at - 1], Accept(NAME, run_id(9), ADDRESSES, number, value))


def test_learn_counts_one_question_and_one_answer_for_each_acceptor():
    """claim S14: A x L messages each way, and nothing is written by learning what is plain."""
    acceptors = Acceptors()
    votes(acceptors, (1, 4, "red"), (2, 4, "red"), (4, 4, "red"))
    written = {address: len(journal) for address, journal in acceptors.journals.items()}
    sent = 0
    for at in range(3):
        run = begun(connect(learner(at)))
        for address, request in drain(run):
            sent += 1
            run.hear(address, acceptors.handle(address, request), 1, 0)
            if run.outcome:
                break
        assert (run.outcome.kind, run.outcome.value, run.outcome.number) == (CHOSEN, "red", 4)
        assert run.outcome.note[0] == "run.chosen.learned"
    assert sent <= 15
    assert written == {address: len(journal) for address, journal in acceptors.journals.items()}


def test_votes_at_different_numbers_are_not_a_majority():
    """rule-R53, bug-A10: the same value twice, at two numbers, proves nothing; a ballot decides."""
    acceptors = Acceptors(ADDRESSES[:3])
    for at, number in ((0, 4), (1, 5)):
        acceptors.handle(ADDRESSES[at], Accept(NAME, run_id(9), ADDRESSES[:3], number, "red"))
    assert not acceptors.chosen(NAME)
    run = begun(connect(learner(1, ADDRESSES[:3])))
    exchange(run, acceptors)
    assert run.outcome.note[0] == "run.chosen.completed"
    assert run.attempts == 1
    assert acceptors.chosen(NAME) == {"red"}
    assert any(line.startswith("These answers leave it open") for line in said(run))


class MixedLearner(Learner):
    """The mutant of bug-A10: counts votes for a value at whatever number."""

    __slots__ = ()

    def _asked(self, now):
        for answer in list(self._answers.values()):
            same = [a for a, other in self._answers.items() if other.value == answer.value and answer.value is not None]
            if self._is_quorum(same):
                note = ("run.chosen.learned", (self.name, answer.value, answer.accepted))
                self._end(proposer.Outcome(CHOSEN, note, answer.value, answer.accepted))
                return
        super()._asked(now)


@pytest.mark.parametrize(("kind", "is_safe"), [(Learner, True), (MixedLearner, False)])
def test_two_majorities_at_different_numbers(kind, is_safe):
    """The schedule: A has (1, v1), B has (3, v1) of the run that adopted it, C has (2, v2), heard by nobody yet.

    A learner that adds A's and B's votes reports v1; the ballot of A and C that follows would choose v2.
    """
    three = ADDRESSES[:3]
    acceptors = Acceptors(three)
    a, b, c = three

    def to(address, request):
        return acceptors.handle(address, request)

    to(a, Prepare(NAME, run_id(1), three, 1))
    to(b, Prepare(NAME, run_id(1), three, 1))
    to(a, Accept(NAME, run_id(1), three, 1, "v1"))
    to(b, Prepare(NAME, run_id(2), three, 2))
    to(c, Prepare(NAME, run_id(2), three, 2))
    to(c, Accept(NAME, run_id(2), three, 2, "v2"))
    to(a, Prepare(NAME, run_id(3), three, 3))
    to(b, Prepare(NAME, run_id(3), three, 3))
    to(b, Accept(NAME, run_id(3), three, 3, "v1"))
    assert not acceptors.chosen(NAME)
    reading = connect(kind(NAME, three, 4, 65_536, run_id(4), EAGER), a, b)
    reading.begin(1)
    exchange(reading, acceptors, a, b) if is_safe else [
        reading.hear(address, to(address, request), 1, 0) for address, request in drain(reading) if address != c
    ]
    assert reading.outcome.value == "v1"
    # B falls silent; a ballot of A and C follows.
    later = connect(propose(5, "v3", three, count=10), a, c)
    later.begin(1)
    exchange(later, acceptors, a, c)
    if is_safe:
        assert later.outcome.value == "v1"
        assert acceptors.chosen(NAME) == {"v1"}
    else:
        assert later.outcome.value == "v2"


def test_silent_choice():
    """silent-choice: chosen, every answer lost, the proposer dead. Nobody knows; learn finds out, a minority silent."""
    acceptors = Acceptors()
    for address in ADDRESSES:
        acceptors.handle(address, Prepare(NAME, run_id(1), ADDRESSES, 1))
    votes(acceptors, (1, 1, "red"), (2, 1, "red"), (3, 1, "red"))
    assert acceptors.chosen(NAME) == {"red"}
    for silent in ((), ADDRESSES[:2], ADDRESSES[3:], (ADDRESSES[0], ADDRESSES[4])):
        heard = [address for address in ADDRESSES if address not in silent]
        run = connect(learner(1), *heard)
        run.begin(1)
        exchange(run, acceptors, *heard)
        assert (run.outcome.kind, run.outcome.value) == (CHOSEN, "red")
    assert acceptors.chosen(NAME) == {"red"}


def test_none_chosen_only_after_promises():
    """A majority that answers "nothing accepted" has refused nothing yet: the learner runs a ballot before it says so."""
    acceptors = Acceptors()
    run = begun(connect(learner(7)))
    sent = drain(run)
    for address, request in sent:
        run.hear(address, acceptors.handle(address, request), 1, 0)
    assert run.outcome is None
    exchange(run, acceptors)
    assert (run.outcome.kind, run.outcome.value) == (NONE_CHOSEN, None)
    promised = [acceptors.live[address].decisions[NAME].rules.promised for address in ADDRESSES]
    assert promised == [7] * 5
    late = acceptors.handle(ADDRESSES[0], Accept(NAME, run_id(9), ADDRESSES, 6, "late"))
    assert isinstance(late, Nack)
    assert not acceptors.votes


def test_a_learner_never_proposes_a_value_of_its_own():
    acceptors = Acceptors()
    for at in range(20):
        run = begun(connect(learner(at)))
        exchange(run, acceptors)
        assert run.outcome.kind == NONE_CHOSEN
    assert not acceptors.votes


# Any order at all


@pytest.mark.parametrize("seed", range(150))
def test_one_value_whatever_the_network_does(seed):
    """claim-A10: 2 to 4 proposers and learners, 20 % lost, 20 % doubled, any order, acceptors killed and started again."""
    count = (3, 4, 5)[seed % 3]
    world = World(Acceptors(ADDRESSES[:count]), seed, loss=0.2, doubled=0.2)
    chance = world.chance
    runs = [world.add(propose(at, f"v{at}", ADDRESSES[:count], settings=EAGER)) for at in range(2 + seed % 3)]
    runs.append(world.add(learner(40, ADDRESSES[:count], settings=EAGER)))
    for _ in range(20_000):
        if all(run.outcome is not None for run in runs):
            break
        if chance.random() < 0.02:
            world.acceptors.restart(chance.choice(ADDRESSES[:count]))
        world.step()
        chosen = world.acceptors.chosen(NAME)
        assert len(chosen) <= 1
        for run in runs:
            if run.outcome is not None and run.outcome.kind == CHOSEN:
                assert {run.outcome.value} == chosen
    assert all(run.outcome is not None for run in runs)
    runs.append(world.finish(world.add(learner(41, ADDRESSES[:count], settings=EAGER))))
    runs.append(world.finish(world.add(propose(42, "late", ADDRESSES[:count], count=65_536, settings=EAGER))))
    values = {run.outcome.value for run in runs if run.outcome.kind == CHOSEN}
    assert values == world.acceptors.chosen(NAME)
    assert len(values) == 1
    assert values <= {f"v{at}" for at in range(4)}


class NoRaise(NamedAcceptor):
    """The mutant of trap-T3: an accept does not raise the promise, and the last vote is kept."""

    __slots__ = ()

    def _accept(self, request, decision):
        before = decision.rules.promised
        answer = super()._accept(request, decision)
        decision.rules.promised = before
        return answer

    def check(self):
        pass


class KeepsOwn(Proposer):
    """The mutant of bug-A08: proposes its own value although another was reported."""

    __slots__ = ()

    def _promised(self, now):
        for address, answer in self._answers.items():
            if isinstance(answer, Promise):
                self._answers[address] = Promise(answer.name, answer.run, answer.acceptor, answer.number, -1, None)
        super()._promised(now)


class Amnesiac(NamedAcceptor):
    """The mutant of lab-E6: after a restart it knows its votes and has forgotten its promises (bug-A01)."""

    __slots__ = ()

    def restore(self, group, record):
        super().restore(group, record)
        for decision in self.decisions.values():
            decision.rules.promised = decision.rules.ballot_at(SLOT)


@pytest.mark.parametrize(
    ("acceptor", "run_kind"), [(NoRaise, Proposer), (NamedAcceptor, KeepsOwn), (Amnesiac, Proposer)]
)
def test_the_check_sees_two_values_where_a_rule_is_off(acceptor, run_kind):
    """The agreement above is a check that can fail: the same kind of run, one rule off, chooses two values."""
    for seed in range(4_000):
        world = World(Acceptors(ADDRESSES[:3], acceptor), seed, loss=0.25, doubled=0.2)
        for at in range(3):
            world.add(run_kind(NAME, f"v{at}", ADDRESSES[:3], at, 3, run_id(at), EAGER))
        for _ in range(300):
            if acceptor is Amnesiac and world.chance.random() < 0.1:
                restart_forgetting(world)
            world.step()
            if len(world.acceptors.chosen(NAME)) > 1:
                return
    raise AssertionError("no seed of 4,000 chose two values")


def restart_forgetting(world):
    address = world.chance.choice(ADDRESSES[:3])
    after = Amnesiac(world.acceptors.live[address].identity)
    for group, record in world.acceptors.journals[address]:
        after.restore(group, record)
    world.acceptors.live[address] = after


# Words


def test_every_note_has_its_sentence():
    """Each reason the code names is in the catalogue with the operands it leaves, and each sentence can be said."""
    for names, template in ENGLISH.values():
        assert len(set(names)) == len(names)
        assert template
    acceptors = Acceptors()
    for seed in range(30):
        world = World(acceptors, seed, loss=0.3)
        for run in (propose(seed, f"v{seed}", settings=EAGER), learner(seed + 50, settings=EAGER)):
            world.finish(world.add(run))
            for note in run.notes:
                assert "{" not in sentence(note)


def test_what_is_typed_cannot_steer_a_terminal():
    note = ("run.chosen.learned", ("na\x1b[2Jme", "v\n" * 100, 3))
    text = sentence(note)
    assert "\x1b" not in text
    assert "\n" not in text
    assert "(200 characters)" in text
    assert Decision("a", ADDRESSES, 1).vote == (-1, None)
    assert AcceptedRecord(0, SLOT, b"", 0).decree == b""
