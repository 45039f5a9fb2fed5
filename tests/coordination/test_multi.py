"""multi and multiRead: all or nothing, one zxid, results as clients parse them (section 11; zk-2, zk-3)."""

import struct

import pytest
from asking import (
    CHECK,
    CONTAINER,
    CREATE,
    CREATE2,
    DELETE,
    MULTI,
    SET_ACL,
    SET_DATA,
    TTL,
    World,
    create_record,
    multi_record,
    results_of,
    set_acl_record,
    set_data_record,
    stat,
    string,
    versioned_record,
)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def client(world):
    return world.client()


def test_every_kind_of_result(world, client):
    client.made("/a")
    client.made("/old")
    before = world.machine.zxid
    result = client.multi(
        (CHECK, versioned_record("/a", 0)),
        (CREATE, create_record("/b", b"x")),
        (CREATE2, create_record("/c", b"yy")),
        (CONTAINER, create_record("/d", b"", 4)),
        (SET_DATA, set_data_record("/a", b"new", 0)),
        (DELETE, versioned_record("/old", 0)),
    )
    assert (result.err, result.zxid, world.machine.zxid) == (0, before + 1, before + 1)
    assert results_of(result.body) == [
        (13, 0, None),
        (1, 0, "/b"),
        (15, 0, ("/c", world.stat("/c"))),
        (15, 0, ("/d", world.stat("/d"))),
        (5, 0, world.stat("/a")),
        (2, 0, None),
    ]
    assert world.machine.changes == [
        (1, "/b"), (4, "/"), (1, "/c"), (4, "/"), (1, "/d"), (4, "/"), (3, "/a"), (2, "/old"), (4, "/"),
    ]  # fmt: skip
    assert world.stat("/b").czxid == world.stat("/c").czxid == world.stat("/a").mzxid == before + 1
    assert world.stat("/b").ctime == world.stat("/a").mtime == world.now


def test_golden_failure(world, client):
    client.made("/a")
    request = (
        "0000000d 00 ffffffff 00000002 2f61 00000000 00000002 00 ffffffff 00000002 2f62 ffffffff ffffffff 01 ffffffff"
    )
    reply = "ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b ffffffff 01 ffffffff"
    result = client.ask(MULTI, bytes.fromhex(request))
    assert (result.err, result.body) == (0, bytes.fromhex(reply))


def test_a_failure_undoes_nothing_because_nothing_was_done(world, client):
    client.made("/a", b"old")
    digest = world.machine.digest()
    result = client.multi(
        (CREATE, create_record("/b")),
        (SET_DATA, set_data_record("/a", b"new")),
        (CHECK, versioned_record("/a", 7)),
        (DELETE, versioned_record("/a")),
        (CREATE, create_record("/c")),
    )
    assert result.err == 0
    assert results_of(result.body) == [(-1, 0, 0), (-1, 0, 0), (-1, -103, -103), (-1, -2, -2), (-1, -2, -2)]
    assert world.machine.digest() == digest
    assert world.machine.changes == []
    assert world.data("/a") == b"old"


def test_operations_see_those_before_them(world, client):
    client.made("/p")
    results = results_of(
        client.multi(
            (CREATE, create_record("/p/x")),
            (CREATE, create_record("/p/x/y")),
            (CREATE, create_record("/p/x/s-", flags=2)),
            (CREATE, create_record("/p/x/s-", flags=3)),
            (SET_DATA, set_data_record("/p/x", b"1", 0)),
            (SET_DATA, set_data_record("/p/x", b"22", 1)),
            (CHECK, versioned_record("/p/x", 2)),
            (CREATE, create_record("/p/x/s-", flags=2)),
            (DELETE, versioned_record("/p/x/y", 0)),
            (CREATE, create_record("/p/x/y")),
            (CREATE, create_record("/p/s-", flags=2)),
        ).body
    )
    assert [content for _, _, content in results[:4]] == ["/p/x", "/p/x/y", "/p/x/s-0000000001", "/p/x/s-0000000002"]
    first, second = results[4][2], results[5][2]
    assert (first.version, first.data_length, second.version, second.data_length) == (1, 1, 2, 2)
    assert [results[7][2], results[10][2]] == ["/p/x/s-0000000003", "/p/s-0000000001"]
    after = world.stat("/p/x")
    assert (after.num_children, after.cversion, after.version) == (4, 6, 2)


def test_the_counter_is_seen_through_a_set_data_of_the_parent(client):
    client.made("/p")
    client.made("/p/a")
    client.made("/p/b")
    results = results_of(
        client.multi(
            (DELETE, versioned_record("/p/a")),
            (SET_DATA, set_data_record("/p", b"x")),
            (CREATE, create_record("/p/s-", flags=2)),
            (SET_DATA, set_data_record("/p", b"y")),
            (CREATE, create_record("/p/s-", flags=2)),
        ).body
    )
    assert [results[2][2], results[4][2]] == ["/p/s-0000000002", "/p/s-0000000003"]


def test_create_and_delete_of_one_node(world, client):
    client.made("/p")
    operations = [(CREATE, create_record("/p/x", flags=1)), (DELETE, versioned_record("/p/x", 0))] * 3
    results = results_of(client.multi(*operations).body)
    assert [kind for kind, _, _ in results] == [1, 2] * 3
    assert not world.exists("/p/x")
    assert not world.machine.sessions[client.session].ephemerals
    after = world.stat("/p")
    assert (after.cversion, after.num_children) == (6, 0)
    assert client.made("/p/s-", flags=2) == "/p/s-0000000003"


