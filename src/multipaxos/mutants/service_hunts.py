"""Schedules for the client side of one replica: state machine, service and clerk of sessions, each call in its place.

    python -m multipaxos.mutants.service_hunts double-attach

Random worlds reach these moments rarely. A schedule drives the shipped code by hand and raises a Violation, by id, where a
rule is broken; what must happen besides, so that the schedule means anything, is asserted. Schedules of several replicas
with the core stand in ``schedules/``.
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Final

from multipaxos.coordination.codes import CHANGED
from multipaxos.coordination.commands import (
    ATTACH,
    CLOSE,
    NO_OWNER,
    REQUEST,
    Owner,
    encode_attach,
    encode_close,
    encode_expire,
    encode_header,
    encode_request,
)
from multipaxos.coordination.machine import Machine, Result
from multipaxos.coordination.sessions import Session
from multipaxos.core.ballot import ballot_of
from multipaxos.core.effects import Applied
from multipaxos.service.clerk import Clerk
from multipaxos.service.service import Service
from multipaxos.service.settings import MILLISECOND_NS, ServiceSettings
from multipaxos.sim.checkers import Violation
from multipaxos.wire.report import Report, ReportAck
from multipaxos.wire.zookeeper import (
    ERR_THROTTLED,
    NO_PASSWORD,
    OP_CREATE,
    OP_GET_DATA,
    OP_SET_DATA,
    OP_SET_WATCHES2,
    OPEN_ACL,
    XID_EVENT,
    XID_SET_WATCHES,
    ConnectRequest,
    FrameReader,
    decode_connect_response,
    decode_event,
    decode_reply_header,
    encode_connect_request,
    encode_create,
    encode_set_data,
    encode_set_watches2,
    encode_watched_path,
    frame,
    request_frame,
)

SETTINGS: Final = ServiceSettings(bytes(range(32)))
SECOND_NS: Final = 1_000 * MILLISECOND_NS
HEARTBEAT_NS: Final = SETTINGS.heartbeat_ns
BALLOT: Final = ballot_of(1, 1)
TIMEOUT_MS: Final = 4_000
EPHEMERAL: Final = 1

FIRST: Final[Owner] = (1, 1, 1)
SECOND: Final[Owner] = (2, 1, 1)
THIRD: Final[Owner] = (3, 1, 1)


class Ledger:
    """A state machine and the commands it is given, in order."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.begin_epoch(1, BALLOT)

    def apply(self, command: bytes) -> Result:
        """The next command."""
        return self.machine.apply(command, 1_000, True)

    def open(self, owner: Owner) -> int:
        """A new session; its id."""
        return self.apply(encode_attach(0, owner, TIMEOUT_MS, NO_OWNER)).session

    def create(self, session: int, owner: Owner, path: str) -> Result:
        """An ephemeral."""
        return self.apply(encode_request(session, owner, (), OP_CREATE, encode_create(path, b"", OPEN_ACL, EPHEMERAL)))

    def check_ephemerals(self) -> None:
        """I13, by looking at every znode."""
        for path, node in self.machine.tree.nodes.items():
            if node.owner > 0 and node.owner not in self.machine.sessions:
                raise Violation("I13", f"ephemeral {path} of session {node.owner:#x}, which has ended")


def create_behind_close() -> None:
    """A client pipelines close and create; both are applied, the create behind the end of its session."""
    ledger = Ledger()
    session = ledger.open(FIRST)
    assert ledger.create(session, FIRST, "/before").err == 0
    assert ledger.apply(encode_close(session, FIRST)).err == 0
    assert "/before" not in ledger.machine.tree.nodes
    ledger.create(session, FIRST, "/behind")
    ledger.check_ephemerals()


def double_attach() -> None:
    """The client gave up on its second connection and is confirmed on its third; then the second's attach comes."""
    ledger = Ledger()
    session = ledger.open(FIRST)
    assert ledger.apply(encode_attach(session, THIRD, TIMEOUT_MS, FIRST)).session == session
    late = ledger.apply(encode_attach(session, SECOND, TIMEOUT_MS, FIRST))
    if ledger.machine.sessions[session].owner != THIRD or late.session:
        raise Violation(
            "rule-R9", "an attach that saw an older owner takes the session from the connection confirmed last"
        )
    assert ledger.create(session, THIRD, "/there").err == 0


