"""Section D of the catalogue: reads and clocks; and the rule of linearizable reads (rule-R19)."""

from typing import Final

from multipaxos.mutants.hunts import script, seeds
from multipaxos.mutants.mutant import Mutant, Patch, Waiting

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        ("bug-D01", "rule-R19"),
        "a leader answers reads by itself",
        "A leader that was passed answers from what it knows, without asking a quorum whether it still leads.",
        "Redis-Raft report; XraftKV#1",
        (
            Patch(
                "core/reading.py",
                "        leadership.reads.append(RoundRead(replica.id, token, 0))\n",
                "        if leadership.is_reigning:\n"
                "            replica.reads.confirmed(replica.ledger.chosen_prefix, token)\n"
                "        else:\n"
                "            leadership.reads.append(RoundRead(replica.id, token, 0))\n",
            ),
        ),
        ("rule-R19",),
        (script("passed-reader"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-D02", "rule-R19"),
        "reads are answered before the own epoch decree is applied",
        "A new leader does not know yet which of the slots it adopted are chosen, and answers from before them.",
        "etcd #7331, #12680 (3189a66)",
        (
            Patch(
                "core/reading.py",
                "    if not leadership.reads or not leadership.is_reigning:\n        return\n",
                "    if not leadership.reads:\n        return\n",
            ),
            Patch(
                "core/reading.py",
                "    if not leadership.is_reigning:\n        return\n    joined = 0\n",
                "    joined = 0\n",
            ),
            Patch(
                "core/reading.py",
                "            read.slot = max(replica.ledger.chosen_prefix, leadership.began_epoch_slot)\n",
                "            read.slot = replica.ledger.chosen_prefix\n",
            ),
        ),
        ("rule-R19",),
        (script("read-before-noop"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-D04", "rule-R19"),
        "a read does not wait for apply",
        "A follower answers as soon as it has a read slot, from a state that has not reached it.",
        "etcd #13464; tikv #16069",
        (
            Patch(
                "core/reads.py",
                "        readable = [token for slot, token in self._ready if slot <= applied]\n"
                "        self._ready = [(slot, token) for slot, token in self._ready if slot > applied]\n",
                "        readable = [token for _, token in self._ready]\n        self._ready = []\n",
            ),
        ),
        ("rule-R19",),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("bug-D09", "rule-R26"),
        "a starting replica answers from what it has replayed",
        "Reads are served before the replica has heard how far the others are.",
        "etcd #3879",
        (
            Patch(
                "core/reading.py",
                "    reads = replica.reads\n    ballot = replica.election.leader_ballot\n",
                "    reads = replica.reads\n"
                "    if not replica.is_current:\n"
                "        for token in reads.waiting:\n"
                "            reads.confirmed(replica.ledger.applied, token)\n"
                "        reads.waiting = []\n"
                "    ballot = replica.election.leader_ballot\n",
            ),
        ),
        ("rule-R19",),
        (script("read-at-start"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-D09", "rule-R19"),
        "an answer to a former start confirms a read",
        "Queries are numbered anew with each start, and an answer that was under way confirms a read that came later.",
        "etcd #3879",
        (Patch("core/reads.py", "        self._number = incarnation << 32\n", "        self._number = 0\n"),),
        ("rule-R19",),
        (script("read-of-a-former-life"),),
    ),
    Mutant(
        ("bug-D10", "rule-R20"),
        "sync is answered where it arrives",
        "sync says 'you are up to date' without the ledger: at a replica that was cut off, the read behind it is stale.",
        "aphyr 291, note of 2019",
        (
            Patch(
                "service/connection.py",
                "        OP_CREATE, OP_DELETE, OP_SET_DATA, OP_SET_ACL, OP_SYNC, OP_MULTI,",
                "        OP_CREATE, OP_DELETE, OP_SET_DATA, OP_SET_ACL, OP_MULTI,",
            ),
            Patch("service/connection.py", "        OP_WHO_AM_I,\n    )\n)", "        OP_WHO_AM_I, OP_SYNC,\n    )\n)"),
            Patch(
                "service/reads.py",
                "        if opcode == OP_WHO_AM_I:\n            return ERR_OK, encode_who_am_i(ids)\n",
                "        if opcode == OP_WHO_AM_I:\n            return ERR_OK, encode_who_am_i(ids)\n"
                "        if opcode == 9:\n            return ERR_OK, record\n",
            ),
        ),
        ("I8", "I11", "I12"),
        (seeds("clients", 200),),
    ),
    Mutant(
        ("bug-D11",),
        "sessions expire by the wall clock",
        "Deadlines are reckoned with the clock that people and time servers set: when it jumps, everybody has been silent.",
        "ZOOKEEPER-1366",
        (
            Patch("service/service.py", '        "_clerk", "_found_in",', '        "_ahead", "_clerk", "_found_in",'),
            Patch(
                "service/service.py",
                "        self._turn_at = 0\n",
                "        self._turn_at = 0\n        self._ahead = 0\n",
            ),
            Patch(
                "service/service.py",
                "        machine = shared.machine\n        if applied.began_epoch:\n",
                "        machine = shared.machine\n"
                "        self._ahead = applied.time_ms * 1_000_000 - now\n"
                "        if applied.began_epoch:\n",
            ),
            Patch(
                "service/service.py", "self._clerk.report(report, now)", "self._clerk.report(report, now + self._ahead)"
            ),
            Patch(
                "service/service.py",
                "is_quorum_connected, confirmed_round, now)\n        if is_leading",
                "is_quorum_connected, confirmed_round, now + self._ahead)\n        if is_leading",
            ),
            Patch(
                "service/service.py",
                "self._clerk.due(machine.sessions, now)",
                "self._clerk.due(machine.sessions, now + self._ahead)",
            ),
        ),
        ("rule-R24", "rule-R25"),
        (script("clock-runs-fast"), seeds("clients", 200)),
    ),
    Mutant(
        ("rule-R19", "trap-T35"),
        "a read joins a round already sent",
        "Answers that were given before the read arrived confirm it.",
        "rule-R19",
        (
            Patch(
                "core/reading.py",
                "            read.number = number\n",
                "            read.number = number - 1\n",
            ),
        ),
        ("rule-R19",),
        (script("late-reader"),),
    ),
)

WAITING: Final[tuple[Waiting, ...]] = (
    Waiting("bug-D05", "leases: one would outlive the quorum it stands on"),
    Waiting("bug-D06", "leases: one would be renewed by who has no vote"),
)
