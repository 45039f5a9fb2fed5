"""What each operation does to a znode and its parent: section 8 of the client protocol, as a table of tests."""

import pytest
from asking import CONTAINER, CREATE, CREATE2, OPEN, SYNC, TTL, Stat, World, create_record, path_of, stat, string

from multipaxos.coordination import commands
from multipaxos.coordination.machine import SKIPPED
from multipaxos.coordination.tree import is_valid_path, next_version, wrap32

E = 1 << 32  # zxids of the first epoch


@pytest.fixture
def world():
    return World()


@pytest.fixture
def client(world):
    return world.client()  # zxid 1, so its id is 1


def test_a_fresh_tree(world):
    machine = world.machine
    assert machine.get_children("/", ())[1] == ["zookeeper"]
    assert machine.get_children("/zookeeper", ())[1] == ["config", "quota"]
    # Built-in children are no creates: cversion is minus their number, as a Java server reports it.
    assert world.stat("/") == Stat(cversion=-1, num_children=1)
    assert world.stat("/zookeeper") == Stat(cversion=-2, num_children=2)
    assert world.stat("/zookeeper/quota") == Stat()
    assert world.stat("/zookeeper/config") == Stat(aversion=-1)
    assert machine.zxid == E
    assert machine.node_count == 4


def test_create(world, client):
    result = client.create("/a", b"xyz")
    assert (result.err, result.zxid, path_of(result.body)) == (0, E + 2, ("/a", b""))
    assert world.stat("/a") == Stat(E + 2, E + 2, world.now, world.now, data_length=3, pzxid=E + 2)
    assert world.stat("/") == Stat(cversion=0, num_children=2, pzxid=E + 2)
    assert world.machine.changes == [(1, "/a"), (4, "/")]


def test_golden_create():
    world = World()
    client = world.client()
    record = bytes.fromhex(
        "00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000"
    )
    assert client.ask(CREATE, record).body == bytes.fromhex("00000002 2f61")
    assert world.data("/a") == b"x"


def test_create2_answers_with_the_stat_that_a_read_then_shows(world, client):
    result = client.create("/a", b"xyz", opcode=CREATE2)
    path, behind = path_of(result.body)
    assert path == "/a"
    assert behind == world.machine.exists("/a", ())[1]
    assert len(behind) == 68


def test_set_data(world, client):
    client.made("/a", b"x")
    born = world.now
    above = world.stat("/")
    result = client.set("/a", b"four")
    expected = Stat(E + 2, E + 3, born, world.now, version=1, data_length=4, pzxid=E + 2)
    assert (result.err, result.zxid, stat(result.body)) == (0, E + 3, expected)
    assert world.stat("/a") == expected
    assert world.stat("/") == above
    assert world.machine.changes == [(3, "/a")]


def test_null_and_empty_data_stay_apart(world, client):
    client.made("/null", None)
    client.made("/empty", b"")
    assert world.data("/null") is None
    assert world.data("/empty") == b""
    assert world.stat("/null").data_length == 0
    assert client.set("/empty", None).err == 0
    assert world.data("/empty") is None


def test_set_acl(world, client):
    client.made("/a", b"x")
    before = world.stat("/a")
    result = client.set_acl("/a", [(1, "world", "anyone"), (31, "ip", "127.0.0.1")])
    after = world.stat("/a")
    assert result.err == 0
    assert stat(result.body) == after
    assert (after.aversion, after.version, after.mzxid, after.mtime) == (1, 0, before.mzxid, before.mtime)
    assert world.machine.zxid == E + 3
    assert world.machine.changes == []


def test_delete_moves_the_parents_pzxid_and_reported_cversion_but_not_its_counter(world, client):
    client.made("/p")
    parent_before = world.stat("/p")
    client.made("/p/a")
    client.made("/p/b")
    assert world.stat("/p").cversion == 2
    result = client.delete("/p/a")
    assert (result.err, result.body) == (0, b"")
    after = world.stat("/p")
    assert (after.cversion, after.num_children, after.pzxid) == (3, 1, E + 5)
    assert (after.mzxid, after.mtime, after.version) == (parent_before.mzxid, parent_before.mtime, 0)
    assert world.machine.changes == [(2, "/p/a"), (4, "/p")]
    assert client.made("/p/s-", flags=2) == "/p/s-0000000002"


def test_a_childs_set_data_leaves_pzxid_alone(world, client):
    client.made("/p")
    client.made("/p/a")
    before = world.stat("/p")
    client.set("/p/a", b"new")
    assert world.stat("/p") == before


