"""Bugs in what a port claims besides text-to-image, each with the row that must fail and words that must be in its note.

``Claim.apply`` changes the released Z-Image port, or mflux's own code that it uses, inside its context. The
expected answers were written before the first run.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
from mflux.models.common.config.config import Config
from mflux.models.common.latent_creator.latent_creator import Img2Img, LatentCreator
from mflux.models.common.lora.layer.linear_lokr_layer import LoKrLinear
from mflux.models.common.lora.layer.linear_lora_layer import LoRALinear
from mflux.models.common.lora.mapping.lora_loader import LoRALoader
from mflux.models.common.training.trainer import TrainingTrainer
from mflux.models.common.vae.vae_util import VAEUtil
from mflux.models.z_image.model.z_image_transformer.transformer_block import ZImageTransformerBlock
from mflux.models.z_image.training_adapter.z_image_training_adapter import ZImageTrainingAdapter
from mflux.models.z_image.weights.z_image_lora_mapping import ZImageLoRAMapping
from mflux.models.z_image.weights.z_image_weight_definition import ZImageWeightDefinition
from mlx import nn

LORA, TRAINING, IMAGE, QUANTIZED = "lora", "training", "image", "quantized"


@dataclass(frozen=True)
class Claim:
    name: str
    claim: str
    apply: Callable
    row: str
    words: str
    named: str = ""  # what waivers.yml names


@contextlib.contextmanager
def replaced(owner, name: str, value):
    """A static or plain attribute of a class, replaced inside this context."""
    had, before = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before) if had else delattr(owner, name)


def loader(change: Callable) -> Callable:
    """``change(path, data, scale)`` gives what mflux's loader gets instead for one layer: path, data and scale."""
    original = LoRALoader._apply_lora_matrices_to_target

    def applied(transformer, target_path, lora_data, scale, *, role):
        path, data, strength = change(target_path, dict(lora_data), scale)
        return original(transformer, path, data, strength, role=role) if path else True

    return lambda: replaced(LoRALoader, "_apply_lora_matrices_to_target", staticmethod(applied))


def _without_alpha(path, data, scale):
    return path, {name: value for name, value in data.items() if name != "alpha"}, scale


def _alpha_twice(path, data, scale):
    if "alpha" in data:
        data["alpha"] = data["alpha"] ** 2 / data["lora_A"].shape[1]
    return path, data, scale


def _swapped_matrices(path, data, scale):
    if data["lora_A"].shape[0] == data["lora_B"].shape[1]:
        data["lora_A"], data["lora_B"] = data["lora_B"].T, data["lora_A"].T
    return path, data, scale


def _swapped_targets(path, data, scale):
    if path.endswith("to_q"):
        return f"{path[:-1]}k", data, scale
    return (f"{path[:-1]}q" if path.endswith("to_k") else path), data, scale


def _next_block(path, data, scale):
    parts = path.split(".")
    if parts[0] == "layers":
        parts[1] = str((int(parts[1]) + 1) % 3)
    return ".".join(parts), data, scale


def _negative(path, data, scale):
    return path, {**data, "lora_B": -data["lora_B"]}, scale


def _first_rows(path, data, scale):
    rows = mx.arange(data["lora_B"].shape[1]) < data["lora_B"].shape[1] // 3
    return path, {**data, "lora_B": data["lora_B"] * rows}, scale


def _half_of_the_ranks(path, data, scale):
    half = data["lora_A"].shape[1] // 2
    return path, {**data, "lora_A": data["lora_A"][:, :half], "lora_B": data["lora_B"][:half]}, scale


def _in_bfloat16(path, data, scale):
    return path, {**data, "lora_B": data["lora_B"].astype(mx.bfloat16).astype(mx.float32)}, scale


def _twice():
    original = LoRALoader._apply_lora_matrices_to_target

    def applied(transformer, path, data, scale, *, role):
        original(transformer, path, data, scale, role=role)
        return original(transformer, path, data, scale, role=role)

    return replaced(LoRALoader, "_apply_lora_matrices_to_target", staticmethod(applied))


def _factors_swapped():
    original = LoKrLinear.from_linear

    def from_linear(linear, lokr_w1, lokr_w2, **rest):
        return original(linear, lokr_w1=lokr_w2, lokr_w2=lokr_w1, **rest)

    return replaced(LoKrLinear, "from_linear", staticmethod(from_linear))


