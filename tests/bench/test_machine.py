"""What is told about the machine."""

import os
from pathlib import Path

import pytest

from multipaxos.bench import cluster as cluster_module
from multipaxos.bench.cluster import choose_folder, read_cluster
from multipaxos.bench.load import BenchError
from multipaxos.bench.machine import describe_machine, filesystem_kind_in, probe_filesystem, sample_process

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /tmp rw shared:5 - tmpfs tmpfs rw
31 30 0:26 / /tmp/real\\040disk rw - xfs /dev/vdb rw
32 22 0:27 / /run rw - tmpfs none rw
33 22 0:28 / /run rw master:2 - btrfs /dev/vdc rw
not a line
""".splitlines()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/me", "ext4"),
        ("/tmp", "tmpfs"),
        ("/tmp/x", "tmpfs"),
        ("/tmpfile", "ext4"),
        ("/tmp/real disk/data", "xfs"),
        ("/run/later mount wins", "btrfs"),
    ],
)
def test_the_longest_mount_point_holds_a_path(path: str, kind: str) -> None:
    assert filesystem_kind_in(MOUNTS, path) == kind


def test_no_mounts_known() -> None:
    assert filesystem_kind_in([], "/") == "unknown"


def test_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    probe = probe_filesystem(str(tmp_path), writes=5)
    assert 0 < probe.sync_median_us <= probe.sync_p99_us
    assert list(tmp_path.iterdir()) == []
    assert probe.kind in probe.text()
    assert set(probe.as_json()) == {"filesystem", "fdatasync_4k_median_us", "fdatasync_4k_p99_us"}


def test_own_process() -> None:
    before = sample_process(os.getpid())
    assert before.rss_bytes > 1_000_000
    assert sample_process(os.getpid()).cpu_seconds >= before.cpu_seconds > 0
    assert set(describe_machine()) == {"processor", "cores", "memory_gib", "system", "python"}


def test_memory_is_refused_as_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "filesystem_kind", lambda path: "tmpfs")
    with pytest.raises(BenchError, match="tmpfs, which is memory"):
        choose_folder(str(tmp_path))
    with pytest.raises(BenchError, match="--temp"):
        choose_folder(None)
    monkeypatch.setattr(cluster_module, "filesystem_kind", lambda path: "ext4")
    assert choose_folder(str(tmp_path)) == str(tmp_path)
    assert os.path.isdir(choose_folder(None))
    with pytest.raises(BenchError, match="not a folder"):
        choose_folder(str(tmp_path / "missing"))


def test_the_state_of_a_cluster_is_read(tmp_path: Path) -> None:
    state = tmp_path / "cluster.json"
    with pytest.raises(BenchError, match=r"multipaxos cluster"):
        read_cluster(str(tmp_path))
    state.write_text('{"replicas": [{"id": 1, "process_id": 71, "client": "127.0.0.1:5", "peer": "127.0.0.1:6"},'
                     '{"id": 2, "process_id": 0, "client": "127.0.0.1:7", "peer": "127.0.0.1:8"}]}')  # fmt: skip
    assert read_cluster(str(tmp_path)) == ([("127.0.0.1", 5), ("127.0.0.1", 7)], {1: 71})
    state.write_text("{}")
    with pytest.raises(BenchError, match="cannot be read"):
        read_cluster(str(tmp_path))
