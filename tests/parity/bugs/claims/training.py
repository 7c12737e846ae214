"""Bugs in a port's training and in the adapter that it saves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import mlx.core as mx
from bugs import replaced
from bugs.claims.claim import TRAINING, Claim
from bugs.claims.lora import loader, swapped_targets
from mflux.models.common.lora.layer.linear_lora_layer import LoRALinear
from mflux.models.common.training.trainer import TrainingTrainer
from mflux.models.z_image.model.z_image_transformer.transformer_block import ZImageTransformerBlock
from mflux.models.z_image.training_adapter.z_image_training_adapter import ZImageTrainingAdapter
from mlx import nn


def error(change: Callable) -> Callable:
    """mflux's loss with ``change(predicted, noise, clean)`` squared instead."""

    def loss(adapter, training_spec, base_config, item, rng):
        config = adapter.create_config(training_spec, width=item.width, height=item.height)
        at = training_spec.training_loop.timestep_low
        noise = mx.random.normal(shape=item.clean_latents.shape, dtype=config.precision)
        sigma = config.scheduler.sigmas[at]
        noisy = (1 - sigma) * item.clean_latents + sigma * noise
        predicted = adapter.predict_noise(
            t=at, latents_t=noisy, sigmas=config.scheduler.sigmas, cond=item.cond, config=config
        )
        return change(predicted, noise, item.clean_latents)

    return lambda: replaced(TrainingTrainer, "_single_example_loss", staticmethod(loss))


def _twice_drawn(adapter, training_spec, base_config, item, rng):
    """The target has other noise than the latents."""
    config = adapter.create_config(training_spec, width=item.width, height=item.height)
    at, clean = training_spec.training_loop.timestep_low, item.clean_latents
    sigma = config.scheduler.sigmas[at]
    noise, other = (mx.random.normal(shape=clean.shape, dtype=config.precision) for _ in range(2))
    noisy = (1 - sigma) * clean + sigma * noise
    predicted = adapter.predict_noise(
        t=at, latents_t=noisy, sigmas=config.scheduler.sigmas, cond=item.cond, config=config
    )
    return (clean + predicted - other).square().mean()


def schedule(draw: Callable, weight: Callable) -> Callable:
    """mflux's loss at the step ``draw(rng, steps)`` where the training file leaves it open, times ``weight(sigma)``."""

    def loss(adapter, training_spec, base_config, item, rng):
        config = adapter.create_config(training_spec, width=item.width, height=item.height)
        loop, sigmas = training_spec.training_loop, config.scheduler.sigmas
        at = draw(rng, training_spec.steps) if loop.timestep_high is None else loop.timestep_low
        noise = mx.random.normal(shape=item.clean_latents.shape, dtype=config.precision)
        noisy = (1 - sigmas[at]) * item.clean_latents + sigmas[at] * noise
        predicted = adapter.predict_noise(t=at, latents_t=noisy, sigmas=sigmas, cond=item.cond, config=config)
        return weight(sigmas[at]) * (item.clean_latents + predicted - noise).square().mean()

    return lambda: replaced(TrainingTrainer, "_single_example_loss", staticmethod(loss))


def adapter(name: str, change: Callable) -> Callable:
    """Replaces one method of the training adapter with ``change(original)``."""
    return lambda: replaced(ZImageTrainingAdapter, name, change(getattr(ZImageTrainingAdapter, name)))


def _other_prediction(change: Callable) -> Callable:
    return adapter("predict_noise", lambda original: lambda self, **given: change(original, self, given))


def _unshifted(original):
    def create_config(self, training_spec, *, width, height):
        config = original(self, training_spec, width=width, height=height)
        steps = training_spec.steps
        config.scheduler._sigmas = mx.concatenate([mx.linspace(1.0, 1.0 / steps, steps), mx.zeros(1)])
        return config

    return create_config


def _frozen(original):
    def freeze_base(self):
        original(self)
        unfreeze = nn.Module.unfreeze
        layer = self.transformer().layers[1].attention.to_v
        layer.unfreeze = lambda *args, **kwargs: unfreeze(layer, keys=["lora_A"])

    return freeze_base


def _nothing_frozen(original):
    def freeze_base(self):
        self._z.vae.freeze()
        self._z.transformer.freeze()

    return freeze_base


def _block_detached(original):
    def load(self, *, path):
        original(self, path=path)
        self.transformer().layers[1].__class__ = _Detached

    return load


class _Detached(ZImageTransformerBlock):
    def __call__(self, *args, **kwargs):
        return mx.stop_gradient(super().__call__(*args, **kwargs))


def _not_normalised(original):
    def encode_data(self, **given):
        latents, prompt = original(self, **given)
        return latents / SCALE + SHIFT, prompt

    return encode_data


def _other_picture(original):
    def encode_data(self, **given):
        latents, prompt = original(self, **given)
        return latents[..., ::-1, :], prompt

    return encode_data


def _cut(original):
    def load(self, *, path):
        original(self, path=path)
        self.transformer().layers[1].feed_forward.w2.__class__ = _Cut

    return load


class _Cut(LoRALinear):
    def __call__(self, x):
        return self.linear(x) + mx.stop_gradient(super().__call__(x) - self.linear(x))


def _scaled(scale: float):
    def change(original):
        def load(self, *, path):
            original(self, path=path)
            for _, part in self.transformer().named_modules():
                if getattr(part, "_mflux_lora_role", None) == "train":
                    part.scale = scale

        return load

    return change


def _swapped_roles(original):
    def load(self, *, path):
        with loader(swapped_targets)():
            original(self, path=path)

    return load


