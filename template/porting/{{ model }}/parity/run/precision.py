"""Check that MLX computes in true float32 on this device."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from parity import float32_floor


def warning() -> str:
    """One line when MLX's float32 is not exact. MLX_ENABLE_TF32=0 must be set before MLX is imported."""
    floors = float32_floor.measure(_matmul, _convolution, _attention)
    return float32_floor.sentence(
        f"MLX on {mx.default_device()}", floors, "set MLX_ENABLE_TF32=0, or use another device"
    )


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array(mx.array(a) @ mx.array(b))


def _convolution(picture: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    last = (mx.array(np.moveaxis(values, 1, -1)) for values in (picture, kernels))
    return np.moveaxis(np.array(mx.conv2d(*last)), -1, 1)


def _attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.array(mx.fast.scaled_dot_product_attention(*map(mx.array, (q, k, v)), scale=q.shape[-1] ** -0.5))
