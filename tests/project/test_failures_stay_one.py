"""What a failed test leaves open must not fail the test after it."""

import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
import asyncio, gc, socket

def test_that_leaves_a_socket_open():
    left = socket.socket()
    assert left is None

def test_that_leaves_a_server_open():
    async def body():
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        try:
            raise KeyError("first")
        except KeyError:
            assert server is None
    asyncio.run(body())

def test_of_somebody_else():
    gc.collect()
"""


def test_a_socket_that_a_failed_test_left_open_is_nobody_elses_failure(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent.parent / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
    ]
    done = subprocess.run([*command, "."], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
