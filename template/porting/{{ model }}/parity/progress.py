"""Print what is running: at a real size it takes minutes, and silence looks like a hang."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from parity.needs import in_words

LOADED = " is loaded"  # ends the line of a network that is being read; the step that needs it goes on


class Progress:
    """``progress("transformer, step 2 of 4")`` prints a line with the seconds since the start; repeats are skipped.

    ``peak`` returns the peak memory so far, in bytes; it is printed, too.
    """

    def __init__(self, who: str, peak: Callable[[], int] = lambda: 0):
        self.who, self.peak, self._start, self._last = who, peak, time.monotonic(), ""
        self._marks: list[tuple[str, float]] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def __call__(self, text: str) -> None:
        if text == self._last:
            return
        self._last = text
        self._marks.append((text, self.seconds))
        print(f"{self.who}: {text} ({self.figures()})", file=sys.stderr, flush=True)

    def seconds_of_a_step(self) -> float:
        """How much longer the run takes with one more denoising step. The first step of a pass may load a network."""
        marks = [mark for mark in self._marks if not mark[0].endswith(LOADED)]
        ends = [start for _, start in marks[1:]] + [self.seconds] * bool(marks)
        passes: list[list[float]] = []
        for (text, start), end in zip(marks, ends, strict=True):
            if ", step 1 of " in text:
                passes.append([])
            if ", step " in text and passes:
                passes[-1].append(end - start)
        later = [one[1:] or one for one in passes]
        return sum(sum(one) / len(one) for one in later)

    def figures(self) -> str:
        """The seconds and the peak memory so far."""
        peak = self.peak()
        return f"{self.seconds:.0f} s" + (f", {in_words(peak)} at most" if peak else "")


def process_peak() -> int:
    """The peak memory of this process, in bytes; 0 if the system does not report it."""
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
