"""The command line: one file per group of commands; every module mounts its own on the application of ``main.py``.

Typer and rich are imported here and nowhere else, so that a replica process never pays for them.
"""
