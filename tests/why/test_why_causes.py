"""Each fault from observations made by hand, each with near misses that must stay silent."""

from pathlib import Path
from typing import Any

import pytest
from why_observations import NOW_MS, dead, disconnected, healthy, observation, peer

from multipaxos.host.causes import CATALOGUE, CRITICAL, SERIOUS, WARNING, Cause
from multipaxos.host.observed import Unreachable
from multipaxos.host.why import findings, healthy_sentence


def ids(cluster: dict[int, Any]) -> list[str]:
    """The ids of what is found, worst first."""
    return [cause.id for cause in findings(cluster, NOW_MS)]


def only(cluster: dict[int, Any]) -> Cause:
    """The one cause there is."""
    found = findings(cluster, NOW_MS)
    assert len(found) == 1, [cause.sentence for cause in found]
    return found[0]


def refused(replica: int, **more: Any) -> Unreachable:
    """Its process is dead, so the kernel refuses."""
    return Unreachable(f"10.0.0.{replica}:8181", "refused", "connection refused", **more)


def silent(replica: int, **more: Any) -> Unreachable:
    """Its process stands still, so the kernel accepts and nobody answers."""
    return Unreachable(f"10.0.0.{replica}:8181", "silent", "accepts connections and does not answer", **more)


# --- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 3, 5])
def test_a_healthy_cluster_under_load_has_nothing_in_its_way(replicas: int) -> None:
    cluster = healthy(replicas) if replicas > 1 else {1: observation(1, leader=1, replicas=1)}
    assert ids(cluster) == []
    leader = 2 if replicas > 1 else 1
    count = (replicas - 1) // 2
    survivable = "1 failure survivable" if count == 1 else f"{count} failures survivable"
    assert healthy_sentence(cluster) == (
        f"Nothing stands in the way: {replicas} of {replicas} replicas serve, replica {leader} leads, {survivable}."
    )


def test_one_replica_that_is_asked_alone_finds_nothing_in_a_healthy_cluster() -> None:
    for replica, observed in healthy().items():
        assert ids({replica: observed}) == []


def test_figures_that_are_missing_or_of_another_kind_are_silent() -> None:
    cluster = healthy()
    for name in ("disk", "loop", "clock", "slots", "clients", "quorum", "latency_ms"):
        del cluster[1][name]
        cluster[3][name] = "soon"
    cluster[1]["peers"] = [None, {"id": "2"}]
    cluster[2]["disk"]["sync_ms"] = None
    assert ids(cluster) == []


def test_a_cluster_that_has_just_started_is_not_accused_of_links_it_has_not_made_yet() -> None:
    cluster = healthy()
    for observed in cluster.values():
        observed["uptime_s"] = 2.0
        for other in observed["peers"]:
            other.update(is_connected=False, is_heard=False, heard_ms_ago=None, sent_ok_ms_ago=None)
    assert ids(cluster) == []


# --- quorum -----------------------------------------------------------------------------------------------------------


def test_no_quorum_names_who_is_missing() -> None:
    cluster = dead(dead(healthy(), 2), 3)
    cluster[1].update(standing="follower", leader=0, state="waiting", waiting_for="a majority")
    cluster[2], cluster[3] = refused(2), refused(3, process="gone")
    cause = only(cluster)
    assert (cause.id, cause.replicas, cause.severity) == ("why.quorum.lost", (2, 3), CRITICAL)
    assert cause.sentence == (
        "No quorum: 2 of 3 voters are needed, 1 can vote. Missing: replica 2 (connection refused), "
        "replica 3 (its process does not run)."
    )


def test_no_quorum_from_one_observation_alone() -> None:
    cluster = dead(dead(healthy(), 2), 3)
    cause = only(cluster)
    assert cause.sentence.endswith("Missing: replica 2 (nobody hears it), replica 3 (nobody hears it).")


