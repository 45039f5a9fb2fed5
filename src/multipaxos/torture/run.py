"""One run of torture, from an empty folder to a verdict.

Cluster up, clients at work, one nemesis after the other in an order drawn from the seed; after each strike all is put back
and the cluster has to get on by itself. At the end: heal, read every replica's tree, end all processes, read the journals,
judge. What is left in the folder is enough to judge again:

    verdict.json      the figures, and what is wrong
    history.jsonl     every request, reply, event and the ledger (``sim/recorded.py``)
    nemeses.jsonl     every strike with what was seen of it
    timeline.html     the same to look at
    data/             the cluster's folder: journals, and a log of each replica

Whatever ends a run, Ctrl-C too, no process, mount or namespace outlives it: all of them hang on this process.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from multipaxos.host.folder import FolderError
from multipaxos.host.process import new_event_loop
from multipaxos.sim.judging import judge
from multipaxos.sim.readback import executed
from multipaxos.sim.recorded import HEALED, Held, Recorder, read_history
from multipaxos.storage.faults import JournalDamaged
from multipaxos.torture import mounts, namespaces
from multipaxos.torture.accounts import settle
from multipaxos.torture.chronicle import Chronicle, Strike
from multipaxos.torture.client import Load
from multipaxos.torture.clocks import Clock
from multipaxos.torture.cluster import ClusterError, TorturedCluster
from multipaxos.torture.convergence import Tree, Unreadable, first_difference, read_tree, settled, tree_digest
from multipaxos.torture.crashes import Kill, Pause, PowerLoss, Storm
from multipaxos.torture.damage import Damage, Directory
from multipaxos.torture.disks import FailedSync, FullDisk, HungSync, SlowSync
from multipaxos.torture.double import Double
from multipaxos.torture.ledger import ChosenLedger, join, own_ledger, read_journal
from multipaxos.torture.nemesis import Nemesis, Scene, Struck
from multipaxos.torture.partitions import Noise, Partition
from multipaxos.torture.shim import ShimError, build_shim
from multipaxos.torture.timeline import page
from multipaxos.torture.verdict import BAD, OK, of_nemeses, reasons_against

NEMESES: Final[tuple[Nemesis, ...]] = (
    Kill(), Pause(), Partition(), Noise(), FullDisk(), FailedSync(), HungSync(), SlowSync(), PowerLoss(), Damage(), Clock(),
    Directory(), Storm(), Double(),
)  # fmt: skip

LONG_FROM_S: Final = 150.0
"""From here on faults last longer than sessions."""

RECOVERY_S: Final = 30.0
"""So long after a strike the cluster may take to serve everywhere (I16)."""

_WRITES_THEN: Final = 10
_CALM_S: Final = 1.5


class TortureError(Exception):
    """The run could not be made. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    seconds: float
    replicas: int
    seed: int
    folder: str | None = None
    nemeses: tuple[str, ...] = ()  # all where empty
    clients: int = 8
    per_second: float = 700.0
    network: str = "auto"  # auto, namespaces or proxies
    rounds: int = 0  # of all nemeses; then the run ends. 0: as many as there is time for


