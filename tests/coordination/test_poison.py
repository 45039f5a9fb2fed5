"""Apply is total (rule-R17): no bytes make it raise, and what is refused changes nothing, on every replica alike."""

import hashlib
import os
import struct
import subprocess
import sys
import textwrap

import pytest
from asking import (
    ALICE,
    CREATE,
    DELETE,
    MULTI,
    OPEN,
    SET_ACL,
    SET_DATA,
    SYNC,
    World,
    create_record,
    multi_record,
    set_acl_record,
    set_data_record,
    string,
    versioned_record,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.coordination import commands, plan
from multipaxos.coordination.machine import Machine


def prepared():
    world = World()
    client = world.client((ALICE,))
    client.made("/a", b"data")
    client.made("/a/b")
    client.made("/e", flags=1)
    world.apply(commands.encode_found(65537, b"s" * 32))
    return world, client


def good_commands(client):
    records = [
        (CREATE, create_record("/new", b"data")),
        (15, create_record("/new2", None, 3, [(31, "auth", None), (1, "ip", "10.0.0.0/8")])),
        (21, create_record("/ttl", b"", 5, OPEN, 1000)),
        (DELETE, versioned_record("/a/b", 0)),
        (SET_DATA, set_data_record("/a", b"new", 0)),
        (SET_ACL, set_acl_record("/a", [(31, "digest", "u:h")], 0)),
        (SYNC, string("/a")),
        (MULTI, multi_record((CREATE, create_record("/m")), (SET_DATA, set_data_record("/m")), (13, versioned_record("/m")))),
        (16, string(None) * 3 + bytes(8)),
    ]  # fmt: skip
    found = [client.command(opcode, record) for opcode, record in records]
    found.append(commands.encode_attach(0, (1, 1, 50), 5000, commands.NO_OWNER))
    found.append(commands.encode_attach(client.session, (1, 1, 51), 5000, client.owner))
    found.append(commands.encode_expire(client.session, client.owner, 65537))
    found.append(commands.encode_found(65537, b"t" * 32))
    found.append(commands.encode_close(client.session, client.owner))
    return found


def on_two(command):
    """Apply to two machines in one state, wanted and not: they stay equal. Returns (result, whether it changed them)."""
    one, _ = prepared()
    two, _ = prepared()
    before = one.machine.digest()
    now = one.now + 1
    result = one.machine.apply(command, now, True)
    two.machine.apply(command, now, False)
    after = one.machine.digest()
    assert after == two.machine.digest()
    assert one.machine.changes == two.machine.changes
    assert one.machine.ended == two.machine.ended
    assert one.machine.surprises == two.machine.surprises == 0
    one.machine.check()
    return result, after != before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data):
    result, is_changed = on_two(data)
    assert result.err != 0 or is_changed or data[:1] == bytes((commands.ATTACH,))


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_damaged_commands(data):
    """A good command with some bytes overwritten, cut off, or appended."""
    _, client = prepared()
    command = bytearray(data.draw(st.sampled_from(good_commands(client))))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(command) - 1))
        command[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    size = data.draw(st.just(len(command)) | st.integers(0, len(command)))
    on_two(bytes(command[:size]) + data.draw(st.just(b"") | st.binary(max_size=4)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([1, 2, 5, 7, 9, 14, 15, 19, 21, 16, 4]), st.binary(max_size=120))
def test_random_records(opcode, record):
    _, client = prepared()
    on_two(client.command(opcode, record))


def test_every_cut_of_every_command():
    _, client = prepared()
    for command in good_commands(client):
        for size in range(len(command)):
            result, is_changed = on_two(command[:size])
            assert not is_changed
            if command[0] != commands.REQUEST or size < commands.HEADER_SIZE:
                assert (result.err, result.is_moved) == (-5, False)
            else:
                assert result.err in (-5, -123), "reconfig is refused before its record is read"


def test_every_byte_flip_of_a_create():
    _, client = prepared()
    command = good_commands(client)[0]
    for at in range(len(command)):
        for flip in (0x01, 0x80, 0xFF):
            on_two(command[:at] + bytes((command[at] ^ flip,)) + command[at + 1 :])


@pytest.mark.parametrize("length", [-2, -(2**31), 2**31 - 1, 1000])
def test_lengths_that_lie(length):
    _, client = prepared()
    lie = length.to_bytes(4, "big", signed=True)
    good = string("/a")
    records = [
        (SET_DATA, lie + b"/a" + string(b"") + bytes(4)),
        (SET_DATA, good + lie + bytes(4)),
        (CREATE, lie + b"/a" + string(b"") + bytes(8)),
        (CREATE, string("/x") + lie + bytes(8)),
        (CREATE, string("/x") + string(b"") + lie + bytes(8)),
        (CREATE, string("/x") + string(b"") + b"\0\0\0\1\0\0\0\x1f" + lie + b"world" + string("anyone") + bytes(4)),
        (DELETE, lie + b"/a/b" + bytes(4)),
        (SYNC, lie + b"/a"),
        (SET_ACL, good + lie + bytes(8)),
    ]
    for opcode, record in records:
        result, is_changed = on_two(client.command(opcode, record))
        assert (result.err, is_changed) == (-5, False)


def test_a_bug_in_the_checks_is_a_fixed_result():
    world, client = prepared()
    machine = world.machine
    digest = machine.digest()
    command = client.command(SET_DATA, set_data_record("/a", b"x"))
    kept = machine.tree.nodes["/a"]
    machine.tree.nodes["/a"] = "no znode"  # stands for a bug: the checks trip over it
    result = machine.apply(command, 5, True)
    machine.apply(command, 5, False)
    machine.tree.nodes["/a"] = kept
    assert (result.err, result.is_moved, result.body, result.session) == (-5, True, b"", 0)
    assert machine.surprises == 2
    assert machine.digest() == digest


def test_an_exception_while_changing_is_no_result():
    world, client = prepared()
    command = client.command(SET_DATA, set_data_record("/a", b"x"))
    with pytest.raises(struct.error):
        world.machine.apply(command, 1 << 70, True)  # a time that fits no Stat, seen when the change was made


@pytest.mark.skipif(not plan.__file__.endswith(".py"), reason="a compiled module cannot be patched")
@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_a_machine_out_of_memory_has_no_result(monkeypatch, error):
    def exhausted(*arguments):
        raise error

    monkeypatch.setattr("multipaxos.coordination.machine.refuse_set_data", exhausted)
    world, client = prepared()
    with pytest.raises(error):
        world.machine.apply(client.command(SET_DATA, set_data_record("/a", b"x")), 5, True)


def story():
    """A mixed history that leaves sets of everything behind; its commands do not depend on results."""
    found = []
    one, two = (1, 1, 1), (2, 1, 1)
    first, second = (1 << 32) + 1, (1 << 32) + 2
    found.append(commands.encode_found(65537, bytes(32)))
    found.append(commands.encode_attach(0, one, 5000, commands.NO_OWNER))
    found.append(commands.encode_attach(0, two, 6000, commands.NO_OWNER))
    for number in range(60):
        session, owner = ((first, one), (second, two))[number % 2]
        ids = [ALICE] if number % 3 else []
        path = f"/{'abcdef'[number % 6]}{number}"
        acl = OPEN if number % 5 else [(31, "digest", f"u:{number % 4}"), (1, "world", "anyone")]
        found.append(
            commands.encode_request(session, owner, ids, 1, create_record(path, b"x" * number, number % 4, acl))
        )
        found.append(commands.encode_request(session, owner, ids, 5, set_data_record(path, b"y")))
        found.append(commands.encode_request(session, owner, ids, 2, versioned_record(f"/b{number - 5}", 1)))
        found.append(bytes((number,)) * number)
    found.append(commands.encode_close(first, one))
    return found


def digest_of_story(wanted_every):
    machine = Machine()
    machine.begin_epoch(1, 65537)
    events = hashlib.sha256()
    for number, command in enumerate(story()):
        machine.apply(command, 1000 + number, wanted_every != 0 and number % wanted_every == 0)
        events.update(repr((machine.changes, machine.ended, machine.get_children("/", ())[1])).encode())
    return machine.digest() + events.hexdigest()


def test_wanted_makes_no_difference():
    assert len({digest_of_story(every) for every in (0, 1, 2, 3)}) == 1


def test_the_hash_seed_makes_no_difference():
    program = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        from test_poison import digest_of_story
        print(digest_of_story(int(sys.argv[2])))
        """
    )
    here = os.path.dirname(__file__)
    found = {digest_of_story(1)}
    for seed, wanted_every in (("0", "0"), ("1", "1"), ("4242", "2")):
        environment = dict(os.environ, PYTHONHASHSEED=seed)
        command = [sys.executable, "-c", program, here, wanted_every]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_the_digest_speaks_of_values_and_not_of_how_they_came_about():
    """Same nodes, made in another order but at the same zxids, give the same digest (rule-R50)."""
    digests = []
    for order in (["/x", "/y", "/z"], ["/z", "/y", "/x"]):
        world = World()
        client = world.client()
        client.multi(
            *[(CREATE, create_record(path, acl=[(31, "world", "anyone"), (1, *ALICE)], flags=1)) for path in order]
        )
        digests.append(world.machine.digest())
    assert digests[0] == digests[1]


def test_the_digest_sees_every_field():
    def flipped(change):
        world, _ = prepared()
        change(world.machine)
        return world.machine.digest()

    def set_field(name):
        def change(machine):
            node = machine.tree.nodes["/a"]
            setattr(node, name, getattr(node, name) + 1)

        return change

    def set_data(machine):
        machine.tree.nodes["/a"].data = b"datb"

    def set_acl(machine):
        machine.tree.nodes["/a"].acl = machine.tree.nodes["/zookeeper/config"].acl

    def set_null(machine):
        machine.tree.nodes["/a/b"].data = None

    def set_creates(machine):
        machine.tree.nodes["/a"].brood.creates += 1

    def set_pzxid(machine):
        machine.tree.nodes["/a"].brood.pzxid += 1

    def set_timeout(machine):
        next(iter(machine.sessions.values())).timeout_ms += 1

    def set_owner(machine):
        next(iter(machine.sessions.values())).owner = (9, 9, 9)

    def set_zxid(machine):
        machine.zxid += 1

    def set_reign(machine):
        machine.reign += 1

    changes = [set_field(name) for name in ("czxid", "mzxid", "ctime", "mtime", "version", "aversion", "owner")]
    changes += [set_data, set_acl, set_null, set_creates, set_pzxid, set_timeout, set_owner, set_zxid, set_reign]
    digests = {flipped(change) for change in changes} | {flipped(lambda machine: None)}
    assert len(digests) == len(changes) + 1


def test_no_cycles_are_left_behind():
    """The collector is off in a running replica: what commands leave behind must go by itself."""
    import gc

    world, client = prepared()
    gc.collect()
    gc.disable()
    try:
        for command in good_commands(client)[:9]:
            world.machine.apply(command, 5, True)
        for number in range(100):
            world.machine.apply(client.command(CREATE, create_record(f"/n{number}", acl=[(31, *ALICE)])), 5, True)
            world.machine.apply(client.command(DELETE, versioned_record(f"/n{number}")), 5, True)
            world.machine.apply(bytes(number), 5, True)
        assert gc.collect() == 0
    finally:
        gc.enable()
