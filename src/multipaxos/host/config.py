"""Settings of one replica: read once, checked, and passed down as values.

Two kinds of file are read, by ``load``: the project's own TOML, whose keys carry their units, and ZooKeeper's ``zoo.cfg``.
What stands here is local; what the ledger must agree on
stands under ``[birth]`` and in the list of replicas, which a cluster takes once, when it is born (rule-R7, rule-R40).

Knows nothing of sockets, processes or the loop. Read ``process.py`` next: it turns this into a running replica.

A whole TOML file, with its defaults::

    replica = 1                          # which of [[replicas]] this one is
    data = "multipaxos-data/replica-1"

    [[replicas]]
    id = 1
    peer = "127.0.0.1:7181"
    client = "127.0.0.1:2181"
    admin = "127.0.0.1:8181"             # where its admin port is reached; default: it has none
    voter = true

    [birth]
    window_slots = 64

    [client]
    listen = "127.0.0.1:2181"            # default: this replica's own entry
    connections_per_address_max = 60     # 0: no limit
    request_bytes_max = 1048575
    outstanding_bytes_max = 16777216     # answers a client has not read; above it the connection is closed
    four_letter_words = ["ruok", "srvr"] # ["*"] for all
    super_digest = "super:..."           # whose password passes every check; default: nobody's

    [peer]
    listen = "127.0.0.1:7181"            # default: this replica's own entry

    [admin]
    listen = "127.0.0.1:8181"            # default: this replica's own entry

    [session]
    timeout_min_ms = 4000
    timeout_max_ms = 40000

    [timers]
    heartbeat_ms = 100
    election_min_ms = 600
    election_max_ms = 1200
    retry_ms = 200
    disk_stall_ms = 1200
    handover_rest_ms = 60000

    [ledger]
    pipeline_slots = 4
    batch_commands_max = 1000
    batch_bytes_max = 1048576
    memory_bytes_max = 67108864
    unapplied_bytes_max = 67108864
    segment_bytes = 67108864             # of one journal file

    [log]
    level = "info"
"""

import os
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.membership import WINDOW_DEFAULT, Configuration, Member, check_list
from multipaxos.core.settings import MILLISECOND_NS, Settings

