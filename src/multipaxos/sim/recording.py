"""What a run is remembered by: a digest over all that happened, and on request the trace itself.

The digest covers every input, message, record, applied slot and reason of every step, with its virtual time. Two runs of
one seed have one digest, on any machine and under any ``PYTHONHASHSEED``; a digest that differs says that something in
the core, the service or the simulator followed chance that is not the seed's.
"""

import hashlib

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.effects import Effects
from multipaxos.core.inputs import Input
from multipaxos.core.messages import (
    Accept,
    Accepted,
    CampaignNow,
    Echo,
    Fetch,
    Forward,
    Heartbeat,
    Inquire,
    Inquired,
    Learn,
    Message,
    Nack,
    Prefix,
    Prepare,
    Probe,
    ProbeAnswer,
    Promise,
    ReadAnswer,
    ReadQuery,
    Settled,
)
from multipaxos.trace import Json, applied_text, event_line, fields_value, input_text, message_value, record_text

MESSAGES = (
    Accept, Accepted, CampaignNow, Echo, Fetch, Forward, Heartbeat, Inquire, Inquired, Learn, Nack, Prefix, Prepare,
    Probe, ProbeAnswer, Promise, ReadAnswer, ReadQuery, Settled,
)  # fmt: skip


class Recording:
    """Digest of a run; with ``is_kept`` its events as ``multipaxos-trace/1`` lines, too."""

    __slots__ = ("_hash", "_lamport", "_messages", "_patches", "_sent", "events", "facts", "is_kept", "lines")

    def __init__(self, is_kept: bool) -> None:
        self.is_kept = is_kept
        self.lines: list[str] = []
        self.facts: list[str] = []  # since the last event
        self.events = 0
        self._hash = hashlib.sha256()
        self._messages = 0
        self._lamport: dict[ReplicaId, int] = {}
        self._patches: dict[ReplicaId, dict[str, Json]] = {}
        # By identity of the message object and receiver: (event that sent it, its clock). The object is kept, or its
        # identity could be given to another.
        self._sent: dict[tuple[int, ReplicaId], tuple[int, int, Message]] = {}

    def digest(self) -> str:
        """Of all so far."""
        return self._hash.hexdigest()

    def mark(self, now: int, what: str) -> None:
        """Something happened beside the steps: a fault, a client's operation, a fact."""
        self._hash.update(f"{now} {what}\n".encode())
        if self.is_kept:
            self.lines.append(event_line(self.events, now, 0, "world", {"k": what}))
            self.events += 1

    def step(self, now: int, replica: ReplicaId, inputs: list[Input], effects: Effects, state: dict[str, Json]) -> None:
        """One step of one replica."""
        self._hash.update(
            repr(
                (
                    now, replica, inputs, effects.writes, effects.messages, effects.when_durable, effects.applied,
                    effects.lookups, effects.readable, effects.notes,
                )
            ).encode()
        )  # fmt: skip
        if not self.is_kept:
            return
        lamport = self._lamport.get(replica, 0)
        causes: list[int] = []
        received: list[Json] = []
        for item in inputs:
            sent = self._sent.get((id(item), replica))
            if sent is not None:
                causes.append(sent[0])
                lamport = max(lamport, sent[1])
            received.append(_given(item))
        lamport += 1
        self._lamport[replica] = lamport
        out: list[Json] = []
        for to, message in effects.messages + effects.when_durable:
            self._messages += 1
            self._sent[id(message), to] = (self.events, lamport, message)
            out.append(message_value(f"m{self._messages}", to, message))
        out += [{"record": record_text(record)} for record in effects.writes]
        out += [{"applied": applied_text(applied)} for applied in effects.applied]
        before = self._patches.get(replica, {})
        patch: list[Json] = [
            [[str(replica), name], value] for name, value in state.items() if before.get(name) != value
        ]
        self._patches[replica] = state
        facts = self.facts
        self.facts = []
        on: Json = {"k": "step", "in": received}
        self.lines.append(
            event_line(self.events, now, lamport, str(replica), on, causes, effects.notes, out, patch, facts)
        )
        self.events += 1


def _given(item: Input) -> Json:
    if isinstance(item, MESSAGES):
        body: dict[str, Json] = dict(fields_value(item))
        return {"k": "deliver", "type": type(item).__name__, "from": str(item.sender), "body": body}
    return {"k": input_text(item)}
