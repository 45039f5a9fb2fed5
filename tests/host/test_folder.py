"""The folder of a local cluster: ports, earlier runs, and everything that makes it refuse."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from multipaxos.host.config import load
from multipaxos.host.folder import ClusterFolder, FolderError


def opened(folder: Path, replicas: int | None = None, client: int | None = 0, peer: int | None = 0) -> ClusterFolder:
    return ClusterFolder.open(str(folder), replicas, client, peer)


def refused(folder: Path, replicas: int | None = None, client: int | None = 0, peer: int | None = 0) -> str:
    with pytest.raises(FolderError) as caught:
        opened(folder, replicas, client, peer)
    return str(caught.value)


def test_a_new_folder_has_all_that_is_needed(tmp_path: Path) -> None:
    with opened(tmp_path / "new" / "data", 3) as folder:
        assert [place.id for place in folder.places] == [1, 2, 3]
        ports = [address.rpartition(":")[2] for place in folder.places for address in (place.client, place.peer)]
        assert len(set(ports)) == 6 and "0" not in ports
        state = json.loads((tmp_path / "new" / "data" / "cluster.json").read_text())
        assert [one["id"] for one in state["replicas"]] == [1, 2, 3]
        assert [one["client"] for one in state["replicas"]] == [place.client for place in folder.places]
        assert [one["peer"] for one in state["replicas"]] == [place.peer for place in folder.places]
        assert all(one["process_id"] == 0 for one in state["replicas"])
        assert "never copy it" in (tmp_path / "new" / "data" / "README.txt").read_text()
        configs = [load(folder.config_path(place.id)) for place in folder.places]
        assert [config.client_listen for config in configs] == [place.client for place in folder.places]
        assert len({config.listed.digest() for config in configs}) == 1
        assert configs[1].data == str(tmp_path / "new" / "data" / "replica-2")


def test_the_next_run_has_the_ports_of_the_last(tmp_path: Path) -> None:
    with opened(tmp_path, 3) as folder:
        places = folder.places
    with opened(tmp_path, None, None, None) as folder:
        assert folder.places == places
    with opened(tmp_path, None, 0, 0) as folder:
        assert folder.places == places, "free ones are asked for, and those still are"


def test_a_free_port_that_is_taken_by_now_gives_way(tmp_path: Path) -> None:
    with opened(tmp_path, 1) as folder:
        port = int(folder.places[0].client.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), opened(tmp_path) as folder:
        assert folder.places[0].client != f"127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", int(folder.places[0].client.rpartition(":")[2]))):
        assert "is taken" in refused(tmp_path, None, None)


def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = refused(tmp_path, 1, port)
        assert f"port {port} on 127.0.0.1 (clients of replica 1) is taken" in text
        assert "--client-port" in text
        assert "--peer-port" in refused(tmp_path, 1, 0, port)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ports are only reserved on Linux")
def test_reserved_ports_are_kept_for_the_replicas(tmp_path: Path) -> None:
    with opened(tmp_path, 1) as folder:
        port = int(folder.places[0].client.rpartition(":")[2])
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "nobody listens there"
        for _ in range(2):  # a replica may listen, die, and listen again
            with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
                pass


def test_another_number_of_replicas_is_refused(tmp_path: Path) -> None:
    opened(tmp_path, 3).__exit__(None, None, None)
    assert "was made for 3 replicas, not for 5" in refused(tmp_path, 5)
    with opened(tmp_path, 3):
        pass


def test_one_cluster_command_per_folder(tmp_path: Path) -> None:
    with opened(tmp_path, 1):
        assert f"already runs on {tmp_path} (process {os.getpid()})" in refused(tmp_path, 1)
    with opened(tmp_path, 1):
        pass


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "replica-1").mkdir()
    assert "belongs to another cluster" in refused(tmp_path, 1)
    (tmp_path / "cluster.json").write_text("{}")
    assert "not readable as one of ours" in refused(tmp_path, 1)
    (tmp_path / "cluster.json").write_text(json.dumps({"format": 9, "made_by": "multipaxos cluster", "replicas": []}))
    assert "format 9" in refused(tmp_path, 1)
    (tmp_path / "cluster.json").write_text(json.dumps({"format": 1, "made_by": "somebody", "replicas": []}))
    assert "made by somebody" in refused(tmp_path, 1)


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = refused(tmp_path / "file" / "data", 1)
    assert "cannot write in" in text and "--data" in text


def test_how_many_replicas(tmp_path: Path) -> None:
    assert "1 to 31" in refused(tmp_path, 0)
    assert "1 to 31" in refused(tmp_path, 32)


def test_who_has_had_a_directory_is_remembered(tmp_path: Path) -> None:
    with opened(tmp_path, 2) as folder:
        folder.is_made[2] = True
        folder.write_state({2: 77}, 1, {2: "serving"})
    with opened(tmp_path) as folder:
        assert folder.is_made == {1: False, 2: True}


def test_no_cluster_to_talk_to(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="no folder of a local cluster"):
        ClusterFolder.control_of_running(str(tmp_path / "none"))
    opened(tmp_path, 1).__exit__(None, None, None)
    with pytest.raises(FolderError, match="no cluster runs on"):
        ClusterFolder.control_of_running(str(tmp_path))


def test_a_long_path_still_has_a_control_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    with opened(deep, 1) as folder:
        path = folder.control_path()
        assert len(path) <= 100
        folder.write_state({}, 1)
        assert ClusterFolder.control_of_running(str(deep)) == path
    assert not os.path.exists(os.path.dirname(path))
