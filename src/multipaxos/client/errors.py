"""What can go wrong with a request, one type for each outcome a caller may want to handle, each saying what to do next.

The one distinction that matters most: after `ConnectionLost` and `RequestTimeout` a write *may have happened*; after
every other error it has *not*. Knows nothing of connections; `client.py` raises these.
"""

from typing import Final

from multipaxos.wire.zookeeper import (
    ERR_AUTH_FAILED,
    ERR_BAD_ARGUMENTS,
    ERR_BAD_VERSION,
    ERR_CONNECTION_LOSS,
    ERR_EPHEMERAL_ON_LOCAL_SESSION,
    ERR_INVALID_ACL,
    ERR_MARSHALLING,
    ERR_NEW_CONFIG_NO_QUORUM,
    ERR_NO_AUTH,
    ERR_NO_CHILDREN_FOR_EPHEMERALS,
    ERR_NO_NODE,
    ERR_NO_WATCHER,
    ERR_NODE_EXISTS,
    ERR_NOT_EMPTY,
    ERR_NOT_READ_ONLY,
    ERR_OK,
    ERR_OPERATION_TIMEOUT,
    ERR_QUOTA_EXCEEDED,
    ERR_RECONFIG_DISABLED,
    ERR_RECONFIG_IN_PROGRESS,
    ERR_RUNTIME_INCONSISTENCY,
    ERR_SESSION_CLOSED_REQUIRE_SASL_AUTH,
    ERR_SESSION_EXPIRED,
    ERR_SESSION_MOVED,
    ERR_THROTTLED,
    ERR_UNIMPLEMENTED,
    ERR_UNKNOWN_SESSION,
    ERROR_NAMES,
)


class ClientError(Exception):
    """Base of all errors of the client.

    ``code`` is ZooKeeper's number (0 when the error has none), ``path`` the node concerned, ``what`` the fact, and
    ``advice`` what to do next; the text of the exception is the last two together.
    """

    default_code = 0
    default_what = "the request failed"
    default_advice = ""

    def __init__(self, path: str = "", what: str = "", advice: str = "", code: int | None = None) -> None:
        self.code = self.default_code if code is None else code
        self.path = path
        self.what = what or self.default_what
        self.advice = advice or self.default_advice
        where = f"{path}: " if path else ""
        super().__init__(f"{where}{self.what}" + (f"; {self.advice}" if self.advice else ""))


# Outcomes of a connection or a session


class NotConnected(ClientError):
    """No server could be reached, and the request was never sent: it has not happened."""

    default_code = ERR_CONNECTION_LOSS
    default_what = "no server answered"
    default_advice = "the request was not sent; see who is up with `multipaxos status`, then try again"


class ConnectionLost(ClientError):
    """The connection broke between the request and its reply: a write may or may not have happened."""

    default_code = ERR_CONNECTION_LOSS
    default_what = "the connection broke before the reply came"
    default_advice = "the write may or may not have happened: read the node before trying again"


class RequestTimeout(ClientError):
    """The request was sent and no reply came in time: a write may or may not have happened."""

    default_code = ERR_OPERATION_TIMEOUT
    default_what = "no reply in time"
    default_advice = (
        "a write may or may not have happened: read the node before trying again; see whether a majority is up "
        "with `multipaxos status`"
    )


class SessionExpired(ClientError):
    """The cluster ended the session; its ephemeral nodes are gone, and so are its watches and locks."""

    default_code = ERR_SESSION_EXPIRED
    default_what = "the cluster ended this session"
    default_advice = "stop what relied on its ephemeral nodes, then open a new Client"


class ClientClosed(ClientError):
    """The client was closed, or never opened."""

    default_what = "the client is closed"
    default_advice = "open it with `async with Client(...)`, or make a new one"


class ProtocolViolation(ClientError):
    """What came does not follow the protocol: not a ZooKeeper-protocol server, or a defect."""

    default_what = "the server sent what the protocol does not allow"
    default_advice = "check that --connect names client ports (2181 and on), not peer or admin ports"


# Refusals by the server: none of these changed anything


class Refused(ClientError):
    """The server refused the request; nothing was changed. The more common codes have types of their own."""


class NoNode(Refused):
    """The node, or the parent of the one to create, is not there."""

    default_code = ERR_NO_NODE
    default_what = "there is no such node"
    default_advice = "create it, or when creating, create its parents first (parents=True, -p at the shell)"


class NodeExists(Refused):
    """A node of this name is already there."""

    default_code = ERR_NODE_EXISTS
    default_what = "the node exists already"
    default_advice = "set it instead, or choose another name"


class NotEmpty(Refused):
    """The node to delete has children."""

    default_code = ERR_NOT_EMPTY
    default_what = "the node has children"
    default_advice = "delete them first (delete_tree, `rm -r` at the shell)"


class BadVersion(Refused):
    """The node is at another version than the one the request was conditional on."""

    default_code = ERR_BAD_VERSION
    default_what = "the node has changed: it is at another version"
    default_advice = "read it again and decide anew"


class NoAuth(Refused):
    """The access list of the node, or of its parent, does not permit this."""

    default_code = ERR_NO_AUTH
    default_what = "the access list does not permit this"
    default_advice = "authenticate with add_auth as somebody it names; get_acl shows whom it names"


