"""How a world of production replicas begins: by running the shipped code in fair weather, until the first slots are applied.

Knows nothing of what is searched afterwards.
"""

from multipaxos.core.ballot import ReplicaId, ballot_of
from multipaxos.core.decree import encode_configuration
from multipaxos.core.effects import Effects
from multipaxos.core.membership import Configuration
from multipaxos.core.messages import Heartbeat, Message, Promise
from multipaxos.core.records import AcceptedRecord, MarkRecord, Record
from multipaxos.core.replica import Replica
from multipaxos.core.settings import MILLISECOND_NS, Settings
from multipaxos.explore.core_local import NOW, campaign
from multipaxos.explore.core_scope import BORN, Scope


class Start:
    """Replicas, their journals, the decrees of the first slots, and the promises that the leader of a reign stands on."""

    def __init__(self, scope: Scope, listed: Configuration, settings: Settings) -> None:
        self.journals: dict[ReplicaId, list[Record]] = {replica: [] for replica in scope.replicas}
        self.promises: list[Promise] = []
        marks = {replica: 100 + replica for replica in scope.replicas}
        if scope.start == BORN:
            birth = encode_configuration(NOW // MILLISECOND_NS, listed.born(marks).encode())
            for records in self.journals.values():
                records += [AcceptedRecord(ballot_of(0, 1), 1, birth, 0), MarkRecord(1)]
        self.replicas = [
            Replica(replica, listed, marks[replica], 1, 1_000 * replica + 1, settings) for replica in scope.replicas
        ]
        self.inboxes: dict[ReplicaId, list[Message]] = {replica: [] for replica in scope.replicas}
        for replica in self.replicas:
            replica.recover(self.journals[replica.id])
            self.carry_out(replica, replica.begin(NOW, 0))
        if scope.start != BORN:
            for effects in campaign(self.replicas[0]):
                self.carry_out(self.replicas[0], effects)
            while any(self.inboxes.values()):
                self.deliver()
        assert all(replica.applied == scope.prefix for replica in self.replicas), (
            "the first slots are applied everywhere"
        )
        ledger = self.replicas[0].ledger
        self.base = tuple([ledger.decree(slot) for slot in range(1, scope.prefix + 1)])

    def carry_out(self, replica: Replica, effects: Effects) -> None:
        """Everything is durable, and everything arrives but heartbeats: who heard one would refuse candidates for a while."""
        self.journals[replica.id] += effects.writes
        for to, message in (*effects.messages, *effects.when_durable):
            if not isinstance(message, Heartbeat):
                self.inboxes[to].append(message)
            if isinstance(message, Promise):
                self.promises.append(message)

    def deliver(self) -> None:
        """What was sent by now."""
        for replica in self.replicas:
            inbox = self.inboxes[replica.id]
            self.inboxes[replica.id] = []
            for message in inbox:
                self.carry_out(replica, replica.step((message,), NOW, 0))
