"""Every sentence that Basic Paxos by hand says, in one place, so that another language is one more table.

``proposer.py``, ``learner.py`` and ``acceptor.py`` leave notes: the id of a reason and its operands, in the order given
here. ``sentence`` makes text of one; whoever prints it breaks the lines. Words are the project's (promise, nack); where
the article has another, it stands beside it once.

This module decides nothing and knows nothing of who prints.
"""

from typing import Final

from multipaxos.core.ballot import NO_BALLOT
from multipaxos.core.effects import Note

ENGLISH: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    # A run begins
    "run.begin.propose": (
        ("name", "value", "run", "acceptors"),
        "Propose {name} = {value}. This is run {run}; the acceptors are {acceptors}.",
    ),
    "run.begin.learn": (
        ("name", "run", "acceptors"),
        "Learn {name}. This is run {run}; the acceptors are {acceptors}.",
    ),
    "run.number.given": (
        ("number", "m", "count", "index"),
        "Number {number} = {m}*{count} + {index}, as given: nobody is asked first.",
    ),
    "run.number": (
        ("number", "m", "count", "index", "known"),
        "Number {number} = {m}*{count} + {index}: the smallest above {known} with s % {count} = {index}.",
    ),
    "run.number.first": (
        ("number", "m", "count", "index"),
        "Nothing is promised. Number {number} = {m}*{count} + {index}: the smallest with s % {count} = {index}.",
    ),
    # The question before phase 1, and what a learner makes of the answers
    "question.begin": (
        ("labels",),
        "Question to {labels}: what have you promised, and what have you accepted?",
    ),
    "learn.majority": (
        ("votes", "of", "needed", "number"),
        "{votes} of {of} accepted at one number, {number}; a majority is {needed}: chosen.",
    ),
    "learn.open": (
        ("value", "number", "votes", "needed"),
        "These answers leave it open: at number {number}, {votes} accepted {value}, and {needed} are needed. A ballot "
        "will tell. It completes what it hears of, so it may itself be what makes that value chosen.",
    ),
    "learn.nothing": (
        ("answers",),
        "These {answers} have accepted nothing, but may do so yet. A ballot will tell: who promises refuses all below.",
    ),
    # The two phases
    "phase1.begin": (("number", "labels"), "Phase 1, message 1: prepare({number}) to {labels}"),
    "phase1.own": (
        ("promises", "of", "needed", "value"),
        "{promises} of {of} promised; a majority is {needed}: on to phase 2. None of them has accepted anything, so "
        "the value is free: {value}, the own one.",
    ),
    "phase1.adopt": (
        ("promises", "of", "needed", "value", "number"),
        "{promises} of {of} promised; a majority is {needed}: on to phase 2. The highest number anything was accepted "
        "at is {number}; its value may be chosen already, so phase 2 carries that one: {value}.",
    ),
    "phase1.nothing": (
        ("promises", "of", "needed"),
        "{promises} of {of} promised; a majority is {needed}. None of them has accepted anything.",
    ),
    "phase2.begin": (("number", "value", "labels"), "Phase 2, message 3: accept({number}, {value}) to {labels}"),
    "phase2.majority": (
        ("votes", "of", "needed", "number"),
        "{votes} of {of} accepted at one number, {number}; a majority is {needed}: chosen, for good.",
    ),
    "run.nacked": (
        ("number", "known"),
        "Number {number} gets no majority any more; the highest heard of is {known}. Rest a random moment (two "
        "proposers that wake together would duel for ever), then go on above it.",
    ),
    # What one acceptor said
    "told": (("label", "said"), "  {label}  {said}"),
    "told.silent": (("label",), "  {label}  no answer yet"),
    "told.unreachable": (("label", "trouble"), "  {label}  not reached: {trouble}"),
    "heard.nothing": ((), "no answer"),
    "heard.standing": (
        ("promised", "promised_run", "accepted", "value"),
        "has promised {promised}, has accepted {vote}",
    ),
    "heard.promise": (
        ("number", "accepted", "value"),
        "message 2: promise({number}); has accepted {vote}",
    ),
    "heard.nack": (
        ("number", "promised", "promised_run", "run"),
        "nack (the article: Reject): {number} refused, has promised {promised} to {whom}",
    ),
    "heard.accepted": (("number",), "message 4: accepted({number})"),
    "heard.leap": (("promised",), "names number {promised}, too far ahead to be honest: not counted"),
    "heard.other-set": (("stored", "bound"), "refuses: knows this name under {stored}"),
    "heard.too-many-names": (("stored", "bound"), "refuses: holds {bound} names already, its limit"),
    "heard.too-far-ahead": (("stored", "bound"), "refuses: takes no number above {bound} after what it promised"),
    "heard.line": (("label", "address", "said", "trouble"), "  {label}  {address}: {said}{trouble}"),
    "run.waiting": (("labels", "seconds"), "... waiting for {labels}, {seconds} s more at most"),
    # How a run ends
    "run.chosen.own": (
        ("name", "value", "number"),
        "Chosen: {name} = {value}, at number {number}. It is the value proposed here.",
    ),
    "run.chosen.same": (
        ("name", "value", "number"),
        "Chosen: {name} = {value}, at number {number}. It is the value proposed here, and was there already.",
    ),
    "run.chosen.other": (
        ("name", "value", "number"),
        "Chosen: {name} = {value}, at number {number}. It was there already; a chosen value never changes.",
    ),
    "run.chosen.completed": (
        ("name", "value", "number"),
        "Chosen: {name} = {value}, at number {number}. Whether it was so before this ballot, nobody can tell.",
    ),
    "run.chosen.learned": (("name", "value", "number"), "Chosen: {name} = {value}, at number {number}."),
    "run.none": (
        ("name", "number"),
        "None chosen for {name}, and nothing below number {number} can be chosen any more. To propose a value: multipaxos "
        "propose {name} VALUE",
    ),
    "run.timeout.asking": (
        ("number", "answers", "needed"),
        "Timed out: {answers} answered the question, {needed} are needed. Nothing was changed anywhere. Start the "
        "acceptors that are missing, then try again.",
    ),
    "run.timeout.preparing": (
        ("number", "answers", "needed"),
        "Timed out: {answers} promised {number}, {needed} are needed. No value was sent at this number. Start the "
        "acceptors that are missing, then try again.",
    ),
    "run.timeout.accepting": (
        ("number", "answers", "needed"),
        "Timed out: {answers} accepted at {number}, {needed} are needed. The value may yet be chosen; multipaxos learn "
        "finds out.",
    ),
    "run.timeout.resting": (
        ("number", "answers", "needed"),
        "Timed out while others went ahead with higher numbers. Try again, or multipaxos learn what they got chosen.",
    ),
    "run.timeout.heard": ((), "What was heard last:"),
    "run.other-set": (
        ("label", "address", "stored", "bound", "asked"),
        "Refused: {label} ({address}) knows this name under another set of acceptors, and two sets may have majorities "
        "that never meet. Stored: {stored}. Asked: {asked}. Use the stored set, or another name.",
    ),
    "run.too-many-names": (
        ("label", "address", "stored", "bound", "asked"),
        "Refused: {label} ({address}) holds {bound} names already, its limit. Use a name it knows, or start it with a "
        "higher --names-max.",
    ),
    "run.too-far-ahead": (
        ("label", "address", "stored", "bound", "asked"),
        "Refused: {label} ({address}) takes no number above {bound} after what it promised. Use a smaller one.",
    ),
    "run.listed-twice": (
        ("address", "other", "identity"),
        "Refused: {address} and {other} are one acceptor, {identity}. It has one vote; list each acceptor once.",
    ),
    "run.replaced": (
        ("label", "address", "identity", "other"),
        "Refused: {label} ({address}) answered as {identity} before and as {other} now. Its directory was exchanged, "
        "and with it what it promised.",
    ),
    "run.contradiction": (
        ("number", "value", "other"),
        "Refused: two values were accepted at one number, {number}: {value} and {other}. That cannot be while every "
        "acceptor keeps its directory, so one of them was emptied or exchanged: trust nothing about this name.",
    ),
    "run.numbers-used-up": (
        ("known",),
        "Refused: {known} is promised, and no higher number is left. Use another name.",
    ),
    # The acceptor's side
    "acceptor.promise": (
        ("name", "run", "number", "promised", "accepted", "value"),
        "{name}: prepare({number}) of run {run} is above what was promised ({promised}): promise, has accepted {vote}",
    ),
    "acceptor.vote": (
        ("name", "run", "number", "promised", "value"),
        "{name}: accept({number}, {value}) of run {run} is not below what was promised ({promised}): accepted",
    ),
    "acceptor.prepare.nack": (
        ("name", "run", "number", "promised", "promised_run"),
        "{name}: prepare({number}) of run {run} is not above {promised}, promised to {whom}: nack",
    ),
    "acceptor.accept.nack": (
        ("name", "run", "number", "promised", "promised_run"),
        "{name}: accept({number}) of run {run} cannot be accepted after {promised}, promised to {whom}: nack",
    ),
    "acceptor.other-set": (
        ("name", "run", "stored", "bound"),
        "{name}: run {run} counts on another set than {stored}: refused",
    ),
    "acceptor.too-many-names": (
        ("name", "run", "stored", "bound"),
        "{name}: a new name of run {run}, and {bound} are held already: refused",
    ),
    "acceptor.too-far-ahead": (
        ("name", "run", "stored", "bound"),
        "{name}: run {run} uses a number above {bound}: refused",
    ),
    "acceptor.created": (
        ("directory", "identity"),
        "First start: created {directory} for a new acceptor, {identity}.",
    ),
    "acceptor.opened": (
        ("directory", "identity", "names"),
        "Opened {directory}: acceptor {identity}, names known: {names}.",
    ),
    "acceptor.listening": (
        ("address",),
        "Listening on {address}. Ctrl-C stops it; what it promised and accepted stays.",
    ),
    "acceptor.next": (
        ("address",),
        "Next: start the other acceptors, each with a port and a directory of its own. Then, in another terminal: "
        "multipaxos propose NAME VALUE --acceptors {address},HOST:PORT,HOST:PORT",
    ),
    "acceptor.skipped": (("lines",), "... {lines} lines were not printed: the terminal was too slow"),
}

