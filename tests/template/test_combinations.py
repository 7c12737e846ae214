"""Whole ports of many kinds run their rendered fast tests in real environments of three releases."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from mflux_port import host

from tests.skips import unexpected_skips
from tests.template import ports, rendering

# Every VAE, text encoder and scheduler, and each option both ways, spread over the releases.
COMBINATIONS = {
    "0.24.0": [
        {"vae": "flux2", "text_encoder": "qwen3", "checkpoints": "with edit", "edit": True, "training": True},
        {"vae": "flux", "text_encoder": "t5", "scheduler": "own", "edit": True},
        {"vae": "flux", "text_encoder": "clip", "checkpoints": "distilled", "img2img": False},
        {"vae": "qwen", "text_encoder": "qwen3_vl", "shift": "dynamic", "negative_prompt": False},
        {"vae": "wan22", "text_encoder": "smollm3", "checkpoints": "own command"},
        {"vae": "qwen21", "text_encoder": "qwen3_vl", "edit": True, "lora": False},
        {"vae": "flux2", "text_encoder": "mistral3", "shift": "static", "training": True},
        {"vae": "own", "text_encoder": "own", "scheduler": "own", "checkpoints": "own command"},
        {"vae": "own", "text_encoder": "gemma2", "lora": False, "img2img": False},
        {"vae": "wan22", "text_encoder": "t5", "scheduler": "flow_match_euler_discrete", "training": True},
        {"vae": "qwen", "text_encoder": "own", "shift": "terminal", "checkpoints": "with edit", "edit": True},
        {"vae": "qwen21", "text_encoder": "gemma2", "checkpoints": "distilled", "naming": "long"},
    ],
    "0.23.0": [
        {"vae": "qwen21", "text_encoder": "mistral3", "training": True},
        {"vae": "own", "text_encoder": "qwen3", "checkpoints": "own command", "lora": False},
    ],
    "0.22.0": [
        {"vae": "flux2", "text_encoder": "qwen3", "checkpoints": "with edit", "edit": True, "training": True},
        {"vae": "wan22", "text_encoder": "clip", "scheduler": "own", "img2img": False},
    ],
    "0.18.1": [
        {"vae": "flux2", "text_encoder": "qwen3", "checkpoints": "with edit", "edit": True, "training": True},
        {"vae": "qwen", "text_encoder": "t5", "scheduler": "own", "checkpoints": "own command"},
        {"vae": "wan22", "text_encoder": "smollm3", "checkpoints": "distilled", "lora": False},
    ],
}


@pytest.mark.full
@pytest.mark.parametrize("release", COMBINATIONS)
def test_rendered_tests_pass_in_an_environment_of_the_release(tmp_path, release):
    template = rendering.template_copy(tmp_path / "template")
    checkout = host.checkout(release, tmp_path / "mflux")
    tests: list[Path] = []
    for number, port in enumerate(COMBINATIONS[release]):
        answers = ports.answers(port, number)
        files = rendering.render(template, checkout, answers)
        rendering.wire(checkout, answers["model"])
        tests += [path for path in files if path.name.startswith("test_") and path.is_relative_to(checkout / "tests")]

    command = [
        str(host.environment(release)),
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-o",
        "addopts=",
        "-m",
        "fast",
        "-p",
        "no:cacheprovider",
    ]
    paths = os.pathsep.join([str(checkout / "src"), str(checkout)])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1"}
    done = subprocess.run([*command, *map(str, tests)], cwd=checkout, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-6000:]
    assert unexpected_skips(done.stdout) == []
    assert " passed" in done.stdout
