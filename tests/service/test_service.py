"""Replicas together: sessions that move, gateways that are cut off, leaders that change, and what tools are told."""

from dataclasses import replace

import pytest
from service_world import HEARTBEAT, SECOND, SETTINGS, World

from multipaxos.core.effects import Applied
from multipaxos.core.membership import Configuration, Member
from multipaxos.service.service import config_text
from multipaxos.wire import zookeeper as zk

PING = zk.request_frame(zk.XID_PING, zk.OP_PING)


def hello(session: int, password: bytes) -> bytes:
    return zk.frame(zk.encode_connect_request(zk.ConnectRequest(0, 0, 6000, session, password, False)))


def err(reply: bytes) -> int:
    return zk.decode_reply_header(reply).err


# Sessions that move.


def test_a_session_moves_and_the_old_connection_is_closed_everywhere() -> None:
    world = World(3)
    first = world.open(1)
    second = world.client(2)
    assert second.connect(first.session, first.password).session == first.session
    assert first.is_closed
    third = world.client(2)
    third.connect(first.session, first.password)
    assert second.is_closed
    assert third.call(zk.OP_CREATE, zk.encode_create("/a", b""))[0] == 0


def test_a_late_write_of_a_moved_session_is_not_executed_and_not_answered() -> None:
    world = World(2)
    first = world.open(1)
    first.request(zk.OP_CREATE, zk.encode_create("/early", b""))
    second = world.client(2)
    second.send(hello(first.session, first.password))
    world.collect_all()
    first.request(zk.OP_CREATE, zk.encode_create("/late", b""))
    first.request(zk.OP_GET_DATA, zk.encode_watched_path("/early"))
    world.collect_all()
    slots = len(world.ledger)
    world.settle()
    assert len(world.ledger) == slots + 1
    assert [zk.decode_reply_header(reply).xid for reply in first.take()] == [1]
    assert first.is_closed
    assert zk.decode_connect_response(second.take()[0]).session == first.session
    assert second.call(zk.OP_EXISTS, zk.encode_watched_path("/late"))[0] == zk.ERR_NO_NODE
    assert second.call(zk.OP_EXISTS, zk.encode_watched_path("/early"))[0] == 0


def test_a_command_refused_as_moved_closes_its_connection_without_a_word() -> None:
    world = World(1)
    client = world.open()
    machine = world.services[1].machine
    session = machine.sessions[client.session]
    machine._table.move(session, session.timeout_ms, (9, 9, 9))  # as if the attach had not been noticed here
    client.request(zk.OP_CREATE, zk.encode_create("/a", b""))
    world.settle()
    assert client.is_closed
    assert client.take() == []
    closing = world.open()
    session = machine.sessions[closing.session]
    machine._table.move(session, session.timeout_ms, (9, 9, 9))
    closing.request(zk.OP_CLOSE_SESSION)
    world.settle()
    assert closing.is_closed
    assert closing.take() == []
    assert closing.session in machine.sessions


def test_of_two_attaches_the_one_refused_tries_again_if_its_client_is_still_there() -> None:
    world = World(2)
    old = world.open(1)
    first = world.client(1)
    second = world.client(2)
    first.send(hello(old.session, old.password))
    second.send(hello(old.session, old.password))
    world.settle()
    assert zk.decode_connect_response(first.take()[0]).session == old.session
    assert zk.decode_connect_response(second.take()[0]).session == old.session
    assert first.is_closed
    assert not second.is_closed
    assert second.call(zk.OP_SYNC, zk.encode_path("/"))[0] == 0


def test_an_attach_of_a_connection_that_is_gone_is_not_sent_again() -> None:
    world = World(2)
    old = world.open(1)
    first = world.client(1)
    second = world.client(2)
    first.send(hello(old.session, old.password))
    second.send(hello(old.session, old.password))
    world.collect_all()
    second.close()
    world.settle()
    assert zk.decode_connect_response(first.take()[0]).session == old.session
    assert not first.is_closed
    assert first.call(zk.OP_SYNC, zk.encode_path("/"))[0] == 0


def test_a_session_that_ends_while_it_is_attached_is_refused() -> None:
    world = World(2)
    old = world.open(1)
    old.request(zk.OP_CLOSE_SESSION)
    world.collect(1)
    other = world.client(2)
    other.send(hello(old.session, old.password))
    world.settle()
    assert zk.decode_connect_response(other.take()[0]).session == 0
    assert other.is_closed


def test_what_was_sent_before_the_connection_broke_is_executed_once() -> None:
    world = World(2)
    client = world.open(1)
    client.request(zk.OP_CREATE, zk.encode_create("/a", b""))
    client.close()
    world.settle()
    assert world.services[2].machine.get_data("/a", ())[0] == 0
    assert client.take() == []


