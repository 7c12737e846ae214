"""Bugs in how a port applies LoRA files."""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx
from bugs.claims.claim import LORA, Claim, replaced
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
)  # fmt: skip
