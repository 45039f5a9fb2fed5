"""Namespaces and small disks are what they say, and leave nothing behind. They need root, and are skipped without."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from multipaxos.torture import namespaces
from multipaxos.torture.namespaces import BlackholeDropper, Dropper, Fabric, IptablesDropper, NetworkError, NftDropper

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or bool(namespaces.reason_missing()),
    reason=namespaces.reason_missing() if sys.platform.startswith("linux") else "namespaces are Linux's",
)

PORT = 7181


def _dial(fabric: Fabric, source: int, target: int) -> bool:
    space = fabric.spaces[source] if source else fabric.hub
    with space.inside(), socket.socket() as one:
        one.settimeout(0.3)
        try:
            one.connect((namespaces.address_of(target), PORT))
        except OSError:
            return False
        return True


@pytest.fixture(params=["chosen", "nft", "iptables", "routes"])
def fabric(request: pytest.FixtureRequest) -> "Fabric":
    wanted: dict[str, Dropper | None] = {
        "chosen": None,
        "nft": NftDropper(),
        "iptables": IptablesDropper(),
        "routes": BlackholeDropper(),
    }
    made = Fabric([1, 2, 3])
    request.addfinalizer(made.close)
    dropper = wanted[request.param]
    if dropper is not None:
        made.dropper = dropper
        try:
            for space in made.spaces.values():
                dropper.prepare(space)
        except (NetworkError, FileNotFoundError) as error:
            if "File exists" not in str(error):
                pytest.skip(f"{request.param} cannot be used here: {error}")
    return made


def test_cuts_are_one_way_and_mend(fabric: Fabric) -> None:
    listening = []
    for replica, space in fabric.spaces.items():
        with space.inside():
            one = socket.create_server((namespaces.address_of(replica), PORT))
        listening.append(one)
    try:
        assert _dial(fabric, 1, 2) and _dial(fabric, 0, 3)
        fabric.cut(1, 2)
        assert not _dial(fabric, 1, 2), "what 1 sends reaches 2"
        assert _dial(fabric, 3, 2) and _dial(fabric, 1, 3) and _dial(fabric, 0, 2), "somebody else is cut off as well"
        assert fabric.heal() in (-1, *range(1, 100))
        assert _dial(fabric, 1, 2)
        fabric.cut(2, 1)
        assert not _dial(fabric, 1, 2), "2 hears the dial, and its answer must not reach 1"
        fabric.heal()
        assert _dial(fabric, 1, 2)
    finally:
        for one in listening:
            one.close()


def test_this_process_stays_where_it_is() -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    made = Fabric([1, 2])
    with made.spaces[1].inside():
        inside = os.readlink("/proc/thread-self/ns/net")
    made.close()
    assert os.readlink("/proc/thread-self/ns/net") == before != inside
    space = namespaces.Space()
    with pytest.raises(ZeroDivisionError), space.inside():
        raise ZeroDivisionError
    space.close()
    assert os.readlink("/proc/thread-self/ns/net") == before


def test_a_small_disk_fills_and_is_seen_by_nobody_else(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from multipaxos.torture import mounts
reason = mounts.leave_mounts_private()
if reason:
    print(reason)
    sys.exit(7)
path = Path(sys.argv[1])
disk = mounts.SmallDisk(path, 1 << 20)
disk.fill()
assert disk.room_bytes == 0
try:
    (path / "one").write_bytes(bytes(5000))
    sys.exit(1)
except OSError:
    pass
disk.free()
(path / "one").write_bytes(bytes(5000))
print("ready", flush=True)
sys.stdin.readline()
disk.close()
assert not path.exists()
"""
    path = tmp_path / "small"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    if said != "ready":
        process.communicate()
        pytest.skip(said)
    seen = os.listdir(path)
    process.communicate("\n")
    assert process.returncode == 0
    assert seen == []
    assert not path.exists()
