"""Bugs of the core that seeds found, or that a reading of it found, each as the shortest schedule that shows it."""

import pytest

from multipaxos.core.ballot import ballot_of
from multipaxos.core.messages import ReadAnswer, ReadQuery
from multipaxos.core.records import AcceptedRecord
from multipaxos.core.settings import Settings
from multipaxos.service.clerk import Clerk
from multipaxos.service.settings import ServiceSettings
from multipaxos.sim.directory import Directory
from multipaxos.sim.stage import Stage
from multipaxos.wire.report import Report

SECOND = 1_000_000_000


def led(settings: Settings | None = None, count: int = 3) -> Stage:
    """Leader 1, everybody up to date; replica 2 suspects first."""
    stage = Stage(count, settings)
    stage.start()
    stage.elect(1)
    stage.favoured = 2
    stage.live(SECOND // 5)
    return stage


def test_a_gateway_without_a_leader_does_not_spin() -> None:
    """The resend timer was armed while there was nobody to send to: it was due again at once, for ever. Replica 1 leads,
    is cut off with a command of its own under way, and stands down."""
    stage = led()
    for other in (2, 3):
        stage.cut(1, other)
        stage.cut(other, 1)
    stage.submit(1, "x")
    stage.live(2 * SECOND)
    assert stage.core(1).leader == 0
    began = stage.now
    turns = 0
    while stage.now < began + 5 * SECOND and turns < 5_000:
        stage.tick(1)
        turns += 1
    assert turns < 1_000, "every turn is worth a probe, not a nanosecond"


def test_a_new_leader_answers_the_reads_it_had_asked_the_old_one_for() -> None:
    stage = led()
    stage.read(2, 7)
    assert stage.find("ReadQuery", sender=2)
    stage.flight = []
    stage.crash(1)
    stage.elect(2)
    stage.live(SECOND)
    assert (2, 7) in stage.answered


@pytest.mark.parametrize("slots", [8, 9, 30])
def test_many_open_slots_are_asked_for_again_without_spinning(slots: int) -> None:
    """Only the lowest few are asked for again in one turn; the others must not make the next turn due at once."""
    stage = led(Settings(pipeline=64))
    for number in range(slots):
        stage.submit(1, f"c{number}")
    stage.flight = []
    turns = 0
    began = stage.now
    while stage.now < began + SECOND:
        stage.tick(1)
        stage.flight = []
        turns += 1
    assert turns < 200
    stage.live(5 * SECOND)
    assert len(stage.executed(2)) == slots


def test_an_answer_to_a_query_of_an_earlier_start_confirms_no_read() -> None:
    """Replica 2 asks for a read slot, restarts, and asks again. The answer to its first query is older than the second
    read: what was chosen in between would be missing from it (rule-R19)."""
    stage = led()
    stage.submit(1, "a")
    stage.settle()
    stage.submit(1, "b")
    stage.deliver(2, "Accept")  # so that a restart of replica 2 knows slot 3 to be chosen
    stage.read(2, 1)
    query = stage.find("ReadQuery", sender=2)[0].payload
    assert isinstance(query, ReadQuery)
    stage.deliver(1, "ReadQuery")
    stage.deliver(kind="Heartbeat")
    stage.deliver(1, "Echo")
    answer = stage.find("ReadAnswer", to=2)[0].payload
    assert isinstance(answer, ReadAnswer) and answer.slot == 3
    stage.crash(2, is_noticed=False)
    stage.settle()
    assert stage.executed(1) == ["a", "b"]
    stage.start(2)
    assert stage.core(2).applied == 3
    stage.flight = []
    stage.tick(1)
    stage.deliver(2, "Heartbeat")
    stage.read(2, 2)
    assert stage.find("ReadQuery", sender=2)
    stage.flight = []
    stage.replicas[2].arrive(answer)
    stage.tick(2)
    assert (2, 2) not in stage.answered
    stage.live(2 * SECOND)
    assert (2, 2) in stage.answered
    assert stage.executed(2) == ["a", "b"]


def test_a_replica_that_cannot_reach_the_leader_catches_up_from_another_peer() -> None:
    """It hears the leader and misses slots; its fetches went to the leader alone, who never heard them (rule-R32)."""
    stage = led()
    stage.cut(1, 2)
    stage.submit(3, "missed")
    stage.settle()
    stage.heal()
    stage.cut(2, 1)
    stage.live(2 * SECOND)
    assert stage.executed(2) == ["missed"]


def test_a_candidate_that_is_behind_does_not_ask_a_dead_peer_alone() -> None:
    """Replica 2 heard of slots 3 and 4 from a leader that died, replica 3 knows slot 3. While it asked only the dead one
    it stayed a candidate until somebody else campaigned."""
    stage = led()
    stage.cut(1, 2)
    stage.submit(1, "a")
    stage.settle()
    stage.heal()
    stage.submit(1, "b")
    stage.drop(to=2, kind="Accept")
    stage.deliver(3, "Accept")
    stage.deliver(1, "Accepted")
    stage.deliver(2, "Prefix")
    assert (stage.core(2).chosen_prefix, stage.core(3).chosen_prefix) == (2, 3)
    assert stage.core(2).catchup.target == 4
    stage.crash(1, is_noticed=False)
    stage.flight = []
    stage.wait(SECOND)
    began = stage.now
    stage.elect(2)
    assert stage.now - began < SECOND, "one fetch in vain, then replica 3 is asked"
    stage.settle()
    assert stage.executed(2) == stage.executed(3) == ["a", "b"]


def test_a_leader_that_stood_still_acknowledges_nothing_by_echoes_of_before() -> None:
    """It wakes, finds the echoes of its last heartbeats in its sockets and takes itself for connected, for three more
    heartbeats. The report of its own gateway was acknowledged meanwhile, so pings were answered and clients served by a
    leader that had been passed: their sessions ended in the other's reign while they still believed in them (rule-R25)."""
    clerk = Clerk(1, ServiceSettings(bytes(32)))
    for number in (1, 2, 3):
        clerk.leadership(1, 7, number, True, True, number, number * SECOND // 10)

    def is_acknowledged(number: int, now: int) -> bool:
        ack = clerk.report(Report(1, 7, number, number, ((5, 0),)), now)
        assert ack is not None
        return ack.is_quorum_connected

    assert is_acknowledged(3, SECOND)
    clerk.leadership(1, 7, 4, True, True, 3, 2 * SECOND)
    assert not is_acknowledged(4, 2 * SECOND)
    clerk.leadership(1, 7, 5, True, True, 3, 2 * SECOND + SECOND // 10)
    assert not is_acknowledged(5, 2 * SECOND + SECOND // 10)
    clerk.leadership(1, 7, 5, True, True, 4, 2 * SECOND + SECOND // 9)
    assert is_acknowledged(5, 2 * SECOND + SECOND // 9)


def test_an_older_vote_is_not_handed_on_as_chosen_while_a_newer_one_waits_for_the_disk() -> None:
    """Replica 1 has a vote in slot 4 on its disk. Then its disk hangs; another decree is chosen there at a higher ballot,
    with its own vote still waiting; memory lets go of the slot; a laggard asks. The journal told the vote it could read,
    which is another decree than the chosen one (rule-R5, I6)."""
    directory = Directory(1, 7, 8192)
    directory.start()
    old, new = AcceptedRecord(ballot_of(1, 1), 4, b"old", 3), AcceptedRecord(ballot_of(2, 2), 4, b"new", 3)
    for record in (AcceptedRecord(ballot_of(1, 1), 3, b"before", 2), old):
        directory.append(record, 1)
    directory.synced(directory.flush())
    assert directory.read(3, 4, 1000) == [(3, ballot_of(1, 1), b"before"), (4, ballot_of(1, 1), b"old")]
    directory.append(new, 2)
    assert [slot for slot, _, _ in directory.read(3, 4, 1000)] == [3]
    position = directory.flush()
    assert [slot for slot, _, _ in directory.read(3, 4, 1000)] == [3]
    assert directory.read(4, 4, 1000) == []
    directory.synced(position)
    assert directory.read(4, 4, 1000) == [(4, ballot_of(2, 2), b"new")]
