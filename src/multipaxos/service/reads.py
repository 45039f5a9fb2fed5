"""Requests that a replica answers from its own state: reads, watches, whoAmI. When they run is not decided here.

``answer`` gives the error and the record of the reply. A watch is set in the same step as the read that asks for it, so no
change can slip between (zk-5). Ids and session are those the connection had when the request came.

Changes nothing but watches. The hottest two, getData and exists, are also here: ``connection.py`` calls ``answer`` for all.
"""

from typing import Final

from multipaxos.coordination.commands import AuthId
from multipaxos.coordination.machine import Machine
from multipaxos.coordination.watches import CHILD, DATA, Watches
from multipaxos.wire.jute import INT, NULL, MalformedRecord, read_bool, read_buffer, read_int
from multipaxos.wire.zookeeper import (
    ERR_BAD_ARGUMENTS,
    ERR_MARSHALLING,
    ERR_NO_NODE,
    ERR_NO_WATCHER,
    ERR_OK,
    OP_ADD_WATCH,
    OP_CHECK_WATCHES,
    OP_EXISTS,
    OP_GET_ACL,
    OP_GET_ALL_CHILDREN_NUMBER,
    OP_GET_CHILDREN,
    OP_GET_CHILDREN2,
    OP_GET_DATA,
    OP_GET_EPHEMERALS,
    OP_MULTI_READ,
    OP_REMOVE_WATCHES,
    OP_WHO_AM_I,
    Acl,
    WatchedPath,
    encode_acl_stat,
    encode_children,
    encode_who_am_i,
    read_multi,
)

Answer = tuple[int, bytes]
"""(error, record of the reply)"""

ADD_WATCH_DONE: Final = INT.pack(0)
"""The one error-free reply without content that has a record all the same (zk-6)."""


def read_path(record: bytes, at: int) -> tuple[str, int]:
    """A path as apply reads it: what is not UTF-8 becomes a character that no znode has in its path."""
    raw, at = read_buffer(record, at)
    if raw is None:
        raise MalformedRecord("a null path")
    return str(raw, "utf-8", "replace"), at


def answer(
    machine: Machine,
    watches: Watches,
    connection: int,
    session: int,
    ids: tuple[AuthId, ...],
    opcode: int,
    record: bytes,
) -> Answer:
    """Answer one request from the present state. A record that is none gives -5."""
    try:
        if opcode in (OP_GET_DATA, OP_EXISTS):
            return _get_data_or_exists(machine, watches, connection, ids, opcode, record)
        if opcode in (OP_GET_CHILDREN2, OP_GET_CHILDREN):
            return _get_children(machine, watches, connection, ids, opcode, record)
        if opcode == OP_GET_ACL:
            path, _ = read_path(record, 0)
            err, entries, stat = machine.get_acl(path, ids)
            return err, encode_acl_stat([Acl(*entry) for entry in entries], stat) if err == ERR_OK else b""
        if opcode == OP_MULTI_READ:
            return _multi_read(machine, ids, record)
        if opcode == OP_GET_ALL_CHILDREN_NUMBER:
            path, _ = read_path(record, 0)
            err, count = machine.all_children_number(path, ids)
            return err, INT.pack(count)
        if opcode == OP_GET_EPHEMERALS:
            prefix, _ = read_buffer(record, 0)
            text = "" if prefix is None else str(prefix, "utf-8", "replace")
            return ERR_OK, encode_children(machine.ephemerals(session, text))
        if opcode == OP_WHO_AM_I:
            return ERR_OK, encode_who_am_i(ids)
        return _watch(watches, connection, opcode, record)
    except MalformedRecord:
        return ERR_MARSHALLING, b""


def _get_data_or_exists(
    machine: Machine, watches: Watches, connection: int, ids: tuple[AuthId, ...], opcode: int, record: bytes
) -> Answer:
    # By far the hottest record: read in place, without the calls of ``read_path``.
    end = 4 + int.from_bytes(record[:4], "big", signed=True)
    if end < 4 or end >= len(record):
        raise MalformedRecord("no path, or nothing behind it")
    path = str(record[4:end], "utf-8", "replace")
    if opcode == OP_GET_DATA:
        err, data, stat = machine.get_data(path, ids)
        if err == ERR_OK:
            if record[end] != 0:
                watches.add(path, connection, DATA)
            return ERR_OK, (NULL if data is None else INT.pack(len(data)) + data) + stat
        return err, b""
    err, stat = machine.exists(path, ids)
    # A watch for what does not exist yet is the point of exists (zk-5).
    if record[end] != 0 and err in (ERR_OK, ERR_NO_NODE):
        watches.add(path, connection, DATA)
    return err, stat


def _get_children(
    machine: Machine, watches: Watches, connection: int, ids: tuple[AuthId, ...], opcode: int, record: bytes
) -> Answer:
    path, at = read_path(record, 0)
    is_watched, _ = read_bool(record, at)
    err, names, stat = machine.get_children(path, ids)
    if err != ERR_OK:
        return err, b""
    if is_watched:
        watches.add(path, connection, CHILD)
    return ERR_OK, encode_children(names, stat if opcode == OP_GET_CHILDREN2 else b"")


def _multi_read(machine: Machine, ids: tuple[AuthId, ...], record: bytes) -> Answer:
    operations: list[tuple[int, str]] = []
    for opcode, request in read_multi(record, 0)[0].operations:
        if not isinstance(request, WatchedPath):
            return ERR_MARSHALLING, b""
        operations.append((opcode, request.path))
    return machine.multi_read(operations, ids)


def _watch(watches: Watches, connection: int, opcode: int, record: bytes) -> Answer:
    path, at = read_path(record, 0)
    kind, _ = read_int(record, at)
    if opcode == OP_ADD_WATCH:
        # As Java: a path or mode that is none is a bad argument.
        is_set = path.startswith("/") and watches.add_watch(path, connection, kind)
        return (ERR_OK, ADD_WATCH_DONE) if is_set else (ERR_BAD_ARGUMENTS, b"")
    if opcode == OP_CHECK_WATCHES:
        is_there = watches.has(path, connection, kind)
    else:
        assert opcode == OP_REMOVE_WATCHES
        is_there = watches.remove(path, connection, kind)
    return (ERR_OK if is_there else ERR_NO_WATCHER), b""
