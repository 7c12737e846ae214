"""Prompts of which only one side has the padding."""

from __future__ import annotations

import numpy as np

RANDOM = np.random.default_rng(3)


def _values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


class _Inputs(dict):
    """A recording of only these inputs."""


def test_prompt_without_masked_padding():
    from parity.compare.prompts import without_padding

    embeddings, mask = _values(1, 6, 8), np.array([[1, 1, 1, 1, 0, 0]])
    inputs = _Inputs(
        {
            "latents": _values(1, 4, 6, 6),
            "embeddings": embeddings,
            "mask": mask,
            "timestep": _values(1),
            "scale": np.array(3.0),
        }
    )
    kept = without_padding(inputs, inputs)
    assert list(kept) == ["embeddings"]
    np.testing.assert_array_equal(kept["embeddings"], embeddings[:, :4])
    layers = _Inputs(inputs, embeddings=_values(1, 6, 3, 8))
    np.testing.assert_array_equal(
        without_padding(layers, layers)["embeddings"], layers["embeddings"][:, :4].reshape(1, 4, 24)
    )
    left = _Inputs(inputs, mask=np.array([[False, False, False, True, True, True]]))
    np.testing.assert_array_equal(without_padding(left, left)["embeddings"], embeddings[:, 3:])
    for other in (np.ones((1, 6), int), np.array([[0, 1, 2, 3, 4, 5]]), np.array([[1, 1, 1, 0]])):
        assert without_padding(_Inputs(inputs, mask=other), inputs) == {}


def test_prompt_without_padding_beyond_the_references_length():
    from parity.compare.prompts import without_padding

    embeddings = _values(1, 6, 8)
    padded = np.concatenate([embeddings[:, :4], np.zeros_like(embeddings[:, 4:])], axis=1)
    inputs = {"embeddings": padded, "length": np.array([4]), "seed": np.array([2])}
    kept = without_padding(inputs, inputs)
    np.testing.assert_array_equal(kept["embeddings"], embeddings[:, :4])
    for other in (
        {"embeddings": embeddings},
        {"length": np.array([3])},
        {"length": np.array([6])},
        {"length": np.array([4.0])},
    ):
        assert without_padding(inputs | other, inputs) == {}
