"""What can stand in a cluster's way: one catalogue of ids, severities and sentences.

``why.py`` decides which of them hold and fills in the numbers; `GET /why` and `multipaxos why` print them; ``docs/why.md``
explains each, and a test compares the two. A translation needs this file alone: sentences and fragments are whole, and
are written so that no number asks for another form of a word.

Knows nothing of how a cause is recognised.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

CRITICAL: Final = 3
"""Nothing is written until this is mended."""
SERIOUS: Final = 2
"""A replica, or what the cluster would survive, is lost."""
WARNING: Final = 1
"""The cluster does its work; something will hurt it, or somebody who uses it."""

WORDS_MAX: Final = 300
"""Of what a replica said itself, within a sentence of ours."""

_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+Z +")

SEVERITY_TEXTS: Final = {CRITICAL: "critical", SERIOUS: "serious", WARNING: "warning"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of cause. ``sentence`` and ``advice`` are templates with named operands."""

    severity: int
    sentence: str
    advice: str


CATALOGUE: Final[dict[str, Entry]] = {
    "why.nobody.answers": Entry(
        CRITICAL,
        "None of the admin addresses asked answers ({count}): {who}.",
        "Start the cluster with `make run` or `multipaxos cluster`, or say where it is with --admin host:port,...",
    ),
    "why.cluster.unborn": Entry(
        CRITICAL,
        "The cluster is not born yet: it begins when all of its {voters} first voters are there. Missing: {who}.",
        "Start the missing ones, all with the same list of replicas; after its birth any majority will do.",
    ),
    "why.quorum.lost": Entry(
        CRITICAL,
        "No quorum: {needed} of {voters} voters are needed, {able} can vote. Missing: {who}.",
        "Bring the missing replicas back as they are; nothing acknowledged is lost. Never empty or re-create a data "
        "directory to get a quorum.",
    ),
    "why.quorum.split": Entry(
        CRITICAL,
        "No quorum: {able} of {voters} voters run, and none of them reaches {needed}, itself counted. Broken: {who}.",
        "Mend the network between the replicas: their peer ports must reach each other in both directions.",
    ),
    "why.leader.none": Entry(
        CRITICAL,
        "No leader: {able} of {voters} voters are there and none of them leads.",
        "An election takes about a second; ask again. If it stays so, look for cut links and slow disks below, and read "
        "the replicas' logs.",
    ),
    "why.disk.failed": Entry(
        SERIOUS,
        "The disk of replica {replica} failed, so it stopped: {words}",
        "Check the disk (dmesg, smartctl); then start the replica again. It syncs what it reads before it vouches for "
        "anything.",
    ),
    "why.journal.damaged": Entry(
        SERIOUS,
        "The journal of replica {replica} is damaged, so it does not vote: {words}",
        'Leave its files as they are, keep the other replicas running, and see the README under "A lost or damaged '
        'disk".',
    ),
    "why.directory.foreign": Entry(
        SERIOUS,
        "Replica {replica} has a directory or a list of another cluster{by}: {words}",
        "Give the replica the data directory and the peer addresses that belong to this cluster.",
    ),
    "why.replica.refused": Entry(
        SERIOUS,
        "Replica {replica} is refused{by}: {words}",
        'Do what the reason says; where its memory is lost, see the README under "A lost or damaged disk".',
    ),
    "why.replica.stopped": Entry(
        SERIOUS,
        "Replica {replica} stopped by itself: {words}",
        "Mend what is named and start it again: multipaxos cluster start {replica}, or its `multipaxos serve`.",
    ),
    "why.voter.missing": Entry(
        SERIOUS,
        "Voters missing: {count} of {voters}, {who}. Further failures survivable: {survivable}.",
        "Start what does not run (multipaxos cluster start N, or `multipaxos serve` on its machine); a process that was "
        "stopped by a signal goes on after kill -CONT.",
    ),
    "why.disk.hung": Entry(
        SERIOUS,
        "The disk of replica {replica} hangs: a write has waited {waiting} for it{others}.",
        "Check the disk or the storage behind it. The replica cannot vote until the write returns; if it never does, "
        "stop the replica and move its directory to a disk that works.",
    ),
    "why.disk.full": Entry(
        SERIOUS,
        "The disk of replica {replica} is full: {free} free, {journal} of it taken by the journal.",
        "Free some space there; the replica goes on by itself within seconds. Do not delete journal files.",
    ),
    "why.loop.stalled": Entry(
        SERIOUS,
        "Replica {replica} stands still: its event loop has not turned for {stalled}.",
        "Look what its process does (top, py-spy dump --pid {pid}); a process stopped by a signal goes on after kill -CONT "
        "{pid}. If it stays so, restart the replica.",
    ),
    "why.link.one_way": Entry(
        SERIOUS,
        "Messages pass only one way between replicas {deaf} and {heard}: replica {heard} hears replica {deaf}, but nothing "
        "of replica {heard} reaches replica {deaf}, {since}{words}.",
        "Check firewall and routes from replica {heard} to the peer port of replica {deaf}, at {address}.",
    ),
    "why.link.cut": Entry(
        SERIOUS,
        "Replicas {first} and {second} both run and do not reach each other{words}.",
        "Check network and firewall between their peer ports, {address} and {other_address}.",
    ),
    "why.name.unresolved": Entry(
        SERIOUS,
        "Replica {replica} cannot find replica {peer}: the name in {address} does not resolve there ({words}).",
        "Mend the name in the list of replicas or in the name service (getent hosts NAME, on the machine of replica "
        "{replica}).",
    ),
    "why.replica.behind": Entry(
        SERIOUS,
        "Replica {replica} is behind: {behind} slots are chosen and not yet executed there, so the leader does not count on "
        "it.",
        "It catches up by itself. If the number does not fall, look for a slow disk, an overloaded machine or a bad network "
        "there.",
    ),
    "why.replica.waiting": Entry(
        SERIOUS,
        "Replica {replica} runs and does not serve clients: {words}.",
        "If it does not end by itself within a minute, read the replica's log.",
    ),
    "why.disk.slow": Entry(
        WARNING,
        "The disk of replica {replica} is slow: its syncs take {p99} (p99 of the last minute), those of the others {others}.",
        "Find out who else uses that disk (iostat -x 1), or move the replica's directory to a quicker one.",
    ),
    "why.disk.slow_everywhere": Entry(
        WARNING,
        "The disks of all replicas are slow: syncs take {who} (p99 of the last minute).",
        "Every write waits for a majority of these. Find out who else uses the disks or the storage behind them.",
    ),
    "why.loop.overloaded": Entry(
        WARNING,
        "The event loop of replica {replica} is late: by {last} just now, by up to {longest} within the last 10 s.",
        "Late again and again: give it a processor of its own, fewer clients ({clients} are connected), or smaller requests "
        "and listings. Late once: its machine or its process was paused.",
    ),
    "why.clock.jumped": Entry(
        WARNING,
        "The clock of replica {replica} jumped by {jump}, {ago} ago.",
        "Check its time service (chronyc tracking). Sessions and the ledger do not depend on it; times in znodes do.",
    ),
    "why.clock.apart": Entry(
        WARNING,
        "The clock of replica {replica} differs by {offset} from the others'.",
        "Check its time service (chronyc tracking). Sessions and the ledger do not depend on it; times in znodes do.",
    ),
    "why.leader.unstable": Entry(
        WARNING,
        "The leader changed {changes} times in the last 10 minutes.",
        "Each change stops writes for about a second. Look for slow disks, overloaded replicas and a bad network.",
    ),
    "why.admin.unreachable": Entry(
        WARNING,
        "Replica {replica} takes part, but does not answer at its admin address {address}: {words}.",
        "Check that address in its settings, and the firewall; what stands in its way cannot be seen from here.",
    ),
}

