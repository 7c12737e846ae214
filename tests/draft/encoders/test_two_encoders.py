"""Two text encoders, end to end: a CLIP of a size that mflux does not have, drafted, and mflux's own T5, without manual
edits.

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

from tests import preloaded
from tests.conftest import PROJECT
from tests.draft.glue.references import REFERENCES
from tests.parity.references import write_reference

pytestmark = pytest.mark.full
HERE = Path(__file__).parent
STAGES = [
    "vae_decode", "vae_encode", "transformer", "guidance", "scheduler", "loop", "text_encoder", "text_encoder_2",
    "end_to_end",
]  # fmt: skip


@pytest.fixture(scope="module")
def run():
    """``run(checkout, "-m", "mflux_port", …)``: in an environment with the reference's libraries.

    Returns what it prints.
    """
    python = releases.environment(releases.NEWEST, ("diffusers==0.42.*",))

    def call(folder: Path, *arguments: object) -> str:
        paths = os.pathsep.join([str(PROJECT / "hooks"), str(folder / "src")])
        search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        variables = {**os.environ, "PYTHONPATH": paths, "PATH": search, "HF_HUB_OFFLINE": "1"}
        command = [str(python), *map(str, arguments)]
        done = preloaded.run(command, folder, variables)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return call


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, run) -> Path:
    folder = write_reference(REFERENCES["flux"], tmp_path_factory.mktemp("flux") / "checkpoint")
    run(folder, HERE / "write_headers.py", folder)
    return folder


@pytest.fixture(scope="module")
def port(checkpoint, run, pristine, tmp_path_factory) -> Path:
    """A checkout with the port as inspect, copy, the twin's script and draft leave it."""
    checkout = releases.checkout(releases.NEWEST, tmp_path_factory.mktemp("two_encoders") / "mflux")
    answers = checkpoint.with_name("answers.yml")
    run(checkout, "-m", "mflux_port", "inspect", checkpoint, "-o", answers, "--repo", "acme/Nova-dev")
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", "--quiet", "--vcs-ref", "HEAD"]
    command += ["--data-file", str(answers), "-d", "model=nova", str(PROJECT), str(checkout)]
    subprocess.run(command, check=True, capture_output=True)
    run(checkout, checkout / "porting/nova/make_tiny_checkpoint.py", "--model", checkpoint)
    twin = checkout / "porting/nova/artifacts/tiny"
    run(checkout, "-m", "mflux_port", "draft", "nova", "--checkpoint", checkpoint, "--pipeline", twin)
    return checkout


def test_answers_name_both_encoders_with_their_folders(port, checkpoint):
    answers = yaml.safe_load(checkpoint.with_name("answers.yml").read_text())
    assert (answers["vae"], answers["text_encoder"]) == ("flux", "own")
    assert answers["text_encoders"] == [
        {"folder": "text_encoder", "tokenizer": "tokenizer"},
        {"folder": "text_encoder_2", "tokenizer": "tokenizer_2", "kind": "t5"},
    ]
    assert answers["checkpoints"][0]["text_encoder_overrides"].keys() == {"text_encoder"}


def test_ledger_of_the_full_size_is_balanced(port, checkpoint, run):
    said = run(port, "-m", "mflux_port", "ledger", "nova", "--checkpoint", checkpoint)
    assert "every tensor is used once, every parameter is set once" in said
    assert len(re.findall(r"^text_encoder(?:_2)? .* 0$", said, re.MULTILINE)) == 2, said


def test_every_stage_passes_on_the_twin(port, run):
    home = port / "porting/nova"
    assert not (home / "unresolved.yml").exists()
    flags = ("--steps", "2", "--size", "64x96", "--no-calibration")  # a float32 run needs no calibration
    run(port, home / "run_reference.py", "--model", home / "artifacts/tiny", *flags)
    said = run(port, home / "run_mflux.py")
    assert re.findall(r"^(\w+) +pass\b", said, re.MULTILINE) == STAGES, said
