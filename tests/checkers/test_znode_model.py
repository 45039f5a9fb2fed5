"""The model tree of the checkers against the product's state machine: two accounts of one protocol, random requests."""

from random import Random

from multipaxos.coordination.commands import encode_attach, encode_close, encode_request
from multipaxos.coordination.machine import Machine
from multipaxos.coordination.watches import Watches
from multipaxos.service.reads import answer
from multipaxos.sim.asking import Asker
from multipaxos.sim.znode_model import CONFIG, Answer, Times, Znodes, differs
from multipaxos.wire.zookeeper import (
    OP_CHECK,
    OP_CREATE,
    OP_CREATE2,
    OP_CREATE_CONTAINER,
    OP_CREATE_TTL,
    OP_DELETE,
    OP_GET_ACL,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_MULTI,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SYNC,
    OPEN_ACL,
    encode_create,
    encode_create_ttl,
    encode_multi,
    encode_path,
    encode_set_acl,
    encode_set_data,
    encode_versioned_path,
    encode_watched_path,
)

OWNER = (1, 1, 1)


class Pair:
    """The machine and the model, given the same."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.begin_epoch(1, 1)
        self.model = Znodes()
        self.times = Times()
        self.time_ms = 1_000
        self.compared = 0

    def open(self) -> int:
        """A session in both."""
        session = self.machine.apply(encode_attach(0, OWNER, 10_000, (0, 0, 0)), self.time_ms, True).session
        self.model.open(session)
        return session

    def close(self, session: int) -> None:
        """Its end in both: the same events in the same order."""
        self.machine.apply(encode_close(session, OWNER), self.time_ms, True)
        self.model.end(session, self.machine.zxid)
        assert self.model.changes == self.machine.changes

    def request(self, session: int, opcode: int, record: bytes) -> int:
        """One request; its error."""
        self.time_ms += 7
        if opcode in WRITES:
            before = self.machine.zxid
            made = self.machine.apply(encode_request(session, OWNER, (), opcode, record), self.time_ms, True)
            answered = self.model.execute(session, opcode, record, before + 1)
            err, body = made.err, made.body
            assert self.model.changes == self.machine.changes
        else:
            err, body = answer(self.machine, Watches(), 1, session, (), opcode, record)
            found = self.model.read(session, opcode, record)
            if found is None:
                return err
            answered = found
            body = body if err == 0 else b""
        self.compared += 1
        assert differs(answered, err, body, self.times) == "", (opcode, record)
        return err


WRITES = (
    OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER, OP_CREATE_TTL, OP_DELETE, OP_SET_DATA, OP_SET_ACL, OP_SYNC, OP_MULTI,
    OP_CHECK,
)  # fmt: skip


def test_random_requests_of_the_simulators_clients() -> None:
    pair = Pair()
    random = Random(3)
    errors: dict[int, int] = {}
    for _ in range(12):
        sessions = [pair.open() for _ in range(3)]
        askers = [Asker(name, Random(random.getrandbits(32))) for name in range(3)]
        for _ in range(300):
            at = random.randrange(3)
            opcode, record = askers[at].next(sessions[at])
            err = pair.request(sessions[at], opcode, record)
            errors[err] = errors.get(err, 0) + 1
        for session in sessions:
            pair.close(session)
    assert pair.compared > 3_000
    assert errors[0] > 500 and errors[-101] > 30 and errors[-103] > 20 and errors[-110] > 20 and errors[-111] > 1
    assert pair.times.backwards() is None


def test_what_is_refused_before_it_is_looked_at() -> None:
    pair = Pair()
    session = pair.open()
    over = pair.open()
    pair.close(over)
    paths = [
        "/",
        "//x",
        "/a//b",
        "/a/",
        "a",
        "",
        "/a/.",
        "/a/..",
        "/\u0001",
        "/no/parent",
        "/zookeeper",
        CONFIG,
        "/ok",
        "/ok",
    ]
    for path in paths:
        for flags in (-1, 0, 1, 2, 3, 4, 5, 6, 7):
            for opcode in (OP_CREATE, OP_CREATE2, OP_CREATE_CONTAINER):
                pair.request(session, opcode, encode_create(path, b"x", OPEN_ACL, flags))
                pair.request(over, opcode, encode_create(path, b"x", OPEN_ACL, flags))
        pair.request(session, OP_CREATE_TTL, encode_create_ttl(path, b"x", OPEN_ACL, 5, 10))
        pair.request(session, OP_CREATE_TTL, encode_create_ttl(path, b"x", OPEN_ACL, 0, 10))
        pair.request(session, OP_CREATE, encode_create(path, None, (), 0))
        for version in (-1, 0, 3):
            if path != CONFIG:  # only who is granted it may write there: lists are not modelled
                pair.request(session, OP_SET_DATA, encode_set_data(path, None, version))
                pair.request(over, OP_SET_DATA, encode_set_data(path, b"y", version))
                pair.request(session, OP_SET_ACL, encode_set_acl(path, OPEN_ACL, version))
            pair.request(over, OP_DELETE, encode_versioned_path(path, version))
            pair.request(session, OP_DELETE, encode_versioned_path(path, version))
        pair.request(session, OP_SYNC, encode_path(path))
        pair.request(over, OP_SYNC, encode_path(path))
        pair.request(session, OP_GET_DATA, encode_watched_path(path))
        pair.request(session, OP_GET_CHILDREN2, encode_watched_path(path))
        pair.request(session, OP_GET_ACL, encode_path(path))
    pair.request(session, OP_SET_DATA, b"\0\0\0\7/a")
    pair.request(session, OP_CHECK, encode_versioned_path("/ok"))
    assert pair.compared > 600


def test_multis_happen_whole_or_not_at_all() -> None:
    pair = Pair()
    session = pair.open()
    create = (OP_CREATE2, encode_create("/a", b"1", OPEN_ACL, 0))
    child = (OP_CREATE, encode_create("/a/c-", b"", OPEN_ACL, 3))
    set_twice = [(OP_SET_DATA, encode_set_data("/a", b"2", version)) for version in (0, 1)]
    stale = (OP_CHECK, encode_versioned_path("/a", 0))
    gone = (OP_DELETE, encode_versioned_path("/a", 2))
    for operations in ([], [create, *set_twice, child], [stale], [create], [*set_twice], [gone], [stale, create, gone]):
        pair.request(session, OP_MULTI, encode_multi(operations))
        pair.request(session, OP_GET_CHILDREN2, encode_watched_path("/"))
        pair.request(session, OP_GET_DATA, encode_watched_path("/a"))
    pair.request(session, OP_MULTI, encode_multi([(OP_GET_DATA, encode_watched_path("/a"))]))
    pair.close(session)
    again = pair.open()
    pair.request(again, OP_MULTI, encode_multi([gone, create]))
    pair.request(again, OP_GET_DATA, encode_watched_path("/a"))


def test_a_model_can_go_back() -> None:
    """Whatever happened since a position is undone: nodes, fields, children, owners, sessions."""
    model = Znodes()
    random = Random(9)
    sessions = [11, 12, 13]
    for session in sessions:
        model.open(session)
    askers = [Asker(name, Random(name)) for name in range(3)]
    zxid = 100
    for _ in range(60):
        position = model.position()
        before = image(model)
        for _ in range(random.randrange(1, 12)):
            at = random.randrange(3)
            zxid += 1
            if random.random() < 0.05 and sessions[at] in model.sessions:
                model.end(sessions[at], zxid)
            opcode, record = askers[at].next(sessions[at])
            if opcode in WRITES:
                model.execute(sessions[at], opcode, record, zxid)
        if random.random() < 0.6:
            model.back_to(position)
            assert image(model) == before
        for session in sessions:
            if session not in model.sessions:
                model.open(session)


def image(model: Znodes) -> object:
    """Everything a model holds."""
    nodes = {path: (node.data, node.shown(), node.creates, sorted(node.children)) for path, node in model.nodes.items()}
    return nodes, {session: sorted(paths) for session, paths in model.sessions.items()}


def test_times_are_learned_once_and_never_fall() -> None:
    times = Times()
    assert times.agrees(5, 100) and times.agrees(5, 100)
    assert not times.agrees(5, 101)
    assert times.agrees(7, 90)
    assert times.backwards() == (5, 7)


def test_a_reply_that_is_cut_short_differs() -> None:
    model = Znodes()
    expected = model.read(1, OP_GET_DATA, encode_watched_path("/"))
    assert isinstance(expected, Answer)
    assert "cannot be read" in differs(expected, 0, b"\0\0\0\0\0", Times())
    assert differs(expected, -101, b"", Times()) == "error -101 instead of 0"
