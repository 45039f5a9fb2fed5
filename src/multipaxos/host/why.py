"""What stands in a cluster's way: from observations of its replicas to causes, worst first.

Pure: observations are the dicts of GET /status (``observation.py``), one a replica, or why there is none; out come causes
of the catalogue (``causes.py``). GET /why gives it one replica's own observation, `multipaxos why` those of all. What the
observations say together (who can vote, who reaches whom) is ``outlook.py``.

A rule speaks only where a figure says so that a healthy cluster under load does not show; each threshold has its reason
beside it. What a figure is missing for, it is silent about.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from statistics import median
from typing import Final

from multipaxos.host.causes import Cause, fragment, shortened, worst_first
from multipaxos.host.observed import Seen, Unreachable
from multipaxos.host.outlook import Outlook, absence_text, hung_ms

Observations = Mapping[int, Mapping[str, object] | Unreachable]

SLOW_P99_MS: Final = 100.0
"""A sync takes 1 to 20 ms on disks in use, with others at work on the machine; twenty times the usual is not usual."""
SLOW_P50_MS: Final = 50.0
"""One slow sync in a quiet minute is its p99 as well; a disk is slow when the ordinary sync is."""
SLOW_FACTOR: Final = 4.0
"""As in rule-R31: a disk is worth leaving when another is four times as quick. Slow all alike is a cause of its own."""
SLOW_SOME_MS: Final = 150.0
"""One sync of a hundred takes so long, be the others quick: felt by whoever waits for it. As long as the p99 is the longest
as well, there were not a hundred."""
SLOW_WRITE_MS: Final = 250.0
SLOW_LONGEST_MS: Final = 400.0
"""A write waits for so long right now, and another took so long in this minute. The p99 says so too, but only when a
hundredth of the minute's syncs were slow; a hiccup in a minute of a busy disk is neither."""

LATE_MS: Final = 200.0
"""Late just now, two heartbeats: and it was so before, see the next."""
LATE_BEFORE_MS: Final = 300.0
"""Half the shortest election timeout: the others begin to doubt. Batches and collections cost tens of milliseconds."""
LATE_ONCE_MS: Final = 600.0
"""Late once by the shortest election timeout: that is enough to lose the leadership."""

JUMP_MS: Final = 1000.0
"""Time services step by up to a second in normal work; sessions run by another clock."""
JUMP_S: Final = 300.0
"""So long it is told: whoever sees odd times in znodes looks within minutes."""
APART_MS: Final = 10_000.0
"""rule-R15."""

CHANGES_MAX: Final = 3
"""Leader changes in 10 minutes that restarts of three replicas explain."""

NAME_S: Final = 15.0
"""A name is tried again at least every second, or as long as a name service takes to give up."""
REFUSED_S: Final = 60.0
"""A refused replica stops, or comes again at least every second; what was refused longer ago was mended."""

_UNRESOLVED = re.compile(r"does not resolve|name resolution|name or service not known|no address associated", re.I)
_FOREIGN = re.compile(r"belongs? to cluster|of cluster \S+, the directory|was started with list")
_REFUSED = re.compile(
    r"belongs to cluster|was started with list|was emptied or replaced|comes as incarnation|is no member that"
    r"|both sides are started as|keeps ledger|of the peer protocol"
)
_DAMAGED = re.compile(r"the journal in .* is damaged|file \S+ in .* is missing or cannot be read as it was written")
_FAILED = re.compile(r"the journal in .* failed while|the journal thread failed")


def _cause(name: str, replicas: Iterable[int], **operands: str | int) -> Cause:
    return Cause(name, tuple(replicas), operands)


def findings(observations: Observations, now_ms: float) -> list[Cause]:
    """What stands in the way, worst first; empty when nothing does. ``now_ms`` is the asker's wall clock."""
    outlook = Outlook(observations)
    endings = _endings(outlook)
    if not outlook.seen:
        return worst_first([*_nobody(outlook), *endings])
    stopping = _quorum(outlook)
    links = _links(outlook)
    causes = [
        *stopping,
        *endings,
        *_refusals(outlook),
        *_disks(outlook),
        *_loops(outlook),
        *_clocks(outlook, now_ms),
        *links,
        *_names(outlook),
        *_leadership(outlook),
        *_lagging(outlook),
        *_admins(outlook),
    ]
    if not any(cause.id != "why.voter.missing" for cause in stopping):
        named = {replica for cause in causes for replica in cause.replicas}
        causes += _waiting(outlook, named)
    return worst_first(causes)


