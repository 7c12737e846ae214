"""Released ports with another loop or with a mistake in it. Copied into a port's folder; needs mflux."""

from __future__ import annotations

import functools

import mlx.core as mx
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.ernie_image.model.ernie_text_encoder.prompt_encoder import ErniePromptEncoder
from mflux.models.ernie_image.variants.txt2img.ernie_image import ErnieImage
from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein
from mflux.models.z_image.latent_creator import ZImageLatentCreator
from mflux.models.z_image.variants.z_image import ZImage
from mlx import nn

BATCH = ErniePromptEncoder.build_text_batch


class Ernie(ErnieImage):
    """As released, for an encoder of any width: two prompts are padded with the full size's."""

    def __init__(self, **more):
        super().__init__(**more)
        width = self.text_encoder.language_model.model.embed_tokens.weight.shape[-1]
        ErniePromptEncoder.build_text_batch = staticmethod(functools.partial(BATCH, hidden_size=width))


class ErnieWithoutEncoder(Ernie):
    """Like a rendered port before its encoder is written: two prompts of different lengths, the shorter one padded."""

    def _encode_prompt(self, prompt: str) -> mx.array:
        raise NotImplementedError("the text encoder is not written yet")

    def _encode_prompts(self, *, prompt, negative_prompt, guidance):
        prompts = [negative_prompt, prompt] if guidance > 1 else [prompt]
        embeds = [self._encode_prompt(text)[0] for text in prompts]
        rows = max(len(one) for one in embeds)
        padded = [mx.pad(one, [(0, rows - len(one)), (0, 0)]) for one in embeds]
        return mx.stack(padded), mx.array([len(one) for one in embeds], dtype=mx.int32)


class PackedErnie(Ernie):
    """Its loop has a row for each patch, and its noise is drawn in these rows."""

    def _prepare_latents(self, *, seed, config):
        self._grid = config.height // 16, config.width // 16
        shape = (1, self._grid[0] * self._grid[1], 128)
        return mx.random.normal(shape=shape, key=mx.random.key(seed)).astype(ModelConfig.precision)

    def _predict(self, transformer, text_bth, text_lens, latents):
        inner = ErnieImage._predict(transformer, text_bth, text_lens, self._unpacked(latents))

        def predict(latents, **rest):
            noise = inner(latents=self._unpacked(latents), **rest)
            return noise.transpose(0, 2, 3, 1).reshape(latents.shape)

        return predict

    def _decode_latents(self, *, latents, **rest):
        return super()._decode_latents(latents=self._unpacked(latents), **rest)

    def _unpacked(self, latents):
        return latents.reshape(1, *self._grid, 128).transpose(0, 3, 1, 2)


class ErnieFromTheConditional(Ernie):
    @staticmethod
    def _predict(transformer, text_bth, text_lens, latents):
        inner = ErnieImage._predict(transformer, text_bth, text_lens, latents)

        def predict(latents, sigma, text_bth, text_lens, guidance):
            return inner(latents, sigma, text_bth, text_lens, guidance + 1)  # c + g(c - u)

        return predict


class ErnieWithoutNegative(Ernie):
    """Guidance is not written yet: only the prompt is predicted."""

    def _encode_prompts(self, *, prompt, negative_prompt, guidance):
        return super()._encode_prompts(prompt=prompt, negative_prompt=negative_prompt, guidance=1.0)


class ErnieWithOtherSigmas(Ernie):
    """Its schedule differs; the transformer is correct."""

    def generate_image(self, seed, prompt, num_inference_steps, height, width, guidance, negative_prompt=None):
        settings = {"num_inference_steps": num_inference_steps, "height": height, "width": width, "guidance": guidance}
        return super().generate_image(
            seed, prompt, negative_prompt=negative_prompt, scheduler="flow_match_euler_discrete", **settings
        )


class PackedZImage(ZImage):
    """Its loop has 2x2 patches in rows, the channels innermost in each patch; its noise is drawn in these rows."""

    def __init__(self, **more):
        super().__init__(**more)
        ZImageLatentCreator.create_noise = staticmethod(self._drawn)

    def _drawn(self, seed, height, width):
        PackedZImage._grid = height // 16, width // 16  # the harness may build the model again
        shape = (1, self._grid[0] * self._grid[1], 64)
        return mx.random.normal(shape=shape, key=mx.random.key(seed)).astype(ModelConfig.precision)

    def _unpacked(self, rows):
        latents = rows.reshape(*self._grid, 2, 2, 16).transpose(4, 0, 2, 1, 3)
        return latents.reshape(16, 1, 2 * self._grid[0], 2 * self._grid[1])

    def _packed(self, latents):
        rows = latents.reshape(16, self._grid[0], 2, self._grid[1], 2).transpose(1, 3, 2, 4, 0)
        return rows.reshape(1, -1, 64)

    def _predict(self, transformer):
        inner = ZImage._predict(transformer)
        return lambda latents, **rest: self._packed(inner(latents=self._unpacked(latents), **rest))

    def _decode_latents(self, *, latents, **rest):
        return super()._decode_latents(latents=self._unpacked(latents), **rest)


class ZImageBase(ZImage):
    """The checkpoint with guidance."""

    def __init__(self, **more):
        super().__init__(model_config=ModelConfig.z_image(), **more)


class ZImageBaseWithoutEncoder(ZImageBase):
    """Like a rendered port before its encoder is written: the stand-in has to distinguish the two prompts."""

    def _encode_prompt(self, prompt: str) -> mx.array:
        raise NotImplementedError("the text encoder is not written yet")

    def _encode_prompts(self, *, prompt, negative_prompt, guidance):
        positive = self._encode_prompt(prompt)
        return positive[0], self._encode_prompt(negative_prompt)[0] if guidance > 1 else None


class ZImageWithAnotherEncoder(ZImage):
    """Only its prompt embeddings are wrong."""

    def _encode_prompts(self, **arguments):
        positive, negative = super()._encode_prompts(**arguments)
        return mx.roll(positive, 1, axis=-1), negative


class ZImageWithSizesWrittenDown(ZImage):
    """Has a part of the full size, regardless of the checkpoint's sizes."""

    def __init__(self, **more):
        super().__init__(**more)
        self.spare = nn.Linear(100_000, 100_000)


class KleinWithAnEmptyNegative(Flux2Klein):
    """Its tokenizer gives no tokens for an empty prompt, where the reference pads it."""

    def _encode_prompt_pair(self, *, prompt, negative_prompt, guidance):
        return super()._encode_prompt_pair(prompt=prompt, negative_prompt="", guidance=guidance)
