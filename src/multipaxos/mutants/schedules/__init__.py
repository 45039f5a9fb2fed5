"""Scripted schedules: the shortest known ways to what random worlds reach too rarely, and what breaks a paper's own rule.

Each plays on a stage (``sim/stage.py``) of real cores with the oracle watching. It raises a Violation where an invariant
breaks, an AssertionError where it does not get to what it is about, and says nothing where all holds.
"""

from collections.abc import Callable
from typing import Final

from multipaxos.mutants.schedules import by_hand, elections, laggards, readers, reigns, votes

SCHEDULES: Final[dict[str, Callable[[], None]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        votes.votes_of_two_ballots,
        votes.promise_of_the_last_attempt,
        votes.two_reports,
        votes.promise_and_restart,
        votes.vote_and_restart,
        votes.promised_while_leading,
        votes.missed_prepare,
        votes.copies_at_two_ballots,
        votes.observer_votes,
        votes.huge_number,
        votes.pages_of_two_states,
        votes.settled_out_of_memory,
        votes.no_raise_keep_last,
        votes.repeat_before_sync,
        votes.own_vote_before_sync,
        votes.forgotten_promise,
        laggards.fetched_then_restarted,
        laggards.one_decree_a_page,
        laggards.gap_left_open,
        reigns.late_epoch_decree,
        reigns.late_decision,
        reigns.gap_in_a_stream,
        reigns.late_write,
        reigns.end_of_a_session,
        reigns.clock_runs_fast,
        reigns.zxid_boundary,
        reigns.multi_fails_halfway,
        readers.late_reader,
        readers.passed_reader,
        readers.read_before_noop,
        readers.read_at_start,
        readers.read_of_a_former_life,
        elections.equal_timers,
        elections.deaf_source,
        elections.quorum_loss,
        elections.dead_ballot,
        elections.passed_leader,
        elections.guest_returns,
        elections.transfer_late,
        elections.hung_leader,
        elections.newcomer_promises,
        by_hand.equal_number,
        by_hand.spread_votes,
    )
}
"""By name."""
