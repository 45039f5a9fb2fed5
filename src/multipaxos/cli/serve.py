"""``multipaxos serve``: one replica in this process, from a TOML file, a ``zoo.cfg``, or on its own.

Only options and words; the replica is run by ``host/process.py``.
"""

import sys

import typer

from multipaxos.host.config import ADMIN_PORT, CLIENT_PORT, PEER_PORT, ConfigError, ReplicaConfig, load
from multipaxos.host.folder import ALONE_DEFAULT, FolderError


def describe(config: ReplicaConfig) -> list[str]:
    """What a file was understood to mean, one line per fact."""
    lines = [
        f"replica {config.replica} of {len(config.listed.members)}, data in {config.data}",
        f"clients at {config.client_listen}, peers at {config.peer_listen}, admin "
        + (f"at {config.admin_listen}" if config.admin_listen else "port not stated, so there is none"),
        f"session timeouts {config.session_min_ms} to {config.session_max_ms} ms",
    ]
    for member in config.listed.members:
        role = "voter" if member.is_voter else "observer"
        lines.append(
            f"  {member.id}: peer {member.peer_address}, client {member.client_address or 'not stated'}, {role}"
        )
    return lines + [f"note: {note}" for note in config.notes]


def register(app: typer.Typer) -> None:
    """Mounts ``serve``."""

    @app.command()
    def serve(
        file: str | None = typer.Argument(
            None, help="Settings: TOML, or a zoo.cfg. Without one: a durable replica on its own."
        ),
        check: bool = typer.Option(False, "--check", help="Read the file, say what it means, start nothing."),
        data: str | None = typer.Option(None, help="Folder of a replica on its own.", show_default=ALONE_DEFAULT),
        client_port: int | None = typer.Option(
            None, min=0, max=65535, help="Its port for clients; 0: a free one.", show_default=str(CLIENT_PORT)
        ),
        peer_port: int | None = typer.Option(
            None, min=0, max=65535, help="Its port for peers; 0: a free one.", show_default=str(PEER_PORT)
        ),
        admin_port: int | None = typer.Option(
            None,
            min=0,
            max=65535,
            help="Its port for status, metrics and why over HTTP; 0: a free one.",
            show_default=str(ADMIN_PORT),
        ),
        moved: bool = typer.Option(
            False,
            "--moved",
            help="Its data directory was moved from another disk or machine, and the original is gone.",
        ),
    ) -> None:
        """Run one replica in the foreground. Ctrl-C ends it."""
        if file is not None and any(one is not None for one in (data, client_port, peer_port, admin_port)):
            print(
                "error: --data, --client-port, --peer-port and --admin-port are for a replica on its own; FILE says all",
                file=sys.stderr,
            )
            raise typer.Exit(2)
        if check and file is None:
            print("error: --check needs a FILE to check", file=sys.stderr)
            raise typer.Exit(2)
        try:
            if file is None:
                from multipaxos.host.alone import run_alone

                raise typer.Exit(run_alone(data or ALONE_DEFAULT, client_port, peer_port, moved, admin_port))
            config = load(file)
        except (ConfigError, FolderError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        if check:
            for line in describe(config):
                print(line)
            print(f"{file}: can be run")
            return
        from multipaxos.host.process import run_in_foreground

        raise typer.Exit(run_in_foreground(config, moved))