def session_moves_late_write() -> None:
    """The client is confirmed on its second connection; then a write of the first one comes, and a close (rule-R9)."""
    ledger = Ledger()
    session = ledger.open(FIRST)
    assert ledger.apply(encode_attach(session, SECOND, TIMEOUT_MS, FIRST)).session == session
    late = ledger.create(session, FIRST, "/late")
    if "/late" in ledger.machine.tree.nodes or not late.is_moved:
        raise Violation("rule-R9", "a write of an old connection is executed after the new one was confirmed")
    ledger.apply(encode_close(session, FIRST))
    if session not in ledger.machine.sessions:
        raise Violation("rule-R9", "a close of an old connection ends the session after the new one was confirmed")
    assert ledger.create(session, SECOND, "/there").err == 0


def expiry_meets_attach() -> None:
    """The leader proposes a session's end; the client attaches elsewhere first."""
    ledger = Ledger()
    session = ledger.open(FIRST)
    assert ledger.apply(encode_attach(session, SECOND, TIMEOUT_MS, FIRST)).session == session
    ledger.apply(encode_expire(session, FIRST, BALLOT))
    if session not in ledger.machine.sessions:
        raise Violation("rule-R24", "a session is ended that its client has attached elsewhere meanwhile")
    ledger.apply(encode_expire(session, SECOND, BALLOT))
    assert session not in ledger.machine.sessions


def ids_are_never_reissued() -> None:
    """Sessions begin and end, some while others live."""
    ledger = Ledger()
    given: list[int] = []
    for _ in range(3):
        first = ledger.open(FIRST)
        second = ledger.open(SECOND)
        for session in (first, second):
            if session in given or not 0 < session < 1 << 62:
                raise Violation("rule-R27", f"session id {session:#x} is given to a second client")
            given.append(session)
        ledger.apply(encode_close(second, SECOND))
        ledger.apply(encode_close(first, FIRST))
        assert not ledger.machine.sessions


def poison_command() -> None:
    """Every command cut at every byte, and with each byte changed: a result, never an exception, and the same twice."""
    ledger, twin = Ledger(), Ledger()
    session = ledger.open(FIRST)
    twin.open(FIRST)
    whole = [
        encode_request(session, FIRST, (("ip", "10.0.0.1"),), OP_CREATE, encode_create("/a", b"x", OPEN_ACL, 0)),
        encode_request(session, FIRST, (), 14, b"\0\0\0\1\0\xff\xff\xff\xff"),
        encode_attach(session, SECOND, TIMEOUT_MS, THIRD),
        encode_expire(session, THIRD, BALLOT),
        *[encode_header(kind, session, FIRST) for kind in (0, REQUEST, ATTACH, CLOSE + 5, 255)],
    ]
    poisoned = [command[:end] for command in whole for end in range(len(command))]
    for command in whole[:4]:
        for at in range(0, len(command), 3):
            poisoned.append(command[:at] + bytes((command[at] ^ 0x80,)) + command[at + 1 :])
    for command in poisoned:
        try:
            ledger.apply(command)
        except Exception as error:
            raise Violation("rule-R17", f"apply raises {error!r} for a command of {len(command)} bytes") from error
        twin.machine.apply(command, 1_000, False)
    if ledger.machine.digest() != twin.machine.digest():
        raise Violation("I7", "who waits for a result decides what a command does")


