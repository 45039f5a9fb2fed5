"""Who may do what to a znode: access control lists, how they are accepted, compared and shown.

An ACL is a list of (permissions, scheme, id). Schemes that may stand in one are ``world`` (id "anyone"), ``digest``
("user:hash", compared as a string), ``ip`` (address, or address/bits) and ``auth``, which is replaced at once by the
authenticated ids of the connection. A connection that holds an id of scheme ``super`` passes every check; ``super``
itself cannot stand in an ACL. ``x509`` and ``sasl`` are not configured yet, so naming them is refused like any unknown
scheme.

Nearly all znodes of a service carry one of very few lists, so equal lists are one object (``AclTable``), and what
everybody may do is kept as a mask: the check of an open znode is one ``and``. Texts are as ``commands.decode_text``
makes them. This module knows nothing of znodes; see ``tree.py`` for where the lists hang, and ``plan.py`` for which
permission an operation needs.
"""

from collections.abc import Sequence
from typing import Final

from multipaxos.coordination.codes import ALL, READ
from multipaxos.coordination.commands import AuthId, decode_text, encode_text
from multipaxos.coordination.jute import INT, MalformedRecord, read_buffer, read_int

Entry = tuple[int, str, str]
"""(permissions, scheme, id)"""

AUTHENTICATED_SCHEMES: Final = ("digest", "sasl", "x509")
"""What the entry ``auth`` stands for; an address is no authentication."""

OPEN_ENTRIES: Final[tuple[Entry, ...]] = ((ALL, "world", "anyone"),)
READ_ONLY_ENTRIES: Final[tuple[Entry, ...]] = ((READ, "world", "anyone"),)


class Acl:
    """One list, shared by all znodes that carry it. Only its count of uses ever changes."""

    __slots__ = ("encoded", "entries", "everyone", "uses")

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries: Final = entries
        self.encoded: Final = encode_entries(entries)  # vector<ACL> as replies carry it; equal lists, equal bytes
        # What needs no look at the ids. A list without entries lets everybody pass, as in ZooKeeper.
        everyone = 0 if entries else ALL
        for permissions, scheme, _ in entries:
            if scheme == "world":
                everyone |= permissions
        self.everyone: Final = everyone
        self.uses: int = 0  # znodes that carry it


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """vector<ACL> in jute."""
    parts: list[bytes] = [INT.pack(len(entries))]
    for permissions, scheme, text in entries:
        scheme_bytes = encode_text(scheme)
        id_bytes = encode_text(text)
        parts.append(INT.pack(permissions))
        parts.append(INT.pack(len(scheme_bytes)))
        parts.append(scheme_bytes)
        parts.append(INT.pack(len(id_bytes)))
        parts.append(id_bytes)
    return b"".join(parts)


class AclTable:
    """The lists in use, one object for each; lists that no znode carries any more are dropped."""

    __slots__ = ("_lists", "open")

    def __init__(self) -> None:
        self.open: Final = Acl(OPEN_ENTRIES)
        self._lists: dict[bytes, Acl] = {}

    def hold(self, acl: Acl) -> Acl:
        """The shared object equal to ``acl``, with one use more."""
        if acl.uses == 0:
            acl = self._lists.setdefault(acl.encoded, acl)
        acl.uses += 1
        return acl

    def release(self, acl: Acl) -> None:
        """One znode less carries ``acl``."""
        assert acl.uses > 0
        acl.uses -= 1
        if acl.uses == 0:
            del self._lists[acl.encoded]

    def __len__(self) -> int:
        return len(self._lists)


RawEntry = tuple[int, bytes | None, bytes | None]
"""An entry as it was sent: kazoo sends an empty string as null, and ``auth`` needs no id at all."""


def read_entries(record: bytes, at: int) -> tuple[list[RawEntry], int]:
    """The vector<ACL> at ``at`` and where it ends; null counts as empty.

    Raises MalformedRecord where lengths do not fit.
    """
    count = read_int(record, at)
    at += 4
    if count < -1:
        raise MalformedRecord("a negative count of entries")
    found: list[RawEntry] = []
    for _ in range(count):
        permissions = read_int(record, at)
        scheme, at = read_buffer(record, at + 4)
        text, at = read_buffer(record, at)
        found.append((permissions, scheme, text))
    return found, at


