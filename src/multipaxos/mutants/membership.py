"""Section F of the catalogue: membership and liveness; and the rules of elections (rule-R6, rule-R28, rule-R29)."""

from typing import Final

from multipaxos.mutants.hunts import script, seeds
from multipaxos.mutants.mutant import Mutant, Patch, Waiting

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        ("bug-F05", "rule-R44"),
        "who does not know itself a voter does not promise",
        "An acceptor waits to learn of its own admission before it helps to decide it.",
        "etcd-io/raft abb533c",
        (
            Patch(
                "core/replica.py",
                "        self.catchup.hear(message.chosen_prefix, message.sender)  # catch-up goes both ways (PTP 3.1)\n",
                "        if not self.membership.is_born:\n            return\n"
                "        self.catchup.hear(message.chosen_prefix, message.sender)\n",
            ),
        ),
        ("I16",),
        (script("newcomer-promises"),),
    ),
    Mutant(
        ("rule-R28",),
        "nobody draws lots",
        "All timers and pauses are equal: replicas that campaign in step refuse each other for ever.",
        "openraft 228077a6; WRaft#8; TigerBeetle #2437, #3618",
        (
            Patch(
                "core/replica.py",
                "        return (self._drawn >> 33) % bound if bound > 0 else 0\n",
                "        return 0\n",
            ),
        ),
        ("I16",),
        (script("equal-timers"), seeds("plain", 60)),
        argued="Equivalent in its outcome: of candidates that begin at one instant all others promise the highest ballot, "
        "and a probe holds back whoever comes later, so equal timers cost a round and never a leader. Tried: 300 seeds "
        "each of plain worlds and of worlds with clients; 3 and 5 replicas in lockstep at 25 message delays from 1 to "
        "99 ms: the same time to the first leader as with lots. From 100 ms on a probe ends before its answers come, with "
        "lots and without.",
    ),
    Mutant(
        ("bug-F09", "rule-R32"),
        "a laggard always asks the same peer",
        "What is missing is asked of whoever spoke of it, again and again, though that peer hears nothing.",
        "openraft 228077a6; WRaft#8; TigerBeetle #2437, #3618",
        (Patch("core/catchup.py", "        if self.unanswered % 2 and others:\n", "        if not others:\n"),),
        ("I16",),
        (script("deaf-source"),),
    ),
    Mutant(
        ("rule-R6",),
        "a leader with a quorum ignores nacks",
        "A voter that promised a ballot whose owner died is lost to the leader for ever.",
        "rule-R6",
        (
            Patch(
                "core/electing.py",
                "    leadership = replica.leadership\n    assert leadership is not None\n    replica.see(above)\n",
                "    leadership = replica.leadership\n    assert leadership is not None\n    replica.see(above)\n"
                "    if leadership.is_quorum_connected:\n        return\n",
            ),
        ),
        ("I16",),
        (script("dead-ballot"),),
    ),
    Mutant(
        ("rule-R29",),
        "a leader counts who it hears",
        "Whoever ever echoed counts for ever: a leader that reaches nobody stays, and those that hear it stay loyal.",
        "rule-R29, scenario quorum-loss",
        (
            Patch(
                "core/leader.py",
                "            heard = {replica for replica, echoed in self.echoed.items() if echoed >= oldest}\n",
                "            heard = {replica for replica, echoed in self.echoed.items() if echoed or oldest}\n",
            ),
        ),
        ("I16",),
        (script("quorum-loss"),),
    ),
    Mutant(
        ("trap-T4", "rule-R40"),
        "a rebuilt replica votes again after one whole slot",
        "Paxos Made Live's rule for a lost disk: it forgets promises whose quorum was not complete when the disk was lost.",
        "PML 5.1",
        (
            Patch(
                "core/replica.py",
                "        self._refresh_others()\n\n    # ------",
                "        self._refresh_others()\n        self.rebuilt_at = 0\n\n    # ------",
            ),
            Patch(
                "core/birth.py",
                "    if member is not None and member.mark not in (0, replica.mark):\n"
                "        effects.stop = emptied(replica.id)\n",
                "    if member is not None and member.mark not in (0, replica.mark) and not replica.rebuilt_at:\n"
                "        replica.rebuilt_at = max(replica.catchup.target, replica.ledger.chosen_prefix) + 1\n",
            ),
            Patch(
                "core/replica.py",
                "        promised = self.acceptor.promised\n        if not self.acceptor.may_accept(ballot):\n",
                "        promised = self.acceptor.promised\n"
                "        if self.ledger.chosen_prefix < self.rebuilt_at:\n"
                "            return\n"
                "        if not self.acceptor.may_accept(ballot):\n",
            ),
            Patch(
                "core/replica.py",
                "        promised = self.acceptor.promised\n        if not self.acceptor.may_promise(ballot):\n",
                "        promised = self.acceptor.promised\n"
                "        if self.ledger.chosen_prefix < self.rebuilt_at:\n"
                "            return\n"
                "        if not self.acceptor.may_promise(ballot):\n",
            ),
        ),
        ("I2", "I3", "I10"),
        (script("forgotten-promise"),),
    ),
    Mutant(
        ("rule-R28", "rule-R29"),
        "loyalty to a leader that nobody answers",
        "An acceptor protects a leader that says of itself that no quorum echoes it, and which never stands down.",
        "rule-R29, scenario quorum-loss",
        (
            Patch("core/election.py", "            and self.heard_is_connected\n", ""),
            Patch(
                "core/replica.py",
                "                if silent_ns >= self.settings.election_max_ns:\n",
                "                if False:\n",
            ),
        ),
        ("I16",),
        (script("quorum-loss"),),
    ),
    Mutant(
        ("rule-R28",),
        "a suspicion is a campaign",
        "A replica that was cut off raises the ballot without asking anybody whether the leader lives.",
        "rule-R28, scenario old-leader-returns",
        (
            Patch(
                "core/electing.py",
                '    effects.note("election.suspect", election.leader_ballot, silent_ns)\n',
                '    effects.note("election.suspect", election.leader_ballot, silent_ns)\n'
                "    replica.begin_campaign(NO_BALLOT, now, effects)\n"
                "    return\n",
            ),
        ),
        ("rule-R28",),
        (script("guest-returns"),),
    ),
    Mutant(
        ("rule-R30",),
        "an order to campaign is obeyed whenever it comes",
        "A message of a hand-over that was given up long ago unseats a healthy leader.",
        "rule-R30, scenario transfer-late",
        (
            Patch(
                "core/electing.py",
                "    if not is_young or replica.standing != FOLLOWER:\n",
                "    if replica.standing != FOLLOWER:\n",
            ),
        ),
        ("rule-R30",),
        (script("transfer-late"),),
    ),
    Mutant(
        ("rule-R31",),
        "a leader whose disk hangs goes on leading",
        "A leader does not look at the age of its own writes, and leads on one vote less for ever.",
        "rule-R31, scenario hung-leader",
        (
            Patch(
                "core/electing.py",
                "    if age_ns <= stall_ns or leadership.handover_target or now < replica.handover_rests_until:\n",
                "    if age_ns <= stall_ns or leadership is not None:\n",
            ),
        ),
        ("rule-R31",),
        (script("hung-leader"),),
    ),
)

WAITING: Final[tuple[Waiting, ...]] = (
    Waiting("bug-F01", "reconfiguration: one would be proposed before the own epoch decree is chosen"),
    Waiting("bug-F02", "reconfiguration: two configurations would be in force, and one of them counted"),
    Waiting("bug-F04", "reconfiguration: a candidate could have one that it has not applied"),
    Waiting("bug-F07", "reconfiguration: one would take effect by a minority"),
    Waiting("bug-F08", "reconfiguration: a leader would forget how far the voters of the new one are"),
)
