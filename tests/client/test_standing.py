"""What `status` makes of the answers of the replicas."""

import asyncio
from collections.abc import Callable

import pytest
from fake_cluster import fake_cluster, same_to_all, words
from skipping_loop import run_skipping

from multipaxos.client.addresses import REFUSED
from multipaxos.client.standing import Standing, ask_all, summarise, summary_text
from multipaxos.client.words import ask, parse_mntr, parse_srvr

A, B, C = ("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 3)
EPOCH_3 = 3 << 32


def leader(address: tuple[str, int] = A, zxid: int = EPOCH_3 + 9, voters: int | None = None) -> Standing:
    return Standing(address, "leader", 1, zxid, 4, 12, voters)


def follower(address: tuple[str, int] = B, zxid: int = EPOCH_3 + 9) -> Standing:
    return Standing(address, "follower", 2, zxid, 1, 12)


def down(address: tuple[str, int] = C) -> Standing:
    return Standing(address, trouble="connection refused")


def test_all_well() -> None:
    summary = summarise([follower(B), leader(), follower(C, EPOCH_3 + 2)])
    assert summary.leader == leader()
    assert (summary.voters, summary.serving, summary.survivable) == (3, 3, 1)
    assert summary.is_serving
    assert summary.disagreements == summary.advice == []
    assert summary.behind(summary.replicas[2]) == 7
    assert summary_text(summary).splitlines()[-2:] == [
        "leader 127.0.0.1:1, epoch 3; 3 of 3 replicas serve",
        "failures survivable now: 1",
    ]


def test_one_replica_down_leaves_no_failure_to_survive() -> None:
    summary = summarise([leader(), follower(), down()])
    assert summary.survivable == 0
    assert summary.is_serving
    assert "one more failure stops all writes" in summary.advice[0]
    assert "127.0.0.1:3" in summary_text(summary)
    assert "connection refused" in summary_text(summary)


def test_a_minority_is_no_cluster() -> None:
    summary = summarise([Standing(A, trouble="it runs and does not serve"), down(B), down(C)])
    assert summary.leader is None
    assert (summary.serving, summary.survivable) == (0, -2)
    assert not summary.is_serving
    assert summary.advice == ["2 of 3 replicas are needed; start those that do not answer"]
    assert "failures survivable now: none" in summary_text(summary)


def test_nobody_there_at_all() -> None:
    summary = summarise([Standing(each, trouble=REFUSED) for each in (A, B, C)])
    assert summary.advice == ["start a cluster with `multipaxos cluster`, or say where one runs with --connect"]


def test_a_majority_without_a_leader_is_electing_one() -> None:
    summary = summarise([follower(A), follower(B), down()])
    assert not summary.is_serving
    assert summary.survivable is None
    assert "election" in summary.disagreements[0]


def test_two_leaders_are_shown_as_a_disagreement_and_the_newer_one_believed() -> None:
    summary = summarise([leader(A, 2 << 32), leader(B, EPOCH_3), follower(C)])
    assert summary.leader is not None
    assert summary.leader.address == B
    assert not summary.is_serving
    assert summary.disagreements == ["2 replicas say that they lead: 127.0.0.1:2 (epoch 3), 127.0.0.1:1 (epoch 2)"]
    assert summary.behind(summary.replicas[0]) is None
    assert "an epoch" in summary_text(summary)


def test_the_number_of_voters_is_taken_from_who_knows_it() -> None:
    summary = summarise([leader(voters=5), follower(B), follower(C)])
    assert (summary.voters, summary.survivable) == (5, 0)
    summary = summarise([leader(voters=5), Standing(B, "follower", zxid=EPOCH_3, voters=3)])
    assert "count the voters differently" in summary.disagreements[0]


def test_a_leader_without_a_majority_of_the_addresses_belongs_to_a_smaller_cluster() -> None:
    summary = summarise([leader(), down(B), down(C)])
    assert summary.voters is None
    assert summary.survivable is None
    assert summary.is_serving
    assert "smaller" in summary.advice[0]
    assert "not known" in summary_text(summary)


def test_a_standalone_zookeeper_and_observers() -> None:
    alone = summarise([Standing(A, "standalone", zxid=5)])
    assert (alone.voters, alone.survivable, alone.is_serving, alone.advice) == (1, 0, True, [])
    observed = summarise([leader(), follower(), Standing(C, "observer", zxid=EPOCH_3)])
    assert (observed.voters, observed.serving, observed.survivable) == (2, 2, 0)


def test_replicas_are_asked_at_the_same_time_and_none_has_to_answer() -> None:
    async def run(skip: Callable[[float], None]) -> None:
        async with fake_cluster(5) as cluster:
            lead, follow, silent, gone, cut = cluster.servers
            lead.words = words("leader", EPOCH_3 + 5, 7, "zk_quorum_size\t5\n")
            follow.words = words("follower", EPOCH_3 + 4, 8)
            silent.is_silent = True
            await gone.stop()
            cut.words = same_to_all("This ZooKeeper instance is not currently serving requests\n")
            addresses = [("127.0.0.1", server.port) for server in cluster.servers]
            asking = asyncio.ensure_future(ask_all(addresses, 60))
            while len(asyncio.all_tasks()) < 7:
                await asyncio.sleep(0)  # until it asks all five
            while len(asyncio.all_tasks()) > 3:
                await asyncio.sleep(0.001)  # until only the silent one has not answered
            skip(60)
            summary = await asking
            troubles = [replica.trouble.partition(":")[0] for replica in summary.replicas]
            assert troubles == ["", "", "no answer within 60 s", "connection refused", "it runs and does not serve"]
            assert summary.replicas[0] == Standing(addresses[0], "leader", 7, EPOCH_3 + 5, 2, 5, 5)
            assert summary.replicas[1].id == 8
            assert (summary.voters, summary.serving, summary.survivable) == (5, 2, -1)
            value = summary.as_json()
            assert value["failures_survivable"] == -1
            assert value["leader"] == f"127.0.0.1:{lead.port}"
            assert value["replicas"][1]["behind"] == 1  # type: ignore[index]

    run_skipping(run)


def test_something_else_on_the_port_is_named() -> None:
    async def run() -> None:
        async with fake_cluster() as cluster:
            cluster.servers[0].words = same_to_all("HTTP/1.1 400 Bad Request\r\n")
            summary = await ask_all([("127.0.0.1", cluster.servers[0].port)], 20)
            assert "is this a client port?" in summary.replicas[0].trouble

    asyncio.run(run())


def test_words() -> None:
    assert parse_srvr("Zxid: 0x5\nMode: leader\nnonsense") == {"zxid": "0x5", "mode": "leader"}
    assert parse_mntr("zk_a\t1\nnonsense\nzk_b\t2\n") == {"zk_a": "1", "zk_b": "2"}
    with pytest.raises(ValueError, match="four-letter"):
        asyncio.run(ask(A, "toolong"))
