"""What a settings file means, and what is said where it means nothing."""

import os
from pathlib import Path

import pytest

from multipaxos.core.settings import MILLISECOND_NS, Settings
from multipaxos.host.config import (
    WORDS,
    WORDS_DEFAULT,
    ConfigError,
    join_address,
    load,
    read_toml,
    session_min_allowed_ms,
    split_address,
)

THREE = """
replica = 2
data = "replica-2"

[[replicas]]
id = 1
peer = "127.0.0.1:7181"
client = "127.0.0.1:2181"

[[replicas]]
id = 2
peer = "127.0.0.1:7182"
client = "127.0.0.1:2182"

[[replicas]]
id = 3
peer = "127.0.0.1:7183"
client = "127.0.0.1:2183"
voter = false
"""


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_toml(text, "here.toml")
    return str(caught.value)


def test_a_toml_file_with_defaults() -> None:
    config = read_toml(THREE, "/folder/here.toml")
    assert config.replica == 2
    assert config.data == "/folder/replica-2"
    assert config.listed.voters == (1, 2)
    assert config.listed.version == 0 and config.listed.cluster == ""
    assert config.client_listen == "127.0.0.1:2182"
    assert config.peer_listen == "127.0.0.1:7182"
    assert config.settings == Settings()
    assert config.words == WORDS_DEFAULT
    assert not config.is_birth_stated
    assert [peer.id for peer in config.peers] == [1, 3]


