"""Python reads this at its start: the processes that a run starts get the run's fault too."""

import os
import sys

if "MFLUX_PORT_TESTS_FAULT" in os.environ:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import injection

    injection.arm(os.environ["MFLUX_PORT_TESTS_FAULT"])
