"""Schedules of linearizable reads (rule-R19): a rival has written, and somebody could still answer from the past."""

from multipaxos.mutants.schedules.staging import campaign, take_over
from multipaxos.sim.stage import Stage, led


def _rival(stage: Stage) -> None:
    """Leader 1 hands over to replica 2, which leads with replica 3 and writes x; leader 1 hears nothing of it."""
    stage.deliver(to=2, kind="CampaignNow")
    stage.deliver(to=3, kind="Prepare")
    stage.deliver(to=2, kind="Promise")
    stage.deliver(to=3, kind="Accept")
    stage.deliver(to=2, kind="Accepted")
    stage.submit(2, "x")
    stage.deliver(to=3, kind="Accept")
    stage.deliver(to=2, kind="Accepted")
    assert stage.executed(2) == ["x"], "leader 2 has not written"


def late_reader() -> None:
    """trap-T35: a read arrives while the answers to an older round are under way, and a new leader has written. Those
    answers were true when they were given; they must not confirm the read."""
    stage = led(3)
    stage.live(100_000_000)
    stage.tick(1)
    stage.deliver(to=2, kind="Heartbeat")
    stage.deliver(to=3, kind="Heartbeat")
    stage.handover(1, 2)
    _rival(stage)
    stage.read(1, 7)
    stage.deliver(to=1, kind="Echo")
    stage.settle()
    stage.live(1_500_000_000)
    assert stage.answered == [(1, 7)], "the read is not answered in the end"


def passed_reader() -> None:
    """A read at a leader that was passed: its round is echoed by replicas that have promised another ballot."""
    stage = led(3)
    stage.live(100_000_000)
    stage.tick(1)
    stage.settle()
    stage.handover(1, 2)
    _rival(stage)
    stage.read(1, 7)
    stage.deliver(to=2, kind="Heartbeat", sender=1)
    stage.deliver(to=3, kind="Heartbeat", sender=1)
    stage.deliver(to=1, kind="Echo")


def read_before_noop() -> None:
    """``read-before-noop``: x is chosen in slot 3 and applied by leader 1 alone. Leader 3 has adopted it and does not know
    yet that it is chosen: what it knows to be chosen ends before x."""
    stage = led(3)
    stage.submit(1, "x")
    stage.drop(to=3)
    stage.deliver(to=2, kind="Accept")
    stage.deliver(to=1, kind="Accepted")
    assert stage.executed(1) == ["x"]
    stage.drop()
    take_over(stage, 3, 2)
    stage.drop(to=1)
    stage.hold(kind="Accept")
    stage.read(3, 7)
    stage.deliver(to=2, kind="Heartbeat")
    stage.deliver(to=3, kind="Echo")
    stage.read(3, 8)
    stage.deliver(to=2, kind="Heartbeat")
    stage.deliver(to=3, kind="Echo")


def read_at_start() -> None:
    """bug-D09: a replica that starts has replayed less than is chosen, and is asked before it has heard of anybody."""
    stage = led(3)
    stage.crash(3)
    stage.settle()
    stage.submit(1, "x")
    stage.settle()
    stage.start(3)
    stage.read(3, 7)
    stage.settle()
    stage.live(1_500_000_000)
    assert stage.answered == [(3, 7)], "the read is not answered in the end"


def read_of_a_former_life() -> None:
    """A query of replica 3 is answered after replica 3 was started again: the round is older than the reads of this start."""
    stage = led(3)
    stage.read(3, 7)
    stage.deliver(to=1, kind="ReadQuery")
    stage.deliver(kind="Heartbeat")
    stage.deliver(to=1, kind="Echo")
    answer = stage.find("ReadAnswer", to=3)
    assert len(answer) == 1, "the read is not confirmed"
    stage.crash(3)
    stage.settle()
    stage.submit(1, "x")
    stage.settle()
    stage.start(3)
    stage.settle()
    stage.live(300_000_000)
    stage.submit(1, "y")
    stage.deliver(to=2)
    stage.deliver(to=1)
    stage.read(3, 8)
    stage.drop()
    answer[0].to_life = stage.replicas[3].life
    stage.flight.append(answer[0])
    stage.deliver(to=3)


def candidate_reads() -> None:
    """A candidate has asked the leader it now wants to succeed: what it promised itself confirms nothing."""
    stage = led(3)
    stage.read(3, 7)
    stage.drop()
    campaign(stage, 3, 2)
    stage.settle()
    stage.live(1_500_000_000)
    assert stage.answered == [(3, 7)], "the read is not answered in the end"
