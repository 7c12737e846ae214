"""Real paths on disk."""

from __future__ import annotations

import os
from pathlib import Path


def real_path(path: Path) -> Path:
    """The absolute path without links. Unlike ``Path.resolve``, never raises: before Python 3.13 that does for a loop."""
    return Path(os.path.realpath(path))
