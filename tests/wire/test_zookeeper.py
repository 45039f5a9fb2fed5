"""ZooKeeper's records: golden bytes, round trips, and no bytes that do worse than MalformedRecord."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.wire import zookeeper as zk
from multipaxos.wire.jute import MalformedRecord

PASSWORD = bytes(range(16))


def golden(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


CONNECT = golden(
    "0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 00"
)
CONNECTED = golden("00000025 00000000 00002710 0100000000000001 00000010 000102030405060708090a0b0c0d0e0f 00")
REFUSED = golden("00000025 00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00")
CREATE = golden(
    "00000032 00000001 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64"
    "00000006 616e796f6e65 00000000"
)
CREATED = golden("00000016 00000001 0000000000000002 00000000 00000002 2f61")
FAILED = golden("00000010 00000002 0000000000000002 ffffff9b")
EVENT = golden("0000001e ffffffff 0000000000000003 00000000 00000003 00000003 00000002 2f61")
PING = golden("00000008 fffffffe 0000000b")
PINGED = golden("00000010 fffffffe 0000000000000002 00000000")
MULTI = golden(
    "00000037 00000003 0000000e 0000000d 00 ffffffff 00000002 2f61 00000000 00000002 00 ffffffff"
    "00000002 2f62 ffffffff ffffffff 01 ffffffff"
)
MULTI_FAILED = golden(
    "00000033 00000003 0000000000000004 00000000 ffffffff 00 00000000 00000000 ffffffff 00 ffffff9b ffffff9b"
    "ffffffff 01 ffffffff"
)


def test_golden_handshake() -> None:
    request = zk.ConnectRequest(0, 0, 10_000, 0, bytes(16), False)
    assert zk.frame(zk.encode_connect_request(request)) == CONNECT
    assert zk.decode_connect_request(CONNECT[4:]) == request
    assert zk.decode_connect_request(CONNECT, 4) == request
    response = zk.ConnectResponse(0, 10_000, 0x0100000000000001, PASSWORD, False)
    assert zk.frame(zk.encode_connect_response(response)) == CONNECTED
    assert zk.decode_connect_response(CONNECTED[4:]) == response
    refused = zk.ConnectResponse(0, 0, 0, zk.NO_PASSWORD, False)
    assert zk.frame(zk.encode_connect_response(refused)) == REFUSED


def test_the_read_only_byte_may_be_absent_both_ways() -> None:
    request = zk.ConnectRequest(0, 5, 10_000, 7, None, None)
    assert zk.decode_connect_request(zk.encode_connect_request(request)) == request
    response = zk.ConnectResponse(0, 10_000, 1, PASSWORD, None)
    assert len(zk.encode_connect_response(response)) == 36
    assert zk.decode_connect_response(zk.encode_connect_response(response)) == response


def test_golden_create() -> None:
    assert zk.request_frame(1, zk.OP_CREATE, zk.encode_create("/a", b"x")) == CREATE
    assert zk.decode_request_header(CREATE, 4) == (1, zk.OP_CREATE)
    assert zk.decode_request(zk.OP_CREATE, CREATE, 12) == zk.CreateRequest("/a", b"x", zk.OPEN_ACL, 0)
    assert zk.reply_frame(1, 2, 0, zk.encode_path("/a")) == CREATED
    assert zk.decode_reply_header(CREATED, 4) == zk.ReplyHeader(1, 2, 0)
    assert zk.decode_path(CREATED, 20) == "/a"


def test_golden_error_event_ping() -> None:
    assert zk.reply_frame(2, 2, zk.ERR_NO_NODE, b"ignored") == FAILED
    assert zk.event_frame(3, zk.EVENT_DATA_CHANGED, "/a") == EVENT
    assert zk.decode_reply_header(EVENT, 4) == zk.ReplyHeader(zk.XID_EVENT, 3, 0)
    assert zk.decode_event(EVENT, 20) == zk.WatcherEvent(zk.EVENT_DATA_CHANGED, zk.STATE_SYNC_CONNECTED, "/a")
    assert zk.request_frame(zk.XID_PING, zk.OP_PING) == PING
    assert zk.reply_frame(zk.XID_PING, 2, 0) == PINGED


def test_golden_multi() -> None:
    record = zk.encode_multi(
        [(zk.OP_CHECK, zk.encode_versioned_path("/a", 0)), (zk.OP_DELETE, zk.encode_versioned_path("/b"))]
    )
    assert zk.request_frame(3, zk.OP_MULTI, record) == MULTI
    operations: list[tuple[int, zk.Request]] = [
        (zk.OP_CHECK, zk.VersionedPath("/a", 0)),
        (zk.OP_DELETE, zk.VersionedPath("/b", -1)),
    ]
    assert zk.decode_request(zk.OP_MULTI, MULTI, 12) == zk.MultiRequest(operations)
    results = zk.encode_multi_error(0) + zk.encode_multi_error(zk.ERR_NO_NODE) + zk.MULTI_END
    assert zk.reply_frame(3, 4, 0, results) == MULTI_FAILED
    assert zk.decode_multi_results(MULTI_FAILED, 20) == [zk.MultiResult(-1, 0), zk.MultiResult(-1, zk.ERR_NO_NODE)]


TEXT = st.text(max_size=8)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
DATA = st.none() | st.binary(max_size=8)
ACL = st.lists(st.builds(zk.Acl, INT32, st.none() | TEXT, st.none() | TEXT), max_size=3).map(tuple)
CREATE_REQUEST = st.builds(zk.CreateRequest, TEXT, DATA, ACL, INT32, st.just(0))
TTL_REQUEST = st.builds(zk.CreateRequest, TEXT, DATA, ACL, INT32, INT64)
SIMPLE: list[tuple[int, st.SearchStrategy[zk.Request]]] = [
    (zk.OP_CREATE, CREATE_REQUEST),
    (zk.OP_CREATE2, CREATE_REQUEST),
    (zk.OP_CREATE_CONTAINER, CREATE_REQUEST),
    (zk.OP_CREATE_TTL, TTL_REQUEST),
    (zk.OP_DELETE, st.builds(zk.VersionedPath, TEXT, INT32)),
    (zk.OP_CHECK, st.builds(zk.VersionedPath, TEXT, INT32)),
    (zk.OP_SET_DATA, st.builds(zk.SetDataRequest, TEXT, DATA, INT32)),
    (zk.OP_GET_DATA, st.builds(zk.WatchedPath, TEXT, st.booleans())),
    (zk.OP_GET_CHILDREN, st.builds(zk.WatchedPath, TEXT, st.booleans())),
]
STRINGS = st.lists(TEXT, max_size=3)
OTHERS: list[tuple[int, st.SearchStrategy[zk.Request]]] = [
    (zk.OP_EXISTS, st.builds(zk.WatchedPath, TEXT, st.booleans())),
    (zk.OP_GET_CHILDREN2, st.builds(zk.WatchedPath, TEXT, st.booleans())),
    (zk.OP_GET_ACL, st.builds(zk.PathRequest, TEXT)),
    (zk.OP_SYNC, st.builds(zk.PathRequest, TEXT)),
    (zk.OP_GET_EPHEMERALS, st.builds(zk.PathRequest, TEXT)),
    (zk.OP_GET_ALL_CHILDREN_NUMBER, st.builds(zk.PathRequest, TEXT)),
    (zk.OP_SET_ACL, st.builds(zk.SetAclRequest, TEXT, ACL, INT32)),
    (zk.OP_ADD_WATCH, st.builds(zk.PathType, TEXT, INT32)),
    (zk.OP_CHECK_WATCHES, st.builds(zk.PathType, TEXT, INT32)),
    (zk.OP_REMOVE_WATCHES, st.builds(zk.PathType, TEXT, INT32)),
    (zk.OP_AUTH, st.builds(zk.AuthPacket, INT32, st.none() | TEXT, DATA)),
    (
        zk.OP_SET_WATCHES,
        st.builds(zk.SetWatchesRequest, INT64, STRINGS, STRINGS, STRINGS, st.just([]), st.just([])),
    ),
    (zk.OP_SET_WATCHES2, st.builds(zk.SetWatchesRequest, INT64, STRINGS, STRINGS, STRINGS, STRINGS, STRINGS)),
    (zk.OP_RECONFIG, st.builds(zk.ReconfigRequest, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT, INT64)),
    (zk.OP_SASL, st.builds(zk.SaslRequest, DATA)),
    (
        zk.OP_MULTI,
        st.builds(
            zk.MultiRequest,
            st.lists(st.one_of([st.tuples(st.just(opcode), strategy) for opcode, strategy in SIMPLE]), max_size=4),
        ),
    ),
]


@given(st.one_of([st.tuples(st.just(opcode), strategy) for opcode, strategy in SIMPLE + OTHERS]), st.binary(max_size=9))
def test_every_request_reads_back_and_trailing_bytes_are_ignored(pair: tuple[int, zk.Request], behind: bytes) -> None:
    opcode, request = pair
    assert zk.decode_request(opcode, zk.encode_request(opcode, request) + behind) == request


@pytest.mark.parametrize("opcode", [opcode for opcode, _ in SIMPLE + OTHERS] + [0, 20, -10, -1, 77])
@given(st.binary(max_size=60))
def test_garbage_is_malformed_or_a_request(opcode: int, data: bytes) -> None:
    try:
        zk.decode_request(opcode, data)
    except MalformedRecord:
        return


STAT = zk.Stat(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)


def test_every_reply_reads_back() -> None:
    stat = zk.write_stat(STAT)
    assert len(stat) == zk.STAT_BYTES
    assert zk.decode_stat(stat) == STAT
    assert zk.decode_path_stat(zk.encode_path_stat("/a", stat)) == ("/a", STAT)
    assert zk.decode_data_stat(zk.encode_data_stat(None, stat)) == (None, STAT)
    assert zk.decode_data_stat(zk.encode_data_stat(b"", stat)) == (b"", STAT)
    assert zk.decode_acl_stat(zk.encode_acl_stat(zk.OPEN_ACL, stat)) == (zk.OPEN_ACL, STAT)
    assert zk.decode_children(zk.encode_children(["a", "b"])) == ["a", "b"]
    assert zk.decode_children_stat(zk.encode_children(["a"], stat)) == (["a"], STAT)
    assert zk.decode_who_am_i(zk.encode_who_am_i([("ip", "127.0.0.1")])) == [("ip", "127.0.0.1")]
    assert zk.decode_int(b"\0\0\0\7") == 7


def test_every_result_of_multi_reads_back() -> None:
    stat = zk.write_stat(STAT)
    record = (
        zk.encode_multi_result(zk.OP_CREATE, zk.encode_path("/a"))
        + zk.encode_multi_result(zk.OP_CREATE2, zk.encode_path_stat("/b", stat))
        + zk.encode_multi_result(zk.OP_DELETE, b"")
        + zk.encode_multi_result(zk.OP_SET_DATA, stat)
        + zk.encode_multi_result(zk.OP_CHECK, b"")
        + zk.encode_multi_result(zk.OP_GET_DATA, zk.encode_data_stat(b"x", stat))
        + zk.encode_multi_result(zk.OP_GET_CHILDREN, zk.encode_children(["c"]))
        + zk.MULTI_END
    )
    assert zk.decode_multi_results(record) == [
        zk.MultiResult(zk.OP_CREATE, 0, path="/a"),
        zk.MultiResult(zk.OP_CREATE2, 0, path="/b", stat=STAT),
        zk.MultiResult(zk.OP_DELETE, 0),
        zk.MultiResult(zk.OP_SET_DATA, 0, stat=STAT),
        zk.MultiResult(zk.OP_CHECK, 0),
        zk.MultiResult(zk.OP_GET_DATA, 0, stat=STAT, data=b"x"),
        zk.MultiResult(zk.OP_GET_CHILDREN, 0, children=["c"]),
    ]


DECODERS = [
    zk.decode_connect_request,
    zk.decode_connect_response,
    zk.decode_request_header,
    zk.decode_reply_header,
    zk.decode_path,
    zk.decode_path_stat,
    zk.decode_stat,
    zk.decode_data_stat,
    zk.decode_acl_stat,
    zk.decode_children,
    zk.decode_children_stat,
    zk.decode_int,
    zk.decode_who_am_i,
    zk.decode_event,
    zk.decode_multi_results,
]


@pytest.mark.parametrize("decoder", DECODERS)
@given(st.binary(max_size=80))
def test_garbage_from_a_server_is_malformed_or_a_reply(decoder, data: bytes) -> None:  # type: ignore[no-untyped-def]
    try:
        decoder(data)
    except MalformedRecord:
        return


@given(st.lists(st.binary(max_size=20), max_size=5), st.lists(st.integers(0, 120), max_size=6))
def test_frames_do_not_depend_on_how_the_stream_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(zk.frame(payload) for payload in payloads)
    reader = zk.FrameReader()
    got: list[bytes] = []
    at = 0
    for cut in [*sorted(cuts), len(stream)]:
        got += reader.feed(stream[at : max(at, cut)])
        at = max(at, min(cut, len(stream)))
    assert got == payloads


def test_a_frame_of_impossible_size_is_malformed() -> None:
    with pytest.raises(MalformedRecord):
        zk.FrameReader(100).feed(b"\0\0\0\x65")
    with pytest.raises(MalformedRecord):
        zk.FrameReader().feed(b"\xff\0\0\0")


def test_every_error_has_a_name() -> None:
    codes = {value for name, value in vars(zk).items() if name.startswith("ERR_")}
    assert codes == set(zk.ERROR_NAMES)
