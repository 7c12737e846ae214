"""Run inside an environment with mflux and MLX: put one bug after another into Z-Image's LoRA, training and so on.

``run_claims.py PORTING [BUG…]`` prints a JSON line for each bug: its name, what was expected, and the rows that fail.
For a folder named flux2 the bugs are those in FLUX.2's LoRA.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

PORTING, *NAMES = sys.argv[1:]
sys.path[:0] = [PORTING, str(Path(__file__).parent)]
PORTS = {
    "z_image": "mflux.models.z_image.variants.z_image:ZImage",
    "flux2": "mflux.models.flux2.variants.txt2img.flux2_klein:Flux2Klein",
}
PORT = PORTS[Path(PORTING).name]
ADAPTER = "mflux.models.z_image.training_adapter.z_image_training_adapter:ZImageTrainingAdapter"
ARTIFACTS = Path(PORTING, "artifacts")
TINY = ARTIFACTS / "tiny"
FILES = ("attention", "diffusers_alpha", "kohya")

from bugs.claims import CLAIMS, RIGHT, lora  # noqa: E402 - found through the path above
from bugs.claims.claim import IMAGE, LORA, QUANTIZED, TRAINING, Claim  # noqa: E402

HEALTHY = [Claim("healthy", claim, contextlib.nullcontext, "", "") for claim in (LORA, TRAINING, IMAGE, QUANTIZED)]
BUGS = [*HEALTHY, *RIGHT, *CLAIMS]
if PORT == PORTS["flux2"]:
    BUGS = [HEALTHY[0], *lora.FLUX2]


def main() -> None:
    from parity.record.recording import Recording

    used = {bug.claim for bug in BUGS} - {QUANTIZED}  # quantized copies are judged on the run of image-to-image
    recordings = {name: Recording(ARTIFACTS / f"{name}.safetensors") for name in sorted(used)}
    known = recordings["lora"].facts["lora"]["files"]
    for bug in BUGS:
        if NAMES and bug.name not in NAMES:
            continue
        files = known if bug in HEALTHY or bug.row not in known else (*FILES, bug.row)
        recordings["lora"].facts["lora"]["files"] = {name: known[name] for name in files}
        rows: list = []
        with bug.apply(), contextlib.redirect_stdout(sys.stderr):
            try:
                JUDGES[bug.claim](recordings, rows.append, bug.named)
            except Exception as error:  # noqa: BLE001 - any error is recorded as the result, and counts as wrong
                rows.append(_Raised(f"{type(error).__name__}: {error}"))
        failed = {row.name: row.note for row in rows if row.status == "FAIL"}
        passed = [row.name for row in rows if row.status == "pass"]
        expected = {"bug": bug.name, "claim": bug.claim, "row": bug.row, "words": bug.words}
        print(json.dumps({**expected, "failed": failed, "passed": passed}), flush=True)


class _Raised:
    name, status = "raised", "FAIL"

    def __init__(self, note: str):
        self.note = note


def _lora(recordings: dict, say, named: str) -> None:
    from parity.run import lora as judges
    from parity.waivers import Waivers

    recording = recordings["lora"]
    judges.judge(PORT, TINY, {}, recording, Waivers((_healthy_kohya(),)), say)


def _healthy_kohya():
    from parity.waivers import Waiver

    return Waiver("Z-Image's mapping has no kohya names outside of its blocks.", 1.0, "lora.kohya.[!l]*")


def _training(recordings: dict, say, named: str) -> None:
    from parity.run import mlx_port, training
    from parity.waivers import Waiver, Waivers

    port = mlx_port.load(PORT, TINY, "float32", {})
    waivers = Waivers((Waiver("The model's training script has it.", 1.0, named),) * bool(named))
    training.judge(port, ADAPTER, recordings["training"], ARTIFACTS / "training.png", say, waivers)


def _image(recordings: dict, say, named: str) -> None:
    from parity.run import image_to_image, mlx_port

    image_to_image.judge(mlx_port.load(PORT, TINY, "float32", {}), recordings["image"], say)


def _quantized(recordings: dict, say, named: str) -> None:
    from parity.run import quantized

    quantized.judge(PORT, TINY, {}, recordings["image"], 4, say)


JUDGES = {LORA: _lora, TRAINING: _training, IMAGE: _image, QUANTIZED: _quantized}
main()
