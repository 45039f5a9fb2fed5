"""The load generator: how fast a cluster is, what an operation costs it, and on which machine and disk that was
measured.

It knows nothing of how a replica works: it speaks the client protocol (by a lean codec of its own, `frames.py`) to
whatever listens, which may be another product. Start reading at `load.py`; `machine.py` is what is printed beside
every number.
"""

from multipaxos.bench.cluster import OwnCluster
from multipaxos.bench.load import BenchError, LoadResult, LoadSettings, run_load
from multipaxos.bench.machine import FilesystemProbe, probe_filesystem

__all__ = [
    "BenchError",
    "FilesystemProbe",
    "LoadResult",
    "LoadSettings",
    "OwnCluster",
    "probe_filesystem",
    "run_load",
]
