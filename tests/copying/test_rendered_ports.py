"""Two ports in one mflux checkout, one with everything on and one with everything off: they run, save and reload."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import mflux_port
import pytest
from mflux_port.checkout import releases
from PIL import Image

from tests import frozen
from tests.copying.ports import FULL, PLAIN, runnable
from tests.skips import unexpected_skips

pytestmark = pytest.mark.full

COMMANDS = {
    "nova_image": ("mflux-generate-nova-image", "nova-image-turbo"),
    "quiet": ("mflux-generate-quiet", "quiet"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, pristine, copy_port) -> Path:
    root = shutil.copytree(pristine(), tmp_path_factory.mktemp("ports") / "mflux")
    for answers in (FULL, PLAIN):
        done = copy_port(root, **runnable(answers))
        assert done.returncode == 0, done.stderr
    releases.install(root, releases.environment(releases.NEWEST))
    return root


def _run(home: Path, *command: object) -> str:
    line = [str(home / ".venv/bin" / str(command[0])), *map(str, command[1:])]
    done = subprocess.run(
        line,
        cwd=home,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": frozen.PATH},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _draw(home: Path, command: str, weights: Path, key: str, image: Path, *options: object) -> bytes:
    what = ["--model", weights, "--base-model", key, "--prompt", "a red bicycle", "--seed", 3, "--steps", 2]
    _run(home, command, *what, "--width", 64, "--height", 64, "--output", image, *options)
    with Image.open(image) as picture:
        assert picture.size == (64, 64)
        return picture.convert("RGB").tobytes()


@pytest.mark.parametrize("model", COMMANDS)
def test_rendered_fast_tests_pass(home, model):
    options = [*frozen.PLUGIN, "-q", "-rs", "-o", "addopts="]
    said = _run(home, "python", "-m", "pytest", *options, "-m", "fast", "-k", model, "tests")

    assert int(re.search(r"(\d+) passed", said)[1]) > 20
    assert unexpected_skips(said) == []


@pytest.mark.parametrize("model", COMMANDS)
def test_generate_save_reload_generate(home, model, tmp_path):
    command, key = COMMANDS[model]
    weights = tmp_path / "tiny"
    _run(home, "python", "-m", f"tests.image_generation.helpers.tiny_{model}_checkpoint", weights)

    drawn = _draw(home, command, weights, key, tmp_path / "full.png")
    quantized = _draw(home, command, weights, key, tmp_path / "quantized.png", "--quantize", 8)
    _run(home, "mflux-save", "--model", weights, "--base-model", key, "--quantize", 8, "--path", tmp_path / "saved")
    reloaded = _draw(home, command, tmp_path / "saved", key, tmp_path / "reloaded.png")

    assert len(set(drawn)) > 10
    assert drawn != quantized
    assert reloaded == quantized


def test_formatted_as_mflux_wants_it(home):
    wanted = re.search(r"ruff==([\d.]+)", (home / "pyproject.toml").read_text())[1]
    version = subprocess.run(["ruff", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert version == wanted
    for action in (["check"], ["format", "--check"]):
        done = subprocess.run(["ruff", *action, "src", "tests", "porting"], cwd=home, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_golden_image_test_names_the_missing_file(home):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    test = "tests/image_generation/test_generate_image_nova_image.py"
    done = subprocess.run(
        [str(home / ".venv/bin/python"), "-m", "pytest", "-q", "-o", "addopts=", test],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert " passed" not in done.stdout
    assert "reference_nova_image" in done.stdout


def test_python_example_of_the_readme_runs(home, tmp_path):
    readme = (home / "src/mflux/models/nova_image/README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    smaller = example.replace("width=1024", "width=64").replace("height=560", "height=64")
    assert smaller.count("=64") == 2
    # The repo of the answers, as huggingface_hub stores it after a download.
    snapshot = tmp_path / "hub/models--acme--Nova-Image-Turbo/snapshots" / ("0" * 40)
    _run(home, "python", "-m", "tests.image_generation.helpers.tiny_nova_image_checkpoint", snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("0" * 40)

    done = subprocess.run(
        [str(home / ".venv/bin/python"), "-c", smaller],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    with Image.open(tmp_path / "bicycle.png") as picture:
        assert picture.size == (64, 64)


def test_stored_key_list_exposes_a_wrong_mapping(home, tmp_path):
    keys = home / "porting/nova_image/checkpoint_keys.txt"
    test = "tests/parity/test_nova_image_checkpoint_keys.py"
    _run(home, "python", "-m", "tests.image_generation.helpers.tiny_nova_image_checkpoint", tmp_path / "tiny")
    ledger = [str(home / ".venv/bin/python"), "-m", "mflux_port", "ledger", "nova_image", "--checkpoint"]
    hooks = {"PYTHONPATH": str(Path(mflux_port.__file__).parents[1])}
    subprocess.run([*ledger, str(tmp_path / "tiny")], cwd=home, env={**os.environ, **hooks}, capture_output=True)

    assert "3 passed" in _run(home, "python", "-m", "pytest", "-q", "-o", "addopts=", test)

    whole = keys.read_text()
    row = next(line for line in whole.splitlines() if "transformer_blocks" in line)
    for broken in (
        whole.replace(f"{row}\n", ""),
        whole.replace(row, f"{row}\n{row}.extra"),
        whole.replace(row, f"{row[:5]}7{row[5:]}"),
    ):
        keys.write_text(broken)
        done = subprocess.run(
            [str(home / ".venv/bin/python"), "-m", "pytest", "-q", "-o", "addopts=", test],
            cwd=home,
            capture_output=True,
            text=True,
        )
        assert "1 failed, 2 passed" in done.stdout, (row, done.stdout[-2000:])
    keys.unlink()
