"""Schedules of catch-up: a replica that missed something, and what it takes from whom (rule-R5)."""

from multipaxos.core.settings import Settings
from multipaxos.mutants.schedules.staging import SECOND_NS, lose_power, require
from multipaxos.sim.stage import led


def fetched_then_restarted() -> None:
    """bug-B12: replica 3 alone has voted for x in slot 3; another decree is chosen there without it. It fetches that, votes
    in slot 4 with a mark that covers slot 3, and starts anew: its own old vote must not be what it finds there."""
    stage = led(3)
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.drop(to=2)
    stage.deliver(to=3, kind="Accept")
    lose_power(stage, 1)
    stage.slow_disks.clear()
    stage.start(1)
    stage.cut_off(3)
    stage.elect(2)
    stage.heal()
    stage.live(SECOND_NS)
    assert stage.core(3).applied == stage.core(2).applied >= 3, "replica 3 has not caught up"
    stage.submit(2, "y")
    stage.settle()
    stage.crash(3)
    stage.start(3)
    stage.live(SECOND_NS)


def one_decree_a_page() -> None:
    """bug-B10: a laggard is handed what it missed in pages of one decree."""
    stage = led(3, settings=Settings(page_bytes_max=1))
    stage.crash(3)
    for number in range(5):
        stage.submit(1, f"w{number}")
        stage.settle()
    stage.start(3)
    stage.live(5 * SECOND_NS)
    require(
        stage.executed(3) == stage.executed(1),
        "I16",
        f"a laggard has executed {len(stage.executed(3))} of 5 commands after 5 s",
    )


def gap_left_open() -> None:
    """bug-B08, ``lamport-135``: of slots 3 and 4 only the second reaches replica 3, and leader 1 dies. Nobody else knows what
    stood in slot 3; until something is chosen there, nothing above it is executed."""
    stage = led(3, settings=Settings(pipeline=8))
    stage.slow_disks.add(1)
    stage.submit(1, "x")
    stage.submit(1, "y")
    stage.drop(kind="Accept", slot=3)
    stage.drop(to=2)
    stage.deliver(to=3, kind="Accept")
    lose_power(stage, 1)
    stage.favoured = 3
    stage.live(3 * SECOND_NS)
    stage.submit(3, "z")
    stage.live(5 * SECOND_NS)
    require("z" in stage.executed(3), "I16", "two of three replicas are connected, and a write is not done within 5 s")
