"""Convolutions of large pictures in strips of rows: on some devices a whole one takes ten times the picture's memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mlx.core as mx

from parity.run.patches import Patches

MOST = 1 << 25  # numbers that go into one convolution: 128 MB in float32


@contextlib.contextmanager
def convolutions_in_strips() -> Iterator[None]:
    """Inside this context, ``mx.conv2d`` computes a large result some rows at a time. Each number is the same."""
    patches = Patches()
    patches.set(mx, "conv2d", _in_strips(mx.conv2d))
    try:
        yield
    finally:
        patches.undo()


def _in_strips(original):
    def conv2d(input, weight, stride=1, padding=0, dilation=1, groups=1, **more):
        rows, largest = input.shape[1], max(input.size, input.size // input.shape[-1] * weight.shape[0])
        if largest <= MOST:
            return original(input, weight, stride, padding, dilation, groups, **more)
        (down, across), (above, beside), (apart, _) = _pair(stride), _pair(padding), _pair(dilation)
        reach = apart * (weight.shape[1] - 1) + 1
        count = (rows + 2 * above - reach) // down + 1
        step = max(1, count * MOST // largest)
        strips = []
        for first in range(0, count, step):
            start = first * down - above
            end = (min(first + step, count) - 1) * down - above + reach
            part = input[:, max(start, 0) : min(end, rows)]
            edge = (max(-start, 0), max(end - rows, 0))
            part = mx.pad(part, ((0, 0), edge, (0, 0), (0, 0))) if any(edge) else part
            strips.append(original(part, weight, (down, across), (0, beside), dilation, groups, **more))
            mx.eval(strips[-1])
        return mx.concatenate(strips, axis=1)

    return conv2d


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
