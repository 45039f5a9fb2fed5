"""Soft quotas: how much of the tree stands below a path, written where ZooKeeper's tools look for it.

A quota of ``/a`` is a node ``/zookeeper/quota/a/zookeeper_limits`` that a client creates; beside it stands
``zookeeper_stats``, whose text ``count=N,bytes=M`` the state machine keeps up to date (the znode /a itself is counted).
These updates are no transactions: version, mzxid and watches of the stats node stay as they are. They depend on nothing
but the commands applied, so every replica has the same text.

Limits are not enforced: quotas are soft here, as with ZooKeeper's default, and no operation is ever answered with
"quota exceeded". Nothing is logged either when a soft limit is passed, since this floor does not log: whoever wants to
know compares the two nodes, as ``listquota`` of zkCli does.

This module knows the texts and names alone; ``tree.py`` counts.
"""

from typing import Final

QUOTA_ROOT: Final = "/zookeeper/quota"
LIMITS_NAME: Final = "/zookeeper_limits"
STATS_NAME: Final = "/zookeeper_stats"

_BELOW: Final = QUOTA_ROOT + "/"
_DIGITS_MAX: Final = 18


def limited_by(path: str) -> str:
    """The path whose quota the limits node at ``path`` is, or "" where it is none. The root never has a quota."""
    if path.startswith(_BELOW) and path.endswith(LIMITS_NAME):
        return path[len(QUOTA_ROOT) : -len(LIMITS_NAME)]
    return ""


def counted_by(path: str) -> str:
    """The path whose size the stats node at ``path`` tells, or ""."""
    if path.startswith(_BELOW) and path.endswith(STATS_NAME):
        return path[len(QUOTA_ROOT) : -len(STATS_NAME)]
    return ""


def stats_path(path: str) -> str:
    """Where the size of ``path`` is told."""
    return QUOTA_ROOT + path + STATS_NAME


def stats_text(count: int, size: int) -> bytes:
    """The text of a stats node that was counted anew."""
    return b"count=%d,bytes=%d" % (count, size)


def adjusted(text: bytes, count_change: int, bytes_change: int) -> bytes:
    """The text of a stats node after a change below its path.

    Clients may write what they like into a stats node: what is no number counts as 0, other keys are kept behind the
    lone "=" that makes older readers stop.
    """
    count = 0
    size = 0
    others: list[bytes] = []
    for field in text.replace(b",", b";").split(b";"):
        key, _, value = field.partition(b"=")
        if key == b"count":
            count = _number(value.rstrip(b"="))
        elif key == b"bytes":
            size = _number(value.rstrip(b"="))
        elif key:
            others.append(field)
    result = stats_text(count + count_change, size + bytes_change)
    if others:
        others.sort()
        result += b"=;" + b";".join(others)
    return result


def _number(text: bytes) -> int:
    sign = 1
    if text.startswith(b"-"):
        sign = -1
        text = text[1:]
    if not text.isdigit() or len(text) > _DIGITS_MAX:
        return 0
    return sign * int(text)
