"""The classes that are used as a new port. Copied into a family's folder: runs where mflux is installed.

Each is mflux's own; only its sizes and the arguments of its constructor or loop are changed.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
from pathlib import Path

import small_mflux

HERE = Path(__file__).resolve().parent
if HERE.name in small_mflux.TABLES:
    small_mflux.install(HERE / "artifacts/tiny", small_mflux.TABLES[HERE.name])

import mlx.core as mx  # noqa: E402 - after the sizes are settled
from mflux.models.common.config.model_config import ModelConfig  # noqa: E402
from mflux.models.common.schedulers.flow_match_euler_discrete_scheduler import (  # noqa: E402
    FlowMatchEulerDiscreteScheduler,
)


def _z_image():
    from mflux.models.z_image.variants.z_image import ZImage

    return ZImage


def _z_image_base():
    class ZImageBase(_z_image()):
        """The checkpoint with guidance."""

        def __init__(self, **more):
            super().__init__(model_config=ModelConfig.z_image(), **more)

    return ZImageBase


def _flux2():
    from mflux.models.flux2.variants.txt2img.flux2_klein import Flux2Klein

    return Flux2Klein


def _ernie_image():
    from mflux.models.ernie_image.variants.txt2img.ernie_image import ErnieImage

    return ErnieImage


def _flux():
    from mflux.models.flux.variants.txt2img.flux import Flux1

    return Flux1


def _flux_dev():
    class Dev(_flux()):
        """The checkpoint whose transformer takes the guidance as an input."""

        def __init__(self, **more):
            super().__init__(model_config=ModelConfig.dev(), **more)

    return Dev


def _flux_kontext():
    from mflux.models.flux.variants.kontext.flux_kontext import Flux1Kontext

    return Flux1Kontext


def _qwen():
    from mflux.models.qwen.variants.txt2img.qwen_image import QwenImage

    return QwenImage


def _qwen_edit():
    from mflux.models.qwen.variants.edit.qwen_image_edit import QwenImageEdit

    return QwenImageEdit


def _krea2():
    from mflux.models.common.schedulers.base_scheduler import BaseScheduler
    from mflux.models.krea2.model import krea2_sampler
    from mflux.models.krea2.variants.txt2img.krea2 import Krea2

    class Euler(BaseScheduler):
        """Krea2's own Euler step as a scheduler's step, which the harness can see."""

        def __init__(self, sigmas):
            self._sigmas = sigmas

        @property
        def sigmas(self):
            return self._sigmas

        def step(self, noise, timestep, latents, **kwargs):
            return EULER.step(self, timestep, latents, noise, None)

    class Stepper:
        def __init__(self, sigmas):
            self._scheduler = Euler(sigmas)

        def step(self, i, x, v, denoised):
            return self._scheduler.step(noise=v, timestep=i, latents=x)

    EULER, krea2_sampler.EulerStepper = krea2_sampler.EulerStepper, Stepper

    class KreaEuler(Krea2):
        """Uses the reference's sampler (the default draws new noise in every step) and the reference's scale.

        mflux computes n + g(p - n), diffusers p + g(p - n): one is the other with a guidance of one more.
        """

        def generate_image(self, seed, prompt, num_inference_steps, height, width, guidance, negative_prompt=None):
            guidance = guidance if guidance == 1.0 else guidance + 1.0
            given = {"seed": seed, "prompt": prompt, "num_inference_steps": num_inference_steps, "height": height}
            given |= {"width": width, "guidance": guidance, "negative_prompt": negative_prompt}
            return super().generate_image(**given, scheduler="euler")

    return KreaEuler


def _fibo():
    from mflux.models.fibo.variants.txt2img.fibo import FIBO

    return FIBO


def _fibo_edit():
    from mflux.models.fibo.variants.edit.fibo_edit import FIBOEdit

    return FIBOEdit


def _fibo2():
    from mflux.models.fibo2.variants.txt2img.fibo2 import Fibo2

    return Fibo2


Port = globals()[f"_{HERE.name}"]()


class ReferenceSteps(FlowMatchEulerDiscreteScheduler):
    """The steps that diffusers computes from the checkpoint's scheduler_config.json, even if mflux's differ."""

    def __init__(self, config):
        super().__init__(config)
        known = json.loads((HERE / "artifacts/tiny/scheduler/scheduler_config.json").read_text())
        count = config.num_inference_steps
        sigmas = [1 - n * (1 - 1 / count) / max(1, count - 1) for n in range(count)]
        shift = known["shift"]
        if known.get("use_dynamic_shifting"):
            rows = config.width * config.height / 256
            least, most = known["base_image_seq_len"], known["max_image_seq_len"]
            slope = (known["max_shift"] - known["base_shift"]) / (most - least)
            shift = math.exp(known["base_shift"] + slope * (rows - least))
        sigmas = [shift * sigma / (1 + (shift - 1) * sigma) for sigma in sigmas]
        if known.get("shift_terminal"):
            scale = (1 - known["shift_terminal"]) / (1 - sigmas[-1])
            sigmas = [1 - (1 - sigma) * scale for sigma in sigmas]
        self._timesteps = mx.array(sigmas) * self.num_train_timesteps
        self._sigmas = mx.array([*sigmas, 0.0])

    def set_image_seq_len(self, image_seq_len):
        """Does nothing: the size is already taken into account."""

    def set_mu(self, mu):
        """Does nothing: the shift that a port computes is already taken into account."""


class WithReferenceSteps(Port):
    """As released, except for its schedule: errors that remain in the loop do not come from the schedule."""

    @functools.wraps(Port.generate_image)
    def generate_image(self, **given):
        return super().generate_image(**given | {"scheduler": f"{__name__}.ReferenceSteps"})


def __getattr__(name: str):
    """What only some families have: the class that edits, the LoRA mapping, and the training adapter around Port."""
    if name == "Unbaked":
        return _unbaked(__getattr__("Adapter"))
    if name not in OTHERS.get(HERE.name, {}):
        raise AttributeError(name)
    where, _, kind = OTHERS[HERE.name][name].partition(":")
    module = importlib.import_module(where)
    for own, value in list(vars(module).items()):
        if name == "Adapter" and isinstance(value, type) and value in Port.__mro__[:2]:
            setattr(module, own, Port)  # the adapter builds the class that is judged
    return getattr(module, kind)


def _unbaked(adapter: type) -> type:
    """The adapter, with a resumed LoRA that stays apart from the weights."""
    from mflux.models.common.lora.mapping.lora_loader import LoRALoader

    class Unbaked(adapter):
        def load_lora_adapter(self, *, path):
            original = LoRALoader.load_and_apply_lora
            LoRALoader.load_and_apply_lora = functools.partial(original, bake_lora=False)
            try:
                super().load_lora_adapter(path=path)
            finally:
                LoRALoader.load_and_apply_lora = staticmethod(original)

    return Unbaked


M = "mflux.models."
OTHERS = {
    "z_image": {
        "Adapter": f"{M}z_image.training_adapter.z_image_training_adapter:ZImageTrainingAdapter",
        "Mapping": f"{M}z_image.weights.z_image_lora_mapping:ZImageLoRAMapping",
    },
    "flux2": {
        "Adapter": f"{M}flux2.training_adapter.flux2_training_adapter:Flux2TrainingAdapter",
        "Edit": f"{M}flux2.variants.edit.flux2_klein_edit:Flux2KleinEdit",
        "Mapping": f"{M}flux2.weights.flux2_lora_mapping:Flux2LoRAMapping",
    },
    "ernie_image": {
        "Adapter": f"{M}ernie_image.training_adapter.ernie_training_adapter:ErnieTrainingAdapter",
        "Mapping": f"{M}ernie_image.weights.ernie_lora_mapping:ErnieLoRAMapping",
    },
    "krea2": {
        "Adapter": f"{M}krea2.training_adapter.krea2_training_adapter:Krea2TrainingAdapter",
        "Mapping": f"{M}krea2.weights.krea2_lora_mapping:Krea2LoRAMapping",
    },
    "flux_dev": {"Mapping": f"{M}flux.weights.flux_lora_mapping:FluxLoRAMapping"},
    "flux_kontext": {"Mapping": f"{M}flux.weights.flux_lora_mapping:FluxLoRAMapping"},
    "qwen": {"Mapping": f"{M}qwen.weights.qwen_lora_mapping:QwenLoRAMapping"},
}
