"""What a write would do, before it does anything: reading the client's record, and the checks in ZooKeeper's order.

Which of several errors wins is visible to clients (zk-11), so each operation has one function here with its checks one
below the other, used alone and inside a multi. Nothing in this module changes the tree: it validates and computes, and
whatever goes wrong here is a fixed result (rule-R17). A multi is planned against an ``Overlay``, which holds what its
earlier operations would have made of the few znodes they touch; so it takes place whole or not at all.

A session of 0 stands for one that has ended. Bits of ``codes.py`` say which permission is needed where; the changing is
done by ``machine.py``.
"""

from collections.abc import Sequence
from typing import Final

from multipaxos.coordination.acl import OPEN_ENTRIES, Acl, RawEntry, accept, encode_entries, permits, read_entries
from multipaxos.coordination.codes import (
    ADMIN,
    BAD_ARGUMENTS,
    BAD_VERSION,
    CHECK,
    CREATE,
    CREATE2,
    CREATE_CHILD,
    CREATE_CONTAINER,
    CREATE_TTL,
    DELETE,
    DELETE_CHILD,
    EPHEMERAL,
    FLAGS_MAX,
    FLAGS_PLAIN_MAX,
    INVALID_ACL,
    NO_AUTH,
    NO_CHILDREN_FOR_EPHEMERALS,
    NO_NODE,
    NODE_EXISTS,
    NOT_EMPTY,
    OK,
    READ,
    SEQUENTIAL,
    SESSION_EXPIRED,
    SET_DATA,
    UNIMPLEMENTED,
    WRITE,
)
from multipaxos.coordination.commands import AuthId
from multipaxos.coordination.jute import INT, LONG, MULTI_HEADER, MULTI_HEADER_SIZE, MalformedRecord, read_path
from multipaxos.coordination.tree import (
    CONTAINER,
    NOT_EPHEMERAL,
    RESERVED_PATHS,
    Tree,
    Znode,
    children_of,
    creates_of,
    is_valid_name,
    is_valid_path,
    next_version,
    parent_of,
    wrap32,
)

RawAcl = list[RawEntry] | None
"""The list of a create or setACL as it was sent; None is the open list in its usual bytes."""

PlannedCreate = tuple[int, str, str, Acl, int]
"""error, full path, path of the parent, list to store, owner. Only the error counts unless it is OK."""

ANY_VERSION: Final = -1

_OPEN_BYTES: Final = encode_entries(OPEN_ENTRIES)
_OPEN_SIZE: Final = len(_OPEN_BYTES)
_NOBODY: Final = Acl(())


class Operation:
    """One operation of a multi, as it was sent."""

    __slots__ = ("acl", "data", "flags", "opcode", "path", "ttl", "version")

    def __init__(self, opcode: int, path: str) -> None:
        self.opcode: int = opcode
        self.path: str = path
        self.data: bytes | None = None
        self.acl: RawAcl = None
        self.flags: int = 0
        self.ttl: int = 0
        self.version: int = ANY_VERSION


class Overlay:
    """What the operations planned so far would have made of the tree.

    Its znodes are shadows: list, owner and version are right, data is left out, and children are only counted, since a
    parent may have 100,000 of them.
    """

    __slots__ = ("_children", "_creates", "_nodes", "_tree")

    def __init__(self, tree: Tree) -> None:
        self._tree: Final = tree
        self._nodes: Final[dict[str, Znode | None]] = {}
        self._children: Final[dict[str, int]] = {}
        self._creates: Final[dict[str, int]] = {}

    def find(self, path: str) -> Znode | None:
        """The znode as the next operation finds it."""
        if path in self._nodes:
            return self._nodes[path]
        return self._tree.nodes.get(path)

    def children(self, path: str, node: Znode) -> int:
        """How many children it has by now."""
        count = self._children.get(path, -1)
        return children_of(node) if count < 0 else count

    def creates(self, path: str, node: Znode) -> int:
        """How many creates it has seen by now."""
        found = self._creates.get(path)
        return creates_of(node) if found is None else found

    def create(self, path: str, parent_path: str, acl: Acl, owner: int) -> None:
        """Note a create."""
        parent = self.find(parent_path)
        assert parent is not None
        children = self.children(parent_path, parent) + 1
        creates = wrap32(self.creates(parent_path, parent) + 1)
        self._children[parent_path] = children
        self._creates[parent_path] = creates
        self._nodes[path] = Znode(None, acl, owner, 0, 0)
        self._creates[path] = 0  # it may have been deleted by this multi; its count of children is 0 then already

    def delete(self, path: str, parent_path: str) -> None:
        """Note a delete."""
        parent = self.find(parent_path)
        assert parent is not None
        self._children[parent_path] = self.children(parent_path, parent) - 1
        self._nodes[path] = None

    def set_data(self, path: str) -> None:
        """Note a change of data."""
        node = self.find(path)
        assert node is not None
        shadow = Znode(None, node.acl, node.owner, 0, 0)
        shadow.version = next_version(node.version)
        shadow.brood = node.brood  # only read: what it counts still holds where no count was noted here
        self._nodes[path] = shadow


