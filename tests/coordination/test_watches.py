"""Watches: who is told what, in which order, once (section 12; zk-4, zk-5)."""

import pytest
from asking import ADDRESS, ALICE, CREATE, DELETE, SET_DATA, World, create_record, set_data_record, versioned_record

from multipaxos.coordination.watches import CHILD, DATA, PERSISTENT, RECURSIVE, Watches

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4


class Watched:
    """A world whose every change is looked at."""

    def __init__(self):
        self.world = World()
        self.client = self.world.client()
        self.watches = Watches()

    def events(self, result):
        assert result.err == 0
        return self.watches.fired(self.world.machine.changes, self.world.machine.guards)


@pytest.fixture
def watched():
    return Watched()


def test_data_watches(watched):
    client, watches = watched.client, watched.watches
    for step, event in [
        (lambda: client.create("/a"), (7, CREATED, "/a")),
        (lambda: client.set("/a"), (7, CHANGED, "/a")),
        (lambda: client.delete("/a"), (7, DELETED, "/a")),
    ]:
        watches.add("/a", 7, DATA)
        watches.add("/a", 7, DATA)
        assert watches.count == 1
        assert watched.events(step()) == [event]
        assert watches.count == 0
    assert watched.events(client.create("/a")) == []


def test_child_watches(watched):
    client, watches = watched.client, watched.watches
    client.made("/a")
    watches.add("/a", 7, CHILD)
    assert watched.events(client.set("/a")) == []
    assert watched.events(client.create("/a/x")) == [(7, CHILDREN, "/a")]
    assert watched.events(client.create("/a/y")) == []
    watches.add("/a", 7, CHILD)
    assert watched.events(client.set("/a/x")) == []
    assert watched.events(client.delete("/a/x")) == [(7, CHILDREN, "/a")]
    watches.add("/a", 7, CHILD)
    client.delete("/a/y")
    watches.add("/a", 8, CHILD)
    assert watched.events(client.delete("/a")) == [(7, DELETED, "/a"), (8, DELETED, "/a")]
    assert watches.count == 0


def test_a_delete_is_told_once_and_before_the_parents_event(watched):
    client, watches = watched.client, watched.watches
    client.made("/a")
    for mode in (DATA, CHILD, PERSISTENT, RECURSIVE):
        watches.add("/a", 7, mode)
    watches.add("/", 7, CHILD)
    watches.add("/", 7, RECURSIVE)
    watches.add("/", 8, CHILD)
    assert watched.events(client.delete("/a")) == [(7, DELETED, "/a"), (7, CHILDREN, "/"), (8, CHILDREN, "/")]
    assert watches.count == 3


def test_grandparents_are_not_told(watched):
    client, watches = watched.client, watched.watches
    client.made("/a")
    client.made("/a/b")
    watches.add("/", 7, CHILD)
    watches.add("/a", 7, DATA)
    assert watched.events(client.create("/a/b/c")) == []


def test_set_acl_and_check_tell_nobody(watched):
    client, watches = watched.client, watched.watches
    client.made("/a")
    watches.add("/a", 7, DATA | CHILD | PERSISTENT | RECURSIVE)
    assert watched.events(client.set_acl("/a", [(31, "world", "anyone")])) == []
    assert watched.events(client.multi((13, versioned_record("/a")))) == []


def test_persistent(watched):
    client, watches = watched.client, watched.watches
    assert watches.add_watch("/a", 7, 0)
    assert watched.events(client.create("/a")) == [(7, CREATED, "/a")]
    assert watched.events(client.set("/a")) == [(7, CHANGED, "/a")]
    assert watched.events(client.create("/a/x")) == [(7, CHILDREN, "/a")]
    assert watched.events(client.set("/a/x")) == []
    assert watched.events(client.delete("/a/x")) == [(7, CHILDREN, "/a")]
    assert watched.events(client.delete("/a")) == [(7, DELETED, "/a")]
    assert watches.count == 1


def test_persistent_recursive(watched):
    client, watches = watched.client, watched.watches
    assert watches.add_watch("/a", 7, 1)
    assert watches.add_watch("/", 8, 1)
    assert not watches.add_watch("/a", 7, 2)
    assert watched.events(client.create("/a")) == [(7, CREATED, "/a"), (8, CREATED, "/a")]
    assert watched.events(client.create("/a/x")) == [(7, CREATED, "/a/x"), (8, CREATED, "/a/x")]
    assert watched.events(client.set("/a/x")) == [(7, CHANGED, "/a/x"), (8, CHANGED, "/a/x")]
    assert watched.events(client.create("/ab")) == [(8, CREATED, "/ab")]
    assert watched.events(client.set("/")) == [(8, CHANGED, "/")]
    assert watched.events(client.delete("/a/x")) == [(7, DELETED, "/a/x"), (8, DELETED, "/a/x")]
    watches.drop(8)
    assert watched.events(client.set("/ab")) == []
    assert watched.events(client.set("/a")) == [(7, CHANGED, "/a")]


