"""The fake cluster of the client's tests is the shell commands' as well."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "client"))
