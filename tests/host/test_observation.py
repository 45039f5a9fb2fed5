"""What a replica says of itself: samples against a slow twin, and observations of real replicas, alone and three."""

import asyncio
import json
import os
import random
import signal
import socket
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from admin_client import asked, get, once, running_cluster
from one_replica import OneReplica, until

from multipaxos.core.ballot import ballot_of
from multipaxos.core.leader import Leadership
from multipaxos.core.messages import Echo
from multipaxos.host import observer
from multipaxos.host.clock import boot_ns, wall_offset_ms
from multipaxos.host.config import read_toml
from multipaxos.host.observation import RECOVERING, SCHEMA, SERVING, WAITING, Observation
from multipaxos.host.observer import Board, Observer
from multipaxos.host.process import ReplicaProcess, Reporter
from multipaxos.host.samples import OCTAVES, SLICE_S, SLICES, Samples
from multipaxos.transport.tcp import Counters, LinkState

MS = 1_000_000


# --- samples ---------------------------------------------------------------------------------------------------------


def test_quantiles_are_at_most_an_eighth_too_high() -> None:
    drawn = random.Random(1)
    for _ in range(50):
        durations = [int(10 ** drawn.uniform(0, 11)) for _ in range(drawn.randint(1, 300))]
        samples = Samples()
        for duration in durations:
            samples.note(duration)
        minute = samples.minute()
        assert minute is not None and minute.count == len(durations)
        ordered = sorted(durations)
        for percent, found_ms in ((50, minute.p50), (99, minute.p99)):
            true_ms = ordered[-(-len(ordered) * percent // 100) - 1] / MS
            assert true_ms - 0.001 <= found_ms <= true_ms * 9 / 8 + 0.001
        assert minute.max == round(ordered[-1] / MS, 3)


def test_octaves_count_every_duration_for_ever() -> None:
    drawn = random.Random(2)
    samples = Samples()
    durations: list[int] = []
    for _ in range(4 * SLICES):  # most slices are dropped by the end
        for _ in range(drawn.randint(0, 20)):
            durations.append(drawn.getrandbits(drawn.randint(1, 40)))
            samples.note(durations[-1])
        samples.next_slice()
    octaves = samples.octaves()
    assert octaves.count == len(durations) and octaves.total_ns == sum(durations)
    assert list(octaves.below) == [sum(1 for one in durations if one < 2**n) for n in range(OCTAVES + 1)]


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    assert SLICES * SLICE_S == 60
    samples = Samples()
    assert samples.minute() is None
    samples.note(5 * MS)
    for _ in range(SLICES - 1):
        samples.next_slice()
        assert samples.minute() is not None
    samples.next_slice()
    assert samples.minute() is None
    assert samples.octaves().count == 1


@pytest.mark.parametrize("duration", [-5, 0, 1, 7, 8, 15, 16, 1 << 43, 1 << 60])
def test_no_duration_is_too_short_or_too_long(duration: int) -> None:
    samples = Samples()
    samples.note(duration)
    assert samples.octaves().below[OCTAVES] == 1
    minute = samples.minute()
    assert minute is not None and minute.count == 1


# --- one replica, in this process ------------------------------------------------------------------------------------


class Links:
    """Connections as a test wants them."""

    def __init__(self, *up: int, one_way: tuple[int, ...] = ()) -> None:
        self.up = up
        self.one_way = one_way  # it hears us, and we do not hear it

    def link_states(self) -> list[LinkState]:
        return [LinkState(peer, True, peer not in self.one_way, 5, 5, 0, "", None) for peer in self.up]


def seen(one: OneReplica, links: Links) -> Observation:
    base = Observation(1, 0)
    return one.driver.observer.look(base, {2: "h2:8181"}, Board(base), links, SERVING, "", {3: "a copy"})


def test_a_replica_on_its_own(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 1) as one:
            await until(lambda: one.service.is_serving and not one.driver.journal_thread.waiting_bytes, "it serves")
            observation = seen(one, Links())
            assert observation.standing == "leader" and observation.leader == 1 and observation.epoch == 1
            assert observation.quorum.reachable == (1,) and observation.quorum.failures_survivable == 0
            assert observation.slots.behind == 0 and observation.slots.applied == one.replica.applied
            assert observation.disk.sync_ms is not None and observation.disk.writing_for_ms == 0
            assert observation.latency_ms.commit is not None, "the first command of a start is timed like any other"
            assert observation.latency_ms.apply is not None
            tallies = one.driver.observer.tallies(one.driver.turns, 0, Counters())
            assert tallies.sync.count > 0 and tallies.journal_bytes > 0 and tallies.turns > 0

    asyncio.run(body())


def test_a_disk_that_stands_still_is_seen_while_it_does(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 1) as one:
            await until(lambda: one.service.is_serving, "it serves")
            one.disk.gate.clear()
            one.service.out.commands.append(b"")
            one.driver.request_turn()
            await until(lambda: seen(one, Links()).disk.writing_for_ms >= 20, "the write grows old")
            assert seen(one, Links()).disk.queue_bytes > 0
            one.disk.gate.set()
            await until(lambda: seen(one, Links()).disk.writing_for_ms == 0, "it is durable")
            sync_ms = seen(one, Links()).disk.sync_ms
            assert sync_ms is not None and sync_ms.max >= 20

    asyncio.run(body())


def test_room_is_measured_on_the_file_thread_one_question_at_a_time(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 1) as one:
            jobs: list[Any] = []
            watching = one.driver.observer
            watching._files = type("Files", (), {"submit": lambda self, *job: not jobs.append(job)})()  # type: ignore[assignment]
            for _ in range(3):
                watching.measure_space(str(tmp_path))
            assert len(jobs) == 1, "a disk that hangs has one question waiting"
            job, done = jobs[0]
            (tmp_path / "file").write_bytes(bytes(1000))
            done(job())
            disk = seen(one, Links()).disk
            assert disk.journal_bytes == 1000 and disk.free_bytes is not None and disk.free_bytes > 0
            assert disk.measured_ms_ago is not None

    asyncio.run(body())


def test_a_follower_counts_its_connections(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 5) as one:
            quorum = seen(one, Links(2, 4)).quorum
            assert (quorum.size, quorum.reachable, quorum.missing) == (3, (1, 2, 4), (3, 5))
            assert quorum.failures_survivable == 0
            assert seen(one, Links(2)).quorum.failures_survivable == -1
            assert seen(one, Links(2, 3, 4, one_way=(3, 4))).quorum.reachable == (1, 2)
            observation = seen(one, Links(2))
            assert [peer.refused for peer in observation.peers] == ["", "a copy", "", ""]
            assert observation.configuration.members[1].admin_address == "h2:8181"

    asyncio.run(body())


def test_a_leader_counts_on_echoes_from_voters_that_are_caught_up_and_whose_disk_is_alive(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 5) as one:
            replica, watching, now = one.replica, one.driver.observer, boot_ns()
            leadership = Leadership(ballot_of(1, 1), deque(), 1, now)
            replica.leadership = leadership
            links = Links(2, 3, 4, 5)
            assert seen(one, links).quorum.reachable == (1, 2, 3, 4, 5), "no echo can be missing yet"
            for beat in range(1, 6):
                leadership.number = beat
                watching.turned([], now + beat * replica.settings.heartbeat_ns, 0, 0)
            watching._prefixes.append(7)
            leadership.echoed = {2: 5, 3: 2, 4: 2, 5: 1}  # the last four beats are 2 to 5
            leadership.peer_applied = {2: 9, 3: 7, 4: 6, 5: 9}
            quorum = seen(one, links).quorum
            assert (quorum.reachable, quorum.missing, quorum.lagging) == ((1, 2, 3, 4), (5,), (4,))
            assert quorum.failures_survivable == 0
            assert [peer.applied for peer in seen(one, links).peers] == [9, 7, 6, 9]
            leadership.disk_ages = {2: replica.settings.disk_stall_ns + 1}
            quorum = seen(one, links).quorum
            assert quorum.lagging == (2, 4) and quorum.failures_survivable == -1
            replica.leadership = None  # as it was: nobody elected it

    asyncio.run(body())


def test_leaders_that_come_and_go_are_counted_for_ten_minutes(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 5) as one:
            watching, now = one.driver.observer, boot_ns()
            for ballot, at in ((3, now - 700 * 10**9), (-1, now), (3, now), (65539, now - 601 * 10**9), (131075, now)):
                watching.led_by(ballot, at)
            assert watching.leader_changes == 2, "the first is no change, nor is one that is found again"
            assert seen(one, Links()).leader_changes_last_10min == 1

    asyncio.run(body())


def test_the_wall_clock_jumps_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets: list[int] = []

    def offset_ms() -> int:
        return offsets.pop(0) if len(offsets) > 1 else offsets[0]

    async def body() -> None:
        async with OneReplica(tmp_path, 3) as one:
            watching, true_ms = one.driver.observer, wall_offset_ms()
            at = iter(range(boot_ns() + 10**9, 1 << 62, 10**9))
            monkeypatch.setattr(observer, "wall_offset_ms", offset_ms)

            def second(*read: int) -> None:
                offsets[:] = [true_ms + one for one in read]
                watching.each_second(next(at))

            second(20)
            assert seen(one, Links()).clock.last_jump_ms is None, "drawn towards the right time"
            second(900, 21)
            assert seen(one, Links()).clock.last_jump_ms is None, "a pause between two readings"
            second(-4979)
            clock = seen(one, Links()).clock
            assert clock.last_jump_ms == -5000 and clock.last_jump_ago_s is not None
            watching.each_second(watching._looked_at + 1)
            assert watching._seconds == 4 - 1, "called twice in a second, as when the client port opens"

    asyncio.run(body())


def test_round_trips_are_those_of_the_present_leadership(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 1) as one:
            await until(lambda: one.replica.leadership is not None and one.replica.leadership.number > 2, "beats")
            leadership = one.replica.leadership
            assert leadership is not None
            watching = one.driver.observer
            one.driver.on_messages(7, [Echo(7, leadership.ballot, leadership.number, 0, 0, 0, 0)])
            assert watching.round_trips[7].count == 1
            watching.echoed(7, leadership.ballot + 65536, leadership.number, boot_ns())
            watching.echoed(7, leadership.ballot, leadership.number + 1000, boot_ns())
            assert watching.round_trips[7].count == 1

    asyncio.run(body())


def test_turns_that_are_never_applied_are_kept_in_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "UNAPPLIED_TURNS_MAX", 10)

    async def body() -> None:
        async with OneReplica(tmp_path, 3) as one:
            watching = one.driver.observer
            before = watching.commit.count
            for _ in range(100):
                one.replica.forwarding.next_serial += 1
                watching.turned([], 1, 1, 1)
            assert len(watching._unapplied) == 10 and watching.commit.count == before

    asyncio.run(body())


ALONE = 'replica = 1\ndata = "d"\n[[replicas]]\nid = 1\npeer = "127.0.0.1:0"\nclient = "127.0.0.1:0"\n'


def test_what_is_seen_from_the_first_moment_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        board = Board(Observation(1, 0, waiting_for="its data directory to be opened"))
        process = ReplicaProcess(
            read_toml(ALONE, str(tmp_path / "one.toml")), Reporter(), board, must_exist=False, is_moved=False
        )
        assert (board.observation.state, board.observation.incarnation) == (RECOVERING, 1)
        assert board.observation.waiting_for == "its journal to be read: 0 records so far"
        process.bind()
        run = asyncio.ensure_future(process.run())
        await until(lambda: board.observation.state == SERVING, "it serves")
        assert board.has_served.is_set() and board.observation.waiting_for == "" and board.tallies.turns > 0

        # A defect in what only looks: said once, and the replica serves on.
        def fails(*unused: object) -> None:
            raise RuntimeError("a defect of the observer")

        with monkeypatch.context() as patched:
            patched.setattr(Observer, "each_second", fails)
            process._each_second()
            process._each_second()
        assert caplog.text.count("no observation can be made") == 1 and not run.done()

        process.driver.journal_failed("the sync failed")
        stopped = await run
        assert stopped.is_failure
        last = board.observation
        assert (last.state, last.waiting_for) == (WAITING, "its process to end: the sync failed")
        assert last.disk.failed == "the sync failed" and board.stalls.stalled_for_ms() == 0

    asyncio.run(body())


# --- three replicas, as processes ------------------------------------------------------------------------------------


def keys_of(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {path} | {key for name, inner in value.items() for key in keys_of(inner, f"{path}.{name}")}
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return keys_of(value[0], f"{path}[]")
    return {path}


@pytest.mark.processes
def test_three_replicas_and_one_that_falls_silent(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        leader = cluster.leader()
        status = cluster.until(
            leader.id,
            lambda value: (
                value["quorum"]["failures_survivable"] == 1
                and all(
                    peer["round_trip_ms"] and peer["applied"] == value["slots"]["applied"] for peer in value["peers"]
                )
            ),
            "a leader that hears all",
        )
        assert status["schema"] == SCHEMA and status["state"] == "serving" and status["waiting_for"] == ""
        assert status["standing"] == "leader" and status["leader"] == leader.id
        assert status["pid"] == cluster[leader.id].pid
        assert [one["admin_address"] for one in status["configuration"]["members"]] == [
            cluster.admin(one.id) for one in cluster.replicas
        ]
        assert all(peer["sent_ok_ms_ago"] < 5000 and peer["heard_ms_ago"] < 5000 for peer in status["peers"])
        follower = cluster.others(leader)[0]
        told = cluster.until(
            follower.id,
            lambda value: any(peer["id"] == leader.id and peer["round_trip_ms"] for peer in value["peers"]),
            "a follower whose reports are acknowledged",
        )
        assert told["standing"] == "follower" and told["leader"] == leader.id
        assert (told["epoch"], told["ballot"], told["cluster"]) == (
            status["epoch"],
            status["ballot"],
            status["cluster"],
        )
        assert keys_of({**told, "peers": []}) >= keys_of({**status, "peers": []}) - {".latency_ms.commit"}

        # It stands still, its machine does not: unheard, and yet what is sent is acknowledged.
        os.kill(follower.pid, signal.SIGSTOP)
        status = cluster.until(
            leader.id, lambda value: value["quorum"]["missing"] == [follower.id], "the silent one is missed"
        )
        assert status["quorum"]["failures_survivable"] == 0
        peer = next(one for one in status["peers"] if one["id"] == follower.id)
        assert peer["is_connected"] and peer["sent_ok_ms_ago"] < peer["heard_ms_ago"]
        os.kill(follower.pid, signal.SIGCONT)
        status = cluster.until(follower.id, lambda value: value["loop"]["longest_stall_ms"] >= 300, "it knows itself")

        # Killed: nobody listens there, in words.
        follower.kill()
        status = cluster.until(
            leader.id,
            lambda value: any("refused" in one["trouble"] for one in value["peers"] if one["id"] == follower.id),
            "the refused connection",
        )
        assert status["quorum"]["missing"] == [follower.id]
        third = next(one for one in cluster.others(leader) if one is not follower)
        third.kill()
        status = cluster.until(
            leader.id, lambda value: value["quorum"]["failures_survivable"] == -1, "one voter short of a quorum"
        )
        cluster.until(leader.id, lambda value: value["state"] == "waiting", "it serves nobody any more")
        code, ready = get(cluster.admin(leader.id), "/health/ready")
        assert code == 503 and "a majority" in json.loads(ready)["waiting_for"]
        assert get(cluster.admin(leader.id), "/health/live")[0] == 200, "to restart it would help nobody"


@pytest.mark.processes
def test_a_name_that_does_not_resolve_is_told_in_words(tmp_path: Path) -> None:
    text = (
        'replica = 1\ndata = "d"\n[client]\nlisten = "127.0.0.1:0"\n[admin]\nlisten = "127.0.0.1:0"\n'
        '[[replicas]]\nid = 1\npeer = "127.0.0.1:0"\n[[replicas]]\nid = 2\npeer = "no-such-host.invalid:7181"\n'
    )
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and never listened on: whoever dials it is refused
        text += f'[[replicas]]\nid = 3\npeer = "127.0.0.1:{nobody.getsockname()[1]}"\n'
        (tmp_path / "one.toml").write_text(text)
        with once(tmp_path / "one.toml") as address:
            status = asked(
                address, lambda value: all(one["trouble"] for one in value["peers"]), "what is wrong with the others"
            )
    assert status["state"] == "waiting" and "begins when all its replicas are there" in status["waiting_for"]
    assert "no-such-host.invalid:7181: the name does not resolve" in status["peers"][0]["trouble"]
    assert "nobody listens there" in status["peers"][1]["trouble"]
    assert status["quorum"]["failures_survivable"] == -1 and status["standing"] in ("follower", "candidate")
