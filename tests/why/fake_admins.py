"""Admin ports that answer what a test says, or misbehave in the ways a stranger's port does."""

import json
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress


def answering(value: object, status: str = "200 OK") -> bytes:
    """A whole answer with a JSON body."""
    body = json.dumps(value).encode()
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


class FakeAdmin:
    """Listens; to each request it says ``answer`` in ``pieces`` and closes. ``None``: accepts, and is silent."""

    def __init__(
        self, answer: bytes | None, *, drips: bool = False, closes: bool = True, silent_times: int = 0
    ) -> None:
        """``silent_times``: so many connections get no answer before the first that gets one."""
        self.requests: list[bytes] = []
        self._silent_times = silent_times
        self._answer = answer
        self._drips = drips
        self._closes = closes
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listening.getsockname()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """As it is typed."""
        return f"{self.address[0]}:{self.address[1]}"

    def __enter__(self) -> "FakeAdmin":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for one in self._open:
            one.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.append(connection)
                if self._answer is None or self._silent_times > 0:
                    self._silent_times -= 1
                    continue
                self.requests.append(connection.recv(65536))
                for piece in self._pieces(self._answer):
                    connection.sendall(piece)
                if self._closes:
                    connection.shutdown(socket.SHUT_RDWR)

    def _pieces(self, answer: bytes) -> Iterable[bytes]:
        if not self._drips:
            yield answer
            return
        for at in range(len(answer)):
            yield answer[at : at + 1]
            if self._over.wait(0.1):
                return


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"
