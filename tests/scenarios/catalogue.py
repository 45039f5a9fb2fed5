"""Every named scenario: what happens, what must hold, and where that is shown or what it waits for.

The names are those of the catalogue that the rules of ``docs/rules.md`` cite behind *Test:*, and some more from the
papers. ``test_scenario_catalogue.py`` sees to it that no name is missing, that every test named here exists and bears
the name, and that ``docs/scenarios.md`` says the same; ``MULTIPAXOS_REWRITE=1`` writes that page anew.
"""

from dataclasses import dataclass
from textwrap import fill

LEASES = "leases"
MEMBERSHIP = "membership changes"
SNAPSHOTS = "snapshots and compaction"
REPAIR = "repair of a damaged journal"
DIVERGENCE = "the divergence alarm"
RESTORE = "backup and restore"
LEVELS = "behaviour levels"
LIBRARY = "the library and its sessions"
QUORUM_READS = "reads from a quorum of followers"
NOTES = "notes of each other's durable positions (rule-R41)"
RESERVE = "a reserve segment, and each voter's room in its heartbeats (rule-R38)"
ALARMS = "alarms, and `why`"

MECHANISMS = (
    LEASES, MEMBERSHIP, SNAPSHOTS, REPAIR, DIVERGENCE, RESTORE, LEVELS, LIBRARY, QUORUM_READS, NOTES, RESERVE, ALARMS,
)  # fmt: skip

