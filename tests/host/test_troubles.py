"""What is said of troubles that repeat: enough to be found, too little to fill a disk."""

from multipaxos.host.logs import STRANGER, TROUBLE_LINES_MAX, TROUBLE_REPEATED_NS, Troubles

SECOND_NS = 1_000_000_000


def test_a_trouble_is_said_once_and_again_every_half_minute_while_it_lasts() -> None:
    troubles = Troubles()
    said_at = []
    for second in range(95):
        if troubles.lines(2, "replica 2 answers nonsense", 100 + second * SECOND_NS):
            said_at.append(second)
    assert said_at == [0, 30, 60, 90]
    assert troubles.lines(2, "replica 2 is refused", 100 + 95 * SECOND_NS) == ["replica 2 is refused"]


def test_strangers_cannot_fill_the_log() -> None:
    troubles = Troubles()
    lines = [
        line
        for number in range(10_000)
        for line in troubles.lines(STRANGER, f"from 10.0.0.1:{number}: no frame", number * SECOND_NS // 1000)
    ]
    assert len(lines) == TROUBLE_LINES_MAX
    assert lines[0] == "from 10.0.0.1:0: no frame"
    # Nor do they hide what a member suffers; and what was left out is counted.
    assert troubles.lines(2, "replica 2 answers nonsense", 10 * SECOND_NS) == ["replica 2 answers nonsense"]
    later = troubles.lines(STRANGER, "from 10.0.0.1:1: no frame", TROUBLE_REPEATED_NS + SECOND_NS)
    assert later == [
        f"{10_000 - TROUBLE_LINES_MAX} further troubles with strangers were not written to this log",
        "from 10.0.0.1:1: no frame",
    ]
