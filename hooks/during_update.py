"""Copier's migrations: one step of an update.

Arguments: the step, then the arguments of that step in ``mflux_port.update.steps``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mflux_port.process import begin, leave  # noqa: E402

begin()

from mflux_port.update.steps import run_step  # noqa: E402

leave(run_step(Path.cwd(), *sys.argv[1:]))
