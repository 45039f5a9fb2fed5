"""The parts of the simulator on their own: the disk, the links, the clock, profiles, the stage, transcripts, the command."""

from random import Random

import pytest
import typer
from typer.testing import CliRunner

from multipaxos.cli.verify import app
from multipaxos.core.inputs import Submit, Wall
from multipaxos.core.messages import Accept, Heartbeat
from multipaxos.core.records import AcceptedRecord, LearnedRecord, PromisedRecord
from multipaxos.sim.disk import SimulatedDisk
from multipaxos.sim.network import MILLISECOND_NS, LinkRates, Network
from multipaxos.sim.process import Clock
from multipaxos.sim.stage import Stage
from multipaxos.sim.swarm import DAMAGING, DISRUPTIVE, FAULT_KINDS, RARE, SECOND_NS, Profile, draw
from multipaxos.sim.transcript import BadTranscript, run
from multipaxos.sim.workload import PlainWorkload
from multipaxos.sim.world import World


def written_disk(seed: int) -> SimulatedDisk:
    """Ten records: four durable, four written, two in the buffer."""
    disk = SimulatedDisk()
    for number in range(8):
        disk.append(PromisedRecord(number), number + 1)
        if number == 3:
            disk.synced(disk.flush())
    disk.flush()
    disk.append(PromisedRecord(8), 9)
    disk.append(PromisedRecord(9), 10)
    return disk


@pytest.mark.parametrize("seed", range(30))
def test_a_process_crash_keeps_what_the_system_has_and_a_machine_crash_what_was_synced(seed: int) -> None:
    disk = written_disk(seed)
    assert disk.oldest_write_at == 5
    assert 0 <= disk.crash_process(Random(seed)) <= 4
    assert 4 <= disk.appended <= 8
    assert disk.durable == 4
    disk = written_disk(seed)
    assert 2 <= disk.crash_machine(Random(seed)) <= 6
    assert 4 <= disk.appended <= 8
    assert disk.records == [PromisedRecord(number) for number in range(disk.appended)]


def test_the_journal_reads_learned_records_before_votes() -> None:
    disk = SimulatedDisk()
    disk.append(AcceptedRecord(1, 1, b"vote", 0), 1)
    disk.append(LearnedRecord(2, 1, b"chosen"), 1)
    disk.append(AcceptedRecord(3, 2, b"x" * 100, 1), 1)
    disk.append(AcceptedRecord(3, 3, b"y" * 100, 1), 1)
    assert disk.read(1, 9, 1000) == [(1, 2, b"chosen"), (2, 3, b"x" * 100), (3, 3, b"y" * 100)]
    assert [slot for slot, _, _ in disk.read(1, 9, 120)] == [1, 2]
    assert [slot for slot, _, _ in disk.read(2, 9, 1)] == [2], "never nothing where there is something"


def test_links_lose_copy_and_reorder_at_their_rates() -> None:
    rates = LinkRates(drop=0.2, duplicate=0.3, reorder=0.5, late_max_ns=50 * MILLISECOND_NS)
    network = Network(1, (1, 2, 3), rates)
    arrivals = [network.arrivals(1, 2, now * 1000) for now in range(2000)]
    lost = sum(1 for times in arrivals if not times)
    assert 300 < lost < 500
    assert network.counts["drop"] == lost
    firsts = [times[0] for times in arrivals if times]
    assert firsts != sorted(firsts)
    assert network.counts["duplicate"] == sum(1 for times in arrivals if len(times) == 2)


def test_a_link_without_rates_keeps_order_and_every_message() -> None:
    network = Network(1, (1, 2), LinkRates())
    times = [network.arrivals(1, 2, now * 10_000) for now in range(500)]
    assert all(len(found) == 1 for found in times)
    assert times == sorted(times)
    network.cut(1, 2)
    assert network.arrivals(1, 2, 0) == []
    assert not network.is_open(1, 2) and network.is_open(2, 1)
    network.mend(1, 2)
    assert len(network.arrivals(1, 2, 0)) == 1


def test_links_do_not_share_their_chance() -> None:
    rates = LinkRates(drop=0.5)
    one = Network(1, (1, 2, 3), rates)
    other = Network(1, (1, 2, 3), rates)
    for _ in range(50):
        other.arrivals(2, 3, 0)
    assert [one.arrivals(1, 2, 0) for _ in range(50)] == [other.arrivals(1, 2, 0) for _ in range(50)]


@pytest.mark.parametrize("rate_ppm", [-20_000, 0, 333, 20_000])
def test_a_clock_wakes_no_earlier_than_asked(rate_ppm: int) -> None:
    clock = Clock(zero=10**9, offset=12345, rate_ppm=rate_ppm)
    for local in range(12345, 5_000_000, 77_777):
        at = clock.virtual(local)
        assert clock.local(at) >= local
        assert clock.local(at - 1) < local


def test_profiles_differ_and_no_fault_is_left_out() -> None:
    profiles = [draw(seed) for seed in range(200)]
    assert {kind for profile in profiles for kind in profile.faults} == set(FAULT_KINDS)
    assert {profile.replicas for profile in profiles} == {3, 5}
    assert draw(3) == draw(3)
    assert all(profile.sessions >= 3 and profile.sessions * profile.operations >= 100 for profile in profiles)


def test_damage_keeps_to_faults_that_are_known() -> None:
    assert set(DAMAGING) | set(DISRUPTIVE) | set(RARE) <= set(FAULT_KINDS)


