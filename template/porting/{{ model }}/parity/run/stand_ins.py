"""Replacements for methods of the port that cannot run yet, so that the stages after them can be judged."""

from __future__ import annotations

import inspect

import mlx.core as mx
import numpy as np

from parity.compare.calls import Branch, ReferenceCalls
from parity.compare.prompts import without_padding
from parity.run.mlx_taps import arrays
from parity.run.patches import Patches

PREDICT = ("_predict", "_predict_edit")  # the template's methods that make the function which calls the transformer


def can_encode(model) -> bool:
    """Whether the port encodes prompts with the template's own method, whose result is known."""
    return hasattr(type(model), "_encode_prompt")


def encode_prompts(patches: Patches, model, calls: ReferenceCalls, dtype: mx.Dtype) -> None:
    """Replace the port's prompt embeddings by the reference's of the same prompts."""
    if not can_encode(model):
        return
    wanted = _returned(type(model))

    def encode(own, prompt=None, *args, **kwargs):
        found = [mx.array(values).astype(dtype) for values in embeddings(calls, prompt)]
        if "tuple" in wanted.lower():
            return tuple(found[: wanted.count(",") + 1])
        return found[0]

    patches.set(type(model), "_encode_prompt", encode)


def _returned(kind: type) -> str:
    """What the port's prompt encoder says that it returns: an array, or a tuple of several."""
    own = inspect.unwrap(kind._encode_prompt)
    called = [own.__globals__.get(name) for name in own.__code__.co_names]
    methods = [getattr(one, "encode_prompt", None) for one in called if inspect.isclass(one)]
    return str(inspect.signature(next(filter(None, methods), own)).return_annotation)


def embeddings(calls: ReferenceCalls, prompt: str | None) -> list[np.ndarray]:
    """The reference's embeddings of the prompt, without padding; of the negative prompt for any other text."""
    branches, place = calls.branches(0), calls.conditional()
    if prompt is not None and prompt != calls.recording.facts["prompt"] and len(branches) > 1:
        place = 1 - place if len(branches) == 2 else place
    branch = branches[place]
    short = without_padding(branch.inputs, branch.inputs)
    found = [short.get(name, values) for name, values in branch.prompts.items()]
    return [values if values.ndim > 2 or _pooled(branch, values) else values[None] for values in found]


def _pooled(branch: Branch, values: np.ndarray) -> bool:
    return values.ndim == 2 and len(values) == 1


def predict(patches: Patches, model, entering) -> None:
    """Make the template's own ``_predict`` return zeros; ``entering`` is called with its arguments."""

    def prediction(*args, **kwargs):
        entering(args, kwargs)
        return _zeros

    for name in PREDICT:
        if inspect.getattr_static(type(model), name, None) is not None:
            patches.set(type(model), name, staticmethod(prediction))


def _zeros(latents=None, *args, **kwargs) -> mx.array:
    return mx.zeros_like(latents if latents is not None else next(arrays((args, kwargs))))
