"""One client connection: bytes in, commands and replies out, in order. The file to read first here.

A connection is NEW until its first frame, a ConnectRequest, is whole (or four letters of a word, answered as text);
WAITING while this replica is behind its client or does not know the secret of passwords yet; ATTACHING while its attach
is under way in the ledger (rule-R9); OPEN once that is applied and answered; DRAINING when nothing more is read and it
will be closed after what is still to be answered.

Requests of one connection are answered in the order they came; xids decide nothing (zk-7). A write goes to the ledger
at once. A read runs at once when nothing of the connection is open; else it is queued behind what came before, and runs
right after exactly that was applied, so that it sees the writes before it and none after (rule-R21). Pings wait apart,
for the leader's word (rule-R25), and hold up nothing. A request is answered, or its connection is closed (rule-R10).

What a connection may cost is bounded: requests not answered, replies not read. Beyond, it is not read from.

Knows nothing of sockets, slots and other replicas. ``shared.py`` holds what connections have in common, ``reads.py``
what is answered from local state, ``service.py`` calls all of it.
"""

from collections import deque
from hmac import compare_digest
from struct import Struct
from typing import Final

from multipaxos.coordination.commands import (
    NO_OWNER,
    AuthId,
    Owner,
    encode_attach,
    encode_close,
    request_prefix,
)
from multipaxos.coordination.machine import Result
from multipaxos.coordination.watches import DATA
from multipaxos.service.auth import authenticate, ids_of_address
from multipaxos.service.reads import answer
from multipaxos.service.shared import Shared
from multipaxos.service.words import WORDS, answer_word
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import (
    ERR_AUTH_FAILED,
    ERR_MARSHALLING,
    ERR_OK,
    ERR_THROTTLED,
    ERR_UNIMPLEMENTED,
    NO_PASSWORD,
    OP_ADD_WATCH,
    OP_AUTH,
    OP_CHECK_WATCHES,
    OP_CLOSE_SESSION,
    OP_CREATE,
    OP_CREATE2,
    OP_CREATE_CONTAINER,
    OP_CREATE_TTL,
    OP_DELETE,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_GET_EPHEMERALS,
    OP_MULTI,
    OP_MULTI_READ,
    OP_PING,
    OP_RECONFIG,
    OP_REMOVE_WATCHES,
    OP_SASL,
    OP_SET_ACL,
    OP_SET_DATA,
    OP_SET_WATCHES,
    OP_SET_WATCHES2,
    OP_SYNC,
    OP_WHO_AM_I,
    PROTOCOL_VERSION,
    STAT_BYTES,
    ConnectRequest,
    ConnectResponse,
    decode_connect_request,
    encode_connect_response,
    event_frame,
    frame,
    read_set_watches,
)

NEW: Final = 0
WAITING: Final = 1
ATTACHING: Final = 2
OPEN: Final = 3
DRAINING: Final = 4

LEDGER_OPCODES: Final = frozenset(
    (
        OP_CREATE, OP_DELETE, OP_SET_DATA, OP_SET_ACL, OP_SYNC, OP_MULTI, OP_CREATE2, OP_RECONFIG, OP_CREATE_CONTAINER,
        OP_CREATE_TTL,
    )
)  # fmt: skip
"""Requests that become commands."""

GROWING_OPCODES: Final = LEDGER_OPCODES - {OP_DELETE, OP_SYNC}
"""Of these, what may take space: refused while the cluster's disks are full (rule-R38)."""

LOCAL_OPCODES: Final = frozenset(
    (
        OP_EXISTS, OP_GET_DATA, OP_GET_ACL, OP_GET_CHILDREN, OP_GET_CHILDREN2, OP_CHECK_WATCHES, OP_REMOVE_WATCHES,
        OP_MULTI_READ, OP_SET_WATCHES, OP_SET_WATCHES2, OP_GET_EPHEMERALS, OP_GET_ALL_CHILDREN_NUMBER, OP_ADD_WATCH,
        OP_WHO_AM_I,
    )
)  # fmt: skip
"""Requests that this replica answers from its own state, in the connection's order."""