def test_a_process_may_stand_still_inside_a_step() -> None:
    """What the core decided is carried out later, with what arrived meanwhile still unread; a crash takes it along."""
    stage = Stage(3)
    stage.start()
    stage.elect(1)
    process = stage.replicas[1]
    for is_handed_out in (False, True):
        process.give(Submit((b"x%d" % is_handed_out,)))
        before = len(stage.flight)
        effects = process.step(stage.now + 1, 0)
        process.interrupt(effects, is_handed_out)
        assert process.is_inside_step
        assert (len(stage.flight) > before) == is_handed_out
        process.arrive(Heartbeat(2, 0, 1, 0, True, 0))
        process.go_on(stage.now + 50 * MILLISECOND_NS)
        assert len(stage.flight) > before and not process.is_inside_step
        assert [type(given) for given in process.inbox] == [Heartbeat]
        stage.settle()
    assert stage.executed(2) == ["x0", "x1"]
    process.give(Submit((b"lost",)))
    process.interrupt(process.step(stage.now + 1, 0), False)
    stage.crash(1)
    assert not process.is_inside_step
    stage.elect(2)
    assert stage.executed(2) == ["x0", "x1"]


def quiet_world() -> World:
    """Nobody strikes, and all replicas are up."""
    world = World(Profile(1, plain_commands=1), PlainWorkload(0), None)
    for replica in world.ids:
        world.start(replica)
    world._run_until(lambda: all(process.is_ready for process in world.replicas.values()), world.now + SECOND_NS)
    return world


def test_a_slow_replica_takes_its_turns_late() -> None:
    world = quiet_world()
    world.sluggish[2] = 150 * MILLISECOND_NS
    process = world.replicas[2]
    process.due = 0
    world.wake(process, world.now + 1)
    assert process.due == world.now + 150 * MILLISECOND_NS
    world.wake(world.replicas[1], world.now)
    assert world.replicas[1].due == world.now


def test_clocks_jump_and_the_core_hears_of_it() -> None:
    world = quiet_world()
    process = world.replicas[1]
    local = process.clock.local(world.now)
    offset = process.clock.wall_offset_ms
    world.jump(1, 5 * SECOND_NS, -7_000)
    assert process.clock.local(world.now) == local + 5 * SECOND_NS
    assert process.clock.wall_offset_ms == offset - 7_000
    assert process.inbox[-1] == Wall(offset - 7_000)
    assert process.due == world.now


def test_a_suspended_machine_neither_runs_nor_writes() -> None:
    world = quiet_world()
    assert world._run_until(lambda: world.leader() != 0, world.now + 10 * SECOND_NS)
    leader = world.leader()
    process = world.replicas[leader]
    process.give(Submit((b"x",)))
    world.wake(process, world.now)
    world._run_until(lambda: process.is_syncing, world.now + SECOND_NS)
    durable = process.disk.durable
    world.pause(leader)
    world.stall(leader)
    world._run_until(lambda: False, world.now + 3 * SECOND_NS)
    assert process.disk.durable == durable
    assert world.leader() != leader, "another replica leads at a higher ballot"
    world.unstall(leader)
    assert process.disk.durable == durable, "the process is still paused"
    world.resume(leader)
    world._run_until(lambda: process.disk.durable > durable, world.now + SECOND_NS)
    assert process.disk.durable > durable


def test_a_stage_does_nothing_by_itself() -> None:
    stage = Stage(3)
    stage.start()
    assert stage.flight == []
    assert stage.oracle.prefix == 0
    stage.elect(1)  # the one that is favoured: it waits shortest
    assert stage.core(1).is_leading
    stage.submit(1, "x")
    assert [flying.to for flying in stage.find("Accept", slot=3)] == [2, 3]
    assert isinstance(stage.find("Accept")[0].payload, Accept)
    assert stage.drop(to=3, kind="Accept") == 1
    assert stage.deliver(2, "Accept", is_kept=True) == 1
    assert stage.deliver(2, "Accept") == 1
    stage.settle()
    assert stage.executed(1) == ["x"]


def test_a_transcript_is_rewritten_to_what_happens() -> None:
    text = "# A story.\n\ncluster 3\nquiet start\nquiet elect 1\n----\n\nsubmit 2 x\nflight\n----\nwrong\n"
    happened = run(text)
    assert "wrong" not in happened
    assert "2 submit x" in happened
    assert happened == run(happened)
    assert happened.startswith("# A story.\n\ncluster 3\n")


@pytest.mark.parametrize(
    "text",
    [
        "start\n----\n",
        "cluster 3\nfly\n----\n",
        "cluster 3\nstart\ndeliver to=1 type=Accept\n----\n",
        "cluster 3\n",
        "cluster 3\ntick x\n----\n",
    ],
)
def test_a_transcript_that_says_nothing_possible_is_refused(text: str) -> None:
    with pytest.raises(BadTranscript):
        run(text)


def test_the_command_runs_seeds_and_replays_one() -> None:
    runner = CliRunner()
    root = typer.Typer()
    from multipaxos.cli.verify import register

    register(root)
    done = runner.invoke(root, ["verify", "seeds", "--start", "5", "--count", "2", "--plain"])
    assert done.exit_code == 0, done.output
    assert "2 seeds" in done.output and "leader change" in done.output
    done = runner.invoke(app, ["replay", "5", "--plain"])
    assert done.exit_code == 0, done.output
    assert "seed 5 ends well" in done.output
    assert runner.invoke(app, ["replay", "nowhere.json"]).exit_code == 2


def test_campaigns_side_by_side_give_the_same_report() -> None:
    from multipaxos.sim.campaign import run_campaign

    alone = run_campaign(0, 12, is_plain=True)
    together = run_campaign(0, 12, is_plain=True, jobs=2)
    assert alone.totals == together.totals
    assert alone.seeds_with == together.seeds_with
