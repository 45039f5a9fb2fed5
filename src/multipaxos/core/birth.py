"""How a cluster is born, and who is not the replica that was registered then (rule-R40).

First start and emptied disk look the same (trap-T34). What tells them apart is slot 1, which names the random mark of
each first voter's data directory.
"""

from typing import TYPE_CHECKING

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.decree import (
    KIND_CONFIGURATION,
    Decree,
    configuration_text_of,
    encode_configuration,
    kind_of,
)
from multipaxos.core.effects import Effects
from multipaxos.core.membership import decode_configuration

if TYPE_CHECKING:
    from multipaxos.core.replica import Replica


def propose_birth(replica: "Replica", now: int, effects: Effects) -> None:
    """Slot 1 is free only while all first voters are there and none has voted in it: a directory that was emptied
    after its vote would otherwise hide a birth that was chosen. Once one vote exists, Paxos finishes it (rule-R40)."""
    leadership = replica.leadership
    campaign = replica.campaign
    assert leadership is not None and campaign is not None
    if replica.ledger.is_learned(1) or 1 in leadership.open:
        return
    prefix, whose = campaign.highest_prefix()
    if prefix > 0:
        # Slot 1 is chosen, though the promises this leadership stands on know nothing of it: one of those directories
        # was emptied since. What is chosen is fetched, and names the marks.
        effects.note("leader.birth.chosen", whose, prefix)
        replica.stand_down(now)
        return
    report = campaign.reported.get(1)
    if report is not None:
        effects.note("leader.adopt", 1, report[0])
        leadership.next_slot = 2
        replica.propose_at(1, report[1], now, effects)
        return
    listed = replica.membership.newest()
    missing = [voter for voter in listed.voters if voter not in campaign.promised]
    if missing:
        effects.note("leader.birth.wait", missing)
        return
    born = listed.born(campaign.marks)
    effects.note("leader.birth", born.cluster)
    leadership.next_slot = 2
    replica.propose_at(1, encode_configuration(replica.wall_ms(now), born.encode()), now, effects)


def is_registered_by(replica: "Replica", decree: Decree, effects: Effects) -> bool:
    """Whether the birth configuration names this very directory. One that was emptied since it promised has another
    mark, has forgotten what it promised, and must not vote (rule-R40)."""
    if kind_of(decree) != KIND_CONFIGURATION:
        return True
    member = decode_configuration(configuration_text_of(decree)).member(replica.id)
    if member is None or member.mark in (0, replica.mark):
        return True
    effects.stop = emptied(replica.id)
    return False


def check_mark(replica: "Replica", effects: Effects) -> None:
    """Stop where the configuration registered another directory under this id (rule-R40)."""
    if not replica.membership.is_born:
        return
    member = replica.membership.newest().member(replica.id)
    if member is not None and member.mark not in (0, replica.mark):
        effects.stop = emptied(replica.id)


def disown_strangers(replica: "Replica", effects: Effects) -> None:
    """Slot 1 is applied: promises taken before the marks were known count from now on only where the mark is the
    registered one. A leadership for which another counted ends, though later promises may have made up for it since:
    what it adopted it chose without them, so it would put its own decrees over chosen ones."""
    campaign = replica.campaign
    if campaign is None:
        return
    strangers: list[ReplicaId] = []
    for voter in sorted(campaign.promised):
        member = replica.membership.newest().member(voter)
        if member is None or member.mark not in (0, campaign.marks[voter]):
            effects.note("candidate.promise.stranger", voter, campaign.marks[voter])
            strangers.append(voter)
    campaign.promised.difference_update(strangers)
    if strangers and replica.leadership is not None:
        replica.end_leadership()


def emptied(replica: ReplicaId) -> str:
    return (
        f"this data directory is not the one that was registered as replica {replica}: it was emptied, or belongs to "
        "another cluster. It has forgotten what it promised and must not vote. Put the old directory back, or give the "
        "machine a new replica id"
    )
