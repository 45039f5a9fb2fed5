"""Disks that count, hang, fail and dawdle, on real replicas (rules R31, R33, R37; bug-C01, bug-C02, bug-A17)."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cluster_harness import (
    ELECTION_TIMEOUT_S,
    Hindered,
    ProcessCluster,
    ReplicaHandle,
    attempts,
    by_length,
    holds_for,
    in_time,
    say,
    wait_until,
)
from peer_puppet import PeerPuppet
from raw_client import ConnectionClosed, RawClient

from multipaxos.core.ballot import ballot_of
from multipaxos.core.decree import NOOP
from multipaxos.core.messages import Accept, Accepted, Heartbeat, Prepare, Probe, Promise
from multipaxos.torture.shim import DiskShim
from multipaxos.wire import zookeeper as zk

pytestmark = pytest.mark.processes

HUNG_S = by_length(4.0, 10.0)
SLACK_S = 1.5


def disk(replica: ReplicaHandle) -> DiskShim:
    """The shim before a replica's disk."""
    assert replica.shim is not None
    return replica.shim


def wait_quiet(replicas: list[ReplicaHandle]) -> None:
    """Until no replica syncs by itself any more: segments are made ahead, marks and notes are written."""
    last: tuple[list[int], float] = ([], 0.0)

    def is_quiet() -> bool:
        nonlocal last
        counts = [disk(one).counters.begun for one in replicas]
        if counts != last[0]:
            last = (counts, time.monotonic())
        return time.monotonic() - last[1] > 0.5

    wait_until(is_quiet, "the disks to come to rest")


class Writers:
    """One client per replica, each writing one value after the other; when each was acknowledged."""

    def __init__(self, cluster: ProcessCluster, path: str) -> None:
        self._cluster = cluster
        self._path = path
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: dict[str, float] = {}  # payload -> when
        self.maybe: set[str] = set()
        self._threads = [threading.Thread(target=self._write, args=(one,)) for one in cluster.replicas]

    def _write(self, home: ReplicaHandle) -> None:
        number = 0
        places = [home, *self._cluster.others(home)]
        at = 0
        while not self._is_over.is_set():
            try:
                with RawClient(places[at % 3].client, 10_000, seconds=2.0) as client:
                    while not self._is_over.is_set():
                        number += 1
                        payload = f"{home.id}-{number}"
                        with self._lock:
                            self.maybe.add(payload)
                        client.create(f"{self._path}/{payload}", payload.encode(), seconds=5.0)
                        with self._lock:
                            self.maybe.discard(payload)
                            self.acknowledged[payload] = time.monotonic()
            except (ConnectionClosed, TimeoutError):
                at += 1
                self._is_over.wait(0.02)

    @property
    def count(self) -> int:
        with self._lock:
            return len(self.acknowledged)

    def after(self, moment: float) -> int:
        """How many were acknowledged later than ``moment``."""
        with self._lock:
            return sum(at > moment for at in self.acknowledged.values())

    def longest_gap(self, begin: float, end: float) -> float:
        """Between two acknowledged writes of anybody."""
        with self._lock:
            times = sorted(at for at in self.acknowledged.values() if begin < at < end)
        edges = [begin, *times, end]
        return max(later - earlier for earlier, later in itertools.pairwise(edges))

    def check_all_there(self, address: tuple[str, int]) -> None:
        """Every acknowledged write is there, and nothing nobody wrote. The writers may go on meanwhile."""
        with self._lock:
            acknowledged = set(self.acknowledged)
        with RawClient(address) as client:
            client.sync("/")
            reply = client.ask(zk.OP_GET_CHILDREN, zk.encode_watched_path(self._path))
            found = set(zk.decode_children(reply.body))
        missing = acknowledged - found
        assert not missing, f"{len(missing)} acknowledged writes are lost: {sorted(missing)[:5]}"
        with self._lock:
            assert found <= set(self.acknowledged) | self.maybe

    def start(self) -> None:
        with RawClient(self._cluster.wait_leader().client) as client:
            client.create(self._path)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def writing(cluster: ProcessCluster, path: str = "/writes") -> Iterator[Writers]:
    """Writers at work."""
    writers = Writers(cluster, path)
    writers.start()
    try:
        yield writers
    finally:
        writers.stop()


