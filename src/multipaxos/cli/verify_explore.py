"""``multipaxos verify explore`` and ``anchors``: search a model for every state, and compare with what is published.

Knows nothing of models and of searching: ``explore/models.py`` has all names, ``explore/search.py`` says how it counts.
"""

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from multipaxos.explore.anchors import Anchor, Death, Run
    from multipaxos.explore.search import Result, Violation

FAILED = 1
WRONG_USAGE = 2
# A model without one of its guards is searched up to so many times the published count.
LARGER = 3


def explore(
    model: str = typer.Option("lamport-paxos", help="A name (see --list), or path/to/file.py:ClassName."),
    acceptors: int | None = typer.Option(None, min=1, help="How many; for each size the model has its own default."),
    values: int | None = typer.Option(None, min=1, help="Values that may be proposed; commands, for the core."),
    ballots: int | None = typer.Option(None, min=1, help="Ballots that may be used."),
    clients: int | None = typer.Option(None, min=1),
    servers: int | None = typer.Option(None, min=1),
    managers: int | None = typer.Option(None, min=1),
    slots: int | None = typer.Option(None, min=1),
    crashes: int | None = typer.Option(None, min=0),
    symmetry: bool | None = typer.Option(
        None, "--symmetry/--no-symmetry", help="Take states that differ by names for one."
    ),
    size: list[str] = typer.Option([], help="NAME=NUMBER: any other size, of a model from a file."),
    mutant: str = typer.Option("", help="The model with this bug."),
    only: list[str] = typer.Option([], "--property", help="Look at this property only; may be repeated."),
    jobs: int = typer.Option(1, min=1, help="Processes that share the states."),
    states_max: int = typer.Option(0, min=0, help="Stop at so many states; 0: no bound."),
    seconds_max: float = typer.Option(0.0, min=0.0, help="Stop after so long; 0: no bound."),
    depth_max: int = typer.Option(0, min=0, help="Stop when so many levels are complete; 0: no bound."),
    is_hasty: bool = typer.Option(False, "--hasty", help="Stop at the first violation, in the middle of a level."),
    is_going_on: bool = typer.Option(False, "--go-on", help="Do not stop at violations."),
    is_listing: bool = typer.Option(False, "--list", help="Show the models, their sizes and mutants."),
    is_json: bool = typer.Option(False, "--json", help="End with one JSON object on the last line."),
) -> None:
    """Search every state of a small world. Exit code 0: no violation, and the published count, where there is one and
    no bound ended the search before."""
    from multipaxos.explore.anchors import published
    from multipaxos.explore.models import build, full_sizes, maker
    from multipaxos.explore.search import Bounds, ModelError
    from multipaxos.explore.search import explore as search

    if is_listing:
        list_models()
        return
    sizes = {
        "acceptors": acceptors,
        "values": values,
        "ballots": ballots,
        "clients": clients,
        "servers": servers,
        "managers": managers,
        "slots": slots,
        "crashes": crashes,
        "is_symmetric": symmetry,
    }
    try:
        given = {name: value for name, value in sizes.items() if value is not None} | sizes_of(size)
        full = full_sizes(model, maker(model, mutant), given)
        bounds = Bounds(states_max, seconds_max, depth_max, tuple(only), not is_going_on, is_hasty)
        result = search(build(model, mutant, given), bounds, jobs, lambda line: typer.echo(line, err=True))
    except ModelError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from error
    anchor = None if mutant else published(model, full)
    differences = anchor.differences(result.unique, result.generated, result.depth) if anchor else ""
    name = f"{model} with {mutant}" if mutant else model
    typer.echo(f"{name}: {', '.join([f'{key} {value}' for key, value in full.items()])}")
    for line in [*lines_of(result, jobs), *comparison(result, anchor, differences)]:
        typer.echo(line)
    for violation in result.violations:
        for line in counter_example(violation):
            typer.echo(line)
    if is_json:
        extra = {
            "model": model,
            "mutant": mutant,
            "sizes": full,
            "jobs": jobs,
            "published": anchor.unique if anchor else None,
        }
        typer.echo(json.dumps(extra | value_of(result)))
    if result.violations or (differences and result.is_exhausted):
        raise typer.Exit(FAILED)


