"""Good histories, each spoiled by one edit: what judges that accept everything would let pass.

A ``Kind`` names an edit, the judges that must refuse it, and how it is made. Edits are chosen so that no other order of what
happened explains them: a value was overwritten before the read that shows it again was sent, a version counts one write too
many, and so on. What each judge is responsible for:

    stale read, lost write, double execution, swapped pair      zxid_order and linearizability
    wrong Stat, wrong children, wrong name, zxid that falls     zxid_order
    watch missed, twice, late, of another type, out of order    watch_rules
    request after the end, ephemeral that outlives, early end,
    session lost                                                session_rules
    another state, another decree                               convergence
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Final

from msgspec.structs import replace

from multipaxos.sim.recorded import (
    EXPIRED,
    KILLED,
    LEDGER_OPCODES,
    OPENED,
    RESUMED,
    Call,
    Delivered,
    Held,
    History,
    Mark,
)
from multipaxos.wire.zookeeper import (
    ERR_BAD_VERSION,
    FLAG_SEQUENTIAL,
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_EXISTS,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_SET_DATA,
    STAT_BYTES,
    Stat,
    decode_children,
    decode_children_stat,
    decode_data_stat,
    decode_path,
    decode_stat,
    encode_children,
    encode_data_stat,
    encode_path,
    encode_set_data,
    read_set_data,
    write_stat,
)

Z: Final = "zxid_order"
WGL: Final = "linearizability"
WATCHES: Final = "watch_rules"
SESSIONS: Final = "session_rules"
CONVERGENCE: Final = "convergence"


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A history with one edit."""

    kind: str
    text: str
    history: History


