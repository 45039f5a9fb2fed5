"""The two ends of the clerk of sessions: touches and pings at the gateway, deadlines and expiry at the leader."""

from multipaxos.coordination.sessions import Session
from multipaxos.service.clerk import Clerk, Contact
from multipaxos.service.settings import MILLISECOND_NS, ServiceSettings
from multipaxos.wire.report import Report, ReportAck

SETTINGS = ServiceSettings(bytes(32))
HEARTBEAT = SETTINGS.heartbeat_ns
SECOND = 1000 * MILLISECOND_NS
BALLOT = 65536 + 1
S = 7
OWNER = (2, 1, 9)


def ack(report: Report, is_quorum_connected: bool = True, ending: tuple[int, ...] = ()) -> ReportAck:
    return ReportAck(1, report.ballot, report.serial, is_quorum_connected, ending)


def heard(contact: Contact, number: int, now: int, ballot: int = BALLOT) -> Report:
    report = contact.heartbeat(1, ballot, number, now)
    assert report is not None
    return report


# The gateway's end.


def test_one_report_for_each_heartbeat_and_none_without_a_leader() -> None:
    contact = Contact(2, 1)
    assert contact.heartbeat(0, -1, 0, 10) is None
    first = heard(contact, 1, 10)
    assert contact.heartbeat(1, BALLOT, 1, 11) is None
    second = heard(contact, 2, 12)
    assert (first.sender, first.ballot, first.number) == (2, BALLOT, 1)
    assert second.serial == first.serial + 1
    assert heard(contact, 2, 13, BALLOT + 65536).ballot == BALLOT + 65536


def test_serials_of_another_start_are_other_serials() -> None:
    assert heard(Contact(2, 2), 1, 10).serial > heard(Contact(2, 1), 1, 10).serial + 1_000_000


def test_touches_are_reported_until_acknowledged() -> None:
    contact = Contact(2, 1)
    contact.touches[S] = 10
    assert heard(contact, 1, 15).touches == ((S, 5),)
    lost = heard(contact, 2, 25)
    assert lost.touches == ((S, 15),)
    contact.touches[S] = 30
    third = heard(contact, 3, 31)
    contact.acknowledged(ack(third))
    assert heard(contact, 4, 40).touches == ()


def test_a_touch_after_the_report_is_not_acknowledged_with_it() -> None:
    contact = Contact(2, 1)
    contact.touches[S] = 10
    report = heard(contact, 1, 15)
    contact.touches[S] = 16
    contact.acknowledged(ack(report))
    assert heard(contact, 2, 20).touches == ((S, 4),)


def test_contact_counts_from_when_the_acknowledged_report_was_sent() -> None:
    contact = Contact(2, 1)
    first = heard(contact, 1, 10)
    second = heard(contact, 2, 20)
    contact.acknowledged(ack(second))
    assert contact.contact_at == 20
    contact.acknowledged(ack(first))
    assert contact.contact_at == 20
    third = heard(contact, 3, 30)
    contact.acknowledged(ack(third, is_quorum_connected=False))
    assert contact.contact_at == 20
    contact.acknowledged(ack(third))
    assert contact.contact_at == 20


def test_what_an_earlier_leader_acknowledges_counts_for_nothing() -> None:
    contact = Contact(2, 1)
    contact.touches[S] = 5
    contact.hold_ping(9, S, -2)
    old = heard(contact, 1, 10)
    heard(contact, 1, 20, BALLOT + 65536)
    assert contact.acknowledged(ack(old)) == []
    assert contact.contact_at == 0
    assert contact.touches == {S: 5}


def test_a_ping_waits_for_a_report_sent_after_it() -> None:
    contact = Contact(2, 1)
    contact.touches[S] = 10
    early = heard(contact, 1, 10)
    contact.touches[S] = 11
    contact.hold_ping(9, S, -2)
    assert contact.acknowledged(ack(early)) == []
    later = heard(contact, 2, 12)
    assert contact.acknowledged(ack(later, is_quorum_connected=False)) == []
    last = heard(contact, 3, 13)
    assert contact.acknowledged(ack(last)) == [(9, -2)]
    assert contact.acknowledged(ack(last)) == []


def test_a_ping_of_an_ending_session_is_not_answered() -> None:
    contact = Contact(2, 1)
    contact.touches[S] = 10
    contact.touches[8] = 10
    contact.hold_ping(9, S, -2)
    contact.hold_ping(10, 8, -2)
    assert contact.acknowledged(ack(heard(contact, 1, 11), ending=(S,))) == [(10, -2)]
    report = heard(contact, 2, 12)
    assert report.touches == ((S, 2),)  # its end may still be refused: reported until acknowledged
    assert contact.acknowledged(ack(report)) == [(9, -2)]


