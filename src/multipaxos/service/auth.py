"""Who a connection is: ids from its address and from auth packets (schemes ip and digest).

An auth packet may come at any time and any number of times; ids add up and are forgotten with the connection. Nothing is
verified: a digest id is whatever user and password hash to, and what it may do stands in the lists of the znodes.
"""

import hashlib
from base64 import b64encode
from typing import Final

from multipaxos.coordination.commands import AuthId, decode_text, encode_ids
from multipaxos.wire.jute import MalformedRecord
from multipaxos.wire.zookeeper import ERR_AUTH_FAILED, ERR_MARSHALLING, ERR_OK, OP_AUTH, AuthPacket, decode_request

SUPER: Final[AuthId] = ("super", "")
"""Passes every check."""


def host_of(address: str) -> str:
    """The host of ``host:port`` or ``[v6]:port``; an address without a port is one already."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, _ = address.rpartition(":")
    if not colon or ":" in host:
        return address
    return host


def ids_of_address(address: str) -> tuple[AuthId, ...]:
    """The id every connection has from the start. IPv4 inside IPv6 is IPv4, or no list would match it."""
    host = host_of(address)
    if host.lower().startswith("::ffff:") and "." in host:
        host = host[7:]
    return (("ip", host),)


def digest_of(credentials: bytes) -> str:
    """The digest id of ``user:password``: ``user:base64(sha1(user:password))``."""
    user = decode_text(credentials.split(b":", 1)[0])
    return user + ":" + b64encode(hashlib.sha1(credentials, usedforsecurity=False).digest()).decode()


def authenticate(
    record: bytes, ids: tuple[AuthId, ...], address: str, super_digest: str
) -> tuple[int, tuple[AuthId, ...]]:
    """Take an auth packet in: (error, ids from now on). After an error other than -5 the connection is closed."""
    try:
        packet = decode_request(OP_AUTH, record)
    except MalformedRecord:
        return ERR_MARSHALLING, ids
    assert isinstance(packet, AuthPacket)
    added: list[AuthId] = []
    if packet.scheme == "digest" and packet.auth is not None:
        digest = digest_of(packet.auth)
        if super_digest and digest == super_digest:
            added.append(SUPER)
        added.append(("digest", digest))
    elif packet.scheme == "ip":
        added.extend(ids_of_address(address))
    else:
        return ERR_AUTH_FAILED, ids
    more = ids + tuple([each for each in added if each not in ids])
    try:
        encode_ids(more)
    except ValueError:
        return ERR_AUTH_FAILED, ids  # more or longer ids than a command can carry
    return ERR_OK, more
