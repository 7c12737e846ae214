"""Check that the port adds the reference's LoRA update to each layer's weight, and find what it adds instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from parity.answers import ABSENT, FAIL, PASS, WAIVED
from parity.metrics import Distance, distance
from parity.record.lora_files import ALPHA, MISTAKES, OWN_ALPHA, RANK
from parity.record.recording import Recording

LIMIT = 1e-4  # correct ports stay below 1e-5: an update is measured as the difference of two results
SAME = 1e-3  # if two layers' results are this close, one holds the other's weight
ALIKE = 0.9999


@dataclass
class FileResult:
    """One LoRA file: ``status``, its worst layer and what is wrong with it. ``missing`` layers have their keys."""

    name: str
    status: str
    layers: int = 0
    worst: float = 0.0
    note: str = ""
    wrong: dict[str, str] | None = None


class Layers:
    """Match rows of the port's linear layers with the reference's: layers may be joined, split or reordered.

    ``own``: what each of the port's layers returns for the fixed inputs, (outputs, directions), without any LoRA.
    """

    def __init__(self, recording: Recording, own: dict[str, tuple[int, np.ndarray]]):
        self.places: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {}
        known = _by_inputs(recording)
        for path, (inputs, values) in own.items():
            for name, (own_rows, their_rows) in _matched(values, known.get(inputs, {})).items():
                self.places.setdefault(name, []).append((path, own_rows, their_rows))

    def update(self, name: str, updates: dict[str, np.ndarray], like: np.ndarray) -> np.ndarray | None:
        """The update that the port adds to the reference's layer ``name``; None when it has no such layer."""
        if name not in self.places:
            return None
        found = np.full_like(like, np.nan)
        for path, own_rows, their_rows in self.places[name]:
            found[their_rows] = updates[path][own_rows]
        return None if np.isnan(found).any() else found


def _by_inputs(recording: Recording) -> dict[int, dict[str, np.ndarray]]:
    found: dict[int, dict[str, np.ndarray]] = {}
    for event in recording.events:
        if event.stage == "weights":
            inputs = recording.facts["lora"]["inputs"][event.module]
            found.setdefault(inputs, {})[event.module] = recording.get(event.name)
    return found


