"""A decree in words: what it is, when it was proposed, what each of its commands asks for.

For people who read a journal. Payloads are shortened, the secret behind the passwords of sessions is never shown. A
command that cannot be read is shown as such: apply refuses it with a fixed result everywhere (rule-R17), so a reader
must not stumble over it.

Knows nothing of slots, ballots and files.
"""

import time
from struct import error as StructError
from typing import Final

from multipaxos.coordination.codes import (
    CHECK,
    CREATE,
    CREATE2,
    CREATE_CONTAINER,
    CREATE_TTL,
    DELETE,
    EPHEMERAL,
    MULTI,
    RECONFIG,
    SEQUENTIAL,
    SET_ACL,
    SET_DATA,
    SYNC,
)
from multipaxos.coordination.commands import (
    ATTACH,
    CLOSE,
    EXPIRE,
    FOUND,
    HEADER_SIZE,
    REQUEST,
    MalformedCommand,
    decode_attach,
    decode_expire,
    decode_found,
    decode_header,
    decode_ids,
)
from multipaxos.coordination.jute import INT, MalformedRecord, read_path
from multipaxos.coordination.plan import read_create, read_multi, read_path_and_version, read_set_acl, read_set_data
from multipaxos.core.ballot import ballot_text
from multipaxos.core.decree import (
    KIND_BATCH,
    KIND_CONFIGURATION,
    KIND_EPOCH,
    KIND_NOOP,
    Decree,
    MalformedDecree,
    commands_of,
    configuration_text_of,
    epoch_ballot_of,
    kind_of,
    segments_of,
    wall_of,
)
from multipaxos.core.membership import decode_configuration

PAYLOAD_SHOWN_MAX: Final = 40
"""Bytes of a payload that are shown."""

KINDS: Final[dict[int, str]] = {
    KIND_NOOP: "no-op",
    KIND_BATCH: "batch",
    KIND_EPOCH: "epoch",
    KIND_CONFIGURATION: "configuration",
}

_ANY_VERSION: Final = -1
_CREATES: Final = (CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL)
_UNREADABLE: Final = (MalformedCommand, MalformedRecord, StructError)


def time_text(wall_ms: int) -> str:
    """A wall clock in milliseconds as UTC; empty for 0, which stands for none."""
    if not wall_ms:
        return ""
    seconds, rest_ms = divmod(wall_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest_ms:03}Z"


def kind_text(decree: Decree) -> str:
    """The kind of a decree in a word."""
    return KINDS.get(kind_of(decree), "unknown")


def decree_time_ms(decree: Decree) -> int:
    """The proposing leader's wall clock; 0 where the decree carries none."""
    return wall_of(decree) if kind_of(decree) in KINDS and len(decree) >= 9 else 0


def is_readable(decree: Decree) -> bool:
    """Whether this version can read the decree as one: kind, lengths, configuration. Its commands are not opened."""
    try:
        kind = kind_of(decree)
        if kind == KIND_BATCH:
            segments_of(decree)
        elif kind == KIND_EPOCH:
            epoch_ballot_of(decree)
        elif kind == KIND_CONFIGURATION:
            decode_configuration(configuration_text_of(decree))
        return kind in KINDS
    except (MalformedDecree, StructError, ValueError):
        return False


def decree_texts(decree: Decree) -> list[str]:
    """What a decree says, one line for each command or fact; empty for a no-op."""
    if not is_readable(decree):
        return [f"{len(decree)} bytes that are no decree this version knows"]
    kind = kind_of(decree)
    if kind == KIND_EPOCH:
        return [f"the epoch of ballot {ballot_text(epoch_ballot_of(decree))} begins"]
    if kind == KIND_CONFIGURATION:
        configuration = decode_configuration(configuration_text_of(decree))
        voters = ", ".join(str(voter) for voter in configuration.voters)
        return [f"cluster {configuration.cluster}, version {configuration.version}, voters {voters}"]
    found: list[str] = []
    if kind == KIND_BATCH:
        for origin, incarnation, _, first, count, begin, end in segments_of(decree):
            try:
                commands = commands_of(decree, begin, end)
            except MalformedDecree:
                commands = []
            if len(commands) != count:
                found.append(f"{count} commands of replica {origin} that cannot be read: refused everywhere")
            for serial, command in enumerate(commands, first):
                found.append(f"{command_text(command)} (replica {origin}, start {incarnation}, command {serial})")
    return found


