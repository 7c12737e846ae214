"""Find out which numbers of the prompt embeddings come from which text encoder, if a pipeline joins several outputs."""

from __future__ import annotations

import numpy as np


def shares(embeddings: np.ndarray, outputs: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    """For each encoder, a mask of ``embeddings`` (any shape, the width last) for the rows of one of its ``outputs``.

    A pipeline concatenates outputs, either along the width or along the tokens. Numbers that it scales or normalises
    belong to no encoder.
    """
    rows = embeddings.reshape(-1, embeddings.shape[-1])
    found = {}
    for encoder, arrays in outputs.items():
        mask = np.zeros(rows.shape, bool)
        for array in arrays:
            if array.ndim > 1 and array.dtype.kind == "f" and array.shape[-1] <= rows.shape[-1]:
                mask |= _share(rows, array.reshape(-1, array.shape[-1]))
        found[encoder] = mask.reshape(embeddings.shape)
    return found


def _share(rows: np.ndarray, output: np.ndarray) -> np.ndarray:
    width, mask = output.shape[-1], np.zeros(rows.shape, bool)
    for number in {0, len(output) // 2, len(output) - 1}:
        probe = output[number]
        if not probe.any():
            continue
        for row, column in np.argwhere(rows[:, : rows.shape[-1] - width + 1] == probe[0]):
            if np.array_equal(rows[row, column : column + width], probe):
                return _block(rows, output, row - number, column)
    return mask


def _block(rows: np.ndarray, output: np.ndarray, offset: int, column: int) -> np.ndarray:
    mask = np.zeros(rows.shape, bool)
    for number, values in enumerate(output):
        row = offset + number
        if 0 <= row < len(rows) and np.array_equal(rows[row, column : column + len(values)], values):
            mask[row, column : column + len(values)] = True
    return mask
