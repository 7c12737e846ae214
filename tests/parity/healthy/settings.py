"""The settings in which every family is recorded and judged: all pairs of size, guidance and level
in nine recordings.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST, OBLONG, LARGE = "smallest", "oblong", "large"
OFF, USUAL, HIGH = "off", "usual", "high"
STAGES, BLOCKS, MODULES = "stages", "blocks", "modules"
DTYPES = ("float32", "bfloat16")
HIGH_GUIDANCE = 7.0


@dataclass(frozen=True)
class Setting:
    size: str
    guidance: str
    level: str
    steps: int

    def __str__(self) -> str:
        return f"{self.level}, {self.size}, {self.steps} steps, guidance {self.guidance}"

    @property
    def slug(self) -> str:
        return f"{self.level}-{self.size}-{self.steps}-{self.guidance}"


WHOLE = (
    Setting(SMALLEST, OFF, STAGES, 2),
    Setting(SMALLEST, USUAL, BLOCKS, 6),
    Setting(SMALLEST, HIGH, MODULES, 6),
    Setting(OBLONG, OFF, BLOCKS, 6),
    Setting(OBLONG, USUAL, MODULES, 2),
    Setting(OBLONG, HIGH, STAGES, 6),
    Setting(LARGE, OFF, MODULES, 2),
    Setting(LARGE, USUAL, STAGES, 6),
    Setting(LARGE, HIGH, BLOCKS, 2),
)
FEW = (Setting(OBLONG, HIGH, MODULES, 2), Setting(SMALLEST, USUAL, STAGES, 6))