CLIENT_PORT: Final = 2181
PEER_PORT: Final = 7181
ADMIN_PORT: Final = 8181
WORDS: Final = (
    "ruok", "srvr", "stat", "mntr", "conf", "envi", "isro", "cons", "wchs", "wchc", "wchp", "dump", "dirs", "crst", "srst",
)  # fmt: skip
WORDS_DEFAULT: Final = ("ruok", "srvr", "stat", "mntr", "conf", "envi", "isro")
"""Words that cost little to answer; those that list every connection or watch have to be asked for."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class ConfigError(ValueError):
    """A file or an option that cannot be used. The text names it and says what to do."""


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """All that one replica process is told."""

    replica: ReplicaId
    data: str
    listed: Configuration  # version 0: where to look, and who has to be there for a birth (rule-R40)
    client_listen: str
    peer_listen: str
    settings: Settings
    session_min_ms: int = 4000
    session_max_ms: int = 40_000
    tick_ms: int = 2000  # only shown to tools that ask for it
    connections_per_address_max: int = 60
    request_bytes_max: int = 0xFFFFF
    outstanding_bytes_max: int = 16 << 20
    words: tuple[str, ...] = WORDS_DEFAULT
    super_digest: str = ""
    segment_bytes: int = 64 << 20
    log_level: str = "info"
    is_birth_stated: bool = False  # the file has a [birth]: compared with the ledger once slot 1 is known (rule-R7)
    admin_listen: str = ""  # "" for no admin port
    admins: tuple[tuple[ReplicaId, str], ...] = ()  # of the list, as far as the file says; these are not replicated
    notes: tuple[str, ...] = ()  # what the reader of the log should know about how the file was understood

    @property
    def peers(self) -> tuple[Member, ...]:
        """The other replicas of the list."""
        return tuple(member for member in self.listed.members if member.id != self.replica)


# --- addresses ---------------------------------------------------------------------------------------------------


def split_address(text: str, what: str = "address") -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. Raises ConfigError where it is neither."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"{what} {text!r}: an IPv6 address is written in brackets, as [::1]:2181")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{what} {text!r} is not host:port")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- TOML --------------------------------------------------------------------------------------------------------


class _Replica(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    peer: str
    client: str = ""
    admin: str = ""
    voter: bool = True


class _Birth(msgspec.Struct, forbid_unknown_fields=True):
    window_slots: int = WINDOW_DEFAULT


class _Client(msgspec.Struct, forbid_unknown_fields=True):
    listen: str = ""
    connections_per_address_max: int = 60
    request_bytes_max: int = 0xFFFFF
    outstanding_bytes_max: int = 16 << 20
    four_letter_words: list[str] = msgspec.field(default_factory=lambda: list(WORDS_DEFAULT))
    super_digest: str = ""


class _Peer(msgspec.Struct, forbid_unknown_fields=True):
    listen: str = ""


class _Admin(msgspec.Struct, forbid_unknown_fields=True):
    listen: str = ""


class _Session(msgspec.Struct, forbid_unknown_fields=True):
    timeout_min_ms: int = 4000
    timeout_max_ms: int = 40_000


class _Timers(msgspec.Struct, forbid_unknown_fields=True):
    heartbeat_ms: int = 100
    election_min_ms: int = 600
    election_max_ms: int = 1200
    retry_ms: int = 200
    disk_stall_ms: int = 1200
    handover_rest_ms: int = 60_000


class _Ledger(msgspec.Struct, forbid_unknown_fields=True):
    pipeline_slots: int = 4
    batch_commands_max: int = 1000
    batch_bytes_max: int = 1 << 20
    memory_bytes_max: int = 64 << 20
    unapplied_bytes_max: int = 64 << 20
    segment_bytes: int = 64 << 20


class _Log(msgspec.Struct, forbid_unknown_fields=True):
    level: str = "info"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    replica: int
    data: str
    replicas: list[_Replica]
    birth: _Birth | None = None
    client: _Client = msgspec.field(default_factory=_Client)
    peer: _Peer = msgspec.field(default_factory=_Peer)
    admin: _Admin = msgspec.field(default_factory=_Admin)
    session: _Session = msgspec.field(default_factory=_Session)
    timers: _Timers = msgspec.field(default_factory=_Timers)
    ledger: _Ledger = msgspec.field(default_factory=_Ledger)
    log: _Log = msgspec.field(default_factory=_Log)


_SECTIONS: Final[dict[str, type[msgspec.Struct]]] = {
    "replicas": _Replica,
    "birth": _Birth,
    "client": _Client,
    "peer": _Peer,
    "admin": _Admin,
    "session": _Session,
    "timers": _Timers,
    "ledger": _Ledger,
    "log": _Log,
}


def _nearest(key: str, known: list[str]) -> str:
    import difflib  # only when something is wrong: a replica's start does not pay for it

    close = difflib.get_close_matches(key, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(sorted(known))}"


def _refuse_unknown_keys(value: dict[str, Any], source: str) -> None:
    """Names the unknown key and its nearest known one, which msgspec alone does not."""
    top = [field.name for field in msgspec.structs.fields(_File)]
    for key, inner in value.items():
        if key not in top:
            elsewhere = [f"[{name}] {key}" for name, kind in _SECTIONS.items() if key in kind.__struct_fields__]
            hint = f"; it belongs under {elsewhere[0]}" if elsewhere else _nearest(key, top)
            raise ConfigError(f"{source}: unknown key {key!r}{hint}")
        kind = _SECTIONS.get(key)
        if kind is None:
            continue
        known = list(kind.__struct_fields__)
        for table in inner if isinstance(inner, list) else [inner]:
            for name in table if isinstance(table, dict) else ():
                if name not in known:
                    raise ConfigError(f"{source}: unknown key {name!r} under [{key}]{_nearest(name, known)}")


def read_toml(text: str, source: str) -> ReplicaConfig:
    """The settings in a TOML text. ``source`` names it in errors; relative paths are taken from its folder."""
    import tomllib

    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from error
    _refuse_unknown_keys(value, source)
    try:
        file = msgspec.convert(value, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error
    members = tuple(Member(one.id, one.peer, one.client, 0, one.voter) for one in file.replicas)
    timers, ledger, client = file.timers, file.ledger, file.client
    own = next((member for member in members if member.id == file.replica), None)
    if own is None:
        listed = ", ".join(str(member.id) for member in members) or "none"
        raise ConfigError(f"{source}: replica = {file.replica} is not among [[replicas]] (listed: {listed})")
    client_listen = client.listen or own.client_address
    if not client_listen:
        raise ConfigError(f'{source}: say where clients connect: [client] listen = "127.0.0.1:{CLIENT_PORT}"')
    settings = Settings(
        heartbeat_ns=timers.heartbeat_ms * MILLISECOND_NS,
        election_min_ns=timers.election_min_ms * MILLISECOND_NS,
        election_max_ns=timers.election_max_ms * MILLISECOND_NS,
        retry_ns=timers.retry_ms * MILLISECOND_NS,
        disk_stall_ns=timers.disk_stall_ms * MILLISECOND_NS,
        handover_rest_ns=timers.handover_rest_ms * MILLISECOND_NS,
        pipeline=ledger.pipeline_slots,
        batch_commands_max=ledger.batch_commands_max,
        batch_bytes_max=ledger.batch_bytes_max,
        ledger_bytes_max=ledger.memory_bytes_max,
        unapplied_bytes_max=ledger.unapplied_bytes_max,
    )
    birth = file.birth or _Birth()
    return checked(
        ReplicaConfig(
            replica=file.replica,
            data=os.path.join(os.path.dirname(os.path.abspath(source)), file.data),
            listed=_listed(members, birth.window_slots, source),
            client_listen=client_listen,
            peer_listen=file.peer.listen or own.peer_address,
            settings=settings,
            session_min_ms=file.session.timeout_min_ms,
            session_max_ms=file.session.timeout_max_ms,
            connections_per_address_max=client.connections_per_address_max,
            request_bytes_max=client.request_bytes_max,
            outstanding_bytes_max=client.outstanding_bytes_max,
            words=_words_of(client.four_letter_words, source),
            super_digest=client.super_digest,
            segment_bytes=ledger.segment_bytes,
            log_level=file.log.level,
            is_birth_stated=file.birth is not None,
            admin_listen=file.admin.listen or next(one.admin for one in file.replicas if one.id == file.replica),
            admins=tuple((one.id, one.admin) for one in file.replicas if one.admin),
        ),
        source,
    )


def _words_of(words: list[str], source: str) -> tuple[str, ...]:
    if "*" in words:
        return WORDS
    for word in words:
        if word not in WORDS:
            raise ConfigError(f"{source}: unknown four-letter word {word!r}{_nearest(word, list(WORDS))}")
    return tuple(words)


# --- zoo.cfg -----------------------------------------------------------------------------------------------------

_ZOO_UNSAFE: Final = (
    # What these ask for protects data or decides who counts; a server that ignored them would be open, or vote wrongly.
    ("secureClientPort", "no TLS client port is offered: put a TLS proxy before clientPort, or remove the key"),
    ("ssl", "TLS is not offered: keep the ports on a trusted network, or remove the key"),
    ("client.port", "TLS is not offered: remove the key"),
    ("portUnification", "TLS is not offered: remove the key"),
    ("authProvider", "authentication plug-ins cannot be loaded: remove the key if digest and ip are enough"),
    ("requireClientAuthScheme", "clients cannot be required to authenticate: remove the key and use ACLs"),
    ("sessionRequireClientSASLAuth", "SASL is not offered: remove the key and use ACLs"),
    ("allowSaslFailedClients", "SASL is not offered: remove the key and use ACLs"),
    ("enforce.auth", "clients cannot be required to authenticate: remove the key and use ACLs"),
    ("quorum.auth", "peers are not authenticated: keep the peer port on a trusted network, or remove the key"),
    ("quorum.cnxn", "peers are not authenticated: keep the peer port on a trusted network, or remove the key"),
    ("kerberos", "SASL is not offered: remove the key and use ACLs"),
    ("group.", "quorum groups are not offered: every voter counts one; remove the key"),
    ("weight.", "quorum weights are not offered: every voter counts one; remove the key"),
)

_ZOO_SUPER: Final = "DigestAuthenticationProvider.superDigest"

_ZOO_WITHOUT_EFFECT: Final = ("initLimit", "syncLimit")
"""Read and checked; heartbeats and election timeouts have their own settings and finer steps."""


def _properties(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line[0] in "#!":
            continue
        key, _, value = line.partition("=")
        found[key.strip()] = value.strip()
    return found


def _number(keys: dict[str, str], key: str, default: int, source: str) -> int:
    text = keys.get(key, "")
    if key not in keys:
        return default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{source}: {key}={text!r} is not a number") from None


def _zoo_server(key: str, value: str, source: str) -> Member:
    """One line ``server.N=host:peerport:electionport[:role][;[host:]clientport]``; the first port is the peer port."""
    number = key.removeprefix("server.")
    if not number.isascii() or not number.isdecimal():
        raise ConfigError(f"{source}: {key}: what follows 'server.' is not a number")
    if "|" in value:
        raise ConfigError(f"{source}: {key} lists several addresses; one is used: keep the one peers should dial")
    server, _, client = value.partition(";")
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        fields = rest.removeprefix(":").split(":")
    else:
        host, *fields = server.split(":")
    role = fields[2] if len(fields) > 2 else "participant"
    if not host or not fields or not fields[0].isdecimal() or role not in ("participant", "observer"):
        raise ConfigError(
            f"{source}: {key}={value} is not host:peerport:electionport[:participant|:observer][;clientport]"
        )
    client_address = ""
    if client:
        if client.isdecimal():
            client_address = join_address(host, int(client))
        else:
            client_host, client_port = split_address(client, f"{source}: {key}: client address")
            is_wildcard = client_host in ("0.0.0.0", "::")
            client_address = join_address(host if is_wildcard else client_host, client_port)
    return Member(int(number), join_address(host, int(fields[0])), client_address, 0, role == "participant")


def read_zoo_cfg(text: str, source: str) -> ReplicaConfig:
    """The settings in a ``zoo.cfg``: what has a meaning here is used, what is safe to ignore is named in one note.

    The list of replicas is made of the ``server.N`` lines alone, since they are what all files of one cluster share; what
    else stands in one file (``clientPort``) says only where this replica listens.
    """
    keys = _properties(text)
    for key in keys:
        for prefix, advice in _ZOO_UNSAFE:
            if key.startswith(prefix):
                raise ConfigError(f"{source}: {key} cannot be honoured and is not safe to ignore: {advice}")
    folder = os.path.dirname(os.path.abspath(source))
    if "dataDir" not in keys:
        raise ConfigError(f"{source}: dataDir is missing: name the folder that holds myid and the journal")
    data_folder = os.path.join(folder, keys["dataDir"])
    servers = {key: value for key, value in keys.items() if key.startswith("server.")}
    if "dynamicConfigFile" in keys:
        dynamic = os.path.join(folder, keys["dynamicConfigFile"])
        inner = _properties(_read(dynamic))
        servers.update({key: value for key, value in inner.items() if key.startswith("server.")})
    members = tuple(_zoo_server(key, value, source) for key, value in servers.items())
    bind_host, port = "", _number(keys, "clientPort", 0, source)
    notes: list[str] = []
    if members:
        replica = _read_myid(data_folder, members)
        own = next(member for member in members if member.id == replica)
        # The line says by which name this machine is reached: that is being told to listen there.
        bind_host = split_address(own.peer_address)[0]
        if own.client_address and port == 0:
            port = split_address(own.client_address)[1]
        is_observer = keys.get("peerType", "participant") == "observer"
        if is_observer and own.is_voter:
            raise ConfigError(
                f"{source}: peerType=observer, but server.{replica} is no observer: write ...:observer there"
            )
    else:
        replica = 1
        bind_host = "127.0.0.1"
        members = (Member(1, f"127.0.0.1:{PEER_PORT}", f"127.0.0.1:{port}", 0, True),)
        own = members[0]
        if "clientPortAddress" not in keys:
            notes.append("clients are served on 127.0.0.1 only; clientPortAddress=0.0.0.0 opens all interfaces")
    if "clientPort" not in keys and not own.client_address.rpartition(":")[2].strip("0"):
        raise ConfigError(
            f"{source}: clientPort is missing: say where clients connect, usually clientPort={CLIENT_PORT}"
        )
    bind_host = keys.get("clientPortAddress", bind_host)
    tick_ms = _number(keys, "tickTime", 3000, source)
    session_min_ms = _number(keys, "minSessionTimeout", -1, source)
    session_max_ms = _number(keys, "maxSessionTimeout", -1, source)
    for key in _ZOO_WITHOUT_EFFECT:
        if _number(keys, key, 1, source) < 1:
            raise ConfigError(f"{source}: {key} is at least 1")
    words: tuple[str, ...] = WORDS_DEFAULT
    if "4lw.commands.whitelist" in keys:
        asked = [word.strip() for word in keys["4lw.commands.whitelist"].split(",") if word.strip()]
        words = WORDS if "*" in asked else tuple(word for word in asked if word in WORDS)
        unknown = sorted(set(asked) - set(WORDS) - {"*"})
        if unknown:
            notes.append(f"four-letter words not offered: {', '.join(unknown)}")
    used = {
        "clientPort", "clientPortAddress", "dataDir", "tickTime", "initLimit", "syncLimit", "maxClientCnxns", "peerType",
        "4lw.commands.whitelist", "minSessionTimeout", "maxSessionTimeout", "jute.maxbuffer", "dynamicConfigFile", _ZOO_SUPER,
        "admin.enableServer", "admin.serverAddress", "admin.serverPort",
    }  # fmt: skip
    ignored = sorted(key for key in keys if key not in used and not key.startswith("server."))
    if ignored:
        notes.append(f"ignored, because they have no meaning here: {', '.join(ignored)}")
    return checked(
        ReplicaConfig(
            replica=replica,
            # Beside ZooKeeper's own version-2 folder, never inside it.
            data=os.path.join(data_folder, "multipaxos"),
            listed=_listed(members, WINDOW_DEFAULT, source),
            client_listen=join_address(bind_host, port),
            peer_listen=own.peer_address,
            settings=Settings(),
            session_min_ms=session_min_ms if session_min_ms >= 0 else 2 * tick_ms,
            session_max_ms=session_max_ms if session_max_ms >= 0 else 20 * tick_ms,
            tick_ms=tick_ms,
            connections_per_address_max=_number(keys, "maxClientCnxns", 60, source),
            request_bytes_max=_number(keys, "jute.maxbuffer", 0xFFFFF, source),
            words=words,
            super_digest=keys.get(_ZOO_SUPER, ""),
            admin_listen=_zoo_admin(keys, source),
            notes=tuple(notes),
        ),
        source,
    )


def _zoo_admin(keys: dict[str, str], source: str) -> str:
    """Where the admin port listens: on loopback unless told otherwise, and only if one is asked for."""
    is_off = keys.get("admin.enableServer", "true").lower() == "false"
    if is_off or not {"admin.serverPort", "admin.serverAddress"} & set(keys):
        return ""
    return join_address(
        keys.get("admin.serverAddress", "127.0.0.1"), _number(keys, "admin.serverPort", ADMIN_PORT, source)
    )


def _read_myid(data_folder: str, members: tuple[Member, ...]) -> ReplicaId:
    path = os.path.join(data_folder, "myid")
    listed = ", ".join(str(member.id) for member in members)
    try:
        text = _read(path).strip()
    except ConfigError as error:
        raise ConfigError(f"{error}; write this replica's number there, one of {listed}") from error
    if not text.isdecimal() or int(text) not in [member.id for member in members]:
        raise ConfigError(f"{path} says {text!r}, which is not among the server.N lines ({listed})")
    return int(text)


# --- both --------------------------------------------------------------------------------------------------------


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def load(path: str) -> ReplicaConfig:
    """The settings in a file: TOML, or a ``zoo.cfg``, told apart by the name, else by what stands in it."""
    text = _read(path)
    if path.endswith(".toml"):
        return read_toml(text, path)
    if path.endswith(".cfg") or "dataDir" in _properties(text):
        return read_zoo_cfg(text, path)
    return read_toml(text, path)


def _listed(members: tuple[Member, ...], window: int, source: str) -> Configuration:
    """The list as a configuration that is not born yet: version 0, no marks, no cluster id."""
    try:
        listed = Configuration(0, members, window, "")
        check_list(listed)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
    return listed


def session_min_allowed_ms(settings: Settings) -> int:
    """The smallest session timeout that outlives an ordinary fail-over: above two elections and two heartbeats (rule-R26)."""
    return (2 * settings.election_max_ns + 2 * settings.heartbeat_ns) // MILLISECOND_NS + 1


def checked(config: ReplicaConfig, source: str) -> ReplicaConfig:
    """``config``, when it can be run. Raises ConfigError that names what is wrong, and what would be right."""
    for member in config.listed.members:
        split_address(member.peer_address, f"{source}: peer address of replica {member.id}")
        if member.client_address:
            split_address(member.client_address, f"{source}: client address of replica {member.id}")
    addresses = [member.peer_address for member in config.listed.members]
    for address in addresses:
        if addresses.count(address) > 1:
            raise ConfigError(f"{source}: two replicas have the peer address {address}")
    split_address(config.client_listen, f"{source}: client listen address")
    split_address(config.peer_listen, f"{source}: peer listen address")
    for replica, address in config.admins:
        split_address(address, f"{source}: admin address of replica {replica}")
    if config.admin_listen:
        split_address(config.admin_listen, f"{source}: admin listen address")
    settings = config.settings
    positive = {
        "heartbeat_ms": settings.heartbeat_ns,
        "election_min_ms": settings.election_min_ns,
        "retry_ms": settings.retry_ns,
        "disk_stall_ms": settings.disk_stall_ns,
        "pipeline_slots": settings.pipeline,
        "batch_commands_max": settings.batch_commands_max,
        "batch_bytes_max": settings.batch_bytes_max,
        "memory_bytes_max": settings.ledger_bytes_max,
        "unapplied_bytes_max": settings.unapplied_bytes_max,
        "segment_bytes": config.segment_bytes,
        "request_bytes_max": config.request_bytes_max,
        "outstanding_bytes_max": config.outstanding_bytes_max,
    }
    for name, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{source}: {name} is above 0")
    if config.super_digest and not config.super_digest.startswith("super:"):
        raise ConfigError(f"{source}: the super digest is written as super: and the digest")
    if config.connections_per_address_max < 0:
        raise ConfigError(
            f"{source}: connections per address cannot be {config.connections_per_address_max}; 0 is no limit"
        )
    if settings.election_max_ns < settings.election_min_ns:
        raise ConfigError(f"{source}: election_max_ms is below election_min_ms")
    if settings.election_min_ns < 3 * settings.heartbeat_ns:
        raise ConfigError(
            f"{source}: election_min_ms is at least three heartbeats, or one late heartbeat unseats a leader"
        )
    if settings.pipeline > config.listed.window:
        raise ConfigError(f"{source}: pipeline_slots is at most window_slots ({config.listed.window})")
    least = session_min_allowed_ms(settings)
    if config.session_min_ms < least:
        raise ConfigError(
            f"{source}: the smallest session timeout is {config.session_min_ms} ms, but a fail-over may take "
            f"{least - 1} ms and must not end sessions: set it to {least} ms or more "
            "(TOML: [session] timeout_min_ms; zoo.cfg: minSessionTimeout, or tickTime, of which it is two)"
        )
    if config.session_max_ms < config.session_min_ms:
        raise ConfigError(
            f"{source}: the longest session timeout ({config.session_max_ms} ms) is below the smallest "
            f"({config.session_min_ms} ms)"
        )
    if config.log_level not in LOG_LEVELS:
        raise ConfigError(
            f"{source}: unknown log level {config.log_level!r}{_nearest(config.log_level, list(LOG_LEVELS))}"
        )
    return config
