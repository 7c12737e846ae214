"""Sums of many numbers against float64 (needs MLX): ``check_long_sums.py PORTING``."""

from __future__ import annotations

import sys

sys.path.insert(0, sys.argv[1])

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
from mlx import nn  # noqa: E402
from parity.run.long_sums import long_sums_in_parts  # noqa: E402

COUNT = (1 << 20) + 13  # not a multiple of the parts
numbers = (np.random.default_rng(0).standard_normal((2, COUNT)) + 1).astype(np.float32)
exact, weight = numbers.astype(np.float64), np.linspace(0.5, 2, COUNT).astype(np.float32)
rows, columns = mx.array(numbers), mx.array(numbers.T.copy())
centered = exact - exact.mean(-1, keepdims=True)
picture = np.moveaxis(numbers[:, : 1 << 20].reshape(1, 2, 1024, 1024), 1, -1)
group = exact[:, : 1 << 20].reshape(1, -1)
group = np.moveaxis(((group - group.mean()) / np.sqrt(group.var() + 1e-6)).reshape(1, 2, 1024, 1024), 1, -1)


def error(own: mx.array, wanted: np.ndarray) -> float:
    assert own.shape == wanted.shape, (own.shape, wanted.shape)
    return float(np.linalg.norm(np.array(own) - wanted) / np.linalg.norm(wanted))


def errors() -> dict[str, float]:
    root = np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6)
    norm = nn.GroupNorm(1, 2, eps=1e-6, pytorch_compatible=True)
    return {
        "sum": error(mx.sum(rows, axis=-1), exact.sum(-1)),
        "mean": error(columns.mean(axis=0, keepdims=True), exact.mean(-1)[None]),
        "all": error(mx.mean(rows), exact.mean()),
        "var": error(mx.var(rows, 1, False, 1), exact.var(-1, ddof=1)),
        "std": error(columns.std((0,)), exact.std(-1)),
        "rms_norm": error(mx.fast.rms_norm(rows, mx.array(weight), 1e-6), exact / root * weight),
        "layer_norm": error(
            mx.fast.layer_norm(rows, mx.array(weight), mx.array(weight), 1e-6),
            centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6) * weight + weight,
        ),
        "group norm": error(norm(mx.array(picture)), group),
    }


before = errors()
with long_sums_in_parts():
    inside = errors()
    short = mx.mean(mx.array([1, 2, 3])), mx.fast.layer_norm(mx.ones((2, 8)), None, None, 1e-6)
assert max(inside.values()) < 1e-6, inside
# On a CPU, MLX 0.32 adds one number after the other; if a newer MLX no longer does, the whole context can be deleted.
assert max(before.values()) > 1e-5 or mx.default_device() != mx.cpu, before
assert errors() == before and short[0].item() == 2 and short[1].shape == (2, 8)
print("right")
