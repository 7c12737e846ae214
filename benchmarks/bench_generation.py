"""The generation loop of a rendered port against Z-Image's hand-written one, on the same transformer and weights."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import copier
from mflux_port.checkout import releases
from mflux_port.template.project import project_root

from benchmarks.measure import ROUNDS, Row

SCRIPT = Path(__file__).with_name("generation_rounds.py")


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        root = releases.checkout(releases.NEWEST, Path(scratch, "mflux"))
        answers = {"model": "fresh", "hf_repo": "org/Fresh", "vae": "flux", "steps": 4, "guidance": 1.0}
        copier.run_copy(str(project_root()), root, data=answers, defaults=True, unsafe=True, quiet=True, vcs_ref="HEAD")
        python = releases.install(root, releases.environment(releases.NEWEST))
        done = subprocess.run(
            [str(python), str(SCRIPT), "fresh", "Fresh", str(ROUNDS)],
            env={**os.environ, "MLX_DISABLE_COMPILE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    ours, theirs = found["rendered"], found["hand-written"]
    return [
        Row("denoise step, Z-Image's own loop", theirs["seconds"] * 1000, "ms"),
        Row("denoise step, the same transformer in a rendered port", ours["seconds"] * 1000, "ms"),
        Row("denoise step, rendered port / Z-Image", ours["seconds"] / theirs["seconds"], "×", 1 / 0.95),
        Row("peak memory, rendered port / Z-Image", ours["peak"] / theirs["peak"], "×", 1.05),
    ]
