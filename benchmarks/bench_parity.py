"""Recording the reference: what it costs once, and what it adds to each step, on a tiny twin in one process.

A recording has a constant part: it fingerprints all weights and sends the picture through the encoder. On a twin this
part is most of the time, on a real model it is little; a quotient of whole runs would say more about the twin's size than
about the recording. So the constant part has rows of its own, and what is compared is the time of one more step.
"""

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
FEW, MANY = 2, 26  # steps; what a step takes is the difference, divided
DIFFUSERS = "diffusers==0.42.*"
LIMITS = {
    "stages": 1.1,  # what records nothing inside the network may not slow it down
    "blocks": 1.5,
    # Every tensor is written, and on a twin a module computes for microseconds. In a real model it is milliseconds.
    "modules": None,
}


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
    once = [
        Row("recording, once: fingerprints of a tiny twin's weights", found["fingerprints"] * 1000, "ms"),
        Row("recording, once: the picture through the encoder", found["encoder"] * 1000, "ms"),
    ]
    return once + [
        Row(f"recording {level}: one more step / the same step without recording", found[level], "×", LIMITS[level])
        for level in LEVELS
    ]


def measure(home: Path) -> dict[str, float]:
    """Seconds of the constant parts, and for each level how many times as long a step takes as without recording.

    Runs where torch and diffusers are.
    """
    sys.path.insert(0, str(home))
    import torch
    from parity import reference, torch_taps

    path = home / "artifacts" / "timed.safetensors"

    def run(level: str, steps: int) -> reference.Run:
        return reference.Run(
            model=home / "artifacts" / "tiny", prompt="a red fox", negative_prompt="", seed=1, width=112, height=80,
            steps=steps, guidance=0.0, dtype="float32", device="cpu", level=level, only="", all_steps=True,
        )  # fmt: skip

    pipe = reference.load(run("stages", FEW), "")

    def plain(steps: int) -> None:
        with torch.no_grad():
            pipe(**reference.call_arguments(pipe, run("stages", steps)))

    def encode() -> None:
        with torch.no_grad():
            pipe.vae.encode(torch.zeros(1, 3, 80, 112))

    actions = {"fingerprints": Action(lambda: torch_taps.weights(pipe)), "encoder": Action(encode)}
    for steps in (FEW, MANY):
        actions[f"plain {steps}"] = Action(lambda steps=steps: plain(steps))
        for level in LEVELS:
            wanted = run(level, steps)
            # Each recording is a new file: to give back an old one's blocks takes longer than to write a new one's.
            actions[f"{level} {steps}"] = Action(
                lambda wanted=wanted: reference.record(pipe, wanted, path, calibrate=False),
                lambda: path.unlink(missing_ok=True),
            )
    with contextlib.redirect_stdout(sys.stderr):
        return _of_a_step(medians(actions))


def _of_a_step(found: dict[str, float]) -> dict[str, float]:
    steps = {name: found[f"{name} {MANY}"] - found[f"{name} {FEW}"] for name in ("plain", *LEVELS)}
    constant = {name: found[name] for name in ("fingerprints", "encoder")}
    return constant | {level: steps[level] / steps["plain"] for level in LEVELS}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
