"""Section B of the catalogue: ledger, chosen prefix, catch-up; and the rules of order and of epochs (rule-R8, rule-R12)."""

from typing import Final

from multipaxos.mutants.hunts import explore, script, seeds
from multipaxos.mutants.mutant import Mutant, Patch, Waiting

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        ("bug-B01",),
        "the chosen prefix is assigned",
        "A late announcement moves the chosen prefix back, and slots are applied again.",
        "PySyncObj #166",
        (
            Patch(
                "core/replica.py",
                "        if prefix <= ledger.chosen_prefix:\n            return\n        votes = self.acceptor.votes\n",
                "        if prefix <= ledger.chosen_prefix:\n"
                "            ledger.chosen_prefix = prefix\n"
                "            return\n"
                "        votes = self.acceptor.votes\n",
            ),
        ),
        ("I9",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B03", "trap-T26"),
        "copies of a decree count whatever their ballot",
        "A candidate takes a decree that a quorum reports at different ballots for chosen.",
        "logcabin #44; PySyncObj #169; CCF #4485",
        (
            Patch(
                "core/leader.py",
                '    __slots__ = ("_pages", "ballot", "first", "handover",',
                '    __slots__ = ("copies", "_pages", "ballot", "first", "handover",',
            ),
            Patch(
                "core/leader.py",
                "        self._pages: dict[ReplicaId, PromisePages] = {}\n",
                "        self._pages: dict[ReplicaId, PromisePages] = {}\n"
                "        self.copies: dict[tuple[Slot, Decree], set[ReplicaId]] = {}\n",
            ),
            Patch(
                "core/leader.py",
                "                self.report(pvalue.ballot, pvalue.slot, pvalue.decree)\n",
                "                self.report(pvalue.ballot, pvalue.slot, pvalue.decree)\n"
                "                self.copies.setdefault((pvalue.slot, pvalue.decree), set()).add(page.sender)\n",
            ),
            Patch(
                "core/replica.py",
                "        prefix, whose = campaign.highest_prefix()\n        if prefix > self.ledger.chosen_prefix:\n",
                "        for (slot, decree), holders in sorted(campaign.copies.items()):\n"
                "            if self.membership.governing(slot).quorum.is_accept_quorum(holders):\n"
                "                self._learn(slot, campaign.ballot, decree, effects)\n"
                "        prefix, whose = campaign.highest_prefix()\n        if prefix > self.ledger.chosen_prefix:\n",
            ),
        ),
        ("I2", "I6"),
        (script("copies-at-two-ballots"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B04",),
        "an accept cuts what was accepted above it",
        "A late or repeated accept deletes the votes in all slots above its own.",
        "RaftOS #26; willemt/raft #37; akka-raft #66; databend 3914",
        (
            Patch(
                "core/acceptor.py",
                '            assert vote[1] == decree, "PMMC A4"\n            return False\n',
                '            assert vote[1] == decree, "PMMC A4"\n'
                "            for above in [other for other in self.votes if other > slot]:\n"
                "                del self.votes[above]\n"
                "            return False\n",
            ),
        ),
        ("I5",),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("bug-B05", "trap-T26", "rule-R5"),
        "learns from any vote below the announced prefix",
        "A replica takes its own older vote for the chosen decree, because the leader announced that slot.",
        "atomix/copycat #265; WRaft #118.2",
        (
            Patch(
                "core/replica.py",
                "                if vote is None or vote[0] != ballot:\n",
                "                if vote is None:\n",
            ),
        ),
        ("I6", "I7"),
        (explore("two-ballots", timeout_s=120.0), script("fetched-then-restarted"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B08",),
        "a gap is not filled",
        "A new leader re-proposes what was reported and leaves the slots between open for ever.",
        "PikaLabs/floyd #17; adjoint-io/raft #54; canonical/raft PR 302; RaftOS #30",
        (
            Patch(
                "core/leader.py",
                "            found.append((slot, NOOP if report is None else report[1]))\n",
                "            if report is not None:\n                found.append((slot, report[1]))\n",
            ),
        ),
        ("I16",),
        (script("gap-left-open"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B10",),
        "a page of chosen decrees loses its last one",
        "A laggard is handed all but the last decree of each page, and never gets past a page of one.",
        "etcd-io/raft 8ecce32",
        (Patch("core/catchup.py", "    return range(first, slot)\n", "    return range(first, slot - 1)\n"),),
        ("I16",),
        (script("one-decree-a-page"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B11",),
        "a slot that memory let go compares as an old ballot",
        "A leader takes the answer 'chosen, I no longer know at which ballot' for 'chosen at a ballot below yours'.",
        "etcd-io/raft 76f1249; WRaft #1",
        (
            Patch(
                "core/replica.py",
                "        if chosen_at == NO_BALLOT or chosen_at > leadership.ballot:\n",
                "        if chosen_at > leadership.ballot:\n",
            ),
        ),
        ("I2", "I6", "I7"),
        (script("settled-out-of-memory"),),
    ),
    Mutant(
        ("bug-B12",),
        "what is fetched is not kept",
        "Decrees learned by catch-up are missing from the replica's own history, which goes on over the hole.",
        "ZOOKEEPER-4925",
        (
            Patch(
                "core/replica.py",
                "        if self.acceptor.ballot_at(slot) < ballot:\n"
                "            effects.write(LearnedRecord(ballot, slot, decree))\n",
                "",
            ),
        ),
        ("I6", "I7"),
        (script("fetched-then-restarted"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B15",),
        "a leader that stands down forgets what it learned last",
        "Chosen slots that were not announced yet are rolled back when the leadership ends.",
        "eBay/NuRaft #185; microsoft/CCF #5674; camunda #14509",
        (
            Patch(
                "core/replica.py",
                "        # Local reads go back to where they came from; peers ask again by themselves.\n",
                "        acked = min(leadership.peer_applied.values(), default=0)\n"
                "        self.ledger.chosen_prefix = min(self.ledger.chosen_prefix, acked)\n",
            ),
        ),
        ("I9",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B16",),
        "a vote is told before it is written",
        "A follower acknowledges and persists afterwards: if all lose power, what a quorum acknowledged is nowhere.",
        "ZOOKEEPER-3911, -4646, -4785",
        (
            Patch(
                "core/replica.py",
                "            effects.send_when_durable(message.sender, Accepted(self.id, ballot, slot))\n",
                "            effects.send(message.sender, Accepted(self.id, ballot, slot))\n",
            ),
        ),
        ("I8",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B17",),
        "a candidate leads before a quorum supports it",
        "Phase 2 begins with the first promise, the own one.",
        "ZOOKEEPER-790, -3104",
        (
            Patch(
                "core/replica.py",
                "        for configuration in self.configurations_in_force():\n"
                "            if not configuration.quorum.is_prepare_quorum(campaign.promised):\n"
                "                return\n",
                "",
            ),
        ),
        ("I10",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B18",),
        "ballots of one round are not ordered",
        "Two candidates of one round are both promised: the second promise takes the first back.",
        "ZOOKEEPER-1818; SandTable ZooKeeper#1",
        (
            Patch(
                "core/acceptor.py",
                '        where numbers may be shared, as by hand, the caller refuses it (rule-R51)."""\n'
                "        return ballot >= self.promised\n",
                '        where numbers may be shared, as by hand, the caller refuses it (rule-R51)."""\n'
                "        return ballot // 65536 >= self.promised // 65536\n",
            ),
            Patch("core/acceptor.py", '        assert ballot >= self.promised, "PMMC A1"\n', ""),
        ),
        ("I3",),
        (explore("three-ballots"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B19", "rule-R14"),
        "the counter of a zxid overflows into the epoch",
        "After 2^32 changes the counter carries into the epoch, and the next leadership begins below zxids already given.",
        "ZOOKEEPER-1277",
        (
            Patch(
                "coordination/machine.py",
                "            self.epoch += 1\n            zxid += 1\n        self.zxid = zxid\n",
                "            pass\n        self.zxid = zxid\n",
            ),
        ),
        ("I9",),
        (script("zxid-boundary"),),
    ),
    Mutant(
        ("bug-B20", "rule-R17"),
        "a multi is carried out as it is checked",
        "The operations of a transaction take effect one by one: one that fails halfway leaves half.",
        "ZOOKEEPER-3127",
        (
            Patch(
                "coordination/machine.py",
                "            planned.append((path, parent_path, acl, owner))\n",
                "            planned.append((path, parent_path, acl, owner))\n"
                "            self._execute(operation, path, parent_path, acl, owner, self._next_zxid(), None)\n",
            ),
            Patch(
                "coordination/machine.py",
                "        for index in range(len(operations)):\n            path, parent_path, acl, owner = planned[index]\n",
                "        for index in range(0):\n            path, parent_path, acl, owner = planned[index]\n",
            ),
        ),
        ("rule-R17",),
        (script("multi-fails-halfway"),),
    ),
    Mutant(
        ("bug-B20",),
        "the applied slot counts commands",
        "The applied slot moves with each command of a batch, past slots that were never applied.",
        "ZOOKEEPER-3127",
        (
            Patch(
                "core/replica.py",
                "            ledger.applied = slot\n            effects.applied.append(applied)\n",
                "            ledger.applied = min(ledger.chosen_prefix, slot - 1 + max(1, len(applied.commands)))\n"
                "            effects.applied.append(applied)\n",
            ),
        ),
        ("I7", "I9"),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("bug-B23",),
        "a promise rolls the ledger back",
        "An acceptor that promises drops what it had accepted and does not know to be chosen.",
        "vesoft nebula PR 1303, 2419",
        (
            Patch(
                "core/acceptor.py",
                "        self.promised = ballot\n        return is_raised\n",
                "        self.promised = ballot\n"
                "        if is_raised:\n"
                "            self.votes.clear()\n"
                "        return is_raised\n",
            ),
        ),
        ("I5",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B23",),
        "a leader that was passed goes on leading",
        "State of the leadership is kept when a higher leader is heard: the fake leader disturbs the true one for ever.",
        "vesoft nebula PR 1303, 2419",
        (
            Patch(
                "core/electing.py",
                '        effects.note("leader.stand_down", leadership.ballot, ballot)\n        replica.stand_down(now)\n',
                "        pass\n",
            ),
        ),
        ("I16",),
        (script("passed-leader"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-B24",),
        "a laggard asks for the last slot only",
        "The hint where a laggard is never moves back: what lies before the last slot is asked for by nobody.",
        "openraft 6d53aa12; etcd #1366",
        (
            Patch(
                "core/catchup.py",
                "        return Fetch(replica, first, self.target, runs_of(pairs))\n",
                "        return Fetch(replica, self.target, self.target, runs_of(pairs))\n",
            ),
        ),
        ("I16",),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("rule-R8", "trap-T6"),
        "a gap consumes its serial",
        "Serial 5 is executed though 4 never was: a command that built on another runs without it.",
        "Zab, figure 1",
        (
            Patch(
                "core/streams.py",
                "        if first_serial > next_serial:\n            return count\n"
                "        return min(next_serial - first_serial, count)\n",
                "        return min(max(next_serial - first_serial, 0), count)\n",
            ),
        ),
        ("I7", "I11"),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("rule-R8",),
        "nothing is sent again after a new epoch",
        "A gateway takes what it sent to the last leader for delivered.",
        "rule-R8",
        (
            Patch(
                "core/forwarding.py",
                "        self._unsent = deque(segment for _, segment in self._kept)\n",
                "        return\n",
            ),
        ),
        ("I16",),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("rule-R8",),
        "nothing is sent again over a new connection",
        "What a broken connection swallowed stays lost while the leader lives on.",
        "rule-R8",
        (
            Patch("core/electing.py", "        replica.forwarding.addressed = NO_BALLOT\n", ""),
            Patch(
                "core/ordering.py",
                "    is_stuck = forwarding.progress_at > 0 and "
                "now - forwarding.progress_at >= replica.settings.election_max_ns\n",
                "    if forwarding.progress_at > 0 and now - forwarding.progress_at >= replica.settings.election_max_ns:\n"
                "        forwarding.progress_at = now\n"
                "    is_stuck = False\n",
            ),
        ),
        ("I16",),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("rule-R12", "trap-T25"),
        "the epoch decree of a dead leader begins its reign again",
        "An epoch decree adopted above that of a later leader is applied all the same.",
        "rule-R12",
        (Patch("core/reign.py", "        if ballot < self.ballot:\n            return False\n", ""),),
        ("I7",),
        (script("late-epoch-decree"),),
    ),
    Mutant(
        ("rule-R15",),
        "command time follows the leader's clock back",
        "A new leader with a slow clock makes time go back for everybody.",
        "rule-R15",
        (
            Patch(
                "core/reign.py",
                "        if wall_ms > self.time_ms:\n            self.time_ms = wall_ms\n",
                "        self.time_ms = wall_ms\n",
            ),
        ),
        ("I7",),
        (seeds("plain", 300),),
    ),
)

WAITING: Final[tuple[Waiting, ...]] = (
    Waiting("bug-B06", "compaction: no slot below a floor is forgotten yet, so none can be taken for a conflict"),
    Waiting("bug-B22", "snapshots: installing one would race with apply"),
    Waiting("bug-B25", "snapshots: a laggard would refuse the one it needs"),
)
