"""Compare what goes into scaled dot product attention, and what comes out of it, with the reference's."""

from __future__ import annotations

import numpy as np

from parity.compare.alignment import align
from parity.compare.rotation import of_rotated
from parity.compare.rows import same_rows
from parity.metrics import Distance
from parity.run.mlx_taps import to_numpy
from parity.run.recorded_calls import RecordedCalls

FAR = 0.02  # queries or keys that differ by more are rotated or in another order, not rounded


def compared(recorded: RecordedCalls, event: str, query, key, value, scale: float, result) -> dict:
    """Distances of ``q``, ``k``, ``v`` and ``out``, both scales, and how the first three are arranged (``how q``)."""
    found = {"scale": (_scale(recorded, event), scale)}
    for n, (name, array) in enumerate((("q", query), ("k", key), ("v", value))):
        own = to_numpy(array)
        found[name] = recorded.against(f"{event}/in/{n}", own, repeats=True)
        found[f"how {name}"] = _arrangement(recorded, f"{event}/in/{n}", own, found[name])
    found["out"] = recorded.against(f"{event}/out/0", to_numpy(result))
    return found


def _scale(recorded: RecordedCalls, event: str) -> float | None:
    name = f"{event}/in/3"
    return float(recorded.get(name).reshape(-1)[0]) if name in recorded.recording else None


def _arrangement(recorded: RecordedCalls, name: str, own: np.ndarray, gap: Distance | None) -> str:
    """How queries, keys or values differ from the reference's if they are the same numbers, moved or rotated."""
    if gap is None or not gap.relative > FAR or recorded.recording.event(name).stride > 1:
        return ""
    found = align(recorded.get(name), own, repeats=True)
    if found is None:
        return ""
    reference, moved = found[0].of_reference(recorded.get(name)), found[0].to_reference(own)
    if moved.shape != reference.shape:
        return ""
    if same_rows(reference, moved):
        return "in another order of tokens"
    if same_rows(reference, moved, axis=-3):
        return "in another order of heads"
    return of_rotated(reference, moved)
