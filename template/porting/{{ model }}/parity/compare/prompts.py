"""Prompts that one side pads to a fixed length and masks, while the other omits the padding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def without_padding(recording, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Each of a call's inputs (1, rows, width) without padding, by name, if a mask or a length marks the padding."""
    inputs = {name: recording.get(name) for name in names}
    masks = [values.reshape(-1).astype(bool) for values in inputs.values() if _is_mask(values)]
    lengths = [int(values.item()) for values in inputs.values() if values.dtype.kind == "i" and values.size == 1]
    kept = {}
    for name, values in inputs.items():
        if values.dtype.kind != "f" or values.ndim < 2:
            continue
        # Several layers for each token, and not the few channels of a picture.
        listed = (
            values.ndim == 4 and values.shape[1] > values.shape[2] and any(len(m) == values.shape[1] for m in masks)
        )
        rows = values.reshape(values.shape[1], -1) if listed else values.reshape(-1, values.shape[-1])
        mask = next((mask for mask in masks if len(mask) == len(rows)), None)
        if mask is not None:
            kept[name] = rows[mask][None]
            continue
        # Any integer may be smaller than the number of rows: it is their length if all others are empty.
        length = next((n for n in lengths if 0 < n < len(rows) and rows[n - 1].any() and not rows[n:].any()), None)
        if length is not None:
            kept[name] = rows[:length][None]
    return kept


def other_length(reference: np.ndarray, own: np.ndarray, parameters: Iterable[str]) -> str:
    """The note on prompt embeddings (..., rows, width) with different numbers of rows.

    ``parameters``: what the reference's pipeline can be called with.
    """
    note = f"prompt embeddings are {list(own.shape)}; the reference's are {list(reference.shape)}"
    length = own.shape[-2]
    rest = reference[..., length:, :]
    if rest.size and not rest.any():
        return f"{note}; the reference fills it up with {rest.shape[-2]} rows of zeros"
    if "max_sequence_length" in parameters and length:
        note += f"; record with --call max_sequence_length={length} if that is the model's length"
    return note


def _is_mask(values: np.ndarray) -> bool:
    return 1 < values.size == max(values.shape) and np.array_equal(np.unique(values), [0, 1])
