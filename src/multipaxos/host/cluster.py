"""A local cluster: one process per replica on loopback, its data kept between runs.

Knows nothing of Paxos: a replica is a process that is started with a TOML file, says on its standard output what it is
waiting for and when it serves, and stops when its standard input ends. That pipe is also why no replica outlives this
process: however it ends, the kernel closes the pipe (``process.py`` watches it). Read ``folder.py`` for what is kept on
disk, and ``process.py`` for the other end of the pipes.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from multipaxos.host.folder import ClusterFolder, FolderError, Place

SERVING_PATIENCE_S: Final = 60.0
"""How long a restart of all waits for each replica: it may have a long journal to read."""
STOP_PATIENCE_S: Final = 10.0
"""A replica that has not ended by then is killed: its journal is made for that."""
WAITING_SAID_AFTER_S: Final = 2.0
WAITING_REPEATED_S: Final = 10.0
RESTART_FIRST_S: Final = 1.0
RESTART_LONGEST_S: Final = 30.0
CONTROL_LINE_MAX: Final = 4096

DONE: Final = 0
FAILED: Final = 1
INTERRUPTED: Final = 130

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What ``multipaxos cluster`` was asked for. None: what the folder was made for, else the default."""

    data: str
    replicas: int | None = None
    client_port: int | None = None
    peer_port: int | None = None
    admin_port: int | None = None
    restart: bool = False
    moved: bool = False  # the folder was moved or restored whole: its directories are no copies (rule-R41)
    command: str = "multipaxos"  # how the reader types the command


class _Child:
    """One replica as the manager sees it."""

    __slots__ = (
        "changed",
        "delay",
        "ending",
        "is_wanted",
        "place",
        "process",
        "reason",
        "state",
        "stopping",
        "waiting_for",
        "watcher",
    )

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process: asyncio.subprocess.Process | None = None
        self.state = "stopped"  # stopped | starting | serving | waiting (it served, and is cut off) | died
        self.waiting_for = ""
        self.reason = ""  # why it stopped, as it said itself
        self.ending = ""  # why its process ended without being told to
        self.is_wanted = False  # should run: started, and neither stopped by request nor given up
        self.stopping = False
        self.delay = RESTART_FIRST_S
        self.watcher: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()

    @property
    def process_id(self) -> int:
        return self.process.pid if self.process is not None and self.process.returncode is None else 0