BALLOTS = "tests/scenarios/test_scenarios_of_ballots.py::"
LEADERS = "tests/scenarios/test_scenarios_of_leaders.py::"
DISKS = "tests/scenarios/test_scenarios_of_disks.py::"
SESSIONS = "tests/scenarios/test_scenarios_of_sessions.py::"
IDENTITY = "tests/scenarios/test_scenarios_of_identity.py::"
STORIES = "tests/transcripts/"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One name. ``tests`` are ``file::test`` or transcripts; ``waits`` is what is not built yet: all of it where there
    are no tests, else the part that ``rest`` says."""

    name: str
    source: str  # the rule or paper that asks for it
    happens: str
    holds: str
    tests: tuple[str, ...] = ()
    waits: str = ""
    rest: str = ""


PAPERS = (
    Scenario(
        "lamport-135", "PMS 3",
        "A new leader knows slots 1 to 134, 138 and 139; 135 and 140 are reported to it, 136 and 137 by nobody.",
        "135 and 140 are proposed again, 136 and 137 become no-ops, and the state is executed through 140.",
        (STORIES + "lamport-135.txt", "tests/core/test_leader.py::test_lamport_135"),
    ),
    Scenario(
        "ptp-fig1", "PTP 2.1",
        "The five ballots of the paper's figure 1: 2, 5, 14, 27, 29.",
        "Where earlier votes of a ballot's quorum force a decree, it is the one of the figure; ballot 27 is never undone.",
        (BALLOTS + "test_ptp_fig1",),
    ),
    Scenario(
        "no-raise-keep-last", "trap-T3",
        "An acceptor accepts at ballot 2 without having seen a prepare, then a late accept of ballot 1 comes.",
        "It refuses. An acceptor that keeps the last vote and does not raise its promise lets two decrees be chosen.",
        (BALLOTS + "test_no_raise_keep_last", "tests/core/test_acceptor.py::test_an_accept_is_a_promise"),
    ),
    Scenario(
        "forgotten-promise", "trap-T4, rule-R36",
        "An acceptor promises ballot 10, loses its disk, and helps ballot 7 to choose what 10 has not heard of.",
        "It is refused for ever under its old name. The paper's own rule for a lost disk gives two decrees.",
        (
            BALLOTS + "test_forgotten_promise",
            BALLOTS + "test_forgotten_promise_where_a_lost_disk_may_come_back",
            "tests/storage/test_journal_damage.py::test_a_rotten_promise_record_is_not_forgotten",
        ),
    ),
    Scenario(
        "zab-fig1", "trap-T6, rule-R8",
        "A leader pipelines A and then B, which depends on A; only B survives it.",
        "B is not executed, since A was not.",
        (STORIES + "zab-fig1.txt",),
    ),
    Scenario(
        "duel", "PMS 2.4, rule-R28",
        "Two proposers alternate their phases, each preparing above the other.",
        "One of them leads soon. Proposers by hand without drawn waits never end.",
        (
            STORIES + "duel.txt",
            BALLOTS + "test_duel_of_replicas_that_all_draw_the_same",
            "tests/synod/test_synod_runs.py::test_without_chance_a_duel_never_ends_and_with_it_it_does",
        ),
    ),
    Scenario(
        "silent-choice", "PMS 2.3, rule-R53",
        "A decree is chosen; every message that would tell so is lost, and the proposer dies.",
        "Who reads runs a ballot and finds the decree.",
        (STORIES + "silent-choice.txt", "tests/synod/test_synod_runs.py::test_silent_choice"),
    ),
    Scenario(
        "old-leader-returns", "PML 5.2, rule-R6",
        "The leader is cut off and comes back, a hundred times; also while it still reaches one replica.",
        "At most one change of leader each time.",
        (
            STORIES + "old-leader-returns.txt",
            LEADERS + "test_old_leader_returns_a_hundred_times",
            LEADERS + "test_old_leader_returns_through_one_replica",
        ),
    ),
    Scenario(
        "lease-amnesia", "rule-R23",
        "An acceptor grants a lease, restarts, and is asked by a rival; also after the longest lease was lowered.",
        "No second leader inside the lease.", waits=LEASES,
    ),
    Scenario(
        "lease-drift", "rule-R22",
        "Clocks drift apart as far as is allowed, then further.",
        "No stale read; then a violation, which shows that the test bites.", waits=LEASES,
    ),
    Scenario(
        "lease-late-reply", "rule-R22",
        "The answer that grants a lease takes 90 % of its length.",
        "The holder counts from before it asked.", waits=LEASES,
    ),
    Scenario(
        "quorum-loss", "rule-R29",
        "Five replicas; only one is linked to all, the others to it alone; the old leader lives.",
        "Within four election timeouts that one leads, and decrees are chosen.",
        (STORIES + "quorum-loss.txt", LEADERS + "test_quorum_loss"),
    ),
    Scenario(
        "constrained", "rule-R29, trap-T10",
        "The same, but the one in the middle has the oldest ledger, and no link to the old leader.",
        "Within four election timeouts it leads, its ledger completed.",
        (STORIES + "constrained.txt", LEADERS + "test_constrained"),
    ),
    Scenario(
        "chained", "rule-R29, rule-R32",
        "Three replicas in a row; the leader at one end, or in the middle.",
        "No change of leader, no race of ballots, for a minute.",
        (STORIES + "chained.txt", LEADERS + "test_chained", LEADERS + "test_chained_around_the_leader"),
    ),
    Scenario(
        "one-way", "rule-R29",
        "Links break in one direction: every set of links of three replicas, every link of five and many sets.",
        "Decrees are chosen if any replica is linked to a majority; at most one change of leader, then peace.",
        (
            STORIES + "one-way.txt",
            LEADERS + "test_one_way_any_links_of_three",
            LEADERS + "test_one_way_every_link_of_five",
            LEADERS + "test_one_way_some_links_of_five",
        ),
    ),
    Scenario(
        "removed-disrupts", "rule-R28, rule-R44",
        "A replica that was removed, or that heeds no probe, campaigns for ever.",
        "No change of leader.",
        (LEADERS + "test_removed_disrupts_nobody",), MEMBERSHIP, "removal itself",
    ),
    Scenario(
        "drowned", "PTP 3.3.6, rule-R43",
        "A change of members names replicas that nobody reaches.",
        "It is refused.", waits=MEMBERSHIP,
    ),
    Scenario(
        "early-config", "rule-R7",
        "A new configuration is used before it governs.",
        "One decree in each slot; used too early it gives two.", waits=MEMBERSHIP,
    ),
    Scenario(
        "round-clash", "trap-T2, rule-R1",
        "Three replicas become five and three again, each issuing numbers from what it knows.",
        "No ballot is issued twice; with the article's `s % n` and the n of the moment some are.",
        (BALLOTS + "test_round_clash",),
    ),
    Scenario(
        "truncate-loses", "rule-R4, rule-R35",
        "An early record rots at one of five replicas, two lag, two are down.",
        "The laggards wait; nothing that was chosen is ever overwritten.",
        (DISKS + "test_truncate_loses_nothing",), REPAIR, "the rotten replica stays out until then",
    ),
    Scenario(
        "gc-hole", "rule-R4, rule-R39",
        "An acceptor has dropped slot k; a new leader asks from below it.",
        "The leader fetches a snapshot, and puts no no-op there.", waits=SNAPSHOTS,
    ),
    Scenario(
        "snapshot-chase", "rule-R39, rule-R48",
        "The provider of a snapshot compacts and dies while it is fetched.",
        "The laggard ends equal to the others.", waits=SNAPSHOTS,
    ),
    Scenario(
        "snapshot-stall", "PML 7",
        "A big snapshot is written while clients write.",
        "The time of a journal sync stays bounded.", waits=SNAPSHOTS,
    ),
    Scenario(
        "rollback-dir", "rule-R41",
        "Yesterday's data directory is put back under a replica.",
        "It gets to promise and to accept nothing.",
        (
            IDENTITY + "test_rollback_dir",
            "tests/transport/test_tcp.py::test_an_older_incarnation_is_refused",
        ),
        NOTES, "where the replica was not started again since yesterday, or its peers were",
    ),
    Scenario(
        "stale-cache", "Chubby 4.4",
        "A young session that only reads, and a fail-over.",
        "No stale read.", waits=LIBRARY,
    ),
    Scenario(
        "late-epoch", "Chubby 2.9",
        "A packet for the previous leader reaches the same machine in its next reign.",
        "Refused; the new epoch is told.", waits=LIBRARY,
    ),
    Scenario(
        "zombie-writer", "Chubby 2.4",
        "A client loses its lock; its delayed write carries the old sequencer.",
        "The file server refuses it.", waits=LIBRARY,
    ),
    Scenario(
        "retry-twice", "rule-R8, rule-R11",
        "A gateway's command goes to two leaders, its answer lost; it is chosen in two slots.",
        "Executed once.",
        (
            STORIES + "retry-twice.txt",
            "tests/paper/test_made_moderately_complex.py::test_k3_the_same_command_chosen_in_two_slots_is_performed_once",
        ),
        LIBRARY, "clients that retry through another replica, and get the same result",
    ),
    Scenario(
        "read-before-noop", "rule-R19",
        "A new leader is asked at once.",
        "The read waits until the first decree of this leadership is applied, and for a round begun after it came.",
        (STORIES + "read-before-noop.txt",),
    ),
    Scenario(
        "pqr-half-slot", "PQR",
        "A slot that is not finished raises the read slot.",
        "The read waits and is not stale.", waits=QUORUM_READS,
    ),
    Scenario(
        "worker-flood", "PML 7",
        "Executing commands is slow at one replica, and clients send several times what it can do.",
        "Nobody fails over; heartbeats keep coming; afterwards everything was executed once.",
        (DISKS + "test_worker_flood",),
    ),
    Scenario(
        "gray-leader", "rule-R31",
        "The leader's disk is fifty times slower, its heartbeats are fine; later a write is older than `disk_stall`.",
        "Followers hear of it at once, writes go on; then it hands over, once.",
        (DISKS + "test_gray_leader",), ALARMS, "saying so aloud",
    ),
    Scenario(
        "masked-member", "PML 6.3",
        "One of five replicas goes under a misspelled name; the others serve.",
        "`status` says that one more failure is survived, not two, and beside which replica the trouble stands.",
        (IDENTITY + "test_masked_member",), ALARMS, "raising an alarm for it",
    ),
    Scenario(
        "fsync-eio", "rule-R37",
        "A sync fails once.",
        "The replica stops and has answered for nothing that it was to make durable; it never tries again.",
        (
            "tests/storage/test_journal.py::test_fsync_eio",
            "tests/host/test_driver.py::test_a_failed_sync_stops_the_replica_at_once",
            "tests/cluster/test_disk_faults.py::test_a_failed_sync_stops_the_replica_which_names_the_reason",
        ),
    ),
    Scenario(
        "failover-in-failover", "Chubby 2.9",
        "A new leader dies at each of the nine steps of its fail-over.",
        "Sessions, locks and fences hold.", waits=LIBRARY,
    ),
)  # fmt: skip
"""What the papers and the literature on half-broken networks ask for."""

RULES = (
    Scenario(
        "huge-number", "rule-R1",
        "A message names a ballot 2^33 rounds ahead.",
        "Refused as malformed, and counted; ballots go on as before.",
        (
            BALLOTS + "test_huge_number",
            "tests/core/test_regressions.py::test_one_garbled_number_does_not_use_up_all",
            "tests/synod/test_synod_runs.py::test_numbers_up_to_the_limit_and_no_further",
        ),
    ),
    Scenario(
        "phase1-new-members", "rule-R2",
        "One leader chooses by the new voters, another campaigns with the promises of the old ones.",
        "One decree; a stable leader asks the new voter before its first slot.", waits=MEMBERSHIP,
    ),
    Scenario(
        "page-compacted", "rule-R3",
        "Between two pages of its promise an acceptor learns what they speak of, or promises somebody else.",
        "What came so far counts for nothing; no no-op is put over a chosen decree.",
        (STORIES + "page-compacted.txt", "tests/core/test_leader.py::test_pages_of_two_floors_are_never_put_together"),
        SNAPSHOTS, "a floor that moves between two pages",
    ),
    Scenario(
        "unverified-prefix", "rule-R5",
        "A replica holds an older vote in a slot that is announced as chosen.",
        "It fetches the decree, and does not take its vote for it.",
        (STORIES + "unverified-prefix.txt",),
    ),
    Scenario(
        "dead-ballot", "rule-R6",
        "A voter promised a high ballot, and its owner died.",
        "The leader is above it within a heartbeat or two, and the voter votes again.",
        (
            STORIES + "dead-ballot.txt",
            LEADERS + "test_dead_ballot",
            "tests/core/test_regressions.py::test_two_dead_ballots_do_not_keep_each_other_alive",
        ),
    ),
    Scenario(
        "two-windows", "rule-R7, trap-T23",
        "The file of a born cluster's replica states another window.",
        "Refused at the start, both values named. Replicas that reckon with two windows choose twice.",
        (IDENTITY + "test_two_windows", IDENTITY + "test_two_windows_would_choose_twice"),
    ),
    Scenario(
        "window-shrinks", "rule-R7",
        "The window becomes 1, members change in the very next slot, and another leader takes over.",
        "One decree in each slot.", waits=MEMBERSHIP,
    ),
    Scenario(
        "gap-then-resend", "rule-R8",
        "A new leader adopts the second command of a gateway without the first; or a broken link loses the first.",
        "The first before the second, each once, and the stream is never stuck.",
        (
            STORIES + "gap-then-resend.txt",
            SESSIONS + "test_gap_then_resend_over_a_broken_link",
            "tests/core/test_streams.py::test_a_gap_consumes_nothing",
        ),
    ),
    Scenario(
        "session-moves-late-write", "rule-R8, rule-R9",
        "A client's writes are under way at one gateway; it moves to another and acts; then they arrive.",
        "Moved: never executed, and never taken for another command.",
        (
            SESSIONS + "test_session_moves_late_write",
            SESSIONS + "test_session_moves_late_write_of_its_last_second",
        ),
    ),
    Scenario(
        "double-attach", "rule-R9",
        "An attach through one gateway is given up, one through another is confirmed, and the first is applied last; a "
        "new session is asked for twice by a resend.",
        "The second gateway keeps the session; one session is made.",
        (
            SESSIONS + "test_double_attach",
            SESSIONS + "test_double_attach_of_a_client_that_is_still_there",
            SESSIONS + "test_double_attach_creates_one_session",
        ),
    ),
    Scenario(
        "snapshot-over-unanswered", "rule-R10",
        "A gateway that is behind installs a snapshot above its own unanswered commands.",
        "Their connections close; nothing runs twice.", waits=SNAPSHOTS,
    ),
    Scenario(
        "late-epoch-decree", "rule-R12",
        "The epoch decree of a dead leader is adopted above that of its successor.",
        "The old reign does not begin again.",
        (STORIES + "late-epoch-decree.txt",),
    ),
    Scenario(
        "late-decision", "rule-R13 to rule-R15",
        "A session's expiry, decided by a dead leader, is adopted in a later reign; clocks are an hour apart.",
        "Refused; zxid and time never go back.",
        (STORIES + "late-decision.txt", SESSIONS + "test_late_decision_with_skewed_clocks"),
        MEMBERSHIP, "the same with a reconfiguration",
    ),
    Scenario(
        "old-backup-twice", "rule-R16, rule-R27",
        "One backup is restored twice, with clients of both.",
        "Nobody is turned away for ever, and nobody gets another's session.", waits=RESTORE,
    ),
    Scenario(
        "poison-command", "rule-R17",
        "Commands that mean nothing, or nearly something, are in the ledger; one raises while it changes the state.",
        "A result, the same everywhere, and equal digests; the last stops its replica.",
        (
            SESSIONS + "test_poison_command",
            "tests/core/test_regressions.py::test_a_segment_that_lies_about_its_commands_stops_nobody",
        ),
    ),
    Scenario(
        "mixed-versions", "rule-R18",
        "Replicas of two versions, then the behaviour level is raised.",
        "Digests are equal throughout; there is no way back afterwards, and that is said.", waits=LEVELS,
    ),
    Scenario(
        "late-reader", "rule-R19",
        "A read arrives between a round and its answers, and a new leader has written.",
        "It waits for the next round.",
        (STORIES + "late-reader.txt",),
    ),
    Scenario(
        "read-between-writes", "rule-R21",
        "`set 1; get; set 2` in one packet, and one decree.",
        "The read says 1, at its own zxid.",
        (
            SESSIONS + "test_read_between_writes",
            "tests/cluster/test_guarantees.py::test_a_read_between_two_pipelined_writes_sees_the_first_only",
        ),
    ),
    Scenario(
        "paused-grantor", "rule-R22",
        "Holder or grantor of a lease stands still inside a step, for longer than the lease.",
        "No stale read.", waits=LEASES,
    ),
    Scenario(
        "lease-members", "rule-R22",
        "All voters are replaced one by one under leased reads.",
        "No stale read; rounds meanwhile.", waits=LEASES,
    ),
    Scenario(
        "expiry-meets-attach", "rule-R24",
        "All stand still past all deadlines, or the leader does; its timers fire while touches wait in sockets, and while "
        "a client attaches elsewhere.",
        "No session of a living client is lost; what the ledger holds first decides.",
        (
            SESSIONS + "test_expiry_meets_attach_after_a_pause_of_everything",
            SESSIONS + "test_expiry_meets_attach_elsewhere_while_the_leader_is_paused",
            SESSIONS + "test_expiry_meets_attach_in_the_ledger",
        ),
    ),
    Scenario(
        "cut-off-gateway", "rule-R25, rule-R26",
        "A gateway loses the others; another is stopped for a minute.",
        "It closes within its bound: no read of the past, no ping answered, nobody told \"expired\".",
        (
            SESSIONS + "test_cut_off_gateway",
            SESSIONS + "test_cut_off_gateway_that_was_stopped",
            "tests/sim/test_seeds.py::test_a_gateway_that_is_cut_off_misleads_nobody",
        ),
    ),
    Scenario(
        "transfer-late", "rule-R30",
        "\"Campaign now\" arrives a minute late; the target of a hand-over dies midway.",
        "Ignored; the leader resumes, and what waited is executed once.",
        (
            STORIES + "transfer-late.txt",
            LEADERS + "test_transfer_late",
            LEADERS + "test_transfer_late_the_target_dies_midway",
        ),
    ),
    Scenario(
        "hung-leader", "rule-R31",
        "The leader's sync never returns; its network lives.",
        "Handed over; the longest gap between acknowledged writes is below two election timeouts.",
        (
            STORIES + "hung-leader.txt",
            DISKS + "test_hung_leader",
            "tests/cluster/test_disk_faults.py::test_a_leader_whose_disk_hangs_hands_over",
        ),
    ),
    Scenario(
        "slow-everywhere", "rule-R31",
        "Every sync takes half a second, for ten minutes. Then the leader dies, too.",
        "No hand-over and no change of leader; and somebody else gets to lead.",
        (
            DISKS + "test_slow_everywhere",
            DISKS + "test_slow_everywhere_for_the_shipped_journal",
            DISKS + "test_slow_everywhere_though_the_journals_are_not_in_step",
            DISKS + "test_slow_everywhere_and_the_leader_dies",
            "tests/cluster/test_disk_faults.py::test_slow_disks_everywhere_do_not_send_leadership_round",
        ),
    ),
    Scenario(
        "repeat-before-sync", "rule-R33",
        "Accept and prepare come again while the sync for the first one runs.",
        "No answer before that sync.",
        (
            STORIES + "repeat-before-sync.txt",
            "tests/cluster/test_disk_faults.py::test_nothing_leaves_a_replica_whose_disk_never_completes_a_sync",
        ),
    ),
    Scenario(
        "sealed-vote-rots", "rule-R34, rule-R35",
        "The last acknowledged record rots, the other voter dies, the laggard campaigns.",
        "The rotten replica refuses to start and names the vote; the laggard waits, and puts no no-op there.",
        (DISKS + "test_sealed_vote_rots", "tests/storage/test_journal_damage.py::test_sealed_vote_rots"),
    ),
    Scenario(
        "power-loss-everywhere", "rule-R34, rule-R41",
        "All replicas lose power at one moment, with torn tails.",
        "All start, nobody is refused, nothing acknowledged is lost.",
        (
            DISKS + "test_power_loss_everywhere",
            "tests/storage/test_journal_crash.py::test_power_loss_everywhere_refuses_nobody",
        ),
    ),
    Scenario(
        "cache-vouches", "rule-R37",
        "A process is killed before its sync, promises by what it reads, and the machine crashes; or the sync failed.",
        "Nothing that was vouched for is lost.",
        (
            "tests/storage/test_journal_crash.py::test_cache_vouches",
            "tests/storage/test_journal_crash.py::test_cache_vouches_after_a_failed_sync",
            "tests/cluster/test_disk_faults.py::test_what_was_read_at_a_start_is_synced_before_it_is_vouched_for",
        ),
    ),
    Scenario(
        "all-full", "rule-R38, rule-R10",
        "No disk has room for another journal segment; space returns.",
        "Found before writing. Alone: reads, sync, deletes and new sessions work, growing commands get -127. Together: "
        "nothing is acknowledged, nothing is lost. It heals by itself.",
        ("tests/scenarios/test_scenarios_of_full_disks.py::test_all_full_alone", DISKS + "test_all_full"),
        RESERVE, "elections, attaches and deletes of several voters that are all full",
    ),
    Scenario(
        "one-full", "rule-R38, rule-R10",
        "The disk of one replica of three fills, of a follower or of the leader; space returns.",
        "The others go on, a leader hands over; afterwards it catches up and counts again.",
        (DISKS + "test_one_full",),
    ),
    Scenario(
        "wiped-at-birth", "rule-R40",
        "A directory is emptied after each message of the cluster's birth in turn.",
        "One birth. The emptied replica takes part where the birth names its new directory, else it stops.",
        (
            IDENTITY + "test_wiped_at_birth",
            "tests/core/test_regressions.py::test_nothing_is_born_again_when_somebody_knows_slot_1",
        ),
    ),
    Scenario(
        "wiped-later", "rule-R40",
        "A directory is emptied long after the birth.",
        "Refused with what to do, and its promise is not counted.",
        (
            STORIES + "wiped-later.txt",
            IDENTITY + "test_wiped_later",
            "tests/host/test_cluster_command.py::test_an_emptied_replica_is_refused",
        ),
    ),
    Scenario(
        "two-lists", "rule-R40",
        "The files of a new cluster's replicas list different members.",
        "No birth; both lists are named.",
        (IDENTITY + "test_two_lists",),
    ),
    Scenario(
        "copied-dir", "rule-R41",
        "A copy of a data directory is started instead of the original, or beside it.",
        "Refused, or stopped at its first command.",
        (
            IDENTITY + "test_copied_dir_instead_of_the_original",
            IDENTITY + "test_copied_dir_beside_the_original",
            "tests/storage/test_identity.py::test_copied_dir",
        ),
    ),
    Scenario(
        "replace-one-dead", "rule-R43",
        "One of three is dead and is replaced; the newcomer stumbles.",
        "Never an even configuration with a dead voter.", waits=MEMBERSHIP,
    ),
    Scenario(
        "retired-too-early", "rule-R45",
        "`replace` returns, the old machine is wiped, and another dies.",
        "No chosen slot is lost; or the command has not returned.", waits=MEMBERSHIP,
    ),
    Scenario(
        "survivor", "rule-R46",
        "Two of three disks are lost.",
        "A new cluster, its epoch above; what may be missing is printed; replicas of the old one are refused.",
        waits=RESTORE,
    ),
    Scenario(
        "two-configurations-in-handle", "rule-R47",
        "A snapshot between a change's slot and the slot it governs from.",
        "Each slot is counted by its own configuration.", waits=SNAPSHOTS,
    ),
    Scenario(
        "rotten-leader", "rule-R49",
        "A bit of the leader's state flips.",
        "The leader is fenced, and not the others.", waits=DIVERGENCE,
    ),
    Scenario(
        "three-ways", "rule-R49",
        "All three replicas differ.",
        "Nobody is fenced; there is an alarm.", waits=DIVERGENCE,
    ),
    Scenario(
        "equal-number", "rule-R51",
        "Two runs of one class by hand use an equal number, also with retransmission.",
        "One value. An acceptor that promises an equal number again lets two be chosen.",
        (
            "tests/synod/test_synod_runs.py::test_equal_number",
            "tests/synod/test_synod_runs.py::test_equal_number_would_break_where_it_is_promised_twice",
        ),
    ),
    Scenario(
        "other-set", "rule-R52",
        "One name is proposed under two sets of acceptors.",
        "Refused by name, also when a majority has said yes.",
        (
            "tests/synod/test_synod_runs.py::test_other_set",
            "tests/synod/test_synod_runs.py::test_other_set_also_when_a_majority_says_yes_first",
        ),
    ),
    Scenario(
        "listed-twice", "rule-R52",
        "One acceptor is listed under two addresses.",
        "Refused by name.",
        (
            "tests/synod/test_synod_runs.py::test_listed_twice",
            "tests/synod/test_synod_messages.py::test_listed_twice_in_two_spellings_is_refused_before_anybody_is_asked",
        ),
    ),
)  # fmt: skip
"""What the rules ask for, in their order."""

SCENARIOS = PAPERS + RULES

COUNT = 79
"""How many names there are: 35 of the papers, 44 of the rules."""


def page() -> str:
    """``docs/scenarios.md``."""
    shown = [scenario for scenario in SCENARIOS if scenario.tests]
    halves = [scenario for scenario in shown if scenario.waits]
    lines = [
        "# Scenarios",
        "",
        _filled(
            "A scenario is a schedule with a name: who says what to whom, who dies, what is lost; and what must hold "
            "all the same. Rules (`rules.md`) and traps (`traps.md`) are told by such schedules, and each is a test that "
            "bears its name. Those in `tests/transcripts/` are meant to be read: a story in steps, and below each step "
            "every effect with its reason."
        ),
        "",
        _filled(
            f"{len(SCENARIOS)} names: {len(shown)} are shown, {len(halves)} of these in part, and "
            f"{len(SCENARIOS) - len(shown)} wait for something that is not built yet. This page is made from "
            "`tests/scenarios/catalogue.py`, which a test keeps honest. One election timeout is 1.2 s, one heartbeat "
            "0.1 s, as everywhere."
        ),
        "",
        "## What they wait for",
        "",
    ]
    for mechanism in MECHANISMS:
        whole = [f"`{scenario.name}`" for scenario in SCENARIOS if scenario.waits == mechanism and not scenario.tests]
        part = [f"`{scenario.name}`" for scenario in halves if scenario.waits == mechanism]
        told = ", ".join(whole)
        if part:
            told += ("; in part " if told else "in part ") + ", ".join(part)
        lines.append(_item(f"**{mechanism}**: {told}"))
    for title, scenarios in (("From the papers", PAPERS), ("From the rules, in their order", RULES)):
        lines += ["", f"## {title}", ""]
        lines += [_item(_told(scenario)) for scenario in scenarios]
    return "\n".join(lines) + "\n"


def _told(scenario: Scenario) -> str:
    told = f"**`{scenario.name}`** ({scenario.source}). {scenario.happens} *Must hold:* {scenario.holds}"
    if scenario.tests:
        told += " *Shown by* " + ", ".join(f"`{_short(test)}`" for test in scenario.tests) + "."
    if scenario.waits:
        told += f" *Waits for* {scenario.waits}" + (f": {scenario.rest}." if scenario.rest else ".")
    return told


def _short(test: str) -> str:
    return test.removeprefix("tests/")


def _filled(text: str) -> str:
    return fill(text, 124, break_long_words=False, break_on_hyphens=False)


def _item(text: str) -> str:
    return fill(text, 124, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
