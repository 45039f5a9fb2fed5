"""Four-letter words: what a new connection may say instead of a handshake, answered as text and closed (zookeeper.md 19).

The forms are ZooKeeper's, as the strictest parsers in the field read them (zk-19): a dash after the version, a date as
MM/DD/YYYY, an integer for the average latency. Only words of the settings' list run.
"""

from typing import TYPE_CHECKING, Final

from multipaxos.service.shared import FAR, Shared

if TYPE_CHECKING:
    from multipaxos.service.connection import Connection

ZOOKEEPER_VERSION: Final = "3.9.4"
"""The version whose protocol is spoken: tools decide by it what they may ask."""

WORDS: Final = frozenset(
    (
        b"ruok", b"srvr", b"stat", b"mntr", b"isro", b"conf", b"envi", b"cons", b"dump", b"wchs", b"wchc", b"wchp", b"dirs",
        b"crst", b"srst",
    )
)  # fmt: skip
"""Words that are known; the first four bytes of a handshake never spell one."""

NOT_SERVING: Final = "This ZooKeeper instance is not currently serving requests"


def answer_word(shared: Shared, word: str, now: int) -> str:
    """The answer to a known word."""
    allowed = shared.settings.words
    if "*" not in allowed and word not in allowed:
        return f"{word} is not executed because it is not in the whitelist.\n"
    if word == "ruok":
        return "imok"
    if word == "conf":
        return _conf(shared)
    if word == "envi":
        return _envi(shared)
    if word == "isro":
        return "null" if shared.is_cut_off(now) else "rw"
    if shared.is_cut_off(now):
        return NOT_SERVING
    if word == "srvr":
        return _version(shared) + _figures_text(shared)
    if word == "stat":
        clients = "".join([_client(connection) for connection in _connections(shared)])
        return f"{_version(shared)}Clients:\n{clients}\n{_figures_text(shared)}"
    if word == "mntr":
        return _mntr(shared, now)
    if word == "cons":
        return "".join([_client_in_full(connection, shared) for connection in _connections(shared)]) + "\n"
    if word == "dump":
        return _dump(shared)
    if word in ("wchs", "wchc", "wchp"):
        return _watches(shared, word)
    if word == "dirs":
        return f"datadir_size: {shared.machine.data_bytes}\nlogdir_size: 0\n"
    if word == "crst":
        for connection in _connections(shared):
            connection.received = connection.requests_open()
        return "Connection stats reset.\n"
    assert word == "srst"
    reset(shared)
    return "Server stats reset.\n"


def mode_of(shared: Shared) -> str:
    """What ZooKeeper's tools call the standing of a replica."""
    return "leader" if shared.is_leading else "follower"


def figures(shared: Shared, now: int) -> dict[str, int]:
    """The numbers of mntr without their prefix, for every tool that shows them."""
    machine = shared.machine
    return {
        "avg_latency": _average_ms(shared),
        "max_latency": _ms(shared.latency_max_ns),
        "min_latency": _least_ms(shared),
        "packets_received": shared.received,
        "packets_sent": shared.answered + shared.events,
        "num_alive_connections": len(shared.connections),
        "outstanding_requests": outstanding(shared),
        "outstanding_bytes": shared.unanswered,
        "connections_not_read": len(shared.paused),
        "uptime": _ms(now - shared.started_at),
        "znode_count": machine.node_count,
        "watch_count": shared.watches.count,
        "ephemerals_count": machine.ephemeral_count(),
        "approximate_data_size": machine.data_bytes,
        "global_sessions": len(machine.sessions),
        "local_sessions": 0,
        "quorum_size": shared.voters,
    }


def outstanding(shared: Shared) -> int:
    """Requests received and not answered."""
    return shared.received - shared.answered - shared.dropped


def reset(shared: Shared) -> None:
    """Begin the statistics anew."""
    open_requests = outstanding(shared)
    shared.received = open_requests
    shared.answered = 0
    shared.dropped = 0
    shared.events = 0
    shared.latency_count = 0
    shared.latency_total_ns = 0
    shared.latency_min_ns = FAR
    shared.latency_max_ns = 0


def _ms(duration_ns: int) -> int:
    return duration_ns // 1_000_000


