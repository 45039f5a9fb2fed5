"""Access control lists: what is accepted, what they permit, what is shown (section 13; zk-12)."""

import pytest
from asking import ADDRESS, ALICE, BOB, OPEN, SUPER, World, create_record

from multipaxos.coordination.acl import Acl, is_inside, masked, parse_address, parse_network, permits

READ, WRITE, CREATE, DELETE, ADMIN = 1, 2, 4, 8, 16


NETWORKS = [(1, "ip", "10.0.0.0/8"), (1, "ip", "::1"), (1, "ip", "fe80::/10")]


@pytest.fixture
def world():
    return World()


def stored(world, path):
    err, entries, _ = world.machine.get_acl(path, (SUPER,))
    assert err == 0
    return entries


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (OPEN, OPEN),
        (OPEN + OPEN, OPEN),
        ([*OPEN, (31, "digest", "u:h"), *OPEN], [*OPEN, (31, "digest", "u:h")]),
        ([(31, "auth", "")], [(31, *ALICE), (31, *BOB)]),
        ([(31, "auth", None)], [(31, *ALICE), (31, *BOB)]),
        ([(31, "auth", "whatever")], [(31, *ALICE), (31, *BOB)]),
        ([(31, *BOB), (31, "auth", "")], [(31, *BOB), (31, *ALICE)]),
        (NETWORKS, NETWORKS),
        ([(0, "digest", ":")], [(0, "digest", ":")]),
        ([(-1, "digest", b"\xff:\xfe")], [(-1, "digest", "\udcff:\udcfe")]),
    ],
)  # fmt: skip
def test_lists_as_stored(world, given, kept):
    client = world.client([ADDRESS, ALICE, BOB])
    assert client.create("/a", acl=given).err == 0
    assert stored(world, "/a") == kept
    client.made("/b")
    assert client.set_acl("/b", given).err == 0
    assert stored(world, "/b") == kept


@pytest.mark.parametrize(
    "acl",
    [
        [],
        None,
        [(31, "world", "someone")],
        [(31, "world", None)],
        [(31, "world", "")],
        [(31, None, "anyone")],
        [(31, "", "")],
        [(31, "digest", "nocolon")],
        [(31, "digest", "a:b:c")],
        [(31, "digest", None)],
        [(31, "ip", "localhost")],
        [(31, "ip", "1.2.3.4/33")],
        [(31, "super", "")],
        [(31, "x509", "CN=x")],
        [(31, "sasl", "u")],
        [(31, "auth", "")],  # this connection has an address only
        [(31, "world", "anyone"), (31, "nonsense", "x")],
    ],
)
def test_invalid_lists(world, acl):
    client = world.client()
    client.made("/a")
    assert client.create("/b", acl=acl).err == -114
    assert client.set_acl("/a", acl).err == -114


OPERATIONS = {
    "create": lambda c: c.create("/n/new").err,
    "delete": lambda c: c.delete("/n/child").err,
    "set": lambda c: c.set("/n").err,
    "set_acl": lambda c: c.set_acl("/n", OPEN).err,
    "get": lambda c: c.world.machine.get_data("/n", c.ids)[0],
    "children": lambda c: c.world.machine.get_children("/n", c.ids)[0],
    "exists": lambda c: c.world.machine.exists("/n", c.ids)[0],
    "number": lambda c: c.world.machine.all_children_number("/n", c.ids)[0],
    "get_acl": lambda c: c.world.machine.get_acl("/n", c.ids)[0],
}
NEEDED = {
    "create": CREATE, "delete": DELETE, "set": WRITE, "set_acl": ADMIN, "get": READ, "children": READ, "exists": READ,
    "number": READ, "get_acl": READ | ADMIN,
}  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "perms", [0, READ, WRITE, CREATE, DELETE, ADMIN, 31, 31 ^ READ ^ ADMIN, 31 ^ CREATE, 31 ^ DELETE]
)
def test_which_permission_each_operation_needs(world, operation, perms):
    owner = world.client()
    owner.made("/n")
    owner.made("/n/child", acl=[(0, "world", "anyone")])  # delete asks the parent alone
    assert owner.set_acl("/n", [(perms, *ALICE)]).err == 0
    expected = 0 if perms & NEEDED[operation] else -102
    assert OPERATIONS[operation](world.client([ADDRESS, BOB])) == -102
    assert OPERATIONS[operation](world.client([ADDRESS, BOB, ALICE])) == expected


def test_super_passes_every_check(world):
    owner = world.client()
    owner.made("/n", acl=[(0, "world", "anyone")])
    assert owner.set("/n").err == -102
    admin = world.client([ADDRESS, SUPER])
    for operation in ("set", "get", "get_acl", "set_acl"):
        assert OPERATIONS[operation](admin) == 0


