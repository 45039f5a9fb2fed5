"""Znodes as sequential objects: what the independent checker takes of a history, and what it refuses without any zxid."""

from msgspec.structs import replace
from stories import TICK_NS, Client, Story

from multipaxos.sim.judging import check_linearizability
from multipaxos.sim.linearizability import LINEARIZABLE, check, check_parts
from multipaxos.sim.recorded import Call, History
from multipaxos.sim.znode_objects import OnePath, WholeTree, operations_of, parts_of
from multipaxos.sim.zxid_order import check_order
from multipaxos.wire.zookeeper import (
    FLAG_EPHEMERAL,
    FLAG_SEQUENTIAL,
    OP_CHECK,
    OP_CREATE,
    OP_CREATE2,
    OP_DELETE,
    OP_GET_CHILDREN2,
    OP_MULTI,
    OP_SET_ACL,
    OP_SET_DATA,
    OPEN_ACL,
    encode_create,
    encode_multi,
    encode_set_acl,
    encode_set_data,
    encode_versioned_path,
    encode_watched_path,
)


def is_linearizable(history: History, is_whole: bool | None = None) -> bool:
    """The verdict: of both forms, which must agree, or of one."""
    timeline = check_order(history)[1] if history.ledger else None
    operations = operations_of(history, timeline)
    by_path = not check_parts(OnePath(), parts_of(operations))
    as_tree = check(WholeTree(), operations).verdict == LINEARIZABLE
    if is_whole is None:
        assert by_path == as_tree
    return by_path if is_whole is not True else as_tree


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


def test_an_honest_history_is_linearizable() -> None:
    for is_ledger_known in (True, False):
        story, one, two = two_clients()
        one.set("/k", b"1", 0)
        two.set("/k", b"x", 0)
        two.ask(OP_SET_ACL, encode_set_acl("/k", OPEN_ACL, 0))
        two.create("/e", b"", FLAG_EPHEMERAL)
        one.create("/e/below")
        one.create("/k/s-", b"", FLAG_SEQUENTIAL)
        one.delete("/k")
        multi = [(OP_CHECK, encode_versioned_path("/k", 1)), (OP_CREATE2, encode_create("/m", b"m", OPEN_ACL, 0))]
        one.ask(OP_MULTI, encode_multi(multi))
        one.ask(OP_MULTI, encode_multi(multi))
        two.doubt(OP_SET_DATA, encode_set_data("/k", b"2", -1), True)
        two.doubt(OP_CREATE, encode_create("/q-", b"", OPEN_ACL, FLAG_SEQUENTIAL), True)
        two.connect()
        one.get("/k")
        one.children("/")
        two.close()
        one.get("/e")
        one.ask(OP_GET_CHILDREN2, encode_watched_path("/"))
        history = story.end(is_ledger_known=is_ledger_known)
        assert is_linearizable(history)
        assert check_linearizability(history) == []


def test_a_read_behind_a_write_of_its_session_is_not_stale() -> None:
    story, one, two = two_clients()
    old = two.get("/k")
    one.set("/k", b"1")
    stale = two.get("/k")
    history = spoiled(story.end(), stale, body=old.body)
    assert is_linearizable(history), "it is behind the handshake alone, as ZooKeeper allows"
    story, one, two = two_clients()
    old = two.get("/k")
    one.set("/k", b"1")
    two.sync()
    stale = two.get("/k")
    assert not is_linearizable(spoiled(story.end(), stale, body=old.body))


def test_an_acknowledged_write_is_not_lost() -> None:
    story, one, two = two_clients()
    call = one.set("/k", b"1", 5)
    made = two.set("/k", b"2")
    assert call.err == -103
    assert not is_linearizable(spoiled(story.end(), call, err=0, body=made.body))


def test_an_unknown_write_happens_once_in_its_order() -> None:
    for is_ledger_known in (True, False):
        story, one, two = two_clients()
        one.doubt(OP_SET_DATA, encode_set_data("/k", b"1", -1), True)
        first = two.set("/k", b"2")
        two.get("/k")
        history = story.end(is_ledger_known=is_ledger_known)
        assert is_linearizable(history)
        again = story.machine
        assert again.zxid == first.zxid
        one.set("/k", b"3")
        last = two.get("/k")
        history = spoiled(history, last, body=last.body.replace(b"\0\0\0\x013", b"\0\0\0\x011"))
        assert not is_linearizable(history), "it would have been done again behind a later one of its session"


