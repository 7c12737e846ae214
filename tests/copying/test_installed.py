"""The program as users get it: from a clone and from a wheel, run by uvx, and as a template for Copier."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mflux_port import __version__

pytestmark = pytest.mark.full
MODEL = "nova"
ANSWERS = ["-d", f"model={MODEL}", "-d", "hf_repo=acme/Nova", "-d", "vae=own", "-d", "text_encoder=own"]


@pytest.fixture(scope="module")
def wheel(template, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(["uv", "build", "--wheel", "--quiet", "--out-dir", str(folder), str(template)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(params=["clone", "wheel"])
def source(request, template, wheel) -> Path:
    return template if request.param == "clone" else wheel


def uvx(source: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess:
    command = ["uvx", "--isolated", "--from", str(source), "mflux-port", *words]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_uvx_runs_it(source, checkout):
    root = checkout()
    assert uvx(source, "--version", cwd=root).stdout == f"mflux-port {__version__}\n"
    done = uvx(source, "start", "acme/Nova", "--model", MODEL, "--dry-run", "--json", cwd=root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["planned"][1]["step"] == "copy"


def test_copier_uses_it_as_a_template(source, checkout, tmp_path):
    root = checkout()
    home = source
    if source.suffix == ".whl":
        with zipfile.ZipFile(source) as packed:
            packed.extractall(tmp_path / "site-packages")
        home = tmp_path / "site-packages/mflux_port/_project"
    command = [sys.executable, "-m", "copier", "copy", "--trust", "--defaults", *ANSWERS, str(home), str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    port = json.loads(uvx(source, "status", MODEL, "--json", cwd=root).stdout)["ports"][0]
    assert port["reached"] == "wired" and set(port["wiring"].values()) <= {"present", "not applicable"}
    version = f"v{__version__}" if home == source else "unknown"
    assert port["template_version"] == version
