"""Phase 1: whole promises, the choice of what to propose, rounds and beats."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from multipaxos.core.ballot import NO_BALLOT
from multipaxos.core.decree import NOOP
from multipaxos.core.leader import Campaign, Leadership, PromisePages
from multipaxos.core.membership import Configuration, Member
from multipaxos.core.messages import Promise, PValue

LIST = Configuration(0, tuple(Member(i, f"h:{i}", "", 0, True) for i in (1, 2, 3)), 64, "")


def page(first: int, page_first: int, page_last: int, end: int, prefix: int = 0, sender: int = 2) -> Promise:
    pvalues = tuple(PValue(1, slot, b"d%d" % slot) for slot in range(page_first, page_last + 1))
    return Promise(sender, 0, 9, first, page_first, page_last, end, prefix, pvalues)


def test_pages_count_only_when_whole_whatever_their_order() -> None:
    parts = [page(5, 5, 6, 10), page(5, 7, 7, 10), page(5, 8, 10, 10)]
    for order in permutations(parts):
        pages = PromisePages(5)
        assert [pages.add(part) is not None for part in order] == [False, False, True]


def test_pages_of_two_floors_are_never_put_together() -> None:
    # page-compacted: page 1 was cut before the acceptor let go of slots, page 2 after.
    pages = PromisePages(100)
    assert pages.add(page(100, 100, 109, 119, prefix=99)) is None
    assert pages.add(page(100, 110, 119, 119, prefix=115)) is None
    assert pages.add(page(100, 100, 109, 119, prefix=115)) is not None


def test_an_empty_promise_is_whole() -> None:
    assert PromisePages(5).add(Promise(2, 0, 9, 5, 5, 4, 4, 4, ())) is not None


def test_lamport_135() -> None:
    # PMS 3: slots 1 to 134, 138 and 139 are known; 135 and 140 are reported; 136 and 137 become no-ops.
    campaign = Campaign(9, 135, NO_BALLOT)
    campaign.report(3, 135, b"x")
    campaign.report(3, 140, b"y")
    campaign.report(2, 138, b"known")
    campaign.report(2, 139, b"known")
    adopted = dict(campaign.to_propose(134))
    assert adopted == {135: b"x", 136: NOOP, 137: NOOP, 138: b"known", 139: b"known", 140: b"y"}


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.binary(max_size=2)), max_size=12), st.randoms())
def test_the_choice_is_the_highest_ballot_whatever_the_order(reports: list[tuple[int, int, bytes]], random) -> None:
    # B3 of PTP 2.1: one decree per (ballot, slot), as ballots guarantee.
    unique = {(ballot, slot): decree for ballot, slot, decree in reports}
    pairs = list(unique.items())
    first = Campaign(9, 1, NO_BALLOT)
    for (ballot, slot), decree in pairs:
        first.report(ballot, slot, decree)
    random.shuffle(pairs)
    second = Campaign(9, 1, NO_BALLOT)
    for (ballot, slot), decree in pairs:
        second.report(ballot, slot, decree)
    assert first.reported == second.reported
    for slot, (ballot, decree) in first.reported.items():
        assert ballot == max(b for b, s in unique if s == slot)
        assert unique[ballot, slot] == decree


def test_ptp_figure_1() -> None:
    # Ballots 2 (alpha), 5 (beta), 14 (alpha), 27 (beta), 29 (beta) of The Part-Time Parliament: B3 forces 14, 27 and 29.
    votes = {2: ("D", "alpha"), 5: ("ABCE", "beta"), 14: ("BE", "alpha"), 27: ("ACD", "beta"), 29: ("BCD", "beta")}
    quorums = {2: "ABCD", 5: "ABCE", 14: "BDE", 27: "ACD", 29: "BCD"}
    voted = {2: "D", 5: "C", 14: "", 27: "ACD", 29: "B"}
    for ballot in (2, 5, 14, 27, 29):
        campaign = Campaign(ballot, 1, NO_BALLOT)
        for earlier in (2, 5, 14, 27):
            if earlier < ballot and set(voted[earlier]) & set(quorums[ballot]):
                campaign.report(earlier, 1, votes[earlier][1].encode())
        report = campaign.reported.get(1)
        if report is not None:
            assert report[1].decode() == votes[ballot][1], ballot
    assert set(quorums[14]) & set(voted[2]) and set(quorums[27]) & set(voted[5]) and set(quorums[29]) & set(voted[27])


def leadership() -> Leadership:
    return Leadership(9, Campaign(9, 1, NO_BALLOT).to_propose(0), 1, 1)


def test_rounds_need_an_accept_quorum_that_promised_nothing_higher() -> None:
    leader = leadership()
    for number in (1, 2, 3):
        assert leader.beat(True) == number
        leader.hear_echo(1, number, 9)
    leader.hear_echo(2, 2, 10)  # promised above: confirms nothing
    leader.count_rounds([LIST])
    assert leader.confirmed_round == 0
    leader.hear_echo(3, 2, 9)
    leader.count_rounds([LIST])
    assert leader.confirmed_round == 2
    leader.hear_echo(3, 1, 9)  # late and reordered: never back
    leader.count_rounds([LIST])
    assert leader.confirmed_round == 2


def test_quorum_connected_counts_echoes_of_the_last_three_beats() -> None:
    # rule-R29: hearing others is not enough, and rounds for reads in between are no beats.
    leader = leadership()
    for number in (1, 2, 3):
        leader.beat(True)
        leader.hear_echo(1, number, 9)
    leader.hear_echo(2, 1, 9)
    leader.count_connected([LIST], 100)
    assert leader.is_quorum_connected and leader.connected_at == 100
    for _ in range(20):
        leader.hear_echo(1, leader.beat(False), 9)
    leader.count_connected([LIST], 200)
    assert leader.is_quorum_connected
    leader.hear_echo(1, leader.beat(True), 9)
    leader.count_connected([LIST], 300)
    assert not leader.is_quorum_connected and leader.connected_at == 200
