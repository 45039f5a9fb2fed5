"""Which configuration governs a slot, and how a cluster is born.

A configuration chosen in slot i governs from slot i + window (PMS 3, PTP 3.3.6; rule-R7); slots 1 to window are governed
by the birth configuration that fills slot 1 (rule-R40). Until slot 1 is learned a replica knows only the *list* it was
started with: where to look, and who has to be there before a birth may be proposed.

Configurations are replicated as canonical JSON, so that one list gives one digest on every machine.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Final

from multipaxos.core.ballot import CLASSES, ReplicaId, Slot
from multipaxos.core.quorum import Quorum, majority

WINDOW_DEFAULT: Final = 64


@dataclass(frozen=True, slots=True)
class Member:
    """A replica of a configuration."""

    id: ReplicaId
    peer_address: str  # host:port where peers reach it
    client_address: str  # host:port where clients reach it; may be empty
    mark: int  # random, of its data directory: a voter counts only with the registered one; 0 in a list not yet born
    is_voter: bool


@dataclass(frozen=True, slots=True)
class Configuration:
    """Members and settings that are replicated, never read from a file again once the cluster is born (rule-R7)."""

    version: int
    members: tuple[Member, ...]
    window: int
    cluster: str  # the cluster id, 32 hexadecimal digits; empty in a list not yet born
    voters: tuple[ReplicaId, ...] = field(init=False, compare=False)  # ids of the voters, ascending
    quorum: Quorum = field(init=False, compare=False)  # the quorum system: counted with every vote, so made once

    def __post_init__(self) -> None:
        voters = tuple(sorted(member.id for member in self.members if member.is_voter))
        object.__setattr__(self, "voters", voters)
        object.__setattr__(self, "quorum", majority(voters))

    def member(self, replica: ReplicaId) -> Member | None:
        """The member with this id, or None."""
        for member in self.members:
            if member.id == replica:
                return member
        return None

    def encode(self) -> bytes:
        """Canonical JSON: one configuration, one text."""
        value = {
            "cluster": self.cluster,
            "members": [
                {"client": m.client_address, "id": m.id, "mark": m.mark, "peer": m.peer_address, "voter": m.is_voter}
                for m in sorted(self.members, key=lambda m: m.id)
            ],
            "version": self.version,
            "window": self.window,
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> str:
        """Names this list before the cluster has an id: SHA-256 over ids, addresses and birth values, 32 hex digits."""
        unmarked = tuple(Member(m.id, m.peer_address, m.client_address, 0, m.is_voter) for m in self.members)
        text = Configuration(0, unmarked, self.window, "").encode()
        return hashlib.sha256(text).hexdigest()[:32]

    def born(self, marks: dict[ReplicaId, int]) -> "Configuration":
        """The birth configuration: this list with each voter's mark and a cluster id that follows from both."""
        members = tuple(
            Member(m.id, m.peer_address, m.client_address, marks.get(m.id, 0), m.is_voter) for m in self.members
        )
        text = Configuration(0, members, self.window, "").encode()
        return Configuration(1, members, self.window, hashlib.sha256(text).hexdigest()[:32])

    def fingerprint(self) -> tuple[object, ...]:
        """The configuration as plain values; voters and quorum follow from the members."""
        members = tuple([(m.id, m.peer_address, m.client_address, m.mark, m.is_voter) for m in self.members])
        return (self.version, self.window, self.cluster, members)


def decode_configuration(text: bytes) -> Configuration:
    """The configuration in a decree. Raises ValueError where the text is none."""
    try:
        value = json.loads(text)
        members = tuple(
            Member(int(m["id"]), str(m["peer"]), str(m["client"]), int(m["mark"]), bool(m["voter"]))
            for m in value["members"]
        )
        return Configuration(int(value["version"]), members, int(value["window"]), str(value["cluster"]))
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a configuration: {error!r}") from error


def check_list(configuration: Configuration) -> None:
    """Raises ValueError, naming what is wrong, where a list cannot become a cluster."""
    ids = [member.id for member in configuration.members]
    if not configuration.voters:
        raise ValueError("a cluster needs at least one voter")
    if len(set(ids)) != len(ids):
        raise ValueError(f"a replica id is listed twice: {sorted(ids)}")
    for replica in ids:
        if not 0 < replica < CLASSES:
            raise ValueError(f"replica id {replica} is not between 1 and {CLASSES - 1}")
    if configuration.window < 1:
        raise ValueError(f"a window of {configuration.window} slots leaves nothing to propose")


class Membership:
    """Asked per slot which configuration governs it."""

    __slots__ = ("_changes", "_listed", "is_born")

    def __init__(self, listed: Configuration) -> None:
        self._listed = listed
        self._changes: list[tuple[Slot, Configuration]] = []  # (first slot governed, configuration), ascending
        self.is_born = False

    def governing(self, slot: Slot) -> Configuration:
        """The configuration that counts in ``slot``, as far as the slots applied here tell."""
        found = self._listed
        for first, configuration in self._changes:
            if first > slot:
                break
            found = configuration
        return found

    def newest(self) -> Configuration:
        """The configuration chosen last, whether or not it governs yet."""
        return self._changes[-1][1] if self._changes else self._listed

    def governing_between(self, first: Slot, last: Slot) -> list[Configuration]:
        """Every configuration that governs a slot in first..last, oldest first (rule-R2, rule-R19)."""
        found = [self.governing(first)]
        for begins, configuration in self._changes:
            if first < begins <= last:
                found.append(configuration)
        return found

    def limit(self, applied: Slot) -> Slot:
        """The highest slot a leader that has applied ``applied`` may propose in: the smallest window ahead (rule-R7)."""
        if not self.is_born:
            return 1
        first = applied + 1
        window = self.governing(first).window
        limit = applied + window
        for begins, configuration in self._changes:
            if first < begins <= limit:
                limit = min(limit, max(begins - 1, applied + configuration.window))
        return limit

    def apply(self, slot: Slot, configuration: Configuration) -> None:
        """Take in the configuration chosen in ``slot``: the birth governs from slot 1, a change a window later."""
        if not self.is_born:
            assert slot == 1, "rule-R40: slot 1 is the birth configuration"
            self._changes.append((1, configuration))
            self.is_born = True
            return
        begins = slot + self.governing(slot).window
        self._changes.append((begins, configuration))

    def clone(self) -> "Membership":
        """An independent copy; configurations are values and shared."""
        cloned = Membership(self._listed)
        cloned._changes = self._changes.copy()
        cloned.is_born = self.is_born
        return cloned

    def fingerprint(self) -> tuple[object, ...]:
        """All that can change future behaviour, as plain values (``Replica.fingerprint``)."""
        return (
            self.is_born,
            self._listed.fingerprint(),
            tuple([(first, configuration.fingerprint()) for first, configuration in self._changes]),
        )