LANGUAGES: Final = {"en": ENGLISH}

_NUMBERS: Final = ("promised", "known")
_TYPED: Final = ("name", "value", "other")


def sentence(note: Note, language: str = "en") -> str:
    """The text of one note. Raises KeyError for an id or a language that is not here."""
    reason, operands = note
    names, template = LANGUAGES[language][reason]
    shown: dict[str, object] = {}
    for name, operand in zip(names, operands, strict=True):
        if name in _NUMBERS and operand == NO_BALLOT:
            shown[name] = "nothing"
        elif name in _TYPED:
            shown[name] = quoted(str(operand))
        elif name == "said" and isinstance(operand, tuple):
            shown[name] = sentence((operand[0], operand[1]), language)
        else:
            shown[name] = operand
    if "accepted" in shown:
        shown["vote"] = "nothing" if shown["accepted"] == NO_BALLOT else f"{shown['value']} at {shown['accepted']}"
    if "promised_run" in shown and "number" in shown:
        shown["whom"] = _whom(str(shown["promised_run"]), str(shown["run"]), shown["promised"] == shown["number"])
    return template.format(**shown)


def _whom(promised_run: str, run: str, is_equal: bool) -> str:
    """To whom the number in the way was promised."""
    if not promised_run:
        return "an unknown run"
    if promised_run == run:
        return "this very run, whose promise was lost on its way; an equal number is not promised twice"
    if is_equal:
        return f"run {promised_run}, which uses the same number"
    return f"run {promised_run}"


def quoted(text: str) -> str:
    """What a person typed, on one line, cut where it is long, as Python writes it where it could steer a terminal."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    shown = cut if cut and cut.isprintable() and cut.strip() == cut else repr(cut)
    return shown if cut is text else f"{shown} ({len(text)} characters)"
