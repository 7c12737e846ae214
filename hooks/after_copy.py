"""Copier's task after a copy: wire the port, or remove what was rendered. Argument: the model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mflux_port.process import begin, leave  # noqa: E402

begin()

from mflux_port.update.after_copy import finish_copy  # noqa: E402

leave(finish_copy(Path.cwd(), sys.argv[1]))