def test_no_quorum_although_all_run() -> None:
    cluster = healthy()
    for first in cluster:
        cluster[first].update(standing="follower", leader=0, state="waiting")
        for second in cluster:
            if first != second:
                disconnected(cluster[first], second, f"10.0.0.{second}:7181: no answer within 2 s")
    found = findings(cluster, NOW_MS)
    assert [cause.id for cause in found] == ["why.quorum.split", *["why.link.cut"] * 3]
    assert found[0].sentence == (
        "No quorum: 3 of 3 voters run, and none of them reaches 2, itself counted. Broken: 1 and 2, 1 and 3, 2 and 3."
    )


def test_a_cluster_that_is_not_born_yet_needs_all_of_its_first_voters() -> None:
    cluster = dead(healthy(), 3)
    cluster[3] = refused(3)
    for replica in (1, 2):
        cluster[replica].update(state="waiting", standing="follower", leader=0)
        cluster[replica]["configuration"]["version"] = 0
    cause = only(cluster)
    assert (cause.id, cause.replicas) == ("why.cluster.unborn", (3,))
    assert cause.sentence == (
        "The cluster is not born yet: it begins when all of its 3 first voters are there. Missing: replica 3 "
        "(connection refused)."
    )


def test_replicas_that_all_still_read_their_journals_say_so() -> None:
    cluster = healthy()
    for observed in cluster.values():
        observed.update(state="recovering", standing="none", leader=0, peers=[], waiting_for="its journal to be read")
        observed["configuration"] = {"version": 0, "window": 0, "voters": [], "members": []}
    assert ids(cluster) == ["why.replica.waiting"] * 3


def test_no_leader() -> None:
    cluster = healthy()
    for observed in cluster.values():
        observed.update(standing="follower", leader=0)
    assert only(cluster).id == "why.leader.none"
    cluster[3]["standing"] = "leader"  # elected between two observations: the others have not heard it yet
    cluster[1]["leader"] = cluster[2]["leader"] = 2
    assert ids(cluster) == []


# --- one voter missing ------------------------------------------------------------------------------------------------


def test_one_voter_missing() -> None:
    cluster = dead(healthy(), 3)
    cluster[3] = refused(3)
    cause = only(cluster)
    assert (cause.id, cause.replicas, cause.severity) == ("why.voter.missing", (3,), SERIOUS)
    assert cause.sentence == ("Voters missing: 1 of 3, replica 3 (connection refused). Further failures survivable: 0.")


def test_two_of_five_missing_leave_none_to_spare() -> None:
    cluster = dead(dead(healthy(5), 4), 5)
    cluster[4], cluster[5] = refused(4), refused(5)
    assert only(cluster).sentence.endswith("Further failures survivable: 0.")


def test_a_voter_that_stands_still_is_missing_though_its_connections_stay() -> None:
    cluster = healthy()
    cluster[3] = silent(3)
    peer(cluster[2], 3).update(heard_ms_ago=900)
    assert ids(cluster) == ["why.admin.unreachable"]
    peer(cluster[2], 3).update(heard_ms_ago=1100)
    cause = only(cluster)
    assert cause.id == "why.voter.missing"
    assert "replica 3 (accepts connections and does not answer)" in cause.sentence


def test_a_leader_that_stands_still_before_anybody_else_leads() -> None:
    cluster = healthy()
    cluster[2] = silent(2)
    for follower in (1, 3):
        peer(cluster[follower], 2).update(heard_ms_ago=2600)
        cluster[follower].update(leader=0)
    assert ids(cluster) == ["why.leader.none", "why.voter.missing"]


def test_a_process_known_to_be_gone_is_missing_at_once() -> None:
    cluster = healthy()
    cluster[3] = refused(3, process="gone")
    assert ids(cluster) == ["why.voter.missing"]


def test_a_voter_whose_admin_port_alone_is_dead_is_not_missing() -> None:
    cluster = healthy()
    cluster[3] = refused(3)
    cause = only(cluster)
    assert (cause.id, cause.severity) == ("why.admin.unreachable", WARNING)
    assert cause.sentence == (
        "Replica 3 takes part, but does not answer at its admin address 10.0.0.3:8181: connection refused."
    )
    del cluster[3]  # nobody asked it: nothing to say
    assert ids(cluster) == []


