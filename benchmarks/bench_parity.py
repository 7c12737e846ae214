"""Recording the reference: how much longer than the plain run, at each level, on a tiny twin in one process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from mflux_port import host
from mflux_port.project import project_root

from benchmarks.measure import Action, Row, medians
from tests.parity.families import write_home

FAMILY, LEVELS = "z_image", ("stages", "blocks", "modules")
# A recording also fingerprints all weights and sends the picture through the encoder: most of it on a twin this small.
LIMITS = {"stages": 4.0, "blocks": 4.0, "modules": 6.0}
DIFFUSERS = "diffusers==0.42.*"


def rows() -> list[Row]:
    python = host.environment(host.NEWEST, (DIFFUSERS,))
    paths = os.pathsep.join(map(str, (project_root(), project_root() / "hooks")))
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        home = write_home(FAMILY, Path(scratch))
        twin = [str(python), str(home / "make_tiny_checkpoint.py"), "--model", str(home / "reference")]
        subprocess.run(twin, env=environment, capture_output=True, check=True)
        command = [str(python), "-m", "benchmarks.bench_parity", str(home)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return [
        Row(f"recording {level} of a tiny twin / the plain run", found[level] / found["plain"], "×", LIMITS[level])
        for level in LEVELS
    ]


def measure(home: Path) -> dict[str, float]:
    """Median seconds of the plain run and of each recording. Runs where torch and diffusers are."""
    sys.path.insert(0, str(home))
    import torch
    from parity import reference

    def run(level: str) -> reference.Run:
        return reference.Run(
            model=home / "artifacts" / "tiny", prompt="a red fox", negative_prompt="", seed=1, width=112, height=80,
            steps=2, guidance=0.0, dtype="float32", device="cpu", level=level, only="", all_steps=False,
        )  # fmt: skip

    pipe = reference.load(run("stages"), "")

    def plain() -> None:
        with torch.no_grad():
            pipe(**reference.call_arguments(pipe, run("stages")))

    def record(level: str) -> None:
        reference.record(pipe, run(level), home / "artifacts" / "timed.safetensors", calibrate=False)

    actions = {"plain": Action(plain)} | {level: Action(lambda level=level: record(level)) for level in LEVELS}
    with contextlib.redirect_stdout(sys.stderr):
        return medians(actions)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