def test_replicas_agree() -> None:
    world = World(3)
    clients = [world.open(replica) for replica in (1, 2, 3)]
    for number, client in enumerate(clients):
        client.request(zk.OP_CREATE, zk.encode_create("/n", b"%d" % number))
        client.request(zk.OP_CREATE, zk.encode_create("/e-", b"", flags=3))
    clients[0].close()
    world.run(8 * SECOND)
    assert len({service.machine.digest() for service in world.services.values()}) == 1
    assert world.services[1].machine.sessions == {}


# Pings, contact, the cut-off gateway.


def test_a_ping_waits_for_the_leaders_word() -> None:
    world = World(2)
    client = world.open(2)
    world.cut = {2}
    client.send(PING)
    world.heartbeat()
    assert client.take() == []
    world.cut = set()
    world.heartbeat()
    (reply,) = client.take()
    assert zk.decode_reply_header(reply).xid == zk.XID_PING


def test_a_ping_is_not_answered_by_a_leader_without_a_quorum() -> None:
    world = World(2)
    client = world.open(2)
    world.is_quorum_connected = False
    client.send(PING)
    world.heartbeat()
    assert client.take() == []
    world.is_quorum_connected = True
    world.heartbeat()
    assert len(client.take()) == 1


@pytest.mark.parametrize(("timeout_ms", "bound_ns"), [(4000, 2400), (6000, 2400), (12_000, 4000), (40_000, 13_333)])
def test_a_cut_off_gateway_closes_after_its_bound_and_answers_nothing_from_then(timeout_ms: int, bound_ns: int) -> None:
    world = World(2)
    client = world.open(2, timeout_ms)
    contact_at = world.now
    world.cut = {2}
    world.now = contact_at + world.settings.bound_ns(timeout_ms)
    assert world.settings.bound_ns(timeout_ms) // 1_000_000 == bound_ns
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/zookeeper"))
    world.collect(2)
    assert len(client.take()) == 1
    world.now += 1
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/zookeeper"))
    client.send(PING)
    world.collect(2)
    assert client.is_closed
    assert client.take() == []
    # Nor is anybody let in, or told that a session is over.
    again = world.client(2)
    again.send(hello(client.session, client.password))
    world.collect(2)
    assert again.is_closed
    assert again.raw == b""


def test_the_bound_is_each_connections_own() -> None:
    world = World(2)
    short, long = world.open(2, 4000), world.open(2, 12_000)
    world.cut = {2}
    world.now += 3 * SECOND
    for client in (short, long):
        client.request(zk.OP_GET_DATA, zk.encode_watched_path("/zookeeper"))
    world.collect(2)
    assert short.is_closed
    assert short.take() == []
    assert len(long.take()) == 1
    assert world.services[2].wake_at == long.world.now - 3 * SECOND + 4 * SECOND + 1
    world.now += SECOND + 1
    world.services[2].tick(world.now)
    world.collect(2)
    assert long.is_closed


def test_a_process_that_was_stopped_answers_nothing_that_waits_in_its_sockets() -> None:
    world = World(2)
    client = world.open(2)
    client.request(zk.OP_CREATE, zk.encode_create("/a", b""))
    client.send(PING)
    world.round += 1
    world.turn(2)  # it has reported the ping,
    world.turn(1)
    reports = world.messages
    world.messages = []
    for to, message in reports:
        if to == 1:
            world.services[1].report_received(message, world.now)  # type: ignore[arg-type]
    world.collect(1)
    acks = [message for to, message in world.messages if to == 2]
    assert acks
    world.messages = []
    world.held = {2}
    world.commit()
    world.now += 60 * SECOND  # and is stopped here, with the acknowledgement and a decree in its sockets.
    service = world.services[2]
    service.report_acknowledged(acks[0], world.now)  # type: ignore[arg-type]
    world.held = set()
    world.commit()
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/a"))
    world.collect(2)
    assert client.is_closed
    assert client.take() == []
    assert service.machine.get_data("/a", ())[0] == 0


def test_a_decree_that_waited_is_applied_but_not_answered() -> None:
    world = World(2)
    client = world.open(2)
    client.request(zk.OP_CREATE, zk.encode_create("/a", b""))
    world.collect(2)
    world.now += 60 * SECOND
    world.commit()
    assert world.services[2].out.replies == {}
    assert world.services[2].out.closes == [client.number]
    assert world.services[2].machine.get_data("/a", ())[0] == 0


