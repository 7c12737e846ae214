"""The multiple of an image's sides, from the configs of VAE and transformer."""

from __future__ import annotations

import pytest
from mflux_port.checkpoint.inference import infer
from mflux_port.checkpoint.layout import open_checkpoint
from mflux_port.checkpoint.size_multiple import patch_of, pixels_of, size_multiple

from tests.checkpoint.files import TRANSFORMER, write_header
from tests.checkpoint.test_steps_and_guidance import put
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


@pytest.mark.parametrize(
    ("vae", "wanted", "known"),
    [
        ({"block_out_channels": [8] * 4, "latent_channels": 4}, 48, True),
        ({"latent_channels": 4, "spatial_compression_ratio": "32"}, 16, False),  # it does not say it
    ],
)
def test_the_answer_that_inspect_gives(diffusers_folder, vae, wanted, known):
    write_header(diffusers_folder / "transformer/diffusion_pytorch_model.safetensors", TRANSFORMER)
    write_header(diffusers_folder / "vae/diffusion_pytorch_model.safetensors", {"decoder.weight": (8, 8)})
    put(diffusers_folder, "model_index.json", {name: ["diffusers", "Nova"] for name in ("transformer", "vae")})
    put(diffusers_folder, "vae/config.json", vae)
    put(diffusers_folder, "transformer/config.json", {"patch_size": 3, "in_channels": 4})
    answer = infer(open_checkpoint(str(diffusers_folder)))["size_multiple"]
    assert (answer.value, answer.known) == (wanted, known)
    assert "vae/config.json" in answer.why or known
