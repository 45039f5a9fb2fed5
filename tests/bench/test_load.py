"""Load against a fake cluster: what is counted as done, as failed, and what is left behind."""

import asyncio

import pytest
from fake_cluster import Failed, FakeCluster, FakeConnection, fake_cluster

from multipaxos.bench import load as module
from multipaxos.bench.load import BenchError, LoadResult, LoadSettings, run_load
from multipaxos.bench.machine import ProcessSample
from multipaxos.client import parse_addresses
from multipaxos.wire import zookeeper as zk


def run_against(settings: LoadSettings, servers: int = 3) -> tuple[LoadResult, FakeCluster]:
    """Run a load and return what came out, and the cluster afterwards."""

    async def run() -> tuple[LoadResult, FakeCluster]:
        async with fake_cluster(servers) as cluster:
            return await run_load(parse_addresses(cluster.connect), settings), cluster

    return asyncio.run(run())


@pytest.mark.parametrize("operation", ["set", "get", "mixed", "create"])
@pytest.mark.parametrize(("sessions", "depth"), [(1, 1), (5, 40)])
def test_every_operation_is_counted_once(operation: str, sessions: int, depth: int) -> None:
    result, cluster = run_against(LoadSettings(operation, sessions, depth, size=10, count=1000, warmup_seconds=0))
    assert result.operations == 1000
    assert result.histogram.total == 1000
    assert result.errors == {}
    opcode = {"set": zk.OP_SET_DATA, "get": zk.OP_GET_DATA, "create": zk.OP_CREATE}.get(operation)
    if opcode == zk.OP_SET_DATA:
        assert cluster.opcodes().count(opcode) == 1000
    if operation == "mixed":
        assert cluster.opcodes().count(zk.OP_GET_DATA) + cluster.opcodes().count(zk.OP_SET_DATA) == 1000
        assert 850 < cluster.opcodes().count(zk.OP_GET_DATA) < 950
    assert list(cluster.nodes) == ["/"]
    assert cluster.sessions == {}
    if sessions >= 3:
        assert {index for index, _ in cluster.log} == {0, 1, 2}


def test_a_run_by_time_reports_every_second_and_percentiles() -> None:
    result, _ = run_against(LoadSettings("set", 2, 2, size=10, seconds=0.2, warmup_seconds=0.05))
    assert result.operations > 0
    assert 0.19 < result.seconds < 5
    value = result.as_json()
    assert value["p50_ms"] <= value["p99_ms"] <= value["p999_ms"] <= value["max_ms"]  # type: ignore[operator]
    assert value["ops_per_second"] == pytest.approx(result.operations / result.seconds, rel=0.01)
    assert value["server_cpu_us_per_op"] is None
    assert result.generator_cpu_us > 0


def test_znodes_are_kept_when_wanted() -> None:
    _, cluster = run_against(LoadSettings("create", 2, 5, size=3, count=50, warmup_seconds=0, keep=True))
    made = [node for path, node in cluster.nodes.items() if "/n-" in path]
    assert len(made) == 50
    assert {len(node.data or b"") for node in made} == {3}


