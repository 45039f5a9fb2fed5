"""``multipaxos verify storage``: every small workload of the journal, crashed, torn, rotten and failed at every place.

Knows nothing of what is tried: ``sim/crashes.py``.
"""

import json

import typer

FAILED = 1


def storage(
    operations: int = typer.Option(2, min=0, help="All workloads of up to so many operations."),
    workload: list[str] = typer.Option([], help="This workload instead, by its letters; may be repeated."),
    flips: bool = typer.Option(False, help="Rot: each bit, each cut, each misplaced sector."),
    errors: bool = typer.Option(False, help="An error at each call."),
    directories: bool = typer.Option(False, help="The data directory as a whole."),
    all_kinds: bool = typer.Option(False, "--all", help="Crashes, rot, errors and directories, one after the other."),
    jobs: int = typer.Option(1, min=1, help="Processes side by side."),
    as_json: bool = typer.Option(False, "--json", help="End with one JSON object on the last line."),
) -> None:
    """Enumerate storage crashes: all subsets of what was not synced, all truncations, all bit flips, all failing calls."""
    from multipaxos.sim.crash_points import CrashOptions
    from multipaxos.sim.crashes import Enumeration, enumerate_all, look_at_directories, words

    crash = CrashOptions(is_whole=bool(workload))
    workloads = workload or words(operations)
    is_crashes = all_kinds or not (flips or errors or directories)
    kinds = Enumeration(is_crashes, flips or all_kinds, errors or all_kinds, crash)
    accounts = []
    if is_crashes or flips or errors:
        accounts.append(enumerate_all(workloads, kinds, jobs, typer.echo))
    if directories or all_kinds:
        accounts.append(look_at_directories())
    counts: dict[str, int] = {}
    violations: list[dict[str, str]] = []
    for account in accounts:
        for name, count in account.counts.items():
            counts[name] = counts.get(name, 0) + count
        violations += [{"id": identity, "text": text} for identity, text in account.violations]
        violations += [{"id": "crash", "text": text} for text in account.crashes[:5]]
    for violation in violations:
        typer.echo(f"VIOLATION of {violation['id']}: {violation['text']}")
    typer.echo(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    if as_json:
        typer.echo(json.dumps({"violations": len(violations), "found": violations, **counts}))
    if violations:
        raise typer.Exit(FAILED)


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command()(storage)