# Queued in place of an opcode: the reply is already made, and has to wait for its turn.
READY: Final = -1000
READY_THEN_CLOSE: Final = -1001

REQUEST_HEAD: Final = Struct(">iii")  # length, xid, opcode
REPLY_HEAD: Final = Struct(">iiqi")  # length, xid, zxid, err
DATA_HEAD: Final = Struct(">iiqii")  # the same, and the length of the data
REQUEST_COST: Final = 64
"""What a request costs in memory besides its bytes, about: a flood of pings is bounded like anything else."""

PING_COST: Final = 8 + REQUEST_COST

Queued = tuple[int, int, int, bytes, tuple[AuthId, ...], int]
"""(requests before it, xid, opcode, record or ready frame, ids as of its arrival, cost)"""


class Connection:
    """One client's connection, from its first byte to its close."""

    __slots__ = (
        "_accepted", "_deadline", "_gathered", "_has_read_only", "_last_zxid_seen", "_needed", "_parts", "_password",
        "_prefix", "_shared", "_turn", "_unread_blocked", "address", "bound_ns", "events", "host", "id", "ids", "is_blocked",
        "is_closed", "is_paused", "pings", "queue", "received", "replied", "session", "state", "timeout_ms",
        "unanswered", "unread",
    )  # fmt: skip

    def __init__(self, shared: Shared, number: int, address: str, host: str, now: int) -> None:
        self._shared: Final = shared
        self.id: Final = number
        self.address: Final = address
        self.host: Final = host
        self.ids: tuple[AuthId, ...] = ids_of_address(address)
        self.state = NEW
        self.is_closed = False

        # Input not parsed yet: joined once ``_needed`` bytes are there, so a large frame is not copied again and again.
        self._parts: list[bytes] = []
        self._gathered = 0
        self._needed = 4

        # The handshake.
        self._deadline = now + shared.settings.handshake_ns
        self._last_zxid_seen = 0
        self._has_read_only = False
        self._password = b""
        self.session = 0  # asked for while attaching, owned once OPEN
        self.timeout_ms = shared.settings.timeout_min_ms
        self.bound_ns = shared.settings.bound_ns(self.timeout_ms)
        self._prefix = b""  # what its commands begin with: header and ids

        # Requests that had to wait, pings apart, in order. Not answered yet: ``_accepted - replied``.
        self._accepted = 0
        self.replied = 0
        self.queue: deque[Queued] = deque()  # local ones behind a write
        self.pings = 0  # not answered yet
        self.unanswered = 0  # cost of all that is not answered
        self.unread = 0  # bytes of replies to reads and of events, in this turn or since the client stopped reading
        self._turn = -1
        self.is_blocked = False  # the driver says: the client does not read
        self._unread_blocked = 0  # made for it since then; its part of the bound on all clients that do not read
        self.is_paused = False  # the driver was told not to read from it

        # For tools.
        self.received = 0
        self.events = 0

    # Bytes in.

    def bytes_received(self, data: bytes, now: int) -> None:
        """Take in what came. Whatever it is, this does not raise."""
        if self._parts:
            self._parts.append(data)
            self._gathered += len(data)
            if self._gathered < self._needed:
                return
            data = b"".join(self._parts)
            self._parts = []
        if self.state == OPEN and self.id not in self._shared.stalled:
            self._requests(data, now)
        elif self.state == NEW:
            self._first_bytes(data, now)
        elif self.state != DRAINING and not self.is_closed:
            # Clients send on without waiting for the answer to their handshake: kept until then.
            self._keep(data, 0, 0)
            self.update_reading()

    def _keep(self, data: bytes, at: int, needed: int) -> None:
        """Leave what stands in ``data`` from ``at`` on for later: for when ``needed`` bytes are there."""
        rest = data[at:] if at else data
        self._parts = [rest] if rest else []
        self._gathered = len(rest)
        self._needed = needed

    def proceed(self, now: int) -> None:
        """Parse what was kept: the handshake is answered, or the client has taken its replies."""
        self._shared.stalled.pop(self.id, None)
        if self._parts and self.state == OPEN:
            data = b"".join(self._parts)
            self._parts = []
            self._requests(data, now)
        self.update_reading()

    def _requests(self, data: bytes, now: int) -> None:
        """Parse whole frames in place, and do with each what its opcode asks for."""
        shared = self._shared
        commands = shared.out.commands
        pending = shared.pending
        prefix = self._prefix
        settings = shared.settings
        size_max = settings.request_bytes_max
        unread_soft = settings.unread_bytes_soft
        end_of_all = len(data)
        at = 0
        count = 0
        cost = 0
        needed = 12
        while end_of_all - at >= 12:
            size, xid, opcode = REQUEST_HEAD.unpack_from(data, at)
            if size < 8 or size > size_max:
                shared.close(self)
                return
            end = at + 4 + size
            if end > end_of_all:
                needed = 4 + size
                break
            count += 1
            if opcode in LEDGER_OPCODES and not shared.is_full:
                # The client's opcode and record go into the command as they came.
                commands.append(prefix + data[at + 8 : end])
                pending.append((self, xid, size + REQUEST_COST, now))
                self._accepted += 1
                cost += size + REQUEST_COST
            elif opcode in LOCAL_OPCODES:
                if self._accepted == self.replied:
                    if opcode == OP_GET_DATA:
                        self._get_data(xid, data, at + 12, end)
                    else:
                        self._run(xid, opcode, data[at + 12 : end], self.ids)
                    if self.is_closed:
                        return
                    if self.unread > unread_soft:
                        # These replies go out first, or a few bytes more could ask for gigabytes (zk-24).
                        shared.stalled[self.id] = self
                        at = end
                        needed = 0
                        break
                else:
                    self._enqueue(xid, opcode, data[at + 12 : end])
                    cost += size + REQUEST_COST
            elif opcode == OP_PING:
                shared.contact.hold_ping(self.id, self.session, xid)
                self.pings += 1
                cost += PING_COST
            else:
                cost += self._rare(xid, opcode, data[at + 4 : end], now)
                if self.is_closed:
                    return
                prefix = self._prefix
                if self.state == DRAINING:
                    at = end_of_all
                    break
            at = end
        if needed == 12 and end_of_all - at >= 4:
            # Not a whole header: all there is to know is whether it can become a frame.
            size = int.from_bytes(data[at : at + 4], "big", signed=True)
            if size < 8 or size > size_max:
                shared.close(self)
                return
        if at != end_of_all:
            self._keep(data, at, needed)
        if count:
            self.received += count
            shared.received += count
            shared.contact.touches[self.session] = now
            self.unanswered += cost
            shared.unanswered += cost
        if (
            needed == 0
            or self.unanswered > settings.unanswered_bytes_max
            or shared.unanswered > settings.unanswered_bytes_max_all
        ):
            self.update_reading()

    def _enqueue(self, xid: int, opcode: int, record: bytes) -> None:
        """Let a local request, or a ready reply, wait for the requests before it."""
        self.queue.append((self._accepted, xid, opcode, record, self.ids, len(record) + 8 + REQUEST_COST))
        self._accepted += 1

    def _rare(self, xid: int, opcode: int, request: bytes, now: int) -> int:
        """Everything that is neither a plain write, nor a read, nor a ping. ``request`` begins with the xid.

        Gives the cost of what has to wait for its answer.
        """
        shared = self._shared
        cost = len(request) + REQUEST_COST
        if opcode == OP_CLOSE_SESSION:
            shared.out.commands.append(encode_close(self.session, self._owner()))
            shared.pending.append((self, xid, cost, now))
            self._accepted += 1
            self.state = DRAINING
            return cost
        if opcode in LEDGER_OPCODES:
            if opcode in GROWING_OPCODES:
                return self._ready(xid, READY, ERR_THROTTLED)
            shared.out.commands.append(self._prefix + request[4:])
            shared.pending.append((self, xid, cost, now))
            self._accepted += 1
            return cost
        if opcode == OP_AUTH:
            # In order like any request: kazoo takes the next reply for this one's (zk-18). The ids hold from here on.
            err, ids = authenticate(request[8:], self.ids, self.address, shared.settings.super_digest)
            if err == ERR_OK:
                self._identify(ids)
            is_refused = err not in (ERR_OK, ERR_MARSHALLING)
            return self._ready(xid, READY_THEN_CLOSE if is_refused else READY, err)
        if opcode == OP_SASL:
            return self._ready(xid, READY_THEN_CLOSE, ERR_AUTH_FAILED)
        return self._ready(xid, READY_THEN_CLOSE, ERR_UNIMPLEMENTED)

    def _ready(self, xid: int, kind: int, err: int) -> int:
        """A reply that depends on no state (so it names no zxid): sent at once, or when its turn comes."""
        reply = REPLY_HEAD.pack(16, xid, 0, err)
        if kind == READY_THEN_CLOSE:
            self.state = DRAINING
        if self._accepted == self.replied:
            self._run(xid, kind, reply, self.ids)
            return 0
        self._enqueue(xid, kind, reply)
        return len(reply) + 8 + REQUEST_COST

    # The handshake.

    def _first_bytes(self, data: bytes, now: int) -> None:
        """A four-letter word, or a ConnectRequest."""
        shared = self._shared
        if len(data) < 4:
            self._keep(data, 0, 4)
            return
        if data[:4] in WORDS:
            self.state = DRAINING
            shared.send(self, answer_word(shared, data[:4].decode(), now).encode())
            shared.close(self)
            return
        size = int.from_bytes(data[:4], "big", signed=True)
        if size < 0 or size > shared.settings.request_bytes_max:
            shared.close(self)
            return
        end = 4 + size
        if len(data) < end:
            self._keep(data, 0, end)
            return
        try:
            request = decode_connect_request(data[4:end])
        except MalformedRecord:
            shared.close(self)
            return
        self._keep(data, end, 0)
        self._connect(request, now)

    def _connect(self, request: ConnectRequest, now: int) -> None:
        shared = self._shared
        if shared.is_cut_off(now):
            # Never "expired" (zk-13): whoever has a leader can say so, this replica cannot.
            shared.close(self)
            return
        self._last_zxid_seen = request.last_zxid_seen
        self._has_read_only = request.read_only is not None
        self._password = NO_PASSWORD if request.password is None else request.password
        self.session = request.session
        self.timeout_ms = shared.settings.negotiated_ms(request.timeout_ms)
        self.bound_ns = shared.settings.bound_ns(self.timeout_ms)
        self.state = WAITING
        shared.answer_until = min(shared.answer_until, shared.contact.contact_at + self.bound_ns)
        if request.last_zxid_seen > shared.machine.zxid:
            self._deadline = min(self._deadline, now + shared.settings.behind_wait_ns)
            shared.young_due = min(shared.young_due, self._deadline)
        shared.behind[self.id] = self
        self.attach_if_possible(now)
        self.update_reading()

    def attach_if_possible(self, now: int) -> None:
        """Ask the ledger for the session, once this replica has seen all its client has (rule-R20)."""
        shared = self._shared
        machine = shared.machine
        if not machine.has_secret or machine.zxid < self._last_zxid_seen:
            return
        del shared.behind[self.id]
        owner = NO_OWNER
        if self.session != 0:
            if not compare_digest(machine.password(self.session), self._password):
                self._refuse()
                return
            held = machine.sessions.get(self.session)
            if held is not None:
                owner = held.owner
                shared.contact.touches[self.session] = now
            # A session unknown here may have been opened elsewhere a moment ago: the ledger will say.
        self._attach(owner, now)

    def _attach(self, replaces: Owner, now: int) -> None:
        shared = self._shared
        self.state = ATTACHING
        shared.out.commands.append(encode_attach(self.session, self._owner(), self.timeout_ms, replaces))
        shared.pending.append((self, 0, 0, now))

    def attach_applied(self, result: Result, now: int) -> None:
        """The attach of this connection was applied here: answer the handshake, or try again (rule-R9)."""
        shared = self._shared
        if result.session == 0:
            held = shared.machine.sessions.get(self.session)
            if held is None:
                self._refuse()
            else:
                # Another attach came first. Ours is newer for our client: it is still here.
                self._attach(held.owner, now)
            return
        session = result.session
        older = shared.owners.get(session)
        if older is not None:
            shared.close(older)
        self.session = session
        shared.owners[session] = self
        shared.young.pop(self.id, None)
        self.state = OPEN
        self._identify(self.ids)
        self._respond(self.timeout_ms, session, shared.machine.password(session))
        shared.contact.touches[session] = now
        self.proceed(now)

    def _refuse(self) -> None:
        """The session is unknown, expired or not this client's: all the same to it (zk-8)."""
        self.state = DRAINING
        self._respond(0, 0, NO_PASSWORD)
        self._shared.close(self)

    def _respond(self, timeout_ms: int, session: int, password: bytes) -> None:
        read_only = False if self._has_read_only else None
        response = ConnectResponse(PROTOCOL_VERSION, timeout_ms, session, password, read_only)
        self._shared.send(self, frame(encode_connect_response(response)))

    def _owner(self) -> Owner:
        shared = self._shared
        return shared.replica, shared.incarnation, self.id

    def _identify(self, ids: tuple[AuthId, ...]) -> None:
        self.ids = ids
        self._prefix = request_prefix(self.session, self._owner(), ids)
        self._shared.watches.identify(self.id, ids)

    def is_late(self, now: int) -> bool:
        """Whether a connection that has not been answered its handshake has been waited for long enough."""
        return now >= self._deadline

    @property
    def deadline(self) -> int:
        """When a connection that has not been answered its handshake is given up."""
        return self._deadline

    # Replies out.

    def _get_data(self, xid: int, data: bytes, at: int, end: int) -> None:
        """getData with nothing before it, the hottest request of all: as ``_run``, in one call and without its copies."""
        path_at = at + 4
        path_end = end - 1
        if int.from_bytes(data[at:path_at], "big") != path_end - path_at:
            self._run(xid, OP_GET_DATA, data[at:end], self.ids)
            return
        shared = self._shared
        machine = shared.machine
        path = str(data[path_at:path_end], "utf-8", "replace")
        err, value, stat = machine.get_data(path, self.ids)
        if err != ERR_OK:
            reply = REPLY_HEAD.pack(16, xid, machine.zxid, err)
        else:
            if data[path_end] != 0:
                shared.watches.add(path, self.id, DATA)
            if value is None:
                reply = DATA_HEAD.pack(20 + STAT_BYTES, xid, machine.zxid, 0, -1) + stat
            else:
                size = len(value)
                reply = DATA_HEAD.pack(20 + STAT_BYTES + size, xid, machine.zxid, 0, size) + value + stat
        self._send(reply)
        shared.answered += 1

    def _run(self, xid: int, opcode: int, record: bytes, ids: tuple[AuthId, ...]) -> None:
        """Answer one local request from the state of this moment."""
        shared = self._shared
        machine = shared.machine
        if opcode in (OP_SET_WATCHES, OP_SET_WATCHES2):
            err, body = self._set_watches(opcode == OP_SET_WATCHES2, record)
        elif opcode <= READY:
            self._send(record)
            shared.answered += 1
            if opcode == READY_THEN_CLOSE:
                shared.close(self)
            return
        else:
            err, body = answer(machine, shared.watches, self.id, self.session, ids, opcode, record)
        if err == ERR_OK:
            self._send(REPLY_HEAD.pack(16 + len(body), xid, machine.zxid, 0) + body)
        else:
            self._send(REPLY_HEAD.pack(16, xid, machine.zxid, err))
        shared.answered += 1

    def _set_watches(self, is_second: bool, record: bytes) -> tuple[int, bytes]:
        """Set the watches of an earlier connection again; what they missed goes out before the reply (zk-4)."""
        shared = self._shared
        try:
            request, _ = read_set_watches(record, 0, is_second)
        except MalformedRecord:
            return ERR_MARSHALLING, b""
        missed = shared.watches.set_watches(
            shared.machine,
            self.id,
            request.relative_zxid,
            request.data,
            request.exist,
            request.child,
            request.persistent,
            request.recursive,
        )
        for kind, path in missed:
            shared.events += 1
            self.send_event(event_frame(-1, kind, path))
        return ERR_OK, b""

    def run_queue(self) -> None:
        """Run the local requests whose turn has come: after what they wait for, before the next write (rule-R21)."""
        queue = self.queue
        while queue and queue[0][0] == self.replied:
            _, xid, opcode, record, ids, cost = queue.popleft()
            self.replied += 1
            self.unanswered -= cost
            self._shared.unanswered -= cost
            self._run(xid, opcode, record, ids)
            if self.is_closed:
                return

    def answer_ping(self, xid: int) -> None:
        """The leader has acknowledged the touch of this ping (rule-R25)."""
        shared = self._shared
        cost = PING_COST
        self.pings -= 1
        self.unanswered -= cost
        shared.unanswered -= cost
        shared.answered += 1
        shared.send(self, REPLY_HEAD.pack(16, xid, shared.machine.zxid, 0))
        if self.is_paused:
            self.update_reading()

    def send_event(self, event: bytes) -> None:
        """A watch fired."""
        self.events += 1
        self._send(event)

    def _send(self, reply: bytes) -> None:
        """Send what the client's requests do not bound: replies to reads, and events."""
        shared = self._shared
        if self._turn != shared.turn:
            self._turn = shared.turn
            if not self.is_blocked:
                self.unread = 0
        if self.unread > shared.settings.unread_bytes_max:
            shared.close(self)
            return
        self.unread += len(reply)
        if self.is_blocked:
            self._unread_blocked += len(reply)
            shared.unread += len(reply)
            if shared.unread > shared.settings.unread_bytes_max_all:
                shared.close_worst_reader()
                if self.is_closed:
                    return
        replies = shared.out.replies
        held = replies.get(self.id)
        if held is None:
            replies[self.id] = [reply]
        else:
            held.append(reply)

    def unblock(self) -> None:
        """The client reads again, or is gone: what was made for it meanwhile no longer counts."""
        self.is_blocked = False
        self._shared.unread -= self._unread_blocked
        self._unread_blocked = 0

    # How much may be under way.

    def update_reading(self) -> None:
        """Tell the driver whether to read on from this connection, if that has changed."""
        if self.is_closed:
            return
        shared = self._shared
        settings = shared.settings
        number = self.id
        limit = settings.unanswered_bytes_max
        if self.is_paused:
            limit //= 2
        elif shared.unanswered > settings.unanswered_bytes_max_all:
            shared.crowded[number] = self
        wanted = (
            self.is_blocked
            or self.unanswered > limit
            or number in shared.stalled
            or number in shared.crowded
            or (self._gathered > settings.request_bytes_max and self.state in (WAITING, ATTACHING))
        )
        if wanted and not self.is_paused:
            self.is_paused = True
            shared.paused[number] = self
            shared.out.pauses.append(number)
        elif self.is_paused and not wanted:
            self.is_paused = False
            del shared.paused[number]
            shared.out.resumes.append(number)

    def may_proceed(self) -> bool:
        """Whether the replies that stalled it have been taken by the driver, and the client reads."""
        return not self.is_blocked and self._turn != self._shared.turn

    def requests_open(self) -> int:
        """How many requests have not been answered."""
        return self._accepted - self.replied + self.pings

    def check(self) -> None:
        """Assert what must hold within one connection."""
        before = self.replied
        for entry in self.queue:
            # Only behind an open write is anything queued, and never two in one place (rule-R21).
            assert before < entry[0] < self._accepted
            before = entry[0]
        assert (self.unanswered == 0) == (self.requests_open() == 0)
        assert self.is_paused == (self.id in self._shared.paused)
        assert self.state == OPEN or not self.queue or self.state == DRAINING

    def forget(self) -> None:
        """Closed: let go of all that is held."""
        self.queue.clear()
        self._parts = []
        self._accepted = self.replied
        self.pings = 0
        self.unanswered = 0
