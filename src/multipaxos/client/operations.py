"""The operations of a multi, as values: a list of them happens wholly or not at all.

Knows nothing of connections; `Client.multi` sends them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from multipaxos.wire.zookeeper import (
    FLAG_EPHEMERAL,
    FLAG_SEQUENTIAL,
    FLAGS_CONTAINER,
    FLAGS_TTL,
    FLAGS_TTL_SEQUENTIAL,
    OP_CHECK,
    OP_CREATE,
    OP_CREATE2,
    OP_CREATE_CONTAINER,
    OP_CREATE_TTL,
    OP_DELETE,
    OP_SET_DATA,
    OPEN_ACL,
    Acl,
    encode_create,
    encode_create_ttl,
    encode_set_data,
    encode_versioned_path,
)


@dataclass(frozen=True, slots=True)
class Create:
    """Create a node.

    An ``ephemeral`` node goes with the session; a ``sequence`` node gets ten digits appended that only grow under its
    parent; a ``container`` is removed some time after its last child; with ``ttl_ms`` a node is removed when it has no
    children and was not set for that long (ZooKeeper has that switched off unless configured).
    """

    path: str
    data: bytes | None = b""
    ephemeral: bool = False
    sequence: bool = False
    container: bool = False
    ttl_ms: int | None = None
    acl: Sequence[Acl] = OPEN_ACL


@dataclass(frozen=True, slots=True)
class Set:
    """Set the data of a node, if it is at ``version`` (-1: whatever its version)."""

    path: str
    data: bytes | None
    version: int = -1


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a node without children, if it is at ``version`` (-1: whatever its version)."""

    path: str
    version: int = -1


@dataclass(frozen=True, slots=True)
class Check:
    """Let the multi fail unless the node is there, at ``version`` (-1: whatever its version)."""

    path: str
    version: int = -1


Operation = Create | Set | Delete | Check


def encode_create_operation(operation: Create, with_stat: bool = False) -> tuple[int, bytes]:
    """(opcode, record). The lowest opcode that can say it is taken, so that old servers understand as well."""
    if operation.container and (operation.ephemeral or operation.sequence or operation.ttl_ms is not None):
        raise ValueError("a container is neither ephemeral nor sequential and has no ttl")
    if operation.ttl_ms is not None:
        if operation.ephemeral:
            raise ValueError("an ephemeral node ends with its session and has no ttl")
        flags = FLAGS_TTL_SEQUENTIAL if operation.sequence else FLAGS_TTL
        return OP_CREATE_TTL, encode_create_ttl(operation.path, operation.data, operation.acl, flags, operation.ttl_ms)
    if operation.container:
        return OP_CREATE_CONTAINER, encode_create(operation.path, operation.data, operation.acl, FLAGS_CONTAINER)
    flags = (FLAG_EPHEMERAL if operation.ephemeral else 0) | (FLAG_SEQUENTIAL if operation.sequence else 0)
    return OP_CREATE2 if with_stat else OP_CREATE, encode_create(operation.path, operation.data, operation.acl, flags)


def encode_operation(operation: Operation) -> tuple[int, bytes]:
    """(opcode, record) of one operation of a multi."""
    if isinstance(operation, Create):
        return encode_create_operation(operation)
    if isinstance(operation, Set):
        return OP_SET_DATA, encode_set_data(operation.path, operation.data, operation.version)
    if isinstance(operation, Delete):
        return OP_DELETE, encode_versioned_path(operation.path, operation.version)
    return OP_CHECK, encode_versioned_path(operation.path, operation.version)