def test_what_the_ledger_does_not_hold_did_not_happen() -> None:
    story, one, two = two_clients()
    one.doubt(OP_DELETE, encode_versioned_path("/k", -1), False)
    two.sync()
    call = two.get("/k")
    history = spoiled(story.end(is_ledger_known=False), call, err=-101, body=b"")
    assert is_linearizable(history), "for all that clients know"
    history.ledger = list(story.ledger)
    _, timeline = check_order(history)
    assert not check_linearizability(history) and check_linearizability(history, timeline)


def test_only_the_whole_tree_sees_that_a_multi_is_atomic() -> None:
    story, one, two = two_clients()
    two.create("/l", b"0")
    before = two.get("/l")
    sets = [(OP_SET_DATA, encode_set_data(path, b"1", -1)) for path in ("/k", "/l")]
    one.ask(OP_MULTI, encode_multi(sets))
    two.sync()
    two.get("/k")
    late = two.get("/l")
    history = story.end()
    assert is_linearizable(history)
    multi = next(call for call in history.calls if call.opcode == OP_MULTI)
    long = multi.invoked_ns + 10 * TICK_NS  # nobody knows yet that it has returned
    spoiled(spoiled(history, multi, returned_ns=long), late, body=before.body)
    assert is_linearizable(history, False), "each path by itself"
    assert not is_linearizable(history, True)


def test_only_the_whole_tree_sees_children_and_sequence_numbers() -> None:
    story, one, two = two_clients()
    one.create("/q-", b"", FLAG_SEQUENTIAL)
    call = two.create("/q-", b"", FLAG_SEQUENTIAL)
    listed = one.children("/")
    history = story.end()
    assert is_linearizable(history)
    wrong = spoiled(history, listed, body=listed.body.replace(b"q-0000000001", b"q-0000000007"))
    assert is_linearizable(wrong, False) and not is_linearizable(wrong, True)
    wrong = spoiled(story.end(replicas=0), call, body=call.body.replace(b"0000000002", b"0000000009"))
    assert is_linearizable(wrong, False) and not is_linearizable(wrong, True)


def test_ephemerals_go_with_their_session() -> None:
    for how in ("closed", "told", "perhaps"):
        story, one, two = two_clients()
        two.create("/e", b"", FLAG_EPHEMERAL)
        shown = one.get("/e")
        if how == "closed":
            two.close()
        else:
            story.expire(two)
            story.now += 20_000 * TICK_NS
        if how == "told":
            two.is_told_the_end()
            story.now += TICK_NS
        one.sync()
        gone = one.get("/e")
        assert gone.err == -101
        history = story.end(is_ledger_known=False)
        assert is_linearizable(history)
        spoiled(history, gone, err=0, body=shown.body)
        assert is_linearizable(history) == (how == "perhaps")


def test_a_name_that_nobody_was_told() -> None:
    story, one, two = two_clients()
    one.doubt(OP_CREATE, encode_create("/q-", b"mine", OPEN_ACL, FLAG_SEQUENTIAL), True)
    two.get("/q-0000000001")
    two.delete("/q-0000000001")
    for is_ledger_known in (True, False):
        assert is_linearizable(story.end(is_ledger_known=is_ledger_known))


def test_a_refused_multi_says_what_it_found() -> None:
    story, one, two = two_clients()
    parts = [(OP_SET_DATA, encode_set_data("/k", b"1", 0)), (OP_CHECK, encode_versioned_path("/no", -1))]
    one.ask(OP_MULTI, encode_multi(parts))
    two.set("/k", b"2", 0)
    call = one.ask(OP_MULTI, encode_multi(parts))
    first = next(call for call in story.recorder.history().calls if call.opcode == OP_MULTI)
    history = story.end()
    assert is_linearizable(history) and call.body != first.body
    assert not is_linearizable(spoiled(history, call, body=first.body)), "version 0 was over by then"
