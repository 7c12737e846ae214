"""The distance between two tensors, in numbers that do not depend on their scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MASKED = -1e30  # no activation is this low, and its square overflows float32


@dataclass(frozen=True)
class Distance:
    """``relative`` is ||a-b|| / ||a||, ``largest`` is max|a-b|, ``cosine`` and ``ratio`` (||b|| / ||a||) show why."""

    relative: float
    largest: float
    cosine: float
    ratio: float


def relative_error(reference: np.ndarray, other: np.ndarray) -> float:
    """||reference - other|| / ||reference||, infinite when ``other`` is not finite."""
    return distance(reference, other).relative


def distance(reference: np.ndarray, other: np.ndarray) -> Distance:
    """Takes arrays of the same size. Entries that the reference masks (with -inf or the lowest number) are left out."""
    a = np.asarray(reference, np.float32).reshape(-1)
    b = np.asarray(other, np.float32).reshape(-1)
    usable = _unmasked(a)
    if not usable.all():
        a, b = a[usable], b[usable]
    if not a.size:
        return Distance(0.0, 0.0, 1.0, 1.0)
    if not _unmasked(b).all():
        return Distance(float("inf"), float("inf"), 0.0, float("inf"))
    difference = a - b
    one, two, gap = _norm(a), _norm(b), _norm(difference)
    cosine = _dot(a, b) / (one * two) if one and two else float(one == two)
    return Distance(
        relative=gap / one if one else (0.0 if not two else float("inf")),
        largest=float(np.abs(difference).max()),
        cosine=cosine,
        ratio=two / one if one else float("inf"),
    )


def _unmasked(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) & (values > MASKED)


def _norm(values: np.ndarray) -> float:
    return _dot(values, values) ** 0.5


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    # Process a piece at a time: float32 products, float64 sums, and no copy of the whole in float64.
    piece = 1 << 14
    return float(sum(float(np.dot(one[n : n + piece], other[n : n + piece])) for n in range(0, len(one), piece)))


def is_short(values: np.ndarray) -> bool:
    """Whether float32 numbers are all exact in bfloat16."""
    return not (np.ascontiguousarray(values, np.float32).view(np.uint32) & 0xFFFF).any()


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def is_half(values: np.ndarray) -> bool:
    """Whether float32 numbers are all exact in one of the types of 16 bits."""
    if is_short(values):
        return True
    with np.errstate(over="ignore"):
        return np.array_equal(values, values.astype(np.float16).astype(np.float32))
