"""artifacts/report.json: the findings of a comparison, for programs. `mflux-port status` reads it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from parity.explain.session import Comparison
from parity.files import write_text

SCHEMA = 1  # increases when a field is renamed, removed, or means something else


def write_report(path: Path, found: Comparison, bisect: bool) -> None:
    """Write the file for one comparison. ``bisect``: a recording of the modules would show which is wrong."""
    judge, answer = found.judge, found.findings.answer
    facts = judge.recording.facts
    report = {
        "schema": SCHEMA,
        "passed": found.passed,
        "level": facts["level"],
        "dtype": judge.limits.dtype,
        "width": facts["width"],
        "height": facts["height"],
        "steps": facts["steps"],
        "bisect": bisect,
        "answer": answer.line if answer else "",
        "stages": [_stage(result) for result in found.results],
        "verdicts": [_finite(asdict(verdict)) for verdict in found.findings.verdicts],
    }
    write_text(path, json.dumps(report, indent=1) + "\n")


def _stage(result) -> dict:
    names = ("stage", "status", "relative", "largest", "limit", "tensor", "note")
    return _finite({name: getattr(result, name) for name in names})


def _finite(values: dict) -> dict:
    # JSON has no number for "not measured".
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
