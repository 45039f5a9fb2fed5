"""Soft quotas: what stands in zookeeper_stats (section 14)."""

import pytest
from asking import World, create_record, multi_record

from multipaxos.coordination.quota import adjusted, counted_by, limited_by


@pytest.fixture
def client():
    client = World().client()
    client.made("/a", b"12345")
    client.made("/a/b", b"123")
    client.made("/zookeeper/quota/a")
    return client


def set_quota(client, path="/a"):
    client.made(f"/zookeeper/quota{path}/zookeeper_limits", b"count=10,bytes=100")
    client.made(f"/zookeeper/quota{path}/zookeeper_stats", b"count=0,bytes=0")


def stats(client, path="/a"):
    return client.world.data(f"/zookeeper/quota{path}/zookeeper_stats")


def test_the_stats_node_is_counted_when_it_is_made(client):
    set_quota(client)
    assert stats(client) == b"count=2,bytes=8"


def test_changes_below_adjust_it_without_a_transaction(client):
    set_quota(client)
    before = client.world.stat("/zookeeper/quota/a/zookeeper_stats")
    client.made("/a/c", b"xx")
    assert client.world.machine.changes == [(1, "/a/c"), (4, "/a")]
    assert stats(client) == b"count=3,bytes=10"
    client.set("/a", b"")
    assert stats(client) == b"count=3,bytes=5"
    client.set("/a", None)
    client.made("/a/null", None)
    assert stats(client) == b"count=4,bytes=5"
    client.delete("/a/c")
    client.made("/elsewhere", b"x")
    client.made("/ab", b"x")
    assert stats(client) == b"count=3,bytes=3"
    client.ask(14, multi_record((1, create_record("/a/m", b"1")), (1, create_record("/a/m/n", b"2"))))
    client.made("/a/e", b"eph", flags=1)
    assert stats(client) == b"count=6,bytes=8"
    client.close()
    assert stats(client) == b"count=5,bytes=5"
    after = client.world.stat("/zookeeper/quota/a/zookeeper_stats")
    assert (after.version, after.mzxid, after.mtime) == (before.version, before.mzxid, before.mtime)
    assert after.data_length == len(stats(client))


def test_the_nearest_quota_counts(client):
    set_quota(client)
    client.made("/zookeeper/quota/a/b")
    set_quota(client, "/a/b")
    assert stats(client, "/a/b") == b"count=1,bytes=3"
    client.made("/a/b/c", b"1")
    assert stats(client, "/a/b") == b"count=2,bytes=4"
    assert stats(client) == b"count=2,bytes=8"


def test_without_the_limits_node_nothing_is_counted(client):
    set_quota(client)
    client.delete("/zookeeper/quota/a/zookeeper_limits")
    client.made("/a/c")
    assert stats(client) == b"count=2,bytes=8"


def test_limits_are_not_enforced(client):
    client.made("/zookeeper/quota/a/zookeeper_limits", b"count=1,bytes=1=;byteHardLimit=1;countHardLimit=1")
    assert client.create("/a/more", b"many bytes").err == 0  # and there is no stats node to adjust


def test_the_root_has_no_quota(client):
    client.made("/zookeeper/quota/zookeeper_limits", b"count=1")
    client.made("/zookeeper/quota/zookeeper_stats", b"count=7,bytes=7")
    client.made("/x")
    assert client.world.data("/zookeeper/quota/zookeeper_stats") == b"count=7,bytes=7"


def test_a_quota_of_what_does_not_exist(client):
    client.made("/zookeeper/quota/none")
    set_quota(client, "/none")
    assert stats(client, "/none") == b"count=0,bytes=0"
    client.made("/none", b"abc")
    assert stats(client, "/none") == b"count=1,bytes=3"


def test_nodes_that_only_look_like_quotas(client):
    client.made("/zookeeper/quotas")
    client.made("/zookeeper/quotas/zookeeper_limits")
    client.made("/zookeeper/quotas/zookeeper_stats", b"mine")
    client.made("/zookeeper_limits")
    assert client.world.data("/zookeeper/quotas/zookeeper_stats") == b"mine"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (b"count=1,bytes=2", b"count=2,bytes=5"),
        (b"", b"count=1,bytes=3"),
        (b"garbage", b"count=1,bytes=3=;garbage"),
        (b"count=x,bytes=-4", b"count=1,bytes=-1"),
        (b"count=1,bytes=2=;countHardLimit=5;byteHardLimit=6", b"count=2,bytes=5=;byteHardLimit=6;countHardLimit=5"),
        (b"bytes=2,count=1", b"count=2,bytes=5"),
        (b"count=" + b"9" * 30 + b",bytes=" + "٣".encode(), b"count=1,bytes=3"),
        (b"\xff\x00", b"count=1,bytes=3=;\xff\x00"),
    ],
)
def test_text(text, result):
    assert adjusted(text, 1, 3) == result


def test_names():
    assert limited_by("/zookeeper/quota/a/b/zookeeper_limits") == "/a/b"
    assert counted_by("/zookeeper/quota/a/b/zookeeper_stats") == "/a/b"
    for path in ("/zookeeper/quota/zookeeper_limits", "/a/zookeeper_limits", "/zookeeper/quota/a", "/"):
        assert limited_by(path) == counted_by(path) == ""
