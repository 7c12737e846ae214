"""Run a script from the current folder with a cap on tensors that thins even a twin's, as 1024x1024 thins a real
model's.

``run_thinned.py CAP SCRIPT [ARGUMENT…]``; ``CAP`` is the number of elements that are kept of one tensor.
"""

from __future__ import annotations

import runpy
import sys

sys.path[0] = "."  # where the script finds its modules

from parity.record import reference  # noqa: E402

reference.CAP = int(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
