"""The latent creator's numbers, from the noise and the sizes of the pipeline."""

from __future__ import annotations

import pytest
from mflux_port.draft.glue import latent_creator


@pytest.mark.parametrize("shape", [[1, 12, 6, 4], [1, 1, 12, 6, 4], [1, 12, 1, 6, 4]])
def test_channels_are_not_mistaken_for_frames(shape):
    source = "class Nova:\n    LATENT_CHANNELS = 16\n    SPATIAL_SCALE = 8\n    SIZE_MULTIPLE = 16\n"
    facts = {"packing": {"value": {"noise_shape": shape, "pixels": 8}}, "sizes": {"value": {"multiple": 32}}}
    text = latent_creator.resized(source, facts)
    assert "LATENT_CHANNELS = 12\n" in text and "SIZE_MULTIPLE = 32\n" in text


@pytest.mark.parametrize(
    ("facts", "sides"),
    [
        ({"sizes": {"value": {"multiple": 64}}, "packing": {"value": {"pixels": 8, "pattern": "unchanged"}}}, 64),
        ({"packing": {"value": {"pixels": 8, "pattern": "b c (h p) (w q) -> b (h w) (c p q), p = q = 2"}}}, 16),
        ({"sizes": {"value": None}, "packing": {"value": {"pixels": 32, "pattern": "unchanged"}}}, 32),
        ({"packing": {"value": None}}, 16),
    ],
)
def test_sides_are_multiples_of_the_latents_sides(facts, sides):
    assert latent_creator.multiple(facts) == sides
