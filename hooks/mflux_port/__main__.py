"""The ``mflux-port`` command, and ``python -m mflux_port``: how its process begins and ends."""

import gc
import os
import sys

gc.set_threshold(1_000_000)  # modules and syntax trees are many small objects that all stay: collecting frees nothing
# What a parser frees, glibc gives back to the system, and asks for it again with the next file: a twentieth of a wire. It
# keeps as much as the largest block that was ever freed.
bytes(16 << 20)

from mflux_port.cli import main  # noqa: E402


def run() -> None:
    """Run the command and end the process, without taking apart all that is in memory first."""
    code = main()
    print(end="", file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    run()
