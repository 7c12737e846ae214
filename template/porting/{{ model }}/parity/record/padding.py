"""Padding in the middle of a prompt, between its text and a suffix. A port that leaves padding out has no such gap.

A comparison cuts rows only at one end, so a recording is read with this padding moved after all other rows.
"""

from __future__ import annotations

import numpy as np


class PaddingLast:
    """The order of rows in one stage. ``inputs``: the inputs of its network that were recorded whole, by name."""

    def __init__(self, inputs: dict[str, np.ndarray]):
        self._orders: dict[int, np.ndarray] = {}
        rows = {values.shape[-2] for values in inputs.values() if values.dtype.kind == "f" and values.ndim > 1}
        for mask in filter(_has_gap, inputs.values()):
            kept = mask.reshape(-1).astype(bool)
            text, padding = np.flatnonzero(kept), np.flatnonzero(~kept)
            # A network may have the image's rows after the text's in one array, as Krea 2 has. If a model has another
            # order, its rows do not match: a false alarm, never a wrong pass.
            for more in {0, *rows} - {len(kept)}:
                image = np.arange(len(kept), len(kept) + more)
                self._orders[len(kept) + more] = np.concatenate([text, image, padding])

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The values with the padding last, on every axis that has the prompt's rows."""
        for axis, length in enumerate(values.shape):
            last = axis == values.ndim - 1 and values.ndim > 1
            if length in self._orders and not (last and _is_width(values)):
                values = np.take(values, self._orders[length], axis)
        return values


def _has_gap(values: np.ndarray) -> bool:
    if values.dtype.kind == "f" or not 1 < values.size == max(values.shape) or set(np.unique(values)) != {0, 1}:
        return False
    kept = np.flatnonzero(values.reshape(-1))
    prompt = values.reshape(-1)[: kept[-1] + 1]
    return bool(values.reshape(-1)[0]) and not prompt.all()


def _is_width(values: np.ndarray) -> bool:
    # The last axis of a mask has rows; that of other numbers has features.
    return values.dtype.kind == "f" and values.shape[-2] not in (1, values.shape[-1])
