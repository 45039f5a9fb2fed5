"""Which of several errors wins (section 10 of the client protocol; zk-11): clients see the difference.

For each operation the checks are listed in their order, each as a flaw that can be built into one request. Every subset
of flaws that can be combined must be answered with the error of the first one.
"""

from itertools import combinations

from asking import (
    ADDRESS,
    CHECK,
    CREATE,
    DELETE,
    MULTI,
    OPEN,
    SET_ACL,
    SET_DATA,
    Client,
    World,
    create_record,
    multi_record,
    results_of,
    set_acl_record,
    set_data_record,
    versioned_record,
)

CLOSED = [(31, "digest", "nobody:x")]
BAD_ACL = [(31, "unheard-of", "x")]


def a_world():
    """/open, /open/leaf, /open/full/child, /shut (nothing allowed) with a leaf, /e ephemeral, /shut-e ephemeral, shut."""
    world = World()
    client = world.client()
    for path in ("/open", "/open/leaf", "/open/full", "/open/full/child", "/shut", "/shut/leaf"):
        client.made(path)
    client.made("/e", flags=1)
    client.made("/shut-e", flags=1)
    client.made("/open/closed")
    for path in ("/shut", "/shut/leaf", "/shut-e", "/open/closed"):
        assert client.set_acl(path, CLOSED).err == 0
    return world, client


def asked(opcode, record, has_session):
    """The error, asked alone and as the only operation of a multi where that may be."""
    world, client = a_world()
    if not has_session:
        client = Client(world, 4711, client.owner, (ADDRESS,))
    digest = world.machine.digest()
    err = client.ask(opcode, record).err
    if opcode != SET_ACL:
        results = results_of(client.ask(MULTI, multi_record((opcode, record))).body)
        assert results == [(-1, err, err)]
    assert world.machine.digest() == digest
    return err


def cases(order):
    """Every subset of flaws, with the error of the first."""
    for size in range(1, len(order) + 1):
        for flaws in combinations(order, size):
            yield dict(flaws), flaws[0][1]


def assert_first_flaw_wins(opcode, order, record_with):
    tried = 0
    for flaws, err in cases(order):
        record = record_with(flaws)
        if record is not None:
            tried += 1
            assert asked(opcode, record, "session" not in flaws) == err, flaws
    return tried


CREATE_ORDER = [
    ("flags", -8), ("ttl", -6), ("session", -112), ("syntax", -8), ("acl", -114), ("parent", -101), ("auth", -102),
    ("path", -8), ("exists", -110), ("ephemeral", -108),
]  # fmt: skip


def create_with(flaws):
    if "parent" in flaws:
        if flaws.keys() & {"auth", "exists", "ephemeral"}:
            return None  # a missing parent permits nothing, has no children, is no ephemeral
        parent = "/missing"
    elif "ephemeral" in flaws:
        if "exists" in flaws:
            return None  # an ephemeral has no children
        parent = "/shut-e" if "auth" in flaws else "/e"
    else:
        parent = "/shut" if "auth" in flaws else "/open"
    name = "leaf" if "exists" in flaws else "new"
    if "path" in flaws:
        if "exists" in flaws:
            return None
        name = ".."
    path = parent + "/" + name
    if "syntax" in flaws:
        path += "\0"
    flags = 9 if "flags" in flaws else 5 if "ttl" in flaws else 0
    return create_record(path, b"", flags, BAD_ACL if "acl" in flaws else OPEN)


def test_create():
    assert assert_first_flaw_wins(CREATE, CREATE_ORDER, create_with) > 300


DELETE_ORDER = [
    ("session", -112), ("path", -8), ("parent", -101), ("auth", -102), ("missing", -101), ("version", -103),
    ("children", -111),
]  # fmt: skip


def delete_with(flaws):
    if "path" in flaws:
        return versioned_record("/missing//x" if "parent" in flaws else "/zookeeper/quota", 77)
    if "parent" in flaws:
        return versioned_record("/missing/x", 77) if not flaws.keys() & {"auth", "children"} else None
    if "missing" in flaws and "children" in flaws:
        return None
    parent = "/shut" if "auth" in flaws else "/open"
    name = "none" if "missing" in flaws else "leaf"
    if "children" in flaws:
        if "auth" in flaws:
            return None
        name = "full"
    return versioned_record(parent + "/" + name, 77 if "version" in flaws else 0)


def test_delete():
    assert assert_first_flaw_wins(DELETE, DELETE_ORDER, delete_with) > 50


def node_with(flaws):
    if "path" in flaws:
        return "/open/"
    if "missing" in flaws:
        return "/open/none"
    return "/open/closed" if "auth" in flaws else "/open/leaf"


NODE_ORDER = [("session", -112), ("path", -8), ("missing", -101), ("auth", -102), ("version", -103)]


def test_set_data():
    def record_with(flaws):
        return set_data_record(node_with(flaws), b"", 77 if "version" in flaws else 0)

    assert assert_first_flaw_wins(SET_DATA, NODE_ORDER, record_with) == 31


def test_check():
    for flaws, err in cases(NODE_ORDER):
        world, client = a_world()
        if "session" in flaws:
            client = Client(world, 4711, client.owner, (ADDRESS,))
        record = versioned_record(node_with(flaws), 77 if "version" in flaws else 0)
        assert results_of(client.ask(MULTI, multi_record((CHECK, record))).body) == [(-1, err, err)], flaws


SET_ACL_ORDER = [("session", -112), ("path", -8), ("acl", -114), ("missing", -101), ("auth", -102), ("version", -103)]


def test_set_acl():
    def record_with(flaws):
        # aversion of /open/closed is 1, of the rest 0
        version = 77 if "version" in flaws else 1 if node_with(flaws) == "/open/closed" else 0
        return set_acl_record(node_with(flaws), BAD_ACL if "acl" in flaws else OPEN, version)

    assert assert_first_flaw_wins(SET_ACL, SET_ACL_ORDER, record_with) == 63


def test_without_flaws_all_succeed():
    _, client = a_world()
    assert client.ask(CREATE, create_with({})).err == 0
    assert client.ask(SET_DATA, set_data_record(node_with({}), b"", 0)).err == 0
    assert client.ask(SET_ACL, set_acl_record(node_with({}), OPEN, 0)).err == 0
    assert client.ask(DELETE, versioned_record("/open/leaf", 1)).err == 0
