"""Where each statement of the article and of three papers is shown: the article's claims A1 to A38, and the rows of Paxos
Made Simple (S), The Part-Time Parliament (P) and Paxos Made Moderately Complex (K), numbered as the tests here are.

A row names tests (``file::test``, or a transcript), what it waits for, or why it is left out. ``test_rows.py`` sees to it
that the numbers have no gap and that everything named exists. A row may be shown elsewhere than in this folder, where it
needs real processes or bytes.
"""

from dataclasses import dataclass

ARTICLE = "tests/paper/test_article.py::"
PROCESSES = "tests/paper/test_article_processes.py::"
SIMPLE = "tests/paper/test_paxos_made_simple.py::"
PARLIAMENT = "tests/paper/test_part_time_parliament.py::"
COMPLEX = "tests/paper/test_made_moderately_complex.py::"
MORE = "tests/paper/test_more_statements.py::"
SYNOD = "tests/synod/test_synod_"

MEMBERSHIP = "membership changes"
SNAPSHOTS = "snapshots and compaction"
LEASES = "leases"


@dataclass(frozen=True, slots=True)
class Row:
    """One statement. ``waits`` is what is not built yet; ``left_out`` says why it is not taken, or not yet."""

    tests: tuple[str, ...] = ()
    waits: str = ""
    left_out: str = ""


def shown(*tests: str, waits: str = "") -> Row:
    """Shown by these, all of it or but for what waits."""
    return Row(tests, waits)


