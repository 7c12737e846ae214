"""How a process of ours begins and ends: most live for less than a second, and need not tidy up memory for that."""

import gc
import os
import sys


def begin() -> None:
    """To be called before what takes memory is imported."""
    # Modules and syntax trees are many small objects that all stay: collecting them frees nothing.
    gc.set_threshold(1_000_000)


def leave(code: int) -> None:
    """End the process with ``code``, without taking apart all that is in memory first."""
    for stream in (sys.stdout, sys.stderr):
        try:
            print(end="", file=stream, flush=True)
        except OSError:
            pass  # nobody is left to be told
    os._exit(code)