def test_one_event_per_connection_however_many_watches_match(watched):
    client, watches = watched.client, watched.watches
    client.made("/a")
    for mode in (DATA, PERSISTENT, RECURSIVE):
        watches.add("/a", 7, mode)
    watches.add("/", 7, RECURSIVE)
    assert watched.events(client.set("/a")) == [(7, CHANGED, "/a")]
    assert not watches.has("/a", 7, 2)
    assert watches.has("/a", 7, 4) and watches.has("/a", 7, 5)


def test_events_of_a_multi_come_in_its_order(watched):
    client, watches = watched.client, watched.watches
    client.made("/a")
    watches.add("/a", 7, PERSISTENT)
    watches.add("/a/x", 7, PERSISTENT)
    result = client.multi(
        (CREATE, create_record("/a/x")),
        (SET_DATA, set_data_record("/a")),
        (SET_DATA, set_data_record("/a/x")),
        (DELETE, versioned_record("/a/x")),
    )
    assert watched.events(result) == [
        (7, CREATED, "/a/x"), (7, CHILDREN, "/a"), (7, CHANGED, "/a"), (7, CHANGED, "/a/x"), (7, DELETED, "/a/x"),
        (7, CHILDREN, "/a"),
    ]  # fmt: skip


def test_events_of_an_ending_session_come_in_the_order_of_the_paths(watched):
    client, watches = watched.client, watched.watches
    other = watched.world.client()
    other.made("/p")
    for path in ("/p/b", "/p/a"):
        client.made(path, flags=1)
        watches.add(path, 7, DATA)
    watches.add("/p", 7, CHILD)
    assert watched.events(client.close()) == [(7, DELETED, "/p/a"), (7, CHILDREN, "/p"), (7, DELETED, "/p/b")]


def test_connections_are_told_in_the_order_they_set_their_watches(watched):
    for connection in (9, 3, 5):
        watched.watches.add("/a", connection, DATA)
    assert [each for each, _, _ in watched.events(watched.client.create("/a"))] == [9, 3, 5]


def test_a_configuration_is_told(watched):
    watched.watches.add("/zookeeper/config", 7, DATA)
    watched.world.machine.configured(b"version=1", 5)
    machine = watched.world.machine
    assert watched.watches.fired(machine.changes, machine.guards) == [(7, CHANGED, "/zookeeper/config")]


# Who may read is told.


def test_events_are_dropped_for_who_may_not_read_the_node_as_it_was(watched):
    watches = watched.watches
    client = watched.world.client([ADDRESS, ALICE])
    client.made("/a", acl=[(31, *ALICE)])
    for connection in (7, 8):
        watches.add("/a", connection, DATA)
        watches.add("/a/x", connection, PERSISTENT)
    watches.identify(8, [ALICE])
    assert watched.events(client.set("/a")) == [(8, CHANGED, "/a")]
    assert watches.count == 2, "used up all the same"
    watches.add("/a", 7, CHILD)
    watches.add("/a", 8, CHILD)
    # The node may be read by all, its parent may not.
    assert watched.events(client.create("/a/x")) == [
        (7, CREATED, "/a/x"), (8, CREATED, "/a/x"), (8, CHILDREN, "/a"),
    ]  # fmt: skip
    client.delete("/a/x")
    watches.add("/a", 7, DATA)
    watches.add("/a", 8, DATA)
    assert watched.events(client.delete("/a")) == [(8, DELETED, "/a")]


def test_a_recursive_watch_shows_nothing_of_what_may_not_be_read(watched):
    client = watched.world.client([ADDRESS, ALICE])
    watched.watches.add_watch("/", 7, 1)
    assert watched.events(client.create("/hidden", acl=[(31, *ALICE)])) == []
    assert watched.events(client.set("/hidden")) == []
    assert watched.events(client.create("/shown")) == [(7, CREATED, "/shown")]


def test_without_guards_everybody_is_told(watched):
    client = watched.world.client([ADDRESS, ALICE])
    watched.watches.add("/a", 7, DATA)
    client.made("/a", acl=[(31, *ALICE)])
    assert watched.watches.fired(watched.world.machine.changes) == [(7, CREATED, "/a")]


# Asking, removing, dropping.

TYPES = {CHILD: 1, DATA: 2, PERSISTENT: 4, RECURSIVE: 5}