def saving(change: Callable) -> Callable:
    """Saves correctly (scale included, names of the reference), then applies ``change(weights)``."""

    def save(self, *, path, training_spec):
        weights = {}
        for target in training_spec.lora_layers.targets:
            module = dict(self.transformer().named_modules())[target.module_path]
            if not target.module_path.startswith("layers."):
                continue
            weights[f"transformer.{target.module_path}.lora_A.weight"] = module.lora_A.T
            weights[f"transformer.{target.module_path}.lora_B.weight"] = module.scale * module.lora_B.T
        mx.save_safetensors(str(path), change(weights))

    return lambda: replaced(ZImageTrainingAdapter, "save_lora_adapter", save)


def _other_matrix(key: str) -> str:
    return key.replace("lora_A", "lora_B") if "lora_A" in key else key.replace("lora_B", "lora_A")


SHIFT, SCALE = 0.1159, 0.3611  # of Z-Image's VAE


CLAIMS = (
    Claim("loss with the opposite sign", TRAINING, _other_prediction(lambda original, self, given: -original(self, **given)), "loss", "clean - noise"),
    Claim("loss against the noise", TRAINING, error(lambda p, n, c: (p - n).square().mean()), "loss", "target is noise"),
    Claim("loss against the image", TRAINING, error(lambda p, n, c: (p - c).square().mean()), "loss", "target is clean"),
    Claim("loss is a sum", TRAINING, error(lambda p, n, c: (c + p - n).square().sum()), "gradients", "times the reference's"),
    Claim("timestep shift missing", TRAINING, adapter("create_config", _unshifted), "sigmas", "no timestep shift"),
    Claim("timestep of the next step", TRAINING, _other_prediction(lambda original, self, given: original(self, **given | {"t": given["t"] + 1})), "loss", "the reference's is"),
    Claim("image and noise swapped", TRAINING, error(lambda p, n, c: (p - c + n).square().mean()), "loss", "clean - noise"),
    Claim("loss weighted by sigma", TRAINING, schedule(lambda rng, n: rng.randrange(n), lambda sigma: sigma**-2), "weighting", "sigma_sqrt"),
    Claim("timesteps of the noisy half", TRAINING, schedule(lambda rng, n: rng.randrange(n // 2), lambda sigma: 1), "timesteps", "none of diffusers' schemes"),
    Claim("one matrix is frozen", TRAINING, adapter("freeze_base", _frozen), "gradients", "layers.1.attention.to_v.lora_B: is zero"),
    Claim("gradient cut in one layer", TRAINING, adapter("load_lora_adapter", _cut), "gradients", "is zero"),
    Claim("trained at twice the scale", TRAINING, adapter("load_lora_adapter", _scaled(2.0)), "gradients", "is 2 times"),
    Claim("trained targets swapped", TRAINING, adapter("load_lora_adapter", _swapped_roles), "targets", "is given the matrices of"),
    Claim("saved without its scale", TRAINING, saving(lambda w: {k: v / 2 if "lora_B" in k else v for k, v in w.items()}), "saved", "2 times the saved update"),
    Claim("saved transposed", TRAINING, saving(lambda w: {k: v.T for k, v in w.items()}), "saved", "is not saved as up"),
    Claim("saved under other names", TRAINING, saving(lambda w: {f"model.{k}": v for k, v in w.items()}), "saved", "does not read this key"),
    Claim("alpha and rank swapped when saved", TRAINING, saving(lambda w: {k: v / 4 if "lora_B" in k else v for k, v in w.items()}), "saved", "4 times the saved update"),
    Claim("gradient detached in a block", TRAINING, adapter("load_lora_adapter", _block_detached), "gradients", "is zero"),
    Claim("text encoder not frozen", TRAINING, adapter("freeze_base", _nothing_frozen), "targets", "besides those of LoRA are trained"),
    Claim("training latents not normalised", TRAINING, adapter("encode_data", _not_normalised), "data", "not normalised"),
    Claim("training pictures upside down", TRAINING, adapter("encode_data", _other_picture), "data", "other latents"),
    Claim("loss in bfloat16", TRAINING, error(lambda p, n, c: (c + p - n).astype(mx.bfloat16).square().mean().astype(mx.float32)), "loss", ""),
    Claim("negative timestep", TRAINING, _other_prediction(lambda original, self, given: original(self, **given | {"sigmas": -given["sigmas"]})), "loss", "the reference's is"),
    Claim("time runs backwards", TRAINING, _other_prediction(lambda original, self, given: original(self, **given | {"sigmas": 1 - given["sigmas"]})), "loss", "the reference's is"),
    Claim("mean over the last axis only", TRAINING, error(lambda p, n, c: (c + p - n).square().mean(axis=-1).sum()), "loss", "times the reference's"),
    Claim("mean over two of the axes", TRAINING, error(lambda p, n, c: (c + p - n).square().mean(axis=(-1, -2)).sum()), "loss", "times the reference's"),
    Claim("noise drawn again for the target", TRAINING, lambda: replaced(TrainingTrainer, "_single_example_loss", staticmethod(_twice_drawn)), "loss", "the reference's is"),
    Claim("absolute error", TRAINING, error(lambda p, n, c: (c + p - n).abs().mean()), "loss", "the reference's is"),
    Claim("saved in bfloat16", TRAINING, saving(lambda w: {k: v.astype(mx.bfloat16) for k, v in w.items()}), "saved", ""),
    Claim("up and down swapped when saved", TRAINING, saving(lambda w: {_other_matrix(k): v for k, v in w.items()}), "saved", "is not saved as"),
    Claim("even timesteps, not the named ones", TRAINING, contextlib.nullcontext, "timesteps", "waivers.yml names logit_normal", "training.timesteps.logit_normal"),
)  # fmt: skip