def accept(raw: Sequence[RawEntry], ids: Sequence[AuthId]) -> Acl | None:
    """The list to store for what a client sent, or None where it is invalid (-114).

    Duplicates go, the first of them stays. ``auth`` becomes every authenticated id of the connection.
    """
    entries: dict[Entry, None] = {}
    for permissions, scheme_bytes, id_bytes in raw:
        if scheme_bytes == b"auth":
            is_authenticated = False
            for own_scheme, own_id in ids:
                if own_scheme in AUTHENTICATED_SCHEMES:
                    is_authenticated = True
                    entries[permissions, own_scheme, own_id] = None
            if not is_authenticated:
                return None
            continue
        if scheme_bytes is None or id_bytes is None:
            return None
        scheme = decode_text(scheme_bytes)
        text = decode_text(id_bytes)
        if not is_valid_id(scheme, text):
            return None
        entries[permissions, scheme, text] = None
    if not entries:
        return None
    return Acl(tuple(entries))


def is_valid_id(scheme: str, text: str) -> bool:
    """Whether an entry of this scheme may carry this id."""
    if scheme == "world":
        return text == "anyone"
    if scheme == "digest":
        return text.count(":") == 1
    if scheme == "ip":
        return parse_network(text) is not None
    return False


def permits(acl: Acl, wanted: int, ids: Sequence[AuthId]) -> bool:
    """Whether a connection with these ids has one of the ``wanted`` permissions."""
    if acl.everyone & wanted:
        return True
    for own_scheme, _ in ids:
        if own_scheme == "super":
            return True
    for permissions, scheme, text in acl.entries:
        if permissions & wanted:
            for own_scheme, own_id in ids:
                if own_scheme == scheme and (own_id == text or (scheme == "ip" and is_inside(own_id, text))):
                    return True
    return False


def masked(entries: Sequence[Entry]) -> list[Entry]:
    """What getACL shows to someone who may not administer the znode: hashes of digests are replaced by "x"."""
    shown: list[Entry] = []
    for permissions, scheme, text in entries:
        if scheme == "digest":
            text = text.split(":", 1)[0] + ":x"
        shown.append((permissions, scheme, text))
    return shown


# Addresses are read here and not by the standard library, whose opinion of leading zeros changed between releases of
# Python: replicas may run different ones, and a list accepted by one must be accepted by all (rule-R50).


def parse_address(text: str) -> tuple[int, int] | None:
    """(bits of the family, value) of an IPv4 or IPv6 address, or None."""
    if ":" in text:
        return _parse_ipv6(text)
    value = _parse_ipv4(text)
    return None if value is None else (32, value)


def parse_network(text: str) -> tuple[int, int, int] | None:
    """(bits of the family, value, bits compared) of ``address`` or ``address/bits``, or None."""
    address_text, slash, bits_text = text.partition("/")
    address = parse_address(address_text)
    if address is None:
        return None
    family, value = address
    if not slash:
        return family, value, family
    bits = _parse_decimal(bits_text, family)
    return None if bits is None else (family, value, bits)


def is_inside(address_text: str, network_text: str) -> bool:
    """Whether an address belongs to the network of an entry."""
    address = parse_address(address_text.partition("%")[0])  # a link-local address may name its interface
    network = parse_network(network_text)
    if address is None or network is None or address[0] != network[0]:
        return False
    ignored = network[0] - network[2]
    return address[1] >> ignored == network[1] >> ignored


def _parse_decimal(text: str, most: int) -> int | None:
    if not 0 < len(text) <= 3 or not text.isascii() or not text.isdigit():
        return None
    value = int(text)
    return value if value <= most else None


def _parse_ipv4(text: str) -> int | None:
    parts = text.split(".")
    if len(parts) != 4:
        return None
    value = 0
    for part in parts:
        octet = _parse_decimal(part, 255)
        if octet is None:
            return None
        value = value << 8 | octet
    return value


def _parse_ipv6(text: str) -> tuple[int, int] | None:
    head, gap, tail = text.partition("::")
    before = _parse_groups(head, not gap)
    after = _parse_groups(tail, True)
    if before is None or after is None:
        return None
    missing = 8 - len(before) - len(after)
    # "::" stands for at least one group, and without it there must be all eight.
    is_complete = missing >= 1 if gap else missing == 0
    if not is_complete:
        return None
    value = 0
    for group in before + [0] * missing + after:
        value = value << 16 | group
    return 128, value


def _parse_groups(text: str, is_last: bool) -> list[int] | None:
    """The 16-bit groups of one side of an IPv6 address; only the last may end in dotted form."""
    if not text:
        return []
    groups: list[int] = []
    parts = text.split(":")
    for index, part in enumerate(parts):
        if "." in part:
            value = _parse_ipv4(part)
            if value is None or not is_last or index != len(parts) - 1:
                return None
            groups.append(value >> 16)
            groups.append(value & 0xFFFF)
        elif 0 < len(part) <= 4 and part.isascii() and part.isalnum():
            for digit in part:
                if digit not in "0123456789abcdefABCDEF":
                    return None
            groups.append(int(part, 16))
        else:
            return None
    return groups
