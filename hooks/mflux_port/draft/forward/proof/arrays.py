"""Convert nested values between torch and MLX, and measure how far apart two of them are."""

from __future__ import annotations

import math
from collections.abc import Callable

STEADY = 1e-4  # the largest change of a result, divided by its largest value


def to_mlx(value):
    """Nested tensors as MLX arrays: complex ones as pairs, float64 as float32."""
    import mlx.core as mx
    import torch

    if isinstance(value, torch.Tensor):
        value = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        if value.dtype == torch.bfloat16:
            return mx.array(value.float().numpy()).astype(mx.bfloat16)
        value = value.float() if value.dtype == torch.float64 else value
        return mx.array(value.detach().contiguous().numpy())
    if isinstance(value, torch.dtype):
        return getattr(mx, {"bool": "bool_", "float64": "float32"}.get(name := str(value)[6:], name), None)
    if isinstance(value, torch.Size):
        return tuple(value)
    if type(value) in (list, tuple):
        return type(value)(to_mlx(part) for part in value)
    return {name: to_mlx(part) for name, part in value.items()} if type(value) is dict else value


def to_torch(value):
    """Nested MLX arrays as tensors."""
    import mlx.core as mx
    import numpy as np
    import torch

    if isinstance(value, mx.array):
        if value.dtype == mx.bfloat16:
            return torch.from_numpy(np.array(value.astype(mx.float32))).bfloat16()
        return torch.from_numpy(np.array(value))
    if isinstance(value, mx.Dtype):
        return getattr(torch, str(value).rsplit(".", 1)[-1].rstrip("_"))
    if type(value) in (list, tuple):
        return type(value)(to_torch(part) for part in value)
    return {name: to_torch(part) for name, part in value.items()} if type(value) is dict else value


def distance(mine, theirs) -> float:
    """The largest difference divided by the largest value of ``theirs``; infinite if shapes or kinds differ."""
    import numpy as np

    pairs = _pairs(mine, theirs)
    if pairs is None:
        return math.inf
    worst = 0.0
    for one, other in pairs:
        one, other = _numbers(one), _numbers(other)
        if one.shape != other.shape:
            return math.inf
        if not one.size:
            continue
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        gap = np.where(same, 0.0, np.abs(one - other))
        finite = np.abs(other[np.isfinite(other)])
        scale = max(float(finite.max()) if finite.size else 0.0, 1e-6)
        worst = max(worst, float(np.nan_to_num(gap, nan=np.inf).max()) / scale)
    return worst


def _pairs(mine, theirs) -> list | None:
    # Pairs of arrays at the same places in both. None where they have other numbers, or arrays in other places.
    if all(isinstance(one, (int, float)) for one in (mine, theirs)):
        return [] if mine == theirs else None
    if all(isinstance(one, (list, tuple)) for one in (mine, theirs)) and len(mine) == len(theirs):
        parts = [_pairs(one, other) for one, other in zip(mine, theirs, strict=True)]
        return None if None in parts else [pair for part in parts for pair in part]
    ours, others = _flat(mine), _flat(theirs)
    if len(ours) != len(others):
        return None
    return list(zip(ours, others, strict=True))


def _flat(value) -> list:
    if hasattr(value, "shape"):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [part for one in value for part in _flat(one)] if isinstance(value, (list, tuple)) else []


def _numbers(value):
    import mlx.core as mx
    import numpy as np
    import torch

    value = to_mlx(value) if isinstance(value, torch.Tensor) else value
    if isinstance(value, mx.array):
        value = np.array(value.astype(mx.float32)) if value.dtype == mx.bfloat16 else np.array(value)
    return np.asarray(value).astype(np.float64)


def moved(value):
    """Nested tensors with every number moved by about one unit in its last place, up or down."""
    import torch

    if isinstance(value, torch.Tensor) and value.is_floating_point():
        generator = torch.Generator().manual_seed(value.numel())
        way = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
        return value * (1 + torch.finfo(value.dtype).eps * way.to(value.dtype))
    if type(value) in (list, tuple):
        return type(value)(moved(part) for part in value)
    return {name: moved(part) for name, part in value.items()} if type(value) is dict else value


def is_steady(function: Callable, args: tuple, kwargs: dict, output, clone: Callable, most: float = STEADY) -> bool:
    """Whether a result hardly changes if its inputs change by one unit in the last place; an unstable result proves
    nothing.

    ``output``: the result of ``function``; ``clone`` copies nested values, as a call may change its arguments;
    ``most``: the largest change.
    """
    again = function(*moved(clone(args)), **moved(clone(kwargs)))
    return distance(clone(again), output) <= most


def has_floats(value) -> bool:
    """Whether any of the nested tensors has floating point numbers."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.is_floating_point()
    parts = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return any(has_floats(part) for part in parts)


def with_floats(value):
    """Nested tensors with float32 for whole numbers."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in (torch.int32, torch.int64) else value
    if type(value) in (list, tuple):
        return type(value)(with_floats(part) for part in value)
    return {name: with_floats(part) for name, part in value.items()} if type(value) is dict else value
