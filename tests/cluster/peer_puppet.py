"""A peer moved by a test: takes the place of a dead replica on the peer port, says what the test wants said, and notes
all that real replicas say to it, with the time it came.

It introduces itself with the dead replica's own mark and a later incarnation, so real replicas take it for that one come
back. The cluster it spoke in is not to be used for anything else afterwards: it keeps no promise.
"""

import json
import socket
import threading
import time
from typing import TypeVar

from cluster_harness import ReplicaHandle

from multipaxos.core.messages import Probe, ProbeAnswer
from multipaxos.host.config import load
from multipaxos.wire.frame import BODY_AT, FrameError, FrameParser, encode_frame
from multipaxos.wire.handshake import PROTOCOL_VERSION, Hello, Welcome, decode_handshake, encode_handshake
from multipaxos.wire.peer import PeerMessage, decode, encode

Kind = TypeVar("Kind")


class PeerPuppet:
    """Plays ``place``, whose process must be dead."""

    def __init__(self, place: ReplicaHandle) -> None:
        assert not place.is_alive
        self.id = place.id
        self.heard: list[tuple[float, PeerMessage]] = []
        self.trouble: list[str] = []
        self.beat = 0  # number of the last heartbeat a test let it send
        self._lock = threading.Lock()
        self._links: dict[int, socket.socket] = {}
        self._taken: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._hello = _hello(place)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(place.peer)
        self._listener.listen()
        self._run(self._take_in)

    def __enter__(self) -> "PeerPuppet":
        return self

    def __exit__(self, *_: object) -> None:
        # A blocked accept or recv returns when its socket is shut down, not when it is closed.
        for one in [self._listener, *self._links.values(), *self._taken]:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        for one in [self._listener, *self._links.values(), *self._taken]:
            one.close()
        assert not self.trouble, self.trouble

    def _run(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    # -- hearing ----------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._taken.append(connection)
            self._run(self._listen, connection)

    def _listen(self, connection: socket.socket) -> None:
        parser = FrameParser()
        is_introduced = False
        try:
            while data := connection.recv(1 << 16):
                for _, _, covered in parser.feed(data):
                    if not is_introduced:
                        is_introduced = isinstance(decode_handshake(covered[BODY_AT:]), Hello)
                        connection.sendall(encode_frame(0, 0, encode_handshake(Welcome(self._hello))))
                        continue
                    self._hear(decode(covered, BODY_AT, len(covered)))
        except OSError:
            return
        except (FrameError, ValueError) as error:
            self.trouble.append(repr(error))

    def _hear(self, message: PeerMessage) -> None:
        with self._lock:
            self.heard.append((time.monotonic(), message))
        if isinstance(message, Probe) and message.sender in self._links:
            answer = ProbeAnswer(self.id, message.number, True, -1, -1, message.chosen_prefix)
            self.say(message.sender, answer)

    def of(self, kind: type[Kind]) -> list[tuple[float, Kind]]:
        """What came of one kind, in order, with the time."""
        with self._lock:
            return [(at, message) for at, message in self.heard if isinstance(message, kind)]

    # -- saying -----------------------------------------------------------------------------------------------------

    def dial(self, other: ReplicaHandle) -> None:
        """Connect to a replica, to be able to say something to it. AssertionError when it refuses."""
        link = socket.create_connection(other.peer, 30)
        try:
            link.sendall(encode_frame(0, 0, encode_handshake(self._hello)))
            parser = FrameParser()
            frames: list[tuple[int, int, bytes]] = []
            while not frames:
                data = link.recv(1 << 16)
                assert data, f"replica {other.id} closed the connection instead of a welcome"
                frames = parser.feed(data)
            answer = decode_handshake(frames[0][2][BODY_AT:])
            assert isinstance(answer, Welcome), answer
        except BaseException:
            link.close()
            raise
        self._links[other.id] = link

    def say(self, to: int, message: PeerMessage) -> None:
        """Send one message."""
        self._links[to].sendall(encode_frame(0, 1, encode(message)))


def _hello(place: ReplicaHandle) -> Hello:
    def noted(name: str) -> dict[str, object]:
        value = json.loads((place.data / name).read_text().splitlines()[0])
        assert isinstance(value, dict)
        return value

    return Hello(
        PROTOCOL_VERSION,
        str(noted("cluster")["cluster"]),
        load(str(place.config)).listed.digest(),
        place.id,
        int(str(noted("mark")["mark"]), 16),
        int(str(noted("incarnation")["incarnation"])) + 1,
        0,
    )
