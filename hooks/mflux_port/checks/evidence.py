"""What ``porting/<model>/`` proves: the stages that were run against the reference, with their figures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mflux_port.checks.facts import Facts

# In the guide's order: backwards from the image.
STAGES = ("vae_decode", "vae_encode", "transformer", "scheduler", "loop", "text_encoder", "end_to_end")
_BOX = re.compile(r"^- \[(?P<tick>[ xX])\] (?P<text>.*)$")
_MARK = re.compile(r"<!-- evidence: (?P<stage>\w+) -->(?P<figures>.*)$")


@dataclass(frozen=True)
class Box:
    """One box of PORTING.md. ``stage`` is set where the runner ticks, ``figures`` is what it wrote beside it."""

    text: str
    ticked: bool
    stage: str = ""
    figures: str = ""

    @property
    def proven(self) -> bool:
        """Ticked with figures: a tick alone proves nothing."""
        return self.ticked and any(character.isdigit() for character in self.figures)


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
