"""``multipaxos verify``: mounts the commands that look for bugs, and has those of the simulator: ``seeds`` and ``replay``.

Knows nothing of what is checked: ``sim/checkers.py`` and ``sim/history.py``. Read ``sim/world.py`` for what a seed is.
"""

import json
from pathlib import Path

import typer

from multipaxos.cli import verify_evidence, verify_explore, verify_mutants, verify_storage, verify_torture

app = typer.Typer(
    name="verify",
    no_args_is_help=True,
    help="Look for bugs: every schedule of small worlds, random worlds under faults, known bugs, real processes.",
    add_completion=False,
)

FAILED = 1
WRONG_USAGE = 2

SEEDS_PER_PIECE = 250
"""A campaign with results is kept in pieces of so many seeds: what is lost when it is stopped is at most one piece."""


@app.command()
def seeds(
    start: int = typer.Option(0, help="First seed."),
    count: int = typer.Option(300, min=1, help="How many seeds."),
    seed: int = typer.Option(-1, help="Only this one."),
    jobs: int = typer.Option(1, min=1, help="Processes side by side."),
    plain: bool = typer.Option(False, help="The core alone, without service and ZooKeeper clients."),
    failures: Path | None = typer.Option(None, help="Folder for each seed that fails, shrunk, with its trace."),
    shrink: float = typer.Option(60.0, min=0.0, help="Seconds a failing seed is shrunk; with --failures."),
    results: Path | None = typer.Option(None, help="Folder that keeps results; seeds in it are not run again."),
    as_json: bool = typer.Option(False, "--json", help="End with one JSON object on the last line."),
) -> None:
    """Run random worlds: faults, then healing. Prints what happened in them; exit code 1 when an invariant broke."""
    from multipaxos.evidence.store import Store
    from multipaxos.sim.campaign import CampaignReport, run_campaign

    if seed >= 0:
        start, count = seed, 1
    if results is None:
        report = run_campaign(start, count, plain, jobs, typer.echo, failures, shrink)
    else:
        store = Store(results)
        kind = "plain-seeds" if plain else "seeds"
        report = CampaignReport()
        for first in range(start, start + count, SEEDS_PER_PIECE):
            size = min(SEEDS_PER_PIECE, start + count - first)
            key = f"{first}-{first + size - 1}"
            done = store.results(kind).get(key)
            if done is None:
                piece = run_campaign(first, size, plain, jobs, typer.echo, failures, shrink)
                done = piece.value()
                store.add(kind, key, done)
            report.merge(done)
            typer.echo(f"seeds up to {first + size - 1}: {report.violations} violations in {report.seeds}")
    for line in report.lines():
        typer.echo(line)
    for failed in report.failures:
        typer.echo(f"seed {failed.seed}: {failed.invariant}")
    if as_json:
        value = report.value()
        del value["sums"]
        typer.echo(json.dumps(value))
    if report.violations:
        raise typer.Exit(FAILED)


@app.command()
def replay(
    what: str = typer.Argument(help="A seed, or the file of a failure."),
    plain: bool = typer.Option(False, help="The core alone; a file knows by itself."),
    original: bool = typer.Option(False, help="Of a file: the world that failed first, not the shrunk one."),
    trace: Path | None = typer.Option(None, help="Write the whole run here, as multipaxos-trace/1 lines."),
    as_json: bool = typer.Option(False, "--json", help="End with one JSON object on the last line."),
) -> None:
    """Run one seed again, and say whether it is the same run."""
    from multipaxos.sim.campaign import replay as run_again

    try:
        again = run_again(what, plain, trace, original)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from error
    report = again.report
    if report.is_failed:
        typer.echo(f"seed {report.seed} violates {report.invariant}: {report.text}")
    else:
        typer.echo(f"seed {report.seed} ends well")
    typer.echo(f"{report.counts['steps']} steps, digest {again.digest}")
    if again.differs:
        typer.echo(f"not the same run: {again.differs}")
    if trace is not None:
        typer.echo(f"trace: {trace}")
    if as_json:
        value = {
            "seed": report.seed,
            "violations": int(report.is_failed),
            "invariant": report.invariant,
            "text": report.text,
            "steps": report.counts["steps"],
            "digest": again.digest,
            "differs": again.differs,
        }
        typer.echo(json.dumps(value))
    if report.is_failed or again.differs:
        raise typer.Exit(FAILED)


verify_explore.register(app)
verify_mutants.register(app)
verify_storage.register(app)
verify_torture.register(app)
verify_evidence.register(app)


def register(root: typer.Typer) -> None:
    """Mount the commands of this module."""
    root.add_typer(app, name="verify")
