"""What a replica chooses for its client side: timeouts, bounds, words. Nothing that apply looks at stands here (rule-R7).

Read by every module of this folder; the host fills it from its configuration.
"""

from dataclasses import dataclass, field
from typing import Final

from multipaxos.wire.zookeeper import FRAME_BYTES_MAX

MILLISECOND_NS: Final = 1_000_000

WORDS_DEFAULT: Final = frozenset(("ruok", "srvr", "stat", "mntr", "isro"))
"""Four-letter words that cost little to answer. The others list connections or nodes and have to be asked for."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Durations of timers in nanoseconds of the boot-time clock; those of the client protocol in milliseconds."""

    secret: bytes = field(repr=False)
    """32 random bytes: proposed as the key of session passwords if this replica leads and there is none yet (rule-R27)."""

    timeout_min_ms: int = 4000
    timeout_max_ms: int = 40_000
    tick_ms: int = 2000  # only shown to tools that ask for it
    heartbeat_ns: int = 100 * MILLISECOND_NS  # both as in the core's settings
    election_ns: int = 1200 * MILLISECOND_NS  # one election timeout: the upper bound of the draw
    scan_ns: int = 200 * MILLISECOND_NS  # how often the leader looks for sessions whose deadline has passed
    behind_wait_ns: int = (
        1000 * MILLISECOND_NS
    )  # a client that has seen more than this replica waits so long (rule-R20)
    handshake_ns: int = 10_000 * MILLISECOND_NS  # a connection that has not said who it is by then is closed

    request_bytes_max: int = FRAME_BYTES_MAX
    unanswered_bytes_max: int = 2 << 20  # of one connection: above it nothing more is read from it
    unanswered_bytes_max_all: int = 64 << 20  # of all connections together
    unread_bytes_soft: int = 1 << 20  # replies made in one turn, or while the client does not read: then parsing stops
    unread_bytes_max: int = 16 << 20  # replies and events a client has not read: above it the connection is closed
    unread_bytes_max_all: int = 64 << 20  # of all clients that do not read: above it the worst of them is closed
    connections_per_address_max: int = 0  # 0 for no limit

    words: frozenset[str] = WORDS_DEFAULT  # four-letter words that are answered; "*" for all
    super_digest: str = ""  # "super:" and the digest: whoever knows its password passes every check
    version: str = "0.1.0"
    built: str = "01/01/2026 00:00 GMT"  # in the only form that the parsers of srvr know
    client_address: str = "0.0.0.0:2181"  # only shown by conf
    data: str = ""  # only shown by conf

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise ValueError(f"the session secret has {len(self.secret)} bytes; 32 are needed")
        # rule-R26: a session must outlive an ordinary fail-over, and its gateway must notice being cut off before it ends.
        least_ns = 2 * self.election_ns + 2 * self.heartbeat_ns
        if self.timeout_min_ms * MILLISECOND_NS <= least_ns:
            raise ValueError(
                f"the smallest session timeout, {self.timeout_min_ms} ms, must be above two election timeouts and two "
                f"heartbeats, {least_ns // MILLISECOND_NS} ms"
            )
        if self.timeout_max_ms < self.timeout_min_ms:
            raise ValueError(
                f"the largest session timeout, {self.timeout_max_ms} ms, is below the smallest, {self.timeout_min_ms} ms"
            )

    def negotiated_ms(self, asked_ms: int) -> int:
        """The timeout a client gets that asks for ``asked_ms``."""
        return min(max(asked_ms, self.timeout_min_ms), self.timeout_max_ms)

    def bound_ns(self, timeout_ms: int) -> int:
        """How old contact with the leader may be before a connection with this timeout is closed (rule-R26)."""
        return max(timeout_ms * MILLISECOND_NS // 3, 2 * self.election_ns)
