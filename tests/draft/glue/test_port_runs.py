"""From configs to a port that runs, with no line written by hand: twin, copy, draft, ledger, rendered tests, stages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mflux_port.checkout import releases

from tests.conftest import PROJECT
from tests.draft.glue.references import REFERENCES
from tests.parity.families import FAMILIES, write_scripts
from tests.skips import unexpected_skips

pytestmark = pytest.mark.full

DIFFUSERS = "diffusers==0.42.*"
NAME = "z_image"
STAGES = ("vae_decode", "vae_encode", "transformer", "guidance", "scheduler", "loop", "text_encoder", "end_to_end")


@pytest.fixture(scope="module")
def python() -> Path:
    return releases.environment(releases.NEWEST, (DIFFUSERS,))


@pytest.fixture(scope="module")
def twin(tmp_path_factory, python) -> tuple[Path, Path]:
    """The checkpoint with true headers and no data, and its tiny twin."""
    folder = tmp_path_factory.mktemp("glue")
    home = write_scripts(NAME, {**FAMILIES, **REFERENCES}[NAME], "Any", folder)
    snapshot = folder / "hub/models--acme--Nova-Image/snapshots" / ("0" * 40)
    shutil.copytree(home / "reference", snapshot)
    _run(python, Path(__file__).with_name("write_headers.py"), snapshot, home)
    _run(python, home / "make_tiny_checkpoint.py", "--model", snapshot, "--output", folder / "tiny")
    return snapshot, folder / "tiny"


@pytest.fixture(scope="module")
def port(tmp_path_factory, pristine, copy_port, python, twin) -> tuple[Path, Path]:
    """The checkout with the port as it is after ``draft``, and its Python."""
    snapshot, tiny = twin
    folder = tmp_path_factory.mktemp("port")
    root = shutil.copytree(pristine(), folder / "mflux")
    _run(sys.executable, "-m", "mflux_port", "inspect", snapshot, "-o", folder / "answers.yml")
    answers = yaml.safe_load((folder / "answers.yml").read_text())
    done = copy_port(root, **answers | {"model": "nova_image"})
    assert done.returncode == 0, done.stderr
    own = releases.install(root, python)
    releases.commit(root, "Copied")
    _run(own, "-m", "mflux_port", "draft", "nova_image", "--checkpoint", snapshot, "--pipeline", tiny, cwd=root)
    releases.commit(root, "Drafted")
    return root, own


def test_nothing_is_open(port, twin):
    root, own = port
    assert not (root / "porting/nova_image/unresolved.yml").exists()
    assert "every parameter is set once" in _run(
        own, "-m", "mflux_port", "ledger", "nova_image", "--checkpoint", twin[0], cwd=root
    )
    checked = json.loads(_run(own, "-m", "mflux_port", "check", "nova_image", "--json", cwd=root))
    assert [row for row in checked["rows"] if row["state"] == "fail"] == []


def test_rendered_tests_pass_as_they_are(port):
    root, own = port
    said = _run(own, "-m", "pytest", "-q", "-rs", "-o", "addopts=", "-m", "fast", "-k", "nova_image", "tests", cwd=root)
    assert int(re.search(r"(\d+) passed", said)[1]) > 20
    assert unexpected_skips(said) == []


def test_every_stage_passes(port, twin):
    root, own = port
    home = root / "porting/nova_image"
    _run(own, "run_reference.py", "--model", twin[1], "--size", "64x96", "--steps", 2, cwd=home)
    said = _run(own, "run_mflux.py", cwd=home)
    passed = re.findall(r"^(\w+) +pass\b", said, re.MULTILINE)
    assert tuple(passed) == STAGES
    assert _changed(root) == ""


def test_a_second_draft_changes_nothing(port, twin):
    root, own = port
    _run(own, "-m", "mflux_port", "draft", "nova_image", "--checkpoint", twin[0], "--pipeline", twin[1], cwd=root)
    assert _changed(root) == ""


def _changed(root: Path) -> str:
    """What differs from the commit after ``draft``, except for the notes that the harness writes."""
    places = ["src", "tests", "porting/nova_image/*.yml", "porting/nova_image/*.txt"]
    command = ["git", "-C", str(root), "status", "--short", "--", *places]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _run(*command, cwd: Path | None = None) -> str:
    variables = {**os.environ, "PYTHONPATH": str(PROJECT / "hooks"), "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    line = list(map(str, command))
    done = subprocess.run(line, cwd=cwd, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
