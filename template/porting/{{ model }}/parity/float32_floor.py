"""Measure how exact a side's float32 is: products in TF32 or bfloat16 look like an error of the port."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LIMIT = 1e-5  # float32 itself gives less than 1e-6; TF32 gives 3e-4
ROWS, WIDTH, SIDE = 64, 256, 12


def measure(
    matmul: Callable[..., np.ndarray], convolution: Callable[..., np.ndarray], attention: Callable[..., np.ndarray]
) -> dict[str, float]:
    """The relative error of each operation against float64. Each takes and returns numpy arrays.

    ``convolution`` takes a picture (1, C, H, W) and kernels (O, C, 3, 3), without padding; ``attention`` takes queries,
    keys and values (1, heads, rows, width) and scales by the square root of the width.
    """
    draw = np.random.default_rng(0).standard_normal
    a, b = (draw((ROWS, WIDTH)).astype(np.float32) for _ in range(2))
    picture, kernels = (draw(shape).astype(np.float32) for shape in ((1, 32, SIDE, SIDE), (16, 32, 3, 3)))
    q, k, v = (draw((1, 2, ROWS, 64)).astype(np.float32) for _ in range(3))
    return {
        "matmul": _error(np.float64(a) @ np.float64(b).T, matmul(a, np.ascontiguousarray(b.T))),
        "convolution": _error(_convolution(np.float64(picture), np.float64(kernels)), convolution(picture, kernels)),
        "attention": _error(_attention(np.float64(q), np.float64(k), np.float64(v)), attention(q, k, v)),
    }


def sentence(side: str, floors: dict[str, float], cure: str) -> str:
    """One line when an operation is too inexact to compare with; empty when all are float32."""
    rough = {name: floor for name, floor in floors.items() if not floor <= LIMIT}
    if not rough:
        return ""
    figures = ", ".join(f"{name} {floor:.0e}" for name, floor in rough.items())
    return f"{side} does not compute in float32 ({figures} off float64, more than {LIMIT:.0e}): {cure}"


def _error(exact: np.ndarray, own: np.ndarray) -> float:
    return float(np.linalg.norm(exact - own) / np.linalg.norm(exact))


def _convolution(picture: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(picture, kernels.shape[2:], axis=(2, 3))
    return np.einsum("bchwij,ocij->bohw", windows, kernels)


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v
