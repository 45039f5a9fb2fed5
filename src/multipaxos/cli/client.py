"""``put``, ``get``, ``ls``, ``rm`` and ``watch``: a client at the shell.

Only options and words; the work is done by ``client/``.
Reads go to whichever replica answers, after a sync: what this command prints is as new as anything a command that ended
before it has written. ``--local`` leaves the sync out.
"""

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import typer

from multipaxos.client import (
    BadVersion,
    Client,
    ClientError,
    EventType,
    NodeExists,
    NoNode,
    SessionExpired,
    SessionState,
    Stat,
    WatchEvent,
)
from multipaxos.client.addresses import CONNECT_VARIABLE, DEFAULT_CONNECT, Address, address_text, parse_addresses

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
_PATIENCE_SECONDS = 1.0  # before it is said for what is waited
_SHOWN_BYTES_MAX = 200

_T = TypeVar("_T")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _value_text(data: bytes | None) -> str:
    """A value on one line, shortened; what is not text is counted rather than shown."""
    if data is None:
        return "(null)"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"({len(data)} bytes that are not text)"
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text if len(text) <= _SHOWN_BYTES_MAX else f"{text[:_SHOWN_BYTES_MAX]}... ({len(data)} bytes)"


def _value_json(data: bytes | None) -> dict[str, object]:
    """`value` when it is text, `value_base64` when it is not: JSON has no bytes."""
    if data is None:
        return {"value": None}
    try:
        return {"value": data.decode()}
    except UnicodeDecodeError:
        return {"value": None, "value_base64": base64.b64encode(data).decode()}


def _stat_json(stat: Stat) -> dict[str, object]:
    return dict(stat._asdict())


def _parse_connect(connect: str) -> list[Address]:
    try:
        return parse_addresses(connect)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--connect") from None


def _check_path(path: str) -> None:
    """Refuse before connecting what no server would accept: that is wrong usage, not a failure of the cluster."""
    if not path.startswith("/") or (path.endswith("/") and path != "/") or "//" in path:
        raise typer.BadParameter(
            f"{path!r} is not a path: it starts with /, does not end with it, and has no empty part, like /app/config",
            param_hint="PATH",
        )


async def _patiently(work: Awaitable[_T], what: str) -> _T:
    """Await ``work``, and say for what is waited when it takes longer than a moment."""
    notice = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, _note, f"waiting: {what}")
    try:
        return await work
    finally:
        notice.cancel()


async def _with_client(connect: str, timeout: float, work: Callable[[Client], Coroutine[Any, Any, _T]]) -> _T:
    addresses = _parse_connect(connect)
    client = Client(addresses, request_timeout=timeout)
    where = ", ".join(address_text(address) for address in addresses)
    await _patiently(client.open(), f"for a replica that serves at {where} (up to {timeout:g} s)")
    try:
        return await _patiently(work(client), "for a majority of the replicas to answer")
    finally:
        await client.close()


def _finish(run: Callable[[], Coroutine[Any, Any, int]], is_json: bool) -> None:
    """Run a command and turn its outcome into an exit code."""
    try:
        code = asyncio.run(run())
    except (ClientError, OSError) as error:
        _note(f"error: {error}")
        if is_json:
            kind = type(error).__name__
            print(json.dumps({"error": str(error), "kind": kind, "code": getattr(error, "code", 0)}))
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise typer.Exit(code)


_CONNECT = typer.Option(DEFAULT_CONNECT, envvar=CONNECT_VARIABLE, help="Where the cluster is: host:port,...")
_JSON = typer.Option(False, "--json", help="Print one JSON object, on the last line.")
_TIMEOUT = typer.Option(10.0, min=0.1, help="Seconds to wait for an answer.")
_LOCAL = typer.Option(False, "--local", help="Read what the replica has, without making sure that it is the newest.")
_PATH = typer.Argument(help="Path of the node, like /app/config.", show_default=False)


