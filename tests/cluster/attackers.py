"""What a hostile neighbour does to a port, as a process of its own: ``python attackers.py KIND HOST:PORT SECONDS SEED``
(for ``idle_client`` and ``idle_peer`` SEED is the number of connections).

A process, so that its work does not stand in the way of the bystander whose latency a test measures; paced, so that it
attacks the replica's code and not the machine's two cores. It uses nothing of the project but the frame codec.
"""

import contextlib
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from random import Random

from multipaxos.wire import zookeeper as zk
from multipaxos.wire.frame import MAGIC, encode_frame

PACE_S = 0.005
PATIENCE_S = 2.0
OPENED_S = 60.0

Target = tuple[str, int]


def _connected(target: Target, patience_s: float = PATIENCE_S) -> socket.socket:
    one = socket.create_connection(target, patience_s)
    one.settimeout(patience_s)
    return one


def _until(seconds: float, attempt: Callable[[int], None]) -> None:
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        begun = time.monotonic()
        # It is closed or reset in the middle of what it does: that is what it came for.
        with contextlib.suppress(OSError):
            attempt(count)
        count += 1
        time.sleep(max(0.0, PACE_S - (time.monotonic() - begun)))
    print(f"{count} attempts", flush=True)


def random_bytes(target: Target, seconds: float, random: Random) -> None:
    """Noise of all lengths, sometimes behind a good beginning."""
    beginnings = [b"", b"", MAGIC, _hello(), _handshake(), _handshake() + zk.request_frame(1, zk.OP_MULTI)[4:]]

    def attempt(_: int) -> None:
        with _connected(target) as one:
            one.sendall(random.choice(beginnings) + random.randbytes(random.choice((1, 3, 4, 30, 1000, 100_000))))
            if random.random() < 0.5:
                one.settimeout(10 * PACE_S)
                one.recv(4096)

    _until(seconds, attempt)


def half_frames(target: Target, seconds: float, random: Random) -> None:
    """A frame that is begun and not ended; some connections stay open with it, and are left in crowds."""
    crowd: list[socket.socket] = []
    wholes = [
        _handshake(),
        _hello(),
        zk.request_frame(1, zk.OP_CREATE, b"x" * 50_000),
        encode_frame(0, 0, b"\x80" * 3000),
    ]

    def attempt(count: int) -> None:
        one = _connected(target)
        crowd.append(one)
        whole = random.choice(wholes)
        one.sendall(whole[: random.randrange(1, len(whole))])
        if count % 2:
            crowd.pop().close()
        if len(crowd) > 200:
            for left in crowd:
                left.close()
            crowd.clear()

    try:
        _until(seconds, attempt)
    finally:
        for left in crowd:
            left.close()


def giant_frames(target: Target, seconds: float, random: Random) -> None:
    """Lengths of 2 GiB and beyond, and then half a megabyte of it: more would measure the machine's memory bandwidth."""
    piece = bytes(1 << 16)
    heads = [
        struct.pack(">i", 0x7FFFFFFF),
        struct.pack(">i", -1),
        struct.pack(">I", 0x80000000),
        _handshake() + struct.pack(">i", 0x7FFFFFFF),
        _handshake() + struct.pack(">iii", 0x7FFFFFF0, 1, zk.OP_SET_DATA),
        _handshake() + zk.request_frame(1, zk.OP_SET_DATA, struct.pack(">i", 0x7FFFFFFF)),
        _handshake() + zk.request_frame(1, zk.OP_CREATE, zk.encode_path("/x") + struct.pack(">i", 0x7FFFFFFF)),
        MAGIC + struct.pack(">IIIQ", 0, 0x7FFFFFFF, 0, 0),
        MAGIC + struct.pack(">IIIQ", 0, 0xFFFFFFFF, 0, 0),
    ]

    def attempt(_: int) -> None:
        with _connected(target) as one:
            one.sendall(random.choice(heads))
            for _ in range(8):
                one.sendall(piece)

    _until(seconds, attempt)


def never_read(target: Target, seconds: float, random: Random) -> None:
    """Asks for large answers as quickly as it can, and reads none."""
    open_ones: list[socket.socket] = []
    requests = b"".join(
        zk.request_frame(number, zk.OP_GET_DATA, zk.encode_watched_path("/big")) for number in range(1, 2000)
    )

    def attempt(count: int) -> None:
        if len(open_ones) < 8:
            one = _connected(target)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            open_ones.append(one)
            one.sendall(_handshake())
            one.recv(4096)
            one.setblocking(False)
        else:
            one = open_ones[count % len(open_ones)]
            try:
                one.send(requests)
            except BlockingIOError:
                return
            except OSError:
                open_ones.remove(one)
                one.close()

    try:
        _until(seconds, attempt)
    finally:
        for one in open_ones:
            one.close()


def never_read_events(target: Target, seconds: float, random: Random) -> None:
    """Watches all there is, sees to it that much happens, and never reads of it: that may cost 16 MiB."""
    open_ones: list[socket.socket] = []
    path = "/" + "n" * 2000
    writer = _connected(target)
    writer.sendall(_handshake() + zk.request_frame(1, zk.OP_CREATE, zk.encode_create(path, b"")))
    changes = b"".join(zk.request_frame(2, zk.OP_SET_DATA, zk.encode_set_data(path, b"")) for _ in range(20))

    def attempt(count: int) -> None:
        if not open_ones:
            one = _connected(target)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            open_ones.append(one)
            one.sendall(_handshake())
            one.recv(4096)
            one.sendall(zk.request_frame(1, zk.OP_ADD_WATCH, zk.encode_path_type("/", zk.WATCH_RECURSIVE)))
        if count < 600:  # 24 MB of events: enough, and less than what the ledger may keep in memory of the writes
            writer.sendall(changes)
            writer.recv(1 << 20)

    try:
        _until(seconds, attempt)
    finally:
        writer.close()
        for one in open_ones:
            one.close()


def hold_idle(target: Target, seconds: float, count: int, is_peer: bool) -> None:
    """Half of them say nothing at all; the others have a session, or on a peer port half an introduction."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 100)), hard))
    open_ones: list[socket.socket] = []
    try:
        for number in range(count):
            one = _connected(target, OPENED_S)
            open_ones.append(one)
            if is_peer and number % 2:
                with contextlib.suppress(OSError):  # crowded out already
                    one.sendall(_hello()[:30])
            elif number % 2:
                one.sendall(_handshake(40_000))
                assert one.recv(4096), "a session was refused"
        print("open", flush=True)
        time.sleep(seconds)
        print(f"{len(open_ones)} attempts", flush=True)
    finally:
        for one in open_ones:
            one.close()


def _handshake(timeout_ms: int = 10_000) -> bytes:
    return zk.frame(zk.encode_connect_request(zk.ConnectRequest(0, 0, timeout_ms, 0, zk.NO_PASSWORD, False)))


def _hello() -> bytes:
    """A peer's introduction, of a cluster that is none."""
    return encode_frame(0, 0, struct.pack(">BHHQII", 128, 1, 2, 7, 1, 0) + b"\x00\x04none\x00\x00")


def main() -> None:
    """Runs one attack."""
    kind, where, seconds, seed = sys.argv[1:]
    host, _, port = where.rpartition(":")
    target = (host, int(port))
    if kind.startswith("idle"):
        hold_idle(target, float(seconds), int(seed), kind == "idle_peer")
        return
    attacks = {one.__name__: one for one in (random_bytes, half_frames, giant_frames, never_read, never_read_events)}
    attacks[kind](target, float(seconds), Random(int(seed)))


if __name__ == "__main__":
    main()
