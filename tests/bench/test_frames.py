"""The generator's lean frames are what the full codec would write."""

import pytest

from multipaxos.bench.frames import (
    BLOCK,
    CONNECT_REPLY,
    REPLY_HEADER,
    RequestBlock,
    close_request,
    connect_request,
    create_reply_bytes,
    create_request,
    get_reply_bytes,
    get_request,
    set_reply_bytes,
    set_request,
)
from multipaxos.wire import zookeeper as zk

STAT = zk.write_stat(zk.Stat(*range(11)))


def test_requests_are_those_of_the_full_codec() -> None:
    path, data = "/a/b", b"12345"
    assert set_request(path.encode(), data) == zk.request_frame(0, zk.OP_SET_DATA, zk.encode_set_data(path, data))
    assert get_request(path.encode()) == zk.request_frame(0, zk.OP_GET_DATA, zk.encode_watched_path(path))
    assert create_request(path.encode(), data) == zk.request_frame(
        0, zk.OP_CREATE, zk.encode_create(path, data, zk.OPEN_ACL, zk.FLAG_SEQUENTIAL)
    )
    assert close_request(7) == zk.request_frame(7, zk.OP_CLOSE_SESSION)
    assert connect_request(10_000) == zk.frame(
        zk.encode_connect_request(zk.ConnectRequest(0, 0, 10_000, 0, zk.NO_PASSWORD, False))
    )


def test_reply_lengths_are_those_of_the_full_codec() -> None:
    assert set_reply_bytes() == len(zk.reply_frame(1, 2, 0, STAT))
    assert get_reply_bytes(5) == len(zk.reply_frame(1, 2, 0, zk.encode_data_stat(b"12345", STAT)))
    assert create_reply_bytes(b"/a/n-") == len(zk.reply_frame(1, 2, 0, zk.encode_path("/a/n-0000000001")))


def test_headers_are_those_of_the_full_codec() -> None:
    assert REPLY_HEADER.unpack_from(zk.reply_frame(5, 6, -101)) == (16, 5, 6, -101)
    response = zk.frame(zk.encode_connect_response(zk.ConnectResponse(0, 4000, 9, bytes(16), False)))
    assert CONNECT_REPLY.unpack_from(response) == (37, 0, 4000, 9)


@pytest.mark.parametrize("is_even", [True, False])
def test_taking_any_number_gives_growing_xids_and_whole_requests(is_even: bool) -> None:
    requests = [
        set_request(b"/a", bytes([number])) if is_even or number % 3 else get_request(b"/a") for number in range(BLOCK)
    ]
    block = RequestBlock(requests)
    due = block.next_xid
    assert due == 256
    taken_in_all = 0
    for count in (1, 2, 253, 1, 255, 256, 257, 1000, 0, 7):
        frames = zk.FrameReader().feed(bytes(block.take(count)))
        assert len(frames) == count
        for payload in frames:
            original = requests[taken_in_all % BLOCK]
            assert int.from_bytes(payload[:4], "big", signed=True) == due
            assert payload[4:] == original[8:]
            due += 1
            taken_in_all += 1
        assert block.next_xid == due


def test_xids_begin_anew_before_they_would_turn_negative() -> None:
    block = RequestBlock([get_request(b"/a")] * BLOCK)
    block._turn = 0x7FFFFF
    block._begin_turn()
    assert block.next_xid == 256


def test_what_was_taken_does_not_change_when_the_block_does() -> None:
    block = RequestBlock([get_request(b"/a")] * BLOCK)
    first = block.take(10)
    copy = bytes(first)
    block.take(2 * BLOCK)
    assert first == copy


def test_a_block_has_one_size() -> None:
    with pytest.raises(ValueError, match="256"):
        RequestBlock([b""])
