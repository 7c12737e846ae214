"""The reference's attention mask in the form that the port writes it: booleans of either meaning, or numbers to add."""

from __future__ import annotations

import numpy as np
import pytest

CAUSAL = np.tril(np.ones((1, 1, 6, 6), bool))
PADDED = CAUSAL & (np.arange(6) < 4)
LOWEST = np.finfo(np.float32).min


def _added(kept: np.ndarray, low: float = -np.inf) -> np.ndarray:
    return np.where(kept, 0, low).astype(np.float32)


@pytest.mark.parametrize("reference", [PADDED, _added(PADDED), _added(PADDED, LOWEST)], ids=["bool", "inf", "lowest"])
@pytest.mark.parametrize("write", [lambda kept: kept, lambda kept: ~kept, _added, lambda kept: _added(kept, -1e9)])
def test_references_mask_is_converted_to_the_ports_form(reference, write):
    from parity.compare import masks

    right, other = write(PADDED), write(CAUSAL & (np.arange(6) < 3))  # the second is of a shorter prompt
    noise = np.ones((1, 6, 6), np.float32)
    for own in (right, other, right.reshape(6, 6)):
        found = masks.nearest([noise, reference], own)
        assert found.dtype == own.dtype and found.shape == own.shape
        np.testing.assert_array_equal(found, right.reshape(own.shape))


def test_missing_mask_is_a_wrong_mask():
    from parity.compare import masks

    np.testing.assert_array_equal(masks.nearest([PADDED], np.zeros((1, 1, 6, 6), np.float32)), _added(PADDED))


@pytest.mark.parametrize(
    "own", [np.ones((6, 6), np.float32), -1e5 * np.eye(6, dtype=np.float32) - 1, np.arange(36), CAUSAL[..., :3]]
)
def test_other_arrays_are_not_masks(own):
    from parity.compare import masks

    assert masks.nearest([PADDED], own) is None
    assert masks.nearest([np.ones((6, 6), np.float32)], CAUSAL[0, 0]) is None
