"""The disk shim does what the cluster's tests rely on: a fault that does not happen would show nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_harness import wait_until

from multipaxos.torture.shim import DiskShim

pytestmark = pytest.mark.processes


@pytest.fixture
def shim(tmp_path: Path, shim_library: Path) -> Iterator[DiskShim]:
    root = tmp_path / "root"
    root.mkdir()
    one = DiskShim(shim_library, root, tmp_path / "state")
    yield one
    one.close()


_PRELUDE = """
import os, signal, sys
root = sys.argv[1]
folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
def make(name):
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _run(shim: DiskShim, script: str) -> int:
    shim.mend()
    command = [sys.executable, "-c", _PRELUDE + script, str(shim.root)]
    return subprocess.run(command, env={**os.environ, **shim.environment()}, check=False, timeout=120).returncode


def _killed(shim: DiskShim, script: str) -> None:
    assert _run(shim, script + "\ndie()") == -signal.SIGKILL


def test_what_was_not_synced_goes_and_what_was_stays(shim: DiskShim) -> None:
    _killed(
        shim,
        """
one = make("one")
os.fsync(folder)
os.pwrite(one, b"A" * 8192, 0)
os.fdatasync(one)
os.pwrite(one, b"B" * 10, 100)              # over what is durable
os.pwritev(one, [b"C" * 3000, b"C" * 3000], 8000)   # over its end
os.ftruncate(one, 20000)
""",
    )
    path = shim.root / "one"
    assert path.stat().st_size == 20000, "a killed process leaves its writes in the page cache"
    assert shim.drop_unsynced() == 3
    assert path.read_bytes() == b"A" * 8192
    assert shim.counters.done == 2


def test_names_are_durable_with_their_directory_only(shim: DiskShim) -> None:
    (shim.root / "old").write_bytes(b"old")
    (shim.root / "gone").write_bytes(b"gone")
    inode = (shim.root / "old").stat().st_ino
    _killed(
        shim,
        """
new = make("new")
os.write(new, b"synced, but without a durable name")
os.fsync(new)
os.rename("new", "old", src_dir_fd=folder, dst_dir_fd=folder)
os.unlink("gone", dir_fd=folder)
open(os.path.join(root, "opened"), "wb").write(b"by path")
""",
    )
    assert sorted(os.listdir(shim.root)) == ["old", "opened"]
    shim.drop_unsynced()
    assert sorted(os.listdir(shim.root)) == ["gone", "old"]
    assert (shim.root / "old").read_bytes() == b"old"
    assert (shim.root / "old").stat().st_ino == inode, "the same file, not a copy"

    _killed(
        shim,
        """
new = make("new")
os.write(new, b"new")
os.fsync(new)
os.rename("new", "old", src_dir_fd=folder, dst_dir_fd=folder)
os.fsync(folder)
""",
    )
    assert shim.drop_unsynced() == 0
    assert (shim.root / "old").read_bytes() == b"new"


def test_what_an_earlier_process_left_unsynced_goes_too(shim: DiskShim) -> None:
    _killed(
        shim, "one = make('one'); os.fsync(folder); os.write(one, b'first'); os.fsync(one); os.write(one, b', second')"
    )
    _killed(shim, "one = os.open('one', os.O_RDWR, dir_fd=folder); assert os.read(one, 99) == b'first, second'")
    assert (shim.root / "one").read_bytes() == b"first, second"
    shim.drop_unsynced()
    assert (shim.root / "one").read_bytes() == b"first"