def test_a_node_made_again_starts_with_no_children_and_version_0(client):
    client.made("/p")
    client.made("/p/a")
    client.set("/p/a", b"x")
    results = results_of(
        client.multi(
            (DELETE, versioned_record("/p/a", 1)),
            (DELETE, versioned_record("/p", 0)),
            (CREATE, create_record("/p")),
            (CREATE, create_record("/p/s-", flags=2)),
            (CHECK, versioned_record("/p", 0)),
        ).body
    )
    assert results[3] == (1, 0, "/p/s-0000000000")
    again = [(CREATE, create_record("/q")), (CREATE, create_record("/q/s-", flags=2))]
    gone = [(DELETE, versioned_record("/q/s-0000000000")), (DELETE, versioned_record("/q"))]
    results = results_of(client.multi(*again, *gone, *again, *gone, *again).body)
    assert [results[index][2] for index in (1, 5, 9)] == ["/q/s-0000000000"] * 3


@pytest.mark.parametrize(
    ("operations", "index", "err"),
    [
        ([(CREATE, create_record("/e/x"))], 0, -108),
        ([(CREATE, create_record("/new", flags=1)), (CREATE, create_record("/new/x"))], 1, -108),
        ([(DELETE, versioned_record("/p"))], 0, -111),
        ([(CREATE, create_record("/f")), (CREATE, create_record("/f/x")), (DELETE, versioned_record("/f"))], 2, -111),
        ([(DELETE, versioned_record("/p/a")), (CHECK, versioned_record("/p/a"))], 1, -101),
        ([(DELETE, versioned_record("/p/a")), (SET_DATA, set_data_record("/p/a"))], 1, -101),
        (
            [(DELETE, versioned_record("/p/a")), (DELETE, versioned_record("/p")), (CREATE, create_record("/p/x"))],
            2,
            -101,
        ),
        ([(CREATE, create_record("/n")), (CREATE, create_record("/n"))], 1, -110),
        ([(CREATE, create_record("/n", acl=[(31, "digest", "u:h")])), (CREATE, create_record("/n/x"))], 1, -102),
        ([(SET_DATA, set_data_record("/p", b"", 0)), (SET_DATA, set_data_record("/p", b"", 0))], 1, -103),
        ([(TTL, create_record("/t", flags=5, ttl=9))], 0, -6),
        ([(DELETE, versioned_record("/zookeeper"))], 0, -8),
    ],
)
def test_failures_against_the_overlay(world, client, operations, index, err):
    for path in ("/p", "/p/a"):
        client.made(path)
    client.made("/e", flags=1)
    digest = world.machine.digest()
    results = results_of(client.multi(*operations).body)
    errors = [0] * index + [err] + [-2] * (len(operations) - index - 1)
    assert results == [(-1, each, each) for each in errors]
    assert world.machine.digest() == digest


def test_a_multi_that_changes_nothing_advances_nothing(world, client):
    client.made("/a")
    before = world.machine.zxid
    assert results_of(client.multi().body) == []
    assert results_of(client.multi((CHECK, versioned_record("/a", 0))).body) == [(13, 0, None)]
    assert world.machine.zxid == before


@pytest.mark.parametrize(
    "record",
    [
        multi_record((SET_ACL, set_acl_record("/a", []))),
        multi_record((4, string("/a") + b"\0")),
        multi_record((CREATE, create_record("/x")), (8, string("/a") + b"\0")),
        multi_record((9, string("/a"))),
        multi_record((-1, struct.pack(">i", 0))),
        multi_record((CREATE, create_record("/x")))[:-9],
        multi_record((CREATE, create_record(None))),
        b"",
    ],
)
def test_what_cannot_be_read_fails_as_a_whole(world, client, record):
    digest = world.machine.digest()
    result = client.ask(MULTI, record)
    assert (result.err, result.body, result.is_moved) == (-5, b"", False)
    assert world.machine.digest() == digest


def test_a_thousand_deletes(world, client):
    client.made("/p")
    client.multi(*[(CREATE, create_record(f"/p/{n}")) for n in range(1000)])
    assert world.machine.all_children_number("/p", ()) == (0, 1000)
    client.multi(*[(DELETE, versioned_record(f"/p/{n}")) for n in range(1000)], (DELETE, versioned_record("/p")))
    assert not world.exists("/p")


def test_multi_read(world, client):
    client.made("/a", b"data")
    client.made("/null", None)
    client.made("/a/y")
    client.made("/a/x")
    client.made("/shut", acl=[(2, "world", "anyone")])
    err, body = world.machine.multi_read(
        [(4, "/a"), (8, "/a"), (4, "/none"), (4, "/shut"), (4, "/null"), (8, "/null")], ()
    )
    assert err == 0
    expected = (
        struct.pack(">ibi", 4, 0, 0) + string("data") + world.machine.exists("/a", ())[1]
        + struct.pack(">ibi", 8, 0, 0) + struct.pack(">i", 2) + string("x") + string("y")
        + struct.pack(">ibi", -1, 0, -101) + struct.pack(">i", -101)
        + struct.pack(">ibi", -1, 0, -102) + struct.pack(">i", -102)
        + struct.pack(">ibi", 4, 0, 0) + struct.pack(">i", -1) + world.machine.exists("/null", ())[1]
        + struct.pack(">ibi", 8, 0, 0) + struct.pack(">i", 0)
        + struct.pack(">ibi", -1, 1, -1)
    )  # fmt: skip
    assert body == expected
    assert world.machine.multi_read([(5, "/a")], ()) == (-5, b"")
    assert world.machine.multi_read([], ()) == (0, struct.pack(">ibi", -1, 1, -1))


def test_the_stat_in_a_result_is_of_its_own_moment(client):
    client.made("/p")
    result = client.multi((CREATE2, create_record("/p/x")), (CREATE, create_record("/p/x/y")))
    assert results_of(result.body)[0][2][1].num_children == 0
    assert stat(client.world.machine.exists("/p/x", ())[1]).num_children == 1
