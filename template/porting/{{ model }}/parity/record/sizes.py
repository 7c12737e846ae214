"""Image sizes that a pipeline generates exactly: multiples of its VAE's and its patches' reduction."""

from __future__ import annotations

import math
from pathlib import Path

from parity.answers import SIZE, size_of
from parity.errors import ParityError
from parity.record.components import is_network, read_json

USUAL = 16  # for a VAE whose config does not give its factor
PATCH = 2  # no family's patches are larger
SMALL = 7, 5  # no side (in pixels, latents or patches) equals another, a channel count or a head count


def multiple(folder: Path) -> int:
    """The number of pixels of which both sides of an image must be a multiple, for the checkpoint in ``folder``."""
    config = read_json(folder / "vae" / "config.json") if is_network(folder, "vae") else {}
    return PATCH * _scale(config)


def usual(sides: int) -> tuple[int, int]:
    """The default width and height of a port whose sizes are multiples of ``sides``."""
    width, height = (length // sides * sides for length in size_of(SIZE))
    return max(width, sides), max(height, sides)


def small(folder: Path, sides: int) -> tuple[int, int]:
    """Width and height for a recording of modules: the smallest that distinguish all layouts, and multiples of ``sides``."""
    unit = math.lcm(multiple(folder), sides)
    return SMALL[0] * unit, SMALL[1] * unit


def verify_drawn(shape: tuple[int, ...], width: int, height: int, folder: Path) -> None:
    """Raise ParityError when the pipeline did not generate an image of the requested size."""
    if tuple(shape[-2:]) != (height, width):
        unit = multiple(folder)
        raise ParityError(
            f"the reference drew {shape[-1]}x{shape[-2]} when asked for {width}x{height}; give a --size of multiples "
            f"of {unit}, such as {_near(width, unit)}x{_near(height, unit)}"
        )


def _near(length: int, unit: int) -> int:
    return max(1, round(length / unit)) * unit


def _scale(config: dict) -> int:
    for name in ("scale_factor_spatial", "spatial_compression_ratio"):
        if isinstance(config.get(name), int):
            return config[name]
    for name in ("block_out_channels", "dim_mult", "encoder_block_out_channels"):
        if isinstance(config.get(name), list) and config[name]:
            return 2 ** (len(config[name]) - 1)
    return USUAL // PATCH
