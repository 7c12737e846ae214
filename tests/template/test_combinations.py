"""Whole ports of many kinds run their rendered fast tests in real environments of three releases."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests import frozen, preloaded
from tests.skips import unexpected_skips
from tests.template import ports, rendering

# Two ports run in every selection: a family with every feature, and a port with none.
FEW = [
    {"vae": "flux2", "text_encoder": "qwen3", "checkpoints": "guided edit", "edit": True, "training": True},
    {"img2img": False, "lora": False, "negative_prompt": False, "checkpoints": "distilled"},
]
# These add every VAE, text encoder and scheduler, and both values of each option, spread over the releases.
COMBINATIONS = {
    "0.24.0": [
        {"vae": "flux", "text_encoder": "t5", "scheduler": "own", "checkpoints": "distilled edit", "edit": True},
        {"vae": "flux", "text_encoder": "clip", "further_encoders": "t5", "checkpoints": "distilled", "img2img": False},
        {"vae": "qwen", "text_encoder": "qwen3_vl", "shift": "dynamic", "negative_prompt": False},
        {"vae": "wan22", "text_encoder": "smollm3", "checkpoints": "own command"},
        {"vae": "qwen21", "text_encoder": "qwen3_vl", "edit": True, "lora": False},
        {
            "vae": "flux2",
            "text_encoder": "mistral3",
            "further_encoders": "qwen3_vl and mistral3",
            "shift": "static",
            "training": True,
        },
        {"vae": "own", "text_encoder": "own", "further_encoders": "own", "scheduler": "own", "checkpoints": "own command"},
        {"vae": "wan22", "text_encoder": "t5", "scheduler": "flow_match_euler_discrete", "training": True},
        {"vae": "qwen", "text_encoder": "own", "shift": "terminal", "checkpoints": "with edit", "edit": True},
        {"vae": "qwen21", "text_encoder": "gemma2", "checkpoints": "distilled", "naming": "long"},
    ],
    "0.23.0": [
        {"vae": "qwen21", "text_encoder": "mistral3", "training": True},
        {"vae": "own", "text_encoder": "qwen3", "checkpoints": "own command", "lora": False},
    ],
    "0.22.0": [
        {"vae": "flux2", "text_encoder": "qwen3", "checkpoints": "guided edit", "edit": True, "training": True},
        {"vae": "wan22", "text_encoder": "clip", "further_encoders": "own", "scheduler": "own", "img2img": False},
    ],
    "0.18.1": [
        {"vae": "flux2", "text_encoder": "qwen3", "checkpoints": "with edit", "edit": True, "training": True},
        {"vae": "qwen", "text_encoder": "t5", "further_encoders": "clip", "scheduler": "own", "checkpoints": "own command"},
        {"vae": "wan22", "text_encoder": "smollm3", "checkpoints": "distilled", "lora": False},
    ],
}
RUNS = [pytest.param(releases.NEWEST, FEW, id="few")]
RUNS += [pytest.param(name, made, id=name, marks=pytest.mark.full) for name, made in COMBINATIONS.items()]


@pytest.mark.parametrize(("release", "combinations"), RUNS)
def test_rendered_tests_pass_in_an_environment_of_the_release(tmp_path, checkout, release, combinations):
    template = rendering.template_copy(tmp_path / "template")
    root = checkout(release)
    tests: list[Path] = []
    for number, port in enumerate(combinations):
        answers = ports.answers(port, number)
        files = rendering.render(template, root, answers)
        rendering.wire(root, answers["model"])
        tests += [path for path in files if path.name.startswith("test_") and path.is_relative_to(root / "tests")]

    said = run_fast_tests(root, release, tests)

    assert unexpected_skips(said) == []
    assert int(re.search(r"(\d+) passed", said)[1]) > 20 * len(combinations)


def run_fast_tests(checkout: Path, release: str, tests: list[Path], *more: str) -> str:
    """Pytest's output for rendered tests in an environment of the release. ``more``: further options."""
    # All ports in one process: importing mflux's dependencies takes longer than the tests of a port.
    options = [*frozen.PLUGIN, "-q", "-rs", "-o", "addopts=", "-m", "fast", "-p", "no:cacheprovider", f"--basetemp={checkout}-tmp"]
    command = [str(releases.environment(release)), "-m", "pytest", *options, *more, *map(str, tests)]
    paths = os.pathsep.join([str(checkout / "src"), str(checkout), frozen.PATH])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MLX_DISABLE_COMPILE": "1"}
    done = preloaded.run(command, checkout, environment)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout
