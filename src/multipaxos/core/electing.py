"""Who leads: heartbeats, suspicion, probes, nacks, dead ballots, hand-over (rule-R6, rule-R28 to rule-R31).

The handlers of ``replica.py`` that decide when to campaign and when to stand back; none of them can cost safety, all of
them cost time. The timers and answers they keep are in ``election.py``; the campaign itself is in ``replica.py``.
"""

from typing import TYPE_CHECKING

from multipaxos.core import reading
from multipaxos.core.ballot import NO_BALLOT, Ballot, owner_of
from multipaxos.core.effects import Effects
from multipaxos.core.election import FOLLOWER
from multipaxos.core.inputs import Handover, PeerDown, PeerUp
from multipaxos.core.messages import (
    CampaignNow,
    Echo,
    Heartbeat,
    Inquire,
    Inquired,
    Nack,
    Probe,
    ProbeAnswer,
)

if TYPE_CHECKING:
    from multipaxos.core.replica import Replica


def beat(replica: "Replica", by_timer: bool, now: int, effects: Effects) -> None:
    """Send a heartbeat: sign of life, and a round that confirms the reads that arrived before it."""
    leadership = replica.leadership
    assert leadership is not None
    number = leadership.beat(by_timer)
    if by_timer:
        leadership.heartbeat_at = now + replica.settings.heartbeat_ns
    reading.join_reads(replica, number, effects)
    prefix = replica.ledger.chosen_prefix
    message = Heartbeat(
        replica.id,
        leadership.ballot,
        number,
        prefix,
        leadership.is_quorum_connected,
        replica.disk_age_ns(now),
    )
    replica.announced_prefix = prefix
    for other in replica.others:
        effects.send(other, message)
    leadership.hear_echo(replica.id, number, replica.acceptor.promised)
    leadership.count_rounds(replica.configurations_in_force())


def on_heartbeat(replica: "Replica", message: Heartbeat, now: int, effects: Effects) -> None:
    ballot = message.ballot
    if replica.is_leap(ballot, message.sender, effects):
        return
    # Echoed whoever leads: a dead leadership learns from the promise in it that it was passed.
    effects.send(
        message.sender,
        Echo(
            replica.id,
            ballot,
            message.number,
            replica.acceptor.promised,
            replica.ledger.chosen_prefix,
            replica.ledger.applied,
            replica.disk_age_ns(now),
        ),
    )
    hear_of_leader(replica, ballot, now, effects)
    if ballot < replica.election.leader_ballot:
        return
    replica.election.refused.discard(message.sender)
    replica.election.hear(ballot, message.number, message.is_quorum_connected, message.disk_age_ns, now)
    if replica.campaign is None:
        replica.election.failures = 0
        replica.election.end_probe()
        restart_suspicion(replica, now)
    if message.is_quorum_connected and replica.current_at < 0:
        replica.current_at = message.chosen_prefix
    replica.announced(ballot, message.chosen_prefix, message.sender, effects)


def hear_of_leader(replica: "Replica", ballot: Ballot, now: int, effects: Effects) -> None:
    """Somebody leads at ``ballot``: a leadership or campaign below it is over at once (rule-R6)."""
    if ballot <= replica.election.leader_ballot:
        return
    replica.see(ballot)  # a campaign below it would only be nacked
    replica.election.follow(ballot)
    leadership = replica.leadership
    campaign = replica.campaign
    if leadership is not None and ballot > leadership.ballot:
        effects.note("leader.stand_down", leadership.ballot, ballot)
        replica.stand_down(now)
    elif campaign is not None and ballot > campaign.ballot:
        effects.note("election.stand_back", campaign.ballot, ballot)
        replica.campaign = None
        restart_suspicion(replica, now)


