"""Sessions: who lives, which connection owns each, which ephemerals end with it.

A session belongs to the connection where it was last opened (rule-R9). Whether a client was heard is no business of this
module: nothing here expires by itself, ends are decided elsewhere and arrive as commands (rule-R24).
"""

import hashlib
from typing import Final

from multipaxos.coordination.commands import REQUEST, AuthId, Owner, encode_header

PASSWORD_SIZE: Final = 16


class Session:
    """A living session."""

    __slots__ = ("ephemerals", "id", "ids", "ids_encoded", "owner", "request_header", "timeout_ms")

    def __init__(self, session: int, timeout_ms: int, owner: Owner) -> None:
        self.id: Final = session
        self.timeout_ms: int = timeout_ms
        self.owner: Owner = owner
        self.ephemerals: Final[dict[str, None]] = {}  # paths; a dict as an ordered set, independent of the hash seed
        self.request_header: bytes = encode_header(REQUEST, session, owner)
        # The ids of its last request, encoded and read: a cache and no state, since they are the same for thousands of
        # requests. An encoded list of ids tells its own length, so no other list can begin with the same bytes.
        self.ids_encoded: bytes = b"\0"
        self.ids: tuple[AuthId, ...] = ()


class SessionTable:
    """All living sessions, by id and by the header that requests of their present owners carry."""

    __slots__ = ("live", "present")

    def __init__(self) -> None:
        self.live: Final[dict[int, Session]] = {}
        # One lookup of the first bytes of a request says whether its session lives and its connection still owns it.
        self.present: Final[dict[bytes, Session]] = {}

    def open(self, session: int, timeout_ms: int, owner: Owner) -> Session:
        """Begin a session."""
        opened = Session(session, timeout_ms, owner)
        self.live[session] = opened
        self.present[opened.request_header] = opened
        return opened

    def move(self, session: Session, timeout_ms: int, owner: Owner) -> None:
        """Give a session to another connection."""
        del self.present[session.request_header]
        session.owner = owner
        session.timeout_ms = timeout_ms
        session.request_header = encode_header(REQUEST, session.id, owner)
        self.present[session.request_header] = session

    def end(self, session: Session) -> None:
        """Forget a session."""
        del self.live[session.id]
        del self.present[session.request_header]


def password_of(session: int, secret: bytes) -> bytes:
    """The password of a session: a hash keyed with the cluster's secret, so that every replica can check it (rule-R27)."""
    return hashlib.blake2b(
        session.to_bytes(8, "big", signed=True), key=secret, digest_size=PASSWORD_SIZE, person=b"session"
    ).digest()
