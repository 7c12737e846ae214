"""The reference against itself: how far its bfloat16 run is from its float32 run, event by event."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from parity.errors import ParityError
from parity.metrics import relative_error
from parity.record.recording import Recording
from parity.record.recording_schema import json_object


class CalibrationRecorder:
    """Takes the events of the bfloat16 run in a Recorder's place and keeps one figure for each."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.gaps: dict[str, float] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.gaps

    def add(self, name: str, values: np.ndarray, whole: bool = False) -> None:
        event = self.recording.event(name)
        if "/in/" in name and "." in name.split("/")[1] and not name.startswith("loop/"):
            return  # what goes into a module came out of another one
        if event is None or event.shape != values.shape or values.dtype.kind != "f":
            return
        kept = values.reshape(-1)[:: event.stride]
        self.gaps[name] = relative_error(self.recording.get(name).reshape(-1), kept)

    def read(self, name: str) -> np.ndarray:
        """The float32 run's values: both runs look at the same image."""
        return self.recording.get(name)

    def repeat(self, name: str, first: str) -> None:
        if first in self.gaps:
            self.gaps[name] = self.gaps[first]


def write_calibration(path: Path, gaps: dict[str, float], run: str) -> None:
    """``run`` names the recording that the gaps belong to."""
    path.write_text(json.dumps({"run": run, "gaps": gaps}), encoding="utf-8")


def read_calibration(path: Path, run: str) -> dict[str, float]:
    """Empty when there is none, or when it belongs to another recording. Raises ParityError when it is not JSON."""
    if not path.is_file():
        return {}
    try:
        stored = json_object(path.read_text(encoding="utf-8"), "the calibration")
        gaps = stored.get("gaps")
        if not isinstance(gaps, dict) or not all(isinstance(gap, int | float) for gap in gaps.values()):
            raise ValueError("no gaps")
        return gaps if stored.get("run") == run else {}
    except ValueError:
        raise ParityError(f"{path} is not a calibration; run run_reference.py again") from None
