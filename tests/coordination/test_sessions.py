"""Sessions: attach, close, expire, moved, the secret (section 15; rule-R9, R13, R14, R24, R27)."""

import pytest
from asking import CREATE, CREATE2, MULTI, OPEN, SYNC, Client, World, create_record, multi_record, results_of, string

from multipaxos.coordination import commands
from multipaxos.coordination.commands import NO_OWNER

E = 1 << 32
HERE = (1, 1, 7)
THERE = (2, 9, 8)


@pytest.fixture
def world():
    return World()


def attach(world, session, owner, replaces, timeout_ms=5000, wanted=True):
    return world.apply(commands.encode_attach(session, owner, timeout_ms, replaces), wanted)


def test_a_new_session_is_named_by_the_zxid_of_its_creation(world):
    result = attach(world, 0, HERE, NO_OWNER)
    assert (result.err, result.session, result.zxid, world.machine.zxid) == (0, E + 1, E + 1, E + 1)
    session = world.machine.sessions[E + 1]
    assert (session.id, session.timeout_ms, session.owner, dict(session.ephemerals)) == (E + 1, 5000, HERE, {})
    assert attach(world, 0, THERE, NO_OWNER).session == E + 2


def test_resume_takes_the_owner_it_replaces(world):
    client = world.client()
    before = world.machine.zxid
    result = attach(world, client.session, THERE, client.owner, 9000)
    assert (result.err, result.session, result.is_moved) == (0, client.session, False)
    assert world.machine.zxid == before  # attaching to a living session changes nothing a client could see
    session = world.machine.sessions[client.session]
    assert (session.owner, session.timeout_ms) == (THERE, 9000)


def test_resume_is_refused_for_another_owner(world):
    client = world.client()
    result = attach(world, client.session, THERE, HERE)
    assert (result.session, result.is_moved) == (0, True)
    assert world.machine.sessions[client.session].owner == client.owner


def test_resume_of_an_unknown_session(world):
    result = attach(world, 4711, HERE, NO_OWNER)
    assert (result.err, result.session, result.is_moved) == (-112, 0, False)
    assert not world.machine.sessions


def test_double_attach(world):
    # The client gave up on one gateway and was attached through another; the first attach comes late.
    client = world.client()
    assert attach(world, client.session, THERE, client.owner).session == client.session
    late = attach(world, client.session, HERE, client.owner)
    assert (late.session, late.is_moved) == (0, True)
    assert world.machine.sessions[client.session].owner == THERE


def test_a_late_write_of_an_old_connection_is_not_executed(world):
    old = world.client()
    old.made("/a", b"first")
    attach(world, old.session, THERE, old.owner)
    digest = world.machine.digest()
    asked = [
        old.set("/a", b"late"),
        old.create("/b"),
        old.multi((CREATE, create_record("/b"))),
        old.ask(SYNC, string("/")),
        old.close(),
    ]
    for result in asked:
        assert (result.is_moved, result.body, result.session) == (True, b"", 0)
    assert world.machine.digest() == digest
    new = Client(world, old.session, THERE, old.ids)
    assert new.set("/a", b"second").err == 0
    # And back again: what counts is the present owner, not who came last.
    attach(world, old.session, old.owner, THERE)
    assert old.set("/a", b"third").err == 0
    assert new.set("/a", b"late").is_moved


def test_close_deletes_all_ephemerals_at_one_zxid_in_order(world):
    client = world.client()
    other = world.client()
    client.made("/p")
    for path in ("/p/b", "/c", "/p/a"):
        client.made(path, flags=1)
    other.made("/p/stays", flags=1)
    before = world.machine.zxid
    result = client.close()
    assert (result.err, result.zxid, result.body, world.machine.zxid) == (0, before + 1, b"", before + 1)
    assert world.machine.changes == [(2, "/c"), (4, "/"), (2, "/p/a"), (4, "/p"), (2, "/p/b"), (4, "/p")]
    assert len(world.machine.guards) == 6
    assert world.machine.ended == [client.session]
    assert client.session not in world.machine.sessions
    assert world.stat("/p").pzxid == world.stat("/").pzxid == before + 1
    assert world.exists("/p/stays")
    other.set("/p")
    assert world.machine.ended == []


