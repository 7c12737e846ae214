"""Start and end processes. Most processes run for less than a second, so memory is not worth freeing."""

import gc
import os
import sys


def begin() -> None:
    """Call this before the other imports."""
    # Modules and syntax trees consist of many small objects that stay in use, so that garbage collection frees nothing.
    gc.set_threshold(1_000_000)
    if sys.stdout is not None:
        # Characters that the terminal's encoding lacks, and file names that are not UTF-8, are printed without an
        # error.
        sys.stdout.reconfigure(errors="backslashreplace")


def leave(code: int) -> None:
    """End the process with ``code``, without freeing its memory first."""
    for stream in (sys.stdout, sys.stderr):
        try:
            print(end="", file=stream, flush=True)
        except OSError:
            pass  # the reader is gone
    os._exit(code)
