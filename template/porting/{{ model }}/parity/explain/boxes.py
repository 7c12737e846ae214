"""Tick the boxes of PORTING.md. A box has the figures and the setting of one run; it claims nothing that was not run.

A stage that fails loses its tick and keeps the failing figures. They are replaced by a run in the same or a larger
setting only: a run without guidance, or of a smaller picture, does not show that the failure is fixed.
"""

from __future__ import annotations

import datetime
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parity.answers import ABSENT, FAIL, NOT_RUN, STAGE_NAMES, WAIVED
from parity.files import write_text

LINE = re.compile(r"^(- )\[[ xX]\]( .*<!-- evidence: (\w+) -->)(.*)$", re.MULTILINE)
SETTING = re.compile(r"(\w+), (\d+)x(\d+), (\d+) steps?, guidance ([\d.e+-]+), (tiny twin, )?")
COMMIT = re.compile(r"commit (\w+\+?)$")
WHOLE = "bfloat16"  # the box of a whole run in bfloat16: one line for all stages
OPTIONAL = ("vae_encode", "guidance")  # a reference may have no encoder, and no guidance


@dataclass(frozen=True)
class Setting:
    """The setting of a run."""

    dtype: str
    width: int
    height: int
    steps: int
    guidance: float
    twin: bool = False

    def __str__(self) -> str:
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        size = f"{self.width}x{self.height}"
        return f"{self.dtype}, {size}, {steps}, guidance {self.guidance:g}{', tiny twin' * self.twin}"

    def covers(self, other: Setting) -> bool:
        """Whether a run in this setting shows everything that one in the other shows."""
        larger = self.width * self.height >= other.width * other.height and self.steps >= other.steps
        real = other.twin or not self.twin
        return larger and real and (self.dtype, self.guidance) == (other.dtype, other.guidance)


def setting_of(facts: dict, dtype: str) -> Setting:
    """The setting of a recording, judged in ``dtype``."""
    twin = (Path(facts["model"]) / "sizes.json").is_file()
    ran = facts.get("applied", {"value": facts["guidance"]})["value"]  # not the requested number
    return Setting(dtype, facts["width"], facts["height"], facts["steps"], float(ran or 0.0), twin)


def why_not(facts: dict, model: str, port: str) -> str:
    """Why a run may not change the boxes; empty if it may. ``port`` is the import path of the class that was run."""
    if facts["level"] != "stages":
        return "a recording of modules or blocks ticks no box"
    if not port.startswith(f"mflux.models.{model}."):
        return f"{port} is not this port, so it ticks no box"
    return ""


def tick(path: Path, results: Iterable, setting: Setting, commit: str) -> list[str]:
    """Write the figures of each judged stage after its box. Returns a line for each box that keeps an older failure.

    Everything else is left alone, including boxes that were rewritten by hand without their evidence mark.
    """
    if not path.is_file():
        return []
    judged = _judged(list(results), setting.dtype)
    kept: list[str] = []

    def line(found: re.Match) -> str:
        if found[3] not in judged:
            return found[0]
        result, worst = judged[found[3]]
        if _stays(found[4].strip(), result.status == FAIL, setting, commit):
            kept.extend(_reminder(found[3], found[4]))
            return found[0]
        box = "[ ]" if result.status == FAIL else "[x]"
        return f"{found[1]}{box}{found[2]} {_figures(result, worst, setting, commit)}"

    text = path.read_text(encoding="utf-8")
    changed = LINE.sub(line, text)
    if changed != text:
        write_text(path, changed)
    return kept


def source_commit(home: Path) -> str:
    """The commit of the source that was imported, with + when it has changes that are not committed; or ``unknown``.

    ``home`` is the porting folder. The source is unknown where mflux was not imported from that checkout's ``src``.
    """
    import mflux

    top = _git(home, "rev-parse", "--show-toplevel")
    head = _git(home, "rev-parse", "--short", "HEAD")
    imported = Path(next(iter(mflux.__path__))).resolve()
    if not head or imported != Path(top).resolve() / "src" / "mflux":
        return "unknown"
    return head + ("+" if _git(Path(top), "status", "--porcelain", "--untracked-files=all", "--", "src") else "")


def _judged(results: list, dtype: str) -> dict[str, tuple]:
    """For each box, the result to write after it, and that result's stage when the box covers several."""
    known = [result for result in results if result.status not in (ABSENT, NOT_RUN)]
    if dtype == "float32":
        return {result.stage: (result, "") for result in known}
    if not known:
        return {}
    worst = max(known, key=lambda result: (result.status == FAIL, _share(result)))
    whole = {result.stage for result in known} >= set(STAGE_NAMES) - set(OPTIONAL)
    return {WHOLE: (worst, worst.stage)} if whole or worst.status == FAIL else {}


def _share(result) -> float:
    share = result.relative / result.limit if result.limit else float("inf")
    return share if share == share else float("inf")


def _figures(result, worst: str, setting: Setting, commit: str) -> str:
    failed, of = "FAIL " * (result.status == FAIL), f"worst {worst} " if worst else ""
    waived = ", waived" if result.status == WAIVED else ""
    numbers = f"{failed}{of}relL2 {result.relative:.1e} of {result.limit:.1e}{waived}"
    return f"{numbers}, {setting}, {_today()}, commit {commit}"


def _stays(old: str, fails: bool, setting: Setting, commit: str) -> bool:
    """Whether a box keeps its text: a failure in a setting that was not run now, or better proof of this commit."""
    before = _setting_in(old)
    if before is None:
        return False
    if old.startswith(FAIL):
        return not setting.covers(before)
    same = COMMIT.search(old)
    unchanged = same is not None and same[1] == commit and commit[-1] != "+" and commit != "unknown"
    return not fails and unchanged and before.covers(setting) and not setting.covers(before)


def _reminder(stage: str, old: str) -> list[str]:
    before = _setting_in(old)
    if not old.strip().startswith(FAIL) or before is None:
        return []
    flags = f"--size {before.width}x{before.height} --steps {before.steps} --guidance {before.guidance:g}"
    return [f"PORTING.md: {stage} stays open: it failed in {before}; run run_reference.py {flags}, then run_mflux.py"]


def _setting_in(figures: str) -> Setting | None:
    found = SETTING.search(figures)
    if not found:
        return None
    return Setting(found[1], *map(int, found.group(2, 3, 4)), float(found[5]), bool(found[6]))


def _today() -> str:
    return datetime.date.today().isoformat()


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
