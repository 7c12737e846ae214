"""Find how two rotary embeddings differ: in the pairs that are rotated, in their frequencies, or in the positions."""

from __future__ import annotations

import numpy as np

SAME = 1e-3
ROUNDED = 0.02  # for cosines and sines in bfloat16
SMALL = 0.02  # an angle, in radians
ALMOST_PI = 3.0
PAIRS = {"neighbours": lambda x: (x[..., 0::2], x[..., 1::2]), "halves": lambda x: np.split(x, 2, axis=-1)}


def of_rotated(reference: np.ndarray, own: np.ndarray) -> str:
    """Compare the rotation of queries or keys (..., tokens, size) with the reference's; empty if neither is rotated."""
    if reference.shape != own.shape or own.shape[-1] % 2 or own.ndim < 3:
        return ""
    lengths = [np.linalg.norm(values, axis=-1) for values in (reference, own)]
    if not np.allclose(*lengths, rtol=SAME, atol=SAME * lengths[0].max()):
        return ""
    for pairs, parted in PAIRS.items():
        one, other = _complex(parted(reference)), _complex(parted(own))
        if np.allclose(np.abs(one), np.abs(other), rtol=10 * SAME, atol=SAME * np.abs(one).max()):
            return _of_angles(np.angle(other * np.conj(one)), pairs)
    return "other pairs are rotated (neighbours on one side, halves of the head on the other)"


def of_tables(reference: np.ndarray, own: np.ndarray) -> str:
    """Describe how two tables of angles (cosines and sines in a last axis of length 2) differ; empty when equal."""
    one, other = np.arctan2(reference[..., 1], reference[..., 0]), np.arctan2(own[..., 1], own[..., 0])
    difference = np.angle(np.exp(1j * (other - one)))
    if one.ndim > 1 and np.allclose(other, -one, atol=SMALL):
        return "the tables rotate in the other direction"
    if not (np.abs(difference) > SMALL).any():
        return ""
    if not _one_factor_for_each_column(one, other):
        return "the positions differ: their start, order or axes"
    bases = _base(one), _base(other)
    if all(bases) and abs(bases[0] / bases[1] - 1) > 0.05:
        return f"the base (theta) is {bases[1]:.4g}; the reference's is {bases[0]:.4g}"
    return "the frequencies differ: the base (theta) or its scaling"


def _one_factor_for_each_column(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether all tokens rotate by the same multiple per column, as with other frequencies at the same positions."""
    one, other = (angles.reshape(-1, angles.shape[-1]) for angles in (one, other))
    # An angle that has not wrapped around shows the position.
    plain = [n for n in range(one.shape[1]) if max(np.abs(one[:, n]).max(), np.abs(other[:, n]).max()) < ALMOST_PI]
    for column in plain:
        there = np.abs(one[:, column]) > SMALL
        if np.abs(other[~there, column]).max(initial=0.0) > 2 * SMALL:
            return False  # the reference does not rotate these tokens, the port does
        factors = other[there, column] / one[there, column]
        if factors.size > 2 and np.ptp(factors) > 0.05 * np.abs(factors).max():
            return False
    return True


def is_table(values: np.ndarray) -> bool:
    """Whether these are cosines and sines, side by side in a last axis of length 2."""
    if values.dtype.kind != "f" or values.ndim < 3 or values.shape[-1] != 2:
        return False
    return bool(np.allclose(np.square(values).sum(axis=-1), 1.0, atol=ROUNDED))


def _of_angles(angles: np.ndarray, pairs: str) -> str:
    """``angles``: how much further the port rotates, (..., tokens, pairs)."""
    rows = angles.reshape(-1, *angles.shape[-2:])[0]
    off = np.abs(rows) > SMALL
    if not off.any():
        return ""
    named = f" (pairs of {pairs})" if pairs else ""
    # The first pair of an axis rotates by the position itself, for any base.
    if off[:, 0].any() or _by_other_positions(rows, off):
        return f"the positions differ: their start, order or axes{named}"
    return f"the frequencies differ: the base (theta) or its scaling{named}"


def _by_other_positions(rows: np.ndarray, off: np.ndarray) -> bool:
    """Whether an axis's errors are decreasing powers of one number, as when a token has another position there."""
    columns = np.flatnonzero(off.any(axis=0))
    ends = np.flatnonzero(np.diff(columns) > 1)
    axis = columns[: ends[0] + 1] if len(ends) else columns
    if len(axis) < 3:
        return False
    some = np.abs(rows[:, axis])
    turned = some[some[:, 0] > SMALL]
    if not len(turned):
        return False
    row = turned[turned[:, -1].argmin()]  # the slowest pair has not wrapped around
    logs = np.log(np.maximum(row, 1e-9))
    line = np.polyval(np.polyfit(np.arange(len(logs)), logs, 1), np.arange(len(logs)))
    return bool(np.abs(logs - line).max() < 0.05)


def _complex(pair) -> np.ndarray:
    return pair[0].astype(np.float64) + 1j * pair[1]


def _base(angles: np.ndarray) -> float:
    """The base of the first axis's frequencies, from the token whose position is 1; 0 if it is unknown."""
    rows = angles.reshape(-1, angles.shape[-1])
    at_one = rows[np.abs(rows[:, 0] - 1) < SAME]
    if not len(at_one):
        return 0.0
    row = at_one[0]
    falling = 1
    while falling < len(row) and 1e-6 < row[falling] < row[falling - 1]:
        falling += 1
    if falling < 3:
        return 0.0
    slope = np.polyfit(np.arange(falling), np.log(row[:falling]), 1)[0]
    return float(np.exp(-slope * falling))
