"""Copier's migrations: one step of an update. Arguments: the step, then what ``mflux_port.updating_steps`` says of it."""

import gc
import sys
from pathlib import Path

gc.disable()  # a second of life, and syntax trees that all stay: collecting would take a fifth of it
sys.path.insert(0, str(Path(__file__).resolve().parent))

from mflux_port.updating_steps import run_step  # noqa: E402

code = run_step(Path.cwd(), *sys.argv[1:])
gc.freeze()  # nor does the last collection, at the exit, find anything
sys.exit(code)
