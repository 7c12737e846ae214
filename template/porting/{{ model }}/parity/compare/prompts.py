"""Prompts that one side pads to a fixed length and masks, while the other omits the padding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from parity.compare.masks import is_mask


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


def marks(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The masks among a call's arguments, a boolean for each row of a prompt: ones and zeros, or numbers added to scores."""
    lists = [
        values for values in arrays if values.ndim > 1 and values.size == len(values) * values.shape[-1] > len(values)
    ]
    found = [prompt for values in lists for prompt in values.reshape(len(values), -1)]
    added = [prompt == 0 for prompt in found if prompt.dtype.kind == "f" and is_mask(prompt[None])]
    return added + [prompt.astype(bool) for prompt in found if _is_mask(prompt)]


def is_padding(rows: np.ndarray, where: np.ndarray, masks: Iterable[np.ndarray]) -> bool:
    """Whether some of a port's rows are padding: zeros, one row many times, or left out by a mask. ``where``: which."""
    some = rows[where]
    alike = not some.any() or len(some) > 1 and bool((some == some[:1]).all())
    return alike or any(np.array_equal(mask, ~where) for mask in masks)


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
