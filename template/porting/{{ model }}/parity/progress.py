"""Say what runs now: a run at a real size takes minutes, and silence looks like a hang."""

from __future__ import annotations

import sys
import time


class Progress:
    """``progress("transformer, step 2 of 4")`` prints a line with the seconds since the start; each text once in a row."""

    def __init__(self, who: str):
        self.who, self._start, self._last = who, time.monotonic(), ""

    def __call__(self, text: str) -> None:
        if text == self._last:
            return
        self._last = text
        print(f"{self.who}: {text} ({time.monotonic() - self._start:.0f} s)", file=sys.stderr, flush=True)


def of_stage(stage: str, steps: int) -> str:
    """A recording's stage in words: ``transformer.1.0`` is "transformer, step 2 of 4"."""
    component, *numbers = stage.split(".")
    if "transformer" in component or "unet" in component:
        return f"{component}, step {int(numbers[0]) + 1} of {steps}"
    return component
