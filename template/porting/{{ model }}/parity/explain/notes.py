"""Tick the boxes of PORTING.md: a box stands for what was measured, so a stage that fails again loses its tick."""

from __future__ import annotations

import datetime
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from parity.answers import ABSENT, FAIL, NOT_RUN, WAIVED

LINE = re.compile(r"^(- )\[[ xX]\]( .*<!-- evidence: (\w+) -->).*$", re.MULTILINE)


def tick(path: Path, results: Iterable, run: str) -> list[str]:
    """Write the figures of each judged stage behind its box. ``run`` says what was run. Returns the stages ticked.

    Lines that were rewritten by hand and lack their evidence mark are left alone, as is everything else.
    """
    if not path.is_file():
        return []
    judged = {result.stage: result for result in results if result.status not in (ABSENT, NOT_RUN)}
    commit = _commit(path.parent)
    done: list[str] = []

    def line(found: re.Match) -> str:
        result = judged.get(found[3])
        if result is None:
            return found[0]
        if result.status == FAIL:
            return f"{found[1]}[ ]{found[2]}"
        done.append(result.stage)
        waived = ", waived" if result.status == WAIVED else ""
        figures = f"relL2 {result.relative:.1e} of {result.limit:.1e}{waived}, {run}, {_today()}, commit {commit}"
        return f"{found[1]}[x]{found[2]} {figures}"

    text = path.read_text(encoding="utf-8")
    changed = LINE.sub(line, text)
    if changed != text:
        path.write_text(changed, encoding="utf-8")
    return done


def _today() -> str:
    return datetime.date.today().isoformat()


def _commit(folder: Path) -> str:
    """The checkout's commit, marked with + when there are changes that are not committed."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True)
        state = subprocess.run(
            ["git", "status", "--porcelain", "--", "src"], cwd=folder, capture_output=True, text=True
        )
    except OSError:
        return "unknown"
    return (head.stdout.strip() or "unknown") + ("+" if state.stdout.strip() else "")
