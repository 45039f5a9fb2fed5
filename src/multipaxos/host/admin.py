"""The admin port of a replica: a thread of its own, with an event loop of its own, that answers HTTP.

It must neither slow nor stop the replica, and it must answer when the replica's own loop stands still. So nothing here runs
on that loop, and nothing here waits for it: what is served is what the loop left on the ``Board`` (``observer.py``), at most
a second old, and how long the loop has been standing still, which this thread sees for itself (``stalls.py``). The HTTP
packages are imported by the thread, after the replica serves or ``PATIENCE_S``: a start does not wait for them.

The port is taken at the very beginning of a start, before the data directory is touched, and the kernel holds the requests
that come until they are answered. What is served, and what a stranger may cost, stands in ``admin_app.py``.
"""

import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, Final

from multipaxos.host.config import join_address, split_address
from multipaxos.host.observer import Board

if TYPE_CHECKING:
    from multipaxos.host.admin_app import AdminLoop

BACKLOG: Final = 16
PATIENCE_S: Final = 1.0
"""A replica that does not serve so soon has something to tell; until then the processor is left to its start."""

STOP_S: Final = 1.0

log = logging.getLogger("multipaxos.admin")


class AdminServer:
    """Made, bound, started and stopped by the process that runs the replica."""

    __slots__ = ("_board", "_is_stopping", "_server", "_socket", "_thread", "address")

    def __init__(self, board: Board) -> None:
        self.address = ""  # bound, with the port that stood for 0
        self._board = board
        self._is_stopping = False
        self._server: AdminLoop | None = None
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)

    def bind(self, address: str) -> None:
        """Take the address; port 0 is a free one. Raises OSError."""
        host, port = split_address(address)
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind, protocol)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(target)
            taken.listen(BACKLOG)
        except OSError:
            taken.close()
            raise
        bound = taken.getsockname()
        self.address = join_address(str(bound[0]), int(bound[1]))
        self._socket = taken

    def start(self) -> None:
        """Begin to answer, soon."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more, and end the thread. Waits for it, but not for a thread that does not end."""
        self._is_stopping = True
        self._board.has_served.set()
        server = self._server
        if server is not None:
            server.end()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if not self._thread.is_alive() and self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        self._board.has_served.wait(PATIENCE_S)
        if self._is_stopping:
            return
        assert self._socket is not None
        try:
            from multipaxos.host.admin_app import AdminLoop

            self._server = AdminLoop(self._board)
            if not self._is_stopping:  # ``stop`` looks at the server after it has set this
                self._server.run_until_ended(self._socket)
        except Exception:
            # Whatever is wrong here must not reach the replica. Its clients are served all the same.
            log.exception("the admin port %s is not served any more", self.address)
            with contextlib.suppress(OSError):
                self._socket.close()
