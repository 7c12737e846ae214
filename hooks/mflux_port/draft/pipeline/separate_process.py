"""Read a twin's facts in a separate process: ``python -m mflux_port.draft.pipeline.separate_process FOLDER [--edits]``
prints JSON.

The reference's libraries print to the terminal, take memory, and may crash the interpreter; a draft is not affected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.errors import PortError

_HOOKS = Path(__file__).resolve().parents[3]
_QUIET = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}


def facts_of_twin(folder: Path, edits: bool) -> list[Fact]:
    """The facts of the pipeline in ``folder``; ``edits``: also those of images to edit.

    Raises PortError with the reference's last line when it cannot be run.
    """
    environment = {
        **os.environ,
        **_QUIET,
        "PYTHONPATH": os.pathsep.join([str(_HOOKS), os.environ.get("PYTHONPATH", "")]),
    }
    command = [
        sys.executable,
        "-m",
        "mflux_port.draft.pipeline.separate_process",
        str(folder),
        *(["--edits"] if edits else []),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PortError(f"the pipeline in {folder} cannot be run ({last}); read its facts from its source")
    facts = json.loads(done.stdout.splitlines()[-1])  # a library may print before it
    return [Fact(**{**entry, "alternatives": tuple(entry["alternatives"])}) for entry in facts]


def main() -> None:
    warnings.filterwarnings("ignore")
    from mflux_port.draft.pipeline.read_facts import load_twin, read_facts

    facts = read_facts(load_twin(Path(sys.argv[1])), edits="--edits" in sys.argv)
    print(json.dumps([vars(fact) for fact in facts], default=str))


if __name__ == "__main__":
    main()
