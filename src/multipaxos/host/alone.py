"""A durable replica on its own: a cluster of one, in this process, in a folder like that of a local cluster.

What ``multipaxos serve`` runs when it is given no file. ``folder.py`` keeps the folder, ``process.py`` runs the replica.
"""

import os

from multipaxos.host.config import load
from multipaxos.host.folder import STATE_FILE, ClusterFolder, FolderError
from multipaxos.host.process import Reporter, run_replica


class _FolderReporter(Reporter):
    """Notes in the folder that the data directory was made: from then on it must be there (trap-T34)."""

    def __init__(self, folder: ClusterFolder) -> None:
        self._folder = folder

    def report(self, state: str, text: str) -> None:
        """``opened`` comes before the loop has anything to do, so this file is written here and now."""
        if state == "opened":
            number = self._folder.places[0].id
            self._folder.is_made[number] = True
            self._folder.write_state({number: os.getpid()}, 0, {number: "serving"})
        super().report(state, text)


def run_alone(
    data: str, client_port: int | None, peer_port: int | None, is_moved: bool, admin_port: int | None = None
) -> int:
    """Runs it until it is stopped. Returns the exit code; raises FolderError."""
    is_new = not os.path.exists(os.path.join(data, STATE_FILE))
    replicas = 1 if is_new else None
    with ClusterFolder.open(data, replicas, client_port, peer_port, admin_port=admin_port) as folder:
        if len(folder.places) != 1:
            raise FolderError(
                f"{folder.shown} was made for {len(folder.places)} replicas; run them with: "
                f"multipaxos cluster --data {data}"
            )
        number = folder.places[0].id
        try:
            return run_replica(
                load(folder.config_path(number)),
                _FolderReporter(folder),
                must_exist=folder.is_made[number],
                is_moved=is_moved,
            )
        finally:
            folder.write_state({}, 0)
