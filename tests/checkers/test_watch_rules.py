"""The judge of watches: an honest story passes, and each rule is broken once."""

from msgspec.structs import replace
from stories import Client, Story

from multipaxos.sim.recorded import ALIVE, Delivered, History
from multipaxos.sim.watch_rules import check_watches
from multipaxos.sim.zxid_order import check_order
from multipaxos.wire.zookeeper import (
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    FLAG_EPHEMERAL,
    OP_CHECK_WATCHES,
    OP_REMOVE_WATCHES,
    OP_SET_DATA,
    WATCH_PERSISTENT,
    WATCH_RECURSIVE,
    WATCHER_ANY,
    WATCHER_CHILDREN,
    WATCHER_DATA,
    encode_path_type,
    encode_set_data,
)


def complaints(history: History) -> list[str]:
    """What the judge says, as text."""
    found, timeline = check_order(history)
    assert found == [] and timeline is not None, "only the watches are at fault here"
    findings = check_watches(history, timeline)
    assert all(finding.invariant == "I15" for finding in findings)
    return [finding.text for finding in findings]


def two_clients() -> tuple[Story, Client, Client]:
    """A story of two clients and one znode."""
    story = Story()
    one, two = story.client(), story.client()
    one.create("/k", b"0")
    return story, one, two


def kinds(story: Story) -> list[tuple[int, str]]:
    """The events delivered."""
    return [(event.kind, event.path) for event in story.recorder.history().events]


def test_every_kind_of_watch_told_honestly() -> None:
    story, one, two = two_clients()
    two.get("/k", True)
    two.exists("/new", True)
    two.children("/", True)
    two.watch("/k", WATCH_PERSISTENT)
    two.watch("/", WATCH_RECURSIVE)
    one.set("/k", b"1")
    one.create("/new")
    one.create("/k/below", b"", FLAG_EPHEMERAL)
    one.create("/new/below")
    one.set("/k", b"2")
    two.set("/k", b"3")
    one.close()
    two.get("/k")
    told = kinds(story)
    assert told[:3] == [(EVENT_DATA_CHANGED, "/k"), (EVENT_CREATED, "/new"), (EVENT_CHILDREN_CHANGED, "/")]
    assert told[3:5] == [(EVENT_CREATED, "/k/below"), (EVENT_CHILDREN_CHANGED, "/k")]
    assert told[-2:] == [(EVENT_DELETED, "/k/below"), (EVENT_CHILDREN_CHANGED, "/k")]
    assert complaints(story.end()) == []


def watched() -> tuple[Story, Client, Client, Delivered]:
    """Client two watched /k, was told of its change, and has read it."""
    story, one, two = two_clients()
    two.get("/k", True)
    one.set("/k", b"1")
    two.get("/k")
    one.set("/k", b"2")
    two.get("/k")
    (event,) = story.recorder.history().events
    return story, one, two, event


def test_an_event_is_not_missed() -> None:
    story, _, _, event = watched()
    history = story.end()
    history.events.remove(event)
    assert "before event 3 of /k" in complaints(history)[0]


def test_a_one_shot_watch_fires_once() -> None:
    story, _, _, event = watched()
    history = story.end()
    history.events.append(replace(event, arrival=event.arrival))
    assert "does not watch, or was told of before" in complaints(history)[0]


def test_an_event_of_what_is_not_watched() -> None:
    story, one, two = two_clients()
    made = one.set("/k", b"1")
    two.get("/k")
    story.recorder.event(1, two.session, two.connection, story.now, EVENT_DATA_CHANGED, "/k", made.zxid)
    assert "does not watch" in complaints(story.end())[0]


def test_type_path_and_zxid_are_those_of_the_change() -> None:
    for fields in ({"kind": EVENT_CREATED}, {"path": "/other"}, {"zxid": 1}):
        story, _, _, event = watched()
        history = story.end()
        history.events[0] = replace(event, **fields)
        assert complaints(history)


def test_the_event_comes_before_the_reply_that_shows_the_change() -> None:
    story, _, two, event = watched()
    history = story.end()
    reply = next(call for call in history.calls if call.session == two.session and call.zxid >= event.zxid)
    history.events[0] = replace(event, arrival=reply.arrival)
    history.calls[history.calls.index(reply)] = replace(reply, arrival=event.arrival)
    assert "sees zxid" in complaints(history)[0]


def test_the_event_comes_before_the_answer_to_a_ping_that_shows_the_change() -> None:
    story, one, two = two_clients()
    two.get("/k", True)
    story.is_muted = True
    made = one.set("/k", b"1")
    story.recorder.mark(ALIVE, 1, two.session, two.connection, story.now, story.now, 10_000, made.zxid)
    assert "in an answer to a ping" in complaints(story.end())[0]


