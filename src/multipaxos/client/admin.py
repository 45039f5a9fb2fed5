"""Asks replicas at their admin ports over HTTP: all at once, and never for longer than it was told.

Plain threads with blocking sockets, and not the event loop: a name service that hangs holds up the thread that asked it,
and a loop waits for such threads at its end. These are daemons; whoever asks stops waiting for them at the deadline.

A replica that accepts the connection and says nothing (its process stands still, the kernel goes on) is told apart from
one that is not there. Knows nothing of what the answers mean; that is ``host/why.py``, which a client does not import.
"""

import http.client
import io
import json
import queue
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from multipaxos.client.addresses import Address, address_text, failure_text

ANSWER_BYTES_MAX: Final = 4 << 20
_PIECE_BYTES: Final = 65536

REFUSED: Final = "refused"
UNREACHED: Final = "unreached"  # no connection in time
SILENT: Final = "silent"  # a connection, and no answer in time
UNRESOLVED: Final = "unresolved"
GARBAGE: Final = "garbage"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class AdminAnswer:
    """What one address answered. ``value`` is the JSON object, or None; then ``kind`` and ``reason`` say why."""

    address: Address
    value: dict[str, Any] | None = None
    kind: str = ""
    reason: str = ""


class _NotHttp(ValueError):
    """What came is no answer of ours. The text says what it was."""


def ask_admins(addresses: Sequence[Address], path: str, timeout_s: float) -> list[AdminAnswer]:
    """GET ``path`` of all addresses at the same time. Takes ``timeout_s`` at the most, whatever they do."""
    answers: queue.SimpleQueue[tuple[int, AdminAnswer]] = queue.SimpleQueue()
    deadline = time.monotonic() + timeout_s

    def ask(number: int, address: Address) -> None:
        answers.put((number, _ask(address, path, timeout_s, deadline)))

    for number, address in enumerate(addresses):
        threading.Thread(target=ask, args=(number, address), name="ask", daemon=True).start()
    found: dict[int, AdminAnswer] = {}
    while len(found) < len(addresses):
        try:
            number, answer = answers.get(timeout=max(deadline + _GRACE_S - time.monotonic(), 0))
        except queue.Empty:
            break
        found[number] = answer
    late = f"its name was not resolved within {timeout_s:g} s"  # nothing else in ``_ask`` can outlast the deadline
    return [found.get(number, AdminAnswer(one, None, UNRESOLVED, late)) for number, one in enumerate(addresses)]


_GRACE_S: Final = 0.2
"""For threads that notice the deadline themselves to say so."""


def _ask(address: Address, path: str, timeout_s: float, deadline: float) -> AdminAnswer:
    is_connected = False
    try:
        with socket.create_connection(address, max(deadline - time.monotonic(), 0.001)) as connection:
            is_connected = True
            data = _exchange(connection, address, path, deadline)
        return AdminAnswer(address, _object_in(data))
    except TimeoutError:
        if is_connected:
            reason = f"it accepts connections and does not answer within {timeout_s:g} s"
            return AdminAnswer(address, None, SILENT, reason)
        return AdminAnswer(address, None, UNREACHED, f"no connection within {timeout_s:g} s")
    except ConnectionRefusedError as error:
        return AdminAnswer(address, None, REFUSED, failure_text(error))
    except socket.gaierror as error:
        return AdminAnswer(address, None, UNRESOLVED, f"the name {address[0]} does not resolve ({error.strerror})")
    except OSError as error:
        return AdminAnswer(address, None, FAILED, failure_text(error))
    except (_NotHttp, http.client.HTTPException) as error:
        return AdminAnswer(address, None, GARBAGE, f"what answers there is no replica: {error or type(error).__name__}")


def _exchange(connection: socket.socket, address: Address, path: str, deadline: float) -> bytes:
    """One request, and all that comes until the other side closes. Raises OSError, TimeoutError, _NotHttp."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {address_text(address)}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(request.encode())
    gathered = bytearray()
    while True:
        try:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(_PIECE_BYTES)
        except TimeoutError:
            if gathered:
                return bytes(gathered)  # perhaps whole: some servers do not close
            raise
        if not piece or time.monotonic() > deadline:
            return bytes(gathered)
        gathered += piece
        if len(gathered) > ANSWER_BYTES_MAX:
            raise _NotHttp(f"an answer of more than {ANSWER_BYTES_MAX >> 20} MiB")


class _Recorded:
    """As much of a socket as ``http.client`` reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _object_in(data: bytes) -> dict[str, Any]:
    """The JSON object an answer carries. Raises _NotHttp or HTTPException."""
    if not data:
        raise _NotHttp("it closes the connection without a word")
    response = http.client.HTTPResponse(_Recorded(data))  # type: ignore[arg-type]  # makefile is all it uses
    response.begin()
    body = response.read()
    if response.status != http.HTTPStatus.OK:
        raise _NotHttp(f"status {response.status} {response.reason}")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise _NotHttp(f"{len(body)} bytes that are not JSON") from None
    if not isinstance(value, dict):
        raise _NotHttp("JSON that is no object")
    return value