def test_replies_of_a_turn_that_took_too_long_are_dropped() -> None:
    world = World(2)
    client = world.open(2)
    client.request(zk.OP_GET_DATA, zk.encode_watched_path("/zookeeper"))
    world.now += 60 * SECOND
    world.cut = {2}
    world.turn(2)
    assert client.is_closed
    assert client.take() == []


def test_an_ordinary_fail_over_closes_no_connection() -> None:
    world = World(3)
    clients = [world.open(replica, 4000) for replica in (2, 3)]
    for _ in range(15):
        world.now += HEARTBEAT  # nobody leads
        for service in world.services.values():
            service.tick(world.now)
        world.collect_all()
    world.elect(2)
    for client in clients:
        client.send(PING)
    world.heartbeat()
    for client in clients:
        assert not client.is_closed
        assert len(client.take()) == 1


def test_the_client_port_opens_once_all_that_was_chosen_before_is_applied_and_a_leader_answered() -> None:
    world = World(2, is_ready=False)
    assert not world.services[2].is_serving
    world.held = {2}
    world.elect(1)
    world.heartbeat()
    world.heartbeat()
    assert world.services[1].is_serving
    assert not world.services[2].is_serving
    assert world.services[2].contact_age_ns(world.now) == 0
    world.held = set()
    world.settle()
    assert world.services[2].is_serving
    quiet = World(1, is_ready=False)
    assert quiet.services[1].contact_age_ns(quiet.now) == -1
    assert quiet.services[1].wake_at == 0


# Expiry.


def test_a_session_expires_with_its_ephemerals_and_its_client_is_told_only_when_it_returns() -> None:
    world = World(3)
    client, watcher = world.open(2, 4000), world.open(3, 40_000)
    client.call(zk.OP_CREATE, zk.encode_create("/e", b"", flags=1))
    watcher.call(zk.OP_EXISTS, zk.encode_watched_path("/e", True))
    world.run(3 * SECOND)
    client.send(PING)
    world.run(3 * SECOND)
    assert len(client.take()) == 1
    assert not client.is_closed
    world.run(2 * SECOND)
    assert client.is_closed
    assert client.take() == []
    assert [zk.decode_event(each, 16) for each in watcher.take()] == [zk.WatcherEvent(zk.EVENT_DELETED, 3, "/e")]
    again = world.client(2)
    assert again.connect(client.session, client.password).session == 0
    assert again.is_closed


def test_requests_of_any_kind_keep_a_session() -> None:
    world = World(2)
    clients = [world.open(replica, 4000) for replica in (1, 2, 2)]
    for _ in range(6):
        world.run(2 * SECOND)
        clients[0].request(zk.OP_GET_DATA, zk.encode_watched_path("/"))
        clients[1].request(zk.OP_SYNC, zk.encode_path("/"))
        clients[2].send(PING)
    assert not any(client.is_closed for client in clients)


def test_a_session_whose_connection_is_gone_expires_too() -> None:
    world = World(2)
    client = world.open(2, 4000)
    client.close()
    world.run(3 * SECOND)
    assert client.session in world.services[1].machine.sessions
    world.run(2 * SECOND)
    assert world.services[1].machine.sessions == {}


def test_nothing_expires_without_a_quorum_and_a_new_leader_gives_full_timeouts() -> None:
    world = World(3)
    client = world.open(2, 4000)
    client.close()
    world.run(6 * SECOND, is_confirmed=False)
    assert client.session in world.services[1].machine.sessions
    world.elect(3)
    began = world.now
    world.heartbeat()
    while client.session in world.services[1].machine.sessions:
        world.run(HEARTBEAT)
        assert world.now < began + 6 * SECOND
    assert world.now - began > 4 * SECOND


def test_a_silent_gateways_session_ends_after_it_has_closed_the_connection() -> None:
    world = World(3)
    client = world.open(2, 4000)
    world.cut = {2}
    world.held = {2}
    was_closed_at = 0
    while client.session in world.services[1].machine.sessions:
        world.run(HEARTBEAT)
        if client.is_closed and was_closed_at == 0:
            was_closed_at = world.now
    assert 0 < was_closed_at < world.now


