"""LoRA, training, image-to-image and quantized copies: released ports pass, and bugs in them are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

FLAGS = {
    "lora": ("--lora", "--steps", "1"),
    "training": ("--training", "--steps", "4"),
    "plain": ("--steps", "2", "--size", "128x96", "--no-calibration"),
    "image": ("--image", "--steps", "4", "--size", "128x96", "--strength", "0.7"),
}
ADAPTERS = {
    "z_image": "mflux.models.z_image.training_adapter.z_image_training_adapter:ZImageTrainingAdapter",
    "flux2": "mflux.models.flux2.training_adapter.flux2_training_adapter:Flux2TrainingAdapter",
}


@pytest.fixture(scope="module")
def claimed(twin, script):
    """``claimed("z_image", "lora")``: the family's folder with the recording of one claim."""
    made: set[tuple[str, str]] = set()

    def make(name: str, claim: str) -> Path:
        home = twin(name)
        if (name, claim) not in made:
            done = script(home, "run_reference.py", "--model", home / "artifacts/tiny", *FLAGS[claim])
            assert done.returncode == 0, done.stderr
            made.add((name, claim))
        return home

    return make


@pytest.mark.parametrize("name", ["z_image", "flux2", "ernie_image"])
def test_a_released_port_draws_from_an_image_as_the_reference_does(claimed, script, port, name):
    done = script(claimed(name, "image"), "run_mflux.py", "--image", *port(name))

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("image ")] == [
        "steps", "latents", "picture",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["z_image", "flux2", "ernie_image"])
def test_a_released_port_applies_what_it_loads_as_the_reference_does(claimed, script, port, name):
    done = script(claimed(name, "lora"), "run_mflux.py", "--lora", *port(name))

    rows = [line for line in done.stdout.splitlines() if line.startswith("lora ")]
    assert any(line.split()[1:3] == ["attention", "pass"] for line in rows), done.stdout + done.stderr
    # What these ports leave out is a true difference: no layer gets an update other than the reference's.
    failed = [line for line in rows if line.split()[2] == "FAIL"]
    assert all("not applied" in line or "refused" in line for line in failed), failed
    assert re.search(r"^transformer +pass ", done.stdout, re.MULTILINE), done.stdout


def test_a_quantized_copy_keeps_its_weights(claimed, script, port):
    done = script(claimed("z_image", "plain"), "run_mflux.py", "--quantize", "8", *port("z_image"))

    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("q8 ")]
    assert {row[1] for row in rows} >= {"transformer", "vae_decode", "text_encoder"}, done.stdout + done.stderr
    assert {row[2] for row in rows} == {"pass"} and done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_released_adapter_trains_as_the_reference_would(claimed, script, port, name):
    home = claimed(name, "training")

    done = script(home, "run_mflux.py", "--training", *port(name), "--adapter", ADAPTERS[name])

    rows = dict(line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("training "))
    assert rows.pop("saved") == "FAIL"  # both save some layers under names that diffusers does not have
    assert set(rows) == {"sigmas", "targets", "weighting", "loss", "gradients", "updates", "timesteps"}, (
        done.stdout + done.stderr
    )
    assert set(rows.values()) == {"pass"}, done.stdout