Edit = tuple[str, History]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to spoil a history; ``make`` gives None where the history offers no place for it."""

    name: str
    judges: tuple[str, ...]
    make: Callable[[History, Random], Edit | None]


def spoil(history: History, kind: Kind, random: Random) -> Spoiled | None:
    """A copy of a good history with one edit of this kind."""
    made = kind.make(history, random)
    return None if made is None else Spoiled(kind.name, made[0], made[1])


# Copies


def _copy(history: History) -> History:
    made = History()
    made.calls = list(history.calls)
    made.events = list(history.events)
    made.marks = list(history.marks)
    made.finals = list(history.finals)
    made.ledger = history.ledger
    return made


def _with_call(history: History, call: Call, changed: Call) -> History:
    made = _copy(history)
    made.calls[next(at for at, other in enumerate(made.calls) if other is call)] = changed
    return made


def _with_event(history: History, event: Delivered, changed: Delivered | None) -> History:
    made = _copy(history)
    at = next(at for at, other in enumerate(made.events) if other is event)
    made.events[at : at + 1] = [] if changed is None else [changed]
    return made


def _with_held(history: History, held: Held, changed: Held) -> History:
    made = _copy(history)
    made.finals[history.finals.index(held)] = changed
    return made


def _name(call: Call) -> str:
    return f"operation {call.index} of session {call.session:#x} ({call.path})"


# What a history says of a path


def _stat(call: Call) -> Stat | None:
    """The Stat a reply shows of its path."""
    if call.err != 0 or call.opcode not in (OP_GET_DATA, OP_EXISTS, OP_SET_DATA, OP_GET_CHILDREN2):
        return None
    return decode_stat(call.body, len(call.body) - STAT_BYTES)


def _since(history: History) -> dict[int, int]:
    """Of each answered read, by identity: since when its session has what it is shown, at the latest."""
    handshakes = {mark.connection: mark.sent_ns for mark in history.marks if mark.kind in (OPENED, RESUMED)}
    found: dict[int, int] = {}
    since: dict[int, int] = {}
    for call in sorted(history.calls, key=lambda call: (call.session, call.index)):
        if not call.is_answered:
            continue
        if call.opcode in LEDGER_OPCODES:
            since[call.session] = max(since.get(call.session, 0), call.invoked_ns)
        found[id(call)] = max(since.get(call.session, 0), handshakes.get(call.connection, 0))
    return found


def _answered(history: History, *opcodes: int) -> list[Call]:
    return [call for call in history.calls if call.is_answered and call.opcode in opcodes]


def _by_path(calls: Sequence[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(call.path, []).append(call)
    return found


# The four named kinds


def _stale_read(history: History, random: Random) -> Edit | None:
    """A read shows a value that was overwritten before it was sent."""
    since = _since(history)
    reads = [call for call in _answered(history, OP_GET_DATA) if call.err == 0]
    writes = [call for call in _answered(history, OP_SET_DATA) if call.err == 0]
    by_path = _by_path(writes)
    found: list[tuple[Call, Call]] = []
    for old in reads:
        for write in by_path.get(old.path, ()):
            if old.returned_ns >= write.invoked_ns:
                continue
            for read in reads:
                is_later = read.path == old.path and since[id(read)] > write.returned_ns
                if is_later and decode_data_stat(read.body)[0] != decode_data_stat(old.body)[0]:
                    found.append((read, old))
            break
    if not found:
        return None
    read, old = random.choice(found)
    return f"{_name(read)} shows what {_name(old)} read", _with_call(history, read, replace(read, body=old.body))


def _lost_write(history: History, random: Random) -> Edit | None:
    """A write is acknowledged that nobody ever sees: one that was refused, or one in the place of a read."""
    since = _since(history)
    by_path: dict[str, list[tuple[Call, Stat]]] = {}
    for call in history.calls:
        stat = _stat(call) if call.is_answered else None
        if stat is not None:
            by_path.setdefault(call.path, []).append((call, stat))
    found: list[tuple[Call, Stat]] = []
    for call in _answered(history, OP_SET_DATA, OP_GET_DATA):
        if call.err != (ERR_BAD_VERSION if call.opcode == OP_SET_DATA else 0):
            continue
        shown = by_path.get(call.path, [])
        before = [stat for other, stat in shown if other.returned_ns < call.invoked_ns]
        if not before:
            continue
        # Somebody looks at the same znode before and later, and counts its writes.
        last = max(before, key=lambda stat: (stat.czxid, stat.version))
        if any(stat.czxid == last.czxid and since[id(other)] > call.returned_ns for other, stat in shown):
            found.append((call, last))
    if not found:
        return None
    call, last = random.choice(found)
    value = f"lost {call.index}".encode()
    told = last._replace(version=last.version + 1, mzxid=call.zxid, data_length=len(value))
    record = call.record if call.opcode == OP_SET_DATA else encode_set_data(call.path, value, -1)
    if call.opcode == OP_SET_DATA:
        told = told._replace(data_length=len(read_set_data(record, 0)[0].data or b""))
    changed = replace(call, opcode=OP_SET_DATA, record=record, err=0, body=write_stat(told))
    return f"{_name(call)} is an acknowledged write", _with_call(history, call, changed)


def _double_execution(history: History, random: Random) -> Edit | None:
    """A read shows the value of a write, at the version that writing it twice would have made."""
    found: list[tuple[Call, Call]] = []
    by_path = _by_path([call for call in _answered(history, OP_SET_DATA) if call.err == 0])
    for read in _answered(history, OP_GET_DATA):
        stat = _stat(read)
        for write in by_path.get(read.path, ()):
            if stat is not None and stat.mzxid == write.zxid and write.returned_ns < read.invoked_ns:
                found.append((read, write))
    if not found:
        return None
    read, write = random.choice(found)
    data, stat = decode_data_stat(read.body)
    body = encode_data_stat(data, write_stat(stat._replace(version=stat.version + 1)))
    return f"{_name(read)} shows {_name(write)} done twice", _with_call(history, read, replace(read, body=body))


def _swapped_pair(history: History, random: Random) -> Edit | None:
    """Two writes of one znode, one after the other, have each other's reply."""
    found: list[tuple[Call, Call]] = []
    for writes in _by_path([call for call in _answered(history, OP_SET_DATA) if call.err == 0]).values():
        for first in writes:
            for second in writes:
                mine, other = _stat(first), _stat(second)
                is_one = mine is not None and other is not None and mine.czxid == other.czxid
                if is_one and first.returned_ns < second.invoked_ns:
                    found.append((first, second))
    if not found:
        return None
    first, second = random.choice(found)
    made = _with_call(history, first, replace(first, zxid=second.zxid, body=second.body))
    made = _with_call(made, second, replace(second, zxid=first.zxid, body=first.body))
    return f"{_name(first)} and {_name(second)} exchange their replies", made


NAMED: Final = (
    Kind("stale read", (Z, WGL), _stale_read),
    Kind("lost write", (Z, WGL), _lost_write),
    Kind("double execution", (Z, WGL), _double_execution),
    Kind("swapped pair", (Z, WGL), _swapped_pair),
)
"""What the verification plan names: both checkers must refuse each."""


# What only zxids show


def _wrong_stat(history: History, random: Random) -> Edit | None:
    """One field of a Stat is off by one."""
    calls = [call for call in history.calls if call.is_answered and _stat(call) is not None]
    if not calls:
        return None
    call = random.choice(calls)
    stat = _stat(call)
    assert stat is not None
    field = random.choice(("czxid", "mzxid", "pzxid", "version", "cversion", "aversion", "data_length", "num_children"))
    body = call.body[:-STAT_BYTES] + write_stat(stat._replace(**{field: getattr(stat, field) + 1}))
    return f"{_name(call)} shows another {field}", _with_call(history, call, replace(call, body=body))


