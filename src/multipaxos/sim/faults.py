"""The nemesis of a world: which fault strikes when and whom, and how all of it is healed.

Every kind of ``swarm.FAULT_KINDS`` stands here with its end: a fault that is not over when safety mode ends is ended by
``heal``. All faults are counted in ``world.counts``; a campaign prints their distribution.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.election import LEADER
from multipaxos.core.inputs import Handover, PeerDown
from multipaxos.sim.network import MILLISECOND_NS
from multipaxos.sim.swarm import DAMAGING, DISRUPTIVE, SECOND_NS

if TYPE_CHECKING:
    from multipaxos.sim.world import World

ENDING = ("process crash", "machine crash", "power loss")
OF_DISKS = ("failed sync", "full disk", "hung disk", "slow disk")
OF_TIME = ("pause", "pause inside a step", "suspend", "slow replica", "clock jump")

COUNTED_WHEN_MET = ("failed sync", "pause inside a step")
"""Faults that lie in wait."""


class Nemesis:
    """Strikes one world."""

    __slots__ = ("_damageable", "_is_over", "_weights", "world")

    def __init__(self, world: "World") -> None:
        self.world = world
        self._is_over = False
        self._weights = sorted(world.profile.faults.items())
        # Damage keeps to a minority, so that nothing that was chosen exists in a damaged directory only.
        self._damageable = world.random.sample(world.ids, (len(world.ids) - 1) // 2)

    def begin(self) -> None:
        """Strike from now on, after the cluster had a moment to be born, and once at the leader for sure."""
        profile = self.world.profile
        self.world.after(800 * MILLISECOND_NS, self._strike)
        self.world.after(int(profile.safety_ns * self.world.random.uniform(0.2, 0.6)), self._strike_leader)

    def heal(self) -> None:
        """End everything, start everybody."""
        self._is_over = True
        world = self.world
        for sender in world.ids:
            for to in world.ids:
                if sender != to:
                    world.mend(sender, to)
        self._calm()
        world.kept_down.clear()
        for replica in world.ids:
            world.directories[replica].mend()
            world.unstall(replica)
            world.resume(replica)
            world.start(replica)
        for replica in world.ids:
            for peer in world.ids:
                if replica < peer:
                    world.connect(replica, peer)

    def _calm(self) -> None:
        """Nothing is slow, late or lost any more."""
        world = self.world
        world.slow.clear()
        world.sluggish.clear()
        world.interrupted.clear()
        world.network.rates = type(world.network.rates)()

    def heal_links(self) -> None:
        """End all cuts and clogs, and make the connections anew."""
        world = self.world
        for sender in world.ids:
            for to in world.ids:
                if sender != to:
                    world.mend(sender, to)
                    if sender < to:
                        world.connect(sender, to)

    def heal_core(self) -> list[ReplicaId]:
        """End everything for a mere majority, and cut it off from all others, which go down. Whose directory is damaged is
        not asked for anything."""
        self._is_over = True
        world = self.world
        size = len(world.ids) // 2 + 1
        sound = [replica for replica in world.ids if self._is_sound(replica)]
        core = sorted(world.random.sample(sound, size))
        for replica in world.ids:
            if replica not in core:
                world.resume(replica)
                world.unstall(replica)
                world.crash(replica, False)
                world.kept_down.append(replica)
        for sender in core:
            for to in core:
                if sender != to:
                    world.mend(sender, to)
        self._calm()
        for replica in core:
            world.directories[replica].mend()
            world.unstall(replica)
            world.resume(replica)
            world.start(replica)
        return core

    # Whom and what

    def _strike(self) -> None:
        if self._is_over:
            return
        profile = self.world.profile
        random = self.world.random
        if self._weights:
            kinds = [kind for kind, _ in self._weights]
            kind = random.choices(kinds, [weight for _, weight in self._weights])[0]
            self._do(kind, self._victim())
        self.world.after(1 + int(random.expovariate(1.0) * profile.fault_every_ns), self._strike)

    def _strike_leader(self) -> None:
        if self._is_over:
            return
        leader = self.world.leader()
        if leader == 0:
            self.world.after(200 * MILLISECOND_NS, self._strike_leader)
            return
        kinds = [kind for kind in DISRUPTIVE if kind in self.world.profile.faults]
        if not kinds:
            return
        # Long enough for the others to notice.
        lasts = self.world.profile.settings.election_max_ns * 5 // 4
        self._do(self.world.random.choice(kinds), leader, lasts)

    def _victim(self) -> ReplicaId:
        world = self.world
        leader = world.leader()
        if leader and world.random.random() < world.profile.leader_share:
            return leader
        return world.random.choice([replica for replica in world.ids if replica not in world.refused])

    def _is_sound(self, replica: ReplicaId) -> bool:
        world = self.world
        return replica not in world.refused and replica not in world.emptied and world.directories[replica].is_sound

    def _do(self, kind: str, victim: ReplicaId, at_least: int = 0) -> None:
        world = self.world
        lasts = max(at_least, 1 + int(world.random.expovariate(1.0) * world.profile.fault_lasts_ns))
        world.note(f"fault {kind} at {victim}")
        if kind in DAMAGING:
            self._damage(kind, victim, lasts)
            return
        if kind not in COUNTED_WHEN_MET:
            world.count(kind)
        if kind in ENDING:
            self._stop(kind, victim, lasts)
        elif kind in OF_DISKS:
            self._trouble_disk(kind, victim, lasts)
        elif kind in OF_TIME:
            self._delay(kind, victim, lasts)
        elif kind == "hand-over":
            leader = world.leader()
            if leader and world.replicas[leader].is_ready:
                world.replicas[leader].give(Handover(self._other(leader)))
                world.wake(world.replicas[leader], world.now)
        else:
            self._break_links(kind, victim, lasts)

    def _stop(self, kind: str, victim: ReplicaId, lasts: int) -> None:
        """Processes end, or their machines."""
        world = self.world
        victims = world.ids if kind == "power loss" else (victim,)
        for replica in victims:
            world.resume(replica)
            world.crash(replica, kind != "process crash")
            self._later(world.random.randrange(SECOND_NS) if len(victims) > 1 else lasts, self._restart, replica)

    def _trouble_disk(self, kind: str, victim: ReplicaId, lasts: int) -> None:
        world = self.world
        if kind == "failed sync":
            world.directories[victim].fail_sync(world.random.choice((0, 0, 0, 1, 2)))
        elif kind == "full disk":
            # For so long that the segments at hand are used up.
            world.directories[victim].blocks.space = world.random.choice((0, 0, 2_000))
            self._later(2 * SECOND_NS + lasts, self._free_space, victim)
        elif kind == "hung disk":
            world.stall(victim)
            self._later(lasts, world.unstall, victim)
        else:
            world.slow[victim] = world.random.choice((10, 100))
            self._later(lasts, world.slow.pop, victim, 1)

    def _delay(self, kind: str, victim: ReplicaId, lasts: int) -> None:
        """A process stands still or is slow, a machine sleeps, its clocks jump."""
        world = self.world
        if kind == "clock jump":
            self._jump(victim)
        elif kind == "slow replica":
            world.sluggish[victim] = world.random.randrange(10, 200) * MILLISECOND_NS
            self._later(lasts, world.sluggish.pop, victim, 0)
        elif kind == "pause inside a step":
            world.interrupted[victim] = lasts
        elif world.replicas[victim].is_up:
            world.pause(victim)
            if kind == "suspend":
                # The machine sleeps: nothing of it moves, and its clocks show it when it wakes.
                world.stall(victim)
            self._later(lasts, self._wake_up if kind == "suspend" else world.resume, victim)

    def _break_links(self, kind: str, victim: ReplicaId, lasts: int) -> None:
        world = self.world
        peer = self._other(victim)
        if kind == "one-way cut":
            self._cut([(victim, peer) if world.random.random() < 0.5 else (peer, victim)], lasts)
        elif kind == "two-way cut":
            others = [other for other in world.ids if other != victim]
            self._cut([pair for other in others for pair in ((victim, other), (other, victim))], lasts)
        elif kind == "split":
            # A single link breaks, in both directions: nobody is cut off, not everybody hears everybody.
            self._cut([(victim, peer), (peer, victim)], lasts)
        elif kind == "chained":
            # Everybody hears the next in line, nobody else.
            line = world.random.sample(world.ids, len(world.ids))
            pairs = [(one, other) for at, one in enumerate(line) for other in line[at + 2 :]]
            self._cut([*pairs, *((other, one) for one, other in pairs)], lasts)
        else:
            self._clog(lasts)

    def _wake_up(self, replica: ReplicaId) -> None:
        self.world.unstall(replica)
        self.world.resume(replica)

    def _jump(self, victim: ReplicaId) -> None:
        """The wall clock jumps either way, or boot time forward. The leader counts the time of sessions in boot time, so
        while it has any its boot time only drifts."""
        world = self.world
        core = world.replicas[victim].core
        is_counting = not world.profile.plain_commands and core is not None and core.standing == LEADER
        if is_counting or world.random.random() < 0.5:
            world.jump(victim, 0, world.random.randrange(-3_600_000, 3_600_000))
        else:
            world.jump(victim, world.random.randrange(10, 10_000) * MILLISECOND_NS, 0)

    def _damage(self, kind: str, victim: ReplicaId, lasts: int) -> None:
        """Rot what one of a minority has on its disk: once, late, and only where a chosen slot 1 says who votes; before
        that every first voter is needed (rule-R40). Other replicas' rot strikes where nothing stands."""
        world = self.world
        is_late = world.now >= world.safe_until - world.profile.safety_ns * 3 // 5
        if not world.oracle.prefix or not is_late:
            return
        sound = [replica for replica in self._damageable if self._is_sound(replica)]
        if kind == "flipped bit" and (not sound or world.random.random() < 0.25):
            if self._is_sound(victim) and world.directories[victim].rot_harmlessly(world.random):
                world.count("flipped bit behind the end")
            return
        if not sound:
            return
        victim = world.random.choice(sound)
        if kind == "emptied directory":
            if any(process.core is not None and not process.core.applied for process in world.replicas.values()):
                return  # somebody does not know the marks yet
            world.resume(victim)
            world.empty(victim)
            self._later(lasts, self._restart, victim)
        elif not self._rot(kind, victim):
            return
        world.count(kind)
        if kind != "emptied directory" and world.random.random() < 0.7:
            # So that somebody finds it.
            world.after(lasts // 4, self._end, self._crash_machine, (victim, lasts // 4))

    def _rot(self, kind: str, victim: ReplicaId) -> bool:
        """Whether there was a place for it."""
        directory, random = self.world.directories[victim], self.world.random
        if kind == "flipped bit":
            if random.random() < 0.15:
                directory.rot_copy(random)
                return True
            return directory.rot(random)
        return directory.lose_write(random) if kind == "lost write" else directory.misdirect_write(random)

    def _crash_machine(self, replica: ReplicaId, lasts: int) -> None:
        self.world.resume(replica)
        self.world.crash(replica, True)
        self._later(lasts, self._restart, replica)

    def _restart(self, replica: ReplicaId) -> None:
        """Start a process; now and then it ends again while it recovers, or soon after."""
        world = self.world
        world.start(replica)
        if world.random.random() < 0.15:
            self._later(world.random.randrange(world.profile.sync_max_ns), self._end_again, replica)

    def _end_again(self, replica: ReplicaId) -> None:
        world = self.world
        world.crash(replica, world.random.random() < 0.5)
        self._later(world.random.randrange(SECOND_NS), world.start, replica)

    def _free_space(self, replica: ReplicaId) -> None:
        self.world.directories[replica].blocks.space = None

    def _other(self, replica: ReplicaId) -> ReplicaId:
        return self.world.random.choice([other for other in self.world.ids if other != replica])

    def _cut(self, pairs: list[tuple[ReplicaId, ReplicaId]], lasts: int) -> None:
        world = self.world
        for sender, to in pairs:
            world.network.cut(sender, to)
            # Sooner or later the connection breaks under it; nobody refuses, nobody answers.
            process = world.replicas[to]
            if process.is_ready and world.random.random() < 0.3:
                world.after(lasts // 2, self._broke, to, process.life, sender)
        self._later(lasts, self._mend, pairs)

    def _broke(self, replica: ReplicaId, life: int, peer: ReplicaId) -> None:
        process = self.world.replicas[replica]
        if process.life == life and process.is_ready:
            process.give(PeerDown(peer, False))
            self.world.wake(process, self.world.now)

    def _mend(self, pairs: list[tuple[ReplicaId, ReplicaId]]) -> None:
        for sender, to in pairs:
            self.world.mend(sender, to)
            if sender < to:
                self.world.connect(sender, to)

    def _clog(self, lasts: int) -> None:
        """Swizzle-clogging: links stop one by one and go on in another order."""
        world = self.world
        pairs = [(sender, to) for sender in world.ids for to in world.ids if sender != to]
        chosen = world.random.sample(pairs, world.random.randrange(1, len(pairs) + 1))
        for sender, to in chosen:
            world.after(world.random.randrange(1 + lasts // 2), self._begin_clog, sender, to)
            self._later(lasts // 2 + world.random.randrange(1 + lasts // 2), world.mend, sender, to)

    def _begin_clog(self, sender: ReplicaId, to: ReplicaId) -> None:
        if not self._is_over:
            self.world.network.clog(sender, to)

    def _later(self, delay: int, action: Callable[..., Any], *arguments: Any) -> None:
        """The end of a fault; ``heal`` has done it already when safety mode is over."""
        self.world.after(delay, self._end, action, arguments)

    def _end(self, action: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if not self._is_over:
            action(*arguments)