class Cluster:
    """Starts the replicas of a folder, watches them, obeys the control socket, and ends them all."""

    __slots__ = (
        "_children", "_control", "_folder", "_interrupts", "_is_ready", "_is_restarting", "_options", "_over", "_result",
        "_say", "_tasks",
    )  # fmt: skip

    def __init__(self, folder: ClusterFolder, options: ClusterOptions, say: Say) -> None:
        self._folder = folder
        self._options = options
        self._say = say
        self._children = [_Child(place) for place in folder.places]
        self._control: asyncio.Server | None = None
        self._over = asyncio.Event()
        self._result = DONE
        self._interrupts = 0
        self._is_ready = False
        self._is_restarting = False
        self._tasks: set[asyncio.Task[None]] = set()

    # --- the life of the whole -----------------------------------------------------------------------------------

    async def run(self) -> int:
        """Runs until told to stop or nothing is left to run. Returns the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGTERM, self._over.set)
        with contextlib.suppress(AttributeError):
            loop.add_signal_handler(signal.SIGHUP, self._over.set)
        try:
            for child in self._children:
                await self._start(child)
            self._control = await asyncio.start_unix_server(self._serve_control, path=self._folder.control_path())
            self._spawn(self._say_waiting())
            await self._over.wait()
        finally:
            await self._end()
        return self._result

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _interrupted(self) -> None:
        self._interrupts += 1
        self._result = INTERRUPTED
        if self._interrupts == 1:
            self._say("stopping the replicas (Ctrl-C again stops them at once)")
            self._over.set()
        else:
            for child in self._children:
                self._kill(child)

    async def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        for task in list(self._tasks):
            task.cancel()
        for child in self._children:
            child.is_wanted = False
        await asyncio.gather(*(self._stop(child) for child in self._children))
        self._folder.write_state({}, 0, None, self._endings())
        if self._result != FAILED:
            self._say(f"stopped; the data stays in {self._folder.shown}")

    # --- one replica ---------------------------------------------------------------------------------------------

    async def _start(self, child: _Child) -> None:
        place = child.place
        child.state, child.waiting_for, child.reason, child.ending = "starting", "", "", ""
        child.is_wanted, child.stopping = True, False
        log = os.open(self._folder.log_path(place.id), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "multipaxos.host.process",
                "--child",
                # A directory that was made and is gone is a lost memory, not a first start (trap-T34).
                *(["--existing"] if self._folder.is_made[place.id] else []),
                *(["--moved"] if self._options.moved else []),
                self._folder.config_path(place.id),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # A Ctrl-C at the terminal goes to the whole foreground group: the replicas are stopped by us, in order.
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._write_state()
        child.watcher = asyncio.ensure_future(self._watch(child, child.process))

    async def _watch(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                self._heard(child, json.loads(line))
        code = await process.wait()
        if not child.stopping:
            died_of = f"killed by signal {-code}" if code < 0 else f"exit code {code}; see its log"
            child.ending = child.reason or died_of
        self._write_state_of(child, "stopped" if child.stopping else "died")
        if child.stopping or self._over.is_set():
            return
        self._say(f"replica {child.place.id} died: {child.ending}")
        self._say(f"  its log: {self._folder.shown_path(self._folder.log_path(child.place.id))}")
        self._after_death(child)

    def _after_death(self, child: _Child) -> None:
        alive = sum(1 for one in self._children if one.process_id)
        enough = len(self._children) // 2 + 1
        if self._options.restart and child.reason == "":
            self._say(f"  starting it again in {child.delay:g} s (--restart)")
            self._spawn(self._restart(child))
            return
        child.is_wanted = False
        if alive < enough and (not self._is_ready or alive == 0):
            self._say(
                f"too few replicas are up: {alive} of {len(self._children)}, and {enough} are needed; "
                "nothing was lost; mend what is named above and run the same command again"
            )
            self._result = FAILED
            self._over.set()
            return
        self._say(f"  bring it back with: {self._options.command} cluster start {child.place.id}{self._data_option()}")
        if alive < enough:
            self._say(f"too few replicas are up: {alive} of {len(self._children)}; writes wait until {enough} are")

    async def _restart(self, child: _Child) -> None:
        await asyncio.sleep(child.delay)
        child.delay = min(2 * child.delay, RESTART_LONGEST_S)
        if child.is_wanted and not child.process_id:  # it may have been stopped, or started, by request meanwhile
            await self._start(child)

    async def _stop(self, child: _Child) -> None:
        """Ends a replica cleanly: closes its standard input and waits; kills it when it does not end."""
        process = child.process
        if process is not None and process.returncode is None:
            child.stopping = True
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), STOP_PATIENCE_S)
            except TimeoutError:
                self._say(f"replica {child.place.id} does not stop; killing it (nothing acknowledged is lost)")
                self._kill(child)
        if child.watcher is not None:
            await child.watcher

    def _kill(self, child: _Child) -> None:
        process = child.process
        if process is not None and process.returncode is None:
            child.stopping = True
            process.kill()

    def _heard(self, child: _Child, event: dict[str, Any]) -> None:
        if event.get("state") == "serving":
            child.delay = RESTART_FIRST_S
            self._write_state_of(child, "serving")
            self._maybe_ready()
        elif event.get("state") == "waiting":
            child.waiting_for = str(event.get("text", ""))
            if child.state == "serving":
                self._write_state_of(child, "waiting")
        elif event.get("state") == "stopped":
            child.reason = str(event.get("text", ""))
        elif event.get("state") == "opened":
            self._folder.is_made[child.place.id] = True
            self._write_state()

    def _write_state_of(self, child: _Child, state: str) -> None:
        child.state = state
        self._write_state()
        child.changed.set()
        child.changed = asyncio.Event()

    def _write_state(self) -> None:
        pids = {child.place.id: child.process_id for child in self._children}
        states = {child.place.id: child.state for child in self._children}
        self._folder.write_state(pids, os.getpid(), states, self._endings())

    def _endings(self) -> dict[int, str]:
        return {child.place.id: child.ending for child in self._children}

    # --- what is said --------------------------------------------------------------------------------------------

    def _data_option(self) -> str:
        return "" if self._folder.is_default else f" --data {self._folder.shown}"

    def _maybe_ready(self) -> None:
        if self._is_ready or any(child.state != "serving" for child in self._children if child.is_wanted):
            return
        serving = [child for child in self._children if child.state == "serving"]
        if len(serving) <= len(self._children) // 2:
            return
        self._is_ready = True
        addresses = ",".join(child.place.client for child in self._children)
        command = self._options.command
        connect = "" if self._folder.has_default_ports else f" --connect {addresses}"
        self._say(f"ready: connect to {addresses}")
        self._say(f"  try:  {command} put /hello world{connect}")
        self._say(f"        {command} get /hello{connect}")
        self._say(
            f"        {command} cluster stop 1{self._data_option()}    (from another terminal; start 1 brings it back)"
        )
        self._say("  Ctrl-C stops the cluster and keeps its data")

    async def _say_waiting(self) -> None:
        """Says for what is waited, while the cluster is not ready."""
        await asyncio.sleep(WAITING_SAID_AFTER_S)
        while not self._is_ready:
            for child in self._children:
                if child.is_wanted and child.state == "starting":
                    self._say(f"waiting: replica {child.place.id}: {child.waiting_for or 'its process is starting'}")
            await asyncio.sleep(WAITING_REPEATED_S)

    # --- control -------------------------------------------------------------------------------------------------

    async def _serve_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection: a JSON line in; JSON lines out, the last with ``done``."""

        def answer(text: str, is_ok: bool | None = None) -> None:
            writer.write(json.dumps({"text": text, "done": is_ok is not None, "ok": bool(is_ok)}).encode() + b"\n")

        try:
            request = json.loads((await reader.readline())[:CONTROL_LINE_MAX])
            if request.get("do") == "restart" and not request.get("replica"):
                await self._control_restart(self._children, answer)
                return
            child = next((one for one in self._children if one.place.id == request.get("replica")), None)
            if child is None:
                ids = ", ".join(str(one.place.id) for one in self._children)
                answer(f"there is no replica {request.get('replica')} here; there are {ids}", False)
            elif request.get("do") == "stop":
                await self._control_stop(child, answer)
            elif request.get("do") == "start":
                await self._control_start(child, answer)
            elif request.get("do") == "restart":
                await self._control_restart([child], answer)
            else:
                answer(f"unknown request {request.get('do')!r}", False)
        except (ValueError, AttributeError):
            answer("the request is not one JSON object on one line", False)
        finally:
            with contextlib.suppress(OSError):
                await writer.drain()
                writer.close()

    async def _control_stop(self, child: _Child, answer: Callable[..., None]) -> None:
        if not child.process_id:
            answer(f"replica {child.place.id} is not running", True)
            return
        child.is_wanted = False
        await self._stop(child)
        self._say(f"replica {child.place.id} stopped by request")
        alive = sum(1 for one in self._children if one.process_id)
        enough = len(self._children) // 2 + 1
        text = f"replica {child.place.id} is stopped; {alive} of {len(self._children)} are up"
        answer(text if alive >= enough else f"{text}: too few, writes wait until {enough} are", True)

    async def _control_start(self, child: _Child, answer: Callable[..., None]) -> None:
        number = child.place.id
        if child.process_id:
            answer(f"replica {number} is already running (process {child.process_id})", True)
            return
        await self._start(child)
        self._say(f"replica {number} started by request (process {child.process_id})")
        deadline = time.monotonic() + STOP_PATIENCE_S
        while child.state == "starting":
            changed = child.changed
            try:
                await asyncio.wait_for(changed.wait(), max(deadline - time.monotonic(), 0))
            except TimeoutError:
                answer(f"replica {number} runs and does not serve yet: {child.waiting_for or 'it is starting'}", True)
                return
        if child.state == "serving":
            answer(f"replica {number} serves clients at {child.place.client} (process {child.process_id})", True)
        else:
            answer(f"replica {number} died: {child.reason or 'see its log'}", False)

    async def _control_restart(self, children: list[_Child], answer: Callable[..., None]) -> None:
        """One after the other, each only while all that should run serve: so a majority always does."""
        if self._is_restarting:
            answer("a restart is under way already", False)
            return
        self._is_restarting = True
        try:
            for child in children:
                number = child.place.id
                others = [one for one in self._children if one is not child and one.is_wanted]
                enough = len(self._children) // 2 + 1
                if len(others) < enough:
                    answer(
                        f"replica {number} was not restarted: without it {len(others)} of {len(self._children)} run, and "
                        f"{enough} are needed to serve; start the others first, or use cluster stop and start",
                        False,
                    )
                    return
                waits_for = await self._all_serve(others)
                if waits_for:
                    answer(f"replica {number} was not restarted: {waits_for}; nothing else was touched", False)
                    return
                child.is_wanted = False
                await self._stop(child)
                await self._start(child)
                waits_for = await self._all_serve([child])
                if waits_for:
                    answer(f"stopped here: {waits_for}; the replicas after it were not touched", False)
                    return
                answer(f"replica {number} was restarted and serves (process {child.process_id})")
            count = len(children)
            self._say(f"{count} replica{'s' * (count != 1)} restarted by request")
            answer(f"restarted, one after the other: {', '.join(str(one.place.id) for one in children)}", True)
        finally:
            self._is_restarting = False

    async def _all_serve(self, children: list[_Child]) -> str:
        """Wait until these serve; else which does not and why."""
        deadline = time.monotonic() + SERVING_PATIENCE_S
        for child in children:
            while child.state != "serving":
                changed = child.changed
                if child.state in ("died", "stopped") and not child.is_wanted:
                    return f"replica {child.place.id} does not run: {child.reason or 'see its log'}"
                try:
                    await asyncio.wait_for(changed.wait(), max(deadline - time.monotonic(), 0))
                except TimeoutError:
                    why = child.waiting_for or child.reason or "it is starting"
                    return f"replica {child.place.id} does not serve after {SERVING_PATIENCE_S:g} s: {why}"
        return ""


