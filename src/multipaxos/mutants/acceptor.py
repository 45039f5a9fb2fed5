"""Section A of the catalogue: acceptor and proposer; and the rules of ballots and of phase 1 (rule-R1, rule-R3, rule-R4)."""

from typing import Final

from multipaxos.mutants.hunts import explore, script, seeds
from multipaxos.mutants.mutant import Mutant, Patch, Waiting

_NO_SECOND_LOOK: Final = Patch(
    "core/replica.py",
    '            assert self.acceptor.ballot_at(slot) == self.acceptor.promised, "PMMC A2"\n',
    "",
)
"""The core asserts what these mutants break; an assertion is no kill, so it goes with the rule."""

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        ("bug-A01", "rule-R36"),
        "promise forgotten at restart",
        "A restarted acceptor knows only the ballot it last accepted at, and helps a ballot it had refused.",
        "ongardie/raft.tla PR 5; datatechnology/cornerstone #65",
        (
            Patch(
                "core/replica.py",
                "            elif isinstance(record, PromisedRecord):\n"
                "                self.acceptor.restore_promise(record.ballot)\n",
                "            elif isinstance(record, PromisedRecord):\n                pass\n",
            ),
        ),
        ("I3",),
        (explore("two-ballots-crash"), script("promise-and-restart"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A02", "rule-R1"),
        "a ballot is used again after a restart",
        "A proposer that restarts issues a ballot of its former life, and old promises answer it.",
        "Tencent/phxpaxos #145",
        (
            Patch(
                "core/replica.py",
                "        ballot = next_ballot(self.id, max(self.acceptor.promised, self._seen))\n",
                "        ballot = next_ballot(self.id, self._seen)\n",
            ),
            Patch(
                "core/acceptor.py",
                '        assert ballot >= self.promised, "PMMC A1"\n'
                "        is_raised = ballot > self.promised\n"
                "        self.promised = ballot\n",
                "        is_raised = ballot > self.promised\n        self.promised = max(ballot, self.promised)\n",
            ),
        ),
        ("I3", "I4"),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A03",),
        "promises of an older ballot are counted",
        "A candidate takes late promises of its last attempt for promises at its present ballot.",
        "luohaha/MyPaxos #18; xnnyygn/xraft #33",
        (
            Patch(
                "core/replica.py",
                "        if campaign is None or message.ballot != campaign.ballot or message.first != campaign.first:\n",
                "        if campaign is None or message.first != campaign.first:\n",
            ),
        ),
        ("I5", "I10"),
        (script("promise-of-the-last-attempt"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A04", "trap-T3"),
        "promise not raised on accept",
        "An acceptor that accepted at a higher ballot still accepts at a lower one, and its last vote hides a chosen decree.",
        "Cassandra PR 1327, CASSANDRA-17162",
        (
            Patch(
                "core/acceptor.py",
                '        assert ballot >= self.promised, "PMMC A2"\n        self.promised = ballot\n',
                '        assert ballot >= self.promised, "PMMC A2"\n',
            ),
            _NO_SECOND_LOOK,
        ),
        ("I3",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A06", "rule-R4"),
        "the lowest reported ballot is adopted",
        "A leader proposes the decree of the lowest ballot reported in a slot, not of the highest.",
        "omnipaxos 974b7ff, b67716a",
        (
            Patch(
                "core/leader.py",
                "        if known is None or ballot > known[0]:\n",
                "        if known is None or ballot < known[0]:\n",
            ),
        ),
        ("I5",),
        (explore("three-ballots"), script("two-reports"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A08", "claim-A22"),
        "own decree instead of the reported one",
        "A proposer keeps what it wanted to propose, although a promise reported a vote.",
        "derived",
        (
            Patch(
                "core/leader.py",
                "        known = self.reported.get(slot)\n"
                "        if known is None or ballot > known[0]:\n"
                "            self.reported[slot] = (ballot, decree)\n",
                "        return\n",
            ),
        ),
        ("I5",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A09",),
        "accept below the promise",
        "An acceptor votes at a ballot below the one it promised.",
        "derived",
        (
            Patch(
                "core/acceptor.py",
                '        """Whether an accept at ``ballot`` may be answered with a vote: PMS P1a."""\n'
                "        return ballot >= self.promised\n",
                "        return True\n",
            ),
            Patch(
                "core/acceptor.py",
                '        assert ballot >= self.promised, "PMMC A2"\n        self.promised = ballot\n',
                "        self.promised = max(ballot, self.promised)\n",
            ),
            _NO_SECOND_LOOK,
        ),
        ("I3",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A10", "claim-A7"),
        "a duplicate vote is counted twice",
        "The leader counts accepted messages, not voters: one acceptor whose answer is duplicated makes a quorum.",
        "jjzhang/booth PR 47",
        (
            Patch(
                "core/leader.py",
                "        self.votes: set[ReplicaId] = set()  # by voter: a duplicate is no second vote (claim-A7)\n",
                "        self.votes: list[ReplicaId] = []\n",
            ),
            Patch(
                "core/replica.py",
                "        proposal.votes.add(message.sender)\n",
                "        proposal.votes.append(message.sender)\n",
            ),
            Patch(
                "core/replica.py",
                "        if quorum.is_accept_quorum(proposal.votes):\n",
                "        if len(proposal.votes) >= quorum.accept:\n",
            ),
        ),
        ("I2", "I6", "I10"),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A10", "claim-A16"),
        "votes of different ballots are added up",
        "The leader counts an accepted message of an older ballot for its present proposal.",
        "jjzhang/booth PR 47",
        (
            Patch(
                "core/replica.py",
                "    def _on_accepted(self, message: Accepted, effects: Effects) -> None:\n"
                "        leadership = self.leadership\n"
                "        if leadership is None or message.ballot != leadership.ballot:\n",
                "    def _on_accepted(self, message: Accepted, effects: Effects) -> None:\n"
                "        leadership = self.leadership\n"
                "        if leadership is None:\n",
            ),
        ),
        ("I2", "I6", "I10"),
        (script("votes-of-two-ballots"),),
    ),
    Mutant(
        ("bug-A11", "claim-A11"),
        "half of the voters are an accept quorum",
        "n/2 instead of n/2 + 1 votes choose: two accept quorums, or one and a prepare quorum, need not meet.",
        "MultiPaxos-SMR README; hashicorp/raft #308",
        (
            Patch(
                "core/quorum.py",
                "        if self.prepare + self.accept <= count:\n",
                "        if self.prepare + self.accept < count:\n",
            ),
            Patch(
                "core/quorum.py",
                "    return Quorum(voters, more_than_half, more_than_half)\n",
                "    return Quorum(voters, more_than_half, max(1, len(voters) // 2))\n",
            ),
        ),
        ("I2", "I6", "I10"),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A11", "rule-R44"),
        "an observer's vote counts",
        "Whoever answers an accept is counted, with or without a vote in the configuration that governs the slot.",
        "hashicorp/raft #308",
        (
            Patch(
                "core/replica.py",
                "        if message.sender not in quorum.voters:\n",
                "        if False:\n",
            ),
            Patch(
                "core/replica.py",
                "        if quorum.is_accept_quorum(proposal.votes):\n",
                "        if len(proposal.votes) >= quorum.accept:\n",
            ),
        ),
        ("I2", "I6", "I10"),
        (script("observer-votes"),),
    ),
    Mutant(
        ("bug-A13",),
        "ballots are compared part by part",
        "A ballot is higher only where round and replica both are: low ids never lead after high ones.",
        "openraft a48a3282",
        (
            Patch(
                "core/acceptor.py",
                '        where numbers may be shared, as by hand, the caller refuses it (rule-R51)."""\n'
                "        return ballot >= self.promised\n",
                '        where numbers may be shared, as by hand, the caller refuses it (rule-R51)."""\n'
                "        return ballot // 65536 >= self.promised // 65536 and ballot % 65536 >= self.promised % 65536\n",
            ),
        ),
        ("I16",),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("bug-A16",),
        "a vote does not carry its promise to the disk",
        "Vote and promise are two facts on the disk, and a crash between them keeps the vote only.",
        "willemt/raft 854a06d",
        (
            Patch(
                "core/acceptor.py",
                "        self.restore_promise(ballot)\n        if ballot >= self.ballot_at(slot):\n",
                "        if ballot >= self.ballot_at(slot):\n",
            ),
        ),
        ("I3",),
        (explore("two-ballots-crash"), script("vote-and-restart"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A17", "trap-T16"),
        "the own vote counts when it is sent",
        "A leader counts itself before its own sync has returned: with one other vote that is a quorum of one disk.",
        "etcd-io/raft e9e525d, 169f4c3cc; etcd #14370",
        (
            Patch(
                "core/replica.py",
                "        effects.send_when_durable(self.id, Accepted(self.id, accept.ballot, accept.slot))\n",
                "        effects.send(self.id, Accepted(self.id, accept.ballot, accept.slot))\n",
            ),
        ),
        ("I8",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A18",),
        "a leader votes for itself whatever it promised meanwhile",
        "A leader that promised a higher ballot goes on voting at its own.",
        "daos-stack/raft #70",
        (
            Patch(
                "core/replica.py",
                "        if self.acceptor.promised > accept.ballot:\n"
                "            electing.hear_of_higher(self, self.acceptor.promised, now, effects)\n"
                "            return\n",
                "",
            ),
            Patch(
                "core/acceptor.py",
                '        assert ballot >= self.promised, "PMMC A2"\n        self.promised = ballot\n',
                "        self.promised = max(ballot, self.promised)\n",
            ),
        ),
        ("I3",),
        (explore("two-ballots", timeout_s=120.0), script("promised-while-leading"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A19", "trap-T8"),
        "an accept at a higher ballot is refused",
        "An acceptor votes only at exactly the ballot it promised: one that missed the prepare is lost to that leader.",
        "luohaha/MyPaxos #19",
        (
            Patch(
                "core/acceptor.py",
                '        """Whether an accept at ``ballot`` may be answered with a vote: PMS P1a."""\n'
                "        return ballot >= self.promised\n",
                "        return ballot == self.promised\n",
            ),
        ),
        ("I16",),
        (script("missed-prepare"), seeds("plain", 300)),
    ),
    Mutant(
        ("bug-A20",),
        "an echo never tells of a higher promise",
        "The field of an answer that tells of the conflict is never filled, so a passed leader confirms its rounds.",
        "EPaxos: swiftpaxos #3, list of findings",
        (
            Patch(
                "core/electing.py",
                "            message.number,\n            replica.acceptor.promised,\n",
                "            message.number,\n            NO_BALLOT,\n",
            ),
        ),
        ("rule-R19",),
        (script("passed-reader"), seeds("plain", 300)),
    ),
    Mutant(
        ("rule-R1",),
        "a garbled number is taken for a hint",
        "One number far above all that is known uses up the ballots that are left.",
        "rule-R1, scenario huge-number",
        (
            Patch(
                "core/replica.py",
                "        if round_of(ballot) - round_of(known) <= ROUND_LEAP_MAX:\n",
                "        if ballot or known:\n",
            ),
        ),
        ("rule-R1",),
        (script("huge-number"),),
    ),
    Mutant(
        ("rule-R3", "trap-T29"),
        "a promise counts at its first page",
        "A candidate takes the first page of a promise for all of it: slots of later pages read as never accepted.",
        "rule-R3",
        (
            Patch(
                "core/leader.py",
                "            if found.page_last >= self._end:\n                return whole\n",
                "            return whole\n",
            ),
        ),
        ("I5", "I10"),
        (seeds("plain", 300),),
    ),
    Mutant(
        ("rule-R3", "trap-T29"),
        "pages of two states make one promise",
        "Pages cut before and after the acceptor learned or promised more are put together: between them slots are missing.",
        "rule-R3",
        (Patch("core/leader.py", "            self._pages.clear()\n", ""),),
        ("I5", "I10"),
        (script("pages-of-two-states"),),
    ),
    Mutant(
        ("rule-R4",),
        "slots a promise knows to be chosen are proposed",
        "A candidate fills the slots that an acceptor has learned, and therefore no longer reports, with no-ops.",
        "rule-R4, scenario gc-hole",
        (
            Patch(
                "core/replica.py",
                "            self.catchup.hear(prefix, whose)\n            return\n        if self.ledger.applied",
                "            self.catchup.hear(prefix, whose)\n        if self.ledger.applied",
            ),
        ),
        ("I5",),
        (explore("two-ballots", timeout_s=120.0), seeds("plain", 300)),
    ),
    Mutant(
        ("rule-R33", "trap-T30"),
        "a repeated accept is answered from memory",
        "The second answer leaves while the sync of the first still runs; the leader counts it, and both lose power.",
        "rule-R33",
        (
            Patch(
                "core/replica.py",
                "            self._vote(ballot, slot, message.decree, effects)\n            # A repeat",
                "            if self.acceptor.ballot_at(slot) == ballot:\n"
                "                effects.send(message.sender, Accepted(self.id, ballot, slot))\n"
                "            self._vote(ballot, slot, message.decree, effects)\n            # A repeat",
            ),
        ),
        ("I8",),
        (explore("two-ballots-crash"), script("repeat-before-sync"), seeds("plain", 300)),
    ),
    Mutant(
        ("rule-R51", "trap-T31"),
        "by hand, an equal number is promised again",
        "Two runs without memory share a number, both are promised it, and it carries two values.",
        "rule-R51",
        (
            Patch(
                "synod/acceptor.py",
                "        if request.number == rules.promised or not rules.may_promise(request.number):\n",
                "        if not rules.may_promise(request.number):\n",
            ),
        ),
        ("I1", "I2"),
        (script("equal-number"),),
    ),
    Mutant(
        ("rule-R53", "bug-A10"),
        "by hand, a learner adds up votes of different numbers",
        "A learner takes a value that a majority holds at different numbers for chosen.",
        "jjzhang/booth PR 47",
        (
            Patch(
                "synod/learner.py",
                "                votes.setdefault(answer.accepted, []).append(address)\n",
                "                same = [number for number in values if values[number] == answer.value]\n"
                "                votes.setdefault(same[0] if same else answer.accepted, []).append(address)\n",
            ),
        ),
        ("I6",),
        (script("spread-votes"),),
    ),
)

WAITING: Final[tuple[Waiting, ...]] = (
    Waiting("bug-A15", "snapshots: the promise would go back when one is installed"),
)
