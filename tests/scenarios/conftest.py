"""What the tests of processes, of the host and of clients have to offer serves the scenarios as well."""

import sys
from pathlib import Path

for folder in ("client", "cluster", "host"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))
