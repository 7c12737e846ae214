"""Print what runs now: a run at a real size takes minutes, and silence looks like a hang."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Progress:
    """``progress("transformer, step 2 of 4")`` prints a line with the seconds since the start; each text once in a row.

    ``peak`` gives the most memory so far, in bytes; it is printed, too.
    """

    def __init__(self, who: str, peak: Callable[[], int] = lambda: 0):
        self.who, self.peak, self._start, self._last = who, peak, time.monotonic(), ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def __call__(self, text: str) -> None:
        if text == self._last:
            return
        self._last = text
        print(f"{self.who}: {text} ({self.figures()})", file=sys.stderr, flush=True)

    def figures(self) -> str:
        """The seconds and the most memory until now."""
        peak = self.peak()
        return f"{self.seconds:.0f} s" + (f", {peak / 1e9:.1f} GB at most" if peak else "")


def process_peak() -> int:
    """The most memory that this process had, in bytes; 0 if the system does not report it."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def of_stage(stage: str, steps: int) -> str:
    """A recording's stage in words: ``transformer.1.0`` is "transformer, step 2 of 4"."""
    component, *numbers = stage.split(".")
    if "transformer" in component or "unet" in component:
        return f"{component}, step {int(numbers[0]) + 1} of {steps}"
    return component
