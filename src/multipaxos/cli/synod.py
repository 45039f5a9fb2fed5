"""``multipaxos acceptor``, ``propose`` and ``learn``: Basic Paxos by hand, the article's own system.

Only options and help; what happens is in ``host/synod.py``, why in ``synod/``. The tutorial is ``docs/by-hand.md``.
"""

import os

import typer

from multipaxos.host.synod import LINGER_S, TIMEOUT_S, run_acceptor, run_learn, run_propose
from multipaxos.synod.acceptor import NAMES_MAX

_ACCEPTORS = typer.Option(..., "--acceptors", metavar="HOST:PORT,...", help="All acceptors of this name, in any order.")
_TIMEOUT = typer.Option(TIMEOUT_S, "--timeout", metavar="SECONDS", help="Give up after this, and say what was heard.")
_LINGER = typer.Option(
    LINGER_S, "--linger", metavar="SECONDS", help="Listen on after a majority has answered, to show the others too."
)
_JSON = typer.Option(False, "--json", help="Print one JSON object instead of the story.")


def register(app: typer.Typer) -> None:
    """Mounts ``acceptor``, ``propose`` and ``learn``."""

    @app.command()
    def acceptor(
        listen: str = typer.Option(
            ..., "--listen", metavar="HOST:PORT", help="Where proposers connect; port 0: a free one."
        ),
        directory: str | None = typer.Option(
            None,
            "--dir",
            metavar="DIR",
            help="Where it keeps what it promised and accepted; its first start makes it.",
            show_default=os.path.join("multipaxos-data", "acceptor-PORT"),
        ),
        names_max: int = typer.Option(NAMES_MAX, "--names-max", min=1, help="How many names it takes on."),
        moved: bool = typer.Option(False, "--moved", help="The directory was moved here, and the original is gone."),
        quiet: bool = typer.Option(False, "--quiet", help="Do not tell what is promised, accepted and refused."),
    ) -> None:
        """Basic Paxos by hand: one acceptor. Start at least three, each on its own port.

        It promises, accepts and refuses, and does so for any number of names at once. Ctrl-C stops it; the next start from
        the same directory remembers all.
        """
        port = listen.rpartition(":")[2]
        if directory is None and not port.strip("0"):
            raise typer.BadParameter("port 0 gives another port at each start, so say where to keep things: --dir DIR")
        path = directory or os.path.join("multipaxos-data", f"acceptor-{port}")
        raise typer.Exit(run_acceptor(listen, path, names_max, moved, quiet))

    @app.command()
    def propose(
        name: str = typer.Argument(
            ..., metavar="NAME", help="What is to be decided. Each name is decided once, for ever."
        ),
        value: str = typer.Argument(..., metavar="VALUE", help="The value you want for it."),
        acceptors: str = _ACCEPTORS,
        index: int | None = typer.Option(
            None, "--id", metavar="I", help="You are proposer I, counted from 0 ...", show_default=False
        ),
        count: int | None = typer.Option(
            None, "--of", metavar="N", help="... of N: use the numbers s with s % N = I.", show_default=False
        ),
        number: int | None = typer.Option(
            None, "--number", metavar="S", help="Begin with this number, asking nobody first.", show_default=False
        ),
        timeout: float = _TIMEOUT,
        linger: float = _LINGER,
        as_json: bool = _JSON,
    ) -> None:
        """Basic Paxos by hand: propose a value, and see both phases and all four messages with their reasons.

        Ends with the value that is chosen: yours, or the one that was there already.
        """
        raise typer.Exit(run_propose(name, value, acceptors, index, count, number, timeout, linger, as_json))

    @app.command()
    def learn(
        name: str = typer.Argument(..., metavar="NAME", help="What was decided under this name?"),
        acceptors: str = _ACCEPTORS,
        timeout: float = _TIMEOUT,
        linger: float = _LINGER,
        as_json: bool = _JSON,
    ) -> None:
        """Basic Paxos by hand: find out which value was chosen, if any.

        Where the acceptors' answers leave it open it runs a ballot of its own, which completes what it hears of; it never
        proposes a value of its own.
        """
        raise typer.Exit(run_learn(name, acceptors, timeout, linger, as_json))
