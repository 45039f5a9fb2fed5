"""The znodes: paths, data, versions and what ZooKeeper's Stat says of them.

All znodes stand in one dict by full path, so that no operation walks a path and nothing here recurses (rule-R17). A
znode does not point to its parent: no reference cycles, so the garbage collector may stay off.

What the parent keeps of its children hangs in a ``Brood``, made with the first child; most znodes of a service have
none. There are two counters for one old name. ZooKeeper's *cversion* inside the server counts creates only and feeds
the suffix of sequential children; the *reported* cversion is ``2 * creates - children``, creates plus deletes (zk-1).

Everything in ``Tree`` that changes it is told what to do by someone who has checked that it may be done: these steps
cannot fail. The checks stand in ``plan.py``. Memory: about 0.5 kB for a znode with 100 bytes of data.
"""

import re
from struct import Struct
from typing import Final

from multipaxos.coordination.acl import OPEN_ENTRIES, READ_ONLY_ENTRIES, Acl, AclTable
from multipaxos.coordination.quota import adjusted, counted_by, limited_by, stats_path, stats_text

STAT: Final = Struct(">qqqqiiiqiiq")
"""czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeralOwner, dataLength, numChildren, pzxid"""

NOT_EPHEMERAL: Final = 0
CONTAINER: Final = -(1 << 63)
"""Owner of a container: 0x8000000000000000 as a signed number. No session has this id, and clients are told 0."""

CONFIG_PATH: Final = "/zookeeper/config"
RESERVED_PATHS: Final = ("/", "/zookeeper", "/zookeeper/quota", CONFIG_PATH)

# Control characters, surrogates and private use, specials. Java works in UTF-16 units, where a character above the
# basic plane is two surrogates: it is refused as well.
_ILLEGAL: Final = re.compile(r"[\u0000-\u001f\u007f-\u009f\ud800-\uf8ff\ufff0-\uffff\U00010000-\U0010ffff]")


def is_valid_name(name: str) -> bool:
    """Whether one component of a path is legal."""
    if name in ("", ".", ".."):
        return False
    if name.isascii() and name.isprintable():
        return "/" not in name
    return "/" not in name and _ILLEGAL.search(name) is None


def is_valid_path(path: str) -> bool:
    """Whether a path is legal: it begins with a slash and each component is a legal name."""
    if path == "/":
        return True
    if not path.startswith("/"):
        return False
    names = path.split("/")
    return all(is_valid_name(name) for name in names[1:])


def parent_of(path: str) -> str:
    """The path above. ``path`` is valid and not the root."""
    cut = path.rfind("/")
    return path[:cut] if cut > 0 else "/"


