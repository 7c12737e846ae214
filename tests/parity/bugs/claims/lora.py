"""Bugs in how a port applies LoRA files."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
from bugs import replaced
from bugs.claims.claim import LORA, Claim
from mflux.models.common.lora.layer.linear_lokr_layer import LoKrLinear
from mflux.models.common.lora.mapping.lora_loader import LoRALoader
from mflux.models.z_image.weights.z_image_lora_mapping import ZImageLoRAMapping


def loader(change: Callable) -> Callable:
    """``change(path, data, scale)`` returns what mflux's loader gets instead for one layer: path, data and scale."""
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


def swapped_targets(path, data, scale):
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


def _without_scales():
    original = LoRALoader.load_and_apply_lora

    @functools.wraps(original)
    def load(*args, **kwargs):
        return original(*args, **{**kwargs, "lora_scales": None})

    return replaced(LoRALoader, "load_and_apply_lora", staticmethod(load))


def _alpha_of_the_first():
    """One alpha for all layers of a file."""
    first: dict[str, object] = {}
    original = LoRALoader._apply_lora_with_mapping

    def mapped(*args, **kwargs):
        first.clear()
        return original(*args, **kwargs)

    def change(path, data, scale):
        return path, data | ({"alpha": first.setdefault("alpha", data["alpha"])} if "alpha" in data else {}), scale

    @contextlib.contextmanager
    def entered():
        with replaced(LoRALoader, "_apply_lora_with_mapping", staticmethod(mapped)), loader(change)():
            yield

    return entered()


def _alpha_of_one_block(path, data, scale):
    return _without_alpha(path, data, scale) if not path.startswith("layers.0.") else (path, data, scale)


def _root_of_the_rank(path, data, scale):
    if "alpha" in data:
        data["alpha"] = data["alpha"] * data["lora_A"].shape[1] ** 0.5
    return path, data, scale


def dora(axis: int = 1, magnitude: Callable | None = lambda m: m[:, None]) -> Callable:
    """A port that applies DoRA with LoRA matrices, which mflux refuses.

    Correct if axis and magnitude are left as they are. ``magnitude``: None applies the matrices alone.
    """

    class Decomposed(LoKrLinear):
        def __call__(self, x):
            whole = self.linear.weight + self.scale * self.lokr_w2
            norm = mx.linalg.norm(whole, axis=axis, keepdims=True)
            return x @ (magnitude(self.dora_scale) * whole / norm).T + self.linear.get("bias", 0.0)

    plain, found = LoRALoader._apply_single_lora, {}

    def single(transformer, lora_file, *args, **kwargs):
        weights, metadata = mx.load(lora_file, return_metadata=True)
        found.clear()
        for key in [key for key in weights if key.endswith("lora_magnitude_vector")]:
            layer = key.removesuffix(".lora_magnitude_vector")
            found[weights[f"{layer}.lora_A.weight"][0, 0].item()] = weights.pop(key)
        other = Path(lora_file).with_name("undecomposed.safetensors")
        mx.save_safetensors(str(other), weights, metadata)
        try:
            return plain(transformer, str(other), *args, **kwargs)
        finally:
            other.unlink()

    original = LoRALoader._apply_lora_matrices_to_target

    def applied(transformer, path, data, scale, *, role):
        done = original(transformer, path, data, scale, role=role)
        mine = found.get(data["lora_A"][0, 0].item())  # the port may have other names for a layer
        if mine is not None and done and magnitude:
            part = LoRALoader._get_target_module(transformer, path)
            update = (data["lora_A"] @ data["lora_B"]).T
            layer = Decomposed.from_linear(part.linear, mx.ones((1, 1)), update, mine, scale)
            LoRALoader._replace_target_module(transformer, path, layer)
        return done

    @contextlib.contextmanager
    def entered():
        with replaced(LoRALoader, "_apply_single_lora", staticmethod(single)):
            with replaced(LoRALoader, "_apply_lora_matrices_to_target", staticmethod(applied)):
                yield

    return entered


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


