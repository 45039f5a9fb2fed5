"""``multipaxos verify mutants``: every known bug put into a copy of the code, and whether the checkers see it.

Knows nothing of hunts and invariants: ``mutants/campaign.py``.
"""

import json
from pathlib import Path

import typer

FAILED = 1
WRONG_USAGE = 2


def mutants(
    only: list[str] = typer.Option([], help="Only these: an id (bug-A04, rule-R12, trap-T3) or a part of a name."),
    jobs: int = typer.Option(1, min=1, help="Hunts side by side."),
    is_listing: bool = typer.Option(False, "--list", help="Show what there is, and hunt nothing."),
    is_json: bool = typer.Option(False, "--json", help="The last line is everything as one object."),
    results: Path | None = typer.Option(None, help="Folder for results, by the hash of the sources: go on from there."),
) -> None:
    """Hunt known bugs, put one by one into a copy of the code. Exit code 0 when every one is seen by its invariant, or
    argued, no unmutated twin is accused, and the canary dies at once."""
    from multipaxos.mutants.campaign import run
    from multipaxos.mutants.catalogue import WAITING, named

    try:
        chosen = named(only)
    except KeyError as error:
        typer.echo(f"error: there is no mutant {error.args[0]!r}", err=True)
        raise typer.Exit(WRONG_USAGE) from error
    if is_listing:
        for mutant in chosen:
            typer.echo(f"{', '.join(mutant.ids):36} {mutant.name}: {mutant.wrong} [{', '.join(mutant.killers)}]")
        for waiting in WAITING if not only else ():
            typer.echo(f"{waiting.row:36} waits for {waiting.mechanism}")
        return
    report = run(chosen, jobs, typer.echo, results, not only)
    for line in report.lines():
        typer.echo(line)
    if is_json:
        typer.echo(json.dumps(report.value()))
    if not report.is_passed:
        raise typer.Exit(FAILED)


def register(app: typer.Typer) -> None:
    """Add the command ``mutants`` to ``app``."""
    app.command(name="mutants")(mutants)
