"""A client of a bare Machine, for tests: writes requests and reads replies with its own few lines of struct."""

import struct
from dataclasses import dataclass

from multipaxos.coordination import commands
from multipaxos.coordination.machine import Machine, Result

OPEN = [(31, "world", "anyone")]
ADDRESS = ("ip", "127.0.0.1")
ALICE = ("digest", "alice:hash-a")
BOB = ("digest", "bob:hash-b")
SUPER = ("super", "")

CREATE, DELETE, SET_DATA, SET_ACL, SYNC, CHECK, MULTI, CREATE2, RECONFIG = 1, 2, 5, 7, 9, 13, 14, 15, 16
CONTAINER, TTL = 19, 21


def string(text):
    if text is None:
        return struct.pack(">i", -1)
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">i", len(data)) + data


def vector(entries):
    if entries is None:
        return struct.pack(">i", -1)
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + string(scheme) + string(text) for perms, scheme, text in entries
    )


def create_record(path, data=b"", flags=0, acl=OPEN, ttl=None):
    tail = b"" if ttl is None else struct.pack(">q", ttl)
    return string(path) + string(data) + vector(acl) + struct.pack(">i", flags) + tail


def versioned_record(path, version=-1):
    return string(path) + struct.pack(">i", version)


def set_data_record(path, data=b"", version=-1):
    return string(path) + string(data) + struct.pack(">i", version)


def set_acl_record(path, acl, version=-1):
    return string(path) + vector(acl) + struct.pack(">i", version)


def multi_record(*operations):
    """Of (opcode, record)."""
    parts = [struct.pack(">ibi", opcode, 0, -1) + record for opcode, record in operations]
    return b"".join(parts) + struct.pack(">ibi", -1, 1, -1)


@dataclass(frozen=True)
class Stat:
    czxid: int = 0
    mzxid: int = 0
    ctime: int = 0
    mtime: int = 0
    version: int = 0
    cversion: int = 0
    aversion: int = 0
    ephemeral_owner: int = 0
    data_length: int = 0
    num_children: int = 0
    pzxid: int = 0


def stat(data, at=0):
    assert len(data) >= at + 68
    return Stat(*struct.unpack_from(">qqqqiiiqiiq", data, at))


def path_of(body):
    """The path a create answered with, and what stands behind it."""
    size = struct.unpack_from(">i", body)[0]
    return body[4 : 4 + size].decode(), body[4 + size :]


def results_of(body):
    """The results of a multi: (type, err of the header, content)."""
    found = []
    at = 0
    while True:
        kind, done, err = struct.unpack_from(">ibi", body, at)
        at += 9
        if done:
            assert (kind, done, err) == (-1, 1, -1)
            assert at == len(body), "replies are exact"
            return found
        if kind == -1:
            content = struct.unpack_from(">i", body, at)[0]
            at += 4
        elif kind in (CREATE, CREATE2):
            size = struct.unpack_from(">i", body, at)[0]
            content = body[at + 4 : at + 4 + size].decode()
            at += 4 + size
            if kind == CREATE2:
                content = (content, stat(body, at))
                at += 68
        elif kind == SET_DATA:
            content = stat(body, at)
            at += 68
        else:
            assert kind in (DELETE, CHECK)
            content = None
        found.append((kind, err, content))


class World:
    """A machine in its first epoch, with a clock."""

    def __init__(self):
        self.machine = Machine()
        self.machine.begin_epoch(1, 65537)
        self.now = 1000
        self.connections = 0

    def apply(self, command, wanted=True) -> Result:
        self.now += 1
        result = self.machine.apply(command, self.now, wanted)
        self.machine.check()
        assert self.machine.surprises == 0
        return result

    def client(self, ids=(ADDRESS,)):
        self.connections += 1
        owner = (1, 1, self.connections)
        result = self.apply(commands.encode_attach(0, owner, 10_000, commands.NO_OWNER))
        assert result.err == 0
        return Client(self, result.session, owner, ids)

    def stat(self, path):
        err, found = self.machine.exists(path, (SUPER,))
        assert err == 0, path
        return stat(found)

    def data(self, path):
        err, data, _ = self.machine.get_data(path, (SUPER,))
        assert err == 0, path
        return data

    def exists(self, path):
        return self.machine.exists(path, (SUPER,))[0] == 0


class Client:
    """A session on one connection."""

    def __init__(self, world, session, owner, ids):
        self.world = world
        self.session = session
        self.owner = owner
        self.ids = tuple(ids)

    def command(self, opcode, record):
        return commands.encode_request(self.session, self.owner, self.ids, opcode, record)

    def ask(self, opcode, record) -> Result:
        return self.world.apply(self.command(opcode, record))

    def create(self, path, data=b"", flags=0, acl=OPEN, opcode=CREATE, ttl=None):
        return self.ask(opcode, create_record(path, data, flags, acl, ttl))

    def made(self, path, data=b"", flags=0, acl=OPEN, opcode=CREATE):
        """Create, insist, and return the path."""
        result = self.create(path, data, flags, acl, opcode)
        assert result.err == 0, (path, result.err)
        return path_of(result.body)[0]

    def delete(self, path, version=-1):
        return self.ask(DELETE, versioned_record(path, version))

    def set(self, path, data=b"", version=-1):
        return self.ask(SET_DATA, set_data_record(path, data, version))

    def set_acl(self, path, acl, version=-1):
        return self.ask(SET_ACL, set_acl_record(path, acl, version))

    def multi(self, *operations):
        return self.ask(MULTI, multi_record(*operations))

    def close(self):
        return self.world.apply(commands.encode_close(self.session, self.owner))
