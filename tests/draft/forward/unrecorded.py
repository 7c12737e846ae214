"""Runs drafted forward passes and their references on inputs that no recording had: sizes, lengths, batches, masks.

``python unrecorded.py FAMILY…`` (needs torch and MLX): prints a JSON object for each family. Every class that is
proven, and the whole model where it is, has for each input one of three outcomes: right, refused (it raised and named
file and line), wrong.
"""

from __future__ import annotations

import copy
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drafted_twin import DraftedTwin, drafted_twin, short  # noqa: E402
from mflux_port.draft.forward.proof.replay import FLOOR  # noqa: E402
from mflux_port.draft.forward.twin.inputs import Case  # noqa: E402
from mflux_port.draft.forward.twin.runs import find_runs, text_runs, vae_runs  # noqa: E402

CASES = (
    Case(20, 4, 3, 1, 11),
    Case(4, 4, 17, 3, 12),
    Case(16, 12, 37, 2, 13),
    Case(8, 8, 8, 1, 14),
    Case(4, 20, 64, 2, 15),
)
RIGHT, REFUSED, WRONG = "right", "refused", "wrong"
_LEFT = "padding on the left"


def other_runs(twin: DraftedTwin) -> list[tuple[str, str, dict]]:
    """(what is new, method, inputs) of runs that the reference accepts and that no recording had."""
    tried = copy.deepcopy(twin.model)
    finders = {"vae": vae_runs, "text_encoder": text_runs}
    found = finders.get(twin.part, find_runs)(tried, twin.config, CASES)
    runs = [("sizes", method, inputs) for method, inputs in found]
    for method, inputs in found[1:3]:
        runs += [(what, method, changed) for what, changed in _changes(inputs)]
    return [run for run in runs if _accepts(tried, run[1], run[2])]


def _changes(inputs: dict):
    import torch

    for name, value in inputs.items():
        if "mask" in name and isinstance(value, torch.Tensor) and value.ndim == 2:
            yield f"{name}: all", inputs | {name: torch.ones_like(value)}
            left = torch.ones_like(value)
            left[0, :2] = 0
            yield f"{name}: {_LEFT}", inputs | {name: left}
            holes = torch.ones_like(value)
            holes[:, 1::3] = 0
            yield f"{name}: holes", inputs | {name: holes}
        if name not in ("return_dict", "use_cache"):
            yield f"{name}: not given", {key: one for key, one in inputs.items() if key != name}
        if name in ("timestep", "timesteps", "t") and isinstance(value, torch.Tensor):
            yield f"{name}: zero", inputs | {name: torch.zeros_like(value)}
            yield f"{name}: one number", inputs | {name: value[:1].reshape(())}
            yield f"{name}: whole numbers", inputs | {name: torch.zeros_like(value).long()}


def _accepts(model, method: str, inputs: dict) -> bool:
    import torch
    from mflux_port.draft.forward.record.recorder import clone

    try:
        with torch.no_grad():
            getattr(model, method)(**clone(inputs))
    except Exception:  # noqa: BLE001 - what the reference refuses is not an input
        return False
    return True


def outcomes(twin: DraftedTwin) -> list[tuple[str, str, str, str]]:
    """(what is new, class, outcome, one line) of every proven class that an unrecorded run reached."""
    found = []
    for what, method, inputs in other_runs(twin):
        replay = twin.replay(twin.calls([(method, inputs)]), bridged=False)
        came = [group for group in twin.proven if replay.calls.get(group)]
        # A row of attention that a mask hides completely has other numbers in MLX, and no later row reads it.
        only_kept = what.endswith(_LEFT) and twin.part == "text_encoder"
        for group in twin.order:
            if group in twin.open_ends:
                replay.bridge(group)
            elif group in came and not only_kept:
                found.append((what, short(group), *_outcome(replay, group)))
            elif group in came[-1:]:
                found.append((what, short(group), *_kept_rows(replay, group, inputs)))
    return found


def _kept_rows(replay, group: str, inputs: dict) -> tuple[str, str]:
    from mflux_port.draft.forward.proof.arrays import distance, to_torch

    out, expected = (to_torch(value) for value in replay.outputs(group, replay.calls[group][0]))
    if isinstance(out, tuple):
        out, expected = out[0], expected[0]  # what pipelines read
    kept = inputs["attention_mask"].bool()
    error = distance(out[kept], expected[kept])
    return (RIGHT, "") if error <= 2 * FLOOR else (WRONG, f"error {error:.1e}")


def _outcome(replay, group: str) -> tuple[str, str]:
    result = replay.group(group)
    if result["kind"] == "verified":
        return RIGHT, ""
    if "NotImplementedError" in result.get("reason", ""):
        return REFUSED, result["reason"]
    return WRONG, result["reason"]


def main(names: list[str]) -> None:
    for name in names:
        twin = drafted_twin(name)
        found = outcomes(twin)
        counts = Counter(outcome for _, _, outcome, _ in found)
        refusals = sorted({line for _, _, outcome, line in found if outcome == REFUSED})
        wrong = [f"{what} / {cls}: {line}" for what, cls, outcome, line in found if outcome == WRONG]
        print(json.dumps({"name": name, **counts, "wrong_ones": wrong,
                          "refusals": refusals}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