def test_a_dead_observer_is_no_missing_voter() -> None:
    cluster = healthy()
    for observed in cluster.values():
        observed["configuration"]["members"].append(
            {"id": 4, "peer_address": "10.0.0.4:7181", "client_address": "", "admin_address": "", "is_voter": False}
        )
    cluster[4] = refused(4)
    assert ids(cluster) == []


def test_nobody_answers() -> None:
    cause = only({-1: refused(1), 2: silent(2, process="paused")})
    assert (cause.id, cause.replicas) == ("why.nobody.answers", (2,))
    assert cause.sentence == (
        "None of the admin addresses asked answers (2): replica 2 (its process is stopped by a signal), "
        "10.0.0.1:8181 (connection refused)."
    )


def test_a_replica_that_does_not_serve_says_for_what_it_waits() -> None:
    cluster = healthy()
    cluster[3].update(state="waiting", waiting_for="what the cluster has decided: slot 12 is applied here")
    assert only(cluster).sentence == (
        "Replica 3 runs and does not serve clients: it waits for what the cluster has decided: slot 12 is applied here."
    )
    cluster[3].update(state="recovering")
    assert ids(cluster) == ["why.voter.missing"]


def test_a_replica_the_leader_does_not_count_on() -> None:
    cluster = healthy()
    cluster[2]["quorum"]["lagging"] = [3]
    cluster[3]["slots"]["behind"] = 40_000
    cause = only(cluster)
    assert cause.sentence.startswith("Replica 3 is behind: 40000 slots")
    cluster[3]["slots"]["behind"] = 0  # it has caught up since the leader heard of it
    assert ids(cluster) == []


# --- disks ------------------------------------------------------------------------------------------------------------


def disk(cluster: dict[int, Any], replica: int, p50: float, p99: float, longest: float, writing: int = 0) -> None:
    cluster[replica]["disk"].update(sync_ms={"p50": p50, "p99": p99, "max": longest}, writing_for_ms=writing)


@pytest.mark.parametrize(
    ("p50", "p99", "longest", "writing", "figure"),
    [
        (210.0, 230.0, 240.0, 0, "230 ms"),  # every sync, also when there were few
        (5.0, 160.0, 300.0, 0, "160 ms"),  # one of a hundred
        (4.0, 28.0, 520.0, 300, "520 ms"),  # since seconds: p99 does not show it yet
    ],
)
def test_slow_disk(p50: float, p99: float, longest: float, writing: int, figure: str) -> None:
    cluster = healthy()
    disk(cluster, 1, p50, p99, longest, writing)
    cause = only(cluster)
    assert (cause.id, cause.replicas, cause.severity) == ("why.disk.slow", (1,), WARNING)
    assert cause.sentence == (
        f"The disk of replica 1 is slow: its syncs take {figure} (p99 of the last minute), those of the others 28 ms."
    )


@pytest.mark.parametrize(
    ("p50", "p99", "longest", "writing"),
    [
        (4.0, 140.0, 900.0, 0),  # one hiccup of a busy disk
        (4.0, 28.0, 900.0, 120),  # the same a moment later
        (4.0, 28.0, 300.0, 290),  # a second hiccup, now
        (20.0, 260.0, 260.0, 0),  # one slow sync in a quiet minute is the p99
        (60.0, 99.0, 140.0, 0),
    ],
)
def test_a_disk_with_a_hiccup_is_not_slow(p50: float, p99: float, longest: float, writing: int) -> None:
    cluster = healthy()
    disk(cluster, 1, p50, p99, longest, writing)
    assert ids(cluster) == []


def test_a_disk_is_slow_against_the_others() -> None:
    cluster = healthy()
    disk(cluster, 1, 60.0, 190.0, 200.0)
    disk(cluster, 2, 20.0, 60.0, 200.0)
    disk(cluster, 3, 20.0, 60.0, 200.0)
    assert ids(cluster) == []  # three times the others: all are busy


def test_disks_that_are_slow_all_alike_are_one_cause() -> None:
    cluster = healthy()
    for replica in cluster:
        disk(cluster, replica, 500.0, 520.0, 530.0, 400)
    cause = only(cluster)
    assert cause.id == "why.disk.slow_everywhere"
    assert cause.sentence == (
        "The disks of all replicas are slow: syncs take replica 1: 520 ms, replica 2: 520 ms, replica 3: 520 ms "
        "(p99 of the last minute)."
    )


