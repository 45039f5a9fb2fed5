"""Which directory is which, and which list: first starts, emptied disks, copies, and files that contradict each other."""

import copy
import shutil
from pathlib import Path

import pytest
from cluster_harness import ELECTION_TIMEOUT_S, ProcessCluster, ReplicaHandle, holds_for, wait_until
from raw_client import RawClient, close_all

from multipaxos.client.standing import Standing, summarise, summary_text
from multipaxos.core.acceptor import Acceptor
from multipaxos.core.ballot import ReplicaId
from multipaxos.core.settings import Settings
from multipaxos.host.config import load
from multipaxos.sim.stage import Stage, Unheard, led
from multipaxos.storage.identity import DataDirectory, DirectoryRefused

ELECTION_TIMEOUT = Settings().election_max_ns
REFUSED = "is not the one that was registered as replica"
WHAT_TO_DO = "Put the old directory back, or give the machine a new replica id"


# ---------------------------------------------------------------- emptied


def birth(steps: int) -> Stage:
    """Three fresh replicas, with so many messages of their first election and birth delivered."""
    stage = Stage(3)
    stage.start()
    stage.tick(1)
    for _ in range(steps):
        if stage.flight:
            stage._deliver(stage.flight.pop(0))
    return stage


def messages_of_a_birth() -> int:
    """How many messages it takes until all have applied slot 1."""
    stage = birth(0)
    count = 0
    while any(stage.core(replica).applied < 1 for replica in (1, 2, 3)):
        stage._deliver(stage.flight.pop(0))
        count += 1
    return count


@pytest.mark.parametrize("emptied", [1, 2, 3])
@pytest.mark.parametrize("steps", range(messages_of_a_birth() + 1))
def test_wiped_at_birth(steps: int, emptied: ReplicaId) -> None:
    """`wiped-at-birth`: the directory of one replica is emptied after each message of the birth in turn. There is one
    birth (the oracle has seen every vote), the cluster serves, and the emptied replica takes part exactly where slot 1
    names its new directory; else it has stopped, with the reason and what to do."""
    stage = birth(steps)
    stage.crash(emptied, is_power_lost=True)
    stage.empty(emptied)
    mark = stage.replicas[emptied].mark
    stage.drop(to=emptied)
    stage.start(emptied)
    stage.live(6 * ELECTION_TIMEOUT)
    others = [replica for replica in (1, 2, 3) if replica != emptied]
    for replica in others:
        stage.submit(replica, f"from{replica}")
    stage.live(6 * ELECTION_TIMEOUT)
    for replica in others:
        assert sorted(stage.executed(replica)) == [f"from{other}" for other in others]
    member = stage.core(others[0]).membership.newest().member(emptied)
    assert member is not None
    if member.mark == mark:
        assert stage.executed(emptied) == stage.executed(others[0])
    else:
        assert REFUSED in stage.stopped[emptied]
        assert WHAT_TO_DO in stage.stopped[emptied]


@pytest.mark.parametrize("emptied", [1, 2, 3])
def test_wiped_later(emptied: ReplicaId) -> None:
    """`wiped-later`: the same long after the birth, of the leader and of followers: refused, for ever, and the others go
    on. (How its promise is not counted is told in the transcript of that name.)"""
    stage = led()
    for number in range(20):
        stage.submit(number % 3 + 1, f"c{number}")
        stage.settle()
    stage.crash(emptied, is_power_lost=True)
    stage.empty(emptied)
    others = [replica for replica in (1, 2, 3) if replica != emptied]
    stage.favoured = others[0]
    for _ in range(3):
        stage.start(emptied)
        stage.live(3 * ELECTION_TIMEOUT)
        assert REFUSED in stage.stopped.pop(emptied)
    stage.submit(others[0], "later")
    stage.live(ELECTION_TIMEOUT)
    for replica in others:
        assert len(stage.executed(replica)) == 21


# ---------------------------------------------------------------- copied and rolled back


def test_copied_dir_instead_of_the_original(tmp_path: Path) -> None:
    """`copied-dir`: a copy is not the directory that was made: refused by name, with what to do; the original is not."""
    original, copied = str(tmp_path / "replica-1"), str(tmp_path / "copy")
    DataDirectory.create(original, 1).close()
    shutil.copytree(original, copied, copy_function=shutil.copy2)
    with pytest.raises(DirectoryRefused, match="copy") as refusal:
        DataDirectory.open(copied, 1)
    assert "--moved" in str(refusal.value)
    DataDirectory.open(original, 1).close()


@pytest.mark.parametrize("is_original_gone", [False, True])
def test_copied_dir_beside_the_original(is_original_gone: bool) -> None:
    """`copied-dir`: a copy that no look at the files can tell (a cloned volume) starts beside the original. Both count the
    same start, but each has drawn a number of its own: the first command of the copy is refused in the ledger, on every
    replica alike, and the copy stops. The original goes on (or, if it was stopped, starts again)."""
    stage = led(favoured=3)
    original = stage.replicas[2]
    cloned = copy.deepcopy(original.disk)
    stage.crash(2, is_noticed=False)
    stage.start(2)
    stage.live(ELECTION_TIMEOUT)
    stage.submit(2, "of the original")
    stage.settle()
    if is_original_gone:
        stage.crash(2)
    clone = stage._new_process(2, original.mark, Unheard(stage.listed, stage.oracle))
    clone.disk = cloned
    stage.replicas[2] = clone
    stage.start(2)
    assert (clone.incarnation, clone.mark) == (2, original.mark)
    stage.live(ELECTION_TIMEOUT)
    stage.submit(2, "of the copy")
    stage.live(ELECTION_TIMEOUT)
    assert "another process runs on a copy of its data directory" in stage.stopped[2]
    stage.replicas[2] = original
    if is_original_gone:
        stage.start(2)
    stage.live(2 * ELECTION_TIMEOUT)
    stage.submit(2, "of the original again")
    stage.live(2 * ELECTION_TIMEOUT)
    for replica in (1, 2, 3):
        assert stage.executed(replica) == ["of the original", "of the original again"]


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def put_back(folder: Path, content: dict[str, bytes]) -> None:
    """The bytes of another day, in the very files that were there."""
    for path in folder.iterdir():
        if path.name not in content:
            path.unlink()
    for name, data in content.items():
        (folder / name).write_bytes(data)


