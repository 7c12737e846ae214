"""The cost of recording the reference, once and for each step, on a small twin in one process.

A recording has a constant part: it fingerprints all weights and sends the picture through the encoder. On a twin this
part is most of the time, on a real model it is a small part; so a ratio of whole runs would depend more on the twin's
size than on the recording. The constant part therefore has separate rows, and the comparison is of the time from one
step to the next.

The twin is a fifth as wide as the model. A module's computation grows with the square of its width, its recording with
the width: in the model, recording should add about a fifth of what it adds here (calculated, not measured).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mflux_port.checkout import releases
from mflux_port.template.project import project_root

from benchmarks.measure import ROUNDS, Action, Row, medians
from tests.parity.families import write_home

FAMILY, LEVELS = "z_image", ("stages", "blocks", "modules")
WIDTH = {"dim": 768, "n_heads": 24, "n_kv_heads": 24}
STEPS = 8
DIFFUSERS = "diffusers==0.42.*"
# Recording stages may stay on; recording blocks may be used in any run; recording all modules may add half a step.
LIMITS = {"stages": 1.1, "blocks": 1.2, "modules": 1.5}


def rows() -> list[Row]:
    python = releases.environment(releases.NEWEST, (DIFFUSERS,))
    paths = os.pathsep.join(map(str, (project_root(), project_root() / "hooks")))
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        home = write_home(FAMILY, Path(scratch))
        wide = [word for key, value in WIDTH.items() for word in ("--override", f"transformer.{key}={value}")]
        twin = [str(python), str(home / "make_tiny_checkpoint.py"), "--model", str(home / "reference"), *wide]
        subprocess.run(twin, env=environment, capture_output=True, check=True)
        command = [str(python), "-m", "benchmarks.bench_parity", str(home)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    once = [
        Row("recording, once: fingerprints of a small twin's weights", found["fingerprints"] * 1000, "ms"),
        Row("recording, once: the picture through the encoder", found["encoder"] * 1000, "ms"),
    ]
    return once + [
        Row(f"recording {level}: a step / the same step without recording", found[level], "×", LIMITS[level])
        for level in LEVELS
    ]


def measure(home: Path) -> dict[str, float]:
    """Seconds of the constant parts, and for each level the time of a step divided by that without recording.

    Runs in an environment with torch and diffusers.
    """
    sys.path.insert(0, str(home))
    import torch
    from parity.record import reference, resident_networks

    torch.set_num_threads(1)  # the recorder has one thread; work on other cores would count as the step's
    loaded = reference.load(_run(reference, home, "stages"), "", keep=True)
    loaded.parts.remember, pipe = False, loaded.pipe
    clock = Clock(pipe)

    def plain() -> None:
        with torch.no_grad():
            pipe(**reference.call_arguments(pipe, _run(reference, home, "stages")))

    def record(level: str) -> None:
        path = home / "artifacts" / "timed.safetensors"
        # A new file each time: freeing an old file's blocks takes longer than writing new ones.
        path.unlink(missing_ok=True)
        reference.record(loaded, _run(reference, home, level), path, calibrate=False)

    def encode() -> None:
        with torch.no_grad():
            pipe.vae.encode(torch.zeros(1, 3, 80, 112))

    def fingerprints() -> None:
        for name, network in loaded.parts.networks.items():
            resident_networks.weights(name, network)

    with contextlib.redirect_stdout(sys.stderr):
        once = medians({"fingerprints": Action(fingerprints), "encoder": Action(encode)})
        steps = clock.steps({"plain": plain} | {level: lambda level=level: record(level) for level in LEVELS})
    return once | {level: steps[level] / steps["plain"] for level in LEVELS}


def _run(reference, home: Path, level: str):
    return reference.Run(
        model=home / "artifacts" / "tiny", prompt="a red fox", negative_prompt="", seed=1, width=112, height=80,
        steps=STEPS, guidance=0.0, dtype="float32", device="cpu", level=level, only="", all_steps=True,
    )  # fmt: skip


class Clock:
    """Records when each step of a pipeline ends."""

    def __init__(self, pipe):
        self.ends: list[float] = []
        step = pipe.scheduler.step

        def timed(*args, **kwargs):
            self.ends.append(time.perf_counter())
            return step(*args, **kwargs)

        pipe.scheduler.step = timed

    def steps(self, runs: dict[str, Callable[[], None]]) -> dict[str, float]:
        """Seconds of one step in each of the alternating runs: the fastest step of a run, then the median over the
        rounds.

        A step takes milliseconds: other work on the machine makes some steps many times slower, and none faster.
        """
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                self.ends.clear()
                run()
                taken[name].append(min(after - before for before, after in itertools.pairwise(self.ends)))
        return {name: statistics.median(times) for name, times in taken.items()}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
