"""``multipaxos cluster``: a local cluster, one process per replica; ``cluster start``, ``stop`` and ``restart``.

Only options and words; the work is done by ``host/cluster.py``.
"""

import os
import shutil
import sys

import typer

from multipaxos.host.folder import DATA_DEFAULT, REPLICAS_DEFAULT

_DATA_HELP = "Folder of the cluster; what it holds is kept between runs."
_DATA = typer.Option(None, "--data", help=_DATA_HELP, show_default=DATA_DEFAULT)
_REPLICA = typer.Argument(help="Number of the replica.")


def command_as_typed() -> str:
    """How the reader starts this command: by its name where the shell finds it, else by its path."""
    own = os.path.abspath(sys.argv[0])
    found = shutil.which("multipaxos")
    if found is not None and os.path.realpath(found) == os.path.realpath(own):
        return "multipaxos"
    if os.path.basename(own) == "__main__.py":
        return "python -m multipaxos"
    relative = os.path.relpath(own)
    return own if relative.startswith("..") else relative


def say(text: str) -> None:
    """One line for the reader, at once: what is said here is waited for."""
    stream = sys.stderr if text.startswith("error:") else sys.stdout
    print(text, file=stream, flush=True)


def register(app: typer.Typer) -> None:
    """Mounts ``cluster``."""
    group = typer.Typer(
        help="Run a local cluster, one process per replica, its data kept between runs. Ctrl-C ends it.",
        invoke_without_command=True,
    )

    @group.callback()
    def cluster(
        context: typer.Context,
        replicas: int | None = typer.Option(
            None, help="How many replicas, when the folder is made.", show_default=str(REPLICAS_DEFAULT)
        ),
        data: str = typer.Option(DATA_DEFAULT, help=_DATA_HELP),
        client_port: int | None = typer.Option(
            None,
            min=0,
            max=65535,
            help="First port for clients; 0: free ones.",
            show_default="2181, or as in the last run",
        ),
        peer_port: int | None = typer.Option(
            None,
            min=0,
            max=65535,
            help="First port between replicas; 0: free ones.",
            show_default="7181, or as in the last run",
        ),
        admin_port: int | None = typer.Option(
            None,
            min=0,
            max=65535,
            help="First port for status, metrics and why over HTTP; 0: free ones.",
            show_default="8181, or as in the last run",
        ),
        restart: bool = typer.Option(
            False, "--restart", help="Start a replica again when it dies, instead of saying so."
        ),
        moved: bool = typer.Option(
            False, "--moved", help="The folder was moved here from another disk or machine, and the original is gone."
        ),
    ) -> None:
        if context.invoked_subcommand is not None:
            return
        from multipaxos.host.cluster import ClusterOptions, run_cluster

        command = command_as_typed()
        options = ClusterOptions(data, replicas, client_port, peer_port, admin_port, restart, moved, command)
        raise typer.Exit(run_cluster(options, say))

    @group.command()
    def start(context: typer.Context, replica: int = _REPLICA, data: str | None = _DATA) -> None:
        """Start a replica that was stopped or died, in the cluster that runs."""
        from multipaxos.host.cluster import ask_running_cluster

        raise typer.Exit(ask_running_cluster(_folder(context, data), "start", replica, say))

    @group.command()
    def stop(context: typer.Context, replica: int = _REPLICA, data: str | None = _DATA) -> None:
        """Stop a replica of the cluster that runs; the others go on."""
        from multipaxos.host.cluster import ask_running_cluster

        raise typer.Exit(ask_running_cluster(_folder(context, data), "stop", replica, say))

    @group.command("restart")
    def restart_in_turn(
        context: typer.Context,
        replica: int | None = typer.Argument(None, help="Number of the replica.", show_default="all"),
        data: str | None = _DATA,
    ) -> None:
        """Restart the replicas of the cluster that runs, one after the other, each when all others serve."""
        from multipaxos.host.cluster import ask_running_cluster

        raise typer.Exit(ask_running_cluster(_folder(context, data), "restart", replica or 0, say))

    app.add_typer(group, name="cluster")


def _folder(context: typer.Context, data: str | None) -> str:
    """``cluster --data DIR stop 1`` and ``cluster stop 1 --data DIR`` mean the same."""
    assert context.parent is not None
    return data if data is not None else str(context.parent.params["data"])
