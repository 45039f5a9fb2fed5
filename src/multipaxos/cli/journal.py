"""``multipaxos journal``: what a replica's data directory holds, whether it is whole, what state it leads to, and where two
replicas differ.

Mounts the commands; each stands in a file of its own. The directory is opened by ``host/journal_copy.py``, which writes
nothing and takes no lock, so all of this may be asked of a running replica's directory as well as of a copy. What counts
as chosen stands in ``host/chosen_slots.py``, the state machine in ``host/replay.py``, the comparison in
``host/divergence.py``.
"""

import typer

from multipaxos.cli import journal_compare, journal_history, journal_replay, journal_show, journal_verify

app = typer.Typer(
    name="journal",
    no_args_is_help=True,
    help="Read, verify, replay and compare the journals of replicas, running or not. Nothing is ever changed.",
    add_completion=False,
)

journal_show.register(app)
journal_verify.register(app)
journal_replay.register(app)
journal_history.register(app)
journal_compare.register(app)


def register(root: typer.Typer) -> None:
    """Mount the commands of this module."""
    root.add_typer(app, name="journal")