def _put(
    path: str = _PATH,
    value: str = typer.Argument(help="The value; - reads it from standard input.", show_default=False),
    create: bool = typer.Option(False, "--create", "--parents", "-p", help="Create missing parents as well."),
    is_new: bool = typer.Option(False, "--if-absent", help="Refuse when the node exists."),
    version: int | None = typer.Option(None, min=0, help="Refuse unless the node exists and is at this version."),
    connect: str = _CONNECT,
    timeout: float = _TIMEOUT,
    is_json: bool = _JSON,
) -> None:
    """Set the value of a node; it is created when it is not there."""
    _check_path(path)
    if is_new and version is not None:
        raise typer.BadParameter("a node that is absent has no version; give one of the two", param_hint="--if-absent")
    data = sys.stdin.buffer.read() if value == "-" else value.encode("utf-8", "surrogateescape")

    async def work(client: Client) -> Stat:
        try:
            if is_new:
                if create:
                    await client.create_parents(path)
                return (await client.create_with_stat(path, data))[1]
            if version is not None:
                return await client.set(path, data, version)
            return await client.put(path, data, parents=create)
        except NoNode as error:
            if version is not None:
                raise NoNode(path, advice="leave --version out to create it") from error
            raise NoNode(path, "its parent is not there", "create the parents as well with -p") from error
        except NodeExists as error:
            raise NodeExists(path, advice="leave --if-absent out to set it") from error
        except BadVersion as error:
            found = await client.exists(path)
            raise BadVersion(
                path,
                f"it is at version {'unknown' if found is None else found.version}, not {version}",
                "get it again and decide anew",
            ) from error

    async def run() -> int:
        stat = await _with_client(connect, timeout, work)
        if is_json:
            print(json.dumps({"path": path, **_stat_json(stat)}))
        else:
            print(f"{path} is at version {stat.version}")
        return 0

    _finish(run, is_json)


def _get(
    path: str = _PATH,
    with_stat: bool = typer.Option(False, "--stat", "-s", help="Print what the cluster knows about the node, too."),
    is_raw: bool = typer.Option(False, "--raw", help="Print the value's bytes and nothing else, no line end either."),
    is_local: bool = _LOCAL,
    connect: str = _CONNECT,
    timeout: float = _TIMEOUT,
    is_json: bool = _JSON,
) -> None:
    """Print the value of a node."""
    _check_path(path)

    async def work(client: Client) -> tuple[bytes | None, Stat]:
        if not is_local:
            await client.sync(path)
        try:
            return await client.get(path)
        except NoNode as error:
            raise NoNode(path, advice=f"create it with: multipaxos put {path} VALUE") from error

    async def run() -> int:
        data, stat = await _with_client(connect, timeout, work)
        if is_json:
            print(json.dumps({"path": path, **_value_json(data), **_stat_json(stat)}))
            return 0
        shown = data or b""
        sys.stdout.buffer.write(shown if is_raw or shown.endswith(b"\n") else shown + b"\n")
        sys.stdout.buffer.flush()
        if with_stat and not is_raw:
            for name, value in stat._asdict().items():
                print(
                    f"{name:16} {value:#x}"
                    if name.endswith("zxid") or name == "ephemeral_owner"
                    else f"{name:16} {value}"
                )
        return 0

    _finish(run, is_json)


def _ls(
    path: str = typer.Argument("/", help="Path of the node whose children are listed."),
    is_recursive: bool = typer.Option(False, "--recursive", "-r", help="List all nodes below, with their whole paths."),
    is_local: bool = _LOCAL,
    connect: str = _CONNECT,
    timeout: float = _TIMEOUT,
    is_json: bool = _JSON,
) -> None:
    """List the children of a node."""
    _check_path(path)

    async def work(client: Client) -> list[str]:
        if not is_local:
            await client.sync(path)
        children = await client.children(path)
        if is_recursive:
            return sorted(await client.tree(path), key=lambda each: each.split("/"))
        return children

    async def run() -> int:
        found = await _with_client(connect, timeout, work)
        if is_json:
            print(json.dumps({"path": path, "below" if is_recursive else "children": found}))
        else:
            for name in found:
                print(name)
        return 0

    _finish(run, is_json)


def _rm(
    path: str = _PATH,
    is_recursive: bool = typer.Option(False, "--recursive", "-r", help="Remove all nodes below as well. Not atomic."),
    version: int | None = typer.Option(None, min=0, help="Refuse unless the node is at this version."),
    connect: str = _CONNECT,
    timeout: float = _TIMEOUT,
    is_json: bool = _JSON,
) -> None:
    """Remove a node."""
    _check_path(path)
    if path == "/":
        raise typer.BadParameter("the root stays; name the nodes below it", param_hint="PATH")
    if is_recursive and version is not None:
        raise typer.BadParameter("goes with a single node, not with -r", param_hint="--version")

    async def work(client: Client) -> int:
        if is_recursive:
            return await client.delete_tree(path)
        await client.delete(path, -1 if version is None else version)
        return 1

    async def run() -> int:
        try:
            count = await _with_client(connect, timeout, work)
        except NoNode as error:
            raise NoNode(path, advice="there is nothing to remove") from error
        if is_json:
            print(json.dumps({"path": path, "removed": count}))
        else:
            print(f"removed {path}" if count == 1 else f"removed {path}, {count} nodes in all")
        return 0

    _finish(run, is_json)