def test_error_replies_and_lost_connections_are_no_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses some requests and cuts a connection: neither counts, and the load goes on."""
    monkeypatch.setattr(module, "_RECONNECT_SECONDS", 0.0)
    asked = 0
    original = FakeCluster.write

    def write(self: FakeCluster, opcode: int, request: "zk.Request | None", session: int) -> tuple[int, bytes]:
        nonlocal asked
        if opcode == zk.OP_SET_DATA:
            asked += 1
            if asked % 10 == 0:
                raise Failed(zk.ERR_BAD_VERSION)
            if asked == 105:
                self.drop_after = {zk.OP_SET_DATA}
        return original(self, opcode, request, session)

    monkeypatch.setattr(FakeCluster, "write", write)
    result, cluster = run_against(LoadSettings("set", 3, 8, size=10, count=500, warmup_seconds=0))
    lost = result.errors["connection lost"]
    assert 1 <= lost <= 8
    assert 40 <= result.errors["code -103"] <= 50
    assert result.operations == 500 - lost - result.errors["code -103"]
    assert list(cluster.nodes) == ["/"]


def test_replies_in_pieces_and_events_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies cut at any byte, with a ping's reply and an event among them, are read all the same."""
    kept = bytearray()

    def write(self: FakeConnection, data: bytes) -> None:
        if self.transport is None:
            return
        if not self.session or zk.OP_SET_DATA not in self.cluster.opcodes():
            self.transport.write(data)
            return
        extra = zk.reply_frame(zk.XID_PING, 1, 0) + zk.event_frame(2, 3, "/x")
        for cut in (data[:7], data[7:19], data[19:] + extra[:5], extra[5:]):
            self.transport.write(cut)
        kept.extend(data)

    monkeypatch.setattr(FakeConnection, "write", write)
    result, _ = run_against(LoadSettings("set", 2, 3, size=10, count=300, warmup_seconds=0))
    assert (result.operations, result.errors) == (300, {})
    assert kept


def test_many_replies_in_one_read_are_checked_by_column_and_singly_alike() -> None:
    """The quick way gives up on anything out of place, and counts exactly the well-formed run in front of a boundary."""
    settings = LoadSettings("set", 1, 1, size=10)
    load = module._Load([("127.0.0.1", 1)], settings, "/x")
    plan = module._Plan("set", "/x/s", 10)
    size = plan.reply_bytes
    stat = zk.write_stat(zk.Stat(*range(11)))

    def session() -> module._Session:
        return module._Session(load, 0, plan)

    good = b"".join(zk.reply_frame(256 + number, number, 0, stat) for number in range(300))
    fresh = session()
    assert fresh._all_well(good, size) == 256
    assert fresh._xid_due == 512
    assert fresh._scan(good, 256 * size) == 44
    assert session()._all_well(good[: 10 * size + 5], size) == 10
    for position in (2, 3, 6, 7, 18, 19):
        bad = bytearray(good[: 10 * size])
        bad[4 * size + position] ^= 1
        assert session()._all_well(bytes(bad), size) == 0
    broken = bytearray(good[: 10 * size])
    broken[4 * size + 7] ^= 1
    assert session()._scan(bytes(broken), 0) == 4
    assert load.errors == {"reply out of order": 0}


def test_xids_turn_over() -> None:
    assert module._xid_after(256) == 257
    assert module._xid_after(0x7FFFFFFF) == 256


def test_sessions_that_cannot_be_opened_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECONNECT_SECONDS", 0.01)

    async def run() -> None:
        async with fake_cluster() as cluster:
            cluster.servers[0].hangs_up = True
            settings = LoadSettings("set", 2, 1, size=10, connect_seconds=0.2)
            load = module._Load(parse_addresses(cluster.connect), settings, "/x")
            with pytest.raises(BenchError, match=r"only 0 of 2 sessions could be opened at 127.0.0.1"):
                await load.connect()
            await load.stop()

    asyncio.run(run())


def test_nodes_that_cannot_be_made_are_a_bench_error() -> None:
    async def run() -> None:
        def refuse(*arguments: object) -> str:
            raise Failed(zk.ERR_NO_AUTH)

        async with fake_cluster() as cluster:
            cluster.create = refuse  # type: ignore[method-assign, assignment]
            with pytest.raises(BenchError, match="access list"):
                await run_load(parse_addresses(cluster.connect), LoadSettings(seconds=0.1))

    asyncio.run(run())


def test_processor_time_per_operation_is_of_all_servers() -> None:
    result = LoadResult(LoadSettings(), ["a:1"], seconds=2.0, operations=1000)
    result.processes = {
        1: (ProcessSample(1.0, 10), ProcessSample(1.5, 20)),
        2: (ProcessSample(0.0, 10), ProcessSample(0.25, 30)),
    }
    assert result.server_cpu_us == pytest.approx(750.0)
    assert result.operations_per_second == 500
    assert LoadResult(LoadSettings(), []).operations_per_second == 0
    assert LoadResult(LoadSettings(), []).server_cpu_us is None
