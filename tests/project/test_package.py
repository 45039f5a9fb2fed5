"""The distribution: it builds, it installs, and what it installs works without the source tree."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import multipaxos

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, **environment: str) -> str:
    env = {**os.environ, **environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "multipaxos"
    files = run("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard").split()
    for name in files:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            target.write_bytes((ROOT / name).read_bytes())
    # The sdist first, and the wheel from it: what the sdist leaves out is missed here.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source))
    return out


def test_wheel_installs_and_works(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "multipaxos/py.typed" in names
    assert not [name for name in names if name.startswith("tests")]
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        str(wheel),
    )
    where = "import multipaxos; print(multipaxos.__file__)"
    assert str(tmp_path) in run(sys.executable, "-c", where, PYTHONPATH=str(tmp_path))
    said = run(sys.executable, "-m", "multipaxos", "--version", PYTHONPATH=str(tmp_path))
    assert multipaxos.__version__ in said


def test_sdist_holds_what_a_reader_needs(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    for needed in ("README.md", "LICENSE", "pyproject.toml", "src/multipaxos/core/replica.py"):
        assert needed in names


def test_public_names_are_listed_and_there() -> None:
    for name in multipaxos.__all__:
        assert hasattr(multipaxos, name), name
    assert "__version__" in multipaxos.__all__
