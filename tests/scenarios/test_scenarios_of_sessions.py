"""Clients that move, gateways that are cut off, sessions that expire: the real service on a stage, step by step.

Where a client asks through F and then through G, F is replica 2 and G replica 3; replica 1 leads.
"""

from random import Random

import pytest
from served_stage import ELECTION_TIMEOUT, MS, SECOND, Client, ServedStage, served

from multipaxos.coordination.commands import NO_OWNER, encode_attach, encode_request
from multipaxos.core.messages import Forward
from multipaxos.wire import zookeeper as zk

F, G = 2, 3


def create(path: str, data: bytes = b"", flags: int = 0) -> bytes:
    return zk.encode_create(path, data, zk.OPEN_ACL, flags)


def set_data(path: str, data: bytes) -> bytes:
    return zk.encode_set_data(path, data, -1)


def get(path: str) -> bytes:
    return zk.encode_watched_path(path)


def data_of(record: bytes) -> bytes:
    """The data in the record of a reply to getData."""
    return record[4 : 4 + int.from_bytes(record[:4], "big")]


def done(client: Client, opcode: int, record: bytes) -> tuple[int, bytes]:
    """Ask and carry everything: (error, record) of the only reply."""
    xid = client.ask(opcode, record)
    client.stage.settle()
    ((found, _, err, body),) = client.replies()
    assert found == xid
    return err, body


# ---------------------------------------------------------------- order and once


@pytest.mark.parametrize("writes", [1, 3])
def test_session_moves_late_write(writes: int) -> None:
    """`session-moves-late-write`: a client writes through F, hears nothing, and goes on through G, where it deletes and
    makes anew. Then F's writes arrive: moved, never executed, and no result of theirs is taken for that of another
    command. F closes its connection without a word."""
    stage = served()
    old = stage.session(F)
    assert done(old, zk.OP_CREATE, create("/lock", b"mine"))[0] == 0
    for number in range(writes):
        old.ask(zk.OP_SET_DATA, set_data("/lock", b"late%d" % number))
    assert stage.hold(kind="Forward", sender=F) == writes
    new = stage.client(G)
    new.hello(old)
    stage.settle()
    assert new.welcomed() and new.session == old.session
    assert old.is_closed and old.replies() == []
    assert done(new, zk.OP_DELETE, zk.encode_versioned_path("/lock", -1))[0] == 0
    stage.let_go()
    stage.settle()
    assert done(new, zk.OP_EXISTS, get("/lock"))[0] == zk.ERR_NO_NODE
    assert done(new, zk.OP_CREATE, create("/lock", b"new"))[0] == 0
    stage.live(ELECTION_TIMEOUT)
    assert [stage.data(replica, "/lock") for replica in (1, 2, 3)] == [b"new"] * 3
    stage.same_everywhere()


def test_session_moves_late_write_of_its_last_second() -> None:
    """`session-moves-late-write`: what F sent before the attach, in the ledger's order, is executed, once: it came first."""
    stage = served()
    old = stage.session(F)
    old.ask(zk.OP_CREATE, create("/early"))
    new = stage.client(G)
    new.hello(old)
    assert stage.deliver(1, "Forward", sender=F) == 1
    stage.settle()
    assert new.welcomed()
    assert done(new, zk.OP_CREATE, create("/early"))[0] == zk.ERR_NODE_EXISTS
    stage.same_everywhere()


def test_double_attach() -> None:
    """`double-attach`: a client tries to resume through F, gives that up, and is resumed through G. F's attach arrives
    last: it names an owner that is one no more, so G keeps the session; and F does not try again for a client that went."""
    stage = served()
    first = stage.session(1)
    first.leave()
    through_f = stage.client(F)
    through_f.hello(first)
    assert stage.hold(kind="Forward", sender=F) == 1
    through_f.leave()
    through_g = stage.client(G)
    through_g.hello(first)
    stage.settle()
    assert through_g.welcomed() and through_g.session == first.session
    stage.let_go()
    stage.live(2 * ELECTION_TIMEOUT)
    assert not through_g.is_closed
    owners = {stage.service(replica).machine.sessions[first.session].owner for replica in (1, 2, 3)}
    assert owners == {(G, 1, through_g.number)}
    assert done(through_g, zk.OP_CREATE, create("/still-mine"))[0] == 0