CLAIMS = {
    1: shown(
        PROCESSES + "test_claim_a1_processes_communicate_by_messages_only",
        SYNOD + "processes.py::test_a_killed_acceptor_remembers_what_it_answered",
    ),
    2: shown(
        PROCESSES + "test_claim_a2_processes_may_be_slow",
        "tests/cluster/test_no_quorum.py::test_a_replica_that_was_stopped_too_long_answers_nobody_from_the_past",
    ),
    3: shown(
        PROCESSES + "test_claim_a3_any_minority_may_be_killed_at_any_moment",
        "tests/cluster/test_nothing_lost.py::test_nothing_acknowledged_is_lost",
    ),
    4: shown(
        PROCESSES + "test_claim_a4_what_was_promised_and_accepted_outlives_a_restart",
        SYNOD + "acceptor.py::test_every_prefix_of_the_journal_is_a_state_it_was_in",
    ),
    5: shown(ARTICLE + "test_claim_a5_a_message_may_be_delayed_beyond_the_end_of_its_ballot"),
    6: shown(ARTICLE + "test_claim_a6_any_single_message_of_a_decree_may_be_lost"),
    7: shown(
        ARTICLE + "test_claim_a7_every_message_may_come_twice",
        ARTICLE + "test_claim_a7_a_vote_that_comes_twice_is_one_vote",
    ),
    8: shown(
        ARTICLE + "test_claim_a8_the_network_may_partition",
        "tests/scenarios/test_scenarios_of_leaders.py::test_one_way_any_links_of_three",
    ),
    9: shown(
        PROCESSES + "test_claim_a9_a_tampered_message_is_lost_and_never_believed",
        SYNOD + "processes.py::test_a_flipped_byte_costs_a_connection_and_nothing_else",
    ),
    10: shown(ARTICLE + "test_claim_a10_no_anomaly_breaks_agreement"),
    11: shown(ARTICLE + "test_claim_a11_more_than_half_choose_and_one_fewer_never_does"),
    12: shown(ARTICLE + "test_claim_a12_any_replica_may_be_asked"),
    13: shown(ARTICLE + "test_claim_a13_what_is_chosen_never_changes"),
    14: shown(ARTICLE + "test_claim_a14_what_is_chosen_can_be_read_after_any_minority_died"),
    15: shown(PROCESSES + "test_claim_a15_four_roles_each_alone"),
    16: shown(ARTICLE + "test_claim_a16_votes_of_different_ballots_are_not_counted_together"),
    17: shown(ARTICLE + "test_claim_a17_many_may_propose_at_once"),
    18: shown(
        PROCESSES + "test_claim_a18_all_roles_in_one_process_or_each_in_its_own",
        "tests/host/test_cluster_command.py::test_a_replica_on_its_own",
    ),
    19: shown(
        SYNOD + "processes.py::test_the_acceptor_listens_and_the_proposer_connects",
        "tests/transport/test_tcp.py::test_a_broken_connection_alone_is_made_anew_at_once_and_refuses_nothing",
    ),
    20: shown(ARTICLE + "test_claim_a20_prepare_goes_out_with_a_ballot_of_the_proposers_own"),
    21: shown(ARTICLE + "test_claim_a21_an_acceptor_promises_upward_only"),
    22: shown(ARTICLE + "test_claim_a22_the_decree_of_the_highest_ballot_reported_is_proposed"),
    23: shown(ARTICLE + "test_claim_a23_an_acceptor_accepts_unless_it_promised_higher"),
    24: shown(
        ARTICLE + "test_claim_a24_four_messages_and_two_round_trips_fix_a_decree",
        SYNOD + "runs.py::test_one_proposer_needs_two_rounds",
    ),
    25: shown(ARTICLE + "test_claim_a25_two_proposers_may_meet_at_any_pair_of_steps"),
    26: shown(ARTICLE + "test_claim_a26_ballots_are_totally_ordered"),
    27: shown(ARTICLE + "test_claim_a27_the_next_number_is_the_smallest_of_the_own_class_above_all_known"),
    28: shown(ARTICLE + "test_claim_a28_a_nack_raises_the_next_number_at_once"),
    29: shown(
        ARTICLE + "test_claim_a29_the_worked_example_with_its_slip_corrected",
        SYNOD + "article.py::test_the_worked_example_corrected",
    ),
    30: shown(ARTICLE + "test_claim_a30_one_ballot_has_one_decree_for_a_slot"),
    31: shown(PROCESSES + "test_claim_a31_slots_that_are_decided_each_by_itself_cost_two_rounds_each"),
    32: shown(ARTICLE + "test_claim_a32_a_leader_prepares_once_for_all_its_decrees"),
    33: shown(ARTICLE + "test_claim_a33_under_a_stable_leader_nobody_refuses"),
    34: shown(  # disk corruption, reads, epoch numbers
        "tests/storage/test_journal_damage.py::test_sealed_vote_rots",
        "tests/transcripts/late-reader.txt",
        "tests/transcripts/late-epoch-decree.txt",
        waits=LEASES,
    ),
    35: shown(
        ARTICLE + "test_claim_a35_a_restarted_replica_is_bound_by_what_it_said",
        "tests/sim/test_seeds.py::test_seeds_with_clients",
    ),
    36: shown(
        "tests/sim/test_seeds.py::test_seeds_of_the_core_alone",
        "tests/sim/test_determinism.py::test_the_file_of_a_failure_replays",
    ),
    37: shown(
        SYNOD + "transcripts.py::test_transcript",
        SYNOD + "article.py::test_the_output_in_the_tutorial_is_what_a_transcript_has",
    ),
    38: Row(left_out="names systems; what is taken from each stands in rows of its own"),
}

