"""Run inside an environment with mflux and MLX: put one bug after another into a released port and ask for the module.

``run_bugs.py PORTING FAMILY DTYPE [NAME…]`` prints a JSON line for each bug: its name, what was expected, the answer,
which stages passed and, in float32, how much the picture differs from the reference's.
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
    bugs = [bug for bug in _bugs() if DTYPE in bug.dtypes and (not NAMES or bug.name in NAMES)]
    for bug in bugs:
        path = artifacts / f"{bug.reference}.safetensors"
        recording = Recording(path)
        limits = Limits(DTYPE, read_calibration(path.with_suffix(".gaps.json"), recording.facts["run"]))
        with bug.apply(port.model):
            getattr(port.model.transformer, "_pos_cache", {}).clear()
            found = session.compare(port, recording, limits, waivers, _stages(bug), bisect=True)
        getattr(port.model.transformer, "_pos_cache", {}).clear()
        print(json.dumps(_row(bug, found)), flush=True)


def _bugs() -> list[Bug]:
    known = [f"bugs.{FAMILY}{more}" for more in ("", "_causes")]
    known = [importlib.import_module(name).BUGS for name in known if importlib.util.find_spec(name)]
    healthy = Bug("healthy", lambda model: contextlib.nullcontext(), (), known[0][0].reference)
    return [healthy, *itertools.chain(*known)]


def _row(bug: Bug, found) -> dict:
    answer = found.findings.answer
    return {
        "bug": bug.name,
        "family": FAMILY,
        "dtype": DTYPE,
        "expected": bug.expected,
        "answer": answer and answer.module,
        "line": answer.line if answer else "",
        "cause": bug.cause,
        "failed": [result.stage for result in found.results if result.status == "FAIL"],
        "passed": [result.stage for result in found.results if result.status in ("pass", "waived")],
        "picture": next((one.relative for one in found.results if one.stage == "end_to_end"), None),
    }


def _stages(bug: Bug) -> tuple:
    from parity.answers import STAGE_NAMES

    # The VAE is slow on the CPU, and the stages are independent: it is left out if the bug does not involve it.
    vae = not bug.expected or any(pattern.startswith("vae") for pattern in bug.expected)
    # bfloat16 changes every picture
    ends = ("loop", "end_to_end") if DTYPE == "float32" else ("loop",) * (not bug.expected or "loop" in bug.expected)
    stages = [stage for stage in STAGE_NAMES if stage not in ("loop", "end_to_end")]
    return tuple(stage for stage in (*stages, *ends) if vae or not stage.startswith("vae"))


main()