def stopped(replica: ReplicaHandle) -> str:
    """Wait until a replica has ended, and why it did."""
    wait_until(lambda: not replica.is_alive, f"replica {replica.id} to end")
    replica.reap()
    return replica.text


@pytest.mark.processes
def test_rollback_dir(tmp_path: Path) -> None:
    """`rollback-dir`, as far as there are no notes on the peers' disks yet: yesterday's bytes are put back into the very
    files of a replica that was started again since. Its peers have seen later starts: they refuse it before it has said
    anything, it ends with the reason, and the others go on."""
    with ProcessCluster(tmp_path) as cluster:
        cluster.start()
        rolled = cluster[3]
        with RawClient(cluster[1].client) as client:
            client.create("/yesterday")
        rolled.kill()
        yesterday = content_of(rolled.data)
        for _ in range(2):
            rolled.start()
            cluster.wait_serving([rolled])
            rolled.kill()
        with RawClient(cluster[1].client) as client:
            client.create("/today")
        put_back(rolled.data, yesterday)
        rolled.start()
        why = stopped(rolled)
        assert "refused by replicas 1, 2" in why
        assert "an older copy of its data directory was put back" in why
        assert "A lost or damaged disk" in why
        with RawClient(cluster[2].client) as client:
            client.create("/tomorrow")
    close_all()


# ---------------------------------------------------------------- lists


def edit(replica: ReplicaHandle, old: str, new: str) -> None:
    text = replica.config.read_text()
    assert old in text
    replica.config.write_text(text.replace(old, new))


@pytest.mark.processes
def test_two_lists(tmp_path: Path) -> None:
    """`two-lists`: the file of one replica names another address for a second one. No cluster is born; both lists are
    named, by whoever finds out; and once the file is mended the birth takes place."""
    with ProcessCluster(tmp_path) as cluster:
        odd = cluster[3]
        right = odd.config.read_text()
        edit(odd, cluster[2].address, "127.0.0.1:1")
        lists = {load(str(one.config)).listed.digest() for one in cluster.replicas}
        assert len(lists) == 2
        for one in cluster.replicas:
            one.start()
        why = stopped(odd)
        assert all(f"list {digest}" in why for digest in lists)
        assert "one list of members" in why
        holds_for(lambda: cluster.leader() is None, "a cluster was born of two lists", ELECTION_TIMEOUT_S)
        odd.config.write_text(right)
        cluster.start()


@pytest.mark.processes
def test_two_windows(tmp_path: Path) -> None:
    """`two-windows`: a cluster is born with a window of 64 slots; later a file says 32. Refused at the start, and both
    values are named. A file that says what was born is not."""
    with ProcessCluster(tmp_path, replicas=1) as cluster:
        (alone,) = cluster.start().replicas
        alone.kill()
        text = alone.config.read_text()
        alone.config.write_text(text + "\n[birth]\nwindow_slots = 32\n")
        alone.start()
        why = stopped(alone)
        assert "window_slots = 32" in why and "was born with 64" in why
        alone.config.write_text(text + "\n[birth]\nwindow_slots = 64\n")
        cluster.start()


def test_two_windows_would_choose_twice() -> None:
    """Why (trap-T23): slot 10 holds a change of voters from A, B, C to C, D, E. A, which reckons with a window of 4, has
    slot 12 chosen by the old voters; E, which reckons with 2, by the new ones."""
    acceptors = {name: Acceptor() for name in "ABCDE"}
    chosen = set()
    for ballot, decree, voters, window in ((5, b"x", "AB", 4), (9, b"y", "DE", 2)):
        governed_by = "ABC" if 10 + window > 12 else "CDE"
        votes = 0
        for name in voters:
            acceptors[name].promise(ballot)
            acceptors[name].accept(ballot, 12, decree)
            votes += name in governed_by
        if votes > len(governed_by) // 2:
            chosen.add(decree)
    assert chosen == {b"x", b"y"}


# ---------------------------------------------------------------- what status says


def test_masked_member() -> None:
    """`masked-member`: five replicas, one of them under a misspelled name. All looks well, for the others serve; but it
    survives one more failure, not two, and status says so, and beside which replica the trouble stands."""
    answered = [
        Standing((f"replica{n}", 2181), "leader" if n == 1 else "follower", n, 5 << 32, voters=5) for n in range(1, 5)
    ]
    masked = Standing(("relpica5", 2181), trouble="the name relpica5 does not resolve")
    summary = summarise([*answered, masked])
    assert summary.is_serving
    assert (summary.voters, summary.serving, summary.survivable) == (5, 4, 1)
    text = summary_text(summary)
    assert "failures survivable now: 1" in text
    assert next(line for line in text.splitlines() if "relpica5:2181" in line).endswith("does not resolve")
    assert summarise([*answered, Standing(("replica5", 2181), "follower", 5, 5 << 32, voters=5)]).survivable == 2
