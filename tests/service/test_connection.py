"""One client connection: handshake, framing, every opcode, order of replies. Bytes in, bytes out."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_world import HEARTBEAT, SECRET, SETTINGS, Client, World

from multipaxos.service.settings import ServiceSettings
from multipaxos.wire import zookeeper as zk


def golden(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def header(reply: bytes) -> tuple[int, int]:
    """(xid, err)"""
    read = zk.decode_reply_header(reply)
    return read.xid, read.err


def hello(
    session: int = 0, password: bytes | None = zk.NO_PASSWORD, seen: int = 0, read_only: bool | None = False
) -> bytes:
    return zk.frame(zk.encode_connect_request(zk.ConnectRequest(0, seen, 10_000, session, password, read_only)))


# The handshake.


def test_a_new_session_in_golden_bytes() -> None:
    world = World()
    client = world.client()
    client.send(
        golden(
            "0000002d 00000000 0000000000000000 00002710 0000000000000000 0000001000000000000000000000000000000000 00"
        )
    )
    assert client.raw == b""
    world.settle()
    response = zk.decode_connect_response(client.raw[4:])
    password = world.services[1].machine.password(response.session)
    assert client.raw == (
        golden("00000025 00000000 00002710")
        + response.session.to_bytes(8, "big")
        + golden("00000010")
        + password
        + b"\0"
    )
    assert response.session == world.services[1].machine.zxid


@pytest.mark.parametrize(("read_only", "size"), [(None, 36), (False, 37), (True, 37)])
def test_the_read_only_byte_is_answered_only_if_asked_for(read_only: bool | None, size: int) -> None:
    world = World()
    client = world.client()
    client.send(hello(read_only=read_only))
    world.settle()
    (response,) = client.take()
    assert len(response) == size
    assert zk.decode_connect_response(response).read_only is (None if read_only is None else False)


@pytest.mark.parametrize(("asked_ms", "given_ms"), [(-1, 4000), (0, 4000), (5000, 5000), (90_000, 40_000)])
def test_the_timeout_is_negotiated(asked_ms: int, given_ms: int) -> None:
    world = World()
    client = world.client()
    assert client.connect(timeout_ms=asked_ms).timeout_ms == given_ms
    again = world.client()
    assert again.connect(client.session, client.password, timeout_ms=7000).timeout_ms == 7000
    assert world.services[1].machine.sessions[client.session].timeout_ms == 7000


@pytest.mark.parametrize("password", [None, b"", bytes(16)])
def test_a_new_session_needs_no_password(password: bytes | None) -> None:
    world = World()
    client = world.client()
    client.send(hello(password=password))
    world.settle()
    assert zk.decode_connect_response(client.take()[0]).session > 0


@pytest.mark.parametrize("password", [None, b"", b"x" * 15, bytes(16)])
def test_a_wrong_password_is_told_expired_and_closed(password: bytes | None) -> None:
    world = World()
    session = world.open().session
    client = world.client()
    client.send(hello(session, password))
    world.settle()
    assert client.raw == golden(
        "00000025 00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00"
    )
    assert client.is_closed


@pytest.mark.parametrize("session", [77, -1, -(2**63)])
def test_an_unknown_session_is_told_expired_by_the_ledger(session: int) -> None:
    world = World()
    password = world.services[1].machine.password(session)
    client = world.client()
    client.send(hello(session, password))
    world.collect(1)
    assert client.raw == b""
    world.settle()
    assert zk.decode_connect_response(client.take()[0])[1:4] == (0, 0, bytes(16))
    assert client.is_closed


def test_a_session_opened_elsewhere_a_moment_ago_is_not_unknown() -> None:
    world = World(2)
    world.held = {2}
    first = world.open(1)
    second = world.client(2)
    second.send(hello(first.session, first.password))
    world.settle()
    assert second.raw == b""
    assert not second.is_closed
    world.held = set()
    world.settle()
    assert zk.decode_connect_response(second.take()[0]).session == first.session
    assert first.is_closed


def test_frames_behind_the_handshake_are_kept_and_dropped_if_it_is_refused() -> None:
    world = World()
    behind = zk.request_frame(1, zk.OP_CREATE, zk.encode_create("/a", b"x")) + zk.request_frame(2, zk.OP_WHO_AM_I)
    client = world.client()
    client.send(hello() + behind)
    world.settle()
    _, created, ids = client.take()
    assert header(created) == (1, 0)
    assert zk.decode_who_am_i(ids, 16) == [("ip", "10.0.0.1")]
    refused = world.client()
    refused.send(hello(77, world.services[1].machine.password(77)) + zk.request_frame(1, zk.OP_DELETE, b""))
    world.settle()
    assert len(refused.take()) == 1
    assert refused.is_closed


def test_a_client_that_has_seen_more_waits_a_little_and_is_closed_without_an_answer() -> None:
    world = World()
    client = world.client()
    client.send(hello(seen=world.services[1].machine.zxid + 1))
    world.run(SETTINGS.behind_wait_ns - 2 * HEARTBEAT)
    assert not client.is_closed
    world.run(3 * HEARTBEAT)
    assert client.is_closed
    assert client.raw == b""


def test_a_client_that_has_seen_more_is_answered_once_this_replica_has_caught_up() -> None:
    world = World(2)
    writer = world.open(1)
    world.held = {2}
    assert writer.call(zk.OP_CREATE, zk.encode_create("/a", b""))[0] == 0
    client = world.client(2)
    client.send(hello(seen=world.services[1].machine.zxid))
    world.settle()
    assert client.raw == b""
    world.held = set()
    world.settle()
    assert zk.decode_connect_response(client.take()[0]).session > 0


def test_handshakes_wait_for_the_secret() -> None:
    world = World(2, is_ready=False)
    world.elect(1)
    world.heartbeat()
    world.held = {2}
    client = world.client(2)
    client.send(hello())
    assert world.services[2].machine.has_secret  # proposed by the first leader as soon as it reigns
    assert world.services[2].out.commands
    other = World(2, is_ready=False)
    other.held = {2}
    other.elect(1)
    other.heartbeat()
    early = other.client(2)
    early.send(hello())
    assert other.services[2].out.commands == []
    other.held = set()
    other.settle()
    assert zk.decode_connect_response(early.take()[0]).password == other.services[1].machine.password(
        other.services[1].machine.zxid
    )


def test_a_handshake_that_never_comes_is_given_up() -> None:
    world = World()
    silent = world.client()
    half = world.client()
    half.send(hello()[:20])
    world.run(SETTINGS.handshake_ns + HEARTBEAT)
    assert silent.is_closed
    assert half.is_closed
    assert silent.raw + half.raw == b""


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\x7f\0\0\0", b"GET /", b"\0\0\0\0", b"\0\0\0\x05hello", b"\0\0\0\x1b" + b"\xff" * 27],
)
def test_what_is_no_handshake_is_closed_without_an_answer(data: bytes) -> None:
    world = World()
    client = world.client()
    client.send(data)
    world.settle()
    assert client.is_closed
    assert client.raw == b""


def test_connections_per_address_are_limited() -> None:
    world = World(settings=replace(SETTINGS, connections_per_address_max=2))
    first, second, third = world.client(), world.client(), world.client()
    other = world.client(address="10.0.0.2:1")
    world.settle()
    assert [each.is_closed for each in (first, second, third, other)] == [False, False, True, False]
    first.close()
    assert not world.client().is_closed


# Framing.


def test_golden_create_error_ping_multi() -> None:
    world = World()
    client = world.open()
    zxid = world.services[1].machine.zxid
    client.raw = b""
    client.send(
        golden(
            "00000032 00000001 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64"
            "00000006 616e796f6e65 00000000"
        )
    )
    world.settle()
    assert client.raw == golden("00000016 00000001") + (zxid + 1).to_bytes(8, "big") + golden("00000000 00000002 2f61")
    client.raw = b""
    client.send(zk.request_frame(2, zk.OP_GET_DATA, zk.encode_watched_path("/b")))
    world.settle()
    assert client.raw == golden("00000010 00000002") + (zxid + 1).to_bytes(8, "big") + golden("ffffff9b")
    client.raw = b""
    client.send(
        golden(
            "00000037 00000003 0000000e 0000000d 00 ffffffff 00000002 2f61 00000000 00000002 00 ffffffff"
            "00000002 2f62 ffffffff ffffffff 01 ffffffff"
        )
    )
    world.settle()
    assert client.raw == golden("00000033 00000003") + (zxid + 1).to_bytes(8, "big") + golden(
        "00000000 ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b ffffffff 01 ffffffff"
    )
    client.raw = b""
    client.send(golden("00000008 fffffffe 0000000b"))
    world.heartbeat()
    assert client.raw == golden("00000010 fffffffe") + (zxid + 1).to_bytes(8, "big") + golden("00000000")
    client.take()
    assert client.call(zk.OP_GET_DATA, zk.encode_watched_path("/a", True))[0] == 0
    client.raw = b""
    client.request(zk.OP_SET_DATA, zk.encode_set_data("/a", b"y"))
    world.settle()
    event = (
        golden("0000001e ffffffff") + (zxid + 2).to_bytes(8, "big") + golden("00000000 00000003 00000003 00000002 2f61")
    )
    assert client.raw.startswith(event)


def test_a_frame_up_to_the_limit_is_accepted_and_one_above_is_closed() -> None:
    world = World()
    client = world.open()
    client.call(zk.OP_CREATE, zk.encode_create("/a", b""))
    room = zk.FRAME_BYTES_MAX - 8 - len(zk.encode_set_data("/a", b""))
    frame = zk.request_frame(9, zk.OP_SET_DATA, zk.encode_set_data("/a", b"x" * room))
    for at in range(0, len(frame), 65_536):
        client.send(frame[at : at + 65_536])
    world.settle()
    assert header(client.take()[0]) == (9, 0)
    client.send((zk.FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    world.settle()
    assert client.is_closed
    assert client.take() == []


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x07", b"\0\0\0\x04\0\0\0\1" + bytes(8)])
def test_a_frame_without_a_header_is_closed(data: bytes) -> None:
    world = World()
    client = world.open()
    client.send(data)
    world.settle()
    assert client.is_closed
    assert client.take() == []


def script() -> bytes:
    """A little of everything, pipelined."""
    requests = [
        (zk.OP_CREATE, zk.encode_create("/a", b"1")),
        (zk.OP_GET_DATA, zk.encode_watched_path("/a", True)),
        (zk.OP_SET_DATA, zk.encode_set_data("/a", b"2")),
        (zk.OP_GET_DATA, zk.encode_watched_path("/a")),
        (zk.OP_PING, b""),
        (zk.OP_AUTH, zk.encode_auth("digest", b"u:p")),
        (zk.OP_WHO_AM_I, b""),
        (zk.OP_SET_DATA, zk.encode_set_data("/a", b"3", 7)),
        (zk.OP_GET_CHILDREN, zk.encode_watched_path("/")),
        (zk.OP_CLOSE_SESSION, b""),
        (zk.OP_GET_DATA, zk.encode_watched_path("/a")),
    ]
    frames = [zk.request_frame(xid, opcode, record) for xid, (opcode, record) in enumerate(requests, 1)]
    return hello() + b"".join(frames)


def play(world: World, client: Client, pieces: list[bytes]) -> bytes:
    """All pieces, and one decree at the end."""
    client.send(pieces[0])
    world.settle()
    for piece in pieces[1:]:
        client.send(piece)
    world.settle()
    world.heartbeat()
    return client.raw


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(49, len(script())), max_size=12))
def test_output_does_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    whole = World()
    expected = play(whole, whole.client(), [script()[:49], script()[49:]])
    world = World()
    places = [0, 49, *sorted(cuts), len(script())]
    client = world.client()
    assert play(world, client, [script()[a:b] for a, b in itertools.pairwise(places)]) == expected
    assert client.is_closed


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, len(script()) - 1), max_size=6))
def test_it_works_however_the_stream_is_cut_with_turns_between(cuts: list[int]) -> None:
    world = World()
    client = world.client()
    places = [0, *sorted(set(cuts)), len(script())]
    for begin, end in itertools.pairwise(places):
        client.send(script()[begin:end])
        world.settle()
    world.heartbeat()
    _, *replies = client.frames
    # The event of its own set precedes that set's reply; the ping is answered last or never, for the session has ended.
    assert [header(reply)[0] for reply in replies if header(reply)[0] != 5] == [1, 2, -1, 3, 4, 6, 7, 8, 9, 10]
    assert client.is_closed


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_never_raises_before_the_handshake(data: bytes) -> None:
    world = World()
    client = world.client()
    client.send(data)
    world.settle()


OPCODES = st.sampled_from([*range(-12, 25), *range(99, 110), 500, 2**31 - 1, -(2**31)])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(OPCODES, st.binary(max_size=40)), max_size=6), st.binary(max_size=12))
def test_garbage_never_raises_after_it(requests: list[tuple[int, bytes]], behind: bytes) -> None:
    world = World()
    client = world.open()
    for opcode, record in requests:
        client.request(opcode, record)
    client.send(behind)
    world.settle()
    world.heartbeat()
    if not client.is_closed:
        assert len(client.take()) == len(requests)
    world.services[1].machine.check()


# Every opcode.


def stat_of(record: bytes) -> zk.Stat:
    assert len(record) == zk.STAT_BYTES
    return zk.decode_stat(record)


def test_writes_and_reads() -> None:
    client = World().open()
    assert client.call(zk.OP_CREATE, zk.encode_create("/a", None)) == (0, zk.encode_path("/a"))
    err, record = client.call(zk.OP_CREATE2, zk.encode_create("/a/b", b"x"))
    assert err == 0
    path, stat = zk.decode_path_stat(record)
    assert path == "/a/b"
    assert client.call(zk.OP_GET_DATA, zk.encode_watched_path("/a/b")) == (
        0, zk.encode_data_stat(b"x", zk.write_stat(stat))
    )  # fmt: skip
    assert zk.decode_data_stat(client.call(zk.OP_GET_DATA, zk.encode_watched_path("/a"))[1])[0] is None
    assert client.call(zk.OP_EXISTS, zk.encode_watched_path("/a/b")) == (0, zk.write_stat(stat))
    assert client.call(zk.OP_EXISTS, zk.encode_watched_path("/no")) == (zk.ERR_NO_NODE, b"")
    err, record = client.call(zk.OP_SET_DATA, zk.encode_set_data("/a/b", b"yy", 0))
    assert (err, stat_of(record).version, stat_of(record).data_length) == (0, 1, 2)
    assert client.call(zk.OP_SET_DATA, zk.encode_set_data("/a/b", b"", 0)) == (zk.ERR_BAD_VERSION, b"")
    assert client.call(zk.OP_GET_CHILDREN, zk.encode_watched_path("/a")) == (0, zk.encode_children(["b"]))
    err, record = client.call(zk.OP_GET_CHILDREN2, zk.encode_watched_path("/a"))
    children, stat = zk.decode_children_stat(record)
    assert (err, children, stat.num_children) == (0, ["b"], 1)
    assert client.call(zk.OP_GET_CHILDREN, zk.encode_watched_path("/no")) == (zk.ERR_NO_NODE, b"")
    assert client.call(zk.OP_GET_ALL_CHILDREN_NUMBER, zk.encode_path("/a")) == (0, b"\0\0\0\1")
    assert client.call(zk.OP_GET_ALL_CHILDREN_NUMBER, zk.encode_path("/no")) == (zk.ERR_NO_NODE, b"")
    assert client.call(zk.OP_SYNC, zk.encode_path("/a")) == (0, zk.encode_path("/a"))
    assert client.call(zk.OP_CREATE_CONTAINER, zk.encode_create("/c", b"", flags=4))[0] == 0
    assert client.call(zk.OP_CREATE_TTL, zk.encode_create_ttl("/t", b"", zk.OPEN_ACL, 5, 1000)) == (
        zk.ERR_UNIMPLEMENTED, b""
    )  # fmt: skip
    assert client.call(zk.OP_DELETE, zk.encode_versioned_path("/a/b", 1)) == (0, b"")
    assert client.call(zk.OP_DELETE, zk.encode_versioned_path("/a/b", 1)) == (zk.ERR_NO_NODE, b"")
    assert client.call(zk.OP_RECONFIG, zk.encode_reconfig(None, None, None)) == (zk.ERR_RECONFIG_DISABLED, b"")


def test_acl_and_ids() -> None:
    client = World().open()
    assert client.call(zk.OP_WHO_AM_I) == (0, zk.encode_who_am_i([("ip", "10.0.0.1")]))
    assert client.call(zk.OP_AUTH, zk.encode_auth("digest", b"super:test")) == (0, b"")
    assert client.call(zk.OP_AUTH, zk.encode_auth("ip", b"")) == (0, b"")
    ids = [("ip", "10.0.0.1"), ("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")]
    assert client.call(zk.OP_WHO_AM_I) == (0, zk.encode_who_am_i(ids))
    assert client.call(zk.OP_CREATE, zk.encode_create("/p", b"", [zk.Acl(31, "auth", None)]))[0] == 0
    err, record = client.call(zk.OP_GET_ACL, zk.encode_path("/p"))
    acl, stat = zk.decode_acl_stat(record)
    assert (err, acl) == (0, (zk.Acl(31, *ids[1]),))
    other = client.world.open()
    assert other.call(zk.OP_GET_DATA, zk.encode_watched_path("/p")) == (zk.ERR_NO_AUTH, b"")
    assert other.call(zk.OP_SET_ACL, zk.encode_set_acl("/p", zk.OPEN_ACL)) == (zk.ERR_NO_AUTH, b"")
    err, record = client.call(zk.OP_SET_ACL, zk.encode_set_acl("/p", zk.OPEN_ACL, stat.aversion))
    assert (err, stat_of(record).aversion) == (0, 1)
    assert other.call(zk.OP_GET_ACL, zk.encode_path("/no")) == (zk.ERR_NO_NODE, b"")


def test_the_super_digest_passes_every_check() -> None:
    world = World(settings=replace(SETTINGS, super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU="))
    owner, guest = world.open(), world.open()
    owner.call(zk.OP_AUTH, zk.encode_auth("digest", b"me:secret"))
    owner.call(zk.OP_CREATE, zk.encode_create("/p", b"", [zk.Acl(31, "auth", "")]))
    assert guest.call(zk.OP_GET_DATA, zk.encode_watched_path("/p"))[0] == zk.ERR_NO_AUTH
    assert guest.call(zk.OP_AUTH, zk.encode_auth("digest", b"super:test"))[0] == 0
    assert guest.call(zk.OP_GET_DATA, zk.encode_watched_path("/p"))[0] == 0
    assert guest.call(zk.OP_DELETE, zk.encode_versioned_path("/p"))[0] == 0


@pytest.mark.parametrize(("scheme", "auth"), [("world", b"anyone"), ("x509", b""), (None, None), ("digest", None)])
def test_refused_auth_is_answered_and_closed(scheme: str | None, auth: bytes | None) -> None:
    client = World().open()
    assert client.call(zk.OP_AUTH, zk.encode_auth(scheme, auth)) == (zk.ERR_AUTH_FAILED, b"")
    assert client.is_closed


def test_auth_is_answered_in_order_and_holds_for_what_comes_after_it() -> None:
    world = World()
    client = world.open()
    client.request(zk.OP_CREATE, zk.encode_create("/before", b"", [zk.Acl(31, "auth", "")]))
    client.request(zk.OP_WHO_AM_I)
    client.send(zk.request_frame(zk.XID_AUTH, zk.OP_AUTH, zk.encode_auth("digest", b"u:p")))
    client.request(zk.OP_WHO_AM_I)
    client.request(zk.OP_CREATE, zk.encode_create("/after", b"", [zk.Acl(31, "auth", "")]))
    world.collect_all()
    assert client.take() == []
    world.settle()
    replies = client.take()
    assert [header(reply) for reply in replies] == [(1, zk.ERR_INVALID_ACL), (2, 0), (-4, 0), (3, 0), (4, 0)]
    assert zk.decode_reply_header(replies[2]).zxid == 0
    assert [len(zk.decode_who_am_i(replies[at], 16)) for at in (1, 3)] == [1, 2]


def test_too_many_ids_for_a_command_are_refused() -> None:
    client = World().open()
    for number in range(254):
        assert client.call(zk.OP_AUTH, zk.encode_auth("digest", b"u:%d" % number))[0] == 0
    assert client.call(zk.OP_AUTH, zk.encode_auth("digest", b"u:p"))[0] == zk.ERR_AUTH_FAILED
    assert client.is_closed


def test_sasl_is_refused_and_closed() -> None:
    client = World().open()
    assert client.call(zk.OP_SASL, b"\0\0\0\0") == (zk.ERR_AUTH_FAILED, b"")
    assert client.is_closed


@pytest.mark.parametrize("opcode", [0, 10, 13, 20, 23, 99, 108, 500, -1, -10, -12])
def test_an_unknown_opcode_is_answered_and_closed(opcode: int) -> None:
    world = World()
    client = world.open()
    client.request(zk.OP_CREATE, zk.encode_create("/a", b""))
    client.request(opcode)
    client.request(zk.OP_CREATE, zk.encode_create("/b", b""))
    world.settle()
    assert [header(reply) for reply in client.take()] == [(1, 0), (2, zk.ERR_UNIMPLEMENTED)]
    assert client.is_closed
    assert world.services[1].machine.get_data("/b", ())[0] == zk.ERR_NO_NODE
    assert client.session in world.services[1].machine.sessions


@pytest.mark.parametrize(
    "opcode",
    [
        zk.OP_CREATE, zk.OP_DELETE, zk.OP_EXISTS, zk.OP_GET_DATA, zk.OP_SET_DATA, zk.OP_GET_ACL, zk.OP_SET_ACL,
        zk.OP_GET_CHILDREN, zk.OP_SYNC, zk.OP_GET_CHILDREN2, zk.OP_MULTI, zk.OP_CREATE2, zk.OP_CREATE_CONTAINER,
        zk.OP_CREATE_TTL, zk.OP_MULTI_READ, zk.OP_AUTH, zk.OP_SET_WATCHES, zk.OP_GET_EPHEMERALS,
        zk.OP_GET_ALL_CHILDREN_NUMBER, zk.OP_SET_WATCHES2, zk.OP_ADD_WATCH, zk.OP_CHECK_WATCHES, zk.OP_REMOVE_WATCHES,
    ],
)  # fmt: skip
@pytest.mark.parametrize("record", [b"", b"\0\0\0\x09/a", b"\xff\xff\xff\xfe"])
def test_a_malformed_record_is_a_bare_header_and_the_connection_stays(opcode: int, record: bytes) -> None:
    client = World().open()
    assert client.call(opcode, record) == (zk.ERR_MARSHALLING, b"")
    assert client.call(zk.OP_WHO_AM_I)[0] == 0


def test_multi_and_multi_read() -> None:
    client = World().open()
    err, record = client.call(
        zk.OP_MULTI,
        zk.encode_multi(
            [
                (zk.OP_CREATE, zk.encode_create("/a", b"x")),
                (zk.OP_CREATE2, zk.encode_create("/a/b", b"y")),
                (zk.OP_SET_DATA, zk.encode_set_data("/a", b"z", 0)),
                (zk.OP_CHECK, zk.encode_versioned_path("/a", 1)),
            ]
        ),
    )
    assert err == 0
    assert [result.type for result in zk.decode_multi_results(record)] == [1, 15, 5, 13]
    reads = [
        (zk.OP_GET_DATA, zk.encode_watched_path("/a")),
        (zk.OP_GET_DATA, zk.encode_watched_path("/no")),
        (zk.OP_GET_CHILDREN, zk.encode_watched_path("/a", True)),
    ]
    err, record = client.call(zk.OP_MULTI_READ, zk.encode_multi(reads))
    first, second, third = zk.decode_multi_results(record)
    assert (err, first.data, second.err, third.children) == (0, b"z", zk.ERR_NO_NODE, ["b"])
    mixed = [*reads, (zk.OP_DELETE, zk.encode_versioned_path("/a/b"))]
    assert client.call(zk.OP_MULTI_READ, zk.encode_multi(mixed)) == (zk.ERR_MARSHALLING, b"")
    assert client.call(zk.OP_MULTI, zk.encode_multi(mixed)) == (zk.ERR_MARSHALLING, b"")


def test_ephemerals_and_the_end_of_a_session() -> None:
    world = World()
    client, other = world.open(), world.open()
    for path in ("/e1", "/e2", "/x"):
        client.call(zk.OP_CREATE, zk.encode_create(path, b"", flags=zk.FLAG_EPHEMERAL))
    assert client.call(zk.OP_GET_EPHEMERALS, zk.encode_path("/e")) == (0, zk.encode_children(["/e1", "/e2"]))
    assert client.call(zk.OP_GET_EPHEMERALS, zk.encode_path(None)) == (0, zk.encode_children(["/e1", "/e2", "/x"]))
    assert other.call(zk.OP_GET_EPHEMERALS, zk.encode_path("")) == (0, zk.encode_children([]))
    other.call(zk.OP_EXISTS, zk.encode_watched_path("/x", True))
    client.request(zk.OP_CLOSE_SESSION)
    client.request(zk.OP_CREATE, zk.encode_create("/late", b""))
    world.settle()
    (reply,) = client.take()
    assert len(reply) == 16
    assert header(reply) == (client.xid - 1, 0)
    assert client.is_closed
    assert client.session not in world.services[1].machine.sessions
    (event,) = other.take()
    assert zk.decode_event(event, 16) == zk.WatcherEvent(zk.EVENT_DELETED, 3, "/x")
    assert other.call(zk.OP_EXISTS, zk.encode_watched_path("/late"))[0] == zk.ERR_NO_NODE


# Watches.


def events(frames: list[bytes]) -> list[tuple[int, str]]:
    found = []
    for each in frames:
        assert zk.decode_reply_header(each).xid == zk.XID_EVENT
        event = zk.decode_event(each, 16)
        assert event.state == zk.STATE_SYNC_CONNECTED
        found.append((event.type, event.path))
    return found


def test_the_own_event_precedes_the_own_reply_and_watches_are_one_shot() -> None:
    world = World()
    client = world.open()
    assert client.call(zk.OP_EXISTS, zk.encode_watched_path("/a", True))[0] == zk.ERR_NO_NODE
    client.request(zk.OP_CREATE, zk.encode_create("/a", b""))
    world.settle()
    event, reply = client.take()
    assert events([event]) == [(zk.EVENT_CREATED, "/a")]
    assert zk.decode_reply_header(event).zxid == zk.decode_reply_header(reply).zxid
    assert header(reply) == (2, 0)
    assert client.call(zk.OP_SET_DATA, zk.encode_set_data("/a", b"1"))[0] == 0


def test_a_read_that_fails_sets_no_watch() -> None:
    world = World()
    client, other = world.open(), world.open()
    assert client.call(zk.OP_GET_DATA, zk.encode_watched_path("/a", True))[0] == zk.ERR_NO_NODE
    assert client.call(zk.OP_GET_CHILDREN2, zk.encode_watched_path("/a", True))[0] == zk.ERR_NO_NODE
    other.call(zk.OP_CREATE, zk.encode_create("/a", b""))
    assert client.take() == []


def test_add_check_remove_watches() -> None:
    world = World()
    client, other = world.open(), world.open()
    assert client.call(zk.OP_ADD_WATCH, zk.encode_path_type("/r", zk.WATCH_RECURSIVE)) == (0, b"\0\0\0\0")
    assert client.call(zk.OP_ADD_WATCH, zk.encode_path_type("/p", zk.WATCH_PERSISTENT)) == (0, b"\0\0\0\0")
    assert client.call(zk.OP_ADD_WATCH, zk.encode_path_type("/p", 2)) == (zk.ERR_BAD_ARGUMENTS, b"")
    for path in ("/r", "/r/a", "/p", "/p/a"):
        other.call(zk.OP_CREATE, zk.encode_create(path, b""))
    assert events(client.take()) == [
        (zk.EVENT_CREATED, "/r"),
        (zk.EVENT_CREATED, "/r/a"),
        (zk.EVENT_CREATED, "/p"),
        (zk.EVENT_CHILDREN_CHANGED, "/p"),
    ]
    assert client.call(zk.OP_CHECK_WATCHES, zk.encode_path_type("/r", zk.WATCHER_ANY)) == (0, b"")
    assert client.call(zk.OP_CHECK_WATCHES, zk.encode_path_type("/r", zk.WATCHER_DATA)) == (zk.ERR_NO_WATCHER, b"")
    assert other.call(zk.OP_CHECK_WATCHES, zk.encode_path_type("/r", zk.WATCHER_ANY)) == (zk.ERR_NO_WATCHER, b"")
    assert client.call(zk.OP_REMOVE_WATCHES, zk.encode_path_type("/r", zk.WATCHER_RECURSIVE)) == (0, b"")
    assert client.call(zk.OP_REMOVE_WATCHES, zk.encode_path_type("/r", zk.WATCHER_ANY)) == (zk.ERR_NO_WATCHER, b"")
    other.call(zk.OP_SET_DATA, zk.encode_set_data("/r", b"1"))
    assert client.take() == []


@pytest.mark.parametrize("opcode", [zk.OP_SET_WATCHES, zk.OP_SET_WATCHES2])
def test_set_watches_tells_what_was_missed_before_its_reply_and_sets_the_rest(opcode: int) -> None:
    world = World()
    client, other = world.open(), world.open()
    for path in ("/same", "/changed", "/gone", "/kids"):
        other.call(zk.OP_CREATE, zk.encode_create(path, b""))
    seen = world.services[1].machine.zxid
    other.call(zk.OP_SET_DATA, zk.encode_set_data("/changed", b"1"))
    other.call(zk.OP_DELETE, zk.encode_versioned_path("/gone"))
    other.call(zk.OP_CREATE, zk.encode_create("/kids/a", b""))
    other.call(zk.OP_CREATE, zk.encode_create("/new", b""))
    lists = (["/same", "/changed", "/gone"], ["/new", "/later"], ["/kids", "/gone", "/same"])
    record = zk.encode_set_watches(seen, *lists)
    if opcode == zk.OP_SET_WATCHES2:
        record = zk.encode_set_watches2(seen, *lists, ["/p"], ["/r"])
    client.send(zk.request_frame(zk.XID_SET_WATCHES, opcode, record))
    world.settle()
    *missed, reply = client.take()
    assert {zk.decode_reply_header(each).zxid for each in missed} == {-1}
    assert events(missed) == [
        (zk.EVENT_DATA_CHANGED, "/changed"),
        (zk.EVENT_DELETED, "/gone"),
        (zk.EVENT_CREATED, "/new"),
        (zk.EVENT_CHILDREN_CHANGED, "/kids"),
    ]
    assert header(reply) == (zk.XID_SET_WATCHES, 0)
    assert len(reply) == 16
    other.call(zk.OP_CREATE, zk.encode_create("/later", b""))
    other.call(zk.OP_SET_DATA, zk.encode_set_data("/same", b"1"))
    other.call(zk.OP_CREATE, zk.encode_create("/same/a", b""))
    other.call(zk.OP_CREATE, zk.encode_create("/p", b""))
    other.call(zk.OP_CREATE, zk.encode_create("/r", b""))
    expected = [(zk.EVENT_CREATED, "/later"), (zk.EVENT_DATA_CHANGED, "/same"), (zk.EVENT_CHILDREN_CHANGED, "/same")]
    if opcode == zk.OP_SET_WATCHES2:
        expected += [(zk.EVENT_CREATED, "/p"), (zk.EVENT_CREATED, "/r")]
    assert events(client.take()) == expected


def test_an_event_is_not_for_who_may_not_read() -> None:
    world = World()
    client, other = world.open(), world.open()
    client.call(zk.OP_EXISTS, zk.encode_watched_path("/s", True))
    client.call(zk.OP_EXISTS, zk.encode_watched_path("/t", True))
    client.call(zk.OP_AUTH, zk.encode_auth("digest", b"u:p"))
    closed_acl = [zk.Acl(31, "digest", "someone:else")]
    other.call(zk.OP_CREATE, zk.encode_create("/s", b"", closed_acl))
    open_to_client = [zk.Acl(31, "digest", zk.decode_who_am_i(client.call(zk.OP_WHO_AM_I)[1])[1][1])]
    other.call(zk.OP_CREATE, zk.encode_create("/t", b"", open_to_client))
    assert events(client.take()) == [(zk.EVENT_CREATED, "/t")]


def test_watches_go_with_their_connection() -> None:
    world = World()
    client, other = world.open(), world.open()
    client.call(zk.OP_EXISTS, zk.encode_watched_path("/a", True))
    assert world.services[1].watches.count == 1
    client.close()
    assert world.services[1].watches.count == 0
    other.call(zk.OP_CREATE, zk.encode_create("/a", b""))


# Order.


def test_a_read_between_two_writes_of_one_decree_sees_the_first_only() -> None:
    world = World()
    client = world.open()
    client.call(zk.OP_CREATE, zk.encode_create("/a", b"0"))
    zxid = world.services[1].machine.zxid
    client.request(zk.OP_SET_DATA, zk.encode_set_data("/a", b"1"))
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/a"))
    client.request(zk.OP_SET_DATA, zk.encode_set_data("/a", b"2"))
    client.request(zk.OP_EXISTS, zk.encode_watched_path("/a"))
    slots = len(world.ledger)
    world.settle()
    assert len(world.ledger) == slots + 1
    replies = client.take()
    assert [header(reply) for reply in replies] == [(2, 0), (3, 0), (4, 0), (5, 0)]
    assert zk.decode_data_stat(replies[1], 16)[0] == b"1"
    assert [zk.decode_reply_header(reply).zxid - zxid for reply in replies] == [1, 1, 2, 2]


def test_a_read_with_nothing_before_it_is_answered_in_the_same_call() -> None:
    world = World()
    client = world.open()
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/zookeeper"))
    world.collect(1)
    assert [header(reply) for reply in client.take()] == [(1, 0)]


def test_others_writes_in_the_same_decree_do_not_move_a_read() -> None:
    world = World()
    first, second = world.open(), world.open()
    first.call(zk.OP_CREATE, zk.encode_create("/a", b"0"))
    first.request(zk.OP_SET_DATA, zk.encode_set_data("/a", b"1"))
    first.request(zk.OP_GET_DATA, zk.encode_watched_path("/a"))
    second.request(zk.OP_SET_DATA, zk.encode_set_data("/a", b"2"))
    world.settle()
    assert zk.decode_data_stat(first.take()[1], 16)[0] == b"1"


def test_watches_set_between_writes_fire_between_their_replies() -> None:
    world = World()
    client = world.open()
    client.request(zk.OP_CREATE, zk.encode_create("/a", b""))
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/a", True))
    client.request(zk.OP_SET_DATA, zk.encode_set_data("/a", b"1"))
    world.settle()
    assert [header(reply)[0] for reply in client.take()] == [1, 2, zk.XID_EVENT, 3]


def test_a_ping_holds_up_nothing() -> None:
    world = World()
    client = world.open()
    client.send(zk.request_frame(zk.XID_PING, zk.OP_PING))
    assert client.call(zk.OP_CREATE, zk.encode_create("/a", b""))[0] == 0
    world.heartbeat()
    assert [header(reply) for reply in client.take()] == [(zk.XID_PING, 0)]


# Bounds.


def small(**bounds: int) -> ServiceSettings:
    return replace(SETTINGS, **bounds)  # type: ignore[arg-type]


def test_too_many_unanswered_bytes_stop_reading_until_half_is_answered() -> None:
    world = World(settings=small(unanswered_bytes_max=2000))
    client = world.open()
    for _ in range(20):
        client.request(zk.OP_SET_DATA, zk.encode_set_data("/zookeeper", b"x" * 50))
    world.collect(1)
    assert world.paused[1] == {client.number}
    assert world.services[1].paused == {client.number}
    world.settle()
    assert world.paused[1] == set()
    assert len(client.take()) == 20


def test_a_flood_of_pings_is_bounded_too() -> None:
    world = World(settings=small(unanswered_bytes_max=2000))
    client = world.open()
    client.send(zk.request_frame(zk.XID_PING, zk.OP_PING) * 100)
    world.collect(1)
    assert world.paused[1] == {client.number}
    world.heartbeat()
    assert world.paused[1] == set()
    assert len(client.take()) == 100


def test_a_ping_with_bytes_behind_it_costs_what_is_given_back() -> None:
    world = World()
    client = world.open()
    client.send(zk.request_frame(zk.XID_PING, zk.OP_PING, b"more"))
    world.heartbeat()
    assert len(client.take()) == 1
    assert world.services[1].figures(world.now)["outstanding_bytes"] == 0


def test_all_connections_together_are_bounded() -> None:
    world = World(settings=small(unanswered_bytes_max_all=3000))
    first, second = world.open(), world.open()
    for client in (first, second):
        for _ in range(20):
            client.request(zk.OP_SET_DATA, zk.encode_set_data("/zookeeper", b"x" * 50))
    world.collect(1)
    assert world.paused[1] == {second.number}
    first.request(zk.OP_SYNC, zk.encode_path("/"))
    world.collect(1)
    assert world.paused[1] == {first.number, second.number}
    world.settle()
    assert world.paused[1] == set()
    assert len(first.take()) - 1 == len(second.take()) == 20


def test_requests_behind_a_handshake_are_bounded() -> None:
    world = World(settings=small(request_bytes_max=1000))
    client = world.client()
    client.send(hello() + zk.request_frame(1, zk.OP_WHO_AM_I) * 200)
    world.collect(1)
    assert world.paused[1] == {client.number}
    world.settle()
    assert world.paused[1] == set()
    assert len(client.take()) == 201


def test_large_replies_wait_until_the_ones_before_are_taken() -> None:
    world = World(settings=small(unread_bytes_soft=5000))
    client = world.open()
    client.call(zk.OP_CREATE, zk.encode_create("/a", b"x" * 1000))
    get = zk.encode_watched_path("/a")
    client.send(b"".join([zk.request_frame(xid, zk.OP_GET_DATA, get) for xid in range(100, 120)]))
    service = world.services[1]
    world.collect(1)
    assert len(client.take()) == 5
    assert world.paused[1] == {client.number}
    service.tick(world.now)
    world.collect(1)
    assert client.take() == []  # not before the driver had its turn
    taken = 5
    while taken < 20:
        world.turn(1)
        assert service.wake_at <= world.now
        service.tick(world.now)
        world.collect(1)
        replies = client.take()
        assert 0 < len(replies) <= 5
        taken += len(replies)
    world.turn(1)
    service.tick(world.now)
    world.collect(1)
    assert world.paused[1] == set()


def test_a_client_that_does_not_read_is_not_read_from_and_closed_when_events_pile_up() -> None:
    world = World(settings=small(unread_bytes_max=3000))
    client, other = world.open(), world.open()
    client.call(zk.OP_ADD_WATCH, zk.encode_path_type("/", zk.WATCH_RECURSIVE))
    service = world.services[1]
    service.connection_blocked(client.number)
    world.collect(1)
    assert world.paused[1] == {client.number}
    for number in range(30):
        other.call(zk.OP_CREATE, zk.encode_create(f"/{number}", b""))
    service.connection_unblocked(client.number, world.now)
    world.collect(1)
    assert world.paused[1] == set()
    service.connection_blocked(client.number)
    for number in range(30, 150):
        other.call(zk.OP_CREATE, zk.encode_create(f"/{number}", b""))
    assert client.is_closed


def test_clients_that_do_not_read_are_bounded_together() -> None:
    """Each stays below its own bound; the one that holds most is closed when all hold too much, the others stay."""
    world = World(settings=small(unread_bytes_max=1 << 20, unread_bytes_max_all=6000))
    writer = world.open()
    readers = [world.open() for _ in range(3)]
    service = world.services[1]
    for reader in readers:
        reader.call(zk.OP_ADD_WATCH, zk.encode_path_type("/", zk.WATCH_RECURSIVE))
    readers[0].call(zk.OP_ADD_WATCH, zk.encode_path_type("/", zk.WATCH_PERSISTENT))  # hears more, so it holds more
    for reader in readers:
        service.connection_blocked(reader.number)
    made = 0
    while not any(reader.is_closed for reader in readers):
        writer.call(zk.OP_CREATE, zk.encode_create(f"/{made}", b""))
        made += 1
        assert made < 200
    assert [reader.is_closed for reader in readers] == [True, False, False]
    service.check()
    for reader in readers[1:]:
        service.connection_unblocked(reader.number, world.now)
    world.collect(1)
    service.check()
    assert service.paused == set()


def test_a_full_cluster_refuses_what_grows_before_numbering_it() -> None:
    world = World()
    client = world.open()
    client.call(zk.OP_CREATE, zk.encode_create("/a", b""))
    world.services[1].is_full = True
    client.request(zk.OP_SYNC, zk.encode_path("/"))
    client.request(zk.OP_SET_DATA, zk.encode_set_data("/a", b"x"))
    client.request(zk.OP_DELETE, zk.encode_versioned_path("/a"))
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/a"))
    world.settle()
    assert [header(reply) for reply in client.take()] == [(2, 0), (3, zk.ERR_THROTTLED), (4, 0), (5, zk.ERR_NO_NODE)]
    assert World().open().session > 0


# Settings.


def test_timeouts_that_a_fail_over_could_end_are_refused() -> None:
    with pytest.raises(ValueError, match="2600 ms"):
        ServiceSettings(SECRET, timeout_min_ms=2600)
    ServiceSettings(SECRET, timeout_min_ms=2601)
    with pytest.raises(ValueError, match="below the smallest"):
        ServiceSettings(SECRET, timeout_min_ms=5000, timeout_max_ms=4000)
    with pytest.raises(ValueError, match="32 are needed"):
        ServiceSettings(b"")
    assert "secret" not in repr(ServiceSettings(SECRET))
