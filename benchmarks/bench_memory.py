"""What both sides take of the memory, beside the largest network, on a twin of 1.3 billion parameters; and the estimates.

It takes ten minutes on two cores, most of them for MLX in bfloat16, and 6 GB of memory.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from mflux_port.checkout import releases

from benchmarks.measure import Row
from tests.parity.families import PORTS, write_home

FAMILY, DIFFUSERS = "z_image", "diffusers==0.42.*"
SIZES = {"dim": 3840, "n_heads": 30, "n_kv_heads": 30, "n_layers": 5, "n_refiner_layers": 1, "axes_dims": "[32,48,48]"}
SIZE = ("--size", "112x80", "--steps", "1")
LIMIT = 1.3  # times the largest network in the run's dtype; what a run computes comes on top, little at this size
WITHIN = 1.25  # an estimate is at most this far from what happens
WIDTHS = {"float32": 4, "bfloat16": 2}
UNITS = {"MB": 1e6, "GB": 1e9}


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        home = write_home(FAMILY, Path(scratch))
        wide = [word for key, value in SIZES.items() for word in ("--override", f"transformer.{key}={value}")]
        _run(home, "make_tiny_checkpoint.py", "--model", str(home / "reference"), *wide)
        numbers = sum(file.stat().st_size for file in home.glob("artifacts/tiny/transformer/*.safetensors")) / 2
        return [row for side in (_reference, _port) for dtype in WIDTHS for row in side(home, dtype, numbers)]


def _reference(home: Path, dtype: str, numbers: float) -> list[Row]:
    name = "reference" if dtype == "float32" else dtype  # the port is compared with the float32 one
    output = str(home / f"artifacts/{name}.safetensors")
    flags = ("--model", str(home / "artifacts/tiny"), *SIZE, "--dtype", dtype, "--no-calibration", "--output", output)
    return _figures(f"run_reference.py, {dtype}", home, ("run_reference.py", *flags), numbers * WIDTHS[dtype])


def _port(home: Path, dtype: str, numbers: float) -> list[Row]:
    flags = ("--port", PORTS[FAMILY].port, "--dtype", dtype)
    return _figures(f"run_mflux.py, {dtype}", home, ("run_mflux.py", *flags), numbers * WIDTHS[dtype])


def _figures(what: str, home: Path, command: tuple[str, ...], network: float) -> list[Row]:
    estimated = _bytes(r"([\d.]+) ([MG]B) of memory", _run(home, *command, "--estimate"))
    took = _bytes(r"took .* ([\d.]+) ([MG]B) at most", _run(home, *command))
    further = max(estimated / took, took / estimated)
    return [
        Row(f"{what}: memory / the largest network", took / network, "×", LIMIT),
        Row(f"{what}: memory / its estimate, or the reverse", further, "×", WITHIN),
    ]


def _bytes(pattern: str, said: str) -> float:
    number, unit = re.search(pattern, said).groups()
    return float(number) * UNITS[unit]


def _run(home: Path, *command: str) -> str:
    python = releases.environment(releases.NEWEST, (DIFFUSERS,))
    variables = {**os.environ, "PYTHONPATH": str(releases.source(releases.NEWEST) / "src"), "HF_HUB_OFFLINE": "1"}
    script, *flags = command
    done = subprocess.run([str(python), str(home / script), *flags], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
