"""Runs in a checkout's environment: one transformer in two generation loops, Z-Image's own and a rendered port's.

``python generation_rounds.py MODEL CLASS ROUNDS`` prints JSON: seconds per step and peak bytes of both loops.
"""

from __future__ import annotations

import gc
import importlib
import json
import statistics
import sys
import time

import mlx.core as mx
from mflux.callbacks.callback_registry import CallbackRegistry
from mflux.models.common.compute_precision import ComputePrecision
from mflux.models.common.config.model_config import ModelConfig
from mflux.models.z_image.model.z_image_text_encoder.prompt_encoder import PromptEncoder
from mflux.models.z_image.model.z_image_transformer.transformer import ZImageTransformer
from mflux.models.z_image.variants.z_image import ZImage
from mlx import nn
from PIL import Image

SIZE, STEPS, TOKENS, WIDTH = 128, 4, 32, 256
PROMPT = mx.random.normal((TOKENS, WIDTH), key=mx.random.key(1))


class Shared(nn.Module):
    """Z-Image's transformer, called as a rendered port calls its own."""

    def __init__(self, transformer: ZImageTransformer):
        super().__init__()
        self.transformer = transformer

    def __call__(self, latents, timestep, prompt_embeds, rotary):
        sigma = timestep / 1000
        noise = self.transformer(x=latents[0][:, None], timestep=1 - sigma, sigmas=sigma, cap_feats=prompt_embeds)
        return noise[:, 0][None]

    def get_rotary_embeddings(self, latents, prompt_embeds):
        return ()


class Drawn:
    """Replaces the decoded image, because only the loop is compared."""

    image = Image.new("RGB", (8, 8))


def hand_written(transformer: ZImageTransformer):
    model = _bare(ZImage, ModelConfig.z_image_turbo(), transformer)
    PromptEncoder.encode_prompt = staticmethod(lambda **_: PROMPT)
    return model


def rendered(name: str, class_name: str, transformer: ZImageTransformer):
    module = importlib.import_module(f"mflux.models.{name}.variants.txt2img.{name}")
    model = _bare(getattr(module, class_name), ModelConfig.z_image_turbo(), Shared(transformer))
    model.prompt_cache = {"a red bicycle": PROMPT}
    return model


def _bare(cls: type, model_config: ModelConfig, transformer: nn.Module):
    model = cls.__new__(cls)
    nn.Module.__init__(model)
    model.transformer, model.model_config = transformer, model_config
    model.callbacks, model.tokenizers = CallbackRegistry(), {"z_image": None}
    model.tiling_config, model.vae, model.text_encoder, model.bits = None, None, None, None
    model.float32, model.lora_paths, model.lora_scales = False, None, None
    model.compute_precision, model.generation_parameters = ComputePrecision(), None
    model._decode_latents = lambda latents, **_: latents
    return model


def timed(model) -> tuple[float, int, mx.array]:
    gc.collect()
    mx.clear_cache()
    mx.reset_peak_memory()
    held = []
    module = sys.modules[type(model).__module__]
    module.ImageUtil.to_image = staticmethod(lambda decoded_latents, **_: held.append(decoded_latents) or Drawn())
    start = time.perf_counter()
    model.generate_image(seed=3, prompt="a red bicycle", num_inference_steps=STEPS, width=SIZE, height=SIZE)
    mx.eval(held)
    return (time.perf_counter() - start) / STEPS, mx.get_peak_memory(), held[0]


def main(name: str, class_name: str, rounds: int) -> None:
    transformer = ZImageTransformer(dim=256, n_layers=4, n_heads=2, cap_feat_dim=WIDTH)
    mx.eval(transformer.parameters())
    models = {"hand-written": hand_written(transformer), "rendered": rendered(name, class_name, transformer)}
    theirs, ours = (timed(model)[2].reshape(-1) for model in models.values())
    if not mx.allclose(theirs, ours, atol=1e-3).item():
        raise SystemExit("the two loops give different latents; they do not do the same work")
    taken = {kind: [] for kind in models}
    for _ in range(rounds):
        for kind, model in models.items():
            taken[kind].append(timed(model)[:2])
    report = {
        kind: {"seconds": statistics.median(one for one, _ in pairs), "peak": max(peak for _, peak in pairs)}
        for kind, pairs in taken.items()
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
