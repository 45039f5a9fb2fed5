"""Transcripts: a story, the commands that play it on a small stage, and below each the exact effects with their reasons.

    # Replica 2 promised 2.3 and crashed before the sync; the promise must not have left.
    deliver to=2 from=3
    ----
    2 <- 3 Prepare 2.3 from slot 3, knows to 2
      * 2.3 is above 1.1: promise, for all slots from 3
      write Promised 2.3
      when durable 2 -> 3 Promise 2.3 from slot 3, knows to 2: no vote

A line of four dashes ends a block of commands, a blank line its expectation. ``run`` plays the commands and returns the
same text with what really happened; a test compares the two, and one switch writes the new text. Read that diff as you
would read code.

    cluster N [window=W] [pipeline=P] [page=BYTES] [machine=tree]      replicas 1..N, not started; page: of a promise;
                                                          tree: the real state machine
    start [ID ..]        elect ID         all start; ID gets all the time until it leads and its epoch decree is applied
    submit ID WORD ..    read ID TOKEN    handover ID to=ID      fill ID SLOT: commands one by one, until SLOT is chosen
    session ID           expire ID SESSION                on a tree: open a session; what a leader decides by itself
    deliver [to=ID] [from=ID] [type=T] [slot=S] [count=N] [keep]      each in a step of its own, the oldest N that fit;
                                                                      keep leaves a copy in flight
    drop [to=ID] [from=ID] [type=T] [slot=S] [count=N]                lost
    hold [to=ID] [from=ID] [type=T] [slot=S] [count=N]      let-go    under way for long; all that is held flies again
    settle               tick ID          all is delivered until nothing flies; ID gets its next turn
    advance MS           wait MS          live MS         timers fire; nobody has a turn; timers fire and all is delivered
    slow ID              fast ID          sync ID         syncs of ID return on command; at once; the one under way returns
    crash ID [power] [unnoticed]          empty ID        its process, or its machine; what is down loses its directory
    pause ID             resume ID        cut A->B ..  or A<->B ..       heal
    show [ID ..]         flight           chosen [FIRST]  state, messages in flight, what the oracle knows to be chosen

``quiet`` before a command leaves its steps untold.
"""

from multipaxos.coordination.commands import NO_OWNER, encode_attach, encode_expire
from multipaxos.coordination.machine import Machine
from multipaxos.core.ballot import ReplicaId, ballot_text
from multipaxos.core.effects import Applied
from multipaxos.core.settings import MILLISECOND_NS, Settings
from multipaxos.sim.checkers import Violation
from multipaxos.sim.process import Payload, PlainMachine, Process
from multipaxos.sim.stage import Stage
from multipaxos.trace import command_text, decree_text, message_text
from multipaxos.wire.report import Report, ReportAck

RULER = "----"

SHOWN_MAX = 12
"""Commands that show lists of a replica."""


class TreeOnStage(PlainMachine):
    """The real state machine, and what each command led to."""

    __slots__ = ("machine", "results")

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.results: list[str] = []

    def applied(self, applied: Applied, now: int) -> None:
        """Execute the commands of one slot."""
        if applied.began_epoch:
            self.machine.begin_epoch(applied.epoch, applied.reign)
        for _, _, command in applied.commands:
            result = self.machine.apply(command, applied.time_ms, True)
            if result.session:
                self.results.append(f"opened {result.session:#x}")
            elif self.machine.ended:
                self.results.append(f"ended {self.machine.ended[0]:#x}")
            else:
                self.results.append(f"refused {result.err}")


class BadTranscript(ValueError):
    """A line of a transcript says nothing that can be done."""


def run(text: str) -> str:
    """Play a transcript; the same text with what really happened below each command."""
    found: list[str] = []
    player = Player()
    commands: list[str] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.strip() == RULER:
            while at < len(lines) and lines[at].strip():
                at += 1
            found.append(RULER)
            for command in commands:
                found += player.play(command)
            commands = []
            continue
        found.append(line)
        if line.strip() and not line.startswith("#"):
            commands.append(line)
    if commands:
        raise BadTranscript(f"no {RULER} below {commands[0]!r}")
    return "\n".join(found) + "\n"


