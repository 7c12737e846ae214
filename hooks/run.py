"""Copier's door to mflux_port: runs in Copier's own interpreter, where the package is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mflux_port.cli import main  # noqa: E402

sys.exit(main())
