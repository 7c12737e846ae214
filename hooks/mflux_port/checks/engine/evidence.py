"""What ``porting/<model>/`` proves: the stages that were run against the reference, with their figures."""

from __future__ import annotations

import re
from typing import NamedTuple

from mflux_port.checks.engine.facts import Facts

# In the guide's order: backwards from the image.
STAGES = ("vae_decode", "vae_encode", "transformer", "scheduler", "loop", "text_encoder", "end_to_end")
_BOX = re.compile(r"^- \[(?P<tick>[ xX])\] (?P<text>.*)$")
_MARK = re.compile(r"<!-- evidence: (?P<stage>\w+) -->(?P<figures>.*)$")
# As porting/<model>/parity/notes.py writes them.
_FIGURES = re.compile(
    r"relL2 (?P<relative>\S+) of (?P<limit>[^\s,]+)(?P<waived>, waived)?, \w+, (?P<width>\d+)x(?P<height>\d+), "
    r"[\d-]+, commit (?P<commit>\w+)(?P<changed>\+?)"
)
# A picture as people draw it, in pixels: a small one hides what happens at the edges of tiles and of position tables.
_SMALLEST = 512 * 512


class Box(NamedTuple):
    """One box of PORTING.md. ``stage`` is set where the runner ticks, ``figures`` is what it wrote beside it."""

    text: str
    ticked: bool
    stage: str = ""
    figures: str = ""

    @property
    def problem(self) -> str:
        """Why the box proves nothing; empty when its figures do."""
        found = _FIGURES.fullmatch(self.figures)
        if not self.ticked:
            return "is open"
        if not self.figures:
            return "is ticked without figures"
        if not found:
            return f"has figures that run_mflux.py does not write ({self.figures})"
        if not found["waived"] and not _number(found["relative"]) <= _number(found["limit"]):
            return f"is out of its limit ({found['relative']} of {found['limit']})"
        if int(found["width"]) * int(found["height"]) < _SMALLEST:
            return f"was run at {found['width']}x{found['height']} only"
        return ""

    @property
    def proven(self) -> bool:
        return not self.problem

    @property
    def commit(self) -> str:
        """The commit that was measured, with + when files were changed beside it; empty without figures."""
        found = _FIGURES.fullmatch(self.figures)
        return f"{found['commit']}{found['changed']}" if found else ""


def boxes(facts: Facts, model: str) -> list[Box]:
    """The boxes of ``porting/<model>/PORTING.md``, in order."""
    found: list[Box] = []
    for line in facts.text(f"porting/{model}/PORTING.md").splitlines():
        match = _BOX.match(line)
        if not match:
            continue
        mark = _MARK.search(match["text"])
        text = _MARK.sub("", match["text"]).strip()
        ticked = match["tick"] != " "
        found.append(Box(text, ticked, mark["stage"], mark["figures"].strip()) if mark else Box(text, ticked))
    return found


def stages(facts: Facts, model: str) -> dict[str, Box]:
    """The box of every stage that PORTING.md has, in the guide's order."""
    marked = {box.stage: box for box in boxes(facts, model) if box.stage}
    return {stage: marked[stage] for stage in STAGES if stage in marked}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
