"""The clusters of real processes are those of ``tests/cluster``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "cluster"))