class InvalidAcl(Refused):
    """The access list is empty, malformed, or of an unknown scheme."""

    default_code = ERR_INVALID_ACL
    default_what = "the access list is not valid"
    default_advice = "use schemes world, auth, digest or ip; `auth` needs an earlier add_auth"


class AuthFailed(Refused):
    """The server did not accept the credentials; it ends the connection after that."""

    default_code = ERR_AUTH_FAILED
    default_what = "the credentials were not accepted"
    default_advice = "open a new Client with other credentials; digest takes `user:password`"


class BadArguments(Refused):
    """A path, flag or time that is not allowed."""

    default_code = ERR_BAD_ARGUMENTS
    default_what = "an argument is not allowed"
    default_advice = (
        "a path starts with / and does not end with it, without empty, . or .. parts; reserved nodes stay as they are"
    )


class TooLarge(BadArguments):
    """The request is above the size a server accepts; it was not sent, since the server would just hang up."""

    default_what = "the request is too large"
    default_advice = "keep values small (1 MiB is the limit of a request), and large things elsewhere"


class NoChildrenForEphemerals(Refused):
    """Ephemeral nodes cannot have children."""

    default_code = ERR_NO_CHILDREN_FOR_EPHEMERALS
    default_what = "the parent is ephemeral and cannot have children"
    default_advice = "create it under a persistent node"


class Throttled(Refused):
    """The server had no room for the request; it was not executed."""

    default_code = ERR_THROTTLED
    default_what = "the cluster takes no writes at the moment, and did not execute this one"
    default_advice = "look for full disks with `multipaxos status`, then try again"


class QuotaExceeded(Refused):
    """A hard quota is reached."""

    default_code = ERR_QUOTA_EXCEEDED
    default_what = "the quota of this part of the tree is used up"
    default_advice = "delete what is not needed, or raise the quota"


class NoWatcher(Refused):
    """There is no such watch to remove."""

    default_code = ERR_NO_WATCHER
    default_what = "there is no such watch"
    default_advice = "it has fired or was removed before"


class Unimplemented(Refused):
    """The server does not know this operation; it closes the connection after that."""

    default_code = ERR_UNIMPLEMENTED
    default_what = "the server does not know this operation"
    default_advice = "see docs/divergence.md for what is supported, or use a newer server"


class TransactionFailed(Refused):
    """A multi was refused as a whole. ``index`` is the operation to blame, ``cause`` its error; nothing was changed."""

    def __init__(self, index: int, cause: ClientError) -> None:
        super().__init__(
            cause.path, f"operation {index + 1} of the multi failed, and none took effect: {cause.what}", cause.advice
        )
        self.code = cause.code
        self.index = index
        self.cause = cause


_TYPES: Final[dict[int, type[ClientError]]] = {
    ERR_NO_NODE: NoNode,
    ERR_NODE_EXISTS: NodeExists,
    ERR_NOT_EMPTY: NotEmpty,
    ERR_BAD_VERSION: BadVersion,
    ERR_NO_AUTH: NoAuth,
    ERR_INVALID_ACL: InvalidAcl,
    ERR_AUTH_FAILED: AuthFailed,
    ERR_BAD_ARGUMENTS: BadArguments,
    ERR_NO_CHILDREN_FOR_EPHEMERALS: NoChildrenForEphemerals,
    ERR_THROTTLED: Throttled,
    ERR_QUOTA_EXCEEDED: QuotaExceeded,
    ERR_NO_WATCHER: NoWatcher,
    ERR_UNIMPLEMENTED: Unimplemented,
    ERR_SESSION_EXPIRED: SessionExpired,
    ERR_UNKNOWN_SESSION: SessionExpired,
    ERR_SESSION_MOVED: ConnectionLost,
    ERR_CONNECTION_LOSS: ConnectionLost,
    ERR_OPERATION_TIMEOUT: RequestTimeout,
}

_ADVICE: Final[dict[int, str]] = {
    ERR_OK: "it was rolled back because another operation of the same multi failed",
    ERR_RUNTIME_INCONSISTENCY: "it was not tried because an earlier operation of the same multi failed",
    ERR_MARSHALLING: "the server could not read the request; a multi must not mix reads and writes",
    ERR_NEW_CONFIG_NO_QUORUM: "wait until the new members have caught up, then try again",
    ERR_RECONFIG_IN_PROGRESS: "wait for the change of members under way to end, then try again",
    ERR_RECONFIG_DISABLED: "enable reconfiguration on the servers first",
    ERR_NOT_READ_ONLY: "this server is cut off and serves reads only; connect to others as well",
    ERR_EPHEMERAL_ON_LOCAL_SESSION: "this session is local to its server; use a global one for ephemeral nodes",
    ERR_SESSION_CLOSED_REQUIRE_SASL_AUTH: "this server demands SASL, which this client does not speak",
}


def error_of(code: int, path: str = "") -> ClientError:
    """The exception for a code a server sent."""
    kind = _TYPES.get(code)
    if kind is not None:
        return kind(path)
    name = ERROR_NAMES.get(code, "an unknown error")
    return Refused(path, f"the server answered {name} ({code})", _ADVICE.get(code, ""), code)
