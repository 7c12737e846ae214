"""The ``mflux-port`` command, and ``python -m mflux_port``: how its process begins and ends."""

import gc
import os
import sys

gc.set_threshold(1_000_000)  # modules and syntax trees are many small objects that all stay: collecting frees nothing

from mflux_port.cli import main  # noqa: E402


def run() -> None:
    """Run the command and end the process, without taking apart all that is in memory first."""
    code = main()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
