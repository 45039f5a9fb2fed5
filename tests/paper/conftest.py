"""The acceptors of the hand-run tests, and the stage on which time passes, serve the papers' claims as well."""

import sys
from pathlib import Path

for folder in ("scenarios", "synod"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))
