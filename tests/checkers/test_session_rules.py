"""The judges of sessions and of the end: honest stories pass, and each rule is broken once."""

from msgspec.structs import replace
from stories import TICK_NS, Client, Story

from multipaxos.sim.convergence import check_convergence
from multipaxos.sim.recorded import ALIVE, History
from multipaxos.sim.session_rules import EXPIRY_BOUND_S, check_sessions
from multipaxos.sim.zxid_order import check_order
from multipaxos.wire.zookeeper import FLAG_EPHEMERAL, OP_CLOSE_SESSION, OP_SET_DATA, encode_set_data

SECOND_NS = 1_000_000_000


def ids(history: History) -> list[str]:
    """What the judge of sessions finds."""
    return sorted({finding.invariant for finding in check_sessions(history)})


def ends(history: History) -> list[str]:
    """What the judge of the end finds."""
    found, timeline = check_order(history)
    assert found == []
    return sorted({finding.invariant for finding in check_convergence(history, timeline)})


def two_clients() -> tuple[Story, Client, Client]:
    """A story of two clients; the second has an ephemeral."""
    story = Story()
    one, two = story.client(), story.client()
    one.create("/k", b"0")
    two.create("/e", b"", FLAG_EPHEMERAL)
    return story, one, two


def expired() -> tuple[Story, Client, Client]:
    """The second client fell silent, its session expired, and it was told so when it came back."""
    story, one, two = two_clients()
    two.lose()
    story.now += 11 * SECOND_NS
    story.recorder.mark(ALIVE, 0, one.session, one.connection, story.now, story.now - TICK_NS, 10_000)
    story.expire(two)
    one.get("/e")
    two.is_told_the_end()
    return story, one, two


def test_honest_ends_pass() -> None:
    story, one, two = expired()
    three = story.client()
    three.create("/e", b"", FLAG_EPHEMERAL)
    three.connect()
    three.close()
    one.sync()
    one.get("/e")
    history = story.end()
    assert ids(history) == [] and ends(history) == []
    assert two.session not in history.finals[0].sessions


def test_a_session_is_not_over_before_its_timeout() -> None:
    story, _, two = two_clients()
    two.lose()
    story.now += 5 * SECOND_NS
    two.is_told_the_end()
    assert ids(story.end()) == ["rule-R24"]


def test_an_answered_ping_is_a_sign_of_life() -> None:
    story, _, two = two_clients()
    story.now += 8 * SECOND_NS
    story.recorder.mark(ALIVE, 1, two.session, two.connection, story.now, story.now - TICK_NS, 10_000)
    story.now += 8 * SECOND_NS
    story.expire(two)
    two.is_told_the_end()
    assert ids(story.end()) == ["rule-R24"]


def test_nothing_is_done_for_a_session_that_is_over() -> None:
    story, _, two = expired()
    story.now += TICK_NS
    call = two.send(OP_SET_DATA, encode_set_data("/k", b"1", -1))
    story.recorder.returned(call, story.now + TICK_NS, story.machine.zxid, 0, b"")
    assert "rule-R24" in ids(story.end())


def test_a_refusal_is_no_success() -> None:
    story, _, two = expired()
    story.now += TICK_NS
    call = two.send(OP_SET_DATA, encode_set_data("/k", b"1", -1))
    story.recorder.returned(call, story.now + TICK_NS, story.machine.zxid, -112, b"")
    assert ids(story.end()) == []


def test_no_ephemeral_is_seen_of_a_session_that_was_told_to_be_over() -> None:
    story, one, two = two_clients()
    two.lose()
    story.now += 11 * SECOND_NS
    story.recorder.mark(ALIVE, 0, one.session, one.connection, story.now, story.now - TICK_NS, 10_000)
    two.is_told_the_end()  # which is not so: it still lives
    story.now += TICK_NS
    one.get("/e")
    assert ids(story.end()) == ["rule-R24"], "a read behind nothing may be stale"
    one.sync()
    one.get("/e")
    assert "I13" in ids(story.end())


def test_the_dead_do_not_live_for_ever() -> None:
    story, _, two = two_clients()
    two.die()
    story.now += 10 * SECOND_NS
    story.heal()
    story.now += (10 + EXPIRY_BOUND_S) * SECOND_NS
    for client in story.clients:
        story.recorder.mark(ALIVE, 0, client.session, client.connection, story.now, story.now, 10_000)
    history = story.end()
    assert ids(history) == [], "the bound has just been reached"
    history.finals = [replace(held, at_ns=held.at_ns + 2 * SECOND_NS) for held in history.finals]
    assert ids(history) == ["rule-R24"]


def test_the_living_keep_their_sessions() -> None:
    story, one, _ = two_clients()
    history = story.end()
    left = {session: timeout for session, timeout in history.finals[1].sessions.items() if session != one.session}
    history.finals[1] = replace(history.finals[1], sessions=left)
    assert ids(history) == ["rule-R24"]
    assert ends(history) == ["I7"]


def test_an_ephemeral_needs_its_session() -> None:
    story, _, two = two_clients()
    two.close()
    history = story.end()
    held = history.finals[0]
    history.finals[0] = replace(held, ephemerals={"/e": two.session})
    assert ids(history) == ["I13"]
    assert ends(history) == ["I13", "I7"]


def test_a_close_of_unknown_outcome_is_no_loss() -> None:
    story, _, two = two_clients()
    call = two.close()
    history = story.end()
    history.calls[history.calls.index(call)] = replace(call, returned_ns=0, zxid=0)
    assert call.opcode == OP_CLOSE_SESSION and ids(history) == [] and ends(history) == []


def test_replicas_agree_at_the_end() -> None:
    for fields in ({"digest": "another"}, {"applied": 3}, {"sessions": {}}, {"ephemerals": {"/e": 1}}):
        story, _, _ = two_clients()
        history = story.end()
        history.finals[2] = replace(history.finals[2], **fields)
        assert "I7" in ends(history)


def test_ledgers_agree_as_far_as_they_go() -> None:
    story, _, _ = two_clients()
    history = story.end()
    short = {slot: decree for slot, decree in history.finals[0].ledger.items() if slot > 2}
    history.finals[0] = replace(history.finals[0], ledger=short)
    assert ends(history) == []
    history.finals[1] = replace(history.finals[1], ledger={**history.finals[1].ledger, 3: "another"})
    assert ends(history) == ["I6"]


def test_all_replicas_alike_and_all_wrong() -> None:
    story, one, _ = two_clients()
    history = story.end()
    held = replace(history.finals[0], sessions={one.session: 10_000}, ephemerals={})
    history.finals = [held] * 3
    assert ends(history) == ["I13", "I7"]


def test_without_final_states_nothing_is_said_of_the_end() -> None:
    story, _, _ = two_clients()
    assert ends(story.end(replicas=0)) == []