def _without_scales():
    original = LoRALoader.load_and_apply_lora

    @functools.wraps(original)
    def load(*args, **kwargs):
        return original(*args, **{**kwargs, "lora_scales": None})

    return replaced(LoRALoader, "load_and_apply_lora", staticmethod(load))


def mapping(keep: Callable) -> Callable:
    """Z-Image's LoRA mapping with the patterns for which ``keep(pattern)`` is true."""
    original = ZImageLoRAMapping.get_mapping

    def get_mapping():
        targets = original()
        for target in targets:
            for name in ("up", "down", "alpha"):
                patterns = getattr(target, f"possible_{name}_patterns")
                setattr(target, f"possible_{name}_patterns", [one for one in patterns if keep(one)])
        return targets

    return lambda: replaced(ZImageLoRAMapping, "get_mapping", staticmethod(get_mapping))


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
    """One method of the training adapter; ``change(original)`` gives the other one."""
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
        with loader(_swapped_targets)():
            original(self, path=path)

    return load


def saving(change: Callable) -> Callable:
    """Saved as it should be (scale included, names of the reference), then with ``change(weights)``."""

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


def encoded(change: Callable) -> Callable:
    """``change(latents, vae)`` of what the VAE makes of the image."""
    original = VAEUtil.encode

    def encode(vae, image, **rest):
        return change(original(vae=vae, image=image, **rest), vae)

    return lambda: replaced(VAEUtil, "encode", staticmethod(encode))


def seen(change: Callable) -> Callable:
    """``change(pixels)`` of the image that is encoded, (1, 3, height, width)."""
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


def _sampled(latents, vae):
    return latents + 0.1 * mx.random.normal(latents.shape, key=mx.random.key(0))


def _strength(low: float, high: float) -> Callable:
    """Steps where the strength of mflux's scale is outside of ``low`` and ``high``: that of the nearer one."""

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


LISTED = ("*embedder*", "*adaLN*")


def predicate(choose: Callable) -> Callable:
    """A weight definition that lists LISTED; ``choose(path, module)`` says what is really quantized."""

    @contextlib.contextmanager
    def change():
        with replaced(ZImageWeightDefinition, "UNQUANTIZED", LISTED):
            with replaced(ZImageWeightDefinition, "quantization_predicate", staticmethod(choose)):
                yield

    return change


def _listed(path, module) -> bool:
    return hasattr(module, "to_quantized") and not any(word.strip("*") in path for word in LISTED)


def _with_layers(change: Callable) -> Callable:
    original = nn.quantize

    def quantize(model, *args, **kwargs):
        original(model, *args, **kwargs)
        layers = [part for _, part in model.named_modules() if isinstance(part, nn.QuantizedLinear)]
        if layers:
            change(layers)

    @contextlib.contextmanager
    def entered():
        with predicate(_listed)(), replaced(nn, "quantize", quantize):
            yield

    return entered


def _with_one_layer(change: Callable) -> Callable:
    return _with_layers(lambda layers: change(layers[0]))


def _requantize(layer: nn.QuantizedLinear) -> None:
    weight = mx.dequantize(layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits)
    layer.bits = 8
    layer.weight, layer.scales, layer.biases = mx.quantize(weight, layer.group_size, 8)


def _swapped_weights(layers: list[nn.QuantizedLinear]) -> None:
    one, other = (layer for layer in layers if layer.weight.shape == layers[0].weight.shape)[:2]
    one.weight, other.weight = other.weight, one.weight


def _halved(layer: nn.QuantizedLinear) -> None:
    layer.scales = layer.scales * 0.5