def _wrong_children(history: History, random: Random) -> Edit | None:
    """One child is missing from a list."""
    found = [call for call in _answered(history, OP_GET_CHILDREN, OP_GET_CHILDREN2) if call.err == 0]
    found = [call for call in found if decode_children(call.body)]
    if not found:
        return None
    call = random.choice(found)
    names = decode_children(call.body)
    missing = names.pop(random.randrange(len(names)))
    tail = b""
    if call.opcode == OP_GET_CHILDREN2:
        tail = write_stat(decode_children_stat(call.body)[1])
    body = encode_children(names, tail)
    return f"{_name(call)} does not list {missing}", _with_call(history, call, replace(call, body=body))


def _wrong_name(history: History, random: Random) -> Edit | None:
    """A sequential znode got the number after its own."""
    found = [call for call in _answered(history, OP_CREATE) if call.err == 0 and call.record[-1] & FLAG_SEQUENTIAL]
    if not found:
        return None
    call = random.choice(found)
    path = decode_path(call.body)
    other = f"{path[:-10]}{int(path[-10:]) + 1:010d}"
    return f"{_name(call)} is named {other}", _with_call(history, call, replace(call, body=encode_path(other)))


def _falling_zxid(history: History, random: Random) -> Edit | None:
    """A session is told a zxid below one it was told before."""
    found: list[tuple[Call, Call]] = []
    last: dict[int, Call] = {}
    for call in sorted(history.calls, key=lambda call: (call.session, call.index)):
        if call.is_answered and call.opcode != OP_CLOSE_SESSION:
            if call.session in last:
                found.append((call, last[call.session]))
            last[call.session] = call
    if not found:
        return None
    call, before = random.choice(found)
    return f"{_name(call)} tells a zxid that falls", _with_call(history, call, replace(call, zxid=before.zxid - 1))


ORDER: Final = (
    Kind("wrong Stat", (Z,), _wrong_stat),
    Kind("wrong children", (Z,), _wrong_children),
    Kind("wrong name", (Z,), _wrong_name),
    Kind("zxid that falls", (Z,), _falling_zxid),
)


# Watches


def _followed(history: History) -> list[tuple[Delivered, Call]]:
    """Events, each with the first reply on its connection that shows its change."""
    found: list[tuple[Delivered, Call]] = []
    for event in history.events:
        later = [
            call
            for call in history.calls
            if call.connection == event.connection and call.arrival > event.arrival and call.zxid >= event.zxid
        ]
        if event.zxid > 0 and later:
            found.append((event, min(later, key=lambda call: call.arrival)))
    return found


def _missed_watch(history: History, random: Random) -> Edit | None:
    """An event never comes."""
    found = _followed(history)
    if not found:
        return None
    event, _ = random.choice(found)
    return f"event of {event.path} at {event.zxid:#x} never comes", _with_event(history, event, None)


def _watch_twice(history: History, random: Random) -> Edit | None:
    """An event comes twice."""
    events = [event for event in history.events if event.zxid > 0]
    if not events:
        return None
    event = random.choice(events)
    made = _copy(history)
    made.events.insert(made.events.index(event) + 1, replace(event))
    return f"event of {event.path} at {event.zxid:#x} comes twice", made


def _late_watch(history: History, random: Random) -> Edit | None:
    """An event and the reply behind it come the other way round."""
    found = _followed(history)
    if not found:
        return None
    event, call = random.choice(found)
    made = _with_event(history, event, replace(event, arrival=call.arrival, at_ns=call.returned_ns))
    made = _with_call(made, call, replace(call, arrival=event.arrival))
    return f"event of {event.path} at {event.zxid:#x} comes behind {_name(call)}", made


def _other_type(history: History, random: Random) -> Edit | None:
    """An event is of another type."""
    events = [event for event in history.events if event.zxid > 0]
    if not events:
        return None
    event = random.choice(events)
    return (
        f"event of {event.path} at {event.zxid:#x} is of another type",
        _with_event(history, event, replace(event, kind=event.kind % 4 + 1)),
    )


def _watches_out_of_order(history: History, random: Random) -> Edit | None:
    """Two events of one connection come the other way round."""
    by_connection: dict[int, list[Delivered]] = {}
    for event in sorted(history.events, key=lambda event: event.arrival):
        if event.zxid > 0:
            by_connection.setdefault(event.connection, []).append(event)
    pairs = [
        (first, second)
        for events in by_connection.values()
        for first, second in pairwise(events)
        if (first.zxid, first.kind, first.path) != (second.zxid, second.kind, second.path)
    ]
    if not pairs:
        return None
    first, second = random.choice(pairs)
    made = _with_event(history, first, replace(first, arrival=second.arrival, at_ns=second.at_ns))
    made = _with_event(made, second, replace(second, arrival=first.arrival, at_ns=first.at_ns))
    return f"events of {first.path} and {second.path} come the other way round", made


