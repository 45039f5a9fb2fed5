"""``multipaxos verify``: seeds under the simulator, and the replay of one of them.

Knows nothing of what is checked: ``sim/checkers.py`` and ``sim/history.py``. Read ``sim/world.py`` for what a seed is.
"""

from pathlib import Path

import typer

app = typer.Typer(
    name="verify",
    no_args_is_help=True,
    help="Run the simulator: many seeds, or one of them again.",
    add_completion=False,
)

FAILED = 1
WRONG_USAGE = 2


@app.command()
def seeds(
    start: int = typer.Option(0, help="First seed."),
    count: int = typer.Option(300, min=1, help="How many seeds."),
    seed: int = typer.Option(-1, help="Only this one."),
    jobs: int = typer.Option(1, min=1, help="Processes side by side."),
    plain: bool = typer.Option(False, help="The core alone, without service and ZooKeeper clients."),
    failures: Path | None = typer.Option(None, help="Folder for a small file of each seed that fails."),
) -> None:
    """Run random worlds: faults, then healing. Prints what happened in them; exit code 1 when an invariant broke."""
    from multipaxos.sim.campaign import run_campaign

    if seed >= 0:
        start, count = seed, 1
    report = run_campaign(start, count, plain, jobs, typer.echo, failures)
    for line in report.lines():
        typer.echo(line)
    if report.failures:
        for failed in report.failures:
            typer.echo(f"seed {failed.seed}: {failed.invariant}")
        raise typer.Exit(FAILED)


@app.command()
def replay(
    what: str = typer.Argument(help="A seed, or the file of a failure."),
    plain: bool = typer.Option(False, help="The core alone; a file knows by itself."),
    trace: Path | None = typer.Option(None, help="Write the whole run here, as multipaxos-trace/1 lines."),
) -> None:
    """Run one seed again, and say whether it is the same run."""
    from multipaxos.sim.campaign import replay as run_again

    try:
        again = run_again(what, plain, trace)
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
    if report.is_failed or again.differs:
        raise typer.Exit(FAILED)


def register(root: typer.Typer) -> None:
    """Mount the commands of this module."""
    root.add_typer(app, name="verify")
