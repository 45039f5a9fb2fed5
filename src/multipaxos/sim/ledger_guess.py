"""What happened, made out from the replies alone, where nobody has the ledger: a search for one past that explains them.

Each change has a zxid of its own, and most are known: of writes that were answered, of sessions that were opened or closed.
The zxids between belong to what nobody was told of: writes of unknown outcome, sessions that ended, or things that touch no
znode (a handshake whose answer was lost, a configuration). The search goes through the zxids in order and tries, at each of
these holes, whatever may have happened there, until every reply is explained. A write of unknown outcome fits once, in its
session's order, after all that was known to anybody before it was sent.

The search is exact: when it finds nothing, no such past exists. A reply that does not fit says which znodes it is about;
the search goes back to the last hole where something else could have happened to these, or to what that depends on. It
takes time where many outcomes are unknown and nobody looked; beyond ``TRIES_PER_ZXID`` it gives up and says so, which is
no pass.
"""

from dataclasses import dataclass, field
from typing import Final

from multipaxos.sim.finding import Finding
from multipaxos.sim.observing import NAME, Observers, changes_tree, name_of
from multipaxos.sim.recorded import LEDGER_OPCODES, OPENED, Call, History
from multipaxos.sim.timeline import Timeline
from multipaxos.sim.znode_model import Change, Times, Znodes, differs, parent_of
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    FLAG_SEQUENTIAL,
    OP_CLOSE_SESSION,
    OP_SET_ACL,
    OP_SYNC,
    CreateRequest,
    MultiRequest,
    PathRequest,
    SetAclRequest,
    SetDataRequest,
    VersionedPath,
    WatchedPath,
    decode_request,
)

TRIES_MIN: Final = 20_000
TRIES_PER_ZXID: Final = 40
HOLES_MAX: Final = 20_000
"""More zxids of which nothing is known: the history has writers that were not recorded."""

_NOTHING: Final = 0
_END: Final = 1
_CALL: Final = 2

Filler = tuple[int, int, Call | None]
"""What may have happened at a hole: nothing of ours, the end of a session, a write of unknown outcome."""


@dataclass(slots=True)
class Open:
    """A write of unknown outcome, and between which zxids it may stand."""

    call: Call
    above: int
    below: int
    effects: tuple[str, ...]
    """The znodes it may change, parents of created and deleted ones among them."""
    depends: tuple[str, ...]
    """The znodes that decide whether it succeeds."""


@dataclass(slots=True)
class Choice:
    """A hole at which more than one thing may have happened."""

    point: int
    fillers: list[Filler]
    at: int
    touched: list[str]
    """What the sessions that may have ended here would have taken with them."""
    position: int
    changes: int
    placed: int
    ended: int
    blamed: dict[str, None] = field(default_factory=dict)
    """The znodes that what was tried here failed about."""


@dataclass(slots=True)
class Known:
    """What is known of one zxid."""

    call: Call | None = None
    opens: int = 0
    closes: int = 0
    events: list[Change] = field(default_factory=list)
    is_seen: bool = False  # somebody was shown a change of it


