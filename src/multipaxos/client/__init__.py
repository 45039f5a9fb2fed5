"""A client of the cluster, for asyncio (`Client`) and without it (`SyncClient`).

It speaks ZooKeeper's client protocol over `wire/zookeeper.py` and knows nothing of how replicas agree. Start reading at
`client.py`.
"""

from multipaxos.client.addresses import DEFAULT_CONNECT, Address, address_text, parse_addresses
from multipaxos.client.blocking import SyncClient
from multipaxos.client.client import Client, SessionState
from multipaxos.client.errors import (
    AuthFailed,
    BadArguments,
    BadVersion,
    ClientClosed,
    ClientError,
    ConnectionLost,
    InvalidAcl,
    NoAuth,
    NoChildrenForEphemerals,
    NodeExists,
    NoNode,
    NotConnected,
    NotEmpty,
    NoWatcher,
    ProtocolViolation,
    QuotaExceeded,
    Refused,
    RequestTimeout,
    SessionExpired,
    Throttled,
    TooLarge,
    TransactionFailed,
    Unimplemented,
)
from multipaxos.client.operations import Check, Create, Delete, Operation, Set
from multipaxos.client.watches import EventType, Watcher, WatchEvent
from multipaxos.wire.zookeeper import OPEN_ACL, Acl, Stat

__all__ = [
    "DEFAULT_CONNECT",
    "OPEN_ACL",
    "Acl",
    "Address",
    "AuthFailed",
    "BadArguments",
    "BadVersion",
    "Check",
    "Client",
    "ClientClosed",
    "ClientError",
    "ConnectionLost",
    "Create",
    "Delete",
    "EventType",
    "InvalidAcl",
    "NoAuth",
    "NoChildrenForEphemerals",
    "NoNode",
    "NoWatcher",
    "NodeExists",
    "NotConnected",
    "NotEmpty",
    "Operation",
    "ProtocolViolation",
    "QuotaExceeded",
    "Refused",
    "RequestTimeout",
    "SessionExpired",
    "SessionState",
    "Set",
    "Stat",
    "SyncClient",
    "Throttled",
    "TooLarge",
    "TransactionFailed",
    "Unimplemented",
    "WatchEvent",
    "Watcher",
    "address_text",
    "parse_addresses",
]