def test_double_attach_of_a_client_that_is_still_there() -> None:
    """`double-attach`: the same, but the client of F waits. Refused for another owner, its attach is sent again with that
    owner, and now it is G that is thrown out: the last attach in the ledger has the session, and only that."""
    stage = served()
    first = stage.session(1)
    through_f, through_g = stage.client(F), stage.client(G)
    through_f.hello(first)
    assert stage.hold(kind="Forward", sender=F) == 1
    through_g.hello(first)
    stage.settle()
    assert through_g.welcomed()
    stage.let_go()
    stage.settle()
    assert through_f.welcomed() and through_f.session == first.session
    assert through_g.is_closed and not through_f.is_closed
    assert done(through_f, zk.OP_CREATE, create("/mine"))[0] == 0


def test_double_attach_creates_one_session() -> None:
    """`double-attach`: the command that makes a session comes twice: copied on its way, and sent again by its gateway to
    the next leader, which adopts the first one as well. One session."""
    stage = served(favoured=G)
    sessions = set(stage.service(1).machine.sessions)
    client = stage.client(F)
    client.hello()
    stage.deliver(1, "Forward", sender=F, is_kept=True)
    stage.deliver(1, "Forward", sender=F)
    stage.deliver(G, "Accept")
    stage.crash(1, is_noticed=False)
    stage.drop(to=1)
    stage.drop(sender=1)
    stage.elect(G)
    stage.live(2 * ELECTION_TIMEOUT)
    assert client.welcomed()
    for replica in (F, G):
        assert set(stage.service(replica).machine.sessions) - sessions == {client.session}


def test_read_between_writes() -> None:
    """`read-between-writes`: `set 1; get; set 2` in one packet, one turn, one decree: the read says 1, and so do its zxid
    and its version: it ran between the two."""
    stage = served()
    client = stage.session(F)
    assert done(client, zk.OP_CREATE, create("/a", b"0"))[0] == 0
    client.ask(zk.OP_SET_DATA, set_data("/a", b"1"), has_turn=False)
    client.ask(zk.OP_GET_DATA, get("/a"), has_turn=False)
    client.ask(zk.OP_SET_DATA, set_data("/a", b"2"))
    slots = stage.core(1).chosen_prefix
    stage.settle()
    assert stage.core(1).chosen_prefix == slots + 1
    first, read, second = client.replies()
    assert (first[0] + 1, read[0] + 1) == (read[0], second[0])
    assert data_of(read[3]) == b"1"
    assert (read[1], second[1]) == (first[1], first[1] + 1)
    stat = zk.decode_stat(read[3], 5)
    assert (stat.version, stat.mzxid) == (1, first[1])


@pytest.mark.parametrize("seed", range(20))
def test_poison_command(seed: int) -> None:
    """`poison-command`: commands that mean nothing, or nearly something, get into the ledger. Each has a result, the same
    on every replica; nobody stops, all states are equal, also after a restart; and a good command behind them is done.
    (A replica whose state machine raises while it *changes* stops: ``tests/host/test_driver.py``.)"""
    random = Random(seed)
    stage = served()
    client = stage.session(F)
    owner = stage.service(1).machine.sessions[client.session].owner
    good = [
        encode_attach(0, (1, 1, 99), 6_000, NO_OWNER),
        encode_request(client.session, owner, (), zk.OP_CREATE, create("/p", b"x", zk.FLAG_EPHEMERAL)),
        encode_request(client.session, owner, (), zk.OP_MULTI, b"\x00\x00\x00\x01\x00" + create("/q")),
    ]
    poison = []
    for _ in range(12):
        command = bytearray(random.choice(good))
        for _ in range(random.randrange(1, 4)):
            command[random.randrange(len(command))] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
        poison.append(bytes(command[: random.randrange(len(command) + 1)]) or b"\xff")
    replica = random.choice((1, 2, 3))
    stage.service(replica)._shared.pending.extend([(None, 0, 0, 0)] * len(poison))  # that no client waits for
    stage.propose(replica, *poison)
    stage.settle()
    stage.same_everywhere()
    assert done(client, zk.OP_CREATE, create("/good"))[0] == 0
    stage.crash(G, is_noticed=False)
    stage.start(G)
    stage.live(ELECTION_TIMEOUT)
    assert stage.stopped == {}
    assert stage.core(G).applied == stage.core(1).applied
    stage.same_everywhere()


