"""Run inside an environment with mflux and MLX: put one bug after another into FLUX.2's edit pipeline.

``run_edits.py PORTING [BUG…]`` prints a JSON line for each bug: its name, what was expected, and the rows that fail.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

PORTING, *NAMES = sys.argv[1:]
sys.path[:0] = [PORTING, str(Path(__file__).parent)]
PORT = "mflux.models.flux2.variants.edit.flux2_klein_edit:Flux2KleinEdit"

from bugs import edit  # noqa: E402 - found through the path above
from bugs.claims.claim import Claim  # noqa: E402

HEALTHY = (Claim("healthy", edit.EDIT, contextlib.nullcontext, "", ""), *edit.RIGHT)


def main() -> None:
    from parity.explain import session
    from parity.record.recording import Recording
    from parity.run import edit as judges
    from parity.run import mlx_port

    recording = Recording(Path(PORTING, "artifacts/edit.safetensors"))
    port = mlx_port.load(PORT, Path(PORTING, "artifacts/tiny"), "float32", {})
    pairing = session.pair(port, recording)
    for bug in (*HEALTHY, *edit.EDITS):
        if NAMES and bug.name not in NAMES:
            continue
        with bug.apply(), contextlib.redirect_stdout(sys.stderr):
            rows = judges.judge(port, recording, pairing, lambda row: None)
        failed = {row.name: row.note for row in rows if row.status != "pass"}
        print(json.dumps({"bug": bug.name, "row": bug.row, "words": bug.words, "failed": failed}), flush=True)


main()