def test_hung_disk() -> None:
    cluster = healthy()
    cluster[3]["disk"]["writing_for_ms"] = 4200
    cluster[2]["quorum"]["lagging"] = [3]
    found = findings(cluster, NOW_MS)
    assert [cause.id for cause in found] == ["why.voter.missing", "why.disk.hung"]
    assert "replica 3 (its disk hangs)" in found[0].sentence
    assert found[1].sentence == (
        "The disk of replica 3 hangs: a write has waited 4.2 s for it; syncs of the others take 28 ms."
    )


def test_a_sync_of_a_second_is_no_hang_and_the_setting_counts() -> None:
    cluster = healthy()
    cluster[3]["disk"].update(writing_for_ms=1100)
    assert "why.disk.hung" not in ids(cluster)
    cluster[3]["disk"].update(writing_for_ms=2000, stall_ms=3000)
    assert "why.disk.hung" not in ids(cluster)


def test_hung_disks_of_two_of_three_are_no_quorum() -> None:
    cluster = healthy()
    cluster[1]["disk"]["writing_for_ms"] = 5000
    cluster[2]["disk"]["writing_for_ms"] = 5000
    assert ids(cluster) == ["why.quorum.lost", "why.disk.hung", "why.disk.hung"]


def test_full_disk() -> None:
    cluster = healthy()
    cluster[1]["disk"].update(full=True, free_bytes=4096, journal_bytes=3 << 30)
    cause = only(cluster)
    assert (cause.id, cause.replicas) == ("why.disk.full", (1,))
    assert cause.sentence == "The disk of replica 1 is full: 4 KiB free, 3 GiB of it taken by the journal."
    cluster[1]["disk"]["writing_for_ms"] = 9000  # now its vote is lost as well, and it is not said to hang
    found = findings(cluster, NOW_MS)
    assert [cause.id for cause in found] == ["why.voter.missing", "why.disk.full"]
    assert "its disk is full" in found[0].sentence


def test_little_space_is_not_full() -> None:
    cluster = healthy()
    cluster[1]["disk"]["free_bytes"] = 1 << 20
    assert ids(cluster) == []


# --- how replicas end -------------------------------------------------------------------------------------------------

FAILED_SYNC = (
    "2026-11-23T16:00:00Z the journal in /data/replica-3 failed while syncing 7.segment: [Errno 5] Input/output error. "
    "This replica stopped, since what the disk holds cannot be known after that; nothing it did not finish was answered "
    "for. Check the disk, then start it again: it reads what is there and syncs it before it vouches for anything."
)
DAMAGED = (
    "the journal in /data/replica-3 is damaged at position 4096, file 7.segment: checksum; votes that cannot be read: "
    "slot 9 at ballot 3.1. This replica must not vote again as it is: it may have forgotten what it promised or accepted."
)
FOREIGN = (
    "replica 3 belongs to cluster c0ffee, replica 1 to cluster decade: check the peer addresses and the data directory"
)
EMPTIED = (
    "the data directory of replica 3 was emptied or replaced (mark 0000000000000001, registered 0000000000000002): it "
    'cannot come back under this id; put its directory back, or see the README under "A lost or damaged disk"'
)


def ended(words: str) -> list[Cause]:
    cluster = dead(healthy(), 3)
    cluster[3] = refused(3, last_words=words, process="gone")
    return findings(cluster, NOW_MS)