def test_version_restarts_when_a_node_is_made_again(world, client):
    client.made("/a")
    client.set("/a", b"1")
    client.made("/a/c")
    client.delete("/a/c")
    client.delete("/a")
    client.made("/a")
    again = world.stat("/a")
    assert (again.version, again.cversion, again.czxid, again.pzxid) == (0, 0, world.machine.zxid, world.machine.zxid)


def test_failures_advance_nothing(world, client):
    before = world.machine.zxid
    result = client.set("/missing")
    assert (result.err, result.zxid, result.body) == (-101, before, b"")
    assert world.machine.zxid == before
    assert world.machine.changes == []


def test_changes_are_those_of_the_last_command_alone(world, client):
    client.made("/a")
    client.set("/missing")
    assert (world.machine.changes, world.machine.guards) == ([], [])


# Modes.


def test_ephemeral(world, client):
    client.made("/e", flags=1)
    assert world.stat("/e").ephemeral_owner == client.session
    assert list(world.machine.sessions[client.session].ephemerals) == ["/e"]
    assert client.create("/e/child").err == -108
    assert client.create("/e/child", flags=1).err == -108
    assert client.delete("/e").err == 0
    assert not world.machine.sessions[client.session].ephemerals


def test_sequences_count_every_create_and_share_one_counter(client):
    client.made("/p")
    assert client.made("/p/a-", flags=2) == "/p/a-0000000000"
    assert client.made("/p/plain") == "/p/plain"
    assert client.made("/p/b-", flags=3) == "/p/b-0000000002"
    client.delete("/p/b-0000000002")
    assert client.made("/p/b-", flags=2) == "/p/b-0000000003"
    assert client.made("/p/", flags=2) == "/p/0000000004"
    assert client.made("/", flags=2) == "/0000000001"


def test_a_failed_create_uses_no_number(client):
    client.made("/p")
    client.create("/p/x/y", flags=2)
    assert client.create("/p/bad\x01", flags=2).err == -8
    assert client.made("/p/n", flags=2) == "/p/n0000000000"


def test_the_sequence_is_a_signed_32_bit_number(world, client):
    client.made("/p")
    client.made("/p/first")
    brood = world.machine.tree.nodes["/p"].brood
    assert brood is not None
    brood.creates = 2**31 - 1
    assert client.made("/p/n", flags=2) == "/p/n2147483647"
    assert client.made("/p/n", flags=2) == "/p/n-2147483648"
    assert client.made("/p/n", flags=2) == "/p/n-2147483647"
    brood.creates = -5
    assert client.made("/p/n", flags=2) == "/p/n-000000005"
    world.machine.digest()


def test_opcode_15_with_flags_4_makes_a_plain_node(world, client):
    # aiozk's ensure_path does so.
    assert client.create("/plain", flags=4, opcode=CREATE2).err == 0
    assert client.create("/plain1", flags=4).err == 0
    assert world.stat("/plain").ephemeral_owner == 0
    assert client.create("/plain/child", flags=1).err == 0


def test_containers(world, client):
    result = client.create("/c", b"x", flags=4, opcode=CONTAINER)
    path, behind = path_of(result.body)
    assert path == "/c"
    assert stat(behind) == world.stat("/c")
    assert world.stat("/c").ephemeral_owner == 0
    assert client.create("/c/child").err == 0
    assert path_of(client.create("/c/s-", flags=2, opcode=CONTAINER).body)[0] == "/c/s-0000000001"
    # Its flags do not make a container ephemeral.
    client.create("/c/e", flags=1, opcode=CONTAINER)
    assert not world.machine.sessions[client.session].ephemerals
    client.delete("/c/child")
    client.close()
    assert world.exists("/c/e")


@pytest.mark.parametrize(
    ("flags", "opcode", "ttl", "err"),
    [
        (5, TTL, 1000, -6),
        (6, TTL, 1000, -6),
        (0, TTL, 1000, -8),
        (0, TTL, -1, -6),
        (7, TTL, 1000, -8),
        (5, CREATE, None, -6),
        (6, CREATE2, None, -6),
        (7, CREATE, None, -8),
        (-1, CREATE, None, -8),
        (5, CONTAINER, None, -6),
    ],
)
def test_modes_that_are_refused(world, client, flags, opcode, ttl, err):
    assert client.create("/x", flags=flags, opcode=opcode, ttl=ttl).err == err
    assert not world.exists("/x")


# Versions and wraps.