def test_keys_carry_units_and_reach_the_settings() -> None:
    text = THREE + "[timers]\nheartbeat_ms = 50\n[session]\ntimeout_min_ms = 6000\n[ledger]\npipeline_slots = 8\n"
    text += '[client]\nlisten = "0.0.0.0:2182"\nfour_letter_words = ["*"]\n[birth]\nwindow_slots = 32\n'
    config = read_toml(text, "here.toml")
    assert config.settings.heartbeat_ns == 50 * MILLISECOND_NS
    assert config.settings.pipeline == 8
    assert config.session_min_ms == 6000
    assert config.client_listen == "0.0.0.0:2182"
    assert config.words == WORDS
    assert config.listed.window == 32 and config.is_birth_stated


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("[timers]\nheartbeet_ms = 5\n", "unknown key 'heartbeet_ms' under [timers]; did you mean 'heartbeat_ms'?"),
        ("[timer]\nheartbeat_ms = 5\n", "unknown key 'timer'; did you mean 'timers'?"),
        ("[timers]\nheartbeat_ms = '5'\n", "`$.timers.heartbeat_ms`"),
        ("[session]\ntimeout_min_ms = 2600\n", "set it to 2601 ms or more"),
        ("[session]\ntimeout_min_ms = 5000\ntimeout_max_ms = 4000\n", "below the smallest"),
        ("[timers]\nelection_min_ms = 200\n", "at least three heartbeats"),
        ("[timers]\nelection_max_ms = 500\n", "election_max_ms is below election_min_ms"),
        ("[ledger]\npipeline_slots = 65\n", "at most window_slots (64)"),
        ("[ledger]\nbatch_bytes_max = 0\n", "batch_bytes_max is above 0"),
        ("[birth]\nwindow_slots = 0\n", "leaves nothing to propose"),
        ("[client]\nfour_letter_words = ['mnrt']\n", "did you mean 'mntr'?"),
        ("[client]\nlisten = '2181'\n", "is not host:port"),
        ("[log]\nlevel = 'infos'\n", "did you mean 'info'?"),
        ("[[replicas]]\nid = 1\npeer = '127.0.0.1:1'\n", "listed twice"),
        ("[[replicas]]\nid = 4\npeer = '127.0.0.1:7181'\n", "two replicas have the peer address"),
        ("[[replicas]]\nid = 70000\npeer = '127.0.0.1:1'\n", "not between 1 and 65535"),
        ("= 3", "not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(added: str, said: str) -> None:
    text = refused(THREE + added)
    assert text.startswith("here.toml: ")
    assert said in text


def test_a_key_at_the_wrong_level_is_sent_to_its_section() -> None:
    assert "it belongs under [timers] heartbeat_ms" in refused("heartbeat_ms = 5\n" + THREE)


def test_a_replica_that_is_not_in_the_list() -> None:
    assert "replica = 9 is not among [[replicas]] (listed: 1, 2, 3)" in refused(
        THREE.replace("replica = 2", "replica = 9")
    )


def test_the_smallest_session_timeout_follows_the_timers() -> None:
    assert session_min_allowed_ms(Settings()) == 2601


def test_addresses() -> None:
    assert split_address("[::1]:2181") == ("::1", 2181)
    assert join_address("::1", 2181) == "[::1]:2181"
    assert split_address("localhost:0") == ("localhost", 0)
    for text in ("::1:2181", "localhost", ":2181", "localhost:70000", "localhost:-1", "localhost:²"):
        with pytest.raises(ConfigError):
            split_address(text)


# --- zoo.cfg ---


def zoo(folder: Path, text: str, myid: str = "2") -> str:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    if myid:
        (data / "myid").write_text(myid + "\n")
    path = folder / "zoo.cfg"
    path.write_text(text)
    return str(path)


SERVERS = "server.1=zoo1:2888:3888\nserver.2=zoo2:2888:3888;2181\nserver.3=zoo3:2888:3888:observer;0.0.0.0:2181\n"


def test_a_zoo_cfg_as_everybody_has_it(tmp_path: Path) -> None:
    text = (
        "# sample\n\ntickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=data\nclientPort=2181\nmaxClientCnxns=100\n"
        "4lw.commands.whitelist=srvr, ruok\nautopurge.snapRetainCount=3\n" + SERVERS
    )
    config = load(zoo(tmp_path, text))
    assert config.replica == 2
    assert config.data == str(tmp_path / "data" / "multipaxos")
    # The first port is the peer port; the list is made of the server lines alone, which all files of a cluster share.
    assert [member.peer_address for member in config.listed.members] == ["zoo1:2888", "zoo2:2888", "zoo3:2888"]
    assert [member.client_address for member in config.listed.members] == ["", "zoo2:2181", "zoo3:2181"]
    assert config.listed.voters == (1, 2)
    assert config.client_listen == "zoo2:2181"
    assert config.peer_listen == "zoo2:2888"
    assert (config.session_min_ms, config.session_max_ms) == (4000, 40000)
    assert config.connections_per_address_max == 100
    assert config.words == ("srvr", "ruok")
    assert config.notes == ("ignored, because they have no meaning here: autopurge.snapRetainCount",)


def test_the_list_is_one_whatever_else_the_files_say(tmp_path: Path) -> None:
    first = load(zoo(tmp_path, "dataDir=data\nclientPort=2181\n" + SERVERS, "1"))
    second = load(zoo(tmp_path, "dataDir=data\nclientPort=2199\ntickTime=4000\n" + SERVERS, "2"))
    assert first.listed.digest() == second.listed.digest()


def test_a_zoo_cfg_without_servers_is_one_replica_on_loopback(tmp_path: Path) -> None:
    config = load(zoo(tmp_path, "dataDir=data\nclientPort=2181\n", ""))
    assert config.listed.voters == (1,)
    assert config.client_listen == "127.0.0.1:2181"
    assert "clientPortAddress" in config.notes[0]
    config = load(zoo(tmp_path, "dataDir=data\nclientPort=2181\nclientPortAddress=0.0.0.0\n", ""))
    assert config.client_listen == "0.0.0.0:2181"


def test_a_dynamic_configuration_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "zoo.cfg.dynamic").write_text(SERVERS)
    config = load(zoo(tmp_path, "dataDir=data\ndynamicConfigFile=zoo.cfg.dynamic\n"))
    assert len(config.listed.members) == 3
    assert config.client_listen == "zoo2:2181"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("secureClientPort=2281", "not safe to ignore"),
        ("ssl.quorum.keyStore.location=/x", "not safe to ignore"),
        ("sslQuorum=true", "TLS is not offered"),
        ("authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider", "plug-ins cannot be loaded"),
        ("enforce.auth.enabled=true", "use ACLs"),
        ("quorum.auth.enableSasl=true", "peers are not authenticated"),
        ("weight.1=3", "weights are not offered"),
        ("group.1=1:2:3", "groups are not offered"),
        ("tickTime=1000", "set it to 2601 ms or more"),
        ("tickTime=two", "is not a number"),
        ("initLimit=0", "at least 1"),
        ("server.4=zoo4:2888:3888|zoo5:2888:3888", "several addresses"),
        ("server.4=zoo4", "is not host:peerport"),
        ("server.x=zoo4:1:2", "not a number"),
        ("peerType=observer", "server.2 is no observer"),
    ],
)
def test_what_is_not_safe_to_ignore_is_refused(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"zoo\.cfg") as caught:
        load(zoo(tmp_path, f"dataDir=data\nclientPort=2181\n{SERVERS}{line}\n"))
    assert said in str(caught.value)


def test_myid_decides_which_server_this_is(tmp_path: Path) -> None:
    text = "dataDir=data\nclientPort=2181\n" + SERVERS
    with pytest.raises(ConfigError, match=r"not among the server\.N lines"):
        load(zoo(tmp_path, text, "7"))
    os.unlink(tmp_path / "data" / "myid")
    with pytest.raises(ConfigError, match="write this replica's number there, one of 1, 2, 3"):
        load(zoo(tmp_path, text, ""))


def test_missing_keys_and_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataDir is missing"):
        load(zoo(tmp_path, "clientPort=2181\n"))
    with pytest.raises(ConfigError, match="clientPort is missing"):
        load(zoo(tmp_path, "dataDir=data\n", ""))
    with pytest.raises(ConfigError, match="there is no such file"):
        load(str(tmp_path / "none.toml"))