def test_one_command_at_a_time_costs_one_sync_per_replica_each(shimmed_cluster: ProcessCluster) -> None:
    replicas = shimmed_cluster.replicas
    client = RawClient(shimmed_cluster.followers()[0].client)
    client.create("/counted", b"0")
    wait_quiet(replicas)
    before = [disk(one).counters for one in replicas]
    writes = by_length(300, 3000)
    for value in range(writes):
        client.set("/counted", b"%d" % value)
    wait_quiet(replicas)
    counts = [disk(one).counters.done - then.done for one, then in zip(replicas, before, strict=True)]
    say(f"{writes} writes one at a time: {counts} syncs")
    # A few more are segments made ahead. A replica that was slower than the other two may find two writes waiting and
    # share a sync; but each write was answered before the next was sent, so two replicas synced it by itself.
    assert max(counts) <= writes * 1.02 + 3
    assert sum(counts) >= 2 * writes
    client.close()


def test_many_at_once_share_their_syncs(shimmed_cluster: ProcessCluster) -> None:
    replicas = shimmed_cluster.replicas
    client = RawClient(shimmed_cluster.wait_leader().client)
    client.create("/shared", b"0")
    wait_quiet(replicas)
    before = [disk(one).counters for one in replicas]
    writes = 2000
    client.send(
        b"".join(client.prepare(zk.OP_SET_DATA, zk.encode_set_data("/shared", b"%d" % n)) for n in range(writes))
    )
    for _ in range(writes):
        assert client.reply().err == 0
    for one, then in zip(replicas, before, strict=True):
        syncs = disk(one).counters.done - then.done
        say(f"replica {one.id}: {syncs} syncs for {writes} writes at once")
        assert syncs < writes / 10
    client.close()


@pytest.mark.parametrize("which", ["two followers", "leader and follower"])
def test_with_two_of_three_disks_hung_nothing_is_acknowledged(shimmed_cluster: ProcessCluster, which: str) -> None:
    leader = shimmed_cluster.wait_leader()
    followers = shimmed_cluster.followers()
    clients = [RawClient(one.client, timeout_ms=40_000) for one in shimmed_cluster.replicas]
    for client in clients:
        client.create(f"/hung-{client.session}", b"")
    hung = followers if which == "two followers" else [leader, followers[0]]
    for one in hung:
        disk(one).hang()
    for client in clients:
        client.send(client.prepare(zk.OP_SET_DATA, zk.encode_set_data(f"/hung-{client.session}", b"1")))
    begun = time.monotonic()
    for client in clients:
        with pytest.raises((TimeoutError, ConnectionClosed)):
            client.reply(max(begun + HUNG_S - time.monotonic(), 0.01))
    assert all(disk(one).counters.hanging > 0 for one in hung), "nothing was asked of the disks: nothing was shown"
    healed = time.monotonic()
    for one in hung:
        disk(one).heal()
    with writing(shimmed_cluster) as writers:
        wait_until(lambda: writers.count > 0, "a write to be acknowledged again")
        say(f"{time.monotonic() - healed:.2f} s from the disks' return to the next acknowledged write")
    writers.check_all_there(leader.client)


def test_nothing_leaves_a_replica_whose_disk_never_completes_a_sync(shimmed_cluster: ProcessCluster) -> None:
    """Seen from the other end of its peer connections: no prepare, no promise, no vote, no second answer."""
    leader = shimmed_cluster.wait_leader()
    watched, played = shimmed_cluster.followers()
    with RawClient(leader.client) as client:
        client.create("/before", b"")
    disk(watched).hang()
    leader.kill()
    played.kill()
    with PeerPuppet(played) as puppet:
        wait_until(lambda: _dialled(puppet, watched), "the watched replica to take the puppet for its peer")
        # It hears no leader, the puppet would promise it: it wants to campaign, and its prepare waits for the disk.
        wait_until(lambda: puppet.of(Probe), "a probe")
        wait_until(lambda: disk(watched).counters.hanging > 0, "its prepare to wait for the disk")
        prefix = puppet.of(Probe)[-1][1].chosen_prefix
        ballot = ballot_of(100, played.id)
        prepare = Prepare(played.id, ballot, prefix + 1, prefix, -1)
        accept = Accept(played.id, ballot, prefix + 3, NOOP, prefix)
        for message in (prepare, accept, prepare, accept, accept):
            puppet.say(watched.id, message)
        begun = time.monotonic()

        def is_silent() -> bool:
            # As the leader it introduced itself, so that the watched replica does not campaign above it meanwhile.
            puppet.beat += 1
            puppet.say(watched.id, Heartbeat(played.id, ballot, puppet.beat, prefix, True, 0))
            return not (puppet.of(Prepare) or puppet.of(Promise) or puppet.of(Accepted))

        holds_for(is_silent, "an unsynced prepare, promise or vote left the replica", HUNG_S / 2)
        puppet.say(watched.id, accept)
        puppet.say(watched.id, prepare)
        holds_for(is_silent, "a repeated answer left before the first", HUNG_S / 2)
        assert watched.mode == "", "it serves clients"
        healed = time.monotonic()
        disk(watched).heal()
        wait_until(lambda: len(puppet.of(Accepted)) == 4, "its votes, once the disk came back")
        wait_until(lambda: len(puppet.of(Promise)) == 3, "its promises, once the disk came back")
        answers = [at for at, _ in puppet.of(Accepted)] + [at for at, _ in puppet.of(Promise)]
        assert min(answers) >= healed
        assert all(vote == Accepted(watched.id, ballot, prefix + 3) for _, vote in puppet.of(Accepted))
        say(f"nothing in {healed - begun:.1f} s, and all within {max(answers) - healed:.3f} s of the disk's return")


