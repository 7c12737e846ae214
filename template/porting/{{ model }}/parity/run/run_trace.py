"""What one run of the port showed, and small helpers for runs."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from mlx import nn

from parity.metrics import Distance

IMAGE = "vae_decode/vae/out/0"
PREPROCESS, CONDITION = "preprocess", "condition"  # for input images: their pixels, and what the transformer gets
LATENTS = "latents"  # what the loop passes to the transformer and the scheduler


class Done(Exception):
    """Ends ``generate_image`` as soon as everything requested is known."""


@dataclass
class Comparison:
    """One tensor of a stage on both sides."""

    name: str
    reference: np.ndarray
    own: np.ndarray
    distance: Distance
    aligned: bool = True


@dataclass
class RunTrace:
    """What one run showed between its stages, in order, and what went wrong."""

    seen: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    timesteps: list[tuple[float, float]] = field(default_factory=list)  # the reference's and the port's, if far apart
    unused: list[str] = field(default_factory=list)  # inputs that only the reference's transformer received
    image: np.ndarray | None = None
    failure: tuple[str, Exception] | None = None
    failures: list[tuple[str, Exception]] = field(default_factory=list)  # from this run and those before it

    def of(self, prefix: str) -> list[Comparison]:
        return [item for item in self.seen if item.name.startswith(prefix)]


def call_arguments(model, facts: dict) -> dict:
    """The port's ``generate_image`` arguments for the run that the reference made."""
    # mflux uses 1.0 for no guidance. What the reference ran counts, not what was requested.
    ran = facts["applied"]["value"]
    guidance = 1.0 if ran is None else ran
    wanted = {
        "seed": facts["seed"],
        "prompt": facts["prompt"],
        "negative_prompt": facts["negative_prompt"] or None,
        "num_inference_steps": facts["steps"],
        "height": facts["height"],
        "width": facts["width"],
        "guidance": guidance,
    }
    known = inspect.signature(model.generate_image).parameters
    images = [path for path, _ in facts.get("images", ())]
    if images:
        several = "image_paths" in known
        wanted |= {"image_paths": images} if several else {"image_path": images[0]}
    return {name: value for name, value in wanted.items() if name in known}


def forget_prompts(model) -> None:
    """Empty the port's cache of prompt embeddings: they may come from a stand-in, and the encoder would not rerun."""
    cache = getattr(model, "prompt_cache", None)
    if isinstance(cache, dict):
        cache.clear()


@contextlib.contextmanager
def legacy_decoding(model) -> Iterator[None]:
    """Make the VAE's decoder call its modules: mflux's other modes split it and call none of them."""
    vae = getattr(model, "vae", None)
    mode = getattr(vae, "decode_mode", None)
    if mode is not None:
        vae.decode_mode = "legacy"
    try:
        yield
    finally:
        if mode is not None:
            vae.decode_mode = mode


def scheduler_classes() -> list[type]:
    """All of mflux's schedulers, the port's own among them."""
    from mflux.models.common.schedulers.base_scheduler import BaseScheduler

    found, waiting = [], [BaseScheduler]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return found


def rebuild(value, replacements: Iterator[mx.array], depth: int = 0):
    """``value`` with other arrays in it, in the order in which ``mlx_taps.arrays`` gives them."""
    if isinstance(value, mx.array):
        return next(replacements)
    if isinstance(value, dict) and not isinstance(value, nn.Module):
        return {key: rebuild(item, replacements, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and depth < 4:
        items = [rebuild(item, replacements, depth + 1) for item in value]
        return type(value)(items) if not hasattr(value, "_fields") else type(value)(*items)
    return value
