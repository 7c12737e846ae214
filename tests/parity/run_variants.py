"""Run inside an environment with mflux and MLX: judge several ports by one recording, in one process.

``run_variants.py PORTING RECORDING DTYPE BISECT MODULE:CLASS…`` prints a JSON line for each port: its class, the status
and the note of each stage, the answer, and all other lines.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PORTING, RECORDING, DTYPE, BISECT, *PORTS = sys.argv[1:]
sys.path[:0] = [PORTING, str(Path(__file__).parent)]
os.environ |= {"MLX_ENABLE_TF32": "0", "TQDM_DISABLE": "1"}


def main() -> None:
    from parity.answers import STAGE_NAMES
    from parity.compare.limits import Limits
    from parity.explain import session
    from parity.record.calibration import read_calibration
    from parity.record.recording import Recording
    from parity.run import mlx_port
    from parity.waivers import read_waivers

    path = Path(RECORDING)
    waivers = read_waivers(Path(PORTING, "waivers.yml"))
    recording = Recording(path)
    recording.verify_facts()
    for where in PORTS:
        limits = Limits(DTYPE, read_calibration(path.with_suffix(".gaps.json"), recording.facts["run"]))
        port = mlx_port.load(where, Path(PORTING, "artifacts/tiny"), DTYPE, {})
        found = session.compare(port, recording, limits, waivers, STAGE_NAMES, BISECT == "yes")
        answer = found.findings.answer
        row = {
            "port": where.partition(":")[2],
            "stages": {result.stage: result.status for result in found.results},
            "figures": {result.stage: [result.relative, result.limit] for result in found.results},
            "notes": {result.stage: result.note for result in found.results if result.note},
            "answer": answer and answer.module,
            "line": answer.line if answer else "",
        }
        print(json.dumps(row), flush=True)


main()
