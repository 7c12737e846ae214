"""The latent creator's numbers, where the pipeline's noise differs from the template's."""

from __future__ import annotations

import re

from mflux_port.checkpoint.size_multiple import size_multiple

_CONSTANT = r"(?m)^    {name} = (\d+)$"


def resized(source: str, facts: dict[str, dict]) -> str | None:
    """The latent creator with the numbers of the pipeline's noise and sizes; None if they are already the same."""
    value = facts.get("packing", {}).get("value")
    if not value or len(value.get("noise_shape", ())) < 4:
        return None
    # An axis of frames, which has length 1 for a picture, comes before or after the channels.
    channels = [size for size in value["noise_shape"][1:-2] if size > 1]
    if len(channels) != 1:
        return None
    wanted = {"LATENT_CHANNELS": channels[0], "SPATIAL_SCALE": value["pixels"], "SIZE_MULTIPLE": multiple(facts)}
    text = source
    for name, number in wanted.items():
        text = re.sub(_CONSTANT.format(name=name), f"    {name} = {number}", text)
    return text if text != source else None


def multiple(facts: dict[str, dict]) -> int:
    """The multiple of width and height: as measured, otherwise the pipeline's patch or mflux's own 16."""
    drawn = facts.get("sizes", {}).get("value")
    if drawn:
        return drawn["multiple"]
    value = facts.get("packing", {}).get("value") or {}
    return size_multiple(value.get("pixels", 1), 2 if "p = q = 2" in value.get("pattern", "") else 1)
