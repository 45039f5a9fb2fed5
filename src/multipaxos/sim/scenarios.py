"""Worlds with one fault that strikes at one moment: what random seeds reach too rarely, by the names of the scenario list.

Everything else of such a world is as in ``world.py``: real core, real service, virtual time, all checkers.
"""

from collections.abc import Callable

from multipaxos.core.ballot import ReplicaId
from multipaxos.sim.campaign import SeedReport, report_of, run_seed
from multipaxos.sim.clients import ClientWorkload
from multipaxos.sim.faults import Nemesis
from multipaxos.sim.swarm import SECOND_NS, Profile
from multipaxos.sim.world import World


class CutOff(Nemesis):
    """Cuts one gateway off from the others, for longer than its clients' sessions last."""

    def begin(self) -> None:
        """Once, when everybody is connected."""
        self.world.after(3 * SECOND_NS, self._cut_gateway)

    def _cut_gateway(self) -> None:
        world = self.world
        leader = world.leader()
        workload = world.workload
        assert isinstance(workload, ClientWorkload)
        served: dict[ReplicaId, int] = {replica: 0 for replica in world.ids if replica != leader}
        for client in workload.clients:
            if client.wire is not None and client.wire.process.id in served:
                served[client.wire.process.id] += 1
        victim = max(served, key=lambda replica: (served[replica], replica))
        world.count("two-way cut")
        for peer in world.ids:
            if peer != victim:
                world.network.cut(victim, peer)
                world.network.cut(peer, victim)
        self._later(8 * SECOND_NS, self.heal_links)


def cut_off_gateway(seed: int) -> SeedReport:
    """``cut-off-gateway``: clients of a gateway that lost everybody, with sessions shorter than the cut (rule-R25, R26).

    The gateway closes its connections within its bound and answers no ping meanwhile, so nobody believes in a session
    that the leader has ended."""
    profile = Profile(seed, sessions=2, operations=30, safety_ns=14 * SECOND_NS, reads=0)
    world = World(profile, ClientWorkload(lazy=4), None, CutOff)
    return report_of(world, False)


WORLDS: dict[str, Callable[[int], SeedReport]] = {
    "clients": run_seed,
    "plain": lambda seed: run_seed(seed, True),
    "cut-off gateway": cut_off_gateway,
}
"""What a seed may be the seed of."""
