"""What the admin port answers, and what a stranger at it may cost.

    /health/live    200 while the replica's loop turns; 503 once it has stood still for ``DEAD_MS``: restart it
    /health/ready   200 only while it serves clients; 503 with what it waits for: send clients elsewhere
    /status         the whole observation, as JSON (``observation.py``)
    /metrics        the same and more as numbers over time, for Prometheus (``metrics.py``)
    /why            what stands in the way, in sentences with numbers (``why.py``), as far as this replica can tell alone

Nothing is changed by a request, and none has a body worth reading. Bounds: so many connections, of which the oldest goes
when another comes; so many seconds for each; so many bytes of request; and of the processor a tenth, since this thread
and the replica's loop share one interpreter. Who asks for more waits (``Pace``), the replica does not.

Imported by the admin thread only, and late: these packages would double the time a replica takes to start.
"""

import asyncio
import contextlib
import socket
import time
from typing import Final, cast

import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from multipaxos.host.admin import BACKLOG
from multipaxos.host.clock import wall_ms
from multipaxos.host.metrics import registry_of
from multipaxos.host.observation import SERVING
from multipaxos.host.observer import Board
from multipaxos.host.why import findings

DEAD_MS: Final = 5000
"""Longer than any turn, collection or sync can hold up a loop that will go on by itself."""

CONNECTIONS_MAX: Final = 32
LIFE_S: Final = 10.0
"""A connection lives no longer, whatever it does: scrapers connect anew."""

REQUEST_HEAD_BYTES_MAX: Final = 8192

SHARE: Final = 0.1
"""Of one processor."""
CREDIT_S: Final = 0.05
"""Processor time that may be used at once, after a rest."""
REST_S: Final = 0.5

PATHS: Final = ("/health/live", "/health/ready", "/status", "/metrics", "/why")


class Pace:
    """Holds the thread that calls it to a share of the processor, by sleeping."""

    __slots__ = ("_at", "_credit_s", "_worked_s")

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._worked_s = time.thread_time()
        self._credit_s = CREDIT_S

    def keep(self) -> None:
        """Before more work is taken on: wait until what was done is paid for."""
        now, worked_s = time.monotonic(), time.thread_time()
        earned_s = (now - self._at) * SHARE
        self._credit_s = min(CREDIT_S, self._credit_s + earned_s - (worked_s - self._worked_s))
        self._at, self._worked_s = now, worked_s
        if self._credit_s < 0:
            time.sleep(min(-self._credit_s / SHARE, REST_S))


class _State(ServerState):
    """What the connections share."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: dict[_Connection, None] = {}  # in order of arrival
        self.pace = Pace()


class _Connection(H11Protocol):
    """One connection, within bounds."""

    _life: asyncio.TimerHandle | None = None

    @property
    def _shared(self) -> _State:
        return cast(_State, self.server_state)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let the oldest go where there are too many: whoever wants an answer has it in no time."""
        shared = self._shared
        shared.pace.keep()
        super().connection_made(transport)
        if len(shared.arrived) >= CONNECTIONS_MAX:
            oldest = next(iter(shared.arrived))
            del shared.arrived[oldest]
            oldest.transport.abort()
        shared.arrived[self] = None
        self._life = self.loop.call_later(LIFE_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        self._shared.pace.keep()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._life is not None:
            self._life.cancel()
        self._shared.arrived.pop(self, None)
        super().connection_lost(exc)


class AdminLoop(uvicorn.Server):
    """Uvicorn's server without its signals, its log and its timer: it runs until ``end`` is called."""

    def __init__(self, board: Board) -> None:
        super().__init__(
            uvicorn.Config(
                application(board),
                loop="none",
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # what a stranger sends wrongly is no news
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                h11_max_incomplete_event_size=REQUEST_HEAD_BYTES_MAX,
            )
        )
        self.server_state = _State()
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()

    def run_until_ended(self, listening: socket.socket) -> None:
        """Answer at a socket that listens already. Blocks."""
        asyncio.run(self.serve(sockets=[listening]))

    def end(self) -> None:
        """Stop, from any thread."""
        self._is_over = True
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(self._over.set)

    async def main_loop(self) -> None:
        """In place of a look every tenth of a second, which would wake an idle process."""
        await self.on_tick(0)
        self._loop = asyncio.get_running_loop()
        if not self._is_over:  # ``end`` looks at the loop after it has set this
            await self._over.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """At once, whoever is connected: a replica that is told to stop does not wait for a scraper."""
        for server in self.servers:
            server.close()
        for connection in list(cast(_State, self.server_state).arrived):
            connection.transport.abort()
        await asyncio.sleep(0)  # the loop closes what was aborted


def application(board: Board) -> Starlette:
    """The five paths."""
    registry = registry_of(board)

    async def live(request: Request) -> Response:
        stalled_ms = board.stalls.stalled_for_ms()
        if stalled_ms > DEAD_MS:
            reason = f"its loop has not turned for {stalled_ms / 1000:.1f} s"
            return JSONResponse({"live": False, "reason": reason}, 503)
        return JSONResponse({"live": True, "reason": ""})

    async def ready(request: Request) -> Response:
        observation = board.observation
        stalled_ms = board.stalls.stalled_for_ms()
        waiting_for = observation.waiting_for
        if stalled_ms:
            waiting_for = f"its loop, which has not turned for {stalled_ms / 1000:.1f} s"
        is_ready = observation.state == SERVING and not stalled_ms
        return JSONResponse({"ready": is_ready, "waiting_for": waiting_for}, 200 if is_ready else 503)

    async def status(request: Request) -> Response:
        return JSONResponse(status_of(board))

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def why(request: Request) -> Response:
        value = status_of(board)
        causes = findings({board.observation.replica: value}, wall_ms())
        return JSONResponse(
            {"replica": value["replica"], "at_ms": value["at_ms"], "causes": [cause.to_json() for cause in causes]}
        )

    async def index(request: Request) -> Response:
        return PlainTextResponse("".join(f"{path}\n" for path in PATHS))

    return Starlette(
        routes=[
            Route("/", index),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/status", status),
            Route("/metrics", metrics),
            Route("/why", why),
        ]
    )


def status_of(board: Board) -> dict[str, object]:
    """The last observation, with what only another thread can see: how long the loop has been standing still."""
    value = board.observation.to_json()
    value["loop"]["stalled_for_ms"] = board.stalls.stalled_for_ms()
    return value