def healthy_sentence(observations: Observations) -> str:
    """What to say when ``findings`` found nothing."""
    outlook = Outlook(observations)
    count = outlook.survivable
    survivable = fragment("survives_one") if count == 1 else fragment("survives", count=count)
    of = len(outlook.voters)
    return fragment("healthy", serving=outlook.serving, voters=of, leader=outlook.leader, survivable=survivable)


# --- quorum and leader ------------------------------------------------------------------------------------------------


def _nobody(outlook: Outlook) -> list[Cause]:
    who = []
    for replica, lost in outlook.lost.items():
        reason = absence_text(lost)
        if replica > 0:
            who.append(fragment("replica", replica=replica, reason=reason))
        else:
            who.append(fragment("address", address=lost.address, reason=reason))
    replicas = [replica for replica in outlook.lost if replica > 0]
    return [_cause("why.nobody.answers", replicas, count=len(outlook.lost), who=", ".join(who))]


def _quorum(outlook: Outlook) -> list[Cause]:
    missing = outlook.missing
    who = ", ".join(fragment("replica", replica=one, reason=reason) for one, reason in missing.items())
    voters, able = len(outlook.voters), len(outlook.able)
    if not outlook.voters:
        return []
    if outlook.newest is not None and outlook.newest.configuration == 0:
        return [_cause("why.cluster.unborn", missing, voters=voters, who=who or fragment("nobody"))]
    if able < outlook.needed:
        return [_cause("why.quorum.lost", missing, needed=outlook.needed, voters=voters, able=able, who=who)]
    if not outlook.has_quorum:
        broken = ", ".join([*_broken_links(outlook), *([who] if who else [])])
        awake = sorted(outlook.awake)
        return [_cause("why.quorum.split", awake, needed=outlook.needed, voters=voters, able=able, who=broken)]
    found = []
    if outlook.leader == 0:
        found.append(_cause("why.leader.none", outlook.able, voters=voters, able=able))
    if missing:
        survivable = outlook.survivable
        found.append(
            _cause("why.voter.missing", missing, count=len(missing), voters=voters, who=who, survivable=survivable)
        )
    return found


def _broken_links(outlook: Outlook) -> Iterable[str]:
    for first, second in combinations(sorted(outlook.awake), 2):
        if outlook.is_cut(first, second):
            yield fragment("cut", first=first, second=second)
        for deaf, heard in ((first, second), (second, first)):
            if outlook.is_one_way(deaf, heard):
                yield fragment("one_way", heard=heard, deaf=deaf)


def _leadership(outlook: Outlook) -> list[Cause]:
    changes = max((one.leader_changes for one in outlook.seen.values()), default=0)
    return [_cause("why.leader.unstable", (), changes=changes)] if changes > CHANGES_MAX else []


def _lagging(outlook: Outlook) -> Iterable[Cause]:
    """Whom the leader does not count on, unless its disk says why."""
    for replica in outlook.lagging:
        one = outlook.awake[replica]
        if one.writing_ms < hung_ms(one) and not one.is_full:
            behind = "?" if one.behind is None else one.behind
            yield _cause("why.replica.behind", [replica], replica=replica, behind=behind)


def _waiting(outlook: Outlook, named: set[int]) -> Iterable[Cause]:
    for one in outlook.awake.values():
        if one.state == "serving" or one.id in named or one.state == "":
            continue
        words = fragment("waits_for", words=one.waiting_for)
        yield _cause("why.replica.waiting", [one.id], replica=one.id, words=words)


def _admins(outlook: Outlook) -> Iterable[Cause]:
    for replica, lost in outlook.lost.items():
        if replica in outlook.voters and replica not in outlook.missing:
            yield _cause("why.admin.unreachable", [replica], replica=replica, address=lost.address, words=lost.reason)


# --- how replicas ended, and who refuses whom -------------------------------------------------------------------------


def _endings(outlook: Outlook) -> Iterable[Cause]:
    """What replicas that do not answer left behind, and what those that still do say of their journal."""
    for replica, lost in outlook.lost.items():
        if lost.last_words and replica > 0:
            yield _ending(replica, lost.last_words)
    for one in outlook.seen.values():
        if one.damage:
            yield _cause("why.journal.damaged", [one.id], replica=one.id, words=shortened(one.damage))
        elif one.disk_failed:
            yield _cause("why.disk.failed", [one.id], replica=one.id, words=shortened(one.disk_failed))


def _ending(replica: int, words: str) -> Cause:
    text = shortened(words)
    if _FAILED.search(words):
        return _cause("why.disk.failed", [replica], replica=replica, words=text)
    if _DAMAGED.search(words):
        return _cause("why.journal.damaged", [replica], replica=replica, words=text)
    if _FOREIGN.search(words):
        return _cause("why.directory.foreign", [replica], replica=replica, words=text, by="")
    if _REFUSED.search(words):
        return _cause("why.replica.refused", [replica], replica=replica, words=text, by="")
    return _cause("why.replica.stopped", [replica], replica=replica, words=text)