def _missed_after_reconnect(history: History, random: Random) -> Edit | None:
    """setWatches does not tell what was missed."""
    events = [event for event in history.events if event.zxid <= 0]
    if not events:
        return None
    event = random.choice(events)
    return f"setWatches does not tell of {event.path}", _with_event(history, event, None)


WATCHED: Final = (
    Kind("watch missed", (WATCHES,), _missed_watch),
    Kind("watch twice", (WATCHES,), _watch_twice),
    Kind("watch behind the reply", (WATCHES,), _late_watch),
    Kind("watch of another type", (WATCHES,), _other_type),
    Kind("watches out of order", (WATCHES,), _watches_out_of_order),
    Kind("watch missed by setWatches", (WATCHES,), _missed_after_reconnect),
)


# Sessions and the end


def _request_after_the_end(history: History, random: Random) -> Edit | None:
    """A session that was closed is answered once more."""
    closed = [call for call in _answered(history, OP_CLOSE_SESSION) if call.err == 0]
    writes = [call for call in _answered(history, OP_SET_DATA) if call.err == 0]
    if not closed or not writes:
        return None
    close = random.choice(closed)
    write = random.choice(writes)
    made = _copy(history)
    late = close.returned_ns + 1_000_000
    made.calls.append(
        replace(
            write,
            client=close.client,
            session=close.session,
            connection=close.connection,
            index=close.index + 1,
            invoked_ns=late,
            returned_ns=late + 1_000_000,
            arrival=close.arrival + 1,
            zxid=close.zxid + 1,
        )
    )
    return f"session {close.session:#x} sets {write.path} after its close", made


def _ephemeral_outlives(history: History, random: Random) -> Edit | None:
    """A replica still holds an ephemeral of a session that has ended."""
    ended = [call.session for call in _answered(history, OP_CLOSE_SESSION) if call.err == 0]
    if not ended or not history.finals:
        return None
    session = random.choice(ended)
    held = random.choice(history.finals)
    path = f"/e{session:x}"
    changed = replace(held, ephemerals={**held.ephemerals, path: session})
    return f"{path} outlives session {session:#x}", _with_held(history, held, changed)


def _early_end(history: History, random: Random) -> Edit | None:
    """A session is told to be over soon after a sign of life."""
    opened = [mark for mark in history.marks if mark.kind in (OPENED, RESUMED) and mark.timeout_ms]
    closed = [call.session for call in history.calls if call.opcode == OP_CLOSE_SESSION]
    opened = [mark for mark in opened if mark.session not in closed]
    if not opened:
        return None
    mark = random.choice(opened)
    made = _copy(history)
    made.marks.append(
        Mark(EXPIRED, mark.client, mark.session, mark.connection, mark.sent_ns + mark.timeout_ms * 500_000)
    )
    return f"session {mark.session:#x} is over after half of its timeout", made


def _lost_session(history: History, random: Random) -> Edit | None:
    """A replica does not know the session of a client that lives."""
    over = [call.session for call in history.calls if call.opcode == OP_CLOSE_SESSION]
    over += [mark.session for mark in history.marks if mark.kind in (EXPIRED, KILLED)]
    opened = [mark.session for mark in history.marks if mark.kind == OPENED and mark.session not in over]
    found = [(held, session) for held in history.finals for session in opened if session in held.sessions]
    if not found:
        return None
    held, session = random.choice(found)
    left = {other: timeout for other, timeout in held.sessions.items() if other != session}
    return (
        f"replica {held.replica} does not know session {session:#x}",
        _with_held(history, held, replace(held, sessions=left)),
    )


def _another_state(history: History, random: Random) -> Edit | None:
    """One replica holds another tree."""
    if len(history.finals) < 2:
        return None
    held = random.choice(history.finals)
    return f"replica {held.replica} holds another tree", _with_held(history, held, replace(held, digest="0" * 64))


def _another_decree(history: History, random: Random) -> Edit | None:
    """One replica's ledger has another decree in one slot."""
    finals = [held for held in history.finals if held.ledger]
    if len(finals) < 2:
        return None
    held = random.choice(finals)
    slot = random.choice(sorted(held.ledger))
    changed = replace(held, ledger={**held.ledger, slot: "0" * 16})
    return f"replica {held.replica} holds another decree in slot {slot}", _with_held(history, held, changed)


ENDED: Final = (
    Kind("request after the end", (SESSIONS,), _request_after_the_end),
    Kind("ephemeral that outlives", (SESSIONS, CONVERGENCE), _ephemeral_outlives),
    Kind("early end", (SESSIONS,), _early_end),
    Kind("session lost", (SESSIONS, CONVERGENCE), _lost_session),
    Kind("another state", (CONVERGENCE,), _another_state),
    Kind("another decree", (CONVERGENCE,), _another_decree),
)

KINDS: Final = (*NAMED, *ORDER, *WATCHED, *ENDED)
