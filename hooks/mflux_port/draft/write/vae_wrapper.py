"""The VAE that the rest of a port uses, around a drafted autoencoder: scaling, layout and sizes from its config."""

from __future__ import annotations


def vae_wrapper(class_name: str, package: str, config: dict) -> str:
    """``vae.py``: the drafted autoencoder with latents as the transformer takes them.

    ``class_name``: the port's; ``package``: of the drafted modules; ``config``: the checkpoint's, with its numbers.
    """
    numbers, shift_in, shift_out = _normalisation(config)
    frames = "z_dim" in config  # the reference keeps an axis of frames, which is 1 for a picture
    fit, cut = ("[:, :, None]", "[:, :, 0]") if frames else ("", "")
    return f"""import mlx.core as mx

from {package}.autoencoder import {class_name}Autoencoder


class {class_name}VAE({class_name}Autoencoder):
    # Latents as the transformer takes them. Tiled latents have an axis of frames.
    spatial_scale: int = {spatial_scale(config)}
    latent_channels: int = {latent_channels(config)}
{numbers}
    def encode(self, image: mx.array) -> mx.array:
        if image.ndim == 5:
            image = image[:, :, 0]
        latents = super().encode(image{fit}){cut}
        return {shift_in}

    def decode(self, latents: mx.array) -> mx.array:
        if latents.ndim == 5:
            latents = latents[:, :, 0]
        latents = {shift_out}
        return super().decode(latents{fit}){cut}
"""


def spatial_scale(config: dict) -> int:
    """The number of pixels that one latent spans."""
    for name in ("scale_factor_spatial", "spatial_compression_ratio"):
        if isinstance(config.get(name), int):
            return config[name]
    levels = next(
        (config[name] for name in ("block_out_channels", "encoder_block_out_channels", "dim_mult") if config.get(name)),
        [1] * 4,
    )
    return 2 ** (len(levels) - 1)


def latent_channels(config: dict) -> int:
    """The channels of the latents."""
    return next((config[name] for name in ("latent_channels", "z_dim") if isinstance(config.get(name), int)), 4)


def _normalisation(config: dict) -> tuple[str, str, str]:
    """The numbers as class attributes, and the expressions for encoding and decoding."""
    if config.get("latents_mean") and config.get("latents_std"):
        lists = "".join(f"    {name} = {tuple(config[name])}\n" for name in ("latents_mean", "latents_std"))
        shaped = "mx.array(self.{}).reshape(1, -1, 1, 1)"
        mean, std = shaped.format("latents_mean"), shaped.format("latents_std")
        return lists, f"(latents - {mean}) / {std}", f"latents * {std} + {mean}"
    scale, shift = config.get("scaling_factor"), config.get("shift_factor")
    if scale is None:
        return "", "latents", "latents"
    lines = f"    scaling_factor: float = {scale}\n"
    if not shift:
        return lines, "latents * self.scaling_factor", "latents / self.scaling_factor"
    lines += f"    shift_factor: float = {shift}\n"
    return (
        lines,
        "(latents - self.shift_factor) * self.scaling_factor",
        "latents / self.scaling_factor + self.shift_factor",
    )
