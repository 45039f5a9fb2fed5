"""How a cluster stands, from asking every replica by itself: who leads, who is behind, what it would still survive.

No replica is believed about the others: each says how it stands in answer to four-letter words (`words.py`), so that a
replica which is cut off, or one that still thinks it leads, shows as what it is. The answers are not of one moment.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from multipaxos.client.addresses import REFUSED, Address, address_text, failure_text
from multipaxos.client.words import ask, parse_mntr, parse_srvr

LEADING = ("leader", "standalone")
VOTING = ("leader", "follower", "standalone")
_NOT_SERVING = "not currently serving"


@dataclass(frozen=True, slots=True)
class Standing:
    """What one replica said. ``trouble`` is why it said nothing, or does not serve."""

    address: Address
    mode: str = ""
    id: int | None = None
    zxid: int = 0
    connections: int | None = None
    znodes: int | None = None
    voters: int | None = None
    trouble: str = ""

    @property
    def epoch(self) -> int:
        """The epoch of what it has applied last."""
        return self.zxid >> 32


@dataclass(slots=True)
class Summary:
    """All answers, and what they mean together."""

    replicas: list[Standing]
    leader: Standing | None = None
    voters: int | None = None  # None: the answers do not tell
    serving: int = 0
    survivable: int | None = None  # how many more replicas may fail before writes stop
    disagreements: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def is_serving(self) -> bool:
        """Whether the cluster takes writes, as far as can be told from outside: one leader, not contradicted."""
        return self.leader is not None and not self.disagreements and (self.survivable is None or self.survivable >= 0)

    @property
    def newest(self) -> int:
        """The highest zxid anybody has applied."""
        return max((replica.zxid for replica in self.replicas), default=0)

    def behind(self, replica: Standing) -> int | None:
        """How many changes a replica lacks that another has; None across epochs, where zxids do not count."""
        newest = self.newest
        return newest - replica.zxid if newest >> 32 == replica.epoch else None

    def as_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "serving": self.is_serving,
            "leader": None if self.leader is None else address_text(self.leader.address),
            "epoch": None if self.leader is None else self.leader.epoch,
            "zxid": self.newest,
            "voters": self.voters,
            "replicas_serving": self.serving,
            "failures_survivable": self.survivable,
            "disagreements": self.disagreements,
            "advice": self.advice,
            "replicas": [
                {"connect": address_text(replica.address), "trouble": replica.trouble}
                if replica.trouble
                else {
                    "connect": address_text(replica.address),
                    "id": replica.id,
                    "standing": replica.mode,
                    "epoch": replica.epoch,
                    "zxid": replica.zxid,
                    "behind": self.behind(replica),
                    "connections": replica.connections,
                    "znodes": replica.znodes,
                }
                for replica in self.replicas
            ],
        }


async def ask_all(addresses: Sequence[Address], timeout: float) -> Summary:
    """Ask every replica at the same time; none of them has to be up."""
    return summarise(list(await asyncio.gather(*(ask_one(address, timeout) for address in addresses))))


async def ask_one(address: Address, timeout: float) -> Standing:
    """How one replica stands."""
    try:
        # `srvr` is what everybody answers; the other two only add to it. One after the other: each is a connection that
        # the replica counts.
        answer = await ask(address, "srvr", timeout)
        monitored = await _ask_if_allowed(address, "mntr", timeout)
        configured = await _ask_if_allowed(address, "conf", timeout)
    except TimeoutError:
        return Standing(address, trouble=f"no answer within {timeout:g} s")
    except OSError as error:
        return Standing(address, trouble=failure_text(error))
    if _NOT_SERVING in answer:
        return Standing(address, trouble="it runs and does not serve: cut off from a majority, or starting")
    found = parse_srvr(answer)
    if "mode" not in found:
        return Standing(address, trouble="it answered something else than a replica does; is this a client port?")
    more = parse_mntr(monitored)
    settings = dict(line.partition("=")[::2] for line in configured.splitlines() if "=" in line)
    return Standing(
        address,
        mode=found["mode"],
        id=_number(settings.get("serverId")),
        zxid=_number(found.get("zxid")) or 0,
        connections=_number(found.get("connections")),
        znodes=_number(found.get("node count")),
        voters=_number(more.get("zk_quorum_size")),
    )


async def _ask_if_allowed(address: Address, word: str, timeout: float) -> str:
    try:
        return await ask(address, word, timeout)
    except (OSError, TimeoutError):
        return ""


def _number(text: str | None) -> int | None:
    """A decimal or 0x number; None where it is missing or is none."""
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError:
        return None


def summarise(replicas: list[Standing]) -> Summary:
    """What the answers mean together."""
    summary = Summary(replicas)
    serving = [replica for replica in replicas if replica.mode in VOTING]
    leaders = sorted((replica for replica in serving if replica.mode in LEADING), key=lambda each: -each.zxid)
    summary.serving = len(serving)
    summary.leader = leaders[0] if leaders else None
    said = sorted({replica.voters for replica in serving if replica.voters is not None})
    listed = len(replicas) - sum(1 for replica in replicas if replica.mode == "observer")
    if len(said) > 1:
        summary.disagreements.append(
            f"replicas count the voters differently ({', '.join(map(str, said))}): a change of members may be under way"
        )
    if said:
        summary.voters = max(said)
    elif summary.leader is not None and summary.leader.mode == "standalone":
        summary.voters = 1
    elif summary.leader is None or len(serving) > listed // 2:
        summary.voters = listed
    # Otherwise a leader serves without a majority of the addresses: not all of these belong to its cluster.
    if len(leaders) > 1:
        names = ", ".join(f"{address_text(each.address)} (epoch {each.epoch})" for each in leaders)
        summary.disagreements.append(f"{len(leaders)} replicas say that they lead: {names}")
        summary.advice.append(
            "a former leader notices within seconds that it was replaced; ask again, and if it stays so, "
            "check that all addresses belong to one cluster"
        )
    if summary.voters is not None:
        majority = summary.voters // 2 + 1
        summary.survivable = len(serving) - majority if summary.leader is not None or len(serving) < majority else None
        if all(replica.trouble == REFUSED for replica in replicas):
            summary.advice.append("start a cluster with `multipaxos cluster`, or say where one runs with --connect")
        elif len(serving) < majority:
            summary.advice.append(f"{majority} of {summary.voters} replicas are needed; start those that do not answer")
        elif summary.leader is not None and summary.survivable == 0 and summary.voters > 1:
            summary.advice.append("one more failure stops all writes; bring the missing replicas back")
    elif summary.leader is not None:
        summary.advice.append(
            "a leader serves, yet most addresses do not: if its cluster is smaller, name only its replicas with --connect"
        )
    if summary.leader is None and summary.voters is not None and len(serving) > summary.voters // 2:
        summary.disagreements.append("a majority answers and none of them leads: an election is under way")
        summary.advice.append("ask again in a few seconds")
    return summary


def summary_text(summary: Summary) -> str:
    """The same for people."""
    rows = [("replica", "id", "standing", "epoch", "zxid", "behind", "connections", "znodes")]
    for replica in summary.replicas:
        where = address_text(replica.address)
        if replica.trouble:
            rows.append((where, "", replica.trouble, "", "", "", "", ""))
            continue
        behind = summary.behind(replica)
        rows.append(
            (
                where,
                _shown(replica.id),
                replica.mode,
                str(replica.epoch),
                f"{replica.zxid:#x}",
                "an epoch" if behind is None else str(behind),
                _shown(replica.connections),
                _shown(replica.znodes),
            )
        )
    # A trouble is a sentence: it may run over the columns to its right, which are empty then.
    widths = [
        max(len(row[column]) for row in rows if row[3] or column < 2)  # row[3], the epoch, is empty beside a trouble
        for column in range(len(rows[0]))
    ]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("")
    of = "" if summary.voters is None else f" of {summary.voters}"
    if summary.leader is None:
        lines.append(f"no leader; {summary.serving}{of} replicas serve")
    else:
        lines.append(
            f"leader {address_text(summary.leader.address)}, epoch {summary.leader.epoch}; "
            f"{summary.serving}{of} replicas serve"
        )
    if summary.survivable is None:
        lines.append("failures survivable now: not known")
    elif summary.survivable < 0:
        lines.append("failures survivable now: none, writes wait for a majority")
    else:
        lines.append(f"failures survivable now: {summary.survivable}")
    lines += [f"disagreement: {text}" for text in summary.disagreements]
    lines += [f"next: {text}" for text in summary.advice]
    return "\n".join(lines)


def _shown(value: int | None) -> str:
    return "-" if value is None else str(value)
