"""Checkpoints without data: small ones written by hand, and the references' own, built once with diffusers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests import preloaded
from tests.conftest import PROJECT

HERE = Path(__file__).resolve().parent


@pytest.fixture
def diffusers_folder(tmp_path) -> Path:
    """A pipeline's folder with one transformer, a VAE's config and a tokenizer; tests put the weights there."""
    root = tmp_path / "pipeline"
    index = {"_class_name": "NovaPipeline", "transformer": ["diffusers", "NovaTransformer2DModel"]}
    (root / "transformer").mkdir(parents=True)
    (root / "tokenizer").mkdir()
    (root / "model_index.json").write_text(json.dumps(index))
    config = {"_class_name": "NovaTransformer2DModel", "num_layers": 4, "hidden_size": 64}
    (root / "transformer" / "config.json").write_text(json.dumps(config))
    (root / "tokenizer" / "tokenizer.json").write_text("{}")
    return root


@pytest.fixture(scope="session")
def diffusers_python() -> Path:
    """The Python of an environment with mflux 0.24, diffusers and transformers."""
    return releases.environment("0.24.0", ("diffusers==0.42.*",))


@pytest.fixture(scope="session")
def references(tmp_path_factory, diffusers_python) -> Path:
    """The folder with <family>-<full|tiny> for Z-Image, FLUX.2 Klein and Qwen-Image: real headers, no data."""
    out = tmp_path_factory.mktemp("references")
    script = str(HERE / "draft" / "build_references.py")
    done = preloaded.run([str(diffusers_python), script, str(out)], PROJECT, os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def run_in(python: Path, script: Path, *arguments: object, source: Path) -> str:
    """Run a script in an mflux environment, with ``source`` as its mflux and this project on the path."""
    paths = os.pathsep.join([str(PROJECT / "hooks"), str(source)])
    command = [str(python), str(script), *map(str, arguments)]
    done = preloaded.run(command, PROJECT, {**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
