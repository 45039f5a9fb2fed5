"""``multipaxos why``: what stands in the cluster's way, in a sentence for each cause, and what to do about it.

Only options and words; ``host/why.py`` finds the causes, ``asking_admin.py`` asks the replicas.
"""

import textwrap
from collections.abc import Sequence

import typer

from multipaxos.cli.asking_admin import (
    ADMIN_OPTION,
    COLUMNS,
    CONNECT_OPTION,
    DATA_OPTION,
    DONE,
    FAILED,
    JSON_OPTION,
    TIMEOUT_OPTION,
    Answers,
    ask_places,
    find_places,
    print_json,
)
from multipaxos.client.admin import SILENT
from multipaxos.host.causes import SEVERITY_TEXTS, Cause
from multipaxos.host.observed import Unreachable
from multipaxos.host.why import findings, healthy_sentence


def _text(cause: Cause) -> str:
    return "\n".join(
        [
            *_wrapped(f"{SEVERITY_TEXTS[cause.severity]}: {cause.sentence}", "", "  "),
            *_wrapped(f"do: {cause.advice}", "  ", "      "),
        ]
    )


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """In lines that fit; a path or an address is never broken."""
    return textwrap.wrap(
        text, COLUMNS, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _may_be_starting(answers: Answers, causes: Sequence[Cause]) -> bool:
    """Whether silence at admin ports is all there is: a replica opens its port at once and answers when it has started, a
    few seconds later on a busy machine."""
    is_silent = any(isinstance(one, Unreachable) and one.kind == SILENT for one in answers.observations.values())
    return is_silent and {cause.id for cause in causes} <= {"why.admin.unreachable", "why.nobody.answers"}


def _why(
    connect: str | None = CONNECT_OPTION,
    admin: str | None = ADMIN_OPTION,
    data: str | None = DATA_OPTION,
    timeout: float = TIMEOUT_OPTION,
    is_json: bool = JSON_OPTION,
) -> None:
    """Say what stands in the cluster's way, worst first, and what to do about it.

    Exit code 0 when nothing does, 1 when something does. docs/why.md explains every cause.
    """
    places = find_places(admin, connect, data)
    answers = ask_places(places, timeout)
    causes = findings(answers.observations, answers.now_ms)
    if _may_be_starting(answers, causes):
        answers = ask_places(places, timeout)
        causes = findings(answers.observations, answers.now_ms)
    if is_json:
        print_json(
            {
                "healthy": not causes,
                "summary": "" if causes else healthy_sentence(answers.observations),
                "causes": [cause.to_json() for cause in causes],
            }
        )
    elif causes:
        print("\n\n".join(_text(cause) for cause in causes))
    else:
        print(healthy_sentence(answers.observations))
    raise typer.Exit(FAILED if causes else DONE)


def register(app: typer.Typer) -> None:
    """Mounts ``why``."""
    app.command("why")(_why)
