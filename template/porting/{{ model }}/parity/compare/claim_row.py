"""One result row for a claim besides text-to-image: LoRA, training, image-to-image or a quantized copy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from parity.answers import FAIL


@dataclass
class Row:
    """One thing that is compared. Without a limit, it has no figure."""

    name: str
    status: str
    relative: float = math.nan
    limit: float = math.nan
    note: str = ""

    @property
    def has_figure(self) -> bool:
        return not math.isnan(self.limit)

    @property
    def figure(self) -> str:
        return f"relL2 {self.relative:.2e}  limit {self.limit:.1e}" if self.has_figure else ""


def worst(rows: Iterable[Row]) -> Row:
    """The row that represents all: a failed one, else the one that is nearest to its limit."""
    return max(rows, key=lambda row: (row.status == FAIL, row.relative / row.limit if row.has_figure else 0.0))
