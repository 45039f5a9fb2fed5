"""``multipaxos verify evidence``: run the long campaigns, part by part, and write what they found as a page.

Knows nothing of what the parts do: ``evidence/campaign.py`` types them, ``evidence/page.py`` reads their results.
"""

import json
import os
from pathlib import Path

import typer

FAILED = 1


def evidence(
    run: bool = typer.Option(
        False, "--run", help="Run what is not done yet for this code; may be stopped at any time."
    ),
    seeds: int = typer.Option(100_000, min=0, help="Seeds of the campaign."),
    torture_seconds: int = typer.Option(180, min=10, help="Length of each run on real processes."),
    only: list[str] = typer.Option([], help="Only parts of this kind: explore, storage, mutants, torture, seeds, ..."),
    jobs: int = typer.Option(os.cpu_count() or 1, min=1, help="Processes side by side."),
    results: Path = typer.Option(Path("evidence"), help="Folder of the results."),
    out: Path | None = typer.Option(None, help="Write the page here."),
    tests: Path | None = typer.Option(None, help="Take in what the tests wrote to MULTIPAXOS_PARTS."),
) -> None:
    """Run the long campaigns where they stopped, and write docs/evidence.md from what they found."""
    from multipaxos.evidence.campaign import parts, run_part
    from multipaxos.evidence.page import hashes, page
    from multipaxos.evidence.store import Store

    store = Store(results)
    typer.echo(hashes())
    if tests is not None:
        store.add("tests", "parts", json.loads(tests.read_text()))
    is_well = True
    if run:
        for part in parts(results, jobs, seeds, torture_seconds):
            if not only or part.kind in only:
                is_well = run_part(part, store, typer.echo) and is_well
    if out is not None:
        out.write_text(page(store))
        typer.echo(f"written: {out}")
    if not is_well:
        raise typer.Exit(FAILED)


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command()(evidence)
