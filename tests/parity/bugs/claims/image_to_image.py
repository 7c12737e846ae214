"""Bugs in a port's image-to-image."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
from bugs import replaced
from bugs.claims.claim import IMAGE, Claim
from mflux.models.common.config.config import Config
from mflux.models.common.latent_creator.latent_creator import Img2Img, LatentCreator
from mflux.models.common.vae.vae_util import VAEUtil
from mflux.models.z_image.model.z_image_vae.vae import VAE


def encoded(change: Callable) -> Callable:
    """Applies ``change(latents, vae)`` to the VAE's latents of the image."""
    original = VAEUtil.encode

    def encode(vae, image, **rest):
        return change(original(vae=vae, image=image, **rest), vae)

    return lambda: replaced(VAEUtil, "encode", staticmethod(encode))


def seen(change: Callable) -> Callable:
    """Applies ``change(pixels)`` to the image that is encoded, (1, 3, height, width)."""
    original = VAEUtil.encode

    def encode(vae, image, **rest):
        return original(vae=vae, image=change(image), **rest)

    return lambda: replaced(VAEUtil, "encode", staticmethod(encode))


SHIFT, SCALE = 0.1159, 0.3611  # of Z-Image's VAE


def blended(change: Callable) -> Callable:
    """``change(clean, noise, sigma)`` instead of the interpolation."""
    return lambda: replaced(LatentCreator, "add_noise_by_interpolation", staticmethod(change))


def _starting(change: Callable) -> Callable:
    original = Config.init_time_step.fget
    return lambda: replaced(Config, "init_time_step", property(lambda self: change(original(self), self)))


def _blended_twice(clean, noise, sigma):
    once = (1 - sigma) * clean + sigma * noise
    return (1 - sigma) * once + sigma * noise


def _sampling_encoder():
    original = VAE.encode

    def encode(self, image):
        mean = original(self, image)
        return mean + 0.1 * mx.random.normal(mean.shape, key=mx.random.key(0))

    return replaced(VAE, "encode", encode)


def _strength(low: float, high: float) -> Callable:
    """The first step when strengths outside of ``low`` and ``high`` (in mflux's scale) are clipped."""

    def change(step, config):
        return max(1, int(config.num_inference_steps * min(max(config.image_strength, low), high))) if step else 0

    return _starting(change)


def _sigma_of_next_step():
    original = Img2Img.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.init_time_step += 1

    return replaced(Img2Img, "__init__", init)


def _all_steps():
    return replaced(Config, "time_steps", property(lambda self: _Bar(range(self.num_inference_steps))))


class _Bar(list):
    format_dict = {"elapsed": 0.0}


def _coarse(pixels: mx.array) -> mx.array:
    return mx.repeat(mx.repeat(pixels[..., ::2, ::2], 2, axis=-1), 2, axis=-2)


def _rounded(step: int, config) -> int:
    return max(1, round(config.num_inference_steps * config.image_strength)) if step else 0


def _other_noise(clean, noise, sigma):
    return (1 - sigma) * clean + sigma * mx.random.normal(noise.shape, key=mx.random.key(9))


CLAIMS = (
    Claim("mean and std not applied", IMAGE, encoded(lambda x, vae: x / SCALE + SHIFT), "latents", "not normalised"),
    Claim("mean and std twice", IMAGE, encoded(lambda x, vae: (x - SHIFT) * SCALE), "latents", "normalised twice"),
    Claim("shift not subtracted", IMAGE, encoded(lambda x, vae: x + SHIFT * SCALE), "latents", "without the shift"),
    Claim("scale not applied", IMAGE, encoded(lambda x, vae: x / SCALE), "latents", "without the scale"),
    Claim("mirrored image", IMAGE, seen(lambda x: x[..., ::-1]), "latents", "neither"),
    Claim("colours in another order", IMAGE, seen(lambda x: x[:, ::-1]), "latents", "neither"),
    Claim("cropped image", IMAGE, seen(lambda x: mx.roll(x, 8, axis=-1)), "latents", "neither"),
    Claim("one step late", IMAGE, _starting(lambda step, config: step + 1 if step else 0), "steps", "the port at"),
    Claim("strength counted backwards", IMAGE, _starting(lambda step, config: config.num_inference_steps - step if step else 0), "steps", "the port at"),
    Claim("sigma of the next step", IMAGE, _sigma_of_next_step, "latents", "of step 2"),
    Claim("no noise", IMAGE, blended(lambda clean, noise, sigma: (1 - sigma) * clean), "latents", "weight 0.000"),
    Claim("no image", IMAGE, blended(lambda clean, noise, sigma: noise), "latents", "weight 1.000, that of step 0"),
    Claim("noise on the whole image", IMAGE, blended(lambda clean, noise, sigma: clean + sigma * noise), "latents", "image has the weight 1.000"),
    Claim("all steps run", IMAGE, _all_steps, "picture", ""),
    Claim("noise added twice", IMAGE, blended(_blended_twice), "latents", "the noise has the weight .*of no step"),
    Claim("encoder draws a sample", IMAGE, _sampling_encoder, "latents", "neither"),
    Claim("small strengths do nothing", IMAGE, _strength(0.3, 1.0), "steps", "the port at"),
    Claim("at strength 0.05 the image stays as it is", IMAGE, _starting(lambda step, config: config.num_inference_steps if (config.image_strength or 0) > 0.92 else step), "steps", "strength 0.05"),
    Claim("strength 1 redraws only half", IMAGE, _starting(lambda step, config: step or config.num_inference_steps // 2), "steps", "strength 1:"),
    Claim("steps rounded, not cut", IMAGE, _starting(_rounded), "steps", "the port at"),
    Claim("at half the resolution", IMAGE, seen(_coarse), "latents", "neither"),
    Claim("noise of another seed", IMAGE, blended(_other_noise), "latents", "neither"),
    Claim("large strengths limited", IMAGE, _strength(0.0, 0.8), "steps", "the port at"),
)  # fmt: skip
