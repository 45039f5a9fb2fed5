"""One replica as a process: opens its directory, recovers, joins the parts, runs the loop, ends with a reason.

``python -m multipaxos.host.process FILE`` runs it without the command line's imports; ``multipaxos serve`` calls
``run_in_foreground``. As a child of ``cluster.py`` (``--child``) it says on its standard output what it waits for and
when it serves, one JSON object a line, and stops when its standard input ends: so it never outlives the cluster command,
however that ended.

The order of a start: the admin port is taken, and answers from then on; the directory is locked and its incarnation
raised (rule-R41); the journal is read, and its end copied and synced (rule-R37); the core takes every record and the
state machine every chosen slot; the client port is bound, not opened (rule-R26); only then peers are met and timers run.
``driver.py`` is the loop.
"""

import asyncio
import errno
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import replace
from random import Random
from typing import Final

from multipaxos import __version__
from multipaxos.core.ballot import ReplicaId
from multipaxos.core.effects import Effects
from multipaxos.core.membership import Configuration
from multipaxos.core.records import Record
from multipaxos.core.replica import Replica
from multipaxos.core.settings import MILLISECOND_NS
from multipaxos.host.admin import AdminServer
from multipaxos.host.clock import boot_ns, wall_ms
from multipaxos.host.config import ConfigError, ReplicaConfig, load, split_address
from multipaxos.host.driver import Driver, Stopped
from multipaxos.host.leaving import leave
from multipaxos.host.logs import LogThread
from multipaxos.host.observation import RECOVERING, SERVING, WAITING, DiskState, Observation
from multipaxos.host.observer import Board
from multipaxos.service.service import Service
from multipaxos.service.settings import ServiceSettings
from multipaxos.storage.faults import JournalDamaged, JournalFailed, JournalFull
from multipaxos.storage.identity import DataDirectory, DirectoryRefused
from multipaxos.storage.journal import Journal
from multipaxos.transport.tcp import Transport
from multipaxos.wire.handshake import PROTOCOL_VERSION, Hello

LEDGER_GROUP: Final = 0
RECOVERED_AT_ONCE: Final = 1000
STOP_PATIENCE_S: Final = 5.0
PARENT_PATIENCE_S: Final = 10.0
GOODBYE_S: Final = 0.2
SWITCH_INTERVAL_S: Final = 0.0005
"""A journal thread whose sync has returned waits for the interpreter no longer than this: others wait for what it knows."""

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130

log = logging.getLogger("multipaxos")


class Refused(Exception):
    """This replica cannot be started like this. The text says why, and what to do."""


class Reporter:
    """Tells whoever watches what the replica waits for, and when it serves. This one tells the log."""

    def report(self, state: str, text: str) -> None:
        """``state`` is opened, waiting, serving or stopped."""
        if state == "waiting":
            log.info("waiting for %s", text)
        elif state == "serving":
            log.info("ready: connect to %s", text)


class ParentReporter(Reporter):
    """Tells the cluster command, over the pipe that is this process's standard output."""

    def __init__(self) -> None:
        os.set_blocking(sys.stdout.fileno(), False)

    def report(self, state: str, text: str) -> None:
        """One line of JSON. A parent that does not read loses lines, and holds up nothing."""
        line = json.dumps({"state": state, "text": text}).encode() + b"\n"
        try:
            os.write(sys.stdout.fileno(), line)
        except OSError:
            log.debug("the parent does not read: %s", line)