def _dialled(puppet: PeerPuppet, other: ReplicaHandle) -> bool:
    try:
        puppet.dial(other)
    except (OSError, AssertionError):
        return False
    return True


def test_a_leader_whose_disk_hangs_hands_over(shimmed_cluster: ProcessCluster) -> None:
    """Nothing is lost. The bound on the gap is tried up to three times: the machine is shared."""
    attempts(lambda attempt: _a_leaders_disk_hangs(shimmed_cluster, f"/writes-{attempt}"))


def _a_leaders_disk_hangs(cluster: ProcessCluster, path: str) -> None:
    leader = cluster.wait_leader()
    with writing(cluster, path) as writers:
        wait_until(lambda: writers.count > 100, "writes to flow")
        begun = time.monotonic()
        disk(leader).hang()
        others = cluster.others(leader)
        wait_until(lambda: any(one.mode == "leader" for one in others), "another leader", poll=0.1)
        handed = time.monotonic()
        wait_until(lambda: writers.after(handed) > 100, "writes to flow again")
        gap = writers.longest_gap(begun, time.monotonic())
        say(f"leader's disk hung: handed over after {handed - begun:.2f} s, longest gap between writes {gap:.2f} s")
        disk(leader).heal()
        healed = time.monotonic()
        wait_until(lambda: writers.after(healed) > 100, "writes to flow with all disks")
    cluster.wait_serving(cluster.replicas)
    for one in cluster.replicas:
        writers.check_all_there(one.client)
    in_time(gap, 2 * ELECTION_TIMEOUT_S + SLACK_S, "the longest gap between writes")


def test_a_hung_follower_costs_nothing_but_its_vote(shimmed_cluster: ProcessCluster) -> None:
    """Nothing is lost. The bound on the gap is tried up to three times: the machine is shared."""
    attempts(lambda attempt: _a_followers_disk_hangs(shimmed_cluster, f"/writes-{attempt}"))


def _a_followers_disk_hangs(cluster: ProcessCluster, path: str) -> None:
    leader = cluster.wait_leader()
    hung = cluster.followers()[0]
    with writing(cluster, path) as writers:
        wait_until(lambda: writers.count > 100, "writes to flow")
        begun = time.monotonic()
        disk(hung).hang()
        wait_until(lambda: disk(hung).counters.hanging > 0, "the disk to hang")
        wait_until(lambda: time.monotonic() - begun > HUNG_S, "the span of the fault", HUNG_S + 60)
        gap = writers.longest_gap(begun, time.monotonic())
        say(f"follower's disk hung for {HUNG_S:g} s: longest gap between writes {gap:.2f} s")
        is_leader_still = leader.mode == "leader"
        disk(hung).heal()
        healed = time.monotonic()
        wait_until(lambda: writers.after(healed) > 100, "writes to flow with all disks")
    writers.check_all_there(hung.client)
    in_time(gap, ELECTION_TIMEOUT_S, "the longest gap between writes")
    if not is_leader_still:
        raise Hindered("a follower's disk hung, and the leader was replaced")