class _Watching:
    """One `watch`: events and changes of the session come through one queue, so that they are printed in order."""

    def __init__(self, path: str, is_recursive: bool, events_max: int | None, is_json: bool) -> None:
        self._path = path
        self._is_recursive = is_recursive
        self._events_max = events_max
        self._is_json = is_json
        self._queue: asyncio.Queue[WatchEvent | SessionState] = asyncio.Queue()
        self._seen = (-1, -1)  # czxid and mzxid last printed
        self._printed = 0

    async def run(self, addresses: list[Address], timeout: float) -> int:
        """Until enough events were printed, over as many sessions as it takes."""
        while True:
            client = Client(addresses, request_timeout=timeout)
            client.add_listener(self._queue.put_nowait)
            where = ", ".join(address_text(address) for address in addresses)
            await _patiently(client.open(), f"for a replica that serves at {where} (up to {timeout:g} s)")
            try:
                if await self._watch(client):
                    return 0
            except SessionExpired:
                pass  # said by the listener; the next round opens another session
            finally:
                await client.close()
            while not self._queue.empty():
                self._queue.get_nowait()
            _note("the session ended while there was no connection; watching with a new one")

    async def _watch(self, client: Client) -> bool:
        """Whether it is done; False: the session ended."""
        await client.add_watch(self._path, self._queue.put_nowait, recursive=self._is_recursive)
        await self._show_present(client)
        was_suspended = False
        while self._events_max is None or self._printed < self._events_max:
            happened = await self._queue.get()
            if isinstance(happened, WatchEvent):
                if happened.type is EventType.SESSION_ENDED:
                    return False
                await self._show_event(client, happened)
            elif happened is SessionState.SUSPENDED:
                was_suspended = True
                _note("waiting: the connection broke; trying the other replicas")
            elif happened is SessionState.CONNECTED and was_suspended:
                was_suspended = False
                _note(f"connected to {'?' if client.server is None else address_text(client.server)} again")
                # A watch that stays is not told what happened in between, so we look.
                await self._show_present(client)
        return True

    async def _show_present(self, client: Client) -> None:
        await client.sync(self._path)
        try:
            data, stat = await client.get(self._path)
        except NoNode:
            if self._seen != (0, 0):
                self._seen = (0, 0)
                self._print("absent", self._path, None, None, "it is not there; waiting for it to be created")
            return
        if self._seen != (stat.czxid, stat.mzxid):
            self._seen = (stat.czxid, stat.mzxid)
            self._print("present", self._path, data, stat)

    async def _show_event(self, client: Client, event: WatchEvent) -> None:
        name = event.type.name.lower()
        data: bytes | None = None
        stat: Stat | None = None
        if event.type in (EventType.CREATED, EventType.DATA_CHANGED):
            with contextlib.suppress(NoNode):  # gone again by now; that event follows
                data, stat = await client.get(event.path)
        if event.path == self._path:
            if stat is not None:
                self._seen = (stat.czxid, stat.mzxid)
            elif event.type is EventType.DELETED:
                self._seen = (0, 0)
        self._printed += 1
        self._print(name, event.path, data, stat)

    def _print(self, name: str, path: str, data: bytes | None, stat: Stat | None, words: str = "") -> None:
        if self._is_json:
            value: dict[str, object] = {"event": name, "path": path}
            if stat is not None:
                value.update({**_value_json(data), "version": stat.version, "mzxid": stat.mzxid})
            print(json.dumps(value), flush=True)
            return
        if stat is not None:
            words = f"version {stat.version}: {_value_text(data)}"
        print(f"{name.replace('_', ' ')} {path}" + (f" {words}" if words else ""), flush=True)


def _watch(
    path: str = _PATH,
    is_recursive: bool = typer.Option(False, "--recursive", "-r", help="Tell of all nodes below as well."),
    events: int | None = typer.Option(None, min=1, help="End after so many events.", show_default="until interrupted"),
    connect: str = _CONNECT,
    timeout: float = _TIMEOUT,
    is_json: bool = typer.Option(False, "--json", help="Print one JSON object for each event, on a line of its own."),
) -> None:
    """Print what happens to a node, until interrupted. The value shown is the one at the time of printing."""
    _check_path(path)
    addresses = _parse_connect(connect)
    _finish(lambda: _Watching(path, is_recursive, events, is_json).run(addresses, timeout), is_json)


def register(app: typer.Typer) -> None:
    """Mounts the commands."""
    app.command("put")(_put)
    app.command("get")(_get)
    app.command("ls")(_ls)
    app.command("rm")(_rm)
    app.command("watch")(_watch)
