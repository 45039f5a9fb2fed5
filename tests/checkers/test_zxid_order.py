"""The Z-checker: histories told by hand, each rule of the verification plan broken once, with a ledger and without."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace
from stories import TICK_NS, Client, Story

from multipaxos.sim.finding import Finding
from multipaxos.sim.judging import judge
from multipaxos.sim.recorded import Call, History
from multipaxos.sim.zxid_order import check_order
from multipaxos.wire.zookeeper import (
    FLAG_EPHEMERAL,
    FLAG_SEQUENTIAL,
    OP_CHECK,
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_CREATE2,
    OP_DELETE,
    OP_GET_ACL,
    OP_GET_CHILDREN2,
    OP_MULTI,
    OP_SET_DATA,
    OPEN_ACL,
    decode_stat,
    encode_create,
    encode_multi,
    encode_path,
    encode_set_data,
    encode_versioned_path,
    encode_watched_path,
    write_stat,
)

BOTH = pytest.mark.parametrize("is_ledger_known", [True, False], ids=["ledger", "no ledger"])


def findings(history: History) -> list[Finding]:
    """What the Z-checker finds."""
    return check_order(history)[0]


def ids(history: History) -> set[str]:
    """The invariants that are broken."""
    return {finding.invariant for finding in findings(history)}


def spoiled(history: History, call: Call, **fields: object) -> History:
    """The history with another reply to one call."""
    history.calls[history.calls.index(call)] = replace(call, **fields)
    return history


def two_clients() -> tuple[Story, Client, Client]:
    """A story of two clients and one znode."""
    story = Story()
    one, two = story.client(), story.client()
    one.create("/k", b"0")
    return story, one, two


@BOTH
def test_an_honest_history_passes(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    one.set("/k", b"1", 0)
    two.set("/k", b"x", 0)  # refused
    two.get("/k")
    two.delete("/k", 7)
    two.create("/k/e", b"", FLAG_EPHEMERAL)
    one.create("/k/e/below")
    one.create("/k/s-", b"", FLAG_SEQUENTIAL)
    one.delete("/k")  # has children
    one.ask(OP_GET_CHILDREN2, encode_watched_path("/k"))
    multi = [(OP_CHECK, encode_versioned_path("/k", 1)), (OP_CREATE2, encode_create("/m", b"m", OPEN_ACL, 0))]
    one.ask(OP_MULTI, encode_multi(multi))
    two.ask(OP_MULTI, encode_multi(multi))
    two.ask(OP_MULTI, encode_multi(multi[:1]))
    two.sync()
    two.get("/m")
    two.connect()
    two.set("/k", b"2")
    two.close()
    one.get("/k/e")
    one.ask(OP_GET_CHILDREN2, encode_watched_path("/k"))
    assert findings(story.end(is_ledger_known=is_ledger_known)) == []


@BOTH
def test_a_every_change_has_a_zxid_of_its_own(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    first = one.set("/k", b"1")
    second = two.set("/k", b"2")
    history = spoiled(story.end(is_ledger_known=is_ledger_known), second, zxid=first.zxid)
    assert "I11" in ids(history)


@BOTH
def test_b_what_returned_first_has_the_lower_zxid(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    two.create("/other")
    first = one.set("/k", b"1")
    second = two.set("/other", b"2")
    history = story.end(is_ledger_known=is_ledger_known)
    spoiled(history, first, invoked_ns=second.returned_ns + 1, returned_ns=second.returned_ns + 2)
    assert "I11" in ids(history)


@BOTH
def test_b_what_overlaps_may_take_effect_either_way(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    sent_ns = story.now
    first = one.set("/k", b"1")
    second = two.set("/k", b"2", sent_ns=sent_ns)
    history = spoiled(story.end(is_ledger_known=is_ledger_known), first, returned_ns=second.returned_ns + 1)
    assert findings(history) == []


WRONG: dict[str, Callable[[Call], dict[str, object]]] = {
    "version": lambda call: {"body": stat(call, version=9)},
    "mzxid": lambda call: {"body": stat(call, mzxid=call.zxid - 1)},
    "pzxid": lambda call: {"body": stat(call, pzxid=call.zxid)},
    "owner": lambda call: {"body": stat(call, ephemeral_owner=1)},
    "mtime": lambda call: {"body": stat(call, mtime=1)},
    "error": lambda call: {"err": -103, "body": b""},
    "body": lambda call: {"body": b""},
    "more": lambda call: {"body": call.body + b"!"},
}


def stat(call: Call, **fields: int) -> bytes:
    """The Stat of a reply with other fields."""
    return write_stat(decode_stat(call.body)._replace(**fields))


@BOTH
@pytest.mark.parametrize("what", sorted(WRONG))
def test_c_every_result_and_field_is_that_of_the_order(what: str, is_ledger_known: bool) -> None:
    story, one, _ = two_clients()
    one.set("/k", b"1")
    call = one.set("/k", b"2")
    one.get("/k")
    history = spoiled(story.end(is_ledger_known=is_ledger_known), call, **WRONG[what](call))
    assert ids(history) & {"I11", "I7"}


@BOTH
def test_c_a_sequence_name_counts_the_creates(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    one.create("/q-", b"", FLAG_SEQUENTIAL)
    call = two.create("/q-", b"", FLAG_SEQUENTIAL)
    body = call.body.replace(b"0000000002", b"0000000003")
    assert body != call.body
    history = spoiled(story.end(is_ledger_known=is_ledger_known), call, body=body)
    assert ids(history) == ({"I14"} if is_ledger_known else {"I11"})


@BOTH
def test_c_a_refused_write_is_refused_at_its_zxid(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    two.set("/k", b"1")
    call = one.set("/k", b"2", 1)
    history = story.end(is_ledger_known=is_ledger_known)
    assert call.err == 0
    spoiled(history, call, err=-103, body=b"", zxid=call.zxid - 1)
    assert "I11" in ids(history)


@BOTH
def test_d_a_read_equals_the_tree_at_its_zxid(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    old = two.get("/k")
    one.set("/k", b"1")
    call = two.get("/k")
    history = story.end(is_ledger_known=is_ledger_known)
    assert ids(spoiled(history, call, body=old.body)) == {"I12"}


@BOTH
def test_d_a_plain_read_may_be_stale_but_not_for_its_session(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    old = two.get("/k")
    one.set("/k", b"1")
    stale = two.get("/k")
    history = spoiled(story.end(is_ledger_known=is_ledger_known), stale, zxid=old.zxid, body=old.body)
    assert findings(history) == [], "ZooKeeper allows it"
    other = one.get("/k")
    spoiled(history, other, zxid=old.zxid, body=old.body)
    assert ids(history) == {"I12"}, "its own write"


@BOTH
def test_d_a_read_sees_nothing_its_connection_sent_later(is_ledger_known: bool) -> None:
    story, one, _ = two_clients()
    read = one.get("/k")
    later = one.set("/k", b"1")
    after = one.get("/k")
    history = spoiled(story.end(is_ledger_known=is_ledger_known), read, zxid=later.zxid, body=after.body)
    assert "I12" in ids(history)


@BOTH
def test_f_sync_and_what_follows_shows_what_was_known(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    old = two.get("/k")
    one.set("/k", b"1")
    sync = two.sync()
    read = two.get("/k")
    history = story.end(is_ledger_known=is_ledger_known)
    spoiled(history, sync, zxid=old.zxid)
    assert "I11" in ids(spoiled(history, read, zxid=old.zxid, body=old.body))


@BOTH
def test_replies_of_a_connection_come_in_order(is_ledger_known: bool) -> None:
    story, one, _ = two_clients()
    first = one.get("/k")
    second = one.get("/k")
    history = spoiled(story.end(is_ledger_known=is_ledger_known), first, arrival=second.arrival + 1)
    assert ids(history) == {"I12"}


def test_without_a_ledger_a_reply_from_nowhere_is_found() -> None:
    story, one, _ = two_clients()
    call = one.get("/k")
    history = spoiled(story.end(), call, zxid=call.zxid + 1000)
    assert "I6" in ids(history)


# (e): unknown outcomes


@BOTH
@pytest.mark.parametrize("is_done", [True, False])
def test_e_an_unknown_write_took_effect_once_or_not_at_all(is_done: bool, is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    one.doubt(OP_SET_DATA, encode_set_data("/k", b"1", -1), is_done)
    two.get("/k")
    two.set("/k", b"2")
    two.get("/k")
    history = story.end(is_ledger_known=is_ledger_known)
    found, timeline = check_order(history)
    assert found == []
    assert timeline is not None
    assert len(timeline.executed) == is_done


@BOTH
def test_e_not_twice(is_ledger_known: bool) -> None:
    """The value is overwritten and comes back, as if the write had been done again."""
    story, one, two = two_clients()
    call = one.doubt(OP_SET_DATA, encode_set_data("/k", b"1", -1), True)
    two.get("/k")
    two.set("/k", b"2")
    story.apply(one.command(OP_SET_DATA, call.record))
    two.get("/k")
    assert ids(story.end(is_ledger_known=is_ledger_known)) & {"I11", "I12"}


@BOTH
def test_e_not_after_a_later_request_of_its_session(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    call = one.doubt(OP_SET_DATA, encode_set_data("/k", b"1", -1), False)
    one.set("/k", b"2")
    story.apply(one.command(OP_SET_DATA, call.record))
    two.get("/k")
    assert ids(story.end(is_ledger_known=is_ledger_known)) & {"I11", "I12"}


@BOTH
def test_e_the_effect_of_an_answered_write_that_never_was(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    call = one.doubt(OP_SET_DATA, encode_set_data("/k", b"1", -1), False)
    two.set("/k", b"2")
    two.get("/k")
    made = decode_stat(two.set("/k", b"3").body)
    history = story.end(is_ledger_known=is_ledger_known)
    body = write_stat(made._replace(version=1, mzxid=call.zxid, data_length=1))
    spoiled(history, call, returned_ns=call.invoked_ns + TICK_NS, arrival=9999, zxid=story.machine.zxid + 1, body=body)
    assert ids(history) & {"I8", "I11"}


@BOTH
def test_e_the_same_request_twice_once_unknown(is_ledger_known: bool) -> None:
    """A create asked for again says "node exists": it happened once. Either of two equal requests may be the one."""
    for is_done in (True, False):
        story, one, two = two_clients()
        record = encode_create("/n", b"1", OPEN_ACL, 0)
        one.doubt(OP_CREATE, record, is_done)
        one.connect()
        again = one.ask(OP_CREATE, record)
        assert again.err == (-110 if is_done else 0)
        two.get("/n")
        assert findings(story.end(is_ledger_known=is_ledger_known)) == []


@pytest.mark.parametrize("done", ["first", "second", "none"])
def test_e_of_two_equal_requests_the_reads_between_say_which_took_effect(done: str) -> None:
    """A delete without an answer, a read that still (or no more) sees the znode, the same delete again without an answer.
    The ledger holds one of them; taking the wrong one for it made a read that was right look stale (seed 10468)."""
    story, one, two = two_clients()
    record = encode_versioned_path("/k", -1)
    first = one.doubt(OP_DELETE, record, done == "first")
    one.connect()
    seen = one.get("/k")
    second = one.doubt(OP_DELETE, record, done == "second")
    two.get("/k")
    assert (seen.err == 0) == (done != "first")
    history = story.end()
    assert judge(history) == []
    timeline = check_order(history)[1]
    assert timeline is not None
    expected = {"first": [first], "second": [second], "none": []}[done]
    assert sorted(timeline.executed) == [(call.session, call.index) for call in expected]


@pytest.mark.parametrize("who", ["one", "two"])
def test_e_nothing_takes_effect_before_what_was_known_when_it_was_sent(who: str) -> None:
    """The ledger has the write where somebody was shown it; it is sent only afterwards. Nobody looks at the value."""
    story, one, two = two_clients()
    record = encode_set_data("/k", b"1", -1)
    story.now += TICK_NS
    story.apply(one.command(OP_SET_DATA, record))
    (one if who == "one" else two).exists("/nothing")
    story.now += 10 * TICK_NS
    call = one.send(OP_SET_DATA, record)
    story.now += TICK_NS
    story.recorder.unknown(call)
    assert ids(story.end()) == {"I12"}


def test_e_nothing_is_executed_for_a_session_that_asked_nothing() -> None:
    story, one, two = two_clients()
    story.apply(two.command(OP_CREATE, encode_create("/ghost", b"x", OPEN_ACL, 0)))
    one.get("/k")
    assert "I11" in ids(story.end())


def test_e_a_lost_write_among_many_equal_requests_without_an_answer_is_found_at_once() -> None:
    """Which of the equal ones the ledger holds could be chosen in so many ways that the search did not end."""
    story, one, _ = two_clients()
    record = encode_versioned_path("/k", 7)
    for number in range(60):
        one.doubt(OP_DELETE, record, number % 2 == 0)
    one.set("/k", b"x")
    story.ledger.pop()
    assert "I8" in ids(story.end())


@pytest.mark.parametrize("spoil", ["no list", "no node"])
def test_c_access_lists_are_compared(spoil: str) -> None:
    story, one, _ = two_clients()
    call = one.ask(OP_GET_ACL, encode_path("/k"))
    assert findings(story.end()) == []
    if spoil == "no list":
        history = spoiled(story.end(), call, body=bytes(4) + call.body[-68:])
    else:
        history = spoiled(story.end(), call, err=-101, body=b"")
    assert findings(history) != []


@BOTH
def test_e_an_unknown_delete_and_create_between_two_reads(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    one.doubt(OP_DELETE, encode_versioned_path("/k", -1), True)
    one.doubt(OP_CREATE, encode_create("/k", b"again", OPEN_ACL, 0), True)
    two.sync()
    two.get("/k")
    two.ask(OP_GET_CHILDREN2, encode_watched_path("/"))
    assert findings(story.end(is_ledger_known=is_ledger_known)) == []


@BOTH
def test_e_a_session_that_ended_unseen_took_its_ephemerals(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    two.create("/e", b"", FLAG_EPHEMERAL)
    two.die()
    one.get("/e")
    story.expire(two)
    one.set("/k", b"1")
    one.get("/e")
    one.ask(OP_GET_CHILDREN2, encode_watched_path("/"))
    assert findings(story.end(is_ledger_known=is_ledger_known)) == []


@BOTH
def test_e_a_close_of_unknown_outcome(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    two.create("/e", b"", FLAG_EPHEMERAL)
    call = two.close()
    one.get("/e")
    one.ask(OP_GET_CHILDREN2, encode_watched_path("/"))
    history = story.end(is_ledger_known=is_ledger_known)
    spoiled(history, call, returned_ns=0, zxid=0)
    assert findings(history) == []


def test_what_cannot_be_made_out_is_no_pass() -> None:
    story, one, _ = two_clients()
    call = one.get("/k")
    history = spoiled(story.end(is_ledger_known=False), call, zxid=call.zxid + 10_000_000)
    assert "undecided" in ids(history)


# What only the ledger shows


def test_an_acknowledged_write_stands_in_the_ledger() -> None:
    story, one, _ = two_clients()
    one.set("/k", b"1")
    history = story.end()
    chosen = history.ledger[-1]
    history.ledger[-1] = replace(chosen, commands=[])
    assert "I8" in ids(history)


def test_a_session_is_executed_in_its_order() -> None:
    story, one, _ = two_clients()
    one.set("/k", b"1", 5)
    one.set("/k", b"2", 6)
    history = story.end()
    history.ledger[-2:] = [
        replace(history.ledger[-1], slot=history.ledger[-2].slot),
        replace(history.ledger[-2], slot=history.ledger[-1].slot),
    ]
    assert ids(history) == {"I12"}


def test_a_request_is_executed_once() -> None:
    story, one, _ = two_clients()
    one.set("/k", b"1", 5)
    history = story.end()
    history.ledger.append(replace(history.ledger[-1], slot=len(history.ledger) + 1))
    assert ids(history) == {"I11"}


def test_a_request_of_a_connection_that_no_longer_owns_the_session_is_not_executed() -> None:
    story, one, _ = two_clients()
    record = encode_set_data("/k", b"1", -1)
    late = one.command(OP_SET_DATA, record)
    call = one.send(OP_SET_DATA, record)
    one.connect()
    story.apply(late)
    one.get("/k")
    history = story.end()
    found, timeline = check_order(history)
    assert found == []
    assert timeline is not None and (call.session, call.index) not in timeline.executed


def test_a_request_that_comes_when_its_session_is_over_does_nothing_and_breaks_no_order() -> None:
    story, one, two = two_clients()
    record = encode_set_data("/k", b"late", -1)
    late = two.command(OP_SET_DATA, record)
    two.send(OP_SET_DATA, record)
    two.connect()
    two.set("/k", b"1")
    two.close()
    story.apply(late)
    one.get("/k")
    assert findings(story.end()) == []


@BOTH
def test_a_request_behind_the_close_is_told_that_the_session_is_over(is_ledger_known: bool) -> None:
    story, one, two = two_clients()
    two.close()
    told = two.set("/k", b"late")
    one.get("/k")
    assert told.err == -112
    assert findings(story.end(is_ledger_known=is_ledger_known)) == []


def test_a_close_that_stands_nowhere() -> None:
    story, one, two = two_clients()
    call = two.send(OP_CLOSE_SESSION, b"")
    story.recorder.returned(call, story.now + 1, story.machine.zxid, 0, b"")
    one.get("/k")
    assert "I8" in ids(story.end())
