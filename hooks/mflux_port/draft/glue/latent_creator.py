"""The latent creator's numbers, where the pipeline's noise differs from the template's."""

from __future__ import annotations

import re

_CONSTANT = r"(?m)^    {name} = (\d+)$"
_ROUNDED = 16  # mflux rounds sizes to multiples of it


def resized(source: str, facts: dict[str, dict]) -> str | None:
    """The latent creator with the channels and the scale of the pipeline's noise; None if they are already the same."""
    value = facts.get("packing", {}).get("value")
    if not value or len(value.get("noise_shape", ())) < 4:
        return None
    # An axis of frames, which is 1 for a picture, is before the channels or after them.
    channels = [size for size in value["noise_shape"][1:-2] if size > 1]
    if len(channels) != 1:
        return None
    wanted = {"LATENT_CHANNELS": channels[0], "SPATIAL_SCALE": value["pixels"]}
    text = source
    for name, number in wanted.items():
        text = re.sub(_CONSTANT.format(name=name), f"    {name} = {number}", text)
    sides = multiple(facts)
    if sides != _ROUNDED:
        text = text.replace("multiples of 16", f"multiples of {sides}").replace("% 16", f"% {sides}")
    return text if text != source else None


def multiple(facts: dict[str, dict]) -> int:
    """What width and height must be multiples of: mflux's own 16, or a patch of the pipeline's."""
    value = facts.get("packing", {}).get("value") or {}
    patch = 2 if "p = q = 2" in value.get("pattern", "") else 1
    return max(_ROUNDED, value.get("pixels", 1) * patch)