def test_a_write_during_a_sync_is_not_covered_by_it(shim: DiskShim) -> None:
    shim.hang()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _PRELUDE
            + """
import threading
one = make("one")
os.write(one, b"before")
thread = threading.Thread(target=os.fdatasync, args=(one,))
thread.start()
sys.stdin.readline()
os.write(one, b" and during")
print("written", flush=True)
thread.join()
print("returned", flush=True)
sys.stdin.readline()
""",
            str(shim.root),
        ],
        env={**os.environ, **shim.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        wait_until(lambda: shim.counters.hanging == 1, "the sync to hang")
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"written\n"
        assert shim.counters.done == 0
        shim.heal()
        assert process.stdout.readline() == b"returned\n"
    finally:
        process.kill()
        process.communicate()
    # The name was never synced. Where it is, as after a sync of the directory, only "before" may stand.
    os.link(shim.root / "one", shim.root / "kept-by-the-test")
    shim.drop_unsynced()
    assert os.listdir(shim.root) == ["kept-by-the-test"]
    assert (shim.root / "kept-by-the-test").read_bytes() == b"before"


def test_a_sync_fails_once_and_later_ones_do_not_make_good_for_it(shim: DiskShim) -> None:
    shim.fail_once()
    code = _run(
        shim,
        """
one = make("one")
os.write(one, b"doubtful")
try:
    os.fdatasync(one)
    sys.exit(1)
except OSError as error:
    import errno
    assert error.errno == errno.EIO
os.fsync(folder)
os.write(one, b" sure")
os.fdatasync(one)
""",
    )
    assert code == 0
    assert shim.counters.failed == 1
    shim.drop_unsynced()
    assert (shim.root / "one").read_bytes() == b"\0" * 8 + b" sure"


def test_a_sync_can_be_made_slow(shim: DiskShim) -> None:
    shim.delay(300)
    code = _run(
        shim,
        """
import time
one = make("one")
begun = time.monotonic()
os.fdatasync(one)
sys.exit(0 if time.monotonic() - begun >= 0.3 else 1)
""",
    )
    assert code == 0


def test_files_elsewhere_are_none_of_its_business(shim: DiskShim, tmp_path: Path) -> None:
    shim.fail_once()
    elsewhere = tmp_path / "elsewhere"
    assert (
        _run(shim, f"one = open({str(elsewhere)!r}, 'wb'); one.write(b'x'); one.flush(); os.fsync(one.fileno())") == 0
    )
    assert shim.counters.begun == 0
    assert shim.drop_unsynced() == 0
    assert elsewhere.read_bytes() == b"x"


def test_a_write_fails_once(shim: DiskShim) -> None:
    shim.fail_write_once()
    code = _run(
        shim,
        """
import errno
one = make("one")
try:
    os.pwrite(one, b"never", 0)
    sys.exit(1)
except OSError as error:
    assert error.errno == errno.EIO
assert os.fstat(one).st_size == 0
assert os.pwrite(one, b"later", 0) == 5
""",
    )
    assert code == 0
    assert shim.counters.failed_writes == 1


def test_a_full_disk_refuses_growth_and_nothing_else(shim: DiskShim) -> None:
    shim.limit(10_000)
    code = _run(
        shim,
        """
import errno
one = make("one")
assert os.pwrite(one, b"a" * 8000, 0) == 8000
assert os.pwrite(one, b"b" * 8000, 0) == 8000      # in place: costs nothing
try:
    os.pwrite(one, b"c" * 8000, 4000)
    sys.exit(1)
except OSError as error:
    assert error.errno == errno.ENOSPC
assert os.fstat(one).st_size == 8000
assert os.pwrite(one, b"c" * 2000, 8000) == 2000
os.unlink("one", dir_fd=folder)
assert os.pwrite(make("two"), b"d" * 10_000, 0) == 10_000      # what was removed gave its space back
""",
    )
    assert code == 0
    assert shim.counters.refused == 1
    shim.heal()
    assert _run(shim, "two = os.open('two', os.O_RDWR, dir_fd=folder); os.pwrite(two, b'd' * 99999, 0)") == 0


def test_the_wall_clock_jumps_and_the_others_do_not(shim: DiskShim) -> None:
    shim.shift_clock(-3_600_000_000_000)
    code = _run(
        shim,
        """
import time
before = time.clock_gettime(time.CLOCK_BOOTTIME)
assert os.stat(root).st_mtime - time.time() > 3000        # the kernel's clock is not moved
assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) - before) < 100
""",
    )
    assert code == 0
    assert shim.counters.clock_reads > 0
    assert shim.counters.clock_difference_ns == -3_600_000_000_000


def test_the_wall_clock_goes_too_fast(shim: DiskShim) -> None:
    shim.shift_clock(0, 1_000_000)
    code = _run(
        shim,
        """
import time
begun, wall = time.monotonic(), time.time()
while time.monotonic() - begun < 0.2:
    pass
elapsed = time.time() - wall
sys.exit(0 if elapsed > 0.39 else 1)
""",
    )
    assert code == 0


def test_a_start_forgets_what_is_durable_and_nothing_else(shim: DiskShim) -> None:
    _killed(
        shim, "one = make('one'); os.fsync(folder); os.write(one, b'x' * 50000); os.fsync(one); os.write(one, b'y')"
    )
    undo = shim.root.parent / "state" / "undo"
    before = undo.stat().st_size
    shim.mend()
    assert 0 < undo.stat().st_size < before
    assert shim.drop_unsynced() == 1
    assert (shim.root / "one").read_bytes() == b"x" * 50000
