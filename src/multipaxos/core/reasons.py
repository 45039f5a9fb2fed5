"""The catalogue of reasons: every transition of the core names one, with its numbers.

Logs, ``why``, transcripts and the lab speak from this one table (design: the core, item 13). A reason is
``part.event.outcome``; beside it stand the names of its operands and one line of English that uses them. Operands whose
name begins with ``ballot`` or is ``promised``, ``above``, ``hears`` or ``reign`` are ballots.
"""

from typing import Final

from multipaxos.core.ballot import ballot_text

REASONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    # The acceptor
    "acceptor.prepare.promise": (("ballot", "promised", "first"), "{ballot} is above {promised}: promise, for all slots from {first}"),
    "acceptor.prepare.repeat": (("ballot",), "{ballot} is promised already, to its only owner: answer again"),
    "acceptor.prepare.nack": (("ballot", "promised"), "{ballot} is below the promised {promised}: nack"),
    "acceptor.prepare.sticky": (("ballot", "hears"), "{ballot} asked, but the leader of {hears} lives: nack"),
    "acceptor.accept.vote": (("ballot", "slot", "promised"), "{ballot} is at or above {promised}: vote in slot {slot}"),
    "acceptor.accept.repeat": (("ballot", "slot"), "slot {slot} holds this vote at {ballot} already: answer again, when durable"),
    "acceptor.accept.nack": (("ballot", "slot", "promised"), "slot {slot} at {ballot} is below the promised {promised}: nack"),
    "acceptor.accept.settled": (("ballot", "slot", "chosen_at"), "slot {slot} is learned already, chosen at {chosen_at}: not a vote"),
    # The candidate
    "election.suspect": (("ballot", "silent_ns"), "nothing heard from the leader of {ballot} for {silent_ns} ns: suspect it"),
    "election.refused": (("peer",), "the connection to leader {peer} closed and is refused: suspect it at once"),
    "election.probe": (("number",), "probe {number}: would a prepare quorum promise, and hear no leader?"),
    "election.probe.answer": (("peer", "would_promise", "hears"), "answer to {peer}: would promise {would_promise}, hears {hears}"),
    "election.probe.failed": (("answers",), "only {answers} would promise and hear no leader: wait and probe again"),
    "election.disk": (("age_ns",), "own disk stands still for {age_ns} ns: do not campaign"),
    "election.campaign": (("ballot", "first"), "campaign at {ballot} for all slots from {first}"),
    "election.campaign.failed": (("ballot", "promised_by"), "{ballot} got whole promises of {promised_by} only: give it up"),
    "election.stand_back": (("ballot", "hears"), "{ballot} is refused for the living leader of {hears}: stand back"),
    "election.yield": (("ballot", "above"), "{above} is promised, above the own {ballot}: leave the field to it"),
    "election.nacked": (("ballot", "above", "peer"), "{peer} has promised {above}, above {ballot}"),
    "election.obey": (("ballot", "peer"), "leader {peer} of {ballot} hands over: campaign now"),
    "election.obey.late": (("ballot", "number"), "hand-over of {ballot} with heartbeat {number} is too old: ignored"),
    "candidate.promise.page": (("peer", "page_first", "page_last", "end"), "page {page_first} to {page_last} of {end} from {peer}: not whole yet"),
    "candidate.promise.whole": (("peer", "ballot", "chosen_prefix"), "the promise of {peer} at {ballot} is whole; it knows slots to {chosen_prefix} chosen"),
    "candidate.promise.stranger": (("peer", "mark"), "{peer} is not the voter that was registered (mark {mark}): not counted"),
    "candidate.passed": (("ballot", "above"), "a vote at {above} is reported, above {ballot}: end the campaign"),
    "candidate.behind": (("chosen_prefix", "peer"), "{peer} knows slots to {chosen_prefix} chosen: fetch them before leading"),
    # The leader
    "leader.begin": (("ballot", "adopted", "next_slot"), "leads at {ballot}: {adopted} slots to propose again, news from slot {next_slot}"),
    "leader.adopt": (("slot", "ballot"), "slot {slot}: propose again what was reported at {ballot}"),
    "leader.fill": (("slot",), "slot {slot}: nobody reported anything: no-op"),
    "leader.birth.wait": (("missing",), "the cluster is born only when all first voters are there; missing: {missing}"),
    "leader.birth": (("cluster",), "all first voters are there and have voted for nothing: propose the birth of {cluster}"),
    "leader.birth.chosen": (("peer", "chosen_prefix"), "{peer} knows slots to {chosen_prefix} chosen: the cluster is born, fetch instead"),
    "leader.epoch": (("slot", "ballot"), "slot {slot}: epoch decree of {ballot}"),
    "leader.reign": (("epoch", "ballot"), "epoch {epoch} of {ballot} is applied: takes commands and reads"),
    "leader.passed": (("ballot", "reign"), "the epoch decree of {ballot} was ignored, {reign} is later: stand down"),
    "leader.propose": (("slot", "ballot", "commands"), "slot {slot} at {ballot}: {commands} segments of commands"),
    "leader.retry": (("slot", "waiting"), "slot {slot} is not chosen yet: ask {waiting} again"),
    "leader.vote": (("slot", "peer", "votes"), "vote of {peer} in slot {slot}: {votes} of an accept quorum"),
    "leader.vote.stranger": (("slot", "peer"), "{peer} is no voter of the configuration that governs slot {slot}"),
    "leader.no_vote": (("slot", "age_ns"), "own disk stands still for {age_ns} ns: lead slot {slot} without the own vote"),
    "leader.chosen": (("slot", "ballot"), "slot {slot} is accepted by an accept quorum at {ballot}: chosen"),
    "leader.settled": (("slot", "ballot", "chosen_at"), "slot {slot} was chosen at {chosen_at}, so what {ballot} proposes there is that decree"),
    "leader.inquire": (("ballot", "above"), "{above} was promised above {ballot}: ask its owner whether it lives"),
    "leader.inquire.dead": (("ballot", "above"), "nobody leads or campaigns at {above}: campaign above it"),
    "leader.inquire.lives": (("ballot", "above"), "{above} lives: lead on while a quorum answers at {ballot}"),
    "leader.stand_down": (("ballot", "above"), "{above} leads, above {ballot}: stand down"),
    "leader.chosen_above": (("ballot", "above", "slot"), "slot {slot} was chosen at {above}, above {ballot}: stand down"),
    "leader.quorum_lost": (("ballot", "silent_ns"), "no accept quorum has echoed for {silent_ns} ns: stand down from {ballot}"),
    "leader.handover": (("target", "ballot"), "hand over from {ballot} to {target}: admit nothing until it has applied all"),
    "leader.handover.send": (("target", "ballot"), "{target} has applied all: campaign now"),
    "leader.handover.end": (("target",), "{target} did not take over in time: resume"),
    "leader.disk": (("age_ns", "target"), "own disk stands still for {age_ns} ns: hand over to {target}"),
    "leader.gap": (("origin", "serial", "expected"), "stream of {origin}: {serial} before {expected}, left out until it comes again"),
    # Learning and applying
    "learn.vote": (("slot", "ballot"), "slot {slot}: own vote at {ballot} is what the leader of {ballot} announces"),
    "learn.fetched": (("slot", "ballot", "peer"), "slot {slot}: chosen at {ballot}, from {peer}"),
    "learn.fetch": (("first", "last", "peer"), "slots {first} to {last} are chosen, but not by a vote at that ballot: fetch from {peer}"),
    "apply.epoch": (("slot", "epoch", "reign"), "slot {slot}: epoch {epoch} begins with {reign}"),
    "apply.epoch.ignored": (("slot", "ballot", "reign"), "slot {slot}: epoch decree of {ballot} is below the noted {reign}: ignored"),
    "apply.birth": (("cluster",), "cluster {cluster} is born"),
    "apply.malformed": (("slot", "origin"), "slot {slot}: what stands there of {origin} does not hold what it says: refused"),
    "apply.stream.repeat": (("slot", "origin", "serial", "skipped"), "slot {slot}: {skipped} commands of {origin} from {serial} are repeats or behind a gap: skipped"),
    "apply.stream.other_start": (("slot", "origin"), "slot {slot}: the stream of {origin} began with another start: refused"),
    # Forwarding and reads
    "gateway.forward": (("ballot", "segments"), "{segments} segments to the leader of {ballot}"),
    "gateway.resend": (("ballot",), "what is not applied goes to the leader of {ballot} again"),
    "read.round": (("number", "reads"), "heartbeat {number} confirms {reads} reads that arrived before it"),
    "read.ask": (("ballot", "number"), "query {number}: a read slot from the leader of {ballot}"),
    "read.slot": (("number", "slot"), "query {number}: answer when slot {slot} is applied"),
    "message.future": (("peer", "number"), "{peer} answers heartbeat {number}, which was never sent: malformed"),
    "message.contradiction": (("peer", "ballot", "slot"), "{peer} proposes another decree in slot {slot} at {ballot} than before: malformed"),
    "message.leap": (("peer", "ballot"), "{peer} sent {ballot}, further ahead than any honest ballot: malformed"),
}  # fmt: skip


def note_text(reason: str, operands: tuple[object, ...]) -> str:
    """The sentence of one note. Raises KeyError for an id that is not in the catalogue."""
    names, template = REASONS[reason]
    shown: dict[str, object] = {}
    for name, value in zip(names, operands, strict=True):
        is_ballot = name.startswith("ballot") or name in ("promised", "above", "hears", "reign", "chosen_at")
        shown[name] = ballot_text(value) if is_ballot and isinstance(value, int) else value
    return template.format(**shown)