def test_late_decision_with_skewed_clocks() -> None:
    """`late-decision`, its clocks: the next leader's clock is an hour behind, the one after that an hour ahead. Neither
    command time nor zxid ever goes back, on any replica; time that ran ahead stands still."""
    stage = served()
    hour_ms = 3_600_000
    stage.replicas[2].clock.wall_offset_ms -= hour_ms
    stage.replicas[3].clock.wall_offset_ms += hour_ms
    times: list[int] = []
    zxids: list[int] = []
    for leader in (1, 2, 3, 2, 3, 1):
        current = stage.core(1).leader
        if current != leader:
            stage.handover(current, leader)
            stage.live(ELECTION_TIMEOUT)
        assert stage.core(leader).is_leading
        for replica in (2, 3):
            offset = stage.replicas[replica].clock.wall_offset_ms
            stage.core(replica)._wall_offset_ms = offset  # as the driver tells it once a second
        client = stage.session(leader)
        assert done(client, zk.OP_CREATE, create(f"/by{len(times)}"))[0] == 0
        node = stage.service(2).machine.tree.nodes[f"/by{len(times)}"]
        times.append(node.ctime)
        zxids.append(node.czxid)
    assert times == sorted(times)
    assert times[2] - times[1] > hour_ms // 2, "the clock that is ahead was believed"
    assert times[3] == times[2], "and time stood still behind it"
    assert zxids == sorted(zxids)
    assert [zxid >> 32 for zxid in zxids] == [1, 2, 3, 4, 5, 6]
    stage.same_everywhere()


# ---------------------------------------------------------------- expiry


def test_expiry_meets_attach_after_a_pause_of_everything() -> None:
    """`expiry-meets-attach`: the machines of all three stand still for a minute, a virtual host that was suspended. The
    leader's timers find every session past its deadline; the touches of living clients wait in the sockets. Nobody who
    lives is expired, whichever replica wakes first."""
    for first in (1, 2, 3):
        stage = served()
        clients = [stage.session(replica, timeout_ms=4_000) for replica in (1, F, G)]
        for replica in (1, 2, 3):
            stage.pause(replica)
        stage.wait(60 * SECOND)
        for client in clients:
            client.ping()
        for replica in (first, *[other for other in (1, 2, 3) if other != first]):
            stage.resume(replica)
            stage.advance(300 * MS)
        stage.live(2 * SECOND)
        resumed = []
        for client in clients:
            if client.is_closed:  # its gateway had no contact for too long: closed, never told "expired"
                assert client.replies() == []
                again = stage.client(F)
                again.hello(client, timeout_ms=4_000)
                stage.settle()
                assert again.welcomed(), "the session of a living client is lost"
                client = again
            resumed.append(client)
        for client in resumed:
            assert done(client, zk.OP_SYNC, zk.encode_path("/"))[0] == 0


