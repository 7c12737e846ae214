"""The multiple of an image's sides, from the configs of VAE and transformer."""

from __future__ import annotations

import pytest
from mflux_port.checkpoint.size_multiple import patch_of, pixels_of, size_multiple

from tests.draft.glue.references import REFERENCES
from tests.parity.families import FAMILIES
from tests.parity.other_references import OTHERS

EVERY = {**FAMILIES, **OTHERS, **REFERENCES}
DEEP = {"latent_channels": 32, "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]}  # AutoencoderDC


@pytest.mark.parametrize("name", EVERY)
def test_diffusers_families(name):
    vae, transformer = EVERY[name]["vae"][2], EVERY[name]["transformer"][2]
    wanted = 32 if name in ("hunyuan_image", "sana") else 16
    assert size_multiple(pixels_of(vae), patch_of(transformer, vae)) == wanted


@pytest.mark.parametrize(
    ("vae", "transformer", "wanted"),
    [
        (DEEP, {"patch_size": 1, "in_channels": 32}, 32),
        (DEEP, {"patch_size": 2, "in_channels": 32}, 64),
        (DEEP, {"patch_size": 1, "in_channels": 128}, 64),  # packed by the pipeline
        ({"scale_factor_spatial": 16, "z_dim": 48}, {"patch_size": [1, 2, 2], "in_channels": 48}, 32),
        ({"block_out_channels": [8, 8, 8, 8], "latent_channels": 4}, {"patch_size": 3, "in_channels": 4}, 48),
        ({"block_out_channels": [8, 8], "latent_channels": 4}, {"patch_size": None, "in_channels": 12}, 16),
    ],
)
def test_patches_and_pixels_multiply(vae, transformer, wanted):
    assert size_multiple(pixels_of(vae), patch_of(transformer, vae)) == wanted


def test_vae_without_a_spatial_scale():
    assert pixels_of({"latent_channels": 4, "spatial_compression_ratio": "32"}) is None