# Reading records. Each returns where the record ends as its last item. A length that leads beyond the record shows when
# the next field is read; negative ones are refused at once, since an offset below 0 would count from the end.


def read_create(record: bytes, at: int, has_ttl: bool) -> tuple[str, bytes | None, RawAcl, int, int, int]:
    """Path, data, list, flags and ttl of a CreateRequest or CreateTTLRequest.

    Raises MalformedRecord or struct.error where it is none.
    """
    size = INT.unpack_from(record, at)[0]
    if size < 0:
        raise MalformedRecord("a null path")
    at += 4
    end = at + size
    path = record[at:end].decode("utf-8", "replace")
    size = INT.unpack_from(record, end)[0]
    end += 4
    data: bytes | None = None
    if size >= 0:
        at = end
        end += size
        data = record[at:end]
    elif size != -1:
        raise MalformedRecord("a negative length")
    acl: RawAcl = None
    if record[end : end + _OPEN_SIZE] == _OPEN_BYTES:
        end += _OPEN_SIZE
    else:
        acl, end = read_entries(record, end)
    flags = INT.unpack_from(record, end)[0]
    end += 4
    ttl = 0
    if has_ttl:
        ttl = LONG.unpack_from(record, end)[0]
        end += 8
    return path, data, acl, flags, ttl, end


def read_set_data(record: bytes, at: int) -> tuple[str, bytes | None, int, int]:
    """Path, data and expected version of a SetDataRequest.

    Raises MalformedRecord or struct.error where it is none.
    """
    size = INT.unpack_from(record, at)[0]
    if size < 0:
        raise MalformedRecord("a null path")
    at += 4
    end = at + size
    path = record[at:end].decode("utf-8", "replace")
    size = INT.unpack_from(record, end)[0]
    end += 4
    data: bytes | None = None
    if size >= 0:
        at = end
        end += size
        data = record[at:end]
    elif size != -1:
        raise MalformedRecord("a negative length")
    return path, data, INT.unpack_from(record, end)[0], end + 4


def read_path_and_version(record: bytes, at: int) -> tuple[str, int, int]:
    """Path and expected version of a DeleteRequest or CheckVersionRequest.

    Raises MalformedRecord or struct.error where it is none.
    """
    size = INT.unpack_from(record, at)[0]
    if size < 0:
        raise MalformedRecord("a null path")
    at += 4
    end = at + size
    path = record[at:end].decode("utf-8", "replace")
    return path, INT.unpack_from(record, end)[0], end + 4


def read_set_acl(record: bytes, at: int) -> tuple[str, RawAcl, int]:
    """Path, list and expected version of a SetACLRequest.

    Raises MalformedRecord or struct.error where it is none.
    """
    path, at = read_path(record, at)
    acl: RawAcl = None
    if record[at : at + _OPEN_SIZE] == _OPEN_BYTES:
        at += _OPEN_SIZE
    else:
        acl, at = read_entries(record, at)
    return path, acl, INT.unpack_from(record, at)[0]


def read_multi(record: bytes, at: int) -> list[Operation]:
    """The operations of a multi.

    Raises MalformedRecord or struct.error where one cannot be read, or is none that a multi may hold.
    """
    found: list[Operation] = []
    while True:
        opcode, is_done, _ = MULTI_HEADER.unpack_from(record, at)
        if is_done:
            return found
        at += MULTI_HEADER_SIZE
        if opcode == SET_DATA:
            path, data, version, at = read_set_data(record, at)
            operation = Operation(opcode, path)
            operation.data = data
            operation.version = version
        elif opcode in (DELETE, CHECK):
            path, version, at = read_path_and_version(record, at)
            operation = Operation(opcode, path)
            operation.version = version
        elif opcode in (CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL):
            path, data, acl, flags, ttl, at = read_create(record, at, opcode == CREATE_TTL)
            operation = Operation(opcode, path)
            operation.data = data
            operation.acl = acl
            operation.flags = flags
            operation.ttl = ttl
        else:
            raise MalformedRecord("an operation that may not stand in a multi")
        found.append(operation)


# Checks, in ZooKeeper's order.


