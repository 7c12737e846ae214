"""Sums of many numbers in parts: MLX adds them one by one, and loses digits that a verdict needs.

On the CPU, the variance of 4 million numbers (a group norm of a 1024x1024 picture) is 4e-3 off in float32.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import mlx.core as mx

from parity.run.patches import Patches

LONG = 1 << 14  # a shorter sum is at most 3e-6 off
PART = 1 << 10  # numbers that MLX adds at a time


@contextlib.contextmanager
def long_sums_in_parts() -> Iterator[None]:
    """Inside this context, the sums, means, variances and norms of ``mx`` over many numbers are exact in float32."""
    patches = Patches()
    for name, own in (("sum", _sum), ("mean", _mean), ("var", _var), ("std", _std)):
        for owner in (mx, mx.array):
            patches.set(owner, name, _if_long(getattr(owner, name), own))
    patches.set(mx.fast, "layer_norm", _norm_if_long(mx.fast.layer_norm, _layer_norm))
    patches.set(mx.fast, "rms_norm", _norm_if_long(mx.fast.rms_norm, _rms_norm))
    try:
        yield
    finally:
        patches.undo()


def _if_long(original, own):
    def reduce(array, axis=None, keepdims=False, *more, **named):
        if not isinstance(array, mx.array) or not mx.issubdtype(array.dtype, mx.floating):
            return original(array, axis, keepdims, *more, **named)
        axes = _axes(array, axis)
        if math.prod(array.shape[one] for one in axes) <= LONG:
            return original(array, axis, keepdims, *more, **named)
        result = own(array.astype(mx.float32), axes, *more, **named).astype(array.dtype)
        return result if keepdims else mx.squeeze(result, axes)

    return reduce


def _norm_if_long(original, own):
    def norm(x, weight=None, *args, **kwargs):
        if x.shape[-1] <= LONG:
            return original(x, weight, *args, **kwargs)
        return own(x.astype(mx.float32), weight, *args, **kwargs).astype(x.dtype)

    return norm


def _axes(array: mx.array, axis) -> tuple[int, ...]:
    given = range(array.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(one % array.ndim for one in given))


def _sum(x: mx.array, axes: tuple[int, ...], **_) -> mx.array:
    """The sum over ``axes``, which stay with length 1."""
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    rows = mx.transpose(x, [*kept, *axes]).reshape(math.prod(x.shape[axis] for axis in kept), -1)
    shape = [1 if axis in axes else length for axis, length in enumerate(x.shape)]
    return _row_sums(rows).reshape(shape)


def _row_sums(rows: mx.array) -> mx.array:
    count = rows.shape[1]
    if count <= PART:
        return _summed(rows, 1)
    whole = count // PART * PART
    parts = [_summed(rows[:, :whole].reshape(len(rows), -1, PART), 2)]
    if whole < count:
        parts.append(_summed(rows[:, whole:], 1)[:, None])
    return _row_sums(mx.concatenate(parts, axis=1))


def _mean(x: mx.array, axes: tuple[int, ...], **_) -> mx.array:
    return _sum(x, axes) / math.prod(x.shape[axis] for axis in axes)


def _var(x: mx.array, axes: tuple[int, ...], ddof: int = 0, **_) -> mx.array:
    count = math.prod(x.shape[axis] for axis in axes)
    return _sum(mx.square(x - _mean(x, axes)), axes) / (count - ddof)


def _std(x: mx.array, axes: tuple[int, ...], ddof: int = 0, **_) -> mx.array:
    return mx.sqrt(_var(x, axes, ddof))


def _layer_norm(x: mx.array, weight=None, bias=None, eps: float = 1e-5, **_) -> mx.array:
    centered = x - _mean(x, (x.ndim - 1,))
    result = centered * mx.rsqrt(_mean(mx.square(centered), (x.ndim - 1,)) + eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _rms_norm(x: mx.array, weight=None, eps: float = 1e-5, **_) -> mx.array:
    result = x * mx.rsqrt(_mean(mx.square(x), (x.ndim - 1,)) + eps)
    return result if weight is None else result * weight


_summed = mx.sum  # MLX's own function, before anything replaces it
