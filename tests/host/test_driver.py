"""The driver with real threads: what waits for the disk, what a failure stops, what a turn carries out."""

import asyncio
import gc
import struct
from pathlib import Path

from one_replica import PATIENCE_S, QUICK, OneReplica, until

from multipaxos.core.ballot import NO_BALLOT, ballot_of
from multipaxos.core.decree import NOOP
from multipaxos.core.messages import Accept, Accepted, Fetch, Learn, Nack, Prepare, Probe, ProbeAnswer, Promise
from multipaxos.core.settings import MILLISECOND_NS, Settings
from multipaxos.storage.identity import DataDirectory

PATIENT = Settings(election_min_ns=60_000 * MILLISECOND_NS, election_max_ns=60_000 * MILLISECOND_NS)
"""Never suspects anybody while a test runs."""

CONNECT = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)
SET_ROOT = struct.pack(">iii", 8 + 4 + 1 + 4 + 1 + 4, 1, 5) + struct.pack(">i1si1si", 1, b"/", 1, b"x", -1)


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(size)


async def attached(one: OneReplica) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client connection with a session."""
    await until(lambda: one.driver.is_listening, "clients are let in")
    reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
    writer.write(CONNECT)
    await read_frame(reader)
    return reader, writer


def test_a_hung_disk_lets_no_promise_and_no_vote_leave(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 3, PATIENT) as one:
            one.disk.gate.clear()
            ballot = ballot_of(1, 2)
            prepare = Prepare(2, ballot, 1, 0, NO_BALLOT)
            accept = Accept(2, ballot, 2, NOOP, 0)
            one.driver.on_messages(2, [prepare, accept])
            await until(lambda: one.replica.promised == ballot, "the promise is raised in memory")
            # The tenth repeat writes nothing, and waits like the first (rule-R33).
            for _ in range(10):
                turns = one.driver.turns
                one.driver.on_messages(2, [prepare, accept])
                await until(lambda seen=turns: one.driver.turns > seen, "a turn takes the repeat")  # type: ignore[misc]
            # A nack is a hint and may leave; that it does shows that messages do.
            one.driver.on_messages(3, [Prepare(3, ballot_of(0, 3), 1, 0, NO_BALLOT)])
            await until(lambda: len(one.peers.of_kind(Nack)) == 1, "the nack leaves")
            await asyncio.sleep(0.2)  # nothing to wait for: what must not happen gets its chance
            assert one.peers.of_kind(Promise, Accepted) == []
            assert one.driver.journal_thread.oldest_write_at > 0
            one.disk.gate.set()
            await until(lambda: len(one.peers.of_kind(Promise, Accepted)) == 22, "all leave once the disk has them")
            assert one.driver.journal_thread.oldest_write_at == 0

    asyncio.run(body())


def test_a_hung_disk_lets_no_prepare_leave(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 3, QUICK) as one:
            one.disk.gate.clear()
            # The probe raises no ballot, so it needs no disk; both peers would promise.
            await until(lambda: bool(one.peers.of_kind(Probe)), "it probes")
            while one.replica.standing != "candidate":
                for peer in (2, 3):
                    probes = one.peers.of_kind(Probe)
                    number = probes[-1].number if isinstance(probes[-1], Probe) else 0
                    one.driver.on_messages(peer, [ProbeAnswer(peer, number, True, NO_BALLOT, NO_BALLOT, 0)])
                await asyncio.sleep(0.002)
            ballot = one.replica.promised
            assert ballot > NO_BALLOT
            await asyncio.sleep(0.1)  # several retries of the prepare
            assert one.peers.of_kind(Prepare) == []
            one.disk.gate.set()
            await until(lambda: bool(one.peers.of_kind(Prepare)), "prepares leave once the ballot is durable")

    asyncio.run(body())


def test_a_hung_disk_lets_no_reply_leave(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 1) as one:
            reader, writer = await attached(one)
            writer.write(SET_ROOT)
            xid, zxid, error = struct.unpack(">iqi", (await read_frame(reader))[:16])
            assert (xid, error) == (1, 0) and zxid > 0
            one.disk.gate.clear()
            position = one.journal.appended
            writer.write(SET_ROOT)
            await until(lambda: one.journal.appended > position, "the write is in the journal's memory")
            answer = asyncio.ensure_future(read_frame(reader))
            await asyncio.sleep(0.2)  # nothing to wait for: what must not happen gets its chance
            assert not answer.done()
            one.disk.gate.set()
            assert struct.unpack(">iqi", (await answer)[:16])[2] == 0
            writer.close()

    asyncio.run(body())


def test_a_failed_sync_stops_the_replica_at_once(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 3, PATIENT) as one:
            one.disk.is_broken = True
            one.driver.on_messages(2, [Prepare(2, ballot_of(1, 2), 1, 0, NO_BALLOT)])
            stopped = await asyncio.wait_for(one.driver.stopped, PATIENCE_S)
            assert stopped.is_failure
            assert "broken on purpose" in stopped.reason and "Check the disk" in stopped.reason
            assert one.peers.of_kind(Promise) == []
            turns = one.driver.turns
            one.driver.on_messages(2, [Prepare(2, ballot_of(1, 2), 1, 0, NO_BALLOT)])
            await asyncio.sleep(0.05)
            assert one.driver.turns == turns, "no turn runs after the failure"

    asyncio.run(body())


def test_a_restart_goes_on_where_it_ended(tmp_path: Path) -> None:
    async def body() -> None:
        for round_number in range(3):
            async with OneReplica(tmp_path, 1) as one:
                reader, writer = await attached(one)
                writer.write(SET_ROOT)
                assert struct.unpack(">iqi", (await read_frame(reader))[:16])[2] == 0
                writer.close()
                assert one.service.machine.epoch == round_number + 1
                assert one.directory.incarnation == round_number + 1
        assert DataDirectory.look(str(tmp_path / "replica-1")) == "used"

    asyncio.run(body())


def test_a_defect_stops_the_replica(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 3, PATIENT) as one:
            # No journal can write this; the codec refuses it long before it gets so far.
            one.driver.on_messages(2, [Accept(2, ballot_of(1, 2), 2, None, 0)])  # type: ignore[arg-type]
            stopped = await asyncio.wait_for(one.driver.stopped, PATIENCE_S)
            assert stopped.is_failure and "a defect" in stopped.reason

    asyncio.run(body())


def test_a_laggard_is_answered_from_the_journal(tmp_path: Path) -> None:
    async def body() -> None:
        forgetful = Settings(ledger_bytes_max=1)
        async with OneReplica(tmp_path, 1, forgetful) as one:
            reader, writer = await attached(one)
            for _ in range(5):
                writer.write(SET_ROOT)
                await read_frame(reader)
            prefix = one.replica.chosen_prefix
            assert one.replica.ledger.base == prefix, "memory has let all go"
            one.driver.on_messages(2, [Fetch(2, 1, prefix, ())])
            await until(lambda: bool(one.peers.of_kind(Learn)), "the answer is read back")
            learn = one.peers.of_kind(Learn)[0]
            assert isinstance(learn, Learn)
            assert [slot for slot, _, _ in learn.items] == list(range(1, prefix + 1))
            assert all(decree for _, _, decree in learn.items)
            assert one.peers.sent[-1][0] == 2
            writer.close()

    asyncio.run(body())


def test_refused_by_one_peer_is_trouble_by_a_quorum_the_end(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 3, PATIENT) as one:
            one.driver.on_refused(2, "the data directory of replica 1 was emptied")
            assert not one.driver.stopped.done()
            one.driver.on_refused(2, "the data directory of replica 1 was emptied")
            assert not one.driver.stopped.done()
            one.driver.on_refused(3, "the data directory of replica 1 was emptied")
            stopped = await asyncio.wait_for(one.driver.stopped, PATIENCE_S)
            assert stopped.is_failure
            assert stopped.reason == "refused by replicas 2, 3: the data directory of replica 1 was emptied"

    asyncio.run(body())


def test_a_peer_that_took_us_in_again_refuses_no_more(tmp_path: Path) -> None:
    async def body() -> None:
        async with OneReplica(tmp_path, 3, PATIENT) as one:
            one.driver.on_refused(2, "not yet")
            one.driver.peer_up(2)
            one.driver.on_refused(3, "not yet")
            await asyncio.sleep(0)
            assert not one.driver.stopped.done()

    asyncio.run(body())


def test_writes_leave_no_cycles_for_the_collector(tmp_path: Path) -> None:
    """The collector is off on the hot path (``host/collector.py``): what a write makes must be freed by reference counts."""

    async def body() -> None:
        async with OneReplica(tmp_path, 1) as one:
            reader, writer = await attached(one)

            async def writes(count: int) -> None:
                writer.write(SET_ROOT * count)
                for _ in range(count):
                    await read_frame(reader)

            await writes(100)
            gc.collect()
            gc.disable()
            try:
                await writes(1000)
                # The test's own streams and timers make a few; a cycle per write would be a thousand.
                assert gc.collect() < 500
            finally:
                gc.enable()
            writer.close()

    asyncio.run(body())