@pytest.mark.parametrize(
    ("words", "expected", "shown"),
    [
        (FAILED_SYNC, "why.disk.failed", "failed while syncing 7.segment: [Errno 5] Input/output error."),
        (DAMAGED, "why.journal.damaged", "damaged at position 4096, file 7.segment"),
        (f"refused by replicas 1, 2: {FOREIGN}", "why.directory.foreign", "belongs to cluster c0ffee"),
        (f"refused by replicas 1, 2: {EMPTIED}", "why.replica.refused", "was emptied or replaced"),
        ("a defect, please report it: KeyError(3)", "why.replica.stopped", "KeyError(3)"),
    ],
)
def test_what_a_replica_left_behind_says_why_it_is_missing(words: str, expected: str, shown: str) -> None:
    found = ended(words)
    assert sorted(cause.id for cause in found) == sorted(["why.voter.missing", expected])
    (cause,) = [cause for cause in found if cause.id == expected]
    assert cause.replicas == (3,)
    assert shown in cause.sentence
    assert "2026-11-23T16" not in cause.sentence
    assert len(cause.sentence) < 420


def test_nobody_answers_and_each_says_why() -> None:
    cluster: dict[int, Any] = {one: refused(one, last_words=DAMAGED) for one in (1, 2, 3)}
    assert ids(cluster) == ["why.nobody.answers", *["why.journal.damaged"] * 3]


def test_damage_a_serving_replica_has_found() -> None:
    cluster = healthy()
    cluster[3]["disk"]["damage"] = DAMAGED
    assert ids(cluster) == ["why.journal.damaged", "why.voter.missing"]
    cluster[3]["disk"].update(damage="", stopped_last_time=FAILED_SYNC)  # it was mended and serves again
    assert ids(cluster) == []


def test_another_clusters_directory_is_seen_on_both_sides() -> None:
    cluster = healthy()
    for other in (1, 2):
        disconnected(cluster[other], 3, f"10.0.0.3:4711: {FOREIGN}", None)
        disconnected(cluster[3], other, f"it refuses this replica: {FOREIGN}", None)
        peer(cluster[3], other)["refused"] = FOREIGN
    cluster[3].update(state="waiting", standing="follower", leader=0, waiting_for="replica 1, which refuses this one")
    found = findings(cluster, NOW_MS)
    (cause,) = [cause for cause in found if cause.id == "why.directory.foreign"]
    assert cause.replicas == (3,)
    assert cause.sentence == (
        f"Replica 3 has a directory or a list of another cluster, so replica 1 and 2 refuses it: {FOREIGN}"
    )
    assert not [one for one in found if one.id.startswith("why.link")]


def test_of_two_that_refuse_each_other_the_one_that_does_not_serve_is_wrong() -> None:
    cluster = healthy()
    words = FOREIGN.replace("replica 3 ", "replica 1 ").replace("replica 1 to", "replica 3 to")
    disconnected(cluster[3], 1, f"10.0.0.1:4711: {words}", None)
    cluster[1].update(state="waiting", standing="follower", leader=0)
    (cause,) = [cause for cause in findings(cluster, NOW_MS) if cause.id == "why.directory.foreign"]
    assert cause.replicas == (1,)
    cluster[1] = refused(1)
    (cause,) = [cause for cause in findings(cluster, NOW_MS) if cause.id == "why.directory.foreign"]
    assert cause.replicas == (1,)


def test_another_clusters_directory_is_seen_by_the_peers_after_it_stopped() -> None:
    cluster = dead(healthy(), 3)
    for other in (1, 2):
        disconnected(cluster[other], 3, f"10.0.0.3:4711: {FOREIGN}", None)
    cluster[3] = refused(3)
    assert ids(cluster) == ["why.directory.foreign", "why.voter.missing"]
    for other in (1, 2):
        peer(cluster[other], 3)["trouble_ms_ago"] = 61_000  # it stopped long ago: who knows what it is now
    assert ids(cluster) == ["why.voter.missing"]


def test_an_emptied_directory_is_refused_by_name() -> None:
    cluster = dead(healthy(), 3)
    disconnected(cluster[1], 3, f"10.0.0.3:4711: {EMPTIED}", None)
    cluster[3] = refused(3)
    found = findings(cluster, NOW_MS)
    assert [cause.id for cause in found] == ["why.replica.refused", "why.voter.missing"]
    assert found[0].sentence.startswith(
        "Replica 3 is refused by replica 1: 10.0.0.3:4711: the data directory of replica 3"
    )