CLAIMS = (
    Claim("alpha is ignored", LORA, loader(_without_alpha), "kohya", "alpha is ignored"),
    Claim("alpha in the metadata is ignored", LORA, loader(_without_alpha), "diffusers_alpha", "alpha is ignored"),
    Claim("alpha twice", LORA, loader(_alpha_twice), "kohya", "alpha is applied twice"),
    Claim("scale twice", LORA, loader(lambda p, d, s: (p, d, s * s)), "kohya", "scale is applied twice"),
    Claim("scale not applied", LORA, loader(lambda p, d, s: (p, d, 1.0)), "kohya", "scale is not applied"),
    Claim("up and down swapped", LORA, loader(_swapped_matrices), "attention", "transposed"),
    Claim("q and k swapped", LORA, loader(swapped_targets), "attention", "to_k: has the update of|to_q: has the update of|has the update of"),
    Claim("block off by one", LORA, loader(_next_block), "attention", "has the update of layers"),
    Claim("subtracted", LORA, loader(_negative), "attention", "subtracted"),
    Claim("a target left out", LORA, loader(lambda p, d, s: ("" if p.endswith("to_v") else p, d, s)), "attention", "to_v"),
    Claim("constructor drops the scales", LORA, _without_scales, "attention", "scale is not applied"),
    Claim("no diffusers prefix", LORA, mapping(lambda one: not one.startswith("transformer.")), "attention", "refused"),
    Claim("no kohya key of to_k", LORA, mapping(lambda one: not (one.startswith("lora_unet") and "to_k" in one)), "kohya", "not applied"),
    Claim("up of half size", LORA, loader(lambda p, d, s: (p, {**d, "lora_B": d["lora_B"] / 3}, s)), "attention", "0.3333 times"),
    Claim("only the first third of a layer", LORA, loader(_first_rows), "attention", "another update"),
    Claim("half of the ranks", LORA, loader(_half_of_the_ranks), "attention", "another update"),
    Claim("applied twice", LORA, _twice, "attention", "2 times too strong"),
    Claim("update in bfloat16", LORA, loader(_in_bfloat16), "attention", ""),
    Claim("one alpha for all layers", LORA, _alpha_of_the_first, "diffusers_alpha", "alpha_pattern is ignored"),
    Claim("alpha of one block only", LORA, loader(_alpha_of_one_block), "kohya", "alpha is ignored"),
    Claim("alpha divided by the root of the rank", LORA, loader(_root_of_the_rank), "kohya", "rsLoRA"),
    Claim("DoRA over the wrong axis", LORA, dora(axis=0), "dora", "norm of columns"),
    Claim("DoRA with the magnitude 1", LORA, dora(magnitude=lambda m: 1.0), "dora", "another update"),
    Claim("DoRA read as plain LoRA", LORA, dora(magnitude=None), "dora", "magnitude of DoRA is ignored"),
)  # fmt: skip
# Right in a port that goes beyond mflux.
RIGHT = (Claim("DoRA as the reference applies it", LORA, dora(), "dora", ""),)


def _kronecker_swapped():
    """LoKr whose factors have each other's place; both products have the same shape."""
    original = LoKrLinear.from_linear

    def from_linear(linear, lokr_w1, lokr_w2, dora_scale=None, scale=1.0):
        return original(linear, lokr_w2, lokr_w1, dora_scale=dora_scale, scale=scale)

    return replaced(LoKrLinear, "from_linear", staticmethod(from_linear))


def _one_kronecker_factor(name: str) -> Callable:
    original = LoRALoader._apply_lokr_matrices_to_target

    def applied(transformer, path, data, scale, *, role):
        if name in data:
            data = data | {name: data[name] / 2}
        return original(transformer, path, data, scale, role=role)

    return lambda: replaced(LoRALoader, "_apply_lokr_matrices_to_target", staticmethod(applied))


# Z-Image's mapping has no LoKr; FLUX.2's has.
FLUX2 = (
    Claim("LoKr factors swapped", LORA, _kronecker_swapped, "lokr_diffusers", "w1, w2. are swapped"),
    Claim("one LoKr factor of half size", LORA, _one_kronecker_factor("lokr_w2_b"), "lokr_diffusers", "0.5 times"),
)  # fmt: skip
