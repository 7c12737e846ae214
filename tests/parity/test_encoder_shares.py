"""Find the text encoder behind each number of the prompt embeddings, for every way in which pipelines join them."""

from __future__ import annotations

import numpy as np
import pytest
from parity.compare.encoder_shares import shares

RNG = np.random.default_rng(0)
CLIP, BIG, T5 = (RNG.standard_normal((1, 7, width)).astype(np.float32) for width in (8, 12, 24))
POOLED = RNG.standard_normal((1, 8)).astype(np.float32)
OUTPUTS = {"text_encoder": [CLIP, POOLED], "text_encoder_2": [BIG], "text_encoder_3": [T5]}


def padded(values: np.ndarray, width: int) -> np.ndarray:
    return np.pad(values, [(0, 0), (0, 0), (0, width - values.shape[-1])])


@pytest.mark.parametrize(
    ("embeddings", "counts"),
    [
        (T5, (0, 0, 7 * 24)),
        (POOLED, (8, 0, 0)),
        (np.concatenate([padded(np.concatenate([CLIP, BIG], -1), 24), T5], 1), (7 * 8, 7 * 12, 7 * 24)),
        (np.concatenate([CLIP, BIG], -1)[:, 2:], (5 * 8, 5 * 12, 0)),  # dropped tokens
        (2 * T5, (0, 0, 0)),
        (RNG.standard_normal((1, 4, 30)).astype(np.float32), (0, 0, 0)),
    ],
)
def test_each_number_is_assigned_to_its_encoder(embeddings, counts):
    masks = shares(embeddings, OUTPUTS)
    assert tuple(int(mask.sum()) for mask in masks.values()) == counts
    assert all(mask.shape == embeddings.shape for mask in masks.values())
    assert not np.sum(list(masks.values()), axis=0).max() > 1


def test_rows_of_zeros_are_assigned_to_no_encoder():
    empty = np.zeros((1, 7, 24), np.float32)
    assert not any(mask.any() for mask in shares(empty, {"text_encoder": [empty]}).values())