# --- loops and clocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "longest"), [(250.0, 320.0), (5.0, 700.0), (600.0, 600.0)])
def test_overloaded_loop(last: float, longest: float) -> None:
    cluster = healthy()
    cluster[1]["loop"]["lag_ms"] = {"last": last, "max_10s": longest}
    cause = only(cluster)
    assert (cause.id, cause.replicas) == ("why.loop.overloaded", (1,))
    assert cause.sentence.endswith(f"by up to {longest:.0f} ms within the last 10 s.")
    assert "60 are connected" in cause.advice


@pytest.mark.parametrize(("last", "longest"), [(190.0, 590.0), (250.0, 290.0)])
def test_a_busy_loop_is_not_overloaded(last: float, longest: float) -> None:
    cluster = healthy()
    cluster[1]["loop"]["lag_ms"] = {"last": last, "max_10s": longest}
    assert ids(cluster) == []


def test_a_loop_that_stands_still_makes_its_replica_a_missing_voter() -> None:
    cluster = healthy()
    cluster[1]["loop"]["stalled_for_ms"] = 7000
    cluster[1]["at_ms"] -= 60_000  # of before it stood still: no evidence of its clock, nor of its links
    peer(cluster[1], 2)["heard_ms_ago"] = 9000
    found = findings(cluster, NOW_MS)
    assert [cause.id for cause in found] == ["why.voter.missing", "why.loop.stalled"]
    assert found[1].sentence == "Replica 1 stands still: its event loop has not turned for 7.0 s."
    assert "py-spy dump --pid 1001" in found[1].advice
    cluster[1]["loop"]["stalled_for_ms"] = 1900
    assert "why.loop.stalled" not in ids(cluster)


@pytest.mark.parametrize(("jump_ms", "shown"), [(3_600_000, "+60 min"), (-1500, "-1.5 s")])
def test_clock_jump(jump_ms: int, shown: str) -> None:
    cluster = healthy()
    cluster[3]["clock"].update(last_jump_ms=jump_ms, last_jump_ago_s=4.0)
    cause = only(cluster)
    assert cause.sentence == f"The clock of replica 3 jumped by {shown}, 4.0 s ago."


@pytest.mark.parametrize(("jump_ms", "ago_s"), [(900, 4.0), (-900, 4.0), (3_600_000, 301.0)])
def test_a_small_or_an_old_jump_is_silent(jump_ms: int, ago_s: float) -> None:
    cluster = healthy()
    cluster[3]["clock"].update(last_jump_ms=jump_ms, last_jump_ago_s=ago_s)
    assert ids(cluster) == []


def test_a_clock_apart_from_the_others_is_named_even_if_it_is_the_leaders() -> None:
    cluster = healthy()
    cluster[2]["at_ms"] += 12_000
    for follower in (1, 3):
        cluster[follower]["clock"]["against_leader_ms"] = -12_000
    cause = only(cluster)
    assert (cause.id, cause.replicas) == ("why.clock.apart", (2,))
    assert "differs by +12.0 s" in cause.sentence


def test_the_askers_own_clock_and_small_differences_are_silent() -> None:
    cluster = healthy()
    cluster[2]["at_ms"] += 9_000
    assert [cause.id for cause in findings(cluster, NOW_MS + 3_600_000)] == []


# --- links and names --------------------------------------------------------------------------------------------------


def test_one_way_cut_from_the_leader_to_a_follower() -> None:
    cluster = healthy()
    peer(cluster[3], 2).update(heard_ms_ago=2700)  # its heartbeats do not arrive
    peer(cluster[2], 3).update(heard_ms_ago=400)  # 3 asks who leads
    cluster[3].update(leader=0, state="waiting")
    cause = only(cluster)
    assert (cause.id, cause.replicas) == ("why.link.one_way", (3, 2))
    assert cause.sentence == (
        "Messages pass only one way between replicas 3 and 2: replica 2 hears replica 3, but nothing of replica 2 reaches "
        "replica 3, for 2.7 s."
    )
    assert "from replica 2 to the peer port of replica 3, at 10.0.0.3:7181" in cause.advice


