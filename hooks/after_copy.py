"""Copier's task after a copy: wire the port, or take back what was rendered. Arguments: the model."""

import gc
import sys
from pathlib import Path

gc.disable()  # a second of life, and syntax trees that all stay: collecting would take a fifth of it
sys.path.insert(0, str(Path(__file__).resolve().parent))

from mflux_port.copying import finish_copy  # noqa: E402

code = finish_copy(Path.cwd(), sys.argv[1])
gc.freeze()  # nor does the last collection, at the exit, find anything
sys.exit(code)
