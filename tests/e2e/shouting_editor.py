"""An editor for tests: what it is given comes back in capitals."""

import sys
from pathlib import Path

file = Path(sys.argv[-1])
file.write_text(file.read_text().upper())