class Gateway:
    """One replica that leads itself: what it submits is applied at once."""

    def __init__(self) -> None:
        self.service = Service(1, 1, SETTINGS)
        self.now = 1_000 * SECOND_NS
        self.round = 1
        self.sent: dict[int, list[bytes]] = {}  # frames, by connection
        self.closed: list[int] = []
        self.submitted: list[bytes] = []
        self._slot = 0
        self._serial = 0
        self._readers: dict[int, FrameReader] = {}
        self._apply([], True)
        self.turn()
        self.heartbeat()
        assert self.service.is_serving

    def _apply(self, commands: list[bytes], is_epoch: bool = False) -> None:
        self._slot += 1
        numbered: list[tuple[int, int, bytes]] = []
        for command in commands:
            self._serial += 1
            numbered.append((1, self._serial, command))
        time_ms = self.now // MILLISECOND_NS
        self.service.applied(Applied(self._slot, time_ms, 1, BALLOT, is_epoch, numbered, None), self.now)

    def heartbeat(self) -> None:
        """A round, answered."""
        self.round += 1
        self.turn()

    def pass_time(self, duration_ns: int) -> None:
        """Heartbeats, and nothing from any client."""
        end = self.now + duration_ns
        while self.now < end:
            self.now += HEARTBEAT_NS
            self.heartbeat()

    def turn(self) -> None:
        """Turns of the loop until nothing is left to do."""
        is_busy = True
        while is_busy:
            self.service.leadership(1, BALLOT, self.round, True, True, self.round, self.now)
            out = self.service.out
            commands, messages = out.commands, out.messages
            for number, frames in out.replies.items():
                reader = self._readers.setdefault(number, FrameReader())
                self.sent.setdefault(number, []).extend(reader.feed(b"".join(frames)))
            self.closed += out.closes
            out.clear()
            self.submitted += commands
            if commands:
                self._apply(commands)
            for _, message in messages:
                if isinstance(message, Report):
                    self.service.report_received(message, self.now)
                else:
                    assert isinstance(message, ReportAck)
                    self.service.report_acknowledged(message, self.now)
            is_busy = bool(commands or messages)

    def connect(self, number: int, session: int = 0, password: bytes = NO_PASSWORD) -> tuple[int, bytes]:
        """A connection and its handshake; session and password, 0 where it was refused."""
        self.service.connection_opened(number, f"10.0.0.{number}:4711", self.now)
        request = ConnectRequest(0, 0, TIMEOUT_MS, session, password, False)
        self.service.bytes_received(number, frame(encode_connect_request(request)), self.now)
        self.turn()
        response = decode_connect_response(self.sent.pop(number)[0])
        return (response.session, response.password) if response.timeout_ms else (0, b"")

    def ask(self, number: int, xid: int, opcode: int, record: bytes) -> list[bytes]:
        """One request; the frames that come back."""
        self.service.bytes_received(number, request_frame(xid, opcode, record), self.now)
        self.turn()
        return self.sent.pop(number, [])


def all_full() -> None:
    """The cluster's disks are full: a growing command is refused before it is numbered, and not executed."""
    gateway = Gateway()
    gateway.connect(1)
    gateway.service.is_full = True
    gateway.submitted = []
    (reply,) = gateway.ask(1, 1, OP_CREATE, encode_create("/full", b"x", OPEN_ACL, 0))
    assert decode_reply_header(reply).err == ERR_THROTTLED
    if gateway.submitted or "/full" in gateway.service.machine.tree.nodes:
        raise Violation("rule-R10", "a client is told 'not executed' of a command that is numbered")
    gateway.service.is_full = False
    (reply,) = gateway.ask(1, 2, OP_CREATE, encode_create("/full", b"x", OPEN_ACL, 0))
    assert decode_reply_header(reply).err == 0


def stopped_gateway() -> None:
    """The process is stopped for a minute; it wakes up with a request in its socket."""
    gateway = Gateway()
    gateway.connect(1)
    assert gateway.ask(1, 1, OP_GET_DATA, encode_watched_path("/", False))
    gateway.now += 60 * SECOND_NS
    service = gateway.service
    service.bytes_received(1, request_frame(2, OP_GET_DATA, encode_watched_path("/", False)), gateway.now)
    # The leader it knew may be another by now: it has heard nothing since.
    service.leadership(1, BALLOT, gateway.round, True, True, gateway.round, gateway.now)
    if service.out.replies.get(1):
        raise Violation("rule-R26", "a gateway without contact for a minute answers a read, before any timer runs")
    service.tick(gateway.now)
    assert 1 in service.out.closes