class ReplicaProcess:
    """The parts of one replica, from its settings."""

    def __init__(
        self, config: ReplicaConfig, reporter: Reporter, board: Board, must_exist: bool, is_moved: bool
    ) -> None:
        self.config = config
        self.reporter = reporter
        self.board = board
        self.loop = asyncio.get_running_loop()
        self._directory = self._open_directory(must_exist, is_moved)
        self._fixed = self._what_is_fixed()
        self._journal: Journal = self._directory.journal(config.segment_bytes)
        self._birth: Configuration | None = None
        self._random = Random()
        self._said = ""
        self._leaving: asyncio.Task[None] | None = None
        self._is_blind = False
        self._admin_addresses = dict(config.admins)
        if board.admin_address and not self._admin_addresses.get(config.replica, ":0").rpartition(":")[2].strip("0"):
            self._admin_addresses[config.replica] = board.admin_address
        self.replica = Replica(
            config.replica,
            config.listed,
            self._directory.mark,
            self._directory.incarnation,
            self._random.getrandbits(64),
            config.settings,
            config.log_level == "debug",
        )
        self.service = Service(config.replica, self._directory.incarnation, _service_settings(config))
        self._recover()
        self.driver = Driver(
            self.replica, self.service, self._journal, self.loop, self._random, self._configured, self._each_second
        )
        self.transport = Transport(
            self._identity(),
            split_address(config.peer_listen),
            self._addresses(),
            self.driver,
            self._random,
            marks=self._marks(),
        )
        self.driver.peers = self.transport

    # --- the start ---------------------------------------------------------------------------------------------------

    def _open_directory(self, must_exist: bool, is_moved: bool) -> DataDirectory:
        config = self.config
        kind = DataDirectory.look(config.data)
        if kind in ("missing", "empty", "unfinished") and not must_exist:
            # Whether this is a first start or a lost disk the peers know: they have the mark that was registered, and
            # refuse another (rule-R40).
            directory = DataDirectory.create(config.data, config.replica)
            log.info("made the data directory %s, mark %016x", config.data, directory.mark)
        else:
            directory = DataDirectory.open(config.data, config.replica, moved=is_moved)
        if directory.stopped:
            log.warning("last time: %s", directory.stopped)
        log.info("replica %d, incarnation %d, data in %s", config.replica, directory.incarnation, config.data)
        self.reporter.report("opened", config.data)
        return directory

    def _what_is_fixed(self) -> Observation:
        """The part of every observation that does not change while this process runs."""
        directory, before = self._directory, self.board.observation
        disk = replace(before.disk, stopped_last_time=directory.stopped)
        return replace(before, incarnation=directory.incarnation, cluster=directory.cluster, disk=disk)

    def _recover(self) -> None:
        begun = time.monotonic()
        records: list[Record] = []
        count = 0
        self._observe_recovery(0)
        for group, record in self._journal.recovered():
            if group == LEDGER_GROUP:
                records.append(record)
                if len(records) == RECOVERED_AT_ONCE:
                    count += len(records)
                    self._observe_recovery(count)
                    self._recovered(self.replica.recover(records))
                    records.clear()
        count += len(records)
        self._recovered(self.replica.recover(records))
        if self._journal.cut:
            log.info("%s", self._journal.cut)
        if self._birth is not None and not self._directory.cluster:
            self._directory.set_cluster(self._birth.cluster, self.config.listed.digest())
        log.info(
            "recovered %d records in %.2f s: applied up to slot %d, promised %d",
            count, time.monotonic() - begun, self.replica.applied, self.replica.promised,
        )  # fmt: skip

    def _observe_recovery(self, count: int) -> None:
        board = self.board
        board.observation = replace(
            self._fixed,
            at_ms=wall_ms(),
            uptime_s=board.uptime_s(),
            waiting_for=f"its journal to be read: {count} records so far",
        )

    def _recovered(self, effects: Effects) -> None:
        now = boot_ns()
        for applied in effects.applied:
            self.service.applied(applied, now)
            if applied.configuration is not None:
                self._check_birth(applied.configuration)
        if effects.stop:
            raise Refused(effects.stop)

    def _check_birth(self, configuration: Configuration) -> None:
        """What the cluster was born with holds for ever; a file that states another is refused, not obeyed (rule-R7)."""
        if self._birth is not None:
            return
        self._birth = configuration
        own = self._directory.cluster
        if own and own != configuration.cluster:
            raise Refused(
                f"the journal in {self.config.data} is of cluster {configuration.cluster}, the directory of {own}: files "
                "of two clusters were mixed; put back the files that belong there"
            )
        stated = self.config.listed.window
        if self.config.is_birth_stated and stated != configuration.window:
            raise Refused(
                f"[birth] says window_slots = {stated}, but cluster {configuration.cluster} was born with "
                f"{configuration.window}: write that, or leave [birth] out; `multipaxos status` shows the present values"
            )

    # --- who and where -----------------------------------------------------------------------------------------------

    def _identity(self) -> Hello:
        directory = self._directory
        cluster = self.replica.membership.newest().cluster or directory.cluster
        digest = self.config.listed.digest()
        return Hello(
            PROTOCOL_VERSION, cluster, digest, directory.replica, directory.mark, directory.incarnation, LEDGER_GROUP
        )

    def _addresses(self) -> dict[ReplicaId, tuple[str, int]]:
        """The file says where to look; the configuration names those it does not know."""
        found = {
            member.id: split_address(member.peer_address)
            for member in self.replica.membership.newest().members
            if member.id != self.config.replica
        }
        found.update({peer.id: split_address(peer.peer_address) for peer in self.config.peers})
        return found

    def _marks(self) -> dict[ReplicaId, int]:
        newest = self.replica.membership.newest()
        return {member.id: member.mark for member in newest.members if member.id != self.config.replica}

    def _configured(self, configuration: Configuration) -> None:
        """A configuration was applied: from now on only its members, with their marks, may connect (rule-R40)."""
        try:
            self._check_birth(configuration)
        except Refused as error:
            self.driver.stop(str(error), True)
            return
        self.transport.set_identity(self._identity(), self._marks())
        self.transport.set_peers(self._addresses())
        if not self._directory.cluster:
            directory, digest = self._directory, self.config.listed.digest()

            def note() -> object:
                directory.set_cluster(configuration.cluster, digest)
                return None

            # Tried again at the next start where it cannot be done now: the journal knows it all the same.
            self.driver.files.submit(note, self._noted)

    def _noted(self, result: object) -> None:
        if isinstance(result, Exception):
            self.driver.stop(str(result), True)

    # --- the run -----------------------------------------------------------------------------------------------------

    async def run(self) -> Stopped:
        """Runs until something stops it."""
        for note in self.config.notes:
            log.warning("%s", note)
        try:
            await self.transport.start()
        except OSError as error:
            self.driver.gateway.close()
            self._close_files()
            raise Refused(_port_text(self.config.peer_listen, "peers", error)) from error
        self.driver.start()
        self.board.stalls.start(self.loop)
        stopped = await self.driver.stopped
        self._observe(WAITING, f"its process to end: {stopped.reason or 'it was told to stop'}")
        self.board.stalls.stop()
        if stopped.is_failure:
            self.driver.gateway.close()
        else:
            await self._say_goodbye()
        await self.transport.close()
        if not await self.driver.journal_thread.stop(STOP_PATIENCE_S):
            log.warning(
                "the disk did not finish in %g s; what it had not synced was never answered for", STOP_PATIENCE_S
            )
        self._directory.close()
        return stopped

    def leave(self) -> None:
        """Stop, after the leadership is handed over and clients have their answers; asked for twice, at once."""
        if self._leaving is not None:
            self.driver.stop()
            return
        self._leaving = self.loop.create_task(leave(self.driver))

    async def _say_goodbye(self) -> None:
        """Clients that are told so go elsewhere at once; who does not hang up in turn is not waited for."""
        gateway = self.driver.gateway
        gateway.stop_listening()
        gateway.close_gently()
        deadline = self.loop.time() + GOODBYE_S
        while gateway.connections and self.loop.time() < deadline:
            await asyncio.sleep(0.005)
        gateway.close()

    def bind(self) -> None:
        """Take the client port. Raises Refused."""
        try:
            self.driver.gateway.bind(*split_address(self.config.client_listen))
        except OSError as error:
            self.driver.gateway.close()
            self._close_files()
            raise Refused(_port_text(self.config.client_listen, "clients", error)) from error

    def _close_files(self) -> None:
        self._journal.close()
        self._directory.close()

    def _each_second(self) -> None:
        age_ns = self.service.contact_age_ns(boot_ns())
        if self.driver.is_listening and 0 <= age_ns <= 3 * self.config.settings.election_max_ns:
            state, text = SERVING, ",".join(self.driver.gateway.addresses)
        else:
            state, text = WAITING, self._waiting_for()
        self._observe(state, "" if state == SERVING else text)
        if state + text != self._said:
            self._said = state + text
            self.reporter.report(state, text)

    def _observe(self, state: str, waiting_for: str) -> None:
        """Leave the board what the admin thread serves. A defect in what only looks must not end what serves: then the
        admin port goes on with the last observation."""
        try:
            self._look(state, waiting_for)
        except Exception:
            if not self._is_blind:
                self._is_blind = True
                log.exception("no observation can be made, please report it")

    def _look(self, state: str, waiting_for: str) -> None:
        board, driver = self.board, self.driver
        driver.observer.each_second(boot_ns())
        board.stalls.each_second()
        driver.observer.measure_space(self.config.data)
        board.observation = driver.observer.look(
            self._fixed,
            self._admin_addresses,
            board,
            self.transport,
            state,
            waiting_for,
            driver.refusals,
        )
        board.tallies = driver.observer.tallies(driver.turns, driver.dropped, self.transport.counters)
        if state == SERVING:
            board.has_served.set()

    def _waiting_for(self) -> str:
        replica = self.replica
        connected = self.transport.connected()
        configuration = replica.membership.newest()
        missing = [
            f"replica {member.id} at {member.peer_address}"
            for member in configuration.members
            if member.is_voter and member.id != replica.id and member.id not in connected
        ]
        for peer, reason in sorted(self.driver.refusals.items()):
            return f"replica {peer}, which refuses this one: {reason}"
        if not replica.membership.is_born and missing:
            return f"{', '.join(missing)}: a new cluster begins when all its replicas are there"
        if not configuration.quorum.is_accept_quorum([*connected, replica.id]):
            return f"a majority: {', '.join(missing)} cannot be reached"
        if replica.leader == 0:
            return "a leader to be elected"
        return f"what the cluster has decided: slot {replica.applied} is applied here"


