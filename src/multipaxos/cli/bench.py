"""``multipaxos bench``: load on a cluster, ours or another that speaks the protocol, and what it measured.

Only options and words; the work is done by ``bench/``.
"""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import typer

from multipaxos.bench.cluster import OwnCluster, choose_folder, read_cluster
from multipaxos.bench.load import OPERATIONS, BenchError, LoadResult, LoadSettings
from multipaxos.bench.machine import FilesystemProbe, probe_filesystem
from multipaxos.bench.table import (
    Table,
    markdown_memory,
    markdown_page,
    markdown_rows,
    measure_memory,
    run_repeated,
    run_rows,
)
from multipaxos.client.addresses import CONNECT_VARIABLE, Address, address_text, parse_addresses

DATA_DEFAULT = "multipaxos-data"
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
_MIB = 2**20


class Target:
    """The cluster under load."""

    __slots__ = ("addresses", "disk", "processes")

    def __init__(self, addresses: list[Address], processes: dict[int, int], disk: FilesystemProbe | None) -> None:
        self.addresses = addresses
        self.processes = processes  # by replica id, or numbered from 1 where only --pids was given
        self.disk = disk

    @property
    def pids(self) -> list[int]:
        """Process ids of the servers."""
        return list(self.processes.values())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _given_target(connect: str | None, cluster: str | None, pids: str | None) -> Target | None:
    """The cluster that the options name; None when they name none."""
    listed: dict[int, int] = {}
    if pids is not None:
        try:
            listed = {number: int(pid) for number, pid in enumerate(pids.split(","), 1)}
        except ValueError:
            raise typer.BadParameter("write process ids as 123,124,125", param_hint="--pids") from None
        if connect is None and cluster is None:
            raise typer.BadParameter("say with --connect where these processes listen", param_hint="--pids")
    if cluster is not None:
        addresses, processes = read_cluster(cluster)
        if connect is not None:
            raise typer.BadParameter("give --connect or --cluster, not both", param_hint="--connect")
        if not processes:
            raise BenchError(
                f"the cluster in {cluster} does not run; start it with: multipaxos cluster --data {cluster}"
            )
        return Target(addresses, listed or processes, probe_filesystem(cluster))
    if connect is None:
        return None
    try:
        addresses = parse_addresses(connect)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--connect") from None
    if not listed and os.path.exists(os.path.join(DATA_DEFAULT, "cluster.json")):
        known, processes = read_cluster(DATA_DEFAULT)
        if set(known) == set(addresses):
            return Target(addresses, processes, probe_filesystem(DATA_DEFAULT))
    return Target(addresses, listed, None)


@contextlib.contextmanager
def _own_target(temp: str | None) -> Iterator[Target]:
    folder = choose_folder(temp)
    with OwnCluster(folder, _say) as own:
        yield Target(own.addresses, own.processes, probe_filesystem(own.folder))


@contextlib.contextmanager
def _target(given: Target | None, temp: str | None) -> Iterator[Target]:
    if given is not None:
        yield given
    else:
        with _own_target(temp) as target:
            yield target


def _as_text(result: LoadResult, target: Target) -> str:
    settings = result.settings
    replicas = {pid: replica for replica, pid in target.processes.items()}
    lines = [
        f"{settings.operation}: {settings.sessions} sessions x {settings.depth} in flight, {settings.size} bytes, "
        f"{result.seconds:.1f} s, {len(target.addresses)} replicas ({', '.join(map(address_text, target.addresses))})",
        f"  disk           {'not known' if target.disk is None else target.disk.text()}",
        f"  operations     {result.operations_per_second:,.0f} /s",
        f"  latency        p50 {result.latency_ms(0.5):.3f} ms, p99 {result.latency_ms(0.99):.3f} ms, "
        f"p99.9 {result.latency_ms(0.999):.3f} ms, largest {result.histogram.largest / 1e6:.3f} ms",
        f"  errors         {', '.join(f'{name}: {count}' for name, count in result.errors.items()) or 'none'}",
    ]
    if result.server_cpu_us is None:
        lines.append("  server CPU     not known (give --cluster DIR or --pids)")
    else:
        each = ", ".join(
            f"replica {replicas[pid]} {(after.cpu_seconds - before.cpu_seconds) * 1e6 / result.operations:.1f}"
            for pid, (before, after) in result.processes.items()
        )
        lines.append(f"  server CPU     {result.server_cpu_us:.1f} us per operation ({each})")
    lines.append(f"  generator CPU  {result.generator_cpu_us:.2f} us per operation")
    if result.processes:
        memory = ", ".join(
            f"replica {replicas[pid]} {after.rss_bytes / _MIB:.1f} MiB" for pid, (_, after) in result.processes.items()
        )
        lines.append(f"  memory (RSS)   {memory}")
    return "\n".join(lines)


