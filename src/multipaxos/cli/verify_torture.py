"""``multipaxos verify torture``: real replica processes, real clients, nemeses, a verdict.

Only options and words; the work is done by ``torture/run.py``.
"""

import json
import random
import sys

import typer

FAILED = 1
INTERRUPTED = 130
_VIOLATIONS_SHOWN = 20


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def register(app: typer.Typer) -> None:
    """Mounts ``torture``."""

    @app.command()
    def torture(
        seconds: float = typer.Option(60.0, min=5.0, help="How long the clients work and the nemeses strike."),
        replicas: int = typer.Option(3, help="3 or 5."),
        seed: int | None = typer.Option(
            None, help="Fixes which nemeses strike whom, in which order.", show_default="drawn"
        ),
        folder: str | None = typer.Option(
            None, help="An empty folder for logs, history, timeline and verdict.", show_default="a temporary one"
        ),
        nemesis: list[str] = typer.Option(
            [], help="Only these nemeses; may be given several times.", show_default="all"
        ),
        rounds: int = typer.Option(0, min=0, help="End after each nemesis struck so often. 0: as --seconds says."),
        clients: int = typer.Option(8, min=1, max=64, help="Sessions at work."),
        rate: float = typer.Option(700.0, min=1.0, help="Bound of the requests a second of all clients together."),
        network: str = typer.Option("auto", help="namespaces (needs root and ip), proxies, or auto."),
        is_json: bool = typer.Option(False, "--json", help="Print one JSON object on the last line."),
    ) -> None:
        """Torture a cluster of real processes, and judge what its clients saw."""
        from multipaxos.torture.run import NEMESES, Options, TortureError, run_torture

        names = [each.name for each in NEMESES]
        if replicas not in (3, 5):
            raise typer.BadParameter(f"{replicas} is neither 3 nor 5", param_hint="--replicas")
        if network not in ("auto", "namespaces", "proxies"):
            raise typer.BadParameter(f"{network!r} is none of auto, namespaces, proxies", param_hint="--network")
        for name in nemesis:
            if name not in names:
                raise typer.BadParameter(f"{name!r} is none of {', '.join(names)}", param_hint="--nemesis")
        drawn = random.SystemRandom().randrange(1 << 31) if seed is None else seed
        options = Options(seconds, replicas, drawn, folder, tuple(nemesis), clients, rate, network, rounds)
        try:
            verdict = run_torture(options, _say)
        except TortureError as error:
            _say(f"error: {error}")
            if is_json:
                print(json.dumps({"verdict": "not run", "error": str(error), "seed": drawn}))
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            _say("interrupted; nothing of it runs any more")
            raise typer.Exit(INTERRUPTED) from None
        for line in _lines(verdict):
            print(line)
        if is_json:
            print(json.dumps(verdict))
        raise typer.Exit(0 if verdict["verdict"] == "ok" else FAILED)


def _lines(verdict: dict[str, object]) -> list[str]:
    violations, reasons = verdict["violations"], verdict["reasons"]
    assert isinstance(violations, list) and isinstance(reasons, list)
    lines = [
        f"{verdict['verdict']}: {verdict['acknowledged']:,} operations acknowledged in {verdict['seconds']} s, "
        f"{verdict['per_second']} a second; {verdict['unknown']} of unknown outcome; {verdict['lost']} lost",
        f"  longest time without an acknowledged write {verdict['longest_gap_s']} s, {verdict['leader_changes']} leaders, "
        f"sessions lost {verdict['sessions_lost']} ({verdict['sessions_lost_unexplained']} without reason)",
    ]
    nemeses = verdict["nemeses"]
    assert isinstance(nemeses, dict)
    shown = [f"{name} {found['shown']}" for name, found in nemeses.items() if found["shown"]]
    lines.append(f"  strikes with an effect: {', '.join(shown) or 'none'}")
    lines += [f"  {name}: skipped, {found['skipped']}" for name, found in nemeses.items() if found["skipped"]]
    wrong = [*violations, *reasons]
    lines += [f"  wrong: {text}" for text in wrong[:_VIOLATIONS_SHOWN]]
    if len(wrong) > _VIOLATIONS_SHOWN:
        lines.append(f"  and {len(wrong) - _VIOLATIONS_SHOWN} more: see verdict.json")
    lines.append(f"  {verdict['folder']}/timeline.html shows it; seed {verdict['seed']}")
    return lines
