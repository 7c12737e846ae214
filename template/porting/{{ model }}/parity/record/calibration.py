"""The reference compared with itself: how far its bfloat16 run is from its float32 run, event by event."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from parity.errors import ParityError
from parity.files import write_text
from parity.metrics import relative_error
from parity.record.recording import Recording
from parity.record.recording_schema import json_object

GAPS = ".gaps.json"  # instead of a recording's .safetensors


class CalibrationRecorder:
    """Receives the events of the bfloat16 run in place of a Recorder, and keeps one figure for each."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.gaps: dict[str, float] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.gaps

    def add(self, name: str, values: np.ndarray, whole: bool = False) -> None:
        event = self.recording.event(name)
        if not is_measured(name):
            return
        if event is None or event.shape != values.shape or values.dtype.kind != "f":
            return
        kept = values.reshape(-1)[:: event.stride]
        self.gaps[name] = relative_error(self.recording.get(name).reshape(-1), kept)

    def read(self, name: str) -> np.ndarray:
        """Return the float32 run's values, so that both runs see the same image."""
        return self.recording.get(name)

    def repeat(self, name: str, first: str) -> None:
        if first in self.gaps:
            self.gaps[name] = self.gaps[first]


def is_measured(name: str) -> bool:
    """Whether an event has a gap of its own: a module's input is another module's output."""
    return "/in/" not in name or "." not in name.split("/")[1] or name.startswith("loop/")


class Calibrations:
    """The gaps of all recordings of one ``setting``: a checkpoint, a prompt, a size and so on. Kept in ``folder``."""

    def __init__(self, folder: Path, setting: str):
        self.path, self.setting = folder / "calibrations" / f"{setting}.json", setting
        self.gaps: dict[str, float] = {}
        self._events: set[str] = set()  # all examined events, with or without a gap
        if self.path.is_file():
            self._read()

    def covers(self, recording: Recording, free: bool) -> bool:
        """Whether a second run would add nothing to a recording; ``free``: the gaps of an unforced run are needed."""
        return self._measured(recording) <= self._events and (not free or any(map(_is_free, self.gaps)))

    def add(self, recording: Recording, gaps: dict[str, float]) -> None:
        """Store a run's results for one recording."""
        self.gaps |= gaps
        self._events |= self._measured(recording)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"run": self.setting, "gaps": self.gaps, "events": sorted(self._events)}
        write_text(self.path, json.dumps(kept))

    def _read(self) -> None:
        self.gaps = read_calibration(self.path, self.setting)
        events = json_object(self.path.read_text(encoding="utf-8"), "the calibration").get("events")
        self._events = set(events) if isinstance(events, list) else set()

    def _measured(self, recording: Recording) -> set[str]:
        return {event.name for event in recording.events if is_measured(event.name)}


def _is_free(name: str) -> bool:
    return name.startswith("free:")


def write_calibration(path: Path, gaps: dict[str, float], run: str) -> None:
    """``run`` names the recording that the gaps belong to."""
    write_text(path, json.dumps({"run": run, "gaps": gaps}))


def gaps_of(recording: Recording) -> dict[str, float]:
    """The gaps of a recording; empty if its run measured none. Raises ParityError if that run did not finish."""
    path = recording.path.with_suffix(GAPS)
    gaps = read_calibration(path, recording.facts["run"])
    if recording.facts.get("calibrated") and not gaps:
        raise ParityError(
            f"{path} is not of the run that wrote {recording.path.name}, which was interrupted; "
            f"run {recording.made_by} again"
        )
    return gaps


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
