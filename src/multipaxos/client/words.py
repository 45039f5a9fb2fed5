"""Four-letter words: questions any replica answers in plain text on its client port, without a session.

`srvr` and `mntr` say how a replica stands even when it serves nobody. Knows nothing of what to make of the answers:
`cli/client.py` lays those of all replicas side by side.
"""

import asyncio
from typing import cast

from multipaxos.client.addresses import Address

_ANSWER_BYTES_MAX = 1 << 20


class _Question(asyncio.Protocol):
    def __init__(self, word: bytes, answer: "asyncio.Future[bytes]") -> None:
        self._word = word
        self._answer = answer
        self._gathered = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # not by isinstance: uvloop's is no subclass of it
        self._transport.write(self._word)

    def data_received(self, data: bytes) -> None:
        self._gathered += data
        if len(self._gathered) > _ANSWER_BYTES_MAX and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_result(bytes(self._gathered))


async def ask(address: Address, word: str, timeout: float = 3.0) -> str:
    """The answer of one server to one word; OSError or TimeoutError when there is none."""
    if len(word) != 4 or not word.isascii():
        raise ValueError(f"{word!r} is not a four-letter word")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport: asyncio.Transport | None = None
    try:
        async with asyncio.timeout(timeout):
            transport, _ = await loop.create_connection(lambda: _Question(word.encode(), answer), *address)
            return (await answer).decode("utf-8", "replace")
    finally:
        if transport is not None:
            transport.abort()


def parse_srvr(text: str) -> dict[str, str]:
    """The `Name: value` lines of an answer to `srvr`, names in lower case."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip().lower()] = value.strip()
    return found


def parse_mntr(text: str) -> dict[str, str]:
    """The `name<TAB>value` lines of an answer to `mntr`."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, tab, value = line.partition("\t")
        if tab:
            found[name.strip()] = value.strip()
    return found
