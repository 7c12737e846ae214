"""Runs ``mflux_port`` in Copier's own interpreter, where the package is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mflux_port.__main__ import run  # noqa: E402

run()