@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_failed_sync_stops_the_replica_which_names_the_reason(shimmed_cluster: ProcessCluster, which: str) -> None:
    failing = shimmed_cluster.wait_leader() if which == "leader" else shimmed_cluster.followers()[0]
    others = shimmed_cluster.others(failing)
    with writing(shimmed_cluster) as writers:
        wait_until(lambda: writers.count > 100, "writes to flow")
        begun = time.monotonic()
        disk(failing).fail_once()
        wait_until(lambda: not failing.is_alive, "the replica to stop")
        stopped = time.monotonic()
        wait_until(lambda: writers.after(stopped) > 100, "the others to serve")
        gap = writers.longest_gap(begun, time.monotonic())
        say(f"{which}'s sync failed: it stopped, longest gap between writes {gap:.2f} s")
        assert failing.process is not None and failing.process.returncode not in (0, None)
        assert "Input/output error" in failing.tail(), failing.tail()
        assert failing.state == "stopped" and "Input/output error" in failing.text
        for one in others:
            writers.check_all_there(one.client)
        # After a failed sync the page cache vouches for nothing (rule-R37): what was not synced is gone.
        disk(failing).drop_unsynced()
        failing.start()
        shimmed_cluster.wait_serving([failing])
        assert "last time: " in failing.tail(200)
    writers.check_all_there(failing.client)
    # Its memory must hold without the two that served meanwhile being both there.
    others[0].kill()
    shimmed_cluster.wait_leader()
    shimmed_cluster.wait_serving([failing])
    writers.check_all_there(failing.client)


def test_what_was_read_at_a_start_is_synced_before_it_is_vouched_for(shimmed_cluster: ProcessCluster) -> None:
    """rule-R37, ``cache-vouches``: accepted, not synced, killed, restarted, vouched for; then the power fails."""
    leader = shimmed_cluster.wait_leader()
    cached, synced = shimmed_cluster.followers()
    with RawClient(leader.client, timeout_ms=40_000) as client:
        # The leader that could get it chosen has it durably at one other replica only, and not at itself.
        disk(leader).hang()
        disk(cached).hang()
        client.send(client.prepare(zk.OP_CREATE, zk.encode_create("/vouched", b"")))
        wait_until(lambda: disk(cached).counters.hanging > 0, "the vote to wait for the disk")
        begun = cached.kill()
        disk(cached).heal()
        cached.start()
        assert client.reply().err == 0, "the restarted replica and the one that synced it are a quorum"
        # At once, before a later sync in the same file makes good for one that is missing.
        shimmed_cluster.kill_all([synced, leader, cached])
    say(f"vouched for {time.monotonic() - begun:.2f} s after the kill; {disk(cached).drop_unsynced()} changes dropped")
    disk(leader).drop_unsynced()
    disk(leader).heal()
    leader.start()
    cached.start()
    shimmed_cluster.wait_serving([leader, cached])
    with RawClient(cached.client) as client:
        client.sync("/")
        assert "vouched" in zk.decode_children(client.ask(zk.OP_GET_CHILDREN, zk.encode_watched_path("/")).body)


def test_slow_disks_everywhere_do_not_send_leadership_round(shimmed_cluster: ProcessCluster) -> None:
    """Tried up to three times: a leader that gets no processor for an election time-out is replaced as well."""
    attempts(lambda attempt: _all_disks_are_slow(shimmed_cluster, f"/writes-{attempt}"))


def _all_disks_are_slow(cluster: ProcessCluster, path: str) -> None:
    leader = cluster.wait_leader()
    # What the start brought about is not the disks' fault.
    before = [_times_led(one) for one in cluster.replicas]
    for one in cluster.replicas:
        disk(one).delay(500)
    with writing(cluster, path) as writers:
        begun = time.monotonic()
        span = by_length(6.0, 600.0)
        wait_until(
            lambda: time.monotonic() - begun > span and writers.count > 0,
            "the span of the fault, and a write",
            span + 60,
        )
        say(f"syncs of 0.5 s: {writers.count} writes in {time.monotonic() - begun:.0f} s")
    is_leader_still = leader.mode == "leader"
    after = [_times_led(one) for one in cluster.replicas]
    for one in cluster.replicas:
        disk(one).heal()
    if not is_leader_still or after != before:
        tails = "\n".join(one.tail() for one in cluster.replicas)
        raise Hindered(f"times each replica took the leadership: {before}, and {after} after slow disks\n{tails}")


def _times_led(replica: ReplicaHandle) -> int:
    return replica.log.read_text().count("leads at ballot")
