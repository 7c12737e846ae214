"""One world for the whole test run."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import copier
import pytest
from mflux_port.checkout import releases

from tests.bad_input.world import MODEL, World
from tests.checkpoint.files import TRANSFORMER, write_header
from tests.template import rendering

PORT = {
    "model": MODEL,
    "hf_repo": "acme/Nova",
    "vae": "own",
    "text_encoder": "own",
    "variants": ["txt2img", "edit"],
    "training": True,
    "checkpoints": [
        {"key": "nova", "hf_repo": "acme/Nova", "aliases": ["nova-image"], "steps": 8, "revision": "1" * 40},
        {"key": "nova-edit", "hf_repo": "acme/Nova-Edit", "variant": "edit"},
    ],
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def built(tmp_path_factory, pristine, template) -> World:
    home = tmp_path_factory.mktemp("bad-input") / "world"
    root = shutil.copytree(pristine(), home / "mflux")
    for folder in root.glob("src/mflux/models/*/model"):
        if folder.parent.name not in ("flux", "flux2"):
            shutil.rmtree(folder)  # no command reads these, and every test compares every file
    copier.run_copy(str(template), root, PORT, defaults=True, quiet=True, unsafe=True, skip_tasks=True, vcs_ref="HEAD")
    rendering.wire(root, MODEL)
    write_checkpoint(home / "checkpoint")
    releases.commit(root, "Start the port of nova")
    subprocess.run(["git", "-C", str(root), "repack", "-adq"], check=True)
    return World(home)


@pytest.fixture
def world(built, monkeypatch) -> World:
    """The world, restored after the test. The working directory is the checkout."""
    monkeypatch.chdir(built.root)
    yield built
    built.restore()


@pytest.fixture
def pipeline(tmp_path) -> Path:
    """A checkpoint for one test, without weights."""
    write_checkpoint(tmp_path / "pipeline")
    (tmp_path / "pipeline/transformer" / WEIGHTS).unlink()
    return tmp_path / "pipeline"


def write_checkpoint(folder: Path) -> None:
    """A pipeline's folder without data: one transformer, a tokenizer."""
    (folder / "transformer").mkdir(parents=True)
    (folder / "tokenizer").mkdir()
    index = {"_class_name": "NovaPipeline", "transformer": ["diffusers", "NovaTransformer2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    config = {"_class_name": "NovaTransformer2DModel", "num_layers": 4, "hidden_size": 64}
    (folder / "transformer/config.json").write_text(json.dumps(config))
    (folder / "tokenizer/tokenizer.json").write_text("{}")
    write_header(folder / "transformer" / WEIGHTS, TRANSFORMER)