def command_text(command: bytes) -> str:
    """What one command asks for."""
    try:
        return _command_text(command)
    except _UNREADABLE as error:
        return f"{len(command)} bytes that are no command ({error})"


def _command_text(command: bytes) -> str:
    kind, session_id, owner = decode_header(command)
    session = f"session 0x{session_id:x}"
    if kind == ATTACH:
        timeout_ms, _ = decode_attach(command)
        what = f"move {session}" if session_id else "open a session"
        return f"{what}, timeout {timeout_ms} ms, at connection {owner[2]} of replica {owner[0]}"
    if kind == CLOSE:
        return f"close {session}"
    if kind == EXPIRE:
        return f"expire {session}, in the reign of {ballot_text(decode_expire(command))}"
    if kind == FOUND:
        reign, secret = decode_found(command)
        return f"found the secret for passwords ({len(secret)} bytes), in the reign of {ballot_text(reign)}"
    if kind != REQUEST:
        raise MalformedCommand(f"the unknown kind {kind}")
    _, at = decode_ids(command, HEADER_SIZE)
    opcode = int(INT.unpack_from(command, at)[0])
    by = f"by {session}" if session_id else "by the replica itself"
    return _request_text(opcode, command, at + INT.size, by)


def _request_text(opcode: int, record: bytes, at: int, by: str) -> str:
    if opcode in _CREATES:
        path, data, _, flags, _, _ = read_create(record, at, opcode == CREATE_TTL)
        return f"{_create_word(opcode, flags)} {shown_path(path)} {by}, {payload_text(data)}"
    if opcode == SET_DATA:
        path, data, version, _ = read_set_data(record, at)
        return f"set {shown_path(path)} {by}, {payload_text(data)}{_version_text(version)}"
    if opcode == DELETE:
        path, version, _ = read_path_and_version(record, at)
        return f"delete {shown_path(path)} {by}{_version_text(version)}"
    if opcode == SET_ACL:
        path, _, version = read_set_acl(record, at)
        return f"set the access list of {shown_path(path)} {by}{_version_text(version)}"
    if opcode == SYNC:
        return f"sync {shown_path(read_path(record, at)[0])} {by}"
    if opcode == RECONFIG:
        return f"reconfig {by}"
    if opcode == MULTI:
        parts: list[str] = []
        for one in read_multi(record, at):
            if one.opcode in _CREATES:
                part = f"{_create_word(one.opcode, one.flags)} {shown_path(one.path)} ({payload_text(one.data)})"
            elif one.opcode == SET_DATA:
                part = f"set {shown_path(one.path)} ({payload_text(one.data)}){_version_text(one.version)}"
            else:
                word = "check" if one.opcode == CHECK else "delete"
                part = f"{word} {shown_path(one.path)}{_version_text(one.version)}"
            parts.append(part)
        return f"multi of {len(parts)} {by}: {'; '.join(parts)}"
    return f"operation {opcode} {by}"


def _create_word(opcode: int, flags: int) -> str:
    words = ["create"]
    if opcode == CREATE_CONTAINER:
        words.append("container")
    elif opcode == CREATE_TTL:
        words.append("with a time to live")
    elif flags < 4:
        words += ["ephemeral"] * bool(flags & EPHEMERAL) + ["sequential"] * bool(flags & SEQUENTIAL)
    return " ".join(words)


def _version_text(version: int) -> str:
    return "" if version == _ANY_VERSION else f", if at version {version}"


def shown_path(path: str) -> str:
    """A path on one line: what does not print is escaped."""
    return path if path.isprintable() else path.encode("unicode_escape").decode()


def payload_text(data: bytes | None) -> str:
    """A payload's size, and its beginning where it is text."""
    if data is None:
        return "null"
    size = f"{len(data)} bytes"
    begin = data[:PAYLOAD_SHOWN_MAX]
    if not begin.isascii() or not begin.decode("ascii").isprintable() or not data:
        return size
    return f"{size}: {begin.decode('ascii')}{'...' if len(data) > PAYLOAD_SHOWN_MAX else ''}"