FRAGMENTS: Final[dict[str, str]] = {
    "replica": "replica {replica} ({reason})",
    "address": "{address} ({reason})",
    "by": ", so replica {who} refuses it",
    "refused_by": " by replica {who}",
    "nobody": "none, so it takes a moment",
    "unheard": "nobody hears it",
    "recovering": "still reads its journal",
    "hung": "its disk hangs",
    "full": "its disk is full",
    "failed": "its disk failed",
    "stalled": "its event loop stands still",
    "paused": "its process is stopped by a signal",
    "gone": "its process does not run",
    "killed": "its process does not run, {how}",
    "others_sync": "; syncs of the others take {p99}",
    "one_replica": "replica {replica}: {p99}",
    "no_others": "nothing that compares",
    "one_way": "{heard} to {deaf}",
    "cut": "{first} and {second}",
    "says": " ({words})",
    "never": "ever",
    "since": "for {span}",
    "waits_for": "it waits for {words}",
    "healthy": "Nothing stands in the way: {serving} of {voters} replicas serve, replica {leader} leads, {survivable}.",
    "survives_one": "1 failure survivable",
    "survives": "{count} failures survivable",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that stands in the way. ``id`` is a key of ``CATALOGUE``; ``operands`` are what its sentence names."""

    id: str
    replicas: tuple[int, ...] = ()
    operands: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def severity(self) -> int:
        """CRITICAL, SERIOUS or WARNING."""
        return CATALOGUE[self.id].severity

    @property
    def sentence(self) -> str:
        """What it is, with its numbers, in English."""
        return CATALOGUE[self.id].sentence.format_map(dict(self.operands))

    @property
    def advice(self) -> str:
        """What to do about it."""
        return CATALOGUE[self.id].advice.format_map(dict(self.operands))

    def to_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "id": self.id,
            "severity": SEVERITY_TEXTS[self.severity],
            "replicas": list(self.replicas),
            "sentence": self.sentence,
            "advice": self.advice,
            "operands": dict(self.operands),
        }


def fragment(name: str, **operands: str | int) -> str:
    """A part of a sentence."""
    return FRAGMENTS[name].format_map(operands)


def shortened(words: str) -> str:
    """The reason without its time stamp, its first sentences as far as they fit."""
    text = _STAMP.sub("", " ".join(words.split()))
    if len(text) <= WORDS_MAX:
        return text
    whole = text[:WORDS_MAX].rpartition(". ")[0]
    return f"{whole}." if len(whole) > WORDS_MAX // 4 else text[: WORDS_MAX - 3].rpartition(" ")[0] + "..."


def worst_first(causes: Sequence[Cause]) -> list[Cause]:
    """By severity, then in the order of the catalogue, then by replica."""
    order = list(CATALOGUE)
    return sorted(causes, key=lambda cause: (-cause.severity, order.index(cause.id), cause.replicas))