def _matched(own: np.ndarray, layers: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Locate the rows of ``own`` in the reference's layers: by a whole layer if one fits, else row by row."""
    for name, values in layers.items():
        if values.shape == own.shape and distance(values, own).relative < SAME:
            return {name: (np.arange(len(own)), np.arange(len(own)))}
    if not layers:
        return {}
    table = np.concatenate(list(layers.values()))
    homes = [(name, row) for name, values in layers.items() for row in range(len(values))]
    order = np.argsort(table[:, 0])
    pairs: dict[str, list[tuple[int, int]]] = {}
    for row, values in enumerate(own):
        found = _nearest(values, table, order)
        if found is not None:
            name, other = homes[found]
            pairs.setdefault(name, []).append((row, other))
    return {name: tuple(np.array(rows).T) for name, rows in pairs.items()}


def _nearest(values: np.ndarray, table: np.ndarray, order: np.ndarray) -> int | None:
    width = SAME * float(np.linalg.norm(values))
    first, last = np.searchsorted(table[order, 0], [values[0] - width, values[0] + width])
    near = order[first:last]
    if not len(near):
        return None
    gaps = np.linalg.norm(table[near] - values, axis=1)
    best = int(np.argmin(gaps))
    return int(near[best]) if gaps[best] <= width else None


def judge(recording: Recording, name: str, layers: Layers, updates: dict[str, np.ndarray], waivers) -> FileResult:
    """One file: every layer that the reference changes. ``updates``: what the port adds to each of its own layers."""
    facts = recording.facts["lora"]["files"][name]
    gaps: dict[str, Distance] = {}
    expected: dict[str, np.ndarray] = {}
    found: dict[str, np.ndarray] = {}
    for layer in facts["layers"]:
        path = f"{recording.facts['lora']['component']}.{layer}"
        wanted = recording.get(f"lora.{name}/{path}/out/0")
        own = layers.update(path, updates, wanted)
        if own is not None:
            expected[layer], found[layer], gaps[layer] = wanted, own, distance(wanted, own)
    wrong = {layer: gap for layer, gap in gaps.items() if not gap.relative <= LIMIT}
    reasons = {layer: waivers.module_at(f"lora.{name}.{layer}", gap.relative) for layer, gap in wrong.items()}
    causes = {layer: _cause(recording, name, layer, expected, found[layer]) for layer in wrong if not reasons[layer]}
    worst = max((gap.relative for gap in gaps.values()), default=float("nan"))
    if not gaps:
        return FileResult(name, ABSENT, note="the port has none of the layers that the reference changes")
    if causes:
        return FileResult(name, FAIL, len(gaps), worst, _sentence(causes, facts["layers"]), causes)
    if wrong:
        return FileResult(name, WAIVED, len(gaps), worst, next(iter(reasons.values())))
    return FileResult(name, PASS, len(gaps), worst)


def _cause(recording: Recording, name: str, layer: str, expected: dict[str, np.ndarray], own: np.ndarray) -> str:
    """Describe what was added instead of the reference's update."""
    facts = recording.facts["lora"]["files"][name]
    gap = distance(expected[layer], own)
    if not np.abs(own).max(initial=0.0) > LIMIT * np.abs(expected[layer]).max(initial=1.0):
        return "not applied"
    if gap.cosine > ALIKE:
        return _factor(gap.ratio, facts["scale"], facts["alpha"])
    if gap.cosine < -ALIKE:
        return "subtracted, not added"
    same = [other for other, values in expected.items() if values.shape == own.shape and other != layer]
    for other in same:
        twin = distance(expected[other], own)
        if twin.cosine > ALIKE:
            return f"has the update of {other}"
    for number, mistake in enumerate(MISTAKES, 1):
        event = f"lora.{name}/{recording.facts['lora']['component']}.{layer}/out/{number}"
        if event in recording and distance(recording.get(event), own).cosine > ALIKE:
            return mistake
    return f"another update (relL2 {gap.relative:.1e})"


def _factor(ratio: float, scale: float, alpha: str) -> str:
    known = {scale: "the scale is applied twice", 1 / scale: "the scale is not applied"}
    if alpha:
        known |= {RANK / ALPHA: "alpha is ignored", ALPHA / RANK: "alpha is applied twice"}
        known[RANK**0.5] = "alpha is divided by the root of the rank, as in rsLoRA"
    if alpha == "metadata":  # the layer with its own alpha
        known |= {RANK / OWN_ALPHA: "alpha is ignored", OWN_ALPHA / RANK: "alpha is applied twice"}
        known[ALPHA / OWN_ALPHA] = "alpha_pattern is ignored"
    named = [text for value, text in known.items() if abs(value - 1) > SAME and abs(ratio / value - 1) < SAME]
    if len(named) == 2:
        named = [" or ".join(named)]
    return f"{ratio:.4g} times too strong" + (f": {named[0]}" if named else "")


def _sentence(causes: dict[str, str], keys: dict[str, list[str]]) -> str:
    """The causes, each with how many layers it applies to and one of them; for layers left out, a key."""
    parts = []
    for cause in dict.fromkeys(causes.values()):
        layers = [layer for layer, other in causes.items() if other == cause]
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        key = f" (key {keys[layers[0]][0]})" if cause == "not applied" else ""
        parts.append(f"{layers[0]}{more}: {cause}{key}")
    return "; ".join(parts[:4]) + (f"; and {len(parts) - 4} more causes" if len(parts) > 4 else "")


def worst_of(results: Iterable[FileResult]) -> FileResult | None:
    """The most informative file: a failing one first, then the largest error."""
    judged = [result for result in results if result.status != ABSENT]
    return max(judged, key=lambda result: (result.status == FAIL, result.worst), default=None)