CLAIMS = (
    Claim("alpha is ignored", LORA, loader(_without_alpha), "kohya", "alpha is ignored"),
    Claim("alpha in the metadata is ignored", LORA, loader(_without_alpha), "diffusers_alpha", "alpha is ignored"),
    Claim("alpha twice", LORA, loader(_alpha_twice), "kohya", "alpha is applied twice"),
    Claim("scale twice", LORA, loader(lambda p, d, s: (p, d, s * s)), "kohya", "scale is applied twice"),
    Claim("scale not applied", LORA, loader(lambda p, d, s: (p, d, 1.0)), "kohya", "scale is not applied"),
    Claim("up and down swapped", LORA, loader(_swapped_matrices), "attention", "transposed"),
    Claim("q and k swapped", LORA, loader(_swapped_targets), "attention", "to_k: has the update of|to_q: has the update of|has the update of"),
    Claim("block off by one", LORA, loader(_next_block), "attention", "has the update of layers"),
    Claim("subtracted", LORA, loader(_negative), "attention", "subtracted"),
    Claim("a target left out", LORA, loader(lambda p, d, s: ("" if p.endswith("to_v") else p, d, s)), "attention", "to_v"),
    Claim("constructor drops the scales", LORA, _without_scales, "attention", "scale is not applied"),
    Claim("no diffusers prefix", LORA, mapping(lambda one: not one.startswith("transformer.")), "attention", "refused"),
    Claim("no kohya key of to_k", LORA, mapping(lambda one: not (one.startswith("lora_unet") and "to_k" in one)), "kohya", "not applied"),
    Claim("up of half size", LORA, loader(lambda p, d, s: (p, {**d, "lora_B": d["lora_B"] / 3}, s)), "attention", "0.3333 times"),
    Claim("loss on the other sign", TRAINING, _other_prediction(lambda original, self, given: -original(self, **given)), "loss", "clean - noise"),
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
    Claim("embedder quantized", QUANTIZED, predicate(lambda path, module: hasattr(module, "to_quantized")), "transformer", "UNQUANTIZED lists it"),
    Claim("a layer left in full precision", QUANTIZED, predicate(lambda path, module: _listed(path, module) and "layers.1" not in path), "transformer", "does not list it"),
    Claim("one layer in other bits", QUANTIZED, _with_one_layer(_requantize), "", "in 8 bits, not 4"),
    Claim("a broken layer", QUANTIZED, _with_one_layer(_halved), "", "lost its weight"),
    Claim("only the first third of a layer", LORA, loader(_first_rows), "attention", "another update"),
    Claim("half of the ranks", LORA, loader(_half_of_the_ranks), "attention", "another update"),
    Claim("applied twice", LORA, _twice, "attention", "2 times too strong"),
    Claim("update in bfloat16", LORA, loader(_in_bfloat16), "attention", ""),
    Claim("LoKr factors swapped", LORA, _factors_swapped, "lokr_diffusers", "another update"),
    Claim("alpha and rank swapped when saved", TRAINING, saving(lambda w: {k: v / 4 if "lora_B" in k else v for k, v in w.items()}), "saved", "4 times the saved update"),
    Claim("gradient detached in a block", TRAINING, adapter("load_lora_adapter", _block_detached), "gradients", "is zero"),
    Claim("text encoder not frozen", TRAINING, adapter("freeze_base", _nothing_frozen), "targets", "besides those of LoRA are trained"),
    Claim("training latents not normalised", TRAINING, adapter("encode_data", _not_normalised), "data", "not normalised"),
    Claim("training pictures upside down", TRAINING, adapter("encode_data", _other_picture), "data", "other latents"),
    Claim("loss in bfloat16", TRAINING, error(lambda p, n, c: (c + p - n).astype(mx.bfloat16).square().mean().astype(mx.float32)), "loss", ""),
    Claim("even timesteps, not the named ones", TRAINING, contextlib.nullcontext, "timesteps", "waivers.yml names logit_normal", "training.timesteps.logit_normal"),
    Claim("noise added twice", IMAGE, blended(_blended_twice), "latents", "the noise has the weight .*of no step"),
    Claim("encoder draws a sample", IMAGE, encoded(_sampled), "latents", "neither"),
    Claim("small strengths do nothing", IMAGE, _strength(0.3, 1.0), "steps", "the port at"),
    Claim("large strengths limited", IMAGE, _strength(0.0, 0.8), "steps", "the port at"),
    Claim("two layers' weights exchanged", QUANTIZED, _with_layers(_swapped_weights), "", "lost its weight"),
    Claim("the encoder's attention in full precision", QUANTIZED, predicate(lambda path, module: _listed(path, module) and "self_attn" not in path), "text_encoder", "does not list it"),
)  # fmt: skip
