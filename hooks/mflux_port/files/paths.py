"""Real paths on disk."""

from __future__ import annotations

import os
from pathlib import Path


def real_path(path: Path) -> Path:
    """The absolute path without links.

    Unlike ``Path.resolve``, this never raises; before Python 3.13 that raises for a loop of links.
    """
    return Path(os.path.realpath(path))
