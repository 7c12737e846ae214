"""What mflux's own ports claim besides text-to-image, and the true differences between mflux 0.24 and diffusers 0.42 there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# As large as what is drawn: mflux's FLUX.1 Kontext and FIBO scale an image to that size, diffusers encodes it at its own.
IMAGE, LARGE_IMAGE = "image-64x48.png", "image-384x384.png"
SIZE = ("--size", "64x48", "--no-calibration")
FLAGS = {
    "edit": ("--edit", "--steps", "4", *SIZE),
    "image": ("--image", "--steps", "4", "--strength", "0.7", "--size", "128x96", "--no-calibration"),
    "lora": ("--lora", "--steps", "1", "--no-calibration"),
    "training": ("--training", "--steps", "4", "--no-calibration"),
}


@dataclass(frozen=True)
class Known:
    """A true difference, shown in both sources. ``line``: a pattern of the rows that it explains, in ``claim``."""

    claim: str
    line: str
    reason: str


@dataclass(frozen=True)
class Claimed:
    """``flags``: more of run_reference.py for a claim. ``ports``: a class of ports.py other than Port for a claim."""

    claims: tuple[str, ...]
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    known: tuple[Known, ...] = ()

    def explains(self, claim: str, line: str) -> str:
        """The reason for a row's failure; empty when it is a false alarm."""
        return next((one.reason for one in self.known if one.claim == claim and re.search(one.line, line)), "")


CLAIMED = {
    "z_image": Claimed(("image", "lora", "training")),
    "flux2": Claimed(("edit", "image", "lora", "training"), {"edit": ("--edit", "2")}, {"edit": "Edit"}),
    "ernie_image": Claimed(("image", "lora", "training")),
    "flux_dev": Claimed(("image", "lora")),
    "qwen": Claimed(("image", "lora")),
    "krea2": Claimed(("image", "lora", "training")),
    "flux_kontext": Claimed(("edit", "lora"), {"edit": ("--edit", IMAGE)}),
    "qwen_edit": Claimed(("edit",), {"edit": ("--edit", LARGE_IMAGE, "--size", "384x384", "--steps", "2")}),
    "fibo_edit": Claimed(("edit",), {"edit": ("--edit", IMAGE)}, {"edit": "WithReferenceSteps"}),
}
