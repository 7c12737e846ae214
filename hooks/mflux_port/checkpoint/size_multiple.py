"""The number of pixels that both sides of an image are multiples of, from the configs of VAE and transformer."""

from __future__ import annotations

import math

ROUNDED = 16  # mflux rounds sizes down to multiples of it
_SCALES = ("spatial_compression_ratio", "scale_factor_spatial")
# Lists with one number for each level, which halves the sides of the level before.
_LEVELS = ("block_out_channels", "encoder_block_out_channels", "dim_mult")


def size_multiple(pixels: int, patch: int) -> int:
    """The multiple for latents of ``pixels`` pixels a side, and patches of ``patch`` latents a side."""
    return math.lcm(ROUNDED, pixels * patch)


def pixels_of(vae: dict) -> int | None:
    """The pixels that one latent spans, by a VAE's config; None if the config does not say."""
    scale = next((vae[name] for name in _SCALES if _is_size(vae.get(name))), None)
    levels = next((vae[name] for name in _LEVELS if isinstance(vae.get(name), list) and vae[name]), None)
    return scale or (2 ** (len(levels) - 1) if levels else None)


def patch_of(transformer: dict, vae: dict) -> int:
    """The side of a patch, in latents: the transformer's own, or that of the pipeline's packing.

    If both are larger than 1, they are the same patch: Qwen-Image's config names the patch that its pipeline packs.
    """
    own = transformer.get("patch_size", transformer.get("all_patch_size", 1))
    sides = [side for side in (own if isinstance(own, list) else [own]) if _is_size(side)]
    return max([*sides, _packed(transformer, vae)])


def _packed(transformer: dict, vae: dict) -> int:
    """The side of a patch that the pipeline puts into the channels."""
    channels = vae.get("latent_channels", vae.get("z_dim"))
    inner = transformer.get("in_channels")
    if not (_is_size(channels) and _is_size(inner)) or inner % channels:
        return 1
    side = math.isqrt(inner // channels)
    return side if side**2 * channels == inner else 1


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value < 2**16
