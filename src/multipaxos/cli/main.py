"""The command ``multipaxos``: mounts the commands of the other modules, and turns outcomes into exit codes.

Only the module of the command that was typed is imported, so that every command starts as quickly as it can; help, shell
completion and mistakes see all of them. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

import importlib
import os
import sys
from typing import Final

import typer

COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "multipaxos.cli.cluster": ("cluster",),
    "multipaxos.cli.serve": ("serve",),
    "multipaxos.cli.client": ("put", "get", "ls", "rm", "watch"),
    "multipaxos.cli.status": ("status",),
    "multipaxos.cli.members": ("members",),
    "multipaxos.cli.why": ("why",),
    "multipaxos.cli.journal": ("journal",),
    "multipaxos.cli.synod": ("acceptor", "propose", "learn"),
    "multipaxos.cli.bench": ("bench",),
    "multipaxos.cli.verify": ("verify",),
}
"""Which module mounts which commands (design.md, names people type); in the order that help shows them."""

WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130


def version_text() -> str:
    """Version, compiled or interpreted, CRC and event loop in use."""
    from importlib import metadata

    import google_crc32c

    import multipaxos
    from multipaxos.core import decree

    is_compiled = not str(decree.__file__).endswith(".py")
    try:
        import uvloop  # noqa: F401  (only whether it is there)

        loop = f"uvloop {metadata.version('uvloop')}"
    except ImportError:
        loop = "asyncio"
    return (
        f"multipaxos {multipaxos.__version__} ({'compiled' if is_compiled else 'interpreted'}, "
        f"crc32c: {google_crc32c.implementation}, event loop: {loop}, python {sys.version.split()[0]})"
    )


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(version_text())
        raise typer.Exit()


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show version, CRC and event loop in use."
    ),
) -> None:
    """Multi-Paxos as a coordination service that ZooKeeper clients can use."""


def application(typed: str = "") -> typer.Typer:
    """The application with the commands of the module that has ``typed``, or with all where none has."""
    app = typer.Typer(
        name="multipaxos",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        # Plain text when not a terminal: no frames drawn into somebody's log file.
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
    )
    app.callback()(_root)
    wanted = [module for module, names in COMMANDS.items() if typed in names] or list(COMMANDS)
    for module in wanted:
        importlib.import_module(module).register(app)
    return app


def main() -> None:
    """Entry point of the command."""
    typed = sys.argv[1] if len(sys.argv) > 1 and not any(name.endswith("_COMPLETE") for name in os.environ) else ""
    if sys.flags.optimize:
        # The assertions are part of what keeps the ledger safe: style.md section 3, and the same check in host/process.py.
        sys.stderr.write("error: multipaxos does not run under python -O, which removes its assertions\n")
        sys.exit(WRONG_USAGE)
    try:
        application(typed)()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
