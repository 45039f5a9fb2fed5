"""The journals of a real cluster: read while its replicas run and write, one of them killed, and after it came back."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster_harness import ProcessCluster, wait_until
from journal_maker import flip, look, run, run_json, spot_of
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError

pytestmark = pytest.mark.processes

WRITES = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    with ProcessCluster(tmp_path_factory.mktemp("journals")) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def killed(cluster: ProcessCluster) -> int:
    """Some writes to all three replicas, then more to the two that are left when a follower was killed."""
    victim = cluster.followers()[0]
    with connected(",".join(one.address for one in cluster.replicas if one is not victim)) as client:
        client.create("/a", b"begin")
        client.create("/gone", b"with the session", ephemeral=True)
        for number in range(WRITES):
            client.set("/a", b"before %d" % number)
        # The two others are a quorum: what they acknowledged it may yet have to write.
        wait_until(
            lambda: run_json("verify", victim.data)[1]["chosen_prefix"] > WRITES - 10,
            "the follower to keep up",
            poll=0.2,
        )
        victim.kill()
        for number in range(WRITES):
            client.set("/a", b"after %d" % number)
            client.create("/a/n", b"child", sequence=True)
    return victim.id


@contextmanager
def connected(hosts: str) -> Iterator[KazooClient]:
    """Other people's client, for the length of a block."""
    client = KazooClient(hosts, timeout=20.0)
    try:
        client.start(timeout=60)
        yield client
    finally:
        client.stop()
        client.close()


def slot_of(path: Path, value: str) -> int:
    """The first slot whose decree says so."""
    _, shown = run_json("show", path, "--from", 1)
    return int(next(one["slot"] for one in shown["slots"] if any(value in text for text in one["says"])))


def test_running_replicas_are_read_and_nothing_differs(cluster: ProcessCluster, killed: int) -> None:
    code, value = run_json("compare", *[one.data for one in cluster.replicas], "--state")
    assert code == 0, value
    assert value["slot"] == 0
    assert value["compared_up_to"] > 2 * WRITES > value["equal_up_to"] > WRITES - 10
    by_replica = {one["replica"]: one for one in value["replicas"]}
    for one in cluster.replicas:
        assert by_replica[one.id]["process"] == (one.pid if one.id != killed else 0)
        assert by_replica[one.id]["damage"] == ""
        assert by_replica[one.id]["finding_count"] == 0
    assert value["state"]["is_equal"]
    assert run_json("compare", cluster.folder / "data")[1]["compared_up_to"] >= value["compared_up_to"]


def test_a_killed_replica_is_read_and_left_as_it_is(cluster: ProcessCluster, killed: int) -> None:
    path = cluster[killed].data
    before = look(path)
    assert run("verify", path)[0] == 0
    assert run("show", path, "--records")[0] == 0
    code, value = run_json("replay", path, "--path", "/a")
    assert code == 0
    assert value["znode"]["value"].startswith("before ")
    assert value["sessions"] == 1
    assert look(path) == before


def test_what_stood_at_a_path_when_its_last_value_was_written(cluster: ProcessCluster, killed: int) -> None:
    path = next(one.data for one in cluster.replicas if one.id != killed)
    slot = slot_of(path, "after 7")
    code, value = run_json("replay", path, "--to", slot, "--path", "/a")
    assert code == 0
    assert value["znode"]["value"] == "after 7"
    assert value["znode"]["version"] == WRITES + 8
    assert value["znode"]["children"] == 7
    assert value["ephemerals"] == 1


def test_beside_a_replica_that_writes_all_the_time(cluster: ProcessCluster, killed: int) -> None:
    """However often it is looked at in the middle of writes: never damage, never less than before."""
    living = next(one for one in cluster.replicas if one.id != killed)
    writes = []
    reached = []
    with connected(living.address) as client:
        for _ in range(12):
            writes += [client.set_async("/a", b"x" * (37 * number)) for number in range(40)]
            code, value = run_json("verify", living.data)
            assert code == 0, value
            assert value["process"] == living.pid
            reached.append(value["chosen_prefix"])
        for write in writes:
            write.get(timeout=120)
        reached.append(run_json("verify", living.data)[1]["chosen_prefix"])
    assert reached == sorted(reached)
    assert reached[-1] > reached[0]


def test_a_replica_that_came_back_holds_the_same(cluster: ProcessCluster, killed: int) -> None:
    """What it slept through it learned from its peers: other records, the same ledger."""
    cluster.start()
    reached = run_json("verify", cluster.followers()[0].data)[1]["chosen_prefix"]
    paths = [one.data for one in cluster.replicas]

    def everywhere() -> bool:
        """Marks are written with what comes after them, so something must come."""
        try:
            with connected(cluster.hosts()) as client:
                client.set("/a", b"another")
        except KazooTimeoutError:
            return False
        return int(run_json("compare", *paths)[1]["equal_up_to"]) >= int(reached)

    wait_until(everywhere, "the killed replica to catch up")
    code, value = run_json("compare", *paths, "--state")
    assert code == 0, value
    assert value["state"]["is_equal"]
    assert run_json("verify", cluster[killed].data)[1]["incarnation"] == 2


def test_a_copy_with_one_flipped_bit_is_named_beside_the_running_cluster(
    cluster: ProcessCluster, killed: int, tmp_path: Path
) -> None:
    living = next(one for one in cluster.replicas if one.id != killed)
    copy = tmp_path / "copy"
    shutil.copytree(living.data, copy, ignore=shutil.ignore_patterns("spare"))
    assert run("verify", copy)[0] == 0
    slot = slot_of(copy, "after 9")
    spot = spot_of(copy, slot)
    flip(spot.path, spot.offset + spot.size - 1)
    before = look(copy)
    code, value = run_json("verify", copy)
    assert code == 1
    assert value["damage"]["position"] == spot.position
    assert {vote["first"] for vote in value["damage"]["votes"]} == {slot}
    code, value = run_json("compare", copy, living.data)
    assert code == 1
    # What lies between is chosen by a mark that cannot be reached any more.
    assert WRITES < value["equal_up_to"] < slot
    assert [bool(one["damage"]) for one in value["replicas"]] == [True, False]
    assert look(copy) == before