def test_reports_without_an_answer_are_bounded() -> None:
    contact = Contact(2, 1)
    first = heard(contact, 1, 1)
    for number in range(2, 200):
        last = heard(contact, number, number)
    contact.acknowledged(ack(first))
    assert contact.contact_at == 0
    contact.acknowledged(ack(last))
    assert contact.contact_at == 199


# The leader's end.


class Leader:
    """A clerk with a clock and one session of 6 seconds, owned by gateway 2."""

    def __init__(self) -> None:
        self.clerk = Clerk(1, SETTINGS)
        self.sessions = {S: Session(S, 6000, OWNER)}
        self.now = 1000 * SECOND
        self.round = 0
        self.confirmed = 0
        self.ballot = BALLOT
        self.due: list[tuple[int, tuple[int, int, int]]] = []
        self.serial = 0
        self.turn()

    def turn(self, is_leading: bool = True) -> None:
        self.clerk.leadership(1, self.ballot, self.round, is_leading, True, self.confirmed, self.now)
        self.due += self.clerk.due(self.sessions, self.now)

    def beat(self, reporting: tuple[int, ...] = (1, 2), touches: tuple[tuple[int, int], ...] = ()) -> None:
        """One heartbeat, answered by ``reporting``, confirmed."""
        self.now += HEARTBEAT
        self.round += 1
        self.turn()
        for gateway in reporting:
            self.report(gateway, self.round, touches if gateway == 2 else ())
        self.confirmed = self.round
        self.turn()

    def report(self, gateway: int, number: int, touches: tuple[tuple[int, int], ...] = ()) -> ReportAck | None:
        self.serial += 1
        return self.clerk.report(Report(gateway, self.ballot, number, self.serial, touches), self.now)

    def run(self, duration_ns: int, reporting: tuple[int, ...] = (1, 2)) -> None:
        end = self.now + duration_ns
        while self.now < end:
            self.beat(reporting)


def test_a_session_nobody_hears_expires_after_its_timeout() -> None:
    leader = Leader()
    leader.run(6 * SECOND)
    assert leader.due == []
    leader.run(SETTINGS.scan_ns + 3 * HEARTBEAT)
    assert leader.due == [(S, OWNER)]
    leader.run(SECOND)
    assert len(leader.due) == 1


def test_a_touch_gives_a_full_timeout_from_when_the_client_was_heard() -> None:
    leader = Leader()
    leader.run(5 * SECOND)
    leader.beat(touches=((S, 2 * SECOND),))
    leader.run(4 * SECOND - 2 * HEARTBEAT)
    assert leader.due == []
    leader.run(SETTINGS.scan_ns + 5 * HEARTBEAT)
    assert leader.due == [(S, OWNER)]


def test_the_round_must_be_begun_after_the_deadline_and_confirmed() -> None:
    leader = Leader()
    leader.run(6 * SECOND)
    # Rounds go out and gateways answer, but the quorum does not.
    for _ in range(50):
        leader.now += HEARTBEAT
        leader.round += 1
        leader.turn()
        leader.report(2, leader.round)
        leader.turn()
    assert leader.due == []
    leader.confirmed = leader.round
    leader.turn()
    assert leader.due == [(S, OWNER)]


def test_a_round_sent_before_the_deadline_does_not_count() -> None:
    leader = Leader()
    leader.run(6 * SECOND)
    leader.now += SETTINGS.scan_ns
    leader.turn()  # the deadline has passed; the round answered and confirmed is an earlier one
    assert leader.due == []
    leader.report(2, leader.round)
    leader.turn()
    assert leader.due == []
    leader.beat()
    assert leader.due == [(S, OWNER)]


def test_its_own_gateway_must_answer_the_round() -> None:
    leader = Leader()
    leader.run(6 * SECOND)
    for _ in range(10):
        leader.beat(reporting=(1,))
    assert leader.due == []
    leader.beat(reporting=(1, 2))
    assert leader.due == [(S, OWNER)]


def test_a_touch_in_the_answer_saves_it() -> None:
    leader = Leader()
    leader.run(6 * SECOND)
    leader.beat(reporting=(1,))
    leader.beat(reporting=(1,))
    leader.beat(touches=((S, 0),))
    assert leader.due == []
    leader.run(6 * SECOND)
    assert leader.due == []


def test_a_silent_gateway_has_closed_the_connection_after_its_bound() -> None:
    leader = Leader()
    leader.run(SECOND)
    silent_since = leader.now
    while not leader.due:
        leader.beat(reporting=(1,))
        assert leader.now < silent_since + 10 * SECOND
    assert leader.now - silent_since > SETTINGS.bound_ns(6000)
    # With a timeout longer than the bound it is the deadline that comes last.
    assert leader.now >= 1006 * SECOND


def test_a_gateway_that_falls_silent_late_is_waited_for_as_long_as_it_may_serve() -> None:
    leader = Leader()
    leader.run(6 * SECOND - HEARTBEAT)
    silent_since = leader.now
    while not leader.due:
        leader.beat(reporting=(1,))
        assert leader.now < silent_since + 10 * SECOND
    assert leader.now - silent_since > SETTINGS.bound_ns(6000)