def sizes_of(pairs: list[str]) -> dict[str, int]:
    """``NAME=NUMBER``, each. Raises ModelError."""
    from multipaxos.explore.search import ModelError

    sizes = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if not number.isdecimal():
            raise ModelError(f"--size wants NAME=NUMBER, not {pair!r}")
        sizes[name] = int(number)
    return sizes


def list_models() -> None:
    """Every name, with its sizes and mutants."""
    from multipaxos.explore.models import MODELS, found_at, full_sizes, maker

    for name, entry in MODELS.items():
        sizes = full_sizes(name, maker(name, ""), {})
        typer.echo(f"{name}: {entry.what}")
        typer.echo(f"    sizes    {', '.join([f'{key} {value}' for key, value in sizes.items()])}")
        if entry.mutants:
            typer.echo(f"    mutants  {', '.join(found_at(entry.mutants))}")


def lines_of(result: "Result[Any]", jobs: int) -> list[str]:
    """What was seen, for people."""
    ended = "everything seen" if result.is_exhausted else f"stopped: {result.stopped}"
    beyond = f", {result.beyond:,} beyond the bounds" if result.beyond else ""
    lines = [
        f"states     {result.unique:,} unique, {result.generated:,} generated, depth {result.depth}{beyond}; {ended}",
        f"time       {result.seconds:.2f} s, {result.states_per_s:,.0f} states/s, {jobs} job{'s' if jobs > 1 else ''}",
    ]
    never = " (never: the model is too small for it)" if result.is_exhausted else " (not yet)"
    for name, count in result.sometimes.items():
        lines.append(f"sometimes  {name}: in {count:,} states{'' if count else never}")
    for name, count in result.distinct.items():
        lines.append(f"distinct   {name}: {count:,}")
    return lines


def comparison(result: "Result[Any]", anchor: "Anchor | None", differences: str) -> list[str]:
    """The published counts beside ours."""
    if anchor is None:
        return []
    verdict = f"DIFFERS: {differences}" if differences else "agrees"
    if not result.is_exhausted:
        verdict = "not compared: not everything was seen"
    return [f"published  {anchor.counts()} ({anchor.name}, {anchor.source}): {verdict}"]


def counter_example(violation: "Violation[Any]") -> list[str]:
    """A shortest way to a broken property."""
    lines = [f"VIOLATION of {violation.name}: {violation.text}; a shortest way there, {violation.depth} states:"]
    for number, step in enumerate(violation.steps, start=1):
        lines.append(f"{number:5}  {step.label or 'the beginning'}")
        lines.append(f"         {step.text}")
    return lines


def value_of(result: "Result[Any]") -> dict[str, Any]:
    """The same for programs."""
    return {
        "unique": result.unique,
        "generated": result.generated,
        "beyond": result.beyond,
        "depth": result.depth,
        "violations": len(result.violations),
        "found": [
            {"id": violation.name, "text": violation.text, "depth": violation.depth, "steps": violation.labels}
            for violation in result.violations
        ],
        "seconds": round(result.seconds, 3),
        "exhausted": result.is_exhausted,
        "stopped": result.stopped,
        "states_per_s": round(result.states_per_s),
        "sometimes": result.sometimes,
        "distinct": result.distinct,
    }


def anchors(
    is_long: bool = typer.Option(False, "--long", help="Also those that take minutes."),
    is_json: bool = typer.Option(False, "--json", help="End with one JSON object on the last line."),
) -> None:
    """Search all published models and the mutants whose end was measured, and print both figures side by side."""
    from multipaxos.explore.anchors import (
        ANCHORS,
        DEATHS,
        LONG_ANCHORS,
        LONG_WITH_MORE_BALLOTS,
        WITH_MORE_BALLOTS,
    )

    typer.echo(
        "unique / generated / depth      published                     here                          one guard removed"
    )
    counts = [compare_counts(anchor) for anchor in ANCHORS + (LONG_ANCHORS if is_long else ())]
    typer.echo("\none rule wrong                  published                       here")
    deaths = [compare_death(death) for death in DEATHS]
    typer.echo("\none rule wrong, more ballots    known                           here")
    runs = [compare_run(run) for run in WITH_MORE_BALLOTS + (LONG_WITH_MORE_BALLOTS if is_long else ())]
    if is_json:
        typer.echo(json.dumps({"anchors": counts, "deaths": deaths, "more_ballots": runs}))
    if not all(row["agrees"] for row in counts + deaths + runs):
        raise typer.Exit(FAILED)