def wrap32(number: int) -> int:
    """A signed 32-bit integer, as Java's arithmetic would have it: explicit, since Python's does not end (rule-R17)."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def next_version(version: int) -> int:
    """The version after a change. -1 would mean "any" in a request, so the wrap leaves it out."""
    version += 1
    if version == 0x80000000:
        return -0x80000000
    return 0 if version == -1 else version


class Brood:
    """What a znode knows of its children."""

    __slots__ = ("children", "creates", "pzxid")

    def __init__(self) -> None:
        # Full paths, the very strings that are the keys of Tree.nodes: a name of its own for each would cost 60 bytes.
        # A dict and not a set: its order does not depend on the hash seed, and mostly is nearly sorted already.
        self.children: dict[str, None] = {}
        self.creates: int = 0  # creates ever made under this znode, signed 32-bit; suffix of the next sequential child
        self.pzxid: int = 0  # zxid of the last create or delete of a child


class Znode:
    """One znode. Its path is its key in the tree."""

    __slots__ = ("acl", "aversion", "brood", "ctime", "czxid", "data", "mtime", "mzxid", "owner", "version")

    def __init__(self, data: bytes | None, acl: Acl, owner: int, zxid: int, time_ms: int) -> None:
        self.data: bytes | None = data  # null and empty are two different things to a client (zk-10)
        self.acl: Acl = acl
        self.owner: int = owner  # the session of an ephemeral, CONTAINER, or NOT_EPHEMERAL
        self.czxid: int = zxid
        self.mzxid: int = zxid
        self.ctime: int = time_ms
        self.mtime: int = time_ms
        self.version: int = 0
        self.aversion: int = 0
        self.brood: Brood | None = None

    @property
    def is_ephemeral(self) -> bool:
        """Whether it ends with a session."""
        return self.owner > 0


def stat_of(node: Znode) -> bytes:
    """The Stat of a znode, 68 bytes."""
    data = node.data
    owner = node.owner
    brood = node.brood
    if brood is None:
        cversion = 0
        children = 0
        pzxid = node.czxid
    else:
        children = len(brood.children)
        cversion = wrap32(2 * brood.creates - children)
        pzxid = brood.pzxid
    return STAT.pack(
        node.czxid,
        node.mzxid,
        node.ctime,
        node.mtime,
        node.version,
        cversion,
        node.aversion,
        owner if owner > 0 else 0,
        0 if data is None else len(data),
        children,
        pzxid,
    )


def pzxid_of(node: Znode) -> int:
    """zxid of the last change among the children, or of the creation."""
    return node.czxid if node.brood is None else node.brood.pzxid


def children_of(node: Znode) -> int:
    """How many children a znode has."""
    return 0 if node.brood is None else len(node.brood.children)


def creates_of(node: Znode) -> int:
    """How many creates were ever made under a znode."""
    return 0 if node.brood is None else node.brood.creates


class Tree:
    """All znodes, the lists they share, and the quotas that stand among them."""

    __slots__ = ("_quotas", "acls", "data_bytes", "nodes")

    def __init__(self) -> None:
        self.nodes: Final[dict[str, Znode]] = {}
        self.acls: Final = AclTable()
        self.data_bytes: int = 0  # sum of the lengths of paths and data
        self._quotas: Final[dict[str, None]] = {}  # paths that have a limits node
        for path in RESERVED_PATHS:
            entries = READ_ONLY_ENTRIES if path == CONFIG_PATH else OPEN_ENTRIES
            node = Znode(b"", self.acls.hold(Acl(entries)), NOT_EPHEMERAL, 0, 0)
            self.nodes[path] = node
            self.data_bytes += len(path)
            if path != "/":
                # Built in, so not counted as creates: "/" begins with a cversion of -1, as a Java server's does.
                parent = self.nodes[parent_of(path)]
                if parent.brood is None:
                    parent.brood = Brood()
                parent.brood.children[path] = None
        self.nodes[CONFIG_PATH].aversion = -1

    def create(
        self, path: str, parent: Znode, data: bytes | None, acl: Acl, owner: int, zxid: int, time_ms: int
    ) -> Znode:
        """Add a znode under ``parent``."""
        brood = parent.brood
        if brood is None:
            brood = parent.brood = Brood()
        node = Znode(data, self.acls.hold(acl), owner, zxid, time_ms)
        self.nodes[path] = node
        brood.children[path] = None
        brood.pzxid = zxid
        creates = brood.creates + 1
        brood.creates = creates if creates < 0x80000000 else -0x80000000
        size = 0 if data is None else len(data)
        self.data_bytes += size + len(path)
        if path.startswith("/zookeeper/"):
            self._quota_created(path)
        if self._quotas:
            self._count(path, 1, size)
        return node

    def delete(self, path: str, parent: Znode, zxid: int) -> Znode:
        """Take a znode without children away, and return it as it was."""
        node = self.nodes.pop(path)
        brood = parent.brood
        assert brood is not None
        del brood.children[path]
        brood.pzxid = zxid
        self.acls.release(node.acl)
        size = 0 if node.data is None else len(node.data)
        self.data_bytes -= size + len(path)
        if self._quotas:
            self._quotas.pop(limited_by(path), None)
            self._count(path, -1, -size)
        return node

    def set_data(self, path: str, node: Znode, data: bytes | None, zxid: int, time_ms: int) -> None:
        """Replace the data of a znode."""
        old = node.data
        change = (0 if data is None else len(data)) - (0 if old is None else len(old))
        node.data = data
        node.version = next_version(node.version)
        node.mzxid = zxid
        node.mtime = time_ms
        if change:
            self.data_bytes += change
            if self._quotas:
                self._count(path, 0, change)

    def set_acl(self, node: Znode, acl: Acl) -> None:
        """Replace the access control list of a znode."""
        old = node.acl
        node.acl = self.acls.hold(acl)
        node.aversion = next_version(node.aversion)
        self.acls.release(old)

    def set_config(self, text: bytes, zxid: int, time_ms: int) -> Znode:
        """Replace the data of /zookeeper/config; its version becomes -1, as with ZooKeeper's reconfig."""
        node = self.nodes[CONFIG_PATH]
        self.data_bytes += len(text) - (0 if node.data is None else len(node.data))
        node.data = text
        node.version = -1
        node.mzxid = zxid
        node.mtime = time_ms
        return node

    def names(self, path: str, node: Znode) -> list[str]:
        """The names of a znode's children, sorted: the same on every replica, however it came by its state."""
        brood = node.brood
        if brood is None:
            return []
        skipped = 1 if path == "/" else len(path) + 1
        return [child[skipped:] for child in sorted(brood.children)]

    def count_below(self, top: str) -> int:
        """Znodes below a path at any depth."""
        if top == "/":
            return len(self.nodes) - 1
        return self._measure(top)[0] - 1

    def check(self) -> None:
        """Assert what must hold between the parts. It looks at every znode."""
        uses: dict[bytes, int] = {}
        size = 0
        for path, node in self.nodes.items():
            assert is_valid_path(path)
            assert path == "/" or path in self._children_of_parent(path)
            assert node.mzxid >= node.czxid
            uses[node.acl.encoded] = uses.get(node.acl.encoded, 0) + 1
            size += len(path) + (0 if node.data is None else len(node.data))
            if node.brood is not None:
                for child in node.brood.children:
                    assert child in self.nodes
                    assert parent_of(child) == path
            assert uses[node.acl.encoded] <= node.acl.uses
        assert size == self.data_bytes
        assert len(uses) == len(self.acls)

    def _children_of_parent(self, path: str) -> dict[str, None]:
        brood = self.nodes[parent_of(path)].brood
        assert brood is not None
        return brood.children

    # Quotas (quota.py). All of this costs nothing until somebody creates a limits node.

    def _quota_created(self, path: str) -> None:
        limited = limited_by(path)
        if limited:
            self._quotas[limited] = None
        counted = counted_by(path)
        if counted:
            count, size = self._measure(counted)
            self._put_stats(self.nodes[path], stats_text(count, size))

    def _measure(self, top: str) -> tuple[int, int]:
        """Znodes and bytes of data at and below a path."""
        count = 0
        size = 0
        waiting = [top]
        while waiting:
            node = self.nodes.get(waiting.pop())
            if node is None:
                continue
            count += 1
            size += 0 if node.data is None else len(node.data)
            if node.brood is not None:
                waiting.extend(node.brood.children)
        return count, size

    def _count(self, path: str, count_change: int, bytes_change: int) -> None:
        """Tell the nearest quota at or above ``path`` of a change."""
        limited = path
        while limited not in self._quotas:
            limited = limited[: limited.rfind("/")]
            if not limited:
                return
        node = self.nodes.get(stats_path(limited))
        if node is not None:
            self._put_stats(node, adjusted(node.data or b"", count_change, bytes_change))

    def _put_stats(self, node: Znode, text: bytes) -> None:
        self.data_bytes += len(text) - (0 if node.data is None else len(node.data))
        node.data = text