class Guess:
    """The search."""

    def __init__(
        self, history: History, observers: Observers, times: Times, floors: dict[tuple[int, int], int]
    ) -> None:
        """``floors``: of each (session, index), the highest zxid anybody knew before it was invoked."""
        self.timeline = Timeline()
        self.findings: list[Finding] = []
        self._observers = observers
        self._times = times
        self._known: dict[int, Known] = {}
        self._open: list[Open] = []
        self._znodes = Znodes()
        self._placed: list[tuple[Call, int]] = []
        self._ended: list[tuple[int, int]] = []
        self._highest: dict[int, int] = {}  # zxid of each epoch of which anybody knows
        self._last: dict[int, int] = {}  # of each session, the highest zxid it was told while it lived
        self._gather(history, floors)
        self._points = self._line_up(history)
        if self._points and not self.findings:
            self._search()

    # What is known

    def _at(self, zxid: int) -> Known:
        known = self._known.get(zxid)
        if known is None:
            known = self._known[zxid] = Known()
        return known

    def _gather(self, history: History, floors: dict[tuple[int, int], int]) -> None:
        by_session: dict[int, list[Call]] = {}
        for call in history.calls:
            by_session.setdefault(call.session, []).append(call)
            if call.is_answered and changes_tree(call):
                known = self._at(call.zxid)
                if known.call is not None:
                    self.findings.append(
                        Finding(NAME, "I11", f"{name_of(known.call)} and {name_of(call)} have one zxid, {call.zxid:#x}")
                    )
                if call.opcode == OP_CLOSE_SESSION:
                    known.closes = call.session
                known.call = call
        for session, calls in by_session.items():
            if session:
                self._at(session).opens = session  # an id is the zxid of its session's beginning (rule-R27)
            calls.sort(key=lambda call: call.index)
            self._bound(calls, floors)
        for mark in history.marks:
            if mark.kind == OPENED:
                self._at(mark.session).opens = mark.session
        for event in history.events:
            if event.zxid > 0:
                self._at(event.zxid).events.append((event.kind, event.path))

    def _bound(self, calls: list[Call], floors: dict[tuple[int, int], int]) -> None:
        """Between which zxids the writes of unknown outcome of one session may stand."""
        told = 0
        waiting: list[Open] = []
        for call in calls:
            if call.is_answered:
                told = max(told, call.zxid)
                below = call.zxid if changes_tree(call) else call.zxid + 1
                for each in waiting:
                    each.below = below
                self._open += waiting
                waiting = []
            elif call.opcode in LEDGER_OPCODES and call.opcode != OP_SYNC:
                above = max(told, floors[call.session, call.index])
                waiting.append(Open(call, above, 1 << 63, *_paths_of(call)))
        self._open += waiting
        if calls:
            self._last[calls[0].session] = told

    def _line_up(self, history: History) -> list[int]:
        """All zxids to go through, in order, those of which nothing is known among them."""
        seen = set(self._known) | set(self._observers.zxids())
        seen.update(zxid for zxid in self._observers.shown if zxid > 0)
        for zxid in self._observers.shown:
            if zxid > 0 and zxid & 0xFFFFFFFF:
                self._at(zxid).is_seen = True
        highest = self._highest
        for zxid in sorted(seen):
            highest[zxid >> 32] = max(highest.get(zxid >> 32, 0), zxid)
        points: list[int] = [0]
        epochs = sorted(highest)
        for number, epoch in enumerate(epochs):
            first = epoch << 32
            last = highest[epoch]
            if number + 1 < len(epochs):
                # Behind the last one known there may be more, up to the next leader.
                after = epochs[number + 1] << 32
                last += sum(1 for each in self._open if each.below > last + 1 and each.above < after)
            if last - first > HOLES_MAX + len(seen):
                self.findings.append(
                    Finding(NAME, "undecided", f"epoch {epoch} has {last - first} zxids, of which few are recorded")
                )
                return []
            points += list(range(max(1, first), last + 1))
        return points

    # Trying

    def _search(self) -> None:
        points = self._points
        budget = TRIES_MIN + TRIES_PER_ZXID * len(points)
        choices: list[Choice] = []
        deepest: tuple[int, Finding] | None = None
        at = 0
        filler: Filler | None = None
        while at < len(points):
            budget -= 1
            if budget < 0:
                text = f"no past found within the bound; the furthest fails so: {deepest[1] if deepest else ''}"
                self.findings.append(Finding(NAME, "undecided", text))
                return
            zxid = points[at]
            if filler is None:
                fillers = self._fillers(zxid)
                filler = fillers[0]
                if len(fillers) > 1:
                    self.timeline.is_certain = False
                    self._note(choices, at, fillers)
            wrong = self._happen(zxid, filler)
            if wrong is None:
                filler = None
                at += 1
                if not choices:
                    self._znodes.forget()
                continue
            if deepest is None or at >= deepest[0]:
                deepest = (at, wrong)
            if not choices:
                self.findings.append(deepest[1])
                return
            found = self._back(choices, at, filler)
            if found is None:
                self.findings.append(deepest[1])
                return
            at, filler = found
        self.timeline.final = self._znodes
        for session, ended in self._ended:
            self.timeline.ended[session] = ended
        for call, placed in self._placed:
            self.timeline.executed[call.session, call.index] = placed
        self.timeline.index()

    def _note(self, choices: list[Choice], at: int, fillers: list[Filler]) -> None:
        touched: list[str] = []
        for kind, session, _ in fillers:
            if kind == _END:
                for path in self._znodes.sessions[session]:
                    touched += [path, parent_of(path)]
        choices.append(
            Choice(
                at,
                fillers,
                0,
                touched,
                self._znodes.position(),
                len(self.timeline.changes),
                len(self._placed),
                len(self._ended),
            )
        )

    def _back(self, choices: list[Choice], at: int, filler: Filler) -> tuple[int, Filler] | None:
        """To the last hole where something else could have helped, and what that is; None where there is none.

        ``filler`` was tried at point ``at``, and something there does not fit. A hole that is left for good hands the
        blame for all that was tried there on to those before it.
        """
        paths = self._about(self._points[at], filler)
        while choices:
            choice = choices[-1]
            if choice.point == at or self._may_help(choice, paths):
                choice.blamed.update(paths)
                if choice.at + 1 < len(choice.fillers):
                    self._znodes.back_to(choice.position)
                    del self.timeline.changes[choice.changes :]
                    del self.timeline.zxids[choice.changes :]
                    del self._placed[choice.placed :]
                    del self._ended[choice.ended :]
                    choice.at += 1
                    return choice.point, choice.fillers[choice.at]
                paths = choice.blamed
            choices.pop()
        return None

    def _about(self, zxid: int, filler: Filler) -> dict[str, None]:
        """The znodes that what is shown at ``zxid`` depends on."""
        paths: dict[str, None] = {}
        known = self._known.get(zxid)
        if known is not None:
            if known.call is not None:
                for found in _paths_of(known.call):
                    paths.update(dict.fromkeys(found))
            paths.update(dict.fromkeys(path for _, path in known.events))
        if filler[2] is not None:
            paths.update(dict.fromkeys(_paths_of(filler[2])[1]))
        for call in self._observers.waiting(zxid):
            paths.update(dict.fromkeys(_paths_of(call)[1]))
        # A sequential create names no suffix, and whoever speaks of the znode does.
        for path in [path for path in paths if path[-10:].isdigit()]:
            paths[path[:-10]] = None
        return paths

    def _may_help(self, choice: Choice, paths: dict[str, None]) -> bool:
        """Whether what happened at a hole, or might have, touches ``paths`` or what they depend on."""
        calls: dict[tuple[int, int], None] = {}
        count = -1
        while count != len(calls):
            count = len(calls)
            for each in self._open:
                key = (each.call.session, each.call.index)
                if key not in calls and any(path in paths for path in each.effects):
                    calls[key] = None
                    paths.update(dict.fromkeys(each.depends))
        if any(path in paths for path in choice.touched):
            return True
        # Of a session with a call that could help, every other one may stand in its way.
        return any(
            kind != _NOTHING and any(session == other for other, _ in calls)
            for kind, session, _ in choice.fillers[choice.at :]
        )

    def _fillers(self, zxid: int) -> list[Filler]:
        known = self._known.get(zxid)
        if known is not None and (known.call is not None or known.opens):
            return [(_NOTHING, 0, None)]
        if zxid & 0xFFFFFFFF == 0:
            return [(_NOTHING, 0, None)]
        found: list[Filler] = []
        for each in self._open:
            if each.above < zxid < each.below and self._comes_next(each.call):
                found.append((_CALL, each.call.session, each.call))
        for session, ephemerals in self._znodes.sessions.items():
            if ephemerals and self._last.get(session, 0) < zxid:
                found.append((_END, session, None))
        if zxid > self._highest[zxid >> 32]:
            return [(_NOTHING, 0, None), *found]  # which may not have been at all
        if not found or known is None or not (known.is_seen or known.events):
            found.append((_NOTHING, 0, None))
        return found

    def _comes_next(self, call: Call) -> bool:
        """Whether it does not stand yet, nor a later one of its session."""
        return all(call.session != other.session or call.index > other.index for other, _ in self._placed)

    def _happen(self, zxid: int, filler: Filler) -> Finding | None:
        """Let it happen, and compare everything that shows this zxid; what is wrong, if anything is."""
        znodes = self._znodes
        known = self._known.get(zxid)
        kind, session, call = filler
        changes: list[Change] = []
        if known is not None and known.closes:
            if known.closes not in znodes.sessions:
                return Finding(NAME, "I8", f"session {known.closes:#x} is closed twice, or was never open")
            self._end(known.closes, zxid)
            changes = znodes.changes
        elif known is not None and known.call is not None:
            call = known.call
            answer = znodes.execute(call.session, call.opcode, call.record, zxid)
            changes = znodes.changes
            why = differs(answer, call.err, call.body, self._times)
            if why:
                return Finding(NAME, "I11", f"{name_of(call)} cannot have had this answer at zxid {zxid:#x}: {why}")
        elif known is not None and known.opens:
            znodes.open(known.opens)
        elif kind == _END:
            self._end(session, zxid)
            changes = znodes.changes
        elif kind == _CALL and call is not None:
            if call.opcode == OP_CLOSE_SESSION:
                if session not in znodes.sessions:
                    return Finding(NAME, "I11", f"{name_of(call)} had no session to close")
                self._end(session, zxid)
            else:
                answer = znodes.execute(session, call.opcode, call.record, zxid)
                if not znodes.changes and (answer.err != 0 or call.opcode != OP_SET_ACL):
                    return Finding(NAME, "I11", f"{name_of(call)} would not have succeeded at zxid {zxid:#x}")
            changes = znodes.changes
            self._placed.append((call, zxid))
        if known is not None:
            for event in known.events:
                if event not in changes and not event[1].startswith("/zookeeper"):
                    return Finding(
                        NAME, "I15", f"an event tells of {event[1]} at zxid {zxid:#x}, where it did not change"
                    )
        self.timeline.changed(zxid, changes)
        return self._observers.first_difference(zxid, znodes)

    def _end(self, session: int, zxid: int) -> None:
        self._znodes.end(session, zxid)
        self._ended.append((session, zxid))


def _paths_of(call: Call) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a request may change, and what its answer depends on."""
    try:
        request = decode_request(call.opcode, call.record)
    except MalformedRecord:
        return (), ()
    effects: list[str] = []
    depends: list[str] = []
    operations = request.operations if isinstance(request, MultiRequest) else [(call.opcode, request)]
    for _, operation in operations:
        if isinstance(operation, CreateRequest):
            above = parent_of(operation.path)
            effects += [operation.path, above]
            depends.append(operation.path)
            if above != "/" or operation.flags & FLAG_SEQUENTIAL:
                depends.append(above)
        elif isinstance(operation, VersionedPath):
            effects += [operation.path, parent_of(operation.path)]
            depends.append(operation.path)
        elif isinstance(operation, (SetDataRequest, SetAclRequest)):
            effects.append(operation.path)
            depends.append(operation.path)
        elif isinstance(operation, (WatchedPath, PathRequest)):
            depends.append(operation.path)
    depends += [path[:-10] for path in depends if path[-10:].isdigit()]
    return tuple(effects), tuple(depends)
