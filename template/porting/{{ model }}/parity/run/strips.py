"""Convolutions of large pictures in strips of rows: on some devices a whole one takes ten times the picture's memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mlx.core as mx

from parity.run.patches import Patches

MOST = 1 << 25  # numbers in one convolution: 128 MB in float32
ROWS = -3  # the axis of a picture's rows: (N, H, W, C), or (N, D, H, W, C) of a video


@contextlib.contextmanager
def convolutions_in_strips() -> Iterator[None]:
    """Inside this context, ``mx.conv2d`` and ``mx.conv3d`` compute large results in strips, to the same numbers."""
    patches = Patches()
    for name, axes in (("conv2d", 2), ("conv3d", 3)):
        patches.set(mx, name, _in_strips(getattr(mx, name), axes))
    try:
        yield
    finally:
        patches.undo()


def _in_strips(original, axes: int):
    def convolution(input, weight, stride=1, padding=0, dilation=1, groups=1, **more):
        rows, largest = input.shape[ROWS], max(input.size, input.size // input.shape[-1] * weight.shape[0])
        if largest <= MOST:
            return original(input, weight, stride, padding, dilation, groups, **more)
        strides, paddings, dilations = (_of_axes(value, axes) for value in (stride, padding, dilation))
        down, above = strides[-2], paddings[-2]
        reach = dilations[-2] * (weight.shape[ROWS] - 1) + 1
        count = (rows + 2 * above - reach) // down + 1
        step = max(1, count * MOST // largest)
        paddings = (*paddings[:-2], 0, paddings[-1])
        strips = []
        for first in range(0, count, step):
            start = first * down - above
            end = (min(first + step, count) - 1) * down - above + reach
            part = _rows(input, start, end)
            strips.append(original(part, weight, strides, paddings, dilations, groups, **more))
            mx.eval(strips[-1])
        return mx.concatenate(strips, axis=ROWS)

    return convolution


def _rows(input: mx.array, start: int, end: int) -> mx.array:
    """Rows of a picture; rows outside of it are zeros."""
    rows = input.shape[ROWS]
    part = input[..., max(start, 0) : min(end, rows), :, :]
    edge = (max(-start, 0), max(end - rows, 0))
    return mx.pad(part, [*[(0, 0)] * (input.ndim - 3), edge, (0, 0), (0, 0)]) if any(edge) else part


def _of_axes(value, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)
