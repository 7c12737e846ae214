"""Runs this folder's scripts where torch, MLX and diffusers are installed."""

from __future__ import annotations

import os
from pathlib import Path

from mflux_port.checkout import releases

from tests import preloaded
from tests.conftest import PROJECT

HERE = Path(__file__).resolve().parent


def run_where_torch_is(script: str, *arguments: object) -> str:
    """What a script prints."""
    python = releases.environment(releases.NEWEST, ("diffusers==0.42.*",))
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "hooks"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [str(python), str(HERE / script), *map(str, arguments)]
    done = preloaded.run(command, PROJECT, environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