def run_cluster(options: ClusterOptions, say: Say) -> int:
    """Runs a local cluster until it is stopped. Returns the exit code."""
    try:
        folder = ClusterFolder.open(
            options.data, options.replicas, options.client_port, options.peer_port, say, options.admin_port
        )
    except FolderError as error:
        say(f"error: {error}")
        return FAILED
    with folder:
        say(f"{len(folder.places)} replicas, data in {folder.shown}")
        for place in folder.places:
            log = folder.shown_path(folder.log_path(place.id))
            say(f"  replica {place.id}: clients {place.client}, peers {place.peer}, admin {place.admin}, log {log}")

        async def body() -> int:
            return await Cluster(folder, options, say).run()

        return asyncio.run(body())


def ask_running_cluster(data: str, do: str, replica: int, say: Say) -> int:
    """``cluster start N``, ``stop N`` and ``restart [N]`` (0: all): tells the cluster command that runs on ``data``. Returns
    the exit code."""
    import socket

    try:
        path = ClusterFolder.control_of_running(data)
    except FolderError as error:
        say(f"error: {error}")
        return FAILED
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            say(f"error: no cluster runs on {data} ({error}); start it with: multipaxos cluster --data {data}")
            return FAILED
        connection.sendall(json.dumps({"do": do, "replica": replica}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            for line in answers:
                event = json.loads(line)
                say(str(event["text"]) if event["ok"] or not event["done"] else f"error: {event['text']}")
                if event["done"]:
                    return DONE if event["ok"] else FAILED
    say("error: the cluster command ended before it answered")
    return FAILED
