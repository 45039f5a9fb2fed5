"""The bytes of commands are a format: journals and peers of other versions read them."""

import pytest

from multipaxos.coordination import commands
from multipaxos.coordination.commands import MalformedCommand


def test_golden_request():
    found = commands.encode_request(0x0102, (3, 4, 5), [("ip", "::1"), ("digest", "a:b")], 5, b"record")
    assert found.hex(" ") == (
        "01 00 00 00 00 00 00 01 02 00 03 00 00 00 04 00 00 00 00 00 00 00 05 "
        "02 00 02 00 03 69 70 3a 3a 31 00 06 00 03 64 69 67 65 73 74 61 3a 62 "
        "00 00 00 05 72 65 63 6f 72 64"
    )


def test_golden_others():
    owner = (3, 4, 5)
    header = " 00 00 00 00 00 00 00 07 00 03 00 00 00 04 00 00 00 00 00 00 00 05"
    assert commands.encode_close(7, owner).hex(" ") == "03" + header
    assert commands.encode_attach(7, owner, 4000, (1, 2, 3)).hex(" ") == (
        "02" + header + " 00 00 0f a0 00 01 00 00 00 02 00 00 00 00 00 00 00 03"
    )
    assert commands.encode_expire(7, owner, 65537).hex(" ") == "04" + header + " 00 00 00 00 00 01 00 01"
    assert commands.encode_found(65537, b"s" * 32).hex() == "05" + "00" * 22 + "0000000000010001" + "73" * 32


def test_a_frame_without_its_xid_behind_the_prefix_is_a_request():
    owner = (3, 4, 5)
    frame = bytes.fromhex("00000009 00000005") + b"record"
    whole = commands.encode_request(7, owner, [("ip", "::1")], 5, b"record")
    assert commands.request_prefix(7, owner, [("ip", "::1")]) + frame[4:] == whole


def test_round_trips():
    owner = (65535, 2**32 - 1, 2**64 - 1)
    assert commands.decode_header(commands.encode_close(-5, owner)) == (commands.CLOSE, -5, owner)
    assert commands.decode_attach(commands.encode_attach(1, owner, -1, owner)) == (-1, owner)
    assert commands.decode_expire(commands.encode_expire(1, owner, -1)) == -1
    assert commands.decode_found(commands.encode_found(9, bytes(range(32)))) == (9, bytes(range(32)))
    ids = (("digest", "Zoë:x"), ("ip", ""), ("", "y"))
    whole = commands.encode_request(1, owner, ids, 14, b"tail")
    assert commands.decode_ids(whole, commands.HEADER_SIZE) == (ids, len(whole) - 8)
    assert commands.opcode_of(whole) == 14


@pytest.mark.parametrize("data", [b"", b"abc", b"\xff\xfe", b"\xed\xa0\xbd\xed\xb8\x80", "Zoë😀".encode()])
def test_text_survives_whatever_its_bytes_are(data):
    assert commands.encode_text(commands.decode_text(data)) == data


def test_text_that_no_bytes_stand_for_is_encoded_all_the_same():
    assert commands.encode_text("\ud83d\ude00") == b"\xed\xa0\xbd\xed\xb8\x80"


@pytest.mark.parametrize("size", range(23))
def test_a_short_header_is_malformed(size):
    with pytest.raises(MalformedCommand):
        commands.decode_header(bytes(size))


def test_short_bodies_are_malformed():
    request = commands.encode_request(1, (1, 1, 1), [("ip", "::1")], 5, b"")
    for size in range(23, len(request)):
        with pytest.raises(MalformedCommand):
            commands.opcode_of(request[:size])
    readers = [
        (commands.encode_attach(1, (1, 1, 1), 5, (1, 1, 1)), commands.decode_attach),
        (commands.encode_expire(1, (1, 1, 1), 5), commands.decode_expire),
        (commands.encode_found(5, bytes(32)), commands.decode_found),
    ]
    for whole, reader in readers:
        for wrong in [whole[:size] for size in range(23, len(whole))] + [whole + b"x"]:
            with pytest.raises(MalformedCommand):
                reader(wrong)


def test_ids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="256 ids"):
        commands.encode_ids([("ip", "x")] * 256)
    with pytest.raises(ValueError, match="longer than 65535"):
        commands.encode_ids([("digest", "x" * 65536)])
    with pytest.raises(ValueError, match="31 bytes"):
        commands.encode_found(1, bytes(31))