def compare_counts(anchor: "Anchor") -> dict[str, Any]:
    """One row of the first table."""
    from multipaxos.explore.models import build
    from multipaxos.explore.search import Bounds
    from multipaxos.explore.search import explore as search

    sizes = dict(anchor.sizes)
    ours = search(build(anchor.model, "", sizes))
    other = search(
        build(anchor.model, anchor.guard, sizes), Bounds(anchor.unique * LARGER, is_stopping_at_violation=False)
    )
    differences = anchor.differences(ours.unique, ours.generated, ours.depth)
    typer.echo(
        f"{anchor.name} {anchor.model:21} {anchor.counts():29} {totals(ours):29} {anchor.guard}: {totals(other)}"
        f"{'  DIFFERS: ' if differences else ''}{differences}"
    )
    return {
        "name": anchor.name,
        "model": anchor.model,
        "sizes": sizes,
        "published": [count or None for count in (anchor.unique, anchor.generated, anchor.depth)],
        "here": [ours.unique, ours.generated, ours.depth],
        "guard": anchor.guard,
        "without_guard": [other.unique, other.generated, other.depth],
        "agrees": not differences and other.unique != ours.unique and not ours.violations,
    }


def compare_death(death: "Death") -> dict[str, Any]:
    """One row of the second table. The depth must agree; the states as well, unless there is a reason why not."""
    from multipaxos.explore.models import build
    from multipaxos.explore.search import Bounds
    from multipaxos.explore.search import explore as search

    sizes = dict(death.sizes)
    ours = search(build(death.model, death.mutant, sizes), Bounds(only=(death.only,), is_hasty=True))
    depth = ours.violations[0].depth if ours.violations else 0
    is_same = death.states in (0, ours.unique)
    typer.echo(
        f"{death.mutant:13}{death.model:18} {ending(death.depth, death.states):31} {ending(depth, ours.unique):31} "
        f"{'' if is_same else death.why}"
    )
    return {
        "mutant": death.mutant,
        "model": death.model,
        "sizes": sizes,
        "published": [death.depth, death.states],
        "here": [depth, ours.unique],
        "is_exact": is_same,
        "why": "" if is_same else death.why,
        "agrees": depth == death.depth and (is_same or bool(death.why)),
    }


def compare_run(run: "Run") -> dict[str, Any]:
    """One row of the third table. A shortest way is not longer than a way that somebody knows."""
    from multipaxos.explore.models import build
    from multipaxos.explore.search import Bounds
    from multipaxos.explore.search import explore as search

    sizes = dict(run.sizes)
    ours = search(build(run.model, run.mutant, sizes), Bounds(only=(run.only,), is_hasty=True))
    depth = ours.violations[0].depth if ours.violations else 0
    typer.echo(f"{run.mutant:13}{run.model:18} {f'a run of {run.steps} steps':31} {ending(depth, ours.unique)}")
    return {
        "mutant": run.mutant,
        "model": run.model,
        "sizes": sizes,
        "known_steps": run.steps,
        "here": [depth, ours.unique],
        "agrees": depth == run.depth <= run.steps + 1,
    }


def totals(result: "Result[Any]") -> str:
    """Three counts."""
    more = "" if result.is_exhausted else "more than "
    return f"{more}{result.unique:,} / {result.generated:,} / {result.depth}"


def ending(depth: int, states: int) -> str:
    """Where a search ended."""
    return f"{f'dies at depth {depth}' if depth else 'survives'}{f', {states:,} states' if states else ''}"


def register(app: typer.Typer) -> None:
    """Add the commands ``explore`` and ``anchors`` to ``app``."""
    app.command(name="explore")(explore)
    app.command(name="anchors")(anchors)