class Player:
    """Plays commands on one stage."""

    def __init__(self) -> None:
        self._stage: Stage | None = None

    def play(self, line: str) -> list[str]:
        """What one command line gives. Raises BadTranscript where it says nothing that can be done."""
        words = line.split()
        is_quiet = words[0] == "quiet"
        if is_quiet:
            words = words[1:]
        told: list[str] = []
        if words[0] != "cluster":
            self.stage.lines = None if is_quiet else told
        try:
            told += self._do(words[0], words[1:])
        except Violation as violation:
            told.append(f"VIOLATION of {violation.invariant}: {violation.text}")
        except (KeyError, IndexError, ValueError) as error:
            raise BadTranscript(f"{line!r}: {error!r}") from error
        return told

    @property
    def stage(self) -> Stage:
        """The stage that the cluster command made."""
        if self._stage is None:
            raise BadTranscript("a transcript begins with: cluster N")
        return self._stage

    def _do(self, name: str, words: list[str]) -> list[str]:
        named = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        if name == "cluster":
            settings = Settings(
                pipeline=int(named.get("pipeline", "4")), page_bytes_max=int(named.get("page", "1048576"))
            )
            make_machine = TreeOnStage if named.get("machine") == "tree" else PlainMachine
            self._stage = Stage(int(plain[0]), settings, int(named.get("window", "64")), make_machine)
            return []
        stage = self.stage
        if name == "start":
            stage.start(*[int(word) for word in plain])
        elif name == "elect":
            stage.elect(int(plain[0]))
        elif name == "submit":
            stage.submit(int(plain[0]), *plain[1:])
        elif name == "fill":
            replica = int(plain[0])
            while stage.oracle.prefix < int(plain[1]):
                stage.submit(replica, f"w{stage.oracle.prefix + 1}")
                stage.settle()
        elif name == "session":
            replica = int(plain[0])
            stage.propose(replica, encode_attach(0, (replica, 1, 1), 10_000, NO_OWNER))
        elif name == "expire":
            process = stage.replicas[int(plain[0])]
            machine = process.service
            assert isinstance(machine, TreeOnStage) and process.core is not None
            session = int(plain[1], 16)
            owner = machine.machine.sessions[session].owner
            stage.propose(process.id, encode_expire(session, owner, process.core.leader_ballot))
        elif name == "read":
            stage.read(int(plain[0]), int(plain[1]))
        elif name == "handover":
            stage.handover(int(plain[0]), int(named["to"]))
        elif name == "let-go":
            stage.let_go()
        elif name in ("deliver", "drop", "hold"):
            return self._fly(name, plain, named)
        elif name == "settle":
            stage.settle()
        elif name == "tick":
            stage.tick(int(plain[0]))
        elif name in ("advance", "wait", "live"):
            nanoseconds = int(plain[0]) * MILLISECOND_NS
            if name == "advance":
                stage.advance(nanoseconds)
            elif name == "wait":
                stage.wait(nanoseconds)
            else:
                stage.live(nanoseconds)
        elif name == "slow":
            stage.slow_disks.add(int(plain[0]))
        elif name == "fast":
            stage.slow_disks.discard(int(plain[0]))
        elif name == "sync":
            return self._sync(int(plain[0]))
        elif name == "crash":
            stage.crash(int(plain[0]), "power" in plain, "unnoticed" not in plain)
        elif name == "empty":
            stage.empty(int(plain[0]))
        elif name == "pause":
            stage.pause(int(plain[0]))
        elif name == "resume":
            stage.resume(int(plain[0]))
        elif name == "cut":
            for word in plain:
                one, other = word.replace("<->", "->").split("->")
                stage.cut(int(one), int(other))
                if "<->" in word:
                    stage.cut(int(other), int(one))
        elif name == "favour":
            stage.favoured = int(plain[0])
        elif name == "heal":
            stage.heal()
        elif name == "show":
            ids = [int(word) for word in plain] or list(stage.replicas)
            return [self._state(stage.replicas[replica]) for replica in ids]
        elif name == "flight":
            return self._flight()
        elif name == "chosen":
            return self._chosen(int(plain[0]) if plain else 1)
        else:
            raise ValueError(f"there is no command {name}")
        return []

    def _fly(self, name: str, plain: list[str], named: dict[str, str]) -> list[str]:
        stage = self.stage
        to = int(named.get("to", "0"))
        sender = int(named.get("from", "0"))
        slot = int(named.get("slot", "0"))
        most = int(named.get("count", "0"))
        kind = named.get("type", "")
        if name != "deliver":
            count = (stage.drop if name == "drop" else stage.hold)(to, kind, sender, slot, most)
            return [] if stage.lines is None else [f"{count} {'lost' if name == 'drop' else 'held'}"]
        if stage.deliver(to, kind, sender, slot, "keep" in plain, most) == 0:
            raise ValueError("nothing in flight fits")
        return []

    def _sync(self, replica: ReplicaId) -> list[str]:
        stage = self.stage
        before = len(stage.flight)
        stage.synced(replica)
        if stage.lines is None:
            return []
        durable = stage.replicas[replica].disk.durable
        return [f"{replica} is durable up to record {durable}"] + [
            f"  leaves {flying.sender} -> {flying.to} {_payload_text(flying.payload)}"
            for flying in stage.flight[before:]
        ]

    def _state(self, process: Process) -> str:
        core = process.core
        if core is None:
            return f"{process.id} down, {process.disk.durable} of {process.disk.appended} records durable"
        leader = f"of {ballot_text(core.leader_ballot)}" if core.leader_ballot >= 0 else "of nobody"
        machine = process.service
        executed = ""
        if isinstance(machine, PlainMachine):
            shown = [command_text(command) for _, command in machine.executed]
            if len(shown) > SHOWN_MAX:
                shown = [f"{len(shown)} commands, the last:", *shown[-SHOWN_MAX:]]
            executed = ": " + " ".join(shown)
        if isinstance(machine, TreeOnStage):
            executed = f": {'; '.join(machine.results)}; zxid {machine.machine.zxid:#x}"
        return (
            f"{process.id} {core.standing} {leader}, promised {ballot_text(core.promised)}, chosen to {core.chosen_prefix}, "
            f"applied {core.applied}, epoch {core.epoch}{executed.rstrip(': ')}"
        )

    def _flight(self) -> list[str]:
        return [f"{flying.sender} -> {flying.to} {_payload_text(flying.payload)}" for flying in self.stage.flight] or [
            "nothing"
        ]

    def _chosen(self, first: int) -> list[str]:
        chosen = self.stage.oracle.chosen
        return [
            f"slot {slot}@{ballot_text(chosen[slot][0])} {decree_text(chosen[slot][1])}"
            for slot in sorted(chosen)
            if slot >= first
        ] or ["nothing"]


def _payload_text(payload: Payload) -> str:
    if isinstance(payload, (Report, ReportAck)):
        return type(payload).__name__
    return message_text(payload)