def run_torture(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Make one run. The verdict as it stands in ``verdict.json``. Raises TortureError and KeyboardInterrupt."""
    folder = _make_folder(options.folder)
    run = _Run(options, folder, mounts.leave_mounts_private(), say)
    loop = new_event_loop()
    try:
        running = loop.create_task(run.run())
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, running.cancel)
        try:
            load, chosen = loop.run_until_complete(running)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        except (ClusterError, FolderError, OSError) as error:
            raise TortureError(f"{error}; the logs are in {folder}/data") from error
    finally:
        loop.close()
    return run.conclude(load, chosen)


def _make_folder(wanted: str | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="multipaxos-torture-"))
    folder = Path(wanted).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise TortureError(f"{wanted} is not empty: a run wants a folder of its own")
    except OSError as error:
        raise TortureError(
            f"cannot write in {wanted}: {error.strerror}; choose another folder with --folder"
        ) from error
    return folder


class _Run:
    """One run while it goes on."""

    def __init__(self, options: Options, folder: Path, mounts_missing: str, say: Callable[[str], None]) -> None:
        self._chronicle = Chronicle()
        self._convergence: list[str] = []
        self._folder = folder
        self._is_namespaced = False
        self._load_before = os.getloadavg()[0]
        self._mounts_missing = mounts_missing
        self._options = options
        self._order = self._drawn("order")
        self._say = say
        self._skipped: dict[str, str] = {}
        self._trees: dict[int, Tree] = {}

    async def run(self) -> tuple[Load, ChosenLedger]:
        """From an empty folder to a history with its ledger; nothing runs any more."""
        options = self._options
        library, shim_missing = self._build_shim()
        fabric = self._make_fabric()
        self._is_namespaced = fabric is not None
        try:
            cluster = TorturedCluster(self._folder / "data", options.replicas, self._drawn("links"), library, fabric)
            with (self._folder / "history.jsonl").open("wb") as sink:
                recorder = Recorder(sink)
                load = await self._torture(cluster, recorder, shim_missing)
                chosen = self._read_journals(cluster)
                for slot in executed(chosen.decrees):
                    recorder.add(slot)
                for held in self._held(chosen):
                    recorder.add(held)
                recorder.close()
        finally:
            if fabric is not None:
                fabric.close()
        return load, chosen

    def _drawn(self, what: str) -> Random:
        """A source of its own for each use, or the timing of one would decide what another draws."""
        return Random(f"{self._options.seed} {what}")

    # -- what it works with -------------------------------------------------------------------------------------------

    def _build_shim(self) -> tuple[Path | None, str]:
        if not sys.platform.startswith("linux"):
            return None, "the shim is written for Linux"
        try:
            return build_shim(self._folder), ""
        except ShimError as error:
            return None, str(error)

    def _make_fabric(self) -> namespaces.Fabric | None:
        wanted = self._options.network
        reason = "" if wanted == "proxies" else namespaces.reason_missing()
        if wanted != "proxies" and not reason:
            try:
                return namespaces.Fabric(range(1, self._options.replicas + 1))
            except (namespaces.NetworkError, OSError) as error:
                reason = f"no network namespaces: {error}"
        if wanted == "namespaces":
            raise TortureError(reason)
        if reason:
            self._say(f"{reason}; partitions are made by proxies")
        return None

    # -- the run ------------------------------------------------------------------------------------------------------

    async def _torture(self, cluster: TorturedCluster, recorder: Recorder, shim_missing: str) -> Load:
        options = self._options
        keeping: asyncio.Task[None] | None = None
        load: Load | None = None
        try:
            self._say(f"starting {options.replicas} replicas in {self._folder}, seed {options.seed}")
            await cluster.start()
            load = Load(
                recorder,
                [one.client for one in cluster.replicas.values()],
                cluster.client_socket,
                self._drawn("clients"),
                options.clients,
                options.per_second,
            )
            now = _Clock(load)
            keeping = asyncio.get_running_loop().create_task(self._chronicle.keep(cluster, now))
            load.begin()
            if not await load.writes_flow(_WRITES_THEN, RECOVERY_S):
                raise ClusterError("the cluster serves, and no write is acknowledged")
            scene = Scene(
                cluster,
                load,
                self._order,
                options.seconds >= LONG_FROM_S,
                shim_missing,
                self._mounts_missing,
            )
            await self._strikes(scene, now)
            recorder.mark(HEALED, 0, 0, 0, time.monotonic_ns())
            await asyncio.sleep(_CALM_S if options.rounds else max(_CALM_S, options.seconds - now()))
            self._chronicle.ended_s = now()
            await load.stop()
            await self._compare(cluster, load)
        finally:
            if keeping is not None:
                keeping.cancel()
                for error in await asyncio.gather(keeping, return_exceptions=True):
                    if isinstance(error, Exception):
                        self._convergence.append(f"the chronicle of the run is not whole: {error!r}")
            if load is not None:
                await load.abandon()
            await cluster.close()
        return load

    async def _strikes(self, scene: Scene, now: "_Clock") -> None:
        wanted = self._options.nemeses
        ready: list[tuple[Nemesis, list[str]]] = []
        for nemesis in NEMESES:
            if wanted and nemesis.name not in wanted:
                continue
            if missing := nemesis.missing(scene):
                self._skipped[nemesis.name] = missing
                self._say(f"nemesis {nemesis.name} is skipped: {missing}")
                continue
            variants = list(nemesis.variants(scene))
            self._order.shuffle(variants)
            ready.append((nemesis, variants))
        turn = 0
        while ready and (turn < self._options.rounds or not self._options.rounds):
            self._order.shuffle(ready)
            for nemesis, variants in ready:
                if now() >= self._options.seconds - _CALM_S:
                    return
                await self._strike(scene, nemesis, variants[turn % len(variants)], now)
            turn += 1

    async def _strike(self, scene: Scene, nemesis: Nemesis, variant: str, now: "_Clock") -> None:
        strike = Strike(nemesis.name, variant, now())
        self._chronicle.strikes.append(strike)
        scene.random = self._drawn(f"strike {len(self._chronicle.strikes)}")
        try:
            strike.struck = await nemesis.strike(scene, variant)
        except ClusterError as error:
            # Also a finding: nobody led, where somebody should have.
            strike.struck = Struck([], {}, False, [f"I16: {error}"])
        strike.ended_s = now()
        await self._recover(scene, strike, now)
        whom = ", ".join(str(one) for one in strike.struck.replicas)
        told = ", ".join(f"{name} {value}" for name, value in strike.struck.effects.items() if name != "it said")
        back = (
            f"well again after {strike.recovered_s - strike.ended_s:.1f} s" if strike.recovered_s else "not well again"
        )
        self._say(
            f"nemesis {nemesis.name} {variant} at {strike.begun_s:.1f} s: replica {whom or 'all'}; "
            f"{told if strike.struck.is_shown else f'no effect shown ({told})'}; {back}"
        )
        for complaint in strike.struck.complaints:
            self._say(f"  wrong: {complaint}")

    async def _recover(self, scene: Scene, strike: Strike, now: "_Clock") -> None:
        """Put everything back; then the cluster has to get on by itself, in time (I16)."""
        cluster = scene.cluster
        cluster.heal()
        for one in cluster.replicas.values():
            if not one.is_alive:
                one.start()
        try:
            await cluster.wait_serving(f"all to serve after {strike.nemesis} {strike.variant}", RECOVERY_S)
        except ClusterError as error:
            strike.struck.complaints.append(f"I16: {error}")
            return
        if await scene.load.writes_flow(_WRITES_THEN, RECOVERY_S):
            strike.recovered_s = now()
        else:
            strike.struck.complaints.append("I16: all serve, and no write is acknowledged")

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _compare(self, cluster: TorturedCluster, load: Load) -> None:
        """Whether all replicas hold the same, as their clients see it."""
        self._say("comparing the trees of all replicas")
        trees = self._trees
        try:
            await cluster.wait_serving("all to serve at the end", RECOVERY_S)
            for is_before_reading in (True, False):
                if not await settled(cluster, self._say):
                    self._convergence.append(
                        "sessions of silent clients do not end everywhere, or zxids differ for ever"
                    )
                if is_before_reading:
                    for one in cluster.replicas.values():
                        trees[one.id] = await read_tree(cluster, one, load)
        except (ClusterError, Unreadable) as error:
            self._convergence.append(str(error))
        first = min(trees, default=0)
        for replica, tree in trees.items():
            if difference := first_difference(trees[first], tree):
                self._convergence.append(f"replicas {first} and {replica} differ at {difference}")

    def _held(self, chosen: ChosenLedger) -> list[Held]:
        """What each replica held at the end, for the judges: they named one zxid, and no session was left."""
        if self._convergence or not chosen.decrees:
            return []
        last = chosen.decrees[-1][0]
        now = time.monotonic_ns()
        return [
            Held(one.replica, now, last, tree_digest(self._trees[one.replica]), {}, {}, own_ledger(one, chosen))
            for one in chosen.replicas
        ]

    def _read_journals(self, cluster: TorturedCluster) -> ChosenLedger:
        self._say("reading the journals")
        found = []
        for one in cluster.replicas.values():
            try:
                found.append(read_journal(one.data, one.id))
            except (JournalDamaged, OSError) as error:
                self._convergence.append(f"the journal of replica {one.id} cannot be read: {error}")
        return join(found)

    def conclude(self, load: Load, chosen: ChosenLedger) -> dict[str, Any]:
        """Judge, and write what is kept."""
        options, chronicle, counts = self._options, self._chronicle, load.counts
        begun = time.monotonic()
        self._say("judging")
        history = read_history(self._folder / "history.jsonl")
        accounts = settle(history)
        violations = [*chosen.contradictions, *(str(finding) for finding in judge(history))]
        names = options.nemeses or tuple(nemesis.name for nemesis in NEMESES)
        nemeses = of_nemeses(chronicle.strikes, names, self._skipped)
        reasons = reasons_against(chronicle, counts, accounts, nemeses, self._convergence)
        is_ok = not violations and not reasons and not accounts.lost
        verdict = {
            "verdict": OK if is_ok else BAD,
            "acknowledged": accounts.acknowledged,
            "acknowledged_writes": accounts.acknowledged_writes,
            "per_second": round(accounts.acknowledged / max(chronicle.ended_s, 1e-9), 1),
            "unknown_share": round(accounts.unknown_share, 5),
            "unknown": accounts.unknown,
            "unknown_that_happened": accounts.happened,
            "happened_once": sum(client.mind.happened_once for client in load.clients),
            "lost": accounts.lost,
            "violations": violations,
            "reasons": reasons,
            "longest_gap_s": round(max((last - first for first, last in counts.gaps), default=0.0), 2),
            "leader_changes": len(chronicle.leaders),
            "sessions_opened": counts.opened,
            "sessions_resumed": counts.resumed,
            "sessions_lost": len(counts.lost_sessions),
            "sessions_lost_unexplained": sum(not lost.is_explained for lost in counts.lost_sessions),
            "events": counts.events,
            "slots": len(chosen.decrees),
            "nemeses": nemeses,
            "seconds": round(chronicle.ended_s, 1),
            "judged_in_s": round(time.monotonic() - begun, 1),
            "replicas": options.replicas,
            "clients": options.clients,
            "seed": options.seed,
            "network": "namespaces" if self._is_namespaced else "proxies",
            "machine_load": [round(self._load_before, 2), round(os.getloadavg()[0], 2)],
            "folder": str(self._folder),
        }
        self._write(verdict, counts_page=page(chronicle, counts, verdict))
        return verdict

    def _write(self, verdict: dict[str, Any], counts_page: str) -> None:
        folder = self._folder
        (folder / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n", encoding="utf-8")
        (folder / "timeline.html").write_text(counts_page, encoding="utf-8")
        lines = [json.dumps(strike.as_json()) for strike in self._chronicle.strikes]
        (folder / "nemeses.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class _Clock:
    """Seconds since the load began."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def __call__(self) -> float:
        return self._load.seconds(time.monotonic_ns())
