"""The machine against a slow, obvious twin: the same random commands, the same results, events and trees.

The twin is written from sections 8 to 13 of the client protocol alone: a dict of dicts, a deep copy for each multi, no
counters that could be derived, no shortcuts.
"""

import copy
from random import Random

from asking import (
    ADDRESS,
    ALICE,
    BOB,
    OPEN,
    Client,
    Stat,
    World,
    create_record,
    multi_record,
    path_of,
    results_of,
    set_acl_record,
    set_data_record,
    stat,
    string,
    versioned_record,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.coordination import commands
from multipaxos.coordination.machine import Machine

CREATES = (1, 15, 19, 21)


class Refused(Exception):
    def __init__(self, err):
        self.err = err


class Twin:
    def __init__(self):
        self.zxid = 1 << 32
        self.now = 0
        self.sessions = {}
        self.nodes = {}
        self.events = []
        for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
            self.nodes[path] = self.node(b"", OPEN, 0, 0, 0)
        self.nodes["/zookeeper/config"]["acl"] = [(1, "world", "anyone")]
        self.nodes["/zookeeper/config"]["aversion"] = -1

    @staticmethod
    def node(data, acl, owner, zxid, now):
        return {
            "data": data, "acl": acl, "owner": owner, "czxid": zxid, "mzxid": zxid, "pzxid": zxid, "ctime": now,
            "mtime": now, "version": 0, "aversion": 0, "creates": 0,
        }  # fmt: skip

    # Looking.

    def children(self, path):
        return [other for other in self.nodes if other != "/" and self.parent(other) == path]

    @staticmethod
    def parent(path):
        return path.rsplit("/", 1)[0] or "/"

    def stat(self, path):
        n = self.nodes[path]
        count = len(self.children(path))
        return Stat(
            n["czxid"], n["mzxid"], n["ctime"], n["mtime"], n["version"], 2 * n["creates"] - count, n["aversion"],
            n["owner"] if n["owner"] != "container" else 0, len(n["data"] or b""), count, n["pzxid"],
        )  # fmt: skip

    @staticmethod
    def may(node, bit, ids):
        for perms, scheme, text in node["acl"]:
            if perms & bit and ((scheme, text) == ("world", "anyone") or (scheme, text) in ids):
                return True
        return False

    @staticmethod
    def valid(path):
        if path == "/":
            return True
        names = path.split("/")
        if names[0] != "" or len(names) < 2:
            return False
        return all(name not in ("", ".", "..") and all(" " <= c <= "~" for c in name) for name in names[1:])

    @staticmethod
    def stored(acl, ids):
        kept = []
        for perms, scheme, text in acl:
            if scheme == "auth":
                own = [(perms, *each) for each in ids if each[0] == "digest"]
                if not own:
                    raise Refused(-114)
            elif (scheme, text) == ("world", "anyone") or (scheme == "digest" and text.count(":") == 1):
                own = [(perms, scheme, text)]
            else:
                raise Refused(-114)
            for entry in own:
                if entry not in kept:
                    kept.append(entry)
        if not kept:
            raise Refused(-114)
        return kept

    # Operations. Each checks in the order of section 10, then acts.

    def create(self, session, ids, opcode, path, data, flags, acl, ttl):
        if not 0 <= flags <= 6:
            raise Refused(-8)
        if flags >= 5:
            raise Refused(-6)
        if opcode == 21:
            raise Refused(-8 if ttl >= 0 else -6)
        if session not in self.sessions:
            raise Refused(-112)
        if "/" not in path or "\0" in path:
            raise Refused(-8)
        kept = self.stored(acl, ids)
        above = self.parent(path)
        if above not in self.nodes:
            raise Refused(-101)
        parent = self.nodes[above]
        if not self.may(parent, 4, ids):
            raise Refused(-102)
        if flags in (2, 3):
            path += str(parent["creates"]).rjust(10, "0")
        if not self.valid(path):
            raise Refused(-8)
        if path in self.nodes:
            raise Refused(-110)
        if parent["owner"] not in (0, "container"):
            raise Refused(-108)
        owner = "container" if opcode == 19 else session if flags in (1, 3) else 0
        self.nodes[path] = self.node(data, kept, owner, self.next, self.now)
        parent["creates"] += 1
        parent["pzxid"] = self.next
        self.events += [(1, path), (4, above)]
        return path if opcode == 1 else (path, self.stat(path))

    def delete(self, session, ids, path, version):
        if session not in self.sessions:
            raise Refused(-112)
        if not self.valid(path) or path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
            raise Refused(-8)
        above = self.parent(path)
        if above not in self.nodes:
            raise Refused(-101)
        if not self.may(self.nodes[above], 8, ids):
            raise Refused(-102)
        if path not in self.nodes:
            raise Refused(-101)
        if version not in (-1, self.nodes[path]["version"]):
            raise Refused(-103)
        if self.children(path):
            raise Refused(-111)
        self.remove(path)

    def remove(self, path):
        del self.nodes[path]
        above = self.parent(path)
        self.nodes[above]["pzxid"] = self.next
        self.events += [(2, path), (4, above)]

    def found(self, session, ids, path, bit):
        if session not in self.sessions:
            raise Refused(-112)
        if not self.valid(path):
            raise Refused(-8)
        if path not in self.nodes:
            raise Refused(-101)
        if not self.may(self.nodes[path], bit, ids):
            raise Refused(-102)
        return self.nodes[path]

    def set_data(self, session, ids, path, data, version):
        node = self.found(session, ids, path, 2)
        if version not in (-1, node["version"]):
            raise Refused(-103)
        node.update(data=data, version=node["version"] + 1, mzxid=self.next, mtime=self.now)
        self.events.append((3, path))
        return self.stat(path)

    def check(self, session, ids, path, version):
        node = self.found(session, ids, path, 1)
        if version not in (-1, node["version"]):
            raise Refused(-103)

    def set_acl(self, session, ids, path, acl, version):
        if session not in self.sessions:
            raise Refused(-112)
        if not self.valid(path):
            raise Refused(-8)
        kept = self.stored(acl, ids)
        node = self.found(session, ids, path, 16)
        if version not in (-1, node["aversion"]):
            raise Refused(-103)
        node.update(acl=kept, aversion=node["aversion"] + 1)
        return self.stat(path)

    def run(self, session, ids, operation):
        """One operation; whatever it does becomes the zxid ``self.next``."""
        kind, *arguments = operation
        if kind in CREATES:
            return self.create(session, ids, kind, *arguments)
        return {2: self.delete, 5: self.set_data, 13: self.check, 7: self.set_acl}[kind](session, ids, *arguments)

    # Commands.

    @property
    def next(self):
        return self.zxid + 1

    def request(self, session, owner, ids, now, operation):
        """(err, answer), or "moved"."""
        self.now = now
        self.events = []
        if session in self.sessions and self.sessions[session] != owner:
            return "moved"
        if operation[0] == 14:
            return 0, self.multi(session, ids, operation[1])
        try:
            answer = self.run(session, ids, operation)
        except Refused as refused:
            return refused.err, None
        self.zxid += 1
        return 0, answer

    def multi(self, session, ids, operations):
        before = copy.deepcopy(self.nodes)
        results = []
        for index, operation in enumerate(operations):
            try:
                answer = self.run(session, ids, operation)
            except Refused as refused:
                self.nodes = before
                self.events = []
                errors = [0] * index + [refused.err] + [-2] * (len(operations) - index - 1)
                return [(-1, err, err) for err in errors]
            kind = 15 if operation[0] in (15, 19) else operation[0]
            results.append((kind, 0, answer))
        if any(operation[0] != 13 for operation in operations):
            self.zxid += 1
        return results

    def open(self, owner):
        self.events = []
        self.zxid += 1
        self.sessions[self.zxid] = owner
        return self.zxid

    def end(self, session):
        self.events = []
        for path in sorted(path for path, node in self.nodes.items() if node["owner"] == session):
            self.remove(path)
        del self.sessions[session]
        self.zxid += 1


def weighted(**choices):
    """One of several strategies, by weight: ``|`` would draw equal ones but once."""
    names = [name for name, (weight, _) in choices.items() for _ in range(weight)]
    return st.sampled_from(names).flatmap(lambda name: choices[name][1])


ODD_PATHS = [
    "/", "/zookeeper/config", "/zookeeper/x", "/none/x", "/zookeeper", "", "a", "//a", "/a/", "/a/..", "/.", "/b\x01",
    "/b\0", "a/b", "/a/b/", "/a/s-0000000001",
]  # fmt: skip
SOME_ACLS = [OPEN] * 9 + [
    [(31, *ALICE)],
    [(31, "auth", "")],
    [(1, "world", "anyone"), (30, *BOB)],
    [(27, "world", "anyone")],
    [(23, "world", "anyone"), (23, "world", "anyone")],
    [],
    [(31, "digest", "bad")],
]
PATHS = st.sampled_from(["/a", "/b", "/a/a", "/a/b", "/b/a", "/b/b", "/a/b/a", "/b/s-"] * 5 + ODD_PATHS)
ACLS = st.sampled_from(SOME_ACLS)
DATA = st.sampled_from([None, b"", b"x", b"four"])
VERSIONS = st.sampled_from([-1] * 5 + [0, 1, 2])
FLAGS = st.sampled_from([0] * 9 + [1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, -1])
CREATE = st.tuples(st.sampled_from([1, 1, 1, 15, 15, 19]), PATHS, DATA, FLAGS, ACLS, st.none())
CREATE_TTL = st.tuples(st.just(21), PATHS, DATA, FLAGS, ACLS, st.sampled_from([-1, 0, 1000]))
DELETE = st.tuples(st.just(2), PATHS, VERSIONS)
SET = st.tuples(st.just(5), PATHS, DATA, VERSIONS)
CHECK = st.tuples(st.just(13), PATHS, VERSIONS)
SET_ACL = st.tuples(st.just(7), PATHS, ACLS, VERSIONS)
IN_MULTI = weighted(create=(8, CREATE), delete=(4, DELETE), set=(4, SET), check=(2, CHECK), ttl=(1, CREATE_TTL))
MULTI = st.tuples(st.just(14), st.lists(IN_MULTI, max_size=4))
REQUEST = weighted(
    create=(10, CREATE), delete=(3, DELETE), set=(4, SET), acl=(2, SET_ACL), multi=(4, MULTI), ttl=(1, CREATE_TTL)
)
WHO = st.integers(0, 3)
STEP = weighted(
    ask=(12, st.tuples(st.just("ask"), WHO, REQUEST)),
    other=(2, st.tuples(st.sampled_from(["open", "close", "expire", "move", "stray"]), WHO, st.none())),
)


def record_of(operation):
    kind, *rest = operation
    if kind in CREATES:
        path, data, flags, acl, ttl = rest
        return create_record(path, data, flags, acl, ttl)
    if kind == 14:
        return multi_record(*[(each[0], record_of(each)) for each in rest[0]])
    return {2: versioned_record, 13: versioned_record, 5: set_data_record, 7: set_acl_record}[kind](*rest)


def answer_of(kind, body):
    """A reply as the twin would put it."""
    if kind == 14:
        return results_of(body)
    if kind == 1:
        path, behind = path_of(body)
        assert behind == b""
        return path
    if kind in CREATES:
        path, behind = path_of(body)
        assert len(behind) == 68
        return path, stat(behind)
    if kind in (5, 7):
        assert len(body) == 68
        return stat(body)
    assert body == b""
    return None


IDS = [(ADDRESS,), (ADDRESS, ALICE), (ADDRESS, BOB), (ALICE, BOB)]


def compare(world, twin):
    machine = world.machine
    assert machine.zxid == twin.zxid
    assert machine.changes == twin.events
    assert set(machine.sessions) == set(twin.sessions)
    assert set(machine.tree.nodes) == set(twin.nodes)
    for path, node in twin.nodes.items():
        assert world.stat(path) == twin.stat(path), path
        assert world.data(path) == node["data"]
        assert machine.get_acl(path, (("super", ""),))[1] == node["acl"]
        names = sorted(other.rsplit("/", 1)[1] for other in twin.children(path))
        assert machine.get_children(path, (("super", ""),))[1] == names
        assert machine.tree.nodes[path].is_ephemeral == (node["owner"] not in (0, "container"))
    for session in twin.sessions:
        owned = sorted(path for path, node in twin.nodes.items() if node["owner"] == session)
        assert machine.ephemerals(session, "") == owned


def run(steps, seen):
    """Play the steps to both, comparing all after each; ``seen`` counts (opcode, error)."""
    world, twin, quiet = World(), Twin(), Machine()
    quiet.begin_epoch(1, 65537)
    twin.zxid = world.machine.zxid
    clients = []
    strays = []
    number = 0

    def apply(command):
        result = world.apply(command)
        quiet.apply(command, world.now, False)
        return result

    def opened():
        nonlocal number
        number += 1
        owner = (1, 1, number)
        session = apply(commands.encode_attach(0, owner, 5000, commands.NO_OWNER)).session
        assert session == twin.open(owner)
        return Client(world, session, owner, IDS[number % len(IDS)])

    clients.append(opened())
    for what, who, operation in steps:
        client = clients[who % len(clients)]
        if what == "open":
            clients.append(opened())
        elif what == "close" and client.session in twin.sessions:
            assert apply(commands.encode_close(client.session, client.owner)).err == 0
            twin.end(client.session)
        elif what == "expire" and client.session in twin.sessions:
            assert apply(commands.encode_expire(client.session, client.owner, 65537)).err == 0
            twin.end(client.session)
        elif what == "move" and client.session in twin.sessions:
            number += 1
            owner = (2, 1, number)
            result = apply(commands.encode_attach(client.session, owner, 7000, client.owner))
            assert result.session == client.session
            twin.events = []
            twin.sessions[client.session] = owner
            strays.append(Client(world, client.session, client.owner, client.ids))
            client.owner = owner
        elif what == "ask" or (what == "stray" and strays):
            asking = client if what == "ask" else strays[who % len(strays)]
            operation = operation or (1, "/stray", b"", 0, OPEN, None)
            result = apply(asking.command(operation[0], record_of(operation)))
            expected = twin.request(asking.session, asking.owner, asking.ids, world.now, operation)
            if expected == "moved":
                assert result.is_moved
                assert result.body == b""
            else:
                err, answer = expected
                seen[operation[0], err] = seen.get((operation[0], err), 0) + 1
                assert (result.err, result.is_moved) == (err, False), operation
                if err == 0:
                    assert answer_of(operation[0], result.body) == answer, operation
                else:
                    assert result.body == b""
            assert result.zxid == twin.zxid
        else:
            continue
        compare(world, twin)
    assert quiet.digest() == world.machine.digest()
    assert quiet.changes == world.machine.changes


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_same_commands_same_everything(steps):
    run(steps, {})


def random_step(random):
    """Like STEP, but evenly: hypothesis likes to repeat itself, and finds small examples; this finds rare ones."""

    def path():
        if random.random() < 0.07:
            return random.choice(ODD_PATHS)
        return "/" + "/".join(random.choice("abcs") for _ in range(random.choice([1, 1, 2, 2, 2, 3, 4])))

    def create(opcode):
        data = random.choice([None, b"", b"x", b"four"])
        flags = random.choice([0] * 12 + [1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, -1])
        return (
            opcode,
            path(),
            data,
            flags,
            random.choice(SOME_ACLS),
            random.choice([-1, 0, 9]) if opcode == 21 else None,
        )

    def version():
        return random.choice([-1] * 6 + [0, 1, 2])

    def operation(in_multi):
        kind = random.choice(
            [1] * 6 + [15, 15, 19, 2, 2, 2, 5, 5, 5, 21] + ([13, 13, 13] if in_multi else [7, 7, 14, 14, 14])
        )
        if kind in CREATES:
            return create(kind)
        if kind == 14:
            return 14, [operation(True) for _ in range(random.choice([0, 1, 2, 2, 3, 3, 4, 6]))]
        if kind == 5:
            return 5, path(), random.choice([None, b"", b"new", b"longer data"]), version()
        if kind == 7:
            return 7, path(), random.choice(SOME_ACLS), version()
        return kind, path(), version()

    if random.random() < 0.1:
        return random.choice(["open", "open", "close", "expire", "move", "stray"]), random.randrange(8), None
    return "ask", random.randrange(8), operation(False)


def test_long_random_histories():
    seen = {}
    for seed in range(60):
        random = Random(seed)
        run([random_step(random) for _ in range(120)], seen)
    # A property test that only ever sees errors would prove nothing.
    wanted = {
        1: [0, -8, -101, -102, -108, -110, -112, -114, -6],
        15: [0],
        19: [0],
        21: [-6, -8],
        2: [0, -8, -101, -102, -103, -111, -112],
        5: [0, -8, -101, -102, -103, -112],
        7: [0, -8, -101, -102, -103, -112, -114],
        14: [0],
    }
    missing = [(kind, err) for kind, errors in wanted.items() for err in errors if (kind, err) not in seen]
    assert missing == []


def test_a_sync_is_the_same_for_both():
    world = World()
    client = world.client()
    assert client.ask(9, string("/")).zxid == world.machine.zxid