def _service_settings(config: ReplicaConfig) -> ServiceSettings:
    settings = config.settings
    return ServiceSettings(
        secret=os.urandom(32),
        timeout_min_ms=config.session_min_ms,
        timeout_max_ms=config.session_max_ms,
        tick_ms=config.tick_ms,
        heartbeat_ns=settings.heartbeat_ns,
        election_ns=settings.election_max_ns,
        request_bytes_max=config.request_bytes_max,
        unanswered_bytes_max_all=settings.unapplied_bytes_max,
        unread_bytes_max=config.outstanding_bytes_max,
        connections_per_address_max=config.connections_per_address_max,
        words=frozenset(config.words),
        super_digest=config.super_digest,
        client_address=config.client_listen,
        data=config.data,
    )


def _first_observation(config: ReplicaConfig) -> Observation:
    """What is known before the data directory is opened."""
    settings, at_ms = config.settings, wall_ms()
    return Observation(
        replica=config.replica,
        at_ms=at_ms,
        version=__version__,
        data=config.data,
        pid=os.getpid(),
        started_at_ms=at_ms,
        heartbeat_ms=settings.heartbeat_ns // MILLISECOND_NS,
        election_max_ms=settings.election_max_ns // MILLISECOND_NS,
        state=RECOVERING,
        waiting_for="its data directory to be opened",
        disk=DiskState(stall_ms=settings.disk_stall_ns // MILLISECOND_NS),
    )


def _port_text(address: str, whom: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        port = split_address(address)[1]
        return (
            f"{address} ({whom}) is taken; stop what listens there (ss -ltnp 'sport = :{port}' shows it), or choose "
            "another port"
        )
    why = error.strerror or str(error)
    return f"cannot listen for {whom} at {address}: {why}; check the address, and whether the port may be used"


def _raise_file_limit() -> None:
    """Every client is a file descriptor; the soft limit of a shell is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1 << 20) if hard != resource.RLIM_INFINITY else 1 << 20
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it can be imported, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _watch_parent(process: ReplicaProcess, loop: asyncio.AbstractEventLoop) -> None:
    """Ends this process when the standard input does: cleanly if the loop still turns, at once if it does not."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(process.leave)
        time.sleep(PARENT_PATIENCE_S)
        os._exit(FAILED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def run_replica(
    config: ReplicaConfig, reporter: Reporter, is_child: bool = False, must_exist: bool = False, is_moved: bool = False
) -> int:
    """Runs one replica until it is stopped. Returns the exit code; what went wrong is said on standard error."""
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    logs = LogThread(config.log_level)
    loop = new_event_loop()
    interrupts: list[int] = []

    async def serve(board: Board) -> Stopped:
        process = ReplicaProcess(config, reporter, board, must_exist, is_moved)
        process.bind()

        def interrupted() -> None:
            interrupts.append(signal.SIGINT)
            if len(interrupts) > 1:
                os._exit(INTERRUPTED)  # what was acknowledged is on the disk: the second Ctrl-C need not wait
            log.info("stopping (Ctrl-C again stops at once)")
            process.leave()

        if not is_child:
            loop.add_signal_handler(signal.SIGINT, interrupted)
        loop.add_signal_handler(signal.SIGTERM, process.leave)
        if is_child:
            _watch_parent(process, loop)
        return await process.run()

    async def body() -> Stopped:
        board = Board(_first_observation(config))
        admin = AdminServer(board)
        if not config.admin_listen:
            return await serve(board)
        try:
            admin.bind(config.admin_listen)
        except OSError as error:
            raise Refused(_port_text(config.admin_listen, "admin", error)) from error
        board.admin_address = admin.address
        log.info("status, metrics and why at http://%s", admin.address)
        admin.start()
        try:
            return await serve(board)
        finally:
            admin.stop()

    code = DONE
    try:
        stopped = loop.run_until_complete(body())
        if stopped.is_failure:
            raise Refused(stopped.reason)
        log.info("stopped")
        code = INTERRUPTED if interrupts else DONE
    except (Refused, ConfigError, DirectoryRefused, JournalDamaged, JournalFailed, JournalFull) as error:
        reporter.report("stopped", str(error))
        log.error("%s", error)
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        loop.close()
        logs.stop()
    return code


def run_in_foreground(config: ReplicaConfig, is_moved: bool = False) -> int:
    """``multipaxos serve``."""
    return run_replica(config, Reporter(), is_moved=is_moved)


def main() -> None:
    """``python -m multipaxos.host.process [--child] [--existing] [--moved] FILE``."""
    if sys.flags.optimize:
        # The core asserts what must hold; without that a defect would be written to the disk instead of stopping. The
        # command line refuses it as well, before it gets here.
        sys.stderr.write("error: a replica does not run under python -O, which removes its assertions\n")
        sys.exit(WRONG_USAGE)
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    options = {argument for argument in sys.argv[1:] if argument.startswith("--")}
    if len(arguments) != 1 or options - {"--child", "--existing", "--moved"}:
        sys.stderr.write("usage: python -m multipaxos.host.process [--child] [--existing] [--moved] FILE\n")
        sys.exit(WRONG_USAGE)
    is_child = "--child" in options
    reporter = ParentReporter() if is_child else Reporter()
    try:
        config = load(arguments[0])
    except ConfigError as error:
        reporter.report("stopped", str(error))
        sys.stderr.write(f"error: {error}\n")
        sys.exit(FAILED)
    code = run_replica(config, reporter, is_child, "--existing" in options, "--moved" in options)
    sys.stderr.flush()
    # Not sys.exit: a thread that hangs in a dead disk or a name server must not keep an ended replica's ports.
    os._exit(code)


if __name__ == "__main__":
    main()