def _refusals(outlook: Outlook) -> Iterable[Cause]:
    """Both sides of a pair refuse each other with the same words; the one refused by more is who is wrong."""
    reasons: dict[tuple[int, int], str] = {}  # (refused, refuser)
    for one in outlook.seen.values():
        for peer in one.peers.values():
            if peer.is_connected:
                continue
            is_fresh = peer.trouble_ms is None or peer.trouble_ms <= REFUSED_S * 1000
            if peer.refused:
                reasons[one.id, peer.id] = peer.refused
            elif is_fresh and _REFUSED.search(peer.trouble):
                reasons[peer.id, one.id] = peer.trouble
    ended = {replica for replica, lost in outlook.lost.items() if lost.last_words}
    while reasons:
        touched: dict[int, set[int]] = {}
        for refused, refuser in reasons:
            touched.setdefault(refused, set()).add(refuser)
            touched.setdefault(refuser, set()).add(refused)
        # Of two that refuse each other, while nobody else has met them: the one that does not serve.
        culprit = max(touched, key=lambda one: (len(touched[one]), not _is_serving(outlook, one), one))
        own = {pair: reason for pair, reason in reasons.items() if culprit in pair}
        reasons = {pair: reason for pair, reason in reasons.items() if culprit not in pair}
        if culprit in ended:
            continue  # it said so itself, as it stopped
        words = own[min(own, key=lambda pair: (pair[0] != culprit, pair))]
        who = " and ".join(map(str, sorted(touched[culprit])))
        name, by = (
            ("why.directory.foreign", fragment("by", who=who))
            if _FOREIGN.search(words)
            else ("why.replica.refused", fragment("refused_by", who=who))
        )
        yield _cause(name, [culprit], replica=culprit, words=shortened(words), by=by)


def _is_serving(outlook: Outlook, replica: int) -> bool:
    one = outlook.awake.get(replica)
    return one is not None and one.state == "serving"


# --- disks ------------------------------------------------------------------------------------------------------------


def _disks(outlook: Outlook) -> Iterable[Cause]:
    slow = []
    for one in outlook.seen.values():
        if one.disk_failed or one.damage:
            continue  # named as an ending
        if one.is_full:
            free, journal = bytes_text(one.free_bytes), bytes_text(one.journal_bytes)
            yield _cause("why.disk.full", [one.id], replica=one.id, free=free, journal=journal)
        elif one.writing_ms >= hung_ms(one):
            rest = _others(outlook, one)
            others = "" if rest is None else fragment("others_sync", p99=span_text(rest))
            yield _cause("why.disk.hung", [one.id], replica=one.id, waiting=span_text(one.writing_ms), others=others)
        elif _is_slow(one):
            slow.append(one)
    yield from _slow(outlook, slow)


def _is_slow(one: Seen) -> bool:
    p50, p99, longest = one.sync_p50, one.sync_p99, one.sync_max
    if p50 is None or p99 is None or longest is None:
        return False
    is_ordinary = p99 >= SLOW_P99_MS and p50 >= SLOW_P50_MS
    is_often = longest > p99 >= SLOW_SOME_MS
    is_now = one.writing_ms >= SLOW_WRITE_MS and longest >= SLOW_LONGEST_MS
    return is_ordinary or is_often or is_now


def _slow_figure(one: Seen) -> float:
    """What stands for its syncs in a sentence: their p99, or the longest where the slow ones are too young to show in it."""
    p99 = one.sync_p99 or 0.0
    return p99 if p99 >= SLOW_P99_MS else max(p99, one.sync_max or 0.0)


def _slow(outlook: Outlook, slow: list[Seen]) -> Iterable[Cause]:
    measured = [one for one in outlook.seen.values() if one.sync_p99 is not None]
    if len(slow) > 1 and len(slow) == len(measured):
        who = ", ".join(fragment("one_replica", replica=one.id, p99=span_text(_slow_figure(one))) for one in slow)
        yield _cause("why.disk.slow_everywhere", [one.id for one in slow], who=who)
        return
    for one in slow:
        others = _others(outlook, one)
        figure = _slow_figure(one)
        if others is not None and figure < SLOW_FACTOR * others:
            continue
        rest = fragment("no_others") if others is None else span_text(others)
        yield _cause("why.disk.slow", [one.id], replica=one.id, p99=span_text(figure), others=rest)


def _others(outlook: Outlook, own: Seen) -> float | None:
    """The median of the other replicas' p99."""
    figures = [one.sync_p99 for one in outlook.seen.values() if one.id != own.id and one.sync_p99 is not None]
    return median(figures) if figures else None