def missed_by_one() -> None:
    """The change right behind the last zxid a client saw is told when it sets its watches again (zk-4)."""
    gateway = Gateway()
    session, password = gateway.connect(1)
    gateway.connect(2)
    gateway.ask(1, 1, OP_CREATE, encode_create("/a", b"", OPEN_ACL, 0))
    (reply,) = gateway.ask(1, 2, OP_GET_DATA, encode_watched_path("/a", True))
    seen = decode_reply_header(reply).zxid
    gateway.service.connection_closed(1, gateway.now)
    (reply,) = gateway.ask(2, 1, OP_SET_DATA, encode_set_data("/a", b"new", -1))
    assert decode_reply_header(reply).zxid == seen + 1
    assert gateway.connect(3, session, password)[0] == session
    frames = gateway.ask(3, XID_SET_WATCHES, OP_SET_WATCHES2, encode_set_watches2(seen, ["/a"], [], [], [], []))
    told = [decode_event(found, 16) for found in frames if decode_reply_header(found).xid == XID_EVENT]
    if [(event.type, event.path) for event in told] != [(CHANGED, "/a")]:
        raise Violation("I15", f"a client that saw zxid {seen:#x} hears {told} of a change at {seen + 1:#x}")


def strange_password() -> None:
    """Somebody knows the id of a living session."""
    gateway = Gateway()
    session, password = gateway.connect(1)
    assert session
    for wrong in (bytes(16), bytes((password[0] ^ 1,)) + password[1:], password[:15], b""):
        number = 10 + len(gateway.closed)
        if gateway.connect(number, session, wrong)[0]:
            raise Violation("rule-R27", "a session is resumed without its password")
    assert gateway.connect(99, session, password)[0] == session


class Watched:
    """A clerk that leads, one session of gateway 2, and rounds of heartbeats."""

    def __init__(self) -> None:
        self.clerk = Clerk(1, SETTINGS)
        self.session = Session(7, TIMEOUT_MS, SECOND)
        self.now = 1_000 * SECOND_NS
        self.round = 0
        self.confirmed = 0
        self._serial = 0

    def pass_time(self, duration_ns: int, is_confirmed: bool, is_reported: bool) -> list[tuple[int, Owner]]:
        """Rounds go by, one per heartbeat; the first end that is decided, or none."""
        end = self.now + duration_ns
        while self.now < end:
            self.now += HEARTBEAT_NS
            self.round += 1
            if is_confirmed:
                self.confirmed = self.round
            self.clerk.leadership(1, BALLOT, self.round, True, True, self.confirmed, self.now)
            if is_reported:
                self.report()
            found = self.clerk.due({self.session.id: self.session}, self.now)
            if found:
                return found
        return []

    def report(self, *touches: tuple[int, int]) -> ReportAck | None:
        """The gateway answers the latest round; what the clerk acknowledges."""
        self._serial += 1
        return self.clerk.report(Report(2, BALLOT, self.round, self._serial, touches), self.now)


def expiry_needs_a_round() -> None:
    """A session's deadline passes while no quorum confirms a round: another leader may reign already (rule-R24)."""
    world = Watched()
    assert not world.pass_time(3 * SECOND_NS, True, True)
    if world.pass_time(6 * SECOND_NS, False, True):
        raise Violation("rule-R24", "a session is ended though no round begun after its deadline was confirmed")
    assert world.pass_time(SECOND_NS, True, True)


def expiry_asks_the_gateway() -> None:
    """The gateway of a silent session is slow to answer a round: its answer may hold a touch (rule-R24)."""
    world = Watched()
    # Touched once, so that the deadline passes a moment behind the last report of the gateway.
    assert not world.pass_time(3 * SECOND_NS, True, True)
    world.report((world.session.id, 0))
    assert not world.pass_time(TIMEOUT_MS * MILLISECOND_NS - HEARTBEAT_NS, True, True)
    if world.pass_time(2 * SECOND_NS, True, False):
        raise Violation(
            "rule-R24", "a session is ended though its gateway has not answered the round behind its deadline"
        )
    world.report((world.session.id, SECOND_NS))
    assert not world.pass_time(2 * SECOND_NS, True, True)
    assert world.pass_time(4 * SECOND_NS, True, True)


