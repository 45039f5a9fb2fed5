"""Starts a hunt inside a copy of the package, and nowhere else: ``python -m multipaxos.mutants.inside FOLDER MODULE ..``.

An installed package that came first on the path would make every mutant a survivor, or every kill a false one.
"""

import os
import runpy
import sys
from pathlib import Path

import multipaxos


def _main(arguments: list[str]) -> None:
    folder, module, *rest = arguments
    here = str(Path(multipaxos.__file__).parent.parent)
    if os.path.realpath(here) != os.path.realpath(folder):
        raise SystemExit(f"this is not the copy in {folder} but {here}")
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(sys.argv[1:])