def test_events_come_in_the_order_of_zxids() -> None:
    story, one, two = two_clients()
    two.watch("/k", WATCH_PERSISTENT)
    one.set("/k", b"1")
    one.set("/k", b"2")
    history = story.end()
    first, second = history.events
    history.events = [replace(first, arrival=second.arrival), replace(second, arrival=first.arrival)]
    assert "missed event 3 of /k" in complaints(history)[0]


def test_a_broken_connection_owes_nothing() -> None:
    story, one, two = two_clients()
    two.get("/k", True)
    two.lose()
    one.set("/k", b"1")
    two.connect()
    two.get("/k")
    assert kinds(story) == []
    assert complaints(story.end()) == []


def test_persistent_and_recursive_watches_miss_nothing() -> None:
    for mode, path in ((WATCH_PERSISTENT, "/k"), (WATCH_RECURSIVE, "/")):
        story, one, two = two_clients()
        two.watch(path, mode)
        for number in range(5):
            one.set("/k", b"%d" % number)
        two.get("/k")
        history = story.end()
        assert len(history.events) == 5 and complaints(history) == []
        del history.events[2]
        assert complaints(history)


def test_a_recursive_watch_tells_nothing_of_children_and_of_neighbours() -> None:
    story, one, two = two_clients()
    two.watch("/k", WATCH_RECURSIVE)
    one.create("/k/a")
    one.create("/kk")
    one.set("/k/a", b"1")
    two.get("/k")
    assert kinds(story) == [(EVENT_CREATED, "/k/a"), (EVENT_DATA_CHANGED, "/k/a")]
    assert complaints(story.end()) == []


def reconnected(is_told: bool) -> tuple[Story, History]:
    """Client two watches, loses its connection, and sets its watches again after much has happened."""
    story, one, two = two_clients()
    one.create("/gone")
    one.create("/quiet")
    seen = two.get("/k", True).zxid
    two.lose()
    one.set("/k", b"1")
    one.delete("/gone")
    one.create("/new")
    two.connect()
    two.set_watches(seen, ["/k", "/quiet", "/gone"], ["/new", "/never"], ["/", "/quiet", "/gone"])
    one.set("/quiet", b"2")
    two.get("/quiet")
    history = story.end()
    if not is_told:
        history.events = [event for event in history.events if event.zxid > 0 or event.path != "/new"]
    return story, history


def test_set_watches_tells_exactly_what_was_missed() -> None:
    story, history = reconnected(True)
    assert kinds(story) == [
        (EVENT_DATA_CHANGED, "/k"),
        (EVENT_DELETED, "/gone"),
        (EVENT_CREATED, "/new"),
        (EVENT_CHILDREN_CHANGED, "/"),
        (EVENT_DATA_CHANGED, "/quiet"),
    ]
    assert complaints(history) == []
    assert "had missed" in complaints(reconnected(False)[1])[0]


def test_set_watches_tells_no_more() -> None:
    _, history = reconnected(True)
    made = next(event for event in history.events if event.zxid < 0)
    history.events.insert(0, replace(made, path="/quiet"))
    assert "by setWatches" in complaints(history)[0]
    _, history = reconnected(True)
    last = history.events[-1]
    history.events.append(replace(last, zxid=-1, arrival=last.arrival + 100))
    assert "out of nothing" in complaints(history)[0]


def test_watches_that_are_removed_and_asked_for() -> None:
    story, one, two = two_clients()
    two.get("/k", True)
    two.ask(OP_CHECK_WATCHES, encode_path_type("/k", WATCHER_DATA))
    two.ask(OP_CHECK_WATCHES, encode_path_type("/k", WATCHER_CHILDREN))
    two.ask(OP_REMOVE_WATCHES, encode_path_type("/k", WATCHER_ANY))
    wrong = two.ask(OP_REMOVE_WATCHES, encode_path_type("/k", WATCHER_ANY))
    one.set("/k", b"1")
    two.get("/k")
    history = story.end()
    assert history.events == [] and complaints(history) == []
    history.calls[history.calls.index(wrong)] = replace(wrong, err=0)
    assert "asks for a watch of /k, set: False" in complaints(history)[0]


def test_a_change_of_unknown_outcome_is_told_all_the_same() -> None:
    story, one, two = two_clients()
    two.get("/k", True)
    one.doubt(OP_SET_DATA, encode_set_data("/k", b"1", -1), True)
    two.get("/k")
    history = story.end()
    assert len(history.events) == 1 and complaints(history) == []
    history.events = []
    assert complaints(history)
