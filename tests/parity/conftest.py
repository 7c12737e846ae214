"""Tiny twins and recordings of three families, made once for the whole run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mflux_port.checkout import releases

from tests import preloaded
from tests.parity.families import PORTING, PORTS, write_home

sys.path.insert(0, str(PORTING))  # the harness is plain Python: what only needs numpy is tested right here
DIFFUSERS = "diffusers==0.42.*"
SIZE = "112x80"


@pytest.fixture(scope="session")
def script() -> Callable[..., subprocess.CompletedProcess]:
    """``script(home, "run_mflux.py", "--bisect")``: a script, where torch, diffusers and MLX are installed.

    ``fresh``: in a separate process, to measure its cost.
    """
    python = releases.environment(releases.NEWEST, (DIFFUSERS,))
    source = releases.source(releases.NEWEST) / "src"

    def run(home: Path, name: str | Path, *arguments: object, fresh: bool = False) -> subprocess.CompletedProcess:
        variables = {**os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"}
        command = [str(python), str(home / name), *map(str, arguments)]
        if fresh:
            return subprocess.run(command, cwd=home, env=variables, capture_output=True, text=True)
        return preloaded.run(command, home, variables)

    return run


@pytest.fixture(scope="session")
def twin(tmp_path_factory, script) -> Callable[[str], Path]:
    """``twin("z_image")``: a family's folder with a tiny checkpoint in ``artifacts/tiny``."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            home = write_home(name, tmp_path_factory.mktemp("porting"))
            done = script(home, "make_tiny_checkpoint.py", "--model", home / "reference")
            assert done.returncode == 0, done.stderr
            made[name] = home
        return made[name]

    return make


@pytest.fixture(scope="session")
def recorded(twin, script) -> Callable[..., Path]:
    """``recorded("z_image")``: the family's folder with a recording of all modules. More flags go to another file.

    A recording that another test has replaced is made again.
    """
    made: dict[Path, int] = {}

    def make(name: str, *flags: str, output: str = "modules") -> Path:
        home = twin(name)
        path = home / "artifacts" / f"{output}.safetensors"
        if path not in made or path.stat().st_mtime_ns != made[path]:
            level = () if "--stages" in flags else ("--modules",)
            flags = (*level, "--steps", "2", "--size", SIZE, *flags)
            done = script(home, "run_reference.py", "--model", home / "artifacts/tiny", *flags, "--output", path)
            assert done.returncode == 0, done.stderr
            made[path] = path.stat().st_mtime_ns
            (home / "artifacts" / f"{output}.txt").write_text(done.stdout)
            (home / "artifacts" / f"{output}.seconds").write_text(str(done.seconds))
        return home

    return make


@pytest.fixture
def port() -> Callable[[str], tuple[str, str]]:
    """The flags that use a released port instead of the rendered one."""
    return lambda name: ("--port", PORTS[name].port)