PAXOS_MADE_SIMPLE = {
    1: shown(SIMPLE + "test_s1_only_a_proposed_decree_may_be_chosen"),
    2: shown(
        "tests/sim/test_checkers.py::test_i2_one_chosen_decree_for_a_slot",
        ARTICLE + "test_claim_a10_no_anomaly_breaks_agreement",
    ),
    3: shown(SIMPLE + "test_s3_nobody_learns_what_is_not_chosen"),
    4: shown(
        PROCESSES + "test_claim_a2_processes_may_be_slow",
        PROCESSES + "test_claim_a9_a_tampered_message_is_lost_and_never_believed",
    ),
    5: shown(SIMPLE + "test_s5_p1_an_acceptor_accepts_the_first_proposal_it_receives"),
    6: shown(SIMPLE + "test_s6_p1a_accept_n_iff_no_prepare_above_n_was_answered"),
    7: shown(SIMPLE + "test_s7_p2c_a_proposal_against_the_reports_is_refused_by_the_oracle"),
    8: shown(ARTICLE + "test_claim_a24_four_messages_and_two_round_trips_fix_a_decree"),
    9: shown(SIMPLE + "test_s9_the_accept_set_need_not_be_the_prepare_set"),
    10: shown(SIMPLE + "test_s10_an_acceptor_may_ignore_any_request"),
    11: shown(SIMPLE + "test_s11_an_acceptor_remembers_one_promise_and_one_vote_a_slot"),
    12: shown(SIMPLE + "test_s12_a_proposer_that_restarts_between_the_phases_takes_a_higher_ballot"),
    13: shown(ARTICLE + "test_claim_a28_a_nack_raises_the_next_number_at_once"),
    14: shown(SYNOD + "runs.py::test_learn_counts_one_question_and_one_answer_for_each_acceptor"),
    15: shown(SIMPLE + "test_s15_a_distinguished_learner_tells_the_others"),
    16: Row(left_out="later: a set of distinguished learners"),
    17: shown(SIMPLE + "test_s17_a_decree_may_be_chosen_while_nobody_knows", "tests/transcripts/silent-choice.txt"),
    18: shown(SIMPLE + "test_s18_two_proposers_do_not_duel_for_ever", "tests/transcripts/duel.txt"),
    19: shown(SIMPLE + "test_s19_an_acceptor_records_before_it_answers"),
    20: shown(SIMPLE + "test_s20_replicas_of_one_ledger_come_to_one_state"),
    21: shown(SIMPLE + "test_s21_one_prepare_covers_all_slots_to_come"),
    22: shown(
        SIMPLE + "test_s22_what_phase_one_says_is_proposed_again_and_gaps_become_no_ops",
        "tests/transcripts/lamport-135.txt",
    ),
    23: shown(SIMPLE + "test_s23_slots_may_be_open_beyond_those_chosen"),
    24: shown(SIMPLE + "test_s24_an_accept_without_an_answer_is_sent_again"),
    25: shown(SIMPLE + "test_s25_a_command_costs_one_round_trip_from_the_leader"),
    26: shown(
        SIMPLE + "test_s26_several_leaders_at_once_break_nothing",
        SIMPLE + "test_s26_without_a_leader_nothing_is_chosen",
    ),
    27: shown("tests/core/test_membership.py::test_a_change_governs_a_window_later", waits=MEMBERSHIP),
}