def _run_once(settings: LoadSettings, repeat: int, target: Target, is_json: bool) -> int:
    result = run_repeated(target.addresses, settings, target.pids, repeat, _say)
    if is_json:
        value: dict[str, Any] = result.as_json()
        value["disk"] = None if target.disk is None else target.disk.as_json()
        value["repeat"] = repeat
        print(json.dumps(value))
    else:
        print(_as_text(result, target))
    return FAILED if result.errors or not result.operations else 0


def _run_table(
    settings: LoadSettings, repeat: int, given: Target | None, temp: str | None, out: str | None, is_json: bool
) -> int:
    from multipaxos.cli.main import version_text

    command = shlex.join(["multipaxos", *sys.argv[1:]])
    with _target(given, temp) as target:
        table = Table(command, version_text(), repeat, target.disk)
        table.rows = run_rows(target.addresses, settings, target.pids, repeat, _say)
    # A fresh cluster for the memory, where it is ours: what the load left behind would be counted otherwise.
    with _target(given, temp) as target:
        if target.processes:
            table.is_memory_fresh = given is None
            table.memory = measure_memory(target.addresses, target.processes, _say)
    if out is not None:
        with open(out, "w", encoding="utf-8") as file:
            file.write(markdown_page(table))
        _say(f"written to {out}")
    if is_json:
        print(json.dumps(table.as_json()))
    elif out is None:
        if table.disk is not None:
            print(f"disk: {table.disk.text()}\n")
        print(markdown_rows(table.rows))
        if table.memory is not None:
            print(f"\nmemory with {table.memory.znodes} znodes of {table.memory.size} bytes:\n")
            print(markdown_memory(table.memory))
    return FAILED if any(row.errors or not row.operations for row in table.rows) else 0


def register(app: typer.Typer) -> None:
    """Mounts ``bench``."""

    @app.command()
    def bench(
        connect: str | None = typer.Option(
            None,
            envvar=CONNECT_VARIABLE,
            help="Where the cluster is: host:port,...",
            show_default="three durable replicas of its own, in a temporary folder",
        ),
        sessions: int = typer.Option(64, min=1, max=10_000, help="Sessions, spread over all replicas."),
        depth: int = typer.Option(4, min=1, max=10_000, help="Requests each session keeps in flight."),
        op: str = typer.Option("set", help=f"One of {', '.join(OPERATIONS)}; mixed is nine gets to one set."),
        size: int = typer.Option(100, min=0, max=1_000_000, help="Bytes of a value."),
        seconds: float = typer.Option(10.0, min=0.1, help="How long to measure."),
        warmup: float = typer.Option(2.0, min=0.0, help="Seconds of load before measuring."),
        repeat: int = typer.Option(1, min=1, max=99, help="Run so many times and report the run in the middle."),
        cluster: str | None = typer.Option(
            None, help="Folder of a local cluster that runs: addresses and processes are read there."
        ),
        pids: str | None = typer.Option(None, help="Process ids of the servers, 1,2,3, to count their processor time."),
        temp: str | None = typer.Option(None, help="Where the temporary folder is made; must be on a disk."),
        table: bool = typer.Option(
            False,
            "--table",
            help="Measure 1x1, 16x1, 64x4 and 64x64 for set and get, and memory; print a markdown table.",
        ),
        out: str | None = typer.Option(None, help="With --table: write the whole page to this file."),
        is_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
    ) -> None:
        """Measure a cluster: operations per second, latency, processor time and memory."""
        if op not in OPERATIONS:
            raise typer.BadParameter(f"{op!r} is none of {', '.join(OPERATIONS)}", param_hint="--op")
        if out is not None and not table:
            raise typer.BadParameter("goes with --table", param_hint="--out")
        settings = LoadSettings(op, sessions, depth, size, seconds, warmup)
        try:
            given = _given_target(connect, cluster, pids)
            if table:
                code = _run_table(settings, repeat, given, temp, out, is_json)
            else:
                with _target(given, temp) as target:
                    code = _run_once(settings, repeat, target, is_json)
        except (BenchError, OSError) as error:
            _say(f"error: {error}")
            if is_json:
                print(json.dumps({"error": str(error)}))
            code = FAILED
        except KeyboardInterrupt:
            _say("interrupted")
            code = INTERRUPTED
        raise typer.Exit(code)