def test_a_client_that_returns_through_another_gateway_meets_its_expiry() -> None:
    """The attach is ordered before the expiry: the expiry names the owner it saw, and is refused (rule-R24)."""
    world = World(3)
    client = world.open(2, 4000)
    client.close()
    again = world.client(3)
    while world.services[1].out.commands == [] and not world.submitted:
        world.now += HEARTBEAT
        world.round += 1
        for replica in (1, 2, 3):
            world.turn(replica)
        world.deliver()
        world.confirmed = world.round
        world.turn(1)
    # Proposed, not yet chosen. The attach of gateway 3 comes first in the ledger.
    expiry, world.submitted = world.submitted, []
    again.send(hello(client.session, client.password))
    world.collect(3)
    world.submitted += expiry
    world.settle()
    assert zk.decode_connect_response(again.take()[0]).session == client.session
    again.send(PING)
    world.heartbeat()
    assert len(again.take()) == 1
    for _ in range(10):
        world.run(SECOND)
        again.send(PING)
    assert not again.is_closed


def test_no_ping_is_answered_once_the_end_is_proposed() -> None:
    world = World(2)
    client = world.open(2, 4000)
    world.run(4 * SECOND - HEARTBEAT)
    world.held = {1, 2}
    while not world.ledger[-1].commands or world.ledger[-1].commands[0][2][:1] != b"\x04":
        world.now += HEARTBEAT
        world.round += 1
        for replica in (1, 2):
            world.turn(replica)
        world.deliver()
        world.confirmed = world.round
        world.turn(1)
        world.commit()
    client.send(PING)
    for _ in range(3):
        world.round += 1
        for replica in (1, 2):
            world.turn(replica)
        world.deliver()
    assert client.take() == []
    world.held = set()
    world.settle()
    assert client.is_closed


def test_an_expiry_of_an_earlier_reign_does_nothing() -> None:
    world = World(2)
    client = world.open(2, 4000)
    world.run(4 * SECOND - HEARTBEAT)
    world.held = {1, 2}
    while not world.submitted or world.submitted[0][2][:1] != b"\x04":
        world.now += HEARTBEAT
        world.round += 1
        for replica in (1, 2):
            world.turn(replica)
        world.deliver()
        world.confirmed = world.round
        world.turn(1)
    late = world.submitted
    world.submitted = []
    world.held = set()
    world.elect(2)
    world.submitted = late
    world.settle()
    assert client.session in world.services[1].machine.sessions
    client.send(PING)
    world.heartbeat()
    assert len(client.take()) == 1


def test_nothing_expires_while_the_cluster_is_full() -> None:
    world = World(2)
    client = world.open(2, 4000)
    client.close()
    world.services[1].is_full = True
    world.run(10 * SECOND)
    assert client.session in world.services[1].machine.sessions
    world.services[1].is_full = False
    assert not world.services[1].is_full
    world.run(SECOND)
    assert world.services[1].machine.sessions == {}


def test_a_client_that_is_not_read_because_we_are_behind_does_not_expire() -> None:
    world = World(2, settings=replace(SETTINGS, unanswered_bytes_max=100))
    client = world.open(2, 4000)
    client.request(zk.OP_SYNC, zk.encode_path("/" + "x" * 100))
    world.held = {2}
    world.run(10 * SECOND)
    assert world.paused[2] == {client.number}
    world.held = set()
    world.settle()
    assert len(client.take()) == 1
    assert not client.is_closed


# The configuration node.


def configuration(*clients: str) -> Configuration:
    members = [Member(n, f"h{n}:7181", client, n, n < 3) for n, client in enumerate(clients, 1)]
    return Configuration(17, tuple(members), 64, "00")


def test_the_configuration_is_shown_to_clients_who_watch_it() -> None:
    world = World(2)
    client = world.open(2)
    err_code, record = client.call(zk.OP_GET_DATA, zk.encode_watched_path("/zookeeper/config", True))
    assert (err_code, zk.decode_data_stat(record)[0]) == (0, b"")
    for service in world.services.values():
        shown = configuration("c1:2181", "c2:2182", "c3:2183")
        service.applied(Applied(99, world.wall_ms, 1, world.ballot, False, [], shown), world.now)
    world.collect_all()
    (event,) = client.take()
    assert zk.decode_event(event, 16).path == "/zookeeper/config"
    _, record = client.call(zk.OP_GET_DATA, zk.encode_watched_path("/zookeeper/config"))
    assert zk.decode_data_stat(record)[0] == (
        b"server.1=h1:7181:7181:participant;c1:2181\n"
        b"server.2=h2:7181:7181:participant;c2:2182\n"
        b"server.3=h3:7181:7181:observer;c3:2183\n"
        b"version=11"
    )


@pytest.mark.parametrize("client", ["", "c2:0"])
def test_no_configuration_is_shown_that_would_send_clients_away(client: str) -> None:
    assert config_text(configuration("c1:2181", client)) == b""


# Words.


def say(world: World, word: bytes) -> str:
    client = world.client()
    client.send(word + b"\n")
    world.collect(1)
    assert client.is_closed
    return client.raw.decode()