@pytest.mark.parametrize("mode", TYPES)
def test_check_and_remove(mode):
    watches = Watches()
    watches.add("/a", 7, mode)
    watches.add("/a", 8, mode)
    for kind in (1, 2, 4, 5):
        assert watches.has("/a", 7, kind) == (kind == TYPES[mode])
        if kind != TYPES[mode]:
            assert not watches.remove("/a", 7, kind)
    assert watches.has("/a", 7, 3)
    assert not watches.has("/a", 9, 3)
    assert not watches.has("/b", 7, 3)
    for unknown in (0, -1, 6):
        assert not watches.has("/a", 7, unknown)
        assert not watches.remove("/a", 7, unknown)
    assert watches.remove("/a", 7, TYPES[mode])
    assert not watches.remove("/a", 7, TYPES[mode])
    assert watches.has("/a", 8, TYPES[mode])
    assert watches.remove("/a", 8, 3)
    assert (watches.count, watches.path_count, watches.connection_count) == (0, 0, 0)


def test_remove_any_takes_all_modes():
    watches = Watches()
    watches.add("/a", 7, DATA)
    watches.add("/a", 7, CHILD)
    watches.add("/a", 7, PERSISTENT)
    watches.add("/a", 7, RECURSIVE)
    assert watches.count == 4
    assert watches.remove("/a", 7, 3)
    assert watches.count == 0
    assert watches.fired([(CREATED, "/a/b")]) == []


def test_drop_forgets_one_connection():
    watches = Watches()
    for number in range(50):
        watches.add(f"/{number}", 7, DATA | PERSISTENT)
        watches.add(f"/{number}", 8, RECURSIVE)
    assert (watches.count, watches.path_count, watches.connection_count) == (150, 50, 2)
    assert watches.watching() == [7, 8]
    assert watches.paths_of(7) == sorted(f"/{number}" for number in range(50))
    watches.drop(7)
    watches.drop(7)
    assert (watches.count, watches.connection_count, watches.paths_of(7)) == (50, 1, [])
    watches.drop(8)
    assert (watches.count, watches.path_count, watches.connection_count) == (0, 0, 0)


# setWatches.


def test_set_watches(watched):
    client, machine, watches = watched.client, watched.world.machine, watched.watches
    for path in ("/same", "/set", "/kids", "/gone", "/gone-kid", "/same-kids"):
        client.made(path)
    seen = machine.zxid
    client.set("/set")
    client.made("/kids/x")
    client.delete("/gone")
    client.delete("/gone-kid")
    client.made("/came")
    missed = watches.set_watches(
        machine,
        7,
        seen,
        data=["/same", "/set", "/kids", "/gone", "/never"],
        exist=["/came", "/absent"],
        child=["/same-kids", "/kids", "/gone", "/gone-kid", "/set"],
        persistent=["/kids"],
        recursive=["/set"],
    )
    assert missed == [
        (CHANGED, "/set"), (DELETED, "/gone"), (DELETED, "/never"), (CREATED, "/came"), (CHILDREN, "/kids"),
        (DELETED, "/gone-kid"),
    ]  # fmt: skip
    standing = {path: [k for k in (1, 2, 4, 5) if watches.has(path, 7, k)] for path in watches.paths_of(7)}
    assert standing == {"/same": [2], "/kids": [2, 4], "/absent": [2], "/same-kids": [1], "/set": [1, 5]}


def test_set_watches_looks_for_what_came_after_the_zxid_seen(watched):
    client, machine, watches = watched.client, watched.world.machine, watched.watches
    client.made("/a")
    seen = machine.zxid
    assert watches.set_watches(machine, 7, seen, ["/a"], [], ["/a"]) == []
    assert watches.set_watches(machine, 7, seen - 1, ["/a"], [], ["/a"]) == [(CHANGED, "/a"), (CHILDREN, "/a")]


def test_set_watches_says_nothing_of_what_may_not_be_read(watched):
    machine, watches = watched.world.machine, watched.watches
    client = watched.world.client([ADDRESS, ALICE])
    client.made("/a", acl=[(31, *ALICE)])
    paths = (["/a"], ["/a"], ["/a"])
    assert watches.set_watches(machine, 7, 0, *paths) == []
    watches.identify(7, [ALICE])
    assert watches.set_watches(machine, 7, 0, *paths) == [(CHANGED, "/a"), (CREATED, "/a"), (CHILDREN, "/a")]
    assert watches.count == 0


def test_a_delete_of_a_child_moves_pzxid_and_so_a_child_watch_sees_it(watched):
    client, machine = watched.client, watched.world.machine
    client.made("/p")
    client.made("/p/x")
    seen = machine.zxid
    client.set("/p/x")
    assert watched.watches.set_watches(machine, 7, seen, [], [], ["/p"]) == []
    client.delete("/p/x")
    assert watched.watches.set_watches(machine, 7, seen, [], [], ["/p"]) == [(CHILDREN, "/p")]
