"""Two text encoders, to a balanced ledger: a CLIP of a size that mflux does not have, drafted, and mflux's own T5.

The pipeline is FLUX.1's, with the config files of a checkpoint that nobody has ported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mflux_port.checkout import releases

from tests.conftest import PROJECT
from tests.parity.other_references import CLIP, SHORT, T5
from tests.parity.references import AUTOENCODER_KL, DYNAMIC, write_reference

pytestmark = pytest.mark.full
HERE = Path(__file__).parent
REFERENCE = {
    "_class_name": "FluxPipeline",
    "transformer": ("diffusers", "FluxTransformer2DModel", {
        "patch_size": 1, "in_channels": 64, "num_layers": 4, "num_single_layers": 6, "attention_head_dim": 128,
        "num_attention_heads": 12, "joint_attention_dim": 4096, "pooled_projection_dim": 512, "guidance_embeds": False,
        "axes_dims_rope": [16, 56, 56],
    }),
    "text_encoder": ("transformers", "CLIPTextModel", {
        **CLIP, "architectures": ["CLIPTextModel"], "hidden_size": 512, "intermediate_size": 2048,
        "num_attention_heads": 8, "hidden_act": "gelu",
    }),
    "text_encoder_2": ("transformers", "T5EncoderModel", T5),
    "vae": ("diffusers", "AutoencoderKL", AUTOENCODER_KL),
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", DYNAMIC),
    "tokenizer": ("transformers", "CLIPTokenizer", SHORT),
    "tokenizer_2": ("transformers", "T5TokenizerFast", {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def run():
    """``run(checkout, "-m", "mflux_port", …)``: in an environment with the reference's libraries. Returns what it says."""
    python = releases.environment(releases.NEWEST, ("diffusers==0.42.*",))

    def call(folder: Path, *arguments: object) -> str:
        paths = os.pathsep.join([str(PROJECT / "hooks"), str(folder / "src")])
        search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        variables = {**os.environ, "PYTHONPATH": paths, "PATH": search, "HF_HUB_OFFLINE": "1"}
        command = [str(python), *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return call


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, run) -> Path:
    folder = write_reference(REFERENCE, tmp_path_factory.mktemp("flux") / "checkpoint")
    run(folder, HERE / "write_headers.py", folder)
    return folder


@pytest.fixture(scope="module")
def port(checkpoint, run, pristine, tmp_path_factory) -> Path:
    """A checkout with the port as inspect, copy and draft leave it."""
    checkout = releases.checkout(releases.NEWEST, tmp_path_factory.mktemp("two_encoders") / "mflux")
    answers = checkpoint.with_name("answers.yml")
    run(checkout, "-m", "mflux_port", "inspect", checkpoint, "-o", answers, "--repo", "acme/Nova-schnell")
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--quiet", "--vcs-ref", "HEAD"]
    command += ["--data-file", str(answers), "-d", "model=nova", str(PROJECT), str(checkout)]
    subprocess.run(command, check=True, capture_output=True)
    run(checkout, "-m", "mflux_port", "draft", "nova", "--checkpoint", checkpoint)
    return checkout


def test_answers_name_both_with_their_folders(port, checkpoint):
    answers = yaml.safe_load(checkpoint.with_name("answers.yml").read_text())
    assert (answers["vae"], answers["text_encoder"]) == ("flux", "own")
    assert answers["text_encoders"] == [
        {"folder": "text_encoder", "tokenizer": "tokenizer"},
        {"folder": "text_encoder_2", "tokenizer": "tokenizer_2", "kind": "t5"},
    ]
    assert answers["checkpoints"][0]["text_encoder_overrides"].keys() == {"text_encoder"}


def test_the_ledger_of_the_full_size_is_balanced(port, checkpoint, run):
    said = run(port, "-m", "mflux_port", "ledger", "nova", "--checkpoint", checkpoint)
    assert "every tensor is used once, every parameter is set once" in said
    assert len(re.findall(r"^text_encoder(?:_2)? .* 0$", said, re.MULTILINE)) == 2, said