def everything() -> World:
    return World(settings=replace(SETTINGS, words=frozenset("*"), client_address="127.0.0.1:2181"))


def test_words_come_in_one_answer_and_close() -> None:
    world = World()
    assert say(world, b"ruok") == "imok"
    assert say(world, b"isro") == "rw"
    split = world.client()
    for byte in b"ruok":
        split.send(bytes([byte]))
    world.collect(1)
    assert split.raw == b"imok"


def test_words_outside_the_list_are_refused() -> None:
    assert say(World(), b"dump") == "dump is not executed because it is not in the whitelist.\n"


def test_srvr_as_its_strictest_readers_read_it() -> None:
    world = World()
    client = world.open()
    client.call(zk.OP_CREATE, zk.encode_create("/a", b""))
    client.request(zk.OP_SYNC, zk.encode_path("/"))
    assert say(world, b"srvr") == (
        "Zookeeper version: 3.9.4-multipaxos-0.1.0, built on 01/01/2026 00:00 GMT\n"
        "Latency min/avg/max: 0/0/0\n"
        "Received: 2\n"
        "Sent: 1\n"
        "Connections: 2\n"
        "Outstanding: 1\n"
        f"Zxid: {world.services[1].machine.zxid:#x}\n"
        "Mode: leader\n"
        "Node count: 5\n"
    )


def test_stat_lists_clients() -> None:
    world = World()
    world.open()
    lines = say(world, b"stat").splitlines()
    assert lines[1] == "Clients:"
    assert lines[2] == " /10.0.0.1:5000[1](queued=0,recved=0,sent=0)"
    assert lines[5].startswith("Latency")


def test_mntr_and_figures() -> None:
    world = World()
    client = world.open()
    client.call(zk.OP_CREATE, zk.encode_create("/e", b"xyz", flags=1))
    client.call(zk.OP_EXISTS, zk.encode_watched_path("/e", True))
    client.request(zk.OP_SET_DATA, zk.encode_set_data("/e", b"", 5))
    world.now += 7_000_000
    world.settle()
    lines = dict(line.split("\t") for line in say(world, b"mntr").splitlines())
    assert lines["zk_server_state"] == "leader"
    assert lines["zk_version"].startswith("3.9.4-multipaxos")
    expected = {
        "packets_received": 3,
        "packets_sent": 3,
        "num_alive_connections": 2,
        "outstanding_requests": 0,
        "znode_count": 5,
        "watch_count": 1,
        "ephemerals_count": 1,
        "global_sessions": 1,
        "max_latency": 7,
        "min_latency": 0,
        "avg_latency": 3,
    }
    assert {key: int(lines["zk_" + key]) for key in expected} == expected
    figures = world.services[1].figures(world.now)
    assert figures["approximate_data_size"] > 0
    assert figures["uptime"] == 7


def test_the_other_words() -> None:
    world = everything()
    client = world.open()
    client.call(zk.OP_CREATE, zk.encode_create("/e", b"", flags=1))
    client.call(zk.OP_EXISTS, zk.encode_watched_path("/e", True))
    assert "zookeeper.version=3.9.4-multipaxos" in say(world, b"envi")
    assert "clientPort=2181\n" in say(world, b"conf")
    assert f"sid={client.session:#x}" in say(world, b"cons")
    assert f"0x{client.session:x}:\n\t/e\n" in say(world, b"dump")
    assert say(world, b"wchs") == "1 connections watching 1 paths\nTotal watches:1\n"
    assert say(world, b"wchc") == f"0x{client.session:x}\n\t/e\n\n"
    assert say(world, b"wchp") == f"/e\n\t0x{client.session:x}\n\n"
    assert "datadir_size" in say(world, b"dirs")
    client.request(zk.OP_SYNC, zk.encode_path("/"))
    assert say(world, b"crst") == "Connection stats reset.\n"
    assert say(world, b"srst") == "Server stats reset.\n"
    assert "Received: 1\nSent: 0\n" in say(world, b"srvr")
    world.settle()
    assert "Outstanding: 0\n" in world.services[1].word("srvr", world.now)
    assert world.services[1].word("ruok", world.now) == "imok"


def test_words_of_a_replica_that_is_cut_off() -> None:
    world = everything()
    world.now += 60 * SECOND
    assert say(world, b"ruok") == "imok"
    assert say(world, b"isro") == "null"
    assert say(world, b"srvr") == "This ZooKeeper instance is not currently serving requests"


def test_a_follower_says_so() -> None:
    world = World(2)
    world.settle()
    assert "Mode: follower\n" in world.services[2].word("srvr", world.now)
