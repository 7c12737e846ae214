"""The last results of a port's runs, in ``porting/<model>/artifacts/``: JSON that a run replaces.

A result is of use only while nothing it depends on has changed since.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from mflux_port.files.writing import write_whole

LEDGER = "porting/{model}/artifacts/ledger.json"
COMPARISON = "porting/{model}/artifacts/report.json"


def write_result(path: Path, facts: dict) -> None:
    """Write ``facts``. The folder is created if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(facts, indent=1) + "\n")


def fresh_result(path: Path, depends_on: Iterable[str]) -> dict | None:
    """The result at ``path``; None when there is none, or when a file or folder of ``depends_on`` is newer."""
    try:
        written = path.stat().st_mtime_ns
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    newer = any(_last_change(Path(place)) > written for place in depends_on)
    return found if isinstance(found, dict) and not newer else None


def _last_change(place: Path) -> int:
    files = [Path(folder, name) for folder, _, names in os.walk(place) for name in names if name.endswith(".py")]
    return max((path.stat().st_mtime_ns for path in files or [place] if path.exists()), default=0)