def test_hashes_are_hidden_from_who_may_not_administer(world):
    owner = world.client([ADDRESS, ALICE])
    acl = [(31, *ALICE), (1, "digest", "bob:secret"), (1, "world", "anyone"), (1, "ip", "1.2.3.4")]
    owner.made("/n", acl=acl)
    assert world.machine.get_acl("/n", [ALICE])[1] == acl
    shown = [(31, "digest", "alice:x"), (1, "digest", "bob:x"), (1, "world", "anyone"), (1, "ip", "1.2.3.4")]
    assert world.machine.get_acl("/n", [ADDRESS])[1] == shown
    assert masked([(1, "digest", "a:b:c")]) == [(1, "digest", "a:x")]


def test_ids_of_a_connection_may_change_between_requests(world):
    client = world.client()
    client.made("/n", acl=[(WRITE, *ALICE)])
    assert client.set("/n").err == -102
    client.ids = (ADDRESS, ALICE)
    assert client.set("/n").err == 0
    client.ids = (ADDRESS, BOB)
    assert client.set("/n").err == -102
    client.ids = ()
    assert client.set("/n").err == -102
    client.ids = (ALICE,)
    assert client.set("/n").err == 0


def test_a_list_that_begins_like_another_is_another(world):
    # The machine remembers the last ids of a session by their bytes: no list may pass for a longer one.
    client = world.client()
    client.made("/n", acl=[(WRITE, "digest", "u:hash")])
    client.ids = (("digest", "u:hash"),)
    assert client.set("/n").err == 0
    client.ids = (("digest", "u:has"),)
    assert client.set("/n").err == -102
    client.ids = (("digest", "u:hash"), ADDRESS)
    assert client.set("/n").err == 0


def test_equal_lists_are_one_object_and_unused_ones_are_forgotten(world):
    client = world.client([ADDRESS, ALICE])
    table = world.machine.tree.acls
    before = len(table)
    for number in range(5):
        client.made(f"/{number}", acl=[(31, *ALICE)])
    assert len(table) == before + 1
    other = [(31, *BOB), (31, *ALICE)]
    client.multi((1, create_record("/m0", acl=other)), (1, create_record("/m1", acl=other)))
    assert len(table) == before + 2
    for number in range(5):
        client.delete(f"/{number}")
    client.set_acl("/m0", OPEN)
    assert len(table) == before + 1
    client.set_acl("/m1", OPEN)
    assert len(table) == before
    for path in ("/", "/zookeeper", "/zookeeper/quota"):
        assert client.set_acl(path, [(31, *ALICE), (31, "world", "anyone")]).err == 0
    client.made("/again")
    world.machine.check()


def test_a_list_without_entries_lets_everybody_pass():
    assert permits(Acl(()), 31, ())


# Addresses.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.0.0.0", (32, 0)),
        ("1.2.3.4", (32, 0x01020304)),
        ("255.255.255.255", (32, 2**32 - 1)),
        ("001.002.003.004", (32, 0x01020304)),
        ("::", (128, 0)),
        ("::1", (128, 1)),
        ("1::", (128, 1 << 112)),
        ("1:2:3:4:5:6:7:8", (128, 0x00010002000300040005000600070008)),
        ("fe80::AbCd", (128, (0xFE80 << 112) | 0xABCD)),
        ("::ffff:1.2.3.4", (128, 0xFFFF01020304)),
        ("1:2:3:4:5:6:1.2.3.4", (128, 0x00010002000300040005000601020304)),
        ("1::8", (128, (1 << 112) | 8)),
    ],
)
def test_addresses(text, value):
    assert parse_address(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.-4", "1.2.3.+4", "1.2.3. 4", "1.2.3.0x4", "1.2.3.٤", "1.2.3.0004",
        ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8", "12345::", "g::", "::-1",
        "1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", ":1:2:3:4:5:6:7", "fe80::1%eth0", "::²",
    ],
)  # fmt: skip
def test_no_addresses(text):
    assert parse_address(text) is None


def test_networks():
    assert parse_network("10.0.0.0/8") == (32, 0x0A000000, 8)
    assert parse_network("::1/128") == (128, 1, 128)
    for text in ("1.2.3.4/", "1.2.3.4/33", "1.2.3.4/-1", "::/129", "/8", "1.2.3.4/8/8", "1.2.3.4/08x"):
        assert parse_network(text) is None
    assert is_inside("10.200.3.4", "10.0.0.0/8")
    assert not is_inside("11.0.0.0", "10.0.0.0/8")
    assert is_inside("1.2.3.4", "99.9.9.9/0")
    assert is_inside("1.2.3.4", "1.2.3.4") and not is_inside("1.2.3.5", "1.2.3.4")
    assert is_inside("fe80::1%eth0", "fe80::/10")
    assert not is_inside("::1", "0.0.0.0/0")
    assert not is_inside("garbage", "0.0.0.0/0")


def test_an_ip_entry_permits_by_prefix(world):
    owner = world.client()
    owner.made("/n", acl=[(WRITE, "ip", "10.1.0.0/16")])
    assert world.client([("ip", "10.1.2.3")]).set("/n").err == 0
    assert world.client([("ip", "10.2.2.3")]).set("/n").err == -102
    assert world.client([("digest", "10.1.2.3")]).set("/n").err == -102