def plan_create(
    tree: Tree,
    overlay: Overlay | None,
    opcode: int,
    path: str,
    raw: RawAcl,
    flags: int,
    ttl: int,
    session: int,
    ids: Sequence[AuthId],
) -> PlannedCreate:
    """Everything a create decides: whether it may be, under which name, with which list and owner."""
    if flags < 0 or flags > FLAGS_MAX:
        return BAD_ARGUMENTS, "", "", _NOBODY, 0
    if flags > FLAGS_PLAIN_MAX:
        return UNIMPLEMENTED, "", "", _NOBODY, 0  # TTL nodes are off
    if opcode == CREATE_TTL:
        return BAD_ARGUMENTS if ttl >= 0 else UNIMPLEMENTED, "", "", _NOBODY, 0
    if session == 0:
        return SESSION_EXPIRED, "", "", _NOBODY, 0
    cut = path.rfind("/")
    if cut < 0 or "\0" in path:
        return BAD_ARGUMENTS, "", "", _NOBODY, 0
    if raw is None:
        acl = tree.acls.open
    else:
        accepted = accept(raw, ids)
        if accepted is None:
            return INVALID_ACL, "", "", _NOBODY, 0
        acl = accepted
    parent_path = path[:cut] if cut > 0 else "/"
    parent = tree.nodes.get(parent_path) if overlay is None else overlay.find(parent_path)
    if parent is None:
        return NO_NODE, "", "", _NOBODY, 0
    if not parent.acl.everyone & CREATE_CHILD and not permits(parent.acl, CREATE_CHILD, ids):
        return NO_AUTH, "", "", _NOBODY, 0
    if flags & SEQUENTIAL:
        creates = creates_of(parent) if overlay is None else overlay.creates(parent_path, parent)
        path += f"{creates:010d}"
    # The parent exists, so its path is valid and the last name alone is left to look at. Two exceptions: "/" names the
    # root itself, and in "//x" the slice before the name happens to be the root's path.
    if (cut == 1 or not is_valid_name(path[cut + 1 :])) and path != "/":
        return BAD_ARGUMENTS, "", "", _NOBODY, 0
    if (path in tree.nodes) if overlay is None else (overlay.find(path) is not None):
        return NODE_EXISTS, "", "", _NOBODY, 0
    if parent.owner > 0:
        return NO_CHILDREN_FOR_EPHEMERALS, "", "", _NOBODY, 0
    owner = NOT_EPHEMERAL
    if opcode == CREATE_CONTAINER:
        owner = CONTAINER
    elif flags & EPHEMERAL:
        owner = session
    return OK, path, parent_path, acl, owner


def refuse_delete(
    tree: Tree, overlay: Overlay | None, path: str, version: int, session: int, ids: Sequence[AuthId]
) -> int:
    """Why a delete may not be, or OK. The permission is the parent's (zk-12)."""
    if session == 0:
        return SESSION_EXPIRED
    node = tree.nodes.get(path) if overlay is None else overlay.find(path)
    if (node is None and not is_valid_path(path)) or path in RESERVED_PATHS:
        return BAD_ARGUMENTS
    parent_path = parent_of(path)
    parent = tree.nodes.get(parent_path) if overlay is None else overlay.find(parent_path)
    if parent is None:
        return NO_NODE
    if not parent.acl.everyone & DELETE_CHILD and not permits(parent.acl, DELETE_CHILD, ids):
        return NO_AUTH
    if node is None:
        return NO_NODE
    if version != ANY_VERSION and version != node.version:
        return BAD_VERSION
    if (children_of(node) if overlay is None else overlay.children(path, node)) > 0:
        return NOT_EMPTY
    return OK


def refuse_set_data(
    tree: Tree, overlay: Overlay | None, path: str, version: int, session: int, ids: Sequence[AuthId]
) -> int:
    """Why a setData may not be, or OK."""
    if session == 0:
        return SESSION_EXPIRED
    node = tree.nodes.get(path) if overlay is None else overlay.find(path)
    if node is None:
        return NO_NODE if is_valid_path(path) else BAD_ARGUMENTS
    if not node.acl.everyone & WRITE and not permits(node.acl, WRITE, ids):
        return NO_AUTH
    if version != ANY_VERSION and version != node.version:
        return BAD_VERSION
    return OK


def refuse_check(
    tree: Tree, overlay: Overlay | None, path: str, version: int, session: int, ids: Sequence[AuthId]
) -> int:
    """Why a check of a multi fails, or OK."""
    if session == 0:
        return SESSION_EXPIRED
    node = tree.nodes.get(path) if overlay is None else overlay.find(path)
    if node is None:
        return NO_NODE if is_valid_path(path) else BAD_ARGUMENTS
    if not node.acl.everyone & READ and not permits(node.acl, READ, ids):
        return NO_AUTH
    if version != ANY_VERSION and version != node.version:
        return BAD_VERSION
    return OK


def plan_set_acl(
    tree: Tree, path: str, raw: RawAcl, version: int, session: int, ids: Sequence[AuthId]
) -> tuple[int, Acl]:
    """Why a setACL may not be, or OK, and the list to store. The version is compared with aversion."""
    if session == 0:
        return SESSION_EXPIRED, _NOBODY
    node = tree.nodes.get(path)
    if node is None and not is_valid_path(path):
        return BAD_ARGUMENTS, _NOBODY
    acl = tree.acls.open if raw is None else accept(raw, ids)
    if acl is None:
        return INVALID_ACL, _NOBODY
    if node is None:
        return NO_NODE, _NOBODY
    if not node.acl.everyone & ADMIN and not permits(node.acl, ADMIN, ids):
        return NO_AUTH, _NOBODY
    if version != ANY_VERSION and version != node.aversion:
        return BAD_VERSION, _NOBODY
    return OK, acl
