"""One bug in a claim, and how it changes the port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LORA, TRAINING, IMAGE, QUANTIZED = "lora", "training", "image", "quantized"


@dataclass(frozen=True)
class Claim:
    name: str
    claim: str
    apply: Callable
    row: str
    words: str
    named: str = ""  # what waivers.yml names