def test_versions_wrap_and_leave_out_minus_one(world, client):
    client.made("/a")
    node = world.machine.tree.nodes["/a"]
    node.version = 2**31 - 1
    assert stat(client.set("/a").body).version == -(2**31)
    node.version = -2
    assert stat(client.set("/a").body).version == 0
    node.aversion = 2**31 - 1
    assert stat(client.set_acl("/a", OPEN).body).aversion == -(2**31)


def test_cversion_wraps(world, client):
    client.made("/p")
    client.made("/p/x")
    world.machine.tree.nodes["/p"].brood.creates = 2**30
    assert world.stat("/p").cversion == 2**31 - 1
    client.made("/p/y")  # 2 * (2^30 + 1) - 2
    assert world.stat("/p").cversion == -(2**31)


def test_arithmetic():
    assert [next_version(v) for v in (0, -1, -2, 2**31 - 1, -(2**31))] == [1, 0, 0, -(2**31), -(2**31) + 1]
    assert [wrap32(n) for n in (0, -1, 2**31, 2**32, -(2**31) - 1)] == [0, -1, -(2**31), 0, 2**31 - 1]


def test_version_arguments(client):
    client.made("/a")
    assert client.set("/a", b"", 1).err == -103
    assert client.set("/a", b"", 0).err == 0
    assert client.set("/a", b"", -1).err == 0
    assert client.set("/a", b"", -2).err == -103
    assert client.delete("/a", 1).err == -103
    assert client.set_acl("/a", OPEN, 1).err == -103
    assert client.set_acl("/a", OPEN, 0).err == 0
    assert client.delete("/a", 2).err == 0


# zxid and epoch (rule-R14).


def test_a_counter_that_is_used_up_begins_the_next_epoch(world, client):
    machine = world.machine
    machine.zxid = E + 2**32 - 2
    client.made("/last")
    assert machine.zxid == E + 2**32 - 1
    reign = machine.reign
    client.made("/next")
    assert machine.zxid == (2 << 32) + 1
    assert machine.epoch == 2
    assert machine.reign == reign  # decisions under way remain valid
    machine.begin_epoch(2, 131073)  # the ledger counts one epoch less
    assert (machine.epoch, machine.zxid, machine.reign) == (3, 3 << 32, 131073)
    machine.begin_epoch(7, 196609)
    assert (machine.epoch, machine.zxid) == (7, 7 << 32)


def test_begin_epoch_shows_no_events_of_an_earlier_command(world, client):
    client.made("/a")
    world.machine.begin_epoch(2, 65537)
    assert (world.machine.changes, world.machine.guards, world.machine.ended) == ([], [], [])


# Paths.


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/b", "/...", "/a b", "/Zoë", "/中", "/a/.b", "/\ud7ff", "/\uf900", "/\uffef"]
)
def test_valid_paths(path):
    assert is_valid_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "", "a", "a/b", "//", "/a/", "//a", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/\0", "/a\x01", "/\x1f", "/\x7f",
        "/\x85", "/\x9f", "/\ud800", "/\udfff", "/\ue000", "/\uf8ff", "/\ufff0", "/\uffff", "/\U0001f600", "/\U00100000",
    ],
)  # fmt: skip
def test_invalid_paths(path):
    assert not is_valid_path(path)


@pytest.mark.parametrize(
    ("path", "err"),
    [
        ("/", -110),
        ("//", -8),
        ("//x", -8),
        ("/a/", -8),
        ("/.", -8),
        ("/a/..", -8),
        ("a", -8),
        ("", -8),
        ("a/b", -101),
        ("/a//b", -101),
        ("/missing/bad\x01", -101),
        ("/a/bad\x01", -8),
        ("/nul\0", -8),
        ("/missing/nul\0", -8),
        (None, -5),
        (b"/caf\xe9", -8),
        (b"/\xed\xa0\xbd\xed\xb8\x80", -8),
        ("/😀", -8),
    ],
)
def test_create_with_odd_paths(client, path, err):
    client.made("/a")
    assert client.create(path).err == err


@pytest.mark.parametrize(
    ("path", "err"),
    [
        ("/", -8),
        ("/zookeeper", -8),
        ("/zookeeper/config", -8),
        ("/zookeeper/quota", -8),
        ("a", -8),
        ("", -8),
        ("/a/", -8),
        ("//", -8),
        (None, -5),
        ("/nul\x00", -8),
        ("/missing", -101),
        ("/missing/child", -101),
    ],
)
def test_delete_with_odd_paths(client, path, err):
    client.made("/a")
    assert client.delete(path).err == err