def _average_ms(shared: Shared) -> int:
    return _ms(shared.latency_total_ns // shared.latency_count) if shared.latency_count else 0


def _least_ms(shared: Shared) -> int:
    return _ms(shared.latency_min_ns) if shared.latency_count else 0


def _connections(shared: Shared) -> "list[Connection]":
    return [shared.connections[number] for number in sorted(shared.connections)]


def _version_text(shared: Shared) -> str:
    return f"{ZOOKEEPER_VERSION}-multipaxos-{shared.settings.version}, built on {shared.settings.built}"


def _version(shared: Shared) -> str:
    return f"Zookeeper version: {_version_text(shared)}\n"


def _figures_text(shared: Shared) -> str:
    return (
        f"Latency min/avg/max: {_least_ms(shared)}/{_average_ms(shared)}/{_ms(shared.latency_max_ns)}\n"
        f"Received: {shared.received}\n"
        f"Sent: {shared.answered + shared.events}\n"
        f"Connections: {len(shared.connections)}\n"
        f"Outstanding: {outstanding(shared)}\n"
        f"Zxid: {shared.machine.zxid:#x}\n"
        f"Mode: {mode_of(shared)}\n"
        f"Node count: {shared.machine.node_count}\n"
    )


def _sent(connection: "Connection") -> int:
    return connection.received - connection.requests_open() + connection.events


def _client(connection: "Connection") -> str:
    return (
        f" /{connection.address}[1](queued={connection.requests_open()},recved={connection.received},"
        f"sent={_sent(connection)})\n"
    )


def _client_in_full(connection: "Connection", shared: Shared) -> str:
    return (
        f" /{connection.address}[1](queued={connection.requests_open()},recved={connection.received},"
        f"sent={_sent(connection)},sid={connection.session:#x},lop=NA,est=0,to={connection.timeout_ms},lcxid=0x0,"
        f"lzxid={shared.machine.zxid:#x},lresp=0,llat=0,minlat={_least_ms(shared)},avglat={_average_ms(shared)},"
        f"maxlat={_ms(shared.latency_max_ns)})\n"
    )


def _mntr(shared: Shared, now: int) -> str:
    lines = [f"zk_version\t{_version_text(shared)}\n", f"zk_server_state\t{mode_of(shared)}\n"]
    for key, value in figures(shared, now).items():
        lines.append(f"zk_{key}\t{value}\n")
    return "".join(lines)


def _envi(shared: Shared) -> str:
    return f"Environment:\nzookeeper.version={_version_text(shared)}\nmultipaxos.version={shared.settings.version}\n"


def _conf(shared: Shared) -> str:
    settings = shared.settings
    return (
        f"clientPort={settings.client_address.rpartition(':')[2]}\n"
        f"clientPortAddress={settings.client_address}\n"
        f"dataDir={settings.data}\n"
        f"tickTime={settings.tick_ms}\n"
        f"maxClientCnxns={settings.connections_per_address_max}\n"
        f"minSessionTimeout={settings.timeout_min_ms}\n"
        f"maxSessionTimeout={settings.timeout_max_ms}\n"
        f"serverId={shared.replica}\n"
        f"jute.maxbuffer={settings.request_bytes_max}\n"
    )


def _dump(shared: Shared) -> str:
    sessions = shared.machine.sessions
    lines = [f"SessionTracker dump:\nSession Sets ({len(sessions)}):\n"]
    lines.extend([f"0x{session:x}\t{sessions[session].timeout_ms}ms\n" for session in sorted(sessions)])
    holders = [session for session in sorted(sessions) if sessions[session].ephemerals]
    lines.append(f"ephemeral nodes dump:\nSessions with Ephemerals ({len(holders)}):\n")
    for session in holders:
        lines.append(f"0x{session:x}:\n")
        lines.extend([f"\t{path}\n" for path in sorted(sessions[session].ephemerals)])
    return "".join(lines)


def _watches(shared: Shared, word: str) -> str:
    watches = shared.watches
    if word == "wchs":
        return f"{watches.connection_count} connections watching {watches.path_count} paths\nTotal watches:{watches.count}\n"
    by_path: dict[str, list[int]] = {}
    lines: list[str] = []
    for number in watches.watching():
        connection = shared.connections.get(number)
        session = 0 if connection is None else connection.session
        if word == "wchc":
            lines.append(f"0x{session:x}\n")
        for path in watches.paths_of(number):
            if word == "wchc":
                lines.append(f"\t{path}\n")
            else:
                by_path.setdefault(path, []).append(session)
    for path in sorted(by_path):
        lines.append(f"{path}\n")
        lines.extend([f"\t0x{session:x}\n" for session in by_path[path]])
    return "".join(lines) + "\n"
