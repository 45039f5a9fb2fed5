"""Clusters of real processes as fixtures. A failed test shows the end of every replica's log."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_harness import IS_LONG, ProcessCluster
from raw_client import close_all

from multipaxos.torture.shim import build_shim, compiler

_running: list[ProcessCluster] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the logs while the cluster is still there."""
    report = yield
    if report.when in ("setup", "call") and report.failed:
        for cluster in _running:
            report.sections.extend(cluster.logs())
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """At full length a test takes as long as it takes."""
    if IS_LONG:
        for item in items:
            if item.get_closest_marker("processes") and "cluster" in Path(item.path).parts:
                item.add_marker(pytest.mark.timeout(3600), append=False)


def _run(cluster: ProcessCluster) -> Iterator[ProcessCluster]:
    _running.append(cluster)
    try:
        with cluster:
            cluster.start()
            yield cluster
    finally:
        _running.remove(cluster)


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk shim, built. Without a C compiler its tests are skipped, in CI they fail."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the disk shim is written for Linux")
    if compiler() is None:
        assert os.environ.get("CI", "") != "true", "no C compiler: the disk shim cannot be built"
        pytest.skip("needs a C compiler for the disk shim (apt install gcc)")
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    yield from _run(ProcessCluster(tmp_path_factory.mktemp("cluster")))


@pytest.fixture
def cluster(_shared: ProcessCluster) -> ProcessCluster:
    """Three replicas that serve, shared by the tests of a module: healed before each, and used under paths of its own."""
    _shared.heal()
    return _shared


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    """Three replicas for one test alone."""
    yield from _run(ProcessCluster(tmp_path))


@pytest.fixture
def shimmed_cluster(tmp_path: Path, shim_library: Path) -> Iterator[ProcessCluster]:
    """Three replicas for one test alone, each with the disk shim before its disk."""
    yield from _run(ProcessCluster(tmp_path, shim_library=shim_library))


@pytest.fixture(autouse=True)
def _no_client_left() -> Iterator[None]:
    yield
    close_all()
