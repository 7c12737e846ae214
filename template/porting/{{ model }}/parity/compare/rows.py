"""Find out whether two tensors have the same rows in another order: tokens, heads or channels joined differently."""

from __future__ import annotations

import numpy as np

SAME = 1e-3
MOST = 2048  # number of rows that are compared
ENOUGH = 0.9  # share of the rows that must match


def same_rows(reference: np.ndarray, own: np.ndarray, axis: int = -2) -> bool:
    """Whether the slices along ``axis`` are the reference's slices in another order. Both have the same shape."""
    if reference.shape != own.shape or reference.ndim < 2 or not 1 < reference.shape[axis] <= MOST:
        return False
    one, other = (np.moveaxis(values, axis, 0).reshape(reference.shape[axis], -1) for values in (reference, own))
    norms = [np.square(values).sum(axis=1) for values in (one, other)]
    gaps = norms[0][:, None] + norms[1][None] - 2 * one @ other.T
    nearest = gaps.argmin(axis=1)
    matched = np.linalg.norm(one - other[nearest], axis=1) <= SAME * np.maximum(np.sqrt(norms[0]), 1e-12)
    moved = nearest != np.arange(len(nearest))
    return bool(matched.mean() >= ENOUGH and len(set(nearest[matched])) == matched.sum() and moved[matched].any())


def turned_axis(reference: np.ndarray, own: np.ndarray) -> str:
    """Whether the last axis holds the reference's numbers transposed, as when heads are the inner axis."""
    if reference.shape != own.shape or not reference.size:
        return ""
    size, most = reference.shape[-1], remaining(reference, own)
    for heads in (n for n in range(2, size) if size % n == 0):
        turned = own.reshape(*own.shape[:-1], heads, size // heads).swapaxes(-1, -2).reshape(own.shape)
        if np.linalg.norm(turned - reference) <= most:
            return f"the last axis is split into {heads} and {size // heads} the other way round (order of heads)"
    return ""


def remaining(reference: np.ndarray, own: np.ndarray) -> float:
    """The distance that may remain between ``own`` in the right order and the reference.

    Rounding remains, and a twentieth of the difference as it is now.
    """
    norm, gap = np.linalg.norm(reference), np.linalg.norm(own - reference)
    return float(max(SAME * norm, min(gap, norm) / 20))


def rows_cut(reference: np.ndarray, own: np.ndarray) -> str:
    """The rows (tokens) in which two tensors of one width differ, if one holds all rows of the other; else empty."""
    one, other = (values.reshape(-1, values.shape[-1]) for values in (reference, own))
    if one.shape[1] != other.shape[1] or len(one) == len(other):
        return ""
    longer, shorter = (other, one) if len(other) > len(one) else (one, other)
    more = len(longer) - len(shorter)
    side = "the port has" if len(other) > len(one) else "the reference has"
    for where, part in (("first", longer[more:]), ("last", longer[: len(shorter)])):
        if np.linalg.norm(part - shorter) <= 10 * SAME * np.linalg.norm(shorter):
            return f"{side} {more} more rows, the {where} ones: a template or padding that one side cuts off"
    return ""