@pytest.mark.parametrize(("path", "err"), [("a", -8), ("", -8), ("/a/", -8), (None, -5), ("/missing", -101)])
def test_set_data_with_odd_paths(client, path, err):
    assert client.set(path).err == err
    assert client.set_acl(path, OPEN).err == err


# sync, reconfig, configured, and what never enters the ledger.


def test_sync_echoes_its_path_and_changes_nothing(world, client):
    digest = world.machine.digest()
    result = client.ask(SYNC, string("/any\xff/path"))
    assert (result.err, result.body, result.zxid) == (0, string("/any\xff/path"), world.machine.zxid)
    assert world.machine.digest() == digest
    assert client.ask(SYNC, string(None)).err == -5


@pytest.mark.parametrize("opcode", [0, 3, 4, 6, 8, 10, 11, 12, 13, 17, 18, 20, 22, 100, 101, -10, -11, -1, 2**31 - 1])
def test_what_does_not_belong_into_the_ledger_is_unimplemented(world, client, opcode):
    digest = world.machine.digest()
    assert client.ask(opcode, string("/")).err == -6
    assert client.ask(opcode, b"").err == -6
    assert world.machine.digest() == digest


def test_reconfig_is_disabled(client):
    assert client.ask(16, b"").err == -123


def test_configured(world):
    machine = world.machine
    machine.configured(b"server.1=h:1:2:participant;0.0.0.0:2181\nversion=100000000", 5000)
    found = world.stat("/zookeeper/config")
    assert (found.version, found.mzxid, found.mtime, found.czxid, found.pzxid) == (-1, E + 1, 5000, 0, 0)
    assert found.data_length == len(world.data("/zookeeper/config")) == 57
    assert machine.changes == [(3, "/zookeeper/config")]
    assert len(machine.guards) == 1
    machine.check()


def test_the_config_node_is_closed(world, client):
    assert client.set("/zookeeper/config").err == -102
    assert client.create("/zookeeper/config/x").err == -102
    assert client.create("/zookeeper/other").err == 0
    admin = world.client([("super", "")])
    assert admin.set("/zookeeper/config", b"x").err == 0


def test_results_are_not_built_unless_wanted(world, client):
    assert world.apply(client.command(CREATE2, create_record("/a")), wanted=False) is SKIPPED
    assert world.apply(client.command(CREATE2, create_record("/a")), wanted=False) is SKIPPED  # an error as well
    assert world.exists("/a")
    assert world.apply(commands.encode_attach(0, (1, 1, 99), 5, commands.NO_OWNER), wanted=False) is SKIPPED
    assert len(world.machine.sessions) == 2


# Reads.


def test_reads(world, client):
    client.made("/a", b"data")
    client.made("/a/y")
    client.made("/a/x")
    client.made("/a/x/deep")
    machine = world.machine
    assert machine.get_data("/a", ()) == (0, b"data", machine.exists("/a", ())[1])
    assert machine.get_data("/missing", ()) == (-101, None, b"")
    assert machine.get_children("/a", ())[:2] == (0, ["x", "y"])
    assert machine.get_children("/a/y", ())[:2] == (0, [])
    assert machine.get_children("/missing", ()) == (-101, [], b"")
    assert machine.all_children_number("/a", ()) == (0, 3)
    assert machine.all_children_number("/", ()) == (0, 7)
    assert machine.all_children_number("/missing", ())[0] == -101
    assert machine.exists("/missing", ()) == (-101, b"")
    assert machine.exists("/nul\0", ()) == (-8, b"")
    assert machine.get_acl("/a", ())[:2] == (0, [(31, "world", "anyone")])
    assert machine.get_acl("/missing", ()) == (-101, [], b"")


def test_ephemerals_by_prefix(world, client):
    client.made("/p")
    for path in ("/p/b", "/p/a", "/q"):
        client.made(path, flags=1)
    read = world.machine.ephemerals
    assert read(client.session, "") == read(client.session, "/") == ["/p/a", "/p/b", "/q"]
    assert read(client.session, "/p") == ["/p/a", "/p/b"]
    assert read(client.session, "/x") == []
    assert read(12345, "") == []


def test_deep_paths_need_no_recursion(world, client):
    path = ""
    for _ in range(3000):
        path += "/d"
        world.machine.apply(client.command(CREATE, create_record(path)), 1, False)
    assert world.machine.all_children_number("/d", ()) == (0, 2999)
    world.machine.digest()
    assert client.delete(path).err == 0