def on_echo(replica: "Replica", message: Echo, now: int, effects: Effects) -> None:
    leadership = replica.leadership
    if leadership is None or message.ballot != leadership.ballot:
        return
    if message.number > leadership.number:
        # An answer to a heartbeat that was never sent would confirm every round to come (rule-R19).
        effects.note("message.future", message.sender, message.number)
        effects.malformed.append(message.sender)
        return
    if replica.is_leap(message.promised, message.sender, effects):
        return
    leadership.hear_echo(message.sender, message.number, message.promised)
    # The worst of late, forgotten by half every four seconds: one echo says little of a disk that is slow now and then.
    worst_ns = leadership.disk_ages.get(message.sender, 0)
    leadership.disk_ages[message.sender] = max(message.disk_age_ns, worst_ns - worst_ns // 64)
    leadership.peer_applied[message.sender] = message.applied
    leadership.count_rounds(replica.configurations_in_force())
    if message.promised > leadership.ballot:
        hear_of_higher(replica, message.promised, now, effects)


def protected_leader(replica: "Replica", now: int) -> Ballot:
    """The ballot of the living leader that prepares of others are refused for, or NO_BALLOT (rule-R29)."""
    leadership = replica.leadership
    if leadership is not None:
        is_alive = leadership.is_quorum_connected and replica.disk_age_ns(now) < replica.settings.disk_stall_ns
        return leadership.ballot if is_alive else NO_BALLOT
    if replica.election.hears_leader(
        replica.leader, now, replica.settings.election_min_ns, replica.settings.disk_stall_ns
    ):
        return replica.election.leader_ballot
    return NO_BALLOT


def suspect(replica: "Replica", now: int, effects: Effects) -> None:
    """Ask before campaigning (rule-R28). Who cannot vote or whose disk stands still does not try to lead."""
    election = replica.election
    voters = replica.membership.newest().voters
    age_ns = replica.disk_age_ns(now)
    if replica.id not in voters or age_ns > replica.settings.disk_stall_ns:
        if replica.id in voters:
            effects.note("election.disk", age_ns)
        restart_suspicion(replica, now)
        return
    silent_ns = now - election.heard_at if election.heard_at else 0
    effects.note("election.suspect", election.leader_ballot, silent_ns)
    election.begin_probe(replica.id, now + 2 * replica.settings.heartbeat_ns)
    effects.note("election.probe", election.probe_number)
    probe = Probe(replica.id, election.probe_number, election.leader_ballot, replica.ledger.chosen_prefix)
    for voter in replica.voters_in_force():
        if voter != replica.id:
            effects.send(voter, probe)
    count_answers(replica, now, effects)


def on_probe(replica: "Replica", message: Probe, now: int, effects: Effects) -> None:
    replica.catchup.hear(message.chosen_prefix, message.sender)
    hears = protected_leader(replica, now)
    if hears != NO_BALLOT and owner_of(hears) == message.sender:
        hears = NO_BALLOT  # it is the leader itself that asks, under its own name
    campaign = replica.campaign
    if campaign is not None and replica.leadership is None:
        # It had the answers of a prepare quorum, so it can lead; but its own promise has to get to the disk first, and then
        # those of the others. Were it overtaken meanwhile, all would raise each other's ballot for as long as disks are slow.
        hears = campaign.ballot
    would_promise = hears == NO_BALLOT and replica.disk_age_ns(now) <= replica.settings.disk_stall_ns
    effects.note("election.probe.answer", message.sender, would_promise, hears)
    effects.send(
        message.sender,
        ProbeAnswer(
            replica.id, message.number, would_promise, hears, replica.acceptor.promised, replica.ledger.chosen_prefix
        ),
    )


def on_probe_answer(replica: "Replica", message: ProbeAnswer, now: int, effects: Effects) -> None:
    if replica.is_leap(message.promised, message.sender, effects):
        return
    replica.see(message.promised)
    replica.catchup.hear(message.chosen_prefix, message.sender)
    election = replica.election
    if not election.is_probing or message.number != election.probe_number:
        return
    election.answered.add(message.sender)
    if message.hears > election.leader_ballot and owner_of(message.hears) == message.sender:
        end_probe_in_vain(replica, now, effects)  # it campaigns, or leads above the leader that is missed here
        return
    if message.would_promise:
        election.answers.add(message.sender)
        count_answers(replica, now, effects)
    if election.is_probing and election.answered.issuperset(
        voter for voter in replica.voters_in_force() if voter not in election.refused
    ):
        end_probe_in_vain(replica, now, effects)


def end_probe_in_vain(replica: "Replica", now: int, effects: Effects) -> None:
    """Nobody else will answer, or in time. Where the leader's port refuses, the others are about to notice as well, and
    the next probe comes soon; otherwise it may wait: others hear a leader."""
    election = replica.election
    effects.note("election.probe.failed", sorted(election.answers))
    election.end_probe()
    wait_ns = replica.settings.heartbeat_ns // 2
    if replica.leader in election.refused:
        election.suspect_at = now + wait_ns // 4 + replica.draw(wait_ns)
    else:
        election.suspect_at = now + wait_ns + replica.draw(4 * wait_ns)


def count_answers(replica: "Replica", now: int, effects: Effects) -> None:
    if not replica.election.is_probing:
        return
    for configuration in replica.configurations_in_force():
        if not configuration.quorum.is_prepare_quorum(replica.election.answers):
            return
    replica.begin_campaign(NO_BALLOT, now, effects)


def on_peer_up(replica: "Replica", message: PeerUp) -> None:
    replica.election.refused.discard(message.peer)
    if message.peer == replica.leader:
        # What was under way on the old connection may be lost: the stream is sent again (rule-R8).
        replica.forwarding.addressed = NO_BALLOT
        replica.reads.ask_again()


def on_peer_down(replica: "Replica", message: PeerDown, now: int, effects: Effects) -> None:
    if not message.is_refused:
        return
    replica.election.refused.add(message.peer)
    if message.peer == replica.leader and replica.standing == FOLLOWER and not replica.election.is_probing:
        # Nobody listens there any more: silence at once, on both sides of the probe (rule-R28).
        effects.note("election.refused", message.peer)
        replica.election.suspect_at = now + replica.draw(replica.settings.refused_jitter_ns)


def restart_suspicion(replica: "Replica", now: int) -> None:
    settings = replica.settings
    replica.election.suspect_at = (
        now + settings.election_min_ns + replica.draw(settings.election_max_ns - settings.election_min_ns)
    )


def on_nack(replica: "Replica", message: Nack, now: int, effects: Effects) -> None:
    """A hint, never evidence (rule-R6)."""
    if replica.is_leap(message.promised, message.sender, effects):
        return
    replica.see(message.promised)
    leadership = replica.leadership
    campaign = replica.campaign
    if leadership is not None:
        if message.ballot == leadership.ballot and message.promised > leadership.ballot:
            hear_of_higher(replica, message.promised, now, effects)
    elif campaign is not None and message.ballot == campaign.ballot:
        if message.hears != NO_BALLOT:
            effects.note("election.stand_back", campaign.ballot, message.hears)
            replica.campaign = None
            restart_suspicion(replica, now)
        elif message.promised > campaign.ballot:
            # Others may still promise, so the campaign goes on a little; then it is begun anew above the nack.
            effects.note("election.nacked", campaign.ballot, message.promised, message.sender)
            heartbeat = replica.settings.heartbeat_ns
            soon = now + heartbeat // 2 + replica.draw(heartbeat)
            replica.election.campaign_until = min(replica.election.campaign_until, soon)


def hear_of_higher(replica: "Replica", above: Ballot, now: int, effects: Effects) -> None:
    """Somebody promised ``above``, over our ballot: ask its owner whether it lives, and lead on meanwhile."""
    leadership = replica.leadership
    assert leadership is not None
    replica.see(above)
    if above <= leadership.inquired:
        return  # a campaign above the highest passes all; were each nack asked about anew, two of them would wait for ever
    leadership.inquired = above
    leadership.inquired_until = now + replica.settings.heartbeat_ns
    effects.note("leader.inquire", leadership.ballot, above)
    owner = owner_of(above)
    if owner == replica.id:
        leadership.inquired_until = now
    else:
        effects.send(owner, Inquire(replica.id, above))


def on_inquire(replica: "Replica", message: Inquire, effects: Effects) -> None:
    """Say whether this replica campaigns at the ballot asked for. A leader need not say so: its heartbeats do."""
    campaign = replica.campaign
    is_active = campaign is not None and campaign.ballot == message.ballot
    effects.send(message.sender, Inquired(replica.id, message.ballot, is_active))


def on_inquired(replica: "Replica", message: Inquired, now: int, effects: Effects) -> None:
    leadership = replica.leadership
    if leadership is None or message.ballot != leadership.inquired or leadership.inquired_until == 0:
        return
    if message.is_active:
        effects.note("leader.inquire.lives", leadership.ballot, message.ballot)
        leadership.inquired_until = 0
        # Asked again, if it is heard of again, with the next heartbeat but one: it may have died meanwhile.
        leadership.inquired = NO_BALLOT
        return
    effects.note("leader.inquire.dead", leadership.ballot, message.ballot)
    replica.begin_campaign(NO_BALLOT, now, effects)


def on_handover(replica: "Replica", message: Handover, now: int, effects: Effects) -> None:
    leadership = replica.leadership
    if leadership is None or message.target == replica.id or leadership.handover_target:
        return
    if message.target not in replica.membership.newest().voters:
        return
    leadership.handover_target = message.target
    leadership.handover_until = now + replica.settings.election_max_ns
    leadership.handover_sent = False
    effects.note("leader.handover", message.target, leadership.ballot)


def hand_over(replica: "Replica", now: int, effects: Effects) -> None:
    """Admit nothing until the target has applied all, then ask it to campaign; resume if it does not (rule-R30)."""
    leadership = replica.leadership
    assert leadership is not None
    target = leadership.handover_target
    if now >= leadership.handover_until:
        effects.note("leader.handover.end", target)
        leadership.handover_target = 0
        return
    is_caught_up = leadership.peer_applied.get(target, 0) >= replica.ledger.chosen_prefix
    if not leadership.handover_sent and is_caught_up and not leadership.open:
        effects.note("leader.handover.send", target, leadership.ballot)
        leadership.handover_sent = True
        effects.send(target, CampaignNow(replica.id, leadership.ballot, leadership.number))


def on_campaign_now(replica: "Replica", message: CampaignNow, now: int, effects: Effects) -> None:
    is_young = message.ballot == replica.election.leader_ballot and replica.election.is_number_young(
        message.number, now, replica.settings.election_max_ns
    )
    if not is_young or replica.standing != FOLLOWER:
        effects.note("election.obey.late", message.ballot, message.number)
        return
    effects.note("election.obey", message.ballot, message.sender)
    replica.begin_campaign(message.ballot, now, effects)


def watch_own_disk(replica: "Replica", now: int, effects: Effects) -> None:
    """A leader whose disk stands still hands over to the voter with the youngest writes, if the others can go on
    without it; at most once a minute, and never into nothing (rule-R31). Where all disks are slow together another leader
    would be no better off: the others must have been four times as quick all the time."""
    leadership = replica.leadership
    assert leadership is not None
    age_ns = replica.disk_age_ns(now)
    stall_ns = replica.settings.disk_stall_ns
    if age_ns <= stall_ns or leadership.handover_target or now < replica.handover_rests_until:
        return
    lately = leadership.number - 8
    healthy = [
        (disk_age_ns, voter)
        for voter, disk_age_ns in sorted(leadership.disk_ages.items())
        if 4 * disk_age_ns <= age_ns and leadership.echoed.get(voter, 0) >= lately and voter != replica.id
    ]
    ids = {voter for _, voter in healthy}
    if not all(c.quorum.is_accept_quorum(ids) for c in replica.configurations_in_force()):
        return
    target = min(healthy)[1]
    effects.note("leader.disk", age_ns, target)
    replica.handover_rests_until = now + replica.settings.handover_rest_ns
    on_handover(replica, Handover(target), now, effects)