def test_close_without_ephemerals_has_a_zxid_too(world):
    client = world.client()
    assert client.close().zxid == E + 2
    assert client.close().err == -112
    assert world.machine.zxid == E + 2


def test_writes_of_an_ended_session_are_refused(world):
    client = world.client()
    client.made("/a")
    client.close()
    digest = world.machine.digest()
    assert client.create("/b").err == -112
    assert client.create("/b", opcode=CREATE2).err == -112
    assert client.set("/a").err == -112
    assert client.delete("/a").err == -112
    assert client.set_acl("/a", OPEN).err == -112
    assert client.ask(SYNC, string("/")).err == -112
    assert results_of(client.ask(MULTI, multi_record((CREATE, create_record("/b")))).body) == [(-1, -112, -112)]
    assert client.ask(16, b"").err == -123
    assert client.ask(4, b"").err == -6
    assert world.machine.digest() == digest
    assert attach(world, client.session, THERE, client.owner).session == 0


def test_an_ephemeral_deleted_by_another_session_leaves_its_owners_list(world):
    client, other = world.client(), world.client()
    client.made("/e", flags=1)
    other.delete("/e")
    other.made("/e")
    client.close()
    assert world.exists("/e")


def test_expire(world):
    client = world.client()
    client.made("/e", flags=1)
    result = world.apply(commands.encode_expire(client.session, client.owner, world.machine.reign))
    assert result.err == 0
    assert world.machine.ended == [client.session]
    assert not world.exists("/e")
    again = world.apply(commands.encode_expire(client.session, client.owner, world.machine.reign))
    assert again.err == -112
    assert world.machine.ended == []


@pytest.mark.parametrize("reign", [65536, 65538, -1, 0])
def test_expire_of_another_reign_is_refused(world, reign):
    # rule-R13: leader 4 adopts what leader 2 decided; leader 3 gave everybody a full timeout between them.
    client = world.client()
    digest = world.machine.digest()
    assert world.apply(commands.encode_expire(client.session, client.owner, reign)).err != 0
    assert world.machine.digest() == digest


def test_expire_is_refused_when_the_session_moved_meanwhile(world):
    client = world.client()
    attach(world, client.session, THERE, client.owner)
    assert world.apply(commands.encode_expire(client.session, client.owner, world.machine.reign)).err != 0
    assert client.session in world.machine.sessions
    assert world.apply(commands.encode_expire(client.session, THERE, world.machine.reign)).err == 0


def test_an_expire_decided_before_an_epoch_that_a_counter_began_stays_valid(world):
    client = world.client()
    world.machine.zxid = E + 2**32 - 1
    client.made("/x")
    assert world.machine.epoch == 2
    assert world.apply(commands.encode_expire(client.session, client.owner, 65537)).err == 0


def test_the_secret_is_found_once_and_only_in_its_reign(world):
    machine = world.machine
    assert not machine.has_secret
    world.apply(commands.encode_found(65538, b"x" * 32))
    assert not machine.has_secret
    before = machine.zxid
    digest = machine.digest()
    assert world.apply(commands.encode_found(65537, b"a" * 32)).err == 0
    assert machine.has_secret
    assert machine.zxid == before
    assert machine.digest() != digest
    first = machine.password(5)
    world.apply(commands.encode_found(65537, b"b" * 32))
    assert machine.password(5) == first
    assert len(first) == 16
    assert machine.password(6) != first


def test_golden_password(world):
    # All replicas of all versions must agree, or a client cannot resume where it likes.
    world.apply(commands.encode_found(65537, bytes(range(32))))
    assert world.machine.password(0x0000000100000001).hex() == "570f0e6e36e5bc6449addb906a9881f9"


def test_a_session_of_its_own_for_each_attach_with_session_0(world):
    first = attach(world, 0, HERE, NO_OWNER).session
    second = attach(world, 0, HERE, THERE).session  # what it replaces says nothing where there is nothing
    assert first != second
    assert len(world.machine.sessions) == 2
    one, two = Client(world, first, HERE, ()), Client(world, second, HERE, ())
    one.made("/one", flags=1)
    two.made("/two", flags=1)
    one.close()
    assert not world.exists("/one")
    assert world.exists("/two")
