"""The table of a release: four loads for set and get, and what 100 000 znodes weigh, as markdown that says how it was
made.

Knows nothing of sockets: `load.py` measures, this lays out.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from multipaxos.bench.load import LoadResult, LoadSettings, run_load, run_on_loop
from multipaxos.bench.machine import FilesystemProbe, describe_machine
from multipaxos.client import Address

LOADS = ((1, 1), (16, 1), (64, 4), (64, 64))
TABLE_OPERATIONS = ("set", "get")
MEMORY_ZNODES = 100_000
MEMORY_BYTES = 100
_FILL_SESSIONS = 16
_FILL_DEPTH = 16
_MIB = 2**20

_READING = """\
A set is answered when a majority has it on disk and the replica that was asked has applied it. A get is answered by the
replica that was asked. Latency is from handing the request to the socket to having read its reply, for every request of
the run. The load is closed: each session keeps that many requests in flight and sends the next one when a reply comes, so
a stall shows in the largest latencies, and costs throughput rather than queueing. Server CPU is user and system time of
all replica processes together, divided by the operations."""

_READING_MEMORY = """\
Resident memory of each replica process just before the znodes are created and just after"""


@dataclass(slots=True)
class MemoryResult:
    """Resident memory of each replica before and after a tree was filled."""

    znodes: int
    size: int
    before: dict[int, int]
    after: dict[int, int]

    def as_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "znodes": self.znodes,
            "size_bytes": self.size,
            "replicas": [
                {"id": replica, "rss_before_bytes": self.before[replica], "rss_after_bytes": self.after[replica]}
                for replica in self.before
            ],
        }


@dataclass(slots=True)
class Table:
    """All that one `--table` measured."""

    command: str
    about: str
    repeat: int
    disk: FilesystemProbe | None
    rows: list[LoadResult] = field(default_factory=list)
    memory: MemoryResult | None = None
    is_memory_fresh: bool = True  # of a cluster that had done nothing before

    def as_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "command": self.command,
            "version": self.about,
            "machine": describe_machine(),
            "disk": None if self.disk is None else self.disk.as_json(),
            "repeat": self.repeat,
            "rows": [row.as_json() for row in self.rows],
            "memory": None if self.memory is None else self.memory.as_json(),
        }


def median_run(results: Sequence[LoadResult]) -> LoadResult:
    """The run in the middle by ops/s; of an even number the slower one of the middle two."""
    return sorted(results, key=lambda result: result.operations_per_second)[(len(results) - 1) // 2]


def run_repeated(
    addresses: Sequence[Address],
    settings: LoadSettings,
    pids: Sequence[int],
    repeat: int,
    say: Callable[[str], None],
) -> LoadResult:
    """Run a load ``repeat`` times and return the run in the middle."""
    results: list[LoadResult] = []
    for number in range(repeat):
        if repeat > 1:
            say(f"run {number + 1} of {repeat}")
        results.append(run_on_loop(run_load(addresses, settings, pids, say)))
    return median_run(results)


def run_rows(
    addresses: Sequence[Address],
    settings: LoadSettings,
    pids: Sequence[int],
    repeat: int,
    say: Callable[[str], None],
) -> list[LoadResult]:
    """Every load of the table, one after the other; sessions, depth and operation of ``settings`` are replaced."""
    return [
        run_repeated(
            addresses,
            replace(settings, operation=operation, sessions=sessions, depth=depth),
            pids,
            repeat,
            say,
        )
        for operation in TABLE_OPERATIONS
        for sessions, depth in LOADS
    ]


def measure_memory(
    addresses: Sequence[Address],
    processes: Mapping[int, int],
    say: Callable[[str], None],
    znodes: int = MEMORY_ZNODES,
    size: int = MEMORY_BYTES,
) -> MemoryResult:
    """Fill a tree and compare the memory of the replicas ({id: process id}) before and after."""
    settings = LoadSettings(
        operation="create",
        sessions=_FILL_SESSIONS,
        depth=_FILL_DEPTH,
        size=size,
        count=znodes,
        warmup_seconds=0.0,
    )
    say(f"creating {znodes} znodes of {size} bytes")
    result = run_on_loop(run_load(addresses, settings, list(processes.values()), say))
    before = {replica: result.processes[pid][0].rss_bytes for replica, pid in processes.items()}
    after = {replica: result.processes[pid][1].rss_bytes for replica, pid in processes.items()}
    return MemoryResult(result.operations, size, before, after)


def row_cells(result: LoadResult) -> list[str]:
    """One row of the table."""
    server = result.server_cpu_us
    return [
        f"{result.settings.sessions} x {result.settings.depth}",
        result.settings.operation,
        f"{result.operations_per_second:,.0f}",
        f"{result.latency_ms(0.5):.2f}",
        f"{result.latency_ms(0.99):.2f}",
        f"{result.latency_ms(0.999):.2f}",
        "-" if server is None else f"{server:.1f}",
        f"{result.generator_cpu_us:.1f}",
        str(sum(result.errors.values())),
    ]


HEADINGS = (
    "sessions x in flight",
    "op",
    "ops/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server CPU us/op",
    "generator CPU us/op",
    "errors",
)


def markdown_rows(rows: Sequence[LoadResult]) -> str:
    """The table itself."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "| --- | --- |" + " ---: |" * (len(HEADINGS) - 2)]
    lines += ["| " + " | ".join(row_cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def markdown_memory(memory: MemoryResult) -> str:
    """Memory of each replica."""
    lines = [
        "| replica | RSS before, MiB | RSS after, MiB | bytes per znode |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for replica, before in memory.before.items():
        after = memory.after[replica]
        each = (after - before) / memory.znodes if memory.znodes else 0.0
        lines.append(f"| {replica} | {before / _MIB:.1f} | {after / _MIB:.1f} | {each:.0f} |")
    return "\n".join(lines)


def markdown_page(table: Table) -> str:
    """The whole page, ready for docs/performance.md."""
    machine = describe_machine()
    settings = table.rows[0].settings
    replicas = len(table.rows[0].replicas)
    runs = "one run each" if table.repeat == 1 else f"the median of {table.repeat} runs each"
    disk = "not known: the servers were not started by the command" if table.disk is None else table.disk.text()
    parts = [
        "# Performance",
        "Every number on this page was measured by one command, on the machine described here, and written by it:",
        f"    {table.command}",
        "\n".join(
            [
                f"- software: {table.about}",
                f"- measured on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {runs}, "
                f"{settings.seconds:g} s after {settings.warmup_seconds:g} s of warming up",
                f"- machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
                f"{machine['system']}, {machine['python']}",
                f"- disk: {disk}",
                f"- {replicas} {'replica' if replicas == 1 else 'replicas'}"
                + (", on this machine with the load generator, sharing its cores" if table.rows[0].processes else ""),
                f"- values of {settings.size} bytes; sessions spread evenly over all replicas",
            ]
        ),
        "## Throughput and latency",
        markdown_rows(table.rows),
        _READING,
    ]
    if table.memory is not None:
        parts += [
            f"## Memory with {table.memory.znodes:,} znodes of {table.memory.size} bytes",
            markdown_memory(table.memory),
            _READING_MEMORY + (", on a fresh cluster." if table.is_memory_fresh else "."),
        ]
    return "\n\n".join(parts) + "\n"