PART_TIME_PARLIAMENT = {
    1: shown(PARLIAMENT + "test_p1_entries_are_indelible"),
    2: shown(PARLIAMENT + "test_p2_progress_with_a_majority_in_the_chamber"),
    3: shown(PARLIAMENT + "test_p3_what_stood_on_the_slip_of_paper_is_lost_and_what_stood_in_the_ledger_is_not"),
    4: shown(
        PARLIAMENT + "test_p4_b3_the_five_ballots_of_figure_1",
        "tests/scenarios/test_scenarios_of_ballots.py::test_ptp_fig1",
    ),
    5: shown(PARLIAMENT + "test_p5_max_vote_does_not_depend_on_the_order_of_the_answers"),
    6: shown(PARLIAMENT + "test_p6_ballots_are_ordered_by_number_then_priest"),
    7: Row(left_out="later: quorums by weight; sizes of the two kinds are tested in tests/core/test_quorum.py"),
    8: shown(PARLIAMENT + "test_p8_a_leader_that_restarts_never_issues_a_second_decree_for_a_ballot"),
    9: shown(PARLIAMENT + "test_p9_what_each_step_makes_durable"),
    10: shown(MORE + "test_p10_progress_within_a_sharp_bound"),
    11: shown(ARTICLE + "test_claim_a28_a_nack_raises_the_next_number_at_once"),
    12: shown(MORE + "test_p12_after_a_time_without_movement_there_is_one_president"),
    13: shown(MORE + "test_p13_timers_of_known_accuracy_suffice"),
    14: shown(SIMPLE + "test_s21_one_prepare_covers_all_slots_to_come"),
    15: shown(
        PARLIAMENT + "test_p15_phase_one_repairs_a_candidate_that_lags",
        PARLIAMENT + "test_p15_phase_one_repairs_an_acceptor_that_lags",
    ),
    16: shown("tests/transcripts/lamport-135.txt"),
    17: shown(PARLIAMENT + "test_p17_a_decree_passed_before_another_was_proposed_has_the_lower_number"),
    18: shown(PARLIAMENT + "test_p18_a_lone_decree_costs_three_messages_a_priest_and_a_stream_of_them_two"),
    19: shown(PARLIAMENT + "test_p19_a_priest_with_a_high_name_who_returns_late_takes_nothing_over"),
    20: shown(MORE + "test_p20_a_decree_that_comes_too_early_waits_for_those_before_it", waits=SNAPSHOTS),
    21: shown("tests/scenarios/test_scenarios_of_sessions.py::test_late_decision_with_skewed_clocks", waits=LEASES),
    22: shown(
        "tests/transcripts/late-reader.txt",
        "tests/cluster/test_guarantees.py::test_sync_then_get_sees_what_another_client_was_told_is_written",
    ),
    23: shown(
        "tests/service/test_connection.py::test_a_client_that_has_seen_more_waits_a_little_and_is_closed_without_an_answer"
    ),
    24: Row(left_out="later: leases of parts of the state"),
    25: Row(left_out="later: read leases on several replicas"),
    26: Row(left_out="later: writing the state anew through the ledger; comparing digests comes first"),
    27: shown("tests/core/test_membership.py::test_a_change_governs_a_window_later", waits=MEMBERSHIP),
    28: Row(waits=MEMBERSHIP),
    29: shown("tests/coordination/test_twin.py::test_same_commands_same_everything"),
    30: shown(PARLIAMENT + "test_p30_all_may_leave_and_return"),
    31: Row(left_out="three-phase commit is taught, not built"),
    32: Row(waits="the conformance of each simulated step with one action of the model"),
}

MADE_MODERATELY_COMPLEX = {
    1: shown(
        PROCESSES + "test_claim_a15_four_roles_each_alone",
        SYNOD + "processes.py::test_fifty_duels_while_any_two_of_five_are_killed",
    ),
    2: shown(
        COMPLEX + "test_a1_to_a4_hold_for_an_acceptor_under_any_requests",
        COMPLEX + "test_c1_c2_a_leader_proposes_one_decree_per_slot_and_what_it_must",
    ),
    3: shown(
        COMPLEX + "test_k3_the_same_command_chosen_in_two_slots_is_performed_once", "tests/transcripts/retry-twice.txt"
    ),
    4: shown(COMPLEX + "test_k4_a_command_that_lost_its_slot_is_proposed_again"),
    5: shown(COMPLEX + "test_k5_a_promise_tells_open_slots_only"),
    6: shown("tests/transcripts/page-compacted.txt", waits=SNAPSHOTS),
    7: shown(MORE + "test_k7_leader_and_acceptor_of_one_replica_have_each_their_own_ballot"),
    8: shown("tests/transcripts/late-reader.txt", "tests/transcripts/read-before-noop.txt", waits=LEASES),
    9: shown("tests/scenarios/test_scenarios_of_ballots.py::test_duel_of_replicas_that_all_draw_the_same"),
    10: shown(COMPLEX + "test_k10_an_idle_cluster_raises_no_ballots"),
    11: shown(
        "tests/storage/test_identity.py::test_a_crash_at_every_call_of_making_and_opening_a_directory",
        waits="TLS between replicas",
    ),
    12: shown(
        "tests/core/test_membership.py::test_the_smallest_window_ahead_limits_what_may_be_proposed", waits=MEMBERSHIP
    ),
}

PAPERS = {"A": CLAIMS, "S": PAXOS_MADE_SIMPLE, "P": PART_TIME_PARLIAMENT, "K": MADE_MODERATELY_COMPLEX}

COUNTS = {"A": 38, "S": 27, "P": 32, "K": 12}
"""How many rows each has."""