def test_expiry_meets_attach_elsewhere_while_the_leader_is_paused() -> None:
    """`expiry-meets-attach`: the leader is paused past all deadlines. Its successor gives everybody a full timeout; the
    client attaches through G; the old leader resumes, and its timers fire. The session lives."""
    stage = served(favoured=G)
    old = stage.session(F, timeout_ms=4_000)
    stage.pause(1)
    stage.live(3 * SECOND)
    new = stage.client(G)
    new.hello(old, timeout_ms=4_000)
    stage.settle()
    assert new.welcomed()
    for _ in range(4):
        new.ping()
        stage.live(SECOND)
    stage.resume(1)
    stage.live(3 * SECOND)
    new.ping()
    stage.live(SECOND // 2)
    assert not new.is_closed
    assert [reply[0] for reply in new.replies()] == [zk.XID_PING] * 5
    for replica in (1, 2, 3):
        assert old.session in stage.service(replica).machine.sessions


def until_proposed(stage: ServedStage, slot: int) -> None:
    """Let time pass, and deliver everything but accepts, until the leader proposes something in ``slot``."""
    end = stage.now + 10 * SECOND
    while not stage.find("Accept", slot=slot):
        assert stage.now < end, f"nothing is proposed in slot {slot}"
        others = [flying for flying in stage.flight if flying.kind != "Accept"]
        if others:
            stage.flight.remove(others[0])
            stage._deliver(others[0])
            continue
        process = min(stage.replicas.values(), key=lambda process: process.due)
        stage.now = max(stage.now, process.due)
        stage.turn(process.id)


@pytest.mark.parametrize("is_attach_first", [True, False])
def test_expiry_meets_attach_in_the_ledger(is_attach_first: bool) -> None:
    """`expiry-meets-attach`: a client was silent for too long, and its expiry is proposed while it attaches elsewhere. The
    ledger decides. The attach first: the expiry names an owner that is one no more, and is refused. The expiry first: the
    session has ended, its ephemerals with it, and the attach is told so."""
    stage = served()
    old = stage.session(F, timeout_ms=4_000)
    assert done(old, zk.OP_CREATE, create("/ephemeral", b"", zk.FLAG_EPHEMERAL))[0] == 0
    new = stage.client(G)
    slot = stage.core(1).chosen_prefix + 1
    if is_attach_first:
        stage.live(3 * SECOND)
        new.hello(old, timeout_ms=4_000)
        until_proposed(stage, slot + 1)  # the expiry, behind the attach, of which the leader knows nothing yet
    else:
        until_proposed(stage, slot)
        new.hello(old, timeout_ms=4_000)
    stage.settle()
    assert stage.core(1).chosen_prefix >= slot + 1
    assert old.is_closed
    assert new.welcomed() == is_attach_first
    for replica in (1, 2, 3):
        assert (stage.data(replica, "/ephemeral") is not None) == is_attach_first
    stage.same_everywhere()


# ---------------------------------------------------------------- cut off


@pytest.mark.parametrize("timeout_ms", [4_000, 6_000, 12_000])
def test_cut_off_gateway(timeout_ms: int) -> None:
    """`cut-off-gateway`: the gateway loses everybody. From then on it answers no ping; up to its bound, max(T/3, two
    election timeouts), reads go on, as in any ordinary fail-over; behind it the connection is closed and nothing is
    answered any more, not even "expired". Its client goes on elsewhere, with its session."""
    stage = served()
    client = stage.session(G, timeout_ms=timeout_ms)
    assert done(client, zk.OP_CREATE, create("/a", b"old"))[0] == 0
    other = stage.session(1)
    client.ping()
    stage.live(300 * MS)
    assert [reply[0] for reply in client.replies()] == [zk.XID_PING]
    stage.cut_off(G)
    cut_at = stage.now
    assert done(other, zk.OP_SET_DATA, set_data("/a", b"new"))[0] == 0
    bound = max(timeout_ms * MS // 3, 2 * ELECTION_TIMEOUT)
    client.ping()
    stage.live(bound - 400 * MS)
    assert client.replies() == [] and not client.is_closed
    assert data_of(done(client, zk.OP_GET_DATA, get("/a"))[1]) == b"old"
    while not client.is_closed:
        assert stage.now - cut_at <= bound, "it does not close within its bound"
        stage.live(10 * MS)
    assert stage.now - cut_at < timeout_ms * MS, "long before anybody may expire it"
    assert client.replies() == []
    again = stage.client(F)
    again.hello(client, timeout_ms=timeout_ms)
    stage.settle()
    assert again.welcomed() and again.session == client.session
    assert data_of(done(again, zk.OP_GET_DATA, get("/a"))[1]) == b"new"


def test_cut_off_gateway_that_was_stopped() -> None:
    """`cut-off-gateway`: the gateway's process is stopped for a minute. What its clients sent meanwhile waits in its
    sockets; it must not answer any of it from the past when it wakes, before any timer has run: requests, pings, and the
    handshake of a client that comes now."""
    stage = served()
    client = stage.session(G, timeout_ms=40_000)
    assert done(client, zk.OP_CREATE, create("/a", b"old"))[0] == 0
    other = stage.session(1)
    stage.pause(G)
    assert done(other, zk.OP_SET_DATA, set_data("/a", b"new"))[0] == 0
    stage.live(60 * SECOND)
    client.ask(zk.OP_GET_DATA, get("/a"))
    client.ping()
    client.ask(zk.OP_SET_DATA, set_data("/a", b"late"))
    late = stage.client(G)
    late.hello()
    stage.hold(to=G)
    stage.resume(G)
    assert client.replies() == [] and client.is_closed
    assert late.frames == []
    stage.let_go()
    stage.live(2 * ELECTION_TIMEOUT)
    assert stage.data(1, "/a") == b"new"
    again = stage.client(G)
    again.hello()
    stage.settle()
    assert again.welcomed()
    assert data_of(done(again, zk.OP_GET_DATA, get("/a"))[1]) == b"new"


def test_gap_then_resend_over_a_broken_link() -> None:
    """`gap-then-resend`, its second half: the connection between the gateway and a leader that lives on breaks under two
    of its writes. The first is lost, the second arrives and is a gap; when the connection is made anew both are sent
    again, in order, and each is executed once. The stream is not stuck."""
    stage = served()
    client = stage.session(F)
    for name in ("first", "second"):
        client.ask(zk.OP_CREATE, create(f"/{name}-", b"", zk.FLAG_SEQUENTIAL))
    first, second = stage.find("Forward", sender=F)
    assert isinstance(first.payload, Forward) and isinstance(second.payload, Forward)
    stage.flight.remove(first)
    stage.settle()
    assert client.replies() == []
    stage.reconnect(F, 1)
    stage.settle()
    made = [body[4:].decode() for _, _, err, body in client.replies() if err == 0]
    assert made == ["/first-0000000000", "/second-0000000001"]
    assert done(client, zk.OP_CREATE, create("/third"))[0] == 0
    stage.same_everywhere()
