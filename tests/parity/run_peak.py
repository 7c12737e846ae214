"""Run a script from the current folder, and print at the end how much memory it took at most.

``run_peak.py SCRIPT [ARGUMENT…]`` prints ``peak: <MB>`` as the last line of stderr.
"""

from __future__ import annotations

import resource
import runpy
import sys

sys.path[0] = "."  # where the script finds its modules
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    print(f"peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.0f}", file=sys.stderr)
