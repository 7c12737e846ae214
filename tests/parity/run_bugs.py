"""Run inside an environment with mflux and MLX: put one bug after another into a released port and ask for the module.

``run_bugs.py PORTING FAMILY DTYPE [NAME…]`` prints a JSON line for each bug: its name, what was expected, the answer, which
stages passed and, in float32, how far the picture is from the reference's.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import json
import sys
from pathlib import Path

PORTING, FAMILY, DTYPE, *NAMES = sys.argv[1:]
sys.path[:0] = [PORTING, str(Path(__file__).parent)]
PORT = {
    "z_image": "mflux.models.z_image.variants.z_image:ZImage",
    "flux2": "mflux.models.flux2.variants.txt2img.flux2_klein:Flux2Klein",
    "ernie_image": "mflux.models.ernie_image.variants.txt2img.ernie_image:ErnieImage",
}.get(FAMILY, "ports:Port")  # for a family of the healthy matrix, at the twin's sizes

from bugs import Bug  # noqa: E402 - found through the path above


def main() -> None:
    from parity.compare.limits import Limits
    from parity.explain import session
    from parity.record.calibration import read_calibration
    from parity.record.recording import Recording
    from parity.run import mlx_port, residents
    from parity.waivers import read_waivers

    residents.Residents.limit = float("inf")  # a component that is read again has the correct weights
    artifacts = Path(PORTING, "artifacts")
    port = mlx_port.load(PORT, artifacts / "tiny", DTYPE, {})
    waivers = read_waivers(Path(PORTING, "waivers.yml"))
    known = [f"bugs.{FAMILY}{more}" for more in ("", "_causes")]
    known = [importlib.import_module(name).BUGS for name in known if importlib.util.find_spec(name)]
    healthy = Bug("healthy", lambda model: contextlib.nullcontext(), (), known[0][0].reference)
    wanted = [item for item in (healthy, *itertools.chain(*known)) if DTYPE in item.dtypes]
    for bug in [item for item in wanted if not NAMES or item.name in NAMES]:
        path = artifacts / f"{bug.reference}.safetensors"
        recording = Recording(path)
        limits = Limits(DTYPE, read_calibration(path.with_suffix(".gaps.json"), recording.facts["run"]))
        with bug.apply(port.model):
            getattr(port.model.transformer, "_pos_cache", {}).clear()
            found = session.compare(port, recording, limits, waivers, _stages(bug, session.MODULE_STAGES), bisect=True)
        getattr(port.model.transformer, "_pos_cache", {}).clear()
        answer = found.findings.answer
        row = {
            "bug": bug.name,
            "family": FAMILY,
            "dtype": DTYPE,
            "expected": bug.expected,
            "answer": answer and answer.module,
        }
        row["line"] = answer.line if answer else ""
        row["cause"] = bug.cause
        row["failed"] = [result.stage for result in found.results if result.status == "FAIL"]
        row["passed"] = [result.stage for result in found.results if result.status in ("pass", "waived")]
        row["picture"] = next((one.relative for one in found.results if one.stage == "end_to_end"), None)
        print(json.dumps(row), flush=True)


def _stages(bug, stages: tuple) -> tuple:
    # The VAE is slow on the CPU, and the stages are independent: it is left out where it has no part.
    vae = not bug.expected or any(pattern.startswith("vae") for pattern in bug.expected)
    stages = (*stages, "loop", "end_to_end") if DTYPE == "float32" else stages  # bfloat16 changes every picture
    stages = (*stages, "loop") if DTYPE != "float32" and (not bug.expected or "loop" in bug.expected) else stages
    return stages if vae else tuple(stage for stage in stages if not stage.startswith("vae"))


main()
