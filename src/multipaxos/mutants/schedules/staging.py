"""Moves that many schedules share: who campaigns by whose promises, who loses power, what is demanded in the end."""

from multipaxos.core.ballot import ReplicaId
from multipaxos.sim.checkers import Violation
from multipaxos.sim.stage import Stage

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000 * MILLISECOND_NS

SILENCE_NS = 1_300 * MILLISECOND_NS
"""Longer than any election timeout: nobody is loyal to a leader that was not heard for so long."""


def require(is_so: bool, invariant: str, text: str) -> None:
    """Raises a Violation of ``invariant`` where something does not hold that the oracle of the stage does not look at."""
    if not is_so:
        raise Violation(invariant, text)


def lose_power(stage: Stage, replica: ReplicaId) -> None:
    """What was not synced is gone, and nobody notices; what flies is lost."""
    stage.crash(replica, is_power_lost=True, is_noticed=False)
    stage.drop()


def campaign(stage: Stage, candidate: ReplicaId, *givers: ReplicaId) -> None:
    """After a long silence ``candidate`` probes, and campaigns by the word of ``givers``: their promises fly back to it."""
    stage.favoured = candidate
    stage.wait(SILENCE_NS)
    for _ in range(20):
        if stage.find("Probe", sender=candidate):
            break
        stage.tick(candidate)
    for giver in givers:
        stage.deliver(to=giver, kind="Probe", sender=candidate)
    stage.deliver(to=candidate, kind="ProbeAnswer")
    stage.drop(kind="Probe")
    for giver in givers:
        assert stage.deliver(to=giver, kind="Prepare", sender=candidate), "it does not campaign"
    stage.drop(kind="Prepare")
    stage.drop(kind="Probe")


def campaign_again(stage: Stage, candidate: ReplicaId, *heard: ReplicaId) -> None:
    """A campaign comes to nothing, and ``candidate`` begins the next, by the word of ``heard``; their promises it does not
    get, but its own it does."""
    before = stage.core(candidate).promised
    for _ in range(20):
        stage.tick(candidate)
        for voter in heard:
            stage.deliver(to=voter, kind="Probe")
        stage.deliver(to=candidate, kind="ProbeAnswer")
        if stage.core(candidate).promised > before:
            break
        stage.drop()
    assert stage.core(candidate).promised > before, "it does not campaign again"
    stage.deliver(to=candidate, kind="Promise", sender=candidate)
    stage.drop()


def take_over(stage: Stage, candidate: ReplicaId, *givers: ReplicaId) -> None:
    """The same until it leads; what it proposes and tells then flies."""
    campaign(stage, candidate, *givers)
    stage.deliver(to=candidate, kind="Promise")
    assert stage.core(candidate).standing == "leader", "it does not lead"