# --- loops and clocks -------------------------------------------------------------------------------------------------


def _loops(outlook: Outlook) -> Iterable[Cause]:
    for one in outlook.seen.values():
        if one.stalled_ms >= outlook.stalled_ms:
            stalled = span_text(one.stalled_ms)
            yield _cause("why.loop.stalled", [one.id], replica=one.id, stalled=stalled, pid=one.pid)
            continue
        last, longest = max(one.lag_last, one.stalled_ms), max(one.lag_max, one.stalled_ms)
        if longest >= LATE_ONCE_MS or (last >= LATE_MS and longest >= LATE_BEFORE_MS):
            yield _cause(
                "why.loop.overloaded",
                [one.id],
                replica=one.id,
                last=span_text(last),
                longest=span_text(longest),
                clients="?" if one.connections is None else one.connections,
            )


def _clocks(outlook: Outlook, now_ms: float) -> Iterable[Cause]:
    offsets = {one.id: one.at_ms - now_ms for one in outlook.awake.values() if one.at_ms is not None}
    for one in outlook.awake.values():
        if one.jump_ago_s is not None and one.jump_ago_s <= JUMP_S and abs(one.jump_ms) >= JUMP_MS:
            ago = span_text(one.jump_ago_s * 1000)
            yield _cause("why.clock.jumped", [one.id], replica=one.id, jump=_signed(one.jump_ms), ago=ago)
            continue
        offset = one.against_leader_ms or 0.0
        if len(offsets) > 2 and one.id in offsets:
            # Against the median, so that one wrong clock (the leader's, or the asker's own) does not accuse the others.
            offset = offsets[one.id] - median(offsets.values())
        if abs(offset) >= APART_MS:
            yield _cause("why.clock.apart", [one.id], replica=one.id, offset=_signed(offset))


# --- links and names --------------------------------------------------------------------------------------------------


def _links(outlook: Outlook) -> Iterable[Cause]:
    for first, second in combinations(sorted(outlook.awake), 2):
        if _is_explained(outlook, first, second):
            continue
        if outlook.is_cut(first, second):
            trouble = outlook.awake[first].peers[second].trouble
            yield _cause(
                "why.link.cut",
                [first, second],
                first=first,
                second=second,
                words=fragment("says", words=shortened(trouble)) if trouble else "",
                address=_peer_address(outlook, first),
                other_address=_peer_address(outlook, second),
            )
        for deaf, heard in ((first, second), (second, first)):
            if outlook.is_one_way(deaf, heard):
                heard_ms = outlook.awake[deaf].peers[heard].heard_ms
                trouble = outlook.awake[heard].peers[deaf].trouble
                yield _cause(
                    "why.link.one_way",
                    [deaf, heard],
                    deaf=deaf,
                    heard=heard,
                    since=fragment("never") if heard_ms is None else fragment("since", span=span_text(heard_ms)),
                    words=fragment("says", words=shortened(trouble)) if trouble else "",
                    address=_peer_address(outlook, deaf),
                )


def _is_explained(outlook: Outlook, first: int, second: int) -> bool:
    """Whether a refusal or a name says why the two are not connected."""
    views = (outlook.awake[first].peers.get(second), outlook.awake[second].peers.get(first))
    return any(
        view is not None
        and not view.is_connected
        and bool(view.refused or _REFUSED.search(view.trouble) or _UNRESOLVED.search(view.trouble))
        for view in views
    )


def _names(outlook: Outlook) -> Iterable[Cause]:
    for one in outlook.awake.values():
        for peer in one.peers.values():
            is_fresh = peer.trouble_ms is None or peer.trouble_ms <= NAME_S * 1000
            if peer.is_connected or not is_fresh or not _UNRESOLVED.search(peer.trouble):
                continue
            address, words = _address_in(one, peer.id), shortened(peer.trouble)
            yield _cause(
                "why.name.unresolved", [one.id, peer.id], replica=one.id, peer=peer.id, address=address, words=words
            )


def _peer_address(outlook: Outlook, replica: int) -> str:
    return "?" if outlook.newest is None else _address_in(outlook.newest, replica)


def _address_in(one: Seen, replica: int) -> str:
    return next((member.peer_address for member in one.members if member.id == replica), "?")


# --- numbers as people read them --------------------------------------------------------------------------------------


def span_text(ms: float) -> str:
    """A span of time in the unit that fits."""
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.0f} min"


def _signed(ms: float) -> str:
    return f"{'+' if ms >= 0 else '-'}{span_text(abs(ms))}"


def bytes_text(count: int | None) -> str:
    """A number of bytes in the unit that fits."""
    if count is None:
        return "?"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
