"""Identify tensors by numbers that no transpose or reshape changes, and their element order by a few probes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

PROBES = 16
PIECE = 1 << 18  # elements converted to float64 at a time: for an embedding of 400 million, all at once would take 3 GB


@dataclass(frozen=True)
class Fingerprint:
    """``size, low, high, total, squares`` survive every permutation. ``probes`` are the values at ``positions``."""

    shape: tuple[int, ...]
    low: float
    high: float
    total: float
    squares: float
    probes: tuple[float, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def as_json(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_json(entry: dict) -> Fingerprint:
        return Fingerprint(
            **{**entry, "shape": tuple(entry["shape"]), "probes": tuple(entry["probes"])},
        )


def fingerprint(values: np.ndarray) -> Fingerprint:
    """The fingerprint of a float32 array of any shape."""
    flat = np.asarray(values, np.float32).reshape(-1)
    if not flat.size:
        return Fingerprint(values.shape, 0.0, 0.0, 0.0, 0.0, ())
    pieces = [flat[start : start + PIECE] for start in range(0, flat.size, PIECE)]
    found = list(_threads().map(_figures, pieces)) if len(pieces) > 1 else [_figures(flat)]
    lows, highs, totals, squares = zip(*found, strict=True)
    return Fingerprint(
        shape=tuple(values.shape),
        low=float(np.min(lows)),
        high=float(np.max(highs)),
        total=sum(totals),
        squares=sum(squares),
        probes=tuple(float(value) for value in flat[positions(flat.size)]),
    )


def _figures(piece: np.ndarray) -> tuple[float, float, float, float]:
    wide = piece.astype(np.float64)
    total = float(wide.sum())
    np.square(wide, out=wide)  # no BLAS product: its threads would wait for each other
    return float(piece.min()), float(piece.max()), total, float(wide.sum())


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor()  # numpy releases the GIL while it computes; a real model has 10 billion numbers


def positions(size: int) -> np.ndarray:
    """Flat positions of the probes: spread over the tensor and never a plain stride."""
    steps = np.arange(1, PROBES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (steps % np.uint64(size)).astype(np.int64)


def same_values(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether both hold the same numbers in some order."""
    if (one.size, one.low, one.high) != (other.size, other.low, other.high):
        return False
    tolerance = 1e-9 * (one.squares + 1.0)
    return abs(one.squares - other.squares) <= tolerance and abs(one.total - other.total) <= tolerance + 1e-9 * one.size


def order_of(
    values: np.ndarray, reference: Fingerprint, likely: tuple[tuple[int, ...], ...] = ()
) -> tuple[int, ...] | None:
    """The axes ``p`` for which ``reference.transpose(p).reshape(values.shape)`` equals ``values`` at the probes.

    ``likely`` orders are tried first, then the identity: with axes of length 1 several orders agree. None when no
    permutation of the axes explains the values.
    """
    from itertools import permutations

    rank = len(reference.shape)
    places = np.unravel_index(positions(reference.size), reference.shape) if rank else ()
    flat = np.asarray(values, np.float32).reshape(-1)
    if flat.size != reference.size:
        return None
    for axes in (*likely, *permutations(range(rank))):
        moved = np.ravel_multi_index([places[a] for a in axes], [reference.shape[a] for a in axes]) if rank else [0]
        if np.array_equal(flat[moved], np.asarray(reference.probes, np.float32)):
            return axes
    return None