def test_one_way_cut_from_a_follower_to_the_leader() -> None:
    cluster = healthy()
    peer(cluster[2], 3).update(heard_ms_ago=2100)
    cause = only(cluster)
    assert cause.replicas == (2, 3)
    assert "replica 3 hears replica 2, but nothing of replica 3 reaches replica 2, for 2.1 s" in cause.sentence


def test_one_way_cut_between_followers_shows_in_their_connections() -> None:
    cluster = healthy()
    peer(cluster[1], 3).update(
        is_connected=False, sent_ok_ms_ago=None, trouble="10.0.0.3:7181: no answer within 2 s", trouble_ms_ago=900
    )
    cause = only(cluster)
    assert (cause.id, cause.replicas) == ("why.link.one_way", (3, 1))
    assert "(10.0.0.3:7181: no answer within 2 s)" in cause.sentence


def test_three_seconds_of_silence_between_followers_or_one_missed_second_are_no_cut() -> None:
    cluster = healthy()
    peer(cluster[1], 3).update(heard_ms_ago=None)
    peer(cluster[3], 1).update(heard_ms_ago=3000)
    peer(cluster[3], 2).update(heard_ms_ago=1900)
    peer(cluster[1], 2).update(sent_ok_ms_ago=3900)
    assert ids(cluster) == []


def test_a_cut_in_both_directions() -> None:
    cluster = healthy()
    disconnected(cluster[1], 3, "10.0.0.3:7181: no answer within 2 s")
    disconnected(cluster[3], 1, "10.0.0.1:7181: no answer within 2 s")
    cause = only(cluster)
    assert cause.sentence == (
        "Replicas 1 and 3 both run and do not reach each other (10.0.0.3:7181: no answer within 2 s)."
    )
    peer(cluster[1], 3).update(heard_ms_ago=800)  # it broke a moment ago
    peer(cluster[3], 1).update(heard_ms_ago=800)
    assert ids(cluster) == []


def test_a_name_that_does_not_resolve() -> None:
    cluster = healthy()
    cluster[1]["configuration"]["members"][2]["peer_address"] = "h3.invalid:7181"
    words = "h3.invalid:7181: the name does not resolve (Name or service not known)"
    disconnected(cluster[1], 3, words, None)
    peer(cluster[1], 3).update(is_heard=True)
    cause = only(cluster)
    assert (cause.id, cause.replicas) == ("why.name.unresolved", (1, 3))
    assert cause.sentence.startswith(
        "Replica 1 cannot find replica 3: the name in h3.invalid:7181 does not resolve there"
    )
    peer(cluster[1], 3).update(is_connected=True)
    assert ids(cluster) == []


def test_a_name_that_did_not_resolve_long_ago_is_silent() -> None:
    cluster = healthy()
    peer(cluster[1], 3).update(trouble="the name does not resolve", trouble_ms_ago=16_000)
    assert ids(cluster) == []


# --- leadership -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "expected"), [(3, []), (4, ["why.leader.unstable"])])
def test_leadership_that_goes_round(changes: int, expected: list[str]) -> None:
    cluster = healthy()
    cluster[1]["leader_changes_last_10min"] = changes
    assert ids(cluster) == expected


# --- the catalogue ----------------------------------------------------------------------------------------------------


def test_worst_first_and_json() -> None:
    cluster = dead(healthy(), 3)
    cluster[3] = refused(3, last_words=FAILED_SYNC)
    cluster[1]["clock"].update(last_jump_ms=5000, last_jump_ago_s=1.0)
    found = findings(cluster, NOW_MS)
    assert [cause.severity for cause in found] == sorted((cause.severity for cause in found), reverse=True)
    value = found[-1].to_json()
    assert value["id"] == "why.clock.jumped"
    assert value["severity"] == "warning"
    assert value["replicas"] == [1]
    assert value["operands"] == {"replica": 1, "jump": "+5.0 s", "ago": "1.0 s"}


def test_a_newcomer_finds_every_cause_in_the_document() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/why.md").read_text(encoding="utf-8")
    titles = [line.removeprefix("### ").strip("` ") for line in text.splitlines() if line.startswith("### `why.")]
    assert titles == list(CATALOGUE)