def everybody_stood_still() -> None:
    """A host is suspended for a minute with all that runs on it, and goes on: no session has had a chance (rule-R24)."""
    world = Watched()
    assert not world.pass_time(3 * SECOND_NS, True, True)
    world.now += 60 * SECOND_NS
    if world.pass_time(TIMEOUT_MS * MILLISECOND_NS - SECOND_NS, True, True):
        raise Violation("rule-R24", "a session is ended for the silence of a time in which everybody stood still")
    assert world.pass_time(3 * SECOND_NS, True, True)


def stopped_leader_acknowledges() -> None:
    """A leader was stopped, and finds echoes as old as its sleep: who sent them may follow another by now (rule-R25)."""
    world = Watched()
    assert not world.pass_time(3 * SECOND_NS, True, True)
    world.now += 2 * SECOND_NS
    old = world.round
    world.round += 1
    world.clerk.leadership(1, BALLOT, world.round, True, True, old, world.now)
    ack = world.report((world.session.id, 0))
    if ack is not None and ack.is_quorum_connected:
        raise Violation("rule-R25", "a touch is acknowledged on echoes from before the leader was stopped")
    world.clerk.leadership(1, BALLOT, world.round, True, True, world.round, world.now)
    ack = world.report((world.session.id, 0))
    assert ack is not None and ack.is_quorum_connected


def touch_behind_the_end() -> None:
    """A session's end is proposed; then its gateway reports a touch: the client must not believe it counts (rule-R24)."""
    world = Watched()
    assert world.pass_time(8 * SECOND_NS, True, True)
    ack = world.report((world.session.id, 0))
    if ack is None or world.session.id not in ack.ending:
        raise Violation("rule-R24", "a touch is acknowledged of a session whose end is proposed")


def full_cluster_expires_nobody() -> None:
    """Space is missing, so clients may be unable to reach anybody who could hear them: nobody expires (rule-R24, R38)."""
    gateway = Gateway()
    session, _ = gateway.connect(1)
    gateway.service.is_full = True
    gateway.pass_time(4 * TIMEOUT_MS * MILLISECOND_NS)
    if session not in gateway.service.machine.sessions:
        raise Violation("rule-R38", "a session is ended while the cluster is full")
    gateway.service.is_full = False
    gateway.pass_time(SECOND_NS)
    assert session not in gateway.service.machine.sessions


SCHEDULES: Final[dict[str, Callable[[], None]]] = {
    "all-full": all_full,
    "create-behind-close": create_behind_close,
    "double-attach": double_attach,
    "everybody-stood-still": everybody_stood_still,
    "expiry-asks-the-gateway": expiry_asks_the_gateway,
    "expiry-meets-attach": expiry_meets_attach,
    "expiry-needs-a-round": expiry_needs_a_round,
    "full-cluster-expires-nobody": full_cluster_expires_nobody,
    "ids-are-never-reissued": ids_are_never_reissued,
    "missed-by-one": missed_by_one,
    "poison-command": poison_command,
    "session-moves-late-write": session_moves_late_write,
    "stopped-gateway": stopped_gateway,
    "stopped-leader-acknowledges": stopped_leader_acknowledges,
    "strange-password": strange_password,
    "touch-behind-the-end": touch_behind_the_end,
}


def look(name: str) -> tuple[list[dict[str, str]], int]:
    """Run one schedule: what it violates, and whether it fell over."""
    try:
        SCHEDULES[name]()
    except Violation as violation:
        return [{"id": violation.invariant, "text": violation.text}], 0
    except Exception:
        return [], 1
    return [], 0


def main(arguments: Sequence[str]) -> int:
    """The command; 0 when nothing was found."""
    violations, crashes = look(arguments[0])
    sys.stdout.write(json.dumps({"violations": violations, "runs": 1, "crashes": crashes}) + "\n")
    return 1 if violations or crashes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