def test_a_leader_that_was_stopped_expires_nobody_whose_touch_waits_in_its_sockets() -> None:
    leader = Leader()
    leader.run(SECOND)
    leader.now += 60 * SECOND
    leader.turn()  # timers first, as bad as it gets
    leader.round += 1
    leader.turn()
    leader.confirmed = leader.round
    leader.turn()
    assert leader.due == []
    leader.beat(reporting=(1,))
    leader.beat(reporting=(1,))
    assert leader.due == []
    leader.beat(touches=((S, SECOND // 10),))
    leader.run(5 * SECOND)
    assert leader.due == []


def test_a_new_leader_gives_everybody_a_full_timeout_once_it_reigns() -> None:
    leader = Leader()
    leader.run(5 * SECOND)
    leader.ballot += 2 * 65536
    leader.round = 0
    leader.confirmed = 0
    leader.turn(is_leading=False)
    assert leader.report(2, 0, ((S, 3 * SECOND),)) is not None  # elected: it listens, but does not reign yet
    leader.now += SECOND
    leader.turn(is_leading=False)
    began = leader.now
    while not leader.due:
        leader.beat()
    assert leader.now - began > 6 * SECOND


def test_a_touch_that_comes_first_and_is_old_by_its_gateways_clock_takes_nothing_of_the_first_timeout() -> None:
    """The clock of a gateway jumped by nine seconds, and its report comes before the leader has looked at the session once:
    the session was ended a quarter of a second after its client had been answered (seed 57032)."""
    leader = Leader()
    leader.clerk.ended(S)  # as if opened just now: no scan has seen it
    began = leader.now
    assert leader.report(2, leader.round, ((S, 9 * SECOND),)) is not None
    while not leader.due:
        leader.beat()
    assert leader.now - began > 6 * SECOND


def test_nobody_expires_without_a_reign() -> None:
    leader = Leader()
    leader.run(6 * SECOND)
    for _ in range(100):
        leader.now += HEARTBEAT
        leader.clerk.leadership(3, BALLOT + 2 * 65536, 1, False, False, 0, leader.now)
        leader.due += leader.clerk.due(leader.sessions, leader.now)
    assert leader.due == []
    assert leader.report(2, 1) is None


def test_no_touch_is_acknowledged_once_the_end_is_proposed() -> None:
    leader = Leader()
    leader.run(7 * SECOND)
    assert leader.due == [(S, OWNER)]
    answer = leader.report(2, leader.round, ((S, 0), (8, 0)))
    assert answer is not None
    assert answer.ending == (S,)
    leader.clerk.refused(S, BALLOT - 65536, leader.now)  # a proposal of an earlier reign
    assert leader.report(2, leader.round, ((S, 0),)).ending == (S,)  # type: ignore[union-attr]
    leader.clerk.refused(S, BALLOT, leader.now)
    assert leader.report(2, leader.round, ((S, 0),)).ending == ()  # type: ignore[union-attr]


def test_a_session_attached_elsewhere_meanwhile_is_looked_at_anew() -> None:
    leader = Leader()
    leader.run(6 * SECOND, reporting=(1, 2, 3))
    leader.beat(reporting=(1,))
    leader.beat(reporting=(1,))
    leader.sessions[S].owner = (3, 1, 4)
    leader.beat(reporting=(1, 2))
    assert leader.due == []
    leader.beat(reporting=(1, 2))
    leader.beat(reporting=(1, 2))
    assert leader.due == []  # its present gateway has not answered
    leader.beat(reporting=(1, 2, 3))
    assert leader.due == [(S, (3, 1, 4))]


def test_an_attach_is_a_touch_even_if_its_gateway_was_silent() -> None:
    leader = Leader()
    leader.run(6 * SECOND)
    leader.beat(reporting=(1,))
    leader.beat(reporting=(1,))
    leader.sessions[S].owner = (3, 1, 4)
    leader.clerk.attached(S, leader.now)
    leader.run(6 * SECOND)
    assert leader.due == []
    leader.run(SECOND)
    assert leader.due == [(S, (3, 1, 4))]


def test_the_end_of_a_session_is_forgotten() -> None:
    leader = Leader()
    leader.run(7 * SECOND)
    del leader.sessions[S]
    leader.clerk.ended(S)
    leader.report(2, leader.round, tuple((session, 0) for session in range(1000)))
    leader.run(SECOND)
    assert len(leader.due) == 1
    assert leader.report(2, leader.round, ((S, 0),)).ending == ()  # type: ignore[union-attr]


def test_reports_for_another_reign_are_not_answered() -> None:
    leader = Leader()
    assert leader.clerk.report(Report(2, BALLOT + 65536, 1, 1, ()), leader.now) is None
    answer = leader.report(2, 0)
    assert answer is not None
    assert answer.is_quorum_connected
